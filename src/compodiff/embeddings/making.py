"""Embed everything that training reads, in chunks: a run that was killed makes only the chunks that are missing.

Shapes: n pictures and m masked pictures of a chunk, t texts of a chunk, L tokens, D embedding width.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from compodiff.embeddings.masking import blank_masked, draw_mask, find_drawn_cells
from compodiff.encoders.encoder import Encoder
from compodiff.execution.prefetch import map_ahead
from compodiff.images.mask_cells import MASK_SIZE
from compodiff.params import EmbeddingParams
from compodiff.storage.atomic import replace_folder, replace_path, write_json
from compodiff.storage.ownership import delete_folder, is_marked, mark_folder, require_replaceable_folder
from compodiff.storage.shards import claim_folder

KIND = "embeddings"
_WORK = "chunks of embeddings"
_FILES = frozenset(
    ("pictures.npy", "masked.npy", "masks.npy", "texts_pooled.npy", "text_tokens.npy", "text_offsets.npy",
     "pictures.parquet", "texts.parquet", "masked_pictures.parquet", "manifest.json")
)  # fmt: skip
BATCHES_PER_CHUNK = 8
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class ExactMask:
    """A region of a picture that is known to be edited.

    Attributes:
        target: the picture that comes of it, equal outside the region.
        split: of both pictures.
        cells: (64, 64) True where they differ.
    """

    target: str
    split: str
    cells: NDArray[np.bool_]


@dataclass(frozen=True)
class EmbeddingMaterial:
    """What is embedded.

    Attributes:
        pictures: picture ids, in the order of the rows.
        read: picture_id -> picture.
        digest: changes whenever what `read` returns changes.
        masked_splits: picture_id -> split of the pictures that get masked variants of drawn masks.
        texts: any order, repetitions allowed; the empty text is added.
        exact_masks: picture_id -> masks that are known; each gives a masked variant.
    """

    pictures: Sequence[str]
    read: Callable[[str], Image.Image]
    digest: str
    masked_splits: Mapping[str, str]
    texts: Sequence[str]
    exact_masks: Mapping[str, Sequence[ExactMask]] = field(default_factory=dict)


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
    masked = [variant for name in material.pictures for variant in _list_variants(name, material, params)]
    with replace_folder(folder, KIND) as temporary:
        for name in ("pictures", "masked", "masks"):
            _join(temporary / f"{name}.npy", pictures, name)
        for name in ("texts_pooled", "text_tokens"):
            _join(temporary / f"{name}.npy", worded, name)
        lengths = np.concatenate([_load(chunk, "lengths") for chunk in worded])
        np.save(temporary / "text_offsets.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        _write_table(temporary / "pictures.parquet", picture_id=list(material.pictures))
        _write_table(temporary / "texts.parquet", text=texts)
        columns = {column: [variant[column] for variant in masked] for column in ("picture_id", "split", "target")}
        _write_table(temporary / "masked_pictures.parquet", **columns)
        write_json(temporary / "manifest.json", encoder.manifest.to_json())
    delete_folder(work, _WORK)


def _make_fingerprint(
    encoder: Encoder, material: EmbeddingMaterial, texts: Sequence[str], params: EmbeddingParams
) -> dict[str, Any]:
    exact = [
        (name, mask.target, mask.split, mask.cells.tobytes())
        for name, masks in sorted(material.exact_masks.items())
        for mask in masks
    ]
    names = [list(material.pictures), sorted(material.masked_splits.items()), exact, texts]
    return {
        "encoder": encoder.manifest.to_json(),
        "params": params.model_dump(),
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
    """Embed pictures, (n, D), and their masked variants, (m, D), with the packed masks, (m, 512)."""
    width = encoder.manifest.embedding_dim
    embedded, masked = [np.empty((0, width), np.float32)], [np.empty((0, width), np.float32)]
    packed = [np.empty((0, MASK_SIZE * MASK_SIZE // 8), np.uint8)]
    prepare = partial(_prepare_pictures, encoder, material, params)
    for pixels, variants, masks in map_ahead(prepare, _split_batches(names, params.batch_size)):
        embedded.append(_encode(encoder, pixels))
        if not len(masks):
            continue
        masked.append(_encode(encoder, variants))
        packed.append(np.packbits(masks.reshape(len(masks), -1), axis=1))
    return {"pictures": np.concatenate(embedded), "masked": np.concatenate(masked), "masks": np.concatenate(packed)}


def _prepare_pictures(
    encoder: Encoder, material: EmbeddingMaterial, params: EmbeddingParams, names: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor, NDArray[np.bool_]]:
    """Read a batch: pixels (n, 3, H, W), those of its masked variants (m, 3, H, W), and their masks (m, 64, 64)."""
    pictures = [material.read(name) for name in names]
    pixels = torch.stack([encoder.preprocess(picture) for picture in pictures])
    of_each = [_make_masks(name, picture, material, params) for name, picture in zip(names, pictures, strict=True)]
    masks = np.concatenate(of_each)
    places = np.repeat(np.arange(len(names)), [len(own) for own in of_each])
    return pixels, blank_masked(pixels[places], torch.from_numpy(masks)), masks


def _encode(encoder: Encoder, pixels: torch.Tensor) -> NDArray[np.float32]:
    vectors: NDArray[np.float32] = encoder.encode_pixels(pixels).cpu().numpy()
    return vectors


def _list_variants(name: str, material: EmbeddingMaterial, params: EmbeddingParams) -> list[dict[str, str]]:
    """Describe a picture's masked variants, those of drawn masks first; they have no target."""
    drawn = params.masks_per_picture if name in material.masked_splits else 0
    of_drawn = {"picture_id": name, "split": material.masked_splits.get(name, ""), "target": ""}
    exact = material.exact_masks.get(name, ())
    return [of_drawn] * drawn + [{"picture_id": name, "split": it.split, "target": it.target} for it in exact]


def _make_masks(
    name: str, picture: Image.Image, material: EmbeddingMaterial, params: EmbeddingParams
) -> NDArray[np.bool_]:
    """A picture's masks in the order of `_list_variants`, (variants, 64, 64); name and seed decide the drawn ones."""
    generator = np.random.default_rng([params.seed, zlib.crc32(name.encode())])
    fractions = {"min_fraction": params.min_mask_fraction, "max_fraction": params.max_mask_fraction}
    masks = [mask.cells for mask in material.exact_masks.get(name, ())]
    if name in material.masked_splits:
        drawn = find_drawn_cells(picture)
        masks = [draw_mask(drawn, generator, **fractions) for _ in range(params.masks_per_picture)] + masks
    return np.array(masks, np.bool_).reshape(-1, MASK_SIZE, MASK_SIZE)


def _embed_texts(encoder: Encoder, batch_size: int, texts: Sequence[str]) -> Arrays:
    """Embed texts: pooled (t, D), tokens end to end (sum L, D_text) in float16, and their lengths (t,)."""
    pooled, tokens, lengths = [], [], []
    for batch in _split_batches(texts, batch_size):
        encoding = encoder.encode_texts(batch)
        pooled.append(encoding.pooled.cpu().numpy())
        tokens.append(encoding.tokens[encoding.mask].half().cpu().numpy())
        lengths.append(encoding.mask.sum(dim=1).cpu().numpy())
    return {
        "texts_pooled": np.concatenate(pooled),
        "text_tokens": np.concatenate(tokens),
        "lengths": np.concatenate(lengths),
    }


def _split_batches(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _load(chunk: Path, name: str) -> NDArray[Any]:
    with np.load(chunk, allow_pickle=False) as arrays:
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
