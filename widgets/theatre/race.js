import { fixed, size } from "../kit/format.js";
import { cells, cut, mark } from "./cells.js";
import { flights } from "./flights.js";
import { AHEAD, HERE, NEVER, NOW, PAST, gridStates } from "./grid.js";
import { LETTER, box, fitting, line, word } from "./paint.js";
import { laneWords } from "./say.js";

const FLIGHT = 0.045; // of the longest run: how long a tile is in the air
const NARROW_RACE = 620; // pixels, under which a lane's name and number stand above it
const WORDS_HEIGHT = 154; // of what stands beside a lane
const [EMPTY, SOME, WHOLE] = [0, 1, 2]; // what a written place holds
const GHOST = { [PAST]: 0.13, [HERE]: 0.3, [NOW]: 0.85 }; // scores that live in SRAM only
const LETTERS = { q: "Q", k: "K", v: "V", s: "S", o: "O" };

/** @param {import("./trace.js").Trace[]} traces one or two, on one clock */
export function openRace(traces) {
  const longest = Math.max(...traces.map(({ total }) => total)) || 1;
  const length = FLIGHT * longest;
  let unit = 0;
  while (longest / 1024 ** unit >= 100_000) unit += 1;
  const lanes = traces.map((trace) => openLane(trace, length));
  const [least, most] = [...traces].sort((one, two) => one.total - two.total);
  return { lanes, longest, length, unit, most, more: most ? most.total / (least.total || 1) : 1 };
}

/** A trace with what a frame of it looks up: flights, columns in HBM, places in SRAM. */
function openLane(trace, length) {
  const air = flights(trace, length);
  const columns = trace.tensors.map((_, t) => column(trace, t, air));
  if (trace.visits && !trace.visits.stored.length) {
    const { queries, keys } = trace.visits;
    columns.push({ key: "s0", rank: 4, tensor: -1, name: "scores", colour: "s", rows: queries, wide: keys / queries });
  }
  return { trace, air, columns, seats: trace.kernels.map((_, kernel) => seatsOf(trace, kernel)) };
}

/** A tensor as it stands in HBM: how high and wide, and when each of its places is written. */
function column(trace, t, air) {
  const { name, colour, part, written, shape: [leading, height, width] } = trace.tensors[t];
  const lies = height === 1 && width > 1; // a vector stands
  const vector = lies || width === 1;
  const rows = leading * (lies ? width : height);
  const stored = trace.visits ? trace.visits.stored.indexOf(t) : -1;
  const touched = trace.touches(t);
  const writes = touched.tiles.filter((tile) => tile.written);
  const sample = writes.at(0) ?? { top: 0, bottom: touched.height, left: 0, right: touched.width };
  const [tall, across] = [sample.bottom - sample.top, sample.right - sample.left];
  const down = cut(rows, Math.max(lies ? across : tall, 1));
  const along = cut(lies ? 1 : width, Math.max(lies ? 1 : across, 1));
  const first = new Float64Array(down.count * along.count).fill(Infinity);
  const final = new Float64Array(first.length);
  const spot = new Uint8Array(first.length);
  for (const tile of writes) {
    const lands = air.lands[tile.event];
    spot.fill(0);
    mark(spot, down, along, placed(trace, t, tile), 1);
    for (let cell = 0; cell < spot.length; cell += 1) {
      if (!spot[cell]) continue;
      first[cell] = Math.min(first[cell], lands);
      final[cell] = Math.max(final[cell], lands);
    }
  }
  const known = ["q", "k", "v", "o"].includes(part) ? part : name;
  const rank = stored >= 0 ? 4 + stored : written ? (part === "o" ? 7 : 8) : { q: 0, k: 1, v: 2 }[part] ?? 3;
  return {
    key: stored >= 0 ? `s${stored}` : known, rank, tensor: t, name, colour, rows, vector, written,
    unit: lies ? touched.width : touched.height,
    wide: stored >= 0 ? width / height : null,
    many: vector ? 1 : width / touched.width, // tiles side by side
    down, along, first, final, states: new Uint8Array(first.length),
  };
}

/** Where a tile stands in its tensor as it is drawn: heads under each other, a vector upright. */
function placed(trace, t, { leading, top, bottom, left, right }) {
  const [, height, width] = trace.tensors[t].shape;
  if (height > 1 || width === 1) return { top: leading * height + top, bottom: leading * height + bottom, left, right };
  return { top: leading * width + left, bottom: leading * width + right, left: 0, right: 1 };
}

/** Every tile that a kernel names, with the most bytes that it takes, the largest first. */
function seatsOf(trace, kernel) {
  const most = new Map();
  for (let e = 0; e < trace.events; e += 1) {
    if (trace.kernel[trace.programOf(e)] !== kernel) continue;
    for (const [tile, bytes] of trace.live[trace.of.live(e)]) most.set(tile, Math.max(most.get(tile) ?? 0, bytes));
  }
  return [...most].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
}

/** Shelves of a box, filled from its first on; those that need more are drawn lower. */
function shelved(seats, limit, w, h) {
  const usual = seats.length ? seats[Math.floor((seats.length - 1) / 2)][1] : 1;
  const largest = seats.length ? seats[0][1] : 1;
  let shelves = Math.max(2, Math.min(6, Math.round(Math.sqrt((limit / Math.max(usual, largest / 4)) * (h / w)))));
  for (; shelves < 12; shelves += 1) {
    const perShelf = limit / shelves;
    const used = new Array(shelves).fill(0);
    const found = new Map();
    const fits = seats.every(([tile, bytes]) => {
      const tall = Math.max(1, Math.ceil(bytes / perShelf - 1e-9));
      const each = bytes / tall;
      for (let at = 0; at + tall <= shelves; at += 1) {
        const from = Math.max(...used.slice(at, at + tall));
        if (from + each > perShelf * 1.0001) continue;
        for (let i = at; i < at + tall; i += 1) used[i] = from + each;
        found.set(tile, {
          x: (from / perShelf) * w, y: (at / shelves) * h, w: (each / perShelf) * w, h: (tall / shelves) * h,
        });
        return true;
      }
      return false;
    });
    if (fits) return found;
  }
  return null;
}

/** Where each tile of a kernel is kept; where they don't all fit at once, the box is drawn as if it were larger. */
function seating(seats, limit, w, h) {
  for (let room = limit; ; room *= 1.25) {
    const found = shelved(seats, room, w, h);
    if (found) return found;
  }
}

const labelWide = (text, most) => Math.min(text.length * LETTER + 4, most);

/**
 * Where everything stands at this width. Both lanes share their columns, and the height of a row.
 * @typedef {ReturnType<typeof racePlan>} Plan
 * @param {ReturnType<typeof openRace>} race @param {number} width @param {number} limit
 */
export function racePlan(race, width, limit) {
  const { lanes } = race;
  const narrow = width < NARROW_RACE;
  const alone = lanes.length < 2;
  const meta = narrow ? 0 : Math.min(Math.max(0.2 * width, 176), 216);
  const head = narrow ? 30 : 0;
  const [pad, gap] = narrow ? [6, 6] : [12, width > 900 ? 12 : 7];
  const [bridge, store] = narrow ? [48, 68] : [Math.max(0.14 * width, 104), Math.min(Math.max(0.15 * width, 104), 156)];
  const room = width - meta - 2 * pad - bridge - store;
  const most = narrow ? 110 : alone ? Math.min(200, 0.23 * width) : Math.min(146, 0.16 * width);
  const slots = new Map();
  for (const { columns } of lanes) {
    for (const one of columns) slots.set(one.key, [...(slots.get(one.key) ?? []), one]);
  }
  const order = [...slots.values()].sort((a, b) => a[0].rank - b[0].rank);
  const tallest = Math.max(...order.flat().map(({ rows }) => rows));
  const wideOf = (one, side) => {
    const cell = (one.unit * side) / tallest;
    if (one.wide) return Math.min(one.wide, 2) * Math.max((one.rows * side) / tallest, 10);
    if (one.vector) return Math.min(Math.max(0.4 * cell, 6), 10);
    return Math.min(Math.max(one.many * cell, narrow ? 8 : 10), narrow ? 40 : 64);
  };
  const names = narrow ? 21 : 66;
  const named = (one) => (one.wide ? (narrow ? 1.15 : 0) * one.name.length * LETTER : labelWide(one.name, names));
  const slotWide = (slot, side) => Math.max(...slot.map((one) => Math.max(wideOf(one, side), named(one))));
  let side = most;
  const needed = (tall) => order.reduce((sum, slot) => sum + slotWide(slot, tall), 0) + (order.length - 1) * gap;
  while (side > 44 && needed(side) > room) side -= 1;
  const squeeze = Math.min(1, (room - (order.length - 1) * gap) / (needed(side) - (order.length - 1) * gap));
  const air = Math.min(Math.max(0, (room - needed(side)) / order.length), 18);
  const high = Math.round(narrow ? Math.max(side, 92) : Math.max(side, Math.min(1.4 * side, 100))); // in a small room
  const laneHeight = Math.max(head + high + 56, narrow ? 0 : WORDS_HEIGHT);
  const top = head + 30;
  const places = new Map();
  let x = meta + pad + air / 2;
  for (const slot of order) {
    const wide = squeeze * slotWide(slot, side);
    places.set(slot[0].key, { x, wide });
    x += wide + gap + air;
  }
  const right = x - gap - air / 2 + pad;
  const tall = Math.min(Math.max(0.62 * store, 52), high + 8);
  const middle = top + high / 2;
  const box = { x: width - store + 2, y: middle - tall / 2, w: store - 4, h: tall };
  return {
    race, width, narrow, meta, head, top, side: high, limit, laneHeight, middle, right, box, places, squeeze,
    pixel: high / tallest, between: narrow ? 6 : 14,
    height: lanes.length * laneHeight + (lanes.length - 1) * (narrow ? 6 : 14),
    seats: lanes.map(({ seats }) => seats.map((one) => seating(one, limit, box.w - 10, box.h - 10))),
    wide: (one) => Math.min(squeeze * wideOf(one, side), places.get(one.key).wide),
  };
}

/** The place of a column in HBM. @param {Plan} plan */
function standing(plan, one) {
  const { x, wide } = plan.places.get(one.key);
  const w = plan.wide(one);
  return { x: one.wide ? x : x + (wide - w) / 2, y: plan.top, w, h: Math.max(one.rows * plan.pixel, 10) };
}

const smooth = (u) => u * u * (3 - 2 * u);
const within = (x, from, to) => Math.min(Math.max((x - from) / (to - from || 1), 0), 1);
const mix = (a, b, u) => a + (b - a) * u;
const centre = ({ x, y, w, h }) => ({ x: x + w / 2, y: y + h / 2, w, h });

/** A tile on its way, u of it done: over the bridge it keeps to its side and is no higher than that. */
function flying(plan, home, seat, u, into) {
  const [a, b] = [centre(home), centre(seat)];
  const from = into ? u : 1 - u; // 0 in HBM, 1 in SRAM
  const share = 0.4 * from + 0.6 * smooth(from);
  const x = mix(a.x, b.x, share);
  const { mouth, pipe, end } = bridgeOf(plan);
  const road = plan.middle + (into ? -pipe / 4 : pipe / 4);
  const out = smooth(within(x, a.x, mouth));
  const inside = smooth(within(x, end, b.x));
  const y = mix(mix(a.y, road, out), b.y, inside);
  const squeezed = Math.min(out, 1 - inside);
  const most = pipe / 2 - 4;
  const [w, h] = [mix(a.w, b.w, share), mix(a.h, b.h, share)];
  const shrink = mix(1, Math.min(1, most / Math.max(h, 1)), squeezed);
  const narrower = mix(1, Math.min(1, (3 * most) / Math.max(w * shrink, 1)), squeezed);
  const wide = Math.max(w * shrink * narrower, 3);
  return { x: Math.min(Math.max(x, wide / 2), plan.width - wide / 2), y, w: wide, h: Math.max(h * shrink, 3) };
}

/** @param {Plan} plan */
function bridgeOf({ right, box: store, narrow, side }) {
  const end = store.x - 5;
  const pipe = narrow ? 30 : Math.min(48, Math.max(0.34 * side, 36));
  return { mouth: right + Math.min(0.3 * (end - right), 40), end, pipe };
}

/** The memories and what joins them. @param {Plan} plan */
function ground(plan, first) {
  const { meta, right, top, side, middle, narrow, box: store } = plan;
  const { mouth, end, pipe } = bridgeOf(plan);
  const shore = 0.36 * side + 6;
  const along = Array.from({ length: 11 }, (_, i) => i / 10);
  const bank = along.map((u) => [mix(right - 1, mouth, u), mix(shore, pipe / 2, smooth(u))]);
  const points = [
    ...bank.map(([x, y]) => [x, middle - y]), [end, middle - pipe / 2], [end, middle + pipe / 2],
    ...bank.reverse().map(([x, y]) => [x, middle + y]),
  ];
  const shapes = [
    box(meta, top - 10, right - meta, side + 36, "panel", 1, { r: 6, stroke: "shore" }),
    { points, fill: "panel" },
    line(mouth, middle, end, middle, "line", { dash: [3, 5] }),
    narrow
      ? word("HBM", meta + 2, top - 16)
      : word("HBM, the large memory", meta + 4, top - 16, "ink-2", { size: 13 }),
  ];
  if (first && !narrow && end - right > 100)
    shapes.push(word("the bridge", (mouth + end) / 2, middle - pipe / 2 - 8, "ink-2", { size: 13, anchor: "middle" }));
  shapes.push(box(store.x, store.y, store.w, store.h, "paper", 1, { r: 5 }));
  return shapes;
}

const dashed = ({ x, y, w, h }) => box(x - 0.5, y - 0.5, w, h, null, 1, { stroke: "line", dash: [2, 4], r: 3 });

/** What stands in HBM. @param {Plan} plan */
function tensors(plan, lane, clock, e, done) {
  const { trace } = lane;
  const shapes = [];
  for (const one of lane.columns) {
    const place = standing(plan, one);
    const { wide, x } = plan.places.get(one.key);
    if (one.tensor < 0) {
      const { rows, columns, states } = gridStates(trace, e);
      shapes.push(dashed(place));
      shapes.push(...cells(states, rows, columns, place, (state) => {
        if (state === AHEAD || state === NEVER) return null;
        return { fill: "s", alpha: done ? GHOST[PAST] : GHOST[state], r: 2 };
      }));
    } else if (one.written) {
      for (let cell = 0; cell < one.states.length; cell += 1)
        one.states[cell] = clock >= one.final[cell] ? WHOLE : clock >= one.first[cell] ? SOME : EMPTY;
      if (one.wide) shapes.push(dashed(place));
      const result = one.tensor === trace.result;
      shapes.push(...cells(one.states, one.down, one.along, place, (state) => {
        if (state === EMPTY) return one.wide ? null : { fill: null, stroke: one.colour, alpha: 0.5, r: 2 };
        return { fill: one.colour, alpha: result ? (state === WHOLE ? 1 : 0.55) : 0.62, r: 2 };
      }));
    } else {
      const down = cut(one.rows, Math.max(one.unit, 1));
      const along = cut(Math.max(Math.round(one.many), 1), 1);
      shapes.push(...cells(new Uint8Array(down.count * along.count), down, along, place, () => ({
        fill: one.colour, alpha: 0.45, r: 2,
      })));
    }
    shapes.push(labelOf(plan, lane, one, place, x, wide));
  }
  return shapes;
}

function labelOf(plan, lane, one, place, x, wide) {
  const ink = one.colour === "ink-2" ? "ink" : one.colour;
  const y = plan.top + plan.side + 18;
  if (!one.wide) return word(fitting(one.name, wide + 4), x + wide / 2, y, ink, { bold: true, anchor: "middle" });
  const next = [...plan.places].find(([key, at]) => at.x > x && lane.columns.some((other) => other.key === key));
  const free = (next ? next[1].x : plan.right) - x - 8;
  const long = laneWords(one.tensor < 0 ? "ghost" : "stored", { name: one.name });
  const text = [long, one.name].find((each) => each.length * LETTER <= free) ?? fitting(one.name, free);
  return word(text, place.x, y, ink, { bold: true });
}

/** What the program that runs holds. @param {Plan} plan */
function holding(plan, lane, seats, e, done) {
  const { trace } = lane;
  const { box: store, limit } = plan;
  const live = trace.live[trace.of.live(e)];
  const over = trace.liveBytes(e) > limit;
  const shapes = [];
  if (!done) {
    for (const [tile] of live) {
      const seat = seats.get(tile);
      if (!seat) continue;
      const { colour } = trace.tiles[tile];
      const [x, y] = [store.x + 5 + seat.x, store.y + 5 + seat.y];
      const [w, h] = [Math.max(seat.w - 1.5, 2), Math.max(seat.h - 1.5, 2)];
      shapes.push(box(x, y, w, h, colour, colour === "o" ? 0.6 : 0.8, { r: 2 }));
      const ink = colour === "o" ? "ink" : "paper";
      if (LETTERS[colour] && w >= 12 && h >= 14)
        shapes.push(word(LETTERS[colour], x + w / 2, y + h / 2 + 4.5, ink, { bold: true, anchor: "middle" }));
    }
  }
  shapes.push(
    box(store.x, store.y, store.w, store.h, null, 1, { stroke: done ? "line" : over ? "bad" : "ink", width: 2, r: 5 }),
    word(`SRAM, ${size(limit)}`, store.x + store.w, store.y - 8, over && !done ? "bad" : "ink-2", {
      size: plan.narrow ? 12 : 13, anchor: "end",
    }),
  );
  return shapes;
}

/** What is in the air, and the glow of what has just set out. @param {Plan} plan */
function flight(plan, lane, seats, clock) {
  const { trace, air } = lane;
  const { length } = plan.race;
  const shapes = [];
  const kernelSeats = (e) => seats[trace.kernel[trace.programOf(e)]];
  for (const e of air.around(clock)) {
    const tensor = trace.of.tensor(e);
    const one = lane.columns[tensor];
    const into = !trace.of.written(e);
    const [leaves, lands] = [air.leaves[e], air.lands[e]];
    const place = standing(plan, one);
    const spot = placed(trace, tensor, trace.tile(e));
    const [, height, width] = trace.tensors[tensor].shape;
    const columns = height === 1 && width > 1 ? 1 : width;
    const home = {
      x: place.x + (spot.left / columns) * place.w,
      y: place.y + (spot.top / one.rows) * place.h,
      w: Math.max(((spot.right - spot.left) / columns) * place.w - 1, 2),
      h: Math.max(((spot.bottom - spot.top) / one.rows) * place.h - 1, 2),
    };
    const age = (clock - leaves) / (0.6 * length);
    if (into && age < 1) shapes.push(box(home.x, home.y, home.w, home.h, one.colour, 0.55 * (1 - age), { r: 2 }));
    if (clock >= lands) continue;
    const found = [...kernelSeats(e)].find(([tile]) => trace.tiles[tile].colour === one.colour)?.[1];
    const inside = found
      ? { x: plan.box.x + 5 + found.x, y: plan.box.y + 5 + found.y, w: found.w, h: found.h }
      : { x: plan.box.x + plan.box.w / 2 - 6, y: plan.box.y + plan.box.h / 2 - 6, w: 12, h: 12 };
    const at = flying(plan, home, inside, (clock - leaves) / (lands - leaves || 1), into);
    const tail = Math.min(Math.max(at.x - at.w / 2 + (into ? -0.5 : 0.5) * at.w, 0), plan.width - at.w);
    shapes.push(
      box(tail, at.y - 0.35 * at.h, at.w, 0.7 * at.h, one.colour, 0.16, { r: 2 }),
      box(at.x - at.w / 2, at.y - at.h / 2, at.w, at.h, one.colour, 1, { stroke: "paper", r: Math.min(3, at.h / 3) }),
    );
  }
  return shapes;
}

/** The name, the number that counts, how far it is to go. @param {Plan} plan */
function odometer(plan, lane, clock, e, waits) {
  const { race, narrow, meta, width } = plan;
  const { trace } = lane;
  const bytes = Math.min(clock, trace.total);
  const done = clock >= trace.total;
  const unit = ["B", "KiB", "MiB", "GiB", "TiB"][race.unit];
  const scale = 1024 ** race.unit;
  const inUnits = (nbytes) => fixed(nbytes / scale, race.unit && race.longest < 1000 * scale ? 1 : 0);
  const ink = done && waits !== null ? "good" : "ink";
  const kernel = trace.kernel[trace.programOf(e)];
  const state = laneWords("stands", {
    done, waits: Boolean(waits),
    kernel: trace.kernels.length > 1 ? trace.kernels[kernel].name : null,
    program: trace.programOf(e) - trace.kernel.indexOf(kernel) + 1,
    programs: trace.kernel.filter((one) => one === kernel).length,
  });
  const ratio = race.most === trace && race.more > 1.005;
  const long = (narrow ? width : meta - 24) * (trace.total / race.longest);
  const bar = (y, h) => [
    box(0, y, Math.max(long, 2), h, "line", 1, { r: h / 2 }),
    ...(bytes ? [box(0, y, Math.max((long * bytes) / trace.total, 2), h, ink, 1, { r: h / 2 })] : []),
  ];
  if (narrow) {
    const from = trace.name.length * 9.6 + 10;
    const number = `${inUnits(bytes)} ${unit}`;
    const free = width - number.length * 12.4 - from - 8;
    const states = done ? "good" : "ink-2";
    const more = ratio ? laneWords("ratio", { more: race.more }) : state;
    return [
      word(fitting(trace.name, 0.55 * width, 9.6), 0, 18, "ink", { bold: true, size: 16 }),
      word(number, width, 19, ink, { bold: true, size: 20, anchor: "end" }),
      ...(free > 50 ? [word(fitting(more, free), from, 18, ratio ? "bad" : states, { bold: done || ratio })] : []),
      ...bar(25, 4),
    ];
  }
  const letters = 7; // of 13 px
  const crossed = laneWords("crossed", { unit, total: inUnits(trace.total) });
  return [
    word(fitting(trace.name, meta - 12, 12), 0, 20, "ink", { bold: true, size: 20 }),
    word(inUnits(bytes), 0, 64, ink, { bold: true, size: 44 }),
    word(fitting(crossed, meta - 8, letters), 0, 86, "ink-2", { size: 13 }),
    ...bar(97, 6),
    word(fitting(state, meta - 12, letters), 0, 124, done ? "good" : "ink-2", { size: 13, bold: done }),
    ...(ratio ? [word(laneWords("ratio", { more: race.more }), 0, 147, "bad", { bold: true, size: 15 })] : []),
  ];
}

/** A shape moved down. */
const lower = (by) => (shape) =>
  shape.points ? { ...shape, points: shape.points.map(([x, y]) => [x, y + by]) } : { ...shape, y: shape.y + by };

/**
 * The stage at a moment: both traces on one clock of bytes moved. The frame of a clock is always the same.
 * @param {Plan} plan @param {number} clock bytes
 */
export function raceShapes(plan, clock) {
  const { lanes } = plan.race;
  return lanes.flatMap((lane, i) => {
    const { trace } = lane;
    const e = Math.max(trace.eventAt(clock), 0);
    const done = clock >= trace.total;
    const other = lanes[1 - i]?.trace;
    const seats = plan.seats[i];
    return [
      ...ground(plan, i === 0),
      ...tensors(plan, lane, clock, e, done),
      ...holding(plan, lane, seats[trace.kernel[trace.programOf(e)]], e, done),
      ...flight(plan, lane, seats, clock),
      ...odometer(plan, lane, clock, e, other ? clock < other.total : null),
    ].map(lower(i * (plan.laneHeight + plan.between)));
  });
}
