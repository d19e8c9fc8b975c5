"""The instruments as a reader meets them on a page from file://: by mouse, by keys, in both themes, wide and narrow."""

import csv
import struct
from pathlib import Path

import pytest
import torch

from solutions.quadratic import attention, blocked_attention, naive_peak_bytes
from widgets import Ledger, predict
from widgets.ledger.measure import record, sweep

from .pages import look_over, told, visits, write

ROOT = Path(__file__).resolve().parents[2]
FUSED = torch.nn.functional.scaled_dot_product_attention

# Scrubs through the frames and names the words that lie on each other, or run out of their picture. A pixel or two is
# taken off each side of a word, where letters have no ink.
CLASHES = """(frames) => {
  const seen = (word) => word.textContent && word.checkVisibility({ opacityProperty: true });
  const clashes = new Set();
  const scrub = [...document.querySelectorAll('.al-player input')].find((input) => input.checkVisibility());
  for (let frame = 0; frame <= frames; frame += 1) {
    scrub.value = Number(scrub.min) + Math.round((frame * (scrub.max - scrub.min)) / frames);
    scrub.dispatchEvent(new Event('input'));
    for (const picture of document.querySelectorAll('.al svg')) {
      const edge = picture.getBoundingClientRect();
      const words = [...picture.querySelectorAll('text')].filter(seen);
      const boxes = words.map((word) => [word.textContent, word.getBoundingClientRect()]);
      boxes.forEach(([a, p], i) => {
        if (p.right > edge.right + 1 || p.left < edge.left - 1) clashes.add(a);
        for (const [b, q] of boxes.slice(i + 1)) {
          const across = p.left + 1 < q.right - 1 && q.left + 1 < p.right - 1;
          if (across && p.top + 2 < q.bottom - 2 && q.top + 2 < p.bottom - 2) clashes.add(`${a} | ${b}`);
        }
      });
    }
  }
  return [...clashes];
}"""


def qkv(n):
    return tuple(torch.randn(3, 1, 1, n, 64))


@pytest.fixture(scope="module")
def measured():
    methods = {"naive": attention, "blocked": blocked_attention, "fused": FUSED}
    return sweep(methods, [128, 256, 512, 1024], qkv)


@pytest.fixture(scope="module")
def instruments(measured):
    formulas = {"naive": (lambda n: naive_peak_bytes(n, 64), "12 N² + 12 N"), "fused": (lambda n: 4 * n * 65, "260 N")}

    def growing():
        kept = []
        for i in range(5000):
            kept = [*kept[-200:], torch.ones(1 + i % 97)]

    return {
        "predict": predict("8 times the tokens?", ["8 times", "16 times", "64 times"], "64 times", "Pairs of tokens."),
        "noted": predict("And the cache?", ["8 times", "64 times"]),
        "sweep": Ledger(measured, formulas),
        "limits": Ledger(measured, formulas, limits={"2 GiB": 2 << 30, "3 GiB": 3 << 30, "80 GiB": 80 << 30}),
        "ask": Ledger(measured, formulas, ask="naive"),
        "run": Ledger(record(attention, *qkv(256), causal=True), limits={"1 MiB": 1 << 20}),
        "blocks": Ledger(record(blocked_attention, *qkv(512), causal=True)),
        "long": Ledger(record(growing)),
        "nothing": Ledger(record(lambda: 3)),
    }


@pytest.fixture(scope="module")
def folder(instruments, tmp_path_factory):
    pages = {name: instrument.static_html() for name, instrument in instruments.items()}
    pages["all"] = "".join(pages.values()) * 2
    return write(tmp_path_factory.mktemp("instruments"), "Instruments", pages)


@pytest.fixture
def visit(page, folder):
    yield from visits(page, folder)


# Every instrument -------------------------------------------------------------------------------------------------


def test_axe_finds_nothing(visit):
    page = visit("all")
    page.get_by_role("button", name="table").first.click()
    look_over(page)


@pytest.mark.parametrize("name", ["predict", "noted", "sweep", "limits", "ask", "run", "blocks", "long", "nothing"])
def test_the_first_frame_says_what_the_text_says(visit, instruments, name):
    page = visit(name)
    text = repr(instruments[name]).splitlines()[0]
    if name in ("predict", "noted"):
        assert page.locator(".al-question").inner_text() == instruments[name].data["question"]
    else:
        assert f"{page.locator('.al-question').inner_text()} {told(page)}" == text


@pytest.mark.parametrize("width", [1000, 700, 390])
@pytest.mark.parametrize("name", ["sweep", "limits", "ask", "run", "blocks", "long"])
def test_no_words_meet_in_any_frame(visit, name, width):
    page = visit(name, width)
    assert page.evaluate(CLASHES, 40) == []
    if name == "ask":
        page.get_by_role("button", name="Reveal").click()
    if name in ("sweep", "limits", "ask"):
        page.get_by_role("button", name="blocked").click()
        assert page.evaluate(CLASHES, 3) == []
        page.get_by_role("button", name="linear").click()
        assert page.evaluate(CLASHES, 3) == []


@pytest.mark.parametrize("width", [1000, 390, 320])
def test_nothing_runs_off_the_page(visit, width):
    page = visit("all", width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_copies_live_side_by_side(visit):
    page = visit("all")
    assert page.locator(".al [id]").count() == 0
    first, second = (page.locator("[data-instrument='predict']").nth(i) for i in (0, 2))
    first.get_by_role("button", name="16 times").click()
    assert "You said 16 times" in first.inner_text()
    assert "You said" not in second.inner_text()
    sweeps = page.locator("[data-instrument='ledger']", has_text="What grows")
    sweeps.nth(0).get_by_role("slider", name="tokens").press("Home")
    assert "At 128 tokens" in sweeps.nth(0).inner_text()
    assert "At 128 tokens" not in sweeps.nth(3).inner_text()


def test_the_theme_follows_the_page(visit):
    page = visit("sweep")
    root = page.locator(".al")
    for change, expected in [
        ("document.documentElement.dataset.theme = 'dark'", "dark"),
        ("document.body.dataset.jpThemeLight = 'true'", "light"),
        ("document.body.dataset.jpThemeLight = 'false'", "dark"),
    ]:
        page.evaluate(change)
        page.wait_for_function("(theme) => document.querySelector('.al').dataset.theme === theme", arg=expected)
    assert root.evaluate("(el) => getComputedStyle(el).backgroundColor") == "rgb(20, 23, 28)"


def test_an_instrument_that_cannot_be_drawn_leaves_its_words(page, folder, instruments):
    broken = instruments["sweep"].static_html().replace('"dtype":"float64"', '"dtype":"float16"')
    write(folder, "Broken", {"broken": broken})
    page.goto((folder / "broken.html").as_uri())
    assert page.locator("[data-twin]").is_visible()
    assert "naive grows" in page.locator("[data-twin]").inner_text()
    assert page.locator(".al").count() == 0
    assert len(page.errors) == 1


@pytest.mark.parametrize("name", ["predict", "limits", "run"])
def test_an_exported_page_is_alive_alone(page, instruments, name, tmp_path):
    path = instruments[name].save_html(tmp_path / "alone.html")
    page.goto(path.as_uri())
    assert page.locator(".al").count() == 1
    if name == "predict":
        page.get_by_role("button", name="8 times").click()
        assert "You said 8 times. It is 64 times. Pairs of tokens." in page.locator(".al").inner_text()
    else:
        before = told(page)
        page.get_by_role("slider").press("ArrowLeft")
        assert told(page) != before
    assert page.errors == []
    assert page.outside_requests == []


# Predict ----------------------------------------------------------------------------------------------------------


def test_a_prediction_is_made_once_by_keys_alone(visit):
    page = visit("predict")
    assert told(page) == "Choose one before you read on."
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert told(page) == "You said 16 times. It is 64 times. Pairs of tokens."
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    assert told(page) == "You said 16 times. It is 64 times. Pairs of tokens."
    assert page.get_by_role("button", name="16 times").get_attribute("aria-pressed") == "true"


def test_a_prediction_without_an_answer_is_noted(visit):
    page = visit("noted")
    page.get_by_role("button", name="64 times").click()
    assert told(page) == "Noted: 64 times. Run the next cell."


# Ledger of a sweep ------------------------------------------------------------------------------------------------


def test_growth_is_read_by_keys(visit):
    page = visit("sweep")
    assert page.locator(".al-number").inner_text() == "63.6 times"
    scrub = page.get_by_role("slider", name="tokens")
    scrub.focus()
    page.keyboard.press("ArrowLeft")
    assert told(page).startswith("4 times the tokens: naive grows 15.9 times, to 3.01 MiB;")
    assert scrub.get_attribute("aria-valuetext") == "512 tokens"
    page.keyboard.press("Home")
    assert told(page).startswith("At 128 tokens naive takes 194 KiB;")
    page.keyboard.press("End")
    assert "8 times the tokens" in told(page)
    page.get_by_role("button", name="fused").press("Enter")
    assert told(page).startswith("8 times the tokens: fused grows 8 times, to 260 KiB;")
    assert page.locator(".al-side").inner_text().count("exact at all 4 lengths") == 1


def test_growth_is_read_by_mouse(visit):
    page = visit("sweep")
    box = page.locator(".al-stage").bounding_box()
    page.mouse.move(box["x"] + 70, box["y"] + 100)
    assert told(page).startswith("At 128 tokens")
    page.mouse.move(box["x"] + 70, box["y"] + 500)  # looking is not choosing
    assert told(page).startswith("8 times the tokens")
    page.mouse.click(box["x"] + 70, box["y"] + 100)
    page.mouse.move(box["x"] + 70, box["y"] + 500)
    assert told(page).startswith("At 128 tokens")


def test_the_table_holds_the_bytes(visit, measured):
    page = visit("sweep")
    page.get_by_role("button", name="table").click()
    rows = [row.split("\t") for row in page.locator(".al-table").inner_text().splitlines()]
    assert rows[0] == ["tokens", "naive, bytes", "naive, formula", "blocked, bytes", "fused, bytes", "fused, formula"]
    assert [row[1].replace(",", "") for row in rows[1:]] == [str(n) for n in measured.peak_bytes["naive"]]
    assert [row[1] for row in rows[1:]] == [row[2] for row in rows[1:]]


def test_the_figure_can_be_taken_along(visit, measured, tmp_path):
    page = visit("sweep", theme="dark")

    def taken(name):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        return path

    picture = taken("SVG").read_text(encoding="utf-8")
    assert "What grows with the number of tokens?" in picture
    assert "measured: cpu, float32" in picture
    assert "slope 2.00" in picture and "63.6 times" in picture and "weights" in picture
    assert "var(" not in picture and "#14171c" in picture
    page.set_content(picture)  # it stands alone
    assert page.locator("svg text").count() > 20

    page = visit("sweep")
    image = taken("PNG").read_bytes()
    width, _ = struct.unpack(">II", image[16:24])
    assert width == 2 * round(page.locator(".al").bounding_box()["width"])
    assert len(image) > 20_000

    lines = taken("data").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# measured: cpu, float32")
    rows = list(csv.reader(lines[1:]))
    assert [int(row[1]) for row in rows[1:]] == measured.peak_bytes["naive"].tolist()


def test_a_prediction_of_growth_by_keys_alone(visit):
    page = visit("ask")
    body = page.locator("[data-instrument] .al")
    assert "Where will it be at 1,024?" in told(page)
    for secret in ("12 MiB", "slope", "N²", "fused", "63.6"):
        assert secret not in body.inner_text()
    assert len(page.locator(".al-stage polyline").get_attribute("points").split()) == 2
    handle = page.get_by_role("slider", name="your prediction at 1,024 tokens")
    page.keyboard.press("Tab")
    assert handle.evaluate("(el) => el === document.activeElement")
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    said = "naive takes 771 KiB at 256 tokens. You say 1.51 MiB at 1,024: 4 times the tokens, 2 times the memory."
    assert told(page) == said
    assert handle.get_attribute("aria-valuetext") == "1.51 MiB"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert told(page) == "You said 1.51 MiB at 1,024 tokens. Measured: 12 MiB, 7.98 times what you said."
    assert "you said" in page.locator(".al-stage").text_content()
    assert page.get_by_role("slider", name="tokens").evaluate("(el) => el === document.activeElement")
    page.keyboard.press("ArrowLeft")
    assert told(page).startswith("4 times the tokens: naive grows")


def test_a_prediction_of_growth_by_mouse(visit):
    page = visit("ask")
    circle = page.locator(".al-handle").bounding_box()
    page.mouse.move(circle["x"] + 7, circle["y"] + 7)
    page.mouse.down()
    page.mouse.move(circle["x"] + 7, circle["y"] - 53, steps=4)
    page.mouse.up()
    assert "You say" in told(page)
    moved = page.locator(".al-handle").bounding_box()
    assert abs(moved["y"] + 60 - circle["y"]) < 4
    page.get_by_role("button", name="Reveal").click()
    assert "Measured: 12 MiB" in told(page)


# Ledger of a run --------------------------------------------------------------------------------------------------


def test_a_run_is_stepped_through_with_its_code(visit):
    page = visit("run")
    assert page.locator(".al-number").inner_text() == "771 KiB"
    assert page.locator(".al-code").inner_text() == "return (weights / row_sum.clamp(min=1)).to(scores.dtype)"
    page.get_by_role("slider", name="event").focus()
    page.keyboard.press("Home")
    assert told(page) == "After event 1 of 35, 64 KiB alive: scores 64 KiB."
    page.keyboard.press("Shift+ArrowRight")
    assert told(page).startswith("After event 11 of 35")
    page.get_by_role("button", name="one step back").click()
    assert told(page).startswith("After event 10 of 35")
    assert "freed" in page.locator(".al-side").inner_text()


def test_playing_ends_at_the_end_and_stops_when_asked(visit):
    page = visit("run", reduced_motion="reduce")
    page.get_by_role("slider", name="event").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    page.wait_for_function("document.querySelector('.al-say').textContent.startsWith('After event 35')")
    page.get_by_role("button", name="play").wait_for()
    page.get_by_role("button", name="play").click()
    page.get_by_role("button", name="pause").click()
    before = told(page)
    page.wait_for_timeout(500)
    assert told(page) == before


def test_a_frame_is_the_same_by_every_way_to_it(visit):
    page = visit("blocks")
    scrub = page.get_by_role("slider", name="event")
    scrub.press("Home")
    for _ in range(3):
        scrub.press("Shift+ArrowRight")
    straight = page.locator(".al-body").inner_html()
    scrub.press("End")
    scrub.press("Home")
    for key in ["Shift+ArrowRight"] * 4 + ["Shift+ArrowLeft"]:
        scrub.press(key)
    assert page.locator(".al-body").inner_html() == straight


def test_a_long_run_is_drawn_with_few_elements_and_says_so(visit):
    page = visit("long")
    assert page.locator(".al-stage svg *").count() < 60
    assert "drawn: 2,000 of" in page.locator(".al-provenance").inner_text()
    page.get_by_role("slider", name="event").press("ArrowRight")
    assert told(page).startswith("After event")


def test_a_state_set_aside_is_read_when_its_place_comes_near(page, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "book"))
    import bind

    monkeypatch.setattr(bind, "HEAVY", 10)
    (tmp_path / "_static").mkdir()
    path = predict("Which?", choices=["one", "two"], answer="two").save_html(tmp_path / "page.html")
    path.write_text(path.read_text().replace("<main>", "<main><p style='height: 5000px'></p>"))
    bind.set_heavy_states_aside(tmp_path)
    page.goto(path.as_uri())
    page.wait_for_timeout(200)
    assert page.locator("[data-instrument] button").count() == 0
    page.locator("[data-instrument]").scroll_into_view_if_needed()
    page.get_by_role("button", name="two").click()
    assert "two" in page.locator("[data-instrument]").inner_text()
    assert page.errors == [] and page.outside_requests == []
