// The numbers of a query. One slider says "picture or words"; the dials behind it are under "Advanced".

import { $ } from "./elements.js";

export const DIALS = ["w_image", "w_text", "steps"];
export const NUMBERS = ["seed", "draws", "reference_mixing", "subtract_weight", "w_names"];
const MOST_WORDS = 4; // at the right end, times the model's own w_text

let own = { w_image: 1.2, w_text: 1.75, steps: 2 }; // the dials that the model was chosen with

export function showDials() {
  for (const name of DIALS) document.querySelector(`output[for=${name}]`).textContent = $(name).value;
  $("balance").value = findBalance();
}

/** {w_image, w_text, steps}; a slider reaches as far as it must. */
export function setDials(values) {
  for (const name of DIALS) {
    $(name).max = Math.max($(name).max, values[name]);
    $(name).value = values[name];
  }
  showDials();
}

/** Set all numbers to those that the model was chosen with; /model says them as `sampling`. */
export function setModels(sampling) {
  own = { w_image: sampling.w_image, w_text: sampling.w_text, steps: sampling.num_inference_steps };
  setDials(own);
  const rest = { seed: sampling.seed, draws: sampling.draws, reference_mixing: "", subtract_weight: 0.5, w_names: 1 };
  for (const [name, value] of Object.entries(rest)) $(name).value = value;
}

/** Follow the slider: left takes the words away, right makes them louder than the picture; the middle is the model's. */
export function applyBalance() {
  const at = Number($("balance").value);
  const words = at < 0 ? 1 + at : 1 + at * (MOST_WORDS - 1);
  const picture = at < 0 ? 1 : 1 - at / 2;
  $("w_text").value = own.w_text * words;
  $("w_image").value = own.w_image * picture;
  for (const name of DIALS) document.querySelector(`output[for=${name}]`).textContent = $(name).value;
}

/** Where the slider stands for the dials as they are. */
function findBalance() {
  const words = Number($("w_text").value) / (own.w_text || 1);
  return Math.max(-1, Math.min(1, words < 1 ? words - 1 : (words - 1) / (MOST_WORDS - 1)));
}
