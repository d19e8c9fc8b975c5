"""An exercise: a reference, the cases that tell right from wrong, and the mistakes that people really make.

The reference never sees what the reader's function returned. Expected values come from the reference run in float64 and
rounded to the dtype of the inputs; `comparing` says how far an answer may be from them.
"""

import ast
import copy
import inspect
import re
import textwrap
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from solutions.blanks import NEW, blank, code_lines
from solutions.checks.comparing import fault, same, strength
from solutions.checks.running import Run, TimeUp, is_blank, leaving_no_trace, one_line, run, within, written
from solutions.checks.showing import ShownCase

TIME_LIMIT = 5.0  # seconds of processor time for all cases of one answer; ours take less than a tenth of it
SLOW = 1.0  # seconds after which a search for the mistake is announced
ENOUGH = 4  # different wrong numbers in a case that no chance makes equal


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

        def new(value: object) -> object:
            if isinstance(value, list):  # it may be the case's own, which an answer could change for good
                return copy.deepcopy(value)
            return value.to(dtype) if dtype and isinstance(value, Tensor) and value.is_floating_point() else value

        return tuple(new(value) for value in self.inputs(normal))


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
    run: Run | None = None
    fault: str = ""


@dataclass(frozen=True)
class Exercise:
    """One exercise of a lesson. `name` is that of the reference, and of the function that a reader writes.

    title: as in the heading; section: the `##` heading of the lesson under which it stands
    difficulty: 1 to 5; minutes: for a reader
    hints: three, from a question to almost the code
    right_answers: functions written differently that must pass
    variants: sentence -> function, where more than one definition is right: an answer that agrees with one of them is
    right, and told the sentence
    mistakes: sentence -> function that commits it; the sentence completes "Your output equals what you get when ...".
    The first two are shown on the site: what most people do comes first
    unjudged: why answers can't be run on this system, in a sentence; "" where they can
    advice: sentence of a mistake -> the hint that helps who makes it; without one, the hint that shares most words
    lesson, number: the lesson's name and "1.2", which the table of lessons and the order of exercises give
    """

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
    advice: dict[str, str] = field(default_factory=dict, repr=False)
    lesson: str = ""
    number: str = ""

    @property
    def name(self) -> str:
        return self.reference.__name__

    @property
    def lines(self) -> int:
        """Lines of code to write: all of the reference's body, or those marked new where it goes on from others."""
        return len(code_lines(self._source[1]))

    @property
    def goes_on(self) -> bool:
        """True if the reader's cell begins with lines of earlier exercises."""
        return any(map(NEW.fullmatch, self._source[1]))

    @cached_property
    def blank(self) -> str:
        """What a reader's cell begins with, decorators aside; "" where the reference is no `def`."""
        return blank(*self._source) if self._source[0] else ""

    @cached_property
    def _source(self) -> tuple[list[str], list[str]]:
        """The reference from its `def` on, cut behind its docstring."""
        source = textwrap.dedent(inspect.getsource(written(self.reference)))
        if not source.startswith(("def ", "class ", "@")):
            return [], []
        function = ast.parse(source).body[0]
        assert isinstance(function, ast.FunctionDef | ast.ClassDef)
        documented, begins = ast.get_docstring(function) is not None, function.lineno - 1
        ends = function.body[0].end_lineno if documented else function.body[0].lineno - 1
        lines = source.splitlines()
        return lines[begins:ends], lines[ends:]

    @property
    def headline(self) -> str:
        """The heading that stands above the exercise in its lesson."""
        lines = f"{self.lines} line{'s' if self.lines > 1 else ''}"
        size = f"difficulty {self.difficulty}, {self.minutes} minutes, about {lines}"
        return f"Exercise {self.number}, {self.title} ({size})"

    def typical(self, count: int) -> list[str]:
        """The first of the named mistakes, one of those that begin with the same three words."""
        found: dict[tuple[str, ...], str] = {}
        for sentence in self.mistakes:
            found.setdefault(tuple(re.findall(r"\w+", sentence)[:3]), sentence)
        return list(found.values())[:count]

    def helps(self, mistake: str, given: int = 0) -> str:
        """What to tell who makes a mistake: its own advice, or the hint that has most words in common with it.

        given: how many hints were given so far; the last, which is almost the code, comes to nobody before two
        """
        if mistake in self.advice:
            return self.advice[mistake]

        def words(text: str) -> set[str]:
            return {word[:5] for word in re.findall(r"[a-z_0-9√²]{4,}", text.lower())}

        common = [len(words(mistake) & words(hint)) for hint in self.hints]
        level = max(range(3 if given > 1 else 2), key=lambda each: (common[each], each == 1))
        return f"Hint {level + 1} of 3: {self.hints[level]}"

    def shown(self, verdict: Verdict | None = None) -> ShownCase:
        """The case that a verdict refused, laid open; the first one where none was."""
        index = 0 if verdict is None or verdict.refused is None else verdict.refused
        case = self.cases[index]
        inputs = dict(self._signature(case).bind(*case.build()).arguments)
        expected = self._expected[index].value
        if verdict is None or verdict.refused is None:
            return ShownCase(case.label, inputs, expected)
        return ShownCase(case.label, inputs, expected, verdict.run and verdict.run.value, verdict.fault)

    def verdict(self, function: Callable, notice: Callable[[], None] = lambda: None) -> Verdict:
        """Judge an answer. Raises nothing, whatever the answer does, and stops it after TIME_LIMIT seconds.

        notice: called once if looking for the mistake takes longer than a moment
        """
        try:
            return self._verdict(function, notice)
        except Exception as failure:
            told = f"your function could not be judged ({one_line(failure)})"
            return self._refusal(0, Run(), told, f"Sorry, {told}.")

    def _verdict(self, function: Callable, notice: Callable[[], None]) -> Verdict:
        if is_blank(function, self.blank):
            return Verdict(False, False, None, "not attempted yet. The lesson goes on with ours.")
        if self.unjudged:
            return Verdict(False, True, None, f"not judged. {self.unjudged} The lesson goes on with ours.")
        if inspect.iscoroutinefunction(written(function)):
            told = "your function is written with async def, so a call of it computes nothing; remove async"
            return self._refusal(0, Run(), told, f"{told[0].upper()}{told[1:]}.")
        runs, expected = [], self._expected

        def answer() -> None:
            for case in self.cases:
                runs.append(self._run(function, case))

        try:
            with leaving_no_trace():  # also of one that can't be stopped, whose own clean-up never comes
                within(TIME_LIMIT, answer)
        except TimeUp:
            late = f"your function did not end within {TIME_LIMIT:g} seconds"
            index = min(len(runs), len(self.cases) - 1)
            return self._refusal(index, Run(), late, f"In case '{self.cases[index].label}', {late}.")
        faults = self._faults(runs, expected)
        variant = next((each for each, theirs in self._variants.items() if not self._faults(runs, theirs)), "")
        if not faults or variant:
            return Verdict(True, True, None, f"right, all {len(self.cases)} cases. {variant}".rstrip())
        first, words = next(iter(faults.items()))
        case = f"case '{self.cases[first].label}'"
        mistake, everywhere = self._name(runs, faults, notice)
        if mistake is None:
            told = f"In {case}, {words}" + ("" if words.endswith("...") else ".")
        elif everywhere:
            told = f"Your output equals what you get when {mistake}. ({case}: {words})"
        else:
            told = f"In {case}, your output equals what you get when {mistake}. ({words})"
        return self._refusal(first, runs[first], words, told, mistake)

    def _refusal(self, index: int, run: Run, fault: str, told: str, mistake: str | None = None) -> Verdict:
        message = f"not yet. {told} Taught under '{self.section}'. See it: case({self.name})."
        return Verdict(False, True, mistake, message, index, run, fault)

    @property
    def scalar(self) -> bool:
        """True if the answer is a Python float or a few, so that float64's precision is not asked of it."""
        returned = str(inspect.signature(written(self.reference)).return_annotation)
        return "float" in returned and "Tensor" not in returned

    def _signature(self, case: Case) -> inspect.Signature:
        """Of what a case's inputs are handed to: of the exercise, where the case takes them as they come (*inputs)."""
        if case.label not in self._signatures:
            own, taken = inspect.signature(self.reference), inspect.signature(partial(case.outcome, self.reference))
            starred = any(each.kind is each.VAR_POSITIONAL for each in taken.parameters.values())
            self._signatures[case.label] = own if starred and takes(own, case.build()) else taken
        return self._signatures[case.label]

    @cached_property
    def _signatures(self) -> dict[str, inspect.Signature]:
        return {}

    def _run(self, function: Callable, case: Case, dtype: torch.dtype | None = None) -> Run:
        names = list(self._signature(case).parameters)
        return run(function, case.outcome, partial(case.build, dtype), names)

    def _faults(self, runs: list[Run], expected: list[Run]) -> dict[int, str]:
        """Index of a case -> what is wrong there, for the cases that are wrong."""
        faults = (fault(got, wanted, self.scalar) for got, wanted in zip(runs, expected, strict=True))
        return {index: words for index, words in enumerate(faults) if words}

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

        return within(None, all_cases)

    def _name(self, runs: list[Run], faults: dict[int, str], notice: Callable[[], None]) -> tuple[str | None, bool]:
        """The mistake that an answer makes, or None, and whether it makes it everywhere.

        Everywhere: both are wrong in the same cases, and give the same there. Otherwise the first wrong case must be
        evidence (where all mistakes give the same it is none), and the closest mistake is named. Only mistakes that
        agree in the first wrong case are run on others.
        """
        first, begun, told, alike = next(iter(faults)), time.monotonic(), False, []
        for sentence in self.mistakes:
            theirs, _ = self._mistaken(sentence, first)
            if same(runs[first], theirs, self.scalar):
                alike.append(sentence)
            if not told and time.monotonic() - begun > SLOW:
                told = True
                notice()
        near: dict[str, tuple[int, int]] = {}
        for sentence in alike:
            wrong = {index for index in range(len(runs)) if self._mistaken(sentence, index)[1]}
            equal = [i for i in faults if i in wrong and same(runs[i], self._mistaken(sentence, i)[0], self.scalar)]
            if len(equal) == len(faults) == len(wrong):
                return sentence, True
            if first in equal and len(alike) < len(self.mistakes) and self._evident(runs, faults, equal, wrong):
                near[sentence] = (len(equal), -len(wrong))
        return max(near, key=lambda sentence: near[sentence], default=None), False

    def _evident(self, runs: list[Run], faults: dict[int, str], equal: list[int], wrong: set[int]) -> bool:
        """True if a mistake that is wrong in the cases `wrong`, and gives the same in `equal`, does so by no chance.

        Different fractions are the evidence, of the first case or, where it has few (a loss), of most cases together;
        whole numbers and truths, which agree easily, must agree everywhere.
        """
        first = next(iter(faults))
        numbers = {i: strength(runs[i].value, self._expected[i].value, self.scalar) for i in equal}
        if numbers[first] == 0:
            return len(equal) == len(faults) and sum(numbers.values()) >= ENOUGH
        part = 1 if numbers[first] >= ENOUGH else 2
        return sum(numbers.values()) >= ENOUGH and 3 * len(equal) >= part * len(faults) and 4 * len(equal) >= len(wrong)

    @cached_property
    def _mistakes_run(self) -> dict[tuple[str, int], tuple[Run, str | None]]:
        return {}

    def _mistaken(self, sentence: str, index: int) -> tuple[Run, str | None]:
        """What a mistake gives in a case, and what is wrong with it; run once."""
        if (sentence, index) not in self._mistakes_run:
            theirs = within(None, partial(self._run, self.mistakes[sentence], self.cases[index]))
            self._mistakes_run[sentence, index] = theirs, fault(theirs, self._expected[index], self.scalar)
        return self._mistakes_run[sentence, index]


def takes(signature: inspect.Signature, inputs: tuple) -> bool:
    try:
        signature.bind(*inputs)
    except TypeError:
        return False
    return True


def rounded(exact: Run, like: Run) -> Run:
    """The float64 outcome in the dtypes that the function has on the inputs as they are."""
    return Run(in_dtype_of(exact.value, like.value))


def in_dtype_of(exact: Any, like: Any) -> Any:
    if isinstance(exact, Tensor) and isinstance(like, Tensor):
        return exact.to(like.dtype)
    if isinstance(exact, tuple | list):
        return type(exact)(in_dtype_of(*pair) for pair in zip(exact, like, strict=True))
    if isinstance(exact, dict):
        return {label: in_dtype_of(value, like[label]) for label, value in exact.items()}
    return like if type(exact) is not type(like) else exact
