import { html } from "../kit/dom.js";
import { footer } from "../kit/export.js";
import { count, significant, size } from "../kit/format.js";
import { frame, segment } from "../kit/frame.js";
import { unpacked } from "../kit/numbers.js";
import { player } from "../kit/player.js";
import { boxes } from "./boxes.js";
import { codePanel } from "./code.js";
import { eventFacts, factsOf } from "./facts.js";
import { film, hand } from "./film.js";
import { grid, pairAt } from "./grid.js";
import { knobsView } from "./knobs.js";
import { memory } from "./memory.js";
import { drawing, paint } from "./paint.js";
import { chooser, panel, threeNumbers } from "./panel.js";
import { sentence } from "./say.js";
import { clock, openTrace } from "./trace.js";

const COLOURS = ["ink", "ink-2", "paper", "panel", "line", "mark", "bad", "q", "k", "v", "o", "s", "m"];
const EVENT_MS = 60; // of playing, in the mean
const [SHORTEST_RUN, LONGEST_RUN] = [6000, 30000];

/** @param {import("./knobs.js").Data} data @param {import("../kit/mount.js").Model} model @param {HTMLElement} el */
function renderTraces(data, model, el) {
  const state = {
    run: data.runs[data.shown],
    traces: [],
    watched: 0,
    step: 0,
    limit: data.limit,
    cache: data.cache,
    clock: null,
  };
  const watched = () => state.traces[state.watched];
  const other = () => state.traces[1 - state.watched] ?? null;
  const opened = new Map();
  function openRun(run, { traces, codes }) {
    state.run = run;
    state.traces = run.traces.map((index) => {
      const scene = traces[index];
      if (!opened.has(scene))
        opened.set(
          scene,
          openTrace({ ...scene, kernels: scene.kernels.map((kernel) => ({ ...kernel, code: codes[kernel.code] })) }),
        );
      return opened.get(scene);
    });
  }
  openRun(state.run, data);

  // The frame and its parts ------------------------------------------------------------------------------------------
  const names = state.traces.map(({ name }) => name);
  const switches = names.length > 1 ? [segment("watch", names, names[0], (name) => watch(names.indexOf(name)))] : [];
  const { root, tell, dispose } = frame(el, data.question, switches);
  root.classList.add("al-theatre");
  const strip = panel("what moves at each byte of the clock", { class: "al-theatre-panel al-theatre-film" });
  const over = html("canvas", { class: "al-theatre-hand", "aria-hidden": "true" });
  strip.element.append(over);
  const ratio = html("div", { class: "al-theatre-number", "data-words": true });
  const ratioWords = html("div", { class: "al-caption", "data-words": true });
  const stage = panel("the tiles of the tensors");
  const stageWords = html("div", { class: "al-caption", "data-words": true });
  const store = panel("SRAM, and what has moved of each tensor");
  const limits = chooser(
    "limit of the SRAM",
    data.limits.map(({ bytes, name }) => [bytes, name]),
    state.limit,
    (bytes) => {
      state.limit = bytes;
      read();
    },
  );
  const code = codePanel((line) =>
    goTo(
      (e) =>
        watched().of.line(e) === line &&
        watched().kernel[watched().programOf(e)] === watched().kernel[watched().programOf(eventNow())],
    ),
  );
  const caches = chooser(
    "cache of the L2 model",
    state.traces[0].l2.map(({ words }, i) => [i, words]),
    state.cache,
    (at) => {
      state.cache = at;
      read();
    },
  );
  const caption = (...parts) => html("div", { class: "al-caption" }, ...parts);
  const numbers = threeNumbers(caches);
  const body = html(
    "div",
    { class: "al-body" },
    html(
      "div",
      { class: "al-theatre-top" },
      strip.element,
      html("div", { class: "al-theatre-ratio", hidden: names.length < 2 }, ratio, ratioWords),
    ),
    html(
      "div",
      { class: "al-theatre-middle" },
      html("div", {}, stage.element, stageWords),
      html("div", {}, store.element, caption("Named tiles, in registers and shared memory. The limit: ", limits)),
      code.element),
    numbers.element);
  const knobs = knobsView(model, data, (run, source) => {
    openRun(run, source);
    retime(state.watched ? clock(watched(), other()).step(state.traces[0].moved[run.at]) : run.at);
  });
  const playerPlace = html("div", {});
  const footPlace = html("div", {});
  const help = caption(
    "Space plays, arrows step, with Shift by ten, Page keys by program, Home and End jump, [ ] set a loop, L loops, " +
      "− + change the speed. A press on the film, on a tile or on a line of code goes there.",
  );
  help.classList.add("al-theatre-help");
  root.append(body, ...(knobs.element ? [knobs.element] : []), playerPlace, help, footPlace);
  footPlace.addEventListener("click", withStills, true);

  // Time -------------------------------------------------------------------------------------------------------------
  let [time, foot] = [null, null];
  const eventNow = () => state.clock.event(state.step);
  /** Watch one of the run's traces, from one of its steps. */
  function retime(step) {
    time?.pause();
    state.clock = clock(watched(), other());
    state.step = step ?? 0;
    const { last } = state.clock;
    const run = Math.min(Math.max(EVENT_MS * watched().events, SHORTEST_RUN), LONGEST_RUN);
    time = player({
      last, at: state.step, name: "bytes moved", loops: true,
      time: (at) => (watched().total ? (run * state.clock.bytes(at)) / watched().total : at * EVENT_MS),
      say: (at) =>
        at < watched().events
          ? `event ${count(at + 1)} of ${count(watched().events)}`
          : `${size(state.clock.bytes(at))} moved`,
      show(at, playing) {
        state.step = at;
        ask(playing);
      },
    });
    time.element.addEventListener("keydown", onPage, true);
    playerPlace.replaceChildren(time.element);
    foot = footer({ root, name: "theatre", provenance: state.run.provenance, rows });
    footPlace.replaceChildren(...foot.elements);
    readRatio();
    layout();
  }
  function watch(index) {
    const bytes = state.clock.bytes(state.step);
    state.watched = index;
    retime(clock(watched(), other()).step(bytes));
  }
  function onPage(event) {
    const by = { PageUp: -1, PageDown: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    const trace = watched();
    const program = Math.min(Math.max(trace.programOf(eventNow()) + by, 0), trace.first.length - 1);
    time.pause();
    time.move(trace.first[program]);
  }
  /** The next event of the watched trace for which something holds, from the first again after the last. */
  function goTo(holds) {
    const { events } = watched();
    const from = eventNow();
    for (let ahead = 1; ahead <= events; ahead += 1) {
      const e = (from + ahead) % events;
      if (!holds(e)) continue;
      time.pause();
      return time.move(e);
    }
    return undefined;
  }

  // What is drawn ----------------------------------------------------------------------------------------------------
  let [themed, asked, loud, filmed, table] = ["", 0, false, null, -1];
  /** @type {Record<string, string>} */
  let colours = {};
  function palette() {
    if (themed === root.dataset.theme) return colours;
    themed = root.dataset.theme;
    const style = getComputedStyle(root);
    colours = Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    colours.font = style.fontFamily;
    return colours;
  }
  function ask(playing = false) {
    loud ||= !playing;
    asked ||= requestAnimationFrame(() => { asked = 0; read(!loud); loud = false; });
  }
  function drawHand() {
    const width = strip.width();
    const dots = Math.max(1, globalThis.devicePixelRatio || 1);
    const [w, h] = [Math.round(width * dots), Math.round(filmed.height * dots)];
    if (over.width !== w || over.height !== h) [over.width, over.height] = [w, h];
    const ctx = over.getContext("2d");
    ctx.setTransform(dots, 0, 0, dots, 0, 0);
    ctx.clearRect(0, 0, width, filmed.height);
    paint(ctx, hand(state.traces, state.clock.bytes(state.step), width), palette());
  }
  function read(quiet = false) {
    if (!stage.width() || !filmed) return;
    const mark = performance.now();
    const [trace, e, bytes] = [watched(), eventNow(), state.clock.bytes(state.step)];
    drawHand();
    const tiles = (trace.visits ? grid : boxes)(trace, e, stage.width());
    stage.draw(tiles.shapes, tiles.height, palette());
    stageWords.textContent = tiles.words;
    const both = state.traces;
    const lane = Math.max(
      ...both.flatMap((one) => one.reads.map((reads, t) => reads[one.events - 1] + one.writes[t][one.events - 1])),
    );
    const drawn = memory(trace, e, store.width(), {
      limit: state.limit,
      peak: Math.max(...both.map(({ peak }) => peak)),
      lane,
    });
    store.draw(drawn.shapes, drawn.height, palette());
    code.show(trace, e);
    numbers.show(trace, other(), bytes, state.cache);
    tell(sentence(factsOf(trace, e, bytes, state.limit, other())), { quiet });
    if (table !== trace.programOf(e)) { table = trace.programOf(e); foot.refresh(); }
    remember();
    performance.measure("theatre draws", { start: mark });
  }
  function readRatio() {
    if (state.traces.length < 2) return;
    const [least, most] = [...state.traces].sort((one, two) => one.total - two.total);
    ratio.textContent = `${significant(most.total / least.total)} ×`;
    ratioWords.textContent = `as many bytes are issued by ${most.name} as by ${least.name}`;
  }
  function rows() {
    const trace = watched();
    const program = trace.programOf(eventNow());
    const found = [["event", "kernel", "program", "does", "tensor", "where", "bytes", "moved by then", "line", "live"]];
    for (let e = trace.first[program]; e <= trace.programEnd(program); e += 1) {
      const { kind, tensor = "", span = "", bytes = 0, head = "" } = eventFacts(trace, e);
      found.push([
        e + 1,
        trace.kernels[trace.kernel[program]].name,
        program + 1,
        kind,
        tensor + head,
        span,
        bytes,
        trace.moved[e],
        trace.of.line(e),
        trace.liveBytes(e),
      ]);
    }
    return found;
  }
  /** Put what is not words on the page where the export looks for it, just for the time it takes to look. */
  function withStills() {
    const stills = [strip, stage, store].map((one) => {
      const still = one.still();
      one.element.prepend(still);
      return still;
    });
    const needle = drawing(
      hand(state.traces, state.clock.bytes(state.step), strip.width()),
      strip.width(),
      filmed.height,
    );
    strip.element.append(needle);
    const chosen = html("span", { "data-words": true }, caches.selectedOptions[0].text);
    caches.before(chosen);
    caches.hidden = true;
    const lines = code.seen();
    for (const row of lines) row.dataset.words = "";
    setTimeout(() => {
      for (const still of [...stills, needle, chosen]) still.remove();
      for (const row of lines) delete row.dataset.words;
      caches.hidden = false;
    });
  }

  // The pointer ------------------------------------------------------------------------------------------------------
  const focus = () => time.element.querySelector("input").focus({ preventScroll: true });
  strip.element.addEventListener("pointerdown", (event) => {
    strip.element.setPointerCapture(event.pointerId);
    seek(event);
  });
  strip.element.addEventListener("click", focus); // after the press, which takes the focus away
  strip.element.addEventListener("pointermove", (event) => { if (event.buttons) seek(event); });
  function seek(event) {
    const bytes = filmed.at(event.clientX - strip.element.getBoundingClientRect().left);
    time.pause();
    time.move(state.clock.step(bytes));
  }
  stage.element.addEventListener("click", (event) => {
    const trace = watched();
    const at = pairAt(trace, stage.width(), event.offsetX, event.offsetY);
    focus();
    if (!at) return;
    const met = trace.visits.met.filter(
      (one) => one.top <= at.row && at.row < one.bottom && one.left <= at.column && at.column < one.right,
    );
    const events = new Set(met.map((one) => one.event));
    goTo((e) => events.has(e));
  });

  let remembering = 0;
  function remember() {
    clearTimeout(remembering);
    remembering = setTimeout(() => {
      model.set("reader", {
        watched: watched().name,
        event: eventNow(),
        moved: state.clock.bytes(state.step),
        settings: state.run.settings,
      });
      model.save_changes();
    }, 250);
  }

  // Size and theme ---------------------------------------------------------------------------------------------------
  let widths = "";
  function layout() {
    widths = [strip, stage, store].map((one) => one.width()).join();
    if (!strip.width()) return;
    filmed = film(state.traces, strip.width());
    strip.draw(filmed.shapes, filmed.height, palette());
    over.style.height = `${filmed.height}px`;
    read();
  }
  const observer = new ResizeObserver(() => {
    if (widths !== [strip, stage, store].map((one) => one.width()).join()) layout();
  });
  for (const one of [strip, stage, store]) observer.observe(one.element);
  const themes = new MutationObserver(layout);
  themes.observe(root, { attributes: true, attributeFilter: ["data-theme"] });
  retime(state.run.at);

  return () => {
    observer.disconnect();
    themes.disconnect();
    cancelAnimationFrame(asked);
    clearTimeout(remembering);
    knobs.stop();
    time.pause();
    dispose();
  };
}

function renderNothing(data, el) {
  const { tell, dispose } = frame(el, data.question);
  tell([data.nothing]);
  return dispose;
}

export default {
  render({ model, el }) {
    const data = unpacked(model.get("data"));
    return data.nothing ? renderNothing(data, el) : renderTraces(data, model, el);
  },
};
