/**
 * A weight as a byte, and a byte as a colour. 255 is a weight of 1, each step a factor of 2^(bits / 255), and 0 stands
 * for 2^-bits or less. The read-out never uses the byte: what is said is computed again from q and k.
 */

const VIRIDIS = ["440154", "481567", "482677", "453781", "3f4788", "39558c", "32648e", "2d718e", "287d8e", "238a8d",
  "1f968b", "20a386", "29af7f", "3dbc74", "56c667", "75d054", "95d840", "bade28", "dde318", "fde725"];
const LESS_MORE = { light: ["8c510a", "d8b365", "f1e6cf", "f7f7f7", "d5e4f0", "6aa6cd", "08519c"],
  dark: ["f6c98a", "c98a3c", "6b4a22", "262a30", "24486a", "4b8fc4", "a9d4f5"] };

/** log2 of a weight -> byte. @param {number} log2 @param {number} bits */
export function codeOfLog2(log2, bits) {
  const code = Math.floor(255 * (1 + log2 / bits) + 0.5);
  return code < 0 ? 0 : code > 255 ? 255 : code;
}

/** @param {number} weight @param {number} bits */
export function codeOf(weight, bits) {
  return weight <= 0 ? 0 : codeOfLog2(Math.log2(weight), bits);
}

/** Byte -> weight; 0 for what lies at the end of the scale or below. @param {number} code @param {number} bits */
export function weightOf(code, bits) {
  return code === 0 ? 0 : 2 ** (bits * (code / 255 - 1));
}

/** Place on the colour bar, 0 to 1. @param {number} code @param {{log: boolean, bits: number, top: number}} scale */
export function placeOf(code, { log, bits, top }) {
  return log ? code / 255 : Math.min(1, weightOf(code, bits) / top);
}

/**
 * The smallest power of two that all but a 100th of the squares stay under: the linear scale ends there, and says so.
 */
export function linearTop(codes, bits) {
  const histogram = new Uint32Array(256);
  let squares = 0;
  for (const code of codes) if (code > 0) { histogram[code] += 1; squares += 1; }
  let above = 0, code = 255;
  while (code > 1 && above + histogram[code] <= squares / 100) { above += histogram[code]; code -= 1; }
  return Math.min(1, 2 ** Math.ceil(Math.log2(weightOf(code, bits))));
}

/** A colour of a ramp. @param {string[]} stops @param {number} at 0 to 1 @returns {number[]} red, green and blue */
function between(stops, at) {
  const x = Math.min(1, Math.max(0, at)) * (stops.length - 1);
  const low = Math.min(stops.length - 2, Math.floor(x));
  const channel = (stop, c) => parseInt(stops[stop].slice(2 * c, 2 * c + 2), 16);
  return [0, 1, 2].map((c) => Math.round(channel(low, c) + (channel(low + 1, c) - channel(low, c)) * (x - low)));
}

/** @param {number} at 0 to 1 */
export function massColour(at) {
  return between(VIRIDIS, at);
}

/** @param {number} at -1 (the second map has more) to 1 (the first has more) @param {"light" | "dark"} theme */
export function differenceColour(at, theme) {
  return between(LESS_MORE[theme], (at + 1) / 2);
}

/** 0xAABBGGRR, as ImageData lays it out on every machine that browsers run on. @param {number[]} colour */
function packedColour([red, green, blue]) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/** The colour of each byte. @param {{log: boolean, bits: number, top: number}} scale */
export function massTable(scale) {
  return Uint32Array.from({ length: 256 }, (_, code) => packedColour(massColour(placeOf(code, scale))));
}

/** Steps of the difference that have a colour: -255 to 255. @param {"light" | "dark"} theme */
export function differenceTable(theme) {
  return Uint32Array.from({ length: 511 }, (_, step) => packedColour(differenceColour((step - 255) / 255, theme)));
}

/** Octaves at which the logarithmic difference ends. */
export const OCTAVES = 8;

const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** A whole number in raised figures. @param {number} n 0 or more */
export function raised(n) {
  return [...String(n)].map((digit) => RAISED[digit]).join("");
}

/** A power of two as it is written: "1", "1/8", "2⁻²⁰". @param {number} exponent 0 or less */
export function powerOfTwo(exponent) {
  if (exponent >= -4) return exponent === 0 ? "1" : `1/${2 ** -exponent}`;
  return `2⁻${raised(-exponent)}`;
}

/**
 * Ticks of the colour bar, places from 0 to 1. The low end is open, and so is a linear scale cut below 1.
 * @typedef {{log: boolean, bits: number, top: number}} Scale
 * @param {Scale} scale @returns {[place: number, label: string][]}
 */
export function ticksOf({ log, bits, top }) {
  if (!log) {
    const exponent = Math.round(Math.log2(top));
    return [[0, "0"], [0.5, powerOfTwo(exponent - 1)], [1, `${top < 1 ? "≥ " : ""}${powerOfTwo(exponent)}`]];
  }
  /** @type {[place: number, label: string][]} */
  const ticks = [[1, "1"]];
  const step = Math.ceil(bits / 5);
  for (let exponent = -step; exponent > step / 2 - bits; exponent -= step)
    ticks.unshift([1 + exponent / bits, powerOfTwo(exponent)]);
  ticks.unshift([0, `≤ ${powerOfTwo(-bits)}`]);
  return ticks;
}

/**
 * Ticks of the difference: what the ends and the middle mean.
 * @param {Pick<Scale, "log" | "top">} scale @returns {[place: number, label: string][]}
 */
export function differenceTicks({ log, top }) {
  const end = log ? `${2 ** OCTAVES} ×` : powerOfTwo(Math.round(Math.log2(top)));
  return [[0, `B more: ≥ ${end}`], [0.5, "alike"], [1, `A more: ≥ ${end}`]];
}
