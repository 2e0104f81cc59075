// The address of an answer: its query, with every dial and the seed, behind the #. Nothing of it reaches a server's log.

/** The part of an address that asks `query` (of an answer) again. */
export function linkOf(query) {
  const parts = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one !== null && one !== "") parts.append(name, one);
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
