"""The Atlas as a reader meets it on a page from file://: by mouse, by keys, in both themes, wide and narrow."""

import base64
import csv
import json
import re
import struct

import numpy as np
import pytest
import torch

from solutions.tiny import Config, TinyTransformer
from widgets import Atlas
from widgets.atlas import Mask, say
from widgets.kit import link
from widgets.kit.format import fixed

from .pages import CLASHES, NASTY, look_over, settle, told, visits, write
from .pages import pressed as press_keys


def structured(tokens, head_dim=16, seed=0):
    """q and k of a head with a sink, a band and a vertical, beside noise."""
    generator = torch.Generator().manual_seed(seed)
    q, k = (0.7 * torch.randn(tokens, head_dim, generator=generator) for _ in range(2))
    angle = torch.arange(tokens)[:, None] * torch.tensor([0.5, 0.2, 0.05])
    q[:, :6] = k[:, :6] = 2 * torch.cat([angle.cos(), angle.sin()], dim=1)
    q[:, 6:8] = 4
    k[:, 6:8] = 0
    k[0, 6] = 6
    k[tokens // 3, 7] = 5
    return q, k


@pytest.fixture(scope="module")
def atlases():
    q, k = structured(300)
    model = TinyTransformer(
        Config(vocabulary=16, layers=("full", "window"), options={"window": {"window": 16, "sinks": 1}}, seed=3)
    )
    ids = torch.randint(16, (200,), generator=torch.Generator().manual_seed(0))
    long_q, long_k = structured(20_000, head_dim=32)
    return {
        "one": Atlas.of(q, k, tokens=[f" t{i}" for i in range(300)], run="made by hand"),
        "two-sided": Atlas.of(q, k, causal=False),
        "model": Atlas.from_model(model, ids, tokens=[f"w{i}" for i in ids.tolist()]),
        "beside": Atlas.beside(Atlas.of(q, k, run="one"), Atlas.of(*structured(300, seed=1), run="other")),
        "nasty": Atlas.of(
            *structured(30), tokens=(NASTY * 3), cursor=(20, 4), mask=Mask(window=5, global_tokens=(4, 10))
        ),
        "long": Atlas.of(long_q, long_k, window=2048),
        "smallest": Atlas.of(*structured(2)),
    }


@pytest.fixture(scope="module")
def folder(atlases, tmp_path_factory):
    pages = {name: atlas.static_html() for name, atlas in atlases.items()}
    pages["twice"] = pages["one"] + pages["model"] * 2
    return write(tmp_path_factory.mktemp("atlas"), "Atlas", pages)


@pytest.fixture
def visit(page, folder):
    yield from visits(page, folder)


def number(page):
    return page.locator(".al-atlas-number").first.inner_text()


def the_map(page, index=0):
    return page.get_by_role("application").nth(index)


def map_box(page):
    """Left, top and side of the pixels of the first map, in the page."""
    return page.evaluate(
        """() => { const stage = document.querySelector('[role=application]'), box = stage.getBoundingClientRect();
        const [left, top, side] = stage.dataset.map.split(' ').map(Number);
        return [box.left + left, box.top + top, side]; }"""
    )


def at_cell(page, tokens, query, key):
    left, top, side = map_box(page)
    return left + (key + 0.5) * side / tokens, top + (query + 0.5) * side / tokens


def pressed(page, *keys):
    press_keys(page, the_map(page), *keys)


# What a first look finds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["twice", "beside", "long"])
def test_axe_finds_nothing(visit, name):
    page = visit(name)
    page.get_by_role("button", name="table", exact=True).first.click()
    look_over(page)


@pytest.mark.parametrize("name", ["one", "two-sided", "model", "beside", "long", "nasty", "smallest"])
def test_the_first_frame_says_what_the_text_says(visit, atlases, name):
    page = visit(name)
    question, caption = (
        page.locator(".al-question").inner_text(),
        page.locator("[role=status] .al-caption").inner_text(),
    )
    lines = repr(atlases[name]).split("\n")
    assert f"{question} {told(page)}".split() == lines[0].split()
    assert f"{number(page)} {caption}".split() == lines[1].split()


@pytest.mark.parametrize("width", [1000, 700, 390])
@pytest.mark.parametrize("name", ["one", "two-sided", "model", "beside", "long", "nasty", "smallest"])
def test_no_words_meet_and_nothing_scrolls_sideways(visit, name, width):
    page = visit(name, width)
    for keys in ([], ["+", "+", "+"], ["+", "+", "+", "+"], ["0"]):
        pressed(page, *keys)
        assert page.evaluate(CLASHES) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if name in ("model", "beside"):
        for mode in ("difference", "side by side"):
            page.get_by_role("button", name=mode).click()
            settle(page)
            assert page.evaluate(CLASHES) == []


def test_copies_on_a_page_live_their_own_lives(visit, atlases):
    page = visit("twice")
    assert page.locator(".al").count() == 3 and page.locator("[id]").count() == 0
    before = page.locator(".al-atlas-number").all_inner_texts()
    page.get_by_role("button", name="more sinks").nth(2).click()
    settle(page)
    after = page.locator(".al-atlas-number").all_inner_texts()
    assert after[:2] == before[:2] and after[2] != before[2]


def test_the_pixels_are_the_weights(visit, atlases):
    """The colour of a cell is the one that the scale gives to its weight; none is lost, turned or shifted."""
    from widgets.atlas.view import coded, floor_bits

    page, one = visit("two-sided"), atlases["two-sided"].heads[0].map
    weights = one.tile(np.arange(300), np.arange(300))
    cells = [(0, 0), (0, 299), (299, 0), (17, 203), (203, 17), (150, 100), (299, 299), (60, 0), (0, 60)]
    page.locator("label", has_text="window").locator("input").uncheck()  # its edge is drawn over the pixels
    page.get_by_role("button", name="fewer sinks").click()
    page.mouse.move(1, 1)
    settle(page)
    left, top, side = map_box(page)
    table = page.evaluate(
        """([cells, left, top, side]) => { const canvas = document.querySelector('[role=application] canvas');
        const box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
        const at = (from, cell) => Math.round(scale * (from + (cell + .5) * side / 300));
        return cells.map(([query, key]) => [...canvas.getContext('2d').getImageData(
          at(left - box.left, key), at(top - box.top, query), 1, 1).data.slice(0, 3)]); }""",
        [cells, left, top, side],
    )
    viridis = __import__("matplotlib").colormaps["viridis"]
    for (query, key), colour in zip(cells, table, strict=True):
        near_cells = [
            weights[q, k]
            for q in range(max(query - 1, 0), min(query + 2, 300))
            for k in range(max(key - 1, 0), min(key + 2, 300))
        ]
        wanted = [255 * np.array(viridis(coded(np.array([w]), floor_bits(300))[0] / 255)[:3]) for w in near_cells]
        assert min(np.abs(w - colour).max() for w in wanted) < 12, (query, key, colour)


# What a reader does --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("query", "key"), [(250, 100), (120, 7), (40, 39), (299, 299)])
def test_hover_tells_the_cell_under_the_pointer(visit, atlases, query, key):
    page, one = visit("one"), atlases["one"].heads[0].map
    page.mouse.move(*at_cell(page, 300, query, key))
    settle(page)
    said = told(page)
    assert f"query {query} ‘t{query}’" in said
    row = one.row(query)
    assert f"{say.percent(row[0])} on the first key" in said
    if f"most on key {key} " not in said:
        assert said.endswith(f"on key {key} ‘t{key}’: {say.weight_words(row[key])}.")


def test_the_future_is_not_looked_at(visit):
    page = visit("one")
    page.mouse.move(*at_cell(page, 300, 40, 250))
    settle(page)
    assert told(page).endswith("on key 250 ‘t250’: not looked at.")


def test_a_click_freezes_and_escape_frees(visit):
    page = visit("one")
    page.mouse.click(*at_cell(page, 300, 200, 50))
    page.mouse.move(*at_cell(page, 300, 250, 90))
    settle(page)
    assert "query 200 ‘t200’" in told(page)
    pressed(page, "Escape")
    page.mouse.move(*at_cell(page, 300, 251, 91))
    settle(page)
    assert "query 251 ‘t251’" in told(page)
    pressed(page, "Enter")
    page.mouse.move(*at_cell(page, 300, 100, 10))
    settle(page)
    assert "query 251 ‘t251’" in told(page)


def test_keys_do_all_that_the_mouse_does(visit, atlases):
    page = visit("one")
    query = atlases["one"].cursor[0]
    place = page.locator(".al-atlas-tools .al-caption")
    assert place.inner_text() == "queries 0 to 299, keys 0 to 299"
    pressed(page, "ArrowDown", "ArrowDown", "ArrowLeft")
    step = round(300 / 200)  # a cell or two, about as far as the eye can tell
    assert f"query {query + 2 * step} ‘t{query + 2 * step}’" in told(page)
    pressed(page, "+", "+")
    assert place.inner_text() != "queries 0 to 299, keys 0 to 299"
    seen = place.inner_text()
    pressed(page, "Shift+ArrowRight")
    assert place.inner_text() != seen
    pressed(page, *["ArrowUp"] * 80)
    first, last = place.inner_text().split(",")[0].removeprefix("queries ").split(" to ")
    inspected = int(told(page).split("query ")[1].split(" ")[0])
    assert int(first) <= inspected <= int(last)  # the view follows the cursor
    pressed(page, "0")
    assert place.inner_text() == "queries 0 to 299, keys 0 to 299"
    before = number(page)
    pressed(page, "g")
    assert "global token" in page.locator("[role=status]").inner_text() and number(page) != before
    pressed(page, "g")
    assert number(page) == before
    pressed(page, "t")
    assert page.get_by_role("region", name="the numbers as a table").is_visible()
    pressed(page, "t")
    assert not page.get_by_role("region", name="the numbers as a table").is_visible()


def test_the_wheel_belongs_to_the_page_unless_ctrl_is_held(visit):
    page = visit("one")
    place = page.locator(".al-atlas-tools .al-caption")
    page.set_viewport_size({"width": 1000, "height": 400})
    settle(page)
    page.mouse.move(*at_cell(page, 300, 100, 50))
    page.mouse.wheel(0, 100)
    page.wait_for_function("scrollY > 0")
    assert place.inner_text() == "queries 0 to 299, keys 0 to 299"
    before = page.evaluate("scrollY")
    page.mouse.move(*at_cell(page, 300, 150, 50))
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    settle(page)
    assert place.inner_text() != "queries 0 to 299, keys 0 to 299" and page.evaluate("scrollY") == before


def test_dragging_moves_the_map_and_leaves_the_cursor(visit):
    page = visit("one")
    pressed(page, "+", "+")
    said, place = told(page), page.locator(".al-atlas-tools .al-caption").inner_text()
    left, top, side = map_box(page)
    page.mouse.move(left + side / 2, top + side / 2)
    settle(page)
    said = told(page)
    page.mouse.down()
    page.mouse.move(left + side / 4, top + side / 4, steps=4)
    page.mouse.up()
    settle(page)
    assert page.locator(".al-atlas-tools .al-caption").inner_text() != place and told(page) == said


@pytest.mark.parametrize("name", ["one", "two-sided", "model"])
def test_the_number_follows_the_mask_and_is_python_s(visit, atlases, name):
    page, atlas = visit(name), atlases[name]
    one, start = atlas.heads[0].map, atlas.mask
    slider = page.get_by_role("slider", name="window")
    windows = json.loads(page.evaluate("JSON.stringify([document.querySelector('input[type=range]').max])"))
    for step in (0, 5, int(windows[0]) // 2, int(windows[0])):
        slider.evaluate("(slider, at) => { slider.value = at; slider.dispatchEvent(new Event('input')); }", step)
        window = int(slider.get_attribute("aria-valuetext").split()[-1].replace(",", ""))
        mask = Mask(window, start.sinks)
        assert number(page) == say.percent(one.kept(mask))
        assert f"reading {say.percent(one.pairs(mask))} of" in page.locator("[role=status]").inner_text()
    slider.evaluate("(slider) => { slider.value = 3; slider.dispatchEvent(new Event('input')); }")
    window = int(slider.get_attribute("aria-valuetext").split()[-1])
    page.get_by_role("button", name="more sinks").click()
    page.get_by_role("button", name="more global tokens").click()
    page.get_by_role("button", name="more blocks").click()
    page.get_by_role("button", name="more blocks").click()
    token = page.locator(".al-atlas-side .al-caption", has_text="global: ").inner_text().split()[1].rstrip(",")
    mask = Mask(window, start.sinks + 1, (int(token),), 2)
    assert number(page) == say.percent(one.kept(mask))
    assert f"reading {say.percent(one.pairs(mask))} of" in page.locator("[role=status]").inner_text()
    page.locator("label", has_text="window").locator("input").uncheck()
    assert number(page) == say.percent(one.kept(Mask(None, mask.sinks, mask.global_tokens, 2)))


def test_a_head_is_chosen_by_its_small_map(visit, atlases):
    page, atlas = visit("model"), atlases["model"]
    thumbs = page.locator(".al-atlas-heads button")
    assert thumbs.count() == 8
    shares = [fixed(100 * head.map.kept(atlas.mask), 0) for head in atlas.heads]
    assert [text.strip() for text in thumbs.all_inner_texts()] == shares
    page.get_by_role("button", name="layer 1 head 2").click()
    settle(page)
    assert told(page).startswith("Layer 1 head 2, query") and number(page) == say.percent(
        atlas.heads[6].map.kept(atlas.mask)
    )


def test_two_maps_share_place_and_scale(visit, atlases):
    page = visit("beside")
    titles = [the_map(page, i).locator("svg text").first.text_content() for i in range(2)]
    kept = [say.percent(head.map.kept(atlases["beside"].mask)) for head in atlases["beside"].heads]
    assert titles == [f"A: one, head 0, {kept[0]} kept", f"B: other, head 0, {kept[1]} kept"]
    pressed(page, "+", "+")
    ticks = [the_map(page, i).locator("svg text").all_text_contents()[1:] for i in range(2)]
    assert ticks[0] == ticks[1] and len(ticks[0]) > 3
    page.get_by_role("button", name="difference").click()
    settle(page)
    assert the_map(page).locator("svg text").first.text_content() == "A − B: one, head 0 against other, head 0"
    assert not the_map(page, 1).is_visible()
    bar = page.locator(".al-atlas-bar")
    assert "ratio of weights, log scale" in bar.inner_text()
    assert "A more: ≥ 256 ×" in bar.locator("svg").text_content()
    page.get_by_role("button", name="linear").click()
    settle(page)
    assert "difference of weights, linear scale" in bar.inner_text()
    page.get_by_role("button", name="one", exact=True).click()
    settle(page)
    assert the_map(page).locator("svg text").first.text_content() == "One, head 0"


def test_scale_statistic_and_sink_are_stated(visit, atlases):
    page = visit("one")
    bar = page.locator(".al-atlas-bar")
    assert "weight, log scale" in bar.inner_text() and bar.locator("svg").text_content().startswith("≤ 2⁻¹²")
    share = say.percent(atlases["one"].heads[0].map.read[0] / 300)
    label = page.get_by_text(f"hide the first key, with {share} of the mass")
    picture = "document.querySelector('[role=application] canvas').toDataURL()"
    before = page.evaluate(picture)
    label.click()
    settle(page)
    hidden = page.evaluate(picture)
    assert hidden != before
    page.get_by_role("button", name="linear").click()
    settle(page)
    assert "weight, linear scale" in bar.inner_text() and page.evaluate(picture) != hidden


def test_forbidden_is_hatched_and_never_the_colour_of_nothing(visit):
    page = visit("one")
    left, top, side = map_box(page)
    seen = page.evaluate(
        """([left, top, side]) => { const canvas = document.querySelector('[role=application] canvas');
        const box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
        const x = scale * (left - box.left + .7 * side), y = scale * (top - box.top + .1 * side);
        const data = canvas.getContext('2d').getImageData(x, y, 40, 40).data;
        return [...new Set(Array.from({ length: 1600 }, (_, i) => [...data.slice(4 * i, 4 * i + 3)].join()))]; }""",
        [left, top, side],
    )
    greys = [[int(part) for part in colour.split(",")] for colour in seen]
    assert len(greys) > 1 and all(max(grey) - min(grey) < 24 and min(grey) > 180 for grey in greys)


def test_tokens_are_text_and_never_markup(visit):
    page = visit("nasty")
    pressed(page, "+", "+")
    page.get_by_role("button", name="table", exact=True).click()
    for query in range(0, 30, 3):
        page.mouse.move(*at_cell(page, 30, query, min(query, 9)))
        settle(page)
    assert page.evaluate("window.hacked") is None
    assert page.locator(".al script, .al img, .al bdi *").count() == 0
    strip = page.locator(".al-atlas-strip").inner_text()
    assert "👩‍🚀" in strip or "مرحبا" in strip
    assert (
        page.evaluate("Math.max(...[...document.querySelectorAll('.al-atlas-strip span')].map((e) => e.clientWidth))")
        <= 140
    )
    assert "(10,000 characters)" in page.locator(".al").inner_text()


# At length ----------------------------------------------------------------------------------------------------------


def test_a_long_map_is_exact_where_it_is_recorded_and_says_where_not(visit, atlases):
    page, one = visit("long"), atlases["long"].heads[0].map
    note = page.locator(".al-atlas-bar .al-caption").last
    assert "each pixel = max of " in note.inner_text()
    query, key = atlases["long"].cursor
    page.get_by_role("button", name=f"{query:,}, {key:,}", exact=True).click()
    page.wait_for_function("document.querySelector('.al-atlas-bar').textContent.includes('one cell')")
    assert "not recorded" not in note.inner_text()
    pressed(page, "ArrowLeft")
    assert told(page).endswith(f"on key {key - 1:,}: {say.weight_words(one.row(query)[key - 1])}.")
    pressed(page, "Escape", *["Shift+ArrowUp"] * 12)
    assert "cells here are not recorded" in note.inner_text()
    page.mouse.move(*[a + 60 for a in map_box(page)[:2]])
    settle(page)
    assert "not recorded; the largest of its 32 × 32 cells is about" in told(page) or "not looked at" in told(page)


def test_a_global_token_that_is_not_told_is_refused_in_words(visit, atlases):
    page = visit("long")
    pressed(page, "ArrowRight")
    before = number(page)
    pressed(page, "g")
    assert "is not in this page, so what it would keep can't be said" in told(page) and number(page) == before
    page.get_by_role("button", name="more global tokens").click()
    heavy = atlases["long"].data["heads"][0]["heavy"][0]
    mask = Mask(atlases["long"].mask.window, 1, (heavy,))
    assert number(page) == say.percent(atlases["long"].heads[0].map.kept(mask))


KERNEL = """async ([module, state]) => {
  const bytes = (text) => new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  const held = JSON.parse(state, (_, value) => (typeof value?.base64 === "string" ? bytes(value.base64) : value));
  const { default: view } = await import(URL.createObjectURL(new Blob([module], { type: "text/javascript" })));
  let hear;
  const model = {
    get: (name) => held[name],
    set(name, value) { held[name] = value; },
    save_changes() { window.reader = held.reader; },
    on(_, listener) { hear = listener; },
    off() {},
    send(message) {
      ask(message).then((answers) => answers.forEach(([content, buffers]) => hear(content, buffers.map(bytes))));
    },
  };
  view.render({ model, el: document.querySelector("main") });
}"""


def test_a_running_kernel_makes_every_cell_exact(page, atlases, tmp_path, monkeypatch):
    """The real answers of the Python side, carried to the real view, without a notebook around them."""
    atlas, one, asked = atlases["long"], atlases["long"].heads[0].map, []

    def ask(message):
        answers = []
        monkeypatch.setattr(Atlas, "send", lambda _, content, buffers=(): answers.append((content, buffers)))
        atlas._answer(atlas, message, [])
        asked.append(message)
        return [[content, [base64.b64encode(part).decode() for part in buffers or ()]] for content, buffers in answers]

    css = link.stylesheet([Atlas.style()])
    (tmp_path / "live.html").write_text(f"<!doctype html><style>{css}</style><main></main>", encoding="utf-8")
    page.expose_function("ask", ask)
    page.goto((tmp_path / "live.html").as_uri())
    state = json.loads(re.search(r">(\{.*\})</script>", atlas.static_html())[1])["state"]
    page.evaluate(KERNEL, [link.module(Atlas.view), json.dumps(state)])
    settle(page)
    assert not page.locator(".al-atlas-places").inner_text()  # nowhere is it inexact
    pressed(page, *["+"] * 8, *["Shift+ArrowUp"] * 30)
    page.wait_for_function(
        "((text) => text.includes('one cell') && !text.includes('fetched') && !text.includes('computed'))"
        "(document.querySelector('.al-atlas-bar').textContent)"
    )
    left, top, side = map_box(page)
    page.mouse.move(left + 0.3 * side, top + 0.6 * side)
    page.wait_for_function("document.querySelector('.al-say').textContent.includes('on the last 64')")
    query, key = (
        int(found.replace(",", "")) for found in re.search(r"query ([\d,]+):.* on key ([\d,]+)", told(page)).groups()
    )
    row = one.row(query)
    assert f"{say.percent(row[query - 63 :].sum())} on the last 64" in told(page)
    assert told(page).endswith(f"on key {key:,}: {say.weight_words(row[key])}.")
    assert len(asked) < 12  # asked when the map rests, not at every step
    page.wait_for_function("(query) => window.reader && reader.cursor.query === query", arg=query)
    assert page.evaluate("reader.cursor") == {"query": query, "key": key}
    assert page.errors == []


# Taken along --------------------------------------------------------------------------------------------------------


def test_exports_hold_the_picture_the_numbers_and_where_they_come_from(visit, atlases, tmp_path):
    page = visit("one")
    found = {}
    for name in ("PNG", "SVG", "data"):
        with page.expect_download() as download:
            page.get_by_role("button", name=name, exact=True).click()
        found[name] = tmp_path / download.value.suggested_filename
        download.value.save_as(found[name])
    png = found["PNG"].read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">I", png[16:20])[0] >= 1900
    drawing = found["SVG"].read_text(encoding="utf-8")
    assert drawing.count("<image") == 1 and "data:image/png;base64," in drawing and "var(--" not in drawing
    for words in ("measured: made by hand, 300 tokens", number(page), "weight, log scale", "mass kept"):
        assert words in drawing
    assert page.locator(".al svg image").count() == 0
    lines = found["data"].read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# measured: made by hand")
    head, *rows = csv.reader(lines[1:])
    assert head == ["query", "key", "largest weight of 16 × 16 cells from there, to 3 %"]
    weights = atlases["one"].heads[0].map.tile(np.arange(300), np.arange(300))
    assert len(rows) == 19 * 20 // 2
    for query, key, weight in rows[::7]:
        block = weights[int(query) : int(query) + 16, int(key) : int(key) + 16]
        assert float(weight) == pytest.approx(block.max(), rel=0.06)


def test_close_up_the_table_is_exact(visit, atlases):
    page = visit("one")
    page.get_by_role("button", name="the cells around the cursor").click()
    settle(page)
    page.get_by_role("button", name="table", exact=True).click()
    table = page.locator(".al-table")
    assert table.locator("th").all_inner_texts() == ["query", "query's token", "key", "key's token", "weight"]
    query, _, key, _, weight = table.locator("tbody tr").nth(40).locator("td").all_inner_texts()
    assert float(weight) == pytest.approx(atlases["one"].heads[0].map.row(int(query))[int(key)], rel=1e-4)


def test_one_page_stands_alone(page, atlases, tmp_path):
    path = atlases["model"].save_html(tmp_path / "alone.html")
    page.goto(path.as_uri())
    page.wait_for_selector(".al-atlas-number")
    settle(page)
    assert number(page) == say.percent(atlases["model"].heads[0].map.kept(atlases["model"].mask))
    assert page.errors == [] and page.outside_requests == []
