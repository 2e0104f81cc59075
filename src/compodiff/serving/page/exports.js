// An answer as a file, and its query as a command.

export function download(name, type, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

export function makeCsv(answer) {
  const columns = ["rank", "picture_id", "name", "score", ...Object.keys(answer.results[0]?.metadata ?? {})];
  const rows = answer.results.map((found) => columns.map((name) => quoteCell(name in found ? found[name] : found.metadata[name])));
  return [columns, ...rows].map((row) => row.join(",") + "\r\n").join("");
}

/** The query as a command; it asks the server that this page came from. `wantsToken`: the server asks for one. */
export function makeCurl(query, wantsToken) {
  const quote = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;
  const token = wantsToken ? ['-H "Authorization: Bearer $COMPODIFF_TOKEN"'] : [];
  const parts = [`curl ${quote(`${location.origin}/search`)}`, ...token, "-H 'Content-Type: application/json'", `-d ${quote(JSON.stringify(pickSaid(query)))}`];
  return parts.join(" \\\n  ");
}

export function makePython(query, wantsToken) {
  const lines = [...(wantsToken ? ["import os", ""] : []), "import httpx", "", "answer = httpx.post(", `    "${location.origin}/search",`,
    ...(wantsToken ? ['    headers={"Authorization": "Bearer " + os.environ["COMPODIFF_TOKEN"]},'] : []),
    `    json=${writePython(pickSaid(query), "    ")},`, ")",
    'for hit in answer.raise_for_status().json()["results"]:', '    print(hit["rank"], hit["score"], hit["name"])', ""];
  return lines.join("\n");
}

/** What a query says: without what is empty. */
export function pickSaid(query) {
  const isSaid = (value) => value !== null && value !== undefined && value !== "" && value?.length !== 0;
  return Object.fromEntries(Object.entries(query).filter(([, value]) => isSaid(value)));
}

function writePython(value, indent) {
  if (value === true || value === false) return value ? "True" : "False";
  if (value === null) return "None";
  if (Array.isArray(value)) return `[${value.map((each) => writePython(each, indent)).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  const fields = Object.entries(value).map(([name, each]) => `${indent}    ${JSON.stringify(name)}: ${writePython(each, `${indent}    `)},\n`);
  return `{\n${fields.join("")}${indent}}`;
}

function quoteCell(value) {
  const text = value == null ? "" : String(value);
  // A spreadsheet would run a cell that begins like a formula.
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
