"""What stands in the cell of an exercise before its reader has written anything.

Signature and docstring, and dots for the body. An exercise that goes on from earlier ones marks in its reference the
lines that those don't have, `acc = tl.zeros(...)  # new: the output so far`. Its cell begins with all its other lines,
and of the new ones it keeps the name and the words: `acc = ...  # your code here: the output so far`.
"""

import re

NEW = re.compile(r"( *)([\w, ]+ = )?\S.*  # new: (.+)")


def code_lines(body: list[str]) -> list[str]:
    """The lines that a reader writes of a body without its docstring: those marked new, or else all that hold code."""
    code = [line for line in body if line.strip() and not line.strip().startswith("#")]
    return [line for line in code if NEW.fullmatch(line)] or code


def blank(head: list[str], body: list[str]) -> str:
    """What the cell begins with: a function's head, to the end of its docstring, and its body left blank.

    Lines that aren't new are the course's. A reader's own, from the answers that were kept, would take their place
    here.
    """
    if any(map(NEW.fullmatch, body)):
        return "\n".join([*head, *(NEW.sub(r"\1\2...  # your code here: \3", line) for line in body)])
    count = len(code_lines(body))
    return "\n".join([*head, f"    ...  # your code here, about {count} line{'s' if count > 1 else ''}"])


def bare(source: str) -> str:
    """A blank cell as nbgrader leaves it: dots alone, also where a name stood before them."""
    return re.sub(r"^( *)[\w, ]+ = \.\.\.", r"\1...", source, flags=re.MULTILINE)
