"use strict";
const sheet = JSON.parse(document.getElementById("data").textContent);
const RATINGS = ["good", "wrong_caption", "wrong_reference", "wrong_target", "no_change", "unsafe"];
const byId = (id) => document.getElementById(id);
const words = (name) => name.replaceAll("_", " ");
const known = new Set(sheet.rows.map((row) => row.key));
const ratings = {};
let writing = 0;
let lost = false;

function stored(key, otherwise) {
  try { return JSON.parse(localStorage.getItem(key)) ?? otherwise; } catch { return otherwise; }
}

// Ratings are work: they are kept one record each, so that two windows on one sheet add up, and in IndexedDB, as localStorage
// silently keeps nothing for some loads of a file (Chromium 2026, measured: 1 in 15 on a busy machine).
const store = new Promise((resolve, reject) => {
  const opening = indexedDB.open("compodiff", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore("ratings");
  opening.onsuccess = () => resolve(opening.result);
  opening.onerror = () => reject(opening.error);
});

async function ask(mode, question) {
  const transaction = (await store).transaction("ratings", mode);
  const answer = question(transaction.objectStore("ratings"));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(answer.result);
    transaction.onabort = () => reject(transaction.error);
  });
}

async function keep(key) {
  document.body.dataset.writing = ++writing;
  try {
    await ask("readwrite", (kept) => key in ratings ? kept.put({ key, ...ratings[key] }, [sheet.name, key]) : kept.delete([sheet.name, key]));
  } catch { lost = true; }
  document.body.dataset.writing = --writing;
  count();
}

async function recall() {
  try {
    const kept = await ask("readonly", (all) => all.getAll(IDBKeyRange.bound([sheet.name], [sheet.name, []])));
    for (const { key, rating, at } of kept) if (known.has(key)) ratings[key] = { rating, at };
  } catch { lost = true; }
}

let shown = [];
let current = -1;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// A thumbnail is decoded when its card comes near the window, not before.
const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    for (const image of target.querySelectorAll("img[data-picture]")) {
      image.src = sheet.pictures[image.dataset.picture];
      image.removeAttribute("data-picture");
    }
    near.unobserve(target);
  }
}, { rootMargin: "600px" });

function frame(row, which) {
  if (row[which] === null) return element("div", { class: "frame none" }, `no ${which}`);
  const about = row[`${which}_caption`];
  const image = element("img", { alt: `${which}: ${about}`, title: about, "data-picture": row[which] });
  const made = element("div", { class: "frame" }, image);
  if (which === "reference" && row.mask !== null) {
    made.append(element("img", { class: "mask", alt: "mask", "data-picture": row.mask, hidden: "" }));
  }
  return made;
}

function cardOf(row) {
  const scores = sheet.scores.filter((name) => name in row.scores).map((name) => {
    const low = name in sheet.floors && row.scores[name] < sheet.floors[name];
    return element("span", low ? { class: "low" } : {}, `${words(name)} ${row.scores[name].toFixed(3)}`);
  });
  const buttons = RATINGS.map((rating, at) => {
    const button = element("button", { type: "button", "data-rating": rating, "aria-pressed": "false" }, `${at + 1} ${words(rating)}`);
    button.addEventListener("click", () => rate(row.key, rating));
    return button;
  });
  const card = element("article", { class: "card", tabindex: "-1", "data-key": row.key, "aria-label": row.relative_caption },
    element("div", { class: "pictures" }, frame(row, "reference"), element("span", { "aria-hidden": "true" }, "→"), frame(row, "target")),
    element("p", { class: "change" }, row.relative_caption),
    element("p", { class: "captions" }, `${row.reference_caption} → ${row.target_caption}`),
    element("p", { class: "soft" }, `${words(row.relation)} · ${row.split} · ${row.key}`));
  if (!row.accepted) card.append(element("p", { class: "verdict" }, `rejected by ${row.rejected_by.split(",").map(words).join(", ")}`));
  card.append(element("div", { class: "scores" }, ...scores), element("div", { class: "ratings", role: "group", "aria-label": "Rating" }, ...buttons));
  if (row.mask !== null) {
    const button = element("button", { type: "button", class: "show-mask" }, "m mask");
    button.addEventListener("click", () => toggleMask(card));
    card.querySelector(".ratings").append(button);
  }
  card.addEventListener("focusin", () => { current = shown.indexOf(row); });
  near.observe(card);
  return card;
}
const cards = new Map(sheet.rows.map((row) => [row.key, cardOf(row)]));

function toggleMask(card) {
  const mask = card?.querySelector(".mask");
  if (mask) mask.hidden = !mask.hidden;
}

function rate(key, rating) {
  if (!rating || ratings[key]?.rating === rating) delete ratings[key];
  else ratings[key] = { rating, at: new Date().toISOString() };
  mark(key);
  keep(key);
}

function mark(key) {
  const rating = ratings[key]?.rating ?? "";
  const card = cards.get(key);
  card.dataset.rating = rating;
  for (const button of card.querySelectorAll("[data-rating]")) button.setAttribute("aria-pressed", button.dataset.rating === rating);
}

function count() {
  byId("status").textContent = `${shown.length} of ${sheet.rows.length} triplets, ${Object.keys(ratings).length} rated${lost ? " (this browser keeps nothing: export before you leave)" : ""}`;
}

function show() {
  const asked = Object.fromEntries(["search", "relation", "accepted", "rated", "sort", "score", "low", "high"].map((id) => [id, byId(id).value]));
  const text = asked.search.trim().toLowerCase();
  const low = asked.low === "" ? -Infinity : Number(asked.low);
  const high = asked.high === "" ? Infinity : Number(asked.high);
  shown = sheet.rows.filter((row) => {
    const score = row.scores[asked.score];
    const within = asked.low === "" && asked.high === "" || score >= low && score <= high;
    const said = `${row.relative_caption}\n${row.reference_caption}\n${row.target_caption}\n${row.key}`.toLowerCase();
    return within && said.includes(text) && (!asked.relation || row.relation === asked.relation)
      && (!asked.accepted || row.accepted === (asked.accepted === "yes"))
      && (!asked.rated || (asked.rated === "yes" ? row.key in ratings : asked.rated === "no" ? !(row.key in ratings) : ratings[row.key]?.rating === asked.rated));
  });
  if (asked.sort) {
    const value = (row) => asked.sort === "relation" ? row.relation : row.scores[asked.sort] ?? -Infinity;
    const sign = byId("descending").checked ? -1 : 1;
    shown.sort((a, b) => sign * (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0));
  }
  byId("cards").replaceChildren(...shown.map((row) => cards.get(row.key)));
  byId("none").hidden = shown.length > 0;
  current = -1;
  count();
}

function go(step) {
  if (!shown.length) return;
  current = Math.max(0, Math.min(shown.length - 1, current + step));
  const card = cards.get(shown[current].key);
  card.focus({ preventScroll: true });
  card.scrollIntoView({ block: "nearest" });
}

function save(name, kind, content) {
  const link = element("a", { href: URL.createObjectURL(new Blob([content], { type: kind })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function rated() {
  const rater = byId("rater").value.trim();
  return sheet.rows.filter((row) => row.key in ratings).map((row) => ({ key: row.key, relation: row.relation, rating: ratings[row.key].rating, rater, at: ratings[row.key].at }));
}

const quoted = (value) => /[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
byId("json").addEventListener("click", () => save("ratings.json", "application/json", JSON.stringify({ dataset: sheet.name, ratings: rated() }, null, 2)));
byId("csv").addEventListener("click", () => {
  const head = ["key", "relation", "rating", "rater", "at"];
  save("ratings.csv", "text/csv", [head, ...rated().map((row) => head.map((name) => quoted(row[name])))].map((row) => row.join(",")).join("\n") + "\n");
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const key = shown[current]?.key;
  if (event.key === "j") go(1);
  else if (event.key === "k") go(-1);
  else if (event.key === "/") byId("search").focus();
  else if (key && event.key === "m") toggleMask(cards.get(key));
  else if (key && event.key === "0") rate(key, "");
  else if (key && RATINGS[event.key - 1]) rate(key, RATINGS[event.key - 1]);
  else return;
  event.preventDefault();
});

function setTheme(theme) { document.documentElement.dataset.theme = theme; }
const dark = matchMedia("(prefers-color-scheme: dark)");
setTheme(stored("compodiff-theme", null) ?? (dark.matches ? "dark" : "light"));
dark.addEventListener("change", () => { if (!stored("compodiff-theme", null)) setTheme(dark.matches ? "dark" : "light"); });
byId("theme").addEventListener("click", () => {
  setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  try { localStorage.setItem("compodiff-theme", JSON.stringify(document.documentElement.dataset.theme)); } catch { /* kept for this page only */ }
});

for (const relation of [...new Set(sheet.rows.map((row) => row.relation))].sort()) byId("relation").append(element("option", { value: relation }, words(relation)));
for (const score of sheet.scores) for (const id of ["sort", "score"]) byId(id).append(element("option", { value: score }, words(score)));
for (const rating of RATINGS) byId("rated").append(element("option", { value: rating }, words(rating)));
byId("keys").append(...RATINGS.flatMap((rating, at) => [element("kbd", {}, String(at + 1)), ` ${words(rating)} `]));
byId("controls").addEventListener("submit", (event) => event.preventDefault());
// A select that is set by the keyboard of some browsers, or by a program, changes without input.
for (const kind of ["input", "change"]) byId("controls").addEventListener(kind, (event) => { if (event.target.id !== "rater") show(); });
recall().then(() => {
  Object.keys(ratings).forEach(mark);
  show();
  document.body.dataset.ready = "yes";
});
