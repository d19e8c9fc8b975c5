"""What a kernel moves: every load, store, atomic and dot of every program, and the three numbers made of them.

    issued       bytes that programs ask for: the lanes that are on, times the element's size
    L2 model     bytes that a cache of a given size would fetch from memory for the reads: a model, not a measurement
    compulsory   bytes of the distinct 32-byte sectors: what must move once, however large the cache

`sector_bytes` are the issued accesses in whole 32-byte sectors, as hardware moves them. Issued and sector bytes differ
at ragged edges and in gathers. An atomic reads and writes. Reads and writes are told apart, since the L2 model is of
reads alone: for kind="read", compulsory <= L2 model <= sector bytes.

`trace(kernel)[grid](*args, **meta)` runs one kernel, `traced(function, ...)` whatever a function launches. Both run
the kernels on this machine's CPU and return a Trace: arrays, made once, that every widget reads.
"""

import inspect
import itertools
import json
import linecache
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import torch

from solutions import interpreter
from solutions.interpreter import (
    Access,
    Argument,
    Dot,
    Launch,
    Launchable,
    Listener,
    interpreted,
    listening,
    live_tiles,
)

SECTOR = 32  # bytes: the unit in which the L2 cache answers
KINDS = ("load", "store", "atomic", "dot")
HALVES = {"read": ("load", "atomic"), "write": ("store", "atomic")}  # an atomic is one of each
NO_TENSOR = 255  # of a dot
RECORDED = Path(__file__).parent / "recorded"

EVENT = np.dtype(
    [
        ("kernel", "u1"),
        ("program", "i4"),  # index into Trace.programs
        ("tensor", "u1"),  # index into Trace.tensors, NO_TENSOR for a dot
        ("kind", "u1"),  # index into KINDS
        ("element_bytes", "i8"),  # lanes that are on, times the element's size; an atomic moves twice this
        ("sectors", "i4"),  # distinct 32-byte sectors
        ("lanes", "i4"),
        ("masked", "i4"),  # lanes that are off
        ("flops", "i8"),
        ("iteration", "i4"),  # how often this program touched this tensor on this line before
        ("line", "i4"),  # of the kernel; 1 is its `def`
        ("leading", "i4"),  # linear index over all but the last two dimensions
        ("row0", "i4"),  # the tile's bounding rectangle in the last two dimensions, half open
        ("row1", "i4"),
        ("col0", "i4"),
        ("col1", "i4"),
        ("live", "i4"),  # index into Trace.live
    ]
)
RUN = np.dtype([("event", "i4"), ("first", "i8"), ("count", "i4")])  # sectors, counted from the tensor's first


@dataclass(eq=False)
class Trace:
    """What one or several kernels did, in order.

    source          who counted: "Triton 3.7.1 interpreter", "tile machine", "recorded: ..."
    kernels         {"name", "grid", "lines", "first_line"}: the source's lines from `def` on, and its line in the file
    tensors         {"name", "shape", "dtype", "element_bytes"}
    programs        (programs, 3): x, y, z; `program_kernel` (programs,) is the kernel of each
    events          dtype EVENT, one row an event
    runs            dtype RUN: the sectors of each event, as runs of neighbours
    live            the distinct sets of named tiles, {name: [bytes, shape]}; events["live"] points into it
    rows            {program: {name: (events of that program, block)}}: the one-dimensional floating-point tiles before
                    each event of a few programs, nan before the name exists
    """

    source: str
    kernels: list[dict[str, Any]]
    tensors: list[dict[str, Any]]
    programs: np.ndarray
    program_kernel: np.ndarray
    events: np.ndarray
    runs: np.ndarray
    live: list[dict[str, list]]
    rows: dict[int, dict[str, np.ndarray]]
    _reuses: dict[int, tuple] = field(default_factory=dict, init=False, repr=False)

    # Totals ------------------------------------------------------------------------------------------------------

    def issued_bytes(self, tensor: str | None = None, program=None, kind: str | None = None) -> int:
        """Bytes asked for: lanes that are on, times the element's size; an atomic counts twice, as read and write.

        tensor: a name; program: an index, or its (x, y) or (x, y, z) in the first kernel; kind: one of KINDS, or "read"
        or "write", which have one half of every atomic each.
        """
        chosen = self.events[self._chosen(tensor, program, kind)]
        return int((chosen["element_bytes"] * _times(chosen, kind)).sum())

    def sector_bytes(self, tensor: str | None = None, program=None, kind: str | None = None) -> int:
        """The same in whole 32-byte sectors, each once an event: what passes between a program and L2."""
        chosen = self.events[self._chosen(tensor, program, kind)]
        return int((chosen["sectors"] * _times(chosen, kind)).sum()) * SECTOR

    def compulsory_bytes(self, tensor: str | None = None, kind: str | None = None) -> int:
        """Bytes of distinct sectors read plus distinct sectors written: each moves once at least.

        What one kernel writes and a later one reads counts in both, as if nothing stayed in a cache between them.
        """
        chosen = self._chosen(tensor, None, kind)[self.runs["event"]]
        kinds = self.events["kind"][self.runs["event"]]
        reads = self.runs[chosen & (kinds != KINDS.index("store")) & (kind != "write")]
        writes = self.runs[chosen & (kinds != KINDS.index("load")) & (kind != "read")]
        return (self._distinct(reads) + self._distinct(writes)) * SECTOR

    def l2_bytes(self, capacity: float, concurrent_programs: int, tensor: str | None = None) -> int:
        """Bytes that a cache of `capacity` bytes fetches for the reads: a model.

        Least recently used sectors leave first. Programs start in waves of `concurrent_programs`, x fastest, and a
        wave advances in step, one load or atomic of every program after the other; stores are left out.
        capacity=math.inf gives the compulsory bytes of the reads, 0 their sector bytes.
        """
        if not capacity >= 0 or concurrent_programs < 1:
            raise ValueError(
                f"capacity is {capacity}, concurrent_programs {concurrent_programs}; "
                "give 0 bytes or more (math.inf for unlimited) and at least 1 program."
            )
        tensors, weights, distances = self._reuse(int(concurrent_programs))
        missed = distances > (capacity // SECTOR if capacity < math.inf else np.finfo(float).max)
        if tensor is not None:
            missed &= tensors == self._tensor(tensor)
        return int(weights[missed].sum()) * SECTOR

    def peak_live_bytes(self, program=None) -> int:
        """The most bytes of named tiles that a program holds at once, in registers and shared memory together."""
        sizes = np.array([sum(size for size, _ in tiles.values()) for tiles in self.live] or [0])
        chosen = self.events[self._chosen(None, program, None)]
        return int(sizes[chosen["live"]].max(initial=0))

    def flops(self) -> int:
        """Multiplications and additions of the dots: 2 m n k each."""
        return int(self.events["flops"].sum())

    def by_tensor(self) -> dict[str, dict[str, int]]:
        """{name: {"issued", "sector", "compulsory"}} in bytes."""
        return {
            name: {
                "issued": self.issued_bytes(name),
                "sector": self.sector_bytes(name),
                "compulsory": self.compulsory_bytes(name),
            }
            for name in self.names
        }

    def summary(self, capacity: float = 50 * 2**20, concurrent_programs: int = 132) -> str:
        """A table of each tensor's bytes, read and written. The cache is an H100's unless another's given.

        Read: issued, L2 model, compulsory; written: issued, compulsory. A dash where nothing is.
        """
        rows: list[tuple[str, ...]] = [("", "read: issued", "L2 model", "compulsory", "written: issued", "compulsory")]
        for name in [*self.names, None]:
            found = [
                self.issued_bytes(name, kind="read"),
                self.l2_bytes(capacity, concurrent_programs, name),
                self.compulsory_bytes(name, kind="read"),
                self.issued_bytes(name, kind="write"),
                self.compulsory_bytes(name, kind="write"),
            ]
            rows.append((name or "all, bytes", *(f"{each:,}" if each else "-" for each in found)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join([a.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]).rstrip() for a, *rest in rows]
        note = f"L2 model: {capacity:,.0f} bytes of cache, {concurrent_programs} programs at a time."
        return "\n".join([*lines, note])

    @property
    def names(self) -> list[str]:
        """The tensors' names, in the order of the kernels' arguments."""
        return [tensor["name"] for tensor in self.tensors]

    def __repr__(self) -> str:
        kernels = " + ".join(kernel["name"] for kernel in self.kernels)
        return (
            f"<Trace of {kernels}: {len(self.programs):,} programs, {len(self.events):,} events, "
            f"{self.issued_bytes():,} bytes issued, {self.compulsory_bytes():,} compulsory; {self.source}>"
        )

    # Choosing ----------------------------------------------------------------------------------------------------

    def _tensor(self, name: str) -> int:
        if name not in self.names:
            raise ValueError(f"the trace has no tensor {name!r}; it has {', '.join(self.names)}.")
        return self.names.index(name)

    def program_index(self, program) -> int:
        """The index of a program given as an index, or as (x,), (x, y) or (x, y, z) of the first kernel."""
        if isinstance(program, tuple | list):
            place = (*program, 0, 0)[:3]
            found = np.flatnonzero((self.programs == place).all(1) & (self.program_kernel == 0))
        else:
            found = np.array([program] if 0 <= program < len(self.programs) else [])
        if len(found) != 1:
            raise ValueError(f"no program {program!r}; there are {len(self.programs)}, numbered from 0.")
        return int(found[0])

    def _chosen(self, tensor: str | None, program, kind: str | None) -> np.ndarray:
        chosen = np.ones(len(self.events), bool)
        if tensor is not None:
            chosen &= self.events["tensor"] == self._tensor(tensor)
        if program is not None:
            chosen &= self.events["program"] == self.program_index(program)
        if kind is not None:
            if kind not in (*KINDS, *HALVES):
                raise ValueError(f"kind is {kind!r}; give one of {', '.join((*KINDS, *HALVES))}.")
            chosen &= np.isin(self.events["kind"], [KINDS.index(each) for each in HALVES.get(kind, (kind,))])
        return chosen

    # Sectors -----------------------------------------------------------------------------------------------------

    def _places(self, runs: np.ndarray) -> np.ndarray:
        """Where each run begins when the tensors lie far apart on one line of sectors."""
        return runs["first"] + (self.events["tensor"][runs["event"]].astype(np.int64) << 48)

    def _distinct(self, runs: np.ndarray) -> int:
        """Number of distinct sectors in the runs: the length of their union."""
        first = self._places(runs)
        order = np.argsort(first, kind="stable")
        first, end = first[order], (first + runs["count"])[order]
        reached = np.maximum.accumulate(np.concatenate([[np.iinfo(np.int64).min], end[:-1]]))[: len(first)]
        return int(np.maximum(end - np.maximum(first, reached), 0).sum())

    def _reuse(self, concurrent: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Every touch of a segment by a read: its tensor, its sectors, and its reuse distance, in sectors.

        A segment is a run of sectors that no read's edge cuts. Its distance counts the distinct sectors touched since
        its last touch, itself included (inf for the first): an LRU cache hits exactly when it holds that many
        (Mattson and others, 1970). So one pass answers for every capacity.
        """
        if concurrent not in self._reuses:
            tensors, segments, weights = self._touches(concurrent)
            distances = _reuse_distances(segments, weights)
            self._reuses[concurrent] = tensors, weights[segments], distances
        return self._reuses[concurrent]

    def _touches(self, concurrent: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """In replay order: the tensor and the segment of every touch; and the sectors of every segment."""
        runs = self.runs[self._chosen(None, None, "read")[self.runs["event"]]]
        runs = runs[np.argsort(self._replayed(concurrent)[runs["event"]], kind="stable")]
        first = self._places(runs)
        edges = np.unique(np.concatenate([first, first + runs["count"]]))
        low, high = np.searchsorted(edges, first), np.searchsorted(edges, first + runs["count"])
        cuts = high - low
        within = np.arange(cuts.sum()) - np.repeat(np.cumsum(cuts) - cuts, cuts)
        tensors = np.repeat(self.events["tensor"][runs["event"]], cuts)
        return tensors, np.repeat(low, cuts) + within, np.diff(edges)

    def _replayed(self, concurrent: int) -> np.ndarray:
        """The place of every event in a replay: kernel by kernel, wave by wave, step by step, x fastest."""
        x, y, z = self.programs.T
        rank = np.empty(len(self.programs), np.int64)
        rank[np.lexsort((x, y, z, self.program_kernel))] = np.arange(len(self.programs))
        starts = np.searchsorted(np.sort(self.program_kernel), np.arange(len(self.kernels)))
        rank -= starts[self.program_kernel]  # within its kernel
        program = self.events["program"]
        is_read = self._chosen(None, None, "read")
        order = np.argsort(program, kind="stable")
        reads = np.cumsum(is_read[order]) - is_read[order]  # before this event, of all programs up to this one
        step = np.empty(len(program), np.int64)
        step[order] = reads - reads[np.searchsorted(program[order], program[order])]
        place = np.empty(len(program), np.int64)
        keys = (rank[program], step, rank[program] // concurrent, self.events["kernel"])
        place[np.lexsort(keys)] = np.arange(len(program))
        return place

    # Keeping -----------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the trace to a .npz file, without pickles."""
        about = {"source": self.source, "kernels": self.kernels, "tensors": self.tensors, "live": self.live}
        arrays = {name: getattr(self, name) for name in ("programs", "program_kernel", "events", "runs")}
        rows = {f"rows/{program}/{name}": tile for program, by in self.rows.items() for name, tile in by.items()}
        np.savez_compressed(path, about=np.array(json.dumps(about)), **(arrays | rows))

    @classmethod
    def load(cls, path: str | Path) -> "Trace":
        """Read what `save` wrote. Raises ValueError for a file that it didn't write."""
        with np.load(path, allow_pickle=False) as stored:
            if "about" not in stored or stored["events"].dtype != EVENT:
                raise ValueError(f"{path} holds no trace of this version; make it again with Trace.save.")
            arrays = {name: stored[name] for name in ("programs", "program_kernel", "events", "runs")}
            rows: dict[int, dict[str, np.ndarray]] = {}
            for key in stored.files:
                if key.startswith("rows/"):
                    _, program, name = key.split("/")
                    rows.setdefault(int(program), {})[name] = stored[key]
            return cls(**json.loads(stored["about"].item()), **arrays, rows=rows)

    @classmethod
    def of_machine(cls, machine, exemplars: Sequence[int] | None = None) -> "Trace":
        """What a TileMachine of solutions/flash has done so far.

        A kernel is a function that ran programs. Each tensor is taken to begin on a sector and to be contiguous; a
        machine notes its tiles and rows after an event, the interpreter before it.
        """
        kernels = list(dict.fromkeys(event.kernel for event in machine.events))
        counts = [1 + max(event.program for event in machine.events if event.kernel == name) for name in kernels]
        before = dict(zip(kernels, itertools.accumulate([0, *counts]), strict=False))
        names = list(machine.tensors)
        kept = {before[k] + i for k, n in zip(kernels, counts, strict=True) for i in exemplars or {0, n // 2, n - 1}}
        events, runs = np.zeros(len(machine.events), EVENT), []
        live: dict[tuple, int] = {}
        rows: dict[int, list[dict[str, np.ndarray]]] = {program: [] for program in sorted(kept)}
        for i, noted in enumerate(machine.events):
            row, program = events[i], before[noted.kernel] + noted.program
            row["kernel"], row["program"] = kernels.index(noted.kernel), program
            row["kind"], row["tensor"], row["flops"] = KINDS.index(noted.kind), NO_TENSOR, noted.flops
            row["iteration"] = noted.iteration
            row["line"] = noted.line - machine.code[noted.kernel].co_firstlineno + 1
            if noted.tensor:
                tensor = machine.tensors[noted.tensor]
                (row["row0"], row["row1"]), (row["col0"], row["col1"]) = noted.rows, noted.columns
                first, count = _sectors_of(tensor, noted.rows, noted.columns)
                runs.append(np.rec.fromarrays([np.full(len(first), i), first, count], RUN))
                row["tensor"], row["sectors"] = names.index(noted.tensor), count.sum()
                row["element_bytes"], row["lanes"] = noted.element_bytes, noted.element_bytes // tensor.element_size()
            snapshot = tuple((name, size, tuple(shape)) for name, (shape, size) in noted.live.items())
            row["live"] = live.setdefault(snapshot, len(live))
            if program in rows:
                rows[program].append({name: vector.float().numpy() for name, vector in noted.vectors.items()})
        programs = np.array([(i, 0, 0) for count in counts for i in range(count)], np.int32).reshape(-1, 3)
        return cls(
            "tile machine",
            [_kernel(name, (n, 1, 1), machine.code[name]) for name, n in zip(kernels, counts, strict=True)],
            [_about(name, tensor) for name, tensor in machine.tensors.items()],
            programs,
            np.repeat(np.arange(len(kernels)), counts).astype(np.uint8),
            events,
            np.concatenate(runs) if runs else np.empty(0, RUN),
            _tables(live),
            {program: _stacked(tiles) for program, tiles in rows.items()},
        )

    @classmethod
    def join(cls, traces: Sequence["Trace"]) -> "Trace":
        """Several traces as one, in order. Tensors with the same name, shape and dtype are one tensor."""
        if not traces:
            raise ValueError("no traces to join; give at least one.")
        tensors: list[dict[str, Any]] = []
        parts: list[tuple[np.ndarray, ...]] = []
        live: list[dict[str, list[Any]]] = []
        rows: dict[int, dict[str, np.ndarray]] = {}
        kernels = programs = events = 0
        for trace in traces:
            index = np.full(256, NO_TENSOR, np.uint8)
            for i, tensor in enumerate(trace.tensors):
                if tensor not in tensors:
                    tensors.append(tensor | {"name": _free(tensor["name"], {known["name"] for known in tensors})})
                    index[i] = len(tensors) - 1
                else:
                    index[i] = tensors.index(tensor)
            moved, runs = trace.events.copy(), trace.runs.copy()
            moved["tensor"] = index[moved["tensor"]]
            moved["kernel"] += kernels
            moved["program"] += programs
            moved["live"] += len(live)
            runs["event"] += events
            parts.append((trace.programs, trace.program_kernel + np.uint8(kernels), moved, runs))
            rows |= {program + programs: tiles for program, tiles in trace.rows.items()}
            live += trace.live
            kernels, programs, events = (
                kernels + len(trace.kernels),
                programs + len(trace.programs),
                events + len(trace.events),
            )
        grids, program_kernel, noted, moves = map(np.concatenate, zip(*parts, strict=True))
        return cls(
            " and ".join(dict.fromkeys(trace.source for trace in traces)),
            [kernel for trace in traces for kernel in trace.kernels],
            tensors,
            grids,
            program_kernel,
            noted,
            moves,
            live,
            rows,
        )


def _free(name: str, taken: set[str]) -> str:
    """The name, or where it is taken "name 2", "name 3", ..."""
    return next(free for i in itertools.count(1) if (free := f"{name} {i}" if i > 1 else name) not in taken)


def _times(events: np.ndarray, kind: str | None) -> np.ndarray:
    """How often each event moves its bytes: an atomic reads and writes them, unless one half is asked for."""
    return np.where((events["kind"] == KINDS.index("atomic")) & (kind not in HALVES), 2, 1)


def _reuse_distances(segments: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """For every touch, the weight of the distinct segments touched since the same one's last touch, itself included.

    A Fenwick tree over the touches holds each segment's weight at its latest touch: n log n steps for n touches.
    """
    n = len(segments)
    tree = [0] * (n + 1)
    latest: dict[int, int] = {}
    held = 0  # the whole tree
    distances = np.full(n, np.inf)
    sizes = weights[segments].tolist()
    for now, (segment, size) in enumerate(zip(segments.tolist(), sizes, strict=True), start=1):
        before = latest.get(segment)
        if before is None:
            held += size
        else:
            older, i = 0, before - 1
            while i > 0:
                older += tree[i]
                i &= i - 1
            distances[now - 1] = held - older
            i = before
            while i <= n:
                tree[i] -= size
                i += i & -i
        i = now
        while i <= n:
            tree[i] += size
            i += i & -i
        latest[segment] = now
    return distances


# Recording -----------------------------------------------------------------------------------------------------------


class Recorder(Listener):
    """Hears interpreted kernels and makes a Trace of each; `exemplars` are the programs whose rows are kept.

    The same memory is the same tensor in all of them, under the name and the shape it had in the first kernel; other
    memory under that name becomes "name 2". Tensors are kept alive so that no memory is handed out twice.
    """

    def __init__(self, exemplars: Sequence[int] | None = None):
        self.exemplars = exemplars
        self.traces: list[Trace] = []
        self.known: dict[tuple, _Place] = {}

    def begin(self, launch: Launch) -> None:
        self.launch = launch
        count = math.prod(launch.grid)
        self.kept = {0, count // 2, count - 1} if self.exemplars is None else set(self.exemplars)
        if not self.kept <= set(range(count)):
            raise ValueError(f"exemplars are {sorted(self.kept)}; {launch.name} has programs 0 to {count - 1}.")
        self.events: list[tuple] = []
        self.runs: list[tuple[np.ndarray, np.ndarray]] = []
        self.live: dict[tuple, int] = {}
        self.rows: dict[int, list[dict[str, np.ndarray]]] = {program: [] for program in sorted(self.kept)}
        self.program = -1
        self.seen: Counter = Counter()
        self.places = [self._place(argument) for argument in launch.arguments]
        self.tensors = list(dict.fromkeys(self.places))

    def _place(self, argument: Argument) -> "_Place":
        memory = argument.start, argument.stop, argument.tensor.dtype
        if memory not in self.known:
            names = {place.about["name"] for place in self.known.values()}
            self.known[memory] = _Place(_free(argument.name, names), argument)
        return self.known[memory]

    def access(self, access: Access) -> None:
        place = self.places[access.argument]
        first, count, rectangle, lanes = place.touched(access.addresses, access.mask)
        self.runs.append((first, count))
        kind, off = KINDS.index(access.kind), access.addresses.size - lanes
        moved = lanes * access.element_bytes, int(count.sum()), lanes, off
        self._event(access, self.tensors.index(place), kind, moved, 0, rectangle)

    def dot(self, dot: Dot) -> None:
        self.runs.append((_NONE, _NONE))
        self._event(dot, NO_TENSOR, KINDS.index("dot"), (0, 0, 0, 0), dot.flops, (0, 0, 0, 0, 0))

    def _event(self, heard: Access | Dot, tensor: int, kind: int, moved, flops: int, rectangle) -> None:
        (_, ny, nz), (x, y, z) = self.launch.grid, heard.program
        program = (x * ny + y) * nz + z
        if program != self.program:
            self.program, self.seen = program, Counter()
        tiles = live_tiles(heard.frame)
        if program in self.kept:
            self.rows[program].append({tile.name: tile.values for tile in tiles if tile.values is not None})
        snapshot = tuple((tile.name, tile.bytes, tile.shape) for tile in tiles)
        live = self.live.setdefault(snapshot, len(self.live))
        line = heard.frame.f_lineno - self.launch.code.co_firstlineno + 1
        iteration = self.seen[tensor, line]
        self.seen[tensor, line] += 1
        self.events.append((0, program, tensor, kind, *moved, flops, iteration, line, *rectangle, live))

    def end(self) -> None:
        launch = self.launch
        runs = np.empty(sum(len(first) for first, _ in self.runs), RUN)
        if self.runs:
            runs["event"] = np.repeat(np.arange(len(self.runs)), [len(first) for first, _ in self.runs])
            runs["first"] = np.concatenate([first for first, _ in self.runs])
            runs["count"] = np.concatenate([count for _, count in self.runs])
        programs = np.array(list(itertools.product(*map(range, launch.grid))), np.int32)
        self.traces.append(
            Trace(
                f"Triton {interpreter.triton.__version__} interpreter",
                [_kernel(launch.name, launch.grid, launch.code)],
                [place.about for place in self.tensors],
                programs,
                np.zeros(len(programs), np.uint8),
                np.array(self.events, EVENT),
                runs,
                _tables(self.live),
                {program: _stacked(events) for program, events in self.rows.items()},
            )
        )


_NONE = np.empty(0, np.int64)


class _Place:
    """A tensor in memory: turns addresses into sectors and coordinates."""

    def __init__(self, name: str, argument: Argument):
        self.tensor = tensor = argument.tensor
        self.start, self.element_bytes = argument.start, tensor.element_size()
        self.about = _about(name, tensor)
        self.shape = tuple(tensor.shape)
        strides = enumerate(tensor.stride())
        self.strides = sorted(((s, dim) for dim, s in strides if s and self.shape[dim] > 1), reverse=True)

    def touched(self, addresses: np.ndarray, mask: np.ndarray | None) -> tuple:
        """The runs of sectors, as (first, count); the rectangle (leading, row0, row1, col0, col1); the lanes on."""
        addresses = addresses.astype(np.int64)
        if addresses.ndim == 2 and min(addresses.shape) > 1:
            if addresses[1, 0] - addresses[0, 0] < addresses[0, 1] - addresses[0, 0]:  # neighbours lie along dim 0
                addresses, mask = addresses.T, None if mask is None else mask.T
        lanes = addresses.ravel() if mask is None else addresses[mask]
        if lanes.size == 0:
            return _NONE, _NONE, (0, 0, 0, 0, 0), 0
        sectors = lanes // SECTOR - self.start // SECTOR
        step = np.diff(sectors)
        if (step < 0).any():
            sectors = np.unique(sectors)
        else:
            sectors = sectors[np.concatenate([[True], step > 0])]
        breaks = np.flatnonzero(np.diff(sectors) != 1) + 1
        edges = np.concatenate([[0], breaks, [len(sectors)]])
        return sectors[edges[:-1]], np.diff(edges), self.rectangle(lanes), lanes.size

    def rectangle(self, lanes: np.ndarray) -> tuple[int, int, int, int, int]:
        elements = (lanes - self.start) // self.element_bytes
        index: dict[int, Any] = {}
        for stride, dim in self.strides:
            index[dim], elements = (elements, 0) if stride == 1 else np.divmod(elements, stride)
        ndim = len(self.shape)
        rows, columns = (ndim - 2, ndim - 1) if ndim > 1 else (0, 1)
        leading = 0
        for dim in range(rows):
            leading = leading * self.shape[dim] + int(np.min(index.get(dim, 0)))
        row, column = index.get(rows, 0), index.get(columns, 0)
        return leading, int(np.min(row)), int(np.max(row)) + 1, int(np.min(column)), int(np.max(column)) + 1


def _about(name: str, tensor: torch.Tensor) -> dict[str, Any]:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return {"name": name, "shape": list(tensor.shape), "dtype": dtype, "element_bytes": tensor.element_size()}


def _kernel(name: str, grid: tuple[int, int, int], code: CodeType) -> dict[str, Any]:
    lines = inspect.getblock(linecache.getlines(code.co_filename)[code.co_firstlineno - 1 :])
    lines = [line.rstrip("\n") for line in lines]
    return {"name": name, "grid": list(grid), "lines": lines, "first_line": code.co_firstlineno}


def _tables(live: dict[tuple, int]) -> list[dict[str, list]]:
    return [{name: [size, list(shape)] for name, size, shape in snapshot} for snapshot in live]


def _sectors_of(tensor: torch.Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The runs of sectors of a rectangle of a contiguous tensor (rows,) or (rows, columns)."""
    width = 1 if tensor.dim() == 1 else tensor.shape[1]
    first = np.arange(*rows) * width + columns[0]
    last = first + (columns[1] - columns[0]) - 1
    first, last = first * tensor.element_size() // SECTOR, ((last + 1) * tensor.element_size() - 1) // SECTOR
    begins = np.concatenate([[True], first[1:] > last[:-1] + 1])  # rows that touch go on as one run
    ends = np.concatenate([begins[1:], [True]])
    return first[begins], last[ends] - first[begins] + 1


def _stacked(events: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Row vectors by name, (events, block): nan where a name isn't there yet, or has another size than at first."""
    tiles: dict[str, np.ndarray] = {}
    for i, event in enumerate(events):
        for name, values in event.items():
            stack = tiles.setdefault(name, np.full((len(events), len(values)), np.nan, np.float32))
            if len(values) == stack.shape[1]:
                stack[i] = values
    return tiles


def trace(kernel, recorded: str | None = None, exemplars: Sequence[int] | None = None) -> Launchable:
    """`trace(kernel)[grid](*args, **meta)` runs a @triton.jit kernel on CPU tensors and returns its Trace.

    recorded: the name of a trace in widgets/theatre/recorded, returned instead where Triton isn't installed; its
    `source` says so, and the output tensors stay as they were. exemplars: programs whose rows are kept, by default
    the first, the middle and the last. Raises what solutions.interpreter.interpreted raises.
    """
    if not interpreter.available:
        if recorded is None:
            raise RuntimeError(f"{getattr(kernel, '__name__', kernel)} can't be traced: {interpreter.why_not}")
        return Launchable(lambda grid, *args, **meta: recording(recorded))
    run = interpreted(kernel)

    def record(grid, *args, **meta) -> Trace:
        recorder = Recorder(exemplars)
        with listening(recorder):
            run[grid](*args, **meta)
        return recorder.traces[0]

    return Launchable(record)


def traced(function: Callable, *args, **kwargs) -> tuple[Any, Trace]:
    """`function(*args, **kwargs)`, and the Trace of every kernel it launches, joined in order.

    Hears what goes through `launch` or `interpreted` of solutions/interpreter.py, on CPU tensors.
    """
    if not interpreter.available:
        raise RuntimeError(f"{getattr(function, '__name__', function)} can't be traced: {interpreter.why_not}")
    recorder = Recorder()
    with listening(recorder):
        result = function(*args, **kwargs)
    if not recorder.traces:
        raise ValueError(
            f"{getattr(function, '__name__', function)} launched no kernel on CPU tensors through "
            "solutions.interpreter.launch or interpreted; there is nothing to trace."
        )
    return result, Trace.join(recorder.traces)


def keep(name: str, trace: Trace) -> Path:
    """Save a trace as widgets/theatre/recorded/<name>.npz, for systems without Triton."""
    RECORDED.mkdir(exist_ok=True)
    trace.save(RECORDED / f"{name}.npz")
    return RECORDED / f"{name}.npz"


def recording(name: str) -> Trace:
    """The trace kept under a name; its source begins with "recorded: "."""
    path = RECORDED / f"{name}.npz"
    if not path.exists():
        names = ", ".join(sorted(kept.stem for kept in RECORDED.glob("*.npz"))) or "none yet"
        raise ValueError(f"no recorded trace {name!r}; there are: {names}.")
    stored = Trace.load(path)
    stored.source = f"recorded: {stored.source}"
    return stored
