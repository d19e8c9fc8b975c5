"""What every scene shares: dials that the reader turns, a sentence for each place of them, and one picture.

A scene is a drawing that moves. Python computes all of it: what is drawn, and what is said at every stop of the dials;
`NAME.js` only draws, a function of the data and of where the dials stand. So nothing is said twice, and a scene is
alive wherever a page is, without a kernel.

    @scene
    def two_hands() -> dict[str, Any]:
        return {"question": ..., "dials": [...], "says": ..., "drawn": ..., "rows": ..., "provenance": ...}

and, in two_hands.js, `export default scene(({ drawn, at, room }) => [svg("circle", ...), ...])`.

Where a reader chooses in the picture (scene.js: parts with data-press), what is said of a choice can't be said before:
the page says it, in the words of NAME.json, which the rules of `kit/messages.py` fill.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import wraps
from itertools import product
from pathlib import Path
from typing import Any, Literal

from solutions.checkpoints import NotHere
from widgets.kit.base import Instrument

HERE = Path(__file__).parent
SCENES: dict[str, Callable[[], Scene | None]] = {}


@dataclass(frozen=True)
class Dial:
    """Something that the reader turns, or that plays.

    name: what it is called to a reader who hears it; stops: what is said beside it at each place; at: where it begins
    kind: "player" has a button that plays it, "slider" has none, "switch" shows all stops, at most four, as words
    """

    name: str
    stops: Sequence[str]
    at: int = 0
    kind: Literal["player", "slider", "switch"] = "slider"


class Scene(Instrument):
    """A question, a sentence, a picture that moves, and its dials.

    says: what is said where the dials stand so, given one index a dial; *what matters* stands between asterisks
    drawn: what NAME.js draws, arrays in it `packed`; rows: the numbers as a table, its first row the head
    provenance: where the numbers come from
    Raises ValueError for a dial without stops or one that begins outside of them, and for a table without rows.
    """

    alone = True

    def __init__(
        self,
        question: str,
        dials: Sequence[Dial],
        says: Callable[..., str],
        drawn: Mapping[str, Any],
        rows: Sequence[Sequence[str | float]],
        provenance: str,
    ):
        for dial in dials:
            if not 0 <= dial.at < len(dial.stops):
                raise ValueError(f"the dial {dial.name!r} has {len(dial.stops)} stops and begins at {dial.at}")
        if len(rows) < 2:
            raise ValueError(f"rows has {len(rows)}; give a head and what stands under it")
        data = {
            "name": self.kind().replace("_", "-"),
            "question": question,
            "dials": [asdict(dial) for dial in dials],
            "says": [says(*at) for at in product(*(range(len(dial.stops)) for dial in dials))],
            "drawn": dict(drawn),
            "rows": [list(row) for row in rows],
            "provenance": provenance,
        }
        super().__init__(data=data)

    @classmethod
    def kind(cls) -> str:
        """The name of the scene's file."""
        return cls.view.stem

    @classmethod
    def style(cls) -> Path:
        """All scenes share one look."""
        return HERE / "scene.css"

    def sentence(self, *at: int) -> str:
        """What is said where the dials stand so."""
        place = 0
        for dial, stop in zip(self.data["dials"], at, strict=True):
            place = place * len(dial["stops"]) + stop
        return self.data["says"][place].replace("*", "")

    def twin(self) -> str:
        return f"{self.data['question']} {self.sentence(*(dial['at'] for dial in self.data['dials']))}"


def scene(told: Callable[[], dict[str, Any]]) -> Callable[[], Scene | None]:
    """Enter a function among the scenes, under its name. It returns the arguments of `Scene`.

    Where a model that it asks is not on this machine, it says so in a sentence, and the lesson goes on.
    """
    kind = type(told.__name__, (Scene,), {"view": HERE / f"{told.__name__}.js", "__doc__": told.__doc__})

    @wraps(told)
    def shown() -> Scene | None:
        try:
            return kind(**told())
        except NotHere as missing:
            print(f"There is no picture here. {missing}")
            return None

    SCENES[told.__name__] = shown
    return shown
