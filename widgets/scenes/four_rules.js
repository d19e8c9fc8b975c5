import { svg } from "../kit/dom.js";
import { fixed } from "../kit/format.js";
import { box, scene, stroke, words } from "./scene.js";

const RULE_LOOKS = [
  { colour: "ink-2", width: 2, dash: "2 4" },
  { colour: "ink", width: 2, dash: "9 4" },
  { colour: "mark", width: 3, dash: "" },
  { colour: "mark", width: 2, dash: "12 4 3 4" },
];

export default scene(({ drawn, at: [f, pair], room }) => {
  const { factors, names, pairs } = drawn;
  const last = drawn.slowed[0][0].length - 1;
  const plot = { x: 26, y: 26, width: room.width - room.choose(300, 34), height: room.choose(230, 190) };
  const across = (i) => plot.x + (plot.width * i) / last;
  const up = (slowed) => plot.y + plot.height * (1 - Math.log2(slowed) / Math.log2(factors.at(-1)));
  const blend = (list, at) => {
    const [low, high] = [list[Math.floor(at)], list[Math.ceil(at)]];
    return (i) => low[i] + (at % 1) * (high[i] - low[i]);
  };
  const chosen = pairs[Math.round(pair)];
  const lines = drawn.slowed.map((each) => blend(each, f));
  const key = { x: room.choose(plot.x + plot.width + 30, 0), y: room.choose(58, plot.y + plot.height + 86) };
  return [
    room.choose(plot.y + plot.height + 44, key.y + 3 * 26 + 10),
    box(across(drawn.turned - 0.5), plot.y, plot.x + plot.width - across(drawn.turned - 0.5), plot.height,
      { fill: "bad", opacity: 0.09 }),
    words(plot.x + plot.width - 4, plot.y + plot.height - 8, "no whole turn", { size: 12, fill: "bad", anchor: "end" }),
    ...factors.map((by) => stroke([[plot.x, up(by)], [plot.x + plot.width, up(by)]])),
    ...[1, ...factors].map((by) => words(plot.x - 6, up(by) + 4, String(by), { size: 12, anchor: "end" })),
    stroke([[plot.x, up(1)], [plot.x + plot.width, up(1)]], { colour: "ink-2" }),
    words(0, 12, "slowed by", { size: 12 }),
    ...[0, 16, 32, 48, last].map((i) => words(across(i), plot.y + plot.height + 17, String(i),
      { size: 12, anchor: "middle" })),
    words(plot.x + plot.width / 2, plot.y + plot.height + 36, "pair: fast ones left, slow ones right",
      { size: 13, anchor: "middle" }),
    stroke([[across(chosen), plot.y], [across(chosen), plot.y + plot.height]], { colour: "ink" }),
    ...lines.map((slowed, line) => stroke(Array.from({ length: last + 1 }, (_, i) => [across(i), up(slowed(i))]),
      RULE_LOOKS[line])),
    ...lines.map((slowed, line) => svg("circle", { cx: across(chosen), cy: up(slowed(chosen)), r: 5,
      style: `fill:var(--${RULE_LOOKS[line].colour});stroke:var(--paper);stroke-width:1.5` })),
    words(key.x + room.choose(240, room.width), key.y - 24, `pair ${chosen}`, { size: 13, anchor: "end",
      weight: 600, fill: "ink" }),
    ...lines.flatMap((slowed, line) => {
      const y = key.y + line * room.choose(44, 26);
      return [
        stroke([[key.x, y - 5], [key.x + 34, y - 5]], RULE_LOOKS[line]),
        words(key.x + 42, y, names[line], { size: 13, fill: "ink" }),
        words(key.x + room.choose(240, room.width), y, fixed(slowed(chosen), 1), { size: 16, anchor: "end",
          weight: 650, fill: RULE_LOOKS[line].colour }),
      ];
    }),
  ];
});
