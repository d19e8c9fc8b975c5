"""What the course measures: the programs, what they found, and the table of the figures that it quotes.

    results("window")                        what a program found, as it stands in results/window.json
    python3 course.py measure                lists what can be measured again
    python3 course.py measure window         measures it again

A program is a module here, run with `python -m widgets.measurements.NAME`; it writes results/NAME*.json. Lessons,
answers of the interview and the page of measured figures read what stands there, by name.
"""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def results(name: str) -> Any:
    """What a program found, results/NAME.json. Raises ValueError, with the names that there are, for another."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        there = ", ".join(sorted(each.stem for each in RESULTS.glob("*.json")))
        raise ValueError(f"there are no results {name!r}; there are {there}")
    return json.loads(path.read_text(encoding="utf-8"))
