import { Messages } from "../kit/messages.js";
import THEATRE_SAYS from "./messages.json" with { type: "json" };

/**
 * The facts that the picture says in the words of messages.json, every second part matters. say.py holds the same.
 * @typedef {{kind: string, tensor?: string, span?: string, bytes?: number, head?: string}} Event a dot has only a kind
 * @typedef {{name: string, kernel: ?string, program: number, programs: number, event: Event, live: number,
 *   limit: number, risen: ?[rows: number, of: number], moved: number, total: number, ended: boolean, share: number,
 *   result: string, other: ?{name: string, share: number, total: number}}} Facts
 */

const says = new Messages(THEATRE_SAYS);

/** @param {number} share 0 to 1 */
export function percent(share) {
  return says.text("percent", { it: share });
}

/** "rows 64 to 127", "entries 0 to 63, columns 32 to 63": what a tile spans of its tensor. */
export function span({ top, bottom, left, right }, [, rows, columns]) {
  const range = (what, first, end) => ({ what, first, last: end - 1, many: end - first });
  let ranges = [range(columns === 1 ? "entry" : "row", top, bottom)];
  if (columns > 1 && rows === 1) ranges = [range("entry", left, right)];
  else if (right - left < columns) ranges.push(range("column", left, right));
  return says.text("span", { ranges });
}

/** Which head a tensor is of, from 1 on; nothing where there is only one. @param {?number} head */
export function ofHead(head) {
  return says.text("head", { head });
}

/** What stands on the stage beside a lane. @param {"crossed" | "stands" | "ratio" | "ghost" | "stored"} name */
export function laneWords(name, facts) {
  return says.text(name, facts);
}

/** What a step of the tour says, every second part matters. @param {string} name */
export function tourSays(name, facts) {
  return says.parts(name, facts);
}

/** The sentence of a frame. @param {Facts} now */
export function sentence(now) {
  const { live, limit, risen, total, ended, other } = now;
  if (ended) return says.parts("ended", { ...now, other: { ...other, more: other.total / total } });
  const [rises, rows] = risen ?? [null, null];
  const facts = { ...now, rises, rows, over: live - limit };
  if (!other) return says.parts("now", facts);
  const [most, least] = other.total > total ? [other, now] : [now, other];
  return says.parts("now", { ...facts, most: most.name, more: most.total / least.total });
}
