"""The bound site, looked at without a browser: what is in it, what is not, and what its binder does when it can't."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import bound
import nbformat
import pytest
import yaml
from bound import LESSONS, PAGES, ROOT
from bs4 import BeautifulSoup
from fontTools.ttLib import TTFont
from PIL import Image, ImageChops, ImageColor

sys.path.insert(0, str(ROOT / "book"))
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import bind
import cards
import found

from solutions import references
from solutions.checks import EXERCISES
from solutions.lessons import first_edition, lesson, lessons

site = bound.site  # the fixture
CANONICAL = re.compile(r'<link rel="canonical"[^>]*>')
LOADED = re.compile(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="([^"]*)"|<link\b[^>]*\bhref="([^"]*)"')


def markup(site: Path, page: str) -> str:
    return (site / f"{page}.html").read_text(encoding="utf-8")


# --- what is in the pages ---


def printed_texts(path: Path) -> list[tuple[str, list[str]]]:
    """Of each code cell its source, and its outputs as text."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    return [
        (cell.source, [each.get("text") or each.get("data", {}).get("text/plain", "") for each in cell.outputs])
        for cell in cells
    ]


@pytest.mark.parametrize("lesson", LESSONS)
@pytest.mark.slow
def test_a_page_prints_what_the_solved_notebook_stores(site, lesson):
    """The pages are executed anew, with the solutions: so no other test needs to execute a solved notebook."""
    page, stored = site.parent / "source" / f"{lesson}.ipynb", ROOT / "solutions" / f"{Path(lesson).name}.ipynb"
    for ours, theirs in zip(printed_texts(page), printed_texts(stored), strict=True):
        assert ours == theirs


def test_formulas_are_set_and_their_font_has_all_their_letters(site):
    font = TTFont(site / "_static" / "formulas.woff")
    pages = [markup(site, page) for page in PAGES]
    assert sum(text.count("<math") for text in pages) > 500
    for name, text in zip(PAGES, pages, strict=True):
        assert "MathJax" not in text and not re.search(r'class="math\b', text), name
        formulas = "".join(re.findall(r"<math\b.*?</math>", text, re.DOTALL))
        letters = re.sub(r"<[^>]*>", "", formulas)
        assert {*map(ord, unescape(letters))} - {ord("\n")} <= {*font.getBestCmap()}, name


def test_every_root_sign_is_as_wide_as_the_low_one(site):
    """Beside each Chromium leaves room for the widest: a gap after the root of d."""
    font = TTFont(site / "_static" / "formulas.woff")
    low, variants = font.getBestCmap()[ord("√")], font["MATH"].table.MathVariants
    signs = variants.VertGlyphConstruction[variants.VertGlyphCoverage.glyphs.index(low)]
    assert len(signs.MathGlyphVariantRecord) > 2 and signs.GlyphAssembly is None
    assert {font["hmtx"][each.VariantGlyph][0] for each in signs.MathGlyphVariantRecord} == {font["hmtx"][low][0]}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_with_its_pictures_is_under_1_mb(site, page):
    pictures = set(re.findall(r'src="([^"]*_images/[^"]*)"', markup(site, page)))
    files = [site / f"{page}.html", *((site / f"{page}.html").parent / picture for picture in pictures)]
    assert 2_000 < sum(file.stat().st_size for file in files) < 1_000_000


@pytest.mark.parametrize("page", PAGES)
def test_a_page_loads_only_files_of_the_site(site, page):
    loaded = LOADED.findall(CANONICAL.sub("", markup(site, page)))
    for address in filter(None, (each for pair in loaded for each in pair)):
        if not address.startswith("data:"):
            assert "//" not in address
            assert (site / f"{page}.html").parent.joinpath(re.sub(r"[?#].*", "", address)).exists(), address


@pytest.mark.parametrize("page", PAGES)
def test_a_link_within_the_site_leads_somewhere(site, page):
    for address in re.findall(r'<a\b[^>]*\bhref="([^"]*)"', markup(site, page)):
        path, _, anchor = address.partition("#")
        if "//" in path or address in ("#", ""):
            continue
        target = (site / f"{page}.html").parent.joinpath(path) if path else site / f"{page}.html"
        assert target.exists(), address
        if anchor:
            assert f'id="{anchor}"' in target.read_text(encoding="utf-8"), address


@pytest.mark.parametrize("lesson", LESSONS)
def test_an_exercise_has_its_box_its_blank_what_is_said_of_mistakes_and_its_solution_closed(site, lesson):
    name = lesson.partition("_")[2]
    mine = [exercise for exercise in EXERCISES.values() if exercise.lesson == name]
    page = markup(site, lesson)
    for exercise in mine:
        address = exercise.name.replace("_", "-")
        box = re.search(rf'<section class="exercise" id="exercise-{address}">.*?</section>', page, re.DOTALL)
        assert box, f"{exercise.name} has no box"
        plain = re.sub(r"<[^>]+>", "", box[0])
        assert "your code here" in plain
        assert re.search(r'<span class="effort">difficulty \d, \d+ minutes', box[0])
        assert f"<details><summary>Solution {exercise.number}</summary>" in box[0]
        assert ": right" not in plain, "nobody has answered"
        assert f"python3 course.py lab, then {lesson.partition('/')[2]}.ipynb" in " ".join(plain.split())
        if not exercise.unjudged:
            assert box[0].count("<details><summary>If ") == 2 and plain.count(f"{exercise.name}: not yet. ") == 2
            assert all(f"you get when {mistake}." in unescape(plain) for mistake in exercise.typical(2))


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_download_is_the_learners_notebook(site, lesson):
    link = re.search(r'<a class="tool" href="([^"]*)" download>', markup(site, lesson))
    file = (site / f"{lesson}.html").parent / link[1]
    assert file.read_bytes() == (ROOT / f"{lesson}.ipynb").read_bytes()


def test_the_cover_names_the_commands_and_every_lesson(site):
    cover = re.sub(r"<[^>]+>", "", markup(site, "index"))
    for words in ("python3 course.py lab", "python3 course.py test", "Quadratic attention", "From 2K to 128K"):
        assert words in cover
    assert "data-instrument" in markup(site, "index")


def test_the_search_knows_sections_exercises_and_terms(site):
    script = (site / "sections.js").read_text(encoding="utf-8")
    pages = json.loads(script.removeprefix("const SECTIONS = ").rstrip().rstrip(";"))
    entries = [(f"{address}#{anchor}".rstrip("#"), *told) for address, _, own in pages for anchor, *told in own]
    addresses = [address for address, *_ in entries]
    assert len(addresses) == len(set(addresses))
    assert [address for address, *_ in pages if address.startswith("lessons/")] == [f"{name}.html" for name in LESSONS]
    assert f"lessons/{lesson('quadratic_attention').stem}.html#exercise-softmax" in addresses
    assert "glossary.html#term-KV-cache" in addresses
    assert any("Gated delta networks" in title for address, title, _ in entries if address.startswith("references"))
    assert not any("<" in title for _, title, _ in entries)
    assert not any("minutes" in title for address, title, _ in entries if not address.startswith("teaching/"))
    assert not any("not yet. Your output equals" in text for _, _, text in entries)
    assert max(len(text) for *_, text in entries) < 20_000, "what an instrument holds is no text to search"
    assert len(script.encode()) < 850_000


def test_every_term_has_a_definition_for_its_card(site):
    script = (site / "definitions.js").read_text(encoding="utf-8")
    told = json.loads(script.removeprefix("globalThis.courseTerms = ").rstrip().rstrip(";"))
    terms = re.findall(r'<dt id="(term-[^"]+)"', markup(site, "glossary"))
    assert list(told) == terms and len(terms) > 100
    for term, definition in told.items():
        words = re.sub(r"<[^>]+>", "", definition)
        assert words.endswith(".") and len(words) < 450, term
        assert "<a" not in definition and not re.search(r"\[\d+\]|Lesson \d| [.,]", words), term


def test_what_the_first_edition_had_is_found_where_it_is_now(site):
    for stem in first_edition()["lessons"]:
        for old in (f"lessons/{stem}", f"teaching/{stem}", f"interview/{stem}"):
            if not (site / f"{old}.html").exists():  # no page for the interview's teacher, none of its questions
                assert not list((site / old.partition("/")[0]).glob(f"*{stem[3:]}.html")), old
                continue
            leads_to = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', markup(site, old))
            assert leads_to is None or (site / old).parent.joinpath(leads_to[1]).exists(), old
    moved = markup(site, f"interview/{first_edition()['lessons'][3]}")
    places = json.loads(re.search(r"const places = (.*);", moved)[1])
    assert len(places) == len(first_edition()["questions"])
    for address in places.values():
        page, _, anchor = address.partition("#")
        assert f'id="{anchor}"' in (site / "interview" / page).read_text(encoding="utf-8"), address
    for number, name in first_edition()["exercises"].items():
        page = f"lessons/{references.exercise_place(name)[0].stem}"
        assert f'id="exercise-{number.replace(".", "-")}"' in markup(site, page), number


def test_third_parties_come_with_their_licences(site):
    for name in bind.THIRD_PARTIES:
        assert any((site / "licences" / name).iterdir()), name


def test_no_script_of_third_parties_is_in_the_repository():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    for name in filter(lambda name: name.endswith((".js", ".css")), tracked):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert len(text) < 100_000, name
        assert max(map(len, text.splitlines()), default=0) < 1_000, f"{name} looks minified"


# --- launch links: one setting decides ---


@pytest.fixture(scope="module")
def small_source(tmp_path_factory) -> Path:
    """The site's configuration around one tiny lesson, so that a whole build takes seconds."""
    source = tmp_path_factory.mktemp("small") / "source"
    bind.gather(source)
    for page in source.glob("*.md"):
        page.unlink()
    small = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# A lesson\n\n$N^2$")],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    (source / "lessons").mkdir()
    nbformat.write(small, source / "lessons" / "00_small.ipynb")
    (source / "index.md").write_text("# Small\n", encoding="utf-8")
    (source / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters:\n- file: lessons/00_small\n")
    (source / "_assets" / "notebooks").mkdir(parents=True)
    shutil.copy(source / "lessons" / "00_small.ipynb", source / "_assets" / "notebooks")
    return source


def small_page(source: Path, site: Path, **addresses: str) -> str:
    """The tiny lesson's page, built in a process of its own with COURSE_ADDRESS and COURSE_SITE set or not."""
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'book')!r}); import bind; from pathlib import Path; "
    code += f"bind.make_pages(Path({str(source)!r}), Path({str(site)!r}))"
    environment = {k: v for k, v in os.environ.items() if k not in bind.ADDRESSES} | addresses
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return (site / "lessons" / "00_small.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_without_an_address_no_page_offers_to_open_elsewhere(site, page):
    if not os.environ.get("COURSE_ADDRESS"):
        said = markup(site, page).lower()
        if page.startswith("teaching/"):  # these speak of both, and must not lead there
            said = " ".join(re.findall(r'href="([^"]*)"', said))
        assert "binder" not in said
        assert "colab" not in said


@pytest.mark.slow
def test_the_address_brings_the_launch_links(small_source, tmp_path):
    page = small_page(small_source, tmp_path / "html", COURSE_ADDRESS="https://github.com/somebody/attention")
    links = re.findall(r'<a class="tool" href="([^"]*)">Open in (\w+)</a>', page)
    assert links == [
        ("https://mybinder.org/v2/gh/somebody/attention/main?urlpath=lab/tree/lessons/00_small.ipynb", "Binder"),
        ("https://colab.research.google.com/github/somebody/attention/blob/main/lessons/00_small.ipynb", "Colab"),
    ]


@pytest.mark.slow
def test_elsewhere_than_on_github_there_is_binder_alone(small_source, tmp_path):
    page = small_page(small_source, tmp_path / "html", COURSE_ADDRESS="https://gitlab.com/somebody/attention")
    assert re.findall(r"Open in (\w+)", page) == ["Binder"]


@pytest.mark.slow
def test_a_warning_of_jupyter_book_stops_the_site(small_source, tmp_path):
    source = shutil.copytree(small_source, tmp_path / "source")
    (source / "index.md").write_text("# Small\n\n{doc}`nowhere`\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="nowhere"):
        small_page(source, tmp_path / "html")


# --- how it is found and shared ---

SITE = os.environ.get("COURSE_SITE", "").strip().rstrip("/")
TAGS = ["description", "og:site_name", "og:title", "og:description", "og:type"]
TAGS += ["twitter:card", "twitter:title", "twitter:description"]
WHOLE = ["og:url", "og:image", "og:image:alt", "og:image:width", "og:image:height"]  # these name the site's address
WHOLE += ["twitter:image", "twitter:image:alt"]


def head(text: str) -> BeautifulSoup:
    return BeautifulSoup(text.partition("</head>")[0], "html.parser")


def told(text: str) -> dict[str, str]:
    """What a page says of itself by name. Each is there once, and is plain text."""
    every = head(text).find_all("meta", content=True)
    tags = [(tag.get("property") or tag.get("name"), tag["content"]) for tag in every]
    tags = [(name, content) for name, content in tags if name in TAGS + WHOLE]
    assert len(tags) == len(dict(tags)), tags
    assert not [content for _, content in tags if re.search(r"[<>`$\\{}]|\s\s|^\s|\s$", content)]
    return dict(tags)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_it_is_once(site, page):
    text = markup(site, page)
    said = told(text)
    assert sorted(said) == sorted(TAGS + WHOLE * bool(SITE))
    assert 50 <= len(said["description"]) <= 200
    assert said["description"] == said["og:description"] == said["twitter:description"]
    assert said["og:title"] == said["twitter:title"]
    title = {said["og:title"], *({"Attention at Length"} if page != "index" else {})}
    assert set(head(text).title.get_text().split(" — ")) == title
    assert said["og:type"] == ("website" if page == "index" else "article")
    card = site / "cards" / f"{cards.named(page)}.png"
    assert card.exists()
    canonical = [link["href"] for link in head(text).find_all("link", rel="canonical")]
    assert canonical == [found.address(f"{SITE}/", page)] * bool(SITE)
    if SITE:
        assert said["og:url"] == canonical[0]
        assert said["og:image"] == said["twitter:image"] == f"{SITE}/cards/{card.name}"


def test_no_two_pages_say_the_same(site):
    said = [told(markup(site, page)) for page in PAGES]
    for name in ("og:title", "description"):
        assert len({each[name] for each in said}) == len(PAGES), name


def test_a_lessons_card_is_its_own_and_shows_what_the_lesson_shows(site):
    shown = list((site / "cards").iterdir())
    assert {path.stem for path in shown} == {cards.COURSE, *(each.name for each in lessons())}
    for path in shown:
        assert Image.open(path).size == (1200, 630)
        assert 10_000 < path.stat().st_size < 200_000
    assert len({path.read_bytes() for path in shown}) == len(shown)
    for name, path in cards.PICTURES.items():
        text = (ROOT / "book" / "lessons" / f"{name}.md").read_text(encoding="utf-8") if name != cards.COURSE else ""
        assert path.exists()
        if name != cards.COURSE:
            assert path.stem in text if path.parent == cards.DRAWINGS else ":tags: [picture" in text, name


def test_words_on_a_card_fit_or_are_refused():
    sheet = Image.new("RGB", (400, 200), cards.TOKENS["paper"])
    end = cards.write(sheet, (0, 0), "Infini-attention, at length, from 2 K to 1 M tokens", (200, 120), 40, "ink")
    assert end <= 120
    blank = Image.new("RGB", sheet.size, cards.TOKENS["paper"])
    right, bottom = ImageChops.difference(sheet, blank).getbbox()[2:]
    assert 100 < right <= 200 and 60 < bottom <= 120
    with pytest.raises(ValueError, match="don't fit"):
        cards.write(sheet, (0, 0), "incomprehensibilities " * 20, (200, 120), 40, "ink")
    lines = cards.wrapped("Infini-attention from 2 K to 1 M tokens", 110, cards.font(20))
    assert lines == ["Infini-", "attention", "from 2 K", "to 1 M", "tokens"]


def test_the_icons_are_the_icon(site):
    small, touch = Image.open(site / "icon-32.png"), Image.open(site / "apple-touch-icon.png")
    assert (small.size, touch.size, touch.mode) == ((32, 32), (180, 180), "RGB")
    full = ImageColor.getrgb("#6e5aa8")
    for x, y, opacity in [(6, 6, 1), (6, 16, 0.55), (16, 16, 1), (6, 26, 0.3), (16, 26, 0.55), (26, 26, 1), (26, 6, 0)]:
        *colour, alpha = small.getpixel((x, y))
        assert abs(alpha - 255 * opacity) <= 1
        assert opacity == 0 or all(abs(a - b) <= 2 for a, b in zip(colour, full, strict=True))
        at = round((x + 32 / 6) * 180 / (32 + 32 / 3))
        down = round((y + 32 / 6) * 180 / (32 + 32 / 3))
        wanted = [round(opacity * c + (1 - opacity) * 255) for c in full]
        assert all(abs(a - b) <= 2 for a, b in zip(touch.getpixel((at, down)), wanted, strict=True)), (x, y)


def test_what_a_host_asks_for_is_there(site):
    assert (site / ".nojekyll").exists()
    robots = (site / "robots.txt").read_text().splitlines()
    assert robots == ["User-agent: *", "Allow: /", *[f"Sitemap: {SITE}/sitemap.xml"] * bool(SITE)]
    assert (site / "sitemap.xml").exists() == bool(SITE)
    if SITE:
        assert places(site) == {found.address(f"{SITE}/", page) for page in PAGES if page != "search"}


def places(site: Path) -> set[str]:
    """The addresses of a sitemap, each of which is there once."""
    listed = [place.text for place in ElementTree.parse(site / "sitemap.xml").findall("{*}url/{*}loc")]
    assert len(listed) == len(set(listed))
    return set(listed)


@pytest.mark.slow
def test_the_sites_own_address_brings_what_needs_it(site, small_source, tmp_path):
    page, there = small_page(small_source, tmp_path, COURSE_SITE=" https://somebody.example/attention/ "), tmp_path
    base = "https://somebody.example/attention/"
    said = told(page)
    assert sorted(said) == sorted(TAGS + WHOLE)
    assert said["og:url"] == f"{base}lessons/00_small.html"
    assert said["og:image"] == said["twitter:image"] == f"{base}cards/course.png"
    assert (said["og:image:width"], said["og:image:height"]) == ("1200", "630")
    assert said["twitter:card"] == "summary_large_image"
    assert places(there) == {base, f"{base}lessons/00_small.html"}
    cover = head((there / "index.html").read_text(encoding="utf-8"))
    assert [link["href"] for link in cover.find_all("link", rel="canonical")] == [base]
    assert f"Sitemap: {base}sitemap.xml" in (there / "robots.txt").read_text()
    lost = BeautifulSoup((there / "404.html").read_text(encoding="utf-8"), "html.parser")
    leads = [tag.get("href") or tag.get("action") for tag in lost.find_all(["a", "form"])]
    assert len(leads) == 2 + len(lessons()) and all(lead.startswith(base) for lead in leads)
    for lead in leads:
        assert (site / (lead.removeprefix(base) or "index.html")).exists(), lead


def test_the_page_for_a_wrong_address_needs_no_other_file(site):
    lost = BeautifulSoup((site / "404.html").read_text(encoding="utf-8"), "html.parser")
    assert not lost.find_all(["link", "img", "iframe"]) and not lost.find_all(src=True)
    leads = [tag.get("href") or tag.get("action") for tag in lost.find_all(["a", "form"])]
    assert all(SITE and lead.startswith(f"{SITE}/") for lead in leads)


def test_a_description_is_whole_sentences_as_many_as_say_enough():
    enough = "A sentence of its own is enough, where it says all that there is to say and takes its time over it too."
    assert found.description([enough, "More."]) == enough
    assert found.description(["Two short ones.", "Which together say something."]) == (
        "Two short ones. Which together say something."
    )
    middling = "One of middling length, which would do for a page alone."
    assert found.description([middling, "x" * 150, "A third."]) == middling


def test_a_first_sentence_that_is_too_long_is_cut_between_words():
    told = found.description(["Short.", "word, " * 60])
    assert told.startswith("Short. word, word") and told.endswith("word…") and 190 < len(told) <= 200


def test_the_course_can_be_cited():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    site = yaml.safe_load((ROOT / "book" / "_config.yml").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["message"] and citation["type"] == "software"
    assert citation["title"] == site["title"]
    assert citation["authors"] == [{"name": site["author"]}]
    assert citation["version"] == project["version"]
    assert citation["abstract"] == project["description"]
    assert " AND ".join(citation["license"]) == project["license"]
    line = f"{site['author']}, *{site['title']}*, version {project['version']}, {site['copyright']}."
    assert line in (ROOT / "book" / "index.md").read_text(encoding="utf-8")


def test_a_workflow_runs_githubs_own_actions_and_writes_nowhere_but_to_pages():
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = path.read_text(encoding="utf-8")
        workflow = yaml.safe_load(text)
        assert workflow["permissions"] == {"contents": "read"}, path.name
        assert "pull_request_target" not in text and "secrets." not in text
        assert all(used.startswith("actions/") for used in re.findall(r"uses: (\S+)", text)), path.name
        assert workflow["concurrency"]["group"]
        for name, job in workflow["jobs"].items():
            assert job["timeout-minutes"] <= 60
            if "write" in job.get("permissions", {}).values():
                assert (path.stem, name) == ("publish", "publish")
                assert not re.search(r"\brun:", yaml.safe_dump(job)), "what may write runs none of our code"


# --- the binder ---


def test_a_missing_package_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setitem(bind.PACKAGES, "no_such_module_at_all", "no-such-package")
    assert bind.main([]) == 1
    assert capsys.readouterr().err == (
        "course.py book: the site needs no-such-package; `pip install -r requirements.txt` brings what is missing\n"
    )


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(28, "No space left", "a.html"), "cannot write the site (No space left: a.html)"),
        (KeyboardInterrupt(), "stopped; the site that was there is as it was"),
        (bind.BindError("there is a reason"), "there is a reason"),
    ],
)
def test_what_stops_the_binder_is_one_sentence(monkeypatch, capsys, error, sentence):
    def stop(*_) -> None:
        raise error

    monkeypatch.setattr(bind, "bind", stop)
    assert bind.main(["--again"]) > 0
    assert capsys.readouterr().err == f"course.py book: {sentence}\n"


def test_a_package_without_a_licence_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(bind.metadata, "files", lambda name: [])
    with pytest.raises(bind.BindError, match="no licence"):
        bind.copy_licence("sphinx", tmp_path)


@pytest.fixture
def small_house(tmp_path, monkeypatch) -> Path:
    """A folder with two ingredients, in place of the course."""
    monkeypatch.setattr(bind, "ROOT", tmp_path)
    monkeypatch.setattr(bind, "SITE", tmp_path / "html")
    monkeypatch.setattr(bind, "INGREDIENTS", ["widgets", "requirements.txt"])
    for name in ("widgets", "html"):
        (tmp_path / name).mkdir()
    (tmp_path / "requirements.txt").write_text("torch\n")
    (tmp_path / "widgets" / "view.js").write_text("1")
    (tmp_path / "html" / bind.FINGERPRINT).write_text(bind.fingerprint())
    return tmp_path


def test_a_site_is_current_while_its_ingredients_are(small_house):
    assert bind.is_current()
    (small_house / "widgets" / "__pycache__").mkdir()
    (small_house / "widgets" / "__pycache__" / "view.pyc").write_text("3")
    assert bind.is_current()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda house: (house / "widgets" / "view.js").write_text("2"), id="content"),
        pytest.param(lambda house: (house / "widgets" / "view.js").rename(house / "widgets" / "other.js"), id="name"),
        pytest.param(lambda house: (house / "requirements.txt").write_text("torch==2\n"), id="a single file"),
        pytest.param(lambda house: (house / "html" / bind.FINGERPRINT).unlink(), id="no mark"),
    ],
)
def test_a_site_is_not_current_when_an_ingredient_changed(small_house, change):
    change(small_house)
    assert not bind.is_current()


@pytest.mark.parametrize("name", bind.ADDRESSES)
def test_a_site_is_not_current_for_another_address(small_house, monkeypatch, name):
    monkeypatch.setenv(name, "https://somebody.example/attention")
    assert not bind.is_current()


def test_the_new_site_takes_the_old_ones_place_whole(tmp_path):
    old, fresh = tmp_path / "html", tmp_path / "html-new"
    for folder, name in ((old, "gone.html"), (fresh, "index.html")):
        folder.mkdir()
        (folder / name).write_text("page")
    bind.put_in_place(fresh, old)
    assert [path.name for path in tmp_path.iterdir()] == ["html"]
    assert [path.name for path in old.iterdir()] == ["index.html"]


def test_the_palette_is_the_instruments_own():
    light, dark = ".al { /* light */ --ink: #111; }", '.al[data-theme="dark"] { --ink: #eee; }'
    assert bind.for_pages(light + dark) == 'html { /* light */ --ink: #111; }html[data-theme="dark"] { --ink: #eee; }'


# --- what is heavy ---


def test_a_heavy_state_leaves_the_page_and_a_light_one_stays(tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "lessons").mkdir()
    heavy = json.dumps({"kind": "ledger", "state": "x" * bind.HEAVY})
    light = json.dumps({"kind": "predict", "state": "x"})
    place = '<div data-instrument="{}"><script type="application/json">{}</script><p data-twin>Words.</p></div>'
    page = tmp_path / "lessons" / "page.html"
    page.write_text(place.format("ledger", heavy) + place.format("predict", light))
    bind.set_heavy_states_aside(tmp_path)
    text = page.read_text()
    assert heavy not in text and light in text and text.count("data-twin") == 2
    (from_page,) = re.findall(r'data-from="([^"]+)"', text)
    assert heavy in (page.parent / from_page).resolve().read_text()
