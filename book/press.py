"""Print the notebooks of the course from its text.

`book/lessons/name.md` is the text, a MyST-Markdown notebook; which lessons there are, in which order, and what each is
called stands in `solutions/lessons.toml`. From them come

- `lessons/NN_name.ipynb`, which a learner opens: exercises blank, outputs stored;
- `solutions/NN_name.ipynb`, the same with every exercise solved;
- on demand, the site's variant: stubs as text, and what wrong answers are told; solutions in closed boxes, widgets
  alive without a kernel.

The press writes the title and the headings of exercises, says under each heading on which tracks it lies and how long
it takes (`solutions/tracks.py`), and puts numbers and links where the text has names (`solutions/references.py`); it
refuses a heading that is typed. `README.md` is printed from `book/readme.md` so too.

Marks are expanded. A code cell tagged `exercise` holds a dotted name (`solutions.quadratic.softmax`) and becomes
signature, docstring and a blank (`solutions/blanks.py`), or the full source, followed by the cell that checks it. A
code cell tagged `source` becomes the full source everywhere. A cell tagged `nbval-ignore-output` prints something that
differs from run to run (a time): its stored output is a recording, kept until its source changes or `--remeasure` asks
for a new one.
The figure of the cell tagged `picture` also becomes `book/pictures/name.png`, for the README. A cell tagged `drawing`
holds the name of a drawing (`widgets/drawings`), and becomes the cell that shows it. A cell tagged `figures` is seen
by nobody: where it stands, its dict of named numbers goes to `book/figures/name.json`, for the page of what we
measured. A cell that asks for a prediction starts folded, since it holds the answer; so does a cell tagged `imports`.

The same text gives the same bytes: ids come from a cell's source, so that one more cell renames no other, counts run
1..n from a clean kernel, and nothing of the machine is stored. Where only prose changed nothing is executed: the stored
outputs stand.
"""

from __future__ import annotations

import argparse
import ast
import base64
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import solutions.no_grammar  # noqa: E402, F401, I001  before nbformat

import jupytext  # noqa: E402
import nbformat  # noqa: E402
from nbclient import NotebookClient  # noqa: E402
from nbclient.exceptions import CellExecutionError  # noqa: E402
from nbformat import NotebookNode  # noqa: E402
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook  # noqa: E402

import course_map  # noqa: E402
import terms  # noqa: E402

from solutions import references, tracks  # noqa: E402
from solutions.blanks import blank  # noqa: E402
from solutions.lessons import Lesson, chosen, lesson  # noqa: E402
from solutions.lessons import lessons as rows  # noqa: E402
from solutions.pictures import picture_of  # noqa: E402
from solutions.references import WORDS, Leads  # noqa: E402
from solutions.whole import write_whole  # noqa: E402

TEXT = ROOT / "book" / "lessons"
PICTURES = ROOT / "book" / "pictures"
FIGURES = ROOT / "book" / "figures"
DRAWINGS = ROOT / "widgets" / "drawings" / "printed"
VARIANTS = {"student": ROOT / "lessons", "solved": ROOT / "solutions"}
TOLD = ROOT / "book" / "_build" / "told"  # what wrong answers are told, as the checkers said it last
RECORDS = ROOT / "book" / "_build" / "printed.json"
PAGES = ROOT / "book" / "_build" / "lessons"  # what the site was made of, kept for the next time
STATES = ROOT / "book" / "_build" / "states"  # what runs left of instruments: COURSE_STATES names a folder in it
WORKERS = 2
CELL_SECONDS = 300

HEADING = re.compile(r"^### Exercise (\d+\.\d+)", re.MULTILINE)
FOLDED = re.compile(r"#+ [^\n]*\n\n\*Further, ")
TYPED = re.compile(r"# |### Exercise\b")  # a heading that is the press's to write
README = Leads(lesson="lessons/{}.ipynb", teaching="book/teaching/{}.md")
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class PressError(Exception):
    """What is wrong with the text, in one sentence."""


# --- the text, and the code it names ---


def lessons(words: list[str] | None = None) -> list[Path]:
    """Paths of the lessons' texts in order; `words` such as "infini" or "05" select. PressError for an unknown one."""
    try:
        return [TEXT / f"{row.name}.md" for row in (map(chosen, words) if words else rows())]
    except ValueError as error:
        raise PressError(str(error)) from None


def leads(row: Lesson, variant: str) -> Leads:
    """Where a lesson's references lead: to notebooks beside it; on the site to pages and places in them as well."""
    if variant != "site":
        return Leads(lesson="{}.ipynb", here=row.name)
    beside = {"question": "#q-{}", "teaching": "../teaching/{}.md", "questions": "../interview/{}.md"}
    return Leads(lesson="{}.ipynb", exercise="#exercise-{}", here=row.name, **beside)


def resolved(path: Path, row: Lesson, variant: str) -> str:
    """A text with its references resolved. Raises PressError, with the line, for a broken one, or a typed heading."""
    if not path.exists():
        raise PressError(f"the lesson {row.name} has no text: {path.name} is missing")
    text = path.read_text(encoding="utf-8")
    for number, line in enumerate(references.without_code(text).splitlines(), start=1):
        if TYPED.match(line):
            raise PressError(
                f"{path.name}:{number}: the press writes this heading, from the table or a checker: {line}"
            )
    try:
        references.resolve(text, WORDS, path.name)  # with the numbers of its own lines
        return references.resolve(tracks.written(text, row.name), leads(row, variant), path.name)
    except references.BrokenReference as error:
        raise PressError(str(error)) from None


def mechanism(dotted: str) -> tuple[str, ast.FunctionDef | ast.ClassDef]:
    """Source, without decorators, and syntax tree of a top-level function or class (`solutions.quadratic.softmax`)."""
    module, _, name = dotted.strip().rpartition(".")
    path = ROOT / (module.replace(".", "/") + ".py")
    if not path.exists():
        raise PressError(f"the mark {dotted!r} names no module: {path.relative_to(ROOT)} does not exist")
    text = path.read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno]), node
    raise PressError(f"the mark {dotted!r} names nothing: {path.relative_to(ROOT)} has no top-level {name}")


def decorated(source: str, node: ast.FunctionDef | ast.ClassDef) -> str:
    """`source` under `@triton.jit` where it is a kernel: the one decorator that a reader writes too."""
    return "@triton.jit\n" + source if "triton.jit" in map(ast.unparse, node.decorator_list) else source


def stub(dotted: str) -> str:
    """What an exercise's cell begins with: signature and docstring, and a blank where a reader writes."""
    source, node = mechanism(dotted)
    if not isinstance(node, ast.FunctionDef) or ast.get_docstring(node) is None:
        raise PressError(f"an exercise needs a function with a docstring, and {dotted!r} is not one")
    docstring = node.body[0]
    assert docstring.end_lineno is not None  # ast.parse says where everything ends
    lines, begins = source.splitlines(), docstring.end_lineno - node.lineno + 1
    return decorated(blank(lines[:begins], lines[begins:]), node)


@cache
def told() -> dict[str, dict[str, str]]:
    """Of every exercise that can be judged here two mistakes, each with what `check` says of it. Takes a minute.

    A lesson's are asked again where what its checkers import has changed.
    """

    def ask(row: Lesson) -> dict[str, dict[str, str]]:
        from solutions.checks import EXERCISES

        judged = [each for each in EXERCISES.values() if each.lesson == row.name and not each.unjudged]
        return {
            each.name: {one: f"{each.name}: {each.verdict(each.mistakes[one]).message}" for one in each.typical(2)}
            for each in judged
        }

    said: dict[str, dict[str, str]] = {}
    for row in (each for each in rows() if each.checks):
        files = references.reached(*(f"solutions/checks/{name}.py" for name in row.checks))
        said |= references.asked_once(TOLD / f"{row.name}.json", partial(ask, row), *files)
    return said


def refusals(name: str, row: Lesson) -> str:
    """Under a blank that nobody can fill in on a page: what wrong answers are told, and where to write one."""
    boxes = []
    for mistake, words in told().get(name, {}).items():
        summary = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(f"If {mistake}", quote=False))
        boxes.append(f"<details><summary>{summary}</summary>\n\n```text\n{words}\n```\n\n</details>")
    opens = f"Write yours in the lab: `python3 course.py lab`, then `{row.stem}.ipynb`."
    return "\n\n".join(['<div class="told" lang="en">', *boxes, opens, "</div>"])


def code_cell(source: str, tags: list[str], **metadata) -> NotebookNode:
    return new_code_cell(source, metadata={"tags": tags, **metadata} if tags or metadata else {})


def drawing(name: str, path: Path, variant: str) -> NotebookNode:
    """The cell that shows a drawing; nobody has to look at its code."""
    if not (DRAWINGS / f"{name}.svg").exists():
        raise PressError(f"{path.name}: there is no drawing {name!r}; `python -m widgets.drawings` draws what there is")
    source = f'from widgets.drawings import show\n\nshow("{name}")'
    return code_cell(source, ["drawing"] + ["remove-input"] * (variant == "site"), jupyter={"source_hidden": True})


def printed(path: Path, variant: str, figures: bool = False) -> NotebookNode:
    """The notebook that a text prints, not executed. `variant` is "student", "solved" or "site".

    figures: with the cells that name figures, for `take_figures` to take out again
    """
    row = lesson(path.stem)
    cells, number = [new_markdown_cell(f"# {row.heading}")], None
    for cell in jupytext.reads(resolved(path, row, variant), fmt="md:myst").cells:
        tags = cell.metadata.get("tags", [])
        if "figures" in tags:
            if figures:
                cells.append(code_cell(f"print(__import__('json').dumps({cell.source}, default=float))", tags))
        elif cell.cell_type == "markdown":
            number = (HEADING.findall(cell.source) or [number])[-1]
            if len(cells) == 1:
                cells[0].source += f"\n\n{cell.source}"
            else:
                # a fold: JupyterLab hides what comes under its heading
                closed = {"jp-MarkdownHeadingCollapsed": True} if FOLDED.match(cell.source) else {}
                cells.append(new_markdown_cell(cell.source, metadata=closed))
        elif "exercise" in tags:
            name = cell.source.strip().rpartition(".")[2]
            solution, blank = decorated(*mechanism(cell.source)), stub(cell.source)
            if number is None or number != references.numbers("exercise").get(name):
                raise PressError(f"{path.name}: the exercise {name} has no heading '### {{exercise}}`{name}`' above it")
            if variant == "student":
                cells.append(code_cell(blank, ["exercise"]))
            elif variant == "solved":
                cells.append(code_cell(solution, ["exercise"]))
            else:
                cells.append(new_markdown_cell(f"```python\n{blank}\n```"))
                cells.append(new_markdown_cell(refusals(name, row)))
                box = {"code_prompt_show": f"Solution {number}", "code_prompt_hide": f"Solution {number}"}
                cells.append(code_cell(solution, ["exercise", "hide-input"], mystnb=box))
            # on a page nobody has answered, so nothing is right
            cells.append(code_cell(f"{name} = check({name})", ["check"] + ["remove-cell"] * (variant == "site")))
            number = None
        elif "drawing" in tags:
            cells.append(drawing(cell.source.strip(), path, variant))
        elif "source" in tags:
            cells.append(code_cell(decorated(*mechanism(cell.source)), tags))
        elif "imports" in tags:
            box = {"code_prompt_show": "Imports", "code_prompt_hide": "Imports"}
            if variant == "site":
                cells.append(code_cell(cell.source, [*tags, "hide-input"], mystnb=box))
            else:
                cells.append(code_cell(cell.source, tags, jupyter={"source_hidden": True}))
        elif cell.source.startswith("predict("):
            # what holds the answer starts folded in JupyterLab
            cells.append(code_cell(cell.source, tags, jupyter={"source_hidden": True}))
        elif cell.source.strip():
            cells.append(code_cell(cell.source, tags))
    if variant == "site":
        terms.linked(cells)
    for cell, name in zip(cells, ids(cells), strict=True):
        cell["id"] = name
    return new_notebook(cells=cells, metadata=METADATA)


def ids(cells: list[NotebookNode]) -> list[str]:
    """A name for each cell, from its source; equal cells are numbered."""
    seen: Counter[str] = Counter()
    names = []
    for cell in cells:
        source = f"{cell.cell_type} {cell.source}"
        names.append(hashlib.sha256(f"{source} {seen[source]}".encode()).hexdigest()[:8])
        seen[source] += 1
    return names


# --- execution ---


def execute(notebook: NotebookNode, *, static: bool = False) -> NotebookNode:
    """Run a notebook on a clean kernel and return it with its outputs.

    `static` adds to each widget what keeps it alive on a page without a kernel.

    Raises PressError with the failing cell's own words.
    """
    environment = os.environ | {"COURSE_PROGRESS": "off", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    environment.pop("COURSE_STATIC", None)
    environment.pop("COURSE_STRICT", None)
    if static:
        environment["COURSE_STATIC"] = "1"
        environment.pop("COURSE_STATES", None)
    notebook = nbformat.from_dict(notebook)
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        quiet = ["--log-level=ERROR"]  # a kernel on this machine's own sockets warns that they are not encrypted
        client = NotebookClient(notebook, timeout=CELL_SECONDS, resources=place, extra_arguments=quiet)
        try:
            client.execute(env=environment)
        except CellExecutionError as error:
            words = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
            raise PressError(f"a cell failed:\n{words}") from None
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            # the id of a widget's model is new in every kernel; what stays is its text twin and its picture
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def is_recording(cell: NotebookNode) -> bool:
    return "nbval-ignore-output" in tags(cell)


def keep_recordings(fresh: NotebookNode, stored: NotebookNode | None) -> NotebookNode:
    """Give each recording of `fresh` the outputs that `stored` holds for a cell of the same source."""
    if stored is not None:
        known = {cell.source: cell for cell in stored.cells if cell.cell_type == "code" and cell.get("outputs")}
        for cell in fresh.cells:
            if cell.cell_type == "code" and is_recording(cell) and cell.source in known:
                cell.outputs = known[cell.source].outputs
    return fresh


def join_streams(notebook: NotebookNode) -> NotebookNode:
    """A kernel sends what a cell prints in pieces, cut as the clock has it; what is stored is one piece."""
    for cell in notebook.cells:
        joined: list[NotebookNode] = []
        for output in cell.get("outputs", []):
            before = joined[-1] if joined else NotebookNode()
            if output.output_type == before.get("output_type") == "stream" and output.name == before.name:
                before.text += output.text
            else:
                joined.append(output)
        if cell.cell_type == "code":
            cell.outputs = joined
    return notebook


def pictures_for_page(notebook: NotebookNode) -> NotebookNode:
    """On the site a drawing is its SVG, which follows the page, and a figure a file with its alternative text."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if (there := picture_of(output.get("data", {}))) is None:
                continue
            if "drawing" in tags(cell):
                name = cell.source.split('"')[1]
                output.data["text/html"] = (DRAWINGS / f"{name}.svg").read_text(encoding="utf-8")
            else:
                del output.data["text/html"]
                output.data["image/png"] = there.png
                mystnb = cell.metadata.get("mystnb", {}) | {"image": {"alt": there.alt}}
                cell.metadata["mystnb"] = nbformat.from_dict(mystnb)
    return notebook


def read(path: Path) -> NotebookNode | None:
    return nbformat.read(path, as_version=4) if path.exists() else None


def write(notebook: NotebookNode, path: Path) -> None:
    """Write all or nothing."""
    nbformat.validate(notebook)
    write_whole(path, nbformat.writes(notebook) + "\n")


def picture(notebook: NotebookNode) -> bytes | None:
    """The PNG of the cell tagged `picture`."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []) if "picture" in tags(cell) else []:
            if there := picture_of(output.get("data", {})):
                return base64.b64decode(there.png)
    return None


def figures_of(text: Path) -> tuple[str, dict[str, float]]:
    """What is kept of a lesson's named figures: which cells were asked, and the figures; nothing at first."""
    path = FIGURES / f"{text.stem}.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return kept.get("cells", ""), kept.get("figures", {})


def asked_figures(text: Path) -> str:
    """Which cells of a text name figures; "" for none."""
    asked = [c.source for c in printed(text, "solved", figures=True).cells if "figures" in tags(c)]
    return hashlib.sha256("\n".join(asked).encode()).hexdigest()[:16] if asked else ""


def take_figures(text: Path, notebook: NotebookNode, remeasure: bool) -> None:
    """Take the cells that name figures out of an executed notebook, and keep what they hold.

    Of a recording what is kept already stays, unless it is measured anew.
    """
    stored: dict[str, float] = {} if remeasure else figures_of(text)[1]
    found: dict[str, float] = {}
    for cell in [each for each in notebook.cells if "figures" in tags(each)]:
        told = json.loads("".join(output.text for output in cell.outputs))
        found |= {name: stored.get(name, value) if is_recording(cell) else value for name, value in told.items()}
        notebook.cells.remove(cell)
    for place, cell in enumerate((each for each in notebook.cells if each.cell_type == "code"), start=1):
        cell.execution_count = place
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = place
    path = FIGURES / f"{text.stem}.json"
    if found:
        kept = {"cells": asked_figures(text), "figures": found}
        write_whole(path, json.dumps(kept, indent=1) + "\n")
    else:
        path.unlink(missing_ok=True)


# --- outputs that stand ---


def made_from() -> str:
    return references.made_from(ROOT)


def unchanged(path: Path) -> bool:
    """Whether a stored notebook was printed from the course as it is now.

    A record of what was printed here says so. Where there is none, as in a fresh clone, what was committed together
    belongs together, and git says whether anything is different.
    """
    record = records().get(str(path.relative_to(ROOT)))
    if record is not None or path.parent == PAGES:
        return record == made_from()
    command = ["git", "status", "--porcelain", "--", *references.INGREDIENTS, ":(exclude)*.ipynb"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return False
    return done.returncode == 0 and not done.stdout.strip()


def records() -> dict[str, str]:
    """Of the notebooks printed here, what they were made from."""
    return json.loads(RECORDS.read_text(encoding="utf-8")) if RECORDS.exists() else {}


def reused(notebook: NotebookNode, stored: NotebookNode | None) -> NotebookNode | None:
    """The notebook with the stored outputs, or None where its code is not what was executed."""
    if stored is None:
        return None
    there, here = ([cell for cell in each.cells if cell.cell_type == "code"] for each in (stored, notebook))
    if [(cell.source, tags(cell)) for cell in there] != [(cell.source, tags(cell)) for cell in here]:
        return None
    for old, new in zip(there, here, strict=True):
        new.outputs, new.execution_count = old.outputs, old.execution_count
        if image := old.metadata.get("mystnb", {}).get("image"):  # the words of a picture that became a file
            new.metadata["mystnb"] = new.metadata.get("mystnb", {}) | {"image": image}
    return notebook


def keep_name(path: Path) -> None:
    """A lesson whose number has changed since it was printed keeps its notebook, with the recordings in it."""
    for old in [] if path.exists() else path.parent.glob(f"[0-9][0-9]_{path.stem.partition('_')[2]}.ipynb"):
        os.replace(old, path)


def destined(text: Path, destination: Path) -> Path:
    """The notebook that a text is printed to: `destination/NN_name.ipynb`."""
    return destination / f"{lesson(text.stem).stem}.ipynb"


def reprint(text: Path, variant: str, destination: Path) -> Path | None:
    """Print anew what is not executed, around the outputs that are stored; None where they no longer stand."""
    path = destined(text, destination)
    keep_name(path)
    if variant == "solved" and figures_of(text)[0] != asked_figures(text):
        return None
    if not unchanged(path) or (notebook := reused(printed(text, variant), read(path))) is None:
        return None
    write(pictures_for_page(notebook) if variant == "site" else notebook, path)
    return path


def print_one(text: Path, variant: str, destination: Path, remeasure: bool = False, again: bool = False) -> Path:
    """Print one variant of one lesson to `destination/NN_name.ipynb` and return that path.

    remeasure: record anew what differs from run to run; again: execute even where the stored outputs stand
    """
    if not (remeasure or again) and (path := reprint(text, variant, destination)):
        return path
    path = destined(text, destination)
    stored = read(path)
    notebook = execute(printed(text, variant, figures=variant == "solved"), static=variant == "site")
    if variant == "solved":
        take_figures(text, notebook, remeasure)
    # the site shows the very recordings that the solved notebook stores
    recorded = read(VARIANTS["solved"] / path.name) if variant == "site" else stored
    notebook = join_streams(notebook if remeasure else keep_recordings(notebook, recorded))
    write(pictures_for_page(notebook) if variant == "site" else notebook, path)
    if variant == "solved" and (png := picture(notebook)) is not None:
        write_whole(PICTURES / f"{text.stem}.png", png)
    return path


def print_all(jobs: list[tuple[Path, str, Path]], remeasure: bool = False, again: bool = False) -> None:
    """Print (text, variant, destination) jobs: those of prose at once, others two at a time, measured anew one."""
    if not (remeasure or again):
        jobs = [job for job in jobs if not keep_record(of_text(job[0], job[1], reprint, *job))]
    if not jobs:
        return
    from concurrent.futures import ProcessPoolExecutor, as_completed

    from tqdm import tqdm

    # Ctrl-C goes to everybody: the workers leave it to the one who waits for them
    quiet = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(1 if remeasure else WORKERS, initializer=quiet) as pool:
        running = {pool.submit(print_one, *job, remeasure, again): job for job in jobs}
        bar = tqdm(as_completed(running), total=len(jobs), desc="printing", unit="notebook", disable=None)
        try:
            for done in bar:
                text, variant, _ = running[done]
                keep_record(of_text(text, variant, done.result))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def of_text(text: Path, variant: str, work: Callable, *arguments):
    """What a piece of work returns; what it finds wrong is said with the text's name."""
    try:
        return work(*arguments)
    except PressError as error:
        raise PressError(f"{text.name} ({variant}): {error}") from None


def keep_record(path: Path | None) -> Path | None:
    """Remember what a printed notebook was made from."""
    if path is not None and path.parent in (*VARIANTS.values(), PAGES):
        now = records() | {str(path.relative_to(ROOT)): made_from()}
        write_whole(RECORDS, json.dumps(now, indent=1, sort_keys=True))
    return path


def print_site(destination: Path, only: str | None = None, again: bool = False) -> None:
    """Print every lesson's site variant to `destination/lessons/`; executed where its code is new.

    only: a lesson's name; the others come with the outputs that are stored, without living instruments
    again: execute also where only prose has changed
    """
    texts = lessons()
    living = [text for text in texts if only in (None, text.stem)]
    print_all([(text, "site", PAGES) for text in living if again or not revived(text)], again=again)
    for text in texts:
        page = read(destined(text, PAGES)) if text in living else None
        write(page or borrowed(text), destined(text, Path(destination) / "lessons"))
    for old in STATES.glob("*"):  # of a course that is another now
        if old.name != made_from():
            shutil.rmtree(old)


def revived(text: Path) -> Path | None:
    """Print the site's notebook from what is stored and what a run, such as nbval's, left of its instruments.

    None, and nothing printed, where that is not all there.
    """
    from widgets.kit.base import TWIN, kept_state

    solved, path, folder = destined(text, VARIANTS["solved"]), destined(text, PAGES), STATES / made_from()
    if not folder.is_dir() or not unchanged(solved) or reused(printed(text, "solved"), read(solved)) is None:
        return None
    notebook = borrowed(text)
    for data in [output.data for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]:
        if data.get("text/html", "").startswith(TWIN):
            state = kept_state(folder, data["text/plain"])
            if state is None:
                return None
            data["text/html"] = state
    write(notebook, path)
    return keep_record(path)


def borrowed(text: Path) -> NotebookNode:
    """The site's notebook of a text, not executed: with the outputs that the solved notebook stores."""
    notebook, stored = printed(text, "site"), read(VARIANTS["solved"] / f"{lesson(text.stem).stem}.ipynb")
    known = {cell.source: cell for cell in (stored.cells if stored else []) if cell.cell_type == "code"}
    for cell in notebook.cells:
        if cell.source in known:
            cell.outputs, cell.execution_count = known[cell.source].outputs, known[cell.source].execution_count
    return pictures_for_page(notebook)


def beside() -> dict[Path, str]:
    """What shows the lessons to those who have not opened one yet: README.md, and its map."""
    text = ROOT / "book" / "readme.md"
    try:
        readme = references.resolve(text.read_text(encoding="utf-8"), README, text.name)
    except references.BrokenReference as error:
        raise PressError(str(error)) from None
    return {ROOT / "README.md": readme, course_map.PICTURE: course_map.svg()}


# --- the check ---


def essence(notebook: NotebookNode) -> list[dict]:
    """What `--check` compares: everything but the outputs, which are nbval's to compare."""
    keep = ("id", "cell_type", "source", "metadata")
    return [{key: cell.get(key) for key in keep} for cell in notebook.cells]


def differences(texts: list[Path]) -> list[str]:
    """One sentence for each printed notebook that is not what its text prints, naming the first cell that differs."""
    found = []
    for text in texts:
        for variant, folder in VARIANTS.items():
            path = destined(text, folder)
            name, stored = path.relative_to(ROOT), read(path)
            if stored is None:
                found.append(f"{name} is missing")
                continue
            wanted, there = essence(printed(text, variant)), essence(stored)
            for index, pair in enumerate(zip(wanted, there, strict=False)):
                if pair[0] != pair[1]:
                    line = first_line(pair[0]["source"])
                    found.append(f"{name} differs from its text first in cell {index + 1}: {line}")
                    break
            else:
                if len(wanted) != len(there):
                    found.append(f"{name} has {len(there)} cells and its text prints {len(wanted)}")
    if set(texts) == set(lessons()):
        stems = {lesson(text.stem).stem for text in texts}
        every = [path for folder in VARIANTS.values() for path in sorted(folder.glob("*.ipynb"))]
        found += [f"{path.relative_to(ROOT)} has no text" for path in every if path.stem not in stems]
        known = {text.name for text in texts}
        strays = [path for path in sorted(TEXT.glob("*.md")) if path.name not in known]
        found += [f"{path.relative_to(ROOT)} is no lesson of solutions/lessons.toml" for path in strays]
        for path, content in beside().items():
            if not path.exists() or path.read_text(encoding="utf-8") != content:
                found.append(f"{path.relative_to(ROOT)} differs from what the table and book/readme.md give")
    return found


def first_line(source: str) -> str:
    return repr(source.strip().splitlines()[0][:70]) if source.strip() else "(empty)"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="course.py build", description="Print the notebooks from the text.")
    parser.add_argument("lessons", nargs="*", metavar="NAME", help="lessons to print, by name or number (all)")
    parser.add_argument("--check", action="store_true", help="compare with what would be printed; executes nothing")
    parser.add_argument("--remeasure", action="store_true", help="record anew what differs from run to run")
    parser.add_argument("--again", action="store_true", help="execute also where only prose has changed")
    options = parser.parse_args(argv)
    try:
        texts = lessons(options.lessons)
        if options.check:
            found = differences(texts)
            print("\n".join(found) or f"{len(texts)} lessons: the notebooks are what the text prints")
            if found:
                print("Run `python3 course.py build` to print them.")
            return 1 if found else 0
        jobs = [(text, variant, folder) for text in texts for variant, folder in VARIANTS.items()]
        print_all(jobs, options.remeasure, options.again)
        for path, content in beside().items():
            write_whole(path, content)
    except PressError as error:
        print(f"course.py build: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
