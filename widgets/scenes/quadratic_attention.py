"""The scenes of the lesson on quadratic attention."""

from typing import Any

import torch

from solutions.quadratic import causal_mask, softmax, turn_pair
from widgets.drawings.quadratic_attention import SIX, WORDS
from widgets.scenes.scene import Dial, scene

QUERY, KEY, THETA = (2.0, 1.0), (1.0, 3.0), 0.5
PLACES, DISTANCES = range(0, 17), range(0, 9)
STEPS, STEP = range(0, 11), 0.2  # where sat can ask from, on both axes
SAT = WORDS.index("sat")
TEXT, WRITING = 12, ["with a cache", "without a cache"]  # tokens written, and how


def read_from(animal: float, place: float) -> tuple[list[float], list[float]]:
    """The shares in which a word that asks with (animal, place, 0) reads the six, and where it lands on the plane."""
    shares = softmax(torch.tensor([animal, place, 0.0]) @ SIX.T)
    return shares.tolist(), (shares @ SIX)[:2].tolist()


def named(number: float) -> str:
    """1, 0.8: without the zeros that say nothing."""
    return f"{number:.1f}".removesuffix(".0")


@scene
def plane_of_words() -> dict[str, Any]:
    """One word asks, all six are read, in shares that follow from where it asks: lines as thick as the shares."""
    grid = [[read_from(STEP * i, STEP * j) for j in STEPS] for i in STEPS]

    def says(i: int, j: int) -> str:
        shares, (animal, place) = grid[i][j]
        most = [word for word, share in zip(WORDS, shares, strict=True) if max(shares) - share < 1e-6]
        first = f"sat asks with ({named(STEP * i)}, {named(STEP * j)})."
        where = f"It lands at ({animal:.2f}, {place:.2f})"
        if len(most) == len(WORDS):
            return f"{first} *Each word gets {max(shares):.3f}* of its attention. {where}."
        each = " each" if len(most) > 1 else ""
        names = f"{', '.join(most[:-1])} and {most[-1]}" if len(most) > 1 else most[0]
        return f"{first} *{names}: {max(shares):.3f}{each}*. {where}."

    said = {(i, j): read_from(i, j) for i, j in ((1, 1), (2, 0), (0, 2), (0, 0))}
    return {
        "question": "How does one word read six?",
        "dials": [
            Dial("animal", [f"sat asks: animal {named(STEP * i)}" for i in STEPS], at=5),
            Dial("place", [f"sat asks: place {named(STEP * j)}" for j in STEPS], at=5),
        ],
        "says": says,
        "drawn": {
            "words": WORDS,
            "places": SIX[:, :2].tolist(),
            "sat": SAT,
            "step": STEP,
            "shares": [[shares for shares, _ in row] for row in grid],
            "lands": [[where for _, where in row] for row in grid],
        },
        "rows": [
            ["sat asks with", *(f"{word} {i}" for i, word in enumerate(WORDS)), "lands at"],
            *(
                [f"({i}, {j})", *(f"{share:.3f}" for share in shares), "({:.2f}, {:.2f})".format(*lands)]
                for (i, j), (shares, lands) in said.items()
            ),
        ],
        "provenance": "products of the lesson's six words, the course's softmax; the third number of sat is 0",
    }


@scene
def two_hands() -> dict[str, Any]:
    """RoPE: both arrows turn as the text goes on, and the angle between them stays."""
    query, key = torch.tensor(QUERY), torch.tensor(KEY)

    def product(j: int, distance: int) -> float:
        return float(turn_pair(query, j + distance, THETA) @ turn_pair(key, j, THETA))

    products = [product(0, distance) for distance in DISTANCES]
    return {
        "question": "Both arrows turn as the text goes on. What stays?",
        "dials": [
            Dial("place of the key", [f"key at place {j}" for j in PLACES], kind="player"),
            Dial("distance", [f"query {distance} further on" for distance in DISTANCES], at=2),
        ],
        "says": lambda j, distance: (
            f"Query at place {j + distance}, key at place {j}: {distance} apart, "
            f"and the product is *{product(j, distance):.4f}*."
        ),
        "drawn": {"query": QUERY, "key": KEY, "theta": THETA, "products": products, "places": len(PLACES)},
        "rows": [
            ["distance", "product", "product, key 100 places further on"],
            *([d, f"{product(0, d):.4f}", f"{product(100, d):.4f}"] for d in DISTANCES),
        ],
        "provenance": f"q = (2, 1), k = (1, 3), {THETA} radians a token; each pair turned by the course's turn_pair",
    }


def scores_made(tokens: int) -> tuple[int, int]:
    """Scores that a model makes to write so many tokens one after the other: with a cache, and without."""
    cached = sum(causal_mask(1, i).numel() for i in range(1, tokens + 1))
    anew = sum(causal_mask(i, i).numel() for i in range(1, tokens + 1))
    return cached, anew


@scene
def token_by_token() -> dict[str, Any]:
    """Writing a text: with a cache a new token makes one row of scores, without it all rows are made anew."""
    made = [scores_made(i) for i in range(1, TEXT + 1)]

    def says(stop: int, kept: int) -> str:
        i = stop + 1
        cached, anew = made[stop]
        if kept == 0:
            return f"Token {i} makes its own row, {i} scores. So far *{cached:,}*, without a cache {anew:,}."
        return f"Token {i} makes all {i} rows of {i} anew. So far *{anew:,}* scores, with a cache {cached:,}."

    return {
        "question": "What does a new token have to compute?",
        "dials": [
            Dial("tokens written", [f"token {i}" for i in range(1, TEXT + 1)], at=7, kind="player"),
            Dial("keys and values of earlier tokens", WRITING, kind="switch"),
        ],
        "says": says,
        "drawn": {"made": made, "names": WRITING},
        "rows": [
            ["tokens", "scores with a cache", "scores without", "times as many"],
            *([i, f"{a:,}", f"{b:,}", f"{b / a:.2f}"] for i, (a, b) in enumerate(made, 1)),
        ],
        "provenance": "counted on the course's causal masks, one head of one layer",
    }
