import { html } from "../kit/dom.js";
import { footer } from "../kit/export.js";
import { count, shown } from "../kit/format.js";
import { frame, segment } from "../kit/frame.js";
import { unpacked } from "../kit/numbers.js";
import { player, stepped } from "../kit/player.js";
import { memoryView } from "./memory.js";
import { answerView, curveView, gatesView, numberView, probeView, rulesView, stepper, tokensView } from "./panel.js";
import { RULES } from "./read.js";
import { QUESTION, answerParts, pairName, questionParts, recallParts } from "./say.js";
import { opened } from "./seen.js";
import { tapeChart } from "./tape.js";

const MOST_PLANTED = 8;

function render({ model, el }) {
  const data = unpacked(model.get("data"));
  const recordings = data.recordings.map(opened);
  let tape = recordings[0];
  const state = {
    rule: tape.rule,
    memory: data.memory,
    frame: tape.frame,
    pair: data.pair,
    question: data.question,
    planted: 0,
    knocked: false,
    gates: "o".repeat(tape.gates.length),
  };
  let seen = tape.look(state);
  let chart = null;

  // The frame and its parts ------------------------------------------------------------------------------------------
  const rules = segment("rule", Object.values(RULES), RULES[state.rule], (name) => {
    set({ rule: Object.keys(RULES).find((rule) => RULES[rule] === name) });
  });
  const lengths = segment(
    "tokens of a segment",
    recordings.map((each) => count(each.segment)),
    count(tape.segment),
    (length) => {
      const at = tape.at[state.pair];
      tape = recordings.find((each) => count(each.segment) === length);
      const pair = tape.pairs.reduce(
        (best, each) => (Math.abs(tape.at[each] - at) < Math.abs(tape.at[best] - at) ? each : best),
        0,
      );
      Object.assign(state, { pair, frame: tape.frame });
      timeFor();
      refresh();
    },
  );
  const withLengths = html(
    "label",
    { class: "al-tape-length" },
    html("span", { class: "al-caption" }, "segment"),
    lengths,
  );
  const { root, tell, dispose } = frame(el, QUESTION, recordings.length > 1 ? [withLengths, rules] : [rules]);
  root.classList.add("al-tape");
  const stage = html("div", {
    class: "al-tape-stage",
    role: "application",
    tabindex: 0,
    "aria-label": "the tape: arrows choose a pair, up and down a marked one",
    "data-lm-suppress-shortcuts": "true",
  });
  const note = html("div", { class: "al-caption", "data-words": true });
  const number = numberView();
  const probe = probeView(tape.answers?.truth ?? [], ask);
  const tokens = tokensView((pair) => set({ pair }));
  const memory = memoryView(() => redraw(true));
  const curve = curveView();
  const compared = rulesView();
  const planted = stepper("plant another value", (by) =>
    set({ planted: Math.min(mostPlanted(), Math.max(0, state.planted + by)) }),
  );
  const knocked = html("input", {
    type: "checkbox",
    onchange() {
      set({ knocked: knocked.checked });
    },
  });
  const tries = html(
    "div",
    { class: "al-tape-tries", role: "group", "aria-label": "what if" },
    planted.element,
    html("label", { class: "al-tape-check" }, knocked, "knock out the memory"),
  );
  const gates = gatesView(
    tape,
    (chosen) => set({ memory: chosen }),
    (index, letter) => set({ gates: `${state.gates.slice(0, index)}${letter}${state.gates.slice(index + 1)}` }),
  );
  const answer = answerView();
  const several = tape.names.length > 1 || tape.gates.length > 0;
  const body = html(
    "div",
    { class: "al-body" },
    html(
      "div",
      { class: "al-tape-top" },
      html("div", {}, stage, note),
      html("div", { class: "al-tape-side" }, number.element, tape.questions ? probe.element : null, tokens.element),
    ),
    html(
      "div",
      { class: "al-tape-low" },
      memory.element,
      html("div", { class: "al-tape-side" }, curve.element),
      html("div", { class: "al-tape-side" }, compared.element, tries),
    ),
    several ? html("div", { class: "al-tape-heads" }, gates.element, tape.answers ? answer.element : null) : null,
  );
  let time = null;
  const timePlace = html("div", {});
  const help = html(
    "div",
    { class: "al-caption al-tape-help" },
    "Click a point or a token to read it back now, a segment to go there. Arrows choose a pair, " +
      `up and down a marked one, ${tape.questions ? "Q asks the model's next question, " : ""}` +
      "P plants, K knocks out, T shows the table.",
  );
  const foot = footer({ root, name: "tape", provenance: tape.provenance, rows });
  root.append(body, timePlace, help, ...foot.elements);
  foot.elements[1].addEventListener("click", withStill, true);

  function timeFor() {
    time?.pause();
    const word = (at) =>
      at === 0 ? "before segment 1" : `after segment ${count(tape.after[at - 1])} of ${count(tape.segments)}`;
    time = player({
      last: tape.frames,
      at: state.frame,
      name: "segments written",
      say: word,
      show(to, playing) {
        state.frame = to;
        redraw(playing);
      },
    });
    timePlace.replaceChildren(time.element);
    foot.elements[1].querySelector(".al-provenance").textContent = tape.provenance;
  }

  // What is drawn ----------------------------------------------------------------------------------------------------
  const name = () => pairName(tape.at[state.pair], tape.place[state.pair], tape.word(state.pair), tape.what);
  const whose = () => `${tape.names[state.memory][0].toUpperCase()}${tape.names[state.memory].slice(1)}`;
  const mostPlanted = () => (tape.rival(state.memory, state.pair) === null ? 0 : MOST_PLANTED);
  const asks = () => tape.answers.truth[state.question];
  const heights = (width) => {
    if (state.question === null) return "cosine of what comes back now and what was written";
    const scale = state.rule === "unit" ? ", φ(q) · φ(k)" : ", σ(q) · σ(k), log scale; dashed: mean of the others";
    return `fit of the question for ‘${shown(asks())}’ to each key${width < 480 ? "" : scale}`;
  };
  let room = null;
  let quietly = true;
  let asked = 0;
  function redraw(quiet) {
    quietly &&= quiet;
    asked ||= requestAnimationFrame(() => { asked = 0; draw(quietly); quietly = true; });
  }
  function draw(quiet) {
    const begun = performance.now();
    seen = tape.look(state);
    // All widths before anything is written: reading one after that would make the browser lay the page out again.
    room ??= [stage, number.element, memory.element, curve.element, compared.element].map(
      (element) => element.clientWidth || 300,
    );
    const [width, beside, third, ...others] = room;
    if (stage.isConnected) {
      chart = tapeChart(tape, state, seen, width, heights(width));
      stage.replaceChildren(chart.chart);
      const { theme } = root.dataset;
      const reached = state.frame === 0 ? "before segment 1" : `after segment ${count(seen.number)}`;
      const of = `${whose()}, ${state.knocked ? "knocked out" : reached}`;
      memory.draw(tape, seen, { rule: state.rule, theme, whose: of, room: third });
      number.draw(tape, state, seen, name(), beside);
      curve.draw(tape, state, seen, others[0]);
      compared.draw(tape, state, seen, name(), others[1]);
    }
    tokens.show(tape, state.pair);
    const after = state.knocked && !state.planted ? null : seen.cosine;
    const [begin, of] = [[whose(), seen.number, tape.segments], [name(), tape.place[state.pair], after, seen.returned]];
    tell(state.question === null ? recallParts(...begin, ...of, seen.others, seen.over, tape.nbytes)
      : questionParts(...begin, asks(), ...of, seen.ratio, seen.over, tape.nbytes), { quiet });
    performance.measure("tape", { start: begun });
    performance.clearMeasures("tape");
  }
  function refresh() {
    planted.show(state.planted, mostPlanted());
    probe.show(state.question);
    knocked.checked = state.knocked;
    gates.show(state.memory, state.gates, state.knocked);
    const thin =
      tape.after.length < tape.segments
        ? `; ${count(tape.after.length)} of ${count(tape.segments)} segments are kept, ⋯ where some are left out`
        : "";
    const gold = state.question === null ? "what was written comes back" : "a key fits the question best";
    const marked = tape.needle.some(Boolean) ? ", diamonds: marked ones" : "";
    note.textContent = `dots: pairs sampled from each segment${marked}; the tape is gold where ${gold}${thin}.`;
    if (tape.answers) {
      const key = `${state.knocked ? "-" : ""}${state.gates}`;
      const { said, truth } = tape.answers;
      const found = said[key];
      if (found)
        answer.show(
          answerParts(
            key,
            tape.gates.map((gate) => gate.name),
            found.words,
            truth,
          ),
          found.words,
          truth,
          found.p,
        );
      else
        answer.show(
          ["", "Not recorded", ": with this many heads only one at a time, or all together, were forced."],
          [],
          [],
          [],
        );
    }
    draw(false);
    foot.refresh();
    remember();
  }
  /** Read with a question of the model, and look at the key that it fits best. @param {?number} question */
  function ask(question) {
    set(question === null ? { question } : { question, pair: tape.bestFor(state.memory, question) });
  }
  function set(change) {
    Object.assign(state, change);
    refresh();
  }
  function rows() {
    const found = [[tape.what, ...(tape.text ? ["text"] : []), "segment", "marked", "cosine now", "fit"]];
    for (const { pair, cosine, fit } of seen.points) {
      found.push([
        tape.at[pair],
        ...(tape.text ? [tape.word(pair)] : []),
        tape.place[pair],
        tape.needle[pair] ? "yes" : "",
        cosine === null ? "nothing" : cosine.toPrecision(4),
        fit === null ? "nothing" : fit.toPrecision(4),
      ]);
    }
    return found.length > 1 ? found : [...found, found[0].map(() => "")];
  }

  // What the reader does ---------------------------------------------------------------------------------------------
  const under = (event) => {
    const box = stage.getBoundingClientRect();
    return chart?.under(event.clientX - box.left, event.clientY - box.top) ?? {};
  };
  const goTo = (to) => { if (to !== undefined && to !== state.frame) { time.pause(); time.move(to); remember(); } };
  let scrubbing = false;
  stage.addEventListener("pointerdown", (event) => {
    const hit = under(event);
    scrubbing = hit.frame !== undefined;
    if (hit.pair !== undefined) set({ pair: hit.pair });
    goTo(hit.frame);
  });
  stage.addEventListener("pointermove", (event) => { if (scrubbing && event.buttons) goTo(under(event).frame); });
  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const marked = tape.pairs.filter((pair) => tape.needle[pair]);
    const letters = {
      p: () => set({ planted: (state.planted + 1) % (mostPlanted() + 1) }),
      k: () => set({ knocked: !state.knocked }),
      q: () => {
        if (tape.questions)
          ask(state.question === null ? 0 : state.question + 1 < tape.questions ? state.question + 1 : null);
      },
      t: foot.toggle,
    };
    const act = letters[event.key.toLowerCase()];
    const up = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (act) act();
    else if (up && marked.length) {
      const next = up > 0 ? marked.find((pair) => pair > state.pair) : marked.findLast((pair) => pair < state.pair);
      set({ pair: next ?? (up > 0 ? marked[0] : marked.at(-1)) });
    } else {
      const to = stepped(state.pair, tape.pairs.length - 1, event);
      if (to === null) return;
      set({ pair: to });
    }
    event.preventDefault();
    event.stopPropagation(); // a notebook would take the same keys for itself
  });
  /** The pixels of M where the export looks for pictures, for the time it takes to look. */
  function withStill() {
    const still = memory.still();
    if (!still) return;
    memory.axes.append(still);
    setTimeout(() => still.remove());
  }
  let remembering = 0;
  function remember() {
    clearTimeout(remembering);
    remembering = setTimeout(() => {
      model.set("reader", { ...state, segment: tape.segment, token: tape.at[state.pair] });
      model.save_changes();
    }, 250);
  }

  // Size and theme ---------------------------------------------------------------------------------------------------
  let width = 0;
  const observer = new ResizeObserver(() => {
    if (stage.clientWidth && stage.clientWidth !== width) { width = stage.clientWidth; room = null; redraw(true); }
  });
  observer.observe(stage);
  const themes = new MutationObserver(() => redraw(true));
  themes.observe(root, { attributes: true, attributeFilter: ["data-theme"] });
  timeFor();
  refresh();

  return () => {
    observer.disconnect();
    themes.disconnect();
    cancelAnimationFrame(asked);
    clearTimeout(remembering);
    time.pause();
    dispose();
  };
}

export default { render };
