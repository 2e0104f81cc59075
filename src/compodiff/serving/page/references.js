// The references of a query: files, ids of the gallery, or embeddings of earlier answers, with a weight each.

/** {kind: "file" | "id" | "embedding", value, label, thumbnail, weight}; a thumbnail is an address, or "". */
export class References {
  constructor(changed) {
    this.all = [];
    this.changed = changed;
  }

  /** The one picture that can be masked, or null. */
  get only() {
    return this.all.length === 1 && this.all[0].kind !== "embedding" ? this.all[0] : null;
  }

  set(...references) {
    this.all.filter((old) => old.kind === "file").forEach((old) => URL.revokeObjectURL(old.thumbnail));
    this.all = references;
    this.changed();
  }

  add(reference) {
    const same = this.all.some((one) => one.kind === reference.kind && one.value === reference.value);
    if (!same && this.all.length < 8) this.all = [...this.all, reference];
    this.changed();
  }

  remove(reference) {
    this.all = this.all.filter((one) => one !== reference);
    this.changed();
  }

  /** Put them into a form as the server takes them: uploads, then ids, then embeddings. */
  write(form) {
    const order = ["file", "id", "embedding"];
    const sorted = [...this.all].sort((one, other) => order.indexOf(one.kind) - order.indexOf(other.kind));
    const names = { file: "reference", id: "reference_id", embedding: "reference_embedding" };
    for (const one of sorted) form.append(names[one.kind], one.value);
    if (sorted.length > 1) sorted.forEach((one) => form.append("weight", one.weight));
  }

  /** Show them in `list`, each with a button that removes it and, where there are several, its weight. */
  render(list) {
    list.replaceChildren(...this.all.map((one) => this.item(one)));
  }

  item(one) {
    const item = document.createElement("li");
    const picture = document.createElement(one.thumbnail ? "img" : "span");
    if (one.thumbnail) Object.assign(picture, { src: one.thumbnail, alt: "" });
    else Object.assign(picture, { className: "unseen", textContent: "↻" });
    const label = document.createElement("span");
    label.className = "label";
    label.textContent = one.label;
    if (this.all.length > 1) label.append(this.weight(one));
    const remove = document.createElement("button");
    Object.assign(remove, { type: "button", className: "plain small", textContent: "✕" });
    remove.setAttribute("aria-label", `Remove ${one.label}`);
    remove.addEventListener("click", () => this.remove(one));
    item.append(picture, label, remove);
    return item;
  }

  weight(one) {
    const weight = document.createElement("input");
    Object.assign(weight, { type: "range", min: 0, max: 2, step: 0.1, value: one.weight });
    weight.setAttribute("aria-label", `How much ${one.label} counts`);
    weight.addEventListener("input", () => (one.weight = Number(weight.value)));
    return weight;
  }
}

export const ofFile = (file) => ({ kind: "file", value: file, label: file.name || "pasted picture", thumbnail: URL.createObjectURL(file), weight: 1 });
export const ofId = (id, name) => ({ kind: "id", value: id, label: name || id, thumbnail: `/thumbnails/${address(id)}?edge=160`, weight: 1 });
export const ofEmbedding = (value, label) => ({ kind: "embedding", value, label, thumbnail: "", weight: 1 });
export const address = (id) => id.split("/").map(encodeURIComponent).join("/");
