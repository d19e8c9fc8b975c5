"""Sparse attention as three Triton kernels: score all keys, choose top_k of them, attend to these alone.

    index_kernel     I[t, s] = Σ_j w[t, j] ReLU(q[t, j] · k[s])      a tile of queries times heads meets a tile of keys
    select_kernel    the top_k largest of each row                    a search for the threshold, digit by digit
    gather_kernel    attention to the chosen keys                    the flash loop over gathered rows

(DeepSeek-V3.2-Exp, equations 1 and 2; solutions/sparse says the same in torch.) The heads of the indexer lie beside
the queries in one tile, so that one dot serves decoding, where there is one query, as well as a prefill. The heads of
the attention that share a key do the same: a gathered row is read once for all of them, and that is what pays for it.

The choice is made without sorting. Floats whose bits are read as whole numbers, the negative ones turned around, keep
their order; a histogram of their 8 highest bits says in which of 256 bins the k-th largest lies, and the next 8 bits
are looked at in that bin alone. After four readings the threshold is known to the last bit, and a fifth writes down
what lies above it, in order of position; of those equal to it the first ones, as many as there is room for.

Everything is plain pointers and masks, so that it compiles on Triton 3.6 to 3.9 and every byte can be counted; the
closed forms of the bytes stand at the end. `launch` compiles for CUDA tensors and interprets for tensors on the CPU.
Queries are the last n of m tokens.
"""

import torch
from torch import Tensor

from solutions.accepts import gathered_fits, heads_divide, scores_compare
from solutions.interpreter import launch, tl, triton
from solutions.shapes import counts, shapes

HIDDEN = tl.constexpr(-1e30)  # a score that counts nothing: not -inf, since a row that saw nothing would be inf - inf
SIGN = tl.constexpr(-(2**31))
LOG2_E = tl.constexpr(1.4426950408889634)

# The kernels ------------------------------------------------------------------------------------------------------


@triton.jit
def index_kernel(
    q,
    k,
    w,
    scores,
    first,
    n,
    m,
    HEADS: tl.constexpr,
    INDEX_DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """BLOCK_M queries against BLOCK_N keys: program (key block, query block, batch).

    q: pointer to contiguous (batch, HEADS, n, INDEX_DIM); k: (batch, m, INDEX_DIM); w: (batch, n, HEADS)
    scores: pointer to (batch, n, m) fp32, written: -inf where the key comes after the query, which stands at first +
    its row. Nothing is read for a tile that lies wholly in the future. HEADS and INDEX_DIM are powers of 2, INDEX_DIM
    and BLOCK_M times HEADS at least 16.
    """
    block, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    rows = block * BLOCK_M + tl.arange(0, BLOCK_M)
    keys = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    position = first + rows
    tile = tl.full([BLOCK_M, BLOCK_N], float("-inf"), tl.float32)
    if tl.program_id(0) * BLOCK_N < first + tl.minimum(n, (block + 1) * BLOCK_M):
        pair = tl.arange(0, BLOCK_M * HEADS)  # query by query, all heads of each
        row, head = block * BLOCK_M + pair // HEADS, pair % HEADS
        columns = tl.arange(0, INDEX_DIM)
        q_offsets = ((batch * HEADS + head) * n + row)[:, None] * INDEX_DIM + columns
        q_tile = tl.load(q + q_offsets, mask=row[:, None] < n, other=0.0)
        k_offsets = (batch * m + keys)[:, None] * INDEX_DIM + columns
        k_tile = tl.load(k + k_offsets, mask=keys[:, None] < m, other=0.0)
        weight = tl.load(w + (batch * n + row) * HEADS + head, mask=row < n, other=0.0)
        fit = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee")
        fit = tl.maximum(fit, 0.0) * weight.to(tl.float32)[:, None]
        tile = tl.sum(tl.reshape(fit, [BLOCK_M, HEADS, BLOCK_N]), 1)
        tile = tl.where(keys <= position[:, None], tile, float("-inf"))
    offsets = (batch * n + rows)[:, None] * m + keys
    tl.store(scores + offsets, tile, mask=(rows[:, None] < n) & (keys < m))


@triton.jit
def in_order(values):
    """Whole numbers of 32 bits in the order of floats: the negative ones have their other bits turned around."""
    values = tl.where(values == 0.0, 0.0, values)  # -0.0 and 0.0 tie
    bits = values.to(tl.int32, bitcast=True)
    return tl.where(bits < 0, ~bits, bits ^ SIGN).to(tl.uint32, bitcast=True)


@triton.jit
def select_kernel(scores, indices, first, n, m, top_k, BLOCK: tl.constexpr):
    """The top_k largest scores of one row: program (query, batch).

    scores: pointer to (batch, n, m) fp32; of row t only the first + t + 1 first are read, and -inf is no candidate
    indices: pointer to (batch, n, top_k) int32, written: positions, ascending; then -1
    """
    row, batch = tl.program_id(0), tl.program_id(1).to(tl.int64)
    visible = first + row + 1
    scores += (batch * n + row) * m
    indices += (batch * n + row) * top_k
    lanes = tl.arange(0, BLOCK)
    bins = tl.arange(0, 256)
    prefix = tl.full([], 0, tl.int32)  # of the threshold: the bits that are known
    room = tl.full([], 0, tl.int32) + top_k  # for scores that begin with the prefix; those above it are chosen
    searched = tl.where(visible > top_k, 4, 0)
    for step in range(0, searched):
        shift = 24 - 8 * step
        count = tl.zeros([256], tl.int32)
        for start in range(0, visible, BLOCK):
            place = start + lanes
            ordered = in_order(tl.load(scores + place, mask=place < visible, other=float("-inf")))
            # two shifts: by 32 at once, in the first step, no processor agrees on
            alike = ((ordered >> shift) >> 8).to(tl.int32, bitcast=True) == prefix
            digit = ((ordered >> shift) & 255).to(tl.int32)
            count += tl.histogram(digit, 256, mask=alike & (place < visible))
        above = tl.sum(count) - tl.cumsum(count, 0)  # scores in higher bins
        chosen = tl.max(tl.where((above < room) & (above + count >= room), bins, 0))
        room -= tl.sum(tl.where(bins > chosen, count, 0))
        prefix = (prefix << 8) | chosen
    threshold = prefix.to(tl.uint32, bitcast=True)
    written = tl.full([], 0, tl.int32)
    for start in range(0, visible, BLOCK):
        place = start + lanes
        value = tl.load(scores + place, mask=place < visible, other=float("-inf"))
        ordered = in_order(value)
        tied = ((ordered == threshold) & (place < visible)).to(tl.int32)
        first_ties = (tied != 0) & (tl.cumsum(tied, 0) <= room)
        chosen = ((ordered > threshold) | first_ties) & (value > float("-inf"))
        rank = written + tl.cumsum(chosen.to(tl.int32), 0) - 1
        tl.store(indices + rank, place, mask=chosen)
        room -= tl.sum(tied)
        written += tl.sum(chosen.to(tl.int32))
    for start in range(written, top_k, BLOCK):
        place = start + lanes
        tl.store(indices + place, tl.full([BLOCK], -1, tl.int32), mask=place < top_k)


@triton.jit
def gather_kernel(
    q,
    k,
    v,
    indices,
    out,
    scale,
    n,
    m,
    top_k,
    kv_heads,
    group,
    HEAD_DIM: tl.constexpr,
    TAIL: tl.constexpr,
    SHARED: tl.constexpr,
    BLOCK_G: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """One query, BLOCK_G of the heads that share its keys: program (head block, query, batch x kv_heads).

    q: pointer to contiguous (batch x kv_heads, group, n, HEAD_DIM + TAIL); k: (batch x kv_heads, m, HEAD_DIM + TAIL)
    v: (batch x kv_heads, m, HEAD_DIM), not read when SHARED: then the first HEAD_DIM entries of a key are its value, as
    in DeepSeek's latent of 512 + 64. out: (batch x kv_heads, group, n, HEAD_DIM), written
    indices: (batch, n, top_k) int32, -1 for no key. HEAD_DIM is a power of 2, and so is TAIL, or 0.
    """
    query, pair = tl.program_id(1), tl.program_id(2).to(tl.int64)
    member = tl.program_id(0) * BLOCK_G + tl.arange(0, BLOCK_G)
    columns = tl.arange(0, HEAD_DIM)
    rows = (pair * group + member) * n + query
    q_offsets = rows[:, None] * (HEAD_DIM + TAIL)
    q_tile = tl.load(q + q_offsets + columns, mask=member[:, None] < group, other=0.0)
    if TAIL:
        tail = HEAD_DIM + tl.arange(0, TAIL)
        q_tail = tl.load(q + q_offsets + tail, mask=member[:, None] < group, other=0.0)
    indices += (pair // kv_heads * n + query) * top_k
    row_max = tl.full([BLOCK_G], HIDDEN, tl.float32)
    ell = tl.zeros([BLOCK_G], tl.float32)
    acc = tl.zeros([BLOCK_G, HEAD_DIM], tl.float32)
    for start in range(0, top_k, BLOCK_N):
        place = start + tl.arange(0, BLOCK_N)
        key = tl.load(indices + place, mask=place < top_k, other=-1)
        present = (key >= 0)[:, None]
        key_rows = (pair * m + key)[:, None]
        k_tile = tl.load(k + key_rows * (HEAD_DIM + TAIL) + columns, mask=present, other=0.0)
        scores = tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee")
        if TAIL:
            k_tail = tl.load(k + key_rows * (HEAD_DIM + TAIL) + tail, mask=present, other=0.0)
            scores = tl.dot(q_tail, tl.trans(k_tail), scores, input_precision="ieee")
        scores = tl.where((key >= 0)[None, :], scores * (scale * LOG2_E), HIDDEN)
        row_max_new = tl.maximum(row_max, tl.max(scores, 1))
        alpha = tl.math.exp2(row_max - row_max_new)
        p = tl.math.exp2(scores - row_max_new[:, None])
        ell = alpha * ell + tl.sum(p, 1)
        if SHARED:
            v_tile = k_tile
        else:
            v_tile = tl.load(v + key_rows * HEAD_DIM + columns, mask=present, other=0.0)
        acc = tl.dot(p.to(v_tile.dtype), v_tile, alpha[:, None] * acc, input_precision="ieee")
        row_max = row_max_new
    saw = (row_max > HIDDEN) | (ell != ell)  # a maximum drops nan, a sum keeps it
    tile = tl.where(saw[:, None], acc / tl.where(saw, ell, 1.0)[:, None], 0.0)
    tl.store(out + rows[:, None] * HEAD_DIM + columns, tile.to(q_tile.dtype), mask=member[:, None] < group)


# On tensors -------------------------------------------------------------------------------------------------------


def is_power_of_two(size: int) -> bool:
    return size > 0 and not size & (size - 1)


def indexer_fits(q: Tensor, k: Tensor, **_) -> None:
    """Raise ValueError for sizes that no tile has."""
    heads, index_dim = q.shape[1], q.shape[3]
    if not is_power_of_two(heads) or not is_power_of_two(index_dim) or index_dim < 16:
        raise ValueError(
            f"there are {heads} heads of {index_dim}; give powers of 2, and at least 16 entries, which a dot asks for."
        )
    if q.shape[2] > k.shape[1]:
        raise ValueError(f"there are {q.shape[2]} queries and {k.shape[1]} keys; give at least as many keys.")


@counts("block_m", "block_n")
@shapes(q="batch heads n index_dim", k="batch m index_dim", w="batch n heads", check=indexer_fits)
def score_keys(
    q: Tensor, k: Tensor, w: Tensor, *, first: int | None = None, block_m: int | None = None, block_n: int = 64
) -> Tensor:
    """`index_scores` by `index_kernel`: (batch, n, m) fp32, -inf in the future; powers of 2 as the kernel asks for.

    first: position of the first query; None for m - n. block_m: queries of a tile; None for as many as make 64 rows.
    """
    (batch, heads, n, index_dim), m = q.shape, k.shape[1]
    block_m = block_m or max(64 // heads, 1)
    scores = torch.empty(batch, n, m, dtype=torch.float32, device=q.device)
    launch(index_kernel)[triton.cdiv(m, block_n), triton.cdiv(n, block_m), batch](
        q.contiguous(), k.contiguous(), w.contiguous(), scores, m - n if first is None else first, n, m,
        HEADS=heads, INDEX_DIM=index_dim, BLOCK_M=block_m, BLOCK_N=block_n, num_warps=4, num_stages=2,
    )  # fmt: skip
    return scores


@counts("top_k", "block")
@shapes(scores="batch n m", check=scores_compare)
def choose_keys(scores: Tensor, top_k: int, *, first: int | None = None, block: int = 1024) -> Tensor:
    """`select_top_k` by `select_kernel`: the same set as int32, in order of position, -1 at the end."""
    batch, n, m = scores.shape
    top_k = min(top_k, m)
    indices = torch.empty(batch, n, top_k, dtype=torch.int32, device=scores.device)
    launch(select_kernel)[n, batch](
        scores.float().contiguous(), indices, m - n if first is None else first, n, m, top_k, BLOCK=block, num_warps=4
    )
    return indices


def gather_fits(q: Tensor, k: Tensor, v: Tensor | None, indices: Tensor, scale: float | None, **_) -> None:
    """Raise ValueError unless the choice fits, and the sizes are such that a tile has them."""
    gathered_fits(q, k, indices, scale)
    main, tail = head_parts(k, v)
    if not is_power_of_two(main) or main < 16 or (tail and (not is_power_of_two(tail) or tail < 16)):
        raise ValueError(f"keys have {main} + {tail} entries; give powers of 2 from 16 on, or no tail.")


def head_parts(k: Tensor, v: Tensor | None) -> tuple[int, int]:
    """Entries of a key that are also those of a value, and entries that only scores see."""
    width = k.shape[-1]
    main = v.shape[-1] if v is not None else 1 << (width.bit_length() - 1)
    return main, width - main


@counts("block_g", "block_n")
@shapes(q="batch heads n d", k="batch kv_heads m d", check=gather_fits)
def attend_to(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    indices: Tensor,
    *,
    scale: float | None = None,
    block_g: int | None = None,
    block_n: int = 32,
) -> Tensor:
    """`gathered_attention` by `gather_kernel`: (batch, heads, n, d_value) in q's dtype.

    q: (batch, heads, n, d); k: (batch, kv_heads, m, d), where d is d_value, or d_value and a tail, both powers of 2
    v: (batch, kv_heads, m, d_value); None where the first entries of a key, its largest power of 2, are its value
    indices: (batch, n, k); block_g: heads of a tile, None for all that share a key, from 16 to 64
    """
    main, tail = head_parts(k, v)
    batch, heads, n, _ = q.shape
    kv_heads, m = k.shape[1:3]
    group = heads // kv_heads
    block_g = block_g or min(max(triton.next_power_of_2(group), 16), 64)
    out = torch.empty(batch, heads, n, main, dtype=q.dtype, device=q.device)
    k = k.contiguous()
    # 32 keys of DeepSeek's latent, 512 + 64, and 64 heads compile for sm_90 to m64n16k16: 320 bytes of shared memory a
    # cycle, so 40 % of the tensor cores' rate at most. 64 keys give n32, and spill 96 bytes (584 in one stage).
    launch(gather_kernel)[triton.cdiv(group, block_g), n, batch * kv_heads](
        q.contiguous(), k, k if v is None else v.contiguous(), indices.int().contiguous(), out,
        (main + tail) ** -0.5 if scale is None else scale, n, m, indices.shape[2], kv_heads, group,
        HEAD_DIM=main, TAIL=tail, SHARED=v is None, BLOCK_G=block_g, BLOCK_N=block_n, num_warps=8 if main > 128 else 4,
        num_stages=2,
    )  # fmt: skip
    return out


@counts("top_k", "chunk")
@shapes(
    q="batch heads n d",
    k="batch kv_heads m d",
    index_q="batch index_heads n index_dim",
    index_k="batch m index_dim",
    index_w="batch n index_heads",
    check=heads_divide,
)
def sparse_attention_kernels(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    index_q: Tensor,
    index_k: Tensor,
    index_w: Tensor,
    top_k: int,
    *,
    chunk: int = 2048,
) -> Tensor:
    """`sparse_attention` by the three kernels, for a chunk of queries at a time, so that n · m scores never exist.

    Arguments as in `sparse_attention`, v as in `attend_to`.
    """
    n, m = q.shape[2], k.shape[2]
    out = []
    for start in range(0, n, chunk):
        rows, first = slice(start, start + chunk), m - n + start
        scores = score_keys(index_q[:, :, rows], index_k, index_w[:, rows], first=first)
        indices = choose_keys(scores, top_k, first=first)
        out.append(attend_to(q[:, :, rows], k, v, indices))
    return torch.cat(out, dim=2)


# What they move ---------------------------------------------------------------------------------------------------


def index_bytes(
    n: int,
    m: int,
    heads: int,
    index_dim: int,
    block_m: int,
    block_n: int,
    *,
    batch: int = 1,
    element_bytes: int = 2,
) -> dict[str, int]:
    """Bytes that `index_kernel` loads and stores, by tensor, for the last n of m tokens."""
    moved = dict.fromkeys(("q", "k", "w", "scores"), 0)
    for row in range(0, n, block_m):
        queries = min(block_m, n - row)
        for start in range(0, m, block_n):
            keys = min(block_n, m - start)
            moved["scores"] += queries * keys * 4
            if start < m - n + row + queries:
                moved["q"] += queries * heads * index_dim * element_bytes
                moved["k"] += keys * index_dim * element_bytes
                moved["w"] += queries * heads * element_bytes
    return {name: batch * count for name, count in moved.items()}


def select_bytes(n: int, m: int, top_k: int, *, batch: int = 1) -> dict[str, int]:
    """Bytes that `select_kernel` loads and stores: a row is read five times, or once where all of it is chosen."""
    visible = range(m - n + 1, m + 1)
    read = sum(4 * count * (5 if count > top_k else 1) for count in visible)
    return {"scores": batch * read, "indices": batch * n * top_k * 4}


def gather_bytes(
    n: int,
    m: int,
    top_k: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    block_g: int,
    *,
    tail: int = 0,
    shared: bool = False,
    batch: int = 1,
    element_bytes: int = 2,
) -> dict[str, int]:
    """Bytes that `gather_kernel` loads and stores, where each query chose as many keys as it sees, at most top_k."""
    chosen = sum(min(top_k, count) for count in range(m - n + 1, m + 1))
    programs = batch * kv_heads * -(-heads // kv_heads // block_g)  # for each query
    return {
        "q": batch * heads * n * (head_dim + tail) * element_bytes,
        "k": programs * chosen * (head_dim + tail) * element_bytes,
        "v": 0 if shared else programs * chosen * head_dim * element_bytes,
        "indices": programs * n * top_k * 4,
        "out": batch * heads * n * head_dim * element_bytes,
    }
