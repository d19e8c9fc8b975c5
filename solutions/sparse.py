"""DeepSeek sparse attention: a small learned scorer chooses the keys, and attention is paid to these alone.

    I[t, s] = Σ_j  w[t, j] · ReLU(q[t, j] · k[s])       the lightning indexer: j counts its heads, k is one for all
    S[t]    = the k tokens s <= t with the largest I    one set for all heads of the attention
    u[t]    = attention of t over S[t]                  k pairs instead of t + 1

(DeepSeek-V3.2-Exp, technical report of September 2025, equations 1 and 2.) No gradient passes the choice. The indexer
learns from the attention itself: p[t], the attention of all heads added up, is what softmax(I[t]) should be. First with
dense attention and all else frozen (equation 3), then on the chosen set only, beside the task's loss (equation 4).

Shapes: q (batch, heads, n, d), k (batch, kv_heads, m, d), where the queries are the last n of m tokens; the indexer's q
(batch, index_heads, n, index_dim), its k (batch, m, index_dim), its w (batch, n, index_heads); index scores
(batch, n, m); a choice is (batch, n, top_k) positions of keys, and -1 where a query has fewer.

After the mechanism come other ways to choose, which pay attention to as many keys; the module for `tiny.py`; numbers of
few bits; and last what it costs at DeepSeek's sizes, beside the cost figure that they published.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from solutions.accepts import (
    gathered_fits,
    heads_divide,
    mass_fits,
    positive_scales,
    power_of_two,
    scores_compare,
    scores_fit_probabilities,
)
from solutions.quadratic import KVCache, attention, attention_scores, causal_mask, softmax
from solutions.shapes import counts, in_float32, refuse_not_finite, shapes, wide
from solutions.tiny import Attention, Config, TinyTransformer, rope_frequencies, rotate

# The mechanism ---------------------------------------------------------------------------------------------------


@shapes(q="batch index_heads n index_dim", k="batch m index_dim", w="batch n index_heads")
def index_scores(q: Tensor, k: Tensor, w: Tensor) -> Tensor:
    """Score every key for every query with a few small heads (DeepSeek-V3.2-Exp, equation 1).

    q: (batch, index_heads, n, index_dim); k: (batch, m, index_dim), one key for all heads
    w: (batch, n, index_heads): how much each head counts for this query; of either sign, so a score may be negative
    Returns (batch, n, m), of which only the order matters; of half precision the products and sums are made in float32,
    and rounded to q's dtype once at the end. On the way it holds index_heads scores of every pair, so of a long text
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
    Returns (batch, heads, n, d_value). A query of nothing but -1 gets 0. (What stands around the function refuses
    positions out of range, given twice, or of another shape: the body need not.)
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

    probabilities: (batch, heads, n, candidates), of the attention, after its softmax
    Returns (batch, n, candidates), without a gradient: the attention must not be pulled towards its indexer. A query
    whose probabilities are all 0 gets zeros.
    """
    summed = probabilities.detach().sum(dim=1)
    return summed / summed.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(summed.dtype).tiny)


@shapes(scores="batch n candidates", target="batch n candidates")
@in_float32
def divergence(scores: Tensor, target: Tensor) -> Tensor:
    """KL(target ‖ softmax(scores)), the mean over all queries, in nats.

    scores: (batch, n, candidates), -inf where there is no candidate; target: the same shape, 0 there
    Returns one number, 0 when scores = log(target) + a constant. Its gradient by the scores is softmax(scores) - target
    over batch · n. A query without any candidate counts 0, and its gradient is 0. DeepSeek adds the queries up where we
    take the mean, which changes the step's size and nothing else.
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
    Returns one number, the mean over all queries, whose gradient reaches the scores of chosen keys alone.
    """
    chosen = scores.gather(-1, indices.clamp(min=0))
    chosen = chosen.masked_fill(indices < 0, -math.inf)
    return divergence(chosen, index_target(probabilities))


# How good a choice is ---------------------------------------------------------------------------------------------


@shapes(target="batch n m", check=mass_fits)
def captured_mass(target: Tensor, indices: Tensor) -> Tensor:
    """The share of the attention that a choice keeps, for each query.

    target: (batch, n, m), the attention of all heads, of rows that sum to 1 (`index_target`)
    indices: (batch, n, k), -1 for no key
    Returns (batch, n). Leave out the queries t < k, which can choose all they see: there every choice keeps 1.
    """
    kept = target.gather(-1, indices.clamp(min=0)).masked_fill(indices < 0, 0)
    return kept.sum(dim=-1)


@counts("n", "k")
def random_mass(n: int, k: int) -> float:
    """What a random choice of k keys keeps, mean over the queries t = k, ..., n - 1 that have more than k to choose."""
    if k >= n:
        raise ValueError(f"random_mass: k is {k} for {n} tokens; give less than {n}, so that there is a choice.")
    return sum(k / (t + 1) for t in range(k, n)) / (n - k)


@counts("n", "k")
def attended_pairs(n: int, k: int) -> int:
    """(query, key) pairs that attention to k chosen keys scores over n tokens: the first queries have fewer keys."""
    few = min(n, k)
    return few * (few + 1) // 2 + (n - few) * k


@counts("n")
def indexed_pairs(n: int) -> int:
    """(query, key) pairs that the indexer scores over n tokens: all of the past, whatever k is."""
    return n * (n + 1) // 2


# Other ways to choose as many keys --------------------------------------------------------------------------------
#
# Each takes q (batch, heads, n, d) and k (batch, kv_heads, m, d), both rotated, and top_k, 1 or more; the queries are
# the last n of m tokens. Each returns positions (batch, n, top_k or fewer columns), -1 for no key: one set for all
# heads, as the indexer has, also where the original chooses for each head. It may exceed m.


def latest(n: int, m: int, count: Tensor | int, width: int) -> Tensor:
    """The `count` latest keys of each query, itself included: (n, width), -1 beyond; count: one number or (n,)."""
    back = torch.arange(width)
    position = torch.arange(m - n, m)[:, None] - back
    return torch.where(back < torch.as_tensor(count).reshape(-1, 1), position, -1).clamp(min=-1)


@counts("top_k")
def window(q: Tensor, k: Tensor, top_k: int) -> Tensor:
    """The top_k latest keys."""
    return latest(q.shape[2], k.shape[2], top_k, top_k).expand(len(q), -1, -1)


@counts("top_k")
def sinks_and_window(q: Tensor, k: Tensor, top_k: int, sinks: int = 2) -> Tensor:
    """The first keys and the latest (StreamingLLM, arXiv 2309.17453; 4 sinks there)."""
    n, m = q.shape[2], k.shape[2]
    sinks = min(sinks, top_k - 1)
    recent = latest(n, m, top_k - sinks, top_k - sinks)
    first = torch.arange(sinks).expand(n, -1)
    first = torch.where(first <= torch.arange(m - n, m)[:, None], first, -1)
    return torch.cat([first, torch.where(recent >= sinks, recent, -1)], dim=-1).expand(len(q), -1, -1)


@counts("top_k")
def random(q: Tensor, k: Tensor, top_k: int) -> Tensor:
    """Any keys, drawn with torch's generator."""
    return select_top_k(torch.rand(len(q), q.shape[2], k.shape[2]), top_k)


@counts("top_k")
@in_float32
def oracle(q: Tensor, k: Tensor, top_k: int) -> Tensor:
    """The keys with the most attention: no set for all heads keeps more, but it must pay full attention to know."""
    return select_top_k(index_target(causal_probabilities(q, k)), top_k)


@counts("top_k")
@in_float32
def heavy_hitters(q: Tensor, k: Tensor, top_k: int) -> Tensor:
    """H2O (arXiv 2306.14048): the latest half stays, and of the others those with the most attention so far.

    What is dropped is gone for good, so each query looks at what the earlier ones left, and itself.
    """
    n, recent = q.shape[2], top_k - top_k // 2
    if k.shape[2] != n:
        raise ValueError(f"there are {n} queries and {k.shape[2]} keys; give all queries, since every look counts.")
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    scores = attention_scores(q, k)
    held = torch.zeros(len(q), n, dtype=torch.bool)
    received, rows = torch.zeros(len(q), n, dtype=scores.dtype), []
    for t in range(n):
        held[:, t] = True
        if t >= top_k:
            old = held & (torch.arange(n) <= t - recent)
            weakest = received.masked_fill(~old, math.inf).argmin(dim=-1, keepdim=True)
            held = held.scatter(1, weakest, False)
        received += softmax(scores[:, :, t].masked_fill(~held[:, None], -math.inf)).sum(dim=1)
        rows.append(torch.where(held, torch.arange(n), -1).topk(min(top_k, n)).values)
    return torch.stack(rows, dim=1)


def pages(k: Tensor, block: int) -> Tensor:
    """The keys in blocks, the whole ones only: (..., m, d) -> (..., m // block, block, d)."""
    whole = k.shape[-2] // block * block
    return k[..., :whole, :].unflatten(-2, (-1, block))


@shapes(q="... n d", low="... pages d", high="... pages d")
@in_float32
def page_bound(q: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """A score that no key of a page exceeds: Σ_i max(q_i low_i, q_i high_i) (Quest, arXiv 2406.10774).

    q: (..., n, d); low, high: (..., pages, d), the smallest and largest entry of the page's keys in each dimension
    Returns (..., n, pages): at least q · k for every key k of the page, and equal for a page of one key. A positive q_i
    takes high_i, a negative one low_i; nothing with n · pages · d entries is made, and no tensor of over twice q's.
    """
    return q.clamp(min=0) @ high.transpose(-2, -1) + q.clamp(max=0) @ low.transpose(-2, -1)


@in_float32
def most_voted(scores: Tensor, block: int, count: int, before: Tensor) -> Tensor:
    """The tokens of the `count` blocks to which the heads, each with weights that sum to 1, give most.

    scores: (batch, heads, n, blocks); before: (n,), only blocks that end before this position may be chosen
    Returns (batch, n, count * block) positions, -1 for no key; fewer columns where there are fewer blocks.
    """
    blocks = scores.shape[-1]
    count = min(count, blocks)
    if not count:
        return torch.empty(len(scores), scores.shape[2], 0, dtype=torch.long)
    past = (torch.arange(blocks) + 1) * block <= before[:, None]
    votes = softmax(scores.masked_fill(~past, -math.inf)).sum(dim=1).masked_fill(~past, -math.inf)
    chosen = select_top_k(votes, count, causal=False)[..., None]
    return torch.where(chosen >= 0, chosen * block + torch.arange(block), -1).flatten(-2)


def own_and_most_voted(scores: Tensor, m: int, block: int, top_k: int) -> Tensor:
    """The query's own block up to itself, and the most voted ones before it: top_k // block blocks in all."""
    n = scores.shape[2]
    position = torch.arange(m - n, m)
    own = position % block + 1
    recent = latest(n, m, own, block).expand(len(scores), -1, -1)
    return torch.cat([recent, most_voted(scores, block, top_k // block - 1, position + 1 - own)], dim=-1)


@counts("top_k")
@in_float32
def quest(q: Tensor, k: Tensor, top_k: int, block: int = 4) -> Tensor:
    """The query's own page, and those whose bound is highest (Quest, arXiv 2406.10774; pages of 16 there)."""
    block, k = min(block, top_k, k.shape[2]), k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    held = pages(k, block)
    bounds = page_bound(q, held.amin(dim=-2), held.amax(dim=-2)) / math.sqrt(q.shape[-1])
    return own_and_most_voted(bounds, k.shape[2], block, top_k)


@counts("top_k")
@in_float32
def mean_blocks(q: Tensor, k: Tensor, top_k: int, block: int = 4) -> Tensor:
    """The query's own block, and those whose mean key fits best: MoBA's choice (arXiv 2502.13189), not trained for."""
    block, k = min(block, top_k, k.shape[2]), k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    return own_and_most_voted(attention_scores(q, pages(k, block).mean(dim=-2)), k.shape[2], block, top_k)


@counts("top_k")
@in_float32
def window_and_blocks(q: Tensor, k: Tensor, top_k: int, block: int = 4) -> Tensor:
    """Half window, half blocks whose mean key fits best: NSA's choice (arXiv 2502.11089), not trained for.

    NSA also attends to one compressed key of every block, and learns how to compress and how to mix; this does neither.
    """
    n, m = q.shape[2], k.shape[2]
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    count = top_k // (2 * block)
    width = top_k - count * block
    recent = latest(n, m, width, width).expand(len(q), -1, -1)
    scores = attention_scores(q, pages(k, block).mean(dim=-2)) if m >= block else q[..., :0]
    return torch.cat([recent, most_voted(scores, block, count, torch.arange(m - n, m) + 1 - width)], dim=-1)


SELECTORS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "window": window,
    "sinks and window": sinks_and_window,
    "random": random,
    "oracle": oracle,
    "H2O": heavy_hitters,
    "Quest": quest,
    "MoBA": mean_blocks,
    "NSA": window_and_blocks,
}

EVICTING = ("window", "sinks and window", "H2O")  # what these do not choose, no later query can


def selector_is_known(selector: str, **_) -> None:
    """Raise ValueError unless it is the indexer or a key of SELECTORS."""
    if selector not in ("indexer", *SELECTORS):
        raise ValueError(f"selector is {selector!r}; give indexer, {', '.join(SELECTORS)}.")


@counts("n", "block")
@shapes(check=selector_is_known)
def scored_pairs(selector: str, n: int, block: int = 4) -> int:
    """Pairs that a selector scores in order to choose, over n tokens: of a query and a key, or a block of keys.

    The pairs of the attention itself, which H2O learns from, are not among them: `attended_pairs` counts those.
    """
    if selector in ("indexer", "oracle"):
        return indexed_pairs(n)
    if selector in ("Quest", "MoBA", "NSA"):
        return sum(t // block for t in range(n))  # the whole blocks before each query
    return 0


@counts("n", "top_k")
@shapes(check=selector_is_known)
def held_keys(selector: str, n: int, top_k: int) -> int:
    """Keys that must stay in memory after n tokens: top_k where the others are forgotten, and all of them otherwise."""
    return min(n, top_k) if selector in EVICTING else n


# Few bits -------------------------------------------------------------------------------------------------------

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
    heads, and multiplies their sum.
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


# In the model of the course ---------------------------------------------------------------------------------------


def rotate_interleaved(x: Tensor, position: Tensor, frequencies: Tensor) -> Tensor:
    """`rotate` in the other layout: entry 2i is paired with entry 2i + 1. The bug, where weights expect half-split."""
    turned = 2 * len(frequencies)
    pairs = x[..., :turned].unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2)
    pairs = rotate(pairs, position, frequencies).unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2)
    return torch.cat([pairs, x[..., turned:]], dim=-1)


LAYOUTS = {"half-split": rotate, "interleaved": rotate_interleaved}


class Indexer(nn.Module):
    """The lightning indexer: what it needs of the tokens, and what it thinks of every key.

    width: of x; heads, index_dim: its own, few and small
    rope_base, rope_share: the first share of each vector turns with its position; layout: a key of LAYOUTS
    precision: None, "e4m3" or "e2m1", of queries and keys while not training; hadamard: rotate them before
    """

    def __init__(
        self,
        width: int,
        heads: int = 4,
        index_dim: int = 16,
        *,
        rope_base: float | None = 10_000.0,
        rope_share: float = 0.5,
        layout: str = "half-split",
        precision: str | None = None,
        hadamard: bool = False,
    ):
        super().__init__()
        if layout not in LAYOUTS:
            raise ValueError(f"layout is {layout!r}; give one of {', '.join(LAYOUTS)}.")
        if precision is not None and precision not in LARGEST:
            raise ValueError(f"precision is {precision!r}; give one of {', '.join(LARGEST)}, or None.")
        self.heads, self.turn, self.precision, self.hadamard = heads, LAYOUTS[layout], precision, hadamard
        self.to_q = nn.Linear(width, heads * index_dim, bias=False)
        self.to_k = nn.Linear(width, index_dim, bias=False)
        self.to_w = nn.Linear(width, heads, bias=False)
        self.key_norm = nn.LayerNorm(index_dim, eps=1e-6)
        self.weight_scale = (heads * index_dim) ** -0.5
        self.register_buffer("frequencies", rope_frequencies(int(index_dim * rope_share), rope_base), persistent=False)

    def forward(self, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q (batch, heads, n, index_dim), k (batch, n, index_dim) and w (batch, n, heads) of x, (batch, n, width).

        x is detached: what the indexer learns must not change the model below it.
        """
        x = x.detach()
        q = self.to_q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k = self.key_norm(self.to_k(x))
        turn = lambda heads: self.turn(heads, position, self.frequencies)  # noqa: E731
        return turn(q), turn(k), self.to_w(x) * self.weight_scale

    def scores(self, q: Tensor, k: Tensor, w: Tensor) -> Tensor:
        """(batch, n, m), from queries, keys and weights that `forward` made."""
        if self.precision is None or self.training:  # rounding has no gradient
            return index_scores(q, k, w)
        return low_precision_scores(q, k, w, self.precision, self.hadamard)


class SparseCache(KVCache):
    """A KV cache that also keeps the indexer's keys: nothing is forgotten, and a little is added."""

    def __init__(self):
        super().__init__()
        self.index_k = None

    def append_index(self, index_k: Tensor) -> Tensor:
        """Add the indexer's keys of a chunk, (batch, chunk, index_dim); return all so far."""
        self.index_k = index_k if self.index_k is None else torch.cat([self.index_k, index_k], dim=1)
        return self.index_k

    @property
    def nbytes(self) -> int:
        return super().nbytes + (0 if self.index_k is None else self.index_k.nbytes)


@dataclass(frozen=True)
class Selection:
    """What one layer chose for every query, beside what it thought of the keys and what dense attention pays them.

    scores: (batch, n, n), of the indexer, -inf for the future
    probabilities: (batch, heads, n, n), of dense causal attention with this layer's own queries and keys
    indices: (batch, n, top_k), the choice, -1 for no key
    """

    scores: Tensor
    probabilities: Tensor
    indices: Tensor

    @property
    def target(self) -> Tensor:
        """(batch, n, n), the attention of all heads, in rows that sum to 1."""
        return index_target(self.probabilities)

    @property
    def best(self) -> Tensor:
        """(batch, n, top_k), the oracle's choice at this budget."""
        return select_top_k(self.target, self.indices.shape[-1])

    @property
    def mass(self) -> Tensor:
        """(batch, n), the share of the attention that the choice keeps."""
        return captured_mass(self.target, self.indices)

    @property
    def best_mass(self) -> Tensor:
        """(batch, n), the share that the oracle keeps."""
        return captured_mass(self.target, self.best)

    def mass_at(self, budgets: range) -> tuple[Tensor, Tensor]:
        """The mass that the indexer and the oracle keep at each budget, both (batch, n, len(budgets))."""
        ranked = select_top_k(self.scores, self.scores.shape[-1])
        best = self.target.sort(dim=-1, descending=True).values.cumsum(dim=-1)
        kept = self.target.gather(-1, ranked.clamp(min=0)).masked_fill(ranked < 0, 0).cumsum(dim=-1)
        at = torch.tensor([budget - 1 for budget in budgets])
        return kept[..., at], best[..., at]


class SparseAttention(Attention):
    """Attention to the top_k keys that an indexer chooses, or another selector.

    selector: "indexer"; a key of SELECTORS, to compare with; "all" for dense attention, as in the warm-up
    index_heads, index_dim, index: of the `Indexer`, index holding its other settings
    While training, a forward pass leaves the indexer's loss in `index_loss`: with "all" that of the warm-up, with
    "indexer" that of the sparse stage. Else it is None.
    """

    def __init__(
        self,
        config: Config,
        layer: int,
        top_k: int = 8,
        selector: str = "indexer",
        index_heads: int = 4,
        index_dim: int = 16,
        index: dict | None = None,
    ):
        super().__init__(config, layer)
        if not self.causal:
            raise ValueError("the indexer chooses among the past; give a config with causal=True.")
        if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
            raise ValueError(f"top_k is {top_k!r}; give a whole number of 1 or more.")
        if selector not in ("indexer", "all", *SELECTORS):
            raise ValueError(f"selector is {selector!r}; give indexer, all, {', '.join(SELECTORS)}.")
        self.top_k, self.selector, self.index_loss = top_k, selector, None
        self.indexer = Indexer(config.width, index_heads, index_dim, **index or {})

    def forward(self, x: Tensor, position: Tensor, cache: SparseCache | None = None) -> Tensor:
        q, k, v = self.project(x)
        q, k = self.turn(q, position), self.turn(k, position)
        index_q, index_k, index_w = self.indexer(x, position)
        if cache is not None:
            k, v = cache.append(k, v)
            index_k = cache.append_index(index_k)
        scores = self.indexer.scores(index_q, index_k, index_w)
        if self.selector == "all":
            self.index_loss = dense_loss(scores, causal_probabilities(q, k)) if self.training else None
            return self.join(self.look(q, k, v))
        indices = self.choose(scores, q, k)
        learns = self.training and self.selector == "indexer"
        self.index_loss = sparse_loss(scores, chosen_probabilities(q, k, indices), indices) if learns else None
        return self.join(gathered_attention(q, k, v, indices))

    def choose(self, scores: Tensor, q: Tensor, k: Tensor) -> Tensor:
        """The keys of each query, (batch, n, top_k), from index scores (batch, n, m) and rotated queries and keys."""
        if self.selector in SELECTORS:
            return SELECTORS[self.selector](q.detach(), k.detach(), self.top_k)
        return select_top_k(scores.detach(), k.shape[2] if self.selector == "all" else self.top_k)

    def selection(self, x: Tensor, position: Tensor) -> Selection:
        """What the layer chooses for x, (batch, n, width), normalised as in the model; with all that led to it."""
        q, k, _ = self.project(x)
        q, k = self.turn(q, position), self.turn(k, position)
        scores = self.indexer.scores(*self.indexer(x, position))
        hidden = ~causal_mask(*scores.shape[-2:], device=scores.device)
        return Selection(scores.masked_fill(hidden, -math.inf), causal_probabilities(q, k), self.choose(scores, q, k))

    def new_cache(self) -> SparseCache:
        return SparseCache()


@torch.no_grad()
def selections(model: TinyTransformer, tokens: Tensor) -> Iterator[Selection]:
    """What every layer of a model with sparse attention chooses for tokens (batch, n), layer after layer.

    The x that a layer sees has passed the layers before it, with their own choices.
    """
    x = model.embed(tokens)
    position = torch.arange(tokens.shape[1], device=tokens.device)
    for layer in model.layers:
        yield layer.attention.selection(layer.attention_norm(x), position)
        x = layer(x, position)


def indexer_parameters(model: TinyTransformer) -> list[nn.Parameter]:
    """The weights that learn from the divergence, and from nothing else."""
    return [weight for name, weight in model.named_parameters() if ".indexer." in name]


def model_parameters(model: TinyTransformer) -> list[nn.Parameter]:
    """The weights that learn from the task, and from nothing else."""
    return [weight for name, weight in model.named_parameters() if ".indexer." not in name]


def index_loss(model: TinyTransformer) -> Tensor:
    """What the indexers of all layers lost in the last forward pass of a model that is training, added up, in nats."""
    losses = [layer.attention.index_loss for layer in model.layers]
    if any(loss is None for loss in losses):
        raise ValueError("there is no index loss; call model.train() before the pass, with selector indexer or all.")
    return torch.stack(losses).sum()


# What it costs at DeepSeek's sizes --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sizes:
    """The sizes of DeepSeek-V3.2-Exp that set what its attention costs (inference demo, config_671B_v3.2.json)."""

    layers: int = 61
    heads: int = 128
    latent: int = 512  # the entry of a token in the cache, shared by all heads
    rope: int = 64  # and its part that knows the position
    nope: int = 128  # of a key that a head has unpacked from the latent
    value: int = 128
    index_heads: int = 64
    index_dim: int = 128
    top_k: int = 2048

    @property
    def absorbed(self) -> int:
        """FLOPs of one (query, key) pair, all heads, one layer, where heads work on the latent itself: decode."""
        return 2 * self.heads * (self.latent + self.rope + self.latent)

    @property
    def expanded(self) -> int:
        """The same where every head has its own key and value: prefill."""
        return 2 * self.heads * (self.nope + self.rope + self.value)

    @property
    def indexer(self) -> int:
        """FLOPs of one pair in the indexer, one layer."""
        return 2 * self.index_heads * self.index_dim

    @property
    def dense(self) -> dict[str, int]:
        """FLOPs of one pair where all are computed, by phase."""
        return {"prefill": self.expanded, "decode": self.absorbed}


V32 = Sizes()
PHASES = ("prefill", "decode")


def phase_is_known(phase: str, **_) -> None:
    """Raise ValueError unless the phase is prefill or decode."""
    if phase not in PHASES:
        raise ValueError(f'phase is {phase!r}; give "prefill" or "decode".')


@counts("position")
@shapes(check=phase_is_known)
def dense_flops(position: int, phase: str, sizes: Sizes = V32) -> int:
    """FLOPs of dense attention for the token at a position, one layer: as many pairs as there are tokens."""
    return position * sizes.dense[phase]


@counts("position")
def core_flops(position: int, sizes: Sizes = V32) -> int:
    """FLOPs of the attention to the chosen keys for the token at a position, one layer; no more from top_k on."""
    return min(position, sizes.top_k) * sizes.absorbed


@counts("position", "index_every")
def indexer_flops(position: int, sizes: Sizes = V32, index_every: int = 1) -> float:
    """FLOPs of the indexer for the token at a position, mean of all layers, where every index_every-th layer has one.

    The others take the choice of the layer before (IndexCache, arXiv 2603.12201, which keeps every fourth).
    """
    return position * sizes.indexer / index_every


@counts("position")
@shapes(check=phase_is_known)
def sparse_flops(position: int, phase: str, sizes: Sizes = V32) -> float:
    """FLOPs of sparse attention for the token at a position, one layer: the chosen keys, and the indexer.

    A short prefill computes all scores in expanded heads and masks them, which is cheaper until `prefill_bend`.
    """
    core = core_flops(position, sizes)
    if phase == "prefill":
        core = min(core, position * sizes.expanded)
    return core + indexer_flops(position, sizes)


@counts("position")
def indexer_share(position: int, sizes: Sizes = V32) -> float:
    """The indexer's share of what sparse attention computes for the token at a position."""
    indexer = indexer_flops(position, sizes)
    return indexer / (core_flops(position, sizes) + indexer)


@counts("position")
@shapes(check=phase_is_known)
def flops_saving(position: int, phase: str, sizes: Sizes = V32) -> float:
    """How many times fewer FLOPs sparse attention takes than dense, at a position, computing on the chosen keys."""
    return dense_flops(position, phase, sizes) / (core_flops(position, sizes) + indexer_flops(position, sizes))


@shapes(check=phase_is_known)
def saving_limit(phase: str, sizes: Sizes = V32) -> float:
    """What `flops_saving` tends to as the context grows: one pair of the attention over one of the indexer."""
    return sizes.dense[phase] / sizes.indexer


@shapes(check=phase_is_known)
def flops_crossover(phase: str, sizes: Sizes = V32) -> float:
    """The position from which sparse attention takes fewer FLOPs than dense."""
    return sizes.top_k * sizes.absorbed / (sizes.dense[phase] - sizes.indexer)


def indexer_equals_core(sizes: Sizes = V32) -> float:
    """The position from which the indexer takes more FLOPs than the attention to the chosen keys."""
    return sizes.top_k * sizes.absorbed / sizes.indexer


def prefill_bend(sizes: Sizes = V32) -> float:
    """The position up to which a prefill computes all scores and masks them: to gather top_k keys costs more."""
    return sizes.top_k * sizes.absorbed / sizes.expanded


LATENT_BYTES = {"bf16": (512 + 64) * 2, "fp8": 512 + 4 * 4 + 64 * 2}  # FlashMLA: fp8 has 4 scales, and a bf16 rope part
INDEX_KEY_BYTES = 128 + 4  # e4m3, and a scale in fp32


@counts("tokens", "layers")
def latent_cache_bytes(tokens: int, kind: str = "fp8", layers: int = V32.layers) -> int:
    """Bytes of the attention's own cache, in bf16 or as FlashMLA keeps it in fp8: dense and sparse alike."""
    return tokens * layers * LATENT_BYTES[kind]


@counts("tokens", "layers")
def index_cache_bytes(tokens: int, layers: int = V32.layers) -> int:
    """Bytes that sparse attention adds to the cache: a key of the indexer for every token and layer, no head axis."""
    return tokens * layers * INDEX_KEY_BYTES


@counts("tokens")
def decode_read_bytes(tokens: int, sizes: Sizes = V32) -> tuple[int, int]:
    """Bytes that one decoded token reads from an fp8 cache of that many tokens, one layer: dense, and sparse."""
    dense = tokens * LATENT_BYTES["fp8"]
    return dense, min(tokens, sizes.top_k) * LATENT_BYTES["fp8"] + tokens * INDEX_KEY_BYTES


# The published cost figure ----------------------------------------------------------------------------------------

V31, V32_EXP = "V3.1-Terminus", "V3.2-Exp"
FIGURE = {  # technical report, figure 3: USD per million tokens at a position; corners of the paths in the PDF
    ("prefill", V31): ((0, 0.05287), (131_071, 0.66577)),
    ("prefill", V32_EXP): ((0, 0.06111), (6_747, 0.09992), (131_071, 0.18712)),
    ("decode", V31): ((0, 0.07050), (131_071, 2.15434)),
    ("decode", V32_EXP): ((0, 0.09519), (2_105, 0.14572), (104_046, 0.22744), (131_071, 0.24910)),
}
CLAIM = 2.40, 0.70  # of decoding at 128K, V3.1-Terminus and V3.2, in an article (thinkinleverage.com) on the figure
GPU_HOUR = 2.0  # USD, H800; from the figure's caption
LAST = 131_071


def position_in_figure(position: float, phase: str = "decode", model: str = V31, **_) -> None:
    """Raise ValueError unless the figure has such a curve, and it reaches there."""
    phase_is_known(phase)
    if model not in (V31, V32_EXP):
        raise ValueError(f"model is {model!r}; give {V31!r} or {V32_EXP!r}.")
    if not 0 <= position <= LAST:
        raise ValueError(f"position is {position}; the figure reaches from 0 to {LAST:,}.")


@shapes(check=position_in_figure)
def figure_cost(position: float, phase: str, model: str) -> float:
    """USD per million tokens at a position, on the figure's line."""
    vertices = FIGURE[phase, model]
    for (start, low), (stop, high) in pairwise(vertices):
        if position <= stop:
            return low + (high - low) * (position - start) / (stop - start)


@shapes(check=position_in_figure)
def figure_mean(position: float, phase: str, model: str) -> float:
    """USD per million tokens, the mean from position 0 to that one: what a whole text costs.

    That is the area under the figure's line up to the position, over the position; at position 0 the cost there.
    """
    if position == 0:
        return figure_cost(0, phase, model)
    corners = [at for at, _ in FIGURE[phase, model] if at < position] + [position]
    area = 0.0
    for start, stop in pairwise(corners):
        area += (stop - start) * (figure_cost(start, phase, model) + figure_cost(stop, phase, model)) / 2
    return area / position


def figure_ratio(position: float, phase: str, cost: Callable = figure_cost) -> float:
    """How many times cheaper V3.2-Exp is than V3.1-Terminus: at a position, or by `figure_mean` up to it."""
    return cost(position, phase, V31) / cost(position, phase, V32_EXP)


def figure_crossover(phase: str, cost: Callable = figure_cost) -> float:
    """The position from which V3.2-Exp is cheaper in the figure: there, or by `figure_mean` up to there."""
    low, high = 1.0, float(LAST)
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if figure_ratio(middle, phase, cost) < 1 else (low, middle)
    return high


def price_per_flop(phase: str, sizes: Sizes = V32) -> float:
    """USD per million tokens that one FLOP a layer costs, from the slope of V3.1-Terminus, which is a straight line."""
    slope = (figure_cost(LAST, phase, V31) - figure_cost(0, phase, V31)) / LAST
    return slope / sizes.dense[phase]


@counts("position")
def predicted_cost(position: int, phase: str, sizes: Sizes = V32) -> float:
    """USD per million tokens of V3.2-Exp from FLOPs alone, at V3.1's price, on top of V3.2's own value at 0."""
    return figure_cost(0, phase, V32_EXP) + price_per_flop(phase, sizes) * sparse_flops(position, phase, sizes)


def variable_ratio(position: float, phase: str) -> float:
    """`figure_ratio` of what depends on the position: each curve without its own value at 0."""
    dense, sparse = (figure_cost(position, phase, model) - figure_cost(0, phase, model) for model in (V31, V32_EXP))
    return dense / sparse


def implied_rates(phase: str, sizes: Sizes = V32) -> dict[str, float]:
    """How many times dearer than a dense FLOP the figure has a FLOP of the indexer, and one on the chosen keys.

    The slope of V3.2-Exp's tail is the indexer's alone; what the tail starts from is the chosen keys'.
    """
    (start, low), (stop, high) = FIGURE[phase, V32_EXP][-2:]
    tail = (high - low) / (stop - start)
    price = price_per_flop(phase, sizes)
    core = low - tail * start - figure_cost(0, phase, V32_EXP)
    return {"indexer": tail / sizes.indexer / price, "core": core / (sizes.top_k * sizes.absorbed) / price}


def calibrated_cost(position: float, phase: str, sizes: Sizes = V32) -> float:
    """V3.2-Exp's curve from FLOPs, each kind at its own `implied_rates`: the figure again, to its last digits."""
    rates, price = implied_rates(phase, sizes), price_per_flop(phase, sizes)
    core = rates["core"] * min(position, sizes.top_k) * sizes.absorbed
    value = core + rates["indexer"] * position * sizes.indexer
    if phase == "prefill":
        (_, low), (stop, high) = FIGURE[phase, V32_EXP][:2]
        chosen = rates["core"] * sizes.top_k * sizes.absorbed + rates["indexer"] * position * sizes.indexer
        value = min((high - low) / stop * position / price, chosen)
    return figure_cost(0, phase, V32_EXP) + price * value


def implied_flops_per_second(phase: str, sizes: Sizes = V32) -> float:
    """FLOPs per second of one GPU that the slope of V3.1-Terminus stands for, at GPU_HOUR: 60 % of an H800's peak."""
    dollars_per_flop = price_per_flop(phase, sizes) / 1e6 / sizes.layers
    return GPU_HOUR / 3600 / dollars_per_flop


PARITY = (  # benchmark, V3.1-Terminus, V3.2-Exp: technical report, table 1
    ("MMLU-Pro", 85.0, 85.0), ("GPQA-Diamond", 80.7, 79.9), ("Humanity's Last Exam", 21.7, 19.8),
    ("LiveCodeBench", 74.9, 74.1), ("Codeforces-Div1", 2046, 2121), ("Aider-Polyglot", 76.1, 74.5),
    ("AIME 2025", 88.4, 89.3), ("HMMT 2025", 86.1, 83.6), ("BrowseComp", 38.5, 40.1), ("BrowseComp-zh", 45.0, 47.9),
    ("SimpleQA", 96.8, 97.1), ("SWE Verified", 68.4, 67.8), ("SWE-bench Multilingual", 57.8, 57.9),
    ("Terminal-bench", 36.7, 37.7),
)  # fmt: skip
