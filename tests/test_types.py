"""What the code says of its own types holds, and its lines are of one width. mypy and TypeScript read it all."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted([*ROOT.glob("widgets/*/*.js"), *ROOT.glob("book/_static/*.js"), *ROOT.glob("tests/js/*.mjs")])
TYPESCRIPT = "7.0.2"
TOOLS = ROOT / "book/_build/tools"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_line_of_javascript_is_longer_than_a_line_of_python(script):
    lines = script.read_text(encoding="utf-8").splitlines()
    assert [f"{number}: {line}" for number, line in enumerate(lines, 1) if len(line) > 120] == []


@pytest.mark.slow
def test_every_module_keeps_the_types_that_it_names():
    """With the settings of pyproject.toml. What mypy has understood of the packages is kept for the next run."""
    run = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture(scope="module")
def tsc() -> list[str]:
    """TypeScript's compiler. Without one the test skips; with COURSE_BROWSER=required npm fetches it."""
    package = TOOLS / "node_modules/typescript/package.json"
    wanted = f"typescript@{TYPESCRIPT}"
    fetch = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--prefix", str(TOOLS), wanted]
    there = package.exists() and f'"version": "{TYPESCRIPT}"' in package.read_text(encoding="utf-8")
    if os.environ.get("COURSE_BROWSER") == "required" and not there:
        TOOLS.mkdir(parents=True, exist_ok=True)
        subprocess.run([shutil.which("npm") or "npm", *fetch[1:]], check=True)
    elif not there or shutil.which("node") is None:
        pytest.skip(f"needs node and {wanted}: {' '.join(fetch)}")
    return ["node", str(package.parent / "bin/tsc")]


@pytest.mark.slow
def test_every_script_keeps_the_types_that_it_names(tsc):
    settings = ROOT / "widgets/jsconfig.json"
    run = subprocess.run([*tsc, "-p", str(settings), "--listFiles"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    read = {Path(line) for line in run.stdout.splitlines()}
    assert {script for script in SCRIPTS if script.suffix == ".js"} <= read
