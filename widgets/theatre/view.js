import { html } from "../kit/dom.js";
import { footer } from "../kit/export.js";
import { count, size } from "../kit/format.js";
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
import { openRace, racePlan, raceShapes } from "./race.js";
import { sentence } from "./say.js";
import { tourSteps, tourStrip } from "./tour.js";
import { clock, openTrace } from "./trace.js";

const COLOURS = ["ink", "ink-2", "paper", "panel", "line", "mark", "good", "bad", "q", "k", "v", "o", "s", "m"];
const EVENT_MS = 60; // of playing, in the mean
const [SHORTEST_RUN, LONGEST_RUN] = [4000, 13_000];
const GLIDE = 75; // milliseconds in which the stage comes nearly two thirds of the way to where the player stands
const STILLS = 16; // of a whole run, with reduced motion

/** @param {import("./knobs.js").Data} data @param {import("../kit/mount.js").Model} model @param {HTMLElement} el */
function renderTraces(data, model, el) {
  const state = {
    run: data.runs[data.shown],
    traces: [],
    race: null,
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
    state.race = openRace(state.traces);
  }
  openRun(state.run, data);

  // The frame and its parts ------------------------------------------------------------------------------------------
  const names = state.traces.map(({ name }) => name);
  const { root, tell, dispose } = frame(el, data.question);
  root.classList.add("al-theatre", ...(names.length > 1 ? ["al-theatre-two"] : []));
  const stage = panel("tiles travel between HBM and SRAM", { class: "al-theatre-panel al-theatre-stage" });
  const strip = panel("what moves at each byte of the clock", { class: "al-theatre-panel al-theatre-film" });
  const over = html("canvas", { class: "al-theatre-hand", "aria-hidden": "true" });
  strip.element.append(over);
  const doing = html("div", { class: "al-theatre-event", "data-words": true });
  const tiles = panel("the tiles of the tensors");
  const tilesWords = html("div", { class: "al-caption", "data-words": true });
  const store = panel("SRAM, and what has moved of each tensor");
  const limits = chooser(
    "limit of the SRAM",
    data.limits.map(({ bytes, name }) => [bytes, name]),
    state.limit,
    (bytes) => {
      state.limit = bytes;
      layout();
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
  const knobs = knobsView(model, data, (run, source) => {
    const share = state.clock.bytes(state.step) / state.race.longest;
    openRun(run, source);
    retime(clock(watched(), other()).step(share * state.race.longest));
  });
  const playerPlace = html("div", {});
  const footPlace = html("div", {});
  const pacePlace = html("span", { class: "al-player al-theatre-pace" });
  const help = caption(
    "Space plays, arrows step, with Shift by ten, Page keys by program, Home and End jump, [ ] set a loop, L loops, " +
      "− + change the speed. A press on the picture plays; on the strip, a tile or a line of code it goes there. " +
      "A load is counted when it reaches SRAM, a store when it leaves. Order, tiles and bytes are as recorded; " +
      "how long a tile is in the air is not.",
  );
  help.classList.add("al-theatre-help");
  const folded = (words, ...inside) =>
    html("details", { class: "al-theatre-more" }, html("summary", {}, words), ...inside);
  const chosen = names.length > 1 ? [segment("watch", names, names[0], (name) => watch(names.indexOf(name)))] : [];
  const inside = folded(
    "Look inside: events, code, grid, SRAM, bytes",
    html("div", { class: "al-theatre-tools" }, ...chosen, pacePlace),
    doing,
    strip.element,
    html(
      "div",
      { class: "al-theatre-middle" },
      html("div", {}, tiles.element, tilesWords),
      html("div", {}, store.element, caption("Named tiles, in registers and shared memory. The limit: ", limits)),
      code.element),
    numbers.element,
    help,
    footPlace);
  const named = data.knobs.map(({ name }) => name).join(", ");
  const turned = knobs.element ? [folded(`Run it otherwise: ${named}`, knobs.element)] : [];
  const tour = tourStrip(({ from, to }) => {
    time.pause();
    until = state.clock.step(to);
    time.move(reduced.matches ? until : state.clock.step(from));
    if (!reduced.matches) pressPlay();
  });
  root.append(html("div", { class: "al-body" }, stage.element, playerPlace, tour.element, ...turned, inside));
  footPlace.addEventListener("click", withStills, true);

  // Time -------------------------------------------------------------------------------------------------------------
  let [time, foot] = [null, null];
  let until = Infinity; // the step at which a step of the tour ends
  let [shown, wanted] = [0, 0]; // bytes, on the stage: where it stands, and where it is on the way to
  const eventNow = () => state.clock.event(state.step);
  /** Watch one of the run's traces, from one of its steps. */
  function retime(step) {
    time?.pause();
    state.clock = clock(watched(), other());
    [state.step, until] = [step ?? 0, Infinity];
    const { last } = state.clock;
    const { longest } = state.race;
    const run = Math.min(Math.max(EVENT_MS * (last + 1), SHORTEST_RUN), LONGEST_RUN);
    time = player({
      last, at: state.step, name: "bytes moved", loops: true,
      time: (at) => (watched().total ? (run * state.clock.bytes(at)) / longest : at * EVENT_MS),
      say: (at) =>
        at < watched().events
          ? `event ${count(at + 1)} of ${count(watched().events)}`
          : `${size(state.clock.bytes(at))} moved`,
      show(at, playing) {
        state.step = at;
        ask(playing);
        if (playing && at >= until) { until = Infinity; time.pause(); }
      },
    });
    time.element.addEventListener("keydown", onPage, true);
    playerPlace.replaceChildren(time.element);
    pacePlace.replaceChildren(...time.element.querySelectorAll("[aria-label=loop], [aria-label=speed]"));
    foot = footer({ root, name: "theatre", provenance: state.run.provenance, rows });
    footPlace.replaceChildren(...foot.elements);
    shown = goal();
    tour.open(tourSteps(state.traces, state.limit, data.knobs.length > 0));
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
  const reduced = matchMedia("(prefers-reduced-motion: reduce)");
  const forced = matchMedia("(forced-colors: active)");
  let [themed, asked, loud, filmed, table] = ["", 0, false, null, -1];
  let [plan, gliding] = [null, 0];
  /** @type {Record<string, string>} */
  let colours = {};
  function palette() {
    const now = `${root.dataset.theme} ${forced.matches}`;
    if (themed === now) return colours;
    themed = now;
    const style = getComputedStyle(root);
    colours = Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    colours.shore = forced.matches ? colours.line : colours.panel; // grounds are alike where colours are forced
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
  /** Where the stage is to stand, in bytes. At the last step the tile that has left lands, too. */
  function goal(playing = false) {
    const bytes = state.clock.bytes(state.step);
    if (state.step === state.clock.last) return bytes + state.race.length;
    const still = state.race.longest / STILLS;
    return playing && reduced.matches ? Math.floor(bytes / still) * still : bytes;
  }
  function drawStage() {
    if (!plan) return;
    stage.draw(raceShapes(plan, shown), plan.height, palette());
  }
  /** The stage glides to where the player stands; with reduced motion it stands there at once. */
  function glide(playing) {
    wanted = goal(playing);
    if (reduced.matches || !plan) {
      shown = wanted;
      return drawStage();
    }
    if (gliding) return undefined;
    let before = performance.now();
    const tick = (now) => {
      const mark = performance.now();
      const passed = Math.min(Math.max(now - before, 1), 100);
      before = now;
      shown += (wanted - shown) * (1 - Math.exp(-passed / GLIDE));
      if (Math.abs(wanted - shown) < 0.0004 * state.race.longest) shown = wanted;
      drawStage();
      gliding = shown === wanted ? 0 : requestAnimationFrame(tick);
      performance.measure("theatre glides", { start: mark });
    };
    gliding = requestAnimationFrame(tick);
    return undefined;
  }
  function read(quiet = false) {
    if (!stage.width()) return;
    const mark = performance.now();
    const [trace, e, bytes] = [watched(), eventNow(), state.clock.bytes(state.step)];
    glide(quiet);
    const parts = sentence(factsOf(trace, e, bytes, state.limit, other()));
    const ended = bytes > trace.total;
    tell(ended ? parts : parts.slice(1), { quiet });
    if (inside.open && filmed) readInside(trace, e, bytes, parts[0]);
    remember();
    performance.measure("theatre draws", { start: mark });
  }
  function readInside(trace, e, bytes, words) {
    doing.textContent = words;
    drawHand();
    const drawnTiles = (trace.visits ? grid : boxes)(trace, e, tiles.width());
    tiles.draw(drawnTiles.shapes, drawnTiles.height, palette());
    tilesWords.textContent = drawnTiles.words;
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
    if (table !== trace.programOf(e)) { table = trace.programOf(e); foot.refresh(); }
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
    const stills = [stage, strip, tiles, store].map((one) => {
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
    const cache = html("span", { "data-words": true }, caches.selectedOptions[0].text);
    caches.before(cache);
    caches.hidden = true;
    const lines = code.seen();
    for (const row of lines) row.dataset.words = "";
    root.classList.add("al-theatre-taken");
    setTimeout(() => {
      for (const still of [...stills, needle, cache]) still.remove();
      for (const row of lines) delete row.dataset.words;
      caches.hidden = false;
      root.classList.remove("al-theatre-taken");
    });
  }

  // The pointer ------------------------------------------------------------------------------------------------------
  function pressPlay() {
    /** @type {HTMLElement} */ (time.element.querySelector("[aria-label=play], [aria-label=pause]")).click();
  }
  stage.element.addEventListener("click", () => {
    until = Infinity;
    pressPlay();
  });
  for (const kind of ["pointerdown", "keydown"]) playerPlace.addEventListener(kind, () => { until = Infinity; }, true);
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
  tiles.element.addEventListener("click", (event) => {
    const trace = watched();
    const at = pairAt(trace, tiles.width(), event.offsetX, event.offsetY);
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
  const panels = [stage, strip, tiles, store];
  const widthsNow = () => panels.map((one) => one.width()).join();
  let widths = "";
  function layout() {
    widths = widthsNow();
    if (!stage.width()) return;
    plan = racePlan(state.race, stage.width(), state.limit);
    drawStage();
    filmed = strip.width() ? film(state.traces, strip.width()) : null;
    if (filmed) {
      strip.draw(filmed.shapes, filmed.height, palette());
      over.style.height = `${filmed.height}px`;
    }
    read();
  }
  const observer = new ResizeObserver(() => {
    if (widths !== widthsNow()) layout();
  });
  for (const one of panels) observer.observe(one.element);
  const themes = new MutationObserver(layout);
  themes.observe(root, { attributes: true, attributeFilter: ["data-theme"] });
  forced.addEventListener("change", layout);
  inside.addEventListener("toggle", layout);
  retime(0);

  return () => {
    observer.disconnect();
    themes.disconnect();
    forced.removeEventListener("change", layout);
    cancelAnimationFrame(asked);
    cancelAnimationFrame(gliding);
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
