"""The questions of the interview, read from `book/interview/LESSON.md`, and the test of every figure in them.

A question is written as a reader of the site sees it: target, heading, level and minutes, then six labelled parts in
one order. Its target is its name, under which readers' answers are kept; its number is its place. Nothing is guessed:
what is not in that form is a `BankError` with the file, the line and what to write.

    (q-tile-for-an-h100)=
    ## Does a tile of 128 x 64 fit an H100?
    *onsite · 6 minutes*
    **Answer.** ... **Points.** - ... **Follow-ups.** - question → answer
    **Common wrong answer.** ... **Evidence.** [{Lesson}`flash_attention`, Tiles](lesson:flash_attention#tiles) ...
    **Figures.** - `98,304 B` = `an expression of the course's functions`, or - `98,304 B` from [a source](https://...)
"""

import importlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from solutions.lessons import lesson, lessons
from solutions.references import WORDS, BrokenReference, Leads, resolve
from widgets.kit.formulas import mathml
from widgets.measurements import results

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "book" / "interview"

PAGE = Leads(
    lesson="../lessons/{}.html",
    exercise="../lessons/{stem}.html#exercise-{}",
    question="../interview/{lesson}.html#q-{}",
    teaching="../teaching/{}.html",
    questions="../interview/{}.html",
)
LEVELS = ("screen", "onsite", "research")
LABELS = ("Answer", "Points", "Follow-ups", "Common wrong answer", "Evidence", "Figures")
LISTS = ("Points", "Follow-ups", "Figures")
MODULES = ("quadratic", "local_global", "flash", "infini", "passkey", "sparse", "positions", "serving")

TARGET = re.compile(r"\(q-([a-z0-9]+(?:-[a-z0-9]+)*)\)=")
HEADING = re.compile(r"## (\S.*)")
TYPED = re.compile(r"\d+\.\d+ ")  # a number in front of a heading
PACE = re.compile(rf"\*({'|'.join(LEVELS)}) · (\d+) minutes?\*")
PART = re.compile(r"\*\*([A-Z][A-Za-z -]*)\.\*\*\s*(.*)")
FIGURE = re.compile(r"`([^`]+)`\s+(?:=\s+`([^`]+)`|from\s+`([^`]+)`|from\s+(\S.*))")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NUMBER = re.compile(r"(?<![\w.])[-−+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
NAME = re.compile(r"\b[A-Z]\w*(?:-[\w.]+)+")  # Llama-3.1-8B, FlashAttention-2
WORD = re.compile(r"[a-z]{4,}")


class BankError(ValueError):
    """What is wrong with a file of questions: file, line, and what to write instead."""


@dataclass(frozen=True)
class Figure:
    """A number as an answer prints it, and where it is from: an expression, or the Markdown of a source."""

    text: str
    expression: str | None
    source: str | None
    line: int


@dataclass(frozen=True)
class Question:
    """One question. id: its name; lesson: the lesson's; place: among its questions, from 1.

    Texts are Markdown with references by name; a follow-up is (question, answer).
    """

    id: str
    lesson: str
    place: int
    level: str
    minutes: int
    title: str
    answer: str
    points: tuple[str, ...]
    follow_ups: tuple[tuple[str, str], ...]
    wrong: str
    evidence: str
    figures: tuple[Figure, ...]
    file: str
    line: int

    @property
    def number(self) -> str:
        return f"{lesson(self.lesson).number}.{self.place}"

    @property
    def texts(self) -> tuple[str, ...]:
        """All that a reader is told: answer, points, follow-ups and the common wrong answer."""
        return (self.answer, *self.points, *(text for pair in self.follow_ups for text in pair), self.wrong)

    def follow_up_of(self, point: int) -> int:
        """Which follow-up asks for a missed point: the one that shares most words with it, the first of several."""
        wanted = set(WORD.findall(self.points[point].lower()))
        shared = [len(wanted & set(WORD.findall(" ".join(pair).lower()))) for pair in self.follow_ups]
        return shared.index(max(shared))


# --- reading ---


def questions(folder: Path = FOLDER) -> list[Question]:
    """Every question, lesson by lesson, in order. Raises BankError for what is not a question's form."""
    paths = [folder / f"{each.name}.md" for each in lessons()]
    found = [question for path in paths if path.exists() for question in read(path)]
    seen: dict[str, Question] = {}
    for question in found:
        if (first := seen.setdefault(question.id, question)) is not question:
            where = f"{question.file}:{question.line}"
            raise BankError(f"{where}: {question.id} is there already, in {first.file}:{first.line}; name it anew")
    return found


def read(path: Path) -> list[Question]:
    """The questions of one file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise BankError(f"{path.name}: is not UTF-8 text ({error.reason} at byte {error.start})") from None
    starts = [index for index, line in enumerate(lines) if line.startswith("(q-")]
    # a question without its target would else be taken for the end of the one before
    for index, line in enumerate(lines):
        if line.startswith("## ") and not any(line_is_blank_between(lines, start, index) for start in starts):
            raise BankError(f"{path.name}:{index + 1}: '{line}' has no target above it; write (q-its-name)=")
    if not starts:
        raise BankError(f"{path.name}:1: holds no question; one begins with a target such as (q-its-name)=")
    parts = enumerate(pairwise([*starts, len(lines)]), start=1)
    return [question(path, lines, start, end, place) for place, (start, end) in parts]


def line_is_blank_between(lines: list[str], start: int, index: int) -> bool:
    return start < index and not any(line.strip() for line in lines[start + 1 : index])


def question(path: Path, lines: list[str], start: int, end: int, place: int = 1) -> Question:
    """The question in lines[start:end], of which the first is its target."""
    written = [(index + 1, lines[index]) for index in range(start, end) if lines[index].strip()]

    def refuse(line: int, sentence: str) -> BankError:
        return BankError(f"{path.name}:{line}: {sentence}")

    def head(place: int, form: re.Pattern, wanted: str) -> re.Match:
        line, text = written[place] if place < len(written) else (end, "")
        if match := form.fullmatch(text.rstrip()):
            return match
        raise refuse(line, f"expected {wanted}, found {text.strip()!r}")

    target = head(0, TARGET, "a target such as (q-its-name)=")
    heading = head(1, HEADING, "a heading such as ## Does it fit?")
    pace = head(2, PACE, "*screen · 3 minutes*, *onsite · 6 minutes* or *research · 10 minutes*")
    identity = target[1]
    if TYPED.match(heading[1]):
        raise refuse(written[1][0], "the number of a question is its place; leave it out of the heading")

    parts: dict[str, list[tuple[int, str]]] = {}
    for line, text in ((number, lines[number - 1]) for number in range(written[2][0] + 1, end + 1)):
        if match := PART.match(text):
            expected = next((label for label in LABELS if label not in parts), None)
            if match[1] != expected:
                wanted = f"**{expected}.**" if expected else "the next question"
                raise refuse(line, f"expected {wanted}, found **{match[1]}.**; the order is {', '.join(LABELS)}")
            parts[match[1]] = [(line, match[2])]
        elif parts:
            parts[next(reversed(parts))].append((line, text))
        elif text.strip():
            raise refuse(line, f"expected **Answer.**, found {text.strip()[:60]!r}")
    for label in LABELS:
        if label not in parts:
            raise refuse(end, f"{identity} ends without **{label}.**")

    def prose(label: str) -> str:
        text = "\n".join(text for _, text in parts[label]).strip()
        if not text:
            raise refuse(parts[label][0][0], f"**{label}.** of {identity} is empty")
        return text

    def items(label: str) -> list[tuple[int, str]]:
        found: list[tuple[int, str]] = []
        for line, text in parts[label]:
            if text.startswith("- "):
                found.append((line, text[2:].strip()))
            elif text.startswith("  ") and text.strip() and found:
                found[-1] = found[-1][0], f"{found[-1][1]} {text.strip()}"
            elif text.strip():
                raise refuse(line, f"**{label}.** is a list: begin the line with '- ', found {text.strip()[:60]!r}")
        if not found and label != "Figures":  # an answer may do without a number
            raise refuse(parts[label][0][0], f"**{label}.** of {identity} is empty")
        return found

    follow_ups = []
    for line, text in items("Follow-ups"):
        asked, arrow, answer = text.partition(" → ")
        if not arrow or not answer.strip():
            raise refuse(line, f"a follow-up is 'question → answer', found {text[:60]!r}")
        follow_ups.append((asked.strip(), answer.strip()))
    points = tuple(text for _, text in items("Points"))
    if not 3 <= len(points) <= 6:
        raise refuse(parts["Points"][0][0], f"{identity} has {len(points)} points; give 3 to 6")
    evidence = prose("Evidence")
    if not LINK.search(evidence):
        raise refuse(parts["Evidence"][0][0], f"the evidence of {identity} has no link into the course")
    return Question(
        id=identity,
        lesson=path.stem,
        place=place,
        level=pace[1],
        minutes=int(pace[2]),
        title=heading[1],
        answer=prose("Answer"),
        points=points,
        follow_ups=tuple(follow_ups),
        wrong=prose("Common wrong answer"),
        evidence=evidence,
        figures=tuple(figure(path, line, text) for line, text in items("Figures")),
        file=path.name,
        line=start + 1,
    )


def figure(path: Path, line: int, text: str) -> Figure:
    match = FIGURE.match(text)
    if match is None:
        form = "`98,304 B` = `expression`, or `98,304 B` from [source](https://...)"
        raise BankError(f"{path.name}:{line}: a figure is {form}, found {text[:80]!r}")
    source = match[4]
    if source and not LINK.search(source):
        raise BankError(f"{path.name}:{line}: the source of {match[1]!r} has no link; write [name](https://...)")
    return Figure(match[1], match[2] or match[3], source, line)


def shown(question: Question, text: str, leads: Leads) -> str:
    """A text of a question with its references resolved. Raises BankError for a broken one."""
    try:
        return resolve(text, leads, question.file, question.line)
    except BrokenReference as error:
        raise BankError(str(error)) from None


# --- the figures ---


def figures_hold(question: Question) -> list[str]:
    """What is wrong with the figures of a question, a sentence each; [] when every one holds.

    An expression must give the number that its text prints, at the precision in which it is printed; a figure must
    stand in the question; and a number in the question must be a figure, unless it is asked with, a year, part of a
    name, a whole number up to 12, or a power of two, which is a length or a size that somebody chose.
    """
    told = [*question.texts, question.title]
    problems = []
    for given in question.figures:
        where = f"{question.file}:{given.line}: {given.text!r}"
        if not any(plain(given.text) in plain(text) for text in told):
            problems.append(f"{where} stands nowhere in question {question.id}")
        if given.expression is not None:
            try:
                value = eval(given.expression, dict(namespace()))
            except Exception as error:
                problems.append(f"{where}: {given.expression} fails: {type(error).__name__}: {error}")
                continue
            if not prints(given.text, value):
                problems.append(f"{where}: {given.expression} is {value!r}")
    where = f"{question.file}:{question.line}"
    return problems + [f"{where}: {number} in {question.id} is no figure" for number in loose(question)]


def prints(text: str, value: Any) -> bool:
    """Whether `text` shows `value`, or its numbers in order the members of a tuple, rounded as it prints them."""
    if isinstance(value, str):
        return plain(text) == plain(value)
    shown = numbers(text)
    wanted = list(value) if isinstance(value, tuple | list) else [value]
    if len(shown) < len(wanted) or (len(wanted) > 1 and len(shown) != len(wanted)):
        return False
    return all(is_rounded(number, float(each)) for number, each in zip(shown, wanted, strict=False))


def is_rounded(number: str, value: float) -> bool:
    mantissa, _, exponent = number.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return abs(float(number) - value) <= 0.5 * unit * (1 + 1e-9)


def numbers(text: str) -> list[str]:
    """The numbers that a text prints, without thousands' commas: "4.4 GB of 40.3" gives ["4.4", "40.3"]."""
    return [number.replace(",", "").replace("−", "-").lstrip("+") for number in NUMBER.findall(text)]


def plain(text: str) -> str:
    """A text without what sets it: dollars, braces, thin spaces and runs of white space."""
    text = text.replace("{,}", ",").replace("\\,", " ").replace("\\%", "%").replace("\\times", "×")
    text = re.sub(r"\{(\w+)\}", r"\1", text).replace("$", "")
    return " ".join(text.replace("\u202f", " ").replace("\u00a0", " ").split())


def loose(question: Question) -> list[str]:
    """Numbers in the texts of a question that stand neither in its title nor in its figures."""
    known = set(numbers(plain(question.title)))
    for given in question.figures:
        known.update(number.lstrip("-") for number in numbers(plain(given.text)))
    found = []
    for text in question.texts:
        text = NAME.sub("", LINK.sub("", re.sub(r"`[^`]*`", "", plain(text))))
        for number in (each.lstrip("-") for each in numbers(text)):
            if number not in known and number not in found and not says_nothing(number):
                found.append(number)
    return found


def says_nothing(number: str) -> bool:
    """Whether a number needs no evidence: a small count, a year, a power of two."""
    if not number.isdigit():
        return False
    whole = int(number)
    return whole <= 12 or 1990 <= whole <= 2030 or whole & (whole - 1) == 0


@cache
def namespace() -> dict[str, Any]:
    """What an expression may name: the course's functions, its modules and `language`, `math`, `results`, `checkpoint`.

    A name that two modules give to different things is left out: write `sparse.window`.
    """
    modules = {name: importlib.import_module(f"solutions.{name}") for name in MODULES}
    names: dict[str, Any] = {}
    twice = set()
    for module in modules.values():
        for name, value in vars(module).items():
            if not name.startswith("_") and not isinstance(value, ModuleType):
                if names.setdefault(name, value) is not value:
                    twice.add(name)
    for name in twice:
        del names[name]
    language = importlib.import_module("solutions.checkpoints.language")
    return {**names, **modules, "language": language, "math": math, "results": results, "checkpoint": checkpoint}


def checkpoint(name: str) -> Any:
    """How a trained model of the course was made and what it does, from solutions/checkpoints."""
    return json.loads((ROOT / "solutions" / "checkpoints" / f"{name}.json").read_text(encoding="utf-8"))


# --- the links ---


def links_hold(question: Question) -> list[str]:
    """What is wrong with the references of a question into the course, a sentence each."""
    problems = []
    for text in (*question.texts, question.evidence, *figure_lines(question)):
        try:
            shown(question, text, WORDS)
        except BankError as error:
            problems.append(str(error))
    return problems


# --- for the page ---


@cache
def _markdown() -> Any:
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    return MarkdownIt("commonmark", {"html": False}).use(
        dollarmath_plugin, renderer=lambda tex, options: mathml(tex, block=options.get("display_mode", False))
    )


def html(text: str, *, inline: bool = False) -> str:
    """Markdown as HTML: formulas as MathML, links into the course as the site has them, all else in a new tab."""
    rendered = _markdown().renderInline(text) if inline else _markdown().render(text).strip()
    rendered = re.sub(r' class="math \w+"', "", rendered)  # the site's theme has rules of that name
    rendered = re.sub(r'href="\.\./lessons/(\w+)\.html', r'data-lesson="\1" \g<0>', rendered)
    return rendered.replace('href="http', 'target="_blank" rel="noopener" href="http')


def as_data(question: Question) -> dict[str, Any]:
    """A question as a page gets it. Raises BankError for a formula that cannot be set."""

    def page(text: str, inline: bool = True) -> str:
        text = shown(question, text, PAGE)
        try:
            return html(text, inline=inline)
        except ValueError as error:
            where = f"{question.file}:{question.line}"
            raise BankError(f"{where}: a formula of {question.id} cannot be set: {error} in {text[:80]!r}") from None

    return {
        "id": question.id,
        "number": question.number,
        "lesson": lesson(question.lesson).number,
        "level": question.level,
        "minutes": question.minutes,
        "title": page(question.title),
        "answer": page(question.answer, inline=False),
        "points": [page(point) for point in question.points],
        "followUps": [[page(asked), page(answer)] for asked, answer in question.follow_ups],
        "asks": [question.follow_up_of(point) for point in range(len(question.points))],
        "wrong": page(question.wrong),
        "evidence": page(question.evidence),
        "figures": [page(line) for line in figure_lines(question)],
    }


def figure_lines(question: Question) -> Iterator[str]:
    """Each figure in a line of Markdown."""
    for given in question.figures:
        yield f"{given.text} = `{given.expression}`" if given.expression else f"{given.text} from {given.source}"
