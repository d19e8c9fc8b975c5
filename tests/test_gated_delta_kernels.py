"""The kernels of the gated delta rule: right against float64 token by token, moving what the closed forms say."""

import itertools
import math
from contextlib import suppress

import pytest
import torch
from compiled import compiled
from torch import Tensor
from torch.nn.functional import normalize

from solutions import gated_delta_kernels as kernels
from solutions import interpreter
from solutions.checks.kernels import Written, changed
from solutions.gated_delta_kernels import (
    intra_bytes,
    intra_pass,
    one_pass,
    one_pass_bytes,
    one_pass_floats,
    one_pass_flops,
    output_bytes,
    output_pass,
    state_bytes,
    state_pass,
    three_passes,
    three_passes_bytes,
    three_passes_floats,
    three_passes_flops,
)
from solutions.interpreter import listening, numbered_from, triton
from widgets.theatre import traced

pytestmark = pytest.mark.skipif(not interpreter.available, reason=interpreter.why_not)

WAYS = (three_passes, one_pass)
ERROR = {torch.float16: 1e-3, torch.bfloat16: 8e-3}  # of the norm, against float64


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def drawn(batch=1, heads=2, n=37, d=16, d_value=32, dtype=torch.float32) -> tuple[Tensor, ...]:
    """q, k, v, g, b and a state: q and k of length 1, half-lives from 3 tokens up, write strengths from 0 to 1."""
    rows = batch, heads, n
    q, k, v = of_length_one(*rows, d), of_length_one(*rows, d), torch.randn(*rows, d_value)
    g, b = -0.2 * torch.rand(rows), torch.rand(rows)
    return *(each.to(dtype) for each in (q, k, v)), g, b, torch.randn(batch, heads, d, d_value)


def of_length_one(*shape: int) -> Tensor:
    return normalize(torch.randn(shape), dim=-1)


def token_by_token(q, k, v, g, b, S=None) -> tuple[Tensor, Tensor]:
    """The rule in float64 as it is told: forget, read, write what is new, look up."""
    q, k, v, g, b = (each.double() for each in (q, k, v, g, b))
    S = torch.zeros(*k.shape[:2], k.shape[-1], v.shape[-1]).double() if S is None else S.double()
    out = []
    for t in range(k.shape[2]):
        key = k[:, :, t, :, None]
        S = g[:, :, t, None, None].exp() * S
        read = (key * S).sum(2)
        S = S + key * (b[:, :, t, None] * (v[:, :, t] - read))[:, :, None]
        out.append((q[:, :, t, :, None] * S).sum(2))
    return torch.stack(out, 2), S


def error(got: Tensor, expected: Tensor) -> float:
    return ((got.double() - expected).norm() / expected.norm()).item()


# Numbers ----------------------------------------------------------------------------------------------------------

SETTINGS = [  # batch, heads, n, d, d_value, chunk, block_v, whether a state comes in
    (1, 1, 32, 16, 16, 16, None, False),
    (2, 2, 21, 16, 32, 16, 16, True),
    (1, 1, 70, 32, 16, 32, 16, True),
    (1, 1, 5, 64, 32, 16, 32, True),
    (1, 1, 33, 16, 64, 16, 32, False),
    (1, 1, 64, 16, 32, 64, 16, True),
    (1, 1, 1, 16, 16, 16, None, True),
]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.seconds
def test_outputs_and_states_are_those_of_the_rule(way, setting):
    *sizes, chunk, block_v, given = setting
    *inputs, S = drawn(*sizes)
    S = S if given else None
    out, state = way(*inputs, S, chunk=chunk, block_v=block_v)
    expected_out, expected_state = token_by_token(*inputs, S)
    assert (out - expected_out).abs().max() < 2e-6 and (state - expected_state).abs().max() < 2e-6
    assert (out.shape, state.shape) == (expected_out.shape, expected_state.shape)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.seconds
def test_two_bytes_with_sums_and_a_state_in_four(way, dtype):
    *inputs, S = drawn(heads=1, n=24, dtype=dtype)
    out, state = way(*inputs, S)
    expected_out, expected_state = token_by_token(*inputs, S)
    assert (out.dtype, state.dtype) == (dtype, torch.float32)
    assert error(out, expected_out) < ERROR[dtype] and error(state, expected_state) < ERROR[dtype]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.seconds
def test_a_sequence_read_in_two_halves_is_the_whole_to_the_bit(way):
    *inputs, S = drawn(heads=1, n=48)
    out, state = way(*inputs, S, chunk=16)
    first, middle = way(*(each[:, :, :32] for each in inputs), S, chunk=16)
    second, end = way(*(each[:, :, 32:] for each in inputs), middle, chunk=16)
    assert torch.equal(torch.cat([first, second], 2), out) and torch.equal(end, state)


@pytest.mark.seconds
def test_chunks_and_blocks_of_values_do_not_change_the_answer():
    *inputs, S = drawn(heads=1, n=40)
    results = [way(*inputs, S, chunk=chunk, block_v=block_v) for way in WAYS for chunk, block_v in ((16, 32), (64, 16))]
    for (one, other), (out, state) in itertools.product(results[:1], results[1:]):
        assert (one - out).abs().max() < 5e-6 and (other - state).abs().max() < 5e-6


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.seconds
def test_the_future_does_not_reach_back_by_a_bit(way):
    """Not by its gates either: an anchor in the middle of a chunk would let them, in the last digits."""
    *inputs, S = drawn(heads=1, n=40)
    before, _ = way(*inputs, S, chunk=16)
    after, _ = way(*(torch.cat([a[:, :, :21], 3 * a[:, :, 21:]], 2) for a in inputs), S, chunk=16)
    assert torch.equal(before[:, :, :21], after[:, :, :21])
    assert not torch.equal(before[:, :, 21], after[:, :, 21])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.seconds
def test_decays_that_fp32_has_no_quotient_for(way):
    """From none at all to e^-20 a token: e^(20 · 64) is beyond every float."""
    q, k, v, _, b, S = drawn(heads=1, n=64)
    for each in (0.0, -5.0, -20.0):
        g = torch.full_like(b, each)
        g[..., 5:9] = -0.01
        out, state = way(q, k, v, g, b, S, chunk=64)
        expected_out, expected_state = token_by_token(q, k, v, g, b, S)
        assert (out - expected_out).abs().max() < 1e-5 and (state - expected_state).abs().max() < 1e-5
    assert math.isinf(torch.tensor(20.0 * 64).exp().item())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.seconds
def test_keys_that_are_alike_lose_no_digits(way):
    """The product of powers of A, which is the inverse on paper, is off by more than any entry that it should have."""
    q, _, v, g, b, _ = drawn(heads=1, n=64, d=64, d_value=16)
    k = normalize(of_length_one(1, 1, 1, 64) + 0.5 * of_length_one(1, 1, 64, 64), dim=-1)
    g, b = torch.zeros_like(g), torch.ones_like(b)
    out, state = way(q, k, v, g, b, chunk=64)
    expected_out, expected_state = token_by_token(q, k, v, g, b)
    assert error(out, expected_out) < 1e-5 and error(state, expected_state) < 1e-5
    A = (k @ k.mT).tril(-1)[0, 0]
    exact, product, power = torch.linalg.inv(torch.eye(64) + A.double()), torch.eye(64) - A, A @ A
    for _ in range(5):
        product, power = product @ (torch.eye(64) + power), power @ power
    assert exact.abs().max() < 1.0001 and (product - exact).abs().max() > 100


@pytest.mark.parametrize("way", WAYS)
def test_a_key_said_three_times_holds_its_last_value(way):
    _, k, v, g, b, _ = drawn(heads=1, n=3)
    k[:], g[:], b[:] = k[:, :, :1].clone(), 0, 1
    out, state = way(k, k, v, g, b)
    assert (out - v).abs().max() < 1e-5  # looked up after each saying
    assert ((k[..., -1, :, None] * state).sum(-2) - v[..., -1, :]).abs().max() < 1e-5


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.seconds
def test_heads_far_beyond_32_bits(way):
    """As if 8,388,613 heads came before: their numbers are more than 32 bits count."""
    *inputs, S = drawn(heads=1, n=20)
    before, number = {"states": 2 * S.nbytes, "initial": S.nbytes, "final": S.nbytes}, 2**23 + 5
    before |= dict.fromkeys(("v", "u", "written", "out"), inputs[2].nbytes) | dict.fromkeys("gb", inputs[3].nbytes)
    before |= dict.fromkeys("qkw", inputs[0].nbytes)
    expected = way(*inputs, S, chunk=16)
    with numbered_from((0, number, 0), {name: number * size for name, size in before.items()}):
        found = way(*inputs, S, chunk=16)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.seconds
def test_views_and_gates_of_another_dtype_are_read_as_what_they_show(way):
    *inputs, S = drawn(heads=2, n=20)
    q, k, v, g, b = (each.transpose(1, 2).contiguous().transpose(1, 2) for each in inputs)
    assert not k.is_contiguous()
    g, b, S = g.bfloat16(), b.half(), S.mT.contiguous().mT.double()
    out, state = way(q, k, v, g, b, S, chunk=16)
    expected_out, expected_state = token_by_token(q, k, v, g, b, S.float())
    assert (out - expected_out).abs().max() < 1e-5 and (state - expected_state).abs().max() < 1e-5


# What is wrong is seen --------------------------------------------------------------------------------------------

INTRA, STATE, OUTPUT, ONE = kernels.intra_kernel, kernels.state_kernel, kernels.output_kernel, kernels.one_pass_kernel
KEEP, LAST = "tl.store(states + (head * chunks + chunk) * size + s_at, S_read)", '* S, input_precision="ieee")'
PLAIN = "tl.where(rows[:, None] >= rows, 1.0, 0.0)"
MISTAKES = {  # the kernel, and the pieces of it that are replaced
    "the diagonal is kept in A": (INTRA, "rows[:, None] > rows", "rows[:, None] >= rows"),
    "A has no write strength": (INTRA, " * b_row[:, None]", ""),
    "A has no decay": (INTRA, "decays(G, rows)", PLAIN),
    "keys and values have no write strength": (INTRA, "CHUNK) * b_row", "CHUNK)"),
    "w has no decay": (INTRA, "T * tl.exp(G)", "T"),
    "a chunk writes as if S were 0": (STATE, "u_tile - tl.dot(", "u_tile - 0 * tl.dot("),
    "nothing is forgotten": (STATE, "tl.exp(last) * S", "S"),
    "writes are decayed from the chunk's first token": (STATE, "tl.exp(last - G)", "tl.exp(G)"),
    "no state comes in": (STATE, "if initial is None", "if True"),
    "the states are those after a chunk": (STATE, KEEP, "", LAST, f"{LAST}; {KEEP}".replace("S_read", "S")),
    "the output has a plain mask": (OUTPUT, "decays(G, rows)", PLAIN),
    "a token doesn't look up what it wrote": (OUTPUT, "decays(G, rows)", "decays(G, rows) * (rows[:, None] > rows)"),
    "queries see the state as it was": (OUTPUT, "tl.exp(G)[:, None] * ", ""),
    "the diagonal is kept in A, in one pass": (ONE, "rows[:, None] > rows", "rows[:, None] >= rows"),
    "it reads before it forgets": (ONE, "v_tile - left * ", "v_tile - "),
    "what it read has no write strength": (ONE, "b_row[:, None] * (v_tile", "(v_tile"),
    "nothing is forgotten, in one pass": (ONE, "tl.exp(last) * S", "S"),
    "no state comes in, in one pass": (ONE, "if initial is None", "if True"),
    "the output has a plain mask, in one pass": (ONE, "* decay).to", f"* {PLAIN}).to"),
}


def off(way, inputs) -> float:
    """The largest difference from the rule, in output and state."""
    found = zip(way(*inputs, chunk=16), token_by_token(*inputs), strict=True)
    return max((one - other).abs().max().item() for one, other in found)


@pytest.mark.parametrize("kernel, pieces", [(kernel, rest) for kernel, *rest in MISTAKES.values()], ids=list(MISTAKES))
@pytest.mark.seconds
def test_a_kernel_with_a_mistake_is_wrong(kernel, pieces, monkeypatch):
    monkeypatch.setattr(kernels, kernel.__name__, changed(kernel, *pieces).made)
    assert off(one_pass if kernel is ONE else three_passes, drawn(heads=1, n=20, d_value=16)) > 1e-2


@pytest.mark.parametrize("way, kernel", [(three_passes, INTRA), (one_pass, ONE)])
@pytest.mark.seconds
def test_an_inverse_that_stops_early_is_wrong(way, kernel, monkeypatch):
    short = changed(kernels.unit_inverse, "CHUNK - 1", "CHUNK - 2").made  # the last row of a chunk, and no other
    inputs = drawn(heads=1, n=32, d_value=16)
    assert off(way, inputs) < 1e-5
    monkeypatch.setattr(kernels, kernel.__name__, changed(kernel, unit_inverse=short).made)
    assert off(way, inputs) > 1e-3


def passes(*inputs, chunk=16, block_v=16):
    """Each launch as a function, with the kernel that it launches and what that writes."""
    q, k, v, g, b, S = inputs
    u, w = intra_pass(k, v, g, b, chunk=chunk)
    written, states, _ = state_pass(k, u, w, g, S, chunk=chunk, block_v=block_v)
    return [
        (INTRA, ("u", "w"), lambda: intra_pass(k, v, g, b, chunk=chunk)),
        (STATE, ("states", "written", "final"), lambda: state_pass(k, u, w, g, S, chunk=chunk, block_v=block_v)),
        (OUTPUT, ("out",), lambda: output_pass(q, k, written, g, states, chunk=chunk)),
        (ONE, ("out", "final"), lambda: one_pass(q, k, v, g, b, S, chunk=chunk, block_v=block_v)),
    ]


@pytest.mark.parametrize("index", range(4), ids=[each.__name__ for each in (INTRA, STATE, OUTPUT, ONE)])
@pytest.mark.seconds
def test_every_program_writes_its_part_and_who_writes_nothing_is_seen(index, monkeypatch):
    kernel, outputs, run = passes(*drawn(n=19))[index]
    with listening(Written(2, *outputs)) as written:
        run()
    assert written.stored.keys() == set(outputs) and all(stored.all() for stored in written.stored.values())
    for name, stored in written.stored.items():  # and nobody else's
        assert sum(len(own) for (_, of), own in written.entries.items() if of == name) == stored.size
    idle = "tl.program_id(1).to(tl.int64)", "(0 * tl.program_id(1)).to(tl.int64)"  # all heads' programs do head 0
    monkeypatch.setattr(kernels, kernel.__name__, changed(kernel, *idle).made)
    with listening(Written(2, *outputs)) as written, suppress(ValueError):  # a nan, where what was there is one
        run()
    assert not any(stored.all() for stored in written.stored.values())


def test_a_kernel_without_masks_leaves_its_tensors(monkeypatch):
    *inputs, _ = drawn(heads=1, n=37)
    monkeypatch.setattr(kernels, "intra_kernel", changed(INTRA, "inside = token < n", "inside = token < n + 16").made)
    with pytest.raises(interpreter.OutOfBounds, match="a load of k"):
        intra_pass(*inputs[1:], chunk=16)


# Bad input --------------------------------------------------------------------------------------------------------

REFUSED = [
    (lambda q, k, v, g, b, S: three_passes(q[0], k, v, g, b), "q has shape (2, 8, 16), which cannot be read as"),
    (lambda q, k, v, g, b, S: one_pass(q, k, v[:, :, :5], g, b), "v has shape (1, 2, 5, 32), so n = 5, but q has 8"),
    (lambda q, k, v, g, b, S: one_pass(q, k.half(), v, g, b), "k has dtype torch.float16, but q has torch.float32"),
    (lambda q, k, v, g, b, S: one_pass(q, k, v, g[..., :0], b), "where n is 0"),
    (lambda *given: one_pass(*(each.double() for each in given)), "k has dtype torch.float64; give torch.float16"),
    (lambda q, k, v, g, b, S: three_passes(q[..., :12], k[..., :12], v, g, b), "d is 12; give 16, 32, 64 or 128"),
    (lambda q, k, v, g, b, S: intra_pass(k, v[..., :24], g, b), "d_value is 24; give 16"),
    (lambda q, k, v, g, b, S: three_passes(q, k, v, g, b, chunk=20), "chunk is 20; give 16, 32, 64 or 128"),
    (lambda q, k, v, g, b, S: one_pass(q, k, v, g, b, chunk=0), "chunk is 0; give a whole number of 1 or more"),
    (lambda *given: one_pass(*given, block_v=64), "block_v is 64; give a power of 2 from 16 to d_value, which is 32"),
    (lambda q, k, v, g, b, S: one_pass(q, k, v, g.exp(), b), "give the log of a decay, 0 or less"),
    (lambda q, k, v, g, b, S: one_pass(q, k, v, g, b, S.mT), "S has shape (1, 2, 32, 16); give (batch, heads"),
    (lambda q, k, v, g, b, S: one_pass(q, k, v, g, b, S.int()), "S has dtype torch.int32; give a floating dtype"),
    (lambda q, k, v, g, b, S: one_pass(q, k, v, g, b, S * math.nan), "S holds nan at [0, 0, 0, 0]"),
    (lambda q, k, v, g, b, S: three_passes(q, k, v, g - math.inf, b), "g holds -inf at [0, 0, 0]; give finite numbers"),
    (lambda q, k, v, g, b, S: output_pass(q, k, v, g, torch.stack([S, S], 2)), "there are 2 states for 1 chunks; give"),
]


@pytest.mark.parametrize("call, said", REFUSED, ids=[said for _, said in REFUSED])
def test_bad_input_is_told(call, said):
    with pytest.raises(ValueError) as told:
        call(*drawn(n=8))
    assert said in str(told.value)


# Bytes ------------------------------------------------------------------------------------------------------------

TRAFFIC = [  # batch, heads, n, d, d_value, chunk, block_v, whether a state comes in, dtype
    (1, 1, 32, 16, 16, 16, 16, False, torch.float32),
    (1, 1, 32, 32, 32, 16, 32, False, torch.float32),
    (1, 2, 19, 16, 32, 16, 16, True, torch.float32),
    (2, 2, 16, 16, 16, 16, 16, True, torch.bfloat16),
    (1, 1, 33, 32, 16, 32, 16, False, torch.float16),
    (1, 1, 20, 16, 64, 16, 16, True, torch.bfloat16),
    (1, 1, 5, 16, 32, 32, 32, False, torch.float32),
    (1, 3, 17, 16, 32, 16, 32, True, torch.float16),
    (1, 1, 50, 64, 32, 32, 16, True, torch.float32),
    (1, 1, 1, 16, 16, 16, 16, True, torch.float32),
]


def issued(trace) -> dict[str, dict[str, int]]:
    """The bytes that programs asked for, reads and writes apart, of each tensor that had any."""
    found = {half: {name: trace.issued_bytes(name, kind=half) for name in trace.names} for half in ("read", "write")}
    return moving(found)


def moving(halves: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return {half: {name: size for name, size in each.items() if size} for half, each in halves.items()}


@pytest.mark.parametrize("case", TRAFFIC, ids=str)
@pytest.mark.seconds
def test_every_pass_moves_and_multiplies_its_closed_form(case):
    batch, heads, n, d, d_value, chunk, block_v, given, dtype = case
    q, k, v, g, b, S = drawn(batch, heads, n, d, d_value, dtype)
    S = S if given else None
    sizes, all_heads = (n, d, d_value), batch * heads
    more = dict(heads=all_heads, element_bytes=k.element_size())
    (u, w), intra = traced(intra_pass, k, v, g, b, chunk=chunk)
    (written, states, _), state = traced(state_pass, k, u, w, g, S, chunk=chunk, block_v=block_v)
    _, output = traced(output_pass, q, k, written, g, states, chunk=chunk)
    _, one = traced(one_pass, q, k, v, g, b, S, chunk=chunk, block_v=block_v)
    assert issued(intra) == moving(intra_bytes(*sizes, **more))
    assert issued(state) == moving(state_bytes(*sizes, chunk, block_v, initial=given, **more))
    assert issued(output) == moving(output_bytes(*sizes, chunk, **more))
    assert issued(one) == moving(one_pass_bytes(*sizes, block_v, initial=given, **more))
    found = {"intra": intra.flops(), "state": state.flops(), "output": output.flops()}
    assert found == three_passes_flops(*sizes, chunk, heads=all_heads)
    assert one.flops() == one_pass_flops(*sizes, chunk, block_v, heads=all_heads)


@pytest.mark.seconds
def test_the_whole_moves_what_its_passes_move():
    *inputs, S = drawn(n=37)
    _, trace = traced(three_passes, *inputs, S, chunk=16, block_v=16)
    expected = three_passes_bytes(37, 16, 32, 16, 16, initial=True, heads=2, element_bytes=4)
    for half in ("read", "write"):
        assert trace.issued_bytes(kind=half) == sum(sum(each[half].values()) for each in expected.values())


@pytest.mark.parametrize(
    "chunk, moved, states, flops",
    [(16, 3588, 2048, 118_784), (32, 2564, 1024, 139_264), (64, 2052, 512, 180_224), (128, 1796, 256, 262_144)],
)
def test_a_longer_chunk_moves_fewer_states_and_multiplies_more(chunk, moved, states, flops):
    """Per token and head, all values in one block: 12 d + 2 d^2 / C + 4 numbers, 10 C d + 6 d^2 operations."""
    n, d = 131_072, 128
    assert three_passes_floats(n, d, d, chunk, d) == n * moved + d * d
    assert moved == 12 * d + 2 * d * d // chunk + 4 and flops == 10 * chunk * d + 6 * d * d
    passes = three_passes_bytes(n, d, d, chunk, d, element_bytes=4)
    assert passes["state"]["write"]["states"] + passes["output"]["read"]["states"] == 4 * n * states
    assert sum(three_passes_flops(n, d, d, chunk).values()) == n * flops


@pytest.mark.parametrize("block_v", [16, 32, 128])
def test_one_pass_moves_keys_once_for_each_block_of_values(block_v):
    n, d = 131_072, 128
    assert one_pass_floats(n, d, d, block_v) == d // block_v * n * (2 * d + 2) + 2 * n * d + d * d
    assert one_pass_floats(n, d, d, 128) == n * 514 + d * d
    shipped = three_passes_floats(n, d, d, 64, 32), one_pass_floats(n, d, d, 32)
    assert [(count - d * d) / n for count in shipped] == [2823, 1288]


# Room on the chip -------------------------------------------------------------------------------------------------

FLOATS = ("g", "b", "initial", "final")


def needs(kernel, dtype: str, d: int, target: str, **constants):
    """What a program of a kernel takes with the tiles that we ship; constants: arguments that are no types."""
    table = kernels.ONE_PASS if kernel is ONE else kernels.THREE_PASSES
    chunk, block_v, num_warps = table[4 if dtype == "fp32" else 2]
    constants = dict(KEY_DIM=d, VALUE_DIM=d, BLOCK_V=block_v, CHUNK=chunk) | constants
    types = {name: "*fp32" if name in FLOATS else f"*{dtype}" for name in kernel.arg_names} | {"n": "i32"}
    names = [name for name in kernel.arg_names if name not in constants]
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    return compiled(kernel, {name: types[name] for name in names}, constants, target, num_warps, 2)


ROOM = {  # at 128: registers, shared bytes, programs on one processor
    (INTRA, "sm_80"): (168, 24_576, 3),
    (STATE, "sm_80"): (201, 41_216, 2),
    (OUTPUT, "sm_80"): (255, 40_960, 2),
    (ONE, "sm_80"): (240, 16_384, 2),
    (INTRA, "sm_90"): (137, 17_408, 3),
    (STATE, "sm_90"): (134, 82_176, 2),
    (OUTPUT, "sm_90"): (128, 49_152, 4),
    (ONE, "sm_90"): (194, 20_480, 2),
}
ON_SM_90 = {  # with both tiles in shared memory, or the first in registers; chunks of 16 have too few rows for a wgmma
    (INTRA, 64): {"m64n64k16 ss", "m64n64k16 rs"},
    (INTRA, 128): {"m64n64k16 ss", "m64n128k16 rs"},
    (STATE, 64): {"m64n32k16 ss"},
    (STATE, 128): {"m64n32k16 ss"},
    (OUTPUT, 64): {"m64n64k16 ss", "m64n64k16 rs"},
    (OUTPUT, 128): {"m64n64k16 ss", "m64n128k16 ss", "m64n128k16 rs"},
    (ONE, 64): {"m64n32k16 ss", "m16n8k16"},
    (ONE, 128): {"m64n32k16 ss", "m16n8k16"},
}


@pytest.mark.parametrize("target", ["sm_80", "sm_90"])
@pytest.mark.parametrize("kernel, d", ON_SM_90, ids=lambda given: getattr(given, "__name__", str(given)))
@pytest.mark.slow
def test_shipped_tiles_fit_and_spill_nothing(kernel, d, target):
    for without in ({}, {"initial": None}) if kernel in (STATE, ONE) else ({},):
        found = needs(kernel, "bf16", d, target, **without)
        assert found.fits and not found.serialized and found.spill_bytes == 0, found.reason
        assert set(found.instructions) == ({"m16n8k16"} if target == "sm_80" else ON_SM_90[kernel, d])
        assert found.shared_bytes <= 101_376  # what the smaller chips since Ampere give
        if target == "sm_90":
            assert found.wgmma_bytes_a_cycle == (192 if kernel in (STATE, ONE) else 128)


@pytest.mark.parametrize("target", ["sm_80", "sm_90"])
@pytest.mark.slow
def test_longer_chunks_of_one_pass_spill(target):
    assert needs(ONE, "bf16", 128, target, CHUNK=32).spill_bytes > 0


@pytest.mark.skipif(triton.__version__ != "3.7.1", reason="another compiler shares out other registers")
@pytest.mark.parametrize("kernel, target", ROOM, ids=lambda given: getattr(given, "__name__", str(given)))
@pytest.mark.slow
def test_what_the_shipped_tiles_take_is_what_the_table_says(kernel, target):
    found = needs(kernel, "bf16", 128, target)
    assert (found.registers, found.shared_bytes, found.programs_per_sm) == ROOM[kernel, target]


@pytest.mark.parametrize("kernel", [INTRA, STATE, OUTPUT, ONE], ids=lambda kernel: kernel.__name__)
@pytest.mark.slow
def test_a_length_of_one_compiles_too(kernel):
    """At a launch Triton makes a constant of a whole number that is 1, and constants type differently."""
    assert needs(kernel, "fp16", 16, "sm_90", BLOCK_V=16, n=1).fits


@pytest.mark.parametrize("kernel, spills", [(INTRA, False), (STATE, False), (OUTPUT, True), (ONE, True)], ids=str)
@pytest.mark.slow
def test_fp32_is_exact_and_not_fast(kernel, spills):
    found = needs(kernel, "fp32", 128, "sm_80")
    assert found.fits and not found.instructions
    assert found.spill_bytes > 1000 if spills else found.spill_bytes == 0
