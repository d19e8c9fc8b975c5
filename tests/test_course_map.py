"""The map of the course says what the lessons themselves say."""

import re
import sys
from xml.etree import ElementTree

import pytest
from bound import ROOT

sys.path.insert(0, str(ROOT / "book"))

import course_map

from solutions.lessons import lesson, lessons


def named(name: str) -> set[str]:
    """The lessons that a lesson's text speaks of or takes code from."""
    text = (ROOT / "book" / "lessons" / f"{name}.md").read_text(encoding="utf-8")
    imported = set(re.findall(r"\w+", " ".join(re.findall(r"^from solutions.*$", text, re.MULTILINE))))
    spoken_of = re.findall(r"\{\w+\}`(\w+)`|\]\(lesson:(\w+)", text)
    return {each.name for each in lessons() if imported & set(each.mechanisms)} | {a or b for a, b in spoken_of}


# what the interview leans on is everything, and the first lesson is no mechanism
LEANING = [each for each in lessons() if each.mechanisms and each.needs != ("start_here",)]


@pytest.mark.parametrize("row", LEANING, ids=lambda row: row.name)
def test_a_lesson_that_needs_another_names_it(row):
    assert set(row.needs) <= named(row.name)


def test_the_picture_is_drawn_from_the_table_and_says_it_in_words():
    root = ElementTree.fromstring(course_map.svg())
    assert root.get("role") == "img"
    for each in lessons():
        assert each.question in root.get("aria-label") and each.title in root.get("aria-label")
    arcs = [path for path in root.iter("{http://www.w3.org/2000/svg}path") if path.get("marker-end")]
    assert len(arcs) == sum(len(each.needs) for each in lessons())


def test_where_its_rows_are_links_they_say_themselves_what_they_are():
    root = ElementTree.fromstring(course_map.svg("lessons/{}.html"))
    links = [*root.iter("{http://www.w3.org/2000/svg}a")]
    assert [link.get("href") for link in links] == [f"lessons/{each.stem}.html" for each in lessons()]
    assert all(each.title in "".join(link.itertext()) for each, link in zip(lessons(), links, strict=True))
    assert root.get("role") == "group" and "Which needs which" in root.get("aria-label")


def test_the_longest_arc_stays_in_the_picture():
    """A Bézier curve's leftmost place is three quarters of the way to its controls."""
    for ends, control in re.findall(r'd="M (\d+) \d+ C (-?\d+)', course_map.svg()):
        assert int(ends) + 0.75 * (int(control) - int(ends)) >= 1
    assert max(lesson(need).number for each in lessons() for need in each.needs) < len(lessons())
