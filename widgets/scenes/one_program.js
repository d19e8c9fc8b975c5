import { count } from "../kit/format.js";
import { bigNumber, box, scene, words } from "./scene.js";

const BLOCKS = [0, 1, 2, 3];
const STRIP = 13; // pixels: how thick Q, K, V and the output are
const TITLES = ["score_tile, then row_log_sums", "flash_forward"];
/** The tiles on the chip, by kernel: name in the kernel, bytes, label, colour; null begins the next row. */
const CHIP = {
  score_tile: [["q_tile", 512, "q", "q"], ["k_tile", 512, "k", "k"], ["scores", 1024, "s", "s"]],
  row_log_sums: [["m", 64, "", "m"], ["ell", 64, "", "m"], ["piece", 1024, "s", "s"], ["p", 1024, "p", "s"]],
  flash_forward: [["q_tile", 512, "q", "q"], ["acc", 1024, "acc", "o"], ["m", 64, "", "m"], ["ell", 64, "", "m"], null,
    ["k_tile", 512, "k", "k"], ["scores", 1024, "s", "s"], ["p", 1024, "p", "s"], ["v_tile", 512, "v", "v"]],
};
const TILES = { q: "q_tile", k: "k_tile", v: "v_tile", out: "acc", lse: "m" };
const COLOURS = { q: "q", k: "k", v: "v", s: "s", out: "o", lse: "m" };

/** Where a lane stands when so many bytes have passed: the event under way, the share of it that is done. */
function standing(events, clock) {
  let moved = 0;
  for (let i = 0; i < events.length; i += 1) {
    if (clock < moved + events[i].bytes) return { i, share: (clock - moved) / events[i].bytes, moved: clock };
    moved += events[i].bytes;
  }
  return { i: events.length, share: 0, moved };
}

/** Where the tiles of each tensor lie in memory, by block. */
function memoryMap(x, y, cell) {
  const [left, top, side] = [x + STRIP + 4, y + STRIP + 4, BLOCKS.length * cell];
  return {
    right: left + side + STRIP + 11,
    row: (i) => [x - 3, top + i * cell - 3, side + 2 * STRIP + 17, cell + 4],
    q: (i) => [x, top + i * cell, STRIP, cell - 2],
    k: (i) => [left + i * cell, y, cell - 2, STRIP],
    s: (i, row) => [left + i * cell, top + row * cell, cell - 2, cell - 2],
    v: (i) => [left + i * cell, top + side + 2, cell - 2, STRIP],
    out: (i) => [left + side + 2, top + i * cell, STRIP, cell - 2],
    lse: (i) => [left + side + STRIP + 5, top + i * cell, 4, cell - 2],
    names: {
      Q: [x - 5, top + 12, "end"],
      K: [left - 4, y + 11, "end"],
      V: [left - 4, top + side + 13, "end"],
      "in memory": [left, top + side + 12, "start"],
      O: [left + side + 2 + STRIP / 2, y + 11, "middle"],
      lse: [left + side + STRIP + 8, top + side + 12, "middle"],
    },
  };
}

/** Where the tiles of a kernel lie on the chip. */
function chipMap(tiles, x, y, unit) {
  const found = {};
  let [left, top] = [x, y];
  for (const tile of tiles) {
    if (!tile) {
      [left, top] = [x, top + unit + 8];
      continue;
    }
    const [name, bytes, label, colour] = tile;
    found[name] = { place: [left, top, (bytes / 512) * unit, unit], label, colour };
    left += (bytes / 512) * unit + 5;
  }
  return found;
}

/** @param {number[]} place @param {Record<string, any>} look */
const boxAt = ([x, y, width, height], look) => box(x, y, width, height, look);
const between = (from, to, share) => from.map((start, i) => start + (to[i] - start) * share);

export default scene(({ drawn, at: [place], room }) => {
  const { stops, lanes, program } = drawn;
  const first = Math.floor(place);
  const clock = stops[first] + (place - first) * ((stops[first + 1] ?? stops[first]) - stops[first]);
  const totals = lanes.map((events) => events.reduce((sum, { bytes }) => sum + bytes, 0));
  const high = room.choose(162, 210);
  const shapes = lanes.flatMap((events, which) => {
    const top = which * high + 28;
    const memory = memoryMap(18, top, room.choose(20, 17));
    const chip = { x: memory.right + room.choose(30, 12), y: top };
    const wide = room.choose(247, room.width - chip.x - 1);
    const unit = Math.min(36, (wide - 31) / 6);
    const deep = which ? 2 * unit + 24 : unit + 16;
    const { i, share, moved } = standing(events, clock);
    const over = i === events.length;
    const event = events[Math.min(i, events.length - 1)];
    const tiles = chipMap(CHIP[event.kernel], chip.x + 8, chip.y + 8, unit);
    const past = events.slice(0, i);
    const stored = (tensor, block) => past.some((e) => e.kind === "store" && e.tensor === tensor && e.block === block);
    const summed = past.filter((e) => e.tensor === "v").map((e) => e.block);
    const shown = [words(0, top - 13, TITLES[which], { size: 15, fill: "ink", weight: 600 })];
    for (const [name, [x, y, anchor]] of Object.entries(memory.names)) {
      if (which ? name !== "in memory" : !"VO".includes(name)) shown.push(words(x, y, name, { anchor }));
    }
    for (const b of BLOCKS) {
      shown.push(boxAt(memory.q(b), { fill: "q", opacity: b === program ? 0.8 : 0.2 }));
      for (const tensor of which ? ["k", "v"] : ["k"]) {
        shown.push(boxAt(memory[tensor](b), { fill: tensor, opacity: 0.8 }));
      }
      for (const tensor of which ? ["out", "lse"] : ["lse"]) {
        const fill = stored(tensor, b) ? COLOURS[tensor] : "";
        shown.push(boxAt(memory[tensor](b), { line: COLOURS[tensor], fill }));
      }
      for (const row of BLOCKS) {
        const made = row === program && (which ? summed.includes(b) : stored("s", b));
        const look = which ? { dash: "3 2" } : { fill: made ? "s" : "", opacity: 0.7 };
        shown.push(boxAt(memory.s(b, row), { line: made ? "s" : "line", ...look }));
      }
    }
    shown.push(
      boxAt(memory.row(program), { line: "mark", radius: 4 }),
      box(chip.x, chip.y, wide, deep, { fill: "panel", line: "line", radius: 6 }),
      words(chip.x, chip.y + deep + 17, over ? "done, the chip is free" : "on the chip, in SRAM"),
    );
    for (const [name, { place: at, label, colour }] of Object.entries(tiles)) {
      const full = !over && name in event.holds;
      shown.push(
        boxAt(at, full ? { fill: colour, opacity: 0.3, line: colour } : { line: "line", dash: "3 2" }),
        words(at[0] + at[2] / 2, at[1] + unit / 2 + 5, label, { anchor: "middle", fill: full ? "ink" : "ink-2" }),
      );
    }
    if (!over && share > 0) {
      const tile = event.tensor !== "s" ? TILES[event.tensor] : event.kind === "load" ? "piece" : "scores";
      const way = [memory[event.tensor](event.block, program), tiles[tile].place];
      const at = between(...(event.kind === "load" ? way : way.reverse()), share);
      shown.push(boxAt(at, { fill: COLOURS[event.tensor], line: "ink" }));
    }
    // the clock: how many of its bytes a lane has moved
    const [left, base] = room.choose([chip.x + wide + 30, top + 32], [0, top + 144]);
    const bar = room.choose([left, base + 26], [126, base - 22]);
    const scale = (room.width - bar[0] - 1) / Math.max(...totals);
    shown.push(
      bigNumber(left, base, count(moved), { size: room.choose(44, 32) }),
      words(left, base + room.choose(19, 16), "bytes moved"),
      box(bar[0], bar[1], totals[which] * scale, 12, { line: "ink-2" }),
      box(bar[0], bar[1], moved * scale, 12, { fill: "mark" }),
      words(bar[0], bar[1] + 27, `${count(totals[which])} in all`),
    );
    return shown;
  });
  return [2 * high - 4, ...shapes];
});
