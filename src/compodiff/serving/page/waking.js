// A server that wakes, is gone, or comes back as another: said in one line, and waited for.

import { $ } from "./elements.js";

const EVERY = 700; // milliseconds between looks

/** Say something in the notice line; "" hides it. `progress` from 0 to 1 shows a bar. */
export function notify(message, progress = null) {
  $("notice").hidden = !message;
  $("notice-text").textContent = message;
  $("waking").hidden = progress === null;
  if (progress !== null) $("waking").value = progress;
}

/** Wait until the server can answer, saying what it does meanwhile. Throws where it says that it never will. */
export async function waitUntilAwake() {
  for (;;) {
    const state = await readState();
    if (state.state === "ready") break;
    if (state.state === "failed") {
      notify("");
      throw new Error(state.message || "The server could not start.");
    }
    notify(state.message || "The server is waking up ...", state.progress ?? null);
    await new Promise((done) => setTimeout(done, EVERY));
  }
  notify("");
}

/** {state: "ready" | "waking" | "failed" | "gone", message, progress}; a server that does not say is ready. */
async function readState() {
  try {
    const response = await fetch("/api/state", { cache: "no-store" });
    if (response.ok) return await response.json();
    return { state: response.status >= 500 ? "waking" : "ready" };
  } catch {
    return { state: "gone", message: "The server does not answer. Is “compodiff serve” still running? This page goes on once it is back." };
  }
}
