// A wall of found pictures in justified rows. A new answer moves the pictures that stay to their new places.

import { element, iconButton, isPhone, wantsNoMotion } from "./elements.js";
import { justify, walk } from "./justify.js";
import { address } from "./references.js";

const GLIDE = { duration: 260, easing: "cubic-bezier(.2, .8, .3, 1)" };
const GAP = 6;
const WALKED = ["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", "Home", "End"];
const shapes = new Map(); // picture_id -> width / height, of every picture that this page has seen
const cutOut = new Set(); // addresses of pictures with a transparent ground

export class Wall {
  /** `acts`: {use, more, less, open}, each called with what was found. `box` becomes the wall. */
  constructor(box, acts, { rowHeight = 190 } = {}) {
    this.box = box;
    this.acts = acts;
    this.rowHeight = rowHeight;
    this.hits = [];
    this.cards = new Map(); // picture_id -> its figure
    this.places = [];
    this.tools = this.makeTools();
    box.classList.add("wall");
    box.addEventListener("keydown", (event) => this.press(event));
    box.addEventListener("pointerover", (event) => this.showTools(event.target.closest(".card")));
    box.addEventListener("pointerleave", () => this.showTools(null));
    box.addEventListener("focusin", (event) => this.showTools(event.target.closest(".card")));
    box.addEventListener("click", (event) => this.open(event));
    new ResizeObserver(() => this.across !== box.clientWidth && this.lay()).observe(box);
  }

  /** Show an answer: pictures that were there glide, others fade in. */
  show(hits) {
    const before = this.measure();
    const focused = document.activeElement?.closest?.(".card");
    const kept = new Map();
    this.hits = hits;
    hits.forEach((found) => kept.set(found.picture_id, this.renew(found)));
    for (const [id, card] of this.cards) if (!kept.has(id)) card.remove();
    this.cards = kept;
    this.order();
    if (focused && this.box.contains(focused)) focused.querySelector(".show").focus({ preventScroll: true });
    this.lay();
    this.glide(before);
  }

  clear() {
    this.hits = [];
    this.cards = new Map();
    this.box.replaceChildren();
    this.box.style.height = "0px";
  }

  resize(rowHeight) {
    const before = this.measure();
    this.rowHeight = rowHeight;
    this.lay();
    this.glide(before);
  }

  renew(found) {
    const card = this.cards.get(found.picture_id) ?? makeCard(found, () => this.learn());
    card.found = found;
    const where = found.metadata.folder ? ` · ${found.metadata.folder}` : "";
    const twins = found.duplicates.length ? ` · ${found.duplicates.length} alike` : "";
    card.querySelector(".name").textContent = found.name;
    const by = found.found_by?.filter((each) => each !== "picture").join(", ");
    card.querySelector(".second").textContent = `${found.rank}${by ? ` · by its ${by}` : ""}${where}${twins}`;
    card.querySelector(".show").setAttribute("aria-label", `${found.rank}. ${found.name}`);
    card.querySelector(".near").style.setProperty("--near", Math.max(0.02, Math.min(1, found.score)));
    return card;
  }

  /** Bring the cards into the order of the answer, moving as few as can be. */
  order() {
    let next = this.box.firstElementChild;
    for (const card of this.cards.values()) {
      if (card === next) next = next.nextElementSibling;
      else this.box.insertBefore(card, next);
    }
    [...this.cards.values()].forEach((card, place) => (card.querySelector(".show").tabIndex = place ? -1 : 0));
  }

  lay() {
    this.across = this.box.clientWidth;
    if (!this.across) return;
    const gap = isPhone() ? 3 : GAP;
    const wanted = this.hits.map((found) => Math.min(3, Math.max(0.4, shapes.get(found.picture_id) ?? shapeOf(found) ?? 1)));
    const { places, height } = justify(wanted, this.across, this.rowHeight, gap);
    this.places = places;
    this.box.style.height = `${height}px`;
    [...this.cards.values()].forEach((card, index) => {
      const { left, top, width, height: high } = places[index];
      Object.assign(card.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${high}px` });
      card.classList.toggle("narrow", width < 120);
      draw(card, high);
    });
  }

  /** Lay the wall anew once pictures have told their shapes; many at once cost one laying. */
  learn() {
    cancelAnimationFrame(this.learning);
    this.learning = requestAnimationFrame(() => {
      const before = this.measure();
      this.lay();
      this.glide(before);
    });
  }

  measure() {
    const box = this.box.getBoundingClientRect();
    const seen = new Map();
    for (const [id, card] of this.cards) {
      const { left, top, width, height } = card.getBoundingClientRect();
      seen.set(id, { left: left - box.left, top: top - box.top, width, height });
    }
    return seen;
  }

  glide(before) {
    if (wantsNoMotion() || document.hidden) return;
    const box = this.box.getBoundingClientRect();
    const inSight = (place) => place.top + box.top < innerHeight + 200 && place.top + place.height + box.top > -200;
    [...this.cards].forEach(([id, card], index) => {
      const [old, now] = [before.get(id), this.places[index]];
      if (!now || !(inSight(now) || (old && inSight(old)))) return;
      card.getAnimations().forEach((each) => each.cancel());
      if (!old) card.animate([{ opacity: 0, transform: "scale(.92)" }, { opacity: 1, transform: "none" }], GLIDE);
      else if (Math.abs(old.left - now.left) + Math.abs(old.top - now.top) + Math.abs(old.width - now.width) > 1) {
        const [right, down, grown] = [old.left - now.left, old.top - now.top, old.width / now.width];
        card.animate([{ transform: `translate(${right}px, ${down}px) scale(${grown})` }, { transform: "none" }], GLIDE);
      }
    });
  }

  makeTools() {
    const act = (name) => (event) => {
      event.stopPropagation();
      this.acts[name](this.tools.closest(".card").found);
    };
    const tools = element("div", { className: "tools" });
    const buttons = [["use", "Use as reference"], ["more", "More like this"], ["less", "Less like this"], ["open", "Open"]];
    for (const [name, label] of buttons) if (this.acts[name]) tools.append(iconButton(name, label, act(name)));
    return tools;
  }

  /** One set of buttons serves all cards: it goes to the card under the pointer or with the focus. */
  showTools(card) {
    if (!card) this.tools.contains(document.activeElement) || this.tools.remove();
    else if (this.tools.parentElement !== card) card.append(this.tools);
  }

  open(event) {
    const card = event.target.closest(".show")?.closest(".card");
    if (card) this.acts.open(card.found);
  }

  press(event) {
    const card = event.target.closest(".card");
    if (!card || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { r: "use", m: "more", l: "less" }[event.key];
    if (act && this.acts[act]) this.acts[act](card.found);
    else if (WALKED.includes(event.key)) this.focus(walk(this.places, this.hits.indexOf(card.found), event.key));
    else return;
    event.preventDefault();
  }

  focus(place) {
    const card = [...this.cards.values()][place];
    card?.querySelector(".show").focus();
    card?.scrollIntoView({ block: "nearest", behavior: wantsNoMotion() ? "auto" : "smooth" });
  }
}

/** The shape that the index knows, if it does. */
function shapeOf(found) {
  const { width, height } = found.metadata;
  return width > 0 && height > 0 ? width / height : null;
}

function makeCard(found, learned) {
  const picture = element("img", { alt: "", decoding: "async", draggable: false });
  const show = element("button", { type: "button", className: "show" }, picture);
  const words = element("figcaption", {}, element("span", { className: "name" }), element("span", { className: "second" }));
  const card = element("figure", { className: "card" }, show, words, element("span", { className: "near" }));
  card.dataset.id = address(found.picture_id);
  card.drawn = 0;
  picture.addEventListener("error", () => (card.drawn = 0)); // asked for again with the next answer
  picture.addEventListener("load", () => {
    const shape = picture.naturalWidth / picture.naturalHeight;
    if (isCutOut(picture)) card.classList.add("cut");
    card.classList.add("seen");
    if (Math.abs((shapes.get(found.picture_id) ?? shapeOf(found) ?? 1) - shape) > 0.02) learned();
    shapes.set(found.picture_id, shape);
  });
  return card;
}

/** Ask for the picture, as large as it is shown. */
function draw(card, height) {
  const wanted = height * Math.min(2, devicePixelRatio);
  const edge = [160, 320].find((each) => each >= wanted) ?? 640;
  if (edge <= card.drawn) return;
  card.drawn = edge;
  const picture = card.querySelector("img");
  picture.loading = "lazy";
  picture.src = `${card.found.thumbnail}?edge=${edge}`;
}

/** Whether a picture is cut out, with nothing in its corners. */
function isCutOut(picture) {
  if (cutOut.has(picture.src)) return true;
  const dot = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  dot.drawImage(picture, 0, 0, 1, 1, 0, 0, 1, 1);
  const clear = dot.getImageData(0, 0, 1, 1).data[3] === 0;
  if (clear) cutOut.add(picture.src);
  return clear;
}
