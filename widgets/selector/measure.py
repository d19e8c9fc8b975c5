"""The Eye's recorder: what an indexer thinks of every key, what the attention pays it, and what every choice keeps.

One run of a model leaves, for each layer, the attention's q and k and the indexer's q, k and w. From these any row can
be computed again, so nothing of size N x N is kept. What needs all rows is computed here: the captured mass at every
budget, for every way to choose, as its middle and a band over the queries.

A short text keeps all its queries; of a long one QUERIES are kept, evenly spread, and of float16 what that does not
move. The random choice is a hash of query and key, so that a page draws the same.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from solutions import sparse
from solutions.sparse import SELECTORS, SparseAttention
from solutions.tiny import TinyTransformer
from widgets.selector.row import PRECISIONS

ALL = 1024  # tokens up to which every query is kept
QUERIES = 512  # of a longer text
EXACT = 512  # tokens up to which vectors are kept in float32
MOVED = 1e-3  # a weight may change by so much for the vectors to be kept in float16
CHUNK = 256  # tokens that pass a layer together
HISTORY = 128  # tokens up to which H2O is offered: each of its choices needs all that came before
BUDGETS_BEYOND = 8  # of a long text: budgets up to so many times the trained one
BAND = (0.1, 0.5, 0.9)  # of the queries


@dataclass(frozen=True)
class Layer:
    """What is kept of one layer, of its kept queries and all n tokens. name: "layer 1"

    q: (kept, heads, d); k: (kv_heads, n, d); index_q: (kept, index_heads, index_dim); index_k: (n, index_dim)
    index_w: (kept, index_heads), as it multiplies the scores; scale: of the attention's scores
    curves: name of a choice -> (1 + heads, budgets, 3), the mass that 10, 50 and 90 % of the queries stay under, as
        seen from all heads, then from each
    captured: (kept,) what the indexer keeps of each query at the trained budget, as seen from all heads
    """

    name: str
    q: np.ndarray
    k: np.ndarray
    index_q: np.ndarray
    index_k: np.ndarray
    index_w: np.ndarray
    scale: float
    curves: dict[str, np.ndarray]
    captured: np.ndarray


@dataclass(frozen=True)
class Recording:
    """What one model did with one text. budgets: the k at which masses are known; block: tokens of a block.

    moved: the largest change of a weight by keeping vectors in float16, None where they are float32
    """

    tokens: int
    at: np.ndarray
    top_k: int
    budgets: np.ndarray
    block: int
    selectors: tuple[str, ...]
    precision: str
    layers: tuple[Layer, ...]
    place: str
    moved: float | None

    @property
    def counted(self) -> np.ndarray:
        """Which kept queries the curves are about: those that see more keys than the trained budget."""
        return np.flatnonzero(self.at >= self.top_k)


def record(
    model: TinyTransformer,
    tokens: Any,
    *,
    layers: Sequence[int] | None = None,
    selectors: Sequence[str] | None = None,
    block: int = 4,
) -> Recording:
    """Run a model with sparse attention once over a text, and keep what the Eye looks at.

    tokens: (n,) or (1, n), more than the model's top_k; layers: which of them, those with sparse attention when None
    selectors: keys of SELECTORS to compare with, besides the indexer and the oracle; those that fit when None
    block: tokens of a block, where the choice is made by blocks
    Raises ValueError for a model without an indexer, and for anything else than the above.
    """
    tokens = torch.as_tensor(tokens).to(model.head.weight.device)
    tokens = tokens[None] if tokens.dim() == 1 else tokens
    if tokens.dim() != 2 or len(tokens) != 1:
        raise ValueError(f"tokens has shape {tuple(tokens.shape)}; give one text, (n,) or (1, n).")
    sparse_layers = [i for i, layer in enumerate(model.layers) if isinstance(layer.attention, SparseAttention)]
    if not sparse_layers or not set(layers or ()) <= set(sparse_layers):
        have = f"its layers {sparse_layers} have one" if sparse_layers else "it has none"
        raise ValueError(
            f"the Eye looks at layers with an indexer, and of this model {have}; "
            'see TinyTransformer.with_attention(("sparse",) * layers).'
        )
    wanted = sorted(sparse_layers if layers is None else layers)
    found = list(captured(model, tokens, wanted))
    first = model.layers[sparse_layers[0]].attention
    kinds = {kind: name for name, kind in PRECISIONS.items()}
    place = f"{model.head.weight.device}, {str(model.head.weight.dtype).removeprefix('torch.')}"
    names = [f"layer {number}" for number in wanted]
    return recording(found, names, first.top_k, selectors, block, kinds[first.indexer.precision], place)


@torch.no_grad()
def captured(model: TinyTransformer, tokens: Tensor, layers: Sequence[int]) -> Iterable[tuple[Tensor, ...]]:
    """q (heads, n, d), k (kv_heads, n, d), index q (index_heads, n, index_dim), index k (n, index_dim), w (n, heads).

    Chunk after chunk through each layer and its cache, with the layer's own choice: no N x N matrix is made, but for
    H2O, which looks at all queries at once.
    """
    training = model.training
    model.eval()
    try:
        x = model.embed(tokens)
        for number, layer in enumerate(model.layers):
            whole = getattr(layer.attention, "selector", None) == "H2O"
            cache, parts, out = None if whole else layer.attention.new_cache(), [], []
            for start in range(0, x.shape[1], x.shape[1] if whole else CHUNK):
                chunk = x[:, start : x.shape[1] if whole else start + CHUNK]
                position = torch.arange(start, start + chunk.shape[1], device=x.device)
                if number in layers:
                    attention, normed = layer.attention, layer.attention_norm(chunk)
                    q, k, _ = attention.project(normed)
                    index_q, index_k, w = attention.indexer(normed, position)
                    if attention.indexer.hadamard:  # products stay as they are, and rounding sees what the model rounds
                        index_q, index_k = sparse.hadamard(index_q), sparse.hadamard(index_k)
                    parts.append((attention.turn(q, position), attention.turn(k, position), index_q, index_k, w))
                out.append(layer(chunk, position, cache))
            x = torch.cat(out, dim=1)
            if parts:
                axes = (2, 2, 2, 1, 1)
                sides = zip(*parts, strict=True)
                yield tuple(torch.cat(side, axis)[0].float().cpu() for side, axis in zip(sides, axes, strict=True))
    finally:
        model.train(training)


def record_vectors(
    q: Any,
    k: Any,
    index_q: Any,
    index_k: Any,
    index_w: Any,
    *,
    top_k: int,
    selectors: Sequence[str] | None = None,
    block: int = 4,
) -> Recording:
    """Keep what the Eye looks at of one layer, given its vectors, after any rotation.

    q: (heads, n, d); k: (kv_heads, n, d); index_q: (index_heads, n, index_dim); index_k: (n, index_dim)
    index_w: (n, index_heads), with all scales in it; top_k: the budget that the layer is meant for
    Raises ValueError when they don't fit, and for nan or infinity.
    """
    given = {"q": q, "k": k, "index_q": index_q, "index_k": index_k, "index_w": index_w}
    wanted = {"q": 3, "k": 3, "index_q": 3, "index_k": 2, "index_w": 2}
    tensors = {name: torch.as_tensor(each).detach().cpu().float() for name, each in given.items()}
    for name, each in tensors.items():
        if each.dim() != wanted[name]:
            raise ValueError(f"{name} has shape {tuple(each.shape)}; give {wanted[name]} dimensions, without a batch.")
    q, k, index_q, index_k, index_w = tensors.values()
    lengths = {"q": q.shape[1], "k": k.shape[1], "index_q": index_q.shape[1], "index_k": len(index_k),
               "index_w": len(index_w)}  # fmt: skip
    sizes = (q.shape[2] == k.shape[2], index_q.shape[2] == index_k.shape[1], len(index_q) == index_w.shape[1])
    if len(set(lengths.values())) > 1 or not all(sizes) or len(q) % len(k):
        shapes = ", ".join(f"{name} {tuple(each.shape)}" for name, each in tensors.items())
        raise ValueError(
            f"these do not belong together: {shapes}; give q (heads, n, d), k (kv_heads, n, d), index_q (index_heads, "
            "n, index_dim), index_k (n, index_dim), index_w (n, index_heads)."
        )
    found = [(q, k, index_q, index_k, index_w)]
    return recording(found, ["the layer"], top_k, selectors, block, "fp32", "cpu, float32")


def recording(
    found: list[tuple[Tensor, ...]],
    layers: Sequence[str],
    top_k: int,
    selectors: Sequence[str] | None,
    block: int,
    precision: str,
    place: str,
) -> Recording:
    n = found[0][0].shape[1]
    if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k < n:
        raise ValueError(f"top_k is {top_k!r} for {n} tokens; give a whole number from 1 to {n - 1}.")
    if isinstance(block, bool) or not isinstance(block, int) or not 1 <= block <= n:
        raise ValueError(f"block is {block!r}; give a whole number from 1 to {n}.")
    for one in found:
        for name, each in zip(("q", "k", "index_q", "index_k", "index_w"), one, strict=True):
            if not each.isfinite().all():
                raise ValueError(f"{name} holds a nan or an infinity; give finite numbers.")
    names = offered(n) if selectors is None else tuple(selectors)
    for name in names:
        if name not in SELECTORS or (n > ALL and name not in offered(n)):
            raise ValueError(f"selector is {name!r}; give some of {', '.join(offered(n) if n > ALL else SELECTORS)}.")
    at = np.arange(n) if n <= ALL else np.unique(np.linspace(0, n - 1, QUERIES).round().astype(int))
    found, moved = (found, None) if n <= EXACT else halved(found, at)
    names = ("oracle", *(name for name in names if name != "oracle"))
    ladder = budgets(n, top_k)
    return Recording(
        tokens=n,
        at=at.astype(np.int32),
        top_k=top_k,
        budgets=ladder,
        block=block,
        selectors=names,
        precision=precision,
        layers=tuple(
            kept_layer(name, one, at, top_k, ladder, names, block, moved is not None, precision)
            for name, one in zip(layers, found, strict=True)
        ),
        place=place,
        moved=moved,
    )


def offered(n: int) -> tuple[str, ...]:
    """The ways to choose that a text so long is compared under."""
    late = ("H2O", "Quest", "MoBA", "NSA") if n > ALL else ("H2O",) if n > HISTORY else ()
    return tuple(name for name in SELECTORS if name not in late)


def budgets(n: int, top_k: int) -> np.ndarray:
    """The k at which masses are told: all up to 8, then four to an octave, two in a longer text; top_k among them."""
    steps = (4, 5, 6, 7) if n <= 256 else (4, 6)
    most = n if n <= ALL else min(n, BUDGETS_BEYOND * top_k)
    octaves = [step * 2**octave for octave in range(1, 40) for step in steps]
    return np.unique([k for k in (*range(1, 9), *octaves, top_k, most) if k <= most]).astype(np.int32)


def halved(found: list[tuple[Tensor, ...]], at: np.ndarray) -> tuple[list[tuple[Tensor, ...]], float | None]:
    """The vectors rounded to float16, and the largest change of a weight by it; as they were, where that is large."""
    rounded = [tuple(each.half().float() for each in one) for one in found]
    some = at[:: max(1, len(at) // 64)]
    moved = 0.0
    for before, after in zip(found, rounded, strict=True):
        for row in some:
            rows = [
                sparse.causal_probabilities(q[None, :, row : row + 1], k[None, :, : row + 1])
                for q, k, *_ in (before, after)
            ]
            moved = max(moved, (rows[0] - rows[1]).abs().max().item())
    return (rounded, moved) if moved <= MOVED else (found, None)


@torch.no_grad()
def kept_layer(
    name: str,
    one: tuple[Tensor, ...],
    at: np.ndarray,
    top_k: int,
    ladder: np.ndarray,
    selectors: Sequence[str],
    block: int,
    half: bool,
    precision: str,
) -> Layer:
    q, k, index_q, index_k, index_w = one
    masses: dict[str, list[Tensor]] = {}
    for rows, m in panels(q.shape[1], at):
        panel = Panel(
            q[None, :, rows].double(), k[None, :, :m].double(), index_q[None, :, rows].double(),
            index_k[None, :m].double(), index_w[None, rows].double(), block, ladder,
        )  # fmt: skip
        for choice, mass in panel.masses(selectors):
            masses.setdefault(choice, []).append(mass)
    joined = {choice: torch.cat(each, dim=1) for choice, each in masses.items()}
    counted = torch.from_numpy(np.flatnonzero(at >= top_k))
    levels = torch.tensor(BAND, dtype=torch.float64)
    curves = {
        choice: torch.quantile(mass[:, counted], levels, dim=1).permute(1, 2, 0).clamp(max=1).float().numpy()
        for choice, mass in joined.items()
    }
    place = int(np.flatnonzero(ladder == top_k)[0])
    kind = np.float16 if half else np.float32
    side = lambda each: np.ascontiguousarray(each.numpy().astype(kind))  # noqa: E731
    return Layer(
        name=name,
        q=side(q.transpose(0, 1)[at]),
        k=side(k),
        index_q=side(index_q.transpose(0, 1)[at]),
        index_k=side(index_k),
        index_w=side(index_w[at]),
        scale=1 / math.sqrt(q.shape[2]),
        curves=curves,
        captured=joined[variant("indexer", precision)][0, :, place].numpy(),
    )


def panels(n: int, at: np.ndarray) -> Iterable[tuple[slice, int]]:
    """The rows that are computed together, and the keys that they see: all of a short text, else one by one."""
    if len(at) == n:
        yield slice(0, n), n
    else:
        for row in at.tolist():
            yield slice(row, row + 1), row + 1


def variant(selector: str, precision: str = "fp32", blocks: bool = False) -> str:
    """The name of a choice among the curves: "indexer fp8 blocks", "oracle blocks", "window"."""
    of_indexer = f" {precision}" if selector == "indexer" else ""
    return f"{selector}{of_indexer}{' blocks' if blocks and selector in ('indexer', 'oracle') else ''}"


@dataclass(frozen=True)
class Panel:
    """Some queries, the last r of m tokens, in float64; with a batch of 1 before everything.

    q: (1, heads, r, d); k: (1, kv_heads, m, d); index_q, index_k, index_w likewise; ladder: budgets
    """

    q: Tensor
    k: Tensor
    index_q: Tensor
    index_k: Tensor
    index_w: Tensor
    block: int
    ladder: np.ndarray

    def masses(self, selectors: Sequence[str]) -> Iterable[tuple[str, Tensor]]:
        """The name of every choice, and the mass that it keeps: (1 + heads, r, budgets)."""
        probabilities = sparse.causal_probabilities(self.q, self.k)[0]
        seen = torch.cat([probabilities.mean(dim=0, keepdim=True), probabilities])
        del probabilities
        for precision, kind in PRECISIONS.items():
            vectors = self.index_q, self.index_k, self.index_w
            scores = (sparse.low_precision_scores(*vectors, kind) if kind else sparse.index_scores(*vectors))[0]
            yield variant("indexer", precision), self.ranked(scores, seen)
            yield variant("indexer", precision, True), self.by_blocks(self.of_blocks(scores, torch.amax), seen)
        own = [(self.ranked(one, one[None]), self.by_blocks(self.of_blocks(one, torch.sum), one[None])) for one in seen]
        for blocks, name in enumerate(("oracle", "oracle blocks")):
            yield name, torch.cat([each[blocks] for each in own])
        for name in selectors:
            if name == "random":
                yield name, self.ranked(self.hashed(), seen)
            elif name == "window":
                yield name, self.ranked(torch.arange(self.m, dtype=torch.float64).expand(self.r, -1), seen)
            elif name != "oracle":
                yield name, torch.stack([self.at_budget(SELECTORS[name], int(k), seen) for k in self.ladder], dim=-1)

    @property
    def r(self) -> int:
        return self.q.shape[2]

    @property
    def m(self) -> int:
        return self.k.shape[2]

    @property
    def position(self) -> Tensor:
        return torch.arange(self.m - self.r, self.m)

    def ranked(self, scores: Tensor, seen: Tensor) -> Tensor:
        """The mass of the best keys by their scores, (r, m), at each budget: each choice holds the smaller ones."""
        order = sparse.select_top_k(scores[None], min(int(self.ladder[-1]), self.m))[0]
        return self.summed(order, seen)[..., torch.from_numpy(np.minimum(self.ladder, self.m) - 1)]

    def summed(self, order: Tensor, seen: Tensor) -> Tensor:
        """Cumulative mass along an order of keys, (r, any), -1 for none: (views, r, any)."""
        order = order.expand(len(seen), -1, -1)
        return seen.gather(2, order.clamp(min=0)).masked_fill(order < 0, 0).cumsum(dim=2)

    def of_blocks(self, scores: Tensor, reduce: Callable) -> Tensor:
        """A score for each whole block, (r, blocks), -inf for those that don't end before the query's own block."""
        whole = sparse.pages(scores[..., None], self.block)[..., 0]
        past = (torch.arange(whole.shape[1]) + 1) * self.block <= (self.position // self.block * self.block)[:, None]
        scores = reduce(whole, dim=-1) if whole.shape[1] else whole.flatten(1)
        return scores.masked_fill(~past, -math.inf)

    def by_blocks(self, scores: Tensor, seen: Tensor) -> Tensor:
        """The mass of the own block and the best ones before it, k // block in all; see `row.best_blocks`."""
        own = self.position % self.block + 1
        near = self.summed(sparse.latest(self.r, self.m, own, self.block), seen)
        many = max(1, min(scores.shape[1], int(self.ladder[-1]) // self.block))
        order = sparse.select_top_k(scores[None], many, causal=False)[0] if scores.shape[1] else None
        if order is None:
            far = torch.zeros(*near.shape[:2], 1, dtype=near.dtype)
        else:
            inside = torch.where(order[..., None] >= 0, order[..., None] * self.block + torch.arange(self.block), -1)
            far = self.summed(inside.flatten(1), seen)[..., self.block - 1 :: self.block]
            far = torch.cat([torch.zeros_like(far[..., :1]), far], dim=-1)
        kept = [
            near[..., int(k) - 1] if k < self.block
            else near[..., -1] + far[..., min(int(k) // self.block - 1, far.shape[-1] - 1)]
            for k in self.ladder
        ]  # fmt: skip
        return torch.stack([self.all_of_few(each, int(k)) for each, k in zip(kept, self.ladder, strict=True)], dim=-1)

    def at_budget(self, choose: Callable, k: int, seen: Tensor) -> Tensor:
        """The mass of what a selector chooses at one budget: (views, r)."""
        order = choose(self.q, self.k, min(k, self.m))[0]
        return self.all_of_few(self.summed(order, seen)[..., -1], k)

    def all_of_few(self, mass: Tensor, k: int) -> Tensor:
        """A query that sees no more than k keys takes them all, whatever a block leaves over."""
        return torch.where(self.position < k, 1.0, mass)

    def hashed(self) -> Tensor:
        """A number for each pair that looks random: the same in row.js."""
        return torch.from_numpy(hashed(self.position.numpy(), np.arange(self.m)).astype(np.float64))


def hashed(query: np.ndarray, key: np.ndarray) -> np.ndarray:
    """A whole number below 2^32 for each pair (query, key) that looks random: (queries, keys)."""
    left, right = query.astype(np.uint32)[:, None], key.astype(np.uint32)[None, :]
    x = left * np.uint32(0x9E3779B1) + right * np.uint32(0x85EBCA77)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return x ^ (x >> np.uint32(16))


def density(layer: Layer, recording: Recording, cell: int, k: int | None = None) -> np.ndarray:
    """The share of the pairs in each cell x cell square that the indexer chooses: (side, side), of kept queries.

    k: the budget, the trained one when None. A square without a kept query, or without a pair, holds 0.
    """
    k = recording.top_k if k is None else k
    side = math.ceil(recording.tokens / cell)
    chosen, pairs = np.zeros((side, side)), np.zeros((side, side))
    index_k = torch.from_numpy(layer.index_k.astype(np.float64))[None]
    for row, query in enumerate(recording.at.tolist()):
        index_q, index_w = (torch.from_numpy(x[row].astype(np.float64)) for x in (layer.index_q, layer.index_w))
        kind = PRECISIONS[recording.precision]
        vectors = index_q[None, :, None], index_k[:, : query + 1], index_w[None, None]
        scores = sparse.low_precision_scores(*vectors, kind) if kind else sparse.index_scores(*vectors)
        order = sparse.select_top_k(scores, min(k, query + 1))[0, 0].numpy()
        chosen[query // cell] += np.bincount(order // cell, minlength=side)
        pairs[query // cell] += np.bincount(np.arange(query + 1) // cell, minlength=side)
    return chosen / np.maximum(pairs, 1)
