import { html, svg } from "../kit/dom.js";
import { count, visible } from "../kit/format.js";
import { cellAt, roundTicks } from "./camera.js";
import { keepsEverything, reachOf } from "./mask.js";
import { overlayDots } from "./overlay.js";
import { TILE, levelFor, tilesIn } from "./pyramid.js";
import { paint, paintDifference, pixelsIn, tokensOf } from "./raster.js";
import { missing, weightAt } from "./recompute.js";
import { codeOf, placeOf, weightOf } from "./scale.js";
import { acrossOf, allowedShape, cutLine, downOf, keptShape, pixelsPerCell, trace, windowEdges } from "./shapes.js";

const DEEP_TILES = 48; // a view that needs more is not worth waiting for: the stored squares stand for it
const LABELLED_FROM = 12; // pixels of a cell from which its token is written beside it

/** Where the parts of a map stand in a picture so wide. */
function layoutOf(width, texts) {
  const narrow = width < 420;
  const left = narrow ? 44 : texts ? 68 : 58;
  const right = narrow ? 40 : 56;
  const side = Math.max(80, width - left - right - 12);
  const foot = texts ? 124 : 84;
  return { left, top: 22, side, right, foot, width, height: 22 + side + foot };
}

/**
 * A map of one head, or of the difference of two: pixels, axes, the profiles of a row and a column, the cursor.
 * @typedef {import("./heads.js").Head} Head
 * @typedef {import("./camera.js").Camera} Camera
 * @typedef {import("./mask.js").Mask} Mask
 * @typedef {{query: number, key: number}} Cursor
 * @typedef {{shown: number, second: ?number, mode: "one" | "beside" | "difference", log: boolean,
 *   statistic: "max" | "mean", hidden: boolean, onlyKept: boolean, overlay: boolean, top: number, mask: Mask,
 *   camera: Camera, cursor: Cursor, frozen: boolean}} State
 * @typedef {{state: State, colours: () => Record<string, string>,
 *   tables: () => {mass: Uint32Array, difference: Uint32Array}, titleOf: (heads: Head[]) => string[],
 *   profileTitle: (cursor: Cursor, short: boolean) => string,
 *   keeper: (head: Head, mask: Mask) => (query: number, key: number) => boolean, move: (camera: Camera) => void,
 *   zoom: (factor: number, u: number, v: number) => void, point: (query: number, key: number) => void,
 *   choose: (query: number, key: number) => void, wants: (chunks: import("./kernel.js").Chunk[]) => void}} Shared
 * @param {import("./heads.js").Data} data @param {Shared} shared what is seen, and whom a map reports to
 */
export function mapView(data, shared) {
  const base = html("canvas", { "aria-hidden": "true" });
  const axes = svg("svg", { "aria-hidden": "true" });
  const over = html("canvas", { "aria-hidden": "true" });
  const stage = html("div", { class: "al-atlas-stage", tabindex: 0, role: "application", "aria-label": "the map",
    "aria-roledescription": "attention map" }, base, axes, over);
  const raster = html("canvas", {});
  const { tokens, causal, text, bits } = data;
  let layout = null, ratio = 1, heads = [], queue = [];

  const place = () => ({ left: layout.left, top: layout.top, side: layout.side, camera: shared.state.camera, tokens });
  const scaleNow = () => ({ log: shared.state.log, bits, top: shared.state.top });

  function resize(width) {
    layout = layoutOf(width, Boolean(text));
    ratio = Math.min(2, window.devicePixelRatio || 1);
    for (const canvas of [base, over]) {
      [canvas.width, canvas.height] = [Math.round(layout.width * ratio), Math.round(layout.height * ratio)];
      canvas.style.height = `${layout.height}px`;
    }
    // Sizes and inks stand on the elements themselves: an exported picture has no stylesheet.
    axes.setAttribute("width", layout.width);
    axes.setAttribute("height", layout.height);
    axes.setAttribute("style", "fill:var(--ink-2)");
    raster.width = raster.height = Math.round(layout.side * ratio);
    stage.style.height = `${layout.height}px`;
    stage.dataset.map = `${layout.left} ${layout.top} ${layout.side}`; // for whoever points at a cell: tests do
  }

  /** Draw the heads: one, or the two whose difference is shown. Says what a pixel stands for. */
  function draw(drawn) {
    if (!layout) return null;
    const begun = performance.now();
    heads = drawn;
    const told = drawPixels();
    drawGround();
    drawAxes();
    performance.measure("atlas frame", { start: begun });
    performance.clearMeasures("atlas frame");
    return told;
  }

  function drawPixels() {
    const { camera, statistic, hidden } = shared.state;
    const context = raster.getContext("2d");
    const image = context.createImageData(raster.width, raster.height);
    const out = new Uint32Array(image.data.buffer);
    const keys = tokensOf(camera.x, camera.span, raster.width, tokens);
    const queries = tokensOf(camera.y, camera.span, raster.width, tokens);
    const everything = [0, raster.width];
    const stored = heads[0].stored;
    const top = Math.max(stored, Math.ceil(Math.log2(tokens)));
    const wanted = levelFor(camera.span / raster.width, stored, data.deepest, top);
    const level = Math.max(wanted, stored);
    fill(everything, everything, { level, stride: Math.ceil(tokens / 2 ** level), row: 0, column: 0 },
      heads.map((head) => head.codes(statistic, level, hidden)));
    const told = fillDeep();
    context.putImageData(image, 0, 0);
    return told;

    /** Where squares finer than the stored ones are known, they take the place of these. */
    function fillDeep() {
      queue = [];
      const tiles = wanted < stored ? tilesIn(camera, wanted, tokens, causal) : [];
      if (!tiles.length || tiles.length > DEEP_TILES) return { level, waiting: 0, absent: 0 };
      let absent = 0;
      for (const [row, column] of tiles) {
        const found = heads.map((head) => head.tile(wanted, row, column, hidden));
        if (found.every(Boolean)) {
          const size = TILE * 2 ** wanted;
          fill(
            pixelsIn(queries, row * size, (row + 1) * size),
            pixelsIn(keys, column * size, (column + 1) * size),
            { level: wanted, stride: TILE, row: row * TILE, column: column * TILE },
            found.map((tile) => tile[statistic]),
          );
          continue;
        }
        /** @type {import("./kernel.js").Chunk[]} */
        const lacking = heads.flatMap((head) =>
          missing(head.vectors, wanted, row, column).map(([side, chunk]) => [head.index, side, chunk]),
        );
        if (lacking.length) {
          absent += 1;
          shared.wants(lacking);
          continue;
        }
        heads.forEach((head, i) => {
          if (!found[i]) queue.push([head, wanted, row, column, hidden]);
        });
      }
      const middle = [camera.y + camera.span / 2, camera.x + camera.span / 2].map(
        (at) => at / (TILE * 2 ** wanted) - 0.5,
      );
      queue.sort(
        (a, b) => Math.hypot(a[2] - middle[0], a[3] - middle[1]) - Math.hypot(b[2] - middle[0], b[3] - middle[1]),
      );
      return { level: absent === tiles.length ? level : wanted, waiting: queue.length, absent };
    }

    function fill(rows, columns, at, codes) {
      if (codes.length === 2)
        paintDifference(
          out,
          queries,
          keys,
          rows,
          columns,
          at,
          codes[0],
          codes[1],
          shared.tables().difference,
          scaleNow(),
        );
      else paint(out, queries, keys, rows, columns, at, codes[0], shared.tables().mass);
    }
  }

  /** Hatching under everything, then the pixels where the attention may look (and, if asked, where the mask keeps). */
  function drawGround() {
    const { mask, onlyKept, hidden } = shared.state;
    const colour = shared.colours();
    const context = base.getContext("2d");
    const { left, top, side } = layout;
    const here = place();
    const chosen = heads[0].chosenBlocks(mask);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, layout.width, layout.height);
    context.save();
    context.beginPath();
    context.rect(left, top, side, side);
    context.clip();
    context.fillStyle = colour.panel;
    context.fillRect(left, top, side, side);
    hatch(context, colour.line);
    context.save();
    trace(context, allowedShape(here, heads[0].allowed));
    context.clip();
    if (onlyKept && !keepsEverything(mask)) {
      trace(context, keptShape(here, mask, causal, data.block, chosen));
      context.clip();
    }
    context.imageSmoothingEnabled = false;
    context.drawImage(raster, left, top, side, side);
    if (hidden) hideSink(context, here, colour);
    if (!keepsEverything(mask) && !onlyKept) drawMask(context, here, mask, chosen);
    if (data.overlay && shared.state.overlay) drawOverlay(context, here);
    context.restore();
    context.restore();
    context.strokeStyle = colour.line;
    context.strokeRect(left - 0.5, top - 0.5, side + 1, side + 1);
  }

  function hatch(context, line) {
    const { left, top, side } = layout;
    context.strokeStyle = line;
    context.lineWidth = 1;
    context.beginPath();
    for (let at = -side; at < side; at += 7) {
      context.moveTo(left + at, top + side);
      context.lineTo(left + at + side, top);
    }
    context.stroke();
  }

  function hideSink(context, here, colour) {
    const x = acrossOf(here);
    const width = x(data.sink) - x(0);
    context.save();
    context.beginPath();
    context.rect(x(0), here.top, Math.max(width, 2), here.side);
    context.clip();
    context.fillStyle = colour.panel;
    context.fillRect(here.left, here.top, here.side, here.side);
    hatch(context, colour.line);
    context.restore();
  }

  /** Dots, light with a dark edge, so that they read on every colour of the scale. */
  function drawOverlay(context, here) {
    context.fillStyle = "#fff";
    context.strokeStyle = "rgba(0,0,0,.65)";
    context.lineWidth = 1;
    context.beginPath();
    for (const { x, y, radius } of overlayDots(data.overlay, here, causal)) {
      context.moveTo(x + radius, y);
      context.arc(x, y, radius, 0, 2 * Math.PI);
    }
    context.fill();
    context.stroke();
  }

  /** The edges of the mask, light on dark, so that they read on every colour of the scale. */
  function drawMask(context, here, mask, chosen) {
    const x = acrossOf(here), y = downOf(here);
    const lines = [], marks = [];
    const reach = reachOf(mask.window, causal);
    const cell = pixelsPerCell(here);
    // What is too thin to stand beside is marked at its ends: a line would cover what it points at.
    if (reach !== null && (reach + 1) * cell > 3) lines.push(...windowEdges(here, reach, causal));
    if (mask.sinks * cell > 3) lines.push([[x(mask.sinks), y(0)], [x(mask.sinks), y(tokens)]]);
    else if (mask.sinks) marks.push([[x(mask.sinks / 2), y(0)], [x(mask.sinks / 2), y(tokens)]]);
    for (const at of mask.global_tokens) {
      const down = (edge) => [[x(edge), y(causal ? at : 0)], [x(edge), y(tokens)]];
      const across = (edge) => [[x(0), y(edge)], [x(causal ? at + 1 : tokens), y(edge)]];
      if (cell > 3) lines.push(down(at), down(at + 1), across(at), across(at + 1));
      else marks.push(down(at + 0.5), across(at + 0.5));
    }
    for (const line of marks) {
      const [start, end] = cutLine(line, { left: here.left + 9, top: here.top + 9, side: here.side - 18 });
      if (!start) continue;
      const share = Math.min(0.5, 12 / Math.hypot(end[0] - start[0], end[1] - start[1]));
      const between = (from, to) => [0, 1].map((c) => from[c] + share * (to[c] - from[c]));
      lines.push([start, between(start, end)], [between(end, start), end]);
    }
    const draw = (some, style, width, dash) => {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.setLineDash(dash);
      context.beginPath();
      for (const line of some) line.forEach(([px, py], i) => (i ? context.lineTo(px, py) : context.moveTo(px, py)));
      context.stroke();
      context.setLineDash([]);
    };
    const straight = lines.filter((line) => line.length === 2).map((line) => cutLine(line, here));
    const stepped = lines.filter((line) => line.length > 2); // dashes would break at every step
    draw([...straight, ...stepped], "rgba(0,0,0,.4)", 2.5, []);
    draw(straight, "#fff", 1.5, [5, 4]);
    draw(stepped, "#fff", 1.5, []);
    const size = data.block * cell;
    context.lineWidth = 1;
    for (const [row, column] of chosen) {
      if (y((row + 1) * data.block) < here.top || y(row * data.block) > here.top + here.side) continue;
      context.strokeStyle = size > 5 ? "rgba(0,0,0,.55)" : "#fff";
      context.strokeRect(x(column * data.block) + 1, y(row * data.block) + 1, size - 2, size - 2);
      context.strokeStyle = "#fff";
      context.strokeRect(x(column * data.block), y(row * data.block), size, size);
    }
  }

  /** Positions, or tokens where there is room for them: keys below the map, queries beside it. */
  function drawAxes() {
    const { camera } = shared.state;
    const { left, top, side } = layout;
    const here = place();
    const x = acrossOf(here), y = downOf(here);
    const cell = pixelsPerCell(here);
    const labelled = cell >= LABELLED_FROM;
    const step = labelled ? 1 : 0;
    const parts = [
      svg(
        "text",
        { x: left, y: top - 8, "font-size": 12, "font-weight": 600, style: "fill:var(--ink)" },
        shared.titleOf(heads).find((words) => 6.9 * words.length < layout.width - left) ?? "",
      ),
    ];
    const label = (at, room) => (text ? fitted(text[at], room) : count(at));
    const ticks = (from) =>
      (step
        ? Array.from({ length: Math.ceil(camera.span) + 1 }, (_, i) => Math.floor(from) + i)
        : roundTicks(from, camera.span, side < 300 ? 3 : 5)
      ).filter(
        (at) => at >= 0 && at < tokens && at + (step ? 0.5 : 0) >= from && at + (step ? 0.5 : 0) <= from + camera.span,
      );
    for (const at of ticks(camera.y)) {
      const py = y(at + (labelled ? 0.5 : 0));
      if (!labelled) parts.push(svg("path", { d: `M${left - 4} ${py}H${left}`, style: "stroke:var(--line)" }));
      parts.push(
        svg("text", { x: left - 9, y: py + 4, "text-anchor": "end" }, labelled ? label(at, left - 12) : count(at)),
      );
    }
    let end = -Infinity;
    for (const at of ticks(camera.x)) {
      const px = x(at + (labelled ? 0.5 : 0));
      if (labelled && text) {
        parts.push(
          svg(
            "text",
            { transform: `translate(${px + 4} ${top + side + 7}) rotate(-90)`, "text-anchor": "end" },
            label(at, 54),
          ),
        );
        continue;
      }
      const words = count(at);
      const half = words.length * 3.4;
      const middle = Math.min(Math.max(px, left + half - 8), left + side - half + 8);
      if (!labelled)
        parts.push(svg("path", { d: `M${px} ${top + side}V${top + side + 4}`, style: "stroke:var(--line)" }));
      if (middle - half < end + 4) continue;
      end = middle + half;
      parts.push(svg("text", { x: middle, y: top + side + 16, "text-anchor": "middle" }, words));
    }
    axes.replaceChildren(...parts);
  }

  /** As much of a token's text as there is room for. */
  function fitted(words, room) {
    const context = over.getContext("2d");
    context.font = `11px ${shared.colours().font}`;
    const letters = [...visible(words)].slice(0, 40);
    if (context.measureText(letters.join("")).width <= room) return letters.join("");
    while (letters.length > 1 && context.measureText(`${letters.join("")}…`).width > room) letters.pop();
    return `${letters.join("")}…`;
  }

  /** The cursor, and what its row and its column hold. Nothing else is drawn while a pointer moves. */
  function drawOver() {
    if (!layout || !heads.length) return;
    const begun = performance.now();
    const { cursor, frozen, camera } = shared.state;
    const colour = shared.colours();
    const context = over.getContext("2d");
    const { left, top, side, right } = layout;
    const here = place();
    const cell = pixelsPerCell(here);
    const px = acrossOf(here)(cursor.key), py = downOf(here)(cursor.query);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, layout.width, layout.height);

    const foot = layout.height;
    const profile = layout.foot - (text && cell >= LABELLED_FROM ? 64 : 20);
    const across = bars(
      side,
      (i) => camera.x + (i * camera.span) / side,
      (at) => [cursor.query, at],
      "row",
      cursor.query,
    );
    const down = bars(
      side,
      (i) => camera.y + (i * camera.span) / side,
      (at) => [at, cursor.key],
      "column",
      cursor.key,
    );
    for (const { at, width, height, tone } of across) {
      context.fillStyle = colour[tone];
      context.fillRect(left + at, foot - height * (profile - 16), Math.min(width, side - at), height * (profile - 16));
    }
    for (const { at, width, height, tone } of down) {
      context.fillStyle = colour[tone];
      context.fillRect(left + side + 8, top + at, height * (right - 4), Math.min(width, side - at));
    }
    context.strokeStyle = colour.line;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(left, foot - 0.5); context.lineTo(left + side, foot - 0.5);
    context.moveTo(left + side + 7.5, top); context.lineTo(left + side + 7.5, top + side);
    context.stroke();

    context.save();
    context.beginPath();
    context.rect(left - 4, top - 4, side + 8, side + 8);
    context.clip();
    const box = Math.max(cell, 8);
    const [bx, by] = [px + cell / 2 - box / 2, py + cell / 2 - box / 2];
    const outline = (wide, tone) => {
      context.lineWidth = wide;
      context.strokeStyle = tone;
      context.strokeRect(bx, by, box, box);
    };
    outline(4.5, "rgba(0,0,0,.5)");
    outline(2.5, frozen ? colour.k : "#fff");
    context.restore();
    // Which row and which column: marks at the edge, so that nothing of the map is covered.
    pointer(context, colour.q, [left - 1, by + box / 2], [-6, -4], [-6, 4]);
    pointer(context, colour.k, [bx + box / 2, top + side + 1], [-4, 6], [4, 6]);

    context.font = `11px ${colour.font}`;
    context.fillStyle = colour["ink-2"];
    context.textAlign = "left";
    context.fillText(shared.profileTitle(cursor, layout.width < 420), left, foot - profile + 11);
    performance.measure("atlas hover", { start: begun });
    performance.clearMeasures("atlas hover");
  }

  function pointer(context, colour, tip, ...corners) {
    if (
      tip[0] > layout.left + layout.side ||
      tip[1] < layout.top ||
      tip[0] < layout.left - 1 ||
      tip[1] > layout.top + layout.side + 1
    )
      return;
    context.fillStyle = colour;
    context.beginPath();
    context.moveTo(...tip);
    for (const [x, y] of corners) context.lineTo(tip[0] + x, tip[1] + y);
    context.fill();
  }

  /**
   * One bar a pixel (or a cell, where it is wider): the largest weight in it, on the scale of the map.
   * @param {number} side @param {(at: number) => number} tokenAt @param {"row" | "column"} kind @param {number} line
   * @param {(token: number) => [query: number, key: number]} pairAt
   */
  function bars(side, tokenAt, pairAt, kind, line) {
    const head = heads[0];
    const { cursor, mask } = shared.state;
    const cell = side / shared.state.camera.span;
    const stepPx = Math.max(1, cell);
    const whole = head.whole ? head.lines.whole(kind, line) : null;
    const keeps = shared.keeper(head, mask);
    const found = [];
    const own = kind === "row" ? cursor.key : cursor.query;
    const first = tokenAt(0);
    for (let at = cell >= 1 ? (Math.floor(first) - first) * cell : 0; at < side; at += stepPx) {
      const from = Math.max(0, Math.floor(tokenAt(at) + 1e-6));
      const to = Math.min(tokens, Math.max(from + 1, Math.ceil(tokenAt(at + stepPx) - 1e-6)));
      if (from >= tokens) break;
      let most = 0, best = from;
      if (whole) {
        for (let token = from; token < to; token += 1) if (whole[token] > most) { most = whole[token]; best = token; }
      } else if (to - from === 1) most = weightAt(head.vectors, ...pairAt(from)) ?? storedAt(head, ...pairAt(from));
      else most = storedAt(head, ...pairAt(from));
      if (!(most > 0)) continue;
      const isOwn = own >= from && own < to;
      const height = placeOf(codeOf(most, bits), scaleNow());
      const gap = cell > 3 ? 1 : 0;
      found.push({
        at: Math.max(at, 0),
        width: Math.min(at, 0) + stepPx - gap,
        height,
        tone: isOwn ? "k" : keeps(...pairAt(best)) ? "mark" : "faint",
      });
    }
    return found;
  }
  function storedAt(head, query, key) {
    const side = Math.ceil(tokens / 2 ** head.stored);
    return weightOf(head.codes("max", head.stored, false)[(query >> head.stored) * side + (key >> head.stored)], bits);
  }

  // What a pointer does; keys are the view's.
  /** @returns {[u: number, v: number]} */
  const inside = (event) => {
    const box = stage.getBoundingClientRect();
    return [
      (event.clientX - box.left - layout.left) / layout.side,
      (event.clientY - box.top - layout.top) / layout.side,
    ];
  };
  let grip = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const [u, v] = inside(event);
    if (u < 0 || u > 1 || v < 0 || v > 1) return;
    grip = { u, v, camera: shared.state.camera, moved: false };
    if (event.pointerType === "mouse") stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    const [u, v] = inside(event);
    if (grip && event.buttons && event.pointerType === "mouse") {
      if (Math.hypot(u - grip.u, v - grip.v) * layout.side > 4) grip.moved = true;
      if (grip.moved)
        shared.move({
          ...grip.camera,
          x: grip.camera.x + (grip.u - u) * grip.camera.span,
          y: grip.camera.y + (grip.v - v) * grip.camera.span,
        });
      return;
    }
    if (u >= 0 && u < 1 && v >= 0 && v < 1 && event.pointerType === "mouse")
      shared.point(...cellAt(shared.state.camera, u, v, tokens));
  });
  stage.addEventListener("pointerup", (event) => {
    if (grip && !grip.moved) shared.choose(...cellAt(shared.state.camera, ...inside(event), tokens));
    grip = null;
  });
  stage.addEventListener("pointercancel", () => { grip = null; });
  stage.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return; // the page scrolls; Ctrl, or a pinch, means the map
    event.preventDefault();
    const [u, v] = inside(event);
    shared.zoom(2 ** (-event.deltaY / 180), Math.min(1, Math.max(0, u)), Math.min(1, Math.max(0, v)));
  }, { passive: false });

  return {
    element: stage, resize, draw, drawOver,
    /** Tiles that the last frame would have liked to have, the nearest to its middle first. */
    queued: () => queue,
    /** The picture without its axes, as an address for an export. */
    still() {
      const both = html("canvas", { width: base.width, height: base.height });
      for (const canvas of [base, over]) both.getContext("2d").drawImage(canvas, 0, 0);
      return svg("image", { href: both.toDataURL(), width: layout.width, height: layout.height });
    },
    axes,
  };
}
