"""The scene of the first lesson."""

from typing import Any

from solutions.checkpoints import load
from solutions.checkpoints.infini import MOST, SEGMENT
from widgets.measurements import results
from widgets.measurements.infini import needles
from widgets.scenes.scene import Dial, scene

EVERYTHING, EMPTIED = "bytes: every token is kept", "bytes, then emptied"
FIXED = "bytes: a memory, and the segment being read"
COUNTS = ("none", "one", "two", "three", "four", "all five")


def runs() -> list[dict]:
    """What a scene of one key shows, stop by stop: text, model, digits said, and bytes kept of the text.

    The model with the full cache is asked now; where it isn't shipped, and for a million tokens, the recording says.
    """
    recording = results("infini_needle")
    try:
        full = needles(load("infini-full"))
    except ValueError:
        full = recording["full"]
    infini = recording["infini"]
    return [
        *({**run, "said": run["found"], "keeps": EVERYTHING} for run in full),
        {**infini, "said": infini["found"], "keeps": FIXED},
        {**infini, "said": infini["emptied"], "keeps": EMPTIED},
    ]


def right(run: dict) -> int:
    return sum(wanted == said for wanted, said in zip(run["wanted"], run["said"], strict=True))


@scene
def needle_strip() -> dict[str, Any]:
    """Five digits in a text that grows: a model that keeps every token loses them, one of fixed size does not."""
    told, trained = runs(), MOST * SEGMENT

    def says(stop: int) -> str:
        run = told[stop]
        digits, found = " ".join(map(str, run["said"])), f"{COUNTS[right(run)]} right"
        if run["keeps"] == EVERYTHING:
            first = ", as in training" if run["tokens"] == trained else ""
            return f"{run['tokens']:,} tokens{first}, all of them in the cache. It says {digits}, *{found}*."
        if run["keeps"] == FIXED:
            return f"Another model, its memory of a fixed size: {run['tokens']:,} tokens. It says {digits}, *{found}*."
        return f"The same text, its memory emptied before the question. It says {digits}, *{found}*: it guesses."

    return {
        "question": "Five digits stand in the text. Does the model find them?",
        "dials": [
            Dial(
                "text",
                ["emptied" if run["keeps"] == EMPTIED else f"{run['tokens']:,} tokens" for run in told],
                kind="player",
            )
        ],
        "says": says,
        "drawn": {"runs": told, "trained": trained},
        "rows": [
            ["tokens", "bytes kept", "", "wanted", "said"],
            *(
                [f"{run['tokens']:,}", f"{run['state_bytes']:,}", run["keeps"], *(
                    " ".join(map(str, run[name])) for name in ("wanted", "said"))]
                for run in told
            ),
        ],
        "provenance": "one prompt a length; the million tokens are a recording: course.py measure infini needle",
    }
