/**
 * What is computed for one query from q, k and the indexer's q, k, w: the same as row.py; tests/js/selector.json holds
 * both to it, and the choices of the other selectors to those of solutions/sparse.py.
 */

/** What a picture calls a precision -> the kind of number. */
export const PRECISIONS = { fp32: null, fp8: "e4m3", fp4: "e2m1" };
const KIND_OF = { e4m3: { largest: 448, exponent: -6, mantissa: 3 }, e2m1: { largest: 6, exponent: 0, mantissa: 1 } };
const LEAST_ENTRY = 1e-4;

const ONE = new Float32Array(1);
const BITS = new Int32Array(ONE.buffer);

/** A number with so many bits after its leading one, halves to the even; steps below the smallest normal stay equal. */
function shortened(x, { exponent, mantissa }) {
  const step = 2 ** (exponent - mantissa);
  if (Math.abs(x) < 2 ** exponent) {
    const [low, over] = [Math.floor(x / step), x / step - Math.floor(x / step)];
    return (over > 0.5 || (over === 0.5 && low % 2 !== 0) ? low + 1 : low) * step;
  }
  ONE[0] = x;
  const cut = 23 - mantissa; // of the 23 bits of a float32
  BITS[0] += (1 << (cut - 1)) - 1 + ((BITS[0] >> cut) & 1);
  BITS[0] &= -1 << cut;
  return ONE[0];
}

/** Vectors of `width` rounded to a kind of number times a power of two each, the power multiplied back. */
export function quantised(x, width, kind) {
  if (kind === null) return x;
  const bits = KIND_OF[kind];
  const found = new Float32Array(x.length);
  for (let from = 0; from < x.length; from += width) {
    let most = LEAST_ENTRY;
    for (let i = from; i < from + width; i += 1) most = Math.max(most, Math.abs(x[i]));
    const scale = 2 ** Math.ceil(Math.log2(most / bits.largest));
    for (let i = from; i < from + width; i += 1) found[i] = shortened(x[i] / scale, bits) * scale;
  }
  return found;
}

/** The index scores of one query over the first m keys. @param q (index_heads, width) @param k (n, width) @param w (index_heads) */
export function indexRow(q, k, w, width, m) {
  const scores = new Float64Array(m);
  for (let head = 0; head < w.length; head += 1) {
    const [own, weight] = [head * width, w[head]];
    for (let key = 0, from = 0; key < m; key += 1, from += width) {
      let sum = 0;
      for (let i = 0; i < width; i += 1) sum += k[from + i] * q[own + i];
      if (sum > 0) scores[key] += weight * sum;
    }
  }
  return scores;
}

/** What one head pays to the first m keys. @param q (width) @param k (n, width) of its keys */
export function weightsRow(q, k, scale, width, m) {
  const weights = new Float64Array(m);
  let most = -Infinity;
  for (let key = 0, from = 0; key < m; key += 1, from += width) {
    let sum = 0;
    for (let i = 0; i < width; i += 1) sum += k[from + i] * q[i];
    weights[key] = scale * sum;
    if (weights[key] > most) most = weights[key];
  }
  return normalised(weights, most);
}

/** exp(x - most) over their sum, in place. */
function normalised(x, most) {
  let total = 0;
  for (let i = 0; i < x.length; i += 1) total += x[i] = Math.exp(x[i] - most);
  for (let i = 0; i < x.length; i += 1) x[i] /= total;
  return x;
}

/** The k-th largest of some numbers, which are moved about. */
export function nthLargest(x, k) {
  let [low, high] = [0, x.length - 1];
  const place = k - 1;
  while (low < high) {
    const pivot = x[(low + high) >> 1];
    let [i, j] = [low, high];
    while (i <= j) {
      while (x[i] > pivot) i += 1;
      while (x[j] < pivot) j -= 1;
      if (i <= j) { [x[i], x[j]] = [x[j], x[i]]; i += 1; j -= 1; }
    }
    if (place <= j) high = j;
    else if (place >= i) low = i;
    else break;
  }
  return x[place];
}

/** 1 for the k largest scores, of equal ones the first. @returns {Uint8Array} */
export function best(scores, k) {
  const chosen = new Uint8Array(scores.length);
  if (k >= scores.length) return chosen.fill(1);
  if (k <= 0) return chosen;
  const least = nthLargest(Float64Array.from(scores), k);
  let left = k;
  for (let i = 0; i < scores.length; i += 1) if (scores[i] > least) { chosen[i] = 1; left -= 1; }
  for (let i = 0; left > 0; i += 1) if (scores[i] === least) { chosen[i] = 1; left -= 1; }
  return chosen;
}

/** 1 for the k latest of m keys. @returns {Uint8Array} */
export function latest(m, k) {
  return new Uint8Array(m).fill(1, Math.max(0, m - k));
}

/** The own block of the last of m keys, and the best before it, k // block in all. @param scores one for each before */
export function bestBlocks(scores, m, k, block) {
  const own = scores.length * block;
  if (k < block) return latest(m, Math.min(k, m - own));
  const chosen = latest(m, m - own);
  best(scores, Math.floor(k / block) - 1).forEach((taken, i) => { if (taken) chosen.fill(1, i * block, (i + 1) * block); });
  return chosen;
}

/** A score for each block before the own one of the last of m keys. @param {(a: number, b: number) => number} join */
export function blockScores(scores, block, join) {
  const blocks = Math.floor((scores.length - 1) / block);
  return Float64Array.from({ length: blocks }, (_, i) => {
    let found = scores[i * block];
    for (let key = i * block + 1; key < (i + 1) * block; key += 1) found = join(found, scores[key]);
    return found;
  });
}

/** A whole number below 2^32 for a pair that looks random: as measure.py has it. */
export function hashed(query, key) {
  let x = (Math.imul(query, 0x9e3779b1) + Math.imul(key, 0x85ebca77)) >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d) >>> 0;
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b) >>> 0;
  return (x ^ (x >>> 16)) >>> 0;
}

/** The votes of all heads on some blocks, each head's adding up to 1. @param {Float64Array[]} scores of each head */
export function votes(scores) {
  const total = new Float64Array(scores[0]?.length ?? 0);
  for (const each of scores) normalised(each, each.reduce((most, x) => Math.max(most, x), -Infinity)).forEach((vote, i) => { total[i] += vote; });
  return total;
}
