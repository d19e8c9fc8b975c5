"""The scenes of the lesson on quadratic attention."""

from typing import Any

import torch

from solutions.quadratic import turn_pair
from widgets.scenes.scene import Dial, scene

QUERY, KEY, THETA = (2.0, 1.0), (1.0, 3.0), 0.5
PLACES, DISTANCES = range(0, 17), range(0, 9)


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
