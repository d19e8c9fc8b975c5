"""What a function of the course may be given, written beside it instead of inside it.

`@shapes(q="... queries d", k="... keys d")` reads like the shapes in a docstring and holds them to be true: a name that
stands twice is one number, "..." is any leading dimensions, the same for all. `@counts("heads")` asks for whole numbers
of 1 or more. Both answer bad input with a `ValueError` of one sentence, and keep the body free for the mechanism.

Only the outermost call is checked. What our functions hand to each other is right by then, and looking for a nan in an
(N, N) matrix on the way would cost as much as the step that made it.

Whether a result holds a nan is asked of its numbers, which `torch.func.vmap` and `torch.compile(fullgraph=True)` don't
have while they trace. `function.__wrapped__` is the mechanism without its guard, for these two.
"""

import functools
import inspect
import operator
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from contextvars import ContextVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

_inside = ContextVar("inside a checked call", default=False)


def shapes(*, check: Callable | None = None, any_dtype: Sequence[str] = (), **specs: str) -> Callable:
    """Decorate a function with the shapes of its tensors.

    specs: argument name -> names of its dimensions, for example `k="... keys d"`. Every argument named here must be a
    floating tensor; all of them share dtype, device, leading dimensions and every dimension of the same name, and none
    of the named dimensions is 0. `check(**arguments)`, if given, may raise a `ValueError` about anything else.
    any_dtype: arguments whose dtype may be another one: what is carried on is float32 also of half precision
    Raises `ValueError` before the call for such input, and after it when the result holds a nan, naming who brought it.
    """

    def decorate(function: Callable) -> Callable:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args, **kwargs):
            if _inside.get():
                return function(*args, **kwargs)
            arguments = bound(function, signature, args, kwargs)
            tensors = {name: arguments[name] for name in specs}
            try:
                same_kind(tensors, any_dtype)
                same_sizes(tensors, specs)
                if check is not None:
                    check(**arguments)
            except ValueError as error:
                raise ValueError(f"{function.__qualname__}: {error}") from None
            token = _inside.set(True)
            try:
                result = function(*args, **kwargs)
            finally:
                _inside.reset(token)
            several = isinstance(result, tuple)
            for each in result if several else (result,):
                # Whoever counts a function's tensors should not count those of our look through several results.
                with _disable_current_modes() if several else nullcontext():
                    if isinstance(each, Tensor) and holds_nan(each):
                        raise ValueError(f"{function.__qualname__}: {origin_of_nan(tensors, each)}")
            return result

        return checked

    return decorate


def counts(*names: str) -> Callable:
    """Decorate a function whose arguments `names` are whole numbers of 1 or more (None is left alone)."""

    def decorate(function: Callable) -> Callable:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args, **kwargs):
            arguments = bound(function, signature, args, kwargs)
            for name in names:
                if not is_count(arguments[name]):
                    given = f"{name} is {arguments[name]!r}"
                    raise ValueError(f"{function.__qualname__}: {given}; give a whole number of 1 or more.")
            return function(*args, **kwargs)

        return checked

    return decorate


HALF = (torch.float16, torch.bfloat16)


def in_float32(function: Callable) -> Callable:
    """Decorate a function that adds up: half precision is turned to float32 before it, and rounded once, after it.

    Where an argument is float16 or bfloat16, what comes back in float32 is rounded to the first such dtype. A function
    of anything else is called as it is.
    """

    @functools.wraps(function)
    def widened(*args, **kwargs):
        half = half_among(args, kwargs)
        if not half:
            return function(*args, **kwargs)
        result = function(*map(wide, args), **{name: wide(value) for name, value in kwargs.items()})
        return tuple(narrow(each, half[0]) for each in result) if isinstance(result, tuple) else narrow(result, half[0])

    return widened


def state_in_float32(function: Callable) -> Callable:
    """`in_float32` for a function that returns (out, state): out is rounded, and what is carried on stays float32."""

    @functools.wraps(function)
    def widened(*args, **kwargs):
        half = half_among(args, kwargs)
        out, state = function(*map(wide, args), **{name: wide(value) for name, value in kwargs.items()})
        return narrow(out, half[0]) if half else out, state

    return widened


def half_among(args: tuple, kwargs: dict) -> list[torch.dtype]:
    """The dtypes of half precision among the arguments."""
    return [value.dtype for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.dtype in HALF]


def wide(value):
    """A tensor of half precision in float32; anything else as it is."""
    return value.float() if isinstance(value, Tensor) and value.dtype in HALF else value


def narrow(value, dtype: torch.dtype):
    """A tensor in float32 rounded to that dtype; anything else as it is."""
    return value.to(dtype) if isinstance(value, Tensor) and value.dtype == torch.float32 else value


def bound(function: Callable, signature: inspect.Signature, args: tuple, kwargs: dict) -> dict:
    """Arguments by name, defaults included. Raises TypeError with the function's name if they do not fit."""
    try:
        arguments = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{function.__qualname__}: {error}") from None
    arguments.apply_defaults()
    return arguments.arguments


def on_method(name: str, decorator: Callable) -> Callable:
    """Decorate one method of a class from outside, so that the class itself reads without it."""

    def decorate(cls: type) -> type:
        setattr(cls, name, decorator(getattr(cls, name)))
        return cls

    return decorate


def is_count(value) -> bool:
    """True for a whole number of 1 or more, and for None (not given)."""
    try:
        return value is None or operator.index(value) >= 1
    except TypeError:
        return False


def same_kind(tensors: dict[str, Tensor], any_dtype: Sequence[str] = ()) -> None:
    """Raise ValueError unless all are floating tensors of one dtype, but for those in any_dtype, on one device."""
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} is of type {type(tensor).__name__}; give a torch.Tensor of floating dtype.")
        if not tensor.is_floating_point():
            raise ValueError(f"{name} has dtype {tensor.dtype}; give a floating dtype, for example {name}.float().")
    for name, tensor in tensors.items():
        first_name, first = next(iter(tensors.items()))
        for quality in ("dtype", "device"):
            here, there = getattr(tensor, quality), getattr(first, quality)
            if here != there and not (quality == "dtype" and name in any_dtype):
                raise ValueError(
                    f"{name} has {quality} {here}, but {first_name} has {there}; convert one of them with .to()."
                )


def same_sizes(tensors: dict[str, Tensor], specs: dict[str, str]) -> None:
    """Raise ValueError unless every tensor can be read as its spec says, with one size for each name."""
    known: dict[str, tuple] = {}
    for name, tensor in tensors.items():
        shape, names = tuple(tensor.shape), specs[name].split()
        leading = names[0] == "..."
        names = names[leading:]
        if len(shape) < len(names) or (len(shape) > len(names) and not leading):
            read_as = ", ".join(specs[name].split())
            raise ValueError(f"{name} has shape {shape}, which cannot be read as ({read_as}); give those dimensions.")
        cut = len(shape) - len(names)
        sizes = dict(zip(names, shape[cut:], strict=True))
        for dimension, size in sizes.items():
            if size == 0:
                raise ValueError(f"{name} has shape {shape}, where {dimension} is 0; give at least 1.")
        if leading:
            sizes["the leading dimensions"] = shape[:cut]
        for dimension, size in sizes.items():
            owner, expected = known.setdefault(dimension, (name, size))
            if size != expected:
                raise ValueError(
                    f"{name} has shape {shape}, so {dimension} = {size}, but {owner} has {expected}; make them equal."
                )


def holds_nan(tensor: Tensor) -> bool:
    """True if any entry is nan. The sum tells it without a matrix of booleans; only inf - inf needs the second look."""
    tensor = tensor.detach()
    return tensor.is_floating_point() and bool(tensor.sum().isnan()) and bool(tensor.isnan().any())


def refuse_not_finite(**tensors: Tensor) -> None:
    """Raise ValueError if a tensor holds a nan or an infinity: for functions that must not keep such an input."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(origin_of_nan({name: tensor}, tensor))


def origin_of_nan(tensors: dict[str, Tensor], result: Tensor) -> str:
    """The sentence that says which argument brought the nan, and where it stands."""
    for kind, stands in (("nan", torch.isnan), ("inf", torch.isposinf), ("-inf", torch.isneginf)):
        for name, tensor in tensors.items():
            found = stands(tensor.detach()).nonzero()
            if len(found):
                return f"{name} holds {kind} at {found[0].tolist()}; give finite numbers there."
    return f"the numbers overflow {result.dtype} on the way; give smaller numbers or a wider dtype."
