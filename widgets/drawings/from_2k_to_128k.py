"""Drawings of the lesson from_2k_to_128k."""

import math
from bisect import bisect_left

import torch

from solutions import serving
from widgets.drawings import drawing
from widgets.drawings.canvas import SMALL, Canvas
from widgets.kit.format import count, fixed

TOKENS, MODEL, RANKS = 131_072, "Llama-3.1-8B", 8
WAYS = {
    "every score kept": ("scores", 1),
    "flash attention": ("flash", 1),
    "and checkpoints": ("checkpoints", 1),
    f"and cut over {RANKS} devices": ("checkpoints", RANKS),
}


def kept() -> dict[str, int]:
    """Bytes of activations that are kept for the backward pass of one text, by the way they are kept."""
    model = serving.MODELS[MODEL]
    return {name: serving.activation_bytes(model, TOKENS, how, ranks=ranks) for name, (how, ranks) in WAYS.items()}


def told(nbytes: float) -> str:
    """Bytes in GB or TB."""
    if nbytes >= 1e12:
        return f"{fixed(nbytes / 1e12, 1)} TB"
    return f"{nbytes / 1e9:.0f} GB" if nbytes >= 1e11 else f"{fixed(nbytes / 1e9, 1)} GB"


@drawing
def training_memory(page: Canvas) -> str:
    sizes = kept()
    values = list(sizes.values())
    top = page.title(
        page.choose("What one text of 128K leaves in memory", "What one text of 128K leaves"),
        f"Activations kept for the backward pass, 8 B model, {count(TOKENS)} tokens. Log scale.",
    )
    low, high = 1e9, 1e14
    left = page.choose(208, 0)
    wide = page.width - left - page.choose(96, 96)

    def place(nbytes: float) -> float:
        return left + wide * math.log(nbytes / low) / math.log(high / low)

    y, step, thick = top + 18, page.choose(56, 66), 22
    bottom = y + step * len(sizes) - page.choose(22, 14)
    for power in range(9, 15):
        x = place(10.0**power)
        page.line([(x, y - 6), (x, bottom + 6)], "line")
        words = ("1 GB", "10", "100", "1 TB", "10", "100")[power - 9]
        page.text(x, bottom + 24, words, SMALL, "ink-2", "start" if power == 9 and page.narrow else "middle")
    device = place(serving.H100_BYTES)
    page.line([(device, y - 10), (device, bottom + 6)], "ink", 1.5, dash="4 3")
    before = None
    for row, (name, nbytes) in enumerate(sizes.items()):
        at = y + step * row + page.choose(0, 22)
        over = nbytes > serving.H100_BYTES
        page.rect(left, at, place(nbytes) - left, thick, "bad" if over else "good", opacity=0.75)
        side = page.choose("end", "start")
        page.text(page.choose(left - 14, 0), at + page.choose(16, -7), name, anchor=side, halo=True)
        page.text(place(nbytes) + 10, at + 17, told(nbytes), page.choose(20, 17), bold=True, halo=True)
        if before is not None:
            less = f"{before / nbytes:.0f} times less"
            side = page.choose("start", "end")
            page.text(page.choose(left + 8, page.width), at - page.choose(12, 7), less, SMALL, "ink-2", side, halo=True)
        before = nbytes
    page.text(device, bottom + 46, f"{serving.H100_BYTES / 1e9:.0f} GB, one H100", SMALL, "ink", "middle", bold=True)
    listed = "; ".join(f"{name}: {told(nbytes)}" for name, nbytes in sizes.items())
    return (
        "Four bars on a logarithmic axis: what the backward pass of an 8 B model keeps of one text of "
        f"{count(TOKENS)} tokens. {listed}. One H100 has {serving.H100_BYTES / 1e9:.0f} GB: the first two "
        f"are above it, by {values[0] / serving.H100_BYTES:,.0f} and {values[1] / serving.H100_BYTES:.0f} times."
    )


TRAINED, AXIS = 2_048, (1_024, 2**20)


def first(breaks) -> int:
    """The first length at which something breaks that stays broken from there on."""
    return bisect_left(range(2**21), True, lo=1, key=breaks)


def breaking() -> dict[str, int]:
    """The first length that is too much for an 8 B model on one H100, by what is too much then."""
    model, room = serving.MODELS[MODEL], serving.H100_BYTES
    return {
        "positions, trained on 2,048": TRAINED + 1,
        "training, every score kept": first(lambda n: serving.activation_bytes(model, n, "scores") > room),
        "training, flash attention": first(lambda n: serving.activation_bytes(model, n, "flash") > room),
        "attention is half of training": first(lambda n: serving.attention_flops_share(model, n) > 0.5),
        "training, checkpoints too": first(lambda n: serving.activation_bytes(model, n, "checkpoints") > room),
        "serving, cache of one text": first(lambda n: not serving.requests_that_fit(model, n, devices=1)),
    }


@drawing
def what_breaks_when(page: Canvas) -> str:
    lengths = breaking()
    top = page.title(
        page.choose("What breaks, in the order of the length", "What breaks, in order"),
        "An 8 B model on one H100, one text. From how many tokens on each is too much. Log scale.",
    )
    left = page.choose(226, 0)
    wide = page.width - left - 12
    low, high = AXIS

    def place(tokens: int) -> float:
        return left + wide * math.log(tokens / low) / math.log(high / low)

    y, step = top + 16, page.choose(38, 62)
    bottom = y + step * len(lengths)
    for power in range(10, 21, 2):
        x = place(2**power)
        page.line([(x, y - 6), (x, bottom)], "line")
        side = {10: page.choose("middle", "start"), 20: "end"}.get(power, "middle")
        page.text(x, bottom + 20, "1 M" if power == 20 else f"{2 ** (power - 10)} K", SMALL, "ink-2", side)
    wanted = place(TOKENS)
    page.line([(wanted, y - 6), (wanted, bottom)], "ink", 1.5, dash="4 3")
    for row, (name, tokens) in enumerate(lengths.items()):
        at = y + step * row + page.choose(12, 42)
        breaks = tokens <= TOKENS
        x = place(tokens)
        page.line([(left, at), (x, at)], "good", 3)
        page.line([(x, at), (left + wide, at)], "bad", 9 if breaks else 3)
        page.line([(x, at - 9), (x, at + 9)], "ink", 2)
        side = page.choose("end", "start")
        page.text(page.choose(left - 14, 0), at + page.choose(5, -27), name, anchor=side, halo=True)
        side = "end" if x > page.width - 90 else "start"
        page.text(x + (-7 if side == "end" else 7), at - page.choose(9, 8), count(tokens), SMALL + 1, bold=True,
                  anchor=side, halo=True)  # fmt: skip
    page.text(wanted, bottom + 40, "128K, asked for", SMALL, "ink", "middle", bold=True)
    listed = "; ".join(f"{name}: {count(tokens)}" for name, tokens in lengths.items())
    return (
        "Six rows on a logarithmic axis of lengths from 1K to 1 M: from how many tokens of one text on something is "
        f"too much for an 8 B model on one H100. {listed}. The first four lie below the 128K that are asked for."
    )


AROUND, POWERS = range(252, 266), 17  # the positions that are drawn one by one; 131,072 is 2 to the 17th
DTYPES = {torch.bfloat16: "bad", torch.float16: "k", torch.float32: "good"}


def stored(place: int, dtype: torch.dtype) -> int:
    """What a position becomes in a dtype."""
    return int(torch.tensor(place).to(dtype))


def steps(dtype: torch.dtype) -> list[int]:
    """How far apart the positions of a dtype are, from each power of two on; ends where it has no numbers."""
    found = []
    for power in range(POWERS):
        first = torch.tensor(2.0**power, dtype=dtype)
        if not math.isfinite(float(first)):
            break
        after = torch.nextafter(first, torch.tensor(math.inf, dtype=dtype))
        found.append(max(1, int(float(after) - float(first))))
    return found


@drawing
def rounded_positions(page: Canvas) -> str:
    around = page.choose(AROUND, AROUND[2:11])
    y = page.title(
        page.choose("Which positions does bfloat16 tell apart?", "The positions of bfloat16"),
        "Above, tokens and their positions. Below, the positions that bfloat16 has.",
    )
    step, high = page.width / len(around), page.choose(32, 30)
    y += 10
    below = y + high + 42
    has = {stored(place, torch.bfloat16) for place in around}
    for column, place in enumerate(around):
        x, there = step * column, place in has
        page.rect(x + 1, y, step - 2, high, "panel", line="line")
        page.text(x + step / 2, y + high / 2 + 5, str(place), SMALL, anchor="middle")
        if there:
            page.rect(x + 1, below, step - 2, high, "good", opacity=0.2)
            page.text(x + step / 2, below + high / 2 + 5, str(place), SMALL, anchor="middle", bold=True)
        else:
            page.rect(x + 1, below, step - 2, high, line="line", dash="3 2")
        to = step * (stored(place, torch.bfloat16) - around[0] + 0.5)
        colour, apart = ("ink-2", 0) if there else ("bad", 7 if to < x else -7)
        page.arrow([(x + step / 2, y + high + 3), (to + apart, below - 3)], colour, 1.5)
    found = {dtype: steps(dtype) for dtype in DTYPES}
    y = below + high + 36
    page.text(0, y, "The step to the next position, by type", bold=True)
    left, level, wide = 36, 10, page.choose(474, 318)
    bottom = y + 18 + level * 9

    def at(power: float, apart: int) -> tuple[float, float]:
        return left + power / POWERS * wide, bottom - level * math.log2(apart)

    for apart in (1, 8, 64, 512):
        page.line([at(0, apart), at(POWERS, apart)], "line")
        page.text(left - 8, at(0, apart)[1] + 4, str(apart), SMALL, "ink-2", "end")
    for power, name in {0: "position 1", 8: "256", 11: "2K", POWERS: "128K"}.items():
        page.line([at(power, 1), at(power, 512)], "line")
        side = {0: "start", POWERS: "end"}.get(power, "middle")
        page.text(at(power, 1)[0], bottom + 19, name, SMALL, "ink-2", side)
    largest = count(int(torch.finfo(torch.float16).max))
    for row, (dtype, colour) in enumerate(DTYPES.items()):
        made = found[dtype]
        points = [at(power + side, apart) for power, apart in enumerate(made) for side in (0, 1)]
        page.line(points, colour, 2.5)
        x, y = points[-1]
        said = f"up to {made[-1]}" if made[-1] > 1 else "always 1"
        if len(made) < POWERS:
            page.line([(x - 5, y - 5), (x + 5, y + 5)], colour, 2)
            page.line([(x - 5, y + 5), (x + 5, y - 5)], colour, 2)
            said += f", ends at {largest}"
        name = f"{str(dtype).removeprefix('torch.')}: {said}"
        x, y = page.choose((left + wide + 14, y + 5), (left + 14, bottom + 46 + 20 * row))
        if page.narrow:
            page.line([(left - 8, y - 4), (left + 8, y - 4)], colour, 2.5)
        for part in page.choose(name.replace(", ", ",|").split("|"), [name]):
            page.text(x, y, part, SMALL, colour, bold=True)
            y += 17
    shared = " and ".join(str(place) for place in around if stored(place, torch.bfloat16) == 256)
    return (
        f"Positions from {AROUND[0]} to {AROUND[-1]}, with arrows to those that bfloat16 has: up to 256 each has its "
        f"own, above it only the even ones, so that {shared} become one. Below, the step to the next position by type, "
        f"up to 128K: bfloat16 doubles its step from 256 on, to {found[torch.bfloat16][-1]}; float16 from 2K on, to "
        f"{found[torch.float16][-1]}, and ends at {largest}; float32 keeps every position."
    )


ASKED, RATE = 10, 0.9  # needles of a cell; the true rate that may lie behind it


def cells() -> list[tuple[int, float, float, float]]:
    """For each number found of ten: the interval, and how often a true rate of 0.9 finds just so many."""
    found = []
    for right in range(ASKED, -1, -1):
        often = math.comb(ASKED, right) * RATE**right * (1 - RATE) ** (ASKED - right)
        found.append((right, *serving.needle_interval(right, ASKED), often))
    return found


@drawing
def ten_needles(page: Canvas) -> str:
    rows = cells()
    top = page.title(
        page.choose("What do ten needles leave open?", "What ten needles leave open"),
        f"For each number found of {ASKED}: Wilson's interval of 95 %, thick where it holds {RATE}. On the right, how "
        f"often a true rate of {RATE} shows that number.",
    )
    left, right = page.choose(96, 58), page.choose(122, 62)
    wide, step = page.width - left - right, page.choose(24, 22)
    y = top + 32

    def place(rate: float) -> float:
        return left + wide * rate

    bottom = y + step * len(rows) - step / 2 + 4
    for rate in (0, 0.25, 0.5, 0.75, 1):
        page.line([(place(rate), y - 14), (place(rate), bottom)], "line")
        page.text(place(rate), bottom + 18, f"{rate:g}", SMALL, "ink-2", "middle")
    page.line([(place(RATE), y - 14), (place(RATE), bottom)], "ink", 1.5, "4 3")
    page.text(place(RATE), y - 20, str(RATE), SMALL, anchor="middle", bold=True)
    page.text(left - 14, y - 20, "found", SMALL, "ink-2", "end")
    page.text(page.width, y - 20, page.choose(f"shown by {RATE}", "shown"), SMALL, "ink-2", "end")
    opens = []
    for row, (found, low, high, often) in enumerate(rows):
        at, open_ = y + step * row, low <= RATE <= high
        colour = "mark" if open_ else "ink-2"
        page.line([(place(low), at), (place(high), at)], colour, 7 if open_ else 2.5)
        page.rect(place(found / ASKED) - 4, at - 4, 8, 8, "paper", line=colour, radius=4, width=2)
        page.text(left - 14, at + 5, page.choose(f"{found} of {ASKED}", str(found)), anchor="end", bold=open_)
        if open_:
            interval = f"{fixed(low, 2)} to {fixed(high, 2)}"
            opens.append(f"{found} of {ASKED} {interval}")
            page.text(place(low) - 8, at + 5, interval, SMALL, anchor="end", halo=True)
        share = f"{fixed(100 * often, 0)} %" if often >= 0.005 else "< 1 %"
        page.text(page.width, at + 5, share, anchor="end", bold=open_)
    return (
        f"Eleven rows, one for each number of needles found of {ASKED}, with the interval of the true rate that it "
        f"leaves open. Three hold {RATE}: {'; '.join(opens)}. A true rate of {RATE} shows these numbers in "
        f"{', '.join(f'{fixed(100 * often, 0)} %' for *_, often in rows[: len(opens)])} of all cells."
    )
