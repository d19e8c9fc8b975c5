"""The drawings that move: what each says at every stop, and what it brings to its page."""

import json
import math
from itertools import product

import pytest
import torch

from solutions.flash import peak_tile_bytes
from widgets.kit import link
from widgets.kit.base import _bytes_as_base64, static_assets
from widgets.scenes import (
    SCENES,
    Dial,
    change_of_unit,
    one_program,
    room_for_v,
    two_hands,
    two_workers,
    waves,
)
from widgets.scenes.flash_attention import CACHES, SIDE, TILE, TOGETHER, fetched, reads
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

def test_the_sum_of_mats_row_shrinks_whenever_the_maximum_moves():
    row, rows = [0, 0, 2, 2, 0, 4], change_of_unit().data["rows"][1:]
    for end, (_, maximum, alpha, new, total) in zip((2, 4, 6), rows, strict=True):
        seen = row[:end]
        assert maximum == f"{max(seen)}"
        assert total == f"{sum(math.exp(s - max(seen)) for s in seen):.4f}"
        assert new == f"{sum(math.exp(s - max(seen)) for s in seen[-2:]):.4f}"
        assert alpha == ("–" if end == 2 else f"{math.exp(max(row[: end - 2]) - max(seen)):.4f}")
    assert [line[-1] for line in rows] == ["2.0000", "2.2707", "1.3256"]


def test_the_whole_of_two_workers_is_the_same_wherever_the_row_is_cut():
    values = torch.tensor([[0.0, 0], [2, 0], [1, 1], [0, 1], [0, 0], [0, 2]])
    scores = torch.tensor([0.0, 0, 2, 2, 0, 4])
    whole = scores.softmax(0) @ values
    drawn = two_workers().data["drawn"]
    assert drawn["whole"] == pytest.approx(whole.tolist(), abs=1e-6)
    for cut, (_, a, b, share, animal, place) in enumerate(two_workers().data["rows"][1:], start=1):
        assert (animal, place) == (f"{whole[0]:.3f}", f"{whole[1]:.3f}")
        assert a == f"{scores[:cut].exp().sum():.2f}" and b == f"{scores[cut:].exp().sum():.2f}"
        assert share == f"{scores.softmax(0)[cut:].sum():.3f}"
        at = [(1 - drawn["shares"][cut - 1]) * x + drawn["shares"][cut - 1] * y
              for x, y in zip(drawn["a"][cut - 1], drawn["b"][cut - 1], strict=True)]  # fmt: skip
        assert at == pytest.approx(whole.tolist(), abs=1e-6)


def test_what_lies_in_sram_is_what_its_formula_says():
    drawn = room_for_v().data["drawn"]
    stays, dropped = [[sum(sizes) for sizes in run] for run in drawn["sizes"]]
    q, out, scores, tile = 32 * 64 * 2, 32 * 64 * 4 + 2 * 32 * 4, 32 * 128 * 4, 128 * 64 * 2
    assert max(dropped) == peak_tile_bytes(32, 128, 64) == q + out + scores + tile <= drawn["budget"] == 48 * 1024
    assert max(stays) == q + out + scores + 2 * tile > drawn["budget"]
    assert stays[:3] == [q, q + out + tile, max(stays)]
    assert "*61,696 B*" in room_for_v().data["says"][2 * 2] and "*45,312 B*" in room_for_v().data["says"][2 * 2 + 1]


def test_the_cells_that_are_fetched_are_what_the_traces_cache_misses():
    trace = reads()
    for together, room in product(TOGETHER, CACHES):
        assert sum(map(sum, fetched(together, room))) * TILE == trace.l2_bytes(room, together, "k"), (together, room)
    assert trace.compulsory_bytes("k", kind="read") == SIDE * TILE and trace.issued_bytes("k") == SIDE * SIDE * TILE
    small = [sum(map(sum, fetched(together, CACHES[0]))) for together in TOGETHER]
    assert small == [SIDE * SIDE // together for together in TOGETHER]


def test_sixteen_parts_end_a_wave_and_seventeen_begin_another():
    rows = {splits: more for splits, *more in waves().data["rows"][1:]}
    assert rows[1] == [8, 1, "16.00"] and rows[16] == [128, 1, "1.00"]
    assert rows[17] == [136, 2, f"{2 * math.ceil(131_072 / 17) / 8192:.2f}"] and rows[17][2] == "1.88"
    assert rows[33] == [264, 2, f"{2 * math.ceil(131_072 / 33) / 8192:.2f}"]
    said = waves().data["says"]
    assert "132 in a first wave, 4 in a second. *52 %*" in said[16] and "*97 %*" in said[15] and "*100 %*" in said[32]


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
