// The keyboard: what each key does, and the list of it (?).

import { $, element } from "./elements.js";

const LIST = [
  ["/", "type the change"],
  ["Enter", "search, and keep this step in the history"],
  ["arrows", "from picture to picture"],
  ["Enter", "on a picture: open it"],
  ["r", "use the picture as the reference"],
  ["m, l", "more, less like the picture"],
  ["c", "in the large view: before | after"],
  ["b, e, s", "in the mask editor: brush, eraser, select by a click"],
  ["+, -", "in the mask editor: larger, smaller"],
  ["f", "filter and fine-tune"],
  ["g", "pick from the gallery"],
  ["w", "watch it imagine"],
  ["?", "this list"],
  ["paste, drop", "a picture becomes the reference"],
];

/** `acts`: what to do for a key that is pressed outside of fields and dialogs. */
export function wireKeys(acts) {
  $("keys-list").replaceChildren(...LIST.flatMap(([keys, does]) =>
    [element("dt", {}, ...keys.split(", ").map((key) => element("kbd", { textContent: key }))), element("dd", { textContent: does })]));
  $("help").addEventListener("click", () => $("keys").showModal());
  document.addEventListener("keydown", (event) => {
    if (event.target.closest?.("input:not([type=range]), select, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { ...acts, "?": () => $("keys").showModal() }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}
