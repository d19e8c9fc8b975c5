"""The drawings that move: what each says at every stop, and what it brings to its page."""

import json
import math
from itertools import product

import pytest
import torch

from solutions import passkey
from solutions.checkpoints import CHECKPOINTS, about
from solutions.quadratic import naive_peak_bytes
from widgets.kit import link
from widgets.kit.base import _bytes_as_base64, static_assets
from widgets.measurements import results
from widgets.scenes import SCENES, Dial, needle_strip, plane_of_words, token_by_token, two_hands
from widgets.scenes import start_here as first
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
    runs = first.runs()
    by_length = {run["tokens"]: first.right(run) for run in runs[:-2]}
    assert by_length == {512: 5, 640: 5, 768: 4, 896: 1, 1024: 1, 2048: 1, 4096: 1}
    assert all(run["state_bytes"] == 1024 * (run["tokens"] - 5) for run in runs[:-2])  # 2 layers · 2 · 2 heads · 32 · 4
    found, emptied = runs[-2:]
    assert found["tokens"] == 1_000_000 and (first.right(found), first.right(emptied)) == (5, 0)
    held = 2 * 2 * (32 * 33 + 2 * 64 * 32) * 4  # layers, heads; M and z, and a segment of keys and values
    assert found["state_bytes"] == held - 2 * 2 * 2 * 32 * 4 * (64 - (1_000_000 - 5) % 64)


def test_the_recording_is_what_a_run_finds_and_stands_in_where_the_model_is_not_there(monkeypatch):
    live = first.runs()
    assert first.needles(first.load("infini-full")) == results("infini_needle")["full"]
    monkeypatch.setattr(first, "load", lambda name: (_ for _ in ()).throw(ValueError(f"{name} is missing")))
    assert first.runs() == live


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

    def found(system, tokens):
        runs = next(each["runs"] for each in results("infini_baselines")["systems"] if each["name"] == system)
        cells = [cell for cell in runs[0]["cells"] if (cell["tokens"], cell["depth"]) == (tokens, 0.5)]
        return [(round(cell["exact"] * cell["prompts"]), cell["prompts"]) for cell in cells]

    assert found("full KV cache, in pieces of 430", 8192) == [(20, 20)] and "20 of 20 prompts of 8,192 tokens" in text
    assert found("full KV cache", 2048) == [(0, 20)] and "Of 20 others, of 2,048 tokens" in text
    assert round(naive_peak_bytes(131_072, 64) / 1e9) == 206 and "200 GB" in text


def test_the_million_tokens_ask_for_the_key_that_the_recording_wants():
    infini = results("infini_needle")["infini"]
    made = passkey.prompts(1, 1_000_000, torch.Generator().manual_seed(2026), depth=0.5)
    assert (infini["seed"], infini["depth"], infini["tokens"]) == (2026, 0.5, 1_000_000)
    assert made.key[0].tolist() == infini["wanted"] == infini["found"] != infini["emptied"]
