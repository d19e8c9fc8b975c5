"""Properties of attention that must hold whatever the numbers are, and the exactness of what it is said to cost."""

import math
import weakref

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from solutions import quadratic
from solutions.quadratic import (
    KVCache,
    attention,
    attention_multiplications,
    attention_scores,
    blocked_attention,
    cached_attention,
    causal_mask,
    grouped_attention,
    growth_exponent,
    kv_cache_bytes,
    log_sum_exp,
    multi_head_attention,
    naive_peak_bytes,
    projection_multiplications,
    score_bytes,
    softmax,
    split_heads,
    turn_pair,
    uniform_attention,
)

INF = math.inf
WITHIN = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 3e-2}
RAGGED = (1, 2, 7, 64, 250)


def normal(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def qkv(*leading, queries=7, keys=7, d=16, d_value=16, dtype=torch.float64):
    return (
        normal(*leading, queries, d, dtype=dtype, seed=1),
        normal(*leading, keys, d, dtype=dtype, seed=2),
        normal(*leading, keys, d_value, dtype=dtype, seed=3),
    )


def assert_close(got, expected, dtype=torch.float64):
    torch.testing.assert_close(got.double(), expected.double(), rtol=WITHIN[dtype], atol=WITHIN[dtype])


def upper_left(q, k, v, cache):
    """The mistake that PyTorch's is_causal=True invites: the new queries taken for the first tokens."""
    all_k, all_v = cache.append(k, v)
    return attention(q, all_k, all_v, mask=torch.ones(q.shape[-2], all_k.shape[-2]).tril().bool())


# softmax ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", WITHIN)
@pytest.mark.parametrize("shape", [(1,), (5,), (3, 8), (2, 3, 4, 9)])
@pytest.mark.parametrize("size", [1, 100, 1e4])
def test_softmax_is_that_of_float64(dtype, shape, size):
    scores = (size * normal(*shape)).clamp(-6e4, 6e4).to(dtype)
    weights = softmax(scores)
    assert weights.dtype == dtype and (weights >= 0).all()
    assert_close(weights, torch.softmax(scores.double(), dim=-1), dtype)
    assert_close(weights.double().sum(-1), torch.ones(shape[:-1], dtype=torch.float64), dtype)


@pytest.mark.parametrize("dtype", WITHIN)
def test_softmax_of_an_empty_row_is_zero_and_its_gradient_too(dtype):
    scores = torch.tensor([[1.0, -INF, 2.0], [-INF, -INF, -INF]], dtype=dtype, requires_grad=True)
    weights = softmax(scores)
    assert weights[1].tolist() == [0, 0, 0]
    (weights * torch.tensor([1.0, 2.0, 3.0], dtype=dtype)).sum().backward()
    assert scores.grad.isfinite().all() and scores.grad[1].tolist() == [0, 0, 0] and scores.grad[0, 0] != 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_long_sum_in_half_precision_does_not_stop_growing(dtype):
    """Added up one by one in bfloat16, 4,096 ones stop at 256."""
    assert (softmax(torch.zeros(2, 4096, dtype=dtype)) == 1 / 4096).all()


def test_softmax_does_not_feel_a_shift():
    scores = normal(4, 9)
    assert_close(softmax(scores + 1000), softmax(scores))


@pytest.mark.parametrize("value, at", [(math.nan, [0, 2]), (INF, [0, 2])])
def test_softmax_refuses_what_it_cannot_weigh(value, at):
    scores = torch.zeros(2, 3)
    scores[0, 2] = value
    with pytest.raises(ValueError, match=rf"softmax: scores holds {value} at \[0, 2\]"):
        softmax(scores)


def test_log_sum_exp_gives_back_every_weight():
    scores = 50 * normal(3, 6)
    assert_close(torch.exp(scores - log_sum_exp(scores)[..., None]), softmax(scores))
    assert_close(log_sum_exp(scores), torch.logsumexp(scores, dim=-1))
    assert log_sum_exp(torch.tensor([-INF, -INF])).item() == -INF


# attention -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("n", RAGGED)
@pytest.mark.parametrize("dtype", WITHIN)
def test_attention_is_torchs(n, causal, dtype):
    q, k, v = qkv(2, 3, queries=n, keys=n, d_value=5, dtype=dtype)
    theirs = scaled_dot_product_attention(q.double(), k.double(), v.double(), is_causal=causal)
    ours = attention(q, k, v, causal=causal)
    assert ours.dtype == dtype
    assert_close(ours, theirs, dtype)


def test_without_a_scale_it_is_not_torchs():
    """The same comparison sees a missing scale, since the inputs have variance 1."""
    q, k, v = qkv(2, 3, queries=64, keys=64)
    for scale in (1.0, 1 / 16):
        assert (attention(q, k, v, scale=scale) - scaled_dot_product_attention(q, k, v)).abs().max() > 0.1


@pytest.mark.parametrize("queries, keys", [(1, 6), (2, 6), (6, 6), (5, 64)])
def test_causal_mask_is_aligned_to_the_last_key(queries, keys):
    mask = causal_mask(queries, keys)
    assert mask.shape == (queries, keys) and mask.dtype == torch.bool
    for i in range(queries):
        assert mask[i].tolist() == [j <= keys - queries + i for j in range(keys)]
    q, k, v = qkv(3, queries=queries, keys=keys)
    assert_close(attention(q, k, v, causal=True), scaled_dot_product_attention(q, k, v, attn_mask=mask))


def depends(function, x):
    """True where output i depends on input j, (n, n)."""
    jacobian = torch.autograd.functional.jacobian(function, x)
    return (jacobian != 0).any(dim=-1).any(dim=1)


def test_no_output_depends_on_a_later_input():
    x = normal(9, 4)
    assert torch.equal(depends(lambda x: attention(x, x, x, causal=True), x), torch.ones(9, 9).tril().bool())
    assert torch.equal(
        depends(lambda x: blocked_attention(x, x, x, causal=True, block=4), x), torch.ones(9, 9).tril().bool()
    )


def test_the_jacobian_sees_a_leak_through_the_normaliser():
    visible = torch.ones(9, 9).tril().bool()
    assert depends(lambda x: torch.softmax(x @ x.T, -1) * visible @ x, normal(9, 4)).all()


def test_first_causal_row_is_the_first_value():
    q, k, v = qkv(2, 3)
    assert torch.equal(attention(q, k, v, causal=True)[..., 0, :], v[..., 0, :])


def test_order_of_keys_does_not_matter():
    q, k, v = qkv(2, queries=5, keys=11)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    assert_close(attention(q, k[:, order], v[:, order]), attention(q, k, v))


@pytest.mark.parametrize("dtype", WITHIN)
def test_a_query_that_sees_nothing_gets_zeros(dtype):
    q, k, v = qkv(2, queries=3, keys=4, dtype=dtype)
    mask = torch.tensor([[True], [False], [True]])
    out = attention(q, k, v, mask=mask)
    assert (out[:, 1] == 0).all() and out.isfinite().all() and (out[:, [0, 2]] != 0).any()


def test_mask_and_causal_hide_together():
    q, k, v = qkv(2, queries=6, keys=6)
    mask = normal(6, 6) > 0
    mask[:, 0] = True
    both = mask & torch.ones(6, 6).tril().bool()
    assert_close(attention(q, k, v, causal=True, mask=mask), scaled_dot_product_attention(q, k, v, attn_mask=both))


def test_mask_spreads_over_heads_and_queries():
    q, k, v = qkv(2, 3, queries=4, keys=5)
    for shape in ((5,), (4, 5), (2, 1, 1, 5), (2, 3, 4, 5)):
        mask = normal(*shape) > -0.5
        mask[..., 0] = True
        expected = scaled_dot_product_attention(q, k, v, attn_mask=mask.expand(2, 3, 4, 5))
        assert_close(attention(q, k, v, mask=mask), expected)


@pytest.mark.parametrize("i, j", [(3, 1), (103, 101), (1002, 1000), (5, 1), (1, 5), (0, 0)])
def test_the_product_of_turned_pairs_knows_the_distance_alone(i, j):
    by_hand = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    for (q, k), theta in ((by_hand, 0.5), (normal(2, 2), 0.3)):
        turn = (i - j) * theta
        expected = q @ k * math.cos(turn) + (q[0] * k[1] - q[1] * k[0]) * math.sin(turn)
        assert_close(turn_pair(q, i, theta) @ turn_pair(k, j, theta), expected)


def test_a_turned_pair_keeps_its_length_and_its_dtype():
    assert_close(turn_pair(normal(2), 7, 0.3).norm(), normal(2).norm())
    assert turn_pair(normal(2, dtype=torch.bfloat16), 7, 0.3).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "pair, position, theta, words",
    [
        (torch.ones(3), 1, 0.5, "turn_pair: pair has shape (3,); give two numbers, (2,)"),
        (torch.ones(2), INF, 0.5, "turn_pair: position is inf; give a finite number"),
        (torch.ones(2), 1, math.nan, "turn_pair: theta is nan; give a finite number"),
    ],
)
def test_what_is_no_pair_is_told(pair, position, theta, words):
    with pytest.raises(ValueError) as refusal:
        turn_pair(pair, position, theta)
    assert words in str(refusal.value)


def test_not_contiguous_inputs_just_work():
    q, k, v = (tensor.mT.contiguous().mT for tensor in qkv(2, 3, queries=5))
    assert not q.is_contiguous()
    assert_close(attention(q, k, v), attention(*(tensor.contiguous() for tensor in (q, k, v))))


@pytest.mark.parametrize(
    "bad, words",
    [
        (lambda q, k, v: attention(q, k, v[..., :6, :]), "v has shape (3, 6, 16), so keys = 6, but k has 7"),
        (lambda q, k, v: attention(q, k[..., :8], v), "k has shape (3, 7, 8), so d = 8, but q has 16"),
        (lambda q, k, v: attention(q, k, v.float()), "v has dtype torch.float32, but q has torch.float64"),
        (lambda q, k, v: attention(q, k.to("meta"), v), "k has device meta, but q has cpu"),
        (lambda q, k, v: attention(q[:, :0], k, v), "q has shape (3, 0, 16), where queries is 0"),
        (lambda q, k, v: attention(q, k[:, :0], v[:, :0]), "k has shape (3, 0, 16), where keys is 0"),
        (lambda q, k, v: attention(q, k / 0 * 0, v), "attention: k holds nan at [0, 0, 0]"),
        (lambda q, k, v: attention(q, k, v, mask=torch.ones(7, 7)), "mask is of type torch.float32; give a boolean"),
        (lambda q, k, v: attention(q, k, v, mask=[True]), "mask is of type list; give a boolean"),
        (lambda q, k, v: attention(q, k, v, mask=torch.ones(3, 3).bool()), "mask has shape (3, 3); give one that"),
        (lambda q, k, v: attention(q, k, v, mask=torch.ones(2, 1, 7, 7).bool()), "mask has shape (2, 1, 7, 7)"),
        (lambda q, k, v: attention(q, k, v, mask=torch.ones(7, 7, device="meta").bool()), "mask has device meta"),
        (lambda q, k, v: attention(q, k, v, scale=math.nan), "scale is nan; give a finite number"),
        (lambda q, k, v: attention_scores(q, k, INF), "scale is inf; give a finite number"),
        (lambda q, k, v: attention(q, k[:, :4], v[:, :4], causal=True), "there are 7 queries and 4 keys"),
        (lambda q, k, v: blocked_attention(q, k[:, :4], v[:, :4], causal=True), "there are 7 queries and 4 keys"),
        (lambda q, k, v: blocked_attention(q, k, v, block=0), "block is 0; give a whole number of 1 or more"),
        (lambda q, k, v: blocked_attention(q, k, v, block=-3), "block is -3; give a whole number"),
        (lambda q, k, v: causal_mask(6, 2), "there are 6 queries and 2 keys"),
        (lambda q, k, v: causal_mask(0, 2), "queries is 0; give a whole number of 1 or more"),
        (lambda q, k, v: uniform_attention(q), "values has shape (3, 7, 16), which cannot be read as (n, d)"),
        (lambda q, k, v: cached_attention(q, k, v, None), "cache is of type NoneType; give a KVCache()"),
    ],
)
def test_bad_input_is_told(bad, words):
    with pytest.raises(ValueError) as refusal:
        bad(*qkv(3))
    assert words in str(refusal.value)


# heads -----------------------------------------------------------------------------------------------------------


def projected(heads=4, kv_heads=2, batch=2, n=7, d_model=12, head_dim=5):
    return (
        normal(batch, n, d_model, seed=1),
        normal(d_model, heads * head_dim, seed=2) / d_model**0.5,
        normal(d_model, kv_heads * head_dim, seed=3) / d_model**0.5,
        normal(d_model, kv_heads * head_dim, seed=4) / d_model**0.5,
        normal(heads * head_dim, d_model, seed=5) / (heads * head_dim) ** 0.5,
        heads,
        kv_heads,
    )


@pytest.mark.parametrize("heads", [1, 3, 5])
@pytest.mark.parametrize("n", RAGGED)
def test_a_head_is_its_own_columns_of_every_token(heads, n):
    x = normal(2, n, 15)
    out, d = split_heads(x, heads), 15 // heads
    assert out.shape == (2, heads, n, d)
    for head in range(heads):
        assert torch.equal(out[:, head], x[:, :, head * d : (head + 1) * d])
    assert torch.equal(out.transpose(1, 2).flatten(-2), x)
    assert out.data_ptr() == x.data_ptr()  # nothing is computed, nothing copied


def test_a_width_that_is_no_whole_heads_is_told():
    with pytest.raises(ValueError, match="split_heads: x has 15 columns for 4 heads; give a multiple of heads"):
        split_heads(normal(2, 7, 15), 4)
    with pytest.raises(ValueError, match="split_heads: heads is 0; give a whole number of 1 or more"):
        split_heads(normal(2, 7, 15), 0)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("heads, kv_heads", [(1, 1), (3, 3), (4, 2), (6, 1)])
@pytest.mark.parametrize("n", RAGGED)
def test_heads_are_torchs(heads, kv_heads, n, causal):
    x, w_q, w_k, w_v, w_o, *_ = weights = projected(heads, kv_heads, n=n)
    q, k, v = (
        (x @ w).view(2, n, number, 5).transpose(1, 2) for w, number in ((w_q, heads), (w_k, kv_heads), (w_v, kv_heads))
    )
    theirs = scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True).transpose(1, 2).flatten(2) @ w_o
    assert_close(multi_head_attention(*weights, causal=causal), theirs)


def test_heads_are_torchs_module():
    x, w_q, w_k, w_v, w_o, *_ = projected(4, 4, head_dim=3)
    module = torch.nn.MultiheadAttention(12, 4, bias=False, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        module.in_proj_weight.copy_(torch.cat([w_q, w_k, w_v], dim=1).T)
        module.out_proj.weight.copy_(w_o.T)
    assert_close(multi_head_attention(x, w_q, w_k, w_v, w_o, 4), module(x, x, x)[0])


def test_a_key_head_moves_its_own_group_only():
    """Permute the columns of one key head: the outputs of the other group stay, those of its own group change."""
    x, w_q, w_k, w_v, _, heads, kv_heads = projected(4, 2)
    w_o = torch.eye(20, dtype=torch.float64)
    x = torch.cat([x, x[..., :8]], dim=-1)  # as wide as all heads together, so that w_o can be the identity
    w_q, w_k, w_v = (torch.cat([w, w[:8]]) for w in (w_q, w_k, w_v))
    before = multi_head_attention(x, w_q, w_k, w_v, w_o, heads, kv_heads).unflatten(-1, (4, 5))
    w_k[:, 5:] = w_k[:, 5:].roll(1, dims=1)
    after = multi_head_attention(x, w_q, w_k, w_v, w_o, heads, kv_heads).unflatten(-1, (4, 5))
    changed = (before - after).abs().amax(dim=(0, 1, 3)) > 1e-6
    assert changed.tolist() == [False, False, True, True]


@pytest.mark.parametrize("kv_heads", [3, 1])
def test_heads_do_not_see_the_future(kv_heads):
    x, *weights = projected(3, kv_heads, n=6)
    reach = depends(lambda x: multi_head_attention(x[None], *weights, causal=True)[0], x[0])
    assert torch.equal(reach, torch.ones(6, 6).tril().bool())


@pytest.mark.parametrize(
    "heads, kv_heads, words",
    [
        (0, None, "heads is 0; give a whole number of 1 or more"),
        (-2, None, "heads is -2; give a whole number of 1 or more"),
        (4, 0, "kv_heads is 0; give a whole number of 1 or more"),
        (4, 3, "heads is 4 and kv_heads is 3; give a kv_heads that divides heads"),
        (3, 1, "w_q has 20 columns for 3 heads; give a multiple of heads"),
        (4, 4, "w_k has 10 columns; give 20"),
    ],
)
def test_bad_heads_are_told(heads, kv_heads, words):
    with pytest.raises(ValueError) as refusal:
        multi_head_attention(*projected(4, 2)[:5], heads, kv_heads)
    assert words in str(refusal.value)


# cache -----------------------------------------------------------------------------------------------------------


def in_chunks(function, q, k, v, chunk):
    cache = KVCache()
    parts = zip(q.split(chunk, -2), k.split(chunk, -2), v.split(chunk, -2), strict=True)
    return torch.cat([function(*part, cache) for part in parts], dim=-2)


@pytest.mark.parametrize("chunk", range(1, 14))
def test_every_chunk_length_equals_the_whole(chunk):
    q, k, v = qkv(2, 3, queries=13, keys=13, d_value=5)
    whole = attention(q, k, v, causal=True)
    assert_close(in_chunks(cached_attention, q, k, v, chunk), whole)
    if chunk < 13:
        assert (in_chunks(upper_left, q, k, v, chunk) - whole).abs().max() > 0.1


@pytest.mark.parametrize("heads, kv_heads", [(6, 1), (6, 2), (6, 3), (4, 4)])
@pytest.mark.parametrize("batch", [(), (2,), (2, 1)])
def test_grouped_heads_are_cached_as_they_come_and_each_serves_its_group(heads, kv_heads, batch):
    """Against torch with the key heads laid out by hand, for every chunk length; the cache holds no copies."""
    n = 11
    q = normal(*batch, heads, n, 8, seed=1)
    k, v = normal(*batch, kv_heads, n, 8, seed=2), normal(*batch, kv_heads, n, 5, seed=3)
    own = [head // (heads // kv_heads) for head in range(heads)]
    whole = scaled_dot_product_attention(q, k[..., own, :, :], v[..., own, :, :], is_causal=True)
    assert_close(grouped_attention(q, k, v, causal=True), whole)
    for chunk in range(1, n + 1):
        assert_close(in_chunks(cached_attention, q, k, v, chunk), whole)
    cache = KVCache()
    cached_attention(q, k, v, cache)
    assert torch.equal(cache.k, k) and torch.equal(cache.v, v)


def test_key_heads_that_form_no_groups_are_told():
    q, k, v = normal(4, 7, 8), normal(3, 7, 8), normal(3, 7, 8)
    for function, given in ((cached_attention, [KVCache()]), (grouped_attention, [])):
        with pytest.raises(ValueError, match="_attention: q has 4 heads, k has 3; give k and v a number of heads that"):
            function(q, k, v, *given)


def test_cache_counts_tokens_and_bytes():
    cache = KVCache()
    assert (len(cache), cache.nbytes, repr(cache)) == (0, 0, "KVCache: 0 tokens, 0 bytes")
    _, k, v = qkv(2, 8, keys=6, d=16, dtype=torch.float16)
    all_k, all_v = cache.append(k[..., :4, :], v[..., :4, :])
    all_k, all_v = cache.append(k[..., 4:, :], v[..., 4:, :])
    assert torch.equal(all_k, k) and torch.equal(all_v, v)
    assert len(cache) == 6
    assert cache.nbytes == all_k.untyped_storage().nbytes() + all_v.untyped_storage().nbytes()
    assert cache.nbytes == 2 * kv_cache_bytes(6, layers=1, kv_heads=8, head_dim=16, element_bytes=2)
    assert repr(cache) == "KVCache: 6 tokens, 6,144 bytes"


def test_gradients_pass_through_the_cache():
    x = normal(7, 4)
    reach = depends(lambda x: in_chunks(cached_attention, x, x, x, 3), x)
    assert torch.equal(reach, torch.ones(7, 7).tril().bool())


def test_cache_keeps_its_own_copy():
    cache = KVCache()
    _, k, v = qkv(2)
    cache.append(k, v)
    k.zero_()
    assert (cache.k != 0).any()


def spoilt(tensor):
    tensor = tensor.clone()
    tensor[0, 1, 2] = math.nan
    return tensor


@pytest.mark.parametrize(
    "chunk, words",
    [
        (lambda q, k, v: (q, k.float(), v.float()), "q has dtype torch.float64, but k has torch.float32"),
        (lambda q, k, v: (q.float(), k.float(), v.float()), "but the cache holds torch.float64"),
        (lambda q, k, v: (q[:1], k[:1], v[:1]), "k has shape (1, 7, 16), but the cache holds (2, 7, 16)"),
        (lambda q, k, v: (q, k, v[..., :3]), "v has shape (2, 7, 3), but the cache holds (2, 7, 16)"),
        (lambda q, k, v: (spoilt(q), k, v), "q holds nan at [0, 1, 2]"),
        (lambda q, k, v: (q, k, spoilt(v)), "v holds nan at [0, 1, 2]"),
        (lambda q, k, v: (q[:, :3], k, v), "q has shape (2, 3, 16), so n = 3, but k has 7"),
    ],
)
def test_a_bad_chunk_leaves_the_cache_as_it_was(chunk, words):
    cache = KVCache()
    q, k, v = qkv(2)
    cached_attention(q, k, v, cache)
    with pytest.raises(ValueError) as refusal:
        cached_attention(*chunk(q, k, v), cache)
    assert words in str(refusal.value)
    assert len(cache) == 7 and torch.equal(cache.k, k)


def test_append_refuses_by_its_own_name():
    with pytest.raises(ValueError, match=r"KVCache\.append: k holds nan at \[0, 1, 2\]"):
        KVCache().append(spoilt(qkv(2)[1]), qkv(2)[2])


# row blocks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("queries, keys", [(1, 1), (13, 13), (5, 13), (1, 13)])
@pytest.mark.parametrize("block", [1, 3, 4, 13, 64])
def test_row_blocks_are_exact(queries, keys, block, causal):
    q, k, v = qkv(2, 3, queries=queries, keys=keys, d_value=5)
    assert_close(blocked_attention(q, k, v, causal=causal, block=block), attention(q, k, v, causal=causal))


# cost ------------------------------------------------------------------------------------------------------------


class ByteMeter(TorchDispatchMode):
    """Most bytes alive at once in storages that the code inside makes."""

    def __init__(self, *given):
        super().__init__()
        self.live = self.peak = 0
        self.largest = 0
        self.known = {tensor.untyped_storage()._cdata for tensor in given}

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.known:
                storage = tensor.untyped_storage()
                self.known.add(storage._cdata)
                self.live += storage.nbytes()
                self.peak = max(self.peak, self.live)
                self.largest = max(self.largest, storage.nbytes() // tensor.element_size())
                weakref.finalize(storage, self.freed, storage._cdata, storage.nbytes())
        return result

    def freed(self, identity, size):
        self.known.discard(identity)
        self.live -= size


def metered(function, *inputs, **options):
    with ByteMeter(*inputs) as meter:
        function(*inputs, **options)
    return meter


def test_the_meter_counts_what_is_alive():
    def three_then_one(x):
        a = x + 1
        b = a + 1
        c = a + b
        del a, b
        return c * 1

    assert metered(three_then_one, torch.ones(100)).peak == 3 * 400
    assert metered(lambda x: x.T[:5], torch.ones(10, 10)).peak == 0


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("n, d, heads", [(4, 3, 1), (7, 64, 1), (64, 64, 2), (250, 16, 1), (256, 64, 1), (513, 8, 3)])
def test_peak_bytes_are_as_predicted_to_the_byte(n, d, heads, dtype, causal):
    q, k, v = qkv(1, heads, queries=n, keys=n, d=d, d_value=d, dtype=dtype)
    assert metered(attention, q, k, v, causal=causal).peak == naive_peak_bytes(n, d, heads, dtype.itemsize)


def test_a_doubled_text_needs_four_times_the_bytes():
    for n in (512, 1024):
        q, k, v = qkv(1, 1, queries=n, keys=n, dtype=torch.float32)
        ratio = metered(attention, q, k, v, causal=True).peak / naive_peak_bytes(n // 2, 16)
        assert 3.5 < ratio < 4


@pytest.mark.parametrize("causal", [False, True])
def test_row_blocks_hold_no_matrix_of_pairs(causal):
    q, k, v = qkv(1, 2, queries=300, keys=300, dtype=torch.float32)
    assert metered(blocked_attention, q, k, v, causal=causal, block=32).largest <= 2 * 32 * 300
    assert metered(attention, q, k, v, causal=causal).largest == 2 * 300 * 300


@pytest.mark.parametrize("n, d, heads", [(5, 4, 1), (64, 16, 3)])
def test_multiplications_are_what_torch_counts(n, d, heads):
    q, k, v = qkv(1, heads, queries=n, keys=n, d=d, d_value=d)
    with FlopCounterMode(display=False) as counter:
        attention(q, k, v)
    assert counter.get_total_flops() == 2 * attention_multiplications(n, d, heads)  # torch counts additions too


def test_causal_multiplications_are_those_of_visible_pairs():
    for n in (1, 2, 7, 100):
        pairs = int(causal_mask(n, n).sum())
        assert attention_multiplications(n, 8, 3, causal=True) == 2 * 3 * 8 * pairs
    assert attention_multiplications(131_072, 128, 64, causal=True) == 128 * 64 * 131_072 * 131_073


@pytest.mark.parametrize("heads, kv_heads", [(4, 4), (4, 2), (6, 1)])
def test_projection_multiplications_are_what_torch_counts(heads, kv_heads):
    weights = projected(heads, kv_heads, batch=1)
    with FlopCounterMode(display=False) as counter:
        multi_head_attention(*weights)
    products = projection_multiplications(7, 12, 5, heads, kv_heads) + attention_multiplications(7, 5, heads)
    assert counter.get_total_flops() == 2 * products
    assert projection_multiplications(7, 20, 5, 4) == 4 * 7 * 20**2


def test_bytes_of_scores_and_cache():
    q, k, _ = qkv(1, 3, queries=50, keys=50, dtype=torch.float16)
    assert score_bytes(50, heads=3, element_bytes=2) == attention_scores(q, k).nbytes
    assert score_bytes(131_072, element_bytes=2) == 34_359_738_368
    assert kv_cache_bytes(1, layers=32, kv_heads=8, head_dim=128) == 131_072
    assert kv_cache_bytes(131_072, layers=80, kv_heads=8, head_dim=128) == 42_949_672_960


@pytest.mark.parametrize("power", [0, 1, 1.5, 2])
def test_growth_exponent_of_a_power_is_the_power(power):
    lengths = [256, 512, 1024, 4096]
    assert growth_exponent(lengths, [3 * n**power for n in lengths]) == pytest.approx(power, abs=1e-12)


def test_growth_exponent_of_scores_is_two_and_of_the_cache_one():
    lengths = [256, 512, 1024, 2048]
    assert growth_exponent(lengths, [naive_peak_bytes(n, 64) for n in lengths]) == pytest.approx(2, abs=0.1)
    assert growth_exponent(lengths, [kv_cache_bytes(n, 32, 8, 128) for n in lengths]) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    "lengths, values, words",
    [
        ([1, 2], [1], "there are 2 lengths and 1 values"),
        ([], [], "at least two different lengths"),
        ([4, 4], [1, 2], "at least two different lengths"),
        ([1, 2], [0, 1], "finite and above 0"),
        ([1, 2], [1, INF], "finite and above 0"),
    ],
)
def test_growth_exponent_refuses_what_has_no_slope(lengths, values, words):
    with pytest.raises(ValueError, match=words):
        growth_exponent(lengths, values)


@pytest.mark.parametrize("n", [0, -5, 2.5])
@pytest.mark.parametrize(
    "cost, others",
    [
        (attention_multiplications, (4,)),
        (projection_multiplications, (4, 4, 4)),
        (score_bytes, ()),
        (kv_cache_bytes, (4, 4, 4)),
        (naive_peak_bytes, (4,)),
    ],
)
def test_costs_refuse_what_is_no_count(cost, others, n):
    with pytest.raises(ValueError, match=rf"{cost.__name__}: n is {n}; give a whole number of 1 or more\."):
        cost(n, *others)


def test_uniform_attention_is_attention_that_cannot_choose():
    values = normal(6, 4)
    nothing = torch.zeros(1, 3, dtype=torch.float64)
    assert_close(uniform_attention(values), attention(nothing, nothing.expand(6, 3), values)[0])


def test_every_public_function_is_guarded():
    """A function that is shown to readers holds no validation; so it must stand behind a decorator."""
    public = {
        name: function
        for name, function in vars(quadratic).items()
        if callable(function) and getattr(function, "__module__", "") == quadratic.__name__ and name != "KVCache"
    }
    assert {name for name, function in public.items() if not hasattr(function, "__wrapped__")} == set()
