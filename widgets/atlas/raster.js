import { OCTAVES, weightOf } from "./scale.js";

/**
 * Pixels from squares. Each pixel looks up the square its centre falls in, so there are no tiles to stitch, and a frame
 * costs what it has pixels, whatever the map has cells.
 */

/** For each pixel the token its centre falls on. @param {number} from @param {number} span @param {number} pixels */
export function tokensOf(from, span, pixels, tokens) {
  return Int32Array.from({ length: pixels }, (_, i) =>
    Math.min(tokens - 1, Math.floor(from + ((i + 0.5) * span) / pixels)),
  );
}

/** The pixels [first, end) whose tokens lie in from <= token < to; `positions` rises. */
export function pixelsIn(positions, from, to) {
  const least = (bound) => {
    let low = 0, high = positions.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (positions[middle] < bound) low = middle + 1; else high = middle;
    }
    return low;
  };
  return [least(from), least(to)];
}

/**
 * Paint a rectangle of pixels.
 * @param {Uint32Array} out row by row, keys.length wide @param {Int32Array} queries of each row of pixels
 * @param {Int32Array} keys of each column
 * @param {[number, number]} rows pixels [first, end)
 * @param {[number, number]} columns
 * @param {{level: number, stride: number, row: number, column: number}} at how squares lie in the bytes: squares of
 *   2^level tokens, `stride` to a row, the first at (row, column)
 * @param {Uint8Array} codes @param {Uint32Array} table colour of each byte
 */
export function paint(out, queries, keys, rows, columns, at, codes, table) {
  for (let y = rows[0]; y < rows[1]; y += 1) {
    const from = ((queries[y] >> at.level) - at.row) * at.stride - at.column;
    const into = y * keys.length;
    for (let x = columns[0]; x < columns[1]; x += 1) out[into + x] = table[codes[from + (keys[x] >> at.level)]];
  }
}

/** As `paint`, for the difference of two maps. @param {Uint32Array} table colour of each step from -255 to 255 */
export function paintDifference(out, queries, keys, rows, columns, at, one, other, table, scale) {
  const ratio = scale.bits / OCTAVES;
  const weights = Float32Array.from({ length: 256 }, (_, code) => (255 * weightOf(code, scale.bits)) / scale.top);
  for (let y = rows[0]; y < rows[1]; y += 1) {
    const from = ((queries[y] >> at.level) - at.row) * at.stride - at.column;
    const into = y * keys.length;
    for (let x = columns[0]; x < columns[1]; x += 1) {
      const square = from + (keys[x] >> at.level);
      const step = scale.log ? (one[square] - other[square]) * ratio : weights[one[square]] - weights[other[square]];
      out[into + x] = table[255 + Math.max(-255, Math.min(255, Math.round(step)))];
    }
  }
}

