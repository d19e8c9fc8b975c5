"""The facts that the Atlas says of a picture in the words of messages.json. say.js holds the same.

A sentence is a list of parts, of which every second one matters and is set strong; tests/js/atlas.json holds both.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from widgets.atlas.mask import Mask
from widgets.kit.format import visible
from widgets.kit.messages import Messages

SHOWN = 24  # characters of a token's text in a sentence


def percent(share: float) -> str:
    """A share of 1 as a reader meets it: "78.4 %"; something that would round to nothing is not nothing."""
    return SAYS.text("percent", it=share)


def spelled(text: str) -> str:
    """The text of a token, short enough for a sentence that says how long it is."""
    text = visible(text)
    return SAYS.text("spelled", text=text[:SHOWN], letters=len(text), cut=len(text) > SHOWN)


def raised(number: int) -> str:
    """A whole number in raised figures."""
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


SAYS = Messages(Path(__file__).with_name("messages.json"), raised=raised, spelled=spelled)
QUESTION = SAYS.text("question")


def token(at: int, text: Sequence[str] | None) -> dict[str, Any]:
    return {"at": at, "text": text[at] if text else None}


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
    if weight <= 0 or weight >= 0.001:
        return SAYS.text("weight", weight=weight)
    exponent = math.floor(math.log10(weight))
    mantissa = weight / 10.0**exponent
    if mantissa >= 9.95:
        mantissa, exponent = 1.0, exponent + 1
    return SAYS.text("weight", weight=weight, mantissa=mantissa, exponent=-exponent)


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
    shares = {"on_first": found["first"], "on_near": found["near"], "on_rest": found["weight"]}
    told = {"head": head, "query": token(query, text), "sink": sink, "near": near, "causal": causal, **shares}
    rest = None if found["key"] < 0 else token(found["key"], text)
    here = None if key == found["key"] else token(key, text)
    return SAYS.parts("query", **told, rest=rest, here=here, how=weight_words(weight))


def mask_parts(mask: Mask, causal: bool, block: int, kept: float, pairs: float) -> list[str]:
    """How much a mask keeps, as a sentence. The number comes first, and alone is set large."""
    many = {"window": mask.window, "sinks": mask.sinks, "globals": len(set(mask.global_tokens)), "blocks": mask.blocks}
    sets = [{"set": name, "many": number} for name, number in many.items() if number]
    kept = 1 if mask.everything else kept
    return SAYS.parts("kept", sets=sets, kept=kept, pairs=pairs, causal=causal, block=block)


def beside_parts(head: str, kept: float) -> list[str]:
    """How much the same mask keeps of the head beside."""
    return SAYS.parts("beside", head=head, kept=kept)


def aggregate_words(statistic: str, cell: int) -> str:
    """What one pixel of a level stands for. statistic: max or mean."""
    return SAYS.text("pixel", statistic=statistic, cell=cell)


def side_by_side(parts: Sequence[Sequence[str]]) -> str:
    """Sentences as plain text, a line each."""
    return "\n".join("".join(sentence) for sentence in parts)
