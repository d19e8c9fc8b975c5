"""A trace as its picture needs it: what each event does in a byte or four, and everything it repeats said once.

An event is an act (which tensor, which kind, which line, how many bytes, what is alive) at a place (the tile's first
element). A kernel has a few dozen different acts, so ten thousand events travel as fifty to eighty kilobytes. trace.js
reads what is written here.
"""

import math
from typing import Any

import numpy as np

from widgets.kit.format import count, size
from widgets.theatre import names

# The columns of an act. live and line are those after the event, which is when its picture is drawn.
ACT = ("tensor", "kind", "line", "live", "height", "width", "read", "written", "masked", "flops")
NO_TENSOR = 255  # of a dot
KINDS = ("load", "store", "atomic", "dot")
LEVELS = 255  # heights of a row's bar
NOTHING_YET = -1e20  # a maximum below this has not met a score: kernels start it at -1e30 or -infinity


def scene(trace: Any, name: str, l2: list[tuple[int, int]]) -> dict[str, Any]:
    """What is drawn of a trace, with plain numpy arrays.

    l2: (capacity in bytes, programs in step) of each cache whose misses are to be told
    """
    events = trace.events
    first = starts(events)
    live = events["live"] if noted_after(trace) else after(events["live"], first)
    acts, act = repeated(columns(events, live))
    return {
        "name": name,
        "source": trace.source,
        "kernels": [
            {"name": kernel["name"], "grid": list(kernel["grid"]), "code": list(kernel["lines"])}
            for kernel in trace.kernels
        ],
        "tensors": [tensor_data(tensor, events, index) for index, tensor in enumerate(trace.tensors)],
        "first": first.astype(np.int32),
        "kernel": events["kernel"][first].astype(np.uint8),
        "program": np.asarray(trace.programs)[events["program"][first]].astype(np.int32),
        "acts": acts.astype(np.int32),
        "act": smallest(act),
        "place": places(events, trace.tensors),
        **live_tiles(trace),
        "rows": row_statistics(trace, first),
        "issued": int(trace.issued_bytes()),
        "issued_read": int(trace.issued_bytes(kind="read")),
        "sectors": int(trace.sector_bytes()),
        "l2": [{"words": l2_words(*cache), "bytes": int(trace.l2_bytes(*cache))} for cache in l2],
        "compulsory": int(trace.compulsory_bytes()),
        "compulsory_read": int(trace.compulsory_bytes(kind="read")),
    }


def starts(events: np.ndarray) -> np.ndarray:
    """The events with which a program begins."""
    new = (np.diff(events["program"]) != 0) | (np.diff(events["kernel"]) != 0)
    return np.concatenate([[0], 1 + np.flatnonzero(new)])


def noted_after(trace: Any) -> bool:
    """Whether tiles and rows were noted after each event, by the tile machine; the interpreter notes them before."""
    return trace.source.endswith("tile machine")


def after(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """What stands after each event, from what stood before it: the next event's, while the program lasts."""
    last = np.concatenate([first[1:], [len(values)]]) - 1
    later = np.concatenate([values[1:], values[-1:]])
    later[last] = values[last]
    return later


def columns(events: np.ndarray, live: np.ndarray) -> np.ndarray:
    """(events, len(ACT)). A load reads, a store writes, an atomic does both."""
    nbytes, kind = events["element_bytes"], events["kind"]
    reads = np.isin(kind, (KINDS.index("load"), KINDS.index("atomic")))
    writes = np.isin(kind, (KINDS.index("store"), KINDS.index("atomic")))
    height, width = events["row1"] - events["row0"], events["col1"] - events["col0"]
    told = (events["tensor"], kind, events["line"], live, height, width, nbytes * reads, nbytes * writes)
    return np.stack([np.asarray(column, np.int64) for column in (*told, events["masked"], events["flops"])], axis=1)


def repeated(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different rows, and which of them each row is."""
    different, which = np.unique(rows, axis=0, return_inverse=True)
    return different, which.reshape(-1)


def smallest(values: np.ndarray) -> np.ndarray:
    return values.astype(np.uint8 if values.max(initial=0) < 256 else np.uint32)


def matrix(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(leading, rows, columns) of a tensor's last two dimensions; a vector is one column."""
    if len(shape) < 2:
        return 1, math.prod(shape), 1
    return math.prod(shape[:-2]), shape[-2], shape[-1]


def places(events: np.ndarray, tensors: list[dict]) -> np.ndarray:
    """The first element of each event's tile, counted through its whole tensor row by row."""
    shapes = np.array([matrix(tuple(tensor["shape"]))[1:] for tensor in tensors] + [(0, 0)], np.int64)
    rows, width = shapes[np.where(events["tensor"] == NO_TENSOR, len(tensors), events["tensor"])].T
    place = (events["leading"].astype(np.int64) * rows + events["row0"]) * width + events["col0"]
    return place.astype(np.uint32 if place.max(initial=0) < 2**32 else np.float64)


def tensor_data(tensor: dict, events: np.ndarray, index: int) -> dict[str, Any]:
    name = tensor["name"]
    written = bool(((events["tensor"] == index) & (events["kind"] != KINDS.index("load"))).any())
    part = names.part(name)
    leading, rows, columns = matrix(tuple(tensor["shape"]))
    return {
        "name": names.label(name, rows > 1 and columns > 1),
        # Q blue, K orange, V green, O pink; what attention has not is neutral if it is read, an output if written.
        "colour": part or ("o" if written else "ink-2"),
        "part": None if names.is_gradient(name) else part,
        "written": written,
        "shape": [leading, rows, columns],
        "element": int(tensor["element_bytes"]),
        "dtype": str(tensor["dtype"]).removeprefix("torch."),
    }


def live_tiles(trace: Any) -> dict[str, Any]:
    """The tiles alive together, as lists of (tile, bytes), and the tiles' names with their colours."""
    tiles: dict[str, int] = {}
    table = [
        [[tiles.setdefault(name, len(tiles)), int(nbytes)] for name, (nbytes, _) in snapshot.items()]
        for snapshot in trace.live
    ]
    return {"live": table, "tiles": [{"name": name, "colour": names.part(name) or "ink-2"} for name in tiles]}


def l2_words(capacity: int, programs: int) -> str:
    return f"{size(capacity)}, {'1 program' if programs == 1 else f'{count(programs)} programs in step'}"


# The statistics of a row -------------------------------------------------------------------------------------------


def row_statistics(trace: Any, first: np.ndarray) -> list[dict[str, Any]]:
    """m and l of the programs whose rows were recorded: their values wherever they change, as heights.

    risen: the rows whose maximum rose over an earlier one, so that what was summed before is multiplied by alpha < 1
    """
    found = []
    last = np.concatenate([first[1:], [len(trace.events)]])
    for begin, end in zip(first, last, strict=True):
        tiles = trace.rows.get(int(trace.events["program"][begin]), {})
        maxima, sums = (named(tiles, known) for known in (names.MAXIMA, names.SUMS))
        if maxima is None or sums is None or maxima.shape != sums.shape or len(maxima) != end - begin:
            continue
        if not noted_after(trace):
            maxima, sums = (np.concatenate([values[1:], values[-1:]]) for values in (maxima, sums))
        at, m, ell = changes(maxima, sums)
        before = np.concatenate([np.full((1, m.shape[1]), -np.inf), m[:-1]])
        before[fetched(trace, begin + at)] = -np.inf
        found.append(
            {
                "at": (begin + at).astype(np.int32),
                "m": heights(m, m[m > NOTHING_YET].min(initial=0)),
                "l": heights(ell, 0),
                "risen": ((before > NOTHING_YET) & (m > before)).astype(np.uint8),
            }
        )
    return found


def fetched(trace: Any, at: np.ndarray) -> np.ndarray:
    """At which of the events a statistic came from memory: those are other rows, and nothing rose."""
    events = trace.events[at]
    statistics = [i for i, tensor in enumerate(trace.tensors) if names.part(tensor["name"]) == "m"]
    return (events["kind"] == KINDS.index("load")) & np.isin(events["tensor"], statistics)


def named(tiles: dict[str, np.ndarray], known: tuple[str, ...]) -> np.ndarray | None:
    """The row vector that goes by one of the known names, (events, rows), as soon as its next value is there.

    Kernels write m_new before they overwrite m; both are the same statistic, and l moves with the first.
    """
    for name, values in tiles.items():
        if names.bare(name) in known and not name.endswith("_new"):
            newer = tiles.get(f"{names.stem(name)}_new", values)
            return np.where(np.isnan(newer), values, newer) if newer.shape == values.shape else values
    return None


def changes(maxima: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The events after which one of both is another than before, and both there; what is not there yet is nan."""
    both = np.concatenate([maxima, sums], axis=1)
    new = np.ones(len(both), bool)
    new[1:] = ((both[1:] != both[:-1]) & ~(np.isnan(both[1:]) & np.isnan(both[:-1]))).any(axis=1)
    return np.flatnonzero(new), maxima[new], sums[new]


def heights(values: np.ndarray, low: float) -> np.ndarray:
    """0 for nothing yet, else 1 to 255 from `low` to the largest."""
    there = np.isfinite(values) & (values > NOTHING_YET)
    span = (values[there].max(initial=low) - low) or 1.0
    level = 1 + np.floor((LEVELS - 1) * (np.where(there, values, low) - low) / span + 0.5)
    return np.where(there, level, 0).astype(np.uint8)
