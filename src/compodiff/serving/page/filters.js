// Filters made of the index's own columns (GET /facets); a condition in SQL is a field for experts.

import { $, element } from "./elements.js";

let facets = [];

/** Show a field for every column: `known` is [{name, kind: "choice" | "number" | "date", values: [{value, count, condition}], least, most}]. */
export function showFacets(known) {
  facets = known.map((facet) => ({ ...facet, fields: makeFields(facet) }));
  $("facets").replaceChildren(...facets.map(({ name, fields }) => {
    const label = element("label", { textContent: name.replaceAll("_", " "), htmlFor: fields[0].id });
    return element("div", { className: "facet" }, label, fields.length > 1 ? element("div", { className: "between" }, ...fields) : fields[0]);
  }));
  $("facets").previousElementSibling.hidden = facets.length === 0;
}

function makeFields({ name, kind, values, least, most }) {
  if (kind === "choice") {
    const field = element("select", { id: `facet-${name}` }, element("option", { value: "", textContent: "any" }));
    for (const { value, count } of values) field.append(element("option", { value, textContent: `${value} (${count.toLocaleString("en")})` }));
    return [field];
  }
  return [["from", least], ["to", most]].map(([end, bound]) => {
    const field = element("input", { id: `facet-${name}-${end}`, type: kind, placeholder: kind === "number" ? `${end} ${bound}` : "", step: "any" });
    field.setAttribute("aria-label", `${name} ${end}`);
    return field;
  });
}

/** The condition that the fields and the expert's field say together; "" for none. */
export function readFilter() {
  const said = facets.flatMap(readFacet);
  const own = $("filter").value.trim();
  if (own) said.push(said.length ? `(${own})` : own);
  return said.join(" and ");
}

function readFacet({ name, kind, values, fields }) {
  if (kind === "choice") return values.filter((each) => each.value === fields[0].value).map((each) => each.condition);
  const column = `"${name.replaceAll('"', '""')}"`;
  const [asked, quote] = kind === "date" ? [`${column}::date`, "'"] : [column, ""]; // the last day counts to its end
  return [">=", "<="].flatMap((sign, end) => (fields[end].value ? [`${asked} ${sign} ${quote}${fields[end].value}${quote}`] : []));
}

/** Show the condition of a link: in the columns' fields where they can say it, else in the expert's. */
export function takeFilter(filter) {
  clearFacets();
  let rest = filter;
  for (const facet of facets.filter((each) => each.kind === "choice")) {
    const known = facet.values.find((each) => isFirst(rest, each.condition));
    if (!known) continue;
    facet.fields[0].value = known.value;
    rest = rest.slice(known.condition.length).replace(/^ and /, "");
  }
  $("filter").value = /^\([^()]*\)$/.test(rest) ? rest.slice(1, -1) : rest;
  if ($("filter").value) $("more").open = true;
  return filter !== "";
}

/** Whether a condition begins with a clause that ends there, or goes on with "and". */
const isFirst = (condition, clause) => condition === clause || condition.startsWith(`${clause} and `);

export function clearFacets() {
  for (const { fields } of facets) for (const field of fields) field.value = "";
  $("filter").value = "";
}
