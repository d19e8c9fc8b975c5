"""The tape recorder: what every memory of a running model holds after each segment, and pairs to ask it for.

A model reads a stream segment by segment; between two segments M and z are copied from its own state. The keys and
values it wrote are written once more by each of the other rules, so that the same stream can be seen under all of them.
Above the first layer those are the keys and values that came about under the model's own rule.

A long stream is thinned: M and z are kept after segments 1, 2, 4, 8 ..., after those that hold a needle or the
question, and after the last; pairs are kept from the segments that were just written then.
"""

import copy
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from solutions.infini import RULES, InfiniAttention, infini_layers
from solutions.tiny import TinyTransformer

WHOLE = 16  # segments of which every one is kept
SPARSE = 256  # segments beyond which only powers of two are kept, below also 3, 6, 12 ...
SAMPLED = 8  # pairs of a segment, needles aside
PIECE = 128  # segments that a model reads at once
MOST_STATES = 200  # ways to force the gates, of which all are tried
LAST = 4  # segments at the end in which a question may stand


@dataclass(frozen=True)
class Gate:
    """Of one head: its name, the memory it reads, and the memory's share in its output."""

    name: str
    memory: int
    share: float


@dataclass(frozen=True)
class Answers:
    """What a model says where it is asked, with its gates as they are and forced.

    at: positions asked for; truth: the tokens that stand there; after: segments written when they were asked for
    said: state -> (tokens said, probability of each true one). A state is a letter for each gate, "o" as it is, "0" and
    "1" forced, after a "-" where M and z were emptied before the segment of the question.
    """

    at: tuple[int, ...]
    truth: tuple[int, ...]
    after: int
    said: dict[str, tuple[tuple[int, ...], tuple[float, ...]]]


@dataclass(frozen=True)
class Recording:
    """A stream through its memories. snapshots: how often M and z were kept; memories: one for each key head

    segment, tokens: tokens of a segment, and in all; after: (snapshots,) segments written by then, rising
    memory, z: rule -> (snapshots, memories, d_key, d_value) and (snapshots, memories, d_key), float32
    at, k, v, needle: (pairs,) positions, (pairs, memories, d_key), (pairs, memories, d_value), (pairs,) of what was
    written; keys not rotated
    q: (questions, memories, d_key), the queries that ask, one token before each position of `answers`, not rotated; of
    the heads that read one memory that of the one which listens to it most
    rule: the one that the model used; place: device and dtype
    """

    segment: int
    tokens: int
    after: np.ndarray
    memory: dict[str, np.ndarray]
    z: dict[str, np.ndarray]
    at: np.ndarray
    k: np.ndarray
    v: np.ndarray
    needle: np.ndarray
    q: np.ndarray
    names: tuple[str, ...]
    gates: tuple[Gate, ...]
    rule: str
    answers: Answers | None
    place: str

    @property
    def segments(self) -> int:
        """Whole segments, all of them written."""
        return self.tokens // self.segment

    @property
    def nbytes(self) -> int:
        """Of M and z of all memories, at any length."""
        return int(self.memory[self.rule][0].nbytes + self.z[self.rule][0].nbytes)


def kept(segments: int, marked: Sequence[int] = ()) -> list[int]:
    """After how many segments M and z are kept: all, or powers of two, those in `marked` and the last."""
    if segments <= WHOLE:
        return list(range(1, segments + 1))
    found = {segments, *(at for at in marked if 1 <= at <= segments)}
    for start in (1,) if segments > SPARSE else (1, 3):
        found |= {start << i for i in range(segments.bit_length()) if start << i <= segments}
    return sorted(found)


def sampled(after: Sequence[int], segment: int, needles: Sequence[int]) -> np.ndarray:
    """Positions of the pairs to keep: evenly from each segment just written, and all needles in them. Rising."""
    steps = np.unique(np.linspace(0, segment - 1, min(SAMPLED, segment)).round().astype(int))
    found = {(number - 1) * segment + int(step) for number in after for step in steps}
    return np.array(sorted(found | {at for at in needles if at // segment + 1 in set(after)}), np.int64)


class Writers:
    """The memories that other rules would hold: every rule's own M and z, (layers, kv_heads, d_key, d_value)."""

    def __init__(self, rules: Sequence[str]):
        self.rules = rules
        self.held: dict[str, tuple[Tensor, Tensor]] = {}

    def write(self, k: Tensor, v: Tensor) -> None:
        """One segment, (layers, kv_heads, n, d)."""
        for rule in self.rules:
            held = self.held.get(rule)
            if held is None:
                held = k.new_zeros(*k.shape[:2], k.shape[-1], v.shape[-1]), k.new_zeros(*k.shape[:2], k.shape[-1])
            self.held[rule] = RULES[rule][1](k, v, *held)


@contextmanager
def overheard(attentions: Sequence[InfiniAttention]) -> Iterator[dict[int, tuple[Tensor, Tensor, Tensor]]]:
    """While the model runs: layer -> q (heads, n, d), k and v (kv_heads, n, d) of the last call, in float32."""
    heard: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def listen(layer: int):
        def hook(attention: InfiniAttention, inputs: tuple) -> None:
            heard[layer] = tuple(each[0].float() for each in attention.project(inputs[0]))

        return hook

    hooks = [attention.register_forward_pre_hook(listen(i)) for i, attention in enumerate(attentions)]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def forced(attentions: Sequence[InfiniAttention], state: str) -> Iterator[None]:
    """Gates set as a state of `Answers` says, one letter for each head of each layer."""
    kept = [attention.beta.detach().clone() for attention in attentions]
    letters = iter(state)
    try:
        for attention, beta in zip(attentions, kept, strict=True):
            wanted = {"o": None, "0": -torch.inf, "1": torch.inf}
            each = [wanted[next(letters)] for _ in range(len(beta))]
            mixed = [own if one is None else one for own, one in zip(beta.tolist(), each, strict=True)]
            attention.beta.data = torch.tensor(mixed).to(beta)
        yield
    finally:
        for attention, beta in zip(attentions, kept, strict=True):
            attention.beta.data = beta


def states(gates: int) -> list[str]:
    """Ways to force so many gates: all, or where they are many each alone and all together; with and without memory."""
    if 2 * 3**gates <= MOST_STATES:
        found = ["".join(letters) for letters in itertools.product("o01", repeat=gates)]
    else:
        alone = ["o" * i + letter + "o" * (gates - 1 - i) for i in range(gates) for letter in "01"]
        found = ["o" * gates, "0" * gates, "1" * gates, *alone]
    return [*found, *(f"-{state}" for state in found)]


def checked_tokens(tokens: Any, segment: int) -> Tensor:
    tokens = torch.as_tensor(tokens)
    tokens = tokens[0] if tokens.dim() == 2 and len(tokens) == 1 else tokens
    if tokens.dim() != 1 or tokens.is_floating_point():
        raise ValueError(f"tokens is {tokens.dtype}, {tuple(tokens.shape)}; give whole numbers, (n,) or (1, n).")
    if len(tokens) < segment:
        raise ValueError(
            f"tokens holds {len(tokens)}, a segment of this model {segment}: nothing is ever written. "
            "Give at least one whole segment."
        )
    return tokens


def checked_places(name: str, places: Sequence[int], tokens: int) -> list[int]:
    places = sorted({int(at) for at in places})
    if places and not 0 <= places[0] <= places[-1] < tokens:
        raise ValueError(f"{name} reach from {places[0]} to {places[-1]}; give positions from 0 to {tokens - 1}.")
    return places


@torch.no_grad()
def record(
    model: TinyTransformer, tokens: Any, *, asked: Sequence[int] | None = None, needles: Sequence[int] = ()
) -> Recording:
    """Let a model with Infini-attention read a stream, and keep what its memories hold.

    tokens: (n,) or (1, n), at least one segment; asked: positions that it is to predict, in the last 4 segments, the
    last token when None, () for none; needles: positions whose pairs are kept whatever is thinned
    Raises ValueError for a model without memories, and for anything else than the above.
    """
    layers = [(i, layer.attention) for i, layer in enumerate(model.layers) if layer.attention in infini_layers(model)]
    attentions = [attention for _, attention in layers]
    segment = attentions[0].segment
    tokens = checked_tokens(tokens, segment).to(model.head.weight.device)
    n = len(tokens)
    asked = checked_places("asked", [n - 1] if asked is None else asked, n)
    needles = checked_places("needles", needles, n)
    cut = max(asked[0] - 1, 0) // segment if asked else n // segment
    if asked and (asked[0] == 0 or n - cut * segment > LAST * segment):
        raise ValueError(
            f"asked begins at {asked[0]} of {n} tokens; give positions in the last {LAST} segments of {segment}, "
            "from 1 on."
        )
    after = kept(n // segment, [*(at // segment + 1 for at in needles), cut])
    at = sampled(after, segment, needles)
    writers = Writers([rule for rule in RULES if rule != attentions[0].rule])
    stream, before = model.new_stream(), None
    pairs: list[list[Tensor]] = []
    memory: dict[str, list[np.ndarray]] = {rule: [] for rule in RULES}
    z: dict[str, list[np.ndarray]] = {rule: [] for rule in RULES}
    ends = sorted({*after, cut, *range(PIECE, n // segment, PIECE)})
    with overheard(attentions) as heard:
        for begin, end in itertools.pairwise([0, *(end for end in ends if end)]):
            if begin == cut:
                before = copy.deepcopy(stream)
            model(tokens[None, begin * segment : end * segment], stream)
            k, v = (torch.stack([heard[i][side] for i in range(len(layers))]) for side in (1, 2))
            for part in zip(k.split(segment, dim=2), v.split(segment, dim=2), strict=True):
                writers.write(*part)
            inside = torch.from_numpy(at[(at >= begin * segment) & (at < end * segment)] - begin * segment).to(k.device)
            pairs.append([each.index_select(2, inside).flatten(0, 1).transpose(0, 1).cpu() for each in (k, v)])
            if end in after:
                own = [stream.caches[i] for i, _ in layers]
                writers.held[attentions[0].rule] = tuple(
                    torch.stack([getattr(state, name)[0] for state in own]) for name in ("memory", "z")
                )
                for rule, (m, total) in writers.held.items():
                    memory[rule].append(m.flatten(0, 1).float().cpu().numpy())
                    z[rule].append(total.flatten(0, 1).float().cpu().numpy())
                del writers.held[attentions[0].rule]
    before = copy.deepcopy(stream) if before is None else before
    said = answers(model, attentions, tokens, before, cut * segment, asked)
    q = queries(model, attentions, tokens, before, cut * segment, asked)
    k, v = (torch.cat(each).numpy() for each in zip(*pairs, strict=True))
    return Recording(
        segment=segment,
        tokens=n,
        after=np.array(after, np.int32),
        memory={rule: np.stack(each) for rule, each in memory.items()},
        z={rule: np.stack(each) for rule, each in z.items()},
        at=at,
        k=k,
        v=v,
        needle=np.isin(at, needles),
        q=q,
        names=tuple(
            f"layer {i} {'head' if attention.kv_heads == attention.heads else 'key head'} {head}"
            for i, attention in layers
            for head in range(attention.kv_heads)
        ),
        gates=tuple(gates(layers)),
        rule=attentions[0].rule,
        answers=said,
        place=f"{model.head.weight.device}, {str(model.head.weight.dtype).removeprefix('torch.')}",
    )


def gates(layers: Sequence[tuple[int, InfiniAttention]]) -> Iterator[Gate]:
    first = 0
    for i, attention in layers:
        group = attention.heads // attention.kv_heads
        for head, share in enumerate(torch.sigmoid(attention.beta.detach()).tolist()):
            yield Gate(f"layer {i} head {head}", first + head // group, share)
        first += attention.kv_heads


def queries(
    model: TinyTransformer,
    attentions: Sequence[InfiniAttention],
    tokens: Tensor,
    before: Any,
    begin: int,
    asked: Sequence[int],
) -> np.ndarray:
    """The q of a `Recording`, from reading the end of the stream once more."""
    if not asked:
        heads, head_dim = sum(attention.kv_heads for attention in attentions), attentions[0].to_q.out_features
        return np.zeros((0, heads, head_dim // attentions[0].heads), np.float32)
    with overheard(attentions) as heard:
        model(tokens[None, begin:], copy.deepcopy(before))
    found = []
    for i, attention in enumerate(attentions):
        listens = attention.beta.unflatten(0, (attention.kv_heads, -1)).argmax(dim=1)  # of each group
        q = heard[i][0].unflatten(0, (attention.kv_heads, -1))
        found += [q[head, best, [at - 1 - begin for at in asked]] for head, best in enumerate(listens.tolist())]
    return torch.stack(found, dim=1).cpu().numpy()


def answers(
    model: TinyTransformer,
    attentions: Sequence[InfiniAttention],
    tokens: Tensor,
    before: Any,
    begin: int,
    asked: Sequence[int],
) -> Answers | None:
    """Read the end of the stream again and again from the same state, with the gates forced in every way."""
    if not asked:
        return None
    truth = tokens[list(asked)]
    said = {}
    for state in states(sum(attention.heads for attention in attentions)):
        stream = copy.deepcopy(before)
        if state.startswith("-"):
            for cache in stream.caches:
                if hasattr(cache, "forget"):
                    cache.forget()
        with forced(attentions, state.removeprefix("-")):
            logits = model(tokens[None, begin:], stream)[0]
        logits = logits[torch.tensor([at - 1 - begin for at in asked], device=logits.device)]
        right = logits.softmax(dim=-1).gather(1, truth[:, None])[:, 0]
        said[state] = tuple(logits.argmax(dim=-1).tolist()), tuple(right.tolist())
    return Answers(tuple(asked), tuple(truth.tolist()), begin // attentions[0].segment, said)


def record_pairs(k: Any, v: Any, *, rule: str = "linear", segment: int = 1, needles: Sequence[int] = ()) -> Recording:
    """Write pairs into a memory without a model, and keep what it holds.

    k: (n, d_key) or (memories, n, d_key); v: the same with d_value; segment: pairs that are written at once
    rule: the one to show first; needles: pairs to mark. Raises ValueError when they don't fit, and for nan or infinity.
    """
    k, v = (torch.as_tensor(each, dtype=torch.float32).detach().cpu() for each in (k, v))
    k, v = (each[None] if each.dim() == 2 else each for each in (k, v))
    if k.dim() != 3 or v.dim() != 3 or k.shape[:2] != v.shape[:2] or not k.shape[1]:
        raise ValueError(
            f"k is {tuple(k.shape)}, v {tuple(v.shape)}; give (n, d_key) and (n, d_value), or both with the same "
            "number of memories before, and at least one pair."
        )
    if rule not in RULES:
        raise ValueError(f"rule is {rule!r}; give one of {', '.join(RULES)}.")
    n = k.shape[1]
    if segment < 1 or segment > n:
        raise ValueError(f"segment is {segment}, pairs are {n}; give 1 to {n}, so that one segment is written.")
    needles = checked_places("needles", needles, n)
    after = kept(n // segment, [at // segment + 1 for at in needles])
    at = sampled(after, segment, needles)
    writers = Writers(list(RULES))
    memory: dict[str, list[np.ndarray]] = {name: [] for name in RULES}
    z: dict[str, list[np.ndarray]] = {name: [] for name in RULES}
    for number in range(n // segment):
        writers.write(*(each[None, :, number * segment : (number + 1) * segment] for each in (k, v)))
        if number + 1 in after:
            for name, (m, total) in writers.held.items():
                memory[name].append(m[0].numpy())
                z[name].append(total[0].numpy())
    several = len(k) > 1
    return Recording(
        segment=segment,
        tokens=n,
        after=np.array(after, np.int32),
        memory={name: np.stack(each) for name, each in memory.items()},
        z={name: np.stack(each) for name, each in z.items()},
        at=at,
        k=k[:, at].transpose(0, 1).numpy(),
        v=v[:, at].transpose(0, 1).numpy(),
        needle=np.isin(at, needles),
        q=np.zeros((0, len(k), k.shape[-1]), np.float32),
        names=tuple(f"memory {i}" for i in range(len(k))) if several else ("the memory",),
        gates=(),
        rule=rule,
        answers=None,
        place="cpu, float32",
    )
