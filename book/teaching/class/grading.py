"""Grade one answer of a notebook, inside the notebook.

`course.py release` places this file beside every assignment, and nbgrader places it again over whatever a submission
brought under this name. A locked cell calls `grade("softmax", globals())`. In a student's hands it does what `check`
does. While nbgrader grades, anything but a right answer that the student wrote is an error of one sentence and earns
nothing. Either way the notebook goes on, with ours where theirs is not right.
"""

import ast
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from types import CodeType

import solutions
from solutions.checks import EXERCISES, meant, remember
from solutions.checks.progress import note
from solutions.checks.running import written

OURS = Path(solutions.__file__).resolve().parent


class NoPoints(AssertionError):
    """Why a cell earns nothing. A notebook shows the sentence alone, without the way that led to it."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def grade(name: str, notebook: dict) -> None:
    """Judge the function `name` among a notebook's names; where it is not right, put ours in its place.

    Raises NoPoints while nbgrader grades or validates; else prints the same sentence.
    """
    exercise = EXERCISES[name]
    try:
        answer = own(name, notebook)
        # nbgrader takes a single word on stderr, a warning of torch, for a failure
        with redirect_stderr(sys.stdout), calls_of(exercise.reference, within=answer) as borrowed:
            verdict = exercise.verdict(answer)
        remember(exercise, answer, verdict)
        if verdict.attempted:
            note(name, "done" if verdict.ok and not borrowed else "tried")
        if borrowed:
            raise NoPoints(f"{name}: it calls {origin(exercise.reference)}, the answer itself. Write it out.")
        if not verdict.ok:
            raise NoPoints(f"{name}: {verdict.message}")
        print(f"{name}: {verdict.message}")
    except NoPoints as fault:
        notebook[name] = exercise.reference
        if "NBGRADER_EXECUTION" in os.environ:
            raise
        print(fault)


def own(name: str, notebook: dict) -> Callable:
    """The function `name` if the notebook defines it; NoPoints says what stands there instead.

    Where an earlier run of the cell put ours in the place of an answer, it is that answer.
    """
    answer = notebook.get(name)
    if answer is EXERCISES[name].reference:
        answer = meant(EXERCISES[name], answer) or answer
    if answer is None:
        raise NoPoints(f"{name}: there is no such function. {why_missing(name, notebook.get('In', []))}")
    code = getattr(written(answer), "__code__", None)
    if code is None or getattr(answer, "__name__", None) != name:
        raise NoPoints(f"{name}: this is no function of that name. Define it with `def {name}(...)`.")
    if OURS in Path(code.co_filename).resolve().parents:
        raise NoPoints(
            f"{name}: this is {origin(answer)}, the answer itself, imported and not written. Write it in its cell, and "
            f"run that cell before this one."
        )
    return answer


def why_missing(name: str, cells: list[str]) -> str:
    """What became of the cell that should have defined a function, from what was run so far."""
    for cell in reversed(cells):
        if f"def {name}" in cell:
            try:
                ast.parse(cell)
            except SyntaxError as error:
                where = f" at `{error.text.strip()}`" if error.text else ""
                return f"Line {error.lineno} of its cell is no Python{where}: {error.msg}."
            return "Its cell stopped before its end, and says above why."
    return f"No cell with `def {name}(...)` has run."


def origin(function: Callable) -> str:
    """`solutions.quadratic.softmax`"""
    function = written(function)
    return f"{function.__module__}.{function.__name__}"


@contextmanager
def calls_of(reference: Callable, within: Callable) -> Iterator[list]:
    """A list that grows whenever the code of `within` leads to a call of `reference`, in threads that begin now.

    By whatever name it is called: what is compared is the code that runs.
    """
    barred, answer, calls = place(written(reference).__code__), place(written(within).__code__), []

    def listen(frame, event: str, _) -> None:
        if event == "call" and place(frame.f_code) == barred:
            while (frame := frame.f_back) is not None:
                if place(frame.f_code) == answer:
                    calls.append(barred)
                    return

    before = threading.getprofile()
    threading.setprofile(listen)
    try:
        yield calls
    finally:
        threading.setprofile(before)


def place(code: CodeType) -> tuple[str, str]:
    """File and name of a function. Triton's interpreter runs new code made from the same source."""
    return code.co_filename, code.co_name
