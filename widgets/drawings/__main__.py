"""Draw all drawings, or those named, and keep what pages and notebooks show of them: `python -m widgets.drawings`.

A PNG is made by Chromium, and only where the drawing has changed.
"""

import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from solutions.whole import write_whole
from widgets.drawings import PRINTED, WIDE, Drawing, drawn, names
from widgets.drawings.canvas import variables
from widgets.kit.chromium import chromium, flags

MARGIN, SCALE, COLOURS = 16, 2, 64
PAGE = """<!doctype html><meta charset="utf-8">
<style>html {{ {variables} }} body {{ margin: 0; padding: {margin}px; background: var(--paper); }}</style>
{svg}"""


def made_from(path: Path) -> str | None:
    """What a PNG says that it was made from."""
    return Image.open(path).info.get("made from") if path.exists() else None


def png(drawing: Drawing) -> bytes:
    """The drawing in its light colours on the course's paper, at twice its size."""
    svg = drawing.alone("light")
    height = int(svg.partition(' height="')[2].partition('"')[0])
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder, "page.html"), Path(folder, "shot.png")
        page.write_text(PAGE.format(variables=variables("light"), margin=MARGIN, svg=svg), encoding="utf-8")
        size = f"--window-size={WIDE + 2 * MARGIN},{height + 2 * MARGIN}"
        quiet = [f"--force-device-scale-factor={SCALE}", "--hide-scrollbars", "--headless", "--disable-gpu", *flags()]
        command = [chromium() or "chromium", *quiet, size, f"--screenshot={shot}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        image = Image.open(BytesIO(shot.read_bytes())).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    told, out = PngInfo(), BytesIO()
    told.add_text("made from", drawing.made_from)
    image.save(out, "PNG", pnginfo=told, optimize=True)
    return out.getvalue()


def main(wanted: list[str]) -> None:
    PRINTED.mkdir(exist_ok=True)
    for name in wanted or names():
        drawing, path = drawn(name), PRINTED / f"{name}.png"
        write_whole(path.with_suffix(".svg"), drawing.svg)
        if made_from(path) != drawing.made_from:
            write_whole(path, png(drawing))
    for path in [] if wanted else PRINTED.iterdir():
        if path.stem not in names():
            path.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
