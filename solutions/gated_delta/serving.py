"""What a state changes in serving: bytes, prefixes that are shared, drafts that are refused.

Keys and values are a list: they can be cut, shared and laid in pages. A state is a sum over all that was read, so it is
right for one prefix and for no other. Whoever goes back in a text needs a state from there: a snapshot, or one from
before and the factors of each token since.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from solutions.accepts import accepted_is_sound
from solutions.gated_delta.layer import DeltaState
from solutions.quadratic import KVCache
from solutions.shapes import counts, is_count
from solutions.tiny import Stream, TinyTransformer

# Bytes -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hybrid:
    """The shape of a model in which some layers keep all tokens and the others a state.

    full_layers, delta_layers: how many of each; token_numbers: what a full layer keeps of a token, 2 · kv_heads ·
    head_dim, or the size of a latent; heads, d_key, d_value: of the states; key_heads: heads of q and of k, which
    groups of the states share; conv: tokens that the convolution sees
    """

    name: str
    full_layers: int
    delta_layers: int
    token_numbers: int
    heads: int
    d_key: int
    d_value: int
    key_heads: int
    conv: int = 4
    source: str = ""

    def __post_init__(self):
        for name, value in vars(self).items():
            if name not in ("name", "source") and not is_count(value):
                raise ValueError(f"{name} is {value!r}; give a whole number of 1 or more.")
        if self.heads % self.key_heads:
            raise ValueError(f"heads is {self.heads}, key_heads {self.key_heads}; give key_heads that divide heads.")

    @property
    def channels(self) -> int:
        """Of the convolution: those of q, k and v."""
        return 2 * self.key_heads * self.d_key + self.heads * self.d_value


HYBRIDS = {
    model.name: model
    for model in (
        Hybrid("Qwen3-Next", 12, 36, 2 * 2 * 256, 32, 128, 128, 16, source="Qwen3NextConfig of transformers 5.24"),
        Hybrid("Ling-3.0-Flash", 7, 35, 512 + 64, 32, 128, 128, 32, source="BailingHybridConfig of transformers 5.24"),
    )
}
"""Published shapes."""


@counts("tokens", "token_bytes", "state_bytes")
def hybrid_bytes(model: Hybrid, tokens: int, *, token_bytes: int = 2, state_bytes: int = 4) -> int:
    """Bytes that one request keeps at so many tokens: what grows, and what doesn't.

    token_bytes, state_bytes: of one number in the full layers' cache and the convolution, and in a state
    A decoding step reads all of it and writes the states anew; that is not counted here.
    """
    full = model.full_layers * tokens * model.token_numbers * token_bytes
    state = model.heads * model.d_key * model.d_value * state_bytes
    last = (model.conv - 1) * model.channels * token_bytes
    return full + model.delta_layers * (state + last)


@counts("token_bytes", "state_bytes")
def break_even_tokens(model: Hybrid, *, token_bytes: int = 2, state_bytes: int = 4) -> float:
    """At how many tokens a full layer keeps as much as a state: below, the state is the larger of the two."""
    return model.heads * model.d_key * model.d_value * state_bytes / (model.token_numbers * token_bytes)


# Prefixes ----------------------------------------------------------------------------------------------------------


class Snapshots:
    """Streams of one model as they stood at certain tokens, by the prefix that they had read.

    every: a snapshot at each multiple of it, and one before the last token of each text that is read: whoever asks
    the same again reads that token alone
    `nbytes` is what the states take, not the keys and values, which an engine shares between snapshots. The weights
    must stay what they are: a prefix means another state to other weights.
    """

    def __init__(self, model: TinyTransformer, every: int = 64):
        if not isinstance(every, int) or every < 1:
            raise ValueError(f"every is {every!r}; give a whole number of tokens, 1 or more.")
        self.model, self.every = model, every
        self.kept: dict[tuple[int, ...], Stream] = {}
        self.weights = weights(model)

    @torch.no_grad()
    def read(self, tokens: Tensor) -> tuple[Tensor, Stream]:
        """Read a text (1, n) from where `resume` begins, with snapshots on the way.

        Returns the logits of the tokens that were read, which always include the last, and the stream.
        """
        stream, n, logits = self.resume(tokens), tokens.shape[1], []
        while stream.tokens < n:
            until = min((stream.tokens // self.every + 1) * self.every, n)
            if stream.tokens < n - 1:
                until = min(until, n - 1)
            logits.append(self.model(tokens[:, stream.tokens : until], stream))
            if until == n - 1 or until % self.every == 0:
                self.kept[tuple(tokens[0, :until].tolist())] = copy.deepcopy(stream)
        return torch.cat(logits, dim=1), stream

    def resume(self, tokens: Tensor) -> Stream:
        """A stream that has read the longest kept prefix of (1, n), but not its last token; a new one without any."""
        if tokens.dim() != 2 or len(tokens) != 1:
            raise ValueError(f"tokens has shape {tuple(tokens.shape)}; give one text, (1, n): prefixes differ by row.")
        if weights(self.model) != self.weights:
            raise ValueError("the model's weights have changed since the first snapshot; begin with new Snapshots.")
        text = tuple(tokens[0].tolist())
        shared = (kept for kept in self.kept if len(kept) < len(text) and text[: len(kept)] == kept)
        longest = max(shared, key=len, default=None)
        return self.model.new_stream() if longest is None else copy.deepcopy(self.kept[longest])

    @property
    def nbytes(self) -> int:
        caches = (cache for stream in self.kept.values() for cache in stream.caches)
        return sum(cache.nbytes for cache in caches if isinstance(cache, DeltaState))


def weights(model: TinyTransformer) -> list[tuple[int, int]]:
    """Which tensors a model's weights are, and how often each was written to."""
    return [(id(weight), weight._version) for weight in model.parameters()]


# Drafts ------------------------------------------------------------------------------------------------------------


class Draft:
    """Tokens that a stream reads although some may be refused.

        draft = Draft(model, stream)
        logits = draft.read(tokens)       # (batch, n), all at once or in parts
        draft.accept(2)                   # the stream is what it would be if only the first two had come

    Keys and values are cut, the states made anew from those before the draft and each token's factors, and so are the
    last inputs of the convolutions and the last token. `nbytes` is what the states keep for it meanwhile. Layers of
    another kind than "full" and "gated_delta" are refused.
    """

    def __init__(self, model: TinyTransformer, stream: Stream):
        others = [type(cache).__name__ for cache in stream.caches if type(cache) not in (KVCache, DeltaState)]
        if others:
            raise ValueError(f"the stream holds a {others[0]}, which forgets; give layers of full and gated_delta.")
        self.model, self.stream = model, stream
        self.begun, self.last = stream.tokens, stream.last
        self.tokens: list[Tensor] = []
        for cache in stream.caches:
            if isinstance(cache, DeltaState):
                cache.draft()

    @torch.no_grad()
    def read(self, tokens: Tensor) -> Tensor:
        """The logits of tokens (batch, n)."""
        logits = self.model(tokens, self.stream)
        self.tokens.append(tokens)
        return logits

    def accept(self, accepted: int) -> None:
        """Keep the first `accepted` tokens, and end the draft. Raises ValueError for more than were drafted."""
        stream, until = self.stream, self.begun + accepted
        accepted_is_sound(accepted, stream.tokens - self.begun)
        for cache in stream.caches:
            if isinstance(cache, DeltaState):
                cache.accept(accepted)
            else:
                cache.k, cache.v = cache.k[..., :until, :].clone(), cache.v[..., :until, :].clone()
        stream.tokens = until
        stream.last = torch.cat(self.tokens, dim=1)[:, accepted - 1] if accepted else self.last

    @property
    def nbytes(self) -> int:
        return sum(cache.receipt_bytes for cache in self.stream.caches if isinstance(cache, DeltaState))
