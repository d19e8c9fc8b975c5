"""Drawings of the lesson from_2k_to_128k."""

import math
from bisect import bisect_left

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
        page.choose("What one text of 128 K leaves in memory", "What one text of 128 K leaves"),
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
    page.text(wanted, bottom + 40, "128 K, asked for", SMALL, "ink", "middle", bold=True)
    listed = "; ".join(f"{name}: {count(tokens)}" for name, tokens in lengths.items())
    return (
        "Six rows on a logarithmic axis of lengths from 1 K to 1 M: from how many tokens of one text on something is "
        f"too much for an 8 B model on one H100. {listed}. The first four lie below the 128 K that are asked for."
    )
