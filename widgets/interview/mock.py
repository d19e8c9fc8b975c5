"""A mock interview: its timeline, its rules and its whiteboard tasks, as data that the page plays by.

The numbers below are the only ones: the table that a reader sees is made from them, and mock.js reads them.
"""

import time
from dataclasses import dataclass
from typing import Any

from solutions.lessons import lesson

BOXES = (1, 2, 4, 8, 16)  # days until a question comes back (Leitner); box 1 is the first
RISE = 0.75  # share of the points from which a question rises a box, and the next one of a mock is harder
FALL = 0.5  # share below which it goes back to box 1, and the next one is easier
FOLLOW_UPS = 2  # most follow-ups to one question
GOOD = 6  # of the nine points of the opening: from here on the first question is onsite
PARTS = (("opening", 6), ("questions", 24), ("whiteboard", 12), ("report", 3))  # minutes of 45
SHORTEST, LONGEST = 20, 120
OPENING = "How would you extend an LLM's context from 2K to 128K tokens?"

# The answer in nine points: what a strong one says, and the lesson that is asked about when it was not said.
NINE = (
    (
        "Clarify",
        "I ask first: what is 128K for, from which model, on what budget, and how will we know it works?",
        "from_2k_to_128k",
    ),
    (
        "Positions first",
        "The slow rotary pairs meet angles they never saw; I rescale those and spare the fast.",
        "from_2k_to_128k",
    ),
    (
        "Train in stages",
        "Length grows in stages, on a mix that keeps short text, with a gate between the stages.",
        "from_2k_to_128k",
    ),
    (
        "Fit the training",
        "Scores are never stored, activations are recomputed, the sequence is split over devices.",
        "flash_attention",
    ),
    (
        "Fit the cache",
        "The cache is counted for each request: grouped, latent, windowed or quantised keys.",
        "from_2k_to_128k",
    ),
    (
        "Fit the time",
        "Prefill is operations, half of them pairs; decoding reads the cache; choosing costs too.",
        "quadratic_attention",
    ),
    (
        "Prove it",
        "Loss by position, several needles by depth with intervals, and the old short tasks.",
        "infini_attention",
    ),
    (
        "Know how it fails",
        "I name how each step breaks, and the plot on which I would see it.",
        "deepseek_sparse_attention",
    ),
    (
        "Say what you would not do",
        "No pre-training at 128K, no windows for a memory, no trust in one needle.",
        "local_and_global",
    ),
)
NINE_LINK = "[{Lesson}`from_2k_to_128k`, The answer in nine points](lesson:from_2k_to_128k#the-answer-in-nine-points)"


def parts(minutes: int) -> list[tuple[str, int]]:
    """The timeline of a mock: (part, minutes), in the proportions of PARTS; they add to `minutes`.

    Raises ValueError for less than 20 minutes and more than 120.
    """
    if isinstance(minutes, bool) or not isinstance(minutes, int) or not SHORTEST <= minutes <= LONGEST:
        raise ValueError(f"a mock takes {SHORTEST} to {LONGEST} whole minutes, and was given {minutes!r}")
    whole = sum(length for _, length in PARTS)
    lengths = {name: max(1, round(length * minutes / whole)) for name, length in PARTS}
    lengths["questions"] += minutes - sum(lengths.values())
    return list(lengths.items())


def rules(minutes: int = 45) -> list[tuple[str, str]]:
    """The rules of a mock as a reader sees them: (when, then)."""
    lengths = dict(parts(minutes))
    rise, fall = f"{RISE:.0%}".replace("%", " %"), f"{FALL:.0%}".replace("%", " %")
    return [
        (f"{lengths['opening']} minutes", f"{OPENING} You tick which of the nine points you made."),
        (f"{lengths['questions']} minutes", "Questions; first on the lessons behind the points that you missed."),
        (f"{GOOD} of {len(NINE)} or more at the opening", "The first question is onsite, else screen."),
        ("a point missed", f"Its follow-up is asked, at most {FOLLOW_UPS} for one question. Had it: the point counts."),
        (f"{rise} of the points, in time", "The next question is one level harder."),
        (f"below {fall}", "The next question is one level easier."),
        ("a question's time is over", "Go on. The answer is kept and marked late."),
        (f"{lengths['whiteboard']} minutes", "An exercise of the lesson that went worst, with check."),
        (f"{lengths['report']} minutes", "The report, by lesson and by the nine points."),
        ("you leave", "The clock stands still. Open it again and go on."),
    ]


def nine() -> list[tuple[str, str, int]]:
    """The nine points as a page gets them: with the number of the lesson that is asked about."""
    return [(name, said, lesson(behind).number) for name, said, behind in NINE]


def tasks() -> list[dict[str, Any]]:
    """The course's exercises that fit a whiteboard: judged here, whole, 5 to 12 minutes long, of 12 lines at most."""
    from solutions.checks import EXERCISES

    return [
        {
            "number": exercise.number,
            "title": exercise.title,
            "name": exercise.name,
            "minutes": exercise.minutes,
            "lesson": lesson(exercise.lesson).number,
            "file": lesson(exercise.lesson).stem,
        }
        for exercise in EXERCISES.values()
        if 5 <= exercise.minutes <= dict(PARTS)["whiteboard"] and exercise.lines <= 12
        if not exercise.unjudged and not exercise.goes_on
    ]


# --- a task in the notebook ---


@dataclass
class Whiteboard:
    """An exercise under a clock. `begun` is in seconds of time.monotonic()."""

    name: str
    minutes: int
    begun: float

    def check(self, function: Any = None) -> None:
        """Judge the function, by default the one of that name in the notebook, and say how long it took.

        A right answer is shown beside the reader's first one, where that was written otherwise.
        """
        from IPython.display import display

        import __main__
        from solutions import mine
        from solutions.checks import EXERCISES, check

        function = function or getattr(__main__, self.name, None)
        if function is None:
            print(f"{self.name} is not written yet. The clock runs: {self.minutes} minutes.")
            return
        seconds = time.monotonic() - self.begun
        right = check(function) is not EXERCISES[self.name].reference
        over = seconds - 60 * self.minutes
        late = f", {clock(over)} over: late, and kept" if over > 0 else ""
        print(f"{clock(seconds)} of {self.minutes}:00{late}.")
        if right and (versions := mine.versions(self.name)):
            display(versions)


def whiteboard(name: str, minutes: int | None = None) -> Whiteboard:
    """Set an exercise of the course under a clock: print what is to be written, and start.

    name: of the function, "merge", or the exercise's number; minutes: the exercise's own when None
    Raises ValueError for no exercise of that name, and for no time.
    """
    from solutions.checks import EXERCISES

    exercise = EXERCISES.get(name) or next((each for each in EXERCISES.values() if each.number == name), None)
    if exercise is None:
        raise ValueError(f"no exercise is called {name!r}; give a name such as {next(iter(EXERCISES))}, or a number")
    minutes = exercise.minutes if minutes is None else minutes
    if minutes <= 0:
        raise ValueError(f"a task needs time, and was given {minutes} minutes")
    print(f"Exercise {exercise.number}, {exercise.title}: {minutes} minutes from now, about {exercise.lines} lines.\n")
    print(exercise.blank)
    return Whiteboard(exercise.name, minutes, time.monotonic())


def clock(seconds: float) -> str:
    """Minutes and seconds: "7:05"."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
