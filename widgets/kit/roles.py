"""What colour a tensor has, by its name: the same through the whole course."""

COLOURS = {
    "q": ["q", "query", "queries"],
    "k": ["k", "key", "keys"],
    "v": ["v", "value", "values"],
    "s": ["s", "p", "score", "scores", "logits", "weights", "probabilities", "softmax", "attn", "exp", "e"],
    "o": ["o", "out", "output", "outputs", "acc", "result"],
    "m": ["m", "z", "memory", "cache", "state", "row_max", "row_sum", "max", "sum", "lse"],
}
TOKEN = {word: token for token, words in COLOURS.items() for word in words}
RANK = {word: i for i, word in enumerate(TOKEN)}


def colour(role: str) -> str:
    """The token of a variable's colour, by its name or the last word of it: "all_k" is a key."""
    return TOKEN.get(role) or TOKEN.get(role.rsplit("_", 1)[-1], "ink-2")


def rank(role: str) -> tuple[int, str]:
    """Where a name stands in the table of colours; names that are not in it come last."""
    return RANK.get(role, len(RANK)), role
