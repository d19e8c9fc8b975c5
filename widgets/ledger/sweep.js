import { svg } from "../kit/dom.js";
import { count, size } from "../kit/format.js";
import { spread, thinned } from "../kit/labels.js";
import { linear, linearByteTicks, logByteTicks, logarithmic } from "../kit/scale.js";
import { slope } from "./words.js";

const TOP = 26;
const BOTTOM = 40;
const LEFT = 62;
const LETTER = 6.4; // width of a letter at 11 px, on the safe side
const LABEL_GAP = 13;
const LABEL_WIDTH = 70;
const LABEL_HEIGHT = 30;
const SHAPES = ["circle", "square", "triangle", "diamond"];

/** A point in the shape of its method, so that methods differ without colour. */
function mark(shape, x, y, r, style) {
  const path = {
    circle: `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
    square: `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
    triangle: `M${x} ${y - 1.2 * r}l${1.2 * r} ${2.1 * r}h${-2.4 * r}z`,
    diamond: `M${x} ${y - 1.3 * r}l${1.3 * r} ${1.3 * r}l${-1.3 * r} ${1.3 * r}l${-1.3 * r} ${-1.3 * r}z`,
  }[shape];
  return svg("path", { d: path, style });
}

function line(xs, ys, x, y, attributes) {
  const points = Array.from(xs, (n, i) => (ys[i] > 0 ? `${x(n).toFixed(1)},${y(ys[i]).toFixed(1)}` : null)).filter(
    Boolean,
  );
  return svg("polyline", { points: points.join(" "), fill: "none", ...attributes });
}

/**
 * Where the two-line labels at the lines' ends stand, so that none meets another: those at the plot's edge as one
 * column, those that end before it as another, or all as one where the columns would overlap.
 * @param {{x: number, y: number}[]} tips
 * @param {number} edge
 * @param {number} top
 * @param {number} floor
 * @returns {{x: number, y: number}[]}
 */
export function labelPlaces(tips, edge, top, floor) {
  const early = tips.map(({ x }) => x < edge - 14);
  const widest = LABEL_GAP + LABEL_WIDTH;
  const apart = tips.every(({ x }, i) => !early[i] || x < edge - widest);
  const places = new Array(tips.length);
  for (const column of apart ? [true, false] : [null]) {
    const group = tips.map((_, i) => i).filter((i) => column === null || early[i] === column);
    const ys = spread(group.map((i) => tips[i].y - (early[i] ? 12 : 0)), LABEL_HEIGHT, top, floor);
    group.forEach((i, rank) => { places[i] = { x: tips[i].x + LABEL_GAP, y: ys[rank] }; });
  }
  return places;
}

/**
 * What part of the numbers the axes hold.
 * @typedef {{chosen: number, at: number, scale: string, asking: boolean, range: ?[low: number, high: number],
 *   prediction: ?number, revealedPrediction: ?number}} State what the reader has chosen, asked or said
 * @param {Pick<import("./words.js").Sweep & State,
 *   "scale" | "asking" | "methods" | "lengths" | "limits" | "shown" | "range">} view
 * @returns {{x: [number, number], y: [number, number]}}
 */
export function extent({ scale, asking, methods, lengths, limits, shown, range }) {
  const end = lengths.length - 1;
  if (asking) return { x: [lengths[0], lengths[end]], y: [Math.min(methods[0].bytes[0], range[0]) / 2, range[1]] };
  const measured = methods.flatMap(({ bytes }) => Array.from(bytes)).filter((bytes) => bytes > 0);
  if (scale === "linear") return { x: [0, lengths[end]], y: [0, Math.max(...measured, 1)] };
  const predicted = methods.flatMap(({ formula }) => (formula ? Array.from(formula.bytes) : []));
  const far = methods.flatMap(({ formula }) => (formula ? [formula.n[formula.n.length - 1]] : []));
  const high = Math.max(...measured, ...predicted, ...limits.map(({ bytes }) => bytes), 2);
  return { x: [lengths[0], Math.max(lengths[end], ...far)], y: [Math.min(...measured, high / 2) / 2, high] };
}

/**
 * Peak bytes against tokens: measured solid with points, formula dashed, limits as lines, labels at the lines' ends.
 * While a prediction is asked for, only the first points and the reader's handle.
 * @param {import("./words.js").Sweep & State} view @param {number} width
 */
export function sweepChart(view, width) {
  const { lengths, methods, limits, chosen, at, scale, asking, shown, prediction, revealedPrediction, what } = view;
  const narrow = width < 480;
  const height = narrow ? 280 : 340;
  const drawn = asking ? [methods[chosen]] : methods;
  const { x: xs, y: ys } = extent({ ...view, methods: drawn });
  const names = drawn.map(({ name }) => name);
  const right = Math.min(16 + LETTER * Math.max(10, ...names.map((name) => name.length)), 0.34 * width);
  const build = scale === "log" || asking ? logarithmic : linear;
  const x = build(xs, [LEFT, width - right]);
  const y = build(ys, [height - BOTTOM, TOP]);
  const [left, end, floor] = [LEFT, width - right, height - BOTTOM];
  const text = (px, py, words, ink = "ink-2", attributes = {}) =>
    svg("text", { x: px, y: py, style: `fill:var(--${ink})`, ...attributes }, words);
  const halo = { stroke: "var(--paper)", "stroke-width": 3, "paint-order": "stroke", "stroke-linejoin": "round" };
  const chart = svg("svg", { width, height, "aria-hidden": "true" });

  // Axes, quiet: gridlines for bytes, words for both.
  for (const tick of build === logarithmic ? logByteTicks(...ys) : linearByteTicks(ys[1])) {
    chart.append(
      svg("line", { x1: left, x2: end, y1: y(tick), y2: y(tick), style: "stroke:var(--line)", "stroke-width": 0.6 }),
      text(left - 8, y(tick) + 4, size(tick), "ink-2", { "text-anchor": "end" }),
    );
  }
  const tokens = Array.from(lengths);
  while (build === logarithmic && tokens.at(-1) * 2 <= xs[1]) tokens.push(tokens.at(-1) * 2);
  const stands = thinned(tokens.map(x), tokens.map((n) => LETTER * count(n).length), 8);
  tokens.forEach((n, i) => chart.append(
    svg("line", { x1: x(n), x2: x(n), y1: floor, y2: floor + 4, style: "stroke:var(--line)" }),
    ...(stands[i] ? [text(x(n), floor + 17, count(n), "ink-2", { "text-anchor": "middle" })] : [])));
  chart.append(svg("line", { x1: left, x2: end, y1: floor, y2: floor, style: "stroke:var(--line)" }),
    text(end, floor + 33, "tokens", "ink-2", { "text-anchor": "end" }), text(4, 14, what));

  // Limits of a machine.
  const within = limits.filter(({ bytes }) => !asking && bytes >= ys[0] && bytes <= ys[1]);
  const lifted = spread(within.map(({ bytes }) => y(bytes) - 5), 14, TOP - 12, floor);
  within.forEach(({ name, bytes }, i) => chart.append(
    svg("line", { x1: left, x2: end, y1: y(bytes), y2: y(bytes), style: "stroke:var(--bad)", "stroke-width": 1.2 }),
    text(left + 6, lifted[i], name, "bad", halo)));

  // The length being read.
  if (!asking)
    chart.append(
      svg("line", { x1: x(lengths[at]), x2: x(lengths[at]), y1: TOP, y2: floor, style: "stroke:var(--mark)" }),
    );

  /** @type {{x: number, y: number, said?: boolean, method?: import("./words.js").Method, strong?: boolean}[]} */
  const ends = drawn.map((method) => {
    const shape = SHAPES[methods.indexOf(method) % SHAPES.length];
    const strong = methods[chosen] === method;
    const ink = `var(--${strong ? "ink" : "ink-2"})`;
    const known = asking ? shown : method.bytes.length;
    const bytes = Array.from(method.bytes).slice(0, known);
    if (method.formula && !asking) {
      const inside = Array.from(method.formula.n)
        .map((n, i) => [n, method.formula.bytes[i]])
        .filter(([n]) => n >= xs[0] && n <= xs[1]);
      chart.append(
        line(
          inside.map(([n]) => n),
          inside.map(([, b]) => b),
          x,
          y,
          { style: `stroke:${ink}`, "stroke-width": 1.2, "stroke-dasharray": "5 4" },
        ),
      );
    }
    chart.append(
      line(tokens.slice(0, known), bytes, x, y, {
        style: `stroke:${ink}`,
        "stroke-width": strong ? 2.2 : 1.4,
        class: "al-arrives",
      }),
    );
    bytes.forEach((b, i) => {
      if (b > 0) chart.append(mark(shape, x(lengths[i]), y(b), strong ? 4 : 3.4, `fill:${ink}`));
    });
    const formula = asking ? null : method.formula;
    const tip =
      formula && build === logarithmic
        ? [formula.n.at(-1), formula.bytes.at(-1)]
        : [lengths[known - 1], bytes[known - 1]];
    return { method, strong, x: x(tip[0]), y: y(Math.max(tip[1], ys[0])) };
  });

  // The reader's prediction: drawn before the measurement, and left standing beside it.
  const said = asking ? prediction : revealedPrediction;
  if (said) {
    const [from, to] = [x(lengths[shown - 1]), x(lengths[lengths.length - 1])];
    const start = y(methods[view.ask].bytes[shown - 1]);
    chart.append(
      svg("line", {
        x1: from,
        y1: start,
        x2: to,
        y2: y(said),
        style: "stroke:var(--mark)",
        "stroke-width": 1.6,
        "stroke-dasharray": "2 4",
      }),
      svg("circle", {
        cx: to,
        cy: y(said),
        r: 7,
        style: "fill:var(--paper);stroke:var(--mark)",
        "stroke-width": 2.5,
        class: asking ? "al-handle" : "",
      }),
    );
    if (asking) chart.append(text(to + 13, y(said) + 4, size(said), "mark", { "font-weight": 600 }));
    else ends.push({ said: true, x: to, y: y(said) });
  }

  // Each line is named where it ends.
  if (!asking)
    labelPlaces(ends, end, TOP + 4, floor - 16).forEach((place, i) => {
      const tip = ends[i];
      if (Math.abs(place.y - tip.y) > 16)
        chart.append(
          svg("line", {
            x1: tip.x + 5,
            y1: tip.y,
            x2: place.x - 3,
            y2: place.y,
            style: "stroke:var(--ink-2)",
            "stroke-width": 0.6,
          }),
        );
      if (tip.said) chart.append(text(place.x, place.y + 4, "you said", "mark", { "font-weight": 600, ...halo }));
      else
        chart.append(
          text(place.x, place.y, tip.method.name, tip.strong ? "ink" : "ink-2", { "font-weight": 600, ...halo }),
          text(place.x, place.y + 13, slope(tip.method.exponent), "ink-2", halo),
        );
    });

  return {
    chart,
    /** The measured length nearest to a place in the picture. @param {number} px */
    nearest: (px) =>
      Array.from(lengths).reduce((best, n, i) => (Math.abs(x(n) - px) < Math.abs(x(lengths[best]) - px) ? i : best), 0),
    bytesAt: (py) => y.invert(py),
  };
}
