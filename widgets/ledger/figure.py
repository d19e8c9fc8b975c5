"""The Ledger's untouched picture for print, in matplotlib: the same numbers, order and labels as view.js draws."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from widgets.kit.format import count, size
from widgets.kit.labels import spread
from widgets.kit.tokens import TOKENS, style
from widgets.ledger import words

MARKERS = ("o", "s", "^", "D")
SHADES = (0.5, 0.24, 0.1)


def octaves(low: float, high: float, most: int = 9) -> list[float]:
    """Bytes to mark on a logarithmic axis: powers of two, few enough to read."""
    first, last = np.ceil(np.log2(low) - 1e-9), np.floor(np.log2(high) + 1e-9)
    step = next(s for s in (1, 2, 5, 10, 20, 40) if last // s - -(-first // s) < most)
    return [2.0**exponent for exponent in np.arange(-(-first // step) * step, last + 1, step)]


def positive(nbytes: np.ndarray) -> np.ndarray:
    """What a logarithmic axis can show: no bytes are no point."""
    return np.where(nbytes > 0, nbytes, np.nan)


def sweep(numbers: dict[str, Any]) -> Figure:
    """Peak bytes against tokens, both logarithmic: measured solid with points, formula dashed."""
    lengths, asked = numbers["lengths"], numbers["ask"]
    methods = numbers["methods"] if asked is None else [numbers["methods"][asked]]
    with style():
        figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        ends = []
        for i, method in enumerate(methods):
            known = len(method["bytes"]) if asked is None else numbers["shown"]
            nbytes, ink = positive(method["bytes"][:known]), TOKENS["ink" if i == 0 else "ink-2"]
            axes.plot(lengths[:known], nbytes, color=ink, marker=MARKERS[i % len(MARKERS)])
            ends.append((lengths[known - 1], nbytes[-1], method, ink))
            if asked is None and (formula := method["formula"]):
                axes.plot(formula["n"], formula["bytes"], color=ink, linestyle=(0, (5, 4)), linewidth=1.1)
                ends[-1] = (formula["n"][-1], formula["bytes"][-1], method, ink)
        for limit in numbers["limits"]:
            axes.axhline(limit["bytes"], color=TOKENS["bad"], linewidth=1)
            above = {"xytext": (2, 3), "textcoords": "offset points", "color": TOKENS["bad"]}
            axes.annotate(limit["name"], (lengths[0], limit["bytes"]), **above)
        if asked is not None:
            axes.set_xlim(right=lengths[-1] * 1.1)
        if np.isnan([nbytes for _, nbytes, _, _ in ends]).all():
            axes.set(xlim=(lengths[0], lengths[-1]), ylim=(1, 1024))
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        tokens = [int(n) for n in lengths]
        while 2 * tokens[-1] <= right:
            tokens.append(2 * tokens[-1])
        axes.set_xticks(tokens, [count(n) for n in tokens], rotation=30 if len(tokens) > 8 else 0)
        axes.set_yticks(octaves(low, high), [size(tick) for tick in octaves(low, high)])
        axes.set(xlim=(left, right), ylim=(low, high), xlabel="tokens", ylabel=numbers["what"])
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
        axes.grid(axis="y")
        axes.set_title(numbers["question"])
        for early in (False, True):
            column = [end for end in ends if (end[0] < max(end[0] for end in ends)) == early]
            # In octaves: two lines of text are about a tenth of the axis high.
            wanted = [np.log2(np.fmax(nbytes, low)) for _, nbytes, _, _ in column]
            places = spread(wanted, np.log2(high / low) / 10, np.log2(low), np.log2(high))
            for place, (n, _, method, ink) in zip(places, column, strict=True):
                label = method["name"] if asked is not None else f"{method['name']}\n{words.slope(method['exponent'])}"
                kind = {"va": "bottom" if early else "center", "color": ink}
                axes.text(n * 2 ** (np.log2(right / left) / 50), 2**place, label, **kind)
    return figure


def recording(numbers: dict[str, Any]) -> Figure:
    """Bytes alive after each event, stacked by variable."""
    edges = np.append(numbers["event"], numbers["total"])
    roles = sorted(numbers["roles"], key=stack_order)
    with style():
        figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
        floor = np.zeros(len(numbers["event"]))
        for role in roles:
            top = floor + role["bytes"]
            shade = SHADES[min(role["shade"], len(SHADES) - 1)]
            label = f"{role['name']}, at most {size(role['bytes'].max())}"
            axes.stairs(top, edges, baseline=floor, fill=True, color=TOKENS[role["colour"]], alpha=shade, label=label)
            axes.stairs(top, edges, baseline=None, color=TOKENS[role["colour"]], linewidth=0.6)
            floor = top
        peak = numbers["peak"]
        axes.annotate(
            f"peak {size(numbers['live'][peak])}",
            (edges[peak] + 0.5, numbers["live"][peak]),
            (0, 4),
            textcoords="offset points",
            ha="center",
        )
        for limit in numbers["limits"]:
            axes.axhline(limit["bytes"], color=TOKENS["bad"], linewidth=1)
            axes.annotate(limit["name"], (0, limit["bytes"]), (2, 3), textcoords="offset points", color=TOKENS["bad"])
        step = 2.0 ** np.ceil(np.log2(axes.get_ylim()[1] / 6))
        axes.set_yticks(np.arange(0, axes.get_ylim()[1], step))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda nbytes, _: size(nbytes)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda event, _: count(int(event))))
        axes.set_xlabel("allocations and frees, in order")
        axes.set_ylabel("bytes alive")
        axes.set_title(numbers["question"])
        axes.legend(reverse=True, frameon=False, fontsize=9)
    return figure


def stack_order(role: dict[str, Any]) -> tuple[bool, bool, int]:
    """Roles that rise once and fall once at the bottom, the rest that isn't told apart on top; else as they appear."""
    moved = np.abs(np.diff(role["bytes"], prepend=0)).sum()
    return role["rest"], bool(moved > 2 * role["bytes"].max()), int(role["bytes"].nonzero()[0][0])
