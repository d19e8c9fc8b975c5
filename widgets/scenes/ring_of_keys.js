import { fixed } from "../kit/format.js";
import { bigNumber, box, pointer, scene, words } from "./scene.js";

const TONES = [0.25, 0.45, 0.7, 1];

export default scene(({ drawn, at: [step, dealing], room }) => {
  const chosen = Math.round(dealing);
  const owners = drawn.owners[chosen];
  const pairs = drawn.pairs[chosen];
  const ranks = TONES.length;
  const cell = room.choose(30, 19);
  const grid = { x: 62, y: room.choose(30, 24) };
  const shown = (when) => Math.min(Math.max(step - when + 1, 0), 1); // 1 once a step is done, between while it begins

  const cells = owners.flatMap((rank, row) => owners.slice(0, row + 1).flatMap((owner, column) => {
    const when = (rank - owner + ranks) % ranks;
    const [x, y, size] = [grid.x + column * cell, grid.y + row * cell, cell - 2];
    const now = when === Math.round(step);
    return [
      box(x, y, size, size, { fill: "panel", line: "line", radius: 2 }),
      box(x, y, size, size, { fill: "mark", opacity: TONES[rank] * shown(when), radius: 2 }),
      ...(now ? [box(x, y, size, size, { line: "ink", radius: 2 })] : []),
    ];
  }));
  const total = owners.length * cell;
  const side = { x: room.choose(grid.x + total + 36, 0), y: room.choose(0, grid.y + total + 16) };

  // the ring: four devices, each with the keys that it has now
  const place = room.choose([0, 1, 2, 3].map((i) => [side.x + i * 94, 30]),
    [0, 1, 2, 3].map((i) => [i * (room.width - 75) / 3, side.y + 22]));
  const gap = place[1][0] - place[0][0];
  const travelling = step % 1;
  const blocks = place.map((_, owner) => {
    const holder = (owner + Math.floor(step)) % ranks; // a block moves on by one rank a step
    const to = (holder + 1) % ranks;
    const x = place[holder][0] + travelling * (place[to][0] - place[holder][0]);
    return [owner, x, place[holder][1] + 26];
  });
  const work = Array.from({ length: ranks }, (_, rank) =>
    pairs.reduce((sum, ofStep, when) => sum + ofStep[rank] * shown(when), 0));
  const number = { y: side.y + room.choose(144, 138), x: side.x + room.choose(116, 88) };
  const unit = room.choose(54, 46) / drawn.mean;
  const floor = number.y + room.choose(118, 100);
  const mean = floor - drawn.mean * unit;
  const [[left, top], [right]] = [place[0], place[3]];
  const most = Math.max(...work) / drawn.mean;
  return [
    Math.max(grid.y + total + 8, floor + 24),
    words(grid.x, 14, "keys", { fill: "k", weight: 600 }),
    ...owners.map((rank, row) => words(grid.x - 8, grid.y + row * cell + cell / 2 + 3, `rank ${rank}`,
      { size: 12, anchor: "end" })),
    ...cells,
    words(side.x, side.y + room.choose(14, 10), "whose keys each rank has", { size: 13 }),
    ...place.flatMap(([x, y], rank) => [
      box(x, y, 74, 60, { fill: "panel", line: "line", radius: 5 }),
      words(x + 37, y + 17, `rank ${rank}`, { size: 12, anchor: "middle", fill: "ink" }),
      ...(rank < ranks - 1 ? [pointer([[x + 74, y + 42], [x + gap, y + 42]], { width: 1 })] : []),
    ]),
    pointer([[right + 37, top + 60], [right + 37, top + 72], [left + 37, top + 72], [left + 37, top + 61]],
      { width: 1 }),
    ...blocks.flatMap(([owner, x, y]) => [
      box(x + 22, y, 30, 24, { fill: "k", radius: 4 }),
      words(x + 37, y + 17, String(owner), { size: 15, anchor: "middle", fill: "paper", weight: 650 }),
    ]),
    ...work.flatMap((done, rank) => {
      const x = place[rank][0] + 12;
      return [
        box(x, floor - done * unit, 50, done * unit, { fill: "mark", opacity: TONES[rank], line: "mark" }),
        words(x + 25, floor + 17, `rank ${rank}`, { size: 12, anchor: "middle" }),
      ];
    }),
    box(left, mean, right + 74 - left, 1, { fill: "ink" }),
    words(left, mean - 6, "mean", { size: 12 }),
    bigNumber(side.x, number.y, fixed(most, 2), { size: room.choose(44, 32),
      fill: step > ranks - 1.5 && most > 1.1 ? "bad" : "ink" }),
    words(number.x, number.y - 18, "work of the busiest rank", { size: 13 }),
    words(number.x, number.y, "so far, over the mean", { size: 13 }),
  ];
});
