"""Run what a reader wrote, come what may: an endless loop, an error, a changed input, nothing at all.

An answer runs in a thread of its own, so that it can be stopped when it has used up its processor time, and so that
what it does to torch's per-thread state (gradient mode, dispatch modes) ends with it. What is not of the thread, the
default dtype or a seed, is put back after every case. Whatever it returns is made plain before anything looks at it.
"""

import ast
import ctypes
import dis
import functools
import inspect
import linecache
import random
import sys
import textwrap
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._tensor_str import PRINT_OPTS

from solutions.blanks import bare

WALL_LIMIT = 60.0  # seconds by the clock in which an answer must use a hundredth of them of the processor's time
STEP = 0.05  # seconds between two looks at an answer's clock
PATIENCE = 3.0  # seconds in which an interrupted answer may end
LONGEST = 300  # characters of an error that are told


class TimeUp(BaseException):
    """Raised inside an answer whose time is up; no Exception, so that `except Exception` in a loop does not keep it."""


class Rejected(Exception):
    """Raised by a case that sees at once what is wrong with an answer; its text is told as it is.

    place: words before it about the reader's own code, which two answers with the same mistake need not share
    """

    def __init__(self, text: str, place: str = ""):
        super().__init__(text)
        self.place = place


@dataclass(frozen=True)
class Stranger:
    """Stands for a value that is no tensor, number, text, tuple, list or dict; nothing of it is kept but its type."""

    kind: str


@dataclass(frozen=True)
class Run:
    """What one case brought out of a function.

    value: what came back, made plain; error: "RuntimeError: ..." if it stopped, or the text of a rejection; place:
    where it stopped, for the reader only; changed: names of the inputs that are no longer what they were
    """

    value: Any = None
    error: str = ""
    place: str = ""
    changed: tuple[str, ...] = ()


# Time ------------------------------------------------------------------------------------------------------------


class Runner(threading.Thread):
    """A thread that an answer runs in; once given up, it begins no other case and puts back nothing of the process."""

    given_up = False


def given_up() -> bool:
    return isinstance(thread := threading.current_thread(), Runner) and thread.given_up


def within(seconds: float | None, work: Callable):
    """Return or raise what work() does, which runs in another thread; raise TimeUp when its time is up.

    seconds: of processor time of that thread, which a busy machine does not use up; None for no limit. One that sleeps
    is stopped when WALL_LIMIT seconds of the clock brought next to none. A thread that does not even react to being
    interrupted (one long call into C) is left as a daemon.
    """
    box: dict[str, Any] = {}

    def target():
        try:
            try:
                box["clock"] = own_clock()
                box["result"] = work()
            except TimeUp:
                pass
            except BaseException as error:
                box["error"] = error
        except TimeUp:  # it may arrive a moment late
            pass

    thread = Runner(target=target, daemon=True)
    since, had = time.monotonic(), 0.0
    thread.start()
    try:
        while thread.is_alive():
            thread.join(STEP)
            if seconds is None or "clock" not in box:
                continue
            used, now = box["clock"](), time.monotonic()
            if used > seconds or (now - since > WALL_LIMIT and used - had < WALL_LIMIT / 100):
                break
            if now - since > WALL_LIMIT:
                since, had = now, used
    finally:  # also when the reader presses stop
        interrupt(thread)
        thread.given_up = thread.is_alive()
    if "error" in box:
        raise box["error"]
    if "result" not in box:
        raise TimeUp
    return box["result"]


def own_clock() -> Callable[[], float]:
    """Reads, from any thread, the processor time that the calling thread has used since now.

    Where a system keeps no clock for each thread (Windows, macOS), it is the processor time of the whole process.
    """
    if not hasattr(time, "pthread_getcpuclockid"):
        start = time.process_time()
        return lambda: time.process_time() - start
    clock = time.pthread_getcpuclockid(threading.get_ident())
    start = time.clock_gettime(clock)

    def used() -> float:
        try:
            return time.clock_gettime(clock) - start
        except OSError:  # the thread has ended
            return 0.0

    return used


def interrupt(thread: threading.Thread) -> None:
    """Raise TimeUp inside a running thread, again and again, since a bare `except:` in a loop may swallow it."""
    until = time.monotonic() + PATIENCE
    while thread.is_alive() and time.monotonic() < until:
        assert thread.ident is not None  # it was started
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(TimeUp))
        thread.join(STEP)


# One case --------------------------------------------------------------------------------------------------------


def run(function: Callable, outcome: Callable, build: Callable[[], tuple], names: list[str]) -> Run:
    """Give `function` fresh inputs through `outcome` and note what happens; `names` are what the inputs are called."""
    value, error, place = None, "", ""
    if given_up():
        raise TimeUp
    with leaving_no_trace():
        inputs, kept = build(), build()
        try:
            value = plain(outcome(function, *inputs))
        except TimeUp:
            raise
        except Rejected as rejection:
            error, place = str(rejection), rejection.place
        except BaseException as failure:
            error, place = one_line(failure), place_of(failure, function)
    changed = tuple(name for name, now, before in zip(names, inputs, kept, strict=False) if not untouched(now, before))
    return Run(value, error, place, changed)


@contextmanager
def leaving_no_trace() -> Iterator[None]:
    """Start from torch's own default dtype, and put back in the end what an answer may set for the whole process."""
    dtype, threads, limit = torch.get_default_dtype(), torch.get_num_threads(), sys.getrecursionlimit()
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    anomaly = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
    shown, shown_by_numpy, products = (
        dict(vars(PRINT_OPTS)),
        np.get_printoptions(),
        torch.get_float32_matmul_precision(),
    )
    gradients, device = torch.is_grad_enabled(), torch.get_default_device()
    seeds = torch.get_rng_state(), np.random.get_state(), random.getstate()
    filters = warnings.catch_warnings()
    filters.__enter__()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        if not given_up():  # or else the process has gone on, and put everything back itself
            filters.__exit__(None, None, None)
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(gradients)
            if torch.get_default_device() != device:
                torch.set_default_device(None)
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            sys.setrecursionlimit(limit)
            now = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
            if now != deterministic:  # the first call imports sympy, 2 seconds
                torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
            torch.autograd.set_detect_anomaly(*anomaly)
            torch.set_float32_matmul_precision(products)
            vars(PRINT_OPTS).update(shown)
            np.set_printoptions(**shown_by_numpy)
            torch.set_rng_state(seeds[0])
            np.random.set_state(seeds[1])
            random.setstate(seeds[2])


def plain(value: object, depth: int = 4) -> object:
    """A value in types that behave: later comparisons call nothing that a reader defined.

    Tensors are copied, without graph, subclass or sparse layout; numpy's scalars become Python's; what is none of a
    tensor, a number, a text, a tuple, a list or a dict becomes a Stranger.
    """
    if value is None or type(value) in (bool, int, float, complex, str):
        return value
    try:
        if isinstance(value, Tensor):
            return plain_tensor(value)
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, Integral):
            return int(value)
        if isinstance(value, Real | Decimal):
            return float(value)
        if depth and isinstance(value, tuple | list):
            parts = [plain(part, depth - 1) for part in value]
            return tuple(parts) if isinstance(value, tuple) else parts
        if depth and type(value) is dict:
            return {str(key): plain(part, depth - 1) for key, part in value.items()}
    except Exception:
        return Stranger(f"{kind_of(value)} that cannot be read")
    if inspect.iscoroutine(value):
        value.close()  # else Python warns that nobody awaited it
    return Stranger(kind_of(value))


def plain_tensor(value: Tensor) -> Tensor | Stranger:
    if value.is_nested:
        return Stranger("nested tensor")
    value = value.detach()
    with torch._C.DisableTorchFunctionSubclass():
        if type(value) is not Tensor:
            value = value.as_subclass(Tensor)
        if value.is_quantized:
            value = value.dequantize()
        return value.to_dense().resolve_conj().resolve_neg().clone()


def kind_of(value: object) -> str:
    return type(value).__name__


def untouched(now: Any, before: object) -> bool:
    """True if an input is still what it was."""
    if isinstance(before, list):
        return len(now) == len(before) and all(map(untouched, now, before))
    if isinstance(before, int | str):
        return now == before
    if not isinstance(before, Tensor):
        return True
    try:
        return now.shape == before.shape and now.dtype == before.dtype and torch.equal(now, before)
    except Exception:
        return False


# Words about errors ----------------------------------------------------------------------------------------------


def one_line(error: BaseException) -> str:
    """Type and first line of an error, cut between two words where it is long."""
    try:
        text = str(error).strip().split("\n")[0]
    except Exception:
        text = ""
    if len(text) > LONGEST:
        text = text[:LONGEST].rsplit(" ", 1)[0] + " ..."
    text = text if text.endswith("...") else text.rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def written(function: Callable) -> Callable:
    """The function as it was written, under its decorators: those of functools.wraps, and @triton.jit."""
    try:
        function = inspect.unwrap(function)
    except ValueError:  # wrapped in itself
        pass
    return getattr(function, "fn", function)


def code_of(function: Callable):
    """The code object of a function as it was written; None for what has none."""
    try:
        code = getattr(written(function), "__code__", None)
    except Exception:
        return None
    return code if inspect.iscode(code) else None


def place_of(error: BaseException, function: Callable) -> str:
    """Words before an error: "your function stops at line 3, `return q @ k`, with ". The line of `def` is line 1."""
    code, stops = code_of(function), "your function stops"
    if code is None:
        return f"{stops} with "
    first, last = def_line(code), max(line for _, _, line in code.co_lines() if line)
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        line = frame.lineno or 0
        if frame.filename == code.co_filename and first <= line <= last:
            source = f", `{frame.line}`," if frame.line else ""
            return f"{stops} at line {line - first + 1}{source} with "
    if isinstance(error, TypeError) and any(words in str(error) for words in ("() missing", "() takes", "() got")):
        return f"{stops} with "
    entered = any(frame.filename == code.co_filename for frame in frames)
    kernel = written(function) is not inspect.unwrap(function)  # its errors come without the way that led to them
    return f"{stops} with " if entered or kernel else "what your function returned does not fit here: "


def def_line(code) -> int:
    """The line of the file in which `def` stands, below any decorators."""
    for line in range(code.co_firstlineno, code.co_firstlineno + 20):
        if linecache.getline(code.co_filename, line).lstrip().startswith(("def ", "async def ")):
            return line
    return code.co_firstlineno


# Blank answers ---------------------------------------------------------------------------------------------------


def is_blank(function: Callable, begins: str = "") -> bool:
    """True if the body is nothing but a docstring, `...`, `pass` or `raise NotImplementedError`.

    begins: the source that the answer's cell begins with, which is blank too
    Judged by the compiled code, since the source of a notebook's cell is not always at hand. Where it is, a written
    `return None`, which compiles to the same, is an answer.
    """
    code = code_of(function)
    if code is None:
        return False
    does = skeleton(code)
    if does in BLANK_SKELETONS:
        return not returns(code)
    return bool(begins) and does in (begun(begins), begun(bare(begins)))


@functools.cache
def begun(source: str) -> tuple:
    """The skeleton of the function that a source defines."""
    made = compile(source, "<a blank>", "exec", dont_inherit=True).co_consts
    return skeleton(next(each for each in made if inspect.iscode(each)))


def returns(code) -> bool:
    """True if the source is at hand and holds a `return`."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return False
    return any(isinstance(node, ast.Return) for node in ast.walk(tree))


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
