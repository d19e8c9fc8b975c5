import { Messages } from "../kit/messages.js";
import LEDGER_SAYS from "./messages.json" with { type: "json" };

/**
 * The facts that a picture says in the words of messages.json, as parts of which every second one matters. words.py
 * holds the same functions.
 * @typedef {{name: string, colour: string, shade: number, rest: boolean, bytes: Float64Array}} Role
 * @typedef {{text: string, error: number, n: Float64Array, bytes: Float64Array, atLengths: Float64Array,
 *   reaches: {name: string, n: number}[]}} Formula
 * @typedef {{name: string, bytes: Float64Array, exponent: ?number, roles: Role[], formula: ?Formula}} Method
 * @typedef {{name: string, bytes: number}} Limit of a machine
 * @typedef {{question: string, provenance: string, lengths: Float64Array, methods: Method[], limits: Limit[],
 *   ask: ?number, shown: number, what: string}} Sweep as view.py sends it
 * @typedef {{question: string, provenance: string, event: Int32Array, total: number, live: Float64Array, peak: number,
 *   roles: Role[], delta: Float64Array, role: ArrayLike<number>, operation: ArrayLike<number>, line: ArrayLike<number>,
 *   names: string[], operations: string[], lines: string[], limits: Limit[]}} Recording as view.py sends it
 */

const says = new Messages(LEDGER_SAYS);

/**
 * How all methods grow up to the length at index `at`; the one at index `chosen` is what matters.
 * @returns {string[]}
 */
export function growth(lengths, methods, chosen, at) {
  const grown = ({ name, bytes }) => ({
    name,
    bytes: bytes[at] ?? null,
    more: at === 0 || at >= bytes.length || !bytes[0] ? null : bytes[at] / bytes[0],
    until: lengths[bytes.length - 1],
  });
  const others = methods.filter((_, i) => i !== chosen).map(grown);
  const longer = at === 0 ? null : lengths[at] / lengths[0];
  return says.parts("growth", { ...grown(methods[chosen]), tokens: lengths[0], longer, others });
}

/** What is asked before the reveal. @returns {string[]} */
export function asked(lengths, { name, bytes }, shown, prediction) {
  const [tokens, end, last] = [lengths[shown - 1], lengths[lengths.length - 1], bytes[shown - 1]];
  const known = { name, bytes: last, tokens, end };
  if (prediction === null) return says.parts("asked", known);
  return says.parts("foretold", { ...known, prediction, longer: end / tokens, more: prediction / last });
}

/** By what factor a prediction missed. @param {number} prediction @param {number} measured */
export function missed(prediction, measured) {
  return says.text("missed", { more: measured / prediction, less: prediction / measured });
}

/** The reveal. @returns {string[]} */
export function revealed(lengths, { bytes }, prediction) {
  const end = lengths.length - 1;
  const measured = bytes[end];
  const [more, less] = [measured / prediction, prediction / measured];
  return says.parts("revealed", { prediction, end: lengths[end], measured, more, less });
}

/** How well a formula meets the measurement. @returns {string} */
export function fit({ text, error }, points) {
  return says.text("fit", { text, error, points, percent: 100 * error });
}

/** @param {?number} exponent */
export function slope(exponent) {
  return says.text("slope", { exponent });
}

/**
 * What is alive after one event.
 * @param {Pick<Recording, "event" | "total" | "live" | "peak">} run @param {number} at
 * @param {{name: string, bytes: number}[]} roles the largest first @returns {string[]}
 */
export function alive({ event, total, live, peak }, at, roles) {
  return says.parts("alive", { event: event[at] + 1, total, live: live[at], most: at === peak, roles });
}
