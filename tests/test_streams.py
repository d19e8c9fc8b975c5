"""The streams hold what they promise: a key keeps its value, distances are true, what cannot be told is not asked."""

import math

import pytest
import torch
from torch import nn

from solutions import streams
from solutions.streams import FOLLOWERS, KEYS, START, VALUES, VOCABULARY, WORD_ENTROPY, WORDS, defaults, recall

recalled = recall(64, 40, torch.Generator().manual_seed(0))
defaulted = defaults(64, 40, torch.Generator().manual_seed(0))


def pairs(sample):
    """(key, value, distance, ordinary, place of the value) of each pair, sequence by sequence."""
    stride, first = (2, 1) if sample.tokens[0, 0] == START else (3, 0)
    for tokens, distance, ordinary in zip(sample.tokens, sample.distance, sample.ordinary, strict=True):
        yield [
            (int(tokens[at]), int(tokens[at + 1]), int(distance[at + 1]), bool(ordinary[at + 1]), at + 1)
            for at in range(first, len(tokens), stride)
        ]


@pytest.mark.parametrize("sample", [recalled, defaulted], ids=["recall", "defaults"])
def test_a_key_keeps_its_value_and_the_distance_is_to_its_last_copy(sample):
    asked = 0
    for sequence in pairs(sample):
        last = {}
        for key, value, distance, ordinary, place in sequence:
            assert 0 <= key < KEYS <= value < KEYS + VALUES
            if key in last:
                assert last[key][0] == value
            if key in last and not ordinary:
                assert distance == place - 1 - last[key][1]  # from the key that asks, one before its value
                asked += 1
            else:
                assert distance == 0
            last[key] = value, place
    assert asked == (sample.distance > 0).sum()


def test_tokens_are_of_their_kind():
    assert recalled.tokens.shape == (64, 120) and defaulted.tokens.shape == (64, 81)
    words = recalled.tokens[:, 2::3]
    assert ((words >= KEYS + VALUES) & (words < START)).all()
    assert (defaulted.tokens[:, 0] == START).all() and defaulted.tokens.max() < VOCABULARY


def test_words_follow_each_other():
    words = recalled.tokens[:, 2::3] - KEYS - VALUES
    nth = (FOLLOWERS[words[:, :-1]] == words[:, 1:, None]).int().argmax(dim=-1)
    assert (FOLLOWERS[words[:, :-1]] == words[:, 1:, None]).any(dim=-1).all()
    share = torch.bincount(nth.flatten(), minlength=4) / nth.numel()
    assert share.tolist() == pytest.approx(streams.FOLLOWER_SHARES.tolist(), abs=0.03)
    assert all(len(set(row.tolist())) == 4 for row in FOLLOWERS)
    assert WORD_ENTROPY == pytest.approx(1.1097, abs=1e-4)


def test_ordinary_tokens_are_words_and_values_known_by_heart():
    place = torch.arange(120)
    assert torch.equal(recalled.ordinary, ((place % 3 == 2) & (place > 2)).expand(64, -1))
    keys = defaulted.tokens[:, 1::2]
    assert torch.equal(defaulted.ordinary[:, 2::2], keys >= KEYS // 2)
    assert not defaulted.ordinary[:, 1::2].any() and not defaulted.ordinary[:, 0].any()
    known = defaulted.tokens[:, 2::2][keys >= KEYS // 2]
    assert torch.equal(known - KEYS, keys[keys >= KEYS // 2] % VALUES)


def test_near_and_far_answers_are_both_common():
    distance = recalled.distance[recalled.distance > 0]
    shares = [((distance > low) & (distance <= high)).float().mean() for low, high in ((0, 7), (7, 42), (42, 120))]
    assert shares[0] > 0.3 and shares[1] > 0.2 and shares[2] > 0.02
    assert 0.5 < (recalled.distance > 0).sum() / (64 * 40) < 0.65


def test_keys_may_run_out():
    """More pairs than keys: then all of them repeat."""
    long = recall(2, 300, torch.Generator().manual_seed(0))
    for sequence in pairs(long):
        assert len({key for key, *_ in sequence}) == KEYS
        assert all(distance > 0 for *_, distance, _, _ in sequence[200:])


def test_the_same_generator_gives_the_same_stream():
    again = recall(64, 40, torch.Generator().manual_seed(0))
    assert torch.equal(again.tokens, recalled.tokens)
    assert not torch.equal(recall(64, 40, torch.Generator().manual_seed(1)).tokens, recalled.tokens)


class Oracle(nn.Module):
    """Knows the sequences and their words' shares; answers are right up to a distance, else the first value."""

    def __init__(self, sample, reach):
        super().__init__()
        self.sample, self.reach = sample, reach

    def forward(self, tokens):
        target, distance = self.sample.tokens[:, 1:], self.sample.distance[:, 1:]
        said = torch.where(distance > self.reach, KEYS, target)
        logits = torch.full((*said.shape, VOCABULARY), -20.0).scatter(-1, said[..., None], 20.0)
        words = tokens[:, :-1].ge(KEYS + VALUES)
        shares = torch.full((*words.shape, VOCABULARY), -math.inf)
        followers = FOLLOWERS[(tokens[:, :-1] - KEYS - VALUES).clamp(0, WORDS - 1)] + KEYS + VALUES
        shares.scatter_(-1, followers, streams.FOLLOWER_SHARES.log().expand(followers.shape))
        logits[:, 4::3] = shares[:, 2::3][:, : logits[:, 4::3].shape[1]]  # a word is told by the word three before
        assert words[:, 2::3].all()
        return logits


def test_scores_of_one_who_knows():
    far = streams.recall_by_distance(Oracle(recalled, reach=20), recalled, (20, 119))
    assert far[0][0] == far[0][1] > 500 and far[1][0] < 0.1 * far[1][1] and far[1][1] > 100
    assert sum(asked for _, asked in far) == (recalled.distance > 0).sum()
    assert streams.ordinary_loss(Oracle(recalled, 20), recalled)[0] == pytest.approx(WORD_ENTROPY, abs=0.02)
    parts = streams.ordinary_loss(Oracle(recalled, 20), recalled, stretch=40)
    assert len(parts) == 3 and all(part == pytest.approx(WORD_ENTROPY, abs=0.06) for part in parts)
    blind, seeing = (streams.loss(Oracle(recalled, reach), recalled).item() for reach in (0, 119))
    asked = ((recalled.distance > 0).sum() / ((recalled.distance > 0) | recalled.ordinary).sum()).item()
    assert seeing == pytest.approx((1 - asked) * WORD_ENTROPY, abs=0.02)
    assert blind == pytest.approx(seeing + 40 * asked * (1 - 1 / VALUES), rel=0.02)


@pytest.mark.parametrize("make", [recall, defaults])
def test_streams_that_cannot_be(make):
    with pytest.raises(ValueError, match="batch is 0"):
        make(0, 5, torch.Generator())
    with pytest.raises(ValueError, match="is -1; give a whole number of 1 or more"):
        make(2, -1, torch.Generator())
