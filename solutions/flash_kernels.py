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

`flash_forward`, `flash_forward_in_base_2` and `causal_flash_forward` are the loop at its shortest, as the lesson writes
it; the first and the last are in base e, with `rescale` of solutions/first_kernels.py. Those below them do all that is
asked of an attention: grouped heads, ragged lengths, fewer queries than keys, windows with sinks, gradients, decoding.
Everything is plain pointers and masks, so that it compiles on Triton 3.6 to 3.9 and every byte can be counted. `launch`
compiles for CUDA tensors and interprets for tensors on the CPU.

Shapes: q (batch, heads, queries, d), k and v (batch, kv_heads, keys, d), lse (batch, heads, queries) fp32. Queries
stand at the end of the keys: query i is token i + keys - queries, as in decoding with a cache.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from solutions.first_kernels import rescale
from solutions.interpreter import launch, tl, triton
from solutions.shapes import same_kind, same_sizes

# The loop at its shortest ----------------------------------------------------------------------------------------


@triton.jit
def flash_forward(q, k, v, out, lse, scale, n, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """BLOCK_M queries of one head against all n keys: program (block, head) of a grid (cdiv(n, BLOCK_M), heads).

    q, k, v: pointers to contiguous (heads, n, HEAD_DIM) in one dtype; out: the same, written
    lse: pointer to (heads, n) fp32, written: ln of the sum of exp(scale · query · key) over the keys of each row
    What is carried from block to block is fp32, whatever the dtype of q, k and v.
    """
    rows, columns = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M), tl.arange(0, HEAD_DIM)
    first = tl.program_id(1).to(tl.int64) * n  # new: this head's first row among all rows, in int64
    q_at = (first + rows)[:, None] * HEAD_DIM + columns
    q_tile = tl.load(q + q_at, mask=rows[:, None] < n, other=0.0)
    m, ell = tl.full([BLOCK_M], -1e30, tl.float32), tl.zeros([BLOCK_M], tl.float32)
    acc = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)  # new: the output so far
    for start in range(0, n, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        k_at = (first + keys)[:, None] * HEAD_DIM + columns
        k_tile = tl.load(k + k_at, mask=keys[:, None] < n, other=0.0)
        scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * scale
        scores = tl.where(keys < n, scores, -1e30)  # new: very low where there is no key
        m, ell, alpha, p = rescale(m, ell, scores)
        v_tile = tl.load(v + k_at, mask=keys[:, None] < n, other=0.0)  # new: the values of these keys
        acc = tl.dot(p.to(v_tile.dtype), v_tile, alpha[:, None] * acc, input_precision="ieee")  # new: with v_tile
    tl.store(out + q_at, (acc / ell[:, None]).to(q_tile.dtype), mask=rows[:, None] < n)  # new: store the output
    tl.store(lse + first + rows, m + tl.log(ell), mask=rows < n)


@triton.jit
def flash_forward_in_base_2(
    q, k, v, out, lse, scale, n, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr
):
    """`flash_forward` by powers of 2: scores and maxima are in units of ln(2), the log-sum-exp is natural as before.

    Arguments and grid as in `flash_forward`.
    """
    rows, columns = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M), tl.arange(0, HEAD_DIM)
    first = tl.program_id(1).to(tl.int64) * n
    q_at = (first + rows)[:, None] * HEAD_DIM + columns
    q_tile = tl.load(q + q_at, mask=rows[:, None] < n, other=0.0)
    m, ell = tl.full([BLOCK_M], -1e30, tl.float32), tl.zeros([BLOCK_M], tl.float32)
    acc = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)
    scale = scale * 1.4426950408889634  # new: in base 2
    for start in range(0, n, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        k_at = (first + keys)[:, None] * HEAD_DIM + columns
        k_tile = tl.load(k + k_at, mask=keys[:, None] < n, other=0.0)
        scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * scale
        scores = tl.where(keys < n, scores, -1e30)
        m_new = tl.maximum(m, tl.max(scores, 1))
        alpha, p = tl.math.exp2(m - m_new), tl.math.exp2(scores - m_new[:, None])  # new: powers of 2
        ell = alpha * ell + tl.sum(p, 1)
        v_tile = tl.load(v + k_at, mask=keys[:, None] < n, other=0.0)
        acc = tl.dot(p.to(v_tile.dtype), v_tile, alpha[:, None] * acc, input_precision="ieee")
        m = m_new
    tl.store(out + q_at, (acc / ell[:, None]).to(q_tile.dtype), mask=rows[:, None] < n)
    m = m * 0.6931471805599453  # new: back in base e
    tl.store(lse + first + rows, m + tl.log(ell), mask=rows < n)


@triton.jit
def causal_flash_forward(
    q, k, v, out, lse, scale, n, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr
):
    """`flash_forward`, where query i sees the keys 0, ..., i: blocks that no query of the program sees aren't loaded.

    Arguments and grid as in `flash_forward`.
    """
    rows, columns = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M), tl.arange(0, HEAD_DIM)
    first = tl.program_id(1).to(tl.int64) * n
    q_at = (first + rows)[:, None] * HEAD_DIM + columns
    q_tile = tl.load(q + q_at, mask=rows[:, None] < n, other=0.0)
    m, ell = tl.full([BLOCK_M], -1e30, tl.float32), tl.zeros([BLOCK_M], tl.float32)
    acc = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)
    end = tl.minimum(n, (tl.program_id(0) + 1) * BLOCK_M)  # new: where the keys of the last query end
    for start in range(0, end, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        k_at = (first + keys)[:, None] * HEAD_DIM + columns
        k_tile = tl.load(k + k_at, mask=keys[:, None] < n, other=0.0)
        scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * scale
        scores = tl.where(keys <= rows[:, None], scores, -1e30)  # new: very low ahead of a query
        m, ell, alpha, p = rescale(m, ell, scores)
        v_tile = tl.load(v + k_at, mask=keys[:, None] < n, other=0.0)
        acc = tl.dot(p.to(v_tile.dtype), v_tile, alpha[:, None] * acc, input_precision="ieee")
    tl.store(out + q_at, (acc / ell[:, None]).to(q_tile.dtype), mask=rows[:, None] < n)
    tl.store(lse + first + rows, m + tl.log(ell), mask=rows < n)


# What an attention is asked for ----------------------------------------------------------------------------------

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)
FLOOR = tl.constexpr(-1e30)  # a hidden score: not -inf, since a row that saw nothing yet would be inf - inf


@triton.jit
def visible(position, key, keys, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, SINKS: tl.constexpr):
    """Which of the keys the queries at these positions may see; one is a column, the other a row; WINDOW 0: none."""
    if CAUSAL:
        seen = key <= position
    else:
        seen = key < keys
    if WINDOW:
        seen = seen & ((key > position - WINDOW) | (key < SINKS))
    return seen


@triton.jit
def key_part(
    PART: tl.constexpr,
    position,
    keys,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr,
    SINKS: tl.constexpr,
):
    """From where to where BLOCK_M queries read keys, the first of them at `position`, in steps of BLOCK_N.

    PART 0: the sinks before the window; 1: the window's left edge; 2: what all the queries see, so that no mask is
    needed; 3: the diagonal, or the ragged end. Together they are every key block that any of the queries sees, once.
    """
    low = 0
    high = keys
    whole_low = 0
    whole_high = keys // BLOCK_N * BLOCK_N
    if CAUSAL:
        high = tl.maximum(tl.minimum(keys, position + BLOCK_M), 0)
        whole_high = tl.minimum(whole_high, tl.maximum(position + 1, 0) // BLOCK_N * BLOCK_N)
    if WINDOW:
        low = tl.maximum(position - WINDOW + 1, 0) // BLOCK_N * BLOCK_N
        whole_low = tl.maximum(position + BLOCK_M - WINDOW + BLOCK_N - 1, 0) // BLOCK_N * BLOCK_N
        whole_low = tl.minimum(whole_low, high)
        whole_high = tl.maximum(whole_high, whole_low)
    if PART == 0:
        begin, end = 0, tl.minimum(low, (SINKS + BLOCK_N - 1) // BLOCK_N * BLOCK_N)
    elif PART == 1:
        begin, end = low, whole_low
    elif PART == 2:
        begin, end = whole_low, whole_high
    else:
        begin, end = whole_high, high
    return begin, end


@triton.jit
def query_part(
    PART: tl.constexpr,
    key,
    past,
    queries,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr,
    SINKS: tl.constexpr,
):
    """From where to where BLOCK_N keys are seen, the first of them `key`, in steps of BLOCK_M queries.

    past: keys that come before query 0. PART 0: the diagonal; 1: queries that see all of the keys; 2: those that the
    window cuts. Queries past the end need no mask: they and their gradients were loaded as 0. Keys past the end, which
    only a full pattern meets unmasked, must not be added to the queries' gradient.
    """
    low = 0
    high = queries
    whole_low = 0
    whole_high = queries
    if CAUSAL:
        low = tl.maximum(key - past, 0) // BLOCK_M * BLOCK_M
        whole_low = tl.maximum(key - past + BLOCK_N - 1 + BLOCK_M - 1, 0) // BLOCK_M * BLOCK_M
    if WINDOW:
        in_window = tl.maximum(key - past + BLOCK_N - 1 + WINDOW, 0)
        high = tl.where(key < SINKS, queries, tl.minimum(queries, in_window))
        whole_low = tl.minimum(whole_low, high)
        whole_high = tl.minimum(high, tl.maximum(key - past + WINDOW, 0) // BLOCK_M * BLOCK_M)
        whole_high = tl.maximum(whole_high, whole_low)
    if PART == 0:
        begin, end = low, tl.minimum(whole_low, high)
    elif PART == 1:
        begin, end = whole_low, whole_high
    else:
        begin, end = whole_high, high
    return begin, end


@triton.jit
def forward_kernel(
    q,
    k,
    v,
    out,
    lse,
    scale,
    queries,
    keys,
    group,
    HEAD_DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr,
    SINKS: tl.constexpr,
):
    """BLOCK_M queries of one head: program (block, head) of a grid (cdiv(queries, BLOCK_M), batch x heads).

    q, out: (batch x heads, queries, HEAD_DIM); k, v: (batch x kv_heads, keys, HEAD_DIM); lse: (batch x heads, queries)
    group: query heads that share a key head. A query that sees no key gets 0, and lse -inf; one that is nan, or sees
    a nan, gets nan in both.
    """
    block, head = tl.program_id(0), tl.program_id(1)
    first_query = head.to(tl.int64) * queries  # the head's first row among all rows; inside a head, 32 bits suffice
    first_key = (head // group).to(tl.int64) * keys
    q, out = q + first_query * HEAD_DIM, out + first_query * HEAD_DIM
    k, v = k + first_key * HEAD_DIM, v + first_key * HEAD_DIM
    columns = tl.arange(0, HEAD_DIM)
    rows = block * BLOCK_M + tl.arange(0, BLOCK_M)
    row_offsets = rows[:, None] * HEAD_DIM + columns
    q_tile = tl.load(q + row_offsets, mask=rows[:, None] < queries, other=0.0)
    m = tl.full([BLOCK_M], FLOOR, tl.float32)
    ell = tl.zeros([BLOCK_M], tl.float32)
    acc = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)
    past = keys - queries
    for part in tl.static_range(4):
        begin, end = key_part(part, block * BLOCK_M + past, keys, BLOCK_M, BLOCK_N, CAUSAL, WINDOW, SINKS)
        for start in range(begin, end, BLOCK_N):
            key = start + tl.arange(0, BLOCK_N)
            key_offsets = key[:, None] * HEAD_DIM + columns
            k_tile = tl.load(k + key_offsets, mask=key[:, None] < keys, other=0.0)
            scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * (scale * LOG2_E)
            if part != 2:
                seen = visible((rows + past)[:, None], key[None, :], keys, CAUSAL, WINDOW, SINKS)
                scores = tl.where(seen, scores, FLOOR)
            m_new = tl.maximum(m, tl.max(scores, 1))
            alpha = tl.math.exp2(m - m_new)
            p = tl.math.exp2(scores - m_new[:, None])
            ell = alpha * ell + tl.sum(p, 1)
            v_tile = tl.load(v + key_offsets, mask=key[:, None] < keys, other=0.0)
            acc = tl.dot(p.to(v_tile.dtype), v_tile, alpha[:, None] * acc, input_precision="ieee")
            m = m_new
    saw = (m > FLOOR) | (ell != ell)  # a maximum drops nan, a sum keeps it
    out_tile = tl.where(saw[:, None], acc / tl.where(saw, ell, 1.0)[:, None], 0.0)
    tl.store(out + row_offsets, out_tile.to(q_tile.dtype), mask=rows[:, None] < queries)
    lse_row = tl.where(saw, m * LN_2 + tl.log(tl.where(saw, ell, 1.0)), float("-inf"))
    tl.store(lse + first_query + rows, lse_row, mask=rows < queries)


# Backward --------------------------------------------------------------------------------------------------------
# p = exp(scores - lse), dV = p^T dO, dP = dO v^T, dS = p (dP - delta), dQ = scale dS k, dK = scale dS^T q. Nothing but
# q, k, v, out and lse was kept.


@triton.jit
def delta_kernel(out, grad_out, delta, rows, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr):
    """delta = the sum of out · grad_out over each row: cdiv(rows, BLOCK_M) programs, rows = batch x heads x queries."""
    row = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    offsets = row.to(tl.int64)[:, None] * HEAD_DIM + tl.arange(0, HEAD_DIM)
    out_tile = tl.load(out + offsets, mask=row[:, None] < rows, other=0.0).to(tl.float32)
    grad_tile = tl.load(grad_out + offsets, mask=row[:, None] < rows, other=0.0).to(tl.float32)
    tl.store(delta + row, tl.sum(out_tile * grad_tile, 1), mask=row < rows)


@triton.jit
def key_value_gradient_kernel(
    q,
    k,
    v,
    grad_out,
    lse,
    delta,
    grad_k,
    grad_v,
    scale,
    queries,
    keys,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr,
    SINKS: tl.constexpr,
):
    """BLOCK_N keys of one key head: program (block, head) of a grid (cdiv(keys, BLOCK_N), batch x kv_heads).

    It reads the queries of all GROUP heads that share the keys, so that their sum needs no atomics. Scores and weights
    stand transposed, (BLOCK_N, BLOCK_M), as both products want them.
    """
    block, kv_head = tl.program_id(0), tl.program_id(1)
    first_key = kv_head.to(tl.int64) * keys
    columns = tl.arange(0, HEAD_DIM)
    key = block * BLOCK_N + tl.arange(0, BLOCK_N)
    key_offsets = key[:, None] * HEAD_DIM + columns
    k_tile = tl.load(k + first_key * HEAD_DIM + key_offsets, mask=key[:, None] < keys, other=0.0)
    v_tile = tl.load(v + first_key * HEAD_DIM + key_offsets, mask=key[:, None] < keys, other=0.0)
    grad_k_tile = tl.zeros([BLOCK_N, HEAD_DIM], tl.float32)
    grad_v_tile = tl.zeros([BLOCK_N, HEAD_DIM], tl.float32)
    past = keys - queries
    for member in range(GROUP):
        first_query = (kv_head * GROUP + member).to(tl.int64) * queries
        q_head, grad_head = q + first_query * HEAD_DIM, grad_out + first_query * HEAD_DIM
        for part in tl.static_range(3):
            begin, end = query_part(part, block * BLOCK_N, past, queries, BLOCK_M, BLOCK_N, CAUSAL, WINDOW, SINKS)
            for start in range(begin, end, BLOCK_M):
                rows = start + tl.arange(0, BLOCK_M)
                row_offsets = rows[:, None] * HEAD_DIM + columns
                q_tile = tl.load(q_head + row_offsets, mask=rows[:, None] < queries, other=0.0)
                lse_row = tl.load(lse + first_query + rows, mask=rows < queries, other=0.0)
                scores = tl.dot(k_tile, tl.trans(q_tile), input_precision="ieee") * (scale * LOG2_E)
                log_p = scores - lse_row[None, :] * LOG2_E
                if part != 1:
                    seen = visible((rows + past)[None, :], key[:, None], keys, CAUSAL, WINDOW, SINKS)
                    log_p = tl.where(seen, log_p, FLOOR)
                p = tl.math.exp2(log_p)
                grad_tile = tl.load(grad_head + row_offsets, mask=rows[:, None] < queries, other=0.0)
                grad_v_tile = tl.dot(p.to(grad_tile.dtype), grad_tile, grad_v_tile, input_precision="ieee")
                delta_row = tl.load(delta + first_query + rows, mask=rows < queries, other=0.0)
                grad_p = tl.dot(v_tile, tl.trans(grad_tile), input_precision="ieee")
                grad_scores = p * (grad_p - delta_row[None, :])
                grad_k_tile = tl.dot(grad_scores.to(q_tile.dtype), q_tile, grad_k_tile, input_precision="ieee")
    tl.store(
        grad_k + first_key * HEAD_DIM + key_offsets, (grad_k_tile * scale).to(k_tile.dtype), mask=key[:, None] < keys
    )
    tl.store(grad_v + first_key * HEAD_DIM + key_offsets, grad_v_tile.to(k_tile.dtype), mask=key[:, None] < keys)


@triton.jit
def query_gradient_kernel(
    q,
    k,
    v,
    grad_out,
    lse,
    delta,
    grad_q,
    scale,
    queries,
    keys,
    group,
    HEAD_DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr,
    SINKS: tl.constexpr,
):
    """BLOCK_M queries of one head, over the same keys as in `forward_kernel`, and with the same grid."""
    block, head = tl.program_id(0), tl.program_id(1)
    first_query = head.to(tl.int64) * queries  # the head's first row among all rows; inside a head, 32 bits suffice
    first_key = (head // group).to(tl.int64) * keys
    q, grad_q = q + first_query * HEAD_DIM, grad_q + first_query * HEAD_DIM
    k, v = k + first_key * HEAD_DIM, v + first_key * HEAD_DIM
    grad_out += first_query * HEAD_DIM
    columns = tl.arange(0, HEAD_DIM)
    rows = block * BLOCK_M + tl.arange(0, BLOCK_M)
    row_offsets = rows[:, None] * HEAD_DIM + columns
    q_tile = tl.load(q + row_offsets, mask=rows[:, None] < queries, other=0.0)
    grad_tile = tl.load(grad_out + row_offsets, mask=rows[:, None] < queries, other=0.0)
    lse_row = tl.load(lse + first_query + rows, mask=rows < queries, other=0.0)
    delta_row = tl.load(delta + first_query + rows, mask=rows < queries, other=0.0)
    grad_q_tile = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)
    past = keys - queries
    for part in tl.static_range(4):
        begin, end = key_part(part, block * BLOCK_M + past, keys, BLOCK_M, BLOCK_N, CAUSAL, WINDOW, SINKS)
        for start in range(begin, end, BLOCK_N):
            key = start + tl.arange(0, BLOCK_N)
            key_offsets = key[:, None] * HEAD_DIM + columns
            k_tile = tl.load(k + key_offsets, mask=key[:, None] < keys, other=0.0)
            v_tile = tl.load(v + key_offsets, mask=key[:, None] < keys, other=0.0)
            scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * (scale * LOG2_E)
            log_p = scores - lse_row[:, None] * LOG2_E
            if part != 2:
                seen = visible((rows + past)[:, None], key[None, :], keys, CAUSAL, WINDOW, SINKS)
                log_p = tl.where(seen, log_p, FLOOR)
            p = tl.math.exp2(log_p)
            grad_p = tl.dot(grad_tile, tl.trans(v_tile), input_precision="ieee")
            grad_scores = p * (grad_p - delta_row[:, None])
            grad_q_tile = tl.dot(grad_scores.to(k_tile.dtype), k_tile, grad_q_tile, input_precision="ieee")
    tl.store(grad_q + row_offsets, (grad_q_tile * scale).to(q_tile.dtype), mask=rows[:, None] < queries)


@triton.jit
def atomic_backward_kernel(
    q,
    k,
    v,
    grad_out,
    lse,
    delta,
    grad_q,
    grad_k,
    grad_v,
    scale,
    queries,
    keys,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr,
    SINKS: tl.constexpr,
):
    """All three gradients in one: five products for seven, but every key block adds to grad_q, which is fp32 and 0.

    Grid and loops as in `key_value_gradient_kernel`. On a GPU the order of the additions, and so the last bits of
    grad_q, differ from run to run.
    """
    block, kv_head = tl.program_id(0), tl.program_id(1)
    first_key = kv_head.to(tl.int64) * keys
    columns = tl.arange(0, HEAD_DIM)
    key = block * BLOCK_N + tl.arange(0, BLOCK_N)
    key_offsets = key[:, None] * HEAD_DIM + columns
    k_tile = tl.load(k + first_key * HEAD_DIM + key_offsets, mask=key[:, None] < keys, other=0.0)
    v_tile = tl.load(v + first_key * HEAD_DIM + key_offsets, mask=key[:, None] < keys, other=0.0)
    grad_k_tile = tl.zeros([BLOCK_N, HEAD_DIM], tl.float32)
    grad_v_tile = tl.zeros([BLOCK_N, HEAD_DIM], tl.float32)
    past = keys - queries
    for member in range(GROUP):
        first_query = (kv_head * GROUP + member).to(tl.int64) * queries
        q_head, grad_head = q + first_query * HEAD_DIM, grad_out + first_query * HEAD_DIM
        for part in tl.static_range(3):
            begin, end = query_part(part, block * BLOCK_N, past, queries, BLOCK_M, BLOCK_N, CAUSAL, WINDOW, SINKS)
            for start in range(begin, end, BLOCK_M):
                rows = start + tl.arange(0, BLOCK_M)
                row_offsets = rows[:, None] * HEAD_DIM + columns
                q_tile = tl.load(q_head + row_offsets, mask=rows[:, None] < queries, other=0.0)
                lse_row = tl.load(lse + first_query + rows, mask=rows < queries, other=0.0)
                scores = tl.dot(k_tile, tl.trans(q_tile), input_precision="ieee") * (scale * LOG2_E)
                log_p = scores - lse_row[None, :] * LOG2_E
                if part != 1:
                    seen = visible((rows + past)[None, :], key[:, None], keys, CAUSAL, WINDOW, SINKS)
                    log_p = tl.where(seen, log_p, FLOOR)
                if not CAUSAL:  # a key past the end has score 0, and exp(0 - lse) may be inf: times its k of 0, nan
                    log_p = tl.where(key[:, None] < keys, log_p, FLOOR)
                p = tl.math.exp2(log_p)
                grad_tile = tl.load(grad_head + row_offsets, mask=rows[:, None] < queries, other=0.0)
                grad_v_tile = tl.dot(p.to(grad_tile.dtype), grad_tile, grad_v_tile, input_precision="ieee")
                delta_row = tl.load(delta + first_query + rows, mask=rows < queries, other=0.0)
                grad_p = tl.dot(v_tile, tl.trans(grad_tile), input_precision="ieee")
                grad_scores = (p * (grad_p - delta_row[None, :])).to(q_tile.dtype)
                grad_k_tile = tl.dot(grad_scores, q_tile, grad_k_tile, input_precision="ieee")
                grad_q_tile = tl.dot(tl.trans(grad_scores), k_tile, input_precision="ieee") * scale
                tl.atomic_add(
                    grad_q + first_query * HEAD_DIM + row_offsets,
                    grad_q_tile,
                    mask=rows[:, None] < queries,
                    sem="relaxed",
                )
    tl.store(
        grad_k + first_key * HEAD_DIM + key_offsets, (grad_k_tile * scale).to(k_tile.dtype), mask=key[:, None] < keys
    )
    tl.store(grad_v + first_key * HEAD_DIM + key_offsets, grad_v_tile.to(k_tile.dtype), mask=key[:, None] < keys)


# Decoding --------------------------------------------------------------------------------------------------------


@triton.jit
def split_decode_kernel(
    q,
    k,
    v,
    partial,
    partial_lse,
    scale,
    keys,
    chunk,
    group,
    HEAD_DIM: tl.constexpr,
    BLOCK_G: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """One query a head against a chunk of the keys: program (split, head) of a grid (splits, batch x kv_heads).

    q: (batch x kv_heads, group, HEAD_DIM); partial: (batch x kv_heads, splits, group, HEAD_DIM) fp32, the chunk's own
    attention; partial_lse: (batch x kv_heads, splits, group) fp32. BLOCK_G: rows of the tile, at least group and the 16
    that a dot asks for, so that the heads of a group read their keys once.
    """
    split, kv_head = tl.program_id(0), tl.program_id(1)
    first_key = kv_head.to(tl.int64) * keys
    k, v = k + first_key * HEAD_DIM, v + first_key * HEAD_DIM
    columns = tl.arange(0, HEAD_DIM)
    member = tl.arange(0, BLOCK_G)
    q_offsets = (kv_head * group + member)[:, None] * HEAD_DIM + columns
    q_tile = tl.load(q + q_offsets, mask=member[:, None] < group, other=0.0)
    m = tl.full([BLOCK_G], FLOOR, tl.float32)
    ell = tl.zeros([BLOCK_G], tl.float32)
    acc = tl.zeros([BLOCK_G, HEAD_DIM], tl.float32)
    stop = tl.minimum(keys, (split + 1) * chunk)
    for start in range(split * chunk, stop, BLOCK_N):
        key = start + tl.arange(0, BLOCK_N)
        key_offsets = key[:, None] * HEAD_DIM + columns
        k_tile = tl.load(k + key_offsets, mask=key[:, None] < stop, other=0.0)
        scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * (scale * LOG2_E)
        scores = tl.where(key[None, :] < stop, scores, FLOOR)
        m_new = tl.maximum(m, tl.max(scores, 1))
        alpha = tl.math.exp2(m - m_new)
        p = tl.math.exp2(scores - m_new[:, None])
        ell = alpha * ell + tl.sum(p, 1)
        v_tile = tl.load(v + key_offsets, mask=key[:, None] < stop, other=0.0)
        acc = tl.dot(p.to(v_tile.dtype), v_tile, alpha[:, None] * acc, input_precision="ieee")
        m = m_new
    saw = (m > FLOOR) | (ell != ell)  # a maximum drops nan, a sum keeps it
    ell = tl.where(saw, ell, 1.0)
    part = (kv_head * tl.num_programs(0) + split) * group + member
    partial_tile = tl.where(saw[:, None], acc / ell[:, None], 0.0)
    tl.store(partial + part[:, None] * HEAD_DIM + columns, partial_tile, mask=member[:, None] < group)
    lse_row = tl.where(saw, m * LN_2 + tl.log(ell), float("-inf"))
    tl.store(partial_lse + part, lse_row, mask=member < group)


@triton.jit
def merge_kernel(partial, partial_lse, out, splits, group, HEAD_DIM: tl.constexpr, BLOCK_S: tl.constexpr):
    """The partial results of one query made one: program (member, head) of a grid (group, batch x kv_heads).

    Each weighs exp(lse) against the others, by the same change of unit as in the loop over keys; lse -inf weighs 0.
    """
    member, kv_head = tl.program_id(0), tl.program_id(1)
    columns = tl.arange(0, HEAD_DIM)
    m = FLOOR
    ell = 0.0
    acc = tl.zeros([HEAD_DIM], tl.float32)
    for start in range(0, splits, BLOCK_S):
        split = start + tl.arange(0, BLOCK_S)
        part = (kv_head * splits + split) * group + member
        lse_row = tl.load(partial_lse + part, mask=split < splits, other=float("-inf"))
        partial_tile = tl.load(partial + part[:, None] * HEAD_DIM + columns, mask=split[:, None] < splits, other=0.0)
        m_new = tl.maximum(m, tl.max(lse_row, 0))
        alpha = tl.exp(m - m_new)
        weight = tl.exp(lse_row - m_new)
        ell = alpha * ell + tl.sum(weight, 0)
        acc = alpha * acc + tl.sum(weight[:, None] * partial_tile, 0)
        m = m_new
    row = (kv_head * group + member).to(tl.int64)
    tl.store(out + row * HEAD_DIM + columns, (acc / ell).to(out.dtype.element_ty))


# Standard attention, for comparison ------------------------------------------------------------------------------


@triton.jit
def scores_kernel(
    q,
    k,
    scores,
    scale,
    queries,
    keys,
    group,
    HEAD_DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr,
):
    """One tile of the N x N scores, stored: program (row block, column block, head)."""
    block, head = tl.program_id(0), tl.program_id(2)
    columns = tl.arange(0, HEAD_DIM)
    rows = block * BLOCK_M + tl.arange(0, BLOCK_M)
    key = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    row = head.to(tl.int64) * queries + rows
    key_row = (head // group).to(tl.int64) * keys + key
    q_tile = tl.load(q + row[:, None] * HEAD_DIM + columns, mask=rows[:, None] < queries, other=0.0)
    k_tile = tl.load(k + key_row[:, None] * HEAD_DIM + columns, mask=key[:, None] < keys, other=0.0)
    score_tile = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * scale
    if CAUSAL:
        score_tile = tl.where(key[None, :] <= (rows + keys - queries)[:, None], score_tile, float("-inf"))
    inside = (rows[:, None] < queries) & (key[None, :] < keys)
    tl.store(scores + row[:, None] * keys + key, score_tile.to(q_tile.dtype), mask=inside)


@triton.jit
def softmax_kernel(scores, weights, rows, keys, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr):
    """The softmax of BLOCK_M whole rows, read once and written once; BLOCK_K: at least keys, a power of two."""
    row = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    key = tl.arange(0, BLOCK_K)
    offsets = row.to(tl.int64)[:, None] * keys + key
    inside = (row[:, None] < rows) & (key[None, :] < keys)
    score_tile = tl.load(scores + offsets, mask=inside, other=0.0).to(tl.float32)
    score_tile = tl.where(key < keys, score_tile, float("-inf"))
    p = tl.exp(score_tile - tl.max(score_tile, 1)[:, None])
    p = p / tl.sum(p, 1)[:, None]
    tl.store(weights + offsets, p.to(weights.dtype.element_ty), mask=inside)


@triton.jit
def values_kernel(
    weights,
    v,
    out,
    queries,
    keys,
    group,
    HEAD_DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """The values of BLOCK_M queries mixed by their stored weights: program (block, head)."""
    block, head = tl.program_id(0), tl.program_id(1)
    columns = tl.arange(0, HEAD_DIM)
    rows = block * BLOCK_M + tl.arange(0, BLOCK_M)
    row = head.to(tl.int64) * queries + rows
    first_key = (head // group).to(tl.int64) * keys
    acc = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)
    for start in range(0, keys, BLOCK_N):
        key = start + tl.arange(0, BLOCK_N)
        inside = (rows[:, None] < queries) & (key[None, :] < keys)
        p = tl.load(weights + row[:, None] * keys + key, mask=inside, other=0.0)
        value_offsets = (first_key + key)[:, None] * HEAD_DIM + columns
        v_tile = tl.load(v + value_offsets, mask=key[:, None] < keys, other=0.0)
        acc = tl.dot(p, v_tile, acc, input_precision="ieee")
    tl.store(out + row[:, None] * HEAD_DIM + columns, acc.to(out.dtype.element_ty), mask=rows[:, None] < queries)


# Launching -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Blocks:
    """How a kernel is cut: rows of queries and of keys a tile, warps a program, stages of its pipeline."""

    block_m: int
    block_n: int
    num_warps: int = 4
    num_stages: int = 2

    @property
    def meta(self) -> dict[str, int]:
        return dict(BLOCK_M=self.block_m, BLOCK_N=self.block_n, num_warps=self.num_warps, num_stages=self.num_stages)


# Target -> bytes of an element -> head dim -> blocks, chosen from what Triton 3.7.1 compiles; nothing here was timed.
# Of the blocks that we compiled for sm_90, in this order:
# 1. They fit; ptxas doesn't serialize their wgmmas (C7511); a thread spills 32 bytes at most.
# 2. No wgmma reads more than the 128 bytes of shared memory a cycle that a Hopper's processor gives. 64 x 64 x 16 with
#    both tiles there reads 4,096 in 32 cycles, just that; 64 x 32 x 16 would read 192 a cycle, 64 x 16 x 16 320. This
#    wants 64 rows for each group of 4 warps: on fewer, Triton shares out the columns, and N falls.
# 3. The most warps on a processor. 4. The larger tile: fewer passes, fewer bytes.
# What came out, causal with a window and sinks, which takes the most registers of all patterns:
#
#     head dim   wgmma N: both shared / one in registers   registers  spilt  shared bytes  programs a processor
#     forward
#      16        64 / 16                                     205        -       16,384       2
#      32        64 / 32                                     237        -       32,768       2
#      64        64 / 64                                     127        -       65,536       2
#     128        128 / 128                                   255        -      163,840       1
#     256        64 / 256                                    248        -      196,608       1
#     keys and values
#      16        64 / 16                                     167        -       12,800       3
#      32        64 / 32                                     168        -       25,088       3
#      64        64 / 64                                     232        -       66,048       1
#     128        64 / 128                                    255       32      131,584       1
#     256        mma.sync: a wgmma spills 80 to 2,024      177        -       67,840       1
#     queries
#      16        64 / 16                                     118        -       12,288       4
#      32        64 / 32                                     121        -       24,576       4
#      64        64 / 64                                     142        -       49,152       3
#     128        64 / 128                                    203        -      131,072       1
#     256        32 / 256: N 64 spills 568 to 832           229        -      196,608       1
#
# sm_80 has mma.sync alone, 16 x 8 x 16 for every block; there nothing spills.
_SINGLE = {  # fp32, without tensor cores
    "forward": {d: Blocks(32, 32, 8, 2) for d in (16, 32, 64)} | {d: Blocks(16, 16, 4, 2) for d in (128, 256)},
    "key_value": {16: Blocks(32, 32, 4, 2)}
    | {d: Blocks(16, 16, 4, 2) for d in (32, 64, 128)}
    | {256: Blocks(16, 16, 8, 2)},
    "query": {d: Blocks(32, 32, 4, 2) for d in (16, 32, 64)} | {d: Blocks(16, 16, 4, 2) for d in (128, 256)},
}
FORWARD = {
    "sm_80": {
        2: {d: Blocks(128, 64, 4, 3) for d in (16, 32)}
        | {d: Blocks(128, 64, 8, 3) for d in (64, 128)}
        | {256: Blocks(64, 32, 8, 2)},
        4: _SINGLE["forward"],
    },
    "sm_90": {
        2: {
            16: Blocks(128, 64, 4, 3),
            32: Blocks(128, 64, 4, 3),
            64: Blocks(128, 64, 8, 3),
            128: Blocks(128, 128, 8, 2),
            256: Blocks(128, 64, 8, 2),
        },
        4: _SINGLE["forward"],
    },
}
KEY_VALUE_GRADIENT = {
    "sm_80": {
        2: {d: Blocks(64, 64, 4, 2) for d in (16, 32)}
        | {64: Blocks(64, 64, 8, 2), 128: Blocks(32, 64, 8, 2), 256: Blocks(32, 32, 8, 2)},
        4: _SINGLE["key_value"],
    },
    "sm_90": {
        2: {
            16: Blocks(64, 64, 4, 2),
            32: Blocks(64, 64, 4, 2),
            64: Blocks(64, 128, 8, 2),
            128: Blocks(64, 128, 8, 2),
            256: Blocks(32, 32, 8, 2),
        },
        4: _SINGLE["key_value"],
    },
}
QUERY_GRADIENT = {
    "sm_80": {
        2: {d: Blocks(64, 64, 4, 2) for d in (16, 32)}
        | {64: Blocks(128, 64, 8, 2), 128: Blocks(64, 64, 8, 2), 256: Blocks(32, 32, 8, 2)},
        4: _SINGLE["query"],
    },
    "sm_90": {
        2: {
            16: Blocks(64, 64, 4, 2),
            32: Blocks(64, 64, 4, 2),
            64: Blocks(64, 64, 4, 2),
            128: Blocks(128, 64, 8, 2),
            256: Blocks(128, 32, 8, 2),
        },
        4: _SINGLE["query"],
    },
}
DECODE = {  # 16 rows, of which a group of heads fills a few: mma.sync on every chip
    2: {d: Blocks(16, 64, 4, 3) for d in (16, 32, 64, 128)} | {256: Blocks(16, 32, 4, 3)},
    4: {d: Blocks(16, 32, 4, 2) for d in (16, 32, 64)} | {d: Blocks(16, 16, 4, 2) for d in (128, 256)},
}
HEAD_DIMS = tuple(DECODE[2])


def shipped(table: dict[str, dict[int, dict[int, Blocks]]], q: Tensor) -> Blocks:
    """The blocks that we ship for q's device, dtype and head dim."""
    return table[target_of(q.device)][q.element_size()][q.shape[-1]]


def target_of(device: torch.device) -> str:
    """Whose blocks a device gets: sm_90's on a Hopper, and on the CPU, where a GPU's run is counted; else sm_80's.

    Those need 101,376 bytes of shared memory at most, which is what the smaller chips since Ampere give.
    """
    hopper = device.type != "cuda" or torch.cuda.get_device_capability(device)[0] == 9
    return "sm_90" if hopper else "sm_80"


def as_autocast_has_it(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in the dtype that torch's own attention would read: under autocast its own, float64 left alone."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(each if each.dtype == torch.float64 else each.to(dtype) for each in tensors)


def heads_fit(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Raise ValueError unless the kernels can read the three tensors."""
    tensors = {"k": k, "v": v, "q": q}
    same_kind(tensors)
    for name, each in tensors.items():
        if each.dim() != 4:
            shape = "batch, heads, queries, d" if name == "q" else "batch, kv_heads, keys, d"
            raise ValueError(f"{name} has shape {tuple(each.shape)}, which cannot be read as ({shape}).")
    same_sizes({"k": k, "v": v}, {"k": "... kv_heads keys d", "v": "... kv_heads keys d"})
    same_sizes({"k": k, "q": q}, {"k": "... kv_heads keys d", "q": "... heads queries d"})
    heads, kv_heads, head_dim = q.shape[1], k.shape[1], q.shape[-1]
    if heads % kv_heads:
        raise ValueError(f"q has {heads} heads, k has {kv_heads}; give k and v a number of heads that divides q's.")
    if head_dim not in HEAD_DIMS:
        raise ValueError(
            f"the head dim is {head_dim}; give {', '.join(map(str, HEAD_DIMS))}, or pad q, k and v with zeros "
            f"up to one of them and pass scale={head_dim}**-0.5."
        )
    if q.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        raise ValueError(f"q has dtype {q.dtype}; give torch.float16, torch.bfloat16 or torch.float32.")


def attention_forward(
    q: Tensor, k: Tensor, v: Tensor, scale: float, causal: bool, window: int, sinks: int, blocks: Blocks
) -> tuple[Tensor, Tensor]:
    """out (batch, heads, queries, d) and lse (batch, heads, queries) by `forward_kernel`; window 0 stands for none.

    The tensors are contiguous and fit each other. `blocks` may be any that fit the device.
    """
    batch, heads, queries, head_dim = q.shape
    out, lse = torch.empty_like(q), q.new_empty(q.shape[:-1], dtype=torch.float32)
    launch(forward_kernel)[triton.cdiv(queries, blocks.block_m), batch * heads](
        q,
        k,
        v,
        out,
        lse,
        scale,
        queries,
        k.shape[2],
        heads // k.shape[1],
        HEAD_DIM=head_dim,
        CAUSAL=causal,
        WINDOW=window,
        SINKS=sinks,
        **blocks.meta,
    )
    return out, lse


def row_delta(out: Tensor, grad_out: Tensor, block_m: int = 64) -> Tensor:
    """The sum of out · grad_out over each row, (batch, heads, queries) fp32, by `delta_kernel`."""
    delta = out.new_empty(out.shape[:-1], dtype=torch.float32)
    rows = delta.numel()
    launch(delta_kernel)[(triton.cdiv(rows, block_m),)](
        out, grad_out, delta, rows, HEAD_DIM=out.shape[-1], BLOCK_M=block_m
    )
    return delta


def attention_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    grad_out: Tensor,
    scale: float,
    causal: bool,
    window: int,
    sinks: int,
    key_value_blocks: Blocks,
    query_blocks: Blocks,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v by three kernels: delta, then keys and values, then queries. Gives the same each run.

    out and lse are those of `attention_forward` with the same pattern; everything is contiguous.
    """
    batch, heads, queries, head_dim = q.shape
    kv_heads, keys = k.shape[1:3]
    delta = row_delta(out, grad_out)
    grad_q, grad_k, grad_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    pattern = dict(HEAD_DIM=head_dim, CAUSAL=causal, WINDOW=window, SINKS=sinks)
    given = q, k, v, grad_out, lse, delta
    launch(key_value_gradient_kernel)[triton.cdiv(keys, key_value_blocks.block_n), batch * kv_heads](
        *given, grad_k, grad_v, scale, queries, keys, GROUP=heads // kv_heads, **pattern, **key_value_blocks.meta
    )
    launch(query_gradient_kernel)[triton.cdiv(queries, query_blocks.block_m), batch * heads](
        *given, grad_q, scale, queries, keys, heads // kv_heads, **pattern, **query_blocks.meta
    )
    return grad_q, grad_k, grad_v


def atomic_attention_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    grad_out: Tensor,
    scale: float,
    causal: bool,
    window: int,
    sinks: int,
    blocks: Blocks,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same gradients by `atomic_backward_kernel`, that of q summed in fp32 and then rounded."""
    batch, heads, queries, head_dim = q.shape
    kv_heads, keys = k.shape[1:3]
    delta = row_delta(out, grad_out)
    grad_q, grad_k, grad_v = torch.zeros_like(q, dtype=torch.float32), torch.empty_like(k), torch.empty_like(v)
    launch(atomic_backward_kernel)[triton.cdiv(keys, blocks.block_n), batch * kv_heads](
        q,
        k,
        v,
        grad_out,
        lse,
        delta,
        grad_q,
        grad_k,
        grad_v,
        scale,
        queries,
        keys,
        GROUP=heads // kv_heads,
        HEAD_DIM=head_dim,
        CAUSAL=causal,
        WINDOW=window,
        SINKS=sinks,
        **blocks.meta,
    )
    return grad_q.to(q.dtype), grad_k, grad_v


class FlashAttention(torch.autograd.Function):
    """`attention_forward` with `attention_backward`, and the blocks that we ship. Keeps q, k, v, out and lse."""

    @staticmethod
    def forward(ctx, q, k, v, scale, causal, window, sinks):
        out, lse = attention_forward(q, k, v, scale, causal, window, sinks, shipped(FORWARD, q))
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.pattern = scale, causal, window, sinks
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_out):
        q, k, v, out, lse = ctx.saved_tensors
        blocks = shipped(KEY_VALUE_GRADIENT, q), shipped(QUERY_GRADIENT, q)
        pattern: tuple[float, bool, int, int] = ctx.pattern
        gradients = attention_backward(q, k, v, out, lse, grad_out.contiguous(), *pattern, *blocks)
        return *gradients, None, None, None, None


def flash_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = False,
    window: int | None = None,
    sinks: int = 0,
    scale: float | None = None,
) -> Tensor:
    """Attention by Triton kernels that never store a score: memory grows as the number of tokens. Differentiable, once.

    q: (batch, heads, queries, d); k, v: (batch, kv_heads, keys, d), kv_heads dividing heads; float16, bfloat16 or
    float32; d 16, 32, 64, 128 or 256. CUDA tensors run compiled, CPU tensors under Triton's interpreter.
    causal: query i sees the keys up to i + keys - queries; window: of those the last `window`, and the first `sinks`
    scale: of the scores, 1 / sqrt(d) if None
    Returns (batch, heads, queries, d) in q's dtype, 0 for a query that sees no key. A nan is not refused, since looking
    for it would wait for the GPU: rows that see it are nan. Tensors that are not contiguous are copied; under autocast
    all three are turned to its dtype first, as torch's own attention does. Raises ValueError for tensors that do not
    fit, for a window without causal, for sinks without a window, and for more than 65,535 heads in the batch;
    RuntimeError where there is no Triton (solutions.flash does the same in torch).
    """
    q, k, v = as_autocast_has_it(q, k, v)
    heads_fit(q, k, v)
    if window is not None and not causal:
        raise ValueError(f"window is {window} but causal is False; this window looks back only: give causal=True.")
    if window is not None and (isinstance(window, bool) or not isinstance(window, int) or window < 1):
        raise ValueError(f"window is {window!r}; give a whole number of 1 or more, or None.")
    if isinstance(sinks, bool) or not isinstance(sinks, int) or sinks < 0:
        raise ValueError(f"sinks is {sinks!r}; give a whole number, 0 for none.")
    if sinks and window is None:
        raise ValueError(f"sinks is {sinks} but there is no window to see past; give a window, or sinks=0.")
    if not len(q):  # no program would run
        return scaled_dot_product_attention(q, k, v, enable_gqa=True)
    scale = scale_of(scale, q)
    return FlashAttention.apply(q.contiguous(), k.contiguous(), v.contiguous(), scale, causal, window or 0, sinks)


def flash_decode(q: Tensor, k: Tensor, v: Tensor, *, splits: int | None = None, scale: float | None = None) -> Tensor:
    """Attention of one new token, its keys read by `splits` programs at once whose results are merged.

    q: (batch, heads, 1, d); k, v: (batch, kv_heads, keys, d), otherwise as in `flash_attention`; not differentiable
    splits: programs per key head; None for `splits_for` the device's multiprocessors
    Returns (batch, heads, 1, d) in q's dtype. Raises ValueError for tensors that do not fit, RuntimeError where there
    is no Triton.
    """
    q, k, v = as_autocast_has_it(q, k, v)
    heads_fit(q, k, v)
    if q.shape[2] != 1:
        raise ValueError(f"q holds {q.shape[2]} queries; give one, or use flash_attention(..., causal=True).")
    batch, heads, _, head_dim = q.shape
    kv_heads, keys = k.shape[1:3]
    if not batch:  # no program would run
        return torch.empty_like(q)
    if splits is None:
        splits = splits_for(batch * kv_heads, keys, multiprocessors(q.device))
    elif isinstance(splits, bool) or not isinstance(splits, int) or splits < 1:
        raise ValueError(f"splits is {splits!r}; give a whole number of 1 or more, or None.")
    group = heads // kv_heads
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    partial = q.new_empty(batch, kv_heads, splits, group, head_dim, dtype=torch.float32)
    partial_lse = q.new_empty(batch, kv_heads, splits, group, dtype=torch.float32)
    out = torch.empty_like(q)
    blocks = DECODE[q.element_size()][head_dim]
    launch(split_decode_kernel)[splits, batch * kv_heads](
        q,
        k,
        v,
        partial,
        partial_lse,
        scale_of(scale, q),
        keys,
        triton.cdiv(keys, splits),
        group,
        HEAD_DIM=head_dim,
        BLOCK_G=max(blocks.block_m, triton.next_power_of_2(group)),
        BLOCK_N=blocks.block_n,
        num_warps=blocks.num_warps,
        num_stages=blocks.num_stages,
    )
    launch(merge_kernel)[group, batch * kv_heads](
        partial, partial_lse, out, splits, group, HEAD_DIM=head_dim, BLOCK_S=16
    )
    return out


def splits_for(programs: int, keys: int, processors: int, least: int = 256) -> int:
    """How many parts to cut each of `programs` key heads' keys into, `least` keys or more in each.

    Programs run in waves of `processors`, and the last wave is counted as a full one: 17 parts of 8 heads are 136
    programs, two waves on 132 processors, and half of them idle. So: the fewest parts whose waves are 95 % as full as
    those of the best number. (FlashAttention-2's num_splits_heuristic does so with 85 % and twice the processors; one
    program each is what fills them here. Heads that fill 80 % of the processors by themselves are not cut, as there.)
    """
    if programs >= 0.8 * processors:
        return 1
    full = [wave_efficiency(programs * splits, processors) for splits in range(1, max(1, keys // least) + 1)]
    return 1 + next(i for i, share in enumerate(full) if share >= 0.95 * max(full))


def wave_efficiency(programs: int, processors: int) -> float:
    """The share of processors that work while `programs` equal programs run, one on each at a time."""
    return programs / (triton.cdiv(programs, processors) * processors)


def multiprocessors(device: torch.device) -> int:
    """Streaming multiprocessors of a GPU; for the CPU the 132 of an H100, so that what is counted is a GPU's run."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 132


def scale_of(scale: float | None, q: Tensor) -> float:
    return q.shape[-1] ** -0.5 if scale is None else float(scale)


def standard_attention_kernels(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    causal: bool = False,
    *,
    scale: float | None = None,
    block_m: int = 64,
    block_n: int = 64,
) -> Tensor:
    """Attention by three kernels that pass scores and weights, N x N in q's dtype, through memory: what flash avoids.

    q: (batch, heads, queries, d); k, v: (batch, kv_heads, keys, d); alignment and result as in `flash_attention`
    Raises ValueError for tensors that do not fit, and for a causal mask that leaves a query without a key.
    """
    heads_fit(q, k, v)
    batch, heads, queries, head_dim = q.shape
    kv_heads, keys = k.shape[1:3]
    if causal and queries > keys:
        raise ValueError(
            f"q has {queries} queries, k {keys} keys: causal, the first queries see none; give at most {keys}."
        )
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    scores = q.new_empty(batch, heads, queries, keys)
    weights, out = torch.empty_like(scores), torch.empty_like(q)
    tiles, group = dict(HEAD_DIM=head_dim, BLOCK_M=block_m, BLOCK_N=block_n), heads // kv_heads
    row_blocks = triton.cdiv(queries, block_m)
    launch(scores_kernel)[row_blocks, triton.cdiv(keys, block_n), batch * heads](
        q, k, scores, scale_of(scale, q), queries, keys, group, CAUSAL=causal, **tiles
    )
    width = triton.next_power_of_2(keys)
    rows, rows_each = batch * heads * queries, max(1, 8192 // width)
    launch(softmax_kernel)[(triton.cdiv(rows, rows_each),)](
        scores, weights, rows, keys, BLOCK_M=rows_each, BLOCK_K=width
    )
    launch(values_kernel)[row_blocks, batch * heads](weights, v, out, queries, keys, group, **tiles)
    return out
