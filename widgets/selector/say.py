"""What the Eye says of a picture, in words. say.js says the same; tests/js/selector.json holds both to it.

A sentence is a list of parts, of which every second one matters and is set strong.
"""

from collections.abc import Mapping
from typing import Any

from widgets.kit.format import count, fixed, shown

QUESTION = "Does it pick the tokens that the attention looks at?"
NAMES = {"indexer": "the indexer", "oracle": "the oracle", "window": "a window", "random": "a random choice"}


def percent(share: float) -> str:
    """A share of 1: "93 %", "0.4 %"; what is not quite all or not quite nothing is not rounded to it."""
    if 0 < share < 0.0005:
        return "under 0.1\N{NO-BREAK SPACE}%"
    if 0.9995 <= share < 1 - 1e-6:
        return "over 99.9\N{NO-BREAK SPACE}%"
    digits = 1 if 0 < share < 0.0995 or 0.995 <= share < 0.9995 else 0
    return f"{fixed(100 * share, digits)}\N{NO-BREAK SPACE}%"


def named(at: int, text: str | None) -> str:
    """A token by its place and its text: "12 ‘bank’", "12"."""
    return count(at) if text is None else f"{count(at)} ‘{shown(text)}’"


def who(selector: str, precision: str, blocks: int) -> str:
    """Who chooses: "the indexer in fp8", "the oracle by blocks of 4", "Quest"; blocks: 0 for single tokens."""
    name = NAMES.get(selector, selector)
    if selector == "indexer" and precision != "fp32":
        name += f" in {precision}"
    return f"{name} by blocks of {blocks}" if blocks and selector in ("indexer", "oracle") else name


def query_parts(where: str, query: str, tokens: int, k: int, chooser: str, facts: Mapping[str, Any]) -> list[str]:
    """What the choice of one query keeps.

    where: "Layer 1, all heads"; query: as `named` says it; chooser: as `who` does
    facts: visible (keys that it sees), mass, missed ([name, weight] of the heaviest key of the oracle's that is not
        chosen, or None), misses (how many there are), oracle, window (masses), needle ([name, chosen] or None)
    """
    begin = f"{where}, query {query} of {count(tokens)}, k = {count(k)}: "
    if facts["visible"] <= k:
        keys = "1 key" if facts["visible"] == 1 else f"{count(facts['visible'])} keys"
        return [f"{begin}it sees ", keys, ", and every choice takes them all."]
    end = " of the mass"
    if facts["missed"] is not None:
        name, weight = facts["missed"]
        more = f" and {count(facts['misses'] - 1)} more of the oracle's" if facts["misses"] > 1 else ""
        end += f"; misses token {name} ({percent(weight)}){more}"
    elif chooser != "the oracle":
        end += "; misses nothing that the oracle takes"
    others = [f"{name} {percent(facts[name])}" for name in ("oracle", "window") if chooser != NAMES[name]]
    end += f"; {', '.join(others)}."
    if facts["needle"] is not None:
        name, chosen = facts["needle"]
        end += f" The needle, token {name}, is {'chosen' if chosen else 'missed'}."
    return [f"{begin}{chooser} captures ", percent(facts["mass"]), end]


def all_parts(k: int, counted: str, chooser: str, mass: float, oracle: float, window: float | None) -> list[str]:
    """What the choices of all queries keep, by the one in the middle. counted: "half of 88 queries"."""
    others = [] if chooser == "the oracle" else [f"{percent(oracle)} with the oracle"]
    others += [] if window is None or chooser == "a window" else [f"{percent(window)} with a window"]
    end = f"; {', '.join(others)}." if others else "."
    return [f"At k = {count(k)}, {counted} keep more than ", percent(mass), f" of their mass with {chooser}{end}"]


def counted_words(counted: int, kept: int, tokens: int) -> str:
    """The queries that a middle is taken of: "half of 88 queries", "half of 496 of 131,072 queries"."""
    return f"half of {count(counted)}{'' if kept == tokens else f' of {count(tokens)}'} queries"
