"""Drawings of the lesson local_and_global."""

import math
from functools import cache

import matplotlib
import torch

from solutions import local_global, streams, tiny
from solutions.checkpoints import load
from widgets.atlas import Atlas
from widgets.atlas.mask import Mask
from widgets.drawings import drawing
from widgets.drawings.canvas import SMALL, Canvas

LAYERS, WINDOW, TOKENS = 8, 16, 160
SHADES = 14  # of viridis, from the floor of the scale to 1


@cache
def cone() -> torch.Tensor:
    """How much each token, after each layer, moves the last output of an untrained stack: (layers + 1, tokens).

    Row 0 is the input, the last row the output itself; each row has 1 as its sum. The model and the sizes are the
    lesson's, in float64.
    """
    config = tiny.Config(8, ("window",) * LAYERS, heads=4, options={"window": {"window": WINDOW}}, seed=LAYERS)
    model = tiny.TinyTransformer(config).double()
    x = torch.randn(TOKENS, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    position, after = torch.arange(TOKENS), [x[None].requires_grad_()]
    for layer in model.layers:
        after.append(layer(after[-1], position))
    squares = torch.zeros(LAYERS + 1, TOKENS, dtype=torch.float64)
    for entry in after[-1][0, -1]:
        for row, slope in zip(squares, torch.autograd.grad(entry, after, retain_graph=True), strict=True):
            row += slope[0].pow(2).sum(-1)
    sizes = squares.sqrt()
    return sizes / sizes.sum(1, keepdim=True)


def within(share: float = 0.9) -> int:
    """Within how many tokens so much of the influence of other tokens on the last output lies."""
    back = cone()[0].flip(0)[1:]
    return int((back.cumsum(0) / back.sum() < share).sum()) + 1


@drawing
def cone_of_reach(page: Canvas) -> str:
    sizes, bound, most = cone(), local_global.receptive_field(LAYERS, WINDOW) - 1, within()
    back = bound + 8
    top = page.title(
        page.choose("What a stack can reach, and what it uses", "What a stack reaches, and uses"),
        f"{LAYERS} layers with a window of {WINDOW}, untrained. Shade: how much a token moves the last output.",
    )
    label = page.choose(62, 0)
    step, high = (page.width - label) / back, page.choose(24, 20)
    y = top + page.choose(14, 36)
    floor = math.log10(float(sizes[sizes > 0].min()))
    viridis = matplotlib.colormaps["viridis"]
    shades: dict[int, list] = {}
    edge = []
    for line, row in enumerate(sizes.flip(0)):
        at = y + line * high
        reach = line * (WINDOW - 1)
        edge += [(page.width - step * (reach + 1), at), (page.width - step * (reach + 1), at + high)]
        for distance, size in enumerate(row.flip(0)[:back].tolist()):
            if size > 0:
                shade = round((SHADES - 1) * (1 - math.log10(size) / floor))
                x = page.width - step * (distance + 1)
                shades.setdefault(shade, []).append((x, at + 0.5, step + 0.2, high - 1))
    for shade, cells in sorted(shades.items()):
        page.cells(cells, matplotlib.colors.to_hex(viridis(shade / (SHADES - 1))))
    page.line(edge, "ink", 1.5)
    bottom = y + high * (LAYERS + 1)
    if page.narrow:
        page.text(page.width, y - 8, "output, last token", SMALL, "ink-2", "end")
    else:
        page.text(label - 8, y + high - 7, "output", SMALL, "ink-2", "end")
        page.text(label - 8, bottom - 7, "input", SMALL, "ink-2", "end")
    for distance, words in ((bound, f"{bound} back"), (most, f"{most} back"), (0, page.choose("last token", "last"))):
        x = page.width - step * (distance + 0.5)
        page.line([(x, bottom + 2), (x, bottom + 8)], "ink-2")
        page.text(
            x,
            bottom + 24,
            words,
            SMALL,
            "ink-2",
            {0: "end", bound: page.choose("middle", "start")}.get(distance, "middle"),
        )
    below = bottom + page.choose(84, 72)
    columns = page.choose((label, 380), (0, 184))
    facts = (
        (str(bound), "tokens back is the bound: one further the influence is exactly 0"),
        (str(most), "tokens back hold 90 % of what other tokens do"),
    )
    for x, (number, words) in zip(columns, facts, strict=True):
        page.big(x, below, number)
        page.paragraph(x, below + 24, words, page.choose(270, 166), SMALL)
    y = page.height + 20
    page.text(columns[0], y + 12, "share of its row, log scale", SMALL, "ink-2")
    x, wide = page.choose((label + 200, 12), (0, 14))
    y += page.choose(0, 22)
    page.text(x, y + 12, f"1e{math.ceil(floor)}", SMALL, "ink-2")
    for shade in range(SHADES):
        page.cells(
            [(x + 44 + wide * shade, y + 2, wide + 0.2, 10)], matplotlib.colors.to_hex(viridis(shade / (SHADES - 1)))
        )
    page.text(x + 52 + wide * SHADES, y + 12, "1", SMALL, "ink-2")
    return (
        f"A triangle that widens downwards, from the last output through {LAYERS} layers to the input: each layer "
        f"adds {WINDOW - 1} tokens of reach, {bound} in all, and beyond its edge the influence is exactly 0. The "
        f"shade shows measured influence: it fades long before the edge, and {most} tokens hold 90 % of what other "
        "tokens contribute."
    )


FROM, TO, FETCHING = 128, 192, 100  # the lesson's block of queries, and its window


@drawing
def keys_of_a_block(page: Canvas) -> str:
    n = 256
    keys = local_global.keys_in_reach(FROM, TO, n, FETCHING)
    first, last = int(keys.min()), int(keys.max())
    made = (TO - FROM) * len(keys)
    seen = int(local_global.window_mask(torch.arange(FROM, TO), keys, FETCHING).sum())
    top = page.title(
        f"What queries {FROM} to {TO - 1} fetch",
        f"A window of {FETCHING}. Rows are queries, columns are keys; the band is what may be seen.",
    )
    unit = page.choose(1.25, 1.1)
    x, y = page.choose(66, 62), top + 34

    def at(key: float, query: float) -> tuple[float, float]:
        return x + unit * key, y + unit * query

    def shape(*points: tuple[float, float]) -> str:
        return "M" + "L".join(f"{a:.2f} {b:.2f}" for a, b in (at(*point) for point in points)) + "z"

    size, low = unit * n, FROM + 1 - FETCHING
    page.rect(x, y, size, size, "panel")
    band = shape((0, 0), (n, n), (n - FETCHING, n), (0, FETCHING))
    page.path(band, fill="s", opacity=0.2, bottom=y + size)
    inside = shape((low, FROM), (FROM, FROM), (TO, TO), (TO - FETCHING, TO))
    page.path(inside, fill="s", opacity=0.6, bottom=y + size)
    left, up = at(first, FROM)
    page.rect(left, up, unit * len(keys), unit * (TO - FROM), line="ink", width=1.5)
    page.rect(x - 8, up, 5, unit * (TO - FROM), "q")
    page.text(x - 14, up + 11, str(FROM), SMALL, "q", "end")
    page.text(x - 14, up + unit * (TO - FROM), str(TO - 1), SMALL, "q", "end")
    page.text(x - 14, up + unit * (TO - FROM) / 2 + 8, "queries", SMALL, "q", "end")
    page.rect(left, y - 8, unit * len(keys), 5, "k")
    page.text(left, y - 14, str(first), SMALL, "k")
    page.text(left + unit * len(keys), y - 14, str(last), SMALL, "k", "end")
    page.text(left + unit * len(keys) / 2, y - 14, "keys", SMALL, "k", "middle")
    for key in (first, last + 1):
        page.line([(at(key, 0)[0], y), (at(key, 0)[0], up)], "k", dash="2 3")
    page.text(x + size, y + size + 18, f"{n} tokens", SMALL, "ink-2", "end")
    facts = (
        (str(len(keys)), f"keys are fetched: {TO - FROM} of the block and {FETCHING - 1} before its first query"),
        (f"{made:,}", f"scores are made, {seen:,} of them inside the band; the two corners are masked"),
    )
    for place, (number, words) in enumerate(facts):
        left, at_y = (x + size + 44, y + 60 + 150 * place) if not page.narrow else (place * 184, y + size + 62)
        page.big(left, at_y, number)
        page.paragraph(left, at_y + 24, words, page.choose(page.width - left, 168), SMALL)
    return (
        f"A map of {n} queries by {n} keys with a band of width {FETCHING} below the diagonal. The rows {FROM} to "
        f"{TO - 1} are one block of queries. A frame shows the keys that it fetches, {first} to {last}, {len(keys)} "
        f"in all. Of the {made:,} scores in the frame {seen:,} lie in the band; the two corners are masked."
    )


CACHED = 131_072  # tokens


@drawing
def mixed_cache(page: Canvas) -> str:
    model = local_global.GEMMA_3_12B

    def cached(kinds: tuple[str, ...]) -> int:
        return local_global.pattern_kv_bytes(kinds, CACHED, model.window, model.kv_heads, model.head_dim)

    full = ("full",) * model.layers
    whole, mixed, one = cached(full), cached(model.layer_types), cached(full[:1])
    globals_ = tuple(kind for kind in model.layer_types if kind == "full")
    top = page.title(
        page.choose("A cache is as large as its global layers", "What a mixed cache holds"),
        f"Keys and values of {CACHED:,} tokens, layer by layer, in the shape of {model.name}. "
        f"Hatched: what a window of {model.window:,} need not keep.",
    )
    y, high = top + 20, page.choose(130, 110)
    step = page.width / model.layers
    for place, kind in enumerate(model.layer_types):
        x, wide, tall = step * place, step - page.choose(3, 2), high * cached((kind,)) / one
        if kind != "full":
            page.rect(x, y, wide, high, "panel")
            page.hatch(x, y, wide, high, step=9)
        page.rect(x, y + high - tall, wide, tall, "k")
    page.line([(0, y + high), (page.width, y + high)], "ink-2")
    words = f"{model.layers} layers, a global one {one / 1e9:.2f} GB, a local one {cached(('window',)) / 1e6:.1f} MB"
    bottom = page.paragraph(0, y + high + 20, words, page.width, SMALL)
    facts = (
        (f"{mixed / 1e9:.1f}", f"GB in place of {whole / 1e9:.1f}: {whole / mixed:.1f} times less."),
        (
            f"{cached(globals_) / 1e9:.1f}",
            f"GB of them lie in the {len(globals_)} global layers. A smaller window leaves these as they are.",
        ),
    )
    for place, (number, words) in enumerate(facts):
        x = place * page.choose(380, 184)
        page.big(x, bottom + page.choose(40, 32), number, colour="k" if place else "ink")
        page.paragraph(x, bottom + page.choose(64, 56), words, page.choose(320, 168), SMALL)
    return (
        f"{model.layers} bars, one a layer: what its cache holds of {CACHED:,} tokens. The {len(globals_)} global "
        f"layers fill their bars, {one / 1e9:.2f} GB each. The others hold {model.window:,} tokens, a sliver of less "
        f"than a hundredth; the rest of their bars is hatched. In all {mixed / 1e9:.1f} GB in place of "
        f"{whole / 1e9:.1f}, of which the global layers hold {cached(globals_) / 1e9:.1f}."
    )


STREAM, NEAR = 96, 8  # the lesson's text, and the window of its small models


@cache
def kept_by_head() -> dict[tuple[int, int], float]:
    """The share of each head's mass that falls into the window, by (layer, head): the all-global model, one text."""
    sample = streams.recall(1, STREAM // 3, torch.Generator().manual_seed(7))
    atlas = Atlas.from_model(load("window-all-global"), sample.tokens[0])
    return {(head.layer or 0, head.head): head.map.kept(Mask(window=NEAR)) for head in atlas.heads}


def kept_by_chance() -> float:
    """The share of the pairs of each row, on average, that fall into the window: what an even spread would keep."""
    place = torch.arange(STREAM)
    seen = local_global.window_mask(place, place, NEAR).sum(-1)
    return float((seen / (place + 1)).mean())


@drawing
def mass_outside_a_window(page: Canvas) -> str:
    shares, even = kept_by_head(), kept_by_chance()
    top = page.title(
        f"What a window of {NEAR} would keep of each head",
        f"The model that may look anywhere, on {STREAM} tokens. A bar is all of a head's mass; hatched lies outside.",
    )
    layers, heads = (1 + max(each) for each in zip(*shares, strict=True))
    label, gap = page.choose(66, 24), page.choose(24, 12)
    wide = (page.width - label - gap * (heads - 1)) / heads
    y, high = top + 42, page.choose(24, 24)
    for head in range(heads):
        x = label + (wide + gap) * head
        page.text(x, y - 12, f"head {head}, % kept", SMALL, "ink-2")
        for layer in range(layers):
            at, inside = y + (high + 6) * layer, wide * shares[layer, head]
            page.rect(x, at, inside, high, "s", opacity=0.45)
            page.rect(x + inside, at, wide - inside, high, "panel")
            page.hatch(x + inside, at, wide - inside, high)
            page.text(x + 8, at + 17, f"{100 * shares[layer, head]:.0f}", SMALL, bold=True)
            if head == 0:
                page.text(0, at + 17, page.choose(f"layer {layer}", str(layer)), SMALL, "ink-2")
        page.line([(x + wide * even, y - 6), (x + wide * even, y + (high + 6) * layers + 2)], "ink", 1.5, "4 3")
    bottom = y + (high + 6) * layers + 18
    said = f"{even:.0%} if spread evenly".replace("%", " %")
    page.text(label + wide * even, bottom + 2, said, SMALL, "ink", "start" if page.narrow else "middle")
    least, most = (f"{100 * pick(shares.values()):.0f}" for pick in (min, max))
    return (
        f"Twelve bars, one for each head of six layers: the share of its mass that a window of {NEAR} keeps, from "
        f"{least} to {most} %, beside a dashed line at {even:.0%}, what an even spread over all earlier tokens would "
        "keep. The rest of each bar is hatched: no head looks near alone."
    ).replace(f"{even:.0%}", f"{100 * even:.0f} %")
