"""Reading a recorded memory, and writing one pair more: what the page does again in read.js.

The rules are those of `solutions.infini`, for one memory and one key, in float64. tests/js/tape.json holds both files
to the same numbers. Shapes: key (d_key,), value (d_value,), memory (d_key, d_value), z (d_key,).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from widgets.tape.measure import Recording

RULES = {"linear": "linear", "delta": "delta", "gamma": "corrected", "unit": "no z"}
"""Rule -> what it is called in a picture: eq. 8, eq. 9, eq. 9 with the z of Rodkin et al., the delta rule without z."""


def feature(rule: str, x: np.ndarray) -> np.ndarray:
    """ELU + 1, or SiLU cut to length 1 where there is no z. x: (..., d_key)"""
    if rule != "unit":
        return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))
    silu = x / (1 + np.exp(-x))
    return silu / np.maximum(np.linalg.norm(silu, axis=-1, keepdims=True), 1e-12)


def read(rule: str, key: np.ndarray, memory: np.ndarray, z: np.ndarray) -> np.ndarray:
    """What the memory returns for a key: (d_value,); zeros where nothing is stored. key may be (..., d_key)."""
    weight = feature(rule, key)
    found = weight @ memory
    if rule == "unit":
        return found
    total = (weight @ z)[..., None]
    return found / np.where(total > 0, total, 1)


def write(
    rule: str, key: np.ndarray, value: np.ndarray, memory: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The memory and z after one pair more, a segment of its own."""
    weight = feature(rule, key)
    new = value if rule == "linear" else value - read(rule, key, memory, z)
    memory = memory + np.outer(weight, new)
    if rule == "unit":
        return memory, z
    gamma = np.clip(1 - weight @ z / (weight @ weight), 0, 1) if rule == "gamma" else 1
    return memory, z + gamma * weight


def cosine(a: np.ndarray, b: np.ndarray) -> float | None:
    """The cosine of two vectors; None where one of them is nothing."""
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length > 0 else None


def returned(found: np.ndarray, value: np.ndarray) -> float:
    """How much of a value comes back: the part of `found` along it, 1 for all, 0 for nothing."""
    length = float(value @ value)
    return float(found @ value) / length if length > 0 else 0.0


def fit(rule: str, query: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """How well a query fits keys, the weight of each in its read. query: (d_key,); keys: (..., d_key)"""
    return feature(rule, keys) @ feature(rule, query)


def share(a: float, b: float, tokens: int) -> float:
    """Predicted: a / (a + N b), the weight of a pair in a read beside N others (linear rule); a: its fit, b: theirs."""
    return a / (a + tokens * b) if a + tokens * b > 0 else 0.0


def median(values: Sequence[float]) -> float | None:
    """The middle value, the mean of the two in the middle; None of none."""
    ordered = sorted(values)
    if not ordered:
        return None
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def frame_of(recording: "Recording") -> int:
    """The frame to begin with: what the question found, or the last; see `recalled`."""
    if recording.answers is None or recording.answers.after not in recording.after:
        return len(recording.after)
    return recording.after.tolist().index(recording.answers.after) + 1


def recalled(recording: "Recording", rule: str, memory: int, frame: int) -> dict[int, float | None]:
    """Pair -> cosine of what its key brings back and its value, of all written by then.

    frame: 0 for the empty memory, else number of the snapshot, from 1 on
    """
    if frame == 0:
        return {}
    m, z = (held[rule][frame - 1, memory].astype(np.float64) for held in (recording.memory, recording.z))
    written = np.flatnonzero(recording.at < int(recording.after[frame - 1]) * recording.segment)
    k, v = (side[written, memory].astype(np.float64) for side in (recording.k, recording.v))
    return {
        int(pair): cosine(found, value)
        for pair, found, value in zip(written, read(rule, k, m, z), v, strict=True)
    }
