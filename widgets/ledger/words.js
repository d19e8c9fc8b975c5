import { count, fixed, significant, size, times } from "../kit/format.js";

/**
 * What a picture says in words, as parts of which every second one matters. words.py holds the same functions.
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

/**
 * How all methods grow up to the length at index `at`; the one at index `chosen` is what matters.
 * @returns {string[]}
 */
export function growth(lengths, methods, chosen, at) {
  /** A verb, and what it says; the verb goes without saying of the others, unless it is "stays" or "was". */
  const said = ({ bytes }) => {
    if (at >= bytes.length) return ["was ", `not measured beyond ${count(lengths[bytes.length - 1])}`];
    if (at === 0 || !bytes[0]) return ["takes ", size(bytes[at])];
    if (bytes[at] === bytes[0]) return ["stays ", `at ${size(bytes[at])}`];
    return ["grows ", `${times(bytes[at] / bytes[0])}, to ${size(bytes[at])}`];
  };
  const here = at === 0 ? `At ${count(lengths[0])} tokens ` : `${times(lengths[at] / lengths[0])} the tokens: `;
  const [verb, what] = said(methods[chosen]);
  const others = methods.filter((_, i) => i !== chosen).map((method) => {
    const [does, words] = said(method);
    return `; ${method.name} ${does === "was " || does === "stays " ? does : ""}${words}`;
  });
  return [`${here}${methods[chosen].name} ${verb}`, what, `${others.join("")}.`];
}

/** What is asked before the reveal. @returns {string[]} */
export function asked(lengths, method, shown, prediction) {
  const [last, end] = [lengths[shown - 1], lengths[lengths.length - 1]];
  const known = `${method.name} takes ${size(method.bytes[shown - 1])} at ${count(last)} tokens.`;
  if (prediction === null)
    return [`${known} `, `Where will it be at ${count(end)}?`, " Set your prediction, then reveal."];
  return [
    `${known} You say `,
    size(prediction),
    ` at ${count(end)}: ${times(end / last)} the tokens, ${times(prediction / method.bytes[shown - 1])} the memory.`,
  ];
}

/** By what factor a prediction missed. @param {number} prediction @param {number} measured */
export function missed(prediction, measured) {
  const ratio = measured / prediction;
  if (ratio > 1.05) return `${times(ratio)} what you said`;
  if (ratio < 1 / 1.05) return `you said ${times(1 / ratio)} as much`;
  return "within 5 % of what you said";
}

/** The reveal. @returns {string[]} */
export function revealed(lengths, method, prediction) {
  const last = lengths.length - 1;
  const measured = method.bytes[last];
  return [
    `You said ${size(prediction)} at ${count(lengths[last])} tokens. Measured: `,
    size(measured),
    `, ${missed(prediction, measured)}.`,
  ];
}

/** How well a formula meets the measurement. */
export function fit({ text, error }, points) {
  return error === 0
    ? `${text}: exact at all ${points} lengths`
    : `${text}: off by at most ${significant(100 * error)} %`;
}

/** @param {?number} exponent */
export function slope(exponent) {
  return exponent === null ? "" : `slope ${fixed(exponent, 2)}`;
}

/**
 * What is alive after one event.
 * @param {Pick<Recording, "event" | "total" | "live" | "peak">} run @param {number} at
 * @param {{name: string, bytes: number}[]} roles the largest first @returns {string[]}
 */
export function alive({ event, total, live, peak }, at, roles) {
  const named = roles.map(({ name, bytes }) => `${name} ${size(bytes)}`).join(", ");
  const where = `After event ${count(event[at] + 1)} of ${count(total)}, `;
  const most = at === peak ? ", the most of the run" : "";
  return [where, size(live[at]), ` alive${most}${named ? `: ${named}` : ""}.`];
}
