import { html } from "../kit/dom.js";
import { footer } from "../kit/export.js";
import { count } from "../kit/format.js";
import { frame, segment } from "../kit/frame.js";
import { unpacked } from "../kit/numbers.js";
import { around, following, insideChunk, panned, wholeMap, within, zoomed } from "./camera.js";
import { openHead } from "./heads.js";
import { talk } from "./kernel.js";
import { mapView } from "./map.js";
import { keepsEverything, keepsPair, keptKeys, windowOf } from "./mask.js";
import { colourBar, globalWords, headsView, numberView, stepper, stripView, windowView } from "./panel.js";
import { weightAt } from "./recompute.js";
import { codeOf, differenceTable, linearTop, massTable, placeOf, weightOf } from "./scale.js";
import { rowsSeen } from "./seen.js";
import { QUESTION, aggregateWords, cellParts, factsOf, named, percent, queryParts, spelled } from "./say.js";

const BUDGET = 9; // ms of a frame that go to computing tiles
const MOST_SINKS = 8;
const COLOURS = ["ink", "ink-2", "paper", "panel", "line", "mark", "k", "q", "s"];

function render({ model, el }) {
  /** @type {import("./heads.js").Data} */
  const data = unpacked(model.get("data"));
  const { tokens, causal, text, bits, block } = data;
  const heads = data.heads.map((_, index) => openHead(data, index));
  /** @type {import("./map.js").State} */
  const state = {
    shown: data.shown, second: data.beside, mode: data.beside === null ? "one" : "beside",
    log: true, statistic: "max", hidden: false, onlyKept: false, overlay: true, top: 1,
    mask: data.mask, camera: wholeMap(tokens), cursor: data.cursor, frozen: false,
  };
  const first = () => heads[state.shown];
  const second = () => heads[state.second ?? (state.shown + 1) % heads.length];

  // The frame and its parts ------------------------------------------------------------------------------------------
  const scales = segment("scale", ["log", "linear"], "log", (chosen) => {
    state.log = chosen === "log";
    refresh();
  });
  const statistics = segment("statistic of a pixel", ["max", "mean"], "max", (chosen) => {
    state.statistic = chosen;
    refresh();
  });
  const { root, tell, dispose } = frame(el, QUESTION, [scales, statistics]);
  root.classList.add("al-atlas");
  const shared = {
    state,
    colours,
    tables,
    move,
    zoom,
    point,
    choose,
    keeper,
    wants: (chunks) => kernel.wants(chunks),
    titleOf,
    profileTitle,
  };
  const maps = [mapView(data, shared), mapView(data, shared)];
  const place = html("span", { class: "al-caption" });
  const tool = (sign, words, act) =>
    html("button", { type: "button", "aria-label": words, title: words, onclick: act }, sign);
  const tools = html(
    "div",
    { class: "al-atlas-tools" },
    place,
    tool("−", "zoom out", () => zoomAtCursor(0.5)),
    tool("+", "zoom in", () => zoomAtCursor(2)),
    tool("whole", "the whole map", () => move(wholeMap(tokens))),
    tool("cursor", "the cells around the cursor", goToCursor),
  );
  const places = html("div", { class: "al-atlas-places al-caption" });
  const pictures = html("div", { class: "al-atlas-maps" }, ...maps.map((map) => map.element));
  const strip = stripView((at) => point(state.cursor.query, at, true));

  const number = numberView();
  const windows = Array.from(data.reaches, (reach) => windowOf(reach, causal));
  const windowed = windowView(windows, (window) => setMask({ window }));
  const withWindow = html("input", {
    type: "checkbox",
    onchange() {
      setMask({ window: withWindow.checked ? lastWindow : null });
    },
  });
  const windowLabel = html("span", {});
  let lastWindow = data.mask.window ?? windows[Math.floor(windows.length / 2)];
  const sinks = stepper("sinks", (by) =>
    setMask({ sinks: Math.max(0, Math.min(MOST_SINKS, tokens, state.mask.sinks + by)) }),
  );
  const globals = stepper("global tokens", changeGlobals);
  const blocks = stepper("blocks", (by) => setMask({ blocks: Math.max(0, state.mask.blocks + by) }));
  const globalNames = html("div", { class: "al-caption" });
  const onlyKept = html("input", { type: "checkbox", onchange() { state.onlyKept = onlyKept.checked; refresh(); } });
  const masks = html("div", { class: "al-atlas-mask", role: "group", "aria-label": "mask" },
    html("label", { class: "al-atlas-check" }, withWindow, windowLabel), sinks.element, globals.element, blocks.element,
    html("label", { class: "al-atlas-check" }, onlyKept, "draw only what is kept"));
  const bar = colourBar();
  const hidden = html("input", { type: "checkbox", onchange() { state.hidden = hidden.checked; refresh(); } });
  const hiddenLabel = html("span", {});
  const overlay = html("input", {
    type: "checkbox",
    checked: true,
    onchange() {
      state.overlay = overlay.checked;
      redraw();
    },
  });
  const several = heads.length > 1;
  const modes = segment(
    "view",
    ["one", "side by side", "difference"],
    state.mode === "beside" ? "side by side" : "one",
    (chosen) => {
      state.mode = chosen === "side by side" ? "beside" : chosen;
      if (state.mode !== "one") state.second = second().index;
      layout();
    },
  );
  const other = html(
    "select",
    {
      "aria-label": "the second map",
      onchange() {
        state.second = Number(other.value);
        refresh();
      },
    },
    ...heads.map((head) => html("option", { value: head.index }, head.title)),
  );
  const thumbs = headsView(heads, (index, shift) => {
    if (shift) state.second = index;
    else state.shown = index;
    refresh();
  });

  const side = html(
    "div",
    { class: "al-atlas-side" },
    html("div", {}, number.element, windowed.element),
    html(
      "div",
      {},
      masks,
      globalNames,
      bar.element,
      html("label", { class: "al-atlas-check" }, hidden, hiddenLabel),
      data.overlay
        ? html(
            "label",
            { class: "al-atlas-check" },
            overlay,
            html("span", { "data-words": true }, `dots: ${data.overlay.name}`),
          )
        : null,
    ),
  );
  const body = html(
    "div",
    { class: "al-body" },
    html("div", { class: "al-atlas-left" }, pictures, tools, places),
    side,
  );
  const compare = html(
    "div",
    { class: "al-atlas-compare" },
    html(
      "div",
      { class: "al-atlas-row" },
      html("span", { class: "al-atlas-head" }, "heads, and the share of its mass that the mask keeps of each, in %"),
      html("span", { class: "al-atlas-grow" }),
      modes,
      html("span", { class: "al-atlas-with al-caption" }, "with ", other),
    ),
    thumbs.element,
  );
  const help = html(
    "div",
    { class: "al-caption al-atlas-help" },
    "Arrows move the cursor, Shift and arrows the map, + − zoom, 0 shows all, Enter freezes, Escape frees, " +
      "G makes the key global, T shows the table. Ctrl and wheel zoom.",
  );
  const foot = footer({
    root,
    name: "atlas",
    provenance: data.provenance,
    rows: () => rowsSeen(first(), state.camera, data),
  });
  root.append(body, ...(text ? [strip.element] : []), ...(several ? [compare] : []), help, ...foot.elements);
  foot.elements[1].addEventListener("click", withStills, true);

  // What is drawn ----------------------------------------------------------------------------------------------------
  let themed = "", tablesFor = "", keptSets = new WeakMap();
  /** @type {Record<string, string>} */
  let known = {};
  /** @type {{mass: Uint32Array, difference: Uint32Array}} */
  let made = null;

  function colours() {
    if (themed === root.dataset.theme) return known;
    themed = root.dataset.theme;
    const style = getComputedStyle(root);
    known = Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    known.faint = themed === "dark" ? "#6b7480" : "#9aa3ad";
    known.font = style.fontFamily;
    return known;
  }
  function scaleNow() { return { log: state.log, bits, top: state.top }; }
  function tables() {
    const key = `${state.log} ${state.top} ${root.dataset.theme}`;
    if (tablesFor !== key) {
      tablesFor = key;
      const theme = root.dataset.theme === "dark" ? "dark" : "light";
      made = { mass: massTable(scaleNow()), difference: differenceTable(theme) };
    }
    return made;
  }
  function keeper(head, mask) {
    const chosen = head.chosenBlocks(mask);
    if (!keptSets.has(chosen)) keptSets.set(chosen, new Set(chosen.map(([row, column]) => `${row} ${column}`)));
    return (query, key) => keepsPair(mask, causal, block, keptSets.get(chosen), query, key);
  }
  /** What is written over a map; the first that there is room for. */
  function titleOf(drawn) {
    if (state.mode === "one") return [first().title];
    if (drawn.length === 2) return [`A − B: ${drawn[0].name} against ${drawn[1].name}`, "A − B"];
    const letter = drawn[0] === maps[0].head ? "A" : "B";
    const kept = drawn[0].kept(state.mask);
    const share = kept === null ? "" : `, ${percent(kept)} kept`;
    return [`${letter}: ${drawn[0].name}${share}`, `${letter}${share}`];
  }
  function profileTitle({ query, key }, short) {
    const [queryText, keyText] = [query, key].map((at) => named(at, text).join(""));
    const whose = state.mode === "difference" ? "in A, " : "";
    const squares = first().whole || state.camera.span < 256 ? "" : `, by squares of ${data.cell}`;
    return `${whose}what query ${queryText} reads${squares}${short ? "" : `; right: who reads key ${keyText}`}`;
  }

  let frameAsked = 0, hoverAsked = 0, loud = false;
  function redraw() { frameAsked ||= requestAnimationFrame(() => { frameAsked = 0; draw(); compute(); }); }
  function rehover(quiet) {
    if (!quiet) loud = true;
    hoverAsked ||= requestAnimationFrame(() => { hoverAsked = 0; drawCursor(!loud); loud = false; });
  }

  function draw() {
    const drawn =
      state.mode === "difference"
        ? [[first(), second()]]
        : state.mode === "beside"
          ? [[first()], [second()]]
          : [[first()]];
    let told = null;
    drawn.forEach((set, i) => { maps[i].head = set[0]; told = maps[i].draw(set) ?? told; maps[i].drawOver(); });
    if (!told) return;
    const cell = 2 ** told.level;
    const words = [aggregateWords(state.statistic, cell)];
    if (state.mode === "difference") words[0] = words[0].replace("each pixel =", "each pixel compares");
    if (told.waiting) words.push("finer ones are being computed");
    if (told.absent) words.push(kernel.live() ? "cells are being fetched" : "cells here are not recorded");
    words.push("hatched: not looked at");
    bar.draw({
      difference: state.mode === "difference",
      scale: scaleNow(),
      theme: root.dataset.theme,
      words: `${words.join("; ")}.`,
    });
    const { x, y, span } = state.camera;
    const upTo = (from) => `${count(Math.floor(from))} to ${count(Math.min(tokens, Math.ceil(from + span)) - 1)}`;
    place.textContent = `queries ${upTo(y)}, keys ${upTo(x)}`;
  }

  /** Compute tiles that the last frame lacked, for a few ms of each frame, and draw them as they come. */
  let working = null, workAsked = 0;
  function compute() { workAsked ||= requestAnimationFrame(computeNow); }
  function computeNow() {
    workAsked = 0;
    const until = performance.now() + BUDGET;
    let came = false;
    while (performance.now() < until) {
      if (!working) {
        const next = maps
          .flatMap((map) => (map.element.hidden ? [] : map.queued()))
          .find(([head, ...tile]) => !head.tile(...tile));
        if (!next) break;
        const [head, ...tile] = next;
        working = head.work(...tile);
        if (!working) break;
      }
      if (working.step(4)) { working = null; came = true; }
    }
    if (came) redraw();
    else if (working) compute();
  }

  /** Everything that depends on the mask, the heads or the scale. */
  function refresh() {
    const tops = [first(), ...(state.mode === "one" ? [] : [second()])].map((head) =>
      linearTop(head.codes(state.statistic, head.stored, state.hidden), bits));
    state.top = Math.max(...tops);
    const { mask } = state;
    const head = first();
    const kept = head.kept(mask);
    const pairs = head.pairs(mask);
    number.show(mask, causal, block, kept ?? 0, pairs);
    windowed.draw(head.known(mask) ? head.curve(mask) : [], mask, kept, pairs);
    withWindow.checked = mask.window !== null;
    windowLabel.textContent = mask.window === null ? "window" : `window ${count(mask.window)}`;
    sinks.show(mask.sinks, { most: Math.min(MOST_SINKS, tokens) });
    globals.show(mask.global_tokens.length, { most: mask.global_tokens.length + (nextHeavy() === undefined ? 0 : 1) });
    blocks.show(mask.blocks);
    globalNames.textContent = mask.global_tokens.length ? `global: ${globalWords(mask, text)}` : "";
    onlyKept.disabled = keepsEverything(mask);
    const firstKeys = data.sink === 1 ? "the first key" : `the first ${data.sink} keys`;
    hiddenLabel.textContent = `hide ${firstKeys}, with ${percent(head.first)} of the mass`;
    other.value = String(second().index);
    other.parentElement.hidden = state.mode === "one";
    thumbs.show({
      shown: state.shown,
      second: state.mode === "one" ? null : second().index,
      mask,
      statistic: state.statistic,
      hidden: state.hidden,
      tables: tables(),
      scaleKey: `${state.log} ${state.top} ${state.statistic} ${state.hidden}`,
    });
    const spots = head.whole || kernel.live() ? [] : head.places;
    places.replaceChildren(
      ...(spots.length ? ["exact to the cell at "] : []),
      ...spots.map(([query, key]) =>
        html(
          "button",
          {
            type: "button",
            onclick() {
              state.frozen = true;
              point(query, key, true);
              move(insideChunk(query, key, 96, data.chunk, tokens));
            },
          },
          `${count(query)}, ${count(key)}`,
        ),
      ),
    );
    foot.refresh();
    redraw();
    rehover(true);
    remember();
  }

  function drawCursor(quiet) {
    maps.forEach((map) => { if (!map.element.hidden) map.drawOver(); });
    const begun = performance.now();
    const { query, key } = state.cursor;
    const head = first();
    let found = null;
    if (head.whole) found = factsOf(head.lines.whole("row", query), query, data.sink, data.near, causal);
    else if (query === data.cursor.query) found = head.facts;
    else found = kernel.facts(head.index, query);
    const weight = weightAt(head.vectors, query, key) ?? squareWords(head, query, key);
    if (found) tell(queryParts(head.title, query, key, weight, found, data.sink, data.near, causal, text), { quiet });
    else tell(cellParts(head.title, query, key, weight, text), { quiet });
    if (text)
      strip.show({
        cursor: state.cursor,
        tokens,
        causal,
        sink: data.sink,
        write: (at) => spelled(text[at], 14).replace(/… \(.*$/, "…"),
        heightOf: (at) => placeOf(codeOf(weightAt(head.vectors, query, at) ?? 0, bits), scaleNow()),
      });
    performance.measure("atlas words", { start: begun });
    performance.clearMeasures("atlas words");
  }
  function squareWords(head, query, key) {
    const size = Math.ceil(tokens / 2 ** head.stored);
    const code = head.codes("max", head.stored, false)[(query >> head.stored) * size + (key >> head.stored)];
    const largest = weightOf(code, bits).toPrecision(2);
    return `not recorded; the largest of its ${data.cell} × ${data.cell} cells is about ${largest}`;
  }

  // What the reader does ---------------------------------------------------------------------------------------------
  function move(camera) { state.camera = within(camera, tokens); redraw(); rehover(true); }
  function zoom(factor, u, v) { move(zoomed(state.camera, factor, u, v, tokens)); }
  function zoomAtCursor(factor) {
    const { x, y, span } = state.camera;
    const at = (value, from) => Math.min(1, Math.max(0, (value + 0.5 - from) / span));
    zoom(factor, at(state.cursor.key, x), at(state.cursor.query, y));
  }
  function goToCursor() { move(around(state.cursor.query, state.cursor.key, Math.min(32, tokens), tokens)); }
  function point(query, key, evenFrozen = false) {
    if (state.frozen && !evenFrozen) return;
    if (query === state.cursor.query && key === state.cursor.key) return;
    state.cursor = { query, key };
    rehover(!evenFrozen);
    remember();
  }
  function choose(query, key) {
    state.frozen = !(state.frozen && query === state.cursor.query && key === state.cursor.key);
    point(query, key, true);
    rehover(true);
  }
  function setMask(change) {
    state.mask = { ...state.mask, ...change };
    if (state.mask.window !== null) lastWindow = state.mask.window;
    refresh();
  }
  function nextHeavy() {
    return first().heavy.find((key) => !keptKeys(state.mask).includes(key));
  }
  function changeGlobals(by) {
    const now = state.mask.global_tokens;
    const next = nextHeavy();
    if (by < 0) setMask({ global_tokens: now.slice(0, -1) });
    else if (next !== undefined) setMask({ global_tokens: [...now, next] });
  }
  function toggleGlobal() {
    const { key } = state.cursor;
    const now = state.mask.global_tokens;
    if (now.includes(key)) return setMask({ global_tokens: now.filter((at) => at !== key) });
    if (!heads.every((head) => head.lines.knows(key))) {
      return tell([
        `The line of key ${count(key)} is not in this page, so what it would keep can't be said. ` +
          `Those that are: ${first().heavy.map(count).join(", ")}.`,
      ]);
    }
    setMask({ global_tokens: [...now, key] });
  }

  const arrows = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const keys = {
    "+": () => zoomAtCursor(2),
    "=": () => zoomAtCursor(2),
    "-": () => zoomAtCursor(0.5),
    0: () => move(wholeMap(tokens)),
    Enter: () => {
      state.frozen = true;
      rehover(false);
    },
    Escape: () => {
      state.frozen = false;
      rehover(false);
    },
    g: toggleGlobal,
    G: toggleGlobal,
    t: foot.toggle, T: foot.toggle,
  };
  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = arrows[event.key];
    if (arrow && event.shiftKey) move(panned(state.camera, arrow[1] / 4, arrow[0] / 4, tokens));
    else if (arrow) {
      const step = Math.max(1, Math.round(state.camera.span / 200));
      const hold = (at) => Math.min(Math.max(at, 0), tokens - 1);
      point(hold(state.cursor.query + arrow[0] * step), hold(state.cursor.key + arrow[1] * step), true);
      const followed = following(state.camera, state.cursor.query, state.cursor.key, tokens);
      if (followed.x !== state.camera.x || followed.y !== state.camera.y) move(followed);
    } else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
    event.stopPropagation(); // a notebook would take the same keys for itself
  }
  for (const map of maps) {
    map.element.addEventListener("keydown", onKey);
    map.element.dataset.lmSuppressShortcuts = "true"; // JupyterLab's own keys stay out of the map
  }

  /** Put the pixels where the export looks for pictures, just for the time it takes to look. */
  function withStills() {
    const seen = maps.filter((map) => !map.element.hidden);
    const stills = seen.map((map) => { const still = map.still(); map.axes.prepend(still); return still; });
    setTimeout(() => stills.forEach((still) => still.remove()));
  }

  const kernel = talk(model, heads, { ready: refresh, came: redraw, told: () => rehover(true) });
  let remembering = 0;
  function remember() {
    clearTimeout(remembering);
    remembering = setTimeout(() => {
      const { shown: head, second: beside, mode, mask, cursor } = state;
      model.set("reader", { head, beside, mode, mask, cursor });
      model.save_changes();
    }, 250);
  }

  // Size and theme ---------------------------------------------------------------------------------------------------
  let widths = "";
  function layout() {
    const both = state.mode === "beside";
    root.classList.toggle("al-atlas-both", both);
    maps[1].element.hidden = !both;
    for (const map of maps) if (!map.element.hidden) map.resize(map.element.clientWidth);
    widths = maps.map((map) => map.element.clientWidth).join();
    refresh();
  }
  const observer = new ResizeObserver(() => {
    if (pictures.clientWidth && widths !== maps.map((map) => map.element.clientWidth).join()) layout();
  });
  observer.observe(pictures);
  const themes = new MutationObserver(refresh);
  themes.observe(root, { attributes: true, attributeFilter: ["data-theme"] });
  if (pictures.clientWidth) layout();
  drawCursor(true);

  return () => {
    observer.disconnect();
    themes.disconnect();
    for (const request of [frameAsked, hoverAsked, workAsked]) cancelAnimationFrame(request);
    clearTimeout(remembering);
    kernel.stop();
    dispose();
  };
}

export default { render };
