"""What the tiny models read: made-up streams of tokens, in which every answer and its distance are known.

    recall      key value word  key value word ...     A key that comes again has the same value: look back for it.
                                                       The words are a text of their own: each follows from the last.
    defaults    start  key value  key value ...        Half of the keys always have the same value, known by heart;
                                                       the others have one of this sequence, to be looked up.

`distance` says, at each value that must be looked up, how far behind the key that asks the last copy of the answer
stands: a window of W sees it if the distance is at most W - 1. The loss counts what can be told from the tokens before:
values to look up, and the ordinary rest, which needs nothing far (words; values known by heart).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solutions.shapes import counts

KEYS, VALUES, WORDS = 64, 32, 16
START = KEYS + VALUES + WORDS  # tokens are numbered keys first, then values, then words, then the start token
VOCABULARY = START + 1

REPEAT = 0.6  # share of the pairs that repeat an earlier one
FOLLOWERS = (5 * torch.arange(WORDS)[:, None] + torch.tensor([1, 4, 6, 11])) % WORDS  # of each word, (WORDS, 4)
FOLLOWER_SHARES = torch.tensor([0.55, 0.25, 0.15, 0.05])
WORD_ENTROPY = -(FOLLOWER_SHARES * FOLLOWER_SHARES.log()).sum().item()  # nats: no model can do better on the words


@dataclass(frozen=True)
class Sample:
    """tokens, distance (batch, n); ordinary (batch, n), True where the answer is near or known by heart."""

    tokens: Tensor
    distance: Tensor
    ordinary: Tensor


@counts("batch", "triples")
def recall(batch: int, triples: int, generator: torch.Generator) -> Sample:
    """Sequences of key, value, word, (batch, 3 * triples).

    A pair repeats an earlier one with probability REPEAT, near or far: as far back as a draw says that is uniform in
    the logarithm. Otherwise its key is new, and its value cannot be told.
    """
    rows = torch.arange(batch)
    values = torch.randint(VALUES, (batch, KEYS), generator=generator)
    unused, used = torch.rand(batch, KEYS, generator=generator).argsort(dim=-1), torch.zeros(batch, dtype=torch.long)
    repeats = torch.rand(batch, triples, generator=generator) < REPEAT
    exponent = torch.rand(batch, triples, generator=generator)
    follower = torch.multinomial(FOLLOWER_SHARES.expand(batch, -1), triples, replacement=True, generator=generator)
    key, word = torch.empty(2, batch, triples, dtype=torch.long)
    for i in range(triples):
        back = (exponent[:, i] * math.log(max(i, 1))).exp().round().long()
        again = (repeats[:, i] & (i > 0)) | (used == KEYS)
        key[:, i] = torch.where(again, key[rows, i - back], unused[rows, used.clamp(max=KEYS - 1)])
        word[:, i] = FOLLOWERS[word[:, i - 1] if i else torch.zeros_like(used), follower[:, i]]
        used += ~again
    value = values.gather(1, key)
    tokens = torch.stack([key, KEYS + value, KEYS + VALUES + word], dim=-1).flatten(1)
    return Sample(tokens, answers(key, 3), tokens.ge(KEYS + VALUES) & (torch.arange(3 * triples) > 2))


@counts("batch", "pairs")
def defaults(batch: int, pairs: int, generator: torch.Generator) -> Sample:
    """The start token, then keys and values, (batch, 1 + 2 * pairs). Keys from KEYS // 2 on have a value for good."""
    key = torch.randint(KEYS, (batch, pairs), generator=generator)
    values = torch.randint(VALUES, (batch, KEYS), generator=generator)
    values[:, KEYS // 2 :] = torch.arange(KEYS // 2) % VALUES
    tokens = torch.stack([key, KEYS + values.gather(1, key)], dim=-1).flatten(1)
    by_heart = torch.stack([torch.zeros_like(key, dtype=torch.bool), key >= KEYS // 2], dim=-1).flatten(1)
    distance = answers(key, 2).masked_fill(by_heart, 0)
    start = lambda each, value: F.pad(each, (1, 0), value=value)  # noqa: E731
    return Sample(start(tokens, START), start(distance, 0), start(by_heart, False))


def answers(key: Tensor, stride: int) -> Tensor:
    """The distances of a stream of items, `stride` tokens each, that begin with key, value: (batch, items * stride)."""
    rows, index = torch.arange(len(key)), torch.arange(key.shape[1])
    seen = torch.full((len(key), KEYS), -1)  # the item in which each key came last
    last = torch.empty_like(key)
    for i in index:  # not all pairs at once: a stream may have 100,000 items
        last[:, i] = seen[rows, key[:, i]]
        seen[rows, key[:, i]] = i
    distance = torch.zeros(*key.shape, stride, dtype=torch.long)
    distance[..., 1] = torch.where(last >= 0, (index - last) * stride - 1, 0)
    return distance.flatten(1)


def surprise(model: nn.Module, tokens: Tensor) -> Tensor:
    """Cross-entropy of every token but the first, given those before it: (batch, n - 1), in nats."""
    logits = model(tokens[:, :-1])
    return F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")


def loss(model: nn.Module, sample: Sample) -> Tensor:
    """Mean surprise of the tokens that can be told from those before: what the models are trained on."""
    told = sample.ordinary | (sample.distance > 0)
    return surprise(model, sample.tokens)[told[:, 1:]].mean()


@torch.no_grad()
def right(model: nn.Module, tokens: Tensor) -> Tensor:
    """Where the likeliest token is the one that came: (batch, n - 1), for every token but the first."""
    return model(tokens[:, :-1]).argmax(dim=-1) == tokens[:, 1:]


@torch.no_grad()
def ordinary_loss(model: nn.Module, sample: Sample, stretch: int | None = None) -> list[float]:
    """Mean surprise of the ordinary tokens, in stretches of that many tokens one after the other; None for all."""
    nats, ordinary = surprise(model, sample.tokens), sample.ordinary[:, 1:]
    width = stretch or nats.shape[1]
    return [part[mask].mean().item() for part, mask in zip(nats.split(width, 1), ordinary.split(width, 1), strict=True)]


@torch.no_grad()
def recall_by_distance(model: nn.Module, sample: Sample, edges: Sequence[int]) -> list[tuple[int, int]]:
    """(looked up rightly, asked) for distances 1 ... edges[0], then beyond it to edges[1], and so on."""
    found, distance = right(model, sample.tokens), sample.distance[:, 1:]
    bands = [(distance > low) & (distance <= high) for low, high in pairwise((0, *edges))]
    return [(int(found[band].sum()), int(band.sum())) for band in bands]
