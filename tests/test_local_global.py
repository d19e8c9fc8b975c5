"""Properties of window attention that must hold for every shape, and the closed forms against counting."""

import math
import random
import re

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from solutions.local_global import (
    GEMMA_3_12B,
    GPT_OSS_120B,
    MISTRAL_7B,
    MODERNBERT_BASE,
    MODERNBERT_LARGE,
    STACKS,
    WindowCache,
    cached_window_attention,
    grouped_attention,
    influence,
    keys_in_reach,
    layer_pattern,
    masked_window_attention,
    pattern_kv_bytes,
    pattern_pairs,
    receptive_field,
    saving,
    saving_ceiling,
    sliding_window_attention,
    window_mask,
    window_pairs,
)
from solutions.quadratic import attention, growth_exponent
from solutions.tiny import Config, TinyTransformer
from widgets.ledger.measure import record

WITHIN = 1e-10  # float64


def qkv(n, *, batch=(), heads=4, kv_heads=None, d=8, d_value=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=dtype)  # noqa: E731
    kv_heads = kv_heads or heads
    return draw(*batch, heads, n, d), draw(*batch, kv_heads, n, d), draw(*batch, kv_heads, n, d_value)


def random_pattern(seed):
    """A shape and a pattern that fit each other: n, batch, heads, kv_heads, and the arguments of the attention."""
    dice = random.Random(seed)
    n, causal = dice.choice([1, 2, 7, 63, 64, 65, 130, 200]), dice.random() < 0.5
    kv_heads, group = dice.choice([1, 2, 3]), dice.choice([1, 2])
    pattern = {"causal": causal, "sinks": dice.choice([0, 0, 1, min(4, n), n])}
    if dice.random() < 0.5:
        pattern["global_tokens"] = [0] if causal else dice.sample(range(n), k=min(3, n))
    window = dice.randint(1, n if causal else 2 * n - 1)
    return n, dice.choice([(), (2,), (2, 1)]), kv_heads * group, kv_heads, {"window": window, **pattern}


def assert_close(got, expected):
    assert got.shape == expected.shape
    assert (got - expected).abs().max().item() <= WITHIN


# The band ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.seconds
def test_banded_is_dense_masked(seed):
    n, batch, heads, kv_heads, pattern = random_pattern(seed)
    q, k, v = qkv(n, batch=batch, heads=heads, kv_heads=kv_heads, seed=seed)
    expected = masked_window_attention(q, k, v, **pattern)
    assert_close(sliding_window_attention(q, k, v, **pattern), expected)
    assert_close(sliding_window_attention(q, k, v, **pattern, block=5), expected)


@pytest.mark.parametrize("n", [1, 2, 7, 64, 129])
def test_a_window_that_sees_everything_is_full_attention(n):
    q, k, v = qkv(n, batch=(2,))
    assert_close(sliding_window_attention(q, k, v, n), attention(q, k, v, causal=True))
    assert_close(sliding_window_attention(q, k, v, 2 * n - 1, causal=False), attention(q, k, v))
    place = torch.arange(n)
    assert n == 1 or not window_mask(place, place, max(2 * n - 3, 1), causal=False).all()  # wider than n is not enough


def test_sinks_or_globals_for_all_are_full_attention():
    q, k, v = qkv(70)
    assert_close(sliding_window_attention(q, k, v, 1, sinks=70), attention(q, k, v, causal=True))
    everyone = list(range(70))
    assert_close(sliding_window_attention(q, k, v, 1, causal=False, global_tokens=everyone), attention(q, k, v))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window, sinks", [(20, 0), (10**9, 0), (2, 10), (3, 10**9), (10**9, 10**9), (9, 9), (10, 1)])
def test_a_window_wider_than_the_text_and_sinks_beyond_it_mean_all(window, sinks, causal):
    """Every mechanism of the lesson, against a loop over pairs that knows no edge."""
    n = 9
    q, k, v = qkv(n)
    position = torch.arange(n)
    near = [
        [(abs(i - j) <= window // 2 or j < sinks) if not causal else j <= i and (i - j < window or j < sinks)
         for j in range(n)] for i in range(n)
    ]  # fmt: skip
    near = torch.tensor(near)
    pattern = dict(window=window, sinks=sinks, causal=causal)
    assert torch.equal(window_mask(position, position, **pattern), near)
    whole = attention(q, k, v, mask=near)
    assert_close(masked_window_attention(q, k, v, **pattern), whole)
    for block in (1, 4, 9, 64):
        assert_close(sliding_window_attention(q, k, v, **pattern, block=block), whole)
    for start, stop in ((0, 1), (0, n), (3, 7), (n - 1, n)):
        reach = keys_in_reach(start, stop, n, **pattern)
        assert torch.equal(reach, near[start:stop].any(0).nonzero().flatten())
    if not sinks:
        assert window_pairs(n, window, causal=causal) == near.sum()
    if causal:
        cache = WindowCache(window, sinks)
        chunks = zip(*(each.split(4, dim=-2) for each in (q, k, v)), strict=True)
        assert_close(torch.cat([cached_window_attention(*chunk, cache) for chunk in chunks], -2), whole)


def test_window_of_one_is_the_value_itself():
    q, k, v = qkv(9, heads=1)
    assert_close(sliding_window_attention(q, k, v, 1), v)
    assert_close(sliding_window_attention(q, k, v, 1, causal=False), v)


def test_no_leading_dimensions_and_other_layouts():
    q, k, v = qkv(30, heads=1)
    expected = sliding_window_attention(q, k, v, 4)
    assert_close(sliding_window_attention(q[0], k[0], v[0], 4), expected[0])
    turned = [each.transpose(-1, -2).contiguous().transpose(-1, -2) for each in (q, k, v)]
    assert_close(sliding_window_attention(*turned, 4), expected)


def test_grouped_heads_read_their_own_group():
    """Head h reads key head h // group: the first two of four heads share the first of two."""
    q, k, v = qkv(20, heads=4, kv_heads=2)
    out = sliding_window_attention(q, k, v, 6)
    for head in range(4):
        alone = sliding_window_attention(q[head], k[head // 2], v[head // 2], 6)
        assert_close(out[head], alone)
    assert_close(grouped_attention(q, k, v), torch.cat([grouped_attention(q[:2], k[:1], v[:1]),
                                                        grouped_attention(q[2:], k[1:], v[1:])]))  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_other_dtypes_follow_float64(dtype):
    q, k, v = (each.to(dtype) for each in qkv(90))
    out = sliding_window_attention(q, k, v, 16, sinks=2)
    exact = sliding_window_attention(q.double(), k.double(), v.double(), 16, sinks=2)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), exact, rtol=0, atol={torch.float32: 1e-5}.get(dtype, 3e-2))


def test_gradients_are_those_of_the_masked_form():
    inputs = [each.requires_grad_() for each in qkv(70)]
    pattern = dict(window=9, causal=False, sinks=1, global_tokens=[33])
    weight = torch.randn(4, 70, 5, dtype=torch.float64)
    banded = torch.autograd.grad((sliding_window_attention(*inputs, **pattern) * weight).sum(), inputs)
    masked = torch.autograd.grad((masked_window_attention(*inputs, **pattern) * weight).sum(), inputs)
    for got, expected in zip(banded, masked, strict=True):
        assert_close(got, expected)


@pytest.mark.parametrize(
    "pattern",
    [
        dict(window=4),
        dict(window=1),
        dict(window=12),
        dict(window=3, sinks=2),
        dict(window=5, causal=False),
        dict(window=2, causal=False, sinks=1, global_tokens=[7]),
    ],
    ids=str,
)
def test_jacobian_is_nonzero_exactly_where_the_mask_says(pattern):
    """Causality, the window's two edges, sinks and global tokens, each by what really moves what."""
    n = 12
    q, k, v = qkv(n, heads=1)
    moved = torch.autograd.functional.jacobian(lambda v: sliding_window_attention(q, k, v, **pattern, block=5), v)
    moved = moved[0].abs().sum(dim=(1, 2, 4))  # (n, n): output i, value j
    position = torch.arange(n)
    assert torch.equal(moved > 0, window_mask(position, position, **pattern))
    if pattern.get("causal", True):
        assert (moved.triu(1) == 0).all()


# The mask ----------------------------------------------------------------------------------------------------------


def test_mask_by_hand():
    position = torch.arange(5)
    assert window_mask(position, position, 2).int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 1, 1],
    ]
    assert window_mask(position, position, 2, sinks=1, causal=False).int().tolist() == [
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 0, 1, 1, 1],
        [1, 0, 0, 1, 1],
    ]
    assert window_mask(position, position, 1, causal=False, global_tokens=[1]).int().tolist() == [
        [1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1],
        [0, 1, 1, 0, 0],
        [0, 1, 0, 1, 0],
        [0, 1, 0, 0, 1],
    ]


def test_mask_knows_positions_not_places():
    """Keys may come from anywhere, in any order, and queries too: what a cache needs."""
    whole = window_mask(torch.arange(40), torch.arange(40), 6, sinks=3)
    queries, keys = torch.tensor([30, 7, 39]), torch.tensor([0, 2, 25, 36, 5, 30])
    assert torch.equal(window_mask(queries, keys, 6, sinks=3), whole[queries][:, keys])


@pytest.mark.parametrize("window", [1, 2, 16, 63, 64])
def test_rows_see_as_many_keys_as_the_window_says(window):
    n, position = 200, torch.arange(200)
    causal = window_mask(position, position, window).sum(dim=1)
    assert torch.equal(causal, (position + 1).clamp(max=window))
    inside = window_mask(position, position, window, causal=False).sum(dim=1)[n // 2]
    assert inside == 2 * (window // 2) + 1  # a two-sided window is always odd


def test_keys_in_reach_are_the_columns_of_the_mask():
    for seed in range(200):
        n, _, _, _, pattern = random_pattern(seed)
        dice = random.Random(seed)
        start = dice.randrange(n)
        stop = dice.randint(start + 1, n)
        position = torch.arange(n)
        seen = window_mask(position[start:stop], position, **pattern).any(dim=0)
        reach = keys_in_reach(start, stop, n, **pattern)
        assert torch.equal(reach, position[seen])


# The cache ---------------------------------------------------------------------------------------------------------


def in_chunks(q, k, v, window, sinks, lengths):
    cache, out = WindowCache(window, sinks), []
    for parts in zip(*(each.split(lengths, dim=-2) for each in (q, k, v)), strict=True):
        out.append(cached_window_attention(*parts, cache))
        assert len(cache) == min(cache.tokens, sinks + max(min(cache.tokens - sinks, window - 1), 0))
    return torch.cat(out, dim=-2), cache


@pytest.mark.parametrize("window, sinks", [(1, 0), (2, 0), (16, 0), (16, 4), (3, 5), (1, 1)])
@pytest.mark.seconds
def test_cached_is_whole_for_every_chunk_length(window, sinks):
    n = 3 * 16 + 5
    q, k, v = qkv(n, heads=4, kv_heads=2)
    whole = sliding_window_attention(q, k, v, window, sinks=sinks)
    for chunk in range(1, n + 1):
        out, cache = in_chunks(q, k, v, window, sinks, chunk)
        assert_close(out, whole)
        assert cache.tokens == n


@pytest.mark.parametrize("seed", range(20))
def test_cached_is_whole_for_random_compositions(seed):
    dice, n = random.Random(seed), 70
    lengths = []
    while sum(lengths) < n:
        lengths.append(min(dice.choice([1, 1, 2, 7, 8, 9, 30]), n - sum(lengths)))
    q, k, v = qkv(n, seed=seed)
    out, _ = in_chunks(q, k, v, 8, 2, lengths)
    assert_close(out, sliding_window_attention(q, k, v, 8, sinks=2))


def test_cache_bytes_are_those_of_what_it_holds():
    q, k, v = qkv(50, heads=4, kv_heads=2, d=8, d_value=8, dtype=torch.float32)
    _, cache = in_chunks(q, k, v, 16, 4, 7)
    assert len(cache) == 15 + 4
    assert repr(cache) == "WindowCache: 19 of 50 tokens, 2,432 bytes"
    assert cache.nbytes == 2 * (15 + 4) * 2 * 8 * 4  # keys and values of the two key heads, float32
    assert cache.position.tolist() == [0, 1, 2, 3, *range(35, 50)]
    one_token_more = pattern_kv_bytes(["window"], 50, 16, kv_heads=2, head_dim=8, element_bytes=4)
    assert one_token_more == 2 * 16 * 2 * 8 * 4


def test_cut_before_attending_is_seen():
    """The guard can fail: a cache cut to window - 1 before the chunk attends is right for single tokens only."""

    def cut_first(q, k, v, cache):
        cache.append(k, v)
        cache.keep(cache.position > cache.position[-1] - cache.window)
        mask = window_mask(torch.arange(cache.tokens - q.shape[-2], cache.tokens), cache.position, cache.window)
        return attention(q, cache.k, cache.v, mask=mask)

    q, k, v = qkv(64, heads=1)
    whole = sliding_window_attention(q, k, v, 16)
    for chunk, rows in ((1, 0), (8, 42), (32, 62), (64, 63)):
        cache = WindowCache(16)
        parts = zip(*(each.split(chunk, dim=-2) for each in (q, k, v)), strict=True)
        out = torch.cat([cut_first(*part, cache) for part in parts], dim=-2)
        wrong = ((out - whole).abs().amax(dim=(0, 2)) > 1e-9).sum().item()
        assert wrong == rows


# What it costs -----------------------------------------------------------------------------------------------------


class Largest(TorchDispatchMode):
    """The largest tensor that passes, in entries."""

    entries = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.entries = max(self.entries, *sizes, 0)
        return result


def test_no_matrix_of_n_by_n_is_made():
    n, window, d = 2048, 32, 8
    q, k, v = qkv(n, heads=1, d=d, d_value=d)
    with Largest() as largest:
        sliding_window_attention(q, k, v, window, sinks=4)
    assert largest.entries <= max(n * d, 64 * (64 + window + 4))
    with Largest() as largest:
        sliding_window_attention(q, k, v, window, causal=False, global_tokens=[5, 900])
    assert largest.entries <= 64 * n
    with Largest() as largest:
        masked_window_attention(q, k, v, window)
    assert largest.entries == n * n


def test_multiplications_are_those_of_the_band():
    """Counted, not timed: each block of 64 queries meets 64 + window - 1 keys, but for the first ones."""
    n, window, d = 1024, 33, 8
    q, k, v = qkv(n, heads=1, d=d, d_value=d)
    with FlopCounterMode(display=False) as counter:
        sliding_window_attention(q, k, v, window)
    met = 64 * 64 + (n // 64 - 1) * 64 * (64 + window - 1)
    assert counter.get_total_flops() == 2 * 2 * met * d


@pytest.mark.seconds
def test_peak_memory_grows_linearly_and_masked_quadratically():
    lengths = [512, 1024, 2048]
    peaks = {"banded": [], "masked": []}
    for n in lengths:
        q, k, v = qkv(n, heads=1, d=16, d_value=16, dtype=torch.float32)
        peaks["banded"].append(record(sliding_window_attention, q, k, v, 64).peak_bytes)
        peaks["masked"].append(record(masked_window_attention, q, k, v, 64).peak_bytes)
    assert growth_exponent(lengths, peaks["masked"]) == pytest.approx(2, abs=0.05)
    assert growth_exponent(lengths, peaks["banded"]) < 1.1


# What a stack reaches ----------------------------------------------------------------------------------------------


def stack(layers, window, causal=True, seed=0):
    options = {"window": {"window": window}} if "window" in layers else {}
    model = TinyTransformer(Config(3, layers, width=16, heads=2, causal=causal, options=options, seed=seed)).double()
    return lambda x: model.transform(x[None])[0]


@pytest.mark.parametrize("layers, window", [(1, 4), (2, 4), (4, 3), (3, 1)])
def test_influence_reaches_exactly_to_the_bound(layers, window):
    n = 40
    x = torch.randn(n, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    moved = influence(stack(("window",) * layers, window), x, n - 1)
    reach = receptive_field(layers, window)
    assert (moved[: n - reach] == 0).all()
    assert (moved[n - reach :] > 0).all()


def test_influence_of_two_sided_layers_reaches_to_both_sides():
    n, row = 41, 20
    x = torch.randn(n, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    moved = influence(stack(("window",) * 3, 5, causal=False), x, row)
    assert receptive_field(3, 5, causal=False) == 13
    assert torch.equal(moved > 0, (torch.arange(n) - row).abs() <= 6)


@pytest.mark.parametrize("place", range(3))
def test_one_full_layer_anywhere_lifts_the_bound(place):
    layers = ["window"] * 3
    layers[place] = "full"
    x = torch.randn(30, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    moved = influence(stack(tuple(layers), 3), x, 29)
    assert (moved > 0).all()
    assert (influence(stack(tuple(layers), 3), x, 10)[11:] == 0).all()


def test_receptive_field_of_a_published_model():
    assert receptive_field(MISTRAL_7B.layers, MISTRAL_7B.window) == 131_041


# What a pattern saves ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 9, 64])
@pytest.mark.parametrize("window", [1, 2, 3, 8, 64, 200])
@pytest.mark.parametrize("causal", [True, False])
def test_window_pairs_are_those_of_the_mask(n, window, causal):
    position = torch.arange(n)
    assert window_pairs(n, window, causal=causal) == window_mask(position, position, window, causal=causal).sum()


def test_pairs_of_the_fact_sheet():
    assert window_pairs(512, 64) == 30_752
    assert window_pairs(512, 128, causal=False) == 61_888


def test_layer_pattern_of_modernbert():
    """Every third layer is global, and the first and the last are."""
    for model in (MODERNBERT_BASE, MODERNBERT_LARGE):
        full = [layer for layer, kind in enumerate(model.layer_types) if kind == "full"]
        assert full == list(range(0, model.layers, 3)) and full[-1] == model.layers - 1
        assert {base for layer, base in enumerate(model.rope_bases) if layer in full} == {160_000.0}
        assert {base for layer, base in enumerate(model.rope_bases) if layer not in full} == {10_000.0}
        position = torch.arange(1000)
        assert window_mask(position, position, model.window, causal=model.causal)[500].sum() == 64 + 1 + 64


def test_layer_patterns_of_other_models():
    assert layer_pattern("LLLLLG", 8) == ("window",) * 5 + ("full",) + ("window",) * 2
    assert [model.layer_types.count("full") for model in STACKS] == [8, 10, 8, 18, 0]
    assert GPT_OSS_120B.layer_types[:2] == ("window", "full")
    assert set(MISTRAL_7B.rope_bases) == {10_000.0}


@pytest.mark.parametrize(
    "model, n, factor",
    [
        (MODERNBERT_BASE, 512, 1.95),
        (MODERNBERT_BASE, 1024, 2.27),
        (MODERNBERT_BASE, 8192, 2.68),
        (MODERNBERT_LARGE, 512, 1.96),
        (MODERNBERT_LARGE, 8192, 2.72),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_saving_of_modernbert(model, n, factor):
    assert round(saving(model.layer_types, n, model.window, causal=False), 2) == factor


def test_saving_hardly_knows_the_window_but_never_passes_the_ceiling():
    layers = MODERNBERT_BASE.layer_types
    factors = [saving(layers, 8192, window, causal=False) for window in (32, 64, 128, 256, 512, 1024)]
    assert [round(factor, 2) for factor in factors] == [2.73, 2.71, 2.68, 2.61, 2.48, 2.27]
    assert saving_ceiling(layers) == 2.75
    assert saving(layers, 10**7, 1, causal=False) < 2.75
    assert saving(layers, 10**7, 128, causal=False) == pytest.approx(2.75, abs=1e-3)
    assert saving_ceiling(["window"] * 3) == math.inf and saving_ceiling(["full"]) == 1


def test_pattern_pairs_of_a_mixed_stack():
    assert pattern_pairs(["full", "window", "window"], 10, 3) == 55 + 27 + 27
    assert pattern_pairs(["full", "window"], 10, 3, causal=False) == 100 + 28


@pytest.mark.parametrize(
    "model, n, gigabytes, full_gigabytes",
    [(GEMMA_3_12B, 131_072, 8.93, 51.5), (GPT_OSS_120B, 131_072, 4.84, 9.66), (MISTRAL_7B, 32_768, 0.54, 4.29)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_kv_bytes_of_published_models(model, n, gigabytes, full_gigabytes):
    shape = (n, model.window, model.kv_heads, model.head_dim)
    assert round(pattern_kv_bytes(model.layer_types, *shape) / 1e9, 2) == gigabytes
    assert pattern_kv_bytes(["full"] * model.layers, *shape) / 1e9 == pytest.approx(full_gigabytes, abs=0.05)


# Bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern, words",
    [
        (dict(window=0), "window is 0; give a whole number of 1 or more"),
        (dict(window=-3), "window is -3"),
        (dict(window=2.5), "window is 2.5"),
        (dict(window=None), "window is None"),
        (dict(window=3, sinks=-1), "sinks is -1; give a whole number, 0 for none"),
        (dict(window=3, sinks=0.5), "sinks is 0.5"),
        (dict(window=3, causal=False, global_tokens=[9]), "global token 9 lies outside the 9 tokens"),
        (dict(window=3, causal=False, global_tokens=[-1]), "global_tokens is [-1]; give a list of positions from 0 on"),
        (dict(window=3, causal=False, global_tokens=3), "global_tokens is 3; give a list of positions"),
        (dict(window=3, causal=False, global_tokens=[1.5]), "global_tokens is [1.5]; give a list"),
        (dict(window=3, causal=False, global_tokens=torch.tensor([1])), "global_tokens is tensor([1]); give a list"),
        (dict(window=3, global_tokens=[4]), "global token 4 lies in the future of query 0"),
        (dict(window=3, block=0), "block is 0"),
    ],
    ids=str,
)
def test_patterns_that_cannot_be(pattern, words):
    q, k, v = qkv(9)
    with pytest.raises(ValueError, match="sliding_window_attention: .*" + re.escape(words)):
        sliding_window_attention(q, k, v, **pattern)
    if "block" not in pattern:
        with pytest.raises(ValueError, match="masked_window_attention: "):
            masked_window_attention(q, k, v, **pattern)


@pytest.mark.parametrize(
    "shapes, words",
    [
        (((4, 9, 8), (4, 7, 8), (4, 7, 8)), "n = 9, but k has 7"),
        (((4, 9, 8), (3, 9, 8), (3, 9, 8)), "q has 4 heads, k has 3; give k and v a number of heads that divides"),
        (((2, 9, 8), (4, 9, 8), (4, 9, 8)), "q has 2 heads, k has 4"),
        (((4, 9, 8), (4, 9, 6), (4, 9, 6)), "d = 8, but k has 6"),
        (((4, 9, 8), (4, 9, 8), (2, 9, 8)), "leading dimensions"),
        (((2, 4, 9, 8), (3, 4, 9, 8), (3, 4, 9, 8)), "leading dimensions"),
        (((4, 0, 8), (4, 0, 8), (4, 0, 8)), "n is 0"),
        (((4, 9, 8), (0, 9, 8), (0, 9, 8)), "q has 4 heads, k has 0"),
        (((8,), (4, 9, 8), (4, 9, 8)), "q has shape"),
    ],
    ids=str,
)
def test_tensors_that_do_not_fit(shapes, words):
    with pytest.raises(ValueError, match=words):
        sliding_window_attention(*(torch.randn(shape) for shape in shapes), 3)


def test_numbers_that_are_none():
    q, k, v = qkv(9)
    k[1, 4, 2] = math.nan
    with pytest.raises(ValueError, match=r"k holds nan at \[1, 4, 2\]"):
        sliding_window_attention(q, k, v, 3)
    q, k, v = qkv(9)
    q[0, 8, 0] = math.inf
    with pytest.raises(ValueError, match=r"q holds inf at \[0, 8, 0\]"):
        sliding_window_attention(q, k, v, 3)
    with pytest.raises(ValueError, match=r"q has dtype torch\.float32, but k has torch\.float64"):
        sliding_window_attention(q.float(), k, v, 3)
    with pytest.raises(ValueError, match="q is of type list"):
        sliding_window_attention([1.0], k, v, 3)


def test_a_bad_chunk_leaves_the_cache_as_it_was():
    q, k, v = qkv(12)
    cache = WindowCache(4)
    cached_window_attention(q[:, :6], k[:, :6], v[:, :6], cache)
    bad = k[:, 6:].clone()
    bad[0, 0, 0] = math.nan
    for args in (
        (q[:, 6:], bad, v[:, 6:]),
        (q[:, 6:, :4], k[:, 6:], v[:, 6:]),
        (q[:, 6:], k[:2, 6:], v[:2, 6:]),
        (q[:, 6:9], k[:, 6:], v[:, 6:]),
    ):
        with pytest.raises(ValueError, match="cached_window_attention: "):
            cached_window_attention(*args, cache)
    out = cached_window_attention(q[:, 6:], k[:, 6:], v[:, 6:], cache)
    assert_close(out, sliding_window_attention(q, k, v, 4)[:, 6:])


def test_caches_that_cannot_be():
    q, k, v = qkv(3)
    with pytest.raises(ValueError, match="window is 0"):
        WindowCache(0)
    with pytest.raises(ValueError, match="sinks is -1"):
        WindowCache(3, sinks=-1)
    with pytest.raises(ValueError, match="cache is of type dict"):
        cached_window_attention(q, k, v, {})


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: layer_pattern("GXL", 3), "unit is 'GXL'; give letters G"),
        (lambda: layer_pattern("", 3), "unit is ''"),
        (lambda: layer_pattern("GLL", 0), "layers is 0"),
        (lambda: window_pairs(0, 3), "n is 0"),
        (lambda: window_pairs(9, -1), "window is -1"),
        (lambda: pattern_pairs([], 9, 3), "layer_types is empty"),
        (lambda: pattern_pairs(["full", "local"], 9, 3), "layer 1 is 'local'"),
        (lambda: pattern_kv_bytes(["full"], 9, 3, 0, 8), "kv_heads is 0"),
        (lambda: receptive_field(3, 0), "window is 0"),
        (lambda: keys_in_reach(5, 5, 9, 3), "start is 5, stop is 5"),
        (lambda: keys_in_reach(0, 10, 9, 3), "stop is 10"),
        (lambda: influence(lambda x: x, torch.randn(4, 2), 4), "row is 4"),
        (lambda: window_mask(torch.arange(3), torch.arange(3), 0), "window is 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_counts_that_cannot_be(call, words):
    with pytest.raises(ValueError, match=words):
        call()
