// The page: what is typed, dropped and dragged becomes a query, a query an answer, and an answer a link.

import { wall, wireAnswer } from "./answer.js";
import { besides, forgetBesides, isEmpty, makeForm } from "./ask.js";
import { putBelow, references, wireBar } from "./bar.js";
import { DIALS, applyBalance, setDials, setModels, showDials } from "./dials.js";
import { $, isPhone } from "./elements.js";
import { download, makeCsv, makeCurl, makePython } from "./exports.js";
import { showFacets } from "./filters.js";
import { openGallery } from "./gallery.js";
import { imagine } from "./imagine.js";
import { wireKeys } from "./keys.js";
import { asked, copied } from "./link.js";
import { fail, page, say } from "./page.js";
import { ofId, thumbnailOf } from "./references.js";
import { keepSearch, showKept } from "./saved.js";
import { begin, follow, grow, makeLink, onUnreachable, open, run, settle, startOver } from "./searching.js";
import { Unreachable, getJson, onTokenWanted } from "./server.js";
import { showStart } from "./start.js";
import { switchTheme } from "./theme.js";
import { addStep } from "./trail.js";
import { view, wireViewer } from "./viewer.js";
import { onGrown, waitUntilAwake } from "./waking.js";

let showSearches = () => {};

const acts = {
  use: (found) => {
    if (page.answer) addStep(page.answer.query, references.all[0]?.small);
    choose(found);
    scrollTo({ top: 0 });
  },
  add: (found) => { references.add(ofId(found.picture_id, found.name)); run(); },
  more: (found) => { besides.more.push(found.picture_id); run(); },
  less: (found) => { besides.less.push(found.picture_id); run(); },
  open: (found) => view(found, wall.hits.includes(found) ? wall.hits : [found], before()),
};

/** The address of the reference's picture, for before | after. */
function before() {
  const one = references.only;
  return one ? (one.kind === "id" ? thumbnailOf(one.value, 640) : one.thumbnail) : "";
}

/** Begin with a picture of the gallery, and with words or without. */
function choose(picture, words = "") {
  forgetBesides();
  references.set(ofId(picture.picture_id, picture.name));
  $("text").value = words;
  if (!isPhone()) $("text").focus({ preventScroll: true });
  run();
}

// ---- wiring

function wire() {
  const on = (id, event, act) => $(id).addEventListener(event, act);
  on("query", "submit", (event) => {
    event.preventDefault();
    run();
    if (isEmpty()) nudge();
    else if (isPhone()) $("text").blur();
  });
  on("text", "input", follow);
  on("balance", "input", () => { applyBalance(); follow(); });
  on("drawer", "input", (event) => {
    if (DIALS.includes(event.target.id)) showDials();
    if (event.target.id !== "filter") follow();
  });
  on("filter", "change", () => run());
  on("models", "click", () => { setModels(page.served.sampling); run(); });
  on("papers", "click", () => { setDials(page.served.paper); run(); });
  for (const id of ["reset", "home"]) on(id, "click", (event) => {
    event.preventDefault();
    history.pushState(null, "", location.pathname);
    startOver();
  });
  on("compare", "click", () => { toggle("compare", "aria-pressed"); run({ history: false }); });
  on("imagine", "click", watch);
  for (const id of ["tune", "drawer-close"]) on(id, "click", toggleDrawer);
  on("theme", "click", switchTheme);
  on("browse", "click", () => { $("sources").hidePopover(); browse(); });
  on("kept", "toggle", (event) => {
    if (event.newState !== "open") return;
    $("api").href = `/docs${makeLink()}`;
    putBelow($("kept"), $("keep"));
  });
  for (const id of ["link", "save", "json", "csv", "curl", "python"]) on(id, "click", () => { $("kept").hidePopover(); share(id); });
  const go = (hash) => { history.pushState(null, "", hash); guard(open); };
  wireAnswer(acts, { take: (words) => { $("text").value = words; run(); }, follow: go });
  showSearches = showKept(go);
  wireBar((fresh) => { if (fresh) forgetBesides(); run(); }, () => page.served?.limits.upload_bytes, fail);
  wireViewer(acts);
  wireKeys({ "/": () => $("text").focus(), f: toggleDrawer, g: browse, w: watch });
  onUnreachable(recover);
  addEventListener("popstate", () => guard(open));
  new IntersectionObserver(([seen]) => seen.isIntersecting && grow(), { rootMargin: "600px" }).observe($("end"));
}

const browse = () => openGallery(choose, fail);

function nudge() {
  $("actions").hidden = false;
  say("Pick a picture, or type what you look for.");
  $("text").focus();
}

async function watch() {
  if (!page.answer) return;
  const own = begin();
  await guard(async () => imagine(await makeForm(1), choose, own.signal));
  settle(own);
}

function toggle(id, attribute) {
  $(id).setAttribute(attribute, $(id).getAttribute(attribute) !== "true");
}

function toggleDrawer() {
  $("drawer").hidden = !$("drawer").hidden;
  toggle("tune", "aria-expanded");
}

async function share(what) {
  const { answer } = page;
  if (what === "save") return keep();
  if (what === "json") return download("compodiff.json", "application/json", JSON.stringify(answer, null, 2));
  if (what === "csv") return download("compodiff.csv", "text/csv", makeCsv(answer));
  const [name, text] = {
    link: () => ["Link", location.origin + location.pathname + makeLink()],
    curl: () => ["Command", makeCurl(answer.query, page.served.wants_token)],
    python: () => ["Program", makePython(answer.query, page.served.wants_token)],
  }[what]();
  say((await copied(text)) ? `${name} copied: it asks the same again.` : "This browser lets no page copy; the link is in the address bar.");
}

function keep() {
  const [one] = references.all;
  const thumbnail = one?.small || (one?.thumbnail.startsWith("blob:") ? "" : one?.thumbnail);
  const kept = keepSearch({ link: makeLink(), text: $("text").value.trim(), thumbnail });
  showSearches();
  say(kept ? "Kept in this browser: it stands on the first screen." : "This browser keeps nothing; copy the link instead.");
}

// ---- beginning

/** Ask for the token: null where the person leaves the door. */
function askForToken(wrong) {
  $("door-text").textContent = wrong ? "That was not it. Try again." : "The one it was started with (COMPODIFF_TOKEN).";
  $("token").value = "";
  $("door").returnValue = "";
  return new Promise((done) => {
    $("door").addEventListener("close", () => done($("door").returnValue === "enter" ? $("token").value : null), { once: true });
    $("door").showModal();
  });
}

async function guard(act) {
  try {
    await act();
  } catch (error) {
    if (error instanceof Unreachable) await recover(1000);
    else if (error.name !== "AbortError") fail(error.message);
  }
}

/** The server is gone or asleep: wait for it, then go on where we were. */
function recover(pause = 0) {
  return guard(async () => {
    await new Promise((done) => setTimeout(done, pause));
    await waitUntilAwake();
    await greet();
    await (isEmpty() && asked(location.hash) ? open() : run()); // a link that could not be opened, or what was typed
  });
}

/** Learn what is served, and show it. */
async function greet() {
  const [served, { facets }] = await Promise.all([getJson("/model"), getJson("/facets")]);
  page.served = served;
  $("columns").textContent = `Columns: ${served.columns.join(", ")}`;
  $("attribution").textContent = served.attribution;
  $("knows").textContent = sayWhatItKnows(served);
  showFacets(facets);
}

const DRAWN = ["emoji", "emoji_edits", "scenes"]; // the sets of the default pipeline

function sayWhatItKnows({ pictures, version, trained_on: sets }) {
  const known = sets.length ? ` The model learned from ${sets.join(", ").replaceAll("_", " ")}.` : "";
  const drawn = sets.length && sets.every((each) => DRAWN.includes(each));
  return `${pictures.toLocaleString("en")} pictures · ${version}.${known}${drawn ? " It knows drawings best; in photographs, the things that ImageNet has a class for." : ""}`;
}

async function start() {
  onTokenWanted(askForToken);
  wire();
  $("empty").hidden = asked(location.hash) !== null;
  await greet().catch(async (error) => {
    if (!(error instanceof Unreachable)) throw error;
    await waitUntilAwake();
    await greet();
  });
  setModels(page.served.sampling);
  document.body.dataset.ready = "true";
  const show = () => showStart(({ reference, text }) => choose(reference, text), choose);
  const shown = show();
  onGrown(() => guard(async () => { await greet(); await show(); if (page.answer) await run({ history: false }); }));
  guard(waitUntilAwake); // a server that answers may still be indexing
  if (asked(location.hash)) await open();
  await shown;
}

guard(start);
