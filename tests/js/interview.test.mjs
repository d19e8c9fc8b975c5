import assert from "node:assert/strict";
import { test } from "node:test";

import { cell, chosen, clock, comesBack, counted, day, next, standing } from "../../widgets/interview/boxes.js";
import { begun, earned, ends, followUps, lessons, step } from "../../widgets/interview/mock.js";
import { headline } from "../../widgets/interview/practice.js";
import { isWhole, renamed, store, union } from "../../widgets/interview/store.js";

const BOXES = { days: [1, 2, 4, 8, 16], rise: 0.75, fall: 0.5 };
const MORNING = Date.UTC(2026, 4, 1, 12);
const at = (days) => new Date(MORNING + days * 86_400_000);
const answer = (id, days, ticked, given = {}) => ({
  id,
  when: at(days).toISOString(),
  late: false,
  ticked: [...Array(ticked).keys()],
  of: 4,
  ...given,
});
const question = (id, level, minutes = 5) => ({
  id,
  lesson: Number.parseInt(id, 10),
  level,
  minutes,
  points: ["a", "b", "c", "d"],
  asks: [0, 1, 1, 0],
  followUps: [
    ["?", "!"],
    ["??", "!!"],
  ],
});
const BANK = [1, 2, 3].flatMap((lesson) =>
  ["screen", "onsite", "research"].flatMap((level, i) => [
    question(`${lesson}.${2 * i + 1}`, level),
    question(`${lesson}.${2 * i + 2}`, level),
  ]),
);

// Boxes ------------------------------------------------------------------------------------------------------------

test("an answer with three of four points rises a box, and comes back after twice the days", () => {
  const answers = [];
  let when = 0;
  for (const days of [2, 4, 8, 16, 16, 16]) {
    answers.push(answer("1.1", when, 3));
    const { due } = standing(answers, BOXES).get("1.1");
    assert.equal(due - day(at(when)), days);
    when += days;
  }
});

test("half of the points stays, less falls to the first box, and a late answer never rises", () => {
  const high = [answer("1.1", 0, 4), answer("1.1", 2, 4)];
  const box = (more) => standing([...high, more], BOXES).get("1.1").box;
  assert.equal(standing(high, BOXES).get("1.1").box, 2);
  assert.equal(box(answer("1.1", 6, 2)), 2);
  assert.equal(box(answer("1.1", 6, 1)), 0);
  assert.equal(box(answer("1.1", 6, 4, { late: true })), 2);
  assert.equal(box(answer("1.1", 6, 1, { late: true })), 0);
});

test("what is due goes first, the longest due before others; then what is new; then what is due soonest", () => {
  const few = BANK.slice(0, 3);
  assert.deepEqual(next(few, [], BOXES, day(at(0))), { question: few[0], why: "new" });
  const answers = [answer("1.1", 0, 4), answer("1.2", 0, 1)]; // due on day 2 and day 1
  assert.equal(next(few, answers, BOXES, day(at(0))).question.id, "1.3");
  assert.deepEqual(next(few, answers, BOXES, day(at(1))), { question: few[1], why: "due" });
  assert.equal(next(few, answers, BOXES, day(at(3))).question.id, "1.2");
  assert.equal(next(few, [...answers, answer("1.3", 0, 4)], BOXES, day(at(0))).why, "early");
  assert.equal(next(few, answers, BOXES, day(at(1)), "1.2").question.id, "1.3");
  assert.equal(next([few[1]], answers, BOXES, day(at(1)), "1.2").question.id, "1.2"); // the only one there is
});

test("last night's answer is due this morning", () => {
  const local = (hours) => new Date(2026, 4, 1, hours);
  assert.equal(day(local(24 + 7)) - day(local(23)), 1);
  assert.equal(day(local(23)) - day(local(1)), 0);
});

test("the overview counts what was asked and names what is weak", () => {
  const answers = [answer("1.1", 0, 4), answer("1.1", 2, 1), answer("1.2", 0, 2), answer("9.9", 0, 4)];
  assert.deepEqual(cell(chosen(BANK, "screen", 1), answers, BOXES), { all: 2, asked: 2, mean: 0.375, weak: true });
  assert.deepEqual(cell(chosen(BANK, "screen", 2), answers, BOXES), { all: 2, asked: 0, mean: null, weak: false });
  assert.deepEqual(counted(BANK, answers, BOXES, day(at(2))), { all: 18, asked: 2, due: 1 });
  assert.equal(chosen(BANK, null, null).length, 18);
  assert.equal(chosen(BANK, "research", null).length, 6);
  assert.equal(headline("", { all: 18, asked: 2, due: 1 }, "due").join(""), "1 due, 2 of 18 asked. It is due.");
});

test("times and days are said plainly", () => {
  assert.deepEqual([0, 59.9, 60, 425].map(clock), ["0:00", "0:59", "1:00", "7:05"]);
  assert.deepEqual([1, 2].map(comesBack), ["tomorrow", "in 2 days"]);
});

// Keeping ----------------------------------------------------------------------------------------------------------

const kept = (given) => ({ answers: [], mock: null, mocks: [], ...given });

test("two pages lose nothing of each other", () => {
  const [a, b, c] = [answer("1.1", 0, 4), answer("1.2", 1, 4), answer("1.1", 2, 4)];
  assert.deepEqual(union(kept({ answers: [a, c] }), kept({ answers: [a, b] })).answers, [a, b, c]);
  const mock = begun(at(0).toISOString());
  const further = { ...mock, elapsed: 90 };
  assert.deepEqual(union(kept({ mock }), kept({ mock: further })).mock, further);
  const answered = { ...mock, elapsed: 89, events: [opening(1)] }; // an answer counts more than a second
  for (const pair of [[further, answered], [answered, further]]) {
    assert.deepEqual(union(...pair.map((each) => kept({ mock: each }))).mock, answered);
  }
  assert.deepEqual(union(kept({ mock: further }), kept({ mocks: [further] })), kept({ mocks: [further] }));
});

test("what is no record of answers is not taken for one", () => {
  assert.ok(isWhole(kept({ answers: [answer("1.1", 0, 4)], mock: begun("now"), mocks: [begun("then")] })));
  for (const broken of [
    null,
    [],
    {},
    kept({ answers: [{}] }),
    kept({ mock: {} }),
    kept({ mocks: 3 }),
    kept({ answers: [answer(1, 0, 4)] }),
  ]) {
    assert.ok(!isWhole(broken), JSON.stringify(broken));
  }
});

const shelf = (storage, state = {}) =>
  store(
    {
      get: (name) => ({ data: { notice: "", kept: "kept in a file" }, reader: {}, ...state })[name],
      set(name, value) {
        state[name] = value;
      },
      save_changes() {
        state.saved = true;
      },
    },
    storage,
  );
const memory = (entries = {}) => ({
  entries,
  getItem: (key) => entries[key] ?? null,
  setItem(key, text) {
    entries[key] = text;
  },
  removeItem(key) {
    delete entries[key];
  },
});

test("a browser keeps answers for the next visit", () => {
  const storage = memory();
  shelf(storage).keep({ answers: [answer("1.1", 0, 4)] });
  const other = shelf(storage);
  assert.equal(other.kept.answers.length, 1);
  shelf(storage).keep({ answers: [answer("1.1", 0, 4), answer("1.2", 0, 4)] }); // in another tab
  other.keep({ answers: [...other.kept.answers, answer("1.3", 0, 4)] });
  assert.equal(shelf(storage).kept.answers.length, 3);
});

test("a damaged or half-written store is set aside, twice too, and said so", () => {
  const storage = memory({ "attention-at-length.interview": '{"answers": [' });
  const first = shelf(storage);
  assert.match(first.notice, /damaged.*set aside under attention-at-length\.interview\.damaged,/);
  assert.deepEqual(first.kept, kept());
  storage.setItem("attention-at-length.interview", "[]");
  assert.match(shelf(storage).notice, /damaged-2/);
  assert.deepEqual(Object.values(storage.entries), ['{"answers": [', "[]"]);
});

test("what was kept under the numbers of the first edition is found under the names", () => {
  const asked = { kind: "question", id: "1.2", of: 4, ticked: [] };
  const half = { begun: "now", elapsed: 7, events: [asked, { kind: "opening" }] };
  const before = kept({ answers: [answer("1.1", 0, 4), answer("gone-on", 1, 2)], mock: half, mocks: [half] });
  const now = renamed(before, { 1.1: "first", 1.2: "second" });
  assert.deepEqual(now.answers.map((each) => each.id), ["first", "gone-on"]);
  assert.deepEqual([now.mock, ...now.mocks].map((mock) => mock.events[0].id), ["second", "second"]);
  assert.deepEqual(renamed(now, { 1.1: "first", 1.2: "second" }), now);
  assert.equal(renamed(kept(), { 1.1: "first" }).mock, null);
});

test("without a store answers last for the page, with a full one it is said, with a kernel they go to Python", () => {
  assert.match(shelf(null).where, /keeps nothing/);
  const full = { ...memory(), setItem() { throw new Error("QuotaExceededError"); } };
  const page = shelf(full);
  page.keep({ answers: [answer("1.1", 0, 4)] });
  assert.equal(page.kept.answers.length, 1);
  assert.match(page.notice, /full/);
  const state = { live: true };
  shelf(null, state).keep({ answers: [answer("1.1", 0, 4)] });
  assert.equal(state.reader.answers.length, 1);
  assert.ok(state.saved);
});

// The mock ---------------------------------------------------------------------------------------------------------

const PARTS = [["opening", 6], ["questions", 24], ["whiteboard", 12], ["report", 3]];
const NINE = Array.from({ length: 9 }, (_, i) => [`point ${i}`, "words", [3, 3, 2, 1, 1, 1, 1, 1, 1][i]]);
const TASKS = [
  ["1.1", 1],
  ["2.1", 2],
  ["2.2", 2],
].map(([number, lesson]) => ({ number, lesson, minutes: 8, name: `task ${number}` }));
const DATA = { parts: PARTS, nine: NINE, tasks: TASKS, questions: BANK, boxes: BOXES, followUps: 2, good: 6 };
const opening = (made) => ({ kind: "opening", ticked: [...Array(made).keys()], late: false });
const asked = (id, ticked, given = {}) => ({
  kind: "question",
  id,
  level: BANK.find((each) => each.id === id).level,
  of: 4,
  ticked,
  late: false,
  ...given,
});
const follow = (id, had) => ({ kind: "follow", id, had });
const task = { kind: "task", name: "task 2.1", result: "right" };
const then = (events, elapsed = 400, answers = [], before = []) => step({ elapsed, events }, DATA, answers, before);
const ALL = [0, 1, 2, 3];

test("it opens with the question of the course", () => {
  assert.equal(then([], 0).kind, "opening");
  assert.deepEqual(ends(PARTS), { opening: 360, questions: 1800, whiteboard: 2520, report: 2700 });
});

test("the first question is of the lesson behind the first point missed, onsite after six of nine", () => {
  assert.equal(then([opening(0)]).question.id, "3.1");
  assert.equal(then([opening(5)]).question.level, "screen");
  assert.equal(then([opening(6)]).question.level, "onsite");
  assert.equal(then([opening(2)]).question.lesson, 2);
  assert.equal(then([opening(9)]).question.lesson, 1); // nothing missed: in order
});

test("a missed point brings its follow-up, each once and at most two", () => {
  assert.deepEqual(followUps(BANK[0], [], 2), [0, 1]);
  assert.deepEqual(followUps(BANK[0], [0, 3], 2), [1]);
  assert.deepEqual(followUps(BANK[0], ALL, 2), []);
  const events = [opening(0), asked("3.1", [1])];
  assert.deepEqual([then(events).kind, then(events).ask], ["follow", 0]);
  events.push(follow("3.1", false));
  assert.deepEqual([then(events).kind, then(events).ask], ["follow", 1]);
  events.push(follow("3.1", true));
  assert.equal(then(events).kind, "question");
});

test("the next one is harder after three of four in time, easier below half, a follow-up counting as a point", () => {
  const level = (...events) => then([opening(6), ...events]).question.level;
  assert.equal(level(asked("1.3", ALL)), "research");
  assert.equal(level(asked("1.3", ALL, { late: true })), "onsite");
  assert.equal(level(asked("1.3", [0]), follow("1.3", false), follow("1.3", false)), "screen");
  assert.equal(level(asked("1.3", [0]), follow("1.3", true), follow("1.3", true)), "research");
  assert.equal(level(asked("1.3", [0]), follow("1.3", true), follow("1.3", false)), "onsite");
  assert.equal(level(asked("1.5", ALL)), "research");
  assert.equal(earned([asked("1.3", [0, 1, 2]), follow("1.3", true), follow("1.3", true)], 0), 1);
});

test("lessons take turns, nothing is asked twice, and what was asked longest ago comes first", () => {
  const events = [opening(0)];
  for (let i = 0; i < 6; i += 1) {
    const { question } = then(events);
    events.push(asked(question.id, [0, 1, 2], { level: "screen", late: true }), follow(question.id, false));
  }
  const ids = events.filter((each) => each.kind === "question").map((each) => each.id);
  assert.equal(new Set(ids).size, 6);
  assert.deepEqual(ids.map((id) => id[0]), ["3", "2", "1", "3", "2", "1"]);
  assert.equal(then([opening(0)], 400, [answer("3.1", 0, 4)]).question.id, "3.2");
  assert.equal(then([opening(0)], 400, [answer("3.1", 1, 4), answer("3.2", 0, 4)]).question.id, "3.2");
});

test("a question that does not fit is not begun, and the whiteboard is of the lesson that went worst", () => {
  const events = [opening(9), asked("1.3", ALL), asked("2.5", [0]), follow("2.5", false), follow("2.5", false)];
  assert.equal(then(events, 1800 - 299).kind, "task");
  assert.equal(then(events, 1800 - 300).kind, "question");
  assert.equal(then(events, 1900).task.number, "2.1");
  assert.equal(then(events, 1900, [], [{ events: [task] }]).task.number, "2.2");
  assert.equal(then([...events, task], 1900).kind, "report");
  assert.equal(then([opening(9), asked("1.3", [])], 1801).kind, "task"); // no follow-up after its time
});

test("a mock that was left goes on with what was next, and a question gone from the bank stops nothing", () => {
  const left = JSON.parse(JSON.stringify({ elapsed: 700, events: [opening(0), asked("3.1", [1])] }));
  assert.deepEqual(step(left, DATA, [], []), then([opening(0), asked("3.1", [1])], 700));
  const gone = { kind: "question", id: "7.1", level: "onsite", of: 4, ticked: [], late: false };
  assert.equal(then([opening(0), gone]).question.level, "screen");
  assert.deepEqual(lessons([opening(0), gone], DATA), []);
});

test("the report counts by lesson", () => {
  const events = [
    opening(9),
    asked("1.3", ALL, { late: true }),
    asked("2.5", [0]),
    follow("2.5", true),
    follow("2.5", false),
    asked("1.4", [1, 2]),
  ];
  assert.deepEqual(lessons(events, DATA), [
    { lesson: 1, asked: 2, made: 6, of: 8, late: 1, had: 0, followed: 0 },
    { lesson: 2, asked: 1, made: 1, of: 4, late: 0, had: 1, followed: 2 },
  ]);
});
