"""Practice and Mock: the questions of the interview under a clock, in one view.

Python reads the questions and keeps the answers; which question comes next is decided in rules.js and mock.js, so that
a page without a kernel practises just as well and keeps its answers in the browser.
"""

import os
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import traitlets

from solutions.lessons import first_edition, lessons
from solutions.lessons import lesson as row
from solutions.references import resolve
from widgets.interview import bank, keep, mock
from widgets.kit.base import Instrument

NOT_KEPT = "COURSE_PROGRESS is off: answers are not kept"


class Interview(Instrument):
    """What both share. `reader` is all that was answered: see keep.py."""

    view = Path(__file__).with_name("view.js")
    alone = True
    live = traitlets.Bool(True).tag(sync=True)  # a static page has none: it keeps the answers itself

    def __init__(self, data: dict[str, Any], progress: str | os.PathLike[str] | None):
        self.file = keep.place() if progress is None else Path(progress)
        reader, notice = keep.load(self.file)
        questions = shown_questions()
        asked = {each["lesson"] for each in questions}
        titles = {str(row.number): row.title for row in lessons() if row.number in asked}
        kept = f"kept in {self.file.parent.name}/{self.file.name}" if self.file else NOT_KEPT
        boxes = {"days": mock.BOXES, "rise": mock.RISE, "fall": mock.FALL}
        before = first_edition()["questions"]
        data = {**data, "questions": questions, "titles": titles, "boxes": boxes, "kept": kept, "notice": notice}
        data["before"] = before  # number -> name: what a browser has kept under the numbers of the first edition
        super().__init__(data=data, reader=reader)
        self.observe(self._keep, "reader")

    def _keep(self, change: dict[str, Any]) -> None:
        if problem := keep.save(self.file, change["new"]):
            self.data = {**self.data, "notice": problem}


class Practice(Interview):
    """Questions one by one, the due ones first: say or write the answer, reveal, tick the points that you made.

    level: "screen", "onsite" or "research"; lesson: its name or number; None is all, and the page can change both
    progress: the file that keeps the answers; work/interview.json when None
    Raises ValueError for a level or a lesson without questions, BankError for a damaged file of questions.
    """

    def __init__(
        self,
        level: str | None = None,
        lesson: str | int | None = None,
        progress: str | os.PathLike[str] | None = None,
    ):
        if level is not None and level not in bank.LEVELS:
            raise ValueError(f"level is {level!r}; give one of {', '.join(bank.LEVELS)}, or None for all")
        number = None if lesson is None else asked_of(lesson)
        super().__init__({"mode": "practice", "level": level, "lesson": number}, progress)

    def chosen(self) -> list[bank.Question]:
        """The questions of the level and the lesson that it begins with."""
        level, lesson = self.data["level"], self.data["lesson"]
        return [
            question
            for question in bank_questions()
            if level in (None, question.level) and lesson in (None, row(question.lesson).number)
        ]

    def twin(self) -> str:
        chosen = self.chosen()
        levels = Counter(question.level for question in chosen)
        counted = ", ".join(f"{levels[level]} {level}" for level in bank.LEVELS if levels[level])
        first = chosen[0]
        return (
            f"practice: {len(chosen)} questions ({counted}).\n"
            f"The first, {first.level}, {first.minutes} minutes: {first.title}"
        )


class Mock(Interview):
    """A mock interview that follows up, by rule, on what you missed. Left halfway, it goes on where you left it.

    minutes: 20 to 120; progress: as for Practice
    Raises ValueError for other lengths, BankError for a damaged file of questions.
    """

    def __init__(self, minutes: int = 45, progress: str | os.PathLike[str] | None = None):
        self.minutes = minutes
        played = {
            "parts": mock.parts(minutes),
            "rules": mock.rules(minutes),
            "opening": mock.OPENING,
            "nine": mock.nine(),
            "followUps": mock.FOLLOW_UPS,
            "good": mock.GOOD,
            "nineLink": bank.html(resolve(mock.NINE_LINK, bank.PAGE), inline=True),
            "tasks": mock.tasks(),
        }
        super().__init__({"mode": "mock", **played}, progress)

    def twin(self) -> str:
        length = max(len(when) for when, _ in mock.rules(self.minutes))
        table = [f"{when:{length}}  {then}" for when, then in mock.rules(self.minutes)]
        return "\n".join([f"mock interview: {self.minutes} minutes.", *table])


def asked_of(lesson: str | int) -> int:
    """The number of a lesson that has questions, given by name or number. Raises ValueError for another."""
    there = [each for each in lessons() if each.name in {question.lesson for question in bank_questions()}]
    for each in there:
        if lesson in (each.name, each.number) and not isinstance(lesson, bool):
            return each.number
    raise ValueError(f"lesson is {lesson!r}; give one of {', '.join(each.name for each in there)}, or None for all")


@cache
def bank_questions() -> list[bank.Question]:
    return bank.questions()


@cache
def shown_questions() -> list[dict[str, Any]]:
    return [bank.as_data(question) for question in bank_questions()]
