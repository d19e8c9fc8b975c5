import { html, svg } from "../kit/dom.js";
import { count } from "../kit/format.js";
import { linear, logarithmic } from "../kit/scale.js";
import { costOf } from "./choose.js";
import { named, percent } from "./say.js";

const LISTED = 6; // keys of a list in words
// Beside the selected one.
const LINES = { oracle: ["ink", null, 1.6], window: ["ink-2", "6 3", 1.6], random: ["ink-2", "1 3", 1.6] };

/** The one large number: what the middle query keeps. */
export function numberView() {
  const number = html("span", { class: "al-selector-number", "data-words": true });
  const caption = html("div", { class: "al-caption", "data-words": true });
  return {
    element: html("div", {}, number, caption),
    show(mass, chooser, k, counted) {
      number.textContent = percent(mass);
      caption.textContent = `of the mass is captured by ${chooser} at k\u00a0=\u00a0${count(k)}: ${counted} keep more`;
    },
  };
}

/** Every way to choose, and what it keeps at the same budget: the middle query, the band around it, this query. */
export function selectorsView(recording, choose) {
  const rows = recording.selectors.map((name) => {
    const bar = svg("svg", { height: 16, "aria-hidden": "true" });
    const value = html("span", { class: "al-selector-value", "data-words": true });
    const button = html(
      "button",
      {
        type: "button",
        onclick() {
          choose(name);
        },
      },
      html("span", { "data-words": true }, name === "sinks and window" ? "sinks + window" : name),
    );
    return { name, bar, value, button, element: html("div", { class: "al-selector-row" }, button, bar, value) };
  });
  const element = html(
    "div",
    { class: "al-selector-list", role: "group", "aria-label": "who chooses" },
    ...rows.map((row) => row.element),
  );
  return {
    element,
    draw(state, seen) {
      const width = rows[0].bar.parentElement.clientWidth - 112 - 60;
      const x = linear([0, 1], [4, width - 4]);
      for (const { name, bar, value, button } of rows) {
        const [low, middle, high] = recording.curve(state, name)[state.budget];
        const strong = name === state.selector;
        button.setAttribute("aria-pressed", String(strong));
        value.textContent = percent(middle);
        bar.setAttribute("width", Math.max(0, width));
        bar.replaceChildren(
          svg("line", { x1: x(0), x2: x(1), y1: 8, y2: 8, style: "stroke:var(--line)" }),
          svg("rect", {
            x: x(low),
            y: 4,
            width: Math.max(1, x(high) - x(low)),
            height: 8,
            rx: 2,
            style: `fill:var(--${strong ? "mark" : "ink-2"});fill-opacity:.25`,
          }),
          svg("line", {
            x1: x(middle),
            x2: x(middle),
            y1: 2,
            y2: 14,
            style: `stroke:var(--${strong ? "mark" : "ink"})`,
            "stroke-width": 2,
          }),
          svg("circle", {
            cx: x(seen.masses[name]),
            cy: 8,
            r: 3,
            style: "fill:var(--paper);stroke:var(--ink)",
            "stroke-width": 1.2,
          }),
        );
      }
    },
  };
}

/** Captured mass against k: the middle query and a band, the others beside it, and what it costs. */
export function curveView(recording, move) {
  const head = html("div", { class: "al-selector-head", "data-words": true }, "mass that the queries keep, against k");
  const stage = html("div", {
    class: "al-selector-curve",
    role: "slider",
    tabindex: 0,
    "aria-label": "k, keys for each query",
    "aria-valuemin": recording.budgets[0],
    "aria-valuemax": recording.budgets.at(-1),
    "data-lm-suppress-shortcuts": "true",
  });
  const legend = html("div", { class: "al-selector-legend al-caption" });
  const note = html("div", { class: "al-caption", "data-words": true });
  const element = html("div", {}, head, stage, legend, note);
  let x = null;
  const nearest = (event) => {
    const at = x.invert(event.clientX - stage.getBoundingClientRect().left);
    const away = (k) => Math.abs(Math.log2(k / Math.max(at, 1e-9)));
    return recording.budgets.reduce((found, k, i) => (away(k) < away(recording.budgets[found]) ? i : found), 0);
  };
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture?.(event.pointerId);
    if (x) move(nearest(event));
  });
  stage.addEventListener("pointermove", (event) => {
    if (event.buttons && x) move(nearest(event));
  });
  return {
    element, stage,
    draw(state) {
      const [width, height, left, right, top] = [stage.clientWidth || 300, 190, 40, 10, 8];
      const { budgets, layers, tokens } = recording;
      const k = budgets[state.budget];
      const foot = height - 34;
      x = logarithmic([1, budgets.at(-1)], [left, width - right]);
      const y = linear([0, 1], [foot, top]);
      const points = (values) =>
        values.map((value, i) => `${x(budgets[i]).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
      const line = (values, ink, dash, thick) =>
        svg("polyline", {
          points: points(values),
          fill: "none",
          style: `stroke:var(--${ink})`,
          "stroke-dasharray": dash,
          "stroke-width": thick,
        });
      const curve = (name) => recording.curve(state, name);
      const own = curve(state.selector);
      const costs = Array.from(budgets, (each) =>
        costOf(state.selector, state.blocks, each, layers[state.layer], tokens),
      );
      const parts = [0, 0.25, 0.5, 0.75, 1].flatMap((tick) => [
        svg("line", {
          x1: left,
          x2: width - right,
          y1: y(tick),
          y2: y(tick),
          style: "stroke:var(--line)",
          "stroke-width": 0.6,
        }),
        svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, `${100 * tick} %`),
      ]);
      const band = `${points(own.map(([low]) => low))} ${points(own.map(([, , high]) => high))
        .split(" ")
        .reverse()
        .join(" ")}`;
      parts.push(svg("polygon", { points: band, style: "fill:var(--mark);fill-opacity:.14" }));
      const beside = ["oracle", "window", "random"].filter(
        (name) => name !== state.selector && recording.selectors.includes(name),
      );
      for (const name of beside)
        parts.push(
          line(
            curve(name).map(([, middle]) => middle),
            ...LINES[name],
          ),
        );
      const cost = ({ attend, choose }) => attend + choose;
      parts.push(
        line(
          costs.map((each) => Math.min(1, cost(each))),
          "m",
          "8 3 2 3",
          1.6,
        ),
        line(
          own.map(([, middle]) => middle),
          "mark",
          null,
          2.2,
        ),
      );
      parts.push(
        svg("line", { x1: x(k), x2: x(k), y1: top, y2: foot, style: "stroke:var(--mark)" }),
        svg("circle", {
          cx: x(k),
          cy: y(own[state.budget][1]),
          r: 5,
          style: "fill:var(--paper);stroke:var(--mark)",
          "stroke-width": 2,
        }),
      );
      let end = -Infinity;
      for (let tick = 1; tick <= budgets.at(-1); tick *= 2) {
        const half = 3.4 * count(tick).length;
        if (x(tick) - half < end + 6) continue;
        end = x(tick) + half;
        parts.push(svg("text", { x: x(tick), y: foot + 14, "text-anchor": "middle" }, count(tick)));
      }
      const told = x(recording.top_k);
      const words = `the model's k = ${count(recording.top_k)}`;
      const half = 3 * words.length;
      parts.push(
        svg("path", { d: `M${told} ${foot + 17}l4 5h-8z`, style: "fill:var(--ink-2)" }),
        svg("text", { x: Math.min(Math.max(told, half), width - half), y: height - 2, "text-anchor": "middle" }, words),
      );
      stage.setAttribute("aria-valuenow", k);
      stage.setAttribute("aria-valuetext", `k = ${count(k)}, ${percent(own[state.budget][1])} of the mass`);
      stage.replaceChildren(svg("svg", { width, height, "aria-hidden": "true", style: "fill:var(--ink-2)" }, ...parts));
      const sample = (ink, dash, thick, text) =>
        html(
          "span",
          {},
          svg(
            "svg",
            { width: 22, height: 8, "aria-hidden": "true" },
            svg("line", {
              x1: 0,
              x2: 22,
              y1: 4,
              y2: 4,
              style: `stroke:var(--${ink})`,
              "stroke-dasharray": dash,
              "stroke-width": thick,
            }),
          ),
          html("span", { "data-words": true }, text),
        );
      const now = costs[state.budget];
      legend.replaceChildren(
        sample("mark", null, 2.4, state.selector),
        ...beside.map((name) => sample(...LINES[name], name)),
        sample("m", "8 3 2 3", 1.6, `cost ${percent(cost(now))} of dense`),
      );
      note.textContent =
        "Band: 10 to 90 % of the queries. Cost, by formula: FLOPs of the attention to the chosen keys, " +
        `${percent(now.attend)} of dense attention, and of choosing them, ${percent(now.choose)}.`;
    },
  };
}

/** The hits, misses and extras of one query, heaviest first; each key can be looked at. */
export function wordsView(look) {
  const element = html("div", { class: "al-selector-words" });
  const titles = {
    hit: ["hit", "hits", "chosen, and by the oracle too"],
    miss: ["miss", "misses", "the oracle's, and not chosen"],
    extra: ["extra", "extras", "chosen in their place"],
  };
  const parts = Object.entries(titles).map(([name, [one, title, meaning]]) => {
    const head = html("div", { class: "al-selector-head", "data-words": true });
    const list = html("div", { class: "al-selector-keys", role: "group", "aria-label": title });
    return { name, one, title, meaning, head, list, element: html("div", {}, head, list) };
  });
  element.append(...parts.map((part) => part.element));
  return {
    element,
    show(recording, state, seen) {
      for (const { name, one, title, meaning, head, list } of parts) {
        const keys = seen[name];
        head.textContent = `${count(keys.length)} ${keys.length === 1 ? one : title}: ${meaning}`;
        const some = keys.slice(0, LISTED);
        const buttons = some.map((key) =>
          html(
            "button",
            {
              type: "button",
              class: `al-selector-${name}`,
              "aria-pressed": String(key === state.cursor),
              onclick() {
                look(key);
              },
            },
            html("bdi", { "data-words": true }, named(key, recording.text?.[key] ?? null)),
            html("span", { "data-words": true }, ` ${percent(seen.weights[key])}`),
          ),
        );
        if (keys.length > LISTED) {
          const most = percent(seen.weights[keys[LISTED]]);
          buttons.push(
            html(
              "span",
              { class: "al-caption", "data-words": true },
              `and ${count(keys.length - LISTED)} more, each ${most.startsWith("under") ? most : `${most} or less`}`,
            ),
          );
        }
        if (!keys.length) buttons.push(html("span", { class: "al-caption" }, "none"));
        list.replaceChildren(...buttons);
      }
    },
  };
}

/** What is known of one key, in words. */
export function keyWords(recording, state, seen) {
  const key = Math.min(state.cursor, seen.position);
  const what = seen.hit.includes(key)
    ? "chosen, a hit"
    : seen.extra.includes(key)
      ? "chosen, an extra"
      : seen.miss.includes(key)
        ? "not chosen, a miss"
        : "not chosen";
  return { key, rank: recording.rank(seen.scores, key), what, name: named(key, recording.text?.[key] ?? null) };
}

