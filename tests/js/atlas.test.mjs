import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import {
  around,
  cellAt,
  following,
  insideChunk,
  panned,
  roundTicks,
  wholeMap,
  within,
  zoomed,
} from "../../widgets/atlas/camera.js";
import { heaviest, keepsPair, looksAt, massOf, pairsOf, reachOf, totalOf, windowOf } from "../../widgets/atlas/mask.js";
import { TILE, coarserLargest, coarserMean, levelFor, squareOf, tilesIn } from "../../widgets/atlas/pyramid.js";
import { paint, paintDifference, pixelsIn, tokensOf } from "../../widgets/atlas/raster.js";
import {
  advance,
  columnOf,
  computedLines,
  missing,
  rowOf,
  startTile,
  toldLines,
  weightAt,
} from "../../widgets/atlas/recompute.js";
import { aggregateWords, cellParts, factsOf, maskParts, queryParts } from "../../widgets/atlas/say.js";
import {
  codeOf,
  codeOfLog2,
  differenceColour,
  linearTop,
  massColour,
  massTable,
  placeOf,
  powerOfTwo,
  ticksOf,
  weightOf,
} from "../../widgets/atlas/scale.js";
import { allowedShape, cutLine, keptShape, windowEdges } from "../../widgets/atlas/shapes.js";

const { maps, codes, facts, words } = JSON.parse(readFileSync(new URL("atlas.json", import.meta.url)));

const near = (found, expected, within_ = 1e-6) =>
  assert.ok(Math.abs(found - expected) <= within_, `${found} is not ${expected}`);

/** A head as the page holds it: vectors in chunks of `chunk`, of which `lacking` are not there. */
function opened({ tokens, allowed, q, k, l, scale }, { chunk = 8, lacking = [] } = {}) {
  const cut = (rows, Kind, side) => Array.from({ length: Math.ceil(tokens / chunk) }, (_, i) =>
    (lacking.includes(`${side}${i}`) ? null : Kind.from(rows.slice(i * chunk, (i + 1) * chunk).flat())));
  return { tokens, allowed, scale, chunk, headDim: q[0].length, bits: 12,
    q: cut(q, Float32Array, "q"), k: cut(k, Float32Array, "k"), l: cut(l, Float64Array, "q") };
}

let seed = 1;
const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;

test("a byte means in the page what it means in Python", () => {
  for (const [weight, bits, expected] of codes) assert.equal(codeOf(weight, bits), expected, `${weight} ${bits}`);
  for (let code = 1; code < 256; code += 1) assert.equal(codeOf(weightOf(code, 20), 20), code);
  assert.equal(weightOf(0, 20), 0);
  assert.equal(codeOfLog2(-1000, 20), 0);
});

test("weights computed again are those of Python", () => {
  for (const map of maps) {
    const head = opened(map);
    for (let query = 0; query < map.tokens; query += 1) {
      for (let key = 0; key < map.tokens; key += 1) near(weightAt(head, query, key), map.weights[query][key], 1e-5);
    }
    near(rowOf(head, 5, 0, map.tokens).reduce((a, b) => a + b), 1, 1e-5);
    assert.deepEqual(Array.from(columnOf(head, 3, 10, 14)), [10, 11, 12, 13].map((query) => weightAt(head, query, 3)));
  }
});

test("a weight whose q or k is not here is unknown, not 0", () => {
  const head = opened(maps[0], { lacking: ["q2", "k1"] });
  assert.equal(weightAt(head, 18, 3), undefined);
  assert.equal(weightAt(head, 30, 9), undefined);
  assert.equal(weightAt(head, 3, 18), 0); // not looked at, whoever is here
  assert.ok(weightAt(head, 30, 3) > 0);
  assert.deepEqual(missing(head, 0, 0, 0), [["q", 2], ["k", 1]]);
});

test("a mask keeps what Python says, and reads so many pairs", () => {
  for (const map of maps) {
    const { tokens, allowed, block } = map;
    const side = Math.ceil(tokens / block);
    const lines = computedLines(opened(map), block);
    const mass = massOf(
      {
        tokens,
        block,
        side,
        blocks: Float32Array.from(map.blocks.flat()),
        reaches: Int32Array.from(map.reaches),
        near: map.near,
      },
      lines,
    );
    const pairs = pairsOf(tokens, block, allowed);
    for (const mask of map.masks) {
      near(totalOf(mass, mask, allowed.causal, mask.chosen) / tokens, mask.kept, 3e-6);
      near(totalOf(pairs, mask, allowed.causal, mask.chosen) / pairs.everything(), mask.pairs, 1e-8);
      const masses = Float64Array.from(map.blocks.flat());
      const keys = new Set([...mask.global_tokens, ...Array.from({ length: mask.sinks }, (_, i) => i)]);
      for (const key of keys)
        for (let row = 0; row < side; row += 1)
          masses[row * side + Math.floor(key / block)] -= lines.columnPart(key, row);
      assert.deepEqual(
        heaviest(masses, side, mask.blocks, block, reachOf(mask.window, allowed.causal) ?? -1, allowed.causal),
        mask.chosen,
      );
    }
  }
});

test("a mask keeps the pairs it counts", () => {
  for (const { tokens, allowed, block, masks } of maps) {
    for (const mask of masks) {
      const chosen = new Set(mask.chosen.map(([row, column]) => `${row} ${column}`));
      let kept = 0, all = 0;
      for (let query = 0; query < tokens; query += 1) {
        for (let key = 0; key < tokens; key += 1) {
          if (!looksAt(allowed, query, key)) continue;
          all += 1;
          if (keepsPair(mask, allowed.causal, block, chosen, query, key)) kept += 1;
        }
      }
      near(kept / all, mask.pairs, 1e-8);
    }
  }
});

test("sums told by Python are used as sums computed here", () => {
  const map = maps[0];
  const computed = computedLines(opened(map), map.block);
  const at = [0, 3, 20];
  const reaches = [-1, ...map.reaches];
  const spans = Math.ceil(map.tokens / map.block);
  const flat = (fn, over) => Float64Array.from(at.flatMap((token) => over.map((x) => fn(token, x))));
  const blocks = Array.from({ length: spans }, (_, i) => i);
  const told = toldLines(
    {
      at,
      column: flat(computed.column, reaches),
      row: flat(computed.row, reaches),
      columnPart: flat(computed.columnPart, blocks),
      rowPart: flat(computed.rowPart, blocks),
      pair: flat(computed.pair, at),
    },
    (reach) => reaches.indexOf(reach),
    reaches.length,
    spans,
  );
  assert.deepEqual([told.knows(3), told.knows(4)], [true, false]);
  for (const token of at) {
    for (const name of ["column", "row"])
      for (const reach of reaches) near(told[name](token, reach), computed[name](token, reach), 0);
    for (const name of ["columnPart", "rowPart"])
      for (const span of blocks) near(told[name](token, span), computed[name](token, span), 0);
    for (const key of at) near(told.pair(token, key), computed.pair(token, key), 0);
  }
});

test("windows and reaches are two words for one thing", () => {
  for (const causal of [true, false])
    for (const reach of [0, 1, 2, 63]) assert.equal(reachOf(windowOf(reach, causal), causal), reach);
  assert.deepEqual(
    [reachOf(128, true), reachOf(128, false), reachOf(129, false), reachOf(null, true)],
    [127, 64, 64, null],
  );
});

test("a pair is told alone where nothing is known of its row", () => {
  const tokens = ["a", "bank"];
  assert.deepEqual(cellParts("Head 0", 1, 0, "about 2⁻⁹", tokens),
    ["Head 0, query 1 ", "‘bank’", " on key 0 ", "‘a’", ": about 2⁻⁹."]);
  assert.equal(cellParts("Head 0", 1000, 0, 0, null).join(""), "Head 0, query 1,000 on key 0: not looked at.");
});

test("the words are those of Python", () => {
  const say = { query: queryParts, mask: maskParts, aggregate: aggregateWords };
  for (const [kind, args, expected] of words) assert.deepEqual(say[kind](...args), expected);
  for (const [row, query, sink, around_, causal, expected] of facts) {
    const found = factsOf(row, query, sink, around_, causal);
    for (const [name, value] of Object.entries(expected)) near(found[name], value, 1e-9);
  }
});

test("a tile holds, in its row and column, the bytes of what it covers", () => {
  const tokens = 20 + TILE;
  const headDim = 3;
  const rows = (kind) =>
    Array.from({ length: tokens }, () => Array.from({ length: headDim }, () => kind * (random() - 0.5)));
  for (const allowed of [
    { causal: true, window: null, sinks: 0 },
    { causal: false, window: null, sinks: 0 },
    { causal: true, window: 40, sinks: 2 },
  ]) {
    const head = opened(
      { tokens, allowed, q: rows(4), k: rows(4), scale: 1, l: Array.from({ length: tokens }, () => 4 + random()) },
      { chunk: 64 },
    );
    for (const level of [0, 1, 2]) {
      const size = 2 ** level;
      for (const [row, column] of level ? [[0, 0]] : [[0, 0], [1, 0], [1, 1]]) {
        const tile = startTile(head, level, row, column);
        while (!advance(tile, 7));
        for (const [y, x] of [[0, 0], [3, 1], [19, 5], [5, 19], [0, 7]]) {
          let most = 0, sum = 0;
          for (let dy = 0; dy < size; dy += 1) {
            for (let dx = 0; dx < size; dx += 1) {
              const query = (row * TILE + y) * size + dy, key = (column * TILE + x) * size + dx;
              const weight = query < tokens && key < tokens ? weightAt(head, query, key) : 0;
              most = Math.max(most, weight);
              sum += weight;
            }
          }
          assert.equal(tile.largest[y * TILE + x], codeOf(most, head.bits), `level ${level} at ${y} ${x}`);
          if (level) assert.equal(tile.mean[y * TILE + x], codeOf(sum / size ** 2, head.bits));
        }
      }
    }
  }
});

test("a tile may leave the first keys out", () => {
  const head = opened(maps[1]);
  const [all, some] = [0, 2].map((hidden) => {
    const tile = startTile(head, 0, 0, 0, hidden);
    while (!advance(tile, 99));
    return tile.largest;
  });
  const column = (tile, key) => Array.from({ length: 30 }, (_, query) => tile[query * TILE + key]);
  assert.ok(column(all, 0).some(Boolean) && column(all, 1).some(Boolean));
  assert.ok(![...column(some, 0), ...column(some, 1)].some(Boolean));
  assert.deepEqual(column(some, 2), column(all, 2));
});

test("what travels finds its row and column", () => {
  const side = 20;
  const square = Uint8Array.from({ length: side * side }, (_, i) => (i * 7) % 251);
  const half = [];
  for (let row = 0; row < side; row += 1)
    for (let column = 0; column <= row; column += 1) half.push(square[row * side + column]);
  const back = squareOf(Uint8Array.from(half), side, true);
  for (let row = 0; row < side; row += 1) {
    for (let column = 0; column < side; column += 1) {
      assert.equal(back[row * side + column], column <= row ? square[row * side + column] : 0);
    }
  }
  assert.equal(squareOf(square, side, false), square);
});

test("a coarser level is the largest, and the mean, of what is under it", () => {
  const side = 7;
  const codes_ = Uint8Array.from({ length: side * side }, () => Math.floor(256 * random()));
  const means = Float32Array.from(codes_, (code) => code / 256);
  const [largest, mean] = [coarserLargest(codes_, side), coarserMean(means, side)];
  for (let row = 0; row < 4; row += 1) {
    for (let column = 0; column < 4; column += 1) {
      const under = [0, 1]
        .flatMap((dy) => [0, 1].map((dx) => [2 * row + dy, 2 * column + dx]))
        .filter(([y, x]) => y < side && x < side);
      assert.equal(largest[row * 4 + column], Math.max(...under.map(([y, x]) => codes_[y * side + x])));
      near(mean[row * 4 + column], under.reduce((sum, [y, x]) => sum + means[y * side + x], 0) / 4, 1e-6);
    }
  }
});

test("the level drawn has squares of a pixel or more, and is one that exists", () => {
  assert.equal(levelFor(0.1, 6, 3, 17), 0);
  assert.equal(levelFor(1, 6, 3, 17), 0);
  assert.equal(levelFor(1.5, 6, 3, 17), 1);
  assert.equal(levelFor(4, 6, 3, 17), 2);
  assert.equal(levelFor(5, 6, 3, 17), 6); // nobody computes squares of 8 here
  assert.equal(levelFor(164, 6, 3, 17), 8);
  assert.equal(levelFor(1e9, 6, 3, 17), 17);
  assert.equal(levelFor(3, 1, 3, 9), 2);
});

test("the tiles of a view cover it, and none lies in the future", () => {
  assert.deepEqual(tilesIn({ x: 0, y: 0, span: 600 }, 0, 600, true), [[0, 0], [1, 0], [1, 1], [2, 0], [2, 1], [2, 2]]);
  assert.deepEqual(tilesIn({ x: 256, y: 0, span: 256 }, 0, 600, false), [[0, 1]]);
  assert.deepEqual(tilesIn({ x: 255, y: 300, span: 2 }, 0, 600, true), [[1, 0], [1, 1]]);
  assert.deepEqual(tilesIn({ x: 0, y: 0, span: 600 }, 1, 600, false), [[0, 0], [0, 1], [1, 0], [1, 1]]);
});

test("each pixel shows the square its centre falls in, rows down and columns right", () => {
  const [tokens, pixels] = [20, 30];
  const camera = { x: 2, y: 7.5, span: 12 };
  const keys = tokensOf(camera.x, camera.span, pixels, tokens),
    queries = tokensOf(camera.y, camera.span, pixels, tokens);
  const cells = Uint8Array.from({ length: tokens * tokens }, () => Math.floor(256 * random()));
  const table = Uint32Array.from({ length: 256 }, (_, code) => code + 1000);
  const out = new Uint32Array(pixels * pixels);
  paint(out, queries, keys, [0, pixels], [0, pixels], { level: 0, stride: tokens, row: 0, column: 0 }, cells, table);
  for (const [y, x] of [
    [0, 0],
    [3, 17],
    [17, 3],
    [29, 29],
  ]) {
    const query = Math.floor(camera.y + ((y + 0.5) * camera.span) / pixels),
      key = Math.floor(camera.x + ((x + 0.5) * camera.span) / pixels);
    assert.equal(out[y * pixels + x], 1000 + cells[query * tokens + key]);
  }
  const before = out.slice();
  const [rows, columns] = [pixelsIn(queries, 8, 12), pixelsIn(keys, 4, 8)];
  const part = Uint8Array.from({ length: 16 }, (_, i) => i);
  paint(out, queries, keys, rows, columns, { level: 0, stride: 4, row: 8, column: 4 }, part, table);
  out.forEach((value, i) => {
    const [query, key] = [queries[Math.floor(i / pixels)], keys[i % pixels]];
    const inside = query >= 8 && query < 12 && key >= 4 && key < 8;
    assert.equal(value, inside ? 1000 + 4 * (query - 8) + (key - 4) : before[i]);
  });
});

test("a difference is 0 in the middle, and turns with its maps", () => {
  const steps = Uint32Array.from({ length: 511 }, (_, i) => i);
  const [one, other] = [Uint8Array.from([200, 100, 0, 255]), Uint8Array.from([200, 110, 255, 0])];
  const place = Int32Array.from([0, 1]);
  const at = { level: 0, stride: 2, row: 0, column: 0 };
  for (const scale of [{ log: true, bits: 20, top: 1 }, { log: false, bits: 20, top: 1 / 4 }]) {
    const [there, back] = [[one, other], [other, one]].map(([a, b]) => {
      const out = new Uint32Array(4);
      paintDifference(out, place, place, [0, 2], [0, 2], at, a, b, steps, scale);
      return out;
    });
    assert.deepEqual(Array.from(there, (step, i) => step + back[i]), [510, 510, 510, 510]);
    assert.equal(there[0], 255);
    assert.deepEqual([there[2], there[3]], [0, 510]);
    if (scale.log) assert.equal(there[1], 255 - Math.round(10 * 20 / 8));
  }
});

test("zooming keeps the point under the hand, and nothing leaves the map", () => {
  const tokens = 131072;
  let camera = wholeMap(tokens);
  for (let i = 0; i < 300; i += 1) {
    const [u, v] = [random(), random()];
    const [x, y] = [camera.x + u * camera.span, camera.y + v * camera.span];
    const next = zoomed(camera, 2 ** (4 * random() - 2), u, v, tokens);
    assert.ok(
      next.span >= 8 &&
        next.span <= tokens &&
        next.x >= 0 &&
        next.y >= 0 &&
        next.x + next.span <= tokens + 1e-6 &&
        next.y + next.span <= tokens + 1e-6,
    );
    const unclamped = [x - u * next.span, y - v * next.span];
    if (unclamped.every((at) => at > 0 && at < tokens - next.span)) {
      near(next.x + u * next.span, x, 1e-6);
      near(next.y + v * next.span, y, 1e-6);
    }
    camera = next;
  }
  assert.deepEqual(within({ x: -5, y: 900, span: 100 }, 500), { x: 0, y: 400, span: 100 });
  assert.deepEqual(zoomed(wholeMap(5), 4, 0.5, 0.5, 5), wholeMap(5)); // five cells cannot be seen closer
  assert.deepEqual(panned({ x: 0, y: 100, span: 40 }, 0.25, -0.25, 500), { x: 10, y: 90, span: 40 });
});

test("a cell is found under its pixel and followed out of view", () => {
  assert.deepEqual(cellAt({ x: 10, y: 20, span: 10 }, 0.05, 0.95, 100), [29, 10]); // u runs along keys, v along queries
  assert.deepEqual(cellAt({ x: 90, y: 90, span: 10 }, 1, 2, 100), [99, 99]);
  const camera = following({ x: 0, y: 0, span: 20 }, 50, 3, 100);
  assert.ok(camera.y <= 50 && camera.y + 20 >= 51 && camera.x === 0);
  assert.deepEqual(around(40, 30, 10, 100), { x: 25, y: 35, span: 10 });
  assert.deepEqual(insideChunk(258, 511, 96, 256, 5000), { x: 416, y: 256, span: 96 });
  assert.deepEqual(insideChunk(4990, 0, 96, 256, 5000), { x: 0, y: 4904, span: 96 });
});

test("ticks stand on round numbers", () => {
  assert.deepEqual(roundTicks(0, 512, 5), [0, 200, 400]);
  assert.deepEqual(roundTicks(99_990, 40, 5), [99_990, 100_000, 100_010, 100_020, 100_030]);
  assert.deepEqual(roundTicks(3.2, 4, 8), [4, 5, 6, 7]);
});

test("the scale ends where it says, log and linear", () => {
  const log = { log: true, bits: 20, top: 1 };
  assert.deepEqual([placeOf(0, log), placeOf(255, log)], [0, 1]);
  const linear = { log: false, bits: 20, top: 1 / 8 };
  assert.equal(placeOf(255, linear), 1);
  near(placeOf(codeOf(1 / 16, 20), linear), 0.5, 0.02);
  assert.deepEqual(
    ticksOf(log),
    [
      [0, "≤ 2⁻²⁰"],
      [0.2, "2⁻¹⁶"],
      [0.4, "2⁻¹²"],
      [0.6, "2⁻⁸"],
      [0.8, "1/16"],
      [1, "1"],
    ].map(([at, label], i) => [i ? 1 - (4 * (5 - i)) / 20 : at, label]),
  );
  assert.deepEqual(
    ticksOf(linear).map(([, label]) => label),
    ["0", "1/16", "≥ 1/8"],
  );
  assert.deepEqual([powerOfTwo(0), powerOfTwo(-3), powerOfTwo(-20)], ["1", "1/8", "2⁻²⁰"]);
  assert.equal(linearTop(Uint8Array.from([...Array(1000).fill(codeOf(0.03, 20)), 255]), 20), 1 / 32);
  assert.equal(linearTop(new Uint8Array(10), 20) > 0, true);
});

test("more is lighter, and the difference is neutral in the middle", () => {
  const light = ([red, green, blue]) => 0.21 * red + 0.72 * green + 0.07 * blue;
  for (let at = 0.05; at <= 1; at += 0.05) assert.ok(light(massColour(at)) > light(massColour(at - 0.05)) - 1e-9);
  assert.deepEqual([massColour(0), massColour(1)], [[0x44, 0x01, 0x54], [0xfd, 0xe7, 0x25]]);
  for (const theme of ["light", "dark"]) {
    const middle = differenceColour(0, theme);
    assert.ok(Math.max(...middle) - Math.min(...middle) < 12);
    assert.notDeepEqual(differenceColour(-1, theme), differenceColour(1, theme));
  }
  assert.equal(massTable({ log: true, bits: 20, top: 1 })[0] >>> 0, 0xff540144);
});

test("an outline holds the cells of its set, step by step and as a line", () => {
  const within_ = (shape, x, y) => shape.some((polygon) => {
    let inside = false;
    polygon.forEach(([ax, ay], i) => {
      const [bx, by] = polygon.at(i - 1);
      if ((ay > y) !== (by > y) && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
    });
    return inside;
  });
  for (const { tokens, allowed, masks, block } of maps) {
    for (const side of [400, 60]) {
      const place = { left: 7, top: 3, side, camera: wholeMap(tokens), tokens };
      const centre = (at, from) => from + ((at + 0.5) * side) / tokens;
      const shape = allowedShape(place, allowed);
      const mask = masks.at(-1);
      const kept = keptShape(place, mask, allowed.causal, block, mask.chosen);
      const chosen = new Set(mask.chosen.map(([row, column]) => `${row} ${column}`));
      for (let query = 0; query < tokens; query += 1) {
        for (let key = 0; key < tokens; key += 1) {
          const [x, y] = [centre(key, 7), centre(query, 3)];
          const edge = side / tokens < 3 ? 1 : 0; // a line may cut the cells it runs through
          const far = Math.min(
            ...[0, reachOf(allowed.window, allowed.causal), reachOf(mask.window, allowed.causal)]
              .filter((reach) => reach !== null)
              .flatMap((reach) => [Math.abs(query - key - reach), Math.abs(key - query - reach)]),
          );
          if (edge && far <= 1) continue;
          assert.equal(within_(shape, x, y), looksAt(allowed, query, key), `${query} ${key}`);
          if (looksAt(allowed, query, key))
            assert.equal(within_(kept, x, y), keepsPair(mask, allowed.causal, block, chosen, query, key));
        }
      }
    }
  }
  for (let i = 0; i < 200; i += 1) {
    // whatever is seen of whatever map, no outline leaves the picture by more than its edge
    const tokens = 131072,
      span = 8 * 2 ** (14 * random());
    const place = {
      left: 50,
      top: 20,
      side: 400,
      camera: within({ x: tokens * random(), y: tokens * random(), span }, tokens),
      tokens,
    };
    for (const allowed of [
      { causal: true, window: null, sinks: 0 },
      { causal: false, window: 4096, sinks: 3 },
    ]) {
      for (const polygon of allowedShape(place, allowed))
        for (const [x, y] of polygon) assert.ok(x >= 40 && x <= 460 && y >= 10 && y <= 430);
      for (const line of windowEdges(place, 128, allowed.causal)) {
        if (line.length !== 2) continue;
        for (const [x, y] of cutLine(line, place)) assert.ok(x >= 40 && x <= 460 && y >= 10 && y <= 430);
      }
    }
  }
  assert.deepEqual(cutLine([[0, 0], [1000, 1000]], { left: 100, top: 100, side: 100 }), [[91, 91], [209, 209]]);
  assert.deepEqual(cutLine([[0, 0], [0, 1000]], { left: 100, top: 100, side: 100 }), []);
  const [lower] = windowEdges({ left: 0, top: 0, side: 100, camera: wholeMap(100), tokens: 100 }, 9, true);
  assert.deepEqual(lower, [[0, 10], [90, 100]]);
});
