"""The drawings that move: what each says at every stop, and what it brings to its page."""

import json
import math
from itertools import product

import pytest

from widgets.kit import link
from widgets.kit.base import _bytes_as_base64, static_assets
from widgets.scenes import SCENES, Dial, one_program, two_hands
from widgets.scenes.flash_in_triton import doing
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


def test_a_row_of_tiles_moves_what_the_closed_forms_say():
    n, d, block, tiles = 64, 16, 16, 4
    scores, sums = 2 * n * d * (tiles + tiles) + 4 * n * n, 4 * n * n + 4 * n
    flash = 4 * n * d + 4 * n * d * tiles + 4 * n
    assert (scores, sums, flash) == (32_768, 16_640, 20_736)
    program = one_program()
    assert [row[1:] for row in program.data["rows"][1:]] == [
        [f"{whole // tiles:,}", f"{whole:,}"] for whole in (scores, sums, flash)
    ]
    two, one = ([event["bytes"] for event in lane] for lane in program.data["drawn"]["lanes"])
    assert (sum(two), sum(one)) == ((scores + sums) // tiles, flash // tiles) == (12_352, 5_184)
    tile = 2 * block * d
    assert one == [tile] * (1 + 2 * tiles + 1) + [4 * block]  # queries; keys and values; the output; its log-sum-exp
    assert two == [tile, tile, 4 * block * block] * tiles + [4 * block * block] * tiles + [4 * block]


def test_the_scores_of_flash_attention_stay_on_the_chip():
    two, one = one_program().data["drawn"]["lanes"]
    assert not any(event["tensor"] == "s" for event in one) and any("scores" in event["holds"] for event in one)
    assert [event["block"] for event in one if event["tensor"] == "v"] == [0, 1, 2, 3]
    assert [(e["kind"], e["block"]) for e in two if e["tensor"] == "s"] == [
        (kind, block) for kind in ("store", "load") for block in range(4)
    ]
    assert doing(one, 512) == "flash_forward has loaded its queries"
    assert doing(one, 700) == "flash_forward is loading the keys 0 to 15"
    assert doing(two, 1_500) == "score_tile is storing the scores of keys 0 to 15"
    assert doing(one, 6_000) == "flash_forward is done"
