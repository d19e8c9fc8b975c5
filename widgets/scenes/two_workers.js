import { svg } from "../kit/dom.js";
import { fixed } from "../kit/format.js";
import { bigNumber, box, scene, stroke, words } from "./scene.js";

/** What stands between two stops. @param {number[][]} stops @param {number} at */
function pointBetween(stops, at) {
  const [low, high] = [stops[Math.floor(at)], stops[Math.min(Math.ceil(at), stops.length - 1)]];
  return low.map((from, i) => from + (high[i] - from) * (at - Math.floor(at)));
}

export default scene(({ drawn, at: [place], room }) => {
  const unit = room.choose(88, 84);
  const [left, top] = room.choose([room.width - 2 * unit - 80, 36], [56, 196]);
  const [strip, cell] = room.choose([176, 52], [114, Math.min(52, room.width / 6)]);
  const floor = top + 2 * unit;
  const spot = (/** @type {number[]} */ [animal, where]) => [left + animal * unit, floor - where * unit];
  const split = Math.round(place) + 1; // words that worker A has
  const [a, b] = [drawn.a, drawn.b].map((stops) => spot(pointBetween(stops, place)));
  const [x, y] = spot(drawn.whole);
  const worker = (name, /** @type {number[]} */ [cx, cy]) => [
    svg("circle", { cx, cy, r: 7, style: "fill:var(--paper);stroke:var(--o);stroke-width:2" }),
    words(cx + 13, cy + 5, name, { size: 15, fill: "o", weight: 650 }),
  ];
  return [
    floor + 46,
    bigNumber(0, room.choose(62, 34), fixed(drawn.shares[Math.round(place)], 2), { size: room.choose(44, 32) }),
    words(0, room.choose(86, 56), "is the share of worker B", { size: 15 }),
    svg("circle", { cx: 7, cy: room.choose(119, 77), r: 6, style: "fill:var(--paper);stroke:var(--o);stroke-width:2" }),
    words(22, room.choose(124, 82), "output of a worker"),
    box(1, room.choose(137, 89), 11, 11, { fill: "o" }),
    words(22, room.choose(147, 99), "the whole, wherever you cut"),
    stroke([spot([0, 0]), spot([2.2, 0])], {}),
    stroke([spot([0, 0]), spot([0, 2.15])], {}),
    words(left + 2.2 * unit, floor + 30, "animal", { anchor: "end" }),
    words(left - 12, top - 16, "place", { anchor: "end" }),
    stroke([a, b], { colour: "o", width: 2, dash: "4 3" }),
    ...drawn.words.flatMap((word, i) => {
      const [wx, wy] = spot(drawn.values[i]);
      const twice = drawn.words.indexOf(word) < i;
      const [nx, ny, anchor] = drawn.values[i][0] ? [wx + 10, wy - 8, "start"] : [wx - 12, wy + 5, "end"];
      const x0 = i * cell;
      return [
        box(x0, strip, cell - 4, 26, { line: i < split ? "ink-2" : "o", radius: 4 }),
        words(x0 + (cell - 4) / 2, strip + 18, word, { anchor: "middle", fill: "ink" }),
        words(x0 + (cell - 4) / 2, strip + 43, i < split ? "A" : "B", { anchor: "middle", fill: "o", weight: 650 }),
        svg("circle", { cx: wx, cy: wy, r: 4, style: "fill:var(--v)" }),
        ...(twice ? [] : [words(nx, ny, word, { anchor })]),
      ];
    }),
    ...worker("A", a),
    ...worker("B", b),
    box(x - 6, y - 6, 12, 12, { fill: "o" }),
  ];
});
