"""What a query may read, and how much of the mass a mask keeps.

A mask is a union of simple sets, so its mass is a sum once nothing is counted twice:

    kept = band
         + columns outside the band                                   (sinks, global tokens as keys)
         + rows outside the band and the columns                      (global tokens as queries)
         + blocks outside the band, without the columns and rows in them

Each term is read off a `Measure`: of the mass of one head, or of the pairs (every allowed pair counts 1). Both come out
exact. mask.js holds the same sum; tests/js/atlas.json holds both to the same numbers.
"""

from dataclasses import dataclass, replace
from typing import Protocol, TypeGuard

import numpy as np

LEAST_MASS = 1e-4  # rows; below it a block is not worth a choice, and what it seems to hold may be rounding


def whole(value: object, least: int) -> TypeGuard[int]:
    """A whole number of at least `least`; True and 2.0 are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)


@dataclass(frozen=True)
class Allowed:
    """The pairs that an attention computes: what it may look at, whatever we would keep of it.

    causal: no key after the query
    window: as in `sliding_window_attention`: the keys that a causal query sees, itself included; two-sided, window // 2
        on each side and itself. None: no limit.
    sinks: the first keys, seen from everywhere in spite of the window
    """

    causal: bool = True
    window: int | None = None
    sinks: int = 0

    def check(self, tokens: int) -> "Allowed":
        """Raise ValueError for a pattern that no text can have; return it cut to so many tokens: wider means all."""
        return replace(self, window=cut_window(self.window, tokens, self.causal), sinks=cut_sinks(self.sinks, tokens))

    @property
    def reach(self) -> int | None:
        """The farthest distance that the window spans; None without a window."""
        return reach_of(self.window, self.causal)

    def pairs(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Boolean (rows, columns): may this query look at this key?"""
        distance = rows[:, None] - columns[None, :]
        seen = np.ones(distance.shape, bool)
        if self.reach is not None:
            seen = (np.abs(distance) <= self.reach) | (columns < self.sinks)[None, :]
        return seen & (distance >= 0) if self.causal else seen


@dataclass(frozen=True)
class Mask:
    """The pairs to keep, of those that the attention computes: the union of what is named here.

    It never adds a pair: with causal attention a global token is seen by later queries, and sees earlier keys.

    window, sinks: as in `Allowed`; no window keeps no band
    global_tokens: positions that every token sees, and that see every token
    blocks: each block of queries also keeps so many blocks of keys beyond the window: those that hold the most mass,
        sinks and global tokens apart (an oracle's choice)
    A mask that names nothing keeps everything.
    """

    window: int | None = None
    sinks: int = 0
    global_tokens: tuple[int, ...] = ()
    blocks: int = 0

    def check(self, tokens: int, causal: bool) -> "Mask":
        """Raise ValueError unless the mask fits so many tokens; return it, its window and sinks cut to them."""
        window, sinks = cut_window(self.window, tokens, causal), cut_sinks(self.sinks, tokens)
        for token in self.global_tokens:
            if not whole(token, 0) or token >= tokens:
                raise ValueError(
                    f"global token {token!r} lies outside the {tokens} tokens; give positions from 0 to {tokens - 1}."
                )
        if not whole(self.blocks, 0):
            raise ValueError(f"blocks is {self.blocks!r}; give how many blocks of keys to keep, 0 for none.")
        return replace(self, window=window, sinks=sinks)

    @property
    def everything(self) -> bool:
        """True when it names nothing, and so keeps everything."""
        return self == Mask()

    def keys(self) -> list[int]:
        """The keys that every query keeps, ascending."""
        return sorted({*range(self.sinks), *self.global_tokens})


def cut_window(window: object, tokens: int, causal: bool) -> int | None:
    """The window, cut to what already sees all the tokens. Raises ValueError for one below 1."""
    if window is None:
        return None
    if not whole(window, 1):
        raise ValueError(f"window is {window!r}; give a whole number of 1 or more, or None for no window.")
    return min(window, tokens if causal else 2 * tokens - 1)


def cut_sinks(sinks: object, tokens: int) -> int:
    """The sinks, of which there are no more than tokens. Raises ValueError for less than 0."""
    if not whole(sinks, 0):
        raise ValueError(f"sinks is {sinks!r}; give a whole number, 0 for none.")
    return min(sinks, tokens)


def reach_of(window: int | None, causal: bool) -> int | None:
    """The farthest distance inside a window."""
    if window is None:
        return None
    return window - 1 if causal else window // 2


def band_reach(window: int | None, causal: bool) -> int:
    """The reach of the band that a mask's window keeps: -1 without one."""
    reach = reach_of(window, causal)
    return -1 if reach is None else reach


class Measure(Protocol):
    """Something that can be summed over pairs. Blocks are `block` x `block` pairs; a reach of -1 is no band at all."""

    tokens: int
    block: int

    def everything(self) -> float: ...
    def band(self, reach: int) -> float: ...  # over |query - key| <= reach
    def column(self, key: int, reach: int) -> float: ...  # over the queries of one key, farther than reach
    def row(self, query: int, reach: int) -> float: ...  # over the keys of one query, farther than reach
    def pair(self, query: int, key: int) -> float: ...
    def squares(self, rows: np.ndarray, columns: np.ndarray) -> float: ...  # over so many blocks
    def column_part(self, key: int, block: int) -> float: ...  # over one key and the queries of one block
    def row_part(self, query: int, block: int) -> float: ...  # over one query and the keys of one block


def total(measure: Measure, mask: Mask, causal: bool, chosen: tuple[np.ndarray, np.ndarray]) -> float:
    """Sum of `measure` over the pairs of `mask`. chosen: the (query block, key block) indices that `blocks` names."""
    if mask.everything:
        return measure.everything()
    reach = band_reach(mask.window, causal)
    queries = sorted(set(mask.global_tokens))
    keys = mask.keys()
    rows, columns = chosen

    kept = measure.band(reach) + measure.squares(rows, columns)
    for key in keys:
        kept += measure.column(key, reach)
        kept -= sum(measure.column_part(key, row) for row in rows[columns == key // measure.block])
    for query in queries:
        kept += measure.row(query, reach)
        kept -= sum(measure.pair(query, key) for key in keys if abs(query - key) > reach)
        for column in columns[rows == query // measure.block]:
            kept -= measure.row_part(query, column)
            # In a chosen block, the crossing of a global query and a kept key was taken away twice.
            kept += sum(measure.pair(query, key) for key in keys if key // measure.block == column)
    return kept


def beyond(rows: np.ndarray, columns: np.ndarray, block: int, reach: int, causal: bool) -> np.ndarray:
    """Which blocks lie wholly outside the band, and may therefore be chosen."""
    nearest = np.maximum(np.abs(rows - columns) * block - block + 1, 0)
    return ((nearest > reach) | (reach < 0)) & ((columns <= rows) if causal else True)


def heaviest(masses: np.ndarray, keep: int, block: int, reach: int, causal: bool) -> tuple[np.ndarray, np.ndarray]:
    """For each row of blocks, the `keep` heaviest beyond the band; of equals the first. masses: (blocks, blocks).

    A block with next to no mass is never chosen. Returns the indices (query block, key block) of all of them.
    """
    every = np.arange(len(masses))
    eligible = beyond(every[:, None], every[None, :], block, reach, causal) & (masses > LEAST_MASS)
    order = np.argsort(-np.where(eligible, masses, -1), axis=1, kind="stable")[:, :keep]
    rows = np.repeat(every, order.shape[1])
    columns = order.reshape(-1)
    took = eligible[rows, columns]
    return rows[took], columns[took]


class Pairs:
    """The measure that counts: every pair that the attention computes weighs 1."""

    def __init__(self, tokens: int, block: int, allowed: Allowed):
        self.tokens, self.block, self.allowed = tokens, block, allowed

    def seen(self, query: np.ndarray, start: np.ndarray | int, stop: np.ndarray | int) -> int:
        """How many keys of start <= key < stop each of these queries may look at, summed."""
        reach = self.tokens if self.allowed.reach is None else self.allowed.reach
        first = np.maximum(query - reach, 0)
        last = np.minimum(query if self.allowed.causal else query + reach, self.tokens - 1)
        near = np.minimum(stop, last + 1) - np.maximum(start, first)
        sunk = np.minimum(stop, np.minimum(self.allowed.sinks, first)) - np.maximum(start, 0)
        return int((np.maximum(near, 0) + np.maximum(sunk, 0)).sum())

    def everything(self) -> int:
        query = np.arange(self.tokens)
        return self.seen(query, 0, self.tokens)

    def band(self, reach: int) -> int:
        query = np.arange(self.tokens)
        return self.seen(query, query - reach, query + reach + 1)

    def column(self, key: int, reach: int) -> int:
        query = np.arange(self.tokens)
        return self.seen(query[np.abs(query - key) > reach], key, key + 1)

    def row(self, query: int, reach: int) -> int:
        one = np.array([query])
        return self.seen(one, 0, self.tokens) - self.seen(one, one - reach, one + reach + 1)

    def pair(self, query: int, key: int) -> int:
        return self.seen(np.array([query]), key, key + 1)

    def squares(self, rows: np.ndarray, columns: np.ndarray) -> int:
        query = rows[:, None] * self.block + np.arange(self.block)
        start = np.broadcast_to(columns[:, None] * self.block, query.shape)
        inside = query < self.tokens
        return self.seen(query[inside], start[inside], start[inside] + self.block)

    def column_part(self, key: int, block: int) -> int:
        query = np.arange(block * self.block, min((block + 1) * self.block, self.tokens))
        return self.seen(query, key, key + 1)

    def row_part(self, query: int, block: int) -> int:
        return self.seen(np.array([query]), block * self.block, (block + 1) * self.block)
