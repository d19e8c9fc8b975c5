"""The bank of questions, the figures in it, what is kept of a reader's answers, the mock's rules and the deck."""

import ast
import json
import linecache
import re
import sqlite3
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from solutions import references
from solutions.lessons import first_edition, lesson, lessons
from widgets import Mock, Practice, whiteboard
from widgets.interview import bank, deck, keep, mock
from widgets.interview.bank import BankError
from widgets.kit import link
from widgets.kit.base import KINDS, static_assets, static_kinds

FILES = [f"{each.name}.md" for each in lessons() if (bank.FOLDER / f"{each.name}.md").exists()]
ASKED = [lesson(name.removesuffix(".md")) for name in FILES]

TEXT = r"""# Interview: flash attention

Tiles, and what they cost.

(q-does-it-fit)=
## Does a tile of 128 x 64 fit an H100?

*onsite · 6 minutes*

**Answer.** It holds $Q$ of $128 \times 128$ and **two** stages of keys and values: 98,304 B.

It fits, since 96 KiB < 227 KiB.

**Points.**
- the queries stay, the keys come in stages
- a block may take 227 KiB
- the whole is 98,304 B, in bytes
  and not in numbers

**Follow-ups.**
- What do three stages take? → a third tile, $n < 3$
- Who counts bytes? → the compiler

**Common wrong answer.** "It needs 64 KB." That is one stage.

**Evidence.** [{Lesson}`flash_attention`, Tiles](lesson:flash_attention#two-memories) counts them.

**Figures.**
- `98,304 B` = `128 * 128 * 2 + 2 * 2 * 64 * 128 * 2`
- `96 KiB` = `98_304 / 1024`
- `227 KiB` from [NVIDIA, CUDA programming guide](https://docs.nvidia.com/cuda/)
- `64 KB` = `2 * 2 * 64 * 128 * 2 / 1024`

(q-where-is-it)=
## Where is the maximum kept?

*screen · 1 minute*

**Answer.** In registers, one for each row.

**Points.**
- in registers
- one for each row
- rescaled when it grows

**Follow-ups.**
- Why not in memory? → it changes with every tile

**Common wrong answer.** "In shared memory." Rows are not shared.

**Evidence.** [{Lesson}`flash_attention`](lesson:flash_attention) prints it.

**Figures.**
"""


@pytest.fixture
def file(tmp_path):
    """Writes a file of questions with something replaced in it."""

    def write(old="", new="", text=TEXT):
        assert old in text
        path = tmp_path / "flash_attention.md"
        path.write_text(text.replace(old, new, 1) if old else text, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def questions():
    return bank.questions()


# The form ---------------------------------------------------------------------------------------------------------


def test_a_question_is_read_as_it_is_written(file):
    first, second = bank.read(file())
    assert (first.id, first.lesson, first.level, first.minutes) == ("does-it-fit", "flash_attention", "onsite", 6)
    number = lesson("flash_attention").number
    assert [first.number, second.number] == [f"{number}.1", f"{number}.2"]
    assert first.title == "Does a tile of 128 x 64 fit an H100?"
    assert first.answer.startswith("It holds") and first.answer.endswith("227 KiB.") and "\n\n" in first.answer
    assert first.points[2] == "the whole is 98,304 B, in bytes and not in numbers"
    assert first.follow_ups == (
        ("What do three stages take?", "a third tile, $n < 3$"),
        ("Who counts bytes?", "the compiler"),
    )
    assert [figure.text for figure in first.figures] == ["98,304 B", "96 KiB", "227 KiB", "64 KB"]
    assert first.figures[2].expression is None and "nvidia" in first.figures[2].source
    assert second.figures == () and second.minutes == 1
    assert bank.figures_hold(first) == bank.figures_hold(second) == []


def test_a_missed_point_has_its_follow_up(file):
    first, second = bank.read(file())
    assert [first.follow_up_of(point) for point in range(3)] == [0, 0, 1]
    assert [second.follow_up_of(point) for point in range(3)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("old", "new", "line", "sentence"),
    [
        ("(q-does-it-fit)=", "(q-Fits?)=", 5, "a target such as (q-its-name)="),
        ("(q-where-is-it)=\n", "", 34, "has no target above it"),
        ("## Does", "## 3.5 Does", 6, "the number of a question is its place"),
        ("## Does", "### Does", 6, "expected a heading"),
        ("*onsite · 6 minutes*", "*hard · 6 minutes*", 8, "'*hard · 6 minutes*'"),
        ("*onsite · 6 minutes*", "*onsite, 6 minutes*", 8, "expected *screen · 3 minutes*"),
        ("**Points.**", "**Hints.**", 14, "expected **Points.**, found **Hints.**"),
        ("**Points.**\n", "", 19, "expected **Points.**, found **Follow-ups.**"),
        ("- the queries stay", "the queries stay", 15, "begin the line with '- '"),
        ("- in registers\n", "", 41, "where-is-it has 2 points; give 3 to 6"),
        (" → the compiler", ", the compiler", 22, "'question → answer'"),
        ('"It needs 64 KB." That is one stage.', "", 24, "of does-it-fit is empty"),
        ("[{Lesson}`flash_attention`, Tiles](lesson:flash_attention#two-memories)", "It", 26, "no link into"),
        ("= `98_304 / 1024`", "= 98_304 / 1024", 30, "a figure is"),
        ("[NVIDIA, CUDA programming guide](https://docs.nvidia.com/cuda/)", "NVIDIA", 31, "has no link"),
        (
            "**Evidence.** [{Lesson}`flash_attention`](lesson:flash_attention) prints it.\n\n**Figures.**\n",
            "",
            50,
            "**Evidence.**",
        ),
    ],
)
def test_a_damaged_question_is_named_with_file_and_line(file, old, new, line, sentence):
    with pytest.raises(BankError) as error:
        bank.read(file(old, new))
    assert str(error.value).startswith(f"flash_attention.md:{line}: "), error.value
    assert sentence in str(error.value)


def test_a_name_given_twice_and_a_file_that_is_no_text_are_named(file):
    with pytest.raises(BankError, match=r"^flash_attention.md:\d+: where-is-it is there already, in .*:34; name it"):
        bank.questions(file(text=TEXT + TEXT[TEXT.index("(q-where-is-it)=") :]).parent)
    path = file()
    path.write_bytes(b"# \xff")
    with pytest.raises(BankError, match=r"flash_attention.md: is not UTF-8"):
        bank.read(path)


def test_half_a_file_is_refused_or_read_as_far_as_it_is_whole(file):
    """A file that was cut anywhere is never read as questions that it does not hold."""
    whole = bank.read(file())
    for end in range(0, len(TEXT), 23):
        try:
            found = bank.read(file(text=TEXT[:end]))
        except BankError:
            continue
        assert [question.points for question in found] == [question.points for question in whole[: len(found)]]


# The figures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("= `98_304 / 1024`", "= `98_305 / 1000`", "98_305 / 1000 is 98.305"),
        ("98,304 B` =", "98,303 B` =", "'98,303 B' stands nowhere"),
        ("= `98_304 / 1024`", "= `tile_bytes(1)`", "NameError"),
        ("96 KiB < 227 KiB", "96 KiB < 227 KiB, or 3.7 times less", "3.7 in does-it-fit is no figure"),
        ("→ the compiler", "→ the compiler, in 40 µs", "40 in does-it-fit is no figure"),
        ("a block may take 227 KiB", "a block may take 228 KiB", "228 in does-it-fit is no figure"),
    ],
)
def test_a_figure_that_does_not_hold_is_named(file, old, new, sentence):
    problems = bank.figures_hold(bank.read(file(old, new))[0])
    assert any(sentence in problem for problem in problems), problems
    assert all(problem.startswith("flash_attention.md:") for problem in problems)


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("98,304 B", 98304, True),
        ("98,304 B", 98305, False),
        ("68.7 GB", 68.719476736, True),
        ("68.7 GB", 68.76, False),
        ("41 %", 40.6, True),
        ("0.666 to 0.187", (0.6661, 0.1873), True),
        ("0.666 to 0.187", (0.6661, 0.1883), False),
        ("0.666 to 0.187", (0.6661,), True),
        ("three", 3, False),
        ("3e-4", 0.0003, True),
        ("3e-4", 0.0004, False),
        ("−2.5", -2.5, True),
        ("about 5,000", 4871, False),
        ("right", "right", True),
    ],
)
def test_a_value_is_compared_as_it_is_printed(text, value, holds):
    assert bank.prints(text, value) == holds


def test_small_counts_years_names_and_powers_of_two_need_no_evidence():
    text = TEXT.replace(
        "**two** stages", "two stages, as FlashAttention-17 on an A100 in 2024 did for 4,096 tokens, 12 times"
    )
    question = bank.question(Path("flash_attention.md"), text.splitlines(), 4, 33)
    assert bank.loose(question) == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.seconds
def test_every_figure_of_every_question_holds(name, questions):
    problems = [problem for each in questions if each.file == name for problem in bank.figures_hold(each)]
    assert problems == []


@pytest.mark.parametrize("name", FILES)
def test_every_link_leads_to_a_heading(name, questions):
    assert [problem for each in questions if each.file == name for problem in bank.links_hold(each)] == []


def test_a_link_to_nowhere_is_named(file):
    def problems(old, new):
        return bank.links_hold(bank.read(file(old, new))[0])

    assert "the lesson flash_attention has no section 'no-such-place'" in problems("#two-memories", "#no-such-place")[0]
    assert "there is no lesson 'flash'" in problems("(lesson:flash_attention#two-memories)", "(lesson:flash)")[0]
    assert "there is no exercise 'softmin'" in problems("a third tile", "as in {exercise}`softmin`")[0]


def test_there_are_enough_questions_of_each_level(questions):
    counted = Counter((question.lesson, question.level) for question in questions)
    assert len(questions) >= 90
    assert {name for name, _ in counted} == {row.name for row in ASKED}
    assert ASKED == [row for row in lessons() if row.mechanisms]
    assert min(counted[row.name, level] for row in ASKED for level in bank.LEVELS) >= 3
    assert len({question.title for question in questions}) == len(questions)


def test_every_question_can_be_shown(questions):
    for question in questions:
        shown = json.dumps(bank.as_data(question))
        prose = re.sub(r"<code>.*?</code>", "", shown)
        assert not re.search(r"\$[^$]*\$|\*\*|<script", prose), question.id


def test_markup_is_shown_and_not_run():
    assert bank.html("a <b onclick='x'>b</b> & $a < b$") == (
        "<p>a &lt;b onclick='x'&gt;b&lt;/b&gt; &amp; <span><math><mi>a</mi><mo>&lt;</mo><mi>b</mi></math></span></p>"
    )
    stem = lesson("flash_attention").stem
    inside = bank.html(references.resolve("[x](lesson:flash_attention#two-memories)", bank.PAGE), inline=True)
    assert inside == f'<a data-lesson="{stem}" href="../lessons/{stem}.html#two-memories">x</a>'
    assert 'rel="noopener"' in bank.html("[x](https://example.org)")


def test_a_formula_that_cannot_be_set_is_named(file):
    with pytest.raises(BankError, match=r"flash_attention.md:5: a formula of does-it-fit cannot be set"):
        bank.as_data(bank.read(file("$n < 3$", r"$\nosuch{3}$"))[0])


# What is kept -----------------------------------------------------------------------------------------------------


def answer(id="one", when="2026-05-01T12:00:00.000Z", **given):
    return {"id": id, "when": when, "late": False, "ticked": [0], "of": 4, "said": "", "seconds": 60} | given


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "work" / "interview.json"


def answered(kept, *answers, mock=None):
    practice = Practice(progress=kept)
    practice.reader = {**practice.reader, "answers": [*practice.reader["answers"], *answers], "mock": mock}
    return practice


def test_answers_are_kept_and_found_again(kept):
    assert Practice(progress=kept).reader == keep.empty()
    late = answer("two", late=True, seconds=900, said="in the end")
    answered(kept, answer(), late)
    assert Practice(progress=kept).reader["answers"] == [answer(), late]
    assert Mock(progress=kept).reader["answers"] == [answer(), late]


def test_answers_kept_under_numbers_are_found_under_names(kept):
    """As the first edition left them; what is saved next keeps them so."""
    names = first_edition()["questions"]
    half = {"begun": "now", "elapsed": 7, "events": [{"kind": "opening"}, {"kind": "question", "id": "1.2"}]}
    kept.parent.mkdir()
    answers = [answer("1.1"), answer("6.17"), answer("gone")]
    kept.write_text(json.dumps({"answers": answers, "mock": half, "mocks": [half | {"begun": "then"}]}))
    practice = Practice(progress=kept)
    assert [each["id"] for each in practice.reader["answers"]] == [names["1.1"], names["6.17"], "gone"]
    assert practice.reader["mock"]["events"][1]["id"] == practice.reader["mocks"][0]["events"][1]["id"] == names["1.2"]
    practice.reader = {**practice.reader, "answers": [*practice.reader["answers"], answer("new", "2026-05-02")]}
    told = {each["id"] for each in json.loads(kept.read_text())["answers"]}
    assert told == {names["1.1"], names["6.17"], "gone", "new"}


def test_every_question_of_the_first_edition_is_asked_or_known_to_be_gone(questions):
    assert set(first_edition()["questions"].values()) <= {question.id for question in questions}


def test_two_pages_at_once_lose_nothing_of_each_other(kept):
    one, other = Practice(progress=kept), Practice(progress=kept)
    one.reader = {**one.reader, "answers": [answer("one")]}
    other.reader = {**other.reader, "answers": [answer("two")]}
    assert [each["id"] for each in Practice(progress=kept).reader["answers"]] == ["one", "two"]


def test_a_mock_left_halfway_goes_on_and_an_ended_one_does_not_come_back(kept):
    half = {"begun": "2026-05-01T12:00:00.000Z", "elapsed": 700, "events": [{"kind": "opening", "ticked": []}]}
    answered(kept, mock=half)
    answered(kept, mock={**half, "elapsed": 701, "events": []})  # an answer counts more than a second
    again = Mock(progress=kept)
    assert again.reader["mock"] == half
    again.reader = {**again.reader, "mock": None, "mocks": [half]}
    assert Mock(progress=kept).reader == {"answers": [], "mock": None, "mocks": [half]}
    answered(kept, mock={**half, "elapsed": 600})  # a page that was open since before its end
    assert Mock(progress=kept).reader["mock"] is None


@pytest.mark.parametrize(
    "damage",
    [
        "",
        '{"answers": [{"id": "1.1", "wh',
        "[]",
        '{"answers": 3}',
        '{"answers": [{"id": 1}], "mock": null, "mocks": []}',
        '{"answers": [], "mock": {"begun": 1}, "mocks": []}',
        "\0\0",
        b"\xff\xfe",
    ],
)
def test_a_damaged_or_half_written_file_is_set_aside(kept, damage):
    kept.parent.mkdir()
    for name in ("interview.damaged.json", "interview.damaged-2.json"):
        damage = damage if isinstance(damage, bytes) else damage.encode()
        kept.write_bytes(damage)
        practice = Practice(progress=kept)
        assert practice.reader == keep.empty()
        assert practice.data["notice"] == (
            f"interview.json was damaged. It is kept as {name}, and the boxes start from nothing."
        )
        assert (kept.parent / name).read_bytes() == damage
        practice.reader = {**practice.reader, "answers": [answer()]}
        assert len(json.loads(kept.read_text())["answers"]) == 1


def test_a_file_damaged_between_two_answers_is_set_aside_too(kept):
    practice = answered(kept, answer("one"))
    kept.write_text('{"answers": [')
    practice.reader = {**practice.reader, "answers": [answer("one"), answer("two", "2026-05-02")]}
    assert len(json.loads(kept.read_text())["answers"]) == 2
    assert (kept.parent / "interview.damaged.json").read_text() == '{"answers": ['
    assert "damaged" in practice.data["notice"]


def test_where_nothing_can_be_written_it_is_said(tmp_path):
    (tmp_path / "work").write_text("a file where a folder should be")
    practice = answered(tmp_path / "work" / "interview.json", answer())
    assert "interview.json" in practice.data["notice"] and "not kept" in practice.data["notice"]


def test_answers_are_kept_beside_the_progress_of_the_exercises(monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    assert keep.place() is None
    assert Practice().data["kept"] == "COURSE_PROGRESS is off: answers are not kept"
    monkeypatch.setenv("COURSE_PROGRESS", "/elsewhere/progress.json")
    assert keep.place() == Path("/elsewhere/interview.json")
    monkeypatch.delenv("COURSE_PROGRESS")
    assert keep.place() == bank.ROOT / "work" / "interview.json"


# Practice and mock ------------------------------------------------------------------------------------------------


def test_its_words_are_the_same_whatever_was_answered(kept, questions):
    before = repr(Practice("onsite", "flash_attention", progress=kept))
    answered(kept, answer("tile-for-an-h100"))
    assert repr(Practice("onsite", lesson("flash_attention").number, progress=kept)) == before
    first = next(each for each in questions if each.level == "onsite" and each.lesson == "flash_attention")
    assert before.startswith("practice: ") and before.endswith(
        f"The first, onsite, {first.minutes} minutes: {first.title}"
    )
    assert first.answer[:40] not in before


@pytest.mark.parametrize("given", [{"level": "hard"}, {"lesson": 99}, {"lesson": "the_interview"}, {"lesson": True}])
def test_a_level_or_lesson_without_questions_is_refused(given):
    with pytest.raises(ValueError, match=r"give one of (screen, onsite, research|quadratic.*), or None for all"):
        Practice(**given)


@pytest.mark.parametrize("minutes", [20, 30, 44, 45, 60, 120])
def test_the_parts_of_a_mock_add_up(minutes):
    parts = dict(mock.parts(minutes))
    assert sum(parts.values()) == minutes and min(parts.values()) >= 1
    assert parts["questions"] == max(parts.values())
    assert f"mock interview: {minutes} minutes." in repr(Mock(minutes))


@pytest.mark.parametrize("minutes", [0, 19, 121, 45.5, "45", True, -45])
def test_a_mock_of_another_length_is_refused(minutes):
    with pytest.raises(ValueError, match="a mock takes 20 to 120 whole minutes"):
        Mock(minutes)


def test_the_nine_points_are_those_of_the_lesson():
    text = references.text_of("from_2k_to_128k")
    assert [name for name, *_ in mock.NINE] == re.findall(r"^\d\. \*\*(.+?)\.\*\*", text, re.MULTILINE)


def test_the_rules_that_are_read_are_the_rules_that_are_played():
    data, told = Mock().data, " ".join(" ".join(rule) for rule in mock.rules())
    assert data["boxes"] == {"days": mock.BOXES, "rise": mock.RISE, "fall": mock.FALL}
    assert (data["followUps"], data["good"]) == (mock.FOLLOW_UPS, mock.GOOD)
    for number in ("6 minutes", "24 minutes", "12 minutes", "3 minutes", "75 %", "50 %", "at most 2", "6 of 9"):
        assert number in told
    behind = [name for *_, name in mock.NINE]
    assert behind.count("from_2k_to_128k") >= 3
    assert [number for *_, number in mock.nine()] == [lesson(name).number for name in behind]
    for path in ("interview.js", "mock.js", "boxes.js"):  # no rule is written a second time
        code = (bank.ROOT / "widgets" / "interview" / path).read_text(encoding="utf-8")
        assert not re.search(r"0\.75|\b0\.5\b|>= 6\b", code), path


def test_the_whiteboard_has_the_courses_own_exercises():
    from solutions.checks import EXERCISES

    tasks = mock.tasks()
    assert len(tasks) >= 15
    for task in tasks:
        exercise = EXERCISES[task["name"]]
        assert (exercise.number, exercise.title, exercise.minutes) == (task["number"], task["title"], task["minutes"])
        assert task["file"] == lesson(exercise.lesson).stem and 5 <= task["minutes"] <= 12


def test_a_task_is_set_judged_and_marked_late(capsys, monkeypatch):
    from solutions.checks import EXERCISES

    now = [100.0]
    monkeypatch.setattr(mock.time, "monotonic", lambda: now[0])
    task = whiteboard(EXERCISES["softmax"].number)
    said = capsys.readouterr().out
    assert said.startswith(f"Exercise {EXERCISES['softmax'].number}, ") and f"def {task.name}(" in said
    ast.parse(said.partition("\n\n")[2])  # what is printed can be copied and written on
    task.check()
    assert capsys.readouterr().out == f"{task.name} is not written yet. The clock runs: {task.minutes} minutes.\n"

    def answer(scores):
        return EXERCISES[task.name].right_answers[0](scores)

    answer.__name__ = task.name
    now[0] += 65
    task.check(answer)
    assert re.search(rf"{task.name}: right, all \d+ cases\.\n1:05 of {task.minutes}:00\.\n", capsys.readouterr().out)
    now[0] += 60 * task.minutes
    monkeypatch.setattr(sys.modules["__main__"], task.name, answer, raising=False)
    task.check()
    assert "1:05 over: late, and kept." in capsys.readouterr().out


def test_after_a_right_answer_the_first_version_stands_beside_it(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.json"))
    task, answers = whiteboard("gate"), {}
    begins = "def gate(beta, from_memory, local):\n    share = beta.sigmoid().view(-1, 1, 1)\n    return"
    mixed = ["local + share * (from_memory - local)", "local", "local.lerp(from_memory, share)"]
    for number, returned in enumerate(mixed):
        source, file = f"{begins} {returned}\n", f"<board {number}>"
        linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
        exec(compile(source, file, "exec"), answers)
        capsys.readouterr()
        task.check(answers["gate"])
        said = capsys.readouterr().out
        assert ("# version 1, today, 2 lines\n" in said and "# mine.py now, 2 lines\n" in said) == (number == 2), said
    order = [f"of {task.minutes}:00.", "# version 1", mixed[0], "# mine.py now", mixed[2]]
    assert sorted(order, key=said.index) == order


def test_a_task_that_is_none_is_refused():
    with pytest.raises(ValueError, match="no exercise is called 'nothing'; give a name such as"):
        whiteboard("nothing")
    with pytest.raises(ValueError, match="0 minutes"):
        whiteboard("merge", minutes=0)


# The page ---------------------------------------------------------------------------------------------------------


def test_it_brings_its_code_to_its_own_page_and_to_no_other():
    view = Practice.view
    assert "interview" not in KINDS and "al-iv" not in "".join((static_assets() | static_kinds()).values())
    own = link.piece("interview", view, Practice.style())
    assert len(own.encode()) < 40_000
    style, script = re.fullmatch(r"<style>(.*)</style><script>(.*)</script>", own, re.DOTALL).groups()
    assert "</" not in style + script
    assert not re.search(r"https?://(?!www\.w3\.org/)|url\(|@import|\bfetch\(|\brequire\(", style + script)
    flat = re.sub(r"@container[^{]*\{((?:[^{}]*\{[^{}]*\})*)\s*\}", r"\1", style)
    selectors = [each.strip() for rule in re.findall(r"([^{}]+)\{", flat) for each in re.split(r",(?![^(]*\))", rule)]
    assert [selector for selector in selectors if not selector.startswith(".al")] == []
    assert Practice._esm == Mock._esm == link.module(view)


def test_what_it_says_of_a_question_is_not_in_the_words_before(questions):
    page = Practice().static_html()
    twin = page[page.index("data-twin") :]
    assert questions[0].title in twin and questions[0].points[0] not in twin
    assert page.count("<script") == 2 and len(page.encode()) < 1_000_000


# The deck ---------------------------------------------------------------------------------------------------------


def notes(path, folder):
    with zipfile.ZipFile(path) as package:
        package.extract("collection.anki2", folder)
        assert json.loads(package.read("media")) == {}
    with sqlite3.connect(folder / "collection.anki2") as collection:
        models, decks = collection.execute("select models, decks from col").fetchone()
        rows = collection.execute("select guid, mid, flds, tags from notes").fetchall()
        cards = collection.execute("select count(*) from cards").fetchone()[0]
    return json.loads(models), json.loads(decks), rows, cards


@pytest.mark.seconds
def test_the_deck_is_one_that_anki_takes(tmp_path, questions, capsys):
    path = tmp_path / "new" / "deck.apkg"
    assert deck.main([str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"{len(questions)} cards: {path}")
    models, decks, rows, cards = notes(path, tmp_path)
    assert len(rows) == cards == len(questions)
    assert {guid for guid, *_ in rows} == {row[0] for row in rows} and len({row[0] for row in rows}) == len(rows)
    model = models[str(deck.MODEL)]
    assert [field["name"] for field in model["flds"]] == list(deck.FIELDS)
    assert set(re.findall(r"\{\{([\w-]+)\}\}", model["tmpls"][0]["qfmt"] + model["tmpls"][0]["afmt"])) <= {
        *deck.FIELDS, "FrontSide"
    }  # fmt: skip
    assert str(deck.DECK) in decks
    for (_, mid, fields, tags), question in zip(rows, questions, strict=True):
        shown = fields.split("\x1f")
        assert mid == deck.MODEL and shown[0] == question.number and len(shown) == len(deck.FIELDS) and all(shown)
        assert tags.split() == [question.lesson, question.level]
        assert not re.search(r"\$|\.md|\*\*", "".join(shown)), question.id
        formulas = sum(text.count("$") // 2 for text in (*question.texts, question.title, question.evidence))
        assert sum(text.count("\\(") + text.count("\\[") for text in shown) >= formulas * (formulas > 0), question.id


@pytest.mark.seconds
def test_a_card_of_the_first_edition_is_mended_and_not_doubled(tmp_path, questions):
    """Anki knows a note by its guid, which was made from the number that a question had then."""
    import genanki

    deck.write(questions, tmp_path / "deck.apkg")
    guids = {row[0] for row in notes(tmp_path / "deck.apkg", tmp_path)[2]}
    for number, name in first_edition()["questions"].items():
        assert genanki.guid_for("attention-at-length", number) in guids, name


def test_a_newer_deck_mends_cards_and_doubles_none(tmp_path, file):
    first = bank.read(file())
    second = bank.read(file("In registers, one for each row.", "In registers."))
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    for name, questions in (("a", first), ("b", second)):
        deck.write(questions, tmp_path / f"{name}.apkg")
    old, new = (notes(tmp_path / f"{name}.apkg", tmp_path / name)[2] for name in "ab")
    assert [row[:2] for row in old] == [row[:2] for row in new]
    assert [a[2] == b[2] for a, b in zip(old, new, strict=True)] == [True, False]


def test_formulas_are_in_ankis_form():
    inline = '<span class="math inline">\\(a &lt; b\\)</span> &amp; <code>x</code>'
    assert deck.marked_up("$a < b$ & `x`") == f"<p>{inline}</p>"


def test_a_deck_that_cannot_be_made_says_why_and_leaves_the_old_one(tmp_path, monkeypatch, capsys, file):
    path = tmp_path / "deck.apkg"
    path.write_bytes(b"the deck of last week")
    bad = file("**Points.**", "**Hints.**")
    monkeypatch.setattr(bank, "questions", lambda: bank.read(bad))
    assert deck.main([str(path)]) == 1
    assert capsys.readouterr().err.startswith("course.py deck: flash_attention.md:14: expected **Points.**")
    assert path.read_bytes() == b"the deck of last week"
    monkeypatch.setattr(bank, "questions", lambda: [])
    assert deck.main([str(path / "deck.apkg")]) == 1
    assert "cannot write" in capsys.readouterr().err
    assert path.read_bytes() == b"the deck of last week"
