"""The table of what we measured: each path leads to a figure, each result is in it, each command can be run."""

import json
import re
from itertools import chain

import pytest
from bound import ROOT

from solutions.checkpoints import recipes
from solutions.lessons import lesson, lessons
from widgets.measurements import RESULTS
from widgets.measurements import figures as measured
from widgets.measurements.figures import NOT_YET, Figure, Run, values

RUNS = list(chain.from_iterable(measured.LESSONS.values()))


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.command}, {run.file.rpartition('/')[2]}")
def test_every_figure_is_where_the_table_says(run):
    for figure in run.figures:
        shown = measured.measured(run, figure)
        assert (shown == NOT_YET) <= run.needs_gpu, figure
        assert shown == NOT_YET or re.fullmatch(r"[\d.,e-]+( to [\d.,e-]+)?( [%\w/]+)?", shown), (figure, shown)


def test_every_result_that_is_kept_is_shown():
    shown = {path for run in RUNS for path in measured.files(run)}
    folders = (RESULTS, ROOT / "solutions/checkpoints", ROOT / "book/figures")
    results = [path for folder in folders for path in folder.glob("*.json")]
    assert {path.name for path in results} <= {path.name for path in shown}


def test_there_are_at_least_forty_and_some_in_each_lesson():
    assert sum(len(run.figures) for run in RUNS) >= 40
    assert list(measured.LESSONS) == [each.name for each in lessons() if each.mechanisms]


def test_every_command_names_something_that_can_be_run():
    for run in RUNS:
        kind, *rest = run.command.split()
        script = "".join(measured.program(run.command)[:2]).replace("-m", "").replace(".", "/") + ".py"
        if kind == "train":
            assert rest[0] in recipes(), run.command
        elif kind == "lesson":
            assert rest == [lesson(rest[0]).name], run.command
        else:
            told = (ROOT / script).read_text(encoding="utf-8").partition('"""\n')[0]
            assert all(re.search(rf"\b{part}\b", told) for part in rest), f"{script} does not tell of {rest}"


def test_the_page_holds_every_figure_and_its_command():
    page = measured.page()
    for run in RUNS:
        assert f"`python3 course.py measure {run.command}`: {run.takes}" in page
        assert all(figure.what in page and figure.published in page for figure in run.figures)
    assert (page.count(NOT_YET) > 2) == any(measured.circumstances(run) == NOT_YET for run in RUNS)


def test_a_number_on_the_page_is_the_number_in_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(measured, "ROOT", tmp_path)
    told = {"rows": [{"n": 1, "took": {"s": 0.25}}, {"n": 2, "took": {"s": 0.5}}], "provenance": {}}
    (tmp_path / "a.json").write_text(json.dumps(told))

    def show(path: str, unit: str) -> str:
        return measured.measured(Run("a", "", "a.json", []), Figure("", "", path, unit))

    assert show("rows/n=2/took/s", "ms") == "500.0 ms"
    assert show("rows/*/took/s", "%") == "25.0 to 50.0 %"
    assert show("rows/took.s=0.25/n", "B") == "1 B"
    assert show("rows/1/n", "") == "2"


@pytest.mark.parametrize("path", ["rows/n=3", "lost", "rows/9/n"])
def test_a_path_that_leads_nowhere_is_named(path):
    with pytest.raises(ValueError, match=re.escape(repr(path))):
        values({"rows": [{"n": 1}]}, path)


def test_without_a_name_it_lists_and_with_an_unknown_one_it_says_which_there_are(capsys):
    assert measured.main([]) == 0
    assert "infini passkey" in capsys.readouterr().out
    assert measured.main(["lenght"]) == 2
    assert "There are: lesson quadratic_attention, window," in capsys.readouterr().err


def test_with_a_name_it_runs_the_bench(monkeypatch):
    asked = []

    class Done:
        returncode = 0

    monkeypatch.setattr(measured.subprocess, "run", lambda command, cwd: asked.append(command) or Done)
    for name in ("infini speed", "train sinks", "lesson quadratic_attention"):
        assert measured.main(name.split()) == 0
    assert [command[1:] for command in asked] == [
        ["-m", "widgets.measurements.infini", "speed"],
        ["-m", "solutions.checkpoints", "sinks"],
        ["book/press.py", "--remeasure", "quadratic_attention"],
    ]
