"""Practice and Mock as a reader meets them on a page from file://: by mouse, by keys, in both themes, at two widths."""

import datetime
import json
import re

import pytest

from solutions.lessons import lesson
from widgets import Mock, Practice, predict
from widgets.interview import bank

from .pages import faults, write

MORNING = datetime.datetime(2026, 5, 1, 9)
WIDE = """() => [...document.querySelectorAll('.al *')].filter((el) => {
  if (!el.checkVisibility() || el.getBoundingClientRect().right <= innerWidth + 1) return false;
  return !el.closest('.al-iv-overview, .al-iv-rules, math');
}).map((el) => `${el.tagName}.${el.className}: ${el.textContent.slice(0, 60)}`)"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    asked = predict("Which?", ["a", "b"], "a")
    both = [Practice("onsite", "infini_attention"), Mock(20)]
    shown = {"practice": [asked, Practice()], "mock": [Mock()], "both": both}
    pages = {name: "".join(each.static_html() for each in instruments) for name, instruments in shown.items()}
    folder = write(tmp_path_factory.mktemp("interview"), "The interview", pages)
    Practice("screen", "quadratic_attention").save_html(folder / "saved.html")
    return folder


@pytest.fixture
def visit(page, folder):
    """Open a page at nine in the morning; at the end nothing must have failed or asked for the network."""
    page.clock.install(time=MORNING)

    def visit(name, width=1000, theme="light"):
        page.set_viewport_size({"width": width, "height": 1000})
        page.emulate_media(color_scheme=theme)
        page.goto((folder / f"{name}.html").as_uri())
        assert page.locator("[data-twin]:visible").count() == 0
        return page

    yield visit
    assert page.errors == []
    assert page.outside_requests == []


def told(page, place=0):
    return page.locator(".al-iv .al-say").nth(place).inner_text()


def title(page):
    return page.locator(".al-iv-title").inner_text()


def press(page, name):
    page.get_by_role("button", name=name).first.click()


def kept(page):
    return json.loads(page.evaluate("localStorage.getItem('attention-at-length.interview')"))


def question(page):
    """The question on the page, from the bank."""
    number = page.locator(".al-iv-meta span").first.inner_text().split(" · ")[0]
    return next(each for each in bank.questions() if each.number == number)


def make(page, points):
    """Reveal, tick that many points, and go on."""
    press(page, "Reveal")
    for box in page.get_by_role("checkbox").all()[:points]:
        box.check()
    press(page, "go on")


@pytest.mark.parametrize(("theme", "width"), [("light", 1000), ("dark", 390)])
def test_practice_has_no_faults_in_any_state(visit, theme, width):
    page = visit("practice", width, theme)
    assert page.locator(f".al:not([data-theme='{theme}'])").count() == 0
    make(page, 0)
    press(page, "overview")
    assert faults(page) == []
    page.get_by_role("textbox").fill("I would say")
    press(page, "Reveal")
    page.evaluate("document.querySelectorAll('details').forEach((box) => { box.open = true })")
    assert faults(page) == []
    assert page.evaluate(WIDE) == [] and page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(("theme", "width"), [("light", 390), ("dark", 1000)])
def test_the_mock_has_no_faults_in_any_state(visit, theme, width):
    page = visit("mock", width, theme)
    assert faults(page) == []
    press(page, "Begin")
    press(page, "Reveal")
    assert faults(page) == []
    press(page, "0 of 9")
    make(page, 1)
    press(page, "Reveal")
    press(page, "I had it")
    page.clock.fast_forward(40 * 60_000)
    press(page, "Reveal")
    page.locator(".al-iv-first:visible").click()  # a question or a follow-up; the time for questions is over
    assert page.evaluate(WIDE) == [] and page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    press(page, "not yet")
    assert faults(page) == []
    assert page.evaluate(WIDE) == [] and page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_first_frame_asks_and_tells_nothing(visit):
    page = visit("practice")
    first = bank.questions()[0]
    assert question(page).id == first.id
    assert told(page) == f"0 due, 0 of {len(bank.questions())} asked. It is new to you."
    assert page.get_by_role("textbox").is_visible() and page.get_by_role("timer").inner_text() == f"{first.minutes}:00"
    assert page.locator("input[type=checkbox]:visible, .al-iv-answer:visible").count() == 0
    press(page, "Reveal")
    shown = page.locator(".al-iv-told").inner_text()
    assert "Common wrong answer" in shown and "Evidence" in shown
    assert page.get_by_role("checkbox").count() == len(first.points)
    assert page.locator("details[open]").count() == 0 and page.locator("details").count() == 2
    assert (
        page.locator(".al-iv-told a")
        .first.get_attribute("href")
        .startswith(f"../lessons/{lesson(first.lesson).stem}.html")
    )
    assert page.locator(".al-iv-told math").count() > 0
    assert not re.search(r"\$|\\\(", shown)


def test_an_answer_is_given_by_keys_alone_and_kept_for_the_next_visit(visit):
    page = visit("saved")
    first = question(page)
    page.get_by_role("textbox").focus()
    page.keyboard.type("variance d, so I divide")
    page.clock.fast_forward(65_000)
    page.keyboard.press("Control+Enter")
    for _ in range(20):
        if page.evaluate("document.activeElement.type === 'checkbox'"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    while not page.evaluate("document.activeElement.textContent.startsWith('Keep')"):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == f"Keep 2 of {len(first.points)} and go on"
    page.keyboard.press("Enter")
    assert f"{first.number} kept: 2 of {len(first.points)} points, back " in told(page)
    assert question(page).id != first.id and page.evaluate("document.activeElement.className") == "al-iv-title"
    (answer,) = kept(page)["answers"]
    assert (answer["id"], answer["said"], answer["ticked"]) == (first.id, "variance d, so I divide", [0, 1])
    assert 65 <= answer["seconds"] < 120 and answer["late"] is False
    page.reload()
    assert ", 1 of " in told(page) and question(page).id != first.id


def test_what_went_badly_comes_back_tomorrow_and_first(visit):
    page = visit("practice")
    first = question(page).id
    make(page, 0)
    assert "back tomorrow" in told(page)
    second = question(page)
    make(page, len(second.points))
    assert "back in 2 days" in told(page) and question(page).id not in (first, second.id)
    page.clock.set_system_time(MORNING + datetime.timedelta(days=1))
    page.reload()
    assert question(page).id == first and told(page).startswith("1 due, 2 of ") and "It is due." in told(page)


def test_an_answer_after_the_time_is_kept_and_marked(visit):
    page = visit("practice")
    first = question(page)
    press(page, "Start the clock")
    page.clock.fast_forward((60 * first.minutes + 42) * 1000)
    assert page.get_by_role("timer").inner_text() == "0:42 over"
    assert faults(page) == []
    make(page, len(first.points))
    assert f"{first.number} kept, late: " in told(page) and "back tomorrow" in told(page)
    assert kept(page)["answers"][0]["late"] is True


def test_level_and_lesson_are_picked_and_the_overview_says_what_is_weak(visit):
    page = visit("practice")
    page.get_by_role("button", name="onsite", exact=True).click()
    row = lesson("infini_attention")
    page.get_by_role("button", name=str(row.number), exact=True).click()
    asked = question(page)
    assert (asked.level, asked.lesson) == ("onsite", row.name)
    make(page, 1)
    press(page, "overview")
    shown = page.get_by_role("row").filter(has_text=row.title)
    assert re.search(r"1 of \d+\s+\d+ %, weak", shown.inner_text())
    shown.get_by_role("button", name="research").click()
    assert (question(page).level, question(page).lesson) == ("research", row.name)
    assert page.get_by_role("button", name="research", exact=True).get_attribute("aria-pressed") == "true"
    before = title(page)
    press(page, "Another")
    assert title(page) != before and len(kept(page)["answers"]) == 1


@pytest.mark.parametrize("damage", ['{"answers": [', "[]"])
def test_a_damaged_store_is_set_aside_and_said(visit, damage):
    page = visit("practice")
    page.evaluate("(text) => localStorage.setItem('attention-at-length.interview', text)", damage)
    page.reload()
    assert "damaged. It is set aside under" in page.locator(".al-iv .al-footer").inner_text()
    assert page.evaluate("localStorage.getItem('attention-at-length.interview.damaged')") == damage
    make(page, 1)
    assert len(kept(page)["answers"]) == 1


def test_a_mock_left_halfway_goes_on_where_it_was(visit):
    page = visit("mock")
    press(page, "Begin")
    assert title(page) == Mock().data["opening"]
    page.clock.fast_forward(5 * 60_000)
    make(page, 9)
    asked = question(page)
    assert asked.level == "onsite" and told(page).startswith("Now minute 5 of 45")
    page.clock.fast_forward(60_000)
    make(page, 0)
    assert page.locator(".al-iv-meta").inner_text().startswith(f"follow-up to {asked.number}")
    follow_up = title(page)
    page.reload()
    assert told(page).startswith("You left a mock at minute 6 of 45, after 2 answers.")
    page.clock.set_system_time(MORNING + datetime.timedelta(days=3))  # its clock stands still
    press(page, "Continue")
    assert title(page) == follow_up and told(page).startswith("Now minute 6 of 45")
    press(page, "end here")
    assert "1 question, 0 % of their points" in told(page)
    table = page.get_by_role("row").filter(has_text=lesson(asked.lesson).title).inner_text()
    assert f"0 of {len(asked.points)}" in table
    assert page.get_by_role("row").filter(has_text="said").count() == 9
    assert kept(page)["mock"] is None and len(kept(page)["mocks"]) == 1 and len(kept(page)["answers"]) == 1


def test_a_whole_mock_follows_up_and_ends_at_the_whiteboard(visit):
    page = visit("mock")
    press(page, "Begin")
    page.clock.fast_forward(7 * 60_000)  # late for the opening, and kept
    make(page, 3)
    kinds = []
    for _ in range(40):
        meta = page.locator(".al-iv-meta").inner_text()
        if "whiteboard" in meta:
            break
        kinds.append("follow" if meta.startswith("follow-up") else "question")
        page.clock.fast_forward(120_000 if kinds[-1] == "question" else 30_000)
        if kinds[-1] == "follow":
            press(page, "Reveal")
            press(page, "I had it")
        else:
            make(page, 2)
    assert kinds.count("question") >= 5 and kinds.count("follow") >= 5
    task = title(page)
    assert re.fullmatch(r"Exercise \d\.\d+, .+", task)
    assert re.search(r"lessons/\w+\.html#exercise-[a-z0-9-]+$", page.locator(".al-iv-card a").get_attribute("href"))
    page.clock.fast_forward(60_000)
    press(page, "check says right")
    assert told(page).startswith("Over, after ") and f"{kinds.count('question')} questions" in told(page)
    assert task.split(",")[0] in page.locator(".al-iv-card").inner_text()
    assert kept(page)["mocks"][0]["events"][0]["late"] is True
    assert len(kept(page)["answers"]) == kinds.count("question")


def test_a_mock_ended_before_it_began_does_not_come_back(visit):
    page = visit("mock")
    press(page, "Begin")
    page.clock.fast_forward(20_000)
    press(page, "end here")
    assert told(page) == "Over before the first question."
    page.reload()
    assert page.get_by_role("button", name="Continue").count() == 0


def test_practice_and_mock_on_one_page_lose_nothing_of_each_other(visit):
    page = visit("both")
    mock = page.locator(".al-iv").nth(1)
    mock.get_by_role("button", name="Begin").click()
    make(page, 1)
    mock.get_by_role("button", name="Reveal").click()
    mock.get_by_role("button", name="of 9, go on").click()
    assert len(kept(page)["answers"]) == 1 and kept(page)["mock"]["events"][0]["kind"] == "opening"


def test_what_a_reader_writes_is_text(visit):
    page = visit("saved")
    nasty = "</script><img src=x onerror='window.hacked = 1'>"
    page.get_by_role("textbox").fill(nasty)
    make(page, 1)
    page.reload()
    assert kept(page)["answers"][0]["said"] == nasty and page.evaluate("window.hacked") is None
