/**
 * What part of the map is seen: `span` tokens from key x on and from query y on. All functions are pure.
 * @typedef {{x: number, y: number, span: number}} Camera
 */

export const CLOSEST = 8;

/** The camera moved back over the map. @param {Camera} camera @param {number} tokens @returns {Camera} */
export function within(camera, tokens) {
  const span = Math.min(tokens, Math.max(Math.min(CLOSEST, tokens), camera.span));
  const keep = (at) => Math.min(Math.max(at, 0), tokens - span);
  return { x: keep(camera.x), y: keep(camera.y), span };
}

export function wholeMap(tokens) {
  return { x: 0, y: 0, span: tokens };
}

/** Closer by `factor`, with the point at (u, v), 0 to 1 across and down, staying where it is. */
export function zoomed(camera, factor, u, v, tokens) {
  const span = Math.min(tokens, Math.max(Math.min(CLOSEST, tokens), camera.span / factor));
  return within({ x: camera.x + u * (camera.span - span), y: camera.y + v * (camera.span - span), span }, tokens);
}

/** Moved by shares of what is seen. */
export function panned(camera, across, down, tokens) {
  return within({ x: camera.x + across * camera.span, y: camera.y + down * camera.span, span: camera.span }, tokens);
}

/** `span` tokens around a cell. */
export function around(query, key, span, tokens) {
  return within({ x: key - Math.floor(span / 2), y: query - Math.floor(span / 2), span }, tokens);
}

/** At most `span` tokens around a cell, none of them from another chunk than the cell's own. */
export function insideChunk(query, key, span, chunk, tokens) {
  const size = Math.min(span, tokens, chunk);
  const from = (at) => {
    const start = Math.floor(at / chunk) * chunk;
    return Math.max(start, Math.min(at - Math.floor(size / 2), Math.min(start + chunk, tokens) - size));
  };
  return within({ x: from(key), y: from(query), span: size }, tokens);
}

/** The least movement that brings a cell into view, with an edge of a twentieth. */
export function following(camera, query, key, tokens) {
  const edge = camera.span / 20;
  const into = (from, at) => Math.min(Math.max(from, at + 1 + edge - camera.span), at - edge);
  return within({ x: into(camera.x, key), y: into(camera.y, query), span: camera.span }, tokens);
}

/** The cell at (u, v), held inside the map. @param {Camera} camera @returns {[query: number, key: number]} */
export function cellAt(camera, u, v, tokens) {
  const hold = (at) => Math.min(Math.max(Math.floor(at), 0), tokens - 1);
  return [hold(camera.y + v * camera.span), hold(camera.x + u * camera.span)];
}

/** Steps of a round number of tokens along an axis, about `wanted` of them: [position, ...]. */
export function roundTicks(from, span, wanted) {
  const rough = span / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough));
  const ticks = [];
  for (let at = Math.ceil(from / step) * step; at <= from + span; at += step) ticks.push(at);
  return ticks;
}
