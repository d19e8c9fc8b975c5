import { shown } from "../kit/format.js";
import { Messages } from "../kit/messages.js";
import SELECTOR_SAYS from "./messages.json" with { type: "json" };

/**
 * The facts that the Eye says of a picture in the words of messages.json. say.py holds the same.
 * A sentence is a list of parts, of which every second one matters; tests/js/selector.json holds both.
 */

const says = new Messages(SELECTOR_SAYS, { shown: (text) => shown(text) });
export const QUESTION = says.text("question");

/** A share of 1: "93 %", "0.4 %"; what is not quite all or not quite nothing is not rounded to it. */
export function percent(share) {
  return says.text("percent", { it: share });
}

/** A token by its place and its text: "12 ‘bank’", "12". @param {?string} text */
export function named(at, text) {
  return says.text("named", { at, text });
}

/**
 * Who chooses: "the indexer in fp8", "the oracle by blocks of 4", "Quest".
 * @param {number} blocks 0 for single tokens
 */
export function who(selector, precision, blocks) {
  const few = selector === "indexer" && precision !== "fp32" ? precision : null;
  const wide = blocks && ["indexer", "oracle"].includes(selector) ? blocks : null;
  return says.text("who", { selector, precision: few, blocks: wide });
}

const isNot = (chooser, selector) => chooser !== says.text("chooser", { selector });

/** What the choice of one query keeps; see query_parts in say.py. @returns {string[]} */
export function queryParts(where, query, tokens, k, chooser, facts) {
  const { visible, mass, misses } = facts;
  const [missed, weight] = facts.missed ?? [null, null];
  const [needle, chosen] = facts.needle ?? [null, null];
  const others = ["oracle", "window"]
    .filter((name) => isNot(chooser, name))
    .map((name) => ({ name, share: facts[name] }));
  const best = !isNot(chooser, "oracle");
  const told = { where, query, tokens, k, chooser, others, visible, mass, missed, weight, best, needle, chosen };
  return says.parts("query", { ...told, more: misses - 1, all: visible <= k });
}

/** What the choices of all queries keep, by the one in the middle; see all_parts in say.py. @returns {string[]} */
export function allParts(k, counted, chooser, mass, oracle, window) {
  const others = Object.entries({ oracle, window })
    .map(([selector, share]) => ({ selector, share }))
    .filter(({ selector, share }) => share !== null && isNot(chooser, selector));
  return says.parts("middle", { k, counted, chooser, mass, others });
}

/** The queries that a middle is taken of: "half of 88 queries", "half of 496 of 131,072 queries". */
export function countedWords(counted, kept, tokens) {
  return says.text("counted", { counted, tokens, whole: kept === tokens });
}
