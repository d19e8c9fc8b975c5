"""Ring attention: a sequence too long for one device, cut over several, and the result as if it had not been cut.

Every rank holds the queries, keys and values of its own rows. Keys and values go round: in step s a rank works on those
of the rank s places before it, while it already passes them on to the next. What it finds in each block is joined by
`flash.merge`, as the parts of a split softmax are (Liu et al., arXiv 2310.01889). The backward pass sends keys and
values round once more, and behind them the sums of their gradients, which come home in the last step.

A block of the ring is what one rank holds: k and v, (batch, kv_heads, rows, d) each. Over all ranks, `ring_bytes`:

    forward    (ranks - 1) · 2 · batch · kv_heads · n · d · element_bytes        backward    that, and the gradients

Outputs, log-sum-exps and gradients are carried in float32 or better and rounded once, at the end: so gradients of half
precision travel in 4 bytes a number, twice as many as keys and values; else the backward pass sends twice the forward.

With a causal mask, contiguous rows load the last rank most. `zigzag_rows` gives each rank an early and a late piece.
"""

import math
import os
import pickle
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from multiprocessing import connection, parent_process
from pathlib import Path
from signal import Signals
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import Tensor
from torch.autograd.function import once_differentiable

from solutions.flash import backward_tile, merge
from solutions.quadratic import log_sum_exp, softmax
from solutions.shapes import counts, shapes

# Who holds which rows --------------------------------------------------------------------------------------------


def a_row_for_each(n: int, ranks: int, **_) -> None:
    """Raise ValueError when there are more ranks than rows."""
    if ranks > n:
        raise ValueError(f"there are {n} rows for {ranks} ranks; give at least one row for each.")


@counts("n", "ranks")
@shapes(check=a_row_for_each)
def contiguous_rows(n: int, ranks: int) -> list[Tensor]:
    """The rows of each rank, one piece after the other; lengths differ by one at most, the first ones are longer."""
    return list(torch.arange(n).tensor_split(ranks))


@counts("n", "ranks")
@shapes(check=a_row_for_each)
def zigzag_rows(n: int, ranks: int) -> list[Tensor]:
    """The rows of each rank, so that all have equal work under a causal mask (Llama 3, arXiv 2407.21783, 3.3.2).

    The rows are cut into 2 · ranks pieces, whose lengths differ by one at most, whichever are longer, and rank i holds
    piece i and piece 2 · ranks - 1 - i.
    Returns one tensor of rows for each rank, ascending.
    """
    pieces = torch.arange(n).tensor_split(2 * ranks)
    return [torch.cat((pieces[rank], pieces[-1 - rank])) for rank in range(ranks)]


def causal_pairs(rows: Tensor) -> int:
    """(query, key) pairs that these rows have to score under a causal mask: row i looks at i + 1 keys."""
    return int((rows + 1).sum())


def imbalance(rows: Sequence[Tensor]) -> float:
    """Causal pairs of the rank with the most, over the mean of all ranks: by how much the slowest holds up the rest."""
    pairs = [causal_pairs(of_rank) for of_rank in rows]
    return max(pairs) * len(pairs) / sum(pairs)


@counts("kv_heads", "head_dim", "batch", "element_bytes")
def ring_bytes(
    lengths: Sequence[int], kv_heads: int, head_dim: int, *, batch: int = 1, element_bytes: int = 2
) -> dict[str, list[int]]:
    """Bytes that each rank of a ring sends, by phase; in the sum, (ranks - 1) times all blocks forward, and backward
    those again and their gradients.

    lengths: rows of each rank; element_bytes: of k and v; a gradient has 4 at least
    In a forward pass a rank passes on every block but that of the next rank, where the block's way ends. In a backward
    pass it does so again, and sends the gradients of every block but its own.
    Raises ValueError for a length that is no count.
    """
    for length in lengths:
        if not isinstance(length, int) or length < 1:
            raise ValueError(f"a length is {length!r}; give a whole number of 1 or more for each rank.")
    numbers = [2 * batch * kv_heads * head_dim * length for length in lengths]
    total, ranks = sum(numbers), len(numbers)
    forward = [element_bytes * (total - numbers[(rank + 1) % ranks]) for rank in range(ranks)]
    gradients = [max(element_bytes, 4) * (total - of_rank) for of_rank in numbers]
    return {"forward": forward, "backward": [sum(sent) for sent in zip(forward, gradients, strict=True)]}


# The ring --------------------------------------------------------------------------------------------------------

SENT: Counter[str] = Counter()
"""Bytes that this process sent round rings, "forward" and "backward". `SENT.clear()` starts again."""

BLOCK, GRADIENT = 0, 1  # tags, so that a gradient that comes early is not taken for a block


@dataclass(frozen=True)
class Ring:
    """One rank's place in a ring, and what every rank holds.

    rows: the positions of each rank's rows; group: the process group, None for all processes
    """

    rank: int
    rows: list[Tensor]
    group: dist.ProcessGroup | None = None

    @property
    def ranks(self) -> int:
        return len(self.rows)

    def send(self, tensor: Tensor, phase: str, tag: int) -> dist.Work:
        """Begin to send a tensor to the next rank, and count its bytes."""
        SENT[phase] += tensor.nbytes
        return dist.isend(tensor, group=self.group, group_dst=(self.rank + 1) % self.ranks, tag=tag)

    def receive(self, like: Tensor, rows: int, tag: int) -> tuple[Tensor, dist.Work]:
        """Begin to receive from the rank before a tensor like this one, but with so many rows."""
        tensor = like.new_empty(*like.shape[:-2], rows, like.shape[-1])
        return tensor, dist.irecv(tensor, group=self.group, group_src=(self.rank - 1) % self.ranks, tag=tag)

    def blocks(self, kv: Tensor, phase: str) -> Iterator[tuple[int, Tensor]]:
        """Yield (owner, its keys and values): first one's own, then those of the ranks before, as they come round.

        The next block is on its way while the caller works on this one.
        """
        for step in range(self.ranks):
            owner = (self.rank - step) % self.ranks
            if step == self.ranks - 1:
                yield owner, kv
                return
            sending = self.send(kv, phase, BLOCK)
            coming, receiving = self.receive(kv, len(self.rows[owner - 1]), BLOCK)
            yield owner, kv
            sending.wait()
            receiving.wait()
            kv = coming

    def pieces(self, owner: int, causal: bool) -> Iterator[tuple[slice, slice, Tensor | None]]:
        """Yield which of one's own rows meet which keys of a block, and the mask where not all may look.

        Rows are taken in runs without a gap, so that a pair of runs that lies in the future is not computed at all.
        """
        rows, keys = self.rows[self.rank], self.rows[owner]
        for queries_run in runs(rows):
            for keys_run in runs(keys):
                visible = keys[keys_run] <= rows[queries_run, None]
                if not causal or visible.all():
                    yield queries_run, keys_run, None
                elif visible.any():
                    yield queries_run, keys_run, visible


def runs(rows: Tensor) -> list[slice]:
    """The pieces of ascending rows that have no gap."""
    gaps = (rows.diff() != 1).nonzero().flatten() + 1
    return [slice(start, stop) for start, stop in pairwise((0, *gaps.tolist(), len(rows)))]


class RingAttention(torch.autograd.Function):
    """Forward and backward of one rank; both are passes of all ranks together.

    The forward pass merges in float64, since the roundings of many ranks would add up; Apple's MPS has none.
    """

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, ring: Ring, causal: bool) -> Tensor:
        group = q.shape[1] // k.shape[1]
        wide = torch.promote_types(q.dtype, torch.float32)
        out = torch.zeros_like(q, dtype=torch.float64)
        lse = torch.full_like(q[..., 0], -math.inf, dtype=torch.float64)
        for owner, block in ring.blocks(torch.stack((k, v)), "forward"):
            keys, values = block.repeat_interleave(group, dim=2).to(wide)
            for rows, columns, visible in ring.pieces(owner, causal):
                scores = q[..., rows, :].to(wide) @ keys[..., columns, :].mT / math.sqrt(q.shape[-1])
                if visible is not None:
                    scores = scores.masked_fill(~visible, -math.inf)
                part = softmax(scores) @ values[..., columns, :]
                out[..., rows, :], lse[..., rows] = merge(out[..., rows, :], lse[..., rows], part, log_sum_exp(scores))
        out = out.to(q.dtype)
        ctx.save_for_backward(q, k, v, out, lse.to(wide))
        ctx.ring, ctx.causal = ring, causal
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_out: Tensor):
        q, k, v, out, lse = ctx.saved_tensors
        ring, group = ctx.ring, q.shape[1] // k.shape[1]
        delta = (out.to(lse.dtype) * grad_out.to(lse.dtype)).sum(dim=-1)
        home: Tensor
        grad_q, leaving = torch.zeros_like(q, dtype=lse.dtype), None
        for step, (owner, block) in enumerate(ring.blocks(torch.stack((k, v)), "backward")):
            grad_block = torch.zeros_like(block, dtype=lse.dtype)
            for rows, columns, visible in ring.pieces(owner, ctx.causal):
                for sequence, head in torch.cartesian_prod(*map(torch.arange, q.shape[:2])).tolist():
                    one, shared = (sequence, head, rows), (sequence, head // group, columns)
                    grads = backward_tile(
                        q[one], *block[:, *shared], grad_out[one], lse[one], delta[one], visible
                    )  # flash attention's tile, as one device uses it
                    grad_q[one] += grads[0]
                    grad_block[:, *shared] += torch.stack(grads[1:])
            if step == 0:
                home = grad_block  # waits here for what the other ranks find
                continue
            if step > 1:
                coming, receiving = ring.receive(grad_block, block.shape[-2], GRADIENT)
                receiving.wait()
                grad_block += coming
            if leaving:
                leaving[0].wait()
            leaving = ring.send(grad_block, "backward", GRADIENT), grad_block  # kept until it has left
        if ring.ranks > 1:
            coming, receiving = ring.receive(home, home.shape[-2], GRADIENT)
            receiving.wait()
            home = home + coming
        if leaving:
            leaving[0].wait()
        return grad_q.to(q.dtype), *home.to(k.dtype), None, None


def heads_divide(q: Tensor, k: Tensor, rows: Tensor | None, **_) -> None:
    """Raise ValueError unless query heads form equal groups, and rows, if given, ascend, one for each query."""
    if q.shape[1] % k.shape[1]:
        raise ValueError(f"q has {q.shape[1]} heads and k has {k.shape[1]}; give kv heads that divide the heads.")
    if rows is None:
        return
    if not isinstance(rows, Tensor) or rows.shape != (q.shape[2],) or bool((rows.diff() < 1).any()):
        raise ValueError(f"rows is {rows} for {q.shape[2]} queries; give a tensor of their positions, ascending.")


@shapes(q="batch heads n d", k="batch kv_heads n d", v="batch kv_heads n d", check=heads_divide)
def ring_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = False,
    rows: Tensor | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Attention of this rank's queries to the keys of all ranks; every rank of the group must call it.

    q: (batch, heads, n, d); k, v: (batch, kv_heads, n, d): the rows that this rank holds, n may differ between ranks
    rows: (n,) their positions in the whole sequence, ascending, for example `zigzag_rows(...)[rank]`; None where each
    rank's rows follow those of the rank before
    Returns (batch, heads, n, d), the same rows of attention over the whole, and differentiable. Then every rank must
    also call backward. Adds what it sends to SENT; the rows are told once more beside it, 8 bytes a row.
    Raises ValueError, on all ranks alike, where they do not hold parts of one sequence.
    """
    if not dist.is_initialized():
        raise ValueError("there is no process group; call this in a function that run(ranks, function) starts.")
    ranks = dist.get_world_size(group)
    held: list[Any] = [None] * ranks
    like = (q.shape[0], q.shape[1], k.shape[1], q.shape[3], str(q.dtype), rows is None)
    dist.all_gather_object(held, (like, q.shape[2] if rows is None else rows.tolist()), group=group)
    for rank, (other, _) in enumerate(held):
        if other != held[0][0]:
            names = "batch, heads, kv_heads, d, dtype, without rows"
            raise ValueError(f"rank {rank} holds ({names}) = {other}, but rank 0 holds {held[0][0]}; make them equal.")
    if rows is None:
        parts = torch.arange(sum(length for _, length in held)).split([length for _, length in held])
    else:
        parts = [torch.tensor(of_rank) for _, of_rank in held]
        if torch.cat(parts).sort().values.tolist() != list(range(sum(map(len, parts)))):
            raise ValueError("the rows of all ranks are not each row once; cut them with zigzag_rows.")
    return RingAttention.apply(q, k, v, Ring(dist.get_rank(group), list(parts), group), causal)


# Processes -------------------------------------------------------------------------------------------------------

STARTING = 120.0  # seconds that the server may take to import, on a machine that is busy
GRACE = 1.0  # seconds in which the other ranks notice that one is gone, so that the first to fail can be told
START = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


class RankFailed(RuntimeError):
    """A rank stopped before it was done. `rank` is the one that stopped first."""

    def __init__(self, rank: int, what: str):
        super().__init__(what)
        self.rank = rank


def importable(ranks: int, function: Callable, seconds: float, **_) -> None:
    """Raise ValueError unless another process can import the function, and there is time."""
    if not seconds > 0:
        raise ValueError(f"seconds is {seconds!r}; give a number above 0.")
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if module in (None, "__main__") or "<" in name:
        raise ValueError(
            f"function is {name or repr(function)} of {module}, which another process cannot import; "
            "give one that stands in a module, at its top level."
        )


@counts("ranks")
@shapes(check=importable)
def run(ranks: int, function: Callable, *args, seconds: float = 30.0) -> list:
    """Call function(*args) in `ranks` processes that form a gloo group on 127.0.0.1; return what each returned.

    function: of a module, at its top level, since each process imports it; inside, `dist.get_rank()` tells who it is
    args, results: what pickle takes, by value; seconds: from the start of the ranks to their end
    Works from a notebook. Processes are forked from a server that has done nothing but import, which takes some seconds
    once and then next to none; they share no thread, lock or graph with the caller. Where the system has no such
    server, each process starts afresh.
    Raises RankFailed, which names the first rank that failed and why, TimeoutError which names those that did not end.
    Either way all processes are gone by then, and if the caller itself is killed they end too.
    """
    context = multiprocessing.get_context(START)
    if START == "forkserver":
        context.set_forkserver_preload([__name__, "torch.fx.experimental.symbolic_shapes"])  # the first backward's
        server = context.Process(target=int, daemon=True)  # ends when the server has imported all that
        server.start()
        server.join(STARTING)
    task = pickle.dumps((function, args))
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            context.Process(target=work, args=(rank, ranks, Path(folder), seconds, task), daemon=True)
            for rank in range(ranks)
        ]
        started = time.monotonic()
        try:
            for process in processes:
                process.start()
            wait(processes, Path(folder), started, seconds)
            return [pickle.loads(Path(folder, f"{rank}.result").read_bytes()) for rank in range(ranks)]
        finally:
            for process in processes:
                if process.pid is not None:
                    process.kill()
                    process.join()


def work(rank: int, ranks: int, folder: Path, seconds: float, task: bytes) -> None:
    """The life of one rank: join the group, call the function, leave the result or the error in the folder."""
    parent = parent_process()
    assert parent is not None  # `run` started this

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    os.environ["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
    torch.set_num_threads(1)
    try:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder / 'meeting'}",
            rank=rank,
            world_size=ranks,
            timeout=timedelta(seconds=seconds),
        )
        function, args = pickle.loads(task)
        (folder / f"{rank}.result").write_bytes(pickle.dumps(function(*args)))
        dist.barrier()  # nobody leaves while another still reads from it
        dist.destroy_process_group()
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}, line {place.lineno}"
        (folder / f"{rank}.error").write_text(f"{time.time()}\n{type(error).__name__}: {error} ({where})")
        os._exit(1)  # without waiting for peers that wait for this one


def wait(processes: list, folder: Path, started: float, seconds: float) -> None:
    """Return when all processes have ended well; raise as soon as one has not, or the time is up."""
    running = dict(enumerate(processes))
    while running:
        left = started + seconds - time.monotonic()
        if left <= 0:
            late = ", ".join(map(str, running))
            raise TimeoutError(f"rank {late} of {len(processes)} did not end within {seconds:g} s; all were stopped.")
        connection.wait([process.sentinel for process in running.values()], left)
        running = {rank: process for rank, process in running.items() if process.exitcode is None}
        if any(process.exitcode for process in processes):
            until = time.monotonic() + GRACE
            for process in running.values():
                process.join(max(0, until - time.monotonic()))
            raise first_failure(processes, folder, time.monotonic() - started)


def first_failure(processes: list, folder: Path, after: float) -> RankFailed:
    """The rank that failed first: one that was killed, else the one whose error is the oldest."""
    failures = []
    for rank, process in enumerate(processes):
        told = folder / f"{rank}.error"
        if told.exists():
            when, what = told.read_text().split("\n", 1)
            failures.append((float(when), rank, f"stopped with {what}"))
        elif process.exitcode is not None and process.exitcode < 0:
            failures.append((0.0, rank, f"was killed by {Signals(-process.exitcode).name}"))
        elif process.exitcode:
            failures.append((0.0, rank, f"ended with exit code {process.exitcode}"))
    _, rank, what = min(failures)
    sentence = f"rank {rank} of {len(processes)} {what}, {after:.0f} s after the start; the other ranks were stopped."
    return RankFailed(rank, sentence)


# The whole, cut and put together again ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Whole:
    """What the ranks found, in the order of the sequence, and the bytes that each of them sent.

    out, grad_q: (batch, heads, n, d); grad_k, grad_v: (batch, kv_heads, n, d); sent: as `ring_bytes` returns it
    """

    out: Tensor
    grad_q: Tensor
    grad_k: Tensor
    grad_v: Tensor
    sent: dict[str, list[int]]


def attend(q: Tensor, k: Tensor, v: Tensor, grad_out: Tensor, rows: list[Tensor], causal: bool) -> tuple:
    """What one rank does with a whole sequence: cut out its rows, attend, go back, count."""
    SENT.clear()
    own = rows[dist.get_rank()]
    q, k, v = (tensor[..., own, :].clone().requires_grad_() for tensor in (q, k, v))
    out = ring_attention(q, k, v, causal=causal, rows=own)
    out.backward(grad_out[..., own, :])
    return out.detach(), q.grad, k.grad, v.grad, dict(SENT)


def attend_in_ring(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    grad_out: Tensor,
    rows: list[Tensor],
    *,
    causal: bool = False,
    seconds: float = 30.0,
) -> Whole:
    """Cut a whole sequence over as many processes as there are rows, run the ring both ways, put it together again.

    q, grad_out: (batch, heads, n, d); k, v: (batch, kv_heads, n, d); rows: of each rank, from `contiguous_rows` or
    `zigzag_rows`. Raises as `run` does.
    """
    *parts, sent = zip(*run(len(rows), attend, q, k, v, grad_out, rows, causal, seconds=seconds), strict=True)
    order = torch.cat(rows).argsort()
    out, grad_q, grad_k, grad_v = (torch.cat(part, dim=-2)[..., order, :] for part in parts)
    sent_by = {phase: [of_rank.get(phase, 0) for of_rank in sent] for phase in ("forward", "backward")}
    return Whole(out, grad_q, grad_k, grad_v, sent_by)
