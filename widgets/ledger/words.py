"""The facts that the untouched picture says in the words of messages.json, as parts of which every second one matters.

words.js holds the same functions, and those for what the reader does.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from widgets.kit.messages import Messages

SAYS = Messages(Path(__file__).with_name("messages.json"))

Method = dict[str, Any]


def growth(lengths: Sequence[int], methods: Sequence[Method], chosen: int, at: int) -> list[str]:
    """How all methods grow up to the length at index `at`; the one at index `chosen` is what matters."""

    def grown(method: Method) -> dict[str, Any]:
        nbytes = method["bytes"]
        now = nbytes[at] if at < len(nbytes) else None
        more = None if at == 0 or now is None or not nbytes[0] else now / nbytes[0]
        return {"name": method["name"], "bytes": now, "more": more, "until": lengths[len(nbytes) - 1]}

    others = [grown(method) for i, method in enumerate(methods) if i != chosen]
    longer = None if at == 0 else lengths[at] / lengths[0]
    return SAYS.parts("growth", **grown(methods[chosen]), tokens=lengths[0], longer=longer, others=others)


def asked(lengths: Sequence[int], method: Method, shown: int) -> list[str]:
    """What is asked before the reader has said anything."""
    known = {"name": method["name"], "bytes": method["bytes"][shown - 1], "tokens": lengths[shown - 1]}
    return SAYS.parts("asked", **known, end=lengths[-1])


def fit(formula: dict[str, Any], points: int) -> str:
    """How well a formula meets the measurement."""
    error = formula["error"]
    return SAYS.text("fit", text=formula["text"], points=points, error=error, percent=100 * error)


def slope(exponent: float | None) -> str:
    return SAYS.text("slope", exponent=exponent)


def alive(run: dict[str, Any], at: int, alive: Sequence[dict[str, Any]]) -> list[str]:
    """What is alive after one event; `alive` is the largest role first."""
    event = {"event": run["event"][at] + 1, "total": run["total"], "live": run["live"][at], "most": at == run["peak"]}
    return SAYS.parts("alive", **event, roles=alive)
