"""What the picture says in words, as parts of which every second one matters. say.js holds the same functions."""

from typing import Any

from widgets.kit.format import count, fixed, significant, size

QUESTION = "What moves between HBM and SRAM, and when?"
DOES = {"load": "loads", "store": "stores", "atomic": "adds to", "dot": "multiplies two tiles in SRAM"}
PLURALS = {"entry": "entries", "row": "rows", "column": "columns"}


def percent(share: float) -> str:
    """A share of 0 to 1; never 0 % or 100 % of what is only nearly so."""
    if 0 < share < 0.01:
        return "under 1 %"
    return "over 99 %" if 0.99 < share < 1 else f"{fixed(100 * share, 0)} %"


def span(tile: dict[str, int], shape: list[int]) -> str:
    """ "rows 64 to 127", "entries 0 to 63", "rows 0 to 31, columns 32 to 63": what a tile spans of its tensor."""

    def between(what: str, start: int, end: int) -> str:
        return f"{what} {count(start)}" if end - start == 1 else f"{PLURALS[what]} {count(start)} to {count(end - 1)}"

    if shape[2] == 1:
        return between("entry", tile["top"], tile["bottom"])
    if shape[1] == 1:
        return between("entry", tile["left"], tile["right"])
    rows = between("row", tile["top"], tile["bottom"])
    whole = tile["right"] - tile["left"] >= shape[2]
    return rows if whole else f"{rows}, {between('column', tile['left'], tile['right'])}"


def doing(event: dict[str, Any]) -> str:
    """What happens at one event."""
    if event["kind"] == "dot":
        return DOES["dot"]
    return f"{DOES[event['kind']]} {event['tensor']}{event['head']} {event['span']}, {size(event['bytes'])}"


def who(now: dict[str, Any]) -> str:
    """Who does it: "flash, program 5 of 8"."""
    kernel = f", {now['kernel']}" if now["kernel"] else ""
    return f"{now['name']}{kernel}, program {count(now['program'])} of {count(now['programs'])}"


def sentence(now: dict[str, Any]) -> list[str]:
    """The sentence of a frame of the watched kernel, beside another or alone, before its end."""
    name, live, limit, total, other = now["name"], now["live"], now["limit"], now["total"], now["other"]
    rose = ""
    if now["risen"]:
        rose = f" The maximum rises in {count(now['risen'][0])} of {count(now['risen'][1])} rows."
    room = f", {size(live - limit)} more than the limit" if live > limit else f" of {size(limit)}"
    first = f"{who(now)}, {doing(now['event'])}.{rose} SRAM holds {size(live)}{room}. "
    if not other:
        return [first, f"{size(now['moved'])} of {size(total)} moved."]
    most, least = (other, now) if other["total"] > total else (now, other)
    every = f"in all {most['name']} moves {significant(most['total'] / least['total'])} times as much"
    if other["total"] == total:
        every = "in all they move the same"
    here, there = percent(now["share"]), percent(other["share"])
    finished = f"{name} has finished {here} of {now['result']}, {other['name']} {there}"
    return [first, f"After {size(now['moved'])} each, {finished}; {every}."]


def numbers_line(scene: dict[str, Any]) -> str:
    """A trace in one line: the three numbers by their names, the L2 model of the last cache on offer."""
    model = "".join(f", L2 model ({cache['words']}) {size(cache['bytes'])}" for cache in scene["l2"][-1:])
    read = f"read: issued {size(scene['issued_read'])}{model}, compulsory {size(scene['compulsory_read'])}"
    written = [scene[name] - scene[f"{name}_read"] for name in ("issued", "compulsory")]
    return f"{scene['name']}, {read}; written: issued {size(written[0])}, compulsory {size(written[1])}"
