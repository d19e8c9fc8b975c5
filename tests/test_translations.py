"""The lessons in other languages: the same cells, the same exercises, no paragraph behind the English one."""

import re
import shutil
import sys

import nbformat
import pytest
from bound import ROOT

sys.path.insert(0, str(ROOT / "book"))
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import bind
import press
import text_shapes
import translate
from babel.messages.pofile import read_po
from bs4 import BeautifulSoup

from solutions import references
from solutions.lessons import lessons

CATALOGS = [path for language in translate.LANGUAGES for path in translate.files(language)]
every_catalog = pytest.mark.parametrize("path", CATALOGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
NUMBER = re.compile(r"\w+ (\d+\.\d+), ")  # of an exercise, in any language
MARKUP = [r"`[^`]+`", r"\*\*", r"^#+ ", r"^- ", r"\|", r"\$[^$]+\$", r"\]\(([^)]+)\)"]


def printed(path) -> nbformat.NotebookNode:
    return press.printed(press.TEXT / f"{path.stem}.md", "student")


def test_the_first_lesson_is_there_in_three_languages():
    assert {path.parent.name for path in CATALOGS if path.stem == lessons()[0].name} == {"es", "ko", "ro"}


@every_catalog
def test_no_paragraph_is_stale(path):
    """To mend it: python book/translate.py, then translate what it names in the catalogs."""
    assert translate.stale(path) == []


@every_catalog
def test_the_code_is_the_english_lessons(path):
    english, other = printed(path), translate.translated(printed(path), path)
    assert len(english.cells) == len(other.cells)
    for one, two in zip(english.cells, other.cells, strict=True):
        assert one.cell_type == two.cell_type
        assert one.metadata == two.metadata
        if one.cell_type == "code":
            assert one == two
    assert sum(one.source != two.source for one, two in zip(english.cells, other.cells, strict=True)) >= 10


@every_catalog
def test_the_exercises_are_the_same(path):
    def exercises(notebook):
        text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        return [match for title in re.findall(r"^### (.+)$", text, re.M) if (match := NUMBER.match(title))]

    english, other = exercises(printed(path)), exercises(translate.translated(printed(path), path))
    assert [match.groups() for match in english] == [match.groups() for match in other] != []
    for one, two in zip(english, other, strict=True):
        efforts = [re.findall(r"\d+", text_shapes.EFFORT.search(match.string)[1]) for match in (one, two)]
        assert efforts[0] == efforts[1], two.string


def pairs(path) -> list[tuple[str, str]]:
    """Each paragraph as a reader sees it, and its translation."""
    known = translate.known(path).items()
    return [tuple(references.resolve(text, references.WORDS) for text in pair) for pair in known]


@every_catalog
def test_the_markup_is_kept(path):
    """What is code, strong, a list, a table or a link in English is so in the translation."""
    for english, other in pairs(path):
        for mark in MARKUP:
            counts = [len(re.findall(mark, text, re.MULTILINE)) for text in (english, other)]
            assert counts[0] == counts[1], f"{mark} in {translate.first_words(english)}"


@every_catalog
def test_the_figures_are_the_same(path):
    """2,048 is 2.048 in Spanish and Romanian; the digits stay."""
    for english, other in pairs(path):
        digits = [sorted(re.findall(r"\d+", re.sub(r"(?<=\d)[.,](?=\d)", "", text))) for text in (english, other)]
        assert set(digits[0]) <= set(digits[1]), translate.first_words(english)


def test_a_paragraph_that_changed_is_named_and_shown_in_english(tmp_path, monkeypatch):
    monkeypatch.setattr(translate, "BOOK", tmp_path / "book")
    path = tmp_path / "translations" / "es" / "start_here.po"
    for folder in (path.parent, tmp_path / "book" / "lessons"):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / "book/translations/es/start_here.po", path)
    text = (ROOT / "book/lessons/start_here.md").read_text(encoding="utf-8")
    before, after = "Six words, three numbers each", "Seven words, three numbers each"
    assert before in text
    (tmp_path / "book/lessons/start_here.md").write_text(text.replace(before, after), encoding="utf-8")

    said = translate.stale(path)
    assert len(said) == 1
    assert "es/start_here.po: new or changed in English: '**Who reads whom?** Seven words" in said[0]

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"## Three pictures\n\n{after}.")])
    shown = translate.translated(notebook, path).cells[0].source
    assert shown == f"## Tres imágenes\n\n{after}."

    translate.update(path)  # keeps the old translation beside the new paragraph, to be looked at
    with path.open("rb") as file:
        fuzzy = [each for each in read_po(file) if each.id and each.fuzzy]
    assert [each.id.startswith("**Who reads whom?** Seven") for each in fuzzy] == [True]
    assert fuzzy[0].string.startswith("**¿Quién lee a quién?**")
    assert translate.stale(path) == said


@every_catalog
def test_links_that_are_not_translated_lead_where_they_did(path):
    for variant, folder in (("student", ""), ("site", "../../lessons/")):
        english = press.printed(press.TEXT / f"{path.stem}.md", variant)
        other = translate.translated(english, path, variant)
        text = "\n".join(cell.source for cell in other.cells if cell.cell_type == "markdown")
        heads = {translate.slugify(head) for head in re.findall(r"^##+ (.+)$", text, re.MULTILINE)}
        here = re.findall(r"\]\(#(?!exercise-)([^)]+)\)", text)
        assert here and set(here) <= heads
        away = re.findall(r"\]\(([^)#]*)\d\d_\w+\.ipynb", text)
        assert len(away) > 20 and set(away) == {folder}


def test_a_table_and_a_list_are_translated_piece_by_piece():
    text = "| what | bytes |\n|---|---|\n| the mask | 12 + 3 |\n\n- one thing\n- `code`, two"
    assert translate.paragraphs(text) == ["what", "bytes", "the mask", "- one thing", "- `code`, two"]
    assert "".join(translate.pieces(text)) == text


def test_what_is_code_is_no_paragraph():
    assert translate.paragraphs("```python\ndef f(x):\n\n    return 'words here'\n```") == []
    assert translate.paragraphs("One.\n\n</details>\n\n$$x^2$$\n\nTwo words.") == ["One.", "Two words."]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A tiny lesson and its Spanish page, bound as the site is."""
    source = tmp_path_factory.mktemp("bound") / "source"
    bind.gather(source)
    for page in source.glob("*.md"):
        page.unlink()
    first = lessons()[0].stem
    cells = [nbformat.v4.new_markdown_cell("# Start here"), nbformat.v4.new_code_cell("1 + 1")]
    lesson = nbformat.v4.new_notebook(cells=cells, metadata=press.METADATA)
    (source / "lessons").mkdir()
    nbformat.write(lesson, source / "lessons" / f"{first}.ipynb")
    spanish = translate.translated(lesson, ROOT / "book/translations/es/start_here.po")
    for folder in (source / "translations/es", source / "_assets/notebooks", source / "_assets/notebooks/es"):
        folder.mkdir(parents=True)
        nbformat.write(spanish, folder / f"{first}.ipynb")
    (source / "index.md").write_text("# Small\n", encoding="utf-8")
    listed = [f"lessons/{first}", f"translations/es/{first}"]
    chapters = "".join(f"- file: {name}\n" for name in listed)
    (source / "_toc.yml").write_text(f"format: jb-book\nroot: index\nchapters:\n{chapters}", encoding="utf-8")
    site = source.parent / "html"
    bind.make_pages(source, site)
    read = [(site / f"{name}.html").read_text(encoding="utf-8") for name in listed]
    return [BeautifulSoup(text, "html.parser") for text in read]


@pytest.mark.seconds
def test_a_page_says_its_language_and_that_of_its_code(pages):
    english, spanish = pages
    assert (english.html["lang"], spanish.html["lang"]) == ("en", "es")
    assert spanish.h1.get_text().startswith("Empieza aquí")
    assert spanish.select_one("article .cell")["lang"] == "en"
    assert english.select_one("article .cell").get("lang") is None
    for around in (".brand", ".bd-links", ".tools", ".licence"):
        element = spanish.select_one(around)
        assert "en" in {element.get("lang"), *(parent.get("lang") for parent in list(element.parents)[:2])}, around


@pytest.mark.seconds
def test_a_page_leads_to_the_same_lesson_in_the_other_languages(pages):
    english, spanish = pages
    links = [[(a["lang"], a["href"]) for a in page.select(".tools a[hreflang]")] for page in pages]
    assert links[0] == [("en", "#"), ("es", f"../translations/es/{lessons()[0].stem}.html")]
    assert links[1] == [("en", f"../../lessons/{lessons()[0].stem}.html"), ("es", "#")]
    assert [page.select_one(".tools [aria-current]").get_text() for page in pages] == ["English", "Español"]
    assert english.select_one("a[download]")["href"] == f"../notebooks/{lessons()[0].stem}.ipynb"
    assert spanish.select_one("a[download]")["href"] == f"../../notebooks/es/{lessons()[0].stem}.ipynb"
