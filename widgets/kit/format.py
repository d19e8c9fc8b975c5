"""Numbers as a reader meets them: bytes in powers of two, tokens with a comma, three significant figures.

format.js holds the same functions; tests/js/vectors.json holds both to the same words. Halves round up in both, because
Python's and JavaScript's own formatting part ways exactly there.
"""

import math

UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]


def rounded(x: float, digits: int) -> float:
    """x >= 0 with `digits` decimals, halves up."""
    return math.floor(x * 10**digits + 0.5) / 10**digits


def fixed(x: float, digits: int) -> str:
    """x >= 0 with exactly `digits` decimals: fixed(2, 2) is "2.00"."""
    return f"{rounded(x, digits):,.{digits}f}"


def signed(x: float, digits: int = 2) -> str:
    """A number with its sign and so many decimals: "0.98", "−0.12"; what rounds to nothing has no sign."""
    text = fixed(abs(x), digits)
    return f"−{text}" if x < 0 and text.strip("0.") else text


def significant(x: float) -> str:
    """x >= 0 to three significant figures, without the zeros that say nothing: "584", "9.07", "10"."""
    digits, scale = 2, x
    while 0 < scale < 1:
        digits, scale = digits + 1, scale * 10
    while scale >= 10 and digits > 0:
        digits, scale = digits - 1, scale / 10
    text = fixed(x, digits)
    return text.rstrip("0").rstrip(".") if "." in text else text


def count(n: int) -> str:
    """A whole number with thousands set apart: "131,072"."""
    return f"{n:,}"


def size(nbytes: float) -> str:
    """Bytes in the power-of-two unit that leaves one to four figures: "1,023 B", "9.07 MiB"."""
    unit = 0
    while unit < len(UNITS) - 1 and rounded(nbytes, 0) >= 1024:
        nbytes, unit = nbytes / 1024, unit + 1
    return f"{significant(nbytes)} {UNITS[unit]}"


def times(ratio: float) -> str:
    """A factor: "58.4 times"."""
    return f"{significant(ratio)} times"


def plural(number: int, one: str) -> str:
    """So many of a thing: "1 head", "1,204 heads"."""
    return f"{count(number)} {one}{'' if number == 1 else 's'}"


def visible(text: str) -> str:
    """The text of a token, its spaces and line ends made visible."""
    text = text.replace("\n", "↵").replace("\t", "⇥")
    return text.strip(" ") or text.replace(" ", "␣")


def shown(text: str, most: int = 18) -> str:
    """The text of a token, short enough for a sentence."""
    text = visible(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def capital(name: str) -> str:
    """With its first letter large."""
    return name[:1].upper() + name[1:]
