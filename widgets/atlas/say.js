import { count, fixed, plural, significant, visible } from "../kit/format.js";
import { keepsEverything } from "./mask.js";
import { raised } from "./scale.js";

/**
 * What the Atlas says of a picture, in words: the same as say.py; tests/js/atlas.json holds both to it.
 * A sentence is a list of parts, of which every second one matters and is set strong.
 */

export const QUESTION = "Where does the mass go, and how much of it does this mask keep?";
const SHOWN = 24;

/** A share of 1 as a reader meets it: "78.4 %". @param {number} share */
export function percent(share) {
  return share > 0 && share < 0.0005 ? "under 0.1\u00a0%" : `${fixed(100 * share, 1)}\u00a0%`;
}

/** The text of a token, short enough for a sentence that says how long it is. */
export function spelled(text, most = SHOWN) {
  const letters = [...visible(text)];
  return letters.length <= most
    ? letters.join("")
    : `${letters.slice(0, most).join("")}… (${count(letters.length)} characters)`;
}

/** A position in two parts, the second of which matters. */
export function named(at, text) {
  return text ? [`${count(at)} `, `‘${spelled(text[at])}’`] : ["", count(at)];
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
  if (weight <= 0) return "not looked at";
  if (weight >= 0.001) return `a weight of ${significant(weight)}`;
  let exponent = Math.floor(Math.log10(weight));
  let mantissa = weight / 10 ** exponent;
  if (mantissa >= 9.95) [mantissa, exponent] = [1, exponent + 1];
  return `a weight of ${fixed(mantissa, 1)} × 10⁻${raised(-exponent)}`;
}

/**
 * One query, as a sentence, and the key under the cursor, unless it was named already.
 * @param {string | number} weight
 */
export function queryParts(head, query, key, weight, found, sink, near, causal, text) {
  const first = sink === 1 ? "the first key" : `the first ${sink} keys`;
  const nearest = causal ? `the last ${near}` : `the ${near} nearest`;
  const soFar = `: ${percent(found.first)} on ${first}, ${percent(found.near)} on ${nearest}`;
  const [number, name] = named(query, text);
  const parts = [`${head}, query ${number}`, name];
  if (found.key < 0) parts.push(`${soFar}, nothing beyond.`);
  else {
    const [keyNumber, keyName] = named(found.key, text);
    parts.push(`${soFar}; of the rest, most on key ${keyNumber}`, keyName, `, ${percent(found.weight)}.`);
  }
  if (key === found.key) return parts;
  const [keyNumber, keyName] = named(key, text);
  return [
    ...parts.slice(0, -1),
    `${parts.at(-1)} Here, on key ${keyNumber}`,
    keyName,
    `: ${typeof weight === "string" ? weight : weightWords(weight)}.`,
  ];
}

/** What a mask keeps, named: "a window of 128 and 1 sink". */
export function maskWords(mask, causal, block) {
  const parts = [];
  if (mask.window !== null) parts.push(`a window of ${count(mask.window)}${causal ? "" : " on both sides together"}`);
  if (mask.sinks) parts.push(plural(mask.sinks, "sink"));
  if (mask.global_tokens.length) parts.push(plural(new Set(mask.global_tokens).size, "global token"));
  const heaviest = mask.blocks === 1 ? "heaviest block" : `${count(mask.blocks)} heaviest blocks`;
  if (mask.blocks) parts.push(`the ${heaviest} of ${block} × ${block} in each row of blocks`);
  if (!parts.length) return "no mask";
  return [parts.slice(0, -1).join(", "), parts.at(-1)].filter(Boolean).join(" and ");
}

/** How much a mask keeps, as a sentence. The number comes first, and alone is set large. */
export function maskParts(mask, causal, block, kept, pairs) {
  if (keepsEverything(mask)) return ["", percent(1), " of the mass is kept: no mask is set."];
  const words = maskWords(mask, causal, block);
  return ["", percent(kept), ` of the mass is kept by ${words}, reading ${percent(pairs)} of the pairs.`];
}

/** What one pixel of a level stands for. @param {"max" | "mean"} statistic @param {number} cell */
export function aggregateWords(statistic, cell) {
  return cell === 1 ? "each pixel = one cell or part of it" : `each pixel = ${statistic} of ${cell} × ${cell} cells`;
}
