"""Where the mass of one head goes, at any length, without ever storing the N x N matrix.

    P_ij = exp(scale q_i . k_j - L_i)      L_i = log of the sum of exp(scale q_i . k_j) over the keys that i may see

q, k (N, d) and L (N) give any cell exactly, by one dot product: that is how flash attention recomputes its backward
pass (Dao et al., 2022, section 3.1). What a picture needs of all cells at once is a pyramid: the largest weight and the
sum of the weights in every cell x cell square, then in every square of four of those. Both follow from one pass over
panels of rows, so memory grows as N * rows of a panel + (N / cell)^2.

q, k are taken as float32, and L from exactly these: a tile recomputed from them agrees with L, and its rows sum to 1.
"""

import math
import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from widgets.atlas.headmap import HeadMap
from widgets.atlas.mask import Allowed, whole
from widgets.kit.format import count, size

PANEL = 128  # rows of scores held at a time
LOG2_E = math.log2(math.e)


def bytes_needed(tokens: int, head_dim: int, heads: int, cell: int) -> int:
    """Memory that the maps of so many heads take, with the pass that makes the last of them."""
    panel = max(PANEL, cell)
    side = math.ceil(tokens / cell)
    kept = 4 * (2 * tokens * head_dim + 2 * side**2) + 32 * tokens
    passing = 4 * (2 * tokens * head_dim + panel * (tokens + cell + 2 * panel) + 5 * panel * side)
    return heads * kept + passing


def bytes_free() -> int | None:
    """Memory that this machine could still give; None where it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            told = dict(line.split(":") for line in lines)
        return int(told["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def check_memory(tokens: int, head_dim: int, heads: int, cell: int) -> None:
    """Raise ValueError when the maps would not fit, saying what they need and which coarser start would fit."""
    needed, free = bytes_needed(tokens, head_dim, heads, cell), bytes_free()
    if free is None or needed <= free:
        return
    coarse = cell
    while coarse < tokens and bytes_needed(tokens, head_dim, heads, coarse) > free:
        coarse *= 2
    fits = bytes_needed(tokens, head_dim, heads, coarse)
    offer = f"pass cell={coarse} for a coarser start ({size(fits)}), or" if fits <= free else "give"
    raise ValueError(
        f"{count(tokens)} tokens and {heads} head{'' if heads == 1 else 's'} need {size(needed)} of memory, and "
        f"{size(free)} are free; {offer} fewer heads or tokens."
    )


def checked_cell(cell: int | None, tokens: int) -> int | None:
    if cell is not None and (not whole(cell, 1) or cell & (cell - 1) or cell >= 2 * tokens):
        raise ValueError(f"cell is {cell!r}; give a power of two from 1 to {count(tokens)}, or None.")
    return cell


def head_pairs(q: Tensor, k: Tensor, heads: Sequence[int] | None = None) -> list[tuple[int, tuple[Tensor, Tensor]]]:
    """Each query head with the key head it reads: (head, (q, k)), both (tokens, head_dim).

    q, k: as in `Atlas.of`; heads: which of them, all when None
    Raises ValueError for shapes that do not belong together, for fewer than two tokens, and for what is not finite.
    """
    q, k = (three_dimensional(x, name) for x, name in ((q, "q"), (k, "k")))
    if q.shape[1] != k.shape[1]:
        raise ValueError(
            f"q has {q.shape[1]} tokens and k has {k.shape[1]}; a map is square, so give both for the same tokens."
        )
    if q.shape[2] != k.shape[2]:
        raise ValueError(f"q has head_dim {q.shape[2]} and k {k.shape[2]}; give both alike.")
    if len(q) % len(k):
        raise ValueError(f"q has {len(q)} heads and k {len(k)}; give k a number of heads that divides q's.")
    if q.shape[1] < 2:
        raise ValueError(f"q has {q.shape[1]} tokens; a map needs two or more.")
    finite(q, "q")
    finite(k, "k")
    group = len(q) // len(k)
    for head in heads or ():
        if not whole(head, 0) or head >= len(q):
            raise ValueError(f"head is {head!r}; give numbers from 0 to {len(q) - 1}.")
    return [(head, (q[head], k[head // group])) for head in (range(len(q)) if heads is None else heads)]


def three_dimensional(x: Tensor, name: str) -> Tensor:
    """(heads, tokens, head_dim), from that or less or one batch more. Raises ValueError for anything else."""
    x = torch.as_tensor(x).detach()
    if not x.is_floating_point():
        raise ValueError(f"{name} is of {x.dtype}; give floating point numbers.")
    if x.ndim == 4 and len(x) == 1:
        x = x[0]
    if x.ndim == 2:
        x = x[None]
    if x.ndim != 3 or 0 in (len(x), x.shape[2]):
        raise ValueError(f"{name} has shape {tuple(x.shape)}; give (tokens, head_dim) or (heads, tokens, head_dim).")
    return x


def finite(x: Tensor, name: str) -> None:
    """Raise ValueError naming the first entry that float32 cannot hold as a finite number."""
    bad = ~torch.isfinite(x.float())
    if bool(bad.any()):
        head, token, entry = (int(at) for at in bad.nonzero()[0])
        found = float(x[head, token, entry])
        raise ValueError(f"{name} holds {found} in head {head}, token {token}, entry {entry}; give finite numbers.")


def scaling(scale: float | None, head_dim: int) -> float:
    """1 / sqrt(head_dim) unless a finite scale is given."""
    if scale is None:
        return head_dim**-0.5
    if not math.isfinite(scale):
        raise ValueError(f"scale is {scale}; give a finite number, or None for 1 / √d.")
    return float(scale)


def map_head(q: Tensor, k: Tensor, allowed: Allowed, *, scale: float, cell: int, block: int, far: int) -> HeadMap:
    """One pass over the scores of one head: row log-sum-exp, the finest squares, and the mass by distance and by key.

    q, k: (tokens, head_dim); cell, block: powers of two; far: from this distance on, a key is read from far away
    """
    origin = f"{str(q.dtype).removeprefix('torch.')}, {q.device.type}"
    q, k = (each.detach().to("cpu", torch.float32).contiguous() for each in (q, k))
    tokens, head_dim = q.shape
    panel = max(PANEL, cell)
    side = math.ceil(tokens / cell)
    padded = side * cell

    wide_q = torch.zeros(math.ceil(tokens / panel) * panel, head_dim)
    wide_q[:tokens] = q * (scale * LOG2_E)  # scores in bits: exp2 is the cheaper exponential
    wide_k = torch.zeros(padded, head_dim)
    wide_k[:tokens] = k

    log_sum_exp = torch.zeros(len(wide_q), dtype=torch.float64)
    largest, mass = torch.zeros(side, side), torch.zeros(side, side)
    at_distance = torch.zeros(tokens, dtype=torch.float64)
    read, read_far = torch.zeros(padded, dtype=torch.float64), torch.zeros(padded, dtype=torch.float64)
    store = torch.empty(panel * (padded + 2 * panel))

    for start in range(0, tokens, panel):
        low, high = seen_range(start, start + panel, padded, tokens, cell, allowed)
        width = high - low
        # Zeros on both sides, so that the panel can be read along its diagonals.
        framed = store[: panel * (width + 2 * panel)].view(panel, width + 2 * panel)
        framed[:, :panel] = 0
        framed[:, panel + width :] = 0
        scores = framed[:, panel : panel + width]
        torch.mm(wide_q[start : start + panel], wide_k[low:high].T, out=scores)
        hide(scores, start, low, tokens, allowed)

        squares = scores.unflatten(1, (-1, cell))
        peaks = squares.amax(-1)
        row_max = peaks.amax(-1, keepdim=True)
        scores.sub_(row_max).exp2_()
        sums = squares.sum(-1)
        row_sum = sums.sum(-1, dtype=torch.float64)
        rows = torch.arange(start, start + panel) < tokens
        weight = torch.where(rows, 1 / row_sum, 0).float()
        log2_sum = row_max.squeeze(1).double() + row_sum.log2()
        log_sum_exp[start : start + panel] = log2_sum / LOG2_E

        peaks = torch.exp2(peaks.double() - log2_sum[:, None]).float() * rows[:, None]
        above, left, right = start // cell, low // cell, high // cell
        into = slice(above, min(above + panel // cell, side))
        largest[into, left:right] = peaks.unflatten(0, (-1, cell)).amax(1)[: into.stop - above]
        mass[into, left:right] = (sums * weight[:, None]).unflatten(0, (-1, cell)).sum(1)[: into.stop - above]

        read[low:high] += (weight @ scores).double()
        late = weight * (torch.arange(start, start + panel) >= tokens // 2)
        if late.any():
            read_far[low:high] += (late @ scores).double()
            first, last = max(start - far + 1, low), min(start + panel - 1 + far, high)
            distance = torch.arange(start, start + panel)[:, None] - torch.arange(first, last)
            read_far[first:last] -= (late @ (scores[:, first - low : last - low] * (distance.abs() < far))).double()
        add_diagonals(at_distance, framed, weight, start, low, panel)

    return HeadMap(
        q=q.numpy(),
        k=k.numpy(),
        scale=scale,
        allowed=allowed,
        cell=cell,
        log_sum_exp=log_sum_exp[:tokens].numpy(),
        largest=largest.numpy(),
        mass=mass.numpy(),
        near=at_distance.cumsum(0).numpy(),
        read=read[:tokens].numpy(),
        read_far=read_far[:tokens].numpy(),
        block=max(block, cell),
        origin=origin,
    )


def seen_range(start: int, stop: int, padded: int, tokens: int, cell: int, allowed: Allowed) -> tuple[int, int]:
    """The keys that these queries can see, widened to whole squares."""
    low, high = 0, padded
    if allowed.causal:
        high = min(stop, tokens)
    if allowed.reach is not None:
        high = min(high, stop + allowed.reach)
        low = 0 if allowed.sinks else max(min(start, tokens - 1) - allowed.reach, 0)
    return low // cell * cell, min(math.ceil(high / cell) * cell, padded)


def hide(scores: Tensor, start: int, low: int, tokens: int, allowed: Allowed) -> None:
    """Set what is not allowed to -inf. Only the edges of a panel can hold any."""
    panel, width = scores.shape
    first, last = low, low + width
    if allowed.reach is not None:
        first = min(max(start + panel - 1 - allowed.reach, low), low + width)
        last = min(last, start + allowed.reach + 1)
    last = max(min(last, start + 1 if allowed.causal else tokens, tokens), first)
    queries = np.minimum(np.arange(start, start + panel), tokens - 1)  # a row past the end copies the last one
    for edge in (slice(low, first), slice(last, low + width)):
        keys = np.arange(edge.start, edge.stop)
        if len(keys):
            seen = allowed.pairs(queries, keys) & (keys < tokens)
            scores[:, edge.start - low : edge.stop - low].masked_fill_(torch.from_numpy(~seen), -math.inf)


def add_diagonals(at_distance: Tensor, framed: Tensor, weight: Tensor, start: int, low: int, panel: int) -> None:
    """Add the mass of a panel by its distance |query - key|.

    framed: the panel with `panel` columns of zeros on each side. Entry (r, r + t) lies at distance
    start - low + panel - t whatever r: read with one more column a row, a diagonal is a column.
    """
    width = framed.shape[1] - panel
    slanted = framed.as_strided((panel, width), (framed.stride(0) + 1, 1), framed.storage_offset())
    sums = (weight @ slanted).double()
    distance = (start - low + panel - torch.arange(width)).abs()
    inside = distance < len(at_distance)
    at_distance.index_add_(0, distance[inside], sums[inside])
