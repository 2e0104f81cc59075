// What this browser keeps for the page, as texts by name; where it keeps nothing, the page works all the same.

/** The text that is kept, null where there is none. */
export function readKept(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

/** Keep a text; false where this browser keeps nothing. */
export function keep(name, text) {
  try {
    localStorage.setItem(name, text);
    return true;
  } catch {
    return false;
  }
}
