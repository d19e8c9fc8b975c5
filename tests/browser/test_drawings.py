"""All still drawings on one page: words apart from each other and from the edge, large enough, and to be read."""

import pytest

from widgets.drawings import kept, names

PAGE = """<!doctype html><html lang="en" data-theme="{theme}"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Drawings</title>
<style>body {{ margin: 16px; background: {paper}; }}</style><main>{drawings}</main></html>"""
PAPER = {"light": "#ffffff", "dark": "#14171c"}

# Of each drawing the words that lie on each other, run out of it or are smaller than 11.5 pixels, and those whose
# contrast to what is painted under their middle is too small.
FAULTS = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const over = (top, share, below) => below.map((c, i) => share * top[i] + (1 - share) * c);
  const light = (colour) => {
    const [r, g, b] = colour.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const faults = [];
  const paper = channels(getComputedStyle(document.body).backgroundColor).slice(0, 3);
  for (const drawing of document.querySelectorAll('svg.drawing')) {
    const told = drawing.getAttribute('aria-label').slice(0, 40);
    const canvas = [...drawing.querySelectorAll('svg')].filter((each) => each.checkVisibility());
    if (canvas.length !== 1) faults.push(`${told}: ${canvas.length} canvases`);
    const edge = drawing.getBoundingClientRect();
    if (Math.abs(edge.width / edge.height - canvas[0].viewBox.baseVal.width / canvas[0].viewBox.baseVal.height) > 0.01)
      faults.push(`${told}: not its shape`);
    const words = [...canvas[0].querySelectorAll('text')];
    const boxes = words.map((word) => [word.textContent, word.getBoundingClientRect()]);
    boxes.forEach(([a, p], i) => {
      const out = p.right > edge.right + 1 || p.left < edge.left - 1 || p.bottom > edge.bottom + 1;
      if (out) faults.push(`${told}: ${a} runs out`);
      const size = parseFloat(getComputedStyle(words[i]).fontSize) * edge.width / canvas[0].viewBox.baseVal.width;
      if (size < 11.5) faults.push(`${told}: ${a} has ${size} pixels`);
      for (const [b, q] of boxes.slice(i + 1)) {
        const across = p.left + 1 < q.right - 1 && q.left + 1 < p.right - 1;
        if (across && p.top + 3 < q.bottom - 3 && q.top + 3 < p.bottom - 3) faults.push(`${told}: ${a} | ${b}`);
      }
    });
    for (const word of words) {
      const box = word.getBBox();
      const middle = canvas[0].createSVGPoint();
      [middle.x, middle.y] = [box.x + box.width / 2, box.y + box.height / 2];
      let below = paper;
      for (const shape of canvas[0].querySelectorAll('rect, path')) {
        const before = shape.compareDocumentPosition(word) & Node.DOCUMENT_POSITION_FOLLOWING;
        const { fill, fillOpacity } = getComputedStyle(shape);
        if (before && fill !== 'none' && shape.isPointInFill(middle)) below = over(channels(fill), +fillOpacity, below);
      }
      const pair = [light(channels(getComputedStyle(word).fill)), light(below)].sort((a, b) => b - a);
      const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
      if (contrast < 4.5) faults.push(`${told}: ${word.textContent} has ${contrast.toFixed(2)}`);
    }
  }
  return faults;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_drawing_is_clear(page, tmp_path, width, theme):
    path = tmp_path / "drawings.html"
    drawings = "\n".join(kept(name).svg for name in names())
    path.write_text(PAGE.format(theme=theme, paper=PAPER[theme], drawings=drawings), encoding="utf-8")
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(path.as_uri())
    assert page.locator("svg.drawing").count() == len(names())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(FAULTS) == []
    assert page.errors == page.outside_requests == []


def test_the_check_finds_words_on_each_other_and_pale_ones(page):
    words = '<text x="{}" y="20" font-size="14" fill="{}">{}</text>'
    canvas = '<svg class="wide" viewBox="0 0 100 40">' + words.format(0, "#000", "one") + words.format(4, "#999", "two")
    page.set_content(
        '<body style="background: #fff"><svg class="drawing" aria-label="a" style="display: block; width: 100px; '
        f'height: 40px">{canvas}</svg></svg></body>'
    )
    found = page.evaluate(FAULTS)
    assert any("one | two" in each for each in found) and any("two has 2.8" in each for each in found)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_theme_of_the_page_goes_before_the_systems(page, theme):
    page.emulate_media(color_scheme="dark" if theme == "light" else "light")
    page.set_content(PAGE.format(theme=theme, paper=PAPER[theme], drawings=kept(names()[0]).svg))
    ink = page.locator("svg.drawing svg.wide text").first.evaluate("(word) => getComputedStyle(word).fill")
    assert ink == {"light": "rgb(27, 31, 36)", "dark": "rgb(230, 232, 235)"}[theme]
