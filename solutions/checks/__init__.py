"""Check an answer, give a hint, show progress: what a lesson says to its reader.

    softmax = check(softmax)     # yours if it is right, else ours; says which, and names the mistake
    case(softmax)                # what was put in where it was refused, what was expected, what came out
    hint(softmax)                # three levels, one a call
    progress()                   # done, tried and open by lesson

COURSE_STRICT=1 turns a blank or wrong answer into an AssertionError with the same words, for grading.
"""

import os
from collections import Counter
from collections.abc import Callable

from solutions.checks import lesson_00, lesson_01, lesson_02, lesson_03, lesson_04, lesson_05, lesson_06
from solutions.checks import progress as _progress
from solutions.checks.exercise import Case, Exercise, Verdict
from solutions.checks.showing import ShownCase

__all__ = ["EXERCISES", "Case", "Exercise", "Verdict", "case", "check", "hint", "progress"]

LESSONS = (lesson_00, lesson_01, lesson_02, lesson_03, lesson_04, lesson_05, lesson_06)
EXERCISES: dict[str, Exercise] = {exercise.name: exercise for lesson in LESSONS for exercise in lesson.EXERCISES}
_hints_given: Counter[str] = Counter()
_last: dict[str, Verdict] = {}


def check(function: Callable) -> Callable:
    """Print one line about an answer. Return it if it is right, else the course's own function, so the lesson goes on.

    The exercise is found by the function's name; a function of another name is returned as it is.
    Raises AssertionError for anything but a right answer when COURSE_STRICT is 1.
    """
    exercise = _exercise(function)
    if exercise is None:
        return function
    _last[exercise.name] = verdict = exercise.verdict(function)
    if verdict.attempted:
        _progress.note(exercise.name, "done" if verdict.ok else "tried")
    _say(f"{exercise.name}: {verdict.message}", refuse=not verdict.ok)
    return function if verdict.ok else exercise.reference


def case(function: Callable) -> ShownCase | None:
    """The case that the last check of this exercise refused: `.inputs`, `.expected`, `.got`. Else its first case.

    `function(*case(function).inputs.values())` asks your own function again, where the case asks for its plain result.
    """
    exercise = _exercise(function)
    return None if exercise is None else exercise.shown(_last.get(exercise.name))


def hint(function: Callable) -> None:
    """Print the next of an exercise's three hints; after the third, the first again."""
    exercise = _exercise(function)
    if exercise is None:
        return
    level = _hints_given[exercise.name] % len(exercise.hints)
    _hints_given[exercise.name] += 1
    print(
        f"{exercise.name}, hint {level + 1} of {len(exercise.hints)}: {exercise.hints[level]} "
        f"Taught under '{exercise.section}'."
    )


def progress() -> _progress.Progress:
    """A table of the exercises done, tried and open in each lesson."""
    titles = {lesson.EXERCISES[0].lesson: lesson.TITLE for lesson in LESSONS}
    return _progress.summary(titles, list(EXERCISES.values()))


def _exercise(function: Callable) -> Exercise | None:
    name = getattr(function, "__name__", None)
    if name not in EXERCISES:
        given = f"no exercise is called {name}" if name else f"{function!r} is not a function"
        _say(f"{given}; there are {', '.join(EXERCISES)}.", refuse=True)
    return EXERCISES.get(name)


def _say(sentence: str, refuse: bool) -> None:
    if refuse and os.environ.get("COURSE_STRICT") == "1":
        raise AssertionError(sentence)
    print(sentence)
