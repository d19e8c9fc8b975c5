"""The tile machine: a small fast memory (SRAM) beside a large slow one (HBM), which counts every byte that moves."""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FrameType

import torch
from torch import Tensor


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
        self._program = 0
        self._running: CodeType | None = None
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

    @property
    def held(self) -> int:
        """Bytes of the results of arithmetic that are in SRAM now."""
        return sum(tile.nbytes for name, tile in self.live.items() if name not in self._loaded)

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
        direct = sys._getframe(2)
        frame: FrameType | None = direct
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
