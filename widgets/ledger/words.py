"""What the untouched picture says in words, as parts of which every second one matters.

words.js holds the same functions, and those for what the reader does.
"""

from collections.abc import Sequence
from typing import Any

from widgets.kit.format import count, fixed, significant, size, times

Method = dict[str, Any]


def growth(lengths: Sequence[int], methods: Sequence[Method], chosen: int, at: int) -> list[str]:
    """How all methods grow up to the length at index `at`; the one at index `chosen` is what matters."""

    def said(method: Method) -> tuple[str, str]:
        """A verb, and what it says; the verb goes without saying of the others, unless it is "stays" or "was"."""
        nbytes = method["bytes"]
        if at >= len(nbytes):
            return "was ", f"not measured beyond {count(lengths[len(nbytes) - 1])}"
        if at == 0 or not nbytes[0]:
            return "takes ", size(nbytes[at])
        if nbytes[at] == nbytes[0]:
            return "stays ", f"at {size(nbytes[at])}"
        return "grows ", f"{times(nbytes[at] / nbytes[0])}, to {size(nbytes[at])}"

    here = f"At {count(lengths[0])} tokens " if at == 0 else f"{times(lengths[at] / lengths[0])} the tokens: "
    verb, what = said(methods[chosen])
    others = ""
    for i, method in enumerate(methods):
        if i != chosen:
            does, words = said(method)
            others += f"; {method['name']} {does if does in ('was ', 'stays ') else ''}{words}"
    return [f"{here}{methods[chosen]['name']} {verb}", what, f"{others}."]


def asked(lengths: Sequence[int], method: Method, shown: int) -> list[str]:
    """What is asked before the reader has said anything."""
    known = f"{method['name']} takes {size(method['bytes'][shown - 1])} at {count(lengths[shown - 1])} tokens."
    return [f"{known} ", f"Where will it be at {count(lengths[-1])}?", " Set your prediction, then reveal."]


def fit(formula: dict[str, Any], points: int) -> str:
    """How well a formula meets the measurement."""
    if formula["error"] == 0:
        return f"{formula['text']}: exact at all {points} lengths"
    return f"{formula['text']}: off by at most {significant(100 * formula['error'])} %"


def slope(exponent: float | None) -> str:
    return "" if exponent is None else f"slope {fixed(exponent, 2)}"


def alive(run: dict[str, Any], at: int, alive: Sequence[dict[str, Any]]) -> list[str]:
    """What is alive after one event; `alive` is the largest role first."""
    named = ", ".join(f"{role['name']} {size(role['bytes'])}" for role in alive)
    where = f"After event {count(run['event'][at] + 1)} of {count(run['total'])}, "
    most = ", the most of the run" if at == run["peak"] else ""
    return [where, size(run["live"][at]), f" alive{most}{': ' + named if named else ''}."]
