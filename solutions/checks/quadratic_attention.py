"""Exercises: quadratic attention from a turned pair and softmax to row blocks.

Inputs have variance 1 throughout: with large ones softmax saturates, and no scale, a wrong scale and even a hard choice
of the best key all give the same output. Rows and columns differ in number, and lengths divide nothing.
"""

import math
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from solutions import quadratic
from solutions.checks.exercise import Case, Exercise
from solutions.checks.running import Rejected
from solutions.checks.tools import LargestTensor, far_below, felt, large_products, tensors, wider
from solutions.quadratic import KVCache, attention_scores, causal_mask, grouped_attention

INF = math.inf


# turn_pair -------------------------------------------------------------------------------------------------------


def product_of_turned(function, q, i, k, j, theta):
    """Of a query at position i and a key at position j, both turned."""
    (turned_q,) = tensors((function(q, i, theta),), q=q.shape)
    (turned_k,) = tensors((function(k, j, theta),), k=k.shape)
    return turned_q @ turned_k


def turn_by_matrix(pair, position, theta):
    angle = torch.tensor(position * theta, dtype=torch.float64)
    rows = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).reshape(2, 2)
    return rows.to(pair) @ pair


def turn_by_complex(pair, position, theta):
    turned = torch.view_as_complex(pair.double()) * complex(math.cos(position * theta), math.sin(position * theta))
    return torch.view_as_real(turned).to(pair.dtype)


def turned_to(new, angle=lambda position, theta: position * theta):
    """new(a, b, cos, sin) gives the two numbers, of an angle that may be another."""

    def turn_pair(pair, position, theta):
        a, b = pair
        phi = angle(position, theta)
        return torch.stack(new(a, b, math.cos(phi), math.sin(phi)))

    return turn_pair


def copied(pair, position, theta):
    a, b = pair.tolist()
    cos, sin = math.cos(position * theta), math.sin(position * theta)
    return torch.tensor([a * cos - b * sin, a * sin + b * cos], dtype=pair.dtype)


def turned_by(angle):
    return turned_to(lambda a, b, cos, sin: [a * cos - b * sin, a * sin + b * cos], angle)


TURN = Exercise(
    title="turn a pair",
    section="Where a word stands",
    difficulty=1,
    minutes=8,
    reference=quadratic.turn_pair,
    hints=(
        "By which angle is a pair turned at position 3, if every position adds theta? And where does (1, 0) land, "
        "where (0, 1), after a turn by that angle?",
        "(1, 0) lands on (cos, sin) and (0, 1) on (-sin, cos). The pair (a, b) is a times the one and b times the "
        "other, so add what they become.",
        "With cos = math.cos(position * theta) and sin likewise: torch.stack of pair[0] * cos - pair[1] * sin and of "
        "pair[0] * sin + pair[1] * cos.",
    ),
    cases=(
        Case("the pair (2, 1) at position 3", lambda normal: (torch.tensor([2.0, 1.0]).to(normal(1)), 3, 0.5)),
        Case("another pair at position 7", lambda normal: (normal(2), 7, 0.3)),
        Case("position 0, float64", lambda normal: (normal(2), 0, 0.7), dtype=torch.float64),
        Case("a slow pair, theta = 0.01", lambda normal: (normal(2), 5, 0.01)),
        Case("position 1,002", lambda normal: (normal(2), 1002, 0.25)),
        Case("position 2.5", lambda normal: (normal(2), 2.5, 0.3)),
        Case("position 131,071, theta = 0.3", lambda normal: (normal(2), 131_071, 0.3)),
        Case(
            "the product of a query at 5 and a key at 2",
            lambda normal: (normal(2), 5, normal(2), 2, 0.5),
            product_of_turned,
        ),
        Case(
            "the product of a query at 105 and a key at 102",
            lambda normal: (normal(2), 105, normal(2), 102, 0.5),
            product_of_turned,
        ),
        Case("the gradient", lambda normal: (normal(2), 3, 0.5), felt("pair")),
        Case("bfloat16", lambda normal: (normal(2), 4, 0.4), dtype=torch.bfloat16),
        Case("bfloat16, position 1,003, theta = 1", lambda normal: (normal(2), 1003, 1.0), dtype=torch.bfloat16),
    ),
    right_answers=(turn_by_matrix, turn_by_complex),
    mistakes={
        "the angle is a float32, which has lost its third digit at position 131,071": lambda pair, position, theta: (
            quadratic.turn_pair(pair, float(torch.tensor(position * theta, dtype=torch.float32)), 1.0)
        ),
        "the angle has the dtype of the pair, and so loses digits": lambda pair, position, theta: quadratic.turn_pair(
            pair, float(torch.tensor(position * theta, dtype=pair.dtype)), 1.0
        ),
        "the position has the dtype of the pair, and bfloat16 knows no 1,003": lambda pair, position, theta: (
            quadratic.turn_pair(pair, float(torch.tensor(position, dtype=pair.dtype)), theta)
        ),
        "the numbers are copied into a new tensor, which loses their gradient (torch.stack keeps it)": copied,
        "the pair turns the other way, clockwise": turned_by(lambda position, theta: -position * theta),
        "sine and cosine are swapped": turned_to(lambda a, b, cos, sin: [a * sin - b * cos, a * cos + b * sin]),
        "both sines have a plus, which is no rotation": turned_to(
            lambda a, b, cos, sin: [a * cos + b * sin, a * sin + b * cos]
        ),
        "both sines have a minus, which is no rotation": turned_to(
            lambda a, b, cos, sin: [a * cos - b * sin, b * cos - a * sin]
        ),
        "the second number is made from the first one's new value": turned_to(
            lambda a, b, cos, sin: [a * cos - b * sin, (a * cos - b * sin) * sin + b * cos]
        ),
        "each number is multiplied alone, the first by the cosine and the second by the sine": turned_to(
            lambda a, b, cos, sin: [a * cos, b * sin]
        ),
        "only the first number turns": turned_to(lambda a, b, cos, sin: [a * cos - b * sin, b]),
        "the two numbers come back in swapped places": turned_to(
            lambda a, b, cos, sin: [a * sin + b * cos, a * cos - b * sin]
        ),
        "the angle is theta at every position": turned_by(lambda position, theta: theta),
        "positions are counted from 1": turned_by(lambda position, theta: (position + 1) * theta),
        "position and theta are added, where they are multiplied": turned_by(lambda position, theta: position + theta),
        "the position is divided by theta, where it is multiplied": turned_by(lambda position, theta: position / theta),
        "the angle is taken for degrees and turned into radians": turned_by(
            lambda position, theta: math.radians(position * theta)
        ),
        "the angle is 2 π times too large": turned_by(lambda position, theta: 2 * math.pi * position * theta),
        "the position is cut to a whole number": turned_by(lambda position, theta: int(position) * theta),
        "whole turns are taken off the position, where they may be taken off the angle": turned_by(
            lambda position, theta: position % (2 * math.pi) * theta
        ),
        "the pair of half precision comes back as float32": lambda pair, position, theta: quadratic.turn_pair(
            *wider(pair), position, theta
        ),
        "nothing turns": lambda pair, position, theta: pair.clone(),
    },
)


# softmax ---------------------------------------------------------------------------------------------------------


def softmax_by_rows(scores):
    weights = torch.zeros_like(scores)
    for place in product(*(range(size) for size in scores.shape[:-1])):
        row = scores[place].to(torch.promote_types(scores.dtype, torch.float32))
        if row.max() > -INF:
            terms = (row - row.max()).exp()
            weights[place] = terms / terms.sum()
    return weights


def divided_exponentials(measured_from, over=lambda weights: weights.sum(-1, keepdim=True)):
    """A softmax that subtracts measured_from(scores) and divides by over(weights), whatever nan that brings."""

    def softmax(scores):
        weights = torch.exp(scores - measured_from(scores))
        return weights / over(weights)

    return softmax


def nothing_where_empty(weights, scores):
    return weights.masked_fill((scores == -INF).all(-1, keepdim=True), 0)


def row_max(scores):
    return scores.amax(-1, keepdim=True)


def of_safe_sum(measured_from, power=torch.exp, rounds=lambda weights, dtype: weights):
    """A softmax in float32 at least, rounded once, whose sums of 0 become 1: no nan, and an empty row is 0."""

    def softmax(scores):
        (wide,) = wider(scores)
        weights = rounds(power(wide - measured_from(wide)), scores.dtype)
        total = weights.sum(-1, keepdim=True)
        return (weights / total.masked_fill(total == 0, 1)).to(scores.dtype)

    return softmax


def finite_max(scores, over=row_max):
    """The maximum, and 0 where it is -inf."""
    return (largest := over(scores)).masked_fill(largest == -INF, 0)


def mean_of_finite(scores):
    there = scores > -INF
    return scores.masked_fill(~there, 0).sum(-1, keepdim=True) / there.sum(-1, keepdim=True).clamp(min=1)


def no_row_below(least, scores):
    """A row whose scores are all below that number counts as empty."""
    (wide,) = wider(scores)
    low = row_max(wide) < least
    return wide.masked_fill(low, 0).softmax(-1).masked_fill(low, 0).to(scores.dtype)


def sum_of_narrow_terms(scores):
    """Differences and exponentials in the dtype of the scores, and their sum in float32."""
    weights = torch.exp(scores - finite_max(scores))
    total = weights.sum(-1, keepdim=True, dtype=torch.promote_types(scores.dtype, torch.float32))
    return (weights / total.clamp(min=1)).to(scores.dtype)


def no_row_without_key(place):
    """A row that hides the key at that place counts as empty."""

    def softmax(scores):
        (wide,) = wider(scores)
        hides = (wide[..., place] == -INF).unsqueeze(-1)
        return wide.masked_fill(hides, 0).softmax(-1).masked_fill(hides, 0).to(scores.dtype)

    return softmax


def finite_beside_scores(scores):
    """A hidden key takes part with -1e9, and its weight becomes 0 afterwards."""
    (wide,) = wider(scores)
    hidden = wide == -INF
    return wide.masked_fill(hidden, -1e9).softmax(-1).masked_fill(hidden, 0).to(scores.dtype)


def nothing_beside_minus_inf(scores):
    (wide,) = wider(scores)
    some = (wide == -INF).any(-1, keepdim=True)
    return wide.masked_fill(some, 0).softmax(-1).masked_fill(some, 0).to(scores.dtype)


def made_safe_first(scores):
    """An empty row becomes one of zeros before the softmax, and its weights 0 after it, so that no nan is ever made."""
    empty = (scores == -INF).all(-1, keepdim=True)
    return torch.softmax(scores.masked_fill(empty, 0), dim=-1).masked_fill(empty, 0)


def without_a_dtype_for_the_sum(scores):
    """The sum is rounded to the dtype of the scores: in float16 it is infinite from 65,520 equal scores on."""
    weights = torch.exp(scores - row_max(scores).clamp(min=torch.finfo(scores.dtype).min))
    return weights / weights.sum(-1, keepdim=True).clamp(min=1)


def sum_rounded_and_nan_replaced(scores):
    """Both at once: the sum in the dtype of the scores, and the nan of an empty row replaced after it was made."""
    weights = torch.exp(scores - row_max(scores))
    return (weights / weights.sum(-1, keepdim=True)).nan_to_num(0)


def in_equal_shares(function, scores):
    """Each weight in units of an equal share, since the tolerance of a small dtype would take 7.6e-6 for 0."""
    weights = function(scores)
    return (weights.double() * scores.shape[-1]).to(weights.dtype) if isinstance(weights, Tensor) else weights


def magnified(function, scores):
    """Each weight but the first 1e35 times as large, since some 1e-35 is 0 beside any tolerance."""
    weights = function(scores)
    if not isinstance(weights, Tensor) or weights.shape != scores.shape:
        return weights
    return (weights[..., 1:].double() * 1e35).to(weights.dtype)


def largest_weight(function, scores):
    """As a tensor of one entry; the weights of so long a row are nothing to look at."""
    weights = function(scores)
    return weights[..., :1] if isinstance(weights, Tensor) and weights.shape == scores.shape else weights


def gradient_of_weights(function, scores):
    """The gradient of a weighted sum of all weights by the scores."""
    scores = scores.clone().requires_grad_()
    weights = function(scores)
    if not isinstance(weights, Tensor) or weights.shape != scores.shape:
        return weights
    if not weights.requires_grad:
        raise Rejected("your output has lost its gradient; compute it with torch operations only")
    factor = torch.arange(1, 1 + scores.numel(), dtype=scores.dtype).reshape(scores.shape)
    return torch.autograd.grad((weights * factor).sum(), scores)[0]


def with_and_without_empty_rows(mistakes):
    """Each mistake twice: by one who has thought of the empty row, and by one who hasn't."""
    both = {}
    for sentence, softmax in mistakes.items():
        both[sentence] = lambda scores, softmax=softmax: nothing_where_empty(softmax(scores), scores)
        both[f"{sentence}, and an empty row is left as nan"] = softmax
    return both


SOFTMAX = Exercise(
    title="stable softmax",
    section="A softmax that survives",
    difficulty=1,
    minutes=15,
    reference=quadratic.softmax,
    hints=(
        "Which number can you subtract from a row, without changing its weights, so that no exponential overflows? And "
        "what is -inf - (-inf)?",
        "Four steps, all along the last axis with keepdim=True: the maximum (..., 1), the exponential of scores minus "
        "maximum, its sum (..., 1), the quotient. Make the maximum finite and the sum at least 1, for empty rows.",
        "row_max = scores.amax(dim=-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).min); then weights = "
        "torch.exp(scores - row_max); what is left is to divide by weights.sum(...).clamp(min=1).",
    ),
    cases=(
        Case("3 rows of 5 scores", lambda normal: (normal(3, 5),)),
        Case("a batch of 2 with 3 heads", lambda normal: (normal(2, 3, 4, 7),)),
        Case("scores too large for float32", lambda normal: (torch.tensor([[89.0, 1.0, 2.0], [100.0, 100.0, 99.0]]),)),
        Case("scores too large for float16", lambda normal: (torch.tensor([[12.0, 11.0, 1.0]]).half(),)),
        Case("two rows of very different size", lambda normal: (torch.tensor([[0.0, 1.0], [200.0, 201.0]]),)),
        Case("one score far above the rest", lambda normal: (torch.tensor([[0.0] * 15 + [1000.0]]),)),
        Case("scores around -3", lambda normal: (normal(3, 5) - 3,)),
        Case("very negative scores", lambda normal: (normal(3, 5) - 200,)),
        Case("one key, with a score of -200,000", lambda normal: (torch.tensor([[-200_000.0], [1.5]]),)),
        Case("some scores are -inf", lambda normal: (normal(3, 4).masked_fill(causal_mask(3, 4).logical_not(), -INF),)),
        Case(
            "the first, the third and the last score of a row are -inf",
            lambda normal: (normal(3, 5).masked_fill(torch.eye(5)[[0, 2, 4]].bool(), -INF),),
        ),
        Case("one score far below the rest", lambda normal: (torch.tensor([[-200.0, 1.0, 2.0]]),)),
        Case(
            "scores of -2 · 10**20 beside -inf",
            lambda normal: (torch.tensor([[-2e20, -3e20, -INF], [-2e20, -INF, -3e20]]),),
        ),
        Case("a row of nothing but -inf", lambda normal: (torch.tensor([[0.5, 1.0, -INF], [-INF, -INF, -INF]]),)),
        Case("a transposed matrix", lambda normal: (normal(5, 3).T,)),
        Case("one row, no leading axes", lambda normal: (normal(7),)),
        Case(
            "float16, 131,072 equal scores: weights in equal shares",
            lambda normal: (torch.zeros(1, 131_072).half(),),
            in_equal_shares,
        ),
        Case(
            "bfloat16, 4,100 scores: weights in equal shares",
            lambda normal: (normal(2, 4100),),
            in_equal_shares,
            dtype=torch.bfloat16,
        ),
        Case(
            "bfloat16, scores from -9 to 9",
            lambda normal: (3 * normal(4, 64),),
            in_equal_shares,
            dtype=torch.bfloat16,
        ),
        Case(
            "bfloat16, one score and three that lie 80.2 lower, 1e35 times as large",
            lambda normal: (torch.tensor([[80.0, -0.2, -0.2, 0.4]]).bfloat16(),),
            magnified,
        ),
        Case(
            "float16, one score and a million that lie 17.4 lower",
            lambda normal: (torch.full((1, 1_000_001), -17.4).index_fill(1, torch.tensor([0]), 0.0).half(),),
            largest_weight,
        ),
        Case(
            "the gradient, where a row is empty",
            lambda normal: (normal(3, 4).masked_fill(torch.tensor([[False], [True], [False]]), -INF),),
            gradient_of_weights,
        ),
        Case("float64", lambda normal: (normal(4, 6),), dtype=torch.float64),
    ),
    right_answers=(made_safe_first, softmax_by_rows),
    mistakes={
        **with_and_without_empty_rows(
            {
                "the softmax runs down each column (dim=-2), over the queries and not over the keys": lambda scores: (
                    torch.softmax(scores, dim=-2)
                ),
                "the softmax runs over dim=1, which is the last axis of a matrix but not of a batch": lambda scores: (
                    torch.softmax(scores, dim=1)
                ),
                "the maximum is taken over the whole matrix, so that rows of small scores become 0 / 0": (
                    divided_exponentials(torch.max)
                ),
                "the sum is taken over the whole matrix, where every row has its own": (
                    divided_exponentials(row_max, over=torch.sum)
                ),
                "nothing is subtracted before the exponential, which then overflows": (
                    divided_exponentials(lambda scores: 0)
                ),
                "the mean of the row is subtracted, not its maximum, which leaves the exponential unbounded": (
                    divided_exponentials(lambda scores: scores.mean(-1, keepdim=True))
                ),
                "the exponentials are not divided by their sum": divided_exponentials(row_max, over=torch.ones_like),
                "the logarithm of the weights is returned": lambda scores: torch.log_softmax(scores, dim=-1),
            }
        ),
        "the nan of an empty row is replaced when it is made already, and its gradient stays nan": lambda scores: (
            nothing_where_empty(torch.softmax(scores, dim=-1), scores)
        ),
        "the sum is rounded to the scores' dtype, and the nan of an empty row is replaced when it is made already": (
            sum_rounded_and_nan_replaced
        ),
        "the maximum is never less than 0, so that rows of very negative scores become 0": lambda scores: (
            (weights := torch.exp(scores - row_max(scores).clamp(min=0)))
            / weights.sum(-1, keepdim=True, dtype=torch.promote_types(scores.dtype, torch.float32)).clamp(min=1)
        ).to(scores.dtype),
        "a small number is added to the sum, which bends every row to spare the empty ones": lambda scores: (
            (weights := torch.exp(scores - row_max(scores).clamp(min=torch.finfo(scores.dtype).min)))
            / (weights.sum(-1, keepdim=True) + 1e-9)
        ),
        "the maximum is taken off in bfloat16, in which 80.2 is 80": lambda scores: (
            (weights := torch.exp(wide - row_max(wide).clamp(min=torch.finfo(wide.dtype).min)))
            / weights.sum(-1, keepdim=True).clamp(min=1)
            if (wide := scores.float() if scores.dtype == torch.float16 else scores) is not None
            else scores
        ).to(scores.dtype),
        "the maximum is never less than -10,000, so that rows of lower scores become 0": lambda scores: (
            (weights := torch.exp(scores - row_max(scores).clamp(min=-1e4)))
            / weights.sum(-1, keepdim=True, dtype=torch.promote_types(scores.dtype, torch.float32)).clamp(min=1)
        ).to(scores.dtype),
        "the sum is rounded to the scores' dtype: in float16 131,072 equal scores add to inf, and weigh 0": (
            without_a_dtype_for_the_sum
        ),
        "an empty row is left as it comes, which is nan": lambda scores: torch.softmax(scores, dim=-1),
        "the weights of half precision are returned in float32: round them to the dtype of the scores": lambda scores: (
            quadratic.softmax(scores.to(torch.promote_types(scores.dtype, torch.float32)))
        ),
        "the weights are returned in float32, whatever dtype the scores have": lambda scores: quadratic.softmax(
            scores.float()
        ),
        "maximum and sum are taken over the whole matrix, where every row has its own": (
            divided_exponentials(torch.max, over=torch.sum)
        ),
        "the maximum is taken over the whole matrix, and the 0 / 0 of rows of small scores set to 0": lambda scores: (
            divided_exponentials(torch.max)(scores).nan_to_num(0)
        ),
        "the maximum is taken over the whole matrix, so that sums are less than 1, which clamp(min=1) then changes": (
            divided_exponentials(torch.max, over=lambda weights: weights.sum(-1, keepdim=True).clamp(min=1))
        ),
        "nothing is subtracted before the exponential, and what overflows is set to 0": lambda scores: (
            divided_exponentials(lambda scores: 0)(scores).nan_to_num(0)
        ),
        "nothing is subtracted, and the exponentials are divided by the sum over the whole matrix": (
            divided_exponentials(lambda scores: 0, over=torch.sum)
        ),
        "a finite number stands in for -inf, so that an empty row looks at every key alike": lambda scores: (
            torch.softmax(scores.clamp(min=torch.finfo(scores.dtype).min), dim=-1)
        ),
        "-1e9 stands in for -inf: float16 cannot hold it, and an empty row looks at every key": lambda scores: (
            torch.softmax(scores.masked_fill(scores == -INF, -1e9), dim=-1)
        ),
        "-1e9 stands in for -inf, in float32: an empty row looks at every key, and lower scores lose to it": (
            lambda scores: torch.softmax((wide := wider(scores)[0]).masked_fill(wide == -INF, -1e9), dim=-1).to(
                scores.dtype
            )
        ),
        "the exponentials are returned as they are, without a maximum and without a sum": torch.exp,
        "the scores are divided by their sum, without an exponential": lambda scores: (
            scores / scores.sum(-1, keepdim=True)
        ),
        "the maximum of the whole matrix is taken from every row, and in rows far below it all weights are 0": (
            of_safe_sum(lambda scores: finite_max(scores, torch.max))
        ),
        "nothing is subtracted before the exponential, in float32 too": of_safe_sum(torch.zeros_like),
        "the mean of the row's finite scores is subtracted, not its maximum: a score far above it overflows": (
            of_safe_sum(mean_of_finite)
        ),
        "the largest size of a score is subtracted, |s| for s, so that rows of very negative scores become 0": (
            of_safe_sum(lambda scores: scores.masked_fill(scores == -INF, 0).abs().amax(-1, keepdim=True))
        ),
        "the maximum is never less than 0, and the exponentials of rows far below are all 0": of_safe_sum(
            lambda scores: row_max(scores).clamp(min=0)
        ),
        "the maximum is never less than 0 and the sum never less than 1, so that weights of low rows are too small": (
            lambda scores: (
                (weights := torch.exp(wider(scores)[0] - row_max(wider(scores)[0]).clamp(min=0)))
                / weights.sum(-1, keepdim=True).clamp(min=1)
            ).to(scores.dtype)
        ),
        "a row whose scores are all below -10,000 counts as empty": lambda scores: no_row_below(-1e4, scores),
        "a row that holds -inf anywhere counts as empty": nothing_beside_minus_inf,
        "a row whose first key is hidden counts as empty": no_row_without_key(0),
        "a row whose last key is hidden counts as empty": no_row_without_key(-1),
        "a finite number stands in for -inf, and outweighs scores far below it": finite_beside_scores,
        "powers of 2 are taken, where they are powers of e": of_safe_sum(finite_max, torch.exp2),
        "0.000001 is added to the sum, and the weights of a row add to a little less than 1": lambda scores: (
            (weights := torch.exp(wider(scores)[0] - finite_max(wider(scores)[0])))
            / (weights.sum(-1, keepdim=True) + 1e-6)
        ).to(scores.dtype),
        "the exponentials are rounded to half precision before they are added up": of_safe_sum(
            finite_max, rounds=lambda weights, dtype: weights.to(dtype).to(weights.dtype)
        ),
        "differences and exponentials are made in half precision, and only their sum in float32": sum_of_narrow_terms,
    },
)


# attention_scores ------------------------------------------------------------------------------------------------


def scores_one_by_one(q, k, scale=None):
    scaled = q * (q.shape[-1] ** -0.5 if scale is None else scale)
    rows = [torch.stack([(query * key).sum(-1) for key in k.unbind(-2)], dim=-1) for query in scaled.unbind(-2)]
    return torch.stack(rows, dim=-2)


def scores_einsum(q, k, scale=None):
    q, k, dtype = q.double(), k.double(), q.dtype
    products = torch.einsum("...qd,...kd->...qk", q, k)
    return (products / math.sqrt(q.shape[-1]) if scale is None else products * scale).to(dtype)


def scaled_by(default, given=lambda q, scale: scale):
    """Scores whose scale is default(q, k) when none is given, and given(q, scale) otherwise."""

    def scores(q, k, scale=None):
        return attention_scores(q, k, default(q, k) if scale is None else given(q, scale))

    return scores


def scaled_after(q, k, scale=None):
    return q @ k.mT * (root(q) if scale is None else scale)


def root(q, k=None):
    return 1 / math.sqrt(q.shape[-1])


SCORES = Exercise(
    title="scaled scores",
    section="Why divide by the square root of d",
    difficulty=1,
    minutes=6,
    reference=quadratic.attention_scores,
    hints=(
        "Row i of the result belongs to query i, column j to key j. Which of q and k has to be transposed?",
        "q is (..., queries, d) and the transposed k is (..., d, keys). Only the last two axes change places: "
        "k.transpose(-2, -1). The size d is q.shape[-1].",
        "If scale is None, set it to 1 / math.sqrt(q.shape[-1]). Then return the matrix product of q * scale and the "
        "transposed k: scaled first, it stays within float16.",
    ),
    cases=(
        Case("5 queries, 3 keys, d = 11", lambda normal: (normal(5, 11), normal(3, 11))),
        Case("a batch of 2 with 3 heads", lambda normal: (normal(2, 3, 4, 6), normal(2, 3, 7, 6))),
        Case("float64", lambda normal: (normal(4, 6), normal(5, 6)), dtype=torch.float64),
        Case("half precision", lambda normal: (normal(4, 6), normal(5, 6)), dtype=torch.float16),
        Case("d = 1", lambda normal: (normal(2, 1), normal(3, 1))),
        Case("a scale of 0.3", lambda normal: (normal(5, 11), normal(3, 11), 0.3)),
        Case("a scale of 0", lambda normal: (normal(5, 11), normal(3, 11), 0.0)),
        Case("a scale of -0.3", lambda normal: (normal(5, 11), normal(3, 11), -0.3)),
        Case("transposed q and k", lambda normal: (normal(8, 5).T, normal(8, 3).T)),
        Case("the gradients", lambda normal: (normal(3, 5), normal(4, 5)), felt("q", "k")),
        Case("one query, 3 keys", lambda normal: (normal(1, 5), normal(3, 5))),
        Case(
            "float16, dot products of 100,000",
            lambda normal: ((normal(2, 64) + 40).half(), (normal(3, 64) + 40).half()),
        ),
        Case(
            "float16, dot products of 100,000, a scale of 0.01",
            lambda normal: ((normal(2, 64) + 40).half(), (normal(3, 64) + 40).half(), 0.01),
        ),
        Case(
            "float16, entries of 16.0625, which bfloat16 rounds to 16",
            lambda normal: (torch.full((2, 9), 16.0625).half(), torch.full((3, 9), 16.0625).half()),
        ),
    ),
    right_answers=(
        scores_one_by_one,
        scores_einsum,
        lambda q, k, scale=None: (q * (root(q) if scale is None else scale)) @ k.mT,
    ),
    mistakes={
        "the scale comes after the product, which float16 cannot hold beyond 65,504: it is inf by then": scaled_after,
        "the scores are not scaled at all": scaled_by(lambda q, k: 1.0),
        "the scores are divided by d and not by its square root": scaled_by(lambda q, k: 1 / q.shape[-1]),
        "the scores are multiplied by the square root of d, not divided by it": scaled_by(lambda q, k: 1 / root(q)),
        "the scale is taken from the number of keys and not from d": scaled_by(lambda q, k: root(k.mT)),
        "the scale is taken from the number of queries and not from d": scaled_by(lambda q, k: root(q.mT)),
        "d is read from q.shape[1], which is the size of a head in a matrix but not in a batch": scaled_by(
            lambda q, k: 1 / math.sqrt(q.shape[1])
        ),
        "queries and keys have changed places, so that rows are keys": lambda q, k, scale=None: (
            attention_scores(q, k, scale).mT
        ),
        "the given scale is not used": scaled_by(root, given=lambda q, scale: root(q)),
        "the scores are divided by the given scale, where it is a factor": lambda q, k, scale=None: (
            attention_scores(q, k) if scale is None else attention_scores(q, k, 1.0) * (1 / scale if scale else INF)
        ),
        "the given scale comes on top of 1 / √d, not in its place": scaled_by(root, lambda q, scale: root(q) * scale),
        "a scale of 0 is taken for no scale (`scale or ...`; ask `scale is None`)": scaled_by(
            root, given=lambda q, scale: scale or root(q)
        ),
        "all axes of k are turned round (k.T), where only the last two change places": lambda q, k, scale=None: (
            (q * (root(q) if scale is None else scale)) @ k.permute(*reversed(range(k.dim())))
        ),
        "the first two axes of k are swapped, which are the last two of a matrix only": lambda q, k, scale=None: (
            (q * (root(q) if scale is None else scale)) @ k.transpose(0, 1)
        ),
        "half precision comes back as float32: round the scores to the dtype of q and k": lambda q, k, scale=None: (
            attention_scores(
                q.to(torch.promote_types(q.dtype, torch.float32)),
                k.to(torch.promote_types(k.dtype, torch.float32)),
                scale,
            )
        ),
        "the scores are returned in float32, whatever dtype q and k have": lambda q, k, scale=None: attention_scores(
            q.float(), k.float(), scale
        ),
        "the scale stands on q and on k, and so twice": scaled_by(
            lambda q, k: 1 / q.shape[-1], given=lambda q, scale: scale * scale
        ),
        "the softmax is taken here already": lambda q, k, scale=None: quadratic.softmax(attention_scores(q, k, scale)),
        "the scores are divided by the whole part of √d, which is √d only where d is a square": scaled_by(
            lambda q, k: 1 / math.isqrt(q.shape[-1])
        ),
        "a product beyond float16 becomes its last number, 65,504, and is scaled from there": (
            lambda q, k, scale=None: torch.nan_to_num(q @ k.mT) * (root(q) if scale is None else scale)
        ),
        "a given scale comes after the product, which float16 cannot hold beyond 65,504, and only 1 / √d before it": (
            lambda q, k, scale=None: attention_scores(q, k) if scale is None else scaled_after(q, k, scale)
        ),
        "float16 goes through bfloat16, which holds large products but only 8 binary digits": lambda q, k, scale=None: (
            scaled_after(q.bfloat16(), k.bfloat16(), scale).half()
            if q.dtype == torch.float16
            else attention_scores(q, k, scale)
        ),
        "the keys are reshaped to (d, keys), where they must be transposed": lambda q, k, scale=None: attention_scores(
            q, k.reshape(*k.shape[:-2], k.shape[-1], k.shape[-2]).mT, scale
        ),
        "the axis of a single query is dropped": lambda q, k, scale=None: attention_scores(q, k, scale).squeeze(-2),
    },
)


# causal_mask -----------------------------------------------------------------------------------------------------


def mask_one_by_one(queries, keys, device=None):
    rows = [[key <= keys - queries + query for key in range(keys)] for query in range(queries)]
    return torch.tensor(rows, device=device)


def from_ones(change):
    """A mask made from change(ones, ahead): all True, (queries, keys), and the number of keys before query 0."""

    def mask(queries, keys, device=None):
        return change(torch.ones(queries, keys, dtype=torch.bool, device=device), keys - queries)

    return mask


def on_another_device(function, queries, keys):
    """The mask on the meta device, whose tensors have a shape but no entries, so that every machine has it."""
    mask = function(queries, keys, device=torch.device("meta"))
    if not isinstance(mask, Tensor):
        return mask
    if mask.device.type != "meta":
        raise Rejected(f"your mask is on {mask.device} although device is meta; hand device on when you make a tensor")
    return torch.zeros(mask.shape, dtype=mask.dtype)


MASK = Exercise(
    title="the causal mask",
    section="The mask comes first",
    difficulty=2,
    minutes=10,
    reference=quadratic.causal_mask,
    hints=(
        "Two new queries arrive and there are six keys. Where do the two stand, and may a token see itself?",
        "Query i stands at position keys - queries + i. Compare the positions of all keys, (keys,), with the positions "
        "of all queries, (queries, 1): the comparison broadcasts to (queries, keys).",
        "query_position = torch.arange(queries, device=device) + (keys - queries), and key_position = "
        "torch.arange(keys, device=device). Return where key_position is at most query_position[:, None].",
    ),
    cases=(
        Case("5 queries, 5 keys", lambda normal: (5, 5)),
        Case("one token", lambda normal: (1, 1)),
        Case("1 query, 6 keys", lambda normal: (1, 6)),
        Case("2 queries, 6 keys", lambda normal: (2, 6)),
        Case("7 queries, 8 keys", lambda normal: (7, 8)),
        Case("2 queries, 5,000 keys", lambda normal: (2, 5000)),
        Case("on a device other than the CPU", lambda normal: (3, 5), on_another_device),
    ),
    right_answers=(
        mask_one_by_one,
        lambda queries, keys, device=None: torch.full((queries, keys), True, device=device).tril(keys - queries),
        lambda queries, keys, device=None: ~torch.ones(queries, keys).triu(1 + keys - queries).bool().to(device),
    ),
    mistakes={
        "the diagonal is hidden too, although a token may see itself": from_ones(
            lambda ones, ahead: ones.tril(ahead - 1)
        ),
        "the queries are taken for the first tokens (upper left) and not for the last": from_ones(
            lambda ones, ahead: ones.tril()
        ),
        "the queries are taken for the first tokens, and the diagonal is hidden too": from_ones(
            lambda ones, ahead: ones.tril(-1)
        ),
        "keys - queries has the wrong sign": from_ones(lambda ones, ahead: ones.tril(-ahead)),
        "each query sees one token ahead of itself": from_ones(lambda ones, ahead: ones.tril(ahead + 1)),
        "True stands for hidden, where it should stand for visible": from_ones(lambda ones, ahead: ~ones.tril(ahead)),
        "True stands for hidden, and the queries are taken for the first tokens": from_ones(
            lambda ones, ahead: ones.triu(1)
        ),
        "every query sees its future and not its past": from_ones(lambda ones, ahead: ones.triu(ahead)),
        "rows are keys and columns are queries, where it should be the other way round": from_ones(
            lambda ones, ahead: ones.tril(ahead).T
        ),
        "the mask holds the numbers 1 and 0, where it should hold True and False": from_ones(
            lambda ones, ahead: ones.tril(ahead).float()
        ),
        "the mask holds 0 and -inf, to be added to the scores, where it should hold True and False": from_ones(
            lambda ones, ahead: torch.zeros_like(ones).float().masked_fill(~ones.tril(ahead), -INF)
        ),
        "nothing is hidden": from_ones(lambda ones, ahead: ones),
        "there is a row for each key, where there is one for each query": lambda queries, keys, device=None: (
            causal_mask(keys, keys, device)
        ),
        "device is not used": lambda queries, keys, device=None: causal_mask(queries, keys),
        "the triangle of the new tokens stands before the keys that all of them may see": from_ones(
            lambda ones, ahead: torch.cat([ones[:, ahead:].tril(), ones[:, :ahead]], dim=1)
        ),
        "the keys before the new tokens are hidden, and a chunk sees only itself": from_ones(
            lambda ones, ahead: torch.cat([~ones[:, :ahead], ones[:, ahead:].tril()], dim=1)
        ),
        "the new tokens see the past and themselves, but not each other": from_ones(
            lambda ones, ahead: torch.cat([ones[:, :ahead], ones[:, ahead:].tril().triu()], dim=1)
        ),
        "the rows are upside down: query 0 is taken for the last token": from_ones(
            lambda ones, ahead: ones.tril(ahead).flip(0)
        ),
        "a single query sees everything, and several are taken for the first tokens": from_ones(
            lambda ones, ahead: ones if len(ones) == 1 else ones.tril()
        ),
        "nothing is hidden where there are fewer queries than keys": from_ones(
            lambda ones, ahead: ones if ahead else ones.tril()
        ),
        "the mask holds the whole numbers 1 and 0, where it should hold True and False": from_ones(
            lambda ones, ahead: ones.tril(ahead).long()
        ),
        "the mask has axes for batch and heads, (1, 1, queries, keys) for (queries, keys)": from_ones(
            lambda ones, ahead: ones.tril(ahead)[None, None]
        ),
    },
)


# attention -------------------------------------------------------------------------------------------------------


def visible_pairs(q, k, causal, mask):
    """True where a query may look, (..., queries, keys)."""
    visible = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool)
    if causal:
        visible = visible & causal_mask(q.shape[-2], k.shape[-2])
    return visible if mask is None else visible & mask


def hidden_before(scores, visible):
    return quadratic.softmax(scores.masked_fill(~visible, -INF))


def hidden_before_torch_softmax(scores, visible):
    return torch.softmax(scores.masked_fill(~visible, -INF), dim=-1)


def assembled(scores=attention_scores, visible=visible_pairs, weights=hidden_before):
    """Attention from its three parts, so that a mistake can replace one of them."""

    def attention(q, k, v, *, causal=False, mask=None, scale=None):
        return weights(scores(q, k, scale), visible(q, k, causal, mask)) @ v

    return attention


def attention_query_by_query(q, k, v, *, causal=False, mask=None, scale=None):
    visible = visible_pairs(q, k, causal, mask).expand(*q.shape[:-1], k.shape[-2])
    rows = []
    for i, query in enumerate(q.unbind(-2)):
        scores = (k @ (query * (root(q) if scale is None else scale))[..., None]).squeeze(-1)
        weights = torch.softmax(scores.masked_fill(~visible[..., i, :], -INF), dim=-1)
        weights = weights.masked_fill(~visible[..., i, :], 0)
        rows.append((weights[..., None] * v).sum(-2))
    return torch.stack(rows, dim=-2)


def attention_fused(q, k, v, *, causal=False, mask=None, scale=None):
    return scaled_dot_product_attention(q, k, v, attn_mask=visible_pairs(q, k, causal, mask), scale=scale)


def with_and_without_nan(mistakes):
    """Attention by each choice of visible pairs, and once more with the nan of torch.softmax where none is left."""
    both = {}
    for sentence, visible in mistakes.items():
        both[sentence] = assembled(visible=visible)
        both[f"{sentence}, and a row that sees nothing is nan"] = assembled(
            visible=visible, weights=hidden_before_torch_softmax
        )
    return both


def past_hidden(q, k, causal, mask):
    past = causal_mask(q.shape[-2], k.shape[-2]) if causal else torch.tensor(False)
    return visible_pairs(q, k, False, mask) & ~past


def best_key_only(scores, visible):
    scores = scores.masked_fill(~visible, -INF)
    return torch.nn.functional.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype) * visible


def influence(function, x):
    """True where output i depends on input j, (n, n), by the gradient, which sees every path."""
    x = x.clone().requires_grad_()
    out = function(x)
    if not out.requires_grad:
        raise Rejected("your output has lost its gradient; compute it with torch operations only")
    rows = [torch.autograd.grad(row.sum(), x, retain_graph=True)[0] for row in out.unbind(-2)]
    return torch.stack([(row != 0).any(-1) for row in rows])


def attention_depends_on(function, x):
    return influence(lambda x: function(x, x, x, causal=True), x)


def divided_anew(weights):
    return weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)


def gradients(function, q, k, v, mask):
    """The gradients of a sum of squares of the output by q, k and v."""
    inputs = [each.clone().requires_grad_() for each in (q, k, v)]
    out = function(*inputs, mask=mask)
    found = [None]
    if isinstance(out, Tensor) and out.requires_grad:
        found = torch.autograd.grad(out.pow(2).sum(), inputs, allow_unused=True)
    if any(each is None for each in found):
        raise Rejected("your output has lost its gradient; compute it with torch operations only")
    return dict(zip(("the gradient by q", "the gradient by k", "the gradient by v"), found, strict=True))


def added_mask(scores, visible):
    """-inf added, not filled in, and the nan of empty rows set to 0 afterwards: right numbers, a gradient of nan."""
    hidden = torch.zeros(visible.shape, dtype=scores.dtype).masked_fill(~visible, -INF)
    return nothing_where_empty(torch.softmax(scores + hidden, dim=-1), scores + hidden)


def added_truth(q, k, v, *, causal=False, mask=None, scale=None):
    scores = attention_scores(q, k, scale) + (0 if mask is None else mask)
    return hidden_before(scores, visible_pairs(q, k, causal, None)) @ v


def emptied_by_mask_alone(q, k, v, *, causal=False, mask=None, scale=None):
    empty = torch.tensor(False) if mask is None else ~mask.any(-1, keepdim=True)
    scores = attention_scores(q, k, scale).masked_fill(~visible_pairs(q, k, causal, mask), -INF)
    return scores.masked_fill(empty, 0).softmax(-1).masked_fill(empty, 0) @ v


def causally(function, q, k, v):
    return function(q, k, v, causal=True)


def masked(function, q, k, v, mask):
    return function(q, k, v, mask=mask)


def causally_masked(function, q, k, v, mask):
    return function(q, k, v, causal=True, mask=mask)


def scaled(function, q, k, v, scale):
    return function(q, k, v, scale=scale)


def some_pairs(normal, queries, keys, for_nobody=()):
    """A random mask in which every query sees key 0, and so something, and no query sees the key `for_nobody`."""
    visible = normal(queries, keys) > 0
    visible[:, 0] = True
    visible[:, for_nobody] = False
    return visible


ATTENTION = Exercise(
    title="attention",
    section="The mask comes first",
    difficulty=2,
    minutes=10,
    reference=quadratic.attention,
    hints=(
        "Three functions are written already: scores, mask, softmax. In which order do they come, and what must a "
        "hidden score be before the softmax?",
        "scores (..., queries, keys); where causal_mask or mask is False, -inf; weights, the softmax of that; weights "
        "times v, (..., queries, d_value). causal and mask may both be given: two separate steps.",
        "scores = attention_scores(q, k, scale). If causal: scores = scores.masked_fill(~causal_mask(...), -math.inf), "
        "and the same for mask if it is not None. Then softmax, and one matrix product is left.",
    ),
    cases=(
        Case("5 queries, 7 keys, values of size 3", lambda normal: (normal(5, 11), normal(7, 11), normal(7, 3))),
        Case("a batch of 2 with 3 heads", lambda normal: (normal(2, 3, 4, 8), normal(2, 3, 6, 8), normal(2, 3, 6, 5))),
        Case("causal, 6 tokens", lambda normal: (normal(6, 11), normal(6, 11), normal(6, 5)), causally),
        Case("causal, 2 queries, 5 keys", lambda normal: (normal(2, 11), normal(5, 11), normal(5, 3)), causally),
        Case("causal, 2 heads", lambda normal: (normal(2, 3, 7), normal(2, 4, 7), normal(2, 4, 5)), causally),
        Case("causal: which inputs move which outputs", lambda normal: (normal(5, 4),), attention_depends_on),
        Case(
            "a mask",
            lambda normal: (normal(4, 11), normal(7, 11), normal(7, 3), some_pairs(normal, 4, 7, for_nobody=3)),
            masked,
        ),
        Case(
            "a mask of keys only",
            lambda normal: (normal(2, 4, 8), normal(2, 3, 8), normal(2, 3, 5), torch.tensor([True, False, True])),
            masked,
        ),
        Case(
            "a mask and causal at once",
            lambda normal: (normal(6, 11), normal(6, 11), normal(6, 3), some_pairs(normal, 6, 6)),
            causally_masked,
        ),
        Case(
            "a mask and causal, which leave query 0 nothing together",
            lambda normal: (normal(4, 9), normal(4, 9), normal(4, 3), torch.tensor([False, True, True, True])),
            causally_masked,
        ),
        Case(
            "causal, and a mask of keys for each of 2 texts, the same for all queries",
            lambda normal: (
                *(normal(2, 3, 4, size) for size in (7, 7, 5)),
                torch.tensor([[True, True, False, True], [False, True, True, True]])[:, None, None],
            ),
            causally_masked,
        ),
        Case(
            "a mask for each of 2 texts, the same for their 3 heads",
            lambda normal: (
                *(normal(2, 3, 4, size) for size in (7, 7, 5)),
                torch.stack([some_pairs(normal, 4, 4), some_pairs(normal, 4, 4, for_nobody=2)])[:, None],
            ),
            masked,
        ),
        Case(
            "a mask that hides every key of query 1",
            lambda normal: (normal(3, 8), normal(4, 8), normal(4, 5), torch.tensor([[True], [False], [True]])),
            masked,
        ),
        Case(
            "a mask that hides the best key by far",
            lambda normal: (
                torch.ones(3, 8),
                normal(4, 8) + torch.tensor([[0], [0], [50], [0]]),
                normal(4, 5),
                torch.tensor([True, True, False, True]),
            ),
            masked,
        ),
        Case(
            "the gradients, where query 1 sees nothing",
            lambda normal: (normal(3, 8), normal(4, 8), normal(4, 5), torch.tensor([[True], [False], [True]])),
            gradients,
        ),
        Case(
            "float16, 70,000 keys that fit alike",
            lambda normal: (torch.zeros(1, 3).half(), normal(70_000, 3).half(), torch.ones(70_000, 2).half()),
        ),
        Case(
            "float16, dot products of 100,000",
            lambda normal: (large_products(normal, 5), large_products(normal, 7), normal(7, 3).half()),
        ),
        Case("a scale of 0.7", lambda normal: (normal(5, 11), normal(7, 11), normal(7, 3), 0.7), scaled),
        Case("a scale of -0.7", lambda normal: (normal(5, 11), normal(7, 11), normal(7, 3), -0.7), scaled),
        Case("a scale of 0: the mean", lambda normal: (normal(5, 11), normal(7, 11), normal(7, 3), 0.0), scaled),
        Case(
            "a mask, and visible scores of -2,500,000,000",
            lambda normal: (*far_below(normal, 3, 4, 5), torch.tensor([True, True, False, True])),
            masked,
        ),
        Case("causal, scores of -2,500,000,000", lambda normal: far_below(normal, 4, 4, 5), causally),
        Case("float64", lambda normal: (normal(3, 8), normal(5, 8), normal(5, 2)), causally, dtype=torch.float64),
        Case("float16", lambda normal: (normal(3, 8), normal(5, 8), normal(5, 2)), causally, dtype=torch.float16),
        Case("transposed q, k and v", lambda normal: (normal(8, 3).T, normal(8, 5).T, normal(2, 5).T)),
    ),
    right_answers=(attention_query_by_query, attention_fused, assembled()),
    mistakes={
        "the scores are not divided by √d": assembled(
            scores=lambda q, k, scale: attention_scores(q, k, 1.0 if scale is None else scale)
        ),
        "the scores are divided by the square root of the number of keys and not of d": assembled(
            scores=lambda q, k, scale: attention_scores(q, k, k.shape[-2] ** -0.5 if scale is None else scale)
        ),
        "the scores are scaled twice": assembled(scores=lambda q, k, scale: attention_scores(q, k, scale) * root(q)),
        "the scores are divided by d and not by its square root": assembled(
            scores=lambda q, k, scale: attention_scores(q, k, 1 / q.shape[-1] if scale is None else scale)
        ),
        "the scale comes after the product, which float16 cannot hold beyond 65,504: it is inf by then": assembled(
            scores=scaled_after
        ),
        "the given scale is not used": assembled(scores=lambda q, k, scale: attention_scores(q, k)),
        "the softmax runs over the queries and not over the keys": assembled(
            weights=lambda scores, visible: quadratic.softmax(scores.masked_fill(~visible, -INF).mT).mT
        ),
        "the mask comes after the softmax, so that hidden keys still take part in the sum": assembled(
            weights=lambda scores, visible: quadratic.softmax(scores) * visible
        ),
        "the mask comes after the softmax and the rows are divided anew: hidden scores still set the scale": assembled(
            weights=lambda scores, visible: divided_anew(quadratic.softmax(scores) * visible)
        ),
        "hidden scores are set to 0, which is a score like any other": assembled(
            weights=lambda scores, visible: quadratic.softmax(scores * visible)
        ),
        "the causal mask starts at the upper left, so that queries are taken for the first tokens": assembled(
            visible=lambda q, k, causal, mask: (
                visible_pairs(q, k, False, mask).tril() if causal else visible_pairs(q, k, False, mask)
            )
        ),
        **with_and_without_nan(
            {
                "the diagonal is hidden too, although a token may see itself": lambda q, k, causal, mask: (
                    visible_pairs(q, k, causal, mask)
                    & (torch.ones(q.shape[-2], k.shape[-2]).tril(k.shape[-2] - q.shape[-2] - 1).bool() | (not causal))
                ),
                "mask is used the wrong way round, with True for hidden": lambda q, k, causal, mask: visible_pairs(
                    q, k, causal, None if mask is None else ~mask
                ),
                "the causal mask is used the wrong way round (a forgotten ~), so that queries see only the future": (
                    past_hidden
                ),
            }
        ),
        "torch's scaled_dot_product_attention is called with is_causal=True, which takes the queries for the first "
        "tokens and no mask beside it": lambda q, k, v, *, causal=False, mask=None, scale=None: (
            scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=scale)
        ),
        "causal is not looked at": assembled(visible=lambda q, k, causal, mask: visible_pairs(q, k, False, mask)),
        "mask is not looked at": assembled(visible=lambda q, k, causal, mask: visible_pairs(q, k, causal, None)),
        "nothing is hidden, by causal or by mask (masked_fill returns a new tensor: keep it)": assembled(
            visible=lambda q, k, causal, mask: visible_pairs(q, k, False, None)
        ),
        "only causal is used where causal and mask are both given": assembled(
            visible=lambda q, k, causal, mask: visible_pairs(q, k, causal, None if causal else mask)
        ),
        "only mask is used where causal and mask are both given": assembled(
            visible=lambda q, k, causal, mask: visible_pairs(q, k, causal and mask is None, mask)
        ),
        "a key is hidden only where causal and mask both hide it": assembled(
            visible=lambda q, k, causal, mask: (
                visible_pairs(q, k, causal, None) | mask
                if causal and mask is not None
                else visible_pairs(q, k, causal, mask)
            )
        ),
        "every call is causal, asked for or not": assembled(
            visible=lambda q, k, causal, mask: visible_pairs(q, k, True, mask)
        ),
        "a large negative number stands in for -inf: lower scores lose to it, and an empty row is a mean": assembled(
            weights=lambda scores, visible: torch.softmax(scores.masked_fill(~visible, -1e9), dim=-1)
        ),
        "a finite number stands in for -inf, so that an empty row averages all values": assembled(
            weights=lambda scores, visible: torch.softmax(
                scores.masked_fill(~visible, torch.finfo(scores.dtype).min), dim=-1
            )
        ),
        "a finite number stands in for -inf, and outweighs scores far below it": assembled(
            weights=lambda scores, visible: (
                torch.softmax(scores.masked_fill(~visible, -1e4), dim=-1) * visible.any(-1, keepdim=True)
            )
        ),
        "-inf is added to the scores and the nan of an empty row replaced afterwards: its gradient stays nan": (
            assembled(weights=added_mask)
        ),
        "the nan of an empty row is replaced in the output: its gradient by v stays nan": (
            lambda q, k, v, *, causal=False, mask=None, scale=None: assembled(weights=hidden_before_torch_softmax)(
                q, k, v, causal=causal, mask=mask, scale=scale
            ).nan_to_num(0)
        ),
        "-10,000 is added where nothing may be seen, so that an empty row weighs keys as if none were hidden": (
            assembled(weights=lambda scores, visible: torch.softmax(scores + ~visible * -1e4, dim=-1))
        ),
        "the scores are divided by the square root of d_value and not of d": (
            lambda q, k, v, *, causal=False, mask=None, scale=None: quadratic.attention(
                q, k, v, causal=causal, mask=mask, scale=root(v) if scale is None else scale
            )
        ),
        "an empty row is left as it comes from torch.softmax, which is nan": assembled(
            weights=hidden_before_torch_softmax
        ),
        "the given scale comes on top of 1 / √d, not in its place": assembled(
            scores=lambda q, k, scale: attention_scores(q, k) * (1 if scale is None else scale)
        ),
        "mask is added to the scores as 1 and 0, and hides nothing": added_truth,
        "a row counts as empty only where mask empties it: one that mask and causal empty together is nan": (
            emptied_by_mask_alone
        ),
        "the mask of the first text serves all of them": assembled(
            visible=lambda q, k, causal, mask: visible_pairs(
                q, k, causal, mask[0] if mask is not None and mask.dim() > 2 else mask
            )
        ),
        "the softmax is left out": assembled(weights=lambda scores, visible: scores.masked_fill(~visible, 0)),
        "each query takes the value of its best key only, without a softmax": assembled(weights=best_key_only),
    },
)


# split_heads -----------------------------------------------------------------------------------------------------


def split(y, heads):
    return y.unflatten(-1, (heads, -1)).transpose(1, 2)


def split_by_reshape(y, heads):
    return y.reshape(y.shape[0], heads, y.shape[1], -1)


def split_by_columns(x, heads):
    return torch.stack(x.chunk(heads, dim=-1), dim=1)


def split_by_permute(x, heads):
    batch, n, width = x.shape
    return x.reshape(batch, n, heads, width // heads).permute(0, 2, 1, 3)


def split_entry_by_entry(x, heads):
    batch, n, width = x.shape
    d = width // heads
    out = x.new_empty(batch, heads, n, d)
    for head, i, c in product(range(heads), range(n), range(d)):
        out[:, head, i, c] = x[:, i, head * d + c]
    return out


SPLIT = Exercise(
    title="split into heads",
    section="Many heads",
    difficulty=1,
    minutes=8,
    reference=quadratic.split_heads,
    hints=(
        "Word 0 has the numbers 0 1 2 3 and two heads. Which two numbers are head 0's, and which word's numbers must "
        "stand below them in head 0?",
        "First cut the last axis in two, (batch, n, heads, head_dim): nothing moves yet. Then two axes must change "
        "places. Which?",
        "x.unflatten(-1, (heads, -1)) is (batch, n, heads, head_dim); .transpose(1, 2) puts the heads before the "
        "tokens.",
    ),
    cases=(
        Case("3 heads of 5, 7 tokens", lambda normal: (normal(2, 7, 15), 3)),
        Case("words that count: 0 1 2 3, 4 5 6 7, ...", lambda normal: (torch.arange(24.0).reshape(1, 6, 4), 2)),
        Case("one head", lambda normal: (normal(2, 5, 6), 1)),
        Case("heads of one number", lambda normal: (normal(2, 5, 4), 4)),
        Case("one token", lambda normal: (normal(3, 1, 8), 2)),
        Case("x transposed", lambda normal: (normal(2, 15, 7).mT, 3)),
        Case("float64", lambda normal: (normal(1, 5, 12), 4), dtype=torch.float64),
        Case("bfloat16", lambda normal: (normal(1, 5, 12), 4), dtype=torch.bfloat16),
        Case("the gradient", lambda normal: (normal(1, 5, 6), 3), felt("x")),
    ),
    right_answers=(split_by_columns, split_by_permute, split_entry_by_entry),
    mistakes={
        "one reshape makes the shape, without the transpose, so that tokens and heads are mixed": split_by_reshape,
        "the heads are cut but stay behind the tokens: (batch, n, heads, head_dim)": (
            lambda x, heads: x.unflatten(-1, (heads, -1))
        ),
        "head h takes every heads-th column (head_dim, heads), where a head is a block of columns": (
            lambda x, heads: x.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2)
        ),
        "the last two axes have changed places too: (batch, heads, head_dim, n)": (
            lambda x, heads: split(x, heads).transpose(-2, -1)
        ),
        "the heads stand before the batch": lambda x, heads: split(x, heads).transpose(0, 1),
        "`heads` is taken for the size of a head": lambda x, heads: x.unflatten(-1, (-1, heads)).transpose(1, 2),
        "the heads come in reversed order": lambda x, heads: split(x, heads).flip(1),
        "the tokens of all texts stand in one row before heads and tokens change places, and the texts mix": (
            lambda x, heads: x.reshape(-1, heads, x.shape[2] // heads).transpose(0, 1).reshape(split(x, heads).shape)
        ),
        "tokens and columns change places, and one reshape cuts what comes of it": (
            lambda x, heads: x.transpose(1, 2).reshape(split(x, heads).shape)
        ),
        "the heads are float32, where they have the dtype of x": lambda x, heads: split(x.float(), heads),
        "only the first head comes back": lambda x, heads: split(x, heads)[:, :1],
        "the whole width is repeated for every head, where each has its own slice": (
            lambda x, heads: x[:, None].expand(-1, heads, -1, -1)
        ),
    },
)


# multi_head_attention --------------------------------------------------------------------------------------------


def merge(out):
    return out.transpose(1, 2).flatten(-2)


def in_heads(
    split=split,
    share=torch.repeat_interleave,
    share_values=None,
    attend=quadratic.attention,
    merge=merge,
    project=torch.matmul,
):
    """Multi-head attention from its parts, so that a mistake can replace one of them."""

    def multi_head_attention(x, w_q, w_k, w_v, w_o, heads, kv_heads=None, *, causal=False):
        kv_heads = heads if kv_heads is None else kv_heads
        q, k, v = split(x @ w_q, heads), split(x @ w_k, kv_heads), split(x @ w_v, kv_heads)
        k, v = share(k, heads // kv_heads, dim=1), (share_values or share)(v, heads // kv_heads, dim=1)
        return project(merge(attend(q, k, v, causal=causal)), w_o)

    return multi_head_attention


def head_by_head(x, w_q, w_k, w_v, w_o, heads, kv_heads=None, *, causal=False):
    d = w_q.shape[1] // heads
    group = heads // (kv_heads or heads)
    out = []
    for head in range(heads):
        mine, shared = slice(head * d, (head + 1) * d), slice(head // group * d, (head // group + 1) * d)
        out.append(quadratic.attention(x @ w_q[:, mine], x @ w_k[:, shared], x @ w_v[:, shared], causal=causal))
    return torch.cat(out, dim=-1) @ w_o


def fused_heads(x, w_q, w_k, w_v, w_o, heads, kv_heads=None, *, causal=False):
    q, k, v = split(x @ w_q, heads), split(x @ w_k, kv_heads or heads), split(x @ w_v, kv_heads or heads)
    return merge(scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)) @ w_o


def einsum_heads(x, w_q, w_k, w_v, w_o, heads, kv_heads=None, *, causal=False):
    groups = kv_heads or heads
    q = (x @ w_q).unflatten(-1, (groups, heads // groups, -1))
    k, v = (x @ w_k).unflatten(-1, (groups, -1)), (x @ w_v).unflatten(-1, (groups, -1))
    scores = torch.einsum("bqghd,bkgd->bghqk", q, k) * root(q)
    if causal:
        scores = scores.masked_fill(~causal_mask(x.shape[1], x.shape[1]), -INF)
    return torch.einsum("bghqk,bkgd->bqghd", scores.softmax(-1), v).flatten(2) @ w_o


def merge_by_reshape(out):
    return out.reshape(out.shape[0], out.shape[2], -1)


def first_head_everywhere(q, k, v, causal):
    return quadratic.attention(q[:, :1], k[:, :1], v[:, :1], causal=causal).expand_as(q)


def in_heads_of_mean_queries(x, w_q, w_k, w_v, w_o, heads, kv_heads=None, *, causal=False):
    kv_heads = heads if kv_heads is None else kv_heads
    q = split(x @ w_q, heads).unflatten(1, (kv_heads, -1)).mean(2)
    out = quadratic.attention(q, split(x @ w_k, kv_heads), split(x @ w_v, kv_heads), causal=causal)
    return merge(out.repeat_interleave(heads // kv_heads, dim=1)) @ w_o


def repeated(y, times, dim):
    return torch.cat([y] * times, dim=dim)


def weights_for(normal, width, head_dim, heads, kv_heads):
    """w_q, w_k, w_v, w_o that keep the variance at 1."""
    q_width, kv_width = heads * head_dim, kv_heads * head_dim
    shapes = ((width, q_width), (width, kv_width), (width, kv_width), (q_width, width))
    return tuple(normal(*shape) / math.sqrt(shape[0]) for shape in shapes)


def causal_heads(function, *inputs):
    return function(*inputs, causal=True)


def heads_depend_on(function, x, *weights_and_heads):
    return influence(lambda x: function(x[None], *weights_and_heads, causal=True)[0], x)


HEADS = Exercise(
    title="many heads",
    section="Many heads",
    difficulty=3,
    minutes=15,
    reference=quadratic.multi_head_attention,
    hints=(
        "Which of the products x @ w_q, x @ w_k and x @ w_v has how many heads? And which key head does query head 3 "
        "of 6 read, where there are 2 key heads?",
        "split_heads each product, k and v with kv_heads. Then each key head stands heads // kv_heads times in a row. "
        "After attention the way back: transpose, then merge the last two axes, then w_o.",
        "q = split_heads(x @ w_q, heads), the same for k and v with kv_heads, then k.repeat_interleave(heads // "
        "kv_heads, dim=1), and v. After attention, transpose(1, 2).flatten(-2); w_o is left.",
    ),
    cases=(
        Case("3 heads, 7 tokens", lambda normal: (normal(2, 7, 15), *weights_for(normal, 15, 5, 3, 3), 3)),
        Case("one head", lambda normal: (normal(2, 5, 6), *weights_for(normal, 6, 6, 1, 1), 1)),
        Case("3 heads, causal", lambda normal: (normal(2, 7, 15), *weights_for(normal, 15, 5, 3, 3), 3), causal_heads),
        Case("6 heads, 2 key heads", lambda normal: (normal(2, 7, 13), *weights_for(normal, 13, 5, 6, 2), 6, 2)),
        Case("4 heads, 1 key head", lambda normal: (normal(1, 3, 8), *weights_for(normal, 8, 5, 4, 1), 4, 1)),
        Case(
            "causal: which inputs move which outputs",
            lambda normal: (normal(7, 15), *weights_for(normal, 15, 5, 3, 3), 3),
            heads_depend_on,
        ),
        Case(
            "float64",
            lambda normal: (normal(2, 5, 8), *weights_for(normal, 8, 3, 4, 2), 4, 2),
            causal_heads,
            dtype=torch.float64,
        ),
        Case(
            "the gradients",
            lambda normal: (normal(1, 3, 8), *weights_for(normal, 8, 5, 4, 2), 4, 2),
            felt("x", "w_q", "w_k", "w_v", "w_o"),
        ),
        Case("x transposed", lambda normal: (normal(2, 15, 7).mT, *weights_for(normal, 15, 5, 3, 3), 3)),
    ),
    right_answers=(head_by_head, fused_heads, einsum_heads),
    mistakes={
        "the heads are split by a reshape alone, without the transpose, so that tokens and heads are mixed": in_heads(
            split=split_by_reshape
        ),
        "the heads are merged without transposing back, so that they land in the token axis": in_heads(
            merge=merge_by_reshape
        ),
        "the heads are split and merged by a reshape alone, without a transpose, so that tokens and heads are mixed": (
            in_heads(split=split_by_reshape, merge=merge_by_reshape)
        ),
        "heads and tokens never change places, so that the heads of one token look at each other": in_heads(
            split=lambda y, heads: y.unflatten(-1, (heads, -1)),
            share=lambda y, times, dim: y.repeat_interleave(times, dim=2),
            merge=lambda out: out.flatten(-2),
        ),
        "head h takes every heads-th column (head_dim, heads), where a head is a block of columns": in_heads(
            split=lambda y, heads: y.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2)
        ),
        "only the first head is computed": in_heads(attend=first_head_everywhere),
        "the key heads are laid out 0 1 0 1 (repeat), where a group of query heads shares one (repeat_interleave)": (
            in_heads(share=repeated)
        ),
        "the key heads are laid out 0 0 1 1 and the value heads 0 1 0 1: both must follow the groups": in_heads(
            share_values=repeated
        ),
        "the value heads are laid out 0 0 1 1 and the key heads 0 1 0 1: both must follow the groups": in_heads(
            share=repeated, share_values=torch.repeat_interleave
        ),
        "the weights are transposed (x @ w.T), where their columns are the outputs": (
            lambda x, w_q, w_k, w_v, w_o, heads, kv_heads=None, *, causal=False: in_heads()(
                x, w_q.T, w_k.T, w_v.T, w_o.T, heads, kv_heads, causal=causal
            )
        ),
        "the last weights, w_o, are transposed": in_heads(project=lambda merged, w_o: merged @ w_o.T),
        "the merged columns stand head_dim first and heads second, where each head keeps its columns together": (
            in_heads(merge=lambda out: out.permute(0, 2, 3, 1).flatten(-2))
        ),
        "the values are used as keys too": in_heads(
            attend=lambda q, k, v, causal: quadratic.attention(q, v, v, causal=causal)
        ),
        "the scores are divided by the square root of the whole width and not of one head": in_heads(
            attend=lambda q, k, v, causal: quadratic.attention(
                q, k, v, causal=causal, scale=1 / math.sqrt(q.shape[1] * q.shape[-1])
            )
        ),
        "the scores are divided by the square root of d_model and not of head_dim": (
            lambda x, *weights, causal=False: in_heads(
                attend=lambda q, k, v, causal: quadratic.attention(q, k, v, causal=causal, scale=root(x))
            )(x, *weights, causal=causal)
        ),
        "the scores are divided by the square root of d_model // heads, which need not be head_dim": (
            lambda x, w_q, w_k, w_v, w_o, heads, kv_heads=None, *, causal=False: in_heads(
                attend=lambda q, k, v, causal: quadratic.attention(
                    q, k, v, causal=causal, scale=(x.shape[-1] // heads) ** -0.5
                )
            )(x, w_q, w_k, w_v, w_o, heads, kv_heads, causal=causal)
        ),
        "the scores are not divided by √head_dim": in_heads(
            attend=lambda q, k, v, causal: quadratic.attention(q, k, v, causal=causal, scale=1.0)
        ),
        "queries and keys have changed places": in_heads(
            attend=lambda q, k, v, causal: quadratic.attention(k, q, v, causal=causal)
        ),
        "keys and values have changed places": in_heads(
            attend=lambda q, k, v, causal: quadratic.attention(q, v, k, causal=causal)
        ),
        "the keys are used as values too": in_heads(
            attend=lambda q, k, v, causal: quadratic.attention(q, k, k, causal=causal)
        ),
        "every call is causal, asked for or not": in_heads(
            attend=lambda q, k, v, causal: quadratic.attention(q, k, v, causal=True)
        ),
        "causal is not handed on": in_heads(attend=lambda q, k, v, causal: quadratic.attention(q, k, v)),
        "the last projection, w_o, is left out": in_heads(project=lambda merged, w_o: merged),
        "head h takes every heads-th column, (head_dim, heads), and they are merged like that": in_heads(
            split=lambda y, heads: y.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2),
            merge=lambda out: out.permute(0, 2, 3, 1).flatten(-2),
        ),
        "the input is added to the result, as a whole layer does": lambda x, *weights, causal=False: (
            x + in_heads()(x, *weights, causal=causal)
        ),
        "all query heads read the first key head where key heads are shared": in_heads(
            share=lambda y, times, dim: y if times == 1 else y[:, :1].repeat_interleave(times * y.shape[1], dim=1)
        ),
        "the queries of a group are averaged, and its heads give the same": in_heads_of_mean_queries,
        "head h reads key head h // kv_heads, where it is h // (heads // kv_heads)": in_heads(
            share=lambda y, times, dim: (
                y[:, [head // y.shape[1] % y.shape[1] for head in range(times * y.shape[1])]] if times > 1 else y
            )
        ),
        "the texts of a batch are joined to one, and read each other": lambda x, *weights, causal=False: in_heads()(
            x.reshape(1, -1, x.shape[2]), *weights, causal=causal
        ).reshape(x.shape),
        "causal hides the past, where it hides the future": in_heads(
            attend=lambda q, k, v, causal: quadratic.attention(
                q, k, v, mask=causal_mask(q.shape[2], k.shape[2]).T if causal else None
            )
        ),
        "the heads are not split, so that one attention sees the whole width": in_heads(
            split=lambda y, heads: y[:, None], share=lambda y, times, dim: y
        ),
    },
)


# cached_attention ------------------------------------------------------------------------------------------------


def in_chunks(function, q, k, v, *lengths):
    """Outputs of all tokens when they arrive in chunks of these lengths."""
    cache, parts = KVCache(), []
    for chunk in zip(q.split(lengths, -2), k.split(lengths, -2), v.split(lengths, -2), strict=True):
        parts.append(function(*chunk, cache))
        if not isinstance(parts[-1], Tensor):
            return parts[-1]
    return torch.cat(parts, dim=-2)


def every_chunk_length(function, q, k, v):
    n = q.shape[-2]
    outputs = [in_chunks(function, q, k, v, *[c] * (n // c), *[n % c] * (n % c > 0)) for c in range(1, n + 1)]
    return torch.stack(outputs) if all(isinstance(out, Tensor) for out in outputs) else None


def tokens_cached(function, q, k, v):
    cache = KVCache()
    for chunk in zip(q.split(2, -2), k.split(2, -2), v.split(2, -2), strict=True):
        function(*chunk, cache)
    return len(cache)


def gradients_of_chunks(function, q, k, v):
    """Of all tokens when they come in chunks of 2; later ones reach the earlier through the cache."""
    n = q.shape[-2]
    whole = lambda q, k, v: in_chunks(function, q, k, v, *[2] * (n // 2), *[1] * (n % 2))  # noqa: E731
    return felt("q", "k", "v")(whole, q, k, v)


def held(name, chunk):
    """A case's outcome: what the cache holds under that name when all tokens have come in chunks."""

    def outcome(function, q, k, v):
        cache = KVCache()
        for part in zip(q.split(chunk, -2), k.split(chunk, -2), v.split(chunk, -2), strict=True):
            function(*part, cache)
        return getattr(cache, name)

    return outcome


def cached_token_by_token(q, k, v, cache):
    rows = []
    for i in range(q.shape[-2]):
        here = slice(i, i + 1)
        rows.append(grouped_attention(q[..., here, :], *cache.append(k[..., here, :], v[..., here, :])))
    return torch.cat(rows, dim=-2)


def cached_fused(q, k, v, cache):
    all_k, all_v = cache.append(k, v)
    new, every = q.shape[-2], all_k.shape[-2]
    mask = torch.ones(new, every, dtype=torch.bool).tril(every - new)
    return scaled_dot_product_attention(q, all_k, all_v, attn_mask=mask, enable_gqa=True)


def cached_with_mask(q, k, v, cache):
    before = len(cache)
    cache.append(k, v)
    mask = torch.arange(len(cache)) <= torch.arange(before, len(cache))[:, None]
    return grouped_attention(q, cache.k, cache.v, mask=mask)


def cached_by_reshape(q, k, v, cache):
    """The query heads as (kv_heads, group), beside keys with a group axis of 1."""
    all_k, all_v = cache.append(k, v)
    groups = q.unflatten(-3, (k.shape[-3], -1))
    out = quadratic.attention(groups, all_k.unsqueeze(-3).expand(*groups.shape[:-2], -1, -1),
                              all_v.unsqueeze(-3).expand(*groups.shape[:-2], -1, -1), causal=True)  # fmt: skip
    return out.flatten(-4, -3)


def append_afterwards(q, k, v, cache):
    nothing = q.new_zeros(*q.shape[:-1], v.shape[-1])
    out = grouped_attention(q, cache.k, cache.v) if len(cache) else nothing
    cache.append(k, v)
    return out


def append_afterwards_but_first(q, k, v, cache):
    if not len(cache):
        return quadratic.cached_attention(q, k, v, cache)
    return append_afterwards(q, k, v, cache)


def masked_by(change):
    """Attention over the cache with change(mask, ahead) for a mask: all True, and the number of tokens before."""

    def cached_attention(q, k, v, cache):
        all_k, all_v = cache.append(k, v)
        every = torch.ones(q.shape[-2], all_k.shape[-2], dtype=torch.bool)
        return grouped_attention(q, all_k, all_v, mask=change(every, len(cache) - q.shape[-2]))

    return cached_attention


def chunk_alone(q, k, v, cache):
    cache.append(k, v)
    return grouped_attention(q, k, v, causal=True)


def never_appended(q, k, v, cache):
    if len(cache):
        k, v = torch.cat([cache.k, k], dim=-2), torch.cat([cache.v, v], dim=-2)
    return grouped_attention(q, k, v, causal=True)


def newest_first(q, k, v, cache):
    cache.append(k, v)
    return grouped_attention(q, *(stored.roll(q.shape[-2], dims=-2) for stored in (cache.k, cache.v)), causal=True)


def appended_twice(q, k, v, cache):
    cache.append(k, v)
    return grouped_attention(q, *cache.append(k, v), causal=True)


def appended_again(q, k, v, cache):
    out = quadratic.cached_attention(q, k, v, cache)
    cache.append(k, v)
    return out


def only_the_last_kept(q, k, v, cache):
    all_k, all_v = ((torch.cat([old, new], -2) if len(cache) else new) for old, new in ((cache.k, k), (cache.v, v)))
    cache.append(k[..., -1:, :], v[..., -1:, :])
    return grouped_attention(q, all_k, all_v, causal=True)


def swapped_in_the_cache(q, k, v, cache):
    all_v, all_k = cache.append(v, k)
    return grouped_attention(q, all_k, all_v, causal=True)


def first_kept(q, k, v, cache):
    return never_appended(q, k, v, cache) if len(cache) else quadratic.cached_attention(q, k, v, cache)


def last_kept(q, k, v, cache):
    out = quadratic.cached_attention(q, k, v, cache)
    cache.k, cache.v = k, v
    return out


def emptied_by_a_chunk(q, k, v, cache):
    if q.shape[-2] > 1:
        cache.k = cache.v = None
    return quadratic.cached_attention(q, k, v, cache)


def seen_twice(q, k, v, cache):
    cache.append(k, v)
    return grouped_attention(q, torch.cat([cache.k, k], dim=-2), torch.cat([cache.v, v], dim=-2), causal=True)


def scaled_in_the_cache(q, k, v, cache):
    return quadratic.cached_attention(q / root(q), k * root(k), v, cache)


def heads_along_the_first(q, k, v, cache):
    group = q.shape[-3] // k.shape[-3]
    all_k, all_v = (each.repeat_interleave(group, dim=0) for each in cache.append(k, v))
    return quadratic.attention(q, all_k, all_v, causal=True)


def only_the_heads_laid_out(lay_out):
    """Attention whose key heads are laid out by lay_out(heads, group) and kept like that, or not kept at all."""

    def cached_attention(q, k, v, cache):
        group = q.shape[-3] // k.shape[-3]
        all_k, all_v = cache.append(lay_out(k, group), lay_out(v, group))
        return quadratic.attention(q, all_k, all_v, causal=True)

    return cached_attention


def heads_in_turn(q, k, v, cache):
    all_k, all_v = cache.append(k, v)
    group = q.shape[-3] // k.shape[-3]
    return quadratic.attention(q, repeated(all_k, group, -3), repeated(all_v, group, -3), causal=True)


def heads_not_grouped(q, k, v, cache):
    return quadratic.attention(q, *cache.append(k, v), causal=True)


def text(n, heads=2, kv_heads=None, batch=()):
    """q, k, v of n tokens."""
    kv_heads = kv_heads or heads
    return lambda normal: tuple(normal(*batch, *shape) for shape in ((heads, n, 8), (kv_heads, n, 8), (kv_heads, n, 5)))


def text_in(*lengths, **shape):
    return lambda normal: (*text(sum(lengths), **shape)(normal), *lengths)


CACHE = Exercise(
    title="attend with a cache",
    section="One token at a time",
    difficulty=2,
    minutes=6,
    reference=quadratic.cached_attention,
    hints=(
        "Must a new token see itself? Then what has to happen before you attend?",
        "cache.append(k, v) returns all keys and all values, (..., tokens so far, d). The new queries are the last of "
        "these tokens, and the first of the chunk must not see the second.",
        "all_k, all_v = cache.append(k, v). Then one call of grouped_attention over them; it aligns queries with the "
        "last keys if you ask it for ... .",
    ),
    cases=(
        Case("all 6 tokens at once", text_in(6), in_chunks),
        Case("token by token", text_in(1, 1, 1, 1, 1), in_chunks),
        Case("chunks of 3, the last one shorter", text_in(3, 3, 1), in_chunks),
        Case("a prompt of 4, then single tokens", text_in(4, 1, 1), in_chunks),
        Case("every chunk length from 1 to 7", text(7, heads=1), every_chunk_length),
        Case("6 heads on 2 key heads, chunks of 3", text_in(3, 3, 1, heads=6, kv_heads=2), in_chunks),
        Case("3 heads on 1 key head, every chunk length", text(7, heads=3, kv_heads=1), every_chunk_length),
        Case("a batch of 2, 6 heads on 3 key heads", text_in(3, 2, heads=6, kv_heads=3, batch=(2,)), in_chunks),
        Case("how many tokens the cache holds after 7", text(7), tokens_cached),
        Case("what cache.k holds after chunks of 2", text(5, heads=6, kv_heads=2), held("k", 2)),
        Case("what cache.v holds after chunks of 2", text(5, heads=6, kv_heads=2), held("v", 2)),
        Case("what cache.k holds, float16", text(5), held("k", 2), dtype=torch.float16),
        Case("what cache.v holds, float16", text(5), held("v", 2), dtype=torch.float16),
        Case("the gradients through chunks of 2", text(5), gradients_of_chunks),
        Case("float64", text_in(2, 3), in_chunks, dtype=torch.float64),
        Case("float16", text_in(2, 3), in_chunks, dtype=torch.float16),
    ),
    right_answers=(cached_token_by_token, cached_fused, cached_with_mask, cached_by_reshape),
    mistakes={
        "keys and values are appended in swapped places, so that cache.k holds the values": swapped_in_the_cache,
        "the key heads are copied for every query head before they are kept, and the cache grows by the copies": (
            only_the_heads_laid_out(lambda heads, group: heads.repeat_interleave(group, dim=-3))
        ),
        "the key heads are laid out 0 1 0 1 (repeat), where a group of query heads shares one (repeat_interleave)": (
            heads_in_turn
        ),
        "attention is called, which knows no shared key heads (grouped_attention does)": heads_not_grouped,
        "the mask is aligned to the upper left, so that a new token sees the first keys only": masked_by(
            lambda every, ahead: every.tril()
        ),
        "there is no mask, so that tokens of a chunk see those that come after them": masked_by(
            lambda every, ahead: every
        ),
        "a token does not see itself": masked_by(lambda every, ahead: every.tril(ahead - 1)),
        "a token sees the one that comes after it": masked_by(lambda every, ahead: every.tril(ahead + 1)),
        "only the last token of the chunk is answered": lambda q, k, v, cache: quadratic.cached_attention(
            q, k, v, cache
        )[..., -1:, :],
        "only the last token of a chunk is kept in the cache": only_the_last_kept,
        "the mask is the wrong way round, so that a token sees only what comes later": masked_by(
            lambda every, ahead: ~every.tril(ahead)
        ),
        "the chunk is appended after it has attended, so that its tokens do not see themselves": append_afterwards,
        "every chunk but the first is appended after it has attended, so that its tokens do not see themselves": (
            append_afterwards_but_first
        ),
        "the chunk attends to itself only, as if it were the beginning": chunk_alone,
        "the chunk is not kept in the cache": never_appended,
        "the new keys stand before the old ones": newest_first,
        "the chunk is appended twice": appended_twice,
        "the chunk is appended a second time, after it has attended": appended_again,
        "only the first chunk is kept in the cache": first_kept,
        "the cache keeps the last chunk only": last_kept,
        "only the first chunk is causal, and in later ones tokens see those that come after them": masked_by(
            lambda every, ahead: every if ahead else every.tril()
        ),
        "the first chunk is read without a mask, and only later ones are causal": masked_by(
            lambda every, ahead: every.tril(ahead) if ahead else every
        ),
        "the tokens of a chunk see the past and themselves, but not each other": masked_by(
            lambda every, ahead: torch.cat([every[:, :ahead], every[:, ahead:].tril().triu()], dim=1)
        ),
        "a chunk of several tokens is taken for a new text, and the cache is emptied": emptied_by_a_chunk,
        "a chunk of several tokens attends to itself only": lambda q, k, v, cache: (
            chunk_alone(q, k, v, cache) if q.shape[-2] > 1 else quadratic.cached_attention(q, k, v, cache)
        ),
        "the chunk stands twice among the keys that are attended to": seen_twice,
        "the cache holds keys that are divided by √d already": scaled_in_the_cache,
        "the key heads are repeated along dimension 0, which is the batch where there is one": heads_along_the_first,
    },
)


# attention_multiplications ---------------------------------------------------------------------------------------


def counted_by_halves(n, head_dim, heads=1, *, causal=False):
    even, odd = (n, n + 1) if n % 2 == 0 else (n + 1, n)
    pairs = even // 2 * odd if causal else n * n
    return (pairs * head_dim + pairs * head_dim) * heads


def visible_count(n, causal):
    return n * (n + 1) // 2 if causal else n * n


def count_of(pairs=visible_count, each=lambda head_dim, heads: 2 * head_dim * heads):
    """A count made of pairs and multiplications for each of them, so that a mistake can replace one."""

    def attention_multiplications(n, head_dim, heads=1, *, causal=False):
        return pairs(n, causal) * each(head_dim, heads)

    return attention_multiplications


def counted_causally(function, *sizes):
    return function(*sizes, causal=True)


COUNT = Exercise(
    title="count the multiplications",
    section="Count before you measure",
    difficulty=1,
    minutes=6,
    reference=quadratic.attention_multiplications,
    hints=(
        "How many pairs of query and key meet among 4 tokens? And if each query meets only the keys up to itself: "
        "1 + 2 + 3 + 4?",
        "Pairs: n * n, or n * (n + 1) / 2 when causal. A pair costs head_dim in Q Kᵀ and again in P V, in every head.",
        "pairs = n * (n + 1) // 2 if causal else n * n. Return pairs times heads times head_dim, times the number of "
        "matrix products.",
    ),
    cases=(
        Case("5 tokens, d = 6", lambda normal: (5, 6)),
        Case("one token", lambda normal: (1, 3)),
        Case("7 tokens, d = 3, 2 heads", lambda normal: (7, 3, 2)),
        Case("5 tokens, d = 6, causal", lambda normal: (5, 6), counted_causally),
        Case("6 tokens, d = 3, 4 heads, causal", lambda normal: (6, 3, 4), counted_causally),
        Case("131,072 tokens, d = 128, 32 heads, causal", lambda normal: (131_072, 128, 32), counted_causally),
        Case("1,000,000,001 tokens, d = 7, 3 heads", lambda normal: (1_000_000_001, 7, 3)),
        Case("1,000,000,001 tokens, d = 7, 3 heads, causal", lambda normal: (1_000_000_001, 7, 3), counted_causally),
    ),
    right_answers=(
        counted_by_halves,
        lambda n, head_dim, heads=1, *, causal=False: heads * head_dim * (n * (n + 1) if causal else 2 * n**2),
        lambda n, head_dim, heads=1, *, causal=False: 2 * heads * head_dim * (n**2 - causal * n * (n - 1) // 2),
    ),
    mistakes={
        "causal counts half of n², which leaves out half of the diagonal": count_of(
            pairs=lambda n, causal: n * n / 2 if causal else n * n
        ),
        "causal counts half of n², rounded down, which leaves out half of the diagonal": count_of(
            pairs=lambda n, causal: n * n // 2 if causal else n * n
        ),
        "the pairs are divided with / and not //: a float, which holds whole numbers up to 2**53 only": count_of(
            pairs=lambda n, causal: n * (n + 1) / 2 if causal else n * n
        ),
        "the pairs are divided with / and made whole afterwards, when digits beyond 2**53 are lost": count_of(
            pairs=lambda n, causal: int(n * (n + 1) / 2) if causal else n * n
        ),
        "causal counts n (n + 1) pairs, twice as many as there are": count_of(
            pairs=lambda n, causal: n * (n + 1) if causal else n * n
        ),
        "causal counts n (n - 1) / 2 pairs, without the diagonal": count_of(
            pairs=lambda n, causal: n * (n - 1) // 2 if causal else n * n
        ),
        "everything is computed in floats and made whole in the end, when digits beyond 2**53 are lost": (
            lambda n, head_dim, heads=1, *, causal=False: int(
                2.0 * heads * head_dim * (n * (n + 1) / 2 if causal else float(n) ** 2)
            )
        ),
        "n is halved first, rounded down, and an odd n loses pairs": count_of(
            pairs=lambda n, causal: n // 2 * (n + 1) if causal else n * n
        ),
        "causal counts for Q Kᵀ and not for P V": (
            lambda n, head_dim, heads=1, *, causal=False: heads * head_dim * (visible_count(n, causal) + n * n)
        ),
        "the softmax or the scale is counted too, one multiplication for each pair": count_of(
            each=lambda head_dim, heads: (2 * head_dim + 1) * heads
        ),
        "the four projections are counted too": (
            lambda n, head_dim, heads=1, *, causal=False: (
                2 * heads * head_dim * visible_count(n, causal) + 4 * n * heads * head_dim**2
            )
        ),
        "causal is not looked at": count_of(pairs=lambda n, causal: n * n),
        "every call is counted as causal": count_of(pairs=lambda n, causal: n * (n + 1) // 2),
        "only Q Kᵀ is counted and P V is forgotten": count_of(each=lambda head_dim, heads: head_dim * heads),
        "only half of Q Kᵀ is counted and P V is forgotten": count_of(
            each=lambda head_dim, heads: head_dim * heads / 2
        ),
        "the heads are forgotten": count_of(each=lambda head_dim, heads: 2 * head_dim),
        "head_dim is taken for the width of all heads, and divided by their number": count_of(
            each=lambda head_dim, heads: 2 * (head_dim // heads) * heads
        ),
        "the count is a float, which holds whole numbers up to 2**53 only": (
            lambda n, head_dim, heads=1, *, causal=False: 2.0 * heads * head_dim * visible_count(n, causal)
        ),
        "the pairs are computed in floats and made whole, when digits beyond 2**53 are lost": count_of(
            pairs=lambda n, causal: int(n * (n + 1) / 2) if causal else int(float(n) ** 2)
        ),
        "P V is counted for one head only": count_of(each=lambda head_dim, heads: head_dim * (heads + 1)),
        "a pair costs one multiplication in P V, where it costs head_dim": count_of(
            each=lambda head_dim, heads: (head_dim + 1) * heads
        ),
        "n + 1 is halved first, rounded down, and an even n loses pairs": count_of(
            pairs=lambda n, causal: (n + 1) // 2 * n if causal else n * n
        ),
        "the four projections are counted too, each as wide as all heads": (
            lambda n, head_dim, heads=1, *, causal=False: (
                2 * heads * head_dim * visible_count(n, causal) + 4 * n * (heads * head_dim) ** 2
            )
        ),
        "the heads are forgotten when it is causal": lambda n, head_dim, heads=1, *, causal=False: (
            2 * head_dim * visible_count(n, causal) * (1 if causal else heads)
        ),
        "the heads and P V are forgotten": count_of(each=lambda head_dim, heads: head_dim),
        "the additions are counted too": count_of(each=lambda head_dim, heads: 4 * head_dim * heads),
        "every token counts once, where every pair does": count_of(pairs=lambda n, causal: n),
        "head_dim is forgotten: a pair costs head_dim multiplications in each product": count_of(
            each=lambda head_dim, heads: 2 * heads
        ),
        "the pairs are counted, and not the multiplications that each of them needs": count_of(
            each=lambda head_dim, heads: 1
        ),
    },
)


# blocked_attention -----------------------------------------------------------------------------------------------


def blocks(causal=False):
    def outcome(function, q, k, v, block):
        return function(q, k, v, causal=causal, block=block)

    return outcome


def within_budget(causal):
    """The outcome, unless a tensor is larger than (..., block, keys)."""

    def outcome(function, q, k, v, block):
        with LargestTensor() as largest:
            out = function(q, k, v, causal=causal, block=block)
        budget = q[..., 0].numel() // q.shape[-2] * block * k.shape[-2]
        if largest.entries > budget:
            raise Rejected(
                f"the largest tensor made has {largest.entries:,} entries ({largest.what}), "
                f"and the budget is {budget:,}, block × keys for each head"
            )
        return out

    return outcome


def blocks_preallocated(q, k, v, *, causal=False, block=64):
    out = q.new_zeros(*q.shape[:-1], v.shape[-1])
    for rows in torch.arange(q.shape[-2]).split(block):
        mask = torch.arange(k.shape[-2]) <= rows[:, None] + k.shape[-2] - q.shape[-2] if causal else None
        out[..., rows, :] = quadratic.attention(q[..., rows, :], k, v, mask=mask)
    return out


def blocks_fused(q, k, v, *, causal=False, block=64):
    first, out = k.shape[-2] - q.shape[-2], []
    for q_block in q.split(block, dim=-2):
        last = first + q_block.shape[-2] if causal else k.shape[-2]
        mask = causal_mask(q_block.shape[-2], last) if causal else None
        out.append(scaled_dot_product_attention(q_block, k[..., :last, :], v[..., :last, :], attn_mask=mask))
        first += q_block.shape[-2]
    return torch.cat(out, dim=-2)


def fused_whole(q, k, v, *, causal=False, block=64):
    queries, keys = q.shape[-2], k.shape[-2]
    if causal and queries < keys:
        return blocks_fused(q, k, v, causal=True, block=block)
    return scaled_dot_product_attention(q, k, v, is_causal=causal)


def by_blocks(attend, starts=lambda queries, block: range(0, queries, block)):
    """Blocked attention from attend(q_block, k, v, causal, start, offset), so that a mistake can replace a part."""

    def blocked_attention(q, k, v, *, causal=False, block=64):
        queries, offset = q.shape[-2], k.shape[-2] - q.shape[-2]
        out = [attend(q[..., at : at + block, :], k, v, causal, at, offset) for at in starts(queries, block)]
        return torch.cat(out, dim=-2)

    return blocked_attention


def rows_of(q_block, k, v, causal, start, offset):
    positions = torch.arange(q_block.shape[-2])[:, None] + start + offset
    return quadratic.attention(q_block, k, v, mask=torch.arange(k.shape[-2]) <= positions if causal else None)


def rest_left_at_zero(q, k, v, *, causal=False, block=64):
    out = q.new_zeros(*q.shape[:-1], v.shape[-1])
    for start in range(0, q.shape[-2] // block * block, block):
        here = slice(start, start + block)
        out[..., here, :] = rows_of(q[..., here, :], k, v, causal, start, k.shape[-2] - q.shape[-2])
    return out


def rest_not_causal(q, k, v, *, causal=False, block=64):
    out = quadratic.blocked_attention(q, k, v, causal=causal, block=block)
    whole = q.shape[-2] // block * block
    return torch.cat([out[..., :whole, :], quadratic.attention(q, k, v)[..., whole:, :]], dim=-2)


def unlike_each_other(q_block, k, v, causal, start, offset):
    """Queries of a block see what stands before it and themselves."""
    if not causal:
        return quadratic.attention(q_block, k, v)
    mask = torch.arange(k.shape[-2]) < start + offset
    own = torch.arange(k.shape[-2]) == torch.arange(q_block.shape[-2])[:, None] + start + offset
    return quadratic.attention(q_block, k, v, mask=mask | own)


def in_half_all_the_way(softmax):
    def attend(q_block, k, v, causal, start, offset):
        scores = q_block @ k.mT * root(k)
        if causal:
            positions = torch.arange(q_block.shape[-2])[:, None] + start + offset
            scores = scores.masked_fill(torch.arange(k.shape[-2]) > positions, -INF)
        return softmax(scores) @ v

    return attend


def weights_joined(q, k, v, *, causal=False, block=64):
    offset, weights = k.shape[-2] - q.shape[-2], []
    for start in range(0, q.shape[-2], block):
        scores = attention_scores(q[..., start : start + block, :], k)
        if causal:
            positions = torch.arange(scores.shape[-2])[:, None] + start + offset
            scores = scores.masked_fill(torch.arange(k.shape[-2]) > positions, -INF)
        weights.append(quadratic.softmax(scores))
    return torch.cat(weights, dim=-2) @ v


def each_from_its_own_maximum(q, k, v, *, causal=False, block=64):
    """Blocks of keys, whose sums are added up although each is measured from a maximum of its own."""
    queries, keys = q.shape[-2], k.shape[-2]
    wide_q, wide_k, wide_v = wider(q, k, v)
    visible = of_positions(queries, keys) if causal else torch.ones(queries, keys, dtype=torch.bool)
    sums, totals = [], []
    for columns in torch.arange(keys).split(block):
        scores = attention_scores(wide_q, wide_k[..., columns, :]).masked_fill(~visible[:, columns], -INF)
        terms = torch.exp(scores - finite_max(scores))
        sums.append(terms @ wide_v[..., columns, :])
        totals.append(terms.sum(-1, keepdim=True))
    return (torch.stack(sums).sum(0) / torch.stack(totals).sum(0)).to(q.dtype)


def even_pieces(q, k, v, *, causal=False, block=64):
    seen, out = k.shape[-2] - q.shape[-2], []
    for rows in q.chunk(max(1, q.shape[-2] // block), dim=-2):
        seen += rows.shape[-2]
        last = seen if causal else k.shape[-2]
        out.append(quadratic.attention(rows, k[..., :last, :], v[..., :last, :], causal=causal))
    return torch.cat(out, dim=-2)


def as_many_as_block(q, k, v, *, causal=False, block=64):
    """`block` blocks, each of the size that this takes."""
    size = -(-q.shape[-2] // block)
    return quadratic.blocked_attention(q, k, v, causal=causal, block=size)


def whole_mask_from(make, always=False):
    """Small blocks, and a mask for all pairs at once from make(queries, keys); always: also when it is not causal."""

    def blocked_attention(q, k, v, *, causal=False, block=64):
        if not causal and not always:
            return quadratic.blocked_attention(q, k, v, block=block)
        parts = zip(q.split(block, -2), make(q.shape[-2], k.shape[-2]).split(block), strict=True)
        masks = ((q_block, mask if causal else None) for q_block, mask in parts)
        return torch.cat([quadratic.attention(q_block, k, v, mask=mask) for q_block, mask in masks], -2)

    return blocked_attention


def of_positions(queries, keys):
    return torch.arange(keys) <= torch.arange(keys - queries, keys)[:, None]


def of_ones(queries, keys):
    return torch.ones(queries, keys).tril(keys - queries).bool()


def of_distances(queries, keys):
    return torch.arange(keys) - torch.arange(keys - queries, keys)[:, None] <= 0


def cut_by_keys(q, k, v, *, causal=False, block=64):
    return quadratic.blocked_attention(q[..., : math.ceil(k.shape[-2] / block) * block, :], k, v, causal=causal)


def shaped_like_queries(q, k, v, *, causal=False, block=64):
    out = torch.zeros_like(q)
    for start in range(0, q.shape[-2], block):
        rows = rows_of(q[..., start : start + block, :], k, v, causal, start, k.shape[-2] - q.shape[-2])
        out[..., start : start + block, :] = rows
    return out


def up_to_its_end(q_block, k, v, start, offset, causal=False):
    end = start + offset + q_block.shape[-2]
    return quadratic.attention(q_block, k[..., :end, :], v[..., :end, :], causal=causal)


def one_key_short(q_block, k, v, start, offset):
    end = max(start + offset + q_block.shape[-2] - 1, 1)
    positions = torch.arange(q_block.shape[-2])[:, None] + start + offset
    return quadratic.attention(q_block, k[..., :end, :], v[..., :end, :], mask=torch.arange(end) <= positions)


def entry_by_entry(q_block, k, v, causal, start, offset):
    scores = (q_block.unsqueeze(-2) * k.unsqueeze(-3)).sum(-1) * root(k)
    if causal:
        positions = torch.arange(q_block.shape[-2])[:, None] + start + offset
        scores = scores.masked_fill(torch.arange(k.shape[-2]) > positions, -INF)
    return quadratic.softmax(scores) @ v


def own_keys_only(q_block, k, v, causal, start, offset):
    here = slice(start + offset, start + offset + q_block.shape[-2])
    return quadratic.attention(q_block, k[..., here, :], v[..., here, :], causal=causal)


def averaged_over_key_blocks(q, k, v, *, causal=False, block=64):
    queries, keys = q.shape[-2], k.shape[-2]
    visible = torch.arange(keys) <= torch.arange(queries)[:, None] + keys - queries if causal else None
    parts = []
    for columns in torch.arange(keys).split(block):
        mask = None if visible is None else visible[:, columns]
        parts.append(quadratic.attention(q, k[..., columns, :], v[..., columns, :], mask=mask))
    return torch.stack(parts).mean(0)


def long_text(normal):
    """200 tokens whose values have as many numbers as their keys, or torch's fused kernel would make the matrix."""
    return normal(1, 2, 200, 8), normal(1, 2, 200, 8), normal(1, 2, 200, 8), 16


def many_blocks(normal):
    """So many tokens that `block` blocks of them would be too large."""
    return normal(1, 2, 250, 4), normal(1, 2, 250, 4), normal(1, 2, 250, 4), 7


def tokens_in_blocks(queries, keys, block, heads=(), d_value=5):
    return lambda normal: (normal(*heads, queries, 8), normal(*heads, keys, 8), normal(*heads, keys, d_value), block)


BLOCKS = Exercise(
    title="attention in row blocks",
    section="Never hold the matrix",
    difficulty=3,
    minutes=18,
    reference=quadratic.blocked_attention,
    hints=(
        "Row i of the output needs row i of the weights and all values it may see. So which rows of q, k and v does "
        "the block from start to stop need?",
        "Loop over start in range(0, queries, block), with stop = min(start + block, queries). The last query of the "
        "block stands at position keys - queries + stop - 1; with causal, cut k and v after it.",
        "visible = keys - queries + stop if causal else keys. Append attention(q[..., start:stop, :], "
        "k[..., :visible, :], v[..., :visible, :], causal=...) to a list; join the list along the token axis.",
    ),
    cases=(
        Case("40 tokens, blocks of 8", tokens_in_blocks(40, 40, 8), blocks()),
        Case("25 tokens, blocks of 8, the last one of 1", tokens_in_blocks(25, 25, 8), blocks()),
        Case("causal and block are left to their defaults", lambda normal: (normal(5, 8), normal(7, 8), normal(7, 3))),
        Case("the gradients", lambda normal: (normal(5, 8), normal(6, 8), normal(6, 3)), felt("q", "k", "v", block=2)),
        Case("11 queries, 4 keys, blocks of 3", tokens_in_blocks(11, 4, 3), blocks()),
        Case("5 queries, 23 keys, blocks of 3", tokens_in_blocks(5, 23, 3, d_value=19), blocks()),
        Case("25 tokens, blocks of 8, causal", tokens_in_blocks(25, 25, 8), blocks(causal=True)),
        Case("9 queries, 25 keys, blocks of 4, causal", tokens_in_blocks(9, 25, 4), blocks(causal=True)),
        Case("blocks of 1, causal", tokens_in_blocks(5, 5, 1), blocks(causal=True)),
        Case("a block longer than the text", tokens_in_blocks(5, 5, 64), blocks(causal=True)),
        Case("a batch of 2 with 3 heads", tokens_in_blocks(11, 13, 4, heads=(2, 3)), blocks(causal=True)),
        Case("float64", tokens_in_blocks(10, 10, 4), blocks(causal=True), dtype=torch.float64),
        Case("bfloat16", tokens_in_blocks(7, 11, 3), blocks(causal=True), dtype=torch.bfloat16),
        Case("float16", tokens_in_blocks(7, 11, 3), blocks(), dtype=torch.float16),
        Case(
            "float16, dot products of 100,000",
            lambda normal: (large_products(normal, 5), large_products(normal, 7), normal(7, 3).half(), 2),
            blocks(),
        ),
        Case(
            "bfloat16, sharp rows of 250 keys",
            lambda normal: (3 * normal(9, 64), normal(250, 64), normal(250, 3), 4),
            blocks(),
            dtype=torch.bfloat16,
        ),
        Case("causal, scores of -2,500,000,000", lambda normal: (*far_below(normal, 7, 7, 5), 3), blocks(causal=True)),
        Case(
            "memory: 200 tokens, blocks of 16",
            long_text,
            within_budget(False),
        ),
        Case("memory: 200 tokens, causal", long_text, within_budget(True)),
        Case("memory: 250 tokens, blocks of 7", many_blocks, within_budget(True)),
        Case(
            "memory: 90 queries, 210 keys in bfloat16, causal, blocks of 8",
            lambda normal: (normal(1, 2, 90, 4), normal(1, 2, 210, 4), normal(1, 2, 210, 4), 8),
            within_budget(True),
            dtype=torch.bfloat16,
        ),
        Case("memory: 250 tokens in bfloat16, blocks of 7", many_blocks, within_budget(False), dtype=torch.bfloat16),
    ),
    right_answers=(blocks_preallocated, blocks_fused, fused_whole, by_blocks(rows_of)),
    mistakes={
        "the whole score matrix is made at once, however right its numbers are": (
            lambda q, k, v, *, causal=False, block=64: quadratic.attention(q, k, v, causal=causal)
        ),
        "the blocks are small, but the mask is made for all pairs at once": whole_mask_from(causal_mask),
        "the blocks are small, but the mask is made for all pairs at once, from a matrix of ones": whole_mask_from(
            of_ones
        ),
        "the blocks are small, but the mask is made for all pairs at once, from a matrix of distances": whole_mask_from(
            of_distances
        ),
        "the blocks are small, but a mask is made for all pairs at once, causal or not": whole_mask_from(
            of_positions, always=True
        ),
        "the blocks are small, but a matrix of ones is made for all pairs at once, causal or not": whole_mask_from(
            of_ones, always=True
        ),
        "the blocks are small, but a matrix of distances is made for all pairs at once, causal or not": whole_mask_from(
            of_distances, always=True
        ),
        "the output of half precision stays float32: round it to the dtype of q": lambda q, k, v, **others: (
            quadratic.blocked_attention(
                *(each.to(torch.promote_types(each.dtype, torch.float32)) for each in (q, k, v)), **others
            )
        ),
        "64 queries are taken at a time also where `block` says fewer": lambda q, k, v, *, causal=False, block=64: (
            quadratic.blocked_attention(q, k, v, causal=causal)
        ),
        "queries and keys are multiplied entry by entry, a tensor of block × keys × d": by_blocks(entry_by_entry),
        "the keys are cut one too early, before the block's last query": by_blocks(
            lambda q_block, k, v, causal, start, offset: (
                one_key_short(q_block, k, v, start, offset) if causal else quadratic.attention(q_block, k, v)
            )
        ),
        "the output is made like q, with d columns, where it has those of v": shaped_like_queries,
        "the blocks are cut from the number of keys, where it is the queries that are cut": (cut_by_keys),
        "the last, shorter block is left out": by_blocks(
            rows_of, starts=lambda queries, block: range(0, max(queries - block, 0) + 1, block)
        ),
        "the last, shorter block is never computed and stays 0": rest_left_at_zero,
        "the causal mask begins anew in every block, as if its queries were the last tokens": by_blocks(
            lambda q_block, k, v, causal, start, offset: quadratic.attention(q_block, k, v, causal=causal)
        ),
        "the causal mask begins anew in every block, as if its queries were the first tokens": by_blocks(
            lambda q_block, k, v, causal, start, offset: rows_of(q_block, k, v, causal, 0, 0)
        ),
        "the causal mask takes the queries for the first tokens when there are more keys than queries": by_blocks(
            lambda q_block, k, v, causal, start, offset: rows_of(q_block, k, v, causal, start, 0)
        ),
        "causal is not looked at": by_blocks(
            lambda q_block, k, v, causal, start, offset: quadratic.attention(q_block, k, v)
        ),
        "the keys after a block are cut off even when causal is False": by_blocks(
            lambda q_block, k, v, causal, start, offset: up_to_its_end(q_block, k, v, start, offset, causal=causal)
        ),
        "the keys after a block are cut off, but inside the block nothing is hidden": by_blocks(
            lambda q_block, k, v, causal, start, offset: (
                up_to_its_end(q_block, k, v, start, offset) if causal else quadratic.attention(q_block, k, v)
            )
        ),
        "each block of queries sees only the keys of its own block": by_blocks(own_keys_only),
        "blocks of keys are averaged, each with a softmax of its own": averaged_over_key_blocks,
        "`block` is taken for the number of blocks, where it is the queries of one": as_many_as_block,
        "the queries are cut into queries // block even pieces, some of them longer than `block`": even_pieces,
        "the last, shorter block is not causal": rest_not_causal,
        "the queries of a block see what stands before it and themselves, but not each other": by_blocks(
            unlike_each_other
        ),
        "blocks of keys are added up, each measured from its own maximum": each_from_its_own_maximum,
        "the weights of all blocks are joined to the whole matrix before they meet the values": weights_joined,
        "products of half precision stay in it: large ones are inf, and softmax makes nan of them": by_blocks(
            in_half_all_the_way(lambda scores: scores.softmax(-1))
        ),
        "products of half precision stay in it: large ones are inf, which softmax refuses": by_blocks(
            in_half_all_the_way(quadratic.softmax)
        ),
        "the output is float32, whatever dtype q has": lambda q, k, v, **others: quadratic.blocked_attention(
            q, k, v, **others
        ).float(),
        "the scores are not divided by √d": lambda q, k, v, **others: quadratic.blocked_attention(
            q / root(q), k, v, **others
        ),
    },
)

EXERCISES = (TURN, SOFTMAX, SCORES, MASK, ATTENTION, SPLIT, HEADS, CACHE, COUNT, BLOCKS)
