"""What a lesson costs: a row of the table and its own files. Tried on a copy of the course, into which one comes."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book"))

import press  # noqa: E402

from solutions.lessons import lessons  # noqa: E402

AFTER = "quadratic_attention"  # the new lesson comes after this one, before all that the others need
NEXT = "Local and global attention"  # which this one then comes before
NAME = "counting_pairs"
ROW = f"""
[[lesson]]
name = "{NAME}"
title = "Counting pairs"
question = "How many pairs are there?"
can = "count the pairs of a text"
needs = ["{AFTER}"]
mechanisms = ["pairs"]
checks = ["{NAME}"]
instruments = ["ledger"]
"""
TEXT = """---
kernelspec:
  name: python3
  display_name: Python 3 (ipykernel)
---

A short one, after {lesson}`quadratic_attention`; {exercise}`window_pairs` goes on from here.

```{code-cell} ipython3
import torch

from solutions.checks import check, progress
from widgets import Ledger
from widgets.ledger.measure import sweep

torch.manual_seed(0)
torch.set_num_threads(1)
```

## How many

### {exercise}`pairs_of`

Each token meets itself and all before it.

```{code-cell} ipython3
:tags: [exercise]
solutions.pairs.pairs_of
```

```{code-cell} ipython3
Ledger(sweep({"all pairs": lambda x: x @ x.T}, [64, 128, 256], lambda n: (torch.randn(n, 4),)))
```

```{code-cell} ipython3
progress("counting_pairs")
```
"""
MECHANISM = '''"""The pairs of a text."""


def pairs_of(n: int) -> int:
    """Pairs of a token with itself and with each token before it, among n tokens."""
    return n * (n + 1) // 2
'''
CHECKS = '''"""Exercise: count pairs."""

from solutions import pairs
from solutions.checks.exercise import Case, Exercise

PAIRS = Exercise(
    title="count the pairs",
    section="How many",
    difficulty=1,
    minutes=4,
    reference=pairs.pairs_of,
    hints=("How many does the last token meet?", "1 + 2 + 3 and so on.", "It is n times something, halved."),
    cases=(Case("7 tokens", lambda normal: (7,)), Case("10 tokens", lambda normal: (10,))),
    right_answers=(lambda n: sum(range(n + 1)), lambda n: (n * n + n) // 2),
    mistakes={
        "a token does not meet itself": lambda n: n * (n - 1) // 2,
        "every token meets every token": lambda n: n * n,
        "a pair is counted once from each side": lambda n: n * (n + 1),
        "tokens are counted, not pairs": lambda n: n,
    },
)
EXERCISES = (PAIRS,)
'''
QUESTION = """# Interview: {title}`counting_pairs`

(q-pairs-of-seven)=
## How many pairs have 7 tokens?

*screen · 2 minutes*

**Answer.** 28, each token with itself and with those before it.

**Points.**
- a token meets itself
- it meets none after it
- the sum is 28

**Follow-ups.**
- And without the mask? → 49 pairs

**Common wrong answer.** "21 pairs." Then no token would meet itself.

**Evidence.** [{Lesson}`counting_pairs`, How many](lesson:counting_pairs#how-many), as {exercise}`pairs_of` asks.

**Figures.**
- `28` = `7 * 8 / 2`
- `49 pairs` = `7 * 7`
- `21 pairs` = `7 * 6 / 2`
"""
NOTE = """# Teaching {lesson}`counting_pairs`: {title}`counting_pairs`

## Timings

| section | minutes | what happens |
|---|---|---|
| How many | 2 | Count. |

<!-- exercises -->
<!-- /exercises -->
"""
TESTS = """from solutions.pairs import pairs_of


def test_pairs_are_those_of_a_triangle():
    assert [pairs_of(n) for n in (1, 2, 3, 7)] == [1, 3, 6, 28]
"""
OURS = {
    f"book/lessons/{NAME}.md": TEXT,
    "solutions/pairs.py": MECHANISM,
    f"solutions/checks/{NAME}.py": CHECKS,
    f"book/interview/{NAME}.md": QUESTION,
    f"book/teaching/{NAME}.md": NOTE,
    "tests/test_pairs.py": TESTS,
}  # and the row: seven files

TELL = """
import json, sys
sys.path.insert(0, "book")
import press
told = {}
for text in press.lessons():
    cells = {kind: press.printed(text, kind).cells for kind in ("student", "solved", "site")}
    told[text.stem] = {kind: [[cell.cell_type, cell.source] for cell in there] for kind, there in cells.items()}
json.dump({"lessons": told, "readme": list(press.beside().values())[0]}, sys.stdout)
"""


def python(folder: Path, *arguments: str) -> str:
    """What a Python prints that runs in a copy and takes the course from there."""
    environment = os.environ | {"PYTHONPATH": str(folder), "COURSE_PROGRESS": "off", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def copied(folder: Path) -> Path:
    """A copy of the course, and of what its checkers have told: in it only those that change are asked again."""
    folders = ("solutions", "widgets", "book", "lessons", "tests", "binder")
    files = ("pyproject.toml", "conftest.py", "README.md", "course.py", *(path.name for path in ROOT.glob("*.txt")))
    for name in (*folders, *files):
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("_build", "__pycache__", "*.safetensors", "*.npz")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    shutil.copytree(press.TOLD, folder / press.TOLD.relative_to(ROOT))
    return folder


def put(folder: Path, name: str, change) -> None:
    path = folder / name
    before = path.read_text(encoding="utf-8")
    after = change(before)
    assert after != before, name
    path.write_text(after, encoding="utf-8")


def without_numbers(source: str) -> str:
    return re.sub(r"\d+", "0", source)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def before() -> dict:
    """What each text prints as the course is."""
    return {
        text.stem: {
            kind: [[cell.cell_type, cell.source] for cell in press.printed(text, kind).cells]
            for kind in ("student", "solved", "site")
        }
        for text in press.lessons()
    }


@pytest.fixture(scope="module")
def longer(before, tmp_path_factory) -> Path:
    """A copy of the course with one lesson more, in its middle."""
    folder = copied(tmp_path_factory.mktemp("longer"))
    place = f'\n[[lesson]]\nname = "{lessons()[[each.name for each in lessons()].index(AFTER) + 1].name}"'
    put(folder, "solutions/lessons.toml", lambda table: table.replace(place, ROW + place))
    for name, content in OURS.items():
        assert not (folder / name).exists()
        (folder / name).write_text(content, encoding="utf-8")
    python(folder, "book/teaching/notes.py")
    return folder


@pytest.fixture(scope="module")
def told(longer) -> dict:
    return json.loads(python(longer, "-c", TELL))


def test_a_lesson_in_the_middle_changes_others_in_numbers_and_links_alone(before, told):
    assert len(OURS) + 1 <= 7
    assert list(told["lessons"]) == [name for each in before for name in ([each, NAME] if each == AFTER else [each])]
    for name, variants in before.items():
        for kind, cells in variants.items():
            now = told["lessons"][name][kind]
            assert [each for each, _ in now] == [each for each, _ in cells]
            for (what, old), (_, new) in zip(cells, now, strict=True):
                if what == "code":
                    assert new == old
                table = re.compile(r"^\|.*\|$", re.MULTILINE)
                if "| Counting pairs |" in new:  # the table of lessons has a row more
                    assert len(table.findall(new)) == len(table.findall(old)) + 1
                    new = re.sub(r"^\|[^\n]*Counting pairs[^\n]*\|\n", "", new, flags=re.MULTILINE)
                assert without_numbers(new) == without_numbers(old)
    number = [each.name for each in lessons()].index(AFTER) + 1
    first, _, heading, exercise, *_ = (source for _, source in told["lessons"][NAME]["student"])
    way = rf"\*Everything \d+ minutes: (\d+) to read and run and 4 for exercises\. .*: go on at \[{NEXT}\]\(.*\)\.\*"
    minutes = re.match(rf"# {number}\. Counting pairs\n\n{way}\n\nA short one, after \[lesson ", first)[1]
    assert heading.startswith("## How many\n\n*Everything ")
    assert exercise.startswith(f"### Exercise {number}.1, count the pairs (difficulty 1, 4 minutes, about 1 line)")
    link = f"[{number}. Counting pairs](lessons/{number:02}_{NAME}.ipynb)"
    assert f"{link} | {minutes} + 4 | count the pairs" in told["readme"]


def test_the_new_lesson_prints_and_passes_its_tests(longer):
    python(longer, "book/press.py", NAME)
    number = [each.name for each in lessons()].index(AFTER) + 1
    solved = (longer / "solutions" / f"{number:02}_{NAME}.ipynb").read_text(encoding="utf-8")
    assert "pairs_of: right, all 2 cases." in solved and f"{number}. Counting pairs" in solved
    assert "All exercises of this lesson are done" in solved
    suites = [f"tests/{name}.py" for name in ("test_pairs", "test_checks", "test_notebooks", "test_teaching")]
    chosen = f"pairs_of or {NAME} or triangle or in_order or section_is"
    options = ["-q", "-n0", "-p", "no:cacheprovider", "-k", f"({chosen}) and not carries_the_lesson"]
    said = python(longer, "-m", "pytest", *options, *suites, "tests/test_interview.py")
    assert int(re.search(r"(\d+) passed", said)[1]) >= 12 and "failed" not in said


def test_an_exercise_in_the_middle_changes_no_other_notebook_but_where_it_is_quoted(before, tmp_path):
    folder = copied(tmp_path)
    first = "### {exercise}`retrieve`\n"
    asked = "```{code-cell} ipython3\n:tags: [exercise]\nsolutions.pairs.pairs_of\n```\n\n"
    asked = "### {exercise}`pairs_of`\n\nCount.\n\n" + asked
    put(folder, "book/lessons/infini_attention.md", lambda old: old.replace(first, asked + first))
    (folder / "solutions" / "pairs.py").write_text(MECHANISM, encoding="utf-8")
    own = CHECKS.partition("PAIRS = ")[2].partition("EXERCISES")[0].replace("How many", "Reading is an average")
    checks, brings = "solutions/checks/infini_attention.py", "from solutions.checks.exercise"
    put(folder, checks, lambda old: old.replace("EXERCISES = (", f"PAIRS = {own}\nEXERCISES = (PAIRS, ", 1))
    put(folder, checks, lambda old: old.replace(brings, f"from solutions import pairs\n{brings}", 1))
    now = json.loads(python(folder, "-c", TELL))["lessons"]
    for name, variants in before.items():
        for kind, cells in variants.items() if name != "infini_attention" else ():
            for (what, old), (_, new) in zip(cells, now[name][kind], strict=True):
                changed = [pair for pair in zip(old.split("\n"), new.split("\n"), strict=True) if pair[0] != pair[1]]
                assert not changed or what == "markdown"
                for one, other in changed:  # the number of an exercise, or, in the table, the minutes of the lesson
                    assert re.sub(r"\d+\.\d+", "N", one) == re.sub(r"\d+\.\d+", "N", other) or one.startswith("| ")
    kept = [without_numbers(source) for _, source in now["infini_attention"]["solved"]]
    whole = [source for _, source in before["infini_attention"]["solved"] if first_heading(source) != "retrieve"]
    assert [source for source in whole if without_numbers(source) not in kept] == []


def first_heading(source: str) -> str:
    """ "retrieve" for the cell into which the new exercise comes: it is cut in two."""
    return "retrieve" if "### Exercise" in source and "read the memory" in source else ""
