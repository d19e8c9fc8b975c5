"""q and k of every layer of a running model, taken where the scores are about to be made.

Two kinds of model are known: the tiny Transformer of this course, and any model that computes its attention with
`torch.nn.functional.scaled_dot_product_attention`, as Hugging Face's transformers do (none of them is imported here).
What a layer may look at is read off the mask that it was really given, and refused when the Atlas has no name for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from solutions.tiny import Attention, TinyTransformer
from widgets.atlas.mask import Allowed


@dataclass
class Layer:
    """One attention layer of a run. q: (heads, tokens, head_dim); k: (kv_heads, tokens, head_dim)"""

    layer: int
    q: Tensor
    k: Tensor
    allowed: Allowed
    scale: float


def layers_of(model: nn.Module, token_ids: Tensor) -> list[Layer]:
    """Run the model once over one sequence, (tokens,) or (1, tokens), and return its attention layers in order.

    Raises ValueError when the model has no attention that can be seen, or one whose mask has no name here.
    """
    token_ids = torch.as_tensor(token_ids)
    token_ids = token_ids[None] if token_ids.ndim == 1 else token_ids
    if token_ids.ndim != 2 or len(token_ids) != 1:
        raise ValueError(f"token_ids has shape {tuple(token_ids.shape)}; give one sequence, (tokens,) or (1, tokens).")
    record = tiny_layers if isinstance(model, TinyTransformer) else fused_layers
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return record(model, token_ids)
    finally:
        model.train(training)


def tiny_layers(model: TinyTransformer, token_ids: Tensor) -> list[Layer]:
    """The layers of the course's own model. Full layers run fused meanwhile, so that no N x N matrix is made."""
    found: list[Layer] = []

    def watched(number: int, attention: Attention):
        look = attention.look

        def record(q: Tensor, k: Tensor, v: Tensor, cache=None) -> Tensor:
            window, sinks = getattr(attention, "window", None), getattr(attention, "sinks", 0)
            tokens = q.shape[-2]
            widest = tokens if attention.causal else 2 * tokens - 1
            window = None if window is None or window >= widest else window
            allowed = Allowed(attention.causal, window, min(sinks, tokens) if window else 0)
            found.append(Layer(number, q[0], k[0], allowed, q.shape[-1] ** -0.5))
            if type(attention).look is Attention.look:
                return scaled_dot_product_attention(q, k, v, is_causal=attention.causal, enable_gqa=True)
            return look(q, k, v, cache)

        return record

    attentions = [layer.attention for layer in model.layers]
    try:
        for number, attention in enumerate(attentions):
            attention.look = watched(number, attention)
        model(token_ids)
    finally:
        for attention in attentions:
            vars(attention).pop("look", None)
    return found


class Watch(TorchFunctionMode):
    """Sees every call of scaled_dot_product_attention while it is entered, and lets it through."""

    def __init__(self):
        super().__init__()
        self.calls: list[tuple[Tensor, Tensor, Tensor | None, bool, float | None]] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is scaled_dot_product_attention:
            self.note(*args, **kwargs)
        return function(*args, **kwargs)

    def note(self, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
        self.calls.append((query, key, attn_mask, is_causal, scale))


def fused_layers(model: nn.Module, token_ids: Tensor) -> list[Layer]:
    """The self-attention layers of a model that calls PyTorch's fused attention, in the order of the calls."""
    tokens = token_ids.shape[1]
    with fused(model), Watch() as watch:
        model(token_ids)
    calls = [call for call in watch.calls if call[0].shape[-2] == call[1].shape[-2] == tokens]
    if not calls:
        raise ValueError(
            f"{type(model).__name__} never called scaled_dot_product_attention over its {tokens} tokens, so its q and "
            'k cannot be seen. Load it with attn_implementation="sdpa", or pass q and k to Atlas.of.'
        )
    return [
        Layer(
            number,
            one(q, "q", number),
            one(k, "k", number),
            allowed_by(mask, is_causal, tokens, number),
            q.shape[-1] ** -0.5 if scale is None else scale,
        )
        for number, (q, k, mask, is_causal, scale) in enumerate(calls)
    ]


def one(x: Tensor, name: str, layer: int) -> Tensor:
    """(1, heads, tokens, head_dim) without its batch."""
    if x.ndim != 4 or len(x) != 1:
        raise ValueError(f"{name} of attention call {layer} has shape {tuple(x.shape)}, not (1, heads, tokens, d).")
    return x[0]


@contextmanager
def fused(model: nn.Module) -> Iterator[None]:
    """Hugging Face models can be told which attention to call; others are left as they are."""
    before = getattr(getattr(model, "config", None), "_attn_implementation", None)
    if before in (None, "sdpa") or not hasattr(model, "set_attn_implementation"):
        yield
        return
    try:
        model.set_attn_implementation("sdpa")
    except (ValueError, ImportError) as error:
        reason = str(error).split(". ")[0]
        raise ValueError(f"q and k of this model can't be seen, for it can't run fused attention: {reason}.") from None
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def allowed_by(mask: Tensor | None, is_causal: bool, tokens: int, layer: int) -> Allowed:
    """The name of the pattern that a mask holds; (..., tokens, tokens), boolean or 0 / very negative."""
    if mask is None:
        return Allowed(is_causal)
    seen = mask if mask.dtype == torch.bool else mask == 0
    biased = mask.dtype != torch.bool and bool(((mask != 0) & (mask > torch.finfo(mask.dtype).min / 2)).any())
    patterns = seen.reshape(-1, *seen.shape[-2:]).cpu()
    if biased or not bool((patterns == patterns[:1]).all()) or patterns.shape[1:] != (tokens, tokens):
        raise ValueError(
            f"attention call {layer} adds a bias to its scores, or gives its heads different masks; the Atlas knows "
            "causal attention, windows and sinks only."
        )
    pattern = patterns[0].numpy()
    position = np.arange(tokens)
    query, key = np.nonzero(pattern)
    distance = query - key
    causal = bool((distance >= 0).all()) and tokens > 1
    # The last query and the middle one see no sink that a window would not show them.
    last = position[pattern[-1]] if pattern[-1].any() else position
    run = last[np.nonzero(np.diff(last, prepend=last[0] - 2) > 1)[0][-1] :]
    reach = int(tokens - 1 - run[0])
    sinks = int(last[: len(last) - len(run)].size)
    window = None if reach >= tokens - 1 else (reach + 1 if causal else 2 * reach)
    allowed = Allowed(causal, window or (None if reach else 1), sinks)
    if not np.array_equal(allowed.pairs(position, position), pattern):
        raise ValueError(
            f"the mask of attention call {layer} is neither full, causal, nor a window with sinks, so the Atlas "
            "cannot recompute its weights. Padding is the usual cause: give one sequence without any."
        )
    return allowed
