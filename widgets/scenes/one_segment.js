import { fixed } from "../kit/format.js";
import { bigNumber, box, pointer, scene, words } from "./scene.js";

const [READ_AT, OUT, MEMORY, TOKEN, WRITE_AT] = [52, 70, 116, 196, 250]; // pixels from the top
const [OUT_HIGH, MEMORY_HIGH, TOKEN_HIGH] = [36, 64, 32];

/** The first part of a line through points, as it is drawn. @param {number[][]} points */
function drawnUpTo(points, share) {
  const lengths = points.slice(1).map(([x, y], i) => Math.hypot(x - points[i][0], y - points[i][1]));
  let left = share * lengths.reduce((sum, length) => sum + length, 0);
  const seen = [points[0]];
  for (let i = 0; i < lengths.length && left > 0; i += 1) {
    const part = Math.min(left / (lengths[i] || 1), 1);
    const [[x0, y0], [x1, y1]] = points.slice(i, i + 2);
    seen.push([x0 + (x1 - x0) * part, y0 + (y1 - y0) * part]);
    left -= lengths[i];
  }
  return seen;
}

export default scene(({ drawn, at: [step, order], room }) => {
  const { choose } = room;
  const width = Math.min(room.width, 720);
  const wrong = Math.round(order) === 1;
  const steps = drawn.orders[Math.round(order)];
  const [first, last] = drawn.leak;
  /** How much of a step is done, from 0 to 1. */
  const done = (name) => Math.min(Math.max(step - steps.indexOf(name) + 1, 0), 1);
  const strength = (name) => (steps[Math.round(step)] === name ? 1 : 0.35);

  const side = choose(96, 40);
  const space = (width - 2 * side - choose(72, 16)) / 4;
  const cell = space - choose(36, 6);
  const column = (i) => side + choose(36, 8) + (i + 0.5) * space;
  const [left, right] = [side / 2, width - side / 2];
  const places = [0, 1, 2, 3];

  const pill = (width - 3 * 8) / 4;
  const clock = steps.flatMap((name, i) => {
    const [now, red] = [Math.round(step) === i, wrong && name === "read"];
    return [
      box(i * (pill + 8), 1, pill, 26, {
        fill: now ? "panel" : "", line: now ? (red ? "bad" : "mark") : "line", radius: 6,
      }),
      words(i * (pill + 8) + pill / 2, 18, `${i + 1} ${name}`,
        { anchor: "middle", fill: now ? "ink" : "ink-2", weight: now ? 650 : 400 }),
    ];
  });

  const source = wrong ? right : left;
  const readings = places.map((i) => [[source, MEMORY], [source, READ_AT], [column(i), READ_AT], [column(i), OUT - 2]]);
  const writings = places.map((j) =>
    [[column(j), TOKEN + TOKEN_HIGH], [column(j), WRITE_AT], [right, WRITE_AT], [right, MEMORY + MEMORY_HIGH + 2]]);
  const carried = [[left, MEMORY + MEMORY_HIGH], [left, WRITE_AT], ...writings[0].slice(2)];
  const lines = (name, colour, paths, width = 2) => paths.map((points) =>
    (done(name) > 0 ? pointer(drawnUpTo(points, done(name)), { colour, width, opacity: strength(name) }) : null));
  const looks = places.flatMap((i) => places.slice(0, i + 1).map((j) =>
    [[column(j), TOKEN - 2], [column(i), OUT + OUT_HIGH + 2]]));
  const leak = [...writings[last], ...readings[first]];
  const leaks = wrong && done("read") > 0;

  const memory = (x, name, full) => [
    box(x - side / 2, MEMORY, side, MEMORY_HIGH, { fill: "paper", radius: 4 }), // lines pass behind it
    box(x - side / 2, MEMORY, side, MEMORY_HIGH, { fill: "m", opacity: 0.15 + 0.35 * full, line: "m", radius: 4 }),
    words(x, MEMORY + 28, "M", { size: 16, fill: "m", weight: 650, anchor: "middle" }),
    words(x, MEMORY + 48, name, { anchor: "middle", fill: "ink", size: choose(13, 12) }),
  ];
  const outputs = places.flatMap((i) => {
    const [x, mixed] = [column(i) - cell / 2, done("mix")];
    return [
      box(x, OUT, cell / 2, OUT_HIGH, { fill: "m", opacity: 0.5 * done("read") * (1 - mixed) }),
      box(x + cell / 2, OUT, cell / 2, OUT_HIGH, { fill: "s", opacity: 0.5 * done("attend") * (1 - mixed) }),
      box(x, OUT, cell, OUT_HIGH, {
        fill: "o", opacity: 0.4 * mixed, line: leaks && i === first ? "bad" : "o", radius: 4,
      }),
      words(column(i), OUT + 23, `o${i + 1}`, { size: 15, fill: "ink", anchor: "middle" }),
    ];
  });
  const tokens = places.flatMap((j) => [
    box(column(j) - cell / 2, TOKEN, cell, TOKEN_HIGH, {
      fill: "k", opacity: 0.3, line: leaks && j === last ? "bad" : "k", radius: 4,
    }),
    words(column(j), TOKEN + 21, `x${j + 1}`, { size: 15, fill: "ink", anchor: "middle" }),
  ]);
  const slope = drawn.slopes[Math.round(order)][Math.round(step)];
  const bottom = WRITE_AT + 58;
  const beside = slope ? choose(112, 84) : choose(40, 30);
  return [
    bottom + 12,
    ...clock,
    ...lines("write", "m", [carried]),
    ...lines("write", "k", writings),
    ...lines("read", "m", readings),
    ...lines("attend", "s", looks, 1.5),
    leaks ? pointer(drawnUpTo(leak, done("read")), { colour: "bad", width: 3.5, "stroke-dasharray": "9 5" }) : null,
    ...memory(left, "before", 1),
    ...memory(right, "after", done("write")),
    ...outputs,
    ...tokens,
    bigNumber(0, bottom, slope ? fixed(slope, 2) : "0", { size: choose(44, 32), fill: slope ? "bad" : "ink" }),
    words(beside, bottom - choose(18, 14), "the largest slope of a token's", { size: choose(15, 13) }),
    words(beside, bottom + choose(2, 3), "result by a later token", { size: choose(15, 13) }),
  ];
});
