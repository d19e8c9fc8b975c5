"""The questions as an Anki deck: `python course.py deck`.

A note's identity is its question's name, or the number that it had in the first edition, so that importing a newer deck
mends the cards and keeps their history.
Formulas go in Anki's own form, which its MathJax sets.
"""

import argparse
import html
import os
import sys
from pathlib import Path

from solutions.lessons import first_edition
from solutions.references import WORDS
from widgets.interview import bank
from widgets.interview.bank import BankError, Question

FILE = bank.ROOT / "work" / "attention-at-length.apkg"
DECK, MODEL = 1_684_317_206, 1_251_904_877  # drawn once; Anki knows deck and note type by them
FIELDS = ("Id", "Question", "Pace", "Answer", "Points", "Wrong", "Follow-ups", "Evidence")
FRONT = '<div class="pace">{{Pace}}</div><div class="question">{{Question}}</div>'
BACK = """{{FrontSide}}<hr id="answer">{{Answer}}
<div class="part">A strong answer says</div>{{Points}}
<div class="part">Common wrong answer</div>{{Wrong}}
<div class="part">Follow-ups</div>{{Follow-ups}}
<div class="pace">{{Evidence}}</div>"""
CSS = """.card { font: 17px/1.5 system-ui, sans-serif; text-align: left; max-width: 40em; margin: auto; padding: 12px; }
.question { font-size: 20px; font-weight: 600; }
.pace { font-size: 14px; color: #57606a; } .nightMode .pace { color: #a3adb8; }
.part { font-weight: 600; margin-top: 14px; } ul, dl { margin: 4px 0; } dd { margin-left: 1.2em; }"""


def marked_up(text: str) -> str:
    """Markdown as HTML for a card: formulas as \\( \\)."""
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    def tex(formula: str, options: dict) -> str:
        opens, closes = ("\\[", "\\]") if options.get("display_mode") else ("\\(", "\\)")
        return f"{opens}{html.escape(formula.strip())}{closes}"

    return MarkdownIt("commonmark", {"html": False}).use(dollarmath_plugin, renderer=tex).render(text).strip()


def fields(question: Question) -> list[str]:
    """What FIELDS hold; links into the course are their words."""

    def card(text: str) -> str:
        return marked_up(bank.shown(question, text, WORDS))

    def line(text: str) -> str:
        return card(text).removeprefix("<p>").removesuffix("</p>")

    points = "".join(f"<li>{line(point)}</li>" for point in question.points)
    follow_ups = "".join(f"<dt>{line(asked)}</dt><dd>{line(told)}</dd>" for asked, told in question.follow_ups)
    return [
        question.number,
        line(question.title),
        f"{question.number} · {question.level} · {question.minutes} minutes",
        card(question.answer),
        f"<ul>{points}</ul>",
        card(question.wrong),
        f"<dl>{follow_ups}</dl>",
        card(question.evidence),
    ]


def write(questions: list[Question], path: Path) -> None:
    """Write the deck, whole or not at all: a deck that is there stays until the new one is complete."""
    import genanki

    model = genanki.Model(
        MODEL,
        "Attention at Length, interview",
        fields=[{"name": name} for name in FIELDS],
        templates=[{"name": "say it aloud", "qfmt": FRONT, "afmt": BACK}],
        css=CSS,
    )
    deck = genanki.Deck(DECK, "Attention at Length")
    numbers = {name: number for number, name in first_edition()["questions"].items()}
    for question in questions:
        guid = genanki.guid_for("attention-at-length", numbers.get(question.id, question.id))
        tags = [question.lesson, question.level]
        deck.add_note(genanki.Note(model, fields(question), guid=guid, tags=tags))
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".partial")
    try:
        genanki.Package(deck).write_to_file(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="course.py deck", description="Write the questions as an Anki deck.")
    parser.add_argument("path", nargs="?", type=Path, default=FILE, help="where to (default: %(default)s)")
    path = parser.parse_args(argv).path
    try:
        questions = bank.questions()
        write(questions, path)
    except BankError as error:
        print(f"course.py deck: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"course.py deck: cannot write {path} ({error.strerror})", file=sys.stderr)
        return 1
    print(f"{len(questions)} cards: {path}\nIn Anki: File, Import. Importing again updates the cards and doubles none.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
