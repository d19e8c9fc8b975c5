"""The class: what `course.py release` writes, and what nbgrader makes of good and bad submissions to it."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
TEACHING = ROOT / "book" / "teaching"
sys.path[:0] = [str(ROOT / "book"), str(TEACHING), str(TEACHING / "class")]

import grading  # noqa: E402
import press  # noqa: E402
import release  # noqa: E402

from solutions import quadratic  # noqa: E402
from solutions.checks import EXERCISES  # noqa: E402

LESSON = "01_quadratic_attention"
ENDLESS = """
def attention_scores(q, k, scale=None):
    while True:
        pass
"""
NO_PYTHON = """
def attention(q, k, v, *, causal=False, mask=None, scale=None):
    return q @ k.T @
"""
HEADS = """
from solutions.quadratic import multi_head_attention as theirs

def multi_head_attention(*arguments, **options):
    return theirs(*arguments, **options)
"""
TALKATIVE = """
import sys

def attention_multiplications(n, head_dim, heads=1, *, causal=False):
    print("a warning", file=sys.stderr)
    return 2 * (n * (n + 1) // 2 if causal else n * n) * head_dim * heads
"""
ANSWERS = {
    "softmax": "def softmax(scores):\n    return (scores - scores.amax(-1, keepdim=True)).exp()",
    "attention_scores": ENDLESS,
    "causal_mask": "from solutions.quadratic import causal_mask",
    "attention": NO_PYTHON,
    "multi_head_attention": HEADS,
    "attention_multiplications": TALKATIVE,
}
SAID = {
    "softmax": "Your output equals what you get when the exponentials are not divided by their sum",
    "attention_scores": "your function did not end within 5 seconds",
    "causal_mask": "this is solutions.quadratic.causal_mask, the answer itself, imported and not written",
    "attention": "Line 2 of its cell is no Python at `return q @ k.T @`: invalid syntax.",
    "multi_head_attention": "it calls solutions.quadratic.multi_head_attention, the answer itself",
    "blocked_attention": "not attempted yet",
}


def cells(notebook) -> dict:
    """A notebook's answer and test cells by their id."""
    return {cell.metadata.nbgrader.grade_id: cell for cell in notebook.cells if "nbgrader" in cell.metadata}


# --- the release ---


@pytest.mark.parametrize("text", press.lessons(), ids=lambda text: text.stem)
def test_a_notebook_of_exercises_only_names_what_it_uses_and_gives_points_for_each(text, tmp_path):
    notebook = release.assignment(text, exercises_only=True)
    exercises = {name: exercise for name, exercise in EXERCISES.items() if exercise.lesson == text.stem[:2]}
    assert release.points(notebook) == {name: exercise.difficulty for name, exercise in exercises.items()}
    assert list(cells(notebook)) == [cell for name in exercises for cell in (name, f"test_{name}")]
    press.write(notebook, tmp_path / "source.ipynb")
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821", tmp_path / "source.ipynb"]
    unnamed = subprocess.run(ruff, capture_output=True, text=True)
    assert unnamed.returncode == 0, unnamed.stdout


@pytest.fixture(scope="module")
def classroom(tmp_path_factory) -> Path:
    """The released exercises of lesson 1, with three submissions that nbgrader has graded."""
    folder = tmp_path_factory.mktemp("class")
    assert release.main(["--out", str(folder), "--exercises-only", "01"]) == 0
    name = f"{LESSON}/{LESSON}.ipynb"
    blank = nbformat.read(folder / "release" / name, as_version=4)
    solved = cells(nbformat.read(folder / "source" / name, as_version=4))
    right, mixed = nbformat.from_dict(blank), nbformat.from_dict(blank)
    for key, cell in cells(right).items():
        cell.source = solved[key].source
    cells(right)["test_softmax"].source = "0"
    for key, answer in ({"cached_attention": solved["cached_attention"].source} | ANSWERS).items():
        cells(mixed)[key].source = answer.strip()
    for student, notebook in {"blank": blank, "right": right, "mixed": mixed}.items():
        press.write(notebook, folder / "submitted" / student / name)
    (folder / "submitted" / "mixed" / LESSON / "grading.py").write_text("def grade(name, notebook): pass\n")
    release.nbgrader(folder, "autograde", LESSON)
    return folder


def graded(classroom: Path, student: str) -> tuple[dict[str, float], dict[str, str]]:
    """Points by exercise, and what the locked cells said."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{classroom / 'gradebook.db'}") as gradebook:
        grades = gradebook.find_submission_notebook(LESSON, LESSON, student).grades
        points = {grade.name.removeprefix("test_"): grade.auto_score for grade in grades}
    path = classroom / "autograded" / student / LESSON / f"{LESSON}.ipynb"
    tests = {key: cell for key, cell in cells(nbformat.read(path, as_version=4)).items() if key.startswith("test_")}
    said = {
        key.removeprefix("test_"): "\n".join(output.get("evalue", output.get("text", "")) for output in cell.outputs)
        for key, cell in tests.items()
    }
    return points, said


def test_students_get_the_exercises_blank(classroom):
    for key, cell in cells(nbformat.read(classroom / "release" / LESSON / f"{LESSON}.ipynb", as_version=4)).items():
        if key.startswith("test_"):
            assert cell.metadata.nbgrader.locked and not cell.metadata.editable
        else:
            assert cell.source.endswith('"""\n    ...  # your code here') and "SOLUTION" not in cell.source
    assert not list((classroom / "release").rglob("*.db")) and not list((classroom / "release").rglob("*config*"))


def test_a_blank_submission_earns_nothing_and_a_right_one_everything(classroom):
    points, said = graded(classroom, "blank")
    assert set(points.values()) == {0} and len(points) == 8
    assert all("not attempted yet" in sentence for sentence in said.values())
    points, said = graded(classroom, "right")
    assert points == {name: EXERCISES[name].difficulty for name in points} and sum(points.values()) == 15
    assert "right, all 11 cases" in said["softmax"], "nbgrader puts a locked cell back"


def test_every_mishap_costs_its_own_points_and_is_named(classroom):
    points, said = graded(classroom, "mixed")
    assert {name for name, score in points.items() if score} == {"cached_attention", "attention_multiplications"}
    assert {name: sentence for name, sentence in SAID.items() if sentence not in said[name]} == {}, said


def test_a_cell_that_never_ends_is_stopped_and_the_next_one_runs():
    from nbgrader.preprocessors import Execute
    from traitlets.config import PyFileConfigLoader

    settings = PyFileConfigLoader("nbgrader_config.py", str(TEACHING / "class")).load_config()
    settings.Execute.timeout = 3
    notebook = new_notebook(cells=[new_code_cell("while True: pass"), new_code_cell("print('on')")])
    notebook.metadata = press.METADATA
    notebook, _ = Execute(config=settings).preprocess(notebook, {})
    stopped, after = notebook.cells
    assert "did not end within 120 seconds" in str(stopped.outputs)
    assert after.outputs[0].text == "on\n"


def test_a_whole_lesson_loses_nothing_but_its_checks():
    text = press.lessons(["00"])[0]
    lesson, notebook = press.printed(text, "student"), release.assignment(text)
    assert [cell.id for cell in notebook.cells] == ["notice", *(cell.id for cell in lesson.cells)]
    changed = [
        cell for cell, other in zip(notebook.cells[1:], lesson.cells, strict=True) if cell.source != other.source
    ]
    assert [cell.metadata.nbgrader.grade_id for cell in changed] == ["uniform_attention", "test_uniform_attention"]


def test_a_class_that_is_there_keeps_its_settings(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(release, "nbgrader", lambda *_: None)
    (tmp_path / "nbgrader_config.py").write_text("# mine")
    assert release.main(["--out", str(tmp_path), "00"]) == 0
    assert (tmp_path / "nbgrader_config.py").read_text() == "# mine"
    assert "release/00_start_here: 1 graded, 1 point\n" in capsys.readouterr().out
    assert release.main(["--out", str(tmp_path), "77"]) == 1
    assert "there is no lesson 77; there are 00, 01" in capsys.readouterr().err


# --- one answer ---


def judged(capsys, answer, name: str = "softmax", **notebook) -> str:
    """What a student is told; a notebook's function is always one to go on with."""
    notebook |= {} if answer is None else {name: answer}
    grading.grade(name, notebook)
    assert callable(notebook[name])
    return capsys.readouterr().out


def test_what_is_no_function_of_the_notebook_is_said(capsys):
    assert "No cell with `def softmax(...)` has run." in judged(capsys, None)
    assert "Its cell stopped before its end" in judged(capsys, None, In=["def softmax(scores): ...\n1 / 0"])
    assert "Line 1 of its cell is no Python at `def softmax(`" in judged(capsys, None, In=["def softmax("])
    assert "Define it with `def softmax(...)`" in judged(capsys, 3)
    assert "Define it with `def softmax(...)`" in judged(capsys, lambda scores: scores)
    assert "solutions.quadratic.softmax, the answer itself" in judged(capsys, quadratic.softmax)


def test_other_functions_of_the_course_are_free_to_use(capsys):
    def attention(q, k, v, *, causal=False, mask=None, scale=None):
        scores = quadratic.attention_scores(q, k, scale)
        if causal:
            scores = scores.masked_fill(~quadratic.causal_mask(*scores.shape[-2:]), -float("inf"))
        if mask is not None:
            scores = scores.masked_fill(~mask, -float("inf"))
        return quadratic.softmax(scores) @ v

    assert "right, all" in judged(capsys, attention, "attention")


def test_a_borrowed_answer_is_found_under_any_name_and_through_other_functions(capsys):
    known_as = {"f": quadratic.attention}

    def detour(*arguments, **options):
        return known_as["f"](*arguments, **options)

    def attention(q, k, v, *, causal=False, mask=None, scale=None):
        return detour(q, k, v, causal=causal, mask=mask, scale=scale)

    assert "it calls solutions.quadratic.attention, the answer itself" in judged(capsys, attention, "attention")
