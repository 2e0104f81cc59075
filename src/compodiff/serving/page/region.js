// What belongs together in a picture: the pixels around a point that are of its colour, up to where the colour breaks.

const STEP = 0.45; // of the reach: the most that two neighbours may differ by, so that a region ends at an edge
const SEED = 2; // pixels around the point whose mean colour is looked for
const GROWN = 2; // pixels that a region is wider than what was found: edges are blurred

/** The pixels of a picture, to be selected in: {width, height, colours}, four numbers a pixel. */
export function readColours(picture, width, height) {
  const sheet = new OffscreenCanvas(width, height);
  const context = sheet.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const colours = new Float32Array(data.length);
  for (let at = 0; at < data.length; at += 4) {
    const light = 0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2];
    // Light counts less than hue: one thing has lit and shaded sides. What is cut away is far from every colour.
    colours[at] = 0.6 * light;
    colours[at + 1] = 1.1 * (data[at + 2] - light);
    colours[at + 2] = 1.1 * (data[at] - light);
    colours[at + 3] = 2 * data[at + 3];
  }
  return { width, height, colours };
}

/** A canvas that is opaque where the region around (x, y) is; `reach` is how far colours may be from that point's. */
export function selectRegion({ width, height, colours }, [x, y], reach) {
  const [column, row] = [Math.min(width - 1, Math.max(0, Math.floor(x))), Math.min(height - 1, Math.max(0, Math.floor(y)))];
  const seed = meanAround(colours, width, height, column, row);
  const inside = new Uint8Array(width * height);
  const open = [row * width + column];
  inside[open[0]] = 1;
  while (open.length) {
    const here = open.pop();
    const across = here % width;
    for (const next of [across > 0 ? here - 1 : -1, across < width - 1 ? here + 1 : -1, here - width, here + width]) {
      if (next < 0 || next >= inside.length || inside[next]) continue;
      if (isFar(colours, next * 4, seed, 0, reach) || isFar(colours, next * 4, colours, here * 4, STEP * reach)) continue;
      inside[next] = 1;
      open.push(next);
    }
  }
  return draw(inside, width, height);
}

function isFar(colours, at, others, there, most) {
  let sum = 0;
  for (let part = 0; part < 4; part++) sum += (colours[at + part] - others[there + part]) ** 2;
  return sum > most * most;
}

/** The mean colour of the pixels around one, of those as opaque as it is. */
function meanAround(colours, width, height, column, row) {
  const sum = [0, 0, 0, 0];
  let count = 0;
  const own = colours[(row * width + column) * 4 + 3];
  for (let down = Math.max(0, row - SEED); down <= Math.min(height - 1, row + SEED); down++) {
    for (let across = Math.max(0, column - SEED); across <= Math.min(width - 1, column + SEED); across++) {
      const at = (down * width + across) * 4;
      if (Math.abs(colours[at + 3] - own) > 100) continue;
      for (let part = 0; part < 4; part++) sum[part] += colours[at + part];
      count++;
    }
  }
  return sum.map((each) => each / count);
}

function draw(inside, width, height) {
  const found = new OffscreenCanvas(width, height);
  const pixels = new ImageData(width, height);
  inside.forEach((is, at) => { pixels.data[at * 4 + 3] = 255 * is; });
  found.getContext("2d").putImageData(pixels, 0, 0);
  const grown = new OffscreenCanvas(width, height);
  for (let down = -GROWN; down <= GROWN; down++) {
    for (let across = -GROWN; across <= GROWN; across++) grown.getContext("2d").drawImage(found, across, down);
  }
  return grown;
}
