"""The smallest instrument: a question, a few answers, and the right one once the reader has committed to one."""

from collections.abc import Sequence
from pathlib import Path

from widgets.kit.base import Instrument


class Predict(Instrument):
    """See `predict`. `reader["choice"]` is the index of the reader's choice, once there is one."""

    view = Path(__file__).with_name("view.js")

    def twin(self) -> str:
        return f"predict: {self.data['question']} [{' | '.join(self.data['choices'])}]"


def predict(question: str, choices: Sequence[str], answer: str | None = None, why: str = "") -> Predict:
    """Ask for a prediction.

    answer: the right choice, shown with `why` once the reader has chosen; None when the next
    cell is to tell. Its text form never tells it.
    Raises ValueError for fewer than two choices, for two alike, and for an answer that is not among them.
    """
    choices, answer = [str(choice) for choice in choices], None if answer is None else str(answer)
    if not question.strip():
        raise ValueError("predict needs a question, and was given an empty one")
    if len(choices) < 2 or len(set(choices)) < len(choices):
        raise ValueError(f"predict needs two or more different choices, and was given {choices}")
    if answer is not None and answer not in choices:
        raise ValueError(f"the answer {answer!r} is not among the choices {choices}: write it as one of them")
    at = None if answer is None else choices.index(answer)
    return Predict(data={"question": question, "choices": choices, "answer": at, "why": why})
