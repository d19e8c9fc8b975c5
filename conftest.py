"""What every test, and every kernel that a notebook test starts, finds in its environment."""

import os
import re
import signal
from functools import cache
from pathlib import Path

import pytest

from solutions import references

ROOT = Path(__file__).resolve().parent

# a run that a script started in the background ignores Ctrl-C, and so would all that the tests start
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ["COURSE_PROGRESS"] = "off"  # a test run is no reader: it leaves work/progress.json alone
os.environ["OMP_NUM_THREADS"] = "1"  # as when the press printed: sums in another order differ in their last bits
# the kernels import this folder's course, although another checkout's may be installed in the environment
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each of those kernels compiles the course again

# what the lessons show while nbval runs them, the site shows: it is not executed once more
os.environ["COURSE_STATES"] = str(ROOT / "book" / "_build" / "states" / references.made_from())


# --- the tests of one lesson ---


def pytest_configure(config):
    config.option.nbval_sanitize_with = str(ROOT / "tests" / "pictures.cfg")


def pytest_addoption(parser):
    told = "what one lesson is made of, and nothing else: its mechanisms, checkers, notebook, page and instruments"
    parser.addoption("--lesson", metavar="NAME", help=told)


@cache
def made_of(word: str) -> tuple[set[Path], re.Pattern]:
    """The files of a lesson's own tests, and what the others say in the name of a test that is about it."""
    from solutions.checks import EXERCISES
    from solutions.lessons import chosen

    try:
        lesson = chosen(word)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    own = [f"tests/test_{name}.py" for name in (*lesson.mechanisms, *lesson.tests)]
    own += [f"{folder}/test_{name}.py" for name in lesson.instruments for folder in ("tests", "tests/browser")]
    names = [exercise.name for exercise in EXERCISES.values() if exercise.lesson == lesson.name]
    words = "|".join(map(re.escape, [lesson.stem, lesson.name, *names]))
    return {ROOT / path for path in [*own, f"lessons/{lesson.stem}.ipynb"]}, re.compile(rf"\[(.*[/-])?({words})\b")


ABOUT = ("test_checks.py", "test_notebooks.py", "browser/test_lesson_pages.py", "browser/test_site.py")
ABOUT_LESSONS = {ROOT / "tests" / name for name in ABOUT}


def pytest_ignore_collect(collection_path, config):
    if config.getoption("--lesson") and collection_path.is_file():
        return collection_path not in made_of(config.getoption("--lesson"))[0] | ABOUT_LESSONS or None
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    on_the_site = [item for item in items if "site" in getattr(item, "fixturenames", ())]
    for item in on_the_site:
        item.add_marker("site")
    visits = {item.path for item in on_the_site}
    # lessons first, since they leave what the site shows, and the longest file; last what waits for the site
    long = ROOT / "tests" / "test_notebooks.py"
    items.sort(key=lambda item: (item.path in visits, item.path.suffix != ".ipynb", item.path != long))
    if config.getoption("--lesson"):
        files, about = made_of(config.getoption("--lesson"))
        kept = [item for item in items if item.path in files or about.search(item.nodeid)]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
