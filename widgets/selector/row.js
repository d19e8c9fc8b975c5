/**
 * What is computed for one query from q, k and the indexer's q, k, w: the same as row.py; tests/js/selector.json holds
 * both to it, and the choices of the other selectors to those of solutions/sparse.py.
 */

/** What a picture calls a precision -> the kind of number. */
export const PRECISIONS = { fp32: null, fp8: "e4m3", fp4: "e2m1" };
const KIND_OF = { e4m3: { largest: 448, exponent: -6, mantissa: 3 }, e2m1: { largest: 6, exponent: 0, mantissa: 1 } };
const LEAST_ENTRY = 1e-4;

/** Halves to the even number. */
function rint(x) {
  const low = Math.floor(x);
  const over = x - low;
  return over > 0.5 || (over === 0.5 && low % 2 !== 0) ? low + 1 : low;
}

/**
 * Vectors of `width` rounded to a kind of number times a power of two each, the power multiplied back. A power of two
 * leaves the bits of a float32 after its exponent as they are, so these are rounded where they stand.
 */
export function quantised(x, width, kind) {
  if (kind === null) return x;
  const { largest, exponent, mantissa } = KIND_OF[kind];
  const found = Float32Array.from(x);
  const bits = new Int32Array(found.buffer);
  const cut = 23 - mantissa; // of the 23 bits of a float32
  const half = (1 << (cut - 1)) - 1;
  for (let from = 0; from < x.length; from += width) {
    let most = LEAST_ENTRY;
    for (let i = from; i < from + width; i += 1) { const size = Math.abs(x[i]); if (size > most) most = size; }
    const scale = 2 ** Math.ceil(Math.log2(most / largest));
    const normal = scale * 2 ** exponent;
    const step = normal * 2 ** -mantissa; // below the smallest normal number steps stay equal
    for (let i = from; i < from + width; i += 1) {
      if (Math.abs(x[i]) < normal) found[i] = rint(x[i] / step) * step;
      else bits[i] = (bits[i] + half + ((bits[i] >> cut) & 1)) & (-1 << cut);
    }
  }
  return found;
}

/**
 * The index scores of one query over the first m keys.
 * @param q (index_heads, width) @param k (n, width) @param w (index_heads)
 */
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
  best(scores, Math.floor(k / block) - 1).forEach((taken, i) => {
    if (taken) chosen.fill(1, i * block, (i + 1) * block);
  });
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
  for (const each of scores)
    normalised(
      each,
      each.reduce((most, x) => Math.max(most, x), -Infinity),
    ).forEach((vote, i) => {
      total[i] += vote;
    });
  return total;
}
