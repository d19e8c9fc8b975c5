"""The glossary: every term leads to the section that introduces it, and every work that is cited has an entry."""

import re
import sys

import pytest
from bound import ROOT
from pybtex.database import parse_file

sys.path.insert(0, str(ROOT / "book"))

from solutions import references

GLOSSARY = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
TERMS = re.findall(r"^([A-Z].+)\n  (.+)$", GLOSSARY, re.MULTILINE)


@pytest.mark.parametrize(("term", "told"), TERMS, ids=[term for term, _ in TERMS])
@pytest.mark.seconds
def test_a_term_leads_to_its_section(term, told):
    links = re.findall(r"\[\{Lesson\}`(\w+)`\]\(lesson:(\w+)#([\w-]+)\)$", told)
    assert len(links) == 1, f"{term} names no section at its end"
    said, lesson, anchor = links[0]
    assert said == lesson
    headings = re.findall(r"^## (.+)$", references.text_of(lesson), re.MULTILINE)
    assert references.sections(lesson).index(anchor) >= 0 and headings


def test_terms_are_many_and_each_is_there_once():
    names = [term.lower() for term, _ in TERMS]
    assert len(names) > 100
    assert len(names) == len(set(names)) == GLOSSARY.count("](lesson:")


def test_what_is_cited_has_an_entry():
    entries = set(parse_file(ROOT / "book" / "references.bib").entries)
    for page in [*(ROOT / "book").glob("*.md"), *(ROOT / "book" / "lessons").glob("*.md")]:
        cited = re.findall(r"\{cite\}`([\w,]+)`", page.read_text(encoding="utf-8"))
        assert {key for keys in cited for key in keys.split(",")} <= entries, page.name
