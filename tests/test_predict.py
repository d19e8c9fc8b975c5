"""A prediction keeps its answer to itself, and refuses a question that can't be answered."""

import pytest

from widgets import predict


def test_its_words_never_tell_the_answer():
    instrument = predict("8 times the tokens?", ["8 times", "16 times", "64 times"], "64 times", "Pairs.")
    assert repr(instrument) == "predict: 8 times the tokens? [8 times | 16 times | 64 times]"
    assert instrument.data == {
        "question": "8 times the tokens?",
        "choices": ["8 times", "16 times", "64 times"],
        "answer": 2,
        "why": "Pairs.",
    }
    assert instrument.reader == {}


def test_without_an_answer_there_is_none_to_find():
    assert predict("Which?", ["a", "b"]).data["answer"] is None


def test_choices_may_be_numbers():
    assert predict("How many?", [8, 16], answer=16).data == {
        "question": "How many?",
        "choices": ["8", "16"],
        "answer": 1,
        "why": "",
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("Which?", ["a"]), "two or more different choices"),
        (("Which?", ["a", "a"]), "two or more different choices"),
        (("Which?", ["a", "b"], "c"), "'c' is not among the choices"),
        ((" ", ["a", "b"]), "empty"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        predict(*arguments)
