"""Drawings of the lesson infini_attention."""

import torch

from solutions import infini, quadratic
from widgets.drawings import drawing
from widgets.drawings.canvas import SMALL, Canvas
from widgets.kit.format import count

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
