"""The map of the course says what the lessons themselves say."""

import re
import sys
from xml.etree import ElementTree

from bound import ROOT

sys.path.insert(0, str(ROOT / "book"))

import course_map
from course_map import LESSONS

TEXTS = {int(path.name[:2]): path.read_text(encoding="utf-8") for path in (ROOT / "book" / "lessons").glob("0*.md")}
MODULES = {"quadratic": 1, "local_global": 2, "tiny": 2, "streams": 2, "flash": 3, "infini": 4, "sparse": 5}


def named(text: str) -> set[int]:
    """The lessons that a text speaks of or takes code from."""
    imported = re.findall(r"\w+", " ".join(re.findall(r"^from solutions.*$", text, re.MULTILINE)))
    spoken_of = re.findall(r"\b[Ll]esson (\d)", text)
    return {MODULES[name] for name in imported if name in MODULES} | {int(number) for number in spoken_of}


def test_a_lesson_that_needs_another_names_it():
    for number, lesson in enumerate(LESSONS):
        if 1 < number < 6:
            assert set(lesson.needs) <= named(TEXTS[number]), lesson.title


def test_nothing_is_needed_before_it_has_been_read():
    for number, lesson in enumerate(LESSONS):
        assert all(need < number for need in lesson.needs)
        assert bool(lesson.needs) == (number > 0)


def test_the_titles_are_the_lessons_titles():
    for number, text in TEXTS.items():
        heading = re.search(r"^# (?:\d\. )?(.+)$", text, re.MULTILINE)[1]
        assert plain(heading).startswith(plain(LESSONS[number].title)), heading


def plain(title: str) -> str:
    return title.replace(" ", "").lower()


def test_the_picture_is_what_the_code_draws_and_says_it_in_words():
    stored = course_map.PICTURE.read_text(encoding="utf-8")
    assert stored == course_map.svg() + "\n", "run python book/course_map.py"
    root = ElementTree.fromstring(stored)
    assert root.get("role") == "img"
    assert all(lesson.question in root.get("aria-label") for lesson in LESSONS)
    arcs = [path for path in root.iter("{http://www.w3.org/2000/svg}path") if path.get("marker-end")]
    assert len(arcs) == sum(len(lesson.needs) for lesson in LESSONS)
