"""The facts that the Eye says of a picture in the words of messages.json. say.js holds the same.

A sentence is a list of parts, of which every second one matters and is set strong; tests/js/selector.json holds both.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from widgets.kit.format import shown
from widgets.kit.messages import Messages

SAYS = Messages(Path(__file__).with_name("messages.json"), shown=shown)
QUESTION = SAYS.text("question")


def percent(share: float) -> str:
    """A share of 1: "93 %", "0.4 %"; what is not quite all or not quite nothing is not rounded to it."""
    return SAYS.text("percent", it=share)


def named(at: int, text: str | None) -> str:
    """A token by its place and its text: "12 ‘bank’", "12"."""
    return SAYS.text("named", at=at, text=text)


def who(selector: str, precision: str, blocks: int) -> str:
    """Who chooses: "the indexer in fp8", "the oracle by blocks of 4", "Quest"; blocks: 0 for single tokens."""
    few = precision if selector == "indexer" and precision != "fp32" else None
    wide = blocks if blocks and selector in ("indexer", "oracle") else None
    return SAYS.text("who", selector=selector, precision=few, blocks=wide)


def is_not(chooser: str, selector: str) -> bool:
    return chooser != SAYS.text("chooser", selector=selector)


def query_parts(where: str, query: str, tokens: int, k: int, chooser: str, facts: Mapping[str, Any]) -> list[str]:
    """What the choice of one query keeps.

    where: "Layer 1, all heads"; query: as `named` says it; chooser: as `who` does
    facts: visible (keys that it sees), mass, missed ([name, weight] of the heaviest key of the oracle's that is not
        chosen, or None), misses (how many there are), oracle, window (masses), needle ([name, chosen] or None)
    """
    missed, weight = facts["missed"] or (None, None)
    needle, chosen = facts["needle"] or (None, None)
    others = [{"name": name, "share": facts[name]} for name in ("oracle", "window") if is_not(chooser, name)]
    told = {"where": where, "query": query, "tokens": tokens, "k": k, "chooser": chooser, "others": others}
    told |= {"visible": facts["visible"], "mass": facts["mass"], "missed": missed, "weight": weight}
    told |= {"more": facts["misses"] - 1, "best": not is_not(chooser, "oracle"), "needle": needle, "chosen": chosen}
    return SAYS.parts("query", **told, all=facts["visible"] <= k)


def all_parts(k: int, counted: str, chooser: str, mass: float, oracle: float, window: float | None) -> list[str]:
    """What the choices of all queries keep, by the one in the middle. counted: "half of 88 queries"."""
    shares = {"oracle": oracle, "window": window}
    others = [
        {"selector": selector, "share": share}
        for selector, share in shares.items()
        if share is not None and is_not(chooser, selector)
    ]
    return SAYS.parts("middle", k=k, counted=counted, chooser=chooser, mass=mass, others=others)


def counted_words(counted: int, kept: int, tokens: int) -> str:
    """The queries that a middle is taken of: "half of 88 queries", "half of 496 of 131,072 queries"."""
    return SAYS.text("counted", counted=counted, tokens=tokens, whole=kept == tokens)
