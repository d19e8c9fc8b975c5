"""The Order: systems in the order of their perplexity, in every cell that was measured; two sliders choose the cell."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from widgets.kit.base import Instrument, packed
from widgets.kit.messages import Messages

SAYS = Messages(Path(__file__).with_name("messages.json"))


class Order(Instrument):
    """Draw the perplexity of several systems, every seed a dot, best first.

    perplexity: system -> (holds, facts, seeds); carried: system -> bytes
    holds: for how many tokens of the text a fact holds, facts: names of a document; both as in `perplexity`, rising,
        and the last of `holds` is the length of the text
    pair: the two systems that the sentence compares; at: the cell to show first, (tokens that a fact holds, facts)
    Raises ValueError for a shape, a pair or a cell that does not fit.
    """

    view = Path(__file__).with_name("view.js")

    def __init__(
        self,
        perplexity: Mapping[str, Any],
        *,
        carried: Mapping[str, int],
        holds: Sequence[int],
        facts: Sequence[int],
        pair: tuple[str, str],
        at: tuple[int, int],
        provenance: str,
    ):
        values = {name: np.asarray(each, dtype=np.float64) for name, each in perplexity.items()}
        for name, each in values.items():
            if each.ndim != 3 or each.shape[:2] != (len(holds), len(facts)):
                raise ValueError(
                    f"the perplexity of {name} has shape {each.shape}; give ({len(holds)}, {len(facts)}, seeds)."
                )
        if not set(pair) <= set(values) or set(carried) != set(values):
            raise ValueError(f"the systems are {', '.join(values)}; pair and carried must name them.")
        if at[0] not in holds or at[1] not in facts:
            raise ValueError(f"at is {at}; give one of {list(holds)} tokens and one of {list(facts)} facts.")
        super().__init__(
            data={
                "systems": [{"name": name, "bytes": int(carried[name])} for name in values],
                "perplexity": packed(np.stack(list(values.values()))),
                "seeds": next(iter(values.values())).shape[-1],
                "holds": list(holds),
                "facts": list(facts),
                "pair": list(pair),
                "at": [list(holds).index(at[0]), list(facts).index(at[1])],
                "provenance": provenance,
            }
        )
        self.values = values

    def twin(self) -> str:
        row, column = self.data["at"]
        cells = {name: each[row, column] for name, each in self.values.items()}
        held = {each["name"]: each["bytes"] for each in self.data["systems"]}
        lines = [
            SAYS.text("system", mean=each.mean(), low=each.min(), high=each.max(), name=name, bytes=held[name])
            for name, each in sorted(cells.items(), key=lambda item: item[1].mean())
        ]
        return "\n".join([f"{SAYS.text('question')} {self.sentence(row, column)}", *lines])

    def sentence(self, row: int, column: int) -> str:
        """What the cell says of the two systems; view.js says the same."""
        data = self.data
        one, other = (self.values[name][row, column] for name in data["pair"])
        text, held = data["holds"][-1], data["holds"][row]
        gap = 100 * (one.mean() / other.mean() - 1)
        below = int((one < other).sum())
        facts = {"one": data["pair"][0], "other": data["pair"][1], "gap": gap, "off": abs(gap), "seeds": data["seeds"]}
        facts |= {"text": text, "held": held, "all": held == text, "facts": data["facts"][column]}
        return SAYS.text("cell", **facts, agreed=below if gap < 0 else data["seeds"] - below)
