"""Write the course for a class that is graded with nbgrader.

Run as `course.py release [--out work/class] [--exercises-only] [NAME ...]`. The folder that it writes is an nbgrader
course: `source/` with the solved notebooks, in which each exercise is an answer cell and the cell that checks it is
locked and gives points; `release/`, the students' version, which nbgrader makes from it; nbgrader's settings; and a
README with the commands that follow. Points are the exercise's difficulty.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLASS = ROOT / "book" / "teaching" / "class"
sys.path[:0] = [str(ROOT / "book")]

import press  # noqa: E402
from nbformat import NotebookNode  # noqa: E402
from nbformat.v4 import new_markdown_cell, new_notebook  # noqa: E402
from press import PressError, lesson  # noqa: E402

from solutions.whole import write_whole  # noqa: E402

NOTICE = """\
Write each answer where the dots are, run its cell, then run the locked cell below it: it says what is right, or what
your answer computes instead, and goes on either way. What it says is what the grader will say. Answers are to be your
own: an answer that imports or calls the course's solution earns nothing. Don't delete cells, and restart and run all
before you hand in.
"""


def answer_cell(blank: NotebookNode, solved: NotebookNode, name: str) -> NotebookNode:
    """The solved exercise, with the marks between which nbgrader puts the dots back."""
    given, ours = blank.source.splitlines(), solved.source.splitlines()
    if len(given) == len(ours):  # dots for each line that is to be written
        pairs = zip(given, ours, strict=True)
        lines = [each for dots, line in pairs for each in ([line] if dots == line else marked([line]))]
    else:
        lines = [*given[:-1], *marked(ours[len(given) - 1 :])]
    cell = blank.copy()
    cell.source = "\n".join(lines)
    cell.metadata = metadata(name, solution=True)
    return cell


def marked(lines: list[str]) -> list[str]:
    indent = re.match(" *", lines[0])[0]
    return [f"{indent}### BEGIN SOLUTION", *lines, f"{indent}### END SOLUTION"]


def test_cell(check: NotebookNode, name: str, points: int) -> NotebookNode:
    """The locked cell that judges. It imports each time, so that no name of the student's stands in its way."""
    cell = check.copy()
    cell.source = f'from grading import grade\n\ngrade("{name}", globals())  # {counted(points)}'
    cell.metadata = metadata(f"test_{name}", points=points)
    return cell


def metadata(grade_id: str, solution: bool = False, points: int | None = None) -> NotebookNode:
    """What nbgrader reads in a cell, of its schema 3."""
    graded = points is not None
    marks = {"schema_version": 3, "grade_id": grade_id, "solution": solution, "grade": graded, "locked": graded}
    marks |= {"task": False, "cell_type": "code"} | ({"points": points} if graded else {})
    return NotebookNode(nbgrader=NotebookNode(marks))


def assignment(text: Path, exercises_only: bool = False) -> NotebookNode:
    """The source notebook of one lesson: whole, or its imports and exercises alone."""
    from solutions.checks import EXERCISES

    cells, imports, name = [], True, None
    pairs = zip(press.printed(text, "student").cells, press.printed(text, "solved").cells, strict=True)
    for blank, solved in pairs:
        tags = blank.metadata.get("tags", [])
        if "exercise" in tags:
            name = re.search(r"^def (\w+)", blank.source, re.MULTILINE)[1]
            cells.append(answer_cell(blank, solved, name))
        elif "check" in tags:
            cells.append(test_cell(blank, name, EXERCISES[name].difficulty))
        elif exercises_only and blank.cell_type == "markdown":
            if (start := press.HEADING.search(blank.source)) is not None:
                cells.append(new_markdown_cell(blank.source[start.start() :], id=blank.id))
        elif not exercises_only or imports or "source" in tags:
            cells.append(blank)
        if blank.cell_type == "code":
            imports = False
    opening = f"# {lesson(text.stem).heading}: the exercises\n\n{NOTICE}" if exercises_only else NOTICE
    cells.insert(0, new_markdown_cell(opening, id="notice"))
    return new_notebook(cells=cells, metadata=press.METADATA)


def points(notebook: NotebookNode) -> dict[str, int]:
    """Points of each graded cell, by the name of its exercise."""
    marks = [cell.metadata.nbgrader for cell in notebook.cells if "nbgrader" in cell.metadata]
    return {mark.grade_id.removeprefix("test_"): mark.points for mark in marks if mark.grade}


def counted(points: int) -> str:
    return f"{points} point{'s' if points != 1 else ''}"


def write_source(folder: Path, name: str, notebook: NotebookNode) -> None:
    """Write `source/NN_name/`: the notebook, and the file that its locked cells import."""
    source = folder / "source" / name
    press.write(notebook, source / f"{name}.ipynb")
    shutil.copy(CLASS / "grading.py", source)


def write_settings(folder: Path) -> None:
    """nbgrader's settings, unless a teacher's are there, and the README."""
    if not (folder / "nbgrader_config.py").exists():
        shutil.copy(CLASS / "nbgrader_config.py", folder)
    readme = (CLASS / "README.md").read_text(encoding="utf-8")
    write_whole(folder / "README.md", readme.replace("PYTHON", sys.executable))


def nbgrader(folder: Path, *arguments: str) -> None:
    """Run nbgrader in a class's folder, without its chatter. Raises PressError with its log when it fails."""
    command = [sys.executable, "-m", "nbgrader", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise PressError(f"nbgrader {arguments[0]} failed:\n{done.stdout}{done.stderr}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="course.py release", description="Write the course for a graded class.")
    parser.add_argument("lessons", nargs="*", metavar="NAME", help="lessons to release (all when none is named)")
    parser.add_argument("--out", type=Path, default=ROOT / "work" / "class", help="folder (default: work/class)")
    parser.add_argument("--exercises-only", action="store_true", help="imports and exercises, without the lesson")
    options = parser.parse_args(argv)
    folder = options.out.resolve()
    try:
        texts = press.lessons(options.lessons)
        folder.mkdir(parents=True, exist_ok=True)
        write_settings(folder)
        for text in texts:
            notebook = assignment(text, options.exercises_only)
            given = points(notebook)
            if given:
                name = lesson(text.stem).stem
                write_source(folder, name, notebook)
                nbgrader(folder, "generate_assignment", name, "--force")
                print(f"release/{name}: {len(given)} graded, {counted(sum(given.values()))}", flush=True)
    except PressError as error:
        print(f"course.py release: {error}", file=sys.stderr)
        return 1
    print(f"The class is in {folder}; README.md there says how to grade it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
