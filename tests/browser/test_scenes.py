"""The drawings that move, each at its stops: words, looks, keys, mouse, without motion, wide and narrow."""

import pytest

from widgets.scenes import SCENES

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


def test_axe_finds_nothing(visit, scene):
    page = visit("scene", **STILL)
    page.get_by_role("button", name="table").click()
    look_over(page)
