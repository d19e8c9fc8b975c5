"""Formulas, set when the site is made: a page carries MathML, and no script sets anything while it is read."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxTranslator

from widgets.kit.formulas import mathml

logger = logging.getLogger(__name__)


def set_as(node: nodes.Node, block: bool) -> str:
    """MathML, or a warning with the place: there is to be none, so the site isn't made."""
    try:
        return mathml(node.astext(), block)
    except ValueError as error:
        logger.warning(str(error), location=node)
        return ""


def inline(self: SphinxTranslator, node: nodes.math) -> None:
    self.body.append(set_as(node, block=False))
    raise nodes.SkipNode


def displayed(self: SphinxTranslator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="formula">{set_as(node, block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict:
    app.add_html_math_renderer("mathml", (inline, None), (displayed, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
