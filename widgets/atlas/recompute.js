import { codeOf, codeOfLog2 } from "./scale.js";
import { TILE } from "./pyramid.js";
import { looksAt } from "./mask.js";

/**
 * Weights computed again from q, k and the row log-sum-exp: P = exp(scale q . k - L). P itself is stored nowhere.
 *
 * A head's vectors come in chunks of `chunk` tokens; a chunk that is not in the page is null.
 * @typedef {{ tokens: number, headDim: number, chunk: number, scale: number, bits: number,
 *   allowed: import("./mask.js").Allowed,
 *   q: (?Float32Array)[], k: (?Float32Array)[], l: (?Float64Array)[] }} Vectors
 * @typedef {import("./mask.js").Sums & {knows: (token: number) => boolean,
 *   whole?: (kind: "row" | "column", at: number) => Float64Array}} Lines
 */

/** Score of a pair in its row's unit, so that the weight is its exponential; undefined where q or k is missing. */
function score(head, query, key) {
  const { chunk, headDim } = head;
  const q = head.q[Math.floor(query / chunk)];
  const k = head.k[Math.floor(key / chunk)];
  if (!q || !k) return undefined;
  const at = (query % chunk) * headDim;
  const from = (key % chunk) * headDim;
  let sum = 0;
  for (let i = 0; i < headDim; i += 1) sum += q[at + i] * k[from + i];
  return head.scale * sum - head.l[Math.floor(query / chunk)][query % chunk];
}

/** The exact weight of a pair; undefined where it cannot be computed here. @param {Vectors} head */
export function weightAt(head, query, key) {
  if (!looksAt(head.allowed, query, key)) return 0;
  const value = score(head, query, key);
  return value === undefined ? undefined : Math.exp(value);
}

/** Exact weights of one query over keys from <= key < to; NaN where they cannot be computed here. */
export function rowOf(head, query, from, to) {
  const row = new Float64Array(to - from);
  for (let key = from; key < to; key += 1) row[key - from] = weightAt(head, query, key) ?? NaN;
  return row;
}

/** Exact weights of one key over queries from <= query < to; NaN where they cannot be computed here. */
export function columnOf(head, key, from, to) {
  const column = new Float64Array(to - from);
  for (let query = from; query < to; query += 1) column[query - from] = weightAt(head, query, key) ?? NaN;
  return column;
}

/**
 * The chunks that a tile needs and that are not here.
 * @param {Vectors} head @returns {[side: "q" | "k", chunk: number][]}
 */
export function missing(head, level, row, column) {
  const size = TILE * 2 ** level;
  const found = [];
  for (const [side, at] of [["q", row], ["k", column]]) {
    const last = Math.floor((Math.min((at + 1) * size, head.tokens) - 1) / head.chunk);
    for (let chunk = Math.floor(at * size / head.chunk); chunk <= last; chunk += 1) {
      if (!head[side][chunk]) found.push([side, chunk]);
    }
  }
  return found;
}

/**
 * A tile to be computed, a few rows of cells at a time, so that no frame waits for it.
 * @param {Vectors} head @param {number} level squares of 2^level cells @param {number} row @param {number} column
 * @param {number} hidden leading keys to leave out
 */
export function startTile(head, level, row, column, hidden = 0) {
  return {
    head, level, row, column, hidden, done: 0,
    largest: new Uint8Array(TILE * TILE),
    mean: level === 0 ? null : new Uint8Array(TILE * TILE),
    values: new Float64Array(TILE * 2 ** level),
    sums: new Float64Array(TILE),
    peaks: new Float64Array(TILE).fill(-Infinity),
  };
}

/** Compute `rows` more rows of cells; true when the tile is whole. At level 0 largest and mean are the same thing. */
export function advance(tile, rows) {
  const { head, level, values, peaks, sums } = tile;
  const scale = 2 ** level;
  const size = TILE * scale;
  const until = Math.min(tile.done + rows, size, head.tokens - tile.row * size);
  for (; tile.done < until; tile.done += 1) {
    const query = tile.row * size + tile.done;
    logWeights(head, query, tile.column * size, values);
    if (tile.column === 0) values.fill(-Infinity, 0, tile.hidden);
    for (let i = 0; i < size; i += 1) if (values[i] > peaks[i >> level]) peaks[i >> level] = values[i];
    if (level) for (let i = 0; i < size; i += 1) sums[i >> level] += Math.exp(values[i]);
    if ((tile.done + 1) % scale === 0 || query === head.tokens - 1)
      flush(tile, Math.floor(tile.done / scale) * TILE, scale);
  }
  return tile.done >= size || tile.row * size + tile.done >= head.tokens;
}

/** A row of squares is full: write its bytes. */
function flush(tile, into, scale) {
  const { bits } = tile.head;
  for (let square = 0; square < TILE; square += 1) {
    tile.largest[into + square] =
      tile.peaks[square] === -Infinity ? 0 : codeOfLog2(tile.peaks[square] * Math.LOG2E, bits);
    if (tile.mean) tile.mean[into + square] = codeOf(tile.sums[square] / (scale * scale), bits);
  }
  tile.peaks.fill(-Infinity);
  tile.sums.fill(0);
}

/** Fill `values` with the log weights of one query over the keys from `first` on; -Infinity where it may not look. */
function logWeights(head, query, first, values) {
  const { chunk, headDim, allowed, scale } = head;
  const q = head.q[Math.floor(query / chunk)];
  const own = (query % chunk) * headDim;
  const log = head.l[Math.floor(query / chunk)][query % chunk];
  const stop = Math.min(first + values.length, allowed.causal ? query + 1 : head.tokens);
  for (let key = first; key < stop; key += 1) {
    const k = head.k[Math.floor(key / chunk)];
    const from = (key % chunk) * headDim;
    let a = 0, b = 0, i = 0;
    for (; i + 1 < headDim; i += 2) {
      a += q[own + i] * k[from + i];
      b += q[own + i + 1] * k[from + i + 1];
    }
    if (i < headDim) a += q[own + i] * k[from + i];
    values[key - first] = scale * (a + b) - log;
  }
  values.fill(-Infinity, Math.max(stop - first, 0));
  if (allowed.window === null) return;
  for (let key = first; key < stop; key += 1) if (!looksAt(allowed, query, key)) values[key - first] = -Infinity;
}

/**
 * Whole rows and columns of single tokens, summed as masks need them, from vectors that are all in the page.
 * @param {Vectors} head @param {number} block @returns {Lines}
 */
export function computedLines(head, block) {
  const kept = { row: new Map(), column: new Map() };
  function line(kind, at) {
    if (!kept[kind].has(at)) {
      kept[kind].set(at, kind === "row" ? rowOf(head, at, 0, head.tokens) : columnOf(head, at, 0, head.tokens));
      if (kept[kind].size > 64) kept[kind].delete(kept[kind].keys().next().value);
    }
    return kept[kind].get(at);
  }
  function sum(values, from, to) {
    let total = 0;
    for (let i = Math.max(from, 0); i < Math.min(to, values.length); i += 1) total += values[i];
    return total;
  }
  const outside = (values, at, reach) => (reach < 0 ? sum(values, 0, values.length)
    : sum(values, 0, at - reach) + sum(values, at + reach + 1, values.length));
  const part = (values, span) => sum(values, span * block, (span + 1) * block);
  return {
    knows: () => true,
    whole: line,
    column: (key, reach) => outside(line("column", key), key, reach),
    row: (query, reach) => outside(line("row", query), query, reach),
    columnPart: (key, span) => part(line("column", key), span),
    rowPart: (query, span) => part(line("row", query), span),
    pair: (query, key) => line("row", query)[key],
  };
}

/**
 * The same for a head whose vectors are not all in the page: sums of some tokens' lines, made when it was measured.
 * @param {{at: number[], row: Float32Array, column: Float32Array, rowPart: Float32Array, columnPart: Float32Array,
 *   pair: Float32Array}} table @param {(reach: number) => number} indexOf a reach in the table's columns, 0 for none
 * @param {number} reaches columns of a line @param {number} spans blocks along a side @returns {Lines}
 */
export function toldLines(table, indexOf, reaches, spans) {
  const place = new Map(table.at.map((token, index) => [token, index]));
  return {
    knows: (token) => place.has(token),
    column: (key, reach) => table.column[place.get(key) * reaches + indexOf(reach)],
    row: (query, reach) => table.row[place.get(query) * reaches + indexOf(reach)],
    columnPart: (key, span) => table.columnPart[place.get(key) * spans + span],
    rowPart: (query, span) => table.rowPart[place.get(query) * spans + span],
    pair: (query, key) => table.pair[place.get(query) * table.at.length + place.get(key)],
  };
}
