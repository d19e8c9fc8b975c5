import { size } from "../kit/format.js";
import { linear, linearByteTicks } from "../kit/scale.js";
import { LETTER, box, fitting, line, word } from "./paint.js";

const TOP = 18;
const LANE = 58;
const READ = 17;
const WRITE = 11;
const RIGHT = 74;
const BOLD = LETTER + 0.8;

/** Where the lanes begin, and where a byte count stands. One trace needs no name beside it. */
function sides(traces, width) {
  const longest = Math.max(...traces.map(({ total }) => total)) || 1;
  const named = Math.max(...traces.map(({ name }) => name.length)) * BOLD + 12;
  const left = traces.length > 1 ? Math.min(named, Math.max(0.2 * width, 70)) : 14;
  return { left, longest, x: linear([0, longest], [left, width - RIGHT]) };
}

/**
 * The whole run as a strip of film: what moves at each byte of the clock, reads above the line, writes below. Of what
 * shares a pixel, the tensor with the most bytes is drawn.
 */
function strip(trace, x, y) {
  const shapes = [];
  const from = x(0);
  const pixels = Math.max(1, Math.ceil(x(trace.total) - from));
  const kinds = 2 * trace.tensors.length;
  const bytes = new Float64Array(pixels * kinds);
  const perPixel = trace.total / pixels || 1;
  for (let e = 0; e < trace.events; e += 1) {
    if (trace.isDot(e)) continue;
    const start = e ? trace.moved[e - 1] : 0;
    const kind = 2 * trace.of.tensor(e) + (trace.of.read(e) ? 0 : 1);
    const [first, last] = [start / perPixel, trace.moved[e] / perPixel];
    for (let p = Math.floor(first); p < last && p < pixels; p += 1)
      bytes[p * kinds + kind] += Math.min(p + 1, last) - Math.max(p, first);
  }
  let [run, since] = [-1, 0];
  const close = (end) => {
    if (run < 0) return;
    const colour = trace.tensors[run >> 1].colour;
    shapes.push(
      run & 1
        ? box(from + since, y + READ + 1, end - since, WRITE, colour, 0.85)
        : box(from + since, y, end - since, READ, colour, 0.85),
    );
  };
  for (let p = 0; p <= pixels; p += 1) {
    let most = -1;
    for (let kind = 0; p < pixels && kind < kinds; kind += 1) {
      const here = bytes[p * kinds + kind];
      if (here > 0 && (most < 0 || here > bytes[p * kinds + most])) most = kind;
    }
    if (most === run && p < pixels) continue;
    close(p);
    [run, since] = [most, p];
  }
  return shapes;
}

/** Where kernels begin, with their names where there is room. */
function kernelMarks(trace, x, y) {
  if (trace.kernels.length < 2) return [];
  const ends = [];
  trace.first.forEach((begin, program) => {
    if (program === 0 || trace.kernel[program] !== trace.kernel[program - 1])
      ends.push([trace.kernel[program], begin ? trace.moved[begin - 1] : 0]);
  });
  return ends.flatMap(([kernel, at], i) => {
    const next = i + 1 < ends.length ? ends[i + 1][1] : trace.total;
    const name = trace.kernels[kernel].name;
    const mark = i ? [line(x(at), y - 2, x(at), y + READ + WRITE + 12, "ink-2", { dash: [2, 2] })] : [];
    return name.length * LETTER + 8 < x(next) - x(at)
      ? [...mark, word(name, x(at) + (i ? 4 : 0), y + READ + WRITE + 12)]
      : mark;
  });
}

/**
 * Both traces on one clock of bytes; drawn once for a width, since it holds the whole run.
 * @param {import("./trace.js").Trace[]} traces one or two @param {number} width
 */
export function film(traces, width) {
  const { left, longest, x } = sides(traces, width);
  const most = Math.max(2, Math.floor((width - left - RIGHT) / 90));
  const floor = TOP + traces.length * LANE;
  const shapes = [];
  for (const tick of linearByteTicks(longest, most)) {
    shapes.push(
      line(x(tick), TOP - 4, x(tick), floor - 8, "line", { width: 0.6 }),
      word(size(tick), x(tick), 10, "ink-2", { anchor: "middle" }),
    );
  }
  traces.forEach((trace, i) => {
    const y = TOP + 6 + i * LANE;
    if (traces.length > 1) shapes.push(word(fitting(trace.name, left - 8, BOLD), 0, y + READ, "ink", { bold: true }));
    shapes.push(...strip(trace, x, y), ...kernelMarks(trace, x, y),
      line(left, y + READ + 0.5, x(trace.total), y + READ + 0.5, "paper"),
      word(size(trace.total), x(trace.total) + 8, y + READ + 3, "ink", { bold: true }));
  });
  return { shapes, height: floor - 4, at: (px) => Math.min(Math.max(x.invert(px), 0), longest) };
}

/** The clock's hand over the film. */
export function hand(traces, bytes, width) {
  const { x } = sides(traces, width);
  const at = x(bytes);
  const shapes = [line(at, TOP - 4, at, TOP + traces.length * LANE - 8, "mark", { width: 2 })];
  traces.forEach((trace, i) => {
    const y = TOP + 6 + i * LANE;
    const end = x(trace.total);
    if (at < end) shapes.push(box(at + 1, y, end - at, READ + WRITE + 1, "paper", 0.5));
  });
  return shapes;
}
