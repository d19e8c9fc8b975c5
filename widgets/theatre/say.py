"""The facts that the picture says in the words of messages.json, every second part matters. say.js holds the same."""

from pathlib import Path
from typing import Any

from widgets.kit.messages import Messages

SAYS = Messages(Path(__file__).with_name("messages.json"))
QUESTION = SAYS.text("question")


def percent(share: float) -> str:
    """A share of 0 to 1; never 0 % or 100 % of what is only nearly so."""
    return SAYS.text("percent", it=share)


def span(tile: dict[str, int], shape: list[int]) -> str:
    """ "rows 64 to 127", "entries 0 to 63", "rows 0 to 31, columns 32 to 63": what a tile spans of its tensor."""
    _, rows, columns = shape

    def between(what: str, start: int, end: int) -> dict[str, Any]:
        return {"what": what, "first": start, "last": end - 1, "many": end - start}

    ranges = [between("entry" if columns == 1 else "row", tile["top"], tile["bottom"])]
    if columns > 1 and rows == 1:
        ranges = [between("entry", tile["left"], tile["right"])]
    elif tile["right"] - tile["left"] < columns:
        ranges.append(between("column", tile["left"], tile["right"]))
    return SAYS.text("span", ranges=ranges)


def of_head(head: int | None) -> str:
    """Which head a tensor is of, from 1 on; nothing where there is only one."""
    return SAYS.text("head", head=head)


def sentence(now: dict[str, Any]) -> list[str]:
    """The sentence of a frame of the watched kernel, beside another or alone, before its end."""
    rises, rows = now["risen"] or (None, None)
    facts = {**now, "rises": rises, "rows": rows, "over": now["live"] - now["limit"]}
    if other := now["other"]:
        most, least = (other, now) if other["total"] > now["total"] else (now, other)
        facts |= {"most": most["name"], "more": most["total"] / least["total"]}
    return SAYS.parts("now", **facts)


def numbers_line(scene: dict[str, Any]) -> str:
    """A trace in one line: the three numbers by their names, the L2 model of the last cache on offer."""
    read = {name: scene[name] for name in ("issued_read", "compulsory_read")}
    written = {name: scene[name] - scene[f"{name}_read"] for name in ("issued", "compulsory")}
    return SAYS.text("numbers", name=scene["name"], caches=scene["l2"][-1:], **read, **written)
