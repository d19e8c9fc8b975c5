import { size } from "../kit/format.js";
import { LETTER, box, fitting, line, word } from "./paint.js";

const BOX = 140;
const TALL = 268;
const TOP_OF_BOX = 22;
const ROW_HEIGHT = 19;
const NAMED = 13; // pixels a tile needs to carry its name
const BARS = 30;

/** The names of tiles too thin to carry theirs: a line each over the stack while there is room, else in one line. */
function thinNames(thin, y, limitAt) {
  const room = Math.floor((y - (limitAt < y ? Math.max(limitAt + 18, TOP_OF_BOX) : TOP_OF_BOX)) / 14);
  if (!thin.length || room < 1) return [];
  if (thin.length > room) return [word(fitting(thin.map(({ name }) => name).join(", "), BOX - 16), 9, y - 5)];
  return thin.flatMap(({ name, bytes }, i) => [
    word(fitting(name, BOX - 56), 9, y - 5 - 14 * i),
    word(size(bytes), BOX - 8, y - 5 - 14 * i, "ink-2", { anchor: "end" }),
  ]);
}

/** The tiles alive after event e, stacked against the limit. */
function sramBox(trace, e, limit, scaleTo) {
  const live = trace.liveBytes(e);
  const over = live > limit;
  const most = Math.max(limit, scaleTo) * 1.04;
  const high = (bytes) => (bytes / most) * TALL;
  const foot = TOP_OF_BOX + TALL;
  const shapes = [
    word("SRAM", 0, 13, "ink", { bold: true }),
    word(`${size(live)} live`, BOX, 13, over ? "bad" : "ink", { bold: true, anchor: "end" }),
    box(0.5, TOP_OF_BOX + 0.5, BOX - 1, TALL, null, 1, { stroke: "line", r: 4 }),
  ];
  const arriving = trace.of.kind(e) === 0 ? trace.tensors[trace.of.tensor(e)].part : null;
  const drawn = trace.live[trace.of.live(e)].map(([tile, bytes]) => ({ ...trace.tiles[tile], bytes }));
  const thin = drawn.filter(({ bytes }) => high(bytes) < NAMED);
  let y = foot;
  for (const tile of [...drawn.filter((one) => !thin.includes(one)), ...thin]) {
    const h = high(tile.bytes);
    y -= h;
    const fresh = arriving !== null && tile.colour === arriving;
    shapes.push(box(2, y + 0.75, BOX - 4, Math.max(h - 1.5, 0.75), tile.colour, fresh ? 0.8 : 0.4));
    if (thin.includes(tile)) continue;
    const ink = fresh && tile.colour !== "ink-2" ? "paper" : "ink";
    shapes.push(
      word(fitting(tile.name, BOX - 56), 9, y + h / 2 + 4, ink, { bold: fresh }),
      word(size(tile.bytes), BOX - 8, y + h / 2 + 4, ink, { anchor: "end" }),
    );
  }
  const at = foot - high(limit);
  shapes.push(...thinNames(thin, y, at));
  const above = at > TOP_OF_BOX + 16;
  const label = `limit ${size(limit)}`;
  const wide = (label.length + 1) * LETTER; // over tiles it needs a ground of its own
  if (over) shapes.push(box(BOX - 5 - wide, above ? at - 16 : at + 3, wide, 14, "paper", 0.85, { r: 3 }));
  shapes.push(
    line(-3, at, BOX + 3, at, "bad", { width: 1.5 }),
    word(label, BOX - 8, above ? at - 5 : at + 14, "bad", { anchor: "end" }),
  );
  return shapes;
}

/** What has moved of each tensor: read solid, written hatched, the whole run as an outline. */
function lanes(trace, e, x, y, width, longest) {
  const shapes = [word("HBM, moved so far", x, y, "ink", { bold: true }), word("▪ read   ▨ written", x, y + 15)];
  const name = Math.min(72, Math.max(...trace.tensors.map((tensor) => tensor.name.length)) * (LETTER + 1) + 14);
  const full = width - name - 62;
  const [now, way] = [trace.of.tensor(e), trace.of.written(e) ? "◂" : "▸"];
  let row = y + 24;
  trace.tensors.forEach(({ name: text, colour }, t) => {
    const [read, written] = [e < 0 ? 0 : trace.reads[t][e], e < 0 ? 0 : trace.writes[t][e]];
    const all = trace.events ? trace.reads[t][trace.events - 1] + trace.writes[t][trace.events - 1] : 0;
    const long = (bytes) => (longest ? (full * bytes) / longest : 0);
    if (t === now) shapes.push(word(way, x, row + 11, "mark"));
    shapes.push(word(fitting(text, name - 12), x + 11, row + 11, t === now ? "ink" : "ink-2", { bold: t === now }),
      box(x + name + 0.5, row + 1.5, Math.max(long(all), 1), 11, null, 1, { stroke: "line" }));
    if (read) shapes.push(box(x + name, row + 1, Math.max(long(read), 1), 12, colour, 0.85));
    if (written)
      shapes.push(box(x + name + long(read), row + 1, Math.max(long(written), 1), 12, colour, 0.5, { hatch: colour }));
    shapes.push(
      word(size(read + written), x + name + Math.max(long(all), 1) + 6, row + 11, read + written ? "ink" : "ink-2"),
    );
    row += ROW_HEIGHT;
  });
  return { shapes, bottom: row };
}

/** m and l of the running program's rows, as bars; the rows whose maximum rose are strong. */
function statistics(trace, e, x, y, width) {
  const found = trace.statistics(e);
  const title = word("m and l of its rows", x, y, "ink", { bold: true });
  if (!found) {
    if (!trace.rows.length) return { shapes: [], bottom: y };
    const programs = [...new Set(trace.rows.map(({ at }) => trace.programOf(at[0]) + 1))].join(", ");
    return { shapes: [title, word(fitting(`recorded of program ${programs}`, width), x, y + 16)], bottom: y + 24 };
  }
  const count = found.m.length;
  const pool = Math.ceil(count / (width - 15));
  const step = Math.min((width - 15) / Math.ceil(count / pool), 7);
  const shapes = [title];
  const bars = (values, foot) => {
    for (let row = 0; row < count; row += pool) {
      let [level, rose] = [0, false];
      for (let i = row; i < Math.min(row + pool, count); i += 1)
        [level, rose] = [Math.max(level, values[i]), rose || Boolean(found.risen[i])];
      const h = (level / 255) * BARS;
      shapes.push(
        box(
          x + 15 + (row / pool) * step,
          foot - h,
          Math.max(step - (step > 3 ? 1 : 0.4), 0.6),
          h,
          "m",
          rose ? 1 : 0.36,
        ),
      );
    }
  };
  bars(found.m, y + 10 + BARS);
  bars(found.l, y + 18 + 2 * BARS);
  const rose = found.risen.reduce((sum, one) => sum + one, 0);
  shapes.push(
    word("m", x, y + 10 + BARS, "m", { bold: true }),
    word("l", x + 2, y + 18 + 2 * BARS, "m", { bold: true }),
    word(rose ? `${rose} of ${count} rows rescaled` : "no row rescaled", x, y + 34 + 2 * BARS),
  );
  return { shapes, bottom: y + 40 + 2 * BARS };
}

/**
 * The memory: SRAM against its limit, what has come and gone by tensor, and the statistics of the rows.
 * @param {import("./trace.js").Trace} trace @param {number} e @param {number} width
 * @param {{limit: number, peak: number, lane: number}} scales of both traces, so that they can be compared
 */
export function memory(trace, e, width, { limit, peak, lane }) {
  const [x, right] = [BOX + 18, width - BOX - 18];
  const moved = lanes(trace, e, x, 13, right, lane);
  const stats = statistics(trace, e, x, moved.bottom + 22, right);
  return {
    shapes: [...sramBox(trace, e, limit, peak), ...moved.shapes, ...stats.shapes],
    height: Math.max(TOP_OF_BOX + TALL + 4, stats.bottom),
  };
}
