import { html, svg } from "../kit/dom.js";
import { footer } from "../kit/export.js";
import { count, fixed } from "../kit/format.js";
import { frame } from "../kit/frame.js";
import { Messages } from "../kit/messages.js";
import { unpacked } from "../kit/numbers.js";
import { stepped } from "../kit/player.js";
import { linear, logarithmic } from "../kit/scale.js";
import SKETCH_SAYS from "./messages.json" with { type: "json" };

const says = new Messages(SKETCH_SAYS);
const [HEIGHT, TOP, LEFT, RIGHT, AXIS] = [268, 24, 34, 10, 44]; // pixels
const APART = 30; // pixels between two numbers on the axis
const COLOURS = ["mark", "good", "o", "k"]; // of the measured curves

/**
 * The first curve is the one that the reader draws, in per cent, null where nothing is drawn yet.
 * @typedef {{question: string, distances: number[], names: string[], curves: Float64Array,
 *   marks: [at: number, word: string][], provenance: string}} Data
 * @typedef {(number | null)[]} Drawn
 */

/** One of the measured curves. @param {Pick<Data, "curves" | "distances">} data @param {number} i */
function curve({ curves, distances }, i) {
  return Array.from(curves.slice(i * distances.length, (i + 1) * distances.length));
}

/**
 * The reader's curve, in shares: straight lines on the page between what was drawn, level outside of it.
 * @param {number[]} distances @param {Drawn} drawn
 */
export function whole(distances, drawn) {
  const there = distances.flatMap((_, i) => (drawn[i] === null ? [] : [i]));
  return distances.map((distance, i) => {
    const after = there.find((each) => each >= i) ?? there.at(-1);
    const before = there.findLast((each) => each <= i) ?? after;
    if (before === after) return drawn[after] / 100;
    return logarithmic([distances[before], distances[after]], [drawn[before] / 100, drawn[after] / 100])(distance);
  });
}

/** How far off the reader is on average, and where most. @param {Pick<Data, "distances" | "curves">} data */
function missed(data, drawn) {
  const [yours, measured] = [whole(data.distances, drawn), curve(data, 0)];
  const off = yours.map((value, i) => Math.abs(value - measured[i]));
  const far = off.indexOf(Math.max(...off));
  const mean = off.reduce((sum, value) => sum + value, 0) / off.length;
  return { mean, far, yours: yours[far], measured: measured[far] };
}

/**
 * What is said of a drawing; view.py says the same.
 * @param {Pick<Data, "distances" | "names" | "curves">} data @param {Drawn} drawn @param {boolean} revealed
 * @returns {string[]} every second part matters
 */
export function sentence(data, drawn, revealed) {
  const facts = { asked: data.names[0], all: drawn.length, drawn: drawn.filter((value) => value !== null).length };
  if (!facts.drawn) return says.parts("empty", facts);
  if (!revealed) return says.parts("drawn", facts);
  const { mean, far, yours, measured } = missed(data, drawn);
  return says.parts("revealed", { ...facts, off: mean, at: data.distances[far], yours, measured });
}

/** The drawing after the pointer went from one column to another. @param {Drawn} drawn @returns {Drawn} */
export function traced(drawn, [from, low], [to, high]) {
  return drawn.map((value, i) => {
    if (i < Math.min(from, to) || i > Math.max(from, to)) return value;
    return Math.round(from === to ? high : low + ((high - low) * (i - from)) / (to - from));
  });
}

function render({ model, el }) {
  /** @type {Data} */
  const data = unpacked(model.get("data"));
  const { distances, names, marks } = data;
  const last = distances.length - 1;
  /** @type {() => {drawn: Drawn, revealed: boolean}} */
  const reader = () => ({ drawn: distances.map(() => null), revealed: false, ...model.get("reader") });
  const { root, tell, dispose } = frame(el, data.question);
  const stage = html("div", { class: "al-sketch-stage" });
  let column = 0; // that the sliders are about
  let grows = false; // the measured curves are drawn for the first time
  let quiet = false;

  function put(change) {
    model.set("reader", { ...reader(), ...change });
    model.save_changes();
  }

  function slider(name, most, get, set) {
    const caption = html("span", { class: "al-caption" });
    const range = html("input", {
      type: "range",
      min: 0,
      max: most,
      step: 1,
      "aria-label": name,
      oninput() {
        set(Number(range.value));
      },
      onkeydown(event) {
        const to = event.ctrlKey || event.metaKey || event.altKey ? null : stepped(get()[0], most, event);
        if (to === null) return;
        event.preventDefault();
        event.stopPropagation(); // the notebook has its own arrows
        set(to);
      },
    });
    return {
      caption,
      range,
      show() {
        const [at, said] = get();
        range.value = String(at);
        range.style.setProperty("--done", `${(100 * at) / most}%`);
        range.setAttribute("aria-valuetext", said);
        caption.textContent = said;
      },
    };
  }
  const where = slider(
    "distance",
    last,
    () => [column, `${count(distances[column])} tokens back`],
    (to) => {
      column = to;
      draw();
    },
  );
  const share = slider(
    "share found",
    100,
    () => {
      const { drawn } = reader();
      const level = drawn.some((value) => value !== null) ? Math.round(100 * whole(distances, drawn)[column]) : 50;
      return [level, drawn[column] === null ? "share found: not drawn" : `share found: ${fixed(level / 100, 2)}`];
    },
    (to) => put({ drawn: reader().drawn.with(column, to) }),
  );
  const reveal = html(
    "button",
    {
      type: "button",
      class: "al-reveal",
      onclick() {
        if (!reader().drawn.some((value) => value !== null)) return;
        grows = true;
        put({ revealed: true });
        foot.elements[1].querySelector("button").focus(); // this one is gone
      },
    },
    "Reveal",
  );
  const asking = [
    html("div", { class: "al-player al-sketch-slider" }, where.caption, where.range),
    html("div", { class: "al-player al-sketch-slider" }, share.caption, share.range, reveal),
  ];
  const foot = footer({
    root,
    name: "sketch",
    provenance: data.provenance,
    rows() {
      const { drawn, revealed } = reader();
      const yours = drawn.some((value) => value !== null) ? whole(distances, drawn) : [];
      const shown = revealed ? names : [];
      return [
        ["distance, tokens", "you drew", ...shown],
        ...distances.map((distance, i) => [
          distance,
          yours.length ? fixed(yours[i], 3) : "",
          ...shown.map((_, each) => fixed(curve(data, each)[i], 3)),
        ]),
      ];
    },
  });

  const scales = () => {
    const width = stage.clientWidth || 600;
    const x = logarithmic([distances[0], distances[last]], [LEFT + 10, width - RIGHT - 10]);
    return { width, x, y: linear([0, 1], [HEIGHT - AXIS, TOP + 8]) };
  };

  function draw() {
    const { drawn, revealed } = reader();
    const { width, x, y } = scales();
    const bottom = HEIGHT - AXIS;
    const word = (at, high, text, fill = "ink-2", more = {}) =>
      svg(
        "text",
        {
          x: at,
          y: high,
          style: `fill:var(--${fill});font-size:13px;stroke:var(--paper);stroke-width:4px;paint-order:stroke`,
          "stroke-linejoin": "round",
          ...more,
        },
        text,
      );
    const line = (values, style, more = {}) =>
      svg("path", {
        d: values.map((value, i) => `${i ? "L" : "M"}${x(distances[i]).toFixed(1)} ${y(value).toFixed(1)}`).join(""),
        style: `fill:none;${style}`,
        ...more,
      });
    const right = width - RIGHT;
    const chart = svg(
      "svg",
      { width, height: HEIGHT, "aria-hidden": "true" },
          );
    if (!revealed) {
      const at = x(distances[column]);
      const room = { x: at - 7, y: TOP, width: 14, height: bottom - TOP, rx: 3 };
      chart.append(svg("rect", { ...room, style: "fill:var(--panel)" }));
    }
    for (const tick of [0, 0.5, 1]) {
      chart.append(
        svg("line", { x1: LEFT, x2: right, y1: y(tick), y2: y(tick), style: "stroke:var(--line)" }),
        word(LEFT - 6, y(tick) + 4, fixed(tick, 1), "ink-2", { "text-anchor": "end" }),
      );
    }
    for (const [at, name] of marks) {
      const style = "stroke:var(--ink-2);stroke-dasharray:3 3";
      chart.append(
        svg("line", { x1: x(at), x2: x(at), y1: TOP, y2: bottom, style }),
        word(x(at), TOP - 8, name, "ink-2", { "text-anchor": "middle" }),
      );
    }
    let told = -Infinity;
    for (const distance of distances) {
      if (x(distance) - told < APART) continue;
      told = x(distance);
      chart.append(word(told, bottom + 17, count(distance), "ink-2", { "text-anchor": "middle" }));
    }
    chart.append(
      word(LEFT, HEIGHT - 8, "share found"),
      word(right, HEIGHT - 8, "by distance in tokens", "ink-2", { "text-anchor": "end" }),
    );
    if (revealed) {
      names.forEach((name, i) => {
        const [values, colour] = [curve(data, i), COLOURS[i % COLOURS.length]];
        const style = `stroke:var(--${colour});stroke-width:3`;
        const high = y(values[last]) + (values[last] > 0.5 ? 22 : -10);
        const end = { "text-anchor": "end", "font-weight": 600 };
        chart.append(
          line(values, style, { pathLength: 1, class: grows && "al-sketch-grows" }),
          word(right - 10, high, name, colour, end),
        );
      });
    }
    if (drawn.every((value) => value === null)) {
      chart.append(word((LEFT + right) / 2, y(0.75), "draw here", "ink-2", { "text-anchor": "middle" }));
    } else {
      const yours = whole(distances, drawn);
      if (revealed) {
        const { far, yours: from, measured: to } = missed(data, drawn);
        const at = x(distances[far]);
        const gap = { x1: at, x2: at, y1: y(from), y2: y(to) };
        chart.append(svg("line", { ...gap, style: "stroke:var(--bad);stroke-width:1.5" }));
      }
      chart.append(
        line(yours, "stroke:var(--ink);stroke-width:2;stroke-dasharray:2 4;stroke-linecap:round"),
        ...drawn.flatMap((value, i) =>
          value === null
            ? []
            : [svg("circle", { cx: x(distances[i]), cy: y(value / 100), r: 4, style: "fill:var(--ink)" })]),
        word(x(distances[0]) + 8, y(yours[0]) + (yours[0] > 0.5 ? 24 : -10), "yours", "ink", { "font-weight": 600 }),
      );
    }
    stage.replaceChildren(chart);
    root.classList.toggle("al-sketch-asks", !revealed);
    for (const each of asking) each.hidden = revealed;
    where.show();
    share.show();
    reveal.setAttribute("aria-disabled", String(!drawn.some((value) => value !== null)));
    tell(sentence(data, drawn, revealed), { quiet });
    foot.refresh();
    grows = false;
  }

  /** @type {[column: number, level: number] | null} */
  let held = null;
  function trace(event) {
    const box = stage.getBoundingClientRect();
    const { x, y } = scales();
    const off = distances.map((distance) => Math.abs(x(distance) - (event.clientX - box.left)));
    column = off.indexOf(Math.min(...off));
    const level = Math.min(Math.max(100 * y.invert(event.clientY - box.top), 0), 100);
    const from = held ?? [column, level];
    held = [column, level];
    quiet = true; // a line of words for each pixel would flood who listens
    put({ drawn: traced(reader().drawn, from, held) });
    quiet = false;
  }
  stage.addEventListener("pointerdown", (event) => {
    if (reader().revealed) return;
    stage.setPointerCapture(event.pointerId);
    trace(event);
  });
  stage.addEventListener("pointermove", (event) => { if (held) trace(event); });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => { held = null; });

  root.append(html("div", { class: "al-body al-sketch" }, stage), ...asking, ...foot.elements);
  model.on("change:reader", draw);
  draw();
  const observer = new ResizeObserver(draw);
  observer.observe(stage);
  return () => { model.off("change:reader", draw); observer.disconnect(); dispose(); };
}

export default { render };
