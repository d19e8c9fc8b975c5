"""What a reader has done so far: open, tried or done for every exercise, kept beside their notebooks.

`work/progress.json` next to the package holds {name of the exercise: state}. The environment variable COURSE_PROGRESS
moves it to another path; "off" keeps it in memory. Losing it loses nothing but a table, so no fault of the file stops
a lesson: a damaged one is set aside, one that cannot be written is told once.
"""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

STATES = ("open", "tried", "done")
_memory: dict[str, str] = {}
_told: set[str] = set()


def place() -> Path | None:
    """Where progress is kept, or None for in memory only."""
    setting = os.environ.get("COURSE_PROGRESS", "")
    if setting == "off":
        return None
    return Path(setting) if setting else Path(__file__).resolve().parents[2] / "work" / "progress.json"


def load() -> dict[str, str]:
    """States by name. A damaged file is renamed to end in .damaged.json, which is printed, and counts as empty."""
    path = place()
    if path is None:
        return dict(_memory)
    try:
        states = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(states, dict) or not all(state in STATES for state in states.values()):
            raise ValueError("not a table of states")
        return states
    except FileNotFoundError:
        return {}
    except ValueError:
        set_aside(path)
    except OSError as error:
        tell_once(f"{path.name} could not be read ({error.strerror}); progress starts from nothing.")
    return {}


def set_aside(path: Path) -> None:
    """Rename a damaged file, so that the reader can look at it and the next write does not end it."""
    aside = path.with_suffix(".damaged.json")
    try:
        os.replace(path, aside)
        print(f"{path.name} was damaged. It is kept as {aside.name}, and progress starts from nothing.")
    except OSError as error:
        tell_once(f"{path.name} is damaged and could not be set aside ({error.strerror}).")


def note(name: str, state: str) -> None:
    """Remember that an exercise was tried or done; done stays done."""
    states = load()
    if STATES.index(state) <= STATES.index(states.get(name, "open")):
        return
    states[name] = state
    path = place()
    if path is None:
        _memory.update(states)
        return
    try:
        write(path, json.dumps(states, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        tell_once(f"{path.name} could not be written ({error.strerror}); progress is not kept.")


def write(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader of it sees the old or the new, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def tell_once(sentence: str) -> None:
    if sentence not in _told:
        _told.add(sentence)
        print(sentence)


@dataclass(frozen=True)
class Progress:
    """The table that `progress()` shows: as text anywhere, as a table in a notebook."""

    rows: tuple[tuple[str, int, int, int], ...]
    upcoming: str

    def __repr__(self) -> str:
        width = max(len(lesson) for lesson, *_ in self.rows)
        lines = [f"{'lesson':{width}}  done  tried  open"]
        lines += [f"{lesson:{width}}  {done:4}  {tried:5}  {left:4}" for lesson, done, tried, left in self.rows]
        return "\n".join([*lines, self.upcoming])

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{name}</th>' for name in ("lesson", "done", "tried", "open"))
        body = "".join(
            f'<tr><th scope="row">{lesson}</th>' + "".join(f"<td>{count}</td>" for count in counted) + "</tr>"
            for lesson, *counted in self.rows
        )
        return f"<table><caption>{self.upcoming}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def summary(titles: dict[str, str], exercises: list) -> Progress:
    """Count states by lesson. titles: lesson -> title; exercises: in order, with name, number, title and lesson."""
    states = load()
    rows = []
    for lesson, title in titles.items():
        here = [states.get(exercise.name, "open") for exercise in exercises if exercise.lesson == lesson]
        rows.append((f"{int(lesson)}. {title}", here.count("done"), here.count("tried"), here.count("open")))
    left = [exercise for exercise in exercises if states.get(exercise.name) != "done"]
    upcoming = f"Next: {left[0].number}, {left[0].title}." if left else "All exercises are done."
    return Progress(tuple(rows), upcoming)
