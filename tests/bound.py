"""The site as the tests see it: bound once, and found again when nothing that it is made of has changed."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
TOC = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [
    page["file"]
    for part in TOC["parts"]
    for chapter in part["chapters"]
    for page in (chapter, *chapter.get("sections", []))
]
LESSONS = [name for name in CHAPTERS if name.startswith("lessons/")]
PAGES = [TOC["root"], *CHAPTERS, "search"]


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder that `course.py book` makes."""
    done = subprocess.run([sys.executable, ROOT / "book" / "bind.py"], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / "book" / "_build" / "html"
