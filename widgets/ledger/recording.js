import { svg } from "../kit/dom.js";
import { count, size } from "../kit/format.js";
import { spread } from "../kit/labels.js";
import { linear, linearByteTicks } from "../kit/scale.js";
import { tint } from "./bars.js";

const ABOVE = 36;
const BELOW = 40;
const BESIDE = 62;
const LETTER_WIDTH = 7.2; // of a bold figure at 11 px, on the safe side
const CROWDED = 300; // events, from where outlines would hide the areas

/**
 * Where in a band of changing height a word can stand: the longest stretch that leaves it room.
 * @param {number[]} low lower edge in pixels (the larger number)
 * @param {number[]} high upper edge
 * @param {number[]} xs left edges, and the last right edge
 * @param {number} wide @param {number} tall @returns {?{x: number, y: number}}
 */
export function roomFor(low, high, xs, wide, tall) {
  let best = null;
  for (let i = 0, from = 0, bottom = Infinity, top = -Infinity; i < low.length; i += 1) {
    [bottom, top] = [Math.min(bottom, low[i]), Math.max(top, high[i])];
    if (bottom - top < tall)
      [from, bottom, top] = low[i] - high[i] < tall ? [i + 1, Infinity, -Infinity] : [i, low[i], high[i]];
    else if (xs[i + 1] - xs[from] >= Math.max(wide, best ? best.length + 1 : 0)) {
      best = { length: xs[i + 1] - xs[from], x: (xs[from] + xs[i + 1]) / 2, y: (bottom + top) / 2 };
    }
  }
  return best && { x: best.x, y: best.y };
}

/**
 * Roles that rise once and fall once stand at the bottom, so that what comes and goes doesn't move them; then the
 * others as they appear, and what isn't told apart on top.
 * @param {import("./words.js").Role[]} roles
 */
export function stackOrder(roles) {
  const key = ({ bytes, rest }) => {
    let [most, moved] = [0, 0];
    for (let i = 0; i < bytes.length; i += 1)
      [most, moved] = [Math.max(most, bytes[i]), moved + Math.abs(bytes[i] - (i ? bytes[i - 1] : 0))];
    return [rest ? 2 : moved > 2 * most ? 1 : 0, Array.from(bytes).findIndex(Boolean)];
  };
  return roles
    .map((role) => ({ role, at: key(role) }))
    .sort(({ at: a }, { at: b }) => a[0] - b[0] || a[1] - b[1])
    .map(({ role }) => role);
}

/**
 * Bytes alive after each event, stacked by role.
 * @param {import("./words.js").Recording} run @param {number} width
 */
export function recordingChart(run, width) {
  const { event, total, live, peak, roles, limits } = run;
  const height = width < 480 ? 280 : 340;
  const right = limits.length ? 74 : 16;
  const floor = height - BELOW;
  const most = live[peak];
  const shown = limits.filter(({ bytes }) => bytes <= 2 * most);
  const y = linear([0, Math.max(most, ...shown.map(({ bytes }) => bytes))], [floor, ABOVE]);
  const x = linear([0, total], [BESIDE, width - right]);
  const text = (px, py, words, ink, attributes = {}) =>
    svg("text", { x: px, y: py, style: `fill:var(--${ink})`, ...attributes }, words);
  const chart = svg("svg", { width, height, "aria-hidden": "true" });
  for (const tick of linearByteTicks(y.invert(ABOVE))) {
    chart.append(
      svg("line", {
        x1: BESIDE,
        x2: width - right,
        y1: y(tick),
        y2: y(tick),
        style: "stroke:var(--line)",
        "stroke-width": 0.6,
      }),
      text(BESIDE - 8, y(tick) + 4, size(tick), "ink-2", { "text-anchor": "end" }),
    );
  }

  const edges = Array.from(event, (e) => x(e));
  edges.push(x(total));
  let floorOf = Array.from(event, () => 0);
  const names = [];
  for (const { name, colour, shade, bytes } of stackOrder(roles)) {
    const topOf = floorOf.map((below, i) => below + bytes[i]);
    const steps = (heights) => heights.map((h, i) => [edges[i], y(h), edges[i + 1], y(h)].map((px) => px.toFixed(1)));
    const upper = steps(topOf).map(([x1, y1, x2, y2]) => `${x1},${y1} ${x2},${y2}`);
    const lower = steps(floorOf)
      .map(([x1, y1, x2, y2]) => `${x2},${y2} ${x1},${y1}`)
      .reverse();
    chart.append(
      svg("polygon", { points: [...upper, ...lower].join(" "), style: tint(colour, shade), stroke: "none" }),
    );
    if (event.length <= CROWDED) {
      // The upper edge alone, and only where the area can be seen.
      const seen = (i) => i >= 0 && y(floorOf[i]) - y(topOf[i]) >= 1;
      const edge = steps(topOf).map(([x1, y1, x2], i) =>
        seen(i) ? `${seen(i - 1) ? "L" : "M"}${x1},${y1}H${x2}` : "",
      );
      chart.append(svg("path", { d: edge.join(""), fill: "none", style: `stroke:var(--${colour})` }));
    }
    const room = roomFor(floorOf.map(y), topOf.map(y), edges, 6.4 * name.length + 10, 17);
    if (room) names.push(text(room.x, room.y + 4, name, "ink", { "text-anchor": "middle", "font-weight": 600 }));
    floorOf = topOf;
  }
  const ends = [
    text(BESIDE, floor + 17, "1", "ink-2"),
    text(width - right, floor + 17, count(total), "ink-2", { "text-anchor": "end" }),
  ];
  chart.append(
    ...names,
    svg("line", { x1: BESIDE, x2: width - right, y1: floor, y2: floor, style: "stroke:var(--line)" }),
    text(4, 14, "bytes alive", "ink-2"),
    text(Math.min((edges[peak] + edges[peak + 1]) / 2, width - right - 4), y(most) - 7, "peak", "ink", {
      "text-anchor": "middle",
      "font-weight": 600,
    }),
    text(width - right, floor + 33, "allocations and frees, in order", "ink-2", { "text-anchor": "end" }),
    ...ends,
  );
  const lifted = spread(
    shown.map(({ bytes }) => y(bytes) + 4),
    14,
    ABOVE,
    floor,
  );
  shown.forEach(({ name, bytes }, i) =>
    chart.append(
      svg("line", {
        x1: BESIDE,
        x2: width - right,
        y1: y(bytes),
        y2: y(bytes),
        style: "stroke:var(--bad)",
        "stroke-width": 1.2,
      }),
      text(width - right + 6, lifted[i], name, "bad"),
    ),
  );

  const cursor = svg("rect", { y: ABOVE, height: floor - ABOVE, style: "fill:var(--mark)", "fill-opacity": 0.16 });
  const hair = svg("line", { y1: ABOVE, y2: floor, style: "stroke:var(--mark)" });
  const place = svg("text", { y: floor + 17, "text-anchor": "middle", style: "fill:var(--mark)", "font-weight": 600 });
  chart.append(cursor, hair, place);
  return {
    chart,
    point(at) {
      const middle = (edges[at] + edges[at + 1]) / 2;
      cursor.setAttribute("x", String(edges[at]));
      cursor.setAttribute("width", String(Math.max(edges[at + 1] - edges[at], 0)));
      for (const end of ["x1", "x2"]) hair.setAttribute(end, String(middle));
      place.textContent = count(event[at] + 1);
      const half = (LETTER_WIDTH * place.textContent.length) / 2;
      const centre = Math.min(Math.max(middle, BESIDE + half), width - half - 2);
      place.setAttribute("x", String(centre));
      // The axis's own ends give way to the place being read.
      ends[0].style.opacity = centre - half < BESIDE + 14 ? "0" : "1";
      ends[1].style.opacity = centre + half > width - right - LETTER_WIDTH * count(total).length - 8 ? "0" : "1";
    },
    /** The event drawn at a place in the picture. @param {number} px */
    nearest(px) {
      const after = edges.findIndex((edge) => edge > px);
      return after < 0 ? event.length - 1 : Math.max(after - 1, 0);
    },
  };
}
