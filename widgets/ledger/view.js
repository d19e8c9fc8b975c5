import { html } from "../kit/dom.js";
import { footer } from "../kit/export.js";
import { count, size, times } from "../kit/format.js";
import { frame, segment } from "../kit/frame.js";
import { unpacked } from "../kit/numbers.js";
import { player } from "../kit/player.js";
import { bars } from "./bars.js";
import { recordingChart } from "./recording.js";
import { sweepChart } from "./sweep.js";
import { alive, asked, fit, growth, revealed } from "./words.js";

const STEPS = 8; // of the prediction's handle, in each doubling

/** One large number, what it is, and bars: the column beside the picture. */
function column() {
  const number = html("div", { class: "al-number", "data-words": true });
  const what = html("div", { class: "al-caption", "data-words": true });
  const head = html("div", { class: "al-caption al-head", "data-words": true });
  const picture = html("div", {});
  const notes = html("div", { class: "al-caption al-notes" });
  return {
    element: html("div", { class: "al-side" }, number, what, head, picture, notes),
    show(big, caption, title, roles, most, lines) {
      [number.textContent, what.textContent, head.textContent] = [big, caption, title];
      picture.replaceChildren(bars(roles, most, picture.clientWidth || 264));
      notes.replaceChildren(
        ...lines.map((line) => (line instanceof Node ? line : html("div", { "data-words": true }, line))),
      );
    },
  };
}

/** Redraws when the width changes, and lets a pointer look (hover) and choose (press, drag). */
function stage(draw, { look, choose, leave }) {
  const element = html("div", { class: "al-stage" });
  let width = 0;
  const observer = new ResizeObserver(([entry]) => {
    const now = Math.round(entry.contentRect.width);
    if (now && now !== width) { width = now; draw(width); }
  });
  observer.observe(element);
  const place = (event) => {
    const box = element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  element.addEventListener("pointermove", (event) => (event.buttons ? choose : look)(...place(event)));
  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    choose(...place(event));
  });
  element.addEventListener("pointerleave", leave);
  return { element, width: () => width, stop: () => observer.disconnect() };
}

/** @param {import("./words.js").Sweep} data @param {import("../kit/mount.js").Model} model @param {HTMLElement} el */
function renderSweep(data, model, el) {
  const { lengths, methods, question, provenance } = data;
  const last = lengths.length - 1;
  const asks = data.ask !== null;
  const reader = () => model.get("reader");
  const state = { chosen: asks ? data.ask : 0, at: last, scale: "log", drawn: null };
  const asking = () => asks && !reader().revealed;
  const known = asks ? methods[data.ask].bytes[data.shown - 1] : 1;
  // From half of what is known to the cube of the growth in tokens: no end of the handle gives the answer away.
  const highest = 3 * Math.log2(lengths[last] / lengths[data.shown - 1] || 2);
  /** @type {[low: number, high: number]} */
  const range = [known / 2, known * 2 ** highest];

  const scales = segment("scale", ["log", "linear"], "log", (scale) => { state.scale = scale; draw(); });
  const choice = segment("method", methods.map(({ name }) => name), methods[state.chosen].name, (name) => {
    state.chosen = methods.findIndex((method) => method.name === name);
    draw();
  });
  const { root, tell, dispose } = frame(el, question, methods.length > 1 ? [choice, scales] : [scales]);
  root.classList.add("al-ledger");
  const side = column();
  const picture = stage(draw, {
    look(px) { if (!asking() && state.drawn) read(state.drawn.nearest(px), true); },
    choose(px, py) {
      if (!state.drawn) return;
      if (asking()) predict(Math.round(STEPS * Math.log2(state.drawn.bytesAt(py) / known)));
      else time.move(state.drawn.nearest(px));
    },
    leave() {
      if (!asking()) read(state.at, true);
    },
  });
  const time = player({
    last,
    at: last,
    name: "tokens",
    say: (at) => `${count(lengths[at])} tokens`,
    show(at, playing) {
      state.at = at;
      read(at, playing);
    },
  });
  const handle = html("input", {
    type: "range",
    min: -STEPS,
    max: Math.round(STEPS * highest),
    step: 1,
    value: 0,
    "aria-label": `your prediction at ${count(lengths[last])} tokens`,
    oninput() {
      predict(Number(handle.value));
    },
    onkeydown(event) {
      event.stopPropagation();
    },
  });
  const reveal = html(
    "button",
    {
      type: "button",
      class: "al-reveal",
      onclick() {
        root.classList.add("al-revealing");
        setTimeout(() => root.classList.remove("al-revealing"), 200);
        model.set("reader", { ...reader(), prediction: reader().prediction ?? known, revealed: true });
        model.save_changes();
        time.element.querySelector("input").focus();
      },
    },
    "Reveal",
  );
  const predictionBar = html(
    "div",
    { class: "al-player al-asking" },
    html("span", { class: "al-caption" }, `your prediction at ${count(lengths[last])} tokens`),
    handle,
    reveal,
  );
  const foot = footer({ root, name: "ledger", provenance, rows });
  root.append(
    html("div", { class: "al-body" }, picture.element, side.element),
    predictionBar,
    time.element,
    ...foot.elements,
  );

  function predict(steps) {
    const clamped = Math.min(Math.max(steps, Number(handle.min)), Number(handle.max));
    model.set("reader", { prediction: known * 2 ** (clamped / STEPS) });
    model.save_changes();
  }
  function rows() {
    const seen = asking() ? [methods[data.ask]] : methods;
    const head = seen.flatMap(({ name, formula }) => [
      `${name}, bytes`,
      ...(formula && !asking() ? [`${name}, formula`] : []),
    ]);
    const upTo = asking() ? data.shown : lengths.length;
    return [
      ["tokens", ...head],
      ...Array.from(lengths)
        .slice(0, upTo)
        .map((n, i) => [
          n,
          ...seen.flatMap(({ bytes, formula }) => [
            bytes[i] ?? "",
            ...(formula && !asking() ? [formula.atLengths[i]] : []),
          ]),
        ]),
    ];
  }
  /** What is read at one length; the picture's lines stay. */
  function read(at, quiet = false) {
    if (!picture.width()) return;
    drawChart(at);
    const method = methods[state.chosen];
    const known = method.bytes.length;
    const absolute = at === 0 || !method.bytes[0] || method.bytes[at] === method.bytes[0];
    const big = at >= known ? "–" : absolute ? size(method.bytes[at]) : times(method.bytes[at] / method.bytes[0]);
    const same = method.bytes[at] === method.bytes[0] ? `, the same as at ${count(lengths[0])} tokens` : "";
    const caption =
      at >= known
        ? `${method.name} was not measured beyond ${count(lengths[known - 1])} tokens`
        : at === 0
          ? `${data.what} of ${method.name} at ${count(lengths[0])} tokens`
          : absolute
            ? `${data.what} of ${method.name}${same}`
            : `the ${data.what} of ${method.name}, for ${times(lengths[at] / lengths[0])} the tokens`;
    const most = Math.max(...method.roles.flatMap(({ bytes }) => Array.from(bytes)), 0);
    const roles = method.roles.map((role) => ({ ...role, bytes: role.bytes[at] }));
    const notes = method.formula
      ? [
          `dashed: ${fit(method.formula, known)}`,
          ...method.formula.reaches.map(({ name, n }) => `and predicts ${name} at ${count(n)} tokens`),
        ]
      : [];
    side.show(big, caption, roles.length ? `alive at its peak, ${count(lengths[at])} tokens` : "", roles, most, notes);
    const said = asks && at === last && state.chosen === data.ask;
    tell(said ? revealed(lengths, method, reader().prediction) : growth(lengths, methods, state.chosen, at), { quiet });
  }
  function drawChart(at) {
    state.drawn = sweepChart({ ...data, ...state, at, asking: asking(), range, prediction: reader().prediction ?? known,
      revealedPrediction: reader().revealed ? reader().prediction : null }, picture.width());
    picture.element.replaceChildren(state.drawn.chart);
  }
  function draw() {
    const open = asking();
    predictionBar.hidden = !open;
    time.element.hidden = scales.hidden = choice.hidden = open;
    side.element.hidden = open;
    root.classList.toggle("al-asks", open);
    foot.refresh();
    if (!open) return read(state.at);
    const { prediction = null } = reader();
    handle.value = String(prediction === null ? 0 : Math.round(STEPS * Math.log2(prediction / known)));
    const [value, low, high] = [handle.value, handle.min, handle.max].map(Number);
    handle.style.setProperty("--done", `${(100 * (value - low)) / (high - low)}%`);
    handle.setAttribute("aria-valuetext", size(prediction ?? known));
    tell(asked(lengths, methods[data.ask], data.shown, prediction));
    if (picture.width()) drawChart(last);
  }
  model.on("change:reader", draw);
  draw();
  return () => { model.off("change:reader", draw); picture.stop(); time.pause(); dispose(); };
}

/** @param {import("./words.js").Recording} data @param {HTMLElement} el */
function renderRecording(data, el) {
  const { question, provenance, event, live, peak, roles, operations, lines } = data;
  const last = event.length - 1;
  const { root, tell, dispose } = frame(el, question);
  root.classList.add("al-ledger");
  const side = column();
  const most = Math.max(...roles.flatMap(({ bytes }) => Array.from(bytes)));
  let drawn = null;
  let at = peak;
  const picture = stage(
    (width) => {
      drawn = recordingChart(data, width);
      picture.element.replaceChildren(drawn.chart);
      read(at, true);
    },
    {
      look(px) {
        if (drawn) read(drawn.nearest(px), true);
      },
      choose(px) {
        if (drawn) time.move(drawn.nearest(px));
      },
      leave() {
        read(at, true);
      },
    },
  );
  const time = player({
    last,
    at: peak,
    name: "event",
    say: (i) => `event ${count(event[i] + 1)} of ${count(data.total)}`,
    show(to, playing) {
      at = to;
      read(to, playing);
    },
  });
  const foot = footer({ root, name: "ledger", provenance, rows });
  root.append(html("div", { class: "al-body" }, picture.element, side.element), time.element, ...foot.elements);

  function rolesAt(i) {
    return roles.map((role) => ({ ...role, bytes: role.bytes[i] }));
  }
  function what(i) {
    const amount = size(Math.abs(data.delta[i]));
    const role = data.names[data.role[i]];
    return data.delta[i] < 0
      ? `${amount} of ${role} freed`
      : `${operations[data.operation[i]]} takes ${amount} for ${role}`;
  }
  function rows() {
    return [["event", "operation", "role", "bytes", "alive", "line"], ...Array.from(event, (e, i) =>
      [e + 1, operations[data.operation[i]], data.names[data.role[i]], data.delta[i], live[i], lines[data.line[i]]])];
  }
  function read(i, quiet = false) {
    if (!drawn) return;
    drawn.point(i);
    const caption = i === peak ? "alive at once, the most of the run" : `alive after event ${count(event[i] + 1)}`;
    side.show(size(live[i]), caption, "for which variable", rolesAt(i), most, [
      html("div", { "data-words": true }, what(i)),
      html("code", { class: "al-code", "data-words": true }, lines[data.line[i]]),
    ]);
    tell(
      alive(
        data,
        i,
        rolesAt(i)
          .filter(({ bytes }) => bytes)
          .sort((a, b) => b.bytes - a.bytes),
      ),
      { quiet },
    );
  }
  return () => {
    picture.stop();
    time.pause();
    dispose();
  };
}

function renderNothing(data, el) {
  const { tell, dispose } = frame(el, data.question);
  tell([data.nothing]);
  return dispose;
}

export default {
  render({ model, el }) {
    const data = unpacked(model.get("data"));
    if (data.nothing) return renderNothing(data, el);
    return data.lengths ? renderSweep(data, model, el) : renderRecording(data, el);
  },
};
