"""The kit: one view for every host, the same words in Python and in JavaScript, and pages that need nothing."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import traitlets

import widgets
from solutions.lessons import lessons
from widgets import predict
from widgets.kit import base, link
from widgets.kit import format as kit_format
from widgets.kit.base import KINDS, packed, static_assets, static_kinds, unpacked
from widgets.kit.labels import spread
from widgets.kit.tokens import SOURCE, TOKENS, style, tokens
from widgets.ledger import words

HERE = Path(__file__).parent
JS = HERE / "js"
VECTORS = json.loads((JS / "vectors.json").read_text(encoding="utf-8"))
NODE = shutil.which("node")
SAME = {name: getattr(kit_format, name) for name in ("rounded", "fixed", "significant", "count", "size", "times")}


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [(fn, args, told) for name, fn in {**SAME, "spread": spread}.items() for args, told in VECTORS[name]],
)
def test_numbers_and_places_are_those_of_the_page(function, arguments, expected):
    assert function(*arguments) == expected


def test_sentences_are_those_of_the_page():
    told = VECTORS["words"]
    lengths, methods = told["lengths"], told["methods"]
    for chosen, at, expected in told["growth"]:
        assert words.growth(lengths, methods, chosen, at) == expected
    for chosen, at, expected in told["held"]:
        assert words.growth(lengths, told["stored"], chosen, at) == expected
    chosen, shown, expected = told["asked"]
    assert words.asked(lengths, methods[chosen], shown) == expected
    assert [words.fit(methods[i]["formula"], len(lengths)) for i, _ in told["fit"]] == [text for _, text in told["fit"]]
    assert [words.slope(methods[i]["exponent"]) for i, _ in told["slope"]] == [text for _, text in told["slope"]]
    for at, roles, expected in told["alive"]:
        assert words.alive(told["run"], at, roles) == expected


@pytest.mark.skipif(NODE is None, reason="needs node")
@pytest.mark.seconds
def test_the_pages_functions_pass_their_own_tests():
    run = subprocess.run([NODE, "--test", *map(str, sorted(JS.glob("*.test.mjs")))], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-4000:]
    assert re.search(r"# pass [1-9]", run.stdout)


# One text from many modules ---------------------------------------------------------------------------------------


@pytest.mark.skipif(NODE is None, reason="needs node")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.seconds
def test_a_joined_view_is_a_module_with_no_imports_left(kind, tmp_path):
    text = link.module(KINDS[kind])
    assert not re.search(r"^import ", text, re.MULTILINE)
    assert text.count("export default") == 1
    module = tmp_path / "view.mjs"  # a name declared twice would be a SyntaxError here
    module.write_text(f"{text}\n", encoding="utf-8")
    check = f"import view from {json.dumps(module.as_uri())}; if (typeof view.render !== 'function') process.exit(1)"
    run = subprocess.run([NODE, "--input-type=module", "--eval", check], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_a_module_stands_before_what_imports_it_and_only_once(tmp_path):
    (tmp_path / "a.js").write_text("export const a = 1;\n")
    (tmp_path / "b.js").write_text('import { a } from "./a.js";\nexport function b() { return a; }\n')
    (tmp_path / "view.js").write_text(
        'import { b } from "./b.js";\nimport {\n  a,\n} from "./a.js";\n'
        "export default { render() { return a + b(); } };\n"
    )
    joined = "const a = 1;\nfunction b() { return a; }\nexport default { render() { return a + b(); } };\n"
    assert link.module(tmp_path / "view.js") == joined


def test_data_stands_in_the_script_that_asks_for_it(tmp_path):
    (tmp_path / "messages.json").write_text('{\n  "a": "‘*{b}*’"\n}\n', encoding="utf-8")
    (tmp_path / "view.js").write_text(
        'import SAYS from "./messages.json" with { type: "json" };\nexport default { render: () => SAYS };\n'
    )
    joined = 'const SAYS = {"a":"‘*{b}*’"};\nexport default { render: () => SAYS };\n'
    assert link.module(tmp_path / "view.js") == joined


def test_a_comment_inside_a_statement_takes_no_code_with_it(tmp_path):
    """A type stands before the value that has it; only a comment that fills its lines is left out."""
    (tmp_path / "view.js").write_text(
        "/** All of it. */\nconst a =\n  /** @type {any} */ (1);\nconst b = 2; // two\n\n"
        '/** Gone too. */\nconst c = "a // b";\nconst d = 4; // it\'s "four"\n'
    )
    joined = 'const a =\n/** @type {any} */ (1);\nconst b = 2;\nconst c = "a // b";\nconst d = 4; // it\'s "four"\n'
    assert link.module(tmp_path / "view.js") == joined


def test_a_page_loads_the_kit_and_the_kinds_that_it_holds_and_both_are_small():
    assets, kinds = static_assets(), static_kinds()
    assert set(assets) == {"instruments.js", "instruments.css"} and set(kinds) == {f"{kind}.js" for kind in KINDS}
    assert {"ledger", "predict"} <= set(KINDS)
    assert not [kind for kind in KINDS if f'["{kind}"]' in assets["instruments.js"]]
    for kind in KINDS:
        assert f'["{kind}"]' in kinds[f"{kind}.js"]
        assert not re.search(r"^\s*(//|/\*\*)", kinds[f"{kind}.js"], re.MULTILINE)
    assert not re.search(r"^\s*(//|/\*\*)", assets["instruments.js"], re.MULTILINE)
    size = {name: len(text.encode()) for name, text in (assets | kinds).items()}
    shared = sum(size[name] for name in assets)
    assert shared < 60_000 and max(size[name] for name in kinds) < 85_000
    own = {kind: KINDS[kind] for kind in ("ledger", "predict")}
    styles = [view.with_suffix(".css") for view in own.values()]
    assert len(link.script(own).encode()) + len(link.stylesheet(styles).encode()) < 70_000
    for row in lessons():
        held = [f"{kind}.js" for kind in {*row.instruments, "predict", "order"} if kind in KINDS]
        assert shared + sum(size[name] for name in held) < 200_000, row.name


def test_assets_ask_for_nothing_and_can_stand_inside_a_page():
    for name, text in (static_assets() | static_kinds()).items():
        assert "</" not in text, name
        assert not re.search(r"https?://(?!www\.w3\.org/)|url\(|@import|\bfetch\(|\brequire\(", text), name


def test_every_rule_is_the_instruments_own():
    sheet = re.sub(r"/\*.*?\*/", "", static_assets()["instruments.css"], flags=re.DOTALL)
    sheet = re.sub(r"@keyframes [^{]+\{[^{}]*\{[^{}]*\}\s*\}", "", sheet)
    selectors = [part.strip() for rule in re.findall(r"([^{}@;]+)\{[^{}]*:[^{}]*\}", sheet) for part in rule.split(",")]
    assert len(selectors) > 50
    assert [selector for selector in selectors if not selector.startswith(".al")] == []


# State ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64", ">f4"])
def test_arrays_travel_as_little_endian_bytes(dtype):
    array = np.arange(20 * 30, dtype=dtype).reshape(20, 30)[:, ::3]  # rows differ from columns; not contiguous
    sent = packed(array)
    assert sent["shape"] == [20, 10]
    assert len(sent["bytes"]) == array.nbytes
    np.testing.assert_array_equal(unpacked(sent), array)
    assert int.from_bytes(packed(np.array([1], "int32"))["bytes"], "little") == 1


def state_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)[1])


def test_a_static_instrument_carries_its_state_and_its_words():
    instrument = predict("Is </script> & <b> safe?", ["yes", "no"], "yes")
    page = instrument.static_html()
    assert page.count("</script>") == 1
    assert state_of(page)["state"]["data"] == instrument.data
    assert state_of(page)["kind"] == "predict"
    assert "predict: Is &lt;/script&gt; &amp; &lt;b&gt; safe? [yes | no]" in page
    assert page == instrument.static_html()


def test_state_that_is_neither_json_nor_bytes_is_refused():
    instrument = predict("Which?", ["a", "b"])
    instrument.data = {"x": np.zeros(3)}
    with pytest.raises(TypeError, match="ndarray"):
        instrument.static_html()
    instrument.data = {"x": float("nan")}
    with pytest.raises(ValueError, match="JSON"):
        instrument.static_html()


def test_what_a_notebook_stores(monkeypatch):
    instrument = predict("Which?", ["a", "b"])
    monkeypatch.delenv("COURSE_STATIC", raising=False)
    live, _ = instrument._repr_mimebundle_()
    assert live["text/plain"] == repr(instrument) == "predict: Which? [a | b]"
    assert "application/vnd.jupyter.widget-view+json" in live
    assert "<script" not in live["text/html"] and "predict: Which? [a | b]" in live["text/html"]
    monkeypatch.setenv("COURSE_STATIC", "1")
    static, _ = instrument._repr_mimebundle_()
    assert static["text/html"] == instrument.static_html()


def test_what_a_run_leaves_of_its_instruments(monkeypatch, tmp_path):
    one, other = predict("Which?", ["a", "b"]), predict("Which one?", ["a", "b"])
    monkeypatch.delenv("COURSE_STATIC", raising=False)
    monkeypatch.setenv("COURSE_STATES", str(tmp_path / "states"))
    for instrument in (one, one, other):
        assert "<script" not in instrument._repr_mimebundle_()[0]["text/html"]
    assert base.kept_state(tmp_path / "states", one.twin()) == one.static_html()
    assert base.kept_state(tmp_path / "states", "another") is None
    other.reader = {"said": "a"}  # the same words, and not the same picture
    other._repr_mimebundle_()
    assert base.kept_state(tmp_path / "states", other.twin()) is None
    other._repr_mimebundle_()
    assert base.kept_state(tmp_path / "states", other.twin()) is None
    assert len(list((tmp_path / "states").iterdir())) == 2


def test_long_words_are_stored_whole():
    question = "Which? " * 40
    assert question in predict(question, ["a", "b"])._repr_mimebundle_()[0]["text/plain"]


def test_an_instruments_class_keeps_its_view_whatever_traitlets_makes_of_it():
    one, other = predict("One?", ["a", "b"]), predict("Other?", ["a", "b"])
    assert isinstance(one, traitlets.HasTraits)
    assert one._esm == other._esm == link.module(KINDS["predict"])
    assert one.kind() == "predict"


def test_an_exported_page_holds_everything(tmp_path):
    path = predict("Which?", ["a", "b"]).save_html(tmp_path / "page.html")
    page = path.read_text(encoding="utf-8")
    assert link.script({"predict": KINDS["predict"]}) in page
    assert not re.search(r"<(link|img|script)[^>]+(src|href)=", page)
    assert "<title>predict: Which? [a | b]</title>" in page


def test_the_package_offers_what_lessons_use():
    assert set(widgets.__all__) >= {"Ledger", "predict"}


# The look ---------------------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb" (WCAG 2.1)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "panel"])
def test_every_text_colour_can_be_read(theme, ground):
    colours = tokens(theme)
    for name in set(colours) - {"paper", "panel", "line"}:
        light, dark = sorted([luminance(colours[name]), luminance(colours[ground])], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, name


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_name_on_its_area_can_be_read(theme):
    """The strongest shade of a role is half its colour over the paper, and its name is written on it in ink."""
    colours = tokens(theme)
    for role in "qkvosm":
        halves = [(int(colours[role][i : i + 2], 16) + int(colours["paper"][i : i + 2], 16)) // 2 for i in (1, 3, 5)]
        area = "#" + "".join(f"{half:02x}" for half in halves)
        light, dark = sorted([luminance(colours["ink"]), luminance(area)], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, role


def test_matplotlib_takes_its_colours_from_the_stylesheet():
    import matplotlib as mpl

    assert len(tokens("light")) == len(tokens("dark")) == SOURCE.read_text(encoding="utf-8").count(": #") // 2
    before = mpl.rcParams["axes.edgecolor"]
    with style():
        assert mpl.rcParams["axes.edgecolor"] == TOKENS["line"]
    assert mpl.rcParams["axes.edgecolor"] == before


def test_a_walk_ends_where_the_picture_does_and_equal_bytes_stand_side_by_side():
    import matplotlib.pyplot as plt

    from widgets import figures

    still, grows = [16_384] * 3, [2**19, 2**21, 2**23]
    paths = {
        "one": (still, [[5.0, 5.2], [4.9, 5.0], [4.8, 4.9]]),
        "other": (still, [[5.0, 5.2], [4.7, 4.8], [4.6, 4.7]]),
        "climbs": (grows, [[5.0, 5.0], [7.0, 7.2], [9.0, 9.0]]),
    }
    figure = figures.walks(paths, steps=["512", "2,048", "8,192"], x="bytes", y="perplexity", top=6.0)
    axes = figure.axes[0]
    named = {note.get_text(): note for note in axes.texts}
    assert set(named) == {"one", "other", "climbs, and up"}
    assert named["one"].xy == (16_384, pytest.approx(4.85)) and named["one"].get_ha() == "right"
    assert named["other"].xy == (pytest.approx(1.17 * 16_384), pytest.approx(4.65))
    assert named["climbs, and up"].xy == (2**19, pytest.approx(5.0))
    assert axes.get_ylim() == (pytest.approx(4.5), 6.0)
    plt.close(figure)
