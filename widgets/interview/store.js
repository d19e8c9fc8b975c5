/**
 * Where answers stay: with a kernel, in the file that Python keeps; without one, in this browser.
 * @typedef {import("./mock.js").Mock} Mock
 * @typedef {{answers: import("./boxes.js").Answer[], mock: ?Mock, mocks: Mock[]}} Kept
 * @typedef {ReturnType<typeof store>} Shelf
 */

const KEY = "attention-at-length.interview";

/** What keep.py calls whole. */
export function isWhole(kept) {
  const answer = (each) =>
    typeof each?.id === "string" && typeof each.when === "string" && Array.isArray(each.ticked) && each.of > 0;
  const mock = (each) => typeof each?.begun === "string" && Array.isArray(each.events);
  return (
    Array.isArray(kept?.answers) &&
    kept.answers.every(answer) &&
    Array.isArray(kept.mocks) &&
    kept.mocks.every(mock) &&
    (kept.mock === null || mock(kept.mock))
  );
}

/**
 * What was kept, each question by its name where the first edition kept it by its number. As `renamed` of keep.py.
 * @param {Kept} kept @param {Record<string, string>} names @returns {Kept}
 */
export function renamed(kept, names) {
  const byName = (each) => (each?.id in names ? { ...each, id: names[each.id] } : each);
  const ofMock = (mock) => mock && { ...mock, events: mock.events.map(byName) };
  return { ...kept, answers: kept.answers.map(byName), mock: ofMock(kept.mock), mocks: kept.mocks.map(ofMock) };
}

/**
 * All of both; of an open mock the one that got further, none once it has ended. As `union` of keep.py.
 * @param {Kept} one @param {Kept} other @returns {Kept}
 */
export function union(one, other) {
  const by = (name, list) =>
    Object.values(Object.fromEntries(list.map((each) => [name(each), each]))).sort((a, b) =>
      name(a) < name(b) ? -1 : 1,
    );
  const mocks = by((each) => each.begun, [...one.mocks, ...other.mocks]);
  const open = [one.mock, other.mock].filter((each) => each && !mocks.some((ended) => ended.begun === each.begun));
  open.sort((a, b) =>
    a.begun === b.begun ? b.events.length - a.events.length || b.elapsed - a.elapsed : a.begun < b.begun ? 1 : -1,
  );
  return {
    answers: by((each) => `${each.when} ${each.id}`, [...one.answers, ...other.answers]),
    mock: open[0] ?? null,
    mocks,
  };
}

/**
 * @param {import("../kit/mount.js").Model} model @param {?Storage} storage null where the browser lends none
 * @returns what was kept, a way to keep more, and what a reader should know about it
 */
export function store(model, storage) {
  const data = model.get("data");
  const live = model.get("live");
  /** @type {Kept} */
  let kept = { answers: [], mock: null, mocks: [], ...model.get("reader") };
  let notice = data.notice;
  const read = () => {
    const text = storage?.getItem(KEY);
    if (!text) return { answers: [], mock: null, mocks: [] };
    try {
      const found = JSON.parse(text);
      if (isWhole(found)) return renamed(found, data.before ?? {});
    } catch { /* told below */ }
    let name = `${KEY}.damaged`;
    for (let n = 2; storage.getItem(name) !== null; n += 1) name = `${KEY}.damaged-${n}`;
    storage.setItem(name, text);
    storage.removeItem(KEY);
    notice = `What this browser kept was damaged. It is set aside under ${name}, and the boxes start from nothing.`;
    return { answers: [], mock: null, mocks: [] };
  };
  if (!live) kept = union(kept, read());
  return {
    get kept() {
      return kept;
    },
    get notice() {
      return live ? model.get("data").notice : notice;
    },
    where: live
      ? data.kept
      : storage
        ? "kept in this browser"
        : "this browser keeps nothing: answers last until the page is closed",
    /** Add to what is kept. @param {Partial<Kept>} change each as a whole */
    keep(change) {
      kept = { ...kept, ...change };
      if (live) {
        model.set("reader", kept);
        model.save_changes();
      } else if (storage) {
        try {
          storage.setItem(KEY, JSON.stringify(union(read(), kept)));
        } catch {
          notice = "This browser's store is full: the last answers are not kept.";
        }
      }
    },
  };
}

/** The browser's store, or null: some browsers lend none to a page from file://. */
export function browserStorage() {
  try {
    localStorage.getItem(KEY);
    return localStorage;
  } catch {
    return null;
  }
}
