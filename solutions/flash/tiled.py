"""Attention on the tile machine, forward and backward: exact, without the score matrix ever being in HBM."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from solutions.accepts import queries_are_last
from solutions.flash.machine import TileMachine
from solutions.flash.visited import key_range, query_range
from solutions.shapes import counts, shapes

# Attention on it ---------------------------------------------------------------------------------------------------


def machine_fits(machine: TileMachine, q: Tensor, k: Tensor, causal: bool = False, **_) -> None:
    """Raise ValueError unless there is a machine and the queries can be the last tokens."""
    if not all(hasattr(machine, name) for name in ("hbm", "load", "hold", "store")):  # a notebook may bring its own
        raise ValueError(f"machine is of type {type(machine).__name__}; give a TileMachine(capacity).")
    queries_are_last(q, k, causal)


def on_machine(**specs: str):
    """Decorate an attention on a tile machine with the shapes of its tensors and its whole block sizes."""

    def decorate(function):
        return counts("block_m", "block_n")(shapes(**specs, check=machine_fits)(function))

    return decorate


@on_machine(q="queries d", k="keys d", v="keys d")
def attend_in_tiles(
    machine: TileMachine, q: Tensor, k: Tensor, v: Tensor, *, block_m: int, block_n: int
) -> tuple[Tensor, Tensor]:
    """Attention in tiles: each program keeps block_m queries and their output in SRAM, and streams the keys past them.

    q: (queries, d); k, v: (keys, d); block_m, block_n: queries and keys of a tile, of which the last may be smaller
    Returns (out, lse), (queries, d) in q's dtype and (queries,) in float32 at least. (Dao, 2023, algorithm 1.) What is
    held is float32 at least; weights may be rounded to v's dtype where they meet the values.
    """
    queries, keys, wide = len(q), len(k), torch.promote_types(q.dtype, torch.float32)  # sums stay in float32
    q, k, v = machine.hbm("q", q), machine.hbm("k", k), machine.hbm("v", v)
    out, lse = machine.empty("out", q.shape, q.dtype), machine.empty("lse", (queries,), wide)
    for index, first in enumerate(range(0, queries, block_m)):
        with machine.program(index):
            rows = slice(first, first + block_m)
            q_tile = machine.load("q", q, rows)  # new: from HBM
            acc = machine.hold("acc", torch.zeros_like(q_tile, dtype=wide))  # new: the output so far
            row_max = machine.hold("m", acc.new_full((len(acc),), -math.inf))  # new: the maximum so far
            row_sum = machine.hold("l", acc.new_zeros(len(acc)))  # new: the sum so far
            for start in range(0, keys, block_n):
                columns = slice(start, start + block_n)
                k_tile = machine.load("k", k, columns)  # new: from HBM
                scores = machine.hold("scores", machine.dot(q_tile, k_tile.T) / math.sqrt(q.shape[-1]))  # new: held
                new_max = torch.maximum(row_max, scores.amax(dim=1))
                alpha = torch.exp(row_max - new_max)
                weights = machine.hold("scores", torch.exp(scores - new_max[:, None]))  # new: held in their place
                row_max = machine.hold("m", new_max)
                row_sum = machine.hold("l", alpha * row_sum + weights.sum(dim=1))  # new: in the new unit
                v_tile = machine.load("v", v, columns)  # new: from HBM
                acc = machine.hold("acc", alpha[:, None] * acc + machine.dot(weights, v_tile))  # new: in the new unit
            machine.store(out, rows, acc / row_sum[:, None])  # new: store the output
            machine.store(lse, rows, row_max + torch.log(row_sum))  # new: store the log-sum-exp
    return out, lse


@on_machine(q="queries d", k="keys d", v="keys d")
def tiled_attention(
    machine: TileMachine, q: Tensor, k: Tensor, v: Tensor, *, block_m: int, block_n: int, causal: bool = False
) -> tuple[Tensor, Tensor]:
    """Flash attention: `attend_in_tiles`, which can also be causal, and in which K leaves before V arrives.

    q: (queries, d); k, v: (keys, d); block_m, block_n: queries and keys of a tile
    causal: query i sees the keys up to i + keys - queries, of no fewer keys than queries; what no query of a program
    sees is not loaded
    Returns (out, lse), (queries, d) in q's dtype and (queries,) in float32 at least. (Dao, 2023, algorithm 1.)
    Raises SRAMOverflow when `peak_tile_bytes` does not fit.
    """
    queries, keys, wide = len(q), len(k), torch.promote_types(q.dtype, torch.float32)  # sums stay in float32
    q, k, v = machine.hbm("q", q), machine.hbm("k", k), machine.hbm("v", v)
    out, lse = machine.empty("out", q.shape, q.dtype), machine.empty("lse", (queries,), wide)
    for index, first in enumerate(range(0, queries, block_m)):
        with machine.program(index):
            rows = slice(first, first + block_m)
            q_tile = machine.load("q", q, rows)
            acc = machine.hold("acc", torch.zeros_like(q_tile, dtype=wide))
            row_max = machine.hold("m", acc.new_full((len(acc),), -math.inf))
            row_sum = machine.hold("l", acc.new_zeros(len(acc)))
            position = torch.arange(first, first + len(acc)) + keys - queries  # new: of each query among the keys
            end = min(keys, first + block_m + keys - queries) if causal else keys  # new: behind the last key seen
            for start in range(0, end, block_n):
                columns = slice(start, start + block_n)
                k_tile = machine.load("k", k, columns)
                scores = machine.hold("scores", machine.dot(q_tile, k_tile.T) / math.sqrt(q.shape[-1]))
                machine.drop("k")  # new: make room for the values
                if causal:
                    ahead = torch.arange(start, start + scores.shape[1]) > position[:, None]  # new: later keys
                    scores = machine.hold("scores", scores.masked_fill(ahead, -math.inf))  # new: hidden there
                new_max = torch.maximum(row_max, scores.amax(dim=1))
                alpha = torch.exp(row_max - new_max)
                weights = machine.hold("scores", torch.exp(scores - new_max[:, None]))
                row_max = machine.hold("m", new_max)
                row_sum = machine.hold("l", alpha * row_sum + weights.sum(dim=1))
                v_tile = machine.load("v", v, columns)
                acc = machine.hold("acc", alpha[:, None] * acc + machine.dot(weights, v_tile))
                machine.drop("v")  # new: make room for the next keys
            machine.store(out, rows, acc / row_sum[:, None])
            machine.store(lse, rows, row_max + torch.log(row_sum))
    return out, lse


@on_machine(q="queries d", k="keys d", v="keys d")
def flash1_attention(
    machine: TileMachine, q: Tensor, k: Tensor, v: Tensor, *, block_m: int, block_n: int, causal: bool = False
) -> tuple[Tensor, Tensor]:
    """The loops the other way round: keys outside, so that the output and its statistics travel on every pass.

    Arguments and result as in `tiled_attention`. (Dao et al., 2022, algorithm 1.) The zeros and -inf it begins with are
    taken as being in HBM. The output is rounded to q's dtype on every pass, as its bytes are counted there.
    """
    queries, keys, head_dim = len(q), len(k), q.shape[-1]
    wide = torch.promote_types(q.dtype, torch.float32)
    q, k, v = machine.hbm("q", q), machine.hbm("k", k), machine.hbm("v", v)
    out = machine.hbm("out", torch.zeros_like(q))
    row_max = machine.hbm("m", q.new_full((queries,), -math.inf, dtype=wide))
    row_sum = machine.hbm("l", q.new_zeros(queries, dtype=wide))
    with machine.program(0):
        for start in range(0, keys, block_n):
            columns = slice(start, start + block_n)
            k_tile, v_tile = machine.load("k", k, columns), machine.load("v", v, columns)
            lo, hi = query_range(start, block_m, block_n, queries, keys, causal)
            for first in range(lo, hi, block_m):
                rows = slice(first, first + block_m)
                q_tile, out_tile = machine.load("q", q, rows), machine.load("out", out, rows)
                old_max, old_sum = machine.load("m", row_max, rows), machine.load("l", row_sum, rows)
                scores = machine.hold("scores", machine.dot(q_tile, k_tile.T) / math.sqrt(head_dim))
                if causal:
                    scores = scores.masked_fill(hidden(first, start, scores.shape, queries, keys), -math.inf)
                    scores = machine.hold("scores", scores)
                new_max = torch.maximum(old_max, scores.amax(dim=1))
                weights = machine.hold("scores", torch.exp(scores - new_max[:, None]))
                old_share = torch.exp(old_max - new_max) * old_sum
                new_sum = old_share + weights.sum(dim=1)
                acc = old_share[:, None] * out_tile + machine.dot(weights, v_tile)
                machine.store(out, rows, machine.hold("out", acc / new_sum[:, None]))
                machine.store(row_max, rows, machine.hold("m", new_max))
                machine.store(row_sum, rows, machine.hold("l", new_sum))
    return out, row_max + torch.log(row_sum)


@on_machine(q="queries d", k="keys d", v="keys d")
def standard_attention(
    machine: TileMachine, q: Tensor, k: Tensor, v: Tensor, *, block_m: int, block_n: int, causal: bool = False
) -> Tensor:
    """Attention as three kernels, with the scores and the weights whole in HBM between them.

    Arguments as in `tiled_attention`; the first and last kernel work in tiles, the softmax on a row at a time.
    Returns out, (queries, d). With causal, nothing is skipped: all scores are made and masked.
    """
    q, k, v = machine.hbm("q", q), machine.hbm("k", k), machine.hbm("v", v)
    scores = machine.empty("scores", (len(q), len(k)), q.dtype)
    weights = machine.empty("weights", scores.shape, q.dtype)
    out = machine.empty("out", q.shape, q.dtype)
    make_scores(machine, q, k, scores, block_m, block_n, causal)
    softmax_rows(machine, scores, weights)
    weigh_values(machine, weights, v, out, block_m, block_n)
    return out


def make_scores(
    machine: TileMachine, q: Tensor, k: Tensor, scores: Tensor, block_m: int, block_n: int, causal: bool
) -> None:
    """First kernel of `standard_attention`: one program for each tile of the scores."""
    queries, keys = scores.shape
    tiles = [(first, start) for first in range(0, queries, block_m) for start in range(0, keys, block_n)]
    for index, (first, start) in enumerate(tiles):
        with machine.program(index):
            rows, columns = slice(first, first + block_m), slice(start, start + block_n)
            q_tile, k_tile = machine.load("q", q, rows), machine.load("k", k, columns)
            tile = machine.hold("scores", machine.dot(q_tile, k_tile.T) / math.sqrt(q.shape[-1]))
            if causal:
                tile = tile.masked_fill(hidden(first, start, tile.shape, queries, keys), -math.inf)
                tile = machine.hold("scores", tile)
            machine.store(scores, rows, tile, columns)


def softmax_rows(machine: TileMachine, scores: Tensor, weights: Tensor) -> None:
    """Second kernel of `standard_attention`: one program for each row."""
    wide = torch.promote_types(scores.dtype, torch.float32)
    for index in range(len(scores)):
        with machine.program(index):
            row = machine.load("row", scores, slice(index, index + 1))
            row = machine.hold("row", torch.softmax(row.to(wide), dim=-1))
            machine.store(weights, slice(index, index + 1), row)


def weigh_values(machine: TileMachine, weights: Tensor, v: Tensor, out: Tensor, block_m: int, block_n: int) -> None:
    """Third kernel of `standard_attention`: one program for each block of queries."""
    queries, keys = weights.shape
    for index, first in enumerate(range(0, queries, block_m)):
        with machine.program(index):
            rows = slice(first, first + block_m)
            acc = machine.hold("acc", torch.zeros_like(out[rows], dtype=torch.promote_types(v.dtype, torch.float32)))
            for start in range(0, keys, block_n):
                columns = slice(start, start + block_n)
                tile, v_tile = machine.load("weights", weights, rows, columns), machine.load("v", v, columns)
                acc = machine.hold("acc", acc + machine.dot(tile, v_tile))
            machine.store(out, rows, acc)


def hidden(first: int, start: int, shape: Sequence[int], queries: int, keys: int) -> Tensor:
    """Which entries of a tile of that shape, from query `first` and key `start` on, are keys after their query."""
    query_position = torch.arange(first, first + shape[0]) + keys - queries
    return torch.arange(start, start + shape[1]) > query_position[:, None]


# Backward, with the weights made again -----------------------------------------------------------------------------


@shapes(weights="... keys", grad_weights="... keys")
def softmax_backward(weights: Tensor, grad_weights: Tensor) -> Tensor:
    """The gradient of a loss by the scores of a softmax, from its gradient by the weights, row by row.

    weights, grad_weights: (..., keys); the weights are what the softmax gave, all 0 in an empty row
    Returns (..., keys), each row of which adds to 0. Of half precision all is computed in float32 and rounded once.
    """
    wide, dtype = torch.promote_types(weights.dtype, torch.float32), weights.dtype
    weights, grad_weights = weights.to(wide), grad_weights.to(wide)
    delta = (weights * grad_weights).sum(dim=-1, keepdim=True)
    return (weights * (grad_weights - delta)).to(dtype)


@shapes(
    q="rows d", k="columns d", v="columns d", grad_out="rows d", lse="rows", delta="rows", any_dtype=("lse", "delta")
)
def backward_tile(
    q: Tensor, k: Tensor, v: Tensor, grad_out: Tensor, lse: Tensor, delta: Tensor, visible: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """What one tile of scores adds to the gradients (Dao et al., 2022, algorithm 4, lines 11 to 22).

    q, grad_out: (rows, d); k, v: (columns, d); visible: boolean (rows, columns), None for all
    lse: (rows,), finite, of each query over all its keys; delta: (rows,), the row sums of out · grad_out
    Returns (grad_q, grad_k, grad_v), (rows, d) and twice (columns, d). Summed over all tiles they are the gradients, so
    they, lse, delta and all between, the weights too, are float32 also of half precision.
    """
    q, k, v, grad_out = (each.to(torch.promote_types(each.dtype, torch.float32)) for each in (q, k, v, grad_out))
    scale = 1 / math.sqrt(q.shape[-1])
    scores = q @ k.T * scale
    if visible is not None:
        scores = scores.masked_fill(~visible, -math.inf)
    weights = torch.exp(scores - lse[:, None])  # the forward's, made again from one number a row
    grad_weights = grad_out @ v.T
    grad_scores = weights * (grad_weights - delta[:, None]) * scale
    return grad_scores @ k, grad_scores.T @ q, weights.T @ grad_out


def backward_fits(lse: Tensor, q: Tensor, **given) -> None:
    """Raise ValueError unless lse has one number for each query."""
    machine_fits(q=q, **given)
    if not isinstance(lse, Tensor) or lse.shape != q.shape[:1]:
        shape = tuple(lse.shape) if isinstance(lse, Tensor) else type(lse).__name__
        raise ValueError(f"lse is {shape}; give ({len(q)},), the log-sum-exp that the forward returned.")


@counts("block_m", "block_n")
@shapes(q="queries d", k="keys d", v="keys d", out="queries d", grad_out="queries d", check=backward_fits)
def tiled_backward(
    machine: TileMachine,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    grad_out: Tensor,
    *,
    block_m: int,
    block_n: int,
    causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `tiled_attention` by recomputation, in three kernels: delta, keys and values, queries.

    q, out, grad_out: (queries, d); k, v: (keys, d); lse: (queries,), natural, from the forward
    Returns (grad_q, grad_k, grad_v) in q's dtype. Nothing of queries x keys is ever stored.
    """
    tensors = {"q": q, "k": k, "v": v, "out": out, "lse": lse, "grad_out": grad_out}
    tensors = {name: machine.hbm(name, tensor) for name, tensor in tensors.items()}
    tensors["delta"] = machine.empty("delta", lse.shape, torch.promote_types(lse.dtype, torch.float32))
    for name in ("q", "k", "v"):
        tensors["grad_" + name] = machine.empty("grad_" + name, tensors[name].shape, q.dtype)
    row_deltas(machine, tensors, block_m)
    key_value_gradients(machine, tensors, block_m, block_n, causal)
    query_gradients(machine, tensors, block_m, block_n, causal)
    return tensors["grad_q"], tensors["grad_k"], tensors["grad_v"]


def row_deltas(machine: TileMachine, hbm: dict[str, Tensor], block_m: int) -> None:
    """delta, the row sums of out · grad_out: all that the softmax's gradient needs to know of the other keys."""
    wide = hbm["delta"].dtype
    for index, first in enumerate(range(0, len(hbm["q"]), block_m)):
        with machine.program(index):
            rows = slice(first, first + block_m)
            out, grad_out = machine.load("out", hbm["out"], rows), machine.load("grad_out", hbm["grad_out"], rows)
            machine.store(hbm["delta"], rows, (out.to(wide) * grad_out.to(wide)).sum(dim=1))


def remake(machine: TileMachine, tiles: dict[str, Tensor], future: Tensor | None) -> tuple[Tensor, Tensor]:
    """The weights of a tile and the gradient of its scores, both held."""
    scale = 1 / math.sqrt(tiles["q"].shape[-1])
    scores = machine.hold("weights", machine.dot(tiles["q"], tiles["k"].T) * scale)
    if future is not None:
        scores = machine.hold("weights", scores.masked_fill(future, -math.inf))
    weights = machine.hold("weights", torch.exp(scores - tiles["lse"][:, None]))
    grad_weights = machine.hold("grad_scores", machine.dot(tiles["grad_out"], tiles["v"].T))
    grad_scores = machine.hold("grad_scores", weights * (grad_weights - tiles["delta"][:, None]) * scale)
    return weights, grad_scores


def key_value_gradients(machine: TileMachine, hbm: dict[str, Tensor], block_m: int, block_n: int, causal: bool) -> None:
    """grad_k and grad_v: one program for each block of keys, which streams the queries that see it."""
    queries, keys = len(hbm["q"]), len(hbm["k"])
    for index, start in enumerate(range(0, keys, block_n)):
        with machine.program(index):
            columns = slice(start, start + block_n)
            tiles = {name: machine.load(name, hbm[name], columns) for name in ("k", "v")}
            grad_k = machine.hold("grad_k", torch.zeros_like(tiles["k"], dtype=hbm["delta"].dtype))
            grad_v = machine.hold("grad_v", torch.zeros_like(grad_k))
            lo, hi = query_range(start, block_m, block_n, queries, keys, causal)
            for first in range(lo, hi, block_m):
                rows = slice(first, first + block_m)
                tiles |= {name: machine.load(name, hbm[name], rows) for name in ("q", "grad_out", "lse", "delta")}
                future = hidden(first, start, (len(tiles["q"]), len(tiles["k"])), queries, keys) if causal else None
                weights, grad_scores = remake(machine, tiles, future)
                grad_v = machine.hold("grad_v", grad_v + machine.dot(weights.T, tiles["grad_out"]))
                grad_k = machine.hold("grad_k", grad_k + machine.dot(grad_scores.T, tiles["q"]))
            machine.store(hbm["grad_k"], columns, grad_k)
            machine.store(hbm["grad_v"], columns, grad_v)


def query_gradients(machine: TileMachine, hbm: dict[str, Tensor], block_m: int, block_n: int, causal: bool) -> None:
    """grad_q: one program for each block of queries, which streams the keys that it sees."""
    queries, keys = len(hbm["q"]), len(hbm["k"])
    for index, first in enumerate(range(0, queries, block_m)):
        with machine.program(index):
            rows = slice(first, first + block_m)
            tiles = {name: machine.load(name, hbm[name], rows) for name in ("q", "grad_out", "lse", "delta")}
            grad_q = machine.hold("grad_q", torch.zeros_like(tiles["q"], dtype=hbm["delta"].dtype))
            lo, hi = key_range(first, block_m, block_n, queries, keys, causal)
            for start in range(lo, hi, block_n):
                columns = slice(start, start + block_n)
                tiles |= {name: machine.load(name, hbm[name], columns) for name in ("k", "v")}
                future = hidden(first, start, (len(tiles["q"]), len(tiles["k"])), queries, keys) if causal else None
                _, grad_scores = remake(machine, tiles, future)
                grad_q = machine.hold("grad_q", grad_q + machine.dot(grad_scores, tiles["k"]))
            machine.store(hbm["grad_q"], rows, grad_q)
