"""The machine against the formulas byte by byte, its values against float64, and the figures that the lesson prints."""

import itertools
import math
import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from solutions import interpreter
from solutions.flash import (
    SHARED_MEMORY_LIMITS,
    SRAMOverflow,
    TileMachine,
    atomic_backward_bytes,
    backward_bytes,
    backward_tile,
    decode_bytes,
    delta_bytes,
    flash1_attention,
    flash1_bytes,
    flash1_issued_bytes,
    flash1_training_bytes,
    flash_issued_bytes,
    flash_training_flops,
    forward_bytes,
    forward_flops,
    key_range,
    key_value_gradient_bytes,
    largest_tile,
    merge,
    online_softmax,
    paper_blocks,
    peak_tile_bytes,
    query_gradient_bytes,
    query_range,
    rows_loaded,
    shared_memory_bytes,
    softmax_backward,
    split_attention,
    standard_attention,
    standard_bytes,
    standard_training_bytes,
    standard_training_flops,
    tiled_attention,
    tiled_backward,
)
from solutions.flash_kernels import flash_forward
from solutions.local_global import window_mask
from solutions.quadratic import attention, causal_mask, log_sum_exp, softmax
from widgets.theatre.resources import resources

WITHIN = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3}
# queries, keys, d, block_m, block_n: square, ragged, blocks unequal either way, fewer queries, one token, one block
SHAPES = [
    (64, 64, 16, 16, 16),
    (128, 128, 32, 32, 16),
    (96, 96, 16, 16, 48),
    (50, 50, 16, 16, 32),
    (77, 77, 8, 32, 16),
    (9, 40, 16, 4, 16),
    (33, 100, 16, 16, 32),
    (1, 37, 16, 16, 16),
    (1, 1, 16, 16, 16),
    (20, 20, 16, 64, 64),
]
CAUSAL = [False, True]
HALF_OR_SINGLE = [torch.float16, torch.float32]
every_configuration = pytest.mark.parametrize(
    "shape, causal, dtype", list(itertools.product(SHAPES, CAUSAL, HALF_OR_SINGLE)), ids=str
)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def draw(*shapes, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def one_head(shape, dtype=torch.float64, seed=0):
    """q, k, v and a gradient of the output, and the block sizes as keywords."""
    queries, keys, d, block_m, block_n = shape
    return draw((queries, d), (keys, d), (keys, d), (queries, d), seed=seed, dtype=dtype), {
        "block_m": block_m,
        "block_n": block_n,
    }


def exact(q, k, v, causal):
    """Output and log-sum-exp in float64."""
    q, k, v = q.double(), k.double(), v.double()
    scores = q @ k.T / math.sqrt(q.shape[-1])
    if causal:
        scores = scores.masked_fill(~causal_mask(len(q), len(k)), -math.inf)
    return softmax(scores) @ v, log_sum_exp(scores)


def assert_close(got, expected, within):
    assert got.shape == expected.shape
    scale = max(expected.abs().max().item(), 1.0)
    assert (got.double() - expected).abs().max().item() <= within * scale


def by_program(machine, kernel):
    """(tensor, program) -> bytes of one kernel's events."""
    moved = {}
    for event in machine.events:
        if event.kernel == kernel and event.kind != "dot":
            key = event.tensor, event.program
            moved[key] = moved.get(key, 0) + event.element_bytes
    return moved


def predicted(formula, programs):
    """(tensor, program) -> bytes that a formula gives for each program."""
    return {
        (name, program): moved
        for program in range(programs)
        for name, moved in formula(program=program).items()
        if moved
    }


# A softmax in pieces -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(7,), (3, 4), (1,) * 7, (2, 5, 1, 9)])
@pytest.mark.parametrize("shift", [0.0, -700.0, 700.0])
def test_online_softmax_is_log_sum_exp(sizes, shift):
    (scores,) = draw((2, 3, sum(sizes)))
    scores = scores * 5 + shift
    maximum, total = online_softmax(scores.split(sizes, dim=-1))
    assert torch.equal(maximum, scores.amax(dim=-1))
    assert_close(maximum + total.log(), log_sum_exp(scores), 1e-12)


def test_online_softmax_by_hand():
    """The figures of the lesson: 1 and 2, then 3."""
    maximum, total = online_softmax([torch.tensor([1.0, 2.0]), torch.tensor([3.0])])
    assert (maximum.item(), round(total.item(), 4)) == (3.0, 1.5032)


def test_online_softmax_of_a_row_that_sees_nothing_first():
    hidden = torch.full((2, 3), -math.inf)
    (scores,) = draw((2, 4), dtype=torch.float32)
    maximum, total = online_softmax([hidden, scores, hidden])
    assert_close(maximum + total.log(), log_sum_exp(scores.double()), 1e-6)
    maximum, total = online_softmax([hidden, hidden])
    assert total.eq(0).all() and maximum.isfinite().all()


def partial(q, k, v):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return softmax(scores) @ v, log_sum_exp(scores)


def test_merge_is_attention_over_both():
    q, k, v = draw((2, 5, 8), (2, 30, 8), (2, 30, 4))
    parts = [partial(q, k[:, part], v[:, part]) for part in (slice(0, 11), slice(11, 12), slice(12, 30))]
    out, lse = partial(q, k, v)
    left = merge(*merge(*parts[0], *parts[1]), *parts[2])
    right = merge(*parts[0], *merge(*parts[1], *parts[2]))
    turned = merge(*parts[2], *merge(*parts[1], *parts[0]))
    for got in (left, right, turned):
        assert_close(got[0], out, 1e-12)
        assert_close(got[1], lse, 1e-12)


def test_merge_with_a_part_that_saw_nothing():
    out, lse = partial(*draw((5, 8), (9, 8), (9, 8)))
    nothing = torch.zeros_like(out), torch.full_like(lse, -math.inf)
    for got in (merge(out, lse, *nothing), merge(*nothing, out, lse)):
        assert torch.equal(got[0], out) and torch.equal(got[1], lse)
    got = merge(*nothing, *nothing)
    assert torch.equal(got[0], nothing[0]) and torch.equal(got[1], nothing[1])


@pytest.mark.parametrize("keys", [1, 5, 16, 33])
@pytest.mark.parametrize("splits", [1, 2, 4, 7, 40])
def test_any_number_of_splits_is_attention(keys, splits):
    q, k, v = draw((2, 3, 1, 8), (2, 3, keys, 8), (2, 3, keys, 5))
    assert_close(split_attention(q, k, v, splits), attention(q, k, v), 1e-12)


# The machine -------------------------------------------------------------------------------------------------------


@every_configuration
def test_forward_on_the_machine(shape, causal, dtype):
    (q, k, v, _), blocks = one_head(shape, dtype)
    machine = TileMachine()
    out, lse = tiled_attention(machine, q, k, v, **blocks, causal=causal)
    expected, expected_lse = exact(q, k, v, causal)
    assert out.dtype == dtype and lse.dtype == torch.float32
    assert_close(out, expected, WITHIN[dtype])
    assert_close(lse, expected_lse, 1e-5)
    settings = dict(causal=causal, element_bytes=q.element_size())
    assert machine.by_tensor() == forward_bytes(*shape, **settings)
    programs = math.ceil(shape[0] / shape[3])
    assert by_program(machine, "tiled_attention") == predicted(
        lambda program: forward_bytes(*shape, **settings, program=program), programs
    )
    assert machine.issued_bytes(kind="store") == out.nbytes + lse.nbytes


@every_configuration
@pytest.mark.seconds
def test_backward_on_the_machine(shape, causal, dtype):
    (q, k, v, grad_out), blocks = one_head(shape, dtype)
    out, lse = tiled_attention(TileMachine(), q, k, v, **blocks, causal=causal)
    machine = TileMachine()
    gradients = tiled_backward(machine, q, k, v, out, lse, grad_out, **blocks, causal=causal)
    leaves = [tensor.double().requires_grad_() for tensor in (q, k, v)]
    exact(*leaves, causal)[0].backward(grad_out.double())
    for got, leaf in zip(gradients, leaves, strict=True):
        assert got.dtype == dtype
        assert_close(got, leaf.grad, 5e-3 if dtype == torch.float16 else 2e-5)
    settings = dict(causal=causal, element_bytes=q.element_size())
    assert machine.by_tensor() == backward_bytes(*shape, **settings)
    queries, keys, d, block_m, block_n = shape
    programs, key_programs = math.ceil(queries / block_m), math.ceil(keys / block_n)
    for kernel, formula, count in (
        (
            "row_deltas",
            lambda program: delta_bytes(queries, d, block_m, element_bytes=q.element_size(), program=program),
            programs,
        ),
        (
            "key_value_gradients",
            lambda program: key_value_gradient_bytes(*shape, **settings, program=program),
            key_programs,
        ),
        ("query_gradients", lambda program: query_gradient_bytes(*shape, **settings, program=program), programs),
    ):
        assert by_program(machine, kernel) == predicted(formula, count), kernel
    assert machine.issued_bytes(kind="store") == sum(got.nbytes for got in gradients) + 4 * queries


@every_configuration
@pytest.mark.seconds
def test_flash1_on_the_machine(shape, causal, dtype):
    (q, k, v, _), blocks = one_head(shape, dtype)
    machine = TileMachine()
    out, lse = flash1_attention(machine, q, k, v, **blocks, causal=causal)
    expected, expected_lse = exact(q, k, v, causal)
    assert_close(out, expected, WITHIN[dtype])
    assert_close(lse, expected_lse, 1e-5)
    assert machine.by_tensor() == flash1_bytes(*shape, causal=causal, element_bytes=q.element_size())


@every_configuration
@pytest.mark.seconds
def test_standard_attention_on_the_machine(shape, causal, dtype):
    (q, k, v, _), blocks = one_head(shape, dtype)
    machine = TileMachine()
    out = standard_attention(machine, q, k, v, **blocks, causal=causal)
    assert_close(out, exact(q, k, v, causal)[0], WITHIN[dtype])
    assert machine.by_tensor() == standard_bytes(*shape, element_bytes=q.element_size())


@pytest.mark.parametrize("causal", CAUSAL)
def test_float64_stays_float64(causal):
    (q, k, v, grad_out), blocks = one_head((37, 50, 8, 16, 16))
    out, lse = tiled_attention(TileMachine(), q, k, v, **blocks, causal=causal)
    expected, expected_lse = exact(q, k, v, causal)
    assert_close(out, expected, 1e-12)
    assert_close(lse, expected_lse, 1e-12)
    leaves = [tensor.clone().requires_grad_() for tensor in (q, k, v)]
    exact(*leaves, causal)[0].backward(grad_out)
    gradients = tiled_backward(TileMachine(), q, k, v, out, lse, grad_out, **blocks, causal=causal)
    for got, leaf in zip(gradients, leaves, strict=True):
        assert_close(got, leaf.grad, 1e-12)


def test_large_scores_and_late_maxima():
    (q, k, v, _), blocks = one_head((40, 40, 16, 16, 8))
    k = k * torch.linspace(1, 30, 40)[:, None].double()
    out, lse = tiled_attention(TileMachine(), q.float(), k.float(), v.float(), **blocks)
    expected, expected_lse = exact(q.float(), k.float(), v.float(), False)
    assert_close(out, expected, 2e-5)
    assert_close(lse, expected_lse, 1e-5)


@pytest.mark.seconds
def test_the_block_size_does_not_change_the_answer():
    (q, k, v, _), _ = one_head((70, 70, 16, 1, 1))
    outs = [
        tiled_attention(TileMachine(), q, k, v, block_m=m, block_n=n, causal=True)[0]
        for m, n in ((1, 1), (16, 64), (64, 16), (70, 70), (128, 128))
    ]
    for out in outs[1:]:
        assert_close(out, outs[0], 1e-13)


def test_a_suffix_of_the_queries_is_the_suffix_of_the_rows():
    (q, k, v, _), blocks = one_head((60, 60, 16, 16, 16))
    whole, _ = tiled_attention(TileMachine(), q, k, v, **blocks, causal=True)
    last, _ = tiled_attention(TileMachine(), q[-7:], k, v, **blocks, causal=True)
    assert_close(last, whole[-7:], 1e-13)


def test_keys_after_a_query_do_not_reach_it():
    (q, k, v, _), blocks = one_head((40, 40, 16, 16, 16))
    before, _ = tiled_attention(TileMachine(), q, k, v, **blocks, causal=True)
    k[25:], v[25:] = 1e6, -1e6
    after, _ = tiled_attention(TileMachine(), q, k, v, **blocks, causal=True)
    assert torch.equal(before[:25], after[:25]) and not torch.equal(before[25:], after[25:])


def test_dots_are_noted_with_their_flops():
    (q, k, v, grad_out), blocks = one_head((50, 50, 16, 16, 16))
    machine = TileMachine()
    out, lse = tiled_attention(machine, q, k, v, **blocks)
    assert sum(event.flops for event in machine.events) == forward_flops(50, 50, 16)
    backward = TileMachine()
    tiled_backward(backward, q, k, v, out, lse, grad_out, **blocks)
    assert (
        sum(event.flops for event in backward.events) == 7 * forward_flops(50, 50, 16) // 2
    )  # split: 4 and 3 products


def test_events_say_who_did_what_where():
    (q, k, v, _), blocks = one_head((50, 50, 16, 32, 16), torch.float16)
    machine = TileMachine()
    tiled_attention(machine, q, k, v, **blocks)
    assert {event.kernel for event in machine.events} == {"tiled_attention"} == set(machine.code)
    loads = [event for event in machine.events if (event.tensor, event.program) == ("k", 1)]
    assert [event.rows for event in loads] == [(0, 16), (16, 32), (32, 48), (48, 50)]
    assert [event.columns for event in loads] == [(0, 16)] * 4
    assert [event.iteration for event in loads] == [0, 1, 2, 3]
    assert [event.element_bytes for event in loads] == [512, 512, 512, 64]
    lines = open(machine.code["tiled_attention"].co_filename).read().splitlines()
    assert 'machine.load("k"' in lines[loads[0].line - 1]
    assert loads[0].live == {
        "q": ((18, 16), 576),
        "acc": ((18, 16), 1152),
        "m": ((18,), 72),
        "l": ((18,), 72),
        "k": ((16, 16), 512),
    }
    last = machine.events[-1]
    assert (last.kind, last.tensor, last.rows) == ("store", "lse", (32, 50))
    assert_close(last.vectors["m"] + last.vectors["l"].log(), exact(q, k, v, False)[1][32:], 1e-5)


@pytest.mark.parametrize("dtype", HALF_OR_SINGLE)
@pytest.mark.parametrize(
    "d, block_m, block_n", [(64, 64, 32), (64, 128, 64), (128, 32, 64), (128, 64, 32), (16, 16, 128)]
)
def test_peak_is_the_closed_form(d, block_m, block_n, dtype):
    (q, k, v, _), blocks = one_head((256, 256, d, block_m, block_n), dtype)
    need = peak_tile_bytes(block_m, block_n, d, q.element_size())
    machine = TileMachine(need)
    tiled_attention(machine, q, k, v, **blocks, causal=True)
    assert machine.peak == need
    with pytest.raises(SRAMOverflow):
        tiled_attention(TileMachine(need - 1), q, k, v, **blocks, causal=True)


def test_a_dropped_or_replaced_tile_is_nan():
    machine = TileMachine()
    x = machine.hbm("x", torch.ones(8, 2))
    first = machine.load("tile", x, slice(0, 4))
    second = machine.load("tile", x, slice(4, 8))
    assert first.isnan().all() and second.eq(1).all()
    machine.drop("tile")
    assert second.isnan().all() and x.eq(1).all() and machine.live == {}


def test_a_program_begins_and_ends_with_nothing_in_sram():
    machine = TileMachine()
    x = machine.hbm("x", torch.ones(8, 2))
    machine.load("left over", x, slice(0, 4))
    with pytest.raises(ZeroDivisionError), machine.program(3):
        assert machine.live == {}
        machine.load("tile", x, slice(0, 4))
        _ = 1 / 0
    assert machine.live == {} and machine.issued_bytes(program=3) == 32 and machine.issued_bytes() == 64


def test_one_tensor_under_two_names_is_two():
    machine = TileMachine()
    (x,) = draw((32, 8), dtype=torch.float16)
    tiled_attention(machine, x, x, x, block_m=16, block_n=16)
    assert machine.by_tensor() == forward_bytes(32, 32, 8, 16, 16)


# Bad input ---------------------------------------------------------------------------------------------------------


def refused(words, call, error=ValueError):
    with pytest.raises(error, match=re.escape(words)):
        call()


def test_overflow_names_the_tile_and_what_to_do():
    (q, k, v, _), blocks = one_head((64, 64, 64, 64, 32), torch.float16)
    run = lambda capacity: tiled_attention(TileMachine(capacity), q, k, v, **blocks)  # noqa: E731
    refused(
        "tile 'q' (64, 64) needs 8,192 bytes, but of 1,000 only 1,000 are free (nothing else is held)",
        lambda: run(1000),
        SRAMOverflow,
    )
    refused(
        "tile 'scores' (64, 32) needs 8,192 bytes, but of 37,375 only 8,191 are free", lambda: run(37_375), SRAMOverflow
    )
    refused("(q 8,192, acc 16,384, m 256, l 256, k 4,096); drop a tile", lambda: run(37_375), SRAMOverflow)


def test_the_machine_refuses_what_is_not_there():
    machine = TileMachine()
    x = machine.hbm("x", torch.ones(8, 2))
    refused("there is no tile 'k' in SRAM, which holds nothing", lambda: machine.drop("k"))
    machine.load("q", x, slice(0, 4))
    machine.drop("q")
    refused("there is no tile 'q'", lambda: machine.drop("q"))
    refused("a tensor (8, 2) is not in HBM", lambda: machine.load("y", torch.ones(8, 2), slice(0, 4)))
    refused("rows 8 to 12 of x, which has 8: nothing is there", lambda: machine.load("q", x, slice(8, 12)))
    refused("rows of x are given as 3; give a slice", lambda: machine.load("q", x, 3))
    refused("rows of x are given as slice(0, 8, 2)", lambda: machine.load("q", x, slice(0, 8, 2)))
    refused("columns 2 to 4 of x", lambda: machine.load("q", x, slice(0, 8), slice(2, 4)))
    refused(
        "the value has shape (3, 2), but rows 0 to 4 of x have (4, 2)",
        lambda: machine.store(x, slice(0, 4), torch.ones(3, 2)),
    )
    refused("x is (2, 3, 4); the machine runs one head", lambda: machine.hbm("x", torch.ones(2, 3, 4)))
    for capacity in (0, -1, math.nan, "48 KB"):
        refused("give a number above 0", lambda capacity=capacity: TileMachine(capacity))


def test_attention_on_the_machine_refuses_bad_input():
    (q, k, v, grad_out), blocks = one_head((8, 8, 4, 4, 4))
    machine = TileMachine()
    for attend in (tiled_attention, flash1_attention, standard_attention):
        refused("k has shape (8, 3), so d = 3, but q has 4", lambda f=attend: f(machine, q, k[:, :3], v, **blocks))
        refused("v has shape (7, 4), so keys = 7, but k has 8", lambda f=attend: f(machine, q, k, v[:7], **blocks))
        refused("where queries is 0; give at least 1", lambda f=attend: f(machine, q[:0], k, v, **blocks))
        refused("block_m is 0; give a whole number", lambda f=attend: f(machine, q, k, v, block_m=0, block_n=4))
        refused("block_n is 2.5; give a whole number", lambda f=attend: f(machine, q, k, v, block_m=4, block_n=2.5))
        refused(
            "k has dtype torch.float32, but q has torch.float64", lambda f=attend: f(machine, q, k.float(), v, **blocks)
        )
        refused("there are 8 queries and 5 keys", lambda f=attend: f(machine, q, k[:5], v[:5], **blocks, causal=True))
        refused("cannot be read as (queries, d)", lambda f=attend: f(machine, q[None], k, v, **blocks))
        refused("machine is of type int; give a TileMachine", lambda f=attend: f(1024, q, k, v, **blocks))
    out, lse = tiled_attention(machine, q, k, v, **blocks)
    refused("lse is (7,); give (8,)", lambda: tiled_backward(machine, q, k, v, out, lse[:7], grad_out, **blocks))
    refused("give a TileMachine", lambda: tiled_backward(None, q, k, v, out, lse, grad_out, **blocks))


def test_pieces_refuse_bad_input():
    refused("chunks is empty; give at least one tensor", lambda: online_softmax([]))
    refused("chunk 1 has dtype torch.int64", lambda: online_softmax([torch.ones(2), torch.ones(2).long()]))
    refused("the leading dimensions", lambda: online_softmax([torch.ones(2, 3), torch.ones(3, 3)]))
    out, lse = torch.ones(3, 2), torch.ones(3)
    refused("lse_b has shape (2,), so rows = 2, but out_a has 3", lambda: merge(out, lse, out, lse[:2]))
    refused("splits is 0; give a whole number", lambda: split_attention(out, out, out, 0))


def test_counts_refuse_bad_input():
    refused("queries is 0; give a whole number", lambda: forward_bytes(0, 8, 64, 16, 16))
    refused("program is 4, but there are 4; give 0 to 3", lambda: forward_bytes(64, 64, 64, 16, 16, program=4))
    refused("program is -1", lambda: key_value_gradient_bytes(64, 64, 64, 16, 16, program=-1))
    refused("window is 8 but causal is False", lambda: forward_bytes(64, 64, 64, 16, 16, window=8))
    refused("window is 0; give a whole number of 1", lambda: key_range(0, 16, 16, 64, 64, True, 0))
    refused("sinks is 2 but there is no window", lambda: forward_bytes(64, 64, 64, 16, 16, causal=True, sinks=2))
    refused(
        "sinks is -1; give a whole number", lambda: forward_bytes(64, 64, 64, 16, 16, causal=True, window=4, sinks=-1)
    )
    refused("the smallest tile needs 9,344", lambda: largest_tile(64, 9_343))
    assert largest_tile(64, 9_344) == (16, 16)
    refused(
        "target is 'sm_75'; the rule is known for sm_80 and sm_90",
        lambda: shared_memory_bytes(64, 64, 64, target="sm_75"),
    )
    refused("block_m is 256; the rule is known from 16 to 128", lambda: shared_memory_bytes(256, 64, 64))


# Which tiles are visited -------------------------------------------------------------------------------------------

PATTERNS = [
    (False, None, 0),
    (True, None, 0),
    (True, 1, 0),
    (True, 5, 0),
    (True, 16, 3),
    (True, 33, 1),
    (True, 1000, 0),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_ranges_hold_what_is_seen_and_no_block_more(shape, pattern):
    """Against the mask: every visible pair is in a visited tile, and the tiles at both ends hold a visible pair."""
    queries, keys, _, block_m, block_n = shape
    causal, window, sinks = pattern
    rows, columns = torch.arange(queries) + keys - queries, torch.arange(keys)
    near = window_mask(rows, columns, window or keys, causal=causal) if causal else torch.ones(queries, keys).bool()
    seen = near | ((columns < sinks) & (columns <= rows[:, None]))
    for first in range(0, queries, block_m):
        lo, hi = key_range(first, block_m, block_n, queries, keys, causal, window)
        here = near[first : first + block_m].any(dim=0).nonzero().flatten()
        assert lo <= here[0] < lo + block_n and lo % block_n == 0
        assert here[-1] < hi <= keys and hi - 1 - here[-1] < block_m
    for start in range(0, keys, block_n):
        lo, hi = query_range(start, block_m, block_n, queries, keys, causal, window, sinks)
        here = seen[:, start : start + block_n].any(dim=1).nonzero().flatten()
        assert lo % block_m == 0 and 0 <= hi <= queries
        if len(here):
            assert lo <= here[0] < lo + block_m and here[-1] < hi
            assert hi == queries or hi - 1 - here[-1] < block_n


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_bytes_of_a_pattern_are_those_of_its_tiles(shape, pattern):
    """Tile by tile: K is loaded for each tile that holds a visible pair, and so is Q for the gradients of keys."""
    queries, keys, d, block_m, block_n = shape
    causal, window, sinks = pattern
    settings = dict(causal=causal, window=window, sinks=sinks)
    rows, columns = torch.arange(queries) + keys - queries, torch.arange(keys)
    seen = window_mask(rows, columns, window or keys, causal=causal, sinks=sinks)
    seen = seen if causal else torch.ones_like(seen)
    key_rows = sum(
        min(block_n, keys - start)
        for first in range(0, queries, block_m)
        for start in range(0, keys, block_n)
        if seen[first : first + block_m, start : start + block_n].any()
    )
    query_rows = sum(
        min(block_m, queries - first)
        for start in range(0, keys, block_n)
        for first in range(0, queries, block_m)
        if seen[first : first + block_m, start : start + block_n].any()
    )
    forward = forward_bytes(*shape, **settings)
    assert forward["k"] == forward["v"] == 2 * d * key_rows
    assert forward["q"] == forward["out"] == 2 * d * queries and forward["lse"] == 4 * queries
    of_queries = query_gradient_bytes(*shape, **settings)
    assert of_queries["k"] == of_queries["v"] == 2 * d * key_rows and of_queries["lse"] == 4 * queries
    of_keys = key_value_gradient_bytes(*shape, **settings)
    assert of_keys["q"] == of_keys["grad_out"] == 2 * d * query_rows and of_keys["delta"] == 4 * query_rows
    assert atomic_backward_bytes(*shape, **settings)["grad_q"] == 8 * d * query_rows


def test_rows_loaded_counts_steps():
    for lo, hi, block, length in itertools.product((0, 8), (0, 5, 8, 17, 30), (4, 8), (30, 33)):
        assert rows_loaded(lo, hi, block, length) == sum(min(block, length - s) for s in range(lo, hi, block))


# The lesson's figures ----------------------------------------------------------------------------------------------


def test_the_short_forms_are_the_long_ones():
    for n, d, m, b, causal in itertools.product((1, 64, 1000), (16, 128), (16, 128), (32, 256), CAUSAL):
        assert flash_issued_bytes(n, d, m, b, causal) == sum(forward_bytes(n, n, d, m, b, causal=causal).values())
        assert flash1_issued_bytes(n, d, b) == sum(flash1_bytes(n, n, d, m, b).values())


def test_issued_bytes_of_1024_tokens():
    assert flash_issued_bytes(1024, 64, 128, 64) == 2_363_392
    assert forward_bytes(1024, 1024, 64, 128, 128, causal=True)["k"] == 589_824
    assert sum(standard_bytes(1024, 1024, 64, 1024, 1024).values()) == 8_912_896


def test_the_window_of_the_lesson():
    settings = dict(causal=True, window=64)
    programs = [forward_bytes(512, 512, 64, 64, 32, **settings, program=program)["k"] for program in range(8)]
    assert programs == [8_192] + [16_384] * 7
    assert 2 * forward_bytes(512, 512, 64, 64, 32, **settings)["k"] == 245_760


def test_two_heads_of_256_tokens():
    two = {name: 2 * moved for name, moved in forward_bytes(256, 256, 64, 64, 32, causal=True).items()}
    assert two == {"q": 65_536, "k": 163_840, "v": 163_840, "out": 65_536, "lse": 2_048}
    of_keys = key_value_gradient_bytes(256, 256, 64, 64, 64, causal=True)
    of_queries = query_gradient_bytes(256, 256, 64, 64, 64, causal=True)
    assert [2 * moved for moved in (of_keys["q"], of_keys["grad_out"], of_queries["k"], of_queries["v"])] == [
        163_840
    ] * 4
    assert 2 * of_keys["lse"] == 2 * of_keys["delta"] == 5_120


def test_loop_orders():
    assert flash1_issued_bytes(512, 64, 64) == 1_769_472
    assert flash_issued_bytes(512, 64, 64, 64) == 1_181_696
    assert [flash1_issued_bytes(512, 64, block) for block in (128, 256)] == [950_272, 540_672]


def test_decoding():
    moved = decode_bytes(1000, 64, group=4, splits=4)
    assert 2 * moved["k"] == 256_000
    assert 2 * moved["partial"] == 8_192 * 2 and 2 * moved["partial_lse"] == 128 * 2  # written, then read
    assert 8 * sum(decode_bytes(131_072, 128)[name] for name in "kv") == 536_870_912
    assert decode_bytes(1000, 64, splits=4)["k"] == decode_bytes(1000, 64, splits=16)["k"]


@pytest.mark.parametrize(
    "n, standard, full, causal",
    [
        (1024, 9.44, 4.72, 2.89),
        (4096, 138, 69.2, 36.7),
        (16_384, 2_164, 1_082, 550),
        (65_536, 34_427, 17_214, 8_641),
        (131_072, 137_573, 68_787, 34_461),
    ],
)
def test_traffic_against_length(n, standard, full, causal):
    megabytes = [
        sum(standard_bytes(n, n, 128, n, n).values()) / 1e6,
        flash_issued_bytes(n, 128, 128, 128) / 1e6,
        flash_issued_bytes(n, 128, 128, 128, causal=True) / 1e6,
    ]
    assert [float(f"{figure:.3g}") if figure < 1000 else round(figure) for figure in megabytes] == [
        standard,
        full,
        causal,
    ]


def test_a_tiled_standard_attention_moves_more():
    assert round(sum(standard_bytes(16_384, 16_384, 128, 128, 128).values()) / 1e6) == 3_762


def test_room_on_the_chip():
    assert peak_tile_bytes(64, 32, 64) == 37_376 and peak_tile_bytes(128, 64, 64) == 91_136
    assert peak_tile_bytes(64, 32, 128) == 66_048 == 65_536 + 512
    fits = {65_536: (32, 64), 98_304: (64, 64), 166_912: (128, 64), 232_448: (128, 128)}
    assert {capacity: largest_tile(128, capacity) for capacity in fits} == fits
    assert [peak_tile_bytes(*tile, 128) for tile in fits.values()] == [49_408, 82_432, 148_480, 197_632]


@pytest.mark.parametrize(
    "target, block_m, block_n, d, stages, shared",
    [
        ("sm_90", 64, 32, 64, 2, 24_576),
        ("sm_90", 64, 64, 64, 2, 40_960),
        ("sm_90", 128, 64, 64, 3, 65_536),
        ("sm_90", 128, 64, 128, 2, 98_304),
        ("sm_90", 128, 64, 128, 3, 131_072),
        ("sm_90", 128, 128, 128, 2, 163_840),
        ("sm_90", 128, 128, 128, 3, 229_376),
        ("sm_90", 128, 128, 128, 4, 294_912),
        ("sm_90", 32, 64, 64, 2, 24_576),
        ("sm_80", 64, 32, 64, 2, 16_384),
        ("sm_80", 128, 64, 128, 2, 65_536),
        ("sm_80", 128, 128, 128, 3, 163_840),
    ],
)
def test_shared_memory_of_compiled_kernels(target, block_m, block_n, d, stages, shared):
    """What Triton 3.7.1 reported for the forward kernel."""
    assert shared_memory_bytes(block_m, block_n, d, stages=stages, target=target) == shared
    assert (shared <= SHARED_MEMORY_LIMITS[target]) == (stages < 4)


@pytest.mark.skipif(not interpreter.available, reason=interpreter.why_not or "Triton is here")
@pytest.mark.parametrize(
    "target, block_m, block_n, d, stages",
    [
        ("sm_90", 16, 32, 128, 3),
        ("sm_90", 32, 128, 64, 1),
        ("sm_90", 64, 128, 64, 2),
        ("sm_90", 128, 64, 128, 3),
        ("sm_80", 16, 64, 64, 2),
        ("sm_80", 32, 32, 128, 2),
        ("sm_80", 64, 64, 128, 2),
        ("sm_80", 128, 32, 32, 4),
    ],
)
@pytest.mark.seconds
def test_shared_memory_is_the_compiler_s(target, block_m, block_n, d, stages):
    signature = {name: "*fp16" for name in ("q", "k", "v", "out")} | {"lse": "*fp32", "scale": "fp32", "n": "i32"}
    constants = {"HEAD_DIM": d, "BLOCK_M": block_m, "BLOCK_N": block_n}
    compiled = resources(flash_forward, signature, constants, target=target, num_stages=stages)
    assert shared_memory_bytes(block_m, block_n, d, stages=stages, target=target) == compiled.shared_bytes


def test_figure_2_counted_again():
    """GPT-2 medium: 1,024 tokens, d = 64, 16 heads, a batch of 64, forward and backward; 192 KB of fp16 on an A100."""
    heads, n, d = 16 * 64, 1024, 64
    block_m, block_n = paper_blocks(192 * 1024 // 2, d)
    assert (block_m, block_n) == (64, 384)
    gigabytes = lambda moved: round(heads * moved / 1e9, 2)  # noqa: E731
    assert gigabytes(standard_training_bytes(n, d)) == 25.23
    assert gigabytes(flash1_training_bytes(n, d, block_n)) == 4.10
    assert gigabytes(flash1_training_bytes(n, d, block_n, zeros_written=True)) == 4.64
    figures = [heads * flash1_training_bytes(n, d, block) / 1e9 for block in (64, 128, 256, 512)]
    assert [float(f"{figure:.3g}") for figure in figures] == [18.4, 9.6, 5.2, 3.0]
    assert round(heads * standard_training_flops(n, d) / 1e9) == 825
    assert round(heads * flash_training_flops(n, d) / 1e9) == 962
    assert heads * 2 * n * n * 2 == 2 * 2_147_483_648
    assert gigabytes(sum(standard_bytes(n, n, d, n, n).values())) == 9.13


def test_the_recount_of_flash1_is_the_machine_s_plus_the_backward():
    """The forward part of the recount, counted on the machine, at a length where its blocks fit."""
    (q, k, v, _), _ = one_head((256, 256, 64, 1, 1), torch.float16)
    machine = TileMachine()
    flash1_attention(machine, q, k, v, block_m=64, block_n=96)
    backward = (5 * 3 + 4) * 256 * 64 * 2 + 2 * 3 * 256 * 4
    assert machine.issued_bytes() + backward == flash1_training_bytes(256, 64, 96)


def test_flops_are_those_that_torch_counts():
    q, k, v = draw((1, 40, 16), (1, 40, 16), (1, 40, 16))
    leaves = [tensor.requires_grad_() for tensor in (q, k, v)]
    with FlopCounterMode(display=False) as counter:
        out = torch.softmax(leaves[0] @ leaves[1].mT, dim=-1) @ leaves[2]
    assert counter.get_total_flops() == forward_flops(40, 40, 16)
    with FlopCounterMode(display=False) as counter:
        out.sum().backward()
    assert counter.get_total_flops() + forward_flops(40, 40, 16) == standard_training_flops(40, 16)


# The gradients of one tile -----------------------------------------------------------------------------------------


def test_the_way_back_through_a_softmax_by_hand():
    weights = torch.tensor([0.0, 1.0, 2.0]).double().softmax(0)
    grad_scores = softmax_backward(weights, torch.tensor([1.0, 0.0, 0.0]).double())
    assert [round(p, 4) for p in weights.tolist()] == [0.09, 0.2447, 0.6652]
    assert [round(ds, 4) for ds in grad_scores.tolist()] == [0.0819, -0.022, -0.0599]


@pytest.mark.parametrize("causal", CAUSAL)
def test_the_way_back_through_a_softmax_is_autograds_and_its_delta_needs_no_weights(causal):
    (q, k, v, grad_out), _ = one_head((23, 30, 8, 1, 1))
    visible = causal_mask(23, 30) if causal else torch.ones(23, 30, dtype=torch.bool)
    scores = (q @ k.T).masked_fill(~visible, -math.inf).requires_grad_()
    weights = softmax(scores)
    (weights @ v).backward(grad_out)
    weights, grad_weights = weights.detach(), grad_out @ v.T
    assert_close(softmax_backward(weights, grad_weights), scores.grad, 1e-12)
    assert_close(softmax_backward(weights, grad_weights).sum(1), torch.zeros(23, dtype=torch.float64), 1e-12)
    assert_close((weights * grad_weights).sum(1), (grad_out * (weights @ v)).sum(1), 1e-12)


@pytest.mark.parametrize("causal", CAUSAL)
def test_tiles_sum_to_the_gradients(causal):
    (q, k, v, grad_out), _ = one_head((23, 30, 8, 1, 1))
    leaves = [tensor.clone().requires_grad_() for tensor in (q, k, v)]
    out, lse = exact(*leaves, causal)
    out.backward(grad_out)
    delta = (out.detach() * grad_out).sum(dim=1)
    visible = causal_mask(23, 30) if causal else torch.ones(23, 30, dtype=torch.bool)
    sums = [torch.zeros_like(tensor) for tensor in (q, k, v)]
    for rows, columns in itertools.product((slice(0, 10), slice(10, 23)), (slice(0, 7), slice(7, 30))):
        statistics = lse.detach()[rows], delta[rows]
        tile = backward_tile(q[rows], k[columns], v[columns], grad_out[rows], *statistics, visible[rows, columns])
        for total, place, part in zip(sums, (rows, columns, columns), tile, strict=True):
            total[place] += part
    for total, leaf in zip(sums, leaves, strict=True):
        assert_close(total, leaf.grad, 1e-12)
