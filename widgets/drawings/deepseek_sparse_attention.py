"""Drawings of the lesson deepseek_sparse_attention."""

import math

import torch

from solutions import sparse, streams, tiny
from solutions.checkpoints import load
from solutions.checkpoints import sparse as recipe
from solutions.sparse import price
from widgets.drawings import drawing
from widgets.drawings.canvas import SMALL, Canvas, strokes
from widgets.kit.format import count, fixed
from widgets.measurements import results

V32 = price.V32
TOKENS = 131_072


def unpacking() -> tuple[int, int]:
    """FLOPs of making keys and values of all heads from one latent, and after how many queries that is paid back."""
    flops = 2 * V32.heads * (V32.nope + V32.value) * V32.latent
    return flops, math.ceil(flops / (V32.absorbed - V32.expanded))


@drawing
def latent_two_ways(page: Canvas) -> str:
    flops, queries = unpacking()
    top = page.title(
        page.choose("One latent, two ways to attend to it", "One latent, two ways"),
        f"Lengths are numbers. A token keeps {V32.latent} + {V32.rope} for all {V32.heads} heads; "
        "below, one query and one head.",
    )
    unit, thick = page.choose(0.46, 0.46), 22

    def bar(x: float, y: float, size: int, colour: str, name: str = "", opacity: float = 0.3) -> float:
        page.rect(x, y, size * unit, thick, colour, opacity=opacity)
        if name:
            page.text(x + size * unit / 2, y + 16, name, SMALL, anchor="middle")
        return x + size * unit + 3

    y = top + 14
    page.text(0, y + 4, "kept of a token", bold=True)
    at = bar(0, y + 16, V32.latent, "m", f"latent {V32.latent}", 0.5)
    bar(at, y + 16, V32.rope, "k", f"{V32.rope}")
    page.text(at + V32.rope * unit + 10, y + 32, "its place", SMALL, "k")
    begin = y + 84
    panels = (
        ("Unpacked", "a prompt", V32.expanded, V32.nope + V32.rope, V32.value),
        ("Absorbed", "one new token", V32.absorbed, V32.latent + V32.rope, V32.latent),
    )
    for place, (name, when, cost, score, read) in enumerate(panels):
        x, y = (place * 380, begin) if not page.narrow else (0, begin + place * 324)
        page.text(x, y, name, 16, bold=True)
        page.text(x + page.choose(100, 100), y, f"for {when}", colour="ink-2")
        steps = (
            (("the latent becomes this head's key and value", V32.latent, V32.nope + V32.value), "once a token")
            if place == 0
            else (("the query becomes as long as a latent", V32.nope, V32.latent), "once a query")
        )
        (what, before, after), once = steps
        y = page.paragraph(x, y + 28, what, 330, SMALL)
        if place == 0:
            bar(x, y - 8, before, "m", str(before), 0.5)
            page.arrow([(x + 60, y + 18), (x + 60, y + 34)])
            page.text(x + 76, y + 31, f"{before} → {V32.nope} + {V32.value}, {once}", SMALL, "ink-2")
            at = bar(x, y + 38, V32.nope, "k", str(V32.nope))
            at = bar(at, y + 38, V32.rope, "k", str(V32.rope), 0.5)
            at = bar(at, y + 38, V32.value, "v", str(V32.value))
            page.text(at + 8, y + 54, "key and value", SMALL, "ink-2")
        else:
            at = bar(x, y - 8, before, "q", str(before))
            page.text(at + 8, y + 8, "query", SMALL, "ink-2")
            page.arrow([(x + 30, y + 18), (x + 30, y + 34)])
            page.text(x + 46, y + 31, f"{before} → {after}, {once}", SMALL, "ink-2")
            at = bar(x, y + 38, after, "q", str(after))
            bar(at, y + 38, V32.rope, "q", str(V32.rope), 0.5)
        y += 92
        page.text(x, y, "score", SMALL, "ink-2")
        page.rect(x + 52, y - 14, score * unit, 18, "s", opacity=0.4)
        page.text(x + 58, y, str(score), SMALL)
        page.text(x, y + 26, "read", SMALL, "ink-2")
        page.rect(x + 52, y + 12, read * unit, 18, "v" if place == 0 else "m", opacity=0.4)
        page.text(x + 58, y + 26, str(read), SMALL)
        page.big(x, y + page.choose(84, 76), count(cost))
        page.text(x, y + page.choose(106, 98), f"FLOPs a pair: 2 · {V32.heads} · ({score} + {read})", SMALL, "ink-2")
    page.paragraph(
        0, page.height + 30,
        f"Unpacking a token for all heads costs {flops / 1e6:.1f} M FLOPs, paid back after {queries} queries: a "
        "prompt has them, a new token has not.", page.width, colour="ink",
    )  # fmt: skip
    return (
        f"Multi-head latent attention. Of a token {V32.latent} numbers and {V32.rope} with its place are kept, for "
        f"all heads. Unpacked, each head makes a key of {V32.nope} and a value of {V32.value} from the latent, "
        f"scores {V32.nope + V32.rope} numbers and reads {V32.value}: {count(V32.expanded)} FLOPs a pair. Absorbed, "
        f"the query is made {V32.latent} long instead, scores {V32.latent + V32.rope} and reads {V32.latent}: "
        f"{count(V32.absorbed)}. Unpacking costs {flops / 1e6:.1f} million a token, paid back after {queries} "
        "queries."
    )


@drawing
def sparse_attention_whole(page: Canvas) -> str:
    thin, thick, some = V32.indexer, V32.absorbed, V32.top_k
    dense = price.dense_flops(TOKENS, "decode")
    index, core = price.indexer_flops(TOKENS), price.core_flops(TOKENS)
    saved = price.flops_saving(TOKENS, "decode")
    top = page.title(
        "DeepSeek sparse attention, whole",
        f"One new token after {count(TOKENS)}, one layer. Widths are tokens, heights FLOPs a pair.",
    )
    tall, wide = page.choose(150, 130), page.width
    low, few = tall * thin / thick, wide * some / TOKENS

    y = top + 22
    page.text(0, y, "1  The indexer scores all", bold=True)
    page.rect(0, y + 14, wide, low, "m")
    page.text(0, y + 14 + low + 20, f"{count(TOKENS)} tokens, {count(thin)} FLOPs each", SMALL, "ink-2")
    y += low + 78
    page.text(0, y, f"2  The {count(some)} best are chosen", bold=True)
    page.path(f"M0 {y + 14}H{wide}L{few:.2f} {y + 62}H0z", fill="s", opacity=0.18, bottom=y + 62)
    sign, middle = page.choose(300, 132), y + 34
    corners = [
        (sign + 12 * math.cos(math.pi * (i + 0.5) / 4), middle + 12 * math.sin(math.pi * (i + 0.5) / 4))
        for i in range(8)
    ]
    page.path(strokes(corners) + "z", fill="bad", bottom=middle + 12)
    page.rect(sign - 6, middle - 1.5, 12, 3, "paper")
    page.text(sign + 22, middle + 5, "no gradient passes", SMALL, "bad", bold=True)
    y += 92
    page.text(0, y, "3  Attention reads these alone", bold=True)
    page.rect(0, y + 16, wide, tall, line="ink-2", dash="4 4")
    page.rect(0, y + 16, few, tall, "s")
    page.text(few + 14, y + 38, f"{count(some)} tokens, {count(thick)} FLOPs each", SMALL)
    page.paragraph(few + 14, y + 66, "the dashed frame is attention to all", wide - few - 30, SMALL)
    right = wide - 14
    page.text(right, y + tall - 2, f"{dense / 1e9:.1f} GFLOP", 20, "ink-2", "end")
    y += tall + 46
    columns = page.choose((0, 250, 500), (0, 184, 0))
    facts = (
        (fixed(index / 1e9, 2), "GFLOP to choose"),
        (fixed(core / 1e9, 2), "GFLOP to attend"),
        (f"{saved:.1f}", "times fewer than attention to all"),
    )
    for place, (x, (number, words)) in enumerate(zip(columns, facts, strict=True)):
        at = y + 22 + (90 if page.narrow and place == 2 else 0)
        page.big(x, at, number)
        page.text(x, at + 22, words, SMALL, "ink-2")
    y = page.height + 34
    page.text(0, y, "4  Its teacher", bold=True)
    y += 16
    box = page.choose(150, 112)
    far = page.width - box
    page.rect(0, y, box, 40, "s", opacity=0.25, radius=6)
    page.text(box / 2, y + 25, "attention's p", anchor="middle")
    page.rect(far, y, box, 40, "m", opacity=0.25, radius=6)
    page.text(far + box / 2, y + 25, "softmax(I)", anchor="middle")
    page.arrow([(box + 8, y + 20), (far - 8, y + 20)], "ink")
    page.text((box + far) / 2, y + 12, page.choose("KL(p ‖ softmax(I))", "KL"), SMALL, "ink", "middle", bold=True)
    page.text((box + far) / 2, y + 40, page.choose("moves the indexer alone", "one way only"), SMALL, "ink-2", "middle")
    return (
        f"Sparse attention for one token after {count(TOKENS)}, areas as work. A long thin bar: the indexer scores "
        f"every token at {count(thin)} FLOPs. {count(some)} tokens are chosen, and no gradient passes the choice. A "
        f"tall narrow bar: attention reads these alone, {count(thick)} FLOPs each, inside a dashed frame for "
        f"attention to all, {dense / 1e9:.1f} GFLOP. Choosing costs {index / 1e9:.2f} and attending "
        f"{core / 1e9:.2f}, {saved:.1f} times fewer. An arrow from the attention's weights to the indexer is "
        "labelled KL: the indexer learns from them, and not back."
    )


def moved() -> dict[tuple[str, str], tuple[int, int]]:
    """(loss, weights) -> how many tensors the loss moves, of how many, in the trained small model's sparse stage."""
    model = recipe.choosing(load("sparse-warm-up")).train()
    losses = {"task": streams.loss(model, recipe.unseen(sequences=4))}
    losses["divergence"] = sparse.index_loss(model)  # of the same pass
    weights = {"model": sparse.model_parameters(model), "indexers": sparse.indexer_parameters(model)}
    found = {}
    for by, loss in losses.items():
        for whose, group in weights.items():
            felt = torch.autograd.grad(loss, group, retain_graph=True, allow_unused=True)
            found[by, whose] = sum(each is not None and bool((each != 0).any()) for each in felt), len(group)
    return found


@drawing
def losses_and_weights(page: Canvas) -> str:
    counts = moved()
    top = page.title(
        "Two losses, two sets of weights",
        "Tensors of our small model that get a gradient in the sparse stage.",
    )
    label, gap = page.choose(190, 0), 12
    wide, high = (page.width - label - gap) / 2, page.choose(116, 96)
    y = top + 30
    columns = {"model": "the model", "indexers": "the indexers"}
    rows = {"task": "loss of the task", "divergence": "KL to the attention"}
    for place, words in enumerate(columns.values()):
        page.text(label + place * (wide + gap) + wide / 2, y, words, anchor="middle", bold=True)
    y += 16
    for by, words in rows.items():
        if page.narrow:
            page.text(0, y + 14, f"moved by the {words}", SMALL, "ink-2")
            y += 26
        else:
            page.text(label - 18, y + high / 2, words, anchor="end", bold=True)
            page.text(label - 18, y + high / 2 + 20, "moves", SMALL, "ink-2", "end")
        for place, whose in enumerate(columns):
            x = label + place * (wide + gap)
            some, every = counts[by, whose]
            if some:
                page.rect(x, y, wide, high, {"model": "s", "indexers": "m"}[whose], opacity=0.26, radius=6)
            else:
                page.rect(x, y, wide, high, line="line", radius=6)
                page.hatch(x + 1, y + 1, wide - 2, high - 2, "line")
            middle, ink = (x + wide / 2, y + high / 2), "ink" if some else "ink-2"
            page.text(middle[0], middle[1] + 6, str(some), page.choose(44, 34), ink, "middle", bold=True, halo=not some)
            page.text(middle[0], middle[1] + 32, f"of {every}", SMALL, ink, "middle", halo=not some)
        y += high + gap
    told = [f"the {by} moves {some} of {every} tensors of the {whose}" for (by, whose), (some, every) in counts.items()]
    return (
        f"A table of two losses and two sets of weights: {'; '.join(told)}. Each loss moves its own set, and nothing "
        "crosses."
    )


PEAKS = (0.48, 0.02, 0.48, 0.02)  # a target with two peaks
INDEXERS = {"one peak": (0.94, 0.02, 0.02, 0.02), "all alike": (0.25, 0.25, 0.25, 0.25)}


def both_ways(indexer: tuple[float, ...]) -> tuple[float, float]:
    """KL(p ‖ softmax(I)) for the target with two peaks, and KL(softmax(I) ‖ p)."""
    p, q = (torch.tensor([[each]], dtype=torch.float64) for each in (PEAKS, indexer))
    return float(sparse.divergence(q.log(), p)), float(sparse.divergence(p.log(), q))


@drawing
def which_way_round(page: Canvas) -> str:
    found = {name: both_ways(shares) for name, shares in INDEXERS.items()}
    top = page.title(
        "Which indexer is nearer to the attention?",
        "Four keys. The attention reads two of them; one indexer finds one, the other has no preference.",
    )
    lefts, bar, tall = page.choose((0, 290, 540), (0, 130, 250)), page.choose(30, 20), page.choose(110, 90)
    panels = [(page.choose("the attention, p", "p"), PEAKS, "s")]
    panels += [(page.choose(f"indexer: {name}", name), shares, "m") for name, shares in INDEXERS.items()]
    y = top + 24
    for x, (name, shares, colour) in zip(lefts, panels, strict=True):
        page.text(x, y, name, bold=True)
        floor = y + 16 + tall
        for place, share in enumerate(shares):
            high = tall * share
            page.rect(x + place * (bar + 8), floor - high, bar, high, colour, opacity=0.6)
            page.text(
                x + place * (bar + 8) + bar / 2, floor + 18, f"{share:.2f}".removeprefix(page.choose("", "0")),
                page.choose(SMALL, 12), "ink-2", "middle",
            )  # fmt: skip
        page.line([(x, floor), (x + 4 * bar + 24, floor)], "ink-2")
    y += tall + 44
    ways = (
        ("KL(p ‖ softmax(I))", "this way round: both peaks count"),
        ("KL(softmax(I) ‖ p)", "the other way: one peak is enough"),
    )
    for place, (formula, words) in enumerate(ways):
        y += page.choose(36, 34)
        page.text(0, y, formula, 15, bold=True)
        page.text(0, y + 19, words, SMALL, "ink-2")
        lowest = min(each[place] for each in found.values())
        y += page.choose(6, 50)
        for x, each in zip(lefts[1:], found.values(), strict=True):
            nearer = each[place] == lowest
            page.text(x, y, fixed(each[place], 2), page.choose(26, 24), "ink" if nearer else "ink-2", bold=nearer)
            if nearer:
                page.text(x + page.choose(76, 0), y + page.choose(-2, 18), "nearer", SMALL, "good", bold=True)
        y += page.choose(22, 18)
    one, alike = found.values()
    return (
        "Three bar charts over four keys. The attention p has two equal peaks; one indexer has one of these peaks, the "
        f"other gives all keys the same. By KL(p ‖ softmax(I)) the one with one peak is at {one[0]:.2f} and the even "
        f"one at {alike[0]:.2f}, nearer. By KL(softmax(I) ‖ p) it is the reverse: {one[1]:.2f} and {alike[1]:.2f}."
    )


CHOSEN = 8
ENDS = 592, 654, 716  # of the columns of numbers
CHOICES = {
    "untrained": ("dense", "indexer"),
    "random": ("dense", "random"),
    "warmed up": ("warm-up", "indexer"),
    "trained": ("sparse", "indexer"),
    "the last keys": ("sparse", "window"),
}


def sparse_seeds() -> list[dict]:
    return [found for name, found in results("sparse").items() if name.startswith("seed-")]


def held_and_found(stage: str, selector: str) -> tuple[float, float, float]:
    """Mean of all seeds at 8 keys: mass over the oracle's, values found, and found more than 31 tokens back."""
    runs = [run for seed in sparse_seeds() for run in seed["runs"]]
    readings = [each for run in runs if run["stage"] == stage for each in run["readings"]
                if (each["selector"], each["top_k"], each["tokens"]) == (selector, CHOSEN, 96)]  # fmt: skip
    mass = sum(sum(each["mass"]["of_best"]) / 2 for each in readings)
    found, far = (sum(each[key] for each in readings) for key in ("recall", "far_recall"))
    return mass / len(readings), found / len(readings), far / len(readings)


@drawing
def mass_and_found(page: Canvas) -> str:
    rows = {name: held_and_found(*which) for name, which in CHOICES.items()}
    top = page.title(
        "What a choice holds, and what it finds",
        f"{CHOSEN} keys for each query, in per cent, mean of {len(sparse_seeds())} seeds. "
        f"Mass is of what the best {CHOSEN} hold.",
    )
    kinds = (("mass held", "s"), ("values found", "v"), ("far values found", "o"))
    y = top + 26
    for place, (words, colour) in enumerate(kinds):
        x = page.choose((130, 250, 390), (0, 110, 228))[place]
        mark(page, x + 7, y - 5, place, colour)
        page.text(x + 20, y, words, SMALL)
        if not page.narrow:
            mark(page, ENDS[place] - 18, y - 5, place, colour)
    left, wide = page.choose((130, 400), (8, 340))
    y += page.choose(14, 12)
    high = page.choose(40, 62)
    for at in (0, 25, 50, 75, 100):
        for row in range(len(rows)):
            above = y + high * row + page.choose(0, 38)
            page.line([(left + wide * at / 100, above), (left + wide * at / 100, y + high * (row + 1))], "line")
        page.text(left + wide * at / 100, y + high * len(rows) + 20, str(at), SMALL, "ink-2",
                  page.choose("middle", "start" if at == 0 else "end" if at == 100 else "middle"))  # fmt: skip
    for name, shares in rows.items():
        middle = y + page.choose(high / 2, high - 14)
        page.text(0, middle + page.choose(5, -18), name, bold=True)
        page.line([(left + wide * min(shares), middle), (left + wide * max(shares), middle)], "ink-2", 1.5)
        for place, (share, (_, colour)) in enumerate(zip(shares, kinds, strict=True)):
            mark(page, left + wide * share, middle, place, colour)
            x = page.choose(ENDS, (224, 288, 352))[place]
            page.text(x, middle + page.choose(5, -18), f"{100 * share:.1f}", 15, colour, "end", bold=True)
        y += high
    told = "; ".join(
        f"{name}: {100 * mass:.1f}, {100 * found:.1f} and {100 * far:.1f}" for name, (mass, found, far) in rows.items()
    )
    return (
        f"Three dots a row, in per cent, for choices of {CHOSEN} keys: the mass held over the oracle's, the values "
        f"found, and the values found more than 31 tokens back. {told}. The last keys hold much and find no far values."
    )


def mark(page: Canvas, x: float, y: float, shape: int, colour: str) -> None:
    """A square, a disc or a triangle about a point, set off from what lies under it."""
    if shape == 2:
        corners = strokes([(x, y - 6.5), (x + 6.5, y + 5), (x - 6.5, y + 5)]) + "z"
        page.path(corners, fill=colour, colour="paper", bottom=y + 5)
    else:
        side = (11, 15)[shape]
        page.rect(x - side / 2, y - side / 2, side, side, colour, line="paper", radius=side / 2 * shape)


TURNED, STAY = 16, 16  # entries of a vector, of which half turn


def partners(turn) -> list[tuple[int, int]]:
    """Which entries a rotation mixes: entry by entry, from what it makes of a 1 there."""
    frequencies = tiny.rope_frequencies(TURNED, 10_000.0)
    turned = turn(torch.eye(TURNED + STAY)[:, None], torch.tensor([1]), frequencies).squeeze(1)
    return [(i, int(j)) for i, row in enumerate(turned) for j in row.nonzero().flatten() if i < j]


@drawing
def pairs_that_turn(page: Canvas) -> str:
    layouts = {name: partners(turn) for name, turn in sparse.LAYOUTS.items()}
    shared = set.intersection(*map(set, layouts.values()))
    top = page.title(
        "The same vector, two customs",
        f"Arcs join the entries that turn as a pair. Of {TURNED + STAY} entries half turn, the others stay.",
    )
    cell, rest = page.choose((36, 130), (17.5, 72))
    y = top
    for name, pairs in layouts.items():
        tall = page.choose(76, 54) if name == "half-split" else page.choose(26, 18)
        y += 26
        page.text(0, y, name, bold=True)
        y += tall + page.choose(18, 14)
        for place, (i, j) in enumerate(pairs):
            x, to = (i + 0.5) * cell, (j + 0.5) * cell
            first = place == 0
            page.path(
                f"M{x:.2f} {y:.2f}A{(to - x) / 2:.2f} {tall} 0 0 1 {to:.2f} {y:.2f}",
                colour="k" if first else "ink-2", width=3 if first else 1.2, bottom=y,
            )  # fmt: skip
        for entry in range(TURNED):
            held = entry in pairs[0]
            page.rect(entry * cell, y + 2, cell - 1, 26, "k", opacity=0.36 if held else 0.16)
            page.text((entry + 0.5) * cell, y + 20, str(entry), page.choose(SMALL, 12), anchor="middle", bold=held)
        page.rect(TURNED * cell + 8, y + 2, rest, 26, line="line")
        page.hatch(TURNED * cell + 8, y + 2, rest, 26, "line")
        stays = f"{TURNED} to {TURNED + STAY - 1}" + page.choose(" stay", "")
        page.text(TURNED * cell + 8 + rest / 2, y + 20, stays, page.choose(SMALL, 12), anchor="middle", halo=True)
        y += 34
    told = f"Thick: the pair that turns fastest. Of {TURNED // 2} pairs the two have {len(shared) or 'none'} in common."
    page.paragraph(0, y + 22, told, page.width, SMALL)
    return (
        f"A vector of {TURNED + STAY} entries, drawn twice. Half-split: wide arcs join 0 with {TURNED // 2}, 1 with "
        f"{TURNED // 2 + 1}, up to {TURNED // 2 - 1} with {TURNED - 1}. Interleaved: small arcs join neighbours, 0 "
        f"with 1, 2 with 3, up to {TURNED - 2} with {TURNED - 1}. Entries {TURNED} to {TURNED + STAY - 1} stay. "
        f"The two have {len(shared) or 'none'} of {TURNED // 2} pairs in common."
    )


@drawing
def mean_is_an_area(page: Canvas) -> str:
    last = price.LAST
    top = page.title(
        "At a position, or on average?",
        "Decoding, USD per million tokens. Dashed: the mean of a whole text.",
    )
    left, wide, tall = page.choose(44, 32), page.choose(430, 196), page.choose(250, 240)
    floor, most = top + 22 + tall, 2.5
    right = left + wide

    def at(position: float, cost: float) -> tuple[float, float]:
        return left + wide * position / last, floor - tall * cost / most

    for cost in (0, 0.5, 1, 1.5, 2, 2.5):
        page.text(left - 8, at(0, cost)[1] + 5, f"{cost:g}", SMALL, "ink-2", "end")
        page.line([at(0, cost), at(last, cost)], "line")
    for words, position in (("0", 0), ("64K", last / 2), ("128K", last)):
        page.text(at(position, 0)[0], floor + 20, words, SMALL, "ink-2", "middle")
    page.text(left + wide / 2, floor + 40, "position, tokens", SMALL, "ink-2", "middle")
    labels = []
    for model, colour in ((price.V31, "s"), (price.V32_EXP, "m")):
        corners = [at(*corner) for corner in price.FIGURE["decode", model]]
        page.path(strokes([at(0, 0), *corners, at(last, 0)]) + "z", fill=colour, opacity=0.25, bottom=floor)
        page.line(corners, colour, 2.5)
        mean, end = price.figure_mean(last, "decode", model), price.figure_cost(last, "decode", model)
        page.line([at(0, mean), at(last, mean)], colour, 1.5, "6 4")
        labels += [(end, f"{end:.3f}", page.choose(f"{model}, at 128K", model[:4]), colour)]
        labels += [(mean, f"{mean:.3f}", page.choose("its mean", "mean"), colour)]
    for cost in price.CLAIM:
        page.line([at(0, cost), at(last, cost)], "bad", 1.5, "2 4")
        labels.append((cost, f"{cost:.2f}", page.choose("in the article", "article"), "bad"))
    y = -math.inf
    for cost, number, words, colour in sorted(labels, reverse=True):
        y = max(at(last, cost)[1] + 5, y + page.choose(20, 20))
        page.line([(right + 3, at(last, cost)[1]), (right + 14, y - 5)], colour)
        page.text(right + 18, y, number, 15, colour, bold=True)
        page.text(right + page.choose(76, 74), y, words, SMALL, "ink-2")
    area = "A dashed line is as high as a rectangle with the area under its curve."
    page.paragraph(0, floor + 66, area, page.width, SMALL)
    told = ", ".join(f"{number} {words}" for _, number, words, _ in sorted(labels, reverse=True))
    return (
        "The price of a decoded token against its position, for the old model a line that rises steeply, for the new "
        f"one a line that bends early and stays low, the areas below them shaded. Levels from above: {told}. No level "
        "of the new model comes near the article's 0.70."
    )
