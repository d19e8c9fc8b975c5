"""What is kept of the attention of one head, and every number that follows from it. Plain numpy; nothing is drawn here.

    P_ij = exp(scale q_i . k_j - L_i)

`widgets.atlas.measure.map_head` makes one.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from widgets.atlas.mask import Allowed, Mask, Pairs, band_reach, heaviest, total

LEAST_BLOCK = 16  # tokens of a block-sparse block


def cell_size(tokens: int, heads: int) -> int:
    """Tokens along a side of the finest stored squares: 64 for one head of 131,072 tokens.

    A power of two. Up to 2^20 squares altogether, they are as small as that allows; they stop growing at 64, until
    there are 2^22.
    """

    def least(squares: int) -> int:
        cell = 1
        while heads * math.ceil(tokens / cell) ** 2 > squares:
            cell *= 2
        return cell

    return min(least(2**20), max(least(2**22), 64))


def block_size(tokens: int, heads: int) -> int:
    """Tokens along a side of the blocks that a block-sparse mask chooses among: their sums travel as float32."""
    block = LEAST_BLOCK
    while heads * math.ceil(tokens / block) ** 2 > 2**17:
        block *= 2
    return block


def reaches(tokens: int, causal: bool, extra: Sequence[int] = ()) -> np.ndarray:
    """The distances at which the mass of a band is told: the windows 1 to 16, then eight to an octave, up to the whole.

    Two-sided, the same numbers are those of one side. extra: further distances, kept among them.
    """
    octaves = (16 * 2 ** (np.arange(1, 8 * 48) / 8)).round().astype(int)
    sizes = np.concatenate([np.arange(1, 17), octaves[octaves < 2 * tokens]])
    every = np.concatenate([sizes - 1 if causal else [0, *sizes], [tokens - 1], extra]).astype(int)
    return np.unique(every[every < tokens])


@dataclass
class HeadMap:
    """The attention of one head, as far as it needs to be kept.

    q, k: float32 (tokens, head_dim); log_sum_exp: float64 (tokens,)
    largest, mass: float32 (squares, squares), maximum and sum of the weights in each cell x cell square
    near: float64 (tokens,), the mass at a distance of at most 0, 1, 2, ... between query and key
    block: tokens along a side of the blocks that a mask may choose; origin: dtype and device of the q and k given
    read: float64 (tokens,), the mass that each key receives; read_far: the part from far away, by the queries
        of the second half (early ones have few keys to share their mass among, and would call every early key heavy)
    """

    q: np.ndarray
    k: np.ndarray
    scale: float
    allowed: Allowed
    cell: int
    log_sum_exp: np.ndarray
    largest: np.ndarray
    mass: np.ndarray
    near: np.ndarray
    read: np.ndarray
    read_far: np.ndarray
    block: int = 64
    origin: str = "float32, cpu"
    _lines: dict = field(default_factory=dict, repr=False)

    @property
    def tokens(self) -> int:
        return len(self.q)

    def tile(self, queries: Sequence[int] | np.ndarray, keys: Sequence[int] | np.ndarray) -> np.ndarray:
        """Exact weights, float64 (queries, keys), for positions of queries and keys."""
        queries, keys = np.asarray(queries), np.asarray(keys)
        scores = self.scale * (self.q[queries].astype(np.float64) @ self.k[keys].astype(np.float64).T)
        weights = np.exp(scores - self.log_sum_exp[queries][:, None])
        return np.where(self.allowed.pairs(queries, keys), weights, 0.0)

    def row(self, query: int) -> np.ndarray:
        """What one query reads of each key, float64 (tokens,)."""
        return self._line("row", query)

    def column(self, key: int) -> np.ndarray:
        """What each query reads of one key, float64 (tokens,)."""
        return self._line("column", key)

    def _line(self, kind: str, at: int) -> np.ndarray:
        if (kind, at) not in self._lines:
            every = np.arange(self.tokens)
            line = self.tile([at], every)[0] if kind == "row" else self.tile(every, [at])[:, 0]
            self._lines[kind, at] = line
            while len(self._lines) > 64:  # a window of a reader's interest, not a copy of the matrix
                self._lines.pop(next(iter(self._lines)))
        return self._lines[kind, at]

    def levels(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """The pyramid from the finest level up: tokens along a side, largest, mass; 2 x 2 squares make one, exactly."""
        cell, largest, mass = self.cell, self.largest, self.mass.astype(np.float64)
        yield cell, largest, mass
        while len(mass) > 1 or cell < self.block:
            cell, largest, mass = 2 * cell, coarser(largest, np.max), coarser(mass, np.sum)
            yield cell, largest, mass

    @cached_property
    def blocks(self) -> np.ndarray:
        """Mass of each block that a block-sparse mask may choose, float32 (blocks, blocks)."""
        if self.block < self.cell:
            raise ValueError(f"block is {self.block}, finer than the pyramid's squares of {self.cell}.")
        return next(mass for cell, _, mass in self.levels() if cell == self.block).astype(np.float32)

    def kept(self, mask: Mask) -> float:
        """The share of this head's mass that the mask keeps, from 0 to 1. Exact: no bracket, whatever the window."""
        mask = mask.check(self.tokens, self.allowed.causal)
        return total(Mass(self), mask, self.allowed.causal, self.chosen(mask)) / self.tokens

    def pairs(self, mask: Mask) -> float:
        """The share of this attention's pairs that the mask reads, from 0 to 1."""
        mask = mask.check(self.tokens, self.allowed.causal)
        counts = Pairs(self.tokens, self.block, self.allowed)
        return total(counts, mask, self.allowed.causal, self.chosen(mask)) / counts.everything()

    def chosen(self, mask: Mask) -> tuple[np.ndarray, np.ndarray]:
        """The blocks that the mask keeps beside the rest: (query blocks, key blocks). Kept keys do not weigh again."""
        if not mask.blocks:
            return np.zeros(0, int), np.zeros(0, int)
        reach = band_reach(mask.window, self.allowed.causal)
        masses, mass = self.blocks.astype(np.float64), Mass(self)
        for key in mask.keys():
            masses[:, key // self.block] -= [mass.column_part(key, span) for span in range(len(masses))]
        return heaviest(masses, mask.blocks, self.block, reach, self.allowed.causal)


class Mass:
    """The measure that weighs: each pair counts its weight. See `widgets.atlas.mask.Measure`."""

    def __init__(self, head: HeadMap):
        self.head, self.tokens, self.block = head, head.tokens, head.block

    def everything(self) -> float:
        return float(self.tokens)

    def band(self, reach: int) -> float:
        return float(self.head.near[min(reach, self.tokens - 1)]) if reach >= 0 else 0.0

    def column(self, key: int, reach: int) -> float:
        return self._outside(self.head.column(key), key, reach)

    def row(self, query: int, reach: int) -> float:
        return self._outside(self.head.row(query), query, reach)

    def _outside(self, line: np.ndarray, at: int, reach: int) -> float:
        return float(line.sum() if reach < 0 else line[: max(at - reach, 0)].sum() + line[at + reach + 1 :].sum())

    def pair(self, query: int, key: int) -> float:
        return float(self.head.row(query)[key])

    def squares(self, rows: np.ndarray, columns: np.ndarray) -> float:
        return float(self.head.blocks[rows, columns].sum(dtype=np.float64))

    def column_part(self, key: int, block: int) -> float:
        return float(self.head.column(key)[block * self.block : (block + 1) * self.block].sum())

    def row_part(self, query: int, block: int) -> float:
        return float(self.head.row(query)[block * self.block : (block + 1) * self.block].sum())


def coarser(squares: np.ndarray, reduce) -> np.ndarray:
    """One level up: 2 x 2 squares make one. An odd edge is filled with nothing."""
    side = math.ceil(len(squares) / 2)
    filled = np.zeros((2 * side, 2 * side), squares.dtype)
    filled[: len(squares), : len(squares)] = squares
    return reduce(filled.reshape(side, 2, side, 2), axis=(1, 3))
