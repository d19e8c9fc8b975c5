"""Drawings of the lesson flash_attention."""

import math

import torch

from solutions import flash, flash_kernels, serving
from widgets.drawings import drawing
from widgets.drawings.canvas import SMALL, Canvas
from widgets.kit.format import count, fixed

TOKENS, HEAD_DIM, BLOCK = 16_384, 128, 128
EXPONENTIALS = 3.9e12  # a second on an H100: FlashAttention-3, arXiv 2407.08608, section 3.1


def three() -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Bytes by tensor of one head: standard attention with each operand read once, flash attention, each byte once."""
    standard = flash.standard_bytes(TOKENS, TOKENS, HEAD_DIM, TOKENS, TOKENS)
    issued = flash.forward_bytes(TOKENS, TOKENS, HEAD_DIM, BLOCK, BLOCK)
    return standard, issued, flash.forward_bytes(TOKENS, TOKENS, HEAD_DIM, TOKENS, TOKENS)


def microseconds() -> tuple[float, float, float]:
    """Of an H100, by its rates: memory of standard attention, arithmetic of either, memory with each byte once."""
    standard, _, once = three()
    arithmetic = flash.forward_flops(TOKENS, TOKENS, HEAD_DIM) / serving.H100_FLOPS + TOKENS**2 / EXPONENTIALS
    memory = [1e6 * sum(each.values()) / serving.H100_BYTES_PER_SECOND for each in (standard, once)]
    return memory[0], 1e6 * arithmetic, memory[1]


@drawing
def three_counts(page: Canvas) -> str:
    standard, issued, once = three()
    counted = [sum(each.values()) for each in (standard, issued, once)]
    said = [fixed(each / 1e6, 0) for each in counted]
    top = page.title(
        "Three counts of the same attention",
        f"One head of {HEAD_DIM} numbers, {count(TOKENS)} tokens, half precision. Areas are bytes.",
    )
    side = page.choose(172, 150)
    sides = [side * math.sqrt(each / counted[0]) for each in counted]
    lefts = page.choose((0, 258, 468), (0, 176, 306))
    floor = top + 8 + side

    # scores and weights, each written and read; below them, as thin as they are, q, k, v and out
    x, y, full = lefts[0], floor - side, sides[0]
    high = full * (standard["scores"] + standard["weights"]) / counted[0]
    for place, name in enumerate(("S written", "S read", "P written", "P read")):
        at = x + full / 2 * (place % 2), y + high / 2 * (place // 2)
        page.rect(*at, full / 2, high / 2, "s", opacity=0.26 if place % 3 else 0.16)
        page.text(at[0] + full / 4, at[1] + high / 4 + 5, name, SMALL, anchor="middle")
    for place, tensor in enumerate("qkvo"):
        page.rect(x + full / 4 * place, y + high, full / 4, full - high, tensor)

    x, full = lefts[1], sides[1]
    y, left = floor - full, 0.0
    for tensor in ("k", "v"):
        wide = full * issued[tensor] / counted[1]
        page.rect(x + left, y, wide, full, tensor, opacity=0.26)
        page.text(x + left + wide / 2, y + full / 2 - 4, tensor.upper(), anchor="middle", bold=True)
        often = f"{issued[tensor] // once[tensor]} ×"
        page.text(x + left + wide / 2, y + full / 2 + 14, often, SMALL, anchor="middle")
        left += wide
    page.rect(x + left, y, full - left, full, "q")

    x, full = lefts[2], sides[2]
    for place, tensor in enumerate("qkvo"):
        page.rect(x + full / 2 * (place % 2), floor - full + full / 2 * (place // 2), full / 2, full / 2, tensor)

    names = ("standard attention", "flash attention asks for", "each byte once")
    widths = page.choose((250, 200, 190), (160, 116, 60))
    for x, number, name, width in zip(lefts, said, names, widths, strict=True):
        page.big(x, floor + page.choose(52, 44), number, page.choose("MB", ""))
        page.paragraph(x, floor + page.choose(74, 66), page.choose("", "MB, ") + name, width, SMALL, "ink")

    times = microseconds()
    y = page.height + 30
    page.text(0, y, "Predicted for an H100", bold=True)
    label, most = page.choose(232, 0), page.choose(400, 290)
    rows = (
        ("memory of standard attention", "s"),
        ("arithmetic of either", "ink-2"),
        ("memory, each byte once", "mark"),
    )
    for (name, colour), took in zip(rows, times, strict=True):
        y += 22
        page.text(0, y, name, SMALL, "ink-2")
        y += page.choose(0, 20)
        page.rect(label, y - 11, most * took / times[0], 12, colour)
        page.text(label + most * took / times[0] + 8, y, f"{took:.0f} µs", SMALL, bold=True)
    source = "By its rates, not measured: FlashAttention-3, arXiv 2407.08608, section 3.1 and table 1."
    page.paragraph(0, y + 26, source, page.width, SMALL)
    return (
        f"Three squares whose areas are bytes, for one head of {HEAD_DIM} numbers and {count(TOKENS)} tokens. "
        f"Standard attention moves {said[0]} MB, nearly all of it scores and weights, each written and read. Flash "
        f"attention asks for {said[1]} MB, half as much: keys and values {issued['k'] // once['k']} times each. Each "
        f"byte once would be {said[2]} MB, a small square. Predicted for an H100: {times[0]:.0f} µs of memory for "
        f"standard attention, {times[1]:.0f} of arithmetic for either, {times[2]:.0f} of memory if each byte moves "
        "once."
    )


# One H100: FlashAttention-3, arXiv 2407.08608, table 1
HBM, L2, SHARED, REGISTERS = serving.H100_BYTES, 50 * 2**20, 228 * 1024, 256 * 1024
WARP = 32  # threads


@drawing
def memories_to_scale(page: Canvas) -> str:
    processors = flash_kernels.multiprocessors(torch.device("cpu"))
    blocks = flash_kernels.FORWARD["sm_90"][2][HEAD_DIM]
    tile = 2 * blocks.block_n * HEAD_DIM
    top = page.title(
        page.choose("Four memories of an H100, to scale", "Memories of an H100, to scale"),
        "Areas are bytes. The dark square in each picture is the whole of the next.",
    )
    side, gap = page.choose(200, 98), page.choose(60, 33)
    lefts = [place * (side + gap) for place in range(3)]
    y, processor = top + 8, SHARED + REGISTERS
    inner = [side * math.sqrt(L2 / HBM), side * math.sqrt(processor / L2)]
    for x in lefts[:2]:
        page.rect(x, y, side, side, "m", opacity=0.2)
    page.rect(lefts[2], y, side, side * REGISTERS / processor, "ink-2", opacity=0.2)
    page.rect(lefts[2], y + side * REGISTERS / processor, side, side * SHARED / processor, "m", opacity=0.2)
    for x, small in zip(lefts[:2], inner, strict=True):
        at = x + side * 0.8, y + side / 2 - small / 2
        for end, corner in ((y, at[1]), (y + side, at[1] + small)):
            page.line([(at[0] + small, corner), (x + side + gap, end)], "line")
        page.rect(*at, small, small, "ink")
    small = side * math.sqrt(tile / processor)
    page.rect(lefts[2] + side * 0.06, y + side * 0.96 - small, small, small, "k")
    if not page.narrow:
        page.text(lefts[2] + 12, y + 24, "registers", SMALL)
        page.text(lefts[2] + 12, y + side * REGISTERS / processor + 22, "shared memory (SRAM)", SMALL)
        page.text(lefts[2] + side * 0.06 + small + 8, y + side * 0.96 - small / 2 + 5, "a tile of K", SMALL)
    told = (
        (f"{HBM / 1e9:.0f} GB", "HBM: all tensors", f"{serving.H100_BYTES_PER_SECOND / 1e12:g} TB a second"),
        (f"{L2 // 2**20} MiB", "L2: a cache for all", f"{HBM / L2:,.0f} times smaller"),
        (f"{SHARED // 1024} KiB", f"SRAM of 1 of {processors} SMs", f"and {REGISTERS // 1024} KiB of registers"),
    )
    for x, (number, name, more) in zip(lefts, told, strict=True):
        page.text(x, y + side + page.choose(38, 28), number, page.choose(28, 22), bold=True)
        room = min(side + gap - 8, page.width - x)
        below = page.paragraph(x, y + side + page.choose(62, 50), name, room, SMALL, "ink")
        page.paragraph(x, below, more, room, SMALL)

    y = page.height + 40
    page.text(0, y, "Who works there", bold=True)
    cell, across, tall, one, most = 8, 12, 86, 13, 255
    columns, rows = page.choose((0, 186, 372, 558), (0, 186, 0, 186)), page.choose((20,) * 4, (20, 20, 196, 196))
    grids: tuple[tuple[list[tuple[float, float, float, float]], str], ...] = (
        ([(cell * (i % across), cell * (i // across), 6, 6) for i in range(processors)], "m"),
        ([(6, 6 + 9.25 * i + 1, 98, 7.25) for i in range(blocks.num_warps)], "s"),
        ([(14 * (i % 8), 22 * (i // 8), 11, 18) for i in range(WARP)], "s"),
        ([(6.4 * (i % 17), 5.7 * (i // 17), 4.8, 4.1) for i in range(most)], "ink-2"),
    )
    for x, down, (cells, colour), marked in zip(columns, rows, grids, (one, 2, 10, None), strict=True):
        moved = [(x + left, y + down + up, w, h) for left, up, w, h in cells]
        if marked is not None:
            page.cells([moved.pop(marked)], "ink")
        page.cells(moved, colour, 0.5)
    page.rect(columns[1], y + rows[1], 110, tall, line="ink-2")
    names = ("SM", "program", "warp", "thread")
    notes = (
        f"{processors} on the chip, each with its SRAM",
        f"{blocks.block_m} queries, the SRAM of its SM, {blocks.num_warps} warps",
        f"{WARP} threads that do the same at once",
        f"{most} registers at most, 4 bytes each",
    )
    for x, down, name, note in zip(columns, rows, names, notes, strict=True):
        page.text(x, y + down + tall + 24, name, bold=True)
        page.paragraph(x, y + down + tall + 43, note, 162, SMALL)
    return (
        f"The memories of an H100 drawn to scale, areas as bytes. In a square for {HBM / 1e9:.0f} GB of HBM the "
        f"{L2 // 2**20} MiB of L2 are a dot; in a square for L2 one processor's {REGISTERS // 1024} KiB of "
        f"registers and {SHARED // 1024} KiB of shared memory are a small square; in that, a tile of "
        f"{blocks.block_n} keys is a corner. Below: {processors} processors (SMs), on each a program with the shared "
        f"memory to itself, made of {blocks.num_warps} warps of {WARP} threads, each with up to {most} registers."
    )
