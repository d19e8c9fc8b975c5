"""Small Triton kernels, each with one thing that the one before does not have, on the way to flash attention.

    copy_rows       a tile of two axes: a column of row numbers and a row of column numbers address it
    row_sums        rows whose width is no power of two, and a sum along an axis
    score_tile      a product of two tiles, and a grid of two axes
    row_log_sums    a loop over pieces of a row, in which the maximum moves
    rescale         the step of that loop, as a function that kernels call

A masked place moves no bytes: with n rows of `width` float32 numbers `copy_rows` moves 8 n width bytes, `row_sums`
4 n (width + 1), `row_log_sums` the same. `score_tile` loads its block of queries for each block of keys, and its block
of keys for each block of queries: from half precision 2 n d (ceil(n / BLOCK_N) + ceil(n / BLOCK_M)), and it stores
4 n² bytes of scores. `flash_forward` in solutions/flash_kernels.py joins the last three, and stores no score.
"""

from solutions.interpreter import tl, triton


@triton.jit
def copy_rows(x, y, n, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Copy BLOCK rows of x to y: program i of a grid (cdiv(n, BLOCK),) has the rows from i * BLOCK on.

    x: pointer to contiguous (n, WIDTH), WIDTH a power of two; y: the same, written
    """
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    at = rows[:, None] * WIDTH + tl.arange(0, WIDTH)
    inside = rows[:, None] < n
    tl.store(y + at, tl.load(x + at, mask=inside, other=0.0), mask=inside)


@triton.jit
def row_sums(x, out, n, width, BLOCK: tl.constexpr, COLUMNS: tl.constexpr):
    """The sums of BLOCK rows: program i of a grid (cdiv(n, BLOCK),) has the rows from i * BLOCK on.

    x: pointer to contiguous (n, width) fp32; COLUMNS: a power of two, width or more; out: pointer to (n,) fp32, written
    """
    rows, columns = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, COLUMNS)
    inside = (rows[:, None] < n) & (columns < width)
    tile = tl.load(x + rows[:, None] * width + columns, mask=inside, other=0.0)
    tl.store(out + rows, tl.sum(tile, 1), mask=rows < n)


@triton.jit
def score_tile(q, k, s, n, scale, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """BLOCK_M x BLOCK_N scores: program (i, j) of a grid (cdiv(n, BLOCK_M), cdiv(n, BLOCK_N)).

    q, k: pointers to contiguous (n, HEAD_DIM) in one dtype
    s: pointer to contiguous (n, n) fp32, written: scale · query · key, a row for each query
    """
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    keys = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = tl.arange(0, HEAD_DIM)
    q_tile = tl.load(q + rows[:, None] * HEAD_DIM + columns, mask=rows[:, None] < n, other=0.0)
    k_tile = tl.load(k + keys[:, None] * HEAD_DIM + columns, mask=keys[:, None] < n, other=0.0)
    scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * scale
    tl.store(s + rows[:, None] * n + keys, scores, mask=(rows[:, None] < n) & (keys < n))


@triton.jit
def row_log_sums(s, lse, n, width, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """The log-sum-exp of BLOCK_M rows, read BLOCK_N columns at a time: program i of a grid (cdiv(n, BLOCK_M),).

    s: pointer to contiguous (n, width) fp32; entries may be -inf, a piece of a row may hold nothing else, a row may not
    lse: pointer to (n,) fp32, written: ln of the sum of exp(s) over each row
    """
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    m, ell = tl.full([BLOCK_M], -1e30, tl.float32), tl.zeros([BLOCK_M], tl.float32)
    for start in range(0, width, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        inside = (rows[:, None] < n) & (columns < width)
        piece = tl.load(s + rows[:, None] * width + columns, mask=inside, other=-1e30)
        m_new = tl.maximum(m, tl.max(piece, 1))
        alpha, p = tl.exp(m - m_new), tl.exp(piece - m_new[:, None])
        ell = alpha * ell + tl.sum(p, 1)
        m = m_new
    tl.store(lse + rows, m + tl.log(ell), mask=rows < n)


@triton.jit
def rescale(m, ell, scores):
    """What a tile of scores does to the maxima and sums of its rows.

    m, ell: (rows,) fp32, the maximum of each row so far and the sum of exp(score - m) so far; scores: (rows, columns)
    Returns (m, ell, alpha, p): both with the tile counted, alpha = exp(old m - new m), p = exp(scores - new m).
    """
    m_new = tl.maximum(m, tl.max(scores, 1))
    alpha, p = tl.exp(m - m_new), tl.exp(scores - m_new[:, None])
    return m_new, alpha * ell + tl.sum(p, 1), alpha, p
