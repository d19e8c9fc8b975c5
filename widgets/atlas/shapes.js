import { keptKeys, reachOf } from "./mask.js";

/**
 * The outline of a set of pairs, in pixels: what an attention may look at, what a mask keeps. A path is a list of
 * polygons, all turning the same way, so that overlapping ones make a union.
 * @typedef {{ left: number, top: number, side: number, camera: import("./camera.js").Camera, tokens: number }} Place
 */

/** Pixels of a cell from which a clip follows its steps, and from which a line does. */
const STEPS_FROM = 3;
const LINE_STEPS_FROM = 8;

/** @param {Place} place */
export function pixelsPerCell(place) {
  return place.side / place.camera.span;
}

/** @param {Place} place @returns {(key: number) => number} */
export function acrossOf({ left, side, camera }) {
  return (key) => left + ((key - camera.x) * side) / camera.span;
}

/** @param {Place} place @returns {(query: number) => number} */
export function downOf({ top, side, camera }) {
  return (query) => top + ((query - camera.y) * side) / camera.span;
}

/**
 * A polygon cut to a little more than what is seen. A canvas takes its time over a clip of millions of pixels, and over
 * the dashes of a line as long.
 * @param {number[][]} points @param {Place} place
 */
function cut(points, { left, top, side }) {
  let kept = points;
  for (const [axis, sign, edge] of [
    [0, 1, left - 9],
    [0, -1, left + side + 9],
    [1, 1, top - 9],
    [1, -1, top + side + 9],
  ]) {
    const depth = (point) => sign * (point[axis] - edge);
    kept = kept.flatMap((point, i) => {
      const before = kept.at(i - 1);
      const [d, e] = [depth(point), depth(before)];
      const crossing = d < 0 !== e < 0 ? [[0, 1].map((c) => before[c] + ((point[c] - before[c]) * e) / (e - d))] : [];
      return d < 0 ? crossing : [...crossing, point];
    });
  }
  return kept;
}

/**
 * A line of two points, cut likewise; none when nothing of it is seen.
 * @param {number[][]} line @param {Pick<Place, "left" | "top" | "side">} place
 */
export function cutLine([start, end], { left, top, side }) {
  let [from, to] = [0, 1];
  for (const [axis, sign, edge] of [
    [0, 1, left - 9],
    [0, -1, left + side + 9],
    [1, 1, top - 9],
    [1, -1, top + side + 9],
  ]) {
    const [d, e] = [sign * (start[axis] - edge), sign * (end[axis] - edge)];
    if (d < 0 && e < 0) return [];
    if (d < 0) from = Math.max(from, d / (d - e));
    if (e < 0) to = Math.min(to, d / (d - e));
  }
  const at = (share) => [0, 1].map((c) => start[c] + (end[c] - start[c]) * share);
  return from < to ? [at(from), at(to)] : [];
}

/** Queries from <= query < to and keys likewise, as one polygon. */
function rectangle(place, fromQuery, toQuery, fromKey, toKey) {
  const x = acrossOf(place),
    y = downOf(place);
  return cut(
    [
      [x(fromKey), y(fromQuery)],
      [x(toKey), y(fromQuery)],
      [x(toKey), y(toQuery)],
      [x(fromKey), y(toQuery)],
    ],
    place,
  );
}

/** The pairs at query - back <= key <= query + forth. */
function band(place, back, forth) {
  const { camera, tokens } = place;
  if (back >= tokens && forth >= tokens) return [rectangle(place, 0, tokens, 0, tokens)];
  if (pixelsPerCell(place) >= STEPS_FROM) {
    const rows = [];
    for (let query = Math.max(0, Math.floor(camera.y)); query < Math.min(tokens, camera.y + camera.span); query += 1) {
      rows.push(rectangle(place, query, query + 1, Math.max(0, query - back), Math.min(tokens, query + forth + 1)));
    }
    return rows;
  }
  const x = acrossOf(place), y = downOf(place);
  const corner = (query, key) => [x(Math.min(Math.max(key, 0), tokens)), y(Math.min(Math.max(query, 0), tokens))];
  // Clockwise from the top left: along the upper edge of the band to the far corner, and back along the lower one.
  return [cut([corner(0, 0), corner(0, forth), corner(tokens - forth, tokens), corner(tokens, tokens),
    corner(tokens, tokens - back - 1), corner(back + 1, 0)], place)];
}

/**
 * What the attention may look at.
 * @param {Place} place @param {import("./mask.js").Allowed} allowed
 */
export function allowedShape(place, allowed) {
  const { tokens } = place;
  const reach = reachOf(allowed.window, allowed.causal) ?? tokens;
  const shape = band(place, reach, allowed.causal ? 0 : reach);
  if (allowed.sinks) shape.push(rectangle(place, 0, tokens, 0, allowed.sinks));
  return shape;
}

/** What a mask keeps, not yet cut to what is allowed. @param {Place} place @param {number[][]} chosen blocks */
export function keptShape(place, mask, causal, block, chosen) {
  const { tokens } = place;
  const shape = [];
  const reach = reachOf(mask.window, causal);
  if (reach !== null) shape.push(...band(place, reach, causal ? 0 : reach));
  for (const key of keptKeys(mask)) shape.push(rectangle(place, 0, tokens, key, key + 1));
  for (const query of mask.global_tokens) shape.push(rectangle(place, query, query + 1, 0, tokens));
  for (const [row, column] of chosen) {
    shape.push(
      rectangle(
        place,
        row * block,
        Math.min((row + 1) * block, tokens),
        column * block,
        Math.min((column + 1) * block, tokens),
      ),
    );
  }
  return shape;
}

/** Trace a shape on a canvas. @param {CanvasRenderingContext2D} context @param {number[][][]} shape */
export function trace(context, shape) {
  context.beginPath();
  for (const polygon of shape) {
    polygon.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.closePath();
  }
}

/** The far edges of a window, as lines, with the steps of the cells when they can be seen. */
export function windowEdges(place, reach, causal) {
  const { camera, tokens } = place;
  const x = acrossOf(place), y = downOf(place);
  const lower = [], upper = [];
  if (pixelsPerCell(place) < LINE_STEPS_FROM) {
    lower.push([x(0), y(reach + 1)], [x(tokens - reach - 1), y(tokens)]);
    upper.push([x(reach + 1), y(0)], [x(tokens), y(tokens - reach - 1)]);
  } else {
    for (let query = Math.max(0, Math.floor(camera.y)); query < Math.min(tokens, camera.y + camera.span); query += 1) {
      if (query - reach > 0) lower.push([x(query - reach), y(query)], [x(query - reach), y(query + 1)]);
      if (query + reach + 1 < tokens)
        upper.push([x(query + reach + 1), y(query)], [x(query + reach + 1), y(query + 1)]);
    }
  }
  return causal ? [lower] : [lower, upper];
}
