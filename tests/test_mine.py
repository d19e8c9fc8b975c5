"""The reader's own module: right answers come into it, are used from it, and nothing that is in it gets lost."""

import dataclasses
import errno
import importlib
import importlib.util
import json
import linecache
import os
import re
import runpy
import subprocess
import sys
import threading
import time
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch

from solutions import infini, interpreter, mine, quadratic
from solutions.checks import EXERCISES, Exercise, check, keeping
from solutions.checks.exercise import Verdict

progress = importlib.import_module("solutions.checks.progress")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book"))

import press  # noqa: E402

ALL = len(EXERCISES)
IMPORTS = """
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from solutions import quadratic
from solutions.checks import check
from solutions.infini import feature, gate, retrieve, update_linear
from solutions.quadratic import attention, attention_scores, causal_mask, softmax
"""
UNIFORM = "def uniform_attention(values):\n    return values.sum(0) / len(values)\n"
MASK = """def causal_mask(queries, keys, device=None):
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
"""
SOFTMAX = '''def softmax(scores: Tensor) -> Tensor:
    """Rows of weights."""

    wide = scores if scores.dtype == torch.float64 else scores.float()
    e = torch.exp(wide - wide.amax(-1, keepdim=True).clamp(min=-1e30))  # no row of -inf is measured from -inf
    return (e / e.sum(-1, keepdim=True).clamp(min=1)).to(scores.dtype)
'''
SCORES = """def attention_scores(q, k, scale=None):
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if q.dtype == torch.float64:
        return q * scale @ k.mT
    return ((q.float() * scale) @ k.float().mT).to(q.dtype)
"""
ATTENTION = """def attention(q, k, v, *, causal=False, mask=None, scale=None):
    s = attention_scores(q, k, scale)
    if causal:
        s = s.masked_fill(~causal_mask(q.shape[-2], k.shape[-2], q.device), -math.inf)
    if mask is not None:
        s = s.masked_fill(~mask, -math.inf)
    return softmax(s) @ v
"""
RETRIEVE = """def retrieve(q, memory, z):
    weight = feature(q)
    total = (weight * z[..., None, :]).sum(-1, keepdim=True)
    return weight @ memory / torch.where(total > 0, total, torch.ones_like(total))
"""
WRITE = """def update_linear(k, v, memory, z):
    s = feature(k)
    return memory + s.transpose(-1, -2) @ v, z + s.sum(-2)
"""
GATE = """def gate(beta, from_memory, local):
    share = beta.sigmoid().view(-1, 1, 1)
    return local + share * (from_memory - local)
"""
ROTATE = """def rotate(x, position, frequencies):
    pairs = len(frequencies)
    angle = position[:, None] * frequencies
    a, b = x[..., :pairs], x[..., pairs : 2 * pairs]
    first, second = a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()
    return torch.cat([first, second, x[..., 2 * pairs :]], dim=-1)
"""
KERNEL = '''@triton.jit
def flash_forward(
    q, k, v, out, lse, scale, n, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr
):
    rows, columns = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M), tl.arange(0, HEAD_DIM)
    first = tl.program_id(1).to(tl.int64) * n
    q_at = (first + rows)[:, None] * HEAD_DIM + columns
    q_tile = tl.load(q + q_at, mask=rows[:, None] < n, other=0.0)
    m, ell = tl.full([BLOCK_M], -1e30, tl.float32), tl.zeros([BLOCK_M], tl.float32)
    acc = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)
    for start in range(0, n, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        k_at = (first + keys)[:, None] * HEAD_DIM + columns
        k_tile = tl.load(k + k_at, mask=keys[:, None] < n, other=0.0)
        s = tl.where(keys < n, tl.dot(q_tile, tl.trans(k_tile), input_precision="ieee") * scale, -1e30)
        m_new = tl.maximum(m, tl.max(s, 1))
        alpha, p = tl.exp(m - m_new), tl.exp(s - m_new[:, None])
        v_tile = tl.load(v + k_at, mask=keys[:, None] < n, other=0.0)
        m, ell = m_new, alpha * ell + tl.sum(p, 1)
        acc = alpha[:, None] * acc + tl.dot(p.to(v_tile.dtype), v_tile, input_precision="ieee")
    tl.store(out + q_at, (acc / ell[:, None]).to(q_tile.dtype), mask=rows[:, None] < n)
    tl.store(lse + first + rows, m + tl.log(ell), mask=rows < n)
'''


@pytest.fixture(autouse=True)
def work(monkeypatch, tmp_path):
    """The reader's folder."""
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "work" / "progress.json"))
    monkeypatch.delenv("COURSE_STRICT", raising=False)
    monkeypatch.setattr(progress, "_told", set())
    monkeypatch.setattr(keeping, "_judged", {})
    return tmp_path / "work"


class Notebook(dict):
    """Cells that are run one after the other, their sources at hand as in a kernel."""

    number = 0

    def __init__(self, *sources):
        super().__init__(__name__="__main__")
        self.run(IMPORTS)
        for source in sources:
            self.run(source)

    def run(self, source):
        Notebook.number += 1
        file = f"<cell {Notebook.number}>"
        linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
        exec(compile(source, file, "exec"), self)

    def answer(self, source):
        """Run an exercise's cell, and the one below it."""
        self.run(source)
        name = source.partition("def ")[2].partition("(")[0]
        self[name] = check(self[name])
        return self[name]


def said(capsys):
    return capsys.readouterr().out.strip()


def right(name):
    return f"{name}: right, all {len(EXERCISES[name].cases)} cases."


def heading(name):
    return f"# -- {EXERCISES[name].number} {name} --\n"


def shelved(work, name):
    return sorted(path.name for path in (work / ".mine").glob(f"{name}-*.py"))


# An answer comes -------------------------------------------------------------------------------------------------


def test_a_right_answer_is_kept_under_its_heading(work, capsys):
    Notebook().answer(SOFTMAX)
    assert said(capsys) == f"{right('softmax')} Kept in mine.py (3 lines), 1 of {ALL}."
    assert (work / "mine.py").read_text() == (
        f"{keeping.HEADER}\nimport torch\nfrom torch import Tensor\n\n\n{heading('softmax')}{SOFTMAX}"
    )


def test_answers_stand_in_the_courses_order(work, capsys):
    notebook = Notebook()
    for number, source in enumerate([GATE, MASK, UNIFORM], start=1):
        notebook.answer(source)
        assert said(capsys).endswith(f"{number} of {ALL}.")
    assert (work / "mine.py").read_text().endswith(
        f"{heading('uniform_attention')}{UNIFORM}\n\n{heading('causal_mask')}{MASK}\n\n{heading('gate')}{GATE}"
    )


def test_the_file_is_a_module_by_itself(work):
    """What the answers use is imported by its own name; another exercise's function is the course's where none is."""
    Notebook().answer(SOFTMAX.replace("torch.exp(", "torch.exp(F.relu(torch.zeros(())) + "))
    Notebook().answer(RETRIEVE)
    Notebook().answer(ATTENTION)
    text = (work / "mine.py").read_text()
    assert text[len(keeping.HEADER) :].partition("\n\n\n")[0].splitlines()[1:] == [
        "import math",
        "import torch",
        "import torch.nn.functional as F",
        "from torch import Tensor",
        "from solutions.infini import feature",
        "from solutions.quadratic import attention_scores",
        "from solutions.quadratic import causal_mask",
    ]
    own = runpy.run_path(str(work / "mine.py"))
    q, k, v = torch.randn(3, 5, 4).unbind(0)
    assert torch.allclose(own["attention"](q, k, v, causal=True), quadratic.attention(q, k, v, causal=True))
    Notebook().answer(MASK)
    assert "import causal_mask" not in (work / "mine.py").read_text()
    own = runpy.run_path(str(work / "mine.py"))
    assert own["attention"].__globals__["causal_mask"].__code__.co_filename == str(work / "mine.py")


def test_what_is_the_notebooks_alone_is_named_and_nothing_is_kept(work, capsys):
    notebook = Notebook("def shift(x):\n    return x\n\nHALF = 0.5\n")
    answer = notebook.answer(GATE.replace("beta.sigmoid()", "shift(beta).sigmoid()"))
    assert answer.__code__.co_filename.startswith("<cell"), "it is accepted"
    words = "Not kept in mine.py: it uses `shift` from your notebook; put that inside."
    assert said(capsys) == f"{right('gate')} {words}"
    notebook.answer(GATE.replace("beta.sigmoid()", "shift(beta + 0 * HALF).sigmoid()"))
    assert said(capsys).endswith("it uses `HALF` and `shift` from your notebook; put them inside.")
    assert not (work / "mine.py").exists()


def test_an_answer_that_is_right_in_its_notebook_only_is_not_kept(work, capsys):
    """The function that is judged is the one of the file: here a name is missing there."""
    Notebook("def made(half):\n    def gate(beta, from_memory, local):\n        share = beta.sigmoid().view(-1, 1, 1)\n"
             "        return local + share * (from_memory - local) * half * 2\n    return gate\n"
             "gate = check(made(0.5))\n")  # fmt: skip
    words = said(capsys)
    assert words.startswith(f"{right('gate')} Not kept in mine.py: there it is not right. In case")
    assert "NameError: name 'half' is not defined" in words
    assert not (work / "mine.py").exists()


@pytest.mark.parametrize(
    "source",
    [
        "gate = lambda beta, a, b: b + beta.sigmoid().view(-1, 1, 1) * (a - b)\ngate.__name__ = 'gate'\n",
        GATE.replace("def gate", "def mix") + "mix.__name__ = 'gate'\ngate = mix\n",
    ],
)
def test_what_is_no_function_of_that_name_in_its_source_is_not_kept(source, work, capsys):
    Notebook(source, "gate = check(gate)\n")
    assert said(capsys).endswith("Not kept in mine.py: its source is not at hand as `def gate(...)`.")
    assert not (work / "mine.py").exists()


def test_the_same_name_for_another_thing_is_refused(work, capsys):
    Notebook().answer(GATE.replace("beta.sigmoid()", "F.sigmoid(beta)"))
    before = (work / "mine.py").read_text()
    Notebook("import solutions.infini as F\n").answer(WRITE.replace("feature(", "F.feature("))
    assert said(capsys).endswith("Not kept in mine.py: `F` is imported there as something else.")
    assert (work / "mine.py").read_text() == before


def test_blank_and_wrong_answers_write_nothing(work, capsys):
    notebook = Notebook()
    notebook.answer("def gate(beta, from_memory, local):\n    ...\n")
    notebook.answer("def gate(beta, from_memory, local):\n    return local\n")
    assert "mine.py" not in said(capsys) and not (work / "mine.py").exists()


@pytest.mark.parametrize(("days", "told"), [(0, "today"), (3, None), (30, None)])
def test_an_earlier_right_answer_stays(days, told, work, capsys):
    notebook = Notebook()
    notebook.answer(GATE)
    before, then = (work / "mine.py").read_text(), time.time() - 86_400 * days
    os.utime(work / ".mine" / "gate-1.py", (then, then))
    form = "%A" if days < 7 else f"{time.localtime(then).tm_mday} %B %Y"
    told = told or time.strftime(form, time.localtime(then))
    for wrong in ("...", "return local"):
        capsys.readouterr()
        notebook.answer(f"def gate(beta, from_memory, local):\n    {wrong}\n")
        assert said(capsys).endswith(f" Your version of {told} stays in mine.py.")
    assert (work / "mine.py").read_text() == before


def test_a_new_answer_replaces_the_old_and_the_first_and_nine_more_are_kept(work):
    notebook = Notebook()
    sources = [UNIFORM.replace("return", f"{name} = 0\n    return") for name in "abcdefghijkl"]
    for source in sources:
        notebook.answer(source)
    assert (work / "mine.py").read_text() == f"{keeping.HEADER}\n\n{heading('uniform_attention')}{sources[-1]}"
    numbers = [1, *range(4, 13)]
    kept = [(work / ".mine" / f"uniform_attention-{number}.py").read_text() for number in numbers]
    assert [text.partition(" --\n")[2] for text in kept] == [sources[number - 1] for number in numbers]
    assert len(shelved(work, "uniform_attention")) == keeping.VERSIONS == 10


def test_the_first_version_stands_beside_the_latest(work):
    notebook = Notebook()
    assert mine.versions("gate") is None
    notebook.answer(GATE)
    assert mine.versions("gate") is None, "there is one"
    shorter = "def gate(beta, from_memory, local):\n    return local.lerp(from_memory, beta.sigmoid()[:, None, None])\n"
    for source in (GATE.replace("share * (", "1.0 * share * ("), shorter):
        notebook.answer(source)
    then = time.time() - 30 * 86_400
    os.utime(work / ".mine" / "gate-1.py", (then, then))
    told = f"version 1, {time.localtime(then).tm_mday} {time.strftime('%B %Y', time.localtime(then))}, 2 lines"
    both = mine.versions("gate")
    assert both.texts == {told: GATE.rstrip(), "mine.py now, 1 line": shorter.rstrip()}
    assert repr(both) == f"# {told}\n{GATE}\n# mine.py now, 1 line\n{shorter}".rstrip()
    assert re.findall(r"<pre[^>]*>(.*?)</pre>", both._repr_html_(), re.DOTALL) == [GATE.rstrip(), shorter.rstrip()]
    notebook.answer(GATE)
    assert mine.versions("gate") is None, "the latest is the first again"


def test_versions_that_cannot_be_read_are_none(work, monkeypatch):
    notebook = Notebook()
    for source in (GATE, GATE.replace("local + share", "local + 1.0 * share")):
        notebook.answer(source)
    assert mine.versions("gate") is not None
    first = work / ".mine" / "gate-1.py"
    whole = first.read_bytes()
    first.write_bytes(b"(")
    assert mine.versions("gate") is None, "of the two one is damaged"
    first.write_bytes(whole)
    monkeypatch.setattr(keeping, "patiently", read_only)
    assert mine.versions("gate") is None
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    assert mine.versions("gate") is None


def test_the_same_answer_again_writes_nothing(work, capsys):
    notebook = Notebook()
    notebook.answer(GATE)
    first, stamp = said(capsys), (work / "mine.py").stat()
    notebook.answer(GATE)
    assert said(capsys) == first
    now = (work / "mine.py").stat()
    assert (stamp.st_mtime_ns, stamp.st_ino) == (now.st_mtime_ns, now.st_ino) and len(shelved(work, "gate")) == 1


def test_off_is_off(work, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    Notebook().answer(GATE)
    assert said(capsys) == right("gate") and not work.exists()
    assert mine.gate is infini.gate and mine.whose("gate") == "ours: gate"
    mine.keep_picture(plt.figure(), "nothing")
    assert said(capsys) == "" and not work.exists()


def test_what_a_class_grades_is_not_kept(work):
    """A released notebook asks `grade`, which notes that an answer is done and keeps none."""
    path = ROOT / "book" / "teaching" / "class" / "grading.py"
    spec = importlib.util.spec_from_file_location("grading", path)
    grading = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(grading)
    notebook = Notebook(GATE)
    grading.grade("gate", notebook)
    assert json.loads((work / "progress.json").read_text()) == {"gate": "done"}
    assert not (work / "mine.py").exists()


@pytest.mark.skipif(not interpreter.available, reason=interpreter.why_not)
@pytest.mark.seconds
def test_a_kernel_is_kept_and_runs_from_the_file(work, capsys):
    Notebook("from solutions.interpreter import tl, triton\n").answer(KERNEL)
    assert f"Kept in mine.py (18 lines), 1 of {ALL}." in said(capsys)
    text = (work / "mine.py").read_text()
    assert "\nfrom solutions.interpreter import tl\nfrom solutions.interpreter import triton\n" in text
    assert f"{heading('flash_forward')}@triton.jit\ndef flash_forward(" in text
    kernel = mine.flash_forward
    q, k, v = torch.randn(3, 2, 50, 16).unbind(0)
    out, lse = torch.zeros_like(q), torch.zeros(2, 50)
    Notebook().answer(GATE)  # the file is another one now, and a kernel's source is looked up when it runs
    interpreter.launch(kernel)[(4, 2)](q, k, v, out, lse, 0.25, 50, HEAD_DIM=16, BLOCK_M=16, BLOCK_N=16)
    assert torch.allclose(out, quadratic.attention(q, k, v), atol=1e-5)


# The functions are used ------------------------------------------------------------------------------------------


SCORES_KERNEL = '''@triton.jit
def score_tile(q, k, s, n, scale, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    mine = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    theirs = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    width = tl.arange(0, HEAD_DIM)
    queries = tl.load(q + mine[:, None] * HEAD_DIM + width, mask=mine[:, None] < n, other=0.0)
    keys = tl.load(k + theirs[:, None] * HEAD_DIM + width, mask=theirs[:, None] < n, other=0.0)
    product = scale * tl.dot(queries, tl.trans(keys), input_precision="ieee")
    tl.store(s + mine[:, None] * n + theirs, product, mask=(mine[:, None] < n) & (theirs < n))
'''


def test_without_a_kernel_of_yours_the_next_blank_begins_with_ours(capsys, monkeypatch):
    mine.show("score_tile", "row_log_sums")
    alone = said(capsys)
    assert alone == "Not kept as yours: score_tile, row_log_sums. The cell below begins with our lines."
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    mine.show("score_tile", "row_log_sums")
    assert said(capsys) == alone


@pytest.mark.skipif(not interpreter.available, reason=interpreter.why_not)
@pytest.mark.seconds
def test_a_kernel_of_yours_is_shown_to_paste_from(work, capsys):
    Notebook("from solutions.interpreter import tl, triton\n").answer(SCORES_KERNEL)
    said(capsys)
    mine.show("score_tile", "row_log_sums")
    yours, ours = said(capsys).rsplit("\n\n", 1)
    assert yours == f"Yours, to paste from:\n\n{SCORES_KERNEL}".rstrip("\n")
    assert ours == "Not kept as yours: row_log_sums. The cell below begins with our lines."
    (work / "mine.py").write_text((work / "mine.py").read_text().replace("scale * tl.dot", "tl.dot"))
    mine.show("score_tile")
    wrong = said(capsys)
    assert "your score_tile is no longer right" in wrong and wrong.endswith("begins with our lines.")


def test_a_later_lesson_gets_yours_or_else_ours(capsys):
    notebook = Notebook()
    notebook.answer(GATE)
    notebook.run("from solutions.mine import gate, merge\n")
    assert notebook["gate"].__code__.co_filename.startswith("<mine.py")
    assert notebook["merge"] is EXERCISES["merge"].reference
    assert mine.whose("gate", "merge", "attention") == "yours: gate; ours: merge, attention"
    assert mine.yours("gate", "merge") == ["gate"] and mine.whose("merge") == "ours: merge"
    first, *others = [name for name, each in EXERCISES.items() if each.lesson == "start_here"]
    assert mine.whose("start_here") == f"ours: {', '.join([first, *others])}"
    assert mine.whose("infini_attention", "merge").startswith("yours: gate; ours: retrieve, update_linear, ")
    notebook.answer(GATE.replace("beta.", "(1 * beta)."))
    assert "1 * beta" in "".join(linecache.getlines(mine.gate.__code__.co_filename)), "the newest"
    with pytest.raises(AttributeError, match=r"no exercise of the course is called soft_max\. Did you mean softmax"):
        _ = mine.soft_max
    with pytest.raises(AttributeError, match=r"called __path__\.$"):
        _ = mine.__path__


def test_a_function_calls_those_that_you_wrote(work):
    for source in (SOFTMAX, SCORES, MASK, ATTENTION):
        Notebook().answer(source)
    used = mine.attention.__globals__
    assert all(used[name].__code__.co_filename.startswith("<mine.py") for name in ("softmax", "causal_mask"))


def counted(monkeypatch):
    """The names of the exercises whose verdict is asked, as it is."""
    asked, verdict = [], Exercise.verdict

    def listening(self, *arguments, **options):
        asked.append(self.name)
        return verdict(self, *arguments, **options)

    monkeypatch.setattr(Exercise, "verdict", listening)
    return asked


def test_a_block_is_judged_once_for_each_version_of_the_course(work, monkeypatch):
    for source in (MASK, ATTENTION, GATE):
        Notebook().answer(source)
    asked = counted(monkeypatch)
    for version in (keeping.version, lambda: "another", lambda: "another"):
        monkeypatch.setattr(keeping, "version", version)
        monkeypatch.setattr(keeping, "_judged", {})  # as in another process
        assert mine.attention is not quadratic.attention
    assert asked == ["causal_mask", "attention"], "what it calls first, and the gate not at all"


def test_what_a_function_calls_is_judged_anew_when_it_changes(work, monkeypatch):
    for source in (MASK, ATTENTION):
        Notebook().answer(source)
    Notebook().answer(MASK.replace("keys - queries", "keys - 1 * queries"))
    asked = counted(monkeypatch)
    assert mine.attention is not quadratic.attention and asked == ["attention"]


def edit(work, old, new):
    text = (work / "mine.py").read_text()
    assert text.count(old) == 1
    (work / "mine.py").write_text(text.replace(old, new))


def test_an_edited_block_that_is_right_is_used_and_stays(work, capsys):
    notebook = Notebook()
    notebook.answer(GATE)
    edit(work, "    return local + share", "    # clearer\n    return local + 1.0 * share")
    edited = (work / "mine.py").read_text()
    capsys.readouterr()
    assert "1.0 * share" in "".join(linecache.getlines(mine.gate.__code__.co_filename))
    notebook.answer(GATE)  # the lesson's cells run again
    assert said(capsys).endswith("The version that you edited in mine.py is right too, and stays there.")
    assert (work / "mine.py").read_text() == edited
    notebook.answer(GATE.replace("local + share", "local + 2.0 / 2 * share"))  # a new one
    assert "2.0 / 2" in (work / "mine.py").read_text()
    texts = [(work / ".mine" / name).read_text() for name in shelved(work, "gate")]
    assert ["1.0 * share" in text for text in texts] == [False, True, False], "the edited version is not lost"


def test_an_edited_block_that_is_wrong_gives_way_to_a_right_answer(work, capsys):
    notebook = Notebook()
    notebook.answer(GATE)
    edit(work, "from_memory - local", "from_memory + local")
    notebook.answer(GATE)
    assert "Kept in mine.py" in said(capsys).splitlines()[-1]
    assert (work / "mine.py").read_text().endswith(GATE) and len(shelved(work, "gate")) == 3


def test_a_block_that_is_no_longer_right_is_commented_out_with_the_reason(work, capsys):
    for source in (GATE, WRITE):
        Notebook().answer(source)
    edit(work, "from_memory - local", "from_memory + local")
    capsys.readouterr()
    assert mine.gate is infini.gate
    words = said(capsys)
    assert words.startswith("mine.py: your gate is no longer right. In case '")
    assert words.endswith("It is commented out, and ours stands in.")
    block = (work / "mine.py").read_text().partition(heading("gate"))[2]
    assert block.startswith("# No longer right: In case '")
    assert "# def gate(beta, from_memory, local):\n#     share = beta" in block
    assert all(line.startswith("#") for line in block.splitlines())
    assert any("+ local)" in (work / ".mine" / name).read_text() for name in shelved(work, "gate"))
    own = runpy.run_path(str(work / "mine.py"))
    assert own["gate"] is infini.gate and "update_linear" in own
    assert mine.gate is infini.gate and mine.yours("gate", "update_linear") == ["update_linear"]
    assert said(capsys) == "", "it is told once"


def test_the_block_that_is_wrong_is_left_out_and_not_the_one_that_calls_it(work, capsys):
    for source in (MASK, ATTENTION):
        Notebook().answer(source)
    edit(work, "keys - queries)", "keys - queries - 1)")
    capsys.readouterr()
    assert mine.attention is not quadratic.attention
    assert said(capsys).startswith("mine.py: your causal_mask is no longer right.")
    assert mine.attention.__globals__["causal_mask"] is quadratic.causal_mask


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("def gate", "def mix", "It defines no function gate."),
        ("local):", "local=nowhere):", "It stops with NameError: name 'nowhere' is not defined."),
        ("    share", "    while True: pass\n    share", "your function did not end within"),
    ],
)
def test_whatever_became_of_a_block_is_told(old, new, why, work, capsys, monkeypatch):
    monkeypatch.setattr("solutions.checks.exercise.TIME_LIMIT", 0.3)
    Notebook().answer(GATE)
    edit(work, old, new)
    capsys.readouterr()
    assert mine.gate is infini.gate and why in said(capsys)


def test_an_older_versions_file_is_read(work, capsys):
    """Its numbers are others, it holds an exercise that is no more, and imports what is no more."""
    work.mkdir()
    gone = "def perplexity(loss):\n    return math.exp(loss)\n"
    header = "import math\n\nfrom solutions.quadratic import gone\n"
    (work / "mine.py").write_text(f"{header}\n\n# -- 4.9 perplexity --\n{gone}\n\n# -- 4.3 gate --\n{GATE}")
    assert mine.gate is not infini.gate
    words = said(capsys)
    assert words.startswith("mine.py, line 3, `from solutions.quadratic import gone`, stops with ImportError")
    Notebook().answer(MASK)
    text = (work / "mine.py").read_text()
    assert text.startswith("import math\n\nimport torch\nfrom solutions.quadratic import gone\n\n\n")
    assert text.endswith(f"{heading('causal_mask')}{MASK}\n\n{heading('gate')}{GATE}\n\n# -- perplexity --\n{gone}")


def test_what_cannot_be_judged_here_is_left_alone(work, monkeypatch):
    Notebook().answer(GATE)
    edit(work, "from_memory - local", "from_memory + local")
    before = (work / "mine.py").read_text()
    monkeypatch.setitem(EXERCISES, "gate", dataclasses.replace(EXERCISES["gate"], unjudged="Not here."))
    assert mine.gate is not infini.gate and (work / "mine.py").read_text() == before


# Faults of the file ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [lambda: mine.gate, lambda: Notebook().answer(MASK)], ids=["used", "written"])
def test_a_syntax_error_sets_the_file_aside_and_the_rest_goes_on(asked, work, capsys):
    for source in (GATE, WRITE):
        Notebook().answer(source)
    edit(work, "    share = beta.sigmoid()", "    share = (beta.sigmoid()")
    broken = (work / "mine.py").read_text()
    line = broken.splitlines().index("    share = (beta.sigmoid().view(-1, 1, 1)") + 1
    capsys.readouterr()
    asked()
    words = said(capsys)
    assert words.startswith(f"mine.py is no Python, line {line}: '(' was never closed. The file is kept as")
    assert "kept as mine.damaged.py, and mine.py goes on with the last version of each function." in words
    assert (work / "mine.damaged.py").read_text() == broken
    assert mine.yours("gate", "update_linear") == ["gate", "update_linear"]
    assert GATE in (work / "mine.py").read_text() and said(capsys) == ""


def test_what_only_a_compiler_refuses_is_a_syntax_error_too(work, capsys):
    Notebook().answer(GATE)
    edit(work, "    return local", "return local")
    capsys.readouterr()
    assert mine.gate is not infini.gate
    assert "mine.py is no Python, line 7: 'return' outside function." in said(capsys)


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00\x00", b"def (", b"\x00" * 100])
def test_a_damaged_file_is_set_aside_and_all_answers_come_back(damage, work, capsys):
    for source in (GATE, RETRIEVE):
        Notebook().answer(source)
    whole = (work / "mine.py").read_text()
    for number in ("", "-2"):
        (work / "mine.py").write_bytes(damage)
        capsys.readouterr()
        assert mine.retrieve is not infini.retrieve
        assert f"The file is kept as mine.damaged{number}.py" in said(capsys)
        assert (work / f"mine.damaged{number}.py").read_bytes() == damage
        assert (work / "mine.py").read_text() == whole


def test_an_empty_file_is_a_damaged_one_and_a_deleted_one_a_new_beginning(work, capsys):
    Notebook().answer(GATE)
    whole = (work / "mine.py").read_text()
    (work / "mine.py").write_text("\n")
    capsys.readouterr()
    assert mine.gate is not infini.gate
    assert said(capsys).startswith("mine.py is no Python, it is empty. The file is kept as mine.damaged.py, and")
    assert (work / "mine.py").read_text() == whole
    (work / "mine.py").unlink()
    assert mine.gate is infini.gate and said(capsys) == "" and not (work / "mine.py").exists()


def test_a_fault_without_a_line_is_told_without_one(work, capsys):
    Notebook().answer(GATE)
    (work / "mine.py").write_bytes(b"\x00" * 100)
    capsys.readouterr()
    assert mine.gate is not infini.gate and "None" not in said(capsys)


def test_a_helper_that_a_reader_puts_into_a_block_stays_there(work, capsys):
    notebook = Notebook()
    notebook.answer(GATE)
    with open(work / "mine.py", "a") as file:
        file.write("\n\n@staticmethod\ndef share_of(beta):\n    return beta.sigmoid()  # mine\n\nHALF = 0.5\n")
    notebook.answer(GATE.replace("share = beta", "share = 1.0 * beta"))
    notebook.answer(GATE.replace("share = beta", "share = 2.0 / 2 * beta"))
    assert said(capsys).endswith(f"Kept in mine.py (2 lines), 1 of {ALL}.")
    helpers = "@staticmethod\ndef share_of(beta):\n    return beta.sigmoid()  # mine\n\n\nHALF = 0.5\n"
    newest = GATE.replace("share = beta", "share = 2.0 / 2 * beta")
    assert (work / "mine.py").read_text().endswith(f"{heading('gate')}{newest}\n\n{helpers}")
    edit(work, "HALF = 0.5", "HALF = 1 / 0")
    notebook.answer(GATE)
    assert (work / "mine.py").read_text().endswith(f"{heading('gate')}{GATE}"), "one that stops gives way"
    assert any("HALF = 1 / 0" in (work / ".mine" / name).read_text() for name in shelved(work, "gate"))


def test_a_damaged_version_is_passed_over(work):
    Notebook().answer(GATE)
    (work / ".mine" / "gate-2.py").write_bytes(b"\xff\x00(")
    (work / ".mine" / "judged.json").write_bytes(b"[")
    (work / "mine.py").write_bytes(b"\xff")
    assert mine.gate is not infini.gate and GATE in (work / "mine.py").read_text()


def test_what_editors_do_to_a_file_is_no_damage(work, capsys):
    Notebook().answer(GATE)
    text = (work / "mine.py").read_text()
    (work / "mine.py").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    capsys.readouterr()
    assert mine.gate is not infini.gate
    Notebook().answer(MASK)
    assert "set aside" not in said(capsys) and not list(work.glob("*damaged*"))


def test_one_heading_twice_loses_neither(work):
    Notebook().answer(GATE)
    with open(work / "mine.py", "a") as file:
        file.write(f"\n\n{heading('gate')}def helper():\n    return 1\n")
    Notebook().answer(MASK)
    text = (work / "mine.py").read_text()
    assert GATE in text and "def helper():" in text and text.count(heading("gate")) == 1


def read_only(*_):
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_disk_that_takes_nothing_stops_no_lesson(work, monkeypatch, capsys):
    notebook = Notebook()
    notebook.answer(GATE)
    before = (work / "mine.py").read_text()
    monkeypatch.setattr(keeping, "write_whole", read_only)
    capsys.readouterr()
    for source in (MASK, WRITE):
        assert notebook.answer(source).__code__.co_filename.startswith("<cell")
    words = said(capsys)
    sentence = "mine.py could not be written (Read-only file system); your functions are not kept."
    assert words.count(sentence) == 1 and words.count(": right") == 2
    assert (work / "mine.py").read_text() == before and mine.gate is not infini.gate


def test_a_folder_that_cannot_be_is_told_once(work, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "file" / "progress.json"))
    for source in (GATE, WRITE):
        Notebook().answer(source)
    words = said(capsys)
    assert words.count("mine.py could not be written (") == 1 and str(tmp_path) not in words
    assert mine.gate is infini.gate and "mine.py could not be read" in said(capsys)


def test_on_such_a_disk_a_wrong_block_is_left_out_all_the_same(work, monkeypatch, capsys):
    for source in (GATE, WRITE):
        Notebook().answer(source)
    edit(work, "from_memory - local", "from_memory + local")
    before = (work / "mine.py").read_text()
    monkeypatch.setattr(keeping, "write_whole", read_only)
    assert mine.gate is infini.gate and mine.update_linear is not infini.update_linear
    edit(work, "def gate(", "def gate((")
    assert mine.update_linear is not infini.update_linear
    assert "and could not be set aside (Read-only file system)" in said(capsys)
    assert (work / "mine.py").read_text() == before.replace("def gate(", "def gate((")


def test_a_write_that_breaks_off_leaves_the_old_file(work, monkeypatch, capsys):
    Notebook().answer(GATE)
    before = (work / "mine.py").read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: read_only())
    Notebook().answer(MASK)
    assert (work / "mine.py").read_bytes() == before and not list(work.glob(".mine.py.*"))


def test_a_checker_that_fails_at_this_is_told(monkeypatch, capsys):
    monkeypatch.setattr(keeping, "needs", lambda *_: 1 / 0)
    assert Notebook().answer(GATE).__code__.co_filename.startswith("<cell")
    assert said(capsys).endswith("Not kept in mine.py (ZeroDivisionError: division by zero).")


def test_threads_at_once_lose_nothing(work):
    """Twelve blocks by six threads, which the system's lock keeps apart as it does processes."""
    path, names = work / "mine.py", list(EXERCISES)[:12]

    def writes(some):
        for name in some:
            block = f"def {name}():\n    return 1"
            keeping.update(path, EXERCISES, lambda mine: mine.having(name, block, [f"import {name}"]))  # noqa: B023

    threads = [threading.Thread(target=writes, args=(names[i::6],)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found, wrong = keeping.read(path)
    assert list(found.blocks) == names and not wrong
    assert found.text(EXERCISES) == path.read_text()


TWO = """
import json, linecache, sys

for number, source in enumerate(json.loads(sys.argv[1])):
    file = f"<cell {number}>"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    exec(compile(source, file, "exec"))
"""


@pytest.mark.seconds
def test_two_notebooks_at_once_lose_nothing(work):
    ours = {"uniform_attention": UNIFORM, "causal_mask": MASK, "gate": GATE, "softmax": SOFTMAX, "retrieve": RETRIEVE}
    cells = [f"{source}\n{name} = check({name})\n" for name, source in ours.items()]
    both = [
        subprocess.Popen([sys.executable, "-c", TWO, json.dumps([IMPORTS, *half])], cwd=ROOT)
        for half in (cells[::2], cells[1::2])
    ]
    assert [process.wait() for process in both] == [0, 0]
    found, wrong = keeping.read(work / "mine.py")
    assert not wrong and {name: f"{source}\n" for name, source in found.blocks.items()} == ours


# To the end of the course ----------------------------------------------------------------------------------------

EVENING = ("causal_mask", "merge", "segment_step", "index_scores", "never_turned")
FIVE = (SOFTMAX, MASK, ATTENTION, RETRIEVE, WRITE, GATE, ROTATE)
EVENING_SOURCES = (
    MASK,
    """def merge(out_a, lse_a, out_b, lse_b):
    wide = torch.promote_types(lse_a.dtype, torch.float32)
    top = torch.maximum(lse_a, lse_b).to(wide)
    top = torch.where(top == -math.inf, torch.zeros_like(top), top)
    a, b = (lse_a - top).exp(), (lse_b - top).exp()
    total = a + b
    safe = torch.where(total > 0, total, torch.ones_like(total))[..., None]
    return (a[..., None] * out_a + b[..., None] * out_b) / safe, top + total.log()
""",
    """def segment_step(q, k, v, memory, z, beta):
    far, near = retrieve(q, memory, z), attention(q, k, v, causal=True)
    return gate(beta, far, near), *update_linear(k, v, memory, z)
""",
    """def index_scores(q, k, w):
    wide = torch.promote_types(q.dtype, torch.float32)
    fit = torch.einsum("...hqd,...kd->...hqk", q.to(wide), k.to(wide)).relu()
    return torch.einsum("...hqk,...qh->...qk", fit, w.to(wide)).to(q.dtype)
""",
    """def never_turned(head_dim, base, length):
    return sum(length * base ** (-2 * pair / head_dim) < 2 * math.pi for pair in range(head_dim // 2))
""",
)


@pytest.mark.seconds
def test_the_answers_of_an_evening_are_kept_and_used(work, capsys):
    for source in EVENING_SOURCES:
        Notebook().answer(source)
    assert [f"{number} of {ALL}." in line for number, line in enumerate(said(capsys).splitlines(), 1)] == [True] * 5
    notebook = Notebook(f"from solutions.mine import {', '.join(EVENING)}\n")
    assert mine.yours(*EVENING) == [*EVENING]
    q, k, v = torch.randn(3, 1, 2, 6, 4).unbind(0)
    memory, z = torch.rand(1, 2, 4, 4), torch.rand(1, 2, 4)
    ours = infini.segment_step(q, k, v, memory, z, torch.zeros(2))
    assert all(map(torch.allclose, notebook["segment_step"](q, k, v, memory, z, torch.zeros(2)), ours))
    out, lse = quadratic.attention(q, k, v), quadratic.log_sum_exp(quadratic.attention_scores(q, k))
    halves = [
        (quadratic.attention(q, k[..., part, :], v[..., part, :]), (q @ k[..., part, :].mT / 2).logsumexp(-1))
        for part in (slice(2), slice(2, None))
    ]
    joined = notebook["merge"](*halves[0], *halves[1])
    assert torch.allclose(joined[0], out, atol=1e-6) and torch.allclose(joined[1], lse, atol=1e-6)


def last_cells():
    """The cells of the course's last run, as the lesson prints them, and the imports above them."""
    notebook = press.printed(press.TEXT / "from_2k_to_128k.md", "student")
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    begins = next(index for index, cell in enumerate(cells) if cell.source.startswith("five = "))
    ends = next(index for index, cell in enumerate(cells) if "mine.keep_picture(" in cell.source)
    return nbformat.v4.new_notebook(cells=[cells[0], *cells[begins : ends + 1]], metadata=press.METADATA).cells


def run_to_the_end(tokens):
    """Run those cells, with `tokens` for a reader's million. Returns what the notebook holds."""
    notebook = Notebook()
    for cell in last_cells():
        assert cell.source.count("1_000_000") == ("mine.keep_picture(" in cell.source)
        if not cell.source.startswith("predict("):
            notebook.run(cell.source.replace("1_000_000", str(tokens)))
    plt.close("all")
    return notebook


@pytest.mark.seconds
def test_freshly_written_functions_find_the_key(work, capsys):
    for source in FIVE:
        Notebook().answer(source)
    capsys.readouterr()
    notebook = run_to_the_end(4_096)
    assert notebook["tokens"] == 4_096
    lines = said(capsys).splitlines()
    assert lines[0] == "yours: attention, rotate, retrieve, gate, update_linear"
    wanted, found = lines[1].split()[-5:], {line[:38].strip(): line.split()[-5:] for line in lines[2:8]}
    assert {label for label, digits in found.items() if digits == wanted} == {"all five", "a gate held at one half"}
    assert len(found) == 6
    assert "wanted 4 8 6 1 7   found 4 8 6 1 7" in lines
    assert any(line.startswith("M and z: 16,896 bytes;") for line in lines)
    assert lines[-1] == "The picture is kept as work/a_million_tokens.png."
    assert (work / "a_million_tokens.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.seconds
def test_a_function_of_yours_is_really_the_one_that_runs(work, monkeypatch, capsys):
    """A write that forgets: were it not called, the key would be found."""
    for source in FIVE:
        Notebook().answer(source)
    edit(work, "return memory + s.transpose(-1, -2) @ v, z + s.sum(-2)", "return memory, z")
    monkeypatch.setattr(Exercise, "verdict", lambda *_: Verdict(True, True, None, "right"))
    notebook = run_to_the_end(4_096)
    assert notebook["digits"] != notebook["wanted"]


@pytest.mark.seconds
def test_without_a_word_of_yours_the_course_runs_its_own(monkeypatch, capsys):
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    notebook = run_to_the_end(10**9)
    assert notebook["tokens"] == 8_192 and notebook["digits"] == notebook["wanted"]
    assert said(capsys).splitlines()[0] == "ours: attention, rotate, retrieve, gate, update_linear"


@pytest.mark.slow
def test_freshly_written_functions_find_it_behind_a_million_tokens(work, capsys):
    for source in FIVE:
        Notebook().answer(source)
    notebook = run_to_the_end(1_000_000)
    assert notebook["digits"] == notebook["wanted"] == [4, 8, 6, 1, 7]
    assert sum(state.memory_bytes for state in notebook["states"]) == 16_896


def test_a_picture_that_cannot_be_written_is_told(work, monkeypatch, capsys):
    monkeypatch.setattr(mine, "write_whole", read_only)
    mine.keep_picture(plt.figure(), "a_million_tokens")
    assert said(capsys) == "a_million_tokens.png could not be written (Read-only file system)."
