"""Labels that would overlap move apart, as little as possible. labels.js holds the same function."""

from collections.abc import Sequence


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions at least `gap` apart, in the order of `wanted` and between `low` and `high`, least squares from it.

    Without the gaps that is a rising sequence close to a given one: neighbours out of order take their mean.
    """
    order = sorted(range(len(wanted)), key=lambda label: (wanted[label], label))
    pools: list[list[float]] = []  # sum, size
    for rank, label in enumerate(order):
        pools.append([wanted[label] - rank * gap, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            total, size = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += size
    top = max(low, high - (len(wanted) - 1) * gap)
    levels = [min(max(total / size, low), top) for total, size in pools for _ in range(int(size))]
    placed = {label: level + rank * gap for rank, (label, level) in enumerate(zip(order, levels, strict=True))}
    return [placed[label] for label in range(len(wanted))]
