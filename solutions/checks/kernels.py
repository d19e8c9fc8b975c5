"""Judge a Triton kernel: launch it under the interpreter, hear what it stores and moves, and change one for a mistake.

Outputs start as nan, so that what was never written is seen, and is told by the program whose part it is. Who writes
to another program's part is told too, right as the numbers may be.
"""

import functools
import inspect
import linecache
import math
import textwrap
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from solutions.checks.running import Rejected
from solutions.interpreter import Access, Launch, Listener, OutOfBounds, interpreted, listening, numbered_from


class Parts(NamedTuple):
    """Which program has which entries of the outputs.

    program(name, entry): the number along each axis of the program that stores an entry; of many entries, arrays
    words(name, entry): that program's part, and the entry's place, in words
    """

    program: Callable
    words: Callable[[str, int], tuple[str, str]]


class Outside(Rejected):
    """A kernel's pointer left its tensor. Where that was is the reader's own; what was left, and how far, is not."""

    def __init__(self, stray: OutOfBounds):
        where, _, what = str(stray).rpartition("): ")
        super().__init__(what.rstrip("."), f"your function stops with OutOfBounds: {where}): ")


class Written(Listener):
    """Which entries of the outputs were stored, who stored where, and the first load that left lanes undefined."""

    def __init__(self, axes: int, *outputs: str):
        self.axes, self.outputs = axes, outputs

    def begin(self, launch: Launch) -> None:
        self.arguments = launch.arguments
        self.stored = {a.name: np.zeros(a.tensor.numel(), bool) for a in launch.arguments if a.name in self.outputs}
        self.entries: dict[tuple, list[int]] = {}  # by program and tensor
        self.undefined: str | None = None

    def access(self, access: Access) -> None:
        argument = self.arguments[access.argument]
        if access.kind == "load" and access.undefined and access.mask is not None and self.undefined is None:
            self.undefined = f"{argument.name} at line {access.line}, `{access.text}`,"
        if access.kind == "store" and argument.name in self.stored:
            lanes = access.addresses if access.mask is None else access.addresses[access.mask]
            entries = (lanes.astype(np.int64).ravel() - argument.start) // access.element_bytes
            self.stored[argument.name][entries] = True
            self.entries.setdefault((access.program[: self.axes], argument.name), []).extend(entries.tolist())

    def refuse_gaps(self, parts: Parts) -> None:
        """Reject what leaves entries of an output as they were, in the words of the program that owns the first."""
        for name, stored in self.stored.items():
            if stored.all():
                continue
            entry = int(np.argmin(stored))
            program, (part, place) = parts.program(name, entry), parts.words(name, entry)
            theirs = self.entries.get((program, name))
            if not theirs:
                raise Rejected(f"{self.called(program)} stores nothing to {name}; {part} are its part")
            if any(parts.program(name, each) == program for each in theirs):
                raise Rejected(f"{self.called(program)} leaves {place} of {name} as it was; {part} are its part")
            begins = parts.words(name, min(theirs))[1]
            raise Rejected(
                f"{self.called(program)} stores nothing to {part}: what it stores begins at {begins.rstrip(',')}"
            )

    def refuse_strangers(self, parts: Parts) -> None:
        """Reject a program that stores to a part that is another's, also where the numbers are right."""
        for (program, name), stored in sorted(self.entries.items()):
            entries = np.unique(stored)
            owners = parts.program(name, entries)
            strange = np.any([owner != own for owner, own in zip(owners, program, strict=True)], axis=0)
            if strange.any():
                entry = int(entries[np.argmax(strange)])
                part, place = parts.words(name, entry)
                numbers = "1 number" if strange.sum() == 1 else f"{int(strange.sum())} numbers"
                raise Rejected(
                    f"{self.called(program)} stores {numbers} to parts of others, the first to {place.rstrip(',')}: "
                    f"{part} are the part of {self.called(parts.program(name, entry))}"
                )

    def called(self, program: tuple[int, ...]) -> str:
        return f"program {program if self.axes > 1 else program[0]}"


class Issued(Listener):
    """Counts the bytes that a kernel asks for."""

    def __init__(self):
        self.bytes = 0

    def access(self, access: Access) -> None:
        lanes = access.addresses.size if access.mask is None else int(access.mask.sum())
        self.bytes += lanes * access.element_bytes


class Exponentials(Listener):
    """Counts how often e^x is taken of a tile."""

    def __init__(self):
        self.natural = 0

    def unary(self, name: str) -> None:
        self.natural += name == "exp"


def drawn(*shape: int) -> Tensor:
    """Normal numbers, the same for the same shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def unwritten(*shape: int, dtype=torch.float32) -> Tensor:
    return torch.full(shape, math.nan, dtype=dtype)


def span(what: str, index: int, block: int, end: int) -> str:
    """The whole block that an index lies in, in words: "rows 4 to 6"."""
    first = index // block * block
    return f"{what} {first} to {min(end, first + block) - 1}"


def rows_each(n: int, width: int, block: int) -> Parts:
    """The parts of an output (n, width) whose programs have `block` rows each."""

    def words(name, entry):
        row, column = divmod(entry, width)
        place = f"row {row}, column {column}," if width > 1 else f"row {row}"
        return f"{span('rows', row, block, n)} of {name}", place

    return Parts(lambda name, entry: (entry // width // block,), words)


def launched(kernel, grid, inputs: dict[str, Tensor], outputs: dict[str, Tensor], *numbers, parts: Parts, **meta):
    """The outputs of a kernel that takes inputs, outputs and numbers in this order.

    Rejects what writes to an input, leaves an output as it was, brings what no load defined into it, or stores to
    another program's part.
    """
    given = {name: tensor.clone() for name, tensor in inputs.items()}
    kernel = kernel.made if isinstance(kernel, changed) else kernel
    quiet = np.errstate(all="ignore"), warnings.catch_warnings(action="ignore")  # the verdict says what a mistake does
    with quiet[0], quiet[1], listening(Written(len(grid), *outputs)) as written:
        try:
            interpreted(kernel)[grid](*inputs.values(), *outputs.values(), *numbers, **meta)
        except OutOfBounds as stray:
            raise Outside(stray) from None
    for name, tensor in inputs.items():
        if not torch.equal(tensor, given[name]):
            raise Rejected(f"your kernel writes to {name}; store to {' and '.join(outputs)} only")
    written.refuse_gaps(parts)
    if written.undefined and any(tensor.isnan().any() for tensor in outputs.values()):
        where = f"your kernel loads {written.undefined} with a mask and without other=: "
        raise Rejected("lanes that are off hold anything, here nan, and it reaches the output", where)
    written.refuse_strangers(parts)
    return outputs


def far_away(outcome: Callable, axis: int, before: Callable[..., dict[str, int]], number: int = 2**23 + 5) -> Callable:
    """The outcome for programs with so large a number on an axis that 32 bits no longer count what lies before them.

    before(number, *sizes): the bytes of each tensor that lie before what the program of that number has
    """
    first = number * (axis == 0), number * (axis == 1), number * (axis == 2)

    def counted(kernel, *sizes):
        with numbered_from(first, before(number, *sizes)):
            try:
                return outcome(kernel, *sizes)
            except Outside:
                raise Rejected(
                    f"program {first[: axis + 1]} has more than 2,147,483,647 numbers before its own, and 32 bits "
                    f"count no further: make tl.program_id({axis}) an int64 before it is multiplied"
                ) from None

    return counted


def within_budget(outcome: Callable, budget: Callable[..., int]) -> Callable:
    """The outcome, unless the kernel asks for more bytes than the budget of its sizes."""

    def counted(kernel, *sizes):
        with listening(Issued()) as issued:
            result = outcome(kernel, *sizes)
        if issued.bytes > budget(*sizes):
            raise Rejected(f"your kernel issues {issued.bytes:,} bytes, where {budget(*sizes):,} suffice")
        return result

    return counted


@functools.cache
def source_of(function) -> str:
    return textwrap.dedent(inspect.getsource(function))


class changed:
    """The kernel with pieces of its source replaced, old, new, old, new, as if it stood in a file of its own.

    names: what it finds under these names, where not what its module has
    It is made when it is first used: there are a hundred, and Triton takes its time over each.
    """

    def __init__(self, kernel, *pieces: str, **names):
        self._name, self._names, source = kernel.__name__, kernel.fn.__globals__ | names, source_of(kernel.fn)
        for old, new in zip(pieces[::2], pieces[1::2], strict=True):
            if old not in source:
                raise ValueError(f"{self._name} does not hold {old!r}; give a piece of its source.")
            source = source.replace(old, new)
        self._source, self._file = source, f"<{self._name} with {', '.join(map(repr, pieces))}>"

    @functools.cached_property
    def made(self):
        lines = self._source.splitlines(keepends=True)
        linecache.cache[self._file] = len(self._source), None, lines, self._file
        names = self._names | {"__name__": __name__}
        exec(compile(self._source, self._file, "exec"), names)
        return names[self._name]

    def __getattr__(self, name):
        return getattr(self.made, name)


def each_changed(kernel, pieces: dict[str, tuple[str, ...]]) -> dict:
    """Sentence -> the kernel with these pieces replaced."""
    return {sentence: changed(kernel, *replaced) for sentence, replaced in pieces.items()}
