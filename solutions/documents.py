"""Documents of a few facts: filler text, and names in it whose attribute the document settles once and for all.

    word word word word NAME attribute word word word word word NAME attribute ...

A document has some names, each with one attribute, drawn anew for every document. After 4 to 8 words one of the names
is mentioned, and its attribute follows: one token in eight is an attribute. Which name is Zipf's law over the names of
the document, so that some come again soon and others late. The words are a text of their own, each follows from the
last word.

Every token counts. What can be known of a word stands near; of a name, which names the document has; of an attribute
that was said before, everything, if it is remembered. `distance` is as in `solutions.streams`: at such an attribute,
how far behind the name that asks the last copy of the answer stands; 0 everywhere else.
"""

import math
from itertools import accumulate

import torch
from torch import Tensor

from solutions.shapes import counts
from solutions.streams import FOLLOWER_SHARES, WORD_ENTROPY, Sample

NAMES, ATTRIBUTES, WORDS = 128, 32, 64  # tokens are numbered in this order
VOCABULARY = NAMES + ATTRIBUTES + WORDS
FEWEST, MOST = 4, 8  # words between two mentions, each number as likely as the others
RUNS = range(FEWEST, MOST + 1)

FOLLOWERS = (5 * torch.arange(WORDS)[:, None] + torch.tensor([1, 4, 6, 11])) % WORDS  # of each word, (WORDS, 4)
FOLLOWS = FOLLOWERS.tolist()
GOES_ON = sum((RUNS.stop - i) / len(RUNS) * math.log((RUNS.stop + 1 - i) / (RUNS.stop - i)) for i in RUNS[1:])
WORD_FLOOR = WORD_ENTROPY + GOES_ON / (sum(RUNS) / len(RUNS))  # nats a word: which follows, and that no name does
NAME_CHANCE = math.log(NAMES) + math.log(len(RUNS)) - GOES_ON  # nats a name, of whoever knows only when one may come
ATTRIBUTE_CHANCE = math.log(ATTRIBUTES)


@counts("n")
def documents(facts: Tensor, n: int, generator: torch.Generator) -> Sample:
    """One document of n tokens for each number of facts, (batch,): tokens (batch, n), and in `ordinary` the words."""
    batch, mentions = len(facts), n // (FEWEST + 2) + 1
    rows = torch.arange(batch)
    runs = torch.randint(FEWEST, MOST + 1, (batch, mentions), generator=generator)
    start = (runs + 2).cumsum(1) - 2  # where the names stand
    rank = torch.arange(1, NAMES + 1)
    weight = (rank <= facts[:, None]) / rank  # Zipf's law
    names = torch.rand(batch, NAMES, generator=generator).argsort(1)
    attributes = torch.randint(ATTRIBUTES, (batch, NAMES), generator=generator)
    which = torch.multinomial(weight, mentions, replacement=True, generator=generator)
    name, attribute = names.gather(1, which), attributes.gather(1, which)

    length = int(start.max()) + 2
    tokens, distance = torch.zeros(2, batch, length, dtype=torch.long)
    tokens.scatter_(1, start, name).scatter_(1, start + 1, NAMES + attribute)
    ordinary = torch.ones(batch, length, dtype=torch.bool)
    ordinary.scatter_(1, start, False).scatter_(1, start + 1, False)

    first = torch.randint(WORDS, (batch,), generator=generator)
    follower = torch.multinomial(FOLLOWER_SHARES.expand(batch, -1), length, replacement=True, generator=generator)
    for row, word in enumerate(first.tolist()):
        words = accumulate(follower[row, ordinary[row]].tolist(), lambda word, each: FOLLOWS[word][each], initial=word)
        tokens[row, ordinary[row]] = NAMES + ATTRIBUTES + torch.tensor([*words][1:])

    seen = torch.full((batch, NAMES), -1)  # where each name stood last
    for at, each in zip(start.T, name.T, strict=True):
        last = seen[rows, each]
        distance[rows, at + 1] = torch.where(last >= 0, at - last - 1, 0)
        seen[rows, each] = at
    return Sample(tokens[:, :n], distance[:, :n], ordinary[:, :n])


@counts("batch", "n", "holds")
def changing(batch: int, facts: int, n: int, holds: int, generator: torch.Generator) -> Sample:
    """Texts of n tokens in which a fact holds for `holds` of them: short documents, one after the other."""
    if n % holds:
        raise ValueError(f"holds is {holds}; give a part of n, {n}.")
    parts = documents(torch.full((batch * n // holds,), facts), holds, generator)
    return Sample(*(each.reshape(batch, n) for each in (parts.tokens, parts.distance, parts.ordinary)))
