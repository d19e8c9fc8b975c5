"""Compare what came back with what was expected, and say in a few words how they differ.

Both are plain (`running.plain`), so nothing here calls code of a reader. A case may compare a tensor, a number, a
truth, a text, a tuple or list of such, or a dict {words: value}, whose words name each value in the message.
"""

import math
from typing import Any

import torch
from torch import Tensor

from solutions.checks.running import Run, Stranger

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 3e-2}
"""Largest error of an entry, absolute and relative to the expected entry alike."""

SCALAR_TOLERANCE = 1e-5
"""Of a Python float, relative: what float32 gives is right. Around 0 a tenth of it, absolute."""

SHOWN = 120  # characters up to which a tuple or a text is told whole

ADVICE = {
    "generator": "a generator, which computes nothing yet: return a tuple or a list of its values",
    "coroutine": "a coroutine: remove async before def",
    "async_generator": "an async generator: remove async before def, and return the values",
    "ndarray": "a value of type ndarray, expected a tensor: torch.from_numpy makes one",
    "nested tensor": "a nested tensor, expected a plain one",
}


def fault(got: Run, expected: Run, scalar: bool = False) -> str | None:
    """What is wrong with an outcome, in words that follow "In case '...', "; None if nothing is.

    scalar: the exercise returns Python floats, so that a float64 tensor of them need not have float64's precision
    """
    if got.error:
        return got.place + got.error
    if got.changed:
        return f"your function changed its input {' and '.join(got.changed)}; work on a new one"
    if got.value is None and expected.value is not None:
        return "your function returned nothing (a return is missing)"
    return difference(got.value, expected.value, scalar)


def same(one: Run, other: Run, scalar: bool = False) -> bool:
    """True if two wrong outcomes are the same: the same error, the same changed inputs, or equal values."""
    if (one.error, one.changed) != (other.error, other.changed):
        return False
    left, right = (tuple(value) if isinstance(value, list) else value for value in (one.value, other.value))
    if all(type(value) in (int, float) for value in (left, right)) and type(left) is not type(right):
        return near(left, right)
    return type(left) is type(right) and difference(left, right, scalar) is None


def difference(got: Any, expected: Any, scalar: bool = False) -> str | None:
    """How a value differs from the expected one; None if it does not."""
    if isinstance(got, Stranger) and got.kind in ADVICE:
        return f"your function returned {ADVICE[got.kind]}"
    if isinstance(expected, Tensor):
        return difference_of_tensor(got, expected, scalar)
    if isinstance(expected, dict):
        return difference_of_labelled(got, expected, scalar)
    if isinstance(expected, tuple | list):
        return difference_of_tuple(got, expected, scalar)
    if is_right(got, expected):
        return None
    if isinstance(expected, bool | str) or got is None:
        return f"your function returned {shown(got)}, expected {shown(expected)}"
    return difference_of_number(got, expected)


def is_right(got: Any, expected: Any) -> bool:
    """For a number, a truth, a text or None."""
    if isinstance(expected, float) and type(got) in (int, float):
        return near(got, expected)
    return type(got) is type(expected) and got == expected


def near(got: Any, expected: Any) -> bool:
    try:
        close = math.isclose(got, expected, rel_tol=SCALAR_TOLERANCE, abs_tol=SCALAR_TOLERANCE / 10)
        return close or (math.isnan(got) and math.isnan(expected))
    except OverflowError:  # an int that no float holds
        return False


def difference_of_number(got: Any, expected: complex) -> str:
    kind = type(expected).__name__
    kind = f"the int {shown(expected)}" if kind == "int" else shown(expected)
    if isinstance(got, Tensor) and got.numel() == 1:
        number = got.item()
        return f"your function returned a tensor that holds {shown(number)}, expected {kind}: .item() takes it out"
    if type(got) not in (int, float, complex, bool):
        return f"your function returned a value of type {kind_of(got)}, expected a number"
    if type(expected) is int and type(got) in (float, bool):
        if got == expected or type(got) is bool:
            return f"your function returned {got}, a {type(got).__name__}; expected {kind}"
        return f"your function returned {shown_float(got)}, expected {shown(expected)}"
    if isinstance(expected, float) and type(got) in (int, float):
        got = float(got) if abs(got) < 2**53 else got
        return "your function returned " + shown_apart(got, expected)
    return f"your function returned {shown(got)}, expected {shown(expected)}"


def difference_of_tuple(got: Any, expected: tuple | list, scalar: bool) -> str | None:
    kind = type(expected).__name__
    if not isinstance(got, tuple | list):
        return f"your function returned a value of type {kind_of(got)}, expected a {kind} of {len(expected)}"
    faults = {}
    if len(got) == len(expected):
        pairs = enumerate(zip(got, expected, strict=True))
        faults = {index: words for index, pair in pairs if (words := difference(*pair, scalar)) is not None}
        if not faults:
            return None
    if len(got) == len(expected) and all(isinstance(value, Tensor) for value in expected):
        first, words = next(iter(faults.items()))
        return f"of the {len(expected)} values you return, number {first + 1}: {words}"
    whole = shown(got), shown(expected)
    if max(map(len, whole)) <= SHOWN and whole[0] != whole[1]:
        return f"your function returned {whole[0]}, expected {whole[1]}"
    if len(got) != len(expected):
        return f"your function returned {len(got)} value{'s' * (len(got) != 1)}, expected {len(expected)}"
    first, words = next(iter(faults.items()))
    words = words.removeprefix("your function returned ")
    return f"entry {first} is {words}; {len(got) - len(faults)} of {len(got)} right"


def difference_of_labelled(got: Any, expected: dict, scalar: bool) -> str | None:
    """The first of the labelled values that is wrong. A truth's label is a claim, "that ...", any other's a noun."""
    if not isinstance(got, dict) or got.keys() != expected.keys():
        return f"your function returned a value of type {kind_of(got)}, expected {' and '.join(expected)}"
    for label, value in expected.items():
        words = difference(got[label], value, scalar)
        if words is None:
            continue
        if isinstance(value, bool) and isinstance(got[label], bool):
            return f"it does not hold {label}" if value else f"it holds {label}, and should not"
        words = words.removeprefix("your function returned ").removeprefix("your output is ")
        return f"{label}: {words}"
    return None


def difference_of_tensor(got: Any, expected: Tensor, scalar: bool = False) -> str | None:
    """What is wrong with a value that should be the tensor `expected`."""
    if not isinstance(got, Tensor):
        return f"your function returned a value of type {kind_of(got)}, expected a tensor"
    for quality in ("shape", "dtype", "device"):
        here, there = getattr(got, quality), getattr(expected, quality)
        if here != there:
            here, there = (tuple(here), tuple(there)) if quality == "shape" else (here, there)
            turned = (
                quality == "shape" and got.ndim > 1 and got.mT.shape == expected.shape and got.dtype == expected.dtype
            )
            turned = turned and bool(close(got.mT, expected, scalar).all())
            also = "; it is the expected one transposed" if turned else ""
            return f"the {quality} of your output is {here}, expected {there}{also}"
    if expected.is_meta:
        return None
    wrong = ~close(got, expected, scalar)
    if not wrong.any():
        return None
    right = f"{wrong.numel() - int(wrong.sum())} of {wrong.numel()} entries right"
    if got.ndim == 0:
        told = f"your output is {shown_apart(got.item(), expected.item())}"
        return f"{told}; {NARROW}" if not scalar and narrowed(got, expected) else told
    if got.is_floating_point() and (got.isnan() & wrong).any():
        first = tuple((got.isnan() & wrong).nonzero()[0].tolist())
        return f"your output holds nan at {list(first)}, expected {expected[first].item() + 0.0:.4g}; {right}"
    first = tuple(wrong.nonzero()[0].tolist())
    apart = shown_apart(got[first].item(), expected[first].item())
    told = relation(got, expected, wrong, scalar)
    return f"first wrong at {list(first)}: {apart}; {right}" + (f"; {told}" if told else "")


def close(got: Tensor, expected: Tensor, scalar: bool = False) -> Tensor:
    """Entry by entry: within the tolerance of the dtype. nan equals nan, so that two mistakes can be compared."""
    if not (expected.is_floating_point() or expected.is_complex()):
        return got == expected
    if scalar and expected.dtype == torch.float64:
        return torch.isclose(got, expected, rtol=SCALAR_TOLERANCE, atol=SCALAR_TOLERANCE / 10, equal_nan=True)
    tolerance = TOLERANCE.get(expected.dtype, 1e-5)
    if expected.is_complex():
        return torch.isclose(got, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    return torch.isclose(got.double(), expected.double(), rtol=tolerance, atol=tolerance, equal_nan=True)


def relation(got: Tensor, expected: Tensor, wrong: Tensor, scalar: bool = False) -> str:
    """A simple relation that holds for every entry, such as "every entry is 2 times the expected one"; "" for none."""
    if not expected.is_floating_point():
        return places(got, expected, wrong)
    if not got.isfinite().all() or not expected.isfinite().all() or len(expected.unique()) < 4:
        return ""
    theirs, ours = got.double(), expected.double()

    def equal(other: Tensor) -> bool:
        return bool(close(got, other.to(got.dtype), scalar).all())

    largest = int(ours.abs().argmax())
    ratio = float(theirs.flatten()[largest] / ours.flatten()[largest])
    if narrowed(got, expected):
        return NARROW
    if equal(-ours):
        return "every entry has the wrong sign"
    if abs(ratio) > 1e-3 and f"{ratio:.4g}" != "1" and equal(ratio * ours):
        return f"every entry is {ratio:.4g} times the expected one"
    shift = float((theirs - ours).flatten()[largest])
    if equal(ours + shift):
        return f"every entry is the expected one {'plus' if shift > 0 else 'minus'} {abs(shift):.4g}"
    if got.ndim > 1 and got.shape[-1] == got.shape[-2] and equal(ours.mT):
        return "it is the expected one transposed"
    for axis in range(got.ndim):
        if got.shape[axis] > 2 and equal(ours.flip(axis)):
            return f"it is the expected one in reverse order along dimension {axis}"
        for step in (1, -1) if got.shape[axis] > 3 else ():
            inner = theirs.narrow(axis, max(step, 0), got.shape[axis] - 1)
            before = ours.narrow(axis, max(-step, 0), got.shape[axis] - 1)
            if close(inner.to(got.dtype), before.to(got.dtype), scalar).all():
                late = "late" if step > 0 else "early"
                return f"along dimension {axis} what is expected comes one place too {late}"
    return places(got, expected, wrong)


NARROW = "these are the digits of float32: something was turned to it on the way"


def narrowed(got: Tensor, expected: Tensor) -> bool:
    """True if numbers of float64 hold what float32 does, and are as near to the expected ones as that allows."""
    if got.dtype != torch.float64 or not torch.equal(got, got.float().double()):
        return False
    return torch.allclose(got, expected.double(), rtol=1e-6, atol=1e-7)


def places(got: Tensor, expected: Tensor, wrong: Tensor) -> str:
    """Where the wrong entries lie, if whole rows, columns or blocks are right; "" if that says nothing."""
    told = []
    for axis in range(got.ndim):
        size = got.shape[axis]
        where = wrong.movedim(axis, 0).reshape(size, -1).any(1).nonzero().flatten().tolist()
        if size > 2 and len(where) == 1:
            told.append((len(where) / size, f"all wrong entries have index {where[0]} along dimension {axis}"))
        elif size > 4 and len(where) < size / 2 and where == list(range(where[0], where[-1] + 1)):
            span = f"indices {where[0]} to {where[-1]} along dimension {axis}"
            told.append((len(where) / size, f"all wrong entries lie at {span}"))
    return min(told)[1] if told else ""


def strength(got: Any, expected: Any, scalar: bool = False) -> int:
    """How many different floating-point numbers are among the wrong ones of an outcome: 0 for ints, truths and texts.

    nan is one number, unless all are nan. A whole number counts as none: 0, 1 and 2 come out of anything.
    """
    if isinstance(got, float):
        return int(got != round(got, 0) if math.isfinite(got) else 0)
    if isinstance(got, tuple | list):
        alike = isinstance(expected, tuple | list) and len(expected) == len(got)
        pairs = zip(got, expected if alike else [None] * len(got), strict=True)
        return sum(strength(one, other, scalar) for one, other in pairs if difference(one, other, scalar) is not None)
    if isinstance(got, dict):
        return strength(list(got.values()), list(expected.values()) if isinstance(expected, dict) else None, scalar)
    if not isinstance(got, Tensor) or not got.is_floating_point() or got.is_meta or got.isnan().all():
        return 0
    if isinstance(expected, Tensor) and got.shape == expected.shape and got.dtype == expected.dtype:
        got = got[~close(got, expected, scalar)]
    numbers = got[got.isfinite()].double()
    return len(numbers[numbers != numbers.round()].unique()) + bool(got.isnan().any())


def kind_of(value: object) -> str:
    return value.kind if isinstance(value, Stranger) else type(value).__name__


def shown(value: object) -> str:
    """A plain value in words."""
    if type(value) is int:
        return f"{value:_}"
    if isinstance(value, float):
        return shown_float(value)
    if isinstance(value, tuple | list):
        parts = ", ".join(map(shown, value))
        if isinstance(value, list):
            return f"[{parts}]"
        return f"({parts},)" if len(value) == 1 else f"({parts})"
    if isinstance(value, Tensor):
        return (
            f"tensor({value.tolist()})" if value.numel() <= 12 and not value.is_meta else f"tensor {tuple(value.shape)}"
        )
    if isinstance(value, Stranger):
        return f"a value of type {value.kind}"
    told = repr(value)
    return told if len(told) <= SHOWN else told[:SHOWN].rsplit(" ", 1)[0] + " ..."


def shown_float(value: float) -> str:
    """Whole numbers of up to 15 digits in full, else 6 digits."""
    if math.isfinite(value) and value == round(value) and 1e4 <= abs(value) < 1e15:
        return f"{int(value):_}.0"
    return f"{value + 0.0:.6g}"


def shown_apart(one: object, other: object) -> str:
    """Two different entries, with as many digits as it takes to see that they differ."""
    if not (isinstance(one, float) and isinstance(other, float)):
        return f"{shown(one)}, expected {shown(other)}"
    if all(math.isfinite(value) and value == round(value) and abs(value) < 1e15 for value in (one, other)):
        if max(abs(one), abs(other)) >= 1e4:
            return f"{int(one):_}, expected {int(other):_}"
    for digits in range(4, 18):
        texts = [f"{value + 0.0:.{digits}g}" for value in (one, other)]  # + 0.0: no minus before a zero
        if texts[0] != texts[1]:
            break
    return ", expected ".join(texts)
