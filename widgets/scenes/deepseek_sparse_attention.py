"""The scenes of the lesson on DeepSeek sparse attention."""

from typing import Any

from solutions import sparse, streams
from solutions.checkpoints import load
from solutions.checkpoints import sparse as recipe
from widgets.kit.format import fixed
from widgets.scenes.scene import Dial, scene

QUERY, MOST = 48, 4


def told(token: int) -> str:
    """A token of the stream in words."""
    names = ("key", 0), ("value", streams.KEYS), ("word", streams.KEYS + streams.VALUES)
    name, first = next((name, first) for name, first in reversed(names) if token >= first)
    return f"{name} {token - first}"


@scene
def choose_four() -> dict[str, Any]:
    """One row of a trained model's attention: the reader chooses four keys, and sees what they hold."""
    model, sample = load("sparse-dense"), recipe.unseen(sequences=64)
    tokens = sample.tokens[:1, :-1]
    (q, k), *_ = model.queries_and_keys(tokens)
    weights = sparse.index_target(sparse.causal_probabilities(q, k))[0, QUERY, : QUERY + 1].tolist()
    names = [told(token) for token in tokens[0, : QUERY + 1].tolist()]
    order = sorted(range(len(weights)), key=lambda place: -weights[place])
    best, one = sum(weights[place] for place in order[:MOST]), weights[order[0]]
    first = names[order[0]]
    alike = next(rank for rank, place in enumerate(order) if names[place] != first)
    found = {
        selector: recipe.recall(recipe.choosing(model, selector, 1).eval(), sample)["recall"]
        for selector in ("oracle", "window")
    }
    views = (
        f"The last token, *{names[QUERY]}*, is the query: what comes after it? Choose four tokens that it should read.",
        f"The first {alike} all say *{first}*. The best four hold {fixed(100 * best, 0)} %, the best one "
        f"{fixed(100 * one, 0)} %. With the one best key in each layer the model finds "
        f"*{fixed(100 * found['oracle'], 1)} %* of the values in 64 texts; with the last key alone "
        f"{fixed(100 * found['window'], 1)} %.",
    )
    return {
        "question": f"Which four of these {QUERY + 1} tokens does the query read most?",
        "dials": [Dial("order of the tokens", ["by place", "by weight"], kind="switch")],
        "says": lambda view: views[view],
        "drawn": {"names": names, "weights": [round(each, 6) for each in weights], "order": order, "most": MOST},
        "rows": [
            ["place", "token", "share of the attention"],
            *([place, name, f"{weight:.4f}"] for place, (name, weight) in enumerate(zip(names, weights, strict=True))),
        ],
        "provenance": f"the shipped model sparse-dense, first layer, its four heads added up; query {QUERY} of a text "
        "that it was not trained on",
    }
