"""The map of the course: which lesson needs which, and the question that each answers.

The press writes it to `book/pictures/map.svg`, for the README. On the site its lessons are links.

The picture takes the colour of the text around it where it stands in a page, and follows the system's light or dark
where it is opened by itself. It scales down to a telephone without becoming too small to read.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from solutions.lessons import lesson, lessons

PICTURE = Path(__file__).resolve().parent / "pictures" / "map.svg"
ROW, LEFT, WIDTH = 52, 94, 440


STYLE = """
    .course-map { color: #1b1f24; font-family: system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif; }
    @media (prefers-color-scheme: dark) { .course-map { color: #e6e8eb; } }
    body[data-jp-theme-light="true"] .course-map { color: #1b1f24; }
    body[data-jp-theme-light="false"] .course-map { color: #e6e8eb; }
    html[data-theme] .course-map { color: var(--ink); }
"""


def told() -> str:
    """The rows in words."""
    rows = [f"{each.number}, {each.title}: {each.question}" for each in lessons()]
    return f"The lessons and their questions. {' '.join(rows)}"


def leaning() -> str:
    """The arcs in words."""
    needs = [
        f"{each.number} needs {' and '.join(str(lesson(name).number) for name in each.needs)}"
        for each in lessons()
        if each.needs
    ]
    return f"Which needs which: {'; '.join(needs)}."


def svg(leads: str = "") -> str:
    """One row a lesson; on the left an arc from each lesson to those that need it.

    leads: to what address, with {} for the file's stem, a lesson's row is a link. Then the rows say themselves what
    they are, and only the arcs need words.
    """
    height = ROW * len(lessons())
    middle = [ROW * each.number + ROW // 2 for each in lessons()]
    longest = max((each.number - lesson(name).number for each in lessons() for name in each.needs), default=1)
    arcs = [
        f'<path d="M {LEFT - 13} {middle[need]} C {LEFT - reach} {middle[need]}, {LEFT - reach} {middle[number]}, '
        f'{LEFT - 15} {middle[number]}" marker-end="url(#course-map-tip)"/>'
        for each in lessons()
        for number, need in ((each.number, lesson(name).number) for name in each.needs)
        for reach in [26 + round(85 * (number - need) / longest)]
    ]
    drawn = [
        f'<circle cx="{LEFT}" cy="{at}" r="13" fill="none" stroke="currentColor" stroke-width="1.2"/>'
        f'<text x="{LEFT}" y="{at + 4.5}" text-anchor="middle" font-size="13">{each.number}</text>'
        f'<text x="{LEFT + 26}" y="{at - 3}" font-size="15" font-weight="600">{escape(each.title)}</text>'
        f'<text x="{LEFT + 26}" y="{at + 15}" font-size="13">{escape(each.question)}</text>'
        for each, at in zip(lessons(), middle, strict=True)
    ]
    links = [f'<a href="{leads.format(each.stem)}">{row}</a>' for each, row in zip(lessons(), drawn, strict=True)]
    role, said, rows = ("group", leaning(), links) if leads else ("img", f"{told()} {leaning()}", drawn)
    return "\n".join(
        [
            f'<svg class="course-map" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" style="max-width: 100%; height: auto" role="{role}" aria-label="{escape(said)}">',
            f"<style>{STYLE}</style>",
            '<defs><marker id="course-map-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M 0 0 L 8 4 L 0 8 z" fill="currentColor"/></marker></defs>',
            '<g fill="none" stroke="currentColor" stroke-width="1.2" opacity="0.55">',
            *arcs,
            "</g>",
            '<g fill="currentColor">',
            *rows,
            "</g>",
            "</svg>\n",
        ]
    )
