"""The Ledger counts to the byte, names what it counts after the code's variables, and reduces without losing a peak."""

import functools
import gc
import linecache

import numpy as np
import pytest
import torch
from torch import nn

from solutions.quadratic import KVCache, attention, blocked_attention, naive_peak_bytes
from widgets.ledger import allocator
from widgets.ledger.measure import record, sweep

N = 16
SQUARE = 4 * N * N


def told(recording):
    """(role, bytes) of every event, in order."""
    return [(recording.roles[event["role"]], int(event["delta"])) for event in recording.events]


def three_matrices(a):
    b = a @ a
    c = b + 1
    del b
    d = c * 2
    return d


def test_a_run_counted_by_hand():
    recording = record(three_matrices, torch.ones(N, N))
    assert told(recording) == [("b", SQUARE), ("c", SQUARE), ("b", -SQUARE), ("d", SQUARE), ("c", -SQUARE)]
    assert recording.peak_bytes == 2 * SQUARE
    assert recording.by_role() == {"b": SQUARE, "c": SQUARE}
    assert recording.events["live"].tolist() == [SQUARE, 2 * SQUARE, SQUARE, 2 * SQUARE, SQUARE]
    assert recording.input_bytes == SQUARE
    assert recording.place == "cpu, float32"
    assert [recording.operations[i] for i in recording.events["operation"]] == ["mm", "add", "freed", "mul", "freed"]
    assert recording.lines[recording.events["line"][0]] == "b = a @ a"


def test_views_and_work_in_place_cost_nothing():
    def run(a):
        rows = a.view(-1).reshape(N, N).transpose(0, 1)[1:]
        rows += 1
        torch.add(a, 1, out=a)
        return rows

    assert len(record(run, torch.ones(N, N)).events) == 0


def test_each_storage_once_however_many_tensors_show_it():
    def run():
        x = torch.zeros(N, N)
        return x, x.T, x[0], x.flatten()

    assert told(record(run)) == [("x", SQUARE)]


def test_tensors_from_before_are_not_counted_even_when_a_new_one_takes_their_place():
    before = [torch.ones(N, N)]

    def run():
        seen = before[0] * 1
        before.clear()  # frees it, and the next allocation may get its address
        after = torch.ones(N, N)
        return seen, after

    assert told(record(run)) == [("seen", SQUARE), ("after", SQUARE)]


def test_a_resized_storage_is_counted_at_its_new_size():
    def run():
        x = torch.zeros(4)
        x.resize_(8)
        return x

    assert told(record(run)) == [("x", 16), ("x", 16)]


def test_a_tensor_made_from_python_numbers_is_counted():
    assert record(lambda: torch.tensor([1.0, 2.0])).peak_bytes == 8


def test_nothing_recorded_is_zero():
    recording = record(lambda: 3)
    assert (recording.peak_bytes, recording.peak_at, recording.by_role(), recording.result) == (0, None, {}, 3)


def test_what_the_run_raises_comes_through_and_leaves_nothing_behind():
    def run():
        torch.ones(N) @ torch.ones(N + 1)

    with pytest.raises(RuntimeError):
        record(run)
    assert gc.isenabled()
    assert told(record(lambda: torch.ones(N))) == [("output", 4 * N)]


def test_sparse_tensors_are_refused_in_words():
    with pytest.raises(ValueError, match="dense"):
        record(lambda x: x.to_sparse(), torch.eye(3))


# Roles ------------------------------------------------------------------------------------------------------------


def rowwise(x):
    e = torch.exp(x)
    return e / e.sum(-1, keepdim=True)


def forwarding(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        result = function(*args, **kwargs)
        return result

    return wrapper


class Store:
    def keep(self, x):
        self.rows = x.clone()
        return self.rows


def by_variable(x):
    weights = rowwise(x)
    return weights.sum()


def by_function(x):
    return rowwise(x) + 1


def by_wrapper(x):
    weights = forwarding(rowwise)(x)
    return weights.sum()


def by_attribute(x):
    store = Store()
    store.keep(x)
    return store


def by_append(x):
    chunks = []
    for row in x:
        chunks.append(row * 2)
    return chunks


def by_tuple(x):
    low, high = x - 1, x + 1
    return low, high


def by_walrus(x):
    return (total := x + 1), total.sum()


def by_view(x):
    return (x + 1).view(-1)


def by_condition(x):
    return 1 if (x > 0).any() else 0


def by_comprehension(x):
    doubled = [row * 2 for row in x]
    return doubled


def by_module(x):
    projected = nn.functional.linear(x, x)
    return projected.sum()


@pytest.mark.parametrize(
    ("run", "roles"),
    [
        (by_variable, {"e", "weights", "output"}),
        (by_function, {"e", "rowwise", "output"}),
        (by_wrapper, {"e", "weights", "output"}),
        (by_attribute, {"rows"}),
        (by_append, {"chunks"}),
        (by_tuple, {"low", "high"}),
        (by_walrus, {"total", "output"}),
        (by_view, {"output"}),
        (by_condition, {"temporary"}),
        (by_comprehension, {"doubled"}),
        (by_module, {"projected", "output"}),
        (lambda x: x + 1, {"output"}),
    ],
)
def test_roles_are_the_codes_own_variables(run, roles):
    recording = record(run, torch.ones(3, 3))
    assert {recording.roles[i] for i in recording.events["role"]} == roles


def test_roles_in_code_typed_into_a_cell():
    source = "def typed(x):\n    scores = x @ x\n    return scores * 2\n"
    linecache.cache["<cell>"] = (len(source), None, source.splitlines(keepends=True), "<cell>")
    names = {}
    exec(compile(source, "<cell>", "exec"), names)
    assert told(record(names["typed"], torch.ones(N, N)))[:2] == [("scores", SQUARE), ("output", SQUARE)]


def test_code_without_source_is_counted_without_names():
    names = {}
    exec("def hidden(x):\n    y = x + 1\n    return y", names)
    assert told(record(names["hidden"], torch.ones(N, N))) == [("temporary", SQUARE)]


def test_roles_can_be_renamed():
    assert record(three_matrices, torch.ones(N, N), roles={"b": "scores"}).by_role() == {"scores": SQUARE, "c": SQUARE}


# The course's own code ---------------------------------------------------------------------------------------------


def qkv(n, d=64):
    return tuple(torch.randn(3, 1, 1, n, d))  # the fused kernel wants a batch and a head


@pytest.mark.parametrize(("n", "d"), [(5, 3), (64, 16), (100, 64), (33, 128)])
def test_naive_attention_meets_its_closed_form(n, d):
    assert record(attention, *qkv(n, d)).peak_bytes == naive_peak_bytes(n, d)


def test_naive_attention_holds_scores_and_weights_at_its_peak():
    shares = record(attention, *qkv(128)).by_role()
    assert shares["scores"] == 4 * 128 * 128
    assert list(shares)[:2] == ["weights", "scores"]


def test_what_is_quadratic_and_what_is_linear():
    def cached(q, k, v):
        cache = KVCache()
        cache.append(k, v)
        return cache

    fused = nn.functional.scaled_dot_product_attention
    methods = {"naive": attention, "blocked": blocked_attention, "fused": fused, "cache": cached}
    measured = sweep(methods, [256, 512, 1024], qkv)
    assert measured.exponent("naive", "scores") == pytest.approx(2.0, abs=1e-9)
    assert measured.exponent("naive") == pytest.approx(2.0, abs=0.1)
    assert measured.exponent("cache") == pytest.approx(1.0, abs=1e-9)
    assert measured.exponent("blocked") == pytest.approx(1.0, abs=0.05)
    assert measured.peak_bytes["fused"].tolist() == [4 * n * 65 for n in (256, 512, 1024)]
    assert (np.diff(np.log2(measured.by_role["naive"]["scores"])) == 2).all()
    assert measured.place == "cpu, float32"
    assert measured.exponent("cache", last=2) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("lengths", [[], [8], [8, 8], [16, 8], [0, 8]])
def test_a_sweep_needs_rising_lengths(lengths):
    with pytest.raises(ValueError, match="rising lengths"):
        sweep({"naive": attention}, lengths, qkv)


def test_a_sweep_needs_a_method():
    with pytest.raises(ValueError, match="no methods"):
        sweep({}, [8, 16], qkv)


# The CUDA allocator -----------------------------------------------------------------------------------------------


def entry(action, addr, size):
    """One TraceEntry as torch.cuda.memory._snapshot documents it."""
    frame = {"filename": "cell.py", "line": 1, "name": "run"}
    return {"action": action, "addr": addr, "size": size, "stream": 0, "frames": [frame], "pool_id": (0, 0)}


def test_an_allocators_trace_is_replayed():
    trace = [
        entry("free_requested", 0x10, 4096),  # handed out before the trace began
        entry("segment_alloc", 0x100, 2 << 20),
        entry("alloc", 0x100, 512),
        entry("alloc", 0x300, 1024),
        entry("free_requested", 0x100, 512),
        entry("free_completed", 0x100, 512),
        entry("alloc", 0x100, 2048),
        entry("snapshot", 0, 0),
    ]
    history = allocator.history({"segments": [], "device_traces": [[], trace]}, device=1)
    assert history.live.tolist() == [512, 1536, 1024, 3072]
    assert history.peak_bytes == 3072
    assert allocator.history({"segments": [], "device_traces": [[]]}).peak_bytes == 0


def test_on_a_cpu_there_is_no_allocator_history():
    assert record(three_matrices, torch.ones(N, N)).history is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_allocator_hands_out_no_less_than_the_meter_counts():
    recording = record(three_matrices, torch.ones(256, 256, device="cuda"))
    assert recording.peak_bytes == 2 * 4 * 256 * 256
    assert recording.history.peak_bytes >= recording.peak_bytes
