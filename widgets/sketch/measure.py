"""What models with windows find, by distance: the mean of the seeds that were trained."""

from typing import Any

import numpy as np

from solutions.checkpoints import about


def found_by_distance(asked: str, *others: str) -> dict[str, Any]:
    """What a Sketch needs to ask for one of the trained patterns and to show others beside it.

    Of each pattern the runs that were trained as long as the shortest are taken. Raises ValueError for a pattern of
    which there is none.
    """
    found = about("window")
    settings = found["settings"]
    steps = min(run["steps"] for run in found["runs"])
    curves, seeds = {}, 0
    for pattern in (asked, *others):
        runs = [run for run in found["runs"] if run["pattern"] == pattern and run["steps"] == steps]
        if not runs:
            patterns = sorted({run["pattern"] for run in found["runs"]})
            raise ValueError(f"there is no run of {pattern!r}; there are {patterns}")
        curves[pattern.replace("-", " ")] = np.mean([run["recall_by_distance"] for run in runs], axis=0)
        seeds = len(runs)
    return {
        "question": f"Each word sees the last {settings['window']} tokens. What is lost?",
        "distances": settings["edges"],
        "curves": curves,
        "marks": {
            settings["in_window"]: f"one window: {settings['in_window']}",
            settings["in_reach"]: f"{settings['layers']} windows: {settings['in_reach']}",
        },
        "provenance": f"{settings['layers']} layers, window {settings['window']}, {steps} steps, "
        f"mean of {seeds} seeds, {settings['test_sequences']:,} test texts of {settings['tokens']} tokens",
    }
