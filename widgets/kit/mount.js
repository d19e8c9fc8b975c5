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
 * Draw one instrument in its place, also of a kind that its page brought along; where that fails, the text twin stays.
 * @param {() => {kind: string, state: any}} read
 */
function draw(place, kinds, read) {
  const el = document.createElement("div");
  try {
    const { kind, state } = read();
    (kinds[kind] ?? globalThis.courseKinds[kind]).render({ model: staticModel(decode(state)), el });
    place.querySelector("[data-twin]").hidden = true;
    place.append(el);
  } catch (error) {
    console.error(`The instrument ${place.dataset.instrument} could not be drawn.`, error);
  }
}

/** A state too heavy for its page stands in a script of its own, which is read when its place comes near. */
function drawWhenNear(place, kinds, from) {
  const near = new IntersectionObserver((seen) => {
    if (!seen.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    const script = document.createElement("script");
    script.src = from;
    script.onload = script.onerror = () => draw(place, kinds, () => globalThis.courseStates[from.split("/").pop()]);
    document.head.append(script);
  }, { rootMargin: "1000px" });
  near.observe(place);
}

/** Draw every instrument of the page. @param {Record<string, {render: Function}>} kinds */
export function mount(kinds) {
  /** @type {NodeListOf<HTMLElement>} */
  const places = document.querySelectorAll("[data-instrument]:not([data-mounted])");
  for (const place of places) {
    place.dataset.mounted = "";
    const script = place.querySelector("script");
    if (script.dataset.from) drawWhenNear(place, kinds, script.dataset.from);
    else draw(place, kinds, () => JSON.parse(script.textContent));
  }
}

export function mountWhenReady(kinds) {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => mount(kinds));
  else mount(kinds);
}
