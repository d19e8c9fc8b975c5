import { count } from "../kit/format.js";
import { cells, cut, mark } from "./cells.js";
import { LETTER, word } from "./paint.js";
import { lastAtMost } from "./trace.js";

const STRIP = 14;
const EDGE = 22; // from the border to the grid: a strip, and air
const HEAD = 38; // the same above, with the names
export const AHEAD = 0;
export const NEVER = 1; // in the whole trace
export const PAST = 2;
export const STORED_TWICE = 3; // in the second of two score matrices as well
export const HERE = 4; // by the program that runs
export const NOW = 5;
const INK = [0.1, 0, 0.34, 0.62, 0.5, 1]; // by state
const STRIP_INK = [0.14, 0.14, 0.4, 0.4, 0.7, 1];
const gridLook = (state) =>
  state === NEVER ? { fill: null, stroke: "line", dash: [2, 3], r: 1 } : { fill: "s", alpha: INK[state], r: 2 };

/** The head (or other leading index) and the kernel that event e works in. @param {import("./trace.js").Trace} trace */
function placeOf(trace, e) {
  const { met, metAt } = trace.visits;
  const last = lastAtMost(metAt, e);
  const { leading = 0, kernel = 0 } = met[Math.max(last, 0)] ?? {};
  return { leading, kernel, last };
}

/** The states of the grid's cells after event e. @param {import("./trace.js").Trace} trace */
export function gridStates(trace, e) {
  const { visits } = trace;
  const tile = visits.stored.length
    ? trace.touches(visits.stored[0])
    : { height: trace.touches(visits.q).height, width: trace.touches(visits.k).height };
  const [rows, columns] = [cut(visits.queries, tile.height), cut(visits.keys, tile.width)];
  const states = new Uint8Array(rows.count * columns.count).fill(NEVER);
  const { leading, kernel, last } = placeOf(trace, e);
  const here = visits.met.filter((one) => one.leading === leading && one.kernel === kernel);
  for (const one of here) mark(states, rows, columns, one, AHEAD);
  const program = trace.programOf(e);
  for (const one of here) {
    if (one.event > e) break;
    if (visits.stored.length && !one.written) continue;
    mark(
      states,
      rows,
      columns,
      one,
      visits.stored.length ? (one.which ? STORED_TWICE : PAST) : trace.programOf(one.event) === program ? HERE : PAST,
    );
  }
  const now = visits.met[last];
  if (now && trace.programOf(now.event) === program) mark(states, rows, columns, now, NOW);
  return { rows, columns, states };
}

/** How far each tile of a tensor has come by event e: a strip of cells. @param {import("./trace.js").Trace} trace */
export function stripStates(trace, tensor, e) {
  const [, length] = trace.tensors[tensor].shape;
  const { tiles, height } = trace.touches(tensor);
  const rows = cut(length, height);
  const column = { unit: 1, count: 1, length: 1 };
  const states = new Uint8Array(rows.count);
  const program = trace.programOf(e);
  const { leading } = placeOf(trace, e);
  // Grouped heads share a key head.
  const heads = trace.tensors[tensor].shape[0] / trace.tensors[trace.visits.q].shape[0];
  let now = null;
  for (const tile of tiles) {
    if (tile.event > e) break;
    if (tile.leading !== Math.floor(leading * heads)) continue;
    const spot = { top: tile.top, bottom: tile.bottom, left: 0, right: 1 };
    mark(states, rows, column, spot, tile.program === program && !tile.written ? HERE : PAST);
    now = tile.program === program ? spot : now;
  }
  if (now) mark(states, rows, column, now, NOW);
  return { rows, states };
}

/** Where the N x N stands. */
function square({ visits }, width) {
  const longest = Math.min(width - 2 * EDGE - 2, 300);
  const ratio = visits.queries / visits.keys;
  const w = ratio > 1 ? Math.max(longest / ratio, 40) : longest;
  const h = ratio > 1 ? longest : Math.max(longest * ratio, 40);
  return { x: EDGE + (width - 2 * EDGE - longest) / 2, y: HEAD, w, h };
}

/** The query and the key under a place of the picture, or null. */
export function pairAt(trace, width, px, py) {
  if (!trace.visits) return null;
  const { x, y, w, h } = square(trace, width);
  const [row, column] = [
    Math.floor(((py - y) / h) * trace.visits.queries),
    Math.floor(((px - x) / w) * trace.visits.keys),
  ];
  return row >= 0 && row < trace.visits.queries && column >= 0 && column < trace.visits.keys ? { row, column } : null;
}

/**
 * Q, K, V, O around the N x N of scores.
 * @param {import("./trace.js").Trace} trace @param {number} e @param {number} width
 */
export function grid(trace, e, width) {
  const { visits, tensors } = trace;
  const at = square(trace, width);
  const { w, h } = at;
  const shapes = [];
  const { rows, columns, states } = gridStates(trace, e);
  shapes.push(...cells(states, rows, columns, at, gridLook));

  const single = { unit: 1, count: 1, length: 1 };
  const strip = (tensor, side) => {
    if (tensor < 0) return;
    const { name, colour } = tensors[tensor];
    const look = (state) => ({ fill: colour, alpha: STRIP_INK[state], r: 2 });
    const found = stripStates(trace, tensor, e);
    const lies = side === "top" || side === "bottom";
    const off = {
      left: at.x - EDGE,
      right: at.x + w + EDGE - STRIP,
      top: at.y - EDGE,
      bottom: at.y + h + EDGE - STRIP,
    }[side];
    const where = lies ? { x: at.x, y: off, w, h: STRIP } : { x: off, y: at.y, w: STRIP, h };
    shapes.push(
      ...(lies
        ? cells(found.states, single, found.rows, where, look)
        : cells(found.states, found.rows, single, where, look)),
    );
    const label = {
      left: [off + STRIP / 2, at.y - EDGE + 11],
      right: [off + STRIP / 2, at.y + h + EDGE - 3],
      top: [at.x + w / 2, at.y - EDGE - 6],
      bottom: [at.x + w / 2, at.y + h + EDGE + 12],
    }[side];
    const wide = name.length * LETTER;
    shapes.push(
      word(name, Math.min(Math.max(label[0], wide / 2 + 1), width - wide / 2 - 1), label[1], colour, {
        bold: true,
        anchor: "middle",
      }),
    );
  };
  const find = (part) => tensors.findIndex((tensor) => tensor.part === part);
  strip(visits.q, "left");
  strip(visits.k, "top");
  strip(find("v"), "bottom");
  strip(find("o"), "right");
  return { shapes, height: HEAD + h + EDGE + 18, words: wordsOf(trace, e, states) };
}

function wordsOf(trace, e, states) {
  const { visits, tensors } = trace;
  const heads = tensors[visits.q].shape[0];
  const head = heads > 1 ? `Head ${placeOf(trace, e).leading + 1} of ${heads}. ` : "";
  const shape = `${count(visits.queries)} × ${count(visits.keys)}`;
  const names = visits.stored.map((t) => tensors[t].name).join(" and ");
  const never = states.includes(NEVER) ? " Dashed: never computed." : "";
  return visits.stored.length ? `${head}The ${shape} ${names} are stored in HBM, and read back.${never}`
    : `${head}The ${shape} scores are a ghost: each tile lives in SRAM only, none is ever stored.${never}`;
}
