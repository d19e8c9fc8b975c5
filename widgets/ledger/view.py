"""The Memory Ledger: bytes against tokens for several methods, or bytes alive over one run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from widgets.kit.base import Instrument, packed
from widgets.kit.format import count, size
from widgets.kit.roles import colour, rank
from widgets.ledger import words

if TYPE_CHECKING:  # the meter brings torch, which a picture does not need
    from matplotlib.figure import Figure

    from widgets.ledger.measure import Recording, Sweep

Formulas = Mapping[str, tuple[Callable[[int], float], str]]

MOST_STEPS = 2000  # events drawn at most
MOST_ROLES = 6  # variables told apart at most
LEAST_SHARE = 0.02  # of the largest variable, below which one is not told apart
FURTHEST = 1 << 30  # tokens, where a search for a limit ends
CURVE = 49  # points of a formula's line


def roles_told(by_role: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The largest roles, each with its colour and bytes; the rest as one, so that nothing is left out of the sum.

    shade: 0, 1, 2 ... among those of one colour, always in the same order, so that scores are darker than weights
    """
    most = {name: nbytes.max(initial=0) for name, nbytes in by_role.items()}
    order = [name for name in sorted(most, key=lambda name: (-most[name], name)) if most[name] > 0]
    shown = [name for name in order if most[name] >= LEAST_SHARE * most[order[0]]]
    shown = shown if len(shown) == len(order) <= MOST_ROLES else shown[: MOST_ROLES - 1]
    told: list[dict[str, Any]] = []
    for name in shown:
        alike = sorted((other for other in shown if colour(other) == colour(name)), key=rank)
        told.append({"name": name, "colour": colour(name), "shade": alike.index(name), "bytes": by_role[name]})
    if rest := [by_role[name] for name in order if name not in shown]:
        name = "1 other" if len(rest) == 1 else f"{len(rest)} others"
        told.append({"name": name, "colour": "ink-2", "shade": 1, "bytes": np.sum(rest, axis=0)})
    return [{**role, "rest": role["name"] not in by_role, "bytes": role["bytes"].astype(np.float64)} for role in told]


def extremes(live: np.ndarray, most: int = MOST_STEPS) -> np.ndarray:
    """The events to draw, at most `most`: all of them, or the lowest and the highest in each of `most / 2` stretches.

    live: (events,)
    Returns rising indices. The peak and the last event are always among them, so the peak drawn is the peak.
    """
    events = len(live)
    if events <= most:
        return np.arange(events)
    starts = np.linspace(0, events, most // 2, endpoint=False).astype(int)
    stretches = np.split(live, starts[1:])
    lowest = starts + [stretch.argmin() for stretch in stretches]
    highest = starts + [stretch.argmax() for stretch in stretches]
    lowest[-1] = events - 1
    return np.unique(np.concatenate([lowest, highest]))


def first_at_least(fn: Callable[[int], float], nbytes: int) -> int | None:
    """The least n for which the rising `fn(n)` reaches `nbytes`, up to FURTHEST."""
    low, high = 0, 1
    while fn(high) < nbytes:
        if high >= FURTHEST:
            return None
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fn(middle) < nbytes else (low, middle)
    return high


def sweep_data(sweep: "Sweep", formulas: Formulas, ask: str | None, limits: Mapping[str, int]) -> dict[str, Any]:
    """What the picture of a sweep is drawn from, with plain numpy arrays."""
    lengths = sweep.lengths.tolist()
    reached = {name: [first_at_least(fn, nbytes) for nbytes in limits.values()] for name, (fn, _) in formulas.items()}
    # The formulas go on for one doubling, or until the first of them has reached every limit.
    known = [[n for n in found if n is not None] for found in reached.values()]
    ends = [max(found) for found in known if found and len(found) == len(limits)]
    far = 2 * lengths[-1]
    while ends and far < min(ends):
        far *= 2
    methods = []
    for name in sweep.methods:
        method: dict[str, Any] = {
            "name": name,
            "bytes": sweep.peak_bytes[name].astype(np.float64),
            "exponent": sweep.exponent(name),
        }
        method["roles"] = roles_told(sweep.by_role[name])
        method["formula"] = None
        if name in formulas:
            fn, text = formulas[name]
            at_lengths = np.array([fn(n) for n in lengths], np.float64)
            miss = np.abs(at_lengths[: len(method["bytes"])] - method["bytes"])
            ns = np.unique(np.geomspace(lengths[0], far, CURVE).round())
            method["formula"] = {
                "text": text,
                "n": ns,
                "bytes": np.array([fn(int(n)) for n in ns], np.float64),
                "atLengths": at_lengths,
                "error": float((miss / np.maximum(method["bytes"], 1)).max()),
                "reaches": [{"name": limit, "n": n} for limit, n in zip(limits, reached[name], strict=True) if n],
            }
        methods.append(method)
    return {
        "lengths": sweep.lengths.astype(np.float64),
        "methods": methods,
        "limits": [{"name": name, "bytes": nbytes} for name, nbytes in limits.items()],
        "ask": None if ask is None else sweep.methods.index(ask),
        "shown": max(2, (len(lengths) + 1) // 2),
        "what": sweep.what,
        "provenance": f"measured: {sweep.place}; {sweep.counted}",
    }


def recording_data(recording: "Recording", limits: Mapping[str, int]) -> dict[str, Any]:
    """What the picture of a run is drawn from, with plain numpy arrays."""
    events = recording.events
    assert recording.peak_at is not None  # there are events
    drawn = extremes(events["live"])
    of_role = [np.where(events["role"] == i, events["delta"], 0) for i in range(len(recording.roles))]
    by_role = {name: deltas.cumsum()[drawn] for name, deltas in zip(recording.roles, of_role, strict=True)}
    provenance = f"measured: {recording.place}; tensors made by the run, each counted once"
    if recording.input_bytes:
        provenance += f"; inputs of {size(recording.input_bytes)} not counted"
    if len(drawn) < len(events):
        provenance += f"; drawn: {count(len(drawn))} of {count(len(events))} events, the least and most of each stretch"
    if recording.history is not None:
        provenance += f"; the CUDA allocator's own peak: {size(recording.history.peak_bytes)}"
    return {
        "event": drawn.astype(np.int32),
        "total": len(events),
        "live": events["live"][drawn].astype(np.float64),
        "peak": int(np.searchsorted(drawn, recording.peak_at)),
        "roles": roles_told(by_role),
        "delta": events["delta"][drawn].astype(np.float64),
        "role": events["role"][drawn],
        "operation": events["operation"][drawn],
        "line": events["line"][drawn],
        "names": list(recording.roles),
        "operations": list(recording.operations),
        "lines": list(recording.lines),
        "limits": [{"name": name, "bytes": nbytes} for name, nbytes in limits.items()],
        "provenance": provenance,
    }


def sent(value: Any) -> Any:
    """The same value with its arrays packed."""
    if isinstance(value, np.ndarray):
        return packed(value)
    if isinstance(value, dict):
        return {key: sent(item) for key, item in value.items()}
    return [sent(item) for item in value] if isinstance(value, list) else value


class Ledger(Instrument):
    """Draw what `record` or `sweep` measured.

    Of a sweep: peak bytes against tokens, a line for each method, its slope beside it.
    formulas: method -> (function of n giving bytes, its text); drawn dashed, its error said
    ask: the method whose last value the reader is to predict first; only the first lengths are shown until then, and
    `reader["prediction"]` is what was said
    limits: name -> bytes a machine has
    Of a recording: bytes alive after each event, stacked by variable, with the line of code that did it. Longer runs
    are reduced to 2,000 events, the lowest and highest of each stretch, and say so; the peak stays exact.
    Raises ValueError for anything else, and for a formula or question about a method that was not measured.
    """

    view = Path(__file__).with_name("view.js")

    def __init__(
        self,
        source: "Sweep | Recording",
        formulas: Formulas | None = None,
        ask: str | None = None,
        limits: Mapping[str, int] | None = None,
        question: str | None = None,
    ):
        formulas, limits = formulas or {}, limits or {}
        if hasattr(source, "peak_bytes") and hasattr(source, "lengths"):
            sweep = cast("Sweep", source)
            for name in [*formulas, *([] if ask is None else [ask])]:
                if name not in sweep.methods:
                    raise ValueError(f"{name!r} was not measured; the sweep holds {', '.join(sweep.methods)}")
            if ask is not None and len(sweep.lengths) < 3:
                raise ValueError("a prediction needs three lengths or more: two to go by and one to predict")
            if ask is not None and len(sweep.peak_bytes[ask]) < len(sweep.lengths):
                raise ValueError(f"{ask!r} was not measured at {sweep.lengths[-1]} tokens, so nothing can be revealed")
            self.numbers = sweep_data(sweep, formulas, ask, limits)
            self.numbers["question"] = question or "What grows with the number of tokens?"
        elif hasattr(source, "events"):
            recording = cast("Recording", source)
            if formulas or ask is not None:
                raise ValueError("formulas and questions are about growth: give them with a sweep, not with one run")
            self.numbers = {"nothing": NOTHING} if len(recording.events) == 0 else recording_data(recording, limits)
            self.numbers["question"] = question or "What is alive, and when?"
        else:
            raise ValueError(f"Ledger draws what record or sweep returns, and was given a {type(source).__name__}")
        super().__init__(data=sent(self.numbers))

    def twin(self) -> str:
        numbers = self.numbers
        rows: list[str] = []
        if "nothing" in numbers:
            sentence = [numbers["nothing"]]
        elif "lengths" in numbers:
            sentence, rows = sweep_twin(numbers)
        else:
            peak = numbers["peak"]
            held = [{"name": role["name"], "bytes": role["bytes"][peak]} for role in numbers["roles"]]
            held = sorted((role for role in held if role["bytes"]), key=lambda role: -role["bytes"])
            sentence = words.alive(numbers, peak, held)
        return "\n".join([f"{numbers['question']} {''.join(sentence)}", *rows])

    def figure(self) -> "Figure":
        """The untouched picture for print, in matplotlib. Raises ValueError when nothing was recorded."""
        from widgets.ledger import figure

        if "nothing" in self.numbers:
            raise ValueError(self.numbers["nothing"])
        return figure.sweep(self.numbers) if "lengths" in self.numbers else figure.recording(self.numbers)


NOTHING = "Nothing was recorded: the code made no tensor, or only views of tensors that were there before."


def sweep_twin(numbers: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The sentence of an untouched sweep, and a row for each method it shows."""
    lengths, methods = [int(n) for n in numbers["lengths"]], numbers["methods"]
    if numbers["ask"] is not None:
        return words.asked(lengths, methods[numbers["ask"]], numbers["shown"]), []
    rows = []
    for method in methods:
        last = len(method["bytes"]) - 1
        facts = [f"{size(method['bytes'][last])} at {count(lengths[last])} tokens", words.slope(method["exponent"])]
        facts.append(" + ".join(f"{role['name']} {size(role['bytes'][-1])}" for role in method["roles"]))
        if method["formula"]:
            facts.append(words.fit(method["formula"], last + 1))
        rows.append(f"{method['name']}: {', '.join(filter(None, facts))}")
    return words.growth(lengths, methods, 0, len(lengths) - 1), rows
