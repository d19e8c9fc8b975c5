"""The Tape on paper: the untouched picture in matplotlib."""

import textwrap
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from widgets.kit.format import capital, count
from widgets.kit.tokens import TOKENS, style
from widgets.tape import read

if TYPE_CHECKING:
    from widgets.tape.measure import Recording

SIGNED = LinearSegmentedColormap.from_list("signed", ["#004a82", "#5e9ece", "#ffffff", "#d6a648", "#704800"])


def draw(
    recording: "Recording", memory: int, pair: int, question: int | None, sentence: str, provenance: str
) -> Figure:
    """Recall by where a pair was written, and M with z beside it, when the question is asked or after all."""
    with style():
        figure, (left, z_axes, m_axes) = plt.subplots(
            1, 3, figsize=(10.4, 4.2), width_ratios=(1.9, 0.22, 1), layout="constrained"
        )
        draw_recall(left, recording, memory, pair, question)
        draw_memory(figure, z_axes, m_axes, recording, memory)
        lines = [line for told in (sentence, provenance) for line in textwrap.wrap(told, 150)]
        figure.supxlabel("\n".join(lines), fontsize=8, color=TOKENS["ink-2"])
    return figure


def draw_recall(axes: Axes, recording: "Recording", memory: int, pair: int, question: int | None) -> None:
    """Every kept pair by its place on the tape, whose segments stand in equal steps; what is left out is said below.

    How high: the cosine of what its own key brings back, or how well the question fits it.
    """
    columns = {int(number): i for i, number in enumerate(recording.after)}
    found = read.recalled(recording, recording.rule, memory, read.frame_of(recording))
    if question is not None:
        query, keys = recording.q[question, memory], recording.k[:, memory]
        fits = read.fit(recording.rule, query.astype(np.float64), keys.astype(np.float64))
        found = {p: float(fits[p]) for p in found}
    x = recording.at % recording.segment / recording.segment
    x = x + [columns[number] for number in (recording.at // recording.segment + 1).tolist()]
    for marked, colour, shape, size, label in ((0, "ink-2", "o", 12, "sampled"), (1, "k", "D", 26, "marked")):
        those = [p for p, cosine in found.items() if cosine is not None and recording.needle[p] == marked]
        if those:
            heights = [found[p] for p in those]
            ink = TOKENS[colour]
            axes.scatter(x[those], heights, s=size, marker=shape, c=ink, alpha=1 if marked else 0.55, lw=0, label=label)
    if found.get(pair) is not None:
        axes.plot(x[pair], found[pair], "o", mfc="none", mec=TOKENS["mark"], ms=12, mew=2)
    step = max(1, len(columns) // 12)
    axes.set_xticks(np.arange(len(columns))[::step] + 0.5, [count(int(number)) for number in recording.after[::step]])
    thinned = f", {len(columns)} of {count(recording.segments)} kept" if len(columns) < recording.segments else ""
    axes.set(xlim=(0, len(columns)), xlabel=f"segment in which it was written{thinned}")
    if question is None or recording.rule == "unit":
        axes.set(ylim=(None, 1.05))
        axes.axhline(0, color=TOKENS["line"], lw=1, zorder=0)
    else:
        axes.set_yscale("log")
    if question is None:
        axes.set(ylabel="cosine, read and written")
        axes.set_title("What comes back now")
    else:
        axes.set(ylabel="fit of the question, σ(q) · σ(k)")
        axes.set_title("What the question asks for")
    axes.legend(frameon=False, fontsize=9, loc="upper right")


def draw_memory(figure: Figure, z_axes: Axes, m_axes: Axes, recording: "Recording", memory: int) -> None:
    m, z = (held[recording.rule][read.frame_of(recording) - 1, memory] for held in (recording.memory, recording.z))
    most = float(np.abs(m).max()) or 1.0
    image = m_axes.imshow(m, cmap=SIGNED, vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
    m_axes.set(xlabel="channel of the value", yticks=[])
    m_axes.set_title(f"M, {capital(recording.names[memory])}")
    figure.colorbar(image, ax=m_axes, shrink=0.8).set_label("M: sum of σ(k) v")
    z_axes.barh(np.arange(len(z)), z, color=TOKENS["m"])
    z_axes.set(ylim=(len(z) - 0.5, -0.5), ylabel="channel of the key", xlabel="z")
    z_axes.invert_xaxis()
    z_axes.locator_params(axis="x", nbins=2)
