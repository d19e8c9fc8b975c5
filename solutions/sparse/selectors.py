"""How good a choice is, and other ways to choose as many keys: windows, sinks, heavy hitters, pages."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from solutions.accepts import (
    mass_fits,
)
from solutions.quadratic import attention_scores, softmax
from solutions.shapes import counts, in_float32, shapes
from solutions.sparse.indexer import causal_probabilities, index_target, select_top_k

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
    takes high_i, a negative one low_i. Nothing with n · pages · d entries is made: no tensor has more than twice those
    of q, of low or of what is returned, whichever has most.
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
