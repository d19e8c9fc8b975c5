"""What is said of the untouched frame: which event is looked at first, and the facts of it. facts.js does the same."""

from typing import Any

import numpy as np

from widgets.theatre.say import of_head, span
from widgets.theatre.scene import ACT, KINDS

Scene = dict[str, Any]


def column(scene: Scene, name: str) -> np.ndarray:
    """One column of the acts, for every event."""
    return scene["acts"][scene["act"], ACT.index(name)].astype(np.int64)


def moved(scene: Scene) -> np.ndarray:
    """Bytes moved after each event: the clock."""
    return np.cumsum(column(scene, "read") + column(scene, "written"))


def program_of(scene: Scene, event: int) -> int:
    return int(np.searchsorted(scene["first"], event, side="right")) - 1


def live_bytes(scene: Scene) -> np.ndarray:
    """Bytes of the tiles alive after each event."""
    snapshots = np.array([sum(nbytes for _, nbytes in tiles) for tiles in scene["live"]], np.int64)
    return snapshots[column(scene, "live")]


def result_of(scene: Scene) -> int:
    """The tensor that the run is for: the output of attention, else the one written last; -1 when nothing is."""
    for index, tensor in enumerate(scene["tensors"]):
        if tensor["part"] == "o" and tensor["written"]:
            return index
    writes = np.flatnonzero(column(scene, "written"))
    return int(column(scene, "tensor")[writes[-1]]) if len(writes) else -1


def share(scene: Scene, event: int) -> float:
    """How much of the result stands after an event as it will stay: bytes written for the last time, of all such."""
    written = column(scene, "written") * (column(scene, "tensor") == result_of(scene))
    writes = np.flatnonzero(written)
    last = {place: at for place, at in zip(scene["place"][writes].tolist(), writes.tolist(), strict=True)}
    final = np.array(sorted(last.values()), np.int64)
    total = written[final].sum()
    return float(written[final[final <= event]].sum() / total) if total else 0.0


def key_event(scene: Scene) -> int:
    """The event to look at first: in the middle program whose rows are known, the fullest moment of its second half.

    There the grid is half full, the maximum has risen a few times, and the result is in part written.
    """
    programs = [program_of(scene, rows["at"][0]) for rows in scene["rows"]] or range(len(scene["first"]))
    program = programs[len(programs) // 2]
    begin = int(scene["first"][program])
    end = [*scene["first"], len(scene["act"])][program + 1]
    middle = (begin + int(end)) // 2
    loads = column(scene, "kind")[middle:end] == KINDS.index("load")
    fullness = np.where(loads, live_bytes(scene)[middle:end], -1)
    return middle + int(fullness.argmax())


def event_facts(scene: Scene, event: int) -> dict[str, Any]:
    """What one event does, in the words' terms."""
    act = dict(zip(ACT, scene["acts"][scene["act"][event]].tolist(), strict=True))
    kind = KINDS[act["kind"]]
    if kind == "dot":
        return {"kind": kind}
    tensor = scene["tensors"][act["tensor"]]
    leading, rows, columns = tensor["shape"]
    row, left = divmod(int(scene["place"][event]), columns)
    head, top = divmod(row, rows)
    tile = {"top": top, "bottom": top + act["height"], "left": left, "right": left + act["width"]}
    return {
        "kind": kind,
        "tensor": tensor["name"],
        "span": span(tile, tensor["shape"]),
        "bytes": act["read"] or act["written"],
        "head": of_head(head + 1 if leading > 1 else None),
    }


def risen(scene: Scene, event: int) -> tuple[int, int] | None:
    """How many rows' maxima rise at this event, of how many; None when none does."""
    for rows in scene["rows"]:
        found = np.flatnonzero(rows["at"] == event)
        if len(found) and (count := int(rows["risen"][found[0]].sum())):
            return count, rows["risen"].shape[1]
    return None


def facts(scene: Scene, event: int, limit: int, other: Scene | None) -> dict[str, Any]:
    """Everything that is said of a frame of the watched trace."""
    program = program_of(scene, event)
    kernel = scene["kernel"][program]
    clock = moved(scene)
    result = result_of(scene)
    beside = None
    if other is not None:
        other_clock = moved(other)
        reached = int(np.searchsorted(other_clock, clock[event], side="right")) - 1
        beside = {"name": other["name"], "share": share(other, reached), "total": int(other_clock[-1])}
    return {
        "name": scene["name"],
        "kernel": scene["kernels"][kernel]["name"] if len(scene["kernels"]) > 1 else None,
        "program": program - int(np.flatnonzero(scene["kernel"] == kernel)[0]) + 1,
        "programs": int((scene["kernel"] == kernel).sum()),
        "event": event_facts(scene, event),
        "live": int(live_bytes(scene)[event]),
        "limit": limit,
        "risen": risen(scene, event),
        "moved": int(clock[event]),
        "total": int(clock[-1]),
        "share": share(scene, event),
        "result": scene["tensors"][result]["name"] if result >= 0 else "nothing",
        "other": beside,
    }
