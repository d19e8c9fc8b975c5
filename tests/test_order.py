"""The Order says what its numbers say, and refuses what does not fit together."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from widgets import Order
from widgets.kit.base import unpacked

VECTORS = Path(__file__).parent / "js" / "order.json"
HOLDS, FACTS = (64, 512, 2048), (4, 16)
GAP = np.array([[0.05, 0.1], [0.3, 0.2], [-0.01, -0.4]])[..., None]
XL = 5 + np.arange(3) / 50 + np.zeros((3, 2, 1))
PERPLEXITY = {"Transformer-XL": XL, "memory": XL + GAP, "everything": XL * [1.2, 1.2, 0.9]}


def order(**changed):
    given = {
        "perplexity": PERPLEXITY,
        "carried": {"Transformer-XL": 65_536, "memory": 16_896, "everything": 2 << 20},
        "holds": HOLDS,
        "facts": FACTS,
        "pair": ("memory", "Transformer-XL"),
        "at": (2048, 16),
        "provenance": "a test",
    }
    return Order(**given | changed)


def test_its_words_say_the_cell_it_begins_with():
    assert repr(order()).splitlines() == [
        "Who is ahead, and what turns it? 2,048 tokens, 16 facts, each holds for all of them: memory is 8.0 % below "
        "Transformer-XL, in 3 of 3 seeds.",
        "4.62 (4.60 to 4.64)  memory, 16.5 KiB carried",
        "5.02 (5.00 to 5.04)  Transformer-XL, 64 KiB carried",
        "5.52 (4.54 to 6.02)  everything, 2 MiB carried",
    ]


def test_a_cell_says_how_many_seeds_agree():
    split = order(pair=("everything", "Transformer-XL"), at=(512, 4))
    told = "4 facts, each holds for 512 tokens: everything is 10.0 % above Transformer-XL, in 2 of 3 seeds."
    assert split.sentence(1, 0) == f"2,048 tokens, {told}"


def test_what_travels_is_what_was_given():
    data = order().data
    assert np.array_equal(unpacked(data["perplexity"]), np.stack(list(PERPLEXITY.values())))
    assert data["at"] == [2, 1] and data["seeds"] == 3 and data["holds"] == [64, 512, 2048]


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"facts": (4, 16, 64)}, r"Transformer-XL has shape \(3, 2, 3\); give \(3, 3, seeds\)"),
        ({"pair": ("memory", "nobody")}, "pair and carried must name them"),
        ({"carried": {"memory": 1}}, "pair and carried must name them"),
        ({"at": (100, 16)}, r"at is \(100, 16\); give one of \[64, 512, 2048\] tokens"),
    ],
)
def test_what_does_not_fit_is_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        order(**changed)


def vectors():
    """Every cell of two pairs, as Python tells it and the page is to."""
    told = []
    for pair in (("memory", "Transformer-XL"), ("everything", "Transformer-XL")):
        drawn = order(pair=pair)
        sent = {**drawn.data, "perplexity": unpacked(drawn.data["perplexity"]).round(9).ravel().tolist()}
        told += [[sent, [row, column], drawn.sentence(row, column)] for row, column in product(range(3), range(2))]
    return {"told": told, "twin": repr(order()).splitlines()}


def test_the_shared_vectors_are_what_python_says():
    assert json.loads(VECTORS.read_text(encoding="utf-8")) == json.loads(json.dumps(vectors()))


if __name__ == "__main__":  # writes the file anew, after a change that was meant
    lines = ",\n".join(json.dumps(each, ensure_ascii=False) for each in vectors()["told"])
    twin = json.dumps(vectors()["twin"])
    VECTORS.write_text(f'{{\n"told": [\n{lines}\n],\n"twin": {twin}\n}}\n', encoding="utf-8")
