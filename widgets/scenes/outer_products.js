import { svg } from "../kit/dom.js";
import { signed } from "../kit/format.js";
import { bigNumber, box, pointer, scene, words } from "./scene.js";

/** Where a dial stands between two of its stops: the one before, the one after, how far on the way. */
function spanOf(at, last) {
  const from = Math.min(Math.floor(at), last);
  return { from, to: Math.min(from + 1, last), share: at - from };
}

const mixture = (a, b, share) => a.map((x, i) => x + (b[i] - x) * share);

/** A row of what was computed for every pair of stops, where the two dials stand. */
function betweenStops(table, [i, j]) {
  const [down, across] = [spanOf(i, table.length - 1), spanOf(j, table[0].length - 1)];
  const along = (row) => mixture(table[row][across.from], table[row][across.to], across.share);
  return mixture(along(down.from), along(down.to), down.share);
}

const short = (x) => signed(x, 2).replace(/\.?0+$/, "");

/** Cells with a number in each; how dark one is says how large it is. */
function cellsOf(numbers, { x, y, wide, high, colour, most = 1, down = false, size = 13, line = "line" }) {
  return numbers.flatMap((number, i) => {
    const [left, top] = down ? [x, y + i * high] : [x + i * wide, y];
    const look = { fill: colour, opacity: 0.5 * Math.min(Math.abs(number) / most, 1), line };
    return [
      box(left, top, wide - 2, high - 2, look),
      words(left + wide / 2 - 1, top + high / 2 + size / 3 - 1, short(number), { size, fill: "ink", anchor: "middle" }),
    ];
  });
}

export default scene(({ drawn, at: [pairs, overlap], room }) => {
  const { choose } = room;
  const place = spanOf(overlap, drawn.keys.length - 1);
  const keys = drawn.keys[place.from].map((key, i) => mixture(key, drawn.keys[place.to][i], place.share));
  const memory = betweenStops(drawn.memories, [pairs, overlap]);
  const read = betweenStops(drawn.reads, [pairs, overlap]);
  const [stop, near] = [Math.round(pairs), Math.round(overlap)];

  const small = choose(36, 32);
  const list = { x: choose(26, 18), y: 26, step: choose(44, 32) };
  const valueAt = list.x + 4 * small + choose(22, 14);
  const rows = keys.flatMap((key, i) => {
    const opacity = Math.min(Math.max(pairs - i + 1, 0), 1); // a pair comes as the player goes to its stop
    const y = list.y + i * list.step;
    const look = { y, wide: small, high: 28, size: 12 };
    return [
      words(list.x - 6, y + 18, String(i + 1), { anchor: "end", fill: "ink", weight: 600 }),
      svg("g", { opacity },
        ...cellsOf(key, { ...look, x: list.x, colour: "k", line: i === 1 ? "q" : "line" }),
        ...cellsOf(drawn.values[i], { ...look, x: valueAt, colour: "v", most: 3, line: i === 1 ? "o" : "line" })),
    ];
  });
  const more = list.y + 3 * list.step + choose(12, 10);

  const wide = choose(60, 50);
  const high = choose(40, 34);
  const grid = { x: choose(valueAt + 4 * small + 100, list.x + 54), y: choose(26, more + 38) };
  const foot = grid.y + 4 * high;
  const answer = foot + 26;
  const middle = grid.x + 2 * wide;
  const queryAt = grid.x - 54;
  return [
    choose(answer + high + 16, answer + high + 62),
    words(list.x, 14, "key", { fill: "k" }),
    words(valueAt, 14, "value", { fill: "v" }),
    ...rows,
    words(list.x, more, pairs > 2.5 ? "and 27 more, at random" : ""),
    words(queryAt, grid.y - 12, "key 2", { fill: "q" }),
    ...cellsOf(keys[1], { x: queryAt, y: grid.y, wide: 46, high, colour: "q", down: true }),
    words(grid.x, grid.y - 12, choose("M, the sum of key × value", "M, sum of key × value"), { fill: "m" }),
    ...[0, 1, 2, 3].flatMap((i) => cellsOf(memory.slice(4 * i, 4 * i + 4),
      { x: grid.x, y: grid.y + i * high, wide, high, colour: "m", most: 4 })),
    pointer([[middle - 1, foot + 2], [middle - 1, answer - 3]], { colour: "o" }),
    words(middle + 10, foot + 18, "reads back", { fill: "o" }),
    ...cellsOf(read, { x: grid.x, y: answer, wide, high, colour: "o", most: 3, size: choose(15, 14), line: "o" }),
    bigNumber(choose(list.x, queryAt), choose(answer + 12, answer + high + 36),
      `${drawn.right[stop][near]} of ${drawn.pairs[stop]}`, { size: choose(44, 32) }),
    words(choose(list.x, queryAt), choose(answer + 36, answer + high + 56), "read back most like their own value",
      { size: choose(15, 13) }),
  ];
});
