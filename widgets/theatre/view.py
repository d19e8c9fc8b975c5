"""The Tile Theatre: what moves between HBM and SRAM, and when?"""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets

from widgets.kit.base import Instrument, packed
from widgets.kit.format import count, significant, size
from widgets.theatre import facts, say
from widgets.theatre.scene import scene

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from widgets.theatre.measure import Trace

Settings = dict[str, Any]

# Shared memory that a block of threads can have: name -> bytes.
LIMITS = {
    "48 KiB": 49_152,
    "64 KiB (T4)": 65_536,
    "99 KiB": 101_376,
    "163 KiB (A100)": 166_912,
    "227 KiB (H100)": 232_448,
}
CACHES = ((64 * 2**10, 1), (64 * 2**10, 8), (50 * 2**20, 132))  # capacity, programs in step; the last is an H100
MOST_RECORDED = 64
NOTHING = "Nothing was recorded: no program of this kernel loaded, stored or multiplied anything."


class Theatre(Instrument):
    """One kernel's trace, or two on one clock of bytes moved. Make one whose knobs run the kernel again with `of`.

    trace: what `trace(kernel)[grid](...)` or `traced(...)` returned, of any kernel; beside: another, for comparison
    names: what to call them; "flash" and "standard" are recognised, else the kernels' own names
    sram_limit: bytes of SRAM that a program may have, drawn as a line; caches: (capacity in bytes, programs in step)
    of the L2 models on offer, the last one chosen at first
    reader: what the reader looks at (watched, event, moved, settings)
    Raises ValueError for anything that is not a trace, and for a limit below 1 byte.
    """

    view = Path(__file__).with_name("view.js")
    came = traitlets.Dict().tag(sync=True)  # the run that a knob asked for

    def __init__(
        self,
        trace: "Trace",
        beside: "Trace | None" = None,
        *,
        names: Sequence[str] | None = None,
        sram_limit: int = LIMITS["99 KiB"],
        caches: Sequence[tuple[int, int]] = CACHES,
        question: str = say.QUESTION,
    ):
        if not sram_limit >= 1:
            raise ValueError(f"sram_limit is {sram_limit}; give the bytes a program may hold, for example 101_376.")
        self.names, self.limit, self.caches, self.question = names, int(sram_limit), list(caches), question
        self.run: Callable | None = None
        self.knobs: list[dict[str, Any]] = []
        self.to_record: list[Settings] = []  # what a page without a kernel offers and was not run yet
        self.runs: list[dict[str, Any]] = [self._drawn({}, trace, beside)]
        super().__init__(data=self._payload())
        self.on_msg(self._answer)

    @classmethod
    def of(
        cls,
        run: "Callable[..., Trace | tuple[Trace, Trace | None]]",
        knobs: Mapping[str, Sequence[Any]],
        start: Mapping[str, Any] | None = None,
        recorded: Sequence[Mapping[str, Any]] | None = None,
        **look: Any,
    ) -> "Theatre":
        """A Theatre whose knobs run the code again.

        run: called with one value for each knob; returns a trace, or two to be compared
        knobs: name -> the values on offer; start: the first value of each, its first one where not given
        recorded: the settings that a page without a kernel offers, each over those of `start`; every combination of
            the knobs when None. They are run once such a page is made, which takes as long as it takes.
        look: names, sram_limit, caches and question, as for a Theatre
        Raises ValueError for a start or a recorded setting that is not a knob's value.
        """
        values = {name: list(options) for name, options in knobs.items()}
        settings = {name: options[0] for name, options in values.items()} | dict(start or {})
        if recorded is None:
            recorded = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]
        wanted = [{**settings, **one} for one in recorded]
        for one in [settings, *wanted]:
            check_settings(one, values)
        if len(wanted) > MOST_RECORDED:
            raise ValueError(
                f"{len(wanted)} runs would be recorded; name at most {MOST_RECORDED} in recorded=[...], "
                "or give the knobs fewer values."
            )
        theatre = cls(*both(run(**settings)), **look)
        theatre.run = run
        theatre.knobs = [{"name": name, "values": options} for name, options in values.items()]
        theatre.runs[0]["settings"] = settings
        theatre.to_record = [one for one in wanted if one != settings]
        theatre.data = theatre._payload()
        return theatre

    def record(self) -> None:
        """Run what a page without a kernel offers and was not run yet; `static_html` and `save_html` do it too."""
        while self.to_record:
            assert self.run is not None  # only `of`, which sets it, leaves something to record
            settings = self.to_record.pop(0)
            try:
                self.runs.append(self._drawn(settings, *both(self.run(**settings))))
            except (ValueError, MemoryError) as refusal:  # a block that does not fit is a finding too
                self.runs.append({"settings": settings, "scenes": [], "refused": str(refusal)})
        self.data = self._payload()

    def static_html(self) -> str:
        if self.to_record:
            self.record()
        return super().static_html()

    def _drawn(self, settings: Settings, trace: "Trace", beside: "Trace | None") -> dict[str, Any]:
        traces = [trace] if beside is None else [trace, beside]
        for one in traces:
            if not hasattr(one, "events") or not hasattr(one, "issued_bytes"):
                raise ValueError(
                    f"Theatre draws what trace(kernel)[grid](...) returns, and was given a {type(one).__name__}."
                )
        if not all(len(one.events) for one in traces):
            return {"settings": settings, "scenes": []}
        named = self.names or names_of(traces)
        return {
            "settings": settings,
            "scenes": [scene(one, name, self.caches) for one, name in zip(traces, named, strict=True)],
        }

    # What it says -------------------------------------------------------------------------------------------------

    def twin(self) -> str:
        scenes = self.runs[0]["scenes"]
        if not scenes:
            return f"{self.question} {NOTHING}"
        return "\n".join([f"{self.question} {''.join(self.sentence())}", *map(say.numbers_line, scenes)])

    def sentence(self) -> list[str]:
        """What the untouched picture says."""
        first, *rest = self.runs[0]["scenes"]
        return say.sentence(facts.facts(first, facts.key_event(first), self.limit, rest[0] if rest else None))

    def figure(self) -> "Figure":
        """The run for print, in matplotlib: the film, the SRAM and the totals. Raises ValueError without events."""
        from widgets.theatre import figure

        scenes = self.runs[0]["scenes"]
        if not scenes:
            raise ValueError(NOTHING)
        return figure.draw(scenes, self.limit, self.question, self.provenance())

    def provenance(self) -> str:
        """Who counted, of what tensors, in the untouched picture."""
        return provenance_of(self.runs[0])

    # What travels -------------------------------------------------------------------------------------------------

    def _payload(self) -> dict[str, Any]:
        if not self.runs[0]["scenes"]:
            return {"question": self.question, "nothing": NOTHING}
        limits = {nbytes: name for name, nbytes in LIMITS.items()}
        limits.setdefault(self.limit, size(self.limit))
        return {
            "question": self.question,
            "limit": self.limit,
            "limits": [{"bytes": nbytes, "name": limits[nbytes]} for nbytes in sorted(limits)],
            "cache": len(self.caches) - 1,
            "shown": 0,
            "knobs": self.knobs,
            **sent(self.runs),
        }

    def _answer(self, _widget: object, message: dict, _buffers: list) -> None:
        """Answer the page: whether a kernel is here to run again, and what a run with other settings gave."""
        if self.run is None:
            return
        if message.get("asks") == "hello":
            self.send({"answers": "hello"})
        elif message.get("asks") == "run":
            settings = {knob["name"]: message["settings"][knob["name"]] for knob in self.knobs}
            began = time.perf_counter()
            try:
                drawn = self._drawn(settings, *both(self.run(**settings)))
                if not drawn["scenes"]:
                    raise ValueError(NOTHING)
            except Exception as refusal:  # the reader's own code may raise anything; it is told in the page
                self.send({"answers": "refused", "words": f"{type(refusal).__name__}: {refusal}"})
                return
            seconds = significant(time.perf_counter() - began)
            told = sent([drawn])
            self.came = {"run": told["runs"][0], "traces": told["traces"], "codes": told["codes"]}
            self.send({"answers": "run", "settings": settings, "seconds": seconds})


def both(result: Any) -> tuple[Any, Any]:
    """A run's one or two traces."""
    return result if isinstance(result, tuple) else (result, None)


def provenance_of(run: dict[str, Any]) -> str:
    """Who counted, of what tensors, with what settings."""
    scenes = run["scenes"]
    sources = " and ".join(dict.fromkeys(one["source"] for one in scenes))
    first = scenes[0]["tensors"][0]
    shape = " × ".join(count(side) for side in first["shape"] if side > 1)
    settings = "".join(f", {name} {shown(value)}" for name, value in run["settings"].items())
    return (
        f"measured: {sources}, {first['name']} {shape} {first['dtype']}{settings}; "
        "issued = bytes of the lanes that are on, loads + stores, an atomic counts twice"
    )


def shown(value: Any) -> str:
    """A knob's value as it is written beside it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)


def check_settings(settings: Settings, knobs: Mapping[str, list]) -> None:
    for name, value in settings.items():
        if name not in knobs:
            raise ValueError(f"there is no knob {name!r}; there are {', '.join(knobs) or 'none'}.")
        if value not in knobs[name]:
            raise ValueError(f"{name} = {value!r} is not on offer; the knob has {', '.join(map(str, knobs[name]))}.")


def names_of(traces: Sequence["Trace"]) -> list[str]:
    """ "standard" stores its scores, "flash" does not; any other kernel goes by its own name."""
    found = [name_of(one) for one in traces]
    if len(set(found)) == len(found):
        return found
    found = [kernels_of(one) for one in traces]
    if len(set(found)) == len(found):
        return found
    return [f"{name}, {letter}" for name, letter in zip(found, "AB", strict=True)]


def name_of(trace: "Trace") -> str:
    from widgets.theatre.names import is_gradient, part

    parts = {part(tensor["name"]) for tensor in trace.tensors if not is_gradient(tensor["name"])}
    backward = any(is_gradient(tensor["name"]) for tensor in trace.tensors)
    if backward or not {"q", "k", "v", "o"} <= parts:
        return kernels_of(trace)
    return "standard" if "s" in parts else "flash"


def kernels_of(trace: "Trace") -> str:
    first, *rest = [kernel["name"] for kernel in trace.kernels]
    return f"{first} + {len(rest)}" if rest else first


def sent(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Runs as they travel: each different trace and each different source once."""
    codes: dict[tuple, int] = {}
    traces: list[dict[str, Any]] = []
    told = []
    for run in runs:
        indices = []
        for drawn in run["scenes"]:
            for kernel in drawn["kernels"]:
                codes.setdefault(tuple(kernel["code"]), len(codes))
            kernels = [{**kernel, "code": codes[tuple(kernel["code"])]} for kernel in drawn["kernels"]]
            alike = next((i for i, other in enumerate(traces) if same(other, {**drawn, "kernels": kernels})), None)
            if alike is None:
                alike = len(traces)
                traces.append({**drawn, "kernels": kernels})
            indices.append(alike)
        about = {key: value for key, value in run.items() if key != "scenes"}
        if run["scenes"]:
            about["provenance"] = provenance_of(run)
        told.append({**about, "traces": indices})
    return {"runs": told, "traces": [packed_all(one) for one in traces], "codes": [list(code) for code in codes]}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return a == b


def packed_all(value: Any) -> Any:
    """The same value with its arrays packed."""
    if isinstance(value, np.ndarray):
        return packed(value)
    if isinstance(value, dict):
        return {key: packed_all(item) for key, item in value.items()}
    return [packed_all(item) for item in value] if isinstance(value, list) else value
