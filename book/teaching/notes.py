"""Write what the checkers know into the teaching notes: of each exercise its time, and how it goes wrong.

Run as `python book/teaching/notes.py`. Between the two marks of a note stands one entry for each exercise of its lesson
with its first named mistakes. They are the checkers' own sentences, and a test compares them.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]
NOTES = ROOT / "book" / "teaching"
MARKS = re.compile(r"<!-- exercises -->\n.*?<!-- /exercises -->", re.DOTALL)
SHOWN = 4


def notes() -> list[Path]:
    """The notes that there are, in the order of the lessons."""
    from solutions.lessons import lessons

    return [path for each in lessons() if (path := NOTES / f"{each.name}.md").exists()]


def entries(lesson: str) -> str:
    """The exercises of a lesson as Markdown, their numbers by name."""
    from solutions.checks import EXERCISES

    lines = ["## Exercises and common errors", "", '"Your output equals what you get when ..."', ""]
    for exercise in EXERCISES.values():
        if exercise.lesson == lesson:
            size = f"difficulty {exercise.difficulty}, {exercise.minutes} minutes"
            first = exercise.typical(SHOWN)
            others = len(exercise.mistakes) - len(first)
            lines.append(f"- **{{n}}`{exercise.name}`, {exercise.title}** ({size}; {others} more named)")
            lines += [f"  - {sentence}" for sentence in first]
    return "\n".join(["<!-- exercises -->", *lines, "<!-- /exercises -->"])


def written(note: str, lesson: str) -> str:
    """A note with the entries of its lesson between its marks. Without marks, or exercises, it stays as it is."""
    from solutions.checks import EXERCISES

    known = any(exercise.lesson == lesson for exercise in EXERCISES.values())
    return MARKS.sub(lambda _: entries(lesson), note) if known else note


def main() -> int:
    for path in notes():
        note = path.read_text(encoding="utf-8")
        path.write_text(written(note, path.stem), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
