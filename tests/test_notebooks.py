"""Guards of the printed notebooks: what nbval doesn't look at, and the proof that nbval can fail."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from solutions.checks import EXERCISES
from solutions.lessons import lessons
from solutions.pictures import picture_of

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book"))

import press  # noqa: E402

STUDENT = sorted((ROOT / "lessons").glob("*.ipynb"))
SOLVED = sorted((ROOT / "solutions").glob("*.ipynb"))
NOTEBOOKS = [*STUDENT, *SOLVED]
MACHINE = re.compile(r"/(?:home|Users|root|work|tmp)/\w|[A-Z]:\\\\Users|0x[0-9a-f]{6,}|site-packages")
MEGABYTES = 1.0
EXERCISED = [path for path in STUDENT if path.stem in {each.stem for each in lessons() if each.checks}]


def name(path):
    return f"{path.parent.name}/{path.name}"


@pytest.fixture(params=NOTEBOOKS, ids=name)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs_text(cell):
    for output in cell.outputs:
        yield output.get("text", "")
        said = (value for kind, value in output.get("data", {}).items() if kind.startswith("text/"))
        yield from (re.sub(r"base64,[\w+/=]+", "", value) for value in said)


def test_there_is_a_notebook_for_every_text():
    texts = {each.stem for each in lessons()}
    assert texts == {path.stem for path in STUDENT} == {path.stem for path in SOLVED}
    assert len(texts) >= 2


@pytest.mark.seconds
def test_the_notebooks_are_what_the_text_prints():
    assert press.differences(press.lessons()) == []


def test_every_cell_was_executed_in_order(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_what_prints_has_its_output_stored(notebook):
    for cell in code_cells(notebook):
        if re.search(r"\bprint\(|\bfigures\.show\(|^show\(|= check\(|^predict\(|^Ledger\(", cell.source, re.MULTILINE):
            if not cell.source.lstrip().startswith(("def ", "class ")):
                assert cell.outputs, cell.source


def test_no_error_and_no_trace_of_a_machine(notebook):
    for cell in code_cells(notebook):
        assert not [output for output in cell.outputs if output.output_type == "error"]
        for text in outputs_text(cell):
            assert "Traceback" not in text
            assert not MACHINE.search(text), MACHINE.search(text)


def test_every_figure_has_its_description_as_alternative_text_and_prints_it_nowhere(notebook):
    for cell in code_cells(notebook):
        said = "".join(output.get("text", "") for output in cell.outputs if output.output_type == "stream")
        for data in [output.get("data", {}) for output in cell.outputs]:
            assert not any(kind.startswith("image/") for kind in data), f"without words: {cell.source}"
            if there := picture_of(data):
                assert len(there.alt.split()) >= 8 and there.alt == "".join(data["text/plain"]), cell.source
                assert there.alt not in said, cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_notebook_stays_small(path):
    assert path.stat().st_size < MEGABYTES * 1e6


@pytest.mark.parametrize("path", EXERCISED, ids=name)
def test_no_line_of_a_solution_is_in_a_students_notebook(path):
    notebook = nbformat.read(path, as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells)
    stubs = [cell.source for cell in code_cells(notebook) if "exercise" in cell.metadata.get("tags", [])]
    solved = nbformat.read(ROOT / "solutions" / path.name, as_version=4)
    full = [cell.source for cell in code_cells(solved) if "exercise" in cell.metadata.get("tags", [])]
    assert len(stubs) == len(full) > 0
    for blank, solution in zip(stubs, full, strict=True):
        head = blank.splitlines()
        assert "your code here" in blank
        if len(new := [line for line in head if "your code here: " in line]):  # among lines of earlier exercises
            written = [line for line, dots in zip(solution.splitlines(), head, strict=True) if dots in new]
            assert written and not any(line.partition("  # new: ")[0] in head for line in written)
            continue
        body = [line for line in solution.splitlines() if line not in head and len(line.strip()) > 20]
        assert body or len(solution.splitlines()) == len(head)
        # whole functions may be built from lines that the prose shows; the body as a block may not appear
        assert "\n".join(solution.splitlines()[len(head) - 1 :]).strip() not in text


@pytest.mark.parametrize("path", EXERCISED, ids=name)
def test_a_blank_lesson_says_so_and_runs_on(path):
    notebook = nbformat.read(path, as_version=4)
    checks = [cell for cell in code_cells(notebook) if "check" in cell.metadata.get("tags", [])]
    assert checks
    for cell in checks:
        assert "not attempted yet" in "".join(outputs_text(cell))


OWN = {"check", "exercise", "nbval-ignore-output"}  # tags of cells whose outputs need not be the same


def said(path):
    """Of each cell that is the same in both notebooks: its source, and what it printed."""
    cells = code_cells(nbformat.read(path, as_version=4))
    same = (cell for cell in cells if not OWN & {*cell.metadata.get("tags", [])} and "progress(" not in cell.source)
    return [(cell.source, [*outputs_text(cell)]) for cell in same]


@pytest.mark.parametrize("path", STUDENT, ids=name)
def test_a_solved_lesson_prints_what_the_learners_does(path):
    """So nbval of the one judges both. What a check says of a blank and of a solution differs, and so may a time."""
    assert said(path) == said(ROOT / "solutions" / path.name)


@pytest.mark.parametrize("path", SOLVED, ids=name)
def test_a_solved_lesson_is_right_throughout(path):
    """Beside the answer that lesson 0 hands in wrong on purpose."""
    cells = code_cells(nbformat.read(path, as_version=4))
    for cell in cells:
        if "check" in cell.metadata.get("tags", []):
            assert ": right" in "".join(outputs_text(cell)), cell.source
    refused = [cell for cell in cells if "not yet." in "".join(outputs_text(cell))]
    assert len(refused) == (path.stem == "00_start_here")


TEXTS = [press.TEXT / f"{each.name}.md" for each in lessons() if each.checks]


def names_of(cell):
    """The names that a cell needs from before it, those that it makes, and those whose things it may change.

    It makes a name by assignment, definition or import; it may change what it writes into (a[0] = ..., a.b = ...), and
    whose method it calls (a.append(...)).
    """
    read, made, touched = set(), set(), set()
    for statement in ast.parse(TransformerManager().transform_cell(cell.source)).body:
        nodes = [*ast.walk(statement)]
        own = {node.arg for node in nodes if isinstance(node, ast.arg)}
        loops = [node.target for node in nodes if isinstance(node, ast.For | ast.comprehension)]
        own |= {node.id for loop in loops for node in ast.walk(loop) if isinstance(node, ast.Name)}
        used = [node for node in nodes if isinstance(node, ast.Name)]
        read |= {node.id for node in used if isinstance(node.ctx, ast.Load)} - made - own
        made |= {node.id for node in used if isinstance(node.ctx, ast.Store)}
        made |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        imported = (each for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for each in node.names)
        made |= {(each.asname or each.name).partition(".")[0] for each in imported}
        calls = [node.func for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
        written = [node for node in nodes if isinstance(getattr(node, "ctx", None), ast.Store)]
        for node in [*calls, *written]:
            while isinstance(node, ast.Attribute | ast.Subscript):
                node = node.value
            touched |= {node.id} if isinstance(node, ast.Name) else set()
    return read, made, touched


def reached(cells, answers):
    """Of the cells of a lesson those that an answer can change, and what they need from the others before them."""
    told, changed, needed = [names_of(cell) for cell in cells], {*answers}, {0}  # the first cell imports
    kept = told[0][1]  # what is imported stays what it is, whatever is called on it
    for index, (read, made, touched) in enumerate(told):
        if read & changed:
            changed |= made | (touched - kept)
            needed.add(index)
        else:
            changed -= made - {*answers}
    wanted = set()
    for index in reversed(range(len(cells))):
        read, made, touched = told[index]
        if (made | (touched - kept)) & wanted:
            needed.add(index)
        if index in needed:
            wanted = wanted - made | read
    return [cells[index] for index in sorted(needed)]


def test_what_an_answer_reaches_is_found():
    sources = ["import math", "a = 1", "b = a", "def answer(): 0", "c = answer() + b", "print(b)", "print(c)", "d = 2"]
    sources += ["e, f = {}, []", "e[0] = answer()", "f.append(c)", "print(e)", "print(f)", "print(d)"]
    found = reached([nbformat.v4.new_code_cell(source) for source in sources], {"answer"})
    assert [cell.source for cell in found] == [sources[index] for index in (0, 1, 2, 3, 4, 6, 8, 9, 10, 11, 12)]


@pytest.mark.slow
@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_a_right_answer_written_differently_carries_the_lesson_to_its_end(path):
    notebook, answers = press.printed(path, "student"), set()
    for index, cell in enumerate(notebook.cells):
        if "check" in cell.metadata.get("tags", []):
            name = cell.source.split(" = ")[0]
            answer = f"from solutions.checks import EXERCISES\n{name} = EXERCISES['{name}'].right_answers[0]"
            notebook.cells[index - 1].source = f"{answer}\n{name}.__name__ = '{name}'"
            answers.add(name)
    notebook.cells = reached(code_cells(notebook), answers)  # the others print what they print in any run
    notebook = press.execute(notebook)  # raises where a cell fails
    said = ["".join(outputs_text(cell)) for cell in code_cells(notebook) if "check" in cell.metadata.get("tags", [])]
    assert said and all(": right" in words for words in said)


NO_TRITON = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "triton":
            raise ImportError("No module named 'triton'")

sys.meta_path.insert(0, Blocked())
"""


@pytest.mark.slow
def test_the_lesson_on_triton_runs_to_its_end_without_it(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(NO_TRITON)  # every Python of the test begins with it
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    notebook = press.execute(press.printed(*press.lessons(["flash_in_triton"]), "student"))
    said = "".join(text for cell in code_cells(notebook) for text in outputs_text(cell))
    assert "Triton has wheels for Linux only" in said
    assert "4,460,544 B; the trace: 4,460,544 B" in said  # the recorded trace, and the formula


@pytest.mark.parametrize("path", press.lessons(), ids=lambda path: path.stem)
def test_the_exercises_of_a_text_are_those_of_its_checkers_in_their_order(path):
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^### \{exercise\}`(\w+)`$", text, re.MULTILINE)
    marks = re.findall(r"^:tags: \[exercise\]\n[\w.]+\.(\w+)$", text, re.MULTILINE)
    assert headings == marks == [exercise.name for exercise in EXERCISES.values() if exercise.lesson == path.stem]


@pytest.mark.parametrize("path", press.lessons(), ids=lambda path: path.stem)
@pytest.mark.seconds
def test_a_lesson_starts_from_one_seed(path):
    first = code_cells(press.printed(path, "student"))[0].source
    assert "torch.manual_seed(0)" in first and "torch.set_num_threads(1)" in first


def nbval(path):
    options = ["-q", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, str(path)]
    return subprocess.run(command, cwd=path.parent, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_nbval_fails_when_one_stored_number_is_changed(tmp_path):
    """The gate can fail: a stored result that differs in one digit turns nbval red."""
    cells = []
    for stored in ("12.000\n", "12.001\n"):
        cells.append(nbformat.v4.new_code_cell("print(f'{3 * 4:.3f}')", execution_count=len(cells) + 1))
        cells[-1].outputs = [nbformat.v4.new_output("stream", text=stored)]
    path = tmp_path / "one_number.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=press.METADATA), path)
    result = nbval(path)
    assert result.returncode == 1 and "12.001" in result.stdout and "1 failed, 1 passed" in result.stdout


@pytest.mark.slow
def test_nbval_fails_when_a_number_stored_in_a_lesson_is_changed(tmp_path):
    path = tmp_path / "lesson.ipynb"
    notebook = json.loads((ROOT / "lessons" / f"{lessons()[0].stem}.ipynb").read_text(encoding="utf-8"))
    index, said = next(
        (index, output["data"])
        for index, cell in enumerate(notebook["cells"])
        for output in cell.get("outputs", [])
        if "MiB" in "".join(output.get("data", {}).get("text/plain", ""))
    )
    twin = "".join(said["text/plain"])
    number = re.search(r"\d+\.\d+ MiB", twin).group()
    said["text/plain"] = twin.replace(number, "9" + number, 1)
    del notebook["cells"][index + 1 :]  # what comes after has its own run
    path.write_text(json.dumps(notebook), encoding="utf-8")
    result = nbval(path)
    assert result.returncode == 1 and "1 failed" in result.stdout
