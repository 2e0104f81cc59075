// The page of the API: what OpenAPI says of each route, and a search to try, as a command, a program and an address.

import { $, element } from "./elements.js";
import { makeCurl, makePython, pickSaid } from "./exports.js";
import { asked, copied, linkOf } from "./link.js";
import { getJson } from "./server.js";
import "./theme.js";

const FIRST = { text: "a red heart", k: 5 };
const TRIED = "/search";
let kind = "curl";
let wantsToken = false;
let described = {}; // the schemas of /openapi.json

async function start() {
  $("go").addEventListener("click", () => guard(send));
  $("body").addEventListener("input", showSame);
  $("copy").addEventListener("click", async () => { $("took").textContent = (await copied($("same").textContent)) ? "Copied." : "This browser lets no page copy."; });
  for (const button of document.querySelectorAll("[data-kind]")) button.addEventListener("click", () => choose(button));
  const api = await getJson("/openapi.json");
  described = api.components.schemas;
  const body = api.paths[TRIED].post.requestBody.content["application/json"].schema;
  $("body").value = JSON.stringify(readLink(body) ?? FIRST, null, 2);
  showSame();
  $("routes").replaceChildren(...Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, route]) => makeRoute(method, path, route))));
  document.body.dataset.ready = "true";
  wantsToken = await asksForToken();
  $("token-note").hidden = !wantsToken;
  showSame();
}

/** Whether a search needs the token; one that this browser keeps in a cookie goes along by itself. */
async function asksForToken() {
  const response = await fetch("/model");
  return response.status === 401 || (response.ok && (await response.json()).wants_token);
}

/** The query of a link of the page, as JSON; null where the address has none. */
function readLink({ properties }) {
  const parts = asked(location.hash);
  if (!parts) return null;
  const query = {};
  for (const name of new Set(parts.keys())) {
    const kinds = properties[name]?.anyOf?.map((each) => each.type) ?? [properties[name]?.type];
    const read = (value, is) => (is.some((each) => each === "number" || each === "integer") ? Number(value) : value);
    if (kinds.includes("array")) query[name] = parts.getAll(name).map((each) => read(each, [properties[name].items.type]));
    else if (kinds[0]) query[name] = read(parts.get(name), kinds);
  }
  return query;
}

function readBody() {
  return JSON.parse($("body").value);
}

function choose(button) {
  kind = button.dataset.kind;
  for (const each of document.querySelectorAll("[data-kind]")) each.setAttribute("aria-pressed", each === button);
  showSame();
}

function showSame() {
  try {
    const query = pickSaid(readBody());
    const address = () => `${location.origin}${TRIED}?${linkOf({ ...query, k: null }).slice(1)}${query.k ? `&k=${query.k}` : ""}`;
    $("same").textContent = { curl: () => makeCurl(query, wantsToken), python: () => makePython(query, wantsToken), address }[kind]();
    fail("");
  } catch (error) {
    fail(`This is no JSON: ${error.message}`);
  }
}

async function send() {
  const began = performance.now();
  const response = await fetch(TRIED, { method: "POST", body: JSON.stringify(readBody()), headers: { "Content-Type": "application/json" } });
  const answer = await response.json();
  $("took").textContent = `${response.status}, ${Math.round(performance.now() - began)} ms`;
  $("answer").hidden = false;
  $("answer").textContent = JSON.stringify(answer, null, 2);
  $("found").replaceChildren(...(answer.results ?? []).map((found) =>
    element("li", {}, element("img", { src: `${found.thumbnail}?edge=160`, alt: found.name, title: found.name }))));
}

function makeRoute(method, path, route) {
  const content = Object.values(route.requestBody?.content ?? {}).map(({ schema }) => (schema.$ref ? described[schema.$ref.split("/").at(-1)] : schema));
  const fields = [
    ...(route.parameters ?? []).map(({ name, schema, description, required }) => [name, { description, ...schema }, required]),
    ...Object.entries(Object.assign({}, ...content.map(({ properties }) => properties))).map(([name, field]) => [name, field, false]),
  ];
  const said = element("dl", { className: "fields" }, ...fields.flatMap(([name, field, required]) =>
    [element("dt", { textContent: name }), element("dd", {}, element("span", { className: "quiet", textContent: `${sayType(field)}${required ? ", required" : ""}. ` }), field.description ?? "")]));
  const head = element("summary", {}, element("b", { textContent: `${method.toUpperCase()} ${path}` }), " ", element("span", { textContent: route.summary ?? "" }));
  const text = route.description ? [element("p", { textContent: route.description })] : [];
  return element("details", { className: "route" }, head, ...text, ...(fields.length ? [said] : []));
}

/** A field's type, range and default in words. */
function sayType(field) {
  const one = field.anyOf?.find((each) => each.type !== "null") ?? field;
  const type = one.type === "array" ? `list of ${one.items.format === "binary" || one.items.contentMediaType ? "files" : one.items.type}` : (one.enum?.join(" | ") ?? one.type ?? "");
  const range = one.minimum !== undefined && one.maximum !== undefined ? ` ${one.minimum} to ${one.maximum}` : "";
  const given = field.default !== undefined && field.default !== null && field.default !== "" && field.default?.length !== 0 ? `, default ${field.default}` : "";
  return `${type}${range}${given}`;
}

function fail(message) {
  $("fault").hidden = !message;
  $("fault").textContent = message;
}

async function guard(act) {
  try {
    await act();
  } catch (error) {
    fail(error.message);
  }
}

guard(start);
