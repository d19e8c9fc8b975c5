"""The door: set up once, go on after an interruption, never take a reader's work, say in a sentence what is wrong.

The set-ups here are real ones in a copy of the tree, with an empty list of requirements and a build backend of a few
lines, so that they need no network.
"""

import ast
import errno
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
POSIX = pytest.mark.skipif(os.name == "nt", reason="signals to a process group are POSIX")

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "tiny-course"
version = "1"
"""
BACKEND = """
import os, time, zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    while os.path.exists("hold"):
        open("holding", "w").close()
        time.sleep(0.05)
    info = "tiny_course-1.dist-info"
    with zipfile.ZipFile(os.path.join(folder, "tiny_course-1-py3-none-any.whl"), "w") as wheel:
        wheel.writestr("tiny_course.pth", os.getcwd() + "\\n")
        wheel.writestr(info + "/METADATA", "Metadata-Version: 2.1\\nName: tiny-course\\nVersion: 1\\n")
        wheel.writestr(info + "/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "/RECORD", "")
    return "tiny_course-1-py3-none-any.whl"
"""
PRESS = """
import sys, time
try:
    print("press", *sys.argv[1:], flush=True)
    if "fail" in sys.argv: sys.exit(3)
    if "wait" in sys.argv: time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)
    sys.exit("press put its things in order")
"""


@pytest.fixture(scope="module")
def course():
    spec = importlib.util.spec_from_file_location("course", ROOT / "course.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small tree (its folder has a space and an accent) and what the first command said while setting it up."""
    tree = tmp_path_factory.mktemp("a course, déjà")
    (tree / "course.py").write_bytes((ROOT / "course.py").read_bytes())
    (tree / "requirements.txt").write_text("-c constraints.txt\n")
    (tree / "constraints.txt").write_text("# nothing\n")
    (tree / "pyproject.toml").write_text(PYPROJECT)
    (tree / "backend.py").write_text(BACKEND)
    (tree / "book").mkdir()
    (tree / "book" / "press.py").write_text(PRESS)
    return tree, door(tree, "build", "--check", "01")


@pytest.fixture
def tree(made):
    return made[0]


def door(tree, *arguments, **options):
    """The finished process of a command, run as a reader runs it."""
    return subprocess.run(
        [sys.executable, "course.py", *arguments],
        cwd=tree, capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=120, **options,
    )  # fmt: skip


def calm(answer, code=2):
    """One sentence and a remedy on stderr, the exit code, and no traceback anywhere."""
    assert answer.returncode == code, answer
    assert "Traceback" not in answer.stdout + answer.stderr
    return answer.stderr.strip()


def stamp(tree):
    return tree / ".venv" / "course-stamp"


# --- the environment ---


@pytest.mark.slow
def test_first_command_sets_up_then_does_its_work(made):
    tree, first = made
    assert first.returncode == 0, first.stderr
    assert "Making .venv" in first.stdout
    assert first.stdout.endswith("press --check 01\n")  # and its arguments pass through
    assert stamp(tree).exists()


@pytest.mark.seconds
def test_second_command_installs_nothing(tree):
    before = {path: path.stat().st_mtime_ns for path in (tree / ".venv").rglob("*")}
    began = time.perf_counter()
    again = door(tree, "build")
    assert (again.returncode, again.stdout, again.stderr) == (0, "press\n", "")
    assert {path: path.stat().st_mtime_ns for path in (tree / ".venv").rglob("*")} == before
    assert time.perf_counter() - began < 10


def test_what_is_installed_is_the_tree_itself(tree):
    (tree / "marker_of_the_tree.py").write_text("")
    python = next(path for path in [tree / ".venv/bin/python", tree / ".venv/Scripts/python.exe"] if path.exists())
    subprocess.run([python, "-c", "import marker_of_the_tree"], cwd=tree / "book", check=True)


@pytest.mark.skipif(os.name == "nt", reason="a link to a folder needs a privilege on Windows")
@pytest.mark.seconds
def test_two_checkouts_that_share_an_environment_run_their_own_code(tree, tmp_path):
    other = tmp_path / "another checkout"
    shutil.copytree(tree, other, ignore=shutil.ignore_patterns(".venv"))
    (other / ".venv").symlink_to(tree / ".venv")
    for folder in (tree, other):
        (folder / "whose.py").write_text(f"print({folder.name!r})\n")
        (folder / "book" / "press.py").write_text("import whose\n")
    said = door(other, "build").stdout
    assert f"set up for the course in {tree}. It is this folder's from now on." in said
    assert said.endswith("another checkout\n") and door(other, "build").stdout == "another checkout\n"
    assert door(tree, "build").stdout.endswith(f"{tree.name}\n")
    (tree / "book" / "press.py").write_text(PRESS)


def test_exit_code_of_a_command_is_passed_on(tree):
    assert door(tree, "build", "fail").returncode == 3


@pytest.mark.seconds
def test_changed_requirements_are_installed(tree):
    (tree / "constraints.txt").write_text("# nothing, said in other words\n")
    assert "Bringing .venv up to date." in door(tree, "build").stdout
    assert door(tree, "build").stdout == "press\n"


@pytest.mark.seconds
def test_requirements_that_cannot_be_installed_leave_no_stamp(tree):
    good = (tree / "requirements.txt").read_text()
    (tree / "requirements.txt").write_text("./no_such_wheel-1-py3-none-any.whl\n")
    answer = door(tree, "build")
    assert "pip did not finish" in calm(answer)
    assert "press" not in answer.stdout
    (tree / "requirements.txt").write_text(good)
    assert not stamp(tree).exists()  # not even for the list that was installed before: pip may have got half way
    assert door(tree, "build").returncode == 0
    assert stamp(tree).exists()


@pytest.mark.parametrize("damage", ["python gone", "pip gone", "only a folder"])
@pytest.mark.slow
def test_broken_environment_is_made_anew(tree, damage):
    venv = tree / ".venv"
    if damage == "python gone":
        for python in [*venv.glob("bin/python*"), *venv.glob("Scripts/python*")]:
            python.unlink()
    elif damage == "pip gone":
        stamp(tree).unlink()
        for path in sorted(venv.rglob("site-packages/pip/**/*.py")):
            path.unlink()
    else:
        venv.rename(tree / "elsewhere")
        venv.mkdir()
    answer = door(tree, "build")
    assert answer.returncode == 0, answer.stderr
    assert "broken" in answer.stdout
    assert door(tree, "build").stdout == "press\n"


@pytest.mark.seconds
def test_moved_course_is_installed_from_its_new_place(tree):
    elsewhere = tree.with_name("moved")
    tree.rename(elsewhere)
    try:
        assert "It is this folder's from now on." in door(elsewhere, "build").stdout
        assert door(elsewhere, "build").stdout == "press\n"
    finally:
        elsewhere.rename(tree)
    assert "It is this folder's from now on." in door(tree, "build").stdout


def test_file_in_the_place_of_the_environment_is_told(tree):
    venv = tree / ".venv"
    venv.rename(tree / "aside")
    venv.write_text("mine")
    try:
        assert "Move it away" in calm(door(tree, "build"))
        assert venv.read_text() == "mine"
    finally:
        venv.unlink()
        (tree / "aside").rename(venv)


@POSIX
@pytest.mark.seconds
def test_interrupted_set_up_goes_on(tree):
    stamp(tree).unlink()
    (tree / "hold").touch()
    running = popen(tree, "build")
    wait_for((tree / "holding").exists)
    os.killpg(running.pid, signal.SIGINT)
    out, error = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Stopped." in error
    assert "Traceback" not in out + error
    assert not stamp(tree).exists()
    (tree / "hold").unlink()
    assert door(tree, "build").stdout.endswith("press\n")
    assert stamp(tree).exists()


@POSIX
@pytest.mark.seconds
def test_interrupt_reaches_the_command_and_lets_it_finish(tree):
    running = popen(tree, "build", "wait")
    assert running.stdout.readline() == "press wait\n"
    os.killpg(running.pid, signal.SIGINT)
    error = running.communicate(timeout=60)[1]
    assert running.returncode == 130
    assert error.index("press put its things in order") < error.index("Stopped.")


@POSIX
def test_ending_the_door_ends_what_it_started(tree):
    running = popen(tree, "build", "wait")
    assert running.stdout.readline() == "press wait\n"
    running.terminate()
    running.communicate(timeout=60)  # returns when the child, which holds the pipe too, is gone
    assert running.returncode == 143


def popen(tree, *arguments):
    return subprocess.Popen(
        [sys.executable, "course.py", *arguments],
        cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


# --- what goes wrong, in a sentence ---


def test_unknown_command_names_the_nearest(tree):
    said = calm(door(tree, "lob"))
    there_are = "lab, test, book, build, train, measure, deck, release, slides, pdf, doctor"
    assert said == f"There is no command lob. Did you mean lab? There are {there_are}."


def test_no_command_says_what_there_is(tree):
    answer = door(tree)
    assert answer.returncode == 2
    for command in ["lab", "test", "book", "build", "doctor"]:
        assert f"\n  {command} " in answer.stdout
    assert door(tree, "--help").returncode == 0


def test_old_python_can_read_the_door():
    ast.parse((ROOT / "course.py").read_text(encoding="utf-8"), feature_version=(3, 8))


@pytest.mark.seconds
def test_old_python_is_named(tree):
    program = (
        "import platform, runpy, sys; sys.version_info = (3, 9, 2); platform.python_version = lambda: '3.9.2';"
        "sys.argv = ['course.py', 'lab']; runpy.run_path('course.py', run_name='__main__')"
    )
    answer = subprocess.run([sys.executable, "-c", program], cwd=tree, capture_output=True, text=True)
    assert "Python 3.9.2" in calm(answer)
    assert "3.11 or newer" in answer.stderr


def test_missing_venv_module_names_the_package(tree):
    hidden = "import runpy, sys; sys.modules['ensurepip'] = None; sys.argv = ['course.py', 'build'];"
    bare = tree / "bare"
    bare.mkdir()
    for name in ["course.py", "requirements.txt", "constraints.txt", "pyproject.toml"]:
        (bare / name).write_bytes((tree / name).read_bytes())
    program = hidden + "runpy.run_path('course.py', run_name='__main__')"
    answer = subprocess.run([sys.executable, "-c", program], cwd=bare, capture_output=True, text=True)
    assert "sudo apt install python{}.{}-venv".format(*sys.version_info) in calm(answer)
    assert not (bare / ".venv").exists()


@pytest.mark.parametrize("code, words", [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "no permission to write")])
def test_writing_that_fails_leaves_the_old_file(course, capsys, monkeypatch, tmp_path, code, words):
    lessons, work = tmp_path / "lessons", tmp_path / "work"
    lesson(lessons, "00_start.ipynb", "new")
    lesson(work, "00_start.ipynb", "old")
    (work / ".course.json").write_text(json.dumps({"00_start.ipynb": course.written(read(work, "00_start.ipynb"))}))

    def fail(self, content):
        with open(self, "wb") as file:
            file.write(content[:5])
        raise OSError(code, os.strerror(code), str(self))

    monkeypatch.setattr(Path, "write_bytes", fail)
    monkeypatch.setitem(course.COMMANDS, "lab", lambda arguments: course.deliver(lessons, work))
    assert course.main(["lab"]) == 2
    assert words in capsys.readouterr().err
    assert sources(work, "00_start.ipynb") == ["old"]
    assert sorted(path.name for path in work.iterdir()) == [".course.json", "00_start.ipynb"]


@pytest.mark.parametrize(
    "complaint, words",
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "the disk is full"),
        ("ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '/usr'", "no permission"),
        ("WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('...", "needs the network"),
        ("ERROR: No matching distribution found for torch==0", "its own words stand above"),
    ],
)
def test_why_an_install_failed(course, complaint, words):
    assert words in str(course.why_not(complaint, "pip did not finish"))


@POSIX
def test_folder_that_may_not_be_written(tree, tmp_path):
    humble = []
    if os.geteuid() == 0:  # root may write everywhere, unless that is taken away first
        humble = ["setpriv", "--bounding-set=-dac_override"]
        if not shutil.which("setpriv"):
            pytest.skip("run as root, and no setpriv to write as a common user does")
    (tmp_path / "closed").mkdir(mode=0o500)
    command = [*humble, sys.executable, "course.py", "lab", "--no-browser", "--work", tmp_path / "closed/work"]
    answer = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    assert "no permission to write" in calm(answer)


@pytest.mark.slow
def test_full_disk_then_room(tree, tmp_path):
    small = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*small, f"mount -t tmpfs none '{tmp_path}'"]).returncode:
        pytest.skip("no small disk can be mounted here")
    program = """
    mount -t tmpfs -o size=14m none "$1"
    cp -R "$2/course.py" "$2/requirements.txt" "$2/constraints.txt" "$2/pyproject.toml" "$2/backend.py" "$2/book" "$1"
    cd "$1"
    "$3" course.py build; echo "exit $?"
    mount -o remount,size=200m none "$1"
    exec "$3" course.py build
    """
    answer = subprocess.run([*small, program, "sh", tmp_path, tree, sys.executable], capture_output=True, text=True)
    assert "the disk is full" in calm(answer, code=0)
    assert "exit 2" in answer.stdout
    assert answer.stdout.endswith("press\n")


def test_work_that_is_a_file_is_told(tree, tmp_path):
    (tmp_path / "work").write_text("mine")
    assert str(tmp_path / "work") in calm(door(tree, "lab", "--no-browser", "--work", str(tmp_path / "work")))
    assert (tmp_path / "work").read_text() == "mine"


def test_port_that_is_taken_is_told(tree, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = door(tree, "lab", "--no-browser", "--work", str(tmp_path / "work"), "--port", str(port))
    assert calm(answer) == f"Port {port} is taken or not allowed: name another, or leave --port out."


def test_lab_that_cannot_start_is_told(tree, tmp_path):
    answer = door(tree, "lab", "--no-browser", "--work", str(tmp_path / "work"))  # this tree has no JupyterLab
    assert "JupyterLab did not start" in calm(answer)


def test_here_copies_nothing(tree):
    lesson(tree / "lessons", "00_start_here.ipynb", "text")
    assert "JupyterLab did not start" in calm(door(tree, "lab", "--here", "--no-browser"))
    assert not (tree / "work").exists()


def test_doctor_says_what_is_missing(tree):
    answer = door(tree, "doctor")
    assert answer.returncode == 1
    assert "Traceback" not in answer.stdout + answer.stderr
    names = [line.split()[1] for line in answer.stdout.splitlines()]
    assert names == ["Python", "torch", "Triton", "CUDA", "widgets", "JupyterLab", "browser"]
    assert answer.stdout.startswith("yes  Python")
    assert all(line.startswith("no ") and len(line) > 40 for line in answer.stdout.splitlines()[1:])


def test_address_that_does_not_answer_costs_little(course):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.perf_counter()
        assert not course.answers(f"http://127.0.0.1:{silent.getsockname()[1]}/", seconds=0.3)
        assert time.perf_counter() - began < 3


# --- a reader's work ---


def lesson(folder, name, *cells, outputs=()):
    folder.mkdir(exist_ok=True)
    blank = {"cell_type": "code", "metadata": {}, "outputs": list(outputs), "execution_count": 1}
    code = [{**blank, "id": f"cell-{i}", "source": text} for i, text in enumerate(cells)]
    (folder / name).write_text(json.dumps({"cells": code, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))


def read(folder, name):
    return (folder / name).read_bytes()


def sources(folder, name):
    return [cell["source"] for cell in json.loads(read(folder, name))["cells"]]


@pytest.fixture
def desk(tmp_path, course):
    """Lessons, a work folder, and a function that delivers the ones into the other."""
    lessons, work = tmp_path / "lessons", tmp_path / "work"
    work.mkdir()
    lesson(lessons, "01_a.ipynb", "first")
    assert course.deliver(lessons, work) == []
    return lessons, work, lambda: course.deliver(lessons, work)


def test_lessons_arrive_byte_for_byte(desk):
    lessons, work, _ = desk
    assert read(work, "01_a.ipynb") == read(lessons, "01_a.ipynb")


def test_unchanged_copy_follows_the_course(desk):
    lessons, work, deliver = desk
    lesson(lessons, "01_a.ipynb", "second")
    assert deliver() == []
    assert sources(work, "01_a.ipynb") == ["second"]


def test_changed_copy_stays_and_the_new_lesson_arrives_beside(desk):
    lessons, work, deliver = desk
    lesson(work, "01_a.ipynb", "mine")
    assert deliver() == []  # nothing new: nothing said
    lesson(lessons, "01_a.ipynb", "second")
    (told,) = deliver()
    assert "01_a.ipynb" in told and "01_a.new.ipynb" in told
    assert sources(work, "01_a.ipynb") == ["mine"]
    assert sources(work, "01_a.new.ipynb") == ["second"]
    assert deliver() == []  # told once


def test_copy_beside_is_the_readers_too_once_changed(desk):
    lessons, work, deliver = desk
    lesson(work, "01_a.ipynb", "mine")
    lesson(lessons, "01_a.ipynb", "second")
    deliver()
    lesson(lessons, "01_a.ipynb", "third")
    deliver()
    assert sources(work, "01_a.new.ipynb") == ["third"]  # untouched, so it follows
    lesson(work, "01_a.new.ipynb", "mine as well")
    lesson(lessons, "01_a.ipynb", "fourth")
    deliver()
    assert sources(work, "01_a.ipynb") == ["mine"]
    assert sources(work, "01_a.new.ipynb") == ["mine as well"]
    assert sources(work, "01_a.new-2.ipynb") == ["fourth"]


def test_opening_a_lesson_does_not_make_it_the_readers(desk):
    lessons, work, deliver = desk
    notebook = json.loads(read(work, "01_a.ipynb"))
    notebook["metadata"] = {"kernelspec": {"name": "python3"}}
    notebook["cells"][0]["execution_count"] = 7
    (work / "01_a.ipynb").write_text(json.dumps(notebook, indent=4))
    lesson(lessons, "01_a.ipynb", "second")
    assert deliver() == []
    assert sources(work, "01_a.ipynb") == ["second"]


def test_outputs_are_the_readers(desk):
    lessons, work, deliver = desk
    lesson(work, "01_a.ipynb", "first", outputs=[{"output_type": "stream", "name": "stdout", "text": "measured here"}])
    lesson(lessons, "01_a.ipynb", "second")
    assert len(deliver()) == 1
    assert b"measured here" in read(work, "01_a.ipynb")


def test_deleted_copy_comes_back_fresh_and_the_one_beside_stays_away(desk):
    lessons, work, deliver = desk
    lesson(work, "01_a.ipynb", "mine")
    lesson(lessons, "01_a.ipynb", "second")
    deliver()
    (work / "01_a.new.ipynb").unlink()
    assert deliver() == []
    assert not (work / "01_a.new.ipynb").exists()
    (work / "01_a.ipynb").unlink()
    deliver()
    assert sources(work, "01_a.ipynb") == ["second"]


@pytest.mark.parametrize("ledger", [None, "", "[1]", "{", '"text"'])
def test_without_the_ledger_every_difference_is_the_readers(desk, ledger):
    _, work, deliver = desk
    (work / ".course.json").unlink() if ledger is None else (work / ".course.json").write_text(ledger)
    assert deliver() == []  # the same as in the course
    lesson(work, "01_a.ipynb", "mine")
    (work / ".course.json").unlink()
    assert len(deliver()) == 1
    assert sources(work, "01_a.ipynb") == ["mine"]


@pytest.mark.parametrize("content", [b"", b"not a notebook", b"{}", b'{"cells": [1]}', b"\xff\xfe"])
def test_file_that_is_no_notebook_is_the_readers(desk, content):
    lessons, work, deliver = desk
    (work / "01_a.ipynb").write_bytes(content)
    lesson(lessons, "01_a.ipynb", "second")
    assert len(deliver()) == 1
    assert read(work, "01_a.ipynb") == content


def test_other_files_are_left_alone(desk):
    lessons, work, deliver = desk
    lesson(work, "my_notes.ipynb", "mine")
    lesson(lessons, "02_b.ipynb", "another")
    deliver()
    assert {path.name for path in work.iterdir()} == {".course.json", "01_a.ipynb", "02_b.ipynb", "my_notes.ipynb"}
    assert sources(work, "my_notes.ipynb") == ["mine"]


# --- the pins ---


def test_every_package_that_is_installed_is_locked():
    """In the environment that the tests run in stands what constraints.txt says, and nothing that it does not name."""
    lock = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE):
        lock.setdefault(canonical(name), set()).add(version)
    needed = set()
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    open_ = [canonical(name) for name in pinned]
    while open_:
        name = open_.pop()
        try:
            there = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another system
        if name not in needed:
            needed.add(name)
            assert there.version.partition("+")[0] in lock.get(name, ()), f"{name} {there.version} is not locked"
            needs = [each for each in there.requires or () if "extra ==" not in each]
            open_ += [canonical(re.match(r"[\w.-]+", each)[0]) for each in needs]
    assert len(needed) > 100


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# --- lessons that have another number than before ---


def test_an_untouched_copy_of_a_renumbered_lesson_makes_room(desk):
    lessons, work, deliver = desk
    (lessons / "01_a.ipynb").unlink()
    lesson(lessons, "02_a.ipynb", "second")
    assert deliver() == []
    assert sources(work, "02_a.ipynb") == ["second"]
    assert not (work / "01_a.ipynb").exists()


def test_a_changed_copy_of_a_renumbered_lesson_stays_and_it_is_said_once(desk):
    lessons, work, deliver = desk
    lesson(work, "01_a.ipynb", "mine")
    (lessons / "01_a.ipynb").unlink()
    lesson(lessons, "01_b.ipynb", "another")
    lesson(lessons, "02_a.ipynb", "second")
    (told,) = deliver()
    assert told == "01_a.ipynb is 02_a.ipynb in the course now. Yours stays; the lesson as it is now is 02_a.ipynb."
    assert sources(work, "01_a.ipynb") == ["mine"] and sources(work, "02_a.ipynb") == ["second"]
    assert sources(work, "01_b.ipynb") == ["another"]
    assert deliver() == []
    assert {path.name for path in work.iterdir()} == {".course.json", "01_a.ipynb", "01_b.ipynb", "02_a.ipynb"}


def test_a_folder_of_the_first_edition_loses_nothing(course, tmp_path):
    """Every lesson delivered then, one of each two answered; progress and answers lie beside them."""
    then = json.loads((ROOT / "solutions" / "first_edition.json").read_text(encoding="utf-8"))["lessons"]
    old, work = tmp_path / "old", tmp_path / "work"
    work.mkdir()
    for stem in then:
        lesson(old, f"{stem}.ipynb", f"{stem}, first edition")
    assert course.deliver(old, work) == []
    kept = {"progress.json": '{"softmax": "done"}', "interview.json": "{}", "notes.txt": "mine"}
    for name, content in kept.items():
        (work / name).write_text(content)
    mine = then[::2]
    for stem in mine:
        lesson(work, f"{stem}.ipynb", "my answer")
    now = [path.name for path in sorted((ROOT / "lessons").glob("*.ipynb"))]
    told = course.deliver(ROOT / "lessons", work)
    assert all(sources(work, f"{stem}.ipynb") == ["my answer"] for stem in mine)
    assert {name: (work / name).read_text() for name in kept} == kept
    for name in now:
        beside = name.replace(".ipynb", ".new.ipynb") if name.removesuffix(".ipynb") in mine else name
        assert read(work, beside) == read(ROOT / "lessons", name)
    assert len(told) == len(mine), told
    gone = {f"{stem}.ipynb" for stem in then} - {f"{stem}.ipynb" for stem in mine} - set(now)
    assert not [name for name in gone if (work / name).exists()]
    assert course.deliver(ROOT / "lessons", work) == []
