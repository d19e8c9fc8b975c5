"""Drawings of the lesson start_here."""

from functools import cache

import torch

from solutions import local_global, quadratic, sparse, streams
from solutions.checkpoints import load
from solutions.checkpoints import sparse as recipe
from solutions.lessons import lesson
from widgets.drawings import drawing
from widgets.drawings.canvas import SMALL, WORDS, Canvas

VALUES = torch.tensor([[1.0, 0], [3, 2]])  # the two rows of the lesson's exercise


def point(values: torch.Tensor) -> str:
    return f"({', '.join(f'{each:g}' for each in values.tolist())})"


@drawing
def mean_and_sum(page: Canvas) -> str:
    mean, total = quadratic.uniform_attention(VALUES), VALUES.sum(0)
    top = page.title("An average stays among its values", "A dot is one row of numbers, drawn as a point.")
    unit, x, y = page.choose(84, 74), page.choose(26, 20), top + 34
    high = 2 * unit

    def at(values: torch.Tensor) -> tuple[float, float]:
        across, up = values.tolist()
        return x + unit * across, y + high - unit * up

    def dot(values: torch.Tensor, colour: str, radius: float = 7) -> None:
        a, b = at(values)
        page.rect(a - radius, b - radius, 2 * radius, 2 * radius, colour, radius=radius)

    for step in range(5):
        page.line([(x + unit * step, y), (x + unit * step, y + high)])
        page.text(x + unit * step, y + high + 20, str(step), SMALL, "ink-2", "middle")
    for step in range(3):
        page.line([(x, y + unit * step), (x + 4 * unit, y + unit * step)])
        page.text(x - 10, y + high - unit * step + 5, str(step), SMALL, "ink-2", "end")
    first, second = VALUES
    page.line([at(first), at(second)], "v", 2)
    page.line([at(second), at(total)], "bad", 2, "4 4")
    dot(first, "v")
    dot(second, "v")
    dot(mean, "o", 9)
    dot(total, "bad", 9)
    page.text(at(first)[0], at(first)[1] - 14, point(first), WORDS, "v", "end", halo=True)
    page.text(at(second)[0], at(second)[1] - 14, point(second), WORDS, "v", "middle", halo=True)
    page.text(at(mean)[0] + 16, at(mean)[1] + 14, f"average {point(mean)}", WORDS, "o", bold=True, halo=True)
    page.text(at(total)[0], at(total)[1] - 16, f"sum {point(total)}", WORDS, "bad", "middle", bold=True, halo=True)
    facts = (
        ("½ + ½ = 1", "o", "Shares that add to 1: the average stands between the values, however many there are."),
        ("1 + 1 = 2", "bad", "Two whole shares: the sum stands outside, and each further value can take it further."),
    )
    for place, (shares, colour, words) in enumerate(facts):
        left = page.choose(x + 4 * unit + 76, 0)
        down = y + 22 + 104 * place if not page.narrow else y + high + 62 + 88 * place
        page.text(left, down, shares, 20, colour, bold=True)
        page.paragraph(left, down + 24, words, page.width - left, SMALL)
    return (
        f"A plane with two values, {point(first)} and {point(second)}. Their average {point(mean)} stands half way "
        f"between them, since its shares, a half each, add to 1. Their sum {point(total)}, the wrong answer above, "
        "stands outside: its shares add to 2."
    )


TOKENS, NEAR, TRAINED, LONG = 24, 6, 2_048, 131_072


@cache
def pairs() -> dict[str, torch.Tensor]:
    """The pairs of 24 tokens that attention scores, (24, 24) each: all, a window, a segment, the choice of an indexer.

    The choice is made by the trained indexer of the lesson on DeepSeek sparse attention, in the last layer, for a text
    that it was not trained on.
    """
    place = torch.arange(TOKENS)
    every = quadratic.causal_mask(TOKENS, TOKENS)
    text = streams.recall(1, TOKENS // 3, torch.Generator().manual_seed(0)).tokens
    model = recipe.choosing(load("sparse-trained"), top_k=NEAR).eval()
    *_, last = sparse.selections(model, text)
    chosen = torch.zeros(TOKENS, TOKENS + 1, dtype=torch.bool)
    chosen.scatter_(1, last.indices[0] % (TOKENS + 1), True)  # -1, no key, goes into one more column
    return {
        "every": every,
        "near": local_global.window_mask(place, place, NEAR),
        "segment": every & (place[:, None] // NEAR == place // NEAR),
        "chosen": chosen[:, :TOKENS],
    }


@drawing
def squares_of_the_lessons(page: Canvas) -> str:
    masks = pairs()
    counts = {name: int(mask.sum()) for name, mask in masks.items()}
    every = counts["every"]
    top = page.title(
        "Who reads whom, lesson by lesson",
        f"{TOKENS} words. Rows ask, columns are read. Strong: scores that are held. Pale: made and let go.",
    )
    cell, columns = 5, page.choose(4, 2)
    side, step = cell * TOKENS, page.width / page.choose(4, 2)
    lessons = (
        ("quadratic_attention", "every", f"all {every} pairs"),
        ("local_and_global", "near", f"{counts['near']}: the nearest {NEAR}; a few layers see all"),
        ("flash_attention", "every", f"all {every}, one tile held at a time"),
        ("flash_in_triton", "every", "all, a processor for each block of rows"),
        ("infini_attention", "segment", f"{counts['segment']}, and a memory of what was before"),
        ("deepseek_sparse_attention", "chosen", f"{counts['chosen']}: the {NEAR} that a cheap network chose"),
        ("from_2k_to_128k", "every", f"{LONG // TRAINED} times longer than the trained {TRAINED // 1024} K"),
    )
    for place, (name, kind, words) in enumerate(lessons):
        x, y = step * (place % columns), top + 30 + (side + 92) * (place // columns)
        page.text(x, y - 10, f"Lesson {lesson(name).number}", WORDS, bold=True)
        page.rect(x, y, side, side, "panel")
        tiled = name.startswith("flash")
        shade = 0.25 if tiled or name == "from_2k_to_128k" else 0.85
        page.cells(
            [(x + cell * key, y + cell * row, cell, cell) for row, key in masks[kind].nonzero().tolist()], "s", shade
        )
        tile = NEAR * cell
        if name == "flash_attention":
            page.rect(x + tile, y + 2 * tile, tile, tile, "s")
        if name == "flash_in_triton":
            for block in range(1, TOKENS // NEAR):
                page.rect(x + tile, y + block * tile, tile, tile, "s")
        if tiled:
            for line in range(1, TOKENS // NEAR):
                page.line([(x, y + line * tile), (x + side, y + line * tile)], "paper", 1.5)
                page.line([(x + line * tile, y), (x + line * tile, y + side)], "paper", 1.5)
        if name == "infini_attention":
            for block in range(1, TOKENS // NEAR):
                page.rect(x, y + block * tile, block * tile - 2, tile - 1, "m", opacity=0.3)
                page.rect(x + 1, y + block * tile, 5, tile - 1, "m")
        if name == "from_2k_to_128k":
            small = side * TRAINED / LONG
            page.rect(x, y, small, small, "ink")
            page.arrow([(x + 44, y + 18), (x + 6, y + 4)], "ink")
            page.text(x + 50, y + 23, f"{TRAINED // 1024} K", SMALL, bold=True)
        page.paragraph(x, y + side + 20, words, step - page.choose(16, 10), SMALL)
    x, y = step * (len(lessons) % columns), top + 30 + (side + 92) * (len(lessons) // columns)
    page.big(x, y + 44, str(counts["near"]))
    page.paragraph(x, y + 70, "pairs in two of the lessons: the nearest, or the chosen.", step - 16, SMALL)
    return (
        f"Seven squares of who reads whom among {TOKENS} words, one a lesson. Quadratic attention makes all {every} "
        f"scores below the diagonal; a window of {NEAR} makes {counts['near']} beside it; flash attention makes all, "
        "and holds one tile, in Triton one tile for each block of rows; Infini-attention makes "
        f"{counts['segment']} in segments, with a memory for what came before; a trained indexer chooses "
        f"{counts['chosen']} scattered ones; and in the square of {LONG:,} tokens the {TRAINED:,} that were trained "
        "are a dot in the corner."
    )
