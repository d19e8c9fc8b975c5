import { cells, cut, mark } from "./cells.js";
import { AHEAD, HERE, NOW, PAST } from "./grid.js";
import { LETTER, word } from "./paint.js";

const HIGHEST = 150;
const APART = 22;
const BOX_INK = { [AHEAD]: 0.14, [PAST]: 0.4, [HERE]: 0.62, [NOW]: 1 };

/** How far a tensor's tiles have come by event e. @param {import("./trace.js").Trace} trace */
export function boxStates(trace, tensor, e) {
  const [leading, rowCount, columnCount] = trace.tensors[tensor].shape;
  const { tiles, height, width } = trace.touches(tensor);
  const lies = columnCount === 1; // a vector is drawn lying down
  const down = cut(lies ? 1 : leading * rowCount, lies ? 1 : height);
  const across = cut(lies ? leading * rowCount : columnCount, lies ? height : width);
  const states = new Uint8Array(down.count * across.count);
  const program = trace.programOf(e);
  let now = null;
  for (const tile of tiles) {
    if (tile.event > e) break;
    const [top, bottom] = [tile.leading * rowCount + tile.top, tile.leading * rowCount + tile.bottom];
    const spot = lies
      ? { top: 0, bottom: 1, left: top, right: bottom }
      : { top, bottom, left: tile.left, right: tile.right };
    mark(states, down, across, spot, tile.program === program && !tile.written ? HERE : PAST);
    now = tile.program === program ? spot : now;
  }
  if (now) mark(states, down, across, now, NOW);
  return { down, across, states };
}

/** The proportions of a tensor, held between 1 : 3 and 3 : 1 so that the thin ones can be seen. */
function proportion([leading, rows, columns]) {
  if (columns === 1) return null;
  return Math.min(Math.max(columns / (leading * rows), 1 / 3), 3);
}

/**
 * Any kernel's tensors, each as its own rectangle, side by side; what is written stands last.
 * @param {import("./trace.js").Trace} trace @param {number} e @param {number} width
 */
export function boxes(trace, e, width) {
  const rank = (t) => 2 * Number(t === trace.result) + Number(trace.tensors[t].written);
  const order = trace.tensors.map((_, t) => t).sort((a, b) => rank(a) - rank(b));
  const shapes = [];
  let [x, y, tallest] = [0, 20, 0];
  for (const tensor of order) {
    const { name, colour, shape } = trace.tensors[tensor];
    const ratio = proportion(shape);
    const h = ratio ? (ratio > 1.6 ? HIGHEST / ratio : HIGHEST) * (tensor === trace.result ? 1 : 0.8) : 14;
    const w = Math.min(ratio ? h * ratio : width, width);
    const wide = Math.max(w, (name.length + 14) * LETTER);
    if (x && x + wide > width) [x, y, tallest] = [0, y + tallest + APART + 10, 0];
    const { down, across, states } = boxStates(trace, tensor, e);
    const size = shape.filter((side, i) => side > 1 || i === 1).join(" × ");
    shapes.push(
      word(name, x, y - 7, colour === "ink-2" ? "ink" : colour, { bold: true }),
      word(size, x + name.length * LETTER + 10, y - 7),
      ...cells(states, down, across, { x, y, w, h }, (state) => ({ fill: colour, alpha: BOX_INK[state], r: 1 })),
    );
    x += wide + APART;
    tallest = Math.max(tallest, h);
  }
  return {
    shapes,
    height: y + tallest + 4,
    words: "Each rectangle is a tensor in HBM; the darkest tile is the one that moves or moved last.",
  };
}
