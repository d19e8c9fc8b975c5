import { svg } from "../kit/dom.js";
import { fixed } from "../kit/format.js";
import { bigNumber, box, pointer, scene, stroke, words } from "./scene.js";

const [ROW, CELL] = [64, 22]; // pixels: of the strip of text, of a word in it

/** Where the circle stands, and how long 1 is. */
function dialPlate({ width, choose }) {
  const radius = choose(112, 96);
  return { x: choose(150, width / 2), y: radius + 10, radius, unit: radius / 3.4 };
}

/** @param {number[]} pair */
function turned([a, b], angle) {
  return [a * Math.cos(angle) - b * Math.sin(angle), a * Math.sin(angle) + b * Math.cos(angle)];
}

export default scene(({ drawn, at: [place, distance], room }) => {
  const plate = dialPlate(room);
  const tip = (/** @type {number[]} */ [a, b]) => [plate.x + a * plate.unit, plate.y - b * plate.unit];
  const handsAt = (/** @type {number} */ key) => ({
    q: turned(drawn.query, (key + distance) * drawn.theta),
    k: turned(drawn.key, key * drawn.theta),
  });
  const [hands, first] = [handsAt(place), handsAt(0)];
  const between = (/** @type {{q: number[], k: number[]}} */ { q, k }, /** @type {number} */ radius) => {
    const [from, to] = [q, k].map(([a, b]) => Math.atan2(b, a));
    const sweep = ((to - from + 3 * Math.PI) % (2 * Math.PI)) - Math.PI;
    return Array.from({ length: 25 }, (_, i) => {
      const angle = from + (sweep * i) / 24;
      return tip([radius * Math.cos(angle), radius * Math.sin(angle)]);
    });
  };
  const at = tip([0, 0]);
  const [left, top] = room.choose([320, 74], [0, 2 * plate.radius + 62]);
  const strip = { x: room.choose(320, 0), y: room.choose(150, top + 36) };
  const cells = Math.floor((room.width - strip.x) / CELL);
  const start = Math.max(0, Math.ceil(place + distance) - cells + 1);
  const spot = (i) => strip.x + (i - start) * CELL;
  return [
    Math.max(strip.y + ROW, plate.y + plate.radius + 4),
    svg("circle", { cx: plate.x, cy: plate.y, r: plate.radius, style: "fill:var(--panel);stroke:var(--line)" }),
    ...Object.values(first).map((pair) => stroke([at, tip(pair)], { colour: "ink-2", dash: "2 4" })),
    stroke(between(first, 1.5), { colour: "ink-2", width: 2, dash: "2 4" }),
    stroke(between(hands, 1.5), { colour: "mark", width: 4 }),
    ...Object.entries(hands).map(([name, pair]) => pointer([at, tip(pair)], { colour: name, width: 3 })),
    ...Object.entries(hands).map(([name, [a, b]]) => {
      const [x, y] = tip([a * 1.12, b * 1.12]);
      return words(x, y + 5, name, { size: 16, fill: name, weight: 650, anchor: "middle" });
    }),
    bigNumber(left, top, fixed(drawn.products[Math.round(distance)], 4), { size: room.choose(44, 32) }),
    words(left, top + 22, "the product q · k", { size: 15 }),
    ...Array.from({ length: cells }, (_, i) =>
      box(spot(start + i), strip.y, CELL - 3, 18, { fill: "panel", line: "line", radius: 3 })),
    box(spot(place), strip.y, CELL - 3, 18, { fill: "k", radius: 3 }),
    box(spot(place + distance), strip.y, CELL - 3, 18, { fill: "q", radius: 3, opacity: distance < 0.5 ? 0.5 : 1 }),
    stroke([[spot(place), strip.y + 26], [spot(place + distance) + CELL - 3, strip.y + 26]],
      { colour: "mark", width: 3 }),
    words(strip.x, strip.y + 46, "places in the text; dashed: key at place 0", { size: 13 }),
  ];
});
