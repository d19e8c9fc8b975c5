"""A softmax in pieces: what is read part by part, with a running maximum and a running sum, and joined again."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from solutions.shapes import counts, same_kind, same_sizes, shapes


def chunks_fit(chunks: Sequence[Tensor]) -> None:
    """Raise ValueError unless there is a chunk, and all are floating tensors that differ in their last size only."""
    named = {f"chunk {index}": chunk for index, chunk in enumerate(chunks)}
    if not named:
        raise ValueError("chunks is empty; give at least one tensor of scores.")
    same_kind(named)
    same_sizes(named, {name: f"... c{index}" for index, name in enumerate(named)})


@shapes(check=chunks_fit)
def online_softmax(chunks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The maximum of a row and its sum of exponentials, from pieces that are each read once.

    chunks: tensors of scores, (..., at least 1) each; -inf means "not this key"
    Returns (maximum, total), (...) each, with total = Σ exp(score - maximum): log_sum_exp is maximum + log(total).
    Both are float32 also of half precision, and float64 of float64. A row of nothing but -inf has total 0 and, for its
    maximum, the most negative finite number of the dtype returned.
    """
    wide = torch.promote_types(chunks[0].dtype, torch.float32)
    maximum = torch.full_like(chunks[0][..., 0], torch.finfo(wide).min, dtype=wide)  # -inf - (-inf) would be nan
    total = torch.zeros_like(maximum)
    for chunk in chunks:
        new_maximum = torch.maximum(maximum, chunk.amax(dim=-1))
        alpha = torch.exp(maximum - new_maximum)  # the change of unit
        total = alpha * total + torch.exp(chunk - new_maximum[..., None]).sum(dim=-1)
        maximum = new_maximum
    return maximum, total


@shapes(
    out_a="... rows d",
    lse_a="... rows",
    out_b="... rows d",
    lse_b="... rows",
    any_dtype=("lse_a", "out_b", "lse_b"),
)
def merge(out_a: Tensor, lse_a: Tensor, out_b: Tensor, lse_b: Tensor) -> tuple[Tensor, Tensor]:
    """Join what the same queries found among two disjoint sets of keys.

    out_a, out_b: (..., rows, d), each a finished attention; lse_a, lse_b: (..., rows), the log-sum-exp of their scores
    Returns (out, lse) of the keys together, both float32 also of half precision, and float64 of float64: round when all
    parts are joined. A part that saw no key has lse -inf and weighs nothing; where neither saw one, out is 0 and lse
    -inf.
    """
    wide = torch.promote_types(lse_a.dtype, torch.float32)
    maximum = torch.maximum(lse_a, lse_b).to(wide).clamp(min=torch.finfo(wide).min)  # -inf - (-inf) would be nan
    weight_a, weight_b = torch.exp(lse_a - maximum), torch.exp(lse_b - maximum)
    total = weight_a + weight_b
    out = weight_a[..., None] * out_a + weight_b[..., None] * out_b
    return out / total.clamp(min=1)[..., None], maximum + torch.log(total)


@counts("block_n")
@shapes(q="queries d", k="keys d", v="keys d")
def online_attention(q: Tensor, k: Tensor, v: Tensor, block_n: int) -> tuple[Tensor, Tensor]:
    """Attention of a few queries that read keys and values block_n at a time, each once.

    q: (queries, d); k, v: (keys, d), of which the last block may be shorter
    Returns (out, lse), (queries, d) in q's dtype and (queries,), the log-sum-exp of each row's scores. All between, the
    weights too, and lse are float32 also of half precision, and float64 of float64. No tensor that it makes is larger
    than a block's scores (queries × block_n), a block of keys (block_n × d) or the output (queries × d).
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    row_max = torch.full_like(q[:, 0], -math.inf, dtype=wide)
    row_sum, acc = torch.zeros_like(row_max), torch.zeros_like(q, dtype=wide)
    for k_tile, v_tile in zip(k.split(block_n), v.split(block_n), strict=True):
        scores = q.to(wide) @ k_tile.to(wide).T / math.sqrt(q.shape[-1])
        new_max = torch.maximum(row_max, scores.amax(dim=1))
        alpha, weights = torch.exp(row_max - new_max), torch.exp(scores - new_max[:, None])
        row_sum = alpha * row_sum + weights.sum(dim=1)
        acc = alpha[:, None] * acc + weights @ v_tile.to(wide)
        row_max = new_max
    return (acc / row_sum[:, None]).to(q.dtype), row_max + torch.log(row_sum)


@counts("splits")
@shapes(q="... queries d", k="... keys d", v="... keys d_value")
def split_attention(q: Tensor, k: Tensor, v: Tensor, splits: int) -> Tensor:
    """Attention over the keys in `splits` parts that need nothing from each other, then merged (flash-decoding).

    q: (..., queries, d); k: (..., keys, d); v: (..., keys, d_value)
    Returns (..., queries, d_value) in q's dtype. No part has more than ceil(keys / splits) keys; some may have fewer,
    or none. Nothing it makes is larger than all keys, all values, all parts' outputs or the scores of one part. Of half
    precision scores, weights, log-sum-exps and what is merged are float32 or better, and the result is rounded once.
    (Ours merges in float64, since 200 roundings in float32 add up; Apple's MPS has none.)
    """
    size, wide = math.ceil(k.shape[-2] / splits), torch.promote_types(q.dtype, torch.float32)
    q_wide = q.to(wide)
    out = torch.zeros_like(q[..., :1] * v[..., :1, :], dtype=torch.float64)
    lse = torch.full_like(q[..., 0], -math.inf, dtype=torch.float64)
    for start in range(0, splits * size, size):
        k_part, v_part = k[..., start : start + size, :].to(wide), v[..., start : start + size, :].to(wide)
        scores = q_wide @ k_part.transpose(-2, -1) / math.sqrt(q.shape[-1])
        part_lse = torch.logsumexp(scores, dim=-1)
        weights = torch.exp(scores - part_lse[..., None])
        out, lse = merge(out, lse, weights @ v_part, part_lse)
    return out.to(q.dtype)
