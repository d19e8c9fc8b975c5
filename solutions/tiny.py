"""The one small Transformer of the course, into which every attention plugs.

    x = embed(token) + embed(token before)
    x = x + attention(norm(x))         for each layer; ATTENTIONS says where the attention of a name is
    x = x + mlp(norm(x))
    logits = head(norm(x))

A new attention subclasses `Attention`, overrides the step in which it differs, and has a line in ATTENTIONS; yours is
entered with `ATTENTIONS["mine"] = MyAttention`. Shapes: tokens (batch, n); x (batch, n, width); q (batch, heads, n,
head_dim); k, v with kv_heads.

`train` runs any loss to its end. What is worth keeping is kept by `solutions.checkpoints`.
"""

import importlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from solutions.accepts import pattern_is_sound
from solutions.local_global import WindowCache, cached_window_attention, sliding_window_attention
from solutions.quadratic import KVCache, blocked_attention

# The model --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Config:
    """What a model is made of. The same config gives the same weights.

    vocabulary: number of different tokens; layers: for each layer the name of its attention, a key of ATTENTIONS
    options: name of an attention -> what it takes beside the config, for example {"window": {"window": 16}}
    kv_heads: None for as many as heads
    rope_base: base of the rotation, one number or one for each layer; None where a layer knows no positions
    rope_share: share of each head that turns
    previous_token: add an embedding of the token before, which spares the model learning to look one back
    """

    vocabulary: int
    layers: tuple[str, ...]
    width: int = 64
    heads: int = 4
    kv_heads: int | None = None
    causal: bool = True
    rope_base: float | tuple[float | None, ...] | None = 10_000.0
    rope_share: float = 0.5
    previous_token: bool = True
    options: dict[str, dict] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self):
        kv_heads = self.heads if self.kv_heads is None else self.kv_heads
        if min(self.vocabulary, self.width, self.heads, kv_heads) < 1:
            raise ValueError("vocabulary, width, heads and kv_heads must all be 1 or more.")
        if self.width % self.heads or self.heads % kv_heads:
            raise ValueError(
                f"width is {self.width}, heads {self.heads}, kv_heads {kv_heads}; "
                "give heads that divide the width, and kv_heads that divide the heads."
            )
        if not self.layers or not set(self.layers) <= set(ATTENTIONS):
            raise ValueError(f"layers is {self.layers}; give one or more of {', '.join(ATTENTIONS)}.")
        if not set(self.options) <= set(self.layers):
            raise ValueError(f"options name {', '.join(self.options)}, but the layers are {', '.join(self.layers)}.")
        if isinstance(self.rope_base, tuple) and len(self.rope_base) != len(self.layers):
            raise ValueError(f"rope_base has {len(self.rope_base)} numbers; give {len(self.layers)}, one for a layer.")
        if not 0 <= self.rope_share <= 1:
            raise ValueError(f"rope_share is {self.rope_share}; give a share from 0 to 1.")


def rope_frequencies(size: int, base: float | None) -> Tensor:
    """How far each pair of a head's entries turns from one token to the next, in radians (Su et al., 2021).

    size: entries that turn, two to a pair; base: None for a head that knows no positions
    Returns (size // 2,): base ** (-2 i / size) for pair i.
    """
    if base is None:
        return torch.empty(0)
    return base ** (-2 * torch.arange(size // 2) / size)


def rotate(x: Tensor, position: Tensor, frequencies: Tensor) -> Tensor:
    """Turn the first pairs of every head by position times frequency; entry i is paired with entry i + pairs.

    x: (..., n, head_dim), float32 or float64; position: (n,), whole numbers; frequencies: (pairs,), in the dtype of x
    Returns x's shape and dtype; what is beyond 2 * pairs stays as it is. A score of two rotated vectors depends on the
    difference of their positions alone.
    """
    pairs = len(frequencies)
    angle = position[:, None] * frequencies
    cos, sin = angle.cos(), angle.sin()
    a, b, rest = x.split([pairs, pairs, x.shape[-1] - 2 * pairs], dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], dim=-1)


class Attention(nn.Module):
    """Full attention, and what every attention shares: the way to heads, the rotation, the way back to the width."""

    def __init__(self, config: Config, layer: int):
        super().__init__()
        self.heads, self.kv_heads = config.heads, config.kv_heads or config.heads
        self.causal = config.causal
        head_dim = config.width // config.heads
        self.to_q = nn.Linear(config.width, self.heads * head_dim, bias=False)
        self.to_k = nn.Linear(config.width, self.kv_heads * head_dim, bias=False)
        self.to_v = nn.Linear(config.width, self.kv_heads * head_dim, bias=False)
        self.to_out = nn.Linear(self.heads * head_dim, config.width, bias=False)
        base = config.rope_base[layer] if isinstance(config.rope_base, tuple) else config.rope_base
        frequencies = rope_frequencies(int(head_dim * config.rope_share), base)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, x: Tensor, position: Tensor, cache=None) -> Tensor:
        """x: (batch, n, width); position: (n,). With a cache, x goes on where the cache ends."""
        q, k, v = self.project(x)
        return self.join(self.look(self.turn(q, position), self.turn(k, position), v, cache))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q (batch, heads, n, head_dim), and k and v (batch, kv_heads, n, head_dim), not rotated."""
        q = self.to_q(x).unflatten(-1, (self.heads, -1))
        k, v = (to(x).unflatten(-1, (self.kv_heads, -1)) for to in (self.to_k, self.to_v))
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def turn(self, heads: Tensor, position: Tensor) -> Tensor:
        """Rotate every head to its token's position."""
        return rotate(heads, position, self.frequencies).to(heads.dtype)  # autocast leaves the angles in float32

    def look(self, q: Tensor, k: Tensor, v: Tensor, cache=None) -> Tensor:
        """The attention itself: (batch, heads, n, head_dim), from q and k rotated. What most subclasses override."""
        if cache is not None:
            k, v = cache.append(k, v)
        k, v = (each.repeat_interleave(self.heads // self.kv_heads, dim=1) for each in (k, v))
        return blocked_attention(q, k, v, causal=self.causal)

    def join(self, heads: Tensor) -> Tensor:
        """(batch, heads, n, head_dim) -> (batch, n, width)."""
        return self.to_out(heads.transpose(1, 2).flatten(-2))

    def new_cache(self):
        """What this attention keeps of a stream between two chunks."""
        return KVCache()


class WindowAttention(Attention):
    """Attention to the `window` last tokens, or two-sided to window // 2 on each side, and to the first `sinks`."""

    def __init__(self, config: Config, layer: int, window: int = 16, sinks: int = 0):
        super().__init__(config, layer)
        pattern_is_sound(window, sinks, None)
        self.window, self.sinks = window, sinks

    def look(self, q: Tensor, k: Tensor, v: Tensor, cache=None) -> Tensor:
        if cache is not None:
            return cached_window_attention(q, k, v, cache)
        return sliding_window_attention(q, k, v, self.window, causal=self.causal, sinks=self.sinks)

    def new_cache(self):
        return WindowCache(self.window, self.sinks)


# By name, the class or where it is: a module is read when a model first has such a layer.
ATTENTIONS: dict[str, type[Attention] | str] = {
    "full": Attention,
    "window": WindowAttention,
    "infini": "solutions.infini:InfiniAttention",
    "xl": "solutions.infini:XLAttention",
    "knn": "solutions.infini:KNNAttention",
    "sparse": "solutions.sparse:SparseAttention",
    "gated_delta": "solutions.gated_delta:GatedDelta",
}


def attention_of(name: str) -> type[Attention]:
    """The class of a name in ATTENTIONS."""
    found = ATTENTIONS[name]
    if isinstance(found, str):
        module, _, attribute = found.partition(":")
        found = getattr(importlib.import_module(module), attribute)
    return found


class Layer(nn.Module):
    """Attention, then two matrices with a GELU between, each added to what came in."""

    def __init__(self, config: Config, layer: int):
        super().__init__()
        name = config.layers[layer]
        self.attention_norm = nn.RMSNorm(config.width)
        self.attention = attention_of(name)(config, layer, **config.options.get(name, {}))
        self.mlp_norm = nn.RMSNorm(config.width)
        self.mlp = nn.Sequential(
            nn.Linear(config.width, 4 * config.width), nn.GELU(), nn.Linear(4 * config.width, config.width)
        )

    def forward(self, x: Tensor, position: Tensor, cache=None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), position, cache)
        return x + self.mlp(self.mlp_norm(x))


@dataclass
class Stream:
    """How far a model has read a sequence that comes in chunks, and what its layers keep of it."""

    caches: list
    tokens: int = 0
    last: Tensor | None = None  # (batch,), the last token read

    @property
    def nbytes(self) -> int:
        return sum(cache.nbytes for cache in self.caches)


class TinyTransformer(nn.Module):
    """A pre-norm Transformer with the attentions that its config names; tokens (batch, n) in, logits out."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.embedding = nn.Embedding(config.vocabulary, config.width)
            self.before = nn.Embedding(config.vocabulary, config.width) if config.previous_token else None
            self.layers = nn.ModuleList(Layer(config, layer) for layer in range(len(config.layers)))
            self.norm = nn.RMSNorm(config.width)
            self.head = nn.Linear(config.width, config.vocabulary, bias=False)
            for embedding in filter(None, (self.embedding, self.before)):
                nn.init.normal_(embedding.weight, std=0.1)  # what layers add counts from the first step on

    def forward(self, tokens: Tensor, stream: Stream | None = None) -> Tensor:
        """Logits (batch, n, vocabulary), at each token for the one after it (for itself, where config.causal is False).

        With a stream the tokens go on where it ends, and it moves on: any chunks give the logits of the whole.
        """
        x = self.embed(tokens, stream.last if stream else None)
        x = self.transform(x, stream)
        if stream is not None:
            stream.tokens, stream.last = stream.tokens + tokens.shape[1], tokens[:, -1]
        return self.head(self.norm(x))

    def embed(self, tokens: Tensor, last: Tensor | None = None) -> Tensor:
        """(batch, n, width); last: (batch,), the token before the first, if there is one."""
        if tokens.dim() != 2 or tokens.is_floating_point() or not tokens.numel():
            raise ValueError(f"tokens is {tokens.dtype}, {tuple(tokens.shape)}; give whole numbers, (batch, n).")
        if tokens.min() < 0 or tokens.max() >= self.config.vocabulary:
            raise ValueError(
                f"tokens reach from {tokens.min()} to {tokens.max()}; give 0 to {self.config.vocabulary - 1}."
            )
        if last is not None and len(last) != len(tokens):
            raise ValueError(f"there are {len(tokens)} rows of tokens, but the stream has {len(last)}; give as many.")
        x = self.embedding(tokens)
        if self.before is None:
            return x
        first = torch.zeros_like(x[:, :1]) if last is None else self.before(last)[:, None]
        return x + torch.cat([first, self.before(tokens[:, :-1])], dim=1)

    def transform(self, x: Tensor, stream: Stream | None = None) -> Tensor:
        """Through all layers, (batch, n, width) to the same: the model without its embedding and head."""
        start = stream.tokens if stream else 0
        position = torch.arange(start, start + x.shape[1], device=x.device)
        caches = stream.caches if stream else [None] * len(self.layers)
        for layer, cache in zip(self.layers, caches, strict=True):
            x = layer(x, position, cache)
        return x

    def new_stream(self) -> Stream:
        """A stream of which nothing has been read."""
        if not self.config.causal:
            raise ValueError("a model that looks ahead cannot read a stream; give it the whole sequence.")
        return Stream([layer.attention.new_cache() for layer in self.layers])

    def queries_and_keys(self, tokens: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """What meets in the scores, layer after layer: q (batch, heads, n, head_dim), k with kv_heads, both rotated.

        Whoever needs the first layers only stops there, and the others are not computed.
        """
        with torch.no_grad():
            x = self.embed(tokens)
            position = torch.arange(tokens.shape[1], device=tokens.device)
            for layer in self.layers:
                q, k, _ = layer.attention.project(layer.attention_norm(x))
                yield layer.attention.turn(q, position), layer.attention.turn(k, position)
                x = layer(x, position)

    def with_attention(self, layers: tuple[str, ...], **options: dict) -> "TinyTransformer":
        """The same weights with other attentions in its layers: with_attention(("window",) * 6, window={"window": 8}).

        What the new attentions have beyond the old is new; what the old have beyond the new is a ValueError.
        """
        model = TinyTransformer(replace(self.config, layers=layers, options=options)).to(self.head.weight)
        left_over = model.load_state_dict(self.state_dict(), strict=False).unexpected_keys
        if left_over:
            raise ValueError(f"the layers {layers} have no place for {', '.join(left_over)}.")
        return model.train(self.training)


# Training ---------------------------------------------------------------------------------------------------------


def train(
    model: nn.Module,
    loss: Callable[[nn.Module, int], Tensor],
    *,
    steps: int,
    learning_rate: float = 3e-3,
    warm_up: int = 50,
    weight_decay: float = 0.01,
    clip: float = 1.0,
    groups: Iterable[dict] | None = None,
    betas: tuple[float, float] = (0.9, 0.999),
    full_rate: float = 0.0,
    label: str = "train",
    show: Callable[[], dict[str, str]] | None = None,
    draft=None,
) -> list[float]:
    """Train a model in place with AdamW, and show a progress bar; return the loss of every step.

    loss(model, step) draws its own batch and returns one number. The rate rises for warm_up steps, stays until
    full_rate of all steps are over, and then falls to a tenth, in straight lines; clip bounds the norm of all gradients
    together.
    groups: parameter groups as in torch.optim, where some parameters need a rate or a decay of their own
    show: what the bar says beside the loss
    draft: a `solutions.checkpoints.Draft`, from which an interrupted run goes on
    Raises ValueError when the loss is no longer finite.
    """
    falls = max(warm_up, int(full_rate * steps))

    def rate(step: int) -> float:
        return min((step + 1) / warm_up, 1, 1 - 0.9 * (step - falls) / max(steps - falls, 1))

    optimizer = torch.optim.AdamW(
        groups or model.parameters(), lr=learning_rate, weight_decay=weight_decay, betas=betas
    )
    highest = [group["lr"] for group in optimizer.param_groups]
    losses = draft.take_up(model, optimizer) if draft else []
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    model.train()
    for step in (progress := tqdm(range(len(losses), steps), desc=label, initial=len(losses), total=steps)):
        value = loss(model, step)
        losses.append(value.item())
        if not math.isfinite(losses[-1]):
            raise ValueError(f"the loss is {losses[-1]} at step {step}; give a smaller learning_rate.")
        for group, learning_rate in zip(optimizer.param_groups, highest, strict=True):
            group["lr"] = learning_rate * rate(step)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        progress.set_postfix(loss=f"{losses[-1]:.3f}", **(show() if show else {}), refresh=False)
        if draft:
            draft.put(model, optimizer, losses)
    model.eval()
    return losses
