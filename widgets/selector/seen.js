import { massOf, openLayer } from "./choose.js";

/** Float32 of the float16 numbers that lie in these bytes. @param {Uint8Array} bytes */
export function halves(bytes) {
  const codes = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  const table = new Float32Array(65536);
  for (let code = 0; code < 65536; code += 1) {
    const [exponent, fraction] = [(code >> 10) & 31, code & 1023];
    const size = exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024);
    table[code] = code & 32768 ? -size : size;
  }
  return Float32Array.from(codes, (code) => table[code]);
}

/** The name of a choice among the curves; as `variant` in measure.py. */
export function variant(selector, precision, blocks) {
  const how = blocks && ["indexer", "oracle"].includes(selector) ? " blocks" : "";
  return `${selector}${selector === "indexer" ? ` ${precision}` : ""}${how}`;
}

/**
 * A recording as the page asks it.
 * @typedef {{layer: number, head: number, row: number, budget: number, precision: string, blocks: boolean,
 *   selector: string}} State
 * @typedef {ReturnType<typeof opened>} Recording
 * @typedef {ReturnType<Recording["look"]>} Seen
 * @param {{name: string, tokens: number, at: Int32Array, top_k: number, budgets: Int32Array, block: number,
 *   selectors: string[], precision: string, half: boolean, layers: import("./choose.js").Sent[], provenance: string
 * }} sent arrays unpacked; where `half`, a layer's vectors are the bytes of float16
 */
export function opened(sent) {
  const layers = sent.layers.map((layer) => {
    const vectors = Object.fromEntries(
      ["q", "k", "index_q", "index_k", "index_w"].map((name) => [name, sent.half ? halves(layer[name]) : layer[name]]),
    );
    return openLayer({ ...layer, ...vectors }, sent);
  });
  const selectors = ["indexer", ...sent.selectors];

  /** The middle query's mass, and the band around it, at every budget: [10 %, middle, 90 %] each. */
  function curve({ layer, head, precision, blocks }, selector) {
    const values = layers[layer].curves[variant(selector, precision, blocks)];
    const from = (head + 1) * sent.budgets.length * 3;
    return Array.from(sent.budgets, (_, i) => values.subarray(from + 3 * i, from + 3 * i + 3));
  }

  /** Everything that is seen of one query, a pure function of the state. @param {State} state */
  function look(state) {
    const layer = layers[state.layer];
    const k = sent.budgets[state.budget];
    const position = sent.at[state.row];
    const asked = { ...state, k };
    const weights = layer.weights(state.row, state.head);
    const scores = layer.scores(state.row, state.precision);
    const sets = Object.fromEntries(selectors.map((name) => [name, layer.choose(name, asked)]));
    const chosen = sets[state.selector];
    const wanted = layer.choose("oracle", { ...asked, blocks: false });
    const found = { hit: [], extra: [], miss: [] };
    for (let key = 0; key <= position; key += 1) {
      if (chosen[key]) found[wanted[key] ? "hit" : "extra"].push(key);
      else if (wanted[key]) found.miss.push(key);
    }
    for (const keys of Object.values(found)) keys.sort((a, b) => weights[b] - weights[a] || a - b);
    let least = Infinity; // the lowest score that is chosen
    for (let key = 0; key <= position; key += 1) if (chosen[key] && scores[key] < least) least = scores[key];
    return {
      ...found, k, position, visible: position + 1, weights, scores, chosen, wanted, least,
      mass: massOf(chosen, weights),
      oracle: massOf(wanted, weights),
      window: massOf(layer.choose("window", asked), weights),
      masses: Object.fromEntries(selectors.map((name) => [name, massOf(sets[name], weights)])),
    };
  }
  /** How many of the keys that a query sees have a higher score; of equal ones the first counts as higher. */
  function rank(scores, key) {
    let before = 1;
    for (let other = 0; other < scores.length; other += 1)
      before += Number(scores[other] > scores[key] || (scores[other] === scores[key] && other < key));
    return before;
  }
  const counted = sent.at.reduce((sum, at) => sum + Number(at >= sent.top_k), 0);
  return { ...sent, layers, selectors, curve, look, rank, counted };
}
