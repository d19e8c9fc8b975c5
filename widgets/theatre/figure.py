"""The Theatre on paper: the whole run in matplotlib, the same numbers and colours as the page draws."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from widgets.kit.format import size
from widgets.kit.tokens import TOKENS, style
from widgets.theatre import facts, say

Scene = dict[str, Any]


def draw(scenes: list[Scene], limit: int, question: str, provenance: str) -> Figure:
    """On one clock of bytes moved: what moves (reads above the line, writes below), and what is alive in SRAM."""
    longest = max(int(facts.moved(scene)[-1]) for scene in scenes)
    with style():
        heights = [1.0] * len(scenes) + [1.9]
        size_of = (8.4, 2.9 + 0.9 * len(scenes))
        figure, rows = plt.subplots(
            len(heights), 1, figsize=size_of, sharex=True, height_ratios=heights, layout="constrained"
        )
        for axes, scene in zip(rows, scenes, strict=False):
            draw_film(axes, scene)
        draw_sram(rows[-1], scenes, limit)
        step = 2.0 ** np.ceil(np.log2(longest / 6))
        rows[-1].set_xticks(np.arange(0, longest + 1, step))
        rows[-1].xaxis.set_major_formatter(FuncFormatter(lambda nbytes, _: size(nbytes)))
        rows[-1].set(xlim=(0, longest * 1.12), xlabel="bytes moved: the clock")
        rows[0].set_title(question)
        told = "\n".join([*map(say.numbers_line, scenes), provenance])
        figure.supxlabel(told, fontsize=8, color=TOKENS["ink-2"])
    return figure


def draw_film(axes: Axes, scene: Scene) -> None:
    """Each event as a bar as wide as its bytes: a read stands above the line, a write hangs below."""
    read, written = facts.column(scene, "read"), facts.column(scene, "written")
    nbytes = read + written
    start = np.cumsum(nbytes) - nbytes
    tensor = facts.column(scene, "tensor")
    named = set()
    for index, about in enumerate(scene["tensors"]):
        chosen = (tensor == index) & (nbytes > 0)
        height = np.where(read[chosen] > 0, 1.0, -0.65)
        label = about["name"] if about["name"] not in named else None
        named.add(about["name"])
        axes.bar(start[chosen], height, nbytes[chosen], align="edge", color=TOKENS[about["colour"]], lw=0, label=label)
    axes.axhline(0, color=TOKENS["paper"], lw=0.8)
    total = int(nbytes.sum())
    axes.annotate(size(total), (total, 0.2), xytext=(5, 0), textcoords="offset points", fontweight="bold")
    axes.set(yticks=[], ylim=(-0.8, 1.15), ylabel=scene["name"])
    axes.spines[:].set_visible(False)
    axes.tick_params(bottom=False)
    axes.legend(ncols=8, fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1, 0.95), handlelength=0.9)


def draw_sram(axes: Axes, scenes: list[Scene], limit: int) -> None:
    """Bytes of live tiles against the limit."""
    for i, scene in enumerate(scenes):
        clock, live = facts.moved(scene), facts.live_bytes(scene)
        ink = ("ink", "mark")[i % 2]
        axes.step(clock, live, where="post", color=TOKENS[ink], lw=0.7)
        beside = {"xytext": (5, 3), "textcoords": "offset points", "color": TOKENS[ink]}
        axes.annotate(scene["name"], (clock[-1], live[-1]), **beside)
    axes.axhline(limit, color=TOKENS["bad"], lw=1.2)
    axes.annotate(f"limit {size(limit)}", (0, limit), xytext=(4, 4), textcoords="offset points", color=TOKENS["bad"])
    most = max(limit, *(int(facts.live_bytes(scene).max()) for scene in scenes))
    step = 2.0 ** np.ceil(np.log2(most / 4))
    axes.set_yticks(np.arange(0, most + 1, step))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda nbytes, _: size(nbytes)))
    axes.set(ylim=(0, most * 1.15), ylabel="live in SRAM")
