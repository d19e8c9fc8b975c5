"""Numbers as a reader meets them: bytes in powers of two, tokens with a comma, three significant figures.

format.js holds the same functions; tests/js/format.json holds both to the same words. Halves round up in both, because
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


def capital(name: str) -> str:
    """With its first letter large."""
    return name[:1].upper() + name[1:]
