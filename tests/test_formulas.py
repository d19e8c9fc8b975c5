"""Formulas: TeX as MathML, with TeX's spaces, on one line, for every formula of the course and for what is none."""

import re
from xml.etree import ElementTree

import pytest

from widgets.kit.formulas import mathml


def words(formula: str) -> str:
    return "".join(ElementTree.fromstring(formula).itertext()).replace("\N{FUNCTION APPLICATION}", "")


@pytest.mark.parametrize(
    ("tex", "says"),
    [
        (r"2{,}048 + 1{,}048{,}576", "2,048+1,048,576"),
        (r"12{,}5", "12,5"),
        (r"e^{m_{\text{old}} - m}", "emold−m"),
        (r"2\ln c\,n/d", "2lncn/d"),
        (r"a < b \le \infty", "a<b≤∞"),
        (r"x_1, \dots, x_n", "x1,…,xn"),
    ],
)
def test_a_formula_says_what_the_tex_says(tex, says):
    assert words(mathml(tex)) == says


def test_a_number_is_one_number_and_a_list_is_none():
    assert "<mn>1,048,576</mn>" in mathml("1{,}048{,}576")
    assert "<mn>1,048</mn>" not in mathml("x_1, 048")


def spaces(formula: str, sign: str) -> list[tuple[str | None, str | None]]:
    found = [each for each in ElementTree.fromstring(formula).iter("mo") if each.text == sign]
    return [(each.get("lspace"), each.get("rspace")) for each in found]


def test_the_spaces_are_tex_s():
    assert spaces(mathml("a/b"), "/") == [("0", "0")]
    assert spaces(mathml("|a| + |b|"), "|") == [("0", "0")] * 4
    assert spaces(mathml("x_{i-1} - 1"), "−") == [("0", "0"), (None, None)]
    assert spaces(mathml("e^{a_{i-1}}"), "−") == [("0", "0")]
    assert spaces(mathml(r"\ln x + \ln(x)"), "\N{FUNCTION APPLICATION}") == [("0", "0.167em"), ("0", "0")]
    assert '<mn>2</mn><mspace width="0.167em" /><mi>ln</mi>' in mathml(r"2\ln x")
    assert "<math><mi>ln</mi>" in mathml(r"\ln x")


def test_words_stand_under_a_brace_and_an_index_beside_a_letter():
    under = mathml(r"\underbrace{a + b}_{\text{both}}")
    assert re.search(r"</munder><mi>both</mi></munder>", under)
    assert mathml("a_b") == "<math><msub><mi>a</mi><mi>b</mi></msub></math>"


def test_a_block_says_that_it_is_one():
    assert mathml("x", block=True).startswith('<math display="block">')
    assert "display" not in mathml("x")
    assert "\n" not in mathml("\\frac{a}{b}\n+ c", block=True)


@pytest.mark.parametrize("tex", [r"\nope", "{a", "a}", r"\frac{1}", r"\left( a", "x^", r"\begin{foo}a\end{foo}"])
def test_what_cannot_be_set_is_named(tex):
    with pytest.raises(ValueError, match="cannot be set") as told:
        mathml(tex)
    assert repr(tex) in str(told.value)
