"""On the site a term of the glossary leads there where a lesson first uses it.

Nothing is typed for it: a page is looked through for the names that stand in `book/glossary.md`, as written there or in
the plural, and the first place of each becomes a link. Headings, code, formulas and what is a link already stay as they
are, and so do the everyday words that a text also uses for other things.
"""

import re
from functools import cache
from pathlib import Path

from nbformat import NotebookNode

GLOSSARY = Path(__file__).with_name("glossary.md")
TITLE = re.compile(r"^([A-Z].+)\n  ", re.MULTILINE)
SHORT = re.compile(r"(.+) \((.+)\)")  # a name and its short form
EVERYDAY = frozenset(
    "Batch Capacity Exponent Filler Gate Grid Head Key Layer Loss Mask Page Pattern Program Query Rank Register "
    "Retrieve Score Segment Shape Stages Temperature Token Turn Value Wave Weights Width Window".split()
)
KEPT = re.compile(
    r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]*\$|!?\[[^\]]*\]\([^)]*\)|\{\w+\}`[^`]*`|<[^>]*>|^#.*?$|https?://\S+",
    re.DOTALL | re.MULTILINE,
)


@cache
def names() -> dict[str, str]:
    """How a text may say a term -> the term as the glossary has it; the longest first."""
    found: dict[str, str] = {}
    for title in TITLE.findall(GLOSSARY.read_text(encoding="utf-8")):
        if title in EVERYDAY:
            continue
        both = SHORT.fullmatch(title)
        for said in both.groups() if both else (title,):
            found[said] = title
            if said[1:].islower() or " " in said:
                found[f"{said[0].lower()}{said[1:]}"] = title
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


@cache
def spoken() -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, names()))})(s?)(?![\w-])")


def linked(cells: list[NotebookNode]) -> None:
    """Let the first use of each term in the words of a page lead to the glossary."""
    seen: set[str] = set()

    def link(found: re.Match[str]) -> str:
        title = names()[found[1]]
        if title in seen:
            return found[0]
        seen.add(title)
        return f"{{term}}`{found[0]} <{title}>`"

    for cell in cells:
        if cell.cell_type == "markdown":
            parts, at = [], 0
            for kept in KEPT.finditer(cell.source):
                parts += [spoken().sub(link, cell.source[at : kept.start()]), kept[0]]
                at = kept.end()
            cell.source = "".join([*parts, spoken().sub(link, cell.source[at:])])
