"""The book as one PDF: pages become one document whose links stay inside, and Chromium prints it."""

import os
import re
import sys

import pytest
from bound import CHAPTERS, ROOT

sys.path.insert(0, str(ROOT / "book"))

import printed
from bs4 import BeautifulSoup

PAGES = {
    "index": """<html><head><link rel="stylesheet" href="_static/course.css"><script src="_static/sphinx.js"></script>
        </head><body><article class="bd-article"><h1>Cover</h1></article></body></html>""",
    "lessons/one": """<article class="bd-article"><section id="start">
        <h1>One &amp; all<a class="headerlink" href="#start">#</a></h1>
        <p>See <a href="#why">below</a>, <a href="two.html#start">two</a>, <a href="two.html">all of two</a>,
        <a href="../notebooks/one.ipynb">the notebook</a>, <a href="https://example.org/#x">elsewhere</a>.</p>
        <img src="../_images/a.png" alt="a"><h2 id="why">Why</h2><details><summary>Hint</summary>Look.</details>
        </section></article>""",
    "lessons/two": '<article class="bd-article"><section id="start"><h1>Two</h1><p>End.</p></section></article>',
}


@pytest.fixture
def small(tmp_path):
    """A site of a cover and two pages."""
    for name, text in PAGES.items():
        (tmp_path / f"{name}.html").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.html").write_text(text, encoding="utf-8")
    return tmp_path


def test_ids_are_unique_and_links_stay_inside(small):
    document = BeautifulSoup(printed.assemble(small, ["lessons/one", "lessons/two"]), "html.parser")
    ids = [element["id"] for element in document.find_all(id=True)]
    assert len(ids) == len(set(ids))
    links = {link.get_text(): link.get("href") for link in document.find_all("a")}
    assert links["two"] == "#lessons-two--start"
    assert links["all of two"] == "#lessons-two"
    assert links["One & all"] == "#lessons-one"
    assert links["elsewhere"] == "https://example.org/#x"
    assert links["the notebook"] is None
    assert {href[1:] for href in links.values() if href and href.startswith("#")} <= set(ids)
    assert document.img["src"] == "_images/a.png"
    assert document.details.has_attr("open")
    assert document.select('link[href="_static/course.css"]') and not document.select("script")


def test_a_page_that_is_not_there_is_named(small):
    with pytest.raises(printed.PrintError, match=r"no page lessons/three; python3 course\.py book"):
        printed.assemble(small, ["lessons/one", "lessons/three"])


def test_the_book_is_the_table_of_contents_in_english():
    assert printed.pages() == [name for name in CHAPTERS if not name.startswith("translations/")]


@pytest.mark.seconds
def test_one_page_is_printed_with_an_outline(small, tmp_path):
    path = tmp_path / "out" / "book.pdf"
    try:
        printed.print_pdf(small, ["lessons/one"], path)
    except printed.PrintError as error:
        if os.environ.get("COURSE_BROWSER") == "required":
            raise
        pytest.skip(str(error))
    content = path.read_bytes()
    assert content.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b", content)) == 2  # the title page and one page
    assert b"/Outlines" in content
    assert len(list(small.glob("printed-*"))) == 0  # the draft is gone
