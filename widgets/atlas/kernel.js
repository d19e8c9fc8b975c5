const REST = 120; // ms without a movement after which a kernel is asked
const CHUNKS_AT_ONCE = 12; // of 64 KB each for a head_dim of 64: a message stays under a megabyte

/**
 * The talk with a running kernel, which sends what is not in the page: one message at a time, once the map rests. On a
 * static page nobody answers, `live` stays false, and nothing is ever asked.
 * @typedef {[head: number, side: "q" | "k", chunk: number]} Chunk
 * @param {import("../kit/mount.js").Model} model @param {import("./heads.js").Head[]} heads
 * @param {{came: () => void, told: () => void, ready: () => void}} hear
 */
export function talk(model, heads, hear) {
  const known = new Map();
  let live = false, wanted = new Map(), waiting = false, timer = 0;

  function rest() {
    clearTimeout(timer);
    timer = setTimeout(ask, REST);
  }
  function ask() {
    if (waiting || !wanted.size) return;
    const facts = wanted.get("facts");
    wanted.delete("facts");
    const chunks = [...wanted.values()]
      .filter(([head, side, at]) => !heads[head].vectors[side][at])
      .slice(0, CHUNKS_AT_ONCE);
    wanted = new Map();
    if (!facts && !chunks.length) return;
    waiting = true;
    model.send({ asks: "more", chunks, facts: facts ?? null });
  }
  function onMessage(message, buffers) {
    const typed = (Kind, view) => new Kind(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
    if (message.answers === "hello") {
      live = true;
      hear.ready();
      return;
    }
    waiting = false;
    let next = 0;
    for (const [head, side, at] of message.chunks) {
      const values = typed(Float32Array, buffers[next++]);
      heads[head].receive(side, at, values, side === "q" ? typed(Float64Array, buffers[next++]) : null);
    }
    if (message.facts) {
      known.set(`${message.facts.head} ${message.facts.query}`, message.facts);
      hear.told();
    }
    if (message.chunks.length) hear.came();
    rest();
  }
  model.on("msg:custom", onMessage);
  model.send({ asks: "hello" });
  return {
    live: () => live,
    /** @param {Chunk[]} chunks */
    wants(chunks) {
      if (!live) return;
      for (const chunk of chunks) wanted.set(chunk.join(" "), chunk);
      rest();
    },
    /** The facts of a row, or null: then they are asked for. */
    facts(head, query) {
      const found = known.get(`${head} ${query}`) ?? null;
      if (!found && live) {
        wanted.set("facts", [head, query]);
        rest();
      }
      return found;
    },
    stop() {
      clearTimeout(timer);
      model.off("msg:custom", onMessage);
    },
  };
}
