import { count, signed, significant, size, times } from "./format.js";

/** What an instrument says, read from its messages.json, which Python reads too: messages.py says by what rules. */

const STRONG = "\uffff"; // where what matters begins or ends: a code point that no text may hold
const SLOT = /\{(\w*)(?::(%?\w+))?(?:\|([^|}]*))?(?:\|([^|}]*))?\}/g;
const TEST = /^(!?)(\w+)(?:([<>]?=|[<>])(.+))?$/;

/**
 * The messages of one file.
 * @typedef {Record<string, any>} Facts
 */
export class Messages {
  /** @param {Record<string, any>} groups @param {Record<string, (value: any) => string>} forms the instrument's own */
  constructor(groups, forms = {}) {
    this.messages = Object.assign({}, ...Object.values(groups));
    /** @type {Record<string, (value: any) => string>} */
    this.forms = { count, significant, size, times, ...forms };
  }

  /** @param {string} name @param {Facts} facts */
  text(name, facts = {}) {
    return this.said(name, facts).replaceAll(STRONG, "");
  }

  /** A sentence as parts of which every second one matters. @param {string} name @param {Facts} facts */
  parts(name, facts = {}) {
    const parts = this.said(name, facts).split(STRONG);
    return parts.at(-1) ? parts : parts.slice(0, -1);
  }

  /** With STRONG on both sides of what matters. Throws for what is missing, by its name. @returns {string} */
  said(name, facts) {
    if (!Object.hasOwn(this.messages, name)) throw new Error(`no message is called "${name}"`);
    const text = this.chosen(name, this.messages[name], facts).replaceAll("*", STRONG);
    return text.replace(SLOT, (_, fact, form, between, last) => this.filled(name, facts, fact, form, between, last));
  }

  /** @returns {string} */
  chosen(name, message, facts) {
    if (typeof message === "string") return message;
    const hold = (tests) => tests.split(" ").every((test) => this.holds(name, test, facts));
    for (const [condition, then] of Object.entries(message))
      if (!condition || condition.split(" or ").some(hold)) return this.chosen(name, then, facts);
    throw new Error(`nothing in the message "${name}" fits ${JSON.stringify(facts)}`);
  }

  holds(name, test, facts) {
    const found = TEST.exec(test);
    if (!found) throw new Error(`"${test}" in the message "${name}" is no test`);
    const [, absent, fact, sign, word] = found;
    const value = this.fact(name, fact, facts, !sign);
    if (!sign) return isThere(value) !== Boolean(absent);
    const than = isNaN(Number(word)) ? word : Number(word);
    return (
      (sign.includes("=") && value === than) ||
      (sign.includes("<") && value < than) ||
      (sign.includes(">") && value > than)
    );
  }

  fact(name, fact, facts, empty = false) {
    const value = facts[fact];
    if (value === undefined || (value === null && !empty))
      throw new Error(`the message "${name}" needs the fact "${fact}"`);
    return value;
  }

  filled(name, facts, fact, form, between, last = between) {
    if (!fact) return this.said(form, facts);
    const value = this.fact(name, fact, facts);
    if (between === undefined) return this.formed(form, value, facts);
    const items = Array.from(value, (item) => this.formed(form, item, facts));
    const end = items.slice(-1);
    return [...(items.length > 1 ? [items.slice(0, -1).join(between)] : []), ...end].join(last);
  }

  formed(form, value, facts) {
    if (form === undefined) return String(value);
    if (Object.hasOwn(this.forms, form)) return this.forms[form](value);
    if (/^%?\d$/.test(form)) return signed(form[0] === "%" ? 100 * value : value, Number(form.at(-1)));
    return this.said(form, { ...facts, ...(typeof value === "object" ? value : { it: value }) });
  }
}

/** Is it a fact at all? 0 and an empty text are. */
function isThere(value) {
  return value !== null && value !== false && !(Array.isArray(value) && !value.length);
}
