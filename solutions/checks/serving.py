"""Exercises on serving: equal work, the bytes of a cache, the requests on a node, what a test proves.

Their answers are numbers, and a wrong one looks as good as a right one. So there is a model of every kind (multi-head,
grouped, latent, windowed), contexts shorter than a window, a node on which nothing fits, and a test that is all right.
"""

import math
from collections import Counter
from itertools import pairwise

import torch
from torch import Tensor

from solutions import passkey, ring, serving
from solutions.checks.exercise import Case, Exercise
from solutions.checks.running import Rejected
from solutions.serving import H100_BYTES, MODELS, Model, kv_bytes, weight_bytes

# zigzag_rows -----------------------------------------------------------------------------------------------------


def parts_of(result, ranks) -> list[Tensor]:
    """The rows of each rank; rejects what is no list of as many tensors of whole numbers."""
    what = f"a list of {ranks} tensors, the rows of each rank"
    if not isinstance(result, list | tuple) or len(result) != ranks:
        given = f"{len(result)} parts" if isinstance(result, list | tuple) else f"one {type(result).__name__}"
        raise Rejected(f"your function returned {given}, expected {what}")
    for rank, part in enumerate(result):
        if not isinstance(part, Tensor):
            raise Rejected(f"rank {rank} has its rows as a {type(part).__name__}, expected {what}")
        if part.dim() != 1 or part.is_floating_point():
            raise Rejected(f"rank {rank} has rows of shape {tuple(part.shape)} and {part.dtype}, expected {what}")
    return list(result)


def few(rows: Tensor) -> str:
    """Rows in words, the middle left out where there are many."""
    told = [f"{row:,}" for row in rows.tolist()]
    return ", ".join(told if len(told) <= 12 else [*told[:6], "...", *told[-6:]])


def rows_in_turn(function, n, ranks):
    """True if every rank holds the rows that it should; else rejects, with the rows of the first that doesn't."""
    parts, wanted = parts_of(function(n, ranks), ranks), ring.zigzag_rows(n, ranks)
    for rank, (part, rows) in enumerate(zip(parts, wanted, strict=True)):
        if part.tolist() != rows.tolist():
            raise Rejected(f"rank {rank} holds the rows {few(part)}; expected {few(rows)}")
    return True


def fair(function, n, ranks):
    """Where the pieces can't be equal: is every row held once, in order, and the work within 10 % of the mean?"""
    parts = parts_of(function(n, ranks), ranks)
    held = Counter(torch.cat(parts).tolist())
    for row in range(n):
        if held[row] != 1:
            raise Rejected(f"row {row:,} is held {held[row]} times; expected once")
    for rank, part in enumerate(parts):
        if (part.diff() <= 0).any():
            at = int((part.diff() <= 0).nonzero()[0])
            pair = f"row {int(part[at + 1]):,} after row {int(part[at]):,}"
            raise Rejected(f"rank {rank} holds {pair}; expected rows that ascend")
    if ring.imbalance(parts) >= 1.1:
        raise Rejected(f"one rank has {ring.imbalance(parts):.2f} times the mean work; expected less than 1.1 times")
    return True


def pieces_in_turn(function, n, ranks):
    """Where the pieces can't be equal: does every rank hold its two, whichever of the pieces are longer by one?"""
    parts, short, low, high = parts_of(function(n, ranks), ranks), n // (2 * ranks), 0, n
    for rank, part in enumerate(parts):
        held = part.tolist()
        for first, last in ((one, len(held) - one) for one in (short, short + 1)):
            if last in (short, short + 1) and held == [*range(low, low + first), *range(high - last, high)]:
                low, high = low + first, high - last
                break
        else:
            raise Rejected(
                f"rank {rank} holds the rows {few(part)}; expected {short} or {short + 1} from row {low:,} on, and as "
                f"many up to row {high - 1:,}"
            )
    return True


def rows_by_arithmetic(n, ranks):
    edges = [n * piece // (2 * ranks) for piece in range(2 * ranks + 1)]
    held = []
    for rank in range(ranks):
        late = 2 * ranks - 1 - rank
        held.append(torch.tensor([*range(edges[rank], edges[rank + 1]), *range(edges[late], edges[late + 1])]))
    return held


def rows_by_piece_number(n, ranks):
    piece = torch.arange(n) * 2 * ranks // n
    owner = torch.minimum(piece, 2 * ranks - 1 - piece)
    return [(owner == rank).nonzero().flatten() for rank in range(ranks)]


def two_of(second, cut=lambda ranks: 2 * ranks, join=lambda early, late: torch.cat((early, late))):
    """Each rank's first piece, and the one that `second` numbers."""

    def zigzag_rows(n, ranks):
        pieces = torch.arange(n).tensor_split(cut(ranks))
        return [join(pieces[rank], pieces[second(rank, ranks) % len(pieces)]) for rank in range(ranks)]

    return zigzag_rows


def whole_pieces(n, ranks):
    size, rows = n // (2 * ranks), torch.arange(n)
    return [torch.cat((rows[i * size : (i + 1) * size], rows[n - (i + 1) * size : n - i * size])) for i in range(ranks)]


def cut_by_size(n, ranks, end):
    """Pieces of n // (2 · ranks) rows in order, the last up to end(n, what they hold together)."""
    size = n // (2 * ranks)
    edges = [*(piece * size for piece in range(2 * ranks)), end(n, 2 * ranks * size)]
    pieces = [torch.arange(*each) for each in pairwise(edges)]
    return [torch.cat((pieces[rank], pieces[-1 - rank])) for rank in range(ranks)]


def rounded_up(n, ranks):
    size = -(-n // (2 * ranks))
    pieces = [torch.arange(n)[piece * size : (piece + 1) * size] for piece in range(2 * ranks)]
    return [torch.cat((pieces[rank], pieces[-1 - rank])) for rank in range(ranks)]


def row_after_row(n, ranks):
    """Rows are dealt out to and fro."""
    turn = torch.arange(n) % (2 * ranks)
    owner = torch.minimum(turn, 2 * ranks - 1 - turn)
    return [(owner == rank).nonzero().flatten() for rank in range(ranks)]


ZIGZAG = Exercise(
    title="equal work in a causal ring",
    section="Past one device: ring attention",
    difficulty=2,
    minutes=8,
    reference=ring.zigzag_rows,
    hints=(
        "Row i looks at i + 1 keys. Cut 8 rows into 4 pieces of 2: how many pairs does each piece score? Which two "
        "pieces together make half of all?",
        "Cut into 2 · ranks pieces. The first and the last score as many together as the second and the last but one, "
        "and so on inwards.",
        "torch.arange(n).tensor_split(2 * ranks) gives the pieces. Rank i holds pieces[i] and pieces[-1 - i], joined "
        "with torch.cat.",
    ),
    cases=(
        Case("8 rows, 2 ranks", lambda normal: (8, 2), rows_in_turn),
        Case("24 rows, 4 ranks", lambda normal: (24, 4), rows_in_turn),
        Case("30 rows, 3 ranks", lambda normal: (30, 3), rows_in_turn),
        Case("one rank", lambda normal: (6, 1), rows_in_turn),
        Case("8,192 rows, 16 ranks", lambda normal: (8192, 16), rows_in_turn),
        Case("1,003 rows, 5 ranks: pieces of unequal length", lambda normal: (1003, 5), fair),
        Case("520 rows, 16 ranks: pieces of 16 and of 17", lambda normal: (520, 16), fair),
        Case("2,050 rows, 64 ranks: pieces of 16 and of 17", lambda normal: (2050, 64), fair),
        Case("47 rows, 5 ranks: pieces of 4 and of 5", lambda normal: (47, 5), pieces_in_turn),
    ),
    right_answers=(rows_by_arithmetic, rows_by_piece_number),
    mistakes={
        "each rank has one run of neighbouring rows, and the last has nearly twice the work": ring.contiguous_rows,
        "rank i has pieces i and ranks + i, and the last still has the most work": two_of(
            lambda rank, ranks: ranks + rank
        ),
        "rank i has pieces i and 2 · ranks - i, one too far": two_of(lambda rank, ranks: 2 * ranks - rank),
        "rank i has pieces i and 2 · ranks - 2 - i, one too early": two_of(lambda rank, ranks: 2 * ranks - 2 - rank),
        "there are `ranks` pieces, so that every row has two ranks": two_of(
            lambda rank, ranks: ranks - 1 - rank, cut=lambda ranks: ranks
        ),
        "the late piece is given and the early one is not": two_of(
            lambda rank, ranks: 2 * ranks - 1 - rank, join=lambda early, late: late
        ),
        "the late piece comes first, and the rows do not ascend": two_of(
            lambda rank, ranks: 2 * ranks - 1 - rank, join=lambda early, late: torch.cat((late, early))
        ),
        "the late piece runs backwards": two_of(
            lambda rank, ranks: 2 * ranks - 1 - rank, join=lambda early, late: torch.cat((early, late.flip(0)))
        ),
        "the pieces have n // (2 · ranks) rows, and rows are lost where that leaves a rest": whole_pieces,
        "the pieces have n // (2 · ranks) rows, and the last rows of the text are lost": lambda n, ranks: cut_by_size(
            n, ranks, lambda n, held: held
        ),
        "the pieces have n // (2 · ranks) rows, and the last has all the rest too": lambda n, ranks: cut_by_size(
            n, ranks, lambda n, held: n
        ),
        "rows are dealt out one by one, to and fro: in a long text nearly equal work, no pieces to skip": row_after_row,
        "the rows of a rank are a list, where they are a tensor": lambda n, ranks: [
            rows.tolist() for rows in ring.zigzag_rows(n, ranks)
        ],
        "the ranks stand in reverse: the last has the outermost pieces": lambda n, ranks: ring.zigzag_rows(n, ranks)[
            ::-1
        ],
        "rows are dealt out one by one: in a long text nearly equal work, but no pieces to skip": lambda n, ranks: [
            torch.arange(rank, n, ranks) for rank in range(ranks)
        ],
        "the pieces have n / (2 · ranks) rows, rounded up, and the last are short or empty": rounded_up,
        "chunk makes fewer pieces than it is asked for, and there is none for the first rank": lambda n, ranks: [
            torch.cat((pieces[rank], pieces[2 * ranks - 1 - rank]))
            for pieces in [torch.arange(n).chunk(2 * ranks)]
            for rank in range(ranks)
        ],
        "chunk cuts, which makes fewer pieces than it is asked for": lambda n, ranks: [
            torch.cat((pieces[rank], pieces[-1 - rank]))
            for pieces in [torch.arange(n).chunk(2 * ranks)]
            for rank in range(ranks)
        ],
    },
)

# kv_bytes --------------------------------------------------------------------------------------------------------

ODD = Model("odd", layers=5, heads=1, kv_heads=1, head_dim=3, parameters=1)
BOTH = Model("both", 4, 8, 8, 16, 1, window=4, global_every=2, latent=8, rope_latent=4)
TINY = Model("tiny", layers=6, heads=6, kv_heads=3, head_dim=32, parameters=1, window=10, global_every=3)


def cached(label, model, tokens, **bits):
    model = MODELS.get(model, model)
    return Case(label, lambda normal: (model, tokens), lambda function, *given: function(*given, **bits))


def bytes_layer_by_layer(model, tokens, *, bits=16, group=None):
    total = 0
    for layer in range(model.layers):
        local = model.window and (model.global_every is None or (layer + 1) % model.global_every)
        held = min(tokens, model.window) if local else tokens
        if model.latent is None:
            total += held * model.kv_heads * model.head_dim * 2
        else:
            total += held * (model.latent + model.rope_latent)
    return math.ceil(total * bits / 8) + (4 * -(-total // group) if group else 0)


def bytes_by_token(model, tokens, *, bits=16, group=None):
    """Token after token: what each adds, where the local layers have given one back."""
    each = (model.latent or 0) + (model.rope_latent or 0) or model.kv_heads * model.head_dim * 2
    slots = model.layers * min(tokens, model.window or tokens)
    slots += model.global_layers * (tokens - min(tokens, model.window or tokens))
    numbers = slots * each
    return math.ceil(numbers * bits / 8 + 4 * (math.ceil(numbers / group) if group else 0))


def each(model):
    return model.latent + model.rope_latent if model.latent else 2 * model.kv_heads * model.head_dim


def slots_of(model, tokens):
    local = min(tokens, model.window) if model.window else 0
    return model.global_layers * tokens + model.local_layers * local


def bits_of(numbers, bits):
    return math.ceil(numbers * bits / 8)


def groups_of(model, slots, numbers, group):
    return math.ceil(slots * numbers / group)


def bytes_with(slots=slots_of, each=each, size=bits_of, groups=groups_of, scale=4):
    """Bytes made of the slots, the numbers of each, their bytes and the groups, so that a mistake can replace one."""

    def kv_bytes(model, tokens, *, bits=16, group=None):
        held, numbers = slots(model, tokens), each(model)
        return size(held * numbers, bits) + (scale * groups(model, held, numbers, group) if group else 0)

    return kv_bytes


def parts_of_groups(model, tokens, *, bits=16, group=None):
    """A float where a group is short, and an int elsewhere: a float alone is no sign of this mistake."""
    numbers = slots_of(model, tokens) * each(model)
    total = numbers * bits / 8 + (4 * numbers / group if group else 0)
    return int(total) if total.is_integer() else total


def groups_layer_by_layer(model, tokens, *, bits=16, group=None):
    layers = [tokens] * model.global_layers + [min(tokens, model.window or tokens)] * model.local_layers
    groups = sum(math.ceil(held * each(model) / group) for held in layers) if group else 0
    return bits_of(slots_of(model, tokens) * each(model), bits) + 4 * groups


def bytes_not_rounded(model, tokens, *, bits=16, group=None):
    numbers = slots_of(model, tokens) * each(model)
    return numbers * bits / 8 + (4 * numbers / group if group else 0)


def bytes_layer_for_itself(model, tokens, *, bits=16, group=None):
    """The bytes are rounded up layer by layer; the groups are right."""
    one = bits_of(tokens * each(model), bits)
    total = model.global_layers * one
    if model.window:
        total += model.local_layers * bits_of(min(tokens, model.window) * each(model), bits)
    return total + (4 * math.ceil(slots_of(model, tokens) * each(model) / group) if group else 0)


def bytes_token_for_itself(model, tokens, *, bits=16, group=None):
    """The bytes of a token in a layer are rounded up; the groups are right."""
    held = slots_of(model, tokens)
    return held * bits_of(each(model), bits) + (4 * math.ceil(held * each(model) / group) if group else 0)


def groups_of_a_vector(model, slots, numbers, group):
    """Each key and each value of a head is cut into groups for itself."""
    vector = numbers if model.latent else model.head_dim
    return slots * numbers // vector * math.ceil(vector / group)


def groups_of_a_slot(model, slots, numbers, group):
    return slots * math.ceil(numbers / group)


def latent_as(numbers):
    return lambda model: numbers(model) if model.latent else each(model)


KV_BYTES = Exercise(
    title="the cache of real models",
    section="Serving 128K",
    difficulty=2,
    minutes=8,
    reference=serving.kv_bytes,
    hints=(
        "Which heads are stored, those of the queries or those of the keys? How many tokens does a layer with a window "
        "of 1,024 hold at token 131,072, and how many at token 500?",
        "Three factors: token slots over all layers (tokens in a global layer, the smaller of tokens and window in a "
        "local one), numbers in a slot (2 · kv_heads · head_dim, or latent + rope_latent), and bytes of a number. "
        "Scales come on top.",
        "slots = model.global_layers * tokens, and model.local_layers * min(tokens, model.window) more if there is a "
        "window. A number takes bits / 8 bytes, and 4 / group more where a group shares a scale and a zero point.",
    ),
    cases=(
        cached("Llama 2 7B, 131,072 tokens", "Llama-2-7B", 131_072),
        cached("Llama 3.1 70B: grouped heads", "Llama-3.1-70B", 131_072),
        cached("Llama 3.1 70B in 8 bits", "Llama-3.1-70B", 131_072, bits=8),
        cached("Llama 3.1 70B in 4 bits, groups of 32", "Llama-3.1-70B", 131_072, bits=4, group=32),
        cached("Llama 3.1 8B in 2 bits, groups of 64", "Llama-3.1-8B", 4096, bits=2, group=64),
        cached("Gemma 3 12B: one layer in six is global", "Gemma-3-12B", 131_072),
        cached("Gemma 3 12B, 500 tokens: less than the window", "Gemma-3-12B", 500),
        cached("Mistral 7B, 32,768 tokens: every layer has a window", "Mistral-7B", 32_768),
        cached("DeepSeek-V3: one latent for all heads", "DeepSeek-V3", 131_072),
        cached("6 layers, 3 KV heads of 32, a window of 10, 27 tokens", TINY, 27),
        cached("one token", "Llama-3.1-8B", 1),
        cached("7 tokens in 4 bits, groups of 96, the last of them short", "Llama-2-7B", 7, bits=4, group=96),
        cached("27 tokens of the small model in 8 bits, groups of 50", TINY, 27, bits=8, group=50),
        cached("DeepSeek-V3, 1,001 tokens in 4 bits, groups of 256", "DeepSeek-V3", 1001, bits=4, group=256),
        cached("5 layers, 1 KV head of 3, one token in 3 bits: 90 bits in all", ODD, 1, bits=3),
        cached("5 layers, 1 KV head of 3, two tokens in 3 bits: 180 bits in all", ODD, 2, bits=3),
        cached("Llama 3.1 8B, 1,000 tokens in 4.5 bits", "Llama-3.1-8B", 1000, bits=4.5),
        cached("27 tokens of the small model in 16 bits, groups of 50", TINY, 27, group=50),
        cached("a latent, a window of 4 in two layers of four, 100 tokens", BOTH, 100),
    ),
    right_answers=(bytes_layer_by_layer, bytes_by_token),
    mistakes={
        "the query heads are counted, where only the KV heads are stored": bytes_with(
            each=lambda model: each(model) if model.latent else 2 * model.heads * model.head_dim
        ),
        "keys are counted and values are not: the factor 2 is missing": bytes_with(
            each=lambda model: each(model) if model.latent else model.kv_heads * model.head_dim
        ),
        "every layer keeps its window only, though global layers keep every token": bytes_with(
            slots=lambda model, tokens: model.layers * min(tokens, model.window or tokens)
        ),
        "the window is ignored, and every layer keeps every token": bytes_with(
            slots=lambda model, tokens: model.layers * tokens
        ),
        "a local layer keeps `window` tokens even where there are fewer": bytes_with(
            slots=lambda model, tokens: model.global_layers * tokens + model.local_layers * (model.window or 0)
        ),
        "the local layers are not counted at all": bytes_with(slots=lambda model, tokens: model.global_layers * tokens),
        "one layer is counted, not all": bytes_with(
            slots=lambda model, tokens: slots_of(model, tokens) // model.layers
        ),
        "the latent counts twice, as if a key and a value were stored": bytes_with(
            each=latent_as(lambda model: 2 * (model.latent + model.rope_latent))
        ),
        "the latent is counted without the rotated key beside it": bytes_with(
            each=latent_as(lambda model: model.latent)
        ),
        "a model with a latent keeps every token in all layers, also in its local ones": bytes_with(
            slots=lambda model, tokens: model.layers * tokens if model.latent else slots_of(model, tokens)
        ),
        "full heads are counted where one latent is stored for all of them": bytes_with(
            each=latent_as(lambda model: 2 * model.kv_heads * model.head_dim)
        ),
        "bits are rounded to a whole number": bytes_with(size=lambda numbers, bits: bits_of(numbers, math.ceil(bits))),
        "bits are counted, and not bytes": bytes_with(size=lambda numbers, bits: numbers * bits, scale=32),
        "every number takes 2 bytes, whatever bits says": bytes_with(size=lambda numbers, bits: 2 * numbers),
        "the groups have no scale and no zero point": bytes_with(scale=0),
        "a group has a scale and no zero point": bytes_with(scale=2),
        "a group's scale takes 4 bits, where it takes 4 bytes": bytes_with(scale=0.5),
        "the last, short group has no scale: the groups are rounded down": bytes_with(
            groups=lambda model, slots, numbers, group: slots * numbers // group
        ),
        "every key and value is cut into groups for itself, where groups run on over all numbers": bytes_with(
            groups=groups_of_a_vector
        ),
        "every token of a layer is cut into groups for itself, where groups run on over all numbers": bytes_with(
            groups=groups_of_a_slot
        ),
        "the last, short group has a part of a scale: the groups are not rounded up": parts_of_groups,
        "the last, short group has a part of a scale, and all is rounded up together": (
            lambda *given, **bits: math.ceil(parts_of_groups(*given, **bits))
        ),
        "every layer has groups of its own, where they run on over all numbers": groups_layer_by_layer,
        "there is one group more than it takes": bytes_with(
            groups=lambda model, slots, numbers, group: slots * numbers // group + 1
        ),
        "keys and values are cut into groups apart, where groups run on over all numbers": bytes_with(
            groups=lambda model, slots, numbers, group: (
                (1 if model.latent else 2) * math.ceil(slots * numbers / (1 if model.latent else 2) / group)
            )
        ),
        "a group has 8 bytes more, where it has 4": bytes_with(scale=8),
        "there is a scale for each number": bytes_with(groups=lambda model, slots, numbers, group: slots * numbers),
        "the bytes are rounded down, where the last bits take a byte too": bytes_with(
            size=lambda numbers, bits: int(numbers * bits // 8)
        ),
        "the bytes and the groups are both rounded down": bytes_with(
            size=lambda numbers, bits: int(numbers * bits // 8),
            groups=lambda model, slots, numbers, group: slots * numbers // group,
        ),
        "every layer's bytes are rounded up for themselves, where it is done once, at the end": bytes_layer_for_itself,
        "each token's bytes in a layer are rounded up for themselves, where it is done once, at the end": (
            bytes_token_for_itself
        ),
        "the bits of a number are rounded down to whole bytes, and below 8 there are none": bytes_with(
            size=lambda numbers, bits: numbers * (int(bits) // 8)
        ),
        "the bits of a number are rounded up to whole bytes": bytes_with(
            size=lambda numbers, bits: numbers * math.ceil(bits / 8)
        ),
        "the bytes are a float, and nothing is rounded": bytes_not_rounded,
        "local layers keep all tokens and global ones a window": bytes_with(
            slots=lambda model, tokens: (
                model.local_layers * tokens + model.global_layers * min(tokens, model.window)
                if model.window
                else model.layers * tokens
            )
        ),
        "bits are taken for bytes": bytes_with(size=lambda n, bits: math.ceil(n * bits)),
    },
)

# requests_that_fit -----------------------------------------------------------------------------------------------


SMALL = Model("small", layers=1, heads=1, kv_heads=1, head_dim=1, parameters=1000)


def node(label, model, tokens, **given):
    model = MODELS.get(model, model)
    return Case(label, lambda normal: (model, tokens), lambda function, *which: function(*which, **given))


def fit_one_by_one(
    model, tokens, *, device_bytes=H100_BYTES, devices=8, usable=0.9, bits=16, group=None, weight_bits=16
):
    free = devices * device_bytes * usable - model.parameters * weight_bits / 8
    each, requests = kv_bytes(model, tokens, bits=bits, group=group), 0
    while (requests + 1) * each <= free:
        requests += 1
    return requests


def fit_by_device(
    model, tokens, *, device_bytes=H100_BYTES, devices=8, usable=0.9, bits=16, group=None, weight_bits=16
):
    """What one device holds of everything: its share of the weights, and of every request."""
    room = usable * device_bytes - weight_bytes(model, weight_bits) / devices
    of_a_request = kv_bytes(model, tokens, bits=bits, group=group) / devices
    return int(room // of_a_request) if room > 0 else 0


def usable_memory(device_bytes, devices, usable):
    return devices * device_bytes * usable


def fit(
    memory=usable_memory,
    weights=lambda model, bits, weight_bits, devices: weight_bytes(model, weight_bits),
    cache=lambda model, tokens, bits, group: kv_bytes(model, tokens, bits=bits, group=group),
    whole=lambda requests: max(0, math.floor(requests)),
    room=lambda memory, weights, usable: memory - weights,
):
    """Requests made of the memory, the weights, the cache of one and a rounding, so that a mistake can replace one."""

    def requests_that_fit(
        model, tokens, *, device_bytes=H100_BYTES, devices=8, usable=0.9, bits=16, group=None, weight_bits=16
    ):
        free = room(memory(device_bytes, devices, usable), weights(model, bits, weight_bits, devices), usable)
        return whole(free / cache(model, tokens, bits, group))

    return requests_that_fit


def one_by_device(
    model, tokens, *, device_bytes=H100_BYTES, devices=8, usable=0.9, bits=16, group=None, weight_bits=16
):
    room = usable * device_bytes - weight_bytes(model, weight_bits) / devices
    return devices * max(0, math.floor(room / kv_bytes(model, tokens, bits=bits, group=group)))


FIT = Exercise(
    title="how many requests a node holds",
    section="Serving 128K",
    difficulty=2,
    minutes=8,
    reference=serving.requests_that_fit,
    hints=(
        "Eight devices of 80 GB. What lies in their memory before the first request comes, and how much does one "
        "request need when its context is full?",
        "The room is what may be used of all devices, less one copy of the weights (weight_bytes). A request takes "
        "kv_bytes at its full length. What if there is no room at all?",
        "room = devices * device_bytes * usable - weight_bytes(model, weight_bits). Divide by kv_bytes(model, tokens, "
        "bits=bits, group=group), round down, and never return less than 0.",
    ),
    cases=(
        node("70B at 131,072 tokens, 8 devices of 80 GB", "Llama-3.1-70B", 131_072),
        node("70B, the cache in 8 bits", "Llama-3.1-70B", 131_072, bits=8),
        node("70B, the cache in 4 bits, groups of 32", "Llama-3.1-70B", 131_072, bits=4, group=32),
        node("8B, 32.6 requests", "Llama-3.1-8B", 131_072),
        node("405B in 8 bits", "Llama-3.1-405B", 131_072, weight_bits=8),
        node("405B in 16 bits: the weights alone do not fit", "Llama-3.1-405B", 131_072),
        node("70B at 10 million tokens: not one request fits", "Llama-3.1-70B", 10_000_000),
        node(
            "8B on one device of 24 GB, all of it usable", "Llama-3.1-8B", 8192, device_bytes=24e9, devices=1, usable=1
        ),
        node("Gemma 3 12B on two devices, 70 % usable", "Gemma-3-12B", 32_768, devices=2, usable=0.7),
        node("DeepSeek-V3 on 24 devices: experts that rest lie there too", "DeepSeek-V3", 131_072, devices=24),
        node(
            "405B in 4 bits at 8,192 tokens, the cache in groups of 64", "Llama-3.1-405B", 8192, group=64, weight_bits=4
        ),
        node("three requests of 40 bytes, and room for 120", SMALL, 10, device_bytes=1060, devices=2, usable=1.0),
    ),
    right_answers=(fit_one_by_one, fit_by_device),
    mistakes={
        "the weights are forgotten, which lie there before the first request": fit(weights=lambda *_: 0),
        "every device holds all the weights": fit(
            weights=lambda model, bits, weight_bits, devices: devices * weight_bytes(model, weight_bits)
        ),
        "the weights take as many bits as the cache": fit(
            weights=lambda model, bits, weight_bits, devices: weight_bytes(model, bits)
        ),
        "the weights always take 16 bits": fit(
            weights=lambda model, bits, weight_bits, devices: weight_bytes(model, 16)
        ),
        "parameters are taken for bytes": fit(weights=lambda model, bits, weight_bits, devices: model.parameters),
        "all memory is usable, and nothing is left for what else a step needs": fit(
            memory=lambda device_bytes, devices, usable: devices * device_bytes
        ),
        "the share that is usable is taken after the weights, and not of the whole": fit(
            memory=lambda device_bytes, devices, usable: devices * device_bytes,
            room=lambda memory, weights, usable: (memory - weights) * usable,
        ),
        "one device is counted": fit(memory=lambda device_bytes, devices, usable: device_bytes * usable),
        "a GB is taken for a GiB": fit(
            memory=lambda device_bytes, devices, usable: devices * device_bytes / 1e9 * 2**30 * usable
        ),
        "the cache always takes 16 bits": fit(cache=lambda model, tokens, bits, group: kv_bytes(model, tokens)),
        "the scales of the groups are forgotten": fit(
            cache=lambda model, tokens, bits, group: kv_bytes(model, tokens, bits=bits)
        ),
        "requests are half as long, as in the mean, and all of them may grow to the end": fit(
            cache=lambda model, tokens, bits, group: kv_bytes(model, max(1, tokens // 2), bits=bits, group=group)
        ),
        "a request that fits exactly, to the last byte, is not counted": fit(
            whole=lambda requests: max(0, math.ceil(requests) - 1)
        ),
        "the last request fits only in part": fit(whole=lambda requests: max(0, math.ceil(requests))),
        "requests are rounded to the nearest whole number": fit(whole=lambda requests: max(0, round(requests))),
        "a request is divided: the result is not rounded": fit(whole=lambda requests: max(0, requests)),
        "the number is a float: // of a float is one": fit(whole=lambda requests: max(0, requests // 1)),
        "the number is a float, 0.0 where nothing fits": fit(whole=lambda requests: max(0.0, requests // 1)),
        "there are fewer than 0 requests where the weights do not fit, cut towards 0": fit(whole=int),
        "the cache of one token is multiplied by the tokens, and windows never fill": fit(
            cache=lambda model, tokens, bits, group: tokens * kv_bytes(model, 1, bits=bits, group=group)
        ),
        "a device has 80 GB, whatever device_bytes says": fit(
            memory=lambda device_bytes, devices, usable: devices * H100_BYTES * usable
        ),
        "there are 8 devices, whatever `devices` says": fit(
            memory=lambda device_bytes, devices, usable: 8 * device_bytes * usable
        ),
        "0.9 is usable, whatever `usable` says": fit(
            memory=lambda device_bytes, devices, usable: devices * device_bytes * 0.9
        ),
        "one request always fits": fit(whole=lambda requests: max(1, math.floor(requests))),
        "every device holds whole requests of its own, where a request is spread over all": one_by_device,
        "every request brings its own weights": fit(
            cache=lambda model, tokens, bits, group: (
                kv_bytes(model, tokens, bits=bits, group=group) + weight_bytes(model, 16)
            )
        ),
        "there are fewer than 0 requests where the weights do not fit": fit(whole=math.floor),
        "only the weights that a token uses are counted": fit(
            weights=lambda model, bits, weight_bits, devices: (model.active or model.parameters) * weight_bits / 8
        ),
    },
)

# needle_interval ------------------------------------------------------------------------------------------------


def both_ends(function, *given):
    """The two ends as Python floats, from whatever holds two numbers."""
    result = function(*given)
    if not isinstance(result, list | tuple | Tensor) or len(result) != 2:
        raise Rejected(f"your function returned {result!r}, expected two shares, the low and the high end")
    return tuple(float(end) for end in result)


def found(label, *given):
    return Case(label, lambda normal: given, both_ends)


def ends_by_formula(right, asked, z=1.96):
    missed = asked - right
    root = z * math.sqrt(z**2 + 4 * right * missed / asked)
    return (2 * right + z**2 - root) / (2 * (asked + z**2)), (2 * right + z**2 + root) / (2 * (asked + z**2))


def ends_by_search(right, asked, z=1.96):
    """From the definition: the shares at which what was seen is z standard errors away."""

    def too_far(share):
        return (share - right / asked) ** 2 > z**2 * share * (1 - share) / asked

    ends = []
    for outside in (0.0, 1.0):
        inside = right / asked
        for _ in range(100):
            middle = (outside + inside) / 2
            outside, inside = (middle, inside) if too_far(middle) else (outside, middle)
        ends.append(inside)
    return ends


def wald(right, asked, z=1.96):
    """The textbook's: what was seen, z of its own standard errors on each side."""
    seen = right / asked
    reach = z * math.sqrt(seen * (1 - seen) / asked)
    return seen - reach, seen + reach


def ends_with(
    middle=lambda seen, asked, z: (seen + z * z / (2 * asked)) / (1 + z * z / asked),
    error=lambda seen, asked, z: math.sqrt(seen * (1 - seen) / asked + z * z / (4 * asked**2)) / (1 + z * z / asked),
    z_of=lambda z: z,
    cut=True,
):
    """Ends made of a middle and an error, so that a mistake can replace one."""

    def needle_interval(right, asked, z=1.96):
        z = z_of(z)
        centre, reach = middle(right / asked, asked, z), z * error(right / asked, asked, z)
        return (max(0.0, centre - reach), min(1.0, centre + reach)) if cut else (centre - reach, centre + reach)

    return needle_interval


def ends_of_a_sample(right, asked, z=1.96):
    seen, n = right / asked, max(asked - 1, 1)
    middle = (seen + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(seen * (1 - seen) / n + z * z / (4 * n * n))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def seen_as_it_is(seen, asked, z):
    return seen


def error_of_the_seen(seen, asked, z):
    return math.sqrt(seen * (1 - seen) / asked)


def middle_and_reach(right, asked, z=1.96):
    low, high = ends_by_formula(right, asked, z)
    return (low + high) / 2, (high - low) / 2


def with_continuity(right, asked, z=1.96):
    """Newcombe's: half a needle to each side before the equation is solved."""
    ends = []
    for sign, found in ((-1, right), (1, asked - right)):
        under = z * z - 1 / asked + 4 * right * (asked - right) / asked - sign * (4 * right / asked - 2)
        end = (2 * right + z * z + sign * (z * math.sqrt(max(under, 0)) + 1)) / (2 * (asked + z * z))
        ends.append(end if found else (sign + 1) / 2)
    return max(ends[0], 0.0), min(ends[1], 1.0)


def moved(seen, asked, z):
    return (seen + z * z / (2 * asked)) / (1 + z * z / asked)


def error_of_the_moved(seen, asked, z):
    """Agresti and Coull's: the plain error, at the moved middle, of asked + z² trials."""
    return error_of_the_seen(moved(seen, asked, z), asked + z * z, z)


NEEDLE = Exercise(
    title="what ten needles prove",
    section="Usable length",
    difficulty=3,
    minutes=10,
    reference=serving.needle_interval,
    hints=(
        "All 10 needles of a cell were found. Is a true share of 0.9 ruled out? The plain interval, seen ± z · "
        "√(seen (1 - seen) / asked), says so. Whose error should stand under the root?",
        "The ends are the shares p that lie z of their own standard errors from what was seen: "
        "(p - seen)² = z² p (1 - p) / asked. That is a quadratic equation in p.",
        "middle = (seen + z² / (2 asked)) / (1 + z² / asked). The reach on each side is z / (1 + z² / asked) times the "
        "root of seen (1 - seen) / asked + z² / (4 asked²).",
    ),
    cases=(
        found("7 of 20, z = 2.576 for 99 %", 7, 20, 2.576),
        found("437 of 500, as many as RULER asks", 437, 500),
        found("50 of 100", 50, 100),
        found("9 of 10", 9, 10),
        found("10 of 10: a perfect cell", 10, 10),
        found("32 of 32", 32, 32),
        found("0 of 5", 0, 5),
        found("1 of 1", 1, 1),
    ),
    right_answers=(ends_by_formula, ends_by_search),
    mistakes={
        "the error is that of the share seen (Wald's interval), so that a perfect cell has no width": wald,
        "the error is that of the share seen, cut to 0 and 1, so that a perfect cell has no width": ends_with(
            seen_as_it_is, error_of_the_seen
        ),
        "the middle is not moved towards one half": ends_with(middle=seen_as_it_is),
        "the middle is moved and the error is that of the share seen": ends_with(error=error_of_the_seen),
        "the plain error is taken at the moved middle, which is too wide for a perfect cell": ends_with(
            error=error_of_the_moved
        ),
        "the middle is not divided by 1 + z² / asked": ends_with(
            middle=lambda seen, asked, z: seen + z * z / (2 * asked)
        ),
        "the reach is not divided by 1 + z² / asked": ends_with(
            error=lambda seen, asked, z: math.sqrt(seen * (1 - seen) / asked + z * z / (4 * asked**2))
        ),
        "the root is forgotten: a variance is added to a share": ends_with(
            error=lambda seen, asked, z: (seen * (1 - seen) / asked + z * z / (4 * asked**2)) / (1 + z * z / asked)
        ),
        "the spread of one trial is taken, and more trials do not narrow it": ends_with(
            error=lambda seen, asked, z: math.sqrt(seen * (1 - seen) + z * z / (4 * asked)) / (1 + z * z / asked)
        ),
        "the error is that of the share seen, over asked - 1": ends_with(
            seen_as_it_is, lambda seen, asked, z: math.sqrt(seen * (1 - seen) / max(asked - 1, 1))
        ),
        "2 needles found and 2 missed are added, and the plain error taken: good for 95 % only": ends_with(
            lambda seen, asked, z: (seen * asked + 2) / (asked + 4),
            lambda seen, asked, z: error_of_the_seen((seen * asked + 2) / (asked + 4), asked + 4, z),
        ),
        "the root of `asked` is left out: the spread of one trial, at the share seen": ends_with(
            seen_as_it_is, lambda seen, asked, z: math.sqrt(seen * (1 - seen))
        ),
        "the middle and the reach are returned, where the two ends are asked for": middle_and_reach,
        "a correction for continuity is added, which widens it": with_continuity,
        "it is the exact interval for 95 % (Clopper and Pearson, `passkey.interval`), whatever z says": (
            lambda right, asked, z=1.96: passkey.interval(right, asked)
        ),
        "z is left out, and the interval holds two thirds of the time": ends_with(z_of=lambda z: 1.0),
        "z is 1.96, whatever was asked for": ends_with(z_of=lambda z: 1.96),
        "z is halved, as if the interval had one side": ends_with(z_of=lambda z: z / 2),
        "the error is the largest that any share has, √(1 / (4 asked))": ends_with(
            seen_as_it_is, lambda seen, asked, z: math.sqrt(1 / (4 * asked))
        ),
        "the root has z² / (4 asked), where it has z² / (4 asked²)": ends_with(
            error=lambda seen, asked, z: (
                math.sqrt(seen * (1 - seen) / asked + z * z / (4 * asked)) / (1 + z * z / asked)
            )
        ),
        "the middle is moved by z² / asked, where it is z² / (2 asked)": ends_with(
            middle=lambda seen, asked, z: (seen + z * z / asked) / (1 + z * z / asked)
        ),
        "z is 1.645, which leaves 5 % on one side": ends_with(z_of=lambda z: 1.645),
        "the high end comes first": lambda right, asked, z=1.96: serving.needle_interval(right, asked, z)[::-1],
        "needles are counted, where a share is asked for": lambda right, asked, z=1.96: tuple(
            end * asked for end in serving.needle_interval(right, asked, z)
        ),
        "middle and reach are not divided by 1 + z² / asked": ends_with(
            lambda seen, asked, z: seen + z * z / (2 * asked),
            lambda seen, asked, z: math.sqrt(seen * (1 - seen) / asked + z * z / (4 * asked**2)),
        ),
        "z stands where z² belongs": ends_with(
            lambda seen, asked, z: (seen + z / (2 * asked)) / (1 + z / asked),
            lambda seen, asked, z: math.sqrt(seen * (1 - seen) / asked + z / (4 * asked**2)) / (1 + z / asked),
        ),
        "z² / (4 asked²) is left out of the root": ends_with(
            error=lambda seen, asked, z: error_of_the_seen(seen, asked, z) / (1 + z * z / asked)
        ),
        "z² / (2 asked²) stands in the root, where it is z² / (4 asked²)": ends_with(
            error=lambda seen, asked, z: (
                math.sqrt(seen * (1 - seen) / asked + z * z / (2 * asked**2)) / (1 + z * z / asked)
            ),
            cut=False,
        ),
        "z stands in the root, where it is z²": ends_with(
            error=lambda seen, asked, z: math.sqrt(seen * (1 - seen) / asked + z / (4 * asked**2)) / (1 + z * z / asked)
        ),
        "the plain error is taken at the moved middle, and the ends are not cut to 0 and 1": ends_with(
            error=error_of_the_moved, cut=False
        ),
        "the reach is not divided by 1 + z² / asked, and the ends are not cut to 0 and 1": ends_with(
            error=lambda seen, asked, z: math.sqrt(seen * (1 - seen) / asked + z * z / (4 * asked**2)), cut=False
        ),
        "everything is divided by asked - 1, as the spread of a sample is": ends_of_a_sample,
        "the ends are rounded to three digits": lambda right, asked, z=1.96: tuple(
            round(end, 3) for end in serving.needle_interval(right, asked, z)
        ),
        "the misses are counted, and not what was found": lambda right, asked, z=1.96: serving.needle_interval(
            asked - right, asked, z
        ),
        "shares are given in per cent": lambda right, asked, z=1.96: tuple(
            100 * end for end in serving.needle_interval(right, asked, z)
        ),
    },
)

EXERCISES = (ZIGZAG, KV_BYTES, FIT, NEEDLE)
