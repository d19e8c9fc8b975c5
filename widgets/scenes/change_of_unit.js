import { fixed } from "../kit/format.js";
import { bigNumber, box, scene, stroke, words } from "./scene.js";

const ON_PAPER = { stroke: "var(--paper)", "stroke-width": 4, "paint-order": "stroke" }; // over a dashed line too

export default scene(({ drawn, at: [place], room }) => {
  const { scores, atOnce, maxima } = drawn;
  const here = Math.floor(place);
  const moved = Math.min(2 * (place - here), 1); // first the maximum moves, then new bars grow
  const grown = Math.max(2 * (place - here) - 1, 0);
  const maximum = maxima[here] + (moved && (maxima[here + 1] - maxima[here]) * moved);
  const before = here === place ? here - 1 : here; // the piece at whose maximum the dashed bars were measured
  const shares = scores.map((score, i) => {
    const piece = Math.floor(i / atOnce);
    return piece > here + (grown > 0 ? 1 : 0) ? null : (piece > here ? grown : 1) * Math.exp(score - maximum);
  });
  const sum = shares.reduce((total, share) => total + (share ?? 0), 0);

  const [left, gap] = room.choose([236, 20], [0, 8]);
  const [full, floor] = room.choose([158, 190], [128, 250]);
  const slot = (room.width - left - gap * (maxima.length - 1)) / scores.length;
  const bar = Math.min(slot - 8, 54);
  const middle = (i) => left + (i + 0.5) * slot + gap * Math.floor(i / atOnce);
  const beside = (y, text, look) =>
    words(room.choose(0, room.width), y, text, { size: 15, anchor: room.choose("start", "end"), ...look });
  return [
    floor + 48,
    bigNumber(0, 52, fixed(sum, 4), { size: room.choose(44, 32) }),
    words(0, 76, "the sum so far, ℓ", { size: 15 }),
    beside(room.choose(116, 28), `maximum m = ${fixed(maximum, moved % 1 ? 1 : 0)}`, {}),
    ...(before < 0
      ? []
      : [beside(room.choose(140, 52), `old bars × ${fixed(Math.exp(maxima[before] - maximum), 4)}`, {
        fill: "mark", weight: 600 })]),
    ...scores.flatMap((score, i) => {
      const [x, share] = [middle(i) - bar / 2, shares[i]];
      const old = Math.exp(score - maxima[before]) * full;
      return [
        stroke([[x, floor], [x + bar, floor]], { colour: "ink-2" }),
        ...(i < (before + 1) * atOnce ? [box(x, floor - old, bar, old, { line: "ink-2", dash: "3 3" })] : []),
        ...(share === null
          ? []
          : [
            box(x, floor - full * share, bar, full * share, { fill: "s" }),
            words(middle(i), floor - full * share - 6, fixed(share, slot < 50 ? 3 : 4), {
              anchor: "middle", fill: "ink", ...ON_PAPER }),
          ]),
        words(middle(i), floor + 20, String(score), {
          size: 15, anchor: "middle", fill: share === null ? "ink-2" : "ink",
          weight: share !== null && score === maxima[here] ? 650 : 400 }),
        words(middle(i), floor + 40, drawn.words[i], { anchor: "middle" }),
      ];
    }),
  ];
});
