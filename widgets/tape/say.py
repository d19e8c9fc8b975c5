"""The facts that the Tape says of a picture in the words of messages.json. say.js holds the same.

A sentence is a list of parts, of which every second one matters and is set strong; tests/js/tape.json holds both.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from widgets.kit.format import shown
from widgets.kit.messages import Messages


def percent(x: float) -> str:
    """A share as a reader meets it, below a hundredth with its order of size: "97 %", "0.040 %", "−3.0 %"."""
    size = abs(100 * x)
    return SAYS.text("share", size=size, negative=bool(x < 0 and size >= 0.001))


SAYS = Messages(Path(__file__).with_name("messages.json"), percent=percent, shown=shown)
QUESTION = SAYS.text("question")


def rough(x: float) -> float:
    """To two figures: what is measured in float32 may differ in the next on another machine. x: 0 or more"""
    step = 10.0 ** (math.floor(math.log10(x)) - 1) if x > 0 else 1.0
    return math.floor(x / step + 0.5) * step


def pair_name(at: int, segment: int, text: str | None, what: str) -> str:
    """A pair by its text and where it was written: "‘7’ of segment 4", "pair 12 of segment 3"; segment: from 1 on."""
    return SAYS.text("pair", at=at, segment=segment, text=text, what=what)


def since(segment: int, after: int, planted: float | None) -> dict[str, Any]:
    """How many segments ago a pair was written, below 0 if it is to come; a planted value is there all the same."""
    return {"ago": after - segment, "there": segment <= after or planted is not None}


def recall_parts(
    whose: str,
    after: int,
    segments: int,
    pair: str,
    segment: int,
    cosine: float | None,
    back: float,
    others: float | None,
    planted: float | None,
    nbytes: int,
) -> list[str]:
    """What a pair is read back as, after so many segments.

    segment: in which it was written, from 1 on; cosine: of what is read and what was written, None where nothing is
    stored; back: how much of what was written comes back (see `read.returned`); others: the middle cosine of the other
    pairs; planted: the cosine with the value that was written later under the same key, None if none was
    """
    facts = {"whose": whose, "after": after, "segments": segments, "pair": pair, "cosine": cosine, "back": back}
    facts |= {"planted": planted, "nbytes": nbytes, **since(segment, after, planted)}
    return SAYS.parts("recall", **facts, others=others)


def question_parts(
    whose: str,
    after: int,
    segments: int,
    question: str,
    pair: str,
    segment: int,
    cosine: float | None,
    back: float,
    ratio: float | None,
    planted: float | None,
    nbytes: int,
) -> list[str]:
    """What the model's own question brings back, after so many segments; question: the text of what it asks for.

    cosine: of what is read and the value of the pair; ratio: how much better the question fits the pair's key than the
    others on average, None where that says nothing; otherwise as in `recall_parts`
    """
    facts = {"whose": whose, "after": after, "segments": segments, "pair": pair, "cosine": cosine, "back": back}
    facts |= {"planted": planted, "nbytes": nbytes, **since(segment, after, planted)}
    return SAYS.parts("asked", **facts, question=question, ratio=None if ratio is None else rough(ratio))


def answer_parts(state: str, names: Sequence[str], said: Sequence[str], truth: Sequence[str]) -> list[str]:
    """What the model says where it is asked, in a state of its gates (see `Answers`); names: of the gates."""
    letters = state.removeprefix("-")
    gates: list[dict[str, Any]] = [
        {"name": name, "memory": letter == "1", "emptied": False}
        for name, letter in zip(names, letters, strict=True)
        if letter != "o"
    ]
    if len(gates) == len(names) and len(set(letters)) == 1:
        gates = [{**gates[0], "name": SAYS.text("every")}]
    if state.startswith("-"):
        gates.append({"emptied": True})
    right = sum(a == b for a, b in zip(said, truth, strict=True))
    score = {"right": right, "of": len(truth), "all": right == len(truth)}
    return SAYS.parts("answer", gates=gates, said=said, truth=truth, **score)
