"""Exercises: Triton kernels with one new thing each, before they meet in flash attention.

Rows and columns divide no block, the two blocks differ, and where a grid has two axes it is no square, so that a wrong
stride, axis or mask shows. Each has a case that counts its bytes.
"""

import math

import torch

from solutions import first_kernels, interpreter
from solutions.checks.exercise import Case, Exercise
from solutions.checks.kernels import (
    Parts,
    changed,
    drawn,
    each_changed,
    launched,
    rows_each,
    span,
    unwritten,
    within_budget,
)
from solutions.first_kernels import rescale
from solutions.interpreter import python_function, tl, triton


def case(label, *sizes, outcome) -> Case:
    return Case(label, lambda normal: sizes, outcome)


# copy_rows -------------------------------------------------------------------------------------------------------


def copied(kernel, n, width, block, dtype=torch.float32):
    x = drawn(n, width).to(dtype)
    outputs = {"y": unwritten(n, width, dtype=dtype)}
    parts = rows_each(n, width, block)
    grid = (triton.cdiv(n, block),)
    return launched(kernel, grid, {"x": x}, outputs, n, parts=parts, WIDTH=width, BLOCK=block)["y"]


@triton.jit
def copied_by_columns(x, y, n, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    columns, rows = tl.arange(0, WIDTH)[:, None], (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK))[None, :]
    from_x, to_y = x + columns + WIDTH * rows, y + columns + WIDTH * rows
    tl.store(to_y, tl.load(from_x, mask=rows < n), mask=rows < n)


@triton.jit
def copied_flat(x, y, n, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK * WIDTH + tl.arange(0, BLOCK * WIDTH)
    tl.store(y + at, tl.load(x + at, mask=at < n * WIDTH, other=0.0), mask=at < n * WIDTH)


@triton.jit
def all_rows_each(x, y, n, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    for start in range(0, n, BLOCK):
        at = (start + tl.arange(0, BLOCK))[:, None] * WIDTH + tl.arange(0, WIDTH)
        tl.store(y + at, tl.load(x + at, mask=at < n * WIDTH, other=0.0), mask=at < n * WIDTH)


APART = (
    "tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)",
    "tl.program_id(0) + tl.num_programs(0) * tl.arange(0, BLOCK)",
)

COPY = Exercise(
    title="a tile of rows",
    section="A kernel in four lines",
    difficulty=1,
    minutes=8,
    reference=first_kernels.copy_rows,
    hints=(
        "Program 2 with BLOCK = 32: which rows are its own? And at which number does row 70 begin, when a row has "
        "WIDTH of them?",
        "rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), as in `double`. rows[:, None] is a column of them; "
        "times WIDTH, plus a row of column numbers, it is a tile of places, the same in x and in y.",
        "at = rows[:, None] * WIDTH + tl.arange(0, WIDTH). Load with mask=rows[:, None] < n and other=0.0, store with "
        "the same mask.",
    ),
    cases=(
        case("7 rows of 16, 4 a program", 7, 16, 4, outcome=copied),
        case("5 rows of 8, 16 a program", 5, 8, 16, outcome=copied),
        case("one row of 4", 1, 4, 2, outcome=copied),
        case("13 rows of 32, 4 a program, in half precision", 13, 32, 4, torch.float16, outcome=copied),
        case(
            "the bytes of 11 rows of 8, 4 a program",
            *(11, 8, 4),
            outcome=within_budget(copied, lambda n, width, block: 8 * n * width),
        ),
    ),
    right_answers=(copied_by_columns, copied_flat),
    mistakes=each_changed(
        first_kernels.copy_rows,
        {
            "a row's number is not multiplied by WIDTH, and rows overlap": ("rows[:, None] * WIDTH", "rows[:, None]"),
            "rows stand BLOCK numbers apart, where they have WIDTH": ("rows[:, None] * WIDTH", "rows[:, None] * BLOCK"),
            "every program copies the first BLOCK rows": ("tl.program_id(0) * BLOCK + ", ""),
            "a program's rows begin at its own number, not at BLOCK times it": (
                "tl.program_id(0) * BLOCK",
                "tl.program_id(0)",
            ),
            "a program's rows begin at WIDTH times its number": ("(0) * BLOCK", "(0) * WIDTH"),
            "the last, shorter block of rows is left out": ("rows[:, None] < n", "rows[:, None] < n // BLOCK * BLOCK"),
            "y is written by columns, so that it is x transposed": (
                "tl.store(y + at,",
                "tl.store(y + tl.arange(0, WIDTH) * n + rows[:, None],",
            ),
            "every program loads the first rows, and stores them to its own": (
                "tl.load(x + at,",
                "tl.load(x + tl.arange(0, BLOCK)[:, None] * WIDTH + tl.arange(0, WIDTH),",
            ),
            "the numbers are doubled, as in the kernel before": ("tl.load(x + at", "2 * tl.load(x + at"),
            "one number of each row is copied: the columns are missing in the address": (
                " + tl.arange(0, WIDTH)\n",
                "\n",
            ),
            "a program's rows lie as far apart as there are programs, where they follow one another": APART,
            "the mask compares places with n, so that n numbers are copied, not n rows": (
                "inside = rows[:, None] < n",
                "inside = at < n",
            ),
            "rows past the end come round to the first ones, which are copied again": (
                "tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)",
                "(tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)) % n",
            ),
            "the last row is left out": ("rows[:, None] < n", "rows[:, None] < n - 1"),
            "columns are compared with n too, and the last ones are not copied where there are fewer rows": (
                "rows[:, None] < n",
                "(rows[:, None] < n) & (tl.arange(0, WIDTH) < n)",
            ),
            "nothing is masked, and rows past the end are loaded": (
                ", mask=inside, other=0.0",
                "",
                ", mask=inside",
                "",
            ),
            "the numbers are rounded to half precision on the way": ("other=0.0)", "other=0.0).to(tl.float16)"),
        },
    )
    | {"programs copy rows of others too: all rows, or all from their own first one on": all_rows_each},
    unjudged=interpreter.why_not,
)


# row_sums --------------------------------------------------------------------------------------------------------


def summed(kernel, n, width, block, columns, size=1.0):
    x, outputs, parts = size * drawn(n, width), {"out": unwritten(n)}, rows_each(n, 1, block)
    grid = (triton.cdiv(n, block),)
    return launched(kernel, grid, {"x": x}, outputs, n, width, parts=parts, BLOCK=block, COLUMNS=columns)["out"]


@triton.jit
def sums_of_columns(x, out, n, width, BLOCK: tl.constexpr, COLUMNS: tl.constexpr):
    columns, rows = tl.arange(0, COLUMNS)[:, None], (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK))[None, :]
    tile = tl.load(x + rows * width + columns, mask=(columns < width) & (rows < n))
    total = tl.sum(tl.where(columns < width, tile, 0.0), 0, keep_dims=True)
    tl.store(out + rows, total, mask=rows < n)


@triton.jit
def sums_row_by_row(x, out, n, width, BLOCK: tl.constexpr, COLUMNS: tl.constexpr):
    columns = tl.arange(0, COLUMNS)
    for row in range(tl.program_id(0) * BLOCK, tl.minimum(n, tl.program_id(0) * BLOCK + BLOCK)):
        tl.store(out + row, tl.sum(tl.load(x + row * width + columns, mask=columns < width, other=0.0), 0))


@triton.jit
def last_number_again(x, out, n, width, BLOCK: tl.constexpr, COLUMNS: tl.constexpr):
    rows, columns = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, COLUMNS)
    at = rows[:, None] * width + tl.minimum(columns, width - 1)
    tile = tl.where(columns < width, tl.load(x + at, mask=rows[:, None] < n, other=0.0), 0.0)
    tl.store(out + rows, tl.sum(tile, 1), mask=rows < n)


SUMS = Exercise(
    title="a sum along the rows",
    section="A kernel in four lines",
    difficulty=2,
    minutes=8,
    reference=first_kernels.row_sums,
    hints=(
        "A row has 20 numbers and the tile 32 columns. What stands in memory behind a row's last number, and what must "
        "stand in the tile there, so that a sum does not see it?",
        "Rows are `width` numbers apart in memory, not COLUMNS. Two things can be outside: a row past n, a column past "
        "width; & joins the two conditions. tl.sum(tile, 1) leaves one number a row.",
        "inside = (rows[:, None] < n) & (columns < width); load with mask=inside, other=0.0; store tl.sum(tile, 1) to "
        "out + rows with mask=rows < n.",
    ),
    cases=(
        case("6 rows of 5, 4 a program, 8 columns", 6, 5, 4, 8, outcome=summed),
        case("5 rows of 12, 16 a program, 32 columns", 5, 12, 16, 32, outcome=summed),
        case("9 rows of 16, 4 a program, as many columns", 9, 16, 4, 16, 100.0, outcome=summed),
        case("one row of one number", 1, 1, 2, 4, outcome=summed),
        case(
            "the bytes of 11 rows of 6, 4 a program, 8 columns",
            *(11, 6, 4, 8),
            outcome=within_budget(summed, lambda n, width, block, columns: 4 * n * width + 4 * n),
        ),
    ),
    right_answers=(sums_of_columns, sums_row_by_row),
    mistakes=each_changed(
        first_kernels.row_sums,
        {
            "tl.load has a mask= and no other=: what stands behind a row's end is anything, here nan": (
                ", other=0.0",
                "",
            ),
            "masked columns hold 1, and a sum sees them": ("other=0.0", "other=1.0"),
            "the last column is left out": ("columns < width", "columns < width - 1"),
            "the mean is taken, over the width": ("tl.sum(tile, 1)", "tl.sum(tile, 1) / width"),
            "the mean is taken, over the columns of the tile": ("tl.sum(tile, 1)", "tl.sum(tile, 1) / COLUMNS"),
            "the maximum is taken, where the sum is asked for": ("tl.sum(tile, 1)", "tl.max(tile, 1)"),
            "the squares are summed": ("tl.sum(tile, 1)", "tl.sum(tile * tile, 1)"),
            "the sum runs down the columns: axis 0 is the rows": ("tl.sum(tile, 1)", "tl.sum(tile, 0)"),
            "all rows of a program are summed together": ("tl.sum(tile, 1)", "tl.sum(tl.sum(tile, 1), 0)"),
            "every program sums the first BLOCK rows": ("tl.program_id(0) * BLOCK + ", ""),
            "every program loads the first rows, and stores their sums as its own": (
                "x + rows[:, None] * width",
                "x + tl.arange(0, BLOCK)[:, None] * width",
            ),
            "the last, shorter block of rows is left out": ("mask=rows < n", "mask=rows < n // BLOCK * BLOCK"),
            "rows are not multiplied by their width, and overlap": ("rows[:, None] * width", "rows[:, None]"),
            "a program's rows lie as far apart as there are programs, where they follow one another": APART,
            "the mask ends with the matrix, not with the row, and numbers of the next row are added": (
                "(columns < width)",
                "(rows[:, None] * width + columns < n * width)",
            ),
            "columns past the width come round to the first ones, which count twice": (
                "tl.arange(0, COLUMNS)",
                "tl.arange(0, COLUMNS) % width",
            ),
            "the rows of a short last block are not masked where their sums are stored": (", mask=rows < n", ""),
            "the sums are added to what stands in out, which nobody has set": ("tl.store", "tl.atomic_add"),
            "the numbers are rounded to half precision before they are added": (
                "other=0.0)",
                "other=0.0).to(tl.float16).to(tl.float32)",
            ),
        },
    )
    | {"columns past the width load the row's last number again, and hide it afterwards": last_number_again},
    unjudged=interpreter.why_not,
)


# score_tile ------------------------------------------------------------------------------------------------------


def scored(kernel, n, head_dim, block_m, block_n, dtype=torch.float32):
    q, k = (drawn(side, n, head_dim)[0].to(dtype) for side in (1, 2))

    def words(name, entry):
        row, key = divmod(entry, n)
        tile = f"{span('rows', row, block_m, n)}, {span('columns', key, block_n, n)} of {name}"
        return tile, f"row {row}, column {key},"

    parts = Parts(lambda name, entry: (entry // n // block_m, entry % n // block_n), words)
    grid, sizes = (triton.cdiv(n, block_m), triton.cdiv(n, block_n)), (n, 0.8 * head_dim**-0.5)
    meta = {"HEAD_DIM": head_dim, "BLOCK_M": block_m, "BLOCK_N": block_n}
    return launched(kernel, grid, {"q": q, "k": k}, {"s": unwritten(n, n)}, *sizes, parts=parts, **meta)["s"]


def score_bytes(n, head_dim, block_m, block_n, dtype=torch.float32):
    loaded = n * head_dim * (triton.cdiv(n, block_n) + triton.cdiv(n, block_m)) * dtype.itemsize
    return loaded + 4 * n * n


@triton.jit
def keys_as_columns(q, k, s, n, scale, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    i = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M))[:, None]
    j = (tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N))[None, :]
    d = tl.arange(0, HEAD_DIM)
    left = tl.load(q + i * HEAD_DIM + d[None, :], mask=i < n, other=0.0)
    right = tl.load(k + j * HEAD_DIM + d[:, None], mask=j < n, other=0.0)
    tl.store(s + i * n + j, scale * tl.dot(left, right, input_precision="ieee"), mask=(i < n) & (j < n))


@triton.jit
def scores_turned(q, k, s, n, scale, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    d = tl.arange(0, HEAD_DIM)[None, :]
    i = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M))[:, None]
    j = (tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N))[:, None]
    queries = tl.load(q + i * HEAD_DIM + d, mask=i < n)
    keys = tl.load(k + j * HEAD_DIM + d, mask=j < n)
    turned = tl.dot(keys, tl.trans(queries), input_precision="ieee") * scale
    tl.store(s + tl.trans(i) * n + j, turned, mask=(tl.trans(i) < n) & (j < n))


@triton.jit
def all_keys_each(q, k, s, n, scale, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.arange(0, HEAD_DIM)
    q_tile = tl.load(q + rows[:, None] * HEAD_DIM + columns, mask=rows[:, None] < n, other=0.0)
    for start in range(0, n, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        k_tile = tl.load(k + keys[:, None] * HEAD_DIM + columns, mask=keys[:, None] < n, other=0.0)
        scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * scale
        tl.store(s + rows[:, None] * n + keys, scores, mask=(rows[:, None] < n) & (keys < n))


ROWS_APART = (
    "tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)",
    "tl.program_id(0) + tl.num_programs(0) * tl.arange(0, BLOCK_M)",
)

SCORES = Exercise(
    title="a tile of scores",
    section="A product, then a loop",
    difficulty=2,
    minutes=12,
    reference=first_kernels.score_tile,
    hints=(
        "Program (2, 1) has block 2 of queries and block 1 of keys. Which rows of q does it load, which rows of k, and "
        "which corner of s is its own?",
        "Two tiles are loaded as in `copy_rows`, each with its own rows. tl.trans turns the keys' tile, so that tl.dot "
        "leaves a row for each query and a column for each key. A row of s has n numbers.",
        "scores = tl.dot(q_tile, tl.trans(k_tile), ...) * scale, stored at s + rows[:, None] * n + keys, where both "
        "rows[:, None] < n and keys < n.",
    ),
    cases=(
        case("20 tokens, blocks of 16 × 32", 20, 64, 16, 32, outcome=scored),
        case("24 tokens, blocks of 32 × 16", 24, 64, 32, 16, outcome=scored),
        case("one token", 1, 32, 16, 16, outcome=scored),
        case("35 tokens in half precision", 35, 16, 32, 64, torch.float16, outcome=scored),
        case("the bytes of 20 tokens", 20, 64, 32, 16, torch.float16, outcome=within_budget(scored, score_bytes)),
    ),
    right_answers=(keys_as_columns, scores_turned),
    mistakes=each_changed(
        first_kernels.score_tile,
        {
            "the scores are not multiplied by the scale": (" * scale", ""),
            "1 / √d is taken, whatever scale is given": (" * scale", " * HEAD_DIM**-0.5"),
            "the scores are divided by the scale": (" * scale", " / scale"),
            "the scores are multiplied by log2(e) as well": (" * scale", " * (scale * 1.4426950408889634)"),
            "the axes of the grid are swapped: axis 0 is taken for the block of keys": (
                "tl.program_id(0)",
                "tl.program_id(2)",
                "tl.program_id(1)",
                "tl.program_id(0)",
                "tl.program_id(2)",
                "tl.program_id(1)",
            ),
            "the keys are taken from axis 0 of the grid, as the queries are": ("tl.program_id(1)", "tl.program_id(0)"),
            "the queries are taken from axis 1 of the grid, as the keys are": ("tl.program_id(0)", "tl.program_id(1)"),
            "the keys of a program are counted in steps of BLOCK_M": (
                "tl.program_id(1) * BLOCK_N",
                "tl.program_id(1) * BLOCK_M",
            ),
            "the queries of a program are counted in steps of BLOCK_N": (
                "tl.program_id(0) * BLOCK_M",
                "tl.program_id(0) * BLOCK_N",
            ),
            "the scores come out transposed: s has a row for each key, or q and k are swapped": (
                "rows[:, None] * n + keys",
                "rows[:, None] + keys * n",
            ),
            "a row of s is taken to have BLOCK_N numbers, where it has n": (
                "s + rows[:, None] * n",
                "s + rows[:, None] * BLOCK_N",
            ),
            "a row of s is taken to have HEAD_DIM numbers, where it has n": (
                "s + rows[:, None] * n",
                "s + rows[:, None] * HEAD_DIM",
            ),
            "the keys are read from q": ("tl.load(k +", "tl.load(q +"),
            "the queries are read from k": ("tl.load(q +", "tl.load(k +"),
            "every program takes the first keys": ("k + keys[:, None]", "k + tl.arange(0, BLOCK_N)[:, None]"),
            "the scores are rounded to the inputs' half precision before they are stored": (
                "s + rows[:, None] * n + keys, scores,",
                "s + rows[:, None] * n + keys, scores.to(q_tile.dtype),",
            ),
            "the last, shorter block of keys is left out": ("& (keys < n)", "& (keys < n // BLOCK_N * BLOCK_N)"),
            "a program's queries lie as far apart as there are programs, where they follow one another": ROWS_APART,
            "a program's queries and keys lie as far apart as there are programs, where they follow one another": (
                *ROWS_APART,
                "tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)",
                "tl.program_id(1) + tl.num_programs(1) * tl.arange(0, BLOCK_N)",
            ),
            "the queries are multiplied by the scale, and rounded to half precision, before the product": (
                "tl.dot(q_tile,",
                "tl.dot((q_tile.to(tl.float32) * scale).to(q_tile.dtype),",
                '"ieee") * scale',
                '"ieee")',
            ),
            "the mask of the store ends with the matrix, not with the row": (
                "mask=(rows[:, None] < n) & (keys < n)",
                "mask=rows[:, None] * n + keys < n * n",
            ),
        },
    )
    | {"every program makes the scores of its queries with all keys": all_keys_each},
    unjudged=interpreter.why_not,
)


# row_log_sums ----------------------------------------------------------------------------------------------------


def log_sums(kernel, n, width, block_m, block_n, shift=0.0, size=2.0, hidden=(0, 0), late=0.0):
    """hidden: from where to where the scores of row 1 are -inf; late: what the last score of each row is higher."""
    s = size * drawn(n, width) + shift
    s[1:2, slice(*hidden)] = -math.inf
    s[:, -1] += late
    grid, meta = (triton.cdiv(n, block_m),), {"BLOCK_M": block_m, "BLOCK_N": block_n}
    outputs, parts = {"lse": unwritten(n)}, rows_each(n, 1, block_m)
    return launched(kernel, grid, {"s": s}, outputs, n, width, parts=parts, **meta)["lse"]


@triton.jit
def by_a_column_of_states(s, lse, n, width, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)[:, None]
    top = tl.full([BLOCK_M, 1], -1e30, tl.float32)
    total = tl.zeros([BLOCK_M, 1], tl.float32)
    for step in range(tl.cdiv(width, BLOCK_N)):
        at = step * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
        x = tl.load(s + rows * width + at, mask=(rows < n) & (at < width), other=float("-inf"))
        higher = tl.maximum(top, tl.max(x, 1, keep_dims=True))
        total *= tl.math.exp2((top - higher) * 1.4426950408889634)
        total += tl.sum(tl.exp(x - higher), 1, keep_dims=True)
        top = higher
    tl.store(lse + rows, top + tl.log(total), mask=rows < n)


@triton.jit
def from_the_last_piece(s, lse, n, width, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    so_far = tl.full([BLOCK_M], -1e30, tl.float32)
    last = (width - 1) // BLOCK_N * BLOCK_N
    for back in range(0, last + 1, BLOCK_N):
        at = last - back + tl.arange(0, BLOCK_N)
        x = tl.load(s + rows[:, None] * width + at, mask=(rows[:, None] < n) & (at < width), other=-1e30)
        higher = tl.maximum(so_far, tl.max(x, 1))
        so_far = higher + tl.log(tl.exp(so_far - higher) + tl.sum(tl.exp(x - higher[:, None]), 1))
    tl.store(lse + rows, so_far, mask=rows < n)


@triton.jit
def in_two_passes(s, lse, n, width, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    m, ell = tl.full([BLOCK_M], -1e30, tl.float32), tl.zeros([BLOCK_M], tl.float32)
    for start in range(0, width, BLOCK_N):
        at = start + tl.arange(0, BLOCK_N)
        x = tl.load(s + rows[:, None] * width + at, mask=(rows[:, None] < n) & (at < width), other=-1e30)
        m = tl.maximum(m, tl.max(x, 1))
    for start in range(0, width, BLOCK_N):
        at = start + tl.arange(0, BLOCK_N)
        x = tl.load(s + rows[:, None] * width + at, mask=(rows[:, None] < n) & (at < width), other=-1e30)
        ell += tl.sum(tl.exp(x - m[:, None]), 1)
    tl.store(lse + rows, m + tl.log(ell), mask=rows < n)


LOG_SUMS = Exercise(
    title="a row in pieces, in Triton",
    section="A product, then a loop",
    difficulty=3,
    minutes=15,
    reference=first_kernels.row_log_sums,
    hints=(
        "It is your `online_softmax`, for BLOCK_M rows at once. Which two numbers a row live through the loop, and "
        "what happens to the sum when a piece brings a larger maximum?",
        "Before the loop m is -1e30 and ell is 0, a tile of BLOCK_M each. A piece is loaded as in `row_sums`, its "
        "columns from start on; a masked place must not win the maximum, nor add to the sum. After the loop: "
        "m + ln(ell).",
        "In the loop: m_new = tl.maximum(m, tl.max(piece, 1)); alpha = tl.exp(m - m_new); p = tl.exp(piece - "
        "m_new[:, None]); ell = alpha * ell + tl.sum(p, 1); and at its end m = m_new.",
    ),
    cases=(
        case("9 rows of 20, 4 a program, 8 columns a piece", 9, 20, 4, 8, outcome=log_sums),
        case("3 rows of 7, 8 a program, all in one piece", 3, 7, 8, 16, outcome=log_sums),
        case("scores around -500, one in the last piece", 3, 9, 4, 8, -500.0, outcome=log_sums),
        case("scores of several hundred, up and down", 3, 10, 4, 8, 0.0, 400.0, outcome=log_sums),
        case("a last score 120 above the others", 3, 21, 4, 8, 0.0, 2.0, (0, 0), 120.0, outcome=log_sums),
        case("scores around -20,000", 3, 13, 4, 8, -20_000.0, outcome=log_sums),
        case("a first piece that is all -inf", 3, 20, 4, 8, 0.0, 2.0, (0, 8), outcome=log_sums),
        case("a later piece that is all -inf", 3, 22, 4, 8, 0.0, 2.0, (8, 16), outcome=log_sums),
        case(
            "the bytes of 3 rows of 21",
            *(3, 21, 4, 8),
            outcome=within_budget(log_sums, lambda n, width, block_m, block_n: 4 * n * width + 4 * n),
        ),
    ),
    right_answers=(by_a_column_of_states, from_the_last_piece),
    mistakes=each_changed(
        first_kernels.row_log_sums,
        {
            "the sum ell is not multiplied by alpha when the maximum moves": ("alpha * ell + ", "ell + "),
            "the loop ends at n, the number of rows, where the width belongs": ("0, width, BLOCK_N", "0, n, BLOCK_N"),
            "alpha is turned around, e^(m_new - m)": ("tl.exp(m - m_new)", "tl.exp(m_new - m)"),
            "alpha multiplies the piece's own sum as well, which has the new unit already": (
                "alpha * ell + tl.sum(p, 1)",
                "alpha * (ell + tl.sum(p, 1))",
            ),
            "m keeps its first value, so that alpha forgets all pieces but the last": ("        m = m_new\n", ""),
            "m keeps its first value, so that only the last piece counts, and its maximum goes to the log-sum-exp": (
                "        m = m_new\n",
                "",
                "m + tl.log(ell)",
                "m_new + tl.log(ell)",
            ),
            "the exponentials are measured from the maximum as it was before the piece": (
                "tl.exp(piece - m_new[:, None])",
                "tl.exp(piece - m[:, None])",
            ),
            "masked columns hold 0, which still counts: the exponential of 0 is 1": ("other=-1e30", "other=0.0"),
            "tl.load has a mask= and no other=: what stands behind a row's end is anything, here nan": (
                ", other=-1e30",
                "",
            ),
            "m begins at 0, or meets a 0 in a masked column, above scores that are all negative": (
                "tl.full([BLOCK_M], -1e30, tl.float32)",
                "tl.zeros([BLOCK_M], tl.float32)",
            ),
            "m begins at -inf, and where a piece is nothing but -inf, -inf - (-inf) is nan": (
                "tl.full([BLOCK_M], -1e30,",
                'tl.full([BLOCK_M], float("-inf"),',
            ),
            "masked columns and the first maximum are -10,000, above scores that are smaller": ("-1e30", "-1e4"),
            "no maximum is subtracted, and large scores overflow": (
                "m_new = tl.maximum(m, tl.max(piece, 1))",
                "m_new = tl.zeros([BLOCK_M], tl.float32)",
            ),
            "the unit is the first piece's maximum and never moves, and a later score far above it overflows": (
                "m_new = tl.maximum(m, tl.max(piece, 1))",
                "m_new = tl.where(m < -1e29, tl.maximum(m, tl.max(piece, 1)), m)",
            ),
            "one maximum is taken for all rows of the tile": ("tl.max(piece, 1)", "tl.max(tl.max(piece, 1), 0)"),
            "the log-sum-exp is the logarithm of ell alone, without the maximum": ("m + tl.log(ell)", "tl.log(ell)"),
            "the log-sum-exp is the maximum alone, without the logarithm of ell": ("m + tl.log(ell)", "m"),
            "the sum ell is stored, where its log-sum-exp is asked for": ("m + tl.log(ell)", "ell"),
            "the logarithm of ell is in base 2": ("tl.log(ell)", "tl.log2(ell)"),
            "every step takes the first piece": ("columns = start + tl.arange", "columns = tl.arange"),
            "only the first piece is read": ("range(0, width, BLOCK_N)", "range(0, BLOCK_N, BLOCK_N)"),
            "the last, shorter piece is left out": (
                "range(0, width, BLOCK_N)",
                "range(0, tl.maximum(BLOCK_N, width // BLOCK_N * BLOCK_N), BLOCK_N)",
            ),
            "every program computes the first BLOCK_M rows": ("tl.program_id(0) * BLOCK_M + ", ""),
            "a program's rows lie as far apart as there are programs, where they follow one another": ROWS_APART,
            "m begins at -10,000, above scores that are smaller": ("[BLOCK_M], -1e30", "[BLOCK_M], -1e4"),
        },
    )
    | {"every score is read twice, once for the maximum and once for the sum": in_two_passes},
    unjudged=interpreter.why_not,
)


# rescale ---------------------------------------------------------------------------------------------------------


@triton.jit
def caller(m, ell, scores, new_m, new_ell, alpha, p, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    rows, columns = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    at = rows[:, None] * COLUMNS + columns
    of_m, of_ell, of_alpha, of_p = rescale(tl.load(m + rows), tl.load(ell + rows), tl.load(scores + at))
    tl.store(new_m + rows, of_m)
    tl.store(new_ell + rows, of_ell)
    tl.store(alpha + rows, of_alpha)
    tl.store(p + at, of_p)


def rescaled(function, rows, columns, first=False, shift=0.0):
    """What a kernel that calls the function gets back: for the first tile of its rows, or after others."""
    function = function.made if isinstance(function, changed) else function
    python_function(function)  # raises for what is no kernel's function
    scores = 2 * drawn(rows, columns) + shift
    m = torch.full((rows,), -1e30) if first else drawn(rows, 1)[:, 0] + shift + 1
    ell = torch.zeros(rows) if first else 1 + drawn(rows, 3)[:, 0].abs()
    outputs = {name: unwritten(rows) for name in ("new_m", "new_ell", "alpha")} | {"p": unwritten(rows, columns)}

    parts = Parts(lambda name, entry: (0 * entry,), lambda name, entry: (f"all of {name}", f"entry {entry}"))
    inputs, kernel = {"m": m, "ell": ell, "scores": scores}, changed(caller, rescale=function)
    launched(kernel, (1,), inputs, outputs, parts=parts, ROWS=rows, COLUMNS=columns)
    return {"m": outputs["new_m"], "ell": outputs["new_ell"], "alpha": outputs["alpha"], "p": outputs["p"]}


@triton.jit
def rescale_by_one_exponent(m, ell, scores):
    higher = tl.maximum(tl.max(scores, axis=1), m)
    shrink = tl.exp(m - higher)
    weights = tl.exp(scores - tl.expand_dims(higher, 1))
    total = ell * shrink
    total += tl.sum(weights, axis=1)
    return higher, total, shrink, weights


@triton.jit
def rescale_in_base_2(m, ell, scores):
    higher = tl.where(tl.max(scores, 1) > m, tl.max(scores, 1), m)
    weights = tl.math.exp2((scores - higher[:, None]) * 1.4426950408889634)
    shrink = tl.math.exp2((m - higher) * 1.4426950408889634)
    return higher, tl.sum(weights, 1) + shrink * ell, shrink, weights


RESCALE = Exercise(
    title="the change of unit, cut out",
    section="A product, then a loop",
    difficulty=1,
    minutes=3,
    reference=first_kernels.rescale,
    hints=(
        "Which four lines of your loop in `row_log_sums` neither load nor store, and which names do they need?",
        "The new maximum, alpha, p and the new sum, as in the loop of `row_log_sums`, where the tile was called piece.",
        "Compute m_new, alpha and p as in the loop, and return m_new, alpha * ell + tl.sum(p, 1), alpha and p.",
    ),
    cases=(
        case("4 rows of 8", 4, 8, outcome=rescaled),
        case("2 rows of 16", 2, 16, outcome=rescaled),
        case("the first tile of 8 rows of 4", 8, 4, True, outcome=rescaled),
        case("4 rows of 2, scores around 200", 4, 2, False, 200.0, outcome=rescaled),
        case("8 rows of 2, scores around -300", 8, 2, False, -300.0, outcome=rescaled),
    ),
    right_answers=(rescale_by_one_exponent, rescale_in_base_2),
    mistakes=each_changed(
        first_kernels.rescale,
        {
            "the old sum is not multiplied by alpha": ("alpha * ell", "ell"),
            "alpha is turned around, e^(new - old)": ("tl.exp(m - m_new)", "tl.exp(m_new - m)"),
            "alpha multiplies the tile's own sum as well, which has the new unit already": (
                "alpha * ell + tl.sum(p, 1)",
                "alpha * (ell + tl.sum(p, 1))",
            ),
            "p is measured from the maximum as it was before": ("m_new[:, None]", "m[:, None]"),
            "the maximum is the tile's own, and the one before is forgotten": (
                "tl.maximum(m, tl.max(scores, 1))",
                "tl.max(scores, 1)",
            ),
            "the old maximum is returned": ("return m_new", "return m"),
            "p is divided by its sum": ("alpha, p\n", "alpha, p / tl.sum(p, 1)[:, None]\n"),
            "p and alpha are returned in the other order": ("alpha, p\n", "p, alpha\n"),
            "sum and maximum are returned in the other order": (
                "return m_new, alpha * ell + tl.sum(p, 1),",
                "return alpha * ell + tl.sum(p, 1), m_new,",
            ),
            "powers of 2 are taken, where the log-sum-exp is natural": ("tl.exp", "tl.math.exp2"),
            "the sum is the tile's own, and the one before is forgotten": ("alpha * ell + ", ""),
            "one maximum is taken for all rows of the tile": ("tl.max(scores, 1)", "tl.max(tl.max(scores, 1), 0)"),
            "alpha is measured from the tile's own maximum, and is above 1 where the tile is lower": (
                "tl.exp(m - m_new)",
                "tl.exp(m - tl.max(scores, 1))",
            ),
            "alpha is returned as a column, where it has one number a row": ("alpha, p\n", "alpha[:, None], p\n"),
            "the p that is returned is measured from the old maximum, the p that is summed from the new": (
                "alpha, p\n",
                "alpha, tl.exp(scores - m[:, None])\n",
            ),
            "p is rounded to half precision, and so is what is summed": (
                "tl.exp(scores - m_new[:, None])",
                "tl.exp(scores - m_new[:, None]).to(tl.float16).to(tl.float32)",
            ),
        },
    ),
    unjudged=interpreter.why_not,
)

EXERCISES = (COPY, SUMS, SCORES, LOG_SUMS, RESCALE)
