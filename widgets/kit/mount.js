/**
 * The static host: gives a view the part of anywidget's model that it uses, from state written in the page.
 * A classic script, since browsers refuse module scripts on file://.
 * @typedef {{get: (name: string) => any, set: (name: string, value: any) => void, save_changes: () => void,
 *   on: (event: string, listener: (...told: any[]) => void) => void, send: (message: any) => void,
 *   off: (event: string, listener: (...told: any[]) => void) => void}} Model
 */

/** Bytes travel as {"base64": ...} in a page and as a DataView from a kernel; a view sees a DataView in both. */
export function decode(value) {
  if (Array.isArray(value)) return value.map(decode);
  if (value === null || typeof value !== "object") return value;
  if (typeof value.base64 === "string") {
    return new DataView(Uint8Array.from(atob(value.base64), (letter) => letter.charCodeAt(0)).buffer);
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, decode(item)]));
}

/** @param {Record<string, any>} state @returns {Model} */
export function staticModel(state) {
  /** @type {Record<string, Set<() => void>>} */
  const listeners = {};
  return {
    get: (name) => state[name],
    set(name, value) {
      state[name] = value;
      for (const listener of [...(listeners[`change:${name}`] ?? [])]) listener();
    },
    on(event, listener) { (listeners[event] ??= new Set()).add(listener); },
    off(event, listener) { listeners[event]?.delete(listener); },
    save_changes() {},
    send() {},
  };
}

/**
 * Draw one instrument in its place; where that fails, the text twin stays.
 * @param {() => {kind: string, state: any}} read
 */
function draw(place, read) {
  const el = document.createElement("div");
  try {
    const { kind, state } = read();
    globalThis.courseKinds[kind].render({ model: staticModel(decode(state)), el });
    place.querySelector("[data-twin]").hidden = true;
    place.append(el);
  } catch (error) {
    console.error(`The instrument ${place.dataset.instrument} could not be drawn.`, error);
  }
}

/** @type {Record<string, Promise<void>>} */
const brought = {};

/** Run a script of the site, once; what it should have brought is missed where it is used. @param {string} src */
function bring(src) {
  return (brought[src] ??= new Promise((done) => {
    const script = document.createElement("script");
    script.src = src;
    script.onload = script.onerror = () => done();
    document.head.append(script);
  }));
}

/** @param {Element} place @param {() => void} then */
function whenNear(place, then) {
  const near = new IntersectionObserver((seen) => {
    if (!seen.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    then();
  }, { rootMargin: "1000px" });
  near.observe(place);
}

/**
 * Draw every instrument of the page. A kind that the page didn't bring comes from `kinds`; a state too heavy for its
 * page stands in a script of its own, which is read when its place comes near.
 * @param {string} kinds a folder
 */
function mount(kinds) {
  /** @type {NodeListOf<HTMLElement>} */
  const places = document.querySelectorAll("[data-instrument]:not([data-mounted])");
  for (const place of places) {
    place.dataset.mounted = "";
    const script = place.querySelector("script");
    const { from } = script.dataset;
    const kind = `${kinds}/${place.dataset.instrument}.js`;
    const known = globalThis.courseKinds?.[place.dataset.instrument];
    if (known && !from) draw(place, () => JSON.parse(script.textContent));
    else if (!from) bring(kind).then(() => draw(place, () => JSON.parse(script.textContent)));
    else {
      whenNear(place, async () => {
        await Promise.all([known ? null : bring(kind), bring(from)]);
        draw(place, () => globalThis.courseStates[from.split("/").pop()]);
      });
    }
  }
}

/** @param {HTMLOrSVGScriptElement | null} script the one that runs: kinds stand in a folder beside it */
export function mountWhenReady(script) {
  const kinds = script instanceof HTMLScriptElement && script.src ? new URL("kinds", script.src).href : "kinds";
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => mount(kinds));
  else mount(kinds);
}
