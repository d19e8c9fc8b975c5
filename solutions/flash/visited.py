"""Which tiles are visited: of a causal window with sinks, the blocks of keys or queries that hold anything to see."""

import math

from solutions.accepts import pattern_is_sound
from solutions.shapes import counts, shapes


def window_is_sound(causal: bool, window: int | None = None, sinks: int = 0, **_) -> None:
    """Raise ValueError for a window or sinks that the kernels do not have."""
    pattern_is_sound(1 if window is None else window, sinks, None)
    if window is not None and not causal:
        raise ValueError(f"window is {window} but causal is False; this window looks back only: give causal=True.")
    if sinks and window is None:
        raise ValueError(f"sinks is {sinks} but there is no window to see past; give a window, or sinks=0.")


@counts("block_m", "block_n", "queries", "keys")
@shapes(check=window_is_sound)
def key_range(
    first_row: int,
    block_m: int,
    block_n: int,
    queries: int,
    keys: int,
    causal: bool = False,
    window: int | None = None,
) -> tuple[int, int]:
    """The keys [lo, hi) that the program of queries first_row ... first_row + block_m - 1 must step over by block_n.

    The queries are the last tokens, no more than keys. window: each sees the last `window` keys, its own too. lo is a
    multiple of block_n, and hi is not rounded up: the last step reads past it. (Whoever gives a window gives causal.)
    """
    position = first_row + keys - queries  # of the first query, among the keys
    lo = 0 if window is None else max(0, (position - window + 1) // block_n * block_n)
    hi = min(keys, max(0, position + block_m)) if causal else keys
    return lo, hi


@counts("block_m", "block_n", "queries", "keys")
@shapes(check=window_is_sound)
def query_range(
    first_key: int,
    block_m: int,
    block_n: int,
    queries: int,
    keys: int,
    causal: bool = False,
    window: int | None = None,
    sinks: int = 0,
) -> tuple[int, int]:
    """The queries [lo, hi) that see the keys first_key ... first_key + block_n - 1, to be stepped over by block_m.

    The other side of `key_range`, for the gradients of keys and values. All later queries see the first `sinks` keys.
    """
    row = first_key - (keys - queries)  # the query that stands at the first key
    lo = max(0, row // block_m * block_m) if causal else 0
    hi = queries if window is None or first_key < sinks else min(queries, max(0, row + block_n - 1 + window))
    return lo, hi


def rows_loaded(lo: int, hi: int, block: int, length: int) -> int:
    """Rows that steps of `block` over [lo, hi) load: the last step is whole, unless the tensor ends first."""
    return min(lo + math.ceil((hi - lo) / block) * block, length) - lo if hi > lo else 0
