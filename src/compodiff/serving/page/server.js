// What the page asks of the server. Every failure is an Error whose message can be shown as it is.

/** The server cannot be reached, or is not yet awake: the same may work a little later. */
export class Unreachable extends Error {}

let askForToken = async () => null;
let admitted = null; // the promise of the token that is being asked for: one door for many requests

/** `ask(wrong)` returns what a person types when the server wants its token, null where they give up. */
export function onTokenWanted(ask) {
  askForToken = ask;
}

export async function getJson(address, signal) {
  return (await request(address, { signal })).json();
}

export async function postJson(address, form, signal) {
  return (await request(address, { method: "POST", body: form, signal })).json();
}

/** POST /search; `told` gets {event, done, of} while the answer is being made. */
export async function search(form, told, signal) {
  const response = await request("/search", { method: "POST", body: form, headers: { Accept: "application/x-ndjson" }, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch(unreachable);
    if (done) throw new Unreachable("The server stopped before the answer was complete.");
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const news of lines.map((line) => JSON.parse(line))) {
      if (news.event === "error") throw new Error(news.error);
      if (news.event === "answer") return news;
      told(news);
    }
  }
}

async function request(address, options = {}) {
  const response = await fetch(address, options).catch(unreachable);
  if (response.status === 401) {
    await (admitted ??= enter().finally(() => (admitted = null)));
    return request(address, options);
  }
  if (response.status === 503) throw new Unreachable(await read(response));
  if (!response.ok) throw new Error(await read(response));
  return response;
}

/** Ask for the token until it is the right one. */
async function enter() {
  for (let wrong = false; ; wrong = true) {
    const token = await askForToken(wrong);
    if (token === null) throw new Error("This server wants its token. Load the page again to enter it.");
    const body = new FormData();
    body.append("token", token);
    if ((await fetch("/session", { method: "POST", body }).catch(unreachable)).ok) return;
  }
}

function unreachable(error) {
  if (error.name === "AbortError") throw error;
  throw new Unreachable("The server does not answer. Is “compodiff serve” still running?");
}

async function read(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `The server answered ${response.status} ${response.statusText}.`;
  }
}
