"""What a drawing is made of: shapes and words in the course's colours, written as SVG.

A canvas is 720 units wide, or 360 for a narrow page, with the same sizes of type on both: what stands side by side on
the one stands in a column on the other. Colours are names of tokens, such as "q" or "ink-2". There are no ids and no
markers, so that one page may hold any number of drawings.
"""

import math
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

from widgets.kit.tokens import tokens

WIDE, NARROW = 720, 360
TITLE, WORDS, SMALL = 17, 14, 13  # sizes of type
NARROW_LETTERS, BROAD_LETTERS = frozenset(" .,:;'|!()[]{}iIjlftr·-"), frozenset("mwMW@%")


def number(value: float) -> str:
    """A coordinate, no longer than it needs to be."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def extent(words: str, size: float) -> float:
    """How wide words are at most, roughly: as in the widest of the fonts that the course asks for."""
    shares = (
        0.4 if c in NARROW_LETTERS else 0.98 if c in BROAD_LETTERS else 0.7 if c.isupper() else 0.6 for c in words
    )
    return size * sum(shares)


def wrapped(words: str, width: float, size: float) -> list[str]:
    """Words in lines that fit a width."""
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if extent(longer, size) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


class Canvas:
    """A sheet on which things are drawn from top to bottom; `height` grows with what is put there."""

    def __init__(self, width: int):
        self.width, self.height = width, 0.0
        self.parts: list[str] = []

    @property
    def narrow(self) -> bool:
        return self.width < WIDE

    def choose(self, wide, narrow):
        """The one of two values that is meant for this width."""
        return narrow if self.narrow else wide

    def put(self, part: str, bottom: float) -> None:
        self.parts.append(part)
        self.height = max(self.height, bottom)

    # --- shapes ---

    def rect(
        self,
        x: float,
        y: float,
        w: float,
        h: float,
        fill: str = "",
        *,
        line: str = "",
        opacity: float = 1,
        radius: float = 0,
        dash: str = "",
        width: float = 1,
    ) -> None:
        kind = f'fill="var(--{fill})"' if fill else 'fill="none"'
        kind += f' fill-opacity="{opacity:g}"' if fill and opacity < 1 else ""
        kind += f' stroke="var(--{line})" stroke-width="{width:g}"' if line else ""
        kind += f' stroke-dasharray="{dash}"' if dash else ""
        kind += f' rx="{radius:g}"' if radius else ""
        self.put(f'<rect x="{number(x)}" y="{number(y)}" width="{number(w)}" height="{number(h)}" {kind}/>', y + h)

    def cells(self, cells: Iterable[tuple[float, float, float, float]], fill: str, opacity: float = 1) -> None:
        """Many rectangles (x, y, w, h) of one colour, a token or a colour as it is."""
        cells = list(cells)
        d = "".join(f"M{number(x)} {number(y)}h{number(w)}v{number(h)}h{number(-w)}z" for x, y, w, h in cells)
        self.path(d, fill=fill, opacity=opacity, bottom=max(y + h for _, y, _, h in cells))

    def hatch(self, x: float, y: float, w: float, h: float, colour: str = "ink-2", step: float = 6) -> None:
        """Slanting lines within a rectangle, cut off at its sides."""
        strokes = []
        for at in range(1, math.ceil((w + h) / step)):
            reach = at * step  # of the line on which x + y is constant
            left, right = max(0.0, reach - h), min(reach, w)
            if right > left:
                strokes.append(
                    f"M{number(x + left)} {number(y + reach - left)}L{number(x + right)} {number(y + reach - right)}"
                )
        self.put(f'<path d="{"".join(strokes)}" stroke="var(--{colour})" stroke-width=".8" opacity=".6"/>', y + h)

    def line(
        self, points: Sequence[tuple[float, float]], colour: str = "line", width: float = 1, dash: str = ""
    ) -> None:
        self.path(strokes(points), colour=colour, width=width, dash=dash, bottom=max(y for _, y in points))

    def arrow(
        self, points: Sequence[tuple[float, float]], colour: str = "ink-2", width: float = 1.5, dash: str = ""
    ) -> None:
        """A line through points, with a tip at the last."""
        (x0, y0), (x, y) = points[-2:]
        length = math.hypot(x - x0, y - y0)
        ux, uy, tip = (x - x0) / length, (y - y0) / length, 4 + 2 * width
        base = (x - tip * ux, y - tip * uy)
        self.line([*points[:-1], base], colour, width, dash)
        sides = [(base[0] - side * tip * 0.45 * uy, base[1] + side * tip * 0.45 * ux) for side in (1, -1)]
        self.path(strokes([(x, y), *sides]) + "z", fill=colour, bottom=y)

    def path(
        self,
        d: str,
        *,
        fill: str = "",
        colour: str = "",
        width: float = 1,
        dash: str = "",
        opacity: float = 1,
        bottom: float,
    ) -> None:
        """A path; fill and colour are names of tokens, or a colour as it is."""
        kind = f'fill="{paint(fill)}"' if fill else 'fill="none"'
        kind += f' fill-opacity="{opacity:g}"' if fill and opacity < 1 else ""
        kind += f' stroke="var(--{colour})" stroke-width="{width:g}"' if colour else ""
        kind += f' stroke-dasharray="{dash}"' if dash else ""
        self.put(f'<path d="{d}" {kind}/>', bottom)

    # --- words ---

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: float = WORDS,
        colour: str = "ink",
        anchor: str = "start",
        *,
        bold: bool = False,
        mono: bool = False,
        halo: bool = False,
    ) -> None:
        """Words at a point of their baseline; a halo keeps them apart from the line that they stand on."""
        kind = f'font-size="{size:g}" fill="var(--{colour})"'
        kind += f' text-anchor="{anchor}"' if anchor != "start" else ""
        kind += ' font-weight="600"' if bold else ""
        kind += ' class="mono"' if mono else ""
        kind += ' paint-order="stroke" stroke="var(--paper)" stroke-width="5"' if halo else ""
        self.put(f'<text x="{number(x)}" y="{number(y)}" {kind}>{escape(words)}</text>', y + 0.3 * size)

    def paragraph(
        self,
        x: float,
        y: float,
        words: str,
        width: float,
        size: float = WORDS,
        colour: str = "ink-2",
        anchor: str = "start",
    ) -> float:
        """Words in as many lines as they need, the first at y. Returns where a next line would stand."""
        for line in wrapped(words, width, size):
            self.text(x, y, line, size, colour, anchor)
            y += round(1.4 * size)
        return y

    def title(self, words: str, more: str = "") -> float:
        """The title, and a sentence under it. Returns the top of what is left."""
        y = 18.0
        for line in wrapped(words, self.width, TITLE * 1.1):
            self.text(0, y, line, TITLE, bold=True)
            y += 22
        return (self.paragraph(0, y + 2, more, self.width) if more else y) - 2

    def big(self, x: float, y: float, words: str, unit: str = "", colour: str = "ink", anchor: str = "start") -> None:
        """The number of a drawing, and its unit, on a line at y."""
        size = self.choose(44, 34)
        after = f' <tspan font-size="{WORDS + 2}" font-weight="400">{escape(unit)}</tspan>' if unit else ""
        self.put(
            f'<text x="{number(x)}" y="{number(y)}" font-size="{size}" font-weight="600" letter-spacing="-.02em" '
            f'fill="var(--{colour})" text-anchor="{anchor}">{escape(words)}{after}</text>',
            y + 6,
        )

    @property
    def size(self) -> tuple[int, int]:
        return self.width, math.ceil(self.height) + 4

    def svg(self, attributes: str) -> str:
        width, height = self.size
        return f'<svg {attributes} viewBox="0 0 {width} {height}">\n' + "\n".join(self.parts) + "\n</svg>"


def paint(colour: str) -> str:
    return colour if colour.startswith("#") else f"var(--{colour})"


def strokes(points: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)


def variables(theme: str) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in tokens(theme).items())


STYLE = f"""<style>
.drawing {{ {variables("light")} }}
@media (prefers-color-scheme: dark) {{ .drawing {{ {variables("dark")} }} }}
html[data-theme="light"] .drawing, .drawing[data-theme="light"] {{ {variables("light")} }}
html[data-theme="dark"] .drawing, .drawing[data-theme="dark"] {{ {variables("dark")} }}
.drawing {{
  display: block; width: 100%; max-width: {WIDE}px; height: auto; aspect-ratio: var(--shape); margin: 28px 0;
  font-family: system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif; font-variant-numeric: tabular-nums;
}}
.drawing .mono {{ font-family: ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", monospace; }}
.drawing .narrow {{ display: none; }}
@media (max-width: 640px) {{
  .drawing {{ max-width: 440px; aspect-ratio: var(--narrow-shape); }}
  .drawing .wide {{ display: none; }}
  .drawing .narrow {{ display: inline; }}
}}
</style>"""
