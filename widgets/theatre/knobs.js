import { html } from "../kit/dom.js";
import { segment } from "../kit/frame.js";
import { unpacked } from "../kit/numbers.js";

const wordFor = (value) => (value === true ? "on" : value === false ? "off" : value === null ? "none" : String(value));
const same = (a, b) => Object.keys(a).every((name) => a[name] === b[name]);

/**
 * The knobs of a run. Where a kernel listens, a turn runs the code again; on a page without one it chooses among the
 * runs that were recorded.
 * @typedef {Record<string, any>} Settings by the knobs' names; a value is whatever the run was called with
 * @typedef {{settings: Settings, traces: number[], provenance?: string, refused?: string}} Run
 * @typedef {Omit<import("./trace.js").Scene, "kernels"> & {kernels: {name: string, grid: number[], code: number}[]}}
 *   Sent as it travels: a source stands once for all kernels that have it
 * @typedef {{traces: Sent[], codes: string[][]}} Source
 * @typedef {Source & {question: string, limit: number, limits: {bytes: number, name: string}[], cache: number,
 *   shown: number, knobs: {name: string, values: any[]}[], runs: Run[], nothing?: string}} Data
 * @param {import("../kit/mount.js").Model} model @param {Data} data @param {(run: Run, source: Source) => void} show
 */
export function knobsView(model, data, show) {
  const { knobs, runs } = data;
  let [settings, live, waiting] = [{ ...runs[data.shown].settings }, false, false];
  const note = html("span", { class: "al-caption", role: "status" });
  const controls = knobs.map(({ name, values }) => {
    const group = segment(name, values.map(wordFor), wordFor(settings[name]), (chosen) =>
      turn(name, values[values.map(wordFor).indexOf(chosen)]),
    );
    return html("div", { class: "al-theatre-knob" }, html("span", { class: "al-caption" }, name), group);
  });
  const element = html("div", { class: "al-theatre-knobs" }, ...controls, note);

  function press(name, value) {
    const buttons = controls[knobs.findIndex((knob) => knob.name === name)].querySelectorAll("button");
    const { values } = knobs.find((knob) => knob.name === name);
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(values[i] === value)));
  }
  function say() {
    note.textContent = live ? "Each choice runs the kernel again." : `Chooses among ${runs.length} recorded runs.`;
    // What no recorded run has, beside the other choices as they stand, cannot be chosen without a kernel.
    knobs.forEach(({ name, values }, i) => controls[i].querySelectorAll("button").forEach((button, j) => {
      const known = live || runs.some((run) => same({ ...settings, [name]: values[j] }, run.settings));
      button.disabled = !known;
      button.title = known ? "" : "not recorded";
    }));
  }
  function turn(name, value) {
    if (waiting) return press(name, settings[name]);
    const wanted = { ...settings, [name]: value };
    if (live) {
      [waiting, note.textContent] = [true, "running…"];
      element.setAttribute("aria-busy", "true");
      model.send({ asks: "run", settings: wanted });
      return;
    }
    settings = wanted;
    say();
    const run = runs.find((one) => same(wanted, one.settings));
    if (run.refused) note.textContent = `Recorded too: this run was refused. ${run.refused}`;
    else show(run, data);
  }
  function onMessage(message) {
    if (message.answers === "hello") {
      live = true;
      return say();
    }
    waiting = false;
    element.removeAttribute("aria-busy");
    if (message.answers === "refused") {
      for (const { name } of knobs) press(name, settings[name]);
      note.textContent = message.words;
      return;
    }
    ({ settings } = message);
    for (const { name } of knobs) press(name, settings[name]);
    say();
    note.textContent = `Ran again in ${message.seconds} s.`;
    const came = unpacked(model.get("came"));
    show(came.run, came);
  }
  model.on("msg:custom", onMessage);
  model.send({ asks: "hello" });
  say();
  return { element: knobs.length ? element : null, stop: () => model.off("msg:custom", onMessage) };
}
