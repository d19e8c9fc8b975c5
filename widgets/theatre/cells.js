import { box } from "./paint.js";

const MOST_CELLS = 96; // along a side: finer tiles are drawn together
const CROWDED = 5; // pixels, below which neighbours of one state are drawn as one

/** How a side of `length` is cut into cells of at least `tile`. */
export function cut(length, tile) {
  const unit = Math.max(tile, Math.ceil(length / MOST_CELLS));
  return { unit, count: Math.ceil(length / unit), length };
}

/** Marks the cells that a tile touches. @param {Uint8Array} states row by row */
export function mark(states, rows, columns, tile, state) {
  const lastRow = Math.min(rows.count, Math.ceil(tile.bottom / rows.unit));
  const lastColumn = Math.min(columns.count, Math.ceil(tile.right / columns.unit));
  for (let row = Math.floor(tile.top / rows.unit); row < lastRow; row += 1) {
    states.fill(state, row * columns.count + Math.floor(tile.left / columns.unit), row * columns.count + lastColumn);
  }
}

/**
 * Cells as boxes; a ragged last one is as small as it is.
 * @param {Uint8Array} states
 * @param {{unit: number, count: number, length: number}} rows
 * @param {{unit: number, count: number, length: number}} columns
 * @param {{x: number, y: number, w: number, h: number}} place
 * @param {(state: number) => ?import("./paint.js").Shape} look of a box, by state
 */
export function cells(states, rows, columns, { x, y, w, h }, look) {
  const [across, down] = [w / columns.length, h / rows.length];
  const gap = Math.min(2, (columns.unit * across) / 6, (rows.unit * down) / 6);
  const crowded = columns.unit * across < CROWDED;
  const shapes = [];
  for (let row = 0; row < rows.count; row += 1) {
    const top = y + row * rows.unit * down;
    const tall = Math.max(Math.min(rows.unit, rows.length - row * rows.unit) * down - gap, 0.75);
    for (let column = 0; column < columns.count;) {
      const state = states[row * columns.count + column];
      let end = column + 1;
      while (crowded && end < columns.count && states[row * columns.count + end] === state) end += 1;
      const style = look(state);
      const [left, right] = [column * columns.unit * across, Math.min(end * columns.unit, columns.length) * across];
      if (style) shapes.push({ ...box(x + left, top, Math.max(right - left - gap, 0.75), tall), ...style });
      column = end;
    }
  }
  return shapes;
}
