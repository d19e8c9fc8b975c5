"""What must hold of a memory that corrects and forgets: chunks equal the loop, a refused draft leaves nothing."""

import copy
import itertools
import json
import math
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from solutions import passkey
from solutions.gated_delta import (
    GATES,
    HYBRIDS,
    STEPS,
    WRITES,
    DeltaState,
    Draft,
    Hybrid,
    Snapshots,
    accept,
    break_even_tokens,
    chunk_map,
    chunk_step,
    chunk_writes,
    chunked,
    decay_matrix,
    delta_layers,
    delta_step,
    factors,
    hybrid_bytes,
    left_over,
    left_over_among_new,
    powers,
    recurrent,
    repeat_chunk,
    unit,
)
from solutions.gated_delta import chunk as chunk_module
from solutions.infini import unit_feature, update_unit
from solutions.quadratic import KVCache
from solutions.shapes import HALF
from solutions.tiny import Config, TinyTransformer

WITHIN = 1e-12  # float64, of the largest entry where that is above 1
N = 83
TRANSFORMERS = json.loads((Path(__file__).parent / "gated_delta_of_transformers.json").read_text())


def given(rule="gated", n=N, leading=(2, 2), d_key=6, d_value=5, dtype=torch.float64, seed=0, forgets=0.5):
    """q, k, v, g, b and an S that is not empty: unit keys, b from 0 to 2, half of the gates 0."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*leading, *shape, generator=generator, dtype=torch.float64)  # noqa: E731
    q, k, v, S = draw(n, d_key), F.normalize(draw(n, d_key), dim=-1), draw(n, d_value), draw(d_key, d_value)
    g = {None: None, "head": draw(n), "channel": draw(n, d_key)}[GATES[rule]]
    g = g if g is None else -forgets * g.relu()
    tensors = q, k, v, g, 2 * draw(n).sigmoid(), S
    return tuple(each if each is None else each.to(dtype) for each in tensors)


def leaves(tensors):
    return [each if each is None else each.clone().requires_grad_() for each in tensors]


def with_gradients(function, tensors, **options):
    """The output, the state, and the gradients of all that went in, along one direction of both."""
    tensors = leaves(tensors)
    out, S = function(*tensors, **options)
    along = sum((each * torch.linspace(-1, 1, each.numel()).view(each.shape).cos()).sum() for each in (out, S))
    return [out, S, *torch.autograd.grad(along, [each for each in tensors if each is not None])]


def furthest(found, wanted):
    """The largest difference, of the largest entry where that is above 1."""
    return max(
        ((a - b).abs().max() / b.abs().max().clamp(min=1)).item() for a, b in zip(found, wanted, strict=True)
    )


@cache
def by_the_loop(rule):
    return with_gradients(recurrent, given(rule), rule=rule)


# One token -----------------------------------------------------------------------------------------------------------


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_one_step_by_hand():
    """S says 8 for (0.6, 0.8) after half was forgotten; the value is 2; a third of -6 is written there."""
    S = numbers([0.0], [20.0])
    k = numbers(0.6, 0.8)
    out, S = delta_step(k, k, numbers(2.0), numbers(0.5).log()[0], numbers(1 / 3)[0], S)
    assert S.flatten().tolist() == pytest.approx([0.6 * -2, 10 + 0.8 * -2])
    assert out.tolist() == pytest.approx([8 - 2])


def test_one_step_of_one_decay_a_channel_by_hand():
    S = numbers([10.0], [20.0])
    k = numbers(0.6, 0.8)
    out, S = delta_step(k, k, numbers(2.0), numbers(0.5, 0.25).log(), numbers(1.0)[0], S)  # told 0.6 · 5 + 0.8 · 5 = 7
    assert S.flatten().tolist() == pytest.approx([5 - 0.6 * 5, 5 - 0.8 * 5])
    assert out.tolist() == pytest.approx([2.0])


def test_a_step_is_one_down_the_gradient():
    *first, S = given()
    q, k, v, g, b = (each[:, :, 0] for each in first)
    faded = (g.exp()[..., None, None] * S).requires_grad_()
    wrong = (torch.einsum("...k,...kv->...v", k, faded) - v).square().sum() / 2
    (slope,) = torch.autograd.grad(wrong, faded)
    _, after = delta_step(q, k, v, g, b, S)
    assert (after - (faded - b[..., None, None] * slope)).abs().max() <= WITHIN


def test_a_key_that_is_said_again_holds_its_last_value():
    k = F.normalize(torch.ones(1, 1, 3, 4, dtype=torch.float64), dim=-1)
    v, b = numbers([[[1.0], [2.0], [5.0]]]).view(1, 1, 3, 1), torch.ones(1, 1, 3, dtype=torch.float64)
    corrected, _ = recurrent(k, k, v, None, b, rule="delta")
    added, _ = recurrent(k, k, v, None, b, rule="linear")
    assert corrected.flatten().tolist() == pytest.approx([1, 2, 5])
    assert added.flatten().tolist() == pytest.approx([1, 3, 8])


@pytest.mark.parametrize("b, times", [(1.0, 1), (0.3, 7), (1.5, 4), (0.5, 0)])
def test_what_one_other_key_leaves(b, times):
    k, v = F.normalize(torch.randn(2, 8, dtype=torch.float64), dim=-1), torch.eye(2, dtype=torch.float64)
    zero = numbers(0.0)[0]
    _, S = delta_step(k[0], k[0], v[0], zero, zero + 1, k.new_zeros(8, 2))
    for _ in range(times):
        _, S = delta_step(k[1], k[1], v[1], zero, zero + b, S)
    assert (k[0] @ S)[0].item() == pytest.approx(left_over((k[0] @ k[1]).item(), b, times), abs=1e-12)


def test_what_ever_new_keys_leave_on_average():
    """All orders of three axes, to the first of which a key has a cosine of √(1/3): the mean is the formula's."""
    first, axes, zero = numbers(1.0, 1.0, 1.0) / 3**0.5, torch.eye(3, dtype=torch.float64), numbers(0.0)[0]
    left = []
    for order in itertools.product(axes, repeat=4):
        S = first[:, None]
        for k in order:
            _, S = delta_step(k, k, numbers(0.0), zero, zero + 0.7, S)
        left.append((first @ S).item())
    assert sum(left) / len(left) == pytest.approx(left_over_among_new(3**-0.5, 0.7, 4), abs=1e-12)
    assert left_over_among_new(0.125, 1.0, 1000) < 1e-6 and left_over(0.125, 1.0, 1000) > 0.98


def test_without_gates_it_is_the_rule_of_infini_attention_without_a_normaliser():
    k, v, memory = given(n=13)[1], given(n=13)[2], given()[5]
    wanted, _ = update_unit(k, v, memory, memory[..., 0])
    _, S = chunked(k, unit_feature(k), v, None, torch.ones_like(k[..., 0]), memory, rule="delta", chunk=5)
    assert furthest([S], [wanted]) <= WITHIN


# In chunks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 5, 16, 64, 100])
@pytest.mark.parametrize("rule", GATES)
@pytest.mark.seconds
def test_chunks_equal_the_loop(rule, chunk):
    """Outputs, the state, and the gradients of q, k, v, g, b and S; 83 tokens fill no last chunk but that of one."""
    assert furthest(with_gradients(chunked, given(rule), rule=rule, chunk=chunk), by_the_loop(rule)) <= WITHIN


@pytest.mark.parametrize("rule", GATES)
def test_none_is_an_empty_state(rule):
    *tensors, S = given(rule, n=7)
    for function in (recurrent, chunked):
        told = zip(function(*tensors, rule=rule), function(*tensors, torch.zeros_like(S), rule=rule), strict=True)
        assert all(torch.equal(a, b) for a, b in told)


@pytest.mark.parametrize("rule", ["gated", "channel"])
def test_a_chunk_is_its_tokens_and_a_map(rule):
    q, k, v, g, b, S = given(rule, n=13)
    out, after = recurrent(q, k, v, g, b, S, rule=rule)
    assert furthest(chunk_step(q, k, v, g, b, S), (out, after)) <= WITHIN
    U, W = chunk_writes(k, v, g, b)
    P, R = chunk_map(k, g, U, W)
    assert furthest([P @ S + R], [after]) <= WITHIN
    _, _, a = kua = factors(k, v, g, b, S, rule=rule)
    assert furthest([kua[1]], [U - W @ S]) <= WITHIN and torch.equal(a, g.exp())


def test_what_is_printed_for_the_output_is_not_what_is_meant():
    """The plain causal mask in place of the decay, as section 3.3 prints it: the guard can fail."""
    q, k, v, g, b, S = given(n=13)
    U, W = chunk_writes(k, v, g, b)
    out, _ = chunk_step(q, k, v, g, b, S)
    printed = (g.cumsum(-1).exp()[..., None] * q) @ S + (q @ k.mT).tril() @ (U - W @ S)
    assert (printed - out).abs().max() > 0.1


def test_decays_by_hand():
    D = decay_matrix(numbers(0.5, 0.25, 0.1).log())
    assert D.flatten().tolist() == pytest.approx([1, 0, 0, 0.25, 1, 0, 0.025, 0.1, 1])


@pytest.mark.parametrize("found", TRANSFORMERS["found"].items(), ids=lambda found: found[0])
def test_it_is_what_transformers_computes(found):
    """Of version 5.24: Qwen3-Next's functions and Kimi Linear's, in float32, which take (batch, n, heads, d)."""
    rule, told = found
    t = {name: torch.tensor(value, dtype=torch.float64) for name, value in told["given"].items()}
    q, k, v, g, b = (t[name].transpose(1, 2) for name in ("query", "key", "value", "g", "beta"))
    d = q.shape[-1]
    assert g.min() < -20 and b.max() > 1.5
    for function, options in ((recurrent, {}), (chunked, {"chunk": 4}), (chunked, {})):
        out, S = function(unit(q) / d**0.5, unit(k), v, g, b, t["initial_state"], rule=rule, **options)
        for made in told["made"].values():
            assert (out.transpose(1, 2) - torch.tensor(made["out"])).abs().max() < 2e-6
            assert (S - torch.tensor(made["state"])).abs().max() < 2e-6


# Causality ------------------------------------------------------------------------------------------------------------


def moved(rule, n=11, chunk=4):
    """How far output i moves with each input of token j, (n, n)."""
    tensors = [each for each in given(rule, n=n, leading=(1,))[:5]]
    there = [i for i, each in enumerate(tensors) if each is not None]

    def outputs(*some):
        full = [None if each is None else some[there.index(i)] for i, each in enumerate(tensors)]
        return chunked(*full, rule=rule, chunk=chunk)[0].flatten(0, -2).sum(dim=-1)

    jacobians = torch.autograd.functional.jacobian(outputs, tuple(tensors[i] for i in there))
    return sum(each.view(n, n, -1).abs().sum(dim=-1) for each in jacobians)


@pytest.mark.parametrize("rule", GATES)
def test_no_token_sees_a_later_one(rule):
    found = moved(rule)
    assert (found.triu(1) == 0).all()
    assert (found.diagonal() > 0).all() and found[-1, 0] > 0


def test_later_gates_leave_no_bit_of_an_output_otherwise():
    q, k, v, g, b, S = given(n=64, dtype=torch.float32)
    before, _ = chunked(q, k, v, g, b, S)
    g = g.clone()
    g[..., 40:] = -3.0
    after, _ = chunked(q, k, v, g, b, S)
    assert torch.equal(before[..., :40, :], after[..., :40, :]) and not torch.equal(before, after)


@pytest.mark.parametrize("rule", ["gated", "channel"])
def test_decays_that_are_anchored_at_a_later_token_are_seen(rule, monkeypatch):
    """The guard can fail: exp(G_i - G_m) exp(G_m - G_j) is the same on paper, and token m moves what is before it."""

    def anchored(g):
        G = g.cumsum(dim=-1)
        middle = G[..., G.shape[-1] // 2, None]
        return ((G - middle).exp()[..., :, None] * (middle - G).exp()[..., None, :]).tril()

    monkeypatch.setattr(chunk_module, "decay_matrix", anchored)
    assert 0 < moved(rule).triu(1).max() < 1e-12


# What floating point does ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["gated", "channel", "decay"])
def test_gates_of_minus_five_for_sixty_four_tokens(rule):
    q, k, v, g, b, S = given(rule, n=128, dtype=torch.float32)
    tensors = q, k, v, torch.full_like(g, -5.0), b, S
    found = with_gradients(chunked, tensors, rule=rule)
    assert all(each.isfinite().all() for each in found)
    assert furthest(found, with_gradients(recurrent, [each.double() for each in tensors], rule=rule)) < 1e-5


@pytest.mark.parametrize("rule", ["gated", "channel"])
def test_one_token_that_forgets_all_costs_no_digits(rule):
    q, k, v, g, b, S = given(rule, n=64)
    g = -1e-3 - 1000.0 * (g < -0.5).double()
    exact = recurrent(q, k, v, g, b, S, rule=rule)
    rounded = chunked(*(each.float() for each in (q, k, v, g, b, S)), rule=rule)
    assert furthest([each.double() for each in rounded], exact) < 2e-6


def test_keys_that_repeat():
    """64 times the same key, b = 1: the inverse has entries of 1 at most, and by doubling none of them is right."""
    q, k, v, g, b, S = given(n=64, d_key=64)
    k, g, b = k[..., :1, :].expand_as(k), torch.zeros_like(g), torch.ones_like(b)
    exact = recurrent(q, k, v, g, b, S)
    rounded = chunked(*(each.float() for each in (q, k, v, g, b, S)))
    assert furthest([each.double() for each in rounded], exact) < 2e-6

    A = (k @ k.mT).tril(-1).float()
    inverse, power = torch.eye(64) - A, A @ A
    for _ in range(5):
        inverse, power = inverse + inverse @ power, power @ power
    assert (inverse @ v.float() - chunk_writes(k.float(), v.float(), g.float(), b.float())[0]).abs().max() > 1e3


@pytest.mark.parametrize("rule", GATES)
@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_is_rounded_once(dtype, rule):
    *tensors, S = given(rule, n=200, dtype=dtype)
    S = S.float()
    exact, after = recurrent(*(each if each is None else each.double() for each in (*tensors, S)), rule=rule)
    for chunk in (1, 64):
        out, state = chunked(*tensors, S, rule=rule, chunk=chunk)
        assert out.dtype == dtype and state.dtype == torch.float32
        rounding = (exact.to(dtype).double() - exact).abs().max()
        assert (out.double() - exact).abs().max() <= 1.1 * rounding
        assert furthest([state.double()], [after]) < 1e-5


def test_a_state_of_half_precision_would_be_seen():
    """The guard can fail: one rounding of S after each chunk is more than one of the output."""
    q, k, v, g, b, S = given(n=200, dtype=torch.bfloat16, forgets=0.01)
    exact, _ = recurrent(*(each.double() for each in (q, k, v, g, b, S)))
    parts, state = [], S.float()
    for part in zip(*(each.split(10, dim=2) for each in (q, k, v, g, b)), strict=True):
        out, state = chunked(*part, state.bfloat16().float())
        parts.append(out)
    rounding = (exact.bfloat16().double() - exact).abs().max()
    assert (torch.cat(parts, dim=-2).double() - exact).abs().max() > 1.1 * rounding


def test_a_key_of_zero_has_a_gradient():
    x = torch.zeros(2, 4, requires_grad=True)
    unit(x).sum().backward()
    assert (x.grad == 1000).all() or x.grad.isfinite().all()
    assert unit(torch.randn(5, 32)).norm(dim=-1).sub(1).abs().max() < 1e-5


# Powers of a chunk ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["gated", "channel", "delta"])
def test_doubling_a_chunk_is_reading_it_again(rule):
    q, k, v, g, b, S = given(rule, n=7)
    g = torch.zeros_like(b) if g is None else g
    P, R = chunk_map(k, g, *chunk_writes(k, v, g, b))
    read = S
    for _ in range(8):
        _, read = recurrent(q, k, v, g, b, read, rule={"delta": "gated"}.get(rule, rule))
    P, R = repeat_chunk(P, R, 3)
    assert furthest([P @ S + R], [read]) <= WITHIN


@pytest.mark.parametrize("rule", GATES)
def test_each_chunk_of_each_row_has_its_own_power(rule):
    """Outputs are those of the first reading; the state, and what comes after, are as if all had been read."""
    q, k, v, g, b, S = given(rule, n=22)
    doublings = torch.tensor([[0, 2, 1, 0], [3, 0, 0, 0]])  # one chunk more than there is
    out, after = chunked(q, k, v, g, b, S, rule=rule, chunk=8, doublings=doublings)
    for row in range(2):
        state, some = S[row : row + 1], [each if each is None else each[row : row + 1] for each in (q, k, v, g, b)]
        parts = zip(*([None] * 3 if each is None else each.split(8, dim=2) for each in some), strict=True)
        for c, part in enumerate(parts):
            first, state = chunked(*part, state, rule=rule)
            assert furthest([out[row : row + 1, :, 8 * c : 8 * c + 8]], [first]) <= WITHIN
            for _ in range(2 ** doublings[row, c].item() - 1):
                _, state = chunked(*part, state, rule=rule)
        assert furthest([after[row : row + 1]], [state]) <= WITHIN


def test_a_power_has_the_gradient_of_what_was_read():
    tensors = given(n=5)
    read = lambda *some: chunked(*some, chunk=5, doublings=torch.full((2, 1), 2))  # noqa: E731

    def four_times(q, k, v, g, b, S):
        first, _ = recurrent(q, k, v, g, b, S)
        _, S = recurrent(*(torch.cat([each] * 4, dim=2) for each in (q, k, v, g, b)), S)
        return first, S

    assert furthest(with_gradients(read, tensors), with_gradients(four_times, tensors)) <= WITHIN


# The layer ------------------------------------------------------------------------------------------------------------

LAYERS = (
    {},
    {"rule": "channel"},
    {"rule": "delta", "gate": False},
    {"rule": "decay", "norm": False, "conv": 2},
    {"rule": "linear", "conv": 1, "norm": False, "gate": False},
)


def built(layers=("gated_delta",) * 2, dtype=torch.float64, seed=0, **options):
    options = {"gated_delta": {"chunk": 8, "half_lives": (3.0, 30.0), **options}}
    config = Config(11, layers, width=16, heads=2, options=options, seed=seed, rope_base=None)
    return TinyTransformer(config).to(dtype)


def tokens(batch=2, n=37, seed=0):
    return torch.randint(11, (batch, n), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("options", LAYERS, ids=str)
@pytest.mark.seconds
def test_any_chunks_give_the_whole(options):
    """Also such as cut the convolution: it looks three tokens back, and one or two come at a time."""
    model, text = built(**options), tokens()
    whole = model(text)
    for lengths in (1, 3, 8, 20, 37, [2, 1, 30, 4]):
        stream = model.new_stream()
        parts = [model(part, stream) for part in text.split(lengths, dim=1)]
        assert (torch.cat(parts, dim=1) - whole).abs().max() <= WITHIN
        assert [state.tokens for state in stream.caches] == [37, 37]


def test_a_layer_alone_goes_on_where_it_stopped():
    layer = built(layers=("gated_delta",)).layers[0].attention
    x, position = torch.randn(2, 20, 16, dtype=torch.float64), torch.arange(20)
    state = layer.new_cache()
    parts = [layer(x[:, part], position[part], state) for part in (slice(0, 2), slice(2, 19), slice(19, 20))]
    assert (torch.cat(parts, dim=1) - layer(x, position)).abs().max() <= WITHIN
    state.reset()
    assert torch.equal(layer(x, position, state), layer(x, position))


@torch.no_grad()
def test_a_state_alone_is_kept_and_taken_back():
    layer = built(layers=("gated_delta",)).layers[0].attention
    x, position, state = torch.randn(2, 20, 16, dtype=torch.float64), torch.arange(20), layer.new_cache()
    whole = layer(x, position)
    layer(x[:, :9], position[:9], state)
    kept = copy.deepcopy(state)
    state.draft()
    layer(x[:, 9:11], position[9:11], state)
    layer(x[:, :5], position[11:16], state)  # other tokens
    state.accept(2)
    assert (layer(x[:, 11:], position[11:], state) - whole[:, 11:]).abs().max() <= WITHIN
    assert (layer(x[:, 9:], position[9:], kept) - whole[:, 9:]).abs().max() <= WITHIN


def test_the_layer_is_the_rule():
    """Convolution, SiLU, unit keys, the gates' formulas, norm and gate: written out once more."""
    layer = built(layers=("gated_delta",)).layers[0].attention
    x = torch.randn(2, 9, 16, dtype=torch.float64)
    heads = lambda each: each.unflatten(-1, (2, 8)).transpose(1, 2)  # noqa: E731
    inputs = torch.cat([each(x) for each in (layer.to_q, layer.to_k, layer.to_v)], dim=-1)
    mixed = torch.zeros_like(inputs)
    for back in range(4):
        mixed[:, back:] += layer.mix.weight[:, 0, 3 - back] * inputs[:, : 9 - back]
    q, k, v = (heads(each) for each in F.silu(mixed).split(16, dim=-1))
    q, k = (each / (each.square().sum(-1, keepdim=True) + 1e-6).sqrt() for each in (q, k))
    g, b = -F.softplus(layer.to_g(x)).mT, torch.sigmoid(layer.to_b(x)).mT
    out, _ = recurrent(q, k, v, g, b)
    out = out / (out.square().mean(-1, keepdim=True) + torch.finfo(torch.float64).eps).sqrt() * layer.out_norm.weight
    wanted = layer.to_out((out * F.silu(heads(layer.to_gate(x)))).transpose(1, 2).flatten(-2))
    assert (layer(x, torch.arange(9)) - wanted).abs().max() <= WITHIN
    assert furthest(layer.project(x), (q, k, v)) <= WITHIN


@pytest.mark.parametrize("options", LAYERS, ids=str)
def test_no_token_of_a_model_sees_a_later_one(options):
    model = built(**options)
    x = torch.randn(10, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_()
    along = (model.transform(x[None])[0] * torch.randn(10, 16, dtype=torch.float64)).sum(dim=-1)
    found = torch.stack([torch.autograd.grad(each, x, retain_graph=True)[0].norm(dim=-1) for each in along])
    assert (found.triu(1) == 0).all() and (found.diagonal() > 0).all() and found[-1, 0] > 1e-9


def test_half_lives_begin_where_they_are_told():
    zero = torch.zeros(1, 1, 16, dtype=torch.float64)
    g, _ = built().layers[0].attention.gates(zero)
    assert (-math.log(2) / g).flatten().tolist() == pytest.approx([3, 30], rel=1e-5)
    g, _ = built(rule="channel").layers[0].attention.gates(zero)
    assert (-math.log(2) / g[0, :, 0]).tolist() == [pytest.approx([3 * 10 ** (i / 7) for i in range(8)], rel=1e-5)] * 2


def test_a_state_has_one_size():
    """The sizes of the lesson's model: 115,976 weights, and 20,992 bytes of a stream, however long it is."""
    model = TinyTransformer(Config(50, ("gated_delta",) * 2, heads=2, previous_token=False))
    assert sum(weight.numel() for weight in model.parameters()) == 115_976
    stream = model.new_stream()
    assert stream.nbytes == 0
    for n in (1, 2, 99):
        model(torch.zeros(1, n, dtype=torch.long), stream)
        assert stream.nbytes == 20_992
        assert sum(state.memory_bytes for state in stream.caches) == 2 * 2 * 32 * 32 * 4
    assert repr(stream.caches[0]) == "DeltaState: 102 tokens read, 10,496 bytes"


def test_a_state_that_is_emptied_knows_nothing():
    """Only the model itself still has the last token."""
    model, text, other = built(), tokens(n=30), tokens(n=30, seed=1)
    other[:, -1] = text[:, -1]
    logits = []
    for read, empty in itertools.product((text, other), (False, True)):
        stream = model.new_stream()
        model(read, stream)
        for state in stream.caches if empty else ():
            state.forget()
        logits.append(model(tokens(n=5, seed=2), stream))
    assert torch.equal(logits[1], logits[3]) and (logits[0] - logits[2]).abs().max() > 1e-3


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # torch's own RMSNorm under autocast
def test_the_state_stays_float32_in_half_precision():
    text = tokens()
    for model, mixed in ((built(dtype=torch.bfloat16), False), (built(dtype=torch.float32), True)):
        stream = model.new_stream()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed), torch.no_grad():
            logits = torch.cat([model(part, stream) for part in text.split(9, dim=1)], dim=1)
        assert [state.S.dtype for state in stream.caches] == [torch.float32] * 2
        assert (logits.double() - built()(text)).abs().max() < 0.05


def test_powers_of_a_model_are_its_filler_read_again():
    """One layer without a convolution, whose state depends on nothing but the tokens: 8 tokens, four times."""
    model = built(layers=("gated_delta",), conv=1)
    x = torch.randn(2, 24, 16, dtype=torch.float64)
    again = torch.cat([x[:, :8], *[x[:, 8:16]] * 4, x[:, 16:]], dim=1)
    with powers(model, torch.tensor([[1.0, 5.0, 1.0]] * 2)):  # 5 is rounded down to 4
        told = model.transform(x)
    assert (told[:, 16:] - model.transform(again)[:, 40:]).abs().max() <= WITHIN
    assert (told - model.transform(x))[:, 16:].abs().max() > 1e-4
    assert delta_layers(model)[0].doublings is None


def test_the_passkey_task_trains_by_powers_and_empties_the_state():
    model = TinyTransformer(Config(passkey.VOCABULARY, ("gated_delta",) * 2, width=16, heads=2, previous_token=False))
    generator = torch.Generator().manual_seed(0)
    made = passkey.training_batch(2, 4, 64, generator)
    assert made.times.max() > 2
    value, _ = passkey.loss(model, made)
    value.backward()
    assert all(weight.grad.isfinite().all() for weight in model.parameters())
    assert value.item() != passkey.loss(model, passkey.Batch(made.tokens, None))[0].item()
    found = passkey.find(model, passkey.prompts(2, 200, generator).tokens)
    assert found.without_memory is not None and found.memory_bytes == 2 * 2 * 8 * 8 * 4
    hybrid = TinyTransformer(Config(passkey.VOCABULARY, ("gated_delta", "full"), width=16, heads=2))
    assert passkey.find(hybrid, passkey.prompts(2, 200, generator).tokens).without_memory is None


# Going back in a text -------------------------------------------------------------------------------------------------

HYBRID = ("gated_delta", "full", "gated_delta")


@pytest.mark.parametrize("rule", GATES)
def test_the_factors_give_every_prefix_of_a_draft(rule):
    q, k, v, g, b, S = given(rule, n=6)
    told = factors(k, v, g, b, S, rule=rule)
    for accepted in range(7):
        some = [each if each is None else each[:, :, :accepted] for each in (q, k, v, g, b)]
        wanted = recurrent(*some, S, rule=rule)[1] if accepted else S
        assert furthest([accept(S, told, accepted)], [wanted]) <= WITHIN


def test_dividing_backwards_costs_digits():
    q, k, v, g, b, S = given(n=6, dtype=torch.float32)
    g = torch.full_like(g, math.log(0.05))
    told = k, u, a = factors(k, v, g, b, S)
    _, back = recurrent(q, k, v, g, b, S)
    for t in reversed(range(1, 6)):
        back = (back - k[:, :, t, :, None] * u[:, :, t, None, :]) / a[:, :, t, None, None]
    _, wanted = recurrent(*(each[:, :, :1].double() for each in (q, k, v, g, b)), S.double())
    assert (accept(S, told, 1) - wanted).abs().max() < 1e-6 < 1e-3 < (back - wanted).abs().max()


@pytest.mark.parametrize("accepted", [0, 1, 3, 6])
@pytest.mark.parametrize("options", LAYERS, ids=str)
@torch.no_grad()
def test_a_refused_draft_leaves_nothing(options, accepted):
    """Whatever was refused, the stream is that of a model that never read it, states and convolutions too."""
    model, text = built(layers=HYBRID, **options), tokens(n=40)
    whole = model(text)
    draft = text[:, 20:26].clone()
    draft[:, accepted:] = (draft[:, accepted:] + 1) % 11
    stream = model.new_stream()
    model(text[:, :20], stream)
    before = stream.nbytes
    drafted = Draft(model, stream)
    for part in draft.split([4, 2], dim=1):
        drafted.read(part)
    assert drafted.nbytes > 0
    drafted.accept(accepted)
    assert drafted.nbytes == 0 and stream.nbytes == before + accepted * 2 * 2 * 16 * 8
    assert (model(text[:, 20 + accepted :], stream) - whole[:, 20 + accepted :]).abs().max() <= WITHIN


@torch.no_grad()
def test_keys_that_are_cut_while_the_states_stay_answer_wrong():
    """What engines got wrong. And with the states made anew, a convolution or a last token that was left behind."""
    model, text = built(layers=HYBRID), tokens(n=40)
    whole = model(text)
    draft = (text[:, 20:26] + torch.tensor([0, 0, 1, 1, 1, 1])) % 11
    wrong = {}
    for name in ("states", "convolution", "token", ""):
        stream = model.new_stream()
        model(text[:, :20], stream)
        drafted = Draft(model, stream)
        drafted.read(draft)
        behind = copy.deepcopy(stream)
        drafted.accept(2)
        for state, left in zip(stream.caches, behind.caches, strict=True):
            if isinstance(state, DeltaState) and name == "states":
                state.S = left.S
            if isinstance(state, DeltaState) and name == "convolution":
                state.last = left.last
        stream.last = behind.last if name == "token" else stream.last
        wrong[name] = (model(text[:, 22:], stream) - whole[:, 22:]).abs().max().item()
    assert wrong.pop("") <= WITHIN and min(wrong.values()) > 1e-3, wrong


def test_what_a_draft_keeps():
    """k, u and a of each token and head, and the inputs of the convolution: no state."""
    model = built(layers=("gated_delta",), dtype=torch.float32)
    stream = model.new_stream()
    model(tokens(n=5), stream)
    draft = Draft(model, stream)
    draft.read(tokens(n=3))
    assert draft.nbytes == 4 * 2 * 3 * (2 * (8 + 8 + 1) + 3 * 16)


@pytest.mark.parametrize("every", [4, 16, 64])
def test_a_prefix_that_is_resumed_equals_the_whole(every):
    model, text, other = built(layers=HYBRID), tokens(batch=1, n=50), tokens(batch=1, n=50, seed=1)
    other[:, :35] = text[:, :35]
    with torch.no_grad():
        whole, whole_other = model(text), model(other)
    snapshots = Snapshots(model, every)
    assert (snapshots.read(text)[0] - whole).abs().max() <= WITHIN
    shared, before = 35 // every * every, set(snapshots.kept)
    for _ in range(2):  # reading on has not touched what is kept
        assert snapshots.resume(other[:, :36]).tokens == shared
        logits, stream = snapshots.read(other)
        assert (logits - whole_other[:, shared:]).abs().max() <= WITHIN and stream.tokens == 50
        for kept in set(snapshots.kept) - before:
            del snapshots.kept[kept]
    assert (snapshots.read(text)[0] - whole[:, 49:]).abs().max() <= WITHIN


def test_a_whole_prompt_that_comes_again_reads_one_token():
    model, text = built(layers=HYBRID), tokens(batch=1, n=50)
    snapshots = Snapshots(model, every=16)
    snapshots.read(text)
    assert sorted(map(len, snapshots.kept)) == [16, 32, 48, 49]
    assert snapshots.nbytes == 4 * 2 * (2 * 8 * 8 + 3 * 48) * 8
    assert snapshots.resume(text).tokens == 49 and snapshots.read(text)[0].shape == (1, 1, 11)
    assert snapshots.resume((text + 1) % 11).tokens == 0
    assert snapshots.resume(text[:, :48]).tokens == 32  # the state at 48 has read all of it: no logits without a token
    assert snapshots.read(text[:, :1])[0].shape == (1, 1, 11)


# Bytes ----------------------------------------------------------------------------------------------------------------


def test_bytes_of_a_hybrid_by_hand():
    """Qwen3-Next at 2²⁰ tokens: 24 GiB of keys and values, 72 MiB of states, 36 · 48 KiB of convolutions."""
    model, mib = HYBRIDS["Qwen3-Next"], 2**20
    assert hybrid_bytes(model, 2**20) == 24 * 1024 * mib + 72 * mib + 36 * 48 * 1024
    assert break_even_tokens(model) == 1024
    assert hybrid_bytes(model, 2) - hybrid_bytes(model, 1) == 12 * 2048


def test_bytes_of_a_hybrid_are_those_of_a_stream():
    model = built(layers=HYBRID, dtype=torch.float32)
    stream = model.new_stream()
    model(tokens(batch=1, n=21), stream)
    shape = Hybrid("tiny", 1, 2, 2 * 2 * 8, 2, 8, 8, 2)
    assert hybrid_bytes(shape, 21, token_bytes=4) == stream.nbytes


# Refusals -------------------------------------------------------------------------------------------------------------


def changed(place, change, rule="gated", n=4):
    tensors = list(given(rule, n=n, leading=(1, 1)))
    tensors[place] = change(tensors[place])
    return tensors


def at(value):
    def put(x):
        x = x.clone()
        x[(0,) * x.dim()] = value
        return x

    return put


@pytest.mark.parametrize("function", [recurrent, chunked, chunk_step])
@pytest.mark.parametrize(
    "place, change, words",
    [
        (0, at(math.inf), "q holds inf at [0, 0, 0, 0]; give finite"),
        (1, at(math.nan), "k holds nan"),
        (1, lambda k: k[..., :3], "k has shape (1, 1, 4, 3), so d_key = 3, but q has 6"),
        (2, lambda v: v[..., :0, :], "v has shape (1, 1, 0, 5), where"),
        (3, at(0.25), "g holds 0.25 at [0, 0, 0]; give logarithms of what is kept, 0 or below."),
        (3, at(-math.inf), "g holds -inf at [0, 0, 0]; give finite"),
        (4, at(2.5), "b holds 2.5 at [0, 0, 0]; give write strengths from 0 to 2"),
        (4, at(-0.5), "b holds -0.5"),
        (4, lambda b: b[..., None], "b has shape (1, 1, 4, 1)"),
        (4, lambda b: b.int(), "b is torch.int32"),
        (5, lambda S: S.float(), "S is torch.float32"),
        (5, lambda S: S.mT, "S"),
        (5, lambda S: S[0], "S"),
        (5, at(math.inf), "S holds inf"),
    ],
)
def test_what_is_refused(function, place, change, words):
    with pytest.raises(ValueError) as refusal:
        function(*changed(place, change))
    text = str(refusal.value)
    assert text.startswith(function.__name__) and words in text and text.endswith(".") and "\n" not in text, text


@pytest.mark.parametrize(
    "place, change, words",
    [
        (1, at(math.nan), "k holds nan at [0, 0, 0]"),
        (3, at(0.25), "g holds 0.25 at [0, 0]"),
        (3, lambda g: g[..., None, None].expand(1, 1, 3, 2), "g has shape (1, 1, 3, 2) for keys of (1, 1, 6)"),
        (4, at(2.5), "b holds 2.5"),
        (5, lambda S: S.float(), "S is torch.float32"),
        (5, lambda S: S.mT, "S has shape (1, 1, 5, 6)"),
        (5, lambda S: None, "S is of type NoneType"),
    ],
)
def test_what_a_step_refuses(place, change, words):
    *first, S = given(n=1, leading=(1, 1))
    tensors = [*(each[:, :, 0] for each in first), S]
    tensors[place] = change(tensors[place])
    with pytest.raises(ValueError, match=r"^delta_step: ") as refusal:
        delta_step(*tensors)
    assert words in str(refusal.value), refusal.value


@pytest.mark.parametrize(
    "options, rule, words",
    [
        ({"rule": "newest"}, "gated", "rule is 'newest'; give one of linear, delta, decay, gated, channel."),
        ({"rule": "delta"}, "gated", "g is (1, 1, 4) for the rule 'delta'; give None"),
        ({"rule": "gated"}, "delta", "g is None for the rule 'gated'; give (1, 1, 4)"),
        ({"rule": "channel"}, "gated", "give (1, 1, 4, 6)"),
        ({"chunk": 0}, "gated", "chunk is 0; give a whole number of 1 or more."),
        ({"doublings": torch.zeros(1, 1, dtype=torch.long), "chunk": 2}, "gated", "in 2 chunks"),
        ({"doublings": torch.zeros(1, 1)}, "gated", "give whole numbers of 0 or more."),
        ({"doublings": torch.tensor([[-1]])}, "gated", "give whole numbers of 0 or more."),
    ],
)
def test_what_chunks_refuse_beside_it(options, rule, words):
    with pytest.raises(ValueError, match=r"^chunked: .*; .*\.$") as refusal:
        chunked(*changed(0, lambda q: q, rule), **options)
    assert words in str(refusal.value), refusal.value


def test_every_rule_has_a_step_and_its_writes():
    assert set(GATES) == set(STEPS) == set(WRITES)


def test_a_state_beside_half_precision_is_float32():
    q, k, v, g, b, S = given(n=4, dtype=torch.bfloat16)
    for function in (recurrent, chunked, chunk_step):
        with pytest.raises(ValueError, match=r"S is torch\.bfloat16 .*; give torch\.float32"):
            function(q, k, v, g, b, S)
        out, S_after = function(q, k, v, g.float(), b.float(), S.float())  # gates may be wide
        assert out.dtype == torch.bfloat16 and S_after.dtype == torch.float32


def test_numbers_that_run_away_are_named():
    """Keys of length 100 are taken as they are, and the state grows 10,000-fold a token: until it is no number."""
    q, k, v, g, b, S = given(n=30, dtype=torch.float32)
    with pytest.raises(ValueError, match=r"overflow torch\.float32"):
        recurrent(q, 100 * k, v, g, b, S)
    with pytest.raises(ValueError, match=r"overflow torch\.float32"):
        chunked(q, 100 * k, v, g, b, S)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: left_over(1.5, 1.0, 1), "rho is 1.5; give a number from -1 to 1."),
        (lambda: left_over_among_new(0.5, 1.0, -1), "times is -1; give a number of 0 or more."),
        (lambda: left_over(0.5, math.nan, 1), "b is nan"),
        (lambda: decay_matrix(torch.ones(3)), "g holds 1 at [0]"),
        (lambda: repeat_chunk(torch.eye(3)[:2], torch.eye(3), 1), "P has shape (2, 3); give a square one"),
        (lambda: repeat_chunk(torch.eye(3), torch.eye(3), -1), "doublings is -1"),
        (lambda: repeat_chunk(torch.eye(3), torch.eye(3), torch.tensor([1, 2])), "doublings has shape (2,)"),
        (lambda: accept(given()[5], factors(*given()[1:]), N + 1), "accepted is 84; give 0 to 83, the tokens"),
        (lambda: accept(given()[5], factors(*given()[1:])[:2], 1), "factors are not three"),
        (lambda: accept(given()[5][0], factors(*given()[1:]), 1), "leading dimensions"),
        (lambda: hybrid_bytes(HYBRIDS["Qwen3-Next"], 0), "tokens is 0"),
        (lambda: Hybrid("x", 1, 1, 1, 3, 8, 8, 2), "heads is 3, key_heads 2"),
    ],
)
def test_what_else_is_refused(call, words):
    with pytest.raises(ValueError) as refusal:
        call()
    assert words in str(refusal.value) and str(refusal.value).endswith("."), refusal.value


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"rule": "newest"}, "rule is 'newest'"),
        ({"conv": 0}, "conv is 0"),
        ({"chunk": 2.5}, "chunk is 2.5"),
        ({"half_lives": (30, 3)}, "half_lives is (30, 3)"),
    ],
)
def test_what_a_layer_refuses_to_be(settings, words):
    with pytest.raises(ValueError) as refusal:
        built(**settings)
    assert words in str(refusal.value)
    for config in ({"causal": False}, {"kv_heads": 1}):
        with pytest.raises(ValueError, match=r"causal|kv_heads"):
            TinyTransformer(Config(11, ("gated_delta",), width=16, heads=2, **config))


def test_a_stream_belongs_to_its_model():
    model, twin, text = built(), built(), tokens()
    stream = model.new_stream()
    model(text, stream)
    with pytest.raises(ValueError, match="the state is that of another layer"):
        twin(text, stream)
    with pytest.raises(ValueError, match="another layer"):
        model.layers[0].attention(torch.zeros(2, 1, 16).double(), torch.tensor([37]), stream.caches[1])
    with pytest.raises(ValueError, match="of type KVCache; give a DeltaState"):
        model.layers[0].attention(torch.zeros(2, 1, 16).double(), torch.tensor([0]), KVCache())
    with pytest.raises(ValueError, match="begin at 5, but the state has read 37"):
        model.layers[0].attention(torch.zeros(2, 1, 16).double(), torch.tensor([5]), stream.caches[0])
    stream.last = None
    with pytest.raises(ValueError, match="batch 3"):
        model(tokens(batch=3), stream)
    with pytest.raises(ValueError, match="whole sequence"), powers(model, torch.ones(2, 5)):
        model(text, stream)
    with pytest.raises(ValueError, match="times reach down to 0"), powers(model, torch.zeros(2, 5)):
        pass
    with pytest.raises(ValueError, match="give a model with gated_delta"):
        delta_layers(TinyTransformer(Config(11, ("full",), width=16)))


def test_a_bad_chunk_does_not_reach_the_state():
    layer = built().layers[0].attention
    state, x, position = layer.new_cache(), torch.randn(1, 9, 16, dtype=torch.float64), torch.arange(9)
    layer(x[:, :4], position[:4], state)
    before = copy.copy(vars(state))
    with pytest.raises(ValueError, match="holds nan"):
        layer(x[:, 4:] * math.nan, position[4:], state)
    assert vars(state) == before
    assert (layer(x[:, 4:], position[4:], state) - layer(x, position)[:, 4:]).abs().max() <= WITHIN


@torch.no_grad()
def test_snapshots_belong_to_their_model_and_its_weights():
    model, text = built(), tokens(batch=1)
    snapshots = Snapshots(model, 8)
    _, stream = snapshots.read(text)
    with pytest.raises(ValueError, match="the state is that of another layer"):
        built(seed=1)(text, stream)
    with pytest.raises(ValueError, match=r"give one text, \(1, n\)"):
        snapshots.resume(tokens())
    with pytest.raises(ValueError, match="every is 0"):
        Snapshots(model, 0)
    model.head.weight.mul_(2)
    with pytest.raises(ValueError, match="weights have changed"):
        snapshots.resume(text)


def test_a_draft_accepts_no_more_than_it_has():
    model, text = built(layers=HYBRID), tokens(n=10)
    stream = model.new_stream()
    with pytest.raises(ValueError, match="read the prompt before a draft"):
        Draft(model, stream)
    with torch.no_grad():
        model(text, stream)
    draft = Draft(model, stream)
    draft.read(text[:, :3])
    for accepted in (4, -1, 1.5):
        with pytest.raises(ValueError, match=r"give 0 to 3, the tokens that were drafted\."):
            draft.accept(accepted)
    draft.accept(3)
    assert stream.tokens == 13
    with pytest.raises(ValueError, match="nothing was drafted"):
        stream.caches[0].accept(0)
    windowed = TinyTransformer(Config(11, ("gated_delta", "window"), width=16, heads=2))
    with pytest.raises(ValueError, match="WindowCache, which forgets"):
        Draft(windowed, windowed.new_stream())
