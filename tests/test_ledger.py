"""The Ledger counts to the byte, names what it counts after the code's variables, and reduces without losing a peak."""

import functools
import gc
import itertools
import linecache

import numpy as np
import pytest
import torch
from torch import nn

from solutions.quadratic import KVCache, attention, blocked_attention, naive_peak_bytes
from widgets import Ledger
from widgets.kit.base import unpacked
from widgets.ledger import allocator
from widgets.ledger.measure import EVENT, Recording, Sweep, record, sweep
from widgets.ledger.view import MOST_STEPS, colour, extremes, first_at_least, roles_told

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


@pytest.mark.seconds
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


STATE = {"what": "bytes of state", "counted": "what is carried from one segment to the next"}
LENGTHS = [1024 * 2**i for i in range(11)]


def stored():
    """A memory that stays, a cache that was followed as far as it could be, and one that was followed to the end."""
    return {
        "Infini": dict.fromkeys(LENGTHS, 16_896),
        "full cache": {n: 1024 * n for n in LENGTHS[:6]},
        "kNN": {n: 512 * n for n in LENGTHS},
    }


def test_bytes_read_off_elsewhere_are_drawn_as_far_as_they_go():
    held = Sweep.of(stored(), **STATE, place="cpu, float32")
    assert held.methods == ("Infini", "full cache", "kNN") and held.lengths.tolist() == LENGTHS
    assert held.peak_bytes["full cache"].tolist() == [1024 * n for n in LENGTHS[:6]]
    assert held.exponent("Infini") == pytest.approx(0) and held.exponent("full cache") == pytest.approx(1)
    ledger = Ledger(held, {"full cache": (lambda n: 1024 * n, "1,024 N"), "kNN": (lambda n: 500 * n, "500 N")})
    lines = repr(ledger).split("\n")
    assert lines[0].endswith(
        "1,024 times the tokens: Infini stays at 16.5 KiB; full cache was not measured beyond 32,768; "
        "kNN 1,024 times, to 512 MiB."
    )
    assert lines[2] == "full cache: 32 MiB at 32,768 tokens, slope 1.00, 1,024 N: exact at all 6 lengths"
    assert lines[3] == "kNN: 512 MiB at 1,048,576 tokens, slope 1.00, 500 N: off by at most 2.34 %"
    assert ledger.data["what"] == "bytes of state"
    assert ledger.data["provenance"] == "measured: cpu, float32; what is carried from one segment to the next"
    axes = ledger.figure().axes[0]
    assert axes.get_ylabel() == "bytes of state"
    assert [len(line.get_xdata()) for line in axes.lines if line.get_marker() != "None"] == [11, 6, 11]


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ({}, "at least one method"),
        ({"a": {1: 2}}, "two or more"),
        ({"a": {1: 2, 2: 3}, "b": {2: 3, 4: 5}}, "from the first on"),
        ({"a": {1: 2, 2: 3, 4: 5}, "b": {1: 3, 4: 5}}, "without gaps"),
        ({"a": {0: 2, 2: 3}}, "from 1 token on"),
        ({"a": {1: -2, 2: 3}}, "0 or more"),
    ],
)
def test_bytes_with_gaps_are_refused(measured, said):
    with pytest.raises(ValueError, match=said):
        Sweep.of(measured, **STATE)


def test_what_was_not_measured_cannot_be_asked_for():
    with pytest.raises(ValueError, match="'full cache' was not measured at 1048576 tokens"):
        Ledger(Sweep.of(stored(), **STATE), ask="full cache")


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


# What is drawn ----------------------------------------------------------------------------------------------------


def many_events(events=1_000_000, seed=0):
    """A million events of five roles, as the meter writes them: allocations and frees, never below 0."""
    random = np.random.default_rng(seed)
    recorded = np.zeros(events, EVENT)
    recorded["delta"][::2] = random.integers(1, 1 << 20, events // 2)
    recorded["delta"][1::2] = -recorded["delta"][::2]
    recorded["role"] = np.repeat(random.integers(0, 5, events // 2), 2)
    spike = 2 * int(random.integers(events // 2))
    recorded["delta"][spike : spike + 2] = (1 << 30, -(1 << 30))
    recorded["live"] = recorded["delta"].cumsum()
    return recorded, spike


def test_a_million_events_are_reduced_and_the_peak_stays_exact():
    recorded, spike = many_events()
    ledger = Ledger(Recording(recorded, roles=tuple("abcde"), operations=("mul",), lines=("x = y * 2",)))
    numbers = ledger.numbers
    assert len(numbers["event"]) <= MOST_STEPS
    assert numbers["event"][numbers["peak"]] == spike
    assert numbers["live"][numbers["peak"]] == recorded["live"].max() == 1 << 30
    # Each event drawn is a true one: its roles sum to what was alive.
    np.testing.assert_array_equal(sum(role["bytes"] for role in numbers["roles"]), recorded["live"][numbers["event"]])
    assert "of 1,000,000 events, the least and most of each stretch" in numbers["provenance"]
    assert f"After event {spike + 1:,} of 1,000,000, 1 GiB alive, the most of the run" in repr(ledger)
    assert len(ledger.static_html()) < 250_000


@pytest.mark.parametrize("events", [1, 2, 1999, 2000, 2001, 2002, 3999, 12_345])
def test_each_stretch_keeps_its_least_and_its_most(events):
    live = np.random.default_rng(events).integers(0, 1000, events)
    drawn = extremes(live)
    assert len(drawn) <= MOST_STEPS
    assert (np.diff(drawn) > 0).all()
    assert live[drawn].max() == live.max()
    assert drawn[-1] == events - 1
    if events <= MOST_STEPS:
        np.testing.assert_array_equal(drawn, np.arange(events))
    else:
        starts = np.linspace(0, events, MOST_STEPS // 2, endpoint=False).astype(int)
        for start, stop in itertools.pairwise(starts):
            inside = live[drawn[(drawn >= start) & (drawn < stop)]]
            assert (inside.min(), inside.max()) == (live[start:stop].min(), live[start:stop].max())


def test_what_is_sent_is_what_was_measured():
    recording = record(three_matrices, torch.ones(N, N))
    data = Ledger(recording).data
    np.testing.assert_array_equal(unpacked(data["live"]), recording.events["live"])
    assert {role["name"]: unpacked(role["bytes"])[data["peak"]] for role in data["roles"]} == {
        "b": SQUARE,
        "c": SQUARE,
        "d": 0,
    }
    assert "inputs of 1 KiB not counted" in data["provenance"]
    assert repr(Ledger(recording)) == (
        "What is alive, and when? After event 2 of 5, 2 KiB alive, the most of the run: b 1 KiB, c 1 KiB."
    )


def test_nothing_recorded_is_said_in_words():
    ledger = Ledger(record(lambda: 3))
    assert "Nothing was recorded" in repr(ledger)
    assert "Nothing was recorded" in ledger.data["nothing"]
    with pytest.raises(ValueError, match="Nothing was recorded"):
        ledger.figure()


def test_what_took_no_bytes_at_any_length_is_drawn_all_the_same():
    ledger = Ledger(sweep({"view": lambda q, k, v: q.mT, "copy": lambda q, k, v: q * 1}, [8, 16], qkv))
    assert "2 times the tokens: view takes 0 B; copy 2 times" in repr(ledger)
    assert [method["exponent"] for method in ledger.data["methods"]] == [None, pytest.approx(1)]
    Ledger(sweep({"view": lambda q, k, v: q.mT}, [8, 16], qkv)).figure()


@pytest.fixture(scope="module")
def measured():
    return sweep({"naive": attention, "blocked": blocked_attention}, [64, 128, 256, 512], qkv)


NAIVE = {"naive": (lambda n: naive_peak_bytes(n, 64), "12 N² + 12 N")}


@pytest.mark.seconds
def test_the_text_of_a_sweep(measured):
    assert repr(Ledger(measured, NAIVE)).splitlines() == [
        "What grows with the number of tokens? 8 times the tokens: naive grows 63.1 times, to 3.01 MiB; "
        "blocked 10.2 times, to 497 KiB.",
        "naive: 3.01 MiB at 512 tokens, slope 2.00, weights 2 MiB + scores 1 MiB + 2 others 4 KiB, "
        "12 N² + 12 N: exact at all 4 lengths",
        "blocked: 497 KiB at 512 tokens, slope 1.07, weights 256 KiB + scores 128 KiB + out 112 KiB + 2 others 512 B",
    ]
    assert repr(Ledger(measured, NAIVE)) == repr(Ledger(measured, NAIVE))


def test_a_formulas_error_is_measured(measured):
    wrong = {"naive": (lambda n: 12 * n * n, "12 N²")}
    told = Ledger(measured, wrong).data["methods"][0]["formula"]
    assert told["error"] == pytest.approx(1 - 12 * 64 * 64 / naive_peak_bytes(64, 64))
    assert "12 N²: off by at most 1.54 %" in repr(Ledger(measured, wrong))


def test_a_question_does_not_tell_its_answer_in_words(measured):
    asked = repr(Ledger(measured, NAIVE, ask="naive"))
    assert "Where will it be at 512?" in asked
    assert "3.01 MiB" not in asked and "slope" not in asked and "N²" not in asked


def test_limits_are_reached_where_the_formula_says(measured):
    limit = 2 << 30
    told = Ledger(measured, NAIVE, limits={"2 GiB": limit}).data["methods"][0]["formula"]
    n = told["reaches"][0]["n"]
    assert naive_peak_bytes(n - 1, 64) < limit <= naive_peak_bytes(n, 64)
    assert unpacked(told["n"]).max() >= n
    assert first_at_least(lambda n: 0, 1) is None
    assert first_at_least(lambda n: n, 1) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"ask": "fused"}, "'fused' was not measured; the sweep holds naive, blocked"),
        ({"formulas": {"fused": (lambda n: n, "N")}}, "was not measured"),
    ],
)
def test_only_what_was_measured_can_be_asked_for(measured, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        Ledger(measured, **arguments)


def test_other_sources_are_refused():
    with pytest.raises(ValueError, match="given a dict"):
        Ledger({})
    with pytest.raises(ValueError, match="give them with a sweep"):
        Ledger(record(three_matrices, torch.ones(N, N)), NAIVE)
    with pytest.raises(ValueError, match="three lengths"):
        Ledger(sweep({"naive": attention}, [8, 16], qkv), ask="naive")


def test_a_tensor_keeps_its_colour():
    names = {"q": "q", "keys": "k", "all_k": "k", "v": "v", "scores": "s", "weights": "s", "out": "o", "output": "o"}
    assert {name: colour(name) for name in names} == names
    assert (colour("row_max"), colour("mask"), colour("temporary")) == ("m", "ink-2", "ink-2")


def test_small_roles_are_told_together_and_nothing_is_lost():
    sizes = {"a": 800, "b": 700, "c": 600, "d": 500, "e": 400, "f": 300, "g": 8, "h": 4}
    by_role = {name: np.array([nbytes, 0]) for name, nbytes in sizes.items()}
    told = roles_told({**by_role, "never": np.zeros(2, int)})
    assert [role["name"] for role in told] == ["a", "b", "c", "d", "e", "3 others"]
    assert sum(role["bytes"][0] for role in told) == sum(sizes.values())
    alike = roles_told({"weights": np.array([9]), "scores": np.array([5])})
    assert {role["name"]: role["shade"] for role in alike} == {"weights": 1, "scores": 0}


def test_figures_hold_the_measured_numbers(measured):
    axes = Ledger(measured, NAIVE, limits={"2 GiB": 2 << 30}).figure().axes[0]
    naive = next(line for line in axes.lines if len(line.get_xdata()) == 4)
    assert naive.get_ydata().tolist() == measured.peak_bytes["naive"].tolist()
    texts = {text.get_text() for text in axes.texts}
    assert {"naive\nslope 2.00", "blocked\nslope 1.07", "2 GiB"} <= texts
    run = Ledger(record(three_matrices, torch.ones(N, N))).figure().axes[0]
    assert "peak 2 KiB" in {text.get_text() for text in run.texts}
    asked = Ledger(measured, ask="naive").figure().axes[0]
    assert [len(line.get_xdata()) for line in asked.lines] == [2]
