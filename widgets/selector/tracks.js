import { svg } from "../kit/dom.js";
import { count, shown } from "../kit/format.js";
import { thinned } from "../kit/labels.js";
import { linear } from "../kit/scale.js";

const TRACK_LEFT = 52;
const TRACK_RIGHT = 6;
const SCORE = [20, 92]; // where the tracks stand, from top to bottom
const MASS = [120, 214];
const LANE = 15;
const LANES = { hit: 232, miss: 232 + LANE, extra: 232 + 2 * LANE };
const FOOT = 232 + 3 * LANE;
const LANE_TALL = 11;
const CROSSES = 24; // misses that are marked on their bars too, where keys are narrow
const WORDED = 13; // pixels of a key from which its text is written below it

/** The part of the keys that is seen: `span` of them from `from` on, all of it inside 0 ... tokens. */
export function withinKeys({ from, span }, tokens) {
  const wide = Math.min(Math.max(span, Math.min(16, tokens)), tokens);
  return { from: Math.min(Math.max(from, 0), tokens - wide), span: wide };
}

/** Round places to mark on an axis of whole numbers. */
export function placesOf(from, span, most) {
  const least = span / most;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = Math.max(1, [1, 2, 5, 10].map((each) => each * power).find((each) => each >= least));
  const places = [];
  for (let at = Math.ceil(from / step) * step; at < from + span; at += step) places.push(at);
  return places;
}

/**
 * Bars from the middle of one key to the next, or one for each pixel where keys are narrower.
 * @param {{x: number, width: number, y: number}[]} bars @param {number} base
 */
function barsPath(bars, base) {
  return bars
    .map(
      ({ x, width, y }) =>
        `M${x.toFixed(1)} ${base.toFixed(1)}V${y.toFixed(1)}h${width.toFixed(1)}V${base.toFixed(1)}z`,
    )
    .join("");
}

/**
 * Three tracks over the same keys: what the indexer thinks of each, what the attention pays it, and whether it is
 * taken.
 * @param {import("./seen.js").Recording & {text: ?string[]}} recording
 * @param {import("./seen.js").State & {from: number, span: number, cursor: number, needle?: number}} state
 * @param {import("./seen.js").Seen} seen what `look` found @param {number} width @param {string} title
 */
export function tracksChart(recording, state, seen, width, title) {
  const { tokens } = recording;
  const [left, right] = [TRACK_LEFT, width - TRACK_RIGHT];
  const { from, span } = withinKeys(state, tokens);
  const x = linear([from, from + span], [left, right]);
  const cell = (right - left) / span;
  const worded = recording.text && cell >= WORDED;
  const height = FOOT + (worded ? 66 : 30);
  const chart = svg("svg", { width, height, "aria-hidden": "true" });
  const text = (px, py, words, ink = "ink-2", more = {}) =>
    svg("text", { x: px, y: py, style: `fill:var(--${ink})`, ...more }, words);
  const rule = (x1, y1, x2, y2, ink = "line", more = {}) =>
    svg("line", { x1, y1, x2, y2, style: `stroke:var(--${ink})`, ...more });
  const shape = (d, style, more = {}) => (d ? [svg("path", { d, style, ...more })] : []);
  const first = Math.floor(from);
  const last = Math.min(seen.visible, Math.ceil(from + span));

  /** The largest value of each bar, of the keys that are taken and of the others. */
  function bars(values, y, taken) {
    const origin = cell >= 1 ? first : left;
    const found = new Float64Array(Math.ceil(cell >= 1 ? span + 1 : right - left) + 1).fill(NaN);
    for (let key = first; key < last; key += 1) {
      if (seen.chosen[key] !== taken) continue;
      const column = cell >= 1 ? key - origin : Math.max(0, Math.floor(x(key) - origin));
      if (!(Math.abs(values[key]) <= Math.abs(found[column]))) found[column] = values[key];
    }
    const gap = cell > 3 ? 1 : 0;
    const drawn = [];
    found.forEach((value, column) => {
      if (Number.isNaN(value) || (cell >= 1 && x(column + origin + 1) - gap < left + 1)) return;
      const start = Math.max(cell >= 1 ? x(column + origin) : column + origin, left);
      const end = Math.min(cell >= 1 ? x(column + origin + 1) - gap : column + origin + 1, right);
      drawn.push({ x: start, width: Math.max(0.6, end - start), y: y(value) });
    });
    return drawn;
  }

  // The index score, on both sides of 0.
  let [low, high] = [0, 0];
  for (const score of seen.scores) { low = Math.min(low, score); high = Math.max(high, score); }
  const y = linear([low, high || 1], [SCORE[1], SCORE[0] + 6]);
  chart.append(
    text(0, 12, `index score${state.precision === "fp32" ? "" : `, simulated ${state.precision}`}`, "s", {
      "font-weight": 600,
    }),
  );
  chart.append(
    ...shape(barsPath(bars(seen.scores, y, 0), y(0)), "fill:var(--s);fill-opacity:.3"),
    ...shape(barsPath(bars(seen.scores, y, 1), y(0)), "fill:var(--s)"),
    rule(left, y(0), right, y(0)),
  );
  for (const tick of [...new Set([low, 0, high])]) {
    if (tick === 0 || Math.abs(y(tick) - y(0)) > 12)
      chart.append(text(left - 6, y(tick) + 4, scoreWords(tick), "ink-2", { "text-anchor": "end" }));
  }
  const byScore = state.selector === "indexer" && !state.blocks && seen.visible > seen.k;
  if (byScore) chart.append(rule(left, y(seen.least), right, y(seen.least), "s", { "stroke-dasharray": "4 3" }));

  // The attention, on a log scale.
  const decades = Math.max(4, Math.ceil(Math.log10(tokens)) + 1);
  const level = linear([-decades, 0], [MASS[1], MASS[0] + 4]);
  const up = (weight) => level(Math.max(-decades, Math.log10(Math.max(weight, 1e-300))));
  chart.append(text(0, MASS[0] - 8, title, "ink", { "font-weight": 600 }));
  for (let power = 0; power >= -decades; power -= decades > 5 ? 2 : 1) {
    chart.append(
      rule(left, level(power), right, level(power), "line", { "stroke-width": power === -decades ? 1 : 0.6 }),
      text(
        left - 6,
        level(power) + 4,
        power > -3
          ? `${100 * 10 ** power} %`
          : power > -5
            ? `${(100 * 10 ** power).toFixed(-power - 2)} %`
            : `10${"⁻"}${[...String(-power)].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("")}`,
        "ink-2",
        { "text-anchor": "end" },
      ),
    );
  }
  chart.append(...shape(barsPath(bars(seen.weights, up, 0), MASS[1]), "fill:var(--ink-2);fill-opacity:.35"),
    ...shape(barsPath(bars(seen.weights, up, 1), MASS[1]), "fill:var(--mark)"));

  // The chosen set, in three lanes: what both want, what is left out, what is taken instead.
  const half = Math.max(1.5, Math.min(4.5, cell / 2 - 0.5));
  const middle = (key) => (cell >= 1 ? x(key + 0.5) : x(key));
  const marks = {
    hit: (px, py) => `M${px - half} ${py - 5}h${2 * half}v10h${-2 * half}z`,
    extra: (px, py) => `M${px - half} ${py - 4}h${2 * half}v8h${-2 * half}z`,
    miss: (px, py) => `M${px - 3.5} ${py - 3.5}l7 7m0 -7l-7 7`,
  };
  const styles = {
    hit: "fill:var(--mark)",
    miss: "fill:none;stroke:var(--bad);stroke-width:1.8",
    extra: "fill:none;stroke:var(--ink-2)",
  };
  const crowds = Object.fromEntries(
    Object.keys(LANES).map((lane) => [lane, crowded(seen[lane], x, left, right, from, span)]),
  );
  const crowd = Math.max(1, ...Object.values(crowds).flatMap((columns) => [...columns]));
  for (const [lane, py] of Object.entries(LANES)) {
    const ink = { hit: "mark", miss: "bad", extra: "ink-2" }[lane];
    chart.append(
      rule(left, py, right, py, "line", { "stroke-width": 0.6 }),
      text(left - 6, py + 4, lane, ink, { "text-anchor": "end" }),
    );
    if (cell >= 2) {
      const those = seen[lane].filter((key) => key >= from - 0.5 && key + 0.5 < from + span);
      chart.append(...shape(those.map((key) => marks[lane](middle(key), py)).join(""), styles[lane]));
    } else { // how many of them a pixel holds
      const tall = (count) => Math.max(2, (LANE_TALL * count) / crowd);
      chart.append(
        ...shape(
          [...crowds[lane]]
            .map((count, i) =>
              count ? `M${left + i} ${(py - tall(count) / 2).toFixed(1)}h1v${tall(count).toFixed(1)}h-1z` : "",
            )
            .join(""),
          `fill:var(--${ink})`,
        ),
      );
    }
  }
  for (const key of cell >= 2 ? seen.miss : seen.miss.slice(0, CROSSES)) {
    if (key >= from - 0.5 && key + 0.5 < from + span)
      chart.append(...shape(marks.miss(middle(key), up(seen.weights[key]) - 7), styles.miss));
  }

  // The future is not looked at; where the query stands, where the needle, where the reader looks.
  const future = Math.max(left, x(seen.visible));
  if (future < right)
    chart.append(
      ...shape(hatching(future, right, SCORE[0], FOOT - LANE + 8), "stroke:var(--line)", { "stroke-width": 1 }),
    );
  const pin = (key, ink) => {
    const px = middle(key);
    if (px >= left && px <= right) chart.append(...shape(`M${px} ${FOOT - 4}l4 5l-4 5l-4 -5z`, `fill:var(--${ink})`));
  };
  pin(seen.position, "q");
  if (state.needle !== undefined) pin(state.needle, "k");
  const ticks = worded
    ? Array.from({ length: Math.ceil(span) + 1 }, (_, i) => first + i).filter(
        (key) => key >= from - 0.5 && key + 0.5 < from + span && key < tokens,
      )
    : placesOf(from, span, Math.max(2, Math.floor(width / 90)));
  if (worded)
    chart.append(
      ...ticks.map((key) =>
        svg(
          "text",
          {
            transform: `translate(${x(key + 0.5) + 4} ${FOOT + 16}) rotate(-90)`,
            "text-anchor": "end",
            style: `fill:var(--${key === state.cursor ? "mark" : "ink-2"})`,
          },
          shown(recording.text[key], 8),
        ),
      ),
    );
  else {
    const centres = ticks.map((key) => Math.min(middle(key), right - 3.3 * count(key).length));
    const stands = thinned(
      centres,
      ticks.map((key) => 6.6 * count(key).length),
      6,
    );
    ticks.forEach((key, i) => {
      if (stands[i]) chart.append(text(centres[i], FOOT + 22, count(key), "ink-2", { "text-anchor": "middle" }));
    });
    chart.append(text(0, FOOT + 22, "key"));
  }
  if (state.cursor <= seen.position && state.cursor >= from && state.cursor < from + span) {
    const px = middle(state.cursor);
    for (const [top, bottom] of [
      [SCORE[0] - 2, SCORE[1]],
      [MASS[0], MASS[1]],
      [LANES.hit - 8, LANES.extra + 8],
    ])
      chart.append(rule(px, top, px, bottom, "mark", { "stroke-dasharray": "2 2" }));
  }
  return {
    chart,
    /** The key under a place of the picture. */
    keyAt: (px) => Math.min(Math.max(Math.floor(x.invert(px)), 0), seen.position),
  };
}

/** How many of these keys stand in each pixel. */
function crowded(keys, x, left, right, from, span) {
  const columns = new Uint32Array(Math.max(1, Math.ceil(right - left)));
  for (const key of keys)
    if (key >= from && key < from + span)
      columns[Math.min(columns.length - 1, Math.max(0, Math.floor(x(key) - left)))] += 1;
  return columns;
}

/** Diagonal lines that fill a box, cut at its edges. */
function hatching(left, right, top, bottom) {
  const tall = bottom - top;
  let d = "";
  for (let start = left - tall; start < right; start += 7) {
    const [from, to] = [Math.max(start, left), Math.min(start + tall, right)];
    const end = (x) => `${x.toFixed(1)} ${(bottom - (x - start)).toFixed(1)}`;
    if (to > from) d += `M${end(from)}L${end(to)}`;
  }
  return d;
}

/** A score in few figures, with its sign: "0.31", "−12.4". */
export function scoreWords(x) {
  const size = Math.abs(x);
  const words =
    size === 0
      ? "0"
      : size >= 100
        ? count(Math.round(size))
        : size >= 0.01
          ? size.toPrecision(2)
          : size.toExponential(0);
  return x < 0 ? `−${words}` : words;
}

