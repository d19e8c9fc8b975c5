import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { frameAt } from "../../widgets/kit/player.js";
import { boxes } from "../../widgets/theatre/boxes.js";
import { cells, cut, mark } from "../../widgets/theatre/cells.js";
import { factsOf } from "../../widgets/theatre/facts.js";
import { film, hand } from "../../widgets/theatre/film.js";
import { flights } from "../../widgets/theatre/flights.js";
import { AHEAD, NEVER, NOW, PAST, grid, gridStates, pairAt, stripStates } from "../../widgets/theatre/grid.js";
import { memory } from "../../widgets/theatre/memory.js";
import { fitting } from "../../widgets/theatre/paint.js";
import { openRace, racePlan, raceShapes } from "../../widgets/theatre/race.js";
import { ofHead, percent, sentence, span, tourSays } from "../../widgets/theatre/say.js";
import { tourSteps } from "../../widgets/theatre/tour.js";
import { clock, lastAtMost, openTrace } from "../../widgets/theatre/trace.js";

const vectors = JSON.parse(readFileSync(new URL("theatre.json", import.meta.url)));
const { scenes, told, spans, said, heads } = vectors;

/** The arrays of a scene as the page has them. */
function typed(scene) {
  const rows = scene.rows.map((one) => ({
    at: Int32Array.from(one.at),
    m: Uint8Array.from(one.m),
    l: Uint8Array.from(one.l),
    risen: Uint8Array.from(one.risen),
  }));
  return {
    ...scene,
    rows,
    ...Object.fromEntries(
      ["first", "kernel", "acts", "act", "place"].map((name) => [name, Int32Array.from(scene[name])]),
    ),
  };
}
const traces = Object.fromEntries(Object.entries(scenes).map(([name, scene]) => [name, openTrace(typed(scene))]));

test("facts and sentences of an event are the ones Python tells", () => {
  for (const [name, beside, event, facts, parts] of told) {
    const trace = traces[name];
    const found = factsOf(trace, event, trace.moved[event], 2000, beside ? traces[beside] : null);
    assert.equal(found.ended, false);
    delete found.ended;
    assert.deepEqual(found, facts, `${name} ${event}`);
    assert.deepEqual(sentence(found), parts);
  }
  for (const [share, text] of vectors.percent) assert.equal(percent(share), text);
  for (const [facts, parts] of said) assert.deepEqual(sentence(facts), parts);
  for (const [head, text] of heads) assert.equal(ofHead(head), text);
  for (const [[top, bottom, left, right], shape, text] of spans)
    assert.equal(span({ top, bottom, left, right }, shape), text);
});

test("a tile is told by rows and columns, a vector by entries", () => {
  assert.equal(span({ top: 0, bottom: 64, left: 0, right: 16 }, [1, 128, 16]), "rows 0 to 63");
  assert.equal(span({ top: 1024, bottom: 1025, left: 8, right: 16 }, [1, 2048, 16]), "row 1,024, columns 8 to 15");
  assert.equal(span({ top: 0, bottom: 1, left: 32, right: 64 }, [1, 1, 64]), "entries 32 to 63");
  assert.equal(span({ top: 5, bottom: 6, left: 0, right: 1 }, [1, 64, 1]), "entry 5");
});

test("what has ended says so, and how far the other is", () => {
  const { flash, standard } = traces;
  const { last, bytes, event } = clock(flash, standard);
  const at = (step) => sentence(factsOf(flash, event(step), bytes(step), 2000, standard));
  const [first, strong] = at(last);
  assert.match(first, /^flash is done after /);
  assert.equal(strong, "standard is done after 12 KiB, 2.61 times as much.");
  assert.ok(Math.abs(standard.total / flash.total - 2.61) < 0.005);
  assert.match(at(flash.events)[1], /^standard has moved .* of 12 KiB and finished 0 % of out\.$/);
});

test("prefix sums come to the whole, tensor by tensor", () => {
  for (const trace of Object.values(traces)) {
    const last = trace.events - 1;
    const sum = [...trace.reads, ...trace.writes].reduce((all, one) => all + one[last], 0);
    assert.equal(sum, trace.issued);
    assert.equal(trace.total, trace.issued);
    assert.equal(trace.share(last), 1);
    for (let e = 1; e < trace.events; e += 1)
      assert.ok(trace.moved[e] >= trace.moved[e - 1] && trace.share(e) >= trace.share(e - 1));
  }
});

test("each visible tile of the grid is met once, in either loop order, and the hidden ones never", () => {
  for (const name of ["flash", "kv outer"]) {
    const { met } = traces[name].visits;
    const places = met.map(({ top, left }) => `${top} ${left}`);
    assert.deepEqual([...places].sort(), ["0 0", "16 0", "16 16", "16 8", "8 0", "8 8"], name);
  }
  assert.deepEqual(traces.flash.visits.met.map(({ left }) => left), [0, 0, 8, 0, 8, 16]);
  assert.deepEqual(traces["kv outer"].visits.met.map(({ left }) => left), [0, 0, 0, 8, 8, 16]);
  assert.equal(traces.matmul.visits, null);
});

test("the grid's states say what is ahead, past, now and never computed", () => {
  const trace = traces.flash;
  const third = trace.visits.met[3].event; // query block 2, key block 0
  const { states } = gridStates(trace, third);
  assert.deepEqual([...states], [PAST, NEVER, NEVER, PAST, PAST, NEVER, NOW, AHEAD, AHEAD]);
  assert.deepEqual([...stripStates(trace, trace.visits.q, third).states], [PAST, PAST, NOW]);
});

test("a stored score matrix is drawn as it is stored", () => {
  const trace = traces.standard;
  assert.deepEqual(trace.visits.stored.map((t) => trace.tensors[t].name), ["scores", "weights"]);
  assert.match(grid(trace, 5, 320).words, /are stored in HBM, and read back/);
  assert.match(grid(traces.flash, 5, 320).words, /none is ever stored/);
});

test("a press on the grid finds the pair of query and key under it", () => {
  const trace = traces.flash;
  const { shapes } = grid(trace, trace.events - 1, 320);
  const tiles = shapes.filter((shape) => shape.fill === "s" || shape.stroke === "line");
  assert.equal(tiles.length, 9);
  const { x, y, w, h } = tiles[5]; // row 1, column 2 of 3
  const { row, column } = pairAt(trace, 320, x + w / 2, y + h / 2);
  assert.deepEqual([Math.floor(row / 8), Math.floor(column / 8)], [1, 2]);
  assert.equal(pairAt(trace, 320, 1, 1), null);
  assert.equal(pairAt(traces.matmul, 320, 100, 100), null);
});

test("one clock: a step of the watched trace, then the steps of the one that goes on", () => {
  const { flash, standard } = traces;
  const both = clock(flash, standard);
  for (let step = 1; step <= both.last; step += 1) assert.ok(both.bytes(step) >= both.bytes(step - 1));
  assert.equal(both.event(flash.events - 1), flash.events - 1);
  assert.equal(both.bytes(flash.events - 1), flash.total);
  assert.equal(both.bytes(both.last), standard.total);
  assert.equal(clock(standard, flash).last, standard.events - 1);
  assert.equal(clock(flash, null).last, flash.events - 1);
  for (let step = 0; step <= both.last; step += 1)
    assert.equal(both.bytes(both.step(both.bytes(step))), both.bytes(step));
  assert.equal(standard.eventAt(-1), -1);
  assert.equal(standard.share(-1), 0);
});

test("a frame is a function of its event: whatever was drawn before, the same shapes come out", () => {
  let seed = 3;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  const scales = { limit: 2000, peak: 5000, lane: 9000 };
  const draw = (trace, e) =>
    JSON.stringify([
      (trace.visits ? grid : boxes)(trace, e, 300),
      memory(trace, e, 320, scales),
      hand([trace], trace.moved[e], 600),
    ]);
  for (const [name, trace] of Object.entries(traces)) {
    const fresh = (e) => draw(openTrace(typed(scenes[name])), e);
    const wanted = [0, Math.floor(trace.events / 2), trace.events - 1].map((e) => [e, fresh(e)]);
    for (let i = 0; i < 40; i += 1) draw(trace, Math.floor(random() * trace.events));
    for (const [e, shapes] of wanted) assert.equal(draw(trace, e), shapes, `${name} ${e}`);
  }
});

test("shapes stay inside their picture, and none is without a size", () => {
  for (const trace of Object.values(traces)) {
    for (const width of [260, 340, 520]) {
      for (let e = 0; e < trace.events; e += 7) {
        const parts = [
          (trace.visits ? grid : boxes)(trace, e, width),
          memory(trace, e, width, { limit: 2000, peak: trace.peak, lane: trace.total }),
          film([trace], width),
        ];
        for (const { shapes, height } of parts) {
          for (const { x, y, w, h, text, points } of shapes) {
            if (text !== undefined || points) continue;
            assert.ok(w > 0 && h >= 0 && [x, y, w, h].every(Number.isFinite), JSON.stringify({ x, y, w, h }));
            assert.ok(
              x >= -1 && x + w <= width + 1.5 && y + h <= height + 2,
              JSON.stringify({ x, y, w, h, width, height }),
            );
          }
        }
      }
    }
  }
});

test("the film's bars are as wide as the bytes, reads over the line and writes under it", () => {
  const trace = traces.standard;
  const { shapes, at } = film([trace], 2000);
  const bars = shapes.filter(({ w }) => w !== undefined);
  const perByte = 1 / (at(101) - at(100));
  const width = (chosen) => bars.filter(chosen).reduce((sum, { w }) => sum + w, 0);
  const reads = trace.reads.reduce((sum, one) => sum + one[trace.events - 1], 0);
  assert.ok(Math.abs(width(({ h }) => h === 17) / perByte - reads) < 0.1 * trace.total);
  assert.ok(Math.abs(width(() => true) / perByte - trace.total) < 0.01 * trace.total);
});

const races = [["flash", "standard"], ["kv outer", "standard"], ["flash"], ["standard"], ["matmul"]];
const raceOf = (names) => openRace(names.map((name) => openTrace(typed(scenes[name]))));

test("a tile leaves when what it needs is there, and is counted where it enters or leaves SRAM", () => {
  for (const [name, trace] of Object.entries(traces)) {
    for (const length of [0.01, 0.05, 0.4].map((share) => share * trace.total)) {
      const { leaves, lands, around } = flights(trace, length);
      const written = trace.tensors.map(() => new Map());
      let arrived = 0;
      for (let e = 0; e < trace.events; e += 1) {
        if (trace.isDot(e)) continue;
        const { leading, top, bottom } = trace.tile(e);
        const [before, tensor] = [e ? trace.moved[e - 1] : 0, trace.of.tensor(e)];
        assert.ok(leaves[e] <= lands[e], `${name} ${e}`);
        for (let row = top; row < bottom; row += 1) {
          const place = `${leading} ${row}`;
          if (trace.of.written(e)) written[tensor].set(place, e);
          else if (written[tensor].has(place))
            assert.ok(lands[written[tensor].get(place)] <= leaves[e], `${name} ${e}`);
        }
        if (trace.of.written(e)) {
          assert.ok(leaves[e] === before && arrived <= leaves[e], `${name} ${e}`);
        } else {
          assert.equal(lands[e], trace.moved[e]);
          arrived = lands[e];
        }
      }
      for (const at of [0, 0.3, 0.77, 1].map((share) => share * (trace.total + length))) {
        const found = new Set(around(at));
        for (let e = 0; e < trace.events; e += 1)
          if (!trace.isDot(e) && leaves[e] < at && at < lands[e]) assert.ok(found.has(e), `${name} ${e}`);
      }
    }
  }
});

test("a moment of the stage is the same whatever was drawn before, inside its picture, in words of 12 px", () => {
  for (const names of races) {
    const race = raceOf(names);
    const last = race.longest + race.length;
    for (const width of [288, 358, 668, 767, 1088]) {
      const plan = racePlan(race, width, 2000);
      const wanted = [0, 0.31, 0.5, 1].map((share) => JSON.stringify(raceShapes(plan, share * last)));
      for (let share = 0; share <= 1; share += 0.077) {
        for (const { x, y, w, h, text, points, size } of raceShapes(plan, share * last)) {
          if (text !== undefined) assert.ok((size ?? 12) >= 12 && y > 0 && y < plan.height, text);
          else if (!points)
            assert.ok(x >= -1 && x + w <= width + 1 && y >= -1 && y + h <= plan.height + 1 && w > 0 && h > 0,
              JSON.stringify({ names, width, share, x, y, w, h }));
        }
      }
      [0, 0.31, 0.5, 1].forEach((share, i) =>
        assert.equal(JSON.stringify(raceShapes(racePlan(raceOf(names), width, 2000), share * last)), wanted[i]));
    }
  }
});

test("both lanes count the same bytes until one is done, and it waits", () => {
  const race = raceOf(["flash", "standard"]);
  const { flash, standard } = traces;
  const plan = racePlan(race, 1000, 2000);
  const words = (bytes) => raceShapes(plan, bytes).flatMap(({ text }) => (text ? [text] : []));
  const numbers = (bytes) => words(bytes).filter((text) => /^[\d,]+$/.test(text));
  assert.deepEqual(numbers(1024), ["1,024", "1,024"]);
  assert.deepEqual(numbers(flash.total + 500), [flash.total, flash.total + 500].map((n) => n.toLocaleString("en-US")));
  assert.ok(words(flash.total + 500).includes("✓ done, and waits"));
  assert.deepEqual(words(standard.total).filter((text) => /^✓/.test(text)), ["✓ done", "✓ done"]);
  assert.ok(words(0).includes("2.61 × the bytes") && words(0).includes("scores, never stored"));
  assert.ok(words(0).includes("scores, stored") && words(0).includes("program 1 of 3"));
  assert.ok(words(0).includes(`B of ${flash.total.toLocaleString("en-US")} crossed`));
  assert.ok(words(0).some((text) => /^make_scores, 1 of \d+$/.test(text)));
});

test("the tour goes through a race of flash and standard, each step where its words are true", () => {
  const { flash, standard } = traces;
  const steps = tourSteps([flash, standard], 2000, true);
  const at = (bytes) => standard.kernel[standard.programOf(standard.eventAt(bytes))];
  assert.deepEqual(steps.map(({ name }) => name), ["bridge", "passes", "stores", "fetches", "in all"]);
  for (const { from, to } of steps) assert.ok(from >= 0 && from < to && to <= standard.total);
  const [bridge, passes, stores, fetches, all] = steps;
  assert.ok(bridge.to < passes.to && passes.to < flash.total);
  const next = standard.moved[standard.eventAt(stores.to) + 1];
  assert.deepEqual([at(stores.from), at(stores.to), at(next)], [0, 0, 1]);
  assert.deepEqual([at(fetches.from), at(fetches.to), all.to], [0, 2, standard.total]);
  const said = (step) => tourSays(step.name, step.facts).join("");
  assert.match(said(bridge), /holds 1.95 KiB\.$/);
  assert.match(said(passes), /^Flash keeps one tile of Q and lets K and V come by\./);
  assert.match(said(tourSteps([{ ...traces["kv outer"], name: "flash" }, standard], 2000, true)[1]), /lets Q come by/);
  assert.match(said(stores), /before the softmax begins\.$/);
  assert.match(said(fetches), /fetches those too\.$/);
  assert.equal(said(all), "In all, standard moves 2.61 times as much. Run it otherwise: what makes the gap smaller?");
  assert.equal(said(tourSteps([flash, standard], 2000, false)[4]), "In all, standard moves 2.61 times as much.");
  assert.deepEqual(tourSays("tour", { steps: 5 }).length, 1);
  assert.deepEqual([tourSteps([flash], 2000, true), tourSteps([traces.matmul], 2000, true)], [[], []]);
});

test("what has been stored stands in HBM once it has landed", () => {
  const [lane] = raceOf(["standard"]).lanes;
  const { trace, air, columns } = lane;
  for (const tensor of trace.visits.stored) {
    const { first, final } = columns[tensor];
    const lands = trace.touches(tensor).tiles.filter(({ written }) => written).map(({ event }) => air.lands[event]);
    assert.equal(Math.max(...first), Math.max(...lands));
    assert.ok(first.every((one, i) => one <= final[i] && one < Infinity));
  }
});

test("cells: a ragged side ends with a small one, and fine tiles are drawn together", () => {
  assert.deepEqual(cut(50, 16), { unit: 16, count: 4, length: 50 });
  assert.equal(cut(131072, 1).count, 96);
  const [rows, columns] = [cut(50, 16), cut(70, 32)];
  const states = new Uint8Array(rows.count * columns.count);
  mark(states, rows, columns, { top: 16, bottom: 48, left: 32, right: 70 }, 2);
  assert.deepEqual([...states], [0, 0, 0, 0, 2, 2, 0, 2, 2, 0, 0, 0]);
  const drawn = cells(states, rows, columns, { x: 0, y: 0, w: 70, h: 50 }, (state) => ({ fill: "s", alpha: state }));
  assert.equal(drawn.length, 12);
  assert.ok(drawn.at(-1).w < 7 && drawn.at(-1).h < 3);
  const wide = cut(4096, 8);
  assert.equal(
    cells(new Uint8Array(wide.count), cut(1, 1), wide, { x: 0, y: 0, w: 200, h: 5 }, () => ({ fill: "q" })).length,
    1,
  );
});

test("a search finds the last that is not beyond", () => {
  assert.equal(lastAtMost([1, 2, 2, 5], 2), 2);
  assert.equal(lastAtMost([1, 2, 2, 5], 0), -1);
  assert.equal(lastAtMost([], 3), -1);
  assert.equal(frameAt((at) => at * 10, 8, 35), 3);
  assert.equal(frameAt((at) => at * 10, 8, 900), 8);
});

test("a long name is cut where its room ends", () => {
  assert.equal(fitting("scores", 100), "scores");
  assert.ok(fitting("log_sum_exp_of_the_rows", 60).length <= 9);
  assert.match(fitting("log_sum_exp_of_the_rows", 60), /…$/);
});
