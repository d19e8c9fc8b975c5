"""The scenes of the lesson on flash attention in Triton."""

from itertools import accumulate
from typing import Any

from widgets.kit.format import count
from widgets.scenes.scene import Dial, scene
from widgets.theatre.measure import KINDS, NO_TENSOR, Trace, recording

PROGRAM, BLOCK = 2, 16
LANES = (("score_tile", "row_log_sums"), ("flash_forward_of_64",))  # each trace recorded, in the order they run
DOES = {
    ("load", False): "is loading", ("load", True): "has loaded",
    ("store", False): "is storing", ("store", True): "has stored",
}  # fmt: skip
KEYS = {"k": "keys", "v": "values of keys", "s": "scores of keys"}
FIRST_KEY = {"k": "row0", "v": "row0", "s": "col0"}  # where in its tensor a tile of keys begins
ROWS = {"q": "its queries", "out": "its output", "lse": "its log-sum-exp"}


def moved_by_row(made: Trace) -> list[dict[str, Any]]:
    """What the programs of one row of tiles load and store, in order.

    bytes: of this event; block: of keys, or of queries for what has none; holds: bytes of the tiles by name, before it
    """
    there = made.events[made.programs[made.events["program"], 0] == PROGRAM]
    return [
        {
            "kernel": made.kernels[0]["name"],
            "kind": KINDS[event["kind"]],
            "tensor": (tensor := made.names[event["tensor"]]),
            "bytes": int(event["element_bytes"]),
            "block": int(event[at]) // BLOCK if (at := FIRST_KEY.get(tensor)) else PROGRAM,
            "holds": {name: size for name, (size, _) in made.live[event["live"]].items()},
        }
        for event in there
        if event["tensor"] != NO_TENSOR
    ]


def lane(names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [event for name in names for event in moved_by_row(recording(name))]


def ends(events: list[dict[str, Any]]) -> list[int]:
    """Bytes moved by the end of each event."""
    return list(accumulate(event["bytes"] for event in events))


def doing(events: list[dict[str, Any]], moved: int) -> str:
    """What a lane does when so many bytes have passed on the clock."""
    after = ends(events)
    place = next((i for i, end in enumerate(after) if end >= moved), None)
    if place is None:
        return f"{events[-1]['kernel']} is done"
    event, done = events[place], after[place] == moved
    what = ROWS.get(event["tensor"]) or (
        f"the {KEYS[event['tensor']]} {BLOCK * event['block']} to {BLOCK * event['block'] + BLOCK - 1}"
    )
    return f"{event['kernel']} {DOES[event['kind'], done]} {what}"


@scene
def one_program() -> dict[str, Any]:
    """One row of tiles, by two kernels that pass their scores through memory and by one that does not."""
    lanes = [lane(names) for names in LANES]
    two, one = (ends(events)[-1] for events in lanes)
    stops = sorted({0, *ends(lanes[0]), *ends(lanes[1])})
    whole = [[recording(name).issued_bytes() for name in names] for names in LANES]
    row = [[sum(event["bytes"] for event in moved_by_row(recording(name))) for name in names] for names in LANES]

    def says(place: int) -> str:
        moved = stops[place]
        if not moved:
            above = f"Above, four programs of score_tile and one of row_log_sums move *{count(two)} bytes.*"
            return f"The outlined row has {BLOCK} queries. {above} Below, one program of flash_forward: *{count(one)}.*"
        if moved == two:
            both = f"All four rows: {count(sum(whole[0]))} and {count(sum(whole[1]))} B."
            return f"*{count(two)} B* left one number a row; {count(one)} left the output too. {both}"
        return f"*{count(moved)} B.* Above, {doing(lanes[0], moved)}. Below, {doing(lanes[1], moved)}."

    return {
        "question": "What does one program see?",
        "dials": [Dial("bytes moved", [f"{count(moved)} B" for moved in stops], kind="player")],
        "says": says,
        "drawn": {"stops": stops, "lanes": lanes, "program": PROGRAM},
        "rows": [
            ["kernel", "bytes, programs of row 2", "bytes, all programs"],
            *(
                [name.removesuffix("_of_64"), count(part), count(every)]
                for names, parts, everything in zip(LANES, row, whole, strict=True)
                for name, part, every in zip(names, parts, everything, strict=True)
            ),
        ],
        "provenance": f"the course's kernels, 64 tokens, d = 16, blocks of 16; {recording('score_tile').source}",
    }
