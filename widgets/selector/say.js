import { count, fixed, shown } from "../kit/format.js";

/**
 * What the Eye says of a picture, in words: the same as say.py; tests/js/selector.json holds both to it.
 * A sentence is a list of parts, of which every second one matters and is set strong.
 */

export const QUESTION = "Does it pick the tokens that the attention looks at?";
const CHOOSERS = { indexer: "the indexer", oracle: "the oracle", window: "a window", random: "a random choice" };

/** A share of 1: "93 %", "0.4 %"; what is not quite all or not quite nothing is not rounded to it. */
export function percent(share) {
  if (share > 0 && share < 0.0005) return "under 0.1\u00a0%";
  if (share >= 0.9995 && share < 1 - 1e-6) return "over 99.9\u00a0%";
  const digits = (share > 0 && share < 0.0995) || (share >= 0.995 && share < 0.9995) ? 1 : 0;
  return `${fixed(100 * share, digits)}\u00a0%`;
}

/** A token by its place and its text: "12 ‘bank’", "12". @param {?string} text */
export function named(at, text) {
  return text === null ? count(at) : `${count(at)} ‘${shown(text)}’`;
}

/**
 * Who chooses: "the indexer in fp8", "the oracle by blocks of 4", "Quest".
 * @param {number} blocks 0 for single tokens
 */
export function who(selector, precision, blocks) {
  const few = selector === "indexer" && precision !== "fp32" ? ` in ${precision}` : "";
  const name = `${CHOOSERS[selector] ?? selector}${few}`;
  return blocks && ["indexer", "oracle"].includes(selector) ? `${name} by blocks of ${blocks}` : name;
}

/** What the choice of one query keeps; see query_parts in say.py. @returns {string[]} */
export function queryParts(where, query, tokens, k, chooser, facts) {
  const begin = `${where}, query ${query} of ${count(tokens)}, k = ${count(k)}: `;
  if (facts.visible <= k)
    return [
      `${begin}it sees `,
      facts.visible === 1 ? "1 key" : `${count(facts.visible)} keys`,
      ", and every choice takes them all.",
    ];
  let end = " of the mass";
  if (facts.missed) {
    const [name, weight] = facts.missed;
    const more = facts.misses > 1 ? ` and ${count(facts.misses - 1)} more of the oracle's` : "";
    end += `; misses token ${name} (${percent(weight)})${more}`;
  } else if (chooser !== "the oracle") end += "; misses nothing that the oracle takes";
  const others = ["oracle", "window"]
    .filter((name) => chooser !== CHOOSERS[name])
    .map((name) => `${name} ${percent(facts[name])}`);
  end += `; ${others.join(", ")}.`;
  if (facts.needle) end += ` The needle, token ${facts.needle[0]}, is ${facts.needle[1] ? "chosen" : "missed"}.`;
  return [`${begin}${chooser} captures `, percent(facts.mass), end];
}

/** What the choices of all queries keep, by the one in the middle; see all_parts in say.py. @returns {string[]} */
export function allParts(k, counted, chooser, mass, oracle, window) {
  const others = [
    ...(chooser === "the oracle" ? [] : [`${percent(oracle)} with the oracle`]),
    ...(window === null || chooser === "a window" ? [] : [`${percent(window)} with a window`]),
  ];
  return [
    `At k = ${count(k)}, ${counted} keep more than `,
    percent(mass),
    ` of their mass with ${chooser}${others.length ? `; ${others.join(", ")}` : ""}.`,
  ];
}

/** The queries that a middle is taken of: "half of 88 queries", "half of 496 of 131,072 queries". */
export function countedWords(counted, kept, tokens) {
  return `half of ${count(counted)}${kept === tokens ? "" : ` of ${count(tokens)}`} queries`;
}
