"""Search by section, from file:// too.

Sphinx's own search finds pages, and shows where in them by fetching each one, which file:// forbids. A lesson is long,
so here a hit is a section, an exercise or a glossary term, with the words around it. All of it is one script,
`sections.js`, that only the search page loads; `_static/search.js` reads it.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import glossary
from sphinx.application import Sphinx

MARKUP = re.compile(r"\\(mathrm|mathbb|text|operatorname|left|right|frac)\b|\\[,;! ]|&")
ONE_LETTER = re.compile(r"\{(\w*)\}")


def words(node: nodes.Node) -> str:
    """A node's text on one line, without markup for the browser, its formulas with little of theirs.

    `\\ell\\,e^{m-m'}` reads `ell e^(m-m')`.
    """
    node = node.deepcopy()
    for markup in [*node.findall(nodes.raw)]:  # an instrument and its state, for the browser
        if markup.parent is not None:
            markup.parent.remove(markup)
    for formula in [*node.findall(nodes.math), *node.findall(nodes.math_block)]:
        plain = ONE_LETTER.sub(r"\1", MARKUP.sub(" ", formula.astext())).replace("\\", "")
        formula[:] = [nodes.Text(plain.replace("{", "(").replace("}", ")"))]
    return " ".join(node.astext().split())


def title_text(title: nodes.title) -> str:
    """A title without the effort that text_shapes sets apart."""
    parts = [part for part in title if "effort" not in getattr(part, "attributes", {}).get("classes", [])]
    return words(nodes.inline("", "", *[part.deepcopy() for part in parts]))


def own_text(section: nodes.section) -> str:
    """What a section says itself: neither its title, nor its subsections, nor its terms."""
    apart = (nodes.section, nodes.title, nodes.raw, glossary)
    return " ".join(words(child) for child in section if not isinstance(child, apart))


def entries(doctree: nodes.document) -> Iterator[tuple[str, str, str]]:
    """(anchor, title, text) of each section and each glossary term; the anchor of a page's first section is empty."""
    for section in doctree.findall(nodes.section):
        anchor = "" if section.parent is doctree else section["ids"][0]
        yield anchor, title_text(section[0]), own_text(section)
    for item in doctree.findall(nodes.definition_list_item):
        term = item[0]
        if term["ids"]:
            yield term["ids"][0], words(term), words(item[-1])


def collect(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    page = words(next(iter(doctree.findall(nodes.title))))
    for anchor, title, text in entries(doctree):
        app.sections.append([app.builder.get_target_uri(docname) + f"#{anchor}" * bool(anchor), page, title, text])


def start(app: Sphinx) -> None:
    app.sections = []
    app.builder.search = False  # no searchindex.js, and no search page but ours


def search_page(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    yield "search", {"title": "Search"}, "search-page.html"


def finish(app: Sphinx, exception: Exception | None) -> None:
    if exception is None:
        sections = json.dumps(app.sections, ensure_ascii=False, separators=(",", ":"))
        Path(app.outdir, "sections.js").write_text(f"const SECTIONS = {sections};\n", encoding="utf-8")


def setup(app: Sphinx) -> dict:
    app.connect("builder-inited", start)
    app.connect("doctree-resolved", collect)
    app.connect("html-collect-pages", search_page)
    app.connect("build-finished", finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
