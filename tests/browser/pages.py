"""What the tests of the instruments share: their pages, a visit that must end quietly, axe, words that clash."""

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe

from widgets.kit.base import static_assets, static_kinds

# By default axe fetches the page's style sheets anew, which file:// refuses; the rules asked for here need none of it.
AXE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "preload": False, "resultTypes": ["violations"]}
CONTRAST = AXE | {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
# Text looks alike in thousands of places, and axe takes milliseconds over each. Of what has the same colour, size and
# weight before the same grounds it is asked for the first, on all pages together; what is laid over something else is
# asked for wherever it says something else.
MARK = """(known) => {
  const [seen, fresh, grounds] = [new Set(known), [], new Map([[null, ['', false]]])];
  for (const el of document.querySelectorAll('html, body, body *')) {
    el.removeAttribute('data-judged');
    const style = getComputedStyle(el);
    const {backgroundColor, backgroundImage, opacity, filter, position, mixBlendMode} = style;
    const [below, laid] = grounds.get(el.parentElement);
    const own = [backgroundColor, backgroundImage, opacity, filter, mixBlendMode];
    const plain = own.filter((word) => !['rgba(0, 0, 0, 0)', 'none', '1', 'normal'].includes(word)).join();
    const over = laid || ['absolute', 'fixed', 'sticky'].includes(position);
    const ground = plain ? `${below}/${plain}` : below;
    grounds.set(el, [ground, over]);
    const field = el.matches('input, select, textarea');
    const says = field || [...el.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!says || !el.checkVisibility()) continue;
    const {color, fill, fontSize, fontWeight, textShadow} = style;
    let key = [color, fill, fontSize, fontWeight, textShadow, el.namespaceURI, ground].join();
    if (over || field) key += [el.className, el.parentElement.className, el.value ?? el.textContent.trim()].join('|');
    if (seen.has(key)) continue;
    for (const name of ['data-judged', 'data-kept']) el.setAttribute(name, '');
    seen.add(key);
    fresh.push(key);
  }
  return fresh;
}"""
CONTRAST_OF_MARKED = "axe.configure({ rules: [{ id: 'color-contrast', selector: '[data-judged], [data-judged] *' }] })"
JUDGED: set[str] = set()  # the looks that axe was content with, on any page
# The words of code stand in an element each, most of a page's elements, and axe walks over all. What looks like no
# other word in some theme (it was marked) stays, the rest becomes plain text.
PLAIN_CODE = """() => {
  const words = [...document.querySelectorAll('pre span:not([data-kept])')];
  for (const word of words.reverse()) if (!word.children.length) word.replaceWith(word.textContent);
}"""
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><link rel="stylesheet" href="instruments.css"><script src="instruments.js"></script>
<main>{instruments}</main></html>"""
NASTY = ["</script><script>window.hacked = 1</script>", '"><img src=x onerror="window.hacked = 1">', "👩‍🚀", "مرحبا"]
NASTY += ["x" * 10_000, "", " ", "\n", "‘quoted’", "&lt;"]

# The words of the pictures that lie on each other. A pixel or two is taken off each side, where letters have no ink.
CLASHES = """() => {
  const clashes = new Set();
  for (const picture of document.querySelectorAll('.al svg')) {
    const words = [...picture.querySelectorAll('text')].filter((word) => word.textContent && word.checkVisibility());
    const boxes = words.map((word) => [word.textContent, word.getBoundingClientRect()]);
    const edge = picture.closest('.al').getBoundingClientRect();
    boxes.forEach(([a, p], i) => {
      if (p.right > edge.right || p.left < edge.left) clashes.add(a);
      for (const [b, q] of boxes.slice(i + 1)) {
        const across = p.left + 1 < q.right - 1 && q.left + 1 < p.right - 1;
        if (across && p.top + 2 < q.bottom - 2 && q.top + 2 < p.bottom - 2) clashes.add(`${a} | ${b}`);
      }
    });
  }
  return [...clashes];
}"""


def write(folder: Path, title: str, pages: dict[str, str]) -> Path:
    """A folder of pages, name -> the static HTML of its instruments, with what they load beside them."""
    for name, text in static_assets().items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "kinds").mkdir(exist_ok=True)
    for name, text in static_kinds().items():
        (folder / "kinds" / name).write_text(text, encoding="utf-8")
    for name, instruments in pages.items():
        (folder / f"{name}.html").write_text(PAGE.format(title=title, instruments=instruments), encoding="utf-8")
    return folder


def visits(page, folder: Path, height: int = 800) -> Iterator[Callable]:
    """For a fixture: `visit(name, width, theme)` opens a page; in the end nothing failed or asked for the network."""

    def visit(name: str, width: int = 1000, theme: str = "light", reduced_motion: str = "no-preference"):
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=theme, reduced_motion=reduced_motion)
        page.goto((folder / f"{name}.html").as_uri())
        page.wait_for_function("document.querySelectorAll('[data-twin]:not([hidden])').length === 0")
        settle(page)
        return page

    yield visit
    assert page.errors == []
    assert page.outside_requests == []


def settle(page) -> None:
    """Two frames: one to draw in, one to be sure that it was drawn."""
    page.evaluate(
        "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 30))))"
    )


def told(page) -> str:
    return page.locator(".al-say").first.inner_text()


def stage(page):
    return page.get_by_role("application").first


def pressed(page, where, *keys: str) -> None:
    """Put the focus somewhere and press keys."""
    where.focus()
    for key in keys:
        page.keyboard.press(key)
    settle(page)


def choose(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).first.click()
    settle(page)


def faults(page) -> list[str]:
    """What axe finds: of contrast where a look is new, of everything else everywhere."""
    return asked(page, AXE)


def pale(page) -> list[str]:
    """What axe finds of contrast alone, which differs between light and dark."""
    return asked(page, CONTRAST)


def asked(page, options: dict) -> list[str]:
    fresh = page.evaluate(MARK, [*JUDGED])
    if options is CONTRAST and not fresh:
        return []
    if not page.evaluate("'axe' in window"):
        page.evaluate(Axe().axe_script)
        page.evaluate(CONTRAST_OF_MARKED)
    violations = page.evaluate("(options) => axe.run(options).then(({ violations }) => violations)", options)
    found = [f"{fault['id']}: {node['target']}" for fault in violations for node in fault["nodes"]]
    if not any(each.startswith("color-contrast:") for each in found):
        JUDGED.update(fresh)
    return found


def look_over(page, widths: tuple[int, ...] = (1000, 390)) -> None:
    """On a page that is open: at every width, in light and in dark, axe finds nothing."""
    for width, theme in product(widths, ("light", "dark")):
        page.set_viewport_size({"width": width, "height": page.viewport_size["height"]})
        page.emulate_media(color_scheme=theme)
        settle(page)
        assert page.locator(f".al:not([data-theme='{theme}'])").count() == 0
        assert (faults if theme == "light" else pale)(page) == [], (width, theme)
