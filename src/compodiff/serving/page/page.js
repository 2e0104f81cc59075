// What the page's modules share: what is served, what was answered, and the lines that say how it goes.

import { $ } from "./elements.js";

export const page = {
  served: null, // GET /model
  answer: null, // of the last search
  running: null, // AbortController of what is under way
  wanted: 0, // pictures; more as the page is scrolled
};

export function say(message) {
  $("status").textContent = message;
}

/** Say what went wrong; "" takes it back. What is shown below is then no longer the answer. */
export function fail(message) {
  $("fault").hidden = !message;
  $("fault").textContent = message;
  document.body.classList.toggle("stale", Boolean(message));
  if (message && page.answer) say("");
}

export const milli = (value) => (value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`);
