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

/** The query as a command; it asks the server that this page came from. */
export function makeCurl(query) {
  const quote = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;
  return [`curl ${location.origin}/search`, ...listFields(query).map((pair) => `--form-string ${quote(pair.join("="))}`)].join(" \\\n  ");
}

export function makePython(query) {
  const fields = {};
  for (const [name, value] of listFields(query)) (fields[name] ??= []).push(String(value));
  const data = JSON.stringify(fields, null, 4);
  return `import httpx\n\nanswer = httpx.post(\n    "${location.origin}/search",\n    data=${data.replaceAll("\n", "\n    ")},\n)\nfor hit in answer.raise_for_status().json()["results"]:\n    print(hit["rank"], hit["score"], hit["name"])\n`;
}

function listFields(query) {
  const said = Object.entries(query).flatMap(([name, value]) => [value].flat().map((one) => [name, one]));
  return said.filter(([, one]) => one !== null && one !== undefined && one !== "");
}

function quoteCell(value) {
  const text = value == null ? "" : String(value);
  // A spreadsheet would run a cell that begins like a formula.
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
