import { svg } from "../kit/dom.js";
import { fixed } from "../kit/format.js";
import { bigNumber, box, scene, stroke, words } from "./scene.js";

const [END, ROOM] = [2, 40]; // of the axes; pixels left of the plane
const THICK = 26; // pixels of a line that carries all attention
/** @type {Record<number, number[]>} words that stand elsewhere than above their dot */
const ASIDE = { 0: [12, 20], 5: [14, 2] };

/** Where (0, 0) stands, and how long 1 is. */
function axesOf({ choose }) {
  const unit = choose(128, 88);
  return { x: ROOM, y: END * unit + 30, unit };
}

function spotOn(axes, [animal, place]) {
  return [axes.x + animal * axes.unit, axes.y - place * axes.unit];
}

export default scene(({ drawn, at: [i, j], room }) => {
  const axes = axesOf(room);
  const shares = drawn.shares[Math.round(i)][Math.round(j)];
  const asks = spotOn(axes, [i * drawn.step, j * drawn.step]);
  const lands = spotOn(axes, drawn.lands[Math.round(i)][Math.round(j)]);
  const most = Math.max(...shares);
  const end = axes.x + END * axes.unit;
  const [left, top] = room.choose([end + 110, 52], [0, axes.y + 66]);
  const [bars, row] = [top + 44, room.choose(28, 22)];
  const wide = room.width - left - 92;
  return [
    room.choose(axes.y + 34, bars + 6 * row + 4),
    stroke([[axes.x, axes.y - END * axes.unit - 8], [axes.x, axes.y], [end + 8, axes.y]]),
    words(end + 20, axes.y + 5, "animal"),
    words(axes.x, 11, "place", { anchor: "middle" }),
    ...[1, 2].flatMap((tick) => [
      words(spotOn(axes, [tick, 0])[0], axes.y + 28, String(tick), { anchor: "middle" }),
      words(axes.x - 28, spotOn(axes, [0, tick])[1] + 5, String(tick), { anchor: "middle" }),
    ]),
    ...shares.map((share, word) => stroke([asks, spotOn(axes, drawn.places[word])],
      { colour: "s", width: Math.max(THICK * share, 0.5), "stroke-opacity": 0.45, "stroke-linecap": "round" })),
    ...drawn.places.map((place) => {
      const [cx, cy] = spotOn(axes, place);
      return svg("circle", { cx, cy, r: 6, style: "fill:var(--k)" });
    }),
    ...drawn.words.flatMap((word, place) => {
      if (drawn.words.indexOf(word) < place) return [];
      const [x, y] = spotOn(axes, drawn.places[place]);
      const [dx, dy] = ASIDE[place] ?? [10, -9];
      const text = drawn.words.lastIndexOf(word) > place ? `${word}, ${word}` : word;
      return [words(x + dx, y + dy, text, { size: 15, fill: "ink" })];
    }),
    stroke([asks, lands], { colour: "o", width: 3 }),
    svg("circle", { cx: lands[0], cy: lands[1], r: 8, style: "fill:var(--paper);stroke:var(--o);stroke-width:3" }),
    svg("circle", { cx: asks[0], cy: asks[1], r: 13, "data-handle": "sat",
      style: "fill:var(--q);fill-opacity:.2;stroke:var(--q);stroke-width:3" }),
    bigNumber(left, top, fixed(most, 3), { size: room.choose(44, 32) }),
    words(left, top + 22, "the largest share", { size: 15 }),
    ...shares.flatMap((share, word) => {
      const y = bars + word * row;
      return [
        words(left, y + 13, drawn.words[word], { size: 14, fill: "ink" }),
        box(left + 40, y + 2, wide, 13, { fill: "panel" }),
        box(left + 40, y + 2, wide * share, 13, { fill: "s", opacity: 0.6 }),
        words(left + 40 + wide + 8, y + 13, fixed(share, 3), { size: 13 }),
      ];
    }),
  ];
}, ({ drawn, room }, x, y) => {
  const axes = axesOf(room);
  return [(x - axes.x) / axes.unit, (axes.y - y) / axes.unit].map((value) => Math.round(value / drawn.step));
});
