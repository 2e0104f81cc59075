// Searches that a person keeps: links in this browser's own store, shown on the first screen.

import { $, iconButton } from "./elements.js";
import { keep, readKept } from "./store.js";
import { makeStep } from "./trail.js";

const NAME = "searches";
const MOST = 24;

/** Keep a search {link, text, thumbnail}, the newest first; false where this browser keeps nothing. */
export function keepSearch(search) {
  return write([search, ...read().filter((each) => each.link !== search.link)].slice(0, MOST));
}

/** Show what is kept, here and when another tab keeps one; `follow` gets the link of the one that is pressed. */
export function showKept(follow) {
  const show = () => {
    const kept = read();
    $("saved").hidden = kept.length === 0;
    $("searches").replaceChildren(...kept.map(({ link, text, thumbnail }) => {
      const item = makeStep(thumbnail, text, () => follow(link));
      item.lastElementChild.replaceWith(iconButton("close", `Forget ${text ? `“${text}”` : "this search"}`, () => {
        write(read().filter((each) => each.link !== link));
        show();
      }));
      return item;
    }));
  };
  addEventListener("storage", (event) => event.key === NAME && show());
  show();
  return show;
}

function read() {
  try {
    const kept = JSON.parse(readKept(NAME) ?? "[]");
    return Array.isArray(kept) ? kept.filter((each) => typeof each?.link === "string") : [];
  } catch {
    return [];
  }
}

function write(searches) {
  return keep(NAME, JSON.stringify(searches));
}
