import { html, svg } from "../kit/dom.js";
import { segment } from "../kit/frame.js";
import { painted, signedColour } from "./colour.js";
import { lengthWords } from "./tape.js";

const BARS = 44; // width of z's bars
const GAP = 8;
const MAP_TOP = 16;

/** What a row of M holds of a value on average: M / z, row for row. */
export function perRow(memory, z) {
  const width = memory.length / z.length;
  return Float64Array.from(memory, (value, i) => (z[Math.floor(i / width)] > 0 ? value / z[Math.floor(i / width)] : 0));
}

/**
 * M as a map and z beside it, row for row; the colours end at the largest entry, which the bar says.
 * @param {() => void} redraw
 */
export function memoryView(redraw) {
  let divided = false;
  const title = html("div", { class: "al-tape-head", "data-words": true });
  const scales = segment("what the map shows", ["M", "M / z"], "M", (chosen) => {
    divided = chosen !== "M";
    redraw();
  });
  const axes = svg("svg", { "aria-hidden": "true", style: "fill:var(--ink-2)" });
  const canvas = html("canvas", { "aria-hidden": "true" });
  const bar = svg("svg", { height: 30, "aria-hidden": "true", style: "fill:var(--ink-2)" });
  const note = html("div", { class: "al-caption", "data-words": true });
  const element = html(
    "div",
    { class: "al-tape-memory" },
    html("div", { class: "al-tape-titled" }, title, scales),
    html("div", { class: "al-tape-map" }, axes, canvas),
    bar,
    note,
  );
  let side = 0;
  return {
    element, axes,
    draw(recording, seen, { rule, whose, theme, room }) {
      const { z, empty } = seen;
      scales.hidden = rule === "unit";
      const by = divided && rule !== "unit";
      const memory = by ? perRow(seen.memory, z) : seen.memory;
      const [rows, columns] = [recording.d_key, recording.d_value];
      const most = memory.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
      const width = Math.min(room, 340);
      side = width - BARS - GAP;
      const height = Math.max(60, Math.min(side * 1.2, Math.round((side * rows) / columns)));
      axes.setAttribute("width", String(width));
      axes.setAttribute("height", String(height + MAP_TOP));
      Object.assign(canvas.style, {
        left: `${BARS + GAP}px`,
        top: `${MAP_TOP}px`,
        width: `${side}px`,
        height: `${height}px`,
      });
      canvas.hidden = empty;
      bar.style.display = empty ? "none" : "";
      if (!empty) {
        if (canvas.width !== columns || canvas.height !== rows) [canvas.width, canvas.height] = [columns, rows];
        canvas.getContext("2d").putImageData(painted(memory, columns, most, theme), 0, 0);
      }
      const tall = height / rows;
      const widest = z.reduce((largest, value) => Math.max(largest, value), 0);
      axes.replaceChildren(
        svg("text", { x: BARS, y: 11, "text-anchor": "end", style: "fill:var(--m)", "font-weight": 600 }, "z"),
        svg("text", { x: BARS + GAP, y: 11 }, `${rows} key channels ↓, ${columns} value channels →`),
        svg("rect", { x: BARS + GAP, y: MAP_TOP, width: side, height, style: "fill:var(--panel);stroke:var(--line)" }),
        ...(empty
          ? [
              svg(
                "text",
                { x: BARS + GAP + side / 2, y: MAP_TOP + height / 2 + 4, "text-anchor": "middle", "font-size": 13 },
                "empty",
              ),
            ]
          : []),
        ...(widest > 0
          ? [
              svg("path", {
                style: "fill:var(--m)",
                d: Array.from(z, (value, i) => {
                  const length = Math.max(0, (value / widest) * (BARS - 2));
                  const corner = `${(BARS - length).toFixed(1)} ${(MAP_TOP + i * tall + 0.15 * tall).toFixed(2)}`;
                  return `M${corner}h${length.toFixed(1)}v${(0.7 * tall).toFixed(2)}h${(-length).toFixed(1)}z`;
                }).join(""),
              }),
            ]
          : []),
      );
      const stops = 41;
      bar.setAttribute("width", String(width));
      const step = side / stops;
      bar.replaceChildren(
        ...Array.from({ length: stops }, (_, i) =>
          svg("rect", {
            x: BARS + GAP + i * step,
            y: 4,
            width: step + 0.6,
            height: 10,
            style: `fill:rgb(${signedColour((2 * i) / (stops - 1) - 1, theme).join(",")})`,
          }),
        ),
        ...[
          [0, `−${lengthWords(most)}`, "start"],
          [0.5, "0", "middle"],
          [1, lengthWords(most), "end"],
        ].map(([at, words, anchor]) => svg("text", { x: BARS + GAP + at * side, y: 27, "text-anchor": anchor }, words)),
      );
      title.textContent = whose;
      note.textContent = "";
      if (empty) return;
      const unit =
        rule === "linear"
          ? "sum of σ(k) v"
          : rule === "unit"
            ? "sum of φ(k) and what was new of v"
            : "sum of σ(k) and what was new of v";
      const told = by ? "M / z: the mean value that each channel of the key holds" : `M: ${unit}`;
      const ofZ = widest > 0 ? ` z: sum of σ(k), longest bar ${lengthWords(widest)}.` : " This rule has no z.";
      note.textContent = `${told}; the colours end at the largest entry now.${ofZ}`;
    },
    /** The pixels where the export looks for pictures. */
    still() {
      if (canvas.hidden) return null;
      return svg("image", {
        x: BARS + GAP,
        y: MAP_TOP,
        width: side,
        height: parseFloat(canvas.style.height),
        href: canvas.toDataURL(),
        preserveAspectRatio: "none",
        style: "image-rendering:pixelated",
      });
    },
  };
}
