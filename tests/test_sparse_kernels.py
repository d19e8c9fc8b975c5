"""The three kernels of sparse attention do what the torch code does, move what the closed forms say, and compile."""

import math

import pytest
import torch
from compiled import compiled

from solutions import interpreter, sparse_kernels
from solutions.quadratic import attention, causal_mask
from solutions.sparse import gathered_attention, index_scores, select_top_k, sparse_attention
from solutions.sparse_kernels import (
    attend_to,
    choose_keys,
    gather_bytes,
    gather_kernel,
    index_bytes,
    index_kernel,
    score_keys,
    select_bytes,
    select_kernel,
    sparse_attention_kernels,
)
from widgets.theatre.measure import traced

pytestmark = pytest.mark.skipif(not interpreter.available, reason="Triton is not installed")

SHAPES = [(20, 20), (5, 37), (1, 70)]  # queries and keys: a prefill, a chunk, one token


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def index_inputs(n, m, *, batch=2, heads=4, index_dim=16, dtype=torch.float32):
    return (
        draw(batch, heads, n, index_dim, seed=1, dtype=dtype),
        draw(batch, m, index_dim, seed=2, dtype=dtype),
        draw(batch, n, heads, seed=3, dtype=dtype),
    )


def qkv(n, m, *, batch=2, heads=4, kv_heads=2, d=32, d_value=32, dtype=torch.float32):
    return (
        draw(batch, heads, n, d, seed=4, dtype=dtype),
        draw(batch, kv_heads, m, d, seed=5, dtype=dtype),
        draw(batch, kv_heads, m, d_value, seed=6, dtype=dtype),
    )


# The same as in torch ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, m", SHAPES)
@pytest.mark.parametrize("block_m, block_n", [(4, 16), (16, 32), (None, 64)])
@pytest.mark.seconds
def test_index_scores(n, m, block_m, block_n):
    index = index_inputs(n, m)
    scores = score_keys(*index, block_m=block_m, block_n=block_n)
    expected = index_scores(*index).masked_fill(~causal_mask(n, m), -math.inf)
    assert torch.equal(scores.isinf(), expected.isinf())
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("dtype, within", [(torch.float16, 2e-2), (torch.bfloat16, 1e-1)])
@pytest.mark.seconds
def test_half_precision(dtype, within):
    index = index_inputs(9, 20, dtype=dtype)
    expected = index_scores(*(each.float() for each in index)).masked_fill(~causal_mask(9, 20), -math.inf)
    torch.testing.assert_close(score_keys(*index), expected, rtol=within, atol=within)
    q, k, v = qkv(9, 20, dtype=dtype)
    indices = choose_keys(expected, 6)
    out = attend_to(q, k, v, indices)
    assert out.dtype == dtype
    torch.testing.assert_close(
        out.float(), gathered_attention(q.float(), k.float(), v.float(), indices), rtol=within, atol=within
    )


ROWS = {
    "any": lambda scores: scores,
    "ties": lambda scores: scores.round(),
    "all equal": torch.zeros_like,
    "all negative": lambda scores: -scores.abs() - 1,
    "both zeros": lambda scores: torch.where(scores > 0, 0.0, -0.0),
    "huge and tiny": lambda scores: scores * 10.0 ** torch.arange(-19, 19).repeat(2)[: scores.shape[-1]],
    "last bits": lambda scores: 1 + scores.round() * 2.0**-23,
    "some are no candidates": lambda scores: scores.masked_fill(scores > 0.5, -math.inf),
    "infinite": lambda scores: torch.where(scores > 0.5, math.inf, scores),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("n, m", [(9, 9), (3, 37)])
@pytest.mark.slow
def test_the_choice_is_the_same_set(name, n, m):
    scores = ROWS[name](draw(2, n, m))
    for top_k in (1, 5, m, m + 3):
        indices = choose_keys(scores, top_k, block=16)
        expected = select_top_k(scores, top_k).sort(dim=-1).values
        assert torch.equal(indices.long().sort(dim=-1).values, expected)
        places = torch.where(indices >= 0, indices, m + 1)
        assert (places.diff(dim=-1) >= 0).all()  # ascending, then -1
        assert indices.dtype == torch.int32


@pytest.mark.parametrize("n, m", SHAPES)
@pytest.mark.parametrize("heads, kv_heads", [(4, 2), (4, 1), (20, 1)])
@pytest.mark.slow
def test_gathered_attention(n, m, heads, kv_heads):
    q, k, v = qkv(n, m, heads=heads, kv_heads=kv_heads)
    indices = select_top_k(draw(2, n, m), 9 if m > 9 else m)
    for scale in (None, 0.3):
        expected = gathered_attention(q, k, v, indices, scale=scale)
        torch.testing.assert_close(attend_to(q, k, v, indices, scale=scale), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(attend_to(q, k, v, indices, scale=scale, block_n=16), expected, rtol=1e-4, atol=1e-5)


def test_a_key_that_is_its_own_value():
    """As in DeepSeek's latent: 32 entries for score and value, 16 more for the score."""
    q, k, _ = qkv(7, 20, heads=4, kv_heads=1, d=48)
    indices = select_top_k(draw(2, 7, 20), 6)
    expected = gathered_attention(q, k, k[..., :32], indices)
    torch.testing.assert_close(attend_to(q, k, None, indices), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(attend_to(q, k, k[..., :32], indices), expected, rtol=1e-4, atol=1e-5)


def test_a_query_without_keys():
    q, k, v = qkv(3, 9)
    nobody = torch.full((2, 3, 4), -1)
    assert torch.equal(attend_to(q, k, v, nobody), torch.zeros(2, 4, 3, 32))


@pytest.mark.parametrize("n, m", SHAPES)
@pytest.mark.parametrize("chunk", [7, 2048])
@pytest.mark.slow
def test_all_three(n, m, chunk):
    q, k, v = qkv(n, m)
    index = index_inputs(n, m)
    torch.testing.assert_close(
        sparse_attention_kernels(q, k, v, *index, 8, chunk=chunk),
        sparse_attention(q, k, v, *index, 8),
        rtol=1e-4,
        atol=1e-5,
    )
    k, v = (each.repeat_interleave(2, dim=1) for each in (k, v))
    torch.testing.assert_close(
        sparse_attention_kernels(q, k, v, *index, 1000), attention(q, k, v, causal=True), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    "call, told",
    [
        (lambda: score_keys(*index_inputs(4, 4, heads=3)), "there are 3 heads of 16; give powers of 2"),
        (lambda: score_keys(*index_inputs(4, 4, index_dim=8)), "there are 4 heads of 8; give powers of 2"),
        (lambda: score_keys(*index_inputs(5, 4)), "5 queries and 4 keys"),
        (lambda: choose_keys(draw(1, 4, 4), 0), "top_k is 0"),
        (lambda: choose_keys(draw(1, 4, 4) * math.nan, 2), "scores holds nan"),
        (lambda: attend_to(*qkv(4, 4, d=24, d_value=24), torch.zeros(2, 4, 1, dtype=torch.long)), r"24 \+ 0 entries"),
        (lambda: attend_to(*qkv(4, 4), torch.full((2, 4, 1), 4)), "give 0 to 3"),
    ],
)
def test_bad_input_is_told(call, told):
    with pytest.raises(ValueError, match=told):
        call()


# What they move ----------------------------------------------------------------------------------------------------


def issued(trace, *names):
    return {name: trace.issued_bytes(tensor=name) for name in names}


@pytest.mark.parametrize("n, m", SHAPES)
@pytest.mark.parametrize("block_m, block_n", [(4, 16), (16, 32)])
@pytest.mark.seconds
def test_the_indexer_moves_what_the_closed_form_says(n, m, block_m, block_n):
    _, trace = traced(score_keys, *index_inputs(n, m), block_m=block_m, block_n=block_n)
    expected = index_bytes(n, m, 4, 16, block_m, block_n, batch=2, element_bytes=4)
    assert issued(trace, *expected) == expected and trace.issued_bytes() == sum(expected.values())
    last = [m - n + min(n, start + block_m) - 1 for start in range(0, n, block_m)]  # position of a block's last query
    tiles = 2 * sum(position // block_n + 1 for position in last)  # those that do not lie wholly in the future
    assert trace.flops() == tiles * 2 * block_m * 4 * block_n * 16  # ragged tiles multiply zeros too


@pytest.mark.parametrize("n, m", SHAPES)
@pytest.mark.parametrize("top_k", [1, 8, 20])
@pytest.mark.slow
def test_the_choice_moves_what_the_closed_form_says(n, m, top_k):
    _, trace = traced(choose_keys, draw(2, n, m), top_k, block=16)
    expected = select_bytes(n, m, top_k, batch=2)
    assert issued(trace, *expected) == expected and trace.issued_bytes() == sum(expected.values())


@pytest.mark.parametrize("n, m", SHAPES)
@pytest.mark.parametrize("heads, kv_heads, shared", [(4, 2, False), (40, 1, False), (4, 1, True)])
@pytest.mark.seconds
def test_the_gather_moves_what_the_closed_form_says(n, m, heads, kv_heads, shared):
    q, k, v = qkv(n, m, heads=heads, kv_heads=kv_heads, d=48 if shared else 32)
    indices = select_top_k(draw(2, n, m), 7)
    _, trace = traced(attend_to, q, k, None if shared else v, indices, block_g=16)
    expected = gather_bytes(n, m, 7, heads, kv_heads, 32, 16, tail=16 * shared, shared=shared, batch=2, element_bytes=4)
    moved = {name: count for name, count in expected.items() if count}
    assert issued(trace, *moved) == moved and trace.issued_bytes() == sum(expected.values())


def test_at_a_fixed_k_the_gather_grows_with_n_and_the_indexer_with_its_square():
    lengths = [2**power for power in range(12, 18)]
    gather = [sum(gather_bytes(n, n, 2048, 128, 1, 512, 64, tail=64, shared=True).values()) for n in lengths]
    index = [sum(index_bytes(n, n, 64, 128, 64, 256).values()) for n in lengths[:4]]
    assert math.log2(gather[-1] / gather[-2]) == pytest.approx(1, abs=0.02)
    assert math.log2(index[-1] / index[-2]) == pytest.approx(2, abs=0.02)


# What they need ----------------------------------------------------------------------------------------------------

TYPES = dict.fromkeys(("q", "k", "v", "w", "out"), "*bf16") | {"scores": "*fp32", "indices": "*i32", "scale": "fp32"}
TYPES |= dict.fromkeys(("first", "n", "m", "top_k", "kv_heads", "group"), "i32")
NEEDS = [  # at DeepSeek's sizes, then at common ones
    (index_kernel, {"HEADS": 64, "INDEX_DIM": 128, "BLOCK_M": 1, "BLOCK_N": 64}, 4),
    (select_kernel, {"BLOCK": 1024}, 4),
    (gather_kernel, {"HEAD_DIM": 512, "TAIL": 64, "SHARED": True, "BLOCK_G": 64, "BLOCK_N": 32}, 8),
    (gather_kernel, {"HEAD_DIM": 128, "TAIL": 0, "SHARED": False, "BLOCK_G": 16, "BLOCK_N": 32}, 4),
]


@pytest.mark.parametrize("kernel, constants, num_warps", NEEDS, ids=lambda value: getattr(value, "__name__", None))
@pytest.mark.slow
def test_they_compile_and_nothing_spills(kernel, constants, num_warps):
    names = interpreter.python_function(kernel).__code__.co_varnames
    signature = {name: kind for name, kind in TYPES.items() if name in names[: kernel.fn.__code__.co_argcount]}
    found = compiled(kernel, signature, constants, "sm_90", num_warps, 2)
    assert (found.spill_bytes, found.fits) == (0, True), found.reason
    assert "wgmma" in found.ptx or "mma.sync" in found.ptx or kernel is select_kernel


def test_a_key_without_values_is_split_at_its_largest_power_of_two():
    assert sparse_kernels.head_parts(torch.empty(1, 1, 3, 576), None) == (512, 64)
    assert sparse_kernels.head_parts(torch.empty(1, 1, 3, 128), torch.empty(1, 1, 3, 128)) == (128, 0)
