import { svg } from "../kit/dom.js";
import { fixed } from "../kit/format.js";
import { Messages } from "../kit/messages.js";
import said from "./choose_four.json" with { type: "json" };
import { bigNumber, box, scene, words } from "./scene.js";

const sayings = new Messages(said);
const percent = (share) => `${fixed(100 * share, 0)} %`;
const held = (weights, places) => places.reduce((sum, place) => sum + weights[place], 0);

/** What four tokens hold, beside the best four. @param {any} drawn @param {number[]} pressed */
function judged({ weights, order, most }, pressed) {
  const [mass, best] = [held(weights, pressed), held(weights, order.slice(0, most))];
  const n = pressed.length;
  return { n, most, left: most - n, mass, best, one: weights[order[0]], perfect: n === most && mass > best - 1e-6 };
}

/** @param {import("./scene.js").View} view @returns {[number, ...Node[]]} */
function drawFour({ drawn, at: [sorted], room, pressed }) {
  const { names, weights, order, most } = drawn;
  const line = room.choose(12, 9);
  const [wide, tall, pitch] = [room.width / line, room.choose(40, 38), room.choose(46, 43)];
  const rank = order.map((_, place) => order.indexOf(place));
  const spot = (seat) => [(seat % line) * wide, Math.floor(seat / line) * pitch + 2];
  const between = (a, b) => a.map((from, i) => from + (b[i] - from) * sorted);
  const query = names.length - 1;
  const judge = judged(drawn, pressed);
  const visual = sorted < 0.5 ? order.map((_, place) => place) : order;
  const [afterX, afterY] = spot(query + 1);
  const foot = (Math.floor(query / line) + room.choose(0, 1)) * pitch;
  const columns = room.choose([2.4 * wide, 7.4 * wide], [0, room.width / 2]);
  const shown = sorted > 0.5 || !judge.left;
  return [
    foot + room.choose(74, 100),
    ...visual.map((place) => {
      const [x, y] = between(spot(place), spot(rank[place]));
      const mine = pressed.includes(place);
      const part = (weights[place] / weights[order[0]]) * tall;
      const name = room.narrow ? names[place].replace(/^(.)\w+ /, "$1 ") : names[place];
      const open = mine || sorted === 1;
      const share = room.narrow ? fixed(100 * weights[place], 0) : `${fixed(100 * weights[place], 1)} %`;
      const edge = mine ? "mark" : place === query ? "q" : "line";
      return svg("g", { "data-press": place, "aria-label": `${names[place]}, place ${place}` },
        box(x + 2, y, wide - 4, tall, { fill: "panel", radius: 4 }),
        box(x + 2, y + tall - part, wide - 4, part, { fill: "s", opacity: mine ? 0.36 : 0.36 * sorted, radius: 3 }),
        box(x + 2, y, wide - 4, tall, { line: edge, "stroke-width": mine || place === query ? 2.5 : 1, radius: 4 }),
        words(x + wide / 2, y + 16, name, { fill: place === query ? "q" : "ink", anchor: "middle", size: 12 }),
        open ? words(x + wide / 2, y + tall - 7, share, { fill: "ink", anchor: "middle", size: 12 }) : null);
    }),
    ...(sorted ? [box(0, 0, most * wide, tall + 4, { line: "good", dash: "5 3", radius: 6, opacity: sorted })] : []),
    words(afterX + 8, afterY + tall / 2 + 5, "→ ?", { fill: "q", size: 16, weight: 600, opacity: 1 - sorted }),
    ...[
      [percent(judge.mass), `held by your ${judge.n} of ${most}`],
      [shown ? percent(judge.best) : "?", "held by the best four"],
    ].flatMap(([number, label], i) => [
      bigNumber(columns[i], foot + room.choose(42, 52), number,
        { size: room.choose(44, 32), fill: i ? "ink-2" : "ink" }),
      words(columns[i], foot + room.choose(64, 74), label, { size: room.choose(15, 13) }),
    ]),
    ...(room.narrow ? [words(0, foot + 94, "k key, v value, w word; numbers are per cent", { size: 12 })] : []),
  ];
}

export default scene(drawFour, null, {
  name: "tokens, four to choose",
  most: 4,
  say: ({ drawn, at: [sorted], pressed }) => (sorted ? null : sayings.parts("chosen", judged(drawn, pressed))),
});
