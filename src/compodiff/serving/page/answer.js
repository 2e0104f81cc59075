// An answer on the page: the wall, or three of them to compare, and what goes with the query.

import { $, element, isPhone } from "./elements.js";
import { page, milli, say } from "./page.js";
import { references } from "./bar.js";
import { showChanges } from "./start.js";
import { keep, readKept } from "./store.js";
import { showTrail } from "./trail.js";
import { Wall } from "./wall.js";

export const MOST = 1000; // pictures of one answer

export let wall = null;
let acts = {};
let deeds = {};

/** `found`: what a picture's buttons do; `around`: {take(words), follow(hash)} of chips and trail. */
export function wireAnswer(found, around) {
  [acts, deeds] = [found, around];
  wall = new Wall($("grid"), acts, { rowHeight: Number(readKept("size")) || (isPhone() ? 118 : 190) });
  $("size").value = wall.rowHeight;
  $("size").addEventListener("input", () => {
    keep("size", $("size").value);
    wall.resize(Number($("size").value));
  });
}

/** Show page.answer, or `compared`: the answers by picture, by words, and by both. */
export function showAnswer(compared, milliseconds) {
  const { answer, served, wanted } = page;
  $("empty").hidden = true;
  $("actions").hidden = false;
  document.body.classList.remove("stale");
  $("three")?.remove();
  $("grid").hidden = Boolean(compared);
  if (compared) showThree(compared);
  else wall.show(answer.results);
  const count = answer.results.length;
  const parts = Object.entries(answer.seconds).map(([name, each]) => `${name} ${milli(each * 1000)}`);
  const head = !count ? "Nothing was found." : answer.is_guess ? "A guess" : `Nearest of ${served.pictures.toLocaleString("en")}`;
  say([`${head} · ${milli(milliseconds)}`, ...answer.notes].join(" · "));
  $("status").title = parts.join(", ");
  document.body.classList.toggle("guess", Boolean(answer.is_guess));
  $("end").textContent = !count || compared ? "" : count < wanted ? "These are all." : wanted >= MOST ? `The nearest ${MOST}.` : "";
  $("compare").disabled = !references.all.length || !$("text").value.trim();
  document.title = `${$("text").value.trim() || "this picture"} · CompoDiff`;
  showAround();
}

export function clearAnswer() {
  page.answer = null;
  wall.clear();
  $("three")?.remove();
  $("grid").hidden = false;
  $("end").textContent = "";
  $("actions").hidden = $("under").hidden = $("trail").hidden = $("film").hidden = true;
  $("empty").hidden = false;
  document.title = "CompoDiff: this picture, but ...";
}

/** Changes to try, the slider, the trail. */
function showAround() {
  $("under").hidden = false;
  $("balanced").hidden = !references.all.length || !$("text").value.trim();
  const one = references.all[0];
  showChanges(one?.kind === "id" ? one.value : "", deeds.take).catch(() => {}); // chips are a help, not a part of the answer
  showTrail({ thumbnail: one?.small || one?.thumbnail, text: $("text").value.trim() }, deeds.follow);
}

function showThree(compared) {
  const titles = ["The picture alone", "The words alone", "Composed"];
  const box = element("div", { id: "three", className: "three" });
  $("grid").after(box);
  compared.forEach((each, place) => {
    const inner = element("div");
    const column = element("section", {}, element("h2", { textContent: titles[place] }), inner);
    column.setAttribute("aria-label", titles[place]);
    box.append(column);
    new Wall(inner, acts, { rowHeight: isPhone() ? 100 : 150 }).show(each.results);
  });
}
