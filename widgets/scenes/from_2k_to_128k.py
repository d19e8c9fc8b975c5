"""The scenes of the lesson from 2K to 128K."""

import math
from itertools import pairwise
from typing import Any

import torch

from solutions.checkpoints import about
from solutions.positions import SYMBOLS, rope_frequencies, turns
from solutions.ring import contiguous_rows, imbalance, zigzag_rows
from widgets.kit.format import count, fixed
from widgets.scenes.scene import Dial, scene

HEAD_DIM, BASE, TRAINED = 32, 10_000.0, 128  # of the model that sixteen_dials tells of
SWEPT = {"as trained": "none", "slow these ten": "turns 1"}

PUBLISHED_HEAD, PUBLISHED_TRAINED = 128, 2_048  # of LLaMA 7B
FACTORS, PAIRS = (2, 4, 8, 16, 32, 64), (0, 16, 25, 37, 41, 63)
RULES: dict[str, dict[str, Any]] = {
    "PI": {"scaling": "linear"},
    "NTK": {"scaling": "ntk"},
    "by parts, over turns": {"scaling": "by-parts", "original_length": PUBLISHED_TRAINED},
    "by parts, over index": {"scaling": "by-parts", "original_length": PUBLISHED_TRAINED, "ramp": "index"},
}

TOKENS, RANKS, MANY_RANKS = 131_072, 4, 16
DEALT = {"in order": contiguous_rows, "zig-zag": zigzag_rows}


@scene
def sixteen_dials() -> dict[str, Any]:
    """Loss by position over the sixteen pairs of a head, before and after the slow ones are slowed further."""
    told = about("positions")
    edges = told["settings"]["edges"]
    swept = {
        name: torch.tensor([
            run["loss_by_position"] for run in told["runs"] if (run["rule"], run["steps"]) == (rule, 0)
        ], dtype=torch.float64)
        for name, rule in SWEPT.items()
    }  # fmt: skip
    trained = rope_frequencies(HEAD_DIM, BASE)
    slowed = rope_frequencies(
        HEAD_DIM, BASE, scaling="by-parts", factor=edges[-1] / TRAINED, original_length=TRAINED, beta=1.0001
    )
    made = turns(trained, TRAINED)
    slow = int((made < 1).sum())
    means = {name: runs.mean(dim=0).tolist() for name, runs in swept.items()}
    lows = {name: runs.amin(dim=0).tolist() for name, runs in swept.items()}
    highs = {name: runs.amax(dim=0).tolist() for name, runs in swept.items()}
    guess, names = math.log(SYMBOLS), [*SWEPT]
    spans = [(low, high - 1) for low, high in pairwise((1, *edges))]

    def says(read: int, chosen: int) -> str:
        name = names[chosen]
        low, high = spans[read]
        loss = f"*{fixed(means[name][read], 2)}* nats"
        seeds = f"mean of three seeds, {fixed(lows[name][read], 2)} to {fixed(highs[name][read], 2)}"
        how = ("Trained on 128 tokens", f"The {slow} slow pairs turn 8 times slower, and nothing was trained")[chosen]
        return f"{how}. Tokens {low} to {count(high)}: {loss} ({seeds}); a guess costs {fixed(guess, 2)}."

    return {
        "question": "Nothing that it needs is farther than 31 tokens. Why does it fail at 1,024?",
        "dials": [
            Dial("tokens read", [f"{count(edge)} tokens read" for edge in edges], at=len(edges) - 1, kind="player"),
            Dial("frequencies", names, kind="switch"),
        ],
        "says": says,
        "drawn": {
            "edges": edges,
            "means": [*means.values()],
            "lows": [*lows.values()],
            "highs": [*highs.values()],
            "guess": guess,
            "swept": (TRAINED * trained).tolist(),
            "turned": [trained.tolist(), slowed.tolist()],
            "slow": slow,
        },
        "rows": [
            ["tokens", *(f"{name}: {what}" for name in names for what in ("mean", "least", "most"))],
            *(
                [f"{low} to {high}", *(fixed(each[name][i], 3) for name in names for each in (means, lows, highs))]
                for i, (low, high) in enumerate(spans)
            ),
        ],
        "provenance": (
            "Three models of two layers, seeds 0 to 2, trained on texts of 128 to copy from 3, 7, 15 or 31 back; "
            "read: 32 other texts of 1,024; slowed by parts, factor 8, kept from 1 turn"
        ),
    }


@scene
def four_rules() -> dict[str, Any]:
    """How much four rules slow each pair of a head of 128, for a factor from 2 to 64."""
    trained = rope_frequencies(PUBLISHED_HEAD).double()
    slowed = {
        name: [(trained / rope_frequencies(PUBLISHED_HEAD, factor=float(f), **rule)).tolist() for f in FACTORS]
        for name, rule in RULES.items()
    }
    made = turns(trained, PUBLISHED_TRAINED).tolist()

    def says(f: int, pair: int) -> str:
        at = PAIRS[pair]
        pi, ntk, over_turns, over_index = (fixed(slowed[name][f][at], 1) for name in RULES)
        needs = (
            f"and needs to be {FACTORS[f]} times slower" if made[at] < 1
            else "and met every angle"
        )  # fmt: skip
        return (
            f"Pair {at} made {fixed(made[at], 2 if made[at] < 100 else 0)} turns in 2,048 tokens {needs}. "
            f"Slowed by: PI {pi}, NTK {ntk}, *by parts {over_turns} over turns, {over_index} over the index*."
        )

    return {
        "question": "How much does each rule slow each pair?",
        "dials": [
            Dial("factor", [f"f = {f}" for f in FACTORS], at=len(FACTORS) - 1),
            Dial("pair", [f"pair {pair}" for pair in PAIRS], at=PAIRS.index(37)),
        ],
        "says": says,
        "drawn": {
            "factors": FACTORS,
            "pairs": PAIRS,
            "names": [*RULES],
            "slowed": [*slowed.values()],
            "turned": sum(each >= 1 for each in made),
        },
        "rows": [
            ["factor", "pair", *RULES],
            *(
                [f, pair, *(fixed(each[i][pair], 2) for each in slowed.values())]
                for i, f in enumerate(FACTORS)
                for pair in PAIRS
            ),
        ],
        "provenance": "Head of 128, base 10,000, trained on 2,048 tokens, 1 to 32 turns: the course's rope_frequencies",
    }


def scored(queries: torch.Tensor, keys: torch.Tensor) -> int:
    """Pairs of these rows in which the key stands no later than the query; keys ascend."""
    return int(torch.searchsorted(keys, queries, right=True).sum())


@scene
def ring_of_keys() -> dict[str, Any]:
    """Keys go round four devices, under a causal mask: rows dealt out in order, or in zig-zag."""
    dealt = [deal(TOKENS, RANKS) for deal in DEALT.values()]
    # pairs that each rank scores in each step, when it has the keys of the rank `step` places before it
    pairs = [
        [[scored(rows[rank], rows[(rank - step) % RANKS]) for rank in range(RANKS)] for step in range(RANKS)]
        for rows in dealt
    ]
    worst = [imbalance(rows) for rows in dealt]
    many = [imbalance(deal(TOKENS, MANY_RANKS)) for deal in DEALT.values()]
    piece = TOKENS // (2 * RANKS)
    owners = [
        [next(rank for rank, own in enumerate(rows) if (own == piece * at).any()) for at in range(2 * RANKS)]
        for rows in dealt
    ]
    names = [*DEALT]

    def says(step: int, chosen: int) -> str:
        done = [sum(of_step[rank] for of_step in pairs[chosen][: step + 1]) for rank in range(RANKS)]
        idle = sum(not work for work in pairs[chosen][step])
        now = (
            "Each rank meets its own keys" if not step
            else f"Each rank meets the keys of the rank {('', 'before it', 'two before it', 'three before it')[step]}"
        )  # fmt: skip
        waits = (
            "all have work" if not idle else f"*{idle} of {RANKS} {'has' if idle == 1 else 'have'} nothing to do*"
        )
        if step < RANKS - 1:
            return f"Step {step + 1}, {names[chosen]}. {now}: {waits}."
        top = f"*{fixed(max(done) * RANKS / sum(done), 2)} times the mean*"
        return (
            f"Step {step + 1}, {names[chosen]}. {now}: {waits}. "
            f"In all the busiest rank does {top}; of 16 ranks it would do {fixed(many[chosen], 2)} times."
        )

    return {
        "question": "Keys go round four devices. Who waits for whom?",
        "dials": [
            Dial("step", [f"step {step + 1} of {RANKS}" for step in range(RANKS)], at=RANKS - 1, kind="player"),
            Dial("rows", names, kind="switch"),
        ],
        "says": says,
        "drawn": {"pairs": pairs, "owners": owners, "mean": TOKENS * (TOKENS + 1) / 2 / RANKS, "worst": worst},
        "rows": [
            ["rows", "rank", *(f"pairs in step {step + 1}" for step in range(RANKS)), "over the mean"],
            *(
                [name, rank, *(count(of_step[rank]) for of_step in of_deal),
                 fixed(sum(of_step[rank] for of_step in of_deal) * RANKS / sum(map(sum, of_deal)), 3)]
                for name, of_deal in zip(names, pairs, strict=True)
                for rank in range(RANKS)
            ),
        ],
        "provenance": f"{count(TOKENS)} rows, causal, by the course's contiguous_rows and zigzag_rows; pairs counted",
    }
