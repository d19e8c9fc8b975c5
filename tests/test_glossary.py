"""The glossary: every term leads to the section that introduces it, and every work that is cited has an entry."""

import re
import sys

import pytest
from bound import ROOT
from mdit_py_plugins.anchors.index import slugify
from pybtex.database import parse_file

sys.path.insert(0, str(ROOT / "book"))

import bind

GLOSSARY = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
TERMS = re.findall(r"^([A-Z].+)\n  (.+)$", GLOSSARY, re.MULTILINE)


@pytest.mark.parametrize(("term", "told"), TERMS, ids=[term for term, _ in TERMS])
def test_a_term_leads_to_its_section(term, told):
    links = re.findall(r"\[Lesson (\d)\]\(lessons/((\d\d)_\w+)\.md#([\w-]+)\)$", told)
    assert len(links) == 1, f"{term} names no section at its end"
    number, lesson, prefix, anchor = links[0]
    assert int(number) == int(prefix)
    text = ROOT / "book" / "lessons" / f"{lesson}.md"
    if text.exists() or prefix != "06":
        headings = re.findall(r"^## (.+)$", text.read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in map(slugify, headings), f"{term}: {lesson} has no section {anchor}"


def test_terms_are_many_and_each_is_there_once():
    names = [term.lower() for term, _ in TERMS]
    assert len(names) > 100
    assert len(names) == len(set(names)) == GLOSSARY.count("](lessons/")


def test_what_is_cited_has_an_entry():
    entries = set(parse_file(ROOT / "book" / "references.bib").entries)
    for page in [*(ROOT / "book").glob("*.md"), *(ROOT / "book" / "lessons").glob("*.md")]:
        cited = re.findall(r"\{cite\}`([\w,]+)`", page.read_text(encoding="utf-8"))
        assert {key for keys in cited for key in keys.split(",")} <= entries, page.name


def test_on_the_site_a_link_to_a_text_leads_to_its_page():
    text = "[Lesson 3](../lessons/03_flash_attention.{}#two-memories) and [other](elsewhere.md)"
    assert bind.to_printed(text.format("md")) == text.format("ipynb")
    assert bind.to_printed("[Lesson 42](lessons/42_not_yet.md#x).") == "Lesson 42."
