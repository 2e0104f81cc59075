// A picture larger than its frame: by buttons, keys, Ctrl and the wheel, or two fingers; the frame scrolls.

import { $ } from "./elements.js";

const MOST = 8;
const FACTOR = 1.4;

export class Zoom {
  /** `sheet` gets --zoom and lies in `frame`, which scrolls; `within` hears keys. */
  constructor(sheet, frame, within) {
    Object.assign(this, { sheet, frame, factor: 1, fingers: new Map() });
    $("zoom-in").addEventListener("click", () => this.by(FACTOR));
    $("zoom-out").addEventListener("click", () => this.by(1 / FACTOR));
    within.addEventListener("keydown", (event) => {
      const act = { "+": () => this.by(FACTOR), "=": () => this.by(FACTOR), "-": () => this.by(1 / FACTOR), 0: () => this.reset() }[event.key];
      if (!act || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      act();
    });
    frame.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the wheel alone scrolls
      event.preventDefault();
      this.by(Math.exp(-event.deltaY / 300), [event.clientX, event.clientY]);
    }, { passive: false });
    // Before the brush hears of it: two fingers move the picture and paint nothing.
    for (const kind of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) frame.addEventListener(kind, (event) => this.feel(event), true);
  }

  reset() {
    this.by(1 / this.factor);
  }

  /** Make it larger, keeping what is at `point` of the window where it is; the middle of the frame if not said. */
  by(factor, point) {
    const frame = this.frame.getBoundingClientRect();
    const [x, y] = point ?? [frame.left + frame.width / 2, frame.top + frame.height / 2];
    const before = this.sheet.getBoundingClientRect();
    this.factor = Math.max(1, Math.min(MOST, this.factor * factor));
    this.sheet.style.setProperty("--zoom", this.factor);
    const after = this.sheet.getBoundingClientRect();
    this.frame.scrollLeft += after.left + ((x - before.left) / before.width) * after.width - x;
    this.frame.scrollTop += after.top + ((y - before.top) / before.height) * after.height - y;
    $("zoom-out").disabled = this.factor === 1;
    $("zoom-in").disabled = this.factor === MOST;
  }

  feel(event) {
    if (event.pointerType !== "touch") return;
    const two = this.fingers.size === 2;
    const before = two ? this.measure() : null;
    if (event.type === "pointerdown" || (event.type === "pointermove" && this.fingers.has(event.pointerId))) this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    else this.fingers.delete(event.pointerId);
    if (this.fingers.size < 2) return;
    event.stopPropagation();
    if (event.type === "pointerdown") return this.onPinch?.();
    if (!two) return;
    const now = this.measure();
    this.frame.scrollLeft -= now.x - before.x;
    this.frame.scrollTop -= now.y - before.y;
    this.by(now.apart / before.apart, [now.x, now.y]);
  }

  measure() {
    const [[x, y], [u, v]] = this.fingers.values();
    return { x: (x + u) / 2, y: (y + v) / 2, apart: Math.max(1, Math.hypot(x - u, y - v)) };
  }
}
