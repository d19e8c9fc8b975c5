import { count, fixed, significant, size } from "../kit/format.js";

/**
 * What the picture says in words, as parts of which every second one matters. say.py holds the same functions.
 * @typedef {{kind: string, tensor?: string, span?: string, bytes?: number, head?: string}} Event a dot has only a kind
 * @typedef {{name: string, kernel: ?string, program: number, programs: number, event: Event, live: number,
 *   limit: number, risen: ?[rows: number, of: number], moved: number, total: number, ended: boolean, share: number,
 *   result: string, other: ?{name: string, share: number, total: number}}} Facts
 */

export const QUESTION = "What moves between HBM and SRAM, and when?";
const DOES = { load: "loads", store: "stores", atomic: "adds to", dot: "multiplies two tiles in SRAM" };

/** @param {number} share 0 to 1 */
export function percent(share) {
  return share > 0 && share < 0.01
    ? "under 1 %"
    : share < 1 && share > 0.99
      ? "over 99 %"
      : `${fixed(100 * share, 0)} %`;
}

/** "rows 64 to 127", "entries 0 to 63, columns 32 to 63": what a tile spans of its tensor. */
export function span({ top, bottom, left, right }, [, rows, columns]) {
  const range = (what, from, to) =>
    to - from === 1 ? `${what} ${count(from)}` : `${what}s ${count(from)} to ${count(to - 1)}`;
  if (columns === 1) return range("entry", top, bottom).replace("entrys", "entries");
  if (rows === 1) return range("entry", left, right).replace("entrys", "entries");
  return range("row", top, bottom) + (right - left < columns ? `, ${range("column", left, right)}` : "");
}

/** What happens at one event. @param {Event} event */
export function doing({ kind, tensor, span: where, bytes, head }) {
  return kind === "dot" ? DOES.dot : `${DOES[kind]} ${tensor}${head} ${where}, ${size(bytes)}`;
}

/** Who does it: "flash, program 5 of 8". @param {Facts} now */
export function who({ name, kernel, program, programs }) {
  return `${name}${kernel ? `, ${kernel}` : ""}, program ${count(program)} of ${count(programs)}`;
}

/** The sentence of a frame. @param {Facts} now */
export function sentence(now) {
  const { name, event, live, limit, risen, moved, total, ended, share, result, other } = now;
  if (ended)
    return [
      `${name} is done after ${size(total)}. `,
      `${other.name} has moved ${size(moved)} of ${size(other.total)} ` +
        `and finished ${percent(other.share)} of ${result}.`,
    ];
  const rose = risen ? ` The maximum rises in ${count(risen[0])} of ${count(risen[1])} rows.` : "";
  const room = live > limit ? `, ${size(live - limit)} more than the limit` : ` of ${size(limit)}`;
  const first = `${who(now)}, ${doing(event)}.${rose} SRAM holds ${size(live)}${room}. `;
  if (!other) return [first, `${size(moved)} of ${size(total)} moved.`];
  const [most, least] = other.total > total ? [other, now] : [now, other];
  const every =
    other.total === total
      ? "in all they move the same"
      : `in all ${most.name} moves ${significant(most.total / least.total)} times as much`;
  return [
    first,
    `After ${size(moved)} each, ${name} has finished ${percent(share)} of ${result}, ` +
      `${other.name} ${percent(other.share)}; ${every}.`,
  ];
}
