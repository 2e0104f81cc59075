// From the query in the fields to an answer on the page, an entry in the history, and back.

import { MOST, clearAnswer, showAnswer, wall } from "./answer.js";
import { besides, forgetBesides, isEmpty, makeForm, takeLink } from "./ask.js";
import { mask, references } from "./bar.js";
import { setModels } from "./dials.js";
import { $ } from "./elements.js";
import { clearFacets } from "./filters.js";
import { asked, linkOf } from "./link.js";
import { fail, page, say } from "./page.js";
import { Unreachable, search } from "./server.js";
import { isGone } from "./waking.js";

const PAUSE = 20; // milliseconds in which keys and drags are gathered
const PATIENCE = 250; // milliseconds that a live search has before a newer one takes its place
const WATCHED = 2500; // milliseconds between looks whether the server of a search is still there
const SLOW = 400; // milliseconds after which a search says what it does
const PHASES = { wait: "Waiting for the model", encode: "Looking and reading", sample: "Imagining", search: "Searching" };

let pending = null; // timer of the search that is about to begin
let begun = 0; // when the one that is under way began
let late = false; // whether something was typed since
let entry = "kept"; // the history's entry: "kept", or "live" while it follows what is typed
let recoveries = 0; // one after the other, without an answer between them
let recover = async () => {};

/** `again(pause)` waits for a server that is gone, `pause` milliseconds at least, and then searches again. */
export function onUnreachable(again) {
  recover = again;
}

/**
 * Search for what is being typed or dragged. An answer that is nearly there is shown first, so that the wall moves while
 * a slider does; one that takes long is given up.
 */
export function follow() {
  document.body.dataset.busy = "true";
  pending ??= setTimeout(() => {
    pending = null;
    late = page.running !== null && performance.now() - begun < PATIENCE;
    if (!late) run({ live: true });
  }, PAUSE);
}

/** Search; a `live` answer replaces the last live one in the history, any other is kept beside it. */
export async function run({ live = false, history = true, more = false } = {}) {
  const own = begin();
  fail("");
  if (isEmpty()) {
    clearAnswer();
    if (history && location.hash) window.history.pushState(null, "", location.pathname);
    return settle(own);
  }
  if (!more) page.wanted = countFirst();
  const slow = setTimeout(() => say("Searching ..."), SLOW);
  const watch = watchOver(own);
  try {
    const began = performance.now();
    const answers = await askAll(own.signal);
    page.answer = answers.at(-1);
    delete page.answer.event;
    learn(page.answer.query);
    showAnswer(answers.length > 1 ? answers : null, performance.now() - began);
    if (history) keep(live);
    recoveries = 0;
  } catch (error) {
    if (error instanceof Unreachable && page.running === own && recoveries < 3) {
      document.body.classList.add("stale"); // the line of `waking.js` says why
      recover(2 ** recoveries++ * 500);
    } else if (error.name !== "AbortError") fail(error.message);
  } finally {
    clearTimeout(slow);
    clearInterval(watch);
    settle(own);
  }
}

/** Give a search up whose server is gone without a word, as it is when a network goes. */
const watchOver = (own) => setInterval(async () => { if (await isGone()) own.abort(new Unreachable()); }, WATCHED);

/** Take the place of whatever is under way. */
export function begin() {
  clearTimeout(pending);
  [pending, late, begun] = [null, false, performance.now()];
  page.running?.abort();
  $("film").hidden = true;
  document.body.dataset.busy = "true";
  return (page.running = new AbortController());
}

export function settle(own) {
  if (page.running !== own) return;
  page.running = null;
  if (late) run({ live: true });
  else if (pending === null) delete document.body.dataset.busy;
}

/** Ask in one way, or in three to compare. */
function askAll(signal) {
  const three = $("compare").getAttribute("aria-pressed") === "true" && references.all.length && $("text").value.trim();
  const modes = three ? ["image", "text", "composed"] : ["composed"];
  return Promise.all(modes.map(async (mode) => search(await makeForm(three ? 24 : page.wanted, mode), tell, signal)));
}

/** As many pictures as fill the window and a half. */
function countFirst() {
  const count = Math.ceil((innerHeight * 1.5) / wall.rowHeight) * Math.ceil($("results").clientWidth / wall.rowHeight);
  return Math.max(24, Math.min(200, count));
}

function tell(news) {
  const whole = news.event === "sample" && news.of > 4;
  if ($("status").textContent.endsWith("...")) say(`${PHASES[news.event]}${whole ? ` ${news.done} of ${news.of}` : ""} ...`);
}

/** Remember what the answer says of the reference, so that the next query need not send the picture again. */
function learn(query) {
  mask.sent = mask.strokes.length ? query.mask_cells : null;
  const one = references.only;
  if (one?.kind !== "file" || query.reference_embedding.length !== 1) return;
  one.known ??= { embedding: query.reference_embedding[0], exclude: query.exclude.filter((each) => !besides.exclude.includes(each)) };
}

/** Ask for more pictures where the last answer was full. */
export function grow() {
  if (!page.answer || page.running || $("three") || page.answer.results.length < page.wanted || page.wanted >= MOST) return;
  page.wanted = Math.min(MOST, page.wanted * 2);
  run({ history: false, more: true });
}

/** The link of the answer, with its trail and a small picture of a reference that was dropped. */
export const makeLink = () => linkOf(page.answer.query, { trail: besides.trail, thumbnail: references.only?.small });

function keep(live) {
  const link = makeLink();
  if (link !== location.hash) window.history[live && entry === "live" ? "replaceState" : "pushState"](null, "", link);
  entry = live ? "live" : "kept";
}

/** Do what the address asks. */
export async function open() {
  const parts = asked(location.hash);
  entry = "kept";
  if (!parts) return startOver();
  await takeLink(parts);
  await run({ history: false });
}

export function startOver() {
  forgetBesides();
  besides.trail = [];
  for (const name of ["text", "negative", "subtract"]) $(name).value = "";
  clearFacets();
  references.set();
  if (page.served) setModels(page.served.sampling);
  run();
}
