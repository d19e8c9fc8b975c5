"""Exercises: read and write a matrix that remembers, keep its order, mend its delta rule, count its cost.

The bugs of this field do not show in a loss: a write before the read, a sum where an average was meant, a z that counts
what was not written. So memories come filled, keys and values have different widths, and segments end raggedly.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from solutions import infini
from solutions.checks.exercise import Case, Exercise
from solutions.checks.running import Rejected
from solutions.checks.tools import felt
from solutions.infini import feature, gate, retrieve, segment_step, update_delta, update_gamma, update_linear
from solutions.quadratic import attention


def filled(normal, *leading, d=6, d_value=5, n=11):
    """A memory that n random pairs were written to, and its z."""
    weight = feature(normal(*leading, n, d))
    return weight.mT @ normal(*leading, n, d_value), weight.sum(dim=-2)


def empty(normal, *leading, d=6, d_value=5):
    return 0 * normal(*leading, d, d_value), 0 * normal(*leading, d)


def partly(normal, *leading, **sizes):
    """Memories of which the first of the last leading dimension, such as a head, is empty, and no other."""
    memory, z = filled(normal, *leading, **sizes)
    here = torch.arange(leading[-1]) > 0
    return memory * here[:, None, None], z * here[:, None]


def few(normal, *leading, d=6, d_value=5):
    """A memory that holds one pair only, so that gamma lies between 0 and 1."""
    return filled(lambda *shape: 0.7 * normal(*shape) - 0.5, *leading, d=d, d_value=d_value, n=1)


# retrieve --------------------------------------------------------------------------------------------------------


def reads(*leading, n=7, of=filled, **sizes):
    return lambda normal: (normal(*leading, n, sizes.get("d", 6)), *of(normal, *leading, **sizes))


def faint_read(normal):
    """A memory that holds one pair, and a query like its key, both far below 0: σ(q) · z is some 1e-17."""
    k, v = normal(1, 6) - 20, normal(1, 5)
    return normal(3, 6) - 20, feature(k).mT @ v, feature(k).sum(dim=-2)


def low_query(normal):
    """A memory that holds one pair, and queries whose features are some 1e-9: 0 where 1 was added and lost again."""
    k, v = normal(1, 6), normal(1, 5)
    return normal(3, 6) - 22, feature(k).mT @ v, feature(k).sum(dim=-2)


def fainter_read(normal):
    """The same, where σ(q) · z is some 1e-35: float32 holds it, and a smallest divisor of 1e-30 hides it."""
    k, v = normal(1, 6) / 4 - 41, normal(1, 5)
    return normal(3, 6) / 4 - 41, feature(k).mT @ v, feature(k).sum(dim=-2)


def one_channel_empty(normal):
    """A memory that no key has touched in its first channel: its row is 0, and so is its entry of z."""
    memory, z = filled(normal)
    here = torch.arange(6) > 0
    return normal(7, 6), memory * here[:, None], z * here


def faint_value(function, q, memory, z):
    """What is read, refused in one sentence if it is less than the only value stored, whatever made it so."""
    read, value = function(q, memory, z), memory[0] / z[0]
    if isinstance(read, Tensor) and read.shape == (len(q), len(value)):
        refuse_if_smaller(read, value)
    return read


def refuse_if_smaller(read, value):
    if not read.any():
        raise Rejected("one pair is stored, with a tiny weight, and 0 is read")
    if (read.norm(dim=-1) < 0.99 * value.norm()).all():
        raise Rejected("one pair is stored, with a tiny weight, and its value comes back too small")


def retrieve_row_by_row(q, memory, z):
    rows = []
    for i in range(q.shape[-2]):
        weight = torch.where(q[..., i, :] > 0, q[..., i, :] + 1, q[..., i, :].exp())
        total = (weight * z).sum(-1, keepdim=True)
        row = (weight[..., :, None] * memory).sum(-2)
        rows.append(torch.where(total > 0, row / total.where(total > 0, 1), torch.zeros_like(row)))
    return torch.stack(rows, dim=-2)


def elu_and_one(x):
    return F.elu(x) + 1


def retrieve_by_einsum(q, memory, z):
    weight = feature(q)
    total = torch.einsum("...nk,...k->...n", weight, z)
    return torch.einsum("...nk,...kv->...nv", weight, memory) / total.where(total != 0, 1)[..., None]


def felt_by_the_queries(function, q, *rest):
    """The gradient that reaches the queries; none counts as 0."""
    q = q.clone().requires_grad_()
    read = function(q, *rest)
    return torch.autograd.grad(read.sum(), q)[0] if read.requires_grad else torch.zeros_like(q)


def nonzero(total):
    return total.where(total != 0, 1)


def divided(read, weight, memory, z):
    return read / nonzero(weight @ z[..., None])


def read_with(weigh=feature, divide=divided):
    """A read made of the feature and of the division, so that a mistake can replace one."""

    def retrieve(q, memory, z):
        weight = weigh(q)
        return divide(weight @ memory, weight, memory, z)

    return retrieve


RETRIEVE = Exercise(
    title="read the memory",
    section="Reading is an average",
    difficulty=2,
    minutes=8,
    reference=infini.retrieve,
    hints=(
        "σ(x) = ELU(x) + 1 makes a query positive. What has the shape (queries, d_value): σ(Q) M or M σ(Q)? And what "
        "is one number for each query?",
        "The read is σ(Q) M, divided row by row by σ(Q) z. z has no column yet: z[..., None] is (d_key, 1). Nothing "
        "stored means 0 / 0: put a 1 where the divisor is 0, and leave every other one as it is, however small.",
        "weight = feature(q); total = weight @ z[..., None]. Divide weight @ memory by total.where(total > 0, 1).",
    ),
    cases=(
        Case("7 queries, a memory of 6 times 5", reads()),
        Case("two dimensions in front", reads(2, 3)),
        Case("a square memory", reads(2, d=6, d_value=6)),
        Case("one query, one value channel", reads(n=1, d_value=1)),
        Case("an empty memory", reads(2, of=empty)),
        Case("an empty memory in float64", reads(of=empty), dtype=torch.float64),
        Case("an empty head beside two that hold something", reads(2, 3, n=4, of=partly)),
        Case("one pair, stored with a tiny weight", faint_read, faint_value, torch.float64),
        Case("one pair, and a query far below 0", low_query, faint_value),
        Case("one pair, stored with a weight of 1e-17, read with another", fainter_read, faint_value),
        Case("one channel of the memory is empty", one_channel_empty),
        Case("what the queries feel where a head is empty", reads(2, 3, n=4, of=partly), felt_by_the_queries),
        Case("what queries, memory and z learn", reads(2, n=4), felt("q", "memory", "z")),
    ),
    right_answers=(retrieve_row_by_row, retrieve_by_einsum),
    mistakes={
        "the read is not divided by σ(q) · z: it is a sum, where an average is meant": read_with(
            divide=lambda read, weight, memory, z: read
        ),
        "an empty memory is divided by its z of 0": read_with(
            divide=lambda read, weight, memory, z: read / (weight @ z[..., None])
        ),
        "an empty memory reads 0, but its nan was replaced after the division, and its gradient stays nan": read_with(
            divide=lambda read, weight, memory, z: (read / (weight @ z[..., None])).nan_to_num(0)
        ),
        "ELU is used without the + 1, so that weights are negative": read_with(F.elu),
        "ELU + 1 is written out, which float32 makes 0 below -17: `feature` keeps it": read_with(elu_and_one),
        "the query is used as it is, without σ": read_with(lambda q: q),
        "ReLU stands for ELU + 1, and half of a query says nothing": read_with(F.relu),
        "σ is exp, as in a softmax": read_with(torch.exp),
        "the query is scaled by 1 / √d before σ": read_with(lambda q: feature(q / math.sqrt(q.shape[-1]))),
        "every query is divided by the sum of z, and not by its own σ(q) · z": read_with(
            divide=lambda read, weight, memory, z: divided(read, torch.ones_like(weight), memory, z)
        ),
        "the divisor is σ(z), where z is a sum of features already": read_with(
            divide=lambda read, weight, memory, z: read / (weight @ feature(z)[..., None])
        ),
        "the read is divided by the query's own weight, and not by what is stored": read_with(
            divide=lambda read, weight, memory, z: read / weight.sum(-1, keepdim=True)
        ),
        "1 is added to the divisor": read_with(
            divide=lambda read, weight, memory, z: read / (weight @ z[..., None] + 1)
        ),
        "the divisor has a smallest value, or something small is added: what is stored with less weight is lost": (
            read_with(divide=lambda read, weight, memory, z: read / (weight @ z[..., None]).clamp(min=1e-6))
        ),
        "entries of z that are 0 count as 1, where it is a divisor of 0 that is replaced": read_with(
            divide=lambda read, weight, memory, z: read / (weight @ z.where(z != 0, 1)[..., None])
        ),
        "a memory that holds little counts as empty: a threshold hides it, or ELU(x) + 1 in float32, 0 below -17": (
            read_with(
                divide=lambda read, weight, memory, z: torch.where(
                    (weight @ z[..., None]) > 1e-6, divided(read, weight, memory, z), 0
                )
            )
        ),
        "the divisor is q · z, without σ": lambda q, memory, z: divided(feature(q) @ memory, q, memory, z),
        "what is divided is q M, without σ": lambda q, memory, z: divided(q @ memory, feature(q), memory, z),
        "all queries are divided by one number, the sum of their divisors": read_with(
            divide=lambda read, weight, memory, z: divided(read, weight.sum(-2, keepdim=True), memory, z)
        ),
        "all queries are divided by one number, the mean of their divisors": read_with(
            divide=lambda read, weight, memory, z: divided(read, weight.mean(-2, keepdim=True), memory, z)
        ),
        "the read is divided by the length of z, and not by σ(q) · z": read_with(
            divide=lambda read, weight, memory, z: read / z.norm(dim=-1)[..., None, None].clamp(min=1e-30)
        ),
        "the read is divided by √d, too": read_with(
            divide=lambda read, weight, memory, z: divided(read, weight, memory, z) / math.sqrt(z.shape[-1])
        ),
        "each row of M is divided by its entry of z, where one number divides the whole read": lambda q, memory, z: (
            feature(q) @ (memory / z.where(z > 0, 1)[..., None])
        ),
        "one empty memory makes every read 0, also those of the memories beside it": lambda q, memory, z: (
            infini.retrieve(q, memory, z) if (z.sum(-1) > 0).all() else 0 * q[..., :1] * memory[..., :1, :]
        ),
        "0 is read only where every memory is empty, and one empty one beside others gives nan": lambda q, memory, z: (
            read_with(divide=lambda read, weight, memory, z: read / (weight @ z[..., None]))(q, memory, z)
            if z.any()
            else 0 * q[..., :1] * memory[..., :1, :]
        ),
        "σ is the sigmoid, where it is ELU + 1": read_with(torch.sigmoid),
        "z is laid along the queries, and not along the memories: a row of queries has one z": lambda q, memory, z: (
            feature(q) @ memory / nonzero((feature(q) * z).sum(-1, keepdim=True))
        ),
        "every query is divided by the sum of σ(q) times the sum of z, and not by σ(q) · z": read_with(
            divide=lambda read, weight, memory, z: (
                read / nonzero(weight.sum(-1, keepdim=True) * z.sum(-1)[..., None, None])
            )
        ),
        "the divisor is detached, and no gradient passes through it": read_with(
            divide=lambda read, weight, memory, z: read / nonzero(weight @ z[..., None]).detach()
        ),
        "the divisor is cut at 1e-30, below which a memory in float32 still holds something": read_with(
            divide=lambda read, weight, memory, z: read / (weight @ z[..., None]).clamp(min=1e-30)
        ),
        "memory and z are detached, and nobody learns what to write": lambda q, memory, z: read_with()(
            q, memory.detach(), z.detach()
        ),
    },
)

# update_linear ---------------------------------------------------------------------------------------------------


def pair(function, *inputs):
    """A new memory and z as one tensor, z its last column."""
    result = function(*inputs)
    if not (isinstance(result, tuple | list) and len(result) == 2 and all(isinstance(one, Tensor) for one in result)):
        raise Rejected("your function returned something else than the two tensors memory, z")
    memory, z = result
    if memory.shape != inputs[2].shape or z.shape != inputs[3].shape:
        raise Rejected(
            f"your memory and z have the shapes {tuple(memory.shape)} and {tuple(z.shape)}, expected "
            f"{tuple(inputs[2].shape)} and {tuple(inputs[3].shape)}"
        )
    return torch.cat([memory, z[..., None]], dim=-1)


learned = felt("k", "v", "memory", "z")


def a_billion_times(outcome):
    """What is tiny, told in its own size."""
    return lambda function, *inputs: 1e9 * outcome(function, *inputs)


def writes(*leading, n=7, of=filled, **sizes):
    d, d_value = sizes.get("d", 6), sizes.get("d_value", 5)
    return lambda normal: (normal(*leading, n, d), normal(*leading, n, d_value), *of(normal, *leading, **sizes))


def linear_token_by_token(k, v, memory, z):
    for i in range(k.shape[-2]):
        weight = feature(k[..., i, :])
        memory = memory + weight[..., :, None] * v[..., None, i, :]
        z = z + weight
    return memory, z


def linear_by_einsum(k, v, memory, z):
    weight = torch.where(k > 0, k + 1, k.exp())
    return memory + torch.einsum("...nk,...nv->...kv", weight, v), z + torch.einsum("...nk->...k", weight)


def write_with(weigh=feature, add=lambda memory, new: memory + new, count=lambda z, weight, k: z + weight.sum(dim=-2)):
    """A write made of the feature, of what happens to the memory and of what happens to z."""

    def update_linear(k, v, memory, z):
        weight = weigh(k)
        return add(memory, weight.mT @ v), count(z, weight, k)

    return update_linear


def some_without_value(writes):
    """The same pairs, of which the first and every third have a value of 0: they are stored all the same."""

    def inputs(normal):
        k, v, memory, z = writes(normal)
        return k, v * (torch.arange(v.shape[-2]) % 3 > 0)[:, None], memory, z

    return inputs


def low(writes, by):
    """The same pairs, with keys that lie so far below 0."""

    def inputs(normal):
        k, v, memory, z = writes(normal)
        return k / 4 - by, v, memory, z

    return inputs


LINEAR = Exercise(
    title="write a segment",
    section="Reading is an average",
    difficulty=2,
    minutes=8,
    reference=infini.update_linear,
    hints=(
        "One pair is written as an outer product: σ(k) as a column times v as a row. What product of two matrices adds "
        "up the outer products of a whole segment?",
        "σ(K)ᵀ V is (d_key, d_value), the sum over the segment. z takes the sum of the rows of σ(K). Both are added to "
        "what is there, as new tensors.",
        "weight = feature(k). The new memory is memory + weight.mT @ v; z is summed over dim=-2.",
    ),
    cases=(
        Case("7 pairs into a filled memory", writes(), pair),
        Case("7 pairs into an empty one", writes(of=empty), pair),
        Case("one pair", writes(n=1), pair),
        Case("two dimensions in front", writes(2, 3), pair),
        Case("a square memory", writes(2, d=6, d_value=6), pair),
        Case(
            "one segment after another",
            writes(n=8),
            lambda function, k, v, memory, z: pair(function, k[3:], v[3:], *function(k[:3], v[:3], memory, z)),
        ),
        Case("values of 0, which are stored like others", some_without_value(writes(n=8)), pair),
        Case("keys near -20, a billion times what is written", low(writes(n=3, of=empty), 20), a_billion_times(pair)),
        Case("float64", writes(2), pair, dtype=torch.float64),
        Case("what all four learn", writes(n=4), learned),
    ),
    right_answers=(linear_token_by_token, linear_by_einsum),
    mistakes={
        "the keys are written as they are, without σ": write_with(lambda k: k),
        "ELU is used without the + 1": write_with(F.elu),
        "the keys are written to the memory as they are, without σ; z has it": lambda k, v, memory, z: (
            memory + k.mT @ v,
            z + feature(k).sum(-2),
        ),
        "memory and z are replaced, where the segment is added to them": lambda k, v, memory, z: update_linear(
            k, v, 0 * memory, 0 * z
        ),
        "what is written to the memory is divided by the z of the segment": lambda k, v, memory, z: (
            memory + feature(k).mT @ v / feature(k).sum(-2)[..., None],
            z + feature(k).sum(-2),
        ),
        "z takes the last key of the segment only": write_with(count=lambda z, weight, k: z + weight[..., -1, :]),
        "the old memory is replaced, where the new pairs are added to it": write_with(add=lambda memory, new: new),
        "z is replaced, where the new sum is added to it": write_with(count=lambda z, weight, k: weight.sum(dim=-2)),
        "z stays as it was": write_with(count=lambda z, weight, k: z),
        "the old memory and z are detached, and nobody learns what to write into them": lambda k, v, memory, z: (
            update_linear(k, v, memory.detach(), z.detach())
        ),
        "z counts the tokens, and not their features": write_with(count=lambda z, weight, k: z + k.shape[-2]),
        "z adds up the keys without σ": write_with(count=lambda z, weight, k: z + k.sum(dim=-2)),
        "z takes the mean of the segment, and not the sum": write_with(
            count=lambda z, weight, k: z + weight.mean(dim=-2)
        ),
        "the memory takes the mean of the segment, and not the sum": lambda k, v, memory, z: (
            memory + feature(k).mT @ v / k.shape[-2],
            z + feature(k).sum(dim=-2),
        ),
        "σ is laid on the values too": lambda k, v, memory, z: update_linear(k, feature(v), memory, z),
        "σ is laid on the sum of the keys, where z sums what σ makes of each": write_with(
            count=lambda z, weight, k: z + feature(k.sum(dim=-2))
        ),
        "the last pair of the segment is left out": lambda k, v, memory, z: (
            memory + feature(k[..., :-1, :]).mT @ v[..., :-1, :],
            z + feature(k[..., :-1, :]).sum(dim=-2),
        ),
        "every key is written with the mean of the values, where each has its own": lambda k, v, memory, z: (
            update_linear(k, v.mean(dim=-2, keepdim=True).expand_as(v), memory, z)
        ),
        "only the last pair of the segment is written": lambda k, v, memory, z: update_linear(
            k[..., -1:, :], v[..., -1:, :], memory, z
        ),
        "only what the memory does not say yet is written: that is the delta rule": update_delta,
        "memory and z are changed in place, where new ones are returned": lambda k, v, memory, z: tuple(
            old.copy_(new) for old, new in zip((memory, z), update_linear(k, v, memory, z), strict=True)
        ),
        "z adds up the keys of all texts and heads, where each memory has its own": write_with(
            count=lambda z, weight, k: z + weight.flatten(0, -2).sum(0)
        ),
        "memory and z add up the pairs of all texts and heads, where each memory has its own": lambda k, v, memory, z: (
            memory + feature(k).flatten(0, -2).mT @ v.flatten(0, -2),
            z + feature(k).flatten(0, -2).sum(0),
        ),
        "the outer products are turned over: value times key": lambda k, v, memory, z: (
            memory + v.mT @ feature(k),
            z + feature(k).sum(-2),
        ),
        "memory and z take the mean of the segment, and not the sum": lambda k, v, memory, z: (
            memory + feature(k).mT @ v / k.shape[-2],
            z + feature(k).mean(-2),
        ),
        "the sum of the keys is bound to the sum of the values, and each key to all of them": lambda k, v, memory, z: (
            update_linear(k, v.sum(-2, keepdim=True).expand_as(v), memory, z)
        ),
        "each key is written with the value of the next token": lambda k, v, memory, z: (
            memory + feature(k[..., :-1, :]).mT @ v[..., 1:, :],
            z + feature(k).sum(-2),
        ),
        "the features are cut to length 1": write_with(lambda k: F.normalize(feature(k), dim=-1)),
    },
)

# gate ------------------------------------------------------------------------------------------------------------


def gated(*leading, heads=3, n=7, d=5, scale=1.0):
    return lambda normal: (scale * normal(heads), normal(*leading, heads, n, d), normal(*leading, heads, n, d))


def gate_head_by_head(beta, from_memory, local):
    mixed = []
    for head in range(len(beta)):
        share = 1 / (1 + (-beta[head]).exp())
        mixed.append(share * from_memory[..., head, :, :] + (1 - share) * local[..., head, :, :])
    return torch.stack(mixed, dim=-3)


def gate_by_lerp(beta, from_memory, local):
    return torch.lerp(local, from_memory, beta.sigmoid().view(-1, 1, 1))


def gate_of(share=lambda beta: torch.sigmoid(beta)[:, None, None], rest=lambda share: 1 - share):
    def gate(beta, from_memory, local):
        return share(beta) * from_memory + rest(share(beta)) * local

    return gate


def over(one, other, share):
    """The mix of two sides, in the memory of one, whose share is given for each head."""
    share = share[:, None, None]
    one *= share
    one += (1 - share) * other
    return one


def felt_by_the_gates(function, beta, from_memory, local):
    """How the sum of what comes out moves with beta."""
    beta = beta.detach().requires_grad_()
    with torch.enable_grad():
        out = function(beta, from_memory, local)
        if not out.requires_grad:
            raise Rejected("no gradient reaches beta, so no gate can learn")
        (moved,) = torch.autograd.grad(out.sum(), beta)
    return moved


def silent_at_first(normal):
    """The memory's side is 0 for some tokens, all of it and in one channel: a half of nothing is nothing."""
    beta, from_memory, local = gated(2)(normal)
    from_memory[..., :3, :] = 0
    from_memory[..., 1] = 0
    return beta, from_memory, local


GATE = Exercise(
    title="the gate",
    section="One segment",
    difficulty=1,
    minutes=6,
    reference=infini.gate,
    hints=(
        "At β = 0 both sides count one half. Which side should be left alone when β is very large?",
        "share = sigmoid(β) is one number for each head, and heads stand third from the end: (heads, 1, 1).",
        "torch.sigmoid(beta)[:, None, None] is the memory's share; the local side gets the rest.",
    ),
    cases=(
        Case("3 heads", gated()),
        Case("a batch of 3, 3 heads, 3 tokens of 3", gated(3, heads=3, n=3, d=3)),
        Case("1 head", gated(2, heads=1)),
        Case("2 batch dimensions", gated(2, 2, heads=2)),
        Case("gates nearly open or shut", gated(heads=4, scale=200.0)),
        Case("more heads than tokens", gated(2, heads=5, n=3, d=7)),
        Case("a memory that says 0 to the first three tokens", silent_at_first),
        Case("float64", gated(heads=2), dtype=torch.float64),
        Case("what the gates learn", gated(heads=3), felt_by_the_gates),
    ),
    right_answers=(gate_head_by_head, gate_by_lerp),
    mistakes={
        "the sides are swapped, where sigmoid(β) is the memory's share": lambda beta, from_memory, local: gate(
            beta, local, from_memory
        ),
        "β is used as it is, without the sigmoid": gate_of(lambda beta: beta[:, None, None]),
        "β goes through tanh, which is no share": gate_of(lambda beta: torch.tanh(beta)[:, None, None]),
        "β goes through a softmax over the heads, which makes them rivals": gate_of(
            lambda beta: beta.softmax(dim=0)[:, None, None]
        ),
        "both sides are added whole, each with sigmoid(β)": gate_of(rest=lambda share: share),
        "the local side is added whole, beside the memory's share": gate_of(rest=lambda share: 1),
        "all heads share one gate, the mean": gate_of(lambda beta: torch.sigmoid(beta.mean())),
        "the gate is hard: all memory or all local": gate_of(lambda beta: (beta > 0).to(beta.dtype)[:, None, None]),
        "both sides count one half, whatever β says": gate_of(lambda beta: 0.5),
        "the sigmoid is made as e^β / (1 + e^β), which is nan where e^β overflows": gate_of(
            lambda beta: (beta.exp() / (1 + beta.exp()))[:, None, None]
        ),
        "all heads share one gate, the mean of their shares": gate_of(lambda beta: torch.sigmoid(beta).mean()),
        "all heads share the gate of the first": gate_of(lambda beta: torch.sigmoid(beta[0])),
        "both sides are added, without a gate": lambda beta, from_memory, local: from_memory + local,
        "β goes through exp, which is no share": gate_of(lambda beta: beta.exp()[:, None, None]),
        "the gates run along the tokens, where they belong to the heads": gate_of(
            lambda beta: torch.sigmoid(beta)[:, None]
        ),
        "the gates run along the channels, where they belong to the heads": gate_of(torch.sigmoid),
        "the share is (1 + tanh β) / 2, which is sigmoid(2 β)": gate_of(
            lambda beta: ((1 + torch.tanh(beta)) / 2)[:, None, None]
        ),
        "the sigmoid is a hard one, β / 6 + 1/2 cut to 0 ... 1": gate_of(
            lambda beta: F.hardsigmoid(beta)[:, None, None]
        ),
        "the mix is written over local": lambda beta, from_memory, local: over(local, from_memory, (-beta).sigmoid()),
        "the mix is written over from_memory": lambda beta, from_memory, local: over(
            from_memory, local, beta.sigmoid()
        ),
        "β is given four dimensions, so that a batch of 1 comes back where there was none": gate_of(
            lambda beta: torch.sigmoid(beta).view(1, -1, 1, 1)
        ),
        "β is laid along the first dimension, which is the heads only where there is no batch": (
            lambda beta, from_memory, local: (
                (share := torch.sigmoid(beta).view(-1, *[1] * (local.dim() - 1))) * from_memory + (1 - share) * local
            )
        ),
        "the shares are taken out of the graph, so that no gate learns": lambda beta, from_memory, local: gate(
            beta.detach(), from_memory, local
        ),
    },
)

# segment_step ----------------------------------------------------------------------------------------------------


def everything(function, q, k, v, memory, z, beta):
    """Output, memory and z of a step as one vector."""
    result = function(q, k, v, memory, z, beta)
    if not (isinstance(result, tuple | list) and len(result) == 3 and all(isinstance(one, Tensor) for one in result)):
        raise Rejected("your function returned something else than the three tensors output, memory, z")
    for name, got, shape in zip(("output", "memory", "z"), result, (v.shape, memory.shape, z.shape), strict=True):
        if got.shape != shape:
            raise Rejected(f"your {name} has shape {tuple(got.shape)}, expected {tuple(shape)}")
    return torch.cat([one.flatten() for one in result])


def two_segments(function, q, k, v, memory, z, beta):
    """The outputs of two segments, one after the other."""
    half = q.shape[-2] // 2
    _, memory, z = function(q[..., :half, :], k[..., :half, :], v[..., :half, :], memory, z, beta)
    return everything(function, q[..., half:, :], k[..., half:, :], v[..., half:, :], memory, z, beta)


def steps(*leading, heads=2, n=7, d=6, d_value=5, of=filled):
    def inputs(normal):
        shape = (*leading, heads, n)
        memory, z = of(normal, *leading, heads, d=d, d_value=d_value)
        return normal(*shape, d), normal(*shape, d), normal(*shape, d_value), memory, z, normal(heads)

    return inputs


def step_by_hand(q, k, v, memory, z, beta):
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -math.inf)
    weight, share = F.elu(q) + 1, beta.sigmoid().view(-1, 1, 1)
    read = (weight @ memory) / (weight @ z.unsqueeze(-1) + 1e-9)
    out = share * read + (1 - share) * (scores.softmax(-1) @ v)
    written = F.elu(k) + 1
    return out, memory + written.mT @ v, z + written.sum(-2)


def step_token_by_token(q, k, v, memory, z, beta):
    rows, new_memory, new_z = [], memory, z
    for i in range(q.shape[-2]):
        upto = slice(0, i + 1)
        local = attention(q[..., i : i + 1, :], k[..., upto, :], v[..., upto, :])
        rows.append(gate(beta, retrieve(q[..., i : i + 1, :], memory, z), local))
        new_memory, new_z = update_linear(k[..., i : i + 1, :], v[..., i : i + 1, :], new_memory, new_z)
    return torch.cat(rows, dim=-2), new_memory, new_z


def step_with(read=retrieve, near=lambda q, k, v: attention(q, k, v, causal=True), mix=gate, write=update_linear):
    def segment_step(q, k, v, memory, z, beta):
        out = mix(beta, read(q, memory, z), near(q, k, v))
        return out, *write(k, v, memory, z)

    return segment_step


def writes_first(q, k, v, memory, z, beta):
    memory, z = update_linear(k, v, memory, z)
    return gate(beta, retrieve(q, memory, z), attention(q, k, v, causal=True)), memory, z


def nothing_when_empty(q, k, v, memory, z, beta):
    if z.abs().sum() > 0:
        return segment_step(q, k, v, memory, z, beta)
    return attention(q, k, v, causal=True), *update_linear(k, v, memory, z)


def reads_token_by_token(q, k, v, memory, z, beta):
    rows = []
    for i in range(q.shape[-2]):
        memory, z = update_linear(k[..., i : i + 1, :], v[..., i : i + 1, :], memory, z)
        rows.append(retrieve(q[..., i : i + 1, :], memory, z))
    return gate(beta, torch.cat(rows, dim=-2), attention(q, k, v, causal=True)), memory, z


def felt_by_what_was_written(function, q, k, v, memory, z, beta):
    """How the outputs of two more segments move with the keys of the first, which they know from the memory alone."""
    length = q.shape[-2] // 3
    first, *later = (part.detach() for part in k.split(length, dim=-2))
    first.requires_grad_()
    moved = []
    with torch.enable_grad():
        for asks, keys, values in zip(q.split(length, -2), (first, *later), v.split(length, -2), strict=True):
            out, memory, z = function(asks, keys, values, memory, z, beta)
            moved += torch.autograd.grad(out.sum() + 0 * first.sum(), first, retain_graph=True)
    if not moved[1].any():
        raise Rejected("no gradient reaches the segment that wrote the memory, so it never learns what to write")
    if not moved[2].any():
        raise Rejected("a gradient reaches the segment that wrote the memory from the next one, and from none after it")
    return torch.stack(moved[1:])


STEP = Exercise(
    title="one segment through one layer",
    section="One segment",
    difficulty=3,
    minutes=12,
    reference=infini.segment_step,
    hints=(
        "When this segment's tokens read the memory, may their own keys be in it already? Who would see what then?",
        "Four lines: retrieve with the memory as it came; local attention inside the segment, causal; mix both with "
        "gate; then update_linear. Return the output and the memory and z for the next segment.",
        "from_memory = retrieve(q, memory, z) comes first, memory, z = update_linear(k, v, memory, z) after it. The "
        "local part is attention(q, k, v, causal=True).",
    ),
    cases=(
        Case("7 tokens and a filled memory", steps(), everything),
        Case("the first segment, with an empty memory", steps(of=empty), everything),
        Case("a batch of 2", steps(2, heads=3, n=4), everything),
        Case("one head holds nothing yet", steps(2, heads=3, n=4, of=partly), everything),
        Case("two segments one after the other", steps(n=8), two_segments),
        Case("one token", steps(n=1), everything),
        Case("an empty memory, then a second segment, in float64", steps(n=9, of=empty), two_segments, torch.float64),
        Case("what a segment learns from the two after it", steps(n=9), felt_by_what_was_written),
    ),
    right_answers=(step_by_hand, step_token_by_token, step_with()),
    mistakes={
        "the segment is written before it is read, and its tokens see those that come after them": writes_first,
        "each token is written before it is read, and counts twice: in the memory and in the segment": (
            reads_token_by_token
        ),
        "attention inside the segment is not causal": step_with(near=attention),
        "the scores inside the segment are not divided by √d": step_with(
            near=lambda q, k, v: attention(q, k, v, causal=True, scale=1.0)
        ),
        "the sides of the gate are swapped": step_with(mix=lambda beta, read, local: gate(beta, local, read)),
        "the gate is left out: both sides are added": step_with(mix=lambda beta, read, local: read + local),
        "both sides count one half, whatever β says": step_with(mix=lambda beta, read, local: (read + local) / 2),
        "the memory is not looked at": step_with(read=lambda q, memory, z: 0 * q[..., :1] * memory[..., :1, :]),
        "the segment itself is not looked at": step_with(near=lambda q, k, v: 0 * v),
        "the memory comes back as it was: nothing is written": step_with(write=lambda k, v, memory, z: (memory, z)),
        "z comes back as it was": step_with(write=lambda k, v, memory, z: (update_linear(k, v, memory, z)[0], z)),
        "the old memory is thrown away with each segment": step_with(
            write=lambda k, v, memory, z: update_linear(k, v, 0 * memory, 0 * z)
        ),
        "the delta rule writes, where all of the values are asked for": step_with(write=update_delta),
        "the gate is left out of a first segment, which gets all of its local attention": nothing_when_empty,
        "what is read is divided by a z that has counted this segment already": lambda q, k, v, memory, z, beta: (
            gate(
                beta,
                retrieve(q, memory, update_linear(k, v, memory, z)[1]),
                attention(q, k, v, causal=True),
            ),
            *update_linear(k, v, memory, z),
        ),
        "the read is not divided by σ(q) · z": step_with(read=lambda q, memory, z: feature(q) @ memory),
        "σ is applied twice to the keys: update_linear applies it itself": step_with(
            write=lambda k, v, memory, z: update_linear(feature(k), v, memory, z)
        ),
        "σ is applied twice to the queries: retrieve applies it itself": step_with(
            read=lambda q, memory, z: retrieve(feature(q), memory, z)
        ),
        "the memory is read with the keys, and not with the queries": lambda q, k, v, memory, z, beta: (
            gate(beta, retrieve(k, memory, z), attention(q, k, v, causal=True)),
            *update_linear(k, v, memory, z),
        ),
        "the queries are written, and not the keys": lambda q, k, v, memory, z, beta: (
            step_with()(q, k, v, memory, z, beta)[0],
            *update_linear(q, v, memory, z),
        ),
        "what was read is written, and not the values": lambda q, k, v, memory, z, beta: (
            step_with()(q, k, v, memory, z, beta)[0],
            *update_linear(k, retrieve(q, memory, z), memory, z),
        ),
        "the output is written, and not the values": lambda q, k, v, memory, z, beta: (
            out := step_with()(q, k, v, memory, z, beta)[0],
            *update_linear(k, out, memory, z),
        ),
        "σ is laid on queries and keys inside the segment, too": step_with(
            near=lambda q, k, v: attention(feature(q), feature(k), v, causal=True)
        ),
        "the sigmoid is applied twice: gate applies it itself": step_with(
            mix=lambda beta, read, local: gate(beta.sigmoid(), read, local)
        ),
        "σ is applied twice to queries and keys: retrieve and update_linear apply it themselves": step_with(
            read=lambda q, memory, z: retrieve(feature(q), memory, z),
            write=lambda k, v, memory, z: update_linear(feature(k), v, memory, z),
        ),
        "the memory is detached before it is written to again: a segment learns from the next one alone": step_with(
            write=lambda k, v, memory, z: update_linear(k, v, memory.detach(), z.detach())
        ),
        "the memory is detached between segments, so nobody learns what to write": step_with(
            write=lambda k, v, memory, z: tuple(one.detach() for one in update_linear(k, v, memory, z))
        ),
    },
)

# dual_form -------------------------------------------------------------------------------------------------------


def in_segments(*leading, n=11, d=6, d_value=5, segment=4, mean=0.0):
    def inputs(normal):
        return normal(*leading, n, d) + mean, normal(*leading, n, d) + mean, normal(*leading, n, d_value), segment

    return inputs


def low_queries(normal):
    """Queries whose features are some 1e-9: 0 where 1 was added and lost again."""
    q, k, v, segment = in_segments(n=6, segment=2)(normal)
    return q - 22, k, v, segment


def faint_dual(function, q, k, v, segment):
    """As `faint_value`: the second token reads the first, and nothing else."""
    read = function(q, k, v, segment)
    if isinstance(read, Tensor) and read.shape == v.shape:
        refuse_if_smaller(read[1:], v[0])
    return read


def earlier(n, segment):
    number = torch.arange(n) // segment
    return number < number[:, None]


def dual_by_memory(q, k, v, segment, write=update_linear):
    memory = k.new_zeros(*k.shape[:-2], k.shape[-1], v.shape[-1])
    z, out = memory[..., 0], []
    for part in zip(q.split(segment, -2), k.split(segment, -2), v.split(segment, -2), strict=True):
        out.append(retrieve(part[0], memory, z))
        memory, z = write(*part[1:], memory, z)
    return torch.cat(out, dim=-2)


def dual_row_by_row(q, k, v, segment):
    out = torch.zeros_like(v)
    for i in range(segment, q.shape[-2]):
        before = i // segment * segment
        weight = (feature(q[..., i, None, :]) * feature(k[..., :before, :])).sum(-1, keepdim=True)
        out[..., i, :] = (weight * v[..., :before, :]).sum(-2) / weight.sum(-2)
    return out


def total_of(weight):
    total = weight.sum(-1, keepdim=True)
    return total.where(total != 0, 1)


def dual_with(seen=lambda i, j, segment: j // segment < i // segment, weigh=lambda q, k: feature(q) @ feature(k).mT,
              divide=total_of):  # fmt: skip
    def dual_form(q, k, v, segment):
        position = torch.arange(q.shape[-2])
        weight = weigh(q, k) * seen(position[:, None], position, segment)
        return weight @ v / divide(weight)

    return dual_form


def from_the_end(i, j, segment):
    n = j.shape[-1]
    return (j + -n % segment) // segment < (i + -n % segment) // segment


def averaged_over_segments(q, k, v, segment):
    out = torch.zeros_like(v)
    for i in range(segment, q.shape[-2]):
        parts = []
        for start in range(0, i // segment * segment, segment):
            weight = feature(q[..., i : i + 1, :]) @ feature(k[..., start : start + segment, :]).mT
            parts.append(weight @ v[..., start : start + segment, :] / weight.sum(-1, keepdim=True))
        out[..., i : i + 1, :] = sum(parts) / len(parts)
    return out


DUAL = Exercise(
    title="the same read without a memory",
    section="One segment",
    difficulty=3,
    minutes=12,
    reference=infini.dual_form,
    hints=(
        "A query reads σ(q) M / σ(q) z. Write M and z as sums over the tokens written so far. Which are those, for a "
        "query in segment s?",
        "weight = σ(Q) σ(K)ᵀ, (n, n); keep it where the key's segment number is smaller than the query's; divide each "
        "row by its sum. Rows of the first segment keep nothing: their sum is 0.",
        "number = torch.arange(n) // segment. The mask is number < number[:, None]; where the row's sum is 0, divide "
        "by 1.",
    ),
    cases=(
        Case("11 tokens, segments of 4", in_segments()),
        Case("8 tokens, segments of 4", in_segments(n=8)),
        Case("one segment alone reads nothing", in_segments(n=4)),
        Case("segments of 1", in_segments(n=7, segment=1)),
        Case("two dimensions in front", in_segments(2, 2, n=9, segment=3)),
        Case("float64", in_segments(2, n=13, segment=7), dtype=torch.float64),
        Case("one pair, stored with a tiny weight", in_segments(n=2, segment=1, mean=-20), faint_dual, torch.float64),
        Case("queries far below 0", low_queries),
        Case("what the queries feel, also of the first segment", in_segments(n=9, segment=4), felt_by_the_queries),
        Case("what queries, keys and values learn", in_segments(2, n=9, segment=4), felt("q", "k", "v")),
    ),
    right_answers=(dual_by_memory, dual_row_by_row),
    mistakes={
        "ELU + 1 is written out, which float32 makes 0 below -17: `feature` keeps it": dual_with(
            weigh=lambda q, k: elu_and_one(q) @ elu_and_one(k).mT
        ),
        "every earlier token is seen, where the own segment belongs to local attention": dual_with(
            lambda i, j, segment: j < i
        ),
        "every token up to the query itself is seen, where the own segment belongs to local attention": dual_with(
            lambda i, j, segment: j <= i
        ),
        "the own segment is seen whole, its future included": dual_with(
            lambda i, j, segment: j // segment <= i // segment
        ),
        "only the segment just before is seen, as in Transformer-XL": dual_with(
            lambda i, j, segment: j // segment == i // segment - 1
        ),
        "only the own segment is seen": dual_with(lambda i, j, segment: (j // segment == i // segment) & (j <= i)),
        "a segment's distance is counted in tokens: the last `segment` tokens are left out": dual_with(
            lambda i, j, segment: j <= i - segment
        ),
        "the rows are not divided by their sum: a read is an average": dual_with(
            divide=lambda weight: torch.ones(weight.shape[-1], 1, dtype=weight.dtype)
        ),
        "the rows are divided by the number of tokens seen, and not by their weights": dual_with(
            divide=lambda weight: (weight != 0).sum(-1, keepdim=True).clamp(min=1).to(weight.dtype)
        ),
        "each segment is averaged for itself and then all segments: one divisor is for all of history": (
            averaged_over_segments
        ),
        "the first segment reads 0, but its nan was replaced after the division, and its gradient stays nan": (
            lambda q, k, v, segment: dual_with(divide=lambda weight: weight.sum(-1, keepdim=True))(
                q, k, v, segment
            ).nan_to_num(0)
        ),
        "segments are counted from the end, so that the first one is the shorter": dual_with(
            from_the_end, lambda q, k: feature(q) @ feature(k).mT
        ),
        "the first segment divides 0 by 0": dual_with(divide=lambda weight: weight.sum(-1, keepdim=True)),
        "the divisor has a smallest value, or something small is added: what is stored with less weight is lost": (
            dual_with(divide=lambda weight: weight.sum(-1, keepdim=True).clamp(min=1e-6))
        ),
        "the segments that come later are seen, and not the earlier ones": dual_with(
            lambda i, j, segment: j // segment > i // segment
        ),
        "the rows are divided by the weights of all tokens, also of those that are hidden": lambda q, k, v, segment: (
            dual_with(
                weigh=lambda q, k: F.normalize(feature(q) @ feature(k).mT, p=1, dim=-1),
                divide=lambda weight: 1,
            )(q, k, v, segment)
        ),
        "the read is divided by √d, too": lambda q, k, v, segment: (
            dual_with()(q, k, v, segment) / math.sqrt(q.shape[-1])
        ),
        "the weights are those of a softmax, exp(q · k / √d)": dual_with(
            weigh=lambda q, k: (q @ k.mT / math.sqrt(q.shape[-1])).exp()
        ),
        "the weights are a softmax of σ(q) · σ(k) over the earlier segments": dual_with(
            weigh=lambda q, k: (feature(q) @ feature(k).mT).exp()
        ),
        "σ is laid on the score, and not on query and key": dual_with(weigh=lambda q, k: feature(q @ k.mT)),
        "σ is left out": dual_with(weigh=lambda q, k: q @ k.mT),
        "`segment` is taken for the number of segments, where it is the tokens of one": lambda q, k, v, segment: (
            infini.dual_form(q, k, v, -(-q.shape[-2] // segment))
        ),
        "`segment` is taken for the number of segments, and they are rounded down": lambda q, k, v, segment: (
            infini.dual_form(q, k, v, max(1, q.shape[-2] // segment))
        ),
        "the weights are divided by the sums of the columns, over the queries": lambda q, k, v, segment: dual_with(
            weigh=lambda q, k: (
                (seen := feature(q) @ feature(k).mT * earlier(q.shape[-2], segment))
                / (total := seen.sum(-2, keepdim=True)).where(total > 0, 1)
            ),
            divide=lambda weight: 1,
        )(q, k, v, segment),
        "the first segment reads itself, where it has nothing before it": dual_with(
            lambda i, j, segment: (j // segment < i // segment) | ((i < segment) & (j < segment))
        ),
        "the delta rule has written what is read, where all of the values are asked for": lambda q, k, v, segment: (
            dual_by_memory(q, k, v, segment, write=update_delta)
        ),
        "tokens are numbered from 1, so that each segment begins a token early": dual_with(
            lambda i, j, segment: (j + 1) // segment < (i + 1) // segment
        ),
        "the keys are used as they are, without σ": dual_with(weigh=lambda q, k: feature(q) @ k.mT),
        "a shorter last segment is counted to the one before it": dual_with(
            lambda i, j, segment: (
                (j // segment).clamp(max=(last := max(j.shape[-1] // segment - 1, 0))) < (i // segment).clamp(max=last)
            )
        ),
        "every earlier token is seen but for the first segment, which reads nothing": dual_with(
            lambda i, j, segment: (j < i) & (i >= segment)
        ),
        "the last, short segment reads nothing": dual_with(
            lambda i, j, segment: (j // segment < i // segment) & (i < len(i) // segment * segment)
        ),
        "something small is added to the divisor: what is stored with less weight is lost": dual_with(
            divide=lambda weight: weight.sum(-1, keepdim=True) + 1e-6
        ),
    },
)

# update_delta ----------------------------------------------------------------------------------------------------


def delta_by_hand(k, v, memory, z):
    weight = F.elu(k) + 1
    total = weight @ z.unsqueeze(-1)
    known = weight @ memory / total.masked_fill(total == 0, 1)
    return memory + weight.mT @ (v - known), z + weight.sum(-2)


def delta_as_a_difference(k, v, memory, z):
    said, _ = update_linear(k, retrieve(k, memory, z), 0 * memory, z)
    memory, z = update_linear(k, v, memory, z)
    return memory - said, z


def delta_token_by_token(k, v, memory, z):
    for i in range(k.shape[-2]):
        memory, z = update_delta(k[..., i : i + 1, :], v[..., i : i + 1, :], memory, z)
    return memory, z


def delta_with(known=retrieve, write=update_linear):
    """A delta rule made of what is known already and of what is done with the rest."""
    return lambda k, v, memory, z: write(k, v - known(k, memory, z), memory, z)


def twice(function, k, v, memory, z):
    """The same segment written two times."""
    return pair(function, k, v, *function(k, v, memory, z))


def faint_write(normal):
    """A memory that holds one pair with a tiny weight: it says that pair's value for any key."""
    k, v = normal(1, 6) - 20, normal(1, 5)
    return normal(4, 6), normal(4, 5), feature(k).mT @ v, feature(k).sum(dim=-2)


DELTA = Exercise(
    title="write only what is new",
    section="Write only what is new",
    difficulty=2,
    minutes=8,
    reference=infini.update_delta,
    hints=(
        "Before you write v with the key k: how do you find out what the memory says for k already?",
        "retrieve(k, memory, z) reads with the keys. Write v minus that, as update_linear would; z grows as before.",
        "It is one line: update_linear of k and the difference.",
    ),
    cases=(
        Case("7 pairs into a memory that holds one", writes(of=few), pair),
        Case("an empty memory, where all is new", writes(of=empty), pair),
        Case("one pair", writes(n=1), pair),
        Case("the same pair twice", writes(n=1, of=empty), twice),
        Case("the same segment twice", writes(2, n=3, of=empty), twice),
        Case("one of two dimensions in front", writes(2, 2), pair),
        Case("one head holds nothing yet", writes(2, 3, n=4, of=partly), pair),
        Case("an empty memory, in float64", writes(of=empty), pair, dtype=torch.float64),
        Case("a memory of one pair, stored with a tiny weight", faint_write, pair),
        Case("values of 0, which are stored like others", some_without_value(writes(n=8, of=few)), pair),
        Case("what all four learn", writes(n=4), learned),
    ),
    right_answers=(delta_by_hand, delta_as_a_difference, delta_with()),
    mistakes={
        "all of v is written: that is the linear rule": update_linear,
        "what is known is added to v, where it is taken away": lambda k, v, memory, z: update_linear(
            k, v + retrieve(k, memory, z), memory, z
        ),
        "what is known is read without dividing by σ(k) · z": delta_with(lambda k, memory, z: feature(k) @ memory),
        "what is known is read from the memory after the write": lambda k, v, memory, z: update_linear(
            k, v - retrieve(k, *update_linear(k, v, memory, z)), memory, z
        ),
        "the keys read without σ": delta_with(
            lambda k, memory, z: k @ memory / (k @ z[..., None] + 1e-6 * (z[..., None, :1] == 0))
        ),
        "the sign is turned: v is taken from what is known": lambda k, v, memory, z: update_linear(
            k, retrieve(k, memory, z) - v, memory, z
        ),
        "σ is applied twice to the keys that read: retrieve applies it itself": delta_with(
            lambda k, memory, z: retrieve(feature(k), memory, z)
        ),
        "σ is applied twice to the keys that write: update_linear applies it itself": delta_with(
            write=lambda k, v, memory, z: update_linear(feature(k), v, memory, z)
        ),
        "z stays as it was": lambda k, v, memory, z: (update_delta(k, v, memory, z)[0], z),
        "z is corrected too, with gamma; the printed rule counts every write": update_gamma,
        "the tokens of a segment are written one after the other, where all see the memory as it was": (
            delta_token_by_token
        ),
        "only what is known is written, with its sign turned, and v is left out": lambda k, v, memory, z: update_linear(
            k, -retrieve(k, memory, z), memory, z
        ),
        "the difference replaces the memory, where it is added to it": lambda k, v, memory, z: (
            feature(k).mT @ (v - retrieve(k, memory, z)),
            z + feature(k).sum(-2),
        ),
        "only half of the difference is written": lambda k, v, memory, z: update_linear(
            k, (v - retrieve(k, memory, z)) / 2, memory, z
        ),
        "z takes in the segment before the memory is read, so that what is known comes back too small": (
            lambda k, v, memory, z: update_linear(k, v - retrieve(k, memory, z + feature(k).sum(-2)), memory, z)
        ),
        "an empty memory is divided by its z of 0": lambda k, v, memory, z: (
            memory + feature(k).mT @ (v - feature(k) @ memory / (feature(k) @ z[..., None])),
            z + feature(k).sum(-2),
        ),
        "z adds up the keys without σ": lambda k, v, memory, z: (update_delta(k, v, memory, z)[0], z + k.sum(-2)),
        "something small is added to the divisor: what is stored with less weight counts as new": delta_with(
            lambda k, memory, z: feature(k) @ memory / (feature(k) @ z[..., None] + 1e-6)
        ),
        "the divisor has a smallest value: what is stored with less weight counts as new": delta_with(
            lambda k, memory, z: feature(k) @ memory / (feature(k) @ z[..., None]).clamp(min=1e-6)
        ),
        "what is new is written with the keys as they are, without σ": lambda k, v, memory, z: (
            memory + k.mT @ (v - retrieve(k, memory, z)),
            z + feature(k).sum(-2),
        ),
        "all keys of a segment read with one divisor, the sum of theirs": delta_with(
            lambda k, memory, z: feature(k) @ memory / nonzero((feature(k) @ z[..., None]).sum(-2, keepdim=True))
        ),
        "memory and z are changed in place, where new ones are returned": lambda k, v, memory, z: tuple(
            old.copy_(new) for old, new in zip((memory, z), update_delta(k, v, memory, z), strict=True)
        ),
        "nothing is known only where every memory is empty, and one empty one beside others gives nan": (
            lambda k, v, memory, z: (
                memory + feature(k).mT @ (v - feature(k) @ memory / (feature(k) @ z[..., None]) if z.any() else v),
                z + feature(k).sum(-2),
            )
        ),
        "what is known is detached, though the gradient goes through the read": delta_with(
            lambda k, memory, z: retrieve(k, memory, z).detach()
        ),
    },
)

# update_gamma ----------------------------------------------------------------------------------------------------


def gamma_by_hand(k, v, memory, z):
    weight = torch.where(k > 0, k + 1, k.exp())
    with torch.no_grad():
        overlap = torch.einsum("...nk,...k->...n", weight, z) / (weight * weight).sum(-1)
        new = torch.clamp(1 - overlap, min=0, max=1)
    memory = memory + weight.mT @ (v - retrieve(k, memory, z))
    return memory, z + torch.einsum("...n,...nk->...k", new, weight)


def gamma_token_by_token(k, v, memory, z):
    written, counted = update_delta(k, v, memory, z)[0], z
    for i in range(k.shape[-2]):
        weight = feature(k[..., i, :])
        stored = ((weight * z).sum(-1, keepdim=True) / weight.pow(2).sum(-1, keepdim=True)).detach()
        counted = counted + (1 - stored.clamp(0, 1)) * weight
    return written, counted


def token_after_token(k, v, memory, z):
    for i in range(k.shape[-2]):
        z = update_gamma(k[..., i : i + 1, :], v[..., i : i + 1, :], memory, z)[1]
    return z


def gamma_with(
    stored=lambda weight, z: (weight @ z[..., None]) / weight.square().sum(-1, keepdim=True),
    new=lambda stored: (1 - stored).clamp(0, 1).detach(),
    write=lambda k, v, memory, z, new: update_delta(k, v, memory, z)[0],
    count=lambda z, weight, new: z + (new * weight).sum(-2),
):
    """A gamma rule made of the overlap, of gamma, of the write and of the count."""

    def update_gamma(k, v, memory, z):
        weight = feature(k)
        gamma = new(stored(weight, z))
        return write(k, v, memory, z, gamma), count(z, weight, gamma)

    return update_gamma


def low_keys(normal):
    """Keys far below 0, whose features are short, and a memory of one pair whose features are shorter still."""
    k, v, memory, z = writes(n=4, of=few)(normal)
    return k - 2, v, memory / 10, z / 10


GAMMA = Exercise(
    title="a z that counts only what is new",
    section="Write only what is new",
    difficulty=3,
    minutes=12,
    reference=infini.update_gamma,
    hints=(
        "The printed rule reads back v / 2 because z counts a second write that did not happen. What should z grow by "
        "for a key that is stored once already? And for one that overlaps with nothing?",
        "γ = 1 - σ(k) · z / |σ(k)|², one number for each token, cut to 0 ... 1 and detached. z grows by the sum of "
        "γ σ(k). The memory is written as in update_delta, without γ.",
        "stored = (weight @ z[..., None]) / weight.square().sum(dim=-1, keepdim=True); new = (1 - stored), clamped and "
        "detached. Take the memory from update_delta, and add (new * weight) summed over dim=-2 to z.",
    ),
    cases=(
        Case("7 pairs into a memory that holds one", writes(of=few), pair),
        Case("a memory that holds many: nothing counts any more", writes(), pair),
        Case("an empty memory, where all counts", writes(of=empty), pair),
        Case("the same pair twice", writes(n=1, of=empty), twice),
        Case("a wide memory of 2 heads", writes(2, n=5, d=7, d_value=3, of=few), pair),
        Case("keys far below 0", low_keys, pair),
        Case("keys near -20 written twice, a billion times", low(writes(n=1, of=empty), 20), a_billion_times(twice)),
        Case("values of 0, which are stored like others", some_without_value(writes(n=8, of=few)), pair),
        Case("one head holds nothing yet", writes(2, 3, n=4, of=partly), pair),
        Case("what all four learn", writes(n=4, of=few), learned),
        Case("an empty memory, in float64", writes(2, of=empty), pair, dtype=torch.float64),
    ),
    right_answers=(gamma_by_hand, gamma_token_by_token, gamma_with()),
    mistakes={
        "γ is left out: that is the printed delta rule": update_delta,
        "memory and z take all: that is the linear rule": update_linear,
        "the memory takes γ v, and not what is new": gamma_with(
            write=lambda k, v, memory, z, new: update_linear(k, new * v, memory, z)[0]
        ),
        "the overlap is divided by the sum of σ(k)": gamma_with(
            lambda weight, z: weight @ z[..., None] / weight.sum(dim=-1, keepdim=True)
        ),
        "the overlap is divided by both lengths, which makes it a cosine": gamma_with(
            lambda weight, z: F.cosine_similarity(weight, z[..., None, :], dim=-1)[..., None]
        ),
        "z is replaced, where the new sum is added to it": gamma_with(
            count=lambda z, weight, new: (new * weight).sum(-2)
        ),
        "z grows by γ alone, without σ(k)": gamma_with(count=lambda z, weight, new: z + (0 * weight + new).sum(-2)),
        "γ is laid on what is written to the memory too; only z was at fault": gamma_with(
            write=lambda k, v, memory, z, new: update_linear(k, new * (v - retrieve(k, memory, z)), memory, z)[0]
        ),
        "the memory takes all of v, and not what is new": gamma_with(
            write=lambda k, v, memory, z, new: update_linear(k, v, memory, z)[0]
        ),
        "what z gains is detached whole, where only γ is": gamma_with(
            count=lambda z, weight, new: z + (new * weight).sum(-2).detach()
        ),
        "the overlap is divided by |σ(k)|, where its square is meant": gamma_with(
            lambda weight, z: (weight @ z[..., None]) / weight.norm(dim=-1, keepdim=True)
        ),
        "the overlap is not divided by |σ(k)|²": gamma_with(lambda weight, z: weight @ z[..., None]),
        "the overlap is divided by d_key": gamma_with(lambda weight, z: weight @ z[..., None] / weight.shape[-1]),
        "γ is not cut at 0, so that z can shrink below its keys": gamma_with(
            new=lambda stored: (1 - stored).clamp(max=1).detach()
        ),
        "γ is cut to 0 or 1, and has nothing between": gamma_with(
            new=lambda stored: (stored < 1).to(stored.dtype).detach()
        ),
        "γ is the overlap itself, and not 1 minus it": gamma_with(new=lambda stored: stored.clamp(0, 1).detach()),
        "the old z is detached, and nobody learns what to count": gamma_with(
            count=lambda z, weight, new: z.detach() + (new * weight).sum(-2)
        ),
        "the gradient goes through γ": gamma_with(new=lambda stored: (1 - stored).clamp(0, 1)),
        "z stays as it was": gamma_with(count=lambda z, weight, new: z + 0 * weight.sum(-2)),
        "γ is 1 where nothing overlaps and 0 elsewhere, and has nothing between": gamma_with(
            new=lambda stored: (stored <= 0).to(stored.dtype)
        ),
        "later tokens of a segment see what earlier ones added to z, where all see it as it was": lambda *given: (
            update_delta(*given)[0],
            token_after_token(*given),
        ),
        "the overlap is divided by |z|², where it is |σ(k)|²": gamma_with(
            lambda weight, z: (weight @ z[..., None]) / z.square().sum(-1).clamp(min=1e-30)[..., None, None]
        ),
        "the overlap is divided by |k|², without σ": lambda k, v, memory, z: gamma_with(
            lambda weight, z: (weight @ z[..., None]) / k.square().sum(-1, keepdim=True)
        )(k, v, memory, z),
        "what is known is read with the new z": lambda k, v, memory, z: (
            update_delta(k, v, memory, update_gamma(k, v, memory, z)[1])[0],
            update_gamma(k, v, memory, z)[1],
        ),
        "one γ stands for the whole segment, the mean": gamma_with(
            count=lambda z, weight, new: z + new.mean(-2) * weight.sum(-2)
        ),
    },
)

# infini_floats ---------------------------------------------------------------------------------------------------


def floats_layer_by_layer(layers, heads, d_key, d_value):
    return sum(d_key * d_value + d_key for _ in range(layers) for _ in range(heads))


FLOATS = Exercise(
    title="the size of the memory",
    section="How large it is",
    difficulty=1,
    minutes=5,
    reference=infini.infini_floats,
    hints=(
        "What shapes do M and z have in one head? Does one of them grow with the text?",
        "One head: d_key · d_value numbers in M, d_key in z. Every head of every layer has its own.",
        "d_key * (d_value + 1) for a head; multiply by the heads and the layers.",
    ),
    cases=(
        Case("the paper's model: 12 layers, 8 heads, 128 and 128", lambda normal: (12, 8, 128, 128)),
        Case("2 layers, 3 heads, 32 and 32", lambda normal: (2, 3, 32, 32)),
        Case("3 layers, 5 heads, keys of 4, values of 7", lambda normal: (3, 5, 4, 7)),
        Case("one of each, keys of 8, values of 2", lambda normal: (1, 1, 8, 2)),
        Case("one layer, 3 heads, keys of 3, values of 48", lambda normal: (1, 3, 3, 48)),
        Case("3 layers, 7 heads, keys of 5, values of 192", lambda normal: (3, 7, 5, 192)),
    ),
    right_answers=(
        floats_layer_by_layer,
        lambda layers, heads, d_key, d_value: torch.empty(layers, heads, d_key, d_value + 1).numel(),
    ),
    mistakes={
        "z is forgotten, which is state too": lambda layers, heads, d_key, d_value: layers * heads * d_key * d_value,
        "there is one memory for each layer, though every head has its own": lambda layers, heads, d_key, d_value: (
            layers * d_key * (d_value + 1)
        ),
        "there is one memory for each head, though every layer has its own": lambda layers, heads, d_key, d_value: (
            heads * d_key * (d_value + 1)
        ),
        "bytes of float32 are counted, and not numbers": lambda layers, heads, d_key, d_value: (
            4 * layers * heads * d_key * (d_value + 1)
        ),
        "z is taken to be as long as a value": lambda layers, heads, d_key, d_value: (
            layers * heads * d_value * (d_key + 1)
        ),
        "z is taken to be one number": lambda layers, heads, d_key, d_value: layers * heads * (d_key * d_value + 1),
        "all heads together have one z": lambda layers, heads, d_key, d_value: (
            layers * (heads * d_key * d_value + d_key)
        ),
        "everything is counted twice, once for keys and once for values": lambda layers, heads, d_key, d_value: (
            2 * layers * heads * d_key * (d_value + 1)
        ),
        "z is counted for keys and again for values": lambda layers, heads, d_key, d_value: (
            layers * heads * (d_key * d_value + d_key + d_value)
        ),
        "M has one row and one column more": lambda layers, heads, d_key, d_value: (
            layers * heads * (d_key + 1) * (d_value + 1)
        ),
        "values are taken to be as wide as keys": lambda layers, heads, d_key, d_value: (
            layers * heads * d_key * (d_key + 1)
        ),
        "one head of one layer is counted": lambda layers, heads, d_key, d_value: d_key * (d_value + 1),
        "it is a cache of one token, d_key + d_value": lambda layers, heads, d_key, d_value: (
            layers * heads * (d_key + d_value)
        ),
        "one M is made for all heads of a layer, with their keys and values side by side": (
            lambda layers, heads, d_key, d_value: layers * heads * d_key * (heads * d_value + 1)
        ),
        "z is added once, for one head of one layer": lambda layers, heads, d_key, d_value: (
            layers * heads * d_key * d_value + d_key
        ),
        "a float is returned, where a count is an int": lambda layers, heads, d_key, d_value: float(
            layers * heads * d_key * (d_value + 1)
        ),
        "the gates are counted too, which are weights and no state": lambda layers, heads, d_key, d_value: (
            layers * heads * (d_key * (d_value + 1) + 1)
        ),
    },
)

# needle_share ----------------------------------------------------------------------------------------------------


def in_hay(d=6, n=5, tokens=100):
    return lambda normal: (normal(d), normal(d), normal(n, d), tokens)


def with_margin(margin):
    """As in the lesson: eight channels are the needle's own, and there the filler stands `margin` below 0."""

    def inputs(normal):
        own = torch.arange(64) < 8
        query = torch.where(own, 3.0, -margin)
        return query, query, torch.where(own, torch.tensor(-margin), normal(200, 64)), 1_000_000

    return inputs


def number(function, q, *rest):
    """The share as a tensor without dimensions, also where it comes as a float."""
    share = function(q, *rest)
    return q.new_tensor(share) if isinstance(share, float) else share


def share_by_reading(q, needle, filler, tokens):
    weight, hay = feature(needle[None]), feature(filler).mean(dim=0)
    return retrieve(q[None], weight.mT, weight[0] + tokens * hay)[0, 0]


def share_by_odds(q, needle, filler, tokens):
    of = lambda keys: (feature(q) * feature(keys)).sum(-1)  # noqa: E731
    return 1 / (1 + tokens * of(filler).sum() / len(filler) / of(needle))


def share_with(
    fit=lambda q, keys: feature(keys) @ feature(q),
    b=lambda each: each.mean(),
    share=lambda a, b, tokens: a / (a + tokens * b),
):
    return lambda q, needle, filler, tokens: share(fit(q, needle), b(fit(q, filler)), tokens)


SHARE = Exercise(
    title="the needle's share",
    section="How long it lasts",
    difficulty=2,
    minutes=8,
    reference=infini.needle_share,
    hints=(
        "A read is an average with the weights σ(q) · σ(key). What weight does the needle have, and what do all the "
        "other tokens have together?",
        "a = σ(q) · σ(needle); b is the mean of σ(q) · σ(key) over the keys of the filler. The share is "
        "a / (a + tokens · b).",
        "feature(filler) @ feature(q) gives one number for each key of the filler: take the mean, times tokens.",
    ),
    cases=(
        Case("5 keys of filler, 100 tokens", in_hay(), number),
        Case("one key of filler, one token", in_hay(n=1, tokens=1), number),
        Case("7 keys of filler, 3,000 tokens", in_hay(d=17, n=7, tokens=3000), number),
        Case("no filler yet", in_hay(tokens=0), number),
        Case("float64", in_hay(n=3, tokens=24), number, torch.float64),
        Case("a margin of 16, a million tokens", with_margin(16.0), number),
        Case("5 keys of filler, 12 tokens: no whole number of each", in_hay(tokens=12), number),
    ),
    right_answers=(share_by_reading, share_by_odds, lambda *given: infini.needle_share(*given).item()),
    mistakes={
        "the needle is left out of the sum that divides: a / (tokens · b)": share_with(
            share=lambda a, b, tokens: a / (tokens * b)
        ),
        "b is the sum over the keys of the filler, and not their mean": share_with(b=torch.sum),
        "the filler is summed as it is given, and the number of tokens left out": share_with(
            b=torch.sum, share=lambda a, b, tokens: a / (a + b)
        ),
        "the number of tokens is left out: a / (a + b)": share_with(share=lambda a, b, tokens: a / (a + b)),
        "it is the filler's share": share_with(share=lambda a, b, tokens: tokens * b / (a + tokens * b)),
        "it is the ratio a / b, the number of tokens at which half is left": share_with(
            share=lambda a, b, tokens: a / b
        ),
        "σ is left out": share_with(lambda q, keys: keys @ q),
        "the weights are those of a softmax": share_with(lambda q, keys: (keys @ q).exp()),
        "ELU is used without the + 1": share_with(lambda q, keys: F.elu(keys) @ F.elu(q)),
        "ELU + 1 is written out, whose small values float32 loses: `feature` keeps them": share_with(
            lambda q, keys: elu_and_one(keys) @ elu_and_one(q)
        ),
        "σ is laid on the mean key of the filler, where the mean is over the features": lambda q, needle, filler, t: (
            share_with()(q, needle, filler.mean(dim=0, keepdim=True), t)
        ),
        "b is the key of the filler that fits best": share_with(b=torch.amax),
        "b is the median over the keys of the filler, and not their mean": share_with(b=torch.median),
        "the needle is counted among the tokens of filler": share_with(
            share=lambda a, b, tokens: a / (a + (tokens - 1) * b)
        ),
        "the filler is compared with the needle, and not with the query": lambda q, needle, filler, tokens: (
            (a := feature(q) @ feature(needle)) / (a + tokens * (feature(filler) @ feature(needle)).mean())
        ),
        "a share is made for each key of the filler, and then their mean": share_with(
            b=lambda each: each, share=lambda a, b, tokens: (a / (a + tokens * b)).mean()
        ),
        "the sum that divides counts 1 for the needle, and not a": share_with(
            share=lambda a, b, tokens: a / (1 + tokens * b)
        ),
        "the filler comes in whole rounds, and the tokens of a begun round are left out": (
            lambda q, needle, filler, tokens: (
                (a := feature(q) @ feature(needle)) / (a + tokens // len(filler) * (feature(filler) @ feature(q)).sum())
            )
        ),
        "σ is laid on the products, and not on query and key": lambda q, needle, filler, tokens: (
            (a := feature(q @ needle)) / (a + tokens * feature(filler @ q).mean())
        ),
        "a and b are cosines: the features are divided by their lengths": share_with(
            lambda q, keys: F.cosine_similarity(feature(keys), feature(q), dim=-1)
        ),
        "b is the mean over all channels, too, where a key's are added up": lambda q, needle, filler, tokens: (
            (a := feature(q) @ feature(needle)) / (a + tokens * (feature(filler) * feature(q)).mean())
        ),
        "b is the mean over the needle and the filler": lambda q, needle, filler, tokens: share_with()(
            q, needle, torch.cat([needle[None], filler]), tokens
        ),
        "the share is rounded to four digits": lambda *given: infini.needle_share(*given).round(decimals=4),
        "there is one token of filler too many": share_with(share=lambda a, b, tokens: a / (a + (tokens + 1) * b)),
        "the query is used as it is, without σ": lambda q, needle, filler, tokens: (
            (a := q @ feature(needle)) / (a + tokens * (feature(filler) @ q).mean())
        ),
    },
)

# gate_range -----------------------------------------------------------------------------------------------------


def ends(function, *arguments):
    """Two Python floats, from whatever holds two numbers."""
    result = function(*arguments)
    if not (isinstance(result, tuple | list | Tensor) and len(result) == 2):
        raise Rejected("your function returned something else than two numbers, the lowest and the highest share")
    return tuple(float(end) for end in result)


def range_by_hand(steps, learning_rate):
    small = math.exp(-steps * learning_rate)
    return small / (1 + small), 1 / (1 + small)


def range_by_symmetry(steps, learning_rate):
    high = 0.5 + 0.5 * math.tanh(steps * learning_rate / 2)
    return 1 - high, high


def range_by_torch(steps, learning_rate):
    far = torch.tensor(steps * learning_rate)
    return (-far).sigmoid(), far.sigmoid()


def range_of(high):
    return lambda steps, learning_rate: (1 - high(steps * learning_rate), high(steps * learning_rate))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


GATES = Exercise(
    title="how far a gate can go",
    section="The gate, and its learning rate",
    difficulty=2,
    minutes=6,
    reference=infini.gate_range,
    hints=(
        "Adam divides a gradient by its own size. So how far does β move in one step, at most? And in all steps?",
        "β begins at 0 and ends between -steps · learning_rate and steps · learning_rate. The share is sigmoid(β).",
        "farthest = steps * learning_rate; return the sigmoid of its negative and of itself.",
    ),
    cases=(
        Case("100 steps at 3e-4", lambda normal: (100, 3e-4), ends),
        Case("900 steps at 3e-2", lambda normal: (900, 3e-2), ends),
        Case("400 steps at 1e-2", lambda normal: (400, 1e-2), ends),
        Case("2 steps at 0.5", lambda normal: (2, 0.5), ends),
        Case("a million steps at 1e-3", lambda normal: (1_000_000, 1e-3), ends),
    ),
    right_answers=(range_by_hand, range_by_symmetry, range_by_torch),
    mistakes={
        "β itself is given, and not the share sigmoid(β)": lambda steps, rate: (-steps * rate, steps * rate),
        "the movement is added to the share, as if the sigmoid were a straight line of slope 1": range_of(
            lambda far: 0.5 + far
        ),
        "the sigmoid is replaced by its slope at 0, 1/4, though far out it bends": range_of(lambda far: 0.5 + far / 4),
        "the movement is ten times too small, as in a report that had [0.4992, 0.5008]": range_of(
            lambda far: sigmoid(far / 9.375)
        ),
        "the gate can go anywhere from 0 to 1, whatever the steps": lambda steps, rate: (0.0, 1.0),
        "the learning rate is left out, as if a step moved by 1": lambda steps, rate: (sigmoid(-steps), sigmoid(steps)),
        "tanh stands for the sigmoid": lambda steps, rate: (math.tanh(-steps * rate), math.tanh(steps * rate)),
        "the movement is added to the share and cut at 0 and 1, where the sigmoid bends": lambda steps, rate: (
            max(0.0, 0.5 - steps * rate),
            min(1.0, 0.5 + steps * rate),
        ),
        "the movement is halved": range_of(lambda far: sigmoid(far / 2)),
        "the sigmoid is replaced by its slope at 0, 1/4, and cut at 0 and 1": lambda steps, rate: (
            max(0.0, 0.5 - steps * rate / 4),
            min(1.0, 0.5 + steps * rate / 4),
        ),
        "e^β is taken as a Python float, which overflows beyond a β of 709": lambda steps, rate: (
            1 / (1 + math.exp(steps * rate)),
            1 / (1 + math.exp(-steps * rate)),
        ),
        "the shares are rounded to two digits": lambda steps, rate: tuple(
            round(end, 2) for end in infini.gate_range(steps, rate)
        ),
        "the shares are rounded to three digits": lambda steps, rate: tuple(
            round(end, 3) for end in infini.gate_range(steps, rate)
        ),
        "β begins at 1/2, where it is the share that does": lambda steps, rate: (
            sigmoid(0.5 - steps * rate),
            sigmoid(0.5 + steps * rate),
        ),
        "one step is counted, and not all of them": lambda steps, rate: (sigmoid(-rate), sigmoid(rate)),
        "the steps are taken to be a random walk, √steps long": lambda steps, rate: (
            sigmoid(-math.sqrt(steps) * rate),
            sigmoid(math.sqrt(steps) * rate),
        ),
        "only upwards is counted: the gate begins at 1/2 and cannot fall": lambda steps, rate: (
            0.5,
            sigmoid(steps * rate),
        ),
        "the highest share comes first": lambda steps, rate: (sigmoid(steps * rate), sigmoid(-steps * rate)),
        "the first step is not counted": lambda steps, learning_rate: (
            infini.gate_range(steps - 1, learning_rate) if steps > 1 else (0.5, 0.5)
        ),
        "the movement is doubled: tanh(x) is 2 sigmoid(2 x) - 1": lambda steps, learning_rate: infini.gate_range(
            2 * steps, learning_rate
        ),
    },
)

EXERCISES = (RETRIEVE, LINEAR, GATE, STEP, DUAL, DELTA, GAMMA, FLOATS, SHARE, GATES)
