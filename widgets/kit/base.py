"""The base of every instrument: one view, drawn from recorded data, in every host.

An instrument is a folder with a `view.js` (exports `render({ model, el })`, which returns its clean-up), a `view.css`
and a Python class. Python sends `data` once; after that the page answers alone. Only the Atlas asks a kernel for more,
where one is alive, and says what is not recorded where none is.

What a host keeps, each line tried in Chromium 156:

| host | picture | answers the reader | reader's choice reaches Python |
|---|---|---|---|
| JupyterLab 4.6, kernel running | yes | yes | yes |
| JupyterLab 4.6, notebook reopened without its kernel | no, the text twin stands in its place | no | no |
| static page from file://, network blocked | yes | yes | there is none |
| one page by save_html(), from file:// | yes | yes | there is none |

Static pages. With COURSE_STATIC=1 in the environment an instrument also prints itself as HTML: its state as JSON, and
its text twin. Write `static_assets()` into the page's static folder and load both files, in any order and from
anywhere on the page (`instruments.js` is a classic script and waits for the document). A page loads no kind that it
doesn't hold; the kinds stand in a folder beside:

    for name, text in static_assets().items():      # instruments.js, instruments.css
        (static / name).write_text(text, encoding="utf-8")
    for name, text in static_kinds().items():       # atlas.js, ledger.js, ...
        (static / "kinds" / name).write_text(text, encoding="utf-8")

With COURSE_STATES=folder it leaves that HTML there instead, and what the cell prints stays as it is: so a run that
compares what is printed also serves the site.
"""

import base64
import hashlib
import html
import json
import os
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import numpy as np
import traitlets

from solutions.whole import write_whole
from widgets.kit import link

KINDS: dict[str, Path] = {}
TWIN = '<p data-twin style="white-space: pre-line">'  # how an instrument's words begin in a page

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ max-width: 1000px; margin: 0 auto; padding: 16px; font-family: system-ui, sans-serif; }}
{css}</style>
<main>
{body}
</main>
<script>
{script}</script>
</html>
"""


def packed(array: np.ndarray) -> dict[str, Any]:
    """An array as it travels: never a JSON list. Little-endian, row by row; view.js reads it with `numbers`."""
    array = np.ascontiguousarray(array)
    little = array.astype(array.dtype.newbyteorder("<"))
    return {"dtype": array.dtype.name, "shape": list(array.shape), "bytes": little.tobytes()}


def unpacked(array: dict[str, Any]) -> np.ndarray:
    """The array that `packed` sent."""
    dtype = np.dtype(array["dtype"]).newbyteorder("<")
    return np.frombuffer(array["bytes"], dtype=dtype).reshape(array["shape"])


def _bytes_as_base64(value: object) -> dict[str, str]:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    raise TypeError(f"an instrument's state holds dicts, lists, text, numbers and bytes, not {type(value).__name__}")


def keep_state(folder: Path, instrument: "Instrument") -> None:
    """Keep what a static page needs of an instrument, found again by its twin; of two with one twin, neither."""
    path, state = folder / _named_after(instrument.twin()), instrument.static_html()
    if path.exists() and path.read_text(encoding="utf-8") != state:
        state = ""
    write_whole(path, state)


def kept_state(folder: Path, twin: str) -> str | None:
    """What `keep_state` kept of the instrument that says `twin`; None where there is no such, or more than one."""
    path = folder / _named_after(twin)
    return (path.read_text(encoding="utf-8") if path.exists() else "") or None


def _named_after(twin: str) -> str:
    return f"{hashlib.sha256(twin.encode()).hexdigest()[:16]}.html"


class Instrument(anywidget.AnyWidget):
    """One view with its data.

    A subclass sets `view` (the path of its view.js), fills `data` and says itself in `twin()`.
    data: what was measured, sent once; arrays inside it are `packed`.
    reader: what the reader did (a choice, a prediction). Live, it can be read back here.
    alone: stands on a page or two of a site, and brings its code there instead of adding to what every page loads.
    """

    view: ClassVar[Path]
    alone: ClassVar[bool] = False
    data = traitlets.Dict().tag(sync=True)
    reader = traitlets.Dict().tag(sync=True)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # traitlets makes a subclass of its own for every instance; only a class that brings a view is a kind.
        if "view" in cls.__dict__:
            if not cls.alone:
                KINDS[cls.kind()] = cls.view
            cls._esm = link.module(cls.view)
            cls._css = link.stylesheet([cls.style()])
        super().__init_subclass__(**kwargs)

    @classmethod
    def kind(cls) -> str:
        """The name of the instrument's folder."""
        return cls.view.parent.name

    @classmethod
    def style(cls) -> Path:
        """What the instrument's looks add to those of all."""
        return cls.view.with_suffix(".css")

    def twin(self) -> str:
        """What the untouched picture says, in words; the same words on every machine."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.twin()

    def static_html(self) -> str:
        """The instrument as a piece of a page that loads `static_assets()`."""
        state = {"kind": self.kind(), "state": {"data": self.data, "reader": self.reader}}
        text = json.dumps(state, default=_bytes_as_base64, sort_keys=True, separators=(",", ":"), allow_nan=False)
        # "</" would end the script element early.
        text = text.replace("</", "<\\/")
        return (
            f"{link.piece(self.kind(), self.view, self.style()) if self.alone else ''}"
            f'<div data-instrument="{self.kind()}">'
            f'<script type="application/json">{text}</script>'
            f"{self._twin_html()}</div>"
        )

    def _twin_html(self) -> str:
        return f"{TWIN}{html.escape(self.twin())}</p>"

    def save_html(self, path: str | os.PathLike[str]) -> Path:
        """Write one self-contained page, alive without network or kernel. Returns its path."""
        views = {} if self.alone else {self.kind(): self.view}
        page = PAGE.format(
            title=html.escape(self.twin().splitlines()[0]),
            css=link.stylesheet([] if self.alone else [self.style()]),
            body=self.static_html(),
            script=link.script(views),
        )
        path = Path(path)
        path.write_text(page, encoding="utf-8")
        return path

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        bundle = super()._repr_mimebundle_(**kwargs)
        assert bundle is not None  # every instrument has a view
        data, metadata = bundle
        data["text/plain"] = self.twin()
        if folder := os.environ.get("COURSE_STATES"):
            keep_state(Path(folder), self)
        static = os.environ.get("COURSE_STATIC") == "1"
        # A live host prefers the widget. JupyterLab falls back on HTML, not on text, once the kernel is gone.
        data["text/html"] = self.static_html() if static else self._twin_html()
        return data, metadata


def static_assets() -> dict[str, str]:
    """File name -> text of what every static page loads: the kit, and the looks of all kinds."""
    import widgets  # noqa: F401  every kind is known once the package is imported

    styles = [view.with_suffix(".css") for view in KINDS.values()]
    return {"instruments.js": link.script({}), "instruments.css": link.stylesheet(styles)}


def static_kinds() -> dict[str, str]:
    """File name -> text of the kinds: they stand in the folder `kinds` beside `instruments.js`, which asks for one."""
    import widgets  # noqa: F401

    return {f"{name}.js": link.beside(name, view) for name, view in KINDS.items()}
