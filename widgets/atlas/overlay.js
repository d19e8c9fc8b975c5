import { acrossOf, downOf, pixelsPerCell } from "./shapes.js";

const LEAST_DOT = 5; // pixels of a square that holds one

/**
 * What is laid over a map, as dots: the area of each is the share of the pairs of a square. Squares too small to hold
 * a dot are joined, by their pairs.
 * @param {{side: number, cell: number, share: Uint8Array}} overlay @param {import("./shapes.js").Place} here
 * @param {boolean} causal @returns {{x: number, y: number, radius: number}[]}
 */
export function overlayDots({ side, cell, share }, here, causal) {
  const [x, y] = [acrossOf(here), downOf(here)];
  const { camera, tokens } = here;
  const pixels = pixelsPerCell(here) * cell;
  const join = 2 ** Math.max(0, Math.ceil(Math.log2(LEAST_DOT / pixels)));
  const size = join * cell;
  const most = Math.ceil(tokens / size);
  const inside = (from) => [
    Math.max(0, Math.floor(from / size)),
    Math.min(most, Math.ceil((from + camera.span) / size)),
  ];
  const [rows, columns] = [inside(camera.y), inside(camera.x)];
  const dots = [];
  for (let row = rows[0]; row < rows[1]; row += 1) {
    for (let column = columns[0]; column < (causal ? Math.min(columns[1], row + 1) : columns[1]); column += 1) {
      let [chosen, pairs] = [0, 0];
      for (let i = row * join; i < Math.min((row + 1) * join, side); i += 1) {
        for (let j = column * join; j < Math.min((column + 1) * join, causal ? i + 1 : side); j += 1) {
          const those = causal && i === j ? (cell * (cell + 1)) / 2 : cell * cell;
          pairs += those;
          chosen += (those * share[i * side + j]) / 255;
        }
      }
      if (!chosen) continue;
      dots.push({ x: (x(column * size) + x((column + 1) * size)) / 2, y: (y(row * size) + y((row + 1) * size)) / 2,
        radius: Math.max(0.8, 0.46 * join * pixels * Math.sqrt(chosen / pairs)) });
    }
  }
  return dots;
}
