"""The book as one PDF: `python book/printed.py`, or `course.py pdf`, writes work/attention-at-length.pdf.

The site's pages, in the order of the contents, become one document that Chromium prints: mathematics, figures and the
first view of each instrument as they are on the site, links between pages as links inside the PDF, an outline and page
numbers. Exercises are printed blank and their hints open; solutions stay in `solutions/`.
"""

from __future__ import annotations

import argparse
import os
import posixpath
import sys
from html import escape
from pathlib import Path

from bs4 import BeautifulSoup, Tag

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "book" / "_build" / "html"
PDF = ROOT / "work" / "attention-at-length.pdf"
WIDTH = 665  # of an A4 page between its margins, in CSS pixels: what is drawn to measure fits
SECONDS = 600

STYLE = """
@page { size: A4; margin: 18mm 17mm 20mm; }
@page { @bottom-center { content: counter(page); font: 9pt system-ui, sans-serif; color: #57606a; } }
@page :first { @bottom-center { content: none; } }
html[data-theme] body { font-size: 10.5pt; line-height: 1.5; background: none; }
.book { --measure: 100%; --column: 100%; }
.chapter { break-before: page; }
.bd-article h1 { font-size: 24pt; max-width: none; }
.bd-article h2 { font-size: 16pt; margin-top: 26pt; }
.bd-article h3 { font-size: 12.5pt; margin-top: 20pt; }
.bd-article :is(h1, h2, h3, h4, dt) { break-inside: avoid; break-after: avoid; }
.bd-article a { color: inherit; }
:is(.headerlink, button.copybtn, .told, .cell > details, .cell_input + details) { display: none !important; }
div.highlight pre, .cell_output pre { font-size: 8.2pt; white-space: pre-wrap; overflow-wrap: anywhere; }
:is([data-instrument], img, blockquote, .cell_output table, tr, summary) { break-inside: avoid; }
div.cell_input { break-inside: auto; }
html[data-theme] .bd-content div.cell_output img, img { max-width: 100%; max-height: 100mm; width: auto; height: auto; }
.pst-scrollable-table-container { overflow: visible; }
table.table { font-size: 9pt; min-width: 0; width: 100%; }
[data-instrument]:not([data-instrument="predict"]) :is(button, input, select, [role="slider"]) { display: none; }
.bd-article details > summary { list-style: none; }
.book .bd-content { display: block; }
.title-page { min-height: 235mm; display: flex; flex-direction: column; justify-content: center; }
.title-page h1 { font-size: 34pt; margin: 0 0 12pt; }
.title-page ol { margin: 30pt 0 0; padding: 0; list-style: none; }
"""


DOCUMENT = """<!DOCTYPE html>
<html lang="en" data-theme="light">
<head><meta charset="utf-8"><title>Attention at Length</title>
{head}
<style>{style}</style></head>
<body class="book"><div class="bd-content">
<section class="bd-article title-page">
<h1>Attention at Length</h1>
<p>Printed from the site. Instruments show their first view; solutions are in the solved notebooks.</p>
<ol>
{contents}
</ol>
</section>
{chapters}
</div></body></html>
"""


class PrintError(Exception):
    """Why there is no PDF, in one sentence."""


def pages() -> list[str]:
    """The pages to print: those of the table of contents, without translations; the cover becomes the title page."""
    import contents

    return [page for page in contents.chapters() if not page.startswith("translations/")]


def anchor(page: str, fragment: str = "") -> str:
    """The id that stands for a page, or for a place in it, among all the pages' ids."""
    return page.replace("/", "-") + (f"--{fragment}" if fragment else "")


def chapter(article: Tag, page: str, pages: list[str]) -> Tag:
    """A page's article with ids, links and addresses as they are in the one document at the root of the site."""
    folder = posixpath.dirname(page)
    for element in article.find_all(id=True):
        if element.find_parent("svg") is None:
            element["id"] = anchor(page, element["id"])
    for element in article.find_all(["img", "script"]):
        for name in ("src", "data-from"):
            if element.get(name) and ":" not in element[name]:
                element[name] = posixpath.normpath(posixpath.join(folder, element[name]))
    for link in article.find_all("a", href=True):
        path, _, fragment = link["href"].partition("#")
        if ":" in path:
            continue
        target = posixpath.normpath(posixpath.join(folder, path)).removesuffix(".html") if path else page
        if target in pages:
            link["href"] = "#" + anchor(target, fragment)
        else:
            del link["href"]  # a file of the site, which a PDF doesn't bring along
    for cell in article.select(".cell"):
        if (code := cell.select_one(".cell_input")) and code.get_text().strip().startswith("progress("):
            cell.decompose()  # a reader's own, which paper has not
    for box in article.find_all("details"):
        box["open"] = ""
    article["class"] = ["bd-article", "chapter"]
    article["id"] = anchor(page)
    return article


def assemble(site: Path, pages: list[str]) -> str:
    """One HTML document of these pages, to stand at the root of the site.

    Raises PrintError for a page that the site doesn't have.
    """
    missing = [page for page in pages if not (site / f"{page}.html").exists()]
    if missing:
        raise PrintError(f"{site} has no page {missing[0]}; python3 course.py book makes the pages")
    soups = {page: BeautifulSoup((site / f"{page}.html").read_text(encoding="utf-8"), "html.parser") for page in pages}
    chapters = [chapter(soup.select_one("article.bd-article"), page, pages) for page, soup in soups.items()]
    cover = BeautifulSoup((site / "index.html").read_text(encoding="utf-8"), "html.parser")
    brought = cover.select('link[rel~="stylesheet"], script[src*="instruments.js"]')
    listed = [
        f'<li><a href="#{anchor(page)}">{escape(article.h1.get_text().removesuffix("#").strip())}</a></li>'
        for page, article in zip(pages, chapters, strict=True)
    ]
    return DOCUMENT.format(
        head="\n".join(map(str, brought)),
        style=STYLE,
        contents="\n".join(listed),
        chapters="\n".join(map(str, chapters)),
    )


def print_pdf(site: Path, pages: list[str], path: Path) -> None:
    """Print these pages of a site to a PDF. Raises PrintError where there is no Chromium."""
    from playwright.sync_api import Error, sync_playwright

    from widgets.kit.chromium import chromium, flags

    # beside the pages, so that it finds what they find; the name says whose it is, should it be left behind
    draft = site / f"printed-{os.getpid()}.html"
    draft.write_text(assemble(site, pages), encoding="utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=flags())
            view = browser.new_page(viewport={"width": WIDTH, "height": 1000}, color_scheme="light")
            view.set_default_timeout(1000 * SECONDS)
            view.goto(draft.as_uri())
            for instrument in view.locator("[data-instrument]").all():
                instrument.scroll_into_view_if_needed()  # a heavy one is drawn when it comes near
                instrument.locator(".al").first.wait_for(state="attached")
            part = path.with_suffix(".part")
            view.pdf(path=part, prefer_css_page_size=True, print_background=True, outline=True, tagged=True)
            part.replace(path)
            browser.close()
    except Error as error:
        raise PrintError(f"Chromium could not print ({error.message.splitlines()[0]}); see course.py doctor") from None
    finally:
        draft.unlink(missing_ok=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="course.py pdf", description="Print the book as one PDF.")
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="pages, such as interview/index (all)")
    parser.add_argument("--out", type=Path, default=PDF, help="the file to write (work/attention-at-length.pdf)")
    options = parser.parse_args(argv)
    sys.path[:0] = [str(ROOT / "book"), str(ROOT)]
    import bind

    if (code := bind.main([])) != 0:
        return code
    try:
        print_pdf(SITE, options.pages or pages(), options.out)
    except PrintError as error:
        print(f"course.py pdf: {error}", file=sys.stderr)
        return 1
    print(f"The book: {options.out} ({options.out.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
