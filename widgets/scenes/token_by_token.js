import { count } from "../kit/format.js";
import { bigNumber, box, scene, words } from "./scene.js";

export default scene(({ drawn: { made, names }, at: [at, cache], room }) => {
  const [last, anew] = [Math.round(at), Math.round(cache)];
  const [cell, top] = [room.choose(24, 17), 24];
  const side = made.length * cell;
  const right = room.choose({ x: side + 70, y: 78 }, { x: 0, y: top + side + 44 });
  const rows = Array.from({ length: last + 1 }, (_, i) => i);
  const wide = room.width - right.x;
  const most = Math.max(...made[made.length - 1]);
  return [
    room.choose(top + side + 4, right.y + 122),
    words(0, 13, "keys run right, a row is one token's query"),
    ...rows.flatMap((i) => Array.from({ length: anew ? last + 1 : i + 1 }, (_, j) => {
      const now = Boolean(anew) || i === last;
      return box(j * cell, top + i * cell, cell - 3, cell - 3,
        { fill: "s", radius: 2, opacity: now ? (j > i ? 0.4 : 0.85) : 0.14 });
    })),
    bigNumber(right.x, right.y, count(made[last][anew]), { size: room.choose(44, 32) }),
    words(right.x, right.y + 22, `scores made for ${last + 1} ${last ? "tokens" : "token"}`, { size: 15 }),
    ...made[last].flatMap((scores, i) => [
      words(right.x, right.y + 60 + i * 38, `${names[i]}: ${count(scores)}`,
        { fill: i === anew ? "ink" : "ink-2", weight: i === anew ? 650 : 400 }),
      box(right.x, right.y + 66 + i * 38, Math.max((wide * scores) / most, 2), 12,
        { fill: "s", opacity: i === anew ? 0.85 : 0.3, radius: 2 }),
    ]),
  ];
});
