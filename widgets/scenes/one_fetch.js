import { count } from "../kit/format.js";
import { bigNumber, box, scene, words } from "./scene.js";

export default scene(({ drawn, at: [place, cache], room }) => {
  const { grids, together, asked } = drawn;
  const [at, kept] = [Math.round(place), Math.round(cache)];
  const grid = grids[at][kept];
  const fetches = grid.flat().reduce((sum, each) => sum + each, 0);

  const side = grid.length;
  const breath = room.choose(5, 4); // between waves, when they are few
  const space = (row) => (together[at] > 1 ? breath * Math.floor(row / together[at]) : 0);
  const cell = room.choose(14, 12);
  const left = room.choose(room.width - side * (cell + 6) - 8, 92);
  const across = room.choose(cell + 6, (room.width - left) / side);
  const top = room.choose(30, 120);
  const height = side * cell + space(side - 1);
  const second = room.choose(0, room.width / 2 - 2);
  const middle = left - room.choose(14, 8);
  return [
    top + height + 10,
    bigNumber(0, room.choose(62, 34), count(fetches), { size: room.choose(44, 32) }),
    words(0, room.choose(86, 56), `of ${count(asked)} requests go to HBM`, { size: 15 }),
    box(0, room.choose(112, 70), 13, 13, { fill: "k" }),
    words(20, room.choose(123, 81), "fetched from HBM"),
    box(second, room.choose(134, 70), 13, 13, { fill: "k", opacity: 0.2 }),
    words(second + 20, room.choose(145, 81), "found in the cache"),
    words(left, top - 10, `tiles of K, 0 to ${side - 1}`),
    words(middle, top + 11, "program 0", { anchor: "end" }),
    words(middle, top + height - 2, `program ${side - 1}`, { anchor: "end" }),
    ...grid.flatMap((tiles, row) =>
      tiles.map((missed, column) =>
        box(left + column * across, top + row * cell + space(row), across - 2, cell - 2, {
          fill: "k", opacity: missed ? 1 : 0.2 }))),
  ];
});
