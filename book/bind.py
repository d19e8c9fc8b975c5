"""Bind the site: the text, the printed notebooks and what installed packages bring become `book/_build/html`.

Run as `python book/bind.py`, or through `course.py book`. A source folder is made anew (`book/_build/source`), Jupyter
Book 1 turns it into pages, and the finished site takes the old one's place in one step. A site whose ingredients have
not changed is left as it is. Nothing of third parties is kept in the repository: it is copied out of the installed
packages, with its licence beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import json
import logging
import os
import re
import shutil
import sys
import time
import warnings
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    from fontTools.ttLib import TTFont

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import cards  # noqa: E402
import course_map  # noqa: E402

from solutions import references  # noqa: E402
from solutions.lessons import chosen, first_edition, lessons  # noqa: E402
from widgets.measurements import figures  # noqa: E402

BOOK = ROOT / "book"
BUILD = BOOK / "_build"
SITE = BUILD / "html"

PACKAGES = {
    "jupyter_book": "jupyter-book",
    "jupytext": "jupytext",
    "nbclient": "nbclient",
    "ziamath": "ziamath",
}
# Distributions whose scripts, styles or fonts are on the pages.
THIRD_PARTIES = ["ziamath", "sphinx", "sphinx-book-theme", "pydata-sphinx-theme", "sphinx-copybutton"]
INGREDIENTS = ["book", "lessons", "solutions", "widgets", "requirements.txt", "pyproject.toml"]
ADDRESSES = ["COURSE_ADDRESS", "COURSE_SITE"]  # of the project and of its site; _config.yml says what they decide
QUESTION = re.compile(r"^\(q-([\w-]+)\)=\n## ", re.MULTILINE)
MOVED = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>This page has moved</title>
<script>
const places = {places};
location.replace(places[location.hash] ?? "{address}" + location.hash);
</script>
<meta http-equiv="refresh" content="0; url={address}"><link rel="canonical" href="{address}"></head>
<body><p>This page has moved: <a href="{address}">{address}</a></p></body></html>
"""
FINGERPRINT = ".made-from"
STATE = re.compile(r'(<div data-instrument="\w+">)<script type="application/json">(.*?)</script>', re.DOTALL)
FORMULA = re.compile(r"<math\b.*?</math>", re.DOTALL)
HEAVY = 100_000  # characters of an instrument's state


class BindError(Exception):
    """Why there is no site, in one sentence."""


# --- what the site is made from ---


def missing_packages() -> list[str]:
    return [name for module, name in PACKAGES.items() if find_spec(module) is None]


def fingerprint() -> str:
    """A digest of every file that has a say in the pages, and of the public addresses."""
    digest = hashlib.sha256(json.dumps([os.environ.get(name) for name in ADDRESSES]).encode())
    for name in INGREDIENTS:
        for path in sorted((ROOT / name).rglob("*")) or [ROOT / name]:
            if path.is_file() and not {"_build", "__pycache__", ".ipynb_checkpoints"} & set(path.parts):
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def is_current() -> bool:
    mark = SITE / FINGERPRINT
    return mark.exists() and mark.read_text() == fingerprint()


# --- the source folder ---


def gather(source: Path) -> None:
    """A clean source folder with what people wrote: pages, configuration, the site's own pieces."""
    import contents
    import yaml

    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    written = [path for path in BOOK.glob("*.md") if path.name != "readme.md"]
    for path in [BOOK / "_config.yml", BOOK / "references.bib", *written]:
        shutil.copy2(path, source)
    (source / "_toc.yml").write_text(yaml.safe_dump(contents.toc(), sort_keys=False), encoding="utf-8")
    for folder in ("_ext", "_static", "interview", "teaching"):
        if (BOOK / folder).is_dir():
            shutil.copytree(BOOK / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "pictures").mkdir()
    (source / "pictures" / "map.svg").write_text(course_map.svg("lessons/{}.html"), encoding="utf-8")
    (source / "measured.md").write_text(figures.page(), encoding="utf-8")
    for page in source.rglob("*.md"):
        page.write_text(to_printed(page.read_text(encoding="utf-8"), page.relative_to(source)), encoding="utf-8")


def to_printed(text: str, page: Path) -> str:
    """A page of the site: references resolved, questions numbered. Raises BindError for a broken reference."""
    up = "../" * (len(page.parts) - 1)
    to = references.Leads(
        lesson=f"{up}lessons/{{}}.ipynb",
        exercise="#exercise-{}",
        question="#q-{}",
        teaching=f"{up}teaching/{{}}.md",
        questions=f"{up}interview/{{}}.md",
    )
    try:
        text = references.resolve(text, to, page.as_posix())
        return QUESTION.sub(lambda found: f"{found[0]}{references.number(found[1])} ", text)
    except references.BrokenReference as error:
        raise BindError(str(error)) from None


def print_notebooks(source: Path, only: str | None = None, again: bool = False) -> None:
    """The lessons, executed for a page without a kernel, and the cover, which carries an instrument too."""
    import jupytext
    import nbformat
    import press

    press.print_site(source, only, again)
    cover = source / "index.md"
    notebook = press.execute(jupytext.read(cover, fmt="md:myst"), static=True)
    nbformat.write(notebook, cover.with_suffix(".ipynb"))
    cover.unlink()


def print_translations(source: Path) -> None:
    """The lessons that there are in other languages: the English notebook, executed once, with other prose."""
    import translate

    translate.print_translations(source / "lessons", source / "translations", "site")
    translate.print_translations(ROOT / "lessons", source / "_assets" / "notebooks", "student")


def place_assets(source: Path) -> None:
    """What a page asks for beside its text.

    Jupyter Book puts every script and style of `_static` on every page: the instruments and the tokens belong there.
    `_assets` goes to the root of the site as it is: the learner's notebooks, the licences, cards and icons.
    """
    from widgets.kit.base import static_assets

    for name, text in static_assets().items():
        (source / "_static" / name).write_text(text, encoding="utf-8")
    tokens = (ROOT / "widgets" / "kit" / "tokens.css").read_text(encoding="utf-8")
    (source / "_static" / "tokens.css").write_text(for_pages(tokens), encoding="utf-8")

    (source / "_assets" / "notebooks").mkdir(parents=True, exist_ok=True)
    for page in (source / "lessons").glob("*.ipynb"):
        if not (ROOT / "lessons" / page.name).exists():
            raise BindError(f"lessons/{page.name} is missing; run `python3 course.py build` first")
        shutil.copy2(ROOT / "lessons" / page.name, source / "_assets" / "notebooks")
    cards.keep(source / "_assets")
    for name in THIRD_PARTIES:
        copy_licence(name, source / "_assets" / "licences" / name)


def for_pages(tokens: str) -> str:
    """The instruments' tokens, given to the whole page: one palette, written down once."""
    return re.sub(r"\.al(?=[\s{\[])", "html", tokens)


def copy_licence(distribution: str, folder: Path) -> None:
    texts = [file for file in metadata.files(distribution) or [] if re.match(r"(licen[cs]e|copying)", file.name, re.I)]
    if not texts:
        raise BindError(f"the package {distribution} brings no licence text, so its files cannot be passed on")
    folder.mkdir(parents=True)
    for text in texts:
        shutil.copyfile(text.locate(), folder / text.name)


# --- pages ---


def make_pages(source: Path, site: Path) -> None:
    """Run Jupyter Book over a source folder. Its chatter is not shown; its warnings are, and there is to be none."""
    from jupyter_book.sphinx import build_sphinx

    # one of its extensions looks at every object in memory, and torch, which came with the instruments, complains
    warnings.filterwarnings("ignore", "`torch.distributed", FutureWarning)
    doctrees = site.with_name(site.name + "-doctrees")
    result = build_sphinx(
        source,
        site,
        path_config=source / "_config.yml",
        noconfig=True,
        confoverrides={"external_toc_path": str(source / "_toc.yml"), "latex_individualpages": False},
        doctreedir=doctrees,
        freshenv=True,
        quiet=True,
        warningiserror=True,
        keep_going=True,
    )
    shutil.rmtree(doctrees, ignore_errors=True)
    if result != 0:
        raise BindError(f"Jupyter Book is not content with the pages; it says why above ({result})")


def bring_kinds(site: Path) -> None:
    """The scripts of the kinds of instrument, of which a page loads those that it holds."""
    from widgets.kit.base import static_kinds

    folder = site / "_static" / "kinds"
    folder.mkdir()
    for name, text in static_kinds().items():
        (folder / name).write_text(text, encoding="utf-8")


def set_heavy_states_aside(site: Path) -> None:
    """Move what an instrument shows out of its page where it is heavy, into a script that is read when it comes near.

    A script, since a page opened from file:// may not fetch anything else.
    """
    folder = site / "_static" / "states"
    for page in site.rglob("*.html"):

        def aside(found: re.Match, page: Path = page) -> str:
            state = found[2]
            if len(state) < HEAVY:
                return found[0]
            name = f"{hashlib.sha256(state.encode()).hexdigest()[:16]}.js"
            folder.mkdir(exist_ok=True)
            (folder / name).write_text(f'(globalThis.courseStates ??= {{}})["{name}"] = {state};\n', encoding="utf-8")
            from_page = Path(os.path.relpath(folder / name, page.parent)).as_posix()
            return f'{found[1]}<script type="application/json" data-from="{from_page}"></script>'

        text = page.read_text(encoding="utf-8")
        page.write_text(STATE.sub(aside, text), encoding="utf-8")


def bring_font(site: Path) -> None:
    """STIX Two Math, of which a page needs some hundred letters: those that stand in formulas, upright and slanted.

    Many systems have no font for mathematics, and without one no bracket grows with what it holds.
    """
    import ziamath
    from fontTools import subset

    logging.getLogger("fontTools").setLevel(logging.WARNING)
    formulas = (found for page in site.rglob("*.html") for found in FORMULA.findall(page.read_text(encoding="utf-8")))
    letters = set(html.unescape("".join(text for formula in formulas for text in re.split(r"<[^>]*>", formula))))
    slanted = {chr(code) for code in (*range(0x1D434, 0x1D468), 0x210E, *range(0x1D6E2, 0x1D71C))}
    options = subset.Options(flavor="woff", layout_features=["*"], hinting=False, notdef_outline=True)
    font = subset.load_font(str(Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf"), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(text="".join(letters | slanted) + "√")  # which <msqrt> draws
    subsetter.subset(font)
    narrow_roots(font)
    subset.save_font(font, str(site / "_static" / "formulas.woff"), options)


def narrow_roots(font: TTFont) -> None:
    """Squeeze the tall root signs to the width of the low one: Chromium leaves room for the widest beside each."""
    variants, low = font["MATH"].table.MathVariants, font.getBestCmap()[ord("√")]
    roots = variants.VertGlyphConstruction[variants.VertGlyphCoverage.glyphs.index(low)]
    roots.GlyphAssembly, width = None, font["hmtx"][low][0]
    for tall in roots.MathGlyphVariantRecord[1:]:
        glyph, (wide, bearing) = font["glyf"][tall.VariantGlyph], font["hmtx"][tall.VariantGlyph]
        glyph.coordinates.scale((width / wide, 1))
        glyph.coordinates.toInt()
        glyph.recalcBounds(font["glyf"])
        font["hmtx"][tall.VariantGlyph] = width, round(bearing * width / wide)


def keep_old_addresses(site: Path) -> None:
    """Where the first edition had a page that is elsewhere now, leave one that leads there, question by question.

    The old address of an exercise is one of its places still (see text_shapes).
    """
    before, now = first_edition(), {each.name: each.stem for each in lessons()}
    asked = {}
    for number, name in before["questions"].items():
        lesson, place = map(int, number.split("."))
        asked[f"#q-{lesson}-{place:02}"] = f"../interview/{references.question_place(name)[0].name}.html#q-{name}"
    for stem in before["lessons"]:
        name = stem[3:]
        moved = {"lessons": now[name], "teaching": name, "interview": name}
        for folder, new in moved.items():
            old = site / folder / f"{stem}.html"
            if (site / folder / f"{new}.html").exists() and not old.exists():
                places = json.dumps(asked if folder == "interview" else {})
                old.write_text(MOVED.replace("{places}", places).replace("{address}", f"{new}.html"), encoding="utf-8")


def put_in_place(fresh: Path, site: Path) -> None:
    """Two renames, so that an interrupted run leaves a whole site or none, never half of one."""
    old = site.with_name(site.name + "-old")
    shutil.rmtree(old, ignore_errors=True)
    if site.exists():
        site.rename(old)
    fresh.rename(site)
    shutil.rmtree(old, ignore_errors=True)


def bind(only: str | None = None, again: bool = False) -> Path:
    """Make the site, saying which step is running and how long each took. Returns where it is.

    only: the name of a lesson, of which alone the instruments are to live: a site beside the site, for its test
    again: execute every lesson, also where only prose has changed
    """
    made_from = fingerprint()
    build = BUILD / "one" if only else BUILD
    source, fresh, site = build / "source", build / "html-new", build / "html"
    shutil.rmtree(fresh, ignore_errors=True)
    for label, step in [
        ("text", lambda: gather(source)),
        ("notebooks", lambda: print_notebooks(source, only, again)),
        ("translations", lambda: print_translations(source)),
        ("assets", lambda: place_assets(source)),
        ("pages", lambda: make_pages(source, fresh)),
        ("kinds", lambda: bring_kinds(fresh)),
        ("font", lambda: bring_font(fresh)),
        ("states", lambda: set_heavy_states_aside(fresh)),
        ("old addresses", lambda: keep_old_addresses(fresh)),
    ]:
        print(f"{label} ...", flush=True)
        start = time.monotonic()
        step()
        print(f"{label}: {time.monotonic() - start:.1f} s")
    (fresh / FINGERPRINT).write_text(made_from)
    put_in_place(fresh, site)
    return site


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="course.py book", description="Build the site into book/_build/html.")
    parser.add_argument("--again", action="store_true", help="build even when nothing has changed")
    parser.add_argument("--only", metavar="NAME", help="a site in which one lesson alone lives, made sooner")
    options = parser.parse_args(argv)
    if missing := missing_packages():
        needs = f"the site needs {', '.join(missing)}; `pip install -r requirements.txt` brings what is missing"
        print(f"course.py book: {needs}", file=sys.stderr)
        return 1
    sys.path[:0] = [str(BOOK), str(ROOT)]
    import press

    try:
        BUILD.mkdir(parents=True, exist_ok=True)
        only, site = options.only and chosen(options.only).name, SITE
        with FileLock(BUILD / ".lock"):  # one at a time: who waited finds the site made
            if options.again or only or not is_current():
                site = bind(only, options.again)
    except (BindError, press.PressError, ValueError) as error:
        print(f"course.py book: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"course.py book: cannot write the site ({error.strerror}: {error.filename})", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("course.py book: stopped; the site that was there is as it was", file=sys.stderr)
        return 130
    print(f"The site: {(site / 'index.html').as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
