"""Run what a reader wrote, come what may: an endless loop, an error, a changed input, nothing at all.

An answer runs in a thread of its own, so that it can be stopped after some seconds and so that whatever it does to
torch's per-thread state (gradient mode, dispatch modes) ends with it.
"""

import ctypes
import dis
import inspect
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


class TimeUp(BaseException):
    """Raised inside an answer whose time is up; no Exception, so that `except Exception` in a loop does not keep it."""


class Rejected(Exception):
    """Raised by a case that sees at once what is wrong with an answer; its text is told as it is."""


@dataclass(frozen=True)
class Run:
    """What one case brought out of a function.

    value: what came back; error: "RuntimeError: ..." if it stopped, or the text of a rejection; place: where it
    stopped, for the reader only; changed: names of the inputs that are no longer what they were
    """

    value: object = None
    error: str = ""
    place: str = ""
    changed: tuple[str, ...] = ()


def within(seconds: float, work: Callable):
    """Return or raise what work() does, which runs in another thread; raise TimeUp when it takes longer than that.

    A thread that does not even react to being interrupted (one long call into C) is left behind as a daemon.
    """
    box = {}

    def target():
        try:
            box["result"] = work()
        except TimeUp:
            pass
        except BaseException as error:
            box["error"] = error

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    try:
        thread.join(seconds)
    finally:  # also when the reader presses stop
        interrupt(thread)
    if "error" in box:
        raise box["error"]
    if "result" not in box:
        raise TimeUp
    return box["result"]


def interrupt(thread: threading.Thread, patience: float = 1.0, step: float = 0.05) -> None:
    """Raise TimeUp inside a running thread, again and again, since a bare `except:` in a loop may swallow it."""
    while thread.is_alive() and patience > 0:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(TimeUp))
        thread.join(step)
        patience -= step


def run(function: Callable, outcome: Callable, build: Callable[[], tuple], names: list[str]) -> Run:
    """Give `function` fresh inputs through `outcome` and note what happens; `names` are what the inputs are called."""
    inputs, kept = build(), build()
    value, error, place = None, "", ""
    try:
        value = settled(outcome(function, *inputs))
    except TimeUp:
        raise
    except Rejected as rejection:
        error = str(rejection)
    except BaseException as failure:
        error, place = one_line(failure), f"your function stops{place_of(failure, function)} with "
    changed = tuple(name for name, now, before in zip(names, inputs, kept, strict=False) if not untouched(now, before))
    return Run(value, error, place, changed)


def settled(value: object) -> object:
    """A tensor without its graph and in plain layout; anything else as it is."""
    return value.detach().to_dense() if isinstance(value, Tensor) else value


def untouched(now: object, before: object) -> bool:
    """True if an input is still what it was."""
    if not isinstance(before, Tensor):
        return True
    return now.shape == before.shape and now.dtype == before.dtype and torch.equal(now, before)


def one_line(error: BaseException) -> str:
    """Type and first line of an error."""
    text = str(error).strip().split("\n")[0][:300].rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def written(function: Callable) -> Callable:
    """The function as it was written, under its decorators: those of functools.wraps, and @triton.jit."""
    function = inspect.unwrap(function)
    return getattr(function, "fn", function)


def place_of(error: BaseException, function: Callable) -> str:
    """Which line of the function an error came through, such as " at line 3, `return q @ k`,"; "" if none did."""
    code = getattr(written(function), "__code__", None)
    if code is None:
        return ""
    first, last = code.co_firstlineno, max(line for _, _, line in code.co_lines() if line)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == code.co_filename and first <= frame.lineno <= last:
            source = f", `{frame.line}`," if frame.line else ""
            return f" at line {frame.lineno - first + 1}{source}"
    return ""


def is_blank(function: Callable) -> bool:
    """True if the body is nothing but a docstring, `...`, `pass` or `raise NotImplementedError`.

    Judged by the compiled code, since the source of a notebook's cell is not always at hand.
    """
    code = getattr(written(function), "__code__", None)
    return code is not None and skeleton(code) in BLANK_SKELETONS


def skeleton(code) -> tuple:
    """What a code object does, without its line numbers and texts: enough to recognise a body that does nothing."""
    return tuple(
        (step.opname, "text" if isinstance(step.argval, str) and step.opname.startswith("LOAD_CONST") else step.argrepr)
        for step in dis.get_instructions(code)
        if step.opname != "NOP"
    )


def _dots(): ...


def _raises():
    raise NotImplementedError


def _raises_empty():
    raise NotImplementedError()


def _raises_text():
    raise NotImplementedError("to do")


BLANK_SKELETONS = {skeleton(body.__code__) for body in (_dots, _raises, _raises_empty, _raises_text)}
