"""What the Tape says of a picture, in words. say.js says the same; tests/js/tape.json holds both to it.

A sentence is a list of parts, of which every second one matters and is set strong.
"""

import math
from collections.abc import Sequence

from widgets.kit.format import count, fixed, plural, shown, signed, times

QUESTION = "What does a memory of fixed size remember, and what does it lose?"


def percent(x: float) -> str:
    """A share as a reader meets it, below a hundredth with its order of size: "97 %", "0.040 %", "−3.0 %"."""
    size = abs(100 * x)
    text = "under 0.001" if size else "0"
    if size >= 0.001:
        text = fixed(size, 0 if size >= 10 else 1 if size >= 0.095 else 3)
    return f"{'−' if x < 0 and size >= 0.001 else ''}{text}\N{NO-BREAK SPACE}%"


def rough(x: float) -> float:
    """To two figures: what is measured in float32 may differ in the next on another machine. x: 0 or more"""
    step = 10.0 ** (math.floor(math.log10(x)) - 1) if x > 0 else 1.0
    return math.floor(x / step + 0.5) * step


def pair_name(at: int, segment: int, text: str | None, what: str) -> str:
    """A pair by its text and where it was written: "‘7’ of segment 4", "pair 12 of segment 3"; segment: from 1 on."""
    token = f"{what} {count(at)}" if text is None else f"‘{shown(text)}’"
    return f"{token} of segment {count(segment)}"


def ago(segments: int) -> str:
    return "just written" if segments == 0 else f"{plural(segments, 'segment')} later"


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
    begin = f"{whose}, after segment {count(after)} of {count(segments)}: "
    end = f" The state takes {count(nbytes)} bytes, after any segment."
    if cosine is None:
        return [begin, "nothing is stored", f", so no key brings anything back.{end}"]
    if segment > after and planted is None:
        return [begin, f"{pair} is still to come", f".{end}"]
    when = "its key alone" if segment > after else ago(after - segment)
    parts = [f"{begin}{pair} comes back at ", f"cosine {signed(cosine)}", f" with {percent(back)} of v, {when}"]
    if planted is not None:
        parts = [*parts[:-1], f"{parts[-1]}; what was written over it since, at ", f"cosine {signed(planted)}", ""]
    if others is not None:
        parts[-1] += f"; of the other pairs half come back below {signed(others)}"
    parts[-1] += f".{end}"
    return parts


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
    begin = f"{whose}, after segment {count(after)} of {count(segments)}: "
    end = f" The state takes {count(nbytes)} bytes, after any segment."
    if cosine is None:
        return [begin, "nothing is stored", f", so the question for ‘{shown(question)}’ brings nothing back.{end}"]
    if segment > after and planted is None:
        return [begin, f"{pair} is still to come", f", the question for ‘{shown(question)}’ only finds others.{end}"]
    when = "its key alone" if segment > after else ago(after - segment)
    asks = f"{begin}the question for ‘{shown(question)}’ brings back the value of {pair} at "
    parts = [asks, f"cosine {signed(cosine)}", f" with {percent(back)} of v, {when}"]
    if planted is not None:
        parts = [*parts[:-1], f"{parts[-1]}; what was written over it since, at ", f"cosine {signed(planted)}", ""]
    if ratio is not None:
        parts = [*parts[:-1], f"{parts[-1]}; it fits that key ", times(rough(ratio)), " as well as the others"]
    parts[-1] += f".{end}"
    return parts


def answer_parts(state: str, names: Sequence[str], said: Sequence[str], truth: Sequence[str]) -> list[str]:
    """What the model says where it is asked, in a state of its gates (see `Answers`); names: of the gates."""
    out = state.startswith("-")
    forced = [
        f"{name} {'on memory' if letter == '1' else 'on its segment'} alone"
        for name, letter in zip(names, state.removeprefix("-"), strict=True)
        if letter != "o"
    ]
    if len(forced) == len(names) and len(set(state.removeprefix("-"))) == 1:
        forced = [f"every head {'on memory' if state.endswith('1') else 'on its segment'} alone"]
    how = [*forced, *(["M and z emptied before the question"] if out else [])]
    right = sum(a == b for a, b in zip(said, truth, strict=True))
    begin = f"Asked at the end, with {' and '.join(how)}, " if how else "Asked at the end, "
    score = "right" if right == len(truth) else f"{count(right)} of {count(len(truth))} right"
    correct = "" if right == len(truth) else f"; it was {' '.join(shown(text) for text in truth)}"
    return [f"{begin}the model says ", " ".join(shown(text) for text in said), f": {score}{correct}."]
