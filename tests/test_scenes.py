"""The drawings that move: what each says at every stop, and what it brings to its page."""

import json
import math
from itertools import product

import pytest

from widgets.kit import link
from widgets.kit.base import _bytes_as_base64, static_assets, unpacked
from widgets.scenes import SCENES, Dial, forgetting_cache, two_hands
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


def test_a_cache_that_forgets_holds_a_window_and_a_sink_and_the_wrong_order_loses_pairs():
    window, chunk = 6, 3  # counted here anew, by sets
    drawn = forgetting_cache().data["drawn"]
    assert (drawn["window"], drawn["chunk"], drawn["sinks"], drawn["tokens"]) == (window, chunk, 1, 15)
    held, seen, lost = (unpacked(drawn[name]) for name in ("held", "seen", "lost"))
    for first in range(0, 15, chunk):
        stop, end = 2 * first // chunk, first + chunk
        before = {0, *range(max(first - window + 1, 0), first)} if first else set()
        after = {0, *range(max(end - window + 1, 0), end)}
        may = [{0, *range(max(query - window + 1, 0), query + 1)} for query in range(first, end)]
        joined = before | set(range(first, end))
        for order, here in ((0, joined), (1, after)):
            assert set(held[order, stop].nonzero()[0]) == here and set(held[order, stop + 1].nonzero()[0]) == after
            for query, keys in enumerate(may):
                for at in (stop, stop + 1):
                    assert set(seen[order, at, query].nonzero()[0]) == keys & here
                    assert set(lost[order, at, query].nonzero()[0]) == keys - here
        assert len(joined) <= window + chunk and len(after) <= window
    assert lost[0].sum() == 0 and lost[1, 4].sum() == 3 + 2 + 1
    assert forgetting_cache().sentence(4, 1) == (
        "1 to 3 left before 6 to 8 attended. Query 6 misses 1 to 3: 6 lost."
    )
    assert forgetting_cache().data["rows"][3] == ["6 to 8", "attend, then drop", 9, 6, 21, 0]
