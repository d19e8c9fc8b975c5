import { codeOf, weightOf } from "./scale.js";
import { coarserLargest, coarserMean, squareOf } from "./pyramid.js";
import { heaviest, keptKeys, massOf, pairsOf, reachIndex, reachOf, totalOf, windowOf } from "./mask.js";
import { advance, computedLines, missing, startTile, toldLines } from "./recompute.js";

const KEPT_TILES = 96;

/**
 * Everything one head can be asked.
 * @typedef {{name: string, run: string, row: string, scale: number, window: ?number, sinks: number,
 *   largest: Uint8Array, mean: Uint8Array, edge: {largest: Uint8Array, mean: Uint8Array}, near: Float64Array,
 *   blocks: Float32Array, first: number, heavy: number[]}} SentSums
 * @typedef {{whole: true, q: Float32Array, k: Float32Array, l: Float64Array, facts?: null, places?: null}} SentWhole
 * @typedef {{whole: false, q: Float32Array[], k: Float32Array[], l: Float64Array[], queries: number[], keys: number[],
 *   facts: import("./say.js").Facts, places?: [query: number, key: number][], lines: {at: number[], row: Float32Array,
 *   column: Float32Array, row_part: Float32Array, column_part: Float32Array, pair: Float32Array}}} SentPart
 * @typedef {SentSums & (SentWhole | SentPart)} SentHead its vectors whole, or the chunks that are named, and sums
 * @typedef {{tokens: number, head_dim: number, causal: boolean, text: ?string[], bits: number, cell: number,
 *   block: number, chunk: number, deepest: number, sink: number, near: number, reaches: Int32Array, heads: SentHead[],
 *   shown: number, beside: ?number, mask: import("./mask.js").Mask, cursor: {query: number, key: number},
 *   provenance: string, overlay?: {name: string, side: number, cell: number, share: Uint8Array}}} Data
 * @typedef {ReturnType<typeof openHead>} Head
 * @param {Data} data what Python sent, arrays unpacked @param {number} index
 */
export function openHead(data, index) {
  const sent = data.heads[index];
  const { tokens, causal, cell, block, bits, chunk, sink } = data;
  const stored = Math.log2(cell);
  const side = Math.ceil(tokens / cell);
  const blocksSide = Math.ceil(tokens / block);
  const chunks = Math.ceil(tokens / chunk);
  const allowed = { causal, window: sent.window, sinks: sent.sinks };
  /** @type {import("./recompute.js").Vectors} */
  const vectors = { tokens, headDim: data.head_dim, chunk, scale: sent.scale, bits, allowed,
    q: Array(chunks).fill(null), k: Array(chunks).fill(null), l: Array(chunks).fill(null) };
  const levels = new Map();
  const tiles = new Map();

  if (sent.whole === true) {
    for (const name of ["q", "k", "l"]) fill(vectors[name], sent[name], name === "l" ? 1 : data.head_dim);
  } else {
    sent.queries.forEach((at, i) => { vectors.q[at] = sent.q[i]; vectors.l[at] = sent.l[i]; });
    sent.keys.forEach((at, i) => { vectors.k[at] = sent.k[i]; });
  }
  function fill(parts, values, width) {
    for (let at = 0; at < chunks; at += 1) parts[at] = values.subarray(at * chunk * width, (at + 1) * chunk * width);
  }

  /** Bytes of all squares of a stored level, with or without the sink. */
  function codes(statistic, level, hidden) {
    const key = `${statistic} ${level} ${hidden}`;
    if (!levels.has(key)) levels.set(key, statistic === "max" ? largestCodes(level, hidden) : meanCodes(level, hidden));
    return levels.get(key);
  }
  function finest(name, hidden) {
    const square = squareOf(sent[name], side, causal);
    if (!hidden) return square;
    const edge = sent.edge[name];
    const column = Math.floor(sink / cell);
    const copy = square.slice();
    for (let row = 0; row < side; row += 1) {
      copy.fill(0, row * side, row * side + column);
      copy[row * side + column] = edge[row];
    }
    return copy;
  }
  function largestCodes(level, hidden) {
    return level === stored ? finest("largest", hidden)
      : coarserLargest(codes("max", level - 1, hidden), Math.ceil(tokens / 2 ** (level - 1)));
  }
  function means(level, hidden) {
    const key = `means ${level} ${hidden}`;
    if (!levels.has(key)) {
      levels.set(key, level === stored
        ? Float32Array.from(finest("mean", hidden), (code) => weightOf(code, bits))
        : coarserMean(means(level - 1, hidden), Math.ceil(tokens / 2 ** (level - 1))));
    }
    return levels.get(key);
  }
  function meanCodes(level, hidden) {
    return level === stored
      ? finest("mean", hidden)
      : Uint8Array.from(means(level, hidden), (mean) => codeOf(mean, bits));
  }

  /** A tile below the stored levels: { codes } once computed, else null and it is queued by `request`. */
  function tile(level, row, column, hidden) {
    const key = `${level} ${row} ${column} ${hidden && column === 0}`;
    const found = tiles.get(key);
    if (found) { tiles.delete(key); tiles.set(key, found); }
    return found ?? null;
  }
  /**
   * @returns {?{ step: (rows: number) => boolean }} work to be done in small steps, or null when vectors are missing
   */
  function work(level, row, column, hidden) {
    if (missing(vectors, level, row, column).length) return null;
    const begun = startTile(vectors, level, row, column, hidden ? sink : 0);
    return {
      step(rows) {
        if (!advance(begun, rows)) return false;
        tiles.set(`${level} ${row} ${column} ${hidden && column === 0}`, {
          max: begun.largest,
          mean: begun.mean ?? begun.largest,
        });
        if (tiles.size > KEPT_TILES) tiles.delete(tiles.keys().next().value);
        return true;
      },
    };
  }

  const reaches = data.reaches;
  const lines = sent.whole === true ? computedLines(vectors, block) : toldLines({
    at: sent.lines.at, row: sent.lines.row, column: sent.lines.column,
    rowPart: sent.lines.row_part, columnPart: sent.lines.column_part, pair: sent.lines.pair,
  }, (reach) => (reach < 0 ? 0 : 1 + reachIndex(reaches, reach)), reaches.length + 1, blocksSide);
  const measured = { tokens, block, side: blocksSide, reaches, near: sent.near,
    blocks: squareOf(sent.blocks, blocksSide, causal) };
  const mass = massOf(measured, lines);
  const pairs = pairsOf(tokens, block, allowed);
  const allPairs = pairs.everything();

  const known = (mask) => [...mask.global_tokens, mask.sinks - 1].every((at) => at < 0 || lines.knows(at));
  const chosenBlocks = remembered((mask) => {
    if (!mask.blocks || !known(mask)) return [];
    const masses = Float64Array.from(measured.blocks);
    for (const key of keptKeys(mask)) {
      for (let row = 0; row < blocksSide; row += 1)
        masses[row * blocksSide + Math.floor(key / block)] -= lines.columnPart(key, row);
    }
    return heaviest(masses, blocksSide, mask.blocks, block, reachOf(mask.window, causal) ?? -1, causal);
  });
  return {
    index, name: sent.name, run: sent.run, row: sent.row, first: sent.first, heavy: sent.heavy, whole: sent.whole,
    title: sent.name[0].toUpperCase() + sent.name.slice(1),
    places: sent.places ?? [],
    facts: sent.facts,
    tokens,
    allowed,
    stored,
    vectors,
    lines,
    codes,
    tile,
    work,
    reaches,
    chosenBlocks,
    known,
    /** The share of the mass that a mask keeps; null where it names a token whose line is not in the page. */
    kept: remembered((mask) => (known(mask) ? totalOf(mass, mask, causal, chosenBlocks(mask)) / tokens : null)),
    pairs: remembered((mask) => totalOf(pairs, mask, causal, chosenBlocks(mask)) / allPairs),
    /** Kept mass and read pairs for every window in the list, sinks and global tokens as they are, without blocks. */
    curve: remembered((mask) => Array.from(reaches, (reach) => {
      const wider = { ...mask, window: windowOf(reach, causal), blocks: 0 };
      return [wider.window, totalOf(mass, wider, causal, []) / tokens, totalOf(pairs, wider, causal, []) / allPairs];
    })),
    receive(side_, at, values, log) {
      vectors[side_][at] = values;
      if (log) vectors.l[at] = log;
    },
  };
}

/** A function of a mask that keeps its last answers. */
function remembered(compute) {
  const answers = new Map();
  return (mask) => {
    const key = JSON.stringify(mask);
    if (!answers.has(key)) {
      answers.set(key, compute(mask));
      if (answers.size > 200) answers.delete(answers.keys().next().value);
    }
    return answers.get(key);
  };
}
