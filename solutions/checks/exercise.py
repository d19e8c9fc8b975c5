"""An exercise: a reference, the cases that tell right from wrong, and the mistakes that people really make.

The reference never sees what the reader's function returned. Expected values come from the reference run in float64 and
rounded to the dtype of the inputs; TOLERANCE says how far an answer may be from them.
"""

import ast
import inspect
import textwrap
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from numbers import Number

import torch
from torch import Tensor

from solutions.checks.running import Run, TimeUp, is_blank, run, within, written
from solutions.checks.showing import ShownCase

TIME_LIMIT = 5.0  # seconds for all cases of one answer; ours take less than a tenth of it
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 3e-2}
"""Largest error of an entry, absolute and relative to the expected entry alike."""


def call(function: Callable, *inputs):
    """The plain outcome: what the function returns."""
    return function(*inputs)


@dataclass(frozen=True)
class Case:
    """One question put to an answer.

    label: what is special about it, in words that fit "case '...'"
    inputs: `inputs(normal)` builds the arguments; `normal(3, 5)` draws a tensor of that shape, variance 1, float32
    outcome: `outcome(function, *arguments)` is what is compared; by default the function's result
    dtype: of the tensors that `normal` draws
    """

    label: str
    inputs: Callable[[Callable], tuple]
    outcome: Callable = call
    dtype: torch.dtype = torch.float32

    def build(self, dtype: torch.dtype | None = None) -> tuple:
        """The arguments, new tensors each time with the same entries; floating tensors become `dtype` if given."""
        generator = torch.Generator().manual_seed(zlib.crc32(self.label.encode()))

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(self.dtype)

        return tuple(
            value.to(dtype) if dtype and isinstance(value, Tensor) and value.is_floating_point() else value
            for value in self.inputs(normal)
        )


@dataclass(frozen=True)
class Verdict:
    """ok: right on all cases; attempted: not blank; mistake: the sentence that names it, or None; message: to tell.

    refused: index of the case that was wrong first, None where none was; run: what came out there; fault: what was
    wrong with it
    """

    ok: bool
    attempted: bool
    mistake: str | None
    message: str
    refused: int | None = None
    run: Run = Run()
    fault: str = ""


@dataclass(frozen=True)
class Exercise:
    """One exercise of a lesson. `name` is that of the reference, and of the function that a reader writes.

    number: "1.2"; title: as in the heading; section: the `##` heading of the lesson under which it stands
    difficulty: 1 to 5; minutes: for a reader
    hints: three, from a question to almost the code
    right_answers: functions written differently that must pass
    variants: sentence -> function, where more than one definition is right: an answer that agrees with one of them is
    right, and told the sentence
    mistakes: sentence -> function that commits it; the sentence completes "Your output equals what you get when ..."
    unjudged: why answers can't be run on this system, in a sentence; "" where they can
    """

    number: str
    title: str
    section: str
    difficulty: int
    minutes: int
    reference: Callable
    hints: tuple[str, str, str]
    cases: tuple[Case, ...]
    right_answers: tuple[Callable, ...]
    mistakes: dict[str, Callable] = field(repr=False)
    unjudged: str = ""
    variants: dict[str, Callable] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        return self.reference.__name__

    @property
    def lesson(self) -> str:
        """Two digits, as the lesson's file begins."""
        return f"{int(self.number.split('.')[0]):02}"

    @property
    def lines(self) -> int:
        """Lines of the reference's body that hold code: no docstring, no blank line, no line of comment alone."""
        source = textwrap.dedent(inspect.getsource(written(self.reference)))
        function = ast.parse(source).body[0]
        first = function.body[1 if ast.get_docstring(function) is not None else 0]
        lines = (line.strip() for line in source.splitlines()[first.lineno - 1 :])
        return sum(1 for line in lines if line and not line.startswith("#"))

    @property
    def headline(self) -> str:
        """The heading that stands above the exercise in its lesson."""
        lines = f"{self.lines} line{'s' if self.lines > 1 else ''}"
        size = f"difficulty {self.difficulty}, {self.minutes} minutes, about {lines}"
        return f"Exercise {self.number}, {self.title} ({size})"

    def shown(self, verdict: Verdict | None = None) -> ShownCase:
        """The case that a verdict refused, laid open; the first one where none was."""
        refused = verdict is not None and verdict.refused is not None
        index = verdict.refused if refused else 0
        case = self.cases[index]
        signature = self._signature(self.reference, case)
        inputs = dict(signature.bind(*case.build()).arguments)
        expected = self._expected[index].value
        return ShownCase(case.label, inputs, expected, *((verdict.run.value, verdict.fault) if refused else ()))

    def verdict(self, function: Callable) -> Verdict:
        """Judge an answer. Never raises because of what the answer does, and stops it after TIME_LIMIT seconds."""
        if is_blank(function):
            return Verdict(False, False, None, "not attempted yet. The lesson goes on with ours.")
        if self.unjudged:
            return Verdict(False, True, None, f"not judged. {self.unjudged} The lesson goes on with ours.")
        runs = []

        def answer() -> None:
            for case in self.cases:
                runs.append(self._run(function, case))

        try:
            within(TIME_LIMIT, answer)
        except TimeUp:
            late = f"your function did not end within {TIME_LIMIT:g} seconds"
            return self._refusal(len(runs), Run(), late, f"In case '{self.cases[len(runs)].label}', {late}.")
        faults = self._faults(runs)
        variant = next((each for each, theirs in self._variants.items() if not self._faults(runs, theirs)), "")
        if not faults or variant:
            return Verdict(True, True, None, f"right, all {len(self.cases)} cases. {variant}".rstrip())
        first, fault = next(iter(faults.items()))
        case = f"case '{self.cases[first].label}'"
        mistake, everywhere = self._name(runs, faults)
        if mistake is None:
            told = f"In {case}, {fault}."
        elif everywhere:
            told = f"Your output equals what you get when {mistake}. ({case}: {fault})"
        else:
            told = f"In {case}, your output equals what you get when {mistake}. ({fault})"
        return self._refusal(first, runs[first], fault, told, mistake)

    def _refusal(self, index: int, run: Run, fault: str, told: str, mistake: str | None = None) -> Verdict:
        message = f"not yet. {told} Taught under '{self.section}'. See it: case({self.name})."
        return Verdict(False, True, mistake, message, index, run, fault)

    def _signature(self, function: Callable, case: Case) -> inspect.Signature:
        """Of what a case's inputs are handed to."""
        of = self.reference if case.outcome is call else partial(case.outcome, function)
        return inspect.signature(of)

    def _run(self, function: Callable, case: Case, dtype: torch.dtype | None = None) -> Run:
        names = list(self._signature(function, case).parameters)
        return run(function, case.outcome, partial(case.build, dtype), names)

    def _faults(self, runs: list[Run], expected: list[Run] | None = None) -> dict[int, str]:
        """Index of a case -> what is wrong there, for the cases that are wrong."""
        faults = (fault(got, wanted) for got, wanted in zip(runs, expected or self._expected, strict=True))
        return {index: text for index, text in enumerate(faults) if text}

    def _name(self, runs: list[Run], faults: dict[int, str]) -> tuple[str | None, bool]:
        """The mistake that an answer makes, or None, and whether it makes it everywhere.

        Everywhere: both are wrong in the same cases, and give the same there. Otherwise it is the closest mistake of
        those that give the same in the first wrong case; a few numbers may agree by chance, so then a second case must.
        """
        first, near = next(iter(faults)), {}
        for sentence, (theirs, wrong) in self._mistaken.items():
            alike = [index for index in faults if index in wrong and same(runs[index], theirs[index])]
            if len(alike) == len(faults) == len(wrong):
                return sentence, True
            evidence = {index: self._evidence(index, runs[index]) for index in alike}
            if evidence.get(first) and (evidence[first] > 2 or sum(map(bool, evidence.values())) > 1):
                near[sentence] = (-len(alike), len(wrong))
        return min(near, key=near.get, default=None), False

    def _evidence(self, index: int, got: Run) -> int:
        """How many different wrong numbers an outcome holds; 0 in a case where all mistakes give the same."""
        telling = any(index in wrong and not same(got, theirs[index]) for theirs, wrong in self._mistaken.values())
        return wrong_numbers(got.value, self._expected[index].value) if telling else 0

    @cached_property
    def _expected(self) -> list[Run]:
        return self._outcomes(self.reference)

    @cached_property
    def _variants(self) -> dict[str, list[Run]]:
        return {sentence: self._outcomes(function) for sentence, function in self.variants.items()}

    def _outcomes(self, function: Callable) -> list[Run]:
        def all_cases() -> list[Run]:
            return [
                rounded(self._run(function, case, torch.float64), like=self._run(function, case)) for case in self.cases
            ]

        return within(10 * TIME_LIMIT, all_cases)

    @cached_property
    def _mistaken(self) -> dict[str, tuple[list[Run], dict[int, str]]]:
        def theirs() -> dict[str, list[Run]]:
            return {
                sentence: [self._run(mistake, case) for case in self.cases]
                for sentence, mistake in self.mistakes.items()
            }

        every = within(10 * TIME_LIMIT, theirs)
        return {sentence: (runs, self._faults(runs)) for sentence, runs in every.items()}


def rounded(exact: Run, like: Run) -> Run:
    """The float64 outcome in the dtype that the function has on the inputs as they are."""
    if isinstance(exact.value, Tensor):
        return Run(exact.value.to(like.value.dtype))
    return exact


def fault(got: Run, expected: Run) -> str | None:
    """What is wrong with an outcome, in words that follow "In case '...', "; None if nothing is."""
    if got.error:
        return got.place + got.error
    if got.changed:
        return f"your function changed its input {' and '.join(got.changed)}; work on a new tensor"
    if got.value is None:
        return "your function returned nothing (a return is missing)"
    if isinstance(expected.value, Tensor):
        return fault_of_tensor(got.value, expected.value)
    if not isinstance(got.value, Number):
        return f"your function returned a value of type {type(got.value).__name__}, expected a number"
    return None if got.value == expected.value else f"your function returned {got.value}, expected {expected.value}"


def fault_of_tensor(got: object, expected: Tensor) -> str | None:
    """What is wrong with a value that should be the tensor `expected`."""
    if not isinstance(got, Tensor):
        return f"your function returned a value of type {type(got).__name__}, expected a tensor"
    for quality in ("shape", "dtype", "device"):
        here, there = getattr(got, quality), getattr(expected, quality)
        if here != there:
            here, there = (tuple(here), tuple(there)) if quality == "shape" else (here, there)
            return f"the {quality} of your output is {here}, expected {there}"
    wrong = ~close(got, expected)
    if not wrong.any():
        return None
    right = f"{wrong.numel() - int(wrong.sum())} of {wrong.numel()} entries right"
    if got.is_floating_point() and got.isnan().any():
        first = tuple(got.isnan().nonzero()[0].tolist())
        return f"your output holds nan at {list(first)}, expected {expected[first].item() + 0.0:.4g}; {right}"
    first = tuple(wrong.nonzero()[0].tolist())
    return f"first wrong at {list(first)}: {shown_apart(got[first], expected[first])}; {right}"


def close(got: Tensor, expected: Tensor) -> Tensor:
    """Entry by entry: within the tolerance of the dtype. nan equals nan, so that two mistakes can be compared."""
    if not expected.is_floating_point():
        return got == expected
    tolerance = TOLERANCE[expected.dtype]
    return torch.isclose(got.double(), expected.double(), rtol=tolerance, atol=tolerance, equal_nan=True)


def same(one: Run, other: Run) -> bool:
    """True if two wrong outcomes are the same: the same error, the same changed inputs, or equal values."""
    if (one.error, one.changed) != (other.error, other.changed):
        return False
    if isinstance(other.value, Tensor):
        return fault_of_tensor(one.value, other.value) is None
    if isinstance(one.value, Number) and isinstance(other.value, Number):
        return one.value == other.value
    return type(one.value) is type(other.value) and one.value == other.value


def wrong_numbers(got: object, expected: object) -> int:
    """How many different numbers are among the wrong entries of an outcome; nan is one, unless all entries are nan."""
    if not isinstance(got, Tensor):
        return int(isinstance(got, Number))
    if got.isnan().all():
        return 0
    if isinstance(expected, Tensor) and got.shape == expected.shape:
        got = got[~close(got, expected)]
    return len(got[~got.isnan()].unique()) + bool(got.isnan().any())


def shown_apart(got: Tensor, expected: Tensor) -> str:
    """Two different entries, with as many digits as it takes to see that they differ."""
    one, other = got.item(), expected.item()
    if not (isinstance(one, float) and isinstance(other, float)):
        return f"{one}, expected {other}"
    for digits in range(4, 18):
        texts = [f"{value + 0.0:.{digits}g}" for value in (one, other)]  # + 0.0: no minus before a zero
        if texts[0] != texts[1]:
            break
    return ", expected ".join(texts)
