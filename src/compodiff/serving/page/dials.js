// The numbers of a query: sliders with their values beside them, and fields under "More".

import { $ } from "./elements.js";

export const DIALS = ["w_image", "w_text", "steps"];
export const NUMBERS = ["k", "seed", "draws", "reference_mixing", "subtract_weight"];

export function showDials() {
  for (const name of DIALS) document.querySelector(`output[for=${name}]`).textContent = $(name).value;
}

/** {w_image, w_text, steps}; a slider reaches as far as it must. */
export function setDials(values) {
  for (const name of DIALS) {
    $(name).max = Math.max($(name).max, values[name]);
    $(name).value = values[name];
  }
  showDials();
}

/** The dials that a model was chosen with. */
export function setModels(sampling) {
  setDials({ w_image: sampling.w_image, w_text: sampling.w_text, steps: sampling.num_inference_steps });
  const own = { k: 24, seed: sampling.seed, draws: sampling.draws, reference_mixing: "", subtract_weight: 0.5 };
  for (const [name, value] of Object.entries(own)) $(name).value = value;
}
