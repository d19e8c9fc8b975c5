"""The tracks: what a section says of itself, how long a track takes, and that nobody who follows one is left alone."""

import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from bound import ROOT
from bs4 import BeautifulSoup
from test_notebooks import names_of

sys.path.insert(0, str(ROOT / "book"))

import bind
import press

from solutions import checks, references, tracks
from solutions.lessons import lessons

NAMES = [each.name for each in lessons()]
LONG = 60  # minutes of a lesson that has a place to stop
every_lesson = pytest.mark.parametrize("name", NAMES)

TEXT = """---
kernelspec:
  name: python3
---

One two three.

```{code-cell} ipython3
import math
a = 1
```

## First

{track}`evening`

""" + "word " * 590 + """

### {exercise}`softmax`

{track}`weekend`

### {exercise}`causal_mask`

```{code-cell} ipython3
:tags: [exercise]
solutions.quadratic.causal_mask
```

{track}`stop`

## Second

### Not a section

Four words are here.

### Aside

{track}`further`

```{code-cell} ipython3
b = 2
```

### Again

<details><summary>Further: a box</summary>

""" + "word " * 120 + """

</details>
"""


def found(text: str, name: str = "quadratic_attention"):
    return tracks.outline(text, name)[0]


def sections(name: str):
    return tracks.sections(name)


# --- what a text says ---


def test_a_section_says_its_track_and_an_exercise_a_longer_one():
    parts = found(TEXT)
    assert [(each.title, each.level) for each in parts] == [
        ("", "evening"),  # as there is a stop of the evening in it
        ("First", "evening"),
        ("Second", "everything"),
        ("Aside", "further"),
        ("a box", "further"),
    ]
    first = parts[1]
    assert first.exercises("evening") == ["causal_mask"]
    assert first.exercises("weekend") == first.exercises("everything") == ["softmax", "causal_mask"]
    minutes = {name: references.exercise(name).minutes for name in ("softmax", "causal_mask")}
    assert first.reading() == round(590 / tracks.WORDS_A_MINUTE + 1 / tracks.LINES_A_MINUTE)
    assert first.minutes("evening") == first.reading() + minutes["causal_mask"]
    assert first.minutes("weekend") == first.reading() + sum(minutes.values())
    assert parts[2].minutes("weekend") == 0 and parts[2].minutes("everything") == parts[2].reading()


def test_imports_marks_links_and_formulas_are_no_words():
    text = "{track}`weekend`\n\nOne [two](lesson:three) $x + y$ three.\n\n```{code-cell}\nimport four\nfive = 5\n```\n"
    parts = found(text)
    assert (parts[0].level, parts[0].words, parts[0].code) == ("weekend", 4, 1)  # a formula counts as a word


def test_what_nobody_sees_takes_no_minute():
    assert found("One.\n\n```{code-cell}\n:tags: [figures]\n\n{'a': 1}\n```\n")[0].code == 0


def test_the_box_and_the_text_after_it_are_apart():
    parts = found(TEXT + "\nTwo words.\n")
    assert parts[4].reading() == 2 and parts[2].words == found(TEXT)[2].words + 2


def test_an_exercise_lies_on_no_track_that_leaves_its_section_out():
    text = TEXT.replace("## First\n\n{track}`evening`", "## First\n\n{track}`everything`")
    assert found(text)[1].exercises("weekend") == [] and found(text)[0].level == "everything"


@pytest.mark.parametrize(
    ("mark", "says"),
    [
        ("{track}`morning`", "there is no track 'morning'; there are evening, weekend and everything"),
        ("Words.\n\n{track}`evening`", "this track stands under no heading"),
    ],
)
def test_a_mark_that_says_nothing_is_told_with_its_line(mark, says):
    text = f"## Here\n\n{mark}\n"
    line = text.split("\n").index(mark.split("\n")[-1]) + 1
    with pytest.raises(references.BrokenReference, match=rf"^doubling\.md:{line}: {says}"):
        tracks.outline(text, "doubling")


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course whose first lesson alone is written, as a test gives it."""
    (tmp_path / "lessons").mkdir()
    monkeypatch.setattr(references, "BOOK", tmp_path)

    def give(text: str, name: str = "quadratic_attention") -> str:
        (tmp_path / "lessons" / f"{name}.md").write_text(text)
        return text

    return give


def test_the_press_writes_minutes_the_way_on_and_the_stop(course):
    course("{track}`evening`\n\nWords.\n", "infini_attention")
    text = tracks.written(course(TEXT), "quadratic_attention")
    work = {name: references.exercise(name).minutes for name in ("softmax", "causal_mask")}
    both = sum(work.values())
    assert text.startswith("---\nkernelspec:\n  name: python3\n---\n\n*Evening ")
    assert f"*Evening {1 + 10 + work['causal_mask']} minutes, weekend {11 + both}, everything {15 + both}: " in text
    assert f"12 to read and run, {both} for exercises and 3 further.*" in text
    minutes = f"Evening {10 + work['causal_mask']} minutes, weekend and everything {10 + both}."
    assert f"+++\n\n## First\n\n*{minutes}*" in text
    assert "`softmax`\n\n*Not on the evening: left blank, the course's function takes its place.*" in text
    assert "causal_mask`\n\n```" in text  # it is where its section is
    on = "Evening and weekend: go on at [Infini-attention](lesson:infini_attention)."
    assert f"## Second\n\n*Everything 1 minute. {on}*\n" in text
    assert "+++\n\n### Not a section\n\nFour" in text
    assert "### Aside\n\n*Further, 1 minute.*\n\n+++\n" in text
    assert "<details><summary>Further, 2 minutes: a box</summary>" in text
    behind = f"> **A good place to stop.** {11 + both} of this lesson's {12 + both} minutes lie behind you."
    assert f"{behind} Go on another day at [Second](lesson:quadratic_attention#second).\n" in text
    assert not tracks.MARK.search(text)


def test_the_minutes_of_a_lesson_stand_where_its_opening_says(course):
    text = TEXT.replace("One two three.", "One two three.\n\n{track}`minutes`\n\nFour.")
    written = tracks.written(course(text), "quadratic_attention")
    assert re.search(r"^---\n\nOne two three\.\n\n\*Evening \d+ minutes, [^\n]*\.\*\n\nFour\.", written, re.MULTILINE)
    assert written.count("12 to read and run") == 1 and found(text)[0].level == "evening"
    both = "{track}`evening`\n\nOne.\n\n{track}`minutes`\n\nTwo.\n"  # its track at its head, its minutes further down
    assert found(both)[0].level == "evening"
    assert re.fullmatch(r"\s+One\.\n\n\*Evening[^\n]*\*\n\nTwo\.\n", tracks.written(both, "quadratic_attention"))
    wrong = r"doubling\.md:3: the minutes of a lesson stand in its opening"
    with pytest.raises(references.BrokenReference, match=wrong):
        tracks.outline("## One\n\n{track}`minutes`\n", "doubling")


def test_after_the_last_stop_there_is_nothing_more(course):
    text = tracks.written(course("## One\n\n{track}`evening`\n\nWords.\n\n## Two\n\nWords.\n"), "quadratic_attention")
    assert "## Two\n\n*Everything 1 minute. Evening and weekend: nothing more.*" in text


@pytest.mark.seconds
def test_each_heading_begins_a_cell_and_a_fold_is_closed():
    for path in press.lessons():
        for cell in press.printed(path, "student").cells:
            if cell.cell_type == "markdown":
                heads = re.findall(r"^#{2,3} ", cell.source, re.MULTILINE)
                assert len(heads) <= 1 and (not heads or cell.source.startswith("##") or cell.source.startswith("# "))
                closed = cell.metadata.get("jp-MarkdownHeadingCollapsed", False)
                assert closed == ("*Further, " in cell.source)
                assert not closed or len(cell.source.split("\n")) == 3  # what is hidden comes in cells of its own


# --- what the course says ---


@pytest.mark.parametrize(("track", "hours"), [("evening", 3), ("weekend", 10)])
def test_a_track_keeps_within_its_hours(track, hours):
    """And uses most of them: a track from which stops got lost is no track either."""
    assert 0.75 * 60 * hours < tracks.total(track) <= 60 * hours
    assert sum(tracks.total(track, name) for name in NAMES) == tracks.total(track)


def test_everything_is_everything():
    work = sum(each.minutes for each in checks.EXERCISES.values())
    stops = tracks.way("everything")
    assert tracks.total("everything") == work + sum(each.reading() for each in stops)
    assert [name for each in stops for name in each.exercises("everything")] == list(checks.EXERCISES)
    assert sum(sum(tracks.effort(name)) for name in NAMES) == tracks.total("everything")


def test_a_longer_track_stops_wherever_a_shorter_one_does():
    for short, long in (("evening", "weekend"), ("weekend", "everything")):
        ways = [[(each.lesson, each.title) for each in tracks.way(track)] for track in (short, long)]
        assert set(ways[0]) < set(ways[1])
        asked = [{name for each in tracks.way(track) for name in each.exercises(track)} for track in (short, long)]
        assert asked[0] < asked[1]


def test_each_short_track_ends_with_the_nine_points_and_asks_for_exercises():
    for track in ("evening", "weekend"):
        assert "The answer in nine points" in [each.title for each in tracks.way(track)]
        assert len([name for each in tracks.way(track) for name in each.exercises(track)]) >= 5


@every_lesson
def test_a_long_lesson_has_one_place_to_stop_near_its_middle(name):
    text = (ROOT / "book" / "lessons" / f"{name}.md").read_text(encoding="utf-8")
    found, stops = tracks.outline(text, name)
    reading, work, _ = tracks.effort(name)
    assert len(stops) == (reading + work > LONG)
    for at in stops:
        told = re.search(r"(\d+) of this lesson's (\d+) minutes", tracks.pause(found, at))
        assert 0.3 < int(told[1]) / int(told[2]) < 0.7
        assert re.match(r"\s*## ", text.split("\n", at + 1)[-1]), "a stop stands before a section"


TYPED = re.compile(r"\b(minutes?|hours?|sittings)\b[^.]{0,40}\b(read|exercises?)\b|^About .*(minute|hour)", re.I)


@pytest.mark.parametrize("path", [*press.lessons(), *(ROOT / "book" / name for name in ("readme.md", "index.md"))])
def test_no_page_types_how_long_it_takes(path):
    typed = ("An hour to read and run.", "About 15 minutes.", "Two hours, in two sittings, for the exercises.")
    for line in (*typed, *references.without_code(path.read_text(encoding="utf-8")).splitlines()):
        assert bool(TYPED.search(line)) == (line in typed), line


def test_the_tables_say_what_the_sections_say():
    page = references.Leads(lesson="lessons/{}.html")
    rows = references.resolve("{lessons}`tracks`", page).splitlines()[2:]
    for row, track in zip(rows, tracks.TRACKS, strict=True):
        _, _, takes, where, _ = row.split("|")
        hours, minutes = map(int, re.findall(r"\d+", takes))
        assert 60 * hours + minutes == tracks.total(track)
        told = sum(map(int, re.findall(r"\) (\d+)", where)))
        assert told == (tracks.total(track) if track != "everything" else 0)
    for track in ("evening", "weekend"):
        table = references.resolve(f"{{lessons}}`{track}`", page)
        assert sum(map(int, re.findall(r"\| (\d+) \|$", table, re.MULTILINE))) == tracks.total(track)
        asked = [name for each in tracks.way(track) for name in each.exercises(track)]
        assert re.findall(r"\d\.\d+", table) == [references.number(name) for name in asked]
        assert table.count("](lessons/") >= len([each for each in tracks.way(track) if each.title])
    readme = (ROOT / "book" / "readme.md").read_text(encoding="utf-8")
    cover = (ROOT / "book" / "index.md").read_text(encoding="utf-8")
    first = (ROOT / "book" / "lessons" / f"{NAMES[0]}.md").read_text(encoding="utf-8")
    assert all("\n{lessons}`tracks`\n" in text for text in (readme, cover, first))
    assert "\n{lessons}`evening`\n" in first and "\n{lessons}`weekend`\n" in first


@every_lesson
@pytest.mark.seconds
def test_a_track_that_leaves_a_section_out_leads_on_to_its_next_stop(name):
    every = [each for row in lessons() for each in sections(row.name)]
    for place, each in enumerate(every):
        if each.lesson != name or each.level == "further":
            continue
        said = tracks.line(each)
        for track in tracks.TRACKS:
            later = [other for other in every[place + 1 :] if tracks.lies_on(other.level, track)]
            if tracks.lies_on(each.level, track):
                assert re.search(rf"\b{track}\b", said.partition(".")[0], re.IGNORECASE)
            else:
                clause = re.search(rf"\b{track}\b[^:.]*: ([^*]*?)\.(?: |\*$)", said, re.IGNORECASE)[1]
                assert clause == (f"go on at {later[0].link()}" if later else "nothing more")
    assert press.printed(press.TEXT / f"{name}.md", "site")  # every link leads somewhere


FOLDED = [name for name in NAMES if any(each.level == "further" for each in sections(name))]


@pytest.mark.parametrize("name", FOLDED)
@pytest.mark.seconds
def test_nothing_outside_the_folds_needs_what_a_fold_makes(name):
    """Who leaves a fold closed and runs cell by cell goes on."""
    inside, level, deep, made, kept = False, 0, set(), set(), set()
    for cell in press.printed(press.TEXT / f"{name}.md", "student").cells:
        if cell.cell_type == "markdown":
            depth = len(cell.source) - len(cell.source.lstrip("#"))
            if depth and (not inside or depth <= level):
                inside, level = bool(cell.metadata.get("jp-MarkdownHeadingCollapsed")), depth
        elif "%" not in cell.source and not cell.source.lstrip().startswith("!"):
            read, makes, _ = names_of(cell)
            if inside:
                made |= makes
            else:
                deep |= (read & made) - kept
                kept |= makes
                made -= makes
    assert not deep


def test_a_fold_that_holds_an_exercise_is_a_section_of_its_own():
    """Else the heading of the exercise would end it: in JupyterLab, and on the page."""
    for name in NAMES:
        lines = (ROOT / "book" / "lessons" / f"{name}.md").read_text(encoding="utf-8").split("\n")
        for each in sections(name):
            assert not each.tasks or each.level != "further" or lines[each.at].startswith("## ")


# --- where a reader is ---


@pytest.fixture
def memory(monkeypatch):
    monkeypatch.setattr(checks._progress, "_memory", {})
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    return checks._progress.note


def test_progress_says_what_is_next_on_a_track_and_how_much_is_left(memory):
    whole = tracks.total("evening")
    shown = checks.progress(track="evening")
    assert repr(shown).endswith(f"{whole} of {whole} minutes are left. Next: the opening (Start here), 2 minutes.")
    assert sum(row[1] for row in shown.rows) == sum(row[2] for row in shown.rows) == whole
    assert [row[0] for row in shown.rows] == [row.heading for row in lessons() if tracks.total("evening", row.name)]
    names = [name for each in tracks.way("evening") for name in each.exercises("evening")]
    memory(names[0], "done")
    memory(names[1], "tried")
    stops = tracks.way("evening")
    place = next(place for place, each in enumerate(stops) if names[0] in each.exercises("evening"))
    left = sum(each.minutes("evening") for each in stops[place + 1 :])
    assert f"{left} of {whole} minutes are left. Next: {stops[place + 1].title or 'the opening'} (" in repr(
        checks.progress(track="evening")
    )
    for name in names[2:]:
        memory(name, "done")
    shown = repr(checks.progress(track="evening"))
    number, title = checks.EXERCISES[names[1]].number, checks.EXERCISES[names[1]].title
    assert f", with {number}, {title}." in shown
    assert "<caption>" in checks.progress(track="evening")._repr_html_()
    assert '<th scope="col">left</th>' in checks.progress(track="evening")._repr_html_()


def test_progress_along_a_track_in_one_lesson(memory):
    shown = checks.progress("quadratic_attention", track="weekend")
    assert len(shown.rows) == 1 and shown.rows[0][1] == tracks.total("weekend", "quadratic_attention")
    apart = next(name for name in NAMES if not tracks.total("evening", name))
    assert repr(checks.progress(apart, track="evening")).endswith("The track evening doesn't stop here.")


def test_a_track_that_is_read_and_done_is_done(memory, monkeypatch):
    for name in checks.EXERCISES:
        memory(name, "done")
    monkeypatch.setattr(tracks, "way", lambda track: sections("start_here")[:4])
    assert repr(checks.progress("start_here", track="weekend")).endswith("All of it is done.")


@pytest.mark.parametrize("track", ["morning", "Evening", "", 3, ["evening"]])
def test_a_track_that_there_is_not_is_told_in_a_sentence_and_nothing_is_lost(track, tmp_path, monkeypatch, capsys):
    path = tmp_path / "progress.json"
    path.write_text('{"softmax": "done"}')
    monkeypatch.setenv("COURSE_PROGRESS", str(path))
    shown = checks.progress(track=track)
    said = capsys.readouterr().out
    assert said == (
        f"There is no track {track!r}; there are evening, weekend and everything. "
        "Nothing is lost; these are the exercises:\n"
    )
    assert repr(shown) == repr(checks.progress()) and path.read_text() == '{"softmax": "done"}'


@pytest.mark.seconds
def test_the_tracks_are_known_without_torch():
    code = "from solutions import tracks; tracks.total('evening'); import sys; print('torch' in sys.modules)"
    for said in (None, "False\n"):  # the first time the checkers may be asked
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert said in (None, done.stdout)


# --- on a page ---


@pytest.mark.slow
def test_a_page_shows_the_line_under_a_heading_and_closes_a_fold(tmp_path):
    source = tmp_path / "source"
    bind.gather(source)
    for page in source.glob("*.md"):
        page.unlink()
    texts = ["# A lesson\n\n*Evening 3 minutes.*\n\nWords.", "## Here\n\n*Evening 2 minutes.*\n\n*Words*, and more."]
    texts += ["## Aside\n\n*Further, 4 minutes.*", "Hidden.", "### Deeper\n\nHidden, too.", "## Open\n\nShown."]
    cells = [nbformat.v4.new_markdown_cell(text) for text in texts]
    (source / "lessons").mkdir()
    small = nbformat.v4.new_notebook(cells=cells, metadata=press.METADATA)
    nbformat.write(small, source / "lessons" / "00_small.ipynb")
    (source / "index.md").write_text("# Small\n", encoding="utf-8")
    (source / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters:\n- file: lessons/00_small\n")
    (source / "_assets" / "notebooks").mkdir(parents=True)
    shutil.copy(source / "lessons" / "00_small.ipynb", source / "_assets" / "notebooks")
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'book')!r}); import bind; from pathlib import Path; "
    code += f"bind.make_pages(Path({str(source)!r}), Path({str(tmp_path / 'html')!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    page = BeautifulSoup((tmp_path / "html" / "lessons" / "00_small.html").read_text(encoding="utf-8"), "html.parser")
    assert [line.get_text() for line in page.select("p.track")] == ["Evening 3 minutes.", "Evening 2 minutes."]
    (box,) = page.select("details.further")
    assert box.summary.get_text() == "Further, 4 minutes" and not box.has_attr("open")
    assert box.find_parent("section")["id"] == "aside"
    assert "Hidden." in box.get_text() and "Hidden, too." in box.get_text() and "Shown." not in box.get_text()
