// The references in the bar: from files, the camera, the clipboard, the gallery; each with its thumbnail.

import { $, element, icon, iconButton } from "./elements.js";
import { shrink } from "./link.js";
import { Mask } from "./mask.js";
import { References, ofFile, thumbnailOf } from "./references.js";
import { notify } from "./waking.js";

const LONGER = 2048; // pixels: a picture too large to be sent is made as small as this

let changed = () => {};
let previewed = null;
let taken = 0; // pictures that were dropped, pasted or chosen
export const references = new References(showReferences);
export const mask = new Mask($("mask"), () => {
  if (references.only) references.only.known = null; // it was of the picture as it was masked before
  showReferences();
  changed();
});

/** `told(fresh)` is called when the references (fresh) or the mask change; `most` returns how many bytes the server takes. */
export function wireBar(told, most, fail) {
  changed = told;
  const take = (file) => takeFile(file, most(), fail);
  for (const [button, input] of [["choose", "file"], ["shoot", "camera"]]) {
    $(button).addEventListener("click", () => { $("sources").hidePopover(); $(input).click(); });
    $(input).addEventListener("change", () => { take($(input).files[0]); $(input).value = ""; });
  }
  $("sources").addEventListener("toggle", (event) => event.newState === "open" && putBelow($("sources"), $("add")));
  $("preview").addEventListener("load", () => mask.fit($("preview").naturalWidth, $("preview").naturalHeight));
  wireDrop(take);
}

/** Put a popover below the button that opens it, inside the window. */
export function putBelow(popover, button) {
  const { left, bottom } = button.getBoundingClientRect();
  const most = `calc(100vw - ${popover.offsetWidth + 8}px)`; // of the window as it is then
  Object.assign(popover.style, { left: `max(8px, min(${left}px, ${most}))`, top: `${bottom + 6}px` });
}

async function takeFile(file, most, fail) {
  if (!file) return;
  fail("");
  const own = ++taken;
  const sent = most && file.size > most ? await makeSmaller(file) : file;
  if (own !== taken) return; // another was taken meanwhile
  if (!sent) {
    fail(`${file.name || "The picture"} has ${size(file.size)}; the server takes ${size(most)}. Make it smaller.`);
    return;
  }
  const reference = ofFile(sent, file.name);
  references.set(reference);
  changed(true);
  $("text").focus({ preventScroll: true });
  reference.small = await shrink(sent);
}

/** The picture as a JPEG that the server takes; null where this browser cannot read it. */
async function makeSmaller(file) {
  notify("Making the picture smaller ...");
  try {
    const whole = await createImageBitmap(file);
    const scale = Math.min(1, LONGER / Math.max(whole.width, whole.height));
    const sheet = new OffscreenCanvas(Math.round(whole.width * scale), Math.round(whole.height * scale));
    const context = sheet.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, sheet.width, sheet.height);
    context.drawImage(whole, 0, 0, sheet.width, sheet.height);
    return await sheet.convertToBlob({ type: "image/jpeg", quality: 0.9 });
  } catch {
    return null;
  } finally {
    notify("");
  }
}

/** Take pictures that are dropped on the page, or pasted. */
function wireDrop(take) {
  const over = (on) => $("query").classList.toggle("over", on);
  document.addEventListener("dragover", (event) => { event.preventDefault(); over(true); });
  document.addEventListener("dragleave", () => over(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
    if (file) take(file);
  });
}

function showReferences() {
  const { only } = references;
  const alone = references.all.length === 1 ? references.all[0] : null;
  if (alone !== previewed) {
    previewed = alone;
    mask.forget();
    if (only) Object.assign($("preview"), { alt: only.label, src: only.kind === "id" ? thumbnailOf(only.value, 640) : only.thumbnail });
  }
  $("query").classList.toggle("has", references.all.length > 0);
  $("references").replaceChildren(...references.all.map(makeItem));
  $("weights").replaceChildren(...(references.all.length > 1 ? references.all.map(makeWeight) : []));
}

function makeItem(one) {
  const shown = element("button", { type: "button", className: "shown", title: one.label });
  if (one.thumbnail) shown.append(element("img", { src: one.thumbnail, alt: "" }));
  else shown.append(icon("picture"));
  if (one === references.only) {
    shown.setAttribute("aria-label", `${one.label}: paint what to replace`);
    shown.title = `${one.label} - click to paint over what is to be replaced`;
    shown.addEventListener("click", () => mask.edit());
    if (mask.painted) shown.append(element("img", { className: "ghost", src: mask.canvas.toDataURL(), alt: "" }));
  } else {
    shown.setAttribute("aria-label", one.label);
    shown.disabled = true;
  }
  const remove = iconButton("close", `Remove ${one.label}`, () => { references.remove(one); changed(true); }, "round drop-it");
  return element("li", {}, shown, remove);
}

function makeWeight(one) {
  const id = `weight-${references.all.indexOf(one)}`;
  const slider = element("input", { type: "range", id, min: 0, max: 2, step: 0.1 });
  slider.value = one.weight;
  slider.addEventListener("input", () => (one.weight = Number(slider.value)));
  return element("div", { className: "dial" }, element("label", { htmlFor: id, textContent: one.label }), slider);
}

const size = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
