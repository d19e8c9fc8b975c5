"""Slides of a lesson, from the cells of its notebook.

Run as `course.py slides [--out work/slides] [NAME ...]`. A lesson's solved notebook, with its stored outputs, becomes
one HTML file that needs no network and no server: headings with the sentence that opens them, sentences that name a
term, formulas, predictions (the answer comes with the next key), figures, and the sentences to keep. Nothing is written
anew, so nothing on a slide can differ from the lesson. Formulas are MathML.
"""

from __future__ import annotations

import argparse
import ast
import html
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "book")]

import press  # noqa: E402
from markdown_it import MarkdownIt  # noqa: E402
from mdit_py_plugins.dollarmath import dollarmath_plugin  # noqa: E402
from nbformat import NotebookNode  # noqa: E402
from press import PressError, lesson  # noqa: E402

from solutions.pictures import as_html, picture_of  # noqa: E402
from solutions.tracks import LINE  # noqa: E402
from solutions.whole import write_whole  # noqa: E402
from widgets.kit.formulas import mathml  # noqa: E402

FRAME = Path(__file__).with_name("slides.html")
HEADING = re.compile(r"^(#{1,3}) (.*)$")
KEEP = re.compile(r"^> \*\*Keep\.\*\* (.*)$", re.DOTALL)
FORMULA = re.compile(r"^\$\$.*\$\$$", re.DOTALL)
SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-Z$*])")
LONG = 320  # characters; of a longer paragraph a slide takes single sentences
PARTS = 3  # paragraphs that fit on one slide

Deck = list[tuple[str, list[str]]]  # of each slide its kind, and its parts in HTML


def as_mathml(tex: str, options: dict) -> str:
    return mathml(tex, block=options.get("display_mode", False))


MARKDOWN = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin, renderer=as_mathml)


def rendered(markdown: str) -> str:
    """HTML of a piece of a lesson. Links into the lesson are of no use on a slide: their text stays."""
    return re.sub(r"</?a\b[^>]*>", "", MARKDOWN.render(markdown)).strip()


def paragraphs(cell: NotebookNode) -> list[str]:
    """The pieces of a Markdown cell between empty lines, without folded boxes, and without the line of its track."""
    text = re.sub(r"<details>.*?</details>", "", cell.source, flags=re.DOTALL)
    pieces = [piece.strip() for piece in re.split(r"\n\s*\n", text) if piece.strip()]
    return [piece for piece in pieces if not LINE.fullmatch(piece.strip("*"))]


def terms(paragraph: str) -> str:
    """What names a term, in bold: a short paragraph, the sentences of a long one, the heads of a list; or ""."""
    if paragraph.startswith((">", "|", "-", "<")):
        return ""
    if paragraph.startswith("1. "):
        return "\n".join(re.findall(r"^\d+\. \*\*.*?\*\*", paragraph, re.MULTILINE))
    named = [sentence for sentence in SENTENCE.split(paragraph) if "**" in sentence and "**Predict" not in sentence]
    return paragraph if named and len(paragraph) < LONG else " ".join(named)


def add_text(deck: Deck, pieces: list[str]) -> None:
    """Slides of a Markdown cell. A heading opens one and takes the paragraph after it along."""
    opened, before = False, ""
    for piece, after in zip(pieces, [*pieces, ""][1:], strict=True):
        if heading := HEADING.match(piece):
            kind = "title" if len(heading[1]) == 1 else "exercise" if "Exercise" in piece else "step"
            deck.append((kind, [rendered(piece)]))
        elif keep := KEEP.match(piece):
            deck.append(("keep", ["<h3>Keep</h3>", rendered(keep[1])]))
        elif FORMULA.match(piece) and before:
            deck.append(("formula", [rendered(before), rendered(piece)]))
        elif FORMULA.match(piece) or opened:
            deck[-1][1].append(rendered(terms(piece) if piece.startswith("1. ") else piece))
        elif not FORMULA.match(after) and (named := terms(piece)):
            if deck[-1][0] not in ("step", "terms") or len(deck[-1][1]) > PARTS:
                deck.append(("terms", []))
            deck[-1][1].append(rendered(named))
        before = piece if not (heading or keep or opened or FORMULA.match(piece)) else ""
        # what a colon announces belongs to it: a formula, a table, a list
        opened = bool(heading) or (opened and (piece.endswith(":") or FORMULA.match(piece) is not None))


def prediction(cell: NotebookNode) -> Deck:
    """The slide of a cell `predict(...)`, none for another. The answer is hidden until it is asked for."""
    try:
        call = ast.parse(cell.source.strip(), mode="eval").body
    except SyntaxError:
        return []
    if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "predict"):
        return []
    asked = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    question = html.escape(ast.literal_eval(call.args[0]))
    choices = "".join(f"<li>{html.escape(choice)}</li>" for choice in asked["choices"])
    answer, why = html.escape(asked.get("answer") or ""), html.escape(asked.get("why", ""))
    later = f'<p class="later"><b>{answer}</b>. {why}</p>' if answer else ""
    return [("predict", ["<h3>Predict</h3>", f"<p>{question}</p>", f"<ul>{choices}</ul>", later])]


def shown(cell: NotebookNode) -> Deck:
    """Slides of what a code cell brought out: a figure or a drawing, an instrument's state in words."""
    deck: Deck = []
    for output in cell.outputs:
        data = output.get("data", {})
        if there := picture_of(data):
            deck.append(("figure", [as_html(*there)]))
        elif "data-twin" in data.get("text/html", ""):
            call, state = cell.source.strip().splitlines()[-1], data["text/plain"]
            words = [f"<p><code>{html.escape(call)}</code></p>", f"<p>{html.escape(state)}</p>"]
            deck.append(("live", ["<h3>Live, in the notebook</h3>", *words]))
    return deck


def task(cell: NotebookNode) -> list[str]:
    """Signature and first sentence of what a cell tagged `exercise` asks for."""
    function = ast.parse(cell.source).body[0]
    signature = f"{function.name}({ast.unparse(function.args)})"
    return [f"<p><code>{html.escape(signature)}</code></p>", rendered(ast.get_docstring(function).splitlines()[0])]


def slides(notebook: NotebookNode) -> list[str]:
    """The slides of an executed lesson, in its order."""
    deck: Deck = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            add_text(deck, paragraphs(cell))
        elif "exercise" in cell.metadata.get("tags", []):
            deck[-1][1].extend(task(cell))
        else:
            deck += prediction(cell) or shown(cell)
    return [f'<section class="{kind}">{"".join(parts)}</section>' for kind, parts in deck]


def page(notebook: NotebookNode) -> str:
    """The deck of a lesson as one page."""
    title = next(cell.source for cell in notebook.cells).splitlines()[0].lstrip("# ")
    tokens = (ROOT / "widgets" / "kit" / "tokens.css").read_text(encoding="utf-8")
    tokens = re.sub(r"\.al(?=[\s{\[])", "html", tokens)
    parts = {"TITLE": html.escape(title), "TOKENS": tokens, "SLIDES": "\n".join(slides(notebook))}
    return re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], FRAME.read_text(encoding="utf-8"))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="course.py slides", description="Write the slides of lessons.")
    parser.add_argument("lessons", nargs="*", metavar="NAME", help="lessons to show (all when none is named)")
    parser.add_argument("--out", type=Path, default=ROOT / "work" / "slides", help="folder (default: work/slides)")
    options = parser.parse_args(argv)
    try:
        for text in press.lessons(options.lessons):
            stem = lesson(text.stem).stem
            notebook = press.read(ROOT / "solutions" / f"{stem}.ipynb")
            if notebook is None:
                raise PressError(f"solutions/{stem}.ipynb is missing; course.py build {text.stem} prints it")
            path = options.out.resolve() / f"{stem}.html"
            write_whole(path, page(notebook))
            print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    except PressError as error:
        print(f"course.py slides: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
