import { KINDS } from "./trace.js";
import { ofHead, span } from "./say.js";

/**
 * What one event does, in the words' terms.
 * @param {import("./trace.js").Trace} trace @param {number} e @returns {import("./say.js").Event}
 */
export function eventFacts(trace, e) {
  const kind = KINDS[trace.of.kind(e)];
  if (kind === "dot") return { kind };
  const { name, shape } = trace.tensors[trace.of.tensor(e)];
  const tile = trace.tile(e);
  return {
    kind,
    tensor: name,
    span: span(tile, shape),
    bytes: trace.of.read(e) || trace.of.written(e),
    head: ofHead(shape[0] > 1 ? tile.leading + 1 : null),
  };
}

/**
 * Everything that is said of a frame: event e of the watched trace, with `bytes` on the clock. facts.py does the same.
 * @param {import("./trace.js").Trace} trace @param {number} e @param {number} bytes @param {number} limit
 * @param {?import("./trace.js").Trace} other @returns {import("./say.js").Facts}
 */
export function factsOf(trace, e, bytes, limit, other) {
  const program = trace.programOf(e);
  const kernel = trace.kernel[program];
  const of = (index) => trace.kernel.indexOf(index);
  const found = trace.statistics(e);
  const rose = found?.fresh ? found.risen.reduce((sum, one) => sum + one, 0) : 0;
  return {
    name: trace.name,
    kernel: trace.kernels.length > 1 ? trace.kernels[kernel].name : null,
    program: program - of(kernel) + 1,
    programs: trace.kernel.filter((one) => one === kernel).length,
    event: eventFacts(trace, e),
    live: trace.liveBytes(e),
    limit,
    risen: rose ? [rose, found.risen.length] : null,
    moved: bytes,
    total: trace.total,
    ended: bytes > trace.total,
    share: trace.share(e),
    result: trace.result < 0 ? "nothing" : trace.tensors[trace.result].name,
    other: other && { name: other.name, share: other.share(other.eventAt(bytes)), total: other.total },
  };
}
