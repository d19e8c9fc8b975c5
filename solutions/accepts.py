"""What the functions of `quadratic`, `local_global`, `sparse` and `gated_delta` accept: every refusal in a sentence.

It says what to give instead. They are named by the decorators of `shapes`, so that the functions themselves hold the
mechanism and nothing else. Each raises ValueError, or returns None. A cache is known by what it can do, since a
reader's own class may stand in for ours.
"""

import math
import operator
from collections.abc import Sequence

import torch
from torch import Tensor

from solutions.shapes import refuse_not_finite, same_kind, same_sizes

# Attention and its cache -------------------------------------------------------------------------------------------


def finite_scale(scale: float | None, **_) -> None:
    """Raise ValueError unless the scale is None or a finite number."""
    if scale is not None and not math.isfinite(scale):
        raise ValueError(f"scale is {scale}; give a finite number, or None for 1 / √d.")


def one_pair(pair: Tensor, position: float, theta: float) -> None:
    """Raise ValueError unless pair holds two numbers, and position and theta are finite ones."""
    if pair.shape != (2,):
        raise ValueError(f"pair has shape {tuple(pair.shape)}; give two numbers, (2,).")
    for name, value in (("position", position), ("theta", theta)):
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}; give a finite number.")


def not_more_queries(queries: int, keys: int, **_) -> None:
    """Raise ValueError when there are more queries than keys: the queries are the last of the same tokens."""
    if queries > keys:
        raise ValueError(
            f"there are {queries} queries and {keys} keys, and a causal mask takes the queries for the last tokens of "
            "the keys; give at least as many keys as queries."
        )


def queries_are_last(q: Tensor, k: Tensor, causal: bool, **_) -> None:
    """Raise ValueError when causal attention is asked for with more queries than keys."""
    if causal:
        not_more_queries(q.shape[-2], k.shape[-2])


def mask_fits(q: Tensor, k: Tensor, causal: bool, mask: Tensor | None, scale: float | None, **_) -> None:
    """Raise ValueError unless the mask is boolean and broadcasts to the shape of the scores."""
    finite_scale(scale)
    queries_are_last(q, k, causal)
    if mask is None:
        return
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        given = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"mask is of type {given}; give a boolean tensor, True where a query may look.")
    if mask.device != q.device:
        raise ValueError(f"mask has device {mask.device}, but q has {q.device}; convert one of them with .to().")
    scores_shape = (*q.shape[:-1], k.shape[-2])
    try:
        fits = torch.broadcast_shapes(mask.shape, scores_shape) == scores_shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(f"mask has shape {tuple(mask.shape)}; give one that broadcasts to the scores, {scores_shape}.")


def whole_heads(x: Tensor, heads: int) -> None:
    """Raise ValueError unless the width of x is that of so many heads."""
    if x.shape[-1] % heads:
        raise ValueError(f"x has {x.shape[-1]} columns for {heads} heads; give a multiple of heads.")


def heads_fit(w_q: Tensor, w_k: Tensor, heads: int, kv_heads: int | None, **_) -> None:
    """Raise ValueError unless the weights hold whole heads of one size, and the query heads form equal groups."""
    kv_heads = heads if kv_heads is None else kv_heads
    if heads % kv_heads:
        raise ValueError(f"heads is {heads} and kv_heads is {kv_heads}; give a kv_heads that divides heads.")
    if w_q.shape[-1] % heads:
        raise ValueError(f"w_q has {w_q.shape[-1]} columns for {heads} heads; give a multiple of heads.")
    width = w_q.shape[-1] // heads * kv_heads
    if w_k.shape[-1] != width:
        raise ValueError(f"w_k has {w_k.shape[-1]} columns; give {width}, kv_heads times the head size of w_q.")


def queries_fit(q: Tensor, k: Tensor, sizes: str = "... n d") -> None:
    """Raise ValueError unless q is finite and reads as `sizes` beside k's "... n d", its heads in groups aside."""
    same_kind({"k": k, "q": q})
    one_per_group = q
    if q.dim() > 2 and k.dim() > 2:
        heads, kv_heads = q.shape[-3], k.shape[-3]
        if kv_heads == 0 or heads % kv_heads:
            raise ValueError(f"q has {heads} heads, k has {kv_heads}; give k and v a number of heads that divides q's.")
        one_per_group = q[..., :: heads // kv_heads, :, :]
    same_sizes({"k": k, "q": one_per_group}, {"k": "... n d", "q": sizes})
    refuse_not_finite(q=q)


def groups_fit(q: Tensor, k: Tensor, **others) -> None:
    """Raise ValueError unless the query heads form groups over the key heads, and the mask fits."""
    queries_fit(q, k, "... queries d")
    mask_fits(q, k, scale=None, **others)


def continues(self, k: Tensor, v: Tensor) -> None:
    """Raise ValueError for a chunk that is not finite or does not go on where the cache ends."""
    refuse_not_finite(k=k, v=v)
    for name, new, old in (("k", k, self.k), ("v", v, self.v)):
        if old is None:
            continue
        if new.shape[:-2] != old.shape[:-2] or new.shape[-1] != old.shape[-1]:
            raise ValueError(
                f"{name} has shape {tuple(new.shape)}, but the cache holds {tuple(old.shape)}; "
                "only the number of tokens, the last but one, may differ."
            )
        if new.dtype != old.dtype or new.device != old.device:
            raise ValueError(
                f"{name} is {new.dtype} on {new.device}, but the cache holds {old.dtype} on {old.device}; "
                "convert it with .to()."
            )


def chunk_fits(q: Tensor, k: Tensor, v: Tensor, cache) -> None:
    """Raise ValueError before a bad chunk reaches the cache, which would otherwise be spoilt for the next call."""
    if not all(hasattr(cache, name) for name in ("append", "k", "v")):  # a notebook brings its own KVCache
        raise ValueError(f"cache is of type {type(cache).__name__}; give a KVCache().")
    queries_fit(q, k)
    continues(cache, k, v)


def two_positive_points(lengths: Sequence[float], values: Sequence[float]) -> None:
    """Raise ValueError unless a line through the logarithms is determined."""
    if len(lengths) != len(values):
        raise ValueError(f"there are {len(lengths)} lengths and {len(values)} values; give one value for each length.")
    if len(set(lengths)) < 2:
        raise ValueError("a slope needs at least two different lengths; measure at another one.")
    if not all(math.isfinite(number) and number > 0 for number in (*lengths, *values)):
        raise ValueError("lengths and values must be finite and above 0, since their logarithms are taken.")


# Windows, sinks and global tokens ----------------------------------------------------------------------------------


def is_whole(value, least: int) -> bool:
    """True for a whole number of `least` or more."""
    try:
        return operator.index(value) >= least
    except TypeError:
        return False


def pattern_is_sound(window: int, sinks: int, global_tokens: list[int] | None, **_) -> None:
    """Raise ValueError for a window, sinks or global tokens that no sequence can have."""
    if not is_whole(window, 1):
        raise ValueError(f"window is {window!r}; give a whole number of 1 or more.")
    if not is_whole(sinks, 0):
        raise ValueError(f"sinks is {sinks!r}; give a whole number, 0 for none.")
    if global_tokens is None:
        return
    listed = isinstance(global_tokens, list | tuple | range)
    if not listed or not all(is_whole(token, 0) for token in global_tokens):
        raise ValueError(f"global_tokens is {global_tokens!r}; give a list of positions from 0 on, for example [0].")


def pattern_fits(n: int, window: int, causal: bool, sinks: int, global_tokens: list[int] | None, **_) -> None:
    """Raise ValueError unless the pattern is sound and its global tokens are among n, none of them asked to look ahead.

    A window wider than the text and more sinks than tokens are sound.
    """
    pattern_is_sound(window, sinks, global_tokens)
    for token in global_tokens or ():
        if token >= n:
            raise ValueError(f"global token {token} lies outside the {n} tokens; give positions from 0 to {n - 1}.")
        if causal and token > 0:
            raise ValueError(
                f"global token {token} lies in the future of query 0, which may not look ahead; "
                "give causal=False, or use sinks for the first tokens."
            )


def block_is_inside(start: int, stop: int, n: int, **pattern) -> None:
    """Raise ValueError unless start, ..., stop - 1 are one or more of the n tokens."""
    if not (is_whole(start, 0) and is_whole(stop, start + 1) and is_whole(n, stop)):
        raise ValueError(f"start is {start}, stop is {stop}, n is {n}; give 0 <= start < stop <= n.")
    pattern_fits(n=n, **pattern)


def window_attention_fits(q: Tensor, k: Tensor, **pattern) -> None:
    """Raise ValueError unless the queries fit the keys, and the pattern fits their number."""
    queries_fit(q, k)
    pattern_fits(n=k.shape[-2], **pattern)


def window_chunk_fits(q: Tensor, k: Tensor, v: Tensor, cache) -> None:
    """Raise ValueError before a bad chunk reaches the cache, which would otherwise be spoilt for the next call."""
    if not all(hasattr(cache, name) for name in ("append", "keep", "position")):  # a notebook brings its own class
        raise ValueError(f"cache is of type {type(cache).__name__}; give a WindowCache(window).")
    queries_fit(q, k)
    continues(cache, k, v)


def row_exists(x: Tensor, row: int, **_) -> None:
    """Raise ValueError unless x has that row."""
    if not -x.shape[0] <= row < x.shape[0]:
        raise ValueError(f"row is {row}, but x has {x.shape[0]} rows; give 0 to {x.shape[0] - 1}.")


def layers_are_known(layer_types: tuple[str, ...], **_) -> None:
    """Raise ValueError unless there is a layer, and each is "full" or "window"."""
    if not layer_types:
        raise ValueError("layer_types is empty; give at least one layer.")
    for layer, name in enumerate(layer_types):
        if name not in ("full", "window"):
            raise ValueError(f'layer {layer} is {name!r}; give "full" or "window" for each.')


def unit_is_known(unit: str, **_) -> None:
    """Raise ValueError unless the unit is made of the letters G and L."""
    if not unit or set(unit) - set("GL"):
        raise ValueError(f'unit is {unit!r}; give letters G (global) and L (local), for example "GLL".')


# Scores, choices and figures ---------------------------------------------------------------------------------------


def scores_compare(scores: Tensor, causal: bool = False, **_) -> None:
    """Raise ValueError unless every score can be compared, and causal queries can be the last of the tokens."""
    if scores.isnan().any():
        at = scores.isnan().nonzero()[0].tolist()
        raise ValueError(f"scores holds nan at {at}, which has no place in an order; give numbers, or -inf for no key.")
    if causal and scores.shape[-2] > scores.shape[-1]:
        raise ValueError(
            f"there are {scores.shape[-2]} queries and {scores.shape[-1]} keys, and causal takes the queries for the "
            "last tokens; give at least as many keys as queries."
        )


def choice_fits(indices: Tensor, batch: int, queries: int, keys: int) -> None:
    """Raise ValueError unless indices are positions of keys or -1, for these queries, each key once in a row."""
    if not isinstance(indices, Tensor) or indices.dtype not in (torch.int32, torch.int64):
        given = indices.dtype if isinstance(indices, Tensor) else type(indices).__name__
        raise ValueError(f"indices is of type {given}; give whole numbers, torch.int64.")
    if indices.dim() != 3 or indices.shape[:2] != (batch, queries) or indices.shape[2] < 1:
        raise ValueError(f"indices has shape {tuple(indices.shape)}; give (batch, n, k), here ({batch}, {queries}, k).")
    if indices.min() < -1 or indices.max() >= keys:
        raise ValueError(
            f"indices reach from {indices.min()} to {indices.max()}; give 0 to {keys - 1}, or -1 for no key."
        )
    ordered = indices.sort(dim=-1).values
    twice = (ordered[..., 1:] == ordered[..., :-1]) & (ordered[..., 1:] >= 0)
    if twice.any():
        row = twice.nonzero()[0]
        key = ordered[tuple(row)].item()
        raise ValueError(f"indices of batch {row[0]}, query {row[1]} hold key {key} twice; give every key once.")


def heads_divide(q: Tensor, k: Tensor, **_) -> None:
    """Raise ValueError unless the heads of q form equal groups, one for each head of k."""
    if q.shape[1] % k.shape[1]:
        raise ValueError(f"q has {q.shape[1]} heads, k has {k.shape[1]}; give k a number of heads that divides q's.")


def gathered_fits(q: Tensor, k: Tensor, indices: Tensor, scale: float | None = None, **_) -> None:
    """Raise ValueError unless the choice is one of these keys for these queries."""
    heads_divide(q, k)
    if scale is not None and not math.isfinite(scale):
        raise ValueError(f"scale is {scale}; give a finite number, or None for 1 / √d.")
    choice_fits(indices, q.shape[0], q.shape[2], k.shape[2])
    if indices.device != q.device:
        raise ValueError(f"indices has device {indices.device}, but q has {q.device}; convert one of them with .to().")


def scores_fit_probabilities(scores: Tensor, probabilities: Tensor, indices: Tensor | None = None, **_) -> None:
    """Raise ValueError unless there is a probability of every candidate."""
    if indices is not None:
        choice_fits(indices, *scores.shape)
    candidates = scores.shape[2] if indices is None else indices.shape[2]
    if probabilities.shape[-1] != candidates:
        raise ValueError(
            f"probabilities has shape {tuple(probabilities.shape)} for {candidates} candidates; "
            f"give (batch, heads, n, {candidates})."
        )


def positive_scales(q_scale: Tensor, k_scale: Tensor, **_) -> None:
    """Raise ValueError unless all scales are positive: ReLU lets no other through."""
    for name, scale in (("q_scale", q_scale), ("k_scale", k_scale)):
        if scale.min() <= 0:
            raise ValueError(f"{name} holds {scale.min():g}; give positive scales, since ReLU(-a x) is not -a ReLU(x).")


def power_of_two(x: Tensor, **_) -> None:
    """Raise ValueError unless the vectors have 2, 4, 8, ... entries."""
    size = x.shape[-1]
    if size & (size - 1):
        raise ValueError(f"x has {size} entries; give a power of 2, which the transform halves down to 1.")


def mass_fits(target: Tensor, indices: Tensor, **_) -> None:
    """Raise ValueError unless the choice is one of the target's keys."""
    choice_fits(indices, *target.shape)


# A memory that corrects and forgets --------------------------------------------------------------------------------

GATES = {"linear": None, "delta": None, "decay": "head", "gated": "head", "channel": "channel"}
"""The rules of `gated_delta`, and whether each forgets by head, by channel or not at all."""


def first(found: Tensor) -> list[int]:
    """Where a boolean tensor is True for the first time."""
    return found.nonzero()[0].tolist()


def beside(x: Tensor, name: str, like: Tensor) -> None:
    """Raise ValueError unless x is a finite tensor on the device of `like`, in its dtype or in that of its sums."""
    wide = torch.promote_types(like.dtype, torch.float32)
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} is of type {type(x).__name__}; give a torch.Tensor of dtype {like.dtype}.")
    if x.dtype not in (like.dtype, wide) or x.device != like.device:
        raise ValueError(
            f"{name} is {x.dtype} on {x.device} beside {like.dtype} on {like.device}; convert it with .to()."
        )
    refuse_not_finite(**{name: x})


def decays_are_sound(g: Tensor, **_) -> None:
    """Raise ValueError unless g holds logarithms of factors above 0 and up to 1."""
    refuse_not_finite(g=g)
    if (g > 0).any():
        at = first(g > 0)
        raise ValueError(f"g holds {g[tuple(at)]:g} at {at}; give logarithms of what is kept, 0 or below.")


def gates_are_sound(k: Tensor, g: Tensor, b: Tensor) -> None:
    """Raise ValueError unless g and b are gates of these keys: one number for each, or for g one a channel."""
    beside(g, "g", k)
    beside(b, "b", k)
    if g.shape not in (k.shape[:-1], k.shape):
        shapes = f"{tuple(k.shape[:-1])}, or {tuple(k.shape)} with a decay for each channel"
        raise ValueError(f"g has shape {tuple(g.shape)} for keys of {tuple(k.shape)}; give {shapes}.")
    if b.shape != k.shape[:-1]:
        raise ValueError(f"b has shape {tuple(b.shape)} for keys of {tuple(k.shape)}; give {tuple(k.shape[:-1])}.")
    decays_are_sound(g)
    outside = (b < 0) | (b > 2)
    if outside.any():
        at = first(outside)
        raise ValueError(f"b holds {b[tuple(at)]:g} at {at}; give write strengths from 0 to 2, beyond which S grows.")


def state_is_sound(S: Tensor, k: Tensor, v: Tensor, leading: tuple[int, ...]) -> None:
    """Raise ValueError unless S can be the state of these keys and values."""
    shape, wide = (*leading, k.shape[-1], v.shape[-1]), torch.promote_types(k.dtype, torch.float32)
    given = type(S).__name__ if not isinstance(S, Tensor) else f"{S.dtype} on {S.device}, {tuple(S.shape)}"
    if not isinstance(S, Tensor) or (S.dtype, S.device, tuple(S.shape)) != (wide, k.device, shape):
        raise ValueError(f"S is {given}; give {wide} on {k.device}, {shape}: zeros, or what the tokens before left.")
    refuse_not_finite(S=S)


def step_is_sound(q: Tensor, k: Tensor, v: Tensor, g: Tensor, b: Tensor, S: Tensor, **_) -> None:
    """Raise ValueError unless all is finite, the gates fit the key, and S is a state of this kind of token."""
    refuse_not_finite(q=q, k=k, v=v)
    gates_are_sound(k, g, b)
    state_is_sound(S, k, v, tuple(k.shape[:-1]))


def chunk_is_sound(q: Tensor, k: Tensor, v: Tensor, g: Tensor, b: Tensor, S: Tensor, **_) -> None:
    """Raise ValueError unless all is finite, the gates fit the keys, and S is a state of this kind of chunk."""
    refuse_not_finite(q=q, k=k, v=v)
    gates_are_sound(k, g, b)
    state_is_sound(S, k, v, tuple(k.shape[:-2]))


def writes_are_sound(k: Tensor, v: Tensor, g: Tensor, b: Tensor, **_) -> None:
    """Raise ValueError unless keys and values are finite and the gates fit them."""
    refuse_not_finite(k=k, v=v)
    gates_are_sound(k, g, b)


def rule_is_known(rule: str) -> None:
    """Raise ValueError unless it is the name of a rule."""
    if rule not in GATES:
        raise ValueError(f"rule is {rule!r}; give one of {', '.join(GATES)}.")


def sequence_is_sound(k: Tensor, v: Tensor, g: Tensor | None, b: Tensor, S: Tensor | None, rule: str, **others) -> None:
    """Raise ValueError unless g is what the rule forgets by, and all else as in a chunk."""
    rule_is_known(rule)
    wanted = {None: None, "head": tuple(k.shape[:-1]), "channel": tuple(k.shape)}[GATES[rule]]
    given = tuple(g.shape) if isinstance(g, Tensor) else g
    if given != wanted:
        raise ValueError(f"g is {given} for the rule {rule!r}; give {wanted}, for keys of {tuple(k.shape)}.")
    refuse_not_finite(k=k, v=v, **{name: x for name, x in others.items() if name == "q"})
    gates_are_sound(k, torch.zeros_like(b) if g is None else g, b)
    if S is not None:
        state_is_sound(S, k, v, tuple(k.shape[:-2]))


def chunked_is_sound(q: Tensor, k: Tensor, chunk: int, doublings: Tensor | None, **others) -> None:
    """Raise ValueError unless the sequence is sound, and there is a whole number of doublings for each chunk."""
    sequence_is_sound(q=q, k=k, **others)
    if doublings is None:
        return
    doublings_are_whole(doublings)
    chunks = math.ceil(k.shape[-2] / chunk)
    if k.dim() != 4 or doublings.dim() != 2 or len(doublings) != len(k) or doublings.shape[1] < chunks:
        raise ValueError(
            f"doublings has shape {tuple(doublings.shape)} for keys of {tuple(k.shape)} in {chunks} chunks; "
            "give (batch, chunks) for keys of (batch, heads, n, d_key)."
        )


def doublings_are_whole(doublings: int | Tensor) -> None:
    """Raise ValueError unless all are whole numbers of 0 or more."""
    if isinstance(doublings, Tensor):
        whole = not doublings.is_floating_point() and doublings.numel() > 0 and bool((doublings >= 0).all())
    else:
        whole = is_whole(doublings, 0)
    if not whole:
        raise ValueError(f"doublings is {doublings!r}; give whole numbers of 0 or more.")


def map_is_sound(P: Tensor, R: Tensor, doublings: int | Tensor, **_) -> None:
    """Raise ValueError unless P is square and the doublings are one number, or one for each map."""
    if P.shape[-2] != P.shape[-1]:
        raise ValueError(f"P has shape {tuple(P.shape)}; give a square one, (..., d_key, d_key).")
    refuse_not_finite(P=P, R=R)
    doublings_are_whole(doublings)
    if isinstance(doublings, Tensor):
        fits = doublings.dim() <= P.dim() - 2 and all(
            here in (1, there) for here, there in zip(reversed(doublings.shape), reversed(P.shape[:-2]), strict=False)
        )
        if not fits:
            raise ValueError(f"doublings has shape {tuple(doublings.shape)}; give one that fits {tuple(P.shape[:-2])}.")


def overlap_is_sound(rho, b, times) -> None:
    """Raise ValueError unless rho is a cosine, b a write strength, and times a count or none."""
    for name, value, low, high in (("rho", rho, -1, 1), ("b", b, 0, 2), ("times", times, 0, math.inf)):
        numbers = torch.as_tensor(value)
        if not ((numbers >= low) & (numbers <= high)).all():
            range_of = f"from {low} to {high}" if high < math.inf else f"of {low} or more"
            raise ValueError(f"{name} is {value!r}; give a number {range_of}.")


def accepted_is_sound(accepted: int, drafted: int) -> None:
    """Raise ValueError unless no more tokens are accepted than were drafted."""
    if not is_whole(accepted, 0) or accepted > drafted:
        raise ValueError(f"accepted is {accepted!r}; give 0 to {drafted}, the tokens that were drafted.")


def draft_is_sound(S: Tensor, factors: tuple[Tensor, Tensor, Tensor], accepted: int) -> None:
    """Raise ValueError unless the factors are those of a draft on this state, and so many tokens are among them."""
    if not isinstance(factors, tuple | list) or len(factors) != 3:
        raise ValueError("factors are not three; give (k, u, a), as `factors` returns them.")
    k, u, a = factors
    same_kind({"S": S, "k": k, "u": u, "a": a}, any_dtype=("k",))
    same_sizes({"S": S, "k": k, "u": u}, {"S": "... d_key d_value", "k": "... n d_key", "u": "... n d_value"})
    if a.shape not in (k.shape[:-1], k.shape):
        raise ValueError(f"a has shape {tuple(a.shape)} for keys of {tuple(k.shape)}; give one a token or an entry.")
    refuse_not_finite(S=S, k=k, u=u, a=a)
    accepted_is_sound(accepted, k.shape[-2])


def layer_is_sound(config, rule: str, conv: int, chunk: int, half_lives) -> None:
    """Raise ValueError for a layer of the gated delta rule that can't be."""
    rule_is_known(rule)
    if not config.causal:
        raise ValueError("a state is read forwards; give causal = True.")
    if config.kv_heads not in (None, config.heads):
        raise ValueError(f"kv_heads is {config.kv_heads} for {config.heads} heads; each has a state, so give None.")
    for name, value in (("conv", conv), ("chunk", chunk)):
        if not is_whole(value, 1):
            raise ValueError(f"{name} is {value!r}; give a whole number of tokens, 1 or more.")
    if len(half_lives) != 2 or not 0 < half_lives[0] <= half_lives[1] < math.inf:
        raise ValueError(f"half_lives is {half_lives!r}; give two numbers of tokens above 0, the smaller one first.")
