// A brush over the reference: strokes that can be undone, sent as a black and white picture of the reference's shape.

const LONGER = 512; // pixels of the mask's longer edge
const CELLS = 64;

export class Mask {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.strokes = [];
    this.cells = null; // of a link: base64 of 64 x 64 bits, until it is painted over
    this.size = 14; // per cent of the shorter edge
    this.cursor = null;
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  get painted() {
    return this.strokes.length > 0 || this.cells !== null;
  }

  /** Take the shape of a picture; what was painted on another is gone. */
  fit(width, height) {
    const scale = LONGER / Math.max(width, height);
    this.canvas.width = Math.max(1, Math.round(width * scale));
    this.canvas.height = Math.max(1, Math.round(height * scale));
    this.draw();
  }

  clear() {
    this.strokes = [];
    this.cells = null;
    this.draw();
    this.changed();
  }

  undo() {
    if (this.strokes.length) this.strokes.pop();
    else this.cells = null;
    this.draw();
    this.changed();
  }

  /** Put it into a form: as it came from a link, or as a picture. */
  async write(form) {
    if (!this.painted) return;
    if (!this.strokes.length) {
      form.append("mask_cells", this.cells);
      return;
    }
    const sheet = document.createElement("canvas");
    Object.assign(sheet, { width: this.canvas.width, height: this.canvas.height });
    const context = sheet.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, sheet.width, sheet.height);
    this.paint(context, "#fff");
    form.append("mask", await new Promise((done) => sheet.toBlob(done, "image/png")), "mask.png");
  }

  begin(event) {
    event.preventDefault();
    this.canvas.focus();
    this.canvas.setPointerCapture(event.pointerId);
    this.strokes.push({ size: this.brush(), points: [this.at(event)] });
    this.draw();
    this.changed();
  }

  move(event) {
    if (!(event.buttons & 1) || !this.strokes.length) return;
    this.strokes.at(-1).points.push(...(event.getCoalescedEvents?.() ?? [event]).map((each) => this.at(each)));
    this.draw();
  }

  key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const { width, height } = this.canvas;
    this.cursor ??= [width / 2, height / 2];
    if (event.key in steps) {
      const [right, down] = steps[event.key];
      const step = this.brush() / 2;
      this.cursor = [clamp(this.cursor[0] + right * step, width), clamp(this.cursor[1] + down * step, height)];
    } else if (event.key === " ") {
      this.strokes.push({ size: this.brush(), points: [this.cursor] });
      this.changed();
    } else if (event.key === "u" || event.key === "z") this.undo();
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
    this.paint(context, "#e11d48");
    if (this.cursor && document.activeElement === this.canvas) {
      context.strokeStyle = "#000";
      context.lineWidth = 3;
      context.beginPath();
      context.arc(...this.cursor, this.brush() / 2, 0, 7);
      context.stroke();
    }
  }

  paint(context, colour) {
    context.fillStyle = context.strokeStyle = colour;
    context.lineCap = context.lineJoin = "round";
    if (this.cells !== null) this.paintCells(context);
    for (const { size, points } of this.strokes) {
      context.beginPath();
      context.arc(...points[0], size / 2, 0, 7);
      context.fill();
      context.lineWidth = size;
      context.beginPath();
      points.forEach((point) => context.lineTo(...point));
      context.stroke();
    }
  }

  paintCells(context) {
    const bytes = Uint8Array.from(atob(this.cells.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
    const wide = this.canvas.width / CELLS;
    const high = this.canvas.height / CELLS;
    for (let cell = 0; cell < CELLS * CELLS; cell++) {
      if (!(bytes[cell >> 3] & (128 >> (cell & 7)))) continue;
      const [down, right] = [Math.floor(cell / CELLS), cell % CELLS];
      context.fillRect(right * wide, down * high, wide + 0.5, high + 0.5);
    }
  }
}

const clamp = (value, most) => Math.min(most, Math.max(0, value));
