"""The byte meter: which tensors does running code make, for which variable, and how many bytes are alive at once?

Every operation that torch dispatches is seen, and every storage it brings is counted once, from the operation that made
it until it is freed. Not seen: the private workspace inside one operator (a fused attention's tiles), and tensors that
were there before the recording, such as the inputs. On a GPU the allocator's own history is recorded beside it, and
that one does see workspaces.
"""

import gc
import itertools
import sys
import weakref
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from solutions.quadratic import growth_exponent
from solutions.watch import Watch
from widgets.ledger import allocator
from widgets.ledger.roles import TEMPORARY, Roles

OURS = (str(Path(torch.__file__).parent), str(Path(__file__)))
COLUMNS = ("delta", "live", "role", "operation", "line")
EVENT = np.dtype(list(zip(COLUMNS, ("i8", "i8", "i4", "i4", "i4"), strict=True)))
FREED = "freed"


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in an argument or a result, however deep in lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors(item)
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))


def storage_of(tensor: Tensor) -> torch.UntypedStorage:
    if tensor.layout != torch.strided:
        raise ValueError(f"the Ledger counts dense tensors, and this code made one of layout {tensor.layout}")
    return tensor.untyped_storage()


def place_of(tensor: Tensor) -> str:
    """ "cpu, float32"; nothing for masks and indices, which say little about the numbers."""
    return f"{tensor.device}, {str(tensor.dtype).removeprefix('torch.')}" if tensor.is_floating_point() else ""


@contextmanager
def collector_paused() -> Iterator[None]:
    """Reference cycles stay until the end, so that the same code always gives the same events."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Names:
    """Words numbered in the order of their first use."""

    def __init__(self):
        self.index: dict[str, int] = {}

    def __getitem__(self, word: str) -> int:
        return self.index.setdefault(word, len(self.index))


@dataclass
class Held:
    """A storage that is alive."""

    watch: weakref.ref
    nbytes: int
    made_at: int | None  # the event that brought it; None for a storage from before the recording


class Meter(Watch):
    """Counts while it is entered."""

    def __init__(self, renamed: Mapping[str, str]):
        super().__init__()
        self.roles, self.operations, self.lines = Names(), Names(), Names()
        self.columns = {name: array("q") for name in COLUMNS}
        self.live = 0
        self.held: dict[int, Held] = {}
        self.place = ""
        self.renamed = renamed
        self.find = Roles(OURS, record.__code__)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        operation = function.overloadpacket.__name__
        if not operation.startswith("lift"):  # what torch.tensor(...) lifts is new, though it comes as an argument
            for tensor in tensors((args, kwargs)):
                self.meet(storage_of(tensor))
        for tensor in tensors(result):
            self.count(storage_of(tensor), operation)
            self.place = self.place or place_of(tensor)
        return result

    def meet(self, storage: torch.UntypedStorage) -> None:
        """Remember a storage that was there before, so that a view of it is never taken for a new one."""
        if storage._cdata not in self.held:
            self.hold(storage, 0, None)

    def count(self, storage: torch.UntypedStorage, operation: str) -> None:
        held = self.held.get(storage._cdata)
        if held is None:
            role, line = self.name()
            self.event(storage.nbytes(), role, operation, line)
            self.hold(storage, storage.nbytes(), len(self.columns["delta"]) - 1)
        elif held.made_at is not None:
            self.recount(storage, held, held.made_at, operation)

    def recount(self, storage: torch.UntypedStorage, held: Held, made_at: int, operation: str) -> None:
        """A storage seen again: an operation in place may have resized it, a view may have given it a variable."""
        role, line = self.columns["role"], self.columns["line"]
        if storage.nbytes() != held.nbytes:
            self.event(storage.nbytes() - held.nbytes, role[made_at], operation, line[made_at])
            held.nbytes = storage.nbytes()
        if role[made_at] == self.roles.index.get(TEMPORARY):
            role[made_at], line[made_at] = self.name()

    def hold(self, storage: torch.UntypedStorage, nbytes: int, made_at: int | None) -> None:
        key = storage._cdata
        self.held[key] = Held(weakref.ref(storage, partial(self.freed, key)), nbytes, made_at)

    def freed(self, key: int, _watch: weakref.ref) -> None:
        held = self.held.pop(key)
        if held.made_at is not None:
            role, line = self.columns["role"][held.made_at], self.columns["line"][held.made_at]
            self.event(-held.nbytes, role, FREED, line)

    def name(self) -> tuple[int, int]:
        role, line = self.find.of(sys._getframe(2))
        return self.roles[self.renamed.get(role, role)], self.lines[line]

    def event(self, delta: int, role: int, operation: str, line: int) -> None:
        self.live += delta
        for name, value in zip(COLUMNS, (delta, self.live, role, self.operations[operation], line), strict=True):
            self.columns[name].append(value)

    def stop(self) -> np.ndarray:
        """The events. What is freed from now on is no longer counted."""
        self.held.clear()
        events = np.empty(len(self.columns["delta"]), EVENT)
        for name in COLUMNS:
            events[name] = self.columns[name]
        return events


@dataclass(frozen=True)
class Recording:
    """What one run allocated.

    events: one for each storage made or freed: `delta` bytes, bytes `live` after it, and the indices of the `role`, the
    `operation` and the `line` of source in the tuples of those names
    result: what the run returned, still alive
    input_bytes: bytes of the tensors given to it, which are not counted in the events
    place: device and dtype, for example "cpu, float32"
    history: the CUDA allocator's own account, where there is one
    """

    events: np.ndarray
    roles: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    result: Any = field(default=None, repr=False)
    input_bytes: int = 0
    place: str = ""
    history: allocator.History | None = None

    @property
    def peak_at(self) -> int | None:
        """The first event after which the most bytes are alive; None if nothing was made."""
        return int(self.events["live"].argmax()) if len(self.events) else None

    @property
    def peak_bytes(self) -> int:
        """The most bytes alive at once."""
        return 0 if self.peak_at is None else int(self.events["live"][self.peak_at])

    def by_role(self, at: int | None = None) -> dict[str, int]:
        """Role -> bytes alive after event `at` (the peak, if None), the largest first; roles with none left out."""
        at = self.peak_at if at is None else at
        if at is None:
            return {}
        so_far = self.events[: at + 1]
        nbytes = np.zeros(len(self.roles), np.int64)
        np.add.at(nbytes, so_far["role"], so_far["delta"])
        order = sorted(range(len(self.roles)), key=lambda role: (-nbytes[role], role))
        return {self.roles[role]: int(nbytes[role]) for role in order if nbytes[role]}


def record(fn: Callable, *args: Any, roles: Mapping[str, str] | None = None, **kwargs: Any) -> Recording:
    """Run `fn(*args, **kwargs)` and record what it allocates, to the byte.

    roles: other names for the variables in the code, for example {"p": "weights"}
    Whatever `fn` raises comes through.
    """
    given = list(tensors((args, kwargs)))
    inputs = {storage._cdata: storage for storage in map(storage_of, given)}
    meter = Meter(roles or {})
    for storage in inputs.values():
        meter.meet(storage)
    with collector_paused(), allocator.recorded(given) as histories, meter:
        result = fn(*args, **kwargs)
    return Recording(
        events=meter.stop(),
        roles=tuple(meter.roles.index),
        operations=tuple(meter.operations.index),
        lines=tuple(meter.lines.index),
        result=result,
        input_bytes=sum(storage.nbytes() for storage in inputs.values()),
        place=next(filter(None, map(place_of, given)), meter.place),
        history=histories[0] if histories else None,
    )


@dataclass(frozen=True)
class Sweep:
    """Peak bytes of several methods over several lengths.

    peak_bytes: method -> (lengths,) int64, shorter where a method was not measured at the last lengths
    by_role: method -> role -> (lengths,) int64, the bytes alive at each peak
    what, counted: what the bytes are, and which of them, in words
    """

    lengths: np.ndarray
    peak_bytes: dict[str, np.ndarray]
    by_role: dict[str, dict[str, np.ndarray]]
    place: str = ""
    what: str = "peak bytes allocated"
    counted: str = "tensors made by the run, each counted once, inputs not"

    @classmethod
    def of(
        cls, measured: Mapping[str, Mapping[int, int]], *, what: str, counted: str, place: str = "cpu, float32"
    ) -> "Sweep":
        """A sweep of bytes that were read off elsewhere: `{"Infini": {1024: 16_896, 2048: 16_896}}`.

        measured: method -> tokens -> bytes; a method may end before the others, and is drawn as far as it goes
        what, counted: as above, for example "bytes of state" and "M and z of all layers"
        Raises ValueError unless all methods begin at the same length and each has two or more, without gaps.
        """
        lengths = sorted({n for nbytes in measured.values() for n in nbytes})
        for name, nbytes in measured.items():
            if len(nbytes) < 2 or sorted(nbytes) != lengths[: len(nbytes)]:
                raise ValueError(
                    f"{name!r} was measured at {sorted(nbytes)} tokens, all methods together at {lengths}; "
                    "give each two or more of them, from the first on and without gaps"
                )
            if min(nbytes.values()) < 0:
                raise ValueError(f"{name!r} has {min(nbytes.values())} bytes; give 0 or more")
        if not lengths or lengths[0] < 1:
            raise ValueError(f"the lengths are {lengths}; give at least one method, with lengths from 1 token on")
        peaks = {name: np.array([nbytes[n] for n in sorted(nbytes)], np.int64) for name, nbytes in measured.items()}
        return cls(np.array(lengths, np.int64), peaks, {name: {} for name in measured}, place, what, counted)

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(self.peak_bytes)

    def exponent(self, method: str, role: str | None = None, last: int = 3) -> float | None:
        """The p in "grows as nᵖ", fitted to the `last` lengths, where fixed costs no longer flatten it.

        Of the whole peak, or of one role in it. None where it held no bytes, which has no logarithm.
        """
        nbytes = self.peak_bytes[method] if role is None else self.by_role[method][role]
        lengths, nbytes = self.lengths[: len(nbytes)][-last:].tolist(), nbytes[-last:].tolist()
        return growth_exponent(lengths, nbytes) if min(nbytes) > 0 else None


def sweep(
    methods: Mapping[str, Callable],
    lengths: Sequence[int],
    inputs: Callable[[int], tuple],
    roles: Mapping[str, str] | None = None,
) -> Sweep:
    """Record each method once at each length.

    methods: name -> function; lengths: tokens, rising; inputs: length -> the arguments of every method
    Raises ValueError for no method, or lengths that are not at least two rising whole numbers.
    """
    if not methods:
        raise ValueError("sweep was given no methods; give a dict from name to function")
    lengths = [int(n) for n in lengths]
    if len(lengths) < 2 or lengths[0] < 1 or any(a >= b for a, b in itertools.pairwise(lengths)):
        raise ValueError(f"sweep needs two or more rising lengths, each at least 1, and was given {lengths}")
    peaks = {name: np.zeros(len(lengths), np.int64) for name in methods}
    by_role: dict[str, dict[str, np.ndarray]] = {name: {} for name in methods}
    place = ""
    for i, n in enumerate(lengths):
        for name, fn in methods.items():
            recording = record(fn, *inputs(n), roles=roles)
            peaks[name][i] = recording.peak_bytes
            for role, nbytes in recording.by_role().items():
                by_role[name].setdefault(role, np.zeros(len(lengths), np.int64))[i] = nbytes
            place = recording.place
    return Sweep(np.array(lengths, np.int64), peaks, by_role, place)
