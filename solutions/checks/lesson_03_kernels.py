"""The two exercises of lesson 03 whose answer is a Triton kernel, run under the interpreter on small tensors.

What a kernel gets wrong shows only where it has to: keys that no block ends on (their scores are 0, not hidden), the
second head, a maximum that arrives late. So lengths are ragged, heads are two, and blocks are of two sizes. The output
starts as nan, so that what was never written is seen.
"""

import inspect
import linecache
import math
import textwrap
import warnings

import numpy as np
import torch
from torch import Tensor

from solutions import flash_kernels, interpreter
from solutions.checks.exercise import Case, Exercise
from solutions.checks.running import Rejected
from solutions.flash import forward_bytes
from solutions.interpreter import Access, Listener, interpreted, listening, tl, triton


class Written(Listener):
    """Which entries of out and lse were stored, who stored where, and the first load that left lanes undefined."""

    def begin(self, launch) -> None:
        self.arguments = launch.arguments
        self.stored = {a.name: np.zeros(a.tensor.numel(), bool) for a in launch.arguments if a.name in ("out", "lse")}
        self.entries: dict[tuple, list[int]] = {}
        self.undefined: str | None = None

    def access(self, access: Access) -> None:
        argument = self.arguments[access.argument]
        if access.kind == "load" and access.undefined and access.mask is not None and self.undefined is None:
            self.undefined = f"{argument.name} at line {access.line}, `{access.text}`,"
        if access.kind == "store" and argument.name in self.stored:
            lanes = access.addresses if access.mask is None else access.addresses[access.mask]
            entries = (lanes.astype(np.int64).ravel() - argument.start) // access.element_bytes
            self.stored[argument.name][entries] = True
            self.entries.setdefault((access.program[:2], argument.name), []).extend(entries.tolist())

    def refuse_gaps(self, heads: int, n: int, block_m: int) -> None:
        """Reject what leaves entries of out or lse as they were, in the words of the program that owns the first."""
        for name, stored in self.stored.items():
            rows = stored.reshape(heads * n, -1).all(1)
            if rows.all():
                continue
            head, row = divmod(int(np.argmin(rows)), n)
            program, last = (row // block_m, head), min(n, row // block_m * block_m + block_m) - 1
            own = f"rows {row} to {last} of head {head} of {name}"
            theirs = self.entries.get((program, name))
            if not theirs:
                raise Rejected(f"program {program} stores nothing to {name}; {own} are its part")
            there, column = divmod(min(theirs), len(stored) // (heads * n))
            where = f"row {there % n}{f', column {column},' if column else ''} of head {there // n}"
            raise Rejected(f"program {program} stores nothing to {own}: what it stores begins at {where}")


class Issued(Listener):
    """Counts the bytes that a kernel asks for."""

    def __init__(self):
        self.bytes = 0

    def access(self, access: Access) -> None:
        lanes = access.addresses.size if access.mask is None else int(access.mask.sum())
        self.bytes += lanes * access.element_bytes


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
    given = {name: tensor.clone() for name, tensor in zip("qkv", (q, k, v), strict=True)}
    out, lse = torch.full_like(q, math.nan), torch.full((heads, n), math.nan)
    sizes = dict(HEAD_DIM=head_dim, BLOCK_M=block_m, BLOCK_N=block_n)
    quiet = np.errstate(all="ignore"), warnings.catch_warnings(action="ignore")  # the verdict says what a mistake does
    with quiet[0], quiet[1], listening(Written()) as written:
        interpreted(kernel)[triton.cdiv(n, block_m), heads](q, k, v, out, lse, head_dim**-0.5, n, **sizes)
    for name, tensor in zip("qkv", (q, k, v), strict=True):
        if not torch.equal(tensor, given[name]):
            raise Rejected(f"your kernel writes to {name}; store to out and lse only")
    written.refuse_gaps(heads, n, block_m)
    if written.undefined and (out.isnan().any() or lse.isnan().any()):
        raise Rejected(
            f"your kernel loads {written.undefined} with a mask and without other=: lanes that are off hold anything, "
            "here nan, and it reaches the output"
        )
    return out, lse


def output(kernel, *sizes) -> Tensor:
    return run(kernel, *sizes)[0]


def log_sum_exp(kernel, *sizes) -> Tensor:
    return run(kernel, *sizes)[1]


def within_budget(kernel, heads, n, head_dim, block_m, block_n) -> Tensor:
    """The output, unless the kernel issued more than a causal kernel has to."""
    with listening(Issued()) as issued:
        out, _ = run(kernel, heads, n, head_dim, block_m, block_n)
    budget = heads * sum(forward_bytes(n, n, head_dim, block_m, block_n, causal=True, element_bytes=4).values())
    if issued.bytes > budget:
        raise Rejected(f"your kernel issues {issued.bytes:,} bytes, where {budget:,} suffice")
    return out


def case(label, *sizes, outcome=output) -> Case:
    return Case(label, lambda normal: sizes, outcome)


def changed(kernel, *pieces: str):
    """The kernel with pieces of its source replaced, old, new, old, new, as if it stood in a file of its own."""
    source = textwrap.dedent(inspect.getsource(kernel.fn))
    for old, new in zip(pieces[::2], pieces[1::2], strict=True):
        if old not in source:
            raise ValueError(f"{kernel.__name__} does not hold {old!r}; give a piece of its source.")
        source = source.replace(old, new)
    file = f"<{kernel.__name__} with {', '.join(map(repr, pieces))}>"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    names = {"tl": tl, "triton": triton, "__name__": __name__}
    exec(compile(source, file, "exec"), names)
    return names[kernel.__name__]


# Right, written differently --------------------------------------------------------------------------------------


@triton.jit
def with_natural_powers(
    q, k, v, out, lse, scale, n, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr
):
    block, head = tl.program_id(0), tl.program_id(1)
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
    head = tl.program_id(1)
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
    block, head = tl.program_id(0), tl.program_id(1)
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
)


# Mistakes of the loop, whoever may look at whom ------------------------------------------------------------------


def mistakes_of_the_loop(kernel) -> dict:
    """Sentence -> the kernel that commits it."""
    replaced = {
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
        "m begins at 0, above scores that are all negative": (
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
            "rows = block * BLOCK_M + tl.arange",
            "rows = block * BLOCK_N + tl.arange",
        ),
        "the head's first row is left out where out is stored, here or everywhere": (
            "row_offsets = (first + rows)[:, None]",
            "row_offsets = rows[:, None]",
        ),
        "every block takes the values of the first keys": (
            "tl.load(v + key_offsets",
            "tl.load(v + (first + tl.arange(0, BLOCK_N))[:, None] * HEAD_DIM + columns",
        ),
        "no maximum is subtracted, and large scores overflow": (
            "m_new = tl.maximum(m, tl.max(scores, 1))",
            "m_new = tl.maximum(m, tl.zeros([BLOCK_M], tl.float32))",
        ),
        "the scores are not multiplied by the scale": ("(scale * 1.4426950408889634)", "1.4426950408889634"),
        "exp2 is taken of scores that are not multiplied by log2(e)": ("(scale * 1.4426950408889634)", "scale"),
        "the natural exp is taken of scores that are multiplied by log2(e)": ("tl.math.exp2", "tl.exp"),
        "acc is stored without being divided by ell": ("acc / ell[:, None]", "acc"),
        "the log-sum-exp is the logarithm of ell alone, without the maximum": (
            "m * 0.6931471805599453 + tl.log(ell)",
            "tl.log(ell)",
        ),
        "the log-sum-exp is the maximum alone, without the logarithm of ell": (
            "m * 0.6931471805599453 + tl.log(ell)",
            "m * 0.6931471805599453",
        ),
        "the log-sum-exp is in base 2": ("m * 0.6931471805599453 + tl.log(ell)", "m + tl.log2(ell)"),
        "the log-sum-exp adds a maximum in base 2 to a natural logarithm": (
            "m * 0.6931471805599453 + tl.log(ell)",
            "m + tl.log(ell)",
        ),
        "every head reads the keys and values of head 0": ("(first + keys)[:, None]", "keys[:, None]"),
        "every head reads the queries of head 0": (
            "tl.load(q + row_offsets",
            "tl.load(q + row_offsets - first * HEAD_DIM",
        ),
        "heads are taken to lie inside the tokens: the offset is head * HEAD_DIM": (
            "first = head.to(tl.int64) * n",
            "first = head.to(tl.int64)",
        ),
        "a head is n * HEAD_DIM numbers, and the offset is head * n": (
            "(first + rows)[:, None] * HEAD_DIM",
            "first + rows[:, None] * HEAD_DIM",
            "(first + keys)[:, None] * HEAD_DIM",
            "first + keys[:, None] * HEAD_DIM",
        ),
        "block and head are swapped: axis 0 of the grid is the block": (
            "tl.program_id(0), tl.program_id(1)",
            "tl.program_id(1), tl.program_id(0)",
        ),
        "the block is taken from axis 1 of the grid, as the head is": (
            "tl.program_id(0), tl.program_id(1)",
            "tl.program_id(1), tl.program_id(1)",
        ),
        "the head is taken from axis 0 of the grid, as the block is": (
            "tl.program_id(0), tl.program_id(1)",
            "tl.program_id(0), tl.program_id(0)",
        ),
        "every step takes the first block of keys": ("keys = start + tl.arange", "keys = tl.arange"),
        "the values are read from k": ("tl.load(v +", "tl.load(k +"),
        "the head's first row is left out where lse is stored": ("lse + first + rows", "lse + rows"),
        "tl.load has a mask= and no other=: what lies beyond the end is anything, here nan": (", other=0.0", ""),
        "every program computes the first BLOCK_M queries": (
            "rows = block * BLOCK_M + tl.arange",
            "rows = tl.arange",
        ),
    }
    return {sentence: changed(kernel, *pieces) for sentence, pieces in replaced.items()}


LARGE = torch.float16, 12.0  # half precision, scores up to several hundred
LOW = torch.float16, 1.0, 210.0  # scores around -11,025 where d = 16: lower than many a finite floor

FLASH_FORWARD = Exercise(
    number="3.5",
    title="the loop in Triton",
    section="The same loop in Triton",
    difficulty=4,
    minutes=45,
    reference=flash_kernels.flash_forward,
    hints=(
        "It is your tiled attention, for one block of queries: what do tl.program_id(0) and tl.program_id(1) replace? "
        "Which rows of memory does head h begin at, when each head has n of them?",
        "A tile is a grid of addresses: (first + rows)[:, None] * HEAD_DIM + columns, with first = head * n, loaded "
        "with mask=rows[:, None] < n. Before the loop m is -1e30, ell and acc are 0. A masked key was loaded as 0, so "
        "its score is 0: hide it with tl.where.",
        "In the loop over start in range(0, n, BLOCK_N): scores = tl.dot(q_tile, tl.trans(k_tile)) times scale times "
        "log2(e), hidden where keys >= n; m_new; alpha = tl.math.exp2(m - m_new); p; then ell and acc, both with "
        "alpha. After it store acc / ell[:, None], and m * ln(2) + tl.log(ell).",
    ),
    cases=(
        case("one head, 32 queries, all keys in one block", 1, 32, 64, 16, 32),
        case("one head, 32 queries, 16 a block, 16 keys a block", 1, 32, 32, 16, 16),
        case("the log-sum-exp of 37 queries", 1, 37, 64, 32, 16, outcome=log_sum_exp),
        case("two heads, 20 queries, 32 a block, 16 keys a block", 2, 20, 64, 32, 16),
        case("the log-sum-exp of two heads, 20 queries", 2, 20, 64, 32, 16, outcome=log_sum_exp),
        case("one query", 1, 1, 16, 16, 16),
        case("37 queries, 32 a block, 16 keys a block", 1, 37, 64, 32, 16),
        case("37 queries, 16 a block, 64 keys a block", 1, 37, 32, 16, 64),
        case("large scores, in half precision", 1, 48, 16, 64, 16, *LARGE),
        case("scores around -11,000, in half precision", 1, 20, 16, 32, 16, *LOW),
    ),
    right_answers=(with_natural_powers, from_the_last_key),
    mistakes=mistakes_of_the_loop(flash_kernels.flash_forward)
    | {
        "keys beyond the end count with a score of 0: their loads are masked, their scores are not": changed(
            flash_kernels.flash_forward, "        scores = tl.where(keys < n, scores, -1e30)\n", ""
        ),
        "one key beyond the end counts (<= for <)": changed(
            flash_kernels.flash_forward, "tl.where(keys < n,", "tl.where(keys <= n,"
        ),
        "only the first block of keys is read": changed(
            flash_kernels.flash_forward, "range(0, n, BLOCK_N)", "range(0, BLOCK_N, BLOCK_N)"
        ),
        "the causal mask is there already": changed(
            flash_kernels.flash_forward, "tl.where(keys < n,", "tl.where(keys <= rows[:, None],"
        ),
        "the loop steps by BLOCK_M, and blocks of keys overlap or are left out": changed(
            flash_kernels.flash_forward, "range(0, n, BLOCK_N)", "range(0, n, BLOCK_M)"
        ),
        "the last block of keys is left out when it is not full": changed(
            flash_kernels.flash_forward, "range(0, n, BLOCK_N)", "range(0, n // BLOCK_N * BLOCK_N, BLOCK_N)"
        ),
    },
    unjudged=interpreter.why_not,
)

HIDDEN = "scores = tl.where(keys <= rows[:, None], scores, -1e30)"
BOUND = "tl.minimum(n, (block + 1) * BLOCK_M)"

CAUSAL_FLASH_FORWARD = Exercise(
    number="3.7",
    title="skip what nobody may see",
    section="Skip what is masked",
    difficulty=3,
    minutes=12,
    reference=flash_kernels.causal_flash_forward,
    hints=(
        "Block 2 of queries, BLOCK_M = 16, holds queries 32 to 47. Which is the last key that any of them may see? "
        "And which keys may query 32 see?",
        "Two changes to flash_forward: the loop ends at key_range's end, and inside a block that the diagonal crosses "
        "tl.where hides what lies ahead of each row.",
        "The loop ends at tl.minimum of n and (block + 1) * BLOCK_M. The mask compares keys, a row, with "
        "rows[:, None], a column; a key below n needs no check of its own any more. Why?",
    ),
    cases=(
        case("one head, 32 queries, all keys in one block", 1, 32, 64, 16, 32),
        case("one head, 32 queries, 16 a block, 16 keys a block", 1, 32, 32, 16, 16),
        case("the log-sum-exp of 37 queries", 1, 37, 64, 32, 16, outcome=log_sum_exp),
        case("two heads, 20 queries, 32 a block, 16 keys a block", 2, 20, 64, 32, 16),
        case("the log-sum-exp of two heads, 20 queries", 2, 20, 64, 32, 16, outcome=log_sum_exp),
        case("one query", 1, 1, 16, 16, 16),
        case("40 queries, 32 a block, 16 keys a block", 1, 40, 64, 32, 16),
        case("40 queries, 16 a block, 32 keys a block", 1, 40, 64, 16, 32),
        case("large scores, in half precision", 1, 48, 16, 64, 16, *LARGE),
        case("scores around -11,000, in half precision", 1, 20, 16, 32, 16, *LOW),
        case("the bytes of 40 queries", 1, 40, 16, 16, 16, outcome=within_budget),
        case("the bytes of 40 queries, 32 a block", 1, 40, 16, 32, 16, outcome=within_budget),
    ),
    right_answers=(mask_only_at_the_end, from_the_diagonal_back),
    mistakes=mistakes_of_the_loop(flash_kernels.causal_flash_forward)
    | {
        sentence: changed(flash_kernels.causal_flash_forward, *pieces)
        for sentence, pieces in {
            "key blocks that nobody may see are masked, but loaded all the same": (BOUND, "n"),
            "the diagonal's block is left out: the first queries see no key at all": (BOUND, "block * BLOCK_M"),
            "the loop begins at the diagonal, and the keys before it are never read": (
                f"range(0, {BOUND}",
                f"range(block * BLOCK_M // BLOCK_N * BLOCK_N, {BOUND}",
            ),
            "the loop ends at (block + 1) * BLOCK_N, where the queries end at (block + 1) * BLOCK_M": (
                BOUND,
                "tl.minimum(n, (block + 1) * BLOCK_N)",
            ),
            "the block that the diagonal crosses is not masked": (f"        {HIDDEN}\n", ""),
            "a query sees one key ahead of it": ("keys <= rows[:, None]", "keys <= rows[:, None] + 1"),
            "the loop ends BLOCK_N keys after the block's first query": (
                BOUND,
                "tl.minimum(n, block * BLOCK_M + BLOCK_N)",
            ),
            "the loop ends a block too late: masked, but loaded all the same": (
                BOUND,
                "tl.minimum(n, (block + 2) * BLOCK_M)",
            ),
            "the loop steps by BLOCK_M, and blocks of keys overlap or are left out": (", BLOCK_N):", ", BLOCK_M):"),
            "a key's place in its block is taken for its place in the sequence": (
                "keys <= rows[:, None]",
                "tl.arange(0, BLOCK_N) <= rows[:, None]",
            ),
            "only blocks of keys that begin among the block's queries are masked": (
                "keys <= rows[:, None]",
                "(keys <= rows[:, None]) | (start < block * BLOCK_M)",
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
        }.items()
    }
    | {
        "what a query may not see is hidden after ell has counted it": changed(
            flash_kernels.causal_flash_forward,
            f"        {HIDDEN}\n",
            "",
            "        v_tile",
            "        p = tl.where(keys <= rows[:, None], p, 0.0)\n        v_tile",
        ),
    },
    unjudged=interpreter.why_not,
)
