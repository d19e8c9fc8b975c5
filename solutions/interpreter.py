"""Triton kernels on a CPU: the one file that touches Triton's private parts.

`launch` compiles a kernel for CUDA tensors and interprets it on CPU tensors; `interpreted` always interprets;
`listening` hears every load, store, atomic, dot and elementwise function of an interpreted kernel. The kernel stays the
`@triton.jit` object it was and compiles in the same process, with no environment variable.

How: Triton's interpreter (triton/runtime/interpreter.py, 3.7.1 to 3.9.0) runs the kernel's Python function on numpy
arrays of absolute addresses through a single object, `interpreter_builder`. An attribute set on that object shadows
the method of its class, and deleting it undoes that; all reads and writes pass through two methods, atomics, dots and
elementwise functions through four more. While a kernel runs, `triton.language` is patched once, and nested
`@triton.jit` helpers (tl.sum and tl.max are such) run as plain functions. Everything is put back at the end, also after
an exception.

Two things the interpreter does not do by itself: it multiplies and rounds bfloat16 as if its bits were integers
(triton#11584), and it follows any pointer. Here bfloat16 is widened to float32 first, and every address is checked
against the tensors of the launch before it is touched.

Where Triton isn't installed, `available` is False, `why_not` says why, and `triton` and `tl` are the stand-ins of
solutions/no_triton.py: kernels can still be defined.
"""

import ctypes
import functools
import inspect
import linecache
import operator
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, SimpleNamespace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from solutions import no_triton

try:
    import triton
    import triton.language as tl
    import triton.runtime.interpreter as private
    from triton.runtime.autotuner import Autotuner, Heuristics
    from triton.runtime.jit import JITFunction

    available, why_not = True, ""
except ImportError as missing:
    triton, tl = no_triton, no_triton.language
    available, why_not = False, f"{no_triton.WHY} ({missing})"

LAUNCH_OPTIONS = {"num_warps", "num_stages", "num_ctas", "maxnreg"}  # of the compiler: the interpreter ignores them
BFLOAT16_ADVICE = "the interpreter would take its bits for integers. Write x.to(tl.float32) first."


class OutOfBounds(IndexError):
    """A kernel's pointer leaves the tensor that it was made from."""


# What a listener hears ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Argument:
    """A tensor of a launch: its name in the kernel's signature, and the addresses [start, stop) it may be read at."""

    name: str
    tensor: torch.Tensor
    start: int
    stop: int

    @classmethod
    def of(cls, name: str, tensor: torch.Tensor) -> "Argument":
        start = tensor.data_ptr()
        reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)) + 1
        return cls(name, tensor, start, start + reach * tensor.element_size() if tensor.numel() else start)

    def holds(self, address: int) -> bool:
        """True where an element of this very tensor begins, not one of another view of the same storage."""
        element, rest = divmod(address - self.start, self.tensor.element_size())
        for stride, size in sorted(zip(self.tensor.stride(), self.tensor.shape, strict=True), reverse=True):
            if stride:
                element -= min(element // stride, size - 1) * stride
        return element == 0 and rest == 0


class Launch(NamedTuple):
    """A kernel about to run: its name, its grid (x, y, z), its tensors, and the code object of its function."""

    name: str
    grid: tuple[int, int, int]
    arguments: list[Argument]
    code: CodeType


class Access(NamedTuple):
    """One load, store or atomic of one program: every lane's absolute address, and which lanes are on."""

    kind: str
    argument: int  # index into Launch.arguments
    program: tuple[int, int, int]
    addresses: np.ndarray  # uint64, in the block's shape
    mask: np.ndarray | None  # bool, in the block's shape; None: all lanes
    element_bytes: int
    frame: FrameType  # the kernel's own frame, also when a helper that it calls does the access
    undefined: bool = False  # a load without other=: nothing certain comes into lanes that are off

    @property
    def line(self) -> int:
        """Line of the kernel, whose `def` is line 1."""
        return self.frame.f_lineno - self.frame.f_code.co_firstlineno + 1

    @property
    def text(self) -> str:
        return linecache.getline(self.frame.f_code.co_filename, self.frame.f_lineno).strip()


class Dot(NamedTuple):
    """One tl.dot of one program: 2 m n k multiplications and additions, times the batch of a 3-D dot."""

    program: tuple[int, int, int]
    flops: int
    frame: FrameType


class Listener:
    """Overrides what it wants to hear."""

    def begin(self, launch: Launch) -> None: ...

    def access(self, access: Access) -> None: ...

    def dot(self, dot: Dot) -> None: ...

    def unary(self, name: str) -> None:
        """A function of each entry of a tile, by numpy's name: "exp", "exp2", "log"."""

    def end(self) -> None: ...


class Tile(NamedTuple):
    """A block that a name of the kernel holds: its size as the GPU would hold it, and its values."""

    name: str
    shape: tuple[int, ...]
    bytes: int
    values: np.ndarray | None  # of a one-dimensional floating-point tile: the statistics of its rows


def live_tiles(frame: FrameType) -> list[Tile]:
    """The named tiles in a kernel's frame: no pointers, masks, scalars or offsets; two names of one array count once.

    An integer tile counts when it came from memory; made of tl.arange, the compiler computes it where it is used.
    """
    tiles, seen = [], set()
    for name, value in frame.f_locals.items():
        if not isinstance(value, tl.tensor) or not value.type.is_block():
            continue
        handle, dtype = value.handle, value.dtype
        if not dtype.is_floating() and not ("loaded" in handle.attr and not dtype.is_ptr()):
            continue
        array = handle.data if handle.data.base is None else handle.data.base
        if (id(array), handle.data.size) in seen:
            continue
        seen.add((id(array), handle.data.size))
        is_row = dtype.is_floating() and handle.data.ndim == 1 and dtype.primitive_bitwidth >= 16
        values = _widen(handle).data if is_row else None
        tiles.append(Tile(name, handle.data.shape, handle.data.size * dtype.primitive_bitwidth // 8, values))
    return tiles


_listeners: list[Listener] = []
lock = threading.RLock()  # the patches below are global: one interpreted kernel at a time


Hears = TypeVar("Hears", bound=Listener)


@contextmanager
def listening(listener: Hears) -> Iterator[Hears]:
    """While it lasts, `listener` hears every kernel interpreted through this file. Raises when the self-test fails."""
    self_test()
    with _heard_by(listener):
        yield listener


@contextmanager
def _heard_by(listener: Listener) -> Iterator[None]:
    with lock:
        _listeners.append(listener)
        try:
            yield
        finally:
            _listeners.remove(listener)


class Numbering(NamedTuple):
    """The first program's number along each axis, and of each tensor the bytes that programs before it have."""

    first: tuple[int, int, int]
    before: dict[str, int]


_numbering: ContextVar[Numbering | None] = ContextVar("how programs are numbered", default=None)


@contextmanager
def numbered_from(first: tuple[int, int, int], before: dict[str, int]) -> Iterator[None]:
    """While it lasts, programs are numbered from `first` on, and what those before them have lies before each tensor.

    before: name of a tensor -> bytes between the address that the kernel gets and the tensor's first element
    So a kernel meets the large offsets of program 8,388,608 in tensors that hold that program's part and no other.
    Listeners hear the numbers of the grid, from 0 on.
    """
    token = _numbering.set(Numbering(first, before))
    try:
        yield
    finally:
        _numbering.reset(token)


# Launching -----------------------------------------------------------------------------------------------------------


class Launchable:
    """What `interpreted(kernel)` and `launch(kernel)` return: `[grid](*args, **meta)` runs it, as with any kernel."""

    def __init__(self, run: Callable):
        self.run = run

    def __getitem__(self, grid):
        return functools.partial(self.run, grid)


def interpreted(kernel) -> Launchable:
    """`interpreted(kernel)[grid](*args, **meta)` runs an unmodified @triton.jit kernel on CPU tensors.

    grid: a whole number, a tuple of up to three, or a function of the arguments, as in Triton; num_warps and
    num_stages may be given and change nothing. An error inside the kernel arrives as itself.

    Raises RuntimeError without Triton; ValueError for anything but a @triton.jit kernel, for an empty grid, for
    tensors that aren't on the CPU; OutOfBounds before a pointer outside the tensors is followed.
    """
    function = python_function(kernel)
    return Launchable(lambda grid, *args, **meta: _interpret(function, grid, args, meta))


def launch(kernel) -> Launchable:
    """`launch(kernel)[grid](*args, **meta)`: compiled on CUDA tensors, interpreted on CPU tensors."""
    if not available:
        raise RuntimeError(f"{getattr(kernel, '__name__', kernel)} can't be launched: {why_not}")
    if not isinstance(kernel, Autotuner | Heuristics):
        python_function(kernel)  # raises for what is no kernel; the wrapped ones may run on a GPU

    def run(grid, *args, **meta):
        named = dict(zip(inspect.signature(_innermost(kernel)).parameters, args, strict=False)) | meta
        if not callable(grid):
            _whole_grid(grid, named)
        if device_of(_tensors(named)) == "cuda":
            return kernel[grid](*args, **meta)
        return interpreted(kernel)[grid](*args, **meta)

    return Launchable(run)


def python_function(kernel) -> Callable:
    """The Python function inside a @triton.jit kernel. Raises for anything that is none, and says what to give."""
    if not available:
        raise RuntimeError(f"{getattr(kernel, '__name__', kernel)} can't be interpreted: {why_not}")
    if isinstance(kernel, Autotuner | Heuristics):
        raise ValueError(
            f"{_innermost(kernel).__name__} is wrapped in {type(kernel).__name__}, which chooses its settings, "
            "as a rule by timing them on a GPU. Give the kernel inside, kernel.fn (again .fn while it is wrapped), and "
            "the settings with its arguments: [grid](..., BLOCK=64)."
        )
    if not isinstance(kernel, JITFunction | private.InterpretedFunction):
        what = f"the function {kernel.__name__}" if inspect.isfunction(kernel) else f"a {type(kernel).__name__}"
        raise ValueError(f"expected a @triton.jit kernel, got {what}. Put @triton.jit above its def.")
    return kernel.fn


def _innermost(kernel) -> Callable:
    """The Python function under a kernel's wrappers, of which an autotuned one has several."""
    while hasattr(kernel, "fn"):
        kernel = kernel.fn
    return kernel


def device_of(tensors: dict[str, torch.Tensor]) -> str:
    """The one kind of device the tensors are on, "cpu" for none. Raises ValueError when they are on several."""
    devices = {name: tensor.device for name, tensor in tensors.items()}
    if len(set(devices.values())) > 1:
        places = ", ".join(f"{name} on {device}" for name, device in devices.items())
        raise ValueError(f"the tensors are on different devices: {places}. Move them to one with .to(device).")
    return next((device.type for device in devices.values()), "cpu")


def _tensors(arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors among a launch's arguments, those in tuples and under tensor descriptors too."""
    found = {}
    for name, value in arguments.items():
        value = getattr(value, "base", value) if not isinstance(value, torch.Tensor) else value
        if isinstance(value, torch.Tensor):
            found[name] = value
        elif isinstance(value, tuple):
            found |= _tensors({f"{name}[{i}]": part for i, part in enumerate(value)})
    return found


def _bind(function: Callable, args: tuple, meta: dict) -> dict[str, Any]:
    """Every argument by its name in the kernel's signature, defaults filled in."""
    signature = inspect.signature(function)
    unknown = meta.keys() - signature.parameters.keys() - LAUNCH_OPTIONS
    if unknown:
        names = ", ".join(signature.parameters)
        raise ValueError(f"{function.__name__} has no argument {sorted(unknown)[0]}; it takes {names}.")
    try:
        bound = signature.bind(*args, **{name: meta[name] for name in meta if name in signature.parameters})
    except TypeError as error:
        raise ValueError(f"{function.__name__}: {error}.") from None
    bound.apply_defaults()
    return bound.arguments


def _whole_grid(grid, arguments: dict[str, Any]) -> tuple[int, int, int]:
    """The grid as (x, y, z). Raises ValueError unless it has one to three whole numbers that CUDA takes."""
    given = grid(arguments) if callable(grid) else grid
    sizes = tuple(given) if isinstance(given, tuple | list) else (given,)
    try:
        sizes = tuple(operator.index(size) for size in sizes)
    except TypeError:
        sizes = ()
    if not 1 <= len(sizes) <= 3 or min(sizes) < 1:
        raise ValueError(f"grid is {given!r}: no program would run. Give one to three whole numbers of 1 or more.")
    if max(sizes[1:], default=1) > 65_535:
        raise ValueError(
            f"grid is {given!r}: CUDA takes at most 65,535 programs along the second and third axis. Launch it for "
            "fewer heads or texts at a time."
        )
    return sizes + (1,) * (3 - len(sizes))


def _interpret(function: Callable, grid, args: tuple, meta: dict) -> None:
    arguments = _bind(function, args, meta)
    tensors = _tensors(arguments)
    if device_of(tensors) != "cpu":
        raise ValueError(f"{function.__name__}: the interpreter reads the CPU's memory; pass the tensors' .cpu().")
    sizes = _whole_grid(grid, arguments)
    with lock:
        kernel = _rewritten(function)
        known = [Argument.of(name, tensor) for name, tensor in tensors.items()]
        running = Launch(function.__name__, sizes, known, kernel.rewrite().__code__)
        for listener in _listeners:
            listener.begin(running)
        with _patched(running), _one_blas_thread():
            try:
                kernel[sizes](**arguments)
            except private.InterpreterError as error:
                cause = _cause(error)
                if isinstance(cause, OutOfBounds):
                    cause = cause.with_traceback(None)  # it names the line itself
                raise cause from None
        for listener in _listeners:
            listener.end()


def _cause(error: BaseException) -> BaseException:
    """What went wrong in the kernel, under the InterpreterErrors that Triton wraps around it."""
    while isinstance(error, private.InterpreterError) and error.__cause__ is not None:
        error = error.__cause__
    return error


@functools.cache
def _rewritten(function: Callable):
    """The interpreter's form of a kernel. Rewriting parses the source, so it happens once.

    Triton copies all names of its interpreter module into the kernel's globals on the way; the one that the rewritten
    code needs stays, the others would hide a NameError in a reader's notebook and go.
    """
    names = set(function.__globals__)
    kernel = private.InterpretedFunction(function)
    kernel.rewrite()
    for name in function.__globals__.keys() - names - {"interpreter_semantic"}:
        del function.__globals__[name]
    return kernel


# Patching ------------------------------------------------------------------------------------------------------------


@contextmanager
def _replaced(owner: object, **members) -> Iterator[None]:
    """Set attributes on `owner` itself, and put back what was there before: often nothing, so that its class shows."""
    before = {name: vars(owner)[name] for name in members if name in vars(owner)}
    try:
        for name, member in members.items():
            setattr(owner, name, member)
        yield
    finally:
        for name in members:
            setattr(owner, name, before[name]) if name in before else delattr(owner, name)


@contextmanager
def _patched(running: Launch) -> Iterator[None]:
    """triton.language interpreted, nested helpers callable, and the builder's memory operations heard."""
    scope = private._patch_lang(SimpleNamespace(__globals__={"tl": tl, "core": tl.core}))
    try:
        with ExitStack() as patches:
            patches.enter_context(_replaced(JITFunction, __call__=_call_helper))
            patches.enter_context(_replaced(private.ReduceScanOpInterface, check_tensor=_check_reduced))
            patches.enter_context(_replaced(private.interpreter_builder, **_bfloat16_operations()))
            patches.enter_context(_replaced(private.interpreter_builder, **_memory_operations(running)))
            if (numbering := _numbering.get()) is not None:
                patches.enter_context(_replaced(private.interpreter_builder, **_numbered(numbering)))
                patches.enter_context(_replaced(private, _implicit_cvt=_begun_before(running, numbering)))
            yield
    finally:
        scope.restore()


def _call_helper(helper, *args, **kwargs):
    return _rewritten(helper.fn).rewrite()(*args, **kwargs)


def _numbered(numbering: Numbering) -> dict[str, Callable]:
    builder = private.interpreter_builder

    def create_get_program_id(axis):
        number = builder.grid_idx[axis] + numbering.first[axis]
        return private.TensorHandle(np.array([number], dtype=np.int32), tl.int32)

    return {"create_get_program_id": create_get_program_id}


def _begun_before(running: Launch, numbering: Numbering) -> Callable:
    """What makes a kernel's arguments of tensors and numbers, with the pointers that the numbering asks for."""
    convert, before = private._implicit_cvt, {a.start: numbering.before.get(a.name, 0) for a in running.arguments}

    def implicit_cvt(argument):
        converted = convert(argument)
        if hasattr(argument, "data_ptr"):
            converted.handle.data = converted.handle.data - np.uint64(before[argument.data_ptr()])
        return converted

    return implicit_cvt


def _memory_operations(running: Launch) -> dict[str, Callable]:
    """The builder's loads, stores, atomics, dots and elementwise functions, each told to the listeners first.

    Signatures differ between versions after the first arguments, which are the only ones named here.
    """
    builder = private.interpreter_builder
    load, store = builder.create_masked_load, builder.create_masked_store
    rmw, cas, dot = builder.create_atomic_rmw, builder.create_atomic_cas, builder.create_dot
    unary = builder.unary_op

    def kernel_frame() -> FrameType:
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame.f_code is not running.code:
            frame = frame.f_back
        assert frame is not None  # the kernel is running
        return frame

    def hear(kind, pointers, mask=None, undefined=False):
        addresses = pointers.data
        element_bytes = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        mask = None if mask is None else np.broadcast_to(np.asarray(mask.data, dtype=bool), addresses.shape)
        if mask is not None and mask.all():
            mask = None
        frame = kernel_frame()
        argument = _argument(running, kind, builder.grid_idx, pointers, mask, element_bytes, frame)
        for listener in _listeners:
            heard = Access(kind, argument, builder.grid_idx, addresses, mask, element_bytes, frame, undefined)
            listener.access(heard)

    def create_masked_load(pointers, mask, other, *args, **kwargs):
        hear("load", pointers, mask, undefined=other is None)
        other = _undefined(pointers) if other is None else other
        tile = load(pointers, mask, other, *args, **kwargs)
        tile.set_attr("loaded", True)  # tells an integer tile that came from memory from one made of offsets
        return tile

    def create_masked_store(pointers, value, mask, *args, **kwargs):
        hear("store", pointers, mask)
        return store(pointers, value, mask, *args, **kwargs)

    def create_atomic_rmw(op, pointers, value, mask, *args, **kwargs):
        hear("atomic", pointers, mask)
        return rmw(op, pointers, value, mask, *args, **kwargs)

    def create_atomic_cas(pointers, *args, **kwargs):
        hear("atomic", pointers)
        return cas(pointers, *args, **kwargs)

    def create_dot(a, b, *args, **kwargs):
        frame = kernel_frame()
        for listener in _listeners:
            listener.dot(Dot(builder.grid_idx, 2 * a.data.size * b.data.shape[-1], frame))
        return dot(a, b, *args, **kwargs)

    def unary_op(tile, operation):
        for listener in _listeners:
            listener.unary(operation.__name__)
        return unary(tile, operation)

    return dict(
        create_masked_load=create_masked_load,
        create_masked_store=create_masked_store,
        create_atomic_rmw=create_atomic_rmw,
        create_atomic_cas=create_atomic_cas,
        create_dot=create_dot,
        unary_op=unary_op,
    )


# Bounds --------------------------------------------------------------------------------------------------------------


def _undefined(pointers):
    """What a masked load without `other` leaves in its masked lanes: Triton doesn't say, so nan, which shows."""
    element = pointers.get_element_ty()
    kind = private._get_np_dtype(element)
    if kind.kind == "f" or element == tl.bfloat16:
        nan = np.nan if kind.kind == "f" else 0x7FC0
        return private.TensorHandle(np.full(pointers.data.shape, nan, dtype=kind), element)
    return None


def _argument(running, kind, program, pointers, mask, element_bytes, frame) -> int:
    """Index of the tensor that an access touches: known by its addresses, so the first of two that are the same memory.

    Raises OutOfBounds when the lanes that are on aren't all inside one tensor, or are inside one that shares no memory
    with the tensor that the pointer was made from.
    """
    lanes = pointers.data if mask is None else pointers.data[mask]
    if lanes.size == 0:  # all lanes off: nothing is touched, wherever the pointers point
        return _nearest(running.arguments, pointers.data)
    low, high = int(lanes.min()), int(lanes.max()) + element_bytes
    inside = [i for i, argument in enumerate(running.arguments) if argument.start <= low and high <= argument.stop]
    origin = _origin(running, pointers, frame)
    if not inside or not (origin is None or any(_one_storage(running.arguments, origin, i) for i in inside)):
        raise _out_of_bounds(running, kind, program, lanes, element_bytes, frame, origin)
    if len(inside) == 1:
        return inside[0]
    return next((i for i in inside if running.arguments[i].holds(low)), inside[0])  # views of one storage


def _origin(running, pointers, frame) -> int | None:
    """Index of the tensor whose pointer these were made from, None where it can't be known.

    Addresses can't tell: far outside of q may lie in v. But every argument has a pointer type of its own, and what is
    computed from a pointer keeps that very object.
    """
    for index, argument in enumerate(running.arguments):
        if getattr(getattr(frame.f_locals.get(argument.name), "handle", None), "dtype", None) is pointers.dtype:
            return index
    return None


def _one_storage(arguments: list[Argument], one: int, other: int) -> bool:
    one, other = (arguments[i].tensor.untyped_storage().data_ptr() for i in (one, other))
    return one == other


def _nearest(arguments: list[Argument], lanes: np.ndarray) -> int:
    """The tensor with most lanes inside, or, where there is none, the one whose end is nearest to the first lane."""
    lanes = lanes.astype(np.int64)  # an offset below an empty tensor's null pointer is negative
    within = [int(((lanes >= a.start) & (lanes < a.stop)).sum()) for a in arguments]
    if any(within):
        return int(np.argmax(within))
    first = int(lanes.flat[0])
    return int(np.argmin([min(abs(first - a.start), abs(first - a.stop)) for a in arguments]))


def _out_of_bounds(running, kind, program, lanes, element_bytes, frame, origin) -> OutOfBounds:
    if not running.arguments:
        return OutOfBounds(f"{running.name}, program {program}: a {kind}, but no tensor was passed.")
    argument = running.arguments[_nearest(running.arguments, lanes) if origin is None else origin]
    offsets = lanes.astype(np.int64).ravel() - argument.start
    stray = offsets[(offsets < 0) | (offsets + element_bytes > argument.stop - argument.start)]
    worst = int(stray.min()) if stray.min() < 0 else int(stray.max())
    line = frame.f_lineno - running.code.co_firstlineno + 1
    text = linecache.getline(running.code.co_filename, frame.f_lineno).strip()
    shape = tuple(argument.tensor.shape)
    return OutOfBounds(
        f"{running.name}, program {program}, line {line} ({text}): a {kind} of {argument.name} at byte offset {worst:,}"
        f" (element {worst // element_bytes:,}); {argument.name} is {shape} and spans bytes 0 to "
        f"{argument.stop - argument.start:,}. {stray.size:,} of {offsets.size:,} lanes are outside. "
        "Mask them (mask=...), or bound the loop."
    )


# bfloat16 ------------------------------------------------------------------------------------------------------------
# The interpreter keeps bfloat16 as uint16. It converts it to and from float32, cutting the low bits off where hardware
# rounds to nearest even, and everything else it does to the bits as integers.


def _widen(tile):
    """A bfloat16 tile as float32; any other as it is."""
    if tile.dtype.scalar != tl.bfloat16:
        return tile
    return private.TensorHandle((tile.data.astype(np.uint32) << 16).view(np.float32), tl.float32)


def _narrow(values: np.ndarray):
    """float32 values as a bfloat16 tile, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    return private.TensorHandle(np.where(np.isnan(values), np.uint16(0x7FC0), rounded), tl.bfloat16)


def _is_bfloat16(*values) -> bool:
    return any(isinstance(v, private.TensorHandle) and v.dtype.scalar == tl.bfloat16 for v in values)


def _bfloat16_operations() -> dict[str, Callable]:
    """The builder's arithmetic, made right for bfloat16 where that is one rounding, and refused elsewhere."""
    builder = private.interpreter_builder
    dot = builder.create_dot

    def rounded(operation):
        def compute(*tiles_and_op):
            if not _is_bfloat16(*tiles_and_op[:-1]):
                return operation(*tiles_and_op)
            result = operation(*map(_widen, tiles_and_op[:-1]), tiles_and_op[-1])
            return result if result.data.dtype == bool else _narrow(result.data)

        return compute

    def refused(name):
        operation = getattr(builder, name)

        def compute(*args, **kwargs):
            if _is_bfloat16(*args):
                raise ValueError(f"{name.removeprefix('create_')} of bfloat16: {BFLOAT16_ADVICE}")
            return operation(*args, **kwargs)

        return compute

    def converted(operation):
        def compute(source, target, *rounding):
            if target.scalar != tl.bfloat16:
                return operation(_widen(source), target, *rounding)
            if _is_bfloat16(source):
                return source
            wide = tl.block_type(tl.float32, target.shape) if target.is_block() else tl.float32
            return _narrow(operation(source, wide, *rounding).data)

        return compute

    def create_dot(a, b, accumulator, *args, **kwargs):
        if _is_bfloat16(accumulator):
            raise ValueError(f"a dot with a bfloat16 accumulator: {BFLOAT16_ADVICE}")
        return dot(_widen(a), _widen(b), accumulator, *args, **kwargs)

    return {
        "get_bf16": lambda value: _narrow(np.array([value], np.float32)),
        "create_dot": create_dot,
        "binary_op": rounded(builder.binary_op),
        "unary_op": rounded(builder.unary_op),
        "cast_impl": converted(builder.cast_impl),
        "create_fp_to_fp": converted(builder.create_fp_to_fp),
    } | {name: refused(name) for name in ("create_fma", "create_clampf", "create_rsqrt", "create_atomic_rmw")}


_check_tensor: Any = private.ReduceScanOpInterface.check_tensor if available else None


def _check_reduced(operation, tiles):
    _check_tensor(operation, tiles)
    if any(tile.dtype == tl.bfloat16 for tile in tiles):
        raise ValueError(f"a reduction or scan of bfloat16: {BFLOAT16_ADVICE}")


# BLAS ----------------------------------------------------------------------------------------------------------------


@functools.cache
def _openblas():
    """The OpenBLAS that numpy's wheel brings, or None."""
    for path in Path(np.__file__).parent.parent.glob("numpy.libs/libscipy_openblas64_*"):
        return ctypes.CDLL(str(path))
    return None


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Tiles are small: more threads than one only fight, and six times slower has been seen on a busy laptop."""
    library = _openblas()
    if library is None:
        yield
        return
    threads = library.scipy_openblas_get_num_threads64_()
    library.scipy_openblas_set_num_threads64_(1)
    try:
        yield
    finally:
        library.scipy_openblas_set_num_threads64_(threads)


# The self-test -------------------------------------------------------------------------------------------------------


@triton.jit
def _copy_and_sum(source, target, total, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < n
    x = tl.load(source + offsets, mask=inside, other=0.0)
    tl.store(target + offsets, x, mask=inside)
    tl.atomic_add(total, tl.sum(x, 0))


@functools.cache
def self_test() -> None:
    """Copy and sum 100 numbers in blocks of 32, once a process, and raise RuntimeError unless every byte was heard."""
    heard = {"load": [0, 0], "store": [0, 0], "atomic": [0, 0]}

    class Count(Listener):
        def access(self, access):
            lanes = access.addresses.size if access.mask is None else int(access.mask.sum())
            heard[access.kind][0] += 1
            heard[access.kind][1] += lanes * access.element_bytes

    source, target, total = torch.arange(100.0), torch.zeros(100), torch.zeros(1)
    with _heard_by(Count()):
        interpreted(_copy_and_sum)[(4,)](source, target, total, 100, BLOCK=32)
    expected = {"load": [4, 400], "store": [4, 400], "atomic": [4, 16]}
    if heard != expected or not torch.equal(source, target) or total.item() != 4950:
        raise RuntimeError(
            f"the counter's self-test failed with Triton {triton.__version__} and numpy {np.__version__}: a kernel "
            f"that copies 100 numbers gave {heard} (events, bytes) instead of {expected}, and the sum {total.item()} "
            "instead of 4950. No counts are reported; install the versions pinned in requirements.txt."
        )
