"""The lightning indexer, the choice, attention over what is chosen, and the losses from which the indexer learns."""

import math

import torch
from torch import Tensor

from solutions.accepts import (
    gathered_fits,
    heads_divide,
    scores_compare,
    scores_fit_probabilities,
)
from solutions.quadratic import attention, attention_scores, causal_mask, softmax
from solutions.shapes import counts, in_float32, shapes, wide

# The mechanism ---------------------------------------------------------------------------------------------------


@shapes(q="batch index_heads n index_dim", k="batch m index_dim", w="batch n index_heads")
def index_scores(q: Tensor, k: Tensor, w: Tensor) -> Tensor:
    """Score every key for every query with a few small heads (DeepSeek-V3.2-Exp, equation 1).

    q: (batch, index_heads, n, index_dim); k: (batch, m, index_dim), one key for all heads
    w: (batch, n, index_heads): how much each head counts for this query, all factors such as 1 / √d in it; of either
    sign, so a score may be negative
    Returns (batch, n, m), of which only the order matters; of half precision the products and sums are made in float32,
    and rounded back once, at the end. On the way it holds index_heads scores of every pair, so of a long text
    give it a few queries at a time, as `sparse_attention` does.
    """
    fit = torch.einsum("bhnd,bmd->bhnm", wide(q), wide(k)).relu()
    return torch.einsum("bhnm,bnh->bnm", fit, wide(w)).to(q.dtype)


@counts("k")
@shapes(scores="batch n m", check=scores_compare)
def select_top_k(scores: Tensor, k: int, *, causal: bool = True) -> Tensor:
    """The k keys with the largest scores, the best first; of equal scores the key that comes first in the sequence.

    scores: (batch, n, m); -inf means "not this key"
    causal: hide the keys after each query, where the queries are the last n of m tokens
    k: 1 or more; from m on all keys are chosen
    Returns positions, (batch, n, min(k, m)), torch.int64; -1 where a query has fewer keys to choose from. The first j
    columns are the choice of the j best. (What stands around the function refuses a k below 1 and a nan: the body need
    not.)
    """
    if causal:
        hidden = ~causal_mask(*scores.shape[-2:], device=scores.device)
        scores = scores.masked_fill(hidden, -math.inf)
    ranked, indices = scores.topk(min(k + 1, scores.shape[-1]))
    tied = (ranked[..., 1:] == ranked[..., :-1]) & (ranked[..., 1:] > -math.inf)
    if tied.any():  # topk leaves open which of them comes first; a stable sort, which takes longer, does not
        ranked, indices = scores.sort(dim=-1, descending=True, stable=True)
    return indices[..., :k].masked_fill(ranked[..., :k] == -math.inf, -1)


def gathered(x: Tensor, indices: Tensor) -> Tensor:
    """The rows of x that each query chose; row 0 stands in for -1, and is to be masked.

    x: (batch, heads, m, d); indices: (batch, n, k)
    Returns (batch, n, heads, k, d).
    """
    batch = torch.arange(len(x), device=x.device)[:, None, None]
    return x.transpose(1, 2)[batch, indices.clamp(min=0)].transpose(2, 3)


@shapes(q="batch heads n d", k="batch kv_heads m d", v="batch kv_heads m d_value", check=gathered_fits)
def gathered_attention(q: Tensor, k: Tensor, v: Tensor, indices: Tensor, *, scale: float | None = None) -> Tensor:
    """Attention to the chosen keys alone: n · k scores are made, and no others.

    q: (batch, heads, n, d); k: (batch, kv_heads, m, d); v: (batch, kv_heads, m, d_value)
    indices: (batch, n, k), positions of keys, each once, or -1: the same for all heads; they alone say what is seen
    scale: 1 / √d when it is None
    Returns (batch, heads, n, d_value), in the dtype of q. A query of nothing but -1 gets 0. (What stands around the
    function refuses positions out of range, given twice, or of another shape: the body need not.)
    """
    group = q.shape[1] // k.shape[1]
    q = q.transpose(1, 2).unflatten(2, (-1, group))  # (batch, n, kv_heads, group, d): a group shares its keys
    present = (indices >= 0)[:, :, None, None]
    out = attention(q, gathered(k, indices), gathered(v, indices), mask=present, scale=scale)
    return out.flatten(2, 3).transpose(1, 2)


@shapes(q="batch heads n d", k="batch kv_heads m d", v="batch kv_heads m d_value", check=gathered_fits)
def masked_attention(q: Tensor, k: Tensor, v: Tensor, indices: Tensor, *, scale: float | None = None) -> Tensor:
    """`gathered_attention` by a mask over all n · m scores: the same result, and none of the saving."""
    mask = torch.zeros(*indices.shape[:2], k.shape[2] + 1, dtype=torch.bool, device=q.device)
    mask = mask.scatter(2, indices.long() % mask.shape[2], True)[:, None, :, :-1]  # -1 goes to the column cut away
    k, v = (each.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for each in (k, v))
    return attention(q, k, v, mask=mask, scale=scale)


@counts("top_k", "block")
@shapes(
    q="batch heads n d",
    k="batch kv_heads m d",
    v="batch kv_heads m d_value",
    index_q="batch index_heads n index_dim",
    index_k="batch m index_dim",
    index_w="batch n index_heads",
    check=heads_divide,
)
@in_float32
def sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    index_q: Tensor,
    index_k: Tensor,
    index_w: Tensor,
    top_k: int,
    *,
    block: int = 16,
) -> Tensor:
    """All three steps, for a block of queries at a time: n · m index scores are made, but never held together.

    q, k, v: as in `gathered_attention`, the queries are the last n of m tokens; index_q, index_k, index_w: as q, k and
    w in `index_scores`; top_k: keys for each query, at most; block: queries that go together
    Returns (batch, heads, n, d_value).
    """
    n, m = q.shape[2], k.shape[2]
    out = []
    for start in range(0, n, block):
        rows = slice(start, start + block)
        seen = m - n + min(start + block, n)
        scores = index_scores(index_q[:, :, rows], index_k[:, :seen], index_w[:, rows])
        indices = select_top_k(scores, top_k)
        out.append(gathered_attention(q[:, :, rows], k[:, :, :seen], v[:, :, :seen], indices))
    return torch.cat(out, dim=2)


# What the indexer learns from -------------------------------------------------------------------------------------


@shapes(q="batch heads n d", k="batch kv_heads m d", check=heads_divide)
@in_float32
def causal_probabilities(q: Tensor, k: Tensor) -> Tensor:
    """What causal attention pays to every key: (batch, heads, n, m); the queries are the last n of m tokens."""
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    hidden = ~causal_mask(q.shape[2], k.shape[2], device=q.device)
    return softmax(attention_scores(q, k).masked_fill(hidden, -math.inf))


@shapes(q="batch heads n d", k="batch kv_heads m d", check=gathered_fits)
@in_float32
def chosen_probabilities(q: Tensor, k: Tensor, indices: Tensor) -> Tensor:
    """What attention to the chosen keys alone pays to each: (batch, heads, n, k), 0 where the index is -1."""
    q = q.transpose(1, 2).unflatten(2, (k.shape[1], -1))
    scores = attention_scores(q, gathered(k, indices)).masked_fill((indices < 0)[:, :, None, None], -math.inf)
    return softmax(scores).flatten(2, 3).transpose(1, 2)


@shapes(probabilities="batch heads n candidates")
@in_float32
def index_target(probabilities: Tensor) -> Tensor:
    """What the indexer should reproduce: the attention of all heads, added up and made to sum to 1 over the keys.

    probabilities: (batch, heads, n, candidates), of the attention, after its softmax; of a row the candidates may hold
    a part only, and sum to less than 1
    Returns (batch, n, candidates), in their dtype and without a gradient: the attention must not be pulled towards its
    indexer. A query whose probabilities are all 0 gets zeros.
    """
    summed = probabilities.detach().sum(dim=1)
    return summed / summed.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(summed.dtype).tiny)


@shapes(scores="batch n candidates", target="batch n candidates")
@in_float32
def divergence(scores: Tensor, target: Tensor) -> Tensor:
    """KL(target ‖ softmax(scores)), the mean over all queries, in nats.

    scores: (batch, n, candidates), -inf where there is no candidate; target: the same shape, 0 there
    Returns one number, a tensor () in their dtype, 0 when scores = log(target) + a constant. Its gradient by the scores
    is softmax(scores) - target over batch · n. A query's target sums to 1; without any candidate it is all 0, counts 0,
    and its gradient is 0. DeepSeek adds the queries up where we take the mean, which changes the step's size alone.
    """
    hidden = scores == -math.inf
    log_softmax = scores.masked_fill(hidden.all(dim=-1, keepdim=True), 0).log_softmax(dim=-1)
    log_softmax = log_softmax.masked_fill(hidden, 0)  # -inf · 0 would be nan, and its gradient too
    return (torch.xlogy(target, target) - target * log_softmax).sum(dim=-1).mean()


@shapes(scores="batch n m", probabilities="batch heads n keys", check=scores_fit_probabilities)
@in_float32
def dense_loss(scores: Tensor, probabilities: Tensor) -> Tensor:
    """The loss of the warm-up: the indexer against dense causal attention, over all keys (equation 3).

    scores: (batch, n, m), of the indexer; probabilities: (batch, heads, n, m), of dense attention
    Returns one number, whose gradient reaches the scores alone.
    """
    hidden = ~causal_mask(*scores.shape[-2:], device=scores.device)
    return divergence(scores.masked_fill(hidden, -math.inf), index_target(probabilities))


@shapes(scores="batch n m", probabilities="batch heads n k", check=scores_fit_probabilities)
@in_float32
def sparse_loss(scores: Tensor, probabilities: Tensor, indices: Tensor) -> Tensor:
    """The loss of the sparse stage: the indexer against the attention, over the chosen keys alone (equation 4).

    scores: (batch, n, m), of the indexer; indices: (batch, n, k), its choice, -1 for no key
    probabilities: (batch, heads, n, k), what attention to the chosen keys pays to each
    Returns one number as `divergence` does, the mean over all queries; its gradient reaches the scores of chosen keys
    alone.
    """
    chosen = scores.gather(-1, indices.clamp(min=0))
    chosen = chosen.masked_fill(indices < 0, -math.inf)
    return divergence(chosen, index_target(probabilities))
