"""Runs of attention for the Theatre: a flash one, and the standard one that stores its scores, on the same inputs."""

import torch

from solutions import flash, interpreter
from widgets.theatre.measure import Trace, trace, traced

ORDERS = ("Q outer", "KV outer")


def attention_traces(
    n: int = 512,
    head_dim: int = 64,
    block_m: int = 64,
    block_n: int = 64,
    causal: bool = True,
    window: int | None = None,
    order: str = "Q outer",
    seed: int = 0,
) -> tuple[Trace, Trace]:
    """The traces of flash and of standard attention, one head in float16, n queries and n keys of head_dim.

    order: "Q outer" as in FlashAttention-2, "KV outer" as in FlashAttention-1, which is run on the tile machine.
    The kernels of solutions/flash_kernels.py where Triton is, the tile machine of solutions/flash elsewhere; the
    traces' `source` says which. Standard attention makes every score, also those that a mask hides.
    Raises ValueError for another order, a window that is not causal, and a window on the tile machine.
    """
    if order not in ORDERS:
        raise ValueError(f"order is {order!r}; give one of {', '.join(ORDERS)}.")
    if window is not None and not causal:
        raise ValueError(f"window is {window} but causal is False; the window looks back only: give causal=True.")
    on_machine = order == "KV outer" or not interpreter.available
    if window is not None and on_machine:
        raise ValueError(f"window is {window}, which the tile machine has no loop for; give window=None.")
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(n, head_dim, generator=generator).half() for _ in range(3))
    blocks = {"block_m": block_m, "block_n": block_n}
    if not on_machine:
        first = kernel_trace(q, k, v, causal, window, **blocks)
    else:
        loop = flash.flash1_attention if order == "KV outer" else flash.tiled_attention
        first = machine_trace(loop, q, k, v, causal=causal, **blocks)
    if not interpreter.available:
        return first, machine_trace(flash.standard_attention, q, k, v, causal=causal, **blocks)
    from solutions.flash_kernels import standard_attention_kernels

    _, second = traced(standard_attention_kernels, *(x[None, None] for x in (q, k, v)), causal, **blocks)
    return first, second


def kernel_trace(q, k, v, causal: bool, window: int | None, block_m: int, block_n: int) -> Trace:
    """The trace of the shortest Triton kernel that does what is asked."""
    from solutions import flash_kernels

    q, k, v = (x[None] for x in (q, k, v))
    if window is not None:
        blocks = flash_kernels.Blocks(block_m, block_n)
        given = (x[None] for x in (q, k, v))
        return traced(flash_kernels.attention_forward, *given, q.shape[-1] ** -0.5, causal, window, 0, blocks)[1]
    kernel = flash_kernels.causal_flash_forward if causal else flash_kernels.flash_forward
    heads, n, head_dim = q.shape
    out, lse = torch.empty_like(q), torch.empty(heads, n)
    grid = (interpreter.triton.cdiv(n, block_m), heads)
    meta = {"HEAD_DIM": head_dim, "BLOCK_M": block_m, "BLOCK_N": block_n}
    return trace(kernel)[grid](q, k, v, out, lse, head_dim**-0.5, n, **meta)


def machine_trace(loop, q, k, v, **settings) -> Trace:
    """The trace of a loop on a tile machine of any size; the Theatre draws the limit."""
    machine = flash.TileMachine()
    loop(machine, q, k, v, **settings)
    return Trace.of_machine(machine)
