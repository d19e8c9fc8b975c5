"""The Eye as a reader meets it on a page from file://: by mouse, by keys, in both themes, wide and narrow."""

import re
import struct

import numpy as np
import pytest
import torch

from solutions.sparse import SELECTORS
from solutions.tiny import Config, TinyTransformer
from widgets import Eye
from widgets.selector import measure, row, say
from widgets.selector.view import looked

from .pages import CLASHES, NASTY, choose, look_over, settle, stage, told, visits, write
from .pages import pressed as press_keys

NAMES = {"sinks and window": "sinks + window"}


def a_model(seed=0, layers=2, top_k=4):
    options = {"sparse": {"top_k": top_k, "index_heads": 3, "index_dim": 8}}
    model = TinyTransformer(Config(20, ("sparse",) * layers, width=32, heads=4, seed=seed, options=options))
    with torch.no_grad():
        for layer in model.layers:
            layer.attention.to_q.weight.mul_(4)
            layer.attention.to_k.weight.mul_(4)
    return model.eval()


def some_tokens(n):
    return torch.randint(20, (n,), generator=torch.Generator().manual_seed(0))


def vectors(n, heads=2, d=8):
    generator = torch.Generator().manual_seed(0)
    make = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return {"q": 2 * make(heads, n, d), "k": make(1, n, d), "index_q": make(2, n, 4), "index_k": make(n, 4),
            "index_w": make(n, 2)}  # fmt: skip


@pytest.fixture(scope="module")
def eyes():
    text = [f"w{token}" for token in some_tokens(60).tolist()]
    needles = {55: 10, 58: 30}
    models = {"untrained": a_model(seed=1), "trained": a_model()}
    kept = measure.ALL, measure.QUERIES, measure.EXACT
    measure.ALL, measure.QUERIES, measure.EXACT = 400, 40, 400
    long = Eye.from_vectors(**vectors(3000), top_k=64)
    measure.ALL, measure.QUERIES, measure.EXACT = kept
    return {
        "model": Eye.of(models["trained"], some_tokens(60), text=text, needles=needles, query=55, layer=1, run="a run"),
        "stages": Eye.of(models, some_tokens(60), text=text, needles=needles),
        "long": long,
        "small": Eye.from_vectors(**vectors(6), top_k=2),
        "nasty": Eye.of(a_model(), some_tokens(10), text=NASTY, needles={9: 0}),
    }


@pytest.fixture(scope="module")
def folder(eyes, tmp_path_factory):
    pages = {name: eye.static_html() for name, eye in eyes.items()}
    pages |= {"twice": pages["model"] * 2, "atlas": eyes["model"].atlas().static_html()}
    folder = write(tmp_path_factory.mktemp("selector"), "Eye", pages)
    eyes["model"].save_html(folder / "saved.html")
    return folder


@pytest.fixture
def visit(page, folder):
    yield from visits(page, folder, height=1000)


def number(page):
    return page.locator(".al-selector-number").first.inner_text()


def pressed(page, *keys):
    press_keys(page, stage(page), *keys)


def to_query(page, query):
    slider = page.get_by_role("slider", name="query", exact=True)
    slider.evaluate("(node, to) => { node.value = to; node.dispatchEvent(new Event('input')); }", query)
    settle(page)


def spaced(text):
    return " ".join(text.split())


def sentence(eye, query, k=None, precision="fp32", layer=None, model="", head=None):
    """What Python says of the indexer's choice."""
    held = eye.recordings[model]
    layer = eye.layer if layer is None else layer
    k = held.top_k if k is None else k
    scores, weights = row.rows_of(held.layers[layer], precision, query, query)
    if head is not None:
        one = held.layers[layer]
        wide = [each.astype(np.float64) for each in (one.q[query], one.k[:, : query + 1])]
        weights = row.weights_row(*wide, one.scale)[head]
    facts = looked(scores, weights, k)
    missed, needle = facts["missed"], eye.needles.get(query)
    facts["missed"] = None if missed is None else (eye.named(missed), weights[missed])
    facts["needle"] = None if needle is None else (eye.named(needle), facts["chosen"][needle])
    where = f"Layer {layer}{', all heads' if head is None else f' head {head}'}"
    parts = say.query_parts(where, eye.named(query), held.tokens, k, say.who("indexer", precision, 0), facts)
    return spaced("".join(parts))


def middle(eye, name, k=None, layer=None, head=-1, model=""):
    held = eye.recordings[model]
    at = held.budgets.tolist().index(held.top_k if k is None else k)
    return say.percent(float(held.layers[eye.layer if layer is None else layer].curves[name][head + 1, at, 1]))


# What a first look finds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["twice", "stages", "long"])
def test_axe_finds_nothing(visit, name):
    page = visit(name)
    page.get_by_role("button", name="table", exact=True).first.click()
    choose(page, "window")
    look_over(page)


@pytest.mark.parametrize("name", ["model", "stages", "long", "small", "nasty", "saved"])
def test_the_first_frame_says_what_the_text_says(visit, eyes, name):
    page, eye = visit(name), eyes["model" if name == "saved" else name]
    first, second = repr(eye).split("\n")
    assert f"{page.locator('.al-question').inner_text()} {told(page)}".split() == first.split()
    assert number(page) == middle(eye, "indexer fp32", model=eye.shown)
    values = dict(
        zip(
            page.locator(".al-selector-row button").all_inner_texts(),
            page.locator(".al-selector-value").all_inner_texts(),
            strict=True,
        )
    )
    for choice, words in (("indexer", "with the indexer"), ("oracle", "with the oracle"), ("window", "with a window")):
        assert values[choice] in second and words in second


@pytest.mark.parametrize("width", [1280, 700, 390])
@pytest.mark.parametrize("name", ["model", "stages", "long", "small", "nasty"])
def test_no_words_meet_and_nothing_scrolls_sideways(visit, name, width):
    page = visit(name, width)
    for keys in ([], ["ArrowUp", "ArrowUp"], ["+", "+"], ["PageUp", "-"]):
        pressed(page, *keys)
        assert page.evaluate(CLASHES) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for choice in page.locator(".al-selector-row button").all_inner_texts():
        choose(page, choice)
        assert page.evaluate(CLASHES) == []


def test_copies_on_a_page_live_their_own_lives(visit):
    page = visit("twice")
    assert page.locator(".al").count() == 2 and page.locator("[id]").count() == 0
    before = page.locator(".al-say").all_inner_texts()
    page.get_by_role("button", name="window", exact=True).nth(1).click()
    page.get_by_role("button", name="one step back").nth(1).click()
    settle(page)
    after = page.locator(".al-say").all_inner_texts()
    assert after[0] == before[0] and after[1] != before[1]


# One query ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", row.PRECISIONS)
def test_every_query_is_told_as_python_tells_it(visit, eyes, precision):
    page, eye = visit("model"), eyes["model"]
    choose(page, precision)
    assert number(page) == middle(eye, f"indexer {precision}")
    for query in (0, 3, 4, 17, 30, 58, 59):
        to_query(page, query)
        assert spaced(told(page)) == sentence(eye, query, precision=precision)


def test_layers_and_heads_are_looked_at_alone(visit, eyes):
    page, eye = visit("model"), eyes["model"]
    for layer in (0, 1):
        page.get_by_role("combobox", name="layer").select_option(str(layer))
        for head in (2, None):
            page.get_by_role("combobox", name="head").select_option(str(-1 if head is None else head))
            settle(page)
            assert spaced(told(page)) == sentence(eye, 55, layer=layer, head=head)
            assert number(page) == middle(eye, "indexer fp32", layer=layer, head=-1 if head is None else head)


@pytest.mark.parametrize("name", ["window", "sinks and window", "H2O", "Quest", "MoBA", "NSA"])
@pytest.mark.parametrize("k", [4, 14])
def test_other_selectors_choose_what_the_lesson_s_choose(visit, eyes, name, k):
    page, eye = visit("model"), eyes["model"]
    choose(page, NAMES.get(name, name))
    curve = page.get_by_role("slider", name="k, keys for each query")
    curve.focus()
    while int(curve.get_attribute("aria-valuenow")) < k:
        page.keyboard.press("ArrowRight")
        settle(page)
    held = eye.recordings[""]
    layer = held.layers[1]
    q, keys = (torch.from_numpy(x)[None].double() for x in (layer.q.transpose(1, 0, 2), layer.k))
    for query in (25, 47, 59):
        to_query(page, query)
        rows = (q, keys) if name == "H2O" else (q[:, :, query : query + 1], keys[:, :, : query + 1])
        chosen = SELECTORS[name](*rows, k)[0, query if name == "H2O" else 0]
        chosen = sorted(int(key) for key in chosen if key >= 0)
        _, weights = row.rows_of(layer, "fp32", query, query)
        assert f"captures {say.percent(float(weights[chosen].sum()))} of the mass" in told(page)
        choose(page, "table")
        taken = [
            int(cells[0]) for line in page.locator(".al-table tbody tr").all_inner_texts()
            if (cells := line.split("\t"))[4] == "yes"
        ]  # fmt: skip
        assert taken == chosen
        choose(page, "table")
    assert number(page) == middle(eye, name, k)


def test_the_three_tracks_draw_as_many_bars_as_there_are_keys(visit):
    page = visit("model")
    paths = page.evaluate(
        """() => [...document.querySelectorAll('.al-selector-stage svg path')]
        .map((path) => [path.getAttribute('style'), path.getAttribute('d').split('M').slice(1)])"""
    )
    drawn = {style: [bars for other, bars in paths if other == style] for style, _ in paths}
    hits, misses, extras = (
        int(words.split()[0]) for words in page.locator(".al-selector-words .al-selector-head").all_inner_texts()
    )
    assert hits + extras == 4 and misses == extras > 0
    assert [len(bars) for bars in drawn["fill:var(--s);fill-opacity:.3"]] == [52]
    assert [len(bars) for bars in drawn["fill:var(--ink-2);fill-opacity:.35"]] == [52]
    (scores,), (weights, *lane) = drawn["fill:var(--s)"], drawn["fill:var(--mark)"]
    assert [each.split()[0] for each in scores] == [each.split()[0] for each in weights] and len(scores) == 4  # aligned
    assert [len(bars) for bars in lane] == [hits] * (hits > 0)
    assert [len(bars) for bars in drawn["fill:none;stroke:var(--ink-2)"]] == [extras]
    crosses = drawn["fill:none;stroke:var(--bad);stroke-width:1.8"]
    assert len(crosses) == 1 + misses  # in their lane together, and one on each bar


def test_a_query_that_can_take_all_does(visit):
    page = visit("model")
    to_query(page, 2)
    assert "it sees 3 keys, and every choice takes them all." in told(page)
    assert page.locator(".al-selector-head").all_inner_texts()[1].startswith("3 hits")
    to_query(page, 0)
    assert "it sees 1 key," in told(page) and "NaN" not in page.content()


def test_blocks_are_chosen_for_the_indexer_and_the_oracle_alone(visit, eyes):
    page, eye = visit("model"), eyes["model"]
    before = told(page)
    choose(page, "blocks of 4")
    assert number(page) == middle(eye, "indexer fp32 blocks") and "the indexer by blocks of 4 captures" in told(page)
    choose(page, "oracle")
    assert number(page) == middle(eye, "oracle blocks")
    assert page.get_by_role("button", name="fp8").is_disabled()
    choose(page, "Quest")
    assert page.get_by_role("button", name="tokens", exact=True).is_disabled()
    choose(page, "indexer")
    choose(page, "tokens")
    assert told(page) == before


# The reader's hands -------------------------------------------------------------------------------------------------


def test_k_is_moved_in_the_curve_by_mouse_and_by_keys(visit, eyes):
    page, eye = visit("model"), eyes["model"]
    curve = page.get_by_role("slider", name="k, keys for each query")
    assert curve.get_attribute("aria-valuetext") == f"k = 4, {number(page)} of the mass"
    curve.focus()
    page.keyboard.press("ArrowRight")
    settle(page)
    assert curve.get_attribute("aria-valuenow") == "5" and spaced(told(page)) == sentence(eye, 55, k=5)
    page.keyboard.press("End")
    settle(page)
    assert number(page) == say.percent(1) and "k = 60: it sees 56 keys" in told(page)
    page.keyboard.press("Home")
    settle(page)
    assert number(page) == middle(eye, "indexer fp32", 1)
    box = curve.bounding_box()
    at = lambda k: box["x"] + 40 + np.log2(k) / np.log2(60) * (box["width"] - 50)  # noqa: E731
    page.mouse.move(at(2), box["y"] + 60)
    page.mouse.down()
    settle(page)
    assert curve.get_attribute("aria-valuenow") == "2"
    page.mouse.move(at(16) + 2, box["y"] + 90, steps=6)
    page.mouse.up()
    settle(page)
    assert curve.get_attribute("aria-valuenow") == "16" and spaced(told(page)) == sentence(eye, 55, k=16)
    pressed(page, "ArrowDown")
    assert curve.get_attribute("aria-valuenow") == "14"


def test_a_click_looks_at_a_key_and_so_does_its_name(visit, eyes):
    page, eye = visit("model"), eyes["model"]
    box = stage(page).bounding_box()
    key = 30
    page.mouse.click(box["x"] + 52 + (key + 0.5) / 60 * (box["width"] - 58), box["y"] + 150)
    settle(page)
    words = page.locator(".al-selector-key").inner_text()
    scores, weights = row.rows_of(eye.recordings[""].layers[1], "fp32", 55, 55)
    rank = 1 + int((scores > scores[key]).sum())
    assert words.startswith(f"key {eye.named(key)}: index score ") and f"rank {rank} of 56" in words
    assert f"attention {say.percent(weights[key])}" in spaced(words).replace(" %", "\N{NO-BREAK SPACE}%")
    hit = page.locator(".al-selector-hit, .al-selector-miss").first
    name = hit.locator("bdi").inner_text()
    hit.click()
    settle(page)
    assert page.locator(".al-selector-key").inner_text().startswith(f"key {name}: ")


def test_keys_do_all_that_the_mouse_does(visit):
    page = visit("model")
    key = page.locator(".al-selector-key")
    pressed(page, "Home")
    assert key.inner_text().startswith("key 0 ")
    pressed(page, "ArrowRight", "ArrowRight", "Shift+ArrowRight", "ArrowLeft")
    assert key.inner_text().startswith("key 11 ")
    pressed(page, "End")
    assert key.inner_text().startswith("key 55 ")
    misses = int(page.locator(".al-selector-head", has_text=re.compile("miss(es)?:")).inner_text().split()[0])
    seen = set()
    for _ in range(misses):
        pressed(page, "m")
        assert key.inner_text().endswith("a miss")
        seen.add(key.inner_text())
    assert len(seen) == misses > 0
    pressed(page, "PageUp", "PageUp")
    assert "query 53 " in told(page)
    pressed(page, "PageDown")
    assert "query 54 " in told(page)
    pressed(page, "t")
    assert page.get_by_role("region", name="the numbers as a table").is_visible()
    pressed(page, "t", "+", "+")
    texts = page.locator(".al-selector-stage svg text[transform]").count()
    assert 10 <= texts <= 17  # so close that the tokens are named
    pressed(page, "0")
    assert page.locator(".al-selector-stage svg text[transform]").count() == 0


def test_playing_goes_through_the_queries(visit):
    page = visit("small")
    page.get_by_role("slider", name="query", exact=True).focus()
    page.keyboard.press("Home")
    settle(page)
    page.get_by_role("button", name="play").click()
    page.wait_for_function(
        "document.querySelector('.al-player .al-caption').textContent === 'query 5 of 6'", timeout=20_000
    )


def test_another_model_is_another_recording(visit, eyes):
    page, eye = visit("stages"), eyes["stages"]
    trained = number(page)
    choose(page, "untrained")
    assert told(page).startswith(f"Untrained, layer {eye.layer}, all heads, query ")
    assert number(page) == middle(eye, "indexer fp32", model="untrained")
    choose(page, "trained")
    assert number(page) == trained


def test_what_is_chosen_lies_over_the_atlas_as_dots(visit, eyes):
    """A chosen pair has a white middle; the box says so in words, and takes the dots away."""
    page = visit("atlas")
    box = page.get_by_role("checkbox", name="dots: chosen by the indexer at k = 4")
    assert box.is_checked()
    middles = """(pairs) => {
      const stage = document.querySelector('.al-atlas-stage'), canvas = stage.querySelector('canvas');
      const [left, top, side] = stage.dataset.map.split(' ').map(Number), ratio = canvas.width / canvas.clientWidth;
      const at = (from, token) => Math.round((from + (token + 0.5) * side / 60) * ratio);
      const pixel = (query, key) => canvas.getContext('2d').getImageData(at(left, key), at(top, query), 1, 1).data;
      return pairs.map(([query, key]) => pixel(query, key).every((channel) => channel === 255));
    }"""
    chosen = eyes["model"].density(layer=1) == 1
    pairs = [(query, key) for query in range(30, 60) for key in range(2, 20)]  # where the mask draws nothing
    white = page.evaluate(middles, pairs)
    assert white == [bool(chosen[pair]) for pair in pairs] and any(white) and not all(white)
    box.click()
    settle(page)
    assert not any(page.evaluate(middles, pairs))


# At length, and beside the page -------------------------------------------------------------------------------------


def test_a_long_text_says_what_it_leaves_out_and_is_exact_where_it_is_kept(visit, eyes):
    page, eye = visit("long"), eyes["long"]
    held = eye.recordings[""]
    assert "40 of 3,000 queries are kept" in page.locator(".al-provenance").inner_text()
    assert f"half of {len(held.counted)} of 3,000 queries" in page.locator(".al-selector-side").inner_text()
    for place in (5, 22, 39):
        to_query(page, place)
        query = int(held.at[place])
        facts = looked(*row.rows_of(held.layers[0], "fp32", place, query), held.top_k)
        assert f"query {query:,} of 3,000" in told(page)
        assert f"captures {say.percent(facts['mass'])} of the mass" in told(page)
        assert f"oracle {say.percent(facts['oracle'])}, window {say.percent(facts['window'])}" in told(page)
    names = page.locator(".al-selector-row button").all_inner_texts()
    assert names == ["indexer", "oracle", "window", "sinks + window", "random"]


@pytest.mark.parametrize(("name", "kind"), [("PNG", "png"), ("SVG", "svg"), ("data", "csv")])
def test_a_figure_is_taken_along(visit, eyes, tmp_path, name, kind):
    page = visit("model")
    with page.expect_download() as download:
        page.get_by_role("button", name=name, exact=True).click()
    path = tmp_path / f"selector.{kind}"
    download.value.save_as(path)
    assert download.value.suggested_filename == f"selector.{kind}"
    if kind == "png":
        width, height = struct.unpack(">II", path.read_bytes()[16:24])
        assert width > 1500 and height > 1500
        return
    text = path.read_text(encoding="utf-8")
    assert "measured: a run, 60 tokens" in text
    if kind == "svg":
        assert say.QUESTION in " ".join(re.findall(r">([^<>]+)</text>", text)) and "var(--" not in text
    else:
        lines = text.splitlines()
        assert lines[1] == "key,text,index score,attention,chosen,oracle's" and len(lines) == 2 + 56
        scores, weights = row.rows_of(eyes["model"].recordings[""].layers[1], "fp32", 55, 55)
        cells = [line.split(",") for line in lines[2:]]
        assert [float(each[2]) for each in cells] == pytest.approx(scores.tolist(), rel=1e-3, abs=1e-9)
        assert [float(each[3]) for each in cells] == pytest.approx(weights.tolist(), rel=1e-3)


def test_tokens_are_text_and_never_markup(visit):
    page = visit("nasty")
    page.get_by_role("button", name="table", exact=True).click()
    for _ in range(10):
        pressed(page, "ArrowLeft", "PageUp")
    assert page.evaluate("window.hacked") is None
    assert page.locator(".al script, .al img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
