import { count } from "../kit/format.js";
import { bigNumber, box, scene, stroke, words } from "./scene.js";

const [STRIP, SHORT] = [26, 4096]; // pixels high; tokens that fill the width, until there are more

/** @param {number} at between two runs, whose lengths are as far apart as their ratio says */
function lengthAt(runs, at) {
  const [from, to] = [Math.floor(at), Math.ceil(at)].map((i) => runs[i].tokens);
  return from * (to / from) ** (at - Math.floor(at));
}

/** Five digits in a row, each with whether it is right below it. @param {number[]} digits @param {number[]} wanted */
function digitRow(x, y, side, digits, wanted, fill) {
  return digits.flatMap((digit, i) => {
    const good = digit === wanted[i];
    const colour = fill || (good ? "good" : "bad");
    const left = x + i * (side + 6);
    return [
      box(left, y, side, side, { fill: colour, opacity: 0.14, line: colour, radius: 4 }),
      words(left + side / 2, y + side / 2 + 6, String(digit),
        { size: 18, fill: "ink", weight: 650, anchor: "middle" }),
      ...(fill ? [] : [words(left + side / 2, y + side + 17, good ? "✓" : "✗",
        { size: 15, fill: colour, weight: 650, anchor: "middle" })]),
    ];
  });
}

export default scene(({ drawn: { runs, trained }, at: [at], room: { width, choose } }) => {
  const run = runs[Math.round(at)];
  const tokens = lengthAt(runs, at);
  const unit = width / Math.max(SHORT, tokens); // pixels a token
  const [length, key, top] = [tokens * unit, run.depth * tokens * unit, 34];
  const most = Math.max(...runs.map((each) => each.state_bytes));
  const side = choose(40, 36);
  const [left, row] = [choose(82, 72), top + STRIP + 58];
  const counter = choose({ x: 410, y: row + 34 }, { x: 0, y: row + 158 });
  const room = width - counter.x;
  const kept = run.state_bytes * Math.min(tokens / run.tokens, 1);
  return [
    choose(row + 124, counter.y + 56),
    words(key, 14, "the key stands here", { fill: "mark", weight: 600 }),
    stroke([[key + 1, 20], [key + 1, top]], { colour: "mark", width: 2 }),
    box(0, top, width - 1, STRIP, { line: "line", dash: "2 4", radius: 3 }),
    box(0, top, length, STRIP, { fill: "line", opacity: 0.7, radius: 3 }),
    box(key, top, 5, STRIP, { fill: "mark" }),
    stroke([[0, top + STRIP + 8], [Math.max(trained * unit, 2), top + STRIP + 8]], { colour: "ink-2", width: 3 }),
    words(0, top + STRIP + 26, `trained on ${count(trained)}`),
    words(width, top + STRIP + 26, `${count(tokens)} tokens`, { size: 15, fill: "ink", weight: 600, anchor: "end" }),
    words(0, row + side / 2 + 5, "the key", { size: 15 }),
    ...digitRow(left, row, side, run.wanted, run.wanted, "mark"),
    words(0, row + 1.5 * side + 17, "it says", { size: 15 }),
    ...digitRow(left, row + side + 12, side, run.said, run.wanted, ""),
    bigNumber(counter.x, counter.y, count(kept), { size: choose(44, 32) }),
    words(counter.x, counter.y + 22, run.keeps, { size: 15 }),
    box(counter.x, counter.y + 34, room, 14, { line: "line", radius: 3 }),
    box(counter.x, counter.y + 34, Math.max((room * kept) / most, 2), 14, { fill: "m", radius: 3 }),
  ];
});
