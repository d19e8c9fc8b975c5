"""Exercises: score, choose, gather; what the indexer learns from, and what it must not touch; the bill.

A selector's bugs are silent: the shapes are right, short texts pass, and the loss falls. So the cases have rows with
fewer than k keys, ties, heads that disagree, queries that are not all tokens, and some compare gradients.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from solutions import sparse, tiny
from solutions.checks.exercise import Case, Exercise
from solutions.checks.running import Rejected
from solutions.checks.tools import LargestTensor, far_below, felt, storage, wider
from solutions.quadratic import attention, causal_mask, softmax
from solutions.sparse import (
    FIGURE,
    V31,
    V32,
    V32_EXP,
    Sizes,
    divergence,
    figure_cost,
    gathered,
    index_scores,
    index_target,
    select_top_k,
)
from solutions.sparse.few_bits import nearest_e2m1
from solutions.watch import Watch


def within(budget, what, function, *inputs):
    """The outcome, unless a tensor with more entries than the budget is made."""
    with LargestTensor() as largest:
        out = function(*inputs)
    if largest.entries > budget:
        raise Rejected(
            f"the largest tensor made has {largest.entries:,} entries ({largest.what}), "
            f"and the budget is {budget:,}, {what}"
        )
    return out


# index_scores ----------------------------------------------------------------------------------------------------


def by_hand(normal):
    """The example of the lesson."""
    q = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])
    k = torch.tensor([[[1.0, 1.0], [-1.0, 2.0], [2.0, -1.0]]])
    return q, k, torch.tensor([[[0.5, -1.0]]])


def to_index(batch, heads, n, m, d):
    return lambda normal: (normal(batch, heads, n, d), normal(batch, m, d), normal(batch, n, heads))


def beyond_half(normal):
    """Products of some 100,000, which float16 does not hold, and weights that bring the scores back to about 1."""
    return 90 * normal(2, 5, 3, 16), 90 * normal(2, 7, 16), normal(2, 3, 5) / 32_768


def that_cancel(normal):
    """Heads with fits around 30, of which half counts as much as the other half takes away."""
    q, k, w = 2 * normal(1, 4, 5, 16), 2 * normal(1, 7, 16), normal(1, 5, 4)
    q[:, 2:], w[..., 2:] = q[:, :2], -w[..., :2]
    q[:, 2:, :, 0] += 0.5
    return q, k, w


def doubled(*tensors):
    return tuple(x.double() for x in tensors)


def scores_pair_by_pair(q, k, w):
    dtype = q.dtype
    q, k, w = doubled(q, k, w)
    scores = torch.zeros(q.shape[0], q.shape[2], k.shape[1], dtype=q.dtype)
    for t in range(q.shape[2]):
        for head in range(q.shape[1]):
            scores[:, t] += w[:, t, head, None] * (k @ q[:, head, t, :, None]).squeeze(-1).clamp(min=0)
    return scores.to(dtype)


def scores_by_einsum(q, k, w):
    dtype = q.dtype
    q, k, w = doubled(q, k, w)
    each = (torch.einsum("bnd,bmd->bnm", q[:, head], k) for head in range(q.shape[1]))
    return sum(fit.relu().mul(w[..., head].unsqueeze(-1)) for head, fit in enumerate(each)).to(dtype)


def scores_with(fit=torch.relu, weigh=lambda w: w, after=lambda scores: scores, widen=doubled, join=torch.mul):
    """The right scores but for what becomes of a fit, of the weights, or of the sum."""

    def index_scores(q, k, w):
        dtype = q.dtype
        q, k, w = widen(q, k, weigh(w))
        heads = (join(w[..., head, None], fit(q[:, head] @ k.transpose(1, 2))) for head in range(q.shape[1]))
        return after(sum(heads)).to(dtype)

    return index_scores


def fits_of(q, k):
    """The products of all heads after ReLU."""
    return (q @ k[:, None].mT).relu()


def divided_by_root(q, k, w):
    return scores_with(weigh=lambda w: w / math.sqrt(q.shape[-1]))(q, k, w)


def best_head(q, k, w):
    exact_q, exact_k, exact_w = doubled(q, k, w)
    fits = torch.einsum("bhnd,bmd->bnmh", exact_q, exact_k).relu() * exact_w[:, :, None]
    return fits.amax(dim=-1).to(q.dtype)


SCORES = Exercise(
    title="the lightning indexer",
    section="The lightning indexer",
    difficulty=2,
    minutes=8,
    reference=sparse.index_scores,
    hints=(
        "The first key of the example is (1, 1). What are its products with the two queries, and with which weight "
        "does each of them count?",
        "For all heads at once the products are (batch, index_heads, n, m): every q with the one k, summed over "
        "index_dim. ReLU comes next, then the weights, one number for each query and head, and the sum over the heads. "
        "All in float32 where the inputs have half precision: wide(q) is that, and .to(q.dtype) rounds at the end.",
        'torch.einsum("bhnd,bmd->bhnm", q, k) makes all products. After .relu(), a second einsum with w, whose letters '
        "are bnh, sums the heads away; or loop over the heads and add them up.",
    ),
    cases=(
        Case("5 queries, 7 keys, 3 heads", to_index(2, 3, 5, 7, 4)),
        Case("the three keys of the lesson", by_hand),
        Case("one head", to_index(2, 1, 4, 6, 3)),
        Case("as many heads as queries", to_index(1, 4, 4, 6, 8)),
        Case("8 heads", to_index(1, 8, 12, 30, 2)),
        Case("6 queries, 3 keys", to_index(2, 4, 6, 3, 5)),
        Case("the gradients", to_index(1, 3, 4, 5, 2), felt("q", "k", "w")),
        Case("float64", to_index(1, 4, 3, 5, 16), dtype=torch.float64),
        Case("float16: products that it does not hold", beyond_half, dtype=torch.float16),
        Case("bfloat16: heads that nearly cancel", that_cancel, dtype=torch.bfloat16),
        Case("float16: heads that nearly cancel", that_cancel, dtype=torch.float16),
    ),
    right_answers=(scores_pair_by_pair, scores_by_einsum),
    mistakes={
        "the ReLU is forgotten": scores_with(fit=lambda fit: fit),
        "the ReLU comes after the sum over the heads": scores_with(fit=lambda fit: fit, after=torch.relu),
        "the ReLU is laid on w · (q · k), so that a head with a negative weight never counts as it should": scores_with(
            fit=lambda fit: fit, join=lambda w, fit: (w * fit).relu()
        ),
        "the ReLU is laid on the queries, and not on their products": lambda q, k, w: scores_with(fit=lambda fit: fit)(
            q.relu(), k, w
        ),
        "the ReLU is laid on queries and keys, and not on their products": lambda q, k, w: scores_with()(
            q.relu(), k.relu(), w
        ),
        "products or sums are kept in half precision, where large ones overflow": scores_with(
            widen=lambda *tensors: tensors
        ),
        "a softmax over the keys follows": scores_with(after=lambda scores: scores.softmax(dim=-1)),
        "every head goes through a softmax over the keys, where it is ReLU": scores_with(
            fit=lambda fit: fit.softmax(dim=-1)
        ),
        "every head goes through a sigmoid, where it is ReLU": scores_with(fit=torch.sigmoid),
        "the largest head alone counts (max), where the heads are added up": best_head,
        "there is a second ReLU after the sum, which turns every negative score into a tie": scores_with(
            after=torch.relu
        ),
        "the weights go through a softmax, though they are signed": scores_with(weigh=lambda w: w.softmax(dim=-1)),
        "the weights go through a sigmoid, though they are signed": scores_with(weigh=torch.sigmoid),
        "the weights lose their sign": scores_with(weigh=torch.abs),
        "negative weights are cut to 0": scores_with(weigh=torch.relu),
        "the heads' weights are in the wrong order": scores_with(weigh=lambda w: w.flip(-1)),
        "the weights are not used": scores_with(weigh=torch.ones_like),
        "every query takes the weights of the first": scores_with(weigh=lambda w: w[:, :1].expand_as(w)),
        "the mean over the heads is taken, where it is the sum": (
            lambda q, k, w: scores_with(weigh=lambda w: w / q.shape[1])(q, k, w)
        ),
        "the scores are divided by √index_dim, which the weights already hold": divided_by_root,
        "the scores are divided by √heads, which the weights already hold": lambda q, k, w: scores_with(
            weigh=lambda w: w / math.sqrt(q.shape[1])
        )(q, k, w),
        "the weights are reshaped from (n, heads) to (heads, n), where they must be transposed": scores_with(
            weigh=lambda w: w.reshape(len(w), w.shape[2], w.shape[1]).transpose(1, 2)
        ),
        "later keys get 0, where every key is scored: to hide the future is the choice's work": lambda q, k, w: (
            index_scores(q, k, w).tril(k.shape[1] - q.shape[2])
        ),
        "later keys get -inf, where every key is scored: to hide the future is the choice's work": lambda q, k, w: (
            scores := index_scores(q, k, w)
        ).masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1 + k.shape[1] - q.shape[2]), -math.inf),
        "the first head alone counts": lambda q, k, w: index_scores(q[:, :1], k, w[..., :1]),
        "float64 is scored in float32": lambda q, k, w: index_scores(q.float(), k.float(), w.float()).to(q.dtype),
        "the sign of a product is dropped (abs), where ReLU drops the negative ones": scores_with(fit=torch.abs),
        "the scores of half precision come back as float32: round them to the dtype of q": lambda q, k, w: index_scores(
            *wider(q, k, w)
        ),
        "every product is rounded to half precision before the heads are added up": lambda q, k, w: (
            (fits_of(*wider(q, k)).to(q.dtype).to(wider(q)[0].dtype) * wider(w)[0].mT[..., None]).sum(1).to(q.dtype)
        ),
        "everything is computed in half precision, where large products overflow": lambda q, k, w: (
            fits_of(q, k) * w.mT[..., None]
        ).sum(1),
    },
)


# select_top_k ----------------------------------------------------------------------------------------------------


def choosing(*shape, k, causal=True, change=lambda scores: scores) -> tuple[Callable, Callable]:
    def outcome(function, scores):
        return function(scores, k, causal=causal)

    return lambda normal: (change(normal(*shape)),), outcome


def choice_case(label, *shape, dtype=torch.float32, **pattern):
    return Case(label, *choosing(*shape, **pattern), dtype=dtype)


def with_ties(scores):
    """Rounded to whole numbers, so that many are equal; as when ReLU makes them 0."""
    return scores.round()


def tied_at_the_edge(scores):
    """The fourth highest score of a row stands there twice, so that one of two equals is chosen."""
    ranked = scores.argsort(dim=-1, descending=True)
    return scores.scatter(-1, ranked[..., 4:5], scores.gather(-1, ranked[..., 3:4]))


def without_bound(scores):
    """Every fourth key beats all others."""
    scores = scores.clone()
    scores[..., 1::4] = math.inf
    return scores


def zeros_of_both_signs(scores):
    """0 and -0, which are equal."""
    return 0 * scores


def hardly_apart(scores):
    """Scores around 1 that only float64 tells apart."""
    return 1 + 1e-12 * scores


def none_in_a_row(scores):
    """Every third key is no candidate, and for the second query none is."""
    scores = without_some(scores)
    scores[:, 1] = -math.inf
    return scores


def without_some(scores):
    """Every third key is no candidate."""
    scores = scores.clone()
    scores[..., ::3] = -math.inf
    return scores


def choice_by_sorting_lists(scores, k, *, causal=True):
    batch, n, m = scores.shape
    k = min(k, m)
    chosen = torch.full((batch, n, k), -1)
    for b in range(batch):
        for t in range(n):
            last = m - n + t if causal else m - 1
            row = scores[b, t].tolist()
            keys = [s for s in range(last + 1) if row[s] > -math.inf]
            keys = sorted(keys, key=lambda s: -row[s])[:k]
            chosen[b, t, : len(keys)] = torch.tensor(keys, dtype=torch.long)
    return chosen


def choice_one_by_one(scores, k, *, causal=True):
    n, m = scores.shape[1:]
    left = scores.clone()
    if causal:
        left[:, torch.ones(n, m, dtype=torch.bool).triu(m - n + 1)] = -torch.inf
    columns = []
    for _ in range(min(k, m)):
        best = (left == left.amax(dim=-1, keepdim=True)).to(torch.uint8).argmax(dim=-1, keepdim=True)
        columns.append(torch.where(left.gather(-1, best) > -torch.inf, best, -1))
        left = left.scatter(-1, best, -torch.inf)
    return torch.cat(columns, dim=-1)


def of_all_sizes(scores):
    """Some tiny, some far below any number that could stand for -inf."""
    tiny = torch.tensor([1e-9, 1e-9, 1.0], dtype=scores.dtype)[torch.arange(scores.shape[-1]) % 3]
    return torch.where(scores < -1, 1e12 * scores, tiny * scores)


def ranked_by(prepare=lambda scores, hidden: scores.masked_fill(hidden, -math.inf), finish=None, **order):
    """A choice made of the masked scores by a stable sort, and of what is done with what sorts last."""

    def select_top_k(scores, k, *, causal=True):
        hidden = ~causal_mask(*scores.shape[1:]) if causal else torch.zeros(scores.shape[1:], dtype=torch.bool)
        scores = prepare(scores, hidden)
        ranked, indices = scores.sort(dim=-1, **{"descending": True, "stable": True} | order)
        gone = ranked[..., :k] == -math.inf
        return (finish or (lambda indices, gone: indices.masked_fill(gone, -1)))(indices[..., :k], gone)

    return select_top_k


def hidden_from(offset):
    """The keys from `offset(n, m)` places after each of the first queries on are hidden."""

    def select_top_k(scores, k, *, causal=True):
        n, m = scores.shape[1:]
        if causal:
            scores = scores.masked_fill(torch.ones(n, m, dtype=torch.bool).triu(offset(n, m)), -math.inf)
        return ranked_by()(scores, k, causal=False)

    return select_top_k


def itself_always(scores, k, *, causal=True):
    n, m = scores.shape[1:]
    if causal:
        scores = scores.clone()
        scores[:, torch.arange(n), torch.arange(m - n, m)] = torch.finfo(scores.dtype).max
    return select_top_k(scores, k, causal=causal)


def struck_by_position(scores, k, *, causal=True):
    """The hidden ones of the best are found by their position, and -inf in the input is forgotten."""
    n, m = scores.shape[1:]
    hidden = ~causal_mask(n, m) if causal else torch.zeros(n, m, dtype=torch.bool)
    indices = scores.masked_fill(hidden, -math.inf).sort(dim=-1, descending=True, stable=True).indices[..., :k]
    return indices.masked_fill(indices > torch.arange(m - n, m)[:, None], -1) if causal else indices


def struck_when_chosen(scores, k, *, causal=True):
    seen = causal_mask(*scores.shape[1:]) if causal else torch.ones(scores.shape[1:], dtype=torch.bool)
    chosen = scores.masked_fill(~seen, 0).sort(dim=-1, descending=True, stable=True).indices[..., :k]
    return torch.where((seen & (scores > -math.inf)).gather(-1, chosen), chosen, -1)


def sorted_down_the_columns(scores, k, *, causal=True):
    hidden = ~causal_mask(*scores.shape[1:]) if causal else torch.zeros(scores.shape[1:], dtype=torch.bool)
    ranked, indices = scores.masked_fill(hidden, -math.inf).sort(dim=1, descending=True, stable=True)
    return indices[..., :k].masked_fill(ranked[..., :k] == -math.inf, -1)


def last_of_equals(scores, k, *, causal=True):
    flipped = scores
    if causal:
        flipped = scores.masked_fill(~causal_mask(*scores.shape[1:]), -math.inf)
    ranked, indices = flipped.flip(-1).sort(dim=-1, descending=True, stable=True)
    return (scores.shape[2] - 1 - indices[..., :k]).masked_fill(ranked[..., :k] == -math.inf, -1)


def best_of_all_then_masked(scores, k, *, causal=True):
    indices = scores.sort(dim=-1, descending=True, stable=True).indices[..., :k]
    position = torch.arange(scores.shape[2] - scores.shape[1], scores.shape[2])[:, None]
    return indices.masked_fill(indices > position, -1) if causal else indices


def by_topk(scores, k, *, causal=True):
    if causal:
        scores = scores.masked_fill(~causal_mask(*scores.shape[1:]), -math.inf)
    return scores.topk(min(k, scores.shape[-1])).indices


def unstable(scores, k, *, causal=True):
    """By topk, with -1 where it must be; equal scores come in whatever order topk leaves them."""
    if causal:
        scores = scores.masked_fill(~causal_mask(*scores.shape[1:]), -math.inf)
    ranked, indices = scores.topk(min(k, scores.shape[-1]))
    return indices.masked_fill(ranked == -math.inf, -1)


def unstable_sort(scores, k, *, causal=True):
    if causal:
        scores = scores.masked_fill(~causal_mask(*scores.shape[1:]), -math.inf)
    ranked, indices = scores.sort(dim=-1, descending=True)
    return indices[..., :k].masked_fill(ranked[..., :k] == -math.inf, -1)


def padded(scores, k, *, causal=True):
    chosen = select_top_k(scores, k, causal=causal)
    return torch.nn.functional.pad(chosen, (0, k - chosen.shape[-1]), value=-1)


def clipped_to_row(scores, k, *, causal=True):
    """Each row's places beyond its own keys repeat its last key."""
    chosen = select_top_k(scores, k, causal=causal)
    return torch.where(chosen < 0, chosen.amax(dim=-1, keepdim=True), chosen)


def in_order_of_position(scores, k, *, causal=True):
    chosen, m = select_top_k(scores, k, causal=causal), scores.shape[-1]
    ordered = chosen.where(chosen >= 0, m).sort(dim=-1).values
    return ordered.where(ordered < m, -1)


def zero_is_nobody(scores, k, *, causal=True):
    chosen = select_top_k(scores, k, causal=causal)
    return chosen.masked_fill(scores.gather(-1, chosen.clamp(min=0)) <= 0, -1)


CHOOSE = Exercise(
    title="the k best of the past, and the leak",
    section="The k best, and a leak",
    difficulty=3,
    minutes=15,
    reference=sparse.select_top_k,
    hints=(
        "Query 2 has three keys, and k is 5. Which five positions does a top-k return when the future holds -inf? What "
        "happens to them when attention is paid to every position that was returned?",
        "Hide the future with -inf (causal_mask(n, m) is True where a query may look), sort each row with "
        "descending=True and stable=True, which keeps equals in their order, and look at the sorted scores too.",
        "After ranked, indices = scores.sort(...): the first k columns are the choice (a slice [..., :k] takes fewer "
        "where there are fewer), but where ranked is -inf there is no key. masked_fill puts -1 there.",
    ),
    cases=(
        choice_case("6 queries, k = 3", 1, 6, 6, k=3),
        choice_case("k = 5: the first rows have fewer keys", 2, 7, 7, k=5),
        choice_case("k = 1", 1, 5, 5, k=1),
        Case("causal is left to its default", lambda normal: (normal(1, 6, 6), 4)),
        choice_case("k is all keys", 1, 6, 6, k=6),
        choice_case("k = 11 of 7 keys: all of them", 2, 5, 7, k=11),
        choice_case("equal scores", 2, 9, 9, k=4, change=with_ties),
        choice_case("the 4th place has two equals", 2, 8, 11, k=4, causal=False, change=tied_at_the_edge),
        choice_case("all scores are 0 or -0", 1, 20, 20, k=3, change=zeros_of_both_signs),
        choice_case("all scores are negative", 1, 6, 6, k=3, change=lambda scores: -scores.abs()),
        choice_case("the queries are the last 3 of 8 tokens", 2, 3, 8, k=6),
        choice_case("not causal", 1, 4, 7, k=3, causal=False),
        choice_case("not causal, 7 queries and 3 keys", 1, 7, 3, k=2, causal=False),
        choice_case("bfloat16, scores of a million", 1, 9, 9, k=4, change=lambda s: 1e6 * s, dtype=torch.bfloat16),
        choice_case("scores of 1e-9 and of -1e12", 1, 9, 9, k=6, change=of_all_sizes),
        choice_case("-inf: some keys are no candidates", 1, 7, 7, k=5, change=without_some),
        choice_case("some scores are +inf", 1, 6, 6, k=3, change=without_bound),
        choice_case("float64", 1, 8, 8, k=4, dtype=torch.float64),
        choice_case("float64: scores 1e-12 apart", 1, 5, 9, k=4, change=hardly_apart, dtype=torch.float64),
        choice_case("not causal, -inf: one query has no key", 1, 4, 7, k=9, causal=False, change=none_in_a_row),
        choice_case("one query, k = 1", 2, 1, 5, k=1),
    ),
    right_answers=(choice_by_sorting_lists, choice_one_by_one, ranked_by()),
    mistakes={
        "a query with fewer than k keys is given keys of the future: the index of a hidden score is an index all the "
        "same": ranked_by(finish=lambda indices, gone: indices),
        "topk is taken at its word: it returns k positions for every query, those of hidden scores too": by_topk,
        "nothing hides the future": ranked_by(lambda scores, hidden: scores),
        "hidden scores become 0 and not -inf, and beat all negative ones": ranked_by(
            lambda scores, hidden: scores.masked_fill(hidden, 0)
        ),
        "the query itself is hidden with the future": hidden_from(lambda n, m: m - n),
        "a query always chooses itself first, where its own key must be chosen like any other": itself_always,
        "a query may also choose the key after it: the mask is one too late": hidden_from(lambda n, m: m - n + 2),
        "keys whose score is -inf are chosen where others are too few: only the future is struck out, by position": (
            struck_by_position
        ),
        "the sort runs down the columns, over the queries (dim=1)": sorted_down_the_columns,
        "the queries are taken for the first tokens, where they are the last": hidden_from(lambda n, m: 1),
        "the best of all keys are chosen first and the future is struck out afterwards, so that early queries get too "
        "few": best_of_all_then_masked,
        "the best of all keys are chosen first, and the future and scores of -inf are struck out afterwards": (
            lambda scores, k, *, causal=True: (chosen := best_of_all_then_masked(scores, k, causal=causal)).masked_fill(
                scores.gather(-1, chosen.clamp(min=0)) == -math.inf, -1
            )
        ),
        "the smallest scores are chosen": lambda scores, k, *, causal=True: select_top_k(-scores, k, causal=causal),
        "the largest scores are chosen regardless of sign": (
            lambda scores, k, *, causal=True: select_top_k(scores.abs(), k, causal=causal)
        ),
        "of equal scores the last key is taken, where it is the first": last_of_equals,
        "0 stands for no key, but 0 is the first key": ranked_by(
            finish=lambda indices, gone: indices.masked_fill(gone, 0)
        ),
        "scores of 0 and below count as no key": zero_is_nobody,
        "scores below 0 count as no key": ranked_by(
            lambda scores, hidden: scores.masked_fill(hidden | (scores < 0), -math.inf)
        ),
        "scores of exactly 0 count as no key": ranked_by(
            lambda scores, hidden: scores.masked_fill(hidden | (scores == 0), -math.inf)
        ),
        "the smallest scores are chosen, of the keys that there are": ranked_by(
            lambda scores, hidden: -scores.masked_fill(hidden | (scores == -math.inf), math.inf)
        ),
        "the largest scores are chosen regardless of sign, of the keys that there are": ranked_by(
            lambda scores, hidden: scores.abs().masked_fill(hidden | (scores == -math.inf), -math.inf)
        ),
        "equal scores come in the order in which topk leaves them, where the first key comes first": unstable,
        "equal scores come in the order in which a sort leaves them that is not stable, where the first key comes "
        "first": unstable_sort,
        "a k above the number of keys is filled up with -1, where the answer has as many columns as there are keys": (
            padded
        ),
        "empty places repeat a key that is chosen already": clipped_to_row,
        "the choice is in order of position, where it is the best first": (
            lambda scores, k, *, causal=True: select_top_k(scores, k, causal=causal).sort(dim=-1).values
        ),
        "the choice is in order of position, and -1 last, where it is the best first": in_order_of_position,
        "causal is not looked at": lambda scores, k, *, causal=True: ranked_by()(
            scores.masked_fill(~causal_mask(*scores.shape[1:]), -math.inf), k, causal=False
        ),
        "the worst come first: the sort ascends": ranked_by(
            lambda scores, hidden: scores.masked_fill(hidden, math.inf), descending=False
        ),
        "the choice is right, but the best comes last": lambda scores, k, *, causal=True: sparse.select_top_k(
            scores, k, causal=causal
        ).flip(-1),
        "a large negative number stands for -inf, and scores below it are no keys": (
            lambda scores, k, *, causal=True: sparse.select_top_k(
                scores.masked_fill(scores <= -1e9, -math.inf), k, causal=causal
            )
        ),
        "the positions are int32, where they are int64": (
            lambda scores, k, *, causal=True: select_top_k(scores, k, causal=causal).int()
        ),
        "hidden scores become 0, which beats negative ones, and are struck out only when they are chosen": (
            struck_when_chosen
        ),
        "-1 is written only where causal hides, and without it keys of -inf are chosen too": (
            lambda scores, k, *, causal=True: ranked_by(finish=None if causal else lambda indices, gone: indices)(
                scores, k, causal=causal
            )
        ),
        "a score of +inf counts as no key too: the test is isfinite, where it is > -inf": (
            lambda scores, k, *, causal=True: (chosen := select_top_k(scores, k, causal=causal)).masked_fill(
                scores.gather(-1, chosen.clamp(min=0)).isinf(), -1
            )
        ),
        "scores are compared in float32, where near ones of float64 become equal": (
            lambda scores, k, *, causal=True: select_top_k(scores.float(), k, causal=causal)
        ),
        "scores are made different by a little, so that near ones change places": (
            lambda scores, k, *, causal=True: sparse.select_top_k(
                scores - 1e-6 * torch.arange(scores.shape[-1]), k, causal=causal
            )
        ),
    },
)


# gathered_attention ----------------------------------------------------------------------------------------------


def chosen_keys(batch, heads, kv_heads, n, m, k, d=5, d_value=7, causal=True, **options) -> tuple[Callable, Callable]:
    def inputs(normal):
        scores = normal(batch, n, m)
        q, keys, values = normal(batch, heads, n, d), normal(batch, kv_heads, m, d), normal(batch, kv_heads, m, d_value)
        return q, keys, values, select_top_k(scores, k, causal=causal)

    def outcome(function, q, k, v, indices):
        return function(q, k, v, indices, **options)

    return inputs, outcome


def nobody_chosen(normal):
    indices = torch.tensor([[[-1, -1], [1, -1], [2, 1]]])
    return normal(1, 2, 3, 5), normal(1, 2, 3, 5), normal(1, 2, 3, 7), indices


def empty_places_first(normal):
    """Places without a key stand at the front, in the middle and at the end."""
    indices = torch.tensor([[[-1, 0, -1], [-1, 1, 0], [2, -1, 1], [0, 3, -1]]])
    return normal(1, 2, 4, 5), normal(1, 2, 4, 5), normal(1, 2, 4, 7), indices


def low_and_few(normal):
    q, k, v = (each[None, None] for each in far_below(normal, 3, 3, 4))
    return q, k, v, torch.tensor([[[0, -1], [1, -1], [2, 1]]])


def felt_by_a_query_without_keys(function, q, k, v, indices):
    """The gradients that reach queries, keys and values, side by side."""
    inputs = [each.clone().requires_grad_() for each in (q, k, v)]
    out = function(*inputs, indices)
    weight = torch.arange(out.numel(), dtype=out.dtype).reshape(out.shape)
    return torch.cat([each.flatten() for each in torch.autograd.grad((out * weight).sum(), inputs)])


def key_0_stands_in(normal):
    """Key 0 has a score far above those of the keys that are chosen, and stands where none is."""
    q, k, v = normal(1, 2, 3, 4), normal(1, 2, 5, 4), normal(1, 2, 5, 3)
    q[..., 0], k[..., 0] = 1, 0
    k[:, :, 0, 0] = 800
    return q, k, v, torch.tensor([[[1, -1, 2], [3, 2, -1], [-1, -1, 4]]])


class EntriesOfProducts(Watch):
    """Add up the entries that products of two tensors make, one by one or as matrices."""

    def __init__(self):
        super().__init__()
        self.entries = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        name = operation.name().removeprefix("aten::").split(".")[0].rstrip("_")
        if "scaled_dot_product" in name:
            self.entries += args[0][..., 0].numel() * args[1].shape[-2]
        elif name in ("mm", "bmm", "addmm", "baddbmm", "mv", "dot") or (
            name == "mul" and all(isinstance(each, Tensor) and each.dim() for each in args[:2])
        ):
            self.entries += result.numel()
        return result


def only_chosen(function, q, k, v, indices):
    """The outcome, unless all scores are made: of one head at once, or of all heads one after the other."""
    pairs = q.shape[2] * k.shape[2]
    with EntriesOfProducts() as products:
        out = within(pairs - 1, f"fewer than n · m = {pairs:,}", function, q, k, v, indices)
    if products.entries >= q.shape[1] * pairs:
        chosen = q.shape[2] * indices.shape[2]
        raise Rejected(f"your products have n · m = {pairs:,} entries or more a head, where n · k = {chosen:,} suffice")
    return out


def gathered_one_by_one(q, k, v, indices, *, scale=None):
    out = torch.zeros(*q.shape[:3], v.shape[-1], dtype=q.dtype)
    group = q.shape[1] // k.shape[1]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    for b in range(q.shape[0]):
        for t in range(q.shape[2]):
            keys = indices[b, t][indices[b, t] >= 0]
            for head in range(q.shape[1]):
                weights = (k[b, head // group, keys] @ q[b, head, t] * scale).softmax(dim=0)
                out[b, head, t] = weights @ v[b, head // group, keys]
    return out


def scored_in_rows(q, k, v, indices, *, scale=None):
    """Every query meets all keys, and its chosen scores are taken: n · m scores, a row at a time."""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    rows = []
    for t in range(q.shape[2]):
        scores = q[:, :, t : t + 1] @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
        mask = torch.zeros(len(q), k.shape[2] + 1, dtype=torch.bool).scatter(1, indices[:, t] % (k.shape[2] + 1), True)
        rows.append(softmax(scores.masked_fill(~mask[:, None, None, :-1], -math.inf)) @ v)
    return torch.cat(rows, dim=2)


def gathered_by_einsum(q, k, v, indices, *, scale=None):
    return with_gather()(q, k, v, indices, scale=scale)


def with_gather(
    group_of=lambda head, group, kv_heads: head // group,
    mask=lambda scores, gone: scores.masked_fill(gone, -math.inf),
    weigh=softmax,
    root=lambda d, d_value, k: math.sqrt(d),
    at=lambda indices: indices.clamp(min=0),
    over=lambda scale, unit: scale,
):
    """Attention to gathered keys, and what may go wrong on the way."""

    def gathered_attention(q, k, v, indices, *, scale=None):
        kv_heads = k.shape[1]
        group = q.shape[1] // kv_heads
        heads = torch.tensor([group_of(head, group, kv_heads) for head in range(q.shape[1])])
        batch, rows = torch.arange(len(q))[:, None, None], at(indices)
        outs = []
        for head, kv_head in enumerate(heads.tolist()):
            scores = torch.einsum("bnd,bnkd->bnk", q[:, head], k[:, kv_head][batch, rows])
            unit = 1 / root(q.shape[-1], v.shape[-1], indices.shape[-1])
            scores = scores * (unit if scale is None else over(scale, unit))
            outs.append(torch.einsum("bnk,bnkd->bnd", weigh(mask(scores, indices < 0)), v[:, kv_head][batch, rows]))
        return torch.stack(outs, dim=1)

    return gathered_attention


def hidden_at_the_end(scores, gone):
    there = (~gone).sum(dim=-1, keepdim=True)
    return scores.masked_fill(torch.arange(scores.shape[-1]) >= there, -math.inf)


def not_normalised_again(q, k, v, indices, *, scale=None):
    """Weights of causal attention to all keys, of which only the chosen ones are used."""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    weights = scores.masked_fill(~causal_mask(q.shape[2], k.shape[2]), -math.inf).softmax(dim=-1)
    chosen = weights.gather(-1, indices.clamp(min=0)[:, None].expand(-1, q.shape[1], -1, -1))
    chosen = chosen.masked_fill((indices < 0)[:, None], 0)
    return torch.einsum("bhnk,bnhkd->bhnd", chosen, gathered(v, indices))


def causal_as_well(q, k, v, indices, *, scale=None):
    """Keys after the query are struck from the choice, though the indices alone say what is seen."""
    position = torch.arange(k.shape[2] - q.shape[2], k.shape[2])[:, None]
    return sparse.gathered_attention(q, k, v, indices.masked_fill(indices > position, -1), scale=scale)


def causal_from_the_start(q, k, v, indices, *, scale=None):
    position = torch.arange(q.shape[2])[:, None]
    return sparse.gathered_attention(q, k, v, indices.masked_fill(indices > position, -1), scale=scale)


def heads_out_of_order(q, k, v, indices, *, scale=None):
    """Query heads dealt to the key heads like cards, and put back group by group."""
    kv_heads = k.shape[1]
    dealt = q.unflatten(1, (-1, kv_heads)).transpose(1, 2).flatten(1, 2)
    return sparse.gathered_attention(dealt, k, v, indices, scale=scale)


def empty_by_where(q, k, v, indices, *, scale=None):
    """-inf is added to the scores, and weights of nan become 0 after the softmax: too late for the gradient."""
    return with_gather(
        mask=lambda scores, gone: scores + torch.zeros_like(scores).masked_fill(gone, -math.inf),
        weigh=lambda scores: scores.softmax(dim=-1).nan_to_num(),
    )(q, k, v, indices, scale=scale)


def of_first_batch(q, k, v, indices, *, scale=None):
    return sparse.gathered_attention(q, k[:1].expand_as(k), v[:1].expand_as(v), indices, scale=scale)


def first_values(q, k, v, indices, *, scale=None):
    """The keys are gathered, and the values are the first k."""
    there = torch.arange(indices.shape[-1]).expand_as(indices)
    batch = torch.arange(len(v))[:, None, None]
    group = q.shape[1] // k.shape[1]
    grouped = q.transpose(1, 2).unflatten(2, (-1, group))
    values = v.transpose(1, 2)[batch, there].transpose(2, 3)
    out = attention(grouped, gathered(k, indices), values, mask=(indices >= 0)[:, :, None, None], scale=scale)
    return out.flatten(2, 3).transpose(1, 2)


def values_at_their_rank(q, k, v, indices, *, scale=None):
    return sparse.gathered_attention(q, k, v, indices.sort(dim=-1).values, scale=scale).flip(2)


GATHER = Exercise(
    title="attention to the chosen keys",
    section="Attend to the chosen alone",
    difficulty=4,
    minutes=20,
    reference=sparse.gathered_attention,
    hints=(
        "One set of keys serves all heads. What shape have the keys that n queries fetch, k of them each? And with "
        "which of them does a query meet?",
        "gathered(k, indices) is (batch, n, kv_heads, k, d): a little attention for every query. Bring q to "
        "(batch, n, kv_heads, group, d), where a group of query heads shares a key head, and `attention` from "
        "the lesson on quadratic attention does the rest.",
        "q.transpose(1, 2).unflatten(2, (-1, group)) is that q. The mask, True where indices >= 0, is "
        "(batch, n, 1, 1, k). Afterwards .flatten(2, 3).transpose(1, 2) brings the heads back.",
    ),
    cases=(
        Case("8 queries, k = 3", *chosen_keys(1, 2, 2, 8, 8, 3)),
        Case("2 sequences, each with a choice of its own", *chosen_keys(2, 3, 3, 9, 9, 4)),
        Case("6 heads share 2 heads of keys", *chosen_keys(3, 6, 2, 10, 10, 4)),
        Case("all heads share one key, as in DeepSeek's", *chosen_keys(2, 4, 1, 6, 6, 3)),
        Case("3 queries, the last of 11 tokens", *chosen_keys(2, 2, 2, 3, 11, 4)),
        Case("k is all keys: dense causal attention", *chosen_keys(1, 2, 2, 6, 6, 6)),
        Case("keys after the query are chosen too", *chosen_keys(1, 2, 2, 8, 8, 3, causal=False)),
        Case("a scale of 0.1", *chosen_keys(1, 2, 2, 8, 8, 3, scale=0.1)),
        Case("scores of some hundreds", *chosen_keys(1, 2, 2, 6, 6, 4, scale=100.0)),
        Case("one query has no key", nobody_chosen),
        Case("empty places at the front, in the middle and at the end", empty_places_first),
        Case("fewer keys than k, and scores of -2,500,000,000", low_and_few),
        Case("the gradients where one query has no key", nobody_chosen, felt_by_a_query_without_keys),
        Case("100 queries, k = 4: nothing of n · m", chosen_keys(1, 2, 2, 100, 100, 4)[0], only_chosen),
        Case("float64", *chosen_keys(1, 2, 1, 8, 8, 6), dtype=torch.float64),
        Case("float16", *chosen_keys(1, 4, 2, 6, 6, 3), dtype=torch.float16),
        Case("a scale of 0: the mean of the chosen values", *chosen_keys(1, 2, 2, 6, 6, 3, scale=0.0)),
        Case("key 0 has a score of 400 and is not chosen", key_0_stands_in),
        Case("one query, one key of 5", *chosen_keys(2, 4, 2, 1, 5, 1)),
        Case("6 heads share 3 heads of keys, a scale of 0.3", *chosen_keys(1, 6, 3, 4, 7, 2, scale=0.3)),
    ),
    right_answers=(gathered_one_by_one, gathered_by_einsum),
    mistakes={
        "-1 reads the last key, which is in the future": with_gather(
            mask=lambda scores, gone: scores, at=lambda at: at
        ),
        "-1 reads key 0, which counts once more for every empty place": with_gather(mask=lambda scores, gone: scores),
        "key 0 counts as no key: the test is > 0, where it is >= 0": (
            lambda q, k, v, indices, *, scale=None: sparse.gathered_attention(
                q, k, v, torch.where(indices > 0, indices, -1), scale=scale
            )
        ),
        "the scores of empty places become 0 and not -inf": with_gather(
            mask=lambda scores, gone: scores.masked_fill(gone, 0)
        ),
        "a large negative number stands for -inf, so that a query without keys averages the stand-ins": with_gather(
            mask=lambda scores, gone: scores.masked_fill(gone, -1e4), weigh=lambda scores: scores.softmax(dim=-1)
        ),
        "the mask comes after the softmax: what was paid to empty places is missing, and weights sum to less than 1": (
            with_gather(
                mask=lambda scores, gone: (scores, gone),
                weigh=lambda both: both[0].softmax(dim=-1).masked_fill(both[1], 0),
            )
        ),
        "the exponentials are taken without the largest score from each, and overflow": with_gather(
            weigh=lambda scores: scores.exp() / (total := scores.exp().sum(-1, keepdim=True)).where(total > 0, 1)
        ),
        "the exponentials are divided by their sum as they are: large scores overflow, no keys give nan": with_gather(
            weigh=lambda scores: scores.exp() / scores.exp().sum(-1, keepdim=True)
        ),
        "all chosen keys count alike, whatever their scores": with_gather(
            mask=lambda scores, gone: (0 * scores).masked_fill(gone, -math.inf)
        ),
        "all queries take the choice of the first": lambda q, k, v, indices, *, scale=None: with_gather()(
            q, k, v, indices[:, :1].expand_as(indices), scale=scale
        ),
        "every sequence takes the choice of the first": lambda q, k, v, indices, *, scale=None: with_gather()(
            q, k, v, indices[:1].expand_as(indices), scale=scale
        ),
        "a query without keys gives nan (0 divided by 0), where it is 0": with_gather(
            weigh=lambda scores: scores.softmax(dim=-1)
        ),
        "the nan of a query without keys is set to 0 after the softmax, and stays in the gradient": empty_by_where,
        "a causal mask is laid on top of the choice, where the indices alone say what is seen": causal_as_well,
        "a causal mask is laid on top of the choice, and takes the queries for the first tokens": causal_from_the_start,
        "the mask is turned around: empty places are looked at, and keys are not": with_gather(
            mask=lambda scores, gone: scores.masked_fill(~gone, -math.inf)
        ),
        "the queries' heads are dealt to the key heads in turn, and come back in another order": heads_out_of_order,
        "the softmax runs over all keys, so that the weights of the chosen ones do not sum to 1": not_normalised_again,
        "all n · m scores are made and only the chosen ones kept, which saves nothing": (
            lambda q, k, v, indices, *, scale=None: sparse.masked_attention(q, k, v, indices, scale=scale)
        ),
        "the scores are not divided by √d": with_gather(root=lambda d, d_value, k: 1.0),
        "the scores are divided by d, and not by √d": with_gather(root=lambda d, d_value, k: d),
        "the scores are divided by √d_value, the size of a value": with_gather(
            root=lambda d, d_value, k: math.sqrt(d_value)
        ),
        "the scores are divided by √k, the number of chosen keys": with_gather(root=lambda d, d_value, k: math.sqrt(k)),
        "scale comes on top of 1 / √d, where it stands in its place": with_gather(over=torch.mul),
        "scale is not looked at": lambda q, k, v, indices, *, scale=None: with_gather()(q, k, v, indices),
        "every sequence reads the keys of the first": of_first_batch,
        "neighbouring heads read different key heads: head % kv_heads, where it is head // group": with_gather(
            group_of=lambda head, group, kv_heads: head % kv_heads
        ),
        "all heads read the first key head": with_gather(group_of=lambda head, group, kv_heads: 0),
        "the keys are gathered, but the values are the first k of the sequence": first_values,
        "a scale of 0 counts as none given: the test is `scale or`, where it is `is None`": (
            lambda q, k, v, indices, *, scale=None: sparse.gathered_attention(q, k, v, indices, scale=scale or None)
        ),
        "the scores are divided by the scale, where they are multiplied": (
            lambda q, k, v, indices, *, scale=None: sparse.gathered_attention(
                q, k, v, indices, scale=1 / scale if scale else scale
            )
        ),
        "the nan of a query without keys is set to 0 in the output, and stays in the gradient": (
            lambda *given, **options: with_gather(weigh=lambda scores: scores.softmax(dim=-1))(
                *given, **options
            ).nan_to_num(0)
        ),
        "-10,000 stands for -inf, and scores below it are less than those of empty places": with_gather(
            mask=lambda scores, gone: (scores.masked_fill(gone, -1e4), gone),
            weigh=lambda both: both[0].softmax(dim=-1).masked_fill(both[1], 0),
        ),
        "the largest score is taken from each before empty places are hidden, and may be key 0's that stands there": (
            with_gather(
                mask=lambda scores, gone: (scores - scores.amax(-1, keepdim=True)).exp().masked_fill(gone, 0),
                weigh=lambda weights: weights / (total := weights.sum(-1, keepdim=True)).where(total > 0, 1),
            )
        ),
        "each query is scored with all keys, and the chosen scores are taken: n · m scores, a part at a time": (
            scored_in_rows
        ),
        "empty places are taken to stand at the end of a row, and as many of the last are hidden": (
            lambda q, k, v, indices, *, scale=None: with_gather(mask=hidden_at_the_end)(q, k, v, indices, scale=scale)
        ),
        "heads and queries change places by a reshape, where they must be transposed": (
            lambda q, k, v, indices, *, scale=None: (
                sparse.gathered_attention(q, k, v, indices, scale=scale).transpose(1, 2).reshape(*q.shape[:3], -1)
            )
        ),
        "the output of half precision stays float32: round it to the dtype of q": (
            lambda q, k, v, indices, *, scale=None: sparse.gathered_attention(*wider(q, k, v), indices, scale=scale)
        ),
    },
)


# index_target ----------------------------------------------------------------------------------------------------


def attention_of(batch, heads, n, m, *, sharp=1.0):
    def inputs(normal):
        scores = sharp * normal(batch, heads, n, m)
        return (scores.masked_fill(~causal_mask(n, m), -math.inf).softmax(dim=-1),)

    return inputs


def two_heads_two_places(normal):
    probabilities = torch.zeros(1, 2, 1, 4)
    probabilities[0, 0, 0, 1] = probabilities[0, 1, 0, 3] = 1.0
    return (probabilities,)


def part_of_it(normal):
    """What attention pays to a few chosen keys, when it was paid to all: the rows no longer sum to 1."""
    return (normal(2, 3, 5, 8).softmax(dim=-1)[..., :3],)


def little_in_a_row(normal):
    """A choice that kept a ten-thousandth of what attention pays."""
    return (1e-4 * normal(2, 3, 5, 8).softmax(dim=-1),)


def next_to_nothing(normal):
    """A choice that kept some 1e-30 of what attention pays."""
    return (1e-30 * normal(2, 3, 5, 8).softmax(dim=-1),)


def made_to_sum(function, probabilities):
    """Whether the rows sum to 1, and the target where they do: what is near 0 everywhere is no sign of a mistake."""
    target = function(probabilities)
    there = isinstance(target, Tensor) and target.shape == probabilities[:, 0].shape and bool((target != 0).all())
    sums = there and bool(((target.sum(dim=-1) - 1).abs() < 1e-4).all())
    return {
        "that each key of a row gets its share": there,
        "that every row sums to 1": sums,
        "the target": target if sums else None,
    }


def nothing_in_a_row(normal):
    probabilities = normal(1, 2, 4, 3).softmax(dim=-1)
    probabilities[:, :, 1] = 0
    return (probabilities,)


def pull_on_attention(function, probabilities):
    """The gradient that reaches the attention; none counts as 0."""
    probabilities = probabilities.clone().requires_grad_()
    target = function(probabilities)
    if not target.requires_grad:
        return torch.zeros_like(probabilities)
    weight = torch.arange(target.numel(), dtype=target.dtype).reshape(target.shape)
    return torch.autograd.grad((target * weight).sum(), probabilities)[0]


def target_head_by_head(probabilities):
    with torch.no_grad():
        summed = torch.zeros_like(probabilities[:, 0])
        for head in range(probabilities.shape[1]):
            summed += probabilities[:, head]
        total = summed.sum(dim=-1, keepdim=True)
        return torch.where(total > 0, summed / total.where(total > 0, 1), 0)


def target_by_mean(probabilities):
    mean = torch.nn.functional.normalize(wider(probabilities)[0].mean(dim=1).detach(), p=1, dim=-1, eps=1e-37)
    return mean.to(probabilities.dtype)


def target_from(joined, normalise=lambda summed: summed / summed.sum(-1, keepdim=True).clamp(min=1e-37), detach=True):
    def index_target(probabilities):
        target = normalise(joined(probabilities))
        return target.detach() if detach else target

    return index_target


def total(probabilities):
    return probabilities.sum(dim=1)


TARGET = Exercise(
    title="what the indexer should reproduce",
    section="No gradient passes a choice",
    difficulty=2,
    minutes=8,
    reference=sparse.index_target,
    hints=(
        "One head looks at key 1 and nowhere else, another at key 3. The indexer makes one set for both. Which keys "
        "should it want, and how much?",
        "Add the heads' probabilities up (dimension 1), then divide every row by its sum over the keys. The attention "
        "must not be moved by this: .detach().",
        "summed = probabilities.detach().sum(dim=1). A row of zeros must stay zeros: keep the sum that you divide by "
        "above 0, with .clamp(min=torch.finfo(summed.dtype).tiny).",
    ),
    cases=(
        Case("two heads, two places", two_heads_two_places),
        Case("3 heads, 6 tokens", attention_of(2, 3, 6, 6)),
        Case("sharp heads", attention_of(1, 4, 8, 8, sharp=5.0)),
        Case("3 queries, the last of 7 tokens", attention_of(2, 2, 3, 7)),
        Case("rows that are only a part of the attention", part_of_it),
        Case("rows of which next to nothing was kept", little_in_a_row),
        Case("rows of which 1e-30 was kept", next_to_nothing, made_to_sum),
        Case("a row of zeros", nothing_in_a_row),
        Case("what the attention feels of it", attention_of(1, 2, 4, 4), pull_on_attention),
        Case("float64", attention_of(1, 3, 5, 5), dtype=torch.float64),
        Case("float16", attention_of(1, 3, 4, 6), dtype=torch.float16),
        Case("float16, a row of zeros", nothing_in_a_row, dtype=torch.float16),
        Case("one query, one candidate", lambda normal: (normal(2, 3, 1, 4).softmax(dim=-1)[..., :1],)),
    ),
    right_answers=(target_head_by_head, target_by_mean),
    mistakes={
        "the logarithms are averaged over the heads, as if the heads' scores were added up: a key must please all "
        "heads": target_from(
            lambda probabilities: probabilities.clamp(min=1e-30).log().mean(dim=1).exp() * (total(probabilities) > 0)
        ),
        "the largest head decides (max over the heads)": target_from(lambda probabilities: probabilities.amax(dim=1)),
        "only the first head is looked at": target_from(lambda probabilities: probabilities[:, 0]),
        "the rows are normalised over the queries, not over the keys": target_from(
            total, lambda summed: summed / summed.sum(dim=1, keepdim=True).clamp(min=1e-30)
        ),
        "the heads are added up and the rows are not made to sum to 1": target_from(total, lambda summed: summed),
        "the sum is divided by the number of heads, which normalises whole rows only": target_from(
            lambda probabilities: probabilities.mean(dim=1), lambda mean: mean
        ),
        "every head is made to sum to 1 before the heads are added up, so that one that paid little counts as much": (
            target_from(lambda each: (each / each.sum(-1, keepdim=True).clamp(min=1e-30)).sum(dim=1))
        ),
        "the heads are multiplied, so that a key must please all of them": target_from(lambda each: each.prod(dim=1)),
        "the rows are made to have length 1 (the root of the sum of squares), not sum 1": target_from(
            total, lambda summed: torch.nn.functional.normalize(summed, dim=-1, eps=1e-30)
        ),
        "a sum below 1 is taken for 1, so that rows of which little was kept stay small": target_from(
            total, lambda summed: summed / summed.sum(dim=-1, keepdim=True).clamp(min=1)
        ),
        "the rows are divided by their largest entry, not by their sum": target_from(
            total, lambda summed: summed / summed.amax(dim=-1, keepdim=True).clamp(min=1e-30)
        ),
        "the whole matrix is made to sum to 1, where every row is": target_from(
            total, lambda summed: summed / summed.sum(dim=(1, 2), keepdim=True)
        ),
        "everything is made to sum to 1, all sequences together, where every row is": target_from(
            total, lambda summed: summed / summed.sum()
        ),
        "something small is added to the divisor, and rows of which little was kept sum to less": target_from(
            total, lambda summed: summed / (summed.sum(dim=-1, keepdim=True) + 1e-6)
        ),
        "the divisor has a least value, and some rows sum to less than that": (
            lambda probabilities: target_from(
                total, lambda summed: summed / summed.sum(dim=-1, keepdim=True).clamp(min=1e-9)
            )(*wider(probabilities)).to(probabilities.dtype)
        ),
        "the divisor has a least value that some rows are below, and that float16 rounds to 0": (
            target_from(total, lambda summed: summed / summed.sum(dim=-1, keepdim=True).clamp(min=1e-9))
        ),
        "a second softmax follows, which flattens the rows": target_from(total, lambda summed: summed.softmax(dim=-1)),
        "a row of zeros becomes nan (0 divided by 0)": target_from(
            total, lambda summed: summed / summed.sum(dim=-1, keepdim=True)
        ),
        "the target is not detached, so that the attention is pulled towards its indexer": target_from(
            total, detach=False
        ),
        "the heads' logarithms are averaged, which asks for the key that pleases all a little": lambda probabilities: (
            probabilities.detach().clamp(min=1e-9).log().mean(dim=1).softmax(dim=-1)
        ),
        "the target of half precision stays float32: round it to the dtype of the probabilities": (
            lambda probabilities: index_target(*wider(probabilities))
        ),
        "a row of zeros becomes an even row": lambda probabilities: torch.where(
            probabilities.detach().sum(dim=(1, 3))[..., None] > 0,
            sparse.index_target(probabilities),
            1 / probabilities.shape[-1],
        ),
    },
)


# divergence ------------------------------------------------------------------------------------------------------


def two_distributions(batch, n, candidates, *, few=False):
    """Scores of any sign, and a target that sums to 1; few: the first rows have fewer candidates."""

    def inputs(normal):
        scores, target = normal(batch, n, candidates), normal(batch, n, candidates)
        if few:
            hidden = ~torch.ones(n, candidates, dtype=torch.bool).tril()
            scores, target = scores.masked_fill(hidden, -math.inf), target.masked_fill(hidden, -math.inf)
        return 2 * scores, target.softmax(dim=-1)

    return inputs


def perfect(normal):
    target = normal(1, 4, 5).softmax(dim=-1)
    return target.log() + 3, target


def certain(normal):
    """All attention on one key: many zeros in the target."""
    target = torch.zeros(1, 3, 4)
    target[0, [0, 1, 2], [1, 3, 0]] = 1.0
    return normal(1, 3, 4), target


def overlooked(normal):
    """A key that gets half of the attention, and of which the indexer thinks nothing at all."""
    scores = normal(1, 2, 4) + 200
    scores[..., 1] = -100.0
    return scores, torch.tensor([[[0.25, 0.5, 0.25, 0.0], [0.0, 0.5, 0.0, 0.5]]])


def low_beside_hidden(normal):
    """Scores below what anybody takes for minus infinity, beside keys that are hidden."""
    hidden = ~causal_mask(4, 5)
    target = normal(1, 4, 5).masked_fill(hidden, -math.inf).softmax(dim=-1)
    return normal(1, 4, 5).masked_fill(hidden, -math.inf) - 3e9, target


def in_float32(function, *inputs):
    """The outcome to the digits of float32: the difference of two large numbers has no more."""
    result = function(*inputs)
    return result.float() if isinstance(result, Tensor) else result


def few_or_none(normal):
    """Two queries without any candidate, one with one, two with all."""
    scores, target = normal(1, 5, 3), normal(1, 5, 3)
    hidden = torch.tensor([[True] * 3, [False] * 3, [True] * 3, [True, False, True], [False] * 3])
    return scores.masked_fill(hidden, -math.inf), softmax(target.masked_fill(hidden, -math.inf))


def pull_on_scores(function, scores, target):
    """The gradient that reaches the scores; none counts as 0."""
    scores = scores.clone().requires_grad_()
    loss = function(scores, target)
    return torch.autograd.grad(loss, scores)[0] if loss.requires_grad else torch.zeros_like(scores)


def divergence_row_by_row(scores, target):
    losses = []
    for b in range(scores.shape[0]):
        for t in range(scores.shape[1]):
            there = scores[b, t] > -torch.inf
            p, log_q = target[b, t][there], scores[b, t][there].log_softmax(dim=0)
            losses.append(torch.nn.functional.kl_div(log_q, p, reduction="sum"))
    return torch.stack(losses).mean()


def divergence_by_parts(scores, target):
    """Only the queries that have a candidate, over the number of all."""
    queries = scores.shape[:-1].numel()
    some = (scores > -math.inf).any(dim=-1)
    scores, target = scores[some], target[some]
    total = scores.logsumexp(dim=-1)
    cross = total * target.sum(dim=-1) - (target * scores.clamp(min=torch.finfo(scores.dtype).min)).sum(dim=-1)
    entropy = torch.special.entr(target).sum(dim=-1)
    return (cross - entropy).sum() / queries


def of_logs(rows, reduce=lambda each: each.mean()):
    """A loss from log_softmax, masked, and the target: rows(log_q, target) -> (batch, n)."""

    def divergence(scores, target):
        return reduce(rows(log_weights(scores), target))

    return divergence


def log_weights(scores, dim=-1):
    """The logarithms of the weights, and 0 where there is no candidate: without a nan, also in the gradient."""
    hidden = scores == -math.inf
    return scores.masked_fill(hidden.all(dim=dim, keepdim=True), 0).log_softmax(dim=dim).masked_fill(hidden, 0)


def forward_rows(log_q, target):
    return (torch.xlogy(target, target) - target * log_q).sum(dim=-1)


def swapped(scores, target):
    log_q, log_p = log_weights(scores), target.clamp(min=1e-30).log()
    return torch.where(scores == -math.inf, 0, log_q.exp() * (log_q - log_p)).sum(-1).mean()


def empty_rows_forgotten(scores, target):
    """The loss of a query without candidates is 0, and its gradient nan: the softmax has met it before the mask."""
    return forward_rows(scores.log_softmax(dim=-1).masked_fill(scores == -math.inf, 0), target).mean()


def empty_rows_left_out(scores, target):
    some = (scores > -math.inf).any(dim=-1)
    return divergence(scores[some][None], target[some][None])


def not_masked(scores, target):
    return (target * (target.log() - scores.log_softmax(dim=-1))).sum(dim=-1).mean()


def raw_scores(scores, target):
    scores = scores.masked_fill(scores == -math.inf, 0)
    return forward_rows(scores, target).mean()


def over_queries(scores, target):
    return forward_rows(log_weights(scores, dim=1), target).mean()


def raised_by(little, scores, target):
    return (target * ((target + little).log() - (softmax(scores) + little).log())).sum(dim=-1).mean()


def in_no_grad(scores, target):
    return divergence(scores.detach(), target)


def floored(scores, target):
    return forward_rows(log_weights(scores).clamp(min=-100), target).mean()


DIVERGE = Exercise(
    title="a divergence that survives -inf",
    section="No gradient passes a choice",
    difficulty=3,
    minutes=12,
    reference=sparse.divergence,
    hints=(
        "What is the logarithm of a weight of 0? And what does Python make of 0.0 * -float('inf')?",
        "KL(p ‖ q) = Σ p (ln p - ln q). ln q is scores.log_softmax(dim=-1), which is -inf where there is no candidate; "
        "p is 0 there, and such a term counts 0. torch.xlogy(p, p) is p ln p with 0 for p = 0.",
        "log_softmax = log_softmax.masked_fill(scores == -math.inf, 0) makes the product with p a plain 0. Then sum "
        "over the candidates, and take the mean over the queries. For a row of nothing but -inf that is too late: give "
        "it zeros before its log_softmax.",
    ),
    cases=(
        Case("4 queries, 5 candidates", two_distributions(2, 4, 5)),
        Case("the scores are the logarithms of the target, plus 3: nothing is lost", perfect),
        Case("the first queries have fewer candidates", two_distributions(2, 5, 5, few=True)),
        Case("all attention on one key", certain),
        Case("one candidate", two_distributions(1, 3, 1)),
        Case("what the scores feel of it", two_distributions(1, 4, 6), pull_on_scores),
        Case("what they feel with fewer candidates", two_distributions(2, 4, 4, few=True), pull_on_scores),
        Case("two queries have no candidate", few_or_none),
        Case("what the scores feel where two queries have none", few_or_none, pull_on_scores),
        Case("a key that the indexer overlooks by far", overlooked),
        Case("what the scores feel of it there", overlooked, pull_on_scores),
        Case("float64", two_distributions(1, 3, 7), dtype=torch.float64),
        Case(
            "scores of -3,000,000,000 beside keys that are hidden", low_beside_hidden, in_float32, dtype=torch.float64
        ),
        Case("float16", two_distributions(1, 3, 5), dtype=torch.float16),
        Case("float16: two queries have no candidate", few_or_none, dtype=torch.float16),
    ),
    right_answers=(divergence_row_by_row, divergence_by_parts),
    mistakes={
        "the direction is swapped, KL(softmax(scores) ‖ target), which is content with one peak of many": swapped,
        "0 · -inf makes nan where there is no candidate": lambda scores, target: forward_rows(
            scores.log_softmax(dim=-1), target
        ).mean(),
        "0 · ln 0 makes nan where the target is 0": lambda scores, target: (
            (target * (target.log() - log_weights(scores))).sum(dim=-1).mean()
        ),
        "0 · -inf makes nan, where there is no candidate and where the target is 0": not_masked,
        "a query without any candidate makes nan: its softmax is 0 divided by 0": lambda scores, target: forward_rows(
            scores.log_softmax(dim=-1).clamp(min=torch.finfo(scores.dtype).min), target
        ).mean(),
        "logarithms of base 2 are taken (bits), where they are natural (nats)": of_logs(
            lambda log_q, target: forward_rows(log_q, target) / math.log(2)
        ),
        "a query without any candidate has a loss of 0, but a gradient of nan: its softmax was nan before "
        "the mask came": empty_rows_forgotten,
        "queries without any candidate are left out of the mean, where they count 0": empty_rows_left_out,
        "the entropy of the target is missing (a cross-entropy): a perfect indexer does not reach 0": of_logs(
            lambda log_q, target: -(target * log_q).sum(dim=-1)
        ),
        "the sum over the queries is taken, where it is the mean": of_logs(forward_rows, lambda each: each.sum()),
        "the mean over queries and candidates is taken, where candidates are added up": of_logs(
            lambda log_q, target: (torch.xlogy(target, target) - target * log_q).mean(dim=-1)
        ),
        "the mean over the sequences is taken, but the sum over their queries (batchmean)": of_logs(
            forward_rows, lambda each: each.sum() / len(each)
        ),
        "the scores are taken for logarithms of weights, without a softmax": raw_scores,
        "the softmax runs over the queries, not over the candidates": over_queries,
        "the exponentials are taken without the largest score from each, and overflow": lambda scores, target: (
            forward_rows(
                scores.masked_fill(scores == -math.inf, 0)
                - (total := scores.exp().sum(-1, keepdim=True)).where(total > 0, 1).log(),
                target,
            ).mean()
        ),
        "the logarithm is taken of a softmax, whose smallest weights are 0 (log_softmax keeps them)": (
            lambda scores, target: forward_rows(softmax(scores).where(target > 0, 1).log(), target).mean()
        ),
        "the target goes through a softmax, though it sums to 1 already": lambda scores, target: divergence(
            scores, target.softmax(dim=-1)
        ),
        "the sign is turned around": lambda scores, target: -divergence(scores, target),
        "the squared difference of the weights is taken": (
            lambda scores, target: (scores.softmax(dim=-1) - target).square().sum(dim=-1).mean()
        ),
        "no gradient reaches the scores (detach or no_grad)": in_no_grad,
        "a hidden key gets a score of -10,000, which is more than a low one's": lambda scores, target: forward_rows(
            scores.masked_fill(scores == -math.inf, -1e4).log_softmax(dim=-1), target
        ).mean(),
        "logarithms end at a floor (clamp), where a key that is overlooked most pulls no more": floored,
        "weights are raised to 1e-8 before their logarithm, and a key below that costs and pulls no more": (
            lambda scores, target: forward_rows(softmax(scores).clamp(min=1e-8).log(), target).mean()
        ),
        "weights are raised to 1e-9 before their logarithm, and a key below that costs and pulls no more": (
            lambda scores, target: forward_rows(softmax(scores).clamp(min=1e-9).log(), target).mean()
        ),
        "1e-8 is added to weights and target before their logarithms, which bends them where they are small": (
            lambda scores, target: raised_by(1e-8, scores, target)
        ),
        "1e-9 is added to weights and target before their logarithms, which bends them where they are small": (
            lambda scores, target: raised_by(1e-9, scores, target)
        ),
        "a hidden key gets a score of 0, which is a weight like any other": lambda scores, target: forward_rows(
            scores.masked_fill(scores == -math.inf, 0).log_softmax(dim=-1), target
        ).mean(),
        "the softmax runs over the keys with a target alone, and nothing pushes the others down": (
            lambda scores, target: divergence(scores.masked_fill(target == 0, -math.inf), target)
        ),
        "the loss of half precision comes back as float32: round it to the dtype of the scores": (
            lambda scores, target: divergence(*wider(scores, target))
        ),
    },
)


# sparse_loss -----------------------------------------------------------------------------------------------------


def sparse_stage(batch, heads, n, m, k, *, without=()):
    def inputs(normal):
        scores = normal(batch, n, m)
        indices = select_top_k(scores + 0.5 * normal(batch, n, m), k)
        indices[:, without] = -1
        q, keys = normal(batch, heads, n, 4), normal(batch, heads, m, 4)
        return 2 * scores, sparse.chosen_probabilities(q, keys, indices), indices

    return inputs


def unpaid(normal):
    """Chosen keys to which attention pays exactly 0."""
    indices = torch.tensor([[[0, 1, -1], [2, 0, 1], [3, 1, 2]]])
    probabilities = torch.tensor([[[1.0, 0, 0], [0.75, 0, 0.25], [0, 1, 0]], [[1, 0, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]])
    return normal(1, 3, 5), probabilities[None].to(normal(1).dtype), indices


def low_and_unchosen(normal):
    """Scores of -3,000,000,000, but for key 0, which is far above them and not chosen where a place is empty."""
    scores = normal(1, 3, 5) - 3e9
    scores[..., 0] = 0
    indices = torch.tensor([[[1, 2, -1], [-1, 4, 3], [2, -1, 1]]])
    return scores, normal(1, 2, 3, 3).masked_fill((indices < 0)[:, None], -math.inf).softmax(dim=-1), indices


def pull_of_stage(function, scores, probabilities, indices):
    """The gradients that reach scores and attention, side by side; none counts as 0."""
    scores, probabilities = scores.clone().requires_grad_(), probabilities.clone().requires_grad_()
    loss = function(scores, probabilities, indices)
    felt = (None, None)
    if loss.requires_grad:
        felt = torch.autograd.grad(loss, (scores, probabilities), allow_unused=True)
    parts = (
        torch.zeros_like(x) if each is None else each for each, x in zip(felt, (scores, probabilities), strict=True)
    )
    return torch.cat([part.flatten() for part in parts])


def stage_row_by_row(scores, probabilities, indices):
    losses = []
    for b in range(len(scores)):
        for t in range(scores.shape[1]):
            there = indices[b, t] >= 0
            p = probabilities[b, :, t, there].detach().sum(dim=0)
            p = p / p.sum() if there.any() else p
            log_q = scores[b, t, indices[b, t, there]].log_softmax(dim=0)
            losses.append((torch.xlogy(p, p) - p * log_q).sum())
    return torch.stack(losses).mean()


def stage_by_mask(scores, probabilities, indices):
    """In the full row, with -inf wherever nothing was chosen."""
    width = scores.shape[-1]
    places = torch.where(indices >= 0, indices, width)
    target = scores.new_zeros(*scores.shape[:-1], width + 1).scatter_add(-1, places, index_target(probabilities))
    chosen = torch.zeros_like(target, dtype=torch.bool).scatter(-1, places, True)[..., :width]
    return divergence(scores.masked_fill(~chosen, -math.inf), target[..., :width])


def at_choice(pick, target=index_target):
    """A loss from pick(scores, indices), (batch, n, k), and a target of the probabilities."""
    return lambda scores, probabilities, indices: divergence(pick(scores, indices), target(probabilities))


def picked(scores, indices):
    return scores.gather(-1, indices.clamp(min=0)).masked_fill(indices < 0, -math.inf)


def full_softmax(scores, probabilities, indices):
    """The softmax over the whole past, of which the chosen weights are taken."""
    hidden = ~causal_mask(*scores.shape[1:])
    return all_keys_softmax(scores.masked_fill(hidden, -math.inf), probabilities, indices)


def all_keys_softmax(scores, probabilities, indices):
    """The softmax over all keys of the row, of which the chosen weights are taken."""
    log_q = scores.log_softmax(dim=-1).gather(-1, indices.clamp(min=0)).masked_fill(indices < 0, 0)
    return forward_rows(log_q, index_target(probabilities)).mean()


def weights_as_scores(scores, probabilities, indices):
    return divergence(picked(scores.softmax(dim=-1), indices), index_target(probabilities))


def squared(scores, probabilities, indices):
    difference = softmax(picked(scores, indices)) - index_target(probabilities)
    return difference.square().sum(dim=-1).mean()


def only_choice_counts(scores, probabilities, indices):
    """The indexer's say is its choice: a weight of 1 / k for each chosen key."""
    return divergence(torch.zeros_like(scores).gather(-1, indices.clamp(min=0)).masked_fill(indices < 0, -math.inf),
                      index_target(probabilities))  # fmt: skip


def not_detached(probabilities):
    summed = probabilities.sum(dim=1)
    return summed / summed.sum(dim=-1, keepdim=True).clamp(min=1e-30)


def best_first_target(probabilities):
    return index_target(probabilities).sort(dim=-1, descending=True).values


def stage_without_detach(scores, probabilities, indices):
    return forward_rows(log_weights(picked(scores, indices)), not_detached(probabilities)).mean()


STAGE = Exercise(
    title="the loss of the sparse stage",
    section="Two stages",
    difficulty=3,
    minutes=10,
    reference=sparse.sparse_loss,
    hints=(
        "A choice is whole numbers, and they have no gradient. Through which number, then, can the indexer learn that "
        "it thought too little of a key that it chose?",
        "scores.gather(-1, positions) gives the scores of the chosen keys, (batch, n, k), and lets the gradient "
        "through. Where a query has fewer than k keys, gather any score and put -inf over it.",
        "chosen = scores.gather(-1, indices.clamp(min=0)), then -inf where indices < 0. divergence compares it with "
        "index_target of the probabilities.",
    ),
    cases=(
        Case("7 tokens, k = 3", sparse_stage(1, 2, 7, 7, 3)),
        Case("k = 5: the first rows have fewer keys", sparse_stage(2, 3, 8, 8, 5)),
        Case("3 queries, the last of 11 tokens", sparse_stage(2, 5, 3, 11, 4)),
        Case("one query has no key", sparse_stage(1, 2, 5, 9, 3, without=1)),
        Case("who feels it", sparse_stage(1, 2, 7, 7, 3), pull_of_stage),
        Case("who feels it when there are fewer keys", sparse_stage(2, 3, 6, 6, 5), pull_of_stage),
        Case("who feels it when one query has none", sparse_stage(1, 2, 5, 9, 3, without=1), pull_of_stage),
        Case("float64", sparse_stage(1, 4, 8, 8, 4), dtype=torch.float64),
        Case("float16", sparse_stage(1, 3, 6, 6, 4), dtype=torch.float16),
        Case("keys are chosen to which attention pays 0", unpaid),
        Case("who feels it when attention pays 0", unpaid, pull_of_stage),
        Case(
            "chosen scores of -3,000,000,000, and key 0 is not chosen",
            low_and_unchosen,
            in_float32,
            dtype=torch.float64,
        ),
        Case("one query of 9 tokens", sparse_stage(2, 2, 1, 9, 4)),
        Case("float16, one query has no key", sparse_stage(1, 2, 5, 9, 3, without=1), dtype=torch.float16),
    ),
    right_answers=(stage_row_by_row, stage_by_mask),
    mistakes={
        "only the choice reaches the loss, and no gradient reaches the indexer": only_choice_counts,
        "the scores are detached: the loss is right, but the indexer never learns": at_choice(
            lambda scores, indices: picked(scores, indices).detach()
        ),
        "the attention is not detached, so that it is pulled towards its indexer": stage_without_detach,
        "the softmax runs over the whole past, and the weights taken from it do not sum to 1": full_softmax,
        "the softmax runs over all keys of the row, and the weights taken from it do not sum to 1: gather the chosen "
        "scores first": all_keys_softmax,
        "weights of a softmax over all keys are taken for scores, and go through a second softmax": weights_as_scores,
        "empty places count as key 0, again and again": at_choice(
            lambda scores, indices: scores.gather(-1, indices.clamp(min=0))
        ),
        "empty places get a score of 0, which is a weight like any other": at_choice(
            lambda scores, indices: picked(scores, indices).masked_fill(indices < 0, 0)
        ),
        "the first k scores of the row are compared, not those of the chosen keys": at_choice(
            lambda scores, indices: scores[..., : indices.shape[-1]].masked_fill(indices < 0, -math.inf)
        ),
        "empty places count as the last key of the row": at_choice(
            lambda scores, indices: scores.gather(-1, indices % scores.shape[-1])
        ),
        "the largest scores of the row are compared, those of the future too, not those of the chosen keys": at_choice(
            lambda scores, indices: scores.topk(indices.shape[-1]).values
        ),
        "the keys are chosen anew by their scores, where the choice is given": at_choice(
            lambda scores, indices: picked(scores, select_top_k(scores, indices.shape[-1]))
        ),
        "the heads are added up and the target's rows are not made to sum to 1": at_choice(
            picked, lambda probabilities: probabilities.detach().sum(dim=1)
        ),
        "scores and target are swapped in the divergence": lambda scores, probabilities, indices: divergence(
            index_target(probabilities), softmax(picked(scores, indices))
        ),
        "the sum over the queries is taken, where it is the mean": lambda scores, probabilities, indices: (
            sparse.sparse_loss(scores, probabilities, indices) * scores.shape[:-1].numel()
        ),
        "the mean over the sequences is taken, but the sum over their queries (batchmean)": (
            lambda scores, probabilities, indices: sparse.sparse_loss(scores, probabilities, indices) * scores.shape[1]
        ),
        "the mean over queries and chosen keys is taken, where keys are added up": lambda scores, weights, indices: (
            sparse.sparse_loss(scores, weights, indices) / indices.shape[-1]
        ),
        "the entropy of the target is missing (a cross-entropy): a perfect indexer does not reach 0": (
            lambda scores, probabilities, indices: (
                -(index_target(probabilities) * log_weights(picked(scores, indices))).sum(dim=-1).mean()
            )
        ),
        "the direction is swapped, KL(softmax(scores) ‖ target), which is content with one peak of many": (
            lambda scores, probabilities, indices: swapped(picked(scores, indices), index_target(probabilities))
        ),
        "each head has a divergence of its own, and their mean is taken": lambda scores, probabilities, indices: sum(
            sparse.sparse_loss(scores, each, indices) / probabilities.shape[1] for each in probabilities.split(1, dim=1)
        ),
        "the choice is sorted before the scores are fetched, and the probabilities belong to other keys": at_choice(
            lambda scores, indices: picked(scores, indices.sort(dim=-1).values)
        ),
        "every sequence takes the choice of the first": at_choice(
            lambda scores, indices: picked(scores, indices[:1].expand_as(indices))
        ),
        "the largest head decides (max over the heads)": at_choice(
            picked, lambda probabilities: not_detached(probabilities.detach().amax(dim=1, keepdim=True))
        ),
        "the squared difference of the weights is taken": squared,
        "the target is sorted, so that its entries belong to other keys": at_choice(picked, best_first_target),
        "a chosen key to which attention pays 0 is left out of the softmax, and nothing pushes it down": (
            lambda scores, probabilities, indices: divergence(
                picked(scores, indices).masked_fill((target := index_target(probabilities)) == 0, -math.inf), target
            )
        ),
        "only the first head is looked at": at_choice(picked, lambda each: index_target(each[:, :1])),
        "a second softmax flattens the scores": at_choice(
            lambda scores, indices: picked(scores, indices).softmax(dim=-1).masked_fill(indices < 0, -math.inf)
        ),
        "the score of key 0 is hidden: the test is > 0, where it is >= 0": at_choice(
            lambda scores, indices: picked(scores, indices).masked_fill(indices <= 0, -math.inf)
        ),
        "key 0 counts as no key: the test is > 0, where it is >= 0": lambda scores, probabilities, indices: (
            sparse.divergence(
                scores.gather(-1, indices.clamp(min=0)).masked_fill(indices <= 0, -math.inf),
                sparse.index_target(probabilities).masked_fill(indices <= 0, 0),
            )
        ),
        "key 0 counts as no key, and what attention pays to it is taken out before the target sums to 1": (
            lambda scores, probabilities, indices: divergence(
                picked(scores, indices).masked_fill(indices <= 0, -math.inf),
                index_target(probabilities * (indices > 0)[:, None]),
            )
        ),
        "queries without any key are left out of the mean, where they count 0": lambda scores, probabilities, indices: (
            sparse.sparse_loss(scores, probabilities, indices)
            * indices.shape[:2].numel()
            / (indices >= 0).any(dim=-1).sum()
        ),
        "the target is the mean of the heads as it is, and pulls the attention towards its indexer": at_choice(
            picked, lambda probabilities: probabilities.mean(dim=1)
        ),
        "the k largest scores are taken, and not those at the indices": lambda scores, probabilities, indices: (
            sparse.divergence(
                scores.topk(indices.shape[-1]).values.masked_fill(indices < 0, -math.inf),
                sparse.index_target(probabilities),
            )
        ),
    },
)


# rotate ----------------------------------------------------------------------------------------------------------


def to_turn(*shape, pairs, start=0, base=10_000.0):
    def inputs(normal):
        position = torch.arange(start, start + shape[-2])
        return normal(*shape), position, (base ** (-torch.arange(pairs) / max(pairs, 1))).to(normal(1).dtype)

    return inputs


def scattered(normal):
    return normal(2, 3, 10), torch.tensor([3, 40, 11]), (100.0 ** (-torch.arange(4) / 4)).to(normal(1).dtype)


def products_at(distance, start, pairs):
    """Of a query and a key that far apart, standing at `start` and further on: the same wherever they stand."""

    def inputs(normal):
        return normal(1, 2 * pairs + 2), normal(1, 2 * pairs + 2), 100.0 ** (-torch.arange(pairs) / pairs)

    def outcome(function, q, k, frequencies):
        one = function(q, torch.tensor([start + distance]), frequencies)
        return one @ function(k, torch.tensor([start]), frequencies).T

    return inputs, outcome


def rotate_complex(x, position, frequencies):
    pairs = len(frequencies)
    numbers = torch.complex(x[..., :pairs].double(), x[..., pairs : 2 * pairs].double())
    turned = numbers * torch.polar(torch.ones(1).double(), torch.outer(position, frequencies).double())
    return torch.cat([turned.real.to(x), turned.imag.to(x), x[..., 2 * pairs :]], dim=-1)


def rotate_halves(x, position, frequencies):
    angle = torch.cat([position.unsqueeze(-1) * frequencies] * 2, dim=-1)
    part, rest = x[..., : angle.shape[-1]], x[..., angle.shape[-1] :]
    a, b = part.chunk(2, dim=-1)
    return torch.cat([part * angle.cos() + torch.cat([-b, a], dim=-1) * angle.sin(), rest], dim=-1)


def rotated_by(angle=lambda position, frequencies: position[:, None] * frequencies, split=None, sign=1.0):
    """A rotation with other angles, or of other entries: split(x, pairs) gives the two index lists."""

    def rotate(x, position, frequencies):
        pairs = len(frequencies)
        one, two = (split or (lambda size, pairs: (range(pairs), range(pairs, 2 * pairs))))(x.shape[-1], pairs)
        one, two = list(one), list(two)
        cos, sin = (part(angle(position, frequencies)).to(x) for part in (torch.cos, torch.sin))
        out = x.clone()
        out[..., one] = x[..., one] * cos - sign * x[..., two] * sin
        out[..., two] = x[..., two] * cos + sign * x[..., one] * sin
        return out

    return rotate


def not_a_rotation(x, position, frequencies):
    """Both entries of a pair get the same: x cos + x sin."""
    angle = position[:, None] * frequencies
    part = x[..., : 2 * len(frequencies)]
    turned = part * torch.cat([angle.cos()] * 2, -1).to(x) + part * torch.cat([angle.sin()] * 2, -1).to(x)
    return torch.cat([turned, x[..., 2 * len(frequencies) :]], dim=-1)


def wider_table(x, position, frequencies):
    """The first columns of a table made for cos of all pairs twice, interleaved: neighbours get neighbours' angles."""
    pairs = len(frequencies)
    angle = (position[:, None] * frequencies).repeat_interleave(2, dim=-1)
    a, b = x[..., :pairs], x[..., pairs : 2 * pairs]
    cos, sin = angle.cos().to(x), angle.sin().to(x)
    first, second = slice(None, pairs), slice(pairs, None)
    turned = [a * cos[:, first] - b * sin[:, first], b * cos[:, second] + a * sin[:, second]]
    return torch.cat([*turned, x[..., 2 * pairs :]], dim=-1)


def turned_wrongly(turn):
    """turn(a, b, cos, sin) gives what the two entries of a pair become."""

    def rotate(x, position, frequencies):
        pairs, angle = len(frequencies), position[:, None] * frequencies
        a, b, rest = x[..., :pairs], x[..., pairs : 2 * pairs], x[..., 2 * pairs :]
        return torch.cat([*turn(a, b, angle.cos().to(x), angle.sin().to(x)), rest], dim=-1)

    return rotate


def rest_emptied(x, position, frequencies):
    turned = tiny.rotate(x, position, frequencies)
    turned[..., 2 * len(frequencies) :] = 0
    return turned


def neighbours(size, pairs):
    return range(0, 2 * pairs, 2), range(1, 2 * pairs, 2)


def rest_dropped(x, position, frequencies):
    return tiny.rotate(x, position, frequencies)[..., : 2 * len(frequencies)]


ROTATE = Exercise(
    title="half a rotation, in the right pairs",
    section="The bug that short texts pass",
    difficulty=3,
    minutes=10,
    reference=tiny.rotate,
    hints=(
        "A vector of 8 entries, two frequencies: which two entries turn together with the first frequency, which with "
        "the second, and which do not turn at all?",
        "With P frequencies, entry i turns with entry i + P, by position · frequency i: (a, b) becomes "
        "(a cos - b sin, b cos + a sin). What is beyond 2 P stays.",
        "angle = position[:, None] * frequencies is (n, P). Split x into a (P entries), b (P) and rest, and join the "
        "turned a, the turned b and rest with torch.cat.",
    ),
    cases=(
        Case("two pairs of 8 entries, 5 positions", to_turn(5, 8, pairs=2)),
        Case("all entries turn", to_turn(4, 6, pairs=3)),
        Case("one pair", to_turn(4, 4, pairs=1, start=3)),
        Case("heads, positions from 20 on", to_turn(2, 3, 4, 12, pairs=3, start=20)),
        Case("positions 3, 40 and 11", scattered),
        Case("the gradient", to_turn(3, 8, pairs=2), felt("x")),
        Case("positions from 4,001 on", to_turn(5, 6, pairs=2, start=4001)),
        Case("nothing turns", to_turn(3, 4, pairs=0)),
        Case("a product at distance 5, from the start", *products_at(5, 0, 3)),
        Case("a product at distance 5, from 30 on", *products_at(5, 30, 3)),
        Case("float64", to_turn(3, 8, pairs=2, start=1), dtype=torch.float64),
        Case("one token of one head", to_turn(1, 1, 1, 6, pairs=2, start=7)),
    ),
    right_answers=(rotate_complex, rotate_halves),
    mistakes={
        "entry 2 i is paired with 2 i + 1 (interleaved): near tokens hardly notice, far ones do": rotated_by(
            split=neighbours
        ),
        "entry i is paired with the entry half the vector away, also where only a part turns": rotated_by(
            split=lambda size, pairs: (range(pairs), range(size // 2, size // 2 + pairs))
        ),
        "the last entries turn, where it is the first": rotated_by(
            split=lambda size, pairs: (range(size - 2 * pairs, size - pairs), range(size - pairs, size))
        ),
        "every vector turns the other way": rotated_by(sign=-1.0),
        "positions are counted from 1": rotated_by(lambda position, frequencies: (position[:, None] + 1) * frequencies),
        "positions are counted from the start of what is given": rotated_by(
            lambda position, frequencies: torch.arange(len(position))[:, None] * frequencies
        ),
        "the first position counts as 0": rotated_by(
            lambda position, frequencies: (position - position[:1])[:, None] * frequencies
        ),
        "the frequencies are in reverse order": rotated_by(
            lambda position, frequencies: position[:, None] * frequencies.flip(0)
        ),
        "cos and sin multiply the same entry, which is no rotation and changes lengths": not_a_rotation,
        "columns of a table for interleaved pairs are used, and the two entries of a pair turn by different angles": (
            wider_table
        ),
        "both sines have a minus, which is no rotation": turned_wrongly(
            lambda a, b, cos, sin: (a * cos - b * sin, b * cos - a * sin)
        ),
        "both sines have a plus, which is no rotation": turned_wrongly(
            lambda a, b, cos, sin: (a * cos + b * sin, b * cos + a * sin)
        ),
        "sine and cosine are swapped": turned_wrongly(lambda a, b, cos, sin: (a * sin - b * cos, b * sin + a * cos)),
        "the second entry of a pair is made from the first one's new value": turned_wrongly(
            lambda a, b, cos, sin: (a * cos - b * sin, b * cos + (a * cos - b * sin) * sin)
        ),
        "the angle is 2 π times too large": rotated_by(
            lambda position, frequencies: 2 * math.pi * position[:, None] * frequencies
        ),
        "positions are divided by the frequencies, where they are multiplied": rotated_by(
            lambda position, frequencies: position[:, None] / frequencies
        ),
        "only the first entry of a pair turns": turned_wrongly(lambda a, b, cos, sin: (a * cos - b * sin, b)),
        "pairs are split in halves, and what turned is put back in turn (interleaved)": turned_wrongly(
            lambda a, b, cos, sin: (torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2),)
        ),
        "positions are counted on from the first, as if none were missing": rotated_by(
            lambda position, frequencies: (position[0] + torch.arange(len(position)))[:, None] * frequencies
        ),
        "nothing turns": lambda x, position, frequencies: x.clone(),
        "what does not turn is dropped": rest_dropped,
        "what does not turn becomes 0": rest_emptied,
    },
)


# folded_index_scores ---------------------------------------------------------------------------------------------


def codes(batch, heads, n, m, d, *, even=False):
    """Codes with scales that differ by head and token; even: all scales the same."""

    def inputs(normal):
        def scale(*shape):
            powers = torch.full(shape, -3.0) if even else normal(*shape).mul(2).round()
            return torch.exp2(powers).to(normal(1).dtype)

        return (
            normal(batch, heads, n, d).mul(4).round(),
            normal(batch, m, d).mul(4).round(),
            normal(batch, n, heads),
            scale(batch, heads, n, 1),
            scale(batch, m, 1),
        )

    return inputs


def few_bit_codes(batch, heads, n, m, d, rounding):
    """Codes that are no whole numbers, as those of e2m1 and e4m3 are."""
    whole = codes(batch, heads, n, m, d)

    def inputs(normal):
        _, _, *scales = whole(normal)
        return rounding(normal(batch, heads, n, d)), rounding(normal(batch, m, d)), *scales

    return inputs


def to_e2m1(x):
    return nearest_e2m1(3 * x)


def to_e4m3(x):
    """Of all sizes up to 448, the largest."""
    return (40 * x**3).clamp(-448, 448).to(torch.float8_e4m3fn).to(x.dtype)


class ProductsSeen(Watch):
    """Follow which inputs go into every tensor, and note what q and k hold besides themselves where they first meet.

    A storage has a set of names: those of the inputs that were read to fill it. An operation of a tensor that holds q
    and no k with one that holds k and no q is a product of the two (or comes before one).
    """

    def __init__(self, **inputs: Tensor):
        super().__init__()
        self.kept = list(inputs.values())  # so that no storage is given away
        self.names = {storage(x): frozenset([name]) for name, x in inputs.items()}
        self.scaled: set[str] = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        given = [x for x in tree_leaves((args, kwargs or {})) if isinstance(x, Tensor)]
        holds = [self.names.get(storage(x), frozenset()) for x in given]
        alone = {name: [each for each in holds if name in each and other not in each] for name, other in ("qk", "kq")}
        if alone["q"] and alone["k"]:
            self.scaled |= {name for name, found in alone.items() if any(each - {name} for each in found)}
        result = operation(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor):
                self.kept.append(x)
                self.names[storage(x)] = frozenset().union(*holds)
        return result


def between_codes(function, q, k, w, q_scale, k_scale):
    """The outcome, unless q or k is multiplied by something before the two meet."""
    with ProductsSeen(q=q, k=k, w=w, q_scale=q_scale, k_scale=k_scale) as seen:
        out = function(q, k, w, q_scale, k_scale)
    if seen.scaled:
        early = " and ".join(name for name in "qk" if name in seen.scaled)
        raise Rejected(
            f"{early} {'are' if len(seen.scaled) > 1 else 'is'} multiplied by something before q meets k, and every "
            "product is to be made between the codes"
        )
    return out


def scaled_first(of_q=True, of_k=True):
    """The right scores, of numbers that are no codes any more."""

    def folded_index_scores(q, k, w, q_scale, k_scale):
        q, q_scale = (q * q_scale, torch.ones_like(q_scale)) if of_q else (q, q_scale)
        k, k_scale = (k * k_scale, torch.ones_like(k_scale)) if of_k else (k, k_scale)
        return folded()(q, k, w, q_scale, k_scale)

    return folded_index_scores


def scaled_after(q, k, w, q_scale, k_scale):
    """Every product gets both scales, before the ReLU."""
    fit = torch.einsum("bhnd,bmd->bhnm", q, k) * q_scale * k_scale[:, None, None, :, 0]
    return torch.einsum("bhnm,bnh->bnm", fit.relu(), w)


def folded_by_head(q, k, w, q_scale, k_scale):
    fits = (torch.relu(q[:, head] @ k.mT) * q_scale[:, head] * w[:, :, head, None] for head in range(q.shape[1]))
    return sum(fits) * k_scale.squeeze(-1).unsqueeze(1)


def folded(weigh=lambda w, scale: w * scale, after=lambda scores, scale: scores * scale):
    """scale of the queries as (batch, n, heads), of the keys as (batch, 1, m)."""

    def folded_index_scores(q, k, w, q_scale, k_scale):
        w = weigh(w, q_scale.squeeze(-1).transpose(1, 2))
        return after(index_scores(q, k, w), k_scale.transpose(1, 2))

    return folded_index_scores


def scale_by_query(q, k, w, q_scale, k_scale):
    """The scale of key t goes to the weights of query t."""
    there = k_scale[:, -q.shape[2] :]
    return index_scores(q, k, w * q_scale.squeeze(-1).transpose(1, 2) * there)


def sign_of(power, scale):
    return scale**power


FOLD = Exercise(
    title="scales past the ReLU",
    section="Few bits",
    difficulty=3,
    minutes=8,
    reference=sparse.folded_index_scores,
    hints=(
        "ReLU(2 x) = 2 ReLU(x), and so for every positive number. Which of the two scales depends on the head over "
        "which is summed, and which does not?",
        "The scale of a query and head joins that head's weight: bring q_scale, (batch, heads, n, 1), to the shape of "
        "w, (batch, n, heads). The scale of a key multiplies the whole sum.",
        "q_scale[..., 0].transpose(1, 2) has the shape of w, and k_scale.transpose(1, 2) is (batch, 1, m), which "
        "multiplies every row of the scores.",
    ),
    cases=(
        Case("3 heads, 4 queries, 6 keys", codes(1, 3, 4, 6, 8)),
        Case("2 sequences", codes(2, 3, 5, 5, 4)),
        Case("as many heads as queries", codes(2, 4, 4, 7, 5)),
        Case("all scales are the same", codes(1, 2, 3, 5, 4, even=True)),
        Case("every product is between codes", codes(2, 3, 4, 7, 5), between_codes),
        Case("float64", codes(1, 4, 3, 5, 16), dtype=torch.float64),
        Case("codes of e2m1: 0.5 and 1.5 among them", few_bit_codes(1, 2, 5, 4, 6, to_e2m1)),
        Case("codes of e4m3, up to 448", few_bit_codes(1, 3, 4, 5, 16, to_e4m3), dtype=torch.float64),
        Case("one query, one head", codes(2, 1, 1, 5, 3)),
    ),
    right_answers=(scaled_after, folded_by_head),
    mistakes={
        "q and k are multiplied by their scales first: the scores are right, but no product is one of codes": (
            scaled_first()
        ),
        "q is multiplied by its scale first: the scores are right, but no product is one of codes": scaled_first(
            of_k=False
        ),
        "k is multiplied by its scale first: the scores are right, but no product is one of codes": scaled_first(
            of_q=False
        ),
        "the queries' scales are forgotten, and heads count more or less than they should": folded(lambda w, scale: w),
        "the keys' scales are forgotten, and keys with small scales are overrated": folded(
            after=lambda scores, scale: scores
        ),
        "both scales are forgotten": folded(lambda w, scale: w, lambda scores, scale: scores),
        "the keys' scales join the weights, but those belong to the queries": scale_by_query,
        "the queries' scales are reshaped from (heads, n) to (n, heads), where they must be transposed": folded(
            lambda w, scale: w * scale.transpose(1, 2).reshape(w.shape)
        ),
        "the keys' scales are laid on the queries: a score takes the scale of the key with its query's number": (
            lambda q, k, w, q_scale, k_scale: (
                folded(after=lambda scores, scale: scores)(q, k, w, q_scale, k_scale) * k_scale[:, : q.shape[2]]
            )
        ),
        "all keys take the mean of their scales": folded(
            after=lambda scores, scale: scores * scale.mean(dim=-1, keepdim=True)
        ),
        "it is divided by both scales": folded(lambda w, scale: w / scale, lambda scores, scale: scores / scale),
        "the weights are divided by the queries' scales": folded(lambda w, scale: w / scale),
        "the scores are divided by the keys' scales": folded(after=lambda scores, scale: scores / scale),
        "all heads take the scale of the first": folded(lambda w, scale: w * scale[..., :1]),
        "all heads take the mean of their scales": folded(lambda w, scale: w * scale.mean(dim=-1, keepdim=True)),
        "all queries take the scales of the first": folded(lambda w, scale: w * scale[:, :1]),
        "all keys take the scale of the first": folded(after=lambda scores, scale: scores * scale[..., :1]),
        "the queries' scales count twice, as if the codes did not hold them out": folded(lambda w, scale: w * scale**2),
        "the keys' scales count twice, as if the codes did not hold them out": folded(
            after=lambda scores, scale: scores * scale**2
        ),
        "ReLU comes after the weights, and a head with a negative weight never counts as it should": (
            lambda q, k, w, q_scale, k_scale: (
                (torch.einsum("bhnd,bmd->bhnm", q, k) * (w.mT[..., None] * q_scale)).relu().sum(dim=1) * k_scale.mT
            )
        ),
        "codes are cut to whole numbers, where those of e2m1 and e4m3 have halves and less": (
            lambda q, k, w, q_scale, k_scale: folded()(q.trunc(), k.trunc(), w, q_scale, k_scale)
        ),
        "the products are made in bfloat16, which does not hold their sums": lambda q, k, w, q_scale, k_scale: (
            torch.einsum("bhnm,bnh->bnm", fits_of(q.bfloat16(), k.bfloat16()).to(q.dtype), w * q_scale[..., 0].mT)
            * k_scale.mT
        ),
        "ReLU is forgotten": lambda q, k, w, q_scale, k_scale: (
            torch.einsum("bhnd,bmd,bnh->bnm", q, k, w * q_scale[..., 0].mT) * k_scale.mT
        ),
        "the queries' scales are added to the weights, where they multiply them": lambda q, k, w, q_scale, k_scale: (
            sparse.index_scores(q, k, w + q_scale[..., 0].mT) * k_scale.mT
        ),
        "the keys' scales, (batch, m, 1), multiply the rows of the scores, which are queries": (
            lambda q, k, w, q_scale, k_scale: folded(after=lambda scores, scale: scores * scale.mT)(
                q, k, w, q_scale, k_scale
            )
        ),
        "ReLU comes after the sum over the heads": lambda q, k, w, q_scale, k_scale: (
            torch.einsum("bhnd,bmd,bnh->bnm", q, k, w * q_scale[..., 0].mT).relu() * k_scale.mT
        ),
        "the queries' scales take the place of the weights": lambda q, k, w, q_scale, k_scale: (
            sparse.index_scores(q, k, q_scale[..., 0].mT) * k_scale.mT
        ),
    },
)


# page_bound ------------------------------------------------------------------------------------------------------


def to_bound(*leading, n, pages, d, block=4):
    def inputs(normal):
        keys = normal(*leading, pages, block, d)
        return normal(*leading, n, d), keys.amin(dim=-2), keys.amax(dim=-2)

    return inputs


def page_of_one(normal):
    keys = normal(3, 5)
    return normal(4, 5), keys, keys.clone()


def all_below_zero(normal):
    keys = -normal(3, 4, 5).abs() - 0.5
    return normal(4, 5), keys.amin(dim=-2), keys.amax(dim=-2)


def all_above_zero(normal):
    q, low, high = all_below_zero(normal)
    return q, -high, -low


def by_two_products(function, q, low, high):
    """The outcome, unless a tensor (..., n, pages, d) is made: q, low or the result twice over is allowed."""
    what = f"twice the entries of q, low or the result; n · pages · d is {q.numel() * low.shape[-2]:,}"
    most = max(q.numel(), low.numel(), q[..., 0].numel() * low.shape[-2])
    return within(2 * most, what, function, q, low, high)


def bound_by_sign(q, low, high):
    return torch.where(q > 0, q, 0) @ high.mT + torch.where(q < 0, q, 0) @ low.mT


def bound_by_middle(q, low, high):
    """Around the middle of the page: q · middle, and |q| times how far the page reaches from it."""
    return q @ ((high + low) / 2).mT + q.abs() @ ((high - low) / 2).mT


def bound_entrywise(q, low, high):
    low, high = low[..., None, :, :], high[..., None, :, :]
    return torch.maximum(q[..., :, None, :] * low, q[..., :, None, :] * high).sum(dim=-1)


def bound_by_one_product(q, low, high):
    return torch.cat([q.relu(), -(-q).relu()], dim=-1) @ torch.cat([high, low], dim=-1).mT


BOUND = Exercise(
    title="the most that a page can score",
    section="By blocks",
    difficulty=3,
    minutes=8,
    reference=sparse.page_bound,
    hints=(
        "In one dimension the keys of a page lie between -3 and 1. Which of the two makes the largest product with a "
        "query of 2? And with a query of -2?",
        "A positive q_i takes the largest entry, a negative one the smallest. So split q into its positive and its "
        "negative part: each needs one matrix product.",
        "q.clamp(min=0) is the positive part, and meets high; q.clamp(max=0) is the negative part, and meets low. Add "
        "the two products.",
    ),
    cases=(
        Case("4 queries, 3 pages", to_bound(n=4, pages=3, d=5)),
        Case("heads", to_bound(2, 3, n=4, pages=2, d=6)),
        Case("a page of one key: the score itself", page_of_one),
        Case("all keys are negative", all_below_zero),
        Case("one dimension", to_bound(n=6, pages=4, d=1)),
        Case("all keys are positive", all_above_zero),
        Case("40 dimensions: nothing of n · pages · d", to_bound(n=7, pages=6, d=40), by_two_products),
        Case("20 pages: nothing of n · pages · d", to_bound(n=9, pages=20, d=12), by_two_products),
        Case("float64", to_bound(1, n=3, pages=3, d=8), dtype=torch.float64),
        Case("one query, one page", to_bound(2, n=1, pages=1, d=3)),
    ),
    right_answers=(bound_by_sign, bound_by_middle, bound_by_one_product),
    mistakes={
        "the better of q · low and q · high is taken, which a key of the page can beat": (
            lambda q, low, high: torch.maximum(q @ low.mT, q @ high.mT)
        ),
        "only the largest entries are looked at": lambda q, low, high: q @ high.mT,
        "only the smallest entries are looked at": lambda q, low, high: q @ low.mT,
        "the middle of the page is scored, which hides what sticks out": lambda q, low, high: q @ ((low + high) / 2).mT,
        "the least a page can score is taken: low and high are swapped": (
            lambda q, low, high: q.clamp(min=0) @ low.mT + q.clamp(max=0) @ high.mT
        ),
        "the signs are dropped, |q| times the larger of |low| and |high|: a bound, but too loose": (
            lambda q, low, high: q.abs() @ torch.maximum(low.abs(), high.abs()).mT
        ),
        "the negative part of the query is left out": lambda q, low, high: q.clamp(min=0) @ high.mT,
        "q · low and q · high are added up": lambda q, low, high: q @ low.mT + q @ high.mT,
        "the negative part of the query is taken without its sign, so that low counts the wrong way round": (
            lambda q, low, high: q.clamp(min=0) @ high.mT - q.clamp(max=0) @ low.mT
        ),
        "the positive part of the query meets both low and high": (
            lambda q, low, high: q.clamp(min=0) @ high.mT + q.clamp(min=0) @ low.mT
        ),
        "the best dimension alone counts (max), where they are added up": lambda q, low, high: torch.stack(
            [
                torch.maximum(q * low[..., page : page + 1, :], q * high[..., page : page + 1, :]).amax(dim=-1)
                for page in range(low.shape[-2])
            ],
            dim=-1,
        ),
        "the sign of a query's sum decides for all its entries, where each has a sign of its own": (
            lambda q, low, high: torch.where(q.sum(dim=-1, keepdim=True) > 0, q @ high.mT, q @ low.mT)
        ),
        "the bound is divided by √d": lambda q, low, high: sparse.page_bound(q, low, high) / math.sqrt(q.shape[-1]),
        "every product is made entry by entry, d times the memory": bound_entrywise,
        "|q| is multiplied by high, whatever the sign of q": lambda q, low, high: q.abs() @ high.mT,
        "the middle is widened by the whole of high - low, where it is half": lambda q, low, high: (
            q @ ((low + high) / 2).mT + q.abs() @ (high - low).mT
        ),
        "eight pages at a time are multiplied entry by entry, which makes n · 8 · d entries": lambda q, low, high: (
            torch.cat(
                [bound_entrywise(q, *few) for few in zip(low.split(8, dim=-2), high.split(8, dim=-2), strict=True)],
                dim=-1,
            )
        ),
        "what a dimension can take away is left out: each adds 0 at least": lambda q, low, high: (
            q.clamp(min=0) @ high.clamp(min=0).mT + q.clamp(max=0) @ low.clamp(max=0).mT
        ),
    },
)


# flops_crossover ------------------------------------------------------------------------------------------------

SMALL = Sizes(heads=16, latent=128, rope=32, nope=64, value=64, index_heads=8, index_dim=64, top_k=512)
ROUND = Sizes(index_heads=32, top_k=1024)


def crossover_case(label, phase, sizes=V32):
    return Case(label, lambda normal: (phase, sizes))


def crossover_by_search(phase, sizes=V32):
    low, high = 1.0, 1e9
    for _ in range(200):
        middle = (low + high) / 2
        cheaper = sizes.top_k * sizes.absorbed + middle * sizes.indexer < middle * sizes.dense[phase]
        low, high = (low, middle) if cheaper else (middle, high)
    return high


def crossover_in_topks(phase, sizes=V32):
    saved = 1 - sizes.indexer / sizes.dense[phase]
    return sizes.top_k * (sizes.absorbed / sizes.dense[phase]) / saved


CROSSOVER = Exercise(
    title="from where on it is cheaper",
    section="What it costs",
    difficulty=2,
    minutes=9,
    reference=sparse.flops_crossover,
    hints=(
        "At position L, dense attention takes L times the FLOPs of a pair. What does sparse attention take, with its "
        "top_k chosen keys and an indexer that scores all L?",
        "top_k · absorbed + L · indexer = L · dense[phase]: the chosen keys are always read in the absorbed form. "
        "Solve for L.",
        "L · (dense - indexer) = top_k · absorbed. sizes.dense[phase] is the phase's cost of a pair, sizes.indexer the "
        "indexer's.",
    ),
    cases=(
        crossover_case("decode", "decode"),
        crossover_case("prefill", "prefill"),
        crossover_case("decode, half the indexer's heads, k = 1,024", "decode", ROUND),
        crossover_case("prefill, half the indexer's heads, k = 1,024", "prefill", ROUND),
        crossover_case("decode, a small model", "decode", SMALL),
        crossover_case("prefill, a small model", "prefill", SMALL),
    ),
    right_answers=(crossover_by_search, crossover_in_topks),
    mistakes={
        "the indexer is forgotten: k in decode": (
            lambda phase, sizes=V32: sizes.top_k * sizes.absorbed / sizes.dense[phase]
        ),
        "the place is given where the indexer costs as much as the chosen keys": (
            lambda phase, sizes=V32: sizes.top_k * sizes.absorbed / sizes.indexer
        ),
        "the chosen keys are counted in the expanded form of a prefill": (
            lambda phase, sizes=V32: sizes.top_k * sizes.expanded / (sizes.dense[phase] - sizes.indexer)
        ),
        "the phase is not looked at, and prefill is taken for decode": (
            lambda phase, sizes=V32: sizes.top_k * sizes.absorbed / (sizes.absorbed - sizes.indexer)
        ),
        "the phase is not looked at, and decode is taken for prefill, expanded keys and all": (
            lambda phase, sizes=V32: sizes.top_k * sizes.expanded / (sizes.expanded - sizes.indexer)
        ),
        "a dense pair is always counted in the expanded form of a prefill": (
            lambda phase, sizes=V32: sizes.top_k * sizes.absorbed / (sizes.expanded - sizes.indexer)
        ),
        "it is multiplied by the layers, of which both have as many": (
            lambda phase, sizes=V32: sizes.layers * sparse.flops_crossover(phase, sizes)
        ),
        "k is given, where the indexer must be paid for as well": lambda phase, sizes=V32: float(sizes.top_k),
        "the indexer is taken off the chosen keys' cost, where it is paid for every key": (
            lambda phase, sizes=V32: sizes.top_k * (sizes.absorbed - sizes.indexer) / sizes.dense[phase]
        ),
        "the limit of the saving is given, where it is a position": (
            lambda phase, sizes=V32: sizes.dense[phase] / sizes.indexer
        ),
        "the limit of the saving is multiplied by k": (
            lambda phase, sizes=V32: sizes.top_k * sizes.dense[phase] / sizes.indexer
        ),
        "the indexer is added to the dense cost, where sparse attention pays it": (
            lambda phase, sizes=V32: sizes.top_k * sizes.absorbed / (sizes.dense[phase] + sizes.indexer)
        ),
        "sizes is not looked at: the answer is V3.2's": lambda phase, sizes=V32: sparse.flops_crossover(phase),
        "the position is rounded down": lambda phase, sizes=V32: math.floor(sparse.flops_crossover(phase, sizes)),
        "the position is rounded up": lambda phase, sizes=V32: math.ceil(sparse.flops_crossover(phase, sizes)),
        "the indexer scores only the k chosen keys": (
            lambda phase, sizes=V32: sizes.top_k * (sizes.absorbed + sizes.indexer) / sizes.dense[phase]
        ),
        "the chosen keys cost what a dense pair costs, which in prefill is less": lambda phase, sizes=sparse.V32: (
            sizes.top_k * sizes.dense[phase] / (sizes.dense[phase] - sizes.indexer)
        ),
        "k is V3.2's, whatever `sizes` says": lambda phase, sizes=sparse.V32: (
            V32.top_k * sizes.absorbed / (sizes.dense[phase] - sizes.indexer)
        ),
        "the indexer scores only the keys beyond the first k": lambda phase, sizes=sparse.V32: (
            sizes.top_k * (sizes.absorbed - sizes.indexer) / (sizes.dense[phase] - sizes.indexer)
        ),
        "decode and prefill are swapped": lambda phase, sizes=sparse.V32: sparse.flops_crossover(
            {"decode": "prefill", "prefill": "decode"}[phase], sizes
        ),
        "the sum over a whole text is meant, where it is one position": lambda phase, sizes=sparse.V32: (
            2 * sparse.flops_crossover(phase, sizes)
        ),
    },
)


# figure_mean ----------------------------------------------------------------------------------------------------


def mean_case(label, position, phase, model):
    return Case(label, lambda normal: (position, phase, model))


def corners(position, phase, model):
    inside = [at for at, _ in FIGURE[phase, model] if 0 < at < position]
    return [0, *inside, position]


def mean_by_simpson(position, phase, model):
    """A straight piece is met exactly by its middle."""
    if position == 0:
        return FIGURE[phase, model][0][1]
    stops = corners(position, phase, model)
    area = 0.0
    for i in range(1, len(stops)):
        area += figure_cost((stops[i - 1] + stops[i]) / 2, phase, model) * (stops[i] - stops[i - 1])
    return area / position


def mean_by_trapezoid(position, phase, model):
    if not position:
        return figure_cost(0, phase, model)
    at = torch.tensor(corners(position, phase, model), dtype=torch.float64)
    cost = torch.tensor([figure_cost(each, phase, model) for each in at.tolist()], dtype=torch.float64)
    return (torch.trapezoid(cost, at) / position).item()


def last_piece_missing(position, phase, model):
    if position == 0:
        return figure_cost(0, phase, model)
    last = max(at for at, _ in FIGURE[phase, model] if at < position)
    return sparse.figure_mean(last, phase, model) * last / position


def mean_of(combine):
    """A mean from combine(positions, costs) over the corners up to the position."""

    def figure_mean(position, phase, model):
        stops = corners(position, phase, model)
        return combine(stops, [figure_cost(at, phase, model) for at in stops])

    return figure_mean


def steps(side):
    def area(stops, costs):
        pieces = zip(stops, stops[1:], costs[side:], strict=False)
        return sum((stop - start) * cost for start, stop, cost in pieces) / (stops[-1] or 1)

    return area


def costs_of_pieces(position, phase, model):
    """The costs at both ends of each straight piece up to the position."""
    ends = [at for at, _ in sparse.FIGURE[phase, model] if at < position] + [position]
    costs = [sparse.figure_cost(at, phase, model) for at in ends]
    return list(pairwise(costs))


def area_of_edges(position, phase, model, width):
    """A mean of whole edges of the figure, each of which takes the mean of its two corners."""
    if not position:
        return figure_cost(0, phase, model)
    edges = [edge for edge in pairwise(FIGURE[phase, model]) if edge[0][0] < position]
    return sum(width(start, stop) * (low + high) / 2 for (start, low), (stop, high) in edges) / position


MEAN = Exercise(
    title="what a whole text costs",
    section="The published figure",
    difficulty=3,
    minutes=13,
    reference=sparse.figure_mean,
    hints=(
        "The figure says what a token costs at its position. A text of 64K tokens has one at every position. Is its "
        "mean price that of its last token, or of the one in the middle?",
        "The mean is the area under the line from 0 to the position, over the position. The line is made of straight "
        "pieces between the corners in FIGURE[phase, model]; the last piece ends at the position.",
        "Under a straight piece the area is its width times the mean of its two ends. Go through the corners before "
        "the position, and end with the position itself. At position 0 there is no area: the cost there is the answer.",
    ),
    cases=(
        mean_case("prefill, V3.1 at 64K: one straight line", 65_536, "prefill", V31),
        mean_case("decode, V3.2 up to 128K: three corners", 131_071, "decode", V32_EXP),
        mean_case("prefill, V3.2 up to 32K", 32_768, "prefill", V32_EXP),
        mean_case("decode, V3.2 up to 1,000: before the first corner", 1000, "decode", V32_EXP),
        mean_case("position 0", 0, "decode", V31),
        mean_case("decode, V3.2 up to 104,046, a corner", 104_046, "decode", V32_EXP),
        mean_case("prefill, V3.2 up to 9,000.5", 9000.5, "prefill", V32_EXP),
        mean_case("decode, V3.2 up to 0.5", 0.5, "decode", V32_EXP),
        mean_case("decode, V3.2 up to 2.5", 2.5, "decode", V32_EXP),
    ),
    right_answers=(mean_by_simpson, mean_by_trapezoid),
    mistakes={
        "the cost at the position is given, where it is the mean up to there": figure_cost,
        "the cost half way is given, which is the mean of a straight line only": (
            lambda position, phase, model: figure_cost(position / 2, phase, model)
        ),
        "the two ends are averaged, as if the line between them were straight": mean_of(
            lambda stops, costs: (costs[0] + costs[-1]) / 2
        ),
        "the corners are averaged, as if they were equally far apart": mean_of(
            lambda stops, costs: sum(costs[: len(costs)]) / len(costs)
        ),
        "every piece takes the cost at its start": mean_of(
            lambda stops, costs: steps(0)(stops, costs) if stops[-1] else costs[0]
        ),
        "every piece takes the cost at its end": mean_of(
            lambda stops, costs: steps(1)(stops, costs) if stops[-1] else costs[0]
        ),
        "the area is not divided by the position": (
            lambda position, phase, model: sparse.figure_mean(position, phase, model) * (position or 1)
        ),
        "position 0 gives 0, where it gives the cost there": lambda position, phase, model: (
            sparse.figure_mean(position, phase, model) if position else 0.0
        ),
        "the ends of a piece are added up and not averaged": lambda position, phase, model: (
            sparse.figure_mean(position, phase, model) * (2 if position else 1)
        ),
        "the piece from the last corner to the position is missing": last_piece_missing,
        "the area ends at the last corner before the position, or at it": lambda position, phase, model: (
            (last := max(at for at, _ in FIGURE[phase, model] if at <= position))
            and sparse.figure_mean(last, phase, model) * last / position
            if position
            else figure_cost(0, phase, model)
        ),
        "the cost at position 0 is taken off": lambda position, phase, model: (
            sparse.figure_mean(position, phase, model) - (figure_cost(0, phase, model) if position else 0)
        ),
        "pieces beyond the position count too": lambda position, phase, model: (
            sparse.figure_mean(131_071, phase, model) * 131_071 / position if position else figure_cost(0, phase, model)
        ),
        "the mean runs over the whole figure, whatever the position": (
            lambda position, phase, model: sparse.figure_mean(131_071, phase, model)
        ),
        "the model is not looked at": lambda position, phase, model: sparse.figure_mean(position, phase, V31),
        "the phase is not looked at": lambda position, phase, model: sparse.figure_mean(position, "decode", model),
        "prefill and decode are swapped": lambda position, phase, model: sparse.figure_mean(
            position, {"prefill": "decode", "decode": "prefill"}[phase], model
        ),
        "the area up to the position is divided by the length of the whole figure": lambda position, phase, model: (
            sparse.figure_mean(position, phase, model) * (position / sparse.LAST if position else 1)
        ),
        "the piece that holds the position counts whole, up to its far corner": lambda position, phase, model: (
            area_of_edges(position, phase, model, lambda start, stop: stop - start)
        ),
        "the last piece ends at the position, and takes the cost of the corner behind it": (
            lambda position, phase, model: area_of_edges(
                position, phase, model, lambda start, stop: min(stop, position) - start
            )
        ),
        "every piece counts alike, however long": lambda position, phase, model: (
            sum((low + high) / 2 for low, high in costs_of_pieces(position, phase, model))
            / max(1, len(costs_of_pieces(position, phase, model)))
            if position
            else sparse.figure_cost(0, phase, model)
        ),
    },
)

EXERCISES = (SCORES, CHOOSE, GATHER, TARGET, DIVERGE, STAGE, ROTATE, FOLD, BOUND, CROSSOVER, MEAN)
