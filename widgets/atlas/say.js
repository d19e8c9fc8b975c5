import { visible } from "../kit/format.js";
import { Messages } from "../kit/messages.js";
import { keepsEverything } from "./mask.js";
import ATLAS_SAYS from "./messages.json" with { type: "json" };
import { raised } from "./scale.js";

/**
 * The facts that the Atlas says of a picture in the words of messages.json. say.py holds the same.
 * A sentence is a list of parts, of which every second one matters; tests/js/atlas.json holds both.
 */

const SHOWN = 24;
const says = new Messages(ATLAS_SAYS, { raised, spelled: (text) => spelled(text) });
export const QUESTION = says.text("question");

/** A share of 1 as a reader meets it: "78.4 %". @param {number} share */
export function percent(share) {
  return says.text("percent", { it: share });
}

/** The text of a token, short enough for a sentence that says how long it is. @returns {string} */
export function spelled(text, most = SHOWN) {
  const letters = [...visible(text)];
  const start = letters.slice(0, most).join("");
  return says.text("spelled", { text: start, letters: letters.length, cut: letters.length > most });
}

const token = (at, text) => ({ at, text: text ? text[at] : null });

/** A position in two parts, the second of which matters. @returns {string[]} */
export function named(at, text) {
  return says.parts("token", token(at, text));
}

/**
 * What a whole row of weights comes down to; see facts in say.py.
 * @typedef {{first: number, near: number, key: number, weight: number}} Facts
 * @returns {Facts}
 */
export function factsOf(row, query, sink, near, causal) {
  const reach = causal ? near - 1 : Math.floor(near / 2);
  const low = Math.max(query - reach, sink);
  const high = Math.max(query + reach + 1, low);
  const found = { first: 0, near: 0, key: -1, weight: 0 };
  for (let key = 0; key < row.length; key += 1) {
    if (key < sink) found.first += row[key];
    else if (key >= low && key < high) found.near += row[key];
    else if (row[key] > found.weight) { found.key = key; found.weight = row[key]; }
  }
  return found;
}

/** An exact weight: "a weight of 0.113", "a weight of 3.4 × 10⁻⁵". @param {number} weight */
export function weightWords(weight) {
  if (weight <= 0 || weight >= 0.001) return says.text("weight", { weight });
  let exponent = Math.floor(Math.log10(weight));
  let mantissa = weight / 10 ** exponent;
  if (mantissa >= 9.95) [mantissa, exponent] = [1, exponent + 1];
  return says.text("weight", { weight, mantissa, exponent: -exponent });
}

/** @param {string | number} weight a text where the page only knows about how much */
const howMuch = (weight) => (typeof weight === "string" ? weight : weightWords(weight));

/**
 * One query, as a sentence, and the key under the cursor, unless it was named already.
 * @param {string | number} weight @returns {string[]}
 */
export function queryParts(head, query, key, weight, found, sink, near, causal, text) {
  const shares = { on_first: found.first, on_near: found.near, on_rest: found.weight };
  const rest = found.key < 0 ? null : token(found.key, text);
  const here = key === found.key ? null : token(key, text);
  const told = { head, query: token(query, text), sink, near, causal, ...shares, rest, here };
  return says.parts("query", { ...told, how: howMuch(weight) });
}

/** One pair, where nothing is known of the rest of its row. @param {string | number} weight @returns {string[]} */
export function cellParts(head, query, key, weight, text) {
  return says.parts("cell", { head, query: token(query, text), here: token(key, text), how: howMuch(weight) });
}

/** How much a mask keeps, as a sentence. The number comes first, and alone is set large. @returns {string[]} */
export function maskParts(mask, causal, block, kept, pairs) {
  const { window, sinks, global_tokens: globals, blocks } = mask;
  const sets = Object.entries({ window, sinks, globals: new Set(globals).size, blocks })
    .filter(([, many]) => many)
    .map(([set, many]) => ({ set, many }));
  return says.parts("kept", { sets, kept: keepsEverything(mask) ? 1 : kept, pairs, causal, block });
}

/** What one pixel of a level stands for. @param {"max" | "mean"} statistic @param {number} cell @returns {string} */
export function aggregateWords(statistic, cell) {
  return says.text("pixel", { statistic, cell });
}
