"""What is computed for one query from q, k and the indexer's q, k, w: what the page does again in row.js.

    I[s] = Σ_j  w[j] · ReLU(q[j] · k[s])          for the keys s up to the query
    P[s] = exp(scale q . k[s]) / their sum        for each head; seen from all heads: their mean

Everything is float64, and the sums over channels are made in the same order in both files, so that equal keys get equal
scores and ties fall alike. tests/js/selector.json holds both files to the same numbers.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from widgets.selector.measure import Layer

PRECISIONS = {"fp32": None, "fp8": "e4m3", "fp4": "e2m1"}
"""What a picture calls a precision -> the kind that `solutions.sparse.quantise` simulates."""

LARGEST = {"e4m3": 448.0, "e2m1": 6.0}
FLOOR = 1e-4  # of a vector's largest entry, as in solutions.sparse
EXPONENTS = {"e4m3": -6, "e2m1": 0}  # of the smallest normal number
MANTISSA = {"e4m3": 3, "e2m1": 1}  # bits


def quantised(x: np.ndarray, kind: str | None) -> np.ndarray:
    """Vectors (..., d) rounded to numbers of 8 or 4 bits times a power of two each, as `solutions.sparse.quantise`.

    The scale is multiplied back: it is a power of two, so the products are those of the codes, exactly.
    """
    x = np.asarray(x, np.float64)
    if kind is None:
        return x
    largest = np.maximum(np.abs(x).max(axis=-1, keepdims=True), FLOOR)
    scale = np.exp2(np.ceil(np.log2(largest / LARGEST[kind])))
    code = x / scale
    exponent = np.maximum(np.floor(np.log2(np.maximum(np.abs(code), 1e-30))), EXPONENTS[kind])
    step = np.exp2(exponent - MANTISSA[kind])
    return np.rint(code / step) * step * scale  # halves to the even code


def products(k: np.ndarray, q: np.ndarray) -> np.ndarray:
    """q · k for every key: (m,), summed channel after channel. k: (m, d); q: (d,)"""
    total = np.zeros(len(k))
    for channel in range(len(q)):
        total += k[:, channel] * q[channel]
    return total


def index_row(q: np.ndarray, k: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The index scores of one query: (m,). q: (index_heads, index_dim); k: (m, index_dim); w: (index_heads,)"""
    scores = np.zeros(len(k))
    for head, weight in zip(q, w, strict=True):
        scores += weight * np.maximum(products(k, head), 0)
    return scores


def weights_row(q: np.ndarray, k: np.ndarray, scale: float) -> np.ndarray:
    """What each head pays to every key: (heads, m). q: (heads, d); k: (kv_heads, m, d)"""
    group = len(q) // len(k)
    scores = np.stack([scale * products(k[head // group], each) for head, each in enumerate(q)])
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def best(scores: np.ndarray, k: int) -> np.ndarray:
    """Boolean (m,): the k largest scores, of equal ones the first."""
    chosen = np.zeros(len(scores), bool)
    chosen[np.argsort(-scores, kind="stable")[:k]] = True
    return chosen


def best_blocks(scores: np.ndarray, m: int, k: int, block: int) -> np.ndarray:
    """Boolean (m,): the query's own block of keys, and of those before it so many that they are k // block in all.

    scores: one for each block before the own one, all of them whole; a k below `block` takes the latest of its own
    """
    own = len(scores) * block
    if k < block:
        return latest(m, min(k, m - own))
    chosen = np.repeat(best(scores, k // block - 1), block)
    return np.concatenate([chosen, np.ones(m - own, bool)])


def latest(m: int, k: int) -> np.ndarray:
    """Boolean (m,): the k latest keys."""
    return np.arange(m) >= m - k


def rows_of(layer: "Layer", precision: str, place: int, query: int) -> tuple[np.ndarray, np.ndarray]:
    """Index scores and attention (the mean of all heads) of one kept query, both (query + 1,), float64."""
    kind = PRECISIONS[precision]
    wide = lambda array: array.astype(np.float64)  # noqa: E731
    index_q, index_k = (quantised(wide(x), kind) for x in (layer.index_q[place], layer.index_k[: query + 1]))
    scores = index_row(index_q, index_k, wide(layer.index_w[place]))
    weights = weights_row(wide(layer.q[place]), wide(layer.k[:, : query + 1]), layer.scale)
    return scores, weights.mean(axis=0)
