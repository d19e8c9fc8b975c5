"""The table of contents of the site and of the book, from the table of lessons and from the pages that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import translate

from solutions.lessons import lesson, lessons

BOOK = Path(__file__).resolve().parent


def toc() -> dict[str, Any]:
    """What Sphinx reads as _toc.yml: lessons, the pages beside them, and what there is in other languages."""

    def beside(folder: str) -> dict[str, Any]:
        there = [each.name for each in lessons() if (BOOK / folder / f"{each.name}.md").exists()]
        return {"file": f"{folder}/index", "sections": [{"file": f"{folder}/{name}"} for name in there]}

    languages = [path for language in translate.LANGUAGES for path in translate.files(language)]
    other = [{"file": f"translations/{path.parent.name}/{lesson(path.stem).stem}"} for path in languages]
    pages = [
        beside("interview"),
        beside("teaching"),
        *({"file": name} for name in ("measured", "glossary", "references")),
    ]
    parts = [
        {"caption": "Lessons", "chapters": [{"file": f"lessons/{each.stem}"} for each in lessons()]},
        {"caption": "Beside them", "chapters": pages},
        {"caption": f"{lessons()[0].title}, in other languages", "chapters": other},
    ]
    return {"format": "jb-book", "root": "index", "parts": parts}


def chapters() -> list[str]:
    """The pages, in order, without the cover."""
    every = [chapter for part in toc()["parts"] for chapter in part["chapters"]]
    return [page["file"] for chapter in every for page in (chapter, *chapter.get("sections", []))]
