/**
 * A mock interview as a pure function of what has happened: `step` says what comes next, by the rules of mock.py.
 * @typedef {import("./boxes.js").Question} Question
 * @typedef {import("./boxes.js").Answer} Answer
 * @typedef {{kind: "opening" | "question" | "follow" | "task", seconds: number, late: boolean, said?: string,
 *   id?: string, level?: string, of?: number, ticked?: number[], ask?: number, had?: boolean,
 *   name?: string, result?: string}} Event what was done, and how it went
 * @typedef {{begun: string, elapsed: number, events: Event[]}} Mock
 * @typedef {{number: string, name: string, title: string, lesson: number, minutes: number, file: string}} Task
 * @typedef {{parts: [name: string, minutes: number][], rules: [when: string, then: string][], opening: string,
 *   nine: [name: string, point: string, lesson: number][], nineLink: string, followUps: number, good: number,
 *   tasks: Task[], questions: Question[], titles: Record<string, string>, boxes: import("./boxes.js").Boxes}} Data
 */

import { LEVELS, chosen } from "./boxes.js";

/** @param {string} when @returns {Mock} one that has just begun */
export const begun = (when) => ({ begun: when, elapsed: 0, events: [] });

/** Seconds after which a part ends. @param {Data["parts"]} parts @returns {Record<string, number>} */
export function ends(parts) {
  let minutes = 0;
  return Object.fromEntries(parts.map(([name, length]) => [name, 60 * (minutes += length)]));
}

/**
 * What a question earned: the share of its points, a follow-up that was had counting as one.
 * @param {Event[]} events @param {number} at
 */
export function earned(events, at) {
  const { ticked, of } = events[at];
  let had = 0;
  for (let i = at + 1; events[i]?.kind === "follow"; i += 1) had += Number(events[i].had);
  return Math.min(1, (ticked.length + had) / of);
}

/**
 * The follow-ups of the points that were missed, each once, first things first.
 * @param {Pick<Question, "asks">} question @param {number[]} ticked @param {number} most
 */
export function followUps({ asks }, ticked, most) {
  const missed = asks.filter((_, point) => !ticked.includes(point));
  return [...new Set(missed)].slice(0, most);
}

/** The level of the next question. @param {Event[]} events @param {Pick<Data, "boxes" | "good">} data */
function level(events, { boxes, good }) {
  const at = events.findLastIndex((each) => each.kind === "question");
  if (at < 0) return events[0].ticked.length >= good ? 1 : 0;
  const before = LEVELS.indexOf(events[at].level);
  const made = earned(events, at);
  const way = made < boxes.fall ? -1 : made >= boxes.rise && !events[at].late ? 1 : 0;
  return Math.min(Math.max(before + way, 0), LEVELS.length - 1);
}

/**
 * The next question that fits into `seconds`, or undefined.
 * @param {Event[]} events @param {Data} data @param {Answer[]} answers @param {number} seconds
 */
function question(events, data, answers, seconds) {
  const asked = events.filter((each) => each.kind === "question").map((each) => each.id);
  const missed = data.nine.filter((_, point) => !events[0].ticked.includes(point)).map(([, , lesson]) => lesson);
  const lessons = [...new Set([...missed, ...data.questions.map((each) => each.lesson)])];
  const times = (lesson) => data.questions.filter((each) => each.lesson === lesson && asked.includes(each.id)).length;
  const order = lessons.map((lesson, rank) => ({ lesson, rank, times: times(lesson) }))
    .sort((a, b) => a.times - b.times || a.rank - b.rank);
  const last = (id) => answers.findLast((each) => each.id === id)?.when ?? "";
  const wanted = level(events, data);
  const near = LEVELS.map((_, i) => i).sort((a, b) => Math.abs(a - wanted) - Math.abs(b - wanted) || a - b);
  for (const i of near) {
    for (const { lesson } of order) {
      const found = chosen(data.questions, LEVELS[i], lesson)
        .filter((each) => !asked.includes(each.id) && 60 * each.minutes <= seconds)
        .sort((a, b) => (last(a.id) < last(b.id) ? -1 : last(a.id) > last(b.id) ? 1 : 0));
      if (found.length) return found[0];
    }
  }
  return undefined;
}

/**
 * The exercise for the whiteboard: of the lesson that went worst and has one, and not the last mock's.
 * @param {Event[]} events @param {Data} data @param {Mock[]} before
 */
function task(events, data, before) {
  const done = before.flatMap((mock) => mock.events).filter((each) => each.kind === "task").map((each) => each.name);
  const worst = lessons(events, data).sort((a, b) => a.made / a.of - b.made / b.of).map((each) => each.lesson);
  const place = (each) => (worst.includes(each.lesson) ? worst.indexOf(each.lesson) : worst.length);
  return [...data.tasks].sort(
    (a, b) => place(a) - place(b) || done.lastIndexOf(a.name) - done.lastIndexOf(b.name),
  )[0];
}

/**
 * What comes now.
 * @param {Pick<Mock, "elapsed" | "events">} mock @param {Data} data @param {Answer[]} answers @param {Mock[]} before
 * @returns {{kind: "opening" | "question" | "follow" | "task" | "report", question?: Question, ask?: number,
 *   task?: Task}}
 */
export function step({ elapsed, events }, data, answers, before) {
  if (!events.length) return { kind: "opening" };
  const end = ends(data.parts);
  const at = events.findLastIndex((each) => each.kind === "question");
  if (!events.some((each) => each.kind === "task")) {
    if (at >= 0 && elapsed < end.questions) {
      const asked = data.questions.find((each) => each.id === events[at].id);
      const left = asked ? followUps(asked, events[at].ticked, data.followUps).slice(events.length - 1 - at) : [];
      if (left.length) return { kind: "follow", question: asked, ask: left[0] };
    }
    const found = question(events, data, answers, end.questions - elapsed);
    if (found) return { kind: "question", question: found };
    return { kind: "task", task: task(events, data, before) };
  }
  return { kind: "report" };
}

/**
 * By lesson: questions asked, points made and possible, answers that were late, follow-ups had and asked.
 * @param {Event[]} events @param {Data} data
 */
export function lessons(events, data) {
  const found = new Map();
  events.forEach((event, at) => {
    if (event.kind !== "question") return;
    const { lesson } = data.questions.find((each) => each.id === event.id) ?? {};
    if (lesson === undefined) return; // a question that the course no longer asks
    const row = found.get(lesson) ?? { lesson, asked: 0, made: 0, of: 0, late: 0, had: 0, followed: 0 };
    row.asked += 1;
    row.made += event.ticked.length;
    row.of += event.of;
    row.late += Number(event.late);
    for (let i = at + 1; events[i]?.kind === "follow"; i += 1) {
      row.had += Number(events[i].had);
      row.followed += 1;
    }
    found.set(lesson, row);
  });
  return [...found.values()].sort((a, b) => a.lesson - b.lesson);
}
