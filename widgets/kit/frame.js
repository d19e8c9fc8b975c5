import { html } from "./dom.js";
import { followTheme } from "./theme.js";

/**
 * The figure every instrument stands in: its question, one sentence, then whatever the view appends to `root`.
 * The sentence is read out when it changes, unless the change is marked quiet (hover and play would flood the reader).
 * @param {HTMLElement} el @param {string} question @param {Node[]} switches at most two
 */
export function frame(el, question, switches = []) {
  const say = html("div", { class: "al-say", "aria-live": "polite" });
  const root = html("div", { class: "al", role: "group", "aria-label": question },
    html("div", { class: "al-header" }, html("div", { class: "al-question" }, question), ...switches), say);
  el.append(root);
  const stopFollowing = followTheme(root);
  return {
    root,
    /** @param {string[]} parts every second one is what matters, and is set strong */
    tell(parts, { quiet = false } = {}) {
      say.setAttribute("aria-live", quiet ? "off" : "polite");
      if (say.textContent === parts.join("")) return;
      say.replaceChildren(...parts.map((part, i) => (i % 2 ? html("strong", {}, part) : part)));
    },
    dispose() { stopFollowing(); root.remove(); },
  };
}

/**
 * A small switch: one of a few words is on.
 * @template {string} Word
 * @param {string} label @param {Word[]} options @param {Word} chosen @param {(option: Word) => void} choose
 */
export function segment(label, options, chosen, choose) {
  const buttons = options.map((option) => html("button", {
    type: "button", "aria-pressed": String(option === chosen),
    onclick() { for (const b of buttons) b.setAttribute("aria-pressed", String(b === this)); choose(option); },
  }, option));
  return html("div", { class: "al-segment", role: "group", "aria-label": label }, ...buttons);
}
