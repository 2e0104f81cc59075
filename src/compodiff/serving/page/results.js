// Rankings on the page and as files.

import { address } from "./references.js";

const template = document.getElementById("card");

/** A grid of cards. `acts`: {use(found), add(found), show(found)}. */
export function grid(results, acts) {
  const box = document.createElement("div");
  box.className = "grid";
  box.append(...results.map((found) => card(found, acts)));
  box.addEventListener("keydown", (event) => walk(event, box));
  return box;
}

/** Three grids side by side: [[title, results], ...]. */
export function columns(rankings, acts) {
  const box = document.createElement("div");
  box.className = "three";
  for (const [title, results] of rankings) {
    const column = document.createElement("section");
    const heading = document.createElement("h2");
    heading.textContent = title;
    column.setAttribute("aria-label", title);
    column.append(heading, grid(results, acts));
    box.append(column);
  }
  return box;
}

/** A picture of the gallery that becomes the reference when pressed. */
export function pick(listed, chosen) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "pick" });
  const picture = document.createElement("img");
  Object.assign(picture, { src: `${listed.thumbnail}?edge=160`, alt: "", loading: "lazy" });
  const name = document.createElement("span");
  name.textContent = listed.name;
  button.append(picture, name);
  button.addEventListener("click", () => chosen(listed));
  return button;
}

export function download(name, type, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

export function csv(answer) {
  const columns = ["rank", "picture_id", "name", "score", ...Object.keys(answer.results[0]?.metadata ?? {})];
  const rows = answer.results.map((found) => columns.map((name) => quoted(name in found ? found[name] : found.metadata[name])));
  return [columns, ...rows].map((row) => row.join(",") + "\r\n").join("");
}

function quoted(value) {
  const text = value == null ? "" : String(value);
  // A spreadsheet would run a cell that begins like a formula.
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function card(found, acts) {
  const figure = template.content.firstElementChild.cloneNode(true);
  const picture = figure.querySelector("img");
  Object.assign(picture, { src: found.thumbnail, alt: found.name });
  const twins = found.duplicates.length ? ` (+${found.duplicates.length} alike)` : "";
  figure.querySelector(".rank").textContent = `${found.rank}.`;
  figure.querySelector(".name").textContent = found.name + twins;
  figure.querySelector(".score").textContent = found.score.toFixed(3);
  figure.querySelector(".show").setAttribute("aria-label", `${found.rank}. ${found.name}, score ${found.score.toFixed(3)}: show it large`);
  figure.querySelector(".use").setAttribute("aria-label", `Use ${found.name} as reference`);
  figure.querySelector(".show").addEventListener("click", () => acts.show(found));
  figure.querySelector(".use").addEventListener("click", () => acts.use(found));
  figure.querySelector(".add").addEventListener("click", () => acts.add(found));
  figure.addEventListener("keydown", (event) => {
    if (event.key === "r" && !event.ctrlKey && !event.metaKey) acts.use(found);
  });
  figure.dataset.id = address(found.picture_id);
  return figure;
}

/** Arrow keys go from picture to picture, as they lie. */
function walk(event, box) {
  const shown = [...box.querySelectorAll(".show")];
  const at = shown.indexOf(document.activeElement);
  if (at < 0) return;
  const across = getComputedStyle(box).gridTemplateColumns.split(" ").length;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, Home: -at, End: shown.length - 1 - at }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  shown[Math.min(shown.length - 1, Math.max(0, at + step))].focus();
}
