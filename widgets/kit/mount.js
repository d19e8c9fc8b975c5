/**
 * The static host: gives a view the part of anywidget's model that it uses, from state written in the page.
 * A classic script, since browsers refuse module scripts on file://.
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

/** @param {Record<string, any>} state */
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

/** Draw every instrument of the page; where one fails, its text twin stays. @param {Record<string, {render: Function}>} kinds */
export function mount(kinds) {
  for (const place of document.querySelectorAll("[data-instrument]:not([data-mounted])")) {
    place.dataset.mounted = "";
    const el = document.createElement("div");
    try {
      const { kind, state } = JSON.parse(place.querySelector("script").textContent);
      kinds[kind].render({ model: staticModel(decode(state)), el });
      place.querySelector("[data-twin]").hidden = true;
      place.append(el);
    } catch (error) {
      console.error(`The instrument ${place.dataset.instrument} could not be drawn.`, error);
    }
  }
}

export function mountWhenReady(kinds) {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => mount(kinds));
  else mount(kinds);
}
