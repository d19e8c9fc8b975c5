"""The site as a reader meets it: opened from file://, nothing outside reachable, by mouse, by keys, in both themes."""

import re
from pathlib import Path

import bound
import pytest
from bound import LESSONS, PAGES

from solutions import references
from solutions.lessons import lesson, lessons
from widgets.kit.tokens import tokens

from .pages import JUDGED, MARK, PLAIN_CODE, faults, pale

LESSON = f"lessons/{lesson('quadratic_attention').stem}"
WIDE = """() => [...document.querySelectorAll('article *')].filter((el) => {
    if (!el.checkVisibility() || el.getBoundingClientRect().right <= innerWidth + 1) return false;
    for (let box = el; box && box.tagName !== 'ARTICLE'; box = box.parentElement)
        if (['auto', 'scroll', 'hidden', 'clip'].includes(getComputedStyle(box).overflowX)) return false;
    return true;
}).map((el) => `${el.tagName}.${el.className}: ${el.textContent.slice(0, 60)}`)"""  # what sticks out on the right
ALL_INSTRUMENTS_ARE = "(theme) => [...document.querySelectorAll('.al')].every((el) => el.dataset.theme === theme)"

site = bound.site  # the fixture


def visit(page, site: Path, name: str, query: str = "") -> None:
    """Open a page and wait until its instruments are drawn."""
    page.goto((site / f"{name}.html").as_uri() + query)
    page.wait_for_function("!document.querySelector('[data-instrument]:not([data-mounted])')")


def look_at(page) -> None:
    """The smoke test: nothing asked of the world, nothing failed, no formula left as text, every instrument drawn."""
    assert page.outside_requests == []
    assert page.errors == []
    shown = page.locator("article").inner_text()
    assert not re.search(r"\\[(\[]|\$\$|\$[^$\n]+\$", shown), "a formula stands there as text"
    page.evaluate("document.querySelectorAll('details.further').forEach((box) => { box.open = true })")
    for instrument in page.locator("[data-instrument]").all():
        instrument.scroll_into_view_if_needed()  # a heavy one is drawn when it comes near
        instrument.locator(".al").wait_for()
        assert instrument.locator("[data-twin]").is_hidden(), "an instrument was not drawn"
        assert instrument.locator(".al").count() == 1


def turn(page, theme: str) -> None:
    """Light or dark, as the system says; wait until everything has taken the colours."""
    page.emulate_media(color_scheme=theme)
    page.wait_for_function("(theme) => document.documentElement.dataset.theme === theme", arg=theme)
    page.wait_for_function(ALL_INSTRUMENTS_ARE, arg=theme)
    page.wait_for_function("document.getAnimations().every((each) => each.playState !== 'running')")


def ask_of(page, site, name: str) -> None:
    """All that is asked of every page, in one visit; loading it costs more than asking."""
    page.emulate_media(color_scheme="light")
    visit(page, site, name, "?q=softmax" if name == "search" else "")
    look_at(page)
    for picture in page.locator("article img").all():
        words = picture.get_attribute("alt") or ""
        assert len(words.split()) >= 5, f"{picture.get_attribute('src')}: {words!r}"
    page.evaluate("document.querySelectorAll('details').forEach((box) => { box.open = true })")
    for theme in ("light", "dark"):
        turn(page, theme)
        page.evaluate(MARK, [*JUDGED])
    page.evaluate(PLAIN_CODE)
    turn(page, "dark")
    assert pale(page) == []
    turn(page, "light")
    assert faults(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, page.evaluate(WIDE)
    assert page.evaluate(WIDE) == []
    assert page.errors == []


@pytest.mark.parametrize("name", [name for name in PAGES if name not in LESSONS])
def test_a_page_is_whole_quiet_told_in_words_and_fits_a_telephone(page, site, name):
    ask_of(page, site, name)


def test_the_cover_fits_one_screen(page, site):
    page.set_viewport_size({"width": 1280, "height": 800})
    visit(page, site, "index")
    bottom = "(el) => el.getBoundingClientRect().bottom"
    assert page.locator(".map").evaluate(bottom) <= 800
    assert page.locator("[data-instrument] .al").evaluate(bottom) <= 800


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_for_a_wrong_address_is_whole_in_both_themes(page, site, theme):
    page.emulate_media(color_scheme=theme)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        page.goto((site / "404.html").as_uri())
        assert page.get_by_role("heading", level=1).inner_text() == "There is no page here"
        assert faults(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.errors == page.outside_requests == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_first_key_shows_a_way_past_the_contents_in_the_courses_colours(page, site, theme):
    visit(page, site, LESSON)
    turn(page, theme)
    page.keyboard.press("Tab")
    link = page.get_by_role("link", name="Skip to main content")
    page.wait_for_function("document.querySelector('.skip-link').getBoundingClientRect().top === 16")
    ground, ink = link.evaluate(
        "(el) => [getComputedStyle(el.parentElement).backgroundColor, getComputedStyle(el).color]"
    )
    assert (ground, ink) == tuple(
        f"rgb({int(colour[1:3], 16)}, {int(colour[3:5], 16)}, {int(colour[5:7], 16)})"
        for colour in (tokens(theme)["paper"], tokens(theme)["mark"])
    )
    assert link.evaluate("(el) => el.getBoundingClientRect().width") < 300
    link.press("Enter")
    assert page.url.endswith("#main-content")


# --- what a reader does ---


def test_a_solution_is_closed_and_opens_by_mouse_and_by_key(page, site):
    visit(page, site, LESSON)
    box = page.locator("#exercise-softmax details").filter(has=page.get_by_text("Solution "))
    code = box.locator("pre")
    assert code.is_hidden()
    box.locator("summary").click()
    assert code.is_visible()
    box.locator("summary").press("Enter")
    assert code.is_hidden()


@pytest.mark.parametrize("width", [1280, 390])
def test_what_a_wrong_answer_is_told_opens_and_is_read_without_scrolling(page, site, width):
    page.set_viewport_size({"width": width, "height": 800})
    visit(page, site, LESSON)
    boxes = page.locator("#exercise-softmax .told details")
    assert boxes.count() == 2
    for box in boxes.all():
        said = box.locator("pre")
        assert said.is_hidden() and box.locator("summary").inner_text().startswith("If ")
        box.locator("summary").click()
        assert said.inner_text().startswith("softmax: not yet. Your output equals what you get when ")
        assert said.evaluate("(el) => el.scrollWidth <= el.clientWidth")


def test_a_fold_is_closed_and_opens_by_mouse_by_key_and_by_the_address_of_what_is_in_it(page, site):
    name = f"lessons/{lesson('deepseek_sparse_attention').stem}"
    visit(page, site, name)
    box = page.locator("#few-bits > details.further")
    inside = page.locator("#exercise-folded-index-scores")
    assert re.fullmatch(r"Further, \d+ minutes", box.locator("> summary").inner_text()) and inside.is_hidden()
    box.locator("> summary").click()
    assert inside.is_visible()
    box.locator("> summary").press("Enter")
    assert inside.is_hidden()
    page.goto((site / f"{name}.html").as_uri() + "#exercise-folded-index-scores")
    inside.wait_for()


def test_the_ledger_on_the_cover_answers_to_keys_alone(page, site):
    visit(page, site, "index")
    said = page.get_by_role("slider", name="your prediction")
    before = said.get_attribute("aria-valuetext")
    said.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert said.get_attribute("aria-valuetext") != before
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    answer = page.locator("[data-instrument='ledger']").inner_text()
    assert re.search(r"You said .+ at 4,096 tokens\. Measured: 192 MiB", answer)
    assert page.errors == []


def test_the_ledger_on_the_cover_answers_to_the_mouse_alone(page, site):
    visit(page, site, "index")
    said = page.get_by_role("slider", name="your prediction")
    before = said.get_attribute("aria-valuetext")
    size = said.bounding_box()
    said.click(position={"x": 0.8 * size["width"], "y": size["height"] / 2})
    assert said.get_attribute("aria-valuetext") != before
    page.get_by_role("button", name="Reveal").click()
    assert "Measured: 192 MiB" in page.locator("[data-instrument='ledger']").inner_text()
    assert page.errors == []


def test_a_prediction_is_made_by_keys_alone(page, site):
    visit(page, site, LESSON)
    instrument = page.locator("[data-instrument='predict']").first
    choice = instrument.get_by_role("button").first
    choice.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert "You said" in instrument.inner_text()
    assert page.errors == []


def test_the_theme_button_turns_page_and_instruments(page, site):
    page.emulate_media(color_scheme="light")
    visit(page, site, LESSON)
    button, seen = page.locator(".theme-switch-button"), []
    for _ in range(3):
        theme = page.locator("html").get_attribute("data-theme")
        page.wait_for_function(ALL_INSTRUMENTS_ARE, arg=theme)
        seen.append((button.inner_text(), theme))
        button.click()
    assert seen == [("Theme: auto", "light"), ("Theme: dark", "dark"), ("Theme: light", "light")]


def test_search_finds_a_section_from_the_box_of_another_page(page, site):
    visit(page, site, LESSON)
    page.locator(".bd-sidebar-primary input[name=q]").fill("row maximum")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=row*")
    hits = page.locator("#search-found li")
    assert hits.count() > 0
    assert hits.first.locator("mark").count() > 0
    page.locator("article input[name=q]").fill(f"exercise {references.number('blocked_attention')}")
    page.locator("#search-found a").first.click()
    page.wait_for_url(f"**/{LESSON}.html#exercise-blocked-attention")
    assert page.errors == []
    assert page.outside_requests == []


# What learners type -> where the first answer leads.
FIRST = {
    "kv cache": "glossary.html#term-KV-cache",
    "KV-cache": "glossary.html#term-KV-cache",
    "GQA": "glossary.html#term-Grouped-query-attention-GQA",
    "yarn": "glossary.html#term-YaRN",
    "online softmax": "glossary.html#term-Online-softmax",
    "NSA": "glossary.html#term-Native-sparse-attention-NSA",
    "MLA": "glossary.html#term-Multi-head-latent-attention-MLA",
    "needle": "glossary.html#term-Needle-in-a-haystack",
    "prefill": "glossary.html#term-Prefill",
    "ring attention": "lessons/from_2k_to_128k.html#past-one-device-ring-attention",
    "softmx": "lessons/quadratic_attention.html#a-softmax-that-survives",
    "mamba": "references.html#",
    "speculative decoding": "interview/from_2k_to_128k.html#q-from-2k-to-128k",
    "flash attention": "lessons/flash_attention.html",
    "causal mask": "glossary.html#term-Causal-mask",
    "128k": "lessons/from_2k_to_128k.html",
    "triton kernel": "lessons/flash_in_triton.html#a-kernel-in-four-lines",
    "attention sinks": "glossary.html#term-Attention-sink",
    "why is attention quadratic": "lessons/quadratic_attention.html",
    "sliding window": "glossary.html#term-Window",
    "linear attention": "glossary.html#term-Linear-attention",
    "rope": "glossary.html#term-Rotary-position-embedding-RoPE",
    "delta rule": "glossary.html#term-Delta-rule",
    "sparse attention": "lessons/deepseek_sparse_attention.html",
    "log-sum-exp": "glossary.html#term-Log-sum-exp",
    "passkey": "glossary.html#term-Passkey",
    "memory bandwidth": "glossary.html#term-Decoding",
    "interview": "lessons/the_interview.html",
}


def test_the_first_answer_is_where_a_learner_wants_to_go(page, site):
    visit(page, site, "search")
    first = """(queries) => {
        const index = new Index(SECTIONS);
        return Object.fromEntries(queries.map((q) => [q, index.find(index.meant(q) || q)[0]?.address]));
    }"""
    found = page.evaluate(first, list(FIRST))
    stems = {f"lessons/{each.name}.html": f"lessons/{each.stem}.html" for each in lessons()}
    for query, address in FIRST.items():
        path, anchor = re.fullmatch(r"([^#]+)(.*)", address).groups()
        wanted = stems.get(path, path) + anchor
        assert found[query].startswith(wanted) if wanted.endswith("#") else found[query] == wanted, query


@pytest.mark.parametrize(
    ("query", "same"),
    [
        ("ATTENTION  SINKS", "attention sink"),
        ("kv-caches", "what is a KV cache?"),
        ("kvcache", "kv cache"),
        ("128 k", "128K"),
        ("131072", "131,072"),
        ("quantization", "quantisation"),
        ("flashattention", "how does flash attention work"),
    ],
)
def test_what_means_the_same_finds_the_same(page, site, query, same):
    visit(page, site, "search")
    addresses = "(q) => new Index(SECTIONS).find(q).map((each) => each.address)"
    assert page.evaluate(addresses, query) == page.evaluate(addresses, same) != []


def test_a_misspelt_word_is_answered_with_the_nearest_and_a_link_to_it(page, site):
    visit(page, site, "search", "?q=stable+sofmtax")
    said = page.locator("#search-said").inner_text()
    assert said == "No sections with “stable sofmtax”. Did you mean stable softmax?"
    assert page.locator("#search-found mark").first.inner_text().lower() in ("stable", "softmax")
    page.locator("#search-said a").click()
    page.wait_for_url("**/search.html?q=stable%20softmax")
    assert re.fullmatch(r"\d+ sections with “stable softmax”", page.locator("#search-said").inner_text())
    assert page.errors == []


def test_search_says_when_there_is_nothing_and_takes_text_as_text(page, site):
    visit(page, site, "search", "?q=%3Cb%3Ezebra(")
    assert page.locator("#search-said").inner_text() == "No sections with “<b>zebra(”"
    assert page.locator("#search-found li").count() == 0
    assert page.locator("#search-near li").count() == len(lessons())
    assert page.locator("#search-near").get_by_role("link", name="glossary").is_visible()
    assert page.errors == []


def test_what_the_course_does_not_teach_is_said_with_what_is_near(page, site):
    visit(page, site, "search", "?q=speculative decoding")
    assert page.locator("#search-said").inner_text() == (
        "No lesson with “speculative decoding”, 1 section elsewhere"
    )
    near = page.locator("#search-near")
    assert near.locator("p").first.inner_text() == "Nearest in the lessons and the glossary:"
    assert near.locator("li a").first.inner_text() == "Decoding"
    page.locator("article input[name=q]").fill("mamba")
    assert "Gated delta rule" in near.locator("li a").all_inner_texts()  # the one work that names it is about that
    page.locator("article input[name=q]").fill("decoding")
    assert near.is_hidden()
    assert page.errors == []


# --- a term and its definition ---

TERM = "article a.reference.internal[href*='#term-softmax' i]"


def test_a_terms_definition_is_shown_by_mouse_and_by_key_and_escape_closes_it(page, site):
    visit(page, site, LESSON)
    term, card = page.locator(TERM).first, page.locator(".term-card")
    height = page.evaluate("document.documentElement.scrollHeight")
    term.hover()
    card.wait_for()
    said = card.inner_text()
    assert said.startswith("Softmax") and "Computed after subtracting the row’s maximum" in said
    card.hover()
    page.wait_for_timeout(300)
    assert card.is_visible(), "it can be pointed at"
    page.keyboard.press("Escape")
    assert card.is_hidden()
    page.mouse.move(0, 0)
    term.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    card.wait_for()
    assert term.get_attribute("aria-describedby") == card.get_by_role("tooltip").get_attribute("id")
    assert page.evaluate("document.documentElement.scrollHeight") == height
    turn(page, "light")
    assert faults(page) == []
    turn(page, "dark")
    assert pale(page) == []
    page.keyboard.press("Tab")
    assert card.is_hidden() and term.get_attribute("aria-describedby") is None
    assert page.errors == [] and page.outside_requests == []


def test_a_tap_on_a_term_shows_its_definition_and_the_next_one_leads_to_it(browser, site):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    visit(page, site, LESSON)
    term, card = page.locator(TERM).first, page.locator(".term-card")
    term.scroll_into_view_if_needed()
    term.tap()
    card.wait_for()
    box = card.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    assert card.get_by_role("link", name="In the glossary").bounding_box()["height"] >= 24
    term.tap()
    page.wait_for_url("**/glossary.html#term-Softmax")
    context.close()


# --- what stands around a page ---


@pytest.mark.parametrize(("name", "size"), [("teaching/index", (1280, 900)), ("measured", (1024, 768))])
def test_on_landing_the_courses_name_the_search_and_this_page_are_in_the_list(page, site, name, size):
    page.set_viewport_size({"width": size[0], "height": size[1]})
    visit(page, site, name)
    page.wait_for_load_state("load")
    places = [".brand", ".bd-sidebar-primary input[name=q]", ".bd-links li:first-child > a", ".bd-links li.current > a"]
    for place in places:
        box = page.locator(place).first.bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= size[1], place


def test_a_list_of_pages_longer_than_the_window_moves_until_it_shows_this_page(page, site):
    page.set_viewport_size({"width": 1280, "height": 500})
    visit(page, site, "teaching/from_2k_to_128k")
    here = page.locator(".bd-links li.current > a").last.bounding_box()
    assert page.locator(".brand").bounding_box()["y"] >= 0 and here["y"] + here["height"] <= 500


def test_on_a_telephone_the_languages_stand_on_one_line_below_the_tools(page, site):
    page.set_viewport_size({"width": 390, "height": 844})
    visit(page, site, LESSONS[0])
    top = "(el) => Math.round(el.getBoundingClientRect().top)"
    languages = {each.evaluate(top) for each in page.locator(".languages a").all()}
    tools = {each.evaluate(top) for each in page.locator(".tool:visible:not(.languages a)").all()}
    assert len(languages) == 1 and max(tools) < min(languages)


def test_on_a_narrow_page_the_lessons_are_behind_a_button(page, site):
    page.set_viewport_size({"width": 390, "height": 844})
    visit(page, site, "references")
    first = page.locator(".bd-links").get_by_role("link", name=lessons()[0].title, exact=True)
    assert first.is_hidden()
    page.get_by_role("button", name="Contents").click()
    assert first.is_visible()
    ground = "(el) => getComputedStyle(el).backgroundColor"
    assert page.locator("dialog[open]").evaluate(ground) == page.locator("body").evaluate(ground)
    assert faults(page) == []
    page.keyboard.press("Escape")
    first.wait_for(state="hidden", timeout=2000)
    assert page.errors == []


# --- the smoke test can fail ---


@pytest.fixture
def broken(site):
    """Writes a copy of the cover with something broken in it, beside the original so that its assets are found."""
    path = site / "broken.html"

    def write(old: str, new: str) -> str:
        text = (site / "index.html").read_text(encoding="utf-8")
        assert re.search(old, text)
        path.write_text(re.sub(old, new, text), encoding="utf-8")
        return path.as_uri()

    yield write
    path.unlink()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(r'"kind":"\w+"', '"kind":"unheard-of"', id="an instrument of no kind"),
        pytest.param(r'"data":', '"lost":', id="an instrument without data"),
        pytest.param("</article>", "<p>It costs $N^2$.</p></article>", id="a formula left as text"),
        pytest.param("</head>", '<script src="https://example.org/a.js"></script></head>', id="a request to the world"),
        pytest.param("</head>", "<script>throw Error('ours')</script></head>", id="an exception"),
    ],
)
def test_the_smoke_test_sees_what_is_broken(page, broken, old, new):
    page.goto(broken(old, new))
    page.wait_for_timeout(1000)
    with pytest.raises(AssertionError):
        look_at(page)


def test_axe_sees_what_is_inaccessible(page, broken):
    page.goto(broken("</article>", '<img src="_static/file.png"><p style="color: #ccc">pale</p></article>'))
    assert {fault.split(":")[0] for fault in faults(page)} == {"image-alt", "color-contrast"}
