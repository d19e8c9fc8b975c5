import { html, svg } from "../kit/dom.js";
import { segment } from "../kit/frame.js";
import { count, fixed, plural, shown, signed } from "../kit/format.js";
import { linear } from "../kit/scale.js";
import { RULES } from "./read.js";
import { percent, rough } from "./say.js";
import { cells } from "./tape.js";

const LOWEST = 1e-4; // of a value that comes back, where the axis ends

/** Values as bars on either side of a line, each vector to its own length. */
function bars(vector, width, height, ink) {
  const most = vector.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0) || 1;
  const step = width / vector.length;
  const path = Array.from(vector, (value, i) => {
    const tall = (value / most) * (height / 2 - 1);
    const corner = `${(i * step + 0.12 * step).toFixed(1)} ${height / 2}`;
    return `M${corner}v${(-tall).toFixed(1)}h${(0.76 * step).toFixed(1)}v${tall.toFixed(1)}z`;
  }).join("");
  return [
    svg("path", { d: `M0 ${height / 2}H${width}`, style: "stroke:var(--line)" }),
    svg("path", { d: path, style: `fill:var(--${ink})` }),
  ];
}

/** The one large number, what it is about, and the two vectors it compares. */
export function numberView() {
  const number = html("span", { class: "al-tape-number", "data-words": true });
  const caption = html("div", { class: "al-caption", "data-words": true });
  const picture = svg("svg", { "aria-hidden": "true" });
  const element = html("div", {}, html("div", {}, number, caption), picture);
  return {
    element,
    draw(recording, { memory, pair, question }, seen, name, width) {
      const there = !seen.empty && (seen.written || seen.over !== null);
      number.textContent = seen.empty ? "empty" : there && seen.cosine !== null ? signed(seen.cosine) : "–";
      caption.textContent = seen.empty
        ? "nothing is stored"
        : !there
          ? `${name} is still to come`
          : question === null
            ? `cosine of what the key of ${name} brings back and the value that was written with it`
            : `cosine of what the question for ‘${shown(recording.answers.truth[question])}’ brings back ` +
              `and the value of ${name}`;
      const tall = 34;
      picture.setAttribute("width", width);
      picture.setAttribute("height", String(2 * tall + 44));
      const row = (y, words, vector, ink) =>
        svg(
          "g",
          { transform: `translate(0 ${y})` },
          svg("text", { x: 0, y: 10, style: `fill:var(--${ink})`, "font-weight": 600 }, words),
          svg(
            "g",
            { transform: "translate(0 14)" },
            ...(vector
              ? bars(vector, width, tall, ink)
              : [svg("text", { x: 0, y: 22, style: "fill:var(--ink-2)" }, "nothing")]),
          ),
        );
      picture.replaceChildren(
        row(4, "written: v", recording.value(pair, memory), "v"),
        row(
          tall + 26,
          there ? `comes back: ${percent(seen.returned)} of v along v` : "comes back",
          there ? seen.found : null,
          "o",
        ),
      );
    },
  };
}

/** What the memory is read with: the chosen pair's own key, or a question of the model. */
export function probeView(truth, choose) {
  const button = (question, words, label) =>
    html(
      "button",
      {
        type: "button",
        "aria-label": label,
        onclick() {
          choose(question);
        },
      },
      html("bdi", {}, words),
    );
  const own = button(null, "its own key", "the pair's own key");
  const asked = truth.map((text, i) => button(i, shown(text), `the model's question for ${text}`));
  const element = html(
    "div",
    { class: "al-tape-probe", role: "group", "aria-label": "read with" },
    html("span", { class: "al-caption" }, "read with"),
    own,
    html("span", { class: "al-caption" }, "or the question for"),
    ...asked,
  );
  return {
    element,
    show(question) {
      own.setAttribute("aria-pressed", String(question === null));
      asked.forEach((each, i) => each.setAttribute("aria-pressed", String(i === question)));
    },
  };
}

/** The tokens kept from the segment of the chosen pair; each can be asked. */
export function tokensView(choose) {
  const head = html("div", { class: "al-tape-head" });
  const list = html("div", { class: "al-tape-tokens", role: "group", "aria-label": "pairs of this segment" });
  const element = html("div", {}, head, list);
  let of = "";
  let chosen = null;
  return {
    element,
    show(recording, pair) {
      if (chosen === `${recording.segment} ${pair}`) return;
      chosen = `${recording.segment} ${pair}`;
      const number = recording.place[pair];
      const kept = recording.pairs.filter((each) => recording.place[each] === number);
      const which = kept.length === recording.segment ? "all" : `${count(kept.length)} of ${count(recording.segment)}`;
      head.textContent = `${which} pairs of segment ${count(number)}`;
      const key = `${recording.segment} ${number}`;
      if (of !== key) {
        of = key;
        list.replaceChildren(
          ...kept.map((each) =>
            html(
              "button",
              {
                type: "button",
                "data-pair": each,
                class: recording.needle[each] && "al-tape-needle",
                "aria-label": `${recording.word(each) ?? "pair"} at ${count(recording.at[each])}`,
                /** @this {HTMLButtonElement} */
                onclick() {
                  choose(Number(this.dataset.pair));
                },
              },
              html("bdi", {}, shown(recording.word(each) ?? count(recording.at[each]))),
            ),
          ),
        );
      }
      for (const button of list.querySelectorAll("button"))
        button.setAttribute("aria-pressed", String(Number(button.dataset.pair) === pair));
    },
  };
}

/** How much of the chosen value comes back, after each segment, on a log axis; the share formula dashed. */
export function curveView() {
  const head = html("div", { class: "al-tape-head", "data-words": true }, "how much of v comes back");
  const picture = svg("svg", { "aria-hidden": "true", style: "fill:var(--ink-2)" });
  const note = html("div", { class: "al-caption", "data-words": true });
  const element = html("div", {}, head, picture, note);
  return {
    element,
    draw(recording, { rule, memory, pair, question, frame, knocked }, seen, width) {
      const [height, left] = [148, 40];
      const curve = recording.curve(rule, memory, pair, question);
      const places = cells(recording, left, width - 6).cells;
      const x = (at) => (at ? places[at - 1].right : left);
      const y = linear([Math.log10(LOWEST), 0.3], [height - 20, 8]);
      const at = (value) => y(Math.log10(Math.max(value, LOWEST)));
      const line = (values, style, dash) =>
        svg("polyline", {
          fill: "none",
          style,
          "stroke-dasharray": dash,
          "stroke-width": dash ? 1.3 : 2,
          points: values
            .map((value, i) => (value !== null && value > 0 ? `${x(i).toFixed(1)},${at(value).toFixed(1)}` : null))
            .filter(Boolean)
            .join(" "),
        });
      const parts = [1, 0.1, 0.01, 0.001, LOWEST].flatMap((tick) => [
        svg("line", {
          x1: left,
          x2: width - 6,
          y1: at(tick),
          y2: at(tick),
          style: "stroke:var(--line)",
          "stroke-width": 0.6,
        }),
        svg(
          "text",
          { x: left - 6, y: at(tick) + 4, "text-anchor": "end" },
          tick === LOWEST ? "0.01 %" : `${100 * tick} %`,
        ),
      ]);
      if (rule === "delta")
        parts.push(
          svg("line", {
            x1: left,
            x2: width - 6,
            y1: at(0.5),
            y2: at(0.5),
            style: "stroke:var(--bad)",
            "stroke-dasharray": "2 3",
          }),
          svg("text", { x: left + 4, y: at(0.5) + 13, style: "fill:var(--bad)" }, "v / 2"),
        );
      const formula = curve.map((point) => point?.share ?? null);
      if (rule === "linear") parts.push(line(formula, "stroke:var(--ink-2)", "5 4"));
      parts.push(
        line(
          curve.map((point) => point?.returned ?? null),
          "stroke:var(--o)",
        ),
        ...curve.flatMap((point, i) =>
          point && point.returned > 0
            ? [svg("circle", { cx: x(i), cy: at(point.returned), r: 2.6, style: "fill:var(--o)" })]
            : [],
        ),
      );
      if (!knocked && curve[frame] && seen.returned > 0)
        parts.push(
          svg("circle", {
            cx: x(frame),
            cy: at(seen.returned),
            r: 6,
            style: "fill:none;stroke:var(--mark)",
            "stroke-width": 2,
          }),
        );
      const last = recording.after.length;
      parts.push(
        svg("text", { x: left, y: height - 4 }, "0"),
        svg(
          "text",
          { x: width - 6, y: height - 4, "text-anchor": "end" },
          `segment ${count(recording.after[last - 1])}`,
        ),
      );
      picture.setAttribute("width", width);
      picture.setAttribute("height", String(height));
      picture.replaceChildren(...parts);
      const half =
        seen.ratio === null || !seen.written
          ? ""
          : ` Half would be left after a / b = ${plural(Math.round(rough(seen.ratio)), recording.what)}.`;
      const share = formula[frame] === null ? "" : `, ${percent(formula[frame])} now`;
      note.textContent =
        rule === "linear"
          ? `dashed: predicted share a / (a + N b)${share}; ` +
            `a: fit of this key, b: mean fit of the others, N ${recording.what}s.${half} ` +
            "What comes back also holds copies and what is alike."
          : {
              delta: "eq. 9: z counts what M does not take in",
              gamma: "z counts only what is new of a key",
              unit: "keys of length 1, no z to divide by",
            }[rule];
    },
  };
}

/** What each rule brings back for the chosen key: the value it was written with, and the one planted since. */
export function rulesView() {
  const head = html("div", { class: "al-tape-head", "data-words": true });
  const picture = svg("svg", { "aria-hidden": "true", style: "fill:var(--ink-2)" });
  const note = html("div", { class: "al-caption", "data-words": true });
  const element = html("div", {}, head, picture, note);
  return {
    element,
    draw(recording, { rule, planted, knocked }, seen, name, width) {
      const [tall, left] = [22, 66];
      const right = width - 74;
      const x = linear([-0.5, 1], [left, right]);
      const hold = (value) => x(Math.max(-0.5, Math.min(1, value)));
      const ready = seen.written || seen.over !== null;
      picture.setAttribute("width", width);
      picture.setAttribute("height", String(tall * seen.rules.length + 18));
      picture.replaceChildren(
        svg("line", { x1: x(0), x2: x(0), y1: 0, y2: tall * seen.rules.length, style: "stroke:var(--line)" }),
        ...seen.rules.flatMap((each, i) => {
          const y = i * tall + 13;
          const strong = each.rule === rule;
          const says = [signedOr(ready ? each.old : null), ...(each.over === null ? [] : [signedOr(each.over)])].join(
            " / ",
          );
          return [
            svg(
              "text",
              { x: 0, y: y + 4, "font-weight": strong ? 600 : 400, style: `fill:var(--${strong ? "ink" : "ink-2"})` },
              RULES[each.rule],
            ),
            svg("line", { x1: left, x2: right, y1: y, y2: y, style: "stroke:var(--line)", "stroke-width": 0.6 }),
            ...(ready && each.old !== null
              ? [
                  svg("line", {
                    x1: x(0),
                    x2: hold(each.old),
                    y1: y,
                    y2: y,
                    style: "stroke:var(--v)",
                    "stroke-width": 3,
                  }),
                  svg("circle", { cx: hold(each.old), cy: y, r: 4.5, style: "fill:var(--v)" }),
                ]
              : []),
            ...(each.over !== null
              ? [
                  svg("circle", {
                    cx: hold(each.over),
                    cy: y,
                    r: 4.5,
                    style: "fill:var(--paper);stroke:var(--bad)",
                    "stroke-width": 2,
                  }),
                ]
              : []),
            svg(
              "text",
              {
                x: width,
                y: y + 4,
                "text-anchor": "end",
                style: `fill:var(--${strong ? "ink" : "ink-2"})`,
                "font-weight": strong ? 600 : 400,
              },
              says,
            ),
          ];
        }),
        svg("text", { x: x(0), y: tall * seen.rules.length + 13, "text-anchor": "middle" }, "0"),
        svg("text", { x: right, y: tall * seen.rules.length + 13, "text-anchor": "middle" }, "1"),
      );
      head.textContent = "what each rule brings back, cosine";
      const other =
        seen.rival === null
          ? null
          : (recording.word(seen.rival) ?? `${recording.what} ${count(recording.at[seen.rival])}`);
      note.textContent =
        knocked && !planted
          ? "The memory is knocked out."
          : planted && other !== null
            ? `solid: the value written with ${name}; open: the value of ‘${shown(other)}’, ` +
              `written under the same key ${planted === 1 ? "once" : `${count(planted)} times`} since.`
            : "Each rule wrote the same keys and values.";
    },
  };
}
const signedOr = (value) => (value === null ? "–" : signed(value));

/** A number between two buttons. */
export function stepper(label, change) {
  const value = html("output", {});
  const button = (by, sign, words) =>
    html(
      "button",
      {
        type: "button",
        "aria-label": words,
        onclick() {
          change(by);
        },
      },
      sign,
    );
  const [less, more] = [button(-1, "−", `${label}: once less`), button(1, "+", `${label}: once more`)];
  return {
    element: html(
      "div",
      { class: "al-tape-stepper", role: "group", "aria-label": label },
      html("span", {}, label),
      less,
      value,
      more,
    ),
    show(number, most) {
      value.textContent = count(number);
      [less.disabled, more.disabled] = [number <= 0, number >= most];
    },
  };
}

/** The memories, one to look at, and how much each head listens to its own; the gates can be forced. */
export function gatesView(recording, look, force) {
  const several = recording.gates.length > recording.names.length; // heads that share a memory
  const rows = recording.names.map((name, memory) => {
    const button = html(
      "button",
      {
        type: "button",
        class: "al-tape-name",
        onclick() {
          look(memory);
        },
      },
      name,
    );
    const gates = recording.gates
      .map((gate, index) => ({ ...gate, index }))
      .filter((gate) => gate.memory === memory)
      .map((gate) => {
        const fill = html("b", {});
        const share = html("span", { class: "al-tape-share" });
        const choice = segment(`gate of ${gate.name}`, ["0", "own", "1"], "own", (letter) =>
          force(gate.index, letter === "own" ? "o" : letter),
        );
        return {
          gate,
          fill,
          share,
          choice,
          element: html(
            "div",
            { class: "al-tape-gate" },
            several ? html("span", {}, gate.name.replace(/^.* (?=head)/, "")) : null,
            html("i", {}, fill),
            share,
            choice,
          ),
        };
      });
    return {
      button,
      gates,
      element: html(
        "div",
        { class: `al-tape-row${several ? " al-tape-shared" : ""}` },
        button,
        html("div", {}, ...gates.map(({ element }) => element)),
      ),
    };
  });
  const head = html(
    "div",
    { class: "al-tape-head" },
    recording.gates.length ? "heads, and the memory's share in their output" : "memories",
  );
  return {
    element: html("div", { class: "al-tape-gates" }, head, ...rows.map(({ element }) => element)),
    show(memory, letters, knocked) {
      rows.forEach(({ button, gates }, i) => {
        button.setAttribute("aria-pressed", String(i === memory));
        for (const { gate, fill, share, choice } of gates) {
          const now = letters[gate.index] === "o" ? gate.share : Number(letters[gate.index]);
          fill.style.width = `${100 * now}%`;
          fill.style.opacity = knocked ? "0.3" : "1";
          share.textContent = fixed(now, 2);
          [...choice.children].forEach((each, j) =>
            each.setAttribute("aria-pressed", String(["0", "o", "1"][j] === letters[gate.index])),
          );
        }
      });
    },
  };
}

/** What the model says, digit by digit, with the probability of the true one. */
export function answerView() {
  const said = html("div", { class: "al-caption", role: "status", "data-words": true });
  const boxes = html("div", { class: "al-tape-said", "aria-hidden": "true" });
  const element = html("div", { class: "al-tape-answer" }, boxes, said);
  return {
    element,
    show(parts, words, truth, p) {
      said.replaceChildren(...parts.map((part, i) => (i % 2 ? html("strong", {}, part) : part)));
      boxes.replaceChildren(
        ...words.map((word, i) =>
          html(
            "span",
            {
              class: word === truth[i] ? "al-tape-right" : "al-tape-wrong",
              title: `probability of ${truth[i]}: ${p[i]}`,
            },
            html("bdi", {}, shown(word)),
            html("small", {}, word === truth[i] ? "✓" : "✗"),
          ),
        ),
      );
    },
  };
}
