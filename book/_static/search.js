/* The search page: finds sections in SECTIONS (sections.js), entries of [address, page, title, text]. */

/**
 * Sections that hold every word of the query, those with the words in their title first.
 * @typedef {[address: string, page: string, title: string, text: string]} Section
 * @param {Section[]} sections @param {string} query
 */
function findSections(sections, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const rank = ([, , title, text]) => {
    const [head, all] = [title.toLowerCase(), `${title} ${text}`.toLowerCase()];
    if (!words.length || !words.every((word) => all.includes(word))) return 0;
    return 1 + words.filter((word) => head.includes(word)).length + (head === words.join(" ") ? 9 : 0);
  };
  return sections
    .map((section) => ({ section, score: rank(section) }))
    .filter(({ score }) => score)
    .sort((a, b) => b.score - a.score)
    .map(({ section }) => section);
}

/** The text around the first word of the query, as nodes with each of its words marked. */
function excerpt(text, query, length = 160) {
  const words = query.split(/\s+/).filter(Boolean).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const each = new RegExp(`(${words.join("|")})`, "i");
  const start = Math.max(0, text.search(each) - length / 3);
  const from = start && text.indexOf(" ", start) + 1;
  const piece = text.slice(from, from + length);
  const parts = `${from ? "… " : ""}${piece}${from + length < text.length ? " …" : ""}`.split(new RegExp(each, "gi"));
  return parts.map((part, i) => (i % 2 ? Object.assign(document.createElement("mark"), { textContent: part }) : part));
}

addEventListener("DOMContentLoaded", () => {
  const found = document.getElementById("search-found");
  if (!found) return;
  const said = document.getElementById("search-said");
  /** @type {HTMLInputElement} */
  const box = document.querySelector("article input[name=q]");

  function show(query) {
    // @ts-expect-error: sections.js declares it, which section_search.py writes
    const hits = findSections(SECTIONS, query);
    said.textContent = query.trim()
      ? `${hits.length || "No"} section${hits.length === 1 ? "" : "s"} with “${query.trim()}”`
      : "";
    found.replaceChildren(
      ...hits.slice(0, 50).map(([address, page, title, text]) => {
        const link = Object.assign(document.createElement("a"), { href: address, textContent: title });
        const where = Object.assign(document.createElement("span"), { textContent: page === title ? "" : page });
        const words = document.createElement("p");
        words.append(...excerpt(text, query));
        const item = document.createElement("li");
        item.append(link, " ", where, words);
        return item;
      }),
    );
  }

  /** @type {NodeListOf<HTMLInputElement>} */
  const fields = document.querySelectorAll("input[name=q]");
  for (const field of fields) field.value = new URLSearchParams(location.search).get("q") ?? "";
  box.addEventListener("input", () => show(box.value));
  show(box.value);
});
