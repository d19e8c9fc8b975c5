import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { roomFor, stackOrder } from "../../widgets/ledger/recording.js";
import { extent, labelPlaces } from "../../widgets/ledger/sweep.js";
import { alive, asked, fit, growth, missed, revealed, slope } from "../../widgets/ledger/words.js";

const { words } = JSON.parse(readFileSync(new URL("vectors.json", import.meta.url)));
const { lengths, methods, run } = words;

test("the sentences are the ones Python writes", () => {
  for (const [chosen, at, expected] of words.growth) assert.deepEqual(growth(lengths, methods, chosen, at), expected);
  for (const [chosen, at, expected] of words.held)
    assert.deepEqual(growth(lengths, words.stored, chosen, at), expected);
  const [chosen, shown, expected] = words.asked;
  assert.deepEqual(asked(lengths, methods[chosen], shown, null), expected);
  for (const [method, text] of words.fit) assert.equal(fit(methods[method].formula, lengths.length), text);
  for (const [method, text] of words.slope) assert.equal(slope(methods[method].exponent), text);
  for (const [at, roles, text] of words.alive) assert.deepEqual(alive(run, at, roles), text);
});

test("a prediction is told back without the measurement, and then with it", () => {
  const said = asked(lengths, methods[0], 2, 2 * 3145728).join("");
  assert.equal(
    said,
    "naive takes 3 MiB at 512 tokens. You say 6 MiB at 2,048: 4 times the tokens, 2 times the memory.",
  );
  assert.equal(
    revealed(lengths, methods[0], 12 * 2 ** 20).join(""),
    "You said 12 MiB at 2,048 tokens. Measured: 48 MiB, 4 times what you said.",
  );
});

test("a miss is told in the direction it was made", () => {
  assert.equal(missed(10, 40), "4 times what you said");
  assert.equal(missed(40, 10), "you said 4 times as much");
  assert.equal(missed(100, 104), "within 5 % of what you said");
});

test("labels at the lines' ends never overlap, wherever the lines end", () => {
  let seed = 7;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  for (let round = 0; round < 500; round += 1) {
    const edge = 200 + 500 * random();
    const early = edge - 20 - 150 * random();
    const tips = Array.from({ length: 1 + Math.floor(5 * random()) }, () => ({
      x: random() < 0.5 ? edge : early,
      y: 30 + 260 * random(),
    }));
    const places = labelPlaces(tips, edge, 30, 290);
    places.forEach((a, i) => places.slice(i + 1).forEach((b) => {
      assert.ok(Math.abs(a.x - b.x) >= 70 || Math.abs(a.y - b.y) >= 30 - 1e-9, JSON.stringify({ tips, places }));
    }));
  }
});

test("while the reader is asked, the axes tell nothing of the answer", () => {
  const view = { scale: "log", asking: true, lengths, limits: [], shown: 2, range: [1572864, 3145728 * 64] };
  const higher = { ...methods[0], bytes: [786432, 3145728, 1e9, 1e12] };
  assert.deepEqual(extent({ ...view, methods: [methods[0]] }), extent({ ...view, methods: [higher] }));
});

test("a logarithmic axis holds the formulas and the limits, a linear one the measurements", () => {
  const drawn = [{ ...methods[0], formula: { n: [256, 4096], bytes: [786432, 201326592] } }];
  const view = {
    asking: false,
    lengths,
    limits: [{ name: "2 GiB", bytes: 2 ** 31 }],
    shown: 2,
    range: null,
    methods: drawn,
  };
  assert.deepEqual(extent({ ...view, scale: "log" }), { x: [256, 4096], y: [393216, 2 ** 31] });
  assert.deepEqual(extent({ ...view, scale: "linear" }), { x: [0, 2048], y: [0, 50331648] });
});

test("a word stands only where its band leaves it room", () => {
  const xs = [0, 10, 20, 30, 40];
  assert.equal(roomFor([50, 50, 50, 50], [40, 40, 40, 40], xs, 10, 17), null);
  assert.equal(roomFor([50, 50, 50, 50], [40, 10, 10, 40], xs, 30, 17), null);
  assert.deepEqual(roomFor([50, 50, 60, 60], [40, 10, 20, 20], xs, 20, 17), { x: 25, y: 35 });
});

test("what rises once and falls once stands at the bottom of the stack, the untold rest on top", () => {
  const roles = [
    { name: "others", rest: true, bytes: [1, 1, 1, 1, 1] },
    { name: "weights", bytes: [0, 4, 0, 4, 0] },
    { name: "scores", bytes: [4, 0, 4, 0, 4] },
    { name: "out", bytes: [0, 1, 2, 3, 3] },
  ];
  assert.deepEqual(stackOrder(roles).map(({ name }) => name), ["out", "scores", "weights", "others"]);
});
