"""One case laid open: what went in, what was expected, what came out. `case(softmax)` shows the one that was refused.

Small tensors are printed whole, large ones by their shape; the values themselves are at hand either way.
"""

from dataclasses import dataclass

from torch import Tensor

WHOLE = 100  # entries of a tensor that is printed whole
LONGEST = 400  # characters of any other value


@dataclass(frozen=True, repr=False)
class ShownCase:
    """label: as in the refusal; inputs: name -> value, made anew, in the order in which the function takes them.

    expected, got: what ours gives and what the refused answer gave, None where it stopped; fault: what was wrong, or
    "" where nothing was refused.
    """

    label: str
    inputs: dict[str, object]
    expected: object
    got: object = None
    fault: str = ""

    def __repr__(self) -> str:
        lines = [f"case '{self.label}'" + (f": {self.fault}" if self.fault else "")]
        lines += [beside(f"{name} = ", value) for name, value in self.inputs.items()]
        lines.append(beside("expected: ", self.expected))
        if self.fault and self.got is not None:
            lines.append(beside("got:      ", self.got))
        return "\n".join(lines)


def beside(head: str, value: object) -> str:
    """`head` and the value's text, whose further lines begin below its first."""
    return head + text(value).replace("\n", "\n" + " " * len(head))


def text(value: object) -> str:
    """A value in words; whatever its own `__repr__` does, this one raises nothing."""
    try:
        if isinstance(value, Tensor) and value.numel() > WHOLE:
            return f"tensor of shape {tuple(value.shape)}, {value.dtype}"
        if isinstance(value, tuple | list) and any(isinstance(part, Tensor) for part in value):
            parts = ",\n ".join(text(part).replace("\n", "\n ") for part in value)
            return f"({parts})"
        given = repr(value)
    except Exception:
        return f"a value of type {type(value).__name__}, which cannot be printed"
    short = isinstance(value, Tensor) or len(given) <= LONGEST
    return given if short else given[:LONGEST].rsplit(" ", 1)[0] + " ..."
