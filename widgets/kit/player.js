import { html, svg } from "./dom.js";

const BACK = "M10 1.5v9L3.5 6zM2 1.5h1.5v9H2z";
const PLAY = "M3 1.5v9L10.5 6z";
const PAUSE = "M2.5 1.5H5v9H2.5zM7 1.5h2.5v9H7z";
const FORWARD = "M2 1.5v9L8.5 6zM8.5 1.5H10v9H8.5z";
const LOOP =
  "M3 2h6a1.5 1.5 0 0 1 1.5 1.5V6H9V3.5H4.5V5L1.5 2.75 4.5.5V2z" +
  "M9 10H3a1.5 1.5 0 0 1-1.5-1.5V6H3v2.5h4.5V7l3 2.25-3 2.25V10z";
const [SLOWEST, FASTEST] = [0.25, 8];
const WHOLE_RUN = 8000; // milliseconds from the first frame to the last, unless frames would stand longer than that
const LONGEST_FRAME = 700;

/** One step of a player by key, or null for a key that is not its own. @param {number} at @param {number} last */
export function stepped(at, last, { key, shiftKey = false }) {
  const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[key];
  if (step) return Math.min(Math.max(at + step * (shiftKey ? 10 : 1), 0), last);
  return { Home: 0, End: last }[key] ?? null;
}

/** The last frame that has begun after so many milliseconds of playing. @param {(at: number) => number} time rising */
export function frameAt(time, last, elapsed) {
  let [low, high] = [0, last];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (time(middle) <= elapsed) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * Scrubs, steps and plays frames 0 ... last. A frame is a function of its index alone, so there is nothing to replay.
 * Keys: arrows step, with Shift ten at a time, Home and End jump, Space plays and pauses; and, where it loops, [ and ]
 * set the ends of the loop, L loops, - and + change the speed.
 * @param {{last: number, at: number, name: string, say: (at: number) => string,
 *          show: (at: number, playing: boolean) => void,
 *          time?: (at: number) => number, loops?: boolean}} settings
 *   time: milliseconds from the first frame to this one
 */
export function player({ last, at, name, say, show, time, loops = false }) {
  let timer = 0;
  let speed = 1;
  let loop = null; // or the first and the last frame that are played over and over
  const frame = Math.min(WHOLE_RUN / (last || 1), LONGEST_FRAME);
  time ??= (to) => to * frame;
  const shape = svg("path", { d: PLAY });
  const button = (label, inside, onclick, more) =>
    html("button", { type: "button", "aria-label": label, title: label, onclick, ...more }, inside);
  const icon = (path) => svg("svg", { viewBox: "0 0 12 12", width: 12, height: 12, "aria-hidden": "true" }, path);
  const play = button("play", icon(shape), () => (timer ? pause() : start()));
  const range = html("input", {
    type: "range", min: 0, max: last, step: 1, "aria-label": name,
    oninput() { pause(); move(Number(range.value)); },
    onkeydown: key,
  });
  const caption = html("span", { class: "al-caption" });
  const step = (by) => () => {
    pause();
    move(Math.min(Math.max(at + by, 0), last));
  };
  const looping = button("loop", icon(svg("path", { d: LOOP })), () => setLoop(loop ? null : [0, last]), {
    "aria-pressed": "false",
  });
  const pace = button("speed", "1×", () => setSpeed(speed >= FASTEST ? SLOWEST : 2 * speed));
  const element = html(
    "div",
    { class: "al-player" },
    button("one step back", icon(svg("path", { d: BACK })), step(-1)),
    play,
    button("one step on", icon(svg("path", { d: FORWARD })), step(1)),
    ...(loops ? [looping, pace] : []),
    range,
    caption,
  );

  const more = {
    "[": () => setLoop([at, Math.max(loop?.[1] ?? last, at)]),
    "]": () => setLoop([Math.min(loop?.[0] ?? 0, at), at]),
    l: () => looping.click(),
    L: () => looping.click(),
    "-": () => setSpeed(Math.max(speed / 2, SLOWEST)),
    "+": () => setSpeed(Math.min(2 * speed, FASTEST)),
    "=": () => more["+"](),
  };
  /** Answers a key that is the player's own. @param {KeyboardEvent} event */
  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const to = stepped(at, last, event);
    const act = event.key === " " ? () => play.click() : loops ? more[event.key] : null;
    if (to === null && !act) return;
    event.preventDefault();
    event.stopPropagation(); // the notebook has its own arrows
    if (to === null) return act();
    pause();
    move(to);
  }
  function move(to, playing = false) {
    at = to;
    range.value = String(at);
    range.style.setProperty("--done", `${last ? (100 * at) / last : 100}%`);
    range.setAttribute("aria-valuetext", say(at));
    caption.textContent = say(at);
    show(at, playing);
  }
  function setSpeed(to) {
    const playing = timer;
    pause();
    speed = to;
    pace.textContent = `${{ 0.25: "¼", 0.5: "½" }[speed] ?? speed}×`;
    if (playing) start();
  }
  function setLoop(to) {
    loop = to;
    looping.setAttribute("aria-pressed", String(Boolean(loop)));
    const share = (frame) => `${last ? (100 * frame) / last : 0}%`;
    range.style.setProperty("--loop-from", share(loop?.[0] ?? 0));
    range.style.setProperty("--loop-to", share(loop?.[1] ?? 0));
  }
  function start() {
    const [from, to] = loop ?? [0, last];
    if (at >= to || at < from) move(from, true);
    let began = performance.now() - time(at) / speed;
    play.setAttribute("aria-label", "pause");
    shape.setAttribute("d", PAUSE);
    timer = setInterval(() => {
      const [first, end] = loop ?? [0, last];
      const reached = Math.min(frameAt(time, last, (performance.now() - began) * speed), end);
      if (reached !== at) move(reached, true);
      if (reached < end) return;
      if (!loop || first === end) return pause();
      move(first, true);
      began = performance.now() - time(first) / speed;
    }, 16); // a screen shows no more than about 60 frames a second
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
  return { element, move, pause, key };
}
