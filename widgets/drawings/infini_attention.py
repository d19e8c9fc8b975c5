"""Drawings of the lesson infini_attention."""

import math
from itertools import pairwise

import torch

from solutions import infini, quadratic, tiny
from widgets.drawings import drawing
from widgets.drawings.canvas import SMALL, Canvas
from widgets.kit.format import count

VALUES, WEIGHTS = (2, 6), (3, 1)  # of the lesson's two pairs


def weighed() -> tuple[float, float, float]:
    """A memory of two pairs, read with a query that weighs them 3 and 1: σ(q) M, σ(q) z, and what is read."""
    key = torch.tensor([[0.0, -700], [-700, 0]], dtype=torch.float64)  # σ is 1 at 0, and e^-700 at -700
    q = torch.tensor([WEIGHTS], dtype=torch.float64) - 1  # σ(x) = x + 1
    nothing = torch.zeros(2, 1, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    memory, z = infini.update_linear(key, torch.tensor([VALUES], dtype=torch.float64).mT, *nothing)
    weight = infini.feature(q)
    return float(weight @ memory), float(weight @ z), float(infini.retrieve(q, memory, z))


@drawing
def read_as_balance(page: Canvas) -> str:
    total, weights, read = weighed()
    top = page.title(
        page.choose("What is read is where the values balance", "A read balances the values"),
        "Two values of the memory, at their places. Blocks are weights.",
    )
    unit, block = page.choose(66, 52), page.choose(34, 30)
    left, beam = page.choose(40, 24), top + 26 + 3 * (block + 4)

    def at(value: float) -> float:
        return left + (value - 1) * unit

    for value, weight in zip(VALUES, WEIGHTS, strict=True):
        for step in range(weight):
            bottom = beam - 4 - step * (block + 4)
            page.rect(at(value) - block / 2, bottom - block, block, block, "s", opacity=0.4, radius=3)
    page.text(at(VALUES[0]) + block / 2 + 10, beam - 1.5 * block - 3, f"weight {WEIGHTS[0]}", SMALL, "s", bold=True)
    page.text(at(VALUES[1]) - block / 2 - 10, beam - block / 2, f"weight {WEIGHTS[1]}", SMALL, "s", "end", bold=True)
    page.rect(at(1), beam, 6 * unit, 5, "ink", radius=2)
    x, foot = at(read), beam + 30
    page.path(f"M{x:.2f} {beam + 6}L{x - 14:.2f} {foot}H{x + 14:.2f}z", fill="o", bottom=foot)
    for value in VALUES:
        page.text(at(value), beam + 24, str(value), 16, "v", "middle", bold=True)
    page.text(at(VALUES[1]), beam + 42, "value", SMALL, "v", "middle")
    page.text(at(VALUES[0]), beam + 42, "value", SMALL, "v", "middle")
    page.text(x + 22, foot, f"{read:g}, read", 16, "o", bold=True)

    x, y = page.choose((490, top + 34), (0, beam + 84))
    rows = (
        ("M", "the weighted sum", f"{WEIGHTS[0]} · {VALUES[0]} + {WEIGHTS[1]} · {VALUES[1]} = {total:g}"),
        ("z", page.choose("the sum of the weights", "sum of weights"), f"{WEIGHTS[0]} + {WEIGHTS[1]} = {weights:g}"),
    )
    for place, (name, what, sum_) in enumerate(rows):
        across = x + place * page.choose(0, 196)
        down = y + place * page.choose(62, 0)
        page.text(across, down, f"σ(q){name}, {what}", SMALL, "ink-2")
        page.text(across, down + 24, sum_, 17, "m", bold=True)
    arms = f"weight · distance: {WEIGHTS[0]} · {read - VALUES[0]:g} = {WEIGHTS[1]} · {VALUES[1] - read:g}"
    page.text(x, y + page.choose(130, 66), f"{total:g} / {weights:g} = {read:g}", page.choose(28, 24), bold=True)
    page.text(x, y + page.choose(156, 92), arms, SMALL, "ink-2")
    return (
        f"A beam with the values {VALUES[0]} and {VALUES[1]} marked on it. {WEIGHTS[0]} blocks stand at {VALUES[0]} "
        f"and {WEIGHTS[1]} at {VALUES[1]}: the weights. The beam balances at {read:g}, which is what is read: σ(q)M is "
        f"{total:g}, the weighted sum of the values, σ(q)z is {weights:g}, the sum of the weights."
    )


TOKENS, HEAD_DIM = 512, 64


def multiplications(n: int, d: int) -> tuple[int, int]:
    """Of one head without a mask: with the brackets around Q and K, and around K and V."""
    return quadratic.attention_multiplications(n, d), 2 * n * d * d


@drawing
def bracket_moved(page: Canvas) -> str:
    n, d = TOKENS, HEAD_DIM
    first, second = multiplications(n, d)
    far = 131_072
    ratio = multiplications(far, d)[0] // multiplications(far, d)[1]
    top = page.title(
        page.choose("The same product, the bracket moved", "The bracket moved"),
        f"{n} tokens, a head of {d}, no softmax between. Areas are numbers.",
    )
    unit, gap = page.choose(0.42, 0.24), page.choose(10, 7)
    long, short = n * unit, d * unit

    def matrix(x: float, y: float, w: float, h: float, colour: str, name: str, opacity: float = 0.3) -> None:
        page.rect(x, y, w, h, colour, opacity=opacity)
        inside = min(w, h) > 20
        page.text(
            x + w / 2,
            y + h / 2 + 5 if inside else y - 6,
            name,
            colour="ink" if inside else colour,
            anchor="middle",
            bold=True,
        )

    y = top + 26
    panels = (("(QKᵀ)V", n * n, first), ("Q(KᵀV)", d * d, second))
    for place, (name, held, cost) in enumerate(panels):
        x = place * page.choose(360, 190)
        page.text(x, y, name, page.choose(17, 16), bold=True)
        corner = y + 40 + short + gap
        if place == 0:
            matrix(x, corner, short, long, "q", "Q")
            matrix(x + short + gap, corner - gap - short, long, short, "k", "Kᵀ")
            matrix(x + short + gap, corner, long, long, "s", f"{n} × {n}", 0.5)
        else:
            right = x + long + gap
            matrix(right, y + 40, short, long, "v", "V")
            matrix(x, y + 40 + long + gap, long, short, "k", "Kᵀ")
            page.rect(right, y + 40 + long + gap, short, short, "m", opacity=0.7)
            size = page.choose(f"M, {d} × {d}", "M")
            page.text(right + short + 8, y + 40 + long + gap + short / 2 + 5, size, bold=True)
        below = corner + long + page.choose(56, 46)
        page.text(x, below, count(held), page.choose(34, 22), bold=True)
        page.text(x, below + 22, "numbers held", SMALL, "ink-2")
        page.text(x, below + page.choose(66, 56), f"{cost / 1e6:.1f} M", page.choose(34, 22), bold=True)
        page.text(x, below + page.choose(88, 78), "multiplications", SMALL, "ink-2")
    fewer = f"{first // second} times fewer at {n} tokens, {count(ratio)} times at {count(far)}: M stays {d} × {d}."
    page.paragraph(0, page.height + 34, fewer, page.width, colour="ink")
    return (
        f"Two ways to multiply for {n} tokens and heads of {d}. With the bracket around queries and keys a square of "
        f"{n} × {n} = {count(n * n)} numbers is held, {first / 1e6:.1f} million multiplications. With the bracket "
        f"around keys and values it is the square M of {d} × {d} = {count(d * d)} numbers, {second / 1e6:.1f} "
        f"million. The ratio is {first // second} here and {count(ratio)} at {count(far)} tokens."
    )


TIMES, SEGMENT, SMALL_HEAD = 10, 16, 8


def repeated_memories() -> tuple[torch.Tensor, torch.Tensor]:
    """A memory (8, 8) into which a segment was written ten times over, and one with the segment once, ten times M."""
    generator = torch.Generator().manual_seed(1)
    k, v = torch.randn(2, SEGMENT, SMALL_HEAD, generator=generator, dtype=torch.float64).unbind(0)
    zeros = torch.zeros(SMALL_HEAD, SMALL_HEAD, dtype=torch.float64), torch.zeros(SMALL_HEAD, dtype=torch.float64)
    memory, z = zeros
    for _ in range(TIMES):
        memory, z = infini.update_linear(k, v, memory, z)
    return memory, TIMES * infini.update_linear(k, v, *zeros)[0]


@drawing
def simulated_repetition(page: Canvas) -> str:
    stream, once = repeated_memories()
    apart = float((stream - once).abs().max() / once.abs().max())
    top = page.title(
        "A long stream, without reading it",
        f"One segment, {TIMES} times over, and once with a factor of {TIMES}. Linear rule, first layer.",
    )
    cell = page.choose(14, 12)
    side = cell * SMALL_HEAD
    y = top + 20
    block, gap = page.choose(36, 20), page.choose(6, 3)
    right = page.width - side
    for place, (memory, name) in enumerate(((stream, f"read {TIMES} segments"), (once, "read 1 segment"))):
        at = y + place * (side + 62)
        page.text(0, at + 6, name, bold=True)
        middle = at + side / 2 + 14
        for index in range(TIMES if place == 0 else 1):
            page.rect((block + gap) * index, middle - block / 2, block, block, "k", opacity=0.3, radius=3)
        end = (block + gap) * (TIMES if place == 0 else 1)
        if place == 1:
            page.text(end + 10, middle + 8, f"× {TIMES}", page.choose(24, 20), bold=True)
            end += page.choose(76, 64)
        page.arrow([(end + 4, middle), (right - 12, middle)], "ink-2")
        most = float(once.abs().max())
        for i, j in torch.cartesian_prod(torch.arange(SMALL_HEAD), torch.arange(SMALL_HEAD)).tolist():
            value = float(memory[i, j])
            page.rect(
                right + cell * j,
                at + 14 + cell * i,
                cell - 1,
                cell - 1,
                "m" if value > 0 else "ink-2",
                opacity=round(abs(value) / most, 2),
            )
        page.text(right, at + 4, "M", SMALL, "m", bold=True)
    told = f"They differ by {apart:.0e} of the largest entry." if apart else "They are equal to the last bit."
    page.paragraph(0, page.height + 30, told, page.width)
    return (
        f"Above, {TIMES} equal segments of {SEGMENT} tokens are written into a memory M of {SMALL_HEAD} × "
        f"{SMALL_HEAD}, one after the other. Below, one of them is written with a factor of {TIMES}. Both memories "
        "are drawn entry by entry, and they are the same."
    )


LARGE_HEAD, MILLION = 128, 1_000_000  # the paper's head, and a text


@drawing
def memory_and_cache(page: Canvas) -> str:
    d, n = LARGE_HEAD, MILLION
    memory, cache = infini.infini_floats(1, 1, d, d), infini.kv_cache_floats(n, 1, 1, d, d)
    equal = infini.break_even_tokens(d, d)
    top = page.title(
        "A memory and a cache, to scale",
        f"One head of {d} after {count(n)} tokens. Areas are numbers.",
    )
    wide, high = page.width, page.choose(190, 230)
    y = top + 14
    page.rect(0, y, wide / 2, high, "k", opacity=0.28)
    page.rect(wide / 2, y, wide / 2, high, "v", opacity=0.28)
    page.text(14, y + 28, "keys", bold=True)
    page.text(wide - 14, y + 28, "values", anchor="end", bold=True)
    page.text(14, y + 52, page.choose(f"of all {count(n)} tokens", ""), SMALL)
    dot = math.sqrt(wide * high * memory / cache)
    x, at = page.choose(92, 62), y + high - 34
    page.rect(x, at, dot, dot, "ink")
    page.rect(x + dot / 2 - 8, at + dot / 2 - 8, 16, 16, line="ink", radius=8)
    page.text(x + 16, at + 6, page.choose("M and z, in the same scale", "M and z"), bold=True)

    unit, begin = page.choose(1.1, 0.78), y + high + 46
    left = page.choose(24, 8)
    side = d * unit
    for corner, end in ((x, left), (x + dot, left + side)):
        page.line([(corner, at + dot + 8), (end, begin)], "ink-2", dash="3 3")
    page.rect(left, begin, side, side, "m", opacity=0.4)
    page.rect(left, begin + side + 2, side, max(unit, 1.5), "m")
    page.text(left + side / 2, begin + side / 2 + 5, page.choose(f"M, {d} × {d}", "M"), anchor="middle", bold=True)
    page.text(left, begin + side + 22, f"z, {d}", bold=True)
    right = left + side + page.choose(64, 36)
    page.text((left + side + right) / 2, begin + side / 2 + 8, "=", 24, anchor="middle")
    tall = equal * unit
    middle = begin + (side - tall) / 2
    page.rect(right, middle, side, tall, "k", opacity=0.28)
    page.rect(right + side, middle, side, tall, "v", opacity=0.28)
    page.text(right + side / 2, middle + tall / 2 + 5, "keys", anchor="middle")
    page.text(right + 1.5 * side, middle + tall / 2 + 5, "values", anchor="middle")
    page.text(right, middle + tall + 20, f"of {equal} tokens", SMALL, "ink-2")
    page.text(right, middle - 10, f"{d} · ({d} + 1) = {count(memory)}", SMALL, "ink-2")
    fact = count(round(cache / memory))
    x, y = page.choose((right + 2 * side + 40, begin + side / 2 + 8), (0, page.height + 46))
    page.text(x, y, fact, page.choose(30, 34), bold=True)
    page.text(x, y + 22, page.choose("times fewer numbers", "times fewer numbers than the cache"), SMALL, "ink-2")
    return (
        f"A large rectangle, half keys and half values: the cache of one head of {d} after {count(n)} tokens, "
        f"{count(cache)} numbers. In it, in the same scale, M and z are a dot, {fact} times fewer. Enlarged, the dot "
        f"is a square M of {d} × {d} and a line z of {d}, together {count(memory)} numbers: as much as the keys and "
        f"values of {equal} tokens."
    )


PIECE, LIVE_SEGMENT, STREAM = 3, 8, 20


def held_after_pieces() -> list[tuple[int, int, int]]:
    """Of a layer of Infini-attention, after each piece: tokens read, those in M and z, those kept as they are."""
    config = tiny.Config(8, ("infini",), width=8, heads=1, options={"infini": {"segment": LIVE_SEGMENT}}, seed=1)
    model = tiny.TinyTransformer(config).double()
    stream, held = model.new_stream(), []
    with torch.no_grad():
        for piece in torch.zeros(1, STREAM, dtype=torch.long).split(PIECE, dim=1):
            model(piece, stream)
            state = stream.caches[0]
            held.append((state.tokens, state.segments * LIVE_SEGMENT, 0 if state.k is None else state.k.shape[-2]))
    return held


@drawing
def stream_in_pieces(page: Canvas) -> str:
    held = held_after_pieces()
    top = page.title(
        "What a stream carries from piece to piece",
        f"{STREAM} tokens in pieces of {PIECE}, segments of {LIVE_SEGMENT}. A row is the state after one more piece.",
    )
    cell, high, gap = page.choose(23, 12), page.choose(22, 20), page.choose(8, 8)
    y = top + 40
    columns = page.choose((500, 590), (256, 316))
    for x, words in zip(columns, page.choose(("in M and z", "kept as they are"), ("in M, z", "kept")), strict=True):
        page.text(x, y - 12, words, SMALL, "ink-2")
    for segment in range(STREAM // LIVE_SEGMENT):
        x = (segment + 0.5) * LIVE_SEGMENT * cell
        page.text(x, y - 12, f"segment {segment + 1}", SMALL, "ink-2", "middle")
    page.text(STREAM * cell, y - 12, page.choose("segment 3", "3"), SMALL, "ink-2", "end")
    begun = y
    for before, (read, written, kept) in pairwise([(0, 0, 0), *held]):
        if written:
            page.rect(0, y, written * cell - 1, high, "m", opacity=0.5, radius=3)
        if written > before[1]:
            page.text((written - LIVE_SEGMENT) * cell + page.choose(12, 6), y + high / 2 + 5, "written", SMALL)
        for token in range(written, read):
            page.rect(token * cell, y, cell - 1, high, "k", opacity=0.35)
        page.rect(before[0] * cell, y - 2, (read - before[0]) * cell - 1, high + 4, line="ink", width=1.5)
        page.text(columns[0], y + high / 2 + 5, str(written), bold=True, colour="m")
        page.text(columns[1], y + high / 2 + 5, str(kept), bold=True, colour="k")
        y += high + gap
    for segment in range(1, STREAM // LIVE_SEGMENT + 1):
        page.line([(segment * LIVE_SEGMENT * cell - 0.5, begun - 6), (segment * LIVE_SEGMENT * cell - 0.5, y)], "ink-2",
                  dash="3 3")  # fmt: skip
    told = "Framed: the piece just read. Where it ends a segment, the whole segment is written to M and z."
    page.paragraph(0, y + 18, told, page.width, SMALL)
    rows = "; ".join(f"{read} read, {written} in M and z, {kept} kept" for read, written, kept in held)
    return (
        f"A staircase of {len(held)} rows: {STREAM} tokens come in pieces of {PIECE}, and segments have "
        f"{LIVE_SEGMENT}. Tokens after each piece: {rows}. Whole segments lie in M and z, the tokens of the segment "
        "that is not full are kept as they are, wherever the text is cut."
    )
