"""The Attention Atlas: where does the mass go, and how much of it does this mask keep?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from widgets.atlas import headmap, say
from widgets.atlas.mask import Allowed, Mask, band_reach, reach_of
from widgets.kit.base import Instrument, packed
from widgets.kit.format import count, plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHUNK = 256  # tokens of q, of k or of L that travel together
WHOLE_BYTES = 4_500_000  # q, k and L of one head of 8,192 tokens with head_dim 64 still travel whole
CANDIDATES = 8  # heavy keys that may be made global where q and k are not all in the page, and sinks likewise
RECORDED = 3  # places, beside the cursor, that are exact in a page without a kernel
NOT_RECORDED: dict[str, list[Any]] = {"queries": [], "keys": [], "q": [], "l": [], "k": [], "places": []}
DEEPEST = 3  # of the pyramid's levels below the finest stored one, the page recomputes this many from q and k


@dataclass
class Head:
    """One map of an Atlas and what it is called."""

    map: headmap.HeadMap
    layer: int | None
    head: int
    run: str = ""

    @property
    def name(self) -> str:
        return f"head {self.head}" if self.layer is None else f"layer {self.layer} head {self.head}"


class Atlas(Instrument):
    """Maps of attention at any length, exact to the cell. Make one with `of`, `from_model` or `beside`.

    heads: the maps, as measured; `atlas.heads[0].map.kept(Mask(window=64))` computes without a page
    mask: what is laid over them at first. reader: what the reader chose (head, beside, mode, mask, cursor).
    """

    view = Path(__file__).with_name("view.js")

    def __init__(
        self,
        heads: Sequence[Head],
        *,
        text: Sequence[str] | None = None,
        mask: Mask | None = None,
        cursor: tuple[int, int] | None = None,
        shown: int = 0,
        beside: int | None = None,
    ):
        first = heads[shown].map
        self.heads = list(heads)
        self.runs = list(dict.fromkeys(head.run for head in heads))
        self.text = text
        self.mask = (default_mask(first) if mask is None else mask).check(first.tokens, first.allowed.causal)
        self.shown, self.second, self.overlay = shown, beside, ""
        self.sink = max(leading_keys(head.map) for head in heads)
        self.cursor = checked_cursor(cursor, first.tokens) or telling_cell(first, self.mask, self.sink)
        super().__init__(data=self._payload())
        self.on_msg(self._answer)

    @classmethod
    def of(
        cls,
        q: Any,
        k: Any,
        *,
        causal: bool = True,
        tokens: Sequence[str] | None = None,
        window: int | None = None,
        sinks: int = 0,
        scale: float | None = None,
        mask: Mask | None = None,
        cursor: tuple[int, int] | None = None,
        cell: int | None = None,
        run: str = "",
    ) -> "Atlas":
        """The Atlas of one layer, from the queries and keys of a run (after any rotation).

        q: (tokens, head_dim), (heads, tokens, head_dim) or (1, heads, tokens, head_dim); k: the same, or fewer heads
            that divide q's: head h reads key head h // (heads // kv_heads)
        causal, window, sinks: what the attention itself may look at, as in `sliding_window_attention`
        tokens: the text of each token, if it has one; scale: of the scores, 1 / sqrt(head_dim) when None
        mask: what to lay over it at first, a window and a sink when None; cursor: the (query, key) looked at first
        cell: tokens along a side of the finest stored squares, a power of two; chosen by `cell_size` when None
        run: where q and k come from, for the provenance line
        Raises ValueError for fewer than 2 tokens, q and k of different lengths, heads that do not divide, a nan or an
        infinity (saying where), a pattern that does not fit, and for more than this machine's memory holds.
        """
        allowed = Allowed(causal, window, sinks)
        return cls.of_layers(
            [(None, q, k, allowed, scale)], tokens=tokens, mask=mask, cursor=cursor, cell=cell, run=run
        )

    @classmethod
    def from_model(
        cls,
        model: Any,
        token_ids: Any,
        *,
        tokens: Sequence[str] | None = None,
        layers: Sequence[int] | None = None,
        heads: Sequence[int] | None = None,
        mask: Mask | None = None,
        cursor: tuple[int, int] | None = None,
        cell: int | None = None,
        run: str = "",
    ) -> "Atlas":
        """The Atlas of a model, from one run over one sequence.

        model: a `TinyTransformer`, or any module that computes attention with `scaled_dot_product_attention`, as
            Hugging Face's transformers do; token_ids: (tokens,) or (1, tokens)
        layers, heads: which of them, by number; all when None
        Otherwise as `of`. Raises ValueError, also, for a model whose attention cannot be seen, and for a mask that is
        neither full, causal, nor a window with sinks.
        """
        from widgets.atlas.capture import layers_of

        found = {layer.layer: layer for layer in layers_of(model, token_ids)}
        for layer in layers or ():
            if layer not in found:
                raise ValueError(f"layer {layer} was not seen; {type(model).__name__} has layers {sorted(found)}.")
        chosen = [found[layer] for layer in (found if layers is None else layers)]
        parts = [(layer.layer, layer.q, layer.k, layer.allowed, layer.scale) for layer in chosen]
        run = run or type(model).__name__
        return cls.of_layers(parts, heads=heads, tokens=tokens, mask=mask, cursor=cursor, cell=cell, run=run)

    @classmethod
    def of_layers(
        cls,
        layers: Sequence[tuple],
        *,
        heads: Sequence[int] | None = None,
        tokens: Sequence[str] | None = None,
        mask: Mask | None = None,
        cursor: tuple[int, int] | None = None,
        cell: int | None = None,
        run: str = "",
    ) -> "Atlas":
        """The Atlas of several layers, each (number, q, k, allowed, scale); otherwise as `of`."""
        from widgets.atlas import measure  # torch, which a picture does not need

        parts = [
            (number, head, *pair, allowed, scale)
            for number, q, k, allowed, scale in layers
            for head, pair in measure.head_pairs(q, k, heads)
        ]
        length, head_dim = parts[0][2].shape
        text = checked_text(tokens, length)
        maps = len(parts)
        cell = measure.checked_cell(cell, length) or headmap.cell_size(length, maps)
        measure.check_memory(length, head_dim, maps, cell)
        block = headmap.block_size(length, maps)
        found = []
        for number, head, q, k, allowed, scale in parts:
            allowed = allowed.check(length)
            scale = measure.scaling(scale, head_dim)
            far = say.near_by(length)
            found.append(
                Head(measure.map_head(q, k, allowed, scale=scale, cell=cell, block=block, far=far), number, head, run)
            )
        return cls(found, text=text, mask=mask, cursor=cursor)

    @classmethod
    def beside(cls, first: "Atlas", second: "Atlas") -> "Atlas":
        """Two Atlases in one: side by side, with one place and one scale, or their difference.

        Raises ValueError unless both hold the same number of tokens and are causal alike.
        """
        one, other = first.heads[0].map, second.heads[0].map
        if (one.tokens, one.allowed.causal, one.cell) != (other.tokens, other.allowed.causal, other.cell):
            raise ValueError(
                f"the maps differ: {one.tokens} and {other.tokens} tokens, causal {one.allowed.causal} and "
                f"{other.allowed.causal}, squares of {one.cell} and {other.cell}; beside each other they must agree."
            )
        second_shown = len(first.heads) + second.shown
        return cls(
            [*first.heads, *second.heads],
            text=first.text,
            mask=first.mask,
            cursor=first.cursor,
            shown=first.shown,
            beside=second_shown,
        )

    def lay_over(self, share: np.ndarray, name: str) -> "Atlas":
        """Lay something over the maps, as dots whose area is the share of each square's pairs; return the Atlas.

        share: (side, side), 0 to 1, row by row of queries, for squares of a power of two of tokens, side of them
        name: what the share is of, such as "chosen by the indexer at k = 8". Raises ValueError for what does not fit.
        """
        share, tokens = np.asarray(share, float), self.heads[0].map.tokens
        side = len(share) if share.ndim == 2 else 0
        cell = next((2**i for i in range(30) if math.ceil(tokens / 2**i) == side), None)
        if cell is None or share.shape != (side, side) or not (share.min() >= 0 and share.max() <= 1):
            raise ValueError(
                f"share has shape {share.shape}; give shares from 0 to 1 of squares of 1, 2, 4, ... of the {tokens} "
                "tokens, (side, side)."
            )
        coded = np.ceil(255 * share).astype(np.uint8)  # a little is not nothing
        self.overlay = name
        self.data = {**self.data, "overlay": {"name": name, "side": side, "cell": cell, "share": packed(coded)}}
        return self

    def name(self, head: Head) -> str:
        """What a head is called here: with its run, where there are several."""
        return f"{head.run}, {head.name}" if len(self.runs) > 1 else head.name

    # What it says -------------------------------------------------------------------------------------------------

    def twin(self) -> str:
        over = f" Dots: {self.overlay}." if self.overlay else ""
        return f"{say.QUESTION} {say.side_by_side(self.sentences())}{over}"

    def sentences(self) -> list[list[str]]:
        """What the untouched picture says."""
        head = self.heads[self.shown]
        one, causal = head.map, head.map.allowed.causal
        query, key = self.cursor
        near = say.near_by(one.tokens)
        found = say.facts(one.row(query), query, self.sink, near, causal)
        name = self.name(head)
        name = name[0].upper() + name[1:]
        kept, pairs = one.kept(self.mask), one.pairs(self.mask)
        told = [
            say.query_parts(name, query, key, float(one.row(query)[key]), found, self.sink, near, causal, self.text),
            say.mask_parts(self.mask, causal, one.block, kept, pairs),
        ]
        if self.second is not None:
            other = self.heads[self.second]
            told.append(say.beside_parts(self.name(other), other.map.kept(self.mask)))
        return told

    def figure(self) -> "Figure":
        """The untouched picture as a matplotlib figure, for print."""
        from widgets.atlas.figure import draw

        heads = [self.heads[at] for at in (self.shown, self.second) if at is not None]
        shown = {self.name(head): head.map for head in heads}
        bits = floor_bits(heads[0].map.tokens)
        return draw(shown, self.mask, self.cursor, bits, "".join(self.sentences()[1]), self.provenance())

    def provenance(self) -> str:
        """What was measured, without the aggregate, which depends on the zoom."""
        head = self.heads[self.shown]
        run = " and ".join(filter(None, self.runs)) + ", " if any(self.runs) else ""
        return (
            f"measured: {run}{count(head.map.tokens)} tokens, {plural(len(self.heads), 'head')}, "
            f"head_dim {head.map.q.shape[1]}, {head.map.origin}; kept = sum of the weights in the mask / tokens"
        )

    # What travels -------------------------------------------------------------------------------------------------

    def _payload(self) -> dict[str, Any]:
        one = self.heads[self.shown].map
        causal = one.allowed.causal
        own = [] if self.mask.window is None else [band_reach(self.mask.window, causal)]
        reaches = headmap.reaches(one.tokens, causal, own)
        order = [self.shown, self.second, *range(len(self.heads))]
        budget = WHOLE_BYTES
        whole = set()
        for index in dict.fromkeys(at for at in order if at is not None):
            head = self.heads[index].map
            budget -= head.q.nbytes + head.k.nbytes + head.log_sum_exp.nbytes
            if budget < 0:
                break
            whole.add(index)
        bits = floor_bits(one.tokens)
        query, key = self.cursor
        lines = self._line_tokens()
        return {
            "tokens": one.tokens,
            "head_dim": one.q.shape[1],
            "causal": causal,
            "text": list(self.text) if self.text else None,
            "bits": bits,
            "cell": one.cell,
            "block": one.block,
            "chunk": CHUNK,
            "deepest": DEEPEST,
            "sink": self.sink,
            "near": say.near_by(one.tokens),
            "reaches": packed(reaches.astype(np.int32)),
            "heads": [
                self._head(index, None if index in whole else lines, reaches, bits) for index in range(len(self.heads))
            ],
            "shown": self.shown,
            "beside": self.second,
            "mask": mask_data(self.mask),
            "cursor": {"query": query, "key": key},
            "provenance": self.provenance(),
        }

    def _line_tokens(self) -> list[int]:
        """The tokens whose rows and columns travel as sums, where q and k do not: sinks, and each head's verticals."""
        heavy = [heavy_keys(head.map, self.sink) for head in self.heads]
        verticals = list(dict.fromkeys(key for rank in zip(*heavy, strict=False) for key in rank))[: 2 * CANDIDATES]
        sinks = range(min(max(CANDIDATES, self.mask.sinks), self.heads[0].map.tokens))
        return sorted({*sinks, *verticals, *self.mask.global_tokens})

    def _head(self, index: int, lines: list[int] | None, reaches: np.ndarray, bits: int) -> dict[str, Any]:
        head, one = self.heads[index], self.heads[index].map
        near = say.near_by(one.tokens)
        heavy = heavy_keys(one, self.sink)
        data = {
            "name": self.name(head),
            "run": head.run,
            "row": self.name(head).rsplit("head", 1)[0].strip(" ,"),
            "scale": one.scale,
            "window": one.allowed.window,
            "sinks": one.allowed.sinks,
            "largest": packed(squares(coded(one.largest, bits), one.allowed.causal)),
            "mean": packed(squares(coded(one.mass / one.cell**2, bits), one.allowed.causal)),
            "edge": {name: packed(coded(strip, bits)) for name, strip in without_sink(one, self.sink).items()},
            "near": packed(one.near[reaches]),
            "blocks": packed(squares(one.blocks, one.allowed.causal)),
            "first": float(one.read[: self.sink].sum() / one.tokens),
            "heavy": heavy,
            "whole": lines is None,
        }
        if lines is None:
            return {**data, "q": packed(one.q), "k": packed(one.k), "l": packed(one.log_sum_exp)}
        query, key = self.cursor
        found = say.facts(one.row(query), query, self.sink, near, one.allowed.causal)
        data["heavy"] = [key for key in heavy if key in lines]
        places = recorded(one, (query, key), heavy) if index in (self.shown, self.second) else NOT_RECORDED
        return {**data, **places, "facts": found, "lines": self._lines(one, lines, reaches)}

    def _lines(self, one: headmap.HeadMap, at: list[int], reaches: np.ndarray) -> dict[str, Any]:
        """Whole rows and columns of some tokens, as sums: what a mask's sinks and global tokens need."""
        mass = headmap.Mass(one)
        spans = range(math.ceil(one.tokens / one.block))
        table = {
            "column": [[mass.column(key, reach) for reach in (-1, *reaches)] for key in at],
            "row": [[mass.row(query, reach) for reach in (-1, *reaches)] for query in at],
            "column_part": [[mass.column_part(key, span) for span in spans] for key in at],
            "row_part": [[mass.row_part(query, span) for span in spans] for query in at],
            "pair": [[mass.pair(query, key) for key in at] for query in at],
        }
        return {"at": at, **{name: packed(np.array(values, np.float32)) for name, values in table.items()}}

    # What a running kernel adds -----------------------------------------------------------------------------------

    def _answer(self, _widget: object, message: dict, _buffers: list) -> None:
        """Answer the page, which asks for chunks [head, "q" or "k", number] (L comes with q) and for facts of a row."""
        if message.get("asks") == "hello":
            self.send({"answers": "hello"})
            return
        buffers = []
        for head, side, number in message["chunks"]:
            one = self.heads[head].map
            span = slice(number * CHUNK, (number + 1) * CHUNK)
            for array in (one.q, one.log_sum_exp) if side == "q" else (one.k,):
                buffers.append(np.ascontiguousarray(array[span]).tobytes())
        facts = None
        if message["facts"]:
            index, query = message["facts"]
            one = self.heads[index].map
            found = say.facts(one.row(query), query, self.sink, say.near_by(one.tokens), one.allowed.causal)
            facts = {"head": index, "query": query, **found}
        self.send({"answers": "more", "chunks": message["chunks"], "facts": facts}, buffers)


def default_mask(one: headmap.HeadMap) -> Mask:
    """A window of 128, less in a short sequence, and one sink."""
    window = min(128, max(2, 2 ** round(math.log2(one.tokens / 16))))
    return Mask(window=window, sinks=1)


def checked_cursor(cursor: tuple[int, int] | None, tokens: int) -> tuple[int, int] | None:
    if cursor is None:
        return None
    if len(cursor) != 2 or not all(0 <= at < tokens for at in cursor):
        raise ValueError(f"cursor is {cursor}; give (query, key), both from 0 to {tokens - 1}.")
    return int(cursor[0]), int(cursor[1])


def checked_text(tokens: Sequence[str] | None, length: int) -> list[str] | None:
    if tokens is None:
        return None
    text = [str(token) for token in tokens]
    if len(text) != length:
        raise ValueError(f"tokens has {len(text)} texts for {length} tokens; give one for each.")
    return text


def leading_keys(one: headmap.HeadMap) -> int:
    """How many of the first keys act as a sink: up to four in a row; at least one.

    A sink holds a 25th of all mass, and three times what it would get from queries that look everywhere alike.
    """
    seen = np.arange(1, one.tokens + 1) if one.allowed.causal else np.full(one.tokens, one.tokens)
    if one.allowed.window is not None:
        seen = np.minimum(seen, one.allowed.window + one.allowed.sinks)
    alike = np.cumsum((1 / seen)[::-1])[::-1][:4] if one.allowed.causal else np.ones(4)
    heavy = one.read[:4] >= np.maximum(0.04 * one.tokens, 3 * alike[: one.tokens])
    return max(1, len(heavy) if heavy.all() else int(heavy.argmin()))


def heavy_keys(one: headmap.HeadMap, sink: int) -> list[int]:
    """The keys, sinks apart, that are read most from far away: first the heaviest. Verticals, if there are any."""
    far = one.read_far.copy()
    far[:sink] = 0
    order = np.argsort(-far, kind="stable")[:CANDIDATES]
    return [int(key) for key in order if far[key] > 1e-6]


def telling_cell(one: headmap.HeadMap, mask: Mask, sink: int) -> tuple[int, int]:
    """The cell to look at first: the heaviest vertical, where it is read most from outside the window."""
    heavy = heavy_keys(one, sink)
    if not heavy:
        return one.tokens - 1, max(one.tokens - 2, 0)
    key = heavy[0]
    distance = np.abs(np.arange(one.tokens) - key)
    reach = max(reach_of(mask.window, one.allowed.causal) or 0, say.near_by(one.tokens))
    late = np.arange(one.tokens) >= one.tokens // 2
    query = int(np.where(late & (distance > reach), one.column(key), -1).argmax())
    found = say.facts(one.row(query), query, sink, say.near_by(one.tokens), one.allowed.causal)
    return query, key if found["key"] < 0 else found["key"]


def floor_bits(tokens: int) -> int:
    """The scale ends at 2^-bits, three steps below the weight of a row that looks everywhere alike."""
    return math.ceil(math.log2(tokens)) + 3


def coded(weights: np.ndarray, bits: int) -> np.ndarray:
    """A weight as a byte: 255 is 1, each step a factor of 2^(bits / 255), 0 is 2^-bits or less."""
    log2 = np.log2(np.maximum(weights, 2.0**-bits))
    return np.floor(255 * (1 + np.minimum(log2, 0) / bits) + 0.5).astype(np.uint8)


def squares(values: np.ndarray, causal: bool) -> np.ndarray:
    """(side, side) as it travels: row by row; of a causal map only what is on or below the diagonal."""
    return values[np.tri(len(values), dtype=bool)] if causal else values.reshape(-1)


def without_sink(one: headmap.HeadMap, sink: int) -> dict[str, np.ndarray]:
    """Of the column of squares in which the sink ends: largest and mean without it, for the switch that hides it."""
    side, cell = len(one.mass), one.cell
    start = sink // cell * cell
    keys = np.arange(start, min(start + cell, one.tokens))
    weights = np.zeros((side * cell, len(keys)))
    for panel in range(0, one.tokens, 4096):
        queries = np.arange(panel, min(panel + 4096, one.tokens))
        weights[queries] = one.tile(queries, keys) * (keys >= sink)
    rows = weights.reshape(side, -1)
    return {"largest": rows.max(1), "mean": rows.sum(1) / cell**2}


def recorded(one: headmap.HeadMap, cursor: tuple[int, int], heavy: Sequence[int]) -> dict[str, Any]:
    """Chunks of q, k and L for a few places; where a chunk of queries meets a chunk of keys, the page is exact."""
    query, key = cursor
    last = one.tokens - 1
    rows = sorted({query // CHUNK, last // CHUNK})
    columns = sorted({0, *rows, key // CHUNK, *(at // CHUNK for at in heavy[:RECORDED])})

    def parts(array: np.ndarray, chunks: list[int]) -> list[dict[str, Any]]:
        return [packed(array[chunk * CHUNK : (chunk + 1) * CHUNK]) for chunk in chunks]

    places = [(query, key), (last, 0), (last, last), *((last, at) for at in heavy[:RECORDED])]
    return {
        "queries": rows,
        "keys": columns,
        "q": parts(one.q, rows),
        "l": parts(one.log_sum_exp, rows),
        "k": parts(one.k, columns),
        "places": [list(place) for place in dict.fromkeys(places)],
    }


def mask_data(mask: Mask) -> dict[str, Any]:
    return {
        "window": mask.window,
        "sinks": mask.sinks,
        "global_tokens": sorted(set(mask.global_tokens)),
        "blocks": mask.blocks,
    }
