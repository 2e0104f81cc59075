// The gallery to pick a reference from, and pictures to begin with.

import { $, element } from "./elements.js";
import { getJson } from "./server.js";

let listed = 0;
let asked = 0; // times
let isWaiting = false;

/** Open the gallery; `chosen` gets the picture that is pressed. */
export function openGallery(chosen, failed) {
  const more = (fresh) => list(fresh, chosen).catch((error) => failed(error.message));
  $("contains").oninput = () => more(true);
  $("gallery-more").onclick = () => isWaiting || more(false);
  $("gallery").showModal();
  more(true);
}

async function list(fresh, chosen) {
  const [turn, from] = [++asked, fresh ? 0 : listed];
  const wanted = encodeURIComponent($("contains").value);
  isWaiting = true;
  const ended = () => {
    if (turn === asked) isWaiting = false;
  };
  const page = await getJson(`/pictures?contains=${wanted}&offset=${from}&limit=60`).finally(ended);
  if (turn !== asked) return; // typed on in the meantime
  if (fresh) $("gallery-grid").replaceChildren();
  const choose = (picture) => {
    $("gallery").close();
    chosen(picture);
  };
  $("gallery-grid").append(...page.pictures.map((each) => makePick(each, choose)));
  listed = from + page.pictures.length;
  $("gallery-more").hidden = listed >= page.count;
  $("gallery-count").textContent = `${page.count.toLocaleString("en")} pictures`;
}

/** A picture that does something when it is pressed. */
export function makePick(listed, chosen) {
  const picture = element("img", { src: `${listed.thumbnail}?edge=160`, alt: "", loading: "lazy" });
  const button = element("button", { type: "button", className: "pick", title: listed.name, onclick: () => chosen(listed) }, picture);
  button.setAttribute("aria-label", listed.name);
  return button;
}
