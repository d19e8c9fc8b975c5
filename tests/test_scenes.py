"""The drawings that move: what each says at every stop, and what it brings to its page."""

import json
import math
from itertools import product

import pytest
import torch

from solutions import positions, ring
from solutions.checkpoints import load
from solutions.checkpoints.positions import measured
from widgets.kit import link
from widgets.kit.base import _bytes_as_base64, static_assets
from widgets.scenes import SCENES, Dial, from_2k_to_128k, two_hands
from widgets.scenes.quadratic_attention import KEY, QUERY, THETA
from widgets.scenes.scene import HERE


@pytest.fixture(scope="module", params=list(SCENES))
def scene(request):
    return SCENES[request.param]()


def test_every_scene_has_its_drawing_and_every_drawing_its_scene():
    assert {path.stem for path in HERE.glob("*.js")} - {"scene"} == set(SCENES)


def test_every_stop_says_something_of_its_own(scene):
    dials = scene.data["dials"]
    assert 1 <= len(dials) <= 3 and scene.data["question"].endswith("?")
    for at in product(*(range(len(dial["stops"])) for dial in dials)):
        said = scene.sentence(*at)
        assert said.endswith((".", "!", "?")) and "nan" not in said and "None" not in said, (at, said)
    assert len(set(scene.data["says"])) > 1
    assert all(said.count("*") % 2 == 0 for said in scene.data["says"])
    for dial in dials:
        assert len(set(dial["stops"])) == len(dial["stops"]) > 1
        assert dial["kind"] != "switch" or len(dial["stops"]) <= 4


def test_it_says_where_it_begins_and_the_same_each_time(scene):
    assert repr(scene) == repr(SCENES[scene.kind()]())
    assert repr(scene).startswith(scene.data["question"]) and "*" not in repr(scene)


def test_its_table_is_whole(scene):
    head, *body = scene.data["rows"]
    assert body and {len(row) for row in body} == {len(head)}


def test_it_brings_its_own_code_to_its_page_and_little_of_it(scene):
    page = scene.static_html()
    assert f'["{scene.kind()}"]' in page and scene.kind() not in "".join(static_assets().values())
    assert len(link.piece(scene.kind(), scene.view, scene.style()).encode()) < 40_000
    assert len(json.dumps(scene.data, default=_bytes_as_base64)) < 120_000


def test_a_scene_that_cannot_be_shown_says_why():
    told = {"question": "?", "says": lambda i: ".", "drawn": {}, "provenance": "", "rows": [["a"], [1]]}
    kind = type(two_hands())
    with pytest.raises(ValueError, match="'b' has 2 stops and begins at 2"):
        kind(dials=[Dial("b", ["one", "two"], at=2)], **told)
    with pytest.raises(ValueError, match="rows has 1"):
        kind(dials=[Dial("b", ["one", "two"])], **{**told, "rows": [["a"]]})


def test_the_product_of_two_hands_is_5_cos_plus_5_sin():
    assert (QUERY, KEY, THETA) == ((2, 1), (1, 3), 0.5)
    for distance, said, later in two_hands().data["rows"][1:]:
        expected = 5 * math.cos(distance * THETA) + 5 * math.sin(distance * THETA)
        assert float(said) == pytest.approx(expected, abs=6e-5) and said == later
    assert two_hands().data["rows"][3][1] == "6.9089"


def test_the_loss_over_sixteen_dials_is_that_of_the_shipped_model_and_two_more():
    told = SCENES["sixteen_dials"]()
    drawn = told.data["drawn"]
    model = load("positions")
    trained = 10_000.0 ** (-torch.arange(16) / 16)
    slow = 2 * math.pi / trained > 128
    assert drawn["slow"] == int(slow.sum()) == 10
    for name, frequencies in enumerate((trained, trained / (1 + 7 * slow))):
        assert torch.tensor(drawn["turned"][name]) == pytest.approx(frequencies, rel=1e-5)
        again = measured(positions.extend(model, frequencies))
        for loss, low, mean, high in zip(again, *(drawn[key][name] for key in ("lows", "means", "highs")), strict=True):
            assert low - 1e-3 <= loss <= high + 1e-3 and low < mean < high
        new = [1024 * f > 1.001 * s and s < 2 * math.pi
               for f, s in zip(drawn["turned"][name], drawn["swept"], strict=True)]  # fmt: skip
        assert sum(new) == (10, 0)[name]
    assert "*3.50* nats (mean of three seeds, 2.91 to 4.56); a guess costs 3.47." in told.data["says"][8]
    assert "The 10 slow pairs turn 8 times slower, and nothing was trained" in told.sentence(4, 1)
    assert "0.05 nats (mean of three seeds, 0.01 to 0.11)" in told.sentence(4, 1)


def test_four_rules_slow_each_pair_as_their_formulas_say():
    drawn = SCENES["four_rules"]().data["drawn"]
    low, high = (64 * math.log(2048 / (2 * math.pi * made)) / math.log(10_000) for made in (32, 1))
    low, high = math.floor(low), math.ceil(high)
    for f, *slowed in zip(drawn["factors"], *drawn["slowed"], strict=True):
        for pair, (pi, ntk, turns, index) in enumerate(zip(*slowed, strict=True)):
            made = 2048 * 10_000 ** (-pair / 64) / (2 * math.pi)
            kept = [min(max((made - 1) / 31, 0), 1), min(max((high - pair) / (high - low), 0), 1)]
            expected = [f, f ** (pair / 63), *(1 / (share + (1 - share) / f) for share in kept)]
            assert [pi, ntk, turns, index] == pytest.approx(expected, rel=1e-4), (f, pair)
    apart = [turns / index for turns, index in zip(drawn["slowed"][2][-1], drawn["slowed"][3][-1], strict=True)]
    assert max(range(64), key=apart.__getitem__) == 37 and apart[37] == pytest.approx(5.05, abs=0.005)
    assert drawn["turned"] == 64 - positions.never_turned(128, 10_000.0, 2_048) == 41


def test_the_ring_counts_every_pair_once_and_zig_zag_makes_all_equal():
    rows, keys = torch.tensor([0, 3, 4, 9]), torch.tensor([1, 3, 8])
    assert from_2k_to_128k.scored(rows, keys) == int((keys <= rows[:, None]).sum()) == 7
    told = SCENES["ring_of_keys"]()
    drawn = told.data["drawn"]
    n, ranks = from_2k_to_128k.TOKENS, from_2k_to_128k.RANKS
    for name, deal in enumerate((ring.contiguous_rows, ring.zigzag_rows)):
        whole = [sum(of_rank) for of_rank in zip(*drawn["pairs"][name], strict=True)]
        assert whole == [ring.causal_pairs(own) for own in deal(n, ranks)] and sum(whole) == n * (n + 1) // 2
        assert drawn["worst"][name] == pytest.approx(max(whole) / drawn["mean"])
    assert [sum(work > 0 for work in of_step) for of_step in drawn["pairs"][0]] == [4, 3, 2, 1]
    assert set(whole) == {n // (2 * ranks) * (n + 1)}
    assert all(len(set(of_step)) == 1 for of_step in drawn["pairs"][1])
    assert drawn["owners"] == [[0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 2, 3, 3, 2, 1, 0]]
    assert "1.75 times the mean; of 16 ranks it would do 1.94 times" in told.sentence(3, 0)
    assert "1.00 times the mean; of 16 ranks it would do 1.00 times" in told.sentence(3, 1)
