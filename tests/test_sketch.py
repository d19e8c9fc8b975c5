"""The Sketch says what its numbers say, keeps the answer to itself, and refuses what does not fit together."""

import json
from pathlib import Path

import numpy as np
import pytest

from solutions.checkpoints import about
from widgets import Sketch
from widgets.kit.base import unpacked
from widgets.sketch import found_by_distance

VECTORS = Path(__file__).parent / "js" / "sketch.json"
DISTANCES = (2, 4, 8, 32)
CURVES = {"all local": [1.0, 0.5, 0.1, 0.0], "all global": [1.0, 1.0, 0.9, 0.8]}
DRAWN = [
    [None, None, None, None],
    [None, 60, None, None],
    [100, None, 40, None],
    [80, None, None, 20],
    [100, 50, 10, 0],
    [0, 0, 100, 100],
]


def sketch(**changed):
    given = {"question": "What is lost?", "distances": DISTANCES, "curves": CURVES, "marks": {4: "here"}}
    return Sketch(**given | {"provenance": "a test"} | changed)


def test_its_words_ask_and_give_nothing_away():
    said = repr(sketch())
    assert said == (
        "What is lost? Draw the share of values that all local finds at each distance, with the pointer or the two "
        "sliders. Then reveal."
    )
    assert said == repr(sketch(curves={"all local": [0.9, 0.9, 0.9, 0.9]}))


def test_what_is_not_drawn_lies_on_a_straight_line_of_the_page():
    assert sketch().whole([100, None, 40, None]) == pytest.approx([1.0, 0.7, 0.4, 0.4])  # 4 is half way from 2 to 8
    assert sketch().whole([80, None, None, 20]) == pytest.approx([0.8, 0.65, 0.5, 0.2])  # 1, 2 and 4 doublings
    assert sketch().whole([None, 60, None, None]) == pytest.approx([0.6] * 4)


def test_the_reveal_says_how_far_off_the_reader_was_in_one_number():
    assert sketch().sentence([100, None, 40, None]).startswith("You drew 2 of 4 distances")
    off = (0 + 0.2 + 0.3 + 0.4) / 4
    assert sketch().sentence([100, None, 40, None], revealed=True) == (
        f"You are {off:.2f} away on average over 4 distances. "
        "Farthest off at 32 tokens: you drew 0.40, measured is 0.00."
    )
    assert "You are 0.00 away" in sketch().sentence([100, 50, 10, 0], revealed=True)


def test_the_models_with_windows_are_the_lesson_s():
    asked = Sketch(**found_by_distance("all-local", "every-third-global"))
    found = about("window")
    assert asked.data["distances"] == found["settings"]["edges"]
    for name, pattern in (("all local", "all-local"), ("every third global", "every-third-global")):
        runs = [run for run in found["runs"] if run["pattern"] == pattern and run["steps"] == 250]
        assert len(runs) == 3
        mean = [sum(each) / 3 for each in zip(*(run["recall_by_distance"] for run in runs), strict=True)]
        assert asked.curves[name] == pytest.approx(mean)
    at = dict(zip(asked.data["distances"], asked.curves["all local"], strict=True))
    assert [round(float(at[distance]), 3) for distance in (7, 10, 22)] == [0.997, 0.525, 0.045]
    assert round(float(asked.curves["every third global"].min()), 3) == 0.939
    assert dict(asked.data["marks"]) == {7: "one window: 7", 42: "6 windows: 42"}
    assert "0." not in repr(asked)
    with pytest.raises(ValueError, match="no run of 'nobody'"):
        found_by_distance("nobody")


def test_what_travels_is_what_was_given():
    data = sketch().data
    assert np.array_equal(unpacked(data["curves"]), list(CURVES.values())) and data["names"] == list(CURVES)
    assert data["distances"] == list(DISTANCES) and data["marks"] == [[4, "here"]]


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"distances": (4, 2, 8, 32)}, r"distances are \[4, 2, 8, 32\]; give two or more, rising from 1"),
        ({"distances": (0, 2, 8, 32)}, "rising from 1 or more"),
        ({"curves": {"all local": [1.0, 0.5]}}, "the curve of all local needs 4 shares from 0 to 1"),
        ({"curves": {"all local": [1.0, 0.5, 0.1, float("nan")]}}, "needs 4 shares from 0 to 1"),
        ({"curves": {"all local": [1.0, 50.0, 0.1, 0.0]}}, "needs 4 shares from 0 to 1"),
    ],
)
def test_what_does_not_fit_is_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        sketch(**changed)


def vectors():
    """Drawings, as Python tells them and completes them, and the page is to."""
    asked = sketch()
    sent = {**asked.data, "curves": unpacked(asked.data["curves"]).ravel().tolist()}
    told = [[drawn, seen, asked.sentence(drawn, seen)] for drawn in DRAWN for seen in (False, True) if any(drawn)]
    told.append([DRAWN[0], False, asked.sentence(DRAWN[0])])
    return {
        "data": sent,
        "told": told,
        "whole": [[drawn, asked.whole(drawn).round(9).tolist()] for drawn in DRAWN if any(drawn)],
    }


def test_the_shared_vectors_are_what_python_says():
    assert json.loads(VECTORS.read_text(encoding="utf-8")) == json.loads(json.dumps(vectors()))


if __name__ == "__main__":  # writes the file anew, after a change that was meant
    lines = ",\n".join(f'"{name}": {json.dumps(each, ensure_ascii=False)}' for name, each in vectors().items())
    VECTORS.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
