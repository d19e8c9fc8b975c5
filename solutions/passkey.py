"""The passkey task: five digits said once, a great deal of filler, and the question what they were.

After Mohtashami and Jaggi (2023, arXiv 2305.16300), in words instead of pieces of words:

    there is important info hidden inside a lot of irrelevant text . find it .
    the grass is green . the sky is blue . the sun is yellow . here we go . there and back again .      over and over
    the pass key is 3 1 4 1 5 . remember it . 3 1 4 1 5 is the pass key .                               somewhere
    the grass is green . ...
    what is the pass key ? the pass key is

`prompts` makes them, of any length, with the key at any depth; `training_batch` makes short ones with the answer, and
says how often each segment of filler is to count; `find` reads a prompt as a stream and writes five digits after it.
Harder haystacks: filler of random words or of real text, several keys of which one is asked, a key that is said anew.
"""

import copy
import math
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from solutions.gated_delta import GatedDelta, powers
from solutions.infini import KNNAttention, repeated
from solutions.shapes import counts
from solutions.tiny import Stream, TinyTransformer

TASK = "there is important info hidden inside a lot of irrelevant text . find it .".split()
SENTENCES = (
    "the grass is green . the sky is blue . the sun is yellow . here we go . there and back again .".split()
)  # 24 words, the filler of the paper
LABELS = "red white black brown grey pink gold silver".split()  # where there are several keys
OTHERS = "pass key remember what ?".split()
WORDS = tuple(dict.fromkeys([*TASK, *SENTENCES, *OTHERS, *LABELS]))
FIRST_DIGIT, DIGITS = len(WORDS), 5  # tokens are numbered words first, then the digits 0 to 9; a key has five
VOCABULARY = FIRST_DIGIT + 10
NUMBER = {word: number for number, word in enumerate([*WORDS, *"0123456789"])}
FILLERS = ("sentences", "words")
LONGEST = 2**24  # tokens: in float32 a sum of ones stops there


def numbers(words: list[str]) -> Tensor:
    """The tokens of words, (n,)."""
    return torch.tensor([NUMBER[word] for word in words])


def text(tokens: Tensor) -> str:
    """The words of tokens (n,)."""
    names = [*WORDS, *"0123456789"]
    return " ".join(names[token] for token in tokens.tolist())


# Prompts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prompts:
    """tokens (batch, n - 5), ending with the question; key (batch, 5), the digits asked for, which make it n tokens;
    place (batch,), where their sentence begins."""

    tokens: Tensor
    key: Tensor
    place: Tensor


def said(key: Tensor, label: str | None = None) -> Tensor:
    """The sentence that says a key twice, (batch, 23); 25 with a label. key: (batch, 5), digits."""
    name = [label] if label else []
    digits = FIRST_DIGIT + key
    parts = [["the", *name, "pass", "key", "is"], digits, [".", "remember", "it", "."], digits]
    parts.append(["is", "the", *name, "pass", "key", "."])
    return torch.cat(
        [each if isinstance(each, Tensor) else numbers(each).expand(len(key), -1) for each in parts], dim=1
    )


def asked(label: str | None = None) -> Tensor:
    """The question, (10,); 12 with a label."""
    name = [label] if label else []
    return numbers(["what", "is", "the", *name, "pass", "key", "?", "the", *name, "pass", "key", "is"])


def filled(batch: int, n: int, filler: str | Tensor, generator: torch.Generator) -> Tensor:
    """Filler, (batch, n): the words of the sentences at random; or the sentences, or a text, from any word of it on."""
    read = numbers(SENTENCES) if isinstance(filler, str) else filler
    if isinstance(filler, str) and filler == "words":
        words = read.unique()
        return words[torch.randint(len(words), (batch, n), generator=generator)]
    start = torch.randint(len(read), (batch, 1), generator=generator)
    return read[(start + torch.arange(n)) % len(read)]


def shortest(keys: int = 1, times_said: int = 1) -> int:
    """Tokens of the shortest prompt and its answer: no filler at all."""
    label = LABELS[0] if keys > 1 else None
    sentence = said(torch.zeros(1, DIGITS).long(), label).shape[1]
    return len(TASK) + keys * times_said * sentence + len(asked(label)) + DIGITS


@counts("batch", "keys", "times_said")
def prompts(
    batch: int,
    n: int,
    generator: torch.Generator,
    *,
    depth: float | list[float] | None = None,
    filler: str | Tensor = "sentences",
    keys: int = 1,
    times_said: int = 1,
    alike: float = 0.0,
) -> Prompts:
    """Prompts that are n tokens long with question and answer.

    depth: where the asked key is said, from 0 (right after the task) to 1 (right before the question); one for all rows
    or one for each; None for anywhere
    filler: "sentences", periodic, "words", the same words at random, or the tokens of a text, (m,), read from anywhere
    on and over again; tokens from VOCABULARY on stand for words that the task doesn't have
    keys: of how many labelled keys one is asked
    times_said: 1, or more for a key that is said again with other digits, of which the last are right
    alike: share of the rows whose digits are of three kinds only; the others have any
    Raises ValueError for an n that cannot hold all that, or beyond 2²⁴ = 16,777,216, where sums in float32 end.
    """
    least = shortest(keys, times_said)
    if not least <= n <= LONGEST:
        raise ValueError(f"n is {n}; give {least} (task, key, question and answer, no filler) to {LONGEST:,} tokens.")
    if isinstance(filler, Tensor):
        if filler.dim() != 1 or filler.dtype != torch.int64 or not len(filler):
            given = f"of shape {tuple(filler.shape)} and type {filler.dtype}"
            raise ValueError(f"filler is {given}; give the tokens of a text, (m,), torch.int64.")
    elif filler not in FILLERS:
        raise ValueError(f"filler is {filler!r}; give one of {', '.join(FILLERS)}, or the tokens of a text.")
    if keys > len(LABELS):
        raise ValueError(f"keys is {keys}; give at most {len(LABELS)}, one for a label.")
    depths = depth if isinstance(depth, list) else [depth] * batch
    if len(depths) != batch or not all(each is None or 0 <= each <= 1 for each in depths):
        raise ValueError(f"depth is {depth}; give a share of the text from 0 to 1, or one for each of {batch} rows.")
    rows = [one_prompt(n, generator, each, filler, keys, times_said, alike) for each in depths]
    tokens, key, place = zip(*rows, strict=True)
    return Prompts(torch.stack(tokens), torch.stack(key), torch.tensor(place))


def one_prompt(
    n: int,
    generator: torch.Generator,
    depth: float | None,
    filler: str | Tensor,
    keys: int,
    times_said: int,
    alike: float,
) -> tuple[Tensor, Tensor, int]:
    """One row of `prompts`: its tokens, the key asked for, and where its sentence begins."""
    digits = torch.arange(10)
    if torch.rand((), generator=generator) < alike:
        digits = torch.randperm(10, generator=generator)[:ALIKE]
    draw = lambda: digits[torch.randint(len(digits), (DIGITS,), generator=generator)]  # noqa: E731
    labels = [LABELS[i] for i in torch.randperm(len(LABELS), generator=generator)[:keys]] if keys > 1 else [None]
    sentences = [(label, key) for label in labels for key in (draw() for _ in range(times_said))]
    order = torch.randperm(len(sentences), generator=generator).tolist()
    sentences = [sentences[i] for i in order]
    label = labels[0]
    wanted = max(i for i, (name, _) in enumerate(sentences) if name == label)  # the last time it is said
    room = n - shortest(keys, times_said)
    cuts = torch.rand(len(sentences), generator=generator).sort().values
    if depth is not None:  # those before the asked one stand before it, those after it after it
        cuts[:wanted] *= depth / max(cuts[wanted].item(), 1e-9)
        cuts[wanted + 1 :] = depth + (1 - depth) * cuts[wanted + 1 :]
        cuts[wanted] = depth
    ends = (cuts.clamp(0, 1) * room).round().long().tolist()
    parts, begun, place = [numbers(TASK)], 0, 0
    for i, (end, (name, key)) in enumerate(zip(ends, sentences, strict=True)):
        parts.append(filled(1, end - begun, filler, generator)[0])
        if i == wanted:
            place = sum(map(len, parts))
        parts.append(said(key[None], name)[0])
        begun = end
    parts += [filled(1, room - begun, filler, generator)[0], asked(label)]
    return torch.cat(parts), sentences[wanted][1], place


def key_in(tokens: Tensor) -> Tensor:
    """The digits that a prompt (n,) says last, (5,). Raises ValueError for a prompt without a key."""
    head = numbers(["pass", "key", "is"])
    found = tokens.unfold(0, len(head) + DIGITS, 1) if len(tokens) >= len(head) + DIGITS else tokens.new_empty(0, 8)
    hit = (found[:, :3] == head).all(dim=1) & (found[:, 3:] >= FIRST_DIGIT).all(dim=1)
    if not hit.any():
        raise ValueError(
            f"a prompt of {len(tokens):,} tokens holds no key: nowhere 'pass key is' and {DIGITS} digits. "
            "Make it with prompts(...)."
        )
    return found[hit.nonzero()[-1, 0], 3:] - FIRST_DIGIT


# Prose -------------------------------------------------------------------------------------------------------------


class Prose(NamedTuple):
    """A text for filler, in numbers: a part to train on, one to try; and the words that it is made of."""

    training: Tensor
    other: Tensor
    words: tuple[str, ...]

    @property
    def vocabulary(self) -> int:
        """Tokens that there are: the task's, and the words that the task doesn't have."""
        return VOCABULARY + len({*self.words} - {*NUMBER})


COMMON, HELD_OUT = 1000, 0.2  # words of the prose that are kept, and the share of it that training doesn't see


def prose(words: Sequence[str] | None = None) -> Prose:
    """Python's reference as `help()` shows it, in its commonest words.

    words: those that a model was trained with, since another Python's reference has others; None for the commonest of
    this one
    """
    from pydoc_data.topics import topics

    spoken = re.findall(r"[a-z]+|[.?]", " ".join(topics[name] for name in sorted(topics)).lower())
    known = tuple(words or (word for word, _ in Counter(spoken).most_common(COMMON)))
    new = [word for word in known if word not in NUMBER]
    number = NUMBER | {word: VOCABULARY + i for i, word in enumerate(new)}
    kept = {*known}
    tokens = torch.tensor([number[word] for word in spoken if word in kept])
    cut = round((1 - HELD_OUT) * len(tokens))
    return Prose(tokens[:cut], tokens[cut:], known)


# Training ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """Prompts with their answers, (batch, n), and how often each segment counts, (batch, segments), or None."""

    tokens: Tensor
    times: Tensor | None


MOST_TIMES, SHARE_REPEATED = 3000, 0.7  # as often as a segment of filler counts at most, in this share of the rows
SHARE_NEAR = 0.15  # of the rows say the key within a segment of the question, which else is rare in longer prompts
SHARE_ALIKE, ALIKE = 0.5, 3  # of the rows draw their key from three digits: "what follows a 7" must not be enough


@counts("batch", "segments", "segment")
def training_batch(
    batch: int, segments: int, segment: int, generator: torch.Generator, *, simulate: bool = True, **prompt
) -> Batch:
    """Prompts and answers that end in segment number `segments`, the question and the answer whole in it.

    simulate: write segments that hold nothing but filler as if they came up to MOST_TIMES times, so that a model meets
    the memories of long streams without reading any. How often is uniform in the logarithm, for each segment of
    SHARE_REPEATED of the rows.
    """
    least = shortest(prompt.get("keys", 1), prompt.get("times_said", 1))
    label = LABELS[0] if prompt.get("keys", 1) > 1 else None
    shorter = int(torch.randint(max(segment - len(asked(label)) - DIGITS + 1, 1), (), generator=generator))
    n = max(segments * segment - shorter, math.ceil(least / segment) * segment)
    depth = torch.rand(batch, generator=generator)
    near = torch.rand(batch, generator=generator) < SHARE_NEAR
    depth = torch.where(near, 1 - depth * min(segment / max(n - least, 1), 1), depth)
    made = prompts(batch, n, generator, depth=depth.tolist(), alike=SHARE_ALIKE, **prompt)
    tokens = torch.cat([made.tokens, FIRST_DIGIT + made.key], dim=1)
    if not simulate:
        return Batch(tokens, None)
    count = math.ceil(n / segment)
    draw = torch.rand(batch, count, generator=generator)
    row = torch.rand(batch, 1, generator=generator) < SHARE_REPEATED
    return Batch(tokens, torch.where(row & only_filler(tokens, segment), MOST_TIMES**draw, 1.0))


def only_filler(tokens: Tensor, segment: int) -> Tensor:
    """Which segments hold nothing of a key's sentence, of the question and of the task: (batch, segments)."""
    words = {*OTHERS, *LABELS, *"0123456789"}
    special = torch.isin(tokens, numbers(sorted(words)))
    special[:, : len(TASK)] = True
    special = F.pad(special, (0, -tokens.shape[1] % segment), value=True)
    return ~special.unflatten(1, (-1, segment)).any(dim=-1)


REST = 0.1  # weight of all other tokens beside the answer's: five among hundreds would hardly count


def loss(model: TinyTransformer, batch: Batch) -> tuple[Tensor, float]:
    """What the model is trained on, in nats, and the share of answer digits that it gets right.

    How often a segment counts: exactly as said in Infini-attention, a power of 2 in the gated delta rule.
    """
    if batch.times is None:
        logits = model(batch.tokens[:, :-1])
    else:
        has_powers = any(isinstance(layer.attention, GatedDelta) for layer in model.layers)
        with (powers if has_powers else repeated)(model, batch.times):
            logits = model(batch.tokens[:, :-1])
    nats = F.cross_entropy(logits.transpose(1, 2), batch.tokens[:, 1:], reduction="none")
    right = (logits[:, -DIGITS:].argmax(dim=-1) == batch.tokens[:, -DIGITS:]).float().mean().item()
    return nats[:, -DIGITS:].mean() + REST * nats[:, :-DIGITS].mean(), right


# Finding the key ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """What came out of reading prompts.

    digits: (batch, 5), written after the question; without_memory: the same when the memory, M and z or S, is emptied
    before the last segment of the prompt, None for a model without; tokens_per_second: of all rows together, by the
    clock
    state_bytes: of one row, when the question is read; memory_bytes: the memory alone, or the far keys of a kNN memory
    """

    digits: Tensor
    without_memory: Tensor | None
    tokens_per_second: float
    state_bytes: int
    memory_bytes: int


@torch.no_grad()
def find(model: TinyTransformer, tokens: Tensor, *, chunk: int | None = None, show: bool | None = None) -> Found:
    """Read prompts (batch, n - 5) as a stream, and write five tokens after them, each time the likeliest digit.

    chunk: how many tokens are read at a time; None for what is fast; it does not change what comes out
    show: a progress bar with the size of the state; None for prompts of 200,000 tokens or more
    """
    n, segment = tokens.shape[1], segment_of(model)
    chunk = chunk or max(2048 // len(tokens) // segment, 1) * segment
    last = (n - 1) // segment * segment  # where the last segment of the prompt begins
    stream = model.new_stream()
    read_only_at_the_end(model, False)
    start = time.perf_counter()
    with tqdm(total=n, unit="token", unit_scale=True, disable=not (n >= 200_000 if show is None else show)) as bar:
        for part in tokens[:, :last].split(chunk, dim=1) if last else ():
            model(part, stream)
            bar.update(part.shape[1])
            bar.set_postfix(state=f"{stream.nbytes:,} bytes", refresh=False)
        before = copy.deepcopy(stream) if has_memory(stream) else None
        read_only_at_the_end(model, True)
        logits = model(tokens[:, last:], stream)
        seconds = time.perf_counter() - start
        bar.update(n - last)
    state_bytes, memory_bytes = stream.nbytes, sum(far_bytes(cache) for cache in stream.caches)
    digits = written(model, logits, stream)
    without = None
    if before is not None:
        for state in before.caches:
            state.forget()
        without = written(model, model(tokens[:, last:], before), before)
    return Found(digits, without, tokens.numel() / seconds, state_bytes // len(tokens), memory_bytes // len(tokens))


@torch.no_grad()
def find_in_pieces(
    model: TinyTransformer, tokens: Tensor, *, piece: int = 430, overlap: int = 24, at_once: int = 16
) -> Found:
    """Find the key without a long memory: cut the text into pieces, ask each, and keep the surest answer.

    tokens: prompts with one key, (batch, n - 5); piece: tokens of a piece; it is read between the task and the question
    overlap: tokens that a piece has in common with the next; 22 or more, and some piece holds the key's sentence whole
    at_once: pieces that are read side by side, which changes nothing but the time
    Returns what `find` does; state_bytes are those of one piece.
    """
    answers, start = [], time.perf_counter()
    question = tokens[0, -len(asked()) :]
    for text in tokens[:, : -len(question)]:
        last = max(len(text) - piece, 0)
        first = [*range(0, last, piece - overlap), last]
        sure: list[Tensor] = []
        told: list[Tensor] = []
        for some in torch.stack([text[i : i + piece] for i in first]).split(at_once):
            read = [numbers(TASK).expand(len(some), -1), some, question.expand(len(some), -1)]
            stream = model.new_stream()
            logits = model(torch.cat(read, dim=1), stream)
            state_bytes = stream.nbytes // len(some)
            digits, chances = written_with_chances(model, logits, stream)
            told, sure = [*told, digits], [*sure, chances.prod(dim=1)]
        answers.append(torch.cat(told)[torch.cat(sure).argmax()])
    return Found(torch.stack(answers), None, tokens.numel() / (time.perf_counter() - start), state_bytes, 0)


def written(model: TinyTransformer, logits: Tensor, stream: Stream) -> Tensor:
    """The five likeliest digits, one after the other, (batch, 5); logits (batch, n, vocabulary): of what was read."""
    return written_with_chances(model, logits, stream)[0]


def written_with_chances(model: TinyTransformer, logits: Tensor, stream: Stream) -> tuple[Tensor, Tensor]:
    """As `written`, and the probability that the model gave to each digit, (batch, 5)."""
    digits, chances = [], []
    for i in range(DIGITS):
        best = logits[:, -1].softmax(dim=-1)[:, FIRST_DIGIT:VOCABULARY].max(dim=-1)
        digits.append(best.indices)
        chances.append(best.values)
        if i < DIGITS - 1:
            logits = model(FIRST_DIGIT + digits[-1][:, None], stream)
    return torch.stack(digits, dim=1), torch.stack(chances, dim=1)


def segment_of(model: TinyTransformer) -> int:
    """The segment of a model's layers, or 64 where they have none."""
    return next((getattr(layer.attention, "segment", 64) for layer in model.layers), 64)


def has_memory(stream: Stream) -> bool:
    """Whether all that is beyond the last segment is in memories that can be emptied."""
    return all(hasattr(cache, "forget") for cache in stream.caches)


def far_bytes(cache) -> int:
    """Bytes of what a state holds beyond the live segment."""
    return getattr(cache, "memory_bytes", 0)


def read_only_at_the_end(model: TinyTransformer, look_up: bool) -> None:
    """Where only the last layer searches all keys, it needn't before the question: nobody reads what it says there."""
    last = model.layers[-1].attention
    if isinstance(last, KNNAttention):
        last.look_up = look_up


def interval(right: int, asked: int, confidence: float = 0.95) -> tuple[float, float]:
    """Between which shares the true one lies, if `right` of `asked` were right (Clopper and Pearson, 1934).

    Two-sided: (1 - confidence) / 2 on each side.
    """
    if not 0 <= right <= asked or asked < 1:
        raise ValueError(f"right is {right} of {asked}; give 0 to {asked}, of 1 or more.")
    tail = (1 - confidence) / 2

    def at_least(count: int, share: float) -> float:
        """Probability of `count` or more successes in `asked` trials."""
        return sum(math.comb(asked, i) * share**i * (1 - share) ** (asked - i) for i in range(count, asked + 1))

    def where(count: int, probability: float) -> float:
        """The share at which at_least(count, share) reaches the probability."""
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if at_least(count, middle) < probability else (low, middle)
        return (low + high) / 2

    low = 0.0 if right == 0 else where(right, tail)
    high = 1.0 if right == asked else where(right + 1, 1 - tail)
    return low, high
