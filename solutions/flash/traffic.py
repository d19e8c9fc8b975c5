"""The bytes that each way of computing attention issues between HBM and SRAM, predicted; and the room that it needs."""

import math

from solutions.flash.visited import key_range, query_range, rows_loaded, window_is_sound
from solutions.shapes import counts, shapes

# Bytes, predicted --------------------------------------------------------------------------------------------------


@counts("n", "head_dim", "block_m", "block_n")
def flash_issued_bytes(n: int, head_dim: int, block_m: int, block_n: int, causal: bool = False) -> int:
    """Bytes that flash attention moves between HBM and SRAM, one head of n tokens in half precision.

    q, k, v and out have 2 bytes an element, the log-sum-exp 4 a row. With causal, a program takes one whole
    block of keys after the other, until the last one that its last query sees.
    """
    row = 2 * head_dim
    total = 2 * n * row + 4 * n  # q in, out and the log-sum-exp out
    for first in range(0, n, block_m):
        end = min(first + block_m, n) if causal else n
        keys_loaded = min(math.ceil(end / block_n) * block_n, n)
        total += 2 * keys_loaded * row  # k and v
    return total


@counts("n", "head_dim", "block_n")
def flash1_issued_bytes(n: int, head_dim: int, block_n: int) -> int:
    """Bytes that the first FlashAttention moves, with the loop over keys outside: one head in half precision, full.

    On each pass over a block of keys all queries come by, and the output and its statistics, the row maximum and the
    row sum in float32, are read and written back. The zeros and -inf they begin with are taken as being there.
    """
    row = 2 * head_dim
    passes = math.ceil(n / block_n)
    each_pass = 3 * n * row + 4 * n * 4  # q and out in, out back; m and l in and back
    return 2 * n * row + passes * each_pass  # k and v once


def chosen(program: int | None, length: int, block: int) -> list[int]:
    """First rows of the programs over blocks of a length: of all, or of one. Raises ValueError if it does not exist."""
    starts = list(range(0, length, block))
    if program is None:
        return starts
    if program not in range(len(starts)):
        raise ValueError(f"program is {program!r}, but there are {len(starts)}; give 0 to {len(starts) - 1}.")
    return [starts[program]]


sizes = counts("queries", "keys", "head_dim", "block_m", "block_n", "element_bytes")


@sizes
@shapes(check=window_is_sound)
def forward_bytes(
    queries: int,
    keys: int,
    head_dim: int,
    block_m: int,
    block_n: int,
    *,
    causal: bool = False,
    window: int | None = None,
    sinks: int = 0,
    element_bytes: int = 2,
    program: int | None = None,
) -> dict[str, int]:
    """Bytes that the forward issues for one query head, by tensor; of one program if given.

    window, sinks: as in `local_global`; sinks take an extra pass over the first blocks, up to where the window begins.
    Grouped heads change nothing here: each query head loads its keys itself.
    """
    rows = key_rows = 0
    for first in chosen(program, queries, block_m):
        rows += min(block_m, queries - first)
        lo, hi = key_range(first, block_m, block_n, queries, keys, causal, window)
        key_rows += rows_loaded(lo, hi, block_n, keys) + rows_loaded(0, min(lo, sinks), block_n, keys)
    row = head_dim * element_bytes
    return {"q": rows * row, "k": key_rows * row, "v": key_rows * row, "out": rows * row, "lse": 4 * rows}


@counts("queries", "head_dim", "block_m", "element_bytes")
def delta_bytes(
    queries: int, head_dim: int, block_m: int, *, element_bytes: int = 2, program: int | None = None
) -> dict[str, int]:
    """Bytes of the backward's first kernel for one query head, by tensor: out and its gradient in, delta out."""
    rows = sum(min(block_m, queries - first) for first in chosen(program, queries, block_m))
    return {"out": rows * head_dim * element_bytes, "grad_out": rows * head_dim * element_bytes, "delta": 4 * rows}


@sizes
@shapes(check=window_is_sound)
def key_value_gradient_bytes(
    queries: int,
    keys: int,
    head_dim: int,
    block_m: int,
    block_n: int,
    *,
    causal: bool = False,
    window: int | None = None,
    sinks: int = 0,
    element_bytes: int = 2,
    program: int | None = None,
) -> dict[str, int]:
    """Bytes of the backward's kernel for keys and values, one query head, by tensor; `program` is a block of keys.

    With grouped heads, k, v and their gradients travel once for each key head, and the rest for each query head."""
    columns = query_rows = 0
    for start in chosen(program, keys, block_n):
        columns += min(block_n, keys - start)
        lo, hi = query_range(start, block_m, block_n, queries, keys, causal, window, sinks)
        query_rows += rows_loaded(lo, hi, block_m, queries)
    row = head_dim * element_bytes
    streamed = {"q": query_rows * row, "grad_out": query_rows * row, "lse": 4 * query_rows, "delta": 4 * query_rows}
    return {name: columns * row for name in ("k", "v", "grad_k", "grad_v")} | streamed


@sizes
@shapes(check=window_is_sound)
def query_gradient_bytes(
    queries: int,
    keys: int,
    head_dim: int,
    block_m: int,
    block_n: int,
    *,
    causal: bool = False,
    window: int | None = None,
    sinks: int = 0,
    element_bytes: int = 2,
    program: int | None = None,
) -> dict[str, int]:
    """Bytes of the backward's kernel for the queries, one query head, by tensor; `program` is a block of queries."""
    pattern = dict(causal=causal, window=window, sinks=sinks, element_bytes=element_bytes, program=program)
    forward = forward_bytes(queries, keys, head_dim, block_m, block_n, **pattern)
    rows = {"q": forward["q"], "grad_out": forward["q"], "grad_q": forward["q"]}
    return rows | {name: forward["lse"] for name in ("lse", "delta")} | {name: forward[name] for name in ("k", "v")}


def summed(*parts: dict[str, int]) -> dict[str, int]:
    """The bytes of several kernels together, by tensor."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0) for part in parts) for name in names}


@sizes
@shapes(check=window_is_sound)
def backward_bytes(
    queries: int,
    keys: int,
    head_dim: int,
    block_m: int,
    block_n: int,
    *,
    causal: bool = False,
    window: int | None = None,
    sinks: int = 0,
    element_bytes: int = 2,
) -> dict[str, int]:
    """Bytes that the three kernels of the backward issue together for one query head, by tensor."""
    pattern = dict(causal=causal, window=window, sinks=sinks, element_bytes=element_bytes)
    return summed(
        delta_bytes(queries, head_dim, block_m, element_bytes=element_bytes),
        key_value_gradient_bytes(queries, keys, head_dim, block_m, block_n, **pattern),
        query_gradient_bytes(queries, keys, head_dim, block_m, block_n, **pattern),
    )


@sizes
@shapes(check=window_is_sound)
def atomic_backward_bytes(
    queries: int,
    keys: int,
    head_dim: int,
    block_m: int,
    block_n: int,
    *,
    causal: bool = False,
    window: int | None = None,
    sinks: int = 0,
    element_bytes: int = 2,
    program: int | None = None,
) -> dict[str, int]:
    """Bytes of a backward that adds grad_q up in HBM from the kernel for keys and values, one query head, by tensor.

    Without delta's own kernel. An atomic addition in float32 counts as read and written.
    """
    pattern = dict(causal=causal, window=window, sinks=sinks, element_bytes=element_bytes, program=program)
    bytes_ = key_value_gradient_bytes(queries, keys, head_dim, block_m, block_n, **pattern)
    return bytes_ | {"grad_q": 2 * bytes_["delta"] * head_dim}  # delta: 4 bytes a row; grad_q: 4 in, 4 out an entry


@counts("keys", "head_dim", "group", "splits", "element_bytes")
def decode_bytes(
    keys: int, head_dim: int, *, group: int = 1, splits: int = 1, element_bytes: int = 2
) -> dict[str, int]:
    """Bytes of split decoding for one key head and one new token, by tensor: `group` query heads share the keys.

    The partial results are in float32; they are written by each split, and read once when they are merged into out.
    """
    row = head_dim * element_bytes
    return {
        "q": splits * group * row,
        "k": keys * row,
        "v": keys * row,
        "partial": 2 * splits * group * head_dim * 4,
        "partial_lse": 2 * splits * group * 4,
        "out": group * row,
    }


@sizes
def flash1_bytes(
    queries: int,
    keys: int,
    head_dim: int,
    block_m: int,
    block_n: int,
    *,
    causal: bool = False,
    element_bytes: int = 2,
) -> dict[str, int]:
    """Bytes of `flash1_attention`, by tensor: q, the output and its statistics travel once for each block of keys."""
    passed = 0
    for start in range(0, keys, block_n):
        lo, hi = query_range(start, block_m, block_n, queries, keys, causal)
        passed += rows_loaded(lo, hi, block_m, queries)
    row = head_dim * element_bytes
    once = {"k": keys * row, "v": keys * row}
    return {"q": passed * row, **once, "out": 2 * passed * row, "m": 2 * 4 * passed, "l": 2 * 4 * passed}


@sizes
def standard_bytes(
    queries: int, keys: int, head_dim: int, block_m: int, block_n: int, *, element_bytes: int = 2
) -> dict[str, int]:
    """Bytes of `standard_attention`, by tensor; causal or not, since nothing is skipped.

    With block_m = queries and block_n = keys everything is read once: the 4 N² + 4 N d elements of Dao et al. (2022),
    algorithm 0.
    """
    row, matrix = head_dim * element_bytes, 2 * queries * keys * element_bytes
    query_blocks, key_blocks = math.ceil(queries / block_m), math.ceil(keys / block_n)
    return {
        "q": key_blocks * queries * row,
        "k": query_blocks * keys * row,
        "scores": matrix,
        "weights": matrix,
        "v": query_blocks * keys * row,
        "out": queries * row,
    }


# Room on the chip --------------------------------------------------------------------------------------------------


@counts("block_m", "block_n", "head_dim", "element_bytes")
def peak_tile_bytes(block_m: int, block_n: int, head_dim: int, element_bytes: int = 2) -> int:
    """Most bytes of tiles that `tiled_attention` holds at once: q, the float32 output, m, ℓ, scores, and k or v."""
    own = block_m * head_dim * (element_bytes + 4) + 8 * block_m
    return own + block_n * head_dim * element_bytes + 4 * block_m * block_n


@counts("head_dim", "capacity")
def largest_tile(head_dim: int, capacity: int) -> tuple[int, int]:
    """The (block_m, block_n), powers of 2 from 16 to 256, with the largest product whose tiles fit in `capacity` bytes.

    Half precision, room as in `peak_tile_bytes`. Of equal products the larger block_m is taken, since keys and values
    are loaded again for each block of queries.
    Raises ValueError when not even (16, 16) fits.
    """
    sides = [16, 32, 64, 128, 256]
    fitting = [(m, n) for m in sides for n in sides if peak_tile_bytes(m, n, head_dim) <= capacity]
    if not fitting:
        least = peak_tile_bytes(16, 16, head_dim)
        raise ValueError(f"capacity is {capacity:,} bytes, but the smallest tile needs {least:,}; give at least that.")
    return max(fitting, key=lambda tile: (tile[0] * tile[1], tile[0]))


SHARED_MEMORY_LIMITS = {"sm_80": 166_912, "sm_90": 232_448}
"""Most bytes of shared memory that one block of threads may use (A100, H100)."""


def target_is_known(block_m: int, target: str, **_) -> None:
    """Raise ValueError for a GPU or block that the rule was not measured on."""
    if target not in SHARED_MEMORY_LIMITS:
        raise ValueError(f"target is {target!r}; the rule is known for {' and '.join(SHARED_MEMORY_LIMITS)}.")
    if not 16 <= block_m <= 128:
        raise ValueError(f"block_m is {block_m}; the rule is known from 16 to 128.")


@counts("block_m", "block_n", "head_dim", "stages", "element_bytes")
@shapes(check=target_is_known)
def shared_memory_bytes(
    block_m: int, block_n: int, head_dim: int, *, stages: int = 2, target: str = "sm_90", element_bytes: int = 2
) -> int:
    """Shared memory of the Triton forward kernel, as the compiler reports it (Triton 3.6 to 3.9).

    stages: how many blocks of k and v are on their way at once. Read off compiled kernels, not a law: on sm_90 and with
    64 queries or more the pipeline holds every stage, else one less, and small blocks need room to turn the weights.
    """
    q, block, weights = block_m * head_dim, block_n * head_dim, block_m * block_n
    if stages == 1:
        held = block
    elif target == "sm_90" and block_m >= 64:
        held = 2 * stages * block
    else:
        held = 2 * (stages - 1) * block
    turned = block_m < 64 or (target == "sm_80" and block_m == 64 and head_dim >= 128)
    return (q + held + (weights if turned else 0)) * element_bytes
