"""Embed a set, shard by shard: what was embedded before by the same encoder is taken over, the rest is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from compodiff.embeddings.joining import EarlierPart, Part, join_parts
from compodiff.embeddings.set_arrays import Arrays, SetEmbeddings
from compodiff.embeddings.set_pass import SetEmbedder, ShardTask, plan_rows
from compodiff.embeddings.set_texts import choose_kept, embed_texts
from compodiff.encoders import load_encoder
from compodiff.encoders.manifest import EncoderManifest, require_same
from compodiff.errors import CompoDiffError
from compodiff.execution import count_workers, map_shards
from compodiff.images.decoding import DIGEST_BYTES
from compodiff.images.mask_cells import MASK_SIZE
from compodiff.params import EmbeddingParams
from compodiff.sets import TrainingSet, open_set
from compodiff.storage.atomic import replace_folder, replace_path, write_json
from compodiff.storage.claims import claim_folder
from compodiff.storage.json_files import read_json
from compodiff.storage.ownership import delete_folder, require_replaceable_folder

KIND = "embeddings"
_WORK = "parts of embeddings"
_NULL = "null"  # the part that holds the null text, and no row


def embed_set(folder: Path, address: Path | str, encoder: Path, params: EmbeddingParams) -> None:
    """Embed the set at `address` and write it as `folder` (layout in set_arrays.py), whole or not at all.

    Finished shards wait in a hidden folder beside it. Shards that an earlier run embedded with the same encoder and
    params are taken over; of one whose encoder had other text parts, the pictures are.

    Raises:
        InputInvalid: the set or a shard of it cannot be read, or `folder` holds something else.
        EncoderMismatch: the encoder's weights are not those of its manifest, or the set was embedded by another one.
        ResourceUnavailable: the disk is full or a worker was killed; finished shards are kept.
    """
    opened = open_set(address)
    description = opened.description
    manifest = EncoderManifest.from_json(read_json(encoder / "manifest.json"))
    made_with = {"encoder": manifest.identify(), "params": params.describe_vectors()}
    require_replaceable_folder(folder, KIND)
    if description.vectors:
        theirs = EncoderManifest.from_json(dict(description.vectors.encoder))
        require_same(manifest, theirs, f"the set {folder.name}, whose pictures are embedded already,")
    kept = _choose_kept(opened, manifest, params, folder.name)
    work = folder.with_name(f".{folder.name}.work")
    claim_folder(work, made_with | {"texts": kept}, _WORK, ("*.npz",))
    found = _find_earlier(folder, manifest, params)
    earlier = found.parts if (found.encoder, found.kept) == (manifest, kept) else {}
    tasks = {
        shard.sha256: ShardTask(shard, work / f"{shard.sha256}.npz", found.parts.get(shard.sha256))
        for shard in description.shards
    }
    missing = [task for sha256, task in tasks.items() if sha256 not in earlier and not task.to.exists()]
    total = sum(shard.rows for shard in description.shards)
    done = total - sum(task.shard.rows for task in missing)
    with tqdm(desc=f"embedding {folder.name}", total=total, initial=done, unit=" rows", disable=None) as bar:
        embedder = SetEmbedder(str(address), encoder, params, kept)
        for _, rows in map_shards(embedder, missing, workers=count_workers()):
            bar.update(rows)
    if _NULL not in earlier and not (work / f"{_NULL}.npz").exists():
        _write_null(work / f"{_NULL}.npz", encoder, params, kept)
    names = [_NULL, *(shard.sha256 for shard in description.shards)]
    parts = [earlier.get(name) or Part(work / f"{name}.npz") for name in names]
    with replace_folder(folder, KIND) as temporary:
        join_parts(temporary, parts, kept, len(manifest.texts))
        lengths = [part.count_all_rows(kept, len(manifest.texts)) for part in parts]
        listed = [{"sha256": name, "lengths": own} for name, own in zip(names, lengths, strict=True)]
        described = made_with | {"set": description.digest, "texts": kept, "parts": listed}
        write_json(temporary / "manifest.json", described)
    delete_folder(work, _WORK)


def _choose_kept(opened: TrainingSet, encoder: EncoderManifest, params: EmbeddingParams, name: str) -> str:
    """Return what of texts is kept, judged by those of the first shard."""
    shards = opened.description.shards
    if params.texts != "auto" or not shards:
        return choose_kept(params, encoder, [], 1.0, name)
    plan = plan_rows(opened.read_rows(shards[0]).to_pylist(), opened.description.kind, params)
    return choose_kept(params, encoder, plan.texts, shards[0].rows / sum(shard.rows for shard in shards), name)


@dataclass(frozen=True)
class _Earlier:
    """What an earlier run made of the same pictures.

    Attributes:
        parts: by the digest of their shard.
        encoder: that made them; another one may differ in its text parts only.
        kept: of texts.
    """

    parts: Mapping[str, EarlierPart] = field(default_factory=dict)
    encoder: EncoderManifest | None = None
    kept: str = ""


def _find_earlier(folder: Path, encoder: EncoderManifest, params: EmbeddingParams) -> _Earlier:
    try:
        embeddings = SetEmbeddings.load(folder)
        own = embeddings.encoder
        if own.picture != encoder.picture or embeddings.manifest["params"] != params.describe_vectors():
            return _Earlier()
        return _Earlier(EarlierPart.list_all(embeddings), own, embeddings.kept)
    except (CompoDiffError, KeyError, TypeError):
        return _Earlier()


def _write_null(path: Path, encoder: Path, params: EmbeddingParams, kept: str) -> None:
    """Write the part of the empty text."""
    loaded = load_encoder(encoder)
    width = loaded.manifest.embedding_dim
    no_examples = dict.fromkeys(("text_to_image", "masked", "triplet", "scored"), np.empty((0, 5), np.int64))
    arrays: Arrays = {
        **no_examples,
        "negatives": np.empty((0, 2), np.int64),
        "images": np.empty((0, width), np.float16),
        "masks": np.empty((0, MASK_SIZE * MASK_SIZE // 8), np.uint8),
        "digests": np.empty((0, DIGEST_BYTES), np.uint8),
        "states": np.empty(0, np.uint8),
        "keys": np.empty(0, np.uint64),
        "splits": np.empty(0, np.uint8),
        **embed_texts(loaded, [""], params, kept),
    }
    with replace_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
