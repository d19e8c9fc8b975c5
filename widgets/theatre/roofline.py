"""The roofline you earned: this machine's own two limits, measured, and runs placed under them.

A kernel that does I operations for each byte it moves cannot be faster than the smaller of I · (bytes per second) and
the machine's operations per second (Williams, Waterman and Patterson, 2009). Both lines are measured here, by a copy
and by a matrix product; nothing is taken from a data sheet.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.ticker import FuncFormatter, NullFormatter

from widgets.kit.format import significant
from widgets.kit.tokens import TOKENS, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COPIED = 64 * 2**20  # bytes: beyond the caches of most processors
SHAPES = ((1024, 1024, 1024), (2048, 64, 2048), (2048, 2048, 64))  # of the products, float32; libraries have favourites
SECONDS = 0.4  # for the copy, and for all the products
GPU_FACTOR = 8  # a GPU needs more work at once
INKS = ("mark", "o", "k", "v", "s", "m")
MARKERS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True)
class Peaks:
    """What a machine reached: bytes copied (read and written) per second, float32 operations per second."""

    bytes_per_second: float
    flops_per_second: float
    place: str

    @property
    def ridge(self) -> float:
        """Operations per byte at which both limits meet."""
        return self.flops_per_second / self.bytes_per_second

    def attainable(self, intensity: float) -> float:
        """Operations per second that a run of so many operations per byte can reach."""
        return min(intensity * self.bytes_per_second, self.flops_per_second)

    def __repr__(self) -> str:
        copies, multiplies = rate(self.bytes_per_second, "B/s"), rate(self.flops_per_second, "FLOP/s")
        return f"{self.place}: copies {copies}, multiplies {multiplies}; ridge at {significant(self.ridge)} FLOP/B"


@dataclass(frozen=True)
class Point:
    """One run: its operations, the bytes it moved by one of the counts (say which in the name), and its seconds."""

    name: str
    flops: float
    nbytes: float
    seconds: float | None = None

    @property
    def intensity(self) -> float:
        return self.flops / self.nbytes

    def sentence(self, peaks: Peaks) -> str:
        """Where the run stands: "0.8 FLOP/B: bound by memory; 42 % of this machine's measured line"."""
        bound = "memory" if self.intensity < peaks.ridge else "arithmetic"
        text = f"{self.name}: {significant(self.intensity)} FLOP/B, bound by {bound}"
        if self.seconds is None:
            return f"{text}; at most {rate(peaks.attainable(self.intensity), 'FLOP/s')} here"
        share = self.flops / self.seconds / peaks.attainable(self.intensity)
        return f"{text}; {significant(100 * share)} % of this machine's measured line"


def rate(per_second: float, unit: str) -> str:
    """A rate in powers of ten: "12.3 GB/s"."""
    for prefix, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if per_second >= factor:
            return f"{significant(per_second / factor)} {prefix}{unit}"
    return f"{significant(per_second)} {unit}"


def fastest(work: Callable[[], object], finish: Callable[[], None], seconds: float = SECONDS) -> float:
    """Seconds of the fastest of as many repetitions as fit, after one to warm up: a limit is what can be reached."""
    work()
    finish()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        began = time.perf_counter()
        work()
        finish()
        best = min(best, time.perf_counter() - began)
    return best


def peaks(device: str = "cpu") -> Peaks:
    """Measure this machine's copy bandwidth and its fastest float32 matrix product, in about a second.

    device: "cpu", with as many threads as torch now uses, or "cuda"
    """
    on_gpu = torch.device(device).type == "cuda"
    finish = torch.cuda.synchronize if on_gpu else lambda: None
    larger = GPU_FACTOR if on_gpu else 1
    copied = COPIED * larger
    source = torch.ones(copied // 4, device=device)
    target = torch.empty_like(source)
    copy = fastest(lambda: target.copy_(source), finish)
    multiplied = 0.0
    for rows, inner, columns in SHAPES:
        a = torch.randn(rows * larger, inner * larger, device=device)
        b = torch.randn(inner * larger, columns * larger, device=device)
        seconds = fastest(partial(torch.mm, a, b), finish, SECONDS / len(SHAPES))
        multiplied = max(multiplied, 2 * a.numel() * b.shape[1] / seconds)
    threads = torch.get_num_threads()
    place = torch.cuda.get_device_name() if on_gpu else f"this CPU with {threads} thread{'s' if threads > 1 else ''}"
    return Peaks(2 * copied / copy, multiplied, place)


def roofline(peaks: Peaks, points: Sequence[Point] = ()) -> "Figure":
    """The two measured limits, and each run under them: filled where it was timed, hollow on the line where not.

    Raises ValueError for a point without operations or bytes, which has no place on it.
    """
    for point in points:
        if not (point.flops > 0 and point.nbytes > 0):
            raise ValueError(
                f"{point.name} has {point.flops} operations and {point.nbytes} bytes; both must be above 0."
            )
    intensities = [point.intensity for point in points] or [peaks.ridge]
    low, high = min(*intensities, peaks.ridge) / 4, max(*intensities, peaks.ridge) * 4
    reached = [point.flops / point.seconds for point in points if point.seconds]
    lowest, highest = min(peaks.attainable(low), *reached, peaks.flops_per_second / 10), peaks.flops_per_second
    with style():
        figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
        x = np.geomspace(low, high, 200)
        axes.plot(x, [peaks.attainable(one) for one in x], color=TOKENS["ink"])
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set(xlim=(low, high), ylim=(lowest / 1.5, highest * 2))
        quiet = {"textcoords": "offset points", "color": TOKENS["ink-2"], "fontsize": 9}
        product = f"{rate(peaks.flops_per_second, 'FLOP/s')}, a matrix product"
        axes.annotate(product, (high, highest), xytext=(0, 5), ha="right", **quiet)
        half = np.sqrt(low * peaks.ridge)
        copy = f"{rate(peaks.bytes_per_second, 'B/s')}, a copy"
        axes.annotate(copy, (half, peaks.attainable(half)), xytext=(10, -8), **quiet)
        for i, point in enumerate(points):
            y = point.flops / point.seconds if point.seconds else peaks.attainable(point.intensity)
            colour, marker = TOKENS[INKS[i % len(INKS)]], MARKERS[i % len(MARKERS)]
            fill = colour if point.seconds else TOKENS["paper"]
            axes.vlines(point.intensity, lowest / 1.5, y, color=colour, linewidth=0.8, linestyle=(0, (2, 3)))
            axes.plot(point.intensity, y, marker, color=colour, markerfacecolor=fill, markeredgewidth=1.4, zorder=3)
            below = {"xytext": (7, -13 - 13 * (i % 3)), "textcoords": "offset points", "color": colour, "fontsize": 9}
            axes.annotate(point.name, (point.intensity, y), **below)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: rate(value, "FLOP/s")))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: significant(value)))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="operations per byte", ylabel="operations per second")
        axes.set_title(f"The limits of {peaks.place}, measured")
    return figure
