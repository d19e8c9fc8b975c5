import { html } from "../kit/dom.js";
import { frame, segment } from "../kit/frame.js";
import { LEVELS, cell, chosen, comesBack, counted, day, next, standing } from "./boxes.js";
import { button, card, openLessons, told } from "./card.js";

const CAME = { due: "It is due.", new: "It is new to you.", early: "Nothing is due; this one is ahead of its day." };

/** What stands above a question; every second part is the one that matters. */
export function headline(kept, { all, asked, due }, why) {
  return [kept, `${due} due`, `, ${asked} of ${all} asked. ${CAME[why]}`];
}

/**
 * @param {HTMLElement} el @param {import("./store.js").Shelf} shelf @param {boolean} live
 * @param {{level: ?string, lesson: ?number, titles: Record<string, string>, boxes: import("./boxes.js").Boxes,
 *   questions: import("./boxes.js").Question[]}} data
 */
export function practice(el, data, shelf, live) {
  let { level, lesson } = data;
  let shown = null;
  let kept = "";
  const lessons = Object.keys(data.titles).map(Number);
  const levelSwitch = segment("level", ["all levels", ...LEVELS], level ?? "all levels", (word) =>
    choose(word === "all levels" ? null : word, lesson),
  );
  const lessonSwitch = segment(
    "lesson",
    ["all lessons", ...lessons.map(String)],
    String(lesson ?? "all lessons"),
    (word) => choose(level, word === "all lessons" ? null : Number(word)),
  );
  const { root, tell, dispose } = frame(el, "What would you say?", [levelSwitch, lessonSwitch]);
  root.classList.add("al-iv");
  const place = html("div", {});
  const table = html("div", {
    class: "al-iv-overview",
    role: "region",
    "aria-label": "overview",
    tabindex: "0",
    hidden: true,
  });
  const toggle = button(
    "overview",
    () => {
      table.hidden = !table.hidden;
      toggle.setAttribute("aria-expanded", String(!table.hidden));
      overview();
    },
    { class: "", "aria-expanded": "false" },
  );
  const where = html("span", { class: "al-provenance" });
  root.append(place, table, html("div", { class: "al-footer" }, where, html("span", {}, toggle)));

  function press(group, word) {
    for (const each of group.querySelectorAll("button"))
      each.setAttribute("aria-pressed", String(each.textContent === word));
  }
  function choose(toLevel, toLesson) {
    [level, lesson] = [toLevel, toLesson];
    press(levelSwitch, level ?? "all levels");
    press(lessonSwitch, String(lesson ?? "all lessons"));
    kept = "";
    draw();
  }

  function draw(not = null, focus = false) {
    const questions = chosen(data.questions, level, lesson);
    shown?.dispose();
    where.textContent = [shelf.where, shelf.notice].filter(Boolean).join(". ");
    overview();
    if (!questions.length) {
      shown = null;
      place.replaceChildren();
      tell(["No question of this level in this lesson. Choose another."]);
      return;
    }
    const today = day(new Date());
    const { question, why } = next(questions, shelf.kept.answers, data.boxes, today, not);
    tell(headline(kept, counted(questions, shelf.kept.answers, data.boxes, today), why));
    shown = card({
      meta: [
        question.number,
        `lesson ${question.lesson}, ${data.titles[question.lesson]}`,
        question.level,
        `${question.minutes} minutes`,
      ],
      title: question.title,
      minutes: question.minutes,
      answer: () => told(question, true),
      points: question.points,
      finish: [[(made) => `Keep ${made} of ${question.points.length} and go on`, null]],
      skip() { kept = ""; draw(question.id, true); },
      done(result) {
        const answer = { id: question.id, when: new Date().toISOString(), of: question.points.length, ...result };
        shelf.keep({ answers: [...shelf.kept.answers, answer] });
        const due = standing(shelf.kept.answers, data.boxes).get(question.id).due - day(new Date());
        const points = `${answer.ticked.length} of ${answer.of} points`;
        kept = `${question.number} kept${answer.late ? ", late" : ""}: ${points}, back ${comesBack(due)}. `;
        draw(question.id, true);
      },
    });
    place.replaceChildren(shown.element);
    openLessons(place, live);
    if (focus) shown.title.focus();
  }

  function overview() {
    if (table.hidden) return;
    const { answers } = shelf.kept;
    const rows = lessons.map((number) =>
      html(
        "tr",
        {},
        html("th", { scope: "row" }, `${number} ${data.titles[number]}`),
        ...LEVELS.map((word) => {
          const { all, asked, mean, weak } = cell(chosen(data.questions, word, number), answers, data.boxes);
          const made =
            mean === null
              ? null
              : html("span", { class: weak ? "al-iv-weak" : "" }, `${Math.round(100 * mean)} %${weak ? ", weak" : ""}`);
          return html(
            "td",
            {},
            all
              ? button(`${asked} of ${all}`, () => choose(word, number), {
                  class: "",
                  "aria-label": `${word}, lesson ${number}: ${asked} of ${all} asked`,
                })
              : "–",
            made,
          );
        }),
      ),
    );
    table.replaceChildren(
      html(
        "table",
        {},
        html(
          "thead",
          {},
          html(
            "tr",
            {},
            html("th", { scope: "col" }, "lesson"),
            ...LEVELS.map((word) => html("th", { scope: "col" }, word)),
          ),
        ),
        html("tbody", {}, ...rows),
      ),
      html(
        "div",
        { class: "al-caption" },
        "Asked, and the share of points in the last answers. " +
          `Weak: below ${Math.round(100 * data.boxes.rise)} %. Press one to practise it.`,
      ),
    );
  }

  draw();
  return () => { shown?.dispose(); dispose(); };
}
