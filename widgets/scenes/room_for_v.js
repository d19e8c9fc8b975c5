import { count } from "../kit/format.js";
import { bigNumber, box, pointer, scene, stroke, words } from "./scene.js";

/** @type {Record<string, string>} */
const COLOUR_OF_PART = { Q: "q", O: "o", S: "s", K: "k", V: "v" };
const BYTES_SHOWN = 64 * 1024;

export default scene(({ drawn, at: [place, order], room }) => {
  const { parts, sizes, tiles, budget } = drawn;
  const [here, on] = [Math.floor(place), place - Math.floor(place)];
  const sized = (run) => parts.map((_, i) => {
    const [now, next] = [sizes[run][here][i], sizes[run][Math.min(here + 1, tiles.length - 1)][i]];
    return now + (next - now) * on;
  });
  const [low, share] = [Math.floor(order), order - Math.floor(order)];
  const [these, those] = [sized(low), sized(Math.min(low + 1, sizes.length - 1))];
  const held = these.map((size, i) => size + (those[i] - size) * share);
  const total = held.reduce((sum, size) => sum + size, 0);

  const scale = room.width / BYTES_SHOWN;
  const [memory, chip, tall] = [room.choose(114, 100), room.choose(186, 170), room.choose(64, 56)];
  const starts = held.map((_, i) => scale * held.slice(0, i).reduce((sum, size) => sum + size, 0));
  const [tensor, tile] = tiles[Math.round(place)];
  const gap = room.choose(14, 8);
  const wide = (room.width - 3 * gap) / 4;
  const lengths = { q: 8, k: 2, v: 2, o: 8 };
  const lefts = Object.fromEntries(Object.keys(lengths).map((name, i) => [name, i * (wide + gap)]));
  const part = parts.indexOf(tensor.toUpperCase());
  const inSram = [starts[part] + (scale * held[part]) / 2, chip];
  const inMemory = [lefts[tensor] + ((tile + 0.5) * wide) / lengths[tensor], memory + 20];
  return [
    chip + tall + 48,
    bigNumber(0, room.choose(46, 34), count(Math.round(total)), {
      size: room.choose(44, 32), fill: total > budget ? "bad" : "ink" }),
    words(0, room.choose(70, 56), `bytes in SRAM, ${total > budget ? "too many for" : "fit in"} 48 KiB`, { size: 15 }),
    words(0, memory - 8, "HBM", { weight: 600 }),
    ...Object.entries(lengths).flatMap(([name, many]) =>
      Array.from({ length: many }, (_, i) =>
        box(lefts[name] + (i * wide) / many, memory, wide / many - 2, 18, {
          fill: name, opacity: name === tensor && i === tile ? 1 : 0.25 }))),
    ...Object.entries(lefts).map(([name, x]) =>
      words(x + wide - 2, memory - 8, name.toUpperCase(), { anchor: "end", weight: 600, fill: name })),
    pointer(tensor === "o" ? [inSram, [inMemory[0], memory + 22]] : [inMemory, [inSram[0], chip - 2]], {
      colour: tensor }),
    box(0, chip, room.width, tall, { fill: "panel", line: "line" }),
    ...parts.flatMap((name, i) => {
      const width = scale * held[i];
      const colour = COLOUR_OF_PART[name];
      const middle = { anchor: "middle", fill: "ink" };
      const kilobytes = `${Math.round(held[i] / 1024)} KiB`;
      return [
        box(starts[i], chip, width - 1, tall, { fill: colour, opacity: 0.3 }),
        ...(width > 16 ? [words(starts[i] + width / 2, chip + 27, name, { ...middle, size: 16, weight: 650 })] : []),
        ...(width > 44 ? [words(starts[i] + width / 2, chip + 47, kilobytes, middle)] : []),
      ];
    }),
    stroke([[budget * scale, chip - 8], [budget * scale, chip + tall + 8]], { colour: "ink", width: 2, dash: "4 3" }),
    words(0, chip + tall + 26, "SRAM", { weight: 600 }),
    words(budget * scale, chip + tall + 26, "48 KiB", { anchor: "middle", fill: "ink" }),
  ];
});
