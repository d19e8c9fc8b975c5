import { svg } from "../kit/dom.js";
import { fixed, signed } from "../kit/format.js";
import { bigNumber, box, pointer, scene, stroke, words } from "./scene.js";

const MOST = 3; // the longest bar, as a score

export default scene(({ drawn, at: [stop], room }) => {
  const { queries, votes, length, turns, parts, scores } = drawn;
  const radius = room.choose(104, 92);
  const [x0, y0] = [room.choose(130, room.width / 2), radius + 12];
  const unit = radius / 2.1;
  const tip = ([a, b]) => [x0 + a * unit, y0 - b * unit];
  const angle = (2 * Math.PI * stop) / turns;
  const toward = (size) => tip([size * Math.cos(angle), size * Math.sin(angle)]);
  const [nameX, nameY] = toward(1.3 * length);
  const nearest = Math.round(stop) % turns;
  const way = (list) => list[Math.floor(stop)] + (list[Math.ceil(stop)] - list[Math.floor(stop)]) * (stop % 1);
  const [left, top] = room.choose([300, 18], [0, 2 * radius + 58]);
  const span = Math.min(room.width - left, 380);
  const zero = left + span * 0.74;
  const scale = (span * 0.7) / MOST;
  const bar = (value, y, colour) => box(Math.min(zero, zero + value * scale), y, Math.abs(value) * scale, 18, {
    fill: colour, opacity: 0.45, radius: 2 });
  const row = (i) => top + 52 * i;
  const sum = row(2) + 8;
  const quarter = `M${x0} ${y0}h${-radius}A${radius} ${radius} 0 0 0 ${x0} ${y0 + radius}z`;
  return [
    Math.max(sum + room.choose(118, 106), 2 * radius + 40),
    svg("circle", { cx: x0, cy: y0, r: radius, style: "fill:var(--panel);stroke:var(--line)" }),
    svg("path", { d: quarter, style: "fill:var(--ink-2);fill-opacity:.14" }),
    words(x0, y0 + radius + 20, "grey: both heads are silent", { anchor: "middle" }),
    stroke([[x0 - radius, y0], [x0 + radius, y0]]),
    stroke([[x0, y0 - radius], [x0, y0 + radius]]),
    ...queries.map((query) => pointer([[x0, y0], tip(query)], { colour: "q", width: 3 })),
    words(x0 + unit + 8, y0 - 7, "q1", { size: 15, fill: "q", weight: 650 }),
    words(x0 - 26, y0 - 2 * unit + 22, "q2", { size: 15, fill: "q", weight: 650 }),
    pointer([[x0, y0], toward(length)], { colour: "k", width: 4 }),
    words(nameX, nameY + 5, "k", { size: 16, fill: "k", weight: 650, anchor: "middle" }),
    ...[0, 1].flatMap((head) => {
      const heard = fixed(parts[nearest][head] / votes[head], 2);
      return [
        words(left, row(head) + 12, `head ${head + 1}: ${signed(votes[head], head ? 0 : 1)} × ${heard}`, { size: 15 }),
        bar(way(parts.map((each) => each[head])), row(head) + 20, "q"),
      ];
    }),
    stroke([[left, sum], [left + span, sum]]),
    words(left, sum + 22, "score, their sum", { size: 15 }),
    bar(way(scores), sum + 30, "s"),
    stroke([[zero, top + 18], [zero, sum + 50]], { colour: "ink-2" }),
    words(zero + 5, sum + 62, "0", { size: 13 }),
    bigNumber(left, sum + room.choose(96, 84), signed(scores[nearest], 2), { size: room.choose(44, 32) }),
  ];
});
