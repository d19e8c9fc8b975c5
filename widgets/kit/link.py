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


def script(views: dict[str, Path]) -> str:
    """One classic script that mounts the given kinds of instrument on a static page; what they share stands once."""
    seen: set[Path] = set()
    shared = "".join(linked(path, seen) for path in sorted(KIT.glob("*.js")))
    kinds = "".join(
        f'kinds["{kind}"] = (() => {{\n{linked(view, set(seen)).replace("export default ", "return ")}}})();\n'
        for kind, view in sorted(views.items())
    )
    return f'(() => {{\n"use strict";\n{shared}const kinds = {{}};\n{kinds}mountWhenReady(kinds);\n}})();\n'


def piece(kind: str, view: Path, style: Path) -> str:
    """Style and script of one view, to stand in a page before it; the page's own script finds it there."""
    text = linked(view, set()).replace("export default ", "return ")
    script = f'(globalThis.courseKinds ??= {{}})["{kind}"] = (() => {{\n{text}}})();'
    return f"<style>{style.read_text(encoding='utf-8')}</style><script>{script}</script>"


def stylesheet(styles: list[Path]) -> str:
    """The look, the frame, and what each view adds."""
    sheets = [KIT / "tokens.css", KIT / "kit.css", *styles]
    return SPARE_CSS.sub("", "".join(sheet.read_text(encoding="utf-8") for sheet in sheets))
