"""Sparse attention as a module of the course's small Transformer, with its indexer, its cache and its losses."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from solutions.quadratic import KVCache, causal_mask
from solutions.sparse.few_bits import LARGEST, low_precision_scores
from solutions.sparse.indexer import (
    causal_probabilities,
    chosen_probabilities,
    dense_loss,
    gathered_attention,
    index_scores,
    index_target,
    select_top_k,
    sparse_loss,
)
from solutions.sparse.selectors import SELECTORS, captured_mass
from solutions.tiny import Attention, Config, TinyTransformer, rope_frequencies, rotate


def rotate_interleaved(x: Tensor, position: Tensor, frequencies: Tensor) -> Tensor:
    """`rotate` in the other layout: entry 2i is paired with entry 2i + 1. The bug, where weights expect half-split."""
    turned = 2 * len(frequencies)
    pairs = x[..., :turned].unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2)
    pairs = rotate(pairs, position, frequencies).unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2)
    return torch.cat([pairs, x[..., turned:]], dim=-1)


LAYOUTS = {"half-split": rotate, "interleaved": rotate_interleaved}


class Indexer(nn.Module):
    """The lightning indexer: what it needs of the tokens, and what it thinks of every key.

    width: of x; heads, index_dim: its own, few and small
    rope_base, rope_share: the first share of each vector turns with its position; layout: a key of LAYOUTS
    precision: None, "e4m3" or "e2m1", of queries and keys while not training; hadamard: rotate them before
    """

    def __init__(
        self,
        width: int,
        heads: int = 4,
        index_dim: int = 16,
        *,
        rope_base: float | None = 10_000.0,
        rope_share: float = 0.5,
        layout: str = "half-split",
        precision: str | None = None,
        hadamard: bool = False,
    ):
        super().__init__()
        if layout not in LAYOUTS:
            raise ValueError(f"layout is {layout!r}; give one of {', '.join(LAYOUTS)}.")
        if precision is not None and precision not in LARGEST:
            raise ValueError(f"precision is {precision!r}; give one of {', '.join(LARGEST)}, or None.")
        self.heads, self.turn, self.precision, self.hadamard = heads, LAYOUTS[layout], precision, hadamard
        self.to_q = nn.Linear(width, heads * index_dim, bias=False)
        self.to_k = nn.Linear(width, index_dim, bias=False)
        self.to_w = nn.Linear(width, heads, bias=False)
        self.key_norm = nn.LayerNorm(index_dim, eps=1e-6)
        self.weight_scale = (heads * index_dim) ** -0.5
        self.register_buffer("frequencies", rope_frequencies(int(index_dim * rope_share), rope_base), persistent=False)

    def forward(self, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q (batch, heads, n, index_dim), k (batch, n, index_dim) and w (batch, n, heads) of x, (batch, n, width).

        x is detached: what the indexer learns must not change the model below it.
        """
        x = x.detach()
        q = self.to_q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k = self.key_norm(self.to_k(x))
        turn = lambda heads: self.turn(heads, position, self.frequencies)  # noqa: E731
        return turn(q), turn(k), self.to_w(x) * self.weight_scale

    def scores(self, q: Tensor, k: Tensor, w: Tensor) -> Tensor:
        """(batch, n, m), from queries, keys and weights that `forward` made."""
        if self.precision is None or self.training:  # rounding has no gradient
            return index_scores(q, k, w)
        return low_precision_scores(q, k, w, self.precision, self.hadamard)


class SparseCache(KVCache):
    """A KV cache that also keeps the indexer's keys: nothing is forgotten, and a little is added."""

    def __init__(self):
        super().__init__()
        self.index_k = None

    def append_index(self, index_k: Tensor) -> Tensor:
        """Add the indexer's keys of a chunk, (batch, chunk, index_dim); return all so far."""
        self.index_k = index_k if self.index_k is None else torch.cat([self.index_k, index_k], dim=1)
        return self.index_k

    @property
    def nbytes(self) -> int:
        return super().nbytes + (0 if self.index_k is None else self.index_k.nbytes)


@dataclass(frozen=True)
class Selection:
    """What one layer chose for every query, beside what it thought of the keys and what dense attention pays them.

    scores: (batch, n, n), of the indexer, -inf for the future
    probabilities: (batch, heads, n, n), of dense causal attention with this layer's own queries and keys
    indices: (batch, n, top_k), the choice, -1 for no key
    """

    scores: Tensor
    probabilities: Tensor
    indices: Tensor

    @property
    def target(self) -> Tensor:
        """(batch, n, n), the attention of all heads, in rows that sum to 1."""
        return index_target(self.probabilities)

    @property
    def best(self) -> Tensor:
        """(batch, n, top_k), the oracle's choice at this budget."""
        return select_top_k(self.target, self.indices.shape[-1])

    @property
    def mass(self) -> Tensor:
        """(batch, n), the share of the attention that the choice keeps."""
        return captured_mass(self.target, self.indices)

    @property
    def best_mass(self) -> Tensor:
        """(batch, n), the share that the oracle keeps."""
        return captured_mass(self.target, self.best)

    def mass_at(self, budgets: range) -> tuple[Tensor, Tensor]:
        """The mass that the indexer and the oracle keep at each budget, both (batch, n, len(budgets))."""
        ranked = select_top_k(self.scores, self.scores.shape[-1])
        best = self.target.sort(dim=-1, descending=True).values.cumsum(dim=-1)
        kept = self.target.gather(-1, ranked.clamp(min=0)).masked_fill(ranked < 0, 0).cumsum(dim=-1)
        at = torch.tensor([budget - 1 for budget in budgets])
        return kept[..., at], best[..., at]


class SparseAttention(Attention):
    """Attention to the top_k keys that an indexer chooses, or another selector.

    selector: "indexer"; a key of SELECTORS, to compare with; "all" for dense attention, as in the warm-up
    index_heads, index_dim, index: of the `Indexer`, index holding its other settings
    While training, a forward pass leaves the indexer's loss in `index_loss`: with "all" that of the warm-up, with
    "indexer" that of the sparse stage. Else it is None.
    """

    def __init__(
        self,
        config: Config,
        layer: int,
        top_k: int = 8,
        selector: str = "indexer",
        index_heads: int = 4,
        index_dim: int = 16,
        index: dict | None = None,
    ):
        super().__init__(config, layer)
        if not self.causal:
            raise ValueError("the indexer chooses among the past; give a config with causal=True.")
        if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
            raise ValueError(f"top_k is {top_k!r}; give a whole number of 1 or more.")
        if selector not in ("indexer", "all", *SELECTORS):
            raise ValueError(f"selector is {selector!r}; give indexer, all, {', '.join(SELECTORS)}.")
        self.top_k, self.selector, self.index_loss = top_k, selector, None
        self.indexer = Indexer(config.width, index_heads, index_dim, **index or {})

    def forward(self, x: Tensor, position: Tensor, cache: SparseCache | None = None) -> Tensor:
        q, k, v = self.project(x)
        q, k = self.turn(q, position), self.turn(k, position)
        index_q, index_k, index_w = self.indexer(x, position)
        if cache is not None:
            k, v = cache.append(k, v)
            index_k = cache.append_index(index_k)
        scores = self.indexer.scores(index_q, index_k, index_w)
        if self.selector == "all":
            self.index_loss = dense_loss(scores, causal_probabilities(q, k)) if self.training else None
            return self.join(self.look(q, k, v))
        indices = self.choose(scores, q, k)
        learns = self.training and self.selector == "indexer"
        self.index_loss = sparse_loss(scores, chosen_probabilities(q, k, indices), indices) if learns else None
        return self.join(gathered_attention(q, k, v, indices))

    def choose(self, scores: Tensor, q: Tensor, k: Tensor) -> Tensor:
        """The keys of each query, (batch, n, top_k), from index scores (batch, n, m) and rotated queries and keys."""
        if self.selector in SELECTORS:
            return SELECTORS[self.selector](q.detach(), k.detach(), self.top_k)
        return select_top_k(scores.detach(), k.shape[2] if self.selector == "all" else self.top_k)

    def selection(self, x: Tensor, position: Tensor) -> Selection:
        """What the layer chooses for x, (batch, n, width), normalised as in the model; with all that led to it."""
        q, k, _ = self.project(x)
        q, k = self.turn(q, position), self.turn(k, position)
        scores = self.indexer.scores(*self.indexer(x, position))
        hidden = ~causal_mask(*scores.shape[-2:], device=scores.device)
        return Selection(scores.masked_fill(hidden, -math.inf), causal_probabilities(q, k), self.choose(scores, q, k))

    def new_cache(self) -> SparseCache:
        return SparseCache()


@torch.no_grad()
def selections(model: TinyTransformer, tokens: Tensor) -> Iterator[Selection]:
    """What every layer of a model with sparse attention chooses for tokens (batch, n), layer after layer.

    The x that a layer sees has passed the layers before it, with their own choices.
    """
    x = model.embed(tokens)
    position = torch.arange(tokens.shape[1], device=tokens.device)
    for layer in model.layers:
        yield layer.attention.selection(layer.attention_norm(x), position)
        x = layer(x, position)


def indexer_parameters(model: TinyTransformer) -> list[nn.Parameter]:
    """The weights that learn from the divergence, and from nothing else."""
    return [weight for name, weight in model.named_parameters() if ".indexer." in name]


def model_parameters(model: TinyTransformer) -> list[nn.Parameter]:
    """The weights that learn from the task, and from nothing else."""
    return [weight for name, weight in model.named_parameters() if ".indexer." not in name]


def index_loss(model: TinyTransformer) -> Tensor:
    """What the indexers of all layers lost in the last forward pass of a model that is training, added up, in nats."""
    losses = [layer.attention.index_loss for layer in model.layers]
    if any(loss is None for loss in losses):
        raise ValueError("there is no index loss; call model.train() before the pass, with selector indexer or all.")
    return torch.stack(losses).sum()
