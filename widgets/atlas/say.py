"""What the Atlas says of a picture, in words. say.js says the same; tests/js/atlas.json holds both to it.

A sentence is a list of parts, of which every second one matters and is set strong.
"""

import math
from collections.abc import Sequence

import numpy as np

from widgets.atlas.mask import Mask
from widgets.kit.format import count, fixed, plural, significant, visible

QUESTION = "Where does the mass go, and how much of it does this mask keep?"
RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
SHOWN = 24  # characters of a token's text in a sentence


def percent(share: float) -> str:
    """A share of 1 as a reader meets it: "78.4 %"; something that would round to nothing is not nothing."""
    if 0 < share < 0.0005:
        return "under 0.1\N{NO-BREAK SPACE}%"
    return f"{fixed(100 * share, 1)}\N{NO-BREAK SPACE}%"


def spelled(text: str) -> str:
    """The text of a token, short enough for a sentence that says how long it is."""
    text = visible(text)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({count(len(text))} characters)"


def named(at: int, text: Sequence[str] | None) -> tuple[str, str]:
    """A position in two parts, the second of which matters."""
    return (f"{count(at)} ", f"‘{spelled(text[at])}’") if text else ("", count(at))


def near_by(tokens: int) -> int:
    """How many keys around a query count as near: 64, fewer in a short sequence."""
    return min(64, max(4, tokens // 8))


def facts(row: np.ndarray, query: int, sink: int, near: int, causal: bool) -> dict:
    """What a row of weights comes down to. row: (tokens,); sink: leading keys taken together

    Returns first (share of the leading keys), near (share of the `near` nearest of the others), and of what remains the
    heaviest key and its weight, key -1 when nothing does.
    """
    reach = near - 1 if causal else near // 2
    low, high = max(query - reach, sink), query + reach + 1
    rest = np.array(row, np.float64)
    rest[:sink] = 0
    rest[low : max(high, low)] = 0
    key = int(rest.argmax())
    weight = float(rest[key])
    shares = {"first": float(np.sum(row[:sink])), "near": float(np.sum(row[low : max(high, low)]))}
    return {**shares, "key": key if weight > 0 else -1, "weight": weight}


def weight_words(weight: float) -> str:
    """An exact weight: "a weight of 0.113", "a weight of 3.4 × 10⁻⁵"."""
    if weight <= 0:
        return "not looked at"
    if weight >= 0.001:
        return f"a weight of {significant(weight)}"
    exponent = math.floor(math.log10(weight))
    mantissa = weight / 10.0**exponent
    if mantissa >= 9.95:
        mantissa, exponent = 1.0, exponent + 1
    return f"a weight of {fixed(mantissa, 1)} × 10⁻{str(-exponent).translate(RAISED)}"


def query_parts(
    head: str,
    query: int,
    key: int,
    weight: float,
    found: dict,
    sink: int,
    near: int,
    causal: bool,
    text: Sequence[str] | None,
) -> list[str]:
    """One query, as a sentence, and the key under the cursor, unless it was named already."""
    number, name = named(query, text)
    first = "the first key" if sink == 1 else f"the first {sink} keys"
    nearest = f"the last {near}" if causal else f"the {near} nearest"
    so_far = f": {percent(found['first'])} on {first}, {percent(found['near'])} on {nearest}"
    parts = [f"{head}, query {number}", name]
    if found["key"] < 0:
        parts.append(f"{so_far}, nothing beyond.")
    else:
        number, name = named(found["key"], text)
        parts += [f"{so_far}; of the rest, most on key {number}", name, f", {percent(found['weight'])}."]
    if key == found["key"]:
        return parts
    number, name = named(key, text)
    return [*parts[:-1], f"{parts[-1]} Here, on key {number}", name, f": {weight_words(weight)}."]


def mask_words(mask: Mask, causal: bool, block: int) -> str:
    """What a mask keeps, named: "a window of 128 and 1 sink"."""
    named = []
    if mask.window is not None:
        named.append(f"a window of {count(mask.window)}" + ("" if causal else " on both sides together"))
    if mask.sinks:
        named.append(plural(mask.sinks, "sink"))
    if mask.global_tokens:
        named.append(plural(len(set(mask.global_tokens)), "global token"))
    if mask.blocks:
        heaviest = "heaviest block" if mask.blocks == 1 else f"{count(mask.blocks)} heaviest blocks"
        named.append(f"the {heaviest} of {block} × {block} in each row of blocks")
    if not named:
        return "no mask"
    return " and ".join(filter(None, [", ".join(named[:-1]), named[-1]]))


def mask_parts(mask: Mask, causal: bool, block: int, kept: float, pairs: float) -> list[str]:
    """How much a mask keeps, as a sentence. The number comes first, and alone is set large."""
    if mask.everything:
        return ["", percent(1), " of the mass is kept: no mask is set."]
    words = mask_words(mask, causal, block)
    return ["", percent(kept), f" of the mass is kept by {words}, reading {percent(pairs)} of the pairs."]


def aggregate_words(statistic: str, cell: int) -> str:
    """What one pixel of a level stands for. statistic: max or mean."""
    return "each pixel = one cell or part of it" if cell == 1 else f"each pixel = {statistic} of {cell} × {cell} cells"


def side_by_side(parts: Sequence[Sequence[str]]) -> str:
    """Sentences as plain text, a line each."""
    return "\n".join("".join(sentence) for sentence in parts)
