import { weightAt } from "./recompute.js";
import { weightOf } from "./scale.js";
import { spelled } from "./say.js";

const ACROSS = 32; // squares of the table, along a side, at most

/**
 * What is seen of a map, as rows of a table: the cells themselves close up, else squares so large that 32 of them span
 * the view. Nothing is left out.
 * @param {Pick<import("./heads.js").Head, "stored" | "whole" | "vectors" | "codes">} head
 * @param {import("./camera.js").Camera} camera
 * @param {{tokens: number, causal: boolean, text: ?string[], bits: number}} data
 * @returns {(string | number)[][]} the first row names the columns
 */
export function rowsSeen(head, camera, { tokens, causal, text, bits }) {
  const wanted = Math.max(0, Math.ceil(Math.log2(camera.span / ACROSS)));
  const level = wanted === 0 && head.whole ? 0 : Math.max(wanted, head.stored);
  const size = 2 ** level;
  const side = Math.ceil(tokens / size);
  const codes = level ? head.codes("max", level, false) : null;
  const range = (at) => [Math.max(0, Math.floor(at / size)), Math.min(side, Math.ceil((at + camera.span) / size))];
  const named = (at) => (text && !level ? [at * size, spelled(text[at])] : [at * size]);
  const written = (row, column) => {
    if (!level) return weightAt(head.vectors, row, column).toPrecision(6);
    const weight = weightOf(codes[row * side + column], bits);
    return weight === 0 ? `≤ 2^-${bits}` : weight.toPrecision(2);
  };
  const [top, bottom] = range(camera.y);
  const [left, right] = range(camera.x);
  const head_ = (what) => (text && !level ? [what, `${what}'s token`] : [what]);
  const found = [
    [
      ...head_("query"),
      ...head_("key"),
      level ? `largest weight of ${size} × ${size} cells from there, to 3 %` : "weight",
    ],
  ];
  for (let row = top; row < bottom; row += 1) {
    for (let column = left; column < (causal ? Math.min(right, row + 1) : right); column += 1) {
      found.push([...named(row), ...named(column), written(row, column)]);
    }
  }
  return found;
}
