"""What a reader has answered, kept in `work/interview.json` beside the progress of the exercises.

{"answers": [...], "mock": the one that was left halfway or null, "mocks": [those that ended]}. The file only grows:
what is written is the union with what is there, so that two pages open at once lose nothing of each other.
COURSE_PROGRESS moves it beside that file; "off" keeps nothing. A damaged file is renamed, never overwritten. What the
first edition kept under a question's number is read under its name.
"""

import json
import os
from itertools import count
from pathlib import Path
from typing import Any

from solutions.lessons import first_edition
from solutions.whole import write_whole

ANSWER = {"id": str, "when": str, "late": bool, "ticked": list, "of": int}


def place() -> Path | None:
    """Where answers are kept, or None for nowhere."""
    setting = os.environ.get("COURSE_PROGRESS", "")
    if setting == "off":
        return None
    folder = Path(setting).parent if setting else Path(__file__).resolve().parents[2] / "work"
    return folder / "interview.json"


def empty() -> dict[str, Any]:
    return {"answers": [], "mock": None, "mocks": []}


def is_whole(kept: Any) -> bool:
    """Whether something read is of the form above."""
    return (
        isinstance(kept, dict)
        and isinstance(kept.get("answers"), list)
        and isinstance(kept.get("mocks"), list)
        and isinstance(kept.get("mock"), dict | None)
        and all(
            isinstance(answer, dict) and all(isinstance(answer.get(key), kind) for key, kind in ANSWER.items())
            for answer in kept["answers"]
        )
        and all(
            isinstance(mock, dict) and isinstance(mock.get("begun"), str) and isinstance(mock.get("events"), list)
            for mock in [*kept["mocks"], *([kept["mock"]] if kept["mock"] else [])]
        )
    )


def load(path: Path | None) -> tuple[dict[str, Any], str]:
    """What is kept, and a sentence about what was wrong with it ("" for nothing).

    A damaged file is renamed to interview.damaged.json, or -2 and so on, and counts as empty.
    """
    if path is None:
        return empty(), ""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if not is_whole(kept):
            raise ValueError("not a record of answers")
        return renamed(kept), ""
    except FileNotFoundError:
        return empty(), ""
    except OSError as error:
        return empty(), f"{path.name} could not be read ({error.strerror}); what you answer now is not kept with it."
    except ValueError:
        return empty(), set_aside(path)


def renamed(kept: dict[str, Any]) -> dict[str, Any]:
    """What was kept, with each question by its name where it was kept by its number. As `renamed` of store.js."""
    names = first_edition()["questions"]

    def by_name(record: dict[str, Any]) -> dict[str, Any]:
        return record | ({"id": names[record["id"]]} if record.get("id") in names else {})

    def of_mock(mock: dict[str, Any]) -> dict[str, Any]:
        return mock | {"events": [by_name(event) if isinstance(event, dict) else event for event in mock["events"]]}

    return kept | {
        "answers": [by_name(answer) for answer in kept["answers"]],
        "mock": kept["mock"] and of_mock(kept["mock"]),
        "mocks": [of_mock(mock) for mock in kept["mocks"]],
    }


def set_aside(path: Path) -> str:
    """Rename a damaged file to a name that is free, and say so."""
    names = (path.with_suffix(f".damaged{f'-{n}' if n > 1 else ''}.json") for n in count(1))
    aside = next(name for name in names if not name.exists())
    try:
        os.replace(path, aside)
    except OSError as error:
        return f"{path.name} is damaged and could not be set aside ({error.strerror}). Nothing is written over it."
    return f"{path.name} was damaged. It is kept as {aside.name}, and the boxes start from nothing."


def union(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """All answers and mocks of both, in order of time; of an open mock the one that got further."""
    answers = {(answer["when"], answer["id"]): answer for answer in [*one["answers"], *other["answers"]]}
    mocks = {mock["begun"]: mock for mock in [*one["mocks"], *other["mocks"]]}
    open_ones = [mock for mock in (one["mock"], other["mock"]) if mock and mock["begun"] not in mocks]

    def progress(mock: dict[str, Any]) -> tuple:
        return mock["begun"], len(mock["events"]), mock.get("elapsed", 0)

    return {
        "answers": [answers[key] for key in sorted(answers)],
        "mock": max(open_ones, key=progress, default=None),
        "mocks": [mocks[key] for key in sorted(mocks)],
    }


def save(path: Path | None, reader: dict[str, Any]) -> str:
    """Write the union of `reader` and of what is there, whole or not at all. Returns what went wrong, or ""."""
    if path is None or not is_whole(reader):
        return ""
    kept, problem = load(path)
    if problem and path.exists():
        return problem
    try:
        write_whole(path, json.dumps(union(kept, reader), indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    except OSError as error:
        return f"{path.name} could not be written ({error.strerror}); these answers are not kept."
    return problem
