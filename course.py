"""The one door to the course: `python3 course.py lab` and the other commands, on Linux, macOS and Windows.

It needs nothing but Python. What the course needs goes into `.venv` beside this file. A stamp in `.venv`, written last,
names what was installed there: while it holds, nothing is installed and nothing is asked of the network; without it the
set-up goes on from where it stopped.
"""

# An older Python must still be able to read this file, so that it can say that it is too old.
from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import hashlib
import http.client
import json
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import webbrowser
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "course-stamp"
LESSONS = ROOT / "lessons"
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
DOOR = ("python" if os.name == "nt" else "python3") + " course.py"
START_SECONDS = 90
GRACE_SECONDS = 10
# JupyterLab would ask outside for news (after a question on screen) and for updates. A reader may turn both on again.
LAB_DEFAULTS = """
{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}
"""
# nbgrader is here for `release`; a learner need not see its menus, nor the button of the Notebook that came with it. A
# teacher who wants them deletes these two.
WITHOUT_NBGRADER = {
    "etc/jupyter/labconfig/page_config.json": """
{"disabledExtensions": {"@jupyter/nbgrader": true, "@jupyter-notebook/lab-extension": true}}
""",
    "etc/jupyter/jupyter_server_config.json": """
{"ServerApp": {"jpserver_extensions": {
  "nbgrader.server_extensions.formgrader": false, "nbgrader.server_extensions.validate_assignment": false,
  "nbgrader.server_extensions.assignment_list": false, "nbgrader.server_extensions.course_list": false
}}}
""",
}


class Refusal(Exception):
    """What stands in the way, and what to do about it."""


def say(sentence: str) -> None:
    print(sentence, flush=True)


def start(command: list, folder: Path, **options) -> subprocess.Popen:
    """A child, which imports the course of this folder, wherever the environment's own copy may lie."""
    env = dict(options.pop("env", os.environ))
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # else every kernel and every test process compiles the course again
    return subprocess.Popen([str(part) for part in command], cwd=str(folder), env=env, **options)


def finish(child: subprocess.Popen) -> int:
    """Exit code of a child. Ctrl-C reaches it too: it gets a moment to put its things in order before we leave."""
    try:
        return child.wait()
    except KeyboardInterrupt:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=GRACE_SECONDS)
        raise
    finally:
        end(child)


def end(child: subprocess.Popen) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout=GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()


def put(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    try:
        draft.write_bytes(content)
        os.replace(draft, path)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


# --- the environment ---


def environment() -> Path:
    """The Python of `.venv`, after making, mending or completing it where needed."""
    version = environment_version()
    if version and stamped() == recipe(version):
        return PYTHON
    if version and stamped().splitlines()[:1] == recipe(version).splitlines()[:1]:
        served = stamped().splitlines()[-1]
        say(f"The environment in .venv was set up for the course in {served}. It is this folder's from now on.")
        return point_here()
    manner = []
    if VENV.exists() and not (version and succeeds([PYTHON, "-m", "pip", "--version"])):
        if VENV.is_symlink() or not VENV.is_dir():
            raise Refusal(f"{VENV} is no environment that works and no folder either. Move it away, then repeat.")
        say("The environment in .venv is broken, half made or too old: making it anew.")
        with contextlib.suppress(FileNotFoundError):
            PYTHON.unlink()  # first, so that a removal cut short is not taken for an environment
        shutil.rmtree(VENV)
    if not VENV.exists():
        version = platform.python_version()
        say(f"Making .venv with Python {version}. This takes minutes and 2.5 GB (more with CUDA), once.")
        make_environment()
    else:
        say("Bringing .venv up to date.")
        if stamped():
            manner = ["--quiet"]  # else pip lists some 150 packages that stay as they are
        with contextlib.suppress(FileNotFoundError):
            STAMP.unlink()
    install(*manner, "-r", ROOT / "requirements.txt", *cpu_wheels())
    put(VENV / "share/jupyter/lab/settings/overrides.json", LAB_DEFAULTS.encode())
    for name, content in WITHOUT_NBGRADER.items():
        put(VENV / name, content.encode())
    return point_here()


def point_here() -> Path:
    """Let the environment's `solutions` and `widgets` be those of this folder, and stamp it."""
    # Without isolation: setuptools is there by now (torch asks for it), so this needs no network.
    install("--quiet", "--no-build-isolation", "--no-deps", "--editable", ROOT)
    put(STAMP, recipe(environment_version()).encode())
    return PYTHON


def environment_version() -> str:
    """Full version of the environment's Python; empty when it does not start or is too old."""
    question = f"import sys; print(sys.version if sys.version_info >= {OLDEST} else '')"
    try:
        return subprocess.check_output([str(PYTHON), "-c", question], stderr=subprocess.DEVNULL, text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def recipe(version: str) -> str:
    """What the environment is made from, in two lines: a digest of lists, settings and Python; the folder it serves."""
    names = ("requirements.txt", "constraints.txt", "pyproject.toml")
    lists = [(ROOT / name).read_text(encoding="utf-8") for name in names]
    parts = [*lists, LAB_DEFAULTS, *WITHOUT_NBGRADER.values(), version]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest() + f"\n{ROOT}"


def stamped() -> str:
    try:
        return STAMP.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def succeeds(command: list) -> bool:
    command = [str(part) for part in command]
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def make_environment() -> None:
    try:
        import ensurepip  # noqa: F401
        import venv
    except ImportError:
        package = "python{}.{}-venv".format(*sys.version_info)
        raise Refusal(
            f"This Python came without venv and ensurepip. On Debian or Ubuntu: sudo apt install {package}; "
            f"then repeat the command."
        ) from None
    try:
        venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(VENV)
    except subprocess.CalledProcessError as error:
        raise why_not(str(error.output), "The environment could not be made") from None


def install(*what) -> None:
    """pip, with its own progress on the screen. Its complaints are shown and read."""
    command = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", *what]
    complaints: list[str] = []

    def listen(stream) -> None:
        for line in stream:
            complaints.append(line)
            sys.stderr.write(line)

    child = start(command, ROOT, stderr=subprocess.PIPE, text=True, errors="replace")
    listener = threading.Thread(target=listen, args=[child.stderr], daemon=True)
    listener.start()
    code = finish(child)
    listener.join(timeout=GRACE_SECONDS)
    if code:
        raise why_not("".join(complaints), "pip did not finish")


def why_not(output: str, failure: str) -> Refusal:
    """The likely cause of a failed install, from what the installer wrote."""
    if any(mark in output for mark in ("[Errno 28]", "No space left", "[WinError 112]")):
        return Refusal(f"{failure}: {FULL}")
    if any(mark in output for mark in ("[Errno 13]", "[Errno 30]", "Permission denied", "[WinError 5]")):
        return Refusal(f"{failure}: {FORBIDDEN}")
    if any(mark in output for mark in ("NewConnectionError", "ConnectTimeout", "NameResolutionError", "SSLError")):
        return Refusal(
            f"{failure}: the package index could not be reached. The first set-up needs the network; what is there "
            f"already is kept, so repeat the command when the connection is back."
        )
    return Refusal(
        f"{failure}; its own words stand above. What is there already is kept: mend the cause and repeat the command. "
        f"If nothing helps, delete .venv and begin again."
    )


def cpu_wheels() -> list:
    """Where there is no NVIDIA GPU to use it, several GB of CUDA can stay away: PyTorch keeps CPU wheels for Linux.

    pip takes 2.13.0+cpu for ==2.13.0 and prefers it. The host is asked first, because pip would try one that doesn't
    answer five times for each of some 170 packages, 8 seconds every time.
    """
    if platform.system() != "Linux" or shutil.which("nvidia-smi") or not answers(CPU_WHEELS + "/torch/", seconds=3):
        return []
    return ["--extra-index-url", CPU_WHEELS]


def answers(url: str, seconds: float) -> bool:
    """Asked from a thread: looking up a name may take longer than any time limit given for the request."""
    heard = []

    def ask() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
            heard.append(url)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout=seconds)
    return bool(heard)


# --- the reader's copy of the lessons ---


def written(notebook: bytes) -> str:
    """Fingerprint of what a reader can lose: cells and outputs. Opening a notebook may change the rest of the file."""
    try:
        cells = [
            [cell["cell_type"], "".join(cell["source"]), cell.get("attachments"), *map(shown, cell.get("outputs", []))]
            for cell in json.loads(notebook.decode("utf-8"))["cells"]
        ]
        notebook = json.dumps(cells, sort_keys=True).encode()
    except (ValueError, KeyError, TypeError, AttributeError):
        pass  # not a notebook any more: every byte counts
    return hashlib.sha256(notebook).hexdigest()


def shown(output: dict) -> dict:
    return {key: value for key, value in output.items() if key != "execution_count"}


def deliver(lessons: Path, work: Path) -> list:
    """Copy new and changed lessons into `work` and return what the reader should be told, a sentence each.

    A file that the reader changed stays; the new lesson arrives beside it as `NN_name.new.ipynb`. Deleting a file asks
    for a fresh copy. Where a lesson has another number than before, its copy of then goes if the reader never changed
    it, and stays under its old name if they did.
    """
    ledger = work / ".course.json"
    try:
        delivered = dict(json.loads(ledger.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        delivered = {}
    told = []
    for lesson in sorted(lessons.glob("*.ipynb")):
        content = lesson.read_bytes()
        new = written(content)
        for name in names(lesson.stem):
            path = work / name
            first = name == lesson.name
            if delivered.get(name) == new and (path.exists() or not first):
                break  # this reader has had this version
            if not path.exists() or written(path.read_bytes()) in (delivered.get(name), new):
                put(path, content)
                delivered[name] = new
                put(ledger, json.dumps(delivered, indent=1, sort_keys=True).encode())
                if not first:
                    told.append(f"{lesson.name} has changed in the course. Yours stays; the new one is {name}.")
                break
    return told + renumbered(lessons, work, delivered)


def renumbered(lessons: Path, work: Path, delivered: dict) -> list:
    """What to tell of copies whose lesson has another number by now; those that were never changed are removed."""
    told = []
    current = {lesson.stem.partition("_")[2]: lesson.name for lesson in sorted(lessons.glob("*.ipynb"))}
    for name in [name for name in delivered if not (lessons / name).exists() and ".new" not in name]:
        path, now = work / name, current.get(Path(name).stem.partition("_")[2])
        if now is None:
            continue
        if path.exists() and written(path.read_bytes()) == delivered[name]:
            path.unlink()
        elif path.exists():
            told.append(f"{name} is {now} in the course now. Yours stays; the lesson as it is now is {now}.")
        del delivered[name]
        put(work / ".course.json", json.dumps(delivered, indent=1, sort_keys=True).encode())
    return told


def names(stem: str):
    """`stem.ipynb`, then the places beside it."""
    yield f"{stem}.ipynb"
    yield f"{stem}.new.ipynb"
    number = 2
    while True:
        yield f"{stem}.new-{number}.ipynb"
        number += 1


# --- the commands: each takes the arguments after its name and returns an exit code ---


def lab(arguments: list) -> int:
    """open the lessons in JupyterLab"""
    options = argparse.ArgumentParser(prog=f"{DOOR} lab", description="Open the lessons in JupyterLab.")
    options.add_argument("--no-browser", action="store_true", help="print the address and open nothing")
    options.add_argument("--port", type=int, help="the port to use (default: the first free one from 8888)")
    place = options.add_mutually_exclusive_group()
    place.add_argument("--here", action="store_true", help="open lessons/ itself, not a copy")
    place.add_argument("--work", type=Path, default=ROOT / "work", help="folder of your copies (default: work)")
    chosen = options.parse_args(arguments)

    python = environment()
    work = chosen.work.resolve()
    folder = LESSONS if chosen.here else work
    if not chosen.here:
        work.mkdir(parents=True, exist_ok=True)
        for sentence in deliver(LESSONS, work):
            say(sentence)

    port, token = free_port(chosen.port), secrets.token_hex(16)
    settings = {
        "ServerApp.root_dir": folder,
        "ServerApp.log_level": "ERROR",
        "LabApp.log_level": "ERROR",
        "LabApp.workspaces_dir": work / ".workspaces",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.open_browser": False,
        "KernelManager.transport_encryption": "auto",
        "ServerApp.allow_root": hasattr(os, "geteuid") and os.geteuid() == 0,
    }
    # -P: a file of the reader's is not to be taken for a module by the server.
    command = [python, "-P", "-m", "jupyterlab"]
    command += [f"--{name}={value}" for name, value in settings.items()]
    # The token travels in the environment: a command line can be read by everybody on the machine.
    variables = {"COURSE_PROGRESS": str(work / "progress.json"), **os.environ, "JUPYTER_TOKEN": token}
    # With no keyboard of its own, JupyterLab takes Ctrl-C at its word and asks no question.
    server = start(command, folder, env=variables, stdin=subprocess.DEVNULL)
    try:
        wait_for_server(server, port)
        first = min(LESSONS.glob("*.ipynb"), default=LESSONS / "none").name
        page = f"lab/tree/{first}" if (folder / first).exists() else "lab"
        address = f"http://localhost:{port}/{page}?token={token}"
        say(f"The lessons are in {folder}\nJupyterLab: {address}\nCtrl-C ends it.")
        if not chosen.no_browser:
            webbrowser.open(address)
        return finish(server)
    finally:
        end(server)


def free_port(wanted: int | None) -> int:
    for port in range(8888, 8988) if wanted is None else [wanted]:
        with socket.socket() as probe, contextlib.suppress(OSError, OverflowError):
            if os.name != "nt":  # a port that has just been given back may be taken at once
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return probe.getsockname()[1]
    if wanted is None:
        raise Refusal("The ports 8888 to 8987 are all taken: name a free one with --port.")
    raise Refusal(f"Port {wanted} is taken or not allowed: name another, or leave --port out.")


def wait_for_server(server: subprocess.Popen, port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            raise Refusal(f"JupyterLab did not start; its own words stand above. What is amiss: {DOOR} doctor")
        connection = http.client.HTTPConnection("localhost", port, timeout=5)
        try:
            connection.request("GET", "/api")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
        finally:
            connection.close()
    raise Refusal(f"JupyterLab did not answer within {START_SECONDS} seconds. Try again, or see {DOOR} doctor")


def test(arguments: list) -> int:
    """run every test, those of a minute (--quick), a lesson's own (test infini), or what you name (test tests/x.py)"""
    python = environment()
    spread, soon = ["-n", "auto"], ["-m", "not slow"]  # a file at a time on every core; without what takes seconds
    named = [each for each in arguments[:1] if not each.startswith("-")]
    if "--quick" in arguments:
        if finish(start([python, "-m", "ruff", "check", "."], ROOT)) != 0:
            return 1
        others = [each for each in arguments if each != "--quick"]
        arguments = ["tests", "--ignore=tests/browser", "-m", "not (slow or seconds or site)", *spread, *others]
    elif not named:
        arguments = [*spread, *arguments]
    elif not (ROOT / named[0].partition("::")[0]).exists():
        arguments = ["--lesson", *arguments, *soon, *spread]
    return finish(start([python, "-m", "pytest", *arguments], ROOT))


def book(arguments: list) -> int:
    """build the site into book/_build/html"""
    return finish(start([environment(), ROOT / "book" / "bind.py", *arguments], ROOT))


def build(arguments: list) -> int:
    """print the notebooks from their text: build [--check] [NAME ...]"""
    return finish(start([environment(), ROOT / "book" / "press.py", *arguments], ROOT))


def train(arguments: list) -> int:
    """train a model of the course again (without a name it says which there are)"""
    return finish(start([environment(), "-m", "solutions.checkpoints", *arguments], ROOT))


def measure(arguments: list) -> int:
    """measure a figure of the course again (without a name it says which there are)"""
    return finish(start([environment(), "-m", "widgets.measurements.figures", *arguments], ROOT))


def deck(arguments: list) -> int:
    """write the interview questions as an Anki deck"""
    return finish(start([environment(), "-m", "widgets.interview.deck", *arguments], ROOT))


def release(arguments: list) -> int:
    """write the course for a class that is graded with nbgrader"""
    return finish(start([environment(), ROOT / "book" / "teaching" / "release.py", *arguments], ROOT))


def slides(arguments: list) -> int:
    """write the slides of a lesson, one file that needs no network"""
    return finish(start([environment(), ROOT / "book" / "teaching" / "slides.py", *arguments], ROOT))


def pdf(arguments: list) -> int:
    """print the site as one PDF"""
    return finish(start([environment(), ROOT / "book" / "printed.py", *arguments], ROOT))


def doctor(arguments: list) -> int:
    """say what works here, and what to do about what doesn't"""
    argparse.ArgumentParser(prog=f"{DOOR} doctor", description="Say what works here.").parse_args(arguments)
    version = environment_version()
    if not version:
        report(False, "Python", f"{platform.python_version()}, but .venv is missing or broken. {DOOR} lab makes it")
        return 1
    current = "" if stamped() == recipe(version) else f"; .venv is not complete: {DOOR} lab completes it"
    report(True, "Python", version.split()[0] + current)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(max_workers=2) as pool:
        reports = [(probe, pool.submit(examine, probe, Path(folder))) for probe in PROBES]
        whole = True
        for probe, answer in reports:
            works, finding = answer.result()
            report(works, probe.name, finding if works else f"{finding}. {probe.remedy}")
            whole = whole and (works or not probe.core)
    return 0 if whole else 1


class Probe(NamedTuple):
    """A small program that prints what it found and exits with 0, or fails; the last line of its output is told."""

    name: str
    program: str
    remedy: str
    core: bool = False


def examine(probe: Probe, folder: Path) -> tuple:
    """Whether the probe succeeded, and its last line. Run from a file (Triton reads sources) outside the course."""
    script = folder / f"probe_{probe.name.lower()}.py"
    script.write_text(probe.program, encoding="utf-8")
    variables = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONUTF8": "1", "COURSE_PROGRESS": "off"}
    try:
        answer = subprocess.run(
            [str(PYTHON), str(script)], cwd=str(folder), env=variables, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", timeout=120,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False, "no answer within 2 minutes"
    lines = answer.stdout.strip().splitlines() or [f"ended with exit code {answer.returncode}"]
    return answer.returncode == 0, lines[-1].rstrip(".")


def report(works: bool, name: str, finding: str) -> None:
    say(f"{'yes' if works else 'no '}  {name:<11} {finding}")


REINSTALL = f"Delete .venv, then: {DOOR} lab"
PROBES = [
    Probe(
        "torch",
        """
import torch
torch.testing.assert_close(torch.eye(3) @ torch.arange(3.0), torch.arange(3.0))
print(f"{torch.__version__}, {torch.get_num_threads()} threads")
""",
        REINSTALL,
        core=True,
    ),
    Probe(
        "Triton",
        """
import platform, sys
if platform.system() != "Linux":
    sys.exit("no wheels for this platform: the tile machine stands in")
import torch, triton
import triton.language as tl

@triton.jit
def copy(source, target, n, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(target + place, tl.load(source + place, mask=place < n), mask=place < n)

source, target = torch.arange(100.0), torch.full([100], -1.0)
copy[(4,)](source, target, 100, BLOCK=32)
if not torch.equal(source, target):
    sys.exit(f"{triton.__version__}, but a kernel in its interpreter copied wrong values")
print(f"{triton.__version__}, a kernel ran in the interpreter and copied what it should")
""",
        "The lessons on flash attention use the tile machine, the rest needs no Triton.",
    ),
    Probe(
        "CUDA",
        """
import sys
import torch
if not torch.cuda.is_available():
    sys.exit("no NVIDIA GPU that torch can use")
torch.testing.assert_close((torch.eye(3).cuda() @ torch.arange(3.0).cuda()).cpu(), torch.arange(3.0))
print(f"{torch.cuda.get_device_name()}, {torch.cuda.get_device_properties(0).total_memory / 1e9:.0f} GB, "
      f"CUDA {torch.version.cuda}")
""",
        "Nothing needs one: lessons run on the CPU, and only timings of compiled kernels are left out.",
    ),
    Probe(
        "widgets",
        """
import solutions, widgets
import anywidget
print(f"{', '.join(widgets.__all__)}, on anywidget {anywidget.__version__}")
""",
        REINSTALL,
        core=True,
    ),
    Probe(
        "JupyterLab",
        """
import jupyterlab, ipykernel
print(f"{jupyterlab.__version__}, kernel {ipykernel.__version__}")
""",
        REINSTALL,
        core=True,
    ),
    Probe(
        "browser",
        """
import sys
from playwright.sync_api import Error, sync_playwright
from widgets.kit.chromium import chromium, flags
with sync_playwright() as playwright:
    try:
        browser = playwright.chromium.launch(executable_path=chromium(), args=flags())
    except Error:
        sys.exit("no Chromium could be started")
    print(f"Chromium {browser.version}, for the tests of the pages")
    browser.close()
""",
        "Any browser shows the lessons; the tests of the pages are skipped. Install chromium, or name one in "
        "COURSE_CHROMIUM",
    ),
]

COMMANDS = {
    command.__name__: command
    for command in [lab, test, book, build, train, measure, deck, release, slides, pdf, doctor]
}


# --- words for what goes wrong ---

FULL = (
    "the disk is full. Make room (the set-up needs about 2.5 GB beside course.py, and room in the folder for temporary "
    "files: TMPDIR names another), then repeat the command: it goes on from here."
)
FORBIDDEN = (
    "no permission to write there. Move the course to a folder of your own, or mend the permissions, then repeat the "
    "command."
)


def in_words(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return where + FULL
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return where + FORBIDDEN
    return f"{where}{error.strerror or error}. Put it right, then repeat the command."


def too_old() -> Refusal:
    """Names the Python that was found, and a newer one where there is one."""
    found = f"This is Python {platform.python_version()} ({sys.executable}); the course needs 3.11 or newer."
    for name in ("python3.14", "python3.13", "python3.12", "python3.11"):
        path = shutil.which(name)
        if path and succeeds([path, "--version"]):
            return Refusal(f"{found} There is a newer one: {name} course.py {' '.join(sys.argv[1:]) or 'lab'}")
    return Refusal(f"{found} Get one from https://www.python.org/downloads/ or your package manager.")


def usage() -> str:
    lines = [f"{name:<7} {command.__doc__}" for name, command in COMMANDS.items()]
    return f"{DOOR} COMMAND\n\n  " + "\n  ".join(lines) + f"\n\nBegin with: {DOOR} lab"


def main(arguments: list) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        say(usage())
        return 0 if arguments else 2
    name, *rest = arguments
    try:
        if sys.version_info < OLDEST:
            raise too_old()
        if name not in COMMANDS:
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise Refusal(f"There is no command {name}.{meant} There are {', '.join(COMMANDS)}.")
        return COMMANDS[name](rest)
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 2
    except OSError as error:
        print(in_words(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. Nothing is left half made; the same command goes on from here.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        # A path may hold letters that a terminal cannot show. (typeshed has sys.stdout as what a caller may put there.)
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    # Leave through the `finally` clauses, so that JupyterLab and its kernels end too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
