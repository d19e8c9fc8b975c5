"""The drawings that move: what each says at every stop, and what it brings to its page."""

import json
import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F

from solutions import passkey, positions, ring
from solutions.checkpoints import CHECKPOINTS, about, load
from solutions.checkpoints import sparse as recipe
from solutions.checkpoints.positions import measured
from solutions.flash import peak_tile_bytes
from solutions.infini import feature
from solutions.quadratic import naive_peak_bytes
from widgets.kit import link
from widgets.kit.base import _bytes_as_base64, static_assets, static_kinds, unpacked
from widgets.measurements import results
from widgets.scenes import (
    SCENES,
    Dial,
    change_of_unit,
    choose_four,
    forgetting_cache,
    from_2k_to_128k,
    needle_strip,
    one_program,
    one_segment,
    outer_products,
    plane_of_words,
    room_for_v,
    signed_votes,
    start_here,
    token_by_token,
    two_hands,
    two_workers,
    waves,
)
from widgets.scenes.flash_attention import CACHES, SIDE, TILE, TOGETHER, fetched, reads
from widgets.scenes.flash_in_triton import doing
from widgets.scenes.infini_attention import OVERLAPS, PAIRS, largest_slopes, thirty
from widgets.scenes.quadratic_attention import KEY, QUERY, THETA
from widgets.scenes.scene import HERE
from widgets.scenes.scene import scene as scene_of


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
    assert f'["{scene.kind()}"]' in page and scene.kind() not in "".join((static_assets() | static_kinds()).values())
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


def test_where_a_model_is_missing_the_lesson_goes_on_with_a_sentence(monkeypatch, capsys, tmp_path):
    (tmp_path / "infini.json").write_bytes((CHECKPOINTS / "infini.json").read_bytes())

    def of_a_model():
        return {"question": load("infini", tmp_path)}

    of_a_model.__name__ = "two_hands"
    monkeypatch.setattr("widgets.scenes.scene.SCENES", {})
    asked = scene_of(of_a_model)
    assert asked() is None
    words = capsys.readouterr().out
    assert words.startswith("There is no picture here. infini.safetensors is missing: ")
    assert f"Make it again: python3 course.py train infini --out {tmp_path}" in words


def test_a_matrix_of_outer_products_blends_what_overlaps():
    drawn = outer_products().data["drawn"]
    for j, cosine in enumerate(OVERLAPS.values()):
        keys, values = thirty(cosine)
        assert torch.allclose(keys.norm(dim=-1), torch.ones(30, dtype=torch.float64))
        assert torch.allclose((keys[:3] @ keys[:3].T).triu(1), cosine * torch.ones(3, 3).double().triu(1), atol=1e-12)
        for i, pairs in enumerate(PAIRS):
            memory = sum(torch.outer(k, v) for k, v in zip(keys[:pairs], values[:pairs], strict=True))
            read = (keys @ keys[:pairs].T) @ values[:pairs]
            assert drawn["memories"][i][j] == pytest.approx(memory.flatten().tolist())
            assert drawn["reads"][i][j] == pytest.approx(read[1].tolist())
            best = [int(F.cosine_similarity(read[pair], values[:pairs]).argmax()) for pair in range(pairs)]
            assert drawn["right"][i][j] == sum(best[pair] == pair for pair in range(pairs))
    assert drawn["reads"][2][0] == pytest.approx([0, 2, 0, 0])
    assert drawn["reads"][2][-1] == pytest.approx([2 / 3, 2, 2, 2])
    assert [row[0] for row in drawn["right"]] == [1, 2, 3, 2] and drawn["right"][2][-1] == 1


def test_the_right_order_leaks_nothing_and_the_wrong_one_what_differences_say():
    drawn = one_segment().data["drawn"]
    assert drawn["slopes"][0] == [0, 0, 0, 0] and drawn["slopes"][1][0] == 0
    tokens = torch.randn(12, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def outputs(segment):
        """The wrong order without a memory: linear attention to all 12 tokens, and half of it."""
        x = torch.cat([tokens[:8], segment])
        weight = feature(segment) @ feature(x).T
        scores = (segment @ segment.T / 6**0.5).masked_fill(torch.ones(4, 4).triu(1).bool(), -torch.inf)
        return (weight @ x / weight.sum(-1, keepdim=True) + scores.softmax(-1) @ segment) / 2

    token, later = drawn["leak"]
    step, found = 1e-6, 0.0
    for number in range(6):
        moved = torch.zeros(4, 6, dtype=torch.float64)
        moved[later, number] = step
        change = (outputs(tokens[8:] + moved) - outputs(tokens[8:] - moved)) / (2 * step)
        found = max(found, float(change[token].abs().max()))
    assert token < later and found == pytest.approx(drawn["slopes"][1][-1], rel=1e-6) == pytest.approx(0.06, abs=5e-3)
    assert largest_slopes(("write", "read"))[-1][0] == pytest.approx(drawn["slopes"][1][1]) == pytest.approx(2 * found)


def test_the_weights_to_choose_from_are_those_of_the_model():
    scene = choose_four()
    drawn, model, sample = scene.data["drawn"], load("sparse-dense"), recipe.unseen(sequences=64)
    (q, k), *_ = model.queries_and_keys(sample.tokens[:1, :-1])
    scores = torch.einsum("hd,hjd->hj", q[0, :, 48], k[0, :, :49]) / q.shape[-1] ** 0.5
    weights = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
    assert drawn["weights"] == pytest.approx(weights.mean(dim=0).tolist(), abs=1e-5)
    assert drawn["order"] == weights.mean(dim=0).argsort(descending=True).tolist()
    assert drawn["names"][48] == "key 10" and sample.tokens[0, 48] == 10
    best = [drawn["names"][place] for place in drawn["order"][:5]]
    assert best == ["value 27"] * 5 and drawn["names"][drawn["order"][5]] != "value 27"
    assert sample.tokens[0, 49] == 64 + 27  # and that is what comes next
    four, one = (sum(sorted(drawn["weights"])[-most:]) for most in (4, 1))
    shares = [
        recipe.recall(recipe.choosing(model, selector, 1).eval(), sample)["recall"] for selector in ("oracle", "window")
    ]
    for told in (f"best four hold {four:.0%}", f"best one {one:.0%}", *(f"{share:.1%}" for share in shares)):
        assert told.replace("%", " %") in scene.sentence(1)
    assert not any(str(round(100 * share)) in scene.sentence(0) for share in (four, one))  # it isn't given away


def test_two_heads_vote_with_signs_and_a_quarter_of_all_keys_hear_nothing():
    scene = signed_votes()
    for degrees, first, second, score in scene.data["rows"][1:]:
        x, y = (math.sqrt(2) * turn(math.radians(degrees)) for turn in (math.cos, math.sin))
        assert (first, second) == pytest.approx((max(x, 0), max(2 * y, 0)), abs=1e-5)
        assert score == pytest.approx(0.5 * max(x, 0) - max(2 * y, 0), abs=1e-5)
    start = scene.data["dials"][0]["at"]
    assert scene.data["rows"][1 + start] == [45, 1, 2, -1.5]  # the lesson's first key, (1, 1)
    silent = [row[0] for row in scene.data["rows"][1:] if row[3] == 0]
    assert silent == list(range(180, 271, 15)) and "exactly 0.00" in scene.sentence(silent[0] // 15)


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
SENTENCE = {"the": (0, 0, 1), "cat": (2, 0, 0), "sat": (1, 1, 0), "on": (0, 1, 1), "mat": (0, 2, 0)}
SIX_WORDS = [SENTENCE[word] for word in "the cat sat on the mat".split()]


def test_where_sat_lands_is_what_the_formula_says():
    drawn = plane_of_words().data["drawn"]
    for i, j in product(range(11), repeat=2):
        parts = [math.exp(0.2 * i * animal + 0.2 * j * place) for animal, place, _ in SIX_WORDS]
        shares = [part / sum(parts) for part in parts]
        assert drawn["shares"][i][j] == pytest.approx(shares, abs=1e-6)
        lands = [sum(p * word[axis] for p, word in zip(shares, SIX_WORDS, strict=True)) for axis in (0, 1)]
        assert drawn["lands"][i][j] == pytest.approx(lands, abs=1e-6)
    said = plane_of_words().sentence
    assert said(5, 5) == "sat asks with (1, 1). cat, sat and mat: 0.275 each. It lands at (0.82, 0.93)."
    assert "cat: 0.827." in said(10, 0) and "mat: 0.754." in said(0, 10)
    assert [round(share, 3) for share in drawn["shares"][5][5]] == [0.037, 0.275, 0.275, 0.101, 0.037, 0.275]


def test_scores_with_and_without_a_cache_are_the_sums_of_the_lesson():
    for n, cached, anew, ratio in token_by_token().data["rows"][1:]:
        assert int(cached) == n * (n + 1) // 2 and int(anew) == n * (n + 1) * (2 * n + 1) // 6
        assert float(ratio) == pytest.approx((2 * n + 1) / 3, abs=0.006)


def test_a_full_cache_loses_the_key_that_it_holds_and_a_memory_of_fixed_size_does_not():
    runs = start_here.runs()
    by_length = {run["tokens"]: start_here.right(run) for run in runs[:-2]}
    assert by_length == {512: 5, 640: 5, 768: 4, 896: 1, 1024: 1, 2048: 1, 4096: 1}
    assert all(run["state_bytes"] == 1024 * (run["tokens"] - 5) for run in runs[:-2])  # 2 layers · 2 · 2 heads · 32 · 4
    found, emptied = runs[-2:]
    assert found["tokens"] == 1_000_000 and (start_here.right(found), start_here.right(emptied)) == (5, 0)
    held = 2 * 2 * (32 * 33 + 2 * 64 * 32) * 4  # layers, heads; M and z, and a segment of keys and values
    assert found["state_bytes"] == held - 2 * 2 * 2 * 32 * 4 * (64 - (1_000_000 - 5) % 64)


def test_the_recording_is_what_a_run_finds_and_stands_in_where_the_model_is_not_there(monkeypatch):
    live = start_here.runs()
    assert start_here.needles(start_here.load("infini-full")) == results("infini_needle")["full"]
    monkeypatch.setattr(start_here, "load", lambda name: (_ for _ in ()).throw(ValueError(f"{name} is missing")))
    assert start_here.runs() == live


def test_the_first_frame_of_the_needle_tells_the_training_length_and_not_what_comes():
    data = needle_strip().data
    assert data["drawn"]["trained"] == 64 * about("infini-full")["result"]["segments"] == 512
    assert (CHECKPOINTS / "infini-full.safetensors").exists()
    assert "all five right" in repr(needle_strip()) and "one right" not in repr(needle_strip())


def test_what_the_first_lesson_warns_of_is_what_was_measured():
    text = (HERE.parents[1] / "book" / "lessons" / "start_here.md").read_text(encoding="utf-8")
    assert len(passkey.SENTENCES) == 24 and "the same 24 words" in text
    assert "Of four harder texts, three fail: several keys, a key said anew, prose." in text
    tried = results("infini_haystacks")["tasks"]
    far = {task["task"]: [cell for cell in task["cells"] if cell["tokens"] == 131_072] for task in tried}
    longest = {name: max(cell["exact"] for cell in cells) for name, cells in far.items()}
    assert longest == {"random words": 1.0, "4 labelled keys": 0.0, "a key said 3 times, the last counts": 0.0,
                       "prose": 0.0}  # fmt: skip

    def found(system, tokens, depth):
        runs = next(each["runs"] for each in results("infini_baselines")["systems"] if each["name"] == system)
        cells = [cell for cell in runs[0]["cells"] if (cell["tokens"], cell["depth"]) == (tokens, depth)]
        return [(round(cell["exact"] * cell["prompts"]), cell["prompts"]) for cell in cells]

    assert found("full KV cache, in pieces of 430", 1_000_000, 0.5) == [(10, 10)]
    assert "10 of 10 prompts of a million tokens" in text
    assert found("full KV cache", 2048, 1.0) == [(0, 20)] and "of 20 such prompts of 2,048 tokens" in text
    assert round(naive_peak_bytes(131_072, 64) / 1e9) == 206 and "200 GB" in text


def test_the_million_tokens_ask_for_the_key_that_the_recording_wants():
    infini = results("infini_needle")["infini"]
    made = passkey.prompts(1, 1_000_000, torch.Generator().manual_seed(2026), depth=0.5)
    assert (infini["seed"], infini["depth"], infini["tokens"]) == (2026, 0.5, 1_000_000)
    assert made.key[0].tolist() == infini["wanted"] == infini["found"] != infini["emptied"]
