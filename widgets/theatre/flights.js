/**
 * When each tile is in the air, on the clock of bytes moved. A load is counted when it reaches SRAM, a store when it
 * leaves: so nothing leaves SRAM before what it was computed from has arrived. A load sets out `length` bytes ahead,
 * but not before what it reads has come back from an earlier store. Only how long a tile flies isn't the recording's.
 * @typedef {ReturnType<typeof flights>} Flights
 * @param {import("./trace.js").Trace} trace @param {number} length
 */
export function flights(trace, length) {
  const { events, of, moved, tensors } = trace;
  const [leaves, lands] = [new Float64Array(events), new Float64Array(events)];
  const writers = tensors.map(() => new Map()); // row -> the last event that wrote it
  for (let e = 0; e < events; e += 1) {
    [leaves[e], lands[e]] = [e ? moved[e - 1] : 0, moved[e]];
    if (trace.isDot(e)) continue;
    const { leading, top, bottom } = trace.tile(e);
    const [tensor, first] = [of.tensor(e), leading * tensors[of.tensor(e)].shape[1]];
    if (of.written(e)) lands[e] += length;
    else leaves[e] -= length;
    for (let row = first + top; row < first + bottom; row += 1) {
      const writer = writers[tensor].get(row);
      if (of.written(e)) writers[tensor].set(row, e);
      else if (writer !== undefined && lands[writer] > leaves[e]) {
        lands[writer] = Math.min(lands[writer], (leaves[writer] + moved[e]) / 2);
        leaves[e] = Math.max(leaves[e], lands[writer]);
      }
    }
  }
  return {
    leaves, lands,
    /** What is in the air, or has just been. @returns {number[]} */
    around(clock) {
      const found = [];
      const last = Math.min(trace.eventAt(clock + length) + 1, events - 1);
      for (let e = Math.max(trace.eventAt(clock - length), 0); e <= last; e += 1)
        if (!trace.isDot(e) && leaves[e] < clock) found.push(e);
      return found;
    },
  };
}
