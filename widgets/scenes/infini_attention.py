"""The scenes of the lesson on Infini-attention."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from solutions.infini import gate, retrieve, update_linear
from solutions.quadratic import attention
from widgets.scenes.scene import Dial, scene

VALUES = torch.tensor([[1.0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 3, 3]], dtype=torch.float64)
OVERLAPS = {"0": 0.0, "1/6": 1 / 6, "1/3": 1 / 3, "1/2": 1 / 2, "2/3": 2 / 3}  # cosine of any two of the three keys
PAIRS = (1, 2, 3, 30)


def overlapping(cosine: float) -> Tensor:
    """Three keys of four numbers and length 1, (3, 4), any two with this cosine: one number is raised in all."""
    # e_i + a has length² 1 + u and products u with its like, u = 2 a + 4 a²; so the cosine is u / (1 + u)
    a = (math.sqrt(1 + 4 * cosine / (1 - cosine)) - 1) / 4
    return F.normalize(torch.eye(4, dtype=torch.float64)[:3] + a, dim=-1)


def thirty(cosine: float) -> tuple[Tensor, Tensor]:
    """Keys and values, (30, 4) each: the three, then pairs at random."""
    generator = torch.Generator().manual_seed(0)
    keys, values = torch.randn(2, PAIRS[-1] - 3, 4, generator=generator, dtype=torch.float64).unbind(0)
    return torch.cat([overlapping(cosine), F.normalize(keys, dim=-1)]), torch.cat([VALUES, values])


def filled(cosine: float, pairs: int) -> tuple[Tensor, Tensor, list[int]]:
    """M with so many pairs in it, what key 2 reads, and of each pair the one whose value its read points to best."""
    keys, values = (each[:pairs] for each in thirty(cosine))
    memory = keys.mT @ values
    nearest = F.normalize(keys @ memory, dim=-1) @ F.normalize(values, dim=-1).mT
    return memory, thirty(cosine)[0][1] @ memory, nearest.argmax(dim=-1).tolist()


def told(numbers: Tensor) -> str:
    """A vector as a sentence has it."""
    return f"({', '.join(f'{x:.2f}'.rstrip('0').rstrip('.').replace('-', '−') for x in (numbers + 0.0).tolist())})"


@scene
def outer_products() -> dict[str, Any]:
    """A matrix of 4 × 4 is filled pair by pair, and one key reads it."""
    names, cosines = list(OVERLAPS), list(OVERLAPS.values())
    found = [[filled(cosine, pairs) for cosine in cosines] for pairs in PAIRS]
    right = [[sum(i == best for i, best in enumerate(nearest)) for *_, nearest in row] for row in found]

    def says(pairs: int, overlap: int) -> str:
        _, read, nearest = found[pairs][overlap]
        count = ("One pair", "Two pairs", "Three pairs", "Thirty pairs")[pairs]
        start = f"{count} in 16 numbers, keys 1 to 3 at a cosine of {names[overlap]}. "
        if PAIRS[pairs] < 2:
            return start + f"Key 2 is not written yet, and reads back *{told(read)}*."
        return start + f"Key 2 reads back *{told(read)}*, most like value {nearest[1] + 1}."

    return {
        "question": "Can 4 × 4 numbers remember three things? Can they remember thirty?",
        "dials": [
            Dial("pairs written", ["1 pair written", *(f"{n} pairs written" for n in PAIRS[1:])], at=2, kind="player"),
            Dial("overlap of keys", [f"keys overlap by {name}" for name in names]),
        ],
        "says": says,
        "drawn": {
            "pairs": PAIRS,
            "keys": [overlapping(cosine).tolist() for cosine in cosines],
            "values": VALUES.tolist(),
            "memories": [[memory.flatten().tolist() for memory, *_ in row] for row in found],
            "reads": [[read.tolist() for _, read, _ in row] for row in found],
            "right": right,
        },
        "rows": [
            ["pairs written", "cosine of keys 1 to 3", "key 2 reads", "pairs that come back"],
            *([n, names[j], told(found[i][j][1]), f"{right[i][j]} of {n}"]
              for i, n in enumerate(PAIRS) for j in range(len(names))),
        ],
        "provenance": "computed, keys of length 1; most like: the largest cosine among all values written",
    }  # fmt: skip


ORDERS = {"read first": ("read", "attend", "mix", "write"), "write first": ("write", "read", "attend", "mix")}


def largest_slopes(order: tuple[str, ...]) -> list[tuple[float, int, int]]:
    """After each step, the largest slope of what a token has got so far by a later token of the segment.

    Third segment of three, of 4 tokens, one head of 6; queries, keys and values are the tokens; the gate at 1/2.
    Returns (slope, token, later token), tokens from 0.
    """
    tokens = torch.randn(12, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before = update_linear(tokens[:8], tokens[:8], tokens.new_zeros(6, 6), tokens.new_zeros(6))

    def got(x: Tensor, steps: tuple[str, ...]) -> Tensor:
        """Everything that each token has got after these steps, (4, numbers)."""
        memory, has = before, {"x": 0 * x}
        for step in steps:
            if step == "write":
                memory = update_linear(x, x, *memory)
            if step == "read":
                has["memory"] = retrieve(x, *memory)
            if step == "attend":
                has["local"] = attention(x, x, x, causal=True)
            if step == "mix":
                has = {"out": gate(x.new_zeros(1), has["memory"][None], has["local"][None])[0]}
        return torch.cat([*has.values()], dim=-1)

    found = []
    for done in range(1, len(order) + 1):
        slopes = torch.autograd.functional.jacobian(lambda x, done=done: got(x, order[:done]), tokens[8:])
        later = slopes.abs().amax(dim=(1, 3)).triu(1)  # (token, later token)
        found.append((later.max().item(), *divmod(int(later.argmax()), 4)))
    return found


@scene
def one_segment() -> dict[str, Any]:
    """One segment in four steps, and the leak of the wrong order."""
    found = {name: largest_slopes(order) for name, order in ORDERS.items()}
    _, token, later = found["write first"][-1]
    ends = f"by the end the slope of o{token + 1} by x{later + 1} is"
    said = {
        "read first": (
            "Each token reads M, which holds *the segments before* and nothing else.",
            "Each token attends to itself and to the tokens before it in the segment.",
            "The gate mixes both, here half and half, into the outputs o1 to o4.",
            "Only now are x1 to x4 added to M, for the next segment. *No output depends on a later token.*",
        ),
        "write first": (
            "The segment is added to M before anybody has read.",
            f"Now x{token + 1} reads an M that holds x{later + 1}, a later token: *the future leaks*.",
            "Attention is causal, as before. It can't take the leak back.",
            f"The gate halves the leak and passes it on: {ends} *{found['write first'][-1][0]:.2f}*.",
        ),
    }
    return {
        "question": "One segment: read, attend, mix, write. What if it is written first?",
        "dials": [
            Dial("step", [f"step {i + 1} of 4" for i in range(4)], at=3, kind="player"),
            Dial("order", [*ORDERS], kind="switch"),
        ],
        "says": lambda step, order: said[[*ORDERS][order]][step],
        "drawn": {
            "orders": [*ORDERS.values()],
            "slopes": [[slope for slope, *_ in each] for each in found.values()],
            "leak": [token, later],
        },
        "rows": [
            ["after step", *(f"{name}: step, largest slope by a later token" for name in ORDERS)],
            *([i + 1, *(f"{ORDERS[name][i]}, {found[name][i][0]:.2f}" for name in ORDERS)] for i in range(4)),
        ],
        "provenance": "slopes by autograd: the third segment of three, 4 tokens, a head of 6, random, gate at 1/2",
    }
