import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { shown, signed } from "../../widgets/kit/format.js";
import { signedColour } from "../../widgets/tape/colour.js";
import { RULES, cosine, feature, fit, median, read, returned, share, write } from "../../widgets/tape/read.js";
import { answerParts, pairName, percent, questionParts, recallParts } from "../../widgets/tape/say.js";
import { opened } from "../../widgets/tape/seen.js";
import { cells, lengthWords } from "../../widgets/tape/tape.js";

const { fits, reads, shares, words } = JSON.parse(readFileSync(new URL("tape.json", import.meta.url)));
const near = (found, expected, within = 2e-8) =>
  assert.ok(found === expected || Math.abs(found - expected) <= within, `${found} is not ${expected}`);
const allNear = (found, expected) => {
  assert.equal(found.length, expected.length);
  expected.forEach((value, i) => near(found[i], value));
};

test("what is read and written is what Python reads and writes", () => {
  for (const each of reads) {
    const held = { memory: Float64Array.from(each.memory.flat()), z: Float64Array.from(each.z) };
    allNear(feature(each.rule, each.key), each.feature);
    const back = read(each.rule, each.key, held);
    allNear(back, each.read);
    near(cosine(back, each.value), each.cosine);
    near(returned(back, each.value), each.returned);
    const before = Array.from(held.memory);
    const after = write(each.rule, each.key, each.other, held);
    allNear(after.memory, each.written.flat());
    allNear(after.z, each.z_written);
    assert.deepEqual(Array.from(held.memory), before); // a what-if leaves the recording alone
  }
});

test("fits and the share formula are Python's", () => {
  for (const [rule, query, keys, expected] of fits) allNear(fit(rule, query, keys), expected);
  for (const [a, b, tokens, expected] of shares) near(share(a, b, tokens), expected);
});

test("the middle of a list", () => {
  assert.equal(median([]), null);
  assert.equal(median([10, 9, 1]), 9);
  assert.equal(median([4, 1]), 2.5);
});

test("the sentences are Python's", () => {
  const say = { signed, shown, pairName, percent, recallParts, questionParts, answerParts };
  for (const [name, given, expected] of words) assert.deepEqual(say[name](...given), expected, name);
});

test("nothing is white, and both signs have a hue of their own", () => {
  assert.deepEqual(signedColour(0, "light"), [255, 255, 255]);
  assert.deepEqual(signedColour(-5, "light"), signedColour(-1, "light"));
  assert.ok(
    signedColour(-0.5, "dark")[2] > signedColour(-0.5, "dark")[0] &&
      signedColour(0.5, "dark")[0] > signedColour(0.5, "dark")[2],
  );
});

test("lengths keep their order of size", () => {
  assert.deepEqual([0, 0.123, 12.34, 620.2, 999999, 1234567].map(lengthWords), [
    "0",
    "0.12",
    "12.3",
    "620",
    "999,999",
    "1.2 × 10⁶",
  ]);
});

test("segments stand in equal steps, with room where some are left out", () => {
  const { cells: found, live } = cells({ after: Int32Array.of(1, 2, 4, 9), tokens: 75, segment: 8 }, 10, 110);
  assert.deepEqual(found.map(({ skipped }) => skipped), [false, false, true, true]);
  for (const cell of [...found, live]) near(cell.right - cell.left, (100 - 24) / 5);
  near(live.right, 110);
  near(found[2].left - found[1].right, 12);
  assert.equal(cells({ after: Int32Array.of(1, 2), tokens: 16, segment: 8 }, 0, 10).live, null);
});

/** Three pairs, one a segment, in two memories: the second holds the first one's values with the sign turned. */
function recording() {
  const keys = [[2, -3, 0], [-3, 2, 0], [0, -3, 2]];
  const values = [[1, 0], [0, 1], [-1, 1]];
  const rules = {};
  for (const rule of Object.keys(RULES)) {
    const kept = [];
    let [one, two] = [0, 1].map(() => ({ memory: new Float64Array(6), z: new Float64Array(3) }));
    keys.forEach((key, i) => {
      one = write(rule, key, values[i], one);
      two = write(rule, key, values[i].map((value) => -value), two);
      kept.push([one, two]);
    });
    rules[rule] = {
      memory: Float64Array.from(kept.flat().flatMap(({ memory }) => [...memory])),
      z: Float64Array.from(kept.flat().flatMap(({ z }) => [...z])),
    };
  }
  return {
    segment: 1,
    tokens: 3,
    frame: 3,
    after: Int32Array.of(1, 2, 3),
    at: Int32Array.of(0, 1, 2),
    needle: Uint8Array.of(1, 0, 0),
    names: ["a", "b"],
    d_key: 3,
    d_value: 2,
    q: Float64Array.from([3, -3, -3, -3, 3, -3]),
    k: Float64Array.from(keys.flatMap((key) => [...key, ...key])),
    v: Float64Array.from(values.flatMap((value) => [...value, ...value.map((x) => -x)])),
    rules,
    gates: [],
  };
}

test("a look is a function of the state: same state, same picture, whatever was looked at between", () => {
  const tape = opened(recording());
  const state = { rule: "linear", memory: 1, frame: 3, pair: 0, question: null, planted: 0, knocked: false };
  const first = tape.look(state);
  for (const rule of Object.keys(RULES))
    for (const frame of [0, 2]) tape.look({ ...state, rule, frame, planted: 3, knocked: frame > 0 });
  assert.deepEqual(tape.look(state), first);
  assert.equal(first.points.length, 3);
  near(
    first.cosine,
    cosine(
      read("linear", [2, -3, 0], {
        memory: tape.rules.linear.memory.subarray(30),
        z: tape.rules.linear.z.subarray(15),
      }),
      [-1, -0],
    ),
  );
});

test("an empty memory is empty, and never not a number", () => {
  const tape = opened(recording());
  for (const rule of Object.keys(RULES)) {
    for (const state of [{ frame: 0, knocked: false }, { frame: 3, knocked: true }]) {
      const seen = tape.look({ rule, memory: 0, pair: 1, question: null, planted: 0, ...state });
      assert.ok(seen.empty);
      assert.equal(seen.cosine, null);
      assert.equal(seen.others, null);
      assert.ok(seen.points.every((point) => point.cosine === null));
      assert.ok(seen.rules.every(({ old }) => old === null));
      assert.ok(seen.found.every((value) => value === 0));
    }
  }
});

test("another value under the same key: the delta rule without z returns the last, a sum returns both", () => {
  const tape = opened(recording());
  const look = (planted) =>
    tape.look({ rule: "unit", memory: 0, frame: 3, pair: 0, question: null, planted, knocked: false });
  assert.equal(look(1).rival, 1); // at a right angle, so least like the value of pair 0
  assert.equal(look(0).over, null);
  const { rules } = look(1);
  near(rules.find(({ rule }) => rule === "unit").over, 1, 1e-9);
  const sum = rules.find(({ rule }) => rule === "linear");
  assert.ok(sum.over > 0.5 && sum.old > 0.1);
});

test("planted on a knocked-out memory the pair is all there is", () => {
  const tape = opened(recording());
  const seen = tape.look({ rule: "linear", memory: 0, frame: 3, pair: 0, question: null, planted: 2, knocked: true });
  near(seen.over, 1, 1e-9);
  assert.ok(!seen.empty);
});

test("a pair that is still to come is not among the points", () => {
  const tape = opened(recording());
  const seen = tape.look({ rule: "linear", memory: 0, frame: 1, pair: 2, question: null, planted: 0, knocked: false });
  assert.deepEqual(seen.points.map(({ pair }) => pair), [0]);
  assert.equal(seen.written, false);
  near(
    tape.look({ rule: "linear", memory: 0, frame: 1, pair: 0, question: null, planted: 0, knocked: false }).cosine,
    1,
  );
});

test("the curve of a pair begins where it was written", () => {
  const tape = opened(recording());
  const curve = tape.curve("linear", 0, 1, null);
  assert.deepEqual(curve.map((point) => point === null), [true, true, false, false]);
  assert.deepEqual(tape.norms("unit", 0).map(([, z]) => z), [0, 0, 0, 0]);
});

test("a question finds the key that it fits, by how much it says", () => {
  const tape = opened(recording());
  assert.equal(tape.questions, 1);
  assert.deepEqual([tape.bestFor(0, 0), tape.bestFor(1, 0)], [0, 1]);
  const seen = tape.look({ rule: "linear", memory: 0, frame: 3, pair: 0, question: 0, planted: 0, knocked: false });
  assert.deepEqual(seen.found, read("linear", [3, -3, -3], seen));
  const all = fit("linear", [3, -3, -3], [[2, -3, 0], [-3, 2, 0], [0, -3, 2]]);
  allNear(seen.points.map((point) => point.fit), all);
  near(seen.ratio, all[0] / ((all[1] + all[2]) / 2));
  allNear(
    seen.points.map((point) => point.cosine),
    [
      [1, 0],
      [0, 1],
      [-1, 1],
    ].map((value) => cosine(seen.found, value)),
  );
  const empty = tape.look({ rule: "linear", memory: 0, frame: 3, pair: 0, question: 0, planted: 0, knocked: true });
  assert.ok(empty.points.every((point) => point.fit === null && point.cosine === null));
  assert.equal(
    tape.look({ rule: "unit", memory: 0, frame: 3, pair: 0, question: 0, planted: 0, knocked: false }).ratio,
    null,
  );
});
