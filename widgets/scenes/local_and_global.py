"""The scenes of the lesson on local and global attention."""

from typing import Any

import torch

from solutions.local_global import WindowCache, window_mask
from widgets.kit.base import packed
from widgets.scenes.scene import Dial, scene

WINDOW, SINKS, CHUNK, CHUNKS = 6, 1, 3, 5
TOKENS = CHUNK * CHUNKS


def listed(places: list[int]) -> str:
    """Rising places as one says them: "0 and 4 to 9"."""
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    return " and ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def walk(attend_first: bool) -> list[dict[str, Any]]:
    """A WindowCache fed chunk by chunk, two stops a chunk: it attends, and it is cut. In the wrong order, cut first.

    Of each stop: new, the places that arrived; held, all that the cache holds; dropped, those that left it;
    seen and lost, for each new query the keys that it reads, and those in its window that are gone.
    """
    cache, stops = WindowCache(WINDOW, SINKS), []
    for first in range(0, TOKENS, CHUNK):
        new = list(range(first, first + CHUNK))
        cache.append(*torch.zeros(2, 1, CHUNK, 1))
        came = set(cache.position.tolist())
        window = window_mask(torch.tensor(new), torch.arange(TOKENS), WINDOW, sinks=SINKS)
        for attends in (True, False):
            if attends != attend_first:
                cache.keep(window_mask(torch.tensor([first + CHUNK]), cache.position, WINDOW, sinks=SINKS)[0])
            held = set(cache.position.tolist())
            readable = came if attend_first else held
            there = torch.tensor([place in readable for place in range(TOKENS)])
            stops.append(
                {
                    "new": new,
                    "attends": attends,
                    "held": sorted(held),
                    "dropped": sorted(came - held),
                    "seen": window & there,
                    "lost": window & ~there,
                }
            )
    return stops


def told(stop: dict[str, Any], attend_first: bool) -> str:
    new, dropped, held = stop["new"], stop["dropped"], len(stop["held"])
    lost = int(stop["lost"].sum())
    if attend_first and stop["attends"]:
        keys = stop["seen"][0].nonzero().flatten().tolist()
        return f"Tokens {listed(new)} arrive: *{held} held*, and all attend. Query {new[0]} reads {listed(keys)}."
    if attend_first:
        gone = f"then {listed(dropped)} leave" if len(dropped) > 1 else "nothing has to leave yet"
        return f"They have attended, {gone}: *{held} held*, all that token {new[-1] + 1} may see of the past."
    if stop["attends"] and lost:
        short = stop["lost"][0].nonzero().flatten().tolist()
        left = f"{listed(dropped)} left before {listed(new)} attended"
        return f"{left}. Query {new[0]} misses {listed(short)}: *{lost} lost*."
    if stop["attends"]:
        return f"Tokens {listed(new)} arrive and attend: *{lost} lost*, since nothing had to leave."
    return f"*{lost} of {int(stop['seen'].sum()) + lost} pairs lost* by queries {listed(new)}, and {held} tokens held."


@scene
def forgetting_cache() -> dict[str, Any]:
    """A cache of a window with a sink: a chunk arrives, attends, then the oldest drop; and the wrong order."""
    walks = [walk(True), walk(False)]
    orders = ["attend, then drop", "drop, then attend"]

    def table(key: str) -> dict[str, Any]:
        tables = [torch.stack([stop[key] for stop in stops]) for stops in walks]
        return packed(torch.stack(tables).to(torch.uint8).numpy())

    held = torch.zeros(2, 2 * CHUNKS, TOKENS, dtype=torch.uint8)
    for row, stops in zip(held, walks, strict=True):
        for places, stop in zip(row, stops, strict=True):
            places[stop["held"]] = 1
    return {
        "question": "What may a cache of a window forget, and when?",
        "dials": [
            Dial(
                "chunk",
                [
                    f"tokens {stop['new'][0]} to {stop['new'][-1]} {'attend' if stop['attends'] else 'are done'}"
                    for stop in walks[0]
                ],
                at=4,
                kind="player",
            ),
            Dial("order", orders, kind="switch"),
        ],
        "says": lambda stop, order: told(walks[order][stop], order == 0),
        "drawn": {
            "tokens": TOKENS,
            "chunk": CHUNK,
            "sinks": SINKS,
            "window": WINDOW,
            "held": packed(held.numpy()),
            "seen": table("seen"),
            "lost": table("lost"),
        },
        "rows": [
            ["tokens that arrive", "order", "held while they attend", "held after", "pairs seen", "pairs lost"],
            *(
                [listed(a["new"]), order, len(a["held"]), len(b["held"]), int(a["seen"].sum()), int(a["lost"].sum())]
                for order, stops in zip(orders, walks, strict=True)
                for a, b in zip(stops[::2], stops[1::2], strict=True)
            ),
        ],
        "provenance": f"the course's WindowCache and window_mask: window {WINDOW}, {SINKS} sink, chunks of {CHUNK}",
    }
