"""The tracks through the course, an evening, a weekend, everything, and how long each takes.

A section of a lesson says which is the shortest track that it lies on, alone in the paragraph under its heading:

    ## The mask comes first

    {track}`evening`

`weekend` is the same for the second. A `##` section that says nothing belongs to everything; one that says `further` is
a fold at its far end, which a notebook and a page show closed. A `###` heading begins a section of its own if it says
its track. An exercise lies on the tracks of its section, unless its heading says a longer one. The opening of a lesson
lies on each track that stops in it; the minutes of the lesson stand at {track}`minutes` in it, or at its head. A box
that begins with `<details><summary>Further: ` is a fold too, and {track}`stop` marks a good place to stop.

The press writes what becomes of these lines (`written`): minutes, and the way on for who skips. All minutes are from
here: words and lines of code at the paces below, which a reader with a clock may correct, and the exercises' own.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby

from solutions import references
from solutions.lessons import lesson, lessons
from solutions.references import BrokenReference

TRACKS = ("evening", "weekend", "everything")
LEVELS = (*TRACKS, "further")
WORDS_A_MINUTE = 60  # of text, with its pictures and predictions
LINES_A_MINUTE = 9  # of code, to run and to read

MARK = re.compile(r"\{track\}`([^`]*)`")
LINE = re.compile(r"(Evening|Weekend|Everything|Further|Not on the)\b[^\n]*\.")  # what stands under a heading
FOLD = re.compile(r"<details><summary>Further: ")
NO_WORDS = re.compile(r"\]\([^)]*\)|<[^>]*>")
WORD = re.compile(r"\$[^$]*\$|[^\W\d_][\w'-]*")  # a formula is one


@dataclass
class Task:
    """An exercise where it stands: its name, the shortest track that asks for it, the lines of its heading and mark."""

    name: str
    level: str
    at: int
    mark: int | None = None


@dataclass
class Section:
    """A part of a lesson. title: "" for the opening; level: the shortest track that it lies on, or "further"

    at, mark: lines of its heading and of what it says of its track; words, code: how many it has, and lines of code
    """

    lesson: str
    title: str
    level: str
    at: int = -1
    mark: int | None = None
    words: int = 0
    code: int = 0
    tasks: list[Task] = field(default_factory=list)

    def reading(self) -> int:
        """Minutes to read and run it."""
        return max(1, round(self.words / WORDS_A_MINUTE + self.code / LINES_A_MINUTE))

    def exercises(self, track: str) -> list[str]:
        """Names of the exercises in it that a track asks for."""
        return [task.name for task in self.tasks if lies_on(task.level, track)]

    def minutes(self, track: str) -> int:
        """Minutes that a track spends here; 0 where it does not stop."""
        return self.reading() + working(self.exercises(track)) if lies_on(self.level, track) else 0

    def link(self) -> str:
        """A link to it, as the texts write one."""
        if not self.title:
            return f"[{lesson(self.lesson).title}](lesson:{self.lesson})"
        from mdit_py_plugins.anchors.index import slugify

        return f"[{self.title}](lesson:{self.lesson}#{slugify(self.title)})"


def lies_on(level: str, track: str) -> bool:
    return track == "everything" or LEVELS.index(level) <= LEVELS.index(track)


def working(names: Collection[str]) -> int:
    """Minutes of exercises."""
    return sum(references.exercise(name).minutes for name in names)


# --- the sections of a text ---


def walked(text: str) -> Iterator[tuple[int, str, str]]:
    """The lines of a text that somebody reads: (number from 0, "text" or "code", line)."""
    fence, seen, front = "", True, text.startswith("---\n")
    for number, line in enumerate(text.split("\n")):
        if front:
            front = number == 0 or line != "---"
        elif fence:
            if line.startswith(fence):
                fence = ""
            elif line.startswith(":tags:"):
                seen = "figures" not in line
            elif seen and line.strip() and not line.startswith(("import ", "from ")):
                yield number, "code", line
        elif line.startswith("```"):
            fence, seen = "`" * (len(line) - len(line.lstrip("`"))), True
        elif line.strip():
            yield number, "text", line


@cache
def outline(text: str, name: str) -> tuple[list[Section], list[int]]:
    """The sections of the text of a lesson, folds among them, and the lines of its stop marks.

    Raises BrokenReference, which says where, for a mark that says or is about nothing.
    """
    found, stops = [Section(name, "", "")], list[int]()
    here = whole = found[0]  # whole: that of the last ## heading
    fold: Section | None = None
    heading: Section | Task | None = found[0]  # what a mark in this line is about
    for number, kind, line in walked(text):
        said = MARK.fullmatch(line)
        if kind == "code":
            here.code += 1
        elif said and said[1] == "stop":
            stops.append(number)
        elif said and said[1] == "minutes":
            if whole is not found[0]:
                raise BrokenReference(f"{name}.md:{number + 1}: the minutes of a lesson stand in its opening")
            whole.mark = number
        elif said:
            if said[1] not in LEVELS:
                raise BrokenReference(f"{name}.md:{number + 1}: there is no track {said[1]!r}; {known()}")
            if heading is None:
                raise BrokenReference(f"{name}.md:{number + 1}: this track stands under no heading")
            if isinstance(heading, Section) and heading not in found:
                found.append(heading)
                here = heading
            heading.level, heading.mark = said[1], number
        elif (exercise := references.HEADING.fullmatch(line)):
            heading = Task(exercise[1], "", number)
            here.tasks.append(heading)
            continue
        elif line.startswith(("## ", "### ")):
            heading = Section(name, line.lstrip("# "), "everything", number)
            if line.startswith("## "):
                found.append(heading)
                whole = heading
            here = whole
            continue
        else:
            if FOLD.match(line):
                fold = Section(name, FOLD.sub("", line).partition("</summary>")[0], "further", number, number)
                found.append(fold)
            (fold or here).words += len(WORD.findall(NO_WORDS.sub(" ", line)))
            fold = None if "</details>" in line else fold
        heading = None
    found[0].level = min((each.level for each in found if each.level), key=LEVELS.index, default="everything")
    for each in found:
        for task in each.tasks:
            task.level = max(task.level or each.level, each.level, key=LEVELS.index)
    return found, stops


def known() -> str:
    return f"there are {', '.join(TRACKS[:-1])} and {TRACKS[-1]}"


def sections(name: str) -> list[Section]:
    """The sections of a lesson; none where it isn't written yet."""
    path = references.BOOK / "lessons" / f"{lesson(name).name}.md"
    return outline(path.read_text(encoding="utf-8"), name)[0] if path.exists() else []


def way(track: str) -> list[Section]:
    """The sections at which a track stops, in the order of the course."""
    return [each for row in lessons() for each in sections(row.name) if lies_on(each.level, track)]


def total(track: str, name: str | None = None) -> int:
    """Minutes of a track, in the course or in one lesson."""
    return sum(each.minutes(track) for each in way(track) if name in (None, each.lesson))


def effort(name: str) -> tuple[int, int, int]:
    """Minutes of a lesson: to read and run its main line, its exercises there, and its folds."""
    main = [each for each in sections(name) if each.level != "further"]
    folds = sum(each.minutes("everything") for each in sections(name) if each.level == "further")
    asked = [task for each in main for task in each.tasks]
    aside = working([task.name for task in asked if task.level == "further"])
    work = working([task.name for task in asked]) - aside
    return sum(each.reading() for each in main), work, folds + aside


# --- what a text says of them ---


def counted(minutes: int) -> str:
    return f"{minutes} minute{'s' if minutes != 1 else ''}"


def listed(words: Collection[str]) -> str:
    """ "evening, weekend and everything"."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def spent(minutes: dict[str, int]) -> str:
    """ "Evening 16 minutes, weekend and everything 26", of minutes by track, 0 for none."""
    groups = [(time, [*group]) for time, group in groupby(filter(minutes.get, minutes), key=minutes.__getitem__)]
    told = [f"{listed(group)} {counted(time) if not place else time}" for place, (time, group) in enumerate(groups)]
    return ", ".join(told).capitalize()


def line(section: Section) -> str:
    """What stands under the heading of a section: minutes by track, and where a track goes on that doesn't stop."""
    if section.level == "further":
        return f"*Further, {counted(section.minutes('everything'))}.*"
    if section.title:
        said = spent({track: section.minutes(track) for track in TRACKS})
    else:
        said = spent({track: total(track, section.lesson) for track in TRACKS})
        reading, work, folds = effort(section.lesson)
        parts = [f"{reading} to read and run", *([f"{work} for exercises"] if work else [])]
        parts += [f"{folds} further"] if folds else []
        said += f": {listed(parts)}" if len(parts) > 1 else ""
    return f"*{' '.join([f'{said}.', *onward(section)])}*"


def onward(section: Section) -> list[str]:
    """A sentence for each place where tracks go on that don't stop at a section."""
    places: dict[str, list[str]] = {}
    for track in TRACKS:
        if not lies_on(section.level, track):
            every = [each for row in lessons() for each in sections(row.name)]
            later = every[every.index(section) + 1 :]
            after = next((each.link() for each in later if lies_on(each.level, track)), "")
            places.setdefault(after, []).append(track)
    told = {listed(tracks).capitalize(): place for place, tracks in places.items()}
    return [f"{tracks}: go on at {place}." if place else f"{tracks}: nothing more." for tracks, place in told.items()]


def aside(section: Section, task: Task) -> str:
    """What stands under the heading of an exercise that a track of its section leaves out; "" for others."""
    if task.level == section.level:
        return ""
    out = [track for track in TRACKS if lies_on(section.level, track) and not lies_on(task.level, track)]
    said = f"Not on the {listed(out)}" if out else "Further"
    return f"*{said}: left blank, the course's function takes its place.*"


def pause(found: list[Section], at: int) -> str:
    """What stands at a stop mark."""
    main = [each for each in found if each.level != "further"]
    done = sum(each.minutes("everything") for each in main if each.at < at)
    whole = sum(each.minutes("everything") for each in main)
    after = next((each.link() for each in main if each.at > at), "")
    said = f"> **A good place to stop.** {done} of this lesson's {whole} minutes lie behind you."
    return f"{said} Go on another day at {after}." if after else said


def written(text: str, name: str) -> str:
    """The text of a lesson with what its marks and headings say, references by name. Each heading begins a cell."""
    found, stops = outline(text, name)
    lines = ["" if MARK.fullmatch(line) else line for line in text.split("\n")]  # an opening may have two marks
    under: dict[int, str] = {}  # what comes after a line that has no mark for it
    for at in stops:
        lines[at] = pause(found, at)
    for each in found:
        if each.at == each.mark:
            lines[each.at] = FOLD.sub(f"<details><summary>Further, {counted(each.reading())}: ", lines[each.at])
            continue
        said = [(each.at, each.mark, line(each) + "\n\n+++" * (each.level == "further"))]
        said += [(task.at, task.mark, aside(each, task)) for task in each.tasks]
        for at, mark, words in said:
            if mark is not None:
                lines[mark] = words
            elif words:
                under[at] = words
    for at, _, heading in walked(text):
        if heading.startswith(("## ", "### ")):
            lines[at] = f"+++\n\n{lines[at]}"
    for at, words in under.items():
        if at >= 0:
            lines[at] += f"\n\n{words}"
    if -1 in under:
        start = lines.index("---", 1) + 1 if lines[0] == "---" else 0
        lines[start:start] = ["", under[-1]] if start else [under[-1], ""]
    return "\n".join(lines)


# --- tables of the tracks ---


def clock(minutes: int) -> str:
    return f"{minutes // 60} h {minutes % 60:02} min"


def overview() -> str:
    """A row a track: how long it takes, and what of it in which lesson."""
    rows = ["| track | takes | minutes in each lesson |", "|---|---|---|"]
    for track, name in (("evening", "an evening"), ("weekend", "a weekend")):
        spent = {row: total(track, row.name) for row in lessons()}
        told = [f"[{row.title}](lesson:{row.name}) {minutes}" for row, minutes in spent.items() if minutes]
        rows.append(f"| {name} | {clock(total(track))} | {', '.join(told)} |")
    return "\n".join([*rows, f"| everything | {clock(total('everything'))} | every section, exercise and fold |"])


def itinerary(track: str) -> str:
    """A row a lesson: the sections at which a track stops, the exercises that it asks for, and the minutes."""
    rows = ["| lesson | stops | exercises | minutes |", "|---|---|---|---|"]
    for name, group in groupby(way(track), key=lambda each: each.lesson):
        stops = [*group]
        places = ", ".join(each.link() if each.title else "opening" for each in stops)
        asked = ", ".join(references.number(task) for each in stops for task in each.exercises(track))
        minutes = sum(each.minutes(track) for each in stops)
        rows.append(f"| {{n}}`{name}` {{title}}`{name}` | {places} | {asked} | {minutes} |")
    return "\n".join(rows)


# --- how far a reader is ---


def ahead(track: str, done: Collection[str]) -> list[tuple[Section, int, list[str]]]:
    """Each stop of a track, with the minutes that are left in it, and with the exercises in it that are not done.

    What comes before the last exercise that is done counts as read.
    """
    stops = way(track)
    asked = [each.exercises(track) for each in stops]
    read = max((place for place, names in enumerate(asked) if {*names} & {*done}), default=-1)
    left = [[name for name in names if name not in done] for names in asked]
    return [
        (each, working(names) + (each.reading() if place > read else 0), names)
        for place, (each, names) in enumerate(zip(stops, left, strict=True))
    ]
