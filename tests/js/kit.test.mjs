import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { csv } from "../../widgets/kit/export.js";
import { count, fixed, rounded, significant, size, times } from "../../widgets/kit/format.js";
import { spread, thinned } from "../../widgets/kit/labels.js";
import { decode, staticModel } from "../../widgets/kit/mount.js";
import { numbers, unpacked } from "../../widgets/kit/numbers.js";
import { stepped } from "../../widgets/kit/player.js";
import { linear, linearByteTicks, logByteTicks, logarithmic } from "../../widgets/kit/scale.js";
import { theme } from "../../widgets/kit/theme.js";
import { verdict } from "../../widgets/predict/view.js";

const vectors = JSON.parse(readFileSync(new URL("vectors.json", import.meta.url)));

for (const [name, fn] of Object.entries({ rounded, fixed, significant, count, size, times, spread })) {
  test(`${name} says what Python says`, () => {
    for (const [args, expected] of vectors[name]) assert.deepEqual(fn(...args), expected, JSON.stringify(args));
  });
}

test("labels never meet, keep their order and stay inside", () => {
  let seed = 1;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  for (let round = 0; round < 200; round += 1) {
    const wanted = Array.from({ length: 1 + Math.floor(8 * random()) }, () => 300 * random());
    const placed = spread(wanted, 30, 0, 300);
    const order = wanted.map((_, i) => i).sort((a, b) => wanted[a] - wanted[b]);
    order.slice(1).forEach((label, rank) => assert.ok(placed[label] - placed[order[rank]] >= 30 - 1e-9));
    assert.ok(Math.min(...placed) >= 0 && Math.max(...placed) <= 300 + 1e-9);
  }
});

test("tick labels that would meet are left out", () => {
  assert.deepEqual(thinned([0, 30, 60, 90], [20, 20, 40, 20], 8), [true, true, false, true]);
});

test("a scale and its inverse agree", () => {
  for (const scale of [linear([0, 8], [300, 20]), logarithmic([256, 4096], [60, 500])]) {
    assert.ok(Math.abs(scale.invert(scale(300)) - 300) < 1e-9);
  }
  assert.equal(logarithmic([256, 4096], [0, 400])(1024), 200);
});

test("byte ticks are powers of two, or multiples of one, and few", () => {
  assert.deepEqual(logByteTicks(300 * 1024, 200 * 2 ** 20), [2 ** 20, 2 ** 22, 2 ** 24, 2 ** 26]);
  assert.deepEqual(linearByteTicks(800 * 1024), [0, 262144, 524288, 786432]);
  for (let high = 5; high < 2 ** 50; high *= 3) {
    assert.ok(logByteTicks(4, high).length < 8);
    const ticks = linearByteTicks(high);
    assert.ok(ticks.length >= 2 && ticks.length <= 7 && ticks.at(-1) <= high);
  }
});

test("the hosts' themes are told apart", () => {
  const page = (body, root) => ({ body: { dataset: body }, documentElement: { dataset: root } });
  assert.equal(theme(page({ jpThemeLight: "false" }, { theme: "light" }), false), "dark");
  assert.equal(theme(page({ jpThemeLight: "true" }, {}), true), "light");
  assert.equal(theme(page({}, { theme: "dark" }), false), "dark");
  assert.equal(theme(page({ vscodeThemeKind: "vscode-dark" }, {}), false), "dark");
  assert.equal(theme(page({ vscodeThemeKind: "vscode-high-contrast-light" }, {}), true), "light");
  assert.equal(theme(page({}, { theme: "auto" }), true), "dark");
  assert.equal(theme(page({}, {}), false), "light");
});

test("a page's bytes become the DataView that a kernel would have sent", () => {
  const floats = new Float64Array([1.5, -2]);
  const base64 = Buffer.from(floats.buffer).toString("base64");
  const state = decode({ data: { x: [{ dtype: "float64", shape: [2], bytes: { base64 } }], y: null, z: "base64" } });
  assert.ok(state.data.x[0].bytes instanceof DataView);
  assert.deepEqual(unpacked(state.data), { x: [floats], y: null, z: "base64" });
});

test("an array that does not begin at a multiple of its element size is read", () => {
  const buffer = new ArrayBuffer(11);
  new DataView(buffer).setInt32(3, 7, true);
  assert.deepEqual(numbers({ dtype: "int32", bytes: new DataView(buffer, 3, 4) }), new Int32Array([7]));
  assert.throws(() => numbers({ dtype: "int64", bytes: new DataView(buffer, 3, 8) }), /int64/);
});

test("the static model tells listeners until they leave", () => {
  const model = staticModel({ reader: {} });
  const heard = [];
  const listener = () => heard.push(model.get("reader"));
  model.on("change:reader", listener);
  model.set("reader", 1);
  model.set("data", 2);
  model.save_changes();
  model.send({});
  model.off("change:reader", listener);
  model.set("reader", 3);
  assert.deepEqual(heard, [1]);
});

test("a player's keys step, leap and jump, and stop at the ends", () => {
  const to = (at, key, shiftKey) => stepped(at, 30, { key, shiftKey });
  assert.deepEqual(
    ["ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown", "Home", "End", "a"].map((key) => to(5, key)),
    [6, 6, 4, 4, 0, 30, null],
  );
  assert.deepEqual([to(5, "ArrowLeft", true), to(15, "ArrowRight", true), to(25, "ArrowRight", true)], [0, 25, 30]);
});

test("exported rows say where they come from and survive commas", () => {
  assert.equal(
    csv(
      [
        ["tokens", "a, b"],
        [256, 'say "x"'],
      ],
      "measured: cpu",
    ),
    '# measured: cpu\ntokens,"a, b"\n256,"say ""x"""\n',
  );
});

test("a prediction is answered, or noted where the next cell is to tell", () => {
  const data = { choices: ["8 times", "64 times"], answer: 1, why: "Pairs." };
  assert.equal(verdict(data, 0).join(""), "You said 8 times. It is 64 times. Pairs.");
  assert.equal(verdict({ ...data, answer: null }, 0).join(""), "Noted: 8 times. Run the next cell.");
  assert.ok(!verdict(data).join("").includes("64"));
});
