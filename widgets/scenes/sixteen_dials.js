import { svg } from "../kit/dom.js";
import { count, fixed } from "../kit/format.js";
import { bigNumber, box, scene, stroke, words } from "./scene.js";

const [NATS_SHOWN, TURN] = [5, 2 * Math.PI];

/** A point on a circle, clockwise from twelve. */
const onDial = (x, y, radius, angle) => [x + radius * Math.sin(angle), y - radius * Math.cos(angle)];

/** A line along a circle. */
function along(x, y, radius, from, to, look) {
  const steps = Math.max(2, Math.ceil((to - from) * 8));
  const points = Array.from({ length: steps + 1 }, (_, i) => onDial(x, y, radius, from + ((to - from) * i) / steps));
  return stroke(points, look);
}

/** What a pair swept in training as a wedge; where longer texts bring it, as a ring: outside of the wedge, thick. */
function dialFace(x, y, radius, seen, now) {
  const wedge = Array.from({ length: 25 }, (_, i) => onDial(x, y, radius * 0.66, (seen * i) / 24));
  const path = [[x, y], ...wedge].map(([a, b], i) => `${i ? "L" : "M"}${a.toFixed(1)} ${b.toFixed(1)}`).join("");
  const parts = [
    svg("circle", { cx: x, cy: y, r: radius, style: "fill:var(--panel);stroke:var(--line)" }),
    seen >= TURN
      ? svg("circle", { cx: x, cy: y, r: radius * 0.66, style: "fill:var(--s);fill-opacity:.7" })
      : svg("path", { d: `${path}z`, style: "fill:var(--s);stroke:var(--s)" }),
  ];
  if (seen >= TURN) return parts;
  parts.push(along(x, y, radius - 1.5, 0, Math.min(now, seen), { colour: "s", width: 3 }));
  if (now > 1.001 * seen) parts.push(along(x, y, radius - 1.5, seen, Math.min(now, TURN), { colour: "bad", width: 5 }));
  return parts;
}

export default scene(({ drawn, at: [read, chosen], room }) => {
  const between = (/** @type {number[][]} */ [trained, slowed], i) => trained[i] + chosen * (slowed[i] - trained[i]);
  const [wide, high] = [room.width - room.choose(224, 38), room.choose(166, 150)];
  const plot = { x: 34, y: room.choose(14, 62), width: wide, height: high };
  const { edges } = drawn;
  const across = (token) => plot.x + (plot.width * token) / edges.at(-1);
  const up = (nats) => plot.y + plot.height * (1 - nats / NATS_SHOWN);
  const stop = Math.round(read);
  const reached = edges[Math.floor(read)] + (read % 1) * ((edges[Math.ceil(read)]) - edges[Math.floor(read)]);

  const curve = edges.slice(0, stop + 1).flatMap((edge, i) => {
    const [left, right] = [across(edges[i - 1] ?? 0), across(edge)];
    const [mean, low, high] = [drawn.means, drawn.lows, drawn.highs].map((each) => up(between(each, i)));
    const next = i < stop ? up(between(drawn.means, i + 1)) : mean;
    return [
      box(left, high, right - left, low - high, { fill: "mark", opacity: 0.18 }),
      stroke([[left, mean], [right, mean], [right, next]], { colour: "mark", width: 3 }),
    ];
  });
  const columns = room.choose(drawn.swept.length, drawn.swept.length / 2);
  const cell = room.width / columns;
  const radius = Math.min(cell / 2 - 4, 18);
  const first = plot.y + plot.height + room.choose(72, 66);
  const spot = (i) => [(i % columns + 0.5) * cell, first + Math.floor(i / columns) * room.choose(0, 64)];
  const fast = drawn.swept.length - drawn.slow;
  const spanned = (from, to, look) => {
    const [left, right] = [from * cell + 4, to * cell - 4];
    const y = first + radius + 8;
    return stroke([[left, y - 4], [left, y], [right, y], [right, y - 4]], look);
  };
  const dials = drawn.swept.flatMap((seen, i) => {
    const [x, y] = spot(i);
    return [
      ...dialFace(x, y, radius, Math.min(seen, TURN), reached * between(drawn.turned, i)),
      words(x, y - radius - 6, String(i), { size: 12, anchor: "middle", fill: i < fast ? "ink-2" : "ink",
        weight: i < fast ? 400 : 650 }),
    ];
  });
  const counts = bigNumber(room.choose(plot.x + plot.width + 20, 0), room.choose(58, 30),
    fixed(between(drawn.means, stop), 2), { size: room.choose(44, 32) });
  const span = `${count(stop ? edges[stop - 1] : 1)} to ${count(edges[stop] - 1)}`;
  const below = first + radius + 26;
  const ring = chosen < 0.5 ? "thick ring: an angle never trained" : "slowed 8 times: no angle is new";
  return [
    room.choose(below + 4, first + 64 + radius + 44),
    box(plot.x, plot.y, across(edges[0]) - plot.x, plot.height, { fill: "s", opacity: 0.12 }),
    words(plot.x + 4, plot.y + 16, room.choose("trained", "128"), { size: 12, fill: "s" }),
    words(0, plot.y + 4, "nats", { size: 12 }),
    ...[0, 1, 2, 3, 4, 5].map((nats) => stroke([[plot.x, up(nats)], [plot.x + plot.width, up(nats)]])),
    ...[0, 1, 2, 3, 4].map((nats) => words(plot.x - 8, up(nats) + 4, String(nats), { size: 12, anchor: "end" })),
    stroke([[plot.x, up(drawn.guess)], [plot.x + plot.width, up(drawn.guess)]], { colour: "ink-2", dash: "5 4" }),
    words(across(250), up(drawn.guess) - 6, "a guess", { size: 12 }),
    ...curve,
    ...[256, 512, 768, 1024].map((token) => words(across(token), plot.y + plot.height + 17, count(token),
      { size: 12, anchor: token === 1024 ? "end" : "middle" })),
    words(plot.x, plot.y + plot.height + 17, "token", { size: 12 }),
    counts,
    words(room.choose(plot.x + plot.width + 20, 96), room.choose(80, 14), "nats, mean of the", { size: 13 }),
    words(room.choose(plot.x + plot.width + 20, 96), room.choose(98, 30), `answers at ${span}`, { size: 13 }),
    ...dials,
    ...room.choose([
      spanned(0, fast, { colour: "ink-2" }),
      spanned(fast, columns, { colour: chosen < 0.5 ? "bad" : "ink-2", width: 2 }),
      words(fast * cell / 2, below, "turned: met every angle", { anchor: "middle" }),
      words((fast + columns) * cell / 2, below, `no whole turn in training; ${ring}`, { anchor: "middle",
        fill: chosen < 0.5 ? "bad" : "ink-2" }),
    ], [
      words(0, first + 64 + radius + 22, "0 to 5 turned in training, 6 to 15 did not:", { size: 13 }),
      words(0, first + 64 + radius + 41, ring, { size: 13, fill: chosen < 0.5 ? "bad" : "ink-2" }),
    ]),
  ];
});
