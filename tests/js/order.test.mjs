import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { sentence, ticks } from "../../widgets/order/view.js";

const { told } = JSON.parse(readFileSync(new URL("order.json", import.meta.url)));

test("every cell is told as Python tells it, and what it is ahead by matters", () => {
  for (const [data, place, expected] of told) {
    const parts = sentence(data, place);
    assert.equal(parts.join(""), expected);
    assert.match(parts[1], / % (above|below) Transformer-XL$/);
  }
});

test("ticks are round, few, and inside", () => {
  assert.deepEqual(ticks(4.5, 6, 3), [4.5, 5, 5.5, 6]);
});
