// Light or dark: as the person chose, else as the system has it.

import { keep, readKept } from "./store.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

export function showTheme(theme) {
  document.documentElement.dataset.theme = theme ?? readKept("theme") ?? (dark.matches ? "dark" : "light");
}

export function switchTheme() {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  keep("theme", theme);
  showTheme(theme);
}

dark.addEventListener("change", () => showTheme());
showTheme();
