"""The Theatre: what it draws against the trace that it is drawn from, event by event, and what it says and refuses."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from solutions import flash, interpreter
from solutions.interpreter import tl, triton
from widgets import Theatre
from widgets.kit.base import unpacked
from widgets.kit.format import size
from widgets.theatre import Trace, attention_traces, facts, names, peaks, roofline, say, trace
from widgets.theatre.roofline import Peaks, Point
from widgets.theatre.runs import machine_trace
from widgets.theatre.scene import ACT, KINDS, scene
from widgets.theatre.view import CACHES, LIMITS, NOTHING

VECTORS = Path(__file__).parent / "js" / "theatre.json"
needs_triton = pytest.mark.skipif(not interpreter.available, reason=interpreter.why_not or "needs Triton")


def random_qkv(queries, keys, head_dim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, head_dim, generator=generator).half() for rows in (queries, keys, keys)]


def machine(loop, queries=50, keys=70, head_dim=16, **settings):
    return machine_trace(loop, *random_qkv(queries, keys, head_dim), **{"block_m": 16, "block_n": 32, **settings})


def matmul(tiles, a, b, block=16):
    """A product of matrices on the tile machine: not attention."""
    a, b = tiles.hbm("a", a), tiles.hbm("b", b)
    c = tiles.empty("c", (len(a), b.shape[1]), torch.float32)
    places = [(row, column) for row in range(0, len(a), block) for column in range(0, b.shape[1], block)]
    for index, (row, column) in enumerate(places):
        with tiles.program(index):
            rows, columns = slice(row, row + block), slice(column, column + block)
            acc = tiles.hold("acc", torch.zeros_like(c[rows, columns]))
            for start in range(0, len(b), block):
                inner = slice(start, start + block)
                a_tile, b_tile = tiles.load("a_tile", a, rows, inner), tiles.load("b_tile", b, inner, columns)
                acc = tiles.hold("acc", acc + tiles.dot(a_tile, b_tile))
            tiles.store(c, rows, acc, columns)


def matmul_trace():
    tiles = flash.TileMachine()
    matmul(tiles, torch.ones(40, 24), torch.ones(24, 50))
    return Trace.of_machine(tiles)


def interpreted_trace():
    return attention_traces(n=80, head_dim=16, block_m=32, block_n=16)[0]


def every_trace():
    """Traces of different form: loop orders, a stored score matrix, ragged sides, no attention at all, gradients."""
    q, k, v = random_qkv(40, 40, 16)
    tiles = flash.TileMachine()
    out, lse = flash.tiled_attention(tiles, q.float(), k.float(), v.float(), block_m=16, block_n=16)
    backward = flash.TileMachine()
    flash.tiled_backward(backward, *(x.float() for x in (q, k, v)), out, lse, out, block_m=16, block_n=16)
    return {
        "flash": machine(flash.tiled_attention, causal=True),
        "kv outer": machine(flash.flash1_attention, causal=True),
        "standard": machine(flash.standard_attention),
        "matmul": matmul_trace(),
        "backward": Trace.of_machine(backward),
        **({"interpreted": interpreted_trace()} if interpreter.available else {}),
    }


@pytest.fixture(scope="module")
def traces():
    return every_trace()


@triton.jit
def double(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tile = tl.load(x + at, mask=at < n)
    tl.store(y + at, 2 * tile, mask=at < n)


NAMES = ["flash", "kv outer", "standard", "matmul", "backward", "interpreted"]


@pytest.fixture(params=NAMES)
def one(request, traces):
    if request.param not in traces:
        pytest.skip(interpreter.why_not)
    return traces[request.param]


# What is drawn is the trace -----------------------------------------------------------------------------------------


def test_bytes_of_each_tensor_are_the_traces_own(one):
    drawn = scene(one, "it", CACHES)
    tensor = facts.column(drawn, "tensor")
    for index, name in enumerate(one.names):
        loads = facts.column(drawn, "read")[tensor == index].sum()
        stores = facts.column(drawn, "written")[tensor == index].sum()
        atomics = one.issued_bytes(name, kind="atomic")
        assert loads == one.issued_bytes(name, kind="load") + atomics // 2
        assert stores == one.issued_bytes(name, kind="store") + atomics // 2
    assert facts.moved(drawn)[-1] == one.issued_bytes() == drawn["issued"]
    assert [cache["bytes"] for cache in drawn["l2"]] == [one.l2_bytes(*cache) for cache in CACHES]
    assert drawn["compulsory"] == one.compulsory_bytes()
    assert drawn["issued_read"] == one.issued_bytes(kind="read")
    assert drawn["compulsory_read"] == one.compulsory_bytes(kind="read")
    assert all(drawn["compulsory_read"] <= cache["bytes"] for cache in drawn["l2"])


def test_every_event_stands_where_it_touched(one):
    drawn = scene(one, "it", CACHES)
    for event, noted in enumerate(one.events):
        act = dict(zip(ACT, drawn["acts"][drawn["act"][event]].tolist(), strict=True))
        assert KINDS[act["kind"]] == KINDS[noted["kind"]] and act["line"] == noted["line"]
        if KINDS[act["kind"]] == "dot":
            assert act["flops"] == noted["flops"]
            continue
        _, rows, columns = drawn["tensors"][act["tensor"]]["shape"]
        row, left = divmod(int(drawn["place"][event]), columns)
        leading, top = divmod(row, rows)
        found = (leading, top, top + act["height"], left, left + act["width"])
        assert found == tuple(noted[["leading", "row0", "row1", "col0", "col1"]].tolist())


def test_tiles_are_those_after_the_event(one):
    """The interpreter notes the frame before an event, so what it holds after one is what the next finds."""
    drawn = scene(one, "it", CACHES)
    first = set(drawn["first"].tolist())
    for event in range(len(one.events) - 1):
        at = event if one.source == "tile machine" or event + 1 in first else event + 1
        wanted = {name: nbytes for name, (nbytes, _) in one.live[one.events["live"][at]].items()}
        tiles = drawn["live"][facts.column(drawn, "live")[event]]
        assert {drawn["tiles"][tile]["name"]: nbytes for tile, nbytes in tiles} == wanted
    assert facts.live_bytes(drawn).max() <= one.peak_live_bytes()


@pytest.mark.parametrize("name", ["flash", "interpreted"])
def test_the_rows_that_rise_are_counted_by_the_definition(traces, name):
    """In each block of keys, the rows whose maximum over all keys so far is larger than over those before."""
    if name not in traces:
        pytest.skip(interpreter.why_not)
    block_n, (q, k, _) = (32, random_qkv(50, 70, 16)) if name == "flash" else (16, interpreted_inputs())
    block_m, ahead = (16, len(k) - len(q)) if name == "flash" else (32, 0)
    scores = q.float() @ k.float().T
    scores = scores.masked_fill(torch.arange(len(k)) > torch.arange(len(q))[:, None] + ahead, -math.inf)
    drawn = scene(traces[name], "it", CACHES)
    assert len(drawn["rows"]) == 3
    for rows in drawn["rows"]:
        program = facts.program_of(drawn, rows["at"][0])
        own = scores[program * block_m : (program + 1) * block_m]
        parts = own[:, : min(len(k), (program + 1) * block_m + ahead)].split(block_n, dim=1)
        maxima = torch.stack([part.amax(1) for part in parts]).cummax(0).values
        met = maxima[:-1] > -math.inf
        wanted = ((maxima[1:] > maxima[:-1]) & met).sum(1).tolist()
        found = rows["risen"].sum(1)
        assert found[found > 0].tolist() == [count for count in wanted if count]


def interpreted_inputs():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(80, 16, generator=generator).half() for _ in range(3)]


def test_rows_that_come_from_memory_have_not_risen(traces):
    """With the keys outside, m of other rows is loaded again and again: that is an arrival."""
    trace_ = traces["kv outer"]
    drawn = scene(trace_, "it", CACHES)
    kinds, tensors = facts.column(drawn, "kind"), facts.column(drawn, "tensor")
    (rows,) = drawn["rows"]
    loaded = [i for i, at in enumerate(rows["at"]) if kinds[at] == 0 and trace_.names[tensors[at]] in ("m", "l")]
    assert loaded and not rows["risen"][loaded].any() and rows["risen"].any()


def test_the_share_of_the_result_counts_what_is_final(traces):
    for name in ("flash", "kv outer", "standard", "matmul"):
        drawn = scene(traces[name], "it", CACHES)
        shares = [facts.share(drawn, event) for event in range(len(drawn["act"]))]
        assert shares == sorted(shares) and shares[-1] == 1 and shares[0] == 0
    # Each program of flash writes its rows once; with the keys outside, nothing is final before the last passes.
    drawn = scene(traces["flash"], "it", CACHES)
    assert facts.share(drawn, int(drawn["first"][1]) - 1) == pytest.approx(16 / 50)
    drawn = scene(traces["kv outer"], "it", CACHES)
    assert facts.share(drawn, len(drawn["act"]) // 3) < 0.34


@pytest.mark.parametrize(
    ("name", "bare", "part", "gradient"),
    [
        ("q", "q", "q", False),
        ("k_ptr", "k", "k", False),
        ("v_tile", "v", "v", False),
        ("out", "out", "o", False),
        ("m_i", "m", "m", False),
        ("m_new", "m", "m", False),
        ("ell", "ell", "m", False),
        ("scores", "scores", "s", False),
        ("weights", "weights", "s", False),
        ("dq", "dq", "q", True),
        ("grad_out", "grad_out", "o", True),
        ("x", "x", None, False),
        ("a_tile", "a", None, False),
    ],
)
def test_a_name_says_what_a_tensor_is_for(name, bare, part, gradient):
    assert (names.bare(name), names.part(name), names.is_gradient(name)) == (bare, part, gradient)


# What travels -------------------------------------------------------------------------------------------------------


def weight(value):
    """Bytes of the arrays inside a payload."""
    if isinstance(value, dict):
        return len(value["bytes"]) if "bytes" in value and "dtype" in value else sum(map(weight, value.values()))
    return sum(map(weight, value)) if isinstance(value, list) else 0


@pytest.mark.seconds
def test_ten_thousand_events_are_light():
    q, k, v = random_qkv(1152, 1152, 16)
    long = machine_trace(flash.tiled_attention, q, k, v, block_m=16, block_n=16, causal=True)
    assert len(long.events) >= 10_000
    theatre = Theatre(long)
    assert weight(theatre.data) < 150_000
    assert len(theatre.static_html()) < 230_000


@pytest.mark.seconds
def test_twelve_recorded_runs_at_512_tokens_are_less_than_a_megabyte():
    def run(block_m, block_n, causal):
        given = random_qkv(512, 512, 64)
        settings = {"block_m": block_m, "block_n": block_n, "causal": causal}
        return tuple(
            machine_trace(loop, *given, **settings) for loop in (flash.tiled_attention, flash.standard_attention)
        )

    knobs = {"block_m": [32, 64, 128], "block_n": [32, 64], "causal": [True, False]}
    theatre = Theatre.of(run, knobs)
    assert len(theatre.runs) == 1  # a live host runs nothing beforehand
    page = theatre.static_html()
    assert len(theatre.runs) == 12 and len(page) < 1_000_000
    assert len(theatre.data["codes"]) == 4  # the source of each kernel once, not once a run


def test_a_picture_is_the_same_bytes_each_time(traces):
    pages = [Theatre(traces["flash"], traces["standard"]).static_html() for _ in range(2)]
    assert pages[0] == pages[1]


def test_equal_traces_travel_once(traces):
    theatre = Theatre.of(lambda window: (traces["flash"], traces["standard"]), {"window": [None, 8]})
    theatre.record()
    assert len(theatre.runs) == 2 and len(theatre.data["traces"]) == 2
    assert [run["traces"] for run in theatre.data["runs"]] == [[0, 1], [0, 1]]


# What is said -------------------------------------------------------------------------------------------------------


def test_the_twin_names_the_three_numbers(traces):
    flash_, standard = traces["flash"], traces["standard"]
    first, *lines = repr(Theatre(flash_, standard)).splitlines()
    assert first.startswith(f"{say.QUESTION} flash, program 3 of 4, loads ")
    assert "flash has finished" in first and "standard 0 %" in first and "times as much" in first
    assert [line.split(",")[0] for line in lines] == ["flash", "standard"]
    for line in lines:
        read, written = line.split("; written: issued ")
        assert "read: issued" in read and "L2 model (50 MiB, 132 programs in step)" in read and "compulsory" in read
        assert "compulsory" in written


def test_a_trace_alone_says_how_far_it_is(traces):
    said = repr(Theatre(traces["matmul"]))
    assert "matmul, program" in said and " moved.\n" in said and "times as much" not in said


def test_what_does_not_fit_is_said(traces):
    need = scene(traces["flash"], "it", CACHES)
    most = int(facts.live_bytes(need)[facts.key_event(need)])
    over = repr(Theatre(traces["flash"], sram_limit=most - 100))
    assert f"SRAM holds {size(most)}, 100 B more than the limit" in over
    assert f"SRAM holds {size(most)} of {size(most)}." in repr(Theatre(traces["flash"], sram_limit=most))


def test_the_first_frame_is_in_the_middle_of_the_work(traces):
    drawn = scene(traces["flash"], "it", CACHES)
    event = facts.key_event(drawn)
    done = facts.moved(drawn)[event] / facts.moved(drawn)[-1]
    assert 0.25 < done < 0.75 and 0 < facts.share(drawn, event) < 1
    assert facts.program_of(drawn, event) in {facts.program_of(drawn, rows["at"][0]) for rows in drawn["rows"]}


def test_names_tell_two_traces_apart(traces):
    def called(*given, **more):
        return [drawn["name"] for drawn in Theatre(*given, **more).runs[0]["scenes"]]

    assert called(traces["flash"], traces["standard"]) == ["flash", "standard"]
    assert called(traces["flash"], traces["kv outer"]) == ["tiled_attention", "flash1_attention"]
    assert called(traces["flash"], traces["flash"]) == ["tiled_attention, A", "tiled_attention, B"]
    assert called(traces["flash"], traces["kv outer"], names=("one", "two")) == ["one", "two"]
    assert called(traces["matmul"]) == ["matmul"]


def test_nothing_recorded_is_said_in_words():
    tiles = flash.TileMachine()
    empty = Trace.of_machine(tiles)
    theatre = Theatre(empty)
    assert repr(theatre) == f"{say.QUESTION} {NOTHING}"
    assert theatre.data["nothing"] == NOTHING
    with pytest.raises(ValueError, match="Nothing was recorded"):
        theatre.figure()


def test_a_trace_of_one_event():
    tiles = flash.TileMachine()
    x = tiles.hbm("x", torch.ones(8, 4))

    def read():
        with tiles.program(0):
            tiles.load("x", x, slice(0, 8))

    read()
    theatre = Theatre(Trace.of_machine(tiles))
    assert "read, program 1 of 1, loads X rows 0 to 7, 128 B" in repr(theatre)
    assert theatre.figure() is not None


# What is refused ----------------------------------------------------------------------------------------------------


def test_refuses_in_one_sentence(traces):
    flash_ = traces["flash"]
    with pytest.raises(ValueError, match="was given a str"):
        Theatre("a trace")
    with pytest.raises(ValueError, match="was given a int"):
        Theatre(flash_, 3)
    with pytest.raises(ValueError, match="sram_limit is 0; give"):
        Theatre(flash_, sram_limit=0)
    with pytest.raises(ValueError, match="there is no knob 'block'; there are block_m"):
        Theatre.of(lambda block_m: flash_, {"block_m": [16]}, start={"block": 16})
    with pytest.raises(ValueError, match="block_m = 8 is not on offer; the knob has 16, 32"):
        Theatre.of(lambda block_m: flash_, {"block_m": [16, 32]}, recorded=[{"block_m": 8}])
    with pytest.raises(ValueError, match="100 runs would be recorded; name at most 64"):
        Theatre.of(lambda a, b: flash_, {"a": list(range(10)), "b": list(range(10))})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"order": "inside out"}, "order is 'inside out'; give one of Q outer, KV outer"),
        ({"window": 8, "causal": False}, "window is 8 but causal is False"),
        ({"window": 8, "order": "KV outer"}, "the tile machine has no loop for"),
    ],
)
def test_runs_that_there_are_not(settings, words):
    with pytest.raises(ValueError, match=words):
        attention_traces(n=32, head_dim=16, block_m=16, block_n=16, **settings)


# The knobs ----------------------------------------------------------------------------------------------------------


class Answers:
    """A Theatre whose messages are kept instead of sent."""

    def __init__(self, run, **knobs):
        self.theatre = Theatre.of(run, knobs)
        self.sent = []
        self.theatre.send = self.sent.append

    def ask(self, **message):
        self.theatre._answer(None, message, [])
        return self.sent[-1] if self.sent else None


def blocks_run(block_n):
    if block_n == 99:
        raise RuntimeError("99 is not a block")
    return machine(flash.tiled_attention, block_n=block_n)


def test_a_knob_runs_the_kernel_again():
    host = Answers(blocks_run, block_n=[16, 32, 99])
    assert host.ask(asks="hello") == {"answers": "hello"}
    answer = host.ask(asks="run", settings={"block_n": 32})
    assert answer["answers"] == "run" and answer["settings"] == {"block_n": 32}
    came = host.theatre.came
    wanted = Theatre(blocks_run(32)).data
    assert came["run"]["traces"] == [0] and len(came["traces"]) == len(came["codes"]) == 1
    assert np.array_equal(unpacked(came["traces"][0]["act"]), unpacked(wanted["traces"][0]["act"]))
    assert "block_n 32" in came["run"]["provenance"]


def test_what_a_run_raises_is_told_in_words():
    host = Answers(blocks_run, block_n=[16, 99])
    assert host.ask(asks="run", settings={"block_n": 99}) == {
        "answers": "refused",
        "words": "RuntimeError: 99 is not a block",
    }
    assert host.theatre.came == {}


def test_a_theatre_without_knobs_answers_nothing(traces):
    theatre = Theatre(traces["flash"])
    sent = []
    theatre.send = sent.append
    theatre._answer(None, {"asks": "hello"}, [])
    assert sent == []


def test_a_run_that_is_refused_is_recorded_as_that():
    def run(block_n):
        given = random_qkv(32, 32, 16)
        tiles = flash.TileMachine(capacity=3500)
        flash.tiled_attention(tiles, *given, block_m=16, block_n=block_n)
        return Trace.of_machine(tiles)

    theatre = Theatre.of(run, {"block_n": [16, 32]}, sram_limit=3500)
    theatre.record()
    assert "needs" in theatre.data["runs"][1]["refused"] and theatre.data["runs"][1]["traces"] == []


# Attention's runs ---------------------------------------------------------------------------------------------------


@needs_triton
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.seconds
def test_the_kernel_and_the_machine_move_the_same_bytes(monkeypatch, causal):
    settings = {"n": 96, "head_dim": 16, "block_m": 32, "block_n": 16, "causal": causal}
    kernel, standard = attention_traces(**settings)
    assert "Triton" in kernel.source and "Triton" in standard.source
    monkeypatch.setattr(interpreter, "available", False)
    on_machine, standard_machine = attention_traces(**settings)
    assert on_machine.source == standard_machine.source == "tile machine"
    assert kernel.issued_bytes() == on_machine.issued_bytes()
    for name in ("q", "k", "v", "out", "lse"):
        assert kernel.issued_bytes(name) == on_machine.issued_bytes(name)
    assert standard.issued_bytes() == standard_machine.issued_bytes()


@needs_triton
@pytest.mark.seconds
def test_a_window_moves_less():
    narrow, _ = attention_traces(n=128, head_dim=16, block_m=16, block_n=16, window=16)
    whole, _ = attention_traces(n=128, head_dim=16, block_m=16, block_n=16)
    assert narrow.issued_bytes("k") < whole.issued_bytes("k")


@needs_triton
def test_a_kernel_that_is_not_attention_is_drawn():
    x = torch.arange(100.0)
    theatre = Theatre(trace(double)[(4,)](x, torch.empty_like(x), 100, BLOCK=32))
    assert "double, program 3 of 4, stores y entries 64 to 95, 128 B" in repr(theatre)
    assert [tensor["name"] for tensor in theatre.runs[0]["scenes"][0]["tensors"]] == ["x", "y"]


# Print, and the roofline --------------------------------------------------------------------------------------------


def test_the_figure_draws_every_byte_once(traces):
    figure = Theatre(traces["flash"], traces["standard"]).figure()
    for axes, name in zip(figure.axes, ("flash", "standard"), strict=False):
        widths = [patch.get_width() for patch in axes.patches]
        assert sum(widths) == traces[name].issued_bytes()
        assert axes.get_ylabel() == name
    assert f"limit {list(LIMITS)[2]}" in [text.get_text() for text in figure.axes[-1].texts]


@pytest.mark.seconds
def test_peaks_are_measured_here():
    found = peaks()
    assert found.bytes_per_second > 1e8 and found.flops_per_second > 1e8
    assert (repr(found).startswith("this CPU with") and "GFLOP/s" in repr(found)) or "TFLOP/s" in repr(found)


def test_a_point_is_bound_by_the_lower_limit():
    machine_ = Peaks(bytes_per_second=10e9, flops_per_second=100e9, place="a machine")
    assert machine_.ridge == 10 and machine_.attainable(2) == 20e9 and machine_.attainable(50) == 100e9
    slow = Point("a copy", flops=8, nbytes=10, seconds=1e-9)
    assert slow.sentence(machine_) == "a copy: 0.8 FLOP/B, bound by memory; 100 % of this machine's measured line"
    dense = Point("a product", flops=500, nbytes=10)
    assert dense.sentence(machine_) == "a product: 50 FLOP/B, bound by arithmetic; at most 100 GFLOP/s here"
    figure = roofline(machine_, [slow, dense])
    assert {"a copy", "a product"} <= {text.get_text() for text in figure.axes[0].texts}
    with pytest.raises(ValueError, match="nothing has 0 operations and 1 bytes; both must be above 0"):
        roofline(machine_, [Point("nothing", 0, 1)])


# The same in the page -----------------------------------------------------------------------------------------------


def plain(value):
    if isinstance(value, np.ndarray):
        return value.reshape(-1).tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def vectors():
    """Small scenes, and what is said of some of their events; node checks the same file."""
    small = {"queries": 24, "keys": 24, "head_dim": 16, "block_m": 8, "block_n": 8, "causal": True}
    loops = {"flash": flash.tiled_attention, "kv outer": flash.flash1_attention, "standard": flash.standard_attention}
    drawn = {name: scene(machine(loop, **small), name, CACHES) for name, loop in loops.items()}
    drawn["matmul"] = scene(matmul_trace(), "matmul", CACHES)
    for one in drawn.values():
        for kernel in one["kernels"]:
            kernel["code"] = []
    told = []
    for name, beside in [("flash", "standard"), ("standard", "flash"), ("kv outer", "standard"), ("matmul", None)]:
        other = drawn[beside] if beside else None
        last = len(drawn[name]["act"]) - 1
        for event in sorted({0, 1, 5, last // 3, facts.key_event(drawn[name]), last}):
            found = facts.facts(drawn[name], event, 2000, other)
            told.append([name, beside, event, plain(found), say.sentence(found)])
    shares = [[share, say.percent(share)] for share in (0, 0.004, 0.01, 0.5, 0.994, 0.999, 1)]
    spans = [
        [tile, shape, say.span(dict(zip(("top", "bottom", "left", "right"), tile, strict=True)), shape)]
        for tile, shape in (
            ([0, 64, 0, 16], [1, 128, 16]),
            ([1024, 1025, 8, 16], [1, 2048, 16]),
            ([0, 1, 32, 64], [1, 1, 64]),
            ([5, 6, 0, 1], [1, 64, 1]),
            ([0, 1, 7, 8], [2, 1, 16]),
            ([0, 1, 0, 1], [1, 1, 1]),
        )
    ]
    atomic = {"kind": "atomic", "tensor": "dq", "head": " of head 2", "span": "rows 0 to 7", "bytes": 512}
    lone = {"name": "flash", "kernel": "backward", "program": 2, "programs": 4096, "event": atomic, "live": 3000,
            "limit": 2000, "risen": (3, 8), "moved": 4096, "total": 8192, "share": 0.002, "result": "dq"}  # fmt: skip
    beside = [None] + [{"name": "naive", "share": share, "total": total} for share, total in ((1, 2**20), (0.5, 8192))]
    facts_said = [[{**lone, "other": other}, say.sentence({**lone, "other": other})] for other in beside]
    lines = [[name, say.numbers_line(one)] for name, one in drawn.items()]
    found = {"percent": shares, "spans": spans, "said": facts_said, "lines": lines}
    return {"scenes": plain(drawn), "told": told, **found, "heads": [[head, say.of_head(head)] for head in (None, 12)]}


def test_the_shared_vectors_are_what_python_computes():
    assert json.loads(VECTORS.read_text(encoding="utf-8")) == json.loads(json.dumps(vectors()))


if __name__ == "__main__":  # writes the file anew, after a change that was meant
    found = vectors()
    scenes = ",\n".join(f"{json.dumps(name)}: {json.dumps(one)}" for name, one in found.pop("scenes").items())
    rest = ",\n".join(
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n]"
        for name, items in found.items()
    )
    VECTORS.write_text(f'{{\n"scenes": {{\n{scenes}\n}},\n{rest}\n}}\n', encoding="utf-8")
