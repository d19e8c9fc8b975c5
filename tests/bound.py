"""The site as the tests see it: bound once, and found again when nothing that it is made of has changed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book"))

import contents  # noqa: E402

CHAPTERS = contents.chapters()
LESSONS = [name for name in CHAPTERS if name.startswith("lessons/")]
PAGES = ["index", *CHAPTERS, "search"]


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder that `course.py book` makes."""
    done = subprocess.run([sys.executable, ROOT / "book" / "bind.py"], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / "book" / "_build" / "html"
