import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { sentence, traced, whole } from "../../widgets/sketch/view.js";

const { data, told, whole: curves } = JSON.parse(readFileSync(new URL("sketch.json", import.meta.url)));

test("every drawing is told as Python tells it", () => {
  for (const [drawn, revealed, expected] of told) {
    assert.equal(sentence(data, drawn, revealed).join(""), expected);
  }
});

test("between what was drawn lie straight lines, as in Python", () => {
  for (const [drawn, expected] of curves) {
    whole(data.distances, drawn).forEach((value, i) => assert.ok(Math.abs(value - expected[i]) < 1e-8));
  }
});

test("a fast pointer leaves no column out, in either direction", () => {
  assert.deepEqual(traced([null, null, null, null], [0, 100], [2, 50]), [100, 75, 50, null]);
  assert.deepEqual(traced([null, null, null, 7], [2, 50], [0, 100]), [100, 75, 50, 7]);
  assert.deepEqual(traced([1, 2, 3, 4], [1, 9], [1, 30.4]), [1, 30, 3, 4]);
});
