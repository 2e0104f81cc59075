// The page: a form becomes a query, a query an answer, and an answer a link that asks the same again.

import { DIALS, NUMBERS, setDials, setModels, showDials } from "./dials.js";
import { askForToken, openGallery, view } from "./dialogs.js";
import { wireDrop } from "./drop.js";
import { $ } from "./elements.js";
import { asked, copied, linkOf } from "./link.js";
import { mask, references, setPainting } from "./panel.js";
import { ofEmbedding, ofFile, ofId } from "./references.js";
import { columns, csv, download, grid, pick } from "./results.js";
import { getJson, onTokenWanted, search } from "./server.js";

const WORDS = ["text", "negative", "subtract", "filter"];
const PHASES = { wait: "Waiting for the model", encode: "Looking and reading", sample: "Imagining", search: "Searching" };

let served = null; // GET /model
let answer = null;
let running = null; // AbortController of the search that is under way

const acts = {
  use: (found) => { references.set(ofId(found.picture_id, found.name)); mask.clear(); $("text").focus(); $("text").select(); },
  add: (found) => references.add(ofId(found.picture_id, found.name)),
  show: view,
};

// ---- taking a picture

function takeFile(file) {
  const most = served?.limits.upload_bytes;
  if (file && most && file.size > most) fail(`${file.name} has ${size(file.size)}; the server takes ${size(most)}. Make it smaller.`);
  else if (file) references.set(ofFile(file));
}

// ---- form <-> query

async function formOf(mode) {
  const form = new FormData();
  references.write(form);
  for (const name of WORDS) if ($(name).value.trim()) form.append(name, $(name).value.trim());
  for (const name of [...DIALS, ...NUMBERS]) if ($(name).value !== "") form.append(name, $(name).value);
  if (references.only) await mask.write(form);
  form.append("mode", mode);
  return form;
}

let linked = null; // what a link carries that the form does not show: {cells, exclude}

/** Fill the form from a link; false where the link asks nothing. */
async function fillFrom(hash) {
  const parts = asked(hash);
  if (!parts) return false;
  const weights = parts.getAll("weight").map(Number);
  const ids = parts.getAll("reference_id");
  const known = ids.length ? await getJson(`/pictures?${new URLSearchParams(ids.map((id) => ["picture_id", id]))}`) : { pictures: [] };
  const names = Object.fromEntries(known.pictures.map((each) => [each.picture_id, each.name]));
  const given = [
    ...ids.map((id) => ofId(id, names[id])),
    ...parts.getAll("reference_embedding").map((each) => ofEmbedding(each, "a picture of this link, known by its embedding")),
  ];
  given.forEach((one, place) => { one.weight = weights[place] ?? 1; });
  references.set(...given);
  for (const name of [...WORDS, ...NUMBERS]) $(name).value = parts.get(name) ?? "";
  setDials(Object.fromEntries(DIALS.map((name) => [name, parts.get(name) ?? $(name).value])));
  mask.cells = parts.get("mask_cells");
  if (mask.cells && references.only) setPainting(true);
  linked = { cells: mask.cells, exclude: parts.getAll("exclude") };
  return true;
}

// ---- searching

/** Search; `push` puts the answer's link into the address bar. */
async function run({ push = true } = {}) {
  running?.abort();
  const own = (running = new AbortController());
  fail("");
  $("empty").hidden = true;
  $("go").disabled = true;
  const slow = setTimeout(() => { $("progress").hidden = false; $("status").textContent = "Searching ..."; }, 150);
  try {
    const began = performance.now();
    const compared = $("compare").getAttribute("aria-pressed") === "true" && references.all.length > 0 && $("text").value.trim();
    const modes = compared ? ["image", "text", "composed"] : ["composed"];
    const answers = await Promise.all(modes.map(async (mode) => search(await complete(mode), told, own.signal)));
    answer = answers.at(-1);
    delete answer.event;
    show(compared ? answers : null, performance.now() - began);
    if (matchMedia("(max-width: 800px)").matches) $("results").scrollIntoView({ behavior: "smooth" });
    if (push) history.pushState(null, "", linkOf(answer.query));
  } catch (error) {
    if (error.name !== "AbortError") {
      fail(error.message);
      $("status").textContent = "";
    }
  } finally {
    clearTimeout(slow);
    if (running === own) {
      $("progress").hidden = true;
      $("go").disabled = false;
    }
  }
}

async function complete(mode) {
  const form = await formOf(mode);
  if (linked && !form.has("mask") && !form.has("mask_cells") && linked.cells) form.append("mask_cells", linked.cells);
  for (const each of linked?.exclude ?? []) form.append("exclude", each);
  return form;
}

function told(news) {
  const whole = news.event === "sample" && news.of > 1;
  if (whole) Object.assign($("progress"), { max: news.of, value: news.done });
  else $("progress").removeAttribute("value");
  if (!$("progress").hidden) $("status").textContent = `${PHASES[news.event]} ${whole ? `${news.done} of ${news.of}` : ""} ...`;
}

function show(compared, milliseconds) {
  const titles = ["The picture alone", "The words alone", "Composed"];
  const box = compared ? columns(compared.map((each, place) => [titles[place], each.results]), acts) : grid(answer.results, acts);
  $("grid").replaceChildren(box);
  $("actions").hidden = false;
  $("compare").disabled = !references.all.length || !$("text").value.trim();
  const { encode = 0, prepare = 0, sample = 0, search: found = 0 } = answer.seconds;
  const spent = [["encode", encode + prepare], ["sample", sample], ["search", found]].map(([name, each]) => `${name} ${ms(each * 1000)}`);
  const count = answer.results.length;
  $("status").textContent = count
    ? `${count} picture${count > 1 ? "s" : ""} in ${ms(milliseconds)} (${spent.join(", ")})`
    : "Nothing was found.";
  if (answer.notes.length) $("status").textContent += ` Note: ${answer.notes.join("; ")}.`;
  for (const [name, value] of Object.entries(answer.query)) if (NUMBERS.includes(name)) $(name).value = value;
}

function fail(message) {
  $("fault").hidden = !message;
  $("fault").textContent = message;
}

function startOver() {
  linked = null;
  for (const name of WORDS) $(name).value = "";
  references.set();
  setModels(served.sampling);
  answer = null;
  fail("");
  $("grid").replaceChildren();
  $("status").textContent = "";
  $("actions").hidden = true;
  $("empty").hidden = false;
}

/** Do what the address asks. */
async function follow() {
  if (await fillFrom(location.hash)) await run({ push: false });
  else startOver();
}

function choose(picture) {
  linked = null;
  references.set(ofId(picture.picture_id, picture.name));
  $("text").focus();
}

// ---- wiring

function wire() {
  const on = (id, event, act) => $(id).addEventListener(event, act);
  on("query", "submit", (event) => { event.preventDefault(); run(); });
  on("query", "input", (event) => { if (event.target.id !== "brush") linked = null; });
  on("choose", "click", () => $("file").click());
  on("file", "change", () => { linked = null; takeFile($("file").files[0]); $("file").value = ""; });
  on("browse", "click", () => openGallery(choose, fail));
  on("clear", "click", () => { linked = null; mask.clear(); });
  on("models", "click", () => setModels(served.sampling));
  on("papers", "click", () => setDials(served.paper));
  on("reset", "click", () => { startOver(); history.pushState(null, "", location.pathname); });
  on("compare", "click", () => {
    $("compare").setAttribute("aria-pressed", $("compare").getAttribute("aria-pressed") !== "true");
    run({ push: false });
  });
  on("follow", "click", () => {
    linked = null;
    references.set(ofEmbedding(answer.embedding, `the answer to “${answer.query.text || "the last query"}”`));
    $("text").value = "";
    $("text").focus();
  });
  on("link", "click", async () => {
    const done = await copied(location.origin + location.pathname + linkOf(answer.query));
    $("status").textContent = `${done ? "Link copied" : "The link is in the address bar"}: it asks the same again, dials and seed included.`;
  });
  on("json", "click", () => download("compodiff.json", "application/json", JSON.stringify(answer, null, 2)));
  on("csv", "click", () => download("compodiff.csv", "text/csv", csv(answer)));
  on("theme", "click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark", true));
  DIALS.forEach((name) => on(name, "input", showDials));
  wireDrop($("drop"), (file) => { linked = null; takeFile(file); });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, dialog");
    if (event.key === "/" && !typing) { event.preventDefault(); $("text").focus(); }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
  });
  addEventListener("popstate", () => guarded(follow));
}

function setTheme(theme, keep) {
  document.documentElement.dataset.theme = theme;
  if (keep) localStorage.setItem("theme", theme);
}

async function guarded(act) {
  try {
    await act();
  } catch (error) {
    fail(error.message);
  }
}

const size = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
const ms = (value) => (value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`);

async function start() {
  setTheme(localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"), false);
  onTokenWanted(askForToken);
  wire();
  served = await getJson("/model");
  $("served").textContent = `${served.pictures.toLocaleString("en")} pictures · ${served.version}`;
  $("columns").textContent = `Columns: ${served.columns.join(", ")}`;
  $("attribution").textContent = served.attribution;
  setModels(served.sampling);
  document.body.dataset.ready = "true";
  if (asked(location.hash)) await follow();
  const some = await getJson(`/pictures?limit=24&offset=${Math.max(0, Math.floor((served.pictures - 24) / 2))}`);
  $("starters").replaceChildren(...some.pictures.map((each) => pick(each, choose)));
}

guarded(start);
