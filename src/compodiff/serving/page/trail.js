// The way to an answer: picture + words -> picture + words -> ...; each step is a short link, kept in the long one.

import { besides } from "./ask.js";
import { $, element, icon } from "./elements.js";
import { linkOf } from "./link.js";
import { thumbnailOf } from "./references.js";

const MOST = 12; // steps
const KEPT = ["reference_id", "reference_embedding", "text", "negative", "filter", "w_image", "w_text"];

/** Put the query of an answer on the trail, once one of its pictures becomes the next reference. */
export function addStep(query, thumbnail) {
  const kept = Object.fromEntries(KEPT.map((name) => [name, query[name]]));
  besides.trail = [...besides.trail, linkOf(kept, { thumbnail }).slice(1)].slice(-MOST);
}

/** Show the trail and, last, where we are: `now` is {thumbnail, text}. */
export function showTrail(now, follow) {
  $("trail").hidden = besides.trail.length === 0;
  if ($("trail").hidden) return;
  const steps = besides.trail.map((step, place) => {
    const parts = new URLSearchParams(step);
    const id = parts.get("reference_id");
    const thumbnail = parts.get("thumbnail") || (id ? thumbnailOf(id) : "");
    const back = () => {
      const whole = new URLSearchParams(step);
      for (const each of besides.trail.slice(0, place)) whole.append("trail", each);
      follow(`#${whole}`);
    };
    return makeStep(thumbnail, parts.get("text") ?? "", back);
  });
  const here = makeStep(now.thumbnail, now.text, null);
  here.firstElementChild.setAttribute("aria-current", "step");
  $("trail").replaceChildren(...steps, here);
  $("trail").scrollLeft = $("trail").scrollWidth;
}

/** A step of the trail, or a kept search: a picture and words that `act` goes to; null where we are. */
export function makeStep(thumbnail, text, act) {
  const picture = thumbnail ? element("img", { src: thumbnail, alt: "" }) : icon("search");
  const button = element("button", { type: "button", onclick: act }, picture, text ? `“${text}”` : "like this");
  return element("li", {}, button, act ? icon("right") : "");
}
