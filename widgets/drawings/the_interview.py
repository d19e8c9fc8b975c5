"""Drawings of the lesson the_interview."""

from widgets.drawings import drawing
from widgets.drawings.canvas import SMALL, WORDS, Canvas
from widgets.interview.mock import BOXES, FALL, RISE

SPAN = 30  # days that are drawn


def days_of(shares: dict[int, float], usual: float) -> list[int]:
    """The days up to the last on which a question is asked, by the share of its points that is said.

    usual: that share; shares: another, by the place of the answer, from 0
    """
    box, day = 0, 0
    days: list[int] = []
    while day <= SPAN:
        share = shares.get(len(days), usual)
        days.append(day)
        if share < FALL:
            box = 0
        elif share >= RISE:
            box = min(box + 1, len(BOXES) - 1)
        day += BOXES[box]
    return days


LAPSE = 3  # the answer that is forgotten, from 0
HABITS = {
    "every point, each time": days_of({}, 1),
    "the fourth time forgotten": days_of({LAPSE: 0}, 1),
    "half of the points, each time": days_of({}, 0.5),
}


@drawing
def days_of_a_question(page: Canvas) -> str:
    more = f"A mark is a day on which it is asked. At the right: how often in {SPAN} days."
    top = page.title("When one question comes back", more)
    left, room = page.choose(6, 6), page.choose(96, 70)
    step = (page.width - left - room - 6) / SPAN
    y, high = top + 18, page.choose(62, 66)
    for place, (name, days) in enumerate(HABITS.items()):
        at = y + high * place
        page.text(0, at + 6, name, WORDS)
        base = at + 30
        page.line([(left, base), (left + step * SPAN, base)], "line", 2)
        for index, day in enumerate(days):
            x, forgotten = left + step * day, place == 1 and index == LAPSE
            if forgotten:
                page.line([(x - 5, base - 6), (x + 5, base + 6)], "bad", 3)
                page.line([(x - 5, base + 6), (x + 5, base - 6)], "bad", 3)
            else:
                page.rect(x - 2.5, base - 8, 5, 16, ("good", "mark", "ink-2")[place], radius=2)
        page.big(page.width, base + page.choose(10, 8), str(len(days)), anchor="end")
    bottom = y + high * len(HABITS) + 12
    ticks = HABITS["every point, each time"]
    for day in ticks:
        page.text(left + step * day, bottom, str(day), SMALL, "ink-2", "middle")
    page.text(page.width, bottom, "days", SMALL, "ink-2", "end")
    return (
        f"Three lines of {SPAN} days with a mark for each day on which one question is asked. Who says every point is "
        f"asked on days {', '.join(map(str, ticks))}: {len(ticks)} times. Who forgets it the fourth time is asked "
        f"again on the next day, and {len(HABITS['the fourth time forgotten'])} times in all. Who says half of the "
        f"points is asked every day, {len(HABITS['half of the points, each time'])} times."
    )
