"""The gated delta rule as Triton kernels, a chunk of C tokens at a time: in three passes over memory, and in one.

    S <- exp(g) S,  S <- S + b k (v - S^T k)^T,  out = S^T q     token by token: forget, read and write, look up

    G         the sum of the g of a chunk up to a token, its own included; G_C: of the whole chunk
    decay_ij  = exp(G_i - G_j) for i >= j, else 0
    A_ij      = b_i decay_ij (k_i · k_j) for i > j, else 0
    T         = (I + A)^-1
    u         = T (b v)                                          what the chunk would write if S were 0
    w         = T (b exp(G) k)                                   what S takes off it
    written   = u - w S                                          S: the state before the chunk
    out       = exp(G) (q S) + (q k^T decay) written
    S         <- exp(G_C) S + k^T (exp(G_C - G) written)

(Gated DeltaNet, equation 10 and section 3.3, with the state turned: theirs is d_value x d.) In the kernels b and the
decays multiply the smaller side of a product: columns of T in place of keys and values, what is written in place of k.

    intra_kernel      u and w of one chunk of one head                       all chunks side by side
    state_kernel      a block of a head's values, chunk after chunk          each S goes out, and is kept on the chip
    output_kernel     the output of one chunk of one head                    all chunks side by side
    one_pass_kernel   all of it for a block of values, chunk after chunk     nothing but out and the last S goes out

Three passes keep more processors at work, since two of them have a program for each chunk. With the same blocks of
values one pass moves fewer bytes: u, w, what is written and the states between chunks stay where they were made. The
closed forms of both stand at the end, reads and writes apart.

Sums and the state are fp32, whatever the dtype of q, k and v. What a product reads is in their dtype, and so is what
one pass leaves for the next: the states that go out are those that the output's product reads. A decay is the power of
a difference, since exp(G_i) exp(-G_j) is 0 times infinity where exp(G_i - G_j) may be 1. I + A is inverted row by row:
the product (I - A)(I + A^2)(I + A^4)..., exact on paper, loses all digits in fp32 where keys are alike. Forward only.

Everything is plain pointers and masks, so that it compiles on Triton 3.6 to 3.9 and every byte can be counted. `launch`
compiles for CUDA tensors and interprets for tensors on the CPU.

Shapes: q, k (batch, heads, n, d); v (batch, heads, n, d_value); g, b (batch, heads, n); S (batch, heads, d, d_value).
g is the log of the decay, 0 or less; b the write strength, 1 to store v under a key of length 1. q is not scaled here.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from solutions.interpreter import launch, tl, triton
from solutions.shapes import counts, refuse_not_finite, same_kind, shapes

# The kernels ------------------------------------------------------------------------------------------------------


@triton.jit
def decays(G, rows):
    """exp(G_i - G_j), what token i finds of what token j wrote; 0 where j is later."""
    before = rows[:, None] >= rows
    return tl.where(before, tl.exp(tl.where(before, G[:, None] - G, 0.0)), 0.0)


@triton.jit
def unit_inverse(A, rows, CHUNK: tl.constexpr):
    """(I + A)^-1, where A is 0 on and above its diagonal: A_ij times row j is taken off each later row i."""
    T = tl.where(rows[:, None] == rows, 1.0, 0.0)
    for j in range(CHUNK - 1):
        column = tl.sum(tl.where(rows == j, A, 0.0), 1)
        row = tl.sum(tl.where(rows[:, None] == j, T, 0.0), 0)  # which is finished by now
        T -= column[:, None] * row
    return T


@triton.jit
def intra_kernel(k, v, g, b, u, w, n, KEY_DIM: tl.constexpr, VALUE_DIM: tl.constexpr, CHUNK: tl.constexpr):
    """u and w of one chunk: program (chunk, head) of a grid (cdiv(n, CHUNK), heads).

    k: pointer to contiguous (heads, n, KEY_DIM); v: (heads, n, VALUE_DIM), in one dtype; g, b: (heads, n) fp32
    u: as v, written; w: as k, written. All sizes in capitals are powers of 2 from 16 on.
    """
    first = tl.program_id(1).to(tl.int64) * n  # the head's first row among all rows; inside a head, 32 bits suffice
    k, w, v, u = k + first * KEY_DIM, w + first * KEY_DIM, v + first * VALUE_DIM, u + first * VALUE_DIM
    rows = tl.arange(0, CHUNK)
    token = tl.program_id(0) * CHUNK + rows
    inside = token < n
    k_at = token[:, None] * KEY_DIM + tl.arange(0, KEY_DIM)
    v_at = token[:, None] * VALUE_DIM + tl.arange(0, VALUE_DIM)
    k_tile = tl.load(k + k_at, mask=inside[:, None], other=0.0)
    b_row = tl.load(b + first + token, mask=inside, other=0.0)
    G = tl.cumsum(tl.load(g + first + token, mask=inside, other=0.0), 0)
    A = tl.dot(k_tile, tl.trans(k_tile), input_precision="ieee") * decays(G, rows) * b_row[:, None]
    T = unit_inverse(tl.where(rows[:, None] > rows, A, 0.0), rows, CHUNK) * b_row
    w_tile = tl.dot((T * tl.exp(G)).to(k_tile.dtype), k_tile, input_precision="ieee")
    tl.store(w + k_at, w_tile.to(k_tile.dtype), mask=inside[:, None])
    v_tile = tl.load(v + v_at, mask=inside[:, None], other=0.0)
    u_tile = tl.dot(T.to(v_tile.dtype), v_tile, input_precision="ieee")
    tl.store(u + v_at, u_tile.to(v_tile.dtype), mask=inside[:, None])


@triton.jit
def state_kernel(
    k,
    u,
    w,
    g,
    initial,
    states,
    written,
    final,
    n,
    KEY_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_V: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """BLOCK_V columns of a head's state, chunk after chunk: program (block, head) of (VALUE_DIM / BLOCK_V, heads).

    k, w: pointers to contiguous (heads, n, KEY_DIM); u: (heads, n, VALUE_DIM), in one dtype; g: (heads, n) fp32
    initial: (heads, KEY_DIM, VALUE_DIM) fp32, or None for a state of 0; final: the same, written
    states: (heads, cdiv(n, CHUNK), KEY_DIM, VALUE_DIM), written: the state before each chunk; written: as u, written
    """
    head = tl.program_id(1).to(tl.int64)
    first, chunks, size = head * n, tl.cdiv(n, CHUNK), KEY_DIM * VALUE_DIM
    k, w, u, written = k + first * KEY_DIM, w + first * KEY_DIM, u + first * VALUE_DIM, written + first * VALUE_DIM
    rows, columns = tl.arange(0, CHUNK), tl.arange(0, KEY_DIM)
    values = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)
    s_at = columns[:, None] * VALUE_DIM + values
    if initial is None:
        S = tl.zeros([KEY_DIM, BLOCK_V], tl.float32)
    else:
        S = tl.load(initial + head * size + s_at)
    for chunk in range(0, chunks):
        token = chunk * CHUNK + rows
        inside = token < n
        k_at = token[:, None] * KEY_DIM + columns
        v_at = token[:, None] * VALUE_DIM + values
        w_tile = tl.load(w + k_at, mask=inside[:, None], other=0.0)
        S_read = S.to(w_tile.dtype)
        tl.store(states + (head * chunks + chunk) * size + s_at, S_read)
        u_tile = tl.load(u + v_at, mask=inside[:, None], other=0.0)
        new = u_tile - tl.dot(w_tile, S_read, input_precision="ieee")
        tl.store(written + v_at, new.to(u_tile.dtype), mask=inside[:, None])
        G = tl.cumsum(tl.load(g + first + token, mask=inside, other=0.0), 0)
        last = tl.sum(tl.where(rows == CHUNK - 1, G, 0.0), 0)
        k_tile = tl.load(k + k_at, mask=inside[:, None], other=0.0)
        new = (tl.exp(last - G)[:, None] * new).to(k_tile.dtype)
        S = tl.dot(tl.trans(k_tile), new, tl.exp(last) * S, input_precision="ieee")
    tl.store(final + head * size + s_at, S)


@triton.jit
def output_kernel(
    q, k, written, g, states, out, n, KEY_DIM: tl.constexpr, VALUE_DIM: tl.constexpr, CHUNK: tl.constexpr
):
    """The output of one chunk: program (chunk, head) of a grid (cdiv(n, CHUNK), heads).

    q, k: pointers to contiguous (heads, n, KEY_DIM); written: (heads, n, VALUE_DIM); g: (heads, n) fp32
    states: (heads, cdiv(n, CHUNK), KEY_DIM, VALUE_DIM), the state before each chunk; out: as written, written
    """
    chunk, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    first = head * n
    q, k = q + first * KEY_DIM, k + first * KEY_DIM
    written, out = written + first * VALUE_DIM, out + first * VALUE_DIM
    states += (head * tl.num_programs(0) + chunk) * KEY_DIM * VALUE_DIM
    rows, columns, values = tl.arange(0, CHUNK), tl.arange(0, KEY_DIM), tl.arange(0, VALUE_DIM)
    token = chunk * CHUNK + rows
    inside = token < n
    k_at = token[:, None] * KEY_DIM + columns
    v_at = token[:, None] * VALUE_DIM + values
    s_at = columns[:, None] * VALUE_DIM + values
    q_tile = tl.load(q + k_at, mask=inside[:, None], other=0.0)
    k_tile = tl.load(k + k_at, mask=inside[:, None], other=0.0)
    G = tl.cumsum(tl.load(g + first + token, mask=inside, other=0.0), 0)
    scores = (tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * decays(G, rows)).to(q_tile.dtype)
    acc = tl.exp(G)[:, None] * tl.dot(q_tile, tl.load(states + s_at), input_precision="ieee")
    new = tl.load(written + v_at, mask=inside[:, None], other=0.0)
    acc = tl.dot(scores, new, acc, input_precision="ieee")
    tl.store(out + v_at, acc.to(new.dtype), mask=inside[:, None])


@triton.jit
def one_pass_kernel(
    q,
    k,
    v,
    g,
    b,
    initial,
    out,
    final,
    n,
    KEY_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    BLOCK_V: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """BLOCK_V columns of one head's output and state, chunk after chunk: program (block, head), as in `state_kernel`.

    q, k: pointers to contiguous (heads, n, KEY_DIM); v: (heads, n, VALUE_DIM), in one dtype; g, b: (heads, n) fp32
    initial, final: as in `state_kernel`; out: as v, written
    """
    head = tl.program_id(1).to(tl.int64)
    first, size = head * n, KEY_DIM * VALUE_DIM
    q, k, v, out = q + first * KEY_DIM, k + first * KEY_DIM, v + first * VALUE_DIM, out + first * VALUE_DIM
    rows, columns = tl.arange(0, CHUNK), tl.arange(0, KEY_DIM)
    values = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V)
    s_at = columns[:, None] * VALUE_DIM + values
    if initial is None:
        S = tl.zeros([KEY_DIM, BLOCK_V], tl.float32)
    else:
        S = tl.load(initial + head * size + s_at)
    for start in range(0, n, CHUNK):
        token = start + rows
        inside = token < n
        k_at = token[:, None] * KEY_DIM + columns
        v_at = token[:, None] * VALUE_DIM + values
        k_tile = tl.load(k + k_at, mask=inside[:, None], other=0.0)
        b_row = tl.load(b + first + token, mask=inside, other=0.0)
        G = tl.cumsum(tl.load(g + first + token, mask=inside, other=0.0), 0)
        decay, left, S_read = decays(G, rows), tl.exp(G)[:, None], S.to(k_tile.dtype)
        q_tile = tl.load(q + k_at, mask=inside[:, None], other=0.0)
        scores = (tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * decay).to(q_tile.dtype)
        acc = left * tl.dot(q_tile, S_read, input_precision="ieee")
        v_tile = tl.load(v + v_at, mask=inside[:, None], other=0.0)
        error = b_row[:, None] * (v_tile - left * tl.dot(k_tile, S_read, input_precision="ieee"))
        error = error.to(v_tile.dtype)
        A = tl.dot(k_tile, tl.trans(k_tile), input_precision="ieee") * decay * b_row[:, None]
        T = unit_inverse(tl.where(rows[:, None] > rows, A, 0.0), rows, CHUNK)
        new = tl.dot(T.to(v_tile.dtype), error, input_precision="ieee")
        acc = tl.dot(scores, new.to(v_tile.dtype), acc, input_precision="ieee")
        tl.store(out + v_at, acc.to(v_tile.dtype), mask=inside[:, None])
        last = tl.sum(tl.where(rows == CHUNK - 1, G, 0.0), 0)
        new = (tl.exp(last - G)[:, None] * new).to(v_tile.dtype)
        S = tl.dot(tl.trans(k_tile), new, tl.exp(last) * S, input_precision="ieee")
    tl.store(final + head * size + s_at, S)


# On tensors -------------------------------------------------------------------------------------------------------


class Tiles(NamedTuple):
    """How a sequence and the values are cut, and the warps of a program."""

    chunk: int
    block_v: int
    num_warps: int


# By the bytes of an element, chosen from what Triton 3.7.1 compiles; nothing was timed. In two bytes no kernel spills,
# on sm_80 and sm_90, with d and d_value both 64 or both 128. Three passes write a state a chunk, so theirs are long.
# What one pass moves doesn't depend on the chunk, and with longer ones its tiles spill. At 128:
#
#                  sm_80, mma.sync alone                    sm_90
#                  registers  shared bytes  programs        registers  shared bytes  programs  widest instruction
#     intra           168        24,576        3               137        17,408        3      wgmma m64n128k16
#     state           201        41,216        2               134        82,176        2      wgmma m64n32k16
#     output          255        40,960        2               128        49,152        4      wgmma m64n128k16
#     one pass        240        16,384        2               194        20,480        2      wgmma m64n32k16
#
# (Programs are those on one processor at a time.) Blocks of 32 values make 128 programs of 32 heads, about one for each
# of an H100's 132 processors. Their wgmmas pay for it: with both tiles in shared memory an m64n32k16 reads 192 bytes a
# cycle, where 128 can be had. The 16 rows of a chunk are too few for a wgmma: one pass has one for the state alone.
# In fp32 a dot has no tensor cores, and at 128 output and one pass spill thousands of bytes a thread: it is here to be
# exact.
THREE_PASSES = {2: Tiles(64, 32, 4), 4: Tiles(16, 16, 8)}
ONE_PASS = {2: Tiles(16, 32, 4), 4: Tiles(16, 16, 8)}
SIZES = (16, 32, 64, 128)


def tiles(table: dict[int, Tiles], v: Tensor, chunk: int | None, block_v: int | None = None) -> Tiles:
    """The tiles that we ship for v, but for what is given."""
    ours = table[v.element_size()]
    return Tiles(chunk or ours.chunk, block_v or min(ours.block_v, v.shape[-1]), ours.num_warps)


def fits(
    k: Tensor, g: Tensor, chunk: int | None, block_v: int | None = None, S: Tensor | None = None, **others
) -> None:
    """Raise ValueError for sizes that no tile has, a g that is no log of a decay, and a state of another shape."""
    values = next(others[name] for name in ("v", "u", "written") if name in others)
    for name, size in (("d", k.shape[-1]), ("d_value", values.shape[-1]), ("chunk", chunk or 16)):
        if size not in SIZES:
            raise ValueError(f"{name} is {size}; give {', '.join(map(str, SIZES[:-1]))} or {SIZES[-1]}.")
    if block_v is not None and (block_v not in SIZES or block_v > values.shape[-1]):
        raise ValueError(f"block_v is {block_v}; give a power of 2 from 16 to d_value, which is {values.shape[-1]}.")
    if k.element_size() not in THREE_PASSES:
        raise ValueError(f"k has dtype {k.dtype}; give torch.float16, torch.bfloat16 or torch.float32.")
    refuse_not_finite(g=g)
    if g.max() > 0:
        raise ValueError(f"g reaches {g.max():g}; give the log of a decay, 0 or less, for example a.log().")
    if S is not None:
        same_kind({"k": k, "S": S}, any_dtype=("S",))
        expected = (*k.shape[:2], k.shape[-1], values.shape[-1])
        if S.shape != expected:
            raise ValueError(f"S has shape {tuple(S.shape)}; give (batch, heads, d, d_value), here {expected}.")
        refuse_not_finite(S=S)


def states_fit(k: Tensor, states: Tensor, written: Tensor, chunk: int | None, **others) -> None:
    """Raise ValueError unless there is a state before each chunk."""
    fits(k=k, written=written, chunk=chunk, **others)
    needed = triton.cdiv(k.shape[2], tiles(THREE_PASSES, k, chunk).chunk)
    if states.shape[2] != needed:
        raise ValueError(f"there are {states.shape[2]} states for {needed} chunks; give state_pass the same chunk.")


KEYS, VALUES, ROWS = "batch heads n d", "batch heads n d_value", "batch heads n"
GATES = ("g", "b")


@counts("chunk")
@shapes(k=KEYS, v=VALUES, g=ROWS, b=ROWS, any_dtype=GATES, check=fits)
def intra_pass(k: Tensor, v: Tensor, g: Tensor, b: Tensor, *, chunk: int | None = None) -> tuple[Tensor, Tensor]:
    """u (batch, heads, n, d_value) and w (batch, heads, n, d) of all chunks by `intra_kernel`, in v's dtype.

    chunk: tokens of a chunk, 16, 32, 64 or 128; None for what we ship. g and b are read in fp32.
    Raises ValueError for tensors that do not fit, sizes that no tile has and a g above 0; RuntimeError where there is
    no Triton.
    """
    (batch, heads, n, d), d_value = k.shape, v.shape[-1]
    chunk, _, num_warps = tiles(THREE_PASSES, v, chunk)
    k, v, g, b = k.contiguous(), v.contiguous(), g.float().contiguous(), b.float().contiguous()
    u, w = torch.empty_like(v), torch.empty_like(k)
    launch(intra_kernel)[triton.cdiv(n, chunk), batch * heads](
        k, v, g, b, u, w, n, KEY_DIM=d, VALUE_DIM=d_value, CHUNK=chunk, num_warps=num_warps, num_stages=2
    )
    return u, w


@counts("chunk", "block_v")
@shapes(k=KEYS, u=VALUES, w=KEYS, g=ROWS, any_dtype=GATES, check=fits)
def state_pass(
    k: Tensor,
    u: Tensor,
    w: Tensor,
    g: Tensor,
    S: Tensor | None = None,
    *,
    chunk: int | None = None,
    block_v: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """What each chunk writes, the state before each chunk, and the state after the last, by `state_kernel`.

    S: the state before the first token, None for 0; block_v: values of one program, dividing d_value; chunk, errors:
    as in `intra_pass`
    Returns written (batch, heads, n, d_value), states (batch, heads, chunks, d, d_value), both in u's dtype; S in fp32.
    """
    (batch, heads, n, d), d_value = k.shape, u.shape[-1]
    chunk, block_v, num_warps = tiles(THREE_PASSES, u, chunk, block_v)
    k, u, w, g = k.contiguous(), u.contiguous(), w.contiguous(), g.float().contiguous()
    initial = None if S is None else S.float().contiguous()
    states, written = u.new_empty(batch, heads, triton.cdiv(n, chunk), d, d_value), torch.empty_like(u)
    final = u.new_empty(batch, heads, d, d_value, dtype=torch.float32)
    launch(state_kernel)[d_value // block_v, batch * heads](
        k, u, w, g, initial, states, written, final, n,
        KEY_DIM=d, VALUE_DIM=d_value, BLOCK_V=block_v, CHUNK=chunk, num_warps=num_warps, num_stages=2,
    )  # fmt: skip
    return written, states, final


@counts("chunk")
@shapes(
    q=KEYS, k=KEYS, written=VALUES, g=ROWS, states="batch heads chunks d d_value", any_dtype=GATES, check=states_fit
)
def output_pass(
    q: Tensor, k: Tensor, written: Tensor, g: Tensor, states: Tensor, *, chunk: int | None = None
) -> Tensor:
    """The output, (batch, heads, n, d_value) in q's dtype, by `output_kernel`, of what `state_pass` returns.

    chunk: that of `state_pass`; errors as in `intra_pass`
    """
    (batch, heads, n, d), d_value = k.shape, written.shape[-1]
    chunk, _, num_warps = tiles(THREE_PASSES, q, chunk)
    q, k, written, g = q.contiguous(), k.contiguous(), written.contiguous(), g.float().contiguous()
    out = torch.empty_like(written)
    launch(output_kernel)[triton.cdiv(n, chunk), batch * heads](
        q, k, written, g, states.contiguous(), out, n,
        KEY_DIM=d, VALUE_DIM=d_value, CHUNK=chunk, num_warps=num_warps, num_stages=2,
    )  # fmt: skip
    return out


@counts("chunk", "block_v")
@shapes(q=KEYS, k=KEYS, v=VALUES, g=ROWS, b=ROWS, any_dtype=GATES, check=fits)
def three_passes(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    b: Tensor,
    S: Tensor | None = None,
    *,
    chunk: int | None = None,
    block_v: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The gated delta rule by three kernels: `intra_pass`, `state_pass` and `output_pass`. Not differentiable.

    q, k, v: float16, bfloat16 or float32, d and d_value 16, 32, 64 or 128, n any; g, b: any floating dtype
    S, chunk, block_v and errors: as in `state_pass`
    Returns the output (batch, heads, n, d_value) in q's dtype, and the state after the last token, fp32.
    """
    u, w = intra_pass(k, v, g, b, chunk=chunk)
    written, states, S = state_pass(k, u, w, g, S, chunk=chunk, block_v=block_v)
    return output_pass(q, k, written, g, states, chunk=chunk), S


@counts("chunk", "block_v")
@shapes(q=KEYS, k=KEYS, v=VALUES, g=ROWS, b=ROWS, any_dtype=GATES, check=fits)
def one_pass(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    b: Tensor,
    S: Tensor | None = None,
    *,
    chunk: int | None = None,
    block_v: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The same by `one_pass_kernel`; arguments, result and errors as in `three_passes`."""
    (batch, heads, n, d), d_value = k.shape, v.shape[-1]
    chunk, block_v, num_warps = tiles(ONE_PASS, v, chunk, block_v)
    q, k, v, g, b = q.contiguous(), k.contiguous(), v.contiguous(), g.float().contiguous(), b.float().contiguous()
    initial = None if S is None else S.float().contiguous()
    out, final = torch.empty_like(v), v.new_empty(batch, heads, d, d_value, dtype=torch.float32)
    launch(one_pass_kernel)[d_value // block_v, batch * heads](
        q, k, v, g, b, initial, out, final, n,
        KEY_DIM=d, VALUE_DIM=d_value, BLOCK_V=block_v, CHUNK=chunk, num_warps=num_warps, num_stages=2,
    )  # fmt: skip
    return out, final


# What they move ---------------------------------------------------------------------------------------------------
# "read" or "write" -> tensor -> bytes that the programs of a kernel ask for together. A last chunk that is not full
# moves no more than its tokens.

Moved = dict[str, dict[str, int]]


def moved(heads: int, read: dict[str, int], write: dict[str, int]) -> Moved:
    """Those of one head, for all heads."""
    halves = {"read": read, "write": write}
    return {half: {name: heads * size for name, size in each.items()} for half, each in halves.items()}


@counts("n", "d", "d_value", "heads", "element_bytes")
def intra_bytes(n: int, d: int, d_value: int, *, heads: int = 1, element_bytes: int = 2) -> Moved:
    """Bytes that `intra_kernel` reads and writes, by tensor; `heads` are those of all texts of the batch."""
    keys, values = n * d * element_bytes, n * d_value * element_bytes
    return moved(heads, {"k": keys, "v": values, "g": 4 * n, "b": 4 * n}, {"u": values, "w": keys})


@counts("n", "d", "d_value", "chunk", "block_v", "heads", "element_bytes")
def state_bytes(
    n: int,
    d: int,
    d_value: int,
    chunk: int,
    block_v: int,
    *,
    initial: bool = False,
    heads: int = 1,
    element_bytes: int = 2,
) -> Moved:
    """Bytes that `state_kernel` reads and writes, by tensor: k, w and g once for each block of values.

    initial: whether a state is given before the first token
    """
    blocks, state = d_value // block_v, d * d_value
    keys, values = n * d * element_bytes, n * d_value * element_bytes
    read = {"k": blocks * keys, "u": values, "w": blocks * keys, "g": blocks * 4 * n, "initial": 4 * state * initial}
    states = -(-n // chunk) * state * element_bytes
    return moved(heads, read, {"states": states, "written": values, "final": 4 * state})


@counts("n", "d", "d_value", "chunk", "heads", "element_bytes")
def output_bytes(n: int, d: int, d_value: int, chunk: int, *, heads: int = 1, element_bytes: int = 2) -> Moved:
    """Bytes that `output_kernel` reads and writes, by tensor."""
    keys, values = n * d * element_bytes, n * d_value * element_bytes
    states = -(-n // chunk) * d * d_value * element_bytes
    read = {"q": keys, "k": keys, "written": values, "g": 4 * n, "states": states}
    return moved(heads, read, {"out": values})


def three_passes_bytes(
    n: int,
    d: int,
    d_value: int,
    chunk: int,
    block_v: int,
    *,
    initial: bool = False,
    heads: int = 1,
    element_bytes: int = 2,
) -> dict[str, Moved]:
    """Bytes of `three_passes`, by pass: "intra", "state" and "output"."""
    sizes = dict(heads=heads, element_bytes=element_bytes)
    return {
        "intra": intra_bytes(n, d, d_value, **sizes),
        "state": state_bytes(n, d, d_value, chunk, block_v, initial=initial, **sizes),
        "output": output_bytes(n, d, d_value, chunk, **sizes),
    }


@counts("n", "d", "d_value", "block_v", "heads", "element_bytes")
def one_pass_bytes(
    n: int,
    d: int,
    d_value: int,
    block_v: int,
    *,
    initial: bool = False,
    heads: int = 1,
    element_bytes: int = 2,
) -> Moved:
    """Bytes of `one_pass`, by tensor: all but v and out once for each block of values, whatever the chunk."""
    blocks, state = d_value // block_v, 4 * d * d_value
    keys, values = n * d * element_bytes, n * d_value * element_bytes
    read = {"q": blocks * keys, "k": blocks * keys, "v": values, "g": blocks * 4 * n, "b": blocks * 4 * n}
    return moved(heads, read | {"initial": state * initial}, {"out": values, "final": state})


def three_passes_floats(n: int, d: int, d_value: int, chunk: int, block_v: int) -> int:
    """Numbers that `three_passes` reads and writes for one head from a state of 0.

    With d_value = d, block_v = d and whole chunks: n (12 d + 2 d^2 / chunk + 4) + d^2, of which the states are
    2 n d^2 / chunk.
    """
    passes = three_passes_bytes(n, d, d_value, chunk, block_v, element_bytes=4)
    return sum(size for each in passes.values() for half in each.values() for size in half.values()) // 4


def one_pass_floats(n: int, d: int, d_value: int, block_v: int) -> int:
    """Numbers that `one_pass` reads and writes for one head from a state of 0.

    With d_value = d and J = d / block_v blocks: J n (2 d + 2) + 2 n d + d^2.
    """
    passes = one_pass_bytes(n, d, d_value, block_v, element_bytes=4)
    return sum(size for half in passes.values() for size in half.values()) // 4


@counts("n", "d", "d_value", "chunk", "heads")
def three_passes_flops(n: int, d: int, d_value: int, chunk: int, *, heads: int = 1) -> dict[str, int]:
    """Multiplications and additions of the dots, by pass; a chunk that is not full multiplies zeros too.

    With d_value = d and whole chunks n (10 chunk d + 6 d^2) in all. The inverse is not among them: it takes about
    2 chunk^3 a chunk, on the vector units.
    """
    chunks, square = heads * -(-n // chunk), chunk * chunk
    return {
        "intra": chunks * 2 * square * (2 * d + d_value),
        "state": chunks * 4 * chunk * d * d_value,
        "output": chunks * (2 * square * (d + d_value) + 2 * chunk * d * d_value),
    }


@counts("n", "d", "d_value", "chunk", "block_v", "heads")
def one_pass_flops(n: int, d: int, d_value: int, chunk: int, block_v: int, *, heads: int = 1) -> int:
    """Multiplications and additions of the dots of `one_pass`: each block of values makes A and the scores anew."""
    chunks, square = heads * -(-n // chunk), chunk * chunk
    return chunks * (d_value // block_v * 4 * square * d + 4 * square * d_value + 6 * chunk * d * d_value)
