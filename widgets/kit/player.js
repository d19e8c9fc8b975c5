import { html, svg } from "./dom.js";

const BACK = "M10 1.5v9L3.5 6zM2 1.5h1.5v9H2z";
const PLAY = "M3 1.5v9L10.5 6z";
const PAUSE = "M2.5 1.5H5v9H2.5zM7 1.5h2.5v9H7z";
const FORWARD = "M2 1.5v9L8.5 6zM8.5 1.5H10v9H8.5z";
const WHOLE_RUN = 8000; // milliseconds from the first frame to the last, unless frames would stand longer than that
const LONGEST_FRAME = 700;

/** One step of a player by key, or null for a key that is not its own. @param {number} at @param {number} last */
export function stepped(at, last, { key, shiftKey = false }) {
  const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[key];
  if (step) return Math.min(Math.max(at + step * (shiftKey ? 10 : 1), 0), last);
  return { Home: 0, End: last }[key] ?? null;
}

/**
 * Scrubs, steps and plays frames 0 ... last. A frame is a function of its index alone, so there is nothing to replay.
 * Keys: arrows step, with Shift ten at a time, Home and End jump, Space plays and pauses.
 * @param {{last: number, at: number, name: string, say: (at: number) => string,
 *          show: (at: number, playing: boolean) => void}} settings
 */
export function player({ last, at, name, say, show }) {
  let timer = 0;
  const shape = svg("path", { d: PLAY });
  const button = (label, path, onclick) => html("button", { type: "button", "aria-label": label, title: label, onclick },
    svg("svg", { viewBox: "0 0 12 12", width: 12, height: 12, "aria-hidden": "true" }, path));
  const play = button("play", shape, () => (timer ? pause() : start()));
  const range = html("input", {
    type: "range", min: 0, max: last, step: 1, "aria-label": name,
    oninput() { pause(); move(Number(range.value)); },
    onkeydown(event) {
      const to = stepped(at, last, event);
      if (to === null && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation(); // the notebook has its own arrows
      if (to === null) return play.click();
      pause();
      move(to);
    },
  });
  const caption = html("span", { class: "al-caption" });
  const step = (by) => () => { pause(); move(Math.min(Math.max(at + by, 0), last)); };
  const element = html("div", { class: "al-player" },
    button("one step back", svg("path", { d: BACK }), step(-1)), play,
    button("one step on", svg("path", { d: FORWARD }), step(1)), range, caption);

  function move(to, playing = false) {
    at = to;
    range.value = String(at);
    range.style.setProperty("--done", `${last ? (100 * at) / last : 100}%`);
    range.setAttribute("aria-valuetext", say(at));
    caption.textContent = say(at);
    show(at, playing);
  }
  function start() {
    if (at === last) move(0, true);
    const frame = Math.min(WHOLE_RUN / (last || 1), LONGEST_FRAME);
    const stride = Math.max(1, Math.round(16 / frame)); // a screen shows no more than about 60 frames a second
    play.setAttribute("aria-label", "pause");
    shape.setAttribute("d", PAUSE);
    timer = setInterval(() => {
      move(Math.min(at + stride, last), true);
      if (at === last) pause();
    }, frame * stride);
  }
  function pause() {
    if (!timer) return;
    clearInterval(timer);
    timer = 0;
    play.setAttribute("aria-label", "play");
    shape.setAttribute("d", PLAY);
    show(at, false);
  }
  move(at);
  return { element, move, pause };
}
