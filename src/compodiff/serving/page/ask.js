// What the page asks: the query as it stands in the fields, to a form for the server, and back from a link.

import { references, mask } from "./bar.js";
import { DIALS, NUMBERS, setDials } from "./dials.js";
import { $ } from "./elements.js";
import { readFilter, takeFilter } from "./filters.js";
import { postJson, getJson } from "./server.js";
import { ofEmbedding, ofId, thumbnailOf } from "./references.js";

const WORDS = ["text", "negative", "subtract"];

/** What no field shows: pictures that were called more or less like the one that is meant, those left out, the trail. */
export const besides = { more: [], less: [], exclude: [], trail: [] };

export function forgetBesides() {
  Object.assign(besides, { more: [], less: [], exclude: [] });
}

export const isEmpty = () => !references.all.length && !$("text").value.trim();

/** The query as a form; `mode` is "composed", "image" or "text". */
export async function makeForm(k, mode = "composed") {
  const form = new FormData();
  references.write(form);
  if (references.all.some((one) => one.kind !== "id")) form.append("embedding", "true"); // for the link, and to send it once
  for (const name of WORDS) if ($(name).value.trim()) form.append(name, $(name).value.trim());
  for (const name of [...DIALS, ...NUMBERS]) if ($(name).value !== "") form.append(name, $(name).value);
  for (const name of ["more", "less", "exclude"]) for (const id of besides[name]) form.append(name, id);
  const filter = readFilter();
  if (filter) form.append("filter", filter);
  if (references.all.length === 1) await mask.write(form);
  form.append("k", k);
  form.append("mode", mode);
  return form;
}

/** Fill the fields with what a link asks (URLSearchParams). */
export async function takeLink(parts) {
  const ids = parts.getAll("reference_id");
  const known = ids.length ? (await getJson(`/pictures?${new URLSearchParams(ids.map((id) => ["picture_id", id]))}`)).pictures : [];
  const names = Object.fromEntries(known.map((each) => [each.picture_id, each.name]));
  const embeddings = parts.getAll("reference_embedding");
  const given = [
    ...ids.map((id) => ofId(id, names[id])),
    ...(await Promise.all(embeddings.map((each, place) => standIn(each, parts.getAll("thumbnail")[place])))),
  ];
  const weights = parts.getAll("weight").map(Number);
  given.forEach((one, place) => { one.weight = weights[place] ?? 1; });
  for (const name of [...WORDS, ...NUMBERS]) $(name).value = parts.get(name) ?? "";
  setDials(Object.fromEntries(DIALS.map((name) => [name, parts.get(name) ?? $(name).value])));
  takeFilter(parts.get("filter") ?? "");
  for (const name of Object.keys(besides)) besides[name] = parts.getAll(name);
  references.set(...given);
  mask.takeCells(parts.get("mask_cells"));
}

/** A reference that only its embedding is known of: shown by its thumbnail, or by the nearest picture there is. */
async function standIn(embedding, thumbnail) {
  if (thumbnail) return ofEmbedding(embedding, "a picture of this link", thumbnail);
  const form = new FormData();
  for (const [name, value] of [["reference_embedding", embedding], ["mode", "image"], ["k", 1]]) form.append(name, value);
  const [nearest] = (await postJson("/search", form)).results;
  return ofEmbedding(embedding, `about like ${nearest?.name ?? "a picture of this link"}`, nearest ? thumbnailOf(nearest.picture_id) : "");
}
