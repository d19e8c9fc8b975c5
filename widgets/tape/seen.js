import { RULES, cosine, fit, length, median, read, returned, share, write } from "./read.js";

/**
 * A recording as the page asks it: typed arrays and the places of pairs.
 * @typedef {{segment: number, tokens: number, what: string, after: Int32Array, frame: number, d_key: number,
 *   d_value: number, names: string[], rule: string, rules: Record<string, {memory: Float32Array, z: Float32Array}>,
 *   at: Int32Array, needle: Uint8Array, k: Float32Array, v: Float32Array, q: Float32Array, text: ?string[],
 *   gates: {name: string, memory: number, share: number}[], nbytes: number, provenance: string,
 *   answers: ?{truth: string[], said: Record<string, {words: string[], p: number[]}>}}} Sent
 * @typedef {{rule: string, memory: number, frame: number, pair: number, question: ?number, planted: number,
 *   knocked: boolean}} State
 * @typedef {ReturnType<typeof opened>} Recording
 * @typedef {ReturnType<Recording["look"]>} Seen
 * @param {Sent} sent arrays unpacked
 */
export function opened(sent) {
  const { segment, tokens, after, at, d_key: dKey, d_value: dValue } = sent;
  const memories = sent.names.length;
  const side = (values, width) => (pair, memory) =>
    values.subarray((pair * memories + memory) * width, (pair * memories + memory + 1) * width);
  const key = side(sent.k, dKey);
  const value = side(sent.v, dValue);
  const query = side(sent.q, dKey);
  const place = Array.from(at, (token) => Math.floor(token / segment) + 1); // the segment of each pair, from 1 on
  const column = place.map((number) => after.indexOf(number));
  const pairs = Array.from(at, (_, pair) => pair);
  const remembered = new Map();
  const once = (name, compute) => {
    if (!remembered.has(name)) remembered.set(name, compute());
    return remembered.get(name);
  };

  /** M and z after a frame: 0 is empty, then one for each snapshot. */
  function held(rule, memory, frame) {
    if (frame === 0) return { memory: new Float32Array(dKey * dValue), z: new Float32Array(dKey) };
    const index = (frame - 1) * memories + memory;
    return { memory: sent.rules[rule].memory.subarray(index * dKey * dValue, (index + 1) * dKey * dValue),
      z: sent.rules[rule].z.subarray(index * dKey, (index + 1) * dKey) };
  }
  /** How long M and z are after each frame. */
  const norms = (rule, memory) => once(`norms ${rule} ${memory}`, () => [0, ...after].map((_, frame) => {
    const { memory: m, z } = held(rule, memory, frame);
    return [length(m), length(z)];
  }));
  /** What the memory is read with: a question of the model, or a pair's own key. @param {?number} question */
  const probe = (memory, pair, question) => (question === null ? key(pair, memory) : query(question, memory));
  /** How well a probe fits the key of every pair. */
  const fits = (rule, memory, pair, question) => once(`fits ${rule} ${memory} ${question ?? `own ${pair}`}`, () =>
    fit(rule, probe(memory, pair, question), pairs.map((other) => key(other, memory))));
  /** The mean fit of the others that are written by then and no needles: b of the share formula; null of none. */
  function elsewhere(rule, memory, pair, question, number) {
    const all = fits(rule, memory, pair, question);
    const others = pairs.filter((other) => other !== pair && !sent.needle[other] && place[other] <= number);
    return others.length ? others.reduce((sum, other) => sum + all[other], 0) / others.length : null;
  }
  /** Of one pair, after each frame: how much of its value comes back, and how much the share formula predicts. */
  const curve = (rule, memory, pair, question) =>
    once(`curve ${rule} ${memory} ${pair} ${question}`, () =>
      [0, ...after].map((number, frame) => {
        if (number < place[pair]) return null;
        const b = elsewhere(rule, memory, pair, question, number);
        return {
          returned: returned(read(rule, probe(memory, pair, question), held(rule, memory, frame)), value(pair, memory)),
          share:
            rule === "linear" && b !== null
              ? share(fits(rule, memory, pair, question)[pair], b, number * segment - 1)
              : null,
        };
      }),
    );
  /** The pair whose key a question fits best, of those written when it is asked. */
  const bestFor = (memory, question) => {
    const all = fits("linear", memory, 0, question);
    return pairs
      .filter((pair) => place[pair] <= after[sent.frame - 1])
      .reduce((best, pair) => (all[pair] > all[best] ? pair : best), 0);
  };
  /** The pair whose value is least like this one's: what is planted under its key. */
  const rival = (memory, pair) => once(`rival ${memory} ${pair}`, () => pairs.reduce((best, other) => {
    const alike = Math.abs(cosine(value(pair, memory), value(other, memory)) ?? 2);
    return other !== pair && alike < best[0] - 1e-9 ? [alike, other] : best;
  }, [Infinity, null])[1]);

  /** Everything that is seen after a frame, a pure function of the state. @param {State} state */
  function look({ rule, memory, frame, pair, question, planted, knocked }) {
    const other = rival(memory, pair);
    const now = (under) => {
      /** @type {{memory: Float32Array | Float64Array, z: Float32Array | Float64Array}} */
      let here = held(under, memory, knocked ? 0 : frame);
      for (let i = 0; i < (other === null ? 0 : planted); i += 1)
        here = write(under, key(pair, memory), value(other, memory), here);
      return here;
    };
    const number = frame === 0 ? 0 : after[frame - 1];
    const here = now(rule);
    const asks = probe(memory, pair, question);
    const found = read(rule, asks, here);
    const all = fits(rule, memory, pair, question);
    const empty = length(here.memory) === 0;
    const points = pairs
      .filter((each) => place[each] <= number)
      .map((each) => ({
        pair: each,
        fit: empty ? null : all[each],
        cosine:
          question !== null
            ? cosine(found, value(each, memory))
            : cosine(read(rule, key(each, memory), here), value(each, memory)),
      }));
    const b = elsewhere(rule, memory, pair, question, number);
    const others = points.filter((point) => point.pair !== pair && !sent.needle[point.pair] && point.cosine !== null);
    return {
      ...here, number, found, points, rival: other,
      empty, a: all[pair], b, ratio: b > 0 && rule !== "unit" ? all[pair] / b : null,
      cosine: cosine(found, value(pair, memory)),
      returned: returned(found, value(pair, memory)),
      over: planted && other !== null ? cosine(found, value(other, memory)) : null,
      others: median(others.map((point) => point.cosine)),
      written: place[pair] <= number,
      rules: Object.keys(RULES).map((under) => {
        const back = read(under, asks, now(under));
        return { rule: under, old: cosine(back, value(pair, memory)), back: returned(back, value(pair, memory)),
          over: planted && other !== null ? cosine(back, value(other, memory)) : null };
      }),
    };
  }
  return {
    ...sent,
    memories,
    segments: Math.floor(tokens / segment),
    place,
    column,
    pairs,
    key,
    value,
    norms,
    curve,
    rival,
    bestFor,
    look,
    questions: sent.q.length / (memories * dKey),
    frames: after.length, word: (pair) => sent.text?.[pair] ?? null };
}
