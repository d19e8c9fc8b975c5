/** Labels that would overlap move apart, as little as possible. labels.py holds the same function. */

/**
 * Positions at least `gap` apart, in the order of `wanted` and between `low` and `high`, least squares from it.
 * Without the gaps that is a rising sequence close to a given one: neighbours out of order take their mean.
 * @param {number[]} wanted @param {number} gap @param {number} low @param {number} high @returns {number[]}
 */
export function spread(wanted, gap, low, high) {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a] - wanted[b] || a - b);
  const pools = [];
  order.forEach((label, rank) => {
    pools.push({ sum: wanted[label] - rank * gap, size: 1 });
    while (pools.length > 1) {
      const [before, last] = pools.slice(-2);
      if (before.sum / before.size <= last.sum / last.size) break;
      pools.splice(-2, 2, { sum: before.sum + last.sum, size: before.size + last.size });
    }
  });
  const top = Math.max(low, high - (wanted.length - 1) * gap);
  const placed = new Array(wanted.length);
  let rank = 0;
  for (const { sum, size } of pools) {
    const level = Math.min(Math.max(sum / size, low), top);
    for (const end = rank + size; rank < end; rank += 1) placed[order[rank]] = level + rank * gap;
  }
  return placed;
}

/**
 * Which of the labels along an axis can stand: from the first on, each that leaves `gap` to the one before.
 * @param {number[]} centres rising @param {number[]} widths @param {number} gap @returns {boolean[]}
 */
export function thinned(centres, widths, gap) {
  let end = -Infinity;
  return centres.map((centre, i) => {
    const stands = centre - widths[i] / 2 >= end + gap;
    if (stands) end = centre + widths[i] / 2;
    return stands;
  });
}
