"""A reader's first minutes: the real `course.py lab`, its address in a browser, every lesson run top to bottom."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LESSONS = sorted(path.name for path in (ROOT / "lessons").glob("*.ipynb"))
CELL_SECONDS = 300  # without a cell that ends, on a machine that others load as well

pytestmark = pytest.mark.skipif(
    Path(sys.prefix) != ROOT / ".venv", reason="the door would install: run these tests through `course.py test`"
)


class Lab:
    """A running door: the work folder, what it said, and the address that it printed."""

    def __init__(self, folder: Path, said: str):
        self.folder, self.said, self.address = folder, said, re.search(r"http://\S+", said).group()
        self.server, self.token = re.match(r"(http://[^/]+)/.*token=(\w+)", self.address).groups()

    def page_of(self, name: str) -> str:
        """A lesson in a workspace of its own, so that no other test's tabs are open beside it."""
        return f"{self.server}/lab/workspaces/{name[:2]}/tree/{name}?token={self.token}"

    def end_kernels(self) -> None:
        for kernel in self._ask("GET", "kernels"):
            self._ask("DELETE", f"kernels/{kernel['id']}")

    def _ask(self, method: str, what: str):
        request = urllib.request.Request(f"{self.server}/api/{what}?token={self.token}", method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("a reader's work")
    command = [sys.executable, "course.py", "lab", "--no-browser", "--port", "0", "--work", folder]
    door = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    said = ""
    try:
        while "Ctrl-C" not in said:
            line = door.stdout.readline()
            assert line, f"the door closed again: {said}"
            said += line
        yield Lab(folder, said)
    finally:
        door.terminate()
        door.communicate(timeout=30)


def answer(path: Path) -> None:
    """Forget what is stored, and write right answers into the exercises, others than ours."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell, below in pairwise([*notebook["cells"], {}]):
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
        if "exercise" in cell["metadata"].get("tags", []):
            name = "".join(below["source"]).split(" = ")[0]
            theirs = f"from solutions.checks import EXERCISES\n{name} = EXERCISES['{name}'].right_answers[0]"
            cell["source"] = f"{theirs}\n{name}.__name__ = '{name}'"
    path.write_text(json.dumps(notebook), encoding="utf-8")


def saved(page, path: Path) -> list:
    """The code cells in the file after saving; none while it is being written."""
    page.keyboard.press("ControlOrMeta+s")
    page.wait_for_timeout(1000)
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return []
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run_all(page, path: Path) -> list:
    """Through the menu, until the saved file says that every cell ran, and return the cells that have code.

    A cell that raises fails the test.
    """
    page.get_by_text("| Idle").wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    cells, waiting, since = [], [{"source": "(nothing saved)"}], time.monotonic()
    while waiting:
        assert time.monotonic() - since < CELL_SECONDS, f"{CELL_SECONDS} seconds: {waiting[0]['source']}"
        if cells := saved(page, path):
            assert [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"] == []
            still = [cell for cell in cells if cell["execution_count"] is None]
            since = since if len(still) == len(waiting) else time.monotonic()
            waiting = still
    return cells


def test_a_second_start_installs_nothing(lab):
    assert not re.search("[Mm]aking|Bringing", lab.said)


def test_address_opens_the_first_lesson_and_nothing_else(lab, page):
    page.goto(lab.address)
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
    page.wait_for_timeout(2000)
    assert page.locator(".lm-TabBar-tab.jp-mod-current").all_inner_texts() == [LESSONS[0]]
    assert page.get_by_text("Jupyter news").count() == 0
    assert page.outside_requests == []


@pytest.mark.parametrize("name", LESSONS)
def test_answered_in_another_way_a_lesson_runs_to_its_end_and_answers_a_click(lab, page, name):
    path = lab.folder / name
    answer(path)
    page.goto(lab.page_of(name))
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
    for cell in run_all(page, path):
        if "check" in cell["metadata"].get("tags", []):
            assert ": right" in json.dumps(cell["outputs"]), cell["source"]
    question = page.locator(".al-predict").first
    before = question.inner_text()
    question.get_by_role("button").first.click()
    page.wait_for_function("([node, text]) => node.innerText !== text", arg=[question.element_handle(), before])
    assert re.search("You said|Noted", question.inner_text())
    assert page.outside_requests == []
    lab.end_kernels()
