"""The kernels of flash attention: right against float64, moving what the closed forms say, fitting the processors."""

import itertools
import math
import random
from dataclasses import replace

import pytest
import torch
from compiled import compiled, key, source
from torch import Tensor

from solutions import flash, interpreter
from solutions import flash_kernels as kernels
from solutions.checks import flash_in_triton as exercises
from solutions.checks.kernels import changed
from solutions.flash_kernels import (
    HEAD_DIMS,
    Blocks,
    atomic_attention_backward,
    attention_backward,
    attention_forward,
    causal_flash_forward,
    flash_attention,
    flash_decode,
    flash_forward,
    flash_forward_in_base_2,
    splits_for,
    standard_attention_kernels,
    wave_efficiency,
)
from solutions.interpreter import interpreted, tl, triton
from solutions.local_global import window_mask
from widgets.measurements import kernels as bench
from widgets.theatre import Trace, resources, traced
from widgets.theatre.measure import KINDS

pytestmark = pytest.mark.skipif(not interpreter.available, reason=interpreter.why_not)

LESSONS = [(flash_forward, False), (flash_forward_in_base_2, False), (causal_flash_forward, True)]
ERROR = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}  # of the norm, against float64


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).to(dtype)


def qkv(heads=2, kv_heads=None, queries=37, keys=None, d=16, dtype=torch.float32, batch=1) -> tuple[Tensor, ...]:
    kv = batch, kv_heads or heads, keys or queries, d
    return normal(batch, heads, queries, d, dtype=dtype), normal(*kv, dtype=dtype), normal(*kv, dtype=dtype)


def exact(q, k, v, causal=False, window=None, sinks=0, scale=None) -> tuple[Tensor, Tensor]:
    """Attention in float64, written with a mask, and its natural log-sum-exp. A row that sees nothing is 0 and -inf."""
    q, k, v = q.double(), k.double(), v.double()
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    queries, keys = q.shape[2], k.shape[2]
    position, key = torch.arange(queries)[:, None] + keys - queries, torch.arange(keys)
    seen = torch.ones(queries, keys, dtype=torch.bool)
    if causal:
        seen = key <= position
    if window:
        seen = seen & ((key > position - window) | (key < sinks))
    scores = (q @ k.mT) * (q.shape[-1] ** -0.5 if scale is None else scale)
    scores = scores.masked_fill(~seen, -math.inf)
    lse = scores.logsumexp(-1)
    weights = torch.where(seen, (scores - lse[..., None].clamp(min=-1e300)).exp(), 0.0)
    return weights @ v, lse


def error(got: Tensor, expected: Tensor) -> float:
    """The norm of the difference, as a part of the expected norm; where that is 0, the norm itself."""
    size = expected.norm().item()
    return (got.double() - expected).norm().item() / (size if size > 1e-12 else 1.0)


def all_three(q, k, v, blocks, causal=False, window=None, sinks=0):
    """Output, log-sum-exp and both kinds of gradients by kernels with the same blocks, beside those in float64."""
    scale, grad_out = q.shape[-1] ** -0.5, normal(*q.shape, dtype=q.dtype)
    pattern = scale, causal, window or 0, sinks
    out, lse = attention_forward(q, k, v, *pattern, blocks)
    gradients = attention_backward(q, k, v, out, lse, grad_out, *pattern, blocks, blocks)
    atomic = atomic_attention_backward(q, k, v, out, lse, grad_out, *pattern, blocks)
    leaves = [tensor.double().requires_grad_() for tensor in (q, k, v)]
    expected_out, expected_lse = exact(*leaves, causal, window, sinks)
    expected = torch.autograd.grad(expected_out, leaves, grad_out.double())
    return (out, *gradients, *atomic), (expected_out, *expected, *expected), lse, expected_lse


def assert_right(q, k, v, blocks, **pattern):
    got, expected, lse, expected_lse = all_three(q, k, v, blocks, **pattern)
    for name, one, other in zip(("out", "dq", "dk", "dv", "dq", "dk", "dv"), got, expected, strict=True):
        assert error(one, other) < ERROR[q.dtype], name
    assert torch.equal(lse == -math.inf, expected_lse == -math.inf)
    seen = expected_lse > -math.inf
    assert seen.sum() == 0 or (lse - expected_lse)[seen].abs().max() < 1e-5


# Numbers ---------------------------------------------------------------------------------------------------------

PATTERNS = [
    {},
    {"causal": True},
    {"causal": True, "window": 7},
    {"causal": True, "window": 20, "sinks": 3},
    {"causal": True, "window": 1},
    {"causal": True, "window": 5, "sinks": 40},
]
SHAPES = [  # heads, kv_heads, queries, keys, d, blocks
    (2, 2, 1, 1, 16, Blocks(16, 16)),
    (1, 1, 5, 5, 16, Blocks(32, 16)),
    (2, 1, 37, 37, 16, Blocks(16, 32)),
    (4, 2, 33, 70, 32, Blocks(32, 16)),
    (2, 2, 70, 33, 16, Blocks(16, 16)),
    (1, 1, 64, 64, 16, Blocks(64, 32)),
    (3, 1, 1, 50, 16, Blocks(16, 64)),
]


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.slow
def test_outputs_and_gradients_in_fp32(shape, pattern):
    heads, kv_heads, queries, keys, d, blocks = shape
    assert_right(*qkv(heads, kv_heads, queries, keys, d), blocks, **pattern)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("pattern", PATTERNS[:4], ids=str)
@pytest.mark.seconds
def test_outputs_and_gradients_in_two_bytes(pattern, dtype):
    assert_right(*qkv(4, 2, 37, 50, 32, dtype), Blocks(16, 32), **pattern)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.seconds
def test_random_shapes(seed):
    draw = random.Random(seed)
    kv_heads, group = draw.choice([1, 2]), draw.choice([1, 1, 2, 3])
    queries, keys, d = draw.randint(1, 60), draw.randint(1, 60), draw.choice([16, 32])
    causal = draw.random() < 0.7
    window = draw.choice([None, draw.randint(1, 70)]) if causal else None
    sinks = draw.randint(0, 20) if window else 0
    blocks = Blocks(draw.choice([16, 32, 64]), draw.choice([16, 32, 64]))
    dtype = draw.choice([torch.float16, torch.float32])
    given = qkv(kv_heads * group, kv_heads, queries, keys, d, dtype)
    assert_right(*given, blocks, causal=causal, window=window, sinks=sinks)


@pytest.mark.parametrize("d", HEAD_DIMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
@pytest.mark.seconds
def test_the_public_function_and_its_gradient(d, dtype):
    leaves = [tensor.requires_grad_() for tensor in qkv(2, 1, 40, 50, d, dtype, batch=2)]
    grad_out = normal(2, 2, 40, d, dtype=dtype)
    out = flash_attention(*leaves, causal=True, window=30, sinks=2, scale=0.2)
    assert (out.shape, out.dtype) == ((2, 2, 40, d), dtype)
    doubles = [tensor.detach().double().requires_grad_() for tensor in leaves]
    expected, _ = exact(*doubles, True, 30, 2, 0.2)
    assert error(out, expected) < ERROR[dtype]
    got = torch.autograd.grad(out, leaves, grad_out)
    for one, other in zip(got, torch.autograd.grad(expected, doubles, grad_out.double()), strict=True):
        assert one.dtype == dtype and error(one, other) < ERROR[dtype]


@pytest.mark.parametrize("n, block_m, block_n", [(1, 16, 16), (16, 16, 16), (37, 16, 32), (50, 32, 16), (20, 64, 64)])
@pytest.mark.parametrize("kernel, causal", LESSONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
@pytest.mark.seconds
def test_the_lessons_kernels(kernel, causal, n, block_m, block_n, dtype):
    q, k, v = (normal(2, n, 16, dtype=dtype) for _ in "qkv")
    out, lse = torch.full_like(q, math.nan), torch.full((2, n), math.nan)
    interpreted(kernel)[triton.cdiv(n, block_m), 2](
        q, k, v, out, lse, 0.25, n, HEAD_DIM=16, BLOCK_M=block_m, BLOCK_N=block_n
    )
    expected, expected_lse = exact(q[None], k[None], v[None], causal, scale=0.25)
    assert error(out, expected[0]) < ERROR[dtype]
    assert (lse - expected_lse[0]).abs().max() < 1e-5


@pytest.mark.seconds
def test_a_wide_window_and_many_sinks_are_causal_to_the_bit():
    q, k, v = qkv(2, 1, 60, 75)
    causal = flash_attention(q, k, v, causal=True)
    assert torch.equal(flash_attention(q, k, v, causal=True, window=75), causal)
    assert torch.equal(flash_attention(q, k, v, causal=True, window=1000), causal)
    assert torch.equal(flash_attention(q, k, v, causal=True, window=1, sinks=75), causal)
    assert not torch.equal(flash_attention(q, k, v, causal=True, window=74), causal)


def test_a_window_of_one_returns_the_values():
    q, k, v = qkv(2, 2, 40)
    assert torch.equal(flash_attention(q, k, v, causal=True, window=1), v)


def test_queries_stand_at_the_end_of_the_keys():
    q, k, v = qkv(1, 1, 64, 64)
    small = Blocks(16, 16)
    whole = attention_forward(q, k, v, 0.25, True, 0, 0, small)[0]
    suffix = attention_forward(q[:, :, 32:].contiguous(), k, v, 0.25, True, 0, 0, small)[0]
    assert torch.equal(suffix, whole[:, :, 32:])


def test_the_future_does_not_reach_back():
    q, k, v = qkv(1, 1, 50)
    before = flash_attention(q, k, v, causal=True)
    k[:, :, 20:], v[:, :, 20:] = 5.0, -5.0
    after = flash_attention(q, k, v, causal=True)
    assert torch.equal(before[:, :, :20], after[:, :, :20])
    assert not torch.equal(before[:, :, 20:], after[:, :, 20:])


@pytest.mark.seconds
def test_a_query_that_sees_nothing_is_zero_and_has_no_gradient():
    leaves = [tensor.requires_grad_() for tensor in qkv(1, 1, 40, 10)]
    out = flash_attention(*leaves, causal=True)
    assert (out[:, :, :30] == 0).all() and (out[:, :, 30:] != 0).all()
    gradients = torch.autograd.grad(out.sum(), leaves)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert (gradients[0][:, :, :30] == 0).all()
    _, lse = attention_forward(*(tensor.detach() for tensor in leaves), 0.25, True, 0, 0, Blocks(16, 16))
    assert (lse[:, :, :30] == -math.inf).all() and lse[:, :, 30:].isfinite().all()


@pytest.mark.seconds
def test_grouped_heads_are_repeated_heads():
    q, k, v = (tensor.requires_grad_() for tensor in qkv(6, 2, 40))
    shared = flash_attention(q, k, v, causal=True)
    repeated = flash_attention(q, k.repeat_interleave(3, 1), v.repeat_interleave(3, 1), causal=True)
    assert torch.equal(shared, repeated)
    for one, other in zip(
        torch.autograd.grad(shared.square().sum(), (q, k, v)),
        torch.autograd.grad(repeated.square().sum(), (q, k, v)),
        strict=True,
    ):
        assert error(one, other.double()) < 1e-6


def test_a_batch_of_none_is_a_batch():
    leaves = [tensor.requires_grad_() for tensor in qkv(4, 2, 5, batch=0)]
    out = flash_attention(*leaves, causal=True, window=3)
    assert out.shape == (0, 4, 5, 16)
    assert [each.shape for each in torch.autograd.grad(out.sum(), leaves)] == [each.shape for each in leaves]
    assert flash_decode(*qkv(4, 2, 1, 7, batch=0)).shape == (0, 4, 1, 16)


def test_autocast_decides_the_dtype_as_it_does_for_torchs_own():
    leaves = [tensor.requires_grad_() for tensor in qkv(2, 1, 20)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, one = flash_attention(*leaves), flash_decode(leaves[0][:, :, :1], *leaves[1:])
        theirs = torch.nn.functional.scaled_dot_product_attention(*leaves, enable_gqa=True)
        mixed = flash_attention(leaves[0].bfloat16(), *leaves[1:])
    assert out.dtype == theirs.dtype == one.dtype == torch.bfloat16 and torch.equal(out, mixed)
    assert error(out, theirs.double()) < 1e-2
    assert all(each.dtype == torch.float32 for each in torch.autograd.grad(out.sum(), leaves))


@pytest.mark.seconds
def test_blocks_do_not_change_the_answer():
    q, k, v = qkv(1, 1, 100, d=32, dtype=torch.float16)
    results = [
        attention_forward(q, k, v, 0.2, True, 30, 3, Blocks(block_m, block_n))
        for block_m, block_n in itertools.product((16, 32, 128), (16, 64))
    ]
    for out, lse in results[1:]:
        assert (out - results[0][0]).abs().max() < 1e-3 and (lse - results[0][1]).abs().max() < 1e-5


def test_large_scores_stay_finite_and_right():
    q, k, v = qkv(1, 1, 50, d=32)
    out = flash_attention(30 * q, k, v, causal=True)
    assert out.isfinite().all() and error(out, exact(30 * q, k, v, True)[0]) < 1e-5


def test_views_are_read_as_what_they_show():
    mixed = normal(2, 40, 3, 2, 16).requires_grad_()  # batch, n, qkv, heads, d
    q, k, v = mixed.permute(2, 0, 3, 1, 4)
    assert not q.is_contiguous()
    out = flash_attention(q[:, :, 7:], k, v, causal=True)
    expected, _ = exact(q[:, :, 7:], k, v, True)
    assert error(out, expected.detach()) < 1e-5
    got, right = (torch.autograd.grad(result.square().sum(), mixed)[0] for result in (out, expected))
    assert error(got, right) < 1e-5


@pytest.mark.seconds
def test_the_backward_gives_the_same_bits_and_is_not_differentiable():
    leaves = [tensor.requires_grad_() for tensor in qkv(2, 1, 40)]
    runs = [torch.autograd.grad(flash_attention(*leaves).sum(), leaves) for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))
    gradient = torch.autograd.grad(flash_attention(*leaves).square().sum(), leaves, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_only_what_grows_as_n_is_kept_for_the_backward():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.shape), lambda tensor: tensor):
        flash_attention(*(tensor.requires_grad_() for tensor in qkv(1, 1, 300)), causal=True)
    assert kept == [(1, 1, 300, 16)] * 4 + [(1, 1, 300)]


@pytest.mark.parametrize(
    "heads, kv_heads, keys, d, dtype, several",
    [
        *((4, 2, 300, 64, dtype, (None, 3)) for dtype in ERROR),
        (4, 4, 1, 16, torch.float32, (None, 1, 3)),
        (3, 1, 37, 32, torch.float32, (1, 40)),  # 40 leaves programs without a key
        (17, 1, 50, 16, torch.float32, (None, 3)),
    ],
    ids=str,
)
@pytest.mark.slow
def test_split_decoding_is_attention(heads, kv_heads, keys, d, dtype, several):
    q, k, v = qkv(heads, kv_heads, 1, keys, d, dtype, batch=2)
    expected, _ = exact(q, k, v)
    for splits in several:
        out = flash_decode(q, k, v, splits=splits)
        assert (out.shape, out.dtype) == (q.shape, dtype)
        assert error(out, expected) < ERROR[dtype], splits


@pytest.mark.seconds
def test_the_number_of_splits_does_not_matter():
    q, k, v = qkv(4, 2, 1, 200, d=32)
    whole = flash_decode(q, k, v, splits=1)
    assert all((flash_decode(q, k, v, splits=splits) - whole).abs().max() < 1e-6 for splits in (2, 5, 16, 33))
    assert error(whole, flash_attention(q, k, v, causal=True).double()) < 1e-6
    assert error(flash_decode(q, k, v, splits=3, scale=0.5), exact(q, k, v, scale=0.5)[0]) < 1e-5


def test_splits_end_a_wave():
    assert splits_for(programs=8, keys=131_072, processors=132) == 16  # 17 would be two waves, the second of 4 programs
    assert [round(wave_efficiency(8 * splits, 132), 2) for splits in (15, 16, 17, 33)] == [0.91, 0.97, 0.52, 1.0]
    assert splits_for(programs=8, keys=1024, processors=132) == 4  # 256 keys each
    assert splits_for(programs=100, keys=131_072, processors=132) == 9  # 900 programs, 97 % of seven waves
    assert splits_for(programs=200, keys=131_072, processors=132) == splits_for(120, 131_072, 132) == 1
    assert splits_for(programs=1, keys=10, processors=132) == 1
    for programs, processors in itertools.product(range(1, 133, 7), (20, 108, 132)):
        found = splits_for(programs, 131_072, processors)
        most = max(wave_efficiency(programs * splits, processors) for splits in range(1, 513))
        assert found == 1 or wave_efficiency(programs * found, processors) >= 0.95 * most


# What is not a number --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype, size", [(torch.float16, 2.0), (torch.bfloat16, 4.0), (torch.float32, 4.0)], ids=str)
def test_keys_past_the_end_add_nothing_to_the_gradient(dtype, size):
    """20 keys in blocks of 32, all scores far below 0: exp(0 - lse) of a missing key is beyond the dtype."""
    q, k, v = qkv(2, 1, 20, d=16)
    q, k = size * (q.abs() + 0.5), -size * (k.abs() + 0.5)
    q, k, v = (tensor.to(dtype) for tensor in (q, k, v))
    (out, *gradients), _, lse, _ = all_three(q, k, v, Blocks(32, 32))
    assert (-lse).max() > math.log(torch.finfo(dtype).max)
    assert out.isfinite().all() and all(gradient.isfinite().all() for gradient in gradients)
    for atomic, separate in zip(gradients[3:], gradients[:3], strict=True):
        assert error(atomic, separate.double()) < ERROR[dtype]


@pytest.mark.parametrize("causal", [False, True])
def test_a_nan_is_passed_on(causal):
    q, k, v = qkv(1, 1, 20)
    q[0, 0, 7, 3] = math.nan
    out, lse = attention_forward(q, k, v, 0.25, causal, 0, 0, Blocks(16, 16))
    rows = torch.arange(20) == 7
    assert torch.equal(out.isnan().all(-1)[0, 0], rows) and torch.equal(lse.isnan()[0, 0], rows)
    k[0, 0, 12, 0] = math.nan
    out, lse = attention_forward(q, k, v, 0.25, causal, 0, 0, Blocks(16, 16))
    rows = (torch.arange(20) >= 12) | rows if causal else torch.ones(20, dtype=torch.bool)
    assert torch.equal(out.isnan().all(-1)[0, 0], rows) and torch.equal(lse.isnan()[0, 0], rows)
    assert flash_decode(q[:, :, 7:8], k, v, splits=3).isnan().all()


def test_more_heads_than_a_grid_has_room_for():
    q = torch.zeros(5_462, 12, 1, 16)
    with pytest.raises(ValueError, match=r"grid is \(1, 65544\): CUDA takes at most 65,535 programs .* at a time"):
        flash_attention(q, q, q)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_standard_attention_is_attention(causal, dtype):
    q, k, v = qkv(4, 2, 37, 70, 32, dtype)
    assert error(standard_attention_kernels(q, k, v, causal), exact(q, k, v, causal)[0]) < ERROR[dtype]


# Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda q, k, v: flash_attention(q[0], k, v), "q has shape (2, 8, 16), which cannot be read as"),
        (lambda q, k, v: flash_attention(q, k[:, :, :5], v), "v has shape (1, 2, 8, 16), so keys = 8, but k has 5"),
        (lambda q, k, v: flash_attention(q.half(), k, v), "q has dtype torch.float16, but k has torch.float32"),
        (lambda q, k, v: flash_attention(q[:, :, :0], k, v), "where queries is 0"),
        (lambda q, k, v: flash_attention(q[:, [0, 1, 1]], k, v), "q has 3 heads, k has 2; give k and v a number"),
        (lambda q, k, v: flash_attention(q.double(), k.double(), v.double()), "q has dtype torch.float64; give"),
        (lambda q, k, v: flash_attention(q[..., :12], k[..., :12], v[..., :12]), "the head dim is 12; give 16, 32, 64"),
        (lambda q, k, v: flash_attention(q, k, v[..., :8]), "v has shape (1, 2, 8, 8), so d = 8, but k has 16"),
        (lambda q, k, v: flash_attention(q, k, v, window=4), "window is 4 but causal is False"),
        (lambda q, k, v: flash_attention(q, k, v, causal=True, window=0), "window is 0; give a whole number"),
        (lambda q, k, v: flash_attention(q, k, v, causal=True, window=2.5), "window is 2.5; give a whole number"),
        (lambda q, k, v: flash_attention(q, k, v, causal=True, window=4, sinks=-1), "sinks is -1; give"),
        (lambda q, k, v: flash_attention(q, k, v, causal=True, sinks=2), "sinks is 2 but there is no window"),
        (lambda q, k, v: flash_decode(q, k, v), "q holds 8 queries; give one"),
        (lambda q, k, v: flash_decode(q[:, :, :1], k, v, splits=0), "splits is 0; give a whole number"),
        (lambda q, k, v: standard_attention_kernels(q, k[:, :, :4], v[:, :, :4], True), "the first queries see none"),
    ],
)
def test_bad_input_is_told(call, said):
    with pytest.raises(ValueError) as told:
        call(*qkv(2, 2, 8))
    assert said in str(told.value)


def test_padding_a_head_dim_as_the_error_says():
    q, k, v = qkv(1, 1, 20, d=24)
    padded = [torch.nn.functional.pad(tensor, (0, 8)) for tensor in (q, k, v)]
    assert error(flash_attention(*padded, scale=24**-0.5)[..., :24], exact(q, k, v)[0]) < 1e-5


# Bytes -----------------------------------------------------------------------------------------------------------


def issued(trace: Trace, kernel: str) -> dict[tuple[str, int, int], int]:
    """(tensor, x, y) -> bytes that program (x, y) of a kernel issued; an atomic is a read and a write."""
    names = [each["name"] for each in trace.kernels]
    found = {}
    for event in trace.events[trace.events["kernel"] == names.index(kernel)]:
        if KINDS[event["kind"]] != "dot":
            x, y, _ = trace.programs[event["program"]]
            key = trace.names[event["tensor"]], int(x), int(y)
            found[key] = found.get(key, 0) + int(event["element_bytes"]) * (1 + (KINDS[event["kind"]] == "atomic"))
    return found


def predicted(formula, programs: int, heads: int, group: int = 1, shared=("k", "v", "grad_k", "grad_v")) -> dict:
    """The same by a closed form of one query head; a program for a key head reads the rest for `group` of them."""
    found = {}
    for x, y in itertools.product(range(programs), range(heads)):
        for name, size in formula(program=x).items():
            found[name, x, y] = size * (1 if name in shared else group)
    return {key: size for key, size in found.items() if size}


TRAFFIC = [  # heads, kv_heads, queries, keys, blocks, pattern, dtype
    (2, 2, 64, 64, Blocks(16, 16), {}, torch.float16),
    (2, 2, 64, 64, Blocks(16, 16), {"causal": True}, torch.float16),
    (1, 1, 50, 50, Blocks(16, 32), {}, torch.float16),
    (1, 1, 50, 50, Blocks(32, 16), {"causal": True}, torch.float16),
    (2, 1, 50, 50, Blocks(16, 16), {"causal": True}, torch.float32),
    (4, 2, 33, 70, Blocks(16, 32), {"causal": True}, torch.float16),
    (1, 1, 70, 33, Blocks(32, 16), {"causal": True}, torch.float16),
    (1, 1, 1, 1, Blocks(16, 16), {"causal": True}, torch.float32),
    (1, 1, 1, 90, Blocks(16, 16), {}, torch.float16),
    (1, 1, 90, 90, Blocks(16, 16), {"causal": True, "window": 20}, torch.float16),
    (1, 1, 90, 90, Blocks(32, 16), {"causal": True, "window": 16}, torch.float16),
    (1, 1, 90, 90, Blocks(16, 32), {"causal": True, "window": 1}, torch.float32),
    (1, 1, 90, 90, Blocks(16, 16), {"causal": True, "window": 20, "sinks": 4}, torch.float16),
    (2, 1, 60, 90, Blocks(16, 16), {"causal": True, "window": 9, "sinks": 20}, torch.float16),
    (1, 1, 90, 90, Blocks(16, 64), {"causal": True, "window": 10, "sinks": 100}, torch.float16),
    (1, 1, 90, 90, Blocks(64, 16), {"causal": True, "window": 200}, torch.bfloat16),
]


@pytest.mark.parametrize("case", TRAFFIC, ids=str)
@pytest.mark.slow
def test_every_program_issues_its_closed_form(case):
    heads, kv_heads, queries, keys, blocks, pattern, dtype = case
    q, k, v = qkv(heads, kv_heads, queries, keys, 16, dtype)
    settings = 0.25, pattern.get("causal", False), pattern.get("window") or 0, pattern.get("sinks", 0)
    (out, lse), forward = traced(attention_forward, q, k, v, *settings, blocks)
    grad_out = torch.ones_like(q)
    _, backward = traced(attention_backward, q, k, v, out, lse, grad_out, *settings, blocks, blocks)
    _, atomic = traced(atomic_attention_backward, q, k, v, out, lse, grad_out, *settings, blocks)
    sizes = queries, keys, 16, blocks.block_m, blocks.block_n
    pattern = {**pattern, "element_bytes": q.element_size()}
    query_blocks, key_blocks, group = (
        math.ceil(queries / blocks.block_m),
        math.ceil(keys / blocks.block_n),
        heads // kv_heads,
    )

    def closed(formula):
        return lambda program: formula(*sizes, **pattern, program=program)

    assert issued(forward, "forward_kernel") == predicted(closed(flash.forward_bytes), query_blocks, heads)
    assert issued(backward, "query_gradient_kernel") == predicted(
        closed(flash.query_gradient_bytes), query_blocks, heads
    )
    assert issued(backward, "key_value_gradient_kernel") == predicted(
        closed(flash.key_value_gradient_bytes), key_blocks, kv_heads, group
    )
    assert issued(atomic, "atomic_backward_kernel") == predicted(
        closed(flash.atomic_backward_bytes), key_blocks, kv_heads, group
    )
    rows, row = heads * queries, 16 * q.element_size()
    delta = {
        name: sum(size for (of, *_), size in issued(backward, "delta_kernel").items() if of == name)
        for name in ("out", "grad_out", "delta")
    }
    assert delta == {"out": rows * row, "grad_out": rows * row, "delta": 4 * rows}
    stored = sum(forward.issued_bytes(kind=kind) for kind in ("store", "atomic"))
    assert stored == rows * row + 4 * rows  # the output and the log-sum-exp, and nothing that is N x N


@pytest.mark.parametrize("heads, kv_heads, keys, splits", [(8, 2, 1000, 4), (4, 4, 37, 1), (6, 2, 50, 7), (2, 1, 5, 8)])
@pytest.mark.seconds
def test_decoding_issues_its_closed_form(heads, kv_heads, keys, splits):
    q, k, v = qkv(heads, kv_heads, 1, keys, 16, torch.float16)
    _, trace = traced(flash_decode, q, k, v, splits=splits)
    expected = flash.decode_bytes(keys, 16, group=heads // kv_heads, splits=splits)
    assert {name: trace.issued_bytes(name) for name in trace.names} == {
        name: kv_heads * size for name, size in expected.items()
    }


@pytest.mark.parametrize("queries, keys, block_m, block_n", [(64, 64, 32, 32), (50, 70, 16, 64)])
@pytest.mark.seconds
def test_standard_attention_issues_its_closed_form(queries, keys, block_m, block_n):
    q, k, v = qkv(4, 2, queries, keys, 16, torch.float16)
    _, trace = traced(standard_attention_kernels, q, k, v, True, block_m=block_m, block_n=block_n)
    expected = flash.standard_bytes(queries, keys, 16, block_m, block_n)
    assert {name: trace.issued_bytes(name) for name in trace.names} == {
        name: 4 * size for name, size in expected.items()
    }


@pytest.mark.parametrize("kernel, causal", LESSONS)
@pytest.mark.parametrize("n, block_m, block_n", [(64, 16, 32), (50, 32, 16)])
def test_the_lessons_kernels_issue_their_closed_form(kernel, causal, n, block_m, block_n):
    q, k, v = (normal(2, n, 16, dtype=torch.float16) for _ in "qkv")

    def run():
        out, lse = torch.empty_like(q), torch.empty(2, n)
        grid = triton.cdiv(n, block_m), 2
        interpreted(kernel)[grid](q, k, v, out, lse, 0.25, n, HEAD_DIM=16, BLOCK_M=block_m, BLOCK_N=block_n)

    def closed(program):
        return flash.forward_bytes(n, n, 16, block_m, block_n, causal=causal, program=program)

    _, trace = traced(run)
    assert issued(trace, kernel.__name__) == predicted(closed, math.ceil(n / block_m), 2)


# Room on the chip ------------------------------------------------------------------------------------------------

TYPES = dict.fromkeys(("q", "k", "v", "out", "grad_out", "grad_q", "grad_k", "grad_v"), "*fp16") | {
    "lse": "*fp32",
    "delta": "*fp32",
    "scale": "fp32",
    "queries": "i32",
    "keys": "i32",
    "group": "i32",
}
SHIPPED = [
    (target, kernel, d, blocks)
    for kernel, table in (
        (kernels.forward_kernel, kernels.FORWARD),
        (kernels.key_value_gradient_kernel, kernels.KEY_VALUE_GRADIENT),
        (kernels.query_gradient_kernel, kernels.QUERY_GRADIENT),
    )
    for target in ("sm_80", "sm_90")
    for d, blocks in table[target][2].items()
]


def asked(kernel, d: int, blocks: Blocks, target: str, causal=True, window=1024, sinks=4):
    constants = dict(HEAD_DIM=d, BLOCK_M=blocks.block_m, BLOCK_N=blocks.block_n, GROUP=1)
    constants |= dict(CAUSAL=causal, WINDOW=window, SINKS=sinks)
    names = kernel.arg_names
    return compiled(
        kernel,
        {name: TYPES[name] for name in names if name in TYPES},
        {name: value for name, value in constants.items() if name in names},
        target,
        blocks.num_warps,
        blocks.num_stages,
    )


def shared_bytes(kernel, d: int, blocks: Blocks, target: str) -> tuple[int, ...]:
    """What the compiler should need for 2-byte elements and two stages or more, read off compiled kernels.

    `rows` of the output stay, the other tiles stream: one stage less where there is no wgmma, which wants 64 rows. The
    weights take room where their layout is turned. For keys and values lse and delta stream too, in one stage less or
    in all.
    """
    if kernel is kernels.forward_kernel:
        form = flash.shared_memory_bytes
        return (form(blocks.block_m, blocks.block_n, d, stages=blocks.num_stages, target=target),)
    rows, streamed = blocks.block_m, blocks.block_n
    if kernel is kernels.key_value_gradient_kernel:
        rows, streamed = streamed, rows
    stages = blocks.num_stages - (target == "sm_80" or rows < 64)
    turned = rows < 64 or (target == "sm_80" and rows == 64 and d >= 128)
    tiles = 4 * rows * d + 4 * stages * streamed * d + 2 * turned * rows * streamed
    if kernel is kernels.query_gradient_kernel:
        return (tiles,)
    return tiles + 8 * (blocks.num_stages - 1) * streamed, tiles + 8 * blocks.num_stages * streamed


@pytest.mark.parametrize("target, kernel, d, blocks", SHIPPED, ids=lambda given: getattr(given, "__name__", str(given)))
@pytest.mark.slow
def test_shipped_blocks_suit_their_processor(target, kernel, d, blocks):
    """With a window and sinks, which takes the most registers of all patterns. The rules are those above the tables."""
    found = asked(kernel, d, blocks, target)
    assert found.fits and not found.serialized, found.reason
    assert found.spill_bytes <= (32 if target == "sm_90" else 0)
    assert "cp.async.cg" in found.ptx  # the loads are pipelined
    assert found.shared_bytes in shared_bytes(kernel, d, blocks, target)
    if target == "sm_80":
        assert set(found.instructions) == {"m16n8k16"} and found.shared_bytes <= 101_376
    elif d == 256 and kernel is not kernels.forward_kernel:  # no tile of a gradient has all three
        assert found.spill_bytes == 0 and found.wgmma_bytes_a_cycle <= 192
    else:
        assert 0 < found.wgmma_bytes_a_cycle <= 128, found.instructions


@pytest.mark.parametrize(
    "target, kernel, d, blocks",
    [each for each in SHIPPED if each[0] == "sm_90" and each[2] == 128],
    ids=lambda given: getattr(given, "__name__", str(given)),
)
@pytest.mark.slow
def test_patterns_without_a_window_take_no_more(target, kernel, d, blocks):
    windowed = asked(kernel, d, blocks, target)
    for causal in (False, True):
        plain = asked(kernel, d, blocks, target, causal, window=0, sinks=0)
        assert plain.spill_bytes <= windowed.spill_bytes and plain.registers <= windowed.registers
        assert plain.shared_bytes == windowed.shared_bytes and not plain.serialized


@pytest.mark.parametrize("d, blocks", [(128, Blocks(32, 64, 8)), (64, Blocks(64, 64, 8))])
def test_narrow_instructions_are_seen(d, blocks):
    """What was shipped before: it spills nothing, and its wgmmas ask for more than shared memory gives."""
    found = asked(kernels.key_value_gradient_kernel, d, blocks, "sm_90", window=0, sinks=0)
    assert found.spill_bytes == 0 and found.wgmma_bytes_a_cycle == (320 if d == 128 else 192)


@pytest.mark.parametrize("target", ["sm_80", "sm_90"])
@pytest.mark.parametrize("d", HEAD_DIMS)
@pytest.mark.slow
def test_decoding_fits_and_spills_nothing(d, target):
    blocks = kernels.DECODE[2][d]
    types = dict.fromkeys("qkv", "*fp16") | dict.fromkeys(("partial", "partial_lse"), "*fp32")
    types |= {"scale": "fp32", "keys": "i32", "chunk": "i32", "group": "i32"}
    constants = dict(HEAD_DIM=d, BLOCK_G=16, BLOCK_N=blocks.block_n)
    found = compiled(kernels.split_decode_kernel, types, constants, target, blocks.num_warps, blocks.num_stages)
    assert (found.spill_bytes, found.fits) == (0, True), found.reason


@pytest.mark.parametrize(
    "kernel",
    [
        kernels.forward_kernel,
        kernels.key_value_gradient_kernel,
        kernels.query_gradient_kernel,
        kernels.atomic_backward_kernel,
        kernels.split_decode_kernel,
        kernels.merge_kernel,
        kernels.scores_kernel,
        kernels.softmax_kernel,
        kernels.values_kernel,
    ],
    ids=lambda kernel: kernel.__name__,
)
def test_lengths_of_one_compile_too(kernel):
    """At a launch Triton makes a constant of a whole number that is 1, and constants type differently."""
    ones = dict.fromkeys(("queries", "keys", "group", "rows", "splits", "chunk"), 1)
    constants = dict(HEAD_DIM=16, BLOCK_M=16, BLOCK_N=16, GROUP=1, BLOCK_G=16, BLOCK_S=16, BLOCK_K=16)
    constants |= ones | dict(CAUSAL=True, WINDOW=8, SINKS=2)
    types = TYPES | dict.fromkeys(("partial", "partial_lse"), "*fp32") | dict.fromkeys(("scores", "weights"), "*fp16")
    names = kernel.arg_names
    found = compiled(
        kernel,
        {name: types[name] for name in names if name not in constants},
        {name: value for name, value in constants.items() if name in names},
    )
    assert found.fits


@pytest.mark.parametrize("target", ["sm_80", "sm_90"])
@pytest.mark.seconds
def test_the_record_says_what_the_compiler_says(target):
    types = dict.fromkeys("qkv", "*fp16") | dict.fromkeys(("partial", "partial_lse"), "*fp32")
    types |= {"scale": "fp32", "keys": "i32", "chunk": "i32", "group": "i32"}
    asked = types, dict(HEAD_DIM=64, BLOCK_G=16, BLOCK_N=kernels.DECODE[2][64].block_n), target, 4, 2
    kept, found = compiled(kernels.split_decode_kernel, *asked), resources(kernels.split_decode_kernel, *asked)
    assert kept == replace(found, ptx=kept.ptx) and kept.ptx and all(name in found.ptx for name in kept.ptx.split())


def test_a_kernel_s_source_is_all_that_it_uses():
    assert "def key_part(" in source(kernels.forward_kernel) and "def visible(" in source(kernels.forward_kernel)
    assert key(kernels.forward_kernel, {}) != key(kernels.query_gradient_kernel, {}) != key(kernels.forward_kernel, 1)


@pytest.mark.parametrize("kernel", [flash_forward, causal_flash_forward])
@pytest.mark.parametrize("target", ["sm_80", "sm_90"])
@pytest.mark.slow
def test_the_lessons_kernels_take_what_the_closed_form_says(kernel, target):
    types = dict.fromkeys(("q", "k", "v", "out"), "*fp16") | {"lse": "*fp32", "scale": "fp32", "n": "i32"}
    for block_m, block_n, d, stages in ((64, 64, 64, 2), (64, 32, 64, 2), (64, 64, 128, 2), (128, 64, 64, 3)):
        constants = dict(HEAD_DIM=d, BLOCK_M=block_m, BLOCK_N=block_n)
        found = compiled(kernel, types, constants, target, num_warps=4, num_stages=stages)
        assert found.shared_bytes == flash.shared_memory_bytes(block_m, block_n, d, stages=stages, target=target)


# The exercises ---------------------------------------------------------------------------------------------------


@triton.jit
def _dots(q, k, v, out, lse, scale, n, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """Nothing yet."""
    ...


@triton.jit
def _writes_to_q(q, k, v, out, lse, scale, n, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    tl.store(q, 1.0)


@triton.jit
def _reaches_too_far(q, k, v, out, lse, scale, n, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    tl.load(q + n * HEAD_DIM + tl.arange(0, BLOCK_M))


@pytest.mark.parametrize("exercise", [exercises.FLASH_FORWARD, exercises.CAUSAL_FLASH_FORWARD], ids=lambda e: e.name)
@pytest.mark.seconds
def test_answers_that_are_no_answer(exercise):
    blank = exercise.verdict(_dots)
    assert (blank.attempted, blank.message) == (False, "not attempted yet. The lesson goes on with ours.")
    assert "Put @triton.jit above its def" in exercise.verdict(_writes_to_q.fn).message
    assert "your kernel writes to q; store to out and lse only" in exercise.verdict(_writes_to_q).message
    assert "a load of q at byte offset" in exercise.verdict(_reaches_too_far).message


PIECES = {
    "no head offset": (
        ("first = tl.program_id(1).to(tl.int64) * n", "first = 0 * n"),
        "program (0, 1) stores nothing to rows 0 to 19 of head 1 of out: what it stores begins at row 0 of head 0",
    ),
    "nothing stored": (
        ("    tl.store(lse", "    # tl.store(lse"),
        "program (0, 0) stores nothing to lse; rows 0 to 15 of head 0 of lse are its part",
    ),
    "half stored": (
        ("    tl.store(out + q_at,", "    tl.store(out + tl.where(columns < 8, q_at, q_at - columns),"),
        "program (0, 0) leaves row 0, column 8, of head 0 of out as it was; rows 0 to 15 of head 0 of out are its part",
    ),
    "no other": (
        ("v + k_at, mask=keys[:, None] < n, other=0.0", "v + k_at, mask=keys[:, None] < n"),
        "your kernel loads v at line 24, `v_tile = tl.load(v + k_at, mask=keys[:, None] < n)`, with a mask and without "
        "other=: lanes that are off hold anything, here nan, and it reaches the output",
    ),
    "far outside": (
        ("tl.load(q + q_at, mask=rows[:, None] < n, other=0.0)", "tl.load(q + q_at + 100000)"),
        "line 11 (q_tile = tl.load(q + q_at + 100000)): a load of q at byte offset 404,092",
    ),
    "far outside, by a name": (
        ("q_tile = tl.load(q + q_at, mask=rows[:, None] < n, other=0.0)", "at = v + 100000; q_tile = tl.load(at)"),
        "a load of v at byte offset 400,000",
    ),
    "an error at the same line": (
        ("tl.load(q + q_at, mask=rows[:, None] < n, other=0.0)", "tl.load(q + nowhere)"),
        "your function stops at line 11, `q_tile = tl.load(q + nowhere)`, with NameError",
    ),
}


@pytest.mark.parametrize("pieces, words", PIECES.values(), ids=list(PIECES))
@pytest.mark.seconds
def test_what_a_kernel_does_to_its_memory_is_told_by_program_tensor_and_line(pieces, words):
    """Lines are counted from the kernel's `def`, in errors and in accesses alike."""
    assert words in exercises.FLASH_FORWARD.verdict(changed(flash_forward_in_base_2, *pieces)).message


@pytest.mark.seconds
def test_a_load_without_other_whose_lanes_are_hidden_is_right():
    pieces = "k + k_at, mask=keys[:, None] < n, other=0.0", "k + k_at, mask=keys[:, None] < n"
    assert exercises.FLASH_FORWARD.verdict(changed(flash_forward, *pieces)).ok


@pytest.mark.seconds
def test_what_causality_saves_is_asked_for():
    """Right numbers, too many bytes: the verdict names the bytes."""
    longer = "tl.minimum(n, (tl.program_id(0) + 1) * BLOCK_M)", "tl.cdiv(n, BLOCK_N) * BLOCK_N"
    verdict = exercises.CAUSAL_FLASH_FORWARD.verdict(changed(causal_flash_forward, *longer))
    assert not verdict.ok and "your kernel issues" in verdict.message and "suffice" in verdict.message


def test_a_causal_kernel_repeats_the_full_one_but_for_its_new_lines():
    def body(kernel):
        lines = kernel.src.partition('"""')[2].partition('"""')[2].splitlines()
        return [line.partition("  # new: ")[0] for line in lines], [line for line in lines if "# new: " in line]

    (full, _), (causal, new) = body(flash_forward), body(causal_flash_forward)
    changes = [line.strip() for line in causal if line not in full]
    assert len(new) == 2 and changes[1] == "for start in range(0, end, BLOCK_N):" and len(changes) == 3


def test_without_triton_an_answer_is_not_judged():
    verdict = replace(exercises.FLASH_FORWARD, unjudged="There is no Triton here.").verdict(flash_forward)
    assert verdict.message == "not judged. There is no Triton here. The lesson goes on with ours."
    assert not verdict.ok


def test_a_mistake_is_one_piece_of_the_source():
    one = changed(flash_forward_in_base_2, "alpha * ell + ", "ell + ")
    assert one.__name__ == "flash_forward_in_base_2" and "ell = ell + tl.sum(p, 1)" in one.src
    with pytest.raises(ValueError, match="does not hold"):
        changed(flash_forward, "beta * ell", "ell")


# The benchmark, as far as it needs no GPU ------------------------------------------------------------------------


def test_the_benchmarks_cases():
    forward = bench.grid("forward")
    assert len(set(forward)) == len(forward) == 36
    assert all(case.batch * case.keys == 16_384 for case in forward if case.keys <= 16_384)
    assert {case.keys for case in bench.grid("backward")} == set(bench.LENGTHS)
    assert {(case.window, case.sinks) for case in bench.grid("window")} == {
        (w, s) for w in (128, 1024, 4096) for s in (0, 4)
    }
    assert max(case.keys for case in bench.grid("decode")) == 131_072
    assert max(bench.moved(case) for case in bench.grid("decode")) == 4 * 2**30
    with pytest.raises(ValueError, match="give forward, backward, window or decode"):
        bench.grid("sideways")


@pytest.mark.parametrize("n, window, sinks", [(50, 7, 0), (50, 7, 3), (50, 7, 60), (50, 50, 4), (50, 80, 0), (9, 1, 1)])
def test_the_benchmark_counts_the_pairs_of_a_window(n, window, sinks):
    case = bench.Case("window", 1, 1, 1, n, n, 64, True, window, sinks)
    position = torch.arange(n)
    assert bench.pairs(case) == int(window_mask(position, position, window, sinks=sinks).sum())


def test_the_benchmark_counts_flops_as_the_papers_do():
    """4 N² d a head forward, half of it causal, two and a half times as much backward."""
    long = next(c for c in bench.grid("forward") if (c.keys, c.head_dim, c.causal) == (16_384, 64, False))
    assert bench.flops(long) == 4 * 16_384 * 16_384 * 2048
    short = next(c for c in bench.grid("backward") if (c.keys, c.head_dim, c.causal) == (512, 128, True))
    assert bench.flops(short) == 2.5 * 4 * 512 * 16_384 * 2048 / 2


@pytest.mark.seconds
def test_the_benchmark_predicts_what_a_trace_counts():
    case = bench.Case("forward", 2, 4, 2, 50, 50, 16, True)
    q, k, v = qkv(4, 2, 50, d=16, dtype=torch.float16, batch=2)
    _, trace = traced(attention_forward, q, k, v, 0.25, True, 0, 0, Blocks(32, 16))
    expected = bench.predicted(case, Blocks(32, 16))
    assert expected["issued_loads"] == trace.issued_bytes(kind="load")
    assert expected["issued_stores"] == trace.issued_bytes(kind="store")
    assert expected["compulsory_loads"] == sum(trace.compulsory_bytes(name, kind="load") for name in "qkv")


NCU = """some line of the program
==PROF== Connected to process 4242 (/usr/bin/python3)
==PROF== Profiling "forward_kernel" - 0: 0%....50%....100% - 1 pass
==PROF== Disconnected from process 4242
"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device","CC",\
"Section Name","Metric Name","Metric Unit","Metric Value"
"0","4242","python3","127.0.0.1","forward_kernel","1","7","(256, 1, 1)","(8, 64, 1)","0","9.0",\
"Command line profiler metrics","dram__bytes_read.sum","byte","25,165,824"
"0","4242","python3","127.0.0.1","forward_kernel","1","7","(256, 1, 1)","(8, 64, 1)","0","9.0",\
"Command line profiler metrics","lts__t_sectors_srcunit_tex_op_read.sum","sector","2,359,296"
"0","4242","python3","127.0.0.1","forward_kernel","1","7","(256, 1, 1)","(8, 64, 1)","0","9.0",\
"Command line profiler metrics","launch__registers_per_thread","register/thread","n/a"
"1","4242","python3","127.0.0.1","forward_kernel","1","7","(256, 1, 1)","(8, 64, 1)","0","9.0",\
"Command line profiler metrics","dram__bytes_read.sum","byte","1024"
"""
"""The shape of ncu's output as its documentation gives it; the numbers are made up."""


def test_counters_are_read_and_compared():
    first, second = bench.parse_ncu(NCU)
    assert first == {
        "kernel": "forward_kernel",
        "dram__bytes_read.sum": 25_165_824,
        "lts__t_sectors_srcunit_tex_op_read.sum": 2_359_296,
    }
    assert second["dram__bytes_read.sum"] == 1024
    expected = {"issued_loads": 32 * 2_359_296, "issued_stores": 10, "compulsory_loads": 25_000_000}
    found = bench.compared(first, expected)
    assert found["l2_read_over_issued"] == 1 and found["dram_in_bounds"] and "registers" not in found
    assert not bench.compared(second, expected)["dram_in_bounds"]
    with pytest.raises(ValueError, match="ERR_NVGPUCTRPERM"):
        bench.parse_ncu("==ERROR== ERR_NVGPUCTRPERM - The user does not have permission")


def test_the_benchmarks_table_and_lines():
    """Numbers made up to stand on both sides of the lines, which FlashAttention-2 draws and no faster peer."""
    ceilings = {"matmul_tflop_per_s": 800.0, "copy_gb_per_s": 4000.0}
    case = bench.Case("forward", 1, 16, 16, 16_384, 16_384, 128, True)
    peers = {"SDPA cudnn": {"ms": 2.0}, "SDPA flash": {"ms": 3.0}, "flash-attn": {"not run": "ImportError"}}
    row = {"case": vars(case), "ms": 4.0, "tflop_per_s": 400.0, "gb_per_s": 1.0, "peers": peers}
    assert bench.share(row, ceilings) == ("SDPA flash", 0.75)
    assert bench.missed(row, ceilings) and not bench.missed({**row, "ms": 3.7}, ceilings)
    assert not bench.missed({**row, "peers": {"SDPA cudnn": {"ms": 2.0}}}, ceilings)  # no line without its peer
    backward = {**row, "case": {**vars(case), "part": "backward"}}
    assert not bench.missed(backward, ceilings) and bench.missed({**backward, "ms": 5.1}, ceilings)
    line = bench.table([row], ceilings).splitlines()[-1]
    assert line == "| forward | 128 | 16,384 | causal | 4.000 | 400 | 0.50 | - | SDPA flash 0.75 | SDPA cudnn 0.50 |"
    decode = bench.Case("decode", 1, 32, 8, 1, 131_072, 128)
    row = {"case": vars(decode), "ms": 0.2, "tflop_per_s": 10.0, "gb_per_s": 2700.0, "peers": {}}
    assert bench.missed(row, ceilings) and not bench.missed({**row, "gb_per_s": 2900.0}, ceilings)
    assert "| batch 1, splits ours | 0.200 | 10 | 0.01 | 2700 | copying 0.68 | - |" in bench.table([row], ceilings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to measure")
def test_without_cuda_the_benchmark_says_so_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["kernels.py", "--out", str(tmp_path / "kernels.json")])
    bench.main()
    assert capsys.readouterr().out.startswith("There is no CUDA device here") and not list(tmp_path.iterdir())
