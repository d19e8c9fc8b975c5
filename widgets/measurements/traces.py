"""Record the traces that the lessons show where Triton isn't installed.

    python -m widgets.measurements.traces

Runs the kernels of the lesson under Triton's interpreter, on the lesson's sizes, and keeps their traces in
widgets/theatre/recorded/. tests/test_first_kernels.py holds the recordings to fresh traces.
"""

import torch

from solutions.first_kernels import copy_rows, row_log_sums, row_sums, score_tile
from solutions.flash_kernels import causal_flash_forward, flash_forward
from solutions.interpreter import tl, triton
from widgets.theatre import Trace, keep, trace

TOKENS, HEAD_DIM, BLOCK = 1024, 64, 64


@triton.jit
def double(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    tl.store(y + at, 2 * tl.load(x + at, mask=inside, other=0.0), mask=inside)


def lesson_traces() -> dict[str, Trace]:
    """Each trace that the lesson names with `recorded=`, made now."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, TOKENS, HEAD_DIM, generator=generator).half().unbind(0)
    out, lse = torch.zeros_like(q), torch.zeros(1, TOKENS)
    grid, sizes = (TOKENS // BLOCK, 1), {"HEAD_DIM": HEAD_DIM, "BLOCK_M": BLOCK, "BLOCK_N": BLOCK}
    made = {"double": trace(double)[(4,)](torch.arange(120.0), torch.zeros(120), 120, BLOCK=32)}
    rows = torch.zeros(100, 16)
    made["copy_rows"] = trace(copy_rows)[(4,)](rows, rows.clone(), 100, WIDTH=16, BLOCK=32)
    made["row_sums"] = trace(row_sums)[(4,)](torch.zeros(50, 20), torch.zeros(50), 50, 20, BLOCK=16, COLUMNS=32)
    few, scores = torch.randn(2, 64, 16, generator=generator).half(), torch.zeros(64, 64)
    made["score_tile"] = trace(score_tile)[(4, 4)](*few, scores, 64, 0.25, HEAD_DIM=16, BLOCK_M=16, BLOCK_N=16)
    made["row_log_sums"] = trace(row_log_sums)[(4,)](scores, torch.zeros(64), 64, 64, BLOCK_M=16, BLOCK_N=16)
    for kernel in (flash_forward, causal_flash_forward):
        made[kernel.__name__] = trace(kernel)[grid](q, k, v, out, lse, HEAD_DIM**-0.5, TOKENS, **sizes)
    q, k, v = torch.randn(3, 1, 64, 16, generator=generator).half().unbind(0)
    out, lse, sizes = torch.zeros_like(q), torch.zeros(1, 64), {"HEAD_DIM": 16, "BLOCK_M": 16, "BLOCK_N": 16}
    made["flash_forward_of_64"] = trace(flash_forward)[(4, 1)](q, k, v, out, lse, 0.25, 64, **sizes)
    return made


if __name__ == "__main__":
    for name, made in lesson_traces().items():
        path = keep(name, made)
        print(f"{path.name}: {made.issued_bytes():,} bytes issued, {path.stat().st_size:,} bytes on disk")
