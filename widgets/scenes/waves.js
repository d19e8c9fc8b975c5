import { bigNumber, box, scene, words } from "./scene.js";

const ACROSS = 12; // processors in a row

export default scene(({ drawn, at: [place], room }) => {
  const { heads, processors } = drawn;
  const programs = heads * (place + 1);
  const count = Math.ceil(programs / processors);
  const cell = room.choose(18, Math.floor(room.width / (2 * ACROSS + 2)));
  const [left, top] = room.choose([room.width - (2 * ACROSS + 2) * cell, 30], [0, 116]);
  const full = Math.round((100 * programs) / (count * processors));
  return [
    top + Math.ceil(processors / ACROSS) * cell + 10,
    bigNumber(0, room.choose(62, 34), `${full} %`, { size: room.choose(44, 32) }),
    words(0, room.choose(86, 56), "of the places are used", { size: 15 }),
    words(0, room.choose(126, 78), `${Math.round(programs)} programs`, { size: 15, fill: "mark", weight: 600 }),
    ...[0, 1].flatMap((wave) => {
      const x = left + wave * (ACROSS + 2) * cell;
      return [
        words(x, top - 10, wave < count ? `wave ${wave + 1}` : "no second wave"),
        ...Array.from({ length: processors }, (_, i) => {
          const busy = wave * processors + i < programs;
          return box(x + (i % ACROSS) * cell, top + Math.floor(i / ACROSS) * cell, cell - 2, cell - 2, {
            fill: busy ? "mark" : "panel", line: busy ? "mark" : "line", opacity: wave < count ? 1 : 0.4, radius: 2 });
        }),
      ];
    }),
  ];
});
