import { svg } from "../kit/dom.js";
import { bigNumber, box, scene, stroke, words } from "./scene.js";

const GAP = 3; // pixels between cells
const RESTS = 0.35; // how strongly a chunk is drawn that has attended

/** A table (orders, stops, size) where the dials stand, between two stops on the way. @param {number[]} at */
function tableAt(table, stops, size, at) {
  const [stop, order] = at;
  const row = (there, way) => (Math.min(way, 1) * stops + Math.min(there, stops - 1)) * size;
  const [low, near, share, turn] = [Math.floor(stop), Math.floor(order), stop % 1, order % 1];
  return (i) => {
    const along = (way) => (1 - share) * table[row(low, way) + i] + share * table[row(low + 1, way) + i];
    return (1 - turn) * along(near) + turn * along(near + 1);
  };
}

export default scene(({ drawn, at, room }) => {
  const { tokens, chunk, sinks } = drawn;
  const stops = drawn.held.length / 2 / tokens;
  const label = room.choose(112, 0);
  const cell = (room.choose(540, room.width) - label) / tokens;
  const lift = room.choose(0, 18); // a label stands over its row where the room is narrow
  const [size, x] = [cell - GAP, (place) => label + place * cell];
  const [stop, order] = [Math.round(at[0]), Math.round(at[1])];
  const first = chunk * Math.floor(stop / 2);
  const held = tableAt(drawn.held, stops, tokens, at);
  const top = 20 + lift;
  const rows = top + size + 34;
  const places = Array.from({ length: tokens }, (_, i) => i);
  const name = (y, text, fill) =>
    room.narrow ? words(0, y - 6, text, { fill }) : words(label - 10, y + size / 2 + 5, text, { fill, anchor: "end" });
  const middle = (place) => x(place) + size / 2;

  const cache = places.flatMap((place) => {
    const [here, isNew] = [held(place), place >= first && place < first + chunk];
    const came = place < first + chunk;
    return [
      words(middle(place), 12, String(place), {
        anchor: "middle",
        fill: isNew ? "q" : "ink-2",
        weight: isNew ? 650 : 400,
      }),
      box(x(place), top, size, size, { line: isNew ? "q" : "line", radius: 3, dash: came ? "" : "2 3" }),
      box(x(place), top, size, size, { fill: place < sinks ? "m" : "k", radius: 3, opacity: here }),
      came && here < 0.5
        ? stroke([[x(place) + 5, top + size - 5], [x(place) + size - 5, top + 5]], { colour: "ink-2" })
        : null,
    ];
  });

  const strength = RESTS + (1 - RESTS) * Math.abs((at[0] % 2) - 1);
  const put = (table, query, place) => table[((order * stops + stop) * chunk + query) * tokens + place];
  let seen = 0;
  let lost = 0;
  const reads = Array.from({ length: chunk }, (_, query) => {
    const y = rows + query * (size + 6 + lift) + lift;
    const cells = places.map((place) => {
      if (put(drawn.lost, query, place)) {
        lost += 1;
        const [left, right, up, down] = [x(place) + 5, x(place) + size - 5, y + 5, y + size - 5];
        return svg("g", {},
          box(x(place), y, size, size, { line: "bad", radius: 3 }),
          stroke([[left, up], [right, down]], { colour: "bad", width: 2 }),
          stroke([[left, down], [right, up]], { colour: "bad", width: 2 }));
      }
      if (!put(drawn.seen, query, place)) return box(x(place), y, size, size, { fill: "panel", radius: 3 });
      seen += 1;
      return box(x(place), y, size, size, { fill: place === first + query ? "q" : "s", radius: 3, opacity: strength });
    });
    return svg("g", {}, name(y, `query ${first + query} reads`, "q"), ...cells);
  });

  const bottom = rows + chunk * (size + 6 + lift);
  const [left, high] = room.choose([580, top + 40], [0, bottom + 46]);
  const [number, what] = order
    ? [lost, `of ${seen + lost} pairs lost`]
    : [places.filter((place) => held(place) > 0.5).length, "tokens held"];
  return [
    room.choose(bottom, high + 30),
    ...cache.filter(Boolean),
    name(top, "in the cache", "k"),
    words(x(0), top + size + 16, "sink", { fill: "m" }),
    ...reads,
    bigNumber(left, high, String(number), { size: room.choose(44, 32), fill: order && lost ? "bad" : "ink" }),
    words(left, high + 22, what, { size: 15 }),
  ];
});
