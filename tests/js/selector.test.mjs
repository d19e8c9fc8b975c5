import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { overlayDots } from "../../widgets/atlas/overlay.js";
import { costOf, massOf, openLayer } from "../../widgets/selector/choose.js";
import { best, blockScores, hashed, latest, nthLargest, quantised } from "../../widgets/selector/row.js";
import { allParts, countedWords, named, percent, queryParts, who } from "../../widgets/selector/say.js";
import { halves, opened, variant } from "../../widgets/selector/seen.js";
import { placesOf, scoreWords, withinKeys } from "../../widgets/selector/tracks.js";

const told = JSON.parse(readFileSync(new URL("selector.json", import.meta.url)));
const near = (found, expected, within = 2e-8) =>
  assert.ok(Math.abs(found - expected) <= within, `${found} is not ${expected}`);
const allNear = (found, expected) => {
  assert.equal(found.length, expected.length);
  expected.forEach((value, i) => near(found[i], value));
};
const at = Int32Array.from({ length: 23 }, (_, i) => i);
const sent = Object.fromEntries(
  Object.entries(told.layer[0]).map(([name, value]) => [name, Array.isArray(value) ? Float32Array.from(value) : value]),
);
const layer = openLayer(sent, { tokens: 23, at, block: 4 });
const keys = (chosen) => [...chosen.keys()].filter((key) => chosen[key]);

test("rounding to few bits is Python's", () => {
  for (const [kind, x, expected] of told.quantised)
    assert.deepEqual(
      [...quantised(Float64Array.from(x.flat()), 4, kind)].map((value) => value + 0),
      expected.flat().map((value) => value + 0),
    );
});

test("rows are Python's", () => {
  for (const [row, precision, scores, weights] of told.rows) {
    allNear(layer.scores(row, precision), scores);
    allNear(layer.weights(row, -1), weights);
  }
});

test("a head's row adds up to 1, and all heads' row is their mean", () => {
  for (const row of [0, 7, 22]) {
    const each = [0, 1, 2, 3].map((head) => layer.weights(row, head));
    for (const weights of each)
      near(
        weights.reduce((a, b) => a + b),
        1,
      );
    allNear(
      layer.weights(row, -1),
      Array.from(each[0], (_, key) => each.reduce((sum, weights) => sum + weights[key] / 4, 0)),
    );
  }
});

test("every selector chooses what the lesson's chooses", () => {
  for (const [name, row, k, expected] of told.chosen) {
    const blocks = name.endsWith(" blocks");
    const chosen = layer.choose(name.replace(" blocks", ""), { row, k, head: -1, precision: "fp8", blocks });
    assert.deepEqual(keys(chosen), expected, `${name} ${row} ${k}`);
  }
});

const NAMES = ["indexer", "oracle", "window", "sinks and window", "random", "H2O", "Quest", "MoBA", "NSA"];

test("no choice looks past the query, takes more than k, or keeps more than the oracle", () => {
  for (const row of at) {
    for (const head of [-1, 2]) {
      const weights = layer.weights(row, head);
      for (const k of [1, 3, 6, 23]) {
        const state = { row, k, head, precision: "fp4", blocks: false };
        const most = massOf(layer.choose("oracle", state), weights);
        for (const name of NAMES) for (const blocks of [false, true]) {
          const chosen = layer.choose(name, { ...state, blocks });
          assert.equal(chosen.length, row + 1);
          assert.ok(keys(chosen).length <= k, name);
          assert.ok(massOf(chosen, weights) <= most + 1e-12, name);
          if (k >= row + 1) assert.equal(massOf(chosen, weights).toFixed(9), "1.000000000", name);
        }
      }
    }
  }
});

test("a larger k keeps what a smaller one kept", () => {
  for (const name of ["indexer", "oracle", "window", "random"]) {
    let before = new Uint8Array(23);
    for (let k = 1; k <= 23; k += 1) {
      const chosen = layer.choose(name, { row: 22, k, head: -1, precision: "fp32", blocks: false });
      assert.ok(before.every((taken, key) => !taken || chosen[key]), `${name} ${k}`);
      assert.equal(keys(chosen).length, k);
      before = chosen;
    }
  }
});

test("the k largest, of equal ones the first, at any order", () => {
  let seed = 1;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  for (let round = 0; round < 300; round += 1) {
    const scores = Float64Array.from({ length: 1 + Math.floor(40 * random()) }, () => Math.floor(6 * random()) - 2);
    const k = 1 + Math.floor(scores.length * random());
    const order = [...scores.keys()].sort((a, b) => scores[b] - scores[a] || a - b);
    assert.deepEqual(keys(best(scores, k)), order.slice(0, k).sort((a, b) => a - b));
    assert.equal(nthLargest(Float64Array.from(scores), k), scores[order[k - 1]]);
  }
  assert.deepEqual([...best(Float64Array.of(1, 1), 0)], [0, 0]);
  assert.deepEqual([...latest(3, 9)], [1, 1, 1]);
});

test("blocks before the own one, whole ones alone", () => {
  assert.deepEqual([...blockScores(Float64Array.of(1, 2, 3, 4, 5, 6, 7, 8), 4, Math.max)], [4]);
  assert.deepEqual([...blockScores(Float64Array.of(1, 2, 3, 4, 5), 4, (a, b) => a + b)], [10]);
  assert.deepEqual([...blockScores(Float64Array.of(1, 2, 3, 4), 4, Math.max)], []);
});

test("the hash is Python's", () => {
  for (const [query, key, expected] of told.hashed) assert.equal(hashed(query, key), expected);
});

test("the sentences are Python's", () => {
  const say = { percent, named, who, queryParts, allParts, countedWords };
  for (const [name, given, expected] of told.words) assert.deepEqual(say[name](...given), expected, name);
});

test("float16 is read", () => {
  const codes = Uint16Array.of(0x3c00, 0xc000, 0x3555, 0x0001, 0x8000, 0x7bff);
  allNear(halves(new Uint8Array(codes.buffer)), [1, -2, 0.333251953125, 2 ** -24, 0, 65504]);
});

test("the cost is pairs attended, and what choosing takes of dense attention", () => {
  const sizes = { index_heads: 4, index_dim: 16, heads: 4, d: 16 };
  near(costOf("indexer", false, 8, sizes, 96).attend, 740 / 4656);
  near(costOf("indexer", false, 8, sizes, 96).choose, 0.5); // 128 of 256 FLOPs a pair
  near(
    costOf("indexer", false, 2048, { index_heads: 64, index_dim: 128, heads: 128, d: 128 }, 131072).attend,
    266339328 / 8590000128,
  );
  assert.equal(costOf("window", false, 8, sizes, 96).choose, 0);
  near(costOf("Quest", false, 96, sizes, 96).attend, 1);
});

function recording() {
  const budgets = Int32Array.of(1, 2, 4, 8, 23);
  const names = [
    ...NAMES.filter((name) => name !== "indexer").map((name) => variant(name)),
    "oracle blocks",
    ...["fp32", "fp8", "fp4"].flatMap((p) => [variant("indexer", p), variant("indexer", p, true)]),
  ];
  const curves = Object.fromEntries(
    names.map((name, i) => [name, Float32Array.from({ length: 5 * 5 * 3 }, (_, j) => i + j / 100)]),
  );
  return {
    name: "",
    tokens: 23,
    at,
    top_k: 4,
    budgets,
    block: 4,
    selectors: NAMES.slice(1),
    precision: "fp32",
    half: false,
    layers: [{ ...sent, name: "layer 0", curves }],
  };
}

test("a look is a function of the state: same state, same picture, whatever was looked at between", () => {
  const eye = opened(recording());
  const state = { layer: 0, head: 1, row: 17, budget: 3, precision: "fp8", blocks: false, selector: "indexer" };
  const plain = (seen) => JSON.stringify(seen, (_, value) => (ArrayBuffer.isView(value) ? [...value] : value));
  const first = plain(eye.look(state));
  for (const row of at)
    for (const selector of NAMES)
      for (const blocks of [false, true])
        eye.look({ ...state, row, selector, blocks, precision: "fp4", budget: row % 5 });
  assert.equal(plain(eye.look(state)), first);
});

test("hits, misses and extras are the chosen set and the oracle's, and nothing else", () => {
  const eye = opened(recording());
  for (const selector of NAMES)
    for (const row of at) {
      const seen = eye.look({ layer: 0, head: -1, row, budget: 2, precision: "fp32", blocks: false, selector });
      assert.deepEqual(
        [...seen.hit, ...seen.extra].sort((a, b) => a - b),
        keys(seen.chosen),
      );
      assert.deepEqual(
        [...seen.hit, ...seen.miss].sort((a, b) => a - b),
        keys(seen.wanted),
      );
      for (const list of [seen.hit, seen.miss, seen.extra])
        list.slice(1).forEach((key, i) => assert.ok(seen.weights[key] <= seen.weights[list[i]]));
      near(seen.mass, seen.masses[selector]);
    }
});

test("curves are read by view and budget, and a rank counts what is above", () => {
  const eye = opened(recording());
  const state = { layer: 0, head: 2, precision: "fp8", blocks: true };
  const order = Object.keys(eye.layers[0].curves);
  const found = eye.curve(state, "indexer")[1];
  allNear(
    found,
    [0, 1, 2].map((i) => Math.fround(order.indexOf("indexer fp8 blocks") + (3 * 15 + 3 + i) / 100)),
  );
  allNear(
    eye.curve({ ...state, head: -1 }, "window")[0],
    [0, 1, 2].map((i) => Math.fround(order.indexOf("window") + i / 100)),
  );
  assert.deepEqual(
    [0, 1, 2, 3].map((key) => eye.rank(Float64Array.of(1, 3, 3, 0), key)),
    [3, 1, 2, 4],
  );
  assert.equal(eye.counted, 19);
});

test("the view of the keys stays inside the text", () => {
  assert.deepEqual(withinKeys({ from: -5, span: 20 }, 96), { from: 0, span: 20 });
  assert.deepEqual(withinKeys({ from: 90, span: 20 }, 96), { from: 76, span: 20 });
  assert.deepEqual(withinKeys({ from: 0, span: 1 }, 96), { from: 0, span: 16 });
  assert.deepEqual(withinKeys({ from: 50, span: 500 }, 96), { from: 0, span: 96 });
  assert.deepEqual(withinKeys({ from: 3, span: 4 }, 9), { from: 0, span: 9 });
});

test("ticks are round, scores are short", () => {
  assert.deepEqual(placesOf(0, 96, 5), [0, 20, 40, 60, 80]);
  assert.deepEqual(placesOf(30.5, 16, 8), [32, 34, 36, 38, 40, 42, 44, 46]);
  assert.deepEqual([0, 6.53, -0.36, 123.4, 0.0004].map(scoreWords), ["0", "6.5", "−0.36", "123", "4e-4"]);
});

test("dots over a map: their area is the share of pairs, and small squares are joined by their pairs", () => {
  const share = Uint8Array.from({ length: 64 }, (_, i) => (i % 8 <= i >> 3 ? 255 : 0));
  const here = (side, camera) => ({ left: 10, top: 20, side, camera, tokens: 8 });
  const every = overlayDots({ side: 8, cell: 1, share }, here(80, { x: 0, y: 0, span: 8 }), true);
  assert.equal(every.length, 36);
  for (const { radius } of every) near(radius, 4.6);
  near(every[0].x, 15);
  near(every[0].y, 25);
  share[0] = 0;
  assert.equal(overlayDots({ side: 8, cell: 1, share }, here(80, { x: 0, y: 0, span: 8 }), true).length, 35);
  const joined = overlayDots({ side: 8, cell: 1, share }, here(32, { x: 0, y: 0, span: 8 }), true);
  assert.equal(joined.length, 10);
  near(joined[0].radius, 0.46 * 8 * Math.sqrt(2 / 3)); // one of three pairs is not taken
  const close = overlayDots({ side: 8, cell: 1, share }, here(80, { x: 1.5, y: 4, span: 2 }), true);
  assert.deepEqual(close.map(({ x }) => Math.round(x)), [10, 50, 90, 10, 50, 90]);
});
