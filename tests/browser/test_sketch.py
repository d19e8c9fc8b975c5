"""The Sketch as a reader meets it: drawn by mouse, by touch and by keys, revealed, in both themes, wide and narrow."""

import csv
from pathlib import Path

import pytest

from widgets import Sketch
from widgets.sketch import found_by_distance

from .pages import CLASHES, look_over, settle, told, visits, write


@pytest.fixture(scope="module")
def sketch():
    return Sketch(**found_by_distance("all-local", "every-third-global"))


@pytest.fixture(scope="module")
def folder(sketch, tmp_path_factory):
    return write(tmp_path_factory.mktemp("sketch"), "A sketch", {"sketch": sketch.static_html()})


@pytest.fixture
def visit(page, folder):
    yield from visits(page, folder)


def draw_with(page, points):
    """Press at the first point, go through the others, let go; points are shares of the stage."""
    box = page.locator(".al-sketch-stage").bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for point in at[1:]:
        page.mouse.move(*point)
    page.mouse.up()
    settle(page)


def reveal(page):
    page.get_by_role("button", name="Reveal").click()
    settle(page)


def yours(page) -> list[float]:
    """The reader's curve, as the table has it."""
    cells = page.locator(".al-table tbody td:nth-child(2)").all_text_contents()
    return [float(cell) for cell in cells]


def test_before_the_reveal_nothing_tells_the_answer(visit, sketch):
    page = visit("sketch")
    assert f"{page.locator('.al-question').inner_text()} {told(page)}" == repr(sketch)
    page.get_by_role("button", name="table").click()
    assert page.locator(".al-table th").all_text_contents() == ["distance, tokens", "you drew"]
    assert page.locator(".al-table tbody td:nth-child(2)").all_text_contents() == [""] * 11
    assert "every third global" not in page.locator(".al-sketch-stage").inner_text()
    page.get_by_role("button", name="Reveal").click(force=True)  # nothing is drawn yet, so nothing happens
    settle(page)
    assert f"{page.locator('.al-question').inner_text()} {told(page)}" == repr(sketch)


def test_a_curve_is_drawn_with_the_mouse_and_told(visit, sketch):
    page = visit("sketch")
    page.get_by_role("button", name="table").click()
    draw_with(page, [(0.02, 0.1), (0.4, 0.3), (0.99, 0.8)])
    drawn = [round(100 * each) for each in yours(page)]
    assert len(drawn) == 11 and drawn == sorted(drawn, reverse=True) and drawn[0] > 90 and drawn[-1] < 20
    assert told(page) == sketch.sentence(drawn)
    reveal(page)
    assert told(page) == sketch.sentence(drawn, revealed=True)
    assert page.locator(".al-table th").all_text_contents()[2:] == ["all local", "every third global"]
    assert page.get_by_role("button", name="Reveal").count() == 0
    draw_with(page, [(0.02, 0.8), (0.99, 0.1)])  # a prediction made stays made
    assert told(page) == sketch.sentence(drawn, revealed=True)


def test_it_is_drawn_by_keys_alone(visit, sketch):
    page = visit("sketch")
    page.keyboard.press("Tab")
    for key, at in [("ArrowRight", "7 tokens back"), ("End", "96 tokens back"), ("ArrowLeft", "60 tokens back")]:
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.getAttribute('aria-valuetext')") == at
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("ArrowDown")
    drawn = [None] * 9 + [39, None]
    assert told(page) == sketch.sentence(drawn)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Home")
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    drawn[0] = 100
    assert told(page) == sketch.sentence(drawn)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert told(page) == sketch.sentence(drawn, revealed=True)
    assert page.evaluate("document.activeElement.textContent") == "table"


def test_a_finger_draws_and_does_not_scroll(visit, sketch):
    page = visit("sketch", 390)
    assert page.evaluate("getComputedStyle(document.querySelector('.al-sketch-stage')).touchAction") == "none"
    box = page.locator(".al-sketch-stage").bounding_box()
    finger = page.context.new_cdp_session(page)
    for kind, points in (
        ("touchStart", [(0.1, 0.2)]),
        ("touchMove", [(0.5, 0.5)]),
        ("touchMove", [(0.97, 0.7)]),
        ("touchEnd", []),
    ):
        at = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in points]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})
    settle(page)
    assert told(page).startswith("You drew 11 of 11 distances")
    reveal(page)
    assert page.evaluate("getComputedStyle(document.querySelector('.al-sketch-stage')).touchAction") == "auto"


def test_the_measured_curves_grow_unless_motion_is_unwanted(visit):
    for motion, name in (("no-preference", "al-sketch-grows"), ("reduce", "none")):
        page = visit("sketch", reduced_motion=motion)
        draw_with(page, [(0.02, 0.1), (0.99, 0.8)])
        page.get_by_role("button", name="Reveal").click()
        look = "getComputedStyle(document.querySelector('.al-sketch-grows')).animationName"
        assert page.evaluate(look) == name


def test_the_numbers_can_be_taken_along(visit, sketch):
    page = visit("sketch", reduced_motion="reduce")
    draw_with(page, [(0.02, 0.1), (0.99, 0.8)])
    reveal(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="data").click()
    _, _, *lines = csv.reader(Path(download.value.path()).read_text().splitlines())
    assert [float(line[2]) for line in lines] == pytest.approx(sketch.curves["all local"], abs=5e-4)
    with page.expect_download() as download:
        page.get_by_role("button", name="SVG").click()
    assert "every third global" in Path(download.value.path()).read_text()


@pytest.mark.parametrize("width", [1000, 390, 320])
def test_no_words_meet_and_nothing_runs_off_the_page(visit, width):
    page = visit("sketch", width, reduced_motion="reduce")
    assert page.evaluate(CLASHES) == []
    for points in ([(0.02, 0.9), (0.99, 0.9)], [(0.02, 0.1), (0.99, 0.1)]):
        draw_with(page, points)
        assert page.evaluate(CLASHES) == []
    reveal(page)
    assert page.evaluate(CLASHES) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_axe_finds_nothing(visit):
    page = visit("sketch", reduced_motion="reduce")
    page.get_by_role("button", name="table").click()
    look_over(page)
    draw_with(page, [(0.02, 0.1), (0.99, 0.8)])
    reveal(page)
    look_over(page)
