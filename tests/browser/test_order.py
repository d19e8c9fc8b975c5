"""The Order as a reader meets it: two sliders, by mouse and by keys, in both themes, wide and narrow."""

import csv
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from widgets import Order

from .pages import look_over

HOLDS, FACTS = (64, 128, 2048), (4, 16, 64, 128)
NAMES = ("window", "Transformer-XL", "Infini, linear", "kNN in the last layer", "full attention")
CLASHES = """() => [...document.querySelectorAll('.al svg')].flatMap((picture) => {
  const edge = picture.getBoundingClientRect();
  const boxes = [...picture.querySelectorAll('text')].map((word) => [word.textContent, word.getBoundingClientRect()]);
  const out = boxes.filter(([, p]) => p.right > edge.right + 1 || p.left < edge.left - 1).map(([a]) => a);
  boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
    const across = p.left + 1 < q.right - 1 && q.left + 1 < p.right - 1;
    if (across && p.top + 2 < q.bottom - 2 && q.top + 2 < p.bottom - 2) out.push(`${a} | ${b}`);
  }));
  return out;
})"""


@pytest.fixture(scope="module")
def order():
    generator = np.random.default_rng(0)
    return Order(
        {name: 4 + 8 * generator.random((len(HOLDS), len(FACTS), 3)) ** 2 for name in NAMES},
        carried={name: 16_896 << i for i, name in enumerate(NAMES)},
        holds=HOLDS,
        facts=FACTS,
        pair=("Infini, linear", "Transformer-XL"),
        at=(2048, 16),
        provenance="three seeds, made up",
    )


@pytest.fixture
def visit(page, order, tmp_path):
    def visit(width=1000, theme="light"):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=theme)
        page.goto(order.save_html(tmp_path / "order.html").as_uri())
        page.locator(".al-order-stage svg").wait_for()
        return page

    yield visit
    assert page.errors == []
    assert page.outside_requests == []


def told(page):
    return page.locator(".al-say").inner_text()


def rows(page):
    """The systems from the top down, as they are drawn."""
    return [word for word in page.locator(".al-order-stage text").all_text_contents() if word in NAMES]


def test_every_cell_says_and_draws_what_was_measured(visit, order):
    page = visit()
    assert f"{page.locator('.al-question').inner_text()} {told(page)}" == repr(order).splitlines()[0]
    facts = page.get_by_role("slider", name="facts of a document")
    holds = page.get_by_role("slider", name="tokens that a fact holds")
    seen = set()
    for row, column in product(range(len(HOLDS)), range(len(FACTS))):
        facts.fill(str(column))
        holds.fill(str(row))
        assert told(page) == order.sentence(row, column)
        best = sorted(NAMES, key=lambda name: order.values[name][row, column].mean())
        assert rows(page) == best
        seen.add(tuple(best))
    assert len(seen) > 3  # the sliders do turn the order
    assert facts.get_attribute("aria-valuetext") == "128 facts"
    assert holds.get_attribute("aria-valuetext") == "a fact holds for all 2,048 tokens"


def test_the_sliders_are_moved_by_keys(visit, order):
    page = visit()
    page.keyboard.press("Tab")
    for key, at in [("End", 3), ("ArrowRight", 3), ("ArrowLeft", 2), ("Home", 0)]:
        page.keyboard.press(key)
        assert told(page) == order.sentence(2, at)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    assert told(page) == order.sentence(1, 0)


def test_the_numbers_can_be_taken_along(visit, order):
    page = visit()
    page.get_by_role("slider", name="tokens that a fact holds").press("Home")
    with page.expect_download() as download:
        page.get_by_role("button", name="data").click()
    note, head, *lines = csv.reader(Path(download.value.path()).read_text().splitlines())
    assert note == ["# three seeds", " made up"] and head[:3] == ["system", "bytes carried", "perplexity, mean"]
    for name, _, _, *seeds in lines:
        assert [float(value) for value in seeds] == pytest.approx(order.values[name][0, 1], abs=5e-4)
    with page.expect_download() as download:
        page.get_by_role("button", name="SVG").click()
    assert "kNN in the last layer" in Path(download.value.path()).read_text()


@pytest.mark.parametrize("width", [1000, 390, 320])
def test_no_words_meet_and_nothing_runs_off_the_page(visit, width):
    page = visit(width)
    for facts, holds in product(range(len(FACTS)), range(len(HOLDS))):
        page.get_by_role("slider", name="facts of a document").fill(str(facts))
        page.get_by_role("slider", name="tokens that a fact holds").fill(str(holds))
        assert page.evaluate(CLASHES) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_axe_finds_nothing(visit):
    page = visit()
    page.get_by_role("button", name="table").click()
    look_over(page)
