"""Many tokens at once, equal to the loop: a triangular solve for what each one writes, and products of matrices.

    A = b_i (k_i · k_j) D_ij,  j < i          what token j, faded, already says for the key of token i
    U = (I + A)⁻¹ b V                         what the tokens write where S is empty
    W = (I + A)⁻¹ b exp(G) K                  what each takes off for what S says before the chunk
    u = U - W S                               what they do write
    O = exp(G) Q S + (Q Kᵀ D) u               what the queries find: in S, and in the chunk up to themselves
    S ← exp(G_C) S + (exp(G_C - G) K)ᵀ u

G is the sum of g from the first token of the chunk to this one, itself included, and D_ij = exp(G_i - G_j). (Gated
DeltaNet, arXiv 2412.06464, section 3.3, whose last formula has the plain causal mask in place of D; per channel: Kimi
Linear, arXiv 2510.26692, eq. 2 to 9; without decay: arXiv 2406.06484.)
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from solutions.accepts import (
    chunk_is_sound,
    chunked_is_sound,
    decays_are_sound,
    map_is_sound,
    writes_are_sound,
)
from solutions.gated_delta.rule import by_channel, empty_state
from solutions.shapes import counts, in_float32, shapes, state_in_float32


@shapes(g="... C", check=decays_are_sound)
@in_float32
def decay_matrix(g: Tensor) -> Tensor:
    """What of token j is left at token i: exp(g_{j+1} + ... + g_i), (..., C, C); 1 for j = i, and 0 for j > i.

    g: (..., C), log decays, 0 or below. Each sum is made by itself: exp(G_i) / exp(G_j) is 0 / 0 after 64 tokens of -5,
    and G_i - G_j has lost its last digits where one token before them forgot a lot. What comes after i stays out, also
    of rounding and gradient.
    """
    after = g[..., :, None].expand(*g.shape, g.shape[-1]).tril(-1)  # row t, column j: g_t, where t comes after j
    return after.cumsum(dim=-2).exp().tril()


def overlaps(x: Tensor, k: Tensor, g: Tensor) -> Tensor:
    """x_i · k_j, each channel faded from token j to token i, (..., C, C); 0 for j > i."""
    g = by_channel(g, k)
    if g.shape[-1] == 1:
        return x @ k.mT * decay_matrix(g[..., 0])
    return torch.einsum("...id,...jd,...dij->...ij", x, k, decay_matrix(g.mT))


@shapes(k="... C d_key", v="... C d_value", check=writes_are_sound)
@in_float32
def chunk_writes(k: Tensor, v: Tensor, g: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """What the tokens of a chunk write where S is empty, U, and what each takes off for a unit of S, W.

    k: (..., C, d_key); v: (..., C, d_value); g: (..., C) or (..., C, d_key); b: (..., C)
    Returns U (..., C, d_value) and W (..., C, d_key): with S before the chunk, token i writes u_i = U_i - W_i S. Row by
    row, the first token first: the inverse of I + A by doubling, (I - A)(I + A²)(I + A⁴)..., is off by 2·10⁹ in float32
    where 64 keys are the same.
    """
    kept = by_channel(g, k).cumsum(dim=-2).exp()
    A = b[..., None] * overlaps(k, k, g)  # the solver looks below the diagonal alone, and takes the diagonal for 1
    alone = b[..., None] * torch.cat([v, kept * k], dim=-1)
    both = torch.linalg.solve_triangular(A, alone, upper=False, unitriangular=True)
    U, W = both.split([v.shape[-1], k.shape[-1]], dim=-1)
    return U, W


@shapes(k="... C d_key", v="... C d_value", check=writes_are_sound)
@in_float32
def chunk_adds(k: Tensor, v: Tensor, g: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """`chunk_writes` of a memory that adds: every token writes b v, whatever was there."""
    return b[..., None] * v, torch.zeros_like(k)


WRITES: dict[str, Callable] = {
    "linear": chunk_adds,
    "decay": chunk_adds,
    "delta": chunk_writes,
    "gated": chunk_writes,
    "channel": chunk_writes,
}
"""What the tokens of a chunk write, by the name of the rule."""


def chunk_reads(q: Tensor, k: Tensor, g: Tensor, u: Tensor, S: Tensor) -> Tensor:
    """What the queries of a chunk find in the S before it and in what it writes, u: (..., C, d_value)."""
    kept = by_channel(g, k).cumsum(dim=-2).exp()
    return (kept * q) @ S + overlaps(q, k, g) @ u


def chunk_ends(k: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """What is left of S when a chunk is over, (..., 1 or d_key, 1), and of its keys, (..., C, d_key)."""
    g = by_channel(g, k)
    after = F.pad(g[..., 1:, :], (0, 0, 0, 1)).flip(-2).cumsum(dim=-2).flip(-2)  # G_C - G, without a difference
    return g.sum(dim=-2)[..., None].exp(), after.exp() * k


@shapes(
    q="... C d_key", k="... C d_key", v="... C d_value", S="... d_key d_value", any_dtype=("S",), check=chunk_is_sound
)
@state_in_float32
def chunk_step(q: Tensor, k: Tensor, v: Tensor, g: Tensor, b: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    """One chunk: what its queries find, and the state after it. Equal to `delta_step` of its tokens in turn.

    q, k: (..., C, d_key); v: (..., C, d_value); g: (..., C) or (..., C, d_key); b: (..., C); S: (..., d_key, d_value)
    Returns (..., C, d_value), in q's dtype, and S, in float32 (float64 beside float64).
    """
    U, W = chunk_writes(k, v, g, b)
    u = U - W @ S
    kept, faded = chunk_ends(k, g)
    return chunk_reads(q, k, g, u, S), kept * S + faded.mT @ u


def chunk_map(k: Tensor, g: Tensor, U: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
    """A chunk as an affine map: it leaves P S + R of S. P (..., d_key, d_key), R (..., d_key, d_value)."""
    kept, faded = chunk_ends(k, g)
    P = kept * torch.eye(k.shape[-1], dtype=k.dtype, device=k.device) - faded.mT @ W
    return P, faded.mT @ U


@shapes(P="... rows d_key", R="... d_key d_value", check=map_is_sound)
@in_float32
def repeat_chunk(P: Tensor, R: Tensor, doublings: int | Tensor) -> tuple[Tensor, Tensor]:
    """The map of a chunk that is read 2^doublings times in a row: twice P S + R is P P S + (P R + R).

    P: (..., d_key, d_key); R: (..., d_key, d_value); doublings: a whole number of 0 or more, or a tensor of them for
    the leading dimensions
    Returns P and R of the same shapes. Ten doublings, twenty products, make a chunk of 64 tokens one of 65,536.
    """
    doublings = torch.as_tensor(doublings, device=P.device)
    for done in range(int(doublings.max())):
        again = (done < doublings)[..., None, None]
        P, R = torch.where(again, P @ P, P), torch.where(again, P @ R + R, R)
    return P, R


@counts("chunk")
@shapes(q="... n d_key", k="... n d_key", v="... n d_value", check=chunked_is_sound)
@state_in_float32
def chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    b: Tensor,
    S: Tensor | None = None,
    *,
    rule: str = "gated",
    chunk: int = 64,
    doublings: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """A sequence, `chunk` tokens at a time, all chunks side by side but for the states between them.

    Arguments and result as in `recurrent`, which it equals for any chunk: a last one that is not full is filled up with
    tokens that change nothing, and one longer than the text is cut to it.
    doublings: (batch, chunks), where the leading dimensions are (batch, heads): the state goes on as if each chunk had
    been read 2^doublings times in a row, so that a long filler is learned from without being read; what its queries
    find is what they find the first time.
    """
    n, chunk = q.shape[-2], min(chunk, q.shape[-2])
    S = empty_state(k, v) if S is None else S
    g = by_channel(torch.zeros_like(b) if g is None else g, k)
    q, k, v, g, b = (F.pad(x, (0, 0, 0, -n % chunk)).unflatten(-2, (-1, chunk)) for x in (q, k, v, g, b[..., None]))
    U, W = WRITES[rule](k, v, g, b[..., 0])
    P, R = chunk_map(k, g, U, W)
    if doublings is not None:
        P, R = repeat_chunk(P, R, doublings[:, None, : P.shape[2]])
    before = []
    for P_c, R_c in zip(P.unbind(-3), R.unbind(-3), strict=True):
        before.append(S)
        S = P_c @ S + R_c
    found = torch.stack(before, dim=-3)
    out = chunk_reads(q, k, g, U - W @ found, found)
    return out.flatten(-3, -2)[..., :n, :], S
