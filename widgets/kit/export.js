import { html, svg } from "./dom.js";
import { count } from "./format.js";

/** Rows as comma-separated values; a comment line says where they come from. @param {(string | number)[][]} rows */
export function csv(rows, provenance) {
  const quoted = (cell) => (/[",\n]/.test(String(cell)) ? `"${String(cell).replaceAll('"', '""')}"` : String(cell));
  return `# ${provenance}\n${rows.map((row) => row.map(quoted).join(",")).join("\n")}\n`;
}

function save(blob, name) {
  const href = URL.createObjectURL(blob);
  const link = html("a", { href, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(href), 1000);
}

/** The lines of an element as the browser broke them, with their boxes. @param {Element} element */
function linesOf(element) {
  const lines = [];
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    for (const { 0: word, index } of node.nodeValue.matchAll(/\S+\s*/g)) {
      const range = document.createRange();
      range.setStart(node, index);
      range.setEnd(node, index + word.trimEnd().length);
      const box = range.getBoundingClientRect();
      const last = lines.at(-1);
      if (last && Math.abs(last.bottom - box.bottom) < 2 && last.parent === node.parentNode) last.words += word;
      else lines.push({ words: word, left: box.left, bottom: box.bottom, height: box.height, parent: node.parentNode });
    }
  }
  return lines;
}

/**
 * The figure as one SVG that needs no stylesheet: what stands on the page in words and pictures, without its controls.
 * @param {HTMLElement} root @returns {{text: string, width: number, height: number}}
 */
export function figureSvg(root) {
  const style = getComputedStyle(root);
  const box = root.getBoundingClientRect();
  const bottom = root.querySelector(".al-body").getBoundingClientRect().bottom;
  const provenance = root.querySelector(".al-provenance");
  const lifted = provenance.getBoundingClientRect().top - bottom - 12; // the height of the player above it
  const [width, height] = [box.width, bottom + 24 + provenance.getBoundingClientRect().height - box.top].map(Math.ceil);
  const figure = svg(
    "svg",
    { width, height, viewBox: `0 0 ${width} ${height}`, "font-family": style.fontFamily, "font-size": 11 },
    svg("rect", { width, height, style: "fill:var(--paper)" }),
  );
  for (const picture of root.querySelectorAll(".al-body svg")) {
    if (!picture.checkVisibility()) continue;
    const at = picture.getBoundingClientRect();
    const copy = /** @type {Element} */ (picture.cloneNode(true));
    copy.setAttribute("x", String(at.left - box.left));
    copy.setAttribute("y", String(at.top - box.top));
    figure.append(copy);
  }
  for (const element of root.querySelectorAll(".al-question, .al-say, .al-body [data-words], .al-provenance")) {
    for (const { words, left, bottom: foot, height: tall, parent } of linesOf(element)) {
      const { fontSize, fontWeight, fontFamily, color } = getComputedStyle(parent);
      // Letters stand a fifth above the box's foot.
      const y = foot - 0.2 * tall - box.top - (element === provenance ? lifted : 0);
      figure.append(
        svg(
          "text",
          {
            x: left - box.left,
            y,
            "font-size": fontSize,
            "font-weight": fontWeight,
            "font-family": fontFamily,
            style: `fill:${color}`,
          },
          words,
        ),
      );
    }
  }
  const text = new XMLSerializer().serializeToString(figure);
  return { text: text.replace(/var\((--[\w-]+)\)/g, (_, name) => style.getPropertyValue(name).trim()), width, height };
}

async function savePng({ text, width, height }, name) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = html("canvas", { width: 2 * width, height: 2 * height });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => save(blob, name));
}

/**
 * The last line of a figure: where its numbers come from, the numbers as a table, and the ways to take it along.
 * @param {{root: HTMLElement, name: string, provenance: string, rows: () => (string | number)[][]}} figure
 */
export function footer({ root, name, provenance, rows }) {
  const table = html("div", {
    class: "al-table",
    hidden: true,
    tabindex: 0,
    role: "region",
    "aria-label": "the numbers as a table",
  });
  const written = (cell) => (typeof cell === "number" ? count(cell) : cell);
  const cells = (tag, row, kinds = row) => html("tr", {}, ...row.map((cell, i) =>
    html(tag, { scope: tag === "th" && "col", class: typeof kinds[i] === "number" && "al-figures" }, written(cell))));
  function refresh() {
    if (table.hidden) return;
    const [head, ...body] = rows();
    table.replaceChildren(
      html(
        "table",
        {},
        html("thead", {}, cells("th", head, body[0])),
        html("tbody", {}, ...body.map((row) => cells("td", row))),
      ),
    );
  }
  const picture = () => figureSvg(root);
  const button = (text, onclick, attributes) => html("button", { type: "button", onclick, ...attributes }, text);
  const toggle = button(
    "table",
    () => {
      table.hidden = !table.hidden;
      toggle.setAttribute("aria-expanded", String(!table.hidden));
      refresh();
    },
    { "aria-expanded": "false" },
  );
  const element = html(
    "div",
    { class: "al-footer" },
    html("span", { class: "al-provenance" }, provenance),
    html(
      "span",
      {},
      toggle,
      button("PNG", () => savePng(picture(), `${name}.png`)),
      button("SVG", () => save(new Blob([picture().text], { type: "image/svg+xml" }), `${name}.svg`)),
      button("data", () => save(new Blob([csv(rows(), provenance)], { type: "text/csv" }), `${name}.csv`)),
    ),
  );
  return { elements: [table, element], refresh, toggle: () => toggle.click() };
}
