import { html } from "../kit/dom.js";
import { size } from "../kit/format.js";

/**
 * The source of the kernel that runs, with its current line. A line that moves something says how much in all, and a
 * press on it goes to its next event.
 * @param {(line: number) => void} go
 */
export function codePanel(go) {
  const title = html("div", { class: "al-caption al-theatre-head", "data-words": true });
  const list = html("div", { class: "al-theatre-code", role: "group", "aria-label": "source of the kernel" });
  let [shown, rows, current] = [null, [], null];

  function open(trace, kernel) {
    const totals = new Map();
    for (let e = 0; e < trace.events; e += 1) {
      if (trace.kernel[trace.programOf(e)] !== kernel) continue;
      const at = totals.get(trace.of.line(e)) ?? { bytes: 0, dots: 0 };
      totals.set(trace.of.line(e), {
        bytes: at.bytes + trace.of.read(e) + trace.of.written(e),
        dots: at.dots + trace.isDot(e),
      });
    }
    rows = trace.kernels[kernel].code.map((text, i) => {
      const found = totals.get(i + 1);
      const parts = [
        html("i", {}, found ? (found.bytes ? size(found.bytes) : "dot") : ""),
        html("span", {}, text || " "),
      ];
      return found ? html("button", { type: "button", onclick: () => go(i + 1) }, ...parts) : html("div", {}, ...parts);
    });
    list.replaceChildren(...rows);
    [shown, current] = [trace.kernels[kernel], null];
  }
  return {
    element: html("div", { class: "al-theatre-source" }, title, list),
    /** The lines that are in view. */
    seen: () =>
      rows.filter(
        (row) =>
          row.offsetTop >= list.scrollTop - 1 &&
          row.offsetTop + row.offsetHeight <= list.scrollTop + list.clientHeight + 1,
      ),
    show(trace, e) {
      const kernel = trace.kernel[trace.programOf(e)];
      if (shown !== trace.kernels[kernel]) open(trace, kernel);
      const line = trace.of.line(e);
      title.textContent = `${trace.kernels[kernel].name}, line ${line}`;
      const row = rows[line - 1];
      if (row === current) return;
      current?.classList.remove("al-on");
      current?.removeAttribute("aria-current");
      current = row ?? null;
      if (!row) return;
      row.classList.add("al-on");
      row.setAttribute("aria-current", "true");
      // In the middle third there is nothing to scroll for; offsets count from the list, which is positioned.
      const third = list.clientHeight / 3;
      if (row.offsetTop < list.scrollTop + third / 2 || row.offsetTop > list.scrollTop + 2.5 * third)
        list.scrollTop = row.offsetTop - third;
    },
  };
}
