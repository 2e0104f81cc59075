// The references of a query: files, ids of the gallery, or embeddings of earlier answers, with a weight each.

/**
 * {kind: "file" | "id" | "embedding", value, label, thumbnail, weight, known}; a thumbnail is an address, or "".
 * `known` of a file is what an answer said of it, {embedding, exclude, cells}: it need not be sent again.
 */
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
    this.all.filter((old) => old.kind === "file" && !references.includes(old)).forEach((old) => URL.revokeObjectURL(old.thumbnail));
    this.all = references;
    this.changed();
  }

  add(reference) {
    const same = this.all.some((one) => one.kind === reference.kind && one.value === reference.value);
    if (!same && this.all.length < 8) this.all = [...this.all, reference];
    this.changed();
  }

  remove(reference) {
    this.set(...this.all.filter((one) => one !== reference));
  }

  /** Put them into a form as the server takes them: uploads, then ids, then embeddings. */
  write(form) {
    const names = { file: "reference", id: "reference_id", embedding: "reference_embedding" };
    if (this.only?.known) {
      form.append(names.embedding, this.only.known.embedding);
      for (const each of this.only.known.exclude) form.append("exclude", each);
      return;
    }
    const order = Object.keys(names);
    const sorted = [...this.all].sort((one, other) => order.indexOf(one.kind) - order.indexOf(other.kind));
    for (const one of sorted) form.append(names[one.kind], one.value);
    if (sorted.length > 1) sorted.forEach((one) => form.append("weight", one.weight));
  }
}

export const address = (id) => id.split("/").map(encodeURIComponent).join("/");
export const thumbnailOf = (id, edge = 160) => `/thumbnails/${address(id)}?edge=${edge}`;
export const ofFile = (file, label = file.name) => ({ kind: "file", value: file, label: label || "pasted picture", thumbnail: URL.createObjectURL(file), weight: 1 });
export const ofId = (id, name) => ({ kind: "id", value: id, label: name || id, thumbnail: thumbnailOf(id), weight: 1 });
export const ofEmbedding = (value, label, thumbnail = "") => ({ kind: "embedding", value, label, thumbnail, weight: 1 });
