/* A term's definition beside it, for who points at it, comes to it by keyboard or taps it. Without this script a term
   is a link to the glossary, and so it stays. The definitions are read when they are first asked for. */

addEventListener("DOMContentLoaded", () => {
  const TERM = 'article a.reference.internal[href*="#term-"]';
  const term = (event) => /** @type {HTMLAnchorElement} */ (event.target.closest?.(TERM));
  const first = /** @type {HTMLAnchorElement} */ (document.querySelector(TERM));
  if (!first) return;

  const make = (tag, more) => Object.assign(document.createElement(tag), more);
  const card = make("div", { className: "term-card", hidden: true, lang: "en" });
  const said = make("div", { id: "term-said", role: "tooltip" });
  const more = make("a", { textContent: "In the glossary" });
  card.append(said, more);
  document.body.append(card);

  let [shown, asked, tapped, waiting] = [null, null, false, 0];

  /** @returns {Promise<Record<string, string>>} */
  const definitions = () =>
    (asked ??= new Promise((done) => {
      const src = new URL("definitions.js", first.href).href;
      document.head.append(make("script", { src, onload: () => done(globalThis.courseTerms) }));
    }));

  function hide() {
    clearTimeout(waiting);
    shown?.removeAttribute("aria-describedby");
    shown = null;
    card.hidden = true;
  }

  async function show(link, touched = false) {
    if (shown === link) return;
    hide();
    shown = link;
    const told = (await definitions())[link.hash.slice(1)];
    if (shown !== link || !told) return;
    said.innerHTML = told;
    Object.assign(more, { href: link.href, hidden: !touched });
    card.hidden = false;
    link.setAttribute("aria-describedby", said.id);
    const lines = [...link.getClientRects()];
    const [above, below] = [lines[0].top - 6 - card.offsetHeight, lines.at(-1).bottom + 6];
    const edge = document.querySelector("article > section").getBoundingClientRect().right;
    const left = Math.min(lines.at(-1).left, edge - card.offsetWidth);
    const isLow = below + card.offsetHeight > innerHeight && above > 0;
    card.style.left = `${Math.max(16, left) + scrollX}px`;
    card.style.top = `${(isLow ? above : below) + scrollY}px`;
  }

  function soon(act) {
    clearTimeout(waiting);
    waiting = setTimeout(act, 150);
  }

  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return;
    const link = term(event);
    if (link) soon(() => show(link));
    else if (card.contains(/** @type {Node} */ (event.target))) clearTimeout(waiting);
    else if (shown && shown !== document.activeElement) soon(hide);
    else clearTimeout(waiting);
  });
  document.addEventListener("focusin", (event) => {
    if (term(event)?.matches(":focus-visible")) show(term(event));
    else definitions();
  });
  document.addEventListener("focusout", (event) => {
    if (term(event) && !card.contains(/** @type {Node} */ (event.relatedTarget))) hide();
  });
  document.addEventListener("pointerdown", (event) => {
    const link = term(event);
    tapped = event.pointerType === "touch" && link && link !== shown;
    if (!link && !card.contains(/** @type {Node} */ (event.target))) hide();
  });
  document.addEventListener("click", (event) => {
    if (!tapped || !term(event)) return;
    event.preventDefault();
    show(term(event), true);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
});
