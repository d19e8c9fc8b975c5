"""The table of lessons, references by name, and that nothing types a number which the table gives."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from solutions import lessons as table
from solutions import references
from solutions.checks import EXERCISES
from solutions.lessons import chosen, first_edition, lesson, lessons
from solutions.references import WORDS, BrokenReference, Leads, resolve

ROOT = Path(__file__).resolve().parent.parent
TRACKED = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
FILES = [ROOT / name for name in TRACKED.stdout.splitlines() if (ROOT / name).is_file()]
PAGE = Leads("lessons/{}.html", "{stem}.html#exercise-{}", "{lesson}.html#q-{}", "teaching/{}", "interview/{}")


# --- the table ---


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Reads a table of other rows."""

    def rows(text: str):
        monkeypatch.setattr(table, "TABLE", tmp_path / "lessons.toml")
        table.TABLE.write_text(text)
        lessons.cache_clear()
        return lessons()

    yield rows
    lessons.cache_clear()


def row(name: str, **given) -> str:
    fields = {"title": "T", "question": "Q?", "can": "c", "needs": []}
    fields |= {"mechanisms": [], "checks": [], "instruments": []} | given
    told = [f"{key} = {value!r}" for key, value in fields.items() if value is not None]
    return "\n".join(["[[lesson]]", f"name = '{name}'", *told, ""])


def test_a_number_is_a_place(written):
    first, second = written(row("a") + row("b", needs=["a"]))
    assert [(each.number, each.stem, each.heading) for each in (first, second)] == [
        (0, "00_a", "T"),
        (1, "01_b", "1. T"),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (row("a", needs=["b"]) + row("b"), "lesson a needs b; before it come"),
        (row("a") + row("a"), "a is there twice"),
        (row("a", title=None), "lesson a: .*title"),
        (row("a", colour="red"), "lesson a: .*colour"),
    ],
)
def test_a_row_that_cannot_be_is_named(written, text, says):
    with pytest.raises(ValueError, match=says):
        written(text)


def test_a_lesson_is_meant_by_name_beginning_or_number():
    there = lesson("infini_attention")
    assert {chosen(word) for word in ("infini", "infini_attention", str(there.number), f"{there.number:02}")} == {there}
    assert chosen("flash_attention").name == "flash_attention"
    for word in ("flash", "99", "", "nothing"):  # of two, of none, of all
        with pytest.raises(ValueError, match=rf"there is no lesson '{word}'; there are 0 start_here, 1 "):
            chosen(word)


def test_what_the_table_names_is_there():
    for each in lessons():
        assert (ROOT / "book" / "lessons" / f"{each.name}.md").exists(), each.name
        for module in (*each.mechanisms, *(f"checks/{name}" for name in each.checks)):
            place = ROOT / "solutions" / module
            assert place.is_dir() or place.with_suffix(".py").exists(), module
        for kind in each.instruments:
            assert (ROOT / "widgets" / kind).is_dir(), kind
        for name in (*each.mechanisms, *each.tests):
            assert (ROOT / "tests" / f"test_{name}.py").exists(), name


def test_no_file_of_ours_carries_a_number_in_its_name():
    folders = ("book", "solutions/checks", "solutions/checkpoints", "tests")
    numbered = [path for path in FILES if re.search(r"(^|lesson_)\d\d", path.name)]
    assert [path for path in numbered if path.relative_to(ROOT).as_posix().startswith(folders)] == []


# --- references ---


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("as in {lesson}`infini_attention`.", "as in lesson {infini_attention}."),
        ("{Exercise}`retrieve` asks", "Exercise {retrieve} asks"),
        ("exercises {n}`retrieve` to {n}`gate`", "exercises {retrieve} to {gate}"),
        ("{question}`one-segment-in-order`", "question {one-segment-in-order}"),
        ("{title}`infini_attention`, {title}`gate`", "Infini-attention, the gate"),
        (
            "[{Lesson}`infini_attention`, How](lesson:infini_attention#how-large-it-is)",
            "Lesson {infini_attention}, How",
        ),
        ("[it](https://x.org) and [a](b.md)", "[it](https://x.org) and [a](b.md)"),
        ("```\n{lesson}`nobody`\n```\n`code`", "```\n{lesson}`nobody`\n```\n`code`"),
    ],
)
def test_a_reference_says_what_its_name_stands_for(text, words):
    wanted = re.sub(r"\{([a-z][\w-]+)\}(?!`)", lambda name: references.number(name[1]), words)
    assert resolve(text, WORDS) == wanted


def test_a_reference_leads_to_what_it_names_unless_it_stands_in_a_link_or_a_heading():
    stem = lesson("infini_attention").stem
    assert resolve("{lesson}`infini_attention`", PAGE).endswith(f"](lessons/{stem}.html)")
    assert resolve("{exercise}`segment_step`", PAGE).endswith(f"]({stem}.html#exercise-segment-step)")
    assert resolve("[x {lesson}`infini_attention`](lesson:infini_attention#plug-it-in)", PAGE).count("](") == 1
    assert "](" not in resolve("## After {lesson}`infini_attention`", PAGE)
    beside = Leads(lesson="{}.ipynb", here="infini_attention")  # in a notebook an exercise is no place
    assert resolve("{exercise}`gate`", beside) == f"exercise {references.number('gate')}"
    assert resolve("{exercise}`softmax`", beside).endswith(f"]({lesson('quadratic_attention').stem}.ipynb)")
    assert resolve("[x](lesson:infini_attention#plug-it-in)", beside) == "[x](#plug-it-in)"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{lesson}`infini`", "there is no lesson 'infini'; there are start_here, "),
        ("{exercise}`softmin`", "there is no exercise 'softmin'"),
        ("{question}`why`", "there is no question 'why'"),
        ("{n}`nothing`", "there is no lesson, exercise or question 'nothing'"),
        ("[x](lesson:infini_attention#nowhere)", "the lesson infini_attention has no section 'nowhere'"),
        ("[x](exercise:softmin)", "no lesson has an exercise 'softmin'"),
        ("[x](question:why)", "there is no question 'why'"),
        ("[x](teaching:the_interview)", "there is no page teaching/the_interview.md"),
        ("{lessons}`colours`", "there is no table 'colours'; there are abilities, "),
        ("### {exercise}`softmin`", "there is no exercise 'softmin'"),
    ],
)
def test_a_name_that_stands_for_nothing_is_told_with_its_line(text, says):
    with pytest.raises(BrokenReference, match=f"^page.md:9: {re.escape(says)}"):
        resolve(f"One.\n\n```\ncode\n```\n\nTwo.\n\n{text}\n", PAGE, "page.md")


def test_names_of_lessons_exercises_and_questions_are_apart():
    kinds = [references.numbers(kind) for kind in ("lesson", "exercise", "question")]
    assert len({name for kind in kinds for name in kind}) == sum(map(len, kinds))
    assert kinds[1] == {exercise.name: exercise.number for exercise in EXERCISES.values()}


def test_what_the_first_edition_asked_is_asked_still():
    assert set(first_edition()["exercises"].values()) <= set(EXERCISES)
    assert set(first_edition()["questions"].values()) <= set(references.numbers("question"))
    assert {stem[3:] for stem in first_edition()["lessons"]} <= {each.name for each in lessons()}


def test_a_reference_is_resolved_without_torch():
    code = "from solutions.references import *; resolve('{exercise}`gate` of {lesson}`infini_attention`', WORDS)"
    done = subprocess.run([sys.executable, "-c", f"{code}; import sys; assert 'torch' not in sys.modules"], cwd=ROOT)
    assert done.returncode == 0


# --- no number is typed ---

TYPED = re.compile(
    r"\b[Ll]essons? \d|\b[Ee]xercises? \d|\b[Qq]uestions? \d+\.\d|\bas in \d\.\d{1,2}\b|\b0\d_[a-z]+_|\blesson_\d\d"
)
ALLOWED = {
    "solutions/references.py",  # says what names become
    "solutions/lessons.py",
}


@pytest.mark.parametrize("folder", ["book", "solutions", "widgets", "course.py", "CONTRIBUTING.md", "binder"])
def test_no_number_of_a_lesson_is_typed(folder):
    kinds = {".md", ".py", ".js", ".mjs", ".po", ".toml", ".yml", ".html", ".txt", ".css"}
    here = [path for path in FILES if path.relative_to(ROOT).parts[0] == folder and path.suffix in kinds]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:90]}"
        for path in here
        if path.relative_to(ROOT).as_posix() not in ALLOWED
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if TYPED.search(line)
    ]
    assert here and found == []
