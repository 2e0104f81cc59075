// A mask over the reference: painted or selected, undone by steps, sent as a black and white picture of its shape.

import { $ } from "./elements.js";
import { page } from "./page.js";
import { readColours, selectRegion } from "./region.js";
import { Zoom } from "./zoom.js";

const LONGER = 512; // pixels of the mask's longer edge
const CELLS = 64;
const COLOUR = "#e11d48b0";
const TOOLS = { b: "brush", e: "eraser", s: "select" };
const REACH = 4; // of colours, for each step of the slider

export class Mask {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.sizes = { brush: 14, select: 14 }; // per cent of the shorter edge; of the selection, how far colours may differ
    this.tool = "brush";
    this.cursor = null;
    this.colours = null; // of the picture below, once something was selected in it
    this.zoom = new Zoom(canvas.parentElement, canvas.parentElement.parentElement, $("editor"));
    this.zoom.onPinch = () => { this.painting = null; this.undo(); }; // the dot of the finger that came first
    this.painting = null; // the stroke that the pointer draws
    this.forget();
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerleave", () => { this.cursor = null; this.draw(); });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    $("editor").addEventListener("keydown", (event) => this.key(event));
    $("editor").addEventListener("close", () => { this.cursor = null; this.draw(); this.before === this.state || this.changed(); });
    for (const tool of Object.values(TOOLS)) $(tool).addEventListener("click", () => this.take(tool));
    $("brush-size").addEventListener("input", () => this.resize(Number($("brush-size").value)));
    $("undo").addEventListener("click", () => this.undo());
    $("invert").addEventListener("click", () => this.add({ invert: true }));
    $("clear").addEventListener("click", () => { this.forget(); this.draw(); });
  }

  get painted() {
    return this.strokes.length > 0 || this.cells !== null;
  }

  /** Changes with every stroke. */
  get state() {
    const last = this.strokes.at(-1);
    return `${this.strokes.length} ${last?.points?.length} ${last?.reach} ${this.cells}`;
  }

  edit() {
    this.before = this.state;
    $("editor").showModal();
    this.zoom.reset();
    this.canvas.focus();
    this.draw();
  }

  /** Take the shape of a picture. */
  fit(width, height) {
    const scale = LONGER / Math.max(width, height);
    this.canvas.width = Math.max(1, Math.round(width * scale));
    this.canvas.height = Math.max(1, Math.round(height * scale));
    this.canvas.parentElement.style.setProperty("--shape", width / height);
    this.colours = null;
    this.draw();
    if (this.painted) this.changed();
  }

  forget() {
    this.strokes = [];
    this.cells = null; // of a link: base64 of 64 x 64 bits, below all strokes
    this.sent = null; // the cells that an answer said these strokes to be
  }

  takeCells(cells) {
    this.forget();
    this.cells = cells;
    this.draw();
  }

  undo() {
    if (this.strokes.length) this.strokes.pop();
    else this.cells = null;
    this.sent = null;
    this.draw();
  }

  take(tool) {
    this.tool = tool;
    for (const each of Object.values(TOOLS)) $(each).setAttribute("aria-pressed", each === tool);
    $("size-of").textContent = tool === "select" ? "Reach" : "Size";
    $("brush-size").setAttribute("aria-label", tool === "select" ? "How far colours may differ" : "Size of the brush");
    $("brush-size").value = this.size;
    this.draw();
  }

  get size() {
    return this.sizes[this.tool === "select" ? "select" : "brush"];
  }

  /** Set the size of the brush, or how far a selection reaches: of the one just made too. */
  resize(size) {
    const most = Math.max(3, Math.min(40, size));
    this.sizes[this.tool === "select" ? "select" : "brush"] = most;
    $("brush-size").value = most;
    const last = this.strokes.at(-1);
    if (this.tool === "select" && last?.region) this.select(this.strokes.pop());
    this.draw();
  }

  /** Add what belongs to a point of the picture, or take it away. */
  select({ at, erase }) {
    this.colours ??= readColours($("preview"), this.canvas.width, this.canvas.height);
    this.add({ region: selectRegion(this.colours, at, REACH * this.size), at, erase, reach: this.size });
  }

  /** Paint or select at a point. */
  touch(at, erase) {
    if (this.tool === "select") this.select({ at, erase });
    else this.add({ size: this.brush(), points: [at], erase: erase || this.tool === "eraser" });
  }

  add(stroke) {
    this.sent = null;
    this.strokes.push(stroke);
    this.draw();
  }

  /** Put it into a form: as cells where they are known, or as a picture. */
  async write(form) {
    if (!this.painted) return;
    const cells = this.sent ?? (this.strokes.length ? null : this.cells);
    if (cells) {
      form.append("mask_cells", cells);
      return;
    }
    const sheet = document.createElement("canvas");
    Object.assign(sheet, { width: this.canvas.width, height: this.canvas.height });
    const context = sheet.getContext("2d");
    context.drawImage(this.paint("#fff"), 0, 0);
    context.globalCompositeOperation = "destination-over";
    context.fillRect(0, 0, sheet.width, sheet.height);
    form.append("mask", await new Promise((done) => sheet.toBlob(done, "image/png")), "mask.png");
  }

  begin(event) {
    event.preventDefault();
    this.canvas.focus();
    this.canvas.setPointerCapture(event.pointerId);
    this.touch(this.at(event), event.button === 2);
    this.painting = this.strokes.at(-1);
  }

  move(event) {
    this.cursor = this.at(event);
    if (event.buttons) this.painting?.points?.push(...(event.getCoalescedEvents?.() ?? [event]).map((each) => this.at(each)));
    this.draw();
  }

  key(event) {
    if (event.target.matches("input")) return;
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const { width, height } = this.canvas;
    if (event.key in steps && event.target === this.canvas) {
      const [right, down] = steps[event.key];
      const [x, y] = this.cursor ?? [width / 2, height / 2];
      this.cursor = [clamp(x + (right * this.brush()) / 2, width), clamp(y + (down * this.brush()) / 2, height)];
    } else if (event.key === " " && event.target === this.canvas) {
      this.touch((this.cursor ??= [width / 2, height / 2]), event.shiftKey);
    } else if (event.key === "u" || event.key === "z") this.undo();
    else if (event.key in TOOLS) this.take(this.tool === TOOLS[event.key] ? "brush" : TOOLS[event.key]);
    else if (event.key === "[" || event.key === "]") this.resize(this.size + (event.key === "]" ? 3 : -3));
    else return;
    event.preventDefault();
    this.draw();
  }

  /** Diameter of the brush in pixels of the mask. */
  brush() {
    return (this.size / 100) * Math.min(this.canvas.width, this.canvas.height);
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * this.canvas.width,
      ((event.clientY - box.top) / box.height) * this.canvas.height,
    ];
  }

  draw() {
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.drawImage(this.paint(COLOUR), 0, 0);
    $("undo").disabled = $("clear").disabled = !this.painted;
    if (!this.cursor || !$("editor").open) return;
    for (const [colour, width] of [["#fff", 4], ["#000", 2]]) { // a ring that is seen on any ground
      Object.assign(context, { strokeStyle: colour, lineWidth: width });
      context.beginPath();
      context.arc(...this.cursor, this.tool === "select" ? 6 : this.brush() / 2, 0, 7);
      context.stroke();
    }
  }

  /** What is painted, in one colour on nothing. */
  paint(colour) {
    const sheet = document.createElement("canvas");
    Object.assign(sheet, { width: this.canvas.width, height: this.canvas.height });
    const context = sheet.getContext("2d");
    context.lineCap = context.lineJoin = "round";
    if (this.cells !== null) paintCells(context, this.cells);
    for (const { size, points, region, erase, invert } of this.strokes) {
      context.globalCompositeOperation = invert ? "xor" : erase ? "destination-out" : "source-over";
      if (invert) context.fillRect(0, 0, sheet.width, sheet.height);
      else if (region) context.drawImage(region, 0, 0);
      else paintStroke(context, size, points);
    }
    Object.assign(context, { globalCompositeOperation: "source-in", fillStyle: colour });
    context.fillRect(0, 0, sheet.width, sheet.height);
    return sheet;
  }
}

function paintStroke(context, size, points) {
  context.beginPath();
  context.arc(...points[0], size / 2, 0, 7);
  context.fill();
  context.lineWidth = size;
  context.beginPath();
  points.forEach((point) => context.lineTo(...point));
  context.stroke();
}

function paintCells(context, cells) {
  const bytes = Uint8Array.from(atob(cells.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
  const [left, top, across, down] = findSeen(context.canvas);
  const [wide, high] = [across / CELLS, down / CELLS];
  for (let cell = 0; cell < CELLS * CELLS; cell++) {
    if (!(bytes[cell >> 3] & (128 >> (cell & 7)))) continue;
    const [row, column] = [Math.floor(cell / CELLS), cell % CELLS];
    context.fillRect(left + column * wide, top + row * high, wide + 0.5, high + 0.5);
  }
}

/** What the encoder sees of a picture: [left, top, width, height]; cells divide that. */
function findSeen({ width, height }) {
  const edge = { longest: Math.max, shortest: Math.min }[page.served.encoder.picture.resize_mode]?.(width, height);
  return edge ? [(width - edge) / 2, (height - edge) / 2, edge, edge] : [0, 0, width, height];
}

const clamp = (value, most) => Math.min(most, Math.max(0, value));
