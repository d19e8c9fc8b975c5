"""The checker: right answers pass, blank ones are blank, every known mistake is rejected by its own name.

Everything that concerns exercises runs over EXERCISES, so a new lesson is covered as soon as it is listed there.
"""

import ast
import dataclasses
import errno
import functools
import importlib
import inspect
import json
import math
import os
import random
import re
import subprocess
import sys
import textwrap
import threading
import time
import types
import warnings
from pathlib import Path

import jupytext
import nbclient
import nbformat
import numpy
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from solutions import checks, infini, quadratic, references, whole
from solutions.blanks import bare
from solutions.checks import EXERCISES, Case, Exercise, case, check, hint, progress, showing
from solutions.checks import exercise as exercise_module
from solutions.checks.comparing import close, same
from solutions.checks.exercise import TIME_LIMIT
from solutions.checks.running import is_blank, within, written
from solutions.lessons import lessons

running_module = importlib.import_module("solutions.checks.running")
progress_module = importlib.import_module("solutions.checks.progress")

JUDGED = {name: exercise for name, exercise in EXERCISES.items() if not exercise.unjudged}  # all, where there is Triton
RIGHT_SOFTMAX = f"softmax: right, all {len(EXERCISES['softmax'].cases)} cases.\n"
every_exercise = pytest.mark.parametrize("exercise", JUDGED.values(), ids=list(JUDGED))
every_right_answer = pytest.mark.parametrize(
    "exercise, answer",
    [
        pytest.param(exercise, answer, id=f"{exercise.name}-{index}")
        for exercise in JUDGED.values()
        for index, answer in enumerate(exercise.right_answers)
    ],
)
every_mistake = pytest.mark.parametrize(
    "exercise, sentence",
    [
        pytest.param(exercise, sentence, id=f"{exercise.name}-{sentence[:50]}")
        for exercise in JUDGED.values()
        for sentence in exercise.mistakes
    ],
)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No progress, no hints given, not strict, whatever ran before."""
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    monkeypatch.delenv("COURSE_STRICT", raising=False)
    monkeypatch.setattr(progress_module, "_memory", {})
    monkeypatch.setattr(progress_module, "_told", set())
    checks._hints_given.clear()
    checks._last.clear()
    checks._advised.clear()


def told(name, words):
    """The whole refusal of an answer to exercise `name`, whose middle is `words`."""
    return f"not yet. {words} Taught under '{EXERCISES[name].section}'. See it: case({name})."


def rewritten(function):
    """The same function, as if a reader had typed it in a cell."""
    inner = written(function)
    code = inner.__code__.replace(co_filename="<cell>")
    copy = types.FunctionType(code, inner.__globals__, inner.__name__, inner.__defaults__, inner.__closure__)
    copy.__kwdefaults__ = inner.__kwdefaults__
    return copy


SOFTMAX_TAIL = told("softmax", "").removeprefix("not yet. ")


def safe_softmax(scores):
    empty = (scores == -math.inf).all(-1, keepdim=True)
    return scores.masked_fill(empty, 0).softmax(-1).masked_fill(empty, 0)


def named(name):
    """Give a test's function the name of an exercise."""

    def rename(function):
        function.__name__ = name
        return function

    return rename


# every exercise --------------------------------------------------------------------------------------------------


@every_exercise
@pytest.mark.seconds
def test_reference_is_right(exercise):
    verdict = exercise.verdict(exercise.reference)
    assert (verdict.ok, verdict.attempted, verdict.mistake) == (True, True, None), verdict.message
    said = next(iter(exercise.variants), "")
    assert verdict.message == f"right, all {len(exercise.cases)} cases. {said}".rstrip()


@every_exercise
def test_every_right_definition_is_told_which_it_is(exercise):
    for sentence, answer in exercise.variants.items():
        verdict = exercise.verdict(answer)
        assert verdict.ok and verdict.message == f"right, all {len(exercise.cases)} cases. {sentence}"


def test_both_ramps_of_yarn_are_right():
    """Over the index, as in the released code, was once refused as a mistake."""
    told = [sentence for sentence in EXERCISES["by_parts"].variants if "index" in sentence]
    assert len(told) == 2 and not any("index, as" in sentence for sentence in EXERCISES["by_parts"].mistakes)


@every_right_answer
@pytest.mark.seconds
def test_right_answers_are_right(exercise, answer):
    verdict = exercise.verdict(answer)
    assert verdict.ok, verdict.message


@pytest.fixture(scope="module")
def outcomes():
    return {}


@pytest.fixture
def each_runs_once(outcomes, monkeypatch):
    """A mistake is the answer, and one of those that it and the others are compared with."""
    run = Exercise._run

    def remembered(exercise, function, case, dtype=None):
        key = exercise.name, function, case.label, dtype
        if key not in outcomes:
            outcomes[key] = run(exercise, function, case, dtype)
        return outcomes[key]

    monkeypatch.setattr(Exercise, "_run", remembered)


@every_mistake
@pytest.mark.seconds
def test_mistakes_are_rejected_by_name(exercise, sentence, each_runs_once, outcomes):
    verdict = exercise.verdict(exercise.mistakes[sentence])
    case = exercise.cases[verdict.refused]
    del outcomes[exercise.name, exercise.mistakes[sentence], case.label, None]
    again = within(None, lambda: exercise._run(exercise.mistakes[sentence], case))
    assert same(verdict.run, again, exercise.scalar)  # it gives the same each time
    assert not verdict.ok and verdict.attempted
    assert verdict.mistake == sentence, verdict.message
    assert f"Your output equals what you get when {sentence}. (case '" in verdict.message


@every_exercise
def test_exercise_is_complete(exercise):
    assert len(exercise.right_answers) >= 2
    assert len(exercise.mistakes) >= 4
    assert len(exercise.hints) == 3
    assert 1 <= exercise.difficulty <= 5 and exercise.minutes > 0
    assert exercise.number == references.number(exercise.name) and exercise.lesson in {each.name for each in lessons()}
    labels = [case.label for case in exercise.cases]
    assert len(set(labels)) == len(labels)
    assert all(not sentence.endswith(".") and "!" not in sentence for sentence in exercise.mistakes)
    assert all(hint.endswith(".") or hint.endswith("?") for hint in exercise.hints)


@every_exercise
def test_hints_do_not_hold_the_solution(exercise):
    """The last hint leaves at least one line of the body to write."""
    lines = [line.strip() for line in source_lines(exercise.reference)]
    assert any(line not in exercise.hints[2] for line in lines)


def source_lines(function):
    tree = ast.parse(textwrap.dedent(inspect.getsource(written(function)))).body[0]
    return [line for statement in tree.body[1:] for line in ast.unparse(statement).splitlines()]


@every_exercise
def test_cases_are_fair(exercise):
    """Built twice, a case gives the same; its tensors differ between cases; a float64 case is among them."""
    for each in exercise.cases:
        for one, other in zip(each.build(), each.build(), strict=True):
            same = torch.equal(one, other) and one is not other if isinstance(one, torch.Tensor) else one == other
            assert same, each.label
    inputs = [value for each in exercise.cases for value in each.build() if isinstance(value, torch.Tensor)]
    if inputs:
        assert any(value.dtype == torch.float64 for value in inputs)
        assert any(value.dtype == torch.float32 for value in inputs)


@every_exercise
@pytest.mark.seconds
def test_a_right_answer_is_far_from_the_time_limit(exercise):
    """A tenth of the limit at most, in processor time, so that a machine ten times slower does not fail it."""

    def took():
        start = time.process_time()
        exercise.verdict(exercise.reference)
        return time.process_time() - start

    assert min(took() for _ in range(3)) < TIME_LIMIT / 10


def test_exercises_are_in_order_and_named_once():
    numbers = [tuple(map(int, exercise.number.split("."))) for exercise in EXERCISES.values()]
    assert numbers == sorted(set(numbers))
    assert all(name == exercise.name for name, exercise in EXERCISES.items())
    modules = [importlib.import_module(f"solutions.checks.{name}") for each in lessons() for name in each.checks]
    assert len(EXERCISES) == sum(len(module.EXERCISES) for module in modules)


def test_the_section_is_the_heading_above_the_exercise():
    for row in lessons():
        text, section = Path(f"book/lessons/{row.name}.md"), None
        for cell in jupytext.read(text).cells:
            for line in cell.source.splitlines() if cell.cell_type == "markdown" else []:
                if line.startswith("## "):
                    section = line.removeprefix("## ")
                if (found := references.HEADING.fullmatch(line)) is not None:
                    assert EXERCISES[found[1]].section == section, f"{found[1]} stands under {section!r}"


def test_headline():
    assert EXERCISES["softmax"].headline == "Exercise 1.2, stable softmax (difficulty 1, 15 minutes, about 5 lines)"
    assert EXERCISES["uniform_attention"].headline.endswith("(difficulty 1, 3 minutes, about 1 line)")


@pytest.mark.seconds
def test_saturating_inputs_would_let_mistakes_pass():
    """The guard above can fail: with entries 40 times as large, three mistakes and the right answer look the same."""
    attention = EXERCISES["attention"]
    blind = (Case("large inputs", lambda normal: (40 * normal(5, 16), 40 * normal(7, 16), normal(7, 3))),)
    weak = dataclasses.replace(attention, cases=blind)
    for words in ("not divided by √d", "divided by d and not", "best key only"):
        sentence = next(sentence for sentence in attention.mistakes if words in sentence)
        assert weak.verdict(attention.mistakes[sentence]).ok
        assert not attention.verdict(attention.mistakes[sentence]).ok


# blank answers ---------------------------------------------------------------------------------------------------


def dots(scores): ...


def documented_dots(scores):
    """As the lesson prints it."""
    ...  # your code here, about 5 lines


def passes(scores):
    pass


def documented_pass(scores):
    """Text."""
    pass


def documented(scores):
    """Text."""


def dots_and_pass(scores, *, causal: bool = False, block=64):
    """Text."""
    ...
    pass


def raises(scores):
    raise NotImplementedError


def documented_raise(scores):
    """Text."""
    raise NotImplementedError


def raises_empty(scores):
    raise NotImplementedError()


def documented_raise_with_text(scores):
    """Text."""
    raise NotImplementedError("write me")


BLANK = [
    dots,
    documented_dots,
    passes,
    documented_pass,
    documented,
    dots_and_pass,
    raises,
    documented_raise,
    raises_empty,
    documented_raise_with_text,
]


@pytest.mark.parametrize("blank", BLANK, ids=lambda function: function.__name__)
def test_blank_is_not_attempted(blank):
    assert is_blank(blank)
    for exercise in EXERCISES.values():
        verdict = exercise.verdict(blank)
        assert (verdict.ok, verdict.attempted, verdict.mistake) == (False, False, None)
        assert verdict.message == "not attempted yet. The lesson goes on with ours."


@pytest.mark.parametrize("exercise", JUDGED.values(), ids=list(JUDGED))
def test_what_a_cell_begins_with_is_not_attempted(exercise):
    """Also where it begins with lines of earlier exercises; one blank that is filled in makes it an answer."""
    space = dict(written(exercise.reference).__globals__)
    begun = exercise.blank.replace("...  # your code here", "print()  # your code here", 1)
    for source, blank in ((exercise.blank, True), (bare(exercise.blank), True), (begun, False)):
        exec(source, space)
        assert is_blank(space[exercise.name], exercise.blank) == blank


def returns_input(scores):
    return scores


def returns_text(scores):
    return "..."


def returns_number(scores):
    """Text."""
    return 0


def assigns(scores):
    weights = scores  # noqa: F841


def raises_other(scores):
    raise ValueError("write me.")


def raises_conditionally(scores):
    if scores is None:
        raise NotImplementedError


@pytest.mark.parametrize(
    "begun",
    [returns_input, returns_text, returns_number, assigns, raises_other, raises_conditionally, len, print],
    ids=lambda function: function.__name__,
)
def test_a_beginning_is_not_blank(begun):
    assert not is_blank(begun)


def test_blank_is_seen_without_source():
    space = {}
    exec('def softmax(scores):\n    """Text."""\n    ...  # your code here\n', space)
    assert is_blank(space["softmax"])


# wrong answers of other kinds ------------------------------------------------------------------------------------


def verdict_on(function):
    return EXERCISES["softmax"].verdict(function)


def stops(scores):
    total = scores.summ()
    return scores / total


def stops_deeper(scores):
    return deeper(scores)


def deeper(scores):
    return scores @ torch.ones(99)


def calls_itself(scores):
    return calls_itself(scores)


def changes_its_input(scores):
    scores -= scores.amax(-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).min)
    return quadratic.softmax(scores)


def exits(scores):
    sys.exit("bye")


def two_arguments(scores, axis):
    return scores


def exotic(scores):
    raise type("Unheard", (BaseException,), {})("of")


@pytest.mark.parametrize(
    "wrong, words",
    [
        (stops, "stops at line 2, `total = scores.summ()`, with AttributeError: 'Tensor' object has no attribute"),
        (stops_deeper, "stops at line 2, `return deeper(scores)`, with RuntimeError: size mismatch"),
        (calls_itself, "with RecursionError: maximum recursion depth exceeded"),
        (exits, "with SystemExit: bye"),
        (two_arguments, "with TypeError: two_arguments() missing 1 required positional argument: 'axis'"),
        (exotic, "with Unheard: of"),
        (raises_other, 'stops at line 2, `raise ValueError("write me.")`, with ValueError: write me.'),
        (changes_its_input, "your function changed its input scores; work on a new one"),
        (assigns, "your function returned nothing (a return is missing)"),
        (lambda scores: scores[..., :-1], "the shape of your output is (3, 4), expected (3, 5)"),
        (lambda scores: scores.double(), "the dtype of your output is torch.float64, expected torch.float32"),
        (lambda scores: scores.to("meta"), "the device of your output is meta, expected cpu"),
        (lambda scores: scores * float("nan"), "your output holds nan at [0, 0], expected"),
        (lambda scores: scores.tolist(), "your function returned a value of type list, expected a tensor"),
        (lambda scores: scores.numpy(), "your function returned a value of type ndarray, expected a tensor"),
        (lambda scores: (scores, scores), "your function returned a value of type tuple, expected a tensor"),
        (lambda scores: 3, "your function returned a value of type int, expected a tensor"),
        (lambda scores: scores.to_sparse(), "first wrong at [0, 0]"),
        (len, "your function returned a value of type int, expected a tensor"),
        (returns_input, "first wrong at [0, 0]"),
    ],
)
@pytest.mark.seconds
def test_what_went_wrong_is_one_sentence(wrong, words):
    verdict = verdict_on(wrong)
    assert not verdict.ok and verdict.attempted and verdict.mistake is None
    assert verdict.message.startswith("not yet. In case '3 rows of 5 scores', ")
    assert words in verdict.message, verdict.message
    assert verdict.message.endswith(SOFTMAX_TAIL)
    assert (
        not verdict.message.removesuffix(SOFTMAX_TAIL).endswith(("..", ". ."))
        and "\n" not in verdict.message
        and "Traceback" not in verdict.message
    )


def test_numbers_are_compared_as_numbers():
    count = EXERCISES["attention_multiplications"]
    assert count.verdict(lambda n, head_dim, heads=1, *, causal=False: "many").message == told(
        "attention_multiplications",
        "In case '5 tokens, d = 6', your function returned a value of type str, expected a number.",
    )
    assert count.verdict(lambda n, head_dim, heads=1, *, causal=False: 3).message == told(
        "attention_multiplications", "In case '5 tokens, d = 6', your function returned 3, expected 300."
    )


def count(factor=2, causal_pairs=lambda n: n * (n + 1) / 2, power=1):
    """attention_multiplications in floats, as one writes it with `/ 2`."""
    return lambda n, head_dim, heads=1, *, causal=False: (
        factor * (causal_pairs(n) if causal else n**2) * head_dim**power * heads
    )


def test_where_an_int_is_due_a_float_of_its_value_is_told():
    verdict = EXERCISES["attention_multiplications"].verdict(count(2.0))
    assert verdict.mistake == "the count is a float, which holds whole numbers up to 2**53 only"
    assert "case '5 tokens, d = 6': your function returned 300.0, a float; expected the int 300)" in verdict.message


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        (count(1), "only Q Kᵀ is counted and P V is forgotten"),
        (count(4.0), "the additions are counted too"),
        (count(0.5), "only half of Q Kᵀ is counted and P V is forgotten"),
        (count(2, lambda n: n * n / 2), "causal counts half of n², which leaves out half of the diagonal"),
        (
            count(2, lambda n: n**2 // 2),
            "causal counts half of n², rounded down, which leaves out half of the diagonal",
        ),
        (count(2, lambda n: n * (n - 1) / 2), "causal counts n (n - 1) / 2 pairs, without the diagonal"),
        (count(2, lambda n: n * (n + 1)), "causal counts n (n + 1) pairs, twice as many as there are"),
        (count(2, power=0), "head_dim is forgotten: a pair costs head_dim multiplications in each product"),
        (count(2, power=2), None),
    ],
)
def test_a_wrong_count_is_named_whether_int_or_float(wrong, sentence):
    verdict = EXERCISES["attention_multiplications"].verdict(wrong)
    assert verdict.mistake == sentence, verdict.message


def test_message_counts_the_entries_that_are_right():
    def last_row_wrong(values):
        mean = values.mean(0)
        mean[-1] += 1
        return mean

    message = EXERCISES["uniform_attention"].verdict(last_row_wrong).message
    assert "first wrong at [1]: 2, expected 1; 1 of 2 entries right" in message


@pytest.mark.parametrize(
    "factor, words",
    [
        (1.1, "first wrong at [0]: 2.2, expected 2;"),
        (1.0001, "first wrong at [0]: 2.0002, expected 2;"),
        (1 + 2e-9, "first wrong at [0]: 2.000000004, expected 2;"),
    ],
)
def test_two_numbers_are_shown_with_the_digits_that_differ(factor, words):
    exact = dataclasses.replace(EXERCISES["uniform_attention"].cases[0], dtype=torch.float64)
    exact = dataclasses.replace(exact, inputs=lambda normal: (torch.tensor([[1.0, 0.0], [3.0, 2.0]]).double(),))
    assert words in toy((exact,), {}).verdict(lambda values: values.mean(0) * factor).message


def test_zero_is_shown_without_a_sign():
    assert "first wrong at [0]: 0, expected 2;" in toy((TWO_ROWS,), {}).verdict(lambda values: -0.0 * values[0]).message


def test_a_mask_on_the_wrong_device_is_told():
    mask = EXERCISES["causal_mask"]

    def forgets(queries, keys, device=None):
        return torch.arange(keys) <= torch.arange(queries)[:, None] + keys - queries

    assert mask.verdict(forgets).message == told(
        "causal_mask",
        "Your output equals what you get when device is not used. (case 'on a device other than the CPU': "
        "your mask is on cpu although device is meta; hand device on when you make a tensor)",
    )
    assert mask.verdict(lambda queries, keys, device=None: forgets(queries, keys).to(device)).ok
    elsewhere = mask.verdict(lambda queries, keys, device=None: quadratic.causal_mask(queries, keys, "meta"))
    assert "the device of your output is meta, expected cpu" in elsewhere.message
    nothing = mask.verdict(lambda queries, keys, device=None: None if device else forgets(queries, keys))
    assert "In case 'on a device other than the CPU', your function returned nothing" in nothing.message


def test_an_answer_may_print(capsys):
    def chatty(scores):
        print("here")
        return quadratic.softmax(scores)

    assert verdict_on(chatty).ok
    assert "here" in capsys.readouterr().out


# naming a mistake ------------------------------------------------------------------------------------------------


def toy(cases, mistakes):
    return Exercise(
        title="toy",
        section="Toys",
        difficulty=1,
        minutes=1,
        reference=quadratic.uniform_attention,
        hints=("?", "?", "?"),
        cases=cases,
        right_answers=(),
        mistakes=mistakes,
    )


ONE_ROW = Case("one row", lambda normal: (torch.ones(1, 2),))
TWO_ROWS = Case("two rows", lambda normal: (torch.tensor([[1.0, 2.0], [3.0, 5.0]]),))
TWO_FIFTHS = Case("two rows of fifths", lambda normal: (torch.tensor([[1.2, 2.0], [3.0, 5.4]]),))
ZEROS = Case("zeros", lambda normal: (torch.zeros(3, 2),))


def test_expected_values_come_from_float64():
    """A reference that rounds badly in half precision is not the measure of an answer that does not."""

    def rough(values):
        return (values + 2048) - 2048

    half = Case("half precision", lambda normal: (normal(4, 3),), dtype=torch.float16)
    exercise = dataclasses.replace(toy((half,), {}), reference=rough)
    assert exercise.verdict(lambda values: values.clone()).ok
    assert not exercise.verdict(rough).ok


def added(values):
    return values.sum(0)


def test_a_mistake_is_the_answers_own_if_both_are_wrong_in_the_same_cases():
    exercise = toy((ONE_ROW, TWO_ROWS, ZEROS), {"all is added": torch.sum, "the rows are added": added})
    assert exercise.verdict(lambda values: values.sum(0) + 0).message == (
        "not yet. Your output equals what you get when the rows are added. "
        "(case 'two rows': first wrong at [0]: 4, expected 2; 0 of 2 entries right) "
        "Taught under 'Toys'. See it: case(uniform_attention)."
    )


FOUR = Case("4 rows of 5", lambda normal: (normal(4, 5),))
SIX = Case("6 rows of 5", lambda normal: (normal(6, 5),))


def added_and_worse(values):
    return values.sum(0) if len(values) == 4 else values.sum(0) + 1


def test_a_mistake_that_explains_the_first_wrong_case_is_named_with_that_case():
    exercise = toy((FOUR, SIX), {"the rows are added": added, "the largest is taken": lambda values: values.amax(0)})
    verdict = exercise.verdict(added_and_worse)
    assert verdict.mistake == "the rows are added"
    assert verdict.message.startswith(
        "not yet. In case '4 rows of 5', your output equals what you get when the rows are added. (first wrong at [0]: "
    )
    assert dataclasses.replace(exercise, cases=(SIX, FOUR)).verdict(added_and_worse).mistake is None, "not the first"


def test_a_case_that_does_not_tell_mistakes_apart_names_none():
    exercise = toy((FOUR, SIX), {"the rows are added": added})
    assert exercise.verdict(added_and_worse).mistake is None


def test_few_numbers_name_a_mistake_only_if_a_second_case_agrees():
    mistakes = {"the rows are added": added, "the largest is taken": lambda values: values.amax(0)}

    def added_to_two_rows(values):
        return values.sum(0) if len(values) == 2 else values.amin(0)

    assert toy((TWO_ROWS, FOUR), mistakes).verdict(added_to_two_rows).mistake is None
    again = Case("two more rows", lambda normal: (normal(2, 2),))
    ten = Case("ten rows", lambda normal: (10 + normal(10, 2),))
    right_there = lambda values: values.sum(0) if len(values) == 2 else values.mean(0)  # noqa: E731
    assert toy((TWO_FIFTHS, ten), mistakes).verdict(right_there).mistake is None
    verdict = toy((TWO_FIFTHS, again, ten), mistakes).verdict(right_there)
    assert verdict.mistake == "the rows are added"
    assert verdict.message.startswith("not yet. In case 'two rows of fifths', your output equals what you get when")


def test_a_loss_names_a_mistake_in_which_most_cases_agree():
    """One number a case is no evidence alone; a handful of them is, though the last case has another slip."""
    cases = [Case(f"{rows} rows", lambda normal, rows=rows: (normal(rows, 1),)) for rows in (2, 3, 4, 5, 6)]
    mistakes = {"the rows are added": added, "the largest is taken": lambda values: values.amax(0)}

    def added_up_to(most):
        return lambda values: values.sum(0) if len(values) <= most else values.amin(0)

    assert toy(cases, mistakes).verdict(added_up_to(5)).mistake == "the rows are added"
    assert toy(cases, mistakes).verdict(added_up_to(4)).mistake is None, "three numbers"


def test_right_numbers_are_no_evidence_of_a_mistake():
    def last_is_zero(values):
        return values.mean(0) * torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0])

    mistakes = {"the last entry is 0": last_is_zero, "the rows are added": added}
    exercise = toy((FOUR, SIX), mistakes)
    assert exercise.verdict(last_is_zero).mistake == "the last entry is 0"
    wrong_elsewhere = exercise.verdict(lambda values: last_is_zero(values) if len(values) == 4 else values.amin(0))
    assert wrong_elsewhere.mistake is None


@pytest.mark.parametrize(
    "trivial",
    [lambda values: values[9], lambda values: values.mean(0) / 0 * 0, lambda values: [].append(values)],
    ids=["error", "nan", "nothing"],
)
def test_what_holds_no_numbers_names_no_mistake_in_part(trivial):
    exercise = toy((FOUR, SIX), {"trivial": trivial, "the rows are added": added})
    assert exercise.verdict(trivial).mistake == "trivial"
    assert exercise.verdict(lambda values: trivial(values) if len(values) == 4 else values.amin(0)).mistake is None


def test_of_two_mistakes_the_closer_one_is_named():
    mistakes = {
        "the largest is taken": lambda values: values.amax(0),
        "the first rows are added": lambda values: values.sum(0) if len(values) == 4 else values.sum(0) + 2,
        "the rows are added": added,
    }
    exercise = toy((FOUR, SIX, Case("8 rows of 5", lambda normal: (normal(8, 5),))), mistakes)

    def added_but_for_eight(values):
        return values.sum(0) if len(values) < 8 else values.amin(0)

    assert exercise.verdict(added_but_for_eight).mistake == "the rows are added"


def test_equal_errors_are_the_same_mistake():
    exercise = toy((TWO_ROWS,), {"row 5 is asked for": lambda values: values[5]})
    assert exercise.verdict(lambda values: values[5] + 0).mistake == "row 5 is asked for"
    assert exercise.verdict(lambda values: values[6]).mistake is None


def test_softmax_that_forgets_the_empty_row_is_told_so():
    mistake = verdict_on(lambda scores: scores.softmax(dim=-1)).mistake
    assert mistake == "an empty row is left as it comes, which is nan"


# as people write them --------------------------------------------------------------------------------------------


def naive_softmax(scores):
    exps = scores.exp()
    return exps / exps.sum(-1, keepdim=True)


def softmax_by(maximum, total):
    def softmax(scores):
        weights = (scores - maximum(scores)).exp()
        return weights / total(weights)

    return softmax


def row_sum(weights):
    return weights.sum(-1, keepdim=True)


def attend(hide, scores=quadratic.attention_scores, soft=quadratic.softmax):
    """Attention whose hide(scores, causal, mask) is written in some other way than ours."""
    return lambda q, k, v, *, causal=False, mask=None, scale=None: soft(hide(scores(q, k, scale), causal, mask)) @ v


def hide_both(scores, causal, mask, triangle=lambda scores: quadratic.causal_mask(*scores.shape[-2:])):
    if causal:
        scores = scores.masked_fill(~triangle(scores), float("-inf"))
    return scores if mask is None else scores.masked_fill(~mask, float("-inf"))


def hide_future_only(scores, causal, mask):
    if causal:
        mask = quadratic.causal_mask(*scores.shape[-2:])
    return scores if mask is None else scores.masked_fill(~mask, float("-inf"))


def hide_past(scores, causal, mask):
    return hide_both(scores, causal, mask, lambda scores: ~quadratic.causal_mask(*scores.shape[-2:]))


def hide_from_upper_left(scores, causal, mask):
    return hide_both(scores, causal, mask, lambda scores: torch.ones_like(scores).tril().bool())


def hide_nothing(scores, causal, mask):
    scores.masked_fill(torch.ones_like(scores).bool(), float("-inf"))
    return scores


def torch_attention(q, k, v, *, causal=False, mask=None, scale=None):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=scale)


def heads_by_view(x, w_q, w_k, w_v, w_o, heads, kv_heads=None, *, causal=False):
    batch, n, _ = x.shape
    q = (x @ w_q).view(batch, heads, n, -1)
    k, v = ((x @ w).view(batch, kv_heads or heads, n, -1) for w in (w_k, w_v))
    k, v = (y.repeat_interleave(heads // y.shape[1], dim=1) for y in (k, v))
    return quadratic.attention(q, k, v, causal=causal).reshape(batch, n, -1) @ w_o


def one_wide_head(x, w_q, w_k, w_v, w_o, heads, kv_heads=None, *, causal=False):
    return quadratic.attention(x @ w_q, x @ w_k, x @ w_v, causal=causal) @ w_o


def heads_scaled_by_width(x, w_q, w_k, w_v, w_o, heads, kv_heads=None, *, causal=False):
    too_small = (w_q.shape[1] // heads / x.shape[-1]) ** 0.5  # of 1 / √head_dim
    return quadratic.multi_head_attention(x, w_q * too_small, w_k, w_v, w_o, heads, kv_heads, causal=causal)


def only_the_chunk(q, k, v, cache):
    cache.append(k, v)
    return quadratic.attention(q, k, v, causal=True)


def blocks_with_a_new_triangle(q, k, v, *, causal=False, block=64):
    return torch.cat([quadratic.attention(part, k, v, causal=causal) for part in q.split(block, dim=-2)], dim=-2)


WRITTEN = [
    ("softmax", naive_softmax, "nothing is subtracted before the exponential, which then overflows, and an empty row"),
    (
        "softmax",
        lambda scores: naive_softmax(scores).nan_to_num(0),
        "nothing is subtracted before the exponential, and",
    ),
    ("softmax", lambda scores: scores.softmax(0), "the softmax runs down each column"),
    ("softmax", lambda scores: scores.softmax(1), "the softmax runs over dim=1"),
    ("softmax", softmax_by(torch.max, row_sum), "the maximum is taken over the whole matrix, so that rows of small"),
    ("softmax", softmax_by(torch.max, torch.sum), "maximum and sum are taken over the whole matrix"),
    ("softmax", softmax_by(lambda scores: scores.amax(-1, keepdim=True), torch.sum), "the sum is taken over the whole"),
    ("softmax", lambda scores: scores.exp() / scores.exp().sum(), "nothing is subtracted, and the exponentials are"),
    ("attention_scores", lambda q, k, scale=None: q @ k.mT, "the scores are not scaled at all"),
    (
        "attention_scores",
        lambda q, k, scale=None: q @ k.mT / (scale or q.shape[-1] ** 0.5),
        "the scores are divided by",
    ),
    (
        "causal_mask",
        lambda n, m, device=None: torch.ones(n, m, device=device).triu(1).bool(),
        "True stands for hidden, a",
    ),
    ("causal_mask", lambda n, m, device=None: torch.ones(n, m, device=device).tril(n - m).bool(), "keys - queries has"),
    ("attention", attend(hide_past), "the causal mask is used the wrong way round (a forgotten ~)"),
    ("attention", attend(hide_past, soft=lambda scores: scores.softmax(-1)), "the causal mask is used the wrong way"),
    ("attention", attend(hide_nothing), "nothing is hidden, by causal or by mask"),
    ("attention", attend(hide_future_only), "only causal is used where causal and mask are both given"),
    ("attention", attend(hide_future_only, soft=lambda scores: scores.softmax(-1)), "only causal is used where"),
    (
        "attention",
        attend(hide_from_upper_left, soft=lambda scores: scores.softmax(-1)),
        "the causal mask starts at the",
    ),
    ("attention", attend(hide_both, scores=lambda q, k, scale: q @ k.mT), "the scores are not divided by √d"),
    ("attention", torch_attention, "torch's scaled_dot_product_attention is called with is_causal=True"),
    ("multi_head_attention", heads_by_view, "the heads are split and merged by a reshape alone, without a transpose"),
    ("multi_head_attention", one_wide_head, "the heads are not split, so that one attention sees the whole width"),
    ("multi_head_attention", heads_scaled_by_width, "the scores are divided by the square root of d_model"),
    ("cached_attention", only_the_chunk, "the chunk attends to itself only"),
    (
        "blocked_attention",
        blocks_with_a_new_triangle,
        "the causal mask begins anew in every block, as if its queries w",
    ),
]


@pytest.mark.parametrize("name, wrong, start", WRITTEN, ids=[f"{name}-{start[:40]}" for name, _, start in WRITTEN])
@pytest.mark.seconds
def test_mistakes_are_named_however_they_are_written(name, wrong, start):
    verdict = EXERCISES[name].verdict(wrong)
    assert verdict.mistake and verdict.mistake.startswith(start), verdict.message


@pytest.mark.parametrize(
    "name, right",
    [
        ("softmax", lambda x: safe_softmax(x)),
        ("attention", attend(hide_both, soft=lambda scores: scores.softmax(-1).nan_to_num(0))),
        (
            "attention",
            attend(
                hide_both,
                scores=lambda a, b, s=None: (
                    torch.einsum("...id,...jd->...ij", a * (a.shape[-1] ** -0.5 if s is None else s), b)
                ),
            ),
        ),
        (
            "causal_mask",
            lambda rows, columns, device=None: torch.ones(rows, columns).tril(columns - rows).to(device) > 0,
        ),
    ],
)
def test_other_names_and_nan_to_num_are_right(name, right):
    verdict = EXERCISES[name].verdict(right)
    assert verdict.ok, verdict.message


def test_a_softmax_that_replaces_its_nan_has_a_gradient_of_nan():
    verdict = EXERCISES["softmax"].verdict(lambda x: torch.softmax(x, -1).nan_to_num(0))
    assert (
        verdict.mistake.endswith("its gradient stays nan") and "'the gradient, where a row is empty'" in verdict.message
    )


def test_a_read_of_nothing_that_is_0_has_a_gradient_too():
    def retrieve(q, memory, z):
        weight = infini.feature(q)
        total = weight @ z[..., None]
        return torch.where(total == 0, 0.0, weight @ memory / total)

    verdict = EXERCISES["retrieve"].verdict(retrieve)
    assert verdict.mistake and verdict.mistake.endswith("its gradient stays nan"), verdict.message


@pytest.mark.parametrize("filler", [-1e4, -1e9, -3e38])
@pytest.mark.seconds
def test_any_large_negative_filler_is_recognised(filler):
    def attention(q, k, v, *, causal=False, mask=None, scale=None):
        scores = quadratic.attention_scores(q, k, scale)
        if causal:
            scores = scores.masked_fill(~quadratic.causal_mask(*scores.shape[-2:]), filler)
        if mask is not None:
            scores = scores.masked_fill(~mask, filler)
        return scores.softmax(-1) @ v

    mistake = EXERCISES["attention"].verdict(attention).mistake
    assert re.match("a (large negative|finite) number stands in for -inf", mistake)


def test_a_memory_budget_is_enforced():
    def attention_first(q, k, v, *, causal=False, block=64):
        return quadratic.attention(q, k, v, causal=causal)

    message = EXERCISES["blocked_attention"].verdict(attention_first).message
    assert "the largest tensor made has 80,000 entries" in message and "the budget is 6,400" in message


# time and threads ------------------------------------------------------------------------------------------------


@pytest.fixture
def short_limit(monkeypatch):
    monkeypatch.setattr(exercise_module, "TIME_LIMIT", 0.3)
    monkeypatch.setattr(running_module, "WALL_LIMIT", 3.0)


def loops(scores):
    while True:
        scores = scores + 1


def loops_and_swallows(scores):
    while True:
        try:
            while True:
                scores = scores + 1
        except Exception:
            pass


def loops_and_swallows_nearly_all(scores):
    for _ in range(3):
        try:
            while True:
                time.sleep(0.001)
        except:  # noqa: E722
            pass
    while True:
        time.sleep(0.001)


class Passing(TorchDispatchMode):
    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return operation(*args, **(kwargs or {}))


def loops_inside_torch_modes(scores):
    with torch.no_grad(), Passing():
        while True:
            scores = scores + 1


@pytest.mark.parametrize(
    "endless", [loops, loops_and_swallows, loops_and_swallows_nearly_all, loops_inside_torch_modes]
)
@pytest.mark.slow
def test_an_endless_loop_is_stopped_and_the_checker_stays_usable(endless, short_limit, monkeypatch, capfd):
    before = threading.active_count()
    verdict = verdict_on(endless)
    late = "In case '3 rows of 5 scores', your function did not end within 0.3 seconds."
    assert verdict.message == told("softmax", late)
    assert not verdict.ok and verdict.attempted
    assert threading.active_count() <= before, "the answer still runs"
    monkeypatch.setattr(exercise_module, "TIME_LIMIT", TIME_LIMIT)
    assert verdict_on(quadratic.softmax).ok
    assert EXERCISES["blocked_attention"].verdict(quadratic.blocked_attention).ok
    assert torch.is_grad_enabled() and torch.ones(1, requires_grad=True).mul(2).requires_grad
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.seconds
def test_a_thread_that_cannot_be_interrupted_is_left_behind(short_limit):
    def sleeps(scores):
        time.sleep(20)  # one call into C: the interruption waits until it returns
        return scores

    start = time.perf_counter()
    assert "did not end within 0.3 seconds" in verdict_on(sleeps).message
    assert time.perf_counter() - start < 15
    left = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    assert not left, "it would keep Python from ending"


def test_an_interrupted_check_stops_the_answer(monkeypatch):
    """Pressing stop in a notebook raises in the waiting thread; the answer must not run on."""

    pressed = iter([True])

    def stop_pressed(self, timeout=None):
        if timeout == running_module.STEP and answering.is_set() and next(pressed, False):
            raise KeyboardInterrupt
        return join(self, timeout)

    def endless(scores):
        answering.set()
        loops(scores)

    answering = threading.Event()
    join = threading.Thread.join
    monkeypatch.setattr(threading.Thread, "join", stop_pressed)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        verdict_on(endless)
    assert threading.active_count() <= before


def test_states_of_torch_around_a_check_are_neither_used_nor_changed():
    attention = EXERCISES["attention"]
    state = torch.get_rng_state()
    with torch.no_grad():
        assert attention.verdict(quadratic.attention).ok, "one case needs gradients"
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert attention.verdict(quadratic.attention).ok
    assert torch.equal(torch.get_rng_state(), state)


def test_an_answer_that_turns_gradients_off_changes_nothing_outside():
    def switches(values):
        torch.set_grad_enabled(False)
        return values.mean(0)

    assert EXERCISES["uniform_attention"].verdict(switches).ok
    assert torch.is_grad_enabled()


# once more, whatever it returns or does ---------------------------------------------------------------------------


class Odd:
    """Whatever is asked of it raises."""

    def __eq__(self, other):
        raise RuntimeError("no comparison")

    __hash__ = None

    def __repr__(self):
        raise RuntimeError("no words")

    __len__ = __iter__ = __bool__ = __getitem__ = __repr__


class OddNumber(float):
    __eq__ = __repr__ = __round__ = Odd.__repr__
    __hash__ = float.__hash__


class Refusing(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        if "detach" in str(function):
            raise RuntimeError("never")
        return super().__torch_function__(function, types, arguments, options or {})


def generator(scores):
    yield scores


async def asynchronous(scores):
    return scores


def leaks_a_wrapper(scores):
    kept = []
    torch.func.vmap(lambda row: kept.append(row) or row)(scores)
    return kept[0]


def raises_the_unspeakable(scores):
    class Unspeakable(Exception):
        __str__ = Odd.__repr__

    raise Unspeakable


def wrapped_in_itself(scores):
    return scores


wrapped_in_itself.__wrapped__ = wrapped_in_itself

ODD = {
    "an odd object": (lambda scores: Odd(), "a value of type Odd, expected a tensor"),
    "odd objects in a tuple": (lambda scores: (Odd(), Odd()), "a value of type tuple, expected a tensor"),
    "an odd number": (lambda scores: OddNumber(1), "expected a tensor"),
    "a generator": (
        generator,
        "your function returned a generator, which computes nothing yet: return a tuple or a list",
    ),
    "async def": (
        asynchronous,
        "Your function is written with async def, so a call of it computes nothing; remove async",
    ),
    "a coroutine": (lambda scores: asynchronous(scores), "your function returned a coroutine: remove async before def"),
    "an array": (
        lambda scores: scores.numpy(),
        "a value of type ndarray, expected a tensor: torch.from_numpy makes one",
    ),
    "nested": (lambda scores: torch.nested.nested_tensor([scores]), "a nested tensor, expected a plain one"),
    "sparse": (lambda scores: scores.to_sparse_csr(), "first wrong at [0, 0]"),
    "a parameter": (lambda scores: torch.nn.Parameter(scores), "first wrong at [0, 0]"),
    "a subclass that refuses": (lambda scores: scores.as_subclass(Refusing), "that cannot be read"),
    "quantized": (lambda scores: torch.quantize_per_tensor(scores, 0.1, 0, torch.qint8), "first wrong at [0, 0]"),
    "complex": (lambda scores: scores + 1j, "the dtype of your output is torch.complex64, expected torch.float32"),
    "lazily conjugated": (lambda scores: (scores + 0j).conj(), "the dtype of your output is torch.complex64"),
    "a wrapper of vmap": (leaks_a_wrapper, "In case '3 rows of 5 scores', "),
    "an unspeakable error": (raises_the_unspeakable, "with Unspeakable."),
    "wrapped in itself": (wrapped_in_itself, "In case '3 rows of 5 scores', "),
    "a number that no float holds": (lambda scores: 10**400, "a value of type int, expected a tensor"),
    "a set": (lambda scores: {1}, "a value of type set, expected a tensor"),
    "a class": (lambda scores: Odd, "a value of type type, expected a tensor"),
    "a list in itself": (lambda scores: (own := []).append(own) or own, "a value of type list, expected a tensor"),
    "KeyboardInterrupt": (exotic, "with Unheard: of"),
    "a callable object": (torch.nn.Softmax(0), "In case"),
    "a class that is called": (torch.nn.Softmax, "In case"),
    "an expanded terabyte": (lambda scores: scores[:1, :1].expand(2**20, 2**20), "In case '3 rows of 5 scores', "),
}


@pytest.mark.parametrize("answer, words", ODD.values(), ids=list(ODD))
@pytest.mark.seconds
def test_no_verdict_raises(answer, words):
    for exercise in (
        EXERCISES["softmax"],
        *map(EXERCISES.get, ("attention_multiplications", "layer_pattern", "gate_range")),
    ):
        verdict = exercise.verdict(answer)
        assert not verdict.ok and verdict.attempted and "\n" not in verdict.message
        assert "could not be judged" not in verdict.message
        assert repr(exercise.shown(verdict))
    assert words in verdict_on(answer).message


def test_an_error_of_the_checker_is_a_verdict_too():
    def broken(function, values):
        raise KeyboardInterrupt

    verdict = toy((Case("broken", lambda normal: 1 / 0),), {}).verdict(lambda values: values)
    assert (
        not verdict.ok and "your function could not be judged (ZeroDivisionError: division by zero)" in verdict.message
    )


@pytest.mark.parametrize("name, place, word", [("update_linear", 2, "memory"), ("needle_share", 2, "filler")])
def test_an_input_that_a_case_hands_on_unnamed_is_watched_too(name, place, word):
    """A case may take its inputs as *inputs: only the first of those was looked at."""
    exercise = EXERCISES[name]

    def changes(*inputs):
        result = exercise.reference(*inputs)
        inputs[place].mul_(2)
        return result

    verdict = exercise.verdict(changes)
    assert verdict.refused == 0 and f"your function changed its input {word};" in verdict.message
    assert list(exercise.shown(verdict).inputs)[place] == word


@pytest.mark.slow
def test_a_first_check_imports_no_sympy():
    code = """import sys, torch
from solutions.checks import EXERCISES
EXERCISES["merge"].verdict(lambda *parts: parts[:2])
assert "sympy" not in sys.modules, "2 seconds of the first check"
EXERCISES["blocked_attention"].verdict(lambda q, k, v, causal, block: q)
assert "torch._dynamo" not in sys.modules, "2 seconds of the first operation that is watched"
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_an_answer_leaves_no_trace():
    def meddles(values):
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(3), random.seed(3), numpy.random.seed(3)
        torch.set_num_threads(3)
        torch.set_printoptions(precision=2, sci_mode=True)
        torch.use_deterministic_algorithms(True)
        torch.set_grad_enabled(False)
        torch.set_default_device("meta")
        torch.set_float32_matmul_precision("medium")
        torch.autograd.set_detect_anomaly(True)
        numpy.set_printoptions(precision=2)
        warnings.simplefilter("error")
        sys.setrecursionlimit(10_000)
        return values.mean(0)

    def state():
        return (
            torch.get_default_dtype(),
            torch.get_rng_state().tolist(),
            random.getstate(),
            numpy.random.get_state()[1].tolist(),
            torch.get_num_threads(),
            repr(torch.tensor([1.23456789])),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_grad_enabled(),
            torch.empty(0).device,
            torch.get_float32_matmul_precision(),
            torch.is_anomaly_enabled(),
            str(numpy.array([1.23456789])),
            list(warnings.filters),
            sys.getrecursionlimit(),
        )

    before = state()
    verdict = EXERCISES["uniform_attention"].verdict(meddles)
    assert verdict.ok, verdict.message
    assert state() == before


@pytest.mark.seconds
def test_an_answer_that_cannot_be_stopped_leaves_no_trace(monkeypatch):
    def stuck(values):
        torch.set_default_dtype(torch.float64)
        torch.set_float32_matmul_precision("medium")
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            try:
                while time.monotonic() < until:
                    pass
            except BaseException:
                pass
        return values.mean(0)

    monkeypatch.setattr(exercise_module, "TIME_LIMIT", 0.1)
    monkeypatch.setattr(running_module, "PATIENCE", 0.2)
    assert "did not end" in EXERCISES["uniform_attention"].verdict(stuck).message
    assert (torch.get_default_dtype(), torch.get_float32_matmul_precision()) == (torch.float32, "highest")
    runner = next(each for each in threading.enumerate() if isinstance(each, running_module.Runner))
    torch.set_float32_matmul_precision("high")  # what the process does meanwhile is its own
    try:
        runner.join(60)
        assert not runner.is_alive(), "it went on to the other cases"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_readers_default_dtype_changes_no_verdict():
    attention = dataclasses.replace(EXERCISES["attention"])
    torch.set_default_dtype(torch.float64)
    try:
        assert attention.verdict(attention.right_answers[0]).ok
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_buffer_that_an_answer_uses_again_is_judged_as_it_was():
    buffer = torch.zeros(5)
    wrong = iter([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])

    def reuses(values):
        out = buffer[: values.shape[1]]
        out.copy_(values.mean(0) + next(wrong).real)
        return out

    assert "case 'first'" in toy((dataclasses.replace(FOUR, label="first"), FOUR, SIX), {}).verdict(reuses).message


BUSY = "while True: sum(range(1000))"


@pytest.mark.slow
def test_a_loaded_machine_fails_no_answer(monkeypatch):
    """Six busy processes on every core: the answer's own processor time counts, so its verdict is the same."""
    exercise = EXERCISES["softmax"]

    def works(scores):
        end = time.thread_time() + 0.06
        while time.thread_time() < end:
            pass
        return quadratic.softmax(scores)

    monkeypatch.setattr(exercise_module, "TIME_LIMIT", 1.5)  # 15 cases of 0.06 seconds; by the clock they take far more
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(6 * (os.cpu_count() or 1))]
    try:
        start = time.perf_counter()
        verdict = exercise.verdict(works)
        took = time.perf_counter() - start
    finally:
        for process in others:
            process.kill()
            process.wait()
    assert verdict.ok, verdict.message
    assert took > 1.5, "the machine was not loaded, and nothing is shown"


@pytest.mark.seconds
def test_an_answer_that_waits_is_stopped_by_the_clock(short_limit):
    assert "did not end within 0.3 seconds" in verdict_on(lambda scores: time.sleep(1) or scores).message


# numbers, tuples, texts -------------------------------------------------------------------------------------------


def judge(reference, answer, *arguments):
    """What is wrong with an answer, told of one case."""
    exercise = dataclasses.replace(toy((Case("one", lambda normal: arguments),), {}), reference=reference)
    return exercise.verdict(answer).fault


def share(n: int) -> float:
    return 1 / (1 + math.exp(-n / 7))


def both(n: int) -> tuple[float, float]:
    return 1 - share(n), share(n)


def test_a_float_needs_what_float32_gives():
    assert judge(share, lambda n: torch.sigmoid(torch.tensor(n / 7)).item(), 3) == ""
    assert judge(share, lambda n: numpy.float32(share(n)), 3) == ""
    assert judge(both, lambda n: [1 - share(n), torch.sigmoid(torch.tensor(n / 7)).item()], 3) == ""
    assert judge(share, lambda n: share(n) * 1.0001, 3) == "your function returned 0.6056, expected 0.6055"
    assert "holds 0.6055" in judge(share, lambda n: torch.sigmoid(torch.tensor(n / 7)), 3)
    assert judge(both, lambda n: (share(n), 1 - share(n)), 3) == (
        "your function returned (0.605532, 0.394468), expected (0.394468, 0.605532)"
    )


def test_gate_range_in_float32_is_right():
    """torch has a sigmoid and Python has none; math in float64 is not asked for."""

    def natural(steps, learning_rate):
        beta = torch.tensor(steps * learning_rate)
        return torch.sigmoid(-beta).item(), torch.sigmoid(beta).item()

    assert EXERCISES["gate_range"].verdict(natural).ok, EXERCISES["gate_range"].verdict(natural).message


@pytest.mark.parametrize(
    "value, words",
    [
        (8.0, "your function returned 8.0, a float; expected the int 8"),
        (True, "your function returned True, a bool; expected the int 8"),
        (13_420_000_000, "your function returned 13_420_000_000, expected 8"),
        (8.5, "your function returned 8.5, expected 8"),
        (None, "your function returned nothing (a return is missing)"),
        ("8", "your function returned a value of type str, expected a number"),
        (torch.tensor(8), "your function returned a tensor that holds 8, expected the int 8: .item() takes it out"),
        (numpy.int64(8), ""),
        (8, ""),
    ],
)
def test_an_int_is_exact_and_an_int(value, words):
    def eight(n: int) -> int:
        return 8

    assert judge(eight, lambda n: value, 3) == words


def test_tuples_and_texts_are_told_in_their_own_words():
    pattern = EXERCISES["layer_pattern"]
    turned = pattern.verdict(
        lambda unit, layers: tuple("window" if c == "G" else "full" for c in (unit * layers)[:layers])
    )
    assert "entry 0 is 'window', expected 'full'" in turned.message or turned.mistake
    assert judge(lambda n: ("full", "window"), lambda n: ["full", "full"], 3) == (
        "your function returned ['full', 'full'], expected ('full', 'window')"
    )
    assert judge(lambda n: ("full",) * 40, lambda n: ("full",) * 39 + ("x",), 3) == (
        "entry 39 is 'x', expected 'full'; 39 of 40 right"
    )
    assert judge(lambda n: (1, 2), lambda n: (1, 2, 3), 3) == "your function returned (1, 2, 3), expected (1, 2)"
    assert (
        judge(lambda n: {"that it holds": True}, lambda n: {"that it holds": False}, 3)
        == "it does not hold that it holds"
    )
    assert judge(lambda n: {"the sum": 3}, lambda n: {"the sum": 4}, 3) == "the sum: 4, expected 3"
    assert judge(lambda n: torch.ones(2, 3) * n, lambda n: torch.ones(2), 3.0) == (
        "the shape of your output is (2,), expected (2, 3)"
    )


X = torch.arange(12.0).reshape(3, 4).sin()


@pytest.mark.parametrize(
    "wrong, words",
    [
        (X * 2, "every entry is 2 times the expected one"),
        (-X, "every entry has the wrong sign"),
        (X + 0.5, "every entry is the expected one plus 0.5"),
        (X.flip(1), "it is the expected one in reverse order along dimension 1"),
        (X.roll(1, 1), "along dimension 1 what is expected comes one place too late"),
        (X + torch.tensor([[0.0], [0.0], [1.0]]), "all wrong entries have index 2 along dimension 0"),
        (X.T, "the shape of your output is (4, 3), expected (3, 4); it is the expected one transposed"),
        (X.cos(), "0 of 12 entries right"),
    ],
)
def test_a_simple_relation_is_told(wrong, words):
    assert judge(lambda x: x.clone(), lambda x: wrong, X).endswith(words)


def test_a_list_that_an_answer_changes_is_told_and_spoils_no_later_answer():
    """The case once handed out its own list, which then began with another edge for every later answer."""
    exercise = EXERCISES["loss_by_position"]

    def with_one_edge_more(model, tokens, edges, counted=None):
        edges.insert(0, 1)
        return exercise.right_answers[0](model, tokens, edges[1:], counted)

    assert "your function changed its input edges; work on a new one" in exercise.verdict(with_one_edge_more).message
    assert exercise.verdict(exercise.right_answers[0]).ok


def test_the_digits_of_float32_are_told():
    """They once looked like those of any wrong answer."""
    words = "these are the digits of float32: something was turned to it on the way"
    third = X.double() / 3
    assert judge(lambda x: x.clone(), lambda x: x.float().double(), third).endswith(words)
    assert judge(lambda x: x.square().sum(), lambda x: x.square().sum().float().double(), third).endswith(words)
    assert words not in judge(lambda x: x.clone(), lambda x: x * (1 + 1e-4), third)


def test_an_error_is_cut_between_words():
    def stops(scores):
        raise ValueError("word " * 200)

    assert "word word ... Taught under" in verdict_on(stops).message


def test_what_does_not_fit_is_no_stop_of_the_answer():
    elsewhere = eval(compile("lambda split, x: torch.cat(split(x))", "<a case>", "eval"), {"torch": torch})
    joined = Case("two parts", lambda normal: (normal(3),), elsewhere)
    exercise = dataclasses.replace(EXERCISES["softmax"], cases=(joined,), reference=lambda x: (x, x))
    message = exercise.verdict(lambda x: (x, None)).message
    assert "what your function returned does not fit here: TypeError: expected Tensor as element 1" in message


# the same cell twice ---------------------------------------------------------------------------------------------

TWICE = """from solutions.checks import check
from solutions import quadratic
def softmax(scores):
    {body}
---
softmax = check(softmax)
---
softmax = check(softmax)
---
softmax = check(quadratic.softmax)
---
from solutions.quadratic import softmax as mine
softmax = check(mine)
---
def softmax(scores):
    empty = (scores == -float("inf")).all(-1, keepdim=True)
    return scores.masked_fill(empty, 0).softmax(-1).masked_fill(empty, 0)
---
softmax = check(softmax)
---
softmax = check(softmax)
---
softmax = check(quadratic.softmax)
"""


@pytest.mark.parametrize(
    "body, first", [("return scores.softmax(-1)", "not yet. Your output"), ("...", "not attempted")]
)
@pytest.mark.seconds
def test_a_check_cell_that_runs_twice_says_the_same(body, first, tmp_path, monkeypatch):
    """In a kernel, as a reader does it: a refused answer is replaced by ours, which must not be judged in its place."""
    kept = tmp_path / "progress.json"
    sources = TWICE.format(body=body).split("---\n")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    environment = {**os.environ, "COURSE_PROGRESS": str(kept)}
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment)
    said = ["".join(output.text for output in cell.outputs) for cell in notebook.cells]
    assert said[1].startswith(f"softmax: {first}") and said[1] == said[2] == said[3] == said[4]
    assert said[6] == said[7] == f"{RIGHT_SOFTMAX.strip()} Kept in mine.py (2 lines), 1 of {len(EXERCISES)}.\n"
    assert said[8] == OWN
    assert json.loads(kept.read_text()) == {"softmax": "done"}, "by the right answer"


OWN = "softmax: this is the course's own function. Write yours, run its cell, then check(softmax).\n"


def test_a_refused_answer_is_not_done_by_checking_again(kept, capsys):
    assert check(wrong_softmax) is quadratic.softmax
    assert check(quadratic.softmax) is quadratic.softmax
    said = capsys.readouterr().out.splitlines()
    assert said[0] == said[1] and json.loads(kept.read_text()) == {"softmax": "tried"}


def test_our_own_function_is_no_answer(kept, capsys, monkeypatch):
    assert check(quadratic.softmax) is quadratic.softmax
    assert capsys.readouterr().out == OWN and not kept.exists()
    monkeypatch.setenv("COURSE_STRICT", "1")
    with pytest.raises(AssertionError, match="the course's own function"):
        check(quadratic.softmax)


def test_strict_refuses_a_wrong_answer_twice(monkeypatch):
    monkeypatch.setenv("COURSE_STRICT", "1")
    for _ in range(2):
        with pytest.raises(AssertionError, match=r"^softmax: not yet\."):
            check(wrong_softmax)
    with pytest.raises(AssertionError, match=r"^softmax: not yet\."):
        check(quadratic.softmax)


def test_the_last_answer_is_judged_as_it_is_now(capsys):
    """It may call a function that was mended meanwhile."""
    mended = []

    @named("softmax")
    def mine(scores):
        return quadratic.softmax(scores) + (0 if mended else 1)

    assert check(mine) is quadratic.softmax
    mended.append(True)
    assert check(quadratic.softmax) is mine
    assert capsys.readouterr().out.endswith(RIGHT_SOFTMAX)


def test_a_written_return_none_is_an_answer():
    def returns_none(scores):
        return None

    def only_if(scores):
        if scores is None:
            return

    assert not is_blank(returns_none) and not is_blank(only_if)
    assert "your function returned nothing" in verdict_on(returns_none).message


# the search for a mistake ----------------------------------------------------------------------------------------


def test_a_mistake_is_run_on_further_cases_only_if_it_gives_the_same_in_the_first():
    ran = []

    def watched(sentence, function):
        return lambda values: ran.append(sentence) or function(values)

    mistakes = {"added": watched("added", added), "largest": watched("largest", lambda values: values.amax(0))}
    assert toy((FOUR, SIX, TWO_ROWS), mistakes).verdict(added).mistake == "added"
    assert sorted(ran) == ["added"] * 3 + ["largest"]


def test_a_long_search_is_announced(monkeypatch, capsys):
    monkeypatch.setattr(exercise_module, "SLOW", 0.0)
    check(wrong_softmax)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "looking for the mistake ..." and said[1].startswith("softmax: not yet")
    check(named("softmax")(dots))
    assert capsys.readouterr().out.count("\n") == 1


# check, hint, strict ---------------------------------------------------------------------------------------------


def test_check_returns_a_right_answer(capsys):
    @named("softmax")
    def mine(scores):
        empty = (scores == -float("inf")).all(-1, keepdim=True)
        return scores.masked_fill(empty, 0).softmax(-1).masked_fill(empty, 0)

    assert check(mine) is mine
    assert capsys.readouterr().out == RIGHT_SOFTMAX


def test_check_returns_ours_for_a_blank_or_wrong_answer(capsys):
    @named("softmax")
    def blank(scores): ...

    @named("softmax")
    def wrong(scores):
        return scores.softmax(-2).nan_to_num(0)

    assert check(blank) is quadratic.softmax
    assert check(wrong) is quadratic.softmax
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "softmax: not attempted yet. The lesson goes on with ours."
    assert said[1].startswith(
        "softmax: not yet. In case '3 rows of 5 scores', your output equals what you get when the softmax runs down"
    )
    assert len(said) == 2


def test_check_on_the_first_lessons_wrong_answer(capsys):
    check(named("uniform_attention")(lambda values: values.sum(0)))
    assert capsys.readouterr().out == (
        "uniform_attention: not yet. Your output equals what you get when the rows are added but not divided by their "
        "number. (case 'the rows (1, 0) and (3, 2)': first wrong at [0]: 4, expected 2; 0 of 2 entries right) "
        "Taught under 'How a lesson works'. See it: case(uniform_attention).\n"
    )


def my_softmax(scores): ...


class Softmax(torch.nn.Module):
    def forward(self, scores): ...


@pytest.mark.parametrize(
    "stranger, words",
    [
        (my_softmax, "no exercise is called my_softmax. Did you mean softmax? Then write def softmax(...), and"),
        (named("causal_maks")(lambda n, m: None), "no exercise is called causal_maks. Did you mean causal_mask?"),
        (named("Attention")(lambda n, m: None), "no exercise is called Attention. Did you mean attention?"),
        (named("attention_2")(lambda n, m: None), "no exercise is called attention_2. Did you mean attention?"),
        (named("foo")(lambda x: x), "no exercise is called foo. Its name stands in the cell that begins with def"),
        (lambda x: x, "a lambda has no name to find its exercise by. Write the function with def"),
        (functools.partial(my_softmax), "a partial has no name to find its exercise by. Write the function with def"),
        (Softmax(), "an object of class Softmax is no function with a name. Write the function with def"),
        (Softmax, "no exercise is called Softmax. Did you mean softmax?"),
        (3, "a value of type int is no function."),
        (None, "a value of type NoneType is no function."),
        ("softmax", "'softmax' is a text. Give the function itself: check(softmax)."),
        ([named], "a value of type list is no function."),
    ],
)
def test_what_is_no_exercise_is_told_the_nearest_in_a_line(stranger, words, capsys):
    assert check(stranger) is stranger
    said = capsys.readouterr().out
    assert said.startswith(words) and said.count("\n") == 1 and len(said) < 200
    hint(stranger)
    assert case(stranger) is None
    assert capsys.readouterr().out == 2 * said


def test_strict_refuses_what_is_not_right(monkeypatch):
    monkeypatch.setenv("COURSE_STRICT", "1")
    check(rewritten(quadratic.softmax))
    with pytest.raises(AssertionError, match=r"^softmax: not attempted yet\."):
        check(named("softmax")(dots))
    with pytest.raises(AssertionError, match=r"^softmax: not yet\. Your output equals"):
        check(named("softmax")(lambda scores: scores.softmax(-1)))
    with pytest.raises(AssertionError, match="no exercise is called max"):
        check(max)


@every_exercise
def test_hints_come_in_turn(exercise, capsys):
    for _ in range(4):
        hint(exercise.reference)
    said = capsys.readouterr().out.splitlines()
    taught = f"Taught under '{exercise.section}'."
    assert said == [f"{exercise.name}, hint {n} of 3: {exercise.hints[n - 1]} {taught}" for n in (1, 2, 3, 1)]


def test_the_first_hint_after_a_named_mistake_is_about_it(capsys):
    check(named("softmax")(lambda scores: scores.softmax(-1)))
    capsys.readouterr()
    hint(quadratic.softmax)
    hint(quadratic.softmax)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("softmax, your last answer: an empty row is left as it comes, which is nan. Hint ")
    assert said[1].startswith("softmax, hint 1 of 3: ")
    advised = dataclasses.replace(EXERCISES["softmax"], advice={"x": "Do y."})
    assert advised.helps("x") == "Do y."
    check(wrong_softmax)
    capsys.readouterr()
    hint(quadratic.softmax)
    assert "hint 2 of 3" in capsys.readouterr().out or EXERCISES["softmax"].verdict(wrong_softmax).mistake


@every_exercise
def test_advice_is_for_mistakes_that_there_are(exercise):
    assert exercise.advice.keys() <= exercise.mistakes.keys()


# the case laid open ----------------------------------------------------------------------------------------------


def test_case_shows_what_was_refused(capsys):
    first = case(quadratic.softmax)
    assert (first.label, first.got, first.fault) == ("3 rows of 5 scores", None, "")
    assert first.inputs["scores"].shape == (3, 5) and close(first.expected, first.inputs["scores"].softmax(-1)).all()
    assert "got:" not in repr(first)

    @named("softmax")
    def wrong(scores):
        return scores.softmax(-1)

    check(wrong)
    shown = case(quadratic.softmax)
    assert shown.label == "a row of nothing but -inf"
    assert shown.fault == "your output holds nan at [1, 0], expected 0; 3 of 6 entries right"
    assert close(wrong(*shown.inputs.values()), shown.got).all()
    assert not shown.expected.isnan().any()
    shown.inputs["scores"].zero_()
    assert case(wrong).inputs["scores"].isinf().any(), "made anew"
    assert repr(case(wrong)).splitlines() == [
        "case 'a row of nothing but -inf': your output holds nan at [1, 0], expected 0; 3 of 6 entries right",
        "scores = tensor([[0.5000, 1.0000,   -inf],",
        "                 [  -inf,   -inf,   -inf]])",
        "expected: tensor([[0.3775, 0.6225, 0.0000],",
        "                  [0.0000, 0.0000, 0.0000]])",
        "got:      tensor([[0.3775, 0.6225, 0.0000],",
        "                  [   nan,    nan,    nan]])",
    ]
    check(named("softmax")(lambda scores: safe_softmax(scores)))
    assert case(wrong).label == "3 rows of 5 scores", "nothing is refused any more"


@every_exercise
@pytest.mark.seconds
def test_every_case_can_be_laid_open(exercise):
    for index, each in enumerate(exercise.cases):
        shown = exercise.shown(checks.Verdict(False, True, None, "", refused=index, fault="something"))
        assert (shown.label, len(shown.inputs) > 0) == (each.label, True)
        assert len(repr(shown)) < 30_000 and shown.expected is not None


def test_a_large_tensor_is_shown_by_its_shape():
    assert showing.text(torch.zeros(20, 30)) == "tensor of shape (20, 30), torch.float32"
    assert showing.text((torch.ones(2), torch.ones(2))) == "(tensor([1., 1.]),\n tensor([1., 1.]))"

    class Odd:
        def __repr__(self):
            raise RuntimeError

    assert showing.text(Odd()) == "a value of type Odd, which cannot be printed"
    assert len(showing.text("word " * 1000)) < 410


# progress --------------------------------------------------------------------------------------------------------

wrong_softmax = named("softmax")(lambda scores: scores)
NO_SOURCE = "Not kept in mine.py: its source is not at hand as `def softmax(...)`."


@pytest.fixture
def kept(monkeypatch, tmp_path):
    path = tmp_path / "work" / "progress.json"
    monkeypatch.setenv("COURSE_PROGRESS", str(path))
    return path


def test_progress_as_text_and_table(capsys):
    assert repr(progress()).splitlines()[-1] == "Next: 0.1, equal attention."
    check(rewritten(quadratic.uniform_attention))
    check(wrong_softmax)
    check(rewritten(quadratic.causal_mask))
    check(named("attention")(raises))
    shown = progress()
    assert repr(shown).splitlines()[:3] == [
        "lesson                         done  tried  open",
        "Start here                        1      0     0",
        "1. Quadratic attention            1      1     8",
    ]
    assert repr(shown).endswith("Next: 1.1, turn a pair.")
    assert '<tr><th scope="row">1. Quadratic attention</th><td>1</td><td>1</td><td>8</td></tr>' in shown._repr_html_()
    alone = progress("quadratic_attention")
    assert repr(alone).splitlines() == [
        "lesson                  done  tried  open",
        "1. Quadratic attention     1      1     8",
        "Next: 1.1, turn a pair.",
    ]
    with pytest.raises(ValueError, match="there is no lesson 'quadratic'; there are start_here, quadratic_attention"):
        progress("quadratic")
    for name in EXERCISES:
        progress_module.note(name, "done")
    assert repr(progress()).endswith("All exercises are done.")
    assert repr(progress("start_here")).endswith("All exercises of this lesson are done.")


def test_progress_is_kept_and_done_stays_done(kept):
    assert progress_module.load() == {}
    check(wrong_softmax)
    assert json.loads(kept.read_text()) == {"softmax": "tried"}
    check(rewritten(quadratic.softmax))
    check(wrong_softmax)
    check(named("attention")(dots))
    assert json.loads(kept.read_text()) == {"softmax": "done"}
    assert sorted(path.name for path in kept.parent.iterdir()) == ["progress.json", "progress.lock"], "no draft is left"


def test_progress_of_a_lesson_this_version_does_not_know_survives(kept):
    kept.parent.mkdir()
    kept.write_text('{"from_next_year": "done"}')
    check(wrong_softmax)
    assert json.loads(kept.read_text()) == {"from_next_year": "done", "softmax": "tried"}


def test_states_that_this_version_does_not_know_are_kept(kept):
    theirs = {"softmax": "gold", "attention": {"at": 3}, "causal_mask": "done"}
    kept.parent.mkdir()
    kept.write_text(json.dumps(theirs))
    check(wrong_softmax)
    assert json.loads(kept.read_text()) == theirs
    check(named("attention_scores")(lambda q, k, scale=None: q))
    assert json.loads(kept.read_text()) == {**theirs, "attention_scores": "tried"}
    assert repr(progress()).splitlines()[2] == "1. Quadratic attention            1      3     6"


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'"done"', b"\xff\xfe\x00"])
def test_a_damaged_file_is_set_aside_and_told(kept, damage, capsys):
    kept.parent.mkdir()
    kept.write_bytes(damage)
    check(rewritten(quadratic.softmax))
    said = capsys.readouterr().out
    assert "progress.json was damaged. It is kept as progress.damaged.json" in said
    assert said.endswith(f"{RIGHT_SOFTMAX.strip()} {NO_SOURCE}\n")
    assert kept.with_name("progress.damaged.json").read_bytes() == damage
    assert json.loads(kept.read_text()) == {"softmax": "done"}
    progress()
    assert capsys.readouterr().out == ""


def test_no_damaged_file_ends_another(kept):
    kept.parent.mkdir()
    for damage in ("{1", "{2", "{3"):
        kept.write_text(damage)
        progress_module.load()
    names = ("progress.damaged.json", "progress.damaged-2.json", "progress.damaged-3.json")
    assert [kept.with_name(name).read_text() for name in names] == ["{1", "{2", "{3"]


NOTES = """
import importlib, sys
progress = importlib.import_module("solutions.checks.progress")
for number in range(30):
    progress.note(f"{sys.argv[1]}_{number}", "done")
"""


@pytest.mark.seconds
def test_two_kernels_at_once_lose_nothing(kept):
    """As two processes, each 30 notes: all 60 are there."""
    environment = {**os.environ, "COURSE_PROGRESS": str(kept)}
    both = [subprocess.Popen([sys.executable, "-c", NOTES, name], env=environment) for name in ("one", "other")]
    assert [process.wait() for process in both] == [0, 0]
    assert len(json.loads(kept.read_text())) == 60


def test_two_threads_at_once_lose_nothing(kept):
    """Sixty notes of six threads, which the system's lock keeps apart as it does processes."""

    def notes(thread):
        for number in range(10):
            progress_module.note(f"{thread}_{number}", "done")

    threads = [threading.Thread(target=notes, args=(thread,)) for thread in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads(kept.read_text())) == 60


class WindowsLocks:
    """msvcrt as far as it is used: a lock of one byte of a file, refused while another holds it."""

    LK_NBLCK, LK_UNLCK = 2, 0

    def __init__(self):
        self.holder, self.refused = None, 0

    def locking(self, descriptor, mode, count):
        if mode == self.LK_UNLCK:
            assert self.holder == descriptor
            self.holder = None
        elif self.holder is not None:
            self.refused += 1
            raise PermissionError(errno.EACCES, "Permission denied")
        else:
            self.holder = descriptor


def test_on_windows_the_lock_is_msvcrts(kept, monkeypatch):
    locks = WindowsLocks()
    monkeypatch.setattr(progress_module, "fcntl", None)
    monkeypatch.setattr(progress_module, "msvcrt", locks, raising=False)
    replace, refusals = os.replace, iter([PermissionError(), PermissionError()])

    def replaced(*paths):  # as while somebody reads the file
        for refusal in refusals:
            raise refusal
        replace(*paths)

    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(whole, "TRIES", 50)
    with progress_module.alone(kept):
        later = threading.Thread(target=progress_module.note, args=("softmax", "done"))
        later.start()
        later.join(0.2)
        assert later.is_alive() and not kept.exists() and locks.refused > 0, "it waits"
    later.join()
    assert json.loads(kept.read_text()) == {"softmax": "done"} and locks.holder is None


def test_a_lock_that_nobody_gives_back_stops_no_lesson(kept, monkeypatch):
    monkeypatch.setattr(progress_module, "LOCK_SECONDS", 0.1)
    with progress_module.alone(kept):
        progress_module.note("softmax", "done")
    assert json.loads(kept.read_text()) == {"softmax": "done"}


def test_what_cannot_be_read_is_not_overwritten(kept, monkeypatch, capsys):
    progress_module.note("softmax", "done")
    before = kept.read_bytes()

    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(progress_module, "read", refused)
    progress_module.note("attention", "done")
    assert kept.read_bytes() == before
    assert "progress.json could not be written (Permission denied)" in capsys.readouterr().out


def test_a_place_that_cannot_be_written_is_told_once(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "file" / "progress.json"))
    mine = rewritten(quadratic.softmax)
    for _ in range(2):
        assert check(mine) is mine
    said = capsys.readouterr().out
    assert said.count("could not be written") == 1 and said.count("softmax: right") == 2
    assert str(tmp_path) not in said


def test_a_write_that_breaks_off_leaves_the_old_file(kept, monkeypatch):
    check(rewritten(quadratic.softmax))
    before = kept.read_bytes()

    def disk_full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(progress_module.os, "replace", disk_full)
    check(rewritten(quadratic.causal_mask))
    assert kept.read_bytes() == before
    assert sorted(path.name for path in kept.parent.iterdir()) == ["progress.json", "progress.lock"]


def test_progress_stands_beside_the_package_wherever_one_works(monkeypatch, tmp_path):
    monkeypatch.delenv("COURSE_PROGRESS")
    monkeypatch.chdir(tmp_path)
    assert progress_module.place() == Path(quadratic.__file__).resolve().parents[1] / "work" / "progress.json"


@pytest.mark.seconds
def test_check_works_from_any_folder(tmp_path):
    """In another process, as a kernel would: another folder, the answer without a source file, progress on disk."""
    script = "from solutions.checks import check\ndef softmax(scores):\n    return scores.softmax(-1)\ncheck(softmax)\n"
    environment = {**os.environ, "COURSE_PROGRESS": str(tmp_path / "progress.json")}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("softmax: not yet. Your output equals what you get when an empty row is left")
    assert json.loads((tmp_path / "progress.json").read_text()) == {"softmax": "tried"}
