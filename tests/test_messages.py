"""What an instrument says stands once, and both languages say all of it: no text without a test, no slot unfilled."""

import importlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from widgets.kit.messages import Messages

JS = Path(__file__).parent / "js"
WIDGETS = Path(__file__).parents[1] / "widgets"
NODE = shutil.which("node")
TOLD = json.loads((JS / "messages.json").read_text(encoding="utf-8"))
SPOKEN = {  # instrument -> the module that speaks, and the test that makes it say what tests/js/NAME.test.mjs says
    "atlas": ("say", "test_atlas", "test_the_shared_vectors_are_what_python_computes"),
    "ledger": ("words", "test_kit", "test_sentences_are_those_of_the_page"),
    "order": ("view", "test_order", "test_the_shared_vectors_are_what_python_says"),
    "selector": ("say", "test_selector", "test_the_shared_vectors_are_what_python_computes"),
    "sketch": ("view", "test_sketch", "test_the_shared_vectors_are_what_python_says"),
    "tape": ("say", "test_tape", "test_the_shared_vectors_are_what_python_computes"),
    "theatre": ("say", "test_theatre", "test_the_shared_vectors_are_what_python_computes"),
}


@pytest.fixture
def says(tmp_path):
    path = tmp_path / "messages.json"
    path.write_text(json.dumps(TOLD["messages"]), encoding="utf-8")
    return Messages(path, loud=str.upper)


def test_a_message_is_chosen_and_filled_as_on_the_page(says):
    for name, facts, parts in TOLD["said"]:
        assert says.parts(name, **facts) == parts, (name, facts)
        assert says.text(name, **facts) == "".join(parts)


def test_an_array_s_truth_and_number_are_facts_like_any(says):
    for hidden, more in ((np.False_, ", and ‘a’"), (np.True_, "")):
        assert says.text("all", keys=np.int64(1), needle="a", hidden=hidden) == f"It sees 1 key{more}."


def test_what_is_missing_is_named(says):
    for name, facts, error in TOLD["wrong"]:
        with pytest.raises((LookupError, ValueError)) as raised:
            says.text(name, **facts)
        assert error in raised.value.args[0]


def texts(message) -> list[str]:
    """Everything that a message may say, slots unfilled."""
    return [message] if isinstance(message, str) else [text for each in message.values() for text in texts(each)]


def test_every_instrument_with_messages_is_listened_to():
    assert sorted(SPOKEN) == sorted(path.parent.name for path in WIDGETS.glob("*/messages.json"))


@pytest.mark.skipif(NODE is None, reason="needs node")
@pytest.mark.parametrize("name", SPOKEN)
@pytest.mark.seconds
def test_every_text_is_said_by_those_who_are_to_say_it_and_by_no_other(name, monkeypatch, tmp_path):
    """A text that is said has all its slots filled, since a missing fact raises."""
    groups = json.loads((WIDGETS / name / "messages.json").read_text(encoding="utf-8"))
    assert set(groups) <= {"both", "page", "python"}
    each = [(group, one, texts(message)) for group, messages in groups.items() for one, message in messages.items()]
    assert len({one for _, one, _ in each}) == len(each)
    assert [one for _, one, told in each if len(set(told)) < len(told)] == []
    kept = {group: {(one, text) for by, one, told in each if by == group for text in told} for group in groups}

    python: set[tuple[str, str]] = set()
    chosen = Messages.chosen

    def listened(self, one, message, facts):
        text = chosen(self, one, message, facts)
        python.add((one, text))
        return text

    monkeypatch.setattr(Messages, "chosen", listened)
    module, tests, test = SPOKEN[name]
    spoken = importlib.import_module(f"widgets.{name}.{module}")
    if hasattr(spoken, "QUESTION"):  # said when the module is read
        importlib.reload(spoken)
    getattr(importlib.import_module(tests), test)()
    file = tmp_path / "heard.json"
    run = [NODE, "--import", str(JS / "heard.mjs"), str(JS / f"{name}.test.mjs")]
    done = subprocess.run(run, env={**os.environ, "HEARD": str(file)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    page = {(one, text) for one, text in json.loads(file.read_text(encoding="utf-8"))}
    assert kept["both"] - python == set() and python == kept["both"] | kept.get("python", set())
    assert kept["both"] - page == set() and page == kept["both"] | kept.get("page", set())
