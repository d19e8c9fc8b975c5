/**
 * Light or dark, decided once in script: a selector such as `.dark` would not cross a shadow boundary, and each host
 * says it in its own way. The order is JupyterLab, a page with data-theme, VS Code, the system.
 */

/** @param {Document} page @param {boolean} prefersDark @returns {"light" | "dark"} */
export function theme(page, prefersDark) {
  const lab = page.body?.dataset.jpThemeLight;
  if (lab) return lab === "true" ? "light" : "dark";
  const declared = page.documentElement.dataset.theme;
  if (declared === "light" || declared === "dark") return declared;
  const code = page.body?.dataset.vscodeThemeKind;
  if (code) return code.endsWith("light") ? "light" : "dark";
  return prefersDark ? "dark" : "light";
}

/** Keep root.dataset.theme at the host's theme. @param {HTMLElement} root @returns {() => void} stops following */
export function followTheme(root) {
  const page = root.ownerDocument;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => { root.dataset.theme = theme(page, system.matches); };
  const observer = new MutationObserver(apply);
  const attributeFilter = ["data-theme", "data-jp-theme-light", "data-vscode-theme-kind"];
  for (const node of [page.documentElement, page.body]) observer.observe(node, { attributes: true, attributeFilter });
  system.addEventListener("change", apply);
  apply();
  return () => { observer.disconnect(); system.removeEventListener("change", apply); };
}
