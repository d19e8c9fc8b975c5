import { html, svg } from "../kit/dom.js";
import { footer } from "../kit/export.js";
import { count, fixed, size } from "../kit/format.js";
import { frame } from "../kit/frame.js";
import { Messages } from "../kit/messages.js";
import { unpacked } from "../kit/numbers.js";
import { stepped } from "../kit/player.js";
import { linear } from "../kit/scale.js";
import ORDER_SAYS from "./messages.json" with { type: "json" };

const says = new Messages(ORDER_SAYS);
const QUESTION = says.text("question");
// Pixels: of a system, of the column of names, of means, of the axis.
const [ROW, NAMES, MEANS, AXIS] = [34, 142, 44, 40];
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/**
 * Perplexities of the seeds of one system in one cell.
 * @typedef {{systems: {name: string, bytes: number}[], perplexity: Float64Array, seeds: number, holds: number[],
 *   facts: number[], pair: [one: string, other: string], at: [row: number, column: number], provenance: string}} Data
 * @param {Pick<Data, "perplexity" | "seeds" | "holds" | "facts">} data @param {number} system
 * @param {[row: number, column: number]} place
 */
export function cell({ perplexity, seeds, holds, facts }, system, [row, column]) {
  const start = ((system * holds.length + row) * facts.length + column) * seeds;
  return Array.from(perplexity.slice(start, start + seeds));
}

/**
 * What a cell says of the two systems; view.py says the same.
 * @param {Omit<Data, "at" | "provenance">} data @param {[row: number, column: number]} place
 * @returns {string[]} every second part matters
 */
export function sentence(data, [row, column]) {
  const [one, other] = data.pair.map((name) =>
    cell(
      data,
      data.systems.findIndex((each) => each.name === name),
      [row, column],
    ),
  );
  const [text, held] = [data.holds.at(-1), data.holds[row]];
  const gap = 100 * (mean(one) / mean(other) - 1);
  const below = one.filter((value, seed) => value < other[seed]).length;
  const facts = { one: data.pair[0], other: data.pair[1], gap, off: Math.abs(gap), seeds: data.seeds };
  const all = { text, held, all: held === text, facts: data.facts[column] };
  return says.parts("cell", { ...facts, ...all, agreed: gap < 0 ? below : data.seeds - below });
}

/** Round numbers from low to high, so many at most. @returns {number[]} */
export function ticks(low, high, most) {
  const step = [0.05, 0.1, 0.2, 0.5, 1, 2, 5].find((each) => (high - low) / each <= most) ?? 10;
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

function render({ model, el }) {
  /** @type {Data} */
  const data = unpacked(model.get("data"));
  const [row, column] = data.at;
  /** @type {[row: number, column: number]} */
  const at = [row, column];
  const { root, tell, dispose } = frame(el, QUESTION);
  const stage = html("div", { class: "al-order-stage" });
  const best = () =>
    data.systems
      .map((each, i) => ({ ...each, seeds: cell(data, i, at), mean: mean(cell(data, i, at)) }))
      .sort((a, b) => a.mean - b.mean);

  function slider(axis, name, values, say) {
    const caption = html("span", { class: "al-caption" });
    const range = html("input", {
      type: "range",
      min: 0,
      max: values.length - 1,
      step: 1,
      "aria-label": name,
      oninput() {
        move(Number(range.value));
      },
      onkeydown: key,
    });
    function move(to) {
      at[axis] = to;
      show();
      draw();
    }
    function key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const to = stepped(at[axis], values.length - 1, event);
      if (to === null) return;
      event.preventDefault();
      event.stopPropagation(); // the notebook has its own arrows
      move(to);
    }
    function show() {
      range.value = String(at[axis]);
      range.style.setProperty("--done", `${(100 * at[axis]) / Math.max(values.length - 1, 1)}%`);
      caption.textContent = say(values[at[axis]]);
      range.setAttribute("aria-valuetext", caption.textContent);
    }
    show();
    return html("div", { class: "al-player al-order-slider" }, caption, range);
  }
  const foot = footer({
    root,
    name: "order",
    provenance: data.provenance,
    rows: () => [
      ["system", "bytes carried", "perplexity, mean", ...Array.from({ length: data.seeds }, (_, i) => `seed ${i}`)],
      ...best().map((each) => [
        each.name,
        each.bytes,
        fixed(each.mean, 3),
        ...each.seeds.map((value) => fixed(value, 3)),
      ]),
    ],
  });

  function draw() {
    const width = stage.clientWidth || 600;
    const order = best();
    const every = order.flatMap((each) => each.seeds);
    const [low, high] = [Math.min(...every), Math.max(...every)];
    const edge = 0.06 * (high - low);
    const [left, right, bottom] = [NAMES, width - MEANS, order.length * ROW];
    const x = linear([low - edge, high + edge], [left, right]);
    const text = (words, more) => svg("text", { style: "fill:var(--ink-2)", ...more }, words);
    const mine = (name) => (name === data.pair[0] ? "var(--m)" : name === data.pair[1] ? "var(--mark)" : "var(--ink)");
    const chart = svg("svg", { width, height: bottom + AXIS, "aria-hidden": "true" });
    for (const tick of ticks(low - edge, high + edge, (right - left) / 44)) {
      chart.append(svg("line", { x1: x(tick), x2: x(tick), y1: 0, y2: bottom, style: "stroke:var(--line)" }),
        text(fixed(tick, high - low < 0.4 ? 2 : 1), { x: x(tick), y: bottom + 14, "text-anchor": "middle" }));
    }
    chart.append(
      text("perplexity, each seed a dot: lower is better", { x: width - 2, y: bottom + 32, "text-anchor": "end" }),
    );
    order.forEach((each, i) => {
      const y = i * ROW + ROW / 2;
      const colour = mine(each.name);
      chart.append(
        svg(
          "text",
          { x: 0, y: y - 2, style: `fill:${colour}`, "font-weight": data.pair.includes(each.name) ? 600 : 400 },
          each.name,
        ),
        text(size(each.bytes), { x: 0, y: y + 11 }),
        svg("line", { x1: left, x2: right, y1: y, y2: y, style: "stroke:var(--line)", "stroke-dasharray": "1 3" }),
        svg("line", {
          x1: x(each.mean),
          x2: x(each.mean),
          y1: y - 9,
          y2: y + 9,
          style: `stroke:${colour};stroke-width:2.5`,
        }),
        ...each.seeds.map((value) =>
          svg("circle", { cx: x(value), cy: y, r: 4, style: `fill:${colour};fill-opacity:.55` }),
        ),
        svg("text", { x: width - 2, y: y + 4, "text-anchor": "end", style: `fill:${colour}` }, fixed(each.mean, 2)),
      );
    });
    stage.replaceChildren(chart);
    tell(sentence(data, at));
    foot.refresh();
    model.set("reader", { holds: data.holds[at[0]], facts: data.facts[at[1]] });
    model.save_changes();
  }

  const text = data.holds.at(-1);
  root.append(html("div", { class: "al-body al-order" }, stage),
    slider(1, "facts of a document", data.facts, (value) => `${count(value)} facts`),
    slider(
      0,
      "tokens that a fact holds",
      data.holds,
      (value) => `a fact holds for ${value === text ? `all ${count(text)}` : count(value)} tokens`,
    ),
    ...foot.elements,
  );
  const observer = new ResizeObserver(draw);
  observer.observe(stage);
  return () => { observer.disconnect(); dispose(); };
}

export default { render };
