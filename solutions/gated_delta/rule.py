"""One token after the other: what every other form of the rule has to equal."""

import torch
from torch import Tensor

from solutions.accepts import overlap_is_sound, sequence_is_sound, step_is_sound
from solutions.shapes import in_float32, shapes, state_in_float32


@shapes(x="... d")
@in_float32
def unit(x: Tensor) -> Tensor:
    """x / √(|x|² + 10⁻⁶): length 1, and 0 where x is 0, with a gradient of at most 1,000 there.

    x: (..., d); the same comes back. The released code adds the same 10⁻⁶ inside the root.
    """
    return x * (x.square().sum(dim=-1, keepdim=True) + 1e-6).rsqrt()


def by_channel(g: Tensor, k: Tensor) -> Tensor:
    """Log decays with a dimension for the channels of k: (..., 1) where all channels share one, else (..., d_key)."""
    return g if g.dim() == k.dim() else g[..., None]


@shapes(q="... d_key", k="... d_key", v="... d_value", S="... d_key d_value", any_dtype=("S",), check=step_is_sound)
@state_in_float32
def delta_step(q: Tensor, k: Tensor, v: Tensor, g: Tensor, b: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    """One token: forget, read, write what is new, look up (Gated DeltaNet, arXiv 2412.06464, eq. 10).

    q, k: (..., d_key); v: (..., d_value); g: (...), the log of what is kept, 0 or below, or (..., d_key) for each
    channel its own (Kimi Linear, arXiv 2510.26692, eq. 1); b: (...), the write strength, 0 to 2; S: (..., d_key,
    d_value), zeros before the first token
    Returns what q finds after the write, (..., d_value), and the new S. A key of length 1 with b = 1 is read back as
    exactly v. Others are taken as they are, as in the released code: where b |k|² passes 2 the state grows.
    """
    S = by_channel(g, k).exp()[..., None] * S
    told = torch.einsum("...k,...kv->...v", k, S)
    S = S + k[..., :, None] * (b[..., None] * (v - told))[..., None, :]
    return torch.einsum("...k,...kv->...v", q, S), S


@shapes(q="... d_key", k="... d_key", v="... d_value", S="... d_key d_value", any_dtype=("S",), check=step_is_sound)
@state_in_float32
def add_step(q: Tensor, k: Tensor, v: Tensor, g: Tensor, b: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    """One token that is added, whatever the memory says of its key (Mamba-2, arXiv 2405.21060, and g = 0: linear).

    Arguments and result as in `delta_step`. Mamba-2's own b is the step that also sets its decay.
    """
    S = by_channel(g, k).exp()[..., None] * S + k[..., :, None] * (b[..., None] * v)[..., None, :]
    return torch.einsum("...k,...kv->...v", q, S), S


STEPS = {"linear": add_step, "decay": add_step, "delta": delta_step, "gated": delta_step, "channel": delta_step}
"""How a token is written, by the name of the rule."""


def empty_state(k: Tensor, v: Tensor) -> Tensor:
    """The S of a stream of which nothing is read: zeros, float32, or float64 beside float64."""
    wide = torch.promote_types(k.dtype, torch.float32)
    return k.new_zeros(*k.shape[:-2], k.shape[-1], v.shape[-1], dtype=wide)


@shapes(q="... n d_key", k="... n d_key", v="... n d_value", check=sequence_is_sound)
@state_in_float32
def recurrent(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, b: Tensor, S: Tensor | None = None, *, rule: str = "gated"
) -> tuple[Tensor, Tensor]:
    """A sequence, token by token: the definition.

    q, k: (..., n, d_key); v: (..., n, d_value); b: (..., n); S: (..., d_key, d_value), None for an empty one
    g: (..., n), or (..., n, d_key) for "channel"; None for "linear" and "delta", which forget nothing
    Returns (..., n, d_value) in q's dtype, and the S after the last token, in float32 (float64 beside float64).
    """
    S = empty_state(k, v) if S is None else S
    g = torch.zeros_like(b) if g is None else g
    tokens = zip(*(each.unbind(-2) for each in (q, k, v, by_channel(g, k), b[..., None])), strict=True)
    out = []
    for q_t, k_t, v_t, g_t, b_t in tokens:
        found, S = STEPS[rule](q_t, k_t, v_t, g_t, b_t[..., 0], S)
        out.append(found)
    return torch.stack(out, dim=-2), S


@shapes(check=overlap_is_sound)
def left_over(rho, b, times):
    """What is left of a pair after another unit key was written over and over: 1 - ρ² (1 - (1 - b)^times).

    rho: the cosine of the two keys, -1 to 1; b: write strength, 0 to 2; times: how often, 0 or more; numbers or tensors
    Returns the share of the first value that its key still reads. It never falls below 1 - 2 ρ², and for b = 1 one
    write takes all there is to take: a filler that repeats itself is kind. See `left_over_among_new`.
    """
    return 1 - rho**2 * (1 - (1 - b) ** times)


@shapes(check=overlap_is_sound)
def left_over_among_new(rho, b, times):
    """What is left of a pair, on average, after so many other keys, each drawn anew: (1 - b ρ²)^times.

    rho: √(mean squared cosine), 1 / √d for unit keys of any direction; arguments as in `left_over`. It falls to 0.
    """
    return (1 - b * rho**2) ** times
