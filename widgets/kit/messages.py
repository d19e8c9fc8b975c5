"""What an instrument says, read from its messages.json, which the page reads too. messages.js holds the same rules.

    {"both": {name: message}, "page": {...}, "python": {...}}       by who says it; names are unique in the file

A message is a text, or a choice {condition: message}: the first whose condition holds is said, and "" always holds.
A condition is tests apart by a space, all of which must hold, or several such apart by " or ". A test is `fact` (there
is one: it is not null, false or an empty list), `!fact`, or `fact=x`, `fact<x`, `fact>=x` and the like, x a number or a
word.

A text has slots, and *stars* around what matters and is set strong:
    {fact}            as it is, a text
    {fact:form}       form: so many decimals ("2"), per cent with so many ("%1"), `count`, `size` and the others of
                      format.py, a function of the instrument, or a message, said of all facts and of what the slot
                      holds: its own facts, or one that is called `it`
    {fact:form|, }    of each item of a list, with ", " between; {fact:form|, | and } has " and " before the last
    {:message}        another message, said of the same facts
"""

import json
import operator
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from widgets.kit.format import count, signed, significant, size, times

STRONG = "\uffff"  # where what matters begins or ends: a code point that no text may hold
SLOT = re.compile(r"\{(\w*)(?::(%?\w+))?(?:\|([^|}]*))?(?:\|([^|}]*))?\}")
TEST = re.compile(r"(!?)(\w+)(?:([<>]?=|[<>])(.+))?")
COMPARE = {"=": operator.eq, "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge}
FORMS: dict[str, Callable[[Any], str]] = {"count": count, "significant": significant, "size": size, "times": times}

Facts = Mapping[str, Any]


class Messages:
    """The messages of one file. forms: functions of the instrument's own, by the name that a slot calls them."""

    def __init__(self, path: Path, **forms: Callable[[Any], str]):
        groups = json.loads(path.read_text(encoding="utf-8"))
        self.messages: dict[str, Any] = {name: each for group in groups.values() for name, each in group.items()}
        self.forms = {**FORMS, **forms}

    def text(self, name: str, /, **facts: Any) -> str:
        return self.said(name, facts).replace(STRONG, "")

    def parts(self, name: str, /, **facts: Any) -> list[str]:
        """A sentence as parts of which every second one matters."""
        parts = self.said(name, facts).split(STRONG)
        return parts if parts[-1] else parts[:-1]

    def said(self, name: str, facts: Facts) -> str:
        """With `STRONG` on both sides of what matters. Raises LookupError for what is missing, by its name."""
        if name not in self.messages:
            raise LookupError(f'no message is called "{name}"')
        text = self.chosen(name, self.messages[name], facts).replace("*", STRONG)
        return SLOT.sub(lambda slot: self.filled(name, facts, *slot.groups()), text)

    def chosen(self, name: str, message: Any, facts: Facts) -> str:
        if isinstance(message, str):
            return message
        for condition, then in message.items():
            if any(all(self.holds(name, test, facts) for test in each.split()) for each in condition.split(" or ")):
                return self.chosen(name, then, facts)
        raise LookupError(f'nothing in the message "{name}" fits {dict(facts)}')

    def holds(self, name: str, test: str, facts: Facts) -> bool:
        found = TEST.fullmatch(test)
        if found is None:
            raise ValueError(f'"{test}" in the message "{name}" is no test')
        absent, fact, sign, than = found.groups()
        if sign is None:
            return is_there(self.fact(name, fact, facts, empty=True)) != bool(absent)
        try:
            than = float(than)
        except ValueError:
            pass
        return bool(COMPARE[sign](self.fact(name, fact, facts), than))

    def fact(self, name: str, fact: str, facts: Facts, empty: bool = False) -> Any:
        if fact not in facts or (facts[fact] is None and not empty):
            raise LookupError(f'the message "{name}" needs the fact "{fact}"')
        return facts[fact]

    def filled(self, name: str, facts: Facts, fact: str, form: str, between: str | None, last: str | None) -> str:
        if not fact:
            return self.said(form, facts)
        value = self.fact(name, fact, facts)
        if between is None:
            return self.formed(form, value, facts)
        *before, end = [self.formed(form, item, facts) for item in value] or [""]
        return (between if last is None else last).join([between.join(before), end] if before else [end])

    def formed(self, form: str, value: Any, facts: Facts) -> str:
        if not form:
            return str(value)
        if form in self.forms:
            return self.forms[form](value)
        if form.lstrip("%").isdigit():
            return signed(100 * value if form[0] == "%" else value, int(form[-1]))
        return self.said(form, {**facts, **(value if isinstance(value, Mapping) else {"it": value})})


def is_there(value: Any) -> bool:
    """Is it a fact at all? 0 and an empty text are."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    return value is not None and not (isinstance(value, list | tuple) and not value)
