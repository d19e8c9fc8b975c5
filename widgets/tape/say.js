import { count, fixed, plural, shown, signed, times } from "../kit/format.js";

/**
 * What the Tape says of a picture, in words: the same as say.py; tests/js/tape.json holds both to it.
 * A sentence is a list of parts, of which every second one matters and is set strong.
 */

export const QUESTION = "What does a memory of fixed size remember, and what does it lose?";

/**
 * A share as a reader meets it, below a hundredth with its order of size: "97 %", "0.040 %", "−3.0 %".
 * @param {number} x
 */
export function percent(x) {
  const size = Math.abs(100 * x);
  const text = size >= 0.001 ? fixed(size, size >= 10 ? 0 : size >= 0.095 ? 1 : 3) : size ? "under 0.001" : "0";
  return `${x < 0 && size >= 0.001 ? "−" : ""}${text}\u00a0%`;
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
  return `${text === null ? `${what} ${count(at)}` : `‘${shown(text)}’`} of segment ${count(segment)}`;
}

export function ago(segments) {
  return segments === 0 ? "just written" : `${plural(segments, "segment")} later`;
}

/** What a pair is read back as, after so many segments; see recall_parts in say.py. @returns {string[]} */
export function recallParts(whose, after, segments, pair, segment, cosine, back, others, planted, nbytes) {
  const begin = `${whose}, after segment ${count(after)} of ${count(segments)}: `;
  const end = ` The state takes ${count(nbytes)} bytes, after any segment.`;
  if (cosine === null) return [begin, "nothing is stored", `, so no key brings anything back.${end}`];
  if (segment > after && planted === null) return [begin, `${pair} is still to come`, `.${end}`];
  const when = segment > after ? "its key alone" : ago(after - segment);
  const parts = [`${begin}${pair} comes back at `, `cosine ${signed(cosine)}`, ` with ${percent(back)} of v, ${when}`];
  if (planted !== null) {
    parts[2] += "; what was written over it since, at ";
    parts.push(`cosine ${signed(planted)}`, "");
  }
  if (others !== null) parts[parts.length - 1] += `; of the other pairs half come back below ${signed(others)}`;
  parts[parts.length - 1] += `.${end}`;
  return parts;
}

/** What the model's own question brings back; see question_parts in say.py. @returns {string[]} */
export function questionParts(whose, after, segments, question, pair, segment, cosine, back, ratio, planted, nbytes) {
  const begin = `${whose}, after segment ${count(after)} of ${count(segments)}: `;
  const end = ` The state takes ${count(nbytes)} bytes, after any segment.`;
  if (cosine === null)
    return [begin, "nothing is stored", `, so the question for ‘${shown(question)}’ brings nothing back.${end}`];
  if (segment > after && planted === null)
    return [begin, `${pair} is still to come`, `, the question for ‘${shown(question)}’ only finds others.${end}`];
  const when = segment > after ? "its key alone" : ago(after - segment);
  const parts = [
    `${begin}the question for ‘${shown(question)}’ brings back the value of ${pair} at `,
    `cosine ${signed(cosine)}`,
    ` with ${percent(back)} of v, ${when}`,
  ];
  if (planted !== null) {
    parts[parts.length - 1] += "; what was written over it since, at ";
    parts.push(`cosine ${signed(planted)}`, "");
  }
  if (ratio !== null) {
    parts[parts.length - 1] += "; it fits that key ";
    parts.push(times(rough(ratio)), " as well as the others");
  }
  parts[parts.length - 1] += `.${end}`;
  return parts;
}

/** What the model says where it is asked, in a state of its gates; see answer_parts in say.py. @returns {string[]} */
export function answerParts(state, names, said, truth) {
  const letters = [...state.replace("-", "")];
  const where = (letter) => `${letter === "1" ? "on memory" : "on its segment"} alone`;
  let forced = names
    .filter((_, i) => letters[i] !== "o")
    .map((name) => `${name} ${where(letters[names.indexOf(name)])}`);
  if (forced.length === names.length && new Set(letters).size === 1) forced = [`every head ${where(letters[0])}`];
  const how = [...forced, ...(state.startsWith("-") ? ["M and z emptied before the question"] : [])];
  const right = said.filter((word, i) => word === truth[i]).length;
  const begin = how.length ? `Asked at the end, with ${how.join(" and ")}, ` : "Asked at the end, ";
  const all = right === truth.length;
  const written = (texts) => texts.map((text) => shown(text)).join(" ");
  const score = all ? "right" : `${count(right)} of ${count(truth.length)} right; it was ${written(truth)}`;
  return [`${begin}the model says `, written(said), `: ${score}.`];
}
