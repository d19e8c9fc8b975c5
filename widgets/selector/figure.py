"""The Eye on paper: the untouched picture in matplotlib."""

import textwrap
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from widgets.kit.format import count
from widgets.kit.tokens import TOKENS, style
from widgets.selector import row, say

if TYPE_CHECKING:
    from widgets.selector.measure import Layer, Recording

LEAST = 1e-4  # of a weight, where the axis ends
BESIDE = {"oracle": ("ink", "-"), "window": ("ink-2", "--"), "random": ("ink-2", ":")}


def draw(recording: "Recording", layer: int, place: int, sentence: str, provenance: str) -> Figure:
    """The index scores and the attention of one query, key by key, and the captured mass of all queries against k."""
    one, query = recording.layers[layer], int(recording.at[place])
    with style():
        figure, axes = plt.subplot_mosaic(
            [["scores", "mass"], ["weights", "mass"]], figsize=(10.4, 4.4), width_ratios=(1.5, 1), layout="constrained"
        )
        draw_query(axes["scores"], axes["weights"], one, recording, place, query)
        draw_mass(axes["mass"], one, recording)
        lines = [line for told in (sentence, provenance) for line in textwrap.wrap(told, 150)]
        figure.supxlabel("\n".join(lines), fontsize=8, color=TOKENS["ink-2"])
    return figure


def draw_query(upper: Axes, lower: Axes, layer: "Layer", recording: "Recording", place: int, query: int) -> None:
    """Bars over the keys: strong where the indexer chooses one; crosses where the oracle would and it does not."""
    scores, weights = row.rows_of(layer, recording.precision, place, query)
    chosen, wanted = row.best(scores, recording.top_k), row.best(weights, recording.top_k)
    keys, missed = np.arange(query + 1), wanted & ~chosen
    for some, alpha in ((~chosen, 0.35), (chosen, 1.0)):
        upper.bar(keys[some], scores[some], width=0.85, color=TOKENS["s"], alpha=alpha)
        lower.bar(keys[some], weights[some], width=0.85, color=TOKENS["mark" if alpha == 1 else "ink-2"], alpha=alpha)
    lower.plot(keys[missed], 1.6 * weights[missed], "x", color=TOKENS["bad"], ms=6, mew=1.6, label="missed")
    lower.set(yscale="log", ylim=(LEAST, 2), xlabel="key", ylabel="attention")
    upper.set(ylabel="index score", xticklabels=[])
    for axes in (upper, lower):
        axes.set_xlim(-1, recording.tokens)
    if missed.any():
        lower.legend(frameon=False, fontsize=9, loc="upper right")
    upper.set_title(f"What query {count(query)} is offered, and what is chosen")


def draw_mass(axes: Axes, layer: "Layer", recording: "Recording") -> None:
    low, middle, high = layer.curves[f"indexer {recording.precision}"][0].T
    axes.fill_between(recording.budgets, low, high, color=TOKENS["mark"], alpha=0.15, lw=0, label="10 to 90 %")
    axes.plot(recording.budgets, middle, color=TOKENS["mark"], lw=2.2, label="indexer")
    for name, (ink, line) in BESIDE.items():
        if name in layer.curves:
            axes.plot(recording.budgets, layer.curves[name][0, :, 1], line, color=TOKENS[ink], lw=1.4, label=name)
    axes.axvline(recording.top_k, color=TOKENS["mark"], lw=1)
    at = int(np.flatnonzero(recording.budgets == recording.top_k)[0])
    axes.annotate(say.percent(float(middle[at])), (recording.top_k, middle[at]), (8, -14), textcoords="offset points",
                  color=TOKENS["mark"], weight="bold")  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda k, _: count(round(k)))
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.set(ylim=(0, 1.02), xlabel="k, keys for each query")
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    axes.set_title("The mass that queries keep")
