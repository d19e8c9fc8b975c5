"""The press: one text, three notebooks, the same bytes each time."""

import ast
import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book"))

import press  # noqa: E402

from solutions import checks, lessons, references  # noqa: E402
from solutions.pictures import as_html  # noqa: E402

TEXT = """Twice two.

```{code-cell} ipython3
a = 2
print(a)
```

### {exercise}`double`

```{code-cell} ipython3
:tags: [exercise]
solutions.doubling.double
```

```{code-cell} ipython3
:tags: [nbval-ignore-output]
import time
print(time.perf_counter_ns())
```
"""

MECHANISM = '''
from functools import wraps

@wraps
def double(value):
    """Twice the value."""
    # two equal halves
    half = value

    return half + half
'''

CHECKER = """
def check(answer):
    print(answer.__name__, "is checked")
    return answer
"""


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A house of one lesson, in which the press prints."""
    (tmp_path / "book" / "lessons").mkdir(parents=True)
    (tmp_path / "solutions").mkdir()
    row = '[[lesson]]\nname = "doubling"\ntitle = "Doubling"\nquestion = "?"\ncan = "double"\nneeds = []\n'
    (tmp_path / "lessons.toml").write_text(row + "mechanisms = []\nchecks = []\ninstruments = []\n")
    (tmp_path / "book" / "readme.md").write_text("# Doubling\n\n{lessons}`abilities`\n")
    monkeypatch.setattr(press.course_map, "PICTURE", tmp_path / "book" / "pictures" / "map.svg")
    text = tmp_path / "book" / "lessons" / "doubling.md"
    # the little lesson defines its own check, so that it needs nothing but a kernel
    text.write_text(TEXT.replace("a = 2\n", f"a = 2\n{CHECKER}"))
    (tmp_path / "solutions" / "doubling.py").write_text(MECHANISM)
    monkeypatch.setattr(press, "ROOT", tmp_path)
    monkeypatch.setattr(press, "TEXT", text.parent)
    monkeypatch.setattr(press, "PICTURES", tmp_path / "book" / "pictures")
    monkeypatch.setattr(press, "FIGURES", tmp_path / "book" / "figures")
    monkeypatch.setattr(press, "RECORDS", tmp_path / "book" / "_build" / "printed.json")
    monkeypatch.setattr(press, "VARIANTS", {"student": tmp_path / "lessons", "solved": tmp_path / "solutions"})
    monkeypatch.setattr(lessons, "TABLE", tmp_path / "lessons.toml")
    monkeypatch.setattr(references, "BOOK", tmp_path / "book")
    said = "Exercise 0.1, double (difficulty 1, 2 minutes, about 2 lines)"
    facts = references.Facts("doubling", "double", 1, 2, 2, said)
    monkeypatch.setattr(references, "exercises", lambda: {"double": facts})
    monkeypatch.setattr(press, "told", lambda: {"double": {"`half` is < all": "double: not yet. It is half."}})
    for known in (lessons.lessons, references._exercises, references._questions, references.sections):
        known.cache_clear()
    yield text
    for known in (lessons.lessons, references._exercises, references._questions, references.sections):
        known.cache_clear()


def sources(notebook):
    return [cell.source for cell in notebook.cells]


def test_student_gets_a_stub_and_the_solved_notebook_the_source(house):
    blank = sources(press.printed(house, "student"))[3]
    assert blank == 'def double(value):\n    """Twice the value."""\n    ...  # your code here, about 2 lines'
    solved = sources(press.printed(house, "solved"))[3]
    assert "return half + half" in solved and "wraps" not in solved
    for variant in ("student", "solved", "site"):
        assert "double = check(double)" in sources(press.printed(house, variant))


def test_a_kernel_keeps_the_decorator_that_makes_it_one(house):
    (press.ROOT / "solutions" / "doubling.py").write_text("@triton.jit\n" + MECHANISM.split("@wraps\n")[1])
    for variant in ("student", "solved"):
        assert sources(press.printed(house, variant))[3].startswith("@triton.jit\ndef double(value):\n"), variant


def test_the_site_closes_the_solution_in_a_box(house):
    cells = press.printed(house, "site").cells
    stub, told, solution, check = cells[3:7]
    assert stub.cell_type == told.cell_type == "markdown" and "your code here" in stub.source
    assert "hide-input" in solution.metadata.tags and solution.metadata.mystnb.code_prompt_show == "Solution 0.1"
    assert check.source == "double = check(double)" and "remove-cell" in check.metadata.tags  # nobody has answered


def test_the_site_shows_under_a_blank_what_wrong_answers_are_told(house):
    told = press.printed(house, "site").cells[4].source
    summary = "<details><summary>If <code>half</code> is &lt; all</summary>"
    assert f"{summary}\n\n```text\ndouble: not yet. It is half.\n```" in told
    assert "`python3 course.py lab`, then `00_doubling.ipynb`" in told
    for variant in ("student", "solved"):
        assert "not yet" not in "".join(sources(press.printed(house, variant)))


def test_it_is_what_check_says(tmp_path, monkeypatch, capsys):
    some = {name: checks.EXERCISES[name] for name in ("uniform_attention", "causal_mask")}
    monkeypatch.setattr(press, "TOLD", tmp_path / "told.json")
    monkeypatch.setattr(checks, "EXERCISES", some)
    press.told.cache_clear()
    told = press.told()
    assert {name: [*said] for name, said in told.items()} == {name: each.typical(2) for name, each in some.items()}

    def uniform_attention(values):
        return values.sum(0)

    monkeypatch.setenv("COURSE_PROGRESS", "off")
    checks.check(uniform_attention)
    assert capsys.readouterr().out.strip() in told["uniform_attention"].values()
    for name, said in told.items():
        assert all(f"{name}: not yet. Your output equals what you get when {one}." in said[one] for one in said)
    monkeypatch.setattr(checks, "EXERCISES", {})
    press.told.cache_clear()
    assert press.told() == told, "asked once"
    monkeypatch.setattr(press, "TOLD", tmp_path / "another.json")
    monkeypatch.setattr(checks, "EXERCISES", {"causal_mask": dataclasses.replace(some["causal_mask"], unjudged="No.")})
    press.told.cache_clear()
    assert press.told() == {}
    press.told.cache_clear()


def test_it_is_asked_again_where_a_file_has_changed_that_its_checkers_import():
    """An import is found by its words; Python's grammar finds no other."""
    for path in (ROOT / "solutions").rglob("*.py"):
        nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
        needed = {each.name for node in nodes if isinstance(node, ast.Import) for each in node.names}
        for node in nodes:
            if isinstance(node, ast.ImportFrom):
                needed |= {node.module or "", *(f"{node.module}.{each.name}" for each in node.names)}
        places = [ROOT.joinpath(*name.split(".")) for name in needed if name.startswith("solutions")]
        files = {file for place in places for file in (place.with_suffix(".py"), place / "__init__.py")}
        found = references.imports(str(path.relative_to(ROOT)))
        assert {str(file.relative_to(ROOT)) for file in files if file.exists()} <= found, path
    found = references.reached("solutions/checks/flash_attention.py")
    assert {f"solutions/{name}.py" for name in ("checks/tools", "checks/comparing", "flash/machine")} <= {*found}
    assert "solutions/infini.py" not in found


def test_a_prediction_is_folded_away(house):
    asks = "```{code-cell} ipython3\npredict('Twice two?', answer='4')\n```\n"
    house.write_text(house.read_text() + asks)
    cell = press.printed(house, "student").cells[-1]
    assert cell.metadata.jupyter.source_hidden


def test_imports_are_folded_away_and_the_title_comes_before_them(house):
    imports = "```{code-cell} ipython3\n:tags: [imports]\nimport math\n```\n\n"
    house.write_text(f"{imports}{{track}}`minutes`\n\n{house.read_text()}")
    for variant in ("student", "solved"):
        title, imports = press.printed(house, variant).cells[:2]
        assert title.source.startswith("# ") and "\n" not in title.source
        assert imports.source == "import math" and imports.metadata.jupyter.source_hidden
    page = press.printed(house, "site").cells[1]
    assert "hide-input" in page.metadata.tags and page.metadata.mystnb.code_prompt_show == "Imports"


@pytest.mark.seconds
def test_the_same_text_gives_the_same_bytes(house):
    folder = press.VARIANTS["solved"]
    first = press.print_one(house, "solved", folder).read_bytes()
    second = press.print_one(house, "solved", folder).read_bytes()
    assert first == second  # although one cell prints the clock: its output is a recording
    assert press.print_one(house, "solved", folder, remeasure=True).read_bytes() != first


@pytest.mark.seconds
def test_a_recording_is_made_anew_when_its_source_changes(house):
    folder = press.VARIANTS["solved"]
    before = press.read(press.print_one(house, "solved", folder)).cells[-1].outputs[0].text
    house.write_text(house.read_text().replace("perf_counter_ns())", "perf_counter_ns(), 'ns')"))
    after = press.read(press.print_one(house, "solved", folder)).cells[-1].outputs[0].text
    assert "ns" in after and before.strip() not in after


def test_what_a_cell_prints_is_stored_in_one_piece():
    said = (("stdout", "a\n"), ("stdout", "b\n"), ("stderr", "c\n"))
    pieces = [nbformat.v4.new_output("stream", name=name, text=text) for name, text in said]
    cell = nbformat.v4.new_code_cell("speak()", outputs=pieces)
    joined = press.join_streams(nbformat.v4.new_notebook(cells=[cell])).cells[0].outputs
    assert [(output.name, output.text) for output in joined] == [("stdout", "a\nb\n"), ("stderr", "c\n")]


@pytest.mark.seconds
def test_counts_and_ids_are_fixed(house):
    notebook = press.read(press.print_one(house, "student", press.VARIANTS["student"]))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert [cell.id for cell in notebook.cells] == [cell.id for cell in press.printed(house, "student").cells]


def test_one_more_cell_renames_no_other(house):
    before = press.printed(house, "student").cells
    more = "One more paragraph.\n\n```{code-cell}\nb = 3\n```\n\n### {exercise}"
    house.write_text(house.read_text().replace("### {exercise}", more))
    after = press.printed(house, "student").cells
    renamed = {cell.id for cell in before} - {cell.id for cell in after}
    assert len(after) == len(before) + 2 and not renamed
    twice = press.ids([after[0], after[0]])
    assert len(set(twice)) == 2


def executed(monkeypatch) -> list:
    """What is executed from now on, one entry a notebook."""
    notebooks, really = [], press.execute
    monkeypatch.setattr(press, "execute", lambda each, **options: notebooks.append(each) or really(each, **options))
    return notebooks


@pytest.mark.seconds
def test_where_only_prose_changed_the_outputs_stand(house, monkeypatch):
    folder, done = press.VARIANTS["solved"], executed(monkeypatch)
    press.keep_record(press.print_one(house, "solved", folder))
    before = press.read(folder / "00_doubling.ipynb")
    house.write_text(house.read_text().replace("Twice two.", "Twice two, with a comma."))
    after = press.read(press.print_one(house, "solved", folder))
    assert len(done) == 1 and after.cells[0].source.endswith("Twice two, with a comma.")
    assert [cell.get("outputs") for cell in after.cells] == [cell.get("outputs") for cell in before.cells]
    press.print_one(house, "solved", folder, again=True)
    assert len(done) == 2


FIGURE = """
```{code-cell} ipython3
:tags: [figures%s]

{"%s": a / 4}
```
"""


@pytest.mark.seconds
def test_where_only_prose_changed_a_picture_of_the_site_keeps_its_words():
    data = {"text/html": as_html("A curve that rises.", "AAAA"), "text/plain": "A curve that rises."}
    cell = nbformat.v4.new_code_cell("figures.show(axes)", outputs=[nbformat.v4.new_output("display_data", data)])
    cell.metadata["tags"] = []
    page = press.pictures_for_page(nbformat.v4.new_notebook(cells=[cell]))
    fresh = nbformat.v4.new_code_cell(cell.source, metadata={"tags": []})
    again = press.pictures_for_page(press.reused(nbformat.v4.new_notebook(cells=[fresh]), page))
    assert again.cells[0].metadata["mystnb"]["image"]["alt"] == "A curve that rises."
    assert again.cells[0].outputs[0].data["image/png"] == "AAAA"


def test_a_figure_is_kept_by_its_name_and_seen_by_nobody(house, monkeypatch):
    house.write_text(house.read_text() + FIGURE % ("", "half") + FIGURE % (", nbval-ignore-output", "time"))
    folder, kept = press.VARIANTS["solved"], lambda: press.figures_of(house)[1]
    notebook = press.read(press.print_one(house, "solved", folder))
    assert kept() == {"half": 0.5, "time": 0.5} and '"half"' not in nbformat.writes(notebook)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    house.write_text(house.read_text().replace("a = 2", "a = 6"))
    press.print_one(house, "solved", folder)
    assert kept() == {"half": 1.5, "time": 0.5}  # a recording stays
    press.print_one(house, "solved", folder, remeasure=True)
    assert kept() == {"half": 1.5, "time": 1.5}
    press.keep_record(folder / "00_doubling.ipynb")
    done = executed(monkeypatch)
    press.print_one(house, "solved", folder)
    assert not done
    house.write_text(house.read_text().replace('"half": a / 4', '"third": a / 3'))
    press.print_one(house, "solved", folder)
    assert done and kept() == {"third": 2.0, "time": 1.5}


@pytest.mark.seconds
def test_what_another_run_left_of_the_instruments_serves_the_site(house, monkeypatch):
    asked = "```{code-cell} ipython3\nfrom widgets import predict\npredict('Twice?', ['2', '4'])\n```\n"
    house.write_text(house.read_text() + f"\n{asked}")
    monkeypatch.setattr(press, "STATES", press.ROOT / "states")
    monkeypatch.setattr(press, "PAGES", press.ROOT / "pages")
    monkeypatch.setenv("COURSE_STATES", str(press.STATES / press.made_from()))
    press.keep_record(press.print_one(house, "solved", press.VARIANTS["solved"]))  # as nbval runs the learner's
    done = executed(monkeypatch)
    press.print_site(press.ROOT / "site")
    page = (press.ROOT / "site" / "lessons" / "00_doubling.ipynb").read_text()
    assert not done and 'data-instrument=\\"predict\\"' in page and "Solution 0.1" in page
    for state in (press.STATES / press.made_from()).iterdir():
        state.unlink()
    (press.PAGES / "00_doubling.ipynb").unlink()
    press.print_site(press.ROOT / "site")
    assert (press.PAGES / "00_doubling.ipynb").exists()  # executed, since nothing was left
    assert (press.ROOT / "site" / "lessons" / "00_doubling.ipynb").read_text() == page


@pytest.mark.seconds
def test_prose_brings_no_torch():
    code = """import sys
sys.path.insert(0, "book")
import press
for text in press.lessons():
    press.printed(text, "site")
print("torch" in sys.modules)
"""
    for said in (None, "False\n"):  # the first time the checkers may be asked
        done = subprocess.run([sys.executable, "-c", code], cwd=press.ROOT, capture_output=True, text=True, check=True)
        assert said in (None, done.stdout)


@pytest.mark.seconds
def test_what_is_known_of_exercises_is_what_their_checkers_say_now(tmp_path, monkeypatch):
    kept = tmp_path / "kept" / "exercises.json"
    monkeypatch.setattr(references, "FACTS", kept)
    for _ in range(2):  # asked, and kept
        references.exercises.cache_clear()
        known = references.exercises()
        assert {name: each.headline for name, each in known.items()} == {
            name: each.headline for name, each in checks.EXERCISES.items()
        }
    kept.write_text(kept.read_text().replace("difficulty 1", "difficulty 9").replace("equal attention", "spoilt"))
    references.exercises.cache_clear()
    assert references.exercises()["uniform_attention"].title == "spoilt"
    kept.write_text(kept.read_text().replace(references.digest(references.ROOT, "solutions"), "another state"))
    references.exercises.cache_clear()
    assert references.exercises()["uniform_attention"].title == "equal attention"
    kept.write_text("{")
    references.exercises.cache_clear()
    assert references.exercises()["uniform_attention"].title == "equal attention"


@pytest.mark.seconds
def test_a_cell_or_a_function_that_changed_is_executed(house, monkeypatch):
    folder, done = press.VARIANTS["student"], executed(monkeypatch)
    press.keep_record(press.print_one(house, "student", folder))
    house.write_text(house.read_text().replace("a = 2", "a = 3"))
    cell = press.read(press.print_one(house, "student", folder)).cells[1]
    assert len(done) == 2 and cell.outputs[0].text == "3\n"
    press.keep_record(folder / "00_doubling.ipynb")
    (press.ROOT / "solutions" / "unseen.py").write_text("SETTING = 4\n")  # no cell names it, and yet
    press.print_one(house, "student", folder)
    assert len(done) == 3


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.seconds
def test_in_a_fresh_clone_what_was_committed_together_belongs_together(house, monkeypatch):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *arguments], cwd=press.ROOT, check=True, capture_output=True)

    path, done = press.print_one(house, "student", press.VARIANTS["student"]), executed(monkeypatch)
    git("init"), git("add", "."), git("commit", "-m", "all")
    house.write_text(house.read_text().replace("Twice two.", "Twice two, with a comma."))
    press.print_one(house, "student", path.parent)
    assert not done
    (press.ROOT / "solutions" / "doubling.py").write_text(MECHANISM.replace("half + half", "2 * half"))
    press.print_one(house, "student", path.parent)
    assert len(done) == 1


@pytest.mark.seconds
def test_check_names_the_file_and_the_first_cell_that_differs(house):
    for variant, folder in press.VARIANTS.items():
        press.print_one(house, variant, folder)
    for path, content in press.beside().items():
        press.write_whole(path, content)
    assert press.differences([house]) == []
    (press.ROOT / "README.md").write_text("# Tripling\n")
    assert press.differences([house]) == ["README.md differs from what the table and book/readme.md give"]
    press.write_whole(press.ROOT / "README.md", press.beside()[press.ROOT / "README.md"])
    stray = house.with_name("tripling.md")
    stray.write_text("Thrice.\n")
    assert press.differences([house]) == ["book/lessons/tripling.md is no lesson of solutions/lessons.toml"]
    stray.unlink()
    house.write_text(house.read_text().replace("a = 2", "a = 3"))
    found = press.differences([house])
    assert len(found) == 2 and "00_doubling.ipynb" in found[0] and "cell 2" in found[0] and "a = 3" in found[0]
    (press.VARIANTS["student"] / "00_doubling.ipynb").unlink()
    shutil.copy(press.VARIANTS["solved"] / "00_doubling.ipynb", press.VARIANTS["solved"] / "10_stray.ipynb")
    found = press.differences([house])
    assert any("missing" in line for line in found) and any("10_stray.ipynb has no text" in line for line in found)


@pytest.mark.seconds
def test_a_failing_cell_fails_the_print_in_words(house):
    house.write_text(house.read_text().replace("print(a)", "print(nobody)"))
    with pytest.raises(press.PressError, match="nobody"):
        press.print_one(house, "student", press.VARIANTS["student"])
    assert not list(press.VARIANTS["student"].glob("*"))  # nothing half made


@pytest.mark.parametrize(
    ("mark", "says"),
    [("solutions.doubling.tripled", "no top-level tripled"), ("solutions.nothing.double", "does not exist")],
)
def test_a_mark_that_names_nothing_is_told(house, mark, says):
    house.write_text(house.read_text().replace("solutions.doubling.double", mark))
    with pytest.raises(press.PressError, match=says):
        press.printed(house, "student")


def test_an_exercise_without_a_heading_is_told(house):
    house.write_text(house.read_text().replace("### {exercise}`double`", "### Something"))
    with pytest.raises(press.PressError, match="no heading"):
        press.printed(house, "student")


def test_the_press_writes_the_title_and_the_headings_of_exercises(house):
    first, heading = (cell.source for cell in press.printed(house, "student").cells if cell.cell_type == "markdown")
    line = "*Everything 3 minutes: 1 to read and run and 2 for exercises. Evening and weekend: nothing more.*"
    assert first == f"# Doubling\n\n{line}\n\nTwice two."
    assert heading == "### Exercise 0.1, double (difficulty 1, 2 minutes, about 2 lines)"
    heading = press.printed(house, "site").cells[2].source
    assert heading.startswith("(exercise-double)=\n\n### Exercise 0.1, double (")


@pytest.mark.parametrize("typed", ["# Doubling", "# 1. Doubling", "### Exercise 1.1, double (difficulty 1)"])
def test_a_typed_heading_is_refused_with_its_line(house, typed):
    house.write_text(house.read_text() + f"\n{typed}\n")
    line = house.read_text().splitlines().index(typed) + 1
    with pytest.raises(press.PressError, match=f"doubling.md:{line}: the press writes this heading"):
        press.printed(house, "student")


def test_a_comment_in_code_is_no_heading(house):
    house.write_text(house.read_text().replace("a = 2\n", "a = 2\n# a comment\n"))
    assert "# a comment" in sources(press.printed(house, "student"))[1]


def test_a_reference_to_nothing_is_told_with_its_line(house):
    house.write_text(house.read_text() + "\nAs in {lesson}`tripling`.\n")
    with pytest.raises(press.PressError, match=r"doubling.md:\d+: there is no lesson 'tripling'; there are doubling"):
        press.printed(house, "student")


def test_a_lesson_without_a_text_is_told(house):
    house.unlink()
    with pytest.raises(press.PressError, match=r"the lesson doubling has no text: doubling.md is missing"):
        press.printed(house, "student")


def test_an_unknown_lesson_is_told(house, capsys):
    assert press.main(["77"]) == 1
    assert "there is no lesson '77'; there are 0 doubling" in capsys.readouterr().err


@pytest.mark.seconds
def test_the_picture_of_a_lesson_is_kept_for_the_readme(house):
    plot = "from widgets import figures\nfigures.lines([1, 2], {'a': [1, 2]}, x='x', y='y')\nfigures.show('It rises.')"
    plot = f"```{{code-cell}} ipython3\n:tags: [picture]\n{plot}\n```\n"
    house.write_text(house.read_text() + plot)
    press.print_one(house, "solved", press.VARIANTS["solved"])
    picture = press.PICTURES / "doubling.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
