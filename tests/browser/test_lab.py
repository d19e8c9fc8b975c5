"""A reader's first minutes: the real `course.py lab`, its address in a browser, every lesson run top to bottom."""

import json
import re
import subprocess
import sys
import time
import urllib.request
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


def until_a_question(path: Path) -> None:
    """Forget what is stored, and what comes after the first prediction: nbval runs the rest, and a lesson is long."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    first = next(i for i, cell in enumerate(notebook["cells"]) if "".join(cell["source"]).startswith("predict("))
    del notebook["cells"][first + 1 :]
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


def run_all(page, path: Path) -> None:
    """Through the menu, until the saved file says that every cell ran. A cell that raises fails the test."""
    page.get_by_text("| Idle").wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    waiting, since = [{"source": "(nothing saved)"}], time.monotonic()
    while waiting:
        assert time.monotonic() - since < CELL_SECONDS, f"{CELL_SECONDS} seconds: {waiting[0]['source']}"
        if cells := saved(page, path):
            assert [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"] == []
            still = [cell for cell in cells if cell["execution_count"] is None]
            since = since if len(still) == len(waiting) else time.monotonic()
            waiting = still


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
def test_a_lesson_runs_and_answers_a_click(lab, page, name):
    path = lab.folder / name
    until_a_question(path)
    page.goto(lab.page_of(name))
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
    run_all(page, path)
    question = page.locator(".al-predict").first
    before = question.inner_text()
    question.get_by_role("button").first.click()
    page.wait_for_function("([node, text]) => node.innerText !== text", arg=[question.element_handle(), before])
    assert re.search("You said|Noted", question.inner_text())
    assert page.outside_requests == []
    lab.end_kernels()
