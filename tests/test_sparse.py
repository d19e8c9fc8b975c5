"""Properties of sparse attention that must hold for every shape, and its cost model against the published figure."""

import math
import random
import re

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from solutions import accepts, sparse, streams
from solutions.checkpoints import CHECKPOINTS, about, load
from solutions.checkpoints import sparse as recipe
from solutions.quadratic import attention, causal_mask
from solutions.sparse import (
    FIGURE,
    PHASES,
    SELECTORS,
    V31,
    V32,
    V32_EXP,
    Indexer,
    attended_pairs,
    captured_mass,
    causal_probabilities,
    chosen_probabilities,
    dense_loss,
    divergence,
    figure_cost,
    figure_crossover,
    figure_mean,
    figure_ratio,
    flops_crossover,
    flops_saving,
    folded_index_scores,
    gathered_attention,
    hadamard,
    index_loss,
    index_scores,
    index_target,
    indexed_pairs,
    indexer_parameters,
    indexer_share,
    low_precision_scores,
    masked_attention,
    model_parameters,
    oracle,
    page_bound,
    pages,
    predicted_cost,
    quantise,
    random_mass,
    rotate_interleaved,
    select_top_k,
    selections,
    sparse_attention,
    sparse_loss,
    variable_ratio,
)
from solutions.tiny import Config, TinyTransformer, rope_frequencies, rotate
from widgets.measurements import results

WITHIN = 1e-12  # float64


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def qkv(n, m=None, *, batch=2, heads=4, kv_heads=2, d=8, d_value=5, seed=0):
    m = m or n
    return (
        draw(batch, heads, n, d),
        draw(batch, kv_heads, m, d, seed=seed + 1),
        draw(batch, kv_heads, m, d_value, seed=seed + 2),
    )


def index_inputs(n, m=None, *, batch=2, heads=3, d=8, seed=10):
    return (
        draw(batch, heads, n, d),
        draw(batch, m or n, d, seed=seed + 1),
        draw(batch, n, heads, seed=seed + 2),
    )


def dense(q, k, v, **options):
    k, v = (each.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for each in (k, v))
    return attention(q, k, v, **options)


def assert_close(got, expected, within=WITHIN):
    assert got.shape == expected.shape
    assert (got - expected).abs().max().item() <= within


def shape_of(seed):
    dice = random.Random(seed)
    n = dice.choice([1, 2, 7, 16, 33, 64])
    m = n + dice.choice([0, 0, 1, 5])
    kv_heads, group = dice.choice([1, 2, 3]), dice.choice([1, 2, 4])
    return dict(n=n, m=m, batch=dice.choice([1, 3]), heads=kv_heads * group, kv_heads=kv_heads), dice.randint(1, m)


def tiny(selector="indexer", layers=2, **options):
    config = Config(
        streams.VOCABULARY,
        ("sparse",) * layers,
        width=32,
        heads=2,
        options={"sparse": {"top_k": 6, "selector": selector} | options},
    )
    return TinyTransformer(config)


def tokens(n=40, batch=3):
    return streams.recall(batch, n, torch.Generator().manual_seed(5)).tokens[:, :n]


# The three steps ---------------------------------------------------------------------------------------------------


def test_index_scores_by_hand():
    q = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])
    k = torch.tensor([[[1.0, 1.0], [-1.0, 2.0], [2.0, -1.0]]])
    w = torch.tensor([[[0.5, -1.0]]])
    assert index_scores(q, k, w).tolist() == [[[-1.5, -4.0, 1.0]]]


def test_index_scores_are_the_formula_entry_by_entry():
    q, k, w = index_inputs(5, 7)
    scores = index_scores(q, k, w)
    for b in range(2):
        for t in range(5):
            for s in range(7):
                expected = sum(w[b, t, j] * max(q[b, j, t] @ k[b, s], 0.0) for j in range(3))
                assert abs(scores[b, t, s] - expected) < WITHIN


def test_the_choice_is_the_best_of_the_past_best_first():
    scores = draw(2, 9, 9)
    chosen = select_top_k(scores, 4)
    for b in range(2):
        for t in range(9):
            past = sorted(range(t + 1), key=lambda s: -scores[b, t, s])[:4]
            assert chosen[b, t].tolist() == past + [-1] * (4 - len(past))


def test_queries_are_the_last_tokens():
    scores = draw(1, 3, 10)
    whole = torch.zeros(1, 10, 10, dtype=torch.float64)
    whole[:, 7:] = scores
    assert torch.equal(select_top_k(scores, 4), select_top_k(whole, 4)[:, 7:])
    assert (select_top_k(scores, 10, causal=False) >= 0).all()


def test_ties_go_to_the_lowest_position():
    equal = torch.zeros(1, 300, 300)
    for k in (1, 3, 40):
        chosen = select_top_k(equal, k)
        for t in (0, 1, 5, 60, 299):
            kept = min(k, t + 1)
            assert chosen[0, t].tolist() == [*range(kept)] + [-1] * (k - kept)
    some = torch.tensor([[[1.0, 2.0, 1.0, 2.0, 1.0]]])
    assert select_top_k(some, 3).tolist() == [[[1, 3, 0]]]
    assert select_top_k(torch.tensor([[[0.0, -0.0, 0.0]]]), 2).tolist() == [[[0, 1]]]


def test_more_than_there_are_means_all():
    scores = draw(2, 5, 8)
    for k in (9, 2048):
        assert torch.equal(select_top_k(scores, k), select_top_k(scores, 8))
        assert torch.equal(select_top_k(scores, k, causal=False), select_top_k(scores, 8, causal=False))


def test_minus_infinity_is_no_candidate():
    scores = torch.tensor([[[-math.inf, -3.0, -math.inf], [-math.inf] * 3]])
    assert select_top_k(scores, 2, causal=False).tolist() == [[[1, -1], [-1, -1]]]


@pytest.mark.parametrize("seed", range(40))
def test_gathered_is_masked(seed):
    shape, top_k = shape_of(seed)
    q, k, v = qkv(**shape)
    indices = select_top_k(draw(shape["batch"], shape["n"], shape["m"], seed=seed + 9), top_k)
    assert_close(gathered_attention(q, k, v, indices), masked_attention(q, k, v, indices))
    scaled = gathered_attention(q, k, v, indices.int(), scale=0.3)
    assert_close(scaled, masked_attention(q, k, v, indices, scale=0.3))


@pytest.mark.parametrize("n, m", [(1, 1), (7, 7), (40, 40), (3, 40)])
def test_choosing_all_is_dense_attention(n, m):
    q, k, v = qkv(n, m)
    indices = select_top_k(index_scores(*index_inputs(n, m)), m)
    assert_close(gathered_attention(q, k, v, indices), dense(q, k, v, causal=True))
    assert_close(sparse_attention(q, k, v, *index_inputs(n, m), m, block=6), dense(q, k, v, causal=True))
    assert_close(sparse_attention(q, k, v, *index_inputs(n, m), 10_000), dense(q, k, v, causal=True))


@pytest.mark.parametrize("block", [1, 7, 64])
def test_in_blocks_of_queries_it_is_the_same(block):
    q, k, v = qkv(33, 40)
    index = index_inputs(33, 40)
    expected = gathered_attention(q, k, v, select_top_k(index_scores(*index), 9))
    assert_close(sparse_attention(q, k, v, *index, 9, block=block), expected)


def test_the_order_of_a_choice_does_not_matter_and_nobody_chosen_gives_zero():
    q, k, v = qkv(12)
    indices = select_top_k(draw(2, 12, 12), 5)
    assert_close(gathered_attention(q, k, v, indices.flip(-1)), gathered_attention(q, k, v, indices))
    nobody = torch.full((2, 12, 3), -1)
    assert torch.equal(gathered_attention(q, k, v, nobody), torch.zeros(2, 4, 12, 5, dtype=torch.float64))


class Sizes(TorchDispatchMode):
    """Notes the entries of the largest tensor that an operation makes."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        made = [each.numel() for each in tree_leaves(result) if isinstance(each, torch.Tensor)]
        self.largest = max([self.largest, *made])
        return result


def test_the_gather_touches_k_keys_a_query():
    n, top_k, heads, d = 512, 8, 2, 4
    q, k, v = qkv(n, batch=1, heads=heads, kv_heads=heads, d=d, d_value=d)
    indices = select_top_k(draw(1, n, n), top_k)
    with Sizes() as sizes:
        gathered_attention(q, k, v, indices)
    assert sizes.largest == n * top_k * heads * d  # the gathered keys; all scores would be heads · 512 · 512
    with Sizes() as sizes:
        masked_attention(q, k, v, indices)
    assert sizes.largest == heads * n * n


def test_gradients_are_those_of_the_masked_form():
    inputs = [each.requires_grad_() for each in qkv(20)]
    indices = select_top_k(draw(2, 20, 20), 5)
    weight = draw(2, 4, 20, 5, seed=77)
    got = torch.autograd.grad((gathered_attention(*inputs, indices) * weight).sum(), inputs)
    expected = torch.autograd.grad((masked_attention(*inputs, indices) * weight).sum(), inputs)
    for one, other in zip(got, expected, strict=True):
        assert_close(one, other)


# Causality ---------------------------------------------------------------------------------------------------------


def reads_ahead(function, n=24):
    """How many rows of function(x), (n, width) -> (n, width), have a gradient by a later row."""
    jacobian = torch.autograd.functional.jacobian(function, draw(n, 8, seed=3))
    moved = jacobian.abs().sum(dim=(1, 3))
    return int((moved * ~causal_mask(n, n)).sum(dim=1).count_nonzero())


def choose_and_attend(select):
    def attend(x):
        q = k = v = x[None, None]
        return gathered_attention(q, k, v, select(index_scores(q, x[None], torch.ones(1, len(x), 1).to(x))))[0, 0]

    return attend


def test_no_row_depends_on_a_later_token():
    """Rows with fewer than k keys included: exactly 0, by autograd."""
    assert reads_ahead(choose_and_attend(lambda scores: select_top_k(scores, 9))) == 0


def test_the_leak_at_rows_with_few_keys_is_seen():
    """The test can fail: masked scores still have an index, and a choice without -1 lets k - 1 rows look ahead."""

    def leaking(scores):
        hidden = ~causal_mask(*scores.shape[-2:])
        return scores.masked_fill(hidden, -math.inf).topk(9).indices

    assert reads_ahead(choose_and_attend(leaking)) == 8


@pytest.mark.parametrize("selector", ["indexer", "all", *sorted(set(SELECTORS) - {"random"})])
def test_a_model_does_not_look_ahead(selector):
    model = tiny(selector).double().eval()
    read = tokens()
    changed = read.clone()
    changed[:, 25:] = (changed[:, 25:] + 1) % streams.VOCABULARY
    assert_close(model(read)[:, :25], model(changed)[:, :25])


# Who learns from what ----------------------------------------------------------------------------------------------


def gradients(model, loss):
    """Names of the weights that a loss moves."""
    loss.backward()
    return {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}


@pytest.mark.parametrize("selector", ["all", "indexer"])
def test_each_part_learns_from_its_own_loss(selector):
    sample = streams.recall(3, 14, torch.Generator().manual_seed(1))
    model = tiny(selector)
    streams.loss(model, sample)
    indexers = {name for name, _ in model.named_parameters() if ".indexer." in name}
    assert len(indexers) == 2 * 5  # of each layer: q, k, w, and the norm's weight and bias
    assert gradients(model, index_loss(model)) == indexers

    model = tiny(selector)
    assert gradients(model, streams.loss(model, sample)) == {name for name, _ in model.named_parameters()} - indexers
    assert len(indexer_parameters(model)) == len(indexers)
    assert len(model_parameters(model)) + len(indexers) == len(list(model.parameters()))


def test_the_index_loss_is_that_of_the_stage():
    model = tiny("all", layers=1)
    model(tokens())
    attention_layer = model.layers[0].attention
    x = model.layers[0].attention_norm(model.embed(tokens()))
    position = torch.arange(40)
    q, k, _ = attention_layer.project(x)
    q, k = attention_layer.turn(q, position), attention_layer.turn(k, position)
    scores = index_scores(*attention_layer.indexer(x, position))
    torch.testing.assert_close(index_loss(model), dense_loss(scores, causal_probabilities(q, k)))

    model = model.with_attention(("sparse",), sparse={"top_k": 6}).train()
    model(tokens())
    indices = select_top_k(scores, 6)
    expected = sparse_loss(scores, chosen_probabilities(q, k, indices), indices)
    torch.testing.assert_close(index_loss(model), expected)
    model.eval()(tokens())
    with pytest.raises(ValueError, match=r"call model\.train\(\)"):
        index_loss(model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_queries_with_no_candidate_and_with_one_have_a_finite_loss_and_gradient(dtype):
    """Two empty rows, two of one candidate, two of all; the first has a gradient of exactly 0."""
    scores = draw(1, 6, 5).to(dtype)
    scores[:, :2] = scores[:, 2:4, 1:] = -math.inf
    target = torch.zeros(1, 6, 5, dtype=dtype)
    target[:, 2:4, 0], target[:, 4:] = 1, 0.2
    scores.requires_grad_()
    loss = divergence(scores, target)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert loss.isfinite() and gradient.isfinite().all()
    assert not gradient[:, :4].any() and gradient[:, 4:].any()
    full = divergence(scores[:, 4:].detach(), target[:, 4:])
    assert loss.item() == pytest.approx(full.item() / 3, rel=4 * torch.finfo(dtype).eps)  # 6 queries, 4 of which lose 0

    indices = torch.tensor([[[-1, -1], [-1, -1], [0, -1], [2, -1], [4, 1], [3, 0]]])
    q, k = (draw(1, 2, size, 4, seed=size).to(dtype).requires_grad_() for size in (6, 5))
    probabilities = chosen_probabilities(q, k, indices)
    assert not probabilities[:, :, :2].any()
    loss = sparse_loss(draw(1, 6, 5).to(dtype).requires_grad_(), probabilities, indices)
    looked = torch.autograd.grad(probabilities.sum(), (q, k))
    attended = torch.autograd.grad(gathered_attention(q, k, k, indices).sum(), (q, k))
    assert loss.isfinite() and all(each.isfinite().all() for each in (*looked, *attended))


def test_divergence_is_zero_at_the_target_and_its_gradient_is_the_difference():
    target = index_target(causal_probabilities(*qkv(11)[:2]))
    hidden = ~causal_mask(11, 11)
    perfect = (target.log() + 3.7).masked_fill(hidden, -math.inf)
    assert abs(divergence(perfect, target)) < WITHIN
    scores = draw(2, 11, 11).masked_fill(hidden, -math.inf).requires_grad_()
    loss = divergence(scores, target)
    loss.backward()
    assert loss > 0
    assert_close(scores.grad, (scores.softmax(dim=-1) - target).detach() / 22)
    assert torch.autograd.gradcheck(lambda s: divergence(s, target[:, :, :3] / target[:, :, :3].sum(-1, True)),
                                    draw(2, 11, 3).requires_grad_())  # fmt: skip


def test_losses_are_finite_where_a_query_has_few_keys():
    q, k, _ = qkv(10)
    scores = draw(2, 10, 10).requires_grad_()
    indices = select_top_k(scores, 8)
    for loss in (
        dense_loss(scores, causal_probabilities(q, k)),
        sparse_loss(scores, chosen_probabilities(q, k, indices), indices),
    ):
        (gradient,) = torch.autograd.grad(loss, scores)
        assert loss.isfinite() and gradient.isfinite().all() and gradient.any()


def test_the_sparse_loss_by_a_loop_over_what_is_there():
    q, k, _ = qkv(9)
    scores = draw(2, 9, 9)
    indices = select_top_k(scores, 4)
    probabilities = chosen_probabilities(q, k, indices)
    total = 0.0
    for b in range(2):
        for t in range(9):
            there = [column for column in range(4) if indices[b, t, column] >= 0]
            p = torch.tensor([probabilities[b, :, t, column].sum() for column in there], dtype=torch.float64)
            p = p / p.sum()
            log_q = torch.stack([scores[b, t, indices[b, t, column]] for column in there]).log_softmax(dim=0)
            total += (p * (p.log() - log_q)).sum()
    assert abs(sparse_loss(scores, probabilities, indices) - total / 18) < WITHIN


def test_the_target_adds_distributions_up():
    q, k, _ = qkv(13)
    probabilities = causal_probabilities(q, k).requires_grad_()
    target = index_target(probabilities)
    assert not target.requires_grad
    assert_close(target.sum(dim=-1), torch.ones(2, 13, dtype=torch.float64))
    assert_close(target, probabilities.detach().mean(dim=1))
    assert_close(index_target(probabilities[:, [2, 0, 3, 1]]), target)
    two = torch.zeros(1, 2, 1, 4)
    two[0, 0, 0, 1] = two[0, 1, 0, 3] = 1.0
    assert index_target(two).tolist() == [[[0.0, 0.5, 0.0, 0.5]]]  # two heads, two places: both stay


def test_chosen_probabilities_of_all_keys_are_the_dense_ones():
    q, k, _ = qkv(8)
    order = select_top_k(draw(2, 8, 8), 8)
    dense_there = causal_probabilities(q, k).gather(-1, order.clamp(min=0)[:, None].expand(-1, 4, -1, -1))
    assert_close(chosen_probabilities(q, k, order), dense_there.masked_fill((order < 0)[:, None], 0))


# Selectors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SELECTORS)
@pytest.mark.parametrize("top_k", [1, 2, 4, 7, 8, 16, 40])
@pytest.mark.seconds
def test_selectors_choose_from_the_past_and_no_more_than_they_may(name, top_k):
    torch.manual_seed(0)
    q, k, _ = qkv(40)
    indices = SELECTORS[name](q, k, top_k)
    accepts.choice_fits(indices, 2, 40, 40)  # in range, no key twice
    assert indices.shape[-1] <= top_k
    assert (indices <= torch.arange(40)[:, None]).all()
    assert (indices == torch.arange(40)[:, None]).any(dim=-1)[:, 0].all()  # the first query sees itself
    assert (indices >= 0).any(dim=-1).all()


@pytest.mark.parametrize("name", sorted(set(SELECTORS) - {"H2O", "random"}))
def test_selectors_for_the_last_queries_alone(name):
    q, k, _ = qkv(40)
    whole, last = SELECTORS[name](q, k, 8), SELECTORS[name](q[:, :, 33:], k, 8)
    assert torch.equal(whole[:, 33:].sort(dim=-1).values, last.sort(dim=-1).values)
    with pytest.raises(ValueError, match="7 queries and 40 keys"):
        SELECTORS["H2O"](q[:, :, 33:], k, 8)


@pytest.mark.parametrize("name", SELECTORS)
@pytest.mark.parametrize("n", [1, 3, 10])
def test_selectors_take_all_where_they_may_take_more(name, n):
    q, k, _ = qkv(n, batch=1)
    indices = SELECTORS[name](q, k, 1000)
    assert [sorted(set(row) - {-1}) for row in indices[0].tolist()] == [[*range(t + 1)] for t in range(n)]
    accepts.choice_fits(indices, 1, n, n)
    sinks = sparse.sinks_and_window(q, k, 1000, sinks=900)
    assert [sorted(set(row) - {-1}) for row in sinks[0].tolist()] == [[*range(t + 1)] for t in range(n)]


def test_the_oracle_keeps_the_most_and_more_with_more_keys():
    torch.manual_seed(0)
    q, k, _ = qkv(40)
    target = index_target(causal_probabilities(q, k))
    for top_k in (1, 4, 8, 16):
        best = captured_mass(target, oracle(q, k, top_k))
        for name in SELECTORS:
            assert (captured_mass(target, SELECTORS[name](q, k, top_k)) <= best + WITHIN).all(), name
        assert (captured_mass(target, oracle(q, k, top_k + 1)) >= best - WITHIN).all()
    assert_close(captured_mass(target, oracle(q, k, 40)), torch.ones(2, 40, dtype=torch.float64))


def test_what_the_windows_see():
    q, k, _ = qkv(10, batch=1)
    assert sparse.window(q, k, 3)[0, [0, 1, 9]].tolist() == [[0, -1, -1], [1, 0, -1], [9, 8, 7]]
    seen = sparse.sinks_and_window(q, k, 5)[0]
    assert seen[0].tolist() == [0, -1, -1, -1, -1] and seen[3].tolist() == [0, 1, 3, 2, -1]
    assert seen[9].tolist() == [0, 1, 9, 8, 7]


def test_heavy_hitters_cannot_take_back_what_they_dropped():
    q, k, _ = qkv(60, batch=1)
    held = [set(row.tolist()) - {-1} for row in sparse.heavy_hitters(q, k, 8)[0]]
    for t in range(1, 60):
        assert held[t] - {t} <= held[t - 1] and len(held[t]) == min(8, t + 1)
        assert set(range(max(t - 3, 0), t + 1)) <= held[t]


def test_the_bound_holds_for_every_key_of_the_page():
    q, k = draw(2, 3, 11, 8), draw(2, 3, 40, 8, seed=1)
    held = pages(k, 4)
    bound = page_bound(q, held.amin(dim=-2), held.amax(dim=-2))
    products = (q @ k.transpose(-1, -2)).unflatten(-1, (10, 4))
    assert bound.shape == (2, 3, 11, 10)
    assert (products <= bound[..., None] + WITHIN).all()
    alone = pages(k, 1)
    assert_close(page_bound(q, alone.amin(dim=-2), alone.amax(dim=-2)), q @ k.transpose(-1, -2))


def test_blocks_find_a_block_that_fits_far_better():
    q, k = torch.zeros(2, 1, 1, 40, 8)
    q[..., 0] = 1.0
    k[0, 0, 8:12, 0] = 30.0
    for name in ("Quest", "MoBA"):
        assert set(SELECTORS[name](q, k, 8)[0, 30].tolist()) == {30, 29, 28, -1} | {8, 9, 10, 11}
    assert set(SELECTORS["NSA"](q, k, 8)[0, 30].tolist()) == {30, 29, 28, 27} | {8, 9, 10, 11}
    k[0, 0, 9:12, 0] = -30.0  # one needle among opposites: the mean hides it, the bound does not
    assert 8 in SELECTORS["Quest"](q, k, 8)[0, 30].tolist()
    assert 8 not in SELECTORS["MoBA"](q, k, 8)[0, 30].tolist()


@pytest.mark.parametrize("k, expected", [(4, 0.133), (8, 0.221), (16, 0.353)])
def test_a_random_choice_keeps_what_the_formula_says(k, expected):
    assert random_mass(96, k) == pytest.approx(expected, abs=5e-4)
    harmonic = lambda n: sum(1 / i for i in range(1, n + 1))  # noqa: E731
    assert random_mass(96, k) == pytest.approx(k * (harmonic(96) - harmonic(k)) / (96 - k))
    torch.manual_seed(0)
    q, keys, _ = qkv(96, batch=40, heads=1, kv_heads=1)
    mass = captured_mass(index_target(causal_probabilities(q, keys)), sparse.random(q, keys, k))
    assert mass[:, k:].mean().item() == pytest.approx(expected, abs=0.01)


def test_pairs():
    assert attended_pairs(96, 8) == 740 and indexed_pairs(96) == 4656
    assert attended_pairs(131_072, 2048) == 266_339_328 and indexed_pairs(131_072) == 8_590_000_128
    for n, k in ((1, 1), (5, 9), (40, 6)):
        chosen = select_top_k(draw(1, n, n), min(k, n))
        assert attended_pairs(n, k) == (chosen >= 0).sum()


def test_what_a_choice_costs():
    for name in ("window", "sinks and window", "random", "H2O"):
        assert sparse.scored_pairs(name, 40) == 0
    assert sparse.scored_pairs("indexer", 40) == sparse.scored_pairs("oracle", 40) == 820
    assert sparse.scored_pairs("Quest", 10, block=4) == 0 * 4 + 1 * 4 + 2 * 2
    assert [sparse.held_keys(name, 40, 8) for name in ("window", "H2O", "Quest", "indexer")] == [8, 8, 40, 40]
    assert sparse.held_keys("H2O", 3, 8) == 3
    with pytest.raises(ValueError, match="selector is 'best'; give indexer, window"):
        sparse.scored_pairs("best", 40)


# Few bits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, most", [("e4m3", 448.0), ("e2m1", 6.0)])
def test_nothing_is_clipped(kind, most):
    x = torch.cat([draw(200, 16, dtype=torch.float32) * 10.0 ** torch.arange(-3, 17).repeat(10)[:, None],
                   torch.tensor([[0.0] * 15 + [most * 2.0**power] for power in range(-9, 30)])])  # fmt: skip
    codes, scale = quantise(x, kind)
    assert (codes.abs() <= most).all() and (scale > 0).all()
    assert torch.equal(scale.log2(), scale.log2().round())
    largest = x.abs().amax(dim=-1, keepdim=True).clamp(min=1e-4)
    assert (scale >= largest / most).all() and (scale < 2 * largest / most).all()
    step = {"e4m3": 2.0**-4, "e2m1": 2.0**-2}[kind]  # half the gap of the mantissa, relative
    within = torch.maximum(x.abs() * step, scale * {"e4m3": 2.0**-10, "e2m1": 0.25}[kind])
    assert ((codes * scale - x).abs() <= within).all()


def test_4_bits_round_to_even_halfway():
    x = torch.tensor([[0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 6.0, -2.5, -0.1]])
    codes, scale = quantise(x, "e2m1")
    assert scale.item() == 1.0
    assert codes.tolist() == [[0.0, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 6.0, -2.0, -0.0]]
    every = torch.tensor([[value * sign for value in sparse.E2M1 for sign in (1, -1)]])
    assert torch.equal(quantise(every, "e2m1")[0], every)


def test_zeros_and_tiny_vectors_become_zeros():
    codes, scale = quantise(torch.tensor([[0.0, 0.0], [1e-11, -1e-12], [1e-4, 0.0]]))
    assert codes[:2].tolist() == [[0.0, 0.0], [0.0, 0.0]] and codes[2, 0] > 0
    assert scale.squeeze().tolist() == [2.0**-22] * 3
    q, k, w = index_inputs(4)
    assert not low_precision_scores(q * 0, k, w).any()


def test_an_example_of_a_scale():
    assert quantise(torch.tensor([[3.1, 1.0]]))[1].item() == 2.0**-7  # 3.1 / 448 = 0.00692, rounded up to 0.0078


@pytest.mark.parametrize("kind", ["e4m3", "e2m1"])
def test_folded_scales_are_the_formula_on_what_was_rounded(kind):
    q, k, w = index_inputs(12, d=16)
    (q_codes, q_scale), (k_codes, k_scale) = quantise(q, kind), quantise(k, kind)
    expected = index_scores(q_codes * q_scale, k_codes * k_scale, w)
    assert_close(folded_index_scores(q_codes, k_codes, w, q_scale, k_scale), expected)
    exact = index_scores(q, k, w)
    error = (low_precision_scores(q, k, w, kind) - exact).norm() / exact.norm()
    assert 0 < error < {"e4m3": 0.1, "e2m1": 0.5}[kind]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1.0, 30.0])  # at 30 products exceed what float16 holds, and scores do not
def test_half_precision_adds_in_float32_and_rounds_once(dtype, size):
    q, k, w = (each.to(dtype) for each in index_inputs(12, 40, heads=64, d=128))
    q, k, w = size * q, size * k, w / (64 * 128) ** 0.5 / size
    within = 1.01 * torch.finfo(dtype).eps / 2

    def assert_rounded_once(got, exact):
        exact = exact.double()
        assert got.dtype == dtype
        assert ((got.double() - exact).abs() <= within * exact.abs() + 1e-5 * exact.abs().max()).all()

    wide = [each.double() for each in (q, k, w)]
    assert_rounded_once(index_scores(q, k, w), index_scores(*wide))
    (q_codes, q_scale), (k_codes, k_scale) = quantise(q), quantise(k)
    codes = q_codes, k_codes, w, q_scale, k_scale
    assert_rounded_once(folded_index_scores(*codes), folded_index_scores(*(each.double() for each in codes)))
    for kind in ("e4m3", "e2m1"):
        assert_rounded_once(low_precision_scores(q, k, w, kind), low_precision_scores(*wide, kind))
    assert_rounded_once(hadamard(q), hadamard(q.double()))
    probabilities = (size * draw(2, 64, 12, 40)).softmax(dim=-1).to(dtype)
    assert_rounded_once(index_target(probabilities), index_target(probabilities.double()))
    scores = (3 * draw(2, 12, 40)).to(dtype)
    target = index_target(probabilities)
    assert_rounded_once(divergence(scores, target), divergence(scores.double(), target.double()))


def test_hadamard_rotates():
    q, k = draw(3, 4, 64), draw(3, 5, 64, seed=1)
    assert_close(hadamard(q) @ hadamard(k).transpose(-1, -2), q @ k.transpose(-1, -2), 1e-11)
    assert_close(hadamard(hadamard(q)), q)
    one = hadamard(torch.eye(8, dtype=torch.float64))
    assert torch.equal((one * math.sqrt(8)).round().abs(), torch.ones(8, 8, dtype=torch.float64))
    outlier = torch.tensor([[100.0] + [0.0] * 63])
    assert torch.equal(hadamard(outlier), torch.full((1, 64), 12.5))


def test_share_of_exact_zeros_when_nothing_is_learnt():
    """ReLU leaves 0 where all heads disagree: with h heads about 2 ** -h of the scores tie."""
    for heads in (2, 4, 8):
        q, k, w = index_inputs(256, heads=heads, d=16, batch=4)
        zeros = (index_scores(q, k, w) == 0).double().mean().item()
        assert zeros == pytest.approx(2.0**-heads, rel=0.25)


# Positions ---------------------------------------------------------------------------------------------------------


def test_scores_depend_on_the_distance_alone():
    q, k = draw(1, 16), draw(1, 16, seed=1)
    frequencies = rope_frequencies(8, 10_000.0).double()
    for turn in (rotate, rotate_interleaved):
        place = lambda x, at: turn(x, torch.tensor([at], dtype=torch.float64), frequencies)  # noqa: B023, E731
        at = [place(q, start + 7.0) @ place(k, start).T for start in (0.0, 100.0, 4000.0)]
        assert max(at) - min(at) < 1e-10
        assert_close(place(q, 9.0).norm(), q.norm())


def test_layouts_agree_at_no_distance_and_differ_at_others():
    q, k = draw(1, 16), draw(1, 16, seed=1)
    frequencies = rope_frequencies(16, 10_000.0).double()
    score = lambda turn, far: (turn(q, torch.tensor([far + 0.0]).double(), frequencies) * k).sum().item()  # noqa: E731
    assert score(rotate, 0) == pytest.approx(score(rotate_interleaved, 0))
    assert all(abs(score(rotate, far) - score(rotate_interleaved, far)) > 0.1 for far in (64, 1024))


def test_the_indexer_keeps_only_what_it_says():
    indexer = Indexer(32, heads=3, index_dim=8)
    x = draw(2, 6, 32, dtype=torch.float32).requires_grad_()
    q, k, w = indexer(x, torch.arange(6))
    assert q.shape == (2, 3, 6, 8) and k.shape == (2, 6, 8) and w.shape == (2, 6, 3)
    (q.sum() + k.sum() + w.sum()).backward()
    assert x.grad is None
    assert w.min() < 0 < w.max()  # signed: no softmax, no sigmoid


@pytest.mark.parametrize("precision", ["e4m3", "e2m1"])
def test_the_indexer_in_few_bits_while_not_training(precision):
    exact = tiny(layers=1).layers[0].attention.indexer
    coarse = Indexer(32, index_dim=16, precision=precision, hadamard=True)
    coarse.load_state_dict(exact.state_dict())
    x = draw(2, 30, 32, dtype=torch.float32)
    made = exact(x, torch.arange(30))
    assert torch.equal(coarse.scores(*made), exact.scores(*made))  # training: rounding has no gradient
    coarse.eval()
    assert_close(coarse.scores(*made), low_precision_scores(*made, precision, rotated=True))
    assert not torch.equal(coarse.scores(*made), exact.scores(*made))


# In the model ------------------------------------------------------------------------------------------------------


def test_choosing_everything_is_the_dense_model():
    model = tiny("all").eval()
    for top_k in (40, 4096):
        sparse_model = model.with_attention(("sparse",) * 2, sparse={"top_k": top_k})
        torch.testing.assert_close(sparse_model(tokens()), model(tokens()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("selector", ["indexer", "all", "window", "Quest"])
def test_a_stream_is_the_whole(selector):
    model = tiny(selector).double().eval()
    read, stream = tokens(), None
    with torch.no_grad():
        stream = model.new_stream()
        parts = torch.cat([model(chunk, stream) for chunk in read.split((1, 7, 20, 1, 11), dim=1)], dim=1)
        assert_close(parts, model(read), 1e-10)
    kept = 2 * 3 * 40 * (2 * 32 + 16) * 8  # layers, batch, tokens; keys, values and the indexer's key in float64
    assert stream.nbytes == kept


def test_selections_are_what_the_model_did():
    model = tiny().eval()
    for layer, selection in zip(model.layers, selections(model, tokens()), strict=True):
        assert selection.scores.shape == (3, 40, 40) and selection.probabilities.shape == (3, 2, 40, 40)
        assert torch.equal(selection.indices, select_top_k(selection.scores, 6))
        assert (selection.scores == -math.inf).equal(~causal_mask(40, 40).expand(3, -1, -1))
        assert (selection.mass <= selection.best_mass + 1e-6).all()
        kept, best = selection.mass_at(range(1, 41))
        torch.testing.assert_close(kept[..., 5], selection.mass)
        torch.testing.assert_close(best[..., 5], selection.best_mass)
        torch.testing.assert_close(kept[..., -1], torch.ones(3, 40))
        assert layer.attention.index_loss is None
    assert torch.is_grad_enabled()


def test_the_same_weights_with_another_selector():
    model = tiny().eval()
    for selector in SELECTORS:
        other = model.with_attention(("sparse",) * 2, sparse={"top_k": 6, "selector": selector})
        assert other(tokens()).isfinite().all()
        assert torch.equal(other.layers[1].attention.indexer.to_q.weight, model.layers[1].attention.indexer.to_q.weight)


# Bad input ---------------------------------------------------------------------------------------------------------

Q, K, V = qkv(6, batch=1)
CHOICE = select_top_k(torch.zeros(1, 6, 6), 3)
SCORES = draw(1, 6, 6)


def with_entry(value, *at, x=None):
    x = (CHOICE if x is None else x).clone()
    x[at] = value
    return x


@pytest.mark.parametrize(
    "call, told",
    [
        (lambda: select_top_k(SCORES, 0), "k is 0; give a whole number of 1 or more"),
        (lambda: select_top_k(SCORES, -2), "k is -2; give a whole number of 1 or more"),
        (lambda: select_top_k(SCORES, 2.5), "k is 2.5; give a whole number of 1 or more"),
        (lambda: SELECTORS["window"](Q, K, 0), "window: top_k is 0; give a whole number of 1 or more"),
        (lambda: SELECTORS["oracle"](Q, K, -1), "oracle: top_k is -1; give a whole number of 1 or more"),
        (lambda: select_top_k(with_entry(math.nan, 0, 4, 2, x=SCORES), 3), r"scores holds nan at \[0, 4, 2\]"),
        (lambda: select_top_k(torch.zeros(1, 6, 4), 3), "6 queries and 4 keys"),
        (lambda: select_top_k(SCORES[0], 3), r"scores has shape \(6, 6\)"),
        (lambda: select_top_k(SCORES.long(), 3), "scores has dtype torch.int64"),
        (lambda: gathered_attention(Q, K, V, with_entry(6, 0, 0, 0)), "indices reach from -1 to 6; give 0 to 5"),
        (lambda: gathered_attention(Q, K, V, with_entry(-2, 0, 0, 0)), "indices reach from -2 to 2; give 0 to 5"),
        (lambda: gathered_attention(Q, K, V, with_entry(1, 0, 4, 0)), "batch 0, query 4 hold key 1 twice"),
        (lambda: gathered_attention(Q, K, V, CHOICE.expand(2, -1, -1)), r"\(2, 6, 3\); give \(batch, n, k\), here \(1"),
        (lambda: gathered_attention(Q, K, V, CHOICE[:, :5]), r"indices has shape \(1, 5, 3\)"),
        (lambda: gathered_attention(Q, K, V, CHOICE[..., :0]), r"indices has shape \(1, 6, 0\)"),
        (lambda: gathered_attention(Q, K, V, CHOICE.double()), "indices is of type torch.float64; give whole numbers"),
        (lambda: gathered_attention(Q, K, V, [[0]]), "indices is of type list"),
        (lambda: gathered_attention(Q[:, :3], K, V, CHOICE), "q has 3 heads, k has 2"),
        (lambda: gathered_attention(Q, K, V[:, :, :5], CHOICE), "m = 5, but k has 6"),
        (lambda: gathered_attention(Q, K, V, CHOICE, scale=math.nan), "scale is nan"),
        (lambda: gathered_attention(Q * math.nan, K, V, CHOICE), "q holds nan"),
        (lambda: captured_mass(SCORES, with_entry(1, 0, 4, 0)), "hold key 1 twice"),
        (lambda: quantise(torch.tensor([[1.0, math.inf]])), r"x holds inf at \[0, 1\]"),
        (lambda: quantise(torch.tensor([[math.nan, 1.0]])), r"x holds nan at \[0, 0\]"),
        (lambda: quantise(torch.ones(2, 2), "int4"), "kind is 'int4'; give one of e4m3, e2m1"),
        (lambda: hadamard(torch.ones(2, 12)), "x has 12 entries; give a power of 2"),
        (lambda: folded_index_scores(*index_inputs(3), torch.ones(2, 3, 3, 1).double(),
                                     -torch.ones(2, 3, 1).double()), "k_scale holds -1; give positive"),
        (lambda: sparse_loss(SCORES, draw(1, 2, 6, 2), CHOICE), "for 3 candidates"),
        (lambda: random_mass(8, 8), "k is 8 for 8 tokens"),
        (lambda: tiny(top_k=0), "top_k is 0; give a whole number"),
        (lambda: tiny(top_k=2.0), "top_k is 2.0; give a whole number"),
        (lambda: tiny("best"), "selector is 'best'; give indexer, all, window"),
        (lambda: tiny(index={"layout": "other"}), "layout is 'other'; give one of half-split, interleaved"),
        (lambda: tiny(index={"precision": "int8"}), "precision is 'int8'; give one of e4m3, e2m1, or None"),
        (lambda: flops_crossover("train"), "phase is 'train'; give \"prefill\" or \"decode\""),
        (lambda: figure_cost(131_073, "decode", V31), "position is 131073; the figure reaches"),
        (lambda: figure_cost(0, "decode", "V4"), "model is 'V4'"),
    ],
)  # fmt: skip
def test_bad_input_is_told(call, told):
    with pytest.raises(ValueError, match=told):
        call()


def test_a_model_that_looks_ahead_cannot_choose():
    with pytest.raises(ValueError, match="causal=True"):
        TinyTransformer(Config(7, ("sparse",), width=16, heads=2, causal=False))


def test_equal_scores_and_infinite_ones_give_no_nan():
    q, k, v = qkv(9, batch=1)
    for scores in (torch.zeros(1, 9, 9), torch.full((1, 9, 9), math.inf), torch.full((1, 9, 9), 1e38)):
        assert gathered_attention(q, k, v, select_top_k(scores, 4)).isfinite().all()


# Trained -----------------------------------------------------------------------------------------------------------

TOLD = about("sparse")
BENCH = results("sparse")
RUNS = {"shipped": TOLD["stages"]} | {name: BENCH[name]["runs"] for name in BENCH if name.startswith("seed-")}


def said(runs, stage, selector, top_k, tokens=96):
    """What was measured after a stage."""
    run = next(run for run in runs if run["stage"] == stage)
    return next(
        each
        for each in run["readings"]
        if (each["selector"], each["top_k"], each["tokens"]) == (selector, top_k, tokens)
    )


@pytest.mark.seconds
def test_the_recipe_runs_and_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    """From end to end, much too short to learn anything; then once more, interrupted in its last stage."""
    for name, value in {
        "STEPS": {"dense": 4, "warm-up": 4, "sparse": 4}, "EVERY": 2, "BATCH": 2, "TRIPLES": 12, "TEST": 4, "GLANCE": 2,
        "LONG": 24, "LONG_TEST": 2, "LONG_BUDGETS": (8,), "BUDGETS": (4,), "WIDTH": 32, "HEADS": 2,
    }.items():  # fmt: skip
        monkeypatch.setattr(recipe, name, value)
    recipe.make(tmp_path / "whole")
    assert "36 tokens, indexer, k = 4" in capsys.readouterr().out
    made = {path.name for path in (tmp_path / "whole").iterdir()}
    stems = ("sparse-dense", "sparse-warm-up", "sparse-trained")
    assert made == {f"{stem}.{kind}" for stem in stems for kind in ("json", "safetensors")} | {"sparse.json"}

    whole = recipe.losses_of

    def interrupted(stage, *given):
        if stage == "sparse":
            raise KeyboardInterrupt
        return whole(stage, *given)

    with monkeypatch.context() as broken:
        broken.setattr(recipe, "losses_of", interrupted)
        with pytest.raises(KeyboardInterrupt):
            recipe.make(tmp_path / "twice")
    assert {path.name for path in (tmp_path / "twice").glob("*.draft")} == {
        "sparse-dense.draft",
        "sparse-warm-up.draft",
    }
    recipe.make(tmp_path / "twice")
    for stem in stems:
        one, other = (load(stem, tmp_path / folder).state_dict() for folder in ("whole", "twice"))
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert not list((tmp_path / "twice").glob("*.draft"))


def test_a_stage_moves_only_what_it_should():
    dense_weights = load("sparse-dense").state_dict()
    warm, trained = load("sparse-warm-up").state_dict(), load("sparse-trained").state_dict()
    for name, weight in dense_weights.items():
        assert torch.equal(warm[name], weight) and not torch.equal(trained[name], weight)
    untrained = recipe.choosing(load("sparse-dense")).state_dict()
    indexers = [name for name in warm if ".indexer." in name]
    assert len(indexers) == 10
    for name in indexers:
        assert not torch.equal(warm[name], untrained[name]) and not torch.equal(trained[name], warm[name])


@pytest.mark.seconds
def test_shipped_weights_do_what_is_written_of_them():
    sample = recipe.unseen()
    for stage, name in (("dense", "sparse-dense"), ("warm-up", "sparse-warm-up"), ("sparse", "sparse-trained")):
        measured = recipe.reading(load(name), "indexer", recipe.TOP_K, sample)
        written = said(TOLD["stages"], stage, "indexer", recipe.TOP_K)
        assert measured["recall"] == pytest.approx(written["recall"], abs=2e-3)
        assert measured["loss"] == pytest.approx(written["loss"], abs=2e-3)
        assert measured["mass"]["of_best"] == pytest.approx(written["mass"]["of_best"], abs=5e-3)
    files = [CHECKPOINTS / f"sparse-{name}.safetensors" for name in ("dense", "warm-up", "trained")]
    assert sum(path.stat().st_size for path in files) < 2_000_000


@pytest.mark.parametrize("runs", RUNS.values(), ids=list(RUNS))
def test_sparse_is_within_a_point_of_dense_in_every_seed(runs):
    before, after = (said(runs, stage, "all", None) for stage in ("dense", "sparse"))
    for top_k in (4, 8, 16):
        sparse_said = said(runs, "sparse", "indexer", top_k)
        for dense_said in (before, after):
            assert sparse_said["recall"] > dense_said["recall"] - 0.01
        assert sparse_said["loss"] < after["loss"] + 0.02
        assert min(sparse_said["mass"]["of_best"]) > 0.85
    trained = said(runs, "sparse", "indexer", 8)
    assert trained["recall"] > 0.98 and trained["far_recall"] > 0.95
    for stage, selector in (("dense", "indexer"), ("sparse", "random"), ("sparse", "window")):
        other = said(runs, stage, selector, 8)
        assert other["recall"] < trained["recall"] - 0.3 and other["far_recall"] < 0.35
    assert said(runs, "sparse", "window", 16)["far_recall"] < 0.06


@pytest.mark.parametrize("runs", RUNS.values(), ids=list(RUNS))
def test_at_four_times_the_trained_length_sparse_follows_dense(runs):
    dense_said = said(runs, "sparse", "all", None, tokens=384)
    for top_k in (8, 16, 32):
        assert said(runs, "sparse", "indexer", top_k, tokens=384)["recall"] > dense_said["recall"] - 0.05
        for selector in ("random", "window"):
            assert said(runs, "sparse", selector, top_k, tokens=384)["recall"] < dense_said["recall"] - 0.15


def test_a_wrong_layout_shows_on_a_short_text_once_fewer_keys_are_chosen():
    rows = BENCH["fewer_keys"]["rows"]
    assert [row["top_k"] for row in rows] == [BENCH["fewer_keys"]["tokens"], 8, 4, 2, 1]
    behind = [row["loss"]["interleaved"] - row["loss"]["half-split"] for row in rows]
    assert behind[0] == 0 and behind == sorted(behind) and behind[1] < 0.002 and behind[-1] > 0.3


def test_measured_growth():
    growth, moved = BENCH["growth"]["exponents"], BENCH["bytes"]["exponents"]
    for exponent in (growth["attention pairs"], growth["attention seconds"], moved["attention"]):
        assert exponent == pytest.approx(1, abs=0.1)
    for exponent in (growth["indexer pairs"], growth["indexer seconds"], moved["indexer"]):
        assert exponent == pytest.approx(2, abs=0.1)
    assert all(row["issued_bytes"] == row["closed_form"] for row in BENCH["bytes"]["rows"])


# What it costs -----------------------------------------------------------------------------------------------------


def test_flops_of_a_pair():
    assert (V32.absorbed, V32.expanded, V32.indexer) == (278_528, 81_920, 16_384)
    assert sparse.saving_limit("decode") == 17 and sparse.saving_limit("prefill") == 5


def test_crossovers_are_exact():
    assert flops_crossover("decode") == 2176 and flops_crossover("prefill") == 8704
    assert sparse.prefill_bend() == 6963.2 and sparse.indexer_equals_core() == 34_816
    for phase in PHASES:
        at = int(flops_crossover(phase))
        assert flops_saving(at, phase) == pytest.approx(1)
        assert flops_saving(at + 1, phase) > 1 > flops_saving(at - 1, phase)
    assert indexer_share(34_816) == 0.5


@pytest.mark.parametrize(
    "position, share, decode, prefill",
    [(2048, 0.056, 0.944, 0.278), (8192, 0.190, 3.24, 0.95), (32_768, 0.485, 8.24, 2.42), (65_536, 0.653, 11.1, 3.27),
     (131_072, 0.790, 13.4, 3.95), (262_144, 0.883, 15.0, 4.41), (1_048_576, 0.968, 16.5, 4.84)],
)  # fmt: skip
def test_shares_and_savings(position, share, decode, prefill):
    assert indexer_share(position) == pytest.approx(share, abs=6e-4)
    assert flops_saving(position, "decode") == pytest.approx(decode, rel=4e-3)
    assert flops_saving(position, "prefill") == pytest.approx(prefill, rel=4e-3)


def test_sharing_an_indexer_among_four_layers():
    core = sparse.core_flops(131_072)
    one, four = (core + sparse.indexer_flops(131_072, index_every=every) for every in (1, 4))
    assert (one / 1e9, four / 1e9) == (pytest.approx(2.72, abs=5e-3), pytest.approx(1.11, abs=5e-3))
    assert one / four == pytest.approx(2.45, abs=5e-3)


def test_bytes():
    assert sparse.LATENT_BYTES == {"bf16": 1152, "fp8": 656} and sparse.INDEX_KEY_BYTES == 132
    tokens = 131_072
    assert sparse.latent_cache_bytes(tokens, "bf16") == tokens * 70_272
    assert sparse.latent_cache_bytes(tokens) == tokens * 40_016
    assert sparse.index_cache_bytes(tokens) == tokens * 8_052 == 1_055_391_744
    assert sparse.index_cache_bytes(tokens) / sparse.latent_cache_bytes(tokens) == pytest.approx(0.201, abs=5e-4)
    dense_read, sparse_read = sparse.decode_read_bytes(tokens)
    assert (dense_read / 1e6, sparse_read / 1e6) == (pytest.approx(86.0, abs=0.05), pytest.approx(18.6, abs=0.05))
    assert dense_read / sparse_read == pytest.approx(4.6, abs=0.05)


@pytest.mark.parametrize(
    "position, prefill, decode",
    [(2048, 0.86, 0.71), (4096, 0.85, 0.92), (8192, 0.90, 1.33), (16_384, 1.21, 2.11), (32_768, 1.74, 3.47),
     (65_536, 2.55, 5.66), (131_071, 3.56, 8.65)],
)  # fmt: skip
def test_the_figure_read_off(position, prefill, decode):
    assert figure_ratio(position, "prefill") == pytest.approx(prefill, abs=6e-3)
    assert figure_ratio(position, "decode") == pytest.approx(decode, abs=6e-3)


def test_the_figure_at_its_corners_and_its_means():
    for (phase, model), vertices in FIGURE.items():
        for position, dollars in vertices:
            assert figure_cost(position, phase, model) == pytest.approx(dollars, rel=1e-12)
        fine = torch.arange(0, 65_536, 16, dtype=torch.float64)
        mean = sum(figure_cost(at, phase, model) for at in (fine + 8).tolist()) / len(fine)
        assert figure_mean(65_536, phase, model) == pytest.approx(mean, rel=1e-4)
        assert figure_mean(0, phase, model) == vertices[0][1]
    means = {key: figure_mean(131_071, *key) for key in FIGURE}
    assert means["prefill", V31] == pytest.approx(0.3593, abs=1e-4)
    assert means["prefill", V32_EXP] == pytest.approx(0.1403, abs=1e-4)
    assert means["decode", V31] == pytest.approx(1.1124, abs=1e-4)
    assert means["decode", V32_EXP] == pytest.approx(0.1962, abs=1e-4)


# Every quantity that FLOPs alone predict, what the figure says, and by how much the prediction is off.
AT = 131_071
PREDICTIONS = [
    ("decode ratio at 128K, values at 0 apart", flops_saving(AT, "decode"), variable_ratio(AT, "decode"), -0.008),
    ("prefill ratio at 128K, values at 0 apart", flops_saving(AT, "prefill"), variable_ratio(AT, "prefill"), -0.188),
    ("prefill bend", sparse.prefill_bend(), FIGURE["prefill", V32_EXP][1][0], 0.032),
    ("prefill crossover", flops_crossover("prefill"), figure_crossover("prefill"), -0.182),
    ("decode crossover", flops_crossover("decode"), figure_crossover("decode"), -0.553),
    ("V3.2 prefill at 128K", predicted_cost(AT, "prefill"), figure_cost(AT, "prefill", V32_EXP), 0.156),
    ("V3.2 decode at 128K", predicted_cost(AT, "decode"), figure_cost(AT, "decode", V32_EXP), 0.005),
    ("decode tail over V3.1's slope", 1 / 17, sparse.implied_rates("decode")["indexer"] / 17, 0.167),
    ("prefill tail over V3.1's slope", 1 / 5, sparse.implied_rates("prefill")["indexer"] / 5, 0.333),
]  # fmt: skip


@pytest.mark.parametrize("what, predicted, published, error", PREDICTIONS, ids=[row[0] for row in PREDICTIONS])
def test_flops_against_the_figure(what, predicted, published, error):
    assert predicted / published - 1 == pytest.approx(error, abs=2e-3)


def test_at_128k_flops_are_within_20_percent_of_the_figure():
    for phase in PHASES:
        assert abs(flops_saving(AT, phase) / variable_ratio(AT, phase) - 1) < 0.2
        assert abs(predicted_cost(AT, phase) / figure_cost(AT, phase, V32_EXP) - 1) < 0.2


def test_why_the_decode_crossover_is_missed():
    """A FLOP on chosen keys is 1.5 times as dear, one of the indexer 6/7; then V3.2 starts 35 % higher."""
    rates = sparse.implied_rates("decode")
    assert rates["core"] == pytest.approx(1.5, abs=1e-3) and rates["indexer"] == pytest.approx(6 / 7, abs=1e-3)
    dearer = rates["core"] * V32.top_k * V32.absorbed / (V32.absorbed - rates["indexer"] * V32.indexer)
    assert dearer == pytest.approx(3235, abs=5)
    start = (figure_cost(0, "decode", V32_EXP) - figure_cost(0, "decode", V31)) / sparse.price_per_flop("decode")
    assert dearer + start / (V32.absorbed - rates["indexer"] * V32.indexer) == pytest.approx(4871, abs=5)
    assert figure_crossover("decode") == pytest.approx(4871, abs=1)
    assert figure_crossover("prefill") == pytest.approx(10_646, abs=1)
    assert figure_crossover("prefill", figure_mean) / 1024 == pytest.approx(17.7, abs=0.05)
    assert figure_crossover("decode", figure_mean) / 1024 == pytest.approx(8.8, abs=0.05)


def test_the_figure_is_a_formula():
    for phase in PHASES:
        for position, dollars in FIGURE[phase, V32_EXP]:
            assert sparse.calibrated_cost(position, phase) == pytest.approx(dollars, rel=2e-4)
        assert sparse.implied_flops_per_second(phase) / 1e12 == pytest.approx(593.7, abs=0.1)
    slopes = [(figure_cost(AT, phase, V31) - figure_cost(0, phase, V31)) for phase in ("decode", "prefill")]
    assert slopes[0] / slopes[1] == pytest.approx(3.4, abs=1e-4) and V32.absorbed / V32.expanded == 3.4


def test_the_claim_is_nowhere_on_the_figure():
    old, new = sparse.CLAIM
    assert max(dollars for _, dollars in FIGURE["decode", V32_EXP]) == 0.24910 < new
    assert max(dollars for _, dollars in FIGURE["decode", V31]) == 2.15434 < old


def test_messages_say_which_function():
    with pytest.raises(ValueError, match=re.escape("select_top_k: k is 0")):
        select_top_k(SCORES, 0)
