import { html } from "../kit/dom.js";
import { footer } from "../kit/export.js";
import { count } from "../kit/format.js";
import { frame, segment } from "../kit/frame.js";
import { unpacked } from "../kit/numbers.js";
import { player } from "../kit/player.js";
import { curveView, keyWords, numberView, selectorsView, wordsView } from "./panel.js";
import { PRECISIONS } from "./row.js";
import { QUESTION, countedWords, named, percent, queryParts, who } from "./say.js";
import { opened } from "./seen.js";
import { scoreWords, tracksChart, withinKeys } from "./tracks.js";

function render({ model, el }) {
  const data = unpacked(model.get("data"));
  const models = data.models.map(opened);
  const needles = new Map(data.needles);
  let recording = models[data.shown];
  const { tokens, at } = recording;
  const state = {
    model: data.shown,
    layer: data.layer,
    head: -1,
    row: data.row,
    budget: recording.budgets.indexOf(recording.top_k),
    precision: recording.precision,
    blocks: false,
    selector: "indexer",
    cursor: 0,
    from: 0,
    span: tokens,
    needle: needles.get(at[data.row]),
  };
  let seen = recording.look(state);
  state.cursor = seen.miss[0] ?? seen.hit[0];
  let tracks = null;

  // The frame and its parts ------------------------------------------------------------------------------------------
  const units = ["tokens", `blocks of ${recording.block}`];
  const precisions = segment("precision of the indexer", Object.keys(PRECISIONS), state.precision, (precision) =>
    set({ precision }),
  );
  const granularity = segment("what is chosen", units, units[0], (chosen) => set({ blocks: chosen === units[1] }));
  const { root, tell, dispose } = frame(el, QUESTION, [precisions, granularity]);
  root.classList.add("al-selector");
  const stages =
    models.length > 1
      ? segment(
          "model",
          models.map((each) => each.name),
          recording.name,
          (name) => {
            const k = recording.budgets[state.budget];
            recording = models.find((each) => each.name === name);
            const away = (each) => Math.abs(Math.log2(each / k));
            const budget = recording.budgets.reduce(
              (found, each, i) => (away(each) < away(recording.budgets[found]) ? i : found),
              0,
            );
            list.dispose();
            build();
            set({ model: models.indexOf(recording), budget });
          },
        )
      : null;
  const menu = (label, options, chosen, choose) =>
    html(
      "select",
      {
        "aria-label": label,
        /** @this {HTMLSelectElement} */
        onchange() {
          choose(Number(this.value));
        },
      },
      ...options.map(([value, words]) => html("option", { value, selected: value === chosen }, words)),
    );
  const layerMenu = menu(
    "layer",
    recording.layers.map((layer, i) => [i, layer.name]),
    state.layer,
    (layer) => set({ layer }),
  );
  const headMenu = menu(
    "head",
    [[-1, "all heads"], ...Array.from({ length: recording.layers[0].heads }, (_, i) => [i, `head ${i}`])],
    -1,
    (head) => set({ head }),
  );
  const tool = (sign, words, act) =>
    html("button", { type: "button", "aria-label": words, title: words, onclick: act }, sign);
  const tools = html(
    "div",
    { class: "al-selector-tools" },
    stages,
    recording.layers.length > 1 ? layerMenu : null,
    headMenu,
    html("span", { class: "al-selector-grow" }),
    tool("−", "more keys", () => zoom(2)),
    tool("+", "fewer keys", () => zoom(0.5)),
    tool("all", "all keys", () => set({ from: 0, span: tokens })),
  );
  const stage = html("div", {
    class: "al-selector-stage",
    role: "application",
    tabindex: 0,
    "aria-label": "one query: arrows choose a key, up and down another k",
    "data-lm-suppress-shortcuts": "true",
  });
  const key = html("div", { class: "al-caption al-selector-key", "data-words": true });
  const number = numberView();
  const words = wordsView((cursor) => set(follow({ cursor })));
  const listPlace = html("div", {});
  const curvePlace = html("div", {});
  const note = html("div", { class: "al-caption", "data-words": true });
  const body = html(
    "div",
    { class: "al-body" },
    html(
      "div",
      { class: "al-selector-top" },
      html("div", {}, tools, stage, key),
      html("div", { class: "al-selector-side" }, number.element, listPlace, note),
    ),
    html("div", { class: "al-selector-low" }, curvePlace, words.element),
  );
  const time = player({
    last: at.length - 1,
    at: state.row,
    name: "query",
    say: (row) => `query ${count(at[row])} of ${count(tokens)}`,
    show(row, playing) {
      if (row === state.row && !playing) return;
      Object.assign(state, { row, needle: needles.get(at[row]) });
      redraw(playing);
      remember();
    },
  });
  const help = html(
    "div",
    { class: "al-caption al-selector-help" },
    "Strong bars: what is chosen. Dashed: the lowest score that is chosen. ✕: the oracle would take it. " +
      "Hatched: still to come. Blue diamond: the query; orange: the needle. Arrows choose a key, " +
      "Up and Down another k, Page Up and Page Down another query, M the next miss, + − zoom, T shows the table.",
  );
  const foot = footer({ root, name: "selector", provenance: recording.provenance, rows });
  root.append(body, time.element, help, ...foot.elements);

  let list = null;
  let curve = null;
  function build() {
    const selectors = selectorsView(recording, (selector) => set({ selector }));
    curve = curveView(recording, (budget) => { if (budget !== state.budget) set({ budget }, true); });
    curve.stage.addEventListener("keydown", onCurveKey);
    listPlace.replaceChildren(selectors.element);
    curvePlace.replaceChildren(curve.element);
    list = { draw: selectors.draw, dispose() { curve.stage.removeEventListener("keydown", onCurveKey); } };
  }
  build();

  // What is drawn ----------------------------------------------------------------------------------------------------
  const chooser = () => who(state.selector, state.precision, state.blocks ? recording.block : 0);
  const text = (token) => data.text?.[token] ?? null;
  const whose = () => (state.head < 0 ? `all heads` : `head ${state.head}`);
  const where = () => {
    const { name } = recording.layers[state.layer];
    const start = models.length > 1 ? `${recording.name}, ${name}` : name;
    return `${start[0].toUpperCase()}${start.slice(1)}${state.head < 0 ? ", all heads" : ` head ${state.head}`}`;
  };
  let quietly = true;
  let drawn = ""; // what the curve shows
  let asked = 0;
  function redraw(quiet) {
    quietly &&= quiet;
    asked ||= requestAnimationFrame(() => { asked = 0; draw(quietly); quietly = true; });
  }
  function draw(quiet) {
    const begun = performance.now();
    seen = recording.look(state);
    state.cursor = Math.min(state.cursor, seen.position);
    if (stage.clientWidth) {
      tracks = tracksChart(
        { ...recording, text: data.text },
        state,
        seen,
        stage.clientWidth,
        `true attention, ${whose()}, log scale`,
      );
      stage.replaceChildren(tracks.chart);
      list.draw(state, seen);
      const { layer, head, budget, precision, blocks, selector } = state;
      // The query is not among them.
      const curved = [recording.name, layer, head, budget, precision, blocks, selector, curve.stage.clientWidth].join();
      if (curved !== drawn) curve.draw(state);
      drawn = curved;
    }
    const now = keyWords({ ...recording, text: data.text }, state, seen);
    key.textContent =
      `key ${now.name}: index score ${scoreWords(seen.scores[now.key])}, rank ${count(now.rank)} ` +
      `of ${count(seen.visible)}; attention ${percent(seen.weights[now.key])}; ${now.what}`;
    const middle = recording.curve(state, state.selector)[state.budget][1];
    number.show(middle, chooser(), seen.k, countedWords(recording.counted, at.length, tokens));
    words.show({ ...recording, text: data.text }, state, seen);
    const needle =
      state.needle === undefined ? null : [named(state.needle, text(state.needle)), Boolean(seen.chosen[state.needle])];
    const missed = seen.miss.length ? [named(seen.miss[0], text(seen.miss[0])), seen.weights[seen.miss[0]]] : null;
    tell(
      queryParts(where(), named(seen.position, text(seen.position)), tokens, seen.k, chooser(), {
        visible: seen.visible,
        mass: seen.mass,
        missed,
        misses: seen.miss.length,
        oracle: seen.oracle,
        window: seen.window,
        needle,
      }),
      { quiet },
    );
    foot.refresh();
    performance.measure("selector", { start: begun });
    performance.clearMeasures("selector");
  }
  function set(change, soon = false) {
    Object.assign(state, change);
    const free = ["indexer", "oracle"].includes(state.selector);
    for (const button of granularity.querySelectorAll("button")) button.disabled = !free;
    for (const button of precisions.querySelectorAll("button")) button.disabled = state.selector !== "indexer";
    const blocks = state.blocks ? ` Indexer and oracle by blocks of ${recording.block}.` : "";
    note.textContent = `Tick: the middle query, bar: 10 to 90 % of them, ○: this query.${blocks}`;
    foot.elements[1].querySelector(".al-provenance").textContent = recording.provenance;
    if (soon) redraw(true);
    else draw(false);
    remember();
  }
  /** The view moved along, where the key looked at has left it. */
  function follow(change) {
    const { cursor } = change;
    if (cursor >= state.from && cursor < state.from + state.span) return change;
    return { ...change, ...withinKeys({ from: cursor - state.span / 2, span: state.span }, tokens) };
  }
  function zoom(factor) {
    const span = state.span * factor;
    set(
      withinKeys({ from: state.cursor + 0.5 - ((state.cursor + 0.5 - state.from) / state.span) * span, span }, tokens),
    );
  }
  function rows() {
    const head = ["key", ...(data.text ? ["text"] : []), "index score", "attention", "chosen", "oracle's"];
    const found = [head];
    const every = [
      ...new Set([...seen.hit, ...seen.miss, ...seen.extra, ...(seen.visible <= 512 ? seen.weights.keys() : [])]),
    ].sort((a, b) => a - b);
    for (const one of every)
      found.push([
        one,
        ...(data.text ? [text(one)] : []),
        seen.scores[one].toPrecision(4),
        seen.weights[one].toPrecision(4),
        seen.chosen[one] ? "yes" : "",
        seen.wanted[one] ? "yes" : "",
      ]);
    return found;
  }

  // What the reader does ---------------------------------------------------------------------------------------------
  const byBudget = (by) => set({ budget: Math.min(Math.max(state.budget + by, 0), recording.budgets.length - 1) });
  function onCurveKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const last = recording.budgets.length - 1;
    const act = {
      ArrowLeft: () => byBudget(-1),
      ArrowDown: () => byBudget(-1),
      ArrowRight: () => byBudget(1),
      ArrowUp: () => byBudget(1),
      Home: () => byBudget(-last),
      End: () => byBudget(last),
    }[event.key];
    if (!act) return;
    act();
    event.preventDefault();
    event.stopPropagation();
  }
  const point = (event) => {
    const cursor = tracks.keyAt(event.clientX - stage.getBoundingClientRect().left);
    if (cursor !== state.cursor) set({ cursor }, true);
  };
  stage.addEventListener("pointerdown", point);
  stage.addEventListener("pointermove", (event) => { if (event.buttons) point(event); });
  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const by = (step) => set(follow({ cursor: Math.min(Math.max(state.cursor + step, 0), seen.position) }));
    const step = Math.max(1, Math.round(state.span / 200)) * (event.shiftKey ? 10 : 1);
    const toQuery = (to) => { time.pause(); time.move(Math.min(Math.max(to, 0), at.length - 1)); };
    const misses = [...seen.miss].sort((a, b) => a - b);
    const acts = {
      ArrowLeft: () => by(-step), ArrowRight: () => by(step), Home: () => by(-tokens), End: () => by(tokens),
      ArrowUp: () => byBudget(1), ArrowDown: () => byBudget(-1),
      PageUp: () => toQuery(state.row - 1), PageDown: () => toQuery(state.row + 1),
      m: () => misses.length && set(follow({ cursor: misses.find((each) => each > state.cursor) ?? misses[0] })),
      "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: () => set({ from: 0, span: tokens }),
      t: foot.toggle, " ": () => time.key(event),
    };
    const act = acts[event.key] ?? acts[event.key.toLowerCase()];
    if (!act) return;
    act();
    event.preventDefault();
    event.stopPropagation(); // a notebook would take the same keys for itself
  });
  let remembering = 0;
  function remember() {
    clearTimeout(remembering);
    remembering = setTimeout(() => {
      const { layer, head, precision, blocks, selector, cursor } = state;
      model.set("reader", {
        model: recording.name,
        layer,
        head,
        precision,
        blocks,
        selector,
        key: cursor,
        query: at[state.row],
        k: recording.budgets[state.budget],
      });
      model.save_changes();
    }, 250);
  }

  // Size and theme ---------------------------------------------------------------------------------------------------
  let width = 0;
  const observer = new ResizeObserver(() => {
    if (stage.clientWidth && stage.clientWidth !== width) { width = stage.clientWidth; redraw(true); }
  });
  observer.observe(stage);
  set({});

  return () => {
    observer.disconnect();
    cancelAnimationFrame(asked);
    clearTimeout(remembering);
    time.pause();
    dispose();
  };
}

export default { render };
