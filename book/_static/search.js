/* The search page. SECTIONS (sections.js) holds the pages in the order of the course, each with its sections. */

/**
 * @typedef {[address: string, page: string, sections: [anchor: string, title: string, text: string][]]} Page
 * @typedef {object} Entry
 * @property {string} address @property {string} page @property {string} title @property {string} text
 * @property {string} kind  the folder or the file of its page: lessons, glossary, interview ...
 * @property {boolean} whole  a page's own entry, not one of its sections
 * @property {string[][]} names  the words of its title, and of a term's short form
 * @property {string[]} around  the words of its page's title
 * @property {string[]} words  those of title and text, in their order
 * @property {Map<string, number>} counts
 */

const WORD = /\d+(?:[.,_]\d+)*(?:\s?[KM](?![\p{L}\p{N}])|\p{L}+)?|\p{L}[\p{L}\p{N}]*/gu;
const UNUSUAL = { matrices: "matrix", indices: "index" };
const NUMBERED = /^(?:(?:Exercise |Teaching lesson )?\d+(?:\.\d+)?[,.:]? |Interview: )/;
const LITTLE = `a about an and are as at be but by can do does doesn don for from get has have how i if in into is isn
  it its me my of on or s so t than that the their them then there these they this to was we what when where which who
  why will with work would you your`;
const LITTLE_WORDS = new Set(LITTLE.split(/\s+/).map(stemOf));

/** What a word counts as: queries as query, sinks as sink, 131,072 as 131072, normalize as normalise. */
function stemOf(word) {
  const low = word.toLowerCase().replace(/[\s,_]/g, "").replace(/iz(?=[aei])/, "is");
  if (low in UNUSUAL) return UNUSUAL[low];
  if (low.length < 4 || /^\d|[suia]s$|[^s]$/.test(low)) return low;
  if (low.endsWith("ies")) return `${low.slice(0, -3)}y`;
  return low.slice(0, /(ss|x|tch|sh)es$/.test(low) ? -2 : -1);
}

/** @type {Map<string, string>} */
const stems = new Map();

function stem(word) {
  const known = stems.get(word);
  if (known !== undefined) return known;
  stems.set(word, stemOf(word));
  return stems.get(word);
}

/** The words of a text, each with its place; "128 K" is one, "KV-cache" two. */
const wordsOf = (text) => [...text.matchAll(WORD)].map(({ 0: word, index }) => ({ word, index, stem: stem(word) }));
const stemsOf = (text) => wordsOf(text).map((each) => each.stem);

class Index {
  /** @param {Page[]} pages */
  constructor(pages) {
    /** @type {Map<string, {word: string, entries: number, titled: boolean}>} */
    this.known = new Map();
    /** Words that some title has apart and a reader may write as one: kvcache. @type {Map<string, string[]>} */
    this.joined = new Map();
    this.entries = pages.flatMap(([address, page, sections]) =>
      sections.map(([anchor, title, text]) => this.entry(address, page, anchor, title, text)),
    );
  }

  /** @returns {Entry} */
  entry(address, page, anchor, title, text) {
    const kind = address.split(/[/.]/)[0];
    const short = kind === "glossary" ? /^(.+) \((.+)\)$/.exec(title)?.slice(1) : null;
    const also = kind === "glossary" ? /Also called (?:an? )?([^.;:,]+)/.exec(text)?.slice(1) : null;
    const plain = title.replace(NUMBERED, "");
    const names = [plain, ...(short ?? []), ...(also ?? [])].map((name) => content(stemsOf(name)));
    const titled = new Set(names.flat());
    const [counts, words] = [new Map(), []];
    for (const word of `${title} ${text}`.match(WORD) ?? []) {
      const each = stem(word);
      words.push(each);
      counts.set(each, (counts.get(each) ?? 0) + 1);
      if (!this.known.has(each)) this.known.set(each, { word: word.toLowerCase(), entries: 0, titled: false });
    }
    for (const each of counts.keys()) {
      const known = this.known.get(each);
      known.entries += 1;
      known.titled ||= titled.has(each);
    }
    for (const name of kind === "references" ? [] : names) this.join(name);
    const around = anchor ? content(stemsOf(page.replace(NUMBERED, ""))) : [];
    return {
      ...{ address: anchor ? `${address}#${anchor}` : address, page, title, text },
      ...{ kind, whole: !anchor, names, around, words, counts },
    };
  }

  join(name) {
    for (let at = 0; at < name.length; at += 1)
      for (const parts of [name.slice(at, at + 2), name.slice(at, at + 3)]) {
        const joined = parts.join("");
        if (parts.length > 1 && joined.length > 4) this.joined.set(joined, parts);
      }
  }

  /** For each word of a query the words of the course that it may stand for: itself, or those that it begins. */
  wanted(query) {
    const written = stemsOf(query.replace(/(\d)\s+([km])\b/gi, "$1$2"));
    const meant = content(written).flatMap((word) => this.joined.get(word) ?? [word]);
    return meant.map((word) => {
      const begun = this.known.has(word) || word.length < 2 ? [] : [...this.known.keys()];
      return new Set([word, ...begun.filter((known) => known.startsWith(word))]);
    });
  }

  /** How well an entry answers, 0 where a word is missing: by where the words stand, then by how much they are. */
  score(entry, wanted) {
    const { kind, names, counts, words } = entry;
    const around = kind === "lessons" ? entry.around : [];
    const often = wanted.map((each) => sum([...each].map((word) => counts.get(word) ?? 0)));
    if (!sum(often) || wanted.some((each, i) => !often[i] && !hasAny(around, each))) return 0;
    const held = (name) => wanted.filter((each) => hasAny(name, each)).length;
    const isHeld = (name) => held(name) === wanted.length;
    const titled = Math.max(...names.map((name) => Number(isHeld(name)) * Math.min(1, wanted.length / name.length)));
    const withPage = held(names[0]) > 0 && isHeld([...names[0], ...around]);
    const dense = sum(often.map((count) => count / (count + 1 + words.length / 200))) / wanted.length;
    const inText = 0.5 * dense + (wanted.length > 1 && together(words, wanted) ? 0.4 : 0);
    return level(entry, titled, withPage) + (titled ? 0.9 * titled : inText);
  }

  /** Entries that hold every word of the query, the best first, in the order of the course where they are as good. */
  find(query) {
    const wanted = this.wanted(query);
    const scored = this.entries.map((entry) => ({ entry, score: this.score(entry, wanted) }));
    return scored.filter(({ score }) => score).sort((a, b) => b.score - a.score).map(({ entry }) => entry);
  }

  /** The query with each word that the course doesn't have replaced by its nearest, or "" where there is none. */
  meant(query) {
    const unknown = ({ stem: each }) =>
      ![this.known, this.joined].some((words) => words.has(each)) && this.wanted(each)[0]?.size === 1;
    const parts = wordsOf(query).filter(unknown).map(({ word, stem: each }) => [word, this.nearest(each)]);
    if (!parts.length || parts.some(([, near]) => !near)) return "";
    return parts.reduce((said, [word, near]) => said.replace(word, near), query.trim());
  }

  nearest(word) {
    const most = word.length < 4 ? 0 : word.length < 8 ? 1 : 2;
    let [found, least] = ["", Infinity];
    for (const [stem, { word: known, entries, titled }] of this.known) {
      if ((!titled && entries < 3) || /\d/.test(stem) || Math.abs(stem.length - word.length) > most) continue;
      const far = distance(stem, word);
      const cost = far + (titled ? 0 : 0.5) + 0.4 / (1 + entries);
      if (far <= most && cost < least) [found, least] = [known, cost];
    }
    return found;
  }

  /** Sections of lessons and terms that answer some of the words, or those of the works that have them. */
  near(query, hits) {
    const also = hits.filter(({ kind }) => kind === "references").map(({ title }) => title);
    const said = new Set(content(stemsOf([query, ...also].join(" "))));
    const words = [...said].filter((word) => word.length > 1 && this.known.has(word));
    const rare = (word) => Math.log(this.entries.length / this.known.get(word).entries);
    const scored = this.entries.filter(({ kind }) => teaches(kind)).map((entry) => {
      return { entry, score: sum(words.map((word) => rare(word) * this.score(entry, [new Set([word])]))) };
    });
    return scored.filter(({ score }) => score).sort((a, b) => b.score - a.score).slice(0, 3).map(({ entry }) => entry);
  }
}

const sum = (numbers) => numbers.reduce((all, each) => all + each, 0);
const content = (stems) => stems.filter((word) => !LITTLE_WORDS.has(word));
const hasAny = (words, each) => words.some((word) => each.has(word));
const teaches = (kind) => kind === "lessons" || kind === "glossary";

/** Whether the query stands in a text as it was written. */
function together(words, wanted) {
  return words.some((_, at) => wanted.every((each, i) => each.has(words[at + i])));
}

/** A page's title weighs most, then a lesson's heading, a term, an exercise, the text that teaches, then questions. */
function level({ kind, whole, title }, titled, withPage) {
  const exercise = title.startsWith("Exercise ");
  if (kind === "lessons" && titled) return whole ? 8 : exercise ? 4 : 7;
  if (kind === "glossary" && titled) return titled === 1 ? 6 : 5;
  if (kind === "lessons" && withPage && !exercise) return 5;
  if (teaches(kind)) return 3;
  return kind === "interview" ? (titled ? 2 : 1) : 0.05;
}

/** How many letters must be changed, added, dropped or exchanged with their neighbour. */
function distance(a, b) {
  let [before, row] = [[], Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + Number(a[i - 1] !== b[j - 1]));
      const exchanged = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (exchanged) next[j] = Math.min(next[j], before[j - 2] + 1);
    }
    [before, row] = [row, next];
  }
  return row[b.length];
}

/** The text around the first of the words, as nodes with each of them marked. */
function excerpt(text, wanted, length = 160) {
  const isWanted = ({ stem: each }) => wanted.some((words) => words.has(each));
  const first = wordsOf(text).find(isWanted)?.index ?? 0;
  const start = Math.max(0, first - Math.round(length / 3));
  const from = start && text.indexOf(" ", start) + 1;
  const end = from + length < text.length ? text.lastIndexOf(" ", from + length) : text.length;
  const piece = text.slice(from, end);
  /** @type {(string | Node)[]} */
  const parts = [from ? "… " : ""];
  let at = 0;
  for (const { word, index } of wordsOf(piece).filter(isWanted)) {
    parts.push(piece.slice(at, index), Object.assign(document.createElement("mark"), { textContent: word }));
    at = index + word.length;
  }
  return [...parts, piece.slice(at), end < text.length ? " …" : ""];
}

addEventListener("DOMContentLoaded", () => {
  const found = document.getElementById("search-found");
  if (!found) return;
  const [said, near] = ["search-said", "search-near"].map((id) => document.getElementById(id));
  /** @type {HTMLInputElement} */
  const box = document.querySelector("article input[name=q]");
  // @ts-expect-error: sections.js declares it, which section_search.py writes
  const index = new Index(SECTIONS);
  const make = (tag, more, ...inside) => {
    const made = Object.assign(document.createElement(tag), more);
    made.append(...inside);
    return made;
  };

  function item({ address, page, title, text }, wanted) {
    const where = make("span", {}, page === title ? "" : page);
    return make("li", {}, make("a", { href: address }, title), " ", where, make("p", {}, ...excerpt(text, wanted)));
  }

  function show(query) {
    const typed = query.trim();
    const meant = index.meant(typed);
    const hits = index.find(meant || typed);
    const wanted = index.wanted(meant || typed);
    const taught = hits.some(({ kind }) => teaches(kind));
    const count = hits.length === 1 ? "1 section" : `${hits.length || "No"} sections`;
    const told = taught || !hits.length ? `${count} with “${typed}”` : `No lesson with “${typed}”, ${count} elsewhere`;
    const other = make("a", { href: `?q=${encodeURIComponent(meant)}` }, meant);
    if (meant) said.replaceChildren(`No sections with “${typed}”. Did you mean `, other, "?");
    else said.replaceChildren(typed && told);
    found.replaceChildren(...hits.slice(0, 50).map((hit) => item(hit, wanted)));

    const nearest = taught ? [] : index.near(typed, hits);
    const lessons = index.entries.filter(({ kind, whole }) => kind === "lessons" && whole);
    const glossary = make("a", { href: "glossary.html" }, "glossary");
    near.hidden = taught;
    const otherwise = typed ? "Nothing near it either. Look in the " : "Say a word, or look in the ";
    const [begin, end] = nearest.length ? ["Nearest in the lessons and the ", ":"] : [otherwise, " or a lesson:"];
    near.replaceChildren(
      make("p", {}, begin, glossary, end),
      make("ol", {}, ...(nearest.length ? nearest : lessons).map((entry) => item(entry, wanted))),
    );
  }

  /** @type {NodeListOf<HTMLInputElement>} */
  const fields = document.querySelectorAll("input[name=q]");
  for (const field of fields) field.value = new URLSearchParams(location.search).get("q") ?? "";
  box.addEventListener("input", () => show(box.value));
  show(box.value);
});
