// The gallery to pick a reference from, one picture large, and the door of a server with a token.

import { $, element } from "./elements.js";
import { pick } from "./results.js";
import { getJson } from "./server.js";

let listed = 0;

/** Open the gallery; `chosen` gets the picture that is pressed. */
export function openGallery(chosen, failed) {
  const more = (fresh) => list(fresh, chosen).catch((error) => failed(error.message));
  $("contains").oninput = () => more(true);
  $("gallery-more").onclick = () => more(false);
  $("gallery").showModal();
  more(true);
}

async function list(fresh, chosen) {
  if (fresh) listed = 0;
  const wanted = $("contains").value;
  const page = await getJson(`/pictures?contains=${encodeURIComponent(wanted)}&offset=${listed}&limit=60`);
  if (wanted !== $("contains").value) return; // typed on in the meantime
  if (fresh) $("gallery-grid").replaceChildren();
  const choose = (picture) => {
    $("gallery").close();
    chosen(picture);
  };
  $("gallery-grid").append(...page.pictures.map((each) => pick(each, choose)));
  listed += page.pictures.length;
  $("gallery-more").hidden = listed >= page.count;
  $("gallery-count").textContent = `${page.count.toLocaleString("en")} pictures`;
}

/** Show a found picture large, with what is known of it. */
export function view(found) {
  $("viewer-title").textContent = found.name;
  Object.assign($("viewer-picture"), { src: found.picture, alt: found.name });
  const facts = { id: found.picture_id, score: found.score.toFixed(4), ...found.metadata };
  if (found.duplicates.length) facts.alike = found.duplicates.join(", ");
  const known = Object.entries(facts).filter(([, value]) => value !== null);
  const terms = known.flatMap(([name, value]) => [
    element("dt", { textContent: name }),
    element("dd", { textContent: value }),
  ]);
  $("viewer-facts").replaceChildren(...terms);
  $("viewer").showModal();
}

/** Ask a person for the token. */
export function askForToken() {
  return new Promise((done) => {
    $("door").addEventListener("close", () => done($("token").value), { once: true });
    $("door").showModal();
  });
}
