"""The class: what `course.py release` writes and nbgrader makes of submissions, good and bad; slides; the notes."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
TEACHING = ROOT / "book" / "teaching"
sys.path[:0] = [str(ROOT / "book"), str(TEACHING), str(TEACHING / "class")]

import colab  # noqa: E402
import grading  # noqa: E402
import notes  # noqa: E402
import press  # noqa: E402
import release  # noqa: E402
import slides  # noqa: E402

from solutions import quadratic  # noqa: E402
from solutions.checks import EXERCISES  # noqa: E402
from solutions.lessons import lesson, lessons  # noqa: E402
from solutions.pictures import picture_of  # noqa: E402
from solutions.tracks import effort  # noqa: E402

LESSON = lesson("quadratic_attention").stem
PRINTED = [text for text in press.lessons() if (ROOT / "solutions" / f"{lesson(text.stem).stem}.ipynb").exists()]
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


@pytest.mark.parametrize("text", PRINTED, ids=lambda text: text.stem)
@pytest.mark.slow
def test_a_notebook_of_exercises_only_names_what_it_uses_and_gives_points_for_each(text, tmp_path):
    notebook = release.assignment(text, exercises_only=True)
    exercises = {name: exercise for name, exercise in EXERCISES.items() if exercise.lesson == text.stem}
    assert release.points(notebook) == {name: exercise.difficulty for name, exercise in exercises.items()}
    assert list(cells(notebook)) == [cell for name in exercises for cell in (name, f"test_{name}")]
    press.write(notebook, tmp_path / "source.ipynb")
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821", tmp_path / "source.ipynb"]
    unnamed = subprocess.run(ruff, capture_output=True, text=True)
    assert unnamed.returncode == 0, unnamed.stdout


@pytest.fixture(scope="module")
def classroom(tmp_path_factory) -> Path:
    """The released exercises of a lesson, with three submissions that nbgrader has graded."""
    folder = tmp_path_factory.mktemp("class")
    assert release.main(["--out", str(folder), "--exercises-only", "quadratic"]) == 0
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


@pytest.mark.slow
def test_students_get_the_exercises_blank(classroom):
    for key, cell in cells(nbformat.read(classroom / "release" / LESSON / f"{LESSON}.ipynb", as_version=4)).items():
        if key.startswith("test_"):
            assert cell.metadata.nbgrader.locked and not cell.metadata.editable
        else:
            assert cell.source.endswith('"""\n    ...  # your code here') and "SOLUTION" not in cell.source
    assert not list((classroom / "release").rglob("*.db")) and not list((classroom / "release").rglob("*config*"))


@pytest.mark.slow
def test_a_blank_submission_earns_nothing_and_a_right_one_everything(classroom):
    points, said = graded(classroom, "blank")
    assert set(points.values()) == {0} and len(points) == 10
    assert all("not attempted yet" in sentence for sentence in said.values())
    points, said = graded(classroom, "right")
    assert points == {name: EXERCISES[name].difficulty for name in points} and sum(points.values()) == 17
    cases = len(EXERCISES["softmax"].cases)
    assert f"right, all {cases} cases" in said["softmax"], "nbgrader puts a locked cell back"


@pytest.mark.slow
def test_every_mishap_costs_its_own_points_and_is_named(classroom):
    points, said = graded(classroom, "mixed")
    assert {name for name, score in points.items() if score} == {"cached_attention", "attention_multiplications"}
    assert {name: sentence for name, sentence in SAID.items() if sentence not in said[name]} == {}, said


@pytest.mark.seconds
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
    text = press.lessons(["start_here"])[0]
    whole, notebook = press.printed(text, "student"), release.assignment(text)
    assert [cell.id for cell in notebook.cells] == ["notice", *(cell.id for cell in whole.cells)]
    changed = [cell for cell, other in zip(notebook.cells[1:], whole.cells, strict=True) if cell.source != other.source]
    assert [cell.metadata.nbgrader.grade_id for cell in changed] == ["uniform_attention", "test_uniform_attention"]


def test_a_class_that_is_there_keeps_its_settings(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(release, "nbgrader", lambda *_: None)
    (tmp_path / "nbgrader_config.py").write_text("# mine")
    assert release.main(["--out", str(tmp_path), "0"]) == 0
    assert (tmp_path / "nbgrader_config.py").read_text() == "# mine"
    assert f"release/{lessons()[0].stem}: 1 graded, 1 point\n" in capsys.readouterr().out
    assert release.main(["--out", str(tmp_path), "77"]) == 1
    assert "there is no lesson '77'; there are 0 start_here, 1 quadratic" in capsys.readouterr().err


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


# --- the slides ---


class Marks(HTMLParser):
    """Tags that stand open, and what would be fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched = [], []

    def handle_starttag(self, tag, attributes):
        self.fetched += [value for name, value in attributes if name in ("src", "href") and value[:5] != "data:"]
        self.open += [] if tag in ("meta", "img", "br", "link", "hr") else [tag]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("text", PRINTED, ids=lambda text: text.stem)
def test_slides_hold_what_the_lesson_holds_and_fetch_nothing(text):
    notebook = press.read(ROOT / "solutions" / f"{lesson(text.stem).stem}.ipynb")
    page, words = slides.page(notebook), text.read_text(encoding="utf-8")
    assert page.count('<section class="keep">') == words.count("> **Keep.**")
    assert page.count('<section class="predict">') == words.count("\npredict(\n")
    assert page.count('<section class="exercise">') == words.count("### {exercise}`")
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if picture_of(output.get("data", {}))]
    assert page.count('<section class="figure">') == len(pictures)
    assert all(len(alt) > 30 for alt in re.findall(r'<img alt="([^"]*)"', page))
    marks = Marks()
    marks.feed(page)
    assert (marks.open, marks.fetched) == ([], [])
    for formula in re.findall(r"<math.*?</math>", page, re.DOTALL):
        ElementTree.fromstring(re.sub(r"&(?!lt;|gt;|amp;)\w+;", " ", formula))
        assert "\\" not in formula


def test_the_answer_of_a_prediction_waits():
    cell = new_code_cell('predict("1 < 2?", choices=["yes", "no"], answer="yes", why="Count.")')
    [(kind, parts)] = slides.prediction(cell)
    assert kind == "predict" and "<p>1 &lt; 2?</p>" in parts and "<li>yes</li><li>no</li>" in parts[2]
    assert parts[3] == '<p class="later"><b>yes</b>. Count.</p>'
    assert slides.prediction(new_code_cell('predict("Which?", choices=["a", "b"])'))[0][1][3] == ""
    assert slides.prediction(new_code_cell("x = predict")) == []


def test_slides_are_written_or_the_reason_is_said(tmp_path, capsys):
    assert slides.main(["--out", str(tmp_path), "start"]) == 0
    first = lessons()[0]
    assert f"<title>{first.title}</title>" in (tmp_path / f"{first.stem}.html").read_text(encoding="utf-8")
    assert slides.main(["12"]) == 1
    assert "there is no lesson '12'" in capsys.readouterr().err


# --- the notes ---


@pytest.mark.parametrize("path", notes.notes(), ids=lambda path: path.stem)
def test_a_note_quotes_the_checkers_as_they_are(path):
    note = path.read_text(encoding="utf-8")
    assert note == notes.written(note, path.stem), "python book/teaching/notes.py writes it anew"


@pytest.mark.parametrize("text", PRINTED, ids=lambda text: text.stem)
def test_a_note_times_the_sections_that_the_lesson_has(text):
    row = lesson(text.stem)
    if not row.checks:
        return
    note = (TEACHING / text.name).read_text(encoding="utf-8")
    timed = dict(re.findall(r"^\| ([^|]+) \| (\d+) \|", note, re.MULTILINE))
    sections = re.findall(r"^## (.+)$", text.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name in sections if name in timed] == list(timed)
    reading = effort(row.name)
    # a class goes faster than somebody who reads alone, and leaves out no section
    assert 0.5 * (reading[0] + reading[2]) < sum(map(int, timed.values())) < 1.5 * (reading[0] + reading[2])


# --- elsewhere: Binder and Colab ---


PIN = re.compile(r"^([\w-]+)==([\w.]+)", re.MULTILINE)
PINS = dict(PIN.findall((ROOT / "requirements.txt").read_text(encoding="utf-8")))
BINDER = dict(PIN.findall((ROOT / "binder" / "requirements.txt").read_text(encoding="utf-8")))


def test_binder_pins_what_the_course_pins():
    assert {name: PINS[name] for name in BINDER} == BINDER
    if sys.platform != "win32":
        assert all((ROOT / "binder" / name).stat().st_mode & 0o111 for name in ("postBuild", "start"))


def test_lessons_for_colab_wait_for_an_address(tmp_path, monkeypatch, capsys):
    first = lessons()[0].stem
    monkeypatch.setenv("COURSE_ADDRESS", "")
    assert colab.main(["--out", str(tmp_path), "0"]) == 1
    assert "no public address yet" in capsys.readouterr().err
    monkeypatch.setenv("COURSE_ADDRESS", "https://github.com/somebody/attention/")
    assert colab.main(["--out", str(tmp_path), "0"]) == 0
    link, setup, *cells = press.read(tmp_path / f"{first}.ipynb").cells
    colab_page = f"https://colab.research.google.com/github/somebody/attention/blob/main/lessons/{first}.ipynb"
    assert link.source == f"[Open in Colab]({colab_page})"
    assert "git clone --quiet --depth 1 --branch main https://github.com/somebody/attention course" in setup.source
    assert [cell.id for cell in cells] == [cell.id for cell in press.read(ROOT / "lessons" / f"{first}.ipynb").cells]
    assert len(colab.opening(first, "https://gitlab.com/somebody/attention", "main")) == 1


COLAB = """
import json, sys
from pathlib import Path
sys.modules["google.colab"] = sys
sys.modules.update(dict.fromkeys({missing!r}))
sys.path[:] = [folder for folder in sys.path if folder != {root!r}]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in str(finder).lower()]
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell({setup!r}).raise_error()
for lesson in sorted(Path("course/lessons").glob("*.ipynb")):
    first = next(cell for cell in json.loads(lesson.read_text())["cells"] if cell["cell_type"] == "code")
    shell.run_cell("".join(first["source"])).raise_error()
    print(lesson.name)
print(sys.modules["solutions"].__file__)
"""


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the course's own repository to fetch")
@pytest.mark.slow
def test_the_first_cell_on_colab_fetches_the_course_and_lessons_import_what_binder_has(tmp_path):
    public, content = tmp_path / "public", tmp_path / "content"
    content.mkdir()
    subprocess.run(["git", "clone", "--quiet", "--bare", ROOT, public], check=True)
    subprocess.run(["git", "-C", public, "update-ref", "refs/heads/public", "HEAD"], check=True)
    setup = colab.opening("any", f"file://{public}", "public")[-1].source
    missing = [name.replace("-", "_") for name in PINS if name not in BINDER]
    assert "triton" in missing and "nbgrader" in missing
    code = COLAB.format(setup=setup, missing=missing, root=str(ROOT))
    done = subprocess.run([sys.executable, "-c", code], cwd=content, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{lesson('deepseek_sparse_attention').stem}.ipynb" in done.stdout
    assert str(content / "course" / "solutions" / "__init__.py") in done.stdout
