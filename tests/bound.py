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
def site(pytestconfig) -> Path:
    """The folder that `course.py book` makes; with --lesson, the one in which that lesson alone lives."""
    lesson = pytestconfig.getoption("--lesson")
    command = [sys.executable, ROOT / "book" / "bind.py", *(["--only", lesson] if lesson else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / "book" / "_build" / ("one/html" if lesson else "html")
