// Watching it imagine: the picture nearest to where the sampler stands, at every step from noise to the answer.

import { $, element, wantsNoMotion } from "./elements.js";
import { makePick } from "./gallery.js";
import { postJson } from "./server.js";

const PACE = 260; // milliseconds a picture
const STEPS = 30;

/** Ask for the steps of the query in `form`, and show one after the other; `open` is given the picture pressed. */
export async function imagine(form, open, signal) {
  form.set("steps", STEPS);
  form.delete("mode");
  const { steps } = await postJson("/imagine", form, signal);
  if (steps.length < 3) throw new Error(steps.length ? "This model answers in one step; there is nothing to watch." : "No picture fits; there is nothing to watch.");
  const frames = element("div", { className: "frames" });
  frames.append(...groupSame(steps).map(({ picture, first, last }) => {
    const said = first === 0 ? "noise" : last === steps.length - 1 ? "the answer" : first === last ? `step ${first}` : `steps ${first}-${last}`;
    return element("figure", { className: "later" }, makePick(picture, open), element("figcaption", { textContent: said }));
  }));
  const title = element("p", {}, element("b", { textContent: "From noise to a picture. " }),
    element("span", { className: "quiet", textContent: `The picture nearest to where the model stands, over ${steps.length - 1} steps.` }));
  const close = element("button", { type: "button", className: "small", textContent: "Close", onclick: () => ($("film").hidden = true) });
  $("film").replaceChildren(element("div", { className: "row" }, title, element("span", { className: "grow" }), close), frames);
  $("film").hidden = false;
  await play([...frames.children], signal);
}

/** Steps in a row that are nearest to the same picture, as one. */
function groupSame(steps) {
  const groups = [];
  for (const { step, picture } of steps) {
    if (groups.at(-1)?.picture.picture_id === picture.picture_id) groups.at(-1).last = step;
    else groups.push({ picture, first: step, last: step });
  }
  return groups;
}

async function play(frames, signal) {
  for (const frame of frames) {
    if (signal.aborted) return;
    frames.forEach((each) => each.classList.toggle("now", each === frame));
    frame.classList.remove("later");
    frame.parentElement.scrollLeft = frame.offsetLeft - frame.parentElement.clientWidth + frame.offsetWidth;
    if (!wantsNoMotion()) await new Promise((done) => setTimeout(done, PACE));
  }
}
