"""Exercises: a softmax in pieces, tiles in a small memory, the bytes they move, keys in parts.

What is wrong with a flash attention is seldom seen in a friendly case: a missing key bound hides behind the causal
mask, a forgotten change of unit behind scores that hardly differ, a whole N x N matrix behind right numbers. So lengths
divide nothing, maxima come late, blocks differ, and budgets of room and traffic are counted, not trusted.
"""

import inspect
import math
import re

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from solutions import flash
from solutions.checks.exercise import Case, Exercise
from solutions.checks.running import Rejected, place_of
from solutions.checks.tools import LargestMade, far_below, large_products, storage, tensors, wider
from solutions.flash import SRAMOverflow, TileMachine, forward_bytes
from solutions.quadratic import attention
from solutions.watch import Watch

# online_softmax --------------------------------------------------------------------------------------------------


def refuse_half(like: Tensor, **statistics: Tensor) -> None:
    """Reject what is not float32 at least: of half precision too, statistics are kept in that."""
    wide = torch.promote_types(like.dtype, torch.float32)
    for name, value in statistics.items():
        if value.dtype != wide:
            raise Rejected(f"the {name} you return is {value.dtype}, expected {wide}, since the input is {like.dtype}")


def row_in_chunks(function, scores, sizes):
    """Maximum and total; the maximum of an empty row, which differs between dtypes, as -inf where it is right."""
    rows = scores.shape[:-1]
    maximum, total = tensors(function(list(scores.split(sizes, dim=-1))), maximum=rows, total=rows)
    refuse_half(scores, maximum=maximum, total=total)
    empty, lowest = torch.isneginf(scores).all(dim=-1), torch.finfo(maximum.dtype).min
    for row in empty.nonzero().tolist():
        given = maximum[tuple(row)].item()
        if given != lowest:
            raise Rejected(
                f"the maximum of row {row[0]}, which is nothing but -inf, is {given:.4g}, expected {lowest:.4g}, "
                f"the most negative finite number of {maximum.dtype}"
            )
    return torch.stack([maximum.masked_fill(empty, -math.inf), total])


def total_alone(function, scores, sizes):
    """The total, beside a maximum so large that nobody would see it."""
    return row_in_chunks(function, scores, sizes)[1]


def very_low(normal):
    """Rows of one score that is finite, and lower than any usual floor."""
    scores = torch.full((2, 3), -math.inf)
    scores[0, 0], scores[1, 1] = -1e35, torch.finfo(torch.float32).min
    return scores, [1, 2]


class Turns(Watch):
    """Remember in which order the numbers of some tensors are read; looking at one several times in a row is one turn.

    A view reads nothing yet, and what is only made in a tensor's shape reads nothing.
    """

    def __init__(self, chunks):
        super().__init__()
        self.chunks, self.turns = {storage(chunk): index for index, chunk in enumerate(chunks)}, []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        given = [storage(tensor) for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)]
        made = [storage(tensor) for tensor in tree_leaves(result) if isinstance(tensor, Tensor)]
        shape_alone = "_like" in operation.__name__ or operation.__name__.startswith("new_")
        if not shape_alone and not set(made) <= set(given):
            for index in (self.chunks[each] for each in given if each in self.chunks):
                if self.turns[-1:] != [index]:
                    self.turns.append(index)
        return result

    def refuse_second(self) -> None:
        for turn, index in enumerate(self.turns):
            if index in self.turns[:turn]:
                raise Rejected(
                    f"chunk {index} is read again after chunk {self.turns[turn - 1]}, and each may be read once: "
                    "what is needed of it later is carried in the maximum and the total"
                )


def chunk_by_chunk(function, scores, sizes):
    """The outcome, unless a chunk is read again after another, or a tensor is larger than two of them.

    What is carried may stand beside a chunk.
    """
    chunks = [chunk.clone() for chunk in scores.split(sizes, dim=-1)]
    with Turns(chunks) as read, LargestMade() as largest:
        maximum, total = tensors(function(chunks), maximum=scores.shape[:-1], total=scores.shape[:-1])
    largest.refuse_above(2 * max(chunk.numel() for chunk in chunks), "two chunks")
    read.refuse_second()
    return torch.stack([maximum, total])


def two_passes(chunks):
    """The largest of all maxima first, and then every chunk once more."""
    maximum = torch.stack([wider(chunk)[0].amax(dim=-1) for chunk in chunks]).amax(dim=0)
    maximum = maximum.clamp(min=torch.finfo(maximum.dtype).min)
    return maximum, sum(torch.exp(wider(chunk)[0] - maximum[..., None]).sum(dim=-1) for chunk in chunks)


def online_by_logaddexp(chunks):
    chunks = [chunk if chunk.dtype == torch.float64 else chunk.float() for chunk in chunks]
    maximum = lse = torch.full_like(chunks[0][..., 0], -math.inf)
    for chunk in chunks:
        maximum = torch.maximum(maximum, chunk.max(dim=-1).values)
        lse = torch.logaddexp(lse, chunk.logsumexp(dim=-1))
    return maximum.clamp(min=torch.finfo(maximum.dtype).min), torch.exp(lse - maximum).nan_to_num(0)


def online_by_pairs(chunks):
    if len(chunks) == 1:
        chunk = chunks[0].to(torch.promote_types(chunks[0].dtype, torch.float32))
        maximum = chunk.amax(dim=-1).clamp(min=torch.finfo(chunk.dtype).min)
        return maximum, (chunk - maximum.unsqueeze(-1)).exp().sum(dim=-1)
    half = len(chunks) // 2
    (max_a, sum_a), (max_b, sum_b) = online_by_pairs(chunks[:half]), online_by_pairs(chunks[half:])
    maximum = torch.maximum(max_a, max_b)
    return maximum, sum_a * (max_a - maximum).exp() + sum_b * (max_b - maximum).exp()


def streamed(
    add=lambda total, part, alpha: alpha * total + part,
    measured=lambda chunk, new, old: new,
    begin=lambda chunk: torch.finfo(chunk.dtype).min,
    chosen=lambda chunks: chunks,
    back=lambda maximum, total: (maximum, total),
    latest=torch.maximum,
    kept=lambda chunk: chunk.to(torch.promote_types(chunk.dtype, torch.float32)),
    top=lambda chunk: chunk.amax(dim=-1),
    exp=torch.exp,
    gather=lambda weights: weights.sum(dim=-1),
):
    """A stream in which a mistake can replace a part: how a chunk is added and measured, where m begins."""

    def online_softmax(chunks):
        chunks = [kept(chunk) for chunk in chunks]
        maximum = torch.full_like(chunks[0][..., 0], begin(chunks[0]))
        total = torch.zeros_like(maximum)
        for chunk in chosen(chunks):
            new = latest(maximum, top(chunk))
            part = gather(exp(chunk - measured(chunk, new, maximum)[..., None]))
            total, maximum = add(total, part, exp(maximum - new)), new
        return back(maximum, total)

    return online_softmax


def wide_at_the_end(maximum, total):
    """What was kept in half precision, as float32, and the maximum of an empty row as it should be."""
    maximum, total = wider(maximum, total)
    return maximum.masked_fill(total == 0, torch.finfo(total.dtype).min), total


def begun_in_half(chunks):
    """A stream whose maximum begins at the most negative number of the chunks' dtype."""
    return streamed(begin=lambda chunk: torch.finfo(chunks[0].dtype).min)(chunks)


def online_beside(chunks):
    """What is carried stands as one more score beside the chunk."""
    wide = torch.promote_types(chunks[0].dtype, torch.float32)
    maximum = torch.full_like(chunks[0][..., 0], torch.finfo(wide).min, dtype=wide)
    total = torch.zeros_like(maximum)
    for chunk in chunks:
        old, maximum = maximum, torch.cat([maximum[..., None], chunk.to(wide)], dim=-1).amax(dim=-1)
        total = total * torch.exp(old - maximum) + torch.exp(chunk.to(wide) - maximum[..., None]).sum(dim=-1)
    return maximum, total


def unprotected(chunks):
    chunks = [chunk.to(torch.promote_types(chunk.dtype, torch.float32)) for chunk in chunks]
    maximum = torch.stack([chunk.amax(dim=-1) for chunk in chunks]).amax(dim=0)
    total = sum(torch.exp(chunk).sum(dim=-1) for chunk in chunks)
    return maximum, total / torch.exp(maximum)


def joined(chunks):
    return streamed()([torch.cat(chunks, dim=-1)])


def split_row(sizes, *shape, shift=0.0, scale=1.0):
    return lambda normal: (shift + scale * normal(*shape, sum(sizes)), list(sizes))


def hidden_chunk(at):
    def inputs(normal):
        scores = normal(3, 9)
        scores[1, at] = -math.inf
        return scores, [3, 3, 3]

    return inputs


def all_hidden(normal):
    scores = normal(3, 6)
    scores[2] = -math.inf
    return scores, [2, 4]


def flat(keys, chunk):
    """Equal scores: a sum in half precision stops growing, or is infinite."""
    return lambda normal: (normal(2, 1).expand(-1, keys), [*[chunk] * (keys // chunk), keys % chunk])


def afterwards(maximum, total):
    """What was kept in half precision, as float32."""
    wide = torch.promote_types(total.dtype, torch.float32)
    return maximum.to(wide).clamp(min=torch.finfo(wide).min), total.to(wide)


ONLINE = Exercise(
    title="a softmax in pieces",
    section="A row in pieces",
    difficulty=2,
    minutes=15,
    reference=flash.online_softmax,
    hints=(
        "After the scores 1 and 2 the maximum is 2 and the total e^(1 - 2) + 1 = 1.3679. Now a 3 arrives. In which "
        "unit is the 1.3679, and in which must it be?",
        "Keep two numbers a row. For each chunk: the new maximum is the larger of the old one and the chunk's; "
        "alpha = exp(old - new) brings the old total to the new unit; the chunk's exponentials are measured from new.",
        "Begin with torch.finfo(dtype).min and 0, both of the shape of chunk[..., 0], where dtype is "
        "torch.promote_types(chunks[0].dtype, torch.float32). In the loop: new_maximum, alpha, alpha * total + "
        "torch.exp(chunk - new_maximum[..., None]).sum(dim=-1). The maximum moves last.",
    ),
    cases=(
        Case("scores 1, 2 and then 3", lambda normal: (torch.tensor([[1.0, 2.0, 3.0]]), [2, 1]), row_in_chunks),
        Case("the maximum comes first", lambda normal: (torch.tensor([[4.0, 1.0, 2.5, 3.0]]), [1, 3]), row_in_chunks),
        Case("4 rows in chunks of 3, 5 and 1", split_row((3, 5, 1), 4), row_in_chunks),
        Case("one chunk", split_row((6,), 3), row_in_chunks),
        Case("scores around -50", split_row((4, 4), 3, shift=-50.0), row_in_chunks),
        Case("scores around 500", split_row((4, 4, 2), 3, shift=500.0, scale=4.0), row_in_chunks),
        Case("scores around -20,000", split_row((4, 5), 3, shift=-20_000.0), row_in_chunks, dtype=torch.float64),
        Case("a first chunk that is hidden from a row", hidden_chunk(slice(0, 3)), row_in_chunks),
        Case("a later chunk that is hidden from a row", hidden_chunk(slice(3, 6)), row_in_chunks),
        Case("a row that sees nothing", all_hidden, row_in_chunks),
        Case("a row that sees nothing, in float16", all_hidden, row_in_chunks, dtype=torch.float16),
        Case("rows of one score, -1e35 or the most negative number", very_low, total_alone),
        Case("2 heads of 3 rows", split_row((2, 3, 2), 2, 3), row_in_chunks),
        Case("a row that nothing stands in front of", split_row((3, 1, 4)), row_in_chunks),
        Case("float64", split_row((3, 4), 4), row_in_chunks, dtype=torch.float64),
        Case("1,003 equal scores in bfloat16, 7 a chunk", flat(1_003, 7), row_in_chunks, dtype=torch.bfloat16),
        Case("4,103 equal scores in float16, 2,051 a chunk", flat(4_103, 2_051), row_in_chunks, dtype=torch.float16),
        Case("2,101 equal scores in float16, two a chunk", flat(2_101, 2), row_in_chunks, dtype=torch.float16),
        Case("memory: 12 chunks of 40, each read once", split_row((40,) * 12, 3), chunk_by_chunk),
    ),
    right_answers=(streamed(), online_by_logaddexp, online_by_pairs, online_beside),
    mistakes={
        "the old total is added as it is, though it was measured from the old maximum": streamed(
            add=lambda total, part, alpha: total + part
        ),
        "alpha is e^(new - old), the wrong way round": streamed(add=lambda total, part, alpha: total / alpha + part),
        "alpha is applied to the chunk's sum as well, which has the new unit already": streamed(
            add=lambda total, part, alpha: alpha * (total + part)
        ),
        "alpha is applied to the chunk's sum, which has the new unit already, and not to the old total": streamed(
            add=lambda total, part, alpha: total + alpha * part
        ),
        "powers of 2 are added up, where scores ask for powers of e": streamed(exp=torch.exp2),
        "alpha is a power of 2, where the terms are powers of e": streamed(
            add=lambda total, part, alpha: alpha ** math.log(2) * total + part
        ),
        "-inf becomes the most negative finite number, and in an empty row each entry counts as e^0": streamed(
            kept=lambda chunk: wider(chunk)[0].clamp(min=torch.finfo(wider(chunk)[0].dtype).min)
        ),
        "the total of a row that is nothing but -inf is 1, not 0": streamed(
            back=lambda m, total: (m, total.masked_fill(total == 0, 1.0))
        ),
        "the mean of the chunk's exponentials is added, not their sum": streamed(
            gather=lambda weights: weights.mean(dim=-1)
        ),
        "one maximum is taken for all rows": streamed(top=lambda chunk: chunk.amax().expand(chunk.shape[:-1])),
        "alpha is applied twice": streamed(add=lambda total, part, alpha: alpha * alpha * total + part),
        "the chunk is measured from the maximum as it was before it": streamed(measured=lambda chunk, new, old: old),
        "the chunk is measured from its own maximum, not from the largest so far": streamed(
            measured=lambda chunk, new, old: chunk.amax(dim=-1).clamp(min=torch.finfo(chunk.dtype).min)
        ),
        "the maximum is that of the last chunk alone": streamed(
            latest=lambda maximum, new: new.clamp(min=torch.finfo(new.dtype).min)
        ),
        "the maximum begins at 0": streamed(begin=lambda chunk: 0.0),
        "the maximum begins at torch.finfo(dtype).tiny, the smallest positive number; .min is the most negative one": (
            streamed(begin=lambda chunk: torch.finfo(chunk.dtype).tiny)
        ),
        "the maximum begins at -10,000, above scores that are smaller": streamed(begin=lambda chunk: -1e4),
        "the maximum begins at -1e9, not at the most negative finite number": streamed(begin=lambda chunk: -1e9),
        "the maximum begins at the most negative number of the chunks' dtype, not of the one returned": begun_in_half,
        "-inf is returned for the maximum of a row that is nothing but -inf": streamed(
            back=lambda m, total: (m.masked_fill(total == 0, -math.inf), total)
        ),
        "half precision stays half precision, in which sums stop growing": streamed(kept=lambda chunk: chunk),
        "the sum is carried in half precision, where it stops growing, and turned to float32 at the end": streamed(
            kept=lambda chunk: chunk, back=afterwards
        ),
        "the maximum begins at -inf, and -inf - (-inf) is nan": streamed(begin=lambda chunk: -math.inf),
        "the last chunk is left out": streamed(chosen=lambda chunks: chunks[:-1]),
        "the first chunk is left out": streamed(chosen=lambda chunks: chunks[1:]),
        "the two numbers are returned in the other order": streamed(back=lambda m, total: (total, m)),
        "the log-sum-exp is returned, not the total": streamed(back=lambda m, total: (m, m + total.log())),
        "only the last chunk is summed": streamed(add=lambda total, part, alpha: part),
        "the logarithm of the total is returned, not the total": streamed(back=lambda m, total: (m, total.log())),
        "no maximum is taken off before the exponential, which overflows": unprotected,
        "the largest maximum is sought first, and then every chunk is read a second time": two_passes,
        "the chunks are joined to one row again: the right numbers, and the whole row in memory": joined,
        "half precision is turned to float32 at the end alone, when the sum has stopped growing long since": streamed(
            kept=lambda chunk: chunk, back=wide_at_the_end
        ),
        "everything is float32, also of float64": streamed(kept=lambda chunk: chunk.float()),
        "a chunk that is nothing but -inf wipes out the total so far": streamed(
            add=lambda total, part, alpha: torch.where(part == 0, 0 * total, alpha * total) + part
        ),
        "the maximum begins at -1e30, not at the most negative finite number": streamed(begin=lambda chunk: -1e30),
        "a row whose scores are all below -1e30 counts as nothing but -inf": streamed(
            begin=lambda chunk: -1e30,
            back=lambda m, total: (m.masked_fill(total == 0, torch.finfo(m.dtype).min), total),
        ),
    },
)


# merge -----------------------------------------------------------------------------------------------------------


def merged(function, out_a, lse_a, out_b, lse_b):
    out, lse = tensors(function(out_a, lse_a, out_b, lse_b), out=out_a.shape, lse=lse_a.shape)
    refuse_half(out_a, out=out, lse=lse)
    return torch.cat([out, lse[..., None]], dim=-1)


def one_by_one(function, outs, lses):
    """All parts, each merged into what there is so far."""
    so_far = outs[0], lses[0]
    for out, lse in zip(outs[1:], lses[1:], strict=True):
        out, lse = tensors(function(*so_far, out, lse), out=out.shape, lse=lse.shape)
        refuse_half(outs, out=out, lse=lse)
        so_far = out, lse
    return torch.cat([so_far[0], so_far[1][..., None]], dim=-1)


def merge_by_logaddexp(out_a, lse_a, out_b, lse_b):
    lse_a, lse_b = wider(lse_a, lse_b)
    lse = torch.logaddexp(lse_a, lse_b)
    share_a = (lse_a - lse).exp().nan_to_num(0).unsqueeze(-1)
    share_b = (lse_b - lse).exp().nan_to_num(0).unsqueeze(-1)
    return share_a * out_a + share_b * out_b, lse


def merge_by_softmax(out_a, lse_a, out_b, lse_b):
    out_a, lse_a, out_b, lse_b = wider(out_a, lse_a, out_b, lse_b)
    both = torch.stack([lse_a, lse_b])
    shares = torch.softmax(both, dim=0)
    shares = torch.where(torch.isneginf(both), 0, shares)
    return (shares[..., None] * torch.stack([out_a, out_b])).sum(dim=0), both.logsumexp(dim=0)


def joined_by(out_of, lse_of=lambda a, b: torch.logaddexp(a, b)):
    """A merge made of out_of(out_a, lse_a, out_b, lse_b) and lse_of(lse_a, lse_b)."""

    def merge(*parts):
        out_a, lse_a, out_b, lse_b = wider(*parts)
        return out_of(out_a, lse_a, out_b, lse_b), lse_of(lse_a, lse_b)

    return merge


def right_out(*parts):
    return flash.merge(*parts)[0]


def shared(share):
    """The output for the share(lse_a, lse_b) of the first part, 0 where neither saw a key."""

    def out(out_a, lse_a, out_b, lse_b):
        first = share(lse_a, lse_b).nan_to_num(0)[..., None]
        return first * out_a + (1 - first) * out_b

    return out


def not_divided(out_a, lse_a, out_b, lse_b):
    maximum = torch.maximum(lse_a, lse_b).clamp(min=torch.finfo(lse_a.dtype).min)
    return torch.exp(lse_a - maximum)[..., None] * out_a + torch.exp(lse_b - maximum)[..., None] * out_b


def empty_is_zero_over_zero(out_a, lse_a, out_b, lse_b):
    lse = torch.logaddexp(lse_a, lse_b)
    return torch.exp(lse_a - lse)[..., None] * out_a + torch.exp(lse_b - lse)[..., None] * out_b, lse


def weighted(weight_a, out_a, weight_b, out_b):
    total = weight_a + weight_b
    return (weight_a[..., None] * out_a + weight_b[..., None] * out_b) / total[..., None], torch.log(total)


def measured_from_nothing(out_a, lse_a, out_b, lse_b):
    maximum = torch.maximum(lse_a, lse_b)
    out, log_total = weighted(torch.exp(lse_a - maximum), out_a, torch.exp(lse_b - maximum), out_b)
    return out, maximum + log_total


def floored(out_a, lse_a, out_b, lse_b):
    maximum = torch.maximum(lse_a, lse_b).clamp(min=0)
    out, log_total = weighted(torch.exp(lse_a - maximum), out_a, torch.exp(lse_b - maximum), out_b)
    return out.nan_to_num(), maximum + log_total


def over_rows(out_a, lse_a, out_b, lse_b):
    share_a, share_b = (torch.softmax(lse, dim=-1).nan_to_num()[..., None] for lse in (lse_a, lse_b))
    return share_a * out_a + share_b * out_b


def measured_from(top):
    """Weights measured from top(lse_a, lse_b), and 0 where it is -inf."""

    def merge(out_a, lse_a, out_b, lse_b):
        maximum = top(lse_a, lse_b)
        maximum = maximum.masked_fill(torch.isneginf(maximum), 0.0)
        weight_a, weight_b = torch.exp(lse_a - maximum), torch.exp(lse_b - maximum)
        total = weight_a + weight_b
        out = weight_a[..., None] * out_a + weight_b[..., None] * out_b
        return out / total.masked_fill(total == 0, 1.0)[..., None], maximum + torch.log(total)

    return merge


def with_half_log_sum_exps(out_a, lse_a, out_b, lse_b):
    return flash.merge(out_a, lse_a.to(out_a.dtype), out_b, lse_b.to(out_b.dtype))


def any_for_all(out_a, lse_a, out_b, lse_b):
    if torch.isneginf(lse_b).any():
        return out_a, lse_a
    return (out_b, lse_b) if torch.isneginf(lse_a).any() else flash.merge(out_a, lse_a, out_b, lse_b)


def log_sum_exp_by(log, a, b):
    """The maximum and the log of the two masses measured from it."""
    maximum = torch.maximum(a, b).clamp(min=torch.finfo(a.dtype).min)
    return maximum + log(torch.exp(a - maximum) + torch.exp(b - maximum))


def unclamped(a, b):
    maximum = torch.maximum(a, b)
    return maximum + torch.log(torch.exp(a - maximum) + torch.exp(b - maximum))


def overflowing(out_a, lse_a, out_b, lse_b):
    return weighted(torch.exp(lse_a), out_a, torch.exp(lse_b), out_b)


def overflowing_or_unseen(out_a, lse_a, out_b, lse_b):
    weight_a, weight_b = torch.exp(lse_a), torch.exp(lse_b)
    total = weight_a + weight_b
    out = weight_a[..., None] * out_a + weight_b[..., None] * out_b
    return out / total.masked_fill(total == 0, 1)[..., None], torch.log(total)


def in_float32(function):
    """The same of parts that are float32 at least, so that half precision is not one more mistake."""
    return lambda *parts: function(*wider(*parts))


def seen(lse):
    return ~torch.isneginf(lse)


def seen_or_0(lse):
    return lse.masked_fill(~seen(lse), 0)


def over_the_first(out_a, lse_a, out_b, lse_b):
    out, lse = flash.merge(out_a, lse_a, out_b, lse_b)
    return (out_a.copy_(out) if out.dtype == out_a.dtype else out), lse


def with_half_weights(out_a, lse_a, out_b, lse_b):
    lse_a, lse_b = wider(lse_a, lse_b)
    lse = torch.logaddexp(lse_a, lse_b)
    weight_a, weight_b = (
        torch.exp(part - lse.clamp(min=torch.finfo(lse.dtype).min))[..., None].to(out_a.dtype)
        for part in (lse_a, lse_b)
    )
    return wider(weight_a * out_a + weight_b * out_b)[0], lse


def half_kept(*parts):
    out, lse = joined_by(right_out)(*parts)
    return out.to(parts[0].dtype), lse.to(parts[0].dtype)


def half_carried(*parts):
    return tuple(wider(*half_kept(*parts)))


def halves(*shape, shift=0.0, spread=1.0, blind_a=(), blind_b=()):
    """Two partial results of rows with 6 columns; a part is blind in the rows in which it saw no key."""

    def inputs(normal):
        parts = []
        for blind in (blind_a, blind_b):
            out, lse = normal(*shape, 6), shift + spread * normal(*shape)
            for row in blind:
                out[..., row, :], lse[..., row] = 0, -math.inf
            parts += [out, lse]
        return tuple(parts)

    return inputs


def rows_far_apart(normal):
    """Row 0 lies far below row 1; in rows 2 and 3 one part lies far below the other."""
    lse_a, lse_b = torch.tensor([-300.0, 310.0, 0.0, 150.0]), torch.tensor([-301.0, 309.5, 130.0, 20.0])
    return normal(4, 6), normal(4) + lse_a, normal(4, 6), normal(4) + lse_b


def finer_log_sum_exps(normal):
    """Outputs in half precision, and log-sum-exps in float32 that half precision doesn't have."""
    return normal(5, 6), 9.7 + normal(5).float() / 3, normal(5, 6), 9.7 + normal(5).float() / 3


def many_parts(parts, rows=3):
    """Parts of equal mass, the first half of which found +1 and the second -1, beside the noise."""

    def inputs(normal):
        outs = normal(parts, rows, 6) / 4
        outs[: parts // 2] += 1
        outs[parts // 2 :] -= 1
        return outs, 5 + normal(parts, rows) / 4

    return inputs


MERGE = Exercise(
    title="merge two halves",
    section="A row in pieces",
    difficulty=2,
    minutes=12,
    reference=flash.merge,
    hints=(
        "Each half has divided by its own sum. What must it be multiplied by, so that both are sums of e^score · value "
        "again, in one unit? And what is -inf - (-inf), where neither saw a key?",
        "A part's weight is e^lse, measured from the larger of the two so that nothing overflows. The output is the "
        "weighted mean, and the new lse is that maximum plus the logarithm of the two weights' sum. Where both are "
        "-inf, nobody saw a key.",
        "maximum = torch.maximum(lse_a, lse_b), in float32 at least and clamped to torch.finfo(dtype).min, makes both "
        "weights 0 where neither saw a key. Their sum is at least 1 everywhere else, so dividing by its clamp(min=1) "
        "changes nothing there.",
    ),
    cases=(
        Case("5 rows", halves(5), merged),
        Case("halves that saw very different scores", halves(5, spread=6.0), merged),
        Case("log-sum-exps around 300", halves(4, shift=300.0), merged),
        Case("log-sum-exps around -300", halves(4, shift=-300.0), merged),
        Case("the first part saw no key for row 1", halves(3, blind_a=(1,)), merged),
        Case("the second part saw no key for rows 0 and 2", halves(3, blind_b=(0, 2)), merged),
        Case("neither saw a key for row 2", halves(4, blind_a=(2,), blind_b=(2, 3)), merged),
        Case("2 heads of 3 rows", halves(2, 3), merged),
        Case("float64", halves(5), merged, dtype=torch.float64),
        Case("log-sum-exps of -300, 310, 0 and 150", rows_far_apart, merged),
        Case("float16", halves(5, spread=3.0), merged, dtype=torch.float16),
        Case("float16, log-sum-exps in float32", finer_log_sum_exps, merged, dtype=torch.float16),
        Case("132 parts in bfloat16, one after the other", many_parts(132), one_by_one, dtype=torch.bfloat16),
    ),
    right_answers=(merge_by_logaddexp, merge_by_softmax),
    mistakes={
        "the two outputs are averaged": joined_by(lambda out_a, lse_a, out_b, lse_b: (out_a + out_b) / 2),
        "the two outputs are added": joined_by(lambda out_a, lse_a, out_b, lse_b: out_a + out_b),
        "the weighted outputs are added and not divided by the sum of the weights": joined_by(not_divided),
        "the output of the part with the larger log-sum-exp is taken alone": joined_by(
            lambda out_a, lse_a, out_b, lse_b: torch.where((lse_a > lse_b)[..., None], out_a, out_b)
        ),
        "the weights are swapped": joined_by(shared(lambda a, b: torch.sigmoid(b - a))),
        "the weights are the log-sum-exps themselves, not their exponentials": joined_by(
            shared(lambda a, b: a / (a + b))
        ),
        "the weights are powers of 2, though the log-sum-exps are natural": joined_by(
            shared(lambda a, b: torch.sigmoid((a - b) * math.log(2)))
        ),
        "the log-sum-exp of the whole is the larger of the two": joined_by(right_out, torch.maximum),
        "the log-sum-exps are added, which multiplies the sums": joined_by(right_out, torch.add),
        "the log-sum-exp of the whole is the mean of the two": joined_by(right_out, lambda a, b: (a + b) / 2),
        "a row that neither part saw gets the most negative finite number for its log-sum-exp, not -inf": joined_by(
            right_out, lambda a, b: torch.logaddexp(a, b).clamp(min=torch.finfo(a.dtype).min)
        ),
        "a row that neither part saw gets 0 for its log-sum-exp, which stands for a mass of 1": joined_by(
            right_out, lambda a, b: torch.logaddexp(a, b).nan_to_num(neginf=0)
        ),
        "the maximum that is taken off is never below 0, and small log-sum-exps vanish": in_float32(floored),
        "the shares are made by a softmax over the rows, not over the two parts": joined_by(over_rows),
        "the maximum is not added back to the log-sum-exp": joined_by(
            right_out, lambda a, b: torch.logaddexp(a, b) - torch.maximum(a, b).clamp(min=torch.finfo(a.dtype).min)
        ),
        "e^lse is taken without a maximum, and over- or underflows": in_float32(overflowing),
        "the maximum of a row that neither part saw is -inf, and -inf - (-inf) is nan": in_float32(
            measured_from_nothing
        ),
        "the output of a row that neither part saw is nan": in_float32(empty_is_zero_over_zero),
        "one maximum is taken off for all rows, and those far below it vanish": in_float32(
            measured_from(lambda a, b: torch.maximum(a, b).max().expand(a.shape))
        ),
        "the first part's log-sum-exp is taken off, not the larger of the two: the second's weight overflows": (
            in_float32(measured_from(lambda a, b: a))
        ),
        "the second part's log-sum-exp is taken off, not the larger of the two: the first's weight overflows": (
            in_float32(measured_from(lambda a, b: b))
        ),
        "the weighted outputs are divided by the log-sum-exp, not by the sum of the weights": joined_by(
            lambda *parts: not_divided(*parts) / torch.logaddexp(parts[1], parts[3])[..., None]
        ),
        "a row that saw no key in one part decides for all rows": in_float32(any_for_all),
        "the log-sum-exp takes the logarithm in base 2": joined_by(
            right_out, lambda a, b: log_sum_exp_by(torch.log2, a, b)
        ),
        "the powers and the logarithm are of base 2, though the log-sum-exps are natural": joined_by(
            shared(lambda a, b: torch.sigmoid((a - b) * math.log(2))), torch.logaddexp2
        ),
        "the log-sum-exp is that of the mean of the two masses, not of their sum": joined_by(
            right_out, lambda a, b: torch.logaddexp(a, b) - math.log(2)
        ),
        "the log-sum-exp of a row that neither part saw is nan: -inf - (-inf)": joined_by(right_out, unclamped),
        "a log-sum-exp of -inf becomes -10,000, also in what is returned": joined_by(
            right_out, lambda a, b: torch.logaddexp(a.clamp(min=-1e4), b.clamp(min=-1e4))
        ),
        "the log-sum-exps are rounded to the half precision of the outputs before they are used": (
            with_half_log_sum_exps
        ),
        "a log-sum-exp of -inf becomes 0, so that a part which saw no key has a mass of 1": in_float32(
            lambda out_a, lse_a, out_b, lse_b: flash.merge(out_a, seen_or_0(lse_a), out_b, seen_or_0(lse_b))
        ),
        "the output of a row that one of the parts did not see is 0": joined_by(
            lambda out_a, lse_a, out_b, lse_b: right_out(out_a, lse_a, out_b, lse_b).masked_fill(
                ~(seen(lse_a) & seen(lse_b))[..., None], 0
            )
        ),
        "e^lse is taken without a maximum, and a sum of 0 is taken for a row that nobody saw": in_float32(
            overflowing_or_unseen
        ),
        "the result is written over out_a": over_the_first,
        "everything is float32, also of float64": lambda *parts: flash.merge(*(part.float() for part in parts)),
        "the weights are rounded to the outputs' half precision": with_half_weights,
        "half precision is returned for half precision": half_kept,
        "what is merged is rounded to half precision on the way: near 9.7 the next bfloat16 is 0.0625 away": (
            half_carried
        ),
    },
)


# online_attention ------------------------------------------------------------------------------------------------


def out_and_lse(function, q, k, v, block_n):
    out, lse = tensors(function(q, k, v, block_n), output=q.shape, **{"log-sum-exp": q.shape[:1]})
    refuse_half(q, **{"log-sum-exp": lse})
    return told_apart(out, lse)


def told_apart(out, lse):
    return {"output": out, "log-sum-exp": lse}


class RowsRead(Watch):
    """Remember which rows of some tensors are read; what reads the very rows that were read last is the same turn."""

    def __init__(self, **tensors: Tensor):
        super().__init__()
        self.names = {storage(tensor): name for name, tensor in tensors.items()}
        self.width = {name: tensor.stride(0) for name, tensor in tensors.items()}
        self.last: dict[str, range] = {}
        self.read: dict[str, set[int]] = {name: set() for name in tensors}
        self.again = ""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        made = {storage(tensor) for tensor in tree_leaves(result) if isinstance(tensor, Tensor)}
        shape_alone = "_like" in operation.__name__ or operation.__name__.startswith("new_")
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, Tensor) and storage(tensor) in self.names.keys() - made and not shape_alone:
                self.note(self.names[storage(tensor)], tensor)
        return result

    def note(self, name: str, tensor: Tensor) -> None:
        first = tensor.storage_offset()
        last = first + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
        rows = range(first // self.width[name], last // self.width[name] + 1)
        if rows == self.last.get(name):
            return
        self.read[name] |= set(self.last.get(name, ()))
        if not self.again and not self.read[name].isdisjoint(rows):
            self.again = (
                f"rows {rows[0]} to {rows[-1]} of {name} are read again after others, and each may be read once"
            )
        self.last[name] = rows


def a_block_at_a_time(function, q, k, v, block_n):
    """The outcome, unless a tensor is larger than a block's scores, a block of keys, or the output.

    Nor may one query alone read keys and values a second time. (Several may come one after the other.)
    """
    with LargestMade() as largest, RowsRead(k=k, v=v) as read:
        result = out_and_lse(function, q, k, v, block_n)
    if read.again and len(q) == 1:
        raise Rejected(read.again)
    d = q.shape[1]
    budget = max(len(q) * block_n, len(q) * d, block_n * d)
    largest.refuse_above(budget, "the largest of a block's scores, a block of keys and the output")
    return result


def pieced(
    unit=lambda alpha: (alpha, alpha),
    scale=math.sqrt,
    finish=lambda acc, m, total: (acc / total[:, None], m + torch.log(total)),
    weigh=lambda scores, new_max, old: torch.exp(scores - new_max[:, None]),
    begin=-math.inf,
    mix=lambda alpha, acc, new: alpha * acc + new,
    values=lambda k, v: v,
    latest=lambda m, scores: torch.maximum(m, scores.amax(dim=1)),
    chosen=lambda tiles: tiles,
    sums_in=lambda dtype: torch.promote_types(dtype, torch.float32),
    back=lambda out, dtype: out.to(dtype),
    told=lambda lse, dtype: lse,
    met=lambda weights, dtype: weights,
    tally=lambda alpha, total, new: alpha * total + new,
    made=lambda q, k: wider(q)[0] @ wider(k)[0].mT,
    product=lambda weights, v: weights @ v.to(weights.dtype),
    each_time=lambda acc, total: acc,
    ready=lambda wide, k, v: (k, v),
):
    """A block of queries in which a mistake can replace a part."""

    def online_attention(q, k, v, block_n):
        wide = torch.promote_types(q.dtype, torch.float32)
        k, v = ready(wide, k, v)
        m = torch.full((len(q),), begin, dtype=wide)
        total, acc = torch.zeros(len(q), dtype=wide), torch.zeros(q.shape, dtype=sums_in(q.dtype))
        for start in chosen(list(range(0, len(k), block_n))):
            k_tile, v_tile = k[start : start + block_n], values(k, v)[start : start + block_n]
            scores = made(q, k_tile).to(wide) / scale(q.shape[1])
            new_max = latest(m, scores)
            for_sum, for_acc = unit(torch.exp(m - new_max))
            weights = weigh(scores, new_max, m)
            total = tally(for_sum, total, weights.sum(dim=1))
            new = product(met(weights, q.dtype).to(wide), v_tile).to(wide)
            acc = each_time(mix(for_acc[:, None], acc, new).to(sums_in(q.dtype)), total)
            m = new_max
        out, lse = finish(acc, m, total)
        return back(out, q.dtype), told(lse, q.dtype)

    return online_attention


def pieces_merged(q, k, v, block_n):
    wide = torch.promote_types(q.dtype, torch.float32)
    parts = []
    for k_tile, v_tile in zip(k.split(block_n), v.split(block_n), strict=True):
        scores = q.to(wide) @ k_tile.to(wide).T * q.shape[1] ** -0.5
        parts.append((scores.softmax(dim=1) @ v_tile.to(wide), scores.logsumexp(dim=1)))
    out, lse = parts[0]
    for part in parts[1:]:
        out, lse = flash.merge(out, lse, *part)
    return out.to(q.dtype), lse


def scaled_in_place(q, k, v, block_n):
    scaled = wider(q)[0]
    scaled /= math.sqrt(q.shape[1])
    out, lse = pieced(scale=lambda d: 1.0)(scaled, k, v, block_n)
    return out.to(q.dtype), lse


def maximum_first(q, k, v, block_n):
    """Two loops over the blocks: one for the maximum, and one for the sums."""
    queries = wider(q)[0] / math.sqrt(q.shape[1])
    blocks = [slice(start, start + block_n) for start in range(0, len(k), block_n)]
    maximum = torch.stack([(queries @ wider(k[block])[0].T).amax(dim=1) for block in blocks]).amax(dim=0)
    total, acc = torch.zeros_like(maximum), torch.zeros_like(queries)
    for block in blocks:
        weights = torch.exp(queries @ wider(k[block])[0].T - maximum[:, None])
        total, acc = total + weights.sum(dim=1), acc + weights @ wider(v[block])[0]
    return (acc / total[:, None]).to(q.dtype), maximum + torch.log(total)


def all_at_once(q, k, v, block_n):
    scores = wider(q)[0] @ wider(k)[0].T / math.sqrt(q.shape[1])
    return (scores.softmax(dim=1) @ wider(v)[0]).to(q.dtype), scores.logsumexp(dim=1)


def one_head(queries, keys, block_m, block_n, d=8, scale=1.0, capacity=None, apart=0.0):
    """q, k and v of one head and the blocks; keys that are larger the later they come, so that maxima arrive late.

    apart: all scores are about apart² / √d lower
    """

    def inputs(normal):
        late = torch.linspace(1, 2, keys)[:, None]
        q, k, v = normal(queries, d) * scale, normal(keys, d), normal(keys, d)
        k = (k * late).to(k.dtype)
        if apart:
            q[:, 0], k[:, 0] = apart, -apart
        return (q, k, v, block_m, block_n, *([] if capacity is None else [capacity]))

    return inputs


def one_far_above(inputs):
    """The same, but that all scores of query 2 are a thousand times as large."""

    def inputs_with_one(normal):
        q, *rest = inputs(normal)
        q[2] *= 1_000
        return (q, *rest)

    return inputs_with_one


def values_that_cancel(*before, keys=24, d=6):
    """Each key comes twice, with values of some 1,000 and with minus those: what is rounded on the way is left over.

    The keys grow, so that their weights are measured from another maximum the second time.
    """

    def inputs(normal):
        q, k, v = normal(3, d), normal(keys, d), 1000 + 300 * normal(keys, d)
        k = (k * torch.linspace(0.1, 1, keys)[:, None]).to(k.dtype)
        return (q, torch.cat([k, k]), torch.cat([v, -v]), *before)

    return inputs


def a_block_of_queries(queries, keys, block_n, d=8, scale=1.0, apart=0.0):
    """Keys that are larger the later they come, so that maxima arrive late; apart: scores about apart² / √d lower."""
    inputs = one_head(queries, keys, queries, block_n, d, scale, apart=apart)

    def without_block_m(normal):
        q, k, v, _, block_n = inputs(normal)
        return q, k, v, block_n

    return without_block_m


def below_half(normal):
    """q, k and v of one key, whose scores are lower than any number of float16, and exact."""
    return 0 * normal(4, 64) + 400, 0 * normal(1, 64) - 400, normal(1, 64)


ONES = torch.ones_like

ONLINE_ATTENTION = Exercise(
    title="a block of queries, keys in pieces",
    section="A row in pieces",
    difficulty=3,
    minutes=15,
    reference=flash.online_attention,
    hints=(
        "`online_softmax` carries a maximum and a sum for each row. The output of a row is a sum over the keys as "
        "well, of weights times values. In which unit is it, and what brings it to the next?",
        "Carry row_max, row_sum and acc, all float32 at least. For each block: scores, the new maximum, alpha = "
        "exp(old - new), weights = exp(scores - new). Then alpha multiplies both sums before the block's is added.",
        "acc = alpha[:, None] * acc + weights @ v_tile, and row_sum = alpha * row_sum + weights.sum(dim=1). After the "
        "loop acc / row_sum[:, None], in q's dtype, and row_max + torch.log(row_sum).",
    ),
    cases=(
        Case("5 queries, 12 keys, 4 a block", a_block_of_queries(5, 12, 4), out_and_lse),
        Case("4 queries, 23 keys, 6 a block", a_block_of_queries(4, 23, 6), out_and_lse),
        Case("6 queries, 7 keys, all in one block", a_block_of_queries(6, 7, 9, d=4), out_and_lse),
        Case("one query, one key", a_block_of_queries(1, 1, 2, d=4), out_and_lse),
        Case("scores 30 times as large", a_block_of_queries(5, 14, 3, scale=30.0), out_and_lse),
        Case("float64", a_block_of_queries(3, 10, 4), out_and_lse, dtype=torch.float64),
        Case("scores around -20,000", a_block_of_queries(5, 12, 4, apart=240), out_and_lse, dtype=torch.float64),
        Case("half precision", a_block_of_queries(3, 20, 6), out_and_lse, dtype=torch.float16),
        Case(
            "half precision, one key, scores of -1,280,000",
            lambda normal: (*below_half(normal), 4),
            out_and_lse,
            dtype=torch.float16,
        ),
        Case(
            "half precision, 1,000 equal scores, values around 60,000",
            lambda normal: (normal(2, 4), 0 * normal(1000, 4), 100 * normal(1000, 4) + 60_000, 300),
            out_and_lse,
            dtype=torch.float16,
        ),
        Case("5 keys, one a block", a_block_of_queries(3, 5, 1), out_and_lse),
        Case("9 queries, 5 keys, 3 a block", a_block_of_queries(9, 5, 3), out_and_lse),
        Case(
            "one query a thousand times as large",
            one_far_above(a_block_of_queries(4, 13, 5)),
            out_and_lse,
            dtype=torch.float64,
        ),
        Case(
            "bfloat16, values of a thousand that cancel",
            values_that_cancel(5),
            out_and_lse,
            dtype=torch.bfloat16,
        ),
        Case("memory: 6 queries, 90 keys, 10 a block", a_block_of_queries(6, 90, 10), a_block_at_a_time),
        Case("memory: one query, 33 keys, 7 a block, each read once", a_block_of_queries(1, 33, 7), a_block_at_a_time),
        Case(
            "memory: 7 queries, 60 keys, 9 a block, in half precision",
            a_block_of_queries(7, 60, 9),
            a_block_at_a_time,
            dtype=torch.float16,
        ),
    ),
    right_answers=(pieced(), pieces_merged),
    mistakes={
        "acc is not brought to the new maximum's unit: alpha is missing there": pieced(unit=lambda a: (a, ONES(a))),
        "the row's sum is not brought to the new maximum's unit: alpha is missing there": pieced(
            unit=lambda a: (ONES(a), a)
        ),
        "alpha is missing, for the sum and for acc": pieced(unit=lambda a: (ONES(a), ONES(a))),
        "acc is brought to the new maximum's unit twice": pieced(unit=lambda a: (a, a * a)),
        "alpha is turned around, e^(new - old)": pieced(unit=lambda a: (1 / a, 1 / a)),
        "acc is multiplied by alpha after the block's product was added, which has the new unit already": pieced(
            mix=lambda alpha, acc, new: alpha * (acc + new)
        ),
        "only the last block of keys counts: the maximum before it is not kept": pieced(
            unit=lambda a: (torch.zeros_like(a), torch.zeros_like(a))
        ),
        "the maximum is the block's own, and a larger one before it is forgotten": pieced(
            latest=lambda m, scores: scores.amax(dim=1)
        ),
        "the weights are measured from the maximum as it was before the block": pieced(
            weigh=lambda scores, new_max, old: torch.exp(scores - old[:, None])
        ),
        "each block's weights are a softmax of their own": pieced(
            weigh=lambda scores, new_max, old: torch.softmax(scores, dim=1)
        ),
        "the scores are not divided by √d": pieced(scale=lambda d: 1.0),
        "the scores are divided by d, not by √d": pieced(scale=lambda d: d),
        "the output is not divided by the row's sum": pieced(finish=lambda acc, m, total: (acc, m + torch.log(total))),
        "the log-sum-exp lacks the maximum": pieced(
            finish=lambda acc, m, total: (acc / total[:, None], torch.log(total))
        ),
        "the log-sum-exp lacks the logarithm of the sum: it is the maximum": pieced(
            finish=lambda acc, m, total: (acc / total[:, None], m)
        ),
        "the row's sum is returned, where its log-sum-exp is asked for": pieced(
            finish=lambda acc, m, total: (acc / total[:, None], total)
        ),
        "the log-sum-exp is in base 2, and not turned back to the natural one": pieced(
            finish=lambda acc, m, total: (acc / total[:, None], (m + torch.log(total)) / math.log(2))
        ),
        "the maximum begins at 0, above scores that are all negative": pieced(begin=0.0),
        "the values are taken from k": pieced(values=lambda k, v: k),
        "the last block of keys is left out": pieced(chosen=lambda starts: starts[:-1] or starts),
        "the output is summed up in half precision": pieced(sums_in=lambda dtype: dtype),
        "the output is returned in float32, where the inputs are in half precision": pieced(
            back=lambda out, dtype: out
        ),
        "the scores of all keys are made at once": all_at_once,
        "the maximum of all blocks is sought first, and then every key is read a second time": maximum_first,
        "one maximum is taken for all queries, and those far below it are 0 / 0": pieced(
            latest=lambda m, scores: torch.maximum(m, scores.max())
        ),
        "the weights are rounded to half precision before they meet the values": pieced(
            met=lambda weights, dtype: weights.to(dtype)
        ),
        "the scores are made in half precision, and turned to float32 afterwards": pieced(made=lambda q, k: q @ k.mT),
        "the scores are made and divided by √d in half precision": pieced(
            made=lambda q, k: q @ k.mT / math.sqrt(q.shape[1]), scale=lambda d: 1.0
        ),
        "weights and values are multiplied in half precision": pieced(
            product=lambda weights, v: weights.to(v.dtype) @ v
        ),
        "all keys or all values are turned to float32 at once, before the loop": pieced(
            ready=lambda wide, k, v: (k.to(wide), v.to(wide))
        ),
        "acc is divided by the row's sum in every step, not once": pieced(
            each_time=lambda acc, total: acc / total[:, None], finish=lambda acc, m, total: (acc, m + torch.log(total))
        ),
        "the queries that were given are scaled in place": scaled_in_place,
        "the log-sum-exp is returned in half precision": pieced(told=lambda lse, dtype: lse.to(dtype)),
        "the row's sum is multiplied by alpha after the block's was added, which has the new unit already": pieced(
            tally=lambda alpha, total, new: alpha * (total + new)
        ),
    },
)


# tiled_attention -------------------------------------------------------------------------------------------------


def refuse_programs(machine: TileMachine, queries: int, block_m: int) -> None:
    """Reject another number of programs than there are blocks of queries."""
    ran, blocks = len({event.program for event in machine.events}), math.ceil(queries / block_m)
    if ran != blocks:
        raise Rejected(
            f"{ran} program{'s' * (ran != 1)} moved tiles, but {queries} quer{'ies' if queries > 1 else 'y'} in blocks "
            f"of {block_m} are {blocks}: one machine.program(i) for each block i"
        )


def on_machine(**pattern):
    """The outcome on a machine with room for all: out, and beside it the log-sum-exp."""

    def outcome(function, q, k, v, block_m, block_n):
        machine = TileMachine()
        result = function(machine, q, k, v, block_m=block_m, block_n=block_n, **pattern)
        out, lse = tensors(result, out=q.shape, lse=q.shape[:1])
        refuse_programs(machine, len(q), block_m)
        return torch.cat([out, lse[:, None]], dim=1)

    return outcome


def rounded_on_machine(function, q, k, v, block_m, block_n):
    """out and the log-sum-exp, each in its own dtype."""
    return told_apart(*function(TileMachine(), q, k, v, block_m=block_m, block_n=block_n))


class PastTheMachine(Watch):
    """Rejects what passes the machine by; the machine itself may do all.

    That is arithmetic on tensors that lie in HBM, a tensor larger than a tile, and a tile that is still used after
    another was loaded, and is not held. One or two numbers a row are no tile.
    """

    def __init__(self, machine: TileMachine, hbm: dict[str, Tensor], entries: int):
        super().__init__()
        self.machine, self.hbm, self.entries = machine, hbm, entries
        self.inside = self.held = self.loads = 0  # held: the most bytes that results of arithmetic had together
        self.made: dict[int, int] = {}  # the memory of a tensor -> how many tiles were loaded before it was made
        for name in ("hbm", "empty", "load", "hold", "dot", "store", "drop"):
            setattr(machine, name, self.allowed(getattr(machine, name), name))

    def allowed(self, method, name):
        def call(*args, **kwargs):
            if name in ("dot", "store"):
                self.refuse_unheld((args, kwargs))
            self.inside += 1
            self.loads += name == "load"
            try:
                result = method(*args, **kwargs)
                self.held = max(self.held, self.machine.held)
                return result
            finally:
                self.inside -= 1

        return call

    def refuse_unheld(self, given) -> None:
        known = *self.machine.live.values(), *self.machine.tensors.values()
        here = {storage(tensor) for tensor in known}
        for tensor in tree_leaves(given):
            if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or storage(tensor) in here:
                continue
            made = self.made.get(storage(tensor), self.loads)
            if tensor.dim() > 1 and min(tensor.shape) > 2 and made < self.loads:
                shape = " × ".join(map(str, tensor.shape))
                raise Rejected(
                    f"a tile of {shape}, made after load {made} of the machine, is used after load {self.loads} "
                    "and was not held; machine.hold what is still needed when another tile is loaded"
                )

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        given = {storage(tensor) for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        made = [tensor for tensor in tree_leaves(result) if isinstance(tensor, Tensor)]
        self.made |= {storage(tensor): self.loads for tensor in made if storage(tensor) not in given}
        if self.inside:
            return result
        name = operation.overloadpacket.__name__
        slow = {storage(tensor): key for key, tensor in (self.hbm | self.machine.tensors).items()}
        views = {storage(tensor) for tensor in made}
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, Tensor) and storage(tensor) in slow:
                only_asked = name.endswith("_like") or name.startswith(("new_", "empty")) or storage(tensor) in views
                if operation._schema.is_mutable or not only_asked:
                    raise Rejected(
                        f"{slow[storage(tensor)]} is used where it lies in HBM (by {name}); "
                        "machine.load brings a tile of it to SRAM, and machine.store writes one back"
                    )
        if not (given <= views or name.endswith("_like") or name.startswith("new_")):  # they use no number of a tile
            self.refuse_unheld((args, kwargs))
        for tensor in made:
            if tensor.numel() > self.entries:
                shape = " × ".join(map(str, tensor.shape))
                raise Rejected(f"a tensor of {shape} is made (by {name}), larger than any tile of these blocks")
        return result


def too_much(overflow: SRAMOverflow, function, capacity: int, row: int) -> Rejected:
    """The machine's words about a tile that doesn't fit; the names, which are a reader's own, stand in the place.

    row: bytes of two numbers a row, which need not be held, and are not told
    """
    told = re.match(r"tile '.*' (\(.*?\)) needs ([\d,]+) bytes, .* are free \((.*)\);", str(overflow))
    if told is None:
        return Rejected(f"SRAMOverflow: {overflow}")
    shape, needed, held = told.groups()
    sizes = [int(size.replace(",", "")) for size in re.findall(r" ([\d,]+)(?:, |$)", held)]
    beside = " and ".join(f"{size:,}" for size in sorted(sizes, reverse=True) if size > row)
    return Rejected(
        f"SRAMOverflow: a tile {shape} of {needed} bytes does not fit in {capacity:,} beside tiles of {beside} bytes",
        place_of(overflow, function).removesuffix(" with ") + f" where SRAM holds {held} bytes: ",
    )


def within_budgets(**pattern):
    """The outcome in half precision, unless tiles do not fit, bytes are moved in vain, or the machine is passed by."""

    def outcome(function, q, k, v, block_m, block_n, capacity):
        exact = q.dtype == torch.float64  # the expected value: the same numbers, each four times as wide
        machine = TileMachine(capacity * 4 if exact else capacity)
        settings = dict(block_m=block_m, block_n=block_n) | pattern
        if exact:
            return told_apart(*function(machine, q, k, v, **settings))
        side = max(block_m, block_n)
        plain = inspect.unwrap(function)  # ours looks for nan in its result where it lies
        try:
            with PastTheMachine(machine, {"q": q, "k": k, "v": v}, side * max(block_n, q.shape[1])) as watch:
                result = plain(machine, q, k, v, **settings)
        except SRAMOverflow as overflow:
            roomy = TileMachine()
            plain(roomy, q, k, v, **settings)
            refuse_programs(roomy, len(q), block_m)  # wrong blocks say more than a tile that doesn't fit
            raise too_much(overflow, plain, capacity, 8 * block_m) from None
        out, lse = tensors(result, out=q.shape, lse=q.shape[:1])
        refuse_programs(machine, len(q), block_m)
        budget = sum(forward_bytes(len(q), len(k), q.shape[1], block_m, block_n, **pattern).values())
        if machine.issued_bytes() > budget:
            raise Rejected(f"{machine.issued_bytes():,} bytes are moved, and the budget is {budget:,}")
        least = 4 * block_m * (block_n + q.shape[1])
        if watch.held < least:
            raise Rejected(
                f"the tiles held never have {least:,} bytes together, which the scores of a block and the output need "
                "in float32; machine.hold what is made, in float32"
            )
        return told_apart(out, lse)

    return outcome


def tiled(
    unit=lambda alpha: (alpha, alpha),
    scale=math.sqrt,
    finish=lambda acc, m, total: (acc / total[:, None], m + torch.log(total)),
    weigh=lambda scores, new_max: torch.exp(scores - new_max[:, None]),
    ahead=lambda key, row, offset: key > row + offset,
    end=lambda first, block_m, block_n, offset, keys, causal: min(keys, first + block_m + offset) if causal else keys,
    starts=lambda end, block_n: range(0, end, block_n),
    sums_in=lambda dtype: torch.promote_types(dtype, torch.float32),
    drop_k=True,
    causal_is=lambda causal: causal,
    begin=lambda dtype: -math.inf,
    hidden=-math.inf,
    mix=lambda alpha, acc, new: alpha * acc + new,
    summed=lambda weights, plain: weights,
    firsts=lambda queries, block_m: range(0, queries, block_m),
    program=lambda index: index,
    blocks=lambda block_m, block_n: (block_m, block_n),
    values=lambda k, v: v,
    out_in=lambda dtype: dtype,
    statistics_in=lambda dtype: torch.promote_types(dtype, torch.float32),
    latest=lambda m, scores: torch.maximum(m, scores.amax(dim=1)),
    tally=lambda alpha, total, new: alpha * total + new,
    told=lambda lse, dtype: lse,
    met=lambda weights, dtype: weights,
    masked=lambda start, end, block_n: True,
    drop_v=True,
    hold_weights=True,
    hold_acc=(True, True),
    rounded=lambda acc, dtype: acc,
    wide_q=False,
    weights_beside=False,
    q_again=False,
    v_with_k=False,
    store_each_time=False,
    max_of_seen=True,
):
    """Tiled attention in which a mistake can replace a part."""

    def tiled_attention(machine, q, k, v, *, block_m, block_n, causal=False):
        (queries, d), keys, causal = q.shape, len(k), causal_is(causal)
        block_m, block_n = blocks(block_m, block_n)
        machine.hbm("q", q), machine.hbm("k", k), machine.hbm("v", v)
        wide = torch.promote_types(q.dtype, torch.float32)
        out = machine.empty("out", (queries, d), out_in(q.dtype))
        lse = machine.empty("lse", (queries,), statistics_in(q.dtype))
        offset = keys - queries
        unheld = lambda name, tile: tile  # noqa: E731
        weights_name = "weights" if weights_beside else "s"
        for first in firsts(queries, block_m):
            with machine.program(program(first // block_m)):
                rows = slice(first, first + block_m)
                q_tile = machine.load("queries", q, rows)
                q_tile = q_tile.to(wide) if wide_q else q_tile
                begun, kept = (machine.hold if held else unheld for held in hold_acc)
                acc = begun("o", torch.zeros(len(q_tile), d, dtype=sums_in(q.dtype)))
                m = machine.hold("maximum", torch.full((len(q_tile),), begin(wide), dtype=wide))
                total = machine.hold("total", torch.zeros_like(m))
                row = torch.arange(first, first + len(q_tile))[:, None]
                last = end(first, block_m, block_n, offset, keys, causal)
                for start in starts(last, block_n):
                    if q_again:
                        q_tile = machine.load("queries", q, rows)
                    k_tile = machine.load("keys", k, slice(start, start + block_n))
                    if v_with_k:
                        machine.load("values", v, slice(start, start + block_n))
                    plain = scores = machine.hold("s", q_tile.to(wide) @ k_tile.to(wide).T / scale(d))
                    if causal and masked(start, last, block_n):
                        key = torch.arange(start, start + len(k_tile))
                        scores = machine.hold("s", scores.masked_fill(ahead(key, row, offset), hidden))
                    if drop_k:
                        machine.drop("keys")
                    new_max = machine.hold("new maximum", latest(m, scores if max_of_seen else plain))
                    for_sum, for_acc = unit(torch.exp(m - new_max))
                    weights = (machine.hold if hold_weights else unheld)(weights_name, weigh(scores, new_max))
                    counted = summed(weights, torch.exp(plain - new_max[:, None]))
                    total = machine.hold("total", tally(for_sum, total, counted.sum(dim=1)))
                    v_tile = machine.load("values", values(k, v), slice(start, start + block_n))
                    acc = mix(for_acc[:, None], acc, met(weights, q.dtype).to(wide) @ v_tile.to(wide))
                    acc = kept("o", rounded(acc.to(sums_in(q.dtype)), q.dtype))
                    if drop_v:
                        machine.drop("values")
                    m = machine.hold("maximum", new_max)
                    if store_each_time:
                        machine.store(out, rows, finish(acc, m, total)[0])
                result, row_lse = finish(acc, m, total)
                if not store_each_time:
                    machine.store(out, rows, result)
                machine.store(lse, rows, told(row_lse, q.dtype))
        return out, lse

    return tiled_attention


def lowest(dtype):
    return torch.finfo(dtype).min


def divided_each_time(machine, q, k, v, *, block_m, block_n, causal=False):
    """Each tile's output is finished and merged, so that nothing is left to divide: as right as any."""
    queries, keys = len(q), len(k)
    q, k, v = machine.hbm("Q", q), machine.hbm("K", k), machine.hbm("V", v)
    wide = torch.promote_types(q.dtype, torch.float32)
    out, lse = machine.empty("O", q.shape, q.dtype), machine.empty("L", (queries,), wide)
    for index, first in enumerate(range(0, queries, block_m)):
        with machine.program(index):
            rows = slice(first, min(first + block_m, queries))
            q_tile = machine.load("q", q, rows)
            so_far = machine.hold("out", torch.zeros(len(q_tile), v.shape[1], dtype=wide))
            so_far_lse = machine.hold("lse", torch.full((len(q_tile),), -math.inf, dtype=wide))
            position = torch.arange(first, first + len(q_tile))[:, None] + keys - queries
            for start in range(0, keys, block_n):
                if causal and start > position[-1]:
                    break
                k_tile = machine.load("kv", k, slice(start, start + block_n))
                scores = machine.hold("scores", machine.dot(q_tile, k_tile.T) * q.shape[1] ** -0.5)
                hidden = torch.arange(start, start + len(k_tile)) > position
                if causal:
                    scores = machine.hold("scores", torch.where(hidden, -math.inf, scores))
                part_lse = torch.logsumexp(scores, dim=1)
                lowest = part_lse.clamp(min=torch.finfo(wide).min)
                weights = machine.hold("scores", torch.exp(scores - lowest[:, None]))
                v_tile = machine.load("kv", v, slice(start, start + block_n))
                part = machine.dot(weights, v_tile)
                so_far, so_far_lse = flash.merge(so_far, so_far_lse, part, part_lse)
                machine.hold("out", so_far), machine.hold("lse", so_far_lse)
            machine.store(out, rows, so_far)
            machine.store(lse, rows, so_far_lse)
    return out, lse


def whole_beside(machine, q, k, v, *, block_m, block_n, causal=False):
    scores = q @ k.T / math.sqrt(q.shape[1])
    if causal:
        ahead = torch.arange(len(k)) > torch.arange(len(q))[:, None] + len(k) - len(q)
        scores = scores.masked_fill(ahead, -math.inf)
    wide = torch.promote_types(q.dtype, torch.float32)
    return attention(q, k, v, causal=causal), torch.logsumexp(scores.to(wide), dim=1)


def whole_mask(machine, q, k, v, *, block_m, block_n, causal=False):
    ahead = torch.arange(len(k)) > torch.arange(len(q))[:, None] + len(k) - len(q)
    by_tiles = tiled(ahead=lambda key, row, offset: ahead[row, key])
    return by_tiles(machine, q, k, v, block_m=block_m, block_n=block_n, causal=causal)


def without_causal(function):
    def attend_in_tiles(machine, q, k, v, *, block_m, block_n):
        return function(machine, q, k, v, block_m=block_m, block_n=block_n)

    return attend_in_tiles


def full(**parts):
    """`tiled` with mistakes, as it is asked for before it can be causal."""
    return without_causal(tiled(**parts))


HALF, BFLOAT = {"dtype": torch.float16}, {"dtype": torch.bfloat16}
KB_48, KB_64 = 48 * 1024, 64 * 1024

IN_TILES = Exercise(
    title="the same on the machine",
    section="Two memories",
    difficulty=3,
    minutes=20,
    reference=flash.attend_in_tiles,
    hints=(
        "One program owns block_m queries. Which tiles does it need all the time, which only for one block of keys, "
        "and which of them come from HBM?",
        "What comes from HBM is loaded, under a name and by a slice; what is computed and lives longer than a line is "
        "held. The weights may take the place of the scores, under their name. At the end two slices are stored.",
        "Before the loop over keys: load q, hold acc, m and l. In it: load k, hold the scores, hold the weights under "
        "the same name, hold l, load v, hold acc. After it store acc / row_sum[:, None] and row_max + log(row_sum).",
    ),
    cases=(
        Case("64 tokens, blocks of 16 × 16", one_head(64, 64, 16, 16), on_machine()),
        Case("50 tokens, blocks of 16 × 32", one_head(50, 50, 16, 32), on_machine()),
        Case("7 queries, 40 keys, blocks of 4 × 16", one_head(7, 40, 4, 16), on_machine()),
        Case("19 queries, 10 keys, blocks of 8 × 4", one_head(19, 10, 8, 4), on_machine()),
        Case("one token", one_head(1, 1, 16, 16), on_machine()),
        Case("scores 30 times as large", one_head(20, 20, 8, 8, scale=30.0), on_machine()),
        Case(
            "one query a thousand times as large",
            one_far_above(one_head(7, 12, 4, 5)),
            on_machine(),
            dtype=torch.float64,
        ),
        Case("float64", one_head(30, 30, 16, 8), on_machine(), dtype=torch.float64),
        Case("scores around -20,000", one_head(12, 12, 8, 4, apart=240), on_machine(), dtype=torch.float64),
        Case(
            "half precision, 40 equal scores, values around 60,000",
            lambda normal: (normal(6, 4), 0 * normal(40, 4), 100 * normal(40, 4) + 60_000, 4, 8),
            rounded_on_machine,
            **HALF,
        ),
        Case("bfloat16", one_head(6, 20, 4, 8), rounded_on_machine, **BFLOAT),
        Case(
            "half precision, one key, scores of -1,280,000",
            lambda normal: (*below_half(normal), 4, 4),
            rounded_on_machine,
            **HALF,
        ),
        Case(
            "half precision in 64 KB: 200 tokens, d = 64, blocks of 32 × 128",
            one_head(200, 200, 32, 128, d=64, capacity=KB_64),
            within_budgets(),
            **HALF,
        ),
    ),
    right_answers=(full(), full(met=lambda weights, dtype: weights.to(dtype)), without_causal(divided_each_time)),
    mistakes={
        "acc is not brought to the new maximum's unit: alpha is missing there": full(
            unit=lambda a: (a, torch.ones_like(a))
        ),
        "the row's sum is not brought to the new maximum's unit: alpha is missing there": full(
            unit=lambda a: (torch.ones_like(a), a)
        ),
        "alpha is missing, for the sum and for acc": full(unit=lambda a: (torch.ones_like(a), torch.ones_like(a))),
        "the scores are not divided by √d": full(scale=lambda d: 1.0),
        "the scores are divided by d, not by √d": full(scale=lambda d: d),
        "acc is stored without being divided by the row's sum": full(
            finish=lambda acc, m, total: (acc, m + torch.log(total))
        ),
        "the log-sum-exp lacks the maximum": full(
            finish=lambda acc, m, total: (acc / total[:, None], torch.log(total))
        ),
        "the log-sum-exp lacks the logarithm of the sum: it is the maximum": full(
            finish=lambda acc, m, total: (acc / total[:, None], m)
        ),
        "the log-sum-exp is in base 2, and not turned back to the natural one": full(
            finish=lambda acc, m, total: (acc / total[:, None], (m + torch.log(total)) / math.log(2))
        ),
        "weights are powers of 2, and log₂ e is missing in the scale": full(
            unit=lambda a: (a ** math.log(2), a ** math.log(2)),
            weigh=lambda scores, new_max: torch.exp2(scores - new_max[:, None]),
        ),
        "acc is brought to the new maximum's unit twice": full(unit=lambda a: (a, a * a)),
        "alpha is turned around, e^(new - old)": full(unit=lambda a: (1 / a, 1 / a)),
        "acc is multiplied by alpha after the block's product was added, which has the new unit already": full(
            mix=lambda alpha, acc, new: alpha * (acc + new)
        ),
        "only the last block of keys counts: the maximum before it is not kept": full(
            unit=lambda a: (torch.zeros_like(a), torch.zeros_like(a))
        ),
        "the maximum begins at 0, above scores that are all negative": full(begin=lambda dtype: 0.0),
        "the maximum begins at the most negative number of q's dtype, and in float16 scores can be lower": full(
            begin=lambda wide: lowest(torch.float16 if wide == torch.float32 else wide)
        ),
        "the log-sum-exp adds a logarithm in base 2 to the natural maximum": full(
            finish=lambda acc, m, total: (acc / total[:, None], m + torch.log2(total))
        ),
        "the logarithm of the sum is taken off the maximum, not added": full(
            finish=lambda acc, m, total: (acc / total[:, None], m - torch.log(total))
        ),
        "the row's sum is stored, where its log-sum-exp is asked for": full(
            finish=lambda acc, m, total: (acc / total[:, None], total)
        ),
        "the log-sum-exp is stored in half precision": full(statistics_in=lambda dtype: dtype),
        "the output is stored in float32, where the inputs are in half precision": full(
            out_in=lambda dtype: torch.promote_types(dtype, torch.float32)
        ),
        "the values are taken from k": full(values=lambda k, v: k),
        "block_m and block_n are swapped": full(blocks=lambda block_m, block_n: (block_n, block_m)),
        "every block of queries runs as program 0": full(program=lambda index: 0),
        "the last, shorter block of queries is left out": full(
            firsts=lambda queries, block_m: range(0, queries // block_m * block_m, block_m)
        ),
        "the last, shorter block of keys is left out": full(
            starts=lambda end, block_n: range(0, max(end - block_n, 0) + 1, block_n)
        ),
        "the weights are not held in the scores' place, though v is loaded before they are used": full(
            hold_weights=False
        ),
        "the output is summed up in half precision": full(sums_in=lambda dtype: dtype),
        "float64 is summed up in float32": full(sums_in=lambda dtype: torch.float32),
        "the whole score matrix is made beside the machine": without_causal(whole_beside),
        "alpha multiplies the block's own sum as well, which has the new unit already": full(
            tally=lambda alpha, total, new: alpha * (total + new)
        ),
        "one maximum is taken for all queries, and those far below it are 0 / 0": full(
            latest=lambda m, scores: torch.maximum(m, scores.max())
        ),
        "the log-sum-exp is rounded to half precision before it is stored": full(told=lambda lse, dtype: lse.to(dtype)),
        "the queries are loaded again for every block of keys": full(q_again=True),
        "the output so far is stored after every block of keys": full(store_each_time=True),
        "the new output is not held, and the machine keeps the one of the beginning": full(hold_acc=(True, False)),
        "the output so far is not held, from the beginning on": full(hold_acc=(False, True)),
        "the queries are turned to float32 at once, and kept beside those that were loaded": full(wide_q=True),
        "the output so far is rounded to half precision, after every block or before it is divided": full(
            rounded=lambda acc, dtype: acc.to(dtype)
        ),
        "the weights are held beside the scores, and do not take their place": full(weights_beside=True, drop_k=False),
    },
)

TILED = Exercise(
    title="attention in tiles, causal, in 48 KiB",
    section="Two memories",
    difficulty=3,
    minutes=15,
    reference=flash.tiled_attention,
    hints=(
        "With 9 queries and 40 keys, which token is query 0, and which keys may it see? Of the keys that a program "
        "loads, which may none of its queries see? And when is the last time that k is needed?",
        "Query i is token i + keys - queries. The loop ends behind the last query's own key, or with the last key. "
        "Inside a block, a key is hidden from the queries that stand before it. The scores hold all of k that is "
        "needed.",
        "end = min(keys, first + block_m + keys - queries) if causal. ahead compares torch.arange(start, ...), a row, "
        "with position[:, None], a column; scores.masked_fill(ahead, -math.inf) is held under the scores' name.",
    ),
    cases=(
        Case("64 tokens, blocks of 16 × 16", one_head(64, 64, 16, 16), on_machine()),
        Case("50 tokens, blocks of 16 × 32", one_head(50, 50, 16, 32), on_machine()),
        Case("7 queries, 40 keys, blocks of 4 × 16", one_head(7, 40, 4, 16), on_machine()),
        Case("19 queries, 10 keys, blocks of 8 × 4", one_head(19, 10, 8, 4), on_machine()),
        Case("causal, 50 tokens, blocks of 16 × 8", one_head(50, 50, 16, 8), on_machine(causal=True)),
        Case("causal, 9 queries, 38 keys, blocks of 4 × 8", one_head(9, 38, 4, 8), on_machine(causal=True)),
        Case(
            "causal, hidden scores 400 above those seen",
            lambda normal: (
                0 * normal(2, 16) + 10,
                0 * normal(2, 16) + torch.tensor([[0.0], [10.0]]),
                normal(2, 16),
                *(2, 2),
            ),
            on_machine(causal=True),
        ),
        Case("one token", one_head(1, 1, 16, 16), on_machine(causal=True)),
        Case("scores 30 times as large", one_head(20, 20, 8, 8, scale=30.0), on_machine(causal=True)),
        Case(
            "one query a thousand times as large",
            one_far_above(one_head(7, 12, 4, 5)),
            on_machine(causal=False),
            dtype=torch.float64,
        ),
        Case("float64", one_head(30, 30, 16, 8), on_machine(causal=True), dtype=torch.float64),
        Case(
            "scores of -2,500,000,000",
            lambda normal: (*far_below(normal, 12, 12, 1), 8, 4),
            lambda function, *inputs: on_machine(causal=True)(function, *inputs).float(),  # all that is left there
            dtype=torch.float64,
        ),
        Case("scores around -20,000", one_head(12, 12, 8, 4, apart=240), on_machine(causal=True), dtype=torch.float64),
        Case(
            "half precision, 40 equal scores, values around 60,000",
            lambda normal: (normal(6, 4), 0 * normal(40, 4), 100 * normal(40, 4) + 60_000, 4, 8),
            rounded_on_machine,
            **HALF,
        ),
        Case("bfloat16", one_head(6, 20, 4, 8), rounded_on_machine, **BFLOAT),
        Case(
            "half precision, one key, scores of -1,280,000",
            lambda normal: (*below_half(normal), 4, 4),
            rounded_on_machine,
            **HALF,
        ),
        Case(
            "half precision in 48 KiB: 200 tokens, d = 64, blocks of 32 × 128",
            one_head(200, 200, 32, 128, d=64, capacity=KB_48),
            within_budgets(causal=False),
            **HALF,
        ),
        Case(
            "half precision in 48 KiB, causal: 200 tokens, d = 64, blocks of 32 × 128",
            one_head(200, 200, 32, 128, d=64, capacity=KB_48),
            within_budgets(causal=True),
            **HALF,
        ),
        Case(
            "half precision in 1,000 bytes, causal: 20 queries, 25 keys, d = 16, blocks of 6 × 5",
            one_head(20, 25, 6, 5, d=16, capacity=1_000),
            within_budgets(causal=True),
            **HALF,
        ),
    ),
    right_answers=(tiled(), tiled(met=lambda weights, dtype: weights.to(dtype)), divided_each_time),
    mistakes={
        "causal is not looked at": tiled(causal_is=lambda causal: False),
        "causal is not asked, and taken for true": tiled(causal_is=lambda causal: True),
        "hidden scores are 0, which still counts: the exponential of 0 is 1": tiled(hidden=0.0),
        "hidden scores are -10,000, above scores that are smaller": tiled(hidden=-1e4),
        "the maximum is taken of hidden scores too, and rows far below them are 0 / 0": tiled(max_of_seen=False),
        "the row's sum is taken of all weights, also of the hidden ones": tiled(summed=lambda weights, plain: plain),
        "the causal loop ends in time, and its last blocks are not masked": tiled(
            ahead=lambda key, row, offset: key > row + math.inf
        ),
        "a row's place in its block is taken for its place among the queries": tiled(
            ahead=lambda key, row, offset: key > row - row[0] + offset
        ),
        "a key's place in its block is taken for its place among the keys": tiled(
            ahead=lambda key, row, offset: key - key[0] > row + offset
        ),
        "the causal mask hides the query's own key too, and the first row is 0 / 0": tiled(
            ahead=lambda key, row, offset: key >= row + offset, begin=lowest
        ),
        "the causal mask hides the query's own key too, and -inf - (-inf) in the first row is nan": tiled(
            ahead=lambda key, row, offset: key >= row + offset
        ),
        "the mask knows that queries are the last tokens, and the loop takes them for the first": tiled(
            end=lambda first, block_m, block_n, offset, keys, causal: min(keys, first + block_m) if causal else keys
        ),
        "the causal loop ends at the block's first query, and the later ones lose keys": tiled(
            end=lambda first, block_m, block_n, offset, keys, causal: first + offset + 1 if causal else keys
        ),
        "the causal mask hides the query's own key too": tiled(
            ahead=lambda key, row, offset: key >= row + offset,
            finish=lambda acc, m, total: ((acc / total[:, None]).nan_to_num(), (m + torch.log(total)).nan_to_num()),
        ),
        "the causal mask takes the queries for the first tokens when there are more keys than queries": tiled(
            ahead=lambda key, row, offset: key > row, end=lambda first, m, n, offset, keys, causal: keys
        ),
        "the loop ends before the diagonal block: the first rows see no key, 0 / 0": tiled(
            end=lambda first, block_m, block_n, offset, keys, causal: first + offset if causal else keys
        ),
        "the last, shorter block of keys is left out": tiled(
            starts=lambda end, block_n: range(0, max(end - block_n, 0) + 1, block_n)
        ),
        "blocks after the diagonal are masked, but loaded all the same": tiled(
            end=lambda first, block_m, block_n, offset, keys, causal: keys
        ),
        "k stays while v arrives: both at once do not fit": tiled(drop_k=False),
        "the weights are not held in the scores' place, though v is loaded before they are used": tiled(
            hold_weights=False
        ),
        "the whole score matrix is made beside the machine": whole_beside,
        "the tiles are small, but the mask is made for all pairs at once": whole_mask,
        "a block of keys after the last one that anybody sees is masked, but loaded": tiled(
            end=lambda first, block_m, block_n, offset, keys, causal: (
                min(keys, first + block_m + offset + block_n) if causal else keys
            )
        ),
        "the loop goes on for block_n keys from the last query's own on, often into a block that nobody sees": tiled(
            end=lambda first, block_m, block_n, offset, keys, causal: (
                min(keys, first + block_m + offset - 1 + block_n) if causal else keys
            )
        ),
        "the loop ends at the diagonal, causal or not": tiled(
            end=lambda first, block_m, block_n, offset, keys, causal: min(keys, first + block_m + offset)
        ),
        "the loop ends before the last query's own key, which is lost where it begins a block": tiled(
            end=lambda first, block_m, block_n, offset, keys, causal: (
                max(1, min(keys, first + block_m + offset) - 1) if causal else keys
            )
        ),
        "only a program's last block of keys is masked": tiled(
            masked=lambda start, end, block_n: start + block_n >= end
        ),
        "v stays while the next k arrives: both at once do not fit": tiled(drop_v=False),
        "v is loaded with k: both at once do not fit": tiled(v_with_k=True, drop_k=False),
        "every block of queries runs as program 0": tiled(program=lambda index: 0),
        "the log-sum-exp is stored in half precision": tiled(statistics_in=lambda dtype: dtype),
        "the output is summed up in half precision": tiled(sums_in=lambda dtype: dtype),
        "float64 is summed up in float32": tiled(sums_in=lambda dtype: torch.float32),
        "alpha multiplies the block's own sum as well, which has the new unit already": tiled(
            tally=lambda alpha, total, new: alpha * (total + new)
        ),
        "one maximum is taken for all queries, and those far below it are 0 / 0": tiled(
            latest=lambda m, scores: torch.maximum(m, scores.max())
        ),
        "the log-sum-exp is rounded to half precision before it is stored": tiled(
            told=lambda lse, dtype: lse.to(dtype)
        ),
        "the queries are loaded again for every block of keys": tiled(q_again=True),
        "the output so far is stored after every block of keys": tiled(store_each_time=True),
        "the new output is not held, and the machine keeps the one of the beginning": tiled(hold_acc=(True, False)),
        "the output so far is not held, from the beginning on": tiled(hold_acc=(False, True)),
        "the queries are turned to float32 at once, and kept beside those that were loaded": tiled(wide_q=True),
        "the output so far is rounded to half precision, after every block or before it is divided": tiled(
            rounded=lambda acc, dtype: acc.to(dtype)
        ),
        "the weights are held beside the scores, and do not take their place": tiled(weights_beside=True),
    },
)


# flash_issued_bytes ----------------------------------------------------------------------------------------------


def kv_rows(n, block_m, block_n, causal):
    """Rows of k that all programs load."""
    ends = [min(first + block_m, n) if causal else n for first in range(0, n, block_m)]
    return sum(min(math.ceil(end / block_n) * block_n, n) for end in ends)


def issued_by_slices(n, head_dim, block_m, block_n, causal=False):
    rows = range(n)
    moved = 0
    for first in range(0, n, block_m):
        own = len(rows[first : first + block_m])
        moved += own * (2 * head_dim + 2 * head_dim + 4)
        for start in range(0, n, block_n):
            if not causal or start < first + own:
                moved += 2 * len(rows[start : start + block_n]) * head_dim * 2
    return moved


def issued_by_formula(n, head_dim, block_m, block_n, causal=False):
    return n * (4 * head_dim + 4) + 4 * head_dim * kv_rows(n, block_m, block_n, causal)


def issued(own=lambda d: 4 * d + 4, rows=kv_rows, row=lambda d: 4 * d):
    """n rows of own(d) bytes, and the rows of k and v of row(d) bytes for both."""
    return lambda n, head_dim, block_m, block_n, causal=False: (
        n * own(head_dim) + rows(n, block_m, block_n, causal) * row(head_dim)
    )


def off_by_diagonal(n, block_m, block_n, causal):
    if not causal:
        return kv_rows(n, block_m, block_n, causal)
    return sum(min(math.ceil(first / block_n) * block_n, n) for first in range(0, n, block_m))


def exact_diagonal(n, block_m, block_n, causal):
    return sum(min(first + block_m, n) if causal else n for first in range(0, n, block_m))


def q_each_time(n, head_dim, block_m, block_n, causal=False):
    again = 0
    for first in range(0, n, block_m):
        end = min(first + block_m, n) if causal else n
        again += min(block_m, n - first) * (math.ceil(end / block_n) - 1)
    return issued()(n, head_dim, block_m, block_n, causal) + 2 * head_dim * again


def padded_keys(n, block_m, block_n, causal):
    ends = [min(first + block_m, n) if causal else n for first in range(0, n, block_m)]
    return sum(math.ceil(end / block_n) * block_n for end in ends)


def whole_blocks(n, block_m, block_n, causal):
    """The rows that the whole blocks of queries load."""
    ends = [first + block_m if causal else n for first in range(0, n // block_m * block_m, block_m)]
    return sum(min(math.ceil(end / block_n) * block_n, n) for end in ends)


def first_query_keys(n, block_m, block_n, causal):
    ends = [first + 1 if causal else n for first in range(0, n, block_m)]
    return sum(min(math.ceil(end / block_n) * block_n, n) for end in ends)


def one_block_more(n, block_m, block_n, causal):
    ends = [min(first + block_m, n) if causal else n for first in range(0, n, block_m)]
    return sum(min((end // block_n + 1) * block_n, n) for end in ends)


def unrounded(n, head_dim, block_m, block_n, causal=False):
    if causal:
        return issued()(n, head_dim, block_m, block_n, causal)
    return int(n * (4 * head_dim + 4) + 4 * head_dim * n * n / block_m)


ISSUED = Exercise(
    title="predict the bytes",
    section="How many bytes, exactly",
    difficulty=2,
    minutes=8,
    reference=flash.flash_issued_bytes,
    hints=(
        "One program: which tensors does it load once, which on every step, and what does it store? How many programs "
        "are there?",
        "q comes in once and out goes out once, 2 bytes an element; the log-sum-exp goes out, 4 bytes a row. Each "
        "block of queries loads all keys and values that it steps over, in whole blocks of block_n, cut at n.",
        "Start with 2 * n * head_dim * 2 + 4 * n. For each first row of a block, its steps end at n, or with causal "
        "at min(first + block_m, n); round that up to a multiple of block_n, cut it at n, and count it twice, for k "
        "and v.",
    ),
    cases=(
        Case("1,024 tokens, d = 64, blocks of 128 × 64", lambda normal: (1024, 64, 128, 64)),
        Case("the same, causal, blocks of 128 × 128", lambda normal: (1024, 64, 128, 128, True)),
        Case("1,000 tokens, the last blocks are shorter", lambda normal: (1000, 64, 128, 64)),
        Case("1,000 tokens, causal", lambda normal: (1000, 64, 128, 64, True)),
        Case("causal, blocks of 64 × 128", lambda normal: (500, 64, 64, 128, True)),
        Case("causal, blocks of 65 × 64", lambda normal: (500, 32, 65, 64, True)),
        Case("a block longer than the text", lambda normal: (100, 32, 256, 256)),
        Case("one token, causal", lambda normal: (1, 16, 16, 16, True)),
        Case("131,072 tokens, d = 128, blocks of 128 × 64", lambda normal: (131072, 128, 128, 64)),
    ),
    right_answers=(issued_by_slices, issued_by_formula),
    mistakes={
        "each key and value is counted once: those are the compulsory bytes": issued(rows=lambda n, *blocks: n),
        "keys and values are loaded again for each block of keys: it is for each block of queries": issued(
            rows=lambda n, block_m, block_n, causal: kv_rows(n, block_n, block_m, causal)
        ),
        "keys and values are loaded again for each query, not for each block of queries": issued(
            rows=lambda n, block_m, block_n, causal: n * (n + 1) // 2 if causal else n * n
        ),
        "elements are counted, where an element has 2 bytes": issued(own=lambda d: 2 * d + 1, row=lambda d: 2 * d),
        "float32 is counted, 4 bytes an element": issued(own=lambda d: 8 * d + 4, row=lambda d: 8 * d),
        "the log-sum-exp is forgotten": issued(own=lambda d: 4 * d),
        "the log-sum-exp has 2 bytes a row, where it is stored in float32": issued(own=lambda d: 4 * d + 2),
        "the output is forgotten": issued(own=lambda d: 2 * d + 4),
        "two statistics a row are stored, where the log-sum-exp is one": issued(own=lambda d: 4 * d + 8),
        "the output has 4 bytes an element: it is in half precision, and goes out only": issued(
            own=lambda d: 6 * d + 4
        ),
        "q comes in again for each block of keys, where it stays while they pass": q_each_time,
        "the last, shorter block of queries is counted as a whole one": lambda n, head_dim, block_m, *rest: (
            issued()(n, head_dim, block_m, *rest) + -n % block_m * (4 * head_dim + 4)
        ),
        "the last, shorter block of queries is left out": lambda n, head_dim, block_m, block_n, causal=False: (
            n // block_m * block_m * (4 * head_dim + 4) + 4 * head_dim * whole_blocks(n, block_m, block_n, causal)
        ),
        "the last, shorter block of queries reads no keys and values": issued(rows=whole_blocks),
        "causal halves everything": lambda n, head_dim, block_m, block_n, causal=False: (
            issued()(n, head_dim, block_m, block_n) // (2 if causal else 1)
        ),
        "the keys are counted, and the values are not": issued(row=lambda d: 2 * d),
        "the scores go through memory: that is the unfused pipeline": (
            lambda n, head_dim, block_m, block_n, causal=False: 8 * n * n + 8 * n * head_dim
        ),
        "causal is not looked at: blocks after the diagonal are masked, not skipped": issued(
            rows=lambda n, block_m, block_n, causal: kv_rows(n, block_m, block_n, False)
        ),
        "causal halves the keys and values, though the blocks on the diagonal are loaded whole": issued(
            rows=lambda n, block_m, block_n, causal: kv_rows(n, block_m, block_n, False) * (1 if causal else 2),
            row=lambda d: 2 * d,
        ),
        "the blocks on the diagonal are left out": issued(rows=off_by_diagonal),
        "the last step with causal stops at the last query, though a block of keys is loaded whole": issued(
            rows=exact_diagonal
        ),
        "the last, shorter block of keys is counted as a whole one": issued(rows=padded_keys),
        "with causal the last, shorter block of keys is counted as a whole one": issued(
            rows=lambda n, block_m, block_n, causal: (padded_keys if causal else kv_rows)(n, block_m, block_n, causal)
        ),
        "with causal the keys end with those of a block's first query": issued(rows=first_query_keys),
        "with causal a block of keys too many is loaded where the last query ends one": issued(rows=one_block_more),
        "where it isn't causal, n / block_m blocks load keys and values, not rounded up": unrounded,
        "with causal a program loads as many keys as there are queries up to its block's end, whatever block_n is": (
            issued(
                rows=lambda n, block_m, block_n, causal: (
                    sum(range(block_m, n + block_m, block_m)) if causal else kv_rows(n, block_m, block_n, causal)
                )
            )
        ),
    },
)


# split_attention -------------------------------------------------------------------------------------------------


def in_parts(function, q, k, v, splits):
    """The outcome, unless a tensor is made that is larger than a part's keys, values or scores.

    All keys and values in another dtype are no scores, and may be made. Of few queries, and more parts than a part's
    keys or values have columns, all scores of one query are too many already; of many, the scores of a longer part.
    """
    with LargestMade(k.shape, k.mT.shape, v.shape) as largest:
        out = function(q, k, v, splits)
    size, heads = math.ceil(k.shape[-2] / splits), k[..., 0, 0].numel()
    widest = max(q.shape[-2], k.shape[-1], v.shape[-1])
    largest.refuse_above(heads * size * widest, f"one part may make, {heads} × {size} × {widest}")
    return out


def attend_part(q, k, v):
    """Output and log-sum-exp of one part, in float32 at least."""
    q, k, v = wider(q, k, v)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    lse = torch.logsumexp(scores, dim=-1)
    return torch.exp(scores - lse[..., None]) @ v, lse


def all_parts(k, splits):
    size = math.ceil(k.shape[-2] / splits)
    return [slice(i * size, (i + 1) * size) for i in range(splits)]


def partials(q, k, v, splits, parts=all_parts):
    """Outputs (splits, ..., queries, d_value) and log-sum-exps (splits, ..., queries) of all parts."""
    both = [attend_part(q, k[..., part, :], v[..., part, :]) for part in parts(k, splits)]
    return torch.stack([out for out, _ in both]), torch.stack([lse for _, lse in both])


def split_and_softmax(q, k, v, splits):
    out, lse = partials(q, k, v, splits)
    return (torch.softmax(lse, dim=0)[..., None] * out).sum(dim=0).to(q.dtype)


def split_with_sums(q, k, v, splits):
    """The undivided outputs, each with its maximum, brought to the largest of the maxima."""
    dtype, (q, k, v) = q.dtype, wider(q, k, v)
    maxima, sums, outs = [], [], []
    for k_part, v_part in zip(k.tensor_split(splits, dim=-2), v.tensor_split(splits, dim=-2), strict=True):
        if k_part.shape[-2]:
            scores = q @ k_part.transpose(-2, -1) * q.shape[-1] ** -0.5
            maxima.append(scores.amax(dim=-1, keepdim=True))
            weights = torch.exp(scores - maxima[-1])
            sums.append(weights.sum(dim=-1, keepdim=True))
            outs.append(weights @ v_part)
    largest = torch.stack(maxima).amax(dim=0)
    units = [torch.exp(maximum - largest) for maximum in maxima]
    total = sum(unit * part for unit, part in zip(units, sums, strict=True))
    return (sum(unit * part for unit, part in zip(units, outs, strict=True)) / total).to(dtype)


def combined(combine, parts=all_parts):
    """combine(outs, lses) of all parts; an empty part gives nothing rather than nan."""

    def split_attention(q, k, v, splits):
        return combine(*partials(q, k, v, splits, parts)).to(q.dtype)

    return split_attention


def wide_inside(function):
    """The same in float32 at least and rounded at the end, so that half precision is not one more mistake."""
    return lambda q, k, v, splits: function(*wider(q, k, v), splits).to(q.dtype)


@wide_inside
def maxima_ignored(q, k, v, splits):
    out = total = 0
    for part in all_parts(k, splits):
        if k[..., part, :].shape[-2]:
            scores = q @ k[..., part, :].transpose(-2, -1) / math.sqrt(q.shape[-1])
            weights = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
            out, total = out + weights @ v[..., part, :], total + weights.sum(dim=-1, keepdim=True)
    return out / total


@wide_inside
def maxima_for_log_sum_exps(q, k, v, splits):
    outs, maxima = [], []
    for part in all_parts(k, splits):
        if k[..., part, :].shape[-2]:
            scores = q @ k[..., part, :].transpose(-2, -1) / math.sqrt(q.shape[-1])
            maxima.append(scores.amax(dim=-1))
            outs.append(scores.softmax(dim=-1) @ v[..., part, :])
    return (torch.softmax(torch.stack(maxima), dim=0)[..., None] * torch.stack(outs)).sum(dim=0)


def all_but_the_last(k, splits):
    return all_parts(k, splits)[: max(splits - 1, 1)]


def split_in_float64(q, k, v, splits):
    """Everything in float64, and one softmax over the parts' log-sum-exps."""
    size = math.ceil(k.shape[-2] / splits)
    outs, lses = [], []
    for k_part, v_part in zip(k.double().split(size, dim=-2), v.double().split(size, dim=-2), strict=True):
        scores = q.double() @ k_part.mT / math.sqrt(q.shape[-1])
        outs.append(scores.softmax(dim=-1) @ v_part)
        lses.append(scores.logsumexp(dim=-1))
    shares = torch.stack(lses).softmax(dim=0)[..., None]
    return (shares * torch.stack(outs)).sum(dim=0).to(q.dtype)


def overlapping(k, splits):
    return [slice(part.start, part.stop + 1) for part in all_parts(k, splits)]


def latest_only(q, k, v, splits):
    outs, lses = partials(q, k, v, splits)
    out, lse = outs[0], lses[0]
    for other, other_lse in zip(outs[1:], lses[1:], strict=True):
        (out, _), lse = flash.merge(out, lse, other, other_lse), other_lse
    return out.to(q.dtype)


def first_kept(q, k, v, splits):
    outs, lses = partials(q, k, v, splits)
    out = outs[0]
    for other, other_lse in zip(outs[1:], lses[1:], strict=True):
        out, _ = flash.merge(out, lses[0], other, other_lse)
    return out.to(q.dtype)


def averaged_in_turn(q, k, v, splits):
    outs, lses = partials(q, k, v, splits)
    out = outs[0]
    for other, lse in zip(outs[1:], lses[1:], strict=True):
        out = torch.where(seen(lse)[..., None], (out + other) / 2, out)
    return out.to(q.dtype)


def by_number_of_keys(q, k, v, splits):
    outs, _ = partials(q, k, v, splits)
    shares = [len(range(k.shape[-2])[part]) / k.shape[-2] for part in all_parts(k, splits)]
    return sum(share * out for share, out in zip(shares, outs, strict=True)).to(q.dtype)


def without_maxima(out, lse):
    weights = torch.exp(lse)[..., None]
    return (weights * out).sum(dim=0) / weights.sum(dim=0)


def rounded_parts(outs_too, lses_too):
    """Parts rounded to the dtype of the queries before they are merged."""

    def split_attention(q, k, v, splits):
        out, lse = partials(q, k, v, splits)
        out, lse = out.to(q.dtype) if outs_too else out, lse.to(q.dtype) if lses_too else lse
        shares = torch.softmax(wider(lse)[0], dim=0)[..., None]
        return (shares * wider(out)[0]).sum(dim=0).to(q.dtype)

    return split_attention


def floor_parts(k, splits):
    size = max(k.shape[-2] // splits, 1)
    return [slice(i * size, (i + 1) * size) for i in range(splits)]


def highest(scores):
    """The largest score of all queries and keys, (..., 1, 1)."""
    return scores.amax(dim=(-2, -1), keepdim=True)


def all_others_in_the_last(k, splits):
    size = max(1, k.shape[-2] // splits)
    starts = range(0, min(splits * size, k.shape[-2]), size)
    return [slice(start, None if start == starts[-1] else start + size) for start in starts]


def rest_in_the_last(q, k, v, splits):
    """Parts of keys // splits keys, one at least, in float64; the last goes to the end."""
    size, keys = max(1, k.shape[-2] // splits), k.shape[-2]
    starts = range(0, min(splits * size, keys), size)
    out, lse = torch.zeros_like(q[..., :1] * v[..., :1, :]).double(), torch.full_like(q[..., 0], -math.inf).double()
    for start in starts:
        part = slice(start, keys if start == starts[-1] else start + size)
        scores = q.double() @ k[..., part, :].double().mT / math.sqrt(q.shape[-1])
        found = scores.softmax(dim=-1) @ v[..., part, :].double(), scores.logsumexp(dim=-1)
        out, lse = flash.merge(out, lse, *found)
    return out.to(q.dtype)


def parts_of(
    lse_of=lambda scores: torch.logsumexp(scores, dim=-1),
    weigh=lambda scores, lse: torch.exp(scores - lse[..., None]),
    met=lambda weights, dtype: weights,
    made=lambda q, k: wider(q)[0] @ wider(k)[0].mT,
    begin=-math.inf,
    kept=lambda out, dtype: out,
    back=lambda out, dtype: out.to(dtype),
):
    """The parts, merged one after the other, in which a mistake can replace a piece."""

    def split_attention(q, k, v, splits):
        out = torch.zeros_like(q[..., :1] * v[..., :1, :], dtype=torch.float64)
        lse = torch.full_like(q[..., 0], begin, dtype=torch.float64)
        for part in all_parts(k, splits):
            if not k[..., part, :].shape[-2]:
                continue
            scores = wider(made(q, k[..., part, :]))[0] / math.sqrt(q.shape[-1])
            part_lse = lse_of(scores)
            weights = wider(met(weigh(scores, part_lse), q.dtype))[0]
            out, lse = flash.merge(out, lse, weights @ wider(v[..., part, :])[0], part_lse)
            out = kept(out, q.dtype)
        return back(out, q.dtype)

    return split_attention


@wide_inside
def nothing_is_nan(q, k, v, splits):
    outs = []
    for part in all_parts(k, splits):
        scores = q @ k[..., part, :].transpose(-2, -1) / math.sqrt(q.shape[-1])
        weights = torch.exp(scores - scores.logsumexp(dim=-1, keepdim=True))
        share = weights.sum(dim=-1, keepdim=True)
        outs.append((weights @ v[..., part, :] / share, scores.logsumexp(dim=-1)))
    shares = torch.softmax(torch.stack([lse for _, lse in outs]), dim=0)[..., None]
    return (shares * torch.stack([out for out, _ in outs])).sum(dim=0)


@wide_inside
def unscaled(q, k, v, splits):
    return split_and_softmax(q * math.sqrt(q.shape[-1]), k, v, splits)


@wide_inside
def divided_by_d(q, k, v, splits):
    return split_and_softmax(q / math.sqrt(q.shape[-1]), k, v, splits)


@wide_inside
def scaled_by_the_values(q, k, v, splits):
    return split_and_softmax(q * math.sqrt(q.shape[-1] / v.shape[-1]), k, v, splits)


@wide_inside
def queries_split(q, k, v, splits):
    return torch.cat([attention(part, k, v) for part in q.chunk(splits, dim=-2)], dim=-2)


def half_inside(q, k, v, splits):
    """Every part in the dtype of the queries, and merged in it."""
    out, lse = torch.zeros_like(q[..., :1] * v[..., :1, :]), torch.full_like(q[..., 0], -math.inf)
    for part in all_parts(k, splits):
        scores = q @ k[..., part, :].transpose(-2, -1) / math.sqrt(q.shape[-1])
        part_lse = torch.logsumexp(scores, dim=-1)
        weights = torch.exp(scores - part_lse[..., None])
        joined = merge_by_logaddexp(out, lse, weights @ v[..., part, :], part_lse)
        out, lse = (each.to(q.dtype) for each in joined)
    return out


def a_long_row(queries, keys, splits, d=4, d_value=3):
    """Scores that are nearly flat, and values of which the first half is near +1 and the second near -1."""

    def inputs(normal):
        v = normal(keys, d_value) / 4
        v[: keys // 2] += 1
        v[keys // 2 :] -= 1
        return normal(queries, d) / 4, normal(keys, d), v, splits

    return inputs


def that_cancel(queries, keys, splits, d=4, d_value=3):
    """Each key comes twice, with a value near 100 and with minus that: what is rounded on the way is left over."""

    def inputs(normal):
        k, v = normal(keys // 2, d), 100 + 40 * normal(keys // 2, d_value)
        return normal(queries, d), torch.cat([k, k]), torch.cat([v, -v]), splits

    return inputs


def decoding(queries, keys, splits, heads=(), d=8, d_value=6, scale=1.0, shift=0.0, level=0.0):
    """shift: what all scores are higher; level: what all values are."""

    def inputs(normal):
        q, k, v = normal(*heads, queries, d) * scale, normal(*heads, keys, d), normal(*heads, keys, d_value) + level
        if shift:
            q[..., 0], k[..., 0] = shift * math.sqrt(d), 1.0
        return q, k, v, splits

    return inputs


def equal_by_two_ways(normal):
    """1.25 · 1728 = 1.125 · 1920, and divided by √128 in bfloat16 the one is rounded down, the other up."""
    q, k = 0 * normal(2, 128), 0 * normal(10, 128)
    q[:, 0], q[:, 1], k[0::2, 0], k[1::2, 1] = 1.25, 1.125, 1728, 1920
    return q, k, normal(10, 6), 3


SPLIT = Exercise(
    title="split the keys",
    section="One query at a time",
    difficulty=3,
    minutes=10,
    reference=flash.split_attention,
    hints=(
        "A part of the keys is attention like any other. What must it hand over beside its output, so that the parts "
        "can be put together?",
        "For each part: scores, their log-sum-exp, the weights exp(scores - lse), the output. Then merge it with what "
        "there is so far. Begin with zeros and a log-sum-exp of -inf, which is what seeing nothing gives.",
        "size = math.ceil(keys / splits), parts slice(start, start + size) for start in range(0, splits * size, size). "
        "torch.logsumexp of an empty part is -inf, and merge knows what that means.",
    ),
    cases=(
        Case("1 query, 40 keys in 4 parts", decoding(1, 40, 4)),
        Case("41 keys in 4 parts", decoding(1, 41, 4)),
        Case("one part", decoding(2, 9, 1)),
        Case("a part for each key", decoding(2, 5, 5)),
        Case("5 keys in 4 parts, the last is empty", decoding(1, 5, 4)),
        Case("3 keys in 7 parts", decoding(2, 3, 7)),
        Case("2 sequences of 3 heads, 2 queries", decoding(2, 23, 3, heads=(2, 3), d_value=5)),
        Case("scores 20 times as large", decoding(3, 30, 4, scale=20.0)),
        Case("scores around 800, in float64", decoding(2, 17, 4, shift=800.0), dtype=torch.float64),
        Case("scores around -20,000, in float64", decoding(2, 17, 4, shift=-20_000.0), dtype=torch.float64),
        Case("bfloat16, equal scores of 191, made of two channels", equal_by_two_ways, **BFLOAT),
        Case("values that cancel, 2,000 keys in 3 parts, bfloat16", that_cancel(3, 2_000, 3), dtype=torch.bfloat16),
        Case("16,387 keys in 132 parts in bfloat16", a_long_row(1, 16_387, 132), dtype=torch.bfloat16),
        Case("float16, scores around 100", decoding(2, 23, 3, shift=100.0, level=5.0), dtype=torch.float16),
        Case(
            "float16, dot products of 100,000",
            lambda normal: (large_products(normal, 3), large_products(normal, 7), normal(7, 3).half(), 2),
        ),
        Case("one query a thousand times as large", one_far_above(decoding(4, 21, 3)), dtype=torch.float64),
        Case("values of a thousand that cancel, 48 keys in 5 parts, bfloat16", values_that_cancel(5), **BFLOAT),
        Case("memory: 403 keys in 12 parts", decoding(2, 403, 12, heads=(2,), d=3, d_value=5), in_parts),
        Case("memory: 37 queries, no part longer than 34 keys", decoding(37, 403, 12, d=3, d_value=2), in_parts),
    ),
    right_answers=(split_and_softmax, split_with_sums, split_in_float64),
    mistakes={
        "the parts' outputs are averaged": combined(lambda out, lse: out.mean(dim=0)),
        "the parts' outputs are averaged, but for the empty ones": combined(
            lambda out, lse: out.sum(dim=0) / seen(lse).sum(dim=0)[..., None]
        ),
        "the parts' outputs are added": combined(lambda out, lse: out.sum(dim=0)),
        "each part weighs its log-sum-exp, not e^lse": combined(
            lambda out, lse: (
                (out * lse.masked_fill(~seen(lse), 0)[..., None]).sum(dim=0)
                / lse.masked_fill(~seen(lse), 0).sum(dim=0)[..., None]
            )
        ),
        "each part is averaged with the mean of those before": averaged_in_turn,
        "each part's log-sum-exp is in base 2, where the weights are e^lse": combined(
            lambda out, lse: (torch.softmax(lse / math.log(2), dim=0)[..., None] * out).sum(dim=0)
        ),
        "e^lse is taken without a maximum, and overflows": combined(without_maxima),
        "the parts' outputs are rounded to half precision before they are merged": rounded_parts(True, False),
        "the parts' log-sum-exps are rounded to half precision before they are merged": rounded_parts(False, True),
        "the merged log-sum-exp is not kept, and the first part's stands for all so far": first_kept,
        "each part weighs the number of its keys": by_number_of_keys,
        "only the last part is looked at": combined(lambda out, lse: out[int(seen(lse).flatten(1).any(1).sum()) - 1]),
        "each part weighs 2^lse, though its log-sum-exp is natural": combined(
            lambda out, lse: (torch.softmax(lse * math.log(2), dim=0)[..., None] * out).sum(dim=0)
        ),
        "the weights e^lse are not divided by their sum": combined(
            lambda out, lse: (torch.exp(lse - lse.amax(dim=0))[..., None] * out).sum(dim=0)
        ),
        "the part with the largest log-sum-exp is taken alone": combined(
            lambda out, lse: out.gather(0, lse.argmax(dim=0)[None, ..., None].expand(1, *out.shape[1:]))[0]
        ),
        "undivided outputs are added although each is measured from another maximum": maxima_ignored,
        "the last keys are left out: keys // splits rounds down": combined(
            lambda out, lse: (torch.softmax(lse, dim=0)[..., None] * out).sum(dim=0), floor_parts
        ),
        "the last part has what keys // splits leaves over, and is longer than the others": rest_in_the_last,
        "parts have keys // splits keys, and the last one takes all that is left": combined(
            lambda out, lse: (torch.softmax(lse, dim=0)[..., None] * out).sum(dim=0), all_others_in_the_last
        ),
        "the last part is left out": combined(
            lambda out, lse: (torch.softmax(lse, dim=0)[..., None] * out).sum(dim=0), all_but_the_last
        ),
        "the parts overlap by one key, which counts twice": combined(
            lambda out, lse: (torch.softmax(lse, dim=0)[..., None] * out).sum(dim=0), overlapping
        ),
        "only the log-sum-exp of the part before is kept, not that of all before": latest_only,
        "each part weighs e^maximum: its log-sum-exp lacks the logarithm of the sum": maxima_for_log_sum_exps,
        "the scores are divided by d, not by √d": divided_by_d,
        "an empty part is 0 / 0": nothing_is_nan,
        "only the first part is looked at": combined(lambda out, lse: out[0]),
        "the scores are not divided by √d": unscaled,
        "the scores are divided by √d_value": scaled_by_the_values,
        "all scores are made at once": lambda q, k, v, splits: attention(q, k, v),
        "the queries are split, not the keys: each part still makes a score of every key": queries_split,
        "one maximum is taken for all queries of a part, and those far below it are lost": parts_of(
            lse_of=lambda scores: (top := highest(scores))[..., 0] + torch.log(torch.exp(scores - top).sum(dim=-1)),
            weigh=lambda scores, lse: (
                (weights := torch.exp(scores - highest(scores))) / weights.sum(dim=-1, keepdim=True)
            ),
        ),
        "the weights are rounded to half precision before they meet the values": parts_of(
            met=lambda weights, dtype: weights.to(dtype)
        ),
        "the scores are made in half precision, and turned to float32 afterwards": parts_of(made=lambda q, k: q @ k.mT),
        "a part has one log-sum-exp for all its queries, where each has its own": parts_of(
            lse_of=lambda scores: torch.logsumexp(scores, dim=(-2, -1), keepdim=True)[..., 0].expand(scores.shape[:-1]),
            weigh=lambda scores, lse: scores.softmax(dim=-1),
        ),
        "what is merged begins with a log-sum-exp of 0, as if a part had found zeros with a mass of 1": parts_of(
            begin=0.0
        ),
        "what is merged begins with a finite log-sum-exp, above parts whose scores are lower": parts_of(begin=-1e3),
        "the queries are divided by √d in half precision": parts_of(
            made=lambda q, k: wider(q / math.sqrt(q.shape[-1]))[0] @ wider(k)[0].mT * math.sqrt(q.shape[-1])
        ),
        "what is merged is rounded to half precision after each part": parts_of(kept=lambda out, dtype: out.to(dtype)),
        "the dtype of what is merged is returned, not that of q": parts_of(back=lambda out, dtype: out),
        "log-sum-exps are kept in half precision: near 9.7 the next bfloat16 is 0.0625 away": half_inside,
    },
)

# flash1_issued_bytes --------------------------------------------------------------------------------------------


def flash1_by_loops(n, head_dim, block_n):
    moved = 0
    for start in range(0, n, block_n):
        moved += 2 * 2 * head_dim * (min(start + block_n, n) - start)
        moved += n * (2 * head_dim + 2 * 2 * head_dim + 2 * 4 + 2 * 4)
    return moved


def flash1_by_paper(n, head_dim, block_n):
    passes = -(-n // block_n)
    return 2 * (3 * passes + 2) * n * head_dim + 4 * 4 * n * passes


def passing(each=lambda d: 6 * d + 16, once=lambda d: 4 * d, passes=lambda n, block_n: math.ceil(n / block_n)):
    """n · (passes · each(d) + once(d))."""
    return lambda n, head_dim, block_n: n * (passes(n, block_n) * each(head_dim) + once(head_dim))


FLASH1 = Exercise(
    title="the other loop order",
    section="Which loop goes outside",
    difficulty=2,
    minutes=8,
    reference=flash.flash1_issued_bytes,
    hints=(
        "The loop over keys is outside now. When a block of queries is left and comes by again later, where have its "
        "output, its maximum and its sum been in between?",
        "k and v come in once. On each of the ceil(n / block_n) passes all of q comes in, all of the output comes in "
        "and goes back, and so do two float32 numbers a row.",
        "Once: 2 * n * row with row = 2 * head_dim bytes. Each pass: 3 * n * row for q and the output, and 4 numbers "
        "of 4 bytes for each of n rows.",
    ),
    cases=(
        Case("512 tokens, d = 64, blocks of 64", lambda normal: (512, 64, 64)),
        Case("blocks of 128", lambda normal: (512, 64, 128)),
        Case("1,000 tokens, blocks of 384", lambda normal: (1000, 64, 384)),
        Case("d = 128, blocks of 96", lambda normal: (4096, 128, 96)),
        Case("a block longer than the text", lambda normal: (100, 32, 256)),
        Case("one token", lambda normal: (1, 16, 16)),
    ),
    right_answers=(flash1_by_loops, flash1_by_paper),
    mistakes={
        "the order does not matter: q and out once, k and v for each block of queries": (
            lambda n, head_dim, block_n: flash.flash_issued_bytes(n, head_dim, block_n, block_n)
        ),
        "the maximum and the sum stay on the chip": passing(each=lambda d: 6 * d),
        "the statistics are counted half: only one of them, only one way, or with 2 bytes": passing(
            each=lambda d: 6 * d + 8
        ),
        "the output is written back, but never read": passing(each=lambda d: 4 * d + 16),
        "the output stays on the chip until the end": passing(each=lambda d: 2 * d + 16, once=lambda d: 6 * d),
        "q is loaded once, and stays": passing(each=lambda d: 4 * d + 16, once=lambda d: 6 * d),
        "k and v come in on every pass": passing(each=lambda d: 10 * d + 16, once=lambda d: 0),
        "elements are counted, where an element has 2 bytes": passing(each=lambda d: 3 * d + 4, once=lambda d: 2 * d),
        "the last, shorter block of keys has no pass": passing(passes=lambda n, block_n: n // block_n),
        "there is a pass for each key, not for each block of keys": passing(passes=lambda n, block_n: n),
        "the zeros and -inf at the beginning are counted as written": passing(once=lambda d: 6 * d + 8),
        "on the first pass the output is not read, or only one of k and v is counted": passing(once=lambda d: 2 * d),
        "k and v are not counted": passing(once=lambda d: 0),
        "on the first pass neither the output nor its statistics are read": passing(once=lambda d: 2 * d - 8),
        "on the first pass the statistics are not read": passing(once=lambda d: 4 * d - 8),
        "the log-sum-exp is written at the end as well": passing(once=lambda d: 4 * d + 4),
        "the output travels in float32": passing(each=lambda d: 10 * d + 16),
        "the statistics come and go once, not on each pass": passing(each=lambda d: 6 * d, once=lambda d: 4 * d + 16),
        "the last, shorter block of keys is counted as a whole one": lambda n, head_dim, block_n: (
            passing()(n, head_dim, block_n) + 4 * head_dim * (-n % block_n)
        ),
    },
)

EXERCISES = (ONLINE, MERGE, ONLINE_ATTENTION, IN_TILES, TILED, ISSUED, SPLIT, FLASH1)
