"""The Theatre as a reader meets it on a page from file://: by mouse, by keys, in both themes, wide and narrow."""

import base64
import csv
import re

import pytest
import torch

from solutions import flash
from widgets import Theatre
from widgets.theatre import Trace, facts
from widgets.theatre.runs import machine_trace
from widgets.theatre.view import NOTHING

from .pages import look_over, settle, told, visits, write
from .pages import pressed as press_keys


def machine(loop, n=128, head_dim=16, **settings):
    """The tile machine's traces are the same on every system."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(n, head_dim, generator=generator).half() for _ in range(3))
    return machine_trace(loop, q, k, v, **{"block_m": 16, "block_n": 16, "causal": True, **settings})


def both(block_n=16, causal=True):
    if block_n == 64:
        raise ValueError("64 does not fit, in this fixture")
    loops = (flash.tiled_attention, flash.standard_attention)
    return tuple(machine(loop, block_n=block_n, causal=causal) for loop in loops)


def product():
    tiles = flash.TileMachine()
    a, c = tiles.hbm("a", torch.ones(48, 32)), tiles.empty("c", (48, 32), torch.float32)
    for index, row in enumerate(range(0, 48, 16)):
        with tiles.program(index):
            rows = slice(row, row + 16)
            tile = tiles.load("a_tile", a, rows)
            tiles.store(c, rows, tiles.hold("acc", tiles.dot(tile, torch.ones(32, 32))))
    return Trace.of_machine(tiles)


@pytest.fixture(scope="module")
def theatres():
    knobs = {"block_n": [16, 32, 64], "causal": [True, False]}
    recorded = [{"block_n": 16}, {"block_n": 32}, {"block_n": 16, "causal": False}, {"block_n": 64}]
    return {
        "two": Theatre(*both()),
        "knobs": Theatre.of(both, knobs, recorded=recorded),
        "product": Theatre(product()),
        "outer": Theatre(machine(flash.flash1_attention), both()[1]),
        "long": Theatre(machine(flash.tiled_attention, n=1152)),
        "nothing": Theatre(Trace.of_machine(flash.TileMachine())),
        "tight": Theatre(both()[0], sram_limit=1000),
    }


@pytest.fixture(scope="module")
def folder(theatres, tmp_path_factory):
    pages = {name: theatre.static_html() for name, theatre in theatres.items()}
    pages["twice"] = pages["two"] * 2
    folder = write(tmp_path_factory.mktemp("theatre"), "Theatre", pages)
    theatres["two"].save_html(folder / "saved.html")
    return folder


@pytest.fixture
def visit(page, folder):
    yield from visits(page, folder)


def opened(page):
    """Unfold everything."""
    page.evaluate("document.querySelectorAll('.al-theatre-more').forEach((one) => { one.open = true; })")
    settle(page)
    return page


def doing(page):
    """What is said of the event, with everything unfolded."""
    return page.locator(".al-theatre-event").first.inner_text()


def goes(page, step):
    slider = page.get_by_role("slider", name="bytes moved").first
    slider.fill(str(step))
    settle(page)


def place(page):
    return page.locator(".al-player .al-caption").first.inner_text()


def pressed(page, *keys):
    press_keys(page, page.get_by_role("slider", name="bytes moved").first, *keys)


def event(page):
    """Number of the event that is shown, counted from 0."""
    return int(re.match(r"event ([\d,]+) of", place(page))[1].replace(",", "")) - 1


def scene_of(theatre, index=0):
    return theatre.runs[0]["scenes"][index]


# What a first look finds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["knobs", "product", "twice"])
def test_axe_finds_nothing(visit, name):
    page = visit(name)
    look_over(page)
    opened(page).get_by_role("button", name="table", exact=True).first.click()
    look_over(page)


@pytest.mark.parametrize("name", ["two", "knobs", "product", "outer", "long", "nothing", "tight", "saved"])
def test_the_page_says_what_the_text_says_of_its_event(visit, theatres, name):
    page, theatre = visit(name), theatres["two" if name == "saved" else name]
    said = [page.locator(".al-question").inner_text()]
    if name != "nothing":
        assert event(page) == 0
        goes(opened(page), facts.key_event(scene_of(theatre)))
        said.append(doing(page))
    assert " ".join([*said, told(page)]).split() == repr(theatre).splitlines()[0].split()


def test_nothing_recorded_is_said_in_words(visit):
    page = visit("nothing")
    assert told(page) == NOTHING and page.locator("canvas").count() == 0


@pytest.mark.parametrize("width", [1280, 1000, 800, 390])
@pytest.mark.parametrize("name", ["knobs", "product", "outer"])
def test_nothing_scrolls_sideways_but_code(visit, name, width):
    page = opened(visit(name, width))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    cut = page.evaluate(
        """() => [...document.querySelectorAll('.al *')].filter((one) => !one.closest('.al-theatre-code, .al-table')
        && one.scrollWidth > one.clientWidth + 1 && one.clientWidth && getComputedStyle(one).display !== 'inline'
        && !['INPUT', 'SELECT', 'OPTION', 'BUTTON'].includes(one.tagName))
        .map((one) => `${one.className} ${one.scrollWidth}`)"""
    )
    assert cut == []


# Every word that a canvas was last given, as [text, left, top, right, bottom, pixels of its font], by the canvas.
HEAR = """() => {
  window.heard = new Map();
  const { clearRect, fillText } = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.clearRect = function (...box) {
    window.heard.set(this.canvas, []);
    return clearRect.apply(this, box);
  };
  CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
    const { actualBoundingBoxLeft: left, actualBoundingBoxRight: right, actualBoundingBoxAscent: up,
            actualBoundingBoxDescent: down } = this.measureText(text);
    const size = parseFloat(this.font.match(/([\\d.]+)px/)[1]);
    window.heard.get(this.canvas)?.push([text, x - left, y - up, x + right, y + down, size]);
    return fillText.call(this, text, x, y);
  };
}"""
MEETING = """(steps) => {
  const found = new Set();
  const slider = document.querySelector('.al-player input');
  return new Promise((done) => {
    let step = 0;
    const next = () => {
      for (const [canvas, words] of window.heard) {
        const edge = canvas.clientWidth;
        words.forEach(([a, left, top, right, bottom, size], i) => {
          if (size < 12 || left < -1 || right > edge + 1) found.add(`${a}: ${size} px, ${left} to ${right} of ${edge}`);
          for (const [b, l, t, r, u] of words.slice(i + 1))
            if (left < r && l < right && top < u && t < bottom) found.add(`${a} | ${b}`);
        });
      }
      if (step > steps) return done([...found]);
      slider.value = Math.round((step * slider.max) / steps);
      slider.dispatchEvent(new Event('input'));
      step += 1;
      return requestAnimationFrame(() => requestAnimationFrame(next));
    };
    next();
  });
}"""


@pytest.mark.parametrize("width", [1280, 700, 390])
@pytest.mark.parametrize("name", ["knobs", "product", "outer"])
def test_no_words_meet_at_any_stop(page, folder, name, width):
    page.add_init_script(f"({HEAR})()")
    for visit in visits(page, folder):
        opened(visit(name, width, reduced_motion="reduce"))
        assert page.evaluate("[...window.heard.values()].filter((words) => words.length > 3).length") >= 3
        assert page.evaluate(MEETING, 24) == []


@pytest.mark.parametrize("width, height, column", [(1440, 900, 0), (1280, 800, 0), (1280, 800, 799), (390, 844, 0)])
def test_picture_and_player_are_seen_together(page, folder, width, height, column):
    """The card takes at most 85 % of a wide window, wherever the player stands, and has at most seven controls."""
    for visit in visits(page, folder, height):
        visit("knobs", width)
        page.add_style_tag(content=f"main {{ max-width: {column or 1120}px; margin: 0 auto }}")
        heights = set()
        for key in ("Home", "End"):
            pressed(page, key)
            heights.add(page.locator(".al").bounding_box()["height"])
        assert len(heights) == 1 and heights.pop() <= (0.85 if width > 390 else 0.9) * height
        stage, time = (page.locator(each).first.bounding_box() for each in (".al-theatre-stage", ".al-player"))
        assert 0 <= time["y"] - stage["y"] - stage["height"] <= 12
        assert time["y"] + time["height"] - stage["y"] <= 570
        controls = page.locator(".al :is(button, input, select, summary)").evaluate_all(
            "(all) => all.filter((one) => one.checkVisibility()).map((one) => one.getBoundingClientRect().toJSON())"
        )
        assert len(controls) <= 7 and all(min(one["width"], one["height"]) >= 24 for one in controls)


def test_every_target_is_24_pixels_high(visit):
    page = opened(visit("knobs", 390))
    small = page.locator(".al :is(button, input, select, summary)").evaluate_all(
        """(all) => all.filter((one) => one.checkVisibility()).filter((one) => one.getBoundingClientRect().height < 24)
        .map((one) => one.outerHTML.slice(0, 90))"""
    )
    assert small == []


def test_the_stage_glides_and_stands_at_once_with_reduced_motion(page, folder):
    pictures = set()
    for visit in visits(page, folder):
        for motion in ("no-preference", "reduce"):
            visit("two", reduced_motion=motion)
            goes(page, 100)
            page.wait_for_timeout(1000)
            glides = page.evaluate("performance.getEntriesByName('theatre glides').length")
            shown = page.locator(".al-theatre-stage canvas").evaluate("(canvas) => canvas.toDataURL()")
            assert glides == 0 if motion == "reduce" else glides > 3
            pictures.add(shown)
        assert len(pictures) == 1  # both end on the same


def test_forced_colours_keep_what_is_chosen_apart(visit):
    page = opened(visit("two"))
    page.emulate_media(forced_colors="active")
    settle(page)
    ground = "(one) => getComputedStyle(one).backgroundColor"
    pressed_or_not = (page.locator(f".al-segment [aria-pressed={on}]").first for on in ("true", "false"))
    assert len({one.evaluate(ground) for one in pressed_or_not}) == 2
    assert page.locator(".al-player input").evaluate("(one) => getComputedStyle(one).forcedColorAdjust") == "none"


def test_the_pictures_are_not_blank(visit):
    page = opened(visit("two"))
    goes(page, 100)
    colours = page.evaluate(
        """() => [...document.querySelectorAll('.al canvas')].map((canvas) => {
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height), seen = new Set();
        for (let i = 0; i < data.length; i += 4) if (data[i + 3]) seen.add(`${data[i]} ${data[i + 1]} ${data[i + 2]}`);
        return seen.size; })"""
    )
    assert len(colours) == 5 and all(count > 20 for count in colours[:2] + colours[3:])  # the third is the hand


def test_copies_on_a_page_live_their_own_lives(visit):
    page = visit("twice")
    assert page.locator(".al").count() == 2 and page.locator("[id]").count() == 0
    before = page.locator(".al-say").nth(1).inner_text()
    pressed(page, "End")
    assert page.locator(".al-say").nth(1).inner_text() == before != told(page)


def test_what_does_not_fit_is_marked(visit, theatres):
    page = opened(visit("tight"))
    goes(page, facts.key_event(scene_of(theatres["tight"])))
    assert "more than the limit" in doing(page)
    page.get_by_role("combobox", name="limit of the SRAM").select_option(label="99 KiB")
    settle(page)
    assert "of 99 KiB" in doing(page)


# What a reader does ---------------------------------------------------------------------------------------------------


def test_keys_step_leap_jump_and_go_by_programs(visit, theatres):
    page, drawn = opened(visit("two")), scene_of(theatres["two"])
    start = facts.key_event(drawn)
    goes(page, start)
    pressed(page, "ArrowRight", "ArrowRight", "ArrowLeft")
    assert event(page) == start + 1
    pressed(page, "Shift+ArrowLeft")
    assert event(page) == start - 9
    pressed(page, "Home")
    assert event(page) == 0 and "loads Q rows 0 to 15" in doing(page)
    pressed(page, "PageDown", "PageDown")
    assert event(page) == drawn["first"][2] and "program 3 of 8" in doing(page)
    pressed(page, "PageUp")
    assert event(page) == drawn["first"][1]
    pressed(page, "End")
    assert "flash is done after" in told(page) and "standard is done after" in told(page)


def test_each_step_says_what_the_trace_holds(visit, theatres):
    page, drawn = opened(visit("two")), scene_of(theatres["two"])
    pressed(page, "Home")
    clock = facts.moved(drawn)
    for at in range(12):
        found = facts.event_facts(drawn, at)
        assert ("multiplies two tiles" if found["kind"] == "dot" else found["span"]) in doing(page)
        assert page.locator(".al-theatre-big").first.inner_text().startswith(size_words(int(clock[at])))
        pressed(page, "ArrowRight")


def size_words(nbytes):
    from widgets.kit.format import size

    return size(nbytes)


def test_play_pauses_at_the_end_and_loops_between_its_marks(visit):
    page = opened(visit("two"))
    pressed(page, "End", *["ArrowLeft"] * 3, "+", "+", "+", "Space")
    page.get_by_role("button", name="play", exact=True).wait_for(timeout=10_000)
    assert "standard is done after" in told(page)
    pressed(page, "Home", "]")
    pressed(page, *["ArrowRight"] * 6)
    pressed(page, "]", "Space")
    loop = page.get_by_role("button", name="loop")
    assert loop.get_attribute("aria-pressed") == "true"
    for _ in range(6):
        page.wait_for_timeout(60)
        assert event(page) <= 6
    assert page.get_by_role("button", name="pause").count() == 1
    pressed(page, "Space", "l")
    assert loop.get_attribute("aria-pressed") == "false"


def test_the_other_kernel_is_watched_at_the_same_bytes(visit, theatres):
    page = opened(visit("two"))
    goes(page, facts.key_event(scene_of(theatres["two"])))
    first = page.locator(".al-theatre-big").first.inner_text().split(" of ")[0]
    page.get_by_role("button", name="standard", exact=True).click()
    settle(page)
    moved = facts.moved(scene_of(theatres["two"], 1))
    at = event(page)
    flash_moved = facts.moved(scene_of(theatres["two"]))[facts.key_event(scene_of(theatres["two"]))]
    assert moved[at] <= flash_moved < moved[at + 1]
    assert doing(page).startswith("standard, make_scores, program") and first
    assert page.locator(".al-theatre-head").inner_text().startswith("make_scores, line")


def test_a_press_on_the_film_seeks(visit, theatres):
    page = opened(visit("two"))
    page.locator(".al-theatre-film").scroll_into_view_if_needed()
    box = page.locator(".al-theatre-film").bounding_box()
    page.mouse.click(box["x"] + 1, box["y"] + 30)
    settle(page)
    assert "0 B each" in told(page) or event(page) == 0
    page.mouse.move(box["x"] + 100, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 30)
    page.mouse.up()
    settle(page)
    assert "flash is done" in told(page)
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "bytes moved"


def test_a_press_on_a_tile_goes_to_its_event(visit, theatres):
    page = opened(visit("two"))
    page.locator(".al-theatre-middle [role=img]").first.scroll_into_view_if_needed()
    stage = page.locator(".al-theatre-middle [role=img]").first.bounding_box()
    # The first tile of the third row of eight: query block 2, key block 0.
    side = min(stage["width"] - 46, 300)
    left = stage["x"] + 22 + (stage["width"] - 44 - side) / 2
    page.mouse.click(left + side / 16, stage["y"] + 38 + side * 2.5 / 8)
    settle(page)
    assert "program 3 of 8, loads K rows 0 to 15" in doing(page)


def test_a_press_on_a_line_goes_to_its_next_event(visit):
    page = opened(visit("two"))
    line = page.locator(".al-theatre-code button", has_text="machine.store(out")
    line.click()
    settle(page)
    assert "stores out rows" in doing(page)
    assert line.get_attribute("aria-current") == "true"
    before = event(page)
    line.press("Enter")
    settle(page)
    assert event(page) > before and "stores out rows" in doing(page)


def test_the_source_shows_the_line_that_runs(visit):
    page = opened(visit("two"))
    pressed(page, "Home", "ArrowRight")
    for _ in range(30):
        on = page.locator(".al-theatre-code .al-on")
        assert on.count() == 1
        inside = on.evaluate(
            """(row) => { const box = row.getBoundingClientRect(), list = row.parentElement.getBoundingClientRect();
            return box.top >= list.top - 1 && box.bottom <= list.bottom + 1; }"""
        )
        assert inside
        pressed(page, "ArrowRight")


def test_the_tour_shows_a_stretch_and_stops(visit, theatres):
    page = visit("two", reduced_motion="reduce")
    button, words = page.locator(".al-theatre-tour button"), page.locator(".al-theatre-tour p")
    assert button.inner_text() == "Show me" and "in 5 steps" in words.inner_text()
    seen = []
    for after in ["Next"] * 4 + ["Again", "Next"]:
        button.click()
        settle(page)
        assert button.inner_text() == after
        seen.append((words.inner_text(), page.get_by_role("slider", name="bytes moved").input_value()))
    assert seen[0] == seen[5] and len(set(seen)) == 5
    assert "standard is done" not in told(page)
    page.get_by_role("slider", name="bytes moved").press("End")
    assert visit("product").locator(".al-theatre-tour").is_hidden()


def test_a_step_of_the_tour_plays_to_its_end(visit):
    page = visit("two")
    button, slider = page.locator(".al-theatre-tour button"), page.get_by_role("slider", name="bytes moved")
    for _ in range(2):
        button.click()
        page.get_by_role("button", name="play", exact=True).wait_for(timeout=20_000)
    stood = slider.input_value()
    assert 0 < int(stood) < int(slider.get_attribute("max"))
    page.wait_for_timeout(300)
    assert slider.input_value() == stood


def test_knobs_choose_among_recorded_runs_and_say_so(visit):
    page = opened(visit("knobs"))
    note = page.locator(".al-theatre-knobs [role=status]")
    assert note.inner_text() == "Chooses among 4 recorded runs."
    goes(page, 100)
    before = page.locator(".al-theatre-big").first.inner_text()
    block = page.get_by_role("group", name="block_n")
    block.get_by_role("button", name="32").click()
    settle(page)
    assert page.locator(".al-theatre-big").first.inner_text() != before
    assert "block_n 32, causal on" in page.locator(".al-provenance").inner_text()
    causal = page.get_by_role("group", name="causal")
    assert causal.get_by_role("button", name="off").is_disabled()  # block_n 32 was recorded with causal only
    block.get_by_role("button", name="16").click()
    assert causal.get_by_role("button", name="off").is_enabled()
    said = told(page)
    block.get_by_role("button", name="64").click()
    settle(page)
    assert "64 does not fit, in this fixture" in note.inner_text() and told(page) == said


def test_the_cache_of_the_model_can_be_chosen(visit, theatres):
    page = opened(visit("two"))
    number = page.locator(".al-theatre-big").nth(1)
    for cache in scene_of(theatres["two"])["l2"]:
        page.get_by_role("combobox", name="cache of the L2 model").select_option(label=cache["words"])
        settle(page)
        assert number.inner_text() == f"{size_words(cache['bytes'])} read from HBM"


# What can be taken along ----------------------------------------------------------------------------------------------


def test_exports_hold_the_picture_and_where_it_comes_from(visit, theatres, tmp_path):
    page = opened(visit("knobs"))
    goes(page, facts.key_event(scene_of(theatres["knobs"])))
    saved = {}
    for name in ("PNG", "SVG", "data"):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=name, exact=True).click()
        saved[name] = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(saved[name])
    assert saved["PNG"].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and saved["PNG"].stat().st_size > 20_000
    drawn = saved["SVG"].read_text(encoding="utf-8")
    assert "aria-hidden" not in drawn  # no button's icon
    assert drawn.count("<rect") > 100 and "tile machine" in drawn and "var(--" not in drawn
    for words in ("issued, exact", "50 MiB, 132 programs in step", "tiled_attention, line", "machine.load", "never"):
        assert words in drawn, words
    rows = list(csv.reader(saved["data"].read_text(encoding="utf-8").splitlines()))
    assert rows[0][0].startswith("# measured: tile machine") and rows[1][:4] == ["event", "kernel", "program", "does"]
    assert page.locator(".al-theatre-still").count() == 0
    assert base64.b64encode(saved["PNG"].read_bytes()[:4])


# How long a frame takes -----------------------------------------------------------------------------------------------


def test_ten_thousand_events_are_scrubbed_without_a_wait(visit, theatres):
    assert len(scene_of(theatres["long"])["act"]) > 10_000
    page = visit("long")
    frames = page.evaluate(
        """async () => {
        const input = document.querySelector('.al-player input');
        for (let i = 0; i <= 120; i += 1) {
          input.value = String(Math.round((Number(input.max) * i) / 120));
          input.dispatchEvent(new Event('input'));
          await new Promise(requestAnimationFrame);
        }
        const taken = performance.getEntriesByName('theatre draws').map(({ duration }) => duration);
        return taken.sort((a, b) => a - b);
        }"""
    )
    assert len(frames) > 60
    assert frames[len(frames) // 10] < 16  # the quickest tenth: what drawing takes where no other work comes between
