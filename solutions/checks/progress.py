"""What a reader has done so far: open, tried or done for every exercise, kept beside their notebooks.

`work/progress.json` next to the package holds {name of the exercise: state}. The environment variable COURSE_PROGRESS
moves it to another path; "off" keeps it in memory. Losing it loses nothing but a table, so no fault of the file stops
a lesson: a damaged one is set aside, one that cannot be written is told once. Several kernels may write at once. A
state that this version does not know is kept as it is.
"""

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from solutions import tracks
from solutions.whole import patiently, write_whole

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt

STATES = ("open", "tried", "done")
BUSY = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
LOCK_SECONDS = 5.0  # a lock that is held longer is no longer waited for
_memory: dict[str, str] = {}
_told: set[str] = set()


def place() -> Path | None:
    """Where progress is kept, or None for in memory only."""
    setting = os.environ.get("COURSE_PROGRESS", "")
    if setting == "off":
        return None
    return Path(setting) if setting else Path(__file__).resolve().parents[2] / "work" / "progress.json"


def load() -> dict[str, object]:
    """States by name, those of other versions too. What cannot be read counts as empty, and is told."""
    path = place()
    if path is None:
        return dict(_memory)
    try:
        return read(path)
    except OSError as error:
        tell_once(f"{path.name} could not be read ({error.strerror}); progress starts from nothing.")
    return {}


def read(path: Path) -> dict[str, object]:
    """The table in a file, empty where there is none. A damaged file is set aside and counts as empty."""
    try:
        states = json.loads(patiently(path.read_text, encoding="utf-8"))
        if not isinstance(states, dict):
            raise ValueError("not a table of states")
        return states
    except FileNotFoundError:
        pass
    except ValueError:
        set_aside(path)
    return {}


def set_aside(path: Path) -> None:
    """Rename a damaged file, so that the reader can look at it and no later write ends it, nor the next damaged one."""
    aside = aside_of(path)
    try:
        os.replace(path, aside)
        print(f"{path.name} was damaged. It is kept as {aside.name}, and progress starts from nothing.")
    except OSError as error:
        tell_once(f"{path.name} is damaged and could not be set aside ({error.strerror}).")


def aside_of(path: Path) -> Path:
    """A name that is free for a damaged file: progress.damaged.json, or -2 and so on."""
    aside, number = path.with_suffix(f".damaged{path.suffix}"), 1
    while aside.exists():
        number += 1
        aside = path.with_suffix(f".damaged-{number}{path.suffix}")
    return aside


def note(name: str, state: str) -> None:
    """Remember that an exercise was tried or done; done stays done, and so does a state of another version."""
    path = place()
    if path is None:
        if advances(state, _memory.get(name, "open")):
            _memory[name] = state
        return
    try:
        with alone(path):
            states = read(path)
            if advances(state, states.get(name, "open")):
                states[name] = state
                write_whole(path, json.dumps(states, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        tell_once(f"{path.name} could not be written ({error.strerror}); progress is not kept.")


def advances(state: str, before: object) -> bool:
    return before in STATES and STATES.index(state) > STATES.index(before)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Between reading a file and replacing it no other process, nor another thread, does the same.

    The system gives the lock back when its process ends, however it ends. Where a folder knows no locks (some network
    drives), or somebody holds one for LOCK_SECONDS, it goes on without: a table is not worth a lesson that stands.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "ab") as file:
        held, until = False, time.monotonic() + LOCK_SECONDS
        while not held and time.monotonic() < until:
            try:
                lock(file)
                held = True
            except OSError as error:
                if error.errno not in BUSY:
                    break
                time.sleep(0.01)
        try:
            yield
        finally:
            if held:
                unlock(file)


def lock(file) -> None:
    """Take the lock; raise OSError with an errno of BUSY if somebody holds it."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)


def unlock(file) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_UN)
    else:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)


def tell_once(sentence: str) -> None:
    if sentence not in _told:
        _told.add(sentence)
        print(sentence)


@dataclass(frozen=True)
class Progress:
    """The table that `progress()` shows: as text anywhere, as a table in a notebook. Its first column is the lesson."""

    rows: tuple[tuple[str | int, ...], ...]
    upcoming: str
    columns: tuple[str, ...] = ("done", "tried", "open")

    def __repr__(self) -> str:
        width = max(len(str(lesson)) for lesson, *_ in [("lesson",), *self.rows])
        lines = ["  ".join([f"{'lesson':{width}}", *self.columns])]
        for lesson, *counted in self.rows:
            counts = zip(counted, self.columns, strict=True)
            lines.append("  ".join([f"{lesson:{width}}", *(f"{count:{len(name)}}" for count, name in counts)]))
        return "\n".join([*lines, self.upcoming])

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{name}</th>' for name in ("lesson", *self.columns))
        body = "".join(
            f'<tr><th scope="row">{lesson}</th>' + "".join(f"<td>{count}</td>" for count in counted) + "</tr>"
            for lesson, *counted in self.rows
        )
        return f"<table><caption>{self.upcoming}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def summary(titles: dict[str, str], exercises: list) -> Progress:
    """Count states by lesson. titles: lesson -> heading; exercises: in order, with name, number, title and lesson."""
    states = load()
    rows, shown = [], [exercise for exercise in exercises if exercise.lesson in titles]
    for lesson, title in titles.items():
        here = [states.get(exercise.name, "open") for exercise in shown if exercise.lesson == lesson]
        here = [state if state in STATES else "tried" for state in here]  # another version's: begun, as far as we know
        if here or len(titles) == 1:
            rows.append((title, here.count("done"), here.count("tried"), here.count("open")))
    left = [exercise for exercise in shown if states.get(exercise.name) != "done"]
    done = "All exercises are done." if len(titles) > 1 else "All exercises of this lesson are done."
    return Progress(tuple(rows), f"Next: {left[0].number}, {left[0].title}." if left else done)


def along(track: str, titles: dict[str, str], exercises: dict) -> Progress:
    """Minutes of a track by lesson, those that are left, and where to go on.

    titles: lesson -> heading; exercises: name -> exercise, with its number and title
    """
    done = {name for name, state in load().items() if state == "done"}
    stops = [stop for stop in tracks.ahead(track, done) if stop[0].lesson in titles]
    here = [(title, [stop for stop in stops if stop[0].lesson == lesson]) for lesson, title in titles.items()]
    rows = [
        (title, sum(each.minutes(track) for each, _, _ in found), sum(left for _, left, _ in found))
        for title, found in here
        if found
    ]
    if not rows:
        return Progress((), f"The track {track} doesn't stop here.", ("minutes", "left"))
    whole = sum(each.minutes(track) for each, _, _ in stops)
    left = sum(minutes for _, minutes, _ in stops)
    if not left:
        return Progress(tuple(rows), "All of it is done.", ("minutes", "left"))
    section, minutes, names = next(stop for stop in stops if stop[1])
    place = f"{section.title or 'the opening'} ({titles[section.lesson]})"
    told = f"{left} of {tracks.counted(whole)} are left. Next: {place}, {tracks.counted(minutes)}"
    if names:
        told += ", with " + tracks.listed([f"{exercises[name].number}, {exercises[name].title}" for name in names])
    return Progress(tuple(rows), f"{told}.", ("minutes", "left"))
