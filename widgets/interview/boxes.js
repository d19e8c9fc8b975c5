/**
 * Which question comes next: Leitner's boxes, derived from the log of answers alone. Pure functions.
 * @typedef {{id: string, number: string, lesson: number, level: string, minutes: number, title: string, answer: string,
 *   wrong: string, evidence: string, figures: string[], points: string[], asks: number[],
 *   followUps: [ask: string, answer: string][]
 * }} Question as view.py sends it, its texts as markup
 * @typedef {{id: string, when: string, of: number, ticked: number[], said: string, seconds: number, late: boolean
 * }} Answer
 * @typedef {{days: number[], rise: number, fall: number}} Boxes
 */

export const LEVELS = ["screen", "onsite", "research"];
const DAY = 86_400_000;

/**
 * Days since 1970 by the reader's own calendar: what was answered last night is due this morning.
 * @param {Date} date
 */
export function day(date) {
  return Math.floor((date.getTime() - date.getTimezoneOffset() * 60_000) / DAY);
}

/** The share of its points that an answer made. @param {Pick<Answer, "ticked" | "of">} answer */
export const share = ({ ticked, of }) => ticked.length / of;

/**
 * Every question that was answered: its box (0 is the first), the day on which it is due, its last answer.
 * @param {Answer[]} answers in order of time @param {Boxes} boxes
 * @returns {Map<string, {box: number, due: number, last: Answer}>}
 */
export function standing(answers, boxes) {
  const found = new Map();
  for (const answer of answers) {
    let box = found.get(answer.id)?.box ?? 0;
    if (share(answer) < boxes.fall) box = 0;
    else if (share(answer) >= boxes.rise && !answer.late) box = Math.min(box + 1, boxes.days.length - 1);
    found.set(answer.id, { box, due: day(new Date(answer.when)) + boxes.days[box], last: answer });
  }
  return found;
}

/**
 * The questions of a level and a lesson; null is all.
 * @param {Question[]} questions @param {?string} level @param {?number} lesson
 */
export function chosen(questions, level, lesson) {
  return questions.filter(
    (each) => (level === null || each.level === level) && (lesson === null || each.lesson === lesson),
  );
}

/**
 * The next question: the longest due, then one never asked, in order, then the one that is due soonest.
 * @param {Question[]} questions @param {Answer[]} answers @param {Boxes} boxes @param {number} today
 * @param {?string} [not] the id of one that is not to come
 * @returns {{question: Question, why: "due" | "new" | "early"}}
 */
export function next(questions, answers, boxes, today, not) {
  const known = standing(answers, boxes);
  const others = questions.filter((each) => each.id !== not);
  const pool = others.length ? others : questions;
  const asked = pool.filter((each) => known.has(each.id))
    .sort((a, b) => known.get(a.id).due - known.get(b.id).due || known.get(a.id).box - known.get(b.id).box);
  const fresh = pool.find((each) => !known.has(each.id));
  if (asked.length && known.get(asked[0].id).due <= today) return { question: asked[0], why: "due" };
  return fresh ? { question: fresh, why: "new" } : { question: asked[0], why: "early" };
}

/**
 * How many of these are due, and were ever asked.
 * @param {Question[]} questions @param {Answer[]} answers @param {Boxes} boxes @param {number} today
 */
export function counted(questions, answers, boxes, today) {
  const known = standing(answers, boxes);
  const asked = questions.filter((each) => known.has(each.id));
  return {
    all: questions.length,
    asked: asked.length,
    due: asked.filter((each) => known.get(each.id).due <= today).length,
  };
}

/**
 * A lesson's questions of a level: how many were asked, and the mean share of their last answers, null for none.
 * @param {Question[]} questions @param {Answer[]} answers @param {Boxes} boxes
 */
export function cell(questions, answers, boxes) {
  const known = standing(answers, boxes);
  const shares = questions.flatMap((each) => (known.has(each.id) ? [share(known.get(each.id).last)] : []));
  const mean = shares.length ? shares.reduce((a, b) => a + b) / shares.length : null;
  return { all: questions.length, asked: shares.length, mean, weak: mean !== null && mean < boxes.rise };
}

/** When it comes back, in words. @param {number} days from today */
export function comesBack(days) {
  return days === 1 ? "tomorrow" : `in ${days} days`;
}

/** Minutes and seconds. @param {number} seconds >= 0 */
export function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds) % 60).padStart(2, "0")}`;
}
