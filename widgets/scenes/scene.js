import { html, svg } from "../kit/dom.js";
import { footer } from "../kit/export.js";
import { frame, segment } from "../kit/frame.js";
import { unpacked } from "../kit/numbers.js";
import { player, stepped } from "../kit/player.js";

const NARROW_ROOM = 560; // pixels, under which a scene stands in a column
const JOURNEY = 450; // milliseconds from one stop to the next
const STOP_STANDS = 900;

/**
 * @typedef {{name: string, kind: "player" | "slider" | "switch", stops: string[], at: number}} Dial
 * @typedef {{name: string, question: string, dials: Dial[], says: string[], drawn: any, rows: (string | number)[][],
 *   provenance: string}} SceneData
 * @typedef {{width: number, narrow: boolean, choose: (wide: any, narrow: any) => any}} Room
 * @typedef {{drawn: any, at: number[], room: Room, pressed: number[]}} View where the dials stand: between two stops on
 *   the way there; pressed: what the reader has chosen in the picture, the last choice last
 * @typedef {{name: string, most: number, say: (view: View) => string[] | null}} Choice of at most so many parts of the
 *   picture, which have a number in data-press; one more takes the place of the oldest. say: what is said of what is
 *   chosen, null for what is said without
 */

/** What is said where the dials stand so; every second part matters. @param {Pick<SceneData, "dials" | "says">} data */
export function saidAt({ dials, says }, at) {
  const place = dials.reduce((sum, dial, i) => sum * dial.stops.length + Math.floor(at[i]), 0);
  return says[place].split("*");
}

/** From 0 to 1 as a thing moves that starts and stops gently. */
export const eased = (share) => (share < 0.5 ? 4 * share ** 3 : 1 - (2 - 2 * share) ** 3 / 2);

/** @typedef {Record<string, any>} Look how a thing is drawn; what a shape does not know is an attribute of it */

/** Words on a scene; fill is a token. @param {Look} look */
export function words(x, y, text, look = {}) {
  const { size = 13, fill = "ink-2", anchor = "start", weight = 400, ...more } = look;
  const style = `fill:var(--${fill});font-size:${size}px;font-weight:${weight}`;
  return svg("text", { x, y, style, "text-anchor": anchor, ...more }, text);
}

/** The number that counts. @param {Look} look */
export function bigNumber(x, y, text, look = {}) {
  return words(x, y, text, { size: 44, fill: "ink", weight: 600, "letter-spacing": "-.02em", ...look });
}

/** A line through points. @param {number[][]} points @param {Look} look */
export function stroke(points, look = {}) {
  const { colour = "line", width = 1, dash = "", ...more } = look;
  const d = points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
  const style = `fill:none;stroke:var(--${colour});stroke-width:${width}${dash ? `;stroke-dasharray:${dash}` : ""}`;
  return svg("path", { d, style, ...more });
}

/** A stroke with a tip at its last point. @param {number[][]} points @param {Look} look */
export function pointer(points, look = {}) {
  const { colour = "ink-2", width = 2, ...more } = look;
  const [[x0, y0], [x, y]] = points.slice(-2);
  const [length, tip] = [Math.hypot(x - x0, y - y0) || 1, 4 + 2 * width];
  const [ux, uy] = [(x - x0) / length, (y - y0) / length];
  const [bx, by] = [x - tip * ux, y - tip * uy];
  const sides = [1, -1].map((side) => `L${bx - side * tip * 0.45 * uy} ${by + side * tip * 0.45 * ux}`);
  return svg(
    "g",
    more,
    stroke([...points.slice(0, -1), [bx, by]], { colour, width }),
    svg("path", { d: `M${x} ${y}${sides.join("")}z`, style: `fill:var(--${colour})` }),
  );
}

/** A box; fill and line are tokens. @param {Look} look */
export function box(x, y, width, height, look = {}) {
  const { fill = "", line = "", opacity = 1, radius = 0, dash = "", ...more } = look;
  const paint = `fill:${fill ? `var(--${fill})` : "none"};fill-opacity:${opacity}`;
  const edge = line ? `;stroke:var(--${line})${dash ? `;stroke-dasharray:${dash}` : ""}` : "";
  const size = { width: Math.max(width, 0), height: Math.max(height, 0) };
  return svg("rect", { x, y, ...size, rx: radius, style: paint + edge, ...more });
}

/**
 * Makes a stage a list box whose options are the parts of its picture with data-press: pressed by pointer, or by arrows
 * (up and down go to the next line) and space.
 * @param {HTMLElement} stage @param {Choice} choice @param {(isPress: boolean) => void} changed
 */
function chooser(stage, { name, most }, changed) {
  const id = `choice-${Math.random().toString(36).slice(2)}`;
  const list = { pressed: /** @type {number[]} */ ([]), mark };
  let here = -1; // the option at which the keyboard is
  /** @param {Element[]} parts */
  function mark(parts) {
    for (const part of parts) {
      const option = part.getAttribute("data-press");
      const chosen = String(list.pressed.includes(Number(option)));
      const says = { id: `${id}-${option}`, role: "option", "aria-selected": chosen };
      const is = option ? says : { "aria-hidden": "true" };
      for (const [key, value] of Object.entries(is)) part.setAttribute(key, value);
      part.toggleAttribute("data-here", option === String(here));
    }
  }
  function go(option, isPress = false) {
    here = option;
    stage.setAttribute("aria-activedescendant", `${id}-${option}`);
    changed(isPress);
  }
  function press(option) {
    const { pressed } = list;
    const others = pressed.filter((each) => each !== option);
    list.pressed = others.length < pressed.length ? others : [...pressed, option].slice(-most);
    go(option, true);
  }
  const about = { role: "listbox", tabindex: "0", "aria-label": name, "aria-multiselectable": "true",
    "data-lm-suppress-shortcuts": "true" };
  for (const [key, value] of Object.entries(about)) stage.setAttribute(key, value);
  stage.addEventListener("click", (event) => {
    const part = /** @type {Element} */ (event.target).closest("[data-press]");
    if (part) press(Number(part.getAttribute("data-press")));
  });
  stage.addEventListener("keydown", (event) => {
    const parts = [...stage.querySelectorAll("[data-press]")];
    const options = parts.map((part) => Number(part.getAttribute("data-press")));
    const tops = parts.map((part) => Math.round(part.firstElementChild.getBoundingClientRect().top));
    const line = tops.filter((top) => top === tops[0]).length;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -line, ArrowDown: line }[event.key];
    const from = here < 0 ? -by : options.indexOf(here); // the first key leads to the first option
    const to = by ? from + by : { Home: 0, End: parts.length - 1 }[event.key];
    const isPress = event.key === " " || event.key === "Enter";
    if (event.ctrlKey || event.metaKey || event.altKey || (to === undefined && !isPress)) return;
    event.preventDefault();
    event.stopPropagation(); // the notebook has its own
    if (!isPress && to in options) go(options[to]);
    else if (isPress && here >= 0) press(here);
  });
  return list;
}

/**
 * A view of a drawing that moves. `draw` is a function of what it is given alone: its height, then what stands there.
 * @param {(view: View) => [height: number, ...parts: Node[]]} draw
 * @param {((view: View, x: number, y: number) => (number | null)[]) | null} drag the stops of the dials (null leaves
 *   one as it is) for a pointer that has taken an element with the attribute data-handle
 * @param {Choice | null} choice what the reader may choose in the picture
 */
export function scene(draw, drag = null, choice = null) {
  function render({ model, el }) {
    /** @type {SceneData} */
    const data = unpacked(model.get("data"));
    const at = data.dials.map((dial) => dial.at); // where the reader has put them
    const shown = [...at]; // where they are drawn
    const still = matchMedia("(prefers-reduced-motion: reduce)");
    const { root, tell, dispose } = frame(el, data.question);
    const stage = html("div", { class: "al-scene-stage" });
    const list = choice && chooser(stage, choice, (isPress) => {
      picture();
      if (isPress) say();
      if (isPress) remember();
    });
    let travel = 0;

    const view = () => {
      const width = stage.clientWidth || 640;
      const narrow = width < NARROW_ROOM;
      const room = { width, narrow, choose: (wide, tall) => (narrow ? tall : wide) };
      return { drawn: data.drawn, at: shown, room, pressed: list ? list.pressed : [] };
    };
    function say(quiet = false) {
      const chosen = list?.pressed.length ? choice.say({ ...view(), at }) : null;
      tell(chosen ?? saidAt(data, at), { quiet });
    }
    function remember() {
      model.set("reader", { at: [...at], ...(list ? { pressed: list.pressed } : {}) });
      model.save_changes();
    }
    function picture() {
      const seen = view();
      const [height, ...parts] = draw(seen);
      list?.mark(/** @type {Element[]} */ (parts));
      const heard = list ? { role: "presentation" } : { "aria-hidden": "true" };
      stage.replaceChildren(svg("svg", { width: seen.room.width, height, ...heard }, ...parts));
    }
    /** Put a dial at a stop; one that stands near goes there, one that is far or dragged is there. */
    function move(i, to, { quiet = false, journey = false } = {}) {
      cancelAnimationFrame(travel);
      data.dials.forEach((_, each) => { shown[each] = at[each]; });
      const from = shown[i];
      at[i] = to;
      say(quiet);
      const began = performance.now();
      function step() {
        const share = Math.min((performance.now() - began) / JOURNEY, 1);
        shown[i] = from + (to - from) * eased(share);
        picture();
        if (share < 1) travel = requestAnimationFrame(step);
      }
      if (journey && !still.matches && Math.abs(to - from) === 1) step();
      else { shown[i] = to; picture(); }
      remember();
    }

    const dials = data.dials.map((dial, i) => {
      const last = dial.stops.length - 1;
      if (dial.kind === "switch") {
        const chosen = segment(dial.name, dial.stops, dial.stops[dial.at], (stop) =>
          move(i, dial.stops.indexOf(stop), { journey: true }));
        return { element: html("div", { class: "al-player al-scene-switch" }, chosen), put() {} };
      }
      if (dial.kind === "player") {
        let ready = false; // a player shows its first frame while it is made
        const made = player({
          last, at: dial.at, name: dial.name, say: (stop) => dial.stops[stop], time: (stop) => stop * STOP_STANDS,
          show(stop, playing) {
            if (ready && (stop !== at[i] || !playing)) move(i, stop, { quiet: playing, journey: true });
          },
        });
        ready = true;
        return { element: made.element, put: made.move };
      }
      const caption = html("span", { class: "al-caption" });
      const range = html("input", {
        type: "range", min: 0, max: last, step: 1, "aria-label": dial.name,
        oninput() { put(Number(range.value)); },
        onkeydown(event) {
          const to = event.ctrlKey || event.metaKey || event.altKey ? null : stepped(at[i], last, event);
          if (to === null) return;
          event.preventDefault();
          event.stopPropagation(); // the notebook has its own arrows
          put(to);
        },
      });
      function put(to) { say(to); move(i, to); }
      function say(to) {
        range.value = String(to);
        range.style.setProperty("--done", `${last ? (100 * to) / last : 100}%`);
        range.setAttribute("aria-valuetext", dial.stops[to]);
        caption.textContent = dial.stops[to];
      }
      say(dial.at);
      return { element: html("div", { class: "al-player al-scene-slider" }, caption, range), put };
    });

    if (drag) {
      let held = false;
      const to = (event) => {
        const box = stage.getBoundingClientRect();
        drag(view(), event.clientX - box.left, event.clientY - box.top).forEach((stop, i) => {
          if (stop === null) return;
          const put = Math.min(Math.max(stop, 0), data.dials[i].stops.length - 1);
          if (put !== at[i]) dials[i].put(put);
        });
      };
      stage.addEventListener("pointerdown", (event) => {
        if (!(/** @type {Element} */ (event.target).closest("[data-handle]"))) return;
        held = true;
        stage.setPointerCapture(event.pointerId);
        to(event);
      });
      stage.addEventListener("pointermove", (event) => { if (held) to(event); });
      for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => { held = false; });
    }
    const foot = footer({ root, name: data.name, provenance: data.provenance, rows: () => data.rows });
    const turned = dials.map((dial) => dial.element);
    root.append(html("div", { class: "al-body al-scene" }, stage), ...turned, ...foot.elements);
    say();
    const observer = new ResizeObserver(picture);
    observer.observe(stage);
    return () => { cancelAnimationFrame(travel); observer.disconnect(); dispose(); };
  }
  return { render };
}
