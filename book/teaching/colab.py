"""The lessons for Colab, which opens a notebook alone: a first cell fetches the course, and a link opens the lesson.

Run as `python book/teaching/colab.py [--out work/colab] [NAME ...]`. Needs the project's public address, in
`book/_config.yml` or in COURSE_ADDRESS.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "book")]

import press  # noqa: E402
import yaml  # noqa: E402
from nbformat import NotebookNode  # noqa: E402
from nbformat.v4 import new_code_cell, new_markdown_cell  # noqa: E402
from press import PressError, lesson  # noqa: E402

# torch, numpy, matplotlib and ipywidgets are there. What is there already is not moved to another version.
SETUP = """\
# On Colab this cell fetches the course. Elsewhere it does nothing.
import os
import sys

if "google.colab" in sys.modules:
    if not os.path.isdir("course"):
        !git clone --quiet --depth 1 --branch {branch} {address} course
        %pip install --quiet anywidget safetensors tqdm
    sys.path.insert(0, os.path.abspath("course"))
"""


def repository() -> tuple[str, str]:
    """The project's public address and branch; the address is "" while it has none."""
    configured = yaml.safe_load((ROOT / "book" / "_config.yml").read_text(encoding="utf-8"))["repository"]
    address = os.environ.get("COURSE_ADDRESS", configured["url"] or "")
    return address.strip().rstrip("/"), configured["branch"]


def opening(name: str, address: str, branch: str) -> list[NotebookNode]:
    """What comes before a lesson: the link, where Colab can follow it, and the cell that fetches the course."""
    cells = [new_code_cell(SETUP.format(address=address, branch=branch), id="colab")]
    if project := re.fullmatch(r"https://github\.com/([^/]+/[^/]+?)(\.git)?", address):
        link = f"https://colab.research.google.com/github/{project[1]}/blob/{branch}/lessons/{name}.ipynb"
        cells.insert(0, new_markdown_cell(f"[Open in Colab]({link})", id="open-in-colab"))
    return cells


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the lessons for Colab.")
    parser.add_argument("lessons", nargs="*", metavar="NAME", help="lessons to write (all when none is named)")
    parser.add_argument("--out", type=Path, default=ROOT / "work" / "colab", help="folder (default: work/colab)")
    options = parser.parse_args(argv)
    address, branch = repository()
    try:
        if not address:
            raise PressError(
                "the project has no public address yet, and Colab must fetch the course from somewhere. Set "
                "repository.url in book/_config.yml, or COURSE_ADDRESS."
            )
        for text in press.lessons(options.lessons):
            stem = lesson(text.stem).stem
            notebook = press.read(ROOT / "lessons" / f"{stem}.ipynb")
            if notebook is None:
                raise PressError(f"lessons/{stem}.ipynb is missing; course.py build {text.stem} prints it")
            notebook.cells[:0] = opening(stem, address, branch)
            press.write(notebook, options.out.resolve() / f"{stem}.ipynb")
    except PressError as error:
        print(f"colab.py: {error}", file=sys.stderr)
        return 1
    print(f"The lessons for Colab are in {options.out.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
