"""Your own functions, wherever you have written them; the course's where you haven't.

    from solutions.mine import attention         # yours, if it is in work/mine.py and right; else the course's
    mine.whose("attention", "merge")             # "yours: attention; ours: merge"
    mine.whose("flash_attention")                # the same of all exercises of a lesson
    mine.versions("merge")                       # your first version of it beside the latest
    mine.show("score_tile", "row_log_sums")      # prints yours, to paste from where an exercise goes on from them

`check` keeps every right answer in `work/mine.py`, a plain module of your own: read it, edit it, copy it. Where
COURSE_PROGRESS is off, as in tests and on the site, all functions are the course's.
"""

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape

from solutions.checks import EXERCISES, keeping, nearest
from solutions.whole import write_whole


def __getattr__(name: str) -> Callable:
    if name not in EXERCISES:
        near = None if name.startswith("_") else nearest(name)
        meant = f" Did you mean {near}?" if near else ""
        raise AttributeError(f"no exercise of the course is called {name}.{meant}")
    return keeping.own(name, EXERCISES) or EXERCISES[name].reference


def __dir__() -> list[str]:
    return [*EXERCISES, "keep_picture", "show", "versions", "whose", "yours"]


def yours(*names: str) -> list[str]:
    """Those of some exercises, or of all exercises of a lesson, whose function is your own.

    Raises AttributeError for a name that is neither an exercise's nor a lesson's.
    """
    return [name for name in exercises_of(names) if __getattr__(name) is not EXERCISES[name].reference]


def whose(*names: str) -> str:
    """Who wrote each function, of some exercises or lessons: "yours: softmax, attention; ours: merge"."""
    own = yours(*names)
    lists = {"yours": own, "ours": [name for name in exercises_of(names) if name not in own]}
    return "; ".join(f"{who}: {', '.join(some)}" for who, some in lists.items() if some)


def exercises_of(names: Iterable[str]) -> list[str]:
    """Exercises by name, with those of a lesson in the place of its name."""
    found = {name: [each.name for each in EXERCISES.values() if each.lesson == name] or [name] for name in names}
    return [each for some in found.values() for each in some]


@dataclass(frozen=True, repr=False)
class Versions:
    """Two versions of a function, each under its label: side by side in a notebook, one after the other in text."""

    texts: dict[str, str]

    def __repr__(self) -> str:
        return "\n\n".join(f"# {label}\n{source}" for label, source in self.texts.items())

    def _repr_html_(self) -> str:
        columns = [
            f'<figure style="flex: 1 1 20em; min-width: 0; margin: 0"><figcaption>{escape(label)}</figcaption>'
            f'<pre tabindex="0" style="overflow-x: auto">{escape(source)}</pre></figure>'
            for label, source in self.texts.items()
        ]
        return f'<div style="display: flex; flex-wrap: wrap; gap: 0 2em">{"".join(columns)}</div>'


def versions(name: str) -> Versions | None:
    """Your first version of a function beside the latest, where the two differ; None where there are no two."""
    texts = keeping.first_and_latest(name, EXERCISES)
    return Versions(texts) if texts else None


def show(*names: str) -> None:
    """Print those of some exercises that are your own, as mine.py has them, and say which are not."""
    own, module = yours(*names), keeping.place()
    if own and module:
        blocks = keeping.read(module)[0].blocks
        print("Yours, to paste from:", *(blocks[name] for name in own), sep="\n\n", end="\n\n")
    if others := [name for name in names if name not in own]:
        print(f"Not kept as yours: {', '.join(others)}. The cell below begins with our lines.")


def keep_picture(figure, name: str) -> None:
    """Write a figure of matplotlib beside mine.py, as NAME.png, and print where; nothing where nothing is kept."""
    module = keeping.place()
    if module is None:
        return
    path, drawn = module.with_name(f"{name}.png"), io.BytesIO()
    figure.savefig(drawn, dpi=200, format="png")
    try:
        write_whole(path, drawn.getvalue())
        print(f"The picture is kept as {path.parent.name}/{path.name}.")
    except OSError as error:
        print(f"{path.name} could not be written ({error.strerror}).")
