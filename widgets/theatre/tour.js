import { html } from "../kit/dom.js";
import { tourSays } from "./say.js";

/**
 * The steps of a race of flash against standard attention, each a stretch of the clock in bytes; none for others.
 * @typedef {{name: string, facts: Record<string, any>, from: number, to: number}} Step
 * @param {import("./trace.js").Trace[]} traces @param {number} limit @param {boolean} turns whether there are knobs
 * @returns {Step[]}
 */
export function tourSteps(traces, limit, turns) {
  const [flash, standard] = ["flash", "standard"].map((name) => traces.find((one) => one.name === name));
  if (!flash?.visits || standard?.visits?.stored.length !== 2 || standard.kernels.length !== 3) return [];
  const [softmax, values] = [1, 2].map((kernel) => standard.moved[standard.first[standard.kernel.indexOf(kernel)] - 1]);
  const [q, k] = [flash.visits.q, flash.visits.k].map((tensor) => flash.reads[tensor][flash.events - 1]);
  const { total } = flash;
  return [
    { name: "bridge", facts: { limit }, from: 0, to: 0.25 * total },
    { name: "passes", facts: { stays: q < k ? "q" : "k" }, from: 0.25 * total, to: 0.75 * total },
    { name: "stores", facts: {}, from: 0.75 * total, to: softmax },
    { name: "fetches", facts: {}, from: softmax, to: values + 0.2 * (standard.total - values) },
    { name: "in all", facts: { more: standard.total / total, turns }, from: 0.9 * standard.total, to: standard.total },
  ];
}

/** A strip with one sentence and one button. @param {(step: Step) => void} go plays the step */
export function tourStrip(go) {
  const [dots, words] = [html("span", { class: "al-theatre-dots", "aria-hidden": "true" }), html("p", {})];
  words.setAttribute("aria-live", "polite");
  const button = html("button", { type: "button", onclick: () => show((at + 1) % steps.length, true) });
  const element = html("div", { class: "al-theatre-tour" }, dots, words, button);
  /** @type {Step[]} */
  let steps = [];
  let at = -1;
  function show(step, playing = false) {
    at = step;
    const parts = at < 0 ? tourSays("tour", { steps: steps.length }) : tourSays(steps[at].name, steps[at].facts);
    words.replaceChildren(...parts.map((part, i) => (i % 2 ? html("strong", {}, part) : part)));
    dots.replaceChildren(...steps.map((_, i) => html("i", { class: i === at && "al-on" })));
    button.textContent = at < 0 ? "Show me" : at < steps.length - 1 ? "Next" : "Again";
    if (playing) go(steps[at]);
  }
  return {
    element,
    /** @param {Step[]} now */
    open(now) {
      steps = now;
      element.hidden = !steps.length;
      if (steps.length) show(-1);
    },
  };
}
