"""The still drawings of the lessons: SVG in the course's colours, every number in it computed from the course.

A drawing is a function that draws on a canvas, once for a wide page and once for a narrow one, and returns what it
shows in words, its alternative text:

    @drawing
    def three_counts(page: Canvas) -> str:
        ...

A lesson places it with a cell tagged `drawing` that holds its name. The press turns it into `show("three_counts")`: in
a notebook an image with its alternative text, which GitHub and JupyterLab show also where nothing has run; on the site
the SVG itself, which follows the page's theme and width. `python -m widgets.drawings` draws all and keeps in `printed/`
what they show: SVG and PNG.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from solutions.pictures import as_html
from widgets.drawings.canvas import NARROW, STYLE, WIDE, Canvas

PRINTED = Path(__file__).parent / "printed"
LESSONS = (
    "start_here",
    "quadratic_attention",
    "local_and_global",
    "flash_attention",
    "flash_in_triton",
    "infini_attention",
    "deepseek_sparse_attention",
    "from_2k_to_128k",
    "the_interview",
)
WIDE_CANVAS = re.compile(r'<svg class="wide" viewBox="0 0 (\d+) (\d+)">\n(.*?)\n</svg>', re.DOTALL)
DRAWINGS: dict[str, Callable[[Canvas], str]] = {}


def drawing(draws: Callable[[Canvas], str]) -> Callable[[Canvas], str]:
    """Enter a function among the drawings, under its name."""
    DRAWINGS[draws.__name__] = draws
    return draws


@cache
def names() -> tuple[str, ...]:
    """All drawings, in the order of the lessons."""
    for lesson in LESSONS:
        import_module(f"widgets.drawings.{lesson}")
    return tuple(DRAWINGS)


@dataclass(frozen=True)
class Drawing:
    """A drawing. svg: a piece of a page, in the colours of its theme, of whose two canvases the width shows one."""

    name: str
    svg: str

    @property
    def alt(self) -> str:
        """What it shows, in words."""
        found = re.search(r'aria-label="([^"]*)"', self.svg)
        assert found is not None
        return html.unescape(found[1])

    def alone(self, theme: str) -> str:
        """A file of its own, wide, in one theme."""
        found = WIDE_CANVAS.search(self.svg)
        assert found is not None
        width, height, parts = found.groups()
        head = f'<svg xmlns="http://www.w3.org/2000/svg" class="drawing" data-theme="{theme}"'
        head += f' viewBox="0 0 {width} {height}"'
        return (
            f'{head} width="{width}" height="{height}" style="width: {width}px; margin: 0">\n{STYLE}\n{parts}\n</svg>\n'
        )

    @property
    def made_from(self) -> str:
        """A digest of what its PNG shows."""
        return hashlib.sha256(self.alone("light").encode()).hexdigest()[:16]

    def _repr_mimebundle_(self, **kwargs) -> dict[str, str]:
        """An image that any host shows, also where nothing has run; a dark JupyterLab that has run it shows it dark."""
        dark = base64.b64encode(self.alone("dark").encode()).decode()
        png = base64.b64encode((PRINTED / f"{self.name}.png").read_bytes()).decode()
        style = f'[data-jp-theme-light="false"] .{self.name} {{ content: url(data:image/svg+xml;base64,{dark}) }}'
        picture = as_html(self.alt, png, width=WIDE, name=self.name)
        return {"text/html": f"<style>{style}</style>\n{picture}", "text/plain": self.alt}


def drawn(name: str) -> Drawing:
    """A drawing, drawn now from what the course computes. Raises ValueError for a name that there isn't."""
    if name not in names():
        raise ValueError(f"there is no drawing {name!r}; there are {', '.join(names())}")
    wide, narrow = Canvas(WIDE), Canvas(NARROW)
    alt = DRAWINGS[name](wide)
    DRAWINGS[name](narrow)
    shapes = [" / ".join(map(str, page.size)) for page in (wide, narrow)]
    head = f'<svg class="drawing" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{html.escape(alt)}"'
    head += f' style="--shape: {shapes[0]}; --narrow-shape: {shapes[1]}">'
    return Drawing(name, "\n".join([head, STYLE, wide.svg('class="wide"'), narrow.svg('class="narrow"'), "</svg>\n"]))


def kept(name: str) -> Drawing:
    """A drawing as it was printed."""
    return Drawing(name, (PRINTED / f"{name}.svg").read_text(encoding="utf-8"))


def show(name: str) -> None:
    """Show a drawing in a notebook."""
    from IPython.display import display

    display(kept(name))
