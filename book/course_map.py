"""The map of the course: which lesson needs which, and the question that each answers.

    python book/course_map.py      writes book/pictures/map.svg

The picture takes the colour of the text around it where it stands in a page, and follows the system's light or dark
where it is opened by itself. It scales down to a telephone without becoming too small to read.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

PICTURE = Path(__file__).resolve().parent / "pictures" / "map.svg"
ROW, LEFT, WIDTH = 52, 94, 440


class Lesson(NamedTuple):
    title: str
    question: str
    needs: tuple[int, ...]


LESSONS = [
    Lesson("Start here", "How does this work?", ()),
    Lesson("Quadratic attention", "What does it compute, and what is quadratic?", (0,)),
    Lesson("Local and global attention", "What is lost if most layers look only nearby?", (1,)),
    Lesson("Flash attention", "What moves between slow and fast memory?", (1,)),
    Lesson("Infini-attention", "Can a memory of fixed size find a far needle?", (1, 2)),
    Lesson("DeepSeek sparse attention", "Can a cheap network choose what is read?", (1, 2)),
    Lesson("From 2K to 128K", "How would you extend a model's context?", (1, 2, 3, 4, 5)),
    Lesson("The interview", "Can you say it, and defend it?", (6,)),
]

STYLE = """
    .course-map { color: #1b1f24; font-family: system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif; }
    @media (prefers-color-scheme: dark) { .course-map { color: #e6e8eb; } }
    body[data-jp-theme-light="true"] .course-map { color: #1b1f24; }
    body[data-jp-theme-light="false"] .course-map { color: #e6e8eb; }
    html[data-theme] .course-map { color: var(--ink); }
"""


def words() -> str:
    """The picture in words."""
    told = [f"{number}, {lesson.title}: {lesson.question}" for number, lesson in enumerate(LESSONS)]
    needs = [
        f"{number} needs {' and '.join(map(str, lesson.needs))}"
        for number, lesson in enumerate(LESSONS)
        if lesson.needs
    ]
    return f"The lessons and their questions. {' '.join(told)} Which needs which: {'; '.join(needs)}."


def svg() -> str:
    """One row a lesson; on the left an arc from each lesson to those that need it."""
    height = ROW * len(LESSONS)
    middle = [ROW * number + ROW // 2 for number in range(len(LESSONS))]
    arcs = [
        f'<path d="M {LEFT - 13} {middle[need]} C {LEFT - reach} {middle[need]}, {LEFT - reach} {middle[number]}, '
        f'{LEFT - 15} {middle[number]}" marker-end="url(#course-map-tip)"/>'
        for number, lesson in enumerate(LESSONS)
        for need in lesson.needs
        for reach in [26 + 17 * (number - need)]
    ]
    rows = [
        f'<circle cx="{LEFT}" cy="{at}" r="13" fill="none" stroke="currentColor" stroke-width="1.2"/>'
        f'<text x="{LEFT}" y="{at + 4.5}" text-anchor="middle" font-size="13">{number}</text>'
        f'<text x="{LEFT + 26}" y="{at - 3}" font-size="15" font-weight="600">{escape(lesson.title)}</text>'
        f'<text x="{LEFT + 26}" y="{at + 15}" font-size="13">{escape(lesson.question)}</text>'
        for number, (lesson, at) in enumerate(zip(LESSONS, middle, strict=True))
    ]
    return "\n".join(
        [
            f'<svg class="course-map" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" style="max-width: 100%; height: auto" role="img" aria-label="{escape(words())}">',
            f"<style>{STYLE}</style>",
            '<defs><marker id="course-map-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M 0 0 L 8 4 L 0 8 z" fill="currentColor"/></marker></defs>',
            '<g fill="none" stroke="currentColor" stroke-width="1.2" opacity="0.55">',
            *arcs,
            "</g>",
            '<g fill="currentColor">',
            *rows,
            "</g>",
            "</svg>",
        ]
    )


if __name__ == "__main__":
    PICTURE.write_text(svg() + "\n", encoding="utf-8")
    print(f"Written to {PICTURE}")
