// Rows of pictures that are as wide as the page, each picture in its own shape.

/**
 * Place pictures of these shapes (width / height).
 * Returns {places: [{left, top, width, height, row}], height}; rows are about `target` high.
 */
export function justify(shapes, across, target, gap) {
  const places = [];
  let top = 0;
  let row = 0;
  for (let first = 0; first < shapes.length; row++) {
    let last = first;
    let sum = 0;
    while (last < shapes.length && sum * target + (last - first) * gap < across) sum += shapes[last++];
    // One picture less where the row is then nearer to the height that is wanted.
    const high = (count, whole) => (across - (count - 1) * gap) / whole;
    const full = sum * target + (last - first - 1) * gap >= across - gap;
    if (full && last - first > 1) {
      const less = high(last - first - 1, sum - shapes[last - 1]);
      if (less - target < target - high(last - first, sum)) sum -= shapes[--last];
    }
    // The last row is not blown up to the width of the page.
    const height = full ? high(last - first, sum) : Math.min(target, high(last - first, sum));
    let left = 0;
    for (const shape of shapes.slice(first, last)) {
      places.push({ left, top, width: shape * height, height, row });
      left += shape * height + gap;
    }
    top += height + gap;
    first = last;
  }
  return { places, height: Math.max(0, top - gap) };
}

/** The place next to `at` in the direction of an arrow key; `at` where there is none. */
export function walk(places, at, key) {
  const here = places[at];
  if (key === "ArrowRight") return Math.min(places.length - 1, at + 1);
  if (key === "ArrowLeft") return Math.max(0, at - 1);
  if (key === "Home") return 0;
  if (key === "End") return places.length - 1;
  const row = here.row + { ArrowDown: 1, ArrowUp: -1 }[key];
  const middle = ({ left, width }) => left + width / 2;
  const away = (place) => Math.abs(middle(place) - middle(here));
  let best = at;
  places.forEach((place, index) => {
    if (place.row === row && (best === at || away(place) < away(places[best]))) best = index;
  });
  return best;
}
