"""What the glossary says of each term, shortly, as one script: `definitions.js`, which terms.js reads when a reader
points at a term. The glossary stays the one place where it is written.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

LENGTH = 240  # characters, beyond which a definition ends with the sentence
SENTENCE = re.compile(r"(?<=[.?])\s+(?=[A-Z])")
APART = re.compile(r"\[[\d, ]+\]|Lesson \d+")  # a citation, and where the course introduces the term


def plain(paragraph: nodes.Element) -> Iterator[nodes.Node]:
    """A definition's text and formulas, without links: it stands in one."""
    for node in paragraph.children:
        if not isinstance(node, nodes.reference | nodes.inline):
            yield node.deepcopy()
        elif not APART.fullmatch(node.astext()):
            yield nodes.inline("", "", *plain(node))


def first_sentences(parts: Iterator[nodes.Node]) -> nodes.paragraph:
    """As many of the sentences as are short together, one at least."""
    sentences: list[list[nodes.Node]] = [[]]
    for part in parts:
        pieces = SENTENCE.split(part.astext()) if isinstance(part, nodes.Text) else [part]
        for number, piece in enumerate(pieces):
            if number:
                sentences.append([])
            sentences[-1].append(nodes.Text(piece) if isinstance(piece, str) else piece)
    said = nodes.paragraph("", "", *sentences[0])
    for sentence in sentences[1:]:
        longer = [nodes.Text(" "), *sentence]
        if len(said.astext()) + sum(len(part.astext()) for part in longer) > LENGTH:
            break
        said += longer
    return said


def collect(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    if docname != "glossary":
        return
    for item in doctree.findall(nodes.definition_list_item):
        term, told = item[0], item[-1][0]
        body = app.builder.render_partial(first_sentences(plain(told)))["fragment"]
        body = re.sub(r"^<p>|</p>$|</?span[^>]*>", "", body.strip())
        body = re.sub(r"\s+(?=[.,;:)])", "", body).strip()
        app.definitions[term["ids"][0]] = f"<strong>{term.astext()}</strong> {body}"


def start(app: Sphinx) -> None:
    app.definitions = {}


def finish(app: Sphinx, exception: Exception | None) -> None:
    if exception is None:
        said = json.dumps(app.definitions, ensure_ascii=False, separators=(",", ":"))
        Path(app.outdir, "definitions.js").write_text(f"globalThis.courseTerms = {said};\n", encoding="utf-8")


def setup(app: Sphinx) -> dict:
    app.connect("builder-inited", start)
    app.connect("doctree-resolved", collect)
    app.connect("build-finished", finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
