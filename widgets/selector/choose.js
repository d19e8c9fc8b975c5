import {
  PRECISIONS,
  best,
  bestBlocks,
  blockScores,
  hashed,
  indexRow,
  latest,
  quantised,
  votes,
  weightsRow,
} from "./row.js";

const PAGE = 4; // keys of a page or block of Quest, MoBA and NSA, as in solutions/sparse.py
const SINKS = 2;
const KEPT_ROWS = 24;

/**
 * One layer as the page asks it: rows of scores and of weights, and the keys that each way of choosing takes.
 * @typedef {{name: string, heads: number, kv_heads: number, d: number, index_heads: number, index_dim: number,
 *   scale: number, q: Float32Array, k: Float32Array, index_q: Float32Array, index_k: Float32Array,
 *   index_w: Float32Array, curves: Record<string, Float32Array>}} Sent q (kept, heads, d), k (kv_heads, n, d)
 * @typedef {ReturnType<typeof openLayer>} Layer
 * @typedef {{low: Float64Array, high: Float64Array, mean: Float64Array}} Page
 * @param {Sent} sent arrays unpacked
 * @param {{tokens: number, at: Int32Array, block: number}} recording
 */
export function openLayer(sent, { tokens, at, block }) {
  const { heads, kv_heads: kvHeads, d, index_heads: indexHeads, index_dim: width, scale } = sent;
  const group = heads / kvHeads;
  const keysOf = Array.from({ length: kvHeads }, (_, i) => sent.k.subarray(i * tokens * d, (i + 1) * tokens * d));
  const queryOf = (row, head) => sent.q.subarray((row * heads + head) * d, (row * heads + head + 1) * d);
  const remembered = new Map();
  /** The last answers are kept, by name. */
  function once(name, compute, most = KEPT_ROWS) {
    if (!remembered.has(name)) {
      remembered.set(name, compute());
      if (remembered.size > most) remembered.delete(remembered.keys().next().value);
    }
    return remembered.get(name);
  }
  const lasting = new Map();
  const forGood = (name, compute) => {
    if (!lasting.has(name)) lasting.set(name, compute());
    return lasting.get(name);
  };

  const indexKeys = (precision) =>
    forGood(`keys ${precision}`, () => quantised(sent.index_k, width, PRECISIONS[precision]));
  /** Index scores of a kept query over the keys that it sees. */
  const scores = (row, precision) =>
    once(`scores ${row} ${precision}`, () => {
      const q = quantised(
        sent.index_q.subarray(row * indexHeads * width, (row + 1) * indexHeads * width),
        width,
        PRECISIONS[precision],
      );
      return indexRow(
        q,
        indexKeys(precision),
        sent.index_w.subarray(row * indexHeads, (row + 1) * indexHeads),
        width,
        at[row] + 1,
      );
    });
  const headWeights = (row) =>
    once(`heads ${row}`, () =>
      Array.from({ length: heads }, (_, head) =>
        weightsRow(queryOf(row, head), keysOf[Math.floor(head / group)], scale, d, at[row] + 1),
      ),
    );
  /** The attention of a head; of all heads, their mean, for -1. */
  const weights = (row, head) => {
    if (head >= 0) return headWeights(row)[head];
    return once(`mean ${row}`, () => {
      const mean = new Float64Array(at[row] + 1);
      for (const each of headWeights(row))
        for (let key = 0; key < mean.length; key += 1) mean[key] += each[key] / heads;
      return mean;
    });
  };

  /** Smallest, largest and mean entries of the keys of each whole page. */
  const pagesOf = (size) =>
    forGood(`pages ${size}`, () =>
      keysOf.map((k) => {
        const pages = Math.floor(tokens / size);
        const [low, high, mean] = [0, 1, 2].map(() => new Float64Array(pages * d));
        for (let page = 0; page < pages; page += 1) {
          for (let i = 0; i < d; i += 1) {
            let [least, most, sum] = [Infinity, -Infinity, 0];
            for (let key = page * size; key < (page + 1) * size; key += 1) {
              const x = k[key * d + i];
              least = Math.min(least, x);
              most = Math.max(most, x);
              sum += x;
            }
            [low[page * d + i], high[page * d + i], mean[page * d + i]] = [least, most, sum / size];
          }
        }
        return { low, high, mean };
      }),
    );
  /** The votes on the first `count` pages. @param {(q: Float32Array, page: Page, at: number) => number} fit */
  const voted = (row, size, count, fit) =>
    votes(
      Array.from({ length: heads }, (_, head) => {
        const page = pagesOf(size)[Math.floor(head / group)];
        const q = queryOf(row, head);
        return Float64Array.from({ length: count }, (_, i) => scale * fit(q, page, i * d));
      }),
    );
  const bound = (q, { low, high }, from) => {
    let sum = 0;
    for (let i = 0; i < d; i += 1) sum += q[i] * (q[i] > 0 ? high[from + i] : low[from + i]);
    return sum;
  };
  const middle = (q, { mean }, from) => {
    let sum = 0;
    for (let i = 0; i < d; i += 1) sum += q[i] * mean[from + i];
    return sum;
  };
  const ownAndVoted =
    (fit) =>
    ({ row, m, k }) => {
      const size = Math.min(PAGE, k);
      return bestBlocks(voted(row, size, Math.floor((m - 1) / size), fit), m, k, size);
    };

  /** H2O: the keys that are held at each query, one after the other, since what is dropped is gone. */
  const history = (k) => forGood(`history ${k}`, () => {
    const received = new Float64Array(tokens);
    const recent = k - Math.floor(k / 2);
    let held = [];
    return Array.from({ length: tokens }, (_, t) => {
      held = [...held, t];
      if (t >= k) {
        let weakest = 0;
        for (let i = 1; held[i] <= t - recent; i += 1) if (received[held[i]] < received[held[weakest]]) weakest = i;
        held.splice(weakest, 1);
      }
      for (let head = 0; head < heads; head += 1) {
        const [q, keys] = [queryOf(t, head), keysOf[Math.floor(head / group)]];
        const gathered = new Float64Array(held.length * d);
        held.forEach((key, i) => gathered.set(keys.subarray(key * d, (key + 1) * d), i * d));
        weightsRow(q, gathered, scale, d, held.length).forEach((weight, i) => { received[held[i]] += weight; });
      }
      return Int32Array.from(held);
    });
  });

  const ways = {
    indexer: ({ row, m, k, precision, blocks }) =>
      blocks
        ? bestBlocks(blockScores(scores(row, precision), block, Math.max), m, k, block)
        : best(scores(row, precision), k),
    oracle: ({ row, m, k, head, blocks }) =>
      blocks
        ? bestBlocks(
            blockScores(weights(row, head), block, (a, b) => a + b),
            m,
            k,
            block,
          )
        : best(weights(row, head), k),
    window: ({ m, k }) => latest(m, k),
    "sinks and window": ({ m, k }) => {
      const sinks = Math.min(SINKS, k - 1);
      return latest(m, k - sinks).fill(1, 0, sinks);
    },
    random: ({ row, m, k }) => {
      const numbers = new Float64Array(m);
      for (let key = 0; key < m; key += 1) numbers[key] = hashed(at[row], key);
      return best(numbers, k);
    },
    H2O: ({ row, m, k }) => {
      const chosen = new Uint8Array(m);
      for (const key of history(k)[at[row]]) chosen[key] = 1;
      return chosen;
    },
    Quest: ownAndVoted(bound),
    MoBA: ownAndVoted(middle),
    NSA: ({ row, m, k }) => {
      const blocks = Math.floor(k / (2 * PAGE));
      const width = k - blocks * PAGE;
      const chosen = latest(m, width);
      const past = Math.floor(Math.max(0, m - width) / PAGE);
      best(voted(row, PAGE, past, middle), blocks).forEach((taken, i) => {
        if (taken) chosen.fill(1, i * PAGE, (i + 1) * PAGE);
      });
      return chosen;
    },
  };
  /**
   * The keys that a selector takes for a kept query: 1 for each, of the keys up to it.
   * @param {string} selector @param {{row: number, k: number, head: number, precision: string, blocks: boolean}} state
   */
  function choose(selector, state) {
    const m = at[state.row] + 1;
    if (m <= state.k) return new Uint8Array(m).fill(1); // it can take them all, whatever a block leaves over
    const { row, k, head, precision, blocks } = state;
    const of = { indexer: `${precision} ${blocks}`, oracle: `${head} ${blocks}` }[selector] ?? "";
    return once(`${selector} ${row} ${k} ${of}`, () => ways[selector]({ ...state, m }), 4 * KEPT_ROWS);
  }
  return { ...sent, scores, weights, choose };
}

/** The sum of the weights of what is chosen. */
export function massOf(chosen, weights) {
  let sum = 0;
  for (let key = 0; key < chosen.length; key += 1) if (chosen[key]) sum += weights[key];
  return Math.min(1, sum);
}

/**
 * FLOPs of a choice and of the attention to it, over those of dense attention: from the sizes, not measured. A value is
 * taken to be as long as a key. @returns {{attend: number, choose: number}}
 */
export function costOf(selector, blocks, k, layer, tokens) {
  const few = Math.min(k, tokens);
  const attend = ((few * (few + 1)) / 2 + (tokens - few) * k) / ((tokens * (tokens + 1)) / 2);
  const { index_heads: indexHeads, index_dim: width, heads, d } = layer;
  const choose =
    {
      indexer: (indexHeads * width) / (2 * heads * d),
      oracle: 0.5,
      Quest: 1 / PAGE,
      MoBA: 1 / (2 * PAGE),
      NSA: 1 / (2 * PAGE),
    }[selector] ?? 0;
  return { attend, choose };
}
