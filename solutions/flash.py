"""Flash attention: exact attention that never writes the score matrix, and the bytes it moves instead.

A softmax can be read in pieces (Milakov & Gimelshein, 2018), with a running maximum m and a running sum ℓ:

    m' = max(m, max x)        ℓ' = e^(m - m') ℓ + Σ e^(x - m')        acc' = e^(m - m') acc + e^(x - m') V

So scores are made tile by tile in a small fast memory (SRAM) and thrown away; the large slow memory (HBM) sees only
q, k, v, the output, and one number a row, the log-sum-exp (Dao et al., 2022; loop order of Dao, 2023).

Statistics (maxima, sums, log-sum-exps), and sums that go on from part to part, are float32 also of half precision, and
float64 of float64: at a log-sum-exp of 9.7 the next bfloat16 is 0.0625 away. Outputs are rounded once, to q's dtype.

Shapes: one head, q (queries, d), k and v (keys, d); a program owns block_m queries and steps over block_n keys. With
fewer queries than keys, the queries are the last tokens. All bytes are issued element bytes, between HBM and SRAM: what
loads and stores ask for, before any cache. `TileMachine` counts them as they happen, the formulas at the end predict
them, and the Triton kernels of solutions/flash_kernels.py move the same.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType

import torch
from torch import Tensor

from solutions.accepts import pattern_is_sound, queries_are_last
from solutions.shapes import counts, same_kind, same_sizes, shapes

# A softmax in pieces -----------------------------------------------------------------------------------------------


def chunks_fit(chunks: Sequence[Tensor]) -> None:
    """Raise ValueError unless there is a chunk, and all are floating tensors that differ in their last size only."""
    named = {f"chunk {index}": chunk for index, chunk in enumerate(chunks)}
    if not named:
        raise ValueError("chunks is empty; give at least one tensor of scores.")
    same_kind(named)
    same_sizes(named, {name: f"... c{index}" for index, name in enumerate(named)})


@shapes(check=chunks_fit)
def online_softmax(chunks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The maximum of a row and its sum of exponentials, from pieces that are each read once.

    chunks: tensors of scores, (..., any length) each; -inf means "not this key"
    Returns (maximum, total), (...) each, with total = Σ exp(score - maximum): log_sum_exp is maximum + log(total).
    Both are float32 also of half precision, and float64 of float64. A row of nothing but -inf has total 0 and, for its
    maximum, the most negative finite number of the dtype returned.
    """
    wide = torch.promote_types(chunks[0].dtype, torch.float32)
    maximum = torch.full_like(chunks[0][..., 0], torch.finfo(wide).min, dtype=wide)  # -inf - (-inf) would be nan
    total = torch.zeros_like(maximum)
    for chunk in chunks:
        new_maximum = torch.maximum(maximum, chunk.amax(dim=-1))
        alpha = torch.exp(maximum - new_maximum)  # the change of unit
        total = alpha * total + torch.exp(chunk - new_maximum[..., None]).sum(dim=-1)
        maximum = new_maximum
    return maximum, total


@shapes(
    out_a="... rows d",
    lse_a="... rows",
    out_b="... rows d",
    lse_b="... rows",
    any_dtype=("lse_a", "out_b", "lse_b"),
)
def merge(out_a: Tensor, lse_a: Tensor, out_b: Tensor, lse_b: Tensor) -> tuple[Tensor, Tensor]:
    """Join what the same queries found among two disjoint sets of keys.

    out_a, out_b: (..., rows, d), each a finished attention; lse_a, lse_b: (..., rows), the log-sum-exp of their scores
    Returns (out, lse) of the keys together, both float32 also of half precision, and float64 of float64: round when all
    parts are joined. A part that saw no key has lse -inf and weighs nothing; where neither saw one, out is 0 and lse
    -inf.
    """
    wide = torch.promote_types(lse_a.dtype, torch.float32)
    maximum = torch.maximum(lse_a, lse_b).to(wide).clamp(min=torch.finfo(wide).min)  # -inf - (-inf) would be nan
    weight_a, weight_b = torch.exp(lse_a - maximum), torch.exp(lse_b - maximum)
    total = weight_a + weight_b
    out = weight_a[..., None] * out_a + weight_b[..., None] * out_b
    return out / total.clamp(min=1)[..., None], maximum + torch.log(total)


@counts("splits")
@shapes(q="... queries d", k="... keys d", v="... keys d_value")
def split_attention(q: Tensor, k: Tensor, v: Tensor, splits: int) -> Tensor:
    """Attention over the keys in `splits` parts that need nothing from each other, then merged (flash-decoding).

    q: (..., queries, d); k: (..., keys, d); v: (..., keys, d_value)
    Returns (..., queries, d_value) in q's dtype. A part has ceil(keys / splits) keys, so the last ones may be shorter,
    or empty. No tensor it makes is larger than the keys, the values or the scores of one part. Of half precision
    scores, log-sum-exps and what is merged are float32 or better, and the result is rounded once.
    """
    size, wide = math.ceil(k.shape[-2] / splits), torch.promote_types(q.dtype, torch.float32)
    q_wide = q.to(wide)
    out = torch.zeros_like(q[..., :1] * v[..., :1, :], dtype=torch.float64)  # as is lse: 200 roundings would add up
    lse = torch.full_like(q[..., 0], -math.inf, dtype=torch.float64)
    for start in range(0, splits * size, size):
        k_part, v_part = k[..., start : start + size, :].to(wide), v[..., start : start + size, :].to(wide)
        scores = q_wide @ k_part.transpose(-2, -1) / math.sqrt(q.shape[-1])
        part_lse = torch.logsumexp(scores, dim=-1)
        weights = torch.exp(scores - part_lse[..., None])
        out, lse = merge(out, lse, weights @ v_part, part_lse)
    return out.to(q.dtype)


# The tile machine --------------------------------------------------------------------------------------------------


class SRAMOverflow(MemoryError):
    """A tile did not fit beside the others."""


@dataclass(frozen=True)
class Event:
    """One load, store or dot of a tile machine.

    kernel: the function that opened the program, or called the machine if none did; line: where it stood in its file
    program: index of the program; iteration: how often this program came by this line for this tensor before
    tensor: its name in HBM, "" for a dot; rows, columns: half-open, of the tile in it; element_bytes: that were moved
    flops: of a dot, a multiplication and an addition counted as two
    live: name -> (shape, bytes) of each tile in SRAM just after the event; vectors: those with one dimension
    """

    kernel: str
    program: int
    kind: str  # "load", "store" or "dot"
    tensor: str
    rows: tuple[int, int]
    columns: tuple[int, int]
    element_bytes: int
    flops: int
    iteration: int
    line: int
    live: dict[str, tuple[tuple[int, ...], int]]
    vectors: dict[str, Tensor]


class TileMachine:
    """Two memories: HBM holds whole tensors, and SRAM of `capacity` bytes holds tiles. What passes between is counted.

    It runs programs one after the other, each with the SRAM to itself, as one block of threads on a GPU has. Tiles have
    names, and a name given again replaces the tile. A tile that was loaded and then dropped or replaced is filled with
    nan, so that using it shows. Results of arithmetic that live longer than one line belong in `hold`.

    `live` maps the names in SRAM to their tiles, `peak` is the most bytes they ever had together, `events` the list of
    what happened, `tensors` the tensors in HBM by name, `code` the functions that ran programs.
    Raises SRAMOverflow when a tile does not fit, and ValueError for one that is not there.
    """

    def __init__(self, capacity: float = math.inf):
        if not isinstance(capacity, int | float) or not capacity > 0:
            raise ValueError(f"capacity is {capacity!r} bytes; give a number above 0, for example 100 * 1024.")
        self.capacity = capacity
        self.tensors: dict[str, Tensor] = {}
        self.live: dict[str, Tensor] = {}
        self.peak = 0
        self.events: list[Event] = []
        self.code: dict[str, CodeType] = {}
        self._program, self._running = 0, None
        self._loaded: set[str] = set()
        self._passes: dict[tuple, int] = {}

    def hbm(self, name: str, tensor: Tensor) -> Tensor:
        """Know a tensor, (rows,) or (rows, columns), as lying in HBM under a name; costs nothing. Returns it."""
        if not isinstance(tensor, Tensor) or tensor.dim() not in (1, 2):
            shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(f"{name} is {shape}; the machine runs one head, give a tensor (rows,) or (rows, columns).")
        if any(known is tensor and other != name for other, known in self.tensors.items()):
            tensor = tensor[:]  # k and v may be one tensor, and still are two
        self.tensors[name] = tensor
        return tensor

    def empty(self, name: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Make room in HBM for a result; costs nothing. It holds nan until it is stored to."""
        return self.hbm(name, torch.full(tuple(shape), math.nan, dtype=dtype))

    @contextmanager
    def program(self, index: int) -> Iterator[None]:
        """Run what stands in the `with` as program `index`, whose SRAM is empty at first and is emptied at the end."""
        code = sys._getframe(2).f_code  # past contextlib's __enter__
        before = self._program, self._running
        self.drop(*self.live)
        self._program, self._running = index, code
        try:
            yield
        finally:
            self.drop(*self.live)
            self._program, self._running = before

    def load(self, name: str, tensor: Tensor, rows: slice, columns: slice = slice(None)) -> Tensor:
        """Copy a tile of a tensor in HBM to SRAM, under a name. A slice past the tensor's end is cut there."""
        place = self._place(tensor, rows, columns)
        tile = tensor[place].clone()
        self._put(name, tile, loaded=True)
        self._note("load", tensor, place, element_bytes=tile.nbytes)
        return tile

    def hold(self, name: str, tile: Tensor) -> Tensor:
        """Keep a result of arithmetic in SRAM, under a name: it needs room, but nothing moves. Returns it."""
        self._put(name, tile, loaded=False)
        return tile

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        """a @ b, the sums in float32 at least, noted as a dot with its FLOPs. `hold` the result."""
        wide = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
        product = a.to(wide) @ b.to(wide)
        self._note("dot", flops=2 * product.numel() * a.shape[-1])
        return product

    def store(self, tensor: Tensor, rows: slice, value: Tensor, columns: slice = slice(None)) -> None:
        """Write a value over a tile of a tensor in HBM, in the tensor's dtype."""
        place = self._place(tensor, rows, columns)
        target = tensor[place]
        if value.shape != target.shape:
            raise ValueError(
                f"the value has shape {tuple(value.shape)}, but rows {rows.start} to {rows.stop} of "
                f"{self._name(tensor)} have {tuple(target.shape)}; store one number for each entry."
            )
        target.copy_(value)
        self._note("store", tensor, place, element_bytes=target.nbytes)

    def drop(self, *names: str) -> None:
        """Free the room of tiles. What was loaded is filled with nan, since it may not be used any more."""
        for name in names:
            if name not in self.live:
                held = ", ".join(self.live) or "nothing"
                raise ValueError(f"there is no tile {name!r} in SRAM, which holds {held}; load or hold it first.")
            self._forget(name)

    def issued_bytes(self, tensor: str | None = None, kind: str | None = None, program: int | None = None) -> int:
        """Bytes loaded and stored so far: of one tensor, one kind ("load" or "store"), one program, or in all."""
        wanted = {"tensor": tensor, "kind": kind, "program": program}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        return sum(
            event.element_bytes
            for event in self.events
            if all(getattr(event, name) == value for name, value in wanted.items())
        )

    def by_tensor(self) -> dict[str, int]:
        """Name in HBM -> bytes loaded from it and stored to it so far."""
        return {name: self.issued_bytes(name) for name in self.tensors}

    def __repr__(self) -> str:
        return f"TileMachine: {self.issued_bytes():,} bytes issued, peak {self.peak:,} of {self.capacity:,} bytes"

    def _name(self, tensor: Tensor) -> str:
        for name, known in self.tensors.items():
            if known is tensor:
                return name
        shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(f'a tensor {shape} is not in HBM; say x = machine.hbm("x", x) before it is loaded or stored.')

    def _place(self, tensor: Tensor, rows: slice, columns: slice) -> tuple[slice, ...]:
        """The slices, cut to the tensor. Raises ValueError unless they are whole ranges with something in them."""
        name, place = self._name(tensor), []
        for what, part, size in zip(("rows", "columns"), (rows, columns), tensor.shape, strict=False):
            if not isinstance(part, slice) or part.step not in (None, 1):
                raise ValueError(f"{what} of {name} are given as {part!r}; give a slice(start, stop).")
            start, stop, _ = part.indices(size)
            if start >= stop:
                raise ValueError(f"{what} {part.start} to {part.stop} of {name}, which has {size}: nothing is there.")
            place.append(slice(start, stop))
        return tuple(place)

    def _put(self, name: str, tile: Tensor, loaded: bool) -> None:
        others = sum(other.nbytes for key, other in self.live.items() if key != name)
        if others + tile.nbytes > self.capacity:
            beside = ", ".join(f"{key} {other.nbytes:,}" for key, other in self.live.items() if key != name)
            raise SRAMOverflow(
                f"tile {name!r} {tuple(tile.shape)} needs {tile.nbytes:,} bytes, but of {self.capacity:,} only "
                f"{self.capacity - others:,} are free ({beside or 'nothing else is held'}); "
                "drop a tile that is used up, or make the blocks smaller."
            )
        if name in self.live:
            self._forget(name, replaced_by=tile)
        self.live[name] = tile
        if loaded:
            self._loaded.add(name)
        self.peak = max(self.peak, others + tile.nbytes)

    def _forget(self, name: str, replaced_by: Tensor | None = None) -> None:
        tile = self.live.pop(name)
        address = tile.untyped_storage().data_ptr()
        changed_in_place = replaced_by is not None and replaced_by.untyped_storage().data_ptr() == address
        if name in self._loaded and not changed_in_place:
            tile.fill_(math.nan)
        self._loaded.discard(name)

    def _note(self, kind, tensor=None, place=(), element_bytes=0, flops=0) -> None:
        frame = direct = sys._getframe(2)
        while self._running is not None and frame is not None and frame.f_code is not self._running:
            frame = frame.f_back
        frame = frame or direct
        name = "" if tensor is None else self._name(tensor)
        ranges = [(part.start, part.stop) for part in place] + [(0, 1)] * (2 - len(place))
        passes = (self._program, frame.f_code, frame.f_lineno, name, kind)
        self._passes[passes] = self._passes.get(passes, -1) + 1
        self.code[frame.f_code.co_name] = frame.f_code
        self.events.append(
            Event(
                kernel=frame.f_code.co_name,
                program=self._program,
                kind=kind,
                tensor=name,
                rows=ranges[0],
                columns=ranges[1],
                element_bytes=element_bytes,
                flops=flops,
                iteration=self._passes[passes],
                line=frame.f_lineno,
                live={name: (tuple(tile.shape), tile.nbytes) for name, tile in self.live.items()},
                vectors={name: tile.clone() for name, tile in self.live.items() if tile.dim() == 1},
            )
        )


# Attention on it ---------------------------------------------------------------------------------------------------


def machine_fits(machine: TileMachine, q: Tensor, k: Tensor, causal: bool, **_) -> None:
    """Raise ValueError unless there is a machine and the queries can be the last tokens."""
    if not all(hasattr(machine, name) for name in ("hbm", "load", "hold", "store")):  # a notebook may bring its own
        raise ValueError(f"machine is of type {type(machine).__name__}; give a TileMachine(capacity).")
    queries_are_last(q, k, causal)


def on_machine(**specs: str):
    """Decorate an attention on a tile machine with the shapes of its tensors and its whole block sizes."""

    def decorate(function):
        return counts("block_m", "block_n")(shapes(**specs, check=machine_fits)(function))

    return decorate


@on_machine(q="queries d", k="keys d", v="keys d")
def tiled_attention(
    machine: TileMachine, q: Tensor, k: Tensor, v: Tensor, *, block_m: int, block_n: int, causal: bool = False
) -> tuple[Tensor, Tensor]:
    """Flash attention: each program keeps block_m queries and their output in SRAM, and streams the keys past them.

    q: (queries, d); k, v: (keys, d); block_m, block_n: queries and keys of a tile
    Returns (out, lse), (queries, d) in q's dtype and (queries,) in float32 at least. (Dao, 2023, algorithm 1.)
    Raises SRAMOverflow when `peak_tile_bytes` does not fit.
    """
    queries, keys, head_dim = len(q), len(k), q.shape[-1]
    wide = torch.promote_types(q.dtype, torch.float32)  # sums stay in float32
    q, k, v = machine.hbm("q", q), machine.hbm("k", k), machine.hbm("v", v)
    out, lse = machine.empty("out", q.shape, q.dtype), machine.empty("lse", (queries,), wide)
    for index, first in enumerate(range(0, queries, block_m)):
        with machine.program(index):
            rows = slice(first, first + block_m)
            q_tile = machine.load("q", q, rows)
            acc = machine.hold("acc", torch.zeros_like(q_tile, dtype=wide))
            row_max = machine.hold("m", acc.new_full((len(acc),), -math.inf))
            row_sum = machine.hold("l", acc.new_zeros(len(acc)))
            position = torch.arange(first, first + len(acc)) + keys - queries
            end = min(keys, first + block_m + keys - queries) if causal else keys
            for start in range(0, end, block_n):
                columns = slice(start, start + block_n)
                k_tile = machine.load("k", k, columns)
                scores = machine.hold("scores", machine.dot(q_tile, k_tile.T) / math.sqrt(head_dim))
                machine.drop("k")  # v needs the room
                if causal:
                    ahead = torch.arange(start, start + len(k_tile)) > position[:, None]
                    scores = machine.hold("scores", scores.masked_fill(ahead, -math.inf))
                new_max = torch.maximum(row_max, scores.amax(dim=1))
                alpha = torch.exp(row_max - new_max)
                weights = machine.hold("scores", torch.exp(scores - new_max[:, None]))
                row_max = machine.hold("m", new_max)
                row_sum = machine.hold("l", alpha * row_sum + weights.sum(dim=1))
                v_tile = machine.load("v", v, columns)
                acc = machine.hold("acc", alpha[:, None] * acc + machine.dot(weights, v_tile))
                machine.drop("v")
            machine.store(out, rows, acc / row_sum[:, None])
            machine.store(lse, rows, row_max + torch.log(row_sum))
    return out, lse


@on_machine(q="queries d", k="keys d", v="keys d")
def flash1_attention(
    machine: TileMachine, q: Tensor, k: Tensor, v: Tensor, *, block_m: int, block_n: int, causal: bool = False
) -> tuple[Tensor, Tensor]:
    """The loops the other way round: keys outside, so that the output and its statistics travel on every pass.

    Arguments and result as in `tiled_attention`. (Dao et al., 2022, algorithm 1.) The zeros and -inf it begins with are
    taken as being in HBM. The output is rounded to q's dtype on every pass, as its bytes are counted there.
    """
    queries, keys, head_dim = len(q), len(k), q.shape[-1]
    wide = torch.promote_types(q.dtype, torch.float32)
    q, k, v = machine.hbm("q", q), machine.hbm("k", k), machine.hbm("v", v)
    out = machine.hbm("out", torch.zeros_like(q))
    row_max = machine.hbm("m", q.new_full((queries,), -math.inf, dtype=wide))
    row_sum = machine.hbm("l", q.new_zeros(queries, dtype=wide))
    with machine.program(0):
        for start in range(0, keys, block_n):
            columns = slice(start, start + block_n)
            k_tile, v_tile = machine.load("k", k, columns), machine.load("v", v, columns)
            lo, hi = query_range(start, block_m, block_n, queries, keys, causal)
            for first in range(lo, hi, block_m):
                rows = slice(first, first + block_m)
                q_tile, out_tile = machine.load("q", q, rows), machine.load("out", out, rows)
                old_max, old_sum = machine.load("m", row_max, rows), machine.load("l", row_sum, rows)
                scores = machine.hold("scores", machine.dot(q_tile, k_tile.T) / math.sqrt(head_dim))
                if causal:
                    scores = scores.masked_fill(hidden(first, start, scores.shape, queries, keys), -math.inf)
                    scores = machine.hold("scores", scores)
                new_max = torch.maximum(old_max, scores.amax(dim=1))
                weights = machine.hold("scores", torch.exp(scores - new_max[:, None]))
                old_share = torch.exp(old_max - new_max) * old_sum
                new_sum = old_share + weights.sum(dim=1)
                acc = old_share[:, None] * out_tile + machine.dot(weights, v_tile)
                machine.store(out, rows, machine.hold("out", acc / new_sum[:, None]))
                machine.store(row_max, rows, machine.hold("m", new_max))
                machine.store(row_sum, rows, machine.hold("l", new_sum))
    return out, row_max + torch.log(row_sum)


@on_machine(q="queries d", k="keys d", v="keys d")
def standard_attention(
    machine: TileMachine, q: Tensor, k: Tensor, v: Tensor, *, block_m: int, block_n: int, causal: bool = False
) -> Tensor:
    """Attention as three kernels, with the scores and the weights whole in HBM between them.

    Arguments as in `tiled_attention`; the first and last kernel work in tiles, the softmax on a row at a time.
    Returns out, (queries, d). With causal, nothing is skipped: all scores are made and masked.
    """
    q, k, v = machine.hbm("q", q), machine.hbm("k", k), machine.hbm("v", v)
    scores = machine.empty("scores", (len(q), len(k)), q.dtype)
    weights = machine.empty("weights", scores.shape, q.dtype)
    out = machine.empty("out", q.shape, q.dtype)
    make_scores(machine, q, k, scores, block_m, block_n, causal)
    softmax_rows(machine, scores, weights)
    weigh_values(machine, weights, v, out, block_m, block_n)
    return out


def make_scores(
    machine: TileMachine, q: Tensor, k: Tensor, scores: Tensor, block_m: int, block_n: int, causal: bool
) -> None:
    """First kernel of `standard_attention`: one program for each tile of the scores."""
    queries, keys = scores.shape
    tiles = [(first, start) for first in range(0, queries, block_m) for start in range(0, keys, block_n)]
    for index, (first, start) in enumerate(tiles):
        with machine.program(index):
            rows, columns = slice(first, first + block_m), slice(start, start + block_n)
            q_tile, k_tile = machine.load("q", q, rows), machine.load("k", k, columns)
            tile = machine.hold("scores", machine.dot(q_tile, k_tile.T) / math.sqrt(q.shape[-1]))
            if causal:
                tile = tile.masked_fill(hidden(first, start, tile.shape, queries, keys), -math.inf)
                tile = machine.hold("scores", tile)
            machine.store(scores, rows, tile, columns)


def softmax_rows(machine: TileMachine, scores: Tensor, weights: Tensor) -> None:
    """Second kernel of `standard_attention`: one program for each row."""
    wide = torch.promote_types(scores.dtype, torch.float32)
    for index in range(len(scores)):
        with machine.program(index):
            row = machine.load("row", scores, slice(index, index + 1))
            row = machine.hold("row", torch.softmax(row.to(wide), dim=-1))
            machine.store(weights, slice(index, index + 1), row)


def weigh_values(machine: TileMachine, weights: Tensor, v: Tensor, out: Tensor, block_m: int, block_n: int) -> None:
    """Third kernel of `standard_attention`: one program for each block of queries."""
    queries, keys = weights.shape
    for index, first in enumerate(range(0, queries, block_m)):
        with machine.program(index):
            rows = slice(first, first + block_m)
            acc = machine.hold("acc", torch.zeros_like(out[rows], dtype=torch.promote_types(v.dtype, torch.float32)))
            for start in range(0, keys, block_n):
                columns = slice(start, start + block_n)
                tile, v_tile = machine.load("weights", weights, rows, columns), machine.load("v", v, columns)
                acc = machine.hold("acc", acc + machine.dot(tile, v_tile))
            machine.store(out, rows, acc)


def hidden(first: int, start: int, shape: Sequence[int], queries: int, keys: int) -> Tensor:
    """Which entries of a tile of that shape, from query `first` and key `start` on, are keys after their query."""
    query_position = torch.arange(first, first + shape[0]) + keys - queries
    return torch.arange(start, start + shape[1]) > query_position[:, None]


# Backward, with the weights made again -----------------------------------------------------------------------------


@shapes(
    q="rows d", k="columns d", v="columns d", grad_out="rows d", lse="rows", delta="rows", any_dtype=("lse", "delta")
)
def backward_tile(
    q: Tensor, k: Tensor, v: Tensor, grad_out: Tensor, lse: Tensor, delta: Tensor, visible: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """What one tile of scores adds to the gradients (Dao et al., 2022, algorithm 4, lines 11 to 22).

    q, grad_out: (rows, d); k, v: (columns, d); visible: boolean (rows, columns), None for all
    lse: (rows,), of each query over all its keys; delta: (rows,), the row sums of out · grad_out
    Returns (grad_q, grad_k, grad_v), (rows, d) and twice (columns, d). Summed over all tiles they are the gradients, so
    they, lse and delta are float32 also of half precision.
    """
    q, k, v, grad_out = (each.to(torch.promote_types(each.dtype, torch.float32)) for each in (q, k, v, grad_out))
    scale = 1 / math.sqrt(q.shape[-1])
    scores = q @ k.T * scale
    if visible is not None:
        scores = scores.masked_fill(~visible, -math.inf)
    weights = torch.exp(scores - lse[:, None])  # the forward's, made again from one number a row
    grad_weights = grad_out @ v.T
    grad_scores = weights * (grad_weights - delta[:, None]) * scale
    return grad_scores @ k, grad_scores.T @ q, weights.T @ grad_out


def backward_fits(lse: Tensor, q: Tensor, **given) -> None:
    """Raise ValueError unless lse has one number for each query."""
    machine_fits(q=q, **given)
    if not isinstance(lse, Tensor) or lse.shape != q.shape[:1]:
        shape = tuple(lse.shape) if isinstance(lse, Tensor) else type(lse).__name__
        raise ValueError(f"lse is {shape}; give ({len(q)},), the log-sum-exp that the forward returned.")


@counts("block_m", "block_n")
@shapes(q="queries d", k="keys d", v="keys d", out="queries d", grad_out="queries d", check=backward_fits)
def tiled_backward(
    machine: TileMachine,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    grad_out: Tensor,
    *,
    block_m: int,
    block_n: int,
    causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `tiled_attention` by recomputation, in three kernels: delta, keys and values, queries.

    q, out, grad_out: (queries, d); k, v: (keys, d); lse: (queries,), natural, from the forward
    Returns (grad_q, grad_k, grad_v) in q's dtype. Nothing of queries x keys is ever stored.
    """
    tensors = {"q": q, "k": k, "v": v, "out": out, "lse": lse, "grad_out": grad_out}
    tensors = {name: machine.hbm(name, tensor) for name, tensor in tensors.items()}
    tensors["delta"] = machine.empty("delta", lse.shape, torch.promote_types(lse.dtype, torch.float32))
    for name in ("q", "k", "v"):
        tensors["grad_" + name] = machine.empty("grad_" + name, tensors[name].shape, q.dtype)
    row_deltas(machine, tensors, block_m)
    key_value_gradients(machine, tensors, block_m, block_n, causal)
    query_gradients(machine, tensors, block_m, block_n, causal)
    return tensors["grad_q"], tensors["grad_k"], tensors["grad_v"]


def row_deltas(machine: TileMachine, hbm: dict[str, Tensor], block_m: int) -> None:
    """delta, the row sums of out · grad_out: all that the softmax's gradient needs to know of the other keys."""
    wide = hbm["delta"].dtype
    for index, first in enumerate(range(0, len(hbm["q"]), block_m)):
        with machine.program(index):
            rows = slice(first, first + block_m)
            out, grad_out = machine.load("out", hbm["out"], rows), machine.load("grad_out", hbm["grad_out"], rows)
            machine.store(hbm["delta"], rows, (out.to(wide) * grad_out.to(wide)).sum(dim=1))


def remake(machine: TileMachine, tiles: dict[str, Tensor], future: Tensor | None) -> tuple[Tensor, Tensor]:
    """The weights of a tile and the gradient of its scores, both held."""
    scale = 1 / math.sqrt(tiles["q"].shape[-1])
    scores = machine.hold("weights", machine.dot(tiles["q"], tiles["k"].T) * scale)
    if future is not None:
        scores = machine.hold("weights", scores.masked_fill(future, -math.inf))
    weights = machine.hold("weights", torch.exp(scores - tiles["lse"][:, None]))
    grad_weights = machine.hold("grad_scores", machine.dot(tiles["grad_out"], tiles["v"].T))
    grad_scores = machine.hold("grad_scores", weights * (grad_weights - tiles["delta"][:, None]) * scale)
    return weights, grad_scores


def key_value_gradients(machine: TileMachine, hbm: dict[str, Tensor], block_m: int, block_n: int, causal: bool) -> None:
    """grad_k and grad_v: one program for each block of keys, which streams the queries that see it."""
    queries, keys = len(hbm["q"]), len(hbm["k"])
    for index, start in enumerate(range(0, keys, block_n)):
        with machine.program(index):
            columns = slice(start, start + block_n)
            tiles = {name: machine.load(name, hbm[name], columns) for name in ("k", "v")}
            grad_k = machine.hold("grad_k", torch.zeros_like(tiles["k"], dtype=hbm["delta"].dtype))
            grad_v = machine.hold("grad_v", torch.zeros_like(grad_k))
            lo, hi = query_range(start, block_m, block_n, queries, keys, causal)
            for first in range(lo, hi, block_m):
                rows = slice(first, first + block_m)
                tiles |= {name: machine.load(name, hbm[name], rows) for name in ("q", "grad_out", "lse", "delta")}
                future = hidden(first, start, (len(tiles["q"]), len(tiles["k"])), queries, keys) if causal else None
                weights, grad_scores = remake(machine, tiles, future)
                grad_v = machine.hold("grad_v", grad_v + machine.dot(weights.T, tiles["grad_out"]))
                grad_k = machine.hold("grad_k", grad_k + machine.dot(grad_scores.T, tiles["q"]))
            machine.store(hbm["grad_k"], columns, grad_k)
            machine.store(hbm["grad_v"], columns, grad_v)


def query_gradients(machine: TileMachine, hbm: dict[str, Tensor], block_m: int, block_n: int, causal: bool) -> None:
    """grad_q: one program for each block of queries, which streams the keys that it sees."""
    queries, keys = len(hbm["q"]), len(hbm["k"])
    for index, first in enumerate(range(0, queries, block_m)):
        with machine.program(index):
            rows = slice(first, first + block_m)
            tiles = {name: machine.load(name, hbm[name], rows) for name in ("q", "grad_out", "lse", "delta")}
            grad_q = machine.hold("grad_q", torch.zeros_like(tiles["q"], dtype=hbm["delta"].dtype))
            lo, hi = key_range(first, block_m, block_n, queries, keys, causal)
            for start in range(lo, hi, block_n):
                columns = slice(start, start + block_n)
                tiles |= {name: machine.load(name, hbm[name], columns) for name in ("k", "v")}
                future = hidden(first, start, (len(tiles["q"]), len(tiles["k"])), queries, keys) if causal else None
                _, grad_scores = remake(machine, tiles, future)
                grad_q = machine.hold("grad_q", grad_q + machine.dot(grad_scores, tiles["k"]))
            machine.store(hbm["grad_q"], rows, grad_q)


# Which tiles are visited -------------------------------------------------------------------------------------------


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

    The queries are the last tokens of the keys. window: each sees the last `window` keys, its own included; only if
    causal. lo is a multiple of block_n, and hi is not rounded up: the last step reads past it.
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


# Bytes, predicted --------------------------------------------------------------------------------------------------


@counts("n", "head_dim", "block_m", "block_n")
def flash_issued_bytes(n: int, head_dim: int, block_m: int, block_n: int, causal: bool = False) -> int:
    """Bytes that flash attention moves between HBM and SRAM, one head of n tokens in half precision.

    q, k, v and out have 2 bytes an element, the log-sum-exp 4 a row. With causal, a program steps over whole blocks of
    keys until the last one that its last query sees.
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

    window and sinks as in lesson 2; sinks take an extra pass over the first blocks, up to where the window begins.
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


# FlashAttention's figure 2, counted again --------------------------------------------------------------------------


@counts("queries", "keys", "head_dim")
def forward_flops(queries: int, keys: int, head_dim: int) -> int:
    """FLOPs of the two products of a forward, Q Kᵀ and P V, one head; a multiplication and an addition are two."""
    return 4 * queries * keys * head_dim


@counts("n", "head_dim")
def standard_training_flops(n: int, head_dim: int) -> int:
    """FLOPs of the products in forward and backward, one head: 2 forward, 4 backward (dV, dP, dQ, dK)."""
    return 3 * forward_flops(n, n, head_dim)


@counts("n", "head_dim")
def flash_training_flops(n: int, head_dim: int) -> int:
    """FLOPs of the products in forward and backward, one head: 2 forward, 5 backward, since Q Kᵀ is made again."""
    return 7 * forward_flops(n, n, head_dim) // 2


@counts("sram_elements", "head_dim")
def paper_blocks(sram_elements: int, head_dim: int) -> tuple[int, int]:
    """(block_m, block_n) by the rule of Dao et al. (2022), algorithm 1, line 1, for a SRAM of so many elements."""
    block_n = math.ceil(sram_elements / (4 * head_dim))
    return min(block_n, head_dim), block_n


@counts("n", "head_dim", "element_bytes")
def standard_training_bytes(n: int, head_dim: int, element_bytes: int = 2) -> int:
    """Bytes of forward and backward by algorithms 0 and 3 of Dao et al. (2022), each tensor read once, one head."""
    forward = 4 * n * n + 4 * n * head_dim
    backward = 7 * n * n + 8 * n * head_dim
    return (forward + backward) * element_bytes


@counts("n", "head_dim", "block_n", "element_bytes")
def flash1_training_bytes(
    n: int, head_dim: int, block_n: int, element_bytes: int = 2, *, zeros_written: bool = False
) -> int:
    """Bytes of forward and backward by algorithms 1 and 4 of Dao et al. (2022), one head.

    zeros_written: count also the zeros that out and the three gradients are set to before
    """
    passes = math.ceil(n / block_n)
    forward = (3 * passes + 2) * n * head_dim  # each pass: q and out in, out back; once: k and v
    backward = (5 * passes + 4) * n * head_dim  # each pass: q, out, grad_out, grad_q in, grad_q back; once the rest
    statistics = 6 * passes * n * 4  # m and l in and out, and in again for the backward, in float32
    zeros = 4 * n * head_dim if zeros_written else 0
    return (forward + backward + zeros) * element_bytes + statistics
