"""Taking back tokens: a state can't be cropped, but what a token wrote is known by a few numbers.

    S_t = a_t S_{t-1} + k_t u_tᵀ        with k, u and a of the draft's tokens, and one S from before it, every S_t
"""

import torch
from torch import Tensor

from solutions.accepts import draft_is_sound, sequence_is_sound
from solutions.gated_delta.chunk import WRITES
from solutions.gated_delta.rule import by_channel, empty_state
from solutions.shapes import shapes, wide


@shapes(k="... n d_key", v="... n d_value", check=sequence_is_sound)
def factors(
    k: Tensor, v: Tensor, g: Tensor | None, b: Tensor, S: Tensor | None = None, *, rule: str = "gated"
) -> tuple[Tensor, Tensor, Tensor]:
    """What each token does to the state: it multiplies it by a, and adds k uᵀ. Arguments as in `recurrent`.

    Returns k (..., n, d_key), as it came, u (..., n, d_value) and a, in the shape of g, both float32 (float64 beside
    float64): 2 d + 1 numbers for a token and head, where a state has d². All n tokens are one chunk here.
    """
    S = empty_state(k, v) if S is None else S
    g, b = wide(torch.zeros_like(b) if g is None else g), wide(b)
    U, W = WRITES[rule](wide(k), wide(v), g, b)
    return k, U - W @ S, g.exp()


@shapes(check=draft_is_sound)
def accept(S: Tensor, factors: tuple[Tensor, Tensor, Tensor], accepted: int) -> Tensor:
    """The state after the first `accepted` tokens of a draft.

    S: (..., d_key, d_value), from before the draft; factors: what `factors` gave for its n tokens; accepted: 0 to n
    Returns S of the same shape. It is made forwards: to divide the last state by a token's a, which may be 0.05, makes
    its rounding 20 times larger.
    """
    k, u, a = factors
    a = by_channel(a, k)[..., None]  # (..., n, 1 or d_key, 1)
    for t in range(accepted):
        S = a[..., t, :, :] * S + k[..., t, :, None] * u[..., t, None, :]
    return S
