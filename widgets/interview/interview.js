import { html } from "../kit/dom.js";
import { plural } from "../kit/format.js";
import { frame } from "../kit/frame.js";
import { clock } from "./boxes.js";
import { button, card, markup, openLessons, told } from "./card.js";
import { begun, earned, ends, lessons, step } from "./mock.js";

const SAVE_EVERY = 15; // seconds of an open mock that a closed page can lose

const table = (head, rows) =>
  html(
    "table",
    {},
    html("thead", {}, html("tr", {}, ...head.map((word) => html("th", { scope: "col" }, word)))),
    html(
      "tbody",
      {},
      ...rows.map(([first, ...rest]) =>
        html("tr", {}, html("th", { scope: "row" }, first), ...rest.map((word) => html("td", {}, word))),
      ),
    ),
  );

/**
 * @param {HTMLElement} el @param {import("./mock.js").Data} data @param {import("./store.js").Shelf} shelf
 * @param {boolean} live
 */
export function interview(el, data, shelf, live) {
  const whole = data.parts.reduce((sum, [, length]) => sum + length, 0);
  const { root, tell, dispose } = frame(el, `A mock interview of ${whole} minutes`);
  root.classList.add("al-iv");
  const end = ends(data.parts);
  const fills = data.parts.map(() => html("i", {}));
  const line = html(
    "div",
    { class: "al-iv-line", role: "img" },
    ...data.parts.map(([name, length], i) =>
      html("span", { style: `flex: ${length}` }, html("b", {}, fills[i]), html("em", {}, `${name} ${length}`)),
    ),
  );
  const names = html(
    "div",
    { class: "al-iv-parts al-caption", "aria-hidden": "true" },
    data.parts.map(([name, length]) => `${name} ${length}`).join(" · "),
  );
  const place = html("div", {});
  const where = html("span", { class: "al-provenance" });
  const stop = button("end here", () => { hold(); finish(); }, { class: "", hidden: true });
  root.append(line, names, place, html("div", { class: "al-footer" }, where, html("span", {}, stop)));

  let mock = shelf.kept.mock;
  let since = null; // when the clock of the mock was last started
  let saved = 0;
  let shown = null;
  let ticking = null;
  const elapsed = () => mock.elapsed + (since === null ? 0 : (Date.now() - since) / 1000);
  const hold = () => { if (since !== null) { mock = { ...mock, elapsed: Math.round(elapsed()) }; since = null; } };

  function drawLine() {
    const now = mock ? elapsed() : 0;
    let from = 0;
    data.parts.forEach(([name], i) => {
      fills[i].style.width = `${100 * Math.min(Math.max((now - from) / (end[name] - from), 0), 1)}%`;
      from = end[name];
    });
    const said =
      now > 60 * whole
        ? `${whole} minutes, and ${clock(now - 60 * whole)} over`
        : `minute ${Math.floor(now / 60)} of ${whole}`;
    line.setAttribute(
      "aria-label",
      `${said}. ${data.parts.map(([name, length]) => `${name} ${length} minutes`).join(", ")}`,
    );
    return said;
  }
  const say = (at) => tell(["Now ", at, `. Answers so far: ${mock.events.length}.`], { quiet: true });
  function tick() {
    say(drawLine());
    if (elapsed() - saved < SAVE_EVERY) return;
    saved = elapsed();
    shelf.keep({ mock: { ...mock, elapsed: Math.round(saved) } });
  }
  function put(...nodes) {
    place.replaceChildren(...nodes);
    openLessons(place, live);
    where.textContent = [shelf.where, shelf.notice].filter(Boolean).join(". ");
  }

  function lobby() {
    drawLine();
    const half = mock !== null;
    tell(
      half
        ? ["You left a mock at ", drawLine(), `, after ${plural(mock.events.length, "answer")}. Its clock stood still.`]
        : ["Stand up, say it aloud, and tick only what you really said. ", `${whole} minutes`, ", then a report."],
    );
    put(
      html(
        "div",
        { class: "al-iv-card" },
        html(
          "div",
          { class: "al-iv-actions" },
          half ? button("Continue", go, { class: "al-iv-button al-iv-first" }) : null,
          button(
            half ? "Begin anew" : "Begin",
            () => {
              if (half) shelve();
              mock = begun(new Date().toISOString());
              saved = 0;
              go();
            },
            { class: half ? "al-iv-button" : "al-iv-button al-iv-first" },
          ),
        ),
        html("div", { class: "al-iv-rules" }, table(["when", "then"], data.rules)),
      ),
    );
  }
  /** What was begun is kept among the ended ones, so that it cannot come back as the open one. */
  function shelve() {
    shelf.keep({ mock: null, mocks: [...shelf.kept.mocks, mock] });
  }
  function go() {
    since = Date.now();
    saved = elapsed();
    ticking ??= setInterval(tick, 1000);
    stop.hidden = false;
    draw();
  }

  /** An event, and for a question the answer that the boxes of practice count with. */
  function note(event, question = null) {
    hold();
    mock = { ...mock, events: [...mock.events, event] };
    const answer = question && { id: question.id, when: new Date().toISOString(), of: event.of, said: event.said,
      seconds: event.seconds, late: event.late, ticked: event.ticked };
    shelf.keep({ mock, ...(answer ? { answers: [...shelf.kept.answers, answer] } : {}) });
    since = Date.now();
    draw();
  }

  function draw() {
    shown?.dispose();
    const now = step({ ...mock, elapsed: elapsed() }, data, shelf.kept.answers, shelf.kept.mocks);
    const at = drawLine();
    if (now.kind === "report") { hold(); finish(); return; }
    /** @type {Record<string, () => import("./card.js").Card>} */
    const cards = {
      opening: () => ({
        meta: ["the opening question", `${data.parts[0][1]} minutes`], title: data.opening, minutes: data.parts[0][1],
        answer: () => [html("div", {}, "The answer has nine points. ", markup("span", {}, data.nineLink))],
        points: data.nine.map(([name, point]) => `<strong>${name}.<\/strong> ${point}`),
        finish: [[(made) => `${made} of ${data.nine.length}, go on`, null]],
        done: (result) => note({ kind: "opening", ...result }),
      }),
      question: () => ({
        meta: [
          now.question.number,
          `lesson ${now.question.lesson}`,
          now.question.level,
          `${now.question.minutes} minutes`,
        ],
        title: now.question.title,
        minutes: now.question.minutes,
        answer: () => told(now.question, false),
        points: now.question.points,
        finish: [[(made) => `${made} of ${now.question.points.length}, go on`, null]],
        done: (result) =>
          note(
            {
              kind: "question",
              id: now.question.id,
              level: now.question.level,
              of: now.question.points.length,
              ...result,
            },
            now.question,
          ),
      }),
      follow: () => ({
        meta: [`follow-up to ${now.question.number}`, "1 minute"],
        title: now.question.followUps[now.ask][0],
        minutes: 1,
        answer: () => [markup("div", { class: "al-iv-answer" }, now.question.followUps[now.ask][1])],
        finish: [
          ["I had it", true],
          ["I did not", false],
        ],
        done: ({ said, seconds, late }, had) =>
          note({ kind: "follow", id: now.question.id, ask: now.ask, had, said, seconds, late }),
      }),
      task: () => ({
        meta: ["the whiteboard", `lesson ${now.task.lesson}`, `${now.task.minutes} minutes`],
        title: `Exercise ${now.task.number}, ${now.task.title}`,
        minutes: now.task.minutes,
        answer: null,
        body: [
          html(
            "div",
            {},
            "Write ",
            html("code", {}, now.task.name),
            " in ",
            html(
              "a",
              {
                href: `../lessons/${now.task.file}.html#exercise-${now.task.name.replaceAll("_", "-")}`,
                "data-lesson": now.task.file,
              },
              `lesson ${now.task.lesson}`,
            ),
            ", without looking, and run the cell below it.",
          ),
        ],
        finish: [
          ["check says right", "right"],
          ["right, with a hint", "hint"],
          ["not yet", "not"],
        ],
        done: ({ seconds, late }, result) =>
          note({ kind: "task", name: now.task.name, result, seconds, late }),
      }),
    };
    const given = cards[now.kind]();
    say(at);
    shown = card({ ...given, started: true });
    put(shown.element);
    shown.title.focus();
  }

  function finish() {
    clearInterval(ticking);
    ticking = null;
    stop.hidden = true;
    const ended = mock;
    shelve();
    mock = null;
    report(ended);
  }

  function report({ events, elapsed: took }) {
    const rows = lessons(events, data);
    const made = events.reduce((sum, event, at) => sum + (event.kind === "question" ? earned(events, at) : 0), 0);
    const asked = events.filter((event) => event.kind === "question").length;
    const task = events.find((event) => event.kind === "task");
    const RESULT = { right: "right", hint: "right with a hint", not: "not yet" };
    const share = `${Math.round((100 * made) / asked)} % of their points, follow-ups counted.`;
    tell(
      asked
        ? ["Over, after ", clock(took), `. ${plural(asked, "question")}, ${share}`]
        : ["Over before the first question."],
    );
    const opening = events.find((event) => event.kind === "opening")?.ticked ?? [];
    const worst = [...rows].sort((a, b) => a.made / a.of - b.made / b.of)[0];
    put(
      html(
        "div",
        { class: "al-iv-card" },
        rows.length
          ? table(
              ["lesson", "questions", "points", "follow-ups", "late"],
              rows.map((row) => [
                `${row.lesson} ${data.titles[row.lesson] ?? ""}`,
                String(row.asked),
                `${row.made} of ${row.of}`,
                row.followed ? `${row.had} of ${row.followed}` : "–",
                String(row.late),
              ]),
            )
          : null,
        task
          ? html(
              "div",
              {},
              html("strong", {}, "Whiteboard. "),
              `Exercise ${data.tasks.find((each) => each.name === task.name)?.number ?? ""}, ${task.name}: ` +
              `${RESULT[task.result]}, ` +
                `${clock(task.seconds)}${task.late ? ", late" : ""}.`,
            )
          : null,
        table(
          ["the nine points", "at the opening", "learnt in"],
          data.nine.map(([name, , lesson], point) => [
            name,
            opening.includes(point) ? "said" : "missed",
            `lesson ${lesson}`,
          ]),
        ),
        worst
          ? html(
              "div",
              {},
              html("strong", {}, "Next. "),
              `Practise lesson ${worst.lesson}. What went badly comes back tomorrow.`,
            )
          : null,
        html(
          "div",
          { class: "al-iv-actions" },
          button("Back to the rules", lobby, { class: "al-iv-button al-iv-first" }),
        ),
      ),
    );
  }

  lobby();
  return () => {
    if (since !== null) { hold(); shelf.keep({ mock }); }
    clearInterval(ticking);
    shown?.dispose();
    dispose();
  };
}
