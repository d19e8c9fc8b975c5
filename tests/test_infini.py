"""What must hold of a memory that is one matrix: causal, whole whatever the chunks, and free of other streams."""

import math
import warnings
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from solutions.infini import (
    FEATURES,
    RULES,
    InfiniState,
    KNNAttention,
    additions_until_stall,
    autocompressor_floats,
    break_even_tokens,
    capacity,
    compressive_floats,
    dual_form,
    feature,
    forced_gates,
    gate,
    gate_range,
    gates,
    infini_floats,
    infini_layers,
    kv_cache_floats,
    memorizing_floats,
    needle_share,
    read_backs,
    repeated,
    retrieve,
    rmt_floats,
    segment_step,
    transformer_xl_floats,
    update_delta,
    update_gamma,
    update_linear,
    update_unit,
)
from solutions.quadratic import attention
from solutions.tiny import Attention, Config, TinyTransformer

WITHIN = 1e-10  # float64
SEGMENT = 8
SYSTEMS = ("infini", "xl", "knn")


def built(name="infini", layers=2, dtype=torch.float64, segment=SEGMENT, heads=4, seed=0, kv_heads=None, **options):
    options = {name: {"segment": segment, **options}}
    config = Config(11, (name,) * layers, width=16, heads=heads, kv_heads=kv_heads, options=options, seed=seed)
    return TinyTransformer(config).to(dtype)


def tokens(batch=2, n=37, seed=0):
    return torch.randint(11, (batch, n), generator=torch.Generator().manual_seed(seed))


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def streamed(model, text, lengths):
    stream = model.new_stream()
    return torch.cat([model(part, stream) for part in text.split(lengths, dim=1)], dim=1), stream


def nothing(*leading, d=8, d_value=8):
    return torch.zeros(*leading, d, d_value, dtype=torch.float64), torch.zeros(*leading, d, dtype=torch.float64)


def influence(model, n):
    """How far output i moves with input j, (n, n), along one direction of each output, drawn at random."""
    x = normal(n, 16, seed=3).requires_grad_()
    along = (model.transform(x[None])[0] * normal(n, 16, seed=4)).sum(dim=-1)
    return torch.stack([torch.autograd.grad(each, x, retain_graph=True)[0].norm(dim=-1) for each in along])


# Causality -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, options", [*(("infini", {"rule": rule}) for rule in RULES), ("xl", {}), ("knn", {})])
@pytest.mark.slow
def test_no_token_sees_a_later_one(name, options):
    moved = influence(built(name, **options), 4 * SEGMENT)
    assert moved.triu(1).max() < 1e-12
    assert (moved.diagonal() > 0).all()
    if name == "xl":  # no gradient enters the cached segment
        assert moved[-1, : 3 * SEGMENT].max() == 0 and moved[-1, 3 * SEGMENT] > 1e-8
    else:
        assert moved[-1, 0] > 1e-8


def test_a_write_before_the_read_is_seen():
    """The guard can fail: a layer that writes first lets a token see the rest of its own segment."""

    def reads_what_it_wrote(q, k, v, memory, z):
        memory, z = update_linear(k, v, memory, z)
        return retrieve(q, memory, z)

    q, k = normal(SEGMENT, 8), normal(SEGMENT, 8, seed=1)
    moved = torch.autograd.functional.jacobian(
        lambda v: reads_what_it_wrote(q, k, v, *nothing()), normal(SEGMENT, 8, seed=2)
    )
    assert moved.abs().sum(dim=(1, 3)).triu(1).max() > 1e-3


# Streaming -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, options", [*(("infini", {"rule": rule}) for rule in RULES), ("xl", {}), ("knn", {})])
@pytest.mark.parametrize("kv_heads", [None, 2, 1])
@pytest.mark.slow
def test_any_chunks_give_the_whole(name, options, kv_heads):
    model, text = built(name, kv_heads=kv_heads, **options), tokens()
    whole = model(text)
    for lengths in (1, 3, 5, 8, 9, 16, 20, 37, [4, 1, 24, 8], [8, 24, 5], [36, 1]):
        out, stream = streamed(model, text, lengths)
        assert (out - whole).abs().max() <= WITHIN
        assert [state.tokens for state in stream.caches] == [37, 37]


def test_the_layer_is_the_segment_step_in_a_loop():
    model = built(layers=1).layers[0].attention
    x = normal(2, 5 * SEGMENT, 16)
    model.frequencies = torch.empty(0)  # the step knows no positions
    q, k, v = (each.split(SEGMENT, dim=-2) for each in model.project(x))
    memory, z = nothing(2, 4, d=4, d_value=4)
    parts = []
    for part in zip(q, k, v, strict=True):
        out, memory, z = segment_step(*part, memory, z, model.beta)
        parts.append(out)
    whole = model(x, torch.arange(5 * SEGMENT))
    assert (whole - model.join(torch.cat(parts, dim=-2))).abs().max() <= WITHIN


def test_positions_begin_anew_in_each_segment():
    """Far into a stream an angle has all its digits: the same segment gives the same local attention."""
    model = built(dtype=torch.float32).eval()
    with forced_gates(model, 0.0), torch.no_grad():
        text = tokens(n=SEGMENT)
        stream = model.new_stream()
        near = model(text, stream)
        for state in stream.caches:
            state.tokens = 10**7 * SEGMENT
        stream.tokens, stream.last = 10**7 * SEGMENT, None
        assert torch.equal(model(text, stream), near)


def test_float32_follows_float64():
    exact, text = built(), tokens(n=60)
    rounded = built(dtype=torch.float32)
    torch.testing.assert_close(rounded(text).double(), exact(text), rtol=0, atol=1e-5)


# The gate ------------------------------------------------------------------------------------------------------------


def block_local(model, text):
    """The same model when every segment stands alone."""
    parts = []
    last = None
    for part in text.split(SEGMENT, dim=1):
        x = model.transform(model.embed(part, last))
        parts.append(model.head(model.norm(x)))
        last = part[:, -1]
    return torch.cat(parts, dim=1)


def test_a_closed_gate_is_local_attention():
    model, text = built(), tokens()
    with forced_gates(model, 0.0):
        assert (model(text) - block_local(model, text)).abs().max() <= WITHIN
    assert (model(text) - block_local(model, text))[:, SEGMENT:].abs().max() > 1e-3


def test_one_segment_alone_is_the_local_share_of_attention():
    layer = built(layers=1).layers[0].attention
    x, position = normal(2, SEGMENT, 16), torch.arange(SEGMENT)
    q, k, v = layer.project(x)
    local = attention(layer.turn(q, position), layer.turn(k, position), v, causal=True)
    assert (layer(x, position) - layer.join(local / 2)).abs().max() <= WITHIN  # σ(0) = 1/2


def test_gates_are_one_number_a_head_and_forcing_them_is_undone():
    model = built()
    local = TinyTransformer(Config(11, ("full",) * 2, width=16, heads=4)).double()
    count = lambda one: sum(weight.numel() for weight in one.parameters())  # noqa: E731
    assert count(model) - count(local) == 2 * 4
    with torch.no_grad():
        model.layers[0].attention.beta.copy_(normal(4))
    before, free = gates(model), model(tokens())
    for share in (0.0, 0.3, 1.0):
        with forced_gates(model, share):
            assert (gates(model) - share).abs().max() < 1e-12
            assert model(tokens()).isfinite().all()
    assert torch.equal(gates(model), before) and torch.equal(model(tokens()), free)
    assert before.shape == (2, 4)


def test_gate_mixes_head_by_head():
    beta = torch.tensor([-30.0, 0.0, 30.0], dtype=torch.float64)
    from_memory, local = normal(2, 3, 5, 4), normal(2, 3, 5, 4, seed=1)
    mixed = gate(beta, from_memory, local)
    torch.testing.assert_close(mixed[:, 0], local[:, 0])
    torch.testing.assert_close(mixed[:, 1], (local + from_memory)[:, 1] / 2)
    torch.testing.assert_close(mixed[:, 2], from_memory[:, 2])


# What a read is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, segment", [(40, 8), (37, 8), (5, 8), (9, 1)])
def test_a_read_is_linear_attention_to_earlier_segments(n, segment):
    q, k, v = normal(3, n, 6), normal(3, n, 6, seed=1), normal(3, n, 5, seed=2)
    memory, z = nothing(3, d=6, d_value=5)
    reads = []
    for q_s, k_s, v_s in zip(*(each.split(segment, dim=-2) for each in (q, k, v)), strict=True):
        reads.append(retrieve(q_s, memory, z))
        memory, z = update_linear(k_s, v_s, memory, z)
    torch.testing.assert_close(torch.cat(reads, dim=-2), dual_form(q, k, v, segment), rtol=1e-9, atol=1e-12)


def test_a_read_is_an_average():
    k, v, q = normal(50, 8), normal(50, 5, seed=1), normal(20, 8, seed=2)
    memory, z = update_linear(k, v, *nothing(d_value=5))
    read = retrieve(q, memory, z)
    assert (read <= v.amax(dim=0)).all() and (read >= v.amin(dim=0)).all()
    assert (feature(q) > 0).all()


def test_the_order_of_earlier_tokens_plays_no_part():
    layer = built(layers=1).layers[0].attention
    x, position = normal(1, 4 * SEGMENT, 16), torch.arange(4 * SEGMENT)
    shuffle = torch.cat(
        [torch.randperm(3 * SEGMENT, generator=torch.Generator().manual_seed(1)), position[3 * SEGMENT :]]
    )
    last = lambda x: layer(x, position)[:, 3 * SEGMENT :]  # noqa: E731
    torch.testing.assert_close(last(x[:, shuffle]), last(x), rtol=1e-9, atol=1e-12)
    rotated = type(layer).look

    def with_rotation(self, q, k, v, state):
        return rotated(self, self.turn(q, position), self.turn(k, position), v, state)

    layer.look = with_rotation.__get__(layer)  # the guard can fail: rotated keys know where they stood
    assert (last(x[:, shuffle]) - last(x)).abs().max() > 1e-4


def test_grouped_heads_read_the_memory_of_their_group():
    grouped = built(kv_heads=2)
    single = built()
    weights = grouped.state_dict()
    for name, weight in weights.items():
        if name.endswith(("to_k.weight", "to_v.weight")):  # K and V of a group stand side by side: 0, 0, 1, 1
            weights[name] = weight.unflatten(0, (2, -1)).repeat_interleave(2, dim=0).flatten(0, 1)
    single.load_state_dict(weights)
    assert (grouped(tokens()) - single(tokens())).abs().max() <= WITHIN
    _, stream = streamed(grouped, tokens(), 37)
    assert stream.caches[0].memory.shape == (2, 2, 4, 4) and stream.caches[0].z.shape == (2, 2, 4)


def test_the_same_segment_again_adds_the_same_again():
    """With the linear rule, and in the first layer, where a segment writes the same each time."""
    model = built(layers=1, dtype=torch.float64)
    filler, often = tokens(batch=1, n=SEGMENT), 7
    _, once = streamed(model, filler, SEGMENT)
    filler_again = torch.cat([filler] * often, dim=1)
    model.before = None  # else the first token of a segment differs by the token before it
    _, once = streamed(model, filler, SEGMENT)
    _, stream = streamed(model, filler_again, 3)
    with repeated(model, torch.tensor([[often]])):
        _, virtual = streamed(model, filler, SEGMENT)
    for name in ("memory", "z"):
        added = getattr(once.caches[0], name) * often
        torch.testing.assert_close(getattr(stream.caches[0], name), added, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(getattr(virtual.caches[0], name), added, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", list(RULES))
def test_once_is_no_repetition(rule):
    model, text = built(rule=rule), tokens(n=40)
    whole = model(text)
    with repeated(model, torch.ones(2, 5)):
        assert torch.equal(model(text), whole)
    with repeated(model, torch.tensor([[1, 1, 30, 1, 1]] * 2)):
        changed = (model(text) - whole).abs().amax(dim=(0, 2)) > 0
    assert not changed[: 3 * SEGMENT].any() and changed[3 * SEGMENT :].all()
    assert torch.equal(model(text), whole)


# The rules -----------------------------------------------------------------------------------------------------------


def test_the_printed_delta_rule_reads_back_half():
    found = read_backs("delta", 100)
    assert found[0][0] == pytest.approx(1, abs=1e-12)
    for number, (share, norm) in enumerate(found[1:], start=2):
        assert share == pytest.approx(0.5, abs=1e-9) and norm == pytest.approx(number / 2, rel=1e-9)


@pytest.mark.parametrize("rule", ["gamma", "unit"])
def test_the_mended_rules_leave_alone_what_is_there(rule):
    for share, norm in read_backs(rule, 100):
        assert share == pytest.approx(1, abs=1e-9) and norm == pytest.approx(1, abs=1e-9)
    assert [round(share, 9) for share, _ in read_backs("linear", 5)] == [1] * 5
    assert read_backs("linear", 5)[-1][1] == pytest.approx(5)


def test_gamma_counts_nothing_that_is_there():
    k, v = normal(1, 8), normal(1, 8, seed=1)
    memory, z = update_gamma(k, v, *nothing())
    again = update_gamma(k, v, memory, z)
    torch.testing.assert_close(again, (memory, z), rtol=1e-9, atol=1e-12)
    counted = update_delta(k, v, memory, z)[1]
    torch.testing.assert_close(counted, 2 * z)


def test_gamma_stands_outside_the_gradient():
    k = normal(3, 8).requires_grad_()
    memory, z = update_linear(normal(3, 8, seed=2), normal(3, 8, seed=3), *nothing())
    _, counted = update_gamma(k, normal(3, 8, seed=1), memory, z)
    weight = feature(k)
    fixed = (1 - (weight @ z) / weight.square().sum(-1)).clamp(0, 1).detach()
    expected = torch.autograd.grad((fixed[:, None] * weight).sum(), k, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(counted.sum(), k), expected)


def test_the_unit_rule_is_one_token_after_the_other():
    k, v = normal(2, 12, 8), normal(2, 12, 5, seed=1)
    memory, z = nothing(2, d_value=5)
    memory = memory + normal(2, 8, 5, seed=2)
    whole, untouched = update_unit(k, v, memory, z)
    phi = F.normalize(F.silu(k), dim=-1)
    for i in range(12):
        error = v[:, i] - torch.einsum("bd,bde->be", phi[:, i], memory)
        memory = memory + phi[:, i, :, None] * error[:, None]
    torch.testing.assert_close(whole, memory)
    assert untouched is z


def test_delta_in_an_empty_memory_is_linear():
    k, v = normal(2, 6, 8), normal(2, 6, 8, seed=1)
    for one, other in zip(update_delta(k, v, *nothing(2)), update_linear(k, v, *nothing(2)), strict=True):
        assert torch.equal(one, other)


# Edges of the numbers ------------------------------------------------------------------------------------------------


def test_the_feature_keeps_its_digits_and_never_is_nothing():
    """ELU + 1, computed so, has 6 % of error at -16 in float32 and is exactly 0 below -17.33."""
    x = torch.linspace(-80, 20, 20_001)
    exact = torch.where(x > 0, x.double() + 1, x.double().clamp(max=0).exp())
    assert ((feature(x).double() - exact).abs() / exact).max() < 2e-7
    assert (F.elu(x) + 1)[x < -17.34].max() == 0  # the guard can fail
    x = torch.tensor([-200.0, -20, -1e-30, 0, 1e-30, 3, 1e30], requires_grad=True)
    (slope,) = torch.autograd.grad(feature(x).sum(), x)
    torch.testing.assert_close(slope, torch.tensor([0, torch.tensor(-20.0).exp(), 1, 1, 1, 1, 1]))
    assert torch.autograd.gradcheck(feature, normal(50, seed=3).mul(3).requires_grad_())


@pytest.mark.parametrize("depth", [-10.0, -12.0, -40.0])
def test_a_single_pair_comes_back_whole_however_small_its_weight(depth):
    """A smallest denominator of 1e-6 gave 0.13 v at -10 and 0.002 v at -12."""
    k, v = torch.full((1, 64), depth, dtype=torch.float64), normal(1, 8)
    memory, z = update_linear(k, v, *nothing(d=64))
    torch.testing.assert_close(retrieve(k, memory, z), v, rtol=1e-12, atol=0)
    both = torch.cat([k, k])
    torch.testing.assert_close(dual_form(both, both, torch.cat([v, v]), 1)[1:], v, rtol=1e-12, atol=0)


def test_an_empty_memory_beside_a_full_one_reads_0():
    q, v = normal(2, 3, 4), normal(2, 5, 7, seed=1)
    memory, z = update_linear(normal(2, 5, 4, seed=2), v, *nothing(2, d=4, d_value=7))
    memory[0], z[0] = 0, 0
    read = retrieve(q.requires_grad_(), memory, z)
    assert (read[0] == 0).all() and (read[1].abs() > 0).all()
    (slope,) = torch.autograd.grad(read.sum(), q)
    assert slope.isfinite().all() and (slope[0] == 0).all() and (slope[1].abs() > 0).any()


@pytest.mark.parametrize("write", [update_linear, update_delta, update_gamma, update_unit])
@pytest.mark.parametrize("depth", [-20.0, -60.0, -2000.0])
def test_keys_far_below_0_write_no_nan(write, depth):
    k, v = torch.full((3, 8), depth, requires_grad=True), normal(3, 8, dtype=torch.float32)
    filled = update_linear(normal(3, 8, seed=1, dtype=torch.float32), v, *(each.float() for each in nothing()))
    for memory, z in (filled, [torch.zeros_like(each) for each in filled]):
        new = write(k, v, memory, z)
        (slope,) = torch.autograd.grad(sum(each.sum() for each in new if each.requires_grad), k)
        assert all(each.isfinite().all() for each in (*new, slope))


def test_a_nan_in_what_was_held_is_refused():
    k, v, (memory, z) = normal(3, 8), normal(3, 8, seed=1), nothing()
    z[2] = torch.nan
    for write in (update_linear, update_delta, update_gamma):
        with pytest.raises(ValueError, match=r"z holds nan at \[2\]"):
            write(k, v, memory, z)


@pytest.mark.filterwarnings("ignore:the memory is")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype):
    """What is computed from half-precision numbers is the float64 result, rounded: at most one unit in the last place.

    In the memory's own type, features, sums and quotients each rounded; `update_unit` did not run at all.
    """
    q, k, v = (normal(2, 40, 8, seed=seed).to(dtype) for seed in range(3))
    held = [each.to(dtype) for each in update_linear(normal(2, 90, 8), normal(2, 90, 8, seed=5), *nothing(2))]
    calls = {
        retrieve: (q, *held), dual_form: (q, k, v, 7), gate: (normal(2).to(dtype), k, v),
        **{rule: (k, v, *held) for rule in (update_linear, update_delta, update_gamma, update_unit)},
        segment_step: (q[:, None], k[:, None], v[:, None], *(each[:, None] for each in held), normal(1).to(dtype)),
    }  # fmt: skip
    for function, given in calls.items():
        exact = function(*(each.double() if isinstance(each, torch.Tensor) else each for each in given))
        found = function(*given)
        for one, other in zip(*(each if isinstance(each, tuple) else (each,) for each in (found, exact)), strict=True):
            assert one.dtype == dtype
            error = (one.double() - other).abs() / other.abs().clamp(min=1e-2)
            assert error.max() <= 1.01 * torch.finfo(dtype).eps / 2, function.__name__


# Streams apart, gradients, numbers -----------------------------------------------------------------------------------


def test_reset_isolates_streams():
    model = built()
    alone, _ = streamed(model, tokens(seed=1), 5)
    _, stream = streamed(model, tokens(seed=0), 5)
    for state in stream.caches:
        state.reset()
    stream.tokens, stream.last = 0, None
    again = torch.cat([model(part, stream) for part in tokens(seed=1).split(5, dim=1)], dim=1)
    assert torch.equal(again, alone)


def test_batch_rows_are_independent():
    model, text = built(dtype=torch.float64), tokens(batch=3)
    whole = model(text)
    assert (model(text[[2, 0, 1]]) - whole[[2, 0, 1]]).abs().max() <= WITHIN
    changed = text.clone()
    changed[1] = (changed[1] + 1) % 11
    assert (model(changed)[[0, 2]] - whole[[0, 2]]).abs().max() <= WITHIN


def test_gradients_reach_the_first_segment_and_nothing_passes_a_cut():
    model = built()
    x = model.embed(tokens(batch=1, n=4 * SEGMENT)).detach().requires_grad_()
    model.transform(x)[0, -1].sum().backward()
    assert x.grad[0, :SEGMENT].abs().max() > 1e-8
    x = x.detach().requires_grad_()
    stream = model.new_stream()
    for part in x.split(SEGMENT, dim=1):
        out = model.transform(part, stream)
        stream.tokens += SEGMENT
        for state in stream.caches:
            state.memory, state.z = state.memory.detach(), state.z.detach()
    out[0, -1].sum().backward()
    assert x.grad[0, : 3 * SEGMENT].abs().max() == 0 and x.grad[0, 3 * SEGMENT :].abs().max() > 0


@pytest.mark.parametrize("rule", list(RULES))
def test_an_empty_memory_gives_no_nan(rule):
    model = built(rule=rule)
    out = model(tokens())
    out.sum().backward()
    assert out.isfinite().all()
    assert all(weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None)
    assert model.layers[0].attention.beta.grad.abs().max() > 0
    assert retrieve(normal(3, 8), *nothing()).abs().max() == 0


def test_forgetting_is_a_memory_of_zeros():
    model, text = built(), tokens(n=4 * SEGMENT + 3)
    whole, _ = streamed(model, text, 3 * SEGMENT)
    stream = model.new_stream()
    model(text[:, : 4 * SEGMENT], stream)
    for state in stream.caches:
        state.forget()
    late = model(text[:, 4 * SEGMENT :], stream)
    assert (late - whole[:, 4 * SEGMENT :]).abs().max() > 1e-4
    alone = built()
    fresh = alone.new_stream()
    fresh.last = text[:, 4 * SEGMENT - 1]
    assert (alone(text[:, 4 * SEGMENT :], fresh) - late).abs().max() <= WITHIN


def test_the_state_stays_in_float32_when_all_else_is_half():
    model = built(dtype=torch.bfloat16)
    _, stream = streamed(model, tokens(), 5)
    assert {state.memory.dtype for state in stream.caches} == {torch.float32}
    model = built(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        whole = model(tokens(n=40))
        _, stream = streamed(model, tokens(n=40), 5)
    assert {(state.memory.dtype, state.z.dtype) for state in stream.caches} == {(torch.float32, torch.float32)}
    assert whole.isfinite().all()


@pytest.mark.seconds
def test_ten_thousand_unit_writes_read_ten_thousand():
    key, value = torch.zeros(1, 1), torch.ones(1, 1)  # σ(0) = 1
    memory, z = torch.zeros(1, 1), torch.zeros(1)
    for _ in range(10_000):
        memory, z = update_linear(key, value, memory, z)
    assert memory.item() == z.item() == 10_000
    half = torch.zeros(1, 1, dtype=torch.bfloat16), torch.zeros(1, dtype=torch.bfloat16)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        for _ in range(300):
            half = update_linear(key.bfloat16(), value.bfloat16(), *half)
    assert half[0].item() == half[1].item() == 256
    assert additions_until_stall(torch.bfloat16) == 256 and additions_until_stall(torch.float16) == 2048


def test_the_state_does_not_grow():
    model = built(dtype=torch.float32).eval()
    stream, seen = model.new_stream(), set()
    with torch.no_grad():
        for _ in range(40):
            model(tokens(n=3 * SEGMENT), stream)
            seen.add(stream.nbytes)
    assert seen == {4 * infini_floats(2, 4, 4, 4) * 2}  # float32, a batch of 2, and no live segment
    assert [state.memory.untyped_storage().nbytes() for state in stream.caches] == [2 * 4 * 16 * 4] * 2
    model(tokens(n=5), stream)
    assert stream.nbytes == 4 * infini_floats(2, 4, 4, 4) * 2 + 2 * 2 * 5 * 16 * 2 * 4
    assert stream.caches[0].k.untyped_storage().nbytes() == 2 * 5 * 16 * 4


# What it is compared with --------------------------------------------------------------------------------------------


def test_what_each_system_holds():
    text, head_floats = tokens(n=5 * SEGMENT), 16 * 2 * 8  # width, k and v, float64
    held = {}
    for name in SYSTEMS:
        _, stream = streamed(built(name), text, 7)
        held[name] = stream.caches[0].nbytes
    assert held["xl"] == 2 * 2 * SEGMENT * head_floats  # this segment and the one before, for two rows
    assert held["knn"] == 2 * 5 * SEGMENT * head_floats
    assert held["infini"] == 2 * 8 * infini_floats(1, 4, 4, 4)


def test_xl_looks_at_one_segment_before():
    layer = built("xl", layers=1).layers[0].attention
    x, position = normal(1, 4 * SEGMENT, 16), torch.arange(4 * SEGMENT)
    q, k, v = layer.project(x)
    q, k = (Attention.turn(layer, each, position) for each in (q, k))  # a score knows differences alone
    mask = (position // SEGMENT >= position[:, None] // SEGMENT - 1) & (position <= position[:, None])
    assert (layer(x, position) - layer.join(attention(q, k, v, mask=mask))).abs().max() <= WITHIN


def test_xl_reaches_one_segment_further_with_each_layer():
    model, text = built("xl"), tokens(n=5 * SEGMENT)
    for changed, reaches in ((0, False), (2 * SEGMENT - 2, False), (2 * SEGMENT, True)):
        other = text.clone()
        other[:, changed] = (other[:, changed] + 1) % 11
        assert ((model(other) - model(text))[:, -SEGMENT:].abs().max() > 1e-8) == reaches


def test_knn_with_all_keys_is_attention_to_all_earlier_segments():
    layer = built("knn", layers=1, top_k=10**6).layers[0].attention
    x, position = normal(2, 3 * SEGMENT + 2, 16), torch.arange(3 * SEGMENT + 2)
    q, k, v = layer.project(x)
    number = position // SEGMENT
    far = attention(q, k, v, mask=number < number[:, None])
    near = attention(
        layer.turn(q, position),
        layer.turn(k, position),
        v,
        mask=(number == number[:, None]) & (position <= position[:, None]),
    )
    assert (layer(x, position) - layer.join(gate(layer.beta, far, near))).abs().max() <= WITHIN


def test_knn_reads_the_best_keys_only():
    layer = built("knn", layers=1, heads=1, top_k=1).layers[0].attention
    q, k, v = normal(1, 1, 3, 16), normal(1, 1, 50, 16, seed=1), normal(1, 1, 50, 16, seed=2)
    best = (q @ k.mT).argmax(dim=-1)[0, 0]
    assert torch.equal(layer.nearest(q, k, v)[0, 0], v[0, 0, best])


def test_a_last_layer_that_reads_only_where_it_is_asked():
    model, text = built("knn"), tokens(n=4 * SEGMENT + 3)
    whole = model(text)
    stream = model.new_stream()
    last = model.layers[-1].attention
    assert isinstance(last, KNNAttention)
    last.look_up = False
    model(text[:, : 4 * SEGMENT], stream)
    last.look_up = True
    assert (model(text[:, 4 * SEGMENT :], stream) - whole[:, 4 * SEGMENT :]).abs().max() <= WITHIN


# Table 1 of the paper, and what follows from it ----------------------------------------------------------------------


def test_the_memory_of_the_paper_to_the_last_float():
    infini = infini_floats(12, 8, 128, 128)
    assert infini == 1_585_152
    assert transformer_xl_floats(2048, 12, 8, 128, 128) == 50_331_648
    assert memorizing_floats(2048, 32, 8, 128, 128) == 134_217_728
    assert rmt_floats(12, 1024, 100) == 2_457_600
    assert compressive_floats(2048, 2048, 12, 1024) == 50_331_648
    assert autocompressor_floats(12, 1024, 50, 1) == 12 * 1024 * 100
    memorizing = 134_217_728 + 50_331_648
    assert round(183 / 1.6, 1) == 114.4 and round(memorizing / infini, 1) == 116.4
    assert round(transformer_xl_floats(2048, 12, 8, 128, 128) / infini, 2) == 31.75
    assert kv_cache_floats(1_000_000, 12, 8, 128, 128) / infini == pytest.approx(2 * 1_000_000 / 129)
    assert round(kv_cache_floats(1_000_000, 12, 8, 128, 128) / infini) == 15_504
    assert break_even_tokens(128, 128) == 64.5
    charged = (memorizing + 50_331_648) / (infini + 50_331_648)
    assert round(charged, 1) == 4.5


def test_floats_are_those_of_the_state():
    model = built(kv_heads=2)
    _, stream = streamed(model, tokens(batch=1, n=16), 16)
    assert sum(state.memory_bytes for state in stream.caches) == 8 * infini_floats(2, 2, 4, 4)


def test_the_share_of_a_needle_is_what_a_read_holds_of_it():
    q, needle, filler = normal(8), normal(8, seed=1), normal(6, 8, seed=2)
    keys = torch.cat([needle[None], filler.repeat(50, 1)])
    values = torch.zeros(len(keys), 1, dtype=torch.float64)
    values[0] = 1
    read = retrieve(q[None], *update_linear(keys, values, *nothing(d_value=1)))
    assert needle_share(q, needle, filler, 300).item() == pytest.approx(read.item(), rel=1e-12)
    a, b = feature(q) @ feature(needle), (feature(filler) @ feature(q)).mean()
    assert needle_share(q, needle, filler, int(a / b)).item() == pytest.approx(0.5, abs=0.2)


def test_how_far_a_gate_can_go():
    low, high = gate_range(100, 3e-4)
    assert (round(low, 4), round(high, 4)) == (0.4925, 0.5075)
    beta = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([beta], lr=3e-4)
    for _ in range(100):
        optimizer.zero_grad()
        (1e3 * beta).sum().backward()
        optimizer.step()
    assert torch.sigmoid(beta).item() == pytest.approx(low, abs=1e-5)


def test_the_cosine_of_random_keys_is_that_of_their_means():
    below = torch.special.ndtr(torch.tensor([-1.0, -2.0], dtype=torch.float64))
    mean = 0.5 + (2 * math.pi) ** -0.5 + math.exp(0.5) * below[0].item()
    square = 1 + 2 * (2 * math.pi) ** -0.5 + math.exp(2) * below[1].item()
    assert (round(mean, 4), round(square, 3), round(mean**2 / square, 3)) == (1.1605, 1.966, 0.685)
    features = feature(normal(2000, 64))
    assert features.mean().item() == pytest.approx(mean, abs=0.01)
    assert features.pow(2).mean().item() == pytest.approx(square, abs=0.03)


def test_capacity_falls_where_the_keys_are_no_longer_apart():
    counts = (4, 16, 64, 256, 512)
    unit = [capacity(pairs) for pairs in counts]
    assert unit[:2] == [1.0, 1.0] and unit[2] > 0.97 and unit[-1] < 0.5
    assert all(one >= other for one, other in pairwise(unit))
    alike = [capacity(pairs, features="ELU + 1") for pairs in counts]
    assert alike[1] < 0.35 and alike[2] < 0.12
    assert capacity(128, features="ReLU", delta=True) > 2 * capacity(128, features="ReLU")
    assert capacity(64, delta=True) < capacity(64)  # with keys apart, one pass of delta only forgets
    keys = F.normalize(feature(normal(2, 4000, 64)), dim=-1)
    assert (keys[0] * keys[1]).sum(dim=-1).mean().item() == pytest.approx(0.685, abs=0.01)
    assert set(FEATURES) >= {"unit keys", "ELU + 1"}


# Bad input -----------------------------------------------------------------------------------------------------------


def complaint(function, *arguments, **keywords):
    with pytest.raises(ValueError) as raised:
        function(*arguments, **keywords)
    return str(raised.value)


def test_an_empty_segment():
    model = built()
    assert "n is 0; give at least 1" in complaint(update_linear, normal(2, 0, 8), normal(2, 0, 8), *nothing(2))
    layer, position = model.layers[0].attention, torch.arange(0)
    assert complaint(layer, normal(1, 0, 16), position) == "the segment is empty; give one token or more."
    assert "give whole numbers, (batch, n)" in complaint(model, tokens(n=0))


def test_a_state_of_another_stream_batch_dtype_or_segment():
    model = built()
    _, used = streamed(model, tokens(), 5)
    fresh = model.new_stream()
    fresh.caches = used.caches
    assert "the tokens begin at 0, but the state has read 37: it is that of another stream" in complaint(
        model, tokens(), fresh
    )
    assert "call reset() first" in complaint(model, tokens(), fresh)
    assert "there are 3 rows of tokens, but the stream has 2" in complaint(model, tokens(batch=3), used)
    used.last = None
    said = complaint(model, tokens(batch=3), used)
    assert said.startswith("the keys are of batch 3, cpu, torch.float64, but the state is of batch 2, cpu")
    assert "the keys are of batch 2, cpu, torch.float32" in complaint(model.float(), tokens(), used)
    longer = built(segment=16)
    assert "the state has segments of 8 tokens, this layer's have 16" in complaint(longer, tokens(), model.new_stream())
    assert "give a InfiniState" in complaint(longer, tokens(), built("xl", segment=16).new_stream())
    shared = model.double().new_stream()
    shared.caches[1] = shared.caches[0]
    assert "or of another layer" in complaint(model, tokens(), shared)


def test_memories_of_other_shapes_and_numbers():
    memory, z = nothing(2)
    assert "d_key = 4, but q has 8" in complaint(retrieve, normal(2, 3, 8), memory[:, :4], z)
    assert "z has dtype torch.float32" in complaint(retrieve, normal(2, 3, 8), memory, z.float())
    assert "the leading dimensions" in complaint(update_linear, normal(3, 5, 8), normal(3, 5, 8), memory, z)
    spoilt = normal(2, 5, 8)
    spoilt[1, 2, 3] = torch.inf
    for update in (update_linear, update_delta, update_gamma, update_unit):
        assert "v holds inf at [1, 2, 3]" in complaint(update, normal(2, 5, 8), spoilt, memory, z)
    assert "give 0 (no memory) to 1" in complaint(forced_gates(built(), 1.5).__enter__)
    assert "beta has shape (3,)" in complaint(gate, normal(3), normal(2, 4, 5, 6), normal(2, 4, 5, 6))


@pytest.mark.parametrize("dtype, stalls", [(torch.bfloat16, "256"), (torch.float16, "2,048")])
def test_a_memory_in_half_precision_is_warned_of(dtype, stalls):
    memory, z = (each.to(dtype) for each in nothing(2))
    with pytest.warns(UserWarning, match=f"after about {stalls} equal tokens; keep memory and z in float32"):
        update_linear(normal(2, 5, 8).to(dtype), normal(2, 5, 8).to(dtype), memory, z)
    assert "give torch.bfloat16 or torch.float16" in complaint(additions_until_stall, torch.float32)


def test_layers_that_cannot_be():
    assert "rule is 'none'; give one of linear, delta, gamma, unit" in complaint(built, rule="none")
    assert "segment is 0" in complaint(built, segment=0)
    assert "top_k is 0" in complaint(built, "knn", top_k=0)
    two_sided = Config(11, ("infini",), causal=False)
    assert "causal must be True" in complaint(TinyTransformer, two_sided)
    full = TinyTransformer(Config(11, ("full",)))
    assert "give a model with infini among them" in complaint(infini_layers, full)


def test_the_state_says_what_it_holds():
    state = InfiniState(8)
    assert repr(state) == "InfiniState: 0 segments and 0 tokens read, 0 bytes"
    _, stream = streamed(built(), tokens(batch=1), 5)
    assert repr(stream.caches[0]) == "InfiniState: 4 segments and 5 tokens read, 1,920 bytes"
