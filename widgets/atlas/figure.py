"""The Atlas on paper: the untouched picture in matplotlib."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter

from widgets.atlas.headmap import HeadMap
from widgets.atlas.mask import Mask, band_reach
from widgets.atlas.say import aggregate_words, percent
from widgets.kit.format import count
from widgets.kit.tokens import TOKENS, style

SIDE = 1024  # squares along a side, at most, in print


def draw(
    shown: dict[str, HeadMap], mask: Mask, cursor: tuple[int, int], bits: int, sentence: str, provenance: str
) -> Figure:
    """One map, or two beside each other, with the mask and what it keeps of each; the scale ends at 2^-bits."""
    norm = LogNorm(2.0**-bits, 1)
    with style():
        size = (5.4 * len(shown), 5.2)
        figure, every = plt.subplots(1, len(shown), figsize=size, squeeze=False, layout="constrained")
        for axes, (name, head) in zip(every[0], shown.items(), strict=True):
            cell, image = draw_map(axes, head, norm)
            draw_mask(axes, head, mask)
            axes.plot(cursor[1] + 0.5, cursor[0] + 0.5, "s", mfc="none", mec="white", mew=1.5, ms=7)
            axes.set_title(f"{name}: {percent(head.kept(mask))} kept")
        ticks = FixedLocator([2.0**-bit for bit in range(0, bits + 1, 4)])
        bar = figure.colorbar(image, ax=every[0].tolist(), shrink=0.8, extend="min", ticks=ticks)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(power_of_two))
        bar.ax.minorticks_off()
        bar.set_label("weight, log scale")
        note = f"{aggregate_words('max', cell)}; hatched: not looked at"
        figure.supxlabel(f"{sentence}\n{note}\n{provenance}", fontsize=8, color=TOKENS["ink-2"])
    return figure


def power_of_two(value: float, _: int) -> str:
    bit = round(np.log2(value))
    return "1" if bit == 0 else f"$2^{{{bit}}}$"


def draw_map(axes: Axes, head: HeadMap, norm: LogNorm):
    """The finest level that print can show, over hatching. Returns its cell and the image."""
    cell, largest = next((cell, largest) for cell, largest, _ in head.levels() if len(largest) <= SIDE)
    edge, n = len(largest) * cell, head.tokens
    axes.set_facecolor(TOKENS["panel"])
    axes.add_patch(Rectangle((0, 0), n, n, fc=TOKENS["panel"], ec=TOKENS["line"], hatch="////", lw=0, zorder=-1))
    for outline in allowed_outlines(head):
        image = axes.imshow(
            np.maximum(largest, norm.vmin), "viridis", norm, interpolation="nearest", extent=(0, edge, edge, 0)
        )
        image.set_clip_path(Polygon(outline, transform=axes.transData))
    axes.set(xlim=(0, n), ylim=(n, 0), xlabel="key", ylabel="query", aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: count(int(value))))
    axes.locator_params(nbins=5)
    axes.spines[:].set_visible(False)
    return cell, image


def allowed_outlines(head: HeadMap) -> list[list[tuple[int, int]]]:
    """What the attention may look at, as polygons of (key, query)."""
    n, allowed = head.tokens, head.allowed
    back = n if allowed.reach is None else min(allowed.reach + 1, n)
    forth = 0 if allowed.causal else back
    outlines = [[(0, 0), (forth, 0), (n, n - forth), (n, n), (n - back, n), (0, back)]]
    if allowed.sinks:
        outlines.append([(0, 0), (allowed.sinks, 0), (allowed.sinks, n), (0, n)])
    return outlines


def draw_mask(axes: Axes, head: HeadMap, mask: Mask) -> None:
    """Where the mask ends: dashed for the window, lines for the sinks and global tokens, squares for the blocks."""
    n, causal = head.tokens, head.allowed.causal
    line = {"color": "white", "linewidth": 1.2, "linestyle": (0, (5, 4))}
    if mask.window is not None:
        far = band_reach(mask.window, causal) + 1
        axes.plot([0, n - far], [far, n], **line)
        if not causal:
            axes.plot([far, n], [0, n - far], **line)
    for key in {*mask.global_tokens, *([mask.sinks] if mask.sinks else [])}:
        axes.plot([key, key], [key if causal else 0, n], **line)
    for query in mask.global_tokens:
        axes.plot([0, query if causal else n], [query, query], **line)
    for query, key in zip(*head.chosen(mask), strict=True):
        corner = (key * head.block, query * head.block)
        axes.add_patch(Rectangle(corner, head.block, head.block, fill=False, ec="white", lw=0.8))
