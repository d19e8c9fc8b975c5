/**
 * The pyramid of squares. Level l holds squares of 2^l x 2^l cells; tiles of 256 x 256 squares are what is drawn.
 * Levels from the finest stored one up are in the data or follow from it; levels below it are computed from q and k.
 */

export const TILE = 256;

/**
 * What travels of a causal map is row by row on and below the diagonal.
 * @param {number} side @param {boolean} causal
 */
export function squareOf(values, side, causal) {
  if (!causal) return values;
  const square = new values.constructor(side * side);
  for (let row = 0, at = 0; row < side; row += 1) {
    square.set(values.subarray(at, at + row + 1), row * side);
    at += row + 1;
  }
  return square;
}

/** 2 x 2 squares make one, of which the largest counts. @param {Uint8Array} codes @param {number} side */
export function coarserLargest(codes, side) {
  const half = Math.ceil(side / 2);
  const out = new Uint8Array(half * half);
  for (let row = 0; row < side; row += 1) {
    const into = (row >> 1) * half;
    for (let column = 0; column < side; column += 1) {
      const code = codes[row * side + column];
      if (code > out[into + (column >> 1)]) out[into + (column >> 1)] = code;
    }
  }
  return out;
}

/** 2 x 2 means make one; what lies outside the map counts as 0. @param {Float32Array} means @param {number} side */
export function coarserMean(means, side) {
  const half = Math.ceil(side / 2);
  const out = new Float32Array(half * half);
  for (let row = 0; row < side; row += 1) {
    const into = (row >> 1) * half;
    for (let column = 0; column < side; column += 1) out[into + (column >> 1)] += means[row * side + column] / 4;
  }
  return out;
}

/**
 * The level to draw: the finest whose squares are a pixel or more, or of those there are the next coarser one.
 * @param {number} cellsPerPixel @param {number} stored level of the finest stored squares
 * @param {number} deepest how many levels, from the cells up, may be computed here @param {number} top the last level
 */
export function levelFor(cellsPerPixel, stored, deepest, top) {
  const wanted = Math.max(0, Math.ceil(Math.log2(cellsPerPixel) - 1e-9));
  if (wanted >= stored) return Math.min(wanted, top);
  return wanted < deepest ? wanted : stored;
}

/**
 * The tiles of a level that a view touches: [[row, column], ...].
 * @param {import("./camera.js").Camera} camera
 */
export function tilesIn(camera, level, tokens, causal) {
  const size = TILE * 2 ** level;
  const last = Math.ceil(tokens / size) - 1;
  const range = (from) => [
    Math.max(0, Math.floor(from / size)),
    Math.min(last, Math.ceil((from + camera.span) / size) - 1),
  ];
  const [top, bottom] = range(camera.y);
  const [left, right] = range(camera.x);
  const tiles = [];
  for (let row = top; row <= bottom; row += 1) {
    for (let column = left; column <= (causal ? Math.min(right, row) : right); column += 1) tiles.push([row, column]);
  }
  return tiles;
}
