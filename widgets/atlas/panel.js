import { html, svg } from "../kit/dom.js";
import { count, fixed } from "../kit/format.js";
import { looksInto } from "./mask.js";
import { differenceColour, differenceTicks, massColour, ticksOf } from "./scale.js";
import { maskParts, named, percent } from "./say.js";

const THUMB = 14; // pixels of the handle, which the curve above it leaves free on both sides

/** The one large number, and what it is about. */
export function numberView() {
  const number = html("span", { class: "al-atlas-number", "data-words": true });
  const caption = html("div", { class: "al-caption", "data-words": true });
  return {
    element: html("div", { role: "status" }, number, caption),
    show(mask, causal, block, kept, pairs) {
      const [, big, rest] = maskParts(mask, causal, block, kept, pairs);
      number.textContent = big;
      caption.textContent = rest.trim();
    },
  };
}

/** How kept mass grows with the window, above the handle that sets it. @param {(window: number) => void} choose */
export function windowView(windows, choose) {
  const chart = svg("svg", { "aria-hidden": "true", style: "fill:var(--ink-2)" });
  const slider = html("input", { type: "range", min: 0, max: windows.length - 1, step: 1, "aria-label": "window",
    oninput() { choose(windows[Number(slider.value)]); },
    onkeydown(event) { event.stopPropagation(); } });
  const element = html("div", { class: "al-atlas-window" }, chart, slider);
  const height = 92;
  return {
    element,
    draw(curve, mask, kept, pairs) {
      const at =
        mask.window === null ? null : windows.reduce((best, window, i) => (window <= mask.window ? i : best), 0);
      slider.value = String(at ?? windows.length - 1);
      slider.setAttribute("aria-valuetext", mask.window === null ? "no window" : `a window of ${count(mask.window)}`);
      const width = element.clientWidth || 300;
      chart.setAttribute("width", String(width));
      chart.setAttribute("height", String(height));
      const x = (i) => THUMB / 2 + (i * (width - THUMB)) / Math.max(1, windows.length - 1);
      const y = (share) => height - 18 - share * (height - 34);
      const line = (column) =>
        curve.map((point, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(point[column]).toFixed(1)}`).join("");
      const parts = [
        svg("path", {
          d: `M${x(0)} ${y(0)}H${x(windows.length - 1)}M${x(0)} ${y(1)}H${x(windows.length - 1)}`,
          style: "stroke:var(--line)",
        }),
        svg("path", { d: line(2), style: "stroke:var(--ink-2);stroke-dasharray:2 3;fill:none" }),
        svg("path", { d: line(1), style: "stroke:var(--mark);stroke-width:2;fill:none" }),
        ...(curve.length > 4 ? direct(curve, x, y, width) : []),
        svg("text", { x: width, y: y(1) - 5, "text-anchor": "end" }, "100 %"),
      ];
      let end = -Infinity;
      windows.forEach((window, i) => {
        if (Math.log2(window) % 1 && i !== windows.length - 1) return;
        const words = count(window);
        const middle = Math.min(Math.max(x(i), words.length * 3.3), width - words.length * 3.3);
        if (middle - words.length * 3.3 < end + 10) return;
        end = middle + words.length * 3.3;
        parts.push(svg("text", { x: middle, y: height - 4, "text-anchor": "middle" }, words));
      });
      if (at !== null) {
        // What blocks add stands above the curve, which is drawn without them.
        if (curve.length)
          parts.push(
            svg("path", { d: `M${x(at)} ${y(curve[at][1])}V${y(kept)}`, style: "stroke:var(--mark);stroke-width:2" }),
          );
        parts.push(
          svg("circle", { cx: x(at), cy: y(pairs), r: 3, style: "fill:var(--ink-2)" }),
          svg("circle", {
            cx: x(at),
            cy: y(kept),
            r: 4.5,
            style: "fill:var(--mark);stroke:var(--paper);stroke-width:1.5",
          }),
        );
      }
      chart.replaceChildren(...parts);
    },
  };

  /** Each line is named where the two are farthest apart, so that no legend is needed. */
  function direct(curve, x, y, width) {
    const gap = curve.map(([, mass, pairs]) => mass - pairs);
    const widest = gap.indexOf(Math.max(...gap));
    const at = Math.min(Math.max(x(widest), 60), width - 90);
    const i = curve.findIndex((_, j) => x(j) >= at);
    return [
      svg("text", { x: at, y: y(curve[i][1]) - 6, "text-anchor": "end", style: "fill:var(--mark)" }, "mass kept"),
      svg(
        "text",
        { x: at + 10, y: y(curve[i][2]) + (curve[i][2] < 0.25 ? -5 : 13), "text-anchor": "start" },
        "pairs read",
      ),
    ];
  }
}

/** A number between two buttons. @param {string} label @param {(by: number) => void} change */
export function stepper(label, change) {
  const value = html("output", {});
  const button = (by, sign, words) =>
    html(
      "button",
      {
        type: "button",
        "aria-label": words,
        onclick() {
          change(by);
        },
      },
      sign,
    );
  const less = button(-1, "−", `fewer ${label}`);
  const more = button(1, "+", `more ${label}`);
  const element = html(
    "div",
    { class: "al-atlas-stepper", role: "group", "aria-label": label },
    html("span", {}, label),
    less,
    value,
    more,
  );
  return {
    element,
    show(number, { most = Infinity } = {}) {
      value.textContent = count(number);
      less.disabled = number <= 0;
      more.disabled = number >= most;
      element.dataset.on = String(number > 0);
    },
  };
}

/** The colour bar: its ends, its unit, and what one pixel stands for. */
export function colourBar() {
  const bar = svg("svg", { height: 32, "aria-hidden": "true", style: "fill:var(--ink-2)" });
  const title = html("div", { class: "al-atlas-head", "data-words": true });
  const note = html("div", { class: "al-caption", "data-words": true });
  const element = html("div", { class: "al-atlas-bar" }, title, bar, note);
  return {
    element,
    draw({ difference, scale, theme, words }) {
      const width = element.clientWidth || 300;
      const stops = Array.from({ length: 33 }, (_, i) => i / 32);
      const colour = (at) => `rgb(${(difference ? differenceColour(2 * at - 1, theme) : massColour(at)).join(",")})`;
      bar.setAttribute("width", String(width));
      // Slices, not a gradient: a gradient is found by its id, and a page may hold two of this figure.
      const slices = stops.map((at, i) =>
        svg("rect", { x: (i * width) / 33, y: 0, width: width / 33 + 0.6, height: 12, style: `fill:${colour(at)}` }),
      );
      const ticks = difference ? differenceTicks(scale) : ticksOf(scale);
      bar.replaceChildren(...slices, ...ticks.map(([at, label]) => svg("text", { x: at * width, y: 26,
        "text-anchor": at === 0 ? "start" : at === 1 ? "end" : "middle" }, label)));
      const kind = scale.log ? "log scale" : "linear scale";
      title.textContent = difference
        ? `A against B, ${scale.log ? "ratio" : "difference"} of weights, ${kind}`
        : `weight, ${kind}`;
      note.textContent = words;
    },
  };
}

/** A small map of every head with what the mask keeps of it; a click shows that head. */
export function headsView(heads, choose) {
  const rows = new Map();
  for (const head of heads) rows.set(head.row, [...(rows.get(head.row) ?? []), head]);
  const thumbs = new Map();
  const layer = ([name, row]) =>
    html(
      "div",
      { class: "al-atlas-layer" },
      html("span", { class: "al-caption" }, name),
      html(
        "div",
        {},
        ...row.map((head) => {
          const canvas = html("canvas", { width: 48, height: 48, "aria-hidden": "true" });
          const share = html("span", {});
          const button = html(
            "button",
            {
              type: "button",
              onclick(event) {
                choose(head.index, event.shiftKey);
              },
            },
            canvas,
            share,
          );
          thumbs.set(head.index, { canvas, share, button });
          return button;
        }),
      ),
    );
  const runs = [...new Set(heads.map((head) => head.run))];
  const element = html("div", {}, ...runs.map((run) => html("div", { class: "al-atlas-heads" },
    ...[...rows].filter(([, [head]]) => head.run === run).map(layer))));
  let painted = "";
  return {
    element,
    show({ shown, second, mask, statistic, hidden, tables, scaleKey }) {
      const repaint = painted !== scaleKey;
      painted = scaleKey;
      for (const head of heads) {
        const { canvas, share, button } = thumbs.get(head.index);
        const kept = head.kept(mask);
        share.textContent = kept === null ? "" : fixed(100 * kept, 0);
        button.setAttribute("aria-pressed", String(head.index === shown));
        button.classList.toggle("al-atlas-second", head.index === second);
        button.setAttribute("aria-label", `${head.name}${kept === null ? "" : `, ${percent(kept)} kept`}`);
        if (repaint) paintThumb(head, canvas, statistic, hidden, tables.mass);
      }
    },
  };
  function paintThumb(head, canvas, statistic, hidden, table) {
    let level = head.stored;
    while (Math.ceil(head.tokens / 2 ** level) > 64) level += 1;
    const side = Math.ceil(head.tokens / 2 ** level);
    const codes = head.codes(statistic, level, hidden);
    [canvas.width, canvas.height] = [side, side];
    const context = canvas.getContext("2d");
    const image = context.createImageData(side, side);
    const out = new Uint32Array(image.data.buffer);
    for (let row = 0; row < side; row += 1) {
      for (let column = 0; column < side; column += 1) {
        if (looksInto(head.allowed, row, column, 2 ** level))
          out[row * side + column] = table[codes[row * side + column]];
      }
    }
    context.putImageData(image, 0, 0);
  }
}

/** The tokens around the cursor, each over a bar of what the query reads of it. */
export function stripView(choose) {
  const element = html("div", { class: "al-atlas-strip", role: "group", "aria-label": "tokens" });
  return {
    element,
    /**
     * @param {{cursor: {query: number, key: number}, tokens: number, causal: boolean, sink: number,
     *   heightOf: (key: number) => number, write: (key: number) => string}} seen heights from 0 to 1
     */
    show({ cursor, tokens, causal, sink, heightOf, write }) {
      const wanted = new Set();
      const add = (from, to) => {
        for (let at = Math.max(0, from); at < Math.min(to, tokens); at += 1) wanted.add(at);
      };
      add(0, sink);
      add(cursor.key - 5, cursor.key + 6);
      if (causal) add(cursor.query - 9, cursor.query + 1); else add(cursor.query - 5, cursor.query + 6);
      const parts = [];
      let before = -1;
      for (const at of [...wanted].sort((a, b) => a - b)) {
        if (at !== before + 1) parts.push(html("i", {}, "…"));
        before = at;
        const role = at === cursor.query ? "al-atlas-query" : at === cursor.key ? "al-atlas-key" : false;
        const bar = html("b", {});
        bar.style.height = `${Math.round(22 * heightOf(at))}px`;
        parts.push(html("span", { class: role, onclick() { choose(at); } }, bar, html("bdi", {}, write(at))));
      }
      if (before < tokens - 1) parts.push(html("i", {}, "…"));
      element.replaceChildren(...parts);
    },
  };
}

/** Which tokens a mask makes global, in words. */
export function globalWords(mask, text) {
  return (
    mask.global_tokens
      .slice(0, 6)
      .map((at) => named(at, text).join(""))
      .join(", ") + (mask.global_tokens.length > 6 ? " …" : "")
  );
}

