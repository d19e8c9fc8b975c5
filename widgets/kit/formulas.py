"""TeX as MathML, which browsers set themselves: the instruments, the site and the slides need no script for it.

docutils converts; what it leaves to be mended is mended here: the comma in 2{,}048, the place of the words under a
brace, and the spaces where TeX and MathML differ. TeX sets a/b and |a| without any, none around the signs of an index
or an exponent, and a thin one on each side of ln.
"""

from __future__ import annotations

import re
from html import unescape
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

PAIRS = (r"(?<!\\)\{", r"(?<!\\)\}"), (r"\\left(?![a-zA-Z])", r"\\right(?![a-zA-Z])")
SCRIPTS = {"msub", "msup", "msubsup"}
THIN = "0.167em"
APPLIED = "\N{FUNCTION APPLICATION}"


def mathml(tex: str, block: bool = False) -> str:
    """A formula as one `<math>` element on one line, to stand in a sentence or, as a block, on a line of its own.

    Raises ValueError for TeX that cannot be set: a command that there is not, a brace that isn't closed.
    Source: docutils' converter (docutils.utils.math.latex2mathml).
    """
    from docutils.utils.math import MathError
    from docutils.utils.math.latex2mathml import tex2mathml

    if any(len(re.findall(opens, tex)) != len(re.findall(closes, tex)) for opens, closes in PAIRS):
        raise ValueError(f"the formula {tex!r} cannot be set: a brace, or a \\left, has no partner")
    try:  # one command of ours docutils lacks
        formula = tex2mathml(tex.replace("\\dots", "\\ldots"), as_block=block)
    except (MathError, SyntaxError) as error:
        raise ValueError(f"the formula {tex!r} cannot be set: {error}") from None
    formula = re.sub(r"\n\s*| xmlns=\"[^\"]*\"", "", formula)
    root = ElementTree.fromstring(re.sub(r"&(?!lt;|gt;|amp;|quot;)\w+;", lambda found: unescape(found[0]), formula))
    _mend(root)
    return ElementTree.tostring(root, encoding="unicode")


def _mend(node: Element, script: bool = False) -> None:
    for index, child in enumerate(node):
        _mend(child, script or (node.tag in SCRIPTS and index > 0))
        if child.tag == "mo" and (script or child.text in ("/", "|")):
            child.attrib.update(lspace="0", rspace="0")
        elif child.tag == "mtext" and re.fullmatch(r"\w{2,}", child.text or ""):  # a name: signs keep their spaces
            child.tag = "mi"
        elif child.tag == "msub" and child[0].tag == "munder":  # a brace below, and the words that belong under it
            child.tag = "munder"
    for index in reversed(range(1, len(node) - 1)):
        if index + 1 >= len(node):  # two of a number's parts went
            continue
        before, child, after = node[index - 1 : index + 2]
        if child.text == "," and re.fullmatch(r"\d+,\d{3}(,\d{3})*", f"{before.text},{after.text}"):
            before.text = f"{before.text},{after.text}"
            del node[index : index + 2]
        elif child.text == APPLIED:
            child.attrib.update(lspace="0", rspace="0" if after.tag == "mo" else THIN)
            if index > 1 and node[index - 2].tag not in ("mo", "mspace"):
                node.insert(index - 1, Element("mspace", width=THIN))
