import { html } from "../kit/dom.js";
import { size } from "../kit/format.js";
import { drawing, paint } from "./paint.js";

const COUNTERS = {
  issued: "predicts ncu’s lts__t_sectors_srcunit_tex_op_read and _op_write, × 32 B",
  l2: "predicts dram__bytes_read.sum: a model",
  compulsory: "the least that a kernel’s dram__bytes_read.sum can be, from a cold cache",
};

/** A canvas that shows a list of shapes; the list is kept for an export. */
export function panel(words, attributes) {
  const canvas = html("canvas", {});
  const element = html("div", { class: "al-theatre-panel", role: "img", "aria-label": words, ...attributes }, canvas);
  let [shapes, width, height] = [[], 0, 0];
  return {
    element,
    width: () => element.clientWidth,
    /** @param {import("./paint.js").Shape[]} now @param {number} tall */
    draw(now, tall, colours) {
      [shapes, height] = [now, Math.ceil(tall)];
      width = element.clientWidth;
      const ratio = Math.max(1, globalThis.devicePixelRatio || 1);
      const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
      if (canvas.width !== w || canvas.height !== h) {
        [canvas.width, canvas.height] = [w, h];
        canvas.style.height = `${height}px`;
      }
      const ctx = canvas.getContext("2d");
      ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
      ctx.clearRect(0, 0, width, height);
      paint(ctx, shapes, colours);
    },
    still: () => drawing(shapes, width, height),
  };
}

function numberCell(title, counter) {
  const big = html("div", { class: "al-theatre-big", "data-words": true });
  const more = html("div", { class: "al-caption", "data-words": true });
  return {
    element: html("div", {}, title, big, more, html("div", { class: "al-caption", "data-words": true }, counter)),
    show(text, rest, words) { big.replaceChildren(text, html("small", {}, rest)); more.textContent = words; },
  };
}

export function chooser(label, options, chosen, choose) {
  const select = html("select", { "aria-label": label, onchange() { choose(Number(select.value)); } },
    ...options.map(([value, text]) => html("option", { value, selected: value === chosen }, text)));
  return select;
}

const title = (words, ...more) =>
  html("div", { class: "al-caption" }, html("span", { "data-words": true }, words), ...more);

/** The three numbers, never merged, each with the counter of the hardware that it predicts. */
export function threeNumbers(cacheChooser) {
  const issued = numberCell(title("issued, exact"), COUNTERS.issued);
  const modelled = numberCell(title("L2 model, ", cacheChooser), COUNTERS.l2);
  const compulsory = numberCell(title("compulsory, exact"), COUNTERS.compulsory);
  const summed = (every, e) => every.reduce((sum, one) => sum + one[e], 0);
  return {
    element: html("div", { class: "al-theatre-three" }, issued.element, modelled.element, compulsory.element),
    show(trace, beside, bytes, cache) {
      const also = (value) => (beside ? `${beside.name} ${size(value(beside))}. ` : "");
      const [read, written] = [summed(trace.reads, trace.events - 1), summed(trace.writes, trace.events - 1)];
      const whole = trace.sectors === trace.issued ? "" : `, ${size(trace.sectors)} in whole sectors`;
      issued.show(
        size(Math.min(bytes, trace.total)),
        ` of ${size(trace.issued)}`,
        `${also((one) => one.issued)}${size(read)} read, ${size(written)} written${whole}.`,
      );
      modelled.show(
        size(trace.l2[cache].bytes),
        " read from HBM",
        `${also((one) => one.l2[cache].bytes)}What the cache has not kept.`,
      );
      compulsory.show(
        size(trace.compulsory_read),
        " read, each byte once",
        `${also((one) => one.compulsory_read)}${size(trace.compulsory - trace.compulsory_read)} written once.`,
      );
    },
  };
}
