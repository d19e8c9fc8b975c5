import { svg } from "../kit/dom.js";
import { size } from "../kit/format.js";

const ROW = 22;
const NAME = 92;
const VALUE = 66;

/**
 * A tensor's colour; variables of one colour differ in shade.
 * @param {string} colour @param {number} shade 0 is the strongest
 */
export function tint(colour, shade) {
  return `fill:var(--${colour});fill-opacity:${[0.5, 0.24, 0.1][shade] ?? 0.1}`;
}

/** A name that fits in its column. @param {string} name */
export function shortened(name, most = 14) {
  return name.length > most ? `${name.slice(0, most - 1)}…` : name;
}

/**
 * Bytes by role, a bar each, on the scale of `most` so that bars can be compared while time moves.
 * @param {{name: string, colour: string, shade: number, bytes: number}[]} roles
 * @param {number} most
 * @param {number} width
 */
export function bars(roles, most, width) {
  const full = Math.max(width - NAME - VALUE, 20);
  return svg(
    "svg",
    { width, height: ROW * roles.length, "aria-hidden": "true" },
    ...roles.map(({ name, colour, shade, bytes }, i) => {
      const length = most ? (full * bytes) / most : 0;
      return svg(
        "g",
        { transform: `translate(0 ${i * ROW})` },
        svg("text", { x: 0, y: 15, style: "fill:var(--ink-2)" }, shortened(name), svg("title", {}, name)),
        svg("rect", {
          x: NAME,
          y: 4.5,
          width: Math.max(length, bytes ? 1 : 0),
          height: 13,
          rx: 2,
          style: tint(colour, shade),
          stroke: `var(--${colour})`,
        }),
        svg("text", { x: NAME + length + 6, y: 15, style: `fill:var(--${bytes ? "ink" : "ink-2"})` }, size(bytes)),
      );
    }),
  );
}
