/**
 * A recorded trace, opened: everything at event e is a look-up, so any frame costs the same. scene.py writes what is
 * read here. Event e stands for the moment after it; before the first is -1.
 * @typedef {{name: string, colour: string, part: ?string, written: boolean, shape: [number, number, number],
 *   element: number, dtype: string}} Tensor
 * @typedef {{at: Int32Array, m: Uint8Array, l: Uint8Array, risen: Uint8Array}} Rows of one program, at each change
 * @typedef {{name: string, source: string, kernels: {name: string, grid: number[], code: string[]}[],
 *   tensors: Tensor[], first: Int32Array, kernel: Uint8Array, program: Int32Array, acts: Int32Array,
 *   act: Uint8Array | Uint32Array, place: Uint32Array | Float64Array, live: [tile: number, bytes: number][][],
 *   tiles: {name: string, colour: string}[], rows: Rows[], issued: number, issued_read: number, sectors: number,
 *   l2: {words: string, bytes: number}[], compulsory: number, compulsory_read: number}} Scene
 * @typedef {{leading: number, top: number, bottom: number, left: number, right: number}} Tile
 * @typedef {Tile & {event: number, kernel: number, which: number, written: boolean}} Met
 * @typedef {{queries: number, keys: number, q: number, k: number, stored: number[], met: Met[],
 *   metAt?: number[]}} Visits
 * @typedef {ReturnType<typeof openTrace>} Trace
 */

const ACT = ["tensor", "kind", "line", "live", "height", "width", "read", "written", "masked", "flops"];
export const KINDS = ["load", "store", "atomic", "dot"];
const DOT = 3;

/** The last index whose value is at most x, or -1. @param {ArrayLike<number>} rising @param {number} x */
export function lastAtMost(rising, x) {
  let [low, high] = [-1, rising.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (rising[middle] <= x) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** @param {Scene} scene its arrays typed */
export function openTrace(scene) {
  const { act, place, acts, first, tensors, live } = scene;
  const events = act.length;
  const of = Object.fromEntries(ACT.map((name, i) => [name, (e) => acts[act[e] * ACT.length + i]]));
  const liveBytes = live.map((tiles) => tiles.reduce((sum, [, bytes]) => sum + bytes, 0));

  const moved = new Float64Array(events);
  const reads = tensors.map(() => new Float64Array(events));
  const writes = tensors.map(() => new Float64Array(events));
  for (let e = 0; e < events; e += 1) {
    moved[e] = (e ? moved[e - 1] : 0) + of.read(e) + of.written(e);
    for (let t = 0; t < tensors.length; t += 1) {
      const here = of.tensor(e) === t;
      reads[t][e] = (e ? reads[t][e - 1] : 0) + (here ? of.read(e) : 0);
      writes[t][e] = (e ? writes[t][e - 1] : 0) + (here ? of.written(e) : 0);
    }
  }

  /** The tile of an event in its tensor. */
  function tile(e) {
    const [, rows, columns] = tensors[of.tensor(e)].shape;
    const row = Math.floor(place[e] / columns);
    const [top, left] = [row % rows, place[e] % columns];
    return { leading: Math.floor(row / rows), top, bottom: top + of.height(e), left, right: left + of.width(e) };
  }

  /** All that touches a tensor, in order, and the tile that is usual for it; made when it is first asked for. */
  const known = new Map();
  function touches(tensor) {
    if (!known.has(tensor)) {
      const tiles = [];
      const sizes = new Map();
      for (let e = 0; e < events; e += 1) {
        if (of.tensor(e) !== tensor) continue;
        tiles.push({ event: e, program: programOf(e), written: of.written(e) > 0, ...tile(e) });
        const size = `${of.height(e)} ${of.width(e)}`;
        sizes.set(size, (sizes.get(size) ?? 0) + 1);
      }
      const [usual] = [...sizes].sort((a, b) => b[1] - a[1])[0] ?? ["1 1"];
      const [height, width] = usual.split(" ").map(Number);
      known.set(tensor, { tiles, height: Math.max(height, 1), width: Math.max(width, 1) });
    }
    return known.get(tensor);
  }

  const programOf = (e) => lastAtMost(first, e);
  const result = resultOf(scene, of, events);
  const finished = finishing({ events, of, place, result });
  const trace = {
    ...scene, events, of, tile, touches, moved, reads, writes, result, programOf,
    /** @type {?Visits} */
    visits: null,
    total: events ? moved[events - 1] : 0,
    peak: liveBytes.length ? Math.max(...liveBytes) : 0,
    isDot: (e) => of.kind(e) === DOT,
    liveBytes: (e) => liveBytes[of.live(e)],
    /** The event that has been reached when this many bytes have moved. */
    eventAt: (bytes) => lastAtMost(moved, bytes),
    /** How much of the result stands as it will stay. */
    share: (e) => (e < 0 || !events ? 0 : finished[e] / finished[events - 1]),
    programEnd: (program) => (program + 1 < first.length ? first[program + 1] : events) - 1,
    statistics(e) {
      const rows = scene.rows.find(({ at }) => programOf(at[0]) === programOf(e));
      const change = rows ? lastAtMost(rows.at, e) : -1;
      if (change < 0) return null;
      const count = rows.m.length / rows.at.length;
      const cut = (values) => values.subarray(change * count, (change + 1) * count);
      return { m: cut(rows.m), l: cut(rows.l), risen: cut(rows.risen), fresh: rows.at[change] === e };
    },
  };
  trace.visits = visits(trace);
  if (trace.visits) trace.visits.metAt = trace.visits.met.map(({ event }) => event);
  return trace;
}

/** The tensor that the run is for: the output of attention, else the one written last. -1 when nothing is written. */
function resultOf({ tensors }, of, events) {
  const named = tensors.findIndex(({ part, written }) => part === "o" && written);
  if (named >= 0) return named;
  for (let e = events - 1; e >= 0; e -= 1) if (of.written(e)) return of.tensor(e);
  return -1;
}

/** Bytes of the result that were written for the last time, summed up to each event. */
function finishing({ events, of, place, result }) {
  const lastWrite = new Map();
  for (let e = 0; e < events; e += 1) if (of.written(e) && of.tensor(e) === result) lastWrite.set(place[e], e);
  const last = new Set(lastWrite.values());
  const finished = new Float64Array(events);
  for (let e = 0; e < events; e += 1) finished[e] = (e ? finished[e - 1] : 0) + (last.has(e) ? of.written(e) : 0);
  return finished;
}

/**
 * What the N x N grid shows, in order: tiles of a stored score matrix where there is one, else each pair of a query
 * tile and a key tile that met in SRAM. null without queries and keys.
 * @param {Omit<Trace, "visits">} trace @returns {?Visits}
 */
function visits(trace) {
  const { tensors, events, of, tile, first } = trace;
  const [q, k] = ["q", "k"].map((part) => tensors.findIndex((tensor) => tensor.part === part));
  if (q < 0 || k < 0) return null;
  const [queries, keys] = [tensors[q].shape[1], tensors[k].shape[1]];
  const stored = tensors.flatMap(({ part, shape, written }, t) =>
    part === "s" && written && shape[1] === queries && shape[2] === keys ? [t] : [],
  );
  const met = [];
  if (stored.length) {
    for (let e = 0; e < events; e += 1) {
      const which = stored.indexOf(of.tensor(e));
      if (which >= 0) met.push({ event: e, kernel: 0, which, written: of.written(e) > 0, ...tile(e) });
    }
    return { queries, keys, q, k, stored, met };
  }
  first.forEach((begin, program) => {
    const end = trace.programEnd(program);
    let [loadedQ, loadedK] = [0, 0];
    for (let e = begin; e <= end; e += 1) {
      if (of.kind(e) === 0 && of.tensor(e) === q) loadedQ += 1;
      if (of.kind(e) === 0 && of.tensor(e) === k) loadedK += 1;
    }
    // The tile that changes in the inner loop brings a new pair; the other one waits in SRAM.
    const inner = loadedQ > loadedK ? q : k;
    const latest = {};
    for (let e = begin; e <= end; e += 1) {
      const tensor = of.tensor(e);
      if (of.kind(e) !== 0 || (tensor !== q && tensor !== k)) continue;
      latest[tensor] = tile(e);
      if ((tensor !== inner && loadedQ !== loadedK) || !latest[q] || !latest[k]) continue;
      const { leading, top, bottom } = latest[q];
      met.push({
        event: e,
        kernel: trace.kernel[program],
        which: 0,
        written: false,
        leading,
        top,
        bottom,
        left: latest[k].top,
        right: latest[k].bottom,
      });
    }
  });
  return { queries, keys, q, k, stored, met };
}

/**
 * Two traces on one clock of bytes moved. Step s is an event of the watched trace; once that has ended, of the other.
 * @param {Trace} watched @param {?Trace} other
 */
export function clock(watched, other) {
  const { events, moved, total } = watched;
  const after = other ? other.eventAt(total) + 1 : 0;
  const tail = other ? Math.max(0, other.events - after) : 0;
  const last = events + tail - 1;
  const bytes = (step) => (step < events ? moved[step] : other.moved[after + step - events]);
  return {
    last, bytes,
    event: (step) => Math.min(step, events - 1),
    /** The step that has been reached when this many bytes have moved. */
    step(at) {
      let [low, high] = [0, last];
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (bytes(middle) <= at) low = middle;
        else high = middle - 1;
      }
      return low;
    },
  };
}
