/**
 * Numbers as a reader meets them: bytes in powers of two, tokens with a comma, three significant figures.
 * format.py holds the same functions; tests/js/vectors.json holds both to the same words.
 */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** x >= 0 with `digits` decimals, halves up. @param {number} x @param {number} digits */
export function rounded(x, digits) {
  return Math.floor(x * 10 ** digits + 0.5) / 10 ** digits;
}

/** x >= 0 with exactly `digits` decimals: fixed(2, 2) is "2.00". @param {number} x @param {number} digits */
export function fixed(x, digits) {
  const [whole, fraction] = rounded(x, digits).toFixed(digits).split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return fraction ? `${grouped}.${fraction}` : grouped;
}

/**
 * A number with its sign and so many decimals: "0.98", "−0.12"; what rounds to nothing has no sign.
 * @param {number} x @param {number} digits
 */
export function signed(x, digits = 2) {
  const text = fixed(Math.abs(x), digits);
  return x < 0 && /[1-9]/.test(text) ? `−${text}` : text;
}

/** x >= 0 to three significant figures, without the zeros that say nothing. @param {number} x */
export function significant(x) {
  let digits = 2;
  let scale = x;
  for (; scale > 0 && scale < 1; scale *= 10) digits += 1;
  for (; scale >= 10 && digits > 0; scale /= 10) digits -= 1;
  const text = fixed(x, digits);
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** A whole number with thousands set apart: "131,072". @param {number} n */
export function count(n) {
  return n < 0 ? `-${count(-n)}` : fixed(n, 0);
}

/** Bytes in the power-of-two unit that leaves one to four figures: "9.07 MiB". @param {number} nbytes */
export function size(nbytes) {
  let unit = 0;
  for (; unit < UNITS.length - 1 && rounded(nbytes, 0) >= 1024; unit += 1) nbytes /= 1024;
  return `${significant(nbytes)} ${UNITS[unit]}`;
}

/** A factor: "58.4 times". @param {number} ratio */
export function times(ratio) {
  return `${significant(ratio)} times`;
}

/** So many of a thing: "1 head", "1,204 heads". @param {number} number @param {string} one */
export function plural(number, one) {
  return `${count(number)} ${one}${number === 1 ? "" : "s"}`;
}

/** The text of a token, its spaces and line ends made visible. @param {string} text */
export function visible(text) {
  const marked = text.replaceAll("\n", "↵").replaceAll("\t", "⇥");
  return marked.replace(/^ +| +$/g, "") || marked.replaceAll(" ", "␣");
}

/** The text of a token, short enough for a sentence. @param {string} text */
export function shown(text, most = 18) {
  const letters = [...visible(text)];
  return letters.length <= most ? letters.join("") : `${letters.slice(0, most - 1).join("")}…`;
}
