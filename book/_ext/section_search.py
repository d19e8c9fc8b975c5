"""Search by section, from file:// too.

Sphinx's own search finds pages, and shows where in them by fetching each one, which file:// forbids. A lesson is long,
so here a hit is a section, an exercise, a glossary term or a cited work, with the words around it. All of it is one
script, `sections.js`, that only the search page loads; `_static/search.js` reads it.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import contents
from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx.addnodes import glossary
from sphinx.application import Sphinx

MARKUP = re.compile(r"\\(mathrm|mathbb|text|operatorname|left|right|frac)\b|\\[,;! ]|&")
ONE_LETTER = re.compile(r"\{(\w*)\}")
SYMBOLS = {r"\infty": "∞", r"\cdot": "·", r"\times": "×", r"\le": "≤", r"\ge": "≥", r"\top": "T", r"\sqrt": "√"}
NOT_SEARCHED = {"cell_output", "track"}  # what was printed, and the line under a heading that says minutes


def is_searched(node: nodes.Node) -> bool:
    """Whether a node's words are text: not markup for the browser, nor a solution, which is its exercise once more."""
    hidden = isinstance(node, nodes.raw | HideCodeCellNode)
    return not hidden and not NOT_SEARCHED & set(getattr(node, "attributes", {}).get("classes", []))


def words(node: nodes.Node) -> str:
    """A node's text on one line, its formulas with little of their markup: `\\ell\\,e^{m-m'}` reads `ell e^(m-m')`."""
    node = node.deepcopy()
    for part in [*node.findall(lambda part: not is_searched(part))]:
        if part.parent is not None:
            part.parent.remove(part)
    for formula in [*node.findall(nodes.math), *node.findall(nodes.math_block)]:
        plain = re.sub(r"\\[a-z]+", lambda found: SYMBOLS.get(found[0], found[0]), formula.astext())
        plain = ONE_LETTER.sub(r"\1", MARKUP.sub(" ", plain)).replace("\\", "")
        formula[:] = [nodes.Text(plain.replace("{", "(").replace("}", ")"))]
    return " ".join(node.astext().split())


def title_text(title: nodes.title) -> str:
    """A title without the effort that text_shapes sets apart."""
    parts = [part for part in title if "effort" not in getattr(part, "attributes", {}).get("classes", [])]
    return words(nodes.inline("", "", *[part.deepcopy() for part in parts]))


def without_told(section: nodes.section) -> Iterator[nodes.Node]:
    """A section's children but for what wrong answers to an exercise are told: a `<div>` written as such."""
    told = False
    for child in section:
        if isinstance(child, nodes.raw):
            told = 'class="told"' in child.astext() or (told and "</div>" not in child.astext())
        elif not told:
            yield child


def own_text(section: nodes.section) -> str:
    """What a section says itself: neither its title, nor its subsections, nor its terms, nor the works it lists."""
    apart = (nodes.section, nodes.title, glossary)
    parts = [child for child in without_told(section) if not isinstance(child, apart) and is_searched(child)]
    listed = [part for part in parts if any(part.findall(nodes.citation))]
    return " ".join(words(part) for part in parts if part not in listed)


def entries(doctree: nodes.document) -> Iterator[tuple[str, str, str]]:
    """(anchor, title, text) of each section, term and cited work; the anchor of a page's first section is empty."""
    for section in doctree.findall(nodes.section):
        ids = section["ids"]
        anchor = "" if section.parent is doctree else next((name for name in ids if name.startswith("q-")), ids[0])
        yield anchor, title_text(section[0]), own_text(section)
    for item in doctree.findall(nodes.definition_list_item):
        term = item[0]
        if term["ids"]:
            yield term["ids"][0], words(term), re.sub(r" Lesson \d+$", "", words(item[-1]))
    for work in doctree.findall(nodes.citation):
        yield work["ids"][0], words(work[-1]), ""


def collect(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    page = words(next(iter(doctree.findall(nodes.title))))
    app.sections[docname] = [app.builder.get_target_uri(docname), page, [*entries(doctree)]]


def start(app: Sphinx) -> None:
    app.sections = {}
    app.builder.search = False  # no searchindex.js, and no search page but ours


def search_page(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    yield "search", {"title": "Search"}, "search-page.html"


def finish(app: Sphinx, exception: Exception | None) -> None:
    """In the order of the course: of two sections that hold the words equally well the search shows the first first."""
    if exception is None:
        place = {name: number for number, name in enumerate(contents.chapters())}
        pages = [app.sections[name] for name in sorted(app.sections, key=lambda name: place.get(name, -1))]
        said = json.dumps(pages, ensure_ascii=False, separators=(",", ":"))
        Path(app.outdir, "sections.js").write_text(f"const SECTIONS = {said};\n", encoding="utf-8")


def setup(app: Sphinx) -> dict:
    app.connect("builder-inited", start)
    app.connect("doctree-resolved", collect)
    app.connect("html-collect-pages", search_page)
    app.connect("build-finished", finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
