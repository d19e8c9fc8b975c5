"""What is said of the code's form and types, held by the tools that read it."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted([*ROOT.glob("widgets/*/*.js"), *ROOT.glob("book/_static/*.js"), *ROOT.glob("tests/js/*.mjs")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_line_of_javascript_is_longer_than_a_line_of_python(script):
    lines = script.read_text(encoding="utf-8").splitlines()
    assert [f"{number}: {line}" for number, line in enumerate(lines, 1) if len(line) > 120] == []
