"""Joins plain ES modules into one text, without a bundler.

anywidget loads a view from a Blob URL and browsers refuse module scripts on file://: in neither can one file import
another. So a view is written as small modules that node can import and test, and its imports are followed here.
A module may use only `import { names } from "./path.js"`, `import NAME from "./path.json" with { type: "json" }` and
`export` before a declaration.
"""

import json
import re
from pathlib import Path

IMPORT = re.compile(r'^import \{[^}]*\} from "(?P<path>\.[^"]+)";\n', re.MULTILINE)
DATA = re.compile(r'^import (?P<name>\w+) from "(?P<path>\.[^"]+\.json)" with \{ type: "json" \};\n', re.MULTILINE)
COMMENT = re.compile(r"^[ \t]*(/\*\*((?!\*/).)*\*/[ \t]*|//[^\n]*)\n", re.MULTILINE | re.DOTALL)
REMARK = re.compile(r"[ \t]+//[^\n\"'`]*$", re.MULTILINE)  # beside code; with no quote in it, it stands in no string
INDENT = re.compile(r"^\s+", re.MULTILINE)  # and lines with nothing on them
OPEN = re.compile(r"^((?!.*(?://|`)).*[,(\[{])\n", re.MULTILINE)  # a line that nothing can end after
SPARE_CSS = re.compile(r"/\*.*?\*/\s*|^\s+|(?<=[;{}]) | (?=[{}])|(?<=[a-z]:) (?=[^{}]*[;}])", re.DOTALL | re.MULTILINE)
EXPORT = re.compile(r"^export (?=(async )?function|const|class)", re.MULTILINE)
EXPORTED = re.compile(r"^export (?:async )?(?:function|const|class) (\w+)", re.MULTILINE)
KIT = Path(__file__).parent


def linked(module: Path, seen: set[Path]) -> str:
    """`module` after everything it imports, each file once; files in `seen` are taken as present and it grows."""
    module = module.resolve()
    if module in seen:
        return ""
    seen.add(module)
    text = module.read_text(encoding="utf-8")
    before = [linked(module.parent / found["path"], seen) for found in IMPORT.finditer(text)]
    spare = INDENT.sub("", REMARK.sub("", COMMENT.sub("", text)))  # a page has no use for what explains the code to us
    spare = DATA.sub(lambda found: f"const {found['name']} = {carried(module.parent / found['path'])};\n", spare)
    return "".join(before) + OPEN.sub(r"\1", EXPORT.sub("", IMPORT.sub("", spare)))


def carried(path: Path) -> str:
    """A file of JSON as the text of a script, on one line."""
    return json.dumps(json.loads(path.read_text(encoding="utf-8")), ensure_ascii=False, separators=(",", ":"))


def module(view: Path) -> str:
    """One self-contained ES module for anywidget."""
    return linked(view, set())


def kit() -> tuple[str, set[Path]]:
    """What all views share, and the files it is in."""
    seen: set[Path] = set()
    return "".join(linked(path, seen) for path in sorted(KIT.glob("*.js"))), seen


def exported() -> str:
    """The names that the kit gives to views, as JavaScript writes an object of them and takes it apart."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(KIT.glob("*.js"))]
    return f"{{ {', '.join(name for text in texts for name in EXPORTED.findall(text))} }}"


def kind(name: str, view: Path, seen: set[Path]) -> str:
    """One kind of instrument, put where `mount.js` finds it; files in `seen` are taken as present."""
    text = linked(view, set(seen)).replace("export default ", "return ")
    return f'(globalThis.courseKinds ??= {{}})["{name}"] = (() => {{\n"use strict";\n{text}}})();\n'


def script(views: dict[str, Path]) -> str:
    """One classic script that mounts a static page: with these kinds, and with those that it brings in from beside."""
    shared, seen = kit()
    kinds = "".join(kind(name, view, seen) for name, view in sorted(views.items()))
    return (
        f'(() => {{\n"use strict";\n{shared}globalThis.courseKit = {exported()};\n{kinds}'
        "mountWhenReady(document.currentScript);\n})();\n"
    )


def beside(name: str, view: Path) -> str:
    """A script that brings one kind to a page with the script of all, which asks for it where the page has one."""
    _, seen = kit()
    return f'{{\nconst {exported()} = globalThis.courseKit;\n{kind(name, view, seen)}}}\n'


def piece(name: str, view: Path, style: Path) -> str:
    """Style and script of one view, to stand in a page before it; the page's own script finds it there."""
    return f"<style>{style.read_text(encoding='utf-8')}</style><script>{kind(name, view, set())}</script>"


def stylesheet(styles: list[Path]) -> str:
    """The look, the frame, and what each view adds."""
    sheets = [KIT / "tokens.css", KIT / "kit.css", *styles]
    return SPARE_CSS.sub("", "".join(sheet.read_text(encoding="utf-8") for sheet in sheets))
