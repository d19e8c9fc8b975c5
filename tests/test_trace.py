"""What kernels move, against closed forms and against counting by hand; and that nothing of the counting is left."""

import inspect
import math
import os
import subprocess
import sys
import time
from collections import OrderedDict
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from solutions import interpreter
from solutions.flash import TileMachine, tiled_attention
from solutions.flash_kernels import causal_flash_forward, flash_forward
from solutions.interpreter import Listener, OutOfBounds, interpreted, launch, listening, numbered_from, tl, triton
from widgets.theatre import Trace, measure, resources, trace, traced
from widgets.theatre.measure import KINDS, NO_TENSOR, SECTOR

needs_triton = pytest.mark.skipif(not interpreter.available, reason=interpreter.why_not)
ROOT = Path(__file__).parents[1]


# Kernels that aren't attention --------------------------------------------------------------------------------------


@triton.jit
def matmul(a, b, c, M, N, K, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for start in range(0, K, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < M) & (inner[None, :] < K)
        a_tile = tl.load(a + rows[:, None] * K + inner[None, :], mask=a_mask, other=0.0)
        b_mask = (inner[:, None] < K) & (columns[None, :] < N)
        b_tile = tl.load(b + inner[:, None] * N + columns[None, :], mask=b_mask, other=0.0)
        acc = tl.dot(a_tile, b_tile, acc, input_precision="ieee")
    mask = (rows[:, None] < M) & (columns[None, :] < N)
    tl.store(c + rows[:, None] * N + columns[None, :], acc, mask=mask)


@triton.jit
def softmax(x, out, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    scores = tl.load(x + row * n + columns, mask=columns < n, other=-float("inf")).to(tl.float32)
    weights = tl.exp(scores - tl.max(scores, 0))
    tl.store(out + row * n + columns, weights / tl.sum(weights, 0), mask=columns < n)


@triton.jit
def centred(x, inside, n):
    mean = tl.sum(x, 0) / n
    return mean, tl.where(inside, x - mean, 0.0)


@triton.jit
def layer_norm(x, weight, bias, out, means, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    inside = columns < n
    mean, difference = centred(tl.load(x + row * n + columns, mask=inside, other=0.0), inside, n)
    scale = 1 / tl.sqrt(tl.sum(difference * difference, 0) / n + 1e-5)
    w = tl.load(weight + columns, mask=inside)
    b = tl.load(bias + columns, mask=inside)
    tl.store(out + row * n + columns, difference * scale * w + b, mask=inside)
    tl.store(means + row, mean)


@triton.jit
def gather_rows(x, index, out, COLUMNS: tl.constexpr, BLOCK: tl.constexpr):
    places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    rows = tl.load(index + places)
    columns = tl.arange(0, COLUMNS)
    tile = tl.load(x + rows[:, None] * COLUMNS + columns[None, :])
    tl.store(out + places[:, None] * COLUMNS + columns[None, :], tile)


@triton.jit
def add_rows(x, total, COLUMNS: tl.constexpr):
    columns = tl.arange(0, COLUMNS)
    tl.atomic_add(total + columns, tl.load(x + tl.program_id(0) * COLUMNS + columns))


@triton.jit
def transpose(x, out, rows, columns, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = (i[None, :] < rows) & (j[:, None] < columns)
    tl.store(out + j[:, None] * rows + i[None, :], tl.load(x + i[None, :] * columns + j[:, None], mask=mask), mask=mask)


@triton.jit
def copy_strided(x, out, stride, n, COLUMNS: tl.constexpr):
    row = tl.program_id(0)
    columns = tl.arange(0, COLUMNS)
    tl.store(out + row * COLUMNS + columns, tl.load(x + row * stride + columns))


@triton.jit
def scaled(x, factor):
    assert factor > 0
    return x * factor


@triton.jit
def broken(x, out, n, BLOCK: tl.constexpr):
    columns = tl.arange(0, BLOCK)
    values = tl.load(x + columns)
    tl.store(out + columns, tl.sum(values, 0) + no_such_name)  # noqa: F821


def matmul_case(m, n, k, dtype=torch.float16, blocks=(32, 16, 64)):
    a, b, c = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype), torch.empty(m, n)
    names = dict(zip(("BLOCK_M", "BLOCK_N", "BLOCK_K"), blocks, strict=True))
    grid = (triton.cdiv(m, blocks[0]), triton.cdiv(n, blocks[1]))
    return grid, (a, b, c, m, n, k), names


def flash_case(n, head_dim, block_m, block_n, heads=1, dtype=torch.float16):
    q, k, v = (torch.randn(heads, n, head_dim).to(dtype) for _ in range(3))
    args = (q, k, v, torch.empty_like(q), torch.empty(heads, n), head_dim**-0.5, n)
    return (triton.cdiv(n, block_m), heads), args, {"HEAD_DIM": head_dim, "BLOCK_M": block_m, "BLOCK_N": block_n}


def traced_flash(kernel, *case, **options):
    grid, args, meta = flash_case(*case, **options)
    return trace(kernel)[grid](*args, **meta)


# Issued bytes are the closed form -----------------------------------------------------------------------------------


@needs_triton
@pytest.mark.parametrize(
    "m, n, k, dtype", [(64, 48, 128, torch.float16), (61, 50, 70, torch.float32), (5, 3, 2, torch.float16)]
)
def test_matmul_issues_its_closed_form(m, n, k, dtype):
    grid, args, meta = matmul_case(m, n, k, dtype)
    counted = trace(matmul)[grid](*args, **meta)
    size = dtype.itemsize
    assert torch.allclose(args[2], args[0].float() @ args[1].float(), atol=1e-3)
    assert counted.issued_bytes("a") == m * k * size * grid[1]
    assert counted.issued_bytes("b") == k * n * size * grid[0]
    assert counted.issued_bytes("c") == counted.issued_bytes(kind="store") == m * n * 4
    assert counted.flops() == math.prod(grid) * triton.cdiv(k, 64) * 2 * 32 * 16 * 64
    for i in range(grid[0]):
        for j in range(grid[1]):
            rows, columns = min(32, m - 32 * i), min(16, n - 16 * j)
            assert counted.issued_bytes("a", program=(i, j)) == rows * k * size
            assert counted.issued_bytes("b", program=(i, j)) == columns * k * size
            assert counted.issued_bytes("c", program=(i, j)) == rows * columns * 4


@needs_triton
@pytest.mark.parametrize("rows, n", [(7, 64), (5, 100), (1, 1)])
def test_softmax_issues_its_closed_form(rows, n):
    x, out = torch.randn(rows, n).half(), torch.empty(rows, n)
    counted = trace(softmax)[(rows,)](x, out, n, BLOCK=128)
    assert torch.allclose(out, x.float().softmax(1), atol=1e-6)
    assert counted.by_tensor()["x"]["issued"] == rows * n * 2
    assert counted.by_tensor()["out"]["issued"] == rows * n * 4
    assert all(counted.issued_bytes(program=row) == n * 6 for row in range(rows))
    assert set(counted.events["masked"]) == {128 - n}
    assert set(counted.events["lanes"]) == {n}


@needs_triton
def test_layer_norm_issues_its_closed_form_through_a_helper():
    rows, n = 6, 40
    x, w, b = torch.randn(rows, n), torch.randn(n), torch.randn(n)
    out, means = torch.empty(rows, n), torch.empty(rows)
    counted = trace(layer_norm)[(rows,)](x, w, b, out, means, n, BLOCK=64)
    assert torch.allclose(out, torch.nn.functional.layer_norm(x, (n,), w, b), atol=1e-5)
    assert torch.allclose(means, x.mean(1), atol=1e-6)
    issued = {name: totals["issued"] for name, totals in counted.by_tensor().items()}
    assert issued == {
        "x": rows * n * 4,
        "weight": rows * n * 4,
        "bias": rows * n * 4,
        "out": rows * n * 4,
        "means": rows * 4,
    }
    assert counted.sector_bytes("means") == rows * SECTOR  # four bytes, but a sector each
    assert counted.compulsory_bytes("weight") == n * 4
    assert counted.issued_bytes(kind="load") + counted.issued_bytes(kind="store") == counted.issued_bytes()


@needs_triton
def test_a_gather_is_counted_as_it_falls():
    index = torch.randint(0, 50, (4, 16))
    x, out = torch.randn(50, 16), torch.empty(64, 16)
    counted = trace(gather_rows)[(4,)](x, index, out, COLUMNS=16, BLOCK=16)
    assert torch.equal(out, x[index.flatten()])
    assert counted.issued_bytes("x") == 64 * 16 * 4
    assert counted.issued_bytes("index") == 64 * 8
    for program in range(4):
        assert counted.sector_bytes("x", program=program) == len(index[program].unique()) * 64
    assert counted.compulsory_bytes("x") == len(index.unique()) * 64
    loads = counted.events[(counted.events["tensor"] == 0)]
    assert loads["row0"].tolist() == index.min(1).values.tolist()
    assert loads["row1"].tolist() == (index.max(1).values + 1).tolist()
    assert any("rows" in tiles for tiles in counted.live)  # an integer tile that came from memory; `columns` did not
    assert not any("columns" in tiles for tiles in counted.live)


@needs_triton
def test_an_atomic_reads_and_writes():
    x, total = torch.randn(5, 32), torch.zeros(32)
    counted = trace(add_rows)[(5,)](x, total, COLUMNS=32)
    assert torch.allclose(total, x.sum(0), atol=1e-5)
    assert counted.events["element_bytes"][counted.events["kind"] == KINDS.index("atomic")].tolist() == [128] * 5
    assert counted.issued_bytes("total") == counted.issued_bytes(kind="atomic") == 2 * 5 * 128
    assert counted.compulsory_bytes("total") == 2 * 128
    assert counted.issued_bytes("x") == counted.compulsory_bytes("x") == 5 * 128


@needs_triton
def test_a_tile_read_across_has_the_sectors_of_the_same_tile_read_along():
    x = torch.randn(50, 40)
    out = torch.empty(40, 50)
    counted = trace(transpose)[(4, 3)](x, out, 50, 40, BLOCK=16)
    assert torch.equal(out, x.T)
    for event in counted.events[counted.events["tensor"] == 0]:
        rows, columns = np.mgrid[event["row0"] : event["row1"], event["col0"] : event["col1"]]
        assert event["lanes"] == rows.size
        assert event["sectors"] == len(np.unique((rows * 40 + columns) * 4 // SECTOR))


@needs_triton
def test_views_of_one_storage_are_told_apart():
    qkv = torch.randn(8, 3, 16)
    for chosen, name in enumerate("qkv"):
        out = torch.empty(8, 16)
        part = qkv[:, chosen]
        counted = trace(copy_strided)[(8,)](part, out, part.stride(0), 8, COLUMNS=16)
        assert torch.equal(out, part), name
        assert counted.issued_bytes("x") == counted.compulsory_bytes("x") == 8 * 64
        assert counted.events["row0"][::2].tolist() == list(range(8))

    @triton.jit
    def swap(q, k, v, stride, COLUMNS: tl.constexpr):
        columns = tl.program_id(0) * stride + tl.arange(0, COLUMNS)
        tl.store(v + columns, tl.load(k + columns))

    q, k, v = qkv.unbind(1)
    counted = trace(swap)[(8,)](q, k, v, 48, COLUMNS=16)
    assert torch.equal(k, v)
    assert [counted.issued_bytes(name) for name in "qkv"] == [0, 512, 512]


@needs_triton
def test_flash_attention_issues_the_sheets_example():
    counted = traced_flash(causal_flash_forward, 256, 64, 64, 32, heads=2)
    issued = {name: totals["issued"] for name, totals in counted.by_tensor().items()}
    assert issued == {"q": 65_536, "k": 163_840, "v": 163_840, "out": 65_536, "lse": 2_048}
    assert [counted.issued_bytes("k", program=(i, 0)) for i in range(4)] == [8_192, 16_384, 24_576, 32_768]
    assert counted.peak_live_bytes() == 49_920


@needs_triton
def test_elements_and_sectors_differ_at_ragged_ends():
    counted = traced_flash(flash_forward, 250, 64, 64, 32, heads=2)
    assert counted.issued_bytes("lse") == 2_000
    assert counted.sector_bytes("lse") == 2_144


# What an event says --------------------------------------------------------------------------------------------------


@needs_triton
def test_events_say_where_and_when():
    grid, args, meta = matmul_case(61, 50, 130)
    counted = trace(matmul)[grid](*args, **meta)
    (kernel,) = counted.kernels
    assert kernel["name"] == "matmul" and kernel["grid"] == [2, 4, 1]
    assert kernel["lines"][0].startswith("def matmul(")
    assert inspect.getsourcelines(matmul.fn)[1] + 1 == kernel["first_line"]  # the decorator stands above
    for event in counted.events:
        text = kernel["lines"][event["line"] - 1]
        name = "acc = tl.dot" if event["tensor"] == NO_TENSOR else f"{KINDS[event['kind']]}({'abc'[event['tensor']]} +"
        assert name in text
    of_a = counted.events[(counted.events["tensor"] == 0) & (counted.events["program"] == 7)]
    assert of_a["iteration"].tolist() == [0, 1, 2]
    assert of_a[["row0", "row1"]].tolist() == [(32, 61)] * 3
    assert of_a[["col0", "col1"]].tolist() == [(0, 64), (64, 128), (128, 130)]
    assert of_a["lanes"].tolist() == [29 * 64, 29 * 64, 29 * 2]
    assert counted.programs[7].tolist() == [1, 3, 0]
    assert counted.source == f"Triton {triton.__version__} interpreter"


@needs_triton
def test_live_tiles_are_named_and_sized():
    grid, args, meta = matmul_case(32, 16, 128)
    counted = trace(matmul)[grid](*args, **meta)
    assert counted.live[counted.events["live"][-1]] == {
        "acc": [32 * 16 * 4, [32, 16]],
        "a_tile": [32 * 64 * 2, [32, 64]],
        "b_tile": [64 * 16 * 2, [64, 16]],
    }
    assert counted.peak_live_bytes() == counted.peak_live_bytes(program=0) == 2048 + 4096 + 2048


@needs_triton
def test_rows_are_the_running_statistics():
    grid, args, meta = flash_case(96, 16, 32, 16, dtype=torch.float32)
    counted = trace(causal_flash_forward)[grid](*args, **meta)
    assert sorted(counted.rows) == [0, 1, 2]
    scores = (args[0][0] @ args[1][0].T / 4).masked_fill(torch.ones(96, 96).triu(1).bool(), -math.inf)
    for program, tiles in counted.rows.items():
        assert len(tiles["m"]) == (counted.events["program"] == program).sum()
        assert np.isnan(tiles["m"][0]).all()  # before m is there
        assert (np.diff(tiles["m"][1:], axis=0) >= 0).all()
        highest = scores[32 * program : 32 * program + 32].max(1).values
        assert np.allclose(tiles["m"][-1], highest, atol=1e-5)
    chosen = trace(causal_flash_forward, exemplars=[1])[grid](*args, **meta)
    assert list(chosen.rows) == [1] and np.array_equal(chosen.rows[1]["m"], counted.rows[1]["m"], equal_nan=True)
    with pytest.raises(ValueError, match="programs 0 to 2"):
        trace(causal_flash_forward, exemplars=[3])[grid](*args, **meta)


# The three numbers ---------------------------------------------------------------------------------------------------


def replayed(counted, capacity, concurrent):
    """Bytes an LRU cache of sectors fetches, program by program and sector by sector."""
    x, y, z = counted.programs.T
    order = np.lexsort((x, y, z))
    reads = np.isin(counted.events["kind"], [KINDS.index("load"), KINDS.index("atomic")])
    touched = {
        program: [i for i in np.flatnonzero(reads & (counted.events["program"] == program))] for program in order
    }
    cache, missed = OrderedDict(), 0
    for wave in range(0, len(order), concurrent):
        running = order[wave : wave + concurrent]
        for step in range(max(len(touched[program]) for program in running)):
            for event in [touched[program][step] for program in running if step < len(touched[program])]:
                for run in counted.runs[counted.runs["event"] == event]:
                    for sector in range(run["first"], run["first"] + run["count"]):
                        key = counted.events["tensor"][event], sector
                        missed += key not in cache
                        cache[key] = None
                        cache.move_to_end(key)
                        if len(cache) > capacity // SECTOR:
                            cache.popitem(last=False)
    return missed * SECTOR


@needs_triton
@pytest.mark.parametrize("concurrent", [1, 3, 100])
@pytest.mark.seconds
def test_the_cache_model_is_an_lru_cache(concurrent):
    grid, args, meta = matmul_case(61, 50, 70, torch.float32)
    for counted in (trace(matmul)[grid](*args, **meta), traced_flash(causal_flash_forward, 120, 16, 32, 16, heads=2)):
        for capacity in (0, 32, 500, 2_000, 5_000, 10_000, 20_000):
            assert counted.l2_bytes(capacity, concurrent) == replayed(counted, capacity, concurrent)


@needs_triton
def test_compulsory_is_below_the_cache_model_is_below_the_sectors():
    grid, args, meta = matmul_case(61, 50, 70, torch.float32)
    index = torch.randint(0, 50, (64,))
    cases = [
        trace(matmul)[grid](*args, **meta),
        trace(gather_rows)[(4,)](torch.randn(50, 16), index, torch.empty(64, 16), COLUMNS=16, BLOCK=16),
        traced_flash(flash_forward, 250, 32, 64, 32, heads=2),
        traced_flash(causal_flash_forward, 100, 64, 32, 64),
    ]
    for counted in cases:
        compulsory, sectors = counted.compulsory_bytes(kind="load"), counted.sector_bytes(kind="load")
        for concurrent in (1, 4, 132):
            modelled = [counted.l2_bytes(capacity, concurrent) for capacity in (0, 4096, 65_536, 2**20, math.inf)]
            assert modelled == sorted(modelled, reverse=True)
            assert modelled[0] == sectors and modelled[-1] == compulsory
            assert counted.l2_bytes(4096, concurrent) == sum(
                counted.l2_bytes(4096, concurrent, name) for name in counted.names
            )


@needs_triton
def test_compulsory_is_the_set_of_sectors():
    counted = traced_flash(causal_flash_forward, 100, 16, 32, 16, heads=2)
    for number, name in enumerate(counted.names):
        sectors = set()
        for run in counted.runs[counted.events["tensor"][counted.runs["event"]] == number]:
            sectors |= set(range(run["first"], run["first"] + run["count"]))
        assert counted.compulsory_bytes(name) == len(sectors) * SECTOR
    assert counted.compulsory_bytes() == sum(counted.compulsory_bytes(name) for name in counted.names)


@needs_triton
def test_the_summary_names_the_three_numbers():
    counted = traced_flash(causal_flash_forward, 128, 64, 64, 64)
    said = counted.summary(capacity=2**20, concurrent_programs=8)
    assert said.splitlines()[0].split("  ")[-3:] != [] and all(
        word in said for word in ("issued", "L2 model", "compulsory")
    )
    assert f"{counted.issued_bytes('k'):,}" in said and "1,048,576 bytes of cache, 8 programs" in said
    assert said == counted.summary(capacity=2**20, concurrent_programs=8)
    assert "2 programs, " in repr(counted) and f"{counted.issued_bytes():,} bytes issued" in repr(counted)
    total = next(line for line in said.splitlines() if line.startswith("all, bytes")).replace(",", "").split()[2:]
    issued, modelled, compulsory, *written = map(int, total)
    assert compulsory <= modelled <= issued and len(written) == 2


@needs_triton
def test_reads_and_writes_are_told_apart():
    counted = trace(add_rows)[(5,)](torch.randn(5, 32), torch.zeros(32), COLUMNS=32)
    for name in (None, *counted.names):
        halves = [counted.issued_bytes(name, kind=kind) for kind in ("read", "write")]
        assert sum(halves) == counted.issued_bytes(name)
        assert sum(counted.sector_bytes(name, kind=kind) for kind in ("read", "write")) == counted.sector_bytes(name)
        assert sum(counted.compulsory_bytes(name, kind) for kind in ("read", "write")) == counted.compulsory_bytes(name)
        for capacity in (0, 4096, math.inf):  # an atomic reads too, and what the cache fetches for it counts
            modelled = counted.l2_bytes(capacity, 4, name)
            assert counted.compulsory_bytes(name, "read") <= modelled <= counted.sector_bytes(name, kind="read")
    assert counted.l2_bytes(0, 4) > counted.sector_bytes(kind="load")


@needs_triton
@pytest.mark.parametrize(
    "ask, said",
    [
        (lambda t: t.issued_bytes("w"), "has no tensor 'w'; it has q, k, v"),
        (lambda t: t.issued_bytes(program=9), "no program 9; there are 2"),
        (lambda t: t.issued_bytes(program=(0, 5)), "no program"),
        (lambda t: t.issued_bytes(kind="reads"), "give one of load, store"),
        (lambda t: t.l2_bytes(-1, 1), "0 bytes or more"),
        (lambda t: t.l2_bytes(1, 0), "at least 1 program"),
        (lambda t: Trace.join([]), "at least one"),
    ],
)
def test_questions_that_have_no_answer(ask, said):
    counted = traced_flash(flash_forward, 64, 16, 32, 32)
    with pytest.raises(ValueError, match=said):
        ask(counted)


# Keeping and joining -------------------------------------------------------------------------------------------------


def same(a: Trace, b: Trace) -> None:
    for name in ("programs", "program_kernel", "events", "runs"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    for name in ("kernels", "tensors", "live"):
        assert getattr(a, name) == getattr(b, name), name
    assert a.rows.keys() == b.rows.keys()
    for program, tiles in a.rows.items():
        assert tiles.keys() == b.rows[program].keys()
        assert all(np.array_equal(tile, b.rows[program][name], equal_nan=True) for name, tile in tiles.items())


@needs_triton
def test_a_saved_trace_comes_back(tmp_path, monkeypatch):
    counted = traced_flash(causal_flash_forward, 100, 16, 32, 16, heads=2)
    counted.save(tmp_path / "flash.npz")
    same(counted, Trace.load(tmp_path / "flash.npz"))
    assert Trace.load(tmp_path / "flash.npz").source == counted.source
    np.savez(tmp_path / "other.npz", events=np.zeros(3))
    with pytest.raises(ValueError, match="holds no trace"):
        Trace.load(tmp_path / "other.npz")

    monkeypatch.setattr(measure, "RECORDED", tmp_path / "recorded")
    with pytest.raises(ValueError, match="there are: none yet"):
        measure.recording("flash")
    measure.keep("flash", counted)
    same(counted, measure.recording("flash"))
    assert measure.recording("flash").source == f"recorded: {counted.source}"


@needs_triton
def test_what_a_function_launches_is_joined_in_order():
    x = torch.randn(8, 64)

    def three():
        weights, turned, out = torch.empty(8, 64), torch.empty(64, 8), torch.empty(64, 8)
        launch(softmax)[(8,)](x, weights, 64, BLOCK=64)
        launch(transpose)[(1, 4)](weights, turned, 8, 64, BLOCK=16)
        interpreted(softmax)[(64,)](turned, out, 8, BLOCK=8)
        return out

    result, counted = traced(three)
    assert torch.allclose(result, x.softmax(1).T.softmax(1), atol=1e-6)
    assert [kernel["name"] for kernel in counted.kernels] == ["softmax", "transpose", "softmax"]
    assert counted.names == ["x", "out", "out 2", "out 3"]  # what a kernel wrote and the next one reads is one tensor
    assert [counted.issued_bytes(name) for name in counted.names] == [2048, 4096, 4096, 2048]
    assert counted.issued_bytes() == counted.compulsory_bytes() == 6 * 8 * 64 * 4
    assert len(counted.programs) == 8 + 4 + 64 == len(counted.program_kernel)
    assert np.array_equal(counted.program_kernel[counted.events["program"]], counted.events["kernel"])
    alone = trace(softmax)[(8,)](x, torch.empty(8, 64), 64, BLOCK=64)
    first = counted.events[counted.events["kernel"] == 0]
    assert np.array_equal(first["element_bytes"], alone.events["element_bytes"])
    assert counted.l2_bytes(0, 4) == counted.sector_bytes(kind="load")
    assert counted.l2_bytes(math.inf, 4) == 3 * 8 * 64 * 4
    assert counted.live[counted.events["live"][-1]].keys() == {"scores", "weights"}
    assert sorted(counted.rows) == [0, 4, 7, 8, 10, 11, 12, 44, 75]
    with pytest.raises(ValueError, match="launched no kernel"):
        traced(lambda: x + 1)


@needs_triton
def test_a_tensor_passed_twice_is_one():
    x = torch.softmax(torch.randn(4, 16), 1)
    counted = trace(softmax)[(4,)](x, x, 16, BLOCK=16)
    assert counted.names == ["x"]
    assert counted.issued_bytes("x") == counted.compulsory_bytes() == 2 * 4 * 64


def test_traces_apart_are_joined_by_name_and_shape():
    parts = [machine_trace(n, 16, 32, 32, causal=False)[1] for n in (64, 64, 100)]
    whole = Trace.join(parts)
    assert whole.names == ["q", "k", "v", "out", "lse", "q 2", "k 2", "v 2", "out 2", "lse 2"]
    assert whole.issued_bytes() == sum(part.issued_bytes() for part in parts)
    assert whole.issued_bytes("q 2") == parts[2].issued_bytes("q")
    assert whole.compulsory_bytes("q") == parts[0].compulsory_bytes("q")
    tables = [part.live[i] for part in parts for i in part.events["live"]]
    assert [whole.live[i] for i in whole.events["live"]] == tables
    assert [len(part.programs) for part in parts] == np.bincount(whole.program_kernel).tolist()


# The tile machine ----------------------------------------------------------------------------------------------------


def machine_trace(n, head_dim, block_m, block_n, causal, dtype=torch.float16):
    q, k, v = (torch.randn(n, head_dim).to(dtype) for _ in range(3))
    machine = TileMachine(math.inf)
    tiled_attention(machine, q, k, v, block_m=block_m, block_n=block_n, causal=causal)
    return machine, Trace.of_machine(machine)


@needs_triton
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "n, head_dim, block_m, block_n, dtype",
    [
        (256, 64, 64, 32, torch.float16),
        (250, 64, 64, 64, torch.float16),
        (100, 32, 32, 64, torch.float32),
        (7, 16, 16, 16, torch.float16),
    ],
)
@pytest.mark.seconds
def test_the_tile_machine_moves_what_the_kernel_moves(causal, n, head_dim, block_m, block_n, dtype):
    kernel = causal_flash_forward if causal else flash_forward
    counted = traced_flash(kernel, n, head_dim, block_m, block_n, dtype=dtype)
    _, stepped = machine_trace(n, head_dim, block_m, block_n, causal, dtype)
    assert stepped.by_tensor() == counted.by_tensor()
    assert len(stepped.programs) == len(counted.programs)
    place = ["program", "row0", "row1", "col0", "col1", "element_bytes", "sectors"]
    for name in counted.names:
        mine = stepped.events[stepped.events["tensor"] == stepped.names.index(name)]
        theirs = counted.events[counted.events["tensor"] == counted.names.index(name)]
        if name == "lse":  # (n,) on the machine, (heads, n) for the kernel
            assert mine["row1"].tolist() == theirs["col1"].tolist()
        else:
            assert mine[place].tolist() == theirs[place].tolist()
    assert stepped.l2_bytes(8192, 4) == counted.l2_bytes(8192, 4)


def test_a_machines_trace_says_what_the_machine_says(tmp_path):
    machine, stepped = machine_trace(100, 32, 32, 16, causal=True)
    assert stepped.source == "tile machine"
    assert {name: totals["issued"] for name, totals in stepped.by_tensor().items()} == machine.by_tensor()
    assert stepped.issued_bytes(program=1) == machine.issued_bytes(program=1)
    assert 0 < stepped.peak_live_bytes() <= machine.peak
    (kernel,) = stepped.kernels
    for event in stepped.events:
        assert f"machine.{KINDS[event['kind']]}(" in kernel["lines"][event["line"] - 1]
    assert sorted(stepped.rows) == [0, 2, 3]
    stepped.save(tmp_path / "machine.npz")
    same(stepped, Trace.load(tmp_path / "machine.npz"))
    assert Trace.of_machine(TileMachine()).issued_bytes() == 0


# Nothing is left -----------------------------------------------------------------------------------------------------


def everything_patched():
    private = interpreter.private
    owners = tl, tl.core, tl.math, tl.tensor, tl.dtype, interpreter.JITFunction, private.ReduceScanOpInterface
    builder = {name: value for name, value in vars(private.interpreter_builder).items() if not name.startswith("grid_")}
    return [dict(vars(owner)) for owner in owners] + [builder]


def identical(before, after):
    return all(
        a.keys() == b.keys() and all(a[name] is b[name] for name in a) for a, b in zip(before, after, strict=True)
    )


@needs_triton
def test_nothing_is_left_of_the_patches():
    before = everything_patched()
    load, add = tl.load, tl.sum
    x, out = torch.randn(4, 16), torch.empty(4, 16)
    trace(softmax)[(4,)](x, out, 16, BLOCK=16)
    assert identical(before, everything_patched()) and (tl.load, tl.sum) == (load, add)
    with pytest.raises(NameError, match="no_such_name"):
        trace(broken)[(1,)](x, out, 16, BLOCK=16)
    assert identical(before, everything_patched())
    with pytest.raises(OutOfBounds):
        trace(softmax)[(5,)](x, out, 16, BLOCK=16)
    assert identical(before, everything_patched())
    assert not {"TensorHandle", "GridExecutor"} & globals().keys()  # nor the interpreter's names among the kernel's
    assert not interpreter._listeners


@needs_triton
def test_blas_has_one_thread_while_a_kernel_runs():
    library = interpreter._openblas()
    if library is None:
        pytest.skip("this numpy brings no OpenBLAS of its own")
    before = library.scipy_openblas_get_num_threads64_()

    class Threads(Listener):
        def dot(self, dot):
            seen.add(library.scipy_openblas_get_num_threads64_())

    seen = set()
    grid, args, meta = matmul_case(32, 16, 64)
    library.scipy_openblas_set_num_threads64_(2)
    try:
        with listening(Threads()):
            interpreted(matmul)[grid](*args, **meta)
        assert seen == {1} and library.scipy_openblas_get_num_threads64_() == 2
    finally:
        library.scipy_openblas_set_num_threads64_(before)


@needs_triton
@pytest.mark.seconds
def test_one_process_counts_and_compiles():
    grid, args, meta = matmul_case(64, 64, 64, blocks=(64, 64, 64))
    counted = trace(matmul)[grid](*args, **meta)
    types = {"a": "*fp16", "b": "*fp16", "c": "*fp32", "M": "i32", "N": "i32", "K": "i32"}
    compiled = resources(matmul, types, meta, target="sm_90")
    assert "wgmma.mma" in compiled.ptx
    again = trace(matmul)[grid](*args, **meta)
    assert np.array_equal(counted.events, again.events)
    assert isinstance(matmul, triton.JITFunction)


@needs_triton
@pytest.mark.seconds
def test_counting_costs_less_than_the_kernel_again():
    grid, args, meta = flash_case(512, 64, 64, 64)
    private = interpreter.private
    kernel = interpreter._rewritten(causal_flash_forward.fn)

    def plain():
        scope = private._patch_lang(SimpleNamespace(__globals__={"tl": tl, "core": tl.core}))
        with ExitStack() as stack:
            stack.callback(scope.restore)
            stack.enter_context(interpreter._replaced(interpreter.JITFunction, __call__=interpreter._call_helper))
            stack.enter_context(interpreter._one_blas_thread())
            kernel[grid](*args, **meta)

    def seconds(run):
        start = time.process_time()  # of this process: other work on the machine doesn't count
        run()
        return time.process_time() - start

    runs = [(seconds(plain), seconds(lambda: trace(causal_flash_forward)[grid](*args, **meta))) for _ in range(5)]
    alone, counted = map(min, zip(*runs, strict=True))
    assert counted < 2 * alone


# bfloat16 ------------------------------------------------------------------------------------------------------------


@needs_triton
def test_bfloat16_is_multiplied_and_rounded_as_hardware_does():
    grid, args, meta = matmul_case(61, 50, 70, torch.bfloat16)
    counted = trace(matmul)[grid](*args, **meta)
    a, b, c, *_ = args
    assert torch.allclose(c, a.float() @ b.float(), atol=1e-4)
    assert counted.issued_bytes("a") == 61 * 70 * 2 * 4
    rounded = torch.empty(61, 50, dtype=torch.bfloat16)
    interpreted(matmul)[grid](a, b, rounded, *args[3:], **meta)
    assert torch.equal(rounded, c.bfloat16())

    @triton.jit
    def arithmetic(x, y, out, BLOCK: tl.constexpr):
        i = tl.arange(0, BLOCK)
        left, right = tl.load(x + i), tl.load(y + i)
        tl.store(out + i, tl.where(left > right, left * 0.5, left + right))

    x, y, out = torch.randn(64).bfloat16(), torch.randn(64).bfloat16(), torch.empty(64).bfloat16()
    x[0], x[1] = math.nan, math.inf
    interpreted(arithmetic)[1](x, y, out, BLOCK=64)
    assert torch.equal(out.nan_to_num(9.0), torch.where(x > y, x * 0.5, x + y).nan_to_num(9.0))


@needs_triton
def test_bfloat16_that_cannot_be_right_is_refused():
    @triton.jit
    def total(x, out, BLOCK: tl.constexpr):
        tl.store(out, tl.sum(tl.load(x + tl.arange(0, BLOCK)), 0))

    with pytest.raises(ValueError, match=r"reduction or scan of bfloat16.*x.to"):
        interpreted(total)[1](torch.ones(16).bfloat16(), torch.zeros(1).bfloat16(), BLOCK=16)
    with pytest.raises(ValueError, match="atomic_rmw of bfloat16"):
        interpreted(add_rows)[1](torch.ones(1, 16).bfloat16(), torch.zeros(16).bfloat16(), COLUMNS=16)


# Bad input -----------------------------------------------------------------------------------------------------------


def plain_function(x, out, n):
    pass


@needs_triton
@pytest.mark.parametrize("run", [interpreted, launch, trace])
def test_what_cannot_be_launched(run):
    x, out = torch.randn(4, 16), torch.empty(4, 16)
    with pytest.raises(ValueError, match=r"the function plain_function. Put @triton.jit above its def"):
        run(plain_function)[(4,)](x, out, 16)
    with pytest.raises(ValueError, match="got a str"):
        run("softmax")[(4,)](x, out, 16)
    tuned = triton.heuristics({"BLOCK": lambda arguments: 16})(softmax)
    with pytest.raises(ValueError, match=r"softmax is wrapped in Heuristics.*kernel.fn"):
        run(tuned)[(4,)](x, out, 16)
    run(tuned.fn)[(4,)](x, out, 16, BLOCK=16)
    for grid in [(0,), (4, 0), 0, (), (1, 1, 1, 1), (1.5,), lambda meta: (meta["n"] - 16,)]:
        with pytest.raises(ValueError, match="no program would run"):
            run(softmax)[grid](x, out, 16, BLOCK=16)
    with pytest.raises(ValueError, match="different devices: x on cpu, out on meta"):
        run(softmax)[(4,)](x, torch.empty(4, 16, device="meta"), 16, BLOCK=16)
    with pytest.raises(ValueError, match="softmax has no argument BLOK; it takes x, out, n, BLOCK"):
        run(softmax)[(4,)](x, out, 16, BLOK=16)
    with pytest.raises(ValueError, match="missing a required argument: 'n'"):
        run(softmax)[(4,)](x, out, BLOCK=16)
    run(softmax)[lambda meta: (triton.cdiv(meta["n"], 4),)](x, out, n=16, BLOCK=16, num_warps=8, num_stages=3)
    assert torch.allclose(out, x.softmax(1), atol=1e-6)


@needs_triton
def test_an_autotuned_kernel_is_refused(monkeypatch):
    try:
        tuned = triton.autotune([triton.Config({"BLOCK": 16})], key=["n"], do_bench=lambda *_, **__: 1.0)(softmax)
    except RuntimeError:  # a Triton that asks for a GPU already here
        pytest.skip("this Triton can't build an autotuned kernel without a GPU")
    with pytest.raises(ValueError, match=r"softmax is wrapped in Autotuner.*kernel.fn"):
        trace(tuned)


@needs_triton
def test_a_stray_pointer_is_named_before_it_is_followed():
    x, out = torch.randn(4, 16), torch.full((4, 16), 7.0)
    with pytest.raises(OutOfBounds) as error:
        interpreted(softmax)[(6,)](x, out, 16, BLOCK=16)
    said = str(error.value)
    assert "softmax, program (4, 0, 0), line 4 (scores = tl.load(" in said
    assert "a load of x at byte offset 316 (element 79); x is (4, 16) and spans bytes 0 to 256" in said
    assert "16 of 16 lanes are outside" in said
    with pytest.raises(OutOfBounds, match=r"a store of out.* 16 of 32 lanes"):
        interpreted(softmax)[(4,)](torch.randn(4, 32), out[:, :16].reshape(-1)[16:], 32, BLOCK=32)

    @triton.jit
    def before(x, out, BLOCK: tl.constexpr):
        tl.store(out + tl.arange(0, BLOCK), tl.load(x + tl.arange(0, BLOCK) - 2))

    kept = out.clone()
    with pytest.raises(OutOfBounds, match=r"a load of x at byte offset -8 \(element -2\).* 2 of 16 lanes"):
        interpreted(before)[1](x, out, BLOCK=16)
    assert torch.equal(out, kept)
    with pytest.raises(OutOfBounds, match=r"a load of x at byte offset -8.* spans bytes 0 to 0"):
        interpreted(before)[1](torch.empty(0), out, BLOCK=16)


@needs_triton
def test_a_stray_pointer_is_of_the_tensor_that_it_was_made_from():
    """Wherever the tensors lie, on a line with two accesses, moved, reshaped and broadcast; and into a neighbour."""

    @triton.jit
    def copies(x, y, out, shift, BLOCK: tl.constexpr):
        columns = tl.arange(0, BLOCK)
        x += shift
        tl.store(out + columns, tl.load(y + columns) + tl.load(tl.reshape((x + columns)[None, :], (BLOCK,))))

    memory = torch.zeros(60)
    x, y, out = memory[20:36].clone(), torch.zeros(16), torch.zeros(16)
    for shift in (-3, 5, 1000, -1000):
        with pytest.raises(OutOfBounds, match="a load of x at byte offset"):
            interpreted(copies)[1](x, y, out, shift, BLOCK=16)
    beside = (y.data_ptr() - x.data_ptr()) // 4  # all of the lanes inside another tensor
    with pytest.raises(OutOfBounds, match=r"a load of x at byte offset .* 16 of 16 lanes are outside"):
        interpreted(copies)[1](x, y, out, beside, BLOCK=16)
    interpreted(copies)[1](memory[:16], memory[16:32], out, 16, BLOCK=16)  # views of one storage may meet


@triton.jit
def double_rows(x, y, WIDTH: tl.constexpr, WIDE: tl.constexpr):
    row = tl.program_id(0)
    if WIDE:
        row = row.to(tl.int64)
    at = row * WIDTH + tl.arange(0, WIDTH)
    tl.store(y + at, 2 * tl.load(x + at))


@needs_triton
def test_programs_may_be_numbered_from_far_on():
    """Rows 268,435,456 to 268,435,458 of 8 numbers: their offsets need 64 bits, and 32 bits leave the tensor."""
    x, y, first = torch.randn(3, 8), torch.zeros(3, 8), 2**28
    before = {"x": first * 8 * 4, "y": first * 8 * 4}
    with numbered_from((first, 0, 0), before):
        interpreted(double_rows)[(3,)](x, y, WIDTH=8, WIDE=True)
        assert torch.equal(y, 2 * x)
        with pytest.raises(OutOfBounds), np.errstate(all="ignore"):
            interpreted(double_rows)[(3,)](x, y, WIDTH=8, WIDE=False)
    interpreted(double_rows)[(3,)](y, x, WIDTH=8, WIDE=False)
    assert torch.equal(x, 2 * y)


@needs_triton
def test_masked_lanes_may_point_anywhere():
    x, out = torch.randn(1, 3), torch.zeros(1, 3)
    counted = trace(softmax)[(1,)](x, out, 3, BLOCK=1024)
    assert counted.events["lanes"].tolist() == [3, 3]

    @triton.jit
    def nothing(x, out, BLOCK: tl.constexpr):
        i = tl.arange(0, BLOCK)
        tl.store(out + i, tl.load(x + i + 1_000_000, mask=i < 0, other=0.0), mask=i < 0)

    counted = trace(nothing)[1](x, out, BLOCK=16)
    assert counted.issued_bytes() == counted.compulsory_bytes() == counted.l2_bytes(0, 1) == 0
    assert counted.events["masked"].tolist() == [16, 16]


@needs_triton
def test_a_failed_self_test_refuses_to_report(monkeypatch):
    class Heard(Listener):
        pass

    interpreter.self_test.cache_clear()
    real = interpreter._memory_operations
    monkeypatch.setattr(
        interpreter,
        "_memory_operations",
        lambda running: {name: wrapper for name, wrapper in real(running).items() if name != "create_atomic_rmw"},
    )
    with pytest.raises(RuntimeError, match=r"self-test failed.*No counts are reported"):
        with listening(Heard()):
            raise AssertionError("reported")
    with pytest.raises(RuntimeError, match="self-test failed"):
        trace(softmax)[(1,)](torch.randn(1, 16), torch.empty(1, 16), 16, BLOCK=16)
    monkeypatch.undo()
    trace(softmax)[(1,)](torch.randn(1, 16), torch.empty(1, 16), 16, BLOCK=16)


# Resources -----------------------------------------------------------------------------------------------------------

TYPES = {"q": "*fp16", "k": "*fp16", "v": "*fp16", "out": "*fp16", "lse": "*fp32", "scale": "fp32", "n": "i32"}


@needs_triton
@pytest.mark.seconds
def test_resources_are_the_compilers():
    blocks = {"HEAD_DIM": 64, "BLOCK_M": 64, "BLOCK_N": 64}
    found = {target: resources(flash_forward, TYPES, blocks, target) for target in ("sm_80", "sm_90", "sm_100")}
    assert found["sm_90"].shared_bytes == 64 * 64 * 2 + 2 * 2 * 64 * 64 * 2
    assert found["sm_80"].shared_bytes == 64 * 64 * 2 + 2 * 64 * 64 * 2
    assert found["sm_100"].shared_bytes >= found["sm_90"].shared_bytes
    assert found["sm_90"].limit_bytes == 232_448 and found["sm_80"].limit_bytes == 166_912
    for target, needs in found.items():
        assert needs.fits and needs.spill_bytes == 0 and 32 <= needs.registers <= 255
        assert needs.programs_per_sm >= 1 and f".target {target}" in needs.ptx
        assert "cp.async.cg" in needs.ptx  # the pointers are known to be aligned


@needs_triton
@pytest.mark.slow
def test_what_does_not_fit_says_why():
    needs = resources(flash_forward, TYPES, {"HEAD_DIM": 128, "BLOCK_M": 128, "BLOCK_N": 128}, "sm_90", 8, 4)
    assert needs.shared_bytes == 294_912
    assert not needs.fits and needs.programs_per_sm == 0
    assert "needs 294,912 bytes of shared memory, and sm_90 gives it at most 232,448" in needs.reason
    spilt = resources(flash_forward, TYPES, {"HEAD_DIM": 128, "BLOCK_M": 128, "BLOCK_N": 128}, "sm_90", 4, 3)
    assert spilt.fits and spilt.spill_bytes > 0 and f"spills {spilt.spill_bytes:,} bytes" in spilt.reason


@needs_triton
@pytest.mark.parametrize(
    "types, constants, target, said",
    [
        (TYPES, {"HEAD_DIM": 64, "BLOCK_M": 64, "BLOCK_N": 64}, "sm_70", "target is 'sm_70'; give one of sm_80"),
        (TYPES, {"HEAD_DIM": 64}, "sm_90", "nothing says what BLOCK_M, BLOCK_N of flash_forward is"),
        (TYPES | {"w": "i32"}, {}, "sm_90", "flash_forward has no argument w; it takes q, k"),
        (TYPES, {"n": 5}, "sm_90", "n is in the signature and in the constants"),
        (TYPES | {"n": "int"}, {"HEAD_DIM": 64, "BLOCK_M": 64, "BLOCK_N": 64}, "sm_90", "n: 'int' is no type"),
    ],
)
def test_resources_that_cannot_be_asked_for(types, constants, target, said):
    with pytest.raises(ValueError, match=said):
        resources(flash_forward, types, constants, target)


# Other systems -------------------------------------------------------------------------------------------------------

NO_TRITON = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "triton":
            raise ModuleNotFoundError("No module named 'triton'")

sys.meta_path.insert(0, Blocked())
"""


def python(code: str, **environment) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_without_triton_kernels_are_defined_and_recordings_read(tmp_path):
    _, stepped = machine_trace(64, 16, 32, 32, causal=False)
    stepped.save(tmp_path / "flash.npz")
    said = python(
        NO_TRITON
        + f"""
from pathlib import Path
import widgets, torch
from solutions.interpreter import available, interpreted, launch, tl, triton, why_not
from widgets.theatre import Trace, measure, resources, trace, traced

@triton.jit
def copy(x, out, n, BLOCK: tl.constexpr, kind=tl.float32):
    tl.store(out + tl.arange(0, BLOCK), tl.load(x + tl.arange(0, BLOCK)))

assert not available and "Linux only" in why_not and copy.__name__ == "copy" and triton.cdiv(7, 2) == 4
x = torch.zeros(4)
for attempt in (
    lambda: copy[(1,)](x, x, 4, BLOCK=4),
    lambda: interpreted(copy)[(1,)](x, x, 4, BLOCK=4),
    lambda: launch(copy)[(1,)](x, x, 4, BLOCK=4),
    lambda: trace(copy)[(1,)](x, x, 4, BLOCK=4),
    lambda: traced(lambda: None),
    lambda: resources(copy, {{}}, {{}}),
    lambda: tl.zeros([4]),
):
    try:
        attempt()
    except RuntimeError as error:
        assert "Linux only" in str(error), error
    else:
        raise AssertionError
measure.RECORDED = Path({str(tmp_path)!r})
out = torch.ones(4)
found = trace(copy, recorded="flash")[(1,)](x, out, 4, BLOCK=4)
assert torch.equal(out, torch.ones(4))
print(found.source, found.issued_bytes())
"""
    )
    assert said == f"recorded: tile machine {stepped.issued_bytes()}\n"


@needs_triton
@pytest.mark.slow
def test_the_interpreters_own_switch_may_be_on():
    said = python(
        """
import torch
from solutions.flash_kernels import flash_forward
from solutions.interpreter import interpreted
from widgets.theatre import resources, trace

q, k, v = torch.randn(3, 1, 64, 16)
out, lse = torch.empty_like(q), torch.empty(1, 64)
counted = trace(flash_forward)[(2, 1)](q, k, v, out, lse, 0.25, 64, HEAD_DIM=16, BLOCK_M=32, BLOCK_N=32)
assert torch.allclose(out, torch.softmax(q @ k.mT / 4, -1) @ v, atol=1e-5)
try:
    resources(flash_forward, {}, {})
except RuntimeError as error:
    print(counted.issued_bytes("k"), error)
""",
        TRITON_INTERPRET="1",
    )
    assert said.startswith(f"{2 * 64 * 16 * 4} TRITON_INTERPRET is set")
