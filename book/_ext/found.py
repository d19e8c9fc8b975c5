"""How the site is found and a link to it unfolds: what a page says of itself, sitemap, the page for a wrong address.

A page's description is its own first sentences; a lesson's is its question, and what a reader can do after it.
Some of it must name the site's own address (`html.baseurl`, or the environment's COURSE_SITE). While that is empty,
pages name no canonical address and no picture, and there is no sitemap.
"""

import os
import re
from collections.abc import Iterable, Iterator
from html import unescape
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import cards
from docutils import nodes
from section_search import words
from sphinx.application import Sphinx
from sphinx.config import Config

from solutions.lessons import lessons
from widgets.kit.tokens import tokens

SENTENCE = re.compile(r"(?<=[.!?])\s+")
SHORTEST, ENOUGH, LONGEST = 50, 100, 200  # characters of a description
SEARCH = "Search Attention at Length by section, exercise, question and term of the glossary."


def set_site(app: Sphinx, config: Config) -> None:
    """The site's own address, with one slash at its end, or none."""
    address = os.environ.get("COURSE_SITE", config.html_baseurl).strip().rstrip("/")
    config.html_baseurl = f"{address}/" if address else ""


# --- what a page says of itself ---


def sentences(doctree: nodes.document) -> Iterator[str]:
    """What the page says in paragraphs, one sentence after the other."""
    for paragraph in doctree.findall(nodes.paragraph):
        if "track" not in paragraph["classes"]:
            yield from filter(None, SENTENCE.split(words(paragraph)))


def description(said: Iterable[str]) -> str:
    """As many sentences as say enough and aren't too long together. A first one that is too long is cut."""
    told = ""
    for sentence in said:
        longer = f"{told} {sentence}".strip()
        if len(longer) > LONGEST and len(told) < SHORTEST:
            return longer[: LONGEST - 1].rpartition(" ")[0].rstrip(",;:.") + "…"
        if len(told) >= ENOUGH or len(longer) > LONGEST:
            break
        told = longer
    return told


def described(pagename: str, doctree: nodes.document | None) -> str:
    if doctree is None:
        return SEARCH
    here = [each for each in lessons() if pagename == f"lessons/{each.stem}"]
    asked = [f"{each.question} {each.can[0].upper()}{each.can[1:]}." for each in here]
    return description([*(each for each in asked if len(each) >= SHORTEST), *sentences(doctree)])


def tell(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Give the template `told`: (attribute, name, content) of every <meta> for search engines and shared links."""
    home, site = pagename == app.config.root_doc, app.config.html_baseurl
    if home and site:
        context["pageurl"] = site
    title = app.config.html_title if home else unescape(re.sub(r"<[^>]+>", "", context["title"]))
    said, card = described(pagename, doctree), cards.named(pagename)
    graph = {"title": title, "description": said, "type": "website" if home else "article"}
    twitter = {"card": "summary_large_image" if site else "summary", "title": title, "description": said}
    if site:
        image = {"image": f"{site}cards/{card}.png", "image:alt": cards.words(card)}
        graph |= {"url": context["pageurl"], **image, "image:width": cards.WIDTH, "image:height": cards.HEIGHT}
        twitter |= image
    context["told"] = [
        ("name", "description", said),
        ("property", "og:site_name", app.config.html_title),
        *(("property", f"og:{name}", content) for name, content in graph.items()),
        *(("name", f"twitter:{name}", content) for name, content in twitter.items()),
        *(("name", "robots", "noindex") for _ in [pagename] if doctree is None),
    ]
    context["grounds"] = {theme: tokens(theme)["paper"] for theme in ("light", "dark")}


# --- what stands beside the pages ---


def address(site: str, page: str) -> str:
    return site if page == "index" else f"{site}{page}.html"


def sitemap(site: str, pages: Iterable[str]) -> str:
    places = "\n".join(f"<url><loc>{escape(address(site, page))}</loc></url>" for page in sorted(pages))
    space = "http://www.sitemaps.org/schemas/sitemap/0.9"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="{space}">\n{places}\n</urlset>\n'


def finish(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None:
        return
    site = app.config.html_baseurl
    facts = {"site": site, "title": app.config.html_title, "lessons": lessons(), "icon": cards.ICON.read_text()}
    for theme in ("light", "dark"):
        facts[theme] = " ".join(f"--{name}: {colour};" for name, colour in tokens(theme).items())
    files = {
        ".nojekyll": "",  # GitHub Pages would else leave out every folder that begins with _
        "robots.txt": "User-agent: *\nAllow: /\n" + (f"Sitemap: {site}sitemap.xml\n" if site else ""),
        "404.html": app.builder.templates.render("not-found.html", facts),
    }
    if site:
        files["sitemap.xml"] = sitemap(site, app.env.found_docs)
    for name, text in files.items():
        Path(app.outdir, name).write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", set_site, priority=100)
    app.connect("html-page-context", tell)
    app.connect("build-finished", finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
