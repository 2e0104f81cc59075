// The first screen: worked examples, and pictures of the gallery that differ from each other.

import { $, element, icon } from "./elements.js";
import { getJson } from "./server.js";
import { Wall } from "./wall.js";

let generic = []; // changes that are worth a try with any picture
let wall = null;

/** Fill the first screen; `run` gets an example, `choose` a picture. */
export async function showStart(run, choose) {
  const { examples, pictures, changes } = await getJson("/openings");
  generic = changes;
  $("examples").replaceChildren(...examples.map((each) => makeExample(each, run)));
  $("examples").previousElementSibling.hidden = examples.length === 0;
  wall ??= new Wall($("starters"), { open: choose }, { rowHeight: 110 });
  wall.show(pictures.map((each, place) => ({ ...each, rank: place + 1, score: 0, duplicates: [], metadata: {} })));
}

function makeExample({ reference, text, answer }, run) {
  const picture = ({ thumbnail }) => element("img", { src: `${thumbnail}?edge=160`, alt: "" });
  const words = element("span", { className: "arrow" }, text, icon("right"));
  const button = element("button", { type: "button", className: "example", onclick: () => run({ reference, text }) },
    picture(reference), words, picture(answer));
  button.title = `${reference.name}, “${text}”: ${answer.name}`;
  return button;
}

let asked = "";

/** Show changes that fit a reference as chips; `take` gets the words of the one that is pressed. */
export async function showChanges(id, take) {
  if (id === asked) return;
  asked = id;
  const changes = id ? (await getJson(`/changes?${new URLSearchParams({ picture_id: id })}`)).changes : generic;
  if (id !== asked) return;
  $("changes").replaceChildren(...changes.map((words) =>
    element("li", {}, element("button", { type: "button", textContent: words, onclick: () => take(words) }))));
}
