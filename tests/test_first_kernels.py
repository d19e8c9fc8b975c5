"""The kernels on the way to flash attention: right against torch, and the bytes that their closed forms say."""

import math

import numpy as np
import pytest
import torch
from compiled import compiled

from solutions import flash, interpreter
from solutions.checks import first_kernels as exercises
from solutions.checks.kernels import changed, within_budget
from solutions.first_kernels import copy_rows, rescale, row_log_sums, row_sums, score_tile
from solutions.flash_kernels import causal_flash_forward, flash_forward
from solutions.interpreter import tl, triton
from widgets.measurements.traces import lesson_traces
from widgets.theatre import trace
from widgets.theatre.measure import RECORDED, recording

pytestmark = pytest.mark.skipif(not interpreter.available, reason=interpreter.why_not)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def blank(*shape: int) -> torch.Tensor:
    return torch.full(shape, math.nan)


def test_a_copy_moves_what_is_inside():
    x, y = torch.randn(100, 16), blank(100, 16)
    moved = trace(copy_rows)[(4,)](x, y, 100, WIDTH=16, BLOCK=32)
    assert torch.equal(x, y) and moved.issued_bytes() == 2 * 100 * 16 * 4 == 12_800
    assert [moved.issued_bytes(program=i) for i in range(4)] == [4_096, 4_096, 4_096, 512]


def test_sums_move_their_rows_and_a_number_each():
    x, out = torch.randn(50, 20), blank(50)
    moved = trace(row_sums)[(4,)](x, out, 50, 20, BLOCK=16, COLUMNS=32)
    assert torch.allclose(out, x.sum(1), atol=1e-5) and moved.issued_bytes() == 4 * 50 * 20 + 4 * 50 == 4_200


@triton.jit
def log_sums_by_rescale(s, lse, n, width, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    m, ell = tl.full([BLOCK_M], -1e30, tl.float32), tl.zeros([BLOCK_M], tl.float32)
    for start in range(0, width, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        inside = (rows[:, None] < n) & (columns < width)
        piece = tl.load(s + rows[:, None] * width + columns, mask=inside, other=-1e30)
        m, ell, _alpha, _p = rescale(m, ell, piece)
    tl.store(lse + rows, m + tl.log(ell), mask=rows < n)


def three_rungs(n, d, block, heads=1):
    """Bytes of the scores, of their log-sums and of flash attention, a head each; all three are right."""
    q, k, v = torch.randn(3, heads, n, d).half().unbind(0)
    scores = q.double() @ k.double().mT * d**-0.5
    s, lse, both, blocks = blank(n, n), blank(n), blank(heads, n), triton.cdiv(n, block)
    tiles = {"HEAD_DIM": d, "BLOCK_M": block, "BLOCK_N": block}
    third = trace(score_tile)[(blocks, blocks)](q[0], k[0], s, n, d**-0.5, **tiles)
    fourth = trace(row_log_sums)[(blocks,)](s, lse, n, n, BLOCK_M=block, BLOCK_N=block)
    out = torch.full_like(q, math.nan)
    fifth = trace(flash_forward)[(blocks, heads)](q, k, v, out, both, d**-0.5, n, **tiles)
    assert (s - scores[0]).abs().max() < 1e-4 and (lse - scores[0].logsumexp(-1)).abs().max() < 1e-4
    assert (out - scores.softmax(-1) @ v.double()).abs().max() < 2e-3
    assert (both - scores.logsumexp(-1)).abs().max() < 1e-4
    return third, fourth, fifth


@pytest.mark.parametrize(
    "n, d, block, counted",
    [
        pytest.param(1024, 64, 64, (8_388_608, 4_198_400, 4_460_544), marks=pytest.mark.slow),
        (64, 16, 16, (32_768, 16_640, 20_736)),
        (100, 16, 32, None),
    ],
)
@pytest.mark.seconds
def test_three_rungs_move_their_closed_forms(n, d, block, counted):
    moved = [each.issued_bytes() for each in three_rungs(n, d, block)]
    blocks = triton.cdiv(n, block)
    forms = [2 * n * d * 2 * blocks + 4 * n * n, 4 * n * n + 4 * n, 4 * n * d + 4 * n * d * blocks + 4 * n]
    assert moved == forms and forms[2] == flash.flash_issued_bytes(n, d, block, block)
    assert counted is None or moved == [*counted]


@pytest.mark.slow
def test_what_the_causal_one_skips():
    n, d, block = 1024, 64, 64
    q, k, v = torch.randn(3, 1, n, d).half().unbind(0)
    out, lse = torch.zeros_like(q), torch.zeros(1, n)
    tiles = {"HEAD_DIM": d, "BLOCK_M": block, "BLOCK_N": block}
    moved = trace(causal_flash_forward)[(16, 1)](q, k, v, out, lse, d**-0.5, n, **tiles)
    assert moved.issued_bytes() == 2_494_464
    assert moved.issued_bytes("k") / (2 * n * d * 16) == 136 / 256


def test_the_step_cut_out_of_the_loop_moves_the_same():
    s, one, other = 3 * torch.randn(20, 37), blank(20), blank(20)
    by_hand = trace(row_log_sums)[(2,)](s, one, 20, 37, BLOCK_M=16, BLOCK_N=8)
    called = trace(log_sums_by_rescale)[(2,)](s, other, 20, 37, BLOCK_M=16, BLOCK_N=8)
    assert torch.equal(one, other) and by_hand.issued_bytes() == called.issued_bytes() == 4 * 20 * 37 + 4 * 20


TYPES = {name: "*fp32" for name in ("x", "y", "s", "out", "lse")} | {"q": "*fp16", "k": "*fp16"}
TYPES |= {"n": "i32", "width": "i32", "scale": "fp32"}
COMPILED = [
    (copy_rows, {"WIDTH": 16, "BLOCK": 32}),
    (row_sums, {"BLOCK": 16, "COLUMNS": 32}),
    (score_tile, {"HEAD_DIM": 64, "BLOCK_M": 64, "BLOCK_N": 64}),
    (row_log_sums, {"BLOCK_M": 64, "BLOCK_N": 64}),
    (log_sums_by_rescale, {"BLOCK_M": 64, "BLOCK_N": 64}),
]


@pytest.mark.parametrize("kernel, blocks", COMPILED, ids=[kernel.__name__ for kernel, _ in COMPILED])
@pytest.mark.slow
def test_a_gpu_would_take_them(kernel, blocks):
    signature = {name: TYPES[name] for name in kernel.arg_names if name in TYPES}
    built = compiled(kernel, signature, blocks)
    assert built.fits and built.spill_bytes == 0


# Their exercises ---------------------------------------------------------------------------------------------------

TOLD = {
    "a part left as it was": (
        (copy_rows, "rows[:, None] * WIDTH", "rows[:, None]"),
        exercises.COPY,
        "program 0 leaves row 1, column 6, of y as it was; rows 0 to 3 of y are its part",
    ),
    "a program that stores nothing": (
        (copy_rows, "rows[:, None] < n", "rows[:, None] < n // BLOCK * BLOCK"),
        exercises.COPY,
        "program 1 stores nothing to y; rows 4 to 6 of y are its part",
    ),
    "an address past the end": (
        (row_sums, "(rows[:, None] < n) & (columns < width)", "rows[:, None] < n"),
        exercises.SUMS,
        "a load of x at byte offset 128 (element 32); x is (6, 5) and spans bytes 0 to 120",
    ),
    "a tile of the scores": (
        (score_tile, "(rows[:, None] < n) & (keys < n)", "(rows[:, None] < 16) & (keys < n)"),
        exercises.SCORES,
        "program (1, 0) stores nothing to s; rows 16 to 19, columns 0 to 19 of s are its part",
    ),
    "an input that is written to": (
        (row_log_sums, "tl.store(lse + rows,", "tl.store(s + rows,"),
        exercises.LOG_SUMS,
        "your kernel writes to s; store to lse only",
    ),
}


@pytest.mark.parametrize("pieces, exercise, words", TOLD.values(), ids=list(TOLD))
def test_what_a_small_kernel_does_to_its_memory_is_told(pieces, exercise, words):
    assert words in exercise.verdict(changed(*pieces)).message


def test_a_kernels_own_function_is_one_for_triton():
    assert "Put @triton.jit above its def" in exercises.RESCALE.verdict(rescale.fn).message


def test_bytes_beyond_the_budget_are_told():
    """A right sum that loads each row twice."""
    twice = changed(row_sums, "    tl.store(", "    tl.load(x + rows, mask=rows < n, other=0.0)\n    tl.store(")
    verdict = exercises.SUMS.verdict(twice)
    assert "your kernel issues 352 bytes, where 308 suffice" in verdict.message
    assert within_budget(lambda kernel: 1, lambda: 0)(None) == 1


@pytest.mark.seconds
def test_what_is_recorded_is_what_the_kernels_do_now():
    fresh = lesson_traces()
    assert {path.stem for path in RECORDED.glob("*.npz")} == set(fresh)
    for name, made in fresh.items():
        kept = recording(name)
        for part in ("programs", "events", "runs"):
            assert np.array_equal(getattr(kept, part), getattr(made, part)), (name, part)
        assert (kept.tensors, kept.live) == (made.tensors, made.live), name
        assert [each["lines"] for each in kept.kernels] == [each["lines"] for each in made.kernels], name
