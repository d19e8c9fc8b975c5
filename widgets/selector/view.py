"""The Selector's Eye: the index score, the true attention and the chosen set of any query, and what a choice keeps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from widgets.kit.base import Instrument, packed
from widgets.kit.format import count, significant
from widgets.selector import row, say

if TYPE_CHECKING:  # the recorder brings torch, which a picture does not need
    from matplotlib.figure import Figure

    from widgets.atlas import Atlas
    from widgets.selector.measure import Layer, Recording


class Eye(Instrument):
    """Draw what `measure.record` or `measure.record_vectors` kept. Make one with `of` or `from_vectors`.

    recordings: one, or several by name, of models that read the same text; shown: the name of the one to begin with
    text: the text of every token; needles: query -> the key that it needs, to be marked
    query, layer: what to look at first, chosen for what they show when None; layer counts the recorded ones
    run: where the recording comes from, for the provenance line
    Raises ValueError for no recording, recordings of different texts, and what does not fit.
    """

    view = Path(__file__).with_name("view.js")

    def __init__(
        self,
        recordings: "Recording | Mapping[str, Recording]",
        *,
        shown: str | None = None,
        text: Sequence[str] | None = None,
        needles: Mapping[int, int] | None = None,
        query: int | None = None,
        layer: int | None = None,
        run: str = "",
    ):
        self.recordings = dict(recordings) if isinstance(recordings, Mapping) else {"": recordings}
        sizes = {(each.tokens, len(each.at), len(each.layers)) for each in self.recordings.values()}
        if len(sizes) != 1:
            raise ValueError(
                f"there are {len(self.recordings)} recordings, of (tokens, queries, layers) {sorted(sizes)}; give one "
                "or more, alike in these."
            )
        self.shown = list(self.recordings)[-1] if shown is None else shown
        if self.shown not in self.recordings:
            raise ValueError(f"shown is {shown!r}; give one of {', '.join(self.recordings)}.")
        first = self.recordings[self.shown]
        if text is not None and len(text) != first.tokens:
            raise ValueError(f"text has {len(text)} entries for {first.tokens} tokens; give one for each.")
        self.text = None if text is None else [str(token) for token in text]
        self.needles = checked_needles(needles, first.tokens)
        self.run = run
        if layer is not None and not 0 <= layer < len(first.layers):
            raise ValueError(f"layer is {layer}; give 0 to {len(first.layers) - 1}.")
        self.layer = telling_layer(first, self.needles) if layer is None else layer
        if query is not None and query not in first.at:
            whole = len(first.at) == first.tokens
            kept = f"0 to {first.tokens - 1}" if whole else f"one of {', '.join(map(str, first.at[:6]))} ..."
            raise ValueError(f"query is {query}, which was not kept; give {kept}.")
        if query is None:
            self.row = telling_query(first, self.layer, self.needles)
        else:
            self.row = int(np.flatnonzero(first.at == query)[0])
        super().__init__(data=self._payload())

    @classmethod
    def of(
        cls,
        model: Any,
        tokens: Any,
        *,
        layers: Sequence[int] | None = None,
        selectors: Sequence[str] | None = None,
        block: int = 4,
        **given: Any,
    ) -> "Eye":
        """The Eye of a model with sparse attention, from one run over one text; of several models by their names.

        model: a TinyTransformer, or a dict of them, such as {"untrained": ..., "trained": ...}; tokens: (n,) or (1, n)
        layers: which to record, those with an indexer when None; selectors: what to compare with, keys of
            `solutions.sparse.SELECTORS`, those that fit when None; block: tokens of a block, where blocks are chosen
        given: text, needles, query, layer, shown, run, as above
        Raises ValueError as `record` does. In `streams.recall` a value at p with distance d > 0 is asked for by query
        p - 1, which needs key p - 1 - d.
        """
        from widgets.selector.measure import record

        models = model if isinstance(model, Mapping) else {"": model}
        found = {name: record(each, tokens, layers=layers, selectors=selectors, block=block)
                 for name, each in models.items()}  # fmt: skip
        return cls(found, **{"run": "TinyTransformer", **given})

    @classmethod
    def from_vectors(
        cls,
        q: Any,
        k: Any,
        index_q: Any,
        index_k: Any,
        index_w: Any,
        *,
        top_k: int,
        selectors: Sequence[str] | None = None,
        block: int = 4,
        **given: Any,
    ) -> "Eye":
        """The Eye of one layer, given its vectors after any rotation: text of any length, without the model.

        q: (heads, n, d); k: (kv_heads, n, d); index_q: (index_heads, n, index_dim); index_k: (n, index_dim)
        index_w: (n, index_heads), with all scales in it; top_k: the budget that the layer is meant for
        Otherwise as `of`. Raises ValueError as `record_vectors` does.
        """
        from widgets.selector.measure import record_vectors

        found = record_vectors(q, k, index_q, index_k, index_w, top_k=top_k, selectors=selectors, block=block)
        return cls(found, **{"run": "vectors", **given})

    # What it says -------------------------------------------------------------------------------------------------

    def twin(self) -> str:
        return f"{say.QUESTION} " + "\n".join("".join(sentence) for sentence in self.sentences())

    def sentences(self) -> list[list[str]]:
        """What the untouched picture says: of the query, then of all queries."""
        recording = self.recordings[self.shown]
        layer, query = recording.layers[self.layer], int(recording.at[self.row])
        scores, weights = row.rows_of(layer, recording.precision, self.row, query)
        seen = looked(scores, weights, recording.top_k)
        missed = seen["missed"]
        needle = self.needles.get(query)
        facts = {
            **seen,
            "missed": None if missed is None else (self.named(missed), float(weights[missed])),
            "needle": None if needle is None else (self.named(needle), bool(seen["chosen"][needle])),
        }
        chooser = say.who("indexer", recording.precision, 0)
        where = layer.name if len(self.recordings) == 1 else f"{self.shown}, {layer.name}"
        place = f"{where[0].upper()}{where[1:]}, all heads"
        counted = say.counted_words(len(recording.counted), len(recording.at), recording.tokens)
        at = int(np.flatnonzero(recording.budgets == recording.top_k)[0])
        mass, oracle = (float(layer.curves[name][0, at, 1]) for name in (f"indexer {recording.precision}", "oracle"))
        window = float(layer.curves["window"][0, at, 1]) if "window" in layer.curves else None
        return [
            say.query_parts(place, self.named(query), recording.tokens, recording.top_k, chooser, facts),
            say.all_parts(recording.top_k, counted, chooser, mass, oracle, window),
        ]

    def named(self, token: int) -> str:
        return say.named(token, None if self.text is None else self.text[token])

    def provenance(self, name: str) -> str:
        """Where the numbers come from, and what of a long text is kept."""
        recording = self.recordings[name]
        first = recording.layers[0]
        told = f"measured: {', '.join(filter(None, (self.run, name)))}, {count(recording.tokens)} tokens, "
        told += f"{first.q.shape[1]} heads of {first.q.shape[2]}, indexer {first.index_w.shape[1]} of "
        told += f"{first.index_k.shape[1]}, {recording.place}"
        if len(recording.at) < recording.tokens:
            told += f"; {count(len(recording.at))} of {count(recording.tokens)} queries are kept"
        if recording.moved is not None:
            told += f"; vectors kept in float16, which moves no weight by more than {significant(recording.moved)}"
        return f"{told}; rows are computed again from q, k and the indexer's q, k, w"

    def density(self, *, layer: int | None = None, k: int | None = None, cell: int | None = None) -> np.ndarray:
        """The share of pairs in each cell x cell square that the indexer chooses, for an Atlas to lay over its map.

        layer: of the recorded ones, the shown one when None; k: the budget, the trained one when None; cell: tokens
        along a side, so that there are at most 128 when None. Returns (side, side), of the kept queries.
        """
        from widgets.selector.measure import density

        recording = self.recordings[self.shown]
        cell = max(1, 2 ** int(np.ceil(np.log2(recording.tokens / 128)))) if cell is None else cell
        return density(recording.layers[self.layer if layer is None else layer], recording, cell, k)

    def atlas(self, *, layer: int | None = None, **given: Any) -> "Atlas":
        """The Atlas of one layer's attention, with the density of what the indexer chooses laid over it.

        layer: of the recorded ones, the shown one when None; given: mask, cursor, as in `Atlas.of`
        Raises ValueError where only some queries are kept: make the Atlas of all q and k, and `lay_over` the density.
        """
        from widgets.atlas import Atlas

        recording = self.recordings[self.shown]
        if len(recording.at) < recording.tokens:
            raise ValueError(
                f"{len(recording.at)} of {recording.tokens} queries are kept, and an Atlas needs all; make it with "
                "Atlas.of(q, k), then atlas.lay_over(eye.density(), name)."
            )
        one = recording.layers[self.layer if layer is None else layer]
        run = ", ".join(filter(None, (self.run, self.shown, one.name)))
        q, k = one.q.transpose(1, 0, 2).astype(np.float32), one.k.astype(np.float32)
        atlas = Atlas.of(q, k, tokens=self.text, scale=one.scale, run=run, **given)
        return atlas.lay_over(self.density(layer=layer), f"chosen by the indexer at k = {count(recording.top_k)}")

    def figure(self) -> "Figure":
        """The untouched picture as a matplotlib figure, for print."""
        from widgets.selector.figure import draw

        recording = self.recordings[self.shown]
        return draw(recording, self.layer, self.row, "".join(self.sentences()[0]), self.provenance(self.shown))

    # What travels -------------------------------------------------------------------------------------------------

    def _payload(self) -> dict[str, Any]:
        return {
            "models": [self._recording(name) for name in self.recordings],
            "shown": list(self.recordings).index(self.shown),
            "text": self.text,
            "needles": [list(pair) for pair in sorted(self.needles.items())],
            "layer": self.layer,
            "row": self.row,
        }

    def _recording(self, name: str) -> dict[str, Any]:
        recording = self.recordings[name]
        half = recording.layers[0].q.dtype == np.float16
        return {
            "name": name,
            "tokens": recording.tokens,
            "at": packed(recording.at),
            "top_k": recording.top_k,
            "budgets": packed(recording.budgets),
            "block": recording.block,
            "selectors": list(recording.selectors),
            "precision": recording.precision,
            "half": half,
            "layers": [layer_data(layer, half) for layer in recording.layers],
            "provenance": self.provenance(name),
        }


def layer_data(layer: "Layer", half: bool) -> dict[str, Any]:
    sides = {name: getattr(layer, name) for name in ("q", "k", "index_q", "index_k", "index_w")}
    return {
        "name": layer.name,
        "heads": layer.q.shape[1],
        "kv_heads": layer.k.shape[0],
        "d": layer.q.shape[2],
        "index_heads": layer.index_w.shape[1],
        "index_dim": layer.index_k.shape[1],
        "scale": layer.scale,
        **{name: packed(np.ascontiguousarray(side).view(np.uint8) if half else side) for name, side in sides.items()},
        "curves": {name: packed(curve.astype(np.float32)) for name, curve in layer.curves.items()},
    }


def looked(scores: np.ndarray, weights: np.ndarray, k: int) -> dict[str, Any]:
    """What the indexer's choice of one query keeps and misses, beside the oracle's and the window's."""
    m = len(scores)
    chosen, wanted = row.best(scores, k), row.best(weights, k)
    misses = np.flatnonzero(wanted & ~chosen)
    return {
        "visible": m,
        "chosen": chosen,
        "mass": min(1.0, float(weights[chosen].sum())),
        "missed": int(misses[np.argmax(weights[misses])]) if len(misses) else None,
        "misses": len(misses),
        "oracle": min(1.0, float(weights[wanted].sum())),
        "window": min(1.0, float(weights[row.latest(m, k)].sum())),
    }


def checked_needles(needles: Mapping[int, int] | None, tokens: int) -> dict[int, int]:
    """Query -> the key that it needs. Raises ValueError where one is not in the text, or comes after its query."""
    found = {int(query): int(key) for query, key in (needles or {}).items()}
    for query, key in found.items():
        if not 0 <= key <= query < tokens:
            raise ValueError(f"needles say that query {query} needs key {key}; give 0 <= key <= query < {tokens}.")
    return found


def far_needles(recording: "Recording", needles: Mapping[int, int]) -> list[int]:
    """The kept queries, by their place, that need a key which a window of the trained budget does not see."""
    far = {query for query, key in needles.items() if query - key >= recording.top_k}
    return [place for place, query in enumerate(recording.at.tolist()) if query in far]


def telling_layer(recording: "Recording", needles: Mapping[int, int]) -> int:
    """The layer to look at first: the one that pays the needles most, the last one without needles."""
    places = far_needles(recording, needles)[:64]
    if not places:
        return len(recording.layers) - 1

    def paid(layer: "Layer") -> float:
        queries = [int(recording.at[place]) for place in places]
        return sum(float(row.rows_of(layer, "fp32", place, query)[1][needles[query]])
                   for place, query in zip(places, queries, strict=True))  # fmt: skip

    return int(np.argmax([round(paid(layer), 6) for layer in recording.layers]))


def telling_query(recording: "Recording", layer: int, needles: Mapping[int, int]) -> int:
    """The place of the query to look at first: of the later half those with a far needle, or all; the typical one.

    Typical is one whose choice keeps what the middle of them keeps; of several, the last.
    """
    late = [place for place in recording.counted.tolist() if recording.at[place] >= recording.tokens // 2]
    places = sorted(set(far_needles(recording, needles)) & set(late)) or late or recording.counted.tolist()
    captured = recording.layers[layer].captured[places]
    away = np.round(np.abs(captured - np.median(captured)), 9)
    return int(places[np.flatnonzero(away == away.min())[-1]])
