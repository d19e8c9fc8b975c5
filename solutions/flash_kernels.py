"""Flash attention as Triton kernels: the scores of one tile at a time, never N x N of them in memory.

    scores = scale log2(e) q k^T        one tile, fp32; what a query may not see becomes -1e30
    m'     = max(m, rowmax(scores))     the row's maximum so far
    p      = 2^(scores - m')            the weights, not yet divided by their sum
    alpha  = 2^(m - m')                 the change of unit for all that was summed before
    ell'   = alpha ell + rowsum(p)
    acc'   = alpha acc + p v
    out    = acc / ell,  lse = m ln(2) + ln(ell)

(Dao, FlashAttention-2, 2023, algorithm 1.) The scores are in base 2, since that is the power a GPU has an instruction
for; the log-sum-exp that is stored is natural. From it any tile of weights is made again: p / ell = exp(scores - lse).
So the backward pass reads q, k and one number a row where it would have read N x N weights.

`flash_forward` and `causal_flash_forward` are the loop at its shortest, as the lesson writes it. Those below them do
all that is asked of an attention: grouped heads, ragged lengths, fewer queries than keys, windows with sinks,
gradients, decoding. Everything is plain pointers and masks, so that it compiles on Triton 3.6 to 3.9 and every byte can
be counted. `launch` compiles for CUDA tensors and interprets for tensors on the CPU.

Shapes: q (batch, heads, queries, d), k and v (batch, kv_heads, keys, d), lse (batch, heads, queries) fp32. Queries
stand at the end of the keys: query i is token i + keys - queries, as in decoding with a cache.
"""

from solutions.interpreter import tl, triton

# The loop at its shortest ----------------------------------------------------------------------------------------


@triton.jit
def flash_forward(q, k, v, out, lse, scale, n, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """BLOCK_M queries of one head against all n keys: program (block, head) of a grid (cdiv(n, BLOCK_M), heads).

    q, k, v: pointers to contiguous (heads, n, HEAD_DIM) in one dtype; out: the same, written
    lse: pointer to (heads, n) fp32, written: ln of the sum of exp(scale · query · key) over the keys of each row
    """
    block, head = tl.program_id(0), tl.program_id(1)
    first = head.to(tl.int64) * n  # the head's first row among all rows
    columns = tl.arange(0, HEAD_DIM)
    rows = block * BLOCK_M + tl.arange(0, BLOCK_M)
    row_offsets = (first + rows)[:, None] * HEAD_DIM + columns
    q_tile = tl.load(q + row_offsets, mask=rows[:, None] < n, other=0.0)
    m = tl.full([BLOCK_M], -1e30, tl.float32)
    ell = tl.zeros([BLOCK_M], tl.float32)
    acc = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)
    for start in range(0, n, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        key_offsets = (first + keys)[:, None] * HEAD_DIM + columns
        k_tile = tl.load(k + key_offsets, mask=keys[:, None] < n, other=0.0)
        scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * (scale * 1.4426950408889634)  # log2(e)
        scores = tl.where(keys < n, scores, -1e30)
        m_new = tl.maximum(m, tl.max(scores, 1))
        alpha = tl.math.exp2(m - m_new)
        p = tl.math.exp2(scores - m_new[:, None])
        ell = alpha * ell + tl.sum(p, 1)
        v_tile = tl.load(v + key_offsets, mask=keys[:, None] < n, other=0.0)
        acc = tl.dot(p.to(v_tile.dtype), v_tile, alpha[:, None] * acc, input_precision="ieee")
        m = m_new
    tl.store(out + row_offsets, (acc / ell[:, None]).to(q_tile.dtype), mask=rows[:, None] < n)
    tl.store(lse + first + rows, m * 0.6931471805599453 + tl.log(ell), mask=rows < n)  # ln(2)


@triton.jit
def causal_flash_forward(
    q, k, v, out, lse, scale, n, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr
):
    """The same, where query i sees the keys 0, ..., i: key blocks that no query of the block may see are not loaded.

    Arguments and grid as in `flash_forward`.
    """
    block, head = tl.program_id(0), tl.program_id(1)
    first = head.to(tl.int64) * n
    columns = tl.arange(0, HEAD_DIM)
    rows = block * BLOCK_M + tl.arange(0, BLOCK_M)
    row_offsets = (first + rows)[:, None] * HEAD_DIM + columns
    q_tile = tl.load(q + row_offsets, mask=rows[:, None] < n, other=0.0)
    m = tl.full([BLOCK_M], -1e30, tl.float32)
    ell = tl.zeros([BLOCK_M], tl.float32)
    acc = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)
    for start in range(0, tl.minimum(n, (block + 1) * BLOCK_M), BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        key_offsets = (first + keys)[:, None] * HEAD_DIM + columns
        k_tile = tl.load(k + key_offsets, mask=keys[:, None] < n, other=0.0)
        scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * (scale * 1.4426950408889634)
        scores = tl.where(keys <= rows[:, None], scores, -1e30)
        m_new = tl.maximum(m, tl.max(scores, 1))
        alpha = tl.math.exp2(m - m_new)
        p = tl.math.exp2(scores - m_new[:, None])
        ell = alpha * ell + tl.sum(p, 1)
        v_tile = tl.load(v + key_offsets, mask=keys[:, None] < n, other=0.0)
        acc = tl.dot(p.to(v_tile.dtype), v_tile, alpha[:, None] * acc, input_precision="ieee")
        m = m_new
    tl.store(out + row_offsets, (acc / ell[:, None]).to(q_tile.dtype), mask=rows[:, None] < n)
    tl.store(lse + first + rows, m * 0.6931471805599453 + tl.log(ell), mask=rows < n)
