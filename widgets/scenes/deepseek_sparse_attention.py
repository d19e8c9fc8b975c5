"""The scenes of the lesson on DeepSeek sparse attention."""

import math
from typing import Any

import torch

from solutions import sparse, streams
from solutions.checkpoints import load
from solutions.checkpoints import sparse as recipe
from widgets.kit.format import fixed, signed
from widgets.scenes.scene import Dial, scene

QUERY, MOST = 48, 4
QUERIES, VOTES, TURNS = ((1.0, 0.0), (0.0, 2.0)), (0.5, -1.0), 24  # two heads, and stops of the key on its way round


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


@scene
def signed_votes() -> dict[str, Any]:
    """The lesson's two heads score a key that turns: what each says after its ReLU, and the sum with signs."""
    angles = torch.arange(TURNS, dtype=torch.float64) * 2 * math.pi / TURNS
    keys = math.sqrt(2) * torch.stack([angles.cos(), angles.sin()], dim=-1)
    q, u = (torch.tensor(each, dtype=torch.float64) for each in (QUERIES, VOTES))
    scores = sparse.index_scores(q[None, :, None], keys[None], u[None, None])[0, 0].round(decimals=6)
    heard = (q @ keys.T).round(decimals=6).relu()
    silent = [not any(column) for column in heard.T.tolist()]

    def says(stop: int) -> str:
        first, second = heard[:, stop].tolist()
        score = f"*{signed(float(scores[stop]))}*"
        if silent[stop]:
            return f"Both products are negative or 0. ReLU makes them 0, and the score is exactly {score}."
        one, two = f"{VOTES[0]} · {fixed(first, 2)}", f"{signed(VOTES[1], 0)} · {fixed(second, 2)}"
        return f"Head 1 gives {one}, head 2 gives {two}. Their sum is the score: {score}."

    drawn = {"queries": QUERIES, "votes": VOTES, "length": math.sqrt(2), "turns": TURNS}
    return {
        "question": "A key turns. What do two heads with signed weights say?",
        "dials": [
            Dial("direction of the key", [f"{360 * stop // TURNS}°" for stop in range(TURNS)], at=3, kind="player")
        ],
        "says": says,
        "drawn": drawn | {"parts": (heard.T * u).tolist(), "scores": scores.tolist()},
        "rows": [
            ["degrees", "head 1 after ReLU", "head 2 after ReLU", "score"],
            *([360 * stop // TURNS, *heard[:, stop].tolist(), float(scores[stop])] for stop in range(TURNS)),
        ],
        "provenance": "q1 = (1, 0), q2 = (0, 2), weights 0.5 and −1, a key of length √2; scored by the course's "
        "index_scores",
    }
