"""The lessons in other languages: the words of a lesson apart from its code.

A translation is `book/translations/LANGUAGE/name.po`, the format that translators' tools read (gettext): each
paragraph of the English text, each item of a list and each cell of a table with its translation, references by name as
they are in the text ({n}`merge` gives the bare number to the words of a language). Code, exercises and what they print
come from the English lesson, so they can't go out of step, nor can the figures of a table. A paragraph that has changed
in English has no translation any more: the page shows it in English, and a test names it.

    python book/translate.py      brings the files up to date with the English text and says what there is to translate
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import jupytext
import nbformat
import press
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po
from mdit_py_plugins.anchors.index import slugify
from nbformat import NotebookNode

from solutions import references, tracks
from solutions.lessons import lesson, lessons

BOOK = Path(__file__).resolve().parent
TRANSLATIONS = BOOK / "translations"
LANGUAGES = {"es": "Español", "ko": "한국어", "ro": "Română"}
WORDS = re.compile(r"[^\W\d_]{2}")
ENGLISH = tuple(f"{{lessons}}`{name}`" for name in ("tracks", "evening", "weekend"))  # made of the lessons' headings
TAG = re.compile(r"<[^>]*>")


def files(language: str) -> list[Path]:
    """The catalogs of a language, one a lesson that has been translated."""
    return sorted((TRANSLATIONS / language).glob("*.po"))


def pieces(markdown: str) -> list[str]:
    """A cell's text cut into paragraphs, items of lists, cells of tables, and what stands between: joined, the text."""
    if markdown.startswith("```"):
        return [markdown]
    found = []
    for part in re.split(r"(\n{2,})", markdown):
        cut = r"( *\|[ \n]*)" if part.startswith("|") else r"(\n(?=- ))" if part.startswith("- ") else None
        found += re.split(cut, part) if cut else [part]
    return found


def paragraphs(markdown: str) -> list[str]:
    """The pieces of a cell that are words, so to be translated: figures, code and markup alone are not."""
    if markdown.startswith("```"):
        return []
    return [piece for piece in pieces(markdown) if WORDS.search(TAG.sub("", piece))]


def english(name: str) -> list[str]:
    """The paragraphs of a lesson's text; its title, which the press writes; and the words of the table of lessons."""
    text = (BOOK / "lessons" / f"{name}.md").read_text(encoding="utf-8")
    cells = jupytext.reads(text, fmt="md:myst").cells
    found = [part for cell in cells if cell.cell_type == "markdown" for part in paragraphs(cell.source)]
    parts = [lesson(name).title]
    for part in found:
        if tracks.MARK.fullmatch(part) or part in ENGLISH:
            continue
        if references.TABLE.fullmatch(part):
            parts += paragraphs(references.resolve(part, references.WORDS))
        else:
            parts.append(part)
    return parts


def read(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=path.parent.name)


def known(path: Path) -> dict[str, str]:
    """English paragraph: its translation, as far as there is one that a person has looked at."""
    found = ((each.id, each.string) for each in read(path) if not each.fuzzy)
    return {
        english: told
        for english, told in found
        if isinstance(english, str) and isinstance(told, str) and english and told
    }


def stale(path: Path, every: bool = False) -> list[str]:
    """What keeps a translation from being whole and current, a sentence for each paragraph.

    every: other lessons' titles and questions too, which the table shows in English until they are translated
    """
    there, place = known(path), f"{path.parent.name}/{path.name}"
    others = {words for each in lessons() if each.name != path.stem for words in (each.title, each.question)}
    wanted = [part for part in dict.fromkeys(english(path.stem)) if every or part not in others]
    missing = [part for part in wanted if part not in there]
    return [f"{place}: new or changed in English: {first_words(part)}" for part in missing]


def first_words(paragraph: str) -> str:
    return repr(" ".join(paragraph.split())[:70])


def printed(path: Path, variant: str) -> dict[str, str]:
    """A catalog as it reads once the references in it are resolved: English as in that variant, and its translation."""
    row, language = lesson(path.stem), path.parent.name
    here = press.leads(row, variant)
    away = replace(here, lesson="../../lessons/{}.ipynb") if variant == "site" else here
    there = {}
    for text, other in known(path).items():
        target, _, one = references.resolve(text, here).rpartition("\n\n")  # a heading may come with its target
        there[one] = references.resolve(other, away)
        there[target] = target.replace("(exercise-", f"(exercise-{language}-")  # which is each page's own
    return there


def translated(notebook: NotebookNode, path: Path, variant: str = "student") -> NotebookNode:
    """A copy of a printed notebook with the prose of a catalog; its code cells and their outputs are the same."""
    there = printed(path, variant)
    title = lesson(path.stem).title
    there[f"# {lesson(path.stem).heading}"] = f"# {lesson(path.stem).heading.replace(title, there.get(title, title))}"
    heads = {one: other for one, other in there.items() if one.startswith("#")}
    places = {slugify(one.lstrip("# ")): slugify(other.lstrip("# ")) for one, other in heads.items()}
    folder = "../../lessons/" if variant == "site" else ""

    def shown(piece: str) -> str:
        """What has no translation, such as a line of minutes, is English, and its links lead there all the same."""
        english = re.sub(r"\]\(#([^)]+)\)", lambda link: f"](#{places.get(link[1], link[1])})", piece)
        return there.get(piece, re.sub(r"\]\((?=\d\d_\w+\.ipynb)", f"]({folder}", english))

    copy = nbformat.from_dict(notebook)
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            cell.source = "".join(map(shown, pieces(cell.source)))
    return copy


def print_translations(folder: Path, destination: Path, variant: str) -> None:
    """Print each translation of the notebooks in `folder` to `destination/LANGUAGE/NN_name.ipynb`."""
    for language in LANGUAGES:
        for path in files(language):
            name = f"{lesson(path.stem).stem}.ipynb"
            notebook = nbformat.read(folder / name, as_version=4)
            (destination / language).mkdir(parents=True, exist_ok=True)
            nbformat.write(translated(notebook, path, variant), destination / language / name)


def update(path: Path) -> None:
    """Bring a catalog up to date: paragraphs in the order of the text, changed ones marked fuzzy, lost ones dropped."""
    template = Catalog()
    for part in english(path.stem):
        template.add(part)
    catalog = read(path)
    catalog.update(template)
    catalog.obsolete.clear()
    write(path, catalog)


def write(path: Path, catalog: Catalog) -> None:
    """Write a catalog under a header of what tools need, without dates: the same content gives the same bytes."""
    header = f'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\nLanguage: {path.parent.name}\\n"\n\n'
    for message in catalog:
        message.flags.discard("python-brace-format")  # a reference by name, which another language may put otherwise
    with path.open("wb") as file:
        file.write(header.encode())
        write_po(file, catalog, width=0, omit_header=True, include_previous=True)


def main() -> int:
    found = []
    for language in LANGUAGES:
        for path in files(language):
            update(path)
            found += stale(path, every=True)
    print("\n".join(found) or "Every translation is whole.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
