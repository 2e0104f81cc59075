// The panel of the reference: which pictures, the one that can be painted on, and the brush.

import { $ } from "./elements.js";
import { Mask } from "./mask.js";
import { References, address } from "./references.js";

export const references = new References(showReferences);
export const mask = new Mask($("mask"), showMasking);

let previewed = null;

function showReferences() {
  references.render($("references"));
  const only = references.only;
  $("nothing").hidden = references.all.length > 0;
  $("stage").hidden = $("masking").hidden = !only;
  if (only === previewed) return;
  previewed = only;
  mask.clear();
  setPainting(false);
  if (only) {
    $("preview").alt = only.label;
    $("preview").src = only.kind === "id" ? `/thumbnails/${address(only.value)}?edge=640` : only.thumbnail;
  }
}

function showMasking() {
  $("undo").disabled = $("clear").disabled = !mask.painted;
}

/** Show the brush, or put it away; what is painted stays, and stays in sight. */
export function setPainting(on) {
  $("paint").setAttribute("aria-pressed", on);
  $("brushes").hidden = !on;
  $("mask").hidden = !on && !mask.painted;
  $("mask").classList.toggle("idle", !on);
  mask.draw();
  showMasking();
}

$("preview").addEventListener("load", () => mask.fit($("preview").naturalWidth, $("preview").naturalHeight));
// A file that this browser cannot show may still be one that the server can read, so it stays.
$("preview").addEventListener("error", () => ($("stage").hidden = $("masking").hidden = true));
$("paint").addEventListener("click", () => setPainting($("brushes").hidden));
$("brush").addEventListener("input", () => {
  mask.size = Number($("brush").value);
  mask.draw();
});
$("undo").addEventListener("click", () => mask.undo());
