"""Shapes that the text writes in plain Markdown and the site draws.

- An exercise is a section with a target `exercise-softmax`, titled `Exercise N.N, softmax (difficulty 2, ...)`. It gets
  the class `exercise` and the target as its address, and its parenthesis becomes a line of its own. It ends with
  the solution and the hints that follow at once; what the lesson says next stands after it. The address that it had
  in the first edition, `exercise-1-2`, leads there too.
- The line under a heading that says tracks and minutes gets the class `track`. A section whose line says "Further" is a
  closed box under its heading, named by that line.
- A quotation that begins with **Keep.** gets the class `keep`.
- A hidden cell is a closed box named by its prompt ("Solution 1.2"), to the eye and to a screen reader alike.
- A prediction shows its question and not its code, which holds the answer.
- What a cell prints is `said` unless it stands in columns: a sentence wraps on a narrow page, a table scrolls.
"""

import re
from html import escape

from docutils import nodes
from ipython_pygments_lexers import IPython3Lexer
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxTranslator

from solutions.lessons import first_edition
from solutions.tracks import LINE

BEFORE = {name.replace("_", "-"): number for number, name in first_edition()["exercises"].items()}
EFFORT = re.compile(r"\s*\(([^()]*(?:\b(?:minut[eo]?s?)\b|\d분)[^()]*)\)\s*$")
COLUMNS = re.compile(r"\S(  +|\t)\S")


def opens(node: nodes.Node) -> bool:
    return isinstance(node, nodes.raw) and node.astext().lstrip().startswith("<details")


def closes(node: nodes.Node) -> bool:
    return isinstance(node, nodes.raw) and "</details>" in node.astext()


class ExerciseBox(SphinxTransform):
    default_priority = 500

    def apply(self) -> None:
        named = {
            name for name in self.document.nametypes if name.startswith("exercise-") and self.document.nametypes[name]
        }
        for section in list(self.document.findall(nodes.section)):
            title = section[0]
            target = next((name for name in section["ids"] if name in named), None)
            if target is None:
                continue
            section["classes"].append("exercise")
            name = target.removeprefix("exercise-")
            old = BEFORE.get(name) or BEFORE.get(name[3:])  # in another language it is exercise-es-softmax
            others = [other for other in section["ids"] if other != target]
            section["ids"] = [target, *others, *([f"exercise-{old.replace('.', '-')}"] if old else [])]
            last = title[-1]
            effort = EFFORT.search(last.astext()) if isinstance(last, nodes.Text) else None
            if effort:
                title.replace(last, nodes.Text(last.astext()[: effort.start()]))
                title += [nodes.Text(" "), nodes.inline("", effort[1], classes=["effort"])]
            end = self.end_of_exercise(section)
            rest = section[end:]
            del section[end:]
            place = section.parent.index(section) + 1
            section.parent.insert(place, rest)

    @staticmethod
    def end_of_exercise(section: nodes.section) -> int:
        """Index of the first child that no longer belongs to the exercise."""
        solutions = (index for index, node in enumerate(section) if "tag_exercise" in node.get("classes", []))
        end = next(solutions, len(section) - 1) + 1
        while end < len(section) and opens(section[end]):
            end = next(index for index in range(end, len(section)) if closes(section[index])) + 1
        return end


class KeepSentence(SphinxTransform):
    default_priority = 500

    def apply(self) -> None:
        for quotation in self.document.findall(nodes.block_quote):
            strong = next(iter(quotation.findall(nodes.strong)), None)
            if strong is not None and strong.astext() == "Keep." and quotation.astext().startswith("Keep."):
                quotation["classes"].append("keep")


class Track(SphinxTransform):
    default_priority = 600  # after the exercises have their ends

    def apply(self) -> None:
        for section in list(self.document.findall(nodes.section)):
            line = next((node for node in section[1:] if not isinstance(node, nodes.target)), None)
            if not isinstance(line, nodes.paragraph) or not LINE.fullmatch(line.astext()):
                continue
            line["classes"].append("track")
            if line.astext().startswith("Further, "):
                said = line.astext().removesuffix(".")
                box = nodes.raw("", f'<details class="further"><summary>{escape(said)}</summary>', format="html")
                section.replace(line, box)
                section += nodes.raw("", "</details>", format="html")


class Prediction(SphinxTransform):
    default_priority = 500

    def apply(self) -> None:
        for cell in list(self.document.findall(nodes.container)):
            if "cell" in cell["classes"] and cell[0].astext().startswith("predict("):
                del cell[0]


class PrintedSentence(SphinxTransform):
    default_priority = 500

    def apply(self) -> None:
        for block in self.document.findall(nodes.literal_block):
            if "stream" in block["classes"] and not COLUMNS.search(block.astext()):
                block["classes"].append("said")


def open_box(self: SphinxTranslator, node: HideCodeCellNode) -> None:
    self.body.append(f"<details><summary>{escape(node['prompt_show'])}</summary>\n")


def close_box(self: SphinxTranslator, node: HideCodeCellNode) -> None:
    self.body.append("</details>\n")


def setup(app: Sphinx) -> dict:
    for transform in (ExerciseBox, Track, KeepSentence, Prediction, PrintedSentence):
        app.add_transform(transform)
    app.add_lexer("python", IPython3Lexer)  # a notebook's Python may hold `!command`
    app.add_node(HideCodeCellNode, override=True, html=(open_box, close_box))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
