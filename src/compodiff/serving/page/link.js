// The address of an answer: its query, with every dial and the seed, behind the #. Nothing of it reaches a server's log.

const THUMBNAIL = 40; // pixels: of a dropped picture, so that a link can show what it is about

/** The part of an address that asks `query` (of an answer) again; `besides` is {name: value or values}. */
export function linkOf(query, besides = {}) {
  const parts = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...query, ...besides })) {
    if (name === "k") continue; // the page shows as many as are scrolled to
    for (const one of [value].flat()) if (one !== null && one !== undefined && one !== "") parts.append(name, one);
  }
  return `#${parts}`;
}

/** What an address asks, as URLSearchParams; null where it asks nothing. */
export function asked(hash) {
  const parts = new URLSearchParams(hash.slice(1));
  return [...parts].length ? parts : null;
}

/** Copy an address; false where the browser does not let a page do so (it does on localhost and over https). */
export async function copied(address) {
  try {
    await navigator.clipboard.writeText(address);
    return true;
  } catch {
    return false;
  }
}

/** A picture as a data address of some 600 bytes; "" where this browser cannot show it. */
export async function shrink(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const scale = THUMBNAIL / Math.max(bitmap.width, bitmap.height);
    const sheet = Object.assign(document.createElement("canvas"), {
      width: Math.max(1, Math.round(bitmap.width * scale)),
      height: Math.max(1, Math.round(bitmap.height * scale)),
    });
    sheet.getContext("2d").drawImage(bitmap, 0, 0, sheet.width, sheet.height);
    return sheet.toDataURL("image/webp", 0.5);
  } catch {
    return "";
  }
}
