import { svg } from "../kit/dom.js";
import { count, signed } from "../kit/format.js";
import { thinned } from "../kit/labels.js";
import { linear } from "../kit/scale.js";
import { median } from "./read.js";

const LEFT = 36;
const RIGHT = 8;
const TOP = 24;
const PLOT = 178; // where the recall plot ends
const CELL = 22;
const SKIP = 12; // between two cells with segments left out
const LETTER = 6.4;

/** Left and right edge of every kept segment on the tape, and of the live one behind them. */
export function cells({ after, tokens, segment }, left, right) {
  const live = tokens % segment > 0;
  const skips = Array.from(after, (number, i) => number - (i ? after[i - 1] : 0) > 1);
  const width = (right - left - SKIP * skips.filter(Boolean).length) / (after.length + (live ? 1 : 0));
  let x = left;
  const found = Array.from(after, (_, i) => {
    x += skips[i] ? SKIP : 0;
    return { left: x, right: (x += width), skipped: skips[i] };
  });
  return { cells: found, live: live ? { left: x, right: x + width } : null };
}

/**
 * How high each point stands: the cosine of what its own key brings back, or how well the question fits its key, on a
 * log axis where fits are products of positive numbers.
 */
function axisOf({ question, rule }, points) {
  if (question === null || rule === "unit") {
    const of = (point) => (question === null ? point.cosine : point.fit);
    const low = Math.min(-0.25, Math.floor(4 * Math.min(0, ...points.map((point) => of(point) ?? 0))) / 4);
    const ticks = [];
    for (let tick = 1; tick >= low - 1e-9; tick -= 0.5) ticks.push([tick, signed(tick, tick % 1 ? 1 : 0)]);
    return { of, ticks, y: linear([low, 1], [PLOT, TOP + 8]) };
  }
  const exponents = points.filter(({ fit }) => fit > 0).map(({ fit }) => Math.log10(fit));
  const [low, high] = exponents.length
    ? [
        Math.floor(Math.min(...exponents)),
        Math.max(Math.ceil(Math.max(...exponents)), Math.floor(Math.min(...exponents)) + 1),
      ]
    : [-2, 2];
  const step = Math.ceil((high - low) / 6);
  const ticks = [];
  for (let exponent = high; exponent >= low; exponent -= step) ticks.push([10 ** exponent, powerOfTen(exponent)]);
  const level = linear([low, high], [PLOT, TOP + 8]);
  return { of: ({ fit }) => fit, ticks, y: (fit) => level(Math.max(low, Math.log10(fit))) };
}

/** "0.01", "1", "100", and beyond that "10⁻⁵". */
function powerOfTen(exponent) {
  if (Math.abs(exponent) < 3) return String(Number((10 ** exponent).toPrecision(1)));
  return `10${exponent < 0 ? "⁻" : ""}${raisedDigits(Math.abs(exponent))}`;
}
const raisedDigits = (n) => [...String(n)].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("");

/**
 * The tape: every pair by where it was written and how well it is read back now, the segments, how long M and z are.
 * @param {import("./seen.js").Recording} recording @param {import("./seen.js").State} state
 * @param {import("./seen.js").Seen} seen what `look` found @param {number} width
 * @param {string} title what the height of a point is
 */
export function tapeChart(recording, state, seen, width, title) {
  const [left, right] = [LEFT, width - RIGHT];
  const { cells: places, live } = cells(recording, left, right);
  const { of, ticks, y } = axisOf(state, seen.points);
  const own = seen.points.find(({ pair }) => pair === state.pair);
  const norms = recording.norms(state.rule, state.memory);
  const strip = [PLOT + 66, PLOT + 112];
  const height = strip[1] + 20;
  const text = (x, at, words, ink = "ink-2", attributes = {}) =>
    svg("text", { x, y: at, style: `fill:var(--${ink})`, ...attributes }, words);
  const rule = (x1, y1, x2, y2, ink = "line", attributes = {}) =>
    svg("line", { x1, y1, x2, y2, style: `stroke:var(--${ink})`, ...attributes });
  const chart = svg("svg", { width, height, "aria-hidden": "true" });
  const x = (pair) => {
    const { left: from, right: to } = places[recording.column[pair]];
    return from + (to - from) * (0.08 + (0.84 * ((recording.at[pair] % recording.segment) + 0.5)) / recording.segment);
  };

  chart.append(text(0, 11, title));
  for (const [tick, words] of ticks) {
    chart.append(
      rule(left, y(tick), right, y(tick), "line", { "stroke-width": tick === 0 ? 1 : 0.6 }),
      text(left - 7, y(tick) + 4, words, "ink-2", { "text-anchor": "end" }),
    );
  }
  if (state.question !== null && seen.b > 0 && !seen.empty)
    chart.append(rule(left, y(seen.b), right, y(seen.b), "ink-2", { "stroke-dasharray": "4 3" }));

  // The segments: gold as strong as what of them comes back.
  const numbers = Array.from(recording.after);
  const [centres, wide] = [
    places.map((cell) => (cell.left + cell.right) / 2),
    numbers.map((n) => LETTER * count(n).length),
  ];
  const now = state.frame - 1; // its number stands whatever else has to go
  const stands = thinned(centres, wide, 5).map((stand, i) => i === now
    || (stand && (now < 0 || Math.abs(centres[i] - centres[now]) >= (wide[i] + wide[now]) / 2 + 5)));
  const best = Math.max(0, ...seen.points.map(({ fit }) => fit ?? 0));
  places.forEach((cell, i) => {
    const here = seen.points.filter(({ pair, cosine }) => recording.column[pair] === i && cosine !== null);
    const past = i < state.frame;
    const written = past && !state.knocked;
    const kept =
      state.question === null
        ? (median(here.map(({ cosine }) => cosine)) ?? 0)
        : best
          ? Math.max(0, ...here.map(({ fit }) => fit ?? 0)) / best
          : 0;
    const strength = written ? Math.max(0, kept) : 0;
    const marked = recording.pairs.some((pair) => recording.needle[pair] && recording.column[pair] === i);
    const box = { x: cell.left + 1, y: PLOT + 12, width: Math.max(1, cell.right - cell.left - 2), height: CELL, rx: 2 };
    chart.append(
      svg("rect", {
        ...box,
        style: `fill:var(--m);fill-opacity:${(0.8 * strength).toFixed(3)};stroke:var(--${past ? "m" : "line"})`,
        "stroke-dasharray": past ? null : "3 2",
      }),
    );
    if (cell.skipped) chart.append(text(cell.left - SKIP / 2, PLOT + 26, "⋯", "ink-2", { "text-anchor": "middle" }));
    if (marked)
      chart.append(
        svg("path", {
          d: diamond((cell.left + cell.right) / 2, PLOT + 12 + CELL / 2, 4),
          style: "fill:var(--k);stroke:var(--paper)",
        }),
      );
    if (stands[i])
      chart.append(
        text((cell.left + cell.right) / 2, PLOT + 48, count(numbers[i]), i === state.frame - 1 ? "ink" : "ink-2", {
          "text-anchor": "middle",
          "font-weight": i === state.frame - 1 ? 600 : 400,
        }),
      );
  });
  if (live) {
    chart.append(
      svg("rect", {
        x: live.left + 1,
        y: PLOT + 12,
        width: Math.max(1, live.right - live.left - 2),
        height: CELL,
        rx: 2,
        style: "fill:none;stroke:var(--q)",
        "stroke-dasharray": "2 2",
      }),
    );
    if (live.right - live.left > 24)
      chart.append(text((live.left + live.right) / 2, PLOT + 27, "live", "q", { "text-anchor": "middle" }));
  }
  chart.append(text(0, PLOT + 48, "seg."));

  // How long M and z are, and how long they were.
  const longest = Math.max(1, ...norms.flat());
  const shortest = Math.min(longest, ...norms.flat().filter((value) => value > 0));
  const level = linear([Math.log10(shortest), Math.log10(longest * 1.0001)], [strip[1], strip[0] + 4]);
  const edge = (frame) => (frame ? places[frame - 1].right : left);
  const line = (which, ink, dash) => {
    const points = norms
      .map((norm, frame) =>
        norm[which] > 0 ? `${edge(frame).toFixed(1)},${level(Math.log10(norm[which])).toFixed(1)}` : null,
      )
      .filter(Boolean);
    chart.append(
      svg("polyline", {
        points: points.join(" "),
        fill: "none",
        style: `stroke:var(--${ink})`,
        "stroke-width": 1.8,
        "stroke-dasharray": dash,
      }),
    );
  };
  chart.append(rule(left, strip[1], right, strip[1]));
  line(0, "m");
  const bare = norms.every((norm) => norm[1] === 0);
  if (!bare) line(1, "ink-2", "4 3");
  const [m, z] = state.knocked ? [0, 0] : norms[state.frame];
  chart.append(
    text(0, strip[1] + 15, `length of M ${lengthWords(m)}`, "m", { "font-weight": 600 }),
    ...(bare
      ? []
      : [text(right, strip[1] + 15, `dashed: z ${lengthWords(z)}, log scale`, "ink-2", { "text-anchor": "end" })]),
  );
  if (!state.knocked)
    for (const [which, ink] of [
      [0, "m"],
      [1, "ink-2"],
    ]) {
      if (norms[state.frame][which] > 0)
        chart.append(
          svg("circle", {
            cx: edge(state.frame),
            cy: level(Math.log10(norms[state.frame][which])),
            r: 3,
            style: `fill:var(--${ink})`,
          }),
        );
    }

  // Where the tape stands, and every pair written by then.
  chart.append(rule(edge(state.frame), TOP, edge(state.frame), strip[1], "mark", { "stroke-width": 1.2 }));
  const ordered = [...seen.points].sort((a, b) => recording.needle[a.pair] - recording.needle[b.pair]);
  for (const point of ordered) {
    if (of(point) === null) continue;
    const { pair } = point;
    const [px, py] = [x(pair), y(of(point))];
    chart.append(recording.needle[pair]
      ? svg("path", { d: diamond(px, py, 4.6), style: "fill:var(--k);stroke:var(--paper)" })
      : svg("circle", { cx: px, cy: py, r: 2.6, style: "fill:var(--ink-2);fill-opacity:.55" }));
  }
  if (seen.empty)
    chart.append(
      text((left + right) / 2, (TOP + PLOT) / 2, "empty: nothing is stored", "ink-2", {
        "text-anchor": "middle",
        "font-size": 13,
      }),
    );
  if (own && of(own) !== null) {
    const [px, py] = [x(state.pair), y(of(own))];
    chart.append(svg("circle", { cx: px, cy: py, r: 8, style: "fill:none;stroke:var(--mark)", "stroke-width": 2 }));
    if (seen.over !== null && state.question === null)
      chart.append(
        rule(px, py, px, y(seen.over), "bad", { "stroke-dasharray": "2 2" }),
        svg("circle", {
          cx: px,
          cy: y(seen.over),
          r: 4.5,
          style: "fill:var(--paper);stroke:var(--bad)",
          "stroke-width": 2,
        }),
      );
  }

  return {
    chart,
    /** What lies under a place of the picture: the nearest pair above the tape, a frame on it and below. */
    under(px, py) {
      if (py > PLOT + 6) {
        const at = places.findIndex((cell) => px <= cell.right);
        return { frame: px < left ? 0 : at < 0 ? places.length : at + 1 };
      }
      let nearest = { pair: null, far: Infinity };
      for (const point of seen.points) {
        const far = Math.hypot(x(point.pair) - px, (of(point) === null ? 0 : y(of(point))) - py);
        if (far < nearest.far) nearest = { pair: point.pair, far };
      }
      return nearest.pair === null ? {} : { pair: nearest.pair };
    },
  };
}

const diamond = (x, y, r) => `M${x} ${y - r}l${r} ${r}l${-r} ${r}l${-r} ${-r}z`;

/** A length to three figures, or as a power of ten where it is long: "12.3", "4.5 × 10⁶". */
export function lengthWords(x) {
  if (x === 0) return "0";
  if (x >= 1e6) {
    const exponent = Math.floor(Math.log10(x));
    return `${(x / 10 ** exponent).toFixed(1)} × 10${raisedDigits(exponent)}`;
  }
  return x >= 100 ? count(Math.round(x)) : signed(x, x >= 10 ? 1 : 2);
}
