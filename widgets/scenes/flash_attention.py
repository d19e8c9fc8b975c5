"""The scenes of the lesson on flash attention, counted."""

import math
from functools import cache
from itertools import pairwise
from typing import Any

import torch

from solutions import flash
from solutions.flash import TileMachine, merge, online_softmax
from widgets.drawings.quadratic_attention import SIX, WORDS
from widgets.kit.format import count
from widgets.scenes.scene import Dial, scene
from widgets.theatre import Trace

AT_ONCE = 2  # scores of a piece
SCORES = SIX @ SIX[WORDS.index("mat")]


@scene
def change_of_unit() -> dict[str, Any]:
    """The row of mat in three pieces: when the maximum moves, what was summed so far shrinks."""
    pieces = SCORES.split(AT_ONCE)
    read = [online_softmax(pieces[: end + 1]) for end in range(len(pieces))]
    maxima, sums = [float(each) for each, _ in read], [float(each) for _, each in read]
    new = [float((piece - maximum).exp().sum()) for piece, maximum in zip(pieces, maxima, strict=True)]
    alphas = [math.exp(old - moved) for old, moved in pairwise(maxima)]
    names = [f"({', '.join(f'{score:.0f}' for score in piece.tolist())})" for piece in pieces]

    def told(i: int) -> str:
        if i == 0:
            return (
                f"{names[0]} has been read. The maximum is {maxima[0]:.0f}, each score counts "
                f"e^(0 - 0) = 1, and the sum is *{sums[0]:.4f}*."
            )
        return (
            f"{names[i]} brings a new maximum, {maxima[i]:.0f}. The old bars shrink by "
            f"e^({maxima[i - 1]:.0f} - {maxima[i]:.0f}) = {alphas[i - 1]:.4f}, then the new ones are added: "
            f"{alphas[i - 1]:.4f} · {sums[i - 1]:.4f} + {new[i]:.4f} = *{sums[i]:.4f}*."
        )

    return {
        "question": "The row of mat comes two scores at a time. What becomes of the sum?",
        "dials": [Dial("pieces read", [f"{name} read" for name in names], at=1, kind="player")],
        "says": told,
        "drawn": {"words": WORDS, "scores": SCORES.tolist(), "atOnce": AT_ONCE, "maxima": maxima},
        "rows": [
            ["piece", "maximum", "old sum times", "new terms", "sum"],
            *(
                [name, f"{maximum:.0f}", f"{alpha:.4f}" if alpha else "–", f"{added:.4f}", f"{total:.4f}"]
                for name, maximum, alpha, added, total in zip(names, maxima, [0.0, *alphas], new, sums, strict=True)
            ),
        ],
        "provenance": (
            "mat = (0, 2, 0) with each word of the cat sat on the mat; maxima and sums by the course's online_softmax"
        ),
    }


@scene
def two_workers() -> dict[str, Any]:
    """The row of mat cut in two: the whole output lies between the two outputs, nearer to the one with more mass."""
    cuts = range(1, len(WORDS))
    values = SIX[:, :2]

    def part(words: slice) -> tuple[torch.Tensor, torch.Tensor]:
        scores = SCORES[words]
        return scores.softmax(-1) @ values[words], scores.logsumexp(-1)

    parts = [(part(slice(cut)), part(slice(cut, None))) for cut in cuts]
    merged = [merge(a[0][None], a[1][None], b[0][None], b[1][None])[0][0].tolist() for a, b in parts]
    masses = [(float(a[1].exp()), float(b[1].exp())) for a, b in parts]
    shares = [b / (a + b) for a, b in masses]

    def told(i: int) -> str:
        a, b = masses[i]
        return (
            f"A has read {', '.join(WORDS[: cuts[i]])}: e^lse = {a:.1f}. B has read {', '.join(WORDS[cuts[i] :])}: "
            f"{b:.1f}. B's share is {b:.1f} / {a + b:.1f} = *{shares[i]:.2f}*: the whole lies at this share of "
            "the way from A to B."
        )

    return {
        "question": "Two workers have read the row of mat, each a part. Where is the whole?",
        "dials": [Dial("cut", [f"cut after {WORDS[cut - 1]}, {cut} of {len(WORDS)}" for cut in cuts], at=3)],
        "says": told,
        "drawn": {
            "words": WORDS,
            "values": values.tolist(),
            "a": [a[0].tolist() for a, _ in parts],
            "b": [b[0].tolist() for _, b in parts],
            "whole": merged[0],
            "shares": shares,
        },
        "rows": [
            ["words of A", "e^lse of A", "e^lse of B", "share of B", "whole: animal", "whole: place"],
            *(
                [cut, f"{a:.2f}", f"{b:.2f}", f"{share:.3f}", f"{animal:.3f}", f"{place:.3f}"]
                for cut, (a, b), share, (animal, place) in zip(cuts, masses, shares, merged, strict=True)
            ),
        ],
        "provenance": "six words with two of their three numbers as values; joined by the course's merge",
    }


BLOCK_M, BLOCK_N, BUDGET = 32, 128, 48 * 1024
ORDERS = {"K stays": flash.attend_in_tiles, "K is dropped": flash.tiled_attention}
PARTS = {"Q": ("q",), "O": ("acc", "m", "l"), "S": ("scores",), "K": ("k",), "V": ("v",)}


def loads(attend) -> list[tuple[str, int, dict[str, int]]]:
    """What the first program of an attention over two blocks of keys loads and stores: tensor, first row, and bytes in
    SRAM just after, by part."""
    machine = TileMachine()
    q, k, v = torch.zeros(3, 2 * BLOCK_N, 64).half().unbind(0)
    attend(machine, q, k, v, block_m=BLOCK_M, block_n=BLOCK_N)
    found = [event for event in machine.events if event.program == 0 and event.tensor in ("q", "k", "v", "out")]
    return [
        (
            event.tensor,
            event.rows[0],
            {part: sum(event.live[name][1] for name in names if name in event.live) for part, names in PARTS.items()},
        )
        for event in found
    ]


@scene
def room_for_v() -> dict[str, Any]:
    """What lies in SRAM while a program reads its keys: dropping K before V comes saves a whole tile."""
    runs = [loads(attend) for attend in ORDERS.values()]
    first = runs[0]

    def words(i: int) -> str:
        tensor, row, _ = first[i]
        many = {"q": "queries", "k": "keys", "v": "values", "out": "rows of the output"}[tensor]
        last = row + (BLOCK_N if tensor in ("k", "v") else BLOCK_M) - 1
        return f"{many} {row} to {last}"

    def told(i: int, order: int) -> str:
        tensor, _, parts = runs[order][i]
        held, total = [part for part, size in parts.items() if size], sum(parts.values())
        went = "leave for HBM" if tensor == "out" else "have come"
        fits = "within" if total <= BUDGET else "more than"
        return (
            f"{words(i).capitalize()} {went}. In SRAM: {', '.join(held)}, together *{count(total)} B*, "
            f"{fits} the {count(BUDGET)} of 48 KiB."
        )

    return {
        "question": "Where does V find room?",
        "dials": [
            Dial("loads and stores", [words(i) for i in range(len(first))], at=2, kind="player"),
            Dial("after the scores", list(ORDERS), at=0, kind="switch"),
        ],
        "says": told,
        "drawn": {
            "parts": list(PARTS),
            "sizes": [[list(parts.values()) for _, _, parts in run] for run in runs],
            "tiles": [[tensor[0], row // (BLOCK_N if tensor in ("k", "v") else BLOCK_M)] for tensor, row, _ in first],
            "budget": BUDGET,
        },
        "rows": [
            ["after", *(f"bytes in SRAM, {order}" for order in ORDERS)],
            *([words(i), *(count(sum(run[i][2].values())) for run in runs)] for i in range(len(first))),
        ],
        "provenance": (
            f"the course's attend_in_tiles and tiled_attention on the tile machine: {2 * BLOCK_N} tokens of 64 numbers "
            f"in half precision, {BLOCK_M} queries and {BLOCK_N} keys a tile; O with m and ℓ, scores S, in float32"
        ),
    }


TOKENS, BLOCK, TILE = 1024, 64, 64 * 64 * 2  # bytes of a tile of Q, K or V
SIDE = TOKENS // BLOCK
TOGETHER, CACHES = (1, 2, 4, 8, 16), (64 * 1024, 512 * 1024)


@cache
def reads() -> Trace:
    """What the programs of one head load."""
    machine = TileMachine()
    q, k, v = torch.zeros(3, TOKENS, 64).half().unbind(0)
    flash.tiled_attention(machine, q, k, v, block_m=BLOCK, block_n=BLOCK)
    return Trace.of_machine(machine)


def fetched(together: int, room: int) -> list[list[int]]:
    """For each program and tile of K: 1 where it comes from HBM, 0 where a cache of `room` bytes has it.

    The tile that was asked for longest ago leaves first; `together` programs go in step, as in `Trace.l2_bytes`.
    """
    kept: dict[tuple[str, int], None] = {}
    grid = [[0] * SIDE for _ in range(SIDE)]

    def missed(tensor: str, tile: int) -> bool:
        found = (tensor, tile) in kept
        kept.pop((tensor, tile), None)
        kept[tensor, tile] = None
        if len(kept) * TILE > room:
            del kept[next(iter(kept))]
        return not found

    for first in range(0, SIDE, together):
        wave = range(first, first + together)
        for program in wave:
            missed("q", program)
        for tile in range(SIDE):
            for program in wave:
                grid[program][tile] = int(missed("k", tile))
            for _ in wave:
                missed("v", tile)
    return grid


@scene
def one_fetch() -> dict[str, Any]:
    """The cache between: programs that run side by side ask for a tile many times, and one of them fetches it."""
    trace = reads()
    grids = [[fetched(together, room) for room in CACHES] for together in TOGETHER]
    asked = trace.issued_bytes("k") // TILE

    def told(i: int, room: int) -> str:
        fetches = sum(map(sum, grids[i][room]))
        side = "One program at a time" if TOGETHER[i] == 1 else f"{TOGETHER[i]} programs side by side"
        return (
            f"{side}, a cache of {CACHES[room] // 1024} KiB: the programs ask for a tile of K {asked} times, "
            f"and *{fetches}* times it is fetched from HBM."
        )

    return {
        "question": "Each program asks for every tile of K. Who fetches it?",
        "dials": [
            Dial("programs at once", [f"{n} at once" for n in TOGETHER], at=2, kind="player"),
            Dial("cache", [f"cache of {room // 1024} KiB" for room in CACHES], kind="switch"),
        ],
        "says": told,
        "drawn": {"grids": grids, "together": TOGETHER, "asked": asked},
        "rows": [
            ["programs at once", *(f"bytes read from HBM, cache of {room // 1024} KiB" for room in CACHES)],
            *([n, *(count(trace.l2_bytes(room, n)) for room in CACHES)] for n in TOGETHER),
        ],
        "provenance": (
            f"a model: {count(TOKENS)} tokens, a head of 64, blocks of {BLOCK} × {BLOCK}; K and V are 256 KiB; the "
            "tile asked for longest ago leaves first, programs go in step"
        ),
    }


KEYS, KEY_HEADS, PROCESSORS, BEST = 131_072, 8, 132, 16
SPLITS = range(1, 2 * PROCESSORS // KEY_HEADS + 1)


@scene
def waves() -> dict[str, Any]:
    """One query, keys in parts: 16 parts nearly fill a wave of an H100, 17 need a second one for four programs."""

    def counted(splits: int) -> tuple[int, int, float]:
        """Programs, waves, and time beside that of 16 parts: a wave takes as long as one part."""
        programs = KEY_HEADS * splits
        needed = math.ceil(programs / PROCESSORS)
        return programs, needed, needed * math.ceil(KEYS / splits) / math.ceil(KEYS / BEST)

    def told(i: int) -> str:
        splits = SPLITS[i]
        programs, needed, times = counted(splits)
        parts = "1 part is" if splits == 1 else f"{splits} parts are"
        last = programs - (needed - 1) * PROCESSORS
        full = f"{programs / (needed * PROCESSORS):.0%}".replace("%", " %")
        fills = f"{last} in one wave" if needed == 1 else f"{PROCESSORS} in a first wave, {last} in a second"
        beside = "" if splits == BEST else f" By this count they take {times:.2f} times as long as {BEST} parts."
        return f"{parts} {programs} programs: {fills}. *{full}* of the places are used.{beside}"

    return {
        "question": f"{KEY_HEADS} key heads, {PROCESSORS} processors: into how many parts do you cut the keys?",
        "dials": [Dial("parts", [f"{n} part{'s' if n > 1 else ''}" for n in SPLITS], at=BEST, kind="player")],
        "says": told,
        "drawn": {"heads": KEY_HEADS, "processors": PROCESSORS},
        "rows": [
            ["parts", "programs", "waves", f"time beside {BEST} parts"],
            *([splits, *counted(splits)[:2], f"{counted(splits)[2]:.2f}"] for splits in SPLITS),
        ],
        "provenance": (
            f"arithmetic: {count(KEYS)} tokens, one program a processor and a part; processors of an H100 "
            "(FlashAttention-3, arXiv 2407.08608)"
        ),
    }
