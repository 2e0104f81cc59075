"""Embed the pictures and texts of a benchmark, in chunks: a run that was killed makes only the chunks that are missing.

Shapes: n pictures of a chunk, t texts of a chunk, L tokens, D embedding width.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from compodiff.embeddings.set_texts import name_tokens
from compodiff.embeddings.token_arrays import TokenArrays, find_offsets, join_tokens, name_array
from compodiff.encoders import Encoder, TokenStates
from compodiff.execution.prefetch import map_ahead
from compodiff.params import EmbeddingParams
from compodiff.storage.arrays import open_archive
from compodiff.storage.atomic import replace_folder, replace_path, write_json
from compodiff.storage.claims import claim_folder
from compodiff.storage.ownership import delete_folder, is_marked, mark_folder, require_replaceable_folder

KIND = "embeddings"
_WORK = "chunks of embeddings"
_FILES = frozenset(
    ("pictures.npy", "texts_pooled.npy", "text_tokens.npy", "text_offsets.npy",
     "pictures.parquet", "texts.parquet", "manifest.json")
)  # fmt: skip
BATCHES_PER_CHUNK = 8
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class EmbeddingMaterial:
    """What is embedded.

    Attributes:
        pictures: picture ids, in the order of the rows.
        read: picture_id -> picture.
        digest: changes whenever what `read` returns changes.
        texts: any order, repetitions allowed; the empty text is added.
    """

    pictures: Sequence[str]
    read: Callable[[str], Image.Image]
    digest: str
    texts: Sequence[str]


def make_embeddings(folder: Path, encoder: Encoder, material: EmbeddingMaterial, params: EmbeddingParams) -> None:
    """Embed `material` and write it as the folder `folder` (layout in stored.py), whole or not at all.

    Finished chunks wait in a hidden folder beside it; they are used again only for the same material, encoder and
    params.

    Raises:
        InputInvalid: a picture cannot be read.
        ResourceUnavailable: the disk is full; finished chunks are kept.
    """
    # Sorted by length, so that a batch holds little padding and the empty text has row 0.
    texts = sorted({"", *material.texts}, key=lambda text: (len(text), text))
    work = folder.with_name(f".{folder.name}.work")
    if not is_marked(folder) and {path.name for path in folder.glob("*")} == _FILES:
        mark_folder(folder, KIND, sorted(_FILES))  # of release 0.1, which wrote no markers
    require_replaceable_folder(folder, KIND)
    names = ("pictures-*.npz", "texts-*.npz")
    claim_folder(work, _make_fingerprint(encoder, material, texts, params), _WORK, names)
    embed_pictures = partial(_embed_pictures, encoder, material, params)
    embed_texts = partial(_embed_texts, encoder, params.batch_size)
    pictures = _write_chunks(work, "pictures", material.pictures, params.batch_size, embed_pictures)
    worded = _write_chunks(work, "texts", texts, params.batch_size, embed_texts)
    with replace_folder(folder, KIND) as temporary:
        _join(temporary / "pictures.npy", pictures, "pictures")
        _join(temporary / "texts_pooled.npy", worded, "texts_pooled")
        for part in range(len(encoder.manifest.texts)):
            tokens = name_array("text_tokens", part)
            _join(temporary / f"{tokens}.npy", worded, tokens)
            lengths = np.concatenate([_load(chunk, name_array("lengths", part)) for chunk in worded])
            np.save(temporary / f"{name_array('text_offsets', part)}.npy", find_offsets(lengths))
        _write_table(temporary / "pictures.parquet", picture_id=list(material.pictures))
        _write_table(temporary / "texts.parquet", text=texts)
        write_json(temporary / "manifest.json", encoder.manifest.identify())
    delete_folder(work, _WORK)


def _make_fingerprint(
    encoder: Encoder, material: EmbeddingMaterial, texts: Sequence[str], params: EmbeddingParams
) -> dict[str, Any]:
    names = [list(material.pictures), texts]
    return {
        "encoder": encoder.manifest.identify(),
        "params": params.describe_vectors(),
        "pictures": material.digest,
        "names": hashlib.sha256(repr(names).encode()).hexdigest(),
    }


def _write_chunks(
    work: Path, kind: str, items: Sequence[str], batch_size: int, embed: Callable[[Sequence[str]], Arrays]
) -> list[Path]:
    """Return the chunk files of `items`, after embedding those that are missing."""
    size = batch_size * BATCHES_PER_CHUNK
    plan = [(work / f"{kind}-{start:09d}.npz", items[start : start + size]) for start in range(0, len(items), size)]
    done = sum(len(chunk) for path, chunk in plan if path.exists())
    with tqdm(desc=f"embedding {kind}", total=len(items), initial=done, unit=f" {kind}", disable=None) as progress:
        for path, chunk in plan:
            if path.exists():
                continue
            with replace_path(path) as temporary, temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **embed(chunk))
            progress.update(len(chunk))
    return [path for path, _ in plan]


def _embed_pictures(
    encoder: Encoder, material: EmbeddingMaterial, params: EmbeddingParams, names: Sequence[str]
) -> Arrays:
    """Embed pictures, (n, D)."""
    embedded = [np.empty((0, encoder.manifest.embedding_dim), np.float32)]

    def prepare(batch: Sequence[str]) -> torch.Tensor:
        return torch.stack([encoder.preprocess(material.read(name)) for name in batch])

    for pixels in map_ahead(prepare, _split_batches(names, params.batch_size)):
        embedded.append(encoder.encode_pixels(pixels).cpu().numpy())
    return {"pictures": np.concatenate(embedded)}


def _embed_texts(encoder: Encoder, batch_size: int, texts: Sequence[str]) -> Arrays:
    """Embed texts: pooled (t, D), and for each text part tokens end to end (sum L, D_k) in float16, lengths (t,)."""
    pooled, tokens = [], []
    for batch in _split_batches(texts, batch_size):
        encoding = encoder.encode_texts(batch)
        none = torch.empty(len(batch), 0)
        pooled.append((none if encoding.pooled is None else encoding.pooled).cpu().numpy())
        tokens.append(tuple(_read_states(part) for part in encoding.states))
    return {"texts_pooled": np.concatenate(pooled), **name_tokens(join_tokens(tokens))}


def _read_states(part: TokenStates) -> TokenArrays:
    return TokenArrays(part.tokens[part.mask].half().cpu().numpy(), part.mask.sum(dim=1).cpu().numpy())


def _split_batches(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _load(chunk: Path, name: str) -> NDArray[Any]:
    with open_archive(chunk) as arrays:
        loaded: NDArray[Any] = arrays[name]
    return loaded


def _join(path: Path, chunks: Sequence[Path], name: str) -> None:
    """Write the array `name` of all chunks, one after the other, as one .npy; one chunk is in memory at a time."""
    first = _load(chunks[0], name)
    rows = sum(len(_load(chunk, name)) for chunk in chunks)
    joined = np.lib.format.open_memmap(path, mode="w+", dtype=first.dtype, shape=(rows, *first.shape[1:]))
    start = 0
    for chunk in chunks:
        part = _load(chunk, name)
        joined[start : start + len(part)] = part
        start += len(part)
    joined.flush()


def _write_table(path: Path, **columns: list[str]) -> None:
    pd.DataFrame(columns, dtype="str").to_parquet(path, index=False)
