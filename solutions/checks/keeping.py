"""The reader's own module, `work/mine.py`: every right answer is kept there, as it was written.

    \"\"\"My own functions of Attention at Length ...\"\"\"     the header: what the answers import

    import math

    # -- 1.1 softmax --                                    a block for each answer, in the course's order
    def softmax(scores):
        ...

It stands beside the progress, moves with COURSE_PROGRESS, and is off where that is. It is a plain module that a reader
may edit: an edited block that is right stays, and so do helpers in it. `work/.mine/` holds ten versions of each answer,
the first and the last ones, and which blocks were judged by which version of the course. A block that this version
refuses is commented out with the reason; a file that is no Python is set aside, and goes on from those versions. No
fault of a file stops a lesson: each is told in a sentence, and the course's function stands in.
"""

import ast
import hashlib
import inspect
import json
import linecache
import re
import symtable
import sys
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from solutions.checks import progress
from solutions.checks.exercise import TIME_LIMIT, Exercise
from solutions.checks.running import TimeUp, code_of, one_line, within, written
from solutions.whole import patiently, write_whole

HEADER = '"""My own functions of Attention at Length, each of them right when it was kept."""\n'
HEADING = re.compile(r"^# -- (?:[\d.]+ )?(\w+) --.*\n?", re.MULTILINE)
IMPORT = re.compile(r"(import|from) ")
BETWEEN = "\n\n\n"  # what stands between the header and the blocks
VERSIONS = 10
OURS = Path(__file__).resolve().parents[1]
NOTHING = object()
PLAIN = (int, float, complex, str, bytes, tuple, type(None))
Exercises = dict[str, Exercise]
_judged: dict[str, str] = {}  # by fingerprint: why a block was refused, "" where it was not


def place() -> Path | None:
    """Where the module is, or None where nothing is kept."""
    table = progress.place()
    return None if table is None else table.with_name("mine.py")


# What stands in the file -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mine:
    """The text of a mine.py: its header, and the source of each block by the name of its exercise."""

    header: str = HEADER
    blocks: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Mine":
        header, *rest = HEADING.split(text)
        blocks: dict[str, str] = {}
        for name, source in zip(rest[::2], rest[1::2], strict=True):
            blocks[name] = "\n\n".join(filter(None, [blocks.get(name), source.strip("\n")]))  # one may stand twice
        return cls(header.strip("\n") + "\n", blocks)

    def parts(self, exercises: Exercises) -> list[tuple[str, str]]:
        """The header under the name "", then every block under its heading, in the course's order; others come last."""
        order = {name: place for place, name in enumerate(exercises)}
        parts = [("", self.header.rstrip("\n"))]
        for name in sorted(self.blocks, key=lambda name: order.get(name, len(order))):
            number = f"{exercises[name].number} " if name in exercises else ""
            parts.append((name, f"# -- {number}{name} --\n{self.blocks[name]}"))
        return parts

    def text(self, exercises: Exercises) -> str:
        return BETWEEN.join(part for _, part in self.parts(exercises)) + "\n"

    def live(self, exercises: Exercises) -> list[str]:
        """The exercises whose block is more than comments."""
        return [name for name in exercises if statements(self.blocks.get(name, ""))]

    def having(self, name: str, source: str, imports: Iterable[str]) -> "Mine":
        """With this block, and these imports in the header."""
        return replace(self, blocks={**self.blocks, name: source}).importing(imports)

    def without(self, exercise: Exercise, why: str) -> "Mine":
        """With a block commented out under the reason, and the course's function imported in its place."""
        told = "\n".join(textwrap.wrap(f"No longer right: {why}", 116))
        source = textwrap.indent(f"{told}\n{self.blocks[exercise.name]}", "# ", lambda _: True)
        blocks = {**self.blocks, exercise.name: re.sub(r" +$", "", source, flags=re.MULTILINE)}
        return replace(self, blocks=blocks).importing([course_line(exercise)])

    def importing(self, imports: Iterable[str]) -> "Mine":
        """With these lines among the imports that end the header; a function that has a block is imported no more."""
        lines = self.header.rstrip("\n").splitlines()
        last = next((place for place, line in enumerate(reversed(lines)) if not IMPORT.match(line)), len(lines))
        lines, run = lines[: len(lines) - last], {*lines[len(lines) - last :], *imports}
        written_here = {f" import {name}" for name, source in self.blocks.items() if statements(source)}
        run = {line for line in run if not any(line.endswith(each) for each in written_here)}
        order = sorted(run, key=lambda line: (" solutions" in line, line.startswith("from"), line))
        return replace(self, header="\n".join([*lines, *([""] if run and lines[-1:] != [""] else []), *order]) + "\n")


@cache
def statements(source: str) -> int:
    """How many statements a text has; 0 for nothing but comments, and for what is no Python."""
    try:
        return len(ast.parse(source).body)
    except (SyntaxError, ValueError, RecursionError):
        return 0


@cache
def fault_in(part: str) -> str:
    """Where a text is no Python: "line 3: invalid syntax"; "" where it is."""
    try:
        compile(part, "mine.py", "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}" if error.lineno else str(error.msg)
    except (ValueError, RecursionError) as error:
        return one_line(error)
    return "it holds bytes that are no text" if "\ufffd" in part else ""


# Reading and writing ---------------------------------------------------------------------------------------------


def read(path: Path) -> tuple[Mine, str]:
    """What a file says, and what is wrong with it.

    For a part that is no Python stands the last version that was kept, and so for every answer that is not there then.
    """
    try:
        text = patiently(path.read_bytes).decode("utf-8-sig", "replace").replace("\r\n", "\n")
    except FileNotFoundError:
        return Mine(), ""
    mine = Mine.parse(text)
    wrong = next(filter(None, map(fault_in, [text, mine.header, *mine.blocks.values()])), "")
    if not text.strip() and any(shelf(path).glob("*-*.py")):
        mine, wrong = Mine(), "it is empty"
    if not wrong:
        return mine, ""
    intact = {name: source for name, source in mine.blocks.items() if not fault_in(source)}
    mine = Mine(HEADER if fault_in(mine.header) else mine.header, intact)
    for name in {each.stem.partition("-")[0] for each in shelf(path).glob("*-*.py")} - {*intact}:
        for last in versions(path, name)[-1:]:
            mine = mine.having(name, last.blocks[name], filter(IMPORT.match, last.header.splitlines()))
    return mine, wrong


def update(path: Path, exercises: Exercises, change: Callable[[Mine], Mine] = lambda mine: mine) -> Mine:
    """Change what a file says, with no other process between, and return it. What is replaced is shelved.

    A file that is no Python is set aside and told. Raises OSError where something can't be written.
    """
    with progress.alone(shelf(path) / path.name):
        mine, wrong = read(path)
        changed = change(mine)
        if wrong:
            aside = progress.aside_of(path)
            aside.write_bytes(path.read_bytes())
        for name, source in changed.blocks.items():
            if mine.blocks.get(name) != source:
                shelve(path, name, mine, exercises)
                shelve(path, name, changed, exercises)
        if wrong or changed != mine:
            write_whole(path, changed.text(exercises))
        if wrong:
            told = f"The file is kept as {aside.name}, and {path.name} goes on with the last version of each function."
            print(f"{path.name} is no Python, {wrong}. {told}")
    return changed


def shelf(path: Path) -> Path:
    """The folder of versions."""
    return path.with_name(".mine")


def shelved(path: Path, name: str) -> list[Path]:
    """The files of an answer's versions, oldest first."""
    return sorted(shelf(path).glob(f"{name}-*.py"), key=lambda each: int(each.stem.rpartition("-")[2]))


def versions(path: Path, name: str) -> list[Mine]:
    """The versions of an answer that are kept, oldest first, each a module by itself."""
    found = [version_in(each) for each in shelved(path, name)]
    return [each for each in found if each.blocks]


def version_in(file: Path) -> Mine:
    """The module in a file of the shelf, without a block where it is damaged."""
    mine, name = Mine.parse(file.read_bytes().decode("utf-8", "replace")), file.stem.rpartition("-")[0]
    return mine if not fault_in(mine.text({})) and statements(mine.blocks.get(name, "")) else Mine()


def shelve(path: Path, name: str, mine: Mine, exercises: Exercises) -> None:
    """Keep a version of an answer, unless it is the last one; of more than VERSIONS the first and the last ones."""
    source, there = mine.blocks.get(name, ""), shelved(path, name)
    if not statements(source) or source in [each.blocks[name] for each in versions(path, name)[-1:]]:
        return
    number = int(there[-1].stem.rpartition("-")[2]) + 1 if there else 1
    write_whole(shelf(path) / f"{name}-{number}.py", Mine(mine.header, {name: source}).text(exercises))
    for old in there[1 : 2 - VERSIONS]:
        old.unlink()


# An answer comes -------------------------------------------------------------------------------------------------


def keep(exercise: Exercise, answer: Callable, exercises: Exercises) -> str:
    """Keep a right answer, and say so; or say why it is not kept. "" where nothing is kept."""
    path = place()
    if path is None:
        return ""
    try:
        return kept(path, exercise, answer, exercises)
    except OSError as error:
        progress.tell_once(f"{path.name} could not be written ({error.strerror}); your functions are not kept.")
        return ""
    except Exception as failure:
        return f"Not kept in {path.name} ({one_line(failure)})."


def kept(path: Path, exercise: Exercise, answer: Callable, exercises: Exercises) -> str:
    """Write an answer into the file, if it is right there too; says what became of it."""
    name, source = exercise.name, source_of(answer, exercise.name)
    if source is None:
        return f"Not kept in {path.name}: its source is not at hand as `def {name}(...)`."
    imports, foreign = needs(source, written(answer).__globals__, exercises)
    if foreign:
        put = "put that inside" if len(foreign) == 1 else "put them inside"
        return f"Not kept in {path.name}: it uses {listed(foreign)} from your notebook; {put}."
    mine = update(path, exercises)
    before, known, alone = mine.blocks.get(name, ""), [each.blocks[name] for each in versions(path, name)], source
    source = "\n\n\n".join([alone, *others(before, name)])
    if before != source:
        edited = bool(statements(before)) and before not in known  # in the file, by hand
        if edited and (alone in known or source in known) and not refused(mine, exercise, exercises):
            return f"The version that you edited in {path.name} is right too, and stays there."
        if refused(mine.having(name, source, imports), exercise, exercises):
            source = alone
        new = mine.having(name, source, imports)
        if clash := [each for each in sorted(free_names(source)) if bound(new.header).get(each, 1) > 1]:
            return f"Not kept in {path.name}: {listed(clash)} is imported there as something else."
        if why := refused(new, exercise, exercises):
            return f"Not kept in {path.name}: there it is not right. {why}"
        mine = update(path, exercises, lambda mine: mine.having(name, source, imports))
        note(path, name, fingerprint(mine, name, exercises))
    return f"Kept in {path.name} ({in_lines(alone)}), {len(mine.live(exercises))} of {len(exercises)}."


def first_and_latest(name: str, exercises: Exercises) -> dict[str, str]:
    """The first version of an answer and the one of the file, each under its label; {} unless there are two.

    A label says when the version was kept, and its lines: "version 1, Tuesday, 12 lines".
    """
    path = place()
    if path is None:
        return {}
    try:
        latest = read(path)[0].blocks.get(name, "")
        file = next((each for each in shelved(path, name) if version_in(each).blocks), None)
        if file is None or not statements(latest) or (first := version_in(file).blocks[name]) == latest:
            return {}
        when = f"version {file.stem.rpartition('-')[2]}, {day(file.stat().st_mtime)}"
    except OSError:
        return {}
    return {f"{when}, {in_lines(first)}": first, f"{path.name} now, {in_lines(latest)}": latest}


def stays(exercise: Exercise) -> str:
    """What is said of an earlier right answer when one comes that is not right; "" where there is none."""
    path = place()
    try:
        if path is None or not statements(read(path)[0].blocks.get(exercise.name, "")):
            return ""
        last = [each.stat().st_mtime for each in shelved(path, exercise.name)[-1:]]
    except OSError:
        return ""
    return f"Your version{f' of {day(last[0])}' if last else ''} stays in {path.name}."


def day(then: float) -> str:
    """The day of a time: "today", "Tuesday", "24 November 2026"."""
    when = datetime.fromtimestamp(then)
    days = (date.today() - when.date()).days
    return "today" if days < 1 else f"{when:%A}" if days < 7 else f"{when.day} {when:%B %Y}"


def listed(names: list[str]) -> str:
    *others, last = [f"`{name}`" for name in names]
    return f"{', '.join(others)} and {last}" if others else last


def source_of(answer: Callable, name: str) -> str | None:
    """The source of a function as it was written, decorators too; None unless it is one `def` of that name."""
    try:
        source = textwrap.dedent(inspect.getsource(written(answer))).strip("\n")
        body = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    return source if len(body) == 1 and isinstance(body[0], ast.FunctionDef) and body[0].name == name else None


def others(block: str, name: str) -> list[str]:
    """What a reader has written into a block beside the function of its name: helpers, which other blocks may call."""
    lines, found = block.splitlines(), []
    for node in ast.parse(block).body:
        if getattr(node, "name", "") != name:
            first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
            found.append("\n".join(lines[first - 1 : node.end_lineno]))
    return found


def in_lines(source: str) -> str:
    """ "5 lines": those of its functions' bodies that hold code, no docstring, no blank line, no comment alone."""
    lines, count = source.splitlines(), 0
    for function in ast.parse(source).body:
        if isinstance(function, ast.FunctionDef):
            first = function.body[ast.get_docstring(function) is not None :][:1]
            begins = first[0].lineno - 1 if first else function.end_lineno
            count += sum(1 for line in lines[begins : function.end_lineno] if line.strip() and line.strip()[0] != "#")
    return f"{count} line{'' if count == 1 else 's'}"


@cache
def free_names(source: str) -> frozenset[str]:
    """The names that a text takes from around it, in all its functions."""
    outermost = symtable.symtable(source, "mine", "exec")
    tables, found = [outermost], set()
    while tables:
        table = tables.pop()
        tables += table.get_children()
        found |= {each.get_name() for each in table.get_symbols() if each.is_global() and each.is_referenced()}
        found |= {each.get_name() for each in table.get_symbols() if each.is_declared_global()}
    own = {each.get_name() for each in outermost.get_symbols() if each.is_assigned() or each.is_imported()}
    return frozenset(found - own)


def needs(source: str, notebook: dict, exercises: Exercises) -> tuple[list[str], list[str]]:
    """What a function takes from its notebook: the import lines for it, and the names that no import gives.

    Another exercise's function is the one of the file, or else the course's.
    """
    lines: list[str] = []
    foreign: list[str] = []
    for name in sorted(free_names(source)):
        if name in exercises:
            lines.append(course_line(exercises[name]))
        elif name in notebook:
            line = import_line(name, notebook[name])
            (foreign if line is None else lines).append(line or name)
    return lines, foreign


def course_line(exercise: Exercise) -> str:
    return f"from {written(exercise.reference).__module__} import {exercise.name}"


def import_line(name: str, value: Any) -> str | None:
    """The line that gives a value this name in another module; None where nothing but the notebook has it."""
    if name in ("tl", "triton") and getattr(sys.modules.get("solutions.interpreter"), name, None) is value:
        return f"from solutions.interpreter import {name}"  # also where there is no Triton
    if isinstance(value, ModuleType):
        home, _, leaf = value.__name__.rpartition(".")
        if home and leaf == name:
            return f"from {home} import {name}"
        return None if leaf == "__main__" else f"import {value.__name__}{'' if leaf == name else f' as {name}'}"
    own = [] if isinstance(value, PLAIN) else [str(getattr(value, "__module__", ""))]
    for home in [*own, *sorted(each for each in sys.modules if each.startswith("solutions.")), "math", "torch"]:
        for known in (name, str(getattr(value, "__name__", name))):
            if home != "__main__" and home in sys.modules and vars(sys.modules[home]).get(known, NOTHING) is value:
                return f"from {home} import {known}{'' if known == name else f' as {name}'}"
    return None


def bound(header: str) -> dict[str, int]:
    """How many different things each name of a header stands for."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(header)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for each in node.names:
                home, thing = getattr(node, "module", ""), each.name if each.asname else each.name.partition(".")[0]
                found.setdefault(each.asname or thing, set()).add(f"{home}.{thing}")
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.setdefault(node.id, set()).add("here")
    return {name: len(things) for name, things in found.items()}


# The functions are used ------------------------------------------------------------------------------------------


def own(name: str, exercises: Exercises) -> Callable | None:
    """The reader's function of a name, right by this version of the course; None where there is none.

    It is judged, and those of the file that it calls, once for each version of it and of the course. What is refused is
    commented out in the file and told.
    """
    path = place()
    if path is None:
        return None
    try:
        mine, wrong = read(path)
    except OSError as error:
        progress.tell_once(f"{path.name} could not be read ({error.strerror}); the course's functions stand in.")
        return None
    try:
        mine = update(path, exercises) if wrong else mine
    except OSError as error:
        progress.tell_once(f"{path.name} is no Python, {wrong}, and could not be set aside ({error.strerror}).")
    while name in mine.live(exercises):
        exercise, why = first_refused(path, mine, name, exercises)
        if exercise is None:
            names, broken = load(mine, exercises)
            return None if name in broken else names[name]  # what can't be judged on this system, it may not run
        print(f"{path.name}: your {exercise.name} is no longer right. {why} It is commented out, and ours stands in.")
        left_out = partial(without, exercise=exercise, why=why, judged=mine.blocks[exercise.name])
        try:
            mine = update(path, exercises, left_out)
        except OSError:
            mine = left_out(mine)
    return None


def without(mine: Mine, exercise: Exercise, why: str, judged: str) -> Mine:
    """The file without a block, if it is still the one that was judged."""
    return mine.without(exercise, why) if mine.blocks.get(exercise.name) == judged else mine


def first_refused(path: Path, mine: Mine, name: str, exercises: Exercises) -> tuple[Exercise | None, str]:
    """Of a function and those of the file that it calls the first that is not right, and why."""
    known = remembered(path)
    for each in needed(mine, name, exercises):
        key = fingerprint(mine, each, exercises)
        if not exercises[each].unjudged and known.get(each) != key:
            if why := refused(mine, exercises[each], exercises):
                return exercises[each], why
            note(path, each, key)
    return None, ""


def needed(mine: Mine, name: str, exercises: Exercises) -> list[str]:
    """A function of the file and those of the file that it calls, in the course's order."""
    live, found, waiting = mine.live(exercises), set(), {name}
    while waiting:
        found |= waiting
        waiting = {each for one in waiting for each in free_names(mine.blocks[one]) if each in live} - found
    return [each for each in live if each in found]


def refused(mine: Mine, exercise: Exercise, exercises: Exercises) -> str:
    """Why a function of the file is not right, in a sentence; "" where it is. The verdict is the exercise's own."""
    key = fingerprint(mine, exercise.name, exercises)
    if key not in _judged:
        names, broken = load(mine, exercises)
        if exercise.name in broken:
            return broken[exercise.name]
        verdict = exercise.verdict(names[exercise.name])
        told = verdict.message.removeprefix("not yet. ").partition(" Taught under '")[0]
        _judged[key] = "" if verdict.ok else told
    return _judged[key]


@cache
def version() -> str:
    """A digest of the course's functions and checkers."""
    parts = [each.read_bytes() for each in sorted(OURS.rglob("*.py"))]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def fingerprint(mine: Mine, name: str, exercises: Exercises) -> str:
    """Of all that a verdict on a function of the file depends on."""
    own = [line for line in mine.header.splitlines() if not IMPORT.match(line)]
    parts = [version(), *own, *(mine.blocks[each] for each in needed(mine, name, exercises))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def remembered(path: Path) -> dict[str, str]:
    """By exercise, the fingerprint of what was right."""
    try:
        told = json.loads((shelf(path) / "judged.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def note(path: Path, name: str, key: str) -> None:
    """Remember that a block is right. What can't be written is judged again."""
    try:
        told = remembered(path) | {name: key}
        write_whole(shelf(path) / "judged.json", json.dumps(told, indent=1, sort_keys=True) + "\n")
    except OSError:
        pass


_loaded: dict[str, tuple[dict[str, Any], dict[str, str]]] = {}


def load(mine: Mine, exercises: Exercises) -> tuple[dict[str, Any], dict[str, str]]:
    """The names that the module has, and by exercise why a block could not be run. Where it has none, ours stands in.

    Part by part, so that one that fails leaves the others; under a file name of this very text, since a function's
    source is looked up whenever a kernel is launched.
    """
    text = mine.text(exercises)
    file = f"<mine.py {hashlib.sha256(text.encode()).hexdigest()[:8]}>"
    if file not in _loaded:
        linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
        names: dict[str, Any] = {"__name__": "solutions.mine"}
        names |= {name: exercise.reference for name, exercise in exercises.items()}
        broken, line = {}, 0
        for name, part in mine.parts(exercises):
            for statement in ast.parse(part).body:
                code = compile(ast.Module([ast.increment_lineno(statement, line)], []), file, "exec")
                why = run_part(code, names)
                if why and name:
                    broken[name] = f"It stops with {why}."
                elif why:
                    at = text.splitlines()[statement.lineno - 1]
                    progress.tell_once(f"mine.py, line {statement.lineno}, `{at}`, stops with {why}.")
            if name in exercises and statements(part) and name not in broken:
                code_here = code_of(names[name])
                if code_here is None or code_here.co_filename != file:
                    broken[name] = f"It defines no function {name}."
            line += part.count("\n") + BETWEEN.count("\n")
        for name in broken:
            if name in exercises:
                names[name] = exercises[name].reference
        _loaded[file] = names, broken
    return _loaded[file]


def run_part(code, names: dict) -> str:
    """Run a statement of the file; returns how it failed, in words."""
    try:
        within(TIME_LIMIT, partial(exec, code, names))
    except TimeUp:
        return "no end"
    except (Exception, SystemExit) as error:
        return one_line(error)
    return ""
