/**
 * What a mask keeps: the same sum as mask.py, over the same two measures. tests/js/atlas.json holds both together.
 *
 *   kept = band + columns outside it + rows outside both + blocks outside the band, without what was counted
 *
 * @typedef {{window: ?number, sinks: number, global_tokens: number[], blocks: number}} Mask
 * @typedef {{causal: boolean, window: ?number, sinks: number}} Allowed what the attention itself may look at
 * @typedef {[row: number, column: number]} Block by number, of queries and of keys
 * @typedef {{column: (key: number, reach: number) => number, row: (query: number, reach: number) => number,
 *   columnPart: (key: number, row: number) => number, rowPart: (query: number, column: number) => number,
 *   pair: (query: number, key: number) => number}} Sums of whole rows and columns of single tokens
 * @typedef {Sums & {tokens: number, block: number, everything: () => number, band: (reach: number) => number,
 *   squares: (chosen: Block[]) => number}} Measure
 */

const LEAST_MASS = 1e-4; // rows; below it a block is not worth a choice, and what it seems to hold may be rounding

/** The farthest distance inside a window. @param {?number} window @param {boolean} causal @returns {?number} */
export function reachOf(window, causal) {
  if (window === null) return null;
  return causal ? window - 1 : Math.floor(window / 2);
}

/** @param {Mask} mask */
export function keepsEverything(mask) {
  return mask.window === null && !mask.sinks && !mask.global_tokens.length && !mask.blocks;
}

/** The keys that every query keeps, ascending. @param {Pick<Mask, "global_tokens" | "sinks">} mask */
export function keptKeys(mask) {
  const keys = new Set(mask.global_tokens);
  for (let key = 0; key < mask.sinks; key += 1) keys.add(key);
  return [...keys].sort((a, b) => a - b);
}

/**
 * Sum of a measure over the pairs of a mask.
 * @param {Measure} measure @param {Mask} mask @param {boolean} causal
 * @param {Block[]} chosen those that `mask.blocks` names
 */
export function totalOf(measure, mask, causal, chosen) {
  if (keepsEverything(mask)) return measure.everything();
  const reach = reachOf(mask.window, causal) ?? -1;
  const queries = [...new Set(mask.global_tokens)].sort((a, b) => a - b);
  const keys = keptKeys(mask);
  const blockOf = (at) => Math.floor(at / measure.block);

  let kept = measure.band(reach) + measure.squares(chosen);
  for (const key of keys) {
    kept += measure.column(key, reach);
    for (const [row, column] of chosen) if (column === blockOf(key)) kept -= measure.columnPart(key, row);
  }
  for (const query of queries) {
    kept += measure.row(query, reach);
    for (const key of keys) if (Math.abs(query - key) > reach) kept -= measure.pair(query, key);
    for (const [row, column] of chosen) {
      if (row !== blockOf(query)) continue;
      kept -= measure.rowPart(query, column);
      // In a chosen block, the crossing of a global query and a kept key was taken away twice.
      for (const key of keys) if (blockOf(key) === column) kept += measure.pair(query, key);
    }
  }
  return kept;
}

/** Does a block lie wholly outside the band, so that it may be chosen? */
export function beyond(row, column, block, reach, causal) {
  if (causal && column > row) return false;
  return reach < 0 || Math.max(Math.abs(row - column) * block - block + 1, 0) > reach;
}

/**
 * For each row of blocks the `keep` heaviest beyond the band, of equals the first: [[query block, key block], ...].
 * @param {Float64Array} masses (side, side), without the kept keys @param {number} side @returns {Block[]}
 */
export function heaviest(masses, side, keep, block, reach, causal) {
  const chosen = [];
  if (!keep) return chosen;
  for (let row = 0; row < side; row += 1) {
    const open = [];
    for (let column = 0; column < side; column += 1) {
      if (masses[row * side + column] > LEAST_MASS && beyond(row, column, block, reach, causal)) open.push(column);
    }
    open.sort((a, b) => masses[row * side + b] - masses[row * side + a] || a - b);
    for (const column of open.slice(0, keep)) chosen.push([row, column]);
  }
  return chosen;
}

/** May this query look at this key? @param {Allowed} allowed @param {number} query @param {number} key */
export function looksAt(allowed, query, key) {
  if (allowed.causal && key > query) return false;
  const reach = reachOf(allowed.window, allowed.causal);
  return reach === null || Math.abs(query - key) <= reach || key < allowed.sinks;
}

/** May any query of a square look at any of its keys? @param {Allowed} allowed */
export function looksInto(allowed, row, column, size) {
  if (allowed.causal && column > row) return false;
  const reach = reachOf(allowed.window, allowed.causal);
  return (
    reach === null || Math.max(Math.abs(row - column) * size - size + 1, 0) <= reach || column * size < allowed.sinks
  );
}

/** Does the mask keep this pair? */
export function keepsPair(mask, causal, block, chosenSet, query, key) {
  if (keepsEverything(mask)) return true;
  const reach = reachOf(mask.window, causal) ?? -1;
  return Math.abs(query - key) <= reach || key < mask.sinks || mask.global_tokens.includes(key)
    || mask.global_tokens.includes(query) || chosenSet.has(`${Math.floor(query / block)} ${Math.floor(key / block)}`);
}

/**
 * The measure that counts: every pair that the attention computes weighs 1.
 * @param {number} tokens @param {number} block @param {Allowed} allowed @returns {Measure}
 */
export function pairsOf(tokens, block, allowed) {
  const reach = reachOf(allowed.window, allowed.causal) ?? tokens;

  /** How many keys of start <= key < stop this query may look at. */
  function seen(query, start, stop) {
    const first = Math.max(query - reach, 0);
    const last = Math.min(allowed.causal ? query : query + reach, tokens - 1);
    const near = Math.min(stop, last + 1) - Math.max(start, first);
    const sunk = Math.min(stop, allowed.sinks, first) - Math.max(start, 0);
    return Math.max(near, 0) + Math.max(sunk, 0);
  }
  /** Summed over queries of from <= query < to. */
  function over(from, to, count) {
    let sum = 0;
    for (let query = from; query < Math.min(to, tokens); query += 1) sum += count(query);
    return sum;
  }
  // Without a window the sums have a closed form, which a curve of a hundred windows over 131,072 queries needs.
  const open = allowed.window === null;
  const oneSide = (near) =>
    near < 0 ? 0 : (Math.min(near, tokens - 1) + 1) * (tokens - Math.min(near, tokens - 1) / 2);
  const farther = (key, near) => {
    const after = Math.max(0, tokens - 1 - key - Math.max(near, 0));
    const before = allowed.causal ? 0 : Math.max(0, key - Math.max(near, 0));
    return before + after + (near < 0 ? 1 : 0);
  };
  return {
    tokens, block,
    everything: () => over(0, tokens, (query) => seen(query, 0, tokens)),
    band: (near) => {
      if (!open) return over(0, tokens, (query) => seen(query, query - near, query + near + 1));
      return allowed.causal || near < 0 ? oneSide(near) : 2 * oneSide(near) - tokens;
    },
    column: (key, near) => (open ? farther(key, near)
      : over(0, tokens, (query) => (Math.abs(query - key) > near ? seen(query, key, key + 1) : 0))),
    row: (query, near) => seen(query, 0, tokens) - seen(query, query - near, query + near + 1),
    pair: (query, key) => seen(query, key, key + 1),
    squares: (chosen) => chosen.reduce((sum, [row, column]) => sum
      + over(row * block, (row + 1) * block, (query) => seen(query, column * block, (column + 1) * block)), 0),
    columnPart: (key, row) => over(row * block, (row + 1) * block, (query) => seen(query, key, key + 1)),
    rowPart: (query, column) => seen(query, column * block, (column + 1) * block),
  };
}

/**
 * The measure that weighs: each pair counts its weight.
 * @param {{tokens: number, block: number, side: number, blocks: Float32Array, reaches: Int32Array,
 *   near: Float64Array}} head
 * @param {Sums} lines @returns {Measure}
 */
export function massOf(head, lines) {
  return {
    tokens: head.tokens, block: head.block,
    everything: () => head.tokens,
    band: (reach) => (reach < 0 ? 0 : head.near[reachIndex(head.reaches, reach)]),
    squares: (chosen) => chosen.reduce((sum, [row, column]) => sum + head.blocks[row * head.side + column], 0),
    column: lines.column, row: lines.row, pair: lines.pair, columnPart: lines.columnPart, rowPart: lines.rowPart,
  };
}

/**
 * Where a reach stands among those that are told: itself, or the next smaller.
 * @param {Int32Array} reaches ascending
 */
export function reachIndex(reaches, reach) {
  let low = 0, high = reaches.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (reaches[middle] <= reach) low = middle; else high = middle - 1;
  }
  return low;
}

/** The window of a reach, as it is written. */
export function windowOf(reach, causal) {
  return causal ? reach + 1 : Math.max(1, 2 * reach);
}
