"""Your own functions, wherever you have written them; the course's where you haven't.

    from solutions.mine import attention         # yours, if it is in work/mine.py and right; else the course's
    mine.whose("attention", "merge")             # "yours: attention; ours: merge"
    mine.show("score_tile", "row_log_sums")      # prints yours, to paste from where an exercise goes on from them

`check` keeps every right answer in `work/mine.py`, a plain module of your own: read it, edit it, copy it. Where
COURSE_PROGRESS is off, as in tests and on the site, all functions are the course's.
"""

import io
from collections.abc import Callable

from solutions.checks import EXERCISES, keeping, nearest
from solutions.whole import write_whole


def __getattr__(name: str) -> Callable:
    if name not in EXERCISES:
        near = None if name.startswith("_") else nearest(name)
        meant = f" Did you mean {near}?" if near else ""
        raise AttributeError(f"no exercise of the course is called {name}.{meant}")
    return keeping.own(name, EXERCISES) or EXERCISES[name].reference


def __dir__() -> list[str]:
    return [*EXERCISES, "keep_picture", "show", "whose", "yours"]


def yours(*names: str) -> list[str]:
    """Those of some exercises whose function is your own. Raises AttributeError for a name that is no exercise's."""
    return [name for name in names if __getattr__(name) is not EXERCISES[name].reference]


def whose(*names: str) -> str:
    """Who wrote each function: "yours: softmax, attention; ours: merge"."""
    own = yours(*names)
    lists = {"yours": own, "ours": [name for name in names if name not in own]}
    return "; ".join(f"{who}: {', '.join(some)}" for who, some in lists.items() if some)


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
