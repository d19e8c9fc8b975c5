/**
 * Reading a recorded memory, and writing one pair more: the same as read.py; tests/js/tape.json holds both to it.
 * A memory is (d_key, d_value), row by row.
 */

/** Rule -> what it is called in a picture. */
export const RULES = { linear: "linear", delta: "delta", gamma: "corrected", unit: "no z" };

const dot = (a, b) => { let sum = 0; for (let i = 0; i < a.length; i += 1) sum += a[i] * b[i]; return sum; };

/** ELU + 1, or SiLU cut to length 1 where there is no z. @param {ArrayLike<number>} x */
export function feature(rule, x) {
  if (rule !== "unit") return Float64Array.from(x, (value) => (value > 0 ? value + 1 : Math.exp(value)));
  const silu = Float64Array.from(x, (value) => value / (1 + Math.exp(-value)));
  const length = Math.max(Math.sqrt(dot(silu, silu)), 1e-12);
  return silu.map((value) => value / length);
}

/** What the memory returns for a key; zeros where nothing is stored. @returns {Float64Array} */
export function read(rule, key, { memory, z }) {
  const weight = feature(rule, key);
  const width = memory.length / weight.length;
  const found = new Float64Array(width);
  for (let i = 0; i < weight.length; i += 1)
    for (let j = 0; j < width; j += 1) found[j] += weight[i] * memory[i * width + j];
  if (rule === "unit") return found;
  const total = dot(weight, z);
  return total > 0 ? found.map((value) => value / total) : found;
}

/** The memory and z after one pair more, a segment of its own. */
export function write(rule, key, value, { memory, z }) {
  const weight = feature(rule, key);
  const held = rule === "linear" ? null : read(rule, key, { memory, z });
  const added = Float64Array.from(memory);
  for (let i = 0; i < weight.length; i += 1) {
    for (let j = 0; j < value.length; j += 1)
      added[i * value.length + j] += weight[i] * (value[j] - (held ? held[j] : 0));
  }
  if (rule === "unit") return { memory: added, z };
  const gamma = rule === "gamma" ? Math.min(1, Math.max(0, 1 - dot(weight, z) / dot(weight, weight))) : 1;
  return { memory: added, z: Float64Array.from(z, (total, i) => total + gamma * weight[i]) };
}

/** The cosine of two vectors; null where one of them is nothing. */
export function cosine(a, b) {
  const length = Math.sqrt(dot(a, a)) * Math.sqrt(dot(b, b));
  return length > 0 ? dot(a, b) / length : null;
}

/** How much of a value comes back: the part of `found` along it, 1 for all, 0 for nothing. */
export function returned(found, value) {
  const length = dot(value, value);
  return length > 0 ? dot(found, value) / length : 0;
}

/** How well a query fits keys, the weight of each in its read. @param {ArrayLike<number>[]} keys @returns {number[]} */
export function fit(rule, query, keys) {
  const weight = feature(rule, query);
  return keys.map((key) => dot(weight, feature(rule, key)));
}

/** Predicted: a / (a + N b), the weight of one pair in a read beside N others (linear rule); a: its fit, b: theirs. */
export function share(a, b, tokens) {
  return a + tokens * b > 0 ? a / (a + tokens * b) : 0;
}

/** The middle value, the mean of the two in the middle; null of none. @param {number[]} values */
export function median(values) {
  const ordered = Float64Array.from(values).sort();
  if (!ordered.length) return null;
  const middle = ordered.length >> 1;
  return ordered.length % 2 ? ordered[middle] : (ordered[middle - 1] + ordered[middle]) / 2;
}

export function length(vector) {
  return Math.sqrt(dot(vector, vector));
}
