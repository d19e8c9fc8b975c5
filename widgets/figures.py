"""The still figures of the lessons, in matplotlib, with the course's colours.

Each function draws one figure and returns it; the cell calls `show` with the sentence that describes it, which becomes
its alternative text. Values may be tensors or arrays. Rows run down, columns run right, as in a printed matrix.
"""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from IPython.core.pylabtools import print_figure
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from solutions.pictures import as_html
from widgets.kit.format import size as size_of
from widgets.kit.labels import spread
from widgets.kit.tokens import TOKENS, style
from widgets.tape.figure import SIGNED

MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", (0, (6, 2)), (0, (1, 1.5)), (0, (4, 1, 1, 1)), (0, (8, 2, 2, 2)), (0, (2, 2)))


def show(alt: str) -> None:
    """Show the figure that was drawn last. alt: what it shows, in words, for those who don't see it."""
    figure = plt.gcf()
    plt.close(figure)  # else it is shown once more at the end of the cell
    display({"text/html": as_html(alt, print_figure(figure, base64=True)), "text/plain": alt}, raw=True)


def array(values) -> np.ndarray:
    """Numbers as numpy, from a tensor on any device or anything numpy takes."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def draw_map(axes, values: np.ndarray, rows, columns, x: str, y: str, annotate: bool, top: float):
    image = axes.imshow(values, cmap="viridis", vmin=0, vmax=top)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for i, j in np.ndindex(values.shape) if annotate else ():
        shade = "black" if values[i, j] > 0.55 * top else "white"
        axes.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", fontsize=9, color=shade)
    return image


def heatmap(
    values,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str = "",
    x: str = "key",
    y: str = "query",
    annotate: bool = False,
) -> Figure:
    """One matrix (rows, columns) on the linear viridis scale, from 0 to its maximum; `annotate` writes the numbers."""
    values = array(values)
    with style():
        figure, axes = plt.subplots(figsize=(5.2, 4.4), layout="constrained")
        image = draw_map(axes, values, rows, columns, x, y, annotate, float(values.max()))
        axes.set_title(title)
        figure.colorbar(image, ax=axes, shrink=0.8, label="weight, linear scale")
    return figure


def heatmaps(
    maps: dict, *, rows: Sequence[str], columns: Sequence[str], x: str = "key", y: str = "query", label: str
) -> Figure:
    """Several matrices side by side on one scale. A cell that is exactly 0 is hatched: nothing there, not a little."""
    maps = {name: array(values) for name, values in maps.items()}
    top = max(float(values.max()) for values in maps.values())
    with style():
        figure, every = plt.subplots(1, len(maps), figsize=(4.3 * len(maps), 3.8), layout="constrained", squeeze=False)
        for axes, (name, values) in zip(every[0], maps.items(), strict=True):
            image = draw_map(axes, values, rows, columns, x, y, False, top)
            for i, j in np.argwhere(values == 0):
                hatch = plt.Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=TOKENS["panel"], edgecolor=TOKENS["line"])
                hatch.set(hatch="////", linewidth=0)
                axes.add_patch(hatch)
            axes.set_title(name)
        figure.colorbar(image, ax=every[0].tolist(), shrink=0.85, label=f"{label}, linear scale\n(hatched: exactly 0)")
    return figure


def lines(
    xs: Sequence[float],
    series: dict[str, Sequence[float]],
    *,
    x: str,
    y: str,
    log_x: bool = False,
    log_y: bool = False,
    floor: tuple[float, str] | None = None,
    marks: dict[float, str] | None = None,
) -> Figure:
    """One line per named series, named at its end; beside the colour, its points and its dash tell it apart.

    floor: a level and its name, drawn dotted; marks: places on the x axis and their names, drawn as hairlines
    """
    colours = [TOKENS[name] for name in ("ink", "mark", "m", "o", "v", "k")]
    with style():
        figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
        for index, ys in enumerate(map(array, series.values())):
            kind = {"color": colours[index], "marker": MARKERS[index], "linestyle": DASHES[index]}
            axes.plot(xs, ys, **kind)
        for place, name in (marks or {}).items():
            axes.axvline(place, color=TOKENS["line"], linewidth=1)
            axes.annotate(name, (place, 1.01), xycoords=("data", "axes fraction"), ha="center", color=TOKENS["ink-2"])
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        if log_x:
            axes.set_xscale("log", base=2)
            axes.set_xticks(xs, [f"{value:,}" for value in xs])
            axes.minorticks_off()
        if log_y:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        if floor is not None:
            axes.hlines(floor[0], xs[0], xs[-1], color=TOKENS["ink-2"], linestyle=":", linewidth=1)
            axes.annotate(floor[1], (xs[0], floor[0]), (0, 4), textcoords="offset points", color=TOKENS["ink-2"])
        axes.margins(x=0.12)
        name_at_their_ends(axes, {name: (xs[-1], array(ys)[-1]) for name, ys in series.items()}, colours)
    return figure


def walks(paths: dict[str, tuple], *, steps: Sequence[str], x: str, y: str, top: float) -> Figure:
    """How each system walks over bytes as something grows: a marker for every step, larger with each, named at its end.

    paths: name -> (bytes (steps,), ys (steps, seeds)), drawn at the mean of the seeds, with a bar from the lowest to
        the highest; systems with as many bytes stand side by side
    steps: what the markers stand for; top: where the picture ends, and a walk that goes on is cut off
    """
    colours = [TOKENS[name] for name in ("ink-2", "mark", "k", "ink", "m", "o", "v")]
    with style():
        figure, axes = plt.subplots(figsize=(6.8, 4.2), layout="constrained")
        ends = {}
        for index, (name, (xs, ys)) in enumerate(paths.items()):
            same = [other for other, (theirs, _) in paths.items() if abs(math.log2(theirs[0] / xs[0])) < 0.1]
            xs, ys, kind = array(xs) * 1.17 ** same.index(name), array(ys), {"color": colours[index]}
            mean = ys.mean(-1)
            axes.plot(xs, mean, linestyle=DASHES[index], linewidth=1.4, **kind)
            for step, size in enumerate(np.linspace(4, 9, len(steps))):
                axes.plot([xs[step]] * 2, [ys[step].min(), ys[step].max()], linewidth=1, **kind)
                axes.plot(xs[step], mean[step], MARKERS[index], markersize=size, **kind)
            last = np.flatnonzero(mean <= top)[-1]
            shown = name if last + 1 == len(steps) else f"{name}, and up"
            ends[shown] = (xs[last], mean[last])
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda nbytes, _: size_of(nbytes)))
        axes.set_xlabel(f"{x}\nmarkers, small to large: {', '.join(steps)}")
        axes.set_ylabel(y)
        axes.margins(x=0.3)
        axes.set_ylim(min(array(ys).min() for _, ys in paths.values()) - 0.1, top)
        left = [name for name, (end, _) in ends.items() if any(1 < other / end < 1.3 for other, _ in ends.values())]
        name_at_their_ends(axes, ends, colours, left)
    return figure


def name_at_their_ends(
    axes, ends: dict[str, tuple[float, float]], colours: Sequence[str], left: Sequence[str] = ()
) -> None:
    """Write each line's name beside its last point, some on the left; names that would overlap move apart."""
    axes.figure.draw_without_rendering()  # only then do the axes have their size
    points = 72 / axes.figure.dpi
    wanted = [axes.transData.transform(end)[1] * points for end in ends.values()]
    for (name, end), height, place, colour in zip(
        ends.items(), wanted, spread(wanted, 13, -math.inf, math.inf), colours, strict=False
    ):
        side = {"xytext": (-8, place - height), "ha": "right"} if name in left else {"xytext": (8, place - height)}
        at = {**side, "textcoords": "offset points", "va": "center"}
        axes.annotate(name, end, color=colour, **at)


def masks(maps: dict[str, object]) -> Figure:
    """Boolean masks (queries, keys) side by side: filled where a query may look, hatched where it may not."""
    with style():
        figure, every = plt.subplots(1, len(maps), figsize=(2.4 * len(maps), 2.7), layout="constrained", squeeze=False)
        for axes, (name, seen) in zip(every[0], maps.items(), strict=True):
            for (i, j), may in np.ndenumerate(array(seen)):
                fill = {"facecolor": TOKENS["s"]} if may else {"facecolor": TOKENS["panel"], "hatch": "////"}
                axes.add_patch(plt.Rectangle((j - 0.46, i - 0.46), 0.92, 0.92, edgecolor=TOKENS["line"], lw=0, **fill))
            rows, columns = array(seen).shape
            axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5), aspect="equal", xlabel="key", ylabel="query")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            axes.set_title(name)
    return figure


def decay(curves: dict[str, object], *, x: str, y: str, ends: dict[str, int]) -> Figure:
    """Sizes against distance from 0 on, on a logarithmic scale; `ends` marks for each curve where it must be 0."""
    colours = [TOKENS[name] for name in ("m", "mark", "ink", "o")]
    with style():
        figure, axes = plt.subplots(figsize=(6.8, 3.8), layout="constrained")
        for index, (name, sizes) in enumerate(curves.items()):
            sizes = array(sizes)
            some = np.flatnonzero(sizes)
            axes.plot(some, sizes[some], color=colours[index], linestyle=DASHES[index])
            axes.axvline(ends[name], color=colours[index], linestyle=":", linewidth=1)
            note = f"{name}, bound {ends[name]}"
            axes.annotate(note, (ends[name], 1 - 0.08 * index), (4, 0), color=colours[index], va="top",
                          xycoords=("data", "axes fraction"), textcoords="offset points")  # fmt: skip
        axes.set_yscale("log")
        axes.set(xlabel=x, ylabel=y)
        axes.margins(x=0.16)
        axes.set_xlim(left=0)
    return figure


def memory_of_a_text(
    memories, *, tokens: int, place: int, wanted: Sequence[int], found: Sequence[int], by: str
) -> Figure:
    """The matrices that remember a text, and where in the text the key stood that was read back from them.

    memories: (layers, heads, d_key, d_value), each on its own signed scale; place: the key's token; wanted, found: the
    digits that were said and answered; by: who wrote the functions that read
    """
    memories = array(memories)
    layers, heads = memories.shape[:2]
    with style():
        figure = plt.figure(figsize=(2.1 * layers * heads, 4), layout="constrained")
        names = [f"layer {layer + 1}, head {head + 1}" for layer, head in np.ndindex(layers, heads)]
        places = figure.subplot_mosaic([["text"] * len(names), names], height_ratios=(0.3, 1))
        strip = places.pop("text")
        strip.plot([0, tokens], [0, 0], color=TOKENS["line"], linewidth=7, solid_capstyle="butt")
        strip.plot([place] * 2, [-0.6, 0.6], color=TOKENS["mark"], linewidth=2)
        said, told = (" ".join(map(str, digits)) for digits in (wanted, found))
        strip.annotate(f"said at token {place:,}: {said}", (place, 0.8), ha="center", color=TOKENS["mark"])
        strip.annotate(f"found: {told}", (tokens, 0.8), ha="right", color=TOKENS["ink"])
        strip.set(ylim=(-1, 2.2), yticks=[], xticks=[0, tokens], xticklabels=["0", f"{tokens:,} tokens"])
        strip.spines[:].set_visible(False)
        strip.set_title(f"The memory after {tokens:,} tokens")
        for (name, axes), m in zip(places.items(), memories.reshape(-1, *memories.shape[2:]), strict=True):
            most = float(np.abs(m).max()) or 1.0
            axes.imshow(m, cmap=SIGNED, vmin=-most, vmax=most, interpolation="nearest")
            axes.set(xticks=[], yticks=[], xlabel=name)
            axes.spines[:].set_visible(False)
        figure.supxlabel(by, fontsize=9, color=TOKENS["ink-2"])
    return figure
