"""References by name, in the course's Markdown: what number and address a name has is known here alone.

    {lesson}`infini_attention`   lesson 5          {Lesson}`..` at the beginning of a sentence
    {exercise}`retrieve`         exercise 5.1      {question}`order-of-a-segment`: question 5.2
    {n}`retrieve`                5.1               also of a lesson or a question, for "exercises 5.1 to 5.3"
    {title}`..`, {minutes}`..`, {difficulty}`..`, {lines}`..`
    ### {exercise}`retrieve`     the heading of an exercise, with what it asks of a reader
    {lessons}`abilities`         alone in a paragraph: one of the tables of TABLES
    {track}`evening`             alone under a heading, for `solutions/tracks.py`
    [words](lesson:infini_attention#a-matrix-that-remembers), exercise:.. question:.. teaching:.. questions:..

`resolve` puts in what they stand for. Where the words lead, a `Leads` says: a notebook, a page and a card differ in it.
A reference becomes a link by itself unless it stands in one, or in a heading. Fenced code is left as it is.
"""

import hashlib
import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from solutions.lessons import Lesson, lesson, lessons
from solutions.whole import write_whole

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
INGREDIENTS = ("solutions", "widgets", "requirements.txt")  # of what a lesson's cell prints
FACTS = BOOK / "_build" / "exercises.json"  # what exercises ask of a reader, as the checkers said it last

CAPITAL = {"Lesson": "lesson", "Exercise": "exercise", "Question": "question"}
SCHEMES = ("lesson", "exercise", "question", "teaching", "questions")
ROLE = re.compile(
    r"\{(lesson|exercise|question|Lesson|Exercise|Question|n|title|minutes|difficulty|lines)\}`([^`\n]+)`"
)
LINK = re.compile(
    rf"\[((?:[^\[\]\n]|\[[^\[\]\n]*\])*)\]\((?:({'|'.join(SCHEMES)}):([^)\s#]*)(?:#([^)\s]*))?|[^)\n]*)\)"
)
FENCE = re.compile(r"^(`{3,})[^\n]*\n.*?^\1`* *$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"### \{exercise\}`(\w+)`")
TABLE = re.compile(r"\{lessons\}`(\w+)`")
QUESTION = re.compile(r"^\(q-([\w-]+)\)=$", re.MULTILINE)


class BrokenReference(ValueError):
    """A name that stands for nothing, with the file and the line where it is."""


@dataclass(frozen=True)
class Leads:
    """Where references lead from one kind of page, as forms with {} for a name; "" leads nowhere.

    lesson: {} is the stem of the lesson's file; exercise, question: {stem} and {lesson} are those of their lesson
    exercise: where "", a link to an exercise leads to its lesson's file; here: the lesson in which the text stands
    """

    lesson: str = ""
    exercise: str = ""
    question: str = ""
    teaching: str = ""
    questions: str = ""
    here: str = ""

    def to(self, scheme: str, name: str, anchor: str = "") -> str:
        """The address of something. Raises ValueError for a name or a section that is not there."""
        if scheme == "lesson":
            row = lesson(name)
            if anchor and anchor not in sections(name):
                raise ValueError(f"the lesson {name} has no section {anchor!r}")
            if name == self.here:
                return f"#{anchor}" if anchor else ""
            return self.lesson.format(row.stem) + (f"#{anchor}" if anchor else "") if self.lesson else ""
        if scheme == "exercise":
            row, _ = exercise_place(name)
            if self.exercise:
                return self.exercise.format(name.replace("_", "-"), stem=row.stem, lesson=row.name)
            # a notebook has no such place in it: the link opens the lesson, and within it there is none
            return self.to("lesson", row.name)
        if scheme == "question":
            row, _ = question_place(name)
            return self.question.format(name, stem=row.stem, lesson=row.name)
        folder = BOOK / {"teaching": "teaching", "questions": "interview"}[scheme]
        if not (folder / f"{name}.md").exists():
            raise ValueError(f"there is no page {folder.name}/{name}.md")
        return getattr(self, scheme).format(name)


WORDS = Leads()


def resolve(text: str, leads: Leads, where: str = "the text", first: int = 1) -> str:
    """The text with its references resolved. `first` is the number of its first line in the file `where`.

    Raises BrokenReference naming file and line.
    """
    done, at = [], 0
    for fence in [*FENCE.finditer(text), None]:
        end = fence.start() if fence else len(text)
        lines = text[at:end].split("\n")
        number = first + text.count("\n", 0, at)
        for place, line in enumerate(lines):
            if "{" in line or "](" in line:
                try:
                    lines[place] = _line(line, leads)
                except ValueError as error:
                    raise BrokenReference(f"{where}:{number + place}: {error}") from None
        done += ["\n".join(lines), fence[0] if fence else ""]
        at = fence.end() if fence else end
    return "".join(done)


def _line(line: str, leads: Leads) -> str:
    if heading := HEADING.fullmatch(line):
        # on a page the place has a name; a notebook's Markdown knows none
        target = f"(exercise-{heading[1].replace('_', '-')})=\n\n" if leads.exercise and leads.here else ""
        return f"{target}### {exercise(heading[1]).headline}"
    if table := TABLE.fullmatch(line):
        if table[1] not in TABLES:
            raise ValueError(f"there is no table {table[1]!r}; there are {', '.join(TABLES)}")
        return TABLES[table[1]](leads)
    if line.startswith("#"):
        return ROLE.sub(lambda role: words(role[1], role[2]), line)
    done, at = [], 0
    for link in [*LINK.finditer(line), None]:
        plain = line[at : link.start() if link else len(line)]
        done.append(ROLE.sub(lambda role: _linked(role[1], role[2], leads), plain))
        if link:
            inner = ROLE.sub(lambda role: words(role[1], role[2]), link[1])
            if link[2]:
                address = leads.to(link[2], link[3], link[4] or "")
                done.append(f"[{inner}]({address})" if address else inner)
            else:
                done.append(f"[{inner}]{link[0][len(link[1]) + 2 :]}")
            at = link.end()
    return "".join(done)


def _linked(role: str, name: str, leads: Leads) -> str:
    said, scheme = words(role, name), CAPITAL.get(role, role)
    address = leads.to(scheme, name) if scheme in SCHEMES else ""
    return f"[{said}]({address})" if address else said


def words(role: str, name: str) -> str:
    """What a reference says, such as "lesson 5". Raises ValueError for a name that is not there."""
    kind = CAPITAL.get(role, role)
    if kind in ("lesson", "exercise", "question"):
        if name not in (known := numbers(kind)):
            raise ValueError(f"there is no {kind} {name!r}" + (f"; there are {', '.join(known)}" * (kind == "lesson")))
        return f"{role} {known[name]}"
    if role == "n":
        return number(name)
    if role in ("title", "minutes") and name in {each.name for each in lessons()}:
        return lesson(name).title if role == "title" else str(_tracks().total("everything", name))
    return str(getattr(exercise(name), role))


def number(name: str) -> str:
    """The number of a lesson, an exercise or a question, whichever has this name."""
    for kind in ("lesson", "exercise", "question"):
        if name in (known := numbers(kind)):
            return known[name]
    raise ValueError(f"there is no lesson, exercise or question {name!r}")


def numbers(kind: str) -> dict[str, str]:
    """Name -> number of all lessons, exercises or questions."""
    if kind == "lesson":
        return {each.name: str(each.number) for each in lessons()}
    found = _exercises() if kind == "exercise" else _questions()
    return {name: f"{row.number}.{place}" for name, (row, place) in found.items()}


# --- what there is, read from the texts: quick, and without torch ---


def without_code(text: str) -> str:
    """A text whose fenced code is blank, line by line."""
    return FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), text)


def text_of(name: str) -> str:
    """The text of a lesson, without its fenced code; empty where it isn't written yet."""
    path = BOOK / "lessons" / f"{lesson(name).name}.md"
    return without_code(path.read_text(encoding="utf-8")) if path.exists() else ""


@cache
def sections(name: str) -> tuple[str, ...]:
    """The anchors of a lesson's sections, as the site and Jupyter name them."""
    from mdit_py_plugins.anchors.index import slugify

    titles = re.findall(r"^#{2,3} (.+)$", text_of(name), re.MULTILINE)
    return tuple(slugify(title) for title in titles if not title.startswith("{exercise}"))


@cache
def _exercises() -> dict[str, tuple[Lesson, int]]:
    return {
        name: (each, place)
        for each in lessons()
        for place, name in enumerate(re.findall(rf"^{HEADING.pattern}$", text_of(each.name), re.MULTILINE), start=1)
    }


@cache
def _questions() -> dict[str, tuple[Lesson, int]]:
    return {
        name: (each, place)
        for each in lessons()
        if (path := BOOK / "interview" / f"{each.name}.md").exists()
        for place, name in enumerate(QUESTION.findall(path.read_text(encoding="utf-8")), start=1)
    }


def exercise_place(name: str) -> tuple[Lesson, int]:
    """The lesson of an exercise, and its place among the lesson's headings."""
    if name not in _exercises():
        raise ValueError(f"no lesson has an exercise {name!r}")
    return _exercises()[name]


def question_place(name: str) -> tuple[Lesson, int]:
    """The lesson of a question, and its place in the file."""
    if name not in _questions():
        raise ValueError(f"there is no question {name!r}")
    return _questions()[name]


@dataclass(frozen=True)
class Facts:
    """What a text can say of an exercise; lesson: its name; the rest as `solutions.checks.exercise.Exercise` says."""

    lesson: str
    title: str
    difficulty: int
    minutes: int
    lines: int
    headline: str


@cache
def exercises() -> dict[str, Facts]:
    """Of every exercise that a checker has. Checkers bring torch, so they are asked once for each state of them."""

    def ask() -> dict[str, dict]:
        from solutions.checks import EXERCISES

        asked = Facts.__dataclass_fields__
        return {name: {each: getattr(exercise, each) for each in asked} for name, exercise in EXERCISES.items()}

    return {name: Facts(**facts) for name, facts in asked_once(FACTS, ask, "solutions").items()}


def asked_once(path: Path, ask: Callable[[], dict], *names: str) -> dict:
    """What checkers say, as JSON has it: kept in a file, and asked again where they are others.

    names: of all files and folders that have a say in it
    """
    now = digest(ROOT, *names)
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["made from"] == now:
            return kept["said"]
    said = ask()
    with suppress(OSError):  # a course that can't be written into is asked each time
        write_whole(path, json.dumps({"made from": now, "said": said}, indent=1))
    return said


IMPORT = re.compile(r"\bfrom (solutions[\w.]*) import (\([^)]*\)|.*)|\b(solutions\.[\w.]+)")


@cache
def imports(name: str) -> set[str]:
    """The files of `solutions/` that one of them imports, with those that its text names in passing."""
    found = set()
    for origin, names, dotted in IMPORT.findall((ROOT / name).read_text(encoding="utf-8")):
        for module in [f"{origin}.{each}" for each in re.findall(r"\w+", names)] or [dotted]:
            place = ROOT
            for part in module.split("."):
                place /= part
                found |= {file for file in (place.with_suffix(".py"), place / "__init__.py") if file.exists()}
    return {str(file.relative_to(ROOT)) for file in found}


def reached(*names: str) -> list[str]:
    """Files of `solutions/`, and all that they import, at whatever remove."""
    found, next_ones = set(), {*names}
    while next_ones:
        found |= next_ones
        next_ones = {each for name in next_ones for each in imports(name)} - found
    return sorted(found)


def digest(root: Path, *names: str) -> str:
    """A digest of files and folders under `root`, printed notebooks aside."""
    found = hashlib.sha256()
    for path in sorted(path for name in names for path in [root / name, *(root / name).rglob("*")]):
        if path.is_file() and path.suffix not in (".ipynb", ".pyc"):
            found.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def made_from(root: Path = ROOT) -> str:
    """A digest of all that has a say in what a lesson's cell prints, beside the cell's source."""
    return digest(root, *INGREDIENTS)


def exercise(name: str) -> Facts:
    """Raises ValueError for a name that no checker has."""
    if name not in exercises():
        raise ValueError(f"there is no exercise {name!r}")
    return exercises()[name]


# --- tables of the lessons ---


def _tracks():
    """The module of the tracks, which is written with references."""
    from solutions import tracks

    return tracks


def time_of(row: Lesson) -> str:
    """Minutes to read and run, those of the exercises, and those of folds: "50 + 96 (+ 12)"."""
    reading, work, folds = _tracks().effort(row.name)
    return f"{reading}{f' + {work}' * bool(work)}{f' (+ {folds})' * bool(folds)}"


def _abilities(leads: Leads) -> str:
    head = ["| lesson | minutes to read + exercises (+ further) | you can |", "|---|---|---|"]
    linked = [f"[{each.number}. {each.title}]({leads.lesson.format(each.stem)})" for each in lessons()]
    rows = [f"| {link} | {time_of(each)} | {each.can} |" for link, each in zip(linked, lessons(), strict=True)]
    return "\n".join([*head, *rows])


def _lesson_questions(leads: Leads) -> str:
    head = ["| | lesson | minutes to read + exercises (+ further) | the question |", "|---|---|---|---|"]
    return "\n".join([*head, *(f"| {r.number} | {r.title} | {time_of(r)} | {r.question} |" for r in lessons())])


def _cover(leads: Leads) -> str:
    return "\n".join(f"{each.number}. [{each.title}]({leads.lesson.format(each.stem)})" for each in lessons())


def _teaching(leads: Leads) -> str:
    taught = [each for each in lessons() if (BOOK / "teaching" / f"{each.name}.md").exists()]
    return "\n".join(f"- [{each.number}. {each.title}]({leads.teaching.format(each.name)})" for each in taught)


TABLES: dict[str, Callable[[Leads], str]] = {
    "abilities": _abilities,
    "questions": _lesson_questions,
    "cover": _cover,
    "teaching": _teaching,
    "tracks": lambda leads: resolve(_tracks().overview(), leads),
    "evening": lambda leads: resolve(_tracks().itinerary("evening"), leads),
    "weekend": lambda leads: resolve(_tracks().itinerary("weekend"), leads),
}
