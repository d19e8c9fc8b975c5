"""The Sketch: empty axes on which the reader draws a curve, and the measured ones beside it once it is revealed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from widgets.kit.base import Instrument, packed
from widgets.kit.messages import Messages

SAYS = Messages(Path(__file__).with_name("messages.json"))


class Sketch(Instrument):
    """Ask for a curve of shares by distance, then show it beside what was measured.

    distances: rising, in tokens, drawn on a logarithmic axis
    curves: name -> the share, from 0 to 1, at each distance; the first is the one that the reader draws
    marks: distances to mark on the axis, with a word each
    Live, `reader` holds `drawn`, per cent at each distance or None, and `revealed`.
    Raises ValueError for distances that do not rise and for a curve that does not fit them or holds no shares.
    """

    view = Path(__file__).with_name("view.js")
    alone = True

    def __init__(
        self,
        question: str,
        distances: Sequence[int],
        curves: Mapping[str, Any],
        *,
        marks: Mapping[int, str],
        provenance: str,
    ):
        if len(distances) < 2 or distances[0] < 1 or any(np.diff(distances) <= 0):
            raise ValueError(f"distances are {list(distances)}; give two or more, rising from 1 or more")
        self.curves = {name: np.asarray(each, dtype=np.float64) for name, each in curves.items()}
        for name, each in self.curves.items():
            if each.shape != (len(distances),) or not ((0 <= each) & (each <= 1)).all():
                raise ValueError(f"the curve of {name} needs {len(distances)} shares from 0 to 1, and was given {each}")
        super().__init__(
            data={
                "question": question,
                "distances": list(distances),
                "names": list(self.curves),
                "curves": packed(np.stack(list(self.curves.values()))),
                "marks": [[at, word] for at, word in marks.items()],
                "provenance": provenance,
            }
        )

    def twin(self) -> str:
        return f"{self.data['question']} {self.sentence([None] * len(self.data['distances']))}"

    def whole(self, drawn: Sequence[float | None]) -> np.ndarray:
        """The reader's curve, in shares: straight lines on the page between what was drawn, level outside of it."""
        x = np.log2(np.asarray(self.data["distances"], dtype=np.float64))
        levels = np.array([np.nan if value is None else value for value in drawn]) / 100
        there = ~np.isnan(levels)
        return np.interp(x, x[there], levels[there])

    def sentence(self, drawn: Sequence[float | None], revealed: bool = False) -> str:
        """What is said of a drawing, per cent or None at each distance; view.js says the same."""
        asked, *_ = self.curves
        facts = {"asked": asked, "all": len(drawn), "drawn": sum(value is not None for value in drawn)}
        if not facts["drawn"]:
            return SAYS.text("empty", **facts)
        if not revealed:
            return SAYS.text("drawn", **facts)
        yours, measured = self.whole(drawn), self.curves[asked]
        off = np.abs(yours - measured)
        far = int(off.argmax())
        facts |= {"at": self.data["distances"][far], "yours": yours[far], "measured": measured[far]}
        return SAYS.text("revealed", off=off.mean(), **facts)
