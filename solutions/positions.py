"""Positions past the trained length: which pairs of RoPE break, and four rules that slow them down.

Pair i of a head turns by theta_i = base^(-2 i / head_dim) radians a token, and a score depends on how far the query
and the key have turned apart (Su et al., 2021). In L tokens the pair makes L theta_i / 2 pi turns. A fast pair has met
every angle in training. A slow one has met an arc, and past L it comes to angles that no weight was ever fitted to.

    linear     theta_i / s for all                                                   (Chen et al., 2023)
    ntk        base' = base s^(d / (d - 2)): the first pair as it was, the last / s   (Peng et al., 2023, definition 1)
    by-parts   by its turns, each pair is kept, divided by s, or in between           (definition 2)
               between the bounds, on a line over the turns, or, in the released code, over the pair's index
    yarn       by-parts, and logits that are larger by (0.1 ln s + 1)^2               (definition 3)

s, the factor, is the new length over the old. Shapes: frequencies (pairs,), radians a token, fast ones first.

The second half measures: `exact_lags` is a text in which every answer stands an exact number of tokens back,
`extend` gives a trained model new frequencies, and `loss_by_position` says where it then fails.
"""

import copy
import math
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solutions import streams, tiny
from solutions.accepts import is_whole
from solutions.quadratic import attention
from solutions.shapes import counts, in_float32, shapes
from solutions.tiny import TinyTransformer

# Which pairs break ------------------------------------------------------------------------------------------------


def head_is_sound(head_dim: int, base: float, **_) -> None:
    """Raise ValueError unless a head of this size can be turned with this base."""
    if not is_whole(head_dim, 2) or head_dim % 2:
        raise ValueError(f"head_dim is {head_dim!r}; give an even whole number of 2 or more, two entries to a pair.")
    if not 1 < base < math.inf:
        raise ValueError(f"base is {base}; give a number above 1, for example 10_000.")


def length_is_sound(length: int | None = None, original_length: int | None = None, **_) -> None:
    """Raise ValueError unless the length of the training text is a number of tokens."""
    tokens = length if original_length is None else original_length
    if not is_whole(tokens, 1):
        raise ValueError(f"the length is {tokens!r}; give the tokens of a training text, a whole number of 1 or more.")


def share_is_sound(alpha: float, beta: float, **_) -> None:
    """Raise ValueError unless a ramp can rise from alpha to beta turns."""
    if not 0 <= alpha < beta:
        raise ValueError(f"alpha is {alpha} and beta is {beta}; give turns with 0 <= alpha < beta.")


def training_is_sound(**given) -> None:
    """Raise ValueError unless the head, the length that it was trained at, and the ramp, if there is one, are sound."""
    head_is_sound(**given)
    length_is_sound(**given)
    if "alpha" in given:
        share_is_sound(**given)


@shapes(frequencies="pairs")
def wavelengths(frequencies: Tensor) -> Tensor:
    """Tokens that each pair takes for a whole turn of 2 pi: (pairs,)."""
    return 2 * math.pi / frequencies


@shapes(frequencies="pairs", check=length_is_sound)
def turns(frequencies: Tensor, length: int) -> Tensor:
    """Whole turns that each pair makes in a text of `length` tokens: (pairs,)."""
    return length / wavelengths(frequencies)


@shapes(check=training_is_sound)
def never_turned(head_dim: int, base: float, length: int) -> int:
    """How many of the head_dim / 2 pairs make less than one turn in `length` tokens: those that break beyond it."""
    frequencies = base ** (-2 * torch.arange(head_dim // 2) / head_dim)
    wavelength = 2 * math.pi / frequencies
    return int((wavelength > length).sum())


class Parts(NamedTuple):
    """How many pairs a rule by parts keeps as they are, blends, and divides by the factor."""

    kept: int
    blended: int
    divided: int


def ramp_is_known(ramp: str, alpha: float, **given) -> None:
    """Raise ValueError unless the head is sound and the ramp is one that can be drawn between these turns."""
    training_is_sound(alpha=alpha, **given)
    if ramp not in RAMPS:
        raise ValueError(f"ramp is {ramp!r}; give one of {', '.join(map(repr, RAMPS))}.")
    if ramp == "index" and not alpha:
        raise ValueError("alpha is 0; over the index give turns above 0: there is no pair that makes none.")


RAMPS = ("turns", "index")


@shapes(check=ramp_is_known)
def kept_shares(
    head_dim: int,
    base: float = 10_000.0,
    *,
    original_length: int,
    alpha: float = 1.0,
    beta: float = 32.0,
    ramp: str = "turns",
    truncate: bool = True,
) -> Tensor:
    """How much of each pair's own frequency a rule by parts keeps: 1 from beta turns on, 0 up to alpha.

    ramp: between them a straight line over the "turns" that a pair makes, as in the paper, or over its "index", as in
    the released code and the libraries and engines that follow it
    truncate: over the index, whether the ends are rounded outwards to whole pairs; gpt-oss leaves them as they are
    Returns (head_dim // 2,), float64.
    """
    if ramp == "turns":
        made = turns(base ** (-2 * torch.arange(head_dim // 2, dtype=torch.float64) / head_dim), original_length)
        return ((made - alpha) / (beta - alpha)).clamp(0, 1)
    low, high = (head_dim * math.log(original_length / (2 * math.pi * r)) / (2 * math.log(base)) for r in (beta, alpha))
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    if high <= low:  # all pairs on one side of the ramp; the released code makes the ramp a thousandth wide
        high = low + 1e-3
    return 1 - ((torch.arange(head_dim // 2, dtype=torch.float64) - low) / (high - low)).clamp(0, 1)


def parts(head_dim: int, base: float = 10_000.0, **ramp) -> Parts:
    """How many pairs of a head `kept_shares` leaves as they are, blends, and lets be divided; `ramp` as it takes it."""
    share = kept_shares(head_dim, base, **ramp)
    kept, divided = int((share == 1).sum()), int((share == 0).sum())
    return Parts(kept, len(share) - kept - divided, divided)


# The rules --------------------------------------------------------------------------------------------------------


def factor_is_sound(factor: float, **_) -> None:
    """Raise ValueError unless the factor makes a text longer, or leaves it."""
    if not 1 <= factor < math.inf:
        raise ValueError(f"factor is {factor}; give the new length over the old, 1 or more.")


def ntk_is_sound(head_dim: int, base: float, factor: float, **_) -> None:
    """Raise ValueError unless a base can be found that slows the last pair by the factor and the first by nothing."""
    head_is_sound(head_dim, base)
    factor_is_sound(factor)
    if head_dim == 2:
        raise ValueError("head_dim is 2; give 4 or more: a single pair is the first and the last at once.")


def ramp_is_sound(factor: float, original_length: int, alpha: float, beta: float, **_) -> None:
    """Raise ValueError unless factor, length and ramp are all sound."""
    factor_is_sound(factor)
    length_is_sound(original_length=original_length)
    share_is_sound(alpha, beta)


def angles_are_sound(position: Tensor, factor: float, **_) -> None:
    """Raise ValueError unless the positions are a row of numbers, and the factor is sound."""
    factor_is_sound(factor)
    if not isinstance(position, Tensor) or position.dim() != 1:
        raise ValueError(f"position is {position!r}; give a tensor (n,), for example torch.arange(n).")


@shapes(frequencies="pairs", check=angles_are_sound)
def interpolated_angles(position: Tensor, frequencies: Tensor, factor: float) -> Tensor:
    """How far each pair has turned at each position, when the new positions are squeezed into the old length.

    Position interpolation (Chen et al., 2023): position m becomes m / factor, between the whole ones.
    position: (n,), whole numbers or not; frequencies: (pairs,); factor: new length over old
    Returns (n, pairs), radians, in the dtype of the frequencies, and as exact: the same as if all frequencies were
    divided. (Whole numbers that are divided as they are become float32.)
    """
    return (position[:, None] * frequencies / factor).to(frequencies.dtype)


@shapes(check=ntk_is_sound)
def ntk_base(head_dim: int, base: float, factor: float) -> float:
    """The base that slows the last pair by the factor, and the first not at all (Peng et al., definition 1).

    head_dim: even, 4 or more: of a single pair no base slows the last and leaves the first
    Returns the base; five digits are enough.
    """
    return base * factor ** (head_dim / (head_dim - 2))


@shapes(frequencies="pairs", check=ramp_is_sound)
def by_parts(
    frequencies: Tensor, factor: float, original_length: int, alpha: float = 1.0, beta: float = 32.0
) -> Tensor:
    """Slow each pair by what its turns in training ask for (NTK-by-parts, Peng et al., 2023, definition 2).

    frequencies: (pairs,), two or more, fast ones first; factor: new length over old; original_length: tokens of a
    training text; alpha < beta: turns, also such that no pair makes them
    Returns (pairs,), in the dtype of frequencies: kept from beta turns on, divided by the factor up to alpha, and on a
    straight line between them. The line is over the turns. Over the pair's index, as in the released code, is right as
    well: see `kept_shares`.
    """
    keep = ((turns(frequencies, original_length) - alpha) / (beta - alpha)).clamp(0, 1)
    return keep * frequencies + (1 - keep) * frequencies / factor


SCALINGS = (None, "linear", "ntk", "by-parts", "yarn", "llama3")


def rule_is_sound(scaling: str | None, factor: float, **given) -> None:
    """Raise ValueError unless the rule is one of SCALINGS, and what it needs is sound."""
    head_is_sound(**given)
    factor_is_sound(factor)
    if scaling not in SCALINGS:
        raise ValueError(f"scaling is {scaling!r}; give one of {', '.join(map(repr, SCALINGS))}.")
    if scaling is None and factor != 1:
        raise ValueError(f"factor is {factor} without a scaling; give one of {', '.join(map(repr, SCALINGS[1:]))}.")
    if scaling == "ntk":
        ntk_is_sound(factor=factor, **given)
    if scaling == "llama3":
        given |= {"alpha": given["low_freq_factor"], "beta": given["high_freq_factor"]}
    if scaling in ("by-parts", "yarn", "llama3"):
        ramp_is_sound(factor=factor, **given)
        ramp_is_known(**given)


@shapes(check=rule_is_sound)
def rope_frequencies(
    head_dim: int,
    base: float = 10_000.0,
    *,
    scaling: str | None = None,
    factor: float = 1.0,
    original_length: int | None = None,
    alpha: float = 1.0,
    beta: float = 32.0,
    ramp: str = "turns",
    truncate: bool = True,
    low_freq_factor: float = 1.0,
    high_freq_factor: float = 4.0,
) -> Tensor:
    """How far each pair of a head turns from one token to the next, by a rule for texts longer than the trained.

    scaling: one of SCALINGS; factor: new length over old; original_length: tokens of a training text, for all rules
    that go by turns; alpha, beta: the turns between which "by-parts" and "yarn" blend
    ramp: blended over the "turns", as YaRN's paper defines it, or over the "index" of the pair, as its code and the
    engines do: a published model is loaded with "index". truncate: see `kept_shares`
    low_freq_factor, high_freq_factor: the same two under the names that "llama3" has for them. Its published rule keeps
    wavelengths below L / 4 and divides those above L: by parts, from 1 turn to 4.
    "yarn" has the frequencies of "by-parts"; its `yarn_temperature` goes on queries and keys.
    Returns (head_dim // 2,), float32, radians. With factor 1 every rule gives the frequencies of None.
    """
    if scaling == "ntk":
        base = ntk_base(head_dim, base, factor)
    frequencies = tiny.rope_frequencies(head_dim, base)
    if scaling == "linear":
        return frequencies / factor
    if scaling == "llama3":
        alpha, beta, ramp = low_freq_factor, high_freq_factor, "turns"
    if scaling in ("by-parts", "yarn", "llama3"):
        between = {"alpha": alpha, "beta": beta, "ramp": ramp, "truncate": truncate}
        share = kept_shares(head_dim, base, original_length=original_length, **between)
        return (share * frequencies + (1 - share) * frequencies / factor).float()
    return frequencies


@shapes(check=factor_is_sound)
def yarn_temperature(factor: float) -> float:
    """What queries and keys are each multiplied by, so the logits by its square (Peng et al., 2023, definition 3).

    The paper divides logits by t and gives sqrt(1 / t) = 0.1 ln(factor) + 1, which is this: 1 at factor 1, 1.416 at 64.
    """
    return 0.1 * math.log(factor) + 1


@shapes(q="... queries d", k="... keys d", v="... keys d_value", check=factor_is_sound)
@in_float32
def tempered_attention(q: Tensor, k: Tensor, v: Tensor, factor: float) -> Tensor:
    """Causal attention with YaRN's temperature: among more keys, each weight must stand out by more to count the same.

    q: (..., queries, d), the last tokens of k's, both rotated; k: (..., keys, d); v: (..., keys, d_value)
    Returns (..., queries, d_value), in the dtype of q. With factor 1 plain causal attention.
    """
    temperature = yarn_temperature(factor)
    return attention(temperature * q, temperature * k, v, causal=True)


# A trained model with other frequencies ---------------------------------------------------------------------------


def extend(model: TinyTransformer, frequencies: Tensor, temperature: float = 1.0) -> TinyTransformer:
    """A copy of a model that turns by other frequencies, in every layer that turns at all.

    frequencies: (pairs,), as many as the model's heads have; temperature: on queries and keys each, and since they are
    linear in the input it goes into their weights
    The config still tells of the old positions: a copy is for measuring or training on, not for saving.
    Raises ValueError for a model that knows no positions, and for another number of pairs.
    """
    extended = copy.deepcopy(model)
    turning = [module for module in extended.modules() if len(getattr(module, "frequencies", ()))]
    if not turning:
        raise ValueError(
            "the model knows no positions: give one whose config has a rope_base and a rope_share above 0."
        )
    for module in turning:
        if frequencies.shape != module.frequencies.shape:
            given, expected = tuple(frequencies.shape), tuple(module.frequencies.shape)
            raise ValueError(f"frequencies has shape {given}; give {expected}, a frequency for each pair that turns.")
        module.frequencies = frequencies.to(module.frequencies)
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature}; give a number above 0, for example yarn_temperature(8).")
    with torch.no_grad():
        for layer in extended.layers:
            layer.attention.to_q.weight.mul_(temperature)
            layer.attention.to_k.weight.mul_(temperature)
    return extended


def bins_fit(tokens: Tensor, edges: list[int], counted: Tensor | None, **_) -> None:
    """Raise ValueError unless the edges rise within the text, and there is something to count before each of them."""
    if not isinstance(tokens, Tensor) or tokens.dim() != 2:
        raise ValueError(f"tokens is of type {type(tokens).__name__}; give a tensor of whole numbers, (batch, n).")
    n = tokens.shape[1]
    if not len(edges) or any(not is_whole(edge, 2) for edge in edges) or not all(a < b for a, b in pairwise(edges)):
        raise ValueError(f"edges is {edges!r}; give rising whole numbers of 2 or more, for example [128, 256, 512].")
    if edges[-1] > n:
        raise ValueError(f"edges end at {edges[-1]}, but tokens has {n} positions; give edges up to {n}.")
    if counted is None:
        return
    if counted.shape != tokens.shape or counted.dtype != torch.bool:
        given = f"{counted.dtype}, {tuple(counted.shape)}"
        raise ValueError(f"counted is {given}; give a boolean of the tokens' shape, {tuple(tokens.shape)}.")
    for low, high in pairwise((1, *edges)):
        if not counted[:, low:high].any():
            raise ValueError(f"nothing is counted from position {low} to {high - 1}; give more tokens or wider bins.")


@torch.no_grad()
@shapes(check=bins_fit)
def loss_by_position(model: nn.Module, tokens: Tensor, edges: list[int], counted: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of the tokens at positions below edges[0], then from there to below edges[1], and so on.

    tokens: (batch, n), each row a text read whole; edges: rising, at most n; a position is that of the token predicted,
    so position 0, before which nothing stands, never counts
    counted: boolean (batch, n), which tokens count, some of them in every stretch; None for all
    Returns (len(edges),), nats, in the dtype of the model's output.
    """
    nats = streams.surprise(model, tokens)  # of the tokens at positions 1, 2, ..., n - 1
    counted = torch.ones_like(nats, dtype=torch.bool) if counted is None else counted[:, 1:]
    losses = []
    for low, high in pairwise((1, *edges)):
        here = slice(low - 1, high - 1)
        losses.append(nats[:, here][counted[:, here]].mean())
    return torch.stack(losses)


# A text in which the distance must be exact -----------------------------------------------------------------------

SYMBOLS = 32
LAGS, FAR_LAGS = (3, 7, 15, 31), (200, 600)
VOCABULARY = SYMBOLS + len(LAGS) + len(FAR_LAGS)  # symbols first, then one marker for each lag


@counts("batch", "n")
def exact_lags(batch: int, n: int, generator: torch.Generator, *, far: float = 0.0) -> streams.Sample:
    """Symbols at random, and at a quarter of the places markers: after a marker comes the symbol its lag before it.

    far: share of the markers whose lag is one of FAR_LAGS; the others are of LAGS, each as often
    Markers never stand side by side. Where a marker points before the start or at a marker, what follows is a symbol at
    random, and its distance is 0: it can't be told. Everywhere else distance is the lag. Nothing is ordinary.
    """
    asks = torch.rand(batch, n, generator=generator) < 0.5
    marker = asks & ~F.pad(asks[:, :-1], (1, 0))
    near_lag, far_lag = (
        first + torch.randint(len(lags), (batch, n), generator=generator)
        for first, lags in ((0, LAGS), (len(LAGS), FAR_LAGS))
    )
    which = torch.where(torch.rand(batch, n, generator=generator) < far, far_lag, near_lag)
    tokens = torch.where(marker, SYMBOLS + which, torch.randint(SYMBOLS, (batch, n), generator=generator))
    lag = F.pad(torch.tensor(LAGS + FAR_LAGS)[which][:, :-1], (1, 0))  # from here on at the answer, behind the marker
    source = torch.arange(n) - 1 - lag
    told = F.pad(marker[:, :-1], (1, 0)) & (source >= 0) & ~marker.gather(1, source.clamp(min=0))
    for i in told.any(dim=0).nonzero().flatten():  # in order, since an answer may be copied again
        copied = tokens.gather(1, source[:, i : i + 1].clamp(min=0))[:, 0]
        tokens[:, i] = torch.where(told[:, i], copied, tokens[:, i])
    return streams.Sample(tokens, torch.where(told, lag, 0), torch.zeros_like(told))


@torch.no_grad()
@counts("farthest")
def copied_from(model: nn.Module, sample: streams.Sample, lags: tuple[int, ...], farthest: int) -> Tensor:
    """Where a model copies from when it is asked for each lag: the share of answers that equal the token d before.

    Answers that have `farthest` tokens before their marker count; a symbol agrees by chance once in SYMBOLS.
    Returns (len(lags), farthest + 1), of which column d is for the token d places before the marker: 1 at d = lag for a
    model that is right.
    """
    choice, shares = model(sample.tokens[:, :-1]).argmax(dim=-1), []
    for lag in lags:
        row, place = ((sample.distance == lag) & (torch.arange(sample.tokens.shape[1]) > farthest)).nonzero().T
        if not len(row):
            raise ValueError(
                f"no answer at lag {lag} has {farthest} tokens before its marker; give more or longer texts."
            )
        source = place[:, None] - 1 - torch.arange(farthest + 1)
        shares.append((sample.tokens[row[:, None], source] == choice[row, place - 1][:, None]).float().mean(dim=0))
    return torch.stack(shares)
