// A server that wakes, is gone, or comes back as another: said in one line, and waited for.

import { $ } from "./elements.js";

const EVERY = 700; // milliseconds between looks
const PATIENCE = 10_000; // milliseconds after which a server that says nothing is gone

/** Say something in the notice line; "" hides it. `progress` from 0 to 1 shows a bar. */
export function notify(message, progress = null) {
  $("notice").hidden = !message;
  $("notice-text").textContent = message;
  $("waking").hidden = progress === null;
  if (progress !== null) $("waking").value = progress;
}

let grown = () => {};

/** Call `act` when what the server did besides answering, such as indexing, has come to an end. */
export function onGrown(act) {
  grown = act;
}

/** Wait until the server can answer, saying what it does meanwhile. Throws where it says that it never will. */
export async function waitUntilAwake() {
  for (;;) {
    const state = await readState();
    if (state.state === "ready") {
      followWork(state);
      return;
    }
    if (state.state === "failed") {
      notify("");
      throw new Error(state.message || "The server could not start.");
    }
    notify(state.message || "The server is waking up ...", state.progress ?? null);
    await wait();
  }
}

/** Whether the server cannot be reached now. */
export const isGone = async () => (await readState()).state === "gone";

const wait = () => new Promise((done) => setTimeout(done, EVERY));
let following = false;

/** Say what a server that answers does besides, until it does no more. */
async function followWork(state) {
  if (following) return;
  following = true;
  let worked = false;
  for (; state.state === "ready" && state.message; state = await readState()) {
    worked ||= state.progress < 1;
    notify(state.message, state.progress < 1 ? state.progress : null);
    if (state.progress >= 1) break; // it has ended, and this is how
    await wait();
  }
  if (!state.message || state.state !== "ready") notify("");
  following = false;
  if (worked) grown();
}

/** {state: "ready" | "waking" | "failed" | "gone", message, progress}; a server that does not say is ready. */
async function readState() {
  try {
    const response = await fetch("/api/state", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (response.ok) return await response.json();
    return { state: response.status >= 500 ? "waking" : "ready" };
  } catch {
    return { state: "gone", message: "The server does not answer. Is “compodiff serve” still running? This page goes on once it is back." };
  }
}
