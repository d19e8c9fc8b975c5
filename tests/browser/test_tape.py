"""The Tape as a reader meets it on a page from file://: by mouse, by keys, in both themes, wide and narrow."""

import re
import struct

import numpy as np
import pytest
import torch

from solutions.tiny import Config, TinyTransformer
from widgets import Tape
from widgets.kit.format import signed, times
from widgets.tape import read, say
from widgets.tape.view import answered

from .pages import CLASHES, NASTY, choose, look_over, settle, stage, told, visits, write
from .pages import pressed as press_keys

NAMES = ["linear", "delta", "corrected", "no z"]


def a_model(segment=8, **given):
    options = {"infini": {"segment": segment}}
    return TinyTransformer(Config(12, ("infini",) * 2, width=24, heads=2, options=options, **given)).eval()


def some_tokens(n):
    return torch.randint(12, (n,), generator=torch.Generator().manual_seed(0))


def pairs(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 10, generator=generator), torch.randn(n, 6, generator=generator)


@pytest.fixture(scope="module")
def tapes():
    words = [f"word{i}" for i in range(12)]
    marked = {"asked": [97, 98, 100], "needles": [17, 18, 30]}
    model = Tape.of(a_model(), some_tokens(101), **marked, vocabulary=words, run="a run")
    options = {"infini": {"segment": 8}}
    heads = TinyTransformer(Config(12, ("infini",) * 3, width=24, heads=4, kv_heads=2, options=options))
    return {
        "model": model,
        "segments": Tape.of(a_model(), some_tokens(64), segments=(8, 16), needles=[17], asked=[60]),
        "many": Tape.of(heads.eval(), some_tokens(60), vocabulary=words),
        "long": Tape.of(a_model(segment=4), some_tokens(4 * 2000 + 3), needles=[4 * 700]),
        "pairs": Tape.from_pairs(*pairs(20), needles=[3]),
        "one": Tape.from_pairs(*pairs(1)),
        "nasty": Tape.from_pairs(*pairs(10), segment=5, text=NASTY, needles=[0, 1, 4]),
    }


@pytest.fixture(scope="module")
def folder(tapes, tmp_path_factory):
    pages = {name: tape.static_html() for name, tape in tapes.items()}
    pages["twice"] = pages["model"] * 2
    folder = write(tmp_path_factory.mktemp("tape"), "Tape", pages)
    tapes["model"].save_html(folder / "saved.html")
    return folder


@pytest.fixture
def visit(page, folder):
    yield from visits(page, folder, height=1000)


def number(page):
    return page.locator(".al-tape-number").first.inner_text()


def pressed(page, *keys):
    press_keys(page, stage(page), *keys)


def with_its_own_key(page):
    choose(page, "the pair's own key")
    return page


def expected(tape, pair, rule="linear", frame=None, memory=None, recording=0):
    """The cosine that Python finds, as the page writes it."""
    held = tape.recordings[recording]
    frame = read.frame_of(held) if frame is None else frame
    found = read.recalled(held, rule, tape.memory if memory is None else memory, frame)
    return signed(found[pair])


# What a first look finds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["twice", "segments", "long", "pairs"])
def test_axe_finds_nothing(visit, name):
    page = visit(name)
    page.get_by_role("button", name="table", exact=True).first.click()
    look_over(page)


@pytest.mark.parametrize("name", ["model", "segments", "many", "long", "pairs", "one", "nasty", "saved"])
def test_the_first_frame_says_what_the_text_says(visit, tapes, name):
    page, tape = visit(name), tapes["model" if name == "saved" else name]
    first, *second = repr(tape).split("\n")
    assert f"{page.locator('.al-question').inner_text()} {told(page)}".split() == first.split()
    held = tape.recordings[0]
    if tape.question is None:
        assert number(page) == expected(tape, tape.pair)
    else:
        assert number(page) == signed(answered(held, tape.memory, tape.question, tape.pair)[0])
    if second:
        assert page.locator(".al-tape-answer [role=status]").inner_text().split() == second[0].split()


@pytest.mark.parametrize("width", [1280, 700, 390])
@pytest.mark.parametrize("name", ["model", "segments", "many", "long", "pairs", "one", "nasty"])
def test_no_words_meet_and_nothing_scrolls_sideways(visit, name, width):
    page = visit(name, width)
    for keys in ([], ["p"], ["k"], ["p", "k"]):
        pressed(page, *keys)
        assert page.evaluate(CLASHES) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for rule in NAMES:
        choose(page, rule)
        assert page.evaluate(CLASHES) == []


@pytest.mark.parametrize("width", [1000, 390])
@pytest.mark.parametrize("name", ["model", "many"])
def test_every_button_is_whole(visit, name, width):
    page = visit(name, width)
    cut = """() => [...document.querySelectorAll('.al button')].filter((button) => {
      const [own, all] = [button, button.closest('.al')].map((element) => element.getBoundingClientRect());
      const part = button.closest('.al-segment')?.getBoundingClientRect() ?? all;
      return own.width && (own.right > all.right - 8 || own.right > part.right + 1);
    }).map((button) => button.textContent)"""
    assert page.evaluate(cut) == []


def test_copies_on_a_page_live_their_own_lives(visit):
    page = visit("twice")
    assert page.locator(".al").count() == 2 and page.locator("[id]").count() == 0
    before = page.locator(".al-say").all_inner_texts()
    page.get_by_role("button", name="delta", exact=True).nth(1).click()
    page.get_by_text("knock out the memory").nth(1).click()
    settle(page)
    after = page.locator(".al-say").all_inner_texts()
    assert after[0] == before[0] and after[1] != before[1]


# Reading back -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "name"), list(zip(read.RULES, NAMES, strict=True)))
def test_every_rule_reads_back_what_python_reads(visit, tapes, rule, name):
    page, tape = with_its_own_key(visit("model")), tapes["model"]
    choose(page, name)
    assert number(page) == expected(tape, tape.pair, rule)
    for steps in (1, 4, 30):
        pressed(page, "Home", *["ArrowRight"] * steps)
        assert number(page) == expected(tape, steps, rule)
    choose(page, "layer 1 head 1")
    assert number(page) == expected(tape, 30, rule, memory=3)
    assert told(page).startswith("Layer 1 head 1, after segment 12 of 12: ")


def test_the_number_follows_the_tape(visit, tapes):
    page, tape = with_its_own_key(visit("model")), tapes["model"]
    slider = page.get_by_role("slider", name="segments written")
    slider.focus()
    page.keyboard.press("Home")
    settle(page)
    assert number(page) == "empty" and "nothing is stored" in told(page) and "NaN" not in page.content()
    segment = tape.recordings[0].at[tape.pair] // 8 + 1
    for frame in range(1, 13):
        page.keyboard.press("ArrowRight")
        settle(page)
        assert slider.get_attribute("aria-valuetext") == f"after segment {frame} of 12"
        if frame < segment:
            assert number(page) == "–" and "is still to come" in told(page)
        else:
            assert number(page) == expected(tape, tape.pair, frame=frame)


def test_a_click_on_a_point_reads_it_and_one_on_a_segment_goes_there(visit, tapes):
    page, tape = with_its_own_key(visit("model")), tapes["model"]
    chosen = page.locator(".al-tape-stage svg circle[r='2.6']").nth(20).bounding_box()
    page.mouse.click(chosen["x"] + chosen["width"] / 2, chosen["y"] + chosen["height"] / 2)
    settle(page)
    ring = page.locator(".al-tape-stage svg circle[r='8']").bounding_box()
    assert abs(ring["x"] + ring["width"] / 2 - chosen["x"] - chosen["width"] / 2) < 1.5
    pair = int(page.locator(".al-tape-tokens button[aria-pressed=true]").get_attribute("data-pair"))
    assert number(page) == expected(tape, pair)
    cells = page.locator(".al-tape-stage svg rect")
    box = cells.nth(5).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    settle(page)
    assert "after segment 6 of 12" in told(page)
    other = cells.nth(9).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(other["x"] + other["width"] / 2, other["y"] + 5, steps=5)
    page.mouse.up()
    settle(page)
    assert "after segment 10 of 12" in told(page)


def test_a_token_is_asked_by_its_name(visit, tapes):
    page, tape = with_its_own_key(visit("model")), tapes["model"]
    tokens = page.locator(".al-tape-tokens button")
    held = tape.recordings[0]
    assert page.locator(".al-tape-tokens .al-tape-needle").count() == 2 if held.at[tape.pair] < 24 else 1
    tokens.first.click()
    settle(page)
    pair = int(tokens.first.get_attribute("data-pair"))
    assert number(page) == expected(tape, pair)


def test_keys_do_all_that_the_mouse_does(visit, tapes):
    page, tape = with_its_own_key(visit("model")), tapes["model"]
    held = tape.recordings[0]
    marked = np.flatnonzero(held.needle).tolist()
    pressed(page, "Home")
    for pair in [*marked, marked[0]]:
        pressed(page, "ArrowUp")
        assert number(page) == expected(tape, pair)
    pressed(page, "ArrowDown")
    assert number(page) == expected(tape, marked[-1])
    pressed(page, "End")
    assert number(page) == expected(tape, len(held.at) - 1)
    pressed(page, "p")
    assert "what was written over it since" in told(page)
    pressed(page, *["p"] * 8)
    assert "what was written over it since" not in told(page)
    pressed(page, "k")
    assert number(page) == "empty"
    pressed(page, "k", "t")
    assert page.get_by_role("region", name="the numbers as a table").is_visible()
    pressed(page, "t")
    assert not page.get_by_role("region", name="the numbers as a table").is_visible()


def test_playing_goes_from_empty_to_the_end(visit):
    page = visit("pairs")
    page.get_by_role("button", name="play").click()
    page.wait_for_timeout(60)
    assert "before segment 1" in page.locator(".al-player .al-caption").inner_text() or number(page) != ""
    page.wait_for_function(
        "document.querySelector('.al-player .al-caption').textContent === 'after segment 20 of 20'", timeout=20_000
    )


@pytest.mark.parametrize("question", [0, 1, 2])
def test_a_question_of_the_model_reads_what_python_reads(visit, tapes, question):
    page, tape = visit("model"), tapes["model"]
    held = tape.recordings[0]
    asked = tape.words(held.answers.truth)[question]
    page.get_by_role("group", name="read with").get_by_role("button").nth(1 + question).click()
    settle(page)
    fits = read.fit("linear", held.q[question, tape.memory].astype(float), held.k[:, tape.memory].astype(float))
    best = int(fits.argmax())
    cosine, ratio = answered(held, tape.memory, question, best)
    assert page.locator(".al-tape-tokens button[aria-pressed=true]").get_attribute("data-pair") == str(best)
    assert number(page) == signed(cosine)
    assert f"the question for ‘{asked}’ brings back the value of " in told(page)
    assert f"it fits that key {times(say.rough(ratio))} as well as the others" in told(page)
    page.get_by_text("knock out the memory").click()
    settle(page)
    assert f"so the question for ‘{asked}’ brings nothing back" in told(page)


def test_q_asks_one_question_after_the_other(visit):
    page = with_its_own_key(visit("model"))
    probes = page.get_by_role("group", name="read with").get_by_role("button")
    for chosen in (1, 2, 3, 0):
        pressed(page, "q")
        assert [each.get_attribute("aria-pressed") for each in probes.all()].index("true") == chosen


def test_m_by_z_is_the_mean_value_of_each_row(visit, tapes):
    page, tape = visit("pairs"), tapes["pairs"]
    choose(page, "M / z")
    held = tape.recordings[0]
    most = np.abs(held.memory["linear"][-1, 0] / held.z["linear"][-1, 0][:, None]).max()
    assert page.locator(".al-tape-memory svg").nth(1).locator("text").last.text_content() == signed(float(most))
    choose(page, "no z")
    assert not page.get_by_role("group", name="what the map shows").is_visible()


# What if ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "name"), list(zip(read.RULES, NAMES, strict=True)))
def test_a_planted_value_is_written_as_python_writes_it(visit, tapes, rule, name):
    page, tape = visit("pairs"), tapes["pairs"]
    choose(page, name)
    held = tape.recordings[0]
    k, v = held.k[:, 0].astype(np.float64), held.v[:, 0].astype(np.float64)
    alike = [abs(read.cosine(v[tape.pair], v[i])) if i != tape.pair else 2 for i in range(len(v))]
    rival = int(np.argmin(alike))
    m, z = held.memory[rule][-1, 0].astype(np.float64), held.z[rule][-1, 0].astype(np.float64)
    for _ in range(3):
        page.get_by_role("button", name="plant another value: once more").click()
        m, z = read.write(rule, k[tape.pair], v[rival], m, z)
    settle(page)
    found = read.read(rule, k[tape.pair], m, z)
    assert number(page) == signed(read.cosine(found, v[tape.pair]))
    assert f"since, at cosine {signed(read.cosine(found, v[rival]))}" in told(page)
    rows = page.locator(".al-tape-low .al-tape-side svg").nth(1).locator("text").all_text_contents()
    own = f"{signed(read.cosine(found, v[tape.pair]))} / {signed(read.cosine(found, v[rival]))}"
    assert rows[rows.index(name) + 1] == own


def test_an_empty_memory_is_drawn_empty(visit):
    page = with_its_own_key(visit("model"))
    page.get_by_text("knock out the memory").click()
    settle(page)
    assert number(page) == "empty"
    assert page.get_by_text("empty: nothing is stored").is_visible()
    assert not page.locator(".al-tape-map canvas").is_visible()
    assert page.locator(".al-tape-stage svg circle, .al-tape-low [style*='fill:var(--v)'] ").count() == 0
    assert "NaN" not in page.content() and "Infinity" not in page.content()
    page.get_by_role("button", name="plant another value: once more").click()
    settle(page)
    assert page.locator(".al-tape-map canvas").is_visible()
    assert re.search(r"what was written over it since, at cosine 1\.00", told(page))


def test_gates_are_forced_and_the_answer_is_the_recorded_one(visit, tapes):
    page, tape = visit("model"), tapes["model"]
    answers = tape.recordings[0].answers
    said = page.locator(".al-tape-answer [role=status]")

    def words(state):
        return say.answer_parts(
            state, [gate.name for gate in tape.recordings[0].gates],
            [f"word{i}" for i in answers.said[state][0]], [f"word{i}" for i in answers.truth],
        )  # fmt: skip

    page.get_by_role("group", name="gate of layer 0 head 1").get_by_role("button", name="0").click()
    page.get_by_role("group", name="gate of layer 1 head 0").get_by_role("button", name="1").click()
    settle(page)
    assert said.inner_text() == "".join(words("o01o"))
    assert page.locator(".al-tape-share").all_inner_texts()[1:3] == ["0.00", "1.00"]
    page.get_by_text("knock out the memory").click()
    settle(page)
    assert said.inner_text() == "".join(words("-o01o"))
    for group in ("layer 0 head 1", "layer 1 head 0"):
        page.get_by_role("group", name=f"gate of {group}").get_by_role("button", name="own").click()
    settle(page)
    assert said.inner_text() == "".join(words("-oooo"))


def test_with_many_heads_what_was_not_recorded_is_said(visit):
    page = visit("many")
    said = page.locator(".al-tape-answer [role=status]")
    page.get_by_role("group", name="gate of layer 0 head 1").get_by_role("button", name="0").click()
    settle(page)
    assert said.inner_text().startswith("Asked at the end, with layer 0 head 1 on its segment alone, the model says")
    page.get_by_role("group", name="gate of layer 2 head 3").get_by_role("button", name="1").click()
    settle(page)
    assert said.inner_text().startswith("Not recorded")


def test_another_segment_is_another_recording(visit, tapes):
    page, tape = visit("segments"), tapes["segments"]
    assert "after segment 7 of 8: " in told(page)
    page.get_by_role("group", name="tokens of a segment").get_by_role("button", name="16").click()
    settle(page)
    assert "after segment 3 of 4: " in told(page)  # the question stands in the fourth
    with_its_own_key(page)
    held = tape.recordings[1]
    pair = held.at.tolist().index(17)
    assert number(page) == expected(tape, pair, recording=1)


# At length, and beside the page -------------------------------------------------------------------------------------


def test_a_long_tape_says_what_it_leaves_out(visit, tapes):
    page = visit("long")
    held = tapes["long"].recordings[0]
    assert f"{len(held.after)} of 2,000 segments are kept" in page.locator(".al-tape-top").inner_text()
    assert f"kept: M and z after {len(held.after)} of 2,000 segments" in page.locator(".al-provenance").inner_text()
    assert page.locator(".al-tape-stage svg text", has_text="⋯").count() > 5


def test_m_is_drawn_row_by_row(visit, tapes):
    """Gold where an entry is above 0, blue where it is below, in the place it has in the matrix: 10 rows, 6 columns."""
    page, tape = visit("pairs"), tapes["pairs"]
    m = tape.recordings[0].memory["linear"][-1, 0]
    pixels = page.evaluate(
        """() => { const canvas = document.querySelector('.al-tape-map canvas'), { width, height } = canvas;
        return [width, height, [...canvas.getContext('2d').getImageData(0, 0, width, height).data]]; }"""
    )
    assert pixels[:2] == [6, 10]
    colours = np.array(pixels[2]).reshape(10, 6, 4)
    red_over_blue = colours[..., 0] - colours[..., 2]
    clear = np.abs(m) > 0.05 * np.abs(m).max()
    assert (np.sign(red_over_blue)[clear] == np.sign(m)[clear]).all()


def test_the_table_holds_what_is_seen(visit, tapes):
    page, tape = with_its_own_key(visit("model")), tapes["model"]
    pressed(page, "t")
    head = page.locator(".al-table th").all_inner_texts()
    assert head == ["token", "text", "segment", "marked", "cosine now", "fit"]
    rows = [row.split("\t") for row in page.locator(".al-table tbody tr").all_inner_texts()]
    found = read.recalled(tape.recordings[0], "linear", tape.memory, 12)
    assert [float(row[4]) for row in rows] == pytest.approx(list(found.values()), abs=2e-4)


@pytest.mark.parametrize(("name", "kind"), [("PNG", "png"), ("SVG", "svg"), ("data", "csv")])
def test_a_figure_is_taken_along(visit, tapes, tmp_path, name, kind):
    page = visit("model")
    with page.expect_download() as download:
        page.get_by_role("button", name=name, exact=True).click()
    path = tmp_path / f"tape.{kind}"
    download.value.save_as(path)
    assert download.value.suggested_filename == f"tape.{kind}"
    if kind == "png":
        width, height = struct.unpack(">II", path.read_bytes()[16:24])
        assert width > 1500 and height > 1500
        return
    text = path.read_text(encoding="utf-8")
    assert "measured: a run, 101 tokens" in text
    if kind == "svg":
        assert "data:image/png" in text and say.QUESTION in " ".join(re.findall(r">([^<>]+)</text>", text))
        assert "var(--" not in text
    else:
        assert len(text.splitlines()) == 2 + len(tapes["model"].recordings[0].at)


def test_tokens_are_text_and_never_markup(visit):
    page = visit("nasty")
    page.get_by_role("button", name="table", exact=True).click()
    for _ in range(10):
        pressed(page, "ArrowRight")
    assert page.evaluate("window.hacked") is None
    assert page.locator(".al script, .al img").count() == 0
    widths = "Math.max(...[...document.querySelectorAll('.al-tape-tokens button')].map((e) => e.clientWidth))"
    assert page.evaluate(widths) <= 140
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
