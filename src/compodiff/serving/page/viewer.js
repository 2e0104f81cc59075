// One found picture large: what is known of it, its neighbours by arrow keys and swipes, the reference against it.

import { $, element, icon, iconButton } from "./elements.js";
import { copied } from "./link.js";

const NAMED = { size: "file", modified: "changed", picture_id: "id" };
const UNSAID = new Set(["sha256", "offset", "length", "group", "split", "inode"]);
const SMALL = 200; // pixels
let shown = []; // the answer whose pictures are looked through
let at = 0;
let acts = {};
let reference = "";

/** `deeds`: {use, more, less}; each closes the view and is given what is shown. */
export function wireViewer(deeds) {
  acts = deeds;
  $("viewer").addEventListener("keydown", (event) => {
    if (event.target.matches("input")) return;
    const act = { r: "use", m: "more", l: "less" }[event.key];
    if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "c" && reference) compare();
    else if (act) leave(acts[act]);
  });
  let from = null;
  $("viewer-stage").addEventListener("touchstart", (event) => (from = event.touches[0].clientX), { passive: true });
  $("viewer-stage").addEventListener("touchend", (event) => {
    const moved = event.changedTouches[0].clientX - from;
    if (Math.abs(moved) > 60 && !event.target.matches("input")) step(moved < 0 ? 1 : -1);
  });
}

/** Show `found`, one of `hits`; `before` is the address of the reference's picture, "" for none. */
export function view(found, hits, before) {
  [shown, at, reference] = [hits, hits.indexOf(found), before];
  show();
  if (!$("viewer").open) $("viewer").showModal();
}

function step(by) {
  at = Math.max(0, Math.min(shown.length - 1, at + by));
  show();
}

function leave(act) {
  $("viewer").close();
  act(shown[at]);
}

function show() {
  const found = shown[at];
  $("viewer-title").textContent = found.name;
  const picture = element("img", { src: found.picture, alt: found.name, className: "shown-large" });
  const large = () => (picture.src = `${found.thumbnail}?edge=640`);
  picture.addEventListener("error", large, { once: true });
  picture.addEventListener("load", () => picture.naturalWidth < SMALL && large(), { once: true }); // an emoji is drawn anew
  const steps = [["left", "The one before", -1], ["right", "The next one", 1]].map(([name, label, by]) => {
    const button = iconButton(name, label, () => step(by), "round step");
    button.disabled = !shown[at + by];
    return button;
  });
  $("viewer-stage").replaceChildren(...steps, picture);
  $("viewer-acts").replaceChildren(...makeActs(found));
  const facts = listFacts(found).map(([name, value]) =>
    element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: value })));
  $("viewer-facts").replaceChildren(...facts);
}

function makeActs(found) {
  const button = (name, label, act) => element("button", { type: "button", onclick: act }, icon(name), label);
  const buttons = [
    button("use", "Use as reference", () => leave(acts.use)),
    iconButton("plus", "Add to the references", () => leave(acts.add)),
    iconButton("more", "More like this", () => leave(acts.more)),
    iconButton("less", "Less like this", () => leave(acts.less)),
    iconButton("save", "Download", () => element("a", { href: found.picture, download: found.name }).click()),
    iconButton("link", "Copy the address of the file", () => copied(found.metadata.path ?? location.origin + found.picture)),
  ];
  if (reference) buttons.splice(1, 0, button("columns", "Before | after", compare));
  return buttons;
}

/** Lay the reference over the answer, up to a line that can be moved. */
function compare() {
  const found = shown[at];
  const box = element("div", { className: "compared" },
    element("img", { src: `${found.thumbnail}?edge=640`, alt: found.name }),
    element("img", { src: reference, alt: "The reference", className: "before" }),
    element("span", { className: "tag first", textContent: "before" }), element("span", { className: "tag after", textContent: "after" }));
  const line = element("input", { type: "range", min: 0, max: 100, value: 50 });
  line.setAttribute("aria-label", "How much of the reference is shown");
  const move = () => box.style.setProperty("--cut", `${line.value}%`);
  line.addEventListener("input", move);
  box.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse" && !event.buttons) {
      const { left, width } = box.getBoundingClientRect();
      line.value = ((event.clientX - left) / width) * 100;
      move();
    }
  });
  move();
  box.append(line);
  $("viewer-stage").querySelector(".shown-large, .compared").replaceWith(box);
  line.focus();
}

/** What is known of a picture, in words: [[name, value], ...]. */
function listFacts(found) {
  const facts = [["nearness", found.score.toFixed(3)], ["id", found.picture_id]];
  for (const [name, value] of Object.entries(found.metadata)) {
    if (value === null || value === "" || UNSAID.has(name) || value === found.picture_id || /\.tar$/.test(value)) continue;
    facts.push([(NAMED[name] ?? name).replaceAll("_", " "), say(name, value)]);
  }
  if (found.duplicates.length) facts.push(["alike", found.duplicates.join(", ")]);
  return facts;
}

function say(name, value) {
  if (name === "size" && Number.isFinite(value)) return value < 2 ** 20 ? `${Math.round(value / 1024)} KB` : `${(value / 2 ** 20).toFixed(1)} MB`;
  if (/^\d{4}-\d\d-\d\dT/.test(value)) return new Date(value).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  return String(value);
}
