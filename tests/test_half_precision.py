"""Sums in half precision: no function of the course is worse than torch's own, whatever the row looks like.

Drawn are the dtype, 1 to 131,072 keys, how peaked a row is, a shift of the values (half of them +1, half -1) and 1 to
200 parts. What a function gives may be off from float64 by twice what torch's is on the same input, and by one unit in
the last place. Where a log-sum-exp, a maximum or a sum is returned it is float32.
"""

import math
import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from solutions import infini, positions, quadratic, sparse
from solutions.flash import TileMachine, backward_tile, merge, online_softmax, split_attention, tiled_attention
from solutions.local_global import (
    WindowCache,
    cached_window_attention,
    influence,
    masked_window_attention,
    sliding_window_attention,
)
from solutions.quadratic import KVCache, attention, attention_scores, blocked_attention, cached_attention
from solutions.ring import Ring, RingAttention
from solutions.shapes import HALF, in_float32
from solutions.tiny import Config, attention_of

LONGEST = 131_072


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def unit(exact: Tensor, dtype: torch.dtype) -> float:
    """The distance from the largest entry to the next number that the dtype has."""
    largest = exact.abs().max().to(dtype)
    return (torch.nextafter(largest, largest.new_tensor(math.inf)).double() - largest.double()).item()


def error(got: Tensor, exact: Tensor) -> float:
    assert got.shape == exact.shape and got.isfinite().all()
    return (got.double() - exact).abs().max().item()


def assert_no_worse(got: Tensor, torchs: Tensor, exact: Tensor, dtype: torch.dtype, what: str) -> None:
    assert got.dtype == dtype, what
    bound = 2 * error(torchs, exact) + unit(exact, dtype)
    assert error(got, exact) <= bound, f"{what}: off by {error(got, exact):.3g}, and {bound:.3g} is allowed"


def draws(count: int, longest: int = LONGEST, seed: int = 0):
    """(dtype, keys, peak, parts): the ends of every range first, then anything between them."""
    draw = random.Random(seed)
    dtypes = (torch.bfloat16, torch.float16, torch.float32)
    for index in range(count):
        keys = longest if index < 3 else 1 if index < 6 else round(math.exp(draw.uniform(0, math.log(longest))))
        peak = 0.0 if index < 3 else draw.choice((0.0, 0.3, 1.0, 4.0))
        parts = 132 if index < 3 else draw.randint(1, 200)
        yield pytest.param(dtypes[index % 3], keys, peak, parts, id=f"{dtypes[index % 3]}-{keys}-{peak}-{parts}"[6:])


def row(dtype: torch.dtype, keys: int, peak: float, queries: int = 1, d: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v, (1, 1, ..., d), whose scores have a standard deviation of `peak`."""
    generator = torch.Generator().manual_seed(keys)
    q, k, v = (torch.randn(1, 1, n, d, generator=generator) for n in (queries, keys, keys))
    shift = torch.where(torch.arange(keys) < keys / 2, 1.0, -1.0)
    return (peak * q).to(dtype), k.to(dtype), (v + shift[:, None]).to(dtype)


# Attention, in every form ----------------------------------------------------------------------------------------


def in_two_chunks(q, k, v, cache):
    """The last queries' rows from a cache that holds all earlier keys."""
    first = k.shape[-2] - q.shape[-2]
    if first:
        cache.append(k[..., :first, :], v[..., :first, :])
    return cached_attention(q, k[..., first:, :], v[..., first:, :], cache)


def in_tiles(q, k, v, parts):
    out, lse = tiled_attention(TileMachine(), q[0, 0], k[0, 0], v[0, 0], block_m=4, block_n=part_of(k, parts))
    assert lse.dtype == torch.float32
    return out[None, None]


def part_of(k, parts):
    return math.ceil(k.shape[-2] / parts)


class Alone(Ring):
    """A ring of which one process plays all ranks: the blocks of the others are cut out of the whole."""

    def blocks(self, kv, phase):
        yield from ((owner, kv[..., rows, :]) for owner, rows in enumerate(self.rows))

    def pieces(self, owner, causal):
        yield slice(None), slice(None), None


class Context:
    def save_for_backward(self, *tensors):
        self.saved_tensors = tensors


def round_a_ring(q, k, v, parts):
    context = Context()
    rows = [rows for rows in torch.arange(k.shape[-2]).tensor_split(parts) if len(rows)]
    out = RingAttention.forward(context, q, k, v, Alone(0, rows), False)
    assert context.saved_tensors[-1].dtype == torch.float32, "the log-sum-exp, for the backward pass"
    return out


def merged(q, k, v, parts):
    """The parts' attention and log-sum-exp, one after the other into what there is so far."""
    out, lse, size = torch.zeros_like(q), torch.full_like(q[..., 0], -math.inf, dtype=torch.float32), part_of(k, parts)
    for start in range(0, k.shape[-2], size):
        k_part, v_part = k[..., start : start + size, :].float(), v[..., start : start + size, :].float()
        scores = attention_scores(q.float(), k_part)
        out, lse = merge(out, lse, quadratic.softmax(scores) @ v_part, quadratic.log_sum_exp(scores))
        assert out.dtype == lse.dtype == torch.float32
    return out.to(q.dtype)


def all_keys(q, k):
    return torch.arange(k.shape[-2]).expand(1, q.shape[-2], -1)


def nearest_of_all(q, k, v):
    layer = attention_of("knn")(Config(vocabulary=2, width=q.shape[-1], heads=1, layers=("knn",)), 0, top_k=k.shape[-2])
    return layer.nearest(q, k, v)


def by_index(q, k, v):
    index_q, index_w = torch.ones_like(q), torch.ones_like(q[:, 0, :, :1])
    return sparse.sparse_attention(q, k, v, index_q, k[:, 0], index_w, k.shape[-2])


ATTENTION = {
    "attention": lambda q, k, v, parts: attention(q, k, v),
    "attention, causal": lambda q, k, v, parts: attention(q, k, v, causal=True),
    "blocked": lambda q, k, v, parts: blocked_attention(q, k, v, block=1),
    "cached": lambda q, k, v, parts: in_two_chunks(q, k, v, KVCache()),
    "tempered": lambda q, k, v, parts: positions.tempered_attention(q, k, v, 1.0),
    "window cache": lambda q, k, v, parts: cached_window_attention_of_all(q, k, v),
    "gathered": lambda q, k, v, parts: sparse.gathered_attention(q, k, v, all_keys(q, k)),
    "masked": lambda q, k, v, parts: sparse.masked_attention(q, k, v, all_keys(q, k)),
    "sparse": lambda q, k, v, parts: by_index(q, k, v),
    "nearest": lambda q, k, v, parts: nearest_of_all(q, k, v),
    "split": split_attention,
    "merge": merged,
    "tiles": in_tiles,
    "ring": round_a_ring,
}


def cached_window_attention_of_all(q, k, v):
    cache, first = WindowCache(k.shape[-2]), k.shape[-2] - q.shape[-2]
    if first:
        cache.append(k[..., :first, :], v[..., :first, :])
    return cached_window_attention(q, k[..., first:, :], v[..., first:, :], cache)


@pytest.mark.parametrize("dtype, keys, peak, parts", list(draws(18)))
@pytest.mark.slow
def test_attention_is_no_worse_than_torchs(dtype, keys, peak, parts):
    q, k, v = row(dtype, keys, peak)
    exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double())
    torchs = F.scaled_dot_product_attention(q, k, v)
    for what, function in ATTENTION.items():
        assert_no_worse(function(q, k, v, parts), torchs, exact, dtype, what)


@pytest.mark.parametrize("what", ["split", "ring"])
def test_the_roundings_of_200_parts_do_not_add_up(what):
    """Carried in float32 they came to several times what is allowed."""
    for keys in (107, 149, 191):
        q, k, v = row(torch.float32, keys, 1.0)
        exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double())
        torchs = F.scaled_dot_product_attention(q, k, v)
        assert_no_worse(ATTENTION[what](q, k, v, 200), torchs, exact, torch.float32, what)


@pytest.mark.parametrize("dtype, keys, peak, parts", list(draws(9, longest=300, seed=1)))
def test_attention_of_many_queries_is_no_worse(dtype, keys, peak, parts):
    q, k, v = row(dtype, keys, peak, queries=keys)
    exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), is_causal=True)
    torchs = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    for what, got in {
        "window": sliding_window_attention(q, k, v, keys, block=max(1, keys // 7)),
        "masked window": masked_window_attention(q, k, v, keys),
        "blocked": blocked_attention(q, k, v, causal=True, block=max(1, keys // 5)),
    }.items():
        assert_no_worse(got, torchs, exact, dtype, what)
    eye = torch.eye(q.shape[-1], dtype=dtype)  # through matrices that change nothing
    heads = quadratic.multi_head_attention(v[0], eye, eye, eye, eye, heads=1, causal=True)[None]
    exact = F.scaled_dot_product_attention(*3 * [v.double()], is_causal=True)
    assert_no_worse(heads, F.scaled_dot_product_attention(v, v, v, is_causal=True), exact, dtype, "heads")


# Rows of scores --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype, keys, peak, parts", list(draws(18, seed=2)))
@pytest.mark.seconds
def test_a_row_of_scores_is_no_worse_than_torchs(dtype, keys, peak, parts):
    scores = (peak * torch.randn(2, keys, generator=torch.Generator().manual_seed(parts))).to(dtype)
    exact = scores.double()
    torchs = torch.softmax(scores, dim=-1)
    assert_no_worse(quadratic.softmax(scores), torchs, torch.softmax(exact, dim=-1), dtype, "softmax")

    exact_lse, torchs = torch.logsumexp(exact, dim=-1), torch.logsumexp(scores.float(), dim=-1)
    assert_no_worse(quadratic.log_sum_exp(scores), torchs, exact_lse, torch.float32, "log_sum_exp")
    maximum, total = online_softmax(scores.split(part_of(scores[..., None], parts), dim=-1))
    assert maximum.dtype == total.dtype == torch.float32
    assert_no_worse(maximum + total.log(), torchs, exact_lse, torch.float32, "online_softmax")


@pytest.mark.parametrize("dtype", HALF)
def test_flat_rows_by_hand(dtype):
    """What came out when sums were rounded to half precision: 0, 0, inf, inf, and -0.695 for a mean of 0."""
    flat = torch.zeros(1, LONGEST, dtype=dtype)
    assert (quadratic.softmax(flat) == 1 / LONGEST).all()
    q, k, v = torch.zeros(1, 4, dtype=dtype), torch.zeros(70_000, 4, dtype=dtype), torch.ones(70_000, 4, dtype=dtype)
    for attend in (attention, blocked_attention):
        assert (attend(q, k, v) - 1).abs().max() < 2e-3, "float32 adds 70,000 weights up to 1.001; torch does too"
    assert quadratic.log_sum_exp(flat).item() == pytest.approx(math.log(LONGEST), abs=1e-6)
    assert online_softmax([flat[:, :40_000], flat[:, 40_000:80_000]])[1].item() == 80_000
    v = torch.where(torch.arange(LONGEST) < LONGEST / 2, 1.0, -1.0).to(dtype)[:, None].expand(-1, 4)
    assert split_attention(q, torch.zeros(LONGEST, 4, dtype=dtype), v, 132).abs().max() < 1e-6


def test_scores_are_scaled_before_they_overflow():
    forties = torch.full((1, 64), 40.0, dtype=torch.float16)
    assert attention_scores(forties, forties).item() == 12_800  # 102,400 before the scale, and float16 ends at 65,504


# Scores of an indexer, and what it learns from -------------------------------------------------------------------


def rounded_once(function, *tensors: Tensor, dtype: torch.dtype, units: float = 0.51) -> None:
    """The function of half-precision tensors is that of the same numbers in float64, rounded once."""
    exact = function(*(each.double() for each in tensors))
    got = function(*tensors)
    assert got.dtype == dtype
    assert error(got, exact) <= units * unit(exact, dtype), function


def normal(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + math.prod(shape))).to(dtype)


def positive(*shape: int, dtype: torch.dtype) -> Tensor:
    return normal(*shape, dtype=dtype).abs() + 0.5


@pytest.mark.parametrize("dtype", HALF)
def test_the_indexer_rounds_once(dtype):
    q, k, w = normal(1, 64, 2, 128, dtype=dtype), normal(1, 300, 128, dtype=dtype), normal(1, 2, 64, dtype=dtype)
    rounded_once(sparse.index_scores, q, k, w, dtype=dtype)
    scales = positive(1, 64, 2, 1, dtype=dtype), positive(1, 300, 1, dtype=dtype)
    rounded_once(sparse.folded_index_scores, q, k, w, *scales, dtype=dtype)
    large = torch.full_like(q, 40.0), torch.full_like(k, 40.0), torch.full_like(w, 2.0**-13)
    assert (sparse.index_scores(*large) == 64 * 40 * 40 * 128 / 2**13).all(), "204,800 before the weight"

    rounded_once(sparse.page_bound, q[0], k[:, :64].expand(64, -1, -1), k[:, :64].abs().expand(64, -1, -1), dtype=dtype)
    rounded_once(sparse.hadamard, k, dtype=dtype)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.seconds
def test_targets_and_losses_round_once(dtype):
    q, k = normal(1, 64, 2, 16, dtype=dtype), normal(1, 1, 5_000, 16, dtype=dtype)
    rounded_once(sparse.causal_probabilities, q, k, dtype=dtype)
    chosen = torch.arange(4_000).expand(1, 2, -1)
    rounded_once(lambda q, k: sparse.chosen_probabilities(q, k, chosen), q, k, dtype=dtype)
    shares = (positive(1, 64, 2, 5_000, dtype=torch.float32) / 5_000).to(dtype)
    rounded_once(sparse.index_target, shares, dtype=dtype)
    scores, target = normal(1, 2, 5_000, dtype=dtype), sparse.index_target(shares)
    rounded_once(sparse.divergence, scores, target, dtype=dtype)
    rounded_once(sparse.dense_loss, scores, shares, dtype=dtype)
    rounded_once(lambda s, p: sparse.sparse_loss(s, p, chosen), scores, shares[..., :4_000].contiguous(), dtype=dtype)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("selector", ["oracle", "H2O", "Quest", "MoBA", "NSA"])
@pytest.mark.seconds
def test_selectors_choose_by_scores_that_were_not_rounded(dtype, selector):
    q, k = normal(1, 2, 100, 16, dtype=dtype), normal(1, 1, 100, 16, dtype=dtype)
    choose = sparse.SELECTORS[selector]
    assert torch.equal(choose(q, k, 8), choose(q.float(), k.float(), 8))


# The memory, gradients, and the decorator itself -----------------------------------------------------------------


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.filterwarnings("ignore:.*the memory is torch")
def test_the_memory_is_read_in_float32(dtype):
    q, k, v = (normal(n, 64, dtype=dtype) for n in (3, 500, 501))
    memory, z = k.abs()[:64] * 100, torch.full((64,), 2_000.0, dtype=dtype)  # σ(q) · z is 128,000 and more
    rounded_once(infini.retrieve, q, memory, z, dtype=dtype)
    rounded_once(infini.retrieve_unit, q, memory, z, dtype=dtype)
    rounded_once(lambda k, v: infini.dual_form(k, k, v, 100), k, v[:500], dtype=dtype)
    rounded_once(lambda q, k: infini.needle_share(q[0], q[1], k, 1_000), q, k, dtype=dtype)
    rounded_once(lambda x: influence(lambda x: x * x, x, 1), 100 * q, dtype=dtype)


@pytest.mark.parametrize("dtype", HALF)
def test_gradients_of_a_tile_are_float32(dtype):
    q, k, v, grad_out = (normal(n, 8, dtype=dtype, seed=n) for n in (4, 300, 301, 4))
    v = v[:300]
    lse = quadratic.log_sum_exp(attention_scores(q.float(), k.float()))
    delta = (attention(q.float(), k.float(), v.float()) * grad_out).sum(dim=-1)
    leaves = [each.double().requires_grad_() for each in (q, k, v)]
    attention(*leaves).backward(grad_out.double())
    for got, leaf in zip(backward_tile(q, k, v, grad_out, lse, delta), leaves, strict=True):
        assert got.dtype == torch.float32
        assert torch.allclose(got.double(), leaf.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.seconds
def test_gradients_reach_half_precision(dtype):
    """What every block adds to the gradient of a key or a query is added up before it is rounded."""
    exact = [each.double().requires_grad_() for each in row(dtype, 2_000, 1.0, queries=40)]
    for attend in (
        attention,
        lambda q, k, v: blocked_attention(q, k, v, block=1),
        lambda q, k, v: split_attention(q, k, v, 132),
        lambda q, k, v: sparse.sparse_attention(q, k, v, torch.ones_like(q), k[:, 0], q[:, 0, :, :1], 2_000, block=1),
    ):
        leaves = [each.detach().to(dtype).requires_grad_() for each in exact]
        attend(*leaves).float().square().sum().backward()
        expected = torch.autograd.grad(attend(*exact).square().sum(), exact)
        for leaf, wanted in zip(leaves, expected, strict=True):
            assert leaf.grad.dtype == dtype
            assert error(leaf.grad, wanted) <= unit(wanted, dtype)


def test_what_is_not_half_precision_is_called_as_it_is():
    called = []

    @in_float32
    def noted(x, *, mask=None):
        called.append((x, mask))
        return x

    for dtype in (torch.float32, torch.float64, torch.int64):
        x = torch.ones(2, dtype=dtype)
        assert noted(x) is x and called[-1][0] is x
    mask = torch.ones(2, dtype=torch.bool)
    x = torch.ones(2, dtype=torch.bfloat16)
    assert noted(x, mask=mask).dtype == torch.bfloat16
    assert called[-1][0].dtype == torch.float32 and called[-1][1] is mask


def test_merge_joins_what_is_half_and_what_is_not():
    out, lse = torch.zeros(3, 4, dtype=torch.bfloat16), torch.zeros(3)
    for parts in ((out, lse, out, lse), (out, lse.bfloat16(), out, lse.bfloat16()), (out.float(), lse, out, lse)):
        assert [each.dtype for each in merge(*parts)] == [torch.float32] * 2
    with pytest.raises(ValueError, match=r"lse_b has dtype torch\.int64; give a floating dtype"):
        merge(out, lse, out, lse.long())
    with pytest.raises(ValueError, match=r"k has dtype torch\.float32, but q has torch\.bfloat16"):
        backward_tile(out, *3 * [out.float()], lse, lse)
