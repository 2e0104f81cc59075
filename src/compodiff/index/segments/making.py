"""From vectors to an index, whatever their number: exact in memory where they are few, of segments where they are many.

Shapes: N vectors, D embedding width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from compodiff.encoders.manifest import EncoderManifest
from compodiff.errors import InputInvalid
from compodiff.index import MANIFEST
from compodiff.index.folder import lock_index
from compodiff.index.index import Index, build
from compodiff.index.manifest import IndexManifest, read_manifest, require_segments
from compodiff.index.segments.building import SegmentPlan, add_segment, build_segments, remove_rows
from compodiff.index.segments.engine import send_to_engine
from compodiff.index.segments.lists import KINDS
from compodiff.index.segments.set_source import list_set_shards
from compodiff.index.segments.sources import Shard, list_shards
from compodiff.index.segments.tables import ROW
from compodiff.params import IndexParams
from compodiff.storage.ownership import require_apart

AUTO, FLAT = "auto", "flat"
_AT_SIZE = "ivf_rabitq"


@dataclass(frozen=True)
class VectorsToIndex:
    """What an index of vectors is made from.

    Attributes:
        source: folder of shards (see `sources`), or embeddings of a set.
        encoder: that made the vectors.
        plan: how it is built; of kind AUTO, FLAT or one of `lists.KINDS`.
        adds: they are added to the index that is there.
        set_folder: the set that they are embeddings of, if they are.
    """

    source: Path
    encoder: EncoderManifest
    plan: SegmentPlan
    adds: bool = False
    set_folder: Path | None = None

    def list_shards(self) -> list[Shard]:
        """Return the shards of the source (see `list_shards`, `list_set_shards`)."""
        if self.set_folder is not None:
            return list_set_shards(self.source, self.set_folder, self.encoder, Path(self.plan.pictures_root))
        return list_shards(self.source, self.encoder.embedding_dim)


def index_vectors(out: Path, asked: VectorsToIndex, params: IndexParams) -> IndexManifest:
    """Build an index over vectors at `out`, or grow the one that is there.

    Raises:
        InputInvalid: there are none, a shard cannot be used, ids repeat, or `out` is no index.
        EncoderMismatch, IndexMismatch: they are not of the width of the encoder, or of the encoder of the index.
        ResourceUnavailable: the disk is full, or another is writing there.
    """
    if asked.plan.kind not in (AUTO, FLAT, *KINDS):
        raise InputInvalid(f"--kind {asked.plan.kind} is not one of: {', '.join((AUTO, FLAT, *KINDS))}")
    require_apart(out, asked.source)
    shards = asked.list_shards()
    if not shards:
        raise InputInvalid(f"the arrays of {asked.source} hold no vector; nothing is indexed")
    with lock_index(out):
        if asked.adds and read_manifest(out).segments is not None:
            return _tell_engine(out, add_segment(out, shards, asked.encoder, asked.plan.id_column))
        if asked.adds:
            held = Index.load(out)
            held.require_encoder(asked.encoder)
            shards = [*list_shards(out, asked.encoder.embedding_dim), *shards]
            made_by = held.manifest.made_by or asked.plan.made_by
            asked = replace(asked, plan=replace(asked.plan, pictures_root=held.manifest.pictures_root, made_by=made_by))
        return _build(out, shards, asked, params)


def _build(out: Path, shards: Sequence[Shard], asked: VectorsToIndex, params: IndexParams) -> IndexManifest:
    count, kind = sum(shard.count for shard in shards), asked.plan.kind
    if kind == AUTO:
        kind = FLAT if count <= params.flat_up_to else _AT_SIZE
    if kind != FLAT:
        return build_segments(out, shards, asked.encoder, replace(asked.plan, kind=kind))
    frames = [frame for shard in shards for frame in shard.read_tables(0, asked.plan.id_column or None)]
    build(
        out,
        embeddings=np.concatenate([shard.read(slice(None)).astype(np.float32) for shard in shards]),
        pictures=pd.concat(frames, ignore_index=True).drop(columns=ROW),
        encoder=asked.encoder,
        params=params.model_copy(update={"flat_up_to": count}),
        pictures_root=asked.plan.pictures_root,
        made_by=asked.plan.made_by,
    )
    return read_manifest(out)


def remove_pictures(folder: Path, picture_ids: Sequence[str]) -> IndexManifest:
    """Take pictures out of the index at size at `folder`, and of the engine that searches it.

    Raises:
        InputInvalid: the index does not hold one of them, or nothing would be left.
        ResourceUnavailable: another is writing there, or the engine cannot be reached; the pictures are out, and
            `index to-engine` tells the engine.
    """
    with lock_index(folder):
        return _tell_engine(folder, remove_rows(folder, picture_ids))


def _tell_engine(folder: Path, manifest: IndexManifest) -> IndexManifest:
    engine = require_segments(manifest).engine
    return send_to_engine(folder, engine["address"]) if engine else manifest


def is_of_segments(folder: Path) -> bool:
    """Return whether `folder` itself is an index at size."""
    return (folder / MANIFEST).is_file() and read_manifest(folder).segments is not None
