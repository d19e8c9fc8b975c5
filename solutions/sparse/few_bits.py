"""Numbers of few bits: e4m3 and e2m1 with a scale a vector, the Hadamard transform, and index scores made of them."""

import math

import torch
from torch import Tensor

from solutions.accepts import (
    positive_scales,
    power_of_two,
)
from solutions.shapes import in_float32, refuse_not_finite, shapes
from solutions.sparse.indexer import index_scores

E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # what 4 bits can say, beside the sign (Open Compute Project, MX 1.0)
LARGEST = {"e4m3": 448.0, "e2m1": 6.0}
FLOOR = 1e-4  # of the largest entry, as DeepSeek's demo has it: smaller vectors get no smaller scale


def kind_is_known(x: Tensor, kind: str, **_) -> None:
    """Raise ValueError for a kind of number that is not simulated, and for what no scale brings into range."""
    if kind not in LARGEST:
        raise ValueError(f"kind is {kind!r}; give one of {', '.join(LARGEST)}.")
    refuse_not_finite(x=x)


@shapes(x="... d", check=kind_is_known)
def quantise(x: Tensor, kind: str = "e4m3") -> tuple[Tensor, Tensor]:
    """Round every vector to numbers of 8 bits ("e4m3") or 4 ("e2m1"), times a scale of its own: x ≈ codes · scale.

    x: (..., d)
    Returns the codes, (..., d), in x's dtype but with values that the kind has, and the scales, (..., 1). A scale is a
    power of two (UE8M0), rounded up: no code is beyond 448 or 6, so nothing is clipped. Zeros stay zeros, with the
    scale of a vector whose largest entry is 1e-4; so does, in effect, what is far smaller than that.
    Raises ValueError for a nan or an infinity.
    """
    largest = x.abs().amax(dim=-1, keepdim=True).clamp(min=FLOOR)
    mantissa, exponent = torch.frexp(largest / LARGEST[kind])  # mantissa in [1/2, 1): exactly 1/2 is a power of two
    scale = torch.exp2((exponent - (mantissa == 0.5).int()).to(x.dtype))
    if kind == "e4m3":
        return (x / scale).to(torch.float8_e4m3fn).to(x.dtype), scale
    return nearest_e2m1(x / scale), scale


def nearest_e2m1(x: Tensor) -> Tensor:
    """The nearest number that e2m1 has; halfway between two the one with the even code."""
    values = torch.tensor(E2M1, dtype=x.dtype, device=x.device)
    halfway = (values[1:] + values[:-1]) / 2
    low, high = torch.bucketize(x.abs(), halfway), torch.bucketize(x.abs(), halfway, right=True)
    return values[torch.where(low % 2 == 0, low, high)] * x.sign()


@shapes(x="... d", check=power_of_two)
@in_float32
def hadamard(x: Tensor) -> Tensor:
    """Rotate every vector so that an outlier in one entry is spread over all: products of two vectors stay the same.

    x: (..., d), d a power of two
    Returns x H, (..., d), where H is the matrix of Hadamard, whose entries are 1 and -1, over √d.
    """
    size, step = x.shape[-1], 1
    while step < size:
        a, b = x.unflatten(-1, (-1, 2, step)).unbind(dim=-2)
        x = torch.stack([a + b, a - b], dim=-2).flatten(-3)
        step *= 2
    return x / math.sqrt(size)


@shapes(
    q="batch index_heads n index_dim",
    k="batch m index_dim",
    w="batch n index_heads",
    q_scale="batch index_heads n one",
    k_scale="batch m one",
    check=positive_scales,
)
@in_float32
def folded_index_scores(q: Tensor, k: Tensor, w: Tensor, q_scale: Tensor, k_scale: Tensor) -> Tensor:
    """The index scores of q · q_scale and k · k_scale, with every product made between the codes.

    q: (batch, index_heads, n, index_dim) and k: (batch, m, index_dim), codes; w: (batch, n, index_heads)
    q_scale: (batch, index_heads, n, 1); k_scale: (batch, m, 1): positive, so that they pass the ReLU
    Returns (batch, n, m). The scale of a query's head joins that head's weight; the scale of a key is the same for all
    heads, and multiplies their sum. (Codes of few bits stand in float32, which holds their products.)
    """
    w = w * q_scale[..., 0].transpose(1, 2)
    return index_scores(q, k, w) * k_scale.transpose(1, 2)


@in_float32
def low_precision_scores(q: Tensor, k: Tensor, w: Tensor, kind: str = "e4m3", rotated: bool = False) -> Tensor:
    """`index_scores` with q and k in few bits; rotated: by Hadamard's matrix, before they are rounded."""
    if rotated:
        q, k = hadamard(q), hadamard(k)
    (q, q_scale), (k, k_scale) = quantise(q, kind), quantise(k, kind)
    return folded_index_scores(q, k, w, q_scale, k_scale)
