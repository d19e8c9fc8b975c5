"""Exercises: which pairs break past the trained length, the rules that slow them, where a model fails.

An error of this field hides in the fast pairs or in the slow ones, and shows only far from home. So the rules are asked
about every pair of a real head, in float64, and about pairs that do not come in order. What it takes to serve the
longer text is asked in `serving`.
"""

import copy
import math
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad, scaled_dot_product_attention

from solutions import positions
from solutions.checks.exercise import Case, Exercise
from solutions.checks.running import Rejected
from solutions.checks.tools import far_below, felt, wider
from solutions.positions import tempered_attention
from solutions.quadratic import attention, causal_mask
from solutions.tiny import Config, TinyTransformer

# never_turned ----------------------------------------------------------------------------------------------------


def never_turned_one_by_one(head_dim, base, length):
    never = 0
    for pair in range(head_dim // 2):
        turned = length * base ** (-2 * pair / head_dim)  # radians, at the last token
        never += turned < 2 * math.pi
    return never


def never_turned_by_logarithm(head_dim, base, length):
    """length base^(-2 i / d) < 2 pi, solved for i."""
    if length < 2 * math.pi:
        return head_dim // 2
    first = math.floor(head_dim / 2 * math.log(length / (2 * math.pi), base)) + 1
    return max(head_dim // 2 - first, 0)


def never_turned_with(pairs=None, exponent=None, turn=2 * math.pi, counted=None, wave=None, last=None):
    """The count, where a part of it is another's."""

    def never_turned(head_dim, base, length):
        index = (pairs or (lambda d: range(d // 2)))(head_dim)
        frequencies = [base ** -(exponent or (lambda i, d: 2 * i / d))(i, head_dim) for i in index]
        waves = [(wave or float)(turn / frequency) for frequency in frequencies]
        never = sum(each > (last or (lambda length: length))(length) for each in waves)
        return counted(never, len(frequencies)) if counted else never

    return never_turned


def never_turned_rounded_down(head_dim, base, length):
    return head_dim // 2 - max(math.floor(head_dim / 2 * math.log(length / (2 * math.pi), base)), 0)


NEVER_TURNED = Exercise(
    title="count the pairs that never turned",
    section="Which pairs break",
    difficulty=1,
    minutes=8,
    reference=positions.never_turned,
    hints=(
        "Pair 0 turns by one radian a token. After how many tokens has it made a whole turn? And the last pair, which "
        "turns by about 1 / base of a radian?",
        "A head of head_dim entries has head_dim / 2 pairs; pair i turns by base ** (-2 * i / head_dim) radians a "
        "token, and a whole turn takes 2 π radians.",
        "frequencies = base ** (-2 * torch.arange(head_dim // 2) / head_dim). Divide 2 * math.pi by them for the "
        "wavelengths, count those above length, and return a whole number: int(...).",
    ),
    cases=(
        Case("a head of 128 trained at 2,048 tokens", lambda normal: (128, 10_000.0, 2048)),
        Case("the same at 4,096", lambda normal: (128, 10_000.0, 4096)),
        Case("the same at 8,192", lambda normal: (128, 10_000.0, 8192)),
        Case("Llama 3: base 500,000, 8,192 tokens", lambda normal: (128, 500_000.0, 8192)),
        Case("our model: a head of 32, 128 tokens", lambda normal: (32, 10_000.0, 128)),
        Case("a head of 80, base 1,000, 300 tokens", lambda normal: (80, 1000.0, 300)),
        Case("so long a text that all have turned", lambda normal: (16, 10.0, 1000)),
        Case("4 tokens, in which none has", lambda normal: (8, 10_000.0, 4)),
        Case("20 tokens, and a pair that turns in 19.9", lambda normal: (8, 10.0, 20)),
        Case("19 tokens, and a pair that turns in 19.9", lambda normal: (8, 10.0, 19)),
        Case("11 tokens, and a pair that turns in 11.2", lambda normal: (8, 10.0, 11)),
        Case("a head of 128 and 2 tokens, in which none has", lambda normal: (128, 10_000.0, 2)),
        Case("a head of 96 and 5 tokens", lambda normal: (96, 1000.0, 5)),
    ),
    right_answers=(never_turned_one_by_one, never_turned_by_logarithm),
    mistakes={
        "2 π is left out: the frequency is in radians a token, and a turn is 2 π of them": never_turned_with(turn=1.0),
        "half a turn counts as one": never_turned_with(turn=math.pi),
        "entries are counted, but two of them make one pair": never_turned_with(counted=lambda never, all: 2 * never),
        "the fast pairs are counted, those that have turned": never_turned_with(counted=lambda never, all: all - never),
        "all pairs are counted, whether they turned or not": never_turned_with(counted=lambda never, all: all),
        "the exponent is i / d where it is 2 i / d: the pairs end in the middle": never_turned_with(
            exponent=lambda i, d: i / d
        ),
        "every entry is taken for a pair, with the exponent i / d": never_turned_with(
            pairs=range, exponent=lambda i, d: i / d
        ),
        "the exponent is divided by the number of pairs, where it is the number of entries": never_turned_with(
            exponent=lambda i, d: 2 * i / (d // 2)
        ),
        "the exponent is 2 i / (d - 2), so that the last pair turns by 1 / base": never_turned_with(
            exponent=lambda i, d: 2 * i / (d - 2)
        ),
        "pair 0 is left out": never_turned_with(pairs=lambda d: range(1, d // 2)),
        "the pairs are numbered from 1, so none turns by a whole radian": never_turned_with(
            pairs=lambda d: range(1, d // 2 + 1)
        ),
        "the minus of the exponent is missing: later pairs turn faster": never_turned_with(
            exponent=lambda i, d: -2 * i / d
        ),
        "the text ends at token length - 1: it turns on for `length` tokens": never_turned_with(
            last=lambda length: length - 1
        ),
        "wavelengths are rounded to whole tokens": never_turned_with(wave=round),
        "wavelengths are cut to whole tokens": never_turned_with(wave=math.floor),
        "there are as many pairs as entries, where two entries make one": never_turned_with(pairs=range),
        "a quarter of a turn counts as one": never_turned_with(turn=math.pi / 2),
        "the share of the pairs is given, where their number is asked for": never_turned_with(
            counted=lambda never, all: never / all
        ),
        "the number that is solved for is rounded down, and the pair below it, which has turned, counts too": (
            never_turned_rounded_down
        ),
        "base is not looked at: it is always 10,000": lambda head_dim, base, length: positions.never_turned(
            head_dim, 10_000.0, length
        ),
        "the number that is solved for is not kept between 0 and the number of pairs": lambda head_dim, base, length: (
            head_dim // 2 - math.ceil(head_dim / 2 * math.log(length / (2 * math.pi), base))
        ),
        "the number that is solved for is not kept at 0 or more, and a short text has more pairs than there are": (
            lambda head_dim, base, length: max(
                0, head_dim // 2 - math.ceil(head_dim / 2 * math.log(length / (2 * math.pi), base))
            )
        ),
        "the count is a tensor, where it is a whole number: int(...) takes it out": lambda *given: torch.tensor(
            positions.never_turned(*given)
        ),
    },
)


# interpolated_angles ---------------------------------------------------------------------------------------------


def squeezed(first, last, pairs, factor):
    """A case: the positions from first to last, random frequencies, the factor."""
    return lambda normal: (torch.arange(first, last), normal(pairs).abs(), factor)


def far_out(normal):
    """A position and a factor that float32 rounds."""
    return torch.tensor([131_070.7], dtype=torch.float64), normal(4).abs(), 3.3


def angles_by_slower_pairs(position, frequencies, factor):
    return torch.outer(position.to(frequencies.dtype), frequencies / factor)


def angles_row_by_row(position, frequencies, factor):
    return torch.stack([place * frequencies / factor for place in position.tolist()])


def angles_with(squeeze=lambda position, factor: position / factor, slow=None, after=None):
    """The angles of positions that were squeezed and frequencies that were slowed in another way."""

    def interpolated_angles(position, frequencies, factor):
        slower = slow(frequencies, factor) if slow else frequencies
        angles = squeeze(position.to(frequencies.dtype), factor)[:, None] * slower
        return after(angles) if after else angles

    return interpolated_angles


def slow_half(frequencies, factor):
    late = torch.arange(len(frequencies)) >= len(frequencies) // 2
    return torch.where(late, frequencies / factor, frequencies)


def slow_by_place(frequencies, factor):
    place = torch.arange(len(frequencies), dtype=frequencies.dtype) / (len(frequencies) - 1)
    return frequencies / factor**place


def as_they_are(position, factor):
    return position


INTERPOLATED = Exercise(
    title="position interpolation",
    section="Four rules, each a few lines",
    difficulty=1,
    minutes=6,
    reference=positions.interpolated_angles,
    hints=(
        "The model knows the positions from 0 to 2,047. At a factor of 64, where should position 131,071 stand, so "
        "that it is one of those? And position 1?",
        "Position m is read as m / factor, also between two whole numbers: an angle can be anything. The angle is that "
        "place times the frequency, for every position and every pair.",
        "position.to(frequencies.dtype)[:, None] is a column (n, 1), frequencies is a row (pairs,); their product has "
        "all angles. Divide once, with /, not //.",
    ),
    cases=(
        Case("9 tokens, 5 pairs, a factor of 4", squeezed(0, 9, 5, 4.0)),
        Case("tokens 2,040 to 2,056, a factor of 64", squeezed(2040, 2057, 3, 64.0)),
        Case("a factor of 2.5", squeezed(0, 7, 4, 2.5)),
        Case("a factor of 1, at which nothing changes", squeezed(0, 6, 4, 1.0)),
        Case("positions out of order", lambda normal: (torch.tensor([900, 3, 41]), normal(6).abs(), 8.0)),
        Case("float64", squeezed(0, 8, 6, 7.0), dtype=torch.float64),
        Case("positions in float64", lambda normal: (torch.arange(6.0).double(), normal(4).abs(), 3.5)),
        Case("float64, position 131,070.7 alone, a factor of 3.3", far_out, dtype=torch.float64),
        Case(
            "positions between the whole ones", lambda normal: (torch.tensor([0.5, 7.75, 3.25]), normal(5).abs(), 4.0)
        ),
    ),
    right_answers=(angles_by_slower_pairs, angles_row_by_row),
    mistakes={
        "the first position counts as 0, wherever it stands": (
            lambda position, frequencies, factor: angles_by_slower_pairs(position - position[0], frequencies, factor)
        ),
        "whole positions are divided as they are, which makes them float32, and then meet frequencies of float64": (
            lambda position, frequencies, factor: (position[:, None] / factor * frequencies).to(frequencies.dtype)
        ),
        "the angles have the dtype of the positions, where that of the frequencies is asked for": (
            lambda position, frequencies, factor: position[:, None] * frequencies / factor
        ),
        "the positions are multiplied by the factor: they move further out": angles_with(lambda m, s: m * s),
        "positions and frequencies are both divided, the factor applied twice": angles_with(
            slow=lambda frequencies, s: frequencies / s
        ),
        "the positions are divided without their fractions (//), so that neighbours share one place": angles_with(
            lambda m, s: m // s
        ),
        "the positions are rounded to whole ones": angles_with(lambda m, s: (m / s).round()),
        "the factor is not looked at": angles_with(as_they_are),
        "only the second half of the pairs is slowed": angles_with(as_they_are, slow=slow_half),
        "the factor is taken from the positions, not divided into them": angles_with(lambda m, s: m - s),
        "the root of the factor is divided by": angles_with(lambda m, s: m / math.sqrt(s)),
        "the angles are turns, not radians (divided by 2 π)": angles_with(after=lambda angles: angles / (2 * math.pi)),
        "rows are pairs and columns are positions": angles_with(after=lambda angles: angles.T),
        "the first position is 1": angles_with(lambda m, s: (m + 1) / s),
        "positions are divided by the frequencies, where an angle is their product": angles_with(
            slow=lambda frequencies, s: 1 / frequencies
        ),
        "whole turns are taken off, where the angle itself is asked for": angles_with(
            after=lambda angles: angles % (2 * math.pi)
        ),
        "the cosine is returned, not the angle": angles_with(after=torch.cos),
        "the sine is returned, not the angle": angles_with(after=torch.sin),
        "the row's number is taken for the position": angles_with(lambda m, s: torch.arange(len(m), dtype=m.dtype) / s),
        "positions between the whole ones are cut off": lambda position, frequencies, factor: (
            position.long()[:, None] * frequencies / factor
        ),
        "every angle stands twice, for both entries of a pair": angles_with(
            after=lambda angles: torch.cat([angles, angles], dim=-1)
        ),
        "every angle stands twice, side by side, for both entries of a pair": angles_with(
            after=lambda angles: angles.repeat_interleave(2, dim=-1)
        ),
        "the angles are float64, where they have the dtype of the frequencies": angles_with(
            after=lambda angles: angles.double()
        ),
        "the angles are float32, where they have the dtype of the frequencies": angles_with(
            after=lambda angles: angles.float()
        ),
        "the angles are computed and left in float64, where they have the dtype of the frequencies": (
            lambda position, frequencies, factor: position.double()[:, None] * frequencies.double() / factor
        ),
        "the factor is spread over the pairs, none of it on the first and all on the last, as with a larger base": (
            angles_with(as_they_are, slow=slow_by_place)
        ),
        "only positions beyond the old length, n / factor, are squeezed": angles_with(
            lambda m, s: torch.where(m < len(m) / s, m, m / s)
        ),
        "positions start again from 0 past the old length, n / factor": angles_with(lambda m, s: m % (len(m) / s)),
        "the factor is cut to a whole number": lambda position, frequencies, factor: (
            position[:, None] * frequencies / int(factor)
        ),
    },
)


# ntk_base --------------------------------------------------------------------------------------------------------


def ntk_base_from_the_last_pair(head_dim, base, factor):
    """The last pair turns by base^-(d - 2) / d; it shall be `factor` times slower."""
    slowest = factor * base ** ((head_dim - 2) / head_dim)
    return slowest ** (head_dim / (head_dim - 2))


def ntk_base_by_logarithm(head_dim, base, factor):
    last = head_dim // 2 - 1
    return math.exp(math.log(base) + head_dim / (2 * last) * math.log(factor))


def ntk_base_with(exponent):
    return lambda head_dim, base, factor: base * factor ** exponent(head_dim)


NTK_BASE = Exercise(
    title="the NTK-aware base",
    section="Four rules, each a few lines",
    difficulty=2,
    minutes=10,
    reference=positions.ntk_base,
    hints=(
        "Raise the base from b to b'. How much slower is pair 0 now? And the last pair, i = d / 2 - 1?",
        "The last pair turns by base ** (-(d - 2) / d). With b' = b · c it is slower by c ** ((d - 2) / d), which is "
        "to be the factor. Solve for c.",
        "c is the factor to the power of the inverse, d / (d - 2), with d = head_dim, the entries of one head. Return "
        "the base times c.",
    ),
    cases=(
        Case("a head of 128, from 2,048 to 131,072", lambda normal: (128, 10_000.0, 64.0)),
        Case("a head of 32, a factor of 8", lambda normal: (32, 10_000.0, 8.0)),
        Case("base 500,000", lambda normal: (128, 500_000.0, 8.0)),
        Case("a head of 6, a factor of 3", lambda normal: (6, 100.0, 3.0)),
        Case("a factor of 2.5", lambda normal: (64, 10_000.0, 2.5)),
        Case("a head of 4, a factor of 3", lambda normal: (4, 100.0, 3.0)),
        Case("a factor of 1, at which nothing changes", lambda normal: (64, 10_000.0, 1.0)),
    ),
    right_answers=(ntk_base_from_the_last_pair, ntk_base_by_logarithm),
    mistakes={
        "the base is multiplied by the factor itself: the last pair is then not slowed by all of it": ntk_base_with(
            lambda d: 1
        ),
        "the exponent is (d - 2) / d, upside down: the last pair is then not slowed by the factor": ntk_base_with(
            lambda d: (d - 2) / d
        ),
        "the exponent is d / (d - 1): the last pair's exponent is (d - 2) / d, since a pair has two entries": (
            ntk_base_with(lambda d: d / (d - 1))
        ),
        "pairs are counted for entries: with d / 2 for d, the exponent is (d / 2) / (d / 2 - 2)": ntk_base_with(
            lambda d: (d // 2) / (d // 2 - 2)
        ),
        "the exponent is d / (d + 2)": ntk_base_with(lambda d: d / (d + 2)),
        "the factor is squared": ntk_base_with(lambda d: 2),
        "the base is divided, so that every pair turns faster": ntk_base_with(lambda d: -d / (d - 2)),
        "the base is raised to the power as well, (base · factor)^(d / (d - 2))": (
            lambda head_dim, base, factor: (base * factor) ** (head_dim / (head_dim - 2))
        ),
        "the base alone is raised to the power, base^(d / (d - 2)) · factor": (
            lambda head_dim, base, factor: base ** (head_dim / (head_dim - 2)) * factor
        ),
        "the multiplier is added to the base": (
            lambda head_dim, base, factor: base + factor ** (head_dim / (head_dim - 2))
        ),
        "the exponent is 2 / d, the step from one pair to the next": ntk_base_with(lambda d: 2 / d),
        "the exponent is d // (d - 2), a whole number: 1 for all but the smallest heads": ntk_base_with(
            lambda d: d // (d - 2)
        ),
        "the root of the factor is taken: the last pair is then slowed by that": ntk_base_with(
            lambda d: d / (d - 2) / 2
        ),
        "the base is cut to a whole number": lambda *given: int(positions.ntk_base(*given)),
        "the base is rounded to a whole number": lambda *given: round(positions.ntk_base(*given)),
        "the exponent is d - 2": ntk_base_with(lambda d: d - 2),
        "the exponent is d / 2 - 1, the number of the last pair": ntk_base_with(lambda d: d / 2 - 1),
        "the multiplier alone is returned, without the base": (
            lambda head_dim, base, factor: factor ** (head_dim / (head_dim - 2))
        ),
        "the exponent is doubled: the new base slows the last pair by factor²": ntk_base_with(
            lambda d: 2 * d / (d - 2)
        ),
        "the old base is always 10,000": lambda head_dim, base, factor: positions.ntk_base(head_dim, 10_000.0, factor),
        "the exponent is 2 / (d - 2)": lambda head_dim, base, factor: base * factor ** (2 / (head_dim - 2)),
        "the exponent is d / 2": lambda head_dim, base, factor: base * factor ** (head_dim / 2),
        "the formula is that of a factor that grows with the text (dynamic NTK)": lambda head_dim, base, factor: (
            base * (factor * factor - (factor - 1)) ** (head_dim / (head_dim - 2))
        ),
    },
)


# by_parts --------------------------------------------------------------------------------------------------------


def head(head_dim, base, *rule):
    """A case: the frequencies of a head, factor, original_length, alpha, beta."""
    frequencies = base ** (-2 * torch.arange(head_dim // 2, dtype=torch.float64) / head_dim)
    return lambda normal: (frequencies.to(normal(1).dtype, copy=True), *rule)


def over_the_old(function, frequencies, *rule):
    """The new frequencies over the old ones, in float32: a slow pair is told as exactly as a fast one."""
    new = function(frequencies, *rule)
    if not isinstance(new, Tensor) or new.shape != frequencies.shape:
        return new
    if new.dtype != frequencies.dtype:
        raise Rejected(f"the dtype of your output is {new.dtype}, expected {frequencies.dtype}")
    return (new / frequencies).float()


def parts_case(label, *rule, dtype=torch.float64):
    return Case(label, head(*rule), over_the_old, dtype=dtype)


def by_parts_one_by_one(frequencies, factor, original_length, alpha=1.0, beta=32.0):
    new = []
    for frequency in frequencies:
        made = original_length * frequency / (2 * math.pi)
        if made >= beta:
            new.append(frequency)
        elif made <= alpha:
            new.append(frequency / factor)
        else:
            kept = (made - alpha) / (beta - alpha)
            new.append(kept * frequency + (1 - kept) * frequency / factor)
    return torch.stack(new)


def by_parts_by_wavelength(frequencies, factor, original_length, alpha=1.0, beta=32.0):
    wavelength = 2 * math.pi / frequencies
    smooth = (original_length / wavelength - alpha) / (beta - alpha)
    blended = (1 - smooth) * frequencies / factor + smooth * frequencies
    slow, fast = wavelength > original_length / max(alpha, 1e-30), wavelength < original_length / beta
    return torch.where(fast, frequencies, torch.where(slow, frequencies / factor, blended))


def by_index_with(ends):
    """The line over the pair's index, as YaRN's released code draws it, from `ends(low, high)`."""

    def by_index(frequencies, factor, original_length, alpha=1.0, beta=32.0):
        pairs = len(frequencies)
        step = math.log(frequencies[0] / frequencies[-1]) / (pairs - 1)  # ln of how much faster a pair is than the next
        turned = [original_length * frequencies[0] / (2 * math.pi * turns) for turns in (beta, alpha)]
        low, high = ends(*(math.log(each) / step for each in turned))
        low, high = max(low, 0), min(high, 2 * pairs - 1)
        index = torch.arange(pairs, dtype=frequencies.dtype)
        share = 1 - ((index - low) / (high - low)).clamp(0, 1)
        return share * frequencies + (1 - share) * frequencies / factor

    return by_index


by_index = by_index_with(lambda low, high: (math.floor(low), math.ceil(high)))
by_index_unrounded = by_index_with(lambda low, high: (low, high))


def by_index_upside_down(frequencies, factor, original_length, alpha=1.0, beta=32.0):
    return frequencies + frequencies / factor - by_index(frequencies, factor, original_length, alpha, beta)


def by_all_pairs(frequencies, factor, original_length, alpha=1.0, beta=32.0):
    """A line from the first pair to the last."""
    share = torch.linspace(1, 0, len(frequencies), dtype=frequencies.dtype)
    return share * frequencies + (1 - share) * frequencies / factor


def by_parts_with(turned=None, keep=None, blend=None):
    """The rule, where what counts as a turn, the share that is kept, or the blend is another's."""

    def by_parts(frequencies, factor, original_length, alpha=1.0, beta=32.0):
        made = original_length * frequencies / (2 * math.pi)
        if turned:
            made = turned(frequencies, original_length, factor)
        share = keep(made, alpha, beta) if keep else ((made - alpha) / (beta - alpha)).clamp(0, 1)
        if blend:
            return blend(frequencies, factor, share)
        return share * frequencies + (1 - share) * frequencies / factor

    return by_parts


BY_PARTS = Exercise(
    title="interpolate by parts",
    section="Four rules, each a few lines",
    difficulty=3,
    minutes=15,
    reference=positions.by_parts,
    hints=(
        "Trained at 2,048 tokens, pair 0 turns 326 times and pair 63 not once. Which of the two may be slowed 64 times "
        "and loses nothing that it had learnt? Which gives up the order of neighbours?",
        "turns = original_length · frequency / 2 π. From beta turns on a pair stays as it is, up to alpha turns it is "
        "divided by the factor. Between them the share that is kept rises from 0 to 1 on a straight line.",
        "keep = ((turns - alpha) / (beta - alpha)).clamp(0, 1); the new frequency is keep of the old one and 1 - keep "
        "of the divided one, added.",
    ),
    cases=(
        parts_case("a head of 128, from 2,048 to 131,072", 128, 10_000.0, 64.0, 2048, 1.0, 32.0),
        parts_case("Llama 3.1: 8,192 tokens, from 1 turn to 4", 128, 5e5, 8.0, 8192, 1.0, 4.0),
        parts_case("128 tokens, from 1 turn to 4", 32, 10_000.0, 8.0, 128, 1.0, 4.0),
        parts_case("128 tokens, to 32 turns: no pair makes them", 32, 1e4, 8.0, 128, 1.0, 32.0),
        parts_case("from 2 turns to 6, a factor of 2.5", 16, 100.0, 2.5, 60, 2.0, 6.0),
        parts_case("a head of 48, from 1.5 turns to 20", 48, 700.0, 5.0, 500, 1.5, 20.0),
        parts_case("alpha and beta are left to their defaults", 64, 1e4, 16.0, 2048),
        Case("a factor of 1, at which nothing changes", head(16, 100.0, 1.0, 60, 1.0, 4.0)),
    ),
    right_answers=(by_parts_one_by_one, by_parts_by_wavelength),
    variants={
        "Your line is over the turns, as in the paper (definition 2).": positions.by_parts,
        "Your line is over the pair's index, its ends rounded outwards, as in YaRN's released code and the engines.": (
            by_index
        ),
        "Your line is over the pair's index, its ends not rounded, as gpt-oss has it (truncate = false).": (
            by_index_unrounded
        ),
    },
    mistakes={
        "the ramp is upside down (alpha and beta swapped): fast pairs are divided, slow ones kept": by_parts_with(
            keep=lambda made, alpha, beta: ((made - beta) / (alpha - beta)).clamp(0, 1)
        ),
        "the ramp over the index is upside down: fast pairs are divided, slow ones kept": by_index_upside_down,
        "the ends over the index are rounded inwards, where the released code rounds them outwards": by_index_with(
            lambda low, high: (math.ceil(low), math.floor(high))
        ),
        "the ends over the index are rounded to the nearest, where the released code rounds them outwards": (
            by_index_with(lambda low, high: (round(low), round(high)))
        ),
        "the ends over the index are entries, and two of them make one pair": by_index_with(
            lambda low, high: (math.floor(2 * low), math.ceil(2 * high))
        ),
        "the line over the index begins at pair 0, and beta is not looked at": by_index_with(
            lambda low, high: (0, math.ceil(high))
        ),
        "the line goes from the first pair to the last, and alpha and beta are not looked at": by_all_pairs,
        "2 π is left out of the turns": by_parts_with(turned=lambda frequencies, length, s: length * frequencies),
        "the turns are counted in the new length, not in the one that was trained": by_parts_with(
            turned=lambda frequencies, length, s: s * length * frequencies / (2 * math.pi)
        ),
        "wavelengths are compared with alpha and beta, where it is turns": by_parts_with(
            turned=lambda frequencies, length, s: 2 * math.pi / frequencies
        ),
        "the share is not kept between 0 and 1: the fastest pairs become faster": by_parts_with(
            keep=lambda made, alpha, beta: (made - alpha) / (beta - alpha)
        ),
        "nothing is blended: all pairs below beta turns are divided": by_parts_with(
            keep=lambda made, alpha, beta: (made >= beta).to(made.dtype)
        ),
        "nothing is blended: all pairs above alpha turns are kept": by_parts_with(
            keep=lambda made, alpha, beta: (made > alpha).to(made.dtype)
        ),
        "the ramp starts at 0 turns and not at alpha": by_parts_with(
            keep=lambda made, alpha, beta: (made / beta).clamp(0, 1)
        ),
        "the line ends alpha turns late: it rises from alpha to alpha + beta": by_parts_with(
            keep=lambda made, alpha, beta: ((made - alpha) / beta).clamp(0, 1)
        ),
        "the line rises from beta turns on, where it ends there": by_parts_with(
            keep=lambda made, alpha, beta: ((made - beta) / (beta - alpha)).clamp(0, 1)
        ),
        "the share is kept above 0 and not below 1: the fastest pairs become faster": by_parts_with(
            keep=lambda made, alpha, beta: ((made - alpha) / (beta - alpha)).clamp(min=0)
        ),
        "the share is kept below 1 and not above 0: the slowest pairs are slowed too much": by_parts_with(
            keep=lambda made, alpha, beta: ((made - alpha) / (beta - alpha)).clamp(max=1)
        ),
        "the slow pairs are multiplied by the factor, where they are divided": by_parts_with(
            blend=lambda frequencies, s, keep: keep * frequencies + (1 - keep) * frequencies * s
        ),
        "the divided share is 1 / factor without the frequency": by_parts_with(
            blend=lambda frequencies, s, keep: keep * frequencies + (1 - keep) / s
        ),
        "the logarithms are blended, where it is the frequencies": by_parts_with(
            blend=lambda frequencies, s, keep: frequencies / s ** (1 - keep)
        ),
        "wavelengths are blended, where it is frequencies": by_parts_with(
            blend=lambda frequencies, s, keep: frequencies / (keep + (1 - keep) * s)
        ),
        "every pair is divided: position interpolation": by_parts_with(blend=lambda f, s, keep: f / s),
        "alpha and beta are not looked at: they are always 1 and 32": (
            lambda frequencies, factor, original_length, alpha=1.0, beta=32.0: positions.by_parts(
                frequencies, factor, original_length
            )
        ),
        "`turns` is asked about the new length, original_length · factor, not about the one that was trained": (
            lambda frequencies, factor, original_length, alpha=1.0, beta=32.0: by_parts_with(
                turned=lambda frequencies, length, s: positions.turns(frequencies, length * s)
            )(frequencies, factor, original_length, alpha, beta)
        ),
        "the line is over the wavelength, between the lengths of beta turns and of alpha": by_parts_with(
            keep=lambda made, alpha, beta: ((1 / alpha - 1 / made) / (1 / alpha - 1 / beta)).clamp(0, 1)
        ),
        "the line is over the logarithm of the turns": (
            lambda frequencies, factor, original_length, alpha=1.0, beta=32.0: (
                (
                    keep := (
                        (positions.turns(frequencies, original_length) / alpha).log() / math.log(beta / alpha)
                    ).clamp(0, 1)
                )
                * frequencies
                + (1 - keep) * frequencies / factor
            )
        ),
        "the turns are rounded down to whole ones": lambda frequencies, factor, original_length, alpha=1.0, beta=32.0: (
            (keep := (((original_length * frequencies / (2 * math.pi)).floor() - alpha) / (beta - alpha)).clamp(0, 1))
            * frequencies
            + (1 - keep) * frequencies / factor
        ),
        "the divided part is added whole, where it has what is left of the share": (
            lambda frequencies, factor, original_length, alpha=1.0, beta=32.0: (
                ((original_length * frequencies / (2 * math.pi) - alpha) / (beta - alpha)).clamp(0, 1) * frequencies
                + frequencies / factor
            )
        ),
    },
)


# tempered_attention ----------------------------------------------------------------------------------------------


def tempered(queries, keys, factor, *leading):
    return lambda normal: (normal(*leading, queries, 8), normal(*leading, keys, 8), normal(*leading, keys, 3), factor)


def ever_higher(normal):
    q, k, v = normal(4, 6), normal(6, 6), normal(6, 3)
    q[:, 0], k[:, 0] = 1, 1000 * torch.arange(6)
    return q, k, v, 2.0


def tempered_by_scale(q, k, v, factor):
    scale = (0.1 * math.log(factor) + 1) ** 2 / math.sqrt(q.shape[-1])
    visible = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril(k.shape[-2] - q.shape[-2])
    return scaled_dot_product_attention(q, k, v, attn_mask=visible, scale=scale)


def tempered_row_by_row(q, k, v, factor):
    sharper = 1 + math.log(factor) / 10
    hidden, rows = k.shape[-2] - q.shape[-2], []
    for i in range(q.shape[-2]):
        seen = hidden + i + 1
        logits = sharper**2 * (q[..., i : i + 1, :] * k[..., :seen, :]).sum(dim=-1) / q.shape[-1] ** 0.5
        rows.append((logits.softmax(dim=-1)[..., None] * v[..., :seen, :]).sum(dim=-2))
    return torch.stack(rows, dim=-2)


def tempered_with(on_logits, causal=True, scale=None, on_values=lambda t: 1):
    """Attention whose logits are multiplied by on_logits(t), where t is what stands on q and k each."""

    def tempered_attention(q, k, v, factor):
        t = 0.1 * math.log(factor) + 1
        return attention(on_logits(t) * q, k, on_values(t) * v, causal=causal, scale=scale)

    return tempered_attention


def tempered_with_a_floor(q, k, v, factor):
    hidden = ~causal_mask(q.shape[-2], k.shape[-2])
    scale = positions.yarn_temperature(factor) ** 2 / math.sqrt(q.shape[-1])
    dtype, (q, k, v) = q.dtype, wider(q, k, v)
    return ((scale * q @ k.mT).masked_fill(hidden, -1e4).softmax(dim=-1) @ v).to(dtype)


def tempered_of_the_first(q, k, v, factor):
    scale = (0.1 * math.log(factor) + 1) ** 2 / math.sqrt(q.shape[-1])
    visible = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
    return scaled_dot_product_attention(q, k, v, attn_mask=visible, scale=scale)


TEMPERED = Exercise(
    title="the temperature of YaRN",
    section="Four rules, each a few lines",
    difficulty=2,
    minutes=10,
    reference=tempered_attention,
    hints=(
        "64 times as many keys share one softmax. Must a logit become larger or smaller, so that the best key keeps "
        "its weight? What must happen at a factor of 1?",
        "q and k are each multiplied by 0.1 · ln(factor) + 1, so the logits by its square. It is a temperature of the "
        "softmax: the values stay as they are.",
        "temperature = yarn_temperature(factor). Put it on q and on k, and call attention with causal=True; its own "
        "1 / √d stays.",
    ),
    cases=(
        Case("7 tokens, a factor of 64", tempered(7, 7, 64.0)),
        Case("two texts, four heads, a factor of 8", tempered(5, 5, 8.0, 2, 4)),
        Case("4 queries, the last of 10 tokens", tempered(4, 10, 16.0)),
        Case("a factor of 1, plain attention", tempered(6, 6, 1.0)),
        Case("the gradients", tempered(3, 4, 8.0), felt("q", "k", "v")),
        Case("float64, a factor of 40", tempered(6, 6, 40.0), dtype=torch.float64),
        Case("float16, a factor of 40", tempered(6, 6, 40.0), dtype=torch.float16),
        Case("bfloat16, a factor of 40", tempered(5, 7, 40.0), dtype=torch.bfloat16),
        Case("scores of -2,500,000,000 and less, a factor of 8", lambda normal: (*far_below(normal, 3, 5, 4), 8.0)),
        Case("one query of 5 tokens", tempered(1, 5, 4.0, 2)),
        Case("every later key has a score that is some hundreds higher, a factor of 2", ever_higher),
    ),
    right_answers=(tempered_by_scale, tempered_row_by_row),
    mistakes={
        "the logits are divided: √t was taken for √(1/t), so they shrink as the text grows": tempered_with(
            lambda t: 1 / t**2
        ),
        "the logits have the temperature once (on q alone, say), where they need its square": tempered_with(
            lambda t: t
        ),
        "the logits get the temperature's fourth power, where its square is meant": tempered_with(lambda t: t**4),
        "the temperature is on q, on k, and once more on the scale": tempered_with(lambda t: t**3),
        "1 is added to what yarn_temperature gives, which has it": tempered_with(lambda t: (t + 1) ** 2),
        "there is no temperature": tempered_with(lambda t: 1),
        "the values carry the temperature as well": tempered_with(lambda t: t**2, on_values=lambda t: t),
        "the temperature is on the values or on the output, and not on the logits": tempered_with(
            lambda t: 1, on_values=lambda t: t**2
        ),
        "the logarithm is to base 10, where it is the natural one": tempered_with(
            lambda t: (0.1 * (t - 1) / 0.1 / math.log(10) + 1) ** 2
        ),
        "the logarithm is to base 2, where it is the natural one": tempered_with(
            lambda t: (0.1 * (t - 1) / 0.1 / math.log(2) + 1) ** 2
        ),
        "1 is not added, so that at a factor of 1 all logits are 0": tempered_with(lambda t: (t - 1) ** 2),
        "the root of the temperature is on the logits, where they need its square": tempered_with(math.sqrt),
        "0.1 stands inside the logarithm, ln(0.1 · factor + 1)": tempered_with(
            lambda t: math.log(0.1 * math.exp((t - 1) / 0.1) + 1) ** 2
        ),
        "0.1 stands inside the logarithm, ln(0.1 · factor) + 1": tempered_with(
            lambda t: (math.log(0.1) + (t - 1) / 0.1 + 1) ** 2
        ),
        "0.1 is left out: q and k are each multiplied by ln(factor) + 1": tempered_with(
            lambda t: ((t - 1) / 0.1 + 1) ** 2
        ),
        "0.1 is left out, and the logits are multiplied by ln(factor) + 1 once": tempered_with(
            lambda t: (t - 1) / 0.1 + 1
        ),
        "the output of half precision stays float32: round it to the dtype of q": lambda q, k, v, factor: (
            tempered_attention(*(each.to(torch.promote_types(each.dtype, torch.float32)) for each in (q, k, v)), factor)
        ),
        "a large negative number stands for -inf, and scores below it are less than those of hidden keys": (
            tempered_with_a_floor
        ),
        "the factor itself multiplies the logits": tempered_with(lambda t: math.exp((t - 1) / 0.1)),
        "the logits are not divided by √d": tempered_with(lambda t: t**2, scale=1.0),
        "nothing is hidden: every query looks at what comes after it": tempered_with(lambda t: t**2, causal=False),
        "the queries are taken for the first tokens, where they are the last": tempered_of_the_first,
        "the logits are divided by √d_value, where it is √d": lambda q, k, v, factor: attention(
            q, k, v, causal=True, scale=(0.1 * math.log(factor) + 1) ** 2 / math.sqrt(v.shape[-1])
        ),
        "the logits are multiplied by √d, where they are divided by it": lambda q, k, v, factor: attention(
            q, k, v, causal=True, scale=positions.yarn_temperature(factor) ** 2 * math.sqrt(q.shape[-1])
        ),
    },
)


# loss_by_position ------------------------------------------------------------------------------------------------

READER = TinyTransformer(Config(11, ("full",), width=16, heads=2, rope_share=1.0, seed=4)).requires_grad_(False)
READER_64 = copy.deepcopy(READER).double()


def read(texts, n, edges, asked=False, model=READER):
    """A case: random texts for a model, bins, and perhaps only some of the tokens."""

    def inputs(normal):
        tokens = (normal(texts, n).double().abs() * 1e4).long() % READER.config.vocabulary
        return tokens.tolist(), edges, asked

    def by_reader(function, texts, edges, asked):
        tokens = torch.tensor(texts)
        if not asked:
            return function(model, tokens, edges)
        rows, places = torch.arange(len(texts))[:, None], torch.arange(tokens.shape[1])
        return function(model, tokens, edges, (places % (3 + 2 * rows)) < 2)

    return inputs, by_reader


def surprise_of(model, tokens):
    """Cross-entropy of each token but the first: (batch, n - 1)."""
    return cross_entropy(model(tokens[:, :-1]).transpose(1, 2), tokens[:, 1:], reduction="none")


@torch.no_grad()
def loss_text_by_text(model, tokens, edges, counted=None):
    sums, numbers = [0.0] * len(edges), [0] * len(edges)
    for row, text in enumerate(tokens):
        right = model(text[None])[0].log_softmax(dim=-1)
        for place in range(1, edges[-1]):
            if counted is None or counted[row, place]:
                bin = next(i for i, edge in enumerate(edges) if place < edge)
                sums[bin] -= right[place - 1, text[place]].item()
                numbers[bin] += 1
    return torch.tensor(sums, dtype=right.dtype) / torch.tensor(numbers)


@torch.no_grad()
def loss_by_bucket(model, tokens, edges, counted=None):
    nats = surprise_of(model, tokens)
    keep = torch.ones_like(nats) if counted is None else counted[:, 1:].to(nats.dtype)
    bin = torch.bucketize(torch.arange(1, tokens.shape[1]), torch.tensor(edges), right=True).expand_as(nats)
    sums = nats.new_zeros(len(edges) + 1).index_add(0, bin.flatten(), (nats * keep).flatten())
    return (sums / nats.new_zeros(len(edges) + 1).index_add(0, bin.flatten(), keep.flatten()))[:-1]


def loss_with(nats=surprise_of, bins=None, mean=None, mask=lambda counted: counted[:, 1:], after=None, texts=None):
    """Loss by position, where the reading, the bins, the mean or the mask is another's."""

    @torch.no_grad()
    def loss_by_position(model, tokens, edges, counted=None):
        counted = torch.ones_like(tokens, dtype=torch.bool) if counted is None else counted
        if texts:
            tokens, counted = tokens[:texts], counted[:texts]
        cost = nats(model, tokens, edges[0]) if nats is in_blocks else nats(model, tokens)
        keep = mask(counted)
        ranges = (bins or (lambda edges: zip([1, *edges[:-1]], edges, strict=True)))(edges)
        average = mean or (lambda cost, keep: cost[keep].mean())
        losses = [average(cost[:, low - 1 : high - 1], keep[:, low - 1 : high - 1]) for low, high in ranges]
        return after(torch.stack(losses)) if after else torch.stack(losses)

    return loss_by_position


def in_blocks(model, tokens, block):
    """Each block of the trained length is read from position 0 again."""
    parts = [surprise_of(model, tokens[:, start : start + block + 1]) for start in range(0, tokens.shape[1] - 1, block)]
    return torch.cat(parts, dim=1)


@torch.no_grad()
def with_a_zero_in_front(model, tokens, edges, counted=None):
    """Position 0, which nothing predicts, with a loss of 0."""
    nats = pad(surprise_of(model, tokens), (1, 0))
    counted = torch.ones_like(tokens, dtype=torch.bool) if counted is None else counted
    ranges = zip([0, *edges[:-1]], edges, strict=True)
    return torch.stack([nats[:, low:high][counted[:, low:high]].mean() for low, high in ranges])


@torch.no_grad()
def loss_by_bins_apart(model, tokens, edges, counted=None):
    counted = torch.ones_like(tokens, dtype=torch.bool) if counted is None else counted
    bins = [slice(low, high) for low, high in zip([0, *edges[:-1]], edges, strict=True)]
    return torch.stack([surprise_of(model, tokens[:, each])[counted[:, each][:, 1:]].mean() for each in bins])


@torch.no_grad()
def loss_of_stretches(model, tokens, edges, counted=None):
    counted = torch.ones_like(tokens, dtype=torch.bool) if counted is None else counted
    stretches = list(pairwise([1, *edges]))
    nats = [surprise_of(model, tokens[:, low - 1 : high]) for low, high in stretches]
    pairs = zip(nats, stretches, strict=True)
    return torch.stack([cost[counted[:, low:high]].mean() for cost, (low, high) in pairs])


def loss_to_the_end(model, tokens, edges, counted=None):
    return loss_with()(model, tokens, [*edges[:-1], tokens.shape[1]], counted)


def of_the_same_token(model, tokens):
    return cross_entropy(model(tokens).transpose(1, 2), tokens, reduction="none")[:, 1:]


def text_by_text(cost, keep):
    return torch.stack([row[kept].mean() for row, kept in zip(cost, keep, strict=True)]).nanmean()


LOSS_BY_POSITION = Exercise(
    title="loss by position",
    section="Measured on our model",
    difficulty=3,
    minutes=15,
    reference=positions.loss_by_position,
    hints=(
        "A model that knows 128 positions reads 1,024, is right on the first 128 and lost on the rest. What does one "
        "mean over all of them tell?",
        "streams.surprise(model, tokens) gives the cross-entropy of the tokens at positions 1, 2, ..., n - 1: column j "
        "belongs to position j + 1. Shift `counted` in the same way, and take one mean for each bin over all texts.",
        "For each pair (low, high) of pairwise((1, *edges)), the columns from low - 1 to high - 2 are its bin: index "
        "surprise and counted[:, 1:] with that slice, keep what is counted, take the mean. torch.stack the means.",
    ),
    cases=(
        Case("5 texts of 24 tokens, 3 bins", *read(5, 24, [8, 16, 24])),
        Case("bins of different widths", *read(4, 30, [5, 9, 30])),
        Case("one bin, shorter than the text", *read(3, 20, [7])),
        Case("some tokens counted, other ones in each text", *read(4, 26, [9, 18, 26], asked=True)),
        Case("one text", *read(1, 20, [6, 12, 20])),
        Case("a model in float64, some tokens counted", *read(3, 22, [6, 15], asked=True, model=READER_64)),
    ),
    right_answers=(loss_text_by_text, loss_by_bucket),
    mistakes={
        "there is one mean over all positions, which averages the explosion away": loss_with(
            bins=lambda edges: [(1, edges[-1])] * len(edges)
        ),
        "only the first text is measured, and one text is noise": loss_with(texts=1),
        "the positions restart in every block of edges[0] tokens: the model never leaves the trained range": loss_with(
            nats=in_blocks
        ),
        "each bin is read as a text of its own, and its first token is not counted": loss_by_bins_apart,
        "each bin is read by itself, with only one token before it": loss_of_stretches,
        "the last bin goes on to the end of the text, past the last edge": loss_to_the_end,
        "1 less the probability is averaged, where it is minus its logarithm": loss_with(
            nats=lambda model, tokens: 1 - (-surprise_of(model, tokens)).exp()
        ),
        "minus the probability is averaged, where it is minus its logarithm": loss_with(
            nats=lambda model, tokens: -(-surprise_of(model, tokens)).exp()
        ),
        "the sign is missing: it is minus the logarithm": loss_with(after=lambda losses: -losses),
        "what is left of the text after the last edge has a bin too": lambda model, tokens, edges, counted=None: (
            loss_with()(model, tokens, edges if edges[-1] == tokens.shape[1] else [*edges, tokens.shape[1]], counted)
        ),
        "the bins are one position late: the loss stands where it is read, not where the predicted token is": loss_with(
            bins=lambda edges: [(low + 1, high + 1) for low, high in zip([0, *edges[:-1]], edges, strict=True)]
        ),
        "position 0 counts as a token that costs nothing, though nothing predicts it": with_a_zero_in_front,
        "an edge belongs to the bin before it as well: the edges are the first positions that a bin lacks": loss_with(
            bins=lambda edges: [(low, high + 1) for low, high in zip([1, *edges[:-1]], edges, strict=True)]
        ),
        "the last position of each bin is left out": loss_with(
            bins=lambda edges: [(low, high - 1) for low, high in zip([1, *edges[:-1]], edges, strict=True)]
        ),
        "position 1 is left out, and the bins are one position late": loss_with(
            bins=lambda edges: [(low + 1, high + 1) for low, high in zip([1, *edges[:-1]], edges, strict=True)]
        ),
        "the median is taken, where it is the mean": loss_with(mean=lambda cost, keep: cost[keep].median()),
        "every bin begins at the start of the text": loss_with(bins=lambda edges: [(1, edge) for edge in edges]),
        "the losses are added up, not averaged": loss_with(mean=lambda cost, keep: cost[keep].sum()),
        "each text has the same weight, however many of its tokens count": loss_with(mean=text_by_text),
        "`counted` is not looked at": loss_with(mask=lambda counted: torch.ones_like(counted[:, 1:])),
        "`counted` is not shifted: the token before decides": loss_with(mask=lambda counted: counted[:, :-1]),
        "tokens that do not count are zeros in the mean": loss_with(mean=lambda cost, keep: (cost * keep).mean()),
        "each logit is scored on the token that it has read, not on the next": loss_with(nats=of_the_same_token),
        "the losses are float32, where they have the dtype of the model's output": loss_with(
            after=lambda losses: losses.float()
        ),
        "the loss is a perplexity, e to its power": loss_with(after=torch.exp),
        "the loss is in bits, where it is in nats": loss_with(after=lambda losses: losses / math.log(2)),
    },
)


EXERCISES = (
    NEVER_TURNED,
    INTERPOLATED,
    NTK_BASE,
    BY_PARTS,
    TEMPERED,
    LOSS_BY_POSITION,
)
