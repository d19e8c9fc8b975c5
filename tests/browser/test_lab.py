"""A reader's first minutes: the real `course.py lab`, its address in a browser, a lesson, every instrument alive."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
LESSONS = sorted(path.name for path in (ROOT / "lessons").glob("*.ipynb"))
ALL = [  # of a notebook, its cells
    """import numpy as np
import torch

import widgets
from solutions.flash import TileMachine, tiled_attention
from widgets import Atlas, Eye, Ledger, Mock, Order, Practice, Sketch, Tape, Theatre, predict
from widgets.ledger.measure import sweep
from widgets.theatre import Trace

torch.manual_seed(0)
shown, q, k = {}, torch.randn(2, 12, 8), torch.randn(1, 12, 8)"""
]
ALL += [
    f"shown[{name!r}] = {made}\nshown[{name!r}]"
    for name, made in {
        "predict": 'predict("Which?", choices=["one", "two"], answer="two", why="It is.")',
        "Ledger": 'Ledger(sweep({"pairs": lambda x: x @ x.T}, [64, 128, 256], lambda n: (torch.randn(n, 4),)))',
        "Atlas": 'Atlas.of(q, k, run="twelve tokens")',
        "Theatre": "Theatre(Trace.of_machine(machine))",
        "Tape": "Tape.from_pairs(*torch.randn(2, 24, 8), segment=4, rule='linear')",
        "Eye": "Eye.from_vectors(q, k, torch.randn(2, 12, 4), torch.randn(12, 4), torch.rand(12, 2), top_k=4)",
        "Order": 'Order({"a": np.ones((2, 2, 3)), "b": 1 + np.ones((2, 2, 3))}, carried={"a": 1, "b": 2}, '
        'holds=[64, 128], facts=[4, 8], pair=("a", "b"), at=(64, 4), provenance="a test")',
        "Sketch": 'Sketch("Which?", [1, 2], {"a": [0.5, 0.1]}, marks={1: "near"}, provenance="a test")',
        "Practice": "Practice()",
        "Mock": "Mock(20)",
    }.items()
]
ALL[4] = f"machine = TileMachine()\ntiled_attention(machine, *torch.randn(3, 32, 8), block_m=16, block_n=16)\n{ALL[4]}"
ALL += ["left = {*widgets.__all__} - {*shown, 'whiteboard'}\nassert not left, left"]
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


def test_a_lesson_runs_and_answers_a_click(lab, page):
    path = lab.folder / LESSONS[0]
    until_a_question(path)
    page.goto(lab.page_of(path.name))
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
    run_all(page, path)
    answer_a_question(page)
    assert page.outside_requests == []
    lab.end_kernels()


def answer_a_question(page) -> None:
    question = page.locator(".al-predict").first
    before = question.inner_text()
    question.get_by_role("button").first.click()
    page.wait_for_function("([node, text]) => node.innerText !== text", arg=[question.element_handle(), before])
    assert re.search("You said|Noted", question.inner_text())


def test_every_instrument_is_alive_in_a_notebook(lab, page):
    """nbval runs the lessons and the site shows them; what JupyterLab makes of an instrument is the same in each."""
    path = lab.folder / "all.ipynb"
    cells = [nbformat.v4.new_code_cell(source) for source in ALL]
    metadata = json.loads((lab.folder / LESSONS[0]).read_text(encoding="utf-8"))["metadata"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    page.goto(lab.page_of(path.name))
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
    run_all(page, path)
    for cell in page.locator(".jp-Notebook .jp-CodeCell").all()[1:-1]:
        cell.scroll_into_view_if_needed()
        cell.locator(".al", has_text=re.compile(r"\w")).first.wait_for()  # drawn, and not the text that stands for it
    page.locator(".al-predict").scroll_into_view_if_needed()
    answer_a_question(page)
    assert page.outside_requests == [] and page.errors == []
