"""The look, for matplotlib: the same values as tokens.css, which is their only source.

Still figures keep the light theme and a white ground, whatever the page around them does.
"""

import re
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib as mpl
from cycler import cycler

SOURCE = Path(__file__).with_name("tokens.css")
COLOUR = re.compile(r"--([a-z0-9-]+): (#[0-9a-f]{6});")


def tokens(theme: str = "light") -> dict[str, str]:
    """Token name -> colour of one theme, "light" or "dark"."""
    light, dark = SOURCE.read_text(encoding="utf-8").split('.al[data-theme="dark"]')
    return dict(COLOUR.findall({"light": light, "dark": dark}[theme]))


TOKENS = tokens()


def style() -> AbstractContextManager:
    """`with style():` draws as the course does: no top and right spines, hairlines, tensors' colours, direct labels."""
    ink, quiet, line = TOKENS["ink"], TOKENS["ink-2"], TOKENS["line"]
    return mpl.rc_context(
        {
            "figure.facecolor": TOKENS["paper"],
            "savefig.facecolor": TOKENS["paper"],
            "figure.dpi": 100,
            "font.family": "sans-serif",
            "font.size": 10,
            "text.color": ink,
            "axes.facecolor": TOKENS["paper"],
            "axes.edgecolor": line,
            "axes.labelcolor": quiet,
            "axes.titlecolor": ink,
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": cycler(color=[TOKENS[name] for name in ("ink", "mark", "m", "o")]),
            "grid.color": line,
            "grid.linewidth": 0.6,
            "xtick.color": line,
            "ytick.color": line,
            "xtick.labelcolor": quiet,
            "ytick.labelcolor": quiet,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "lines.linewidth": 1.8,
            "lines.markersize": 5,
            "hatch.linewidth": 0.6,
            "hatch.color": line,
            "svg.hashsalt": "attention at length",
        }
    )
