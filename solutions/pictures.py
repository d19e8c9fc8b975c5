"""A picture with its alternative text, as a notebook stores it.

JupyterLab has no alternative text for an output that is an image, and GitHub takes the styles out of SVG. A PNG in an
`<img>` serves both, also where nothing has run and nothing is trusted.
"""

import html
import re
from typing import NamedTuple

PICTURE = re.compile(r'<img(?: class="[\w-]+")? alt="([^"]*)"(?: width="\d+")? src="data:image/png;base64,([^"]*)">')


class Picture(NamedTuple):
    """alt: what it shows, in words; png: its bytes in base64."""

    alt: str
    png: str


def as_html(alt: str, png: str, *, width: int | None = None, name: str = "") -> str:
    """A picture as HTML. width: in CSS pixels, where it is not the PNG's own; name: a class, for a page's style."""
    kind, size = (f' class="{name}"' if name else ""), (f' width="{width}"' if width else "")
    return f'<img{kind} alt="{html.escape(alt)}"{size} src="data:image/png;base64,{png.strip()}">'


def picture_of(data: dict) -> Picture | None:
    """The picture in the data of an output, None where there is none."""
    found = PICTURE.search("".join(data.get("text/html", "")))
    return Picture(html.unescape(found[1]), found[2]) if found else None
