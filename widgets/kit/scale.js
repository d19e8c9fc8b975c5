/** From numbers to pixels, and the ticks that say which. */

/** @param {[number, number]} domain @param {[number, number]} range */
export function linear([low, high], [start, end]) {
  const slope = (end - start) / (high - low || 1);
  const scale = (x) => start + (x - low) * slope;
  scale.invert = (pixel) => low + (pixel - start) / slope;
  return scale;
}

/** @param {[number, number]} domain both above 0 @param {[number, number]} range */
export function logarithmic([low, high], range) {
  const inner = linear([Math.log2(low), Math.log2(high)], range);
  const scale = (x) => inner(Math.log2(x));
  scale.invert = (pixel) => 2 ** inner.invert(pixel);
  return scale;
}

/** Bytes to mark on a logarithmic axis: powers of two, few enough to read. @returns {number[]} */
export function logByteTicks(low, high, most = 7) {
  const [first, last] = [Math.ceil(Math.log2(low) - 1e-9), Math.floor(Math.log2(high) + 1e-9)];
  const step = [1, 2, 5, 10, 20].find((s) => Math.floor(last / s) - Math.ceil(first / s) < most) ?? 30;
  const ticks = [];
  for (let exponent = Math.ceil(first / step) * step; exponent <= last; exponent += step) ticks.push(2 ** exponent);
  return ticks;
}

/** Bytes to mark from 0 on a linear axis: multiples of a power of two. @returns {number[]} */
export function linearByteTicks(high, most = 6) {
  const step = 2 ** Math.max(0, Math.ceil(Math.log2(high / most)));
  return Array.from({ length: Math.floor(high / step) + 1 }, (_, i) => i * step);
}
