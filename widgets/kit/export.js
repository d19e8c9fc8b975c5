import { html, svg } from "./dom.js";
import { count } from "./format.js";

const MARGIN = 16;

/** Rows as comma-separated values; a comment line says where they come from. @param {(string | number)[][]} rows */
export function csv(rows, provenance) {
  const quoted = (cell) => (/[",\n]/.test(String(cell)) ? `"${String(cell).replaceAll('"', '""')}"` : String(cell));
  return `# ${provenance}\n${rows.map((row) => row.map(quoted).join(",")).join("\n")}\n`;
}

/** Text broken into lines of at most `most` letters. @param {string} text @returns {string[]} */
export function wrapped(text, most) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1);
    if (line && line.length + word.length >= most) lines.push(word);
    else lines[lines.length - 1] = line ? `${line} ${word}` : word;
  }
  return lines;
}

function save(blob, name) {
  const href = URL.createObjectURL(blob);
  const link = html("a", { href, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(href), 1000);
}

/**
 * The figure as one SVG that needs no stylesheet: question, sentence, the pictures where they stand, provenance.
 * @param {HTMLElement} root @param {string} question @param {string} provenance @returns {{text: string, width: number, height: number}}
 */
export function figureSvg(root, question, provenance) {
  const style = getComputedStyle(root);
  const box = root.getBoundingClientRect();
  const write = (y, size, weight, ink, line) => svg("text",
    { x: MARGIN, y, "font-size": size, "font-weight": weight, style: `fill:var(--${ink})` }, line);
  const sentence = wrapped(root.querySelector(".al-say").textContent, (box.width - 2 * MARGIN) / 7);
  const figure = svg("svg", { xmlns: "http://www.w3.org/2000/svg", "font-family": style.fontFamily, "font-size": 11 },
    svg("rect", { width: "100%", height: "100%", style: "fill:var(--paper)" }), write(28, 16, 600, "ink", question),
    ...sentence.map((line, i) => write(52 + 20 * i, 14, 400, "ink-2", line)));
  const top = 52 + 20 * sentence.length;
  const body = root.querySelector(".al-body").getBoundingClientRect();
  for (const picture of root.querySelectorAll(".al-body svg")) {
    const at = picture.getBoundingClientRect();
    const copy = picture.cloneNode(true);
    for (const [name, value] of [["x", at.left - box.left], ["y", at.top - body.top + top], ["width", at.width], ["height", at.height]]) copy.setAttribute(name, value);
    figure.append(copy);
  }
  for (const words of root.querySelectorAll(".al-body [data-words]")) {
    const at = words.getBoundingClientRect();
    const own = getComputedStyle(words);
    const size = parseFloat(own.fontSize);
    wrapped(words.textContent, at.width / (0.55 * size)).forEach((line, i) => figure.append(svg("text",
      { x: at.left - box.left, y: at.top - body.top + top + size * (1.1 + 1.4 * i), "font-size": size, "font-weight": own.fontWeight, style: `fill:${own.color}` }, line)));
  }
  const [width, height] = [Math.ceil(box.width), Math.ceil(top + body.height + 40)];
  figure.append(write(height - 14, 12, 400, "ink-2", provenance));
  for (const [name, value] of [["width", width], ["height", height], ["viewBox", `0 0 ${width} ${height}`]]) figure.setAttribute(name, value);
  const text = new XMLSerializer().serializeToString(figure).replace(/var\((--[\w-]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
  return { text, width, height };
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
 * @param {{root: HTMLElement, name: string, question: string, provenance: string, rows: () => (string | number)[][]}} figure
 */
export function footer({ root, name, question, provenance, rows }) {
  const table = html("div", { class: "al-table", hidden: true, tabindex: 0, role: "region", "aria-label": "the numbers as a table" });
  const written = (cell) => (typeof cell === "number" ? count(cell) : cell);
  const cells = (tag, row, kinds = row) => html("tr", {}, ...row.map((cell, i) =>
    html(tag, { scope: tag === "th" && "col", class: typeof kinds[i] === "number" && "al-figures" }, written(cell))));
  function refresh() {
    if (table.hidden) return;
    const [head, ...body] = rows();
    table.replaceChildren(html("table", {}, html("thead", {}, cells("th", head, body[0])), html("tbody", {}, ...body.map((row) => cells("td", row)))));
  }
  const picture = () => figureSvg(root, question, provenance);
  const button = (text, onclick, attributes) => html("button", { type: "button", onclick, ...attributes }, text);
  const toggle = button("table", () => {
    table.hidden = !table.hidden;
    toggle.setAttribute("aria-expanded", String(!table.hidden));
    refresh();
  }, { "aria-expanded": "false" });
  const element = html("div", { class: "al-footer" }, html("span", { class: "al-provenance" }, provenance), html("span", {}, toggle,
    button("PNG", () => savePng(picture(), `${name}.png`)),
    button("SVG", () => save(new Blob([picture().text], { type: "image/svg+xml" }), `${name}.svg`)),
    button("data", () => save(new Blob([csv(rows(), provenance)], { type: "text/csv" }), `${name}.csv`))));
  return { elements: [table, element], refresh };
}
