"""The lessons of the course, in order, from `lessons.toml`: the one place that lists them.

A lesson's number is its place. A file that a learner sees is named by both (`03_flash_attention.ipynb`), a file of ours
by its name alone. What the first edition called things, by number, stands in `first_edition.json`: old addresses and
answers that readers kept are found again by it.
"""

import json
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("lessons.toml")
FIRST_EDITION = Path(__file__).with_name("first_edition.json")


@dataclass(frozen=True)
class Lesson:
    """One row of the table. number: its place, from 0; the rest as lessons.toml says."""

    number: int
    name: str
    title: str
    question: str
    can: str
    needs: tuple[str, ...]
    mechanisms: tuple[str, ...]
    checks: tuple[str, ...]
    instruments: tuple[str, ...]
    tests: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """What its printed files are called, without their ending."""
        return f"{self.number:02}_{self.name}"

    @property
    def heading(self) -> str:
        return f"{self.number}. {self.title}" if self.number else self.title


@cache
def lessons() -> tuple[Lesson, ...]:
    """All rows. Raises ValueError, which says where, for a row that lacks something or needs what comes later."""
    rows = tomllib.loads(TABLE.read_text(encoding="utf-8"))["lesson"]
    found: dict[str, Lesson] = {}
    for number, row in enumerate(rows):
        row = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
        try:
            lesson = Lesson(number, **row)
        except TypeError as error:
            raise ValueError(f"{TABLE.name}, lesson {row.get('name', number)}: {error}") from None
        for need in lesson.needs:
            if need not in found:
                raise ValueError(f"{TABLE.name}, lesson {lesson.name} needs {need}; before it come {', '.join(found)}.")
        if lesson.name in found:
            raise ValueError(f"{TABLE.name}: {lesson.name} is there twice.")
        found[lesson.name] = lesson
    return tuple(found.values())


def lesson(name: str) -> Lesson:
    """The lesson of a name. Raises ValueError, with the names that there are, for another."""
    for each in lessons():
        if each.name == name:
            return each
    raise ValueError(f"there is no lesson {name!r}; there are {', '.join(each.name for each in lessons())}")


def chosen(word: str) -> Lesson:
    """The lesson that somebody means: by its name, a beginning of it, or its number ("infini", "5", "05")."""
    if word.isdecimal():
        if int(word) < len(lessons()):
            return lessons()[int(word)]
    else:
        meant = [each for each in lessons() if each.name.startswith(word)]
        exact = [each for each in meant if each.name == word]
        if len(exact or meant) == 1:
            return (exact or meant)[0]
    known = ", ".join(f"{each.number} {each.name}" for each in lessons())
    raise ValueError(f"there is no lesson {word!r}; there are {known}")


@cache
def first_edition() -> dict:
    """lessons: its files' stems, in order; exercises: number -> name; questions: number -> name."""
    return json.loads(FIRST_EDITION.read_text(encoding="utf-8"))
