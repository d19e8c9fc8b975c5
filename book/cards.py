"""The pictures of the site that are not on its pages: what a shared link shows, and the icon as PNG.

A card is what somebody sees who is sent a link: the lesson's title, its question, and beside them a figure or a drawing
of that lesson as its page shows it, or the question of the interview that the course ends with.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFont

from solutions.lessons import lessons
from widgets.interview.bank import questions
from widgets.kit.tokens import TOKENS

ROOT = Path(__file__).resolve().parent.parent
ICON = ROOT / "book" / "_static" / "icon.svg"
DRAWINGS, FIGURES = ROOT / "widgets" / "drawings" / "printed", ROOT / "book" / "pictures"
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
PITCH = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["description"] + "."
COURSE = "course"  # the card of every page that belongs to no lesson
SIZE = WIDTH, HEIGHT = 1200, 630
WORDS, MARGIN = 400, 36  # the width of the side with the words; the space around what stands on either
FINE = 8  # a curve is drawn so many times as large, then made small
# What is seen of a lesson; of one that isn't named here, what is seen of the course.
PICTURES = {
    COURSE: DRAWINGS / "training_memory.png",
    "start_here": FIGURES / "start_here.png",
    "quadratic_attention": FIGURES / "quadratic_attention.png",
    "local_and_global": DRAWINGS / "cone_of_reach.png",
    "flash_attention": DRAWINGS / "three_counts.png",
    "flash_in_triton": DRAWINGS / "what_fits.png",
    "infini_attention": DRAWINGS / "bracket_moved.png",
    "deepseek_sparse_attention": DRAWINGS / "sparse_attention_whole.png",
    "from_2k_to_128k": DRAWINGS / "what_breaks_when.png",
}
ASKED = {"the_interview": "from-2k-to-128k"}  # a lesson whose picture is a question, with the points of its answer


# --- the icon ---


def icon(size: int, ground: str = "") -> Image.Image:
    """The icon, a square of `size` pixels: alone, or with space around it on a ground that isn't transparent.

    Raises ValueError where the SVG holds anything but rounded squares of one colour.
    """
    svg = ElementTree.parse(ICON).getroot()
    group, *others = svg
    _, _, side, _ = map(float, svg.attrib["viewBox"].split())
    margin = side / 6 if ground else 0
    scale = size * FINE / (side + 2 * margin)
    colour = ImageColor.getrgb(ground or group.attrib["fill"])
    image = Image.new("RGBA", (size * FINE, size * FINE), (*colour, 255 if ground else 0))
    for shape in group:
        if others or not shape.tag.endswith("}rect"):
            raise ValueError(f"{ICON.name} holds more than one group of rectangles; cards.py knows nothing else")
        x, y, width, height = (float(shape.attrib[name]) for name in ("x", "y", "width", "height"))
        layer = Image.new("RGBA", image.size)
        fill = (*ImageColor.getrgb(group.attrib["fill"]), round(255 * float(shape.get("opacity", 1))))
        box = [scale * (at + margin) for at in (x, y, x + width, y + height)]
        box[2:] = [at - 1 for at in box[2:]]  # Pillow draws the last pixel too
        ImageDraw.Draw(layer).rounded_rectangle(box, scale * float(shape.get("rx", 0)), fill)
        image = Image.alpha_composite(image, layer)
    image = image.reduce(FINE)
    return image.convert("RGB") if ground else image


# --- words ---


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONTS / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"), size)


def wrapped(words: str, width: float, face: ImageFont.FreeTypeFont) -> list[str]:
    """Words in lines, broken at spaces, but not between a number and its unit ("1 M"), and after hyphens."""
    lines = [""]
    for word in re.findall(r"(?:\d [A-Z]\b|[^ -])+-? *|- *", words):
        if lines[-1] and face.getlength((lines[-1] + word).rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return [line.rstrip() for line in lines]


def write(
    sheet: Image.Image, at: tuple[int, int], words: str, room: tuple[int, int], size: int, colour: str, bold=False
) -> int:
    """Words at a place, as large as `size` if they fit the room. Returns where they end."""
    for points in range(size, 9, -1):
        face, leading = font(points, bold), round(1.3 * points)
        lines = wrapped(words, room[0], face)
        if max(map(face.getlength, lines)) <= room[0] and leading * len(lines) <= room[1]:
            break
    else:
        raise ValueError(f"these words don't fit a card: {words}")
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        pen.text((at[0], at[1] + leading * number), line, TOKENS[colour], face)
    return at[1] + leading * len(lines)


# --- a card ---

Drawn = Callable[[Image.Image, tuple[int, int, int, int]], None]  # draws within x, y, width, height of a card


def picture(path: Path) -> Drawn:
    """A figure or drawing without the paper around it, as large as it fits, in the middle."""

    def draw(sheet: Image.Image, box: tuple[int, int, int, int]) -> None:
        x, y, width, height = box
        shown = Image.open(path).convert("RGB")
        around = ImageChops.difference(shown, Image.new("RGB", shown.size, TOKENS["paper"])).getbbox()
        shown = shown.crop(around)
        scale = min(width / shown.width, height / shown.height)
        shown = shown.resize((round(shown.width * scale), round(shown.height * scale)), Image.Resampling.LANCZOS)
        sheet.paste(shown, (x + (width - shown.width) // 2, y + (height - shown.height) // 2))

    return draw


def asked(name: str) -> Drawn:
    """A question of the interview, and a box to tick for each point of its answer."""
    question = next(each for each in questions() if each.id == name)

    def draw(sheet: Image.Image, box: tuple[int, int, int, int]) -> None:
        x, y, width, height = box
        pen, end = ImageDraw.Draw(sheet), y + height
        when = f"{question.level} · {question.minutes} minutes".capitalize()
        y = write(sheet, (x, y + 8), when, (width, 40), 20, "ink-2") + 12
        y = write(sheet, (x, y), question.title, (width, 160), 34, "ink", bold=True) + 30
        for point in question.points:
            pen.rounded_rectangle((x, y + 2, x + 22, y + 24), 4, None, TOKENS["mark"], 2)
            y = write(sheet, (x + 40, y), point.replace("`", ""), (width - 40, end - y), 20, "ink") + 18

    return draw


def card(title: str, question: str, number: str, drawn: Drawn) -> Image.Image:
    sheet = Image.new("RGB", SIZE, TOKENS["paper"])
    ImageDraw.Draw(sheet).rectangle((0, 0, WORDS, HEIGHT), TOKENS["panel"])
    mark, room = icon(40), WORDS - 2 * MARGIN
    sheet.paste(mark, (MARGIN, MARGIN), mark)
    write(sheet, (MARGIN + 56, MARGIN + 7), "Attention at Length" if number else "", (room - 56, 40), 22, "ink-2")
    end = write(sheet, (MARGIN, 160), title, (room, 190), 46, "ink", bold=True)
    write(sheet, (MARGIN, end + 20), question, (room, HEIGHT - MARGIN - 60 - end), 28, "ink")
    write(sheet, (MARGIN, HEIGHT - MARGIN - 24), number, (room, 30), 20, "ink-2")
    drawn(sheet, (WORDS + MARGIN, MARGIN, WIDTH - WORDS - 2 * MARGIN, HEIGHT - 2 * MARGIN))
    return sheet


def named(page: str) -> str:
    """The card of a page ("interview/flash_attention"): of the lesson that it belongs to, or the course's."""
    name = re.sub(r"^\d+_", "", page.rpartition("/")[2])
    return name if name in {each.name for each in lessons()} else COURSE


def words(name: str) -> str:
    """What a card says, for those who don't see it."""
    said = {each.name: f"Lesson {each.number}, {each.title}: {each.question}" for each in lessons()}
    return said.get(name, f"Attention at Length. {PITCH}")


def keep(folder: Path) -> None:
    """All cards and icons, into the folder of what goes to the root of the site."""
    (folder / "cards").mkdir(parents=True)
    cards = {COURSE: card("Attention at Length", PITCH, "", picture(PICTURES[COURSE]))}
    for each in lessons():
        drawn = asked(ASKED[each.name]) if each.name in ASKED else picture(PICTURES.get(each.name, PICTURES[COURSE]))
        cards[each.name] = card(each.title, each.question, f"Lesson {each.number}", drawn)
    for name, image in cards.items():
        image.quantize(256, dither=Image.Dither.NONE).save(folder / "cards" / f"{name}.png", optimize=True)
    icon(32).save(folder / "icon-32.png", optimize=True)
    icon(180, TOKENS["paper"]).save(folder / "apple-touch-icon.png", optimize=True)
