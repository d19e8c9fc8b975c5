/** One question under a clock: say or write, reveal, tick. Practice and mock are made of these. */

import { html } from "../kit/dom.js";
import { clock } from "./boxes.js";

/** Markup that bank.py made from the course's own text; what a reader writes never comes here. */
export function markup(tag, attributes, text) {
  const node = html(tag, attributes);
  node.innerHTML = text;
  return node;
}

export const button = (text, onclick, attributes = {}) =>
  html("button", { type: "button", class: "al-iv-button", ...attributes, onclick }, text);

/** Links into lessons: on the site an address; in JupyterLab the notebook beside this one. */
export function openLessons(root, live) {
  for (const link of live ? root.querySelectorAll("a[data-lesson]") : []) {
    link.href = "#";
    link.dataset.commandlinkerCommand = "docmanager:open";
    link.dataset.commandlinkerArgs = JSON.stringify({ path: `${link.dataset.lesson}.ipynb` });
    link.onclick = (event) => event.preventDefault();
  }
}

/**
 * What stands behind "reveal" of a question: the answer, and what else is known about it.
 * @param {import("./boxes.js").Question} question @param {boolean} withFollowUps
 */
export function told({ answer, wrong, followUps, evidence, figures }, withFollowUps) {
  const folded = (words, ...children) => html("details", {}, html("summary", {}, words), ...children);
  const labelled = (label, text) => html("div", {}, html("strong", {}, `${label}. `), markup("span", {}, text));
  return [
    html("div", { class: "al-iv-answer" }, markup("div", {}, answer), labelled("Common wrong answer", wrong)),
    html(
      "div",
      { class: "al-iv-rest" },
      labelled("Evidence", evidence),
      withFollowUps
        ? folded(
            followUps.length > 1 ? `${followUps.length} follow-ups` : "a follow-up",
            html(
              "dl",
              {},
              ...followUps.flatMap(([ask, answered]) => [markup("dt", {}, ask), markup("dd", {}, answered)]),
            ),
          )
        : null,
      figures.length
        ? folded("where the figures come from", html("ul", {}, ...figures.map((text) => markup("li", {}, text))))
        : null,
    ),
  ];
}

/**
 * @typedef {{said: string, seconds: number, late: boolean, ticked: number[]}} Result
 * @typedef {{meta: string[], title: string, minutes: number, started?: boolean, answer: null | (() => Node[]),
 *   body?: Node[], points?: string[], finish: [words: string | ((ticked: number) => string), value: any][],
 *   done: (result: Result, value: any) => void, skip?: () => void}} Card
 * @param {Card} given
 *   meta: what stands small above; title: markup; minutes: on the clock; started: begin at once
 *   answer: what "reveal" shows above what is to be ticked and below it, null for a task, which has a body instead
 *   points: markup of what to tick; finish: the buttons at the end, what they say and what `done` gets of them
 *   skip: for a button that asks another
 */
export function card(given) {
  let begun = null;
  let stopped = null;
  const seconds = () => (begun === null ? 0 : ((stopped ?? Date.now()) - begun) / 1000);
  const left = () => 60 * given.minutes - seconds();
  const time = html("span", { class: "al-iv-clock", role: "timer", "aria-live": "off", "aria-label": "time left" });
  const tick = () => {
    const over = left() < 0;
    time.textContent = over ? `${clock(-left())} over` : clock(left());
    time.classList.toggle("al-iv-late", over);
  };
  let ticking = null;
  const start = () => {
    if (begun !== null) return;
    begun = Date.now();
    ticking = setInterval(tick, 500);
    startButton.hidden = true;
  };
  const stop = () => {
    stopped ??= Date.now();
    clearInterval(ticking);
    tick();
  };
  const startButton = button("Start the clock", () => {
    start();
    title.focus();
  });
  const title = markup(
    "div",
    { class: "al-iv-title", role: "heading", "aria-level": "3", tabindex: "-1" },
    given.title,
  );
  const said =
    given.answer === null
      ? null
      : html("textarea", {
          rows: "4",
          "aria-label": "your answer",
          placeholder: "Say it aloud, or write it here.",
          oninput: start,
          onkeydown(event) {
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) reveal();
          },
        });
  const ticks = (given.points ?? []).map((point) => {
    const box = html("input", { type: "checkbox", onchange: count });
    return { box, row: html("label", {}, box, markup("span", {}, point)) };
  });
  const ticked = () => ticks.flatMap(({ box }, i) => (box.checked ? [i] : []));
  const finish = given.finish.map(([words, value], i) =>
    button(
      "",
      () => {
        stop();
        given.done(
          { said: said?.value.trim() ?? "", seconds: Math.round(seconds()), late: left() < 0, ticked: ticked() },
          value,
        );
      },
      { class: i ? "al-iv-button" : "al-iv-button al-iv-first" },
    ),
  );
  function count() {
    given.finish.forEach(([words], i) => {
      finish[i].textContent = typeof words === "function" ? words(ticked().length) : words;
    });
  }
  const ends = html("div", { class: "al-iv-actions" }, ...finish);
  const hidden = html("div", { class: "al-iv-told", tabindex: "-1", hidden: true });
  const actions = html(
    "div",
    { class: "al-iv-actions" },
    button("Reveal", () => reveal(), { class: "al-iv-button al-iv-first" }),
    startButton,
    given.skip ? button("Another", () => given.skip()) : null,
    html("span", { class: "al-caption" }, "Ctrl+Enter in the box reveals"),
  );
  function reveal() {
    stop();
    actions.remove();
    hidden.hidden = false;
    said.readOnly = true;
    said.hidden = !said.value.trim();
    hidden.focus({ preventScroll: true }); // reading begins at the answer, Tab goes on to the points
  }
  if (given.answer !== null) {
    const [answer, rest] = given.answer();
    const score = ticks.length
      ? html("fieldset", {}, html("legend", {}, "Which of these did you say?"), ...ticks.map(({ row }) => row), ends)
      : ends;
    hidden.append(...[answer, score, rest].filter(Boolean));
  }
  const element = html("div", { class: "al-iv-card", "data-lm-suppress-shortcuts": "true" },
    html("div", { class: "al-iv-meta al-caption" }, html("span", {}, given.meta.join(" · ")), time), title,
    ...(given.answer === null ? [...given.body, ends] : [said, actions, hidden]));
  count();
  tick();
  if (given.started) start();
  return { element, title, dispose: () => clearInterval(ticking) };
}
