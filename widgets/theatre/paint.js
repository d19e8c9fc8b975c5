import { svg } from "../kit/dom.js";

/**
 * A picture is a list of shapes, made by a pure function of trace and event; here it meets a canvas, or becomes SVG for
 * an export. Colours are names of tokens.
 * A shape is a box (w, h), a word (text) or a line (points).
 * @typedef {{x?: number, y?: number, w?: number, h?: number, r?: number, text?: string, bold?: boolean, size?: number,
 *   anchor?: "start" | "middle" | "end", points?: [number, number][], fill?: string, alpha?: number, stroke?: string,
 *   width?: number, dash?: number[], hatch?: string}} Shape
 */

const HATCH = 5; // pixels between the lines
const SMALLEST = 12; // pixels, of a word that says no size
export const LETTER = 6.7; // wide, of the smallest, on the safe side

/** @returns {Shape} */
export const box = (x, y, w, h, fill, alpha = 1, more = {}) => ({ x, y, w, h, fill, alpha, ...more });
/** @returns {Shape} */
export const word = (text, x, y, fill = "ink-2", more = {}) => ({ text, x, y, fill, ...more });
/** @returns {Shape} */
export const line = (x1, y1, x2, y2, stroke, more = {}) => ({ points: [[x1, y1], [x2, y2]], stroke, ...more });

/** A text cut to what fits. @param {string} text @param {number} wide */
export function fitting(text, wide, letter = LETTER) {
  const most = Math.floor(wide / letter);
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** @param {Shape} box */
function hatching({ x, y, w, h }) {
  const lines = [];
  for (let d = HATCH; d < w + h; d += HATCH)
    lines.push([x + Math.min(d, w), y + Math.max(0, d - w), x + Math.max(0, d - h), y + Math.min(d, h)]);
  return lines;
}

/** @param {CanvasRenderingContext2D} ctx @param {Shape[]} shapes @param {Record<string, string>} colours */
export function paint(ctx, shapes, colours) {
  for (const shape of shapes) {
    ctx.globalAlpha = shape.alpha ?? 1;
    if (shape.text !== undefined) {
      ctx.font = `${shape.bold ? "600 " : ""}${shape.size ?? SMALLEST}px ${colours.font}`;
      ctx.textAlign = shape.anchor === "middle" ? "center" : shape.anchor ?? "start";
      ctx.fillStyle = colours[shape.fill];
      ctx.fillText(shape.text, shape.x, shape.y);
      continue;
    }
    const { x, y, w, h, r, points, fill, stroke, dash, hatch } = shape;
    if (points || r) {
      ctx.beginPath();
      if (points) points.forEach(([px, py]) => ctx.lineTo(px, py));
      else ctx.roundRect(x, y, w, h, r);
      if (fill) { ctx.fillStyle = colours[fill]; ctx.fill(); }
    } else if (fill) {
      ctx.fillStyle = colours[fill];
      ctx.fillRect(x, y, w, h);
    }
    if (hatch) {
      ctx.strokeStyle = colours[hatch];
      ctx.lineWidth = 1;
      ctx.beginPath();
      for (const [x1, y1, x2, y2] of hatching(shape)) { ctx.moveTo(x1, y1); ctx.lineTo(x2, y2); }
      ctx.stroke();
    }
    if (!stroke) continue;
    ctx.strokeStyle = colours[stroke];
    ctx.lineWidth = shape.width ?? 1;
    ctx.setLineDash(dash ?? []);
    if (points || r) ctx.stroke();
    else ctx.strokeRect(x, y, w, h);
    ctx.setLineDash([]);
  }
  ctx.globalAlpha = 1;
}

const ink = (name) => (name ? `var(--${name})` : "none");

/** The same picture in vectors. @param {Shape[]} shapes */
export function drawing(shapes, width, height) {
  return svg(
    "svg",
    { width, height, class: "al-theatre-still" },
    ...shapes.flatMap((shape) => {
      const { x, y, w, h, r, points, fill, stroke, dash, hatch, alpha } = shape;
      if (shape.text !== undefined) {
        return [
          svg(
            "text",
            {
              x,
              y,
              style: `fill:${ink(fill)}`,
              "text-anchor": shape.anchor ?? "start",
              "font-weight": shape.bold ? 600 : null,
              "font-size": shape.size ?? SMALLEST,
            },
            shape.text,
          ),
        ];
      }
      const look = {
        style: `fill:${ink(fill)};stroke:${ink(stroke)}`,
        "stroke-width": shape.width ?? 1,
        "stroke-dasharray": dash?.join(" "),
        opacity: alpha,
      };
      const outline = points
        ? svg("polyline", { points: points.map((p) => p.join()).join(" "), ...look })
        : svg("rect", { x, y, width: w, height: h, rx: r, ...look });
      if (!hatch) return [outline];
      const lines = hatching(shape)
        .map(([x1, y1, x2, y2]) => `M${x1} ${y1}L${x2} ${y2}`)
        .join("");
      return [outline, svg("path", { d: lines, style: `stroke:${ink(hatch)}`, opacity: alpha, fill: "none" })];
    }),
  );
}
