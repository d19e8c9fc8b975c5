"""Local and global attention: most layers look only near, a few look everywhere.

    window w, causal       query i looks at the keys j with  i - w < j <= i          w keys, itself included
    window w, two-sided    query i looks at the keys j with  |i - j| <= w // 2       w // 2 on each side, and itself
    sinks s                the first s keys are seen by every later query            (Xiao et al., 2023)
    global tokens          every token sees them, and they see every token           (Beltagy et al., 2020)

A mask alone saves nothing: the masked scores are computed and thrown away. What saves is never making them, so the
queries go in blocks, and each block fetches only the keys in its reach. Time and memory then grow as N w.

Shapes: q (..., n, d), k (..., n, d), v (..., n, d_value); "..." is any leading dimensions, as a rule (batch, heads).
k and v may have fewer heads than q, if their number divides: head h reads key head h // (heads // kv_heads).

The second half counts what a stack of layers saves (pairs, bytes, reach), and lists the patterns of published models.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from solutions.accepts import (
    block_is_inside,
    layers_are_known,
    pattern_is_sound,
    row_exists,
    unit_is_known,
    window_attention_fits,
    window_chunk_fits,
)
from solutions.quadratic import KVCache, grouped_attention
from solutions.shapes import counts, in_float32, shapes, wide

# The mechanism ---------------------------------------------------------------------------------------------------


@shapes(check=pattern_is_sound)
def window_mask(
    query_position: Tensor,
    key_position: Tensor,
    window: int,
    *,
    causal: bool = True,
    sinks: int = 0,
    global_tokens: list[int] | None = None,
) -> Tensor:
    """Who may look at whom, told from where they stand.

    query_position: (queries,); key_position: (keys,): whole numbers, counted from the start of the sequence
    window: how many keys a causal query sees, itself included; two-sided, window // 2 on each side and itself
    sinks: how many first tokens are seen from everywhere; they themselves see their window
    global_tokens: a list of positions that see all and are seen by all; None or an empty list for none
    A causal window as wide as the text sees all of it; two-sided, one twice as wide. More sinks than tokens are all.
    Returns a boolean (queries, keys), True where the query may look. With causal, never at a key that comes later.
    """
    ahead = key_position - query_position[:, None]  # how far the key stands ahead of the query
    left, right = (window - 1, 0) if causal else (window // 2, window // 2)
    visible = (-left <= ahead) & (ahead <= right)
    visible |= key_position < sinks
    for token in global_tokens or ():
        visible |= (key_position == token) | (query_position[:, None] == token)
    return visible & (ahead <= 0) if causal else visible


@shapes(k="... n d", v="... n d_value", check=window_attention_fits)
def masked_window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    window: int,
    *,
    causal: bool = True,
    sinks: int = 0,
    global_tokens: list[int] | None = None,
) -> Tensor:
    """Window attention by a mask over the whole score matrix: the same result, and none of the saving.

    Arguments and result as in `sliding_window_attention`. It computes all n² scores and is slower than no window.
    """
    position = torch.arange(q.shape[-2], device=q.device)
    mask = window_mask(position, position, window, causal=causal, sinks=sinks, global_tokens=global_tokens)
    return grouped_attention(q, k, v, mask=mask)


@shapes(check=block_is_inside)
def keys_in_reach(
    start: int,
    stop: int,
    n: int,
    window: int,
    *,
    causal: bool = True,
    sinks: int = 0,
    global_tokens: list[int] | None = None,
) -> Tensor:
    """The keys that a block must fetch: of n tokens, those that any of the queries start, ..., stop - 1 may see.

    0 <= start < stop <= n; window, causal, sinks, global_tokens: as in `window_mask`
    Returns positions, a tensor, ascending, each once: the band (stop - start + window - 1 keys when causal, cut at both
    ends of the sequence), the sinks (when causal, those before `stop`), the global tokens; all n when a two-sided block
    holds a global token, since that sees everything (a sink doesn't). When causal no global token but 0 is given: a
    block before it may not look ahead. (`window_mask` takes others, and hides them from the queries before.)
    """
    global_tokens = global_tokens or ()
    if not causal and any(start <= token < stop for token in global_tokens):
        return torch.arange(n)
    left, right = (window - 1, 0) if causal else (window // 2, window // 2)
    band = range(max(start - left, 0), min(stop + right, n))
    return torch.tensor(sorted({*band, *range(min(sinks, stop if causal else n)), *global_tokens}))


@counts("block")
@shapes(k="... n d", v="... n d_value", check=lambda block, **given: window_attention_fits(**given))
@in_float32
def sliding_window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    window: int,
    *,
    causal: bool = True,
    sinks: int = 0,
    global_tokens: list[int] | None = None,
    block: int = 64,
) -> Tensor:
    """Attention in a window that makes only the scores of the band: time and memory grow as n · window.

    q: (..., heads, n, d); k: (..., kv_heads, n, d); v: (..., kv_heads, n, d_value)
    window, causal, sinks, global_tokens: as in `keys_in_reach`; block: how many queries fetch their keys together
    Returns (..., heads, n, d_value), in the dtype of q. No tensor has more than n · (block + 2 · window) entries a
    head, and no more pairs of query and key are multiplied than these and n for each sink and global token. A two-sided
    block with a global token, and no other, scores all n keys.
    """
    n = q.shape[-2]
    pattern = dict(causal=causal, sinks=sinks, global_tokens=global_tokens)
    out = []
    for start in range(0, n, block):
        stop = min(start + block, n)
        rows = torch.arange(start, stop, device=q.device)
        keys = keys_in_reach(start, stop, n, window, **pattern).to(q.device)
        mask = window_mask(rows, keys, window, **pattern)
        out.append(grouped_attention(q[..., rows, :], k[..., keys, :], v[..., keys, :], mask=mask))
    return torch.cat(out, dim=-2)


class WindowCache(KVCache):
    """A KV cache that forgets: of the past it holds the last window - 1 tokens and the first `sinks`, and no more.

    `append(k, v)` adds a chunk and returns all keys and values that are held; `position` (keys,) says where each stands
    in the sequence. `keep(mask)` drops the others. `tokens` counts all that ever came, `len(cache)` those held.
    """

    def __init__(self, window: int, sinks: int = 0):
        pattern_is_sound(window, sinks, None)
        super().__init__()
        self.window, self.sinks = window, sinks
        self.tokens, self.position = 0, torch.arange(0)

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add a chunk of any length; return all keys and values held. Raises ValueError if it does not fit."""
        held = super().append(k, v)
        chunk = torch.arange(self.tokens, self.tokens + k.shape[-2], device=k.device)
        self.position = torch.cat([self.position.to(k.device), chunk])
        self.tokens += len(chunk)
        return held

    def keep(self, kept: Tensor) -> None:
        """Drop every token whose place in kept, a boolean (keys,), is False."""
        self.k, self.v, self.position = self.k[..., kept, :], self.v[..., kept, :], self.position[kept]

    def __repr__(self) -> str:
        return f"WindowCache: {len(self)} of {self.tokens} tokens, {self.nbytes:,} bytes"


@shapes(k="... chunk d", v="... chunk d_value", check=window_chunk_fits)
def cached_window_attention(q: Tensor, k: Tensor, v: Tensor, cache: WindowCache) -> Tensor:
    """Causal window attention for the next tokens of a sequence, of whose past the cache holds what may still be seen.

    q: (..., heads, chunk, d); k: (..., kv_heads, chunk, d); v: (..., kv_heads, chunk, d_value): the new tokens only
    Returns (..., heads, chunk, d_value), the same rows as `sliding_window_attention` over the whole sequence, with the
    same gradients. Between calls the cache holds what the next token may see of the past: window - 1 tokens and the
    sinks, in their dtype.
    """
    all_k, all_v = cache.append(k, v)
    chunk_position = cache.position[-q.shape[-2] :]
    mask = window_mask(chunk_position, cache.position, cache.window, sinks=cache.sinks)
    out = grouped_attention(q, all_k, all_v, mask=mask)
    next_position = chunk_position[-1:] + 1
    cache.keep(window_mask(next_position, cache.position, cache.window, sinks=cache.sinks)[0])
    return out


# What a stack of layers reaches -----------------------------------------------------------------------------------


@counts("layers", "window")
def receptive_field(layers: int, window: int, *, causal: bool = True) -> int:
    """How many input tokens can touch one output of a stack of window layers, itself included: a bound, not a use.

    Every layer passes on what its window sees: window - 1 tokens further back, or window // 2 further to each side.
    One full layer anywhere lifts the bound.
    """
    reach = window - 1 if causal else 2 * (window // 2)
    return 1 + layers * reach


@shapes(x="n d", check=row_exists)
def influence(stack: Callable[[Tensor], Tensor], x: Tensor, row: int) -> Tensor:
    """How much each input token moves one output token: the size of the gradient.

    stack: turns (n, d) into (n, d_out); x: (n, d); row: which output
    Returns (n,): for each input token the Frobenius norm of d output[row] / d input. Exactly 0 where nothing can pass;
    give float64, since in float32 a small gradient that is squared becomes 0 too.
    """
    jacobian = wide(torch.autograd.functional.jacobian(lambda x: stack(x)[row], x))  # (d_out, n, d)
    return jacobian.pow(2).sum(dim=(0, 2)).sqrt().to(x.dtype)


# What a pattern saves ---------------------------------------------------------------------------------------------


@counts("layers")
@shapes(check=unit_is_known)
def layer_pattern(unit: str, layers: int) -> tuple[str, ...]:
    """The kind of each layer of a stack that repeats a unit: "GLL" is one global layer, then two local ones.

    unit: letters G and L, repeated from the first layer on and cut where the layers end
    Returns "full" or "window" for each layer, in a tuple (a list will do). ModernBERT is layer_pattern("GLL", 22):
    layers 0, 3, ..., 21 are full.
    """
    names = {"G": "full", "L": "window"}
    return tuple(names[unit[layer % len(unit)]] for layer in range(layers))


@counts("n", "window")
def window_pairs(n: int, window: int, *, causal: bool = True) -> int:
    """How many (query, key) pairs a window scores over n tokens, in closed form.

    Causal: every query sees `window` keys, but for the first window - 1, which see fewer. Two-sided: window // 2 on
    each side and itself, cut at both ends. A window wider than the sequence counts what is there.
    """
    if causal:
        window = min(window, n)
        return n * window - window * (window - 1) // 2
    half = min(window // 2, n - 1)
    return n * (2 * half + 1) - half * (half + 1)


@counts("n", "window")
@shapes(check=layers_are_known)
def pattern_pairs(layer_types: tuple[str, ...], n: int, window: int, *, causal: bool = True) -> int:
    """How many (query, key) pairs a whole stack scores over n tokens, one head."""
    full = n * (n + 1) // 2 if causal else n * n
    local = window_pairs(n, window, causal=causal)
    return sum(full if kind == "full" else local for kind in layer_types)


@counts("n", "window")
@shapes(check=layers_are_known)
def saving(layer_types: tuple[str, ...], n: int, window: int, *, causal: bool = True) -> float:
    """By what factor a stack scores fewer pairs than if all its layers were full."""
    all_full = ("full",) * len(layer_types)
    return pattern_pairs(all_full, n, window, causal=causal) / pattern_pairs(layer_types, n, window, causal=causal)


@shapes(check=layers_are_known)
def saving_ceiling(layer_types: tuple[str, ...]) -> float:
    """The factor that `saving` tends to as the sequence grows, since the full layers remain; infinite without any."""
    full = layer_types.count("full")
    return len(layer_types) / full if full else math.inf


@counts("n", "window", "kv_heads", "head_dim", "element_bytes")
@shapes(check=layers_are_known)
def pattern_kv_bytes(
    layer_types: tuple[str, ...], n: int, window: int, kv_heads: int, head_dim: int, element_bytes: int = 2
) -> int:
    """Bytes of the keys and values that a stack needs to decode token n: all n in a full layer, `window` in the others.

    The window counts the token that is being decoded; between two tokens a window layer can do with window - 1.
    """
    tokens = sum(n if kind == "full" else min(n, window) for kind in layer_types)
    return 2 * tokens * kv_heads * head_dim * element_bytes


@dataclass(frozen=True)
class Stack:
    """The layer pattern of a published model, as data."""

    name: str
    unit: str  # as in layer_pattern
    layers: int
    window: int  # as in sliding_window_attention
    causal: bool
    kv_heads: int
    head_dim: int
    rope_base_full: float | None  # None: the model has no full layer
    rope_base_window: float
    source: str

    @property
    def layer_types(self) -> tuple[str, ...]:
        """ "full" or "window" for each layer."""
        return layer_pattern(self.unit, self.layers)

    @property
    def rope_bases(self) -> tuple[float, ...]:
        """The RoPE base of each layer."""
        bases = {"full": self.rope_base_full, "window": self.rope_base_window}
        return tuple(bases[kind] for kind in self.layer_types)


# The window of 128 is 64 + itself + 64 = 129 keys. Gemma 3 stretches its full layers further, by a linear factor of 8;
# gpt-oss by YaRN with factor 32 from 4,096.
MODERNBERT_BASE = Stack(
    "ModernBERT-base", "GLL", 22, 128, False, 12, 64, 160_000.0, 10_000.0, "arXiv 2412.13663, section 2.1"
)
MODERNBERT_LARGE = Stack(
    "ModernBERT-large", "GLL", 28, 128, False, 16, 64, 160_000.0, 10_000.0, "arXiv 2412.13663, section 2.1"
)
GEMMA_3_12B = Stack(
    "Gemma 3 12B", "LLLLLG", 48, 1024, True, 8, 256, 1_000_000.0, 10_000.0, "arXiv 2503.19786, section 2; its config"
)
GPT_OSS_120B = Stack("gpt-oss-120b", "LG", 36, 128, True, 8, 64, 150_000.0, 150_000.0, "its config")
MISTRAL_7B = Stack("Mistral 7B v0.1", "L", 32, 4096, True, 8, 128, None, 10_000.0, "arXiv 2310.06825, section 2")
STACKS = (MODERNBERT_BASE, MODERNBERT_LARGE, GEMMA_3_12B, GPT_OSS_120B, MISTRAL_7B)
