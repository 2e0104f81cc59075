// What the page asks of the server. Every failure is an Error whose message can be shown as it is.

let askForToken = async () => "";

/** `ask` returns what a person types when the server wants its token. */
export function onTokenWanted(ask) {
  askForToken = ask;
}

export async function getJson(address) {
  return (await asked(address)).json();
}

/** POST /search; `told` gets {event, done, of} while the answer is being made. */
export async function search(form, told, signal) {
  const response = await asked("/search", { method: "POST", body: form, headers: { Accept: "application/x-ndjson" }, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("The server stopped before the answer was complete. Search again.");
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const news of lines.map((line) => JSON.parse(line))) {
      if (news.event === "error") throw new Error(news.error);
      if (news.event === "answer") return news;
      told(news);
    }
  }
}

async function asked(address, options = {}) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is “compodiff serve” still running?");
  }
  if (response.status === 401) {
    const token = await askForToken();
    const body = new FormData();
    body.append("token", token);
    const opened = await fetch("/session", { method: "POST", body });
    if (!opened.ok) throw new Error("This is not the token of this server. Search again to retry.");
    return asked(address, options);
  }
  if (!response.ok) throw new Error(await said(response));
  return response;
}

async function said(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `The server answered ${response.status} ${response.statusText}.`;
  }
}
