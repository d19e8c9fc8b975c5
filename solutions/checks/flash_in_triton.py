"""Exercises: the flash kernels, run under the interpreter, and what they skip, what fits, what is made again.

What a kernel gets wrong shows only where it has to: keys that no block ends on (their scores are 0, not hidden), the
second head, a maximum that arrives late. So lengths are ragged, heads are two, and blocks are of two sizes.
"""

import functools
import math

import torch
from torch import Tensor

from solutions import flash, flash_kernels, interpreter, quadratic
from solutions.checks.exercise import Case, Exercise
from solutions.checks.kernels import (
    Exponentials,
    Parts,
    changed,
    each_changed,
    far_away,
    launched,
    span,
    unwritten,
    within_budget,
)
from solutions.checks.running import Rejected
from solutions.checks.tools import tensors, wider
from solutions.flash import forward_bytes, peak_tile_bytes
from solutions.interpreter import listening, tl, triton


def run(
    kernel, heads, n, head_dim, block_m, block_n, dtype=torch.float32, size=1.0, apart=0.0
) -> tuple[Tensor, Tensor]:
    """out and lse of a kernel on random q, k and v, q of standard deviation `size`, all scores apart² / √d lower.

    Of numbers that are multiples of 1/8 products are exact, however low the scores are.
    """
    generator = torch.Generator().manual_seed(heads + n + head_dim)
    q, k, v = (torch.randn(heads, n, head_dim, generator=generator).to(dtype) for _ in "qkv")
    q = q * size
    if apart:
        q, k = (8 * q).round() / 8, (8 * k).round() / 8
        q[..., 0], k[..., 0] = apart, -apart
    return attend(kernel, q, k, v, block_m, block_n)


def attend(kernel, q, k, v, block_m, block_n) -> tuple[Tensor, Tensor]:
    """out and lse of a kernel on q, k and v, (heads, n, head_dim)."""
    heads, n, head_dim = q.shape
    inputs = {"q": q, "k": k, "v": v}
    outputs = {"out": unwritten(heads, n, head_dim, dtype=q.dtype), "lse": unwritten(heads, n)}

    def program(name, entry):
        head, row = divmod(entry // (head_dim if name == "out" else 1), n)
        return row // block_m, head

    def words(name, entry):
        row, column = divmod(entry, head_dim if name == "out" else 1)
        head, row = divmod(row, n)
        place = f"row {row}{f', column {column},' if column else ''} of head {head}"
        return f"{span('rows', row, block_m, n)} of head {head} of {name}", place

    grid, numbers = (triton.cdiv(n, block_m), heads), (0.8 * head_dim**-0.5, n)
    sizes = dict(HEAD_DIM=head_dim, BLOCK_M=block_m, BLOCK_N=block_n)
    launched(kernel, grid, inputs, outputs, *numbers, parts=Parts(program, words), **sizes)
    return outputs["out"], outputs["lse"]


def output(kernel, *sizes) -> dict[str, Tensor]:
    out, lse = run(kernel, *sizes)
    return {"the output": out, "the log-sum-exp": lse}


def output_alone(kernel, *sizes) -> Tensor:
    """In half precision a log-sum-exp depends on where the scale is applied, and a rounded output does not."""
    return run(kernel, *sizes)[0]


def sums_in_float32(kernel, n) -> dict[str, Tensor]:
    """Two heads whose sums half precision can't carry: values that add to 1,000 n, and one score far above the rest."""
    q, k, v = torch.zeros(3, 2, n, 16, dtype=torch.float16).unbind(0)
    v[0], v[1], q[1], k[1, 1:] = 1000.0, 1.0, 1.0, -3.28125  # of head 1 the scores are 0 and -10.5, at a scale of 0.2
    out, lse = attend(kernel, q, k, v, 128, 16)
    return {"the output": out, "the log-sum-exp": lse}


def to_all_digits(kernel, n) -> Tensor:
    """The log-sum-exp where the scores are near -205 and float32 keeps the last to some 2e-5."""
    q, k, v = torch.randn(3, 1, n, 16, generator=torch.Generator().manual_seed(n)).unbind(0)
    q[..., 0], k[..., 0] = 32.0, -32.0
    _, lse = attend(kernel, q, k, v, 16, 16)
    off = (lse - (0.2 * (q.double() @ k.double().mT)).logsumexp(-1)).abs().max().item()
    if 2e-4 < off < 1:
        raise Rejected(f"the log-sum-exp is off by {off:.0e}, where float32 keeps 2e-5: are log2(e) and ln(2) whole?")
    return lse


def before_head(head, heads, n, head_dim, *sizes) -> dict[str, int]:
    """The bytes of each tensor, in float32, that lie before a head."""
    return {name: 4 * head * n * (1 if name == "lse" else head_dim) for name in ("q", "k", "v", "out", "lse")}


def forward_budget(causal, heads, n, head_dim, block_m, block_n):
    return heads * sum(forward_bytes(n, n, head_dim, block_m, block_n, causal=causal, element_bytes=4).values())


def by_powers_of_2(kernel, *sizes) -> dict[str, Tensor]:
    """Output and log-sum-exp, unless the kernel takes e^x of anything."""
    with listening(Exponentials()) as taken:
        result = output(kernel, *sizes)
    if taken.natural:
        raise Rejected(
            f"your kernel takes tl.exp of {taken.natural} tiles, its own or `rescale`'s; take tl.math.exp2 of all"
        )
    return result


def case(label, *sizes, outcome=output) -> Case:
    return Case(label, lambda normal: sizes, outcome)


# Right, written differently --------------------------------------------------------------------------------------


@triton.jit
def with_natural_powers(
    q, k, v, out, lse, scale, n, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr
):
    block, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    d = tl.arange(0, HEAD_DIM)
    i = block * BLOCK_M + tl.arange(0, BLOCK_M)
    of_head = head * n * HEAD_DIM
    q_block = tl.load(q + of_head + i[:, None] * HEAD_DIM + d[None, :], mask=i[:, None] < n, other=0.0) * scale
    top = tl.full([BLOCK_M], -1e30, tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    mixed = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)
    for step in range(tl.cdiv(n, BLOCK_N)):
        j = step * BLOCK_N + tl.arange(0, BLOCK_N)
        k_block = tl.load(k + of_head + j[None, :] * HEAD_DIM + d[:, None], mask=j[None, :] < n, other=0.0)
        scores = tl.dot(q_block.to(k_block.dtype), k_block, input_precision="ieee") + tl.where(j < n, 0.0, -1e30)[None]
        higher = tl.maximum(top, tl.max(scores, axis=1))
        weights = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(weights, axis=1)
        v_block = tl.load(v + of_head + j[:, None] * HEAD_DIM + d[None, :], mask=j[:, None] < n, other=0.0)
        mixed = mixed * shrink[:, None] + tl.dot(weights.to(v_block.dtype), v_block, input_precision="ieee")
        top = higher
    mixed = mixed / total[:, None]
    tl.store(out + of_head + i[:, None] * HEAD_DIM + d[None, :], mixed.to(out.dtype.element_ty), mask=i[:, None] < n)
    tl.store(lse + head * n + i, top + tl.log(total), mask=i < n)


@triton.jit
def from_the_last_key(
    q, k, v, out, lse, scale, n, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr
):
    head = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)[:, None]
    columns = tl.arange(0, HEAD_DIM)[None, :]
    q_tile = tl.load(q + (head * n + rows) * HEAD_DIM + columns, mask=rows < n, other=0.0)
    m = tl.zeros([BLOCK_M, 1], tl.float32) - 1e30
    ell = tl.zeros([BLOCK_M, 1], tl.float32)
    acc = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)
    last = (n - 1) // BLOCK_N * BLOCK_N
    for back in range(0, last + 1, BLOCK_N):
        keys = last - back + tl.arange(0, BLOCK_N)[:, None]
        tile = (head * n + keys) * HEAD_DIM + columns
        x = tl.dot(q_tile, tl.trans(tl.load(k + tile, mask=keys < n, other=0.0)), input_precision="ieee")
        inside = tl.trans(keys) < n
        x = tl.where(inside, x * scale * 1.4426950408889634, -1e30)
        m_new = tl.maximum(m, tl.max(x, 1, keep_dims=True))
        p = tl.where(inside, tl.math.exp2(x - m_new), 0.0)
        ell = ell * tl.math.exp2(m - m_new) + tl.sum(p, 1, keep_dims=True)
        acc = acc * tl.math.exp2(m - m_new)
        v_tile = tl.load(v + tile, mask=keys < n, other=0.0)
        acc += tl.dot(p.to(v_tile.dtype), v_tile, input_precision="ieee")
        m = m_new
    tl.store(out + (head * n + rows) * HEAD_DIM + columns, (acc / ell).to(q_tile.dtype), mask=rows < n)
    tl.store(lse + head * n + rows, (m + tl.log2(ell)) * 0.6931471805599453, mask=rows < n)


@triton.jit
def mask_only_at_the_end(
    q, k, v, out, lse, scale, n, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr
):
    block, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    d = tl.arange(0, HEAD_DIM)
    i = block * BLOCK_M + tl.arange(0, BLOCK_M)
    of_head = head * n * HEAD_DIM
    q_block = tl.load(q + of_head + i[:, None] * HEAD_DIM + d[None, :], mask=i[:, None] < n, other=0.0) * scale
    top = tl.full([BLOCK_M], -1e30, tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    mixed = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)
    whole = (block * BLOCK_M + 1) // BLOCK_N * BLOCK_N
    for masked in tl.static_range(2):
        begin = whole if masked else 0
        end = tl.minimum(n, block * BLOCK_M + BLOCK_M) if masked else whole
        for start in range(begin, end, BLOCK_N):
            j = start + tl.arange(0, BLOCK_N)
            k_block = tl.load(k + of_head + j[None, :] * HEAD_DIM + d[:, None], mask=j[None, :] < n, other=0.0)
            scores = tl.dot(q_block.to(k_block.dtype), k_block, input_precision="ieee")
            if masked:
                scores = tl.where(i[:, None] >= j[None, :], scores, -1e30)
            higher = tl.maximum(top, tl.max(scores, axis=1))
            weights = tl.exp(scores - higher[:, None])
            shrink = tl.exp(top - higher)
            total = total * shrink + tl.sum(weights, axis=1)
            v_block = tl.load(v + of_head + j[:, None] * HEAD_DIM + d[None, :], mask=j[:, None] < n, other=0.0)
            mixed = mixed * shrink[:, None] + tl.dot(weights.to(v_block.dtype), v_block, input_precision="ieee")
            top = higher
    mixed = mixed / total[:, None]
    tl.store(out + of_head + i[:, None] * HEAD_DIM + d[None, :], mixed.to(out.dtype.element_ty), mask=i[:, None] < n)
    tl.store(lse + head * n + i, top + tl.log(total), mask=i < n)


from_the_diagonal_back = changed(
    from_the_last_key,
    "last = (n - 1)",
    "last = (tl.minimum((tl.program_id(0) + 1) * BLOCK_M, n) - 1)",
    "tl.trans(keys) < n",
    "tl.trans(keys) <= rows",
).made


# Mistakes of the loop, whoever may look at whom ------------------------------------------------------------------


APART = (
    "tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)",
    "tl.program_id(0) + tl.num_programs(0) * tl.arange(0, BLOCK_M)",
)
AGAIN = (
    "        scores = tl.dot(",
    "        q_tile = tl.load(q + q_at, mask=rows[:, None] < n, other=0.0)\n        scores = tl.dot(",
)


def mistakes_of_the_loop(*chosen: str) -> dict:
    """Sentence -> the kernel that commits it: all that can go wrong in the loop, or what a word of `chosen` is in."""
    found = {
        "the sum ell is not multiplied by alpha when the maximum moves": ("alpha * ell + ", "ell + "),
        "the output acc is not multiplied by alpha when the maximum moves": ("alpha[:, None] * acc", "acc"),
        "neither ell nor acc is multiplied by alpha when the maximum moves": (
            "alpha * ell + ",
            "ell + ",
            "alpha[:, None] * acc",
            "acc",
        ),
        "acc is multiplied by alpha twice": ("alpha[:, None] * acc", "alpha[:, None] * alpha[:, None] * acc"),
        "alpha multiplies the block's own sum as well, which has the new unit already": (
            "alpha * ell + tl.sum(p, 1)",
            "alpha * (ell + tl.sum(p, 1))",
        ),
        "m keeps its first value, so that alpha forgets all blocks but the last": ("        m = m_new\n", ""),
        "m keeps its first value, so that only the last block counts, and its maximum goes to the log-sum-exp": (
            "        m = m_new\n",
            "",
            "m * 0.6931471805599453",
            "m_new * 0.6931471805599453",
        ),
        "hidden scores are -10,000, above scores that are smaller": ("scores, -1e30)", "scores, -1e4)"),
        "one maximum is taken for all rows of the tile, and rows far below it are 0 / 0": (
            "tl.max(scores, 1)",
            "tl.max(tl.max(scores, 1), 0)",
        ),
        "m begins at 0, or meets the 0 of a key beyond the end, above scores that are all negative": (
            "tl.full([BLOCK_M], -1e30, tl.float32)",
            "tl.zeros([BLOCK_M], tl.float32)",
        ),
        "alpha is turned around, 2^(m_new - m)": ("tl.math.exp2(m - m_new)", "tl.math.exp2(m_new - m)"),
        "the exponentials are measured from the maximum as it was before the block": (
            "tl.math.exp2(scores - m_new[:, None])",
            "tl.math.exp2(scores - m[:, None])",
        ),
        "the logarithm of ell is taken in base 2, and the maximum turned to base e": ("tl.log(ell)", "tl.log2(ell)"),
        "the queries of a program are counted in steps of BLOCK_N": (
            "tl.program_id(0) * BLOCK_M",
            "tl.program_id(0) * BLOCK_N",
        ),
        "the head's first row is left out where out is stored, here or everywhere": (
            "q_at = (first + rows)[:, None]",
            "q_at = rows[:, None]",
        ),
        "every block takes the values of the first keys": (
            "tl.load(v + k_at",
            "tl.load(v + (first + tl.arange(0, BLOCK_N))[:, None] * HEAD_DIM + columns",
        ),
        "no maximum is subtracted, and large scores overflow": (
            "m_new = tl.maximum(m, tl.max(scores, 1))",
            "m_new = tl.maximum(m, tl.zeros([BLOCK_M], tl.float32))",
        ),
        "1 / √d is taken, whatever scale is given": ("scale * 1.44", "HEAD_DIM**-0.5 * 1.44"),
        "the scores are not multiplied by the scale": ("scale * 1.44", "1.44"),
        "exp2 is taken of scores that are not multiplied by log2(e)": ("scale * 1.4426950408889634", "scale"),
        "the natural exp is taken of scores that are multiplied by log2(e)": ("tl.math.exp2", "tl.exp"),
        "acc is stored without being divided by ell": ("acc / ell[:, None]", "acc"),
        "the output so far is rounded to the dtype of v, in every step or before it is divided by ell": (
            "    tl.store(out + q_at",
            "        acc = acc.to(v_tile.dtype).to(tl.float32)\n    tl.store(out + q_at",
        ),
        "the sum so far is rounded to the dtype of q in every step": (
            "    tl.store(out + q_at",
            "        ell = ell.to(q_tile.dtype).to(tl.float32)\n    tl.store(out + q_at",
        ),
        "the log-sum-exp is the logarithm of ell alone, without the maximum": ("m + tl.log(ell)", "tl.log(ell)"),
        "the log-sum-exp is the maximum alone, without the logarithm of ell": ("m + tl.log(ell)", "m"),
        "the log-sum-exp is in base 2": ("m * 0.6931471805599453", "m", "tl.log(ell)", "tl.log2(ell)"),
        "the log-sum-exp adds a maximum in base 2 to a natural logarithm": ("m * 0.6931471805599453", "m"),
        "every head reads the keys and values of head 0": ("(first + keys)[:, None]", "keys[:, None]"),
        "every head reads the queries of head 0": ("tl.load(q + q_at", "tl.load(q + q_at - first * HEAD_DIM"),
        "heads are taken to lie inside the tokens: the offset is head * HEAD_DIM": (".to(tl.int64) * n", ""),
        "a head is n * HEAD_DIM numbers, and the offset is head * n": (
            "(first + rows)[:, None] * HEAD_DIM",
            "first + rows[:, None] * HEAD_DIM",
            "(first + keys)[:, None] * HEAD_DIM",
            "first + keys[:, None] * HEAD_DIM",
        ),
        "block and head are swapped: axis 0 of the grid is the block": (
            "tl.program_id(0)",
            "tl.program_id(2)",
            "tl.program_id(1)",
            "tl.program_id(0)",
            "tl.program_id(2)",
            "tl.program_id(1)",
        ),
        "the block is taken from axis 1 of the grid, as the head is": ("tl.program_id(0)", "tl.program_id(1)"),
        "the head is taken from axis 0 of the grid, as the block is": ("tl.program_id(1)", "tl.program_id(0)"),
        "every step takes the first block of keys": ("keys = start + tl.arange", "keys = tl.arange"),
        "the values are read from k": ("tl.load(v +", "tl.load(k +"),
        "the head's first row is left out where lse is stored": ("lse + first + rows", "lse + rows"),
        "tl.load has a mask= and no other=: what lies beyond the end is anything, here nan": (", other=0.0", ""),
        "every program computes the first BLOCK_M queries": ("tl.program_id(0) * BLOCK_M + ", ""),
        "keys beyond the end count with a score of 0: their loads are masked, their scores are not": (
            "        scores = tl.where(keys < n, scores, -1e30)\n",
            "",
        ),
        "one key beyond the end counts (<= for <)": ("tl.where(keys < n,", "tl.where(keys <= n,"),
        "only the first block of keys is read": ("range(0, n, BLOCK_N)", "range(0, BLOCK_N, BLOCK_N)"),
        "the causal mask is there already": ("tl.where(keys < n,", "tl.where(keys <= rows[:, None],"),
        "the loop steps by BLOCK_M, and blocks of keys overlap or are left out": (
            "range(0, n, BLOCK_N)",
            "range(0, n, BLOCK_M)",
        ),
        "every head reads the values of head 0": (
            "tl.load(v + k_at",
            "tl.load(v + keys[:, None] * HEAD_DIM + columns",
        ),
        "every score that is exactly 0 is hidden, also those of keys that exist": (
            "tl.where(keys < n,",
            "tl.where(scores != 0.0,",
        ),
        "the rows of a short last block are not masked where they are stored": (
            ".to(q_tile.dtype), mask=rows[:, None] < n)",
            ".to(q_tile.dtype))",
            "m + tl.log(ell), mask=rows < n)",
            "m + tl.log(ell))",
        ),
        "a head's first row is counted in 32 bits, which end at two billion": (".to(tl.int64)", ""),
        "a program's queries lie as far apart as there are programs, where they follow one another": APART,
        "the queries are loaded again for every block of keys": AGAIN,
        "the last block of keys is left out when it is not full, also where it is the only one": (
            "range(0, n, BLOCK_N)",
            "range(0, n // BLOCK_N * BLOCK_N, BLOCK_N)",
        ),
    }
    wanted = [sentence for sentence in found if any(word in sentence for word in chosen or [""])]
    return each_changed(flash_kernels.flash_forward_in_base_2, {sentence: found[sentence] for sentence in wanted})


LARGE = torch.float16, 12.0  # half precision, scores up to several hundred
LOW = torch.float16, 1.0, 235.0  # scores around -11,045 where d = 16: lower than many a finite floor

# cases of every forward kernel
FEW_QUERIES = (
    case("one head, 32 queries, all keys in one block", 1, 32, 64, 16, 32),
    case("one head, 37 queries, 32 a block, 16 keys a block", 1, 37, 64, 32, 16),
    case("two heads, 20 queries, 32 a block, 16 keys a block", 2, 20, 64, 32, 16),
    case("one query", 1, 1, 16, 16, 16),
)
FAR_SCORES = (
    case("large scores, in half precision", 1, 48, 16, 64, 16, *LARGE, outcome=output_alone),
    case("scores around -11,000, in half precision", 1, 20, 16, 32, 16, *LOW, outcome=output_alone),
    case("half precision, sums that only float32 carries", 96, outcome=sums_in_float32),
)
FAR_HEAD = case(
    "one head, which more than two billion numbers stand before",
    *(1, 16, 16, 16, 16),
    outcome=far_away(output, 1, before_head, 2**27 + 5),  # also of the log-sum-exp, 16 numbers a head
)
OF_ALL_KEYS = within_budget(output, functools.partial(forward_budget, False))
OF_THOSE_SEEN = within_budget(output, functools.partial(forward_budget, True))

FLASH_FORWARD = Exercise(
    title="the loop in Triton",
    section="The same loop in Triton",
    difficulty=4,
    minutes=20,
    reference=flash_kernels.flash_forward,
    hints=(
        "All heads lie one after the other, n rows each: at which of the rows does head h begin? And what, beside m "
        "and ell, must change its unit when a maximum moves?",
        "first = head * n, with the head from axis 1 of the grid. A masked key was loaded as 0, so its score is 0: "
        "hide it with tl.where. The values are loaded like the keys, and p needs their dtype before tl.dot.",
        "acc begins as tl.zeros([BLOCK_M, HEAD_DIM], tl.float32). In the loop it is alpha[:, None] * acc + tl.dot(p in "
        "v's dtype, v_tile); after it acc / ell[:, None] goes to out + q_at in q's dtype, where rows[:, None] < n.",
    ),
    cases=(
        *FEW_QUERIES,
        case("20 queries, 16 a block, 64 keys a block", 1, 20, 32, 16, 64),
        *FAR_SCORES,
        FAR_HEAD,
        case("the bytes of 20 queries", 1, 20, 64, 16, 32, outcome=OF_ALL_KEYS),
    ),
    right_answers=(with_natural_powers, from_the_last_key),
    mistakes=mistakes_of_the_loop(),
    unjudged=interpreter.why_not,
)

IN_BASE_2 = Exercise(
    title="powers of 2",
    section="The same loop in Triton",
    difficulty=2,
    minutes=5,
    reference=flash_kernels.flash_forward_in_base_2,
    hints=(
        "2 to which power is e? And if all scores are that many times larger, in which unit is their maximum?",
        "e = 2^1.4427: multiply the scale by 1.4426950408889634 once, before the loop. Then alpha and p are powers of "
        "2, and m must be turned back before it meets the natural logarithm of ell.",
        "scale = scale * 1.4426950408889634 before the loop; alpha and p by tl.math.exp2 instead of tl.exp; after the "
        "loop m = m * 0.6931471805599453, which is ln(2).",
    ),
    cases=(
        *FEW_QUERIES,
        *FAR_SCORES,
        FAR_HEAD,
        case("the log-sum-exp of 20 queries, scores near -205", 20, outcome=to_all_digits),
        case("20 queries, by powers of 2 alone", 1, 20, 32, 32, 16, outcome=by_powers_of_2),
        case("the bytes of 20 queries", 1, 20, 64, 16, 32, outcome=OF_ALL_KEYS),
    ),
    right_answers=(
        from_the_last_key,
        changed(
            with_natural_powers,
            "other=0.0) * scale",
            "other=0.0) * (scale * 1.4426950408889634)",
            "tl.exp(",
            "tl.math.exp2(",
            "top + tl.log(total)",
            "top * 0.6931471805599453 + tl.log(total)",
        ).made,
    ),
    mistakes=mistakes_of_the_loop(
        "log2(e)", "base 2", "turned around", "as it was before", "so far", "32 bits", "one maximum"
    )
    | each_changed(
        flash_kernels.flash_forward_in_base_2,
        {
            "base e is kept: the numbers are right, and no power of 2 is taken": (
                "scale * 1.4426950408889634",
                "scale",
                "tl.math.exp2",
                "tl.exp",
                "m * 0.6931471805599453",
                "m",
            ),
            "alpha is a power of e, where the scores are in base 2": ("tl.math.exp2(m -", "tl.exp(m -"),
            "p is a power of e, where the scores are in base 2": ("tl.math.exp2(scores -", "tl.exp(scores -"),
            "the scale is multiplied by ln(2), where it is to be divided by it": (
                "scale * 1.4426950408889634",
                "scale * 0.6931471805599453",
            ),
            "log2(e) and ln(2) have changed their places": (
                "1.4426950408889634",
                "LOG2_E",
                "0.6931471805599453",
                "1.4426950408889634",
                "LOG2_E",
                "0.6931471805599453",
            ),
            "m is divided by ln(2), where it is to be multiplied": ("m * 0.6931471805599453", "m * 1.4426950408889634"),
            "the logarithm of ell is multiplied by ln(2) too, though it is natural": (
                "m + tl.log(ell)",
                "m + 0.6931471805599453 * tl.log(ell)",
            ),
            "m is turned back to base e in every step of the loop": (
                "        m = m_new\n",
                "        m = m_new * 0.6931471805599453\n",
                "    m = m * 0.6931471805599453",
                "    m = m",
            ),
            "log2(e) is rounded to 1.44, and divided out again at the end": (
                "scale * 1.4426950408889634",
                "scale * 1.44",
                "m * 0.6931471805599453",
                "m / 1.44",
            ),
            "log2(e) and ln(2) are rounded to 1.4427 and 0.6931": (
                "1.4426950408889634",
                "1.4427",
                "0.6931471805599453",
                "0.6931",
            ),
        },
    ),
    unjudged=interpreter.why_not,
)

HIDDEN = "scores = tl.where(keys <= rows[:, None], scores, -1e30)"
BOUND = "tl.minimum(n, (tl.program_id(0) + 1) * BLOCK_M)"

CAUSAL_FLASH_FORWARD = Exercise(
    title="skip what nobody may see",
    section="Skip what is masked",
    difficulty=2,
    minutes=8,
    reference=flash_kernels.causal_flash_forward,
    hints=(
        "Block 2 of queries, BLOCK_M = 16, holds queries 32 to 47. Which is the last key that any of them may see? "
        "And which keys may query 32 see?",
        "The loop ends at key_range's end; inside a block that the diagonal crosses tl.where hides what lies ahead of "
        "each row.",
        "The loop ends at tl.minimum of n and (block + 1) * BLOCK_M. The mask compares keys, a row, with "
        "rows[:, None], a column; a key below n needs no check of its own any more. Why?",
    ),
    cases=(
        *FEW_QUERIES,
        case("40 queries, 16 a block, 32 keys a block", 1, 40, 64, 16, 32),
        *FAR_SCORES,
        FAR_HEAD,
        case("the bytes of 40 queries", 1, 40, 16, 16, 16, outcome=OF_THOSE_SEEN),
        case("the bytes of 40 queries, 32 a block", 1, 40, 16, 32, 16, outcome=OF_THOSE_SEEN),
    ),
    right_answers=(mask_only_at_the_end, from_the_diagonal_back),
    mistakes=each_changed(
        flash_kernels.causal_flash_forward,
        {
            "key blocks that nobody may see are masked, but loaded all the same": (BOUND, "n"),
            "the diagonal's block is left out: the first queries see no key at all": (
                BOUND,
                "tl.program_id(0) * BLOCK_M",
            ),
            "the loop begins at the diagonal, and the keys before it are never read": (
                "range(0, end",
                "range(tl.program_id(0) * BLOCK_M // BLOCK_N * BLOCK_N, end",
            ),
            "the loop ends at (block + 1) * BLOCK_N, where the queries end at (block + 1) * BLOCK_M": (
                BOUND,
                "tl.minimum(n, (tl.program_id(0) + 1) * BLOCK_N)",
            ),
            "the block that the diagonal crosses is not masked": (HIDDEN, "pass"),
            "only keys beyond the end are hidden, as before": ("keys <= rows[:, None]", "keys < n"),
            "a query sees one key ahead of it": ("keys <= rows[:, None]", "keys <= rows[:, None] + 1"),
            "the loop ends BLOCK_N keys after the block's first query": (
                BOUND,
                "tl.minimum(n, tl.program_id(0) * BLOCK_M + BLOCK_N)",
            ),
            "the loop ends a block too late: masked, but loaded all the same": (
                BOUND,
                "tl.minimum(n, (tl.program_id(0) + 2) * BLOCK_M)",
            ),
            "the loop steps by BLOCK_M, and blocks of keys overlap or are left out": (", BLOCK_N):", ", BLOCK_M):"),
            "a key's place in its block is taken for its place in the sequence": (
                "keys <= rows[:, None]",
                "tl.arange(0, BLOCK_N) <= rows[:, None]",
            ),
            "only blocks of keys that begin among the block's queries are masked": (
                "keys <= rows[:, None]",
                "(keys <= rows[:, None]) | (start < tl.program_id(0) * BLOCK_M)",
            ),
            "a query does not see its own key (< for <=)": ("keys <= rows[:, None]", "keys < rows[:, None]"),
            "the mask is turned around: a query sees only itself and what comes later": (
                "keys <= rows[:, None]",
                "keys >= rows[:, None]",
            ),
            "a row's place in its block is taken for its place in the sequence": (
                "keys <= rows[:, None]",
                "keys <= tl.arange(0, BLOCK_M)[:, None]",
            ),
            "hidden scores are set to 0, which still counts: the exponential of 0 is 1": (
                HIDDEN,
                HIDDEN.replace("-1e30", "0.0"),
            ),
            "hidden scores are -10,000, above scores that are smaller": (HIDDEN, HIDDEN.replace("-1e30", "-1e4")),
            "places in the two tiles are compared, not those in the sequence": (
                "keys <= rows[:, None]",
                "tl.arange(0, BLOCK_N) <= tl.arange(0, BLOCK_M)[:, None]",
            ),
            "the log-sum-exps of all heads are stored to the rows of head 0": ("lse + first + rows", "lse + rows"),
            "a query sees all keys up to the end of its block": ("keys <= rows[:, None]", "keys < end"),
            "a head's first row is counted in 32 bits, which end at two billion": (".to(tl.int64)", ""),
            "a program's queries lie as far apart as there are programs, where they follow one another": APART,
            "the queries are loaded again for every block of keys": AGAIN,
            "what a query may not see is hidden after ell has counted it": (
                HIDDEN,
                "pass",
                "        v_tile",
                "        p = tl.where(keys <= rows[:, None], p, 0.0)\n        v_tile",
            ),
        },
    ),
    unjudged=interpreter.why_not,
)


# key_range -------------------------------------------------------------------------------------------------------


def ends(**pattern):
    def outcome(function, *arguments):
        result = function(*arguments, **pattern)
        if isinstance(result, list | tuple) and len(result) == 2:
            return tuple(result)
        return result

    return outcome


def range_by_looking(first_row, block_m, block_n, queries, keys, causal=False, window=None):
    positions = [row + keys - queries for row in range(first_row, first_row + block_m)]
    seen = [
        key
        for key in range(keys)
        for position in positions
        if (not causal or key <= position) and (window is None or key > position - window)
    ]
    if window is None and not causal:
        return 0, keys
    return min(seen) - min(seen) % block_n if window else 0, max(seen) + 1


def range_in_steps(first_row, block_m, block_n, queries, keys, causal=False, window=None):
    last = first_row + block_m - 1 + keys - queries
    lo, hi = 0, keys
    if causal and last + 1 < keys:
        hi = last + 1
    if window:
        oldest = first_row + keys - queries - (window - 1)
        while lo + block_n <= oldest:
            lo += block_n
    return lo, hi


def ranged(
    lo=lambda position, window, block_m, block_n: (position - window + 1) // block_n * block_n,
    hi=lambda position, block_m, block_n, keys: min(keys, position + block_m),
    place=lambda first_row, queries, keys: first_row + keys - queries,
    least=0,
    if_full=True,
    place_hi=None,
    cut=lambda queries, keys: keys,
):
    """A range in which a mistake can replace an end: lo and hi of the first query's position, hi cut at `cut`."""

    def key_range(first_row, block_m, block_n, queries, keys, causal=False, window=None):
        position = place(first_row, queries, keys)
        low = 0 if window is None else max(least, lo(position, window, block_m, block_n))
        if if_full and not causal:
            return low, keys
        return low, hi((place_hi or place)(first_row, queries, keys), block_m, block_n, cut(queries, keys))

    return key_range


def as_first_tokens(first_row, queries, keys):
    return first_row


def lo_of_the_last(first_row, block_m, block_n, queries, keys, causal=False, window=None):
    _, hi = flash.key_range(first_row, block_m, block_n, queries, keys, causal, window)
    return 0 if window is None else max(0, hi - window) // block_n * block_n, hi


def setting(first_row, block_m, block_n, queries, keys, causal, window) -> Case:
    """One of many settings, chosen so that no two formulas that are wrong by one, or round otherwise, agree in all."""
    rows = f"queries {first_row} to {first_row + block_m - 1} of {queries}, {keys} keys in blocks of {block_n}"
    pattern = f", a window of {window}" if window else ", causal" if causal else ", all keys"
    arguments = first_row, block_m, block_n, queries, keys
    return Case(rows + pattern, lambda normal: arguments, ends(causal=causal, window=window))


SETTINGS = (
    (18, 24, 4, 111, 210, True, 87),
    (0, 4, 8, 3, 58, True, 24),
    (120, 40, 4, 180, 199, True, 78),
    (1, 40, 8, 10, 17, True, 1),
    (31, 64, 4, 111, 140, True, 102),
    (0, 24, 16, 136, 185, True, 194),
    (182, 24, 32, 210, 265, False, None),
    (0, 16, 16, 1, 100, True, 8),
    (0, 32, 16, 1, 90, True, None),
    (0, 64, 4, 29, 93, True, 48),
    (120, 24, 16, 182, 197, False, None),
    (40, 40, 64, 127, 271, True, 17),
    (20, 4, 24, 27, 223, True, None),
    (8, 8, 32, 60, 290, True, None),
    (64, 64, 4, 83, 146, True, 25),
)

RANGE = Exercise(
    title="the blocks worth loading",
    section="Skip what is masked",
    difficulty=3,
    minutes=12,
    reference=flash.key_range,
    hints=(
        "Queries 64 to 95 stand together, causal, with a window of 40. Which is the oldest key that query 64 sees? "
        "Which is the newest that query 95 sees?",
        "The first query decides where the range begins, and the last where it ends. The first stands at position "
        "first_row + keys - queries. lo goes down to a multiple of block_n, and never below 0; hi is not rounded.",
        "A query at position p with a window sees p - window + 1 to p. So lo comes from position - window + 1, by "
        "// block_n * block_n, and hi, if causal, from position + block_m, cut at keys. Without a window lo is 0.",
    ),
    cases=(
        Case("queries 64 to 127 of 256, all keys", lambda normal: (64, 64, 32, 256, 256), ends()),
        Case("queries 64 to 127 of 256, causal", lambda normal: (64, 64, 32, 256, 256), ends(causal=True)),
        Case("the first queries, causal", lambda normal: (0, 16, 32, 100, 100), ends(causal=True)),
        Case("the last queries of 100, causal", lambda normal: (96, 16, 32, 100, 100), ends(causal=True)),
        Case("10 queries, 100 keys, causal", lambda normal: (4, 4, 16, 10, 100), ends(causal=True)),
        Case("a window of 40", lambda normal: (192, 32, 16, 256, 256), ends(causal=True, window=40)),
        Case("a window of 64, blocks of 64 × 32", lambda normal: (128, 64, 32, 512, 512), ends(causal=True, window=64)),
        Case(
            "a window that reaches back to the start", lambda normal: (16, 16, 16, 64, 64), ends(causal=True, window=40)
        ),
        Case("a window of 1", lambda normal: (48, 16, 16, 64, 64), ends(causal=True, window=1)),
        Case("10 queries, 100 keys, a window of 33", lambda normal: (4, 4, 16, 10, 100), ends(causal=True, window=33)),
        *(setting(*one) for one in SETTINGS),
    ),
    right_answers=(range_by_looking, range_in_steps),
    mistakes={
        "lo comes from the last query of the block, and the first ones lose keys": ranged(
            lo=lambda position, window, block_m, block_n: (position + block_m - window) // block_n * block_n
        ),
        "lo is not rounded down to a whole block": ranged(lo=lambda position, window, *blocks: position - window + 1),
        "lo is rounded up, and keys are lost": ranged(
            lo=lambda position, window, block_m, block_n: math.ceil((position - window + 1) / block_n) * block_n
        ),
        "the window is counted one token too wide: a window of W is W keys, the query's own included": ranged(
            lo=lambda position, window, block_m, block_n: (position - window) // block_n * block_n
        ),
        "the window is counted one token too narrow, and the oldest key of the first query is lost": ranged(
            lo=lambda position, window, block_m, block_n: (position - window + 2) // block_n * block_n
        ),
        "the position and the window are rounded down to blocks apart": ranged(
            lo=lambda position, window, block_m, block_n: (position // block_n - window // block_n) * block_n
        ),
        "the window is counted two tokens too wide": ranged(
            lo=lambda position, window, block_m, block_n: (position - window - 1) // block_n * block_n
        ),
        "lo is rounded down to a multiple of block_m, where the loop steps by block_n": ranged(
            lo=lambda position, window, block_m, block_n: (position - window + 1) // block_m * block_m
        ),
        "hi is one key too far: the last query's own key is at hi - 1": ranged(
            hi=lambda position, block_m, block_n, keys: min(keys, position + block_m + 1)
        ),
        "lo comes from the last query that exists, and the first ones lose keys": lo_of_the_last,
        "the window is counted two tokens too narrow": ranged(
            lo=lambda position, window, block_m, block_n: (position - window + 3) // block_n * block_n
        ),
        "lo is rounded to the nearest block, not down": ranged(
            lo=lambda position, window, block_m, block_n: (
                (max(0, position - window + 1) + block_n // 2) // block_n * block_n
            )
        ),
        "lo is the number of a block, not of its first key": ranged(
            lo=lambda position, window, block_m, block_n: (position - window + 1) // block_n
        ),
        "lo takes the queries for the first tokens, and hi doesn't": ranged(
            place=as_first_tokens, place_hi=lambda first_row, queries, keys: first_row + keys - queries
        ),
        "hi takes the queries for the first tokens, and lo doesn't": ranged(place_hi=as_first_tokens),
        "hi takes the queries for the first tokens, cut at the last query, and lo doesn't": ranged(
            place_hi=as_first_tokens, cut=lambda queries, keys: queries
        ),
        "hi is cut at the number of queries, not of keys": ranged(cut=lambda queries, keys: queries),
        "the queries are taken for the first tokens, and hi is cut at the last query": ranged(
            place=as_first_tokens, cut=lambda queries, keys: queries
        ),
        "queries - keys is added to a row, where keys - queries makes it a position": ranged(
            place=lambda first_row, queries, keys: first_row + queries - keys
        ),
        "hi of a causal block is one too small: it stands after the last key": ranged(
            hi=lambda position, block_m, block_n, keys: min(keys, position + block_m) - 1
        ),
        "hi ends with the first query's own key, and the later ones lose keys": ranged(
            hi=lambda position, block_m, block_n, keys: min(keys, position + 1)
        ),
        "hi is block_n after the first query, where the block has block_m": ranged(
            hi=lambda position, block_m, block_n, keys: min(keys, position + block_n)
        ),
        "hi is rounded down to a whole block": ranged(
            hi=lambda position, block_m, block_n, keys: min(keys, position + block_m) // block_n * block_n
        ),
        "hi is rounded up to a whole block, also past the last key": ranged(
            hi=lambda position, block_m, block_n, keys: math.ceil(min(keys, position + block_m) / block_n) * block_n
        ),
        "lo is one block too early": ranged(
            lo=lambda position, window, block_m, block_n: ((position - window + 1) // block_n - 1) * block_n
        ),
        "the window is not looked at: lo is 0": ranged(lo=lambda *arguments: 0),
        "lo falls below 0": ranged(least=-(10**9)),
        "lo is the block's own start: that is chunked attention, where nobody sees over the edge": ranged(
            lo=lambda position, window, block_m, block_n: position // block_n * block_n
        ),
        "hi is the block's first query, and the diagonal is lost": ranged(
            hi=lambda position, block_m, block_n, keys: min(keys, position)
        ),
        "hi is the block's last query, whose own key is lost": ranged(
            hi=lambda position, block_m, block_n, keys: min(keys, position + block_m - 1)
        ),
        "hi is rounded up to a whole block": ranged(
            hi=lambda position, block_m, block_n, keys: min(keys, math.ceil((position + block_m) / block_n) * block_n)
        ),
        "hi passes the last key": ranged(hi=lambda position, block_m, block_n, keys: position + block_m),
        "hi is all keys, causal or not": ranged(hi=lambda position, block_m, block_n, keys: keys),
        "hi is the diagonal, causal or not": ranged(if_full=False),
        "the queries are taken for the first tokens when there are more keys than queries": ranged(
            place=lambda first_row, queries, keys: first_row
        ),
    },
)


# largest_tile ----------------------------------------------------------------------------------------------------


def a_tile(function, head_dim, capacity):
    """The tile; a ValueError, in whatever words, says that there is none."""
    try:
        return function(head_dim, capacity)
    except ValueError as error:
        raise Rejected("your function raises a ValueError, though a tile fits") from error


def nothing_fits(function, head_dim, capacity):
    """True if the answer says so with a ValueError."""
    try:
        given = function(head_dim, capacity)
    except ValueError:
        return torch.tensor(True)
    raise Rejected(f"your function returned {given!r}, but not even (16, 16) fits: raise a ValueError")


SIDES = (16, 32, 64, 128, 256)


def best_tile(room=peak_tile_bytes, fits=lambda need, capacity: need <= capacity, worth=lambda m, n: (m * n, m)):
    """The best tile for what one needs, what fits, and what it is worth, so that a mistake can replace each."""

    def largest_tile(head_dim, capacity):
        fitting = [(m, n) for m in SIDES for n in SIDES if fits(room(m, n, head_dim), capacity)]
        return max(fitting, key=lambda tile: worth(*tile))

    return largest_tile


def best_of(head_dim, capacity, sides):
    fitting = [(m, n) for m in sides for n in sides if peak_tile_bytes(m, n, head_dim) <= capacity]
    return max(fitting, key=lambda tile: (tile[0] * tile[1], tile[0]))


def with_a_last_resort(head_dim, capacity):
    return best_tile()(head_dim, max(capacity, peak_tile_bytes(16, 16, head_dim)))


def with_none_at_last(head_dim, capacity):
    return best_tile()(head_dim, capacity) if capacity >= peak_tile_bytes(16, 16, head_dim) else None


def tile_by_descent(head_dim, capacity):
    best = (0, 0)
    for block_m in reversed(SIDES):
        for block_n in reversed(SIDES):
            need = 6 * block_m * head_dim + 8 * block_m + 2 * block_n * head_dim + 4 * block_m * block_n
            if need <= capacity and block_m * block_n > best[0] * best[1]:
                best = block_m, block_n
    if best == (0, 0):
        raise ValueError("nothing fits")
    return best


def tile_by_logarithm(head_dim, capacity):
    tiles = [(2**i, 2 ** (total - i)) for total in range(16, 7, -1) for i in range(8, 3, -1) if 4 <= total - i <= 8]
    for tile in tiles:
        if peak_tile_bytes(*tile, head_dim) <= capacity:
            return tile
    raise ValueError(f"no tile fits in {capacity} bytes")


TILE = Exercise(
    title="the largest tile that fits",
    section="What fits",
    difficulty=2,
    minutes=8,
    reference=flash.largest_tile,
    hints=(
        "What lies in SRAM at the worst moment of your loop? How many bytes is each, and which are in float32?",
        "Try all 25 pairs of 16, 32, 64, 128 and 256, keep those whose peak_tile_bytes is at most the capacity, and "
        "take the one with the largest product. Of equal products, the larger block_m.",
        "A list comprehension over m and n with the condition, then max(..., key=lambda tile: (tile[0] * tile[1], "
        "tile[0])).",
    ),
    cases=(
        Case("d = 128 in 65,536 bytes", lambda normal: (128, 65_536), a_tile),
        Case("d = 64 in 48 KiB", lambda normal: (64, 49_152), a_tile),
        Case("d = 128 in 48 KiB", lambda normal: (128, 49_152), a_tile),
        Case("d = 64 in 100 KB", lambda normal: (64, 102_400), a_tile),
        Case("d = 64 in 49,664 bytes, where one fits exactly", lambda normal: (64, 49_664), a_tile),
        Case("d = 64 in 49,656 bytes, where it does not", lambda normal: (64, 49_656), a_tile),
        Case("d = 128 in 166,912 bytes, an A100's", lambda normal: (128, 166_912), a_tile),
        Case("d = 128 in 232,448 bytes, an H100's", lambda normal: (128, 232_448), a_tile),
        Case("d = 128 in 120,000 bytes", lambda normal: (128, 120_000), a_tile),
        Case("d = 256 in 40,000 bytes", lambda normal: (256, 40_000), a_tile),
        Case("d = 16 in a million bytes", lambda normal: (16, 1_000_000), a_tile),
        Case("d = 16 in 43,520 bytes", lambda normal: (16, 43_520), a_tile),
        Case("d = 16 in 44,520 bytes", lambda normal: (16, 44_520), a_tile),
        Case("d = 32 in 19,688 bytes", lambda normal: (32, 19_688), a_tile),
        Case("d = 64 in 70,664 bytes", lambda normal: (64, 70_664), a_tile),
        Case("d = 16 in 11,272 bytes", lambda normal: (16, 11_272), a_tile),
        Case("d = 64 in 9,344 bytes, which the smallest tile fills", lambda normal: (64, 9_344), a_tile),
        Case("d = 64 in 9,343 bytes, where nothing fits", lambda normal: (64, 9_343), nothing_fits),
    ),
    right_answers=(tile_by_descent, tile_by_logarithm),
    mistakes={
        "the scores are not counted": best_tile(lambda m, n, d: peak_tile_bytes(m, n, d) - 4 * m * n),
        "the scores are counted in half precision": best_tile(lambda m, n, d: peak_tile_bytes(m, n, d) - 2 * m * n),
        "the output is counted in half precision, or q is not counted": best_tile(
            lambda m, n, d: peak_tile_bytes(m, n, d) - 2 * m * d
        ),
        "q is counted in float32": best_tile(lambda m, n, d: peak_tile_bytes(m, n, d) + 2 * m * d),
        "the block of k or v is not counted": best_tile(lambda m, n, d: peak_tile_bytes(m, n, d) - 2 * n * d),
        "the scores are counted twice": best_tile(lambda m, n, d: peak_tile_bytes(m, n, d) + 4 * m * n),
        "one of the two numbers of each row is not counted": best_tile(
            lambda m, n, d: peak_tile_bytes(m, n, d) - 4 * m
        ),
        "block_m and block_n are swapped where the room is counted": best_tile(
            lambda m, n, d: peak_tile_bytes(n, m, d)
        ),
        "sides of 256 are not tried": lambda head_dim, capacity: best_of(head_dim, capacity, SIDES[:-1]),
        "sides of 16 are not tried": lambda head_dim, capacity: best_of(head_dim, capacity, SIDES[1:]),
        "sides of 512 are tried too": lambda head_dim, capacity: best_of(head_dim, capacity, (*SIDES, 512)),
        "sides of 8 are tried too": lambda head_dim, capacity: best_of(head_dim, capacity, (8, *SIDES)),
        "all multiples of 16 are tried, not the powers of 2 alone": lambda head_dim, capacity: best_of(
            head_dim, capacity, range(16, 257, 16)
        ),
        "the capacity is taken for KB, and it is bytes": best_tile(fits=lambda need, capacity: need <= 1024 * capacity),
        "the tile that fills the most bytes is taken": lambda head_dim, capacity: best_tile(
            worth=lambda m, n: peak_tile_bytes(m, n, head_dim)
        )(head_dim, capacity),
        "the tile that fills the most bytes is taken, of two the larger block_m": lambda head_dim, capacity: best_tile(
            worth=lambda m, n: (peak_tile_bytes(m, n, head_dim), m)
        )(head_dim, capacity),
        "the tiles of q, k and v are counted, and nothing else": best_tile(lambda m, n, d: 2 * m * d + 4 * n * d),
        "the tile with the longest side is taken": best_tile(worth=max),
        "the output is not counted": best_tile(lambda m, n, d: peak_tile_bytes(m, n, d) - 4 * m * d),
        "the maximum and the sum of each row are not counted": best_tile(
            lambda m, n, d: peak_tile_bytes(m, n, d) - 8 * m
        ),
        "k and v are both counted, though k can leave before v arrives": best_tile(
            lambda m, n, d: peak_tile_bytes(m, n, d) + 2 * n * d
        ),
        "everything is counted in float32": best_tile(lambda m, n, d: peak_tile_bytes(m, n, d, element_bytes=4)),
        "a tile that fits exactly is refused (< for <=)": best_tile(fits=lambda need, capacity: need < capacity),
        "of equal products the larger block_n is taken": best_tile(worth=lambda m, n: (m * n, n)),
        "the largest block_m is taken first, not the largest product": best_tile(worth=lambda m, n: (m, n)),
        "the largest block_n is taken first, or the largest sum of both, not the largest product": best_tile(
            worth=lambda m, n: (n, m)
        ),
        "the largest sum of both is taken, and of equal sums the larger block_m, not the largest product": best_tile(
            worth=lambda m, n: (m + n, m)
        ),
        "where nothing fits, something is returned, and no ValueError raised": with_a_last_resort,
        "where nothing fits, None is returned, and no ValueError raised": with_none_at_last,
        "the tile is given as (block_n, block_m)": lambda head_dim, capacity: best_tile()(head_dim, capacity)[::-1],
        "only square tiles are tried": best_tile(worth=lambda m, n: (m == n, m * n)),
        "the smallest tile is taken": best_tile(worth=lambda m, n: (-m * n, -m)),
    },
)


# softmax_backward ------------------------------------------------------------------------------------------------


def row_of(*shape, visible=None):
    """Weights of a softmax, 0 where nothing is visible, and a gradient for each."""

    def inputs(normal):
        scores, grad_weights = normal(*shape), normal(*shape)
        if visible is not None:
            scores = scores.masked_fill(~visible(*shape[-2:]), -math.inf)
        return quadratic.softmax(scores), grad_weights

    return inputs


def in_float32_or_more(*tensors):
    return [each.to(torch.promote_types(each.dtype, torch.float32)) for each in tensors]


def lower_left(rows, columns):
    return torch.arange(columns) <= torch.arange(rows)[:, None]


def by_hand(normal):
    return torch.tensor([0.0, 1.0, 2.0]).softmax(0).to(normal(1)), torch.tensor([1.0, 0.0, 0.0]).to(normal(1))


def equal_weights(normal):
    return 0 * normal(2, 2000) + 1 / 2000, 500 * normal(2, 2000)


def none_in_row_1(rows, columns):
    return lower_left(rows, columns) & (torch.arange(rows) != 1)[:, None]


def gradients_near_1000(normal):
    """Large gradients that differ little, so that delta in half precision leaves little of the bracket."""
    return quadratic.softmax(normal(4, 6)), normal(4, 6) + 1000


def by_jacobian(weights, grad_weights):
    """The derivative of every weight by every score as a matrix, times the gradients."""
    wide, wide_gradients = in_float32_or_more(weights, grad_weights)
    slopes = torch.diag_embed(wide) - wide[..., :, None] * wide[..., None, :]
    return (slopes @ wide_gradients[..., None]).squeeze(-1).to(weights.dtype)


def by_einsum(weights, grad_weights):
    wide, wide_gradients = in_float32_or_more(weights, grad_weights)
    delta = torch.einsum("...j,...j->...", wide, wide_gradients)
    return (wide * (wide_gradients - delta.unsqueeze(-1))).to(weights.dtype)


def entry_by_entry(weights, grad_weights):
    out, keys = torch.zeros_like(weights), weights.shape[-1]
    for row, p, dp in zip(*(each.view(-1, keys) for each in (out, weights, grad_weights)), strict=True):
        delta = sum(a * b for a, b in zip(p.tolist(), dp.tolist(), strict=True))
        for j, weight in enumerate(p.tolist()):
            row[j] = weight * (float(dp[j]) - delta)
    return out


def less(delta):
    """weights · (grad_weights - delta), with another delta(weights, grad_weights)."""
    return lambda weights, grad_weights: weights * (grad_weights - delta(weights, grad_weights))


def row_delta(weights, grad_weights):
    return (weights * grad_weights).sum(-1, keepdim=True)


def in_float32_inside(function):
    return lambda weights, grad_weights: function(*wider(weights, grad_weights)).to(weights.dtype)


def in_float32_alone(weights, grad_weights):
    weights, grad_weights = wider(weights, grad_weights)
    return weights * (grad_weights - row_delta(weights, grad_weights))


def with_half_delta(weights, grad_weights):
    wide, wide_gradients = wider(weights, grad_weights)
    delta = row_delta(wide, wide_gradients).to(weights.dtype)
    return (wide * (wide_gradients - delta)).to(weights.dtype)


def over_the_gradients(weights, grad_weights):
    wide, result = wider(weights, grad_weights)
    result -= row_delta(wide, result)
    result *= wide
    return result.to(weights.dtype)


SOFTMAX_BACKWARD = Exercise(
    title="back through a softmax",
    section="Backwards",
    difficulty=2,
    minutes=7,
    reference=flash.softmax_backward,
    hints=(
        "One number of each row is needed in all its entries. Which one, and along which axis is it a sum?",
        "delta is the sum of weights · grad_weights over the keys, the last axis. Keep that axis with keepdim=True, "
        "so that delta fits under each entry of its row.",
        "delta = (weights * grad_weights).sum(dim=-1, keepdim=True); then the weights times what is left of "
        "grad_weights when delta is taken away.",
    ),
    cases=(
        Case("scores 0, 1, 2 and a gradient of 1, 0, 0", by_hand),
        Case("3 rows of 5 keys", row_of(3, 5)),
        Case("a batch of 2 with 3 heads", row_of(2, 3, 4, 7)),
        Case("a causal mask", row_of(4, 6, visible=lower_left)),
        Case("an empty row", row_of(3, 5, visible=none_in_row_1)),
        Case("2,000 equal weights", equal_weights),
        Case("float64", row_of(2, 6), dtype=torch.float64),
        Case("half precision, gradients near 1,000", gradients_near_1000, dtype=torch.float16),
        Case("bfloat16, gradients near 1,000", gradients_near_1000, dtype=torch.bfloat16),
    ),
    right_answers=(by_jacobian, by_einsum, entry_by_entry),
    mistakes={
        "delta is a sum in half precision, where float32 is asked for": lambda weights, grad_weights: (
            weights * (grad_weights - row_delta(weights, grad_weights))
        ),
        "nothing is subtracted, as if the other weights of the row stayed": lambda weights, grad_weights: (
            weights * grad_weights
        ),
        "each entry is changed by its own slope p (1 - p) alone, without the other weights of its row": (
            lambda weights, grad_weights: weights * (1 - weights) * grad_weights
        ),
        "delta is the plain sum of the gradients, without the weights": less(
            lambda weights, grad_weights: grad_weights.sum(-1, keepdim=True)
        ),
        "delta is the mean of the gradients, as if all weights were equal": less(
            lambda weights, grad_weights: grad_weights.mean(-1, keepdim=True)
        ),
        "delta is a mean over the keys, where it is a sum": less(
            lambda weights, grad_weights: (weights * grad_weights).mean(-1, keepdim=True)
        ),
        "one delta is summed over all rows, where every row has its own": less(
            lambda weights, grad_weights: (weights * grad_weights).sum()
        ),
        "delta is summed over dim=-2, down each column": less(
            lambda weights, grad_weights: (weights * grad_weights).sum(-2 if weights.dim() > 1 else -1, keepdim=True)
        ),
        "delta is added, where it is subtracted": less(lambda weights, grad_weights: -row_delta(weights, grad_weights)),
        "delta is subtracted from the product, where it stands in the bracket": lambda weights, grad_weights: (
            weights * grad_weights - row_delta(weights, grad_weights)
        ),
        "what is in the bracket is not multiplied by the weights": lambda weights, grad_weights: (
            grad_weights - row_delta(weights, grad_weights)
        ),
        "the sign is turned round": lambda weights, grad_weights: (
            weights * (row_delta(weights, grad_weights) - grad_weights)
        ),
        "delta takes the squares of the weights": less(
            lambda weights, grad_weights: (weights * weights * grad_weights).sum(-1, keepdim=True)
        ),
        "half precision comes back in float32, where it is to be rounded once": in_float32_alone,
        "delta is rounded to half precision before it is subtracted": with_half_delta,
        "delta is divided by the sum of the weights, which is 0 in an empty row": in_float32_inside(
            less(lambda weights, grad_weights: row_delta(weights, grad_weights) / weights.sum(-1, keepdim=True))
        ),
        "the result is written over grad_weights": over_the_gradients,
        "delta has lost its axis, and is laid along the keys: keepdim=True keeps it": less(
            lambda weights, grad_weights: (weights * grad_weights).sum(-1)
        ),
        "delta is returned for each key, not the gradient of the scores": lambda weights, grad_weights: (
            row_delta(weights, grad_weights).expand_as(weights).clone()
        ),
    },
)


# backward_tile --------------------------------------------------------------------------------------------------


def gradients(function, q, k, v, grad_out, lse, delta, visible=None):
    names = {"gradient of q": q.shape, "gradient of k": k.shape, "gradient of v": v.shape}
    masked = () if visible is None else (visible,)
    return torch.cat(tensors(function(q, k, v, grad_out, lse, delta, *masked), **names))


def tile_of(rows, columns, d=6, others=5, masked=None, scale=1.0):
    """A tile in the middle of a row: lse and delta belong to more keys than the tile holds."""

    def inputs(normal):
        q, k, v, grad_out = normal(rows, d) * scale, normal(columns, d), normal(columns, d), normal(rows, d)
        scores = torch.cat([q @ k.T, q @ normal(others, d).T], dim=1) / math.sqrt(d)
        scores = scores.to(torch.promote_types(q.dtype, torch.float32))
        visible = None if masked is None else masked(rows, columns)
        if visible is not None:
            scores[:, :columns] = scores[:, :columns].masked_fill(~visible, -math.inf)
        lse = torch.logsumexp(scores, dim=1)
        return q, k, v, grad_out, lse, normal(rows).to(lse.dtype), *([] if visible is None else [visible])

    return inputs


def tile_by_einsum(q, k, v, grad_out, lse, delta, visible=None):
    q, k, v, grad_out = wider(q, k, v, grad_out)
    scale = q.shape[1] ** -0.5
    weights = (torch.einsum("id,jd->ij", q, k) * scale - lse.unsqueeze(1)).exp()
    if visible is not None:
        weights[~visible] = 0
    grad = weights * (torch.einsum("id,jd->ij", grad_out, v) - delta.unsqueeze(1))
    return (
        scale * torch.einsum("ij,jd->id", grad, k),
        scale * torch.einsum("ij,id->jd", grad, q),
        torch.einsum("ij,id->jd", weights, grad_out),
    )


def tile_by_autograd(q, k, v, grad_out, lse, delta, visible=None):
    """The sum of weights · (dP - delta) with everything but the scores held still has just this tile's gradients."""
    q, k, v, grad_out = wider(q, k, v, grad_out)
    with torch.enable_grad():
        q_, k_ = q.detach().requires_grad_(), k.detach().requires_grad_()
        scores = q_ @ k_.T / math.sqrt(q.shape[1])
        if visible is not None:
            scores = scores.masked_fill(~visible, -math.inf)
        weights = torch.exp(scores - lse[:, None])
        (weights * (grad_out @ v.T - delta[:, None])).sum().backward()
    return q_.grad, k_.grad, weights.detach().T @ grad_out


def remade(
    weigh=lambda scores, lse: torch.exp(scores - lse[:, None]),
    centre=lambda weights, grad, delta: weights * (grad - delta[:, None]),
    score_scale=lambda scale: scale,
    scales=lambda scale: (scale, scale, 1.0),
    hide=lambda scores, visible: scores.masked_fill(~visible, -math.inf),
    for_v=lambda weights, grad_scores: weights,
    for_k=lambda weights, grad_scores: grad_scores,
    times_k=lambda k, v: k,
    back=lambda grad_q, grad_k, grad_v: (grad_q, grad_k, grad_v),
):
    """A tile's gradients in which a mistake can replace a part."""

    def backward_tile(q, k, v, grad_out, lse, delta, visible=None):
        q, k, v, grad_out = wider(q, k, v, grad_out)
        scale = 1 / math.sqrt(q.shape[1])
        scores = q @ k.T * score_scale(scale)
        if visible is not None:
            scores = hide(scores, visible)
        weights = weigh(scores, lse)
        grad_scores = centre(weights, grad_out @ v.T, delta)
        of_q, of_k, of_v = scales(scale)
        grad_k, grad_v = for_k(weights, grad_scores).T @ q, for_v(weights, grad_scores).T @ grad_out
        return back(of_q * grad_scores @ times_k(k, v), of_k * grad_k, of_v * grad_v)

    return backward_tile


def masked_by(hide):
    """hide(weights, grad_weights, visible) -> what v gets the weights of, and the gradient of the scores but delta."""

    def backward_tile(q, k, v, grad_out, lse, delta, visible=None):
        q, k, v, grad_out = wider(q, k, v, grad_out)
        scale = 1 / math.sqrt(q.shape[1])
        weights, grad_weights = torch.exp(q @ k.T * scale - lse[:, None]), grad_out @ v.T
        visible = torch.ones_like(weights, dtype=torch.bool) if visible is None else visible
        for_v, for_scores, grad_weights = hide(weights, grad_weights, visible)
        grad_scores = for_scores * (grad_weights - delta[:, None])
        return scale * grad_scores @ k, scale * grad_scores.T @ q, for_v.T @ grad_out

    return backward_tile


def with_half(scores=False, weights=False, gradients=False):
    """The gradients, of half precision with scores, weights for v, or gradients in it."""

    def backward_tile(q, k, v, grad_out, lse, delta, visible=None):
        dtype, scale = q.dtype, 1 / math.sqrt(q.shape[1])
        half_scores = wider(q @ k.T)[0] * scale
        if visible is not None:
            half_scores = half_scores.masked_fill(~visible, -math.inf)

        def weigh(made, lse):
            return torch.exp((half_scores if scores else made) - lse[:, None])

        def for_v(made, grad_scores):
            return wider(made.to(dtype))[0] if weights else made

        def back(*all_three):
            return tuple(each.to(dtype) for each in all_three) if gradients else all_three

        return remade(weigh=weigh, for_v=for_v, back=back)(q, k, v, grad_out, lse, delta, visible)

    return backward_tile


def masked_late(q, k, v, grad_out, lse, delta, visible=None):
    grads = [remade()(q, k, v, grad_out, lse, delta, *seen) for seen in ([visible], [])]
    return *grads[0][:2], grads[1][2]


def nothing(rows, columns):
    return torch.zeros(rows, columns, dtype=torch.bool)


def far_below(normal):
    """Seen scores so low that what stands in for -inf, such as -10,000, is above them; all products are exact."""
    q = torch.tensor([96.0, 100.0, 104.0])[:, None].expand(3, 16).to(normal(1))
    k, v, grad_out = (2 * normal(5, 16)).round() / 64 - 100, normal(5, 16), normal(3, 16)
    visible = lower_left(3, 5)
    lse = torch.logsumexp((q @ k.T / 4).masked_fill(~visible, -math.inf), dim=1)
    return q, k, v, grad_out, lse, normal(3), visible


BACKWARD = Exercise(
    title="the gradients of one tile",
    section="Backwards",
    difficulty=4,
    minutes=15,
    reference=flash.backward_tile,
    hints=(
        "The forward threw the weights away and kept one number a row. How do you get a tile of weights back from q, k "
        "and that number?",
        "weights = e^(scores - lse). The gradient of the weights is grad_out @ v.T; that of the scores is weights · "
        "(it - delta), where delta stands for all the keys of the row, also those outside the tile. Then the chain "
        "rule through scores = q kᵀ / √d.",
        "grad_scores = weights * (grad_weights - delta[:, None]) * scale serves both q (times k) and k (its transpose "
        "times q). v gets weights.T @ grad_out, without a scale. Hidden scores are -inf before the exponential.",
    ),
    cases=(
        Case("4 queries, 7 keys", tile_of(4, 7), gradients),
        Case("7 queries, 3 keys", tile_of(7, 3), gradients),
        Case("a tile on the diagonal", tile_of(5, 5, masked=lower_left), gradients),
        Case("6 queries, 4 keys, masked", tile_of(6, 4, masked=lower_left), gradients),
        Case("one query, one key", tile_of(1, 1, d=4), gradients),
        Case("scores 10 times as large", tile_of(4, 6, scale=10.0), gradients),
        Case("float64", tile_of(4, 5, masked=lower_left), gradients, dtype=torch.float64),
        Case(
            "hidden scores a thousand above the row's log-sum-exp, in float64",
            tile_of(5, 7, others=1, masked=lower_left, scale=4_000.0),
            gradients,
            dtype=torch.float64,
        ),
        Case("a query that sees nothing of the tile", tile_of(4, 6, masked=none_in_row_1), gradients),
        Case("a tile that is hidden whole, in float16", tile_of(4, 6, masked=nothing), gradients, torch.float16),
        Case("scores of -40,000, of which some are hidden", far_below, gradients),
        Case("float16, lse and delta in float32", tile_of(5, 8), gradients, dtype=torch.float16),
        Case("bfloat16, lse and delta in float32", tile_of(3, 7), gradients, dtype=torch.bfloat16),
    ),
    right_answers=(tile_by_einsum, tile_by_autograd),
    mistakes={
        "the weights are made from the tile's own maximum, and never divided by the row's sum": remade(
            weigh=lambda scores, lse: torch.exp(scores - scores.amax(dim=1, keepdim=True))
        ),
        "the softmax is taken over the tile, though lse stands for the whole row": remade(
            weigh=lambda scores, lse: torch.softmax(scores, dim=1)
        ),
        "the weights are powers of 2, though lse is natural": remade(
            weigh=lambda scores, lse: torch.exp2(scores - lse[:, None])
        ),
        "the weights are e^scores, without lse": remade(weigh=lambda scores, lse: torch.exp(scores)),
        "hidden weights are multiplied by 0, and where the exponential was infinite that is nan": masked_by(
            lambda weights, grad_weights, visible: (weights * visible, weights * visible, grad_weights)
        ),
        "the mask hides the weights that v gets, and not those in the gradient of the scores": masked_by(
            lambda weights, grad_weights, visible: (weights.masked_fill(~visible, 0), weights, grad_weights)
        ),
        "the mask hides the gradient of the weights, and not the weights": masked_by(
            lambda weights, grad_weights, visible: (weights, weights, grad_weights.masked_fill(~visible, 0))
        ),
        "the gradients of k and v are returned in the other order": remade(back=lambda q, k, v: (q, v, k)),
        "the gradient of q is made with v, not with k": remade(times_k=lambda k, v: v),
        "1 / √d is missing everywhere": remade(score_scale=lambda scale: 1.0, scales=lambda scale: (1.0, 1.0, 1.0)),
        "1 / d takes the place of 1 / √d everywhere": remade(
            score_scale=lambda scale: scale**2, scales=lambda scale: (scale**2, scale**2, 1.0)
        ),
        "1 / √d is applied twice in the gradient of k: q has it already": remade(
            scales=lambda scale: (scale, scale**2, 1.0)
        ),
        "1 / √d is applied twice in the gradient of q: k has it already": remade(
            scales=lambda scale: (scale**2, scale, 1.0)
        ),
        "delta is left out": remade(centre=lambda weights, grad, delta: weights * grad),
        "delta is added, not taken off": remade(centre=lambda weights, grad, delta: weights * (grad + delta[:, None])),
        "delta is taken off outside: weights · grad - delta": remade(
            centre=lambda weights, grad, delta: weights * grad - delta[:, None]
        ),
        "delta is made anew from the tile, though it sums over all the keys of the row": remade(
            centre=lambda weights, grad, delta: weights * (grad - (weights * grad).sum(dim=1, keepdim=True))
        ),
        "the weights are missing in the gradient of the scores": remade(
            centre=lambda weights, grad, delta: grad - delta[:, None]
        ),
        "1 / √d is missing in the gradients of q and k": remade(scales=lambda scale: (1.0, 1.0, 1.0)),
        "1 / √d is missing in the gradient of q": remade(scales=lambda scale: (1.0, scale, 1.0)),
        "1 / √d is missing in the gradient of k": remade(scales=lambda scale: (scale, 1.0, 1.0)),
        "1 / √d is applied to the gradient of v too": remade(scales=lambda scale: (scale, scale, scale)),
        "the scores are made without 1 / √d": remade(score_scale=lambda scale: 1.0),
        "1 / √d is applied twice in the gradients of q and k": remade(scales=lambda scale: (scale**2, scale**2, 1.0)),
        "delta is added up over the rows, where each row has its own": remade(
            centre=lambda weights, grad, delta: weights * (grad - delta.sum())
        ),
        "the signs of delta and the gradient of the weights are swapped": remade(
            centre=lambda weights, grad, delta: weights * (delta[:, None] - grad)
        ),
        "the derivative of a sigmoid is taken, weights · (1 - weights), where a softmax has delta": remade(
            centre=lambda weights, grad, delta: weights * (1 - weights) * grad
        ),
        "hidden scores are 0, which still counts: the exponential of 0 is 1": remade(
            hide=lambda scores, visible: scores.masked_fill(~visible, 0)
        ),
        "the mask hides the gradient of the scores, and the weights that v gets are not hidden": masked_late,
        "the gradient of k is made from the weights, not from the gradient of the scores": remade(
            for_k=lambda weights, grad_scores: weights
        ),
        "the gradient of v is made from the gradient of the scores, with 1 / √d": remade(
            for_v=lambda weights, grad_scores: grad_scores, scales=lambda scale: (scale, scale, scale)
        ),
        "the mask is not looked at": remade(hide=lambda scores, visible: scores),
        "the mask hides what it should show": remade(
            hide=lambda scores, visible: scores.masked_fill(visible, -math.inf)
        ),
        "lse and delta are laid along the keys, where each belongs to a query": remade(
            weigh=lambda scores, lse: torch.exp(scores - lse),
            centre=lambda weights, grad, delta: weights * (grad - delta),
        ),
        "the scores are made in half precision, and turned to float32 afterwards": with_half(scores=True),
        "the weights are rounded to half precision before they meet grad_out": with_half(weights=True),
        "the gradients are returned in half precision": with_half(gradients=True),
        "everything is float32, also of float64": lambda *given: remade()(
            *(each.float() for each in given[:6]), *given[6:]
        ),
        "the gradient of v is made from the gradient of the scores, not from the weights": remade(
            for_v=lambda weights, grad_scores: grad_scores
        ),
    },
)


EXERCISES = (FLASH_FORWARD, IN_BASE_2, RANGE, CAUSAL_FLASH_FORWARD, TILE, SOFTMAX_BACKWARD, BACKWARD)
