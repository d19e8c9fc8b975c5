"""Drawings of the lesson flash_in_triton."""

import torch

from widgets.drawings import drawing
from widgets.drawings.canvas import SMALL, Canvas

ROWS, WIDTH = (2, 3), 4


def addresses() -> torch.Tensor:
    """What `rows[:, None] * WIDTH + columns` is for two rows of a 4 × 4 matrix: (2, 4)."""
    rows, columns = torch.tensor(ROWS), torch.arange(WIDTH)
    return rows[:, None] * WIDTH + columns


@drawing
def row_addresses(page: Canvas) -> str:
    at = addresses()
    first, last = int(at.min()), int(at.max())
    rows, columns = torch.tensor(ROWS), torch.arange(WIDTH)
    top = page.title(
        "Which numbers does a program load?", "A column and a row of positions, added, are a block of them."
    )
    cell, y = page.choose(54, 36), top + page.choose(42, 34)

    def grid(x: float, y: float, values: torch.Tensor, colour: str, name: str) -> None:
        page.text(x + cell * values.shape[1] / 2, y - 12, name, SMALL, colour, "middle", mono=True)
        for (i, j), value in zip(
            torch.cartesian_prod(*map(torch.arange, values.shape)).tolist(), values.flatten(), strict=True
        ):
            page.rect(x + cell * j, y + cell * i, cell, cell, colour, opacity=0.16)
            page.rect(x + cell * j, y + cell * i, cell, cell, line="paper", width=2)
            page.text(
                x + cell * (j + 0.5), y + cell * (i + 0.5) + 6, str(int(value)), page.choose(17, 15), anchor="middle"
            )

    x = page.choose(10, 6)
    grid(x, y, rows[:, None], "q", "rows")
    page.text(x + cell * 1.5 + 4, y + cell + 6, f"× {WIDTH}", page.choose(17, 15), "ink-2", "middle")
    page.text(x + cell * 2.25 + 6, y + cell + 6, "+", page.choose(20, 17), "ink-2", "middle")
    x += cell * 2.75 + page.choose(10, 4)
    grid(x, y + cell / 2, columns[None], "k", "columns")
    if page.narrow:
        x, y = 6 + cell * 2.75 + 4, y + cell * 2 + 48
        page.text(x - 24, y + cell + 6, "=", 17, "ink-2", "middle")
    else:
        x += cell * WIDTH
        page.text(x + 34, y + cell + 7, "=", 20, "ink-2", "middle")
        x += 68
    grid(x, y, at, "mark", "addresses")
    y += 2 * cell + page.choose(74, 56)
    page.text(0, y, f"x in memory: {WIDTH} rows of {WIDTH} numbers, one after the other", SMALL, "ink-2")
    y, step = y + 16, page.width / WIDTH**2
    for place in range(WIDTH**2):
        chosen = bool((at == place).any())
        x = step * place
        if chosen:
            page.rect(x + 1, y, step - 2, page.choose(44, 30), "mark", opacity=0.2)
        else:
            page.rect(x + 1, y, step - 2, page.choose(44, 30), "panel", line="line")
        colour, size = "ink" if chosen else "ink-2", page.choose(15, 12)
        page.text(x + step / 2, y + page.choose(28, 20), str(place), size, colour, "middle", bold=chosen)
    y += page.choose(44, 30)
    for row in range(WIDTH):
        left, right = step * WIDTH * row + 3, step * WIDTH * (row + 1) - 3
        page.line([(left, y + 6), (left, y + 11), (right, y + 11), (right, y + 6)], "q" if row in ROWS else "line", 1.5)
        page.text((left + right) / 2, y + 30, f"row {row}", SMALL, "q" if row in ROWS else "ink-2", "middle")
    return (
        f"The rows {ROWS[0]} and {ROWS[1]} as a column, times {WIDTH}, plus the columns 0 to {WIDTH - 1} as a row, "
        f"give a block of 2 × {WIDTH} addresses, {first} to {last}. In memory, where the {WIDTH} rows of the matrix "
        f"lie one after the other, these are the cells of rows {ROWS[0]} and {ROWS[1]}."
    )
