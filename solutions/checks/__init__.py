"""Check an answer, give a hint, show progress: what a lesson says to its reader.

    softmax = check(softmax)     # yours if it is right, else ours; says which, and names the mistake
    case(softmax)                # what was put in where it was refused, what was expected, what came out
    hint(softmax)                # three levels, one a call
    progress("infini_attention") # done, tried and open in a lesson; progress() shows them all
    progress(track="evening")    # what is next on a track, and how many minutes are left

A right answer is also kept in `work/mine.py`, where later lessons find it: see `keeping`, and `solutions.mine`.
COURSE_STRICT=1 turns a blank or wrong answer into an AssertionError with the same words, for grading.
"""

import dataclasses
import difflib
import functools
import importlib
import os
import re
from collections import Counter
from collections.abc import Callable

from solutions import tracks
from solutions.checks import keeping
from solutions.checks import progress as _progress
from solutions.checks.exercise import Case, Exercise, Verdict
from solutions.checks.running import code_of
from solutions.checks.showing import ShownCase
from solutions.lessons import Lesson, lessons
from solutions.lessons import lesson as _lesson

__all__ = ["EXERCISES", "Case", "Exercise", "Verdict", "case", "check", "hint", "meant", "progress", "remember"]


def _exercises_of(lesson: Lesson) -> list[Exercise]:
    """The exercises of a lesson's checks, in order, each with its lesson and its number."""
    modules = [importlib.import_module(f"solutions.checks.{name}") for name in lesson.checks]
    found = [exercise for module in modules for exercise in module.EXERCISES]
    return [
        dataclasses.replace(exercise, lesson=lesson.name, number=f"{lesson.number}.{place}")
        for place, exercise in enumerate(found, start=1)
    ]


EXERCISES: dict[str, Exercise] = {exercise.name: exercise for lesson in lessons() for exercise in _exercises_of(lesson)}
_hints_given: Counter[str] = Counter()
_last: dict[str, tuple[Callable, Verdict]] = {}  # by exercise: the last answer, and what was said of it
_advised: set[str] = set()  # exercises whose last named mistake a hint has spoken about


def check(function: Callable) -> Callable:
    """Print one line about an answer. Return it if it is right, else the course's own function, so the lesson goes on.

    The exercise is found by the function's name; a function of another name is returned as it is. Where the function is
    the course's own, as after a refusal when the same cell runs again, the last answer is judged again.
    Raises AssertionError for anything but a right answer when COURSE_STRICT is 1.
    """
    exercise = _exercise(function)
    if exercise is None:
        return function
    answer = meant(exercise, function)
    if answer is None:
        _say(f"{exercise.name}: {ours(exercise)}", refuse=True)
        return function
    verdict = exercise.verdict(answer, notice=lambda: print("looking for the mistake ...", flush=True))
    remember(exercise, answer, verdict)
    if verdict.attempted:
        _progress.note(exercise.name, "done" if verdict.ok else "tried")
    kept = keeping.keep(exercise, answer, EXERCISES) if verdict.ok else keeping.stays(exercise)
    _say(f"{exercise.name}: {verdict.message} {kept}".rstrip(), refuse=not verdict.ok)
    return answer if verdict.ok else exercise.reference


def meant(exercise: Exercise, function: Callable) -> Callable | None:
    """The answer to judge: the function, or, where it is the course's own, the last answer that was not right.

    None where the course's own came without such an answer.
    """
    code, own = code_of(function), code_of(exercise.reference)
    if code is None or (code.co_filename, code.co_name) != (own.co_filename, own.co_name):
        return function
    answer, verdict = _last.get(exercise.name, (None, None))
    return None if verdict is None or verdict.ok else answer


def ours(exercise: Exercise) -> str:
    """What is said of the course's own function where an answer should be."""
    return f"this is the course's own function. Write yours, run its cell, then check({exercise.name})."


def remember(exercise: Exercise, answer: Callable, verdict: Verdict) -> None:
    """Keep the last answer of an exercise, for `case`, `hint`, and a second run of the same cell."""
    _last[exercise.name] = answer, verdict
    _advised.discard(exercise.name)


def case(function: Callable) -> ShownCase | None:
    """The case that the last check of this exercise refused: `.inputs`, `.expected`, `.got`. Else its first case.

    `function(*case(function).inputs.values())` asks your own function again, where the case asks for its plain result.
    """
    exercise = _exercise(function)
    if exercise is None:
        return None
    _, verdict = _last.get(exercise.name, (None, None))
    return exercise.shown(verdict)


def hint(function: Callable) -> None:
    """Print the next of an exercise's three hints; after the third, the first again.

    The first hint after a mistake was named is about that mistake.
    """
    exercise = _exercise(function)
    if exercise is None:
        return
    taught = f"Taught under '{exercise.section}'."
    _, verdict = _last.get(exercise.name, (None, None))
    if verdict is not None and verdict.mistake is not None and exercise.name not in _advised:
        _advised.add(exercise.name)
        advice = exercise.helps(verdict.mistake, _hints_given[exercise.name])
        print(f"{exercise.name}, your last answer: {verdict.mistake}. {advice} {taught}")
        return
    level = _hints_given[exercise.name] % len(exercise.hints)
    _hints_given[exercise.name] += 1
    print(f"{exercise.name}, hint {level + 1} of {len(exercise.hints)}: {exercise.hints[level]} {taught}")


def progress(lesson: str | None = None, track: str | None = None) -> _progress.Progress:
    """A table of the exercises done, tried and open: of one lesson by its name, or of each.

    track: "evening", "weekend" or "everything", for the minutes of that track, those that are left, and its next stop.
    What comes before the last exercise that is done counts as read.
    Raises ValueError, which names the lessons that there are, for another name. Of a track that there isn't it says so,
    and shows the exercises.
    """
    rows = lessons() if lesson is None else (_lesson(lesson),)
    titles = {row.name: row.heading for row in rows}
    if track in tracks.TRACKS:
        return _progress.along(track, titles, EXERCISES)
    if track is not None:
        print(f"There is no track {track!r}; {tracks.known()}. Nothing is lost; these are the exercises:")
    return _progress.summary(titles, list(EXERCISES.values()))


def _exercise(function: Callable) -> Exercise | None:
    name = getattr(function, "__name__", None)
    if not isinstance(name, str) or name not in EXERCISES:
        _say(_stranger(function, name), refuse=True)
        return None
    return EXERCISES[name]


def _stranger(function: object, name: object) -> str:
    """What to say of something that no exercise is called after."""
    write = "Write the function with def and the exercise's name, and check that."
    if isinstance(function, functools.partial):
        return f"a partial has no name to find its exercise by. {write}"
    if name == "<lambda>":
        return f"a lambda has no name to find its exercise by. {write}"
    if isinstance(function, str) and function in EXERCISES:
        return f"'{function}' is a text. Give the function itself: check({function})."
    if not callable(function):
        return f"a value of type {type(function).__name__} is no function. {write}"
    if not isinstance(name, str):
        return f"an object of class {type(function).__name__} is no function with a name. {write}"
    near = nearest(name)
    if near is None:
        return f"no exercise is called {name}. Its name stands in the cell that begins with def, and is kept."
    return f"no exercise is called {name}. Did you mean {near}? Then write def {near}(...), and check({near})."


def nearest(name: str) -> str | None:
    """The exercise whose name a name holds, or resembles; None if there is none."""
    held = [each for each in EXERCISES if re.search(rf"(^|_){each}(_|\d|$)", name.lower())]
    if held:
        return max(held, key=len)
    return next(iter(difflib.get_close_matches(name.lower(), EXERCISES, n=1, cutoff=0.7)), None)


def _say(sentence: str, refuse: bool) -> None:
    if refuse and os.environ.get("COURSE_STRICT") == "1":
        raise AssertionError(sentence)
    print(sentence)
