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
        titles = {str(lesson): bank.lesson_title(lesson) for lesson in sorted({each["lesson"] for each in questions})}
        kept = f"kept in {self.file.parent.name}/{self.file.name}" if self.file else NOT_KEPT
        boxes = {"days": mock.BOXES, "rise": mock.RISE, "fall": mock.FALL}
        data = {**data, "questions": questions, "titles": titles, "boxes": boxes, "kept": kept, "notice": notice}
        super().__init__(data=data, reader=reader)
        self.observe(self._keep, "reader")

    def _keep(self, change: dict[str, Any]) -> None:
        if problem := keep.save(self.file, change["new"]):
            self.data = {**self.data, "notice": problem}


class Practice(Interview):
    """Questions one by one, the due ones first: say or write the answer, reveal, tick the points that you made.

    level: "screen", "onsite" or "research"; lesson: 1 to 6; every one when None, and the page can change both
    progress: the file that keeps the answers; work/interview.json when None
    Raises ValueError for a level or a lesson without questions, BankError for a damaged file of questions.
    """

    def __init__(
        self,
        level: str | None = None,
        lesson: int | None = None,
        progress: str | os.PathLike[str] | None = None,
    ):
        if level is not None and level not in bank.LEVELS:
            raise ValueError(f"level is {level!r}; give one of {', '.join(bank.LEVELS)}, or None for all")
        lessons = sorted({question.lesson for question in bank_questions()})
        if lesson is not None and lesson not in lessons:
            raise ValueError(f"lesson is {lesson!r}; give one of {', '.join(map(str, lessons))}, or None for all")
        super().__init__({"mode": "practice", "level": level, "lesson": lesson}, progress)

    def chosen(self) -> list[bank.Question]:
        """The questions of the level and the lesson that it begins with."""
        level, lesson = self.data["level"], self.data["lesson"]
        return [
            question
            for question in bank_questions()
            if level in (None, question.level) and lesson in (None, question.lesson)
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
            "nine": mock.NINE,
            "followUps": mock.FOLLOW_UPS,
            "good": mock.GOOD,
            "nineLink": bank.html(mock.NINE_LINK, inline=True),
            "tasks": mock.tasks(),
        }
        super().__init__({"mode": "mock", **played}, progress)

    def twin(self) -> str:
        length = max(len(when) for when, _ in mock.rules(self.minutes))
        table = [f"{when:{length}}  {then}" for when, then in mock.rules(self.minutes)]
        return "\n".join([f"mock interview: {self.minutes} minutes.", *table])


@cache
def bank_questions() -> list[bank.Question]:
    return bank.questions()


@cache
def shown_questions() -> list[dict[str, Any]]:
    return [bank.as_data(question) for question in bank_questions()]
