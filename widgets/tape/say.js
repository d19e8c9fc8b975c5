import { shown } from "../kit/format.js";
import { Messages } from "../kit/messages.js";
import TAPE_SAYS from "./messages.json" with { type: "json" };

/**
 * The facts that the Tape says of a picture in the words of messages.json. say.py holds the same.
 * A sentence is a list of parts, of which every second one matters; tests/js/tape.json holds both.
 */

const says = new Messages(TAPE_SAYS, { percent, shown: (text) => shown(text) });
export const QUESTION = says.text("question");

/**
 * A share as a reader meets it, below a hundredth with its order of size: "97 %", "0.040 %", "−3.0 %".
 * @param {number} x @returns {string}
 */
export function percent(x) {
  const size = Math.abs(100 * x);
  return says.text("share", { size, negative: x < 0 && size >= 0.001 });
}

/**
 * To two figures: what is measured in float32 may differ in the next on another machine.
 * @param {number} x 0 or more
 */
export function rough(x) {
  const step = x > 0 ? 10 ** (Math.floor(Math.log10(x)) - 1) : 1;
  return Math.floor(x / step + 0.5) * step;
}

/** A pair by its text and where it was written: "‘7’ of segment 4", "pair 12 of segment 3". @param {?string} text */
export function pairName(at, segment, text, what) {
  return says.text("pair", { at, segment, text, what });
}

/** How many segments ago a pair was written, below 0 if it is to come; a planted value is there all the same. */
const since = (segment, after, planted) => ({ ago: after - segment, there: segment <= after || planted !== null });

/** What a pair is read back as, after so many segments; see recall_parts in say.py. @returns {string[]} */
export function recallParts(whose, after, segments, pair, segment, cosine, back, others, planted, nbytes) {
  const facts = { whose, after, segments, pair, cosine, back, planted, nbytes, ...since(segment, after, planted) };
  return says.parts("recall", { ...facts, others });
}

/** What the model's own question brings back; see question_parts in say.py. @returns {string[]} */
export function questionParts(whose, after, segments, question, pair, segment, cosine, back, ratio, planted, nbytes) {
  const facts = { whose, after, segments, pair, cosine, back, planted, nbytes, ...since(segment, after, planted) };
  return says.parts("asked", { ...facts, question, ratio: ratio === null ? null : rough(ratio) });
}

/** What the model says where it is asked, in a state of its gates; see answer_parts in say.py. @returns {string[]} */
export function answerParts(state, names, said, truth) {
  const letters = [...state.replace("-", "")];
  /** @type {{name?: string, memory?: boolean, emptied: boolean}[]} */
  let gates = names
    .map((name, i) => ({ name, memory: letters[i] === "1", emptied: false }))
    .filter((_, i) => letters[i] !== "o");
  if (gates.length === names.length && new Set(letters).size === 1) gates = [{ ...gates[0], name: says.text("every") }];
  if (state.startsWith("-")) gates.push({ emptied: true });
  const right = said.filter((word, i) => word === truth[i]).length;
  return says.parts("answer", { gates, said, truth, right, of: truth.length, all: right === truth.length });
}
