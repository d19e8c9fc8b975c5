"""The drawings that move, each at its stops: words, looks, keys, mouse, without motion, wide and narrow."""

from itertools import pairwise

import pytest

from widgets.kit.messages import Messages
from widgets.scenes import SCENES, choose_four
from widgets.scenes.scene import HERE

from .pages import CLASHES, look_over, settle, visits, write

STILL = {"reduced_motion": "reduce"}


@pytest.fixture(scope="module", params=list(SCENES))
def scene(request):
    return SCENES[request.param]()


@pytest.fixture(scope="module")
def folder(scene, tmp_path_factory):
    return write(tmp_path_factory.mktemp("scene"), "A scene", {"scene": scene.static_html()})


@pytest.fixture
def visit(page, folder):
    yield from visits(page, folder)


def told(page) -> str:
    return page.locator(".al-say").inner_text()


def places(scene) -> list[tuple[int, ...]]:
    """Where the dials stand at first, and each of them at its ends and in the middle."""
    start = tuple(dial["at"] for dial in scene.data["dials"])
    lasts = [len(dial["stops"]) - 1 for dial in scene.data["dials"]]
    turned = [(i, to) for i, last in enumerate(lasts) for to in (0, (last + 1) // 2, last)]
    return [start, *((*start[:i], to, *start[i + 1 :]) for i, to in turned)]


def put(page, scene, at: tuple[int, ...]) -> None:
    """Turn the dials with what stands on the page."""
    for dial, to in zip(scene.data["dials"], at, strict=True):
        if dial["kind"] == "switch":
            page.get_by_role("button", name=dial["stops"][to], exact=True).click()
        else:
            page.get_by_role("slider", name=dial["name"], exact=True).fill(str(to))
    settle(page)


@pytest.mark.parametrize("width", [1000, 390, 320])
def test_each_stop_says_what_python_says_and_no_words_meet(visit, scene, width):
    page = visit("scene", width, **STILL)
    assert f"{page.locator('.al-question').inner_text()} {told(page)}" == repr(scene)
    seen = set()
    for at in places(scene):
        put(page, scene, at)
        assert told(page) == scene.sentence(*at)
        assert page.evaluate(CLASHES) == [], at
        seen.add(page.locator(".al-scene-stage").inner_html())
    assert len(seen) > 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_keys_turn_each_dial(visit, scene):
    page = visit("scene", **STILL)
    start = [dial["at"] for dial in scene.data["dials"]]
    for i, dial in enumerate(scene.data["dials"]):
        if dial["kind"] == "switch":
            continue
        last = len(dial["stops"]) - 1
        page.get_by_role("slider", name=dial["name"], exact=True).focus()
        for key, to in (("End", last), ("ArrowLeft", last - 1), ("Home", 0), ("ArrowRight", 1)):
            page.keyboard.press(key)
            settle(page)
            assert told(page) == scene.sentence(*[*start[:i], to, *start[i + 1 :]])
        put(page, scene, tuple(start))


def test_a_player_plays_and_the_picture_moves(visit, scene):
    players = [dial for dial in scene.data["dials"] if dial["kind"] == "player"]
    if not players:
        pytest.skip("nothing plays in this scene")
    page = visit("scene")
    before = page.locator(".al-scene-stage").inner_html()
    page.get_by_role("slider", name=players[0]["name"], exact=True).fill("0")
    page.get_by_role("button", name="play").first.click()
    page.wait_for_function("(before) => document.querySelector('.al-scene-stage').innerHTML !== before", arg=before)
    page.get_by_role("button", name="pause").first.click()


def pressed(page) -> list[int]:
    chosen = page.locator("[role=option][aria-selected=true]").all()
    return sorted(int(option.get_attribute("data-press")) for option in chosen)


def test_what_can_be_chosen_is_chosen_by_pointer_and_by_keys(visit, scene):
    page = visit("scene", **STILL)
    options, stage = page.get_by_role("option"), page.get_by_role("listbox")
    if not options.count():
        pytest.skip("nothing is chosen in this scene")
    first, second, third = (options.nth(i) for i in (0, 1, 2))
    before, numbers = told(page), [int(each.get_attribute("data-press")) for each in options.all()]
    stage.focus()
    for key, here in (("ArrowRight", 0), ("ArrowRight", 1), ("ArrowLeft", 0), ("End", -1), ("Home", 0)):
        page.keyboard.press(key)
        active = stage.get_attribute("aria-activedescendant")
        assert page.locator(f"#{active}").get_attribute("data-press") == str(numbers[here])
    page.keyboard.press("ArrowDown")
    below = page.locator(f"#{stage.get_attribute('aria-activedescendant')}").bounding_box()
    assert below["y"] > first.bounding_box()["y"] and below["x"] == pytest.approx(first.bounding_box()["x"], abs=1)
    page.keyboard.press("Home")
    page.keyboard.press(" ")
    assert pressed(page) == [numbers[0]] and told(page) != before
    page.keyboard.press(" ")
    assert pressed(page) == [] and told(page) == before
    for option in (first, second, third):
        option.click()
    assert pressed(page) == sorted(numbers[:3])
    second.click()
    assert pressed(page) == sorted([numbers[0], numbers[2]])
    for i in range(3, 20):
        options.nth(i).click()
    most = len(pressed(page))
    assert 1 < most < 16 and pressed(page) == sorted(numbers[20 - most : 20])  # the oldest have gone
    assert page.evaluate(CLASHES) == []


@pytest.fixture
def four(page, tmp_path):
    yield from visits(page, write(tmp_path, "A scene", {"four": choose_four().static_html()}))


def test_of_four_chosen_tokens_the_page_says_what_they_hold(four):
    scene, says = choose_four(), Messages(HERE / "choose_four.json")
    drawn = scene.data["drawn"]
    weights, order = drawn["weights"], drawn["order"]
    best = {"best": sum(weights[place] for place in order[:4]), "one": weights[order[0]], "most": 4}
    for choice in ([9, 43], order[:4], [9, 43, 22, 48]):
        shown = four("four", **STILL)
        for place in choice:
            shown.locator(f"[data-press='{place}']").click()
        mass = sum(weights[place] for place in choice)
        facts = {"n": len(choice), "left": 4 - len(choice), "mass": mass, "perfect": choice == order[:4]}
        assert told(shown) == says.text("chosen", **best, **facts)
        assert f"{100 * mass:.0f} %" in shown.locator(".al-scene-stage").inner_text()
        assert shown.evaluate(CLASHES) == []
        shown.get_by_role("button", name="by weight").click()
        settle(shown)
        assert told(shown) == scene.sentence(1)
        seats = shown.get_by_role("option").all()
        there = [weights[int(seat.get_attribute("data-press"))] for seat in seats]
        assert all(left >= right for left, right in pairwise(there))


def test_axe_finds_nothing(visit, scene):
    page = visit("scene", **STILL)
    page.get_by_role("button", name="table").click()
    look_over(page)
