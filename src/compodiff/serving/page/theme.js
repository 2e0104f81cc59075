// Light or dark: as the person chose, else as the system has it.

const dark = matchMedia("(prefers-color-scheme: dark)");

export function showTheme(theme) {
  document.documentElement.dataset.theme = theme ?? localStorage.getItem("theme") ?? (dark.matches ? "dark" : "light");
}

export function switchTheme() {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("theme", theme);
  showTheme(theme);
}

dark.addEventListener("change", () => showTheme());
showTheme();
