"""What a tensor or a tile is for, read off its name: its colour, and its part in attention.

A kernel's author names pointers and tiles `q`, `q_ptr`, `q_tile`, `grad_q`, `dq`, `m_i`; all of them say what they are.
"""

from widgets.kit.roles import TOKEN

ENDINGS = ("_ptr", "_pointer", "_ptrs", "_tile", "_block", "_i", "_new", "_old", "_rows")
STATISTICS = ("l", "ell", "alpha", "delta", "total", "maximum", "lse_i", "log_sum_exp", "denominator")
MAXIMA = ("m", "row_max", "rowmax", "maximum", "max")
SUMS = ("l", "ell", "row_sum", "rowsum", "total", "sum", "denominator")


def stem(name: str) -> str:
    """ "m" of "m" and of "m_i": what m_new replaces."""
    return name.removesuffix("_i").removesuffix("_old")


def bare(name: str) -> str:
    """The name without what says only that it is a pointer, a tile or a later value: "q_ptr" and "q_tile" are "q"."""
    word = name.lower()
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) > len(ending):
            return word.removesuffix(ending)
    return word


def is_gradient(name: str) -> bool:
    """Whether this is the gradient of something: "grad_q", "q_grad", "dq"."""
    word = bare(name)
    return word.startswith("grad_") or word.endswith("_grad") or (word[0] == "d" and word[1:] in TOKEN)


def part(name: str) -> str | None:
    """ "q", "k", "v", "s" (scores or weights), "o", "m" (a statistic of a row), or None for what attention has not."""
    word = bare(name)
    if is_gradient(name):
        word = word.removeprefix("grad_").removesuffix("_grad") if "grad" in word else word[1:]
    if word in STATISTICS:
        return "m"
    return TOKEN.get(word) or TOKEN.get(word.rsplit("_", 1)[-1]) or TOKEN.get(word.split("_", 1)[0])


def label(name: str, is_matrix: bool) -> str:
    """How a tensor is called in a picture: a matrix of one letter as the papers write it, Q; else its own name."""
    word = name.removesuffix("_ptr").removesuffix("_pointer")
    return word.upper() if len(word) == 1 and (is_matrix or part(word) in ("q", "k", "v", "o")) else word
