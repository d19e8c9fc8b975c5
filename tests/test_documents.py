"""Documents are what their module says: shares, distances, floors, and the same ones for the same seed."""

import math
from collections import Counter

import pytest
import torch

from solutions import documents as made
from solutions.documents import ATTRIBUTES, NAMES, WORDS, changing, documents


def some(facts=16, n=2048, batch=24, seed=0):
    return documents(torch.full((batch,), facts), n, torch.Generator().manual_seed(seed))


def mentions(tokens):
    """(place of the name, name, attribute) of every whole mention of a row."""
    row = tokens.tolist()
    return [(i, row[i], row[i + 1]) for i in range(len(row) - 1) if row[i] < NAMES]


def test_the_same_seed_gives_the_same_documents():
    one, again, other = some(seed=3), some(seed=3), some(seed=4)
    for name in ("tokens", "distance", "ordinary"):
        assert torch.equal(getattr(one, name), getattr(again, name))
    assert not torch.equal(one.tokens, other.tokens)
    assert one.tokens.shape == one.distance.shape == one.ordinary.shape == (24, 2048)


def test_a_document_is_words_with_mentions_four_to_eight_words_apart():
    sample = some()
    assert sample.tokens.min() >= 0 and sample.tokens.max() < made.VOCABULARY == NAMES + ATTRIBUTES + WORDS
    assert torch.equal(sample.ordinary, sample.tokens >= NAMES + ATTRIBUTES)
    runs = Counter()
    for row in sample.tokens:
        places = [at for at, _, attribute in mentions(row) if NAMES <= attribute < NAMES + ATTRIBUTES]
        assert len(places) >= len(mentions(row)) - 1
        runs.update(b - a - 2 for a, b in zip([-2, *places], places, strict=False))
    assert set(runs) == {4, 5, 6, 7, 8}
    assert max(runs.values()) < 1.15 * min(runs.values())
    attribute = (sample.tokens >= NAMES) & (sample.tokens < NAMES + ATTRIBUTES)
    assert attribute.float().mean().item() == pytest.approx(1 / 8, rel=0.02)


@pytest.mark.seconds
def test_a_document_settles_each_of_its_names_once_and_for_all():
    sample = some(facts=4)
    for row in sample.tokens:
        told = {name: {attribute for _, other, attribute in mentions(row) if other == name} for name in row.tolist()}
        told = {name: attributes for name, attributes in told.items() if name < NAMES}
        assert len(told) <= 4 and all(len(attributes) == 1 for attributes in told.values())
    first, second = (set(row[row < NAMES].tolist()) for row in sample.tokens[:2])
    assert first != second


def test_names_follow_zipfs_law():
    counts = torch.zeros(4)
    for row in some(facts=4, batch=60).tokens:
        counts += torch.tensor([count for _, count in Counter(row[row < NAMES].tolist()).most_common(4)])
    assert (counts / counts.sum()).tolist() == pytest.approx((12 / 25, 6 / 25, 4 / 25, 3 / 25), abs=0.03)


@pytest.mark.parametrize("facts, n", [(1, 37), (7, 300), (128, 1111)])
def test_the_distance_is_that_of_the_last_copy(facts, n):
    sample = some(facts, n, batch=3)
    for tokens, distance in zip(sample.tokens.tolist(), sample.distance.tolist(), strict=True):
        for i in range(n):
            name, seen = tokens[i - 1], [j for j in range(i - 1) if tokens[j] == tokens[i - 1]]
            known = i and name < NAMES and seen
            assert distance[i] == (i - 1 - (seen[-1] + 1) if known else 0)
            if known:  # a window of distance + 1 tokens, the one that asks among them, still sees the answer
                assert tokens[i - 1 - distance[i]] == tokens[i]


def test_words_go_on_across_mentions_and_no_model_can_know_more_of_them():
    """An oracle that knows the chain, and when a name may come, has WORD_FLOOR nats a word, 1.218."""
    nats = []
    for row in some(n=4096).tokens.tolist():
        word, run = None, 0
        for token in row:
            if token >= NAMES + ATTRIBUTES:
                now = token - NAMES - ATTRIBUTES
                if word is not None:
                    step = (now - 5 * word) % WORDS
                    share = {1: 0.55, 4: 0.25, 6: 0.15, 11: 0.05}[step]
                    nats.append(-math.log(share * (1 if run < 4 else 1 - 1 / (9 - run))))
                word, run = now, run + 1
            else:
                run = 0
    assert sum(nats) / len(nats) == pytest.approx(made.WORD_FLOOR, abs=0.01)
    assert made.WORD_FLOOR == pytest.approx(1.218, abs=5e-4)
    assert made.NAME_CHANCE == pytest.approx(5.81, abs=5e-3)  # ln 128 = 4.85, and 0.96 for not knowing that one comes


def test_far_answers_are_a_share_worth_remembering():
    """Of the attributes said before, 128 tokens back or more: a seventh in 512 tokens, a quarter in 2,048."""
    for n, share in ((512, 0.15), (2048, 0.25)):
        distance = some(n=n, batch=100).distance
        assert ((distance > 127).sum() / (distance > 0).sum()).item() == pytest.approx(share, abs=0.02)


def test_in_a_changing_text_nothing_said_before_holds():
    sample = changing(5, 4, 512, 128, torch.Generator().manual_seed(0))
    assert sample.tokens.shape == (5, 512)
    assert sample.distance.max() < 128
    for part in sample.tokens.reshape(20, 128):
        told = {}
        for _, name, attribute in mentions(part):
            assert told.setdefault(name, attribute) == attribute
    for part in sample.distance.reshape(20, 128):
        assert part.nonzero().min() > 8  # the first mention of a part is never an answer
    with pytest.raises(ValueError, match="holds is 100; give a part of n, 512"):
        changing(5, 4, 512, 100, torch.Generator())


@pytest.mark.parametrize("n", [1, 5, 6, 7, 13])
def test_short_documents(n):
    sample = some(facts=2, n=n, batch=2)
    assert sample.tokens.shape == (2, n)
    assert sample.distance[:, : min(n, 12)].sum() == 0
