"""From vectors to an index, whatever their number: exact in memory where they are few, of segments where they are many.

Shapes: N vectors, D embedding width.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from compodiff.encoders.manifest import EncoderManifest
from compodiff.errors import InputInvalid
from compodiff.index import MANIFEST
from compodiff.index.folder import lock_index
from compodiff.index.gpus import GRAPH, require_graphs
from compodiff.index.index import Index, build
from compodiff.index.manifest import IndexManifest, read_manifest, require_segments
from compodiff.index.segments.building import SegmentPlan, add_segment, build_segments, remove_rows
from compodiff.index.segments.choosing import AUTO, EVERY_KIND, FLAT, IN_MEMORY, NAMED, choose_kind
from compodiff.index.segments.columns import make_frame, unite
from compodiff.index.segments.engine import send_to_engine
from compodiff.index.segments.set_source import list_set_shards
from compodiff.index.segments.sources import Shard, list_shards
from compodiff.index.segments.tables import ROW
from compodiff.machine import read_memory
from compodiff.params import IndexParams
from compodiff.storage.ownership import require_apart

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VectorsToIndex:
    """What an index of vectors is made from.

    Attributes:
        source: folder of shards (see `sources`), or embeddings of a set.
        encoder: that made the vectors.
        plan: how it is built; of one of `choosing.EVERY_KIND`.
        adds: they are added to the index that is there.
        id_column: column of the tables that names pictures; "" for the first of those that usually do.
        set_folder: the set that they are embeddings of, if they are.
    """

    source: Path
    encoder: EncoderManifest
    plan: SegmentPlan
    adds: bool = False
    set_folder: Path | None = None
    id_column: str = ""

    def list_shards(self) -> list[Shard]:
        """Return the shards of the source (see `list_shards`, `list_set_shards`)."""
        if self.set_folder is not None:
            return list_set_shards(self.source, self.set_folder, self.encoder, Path(self.plan.pictures_root))
        return list_shards(self.source, self.encoder.embedding_dim, self.id_column)

    def list_added_shards(self, out: Path, held_root: str) -> list[Shard]:
        """Return the shards of the source, with paths that start from the folder of pictures of the index at `out`.

        Raises:
            InputInvalid: that does not hold the folder that they start from.
        """
        held, own = (Path(os.path.normpath(out / root)) for root in (held_root, self.plan.pictures_root))
        if self.set_folder is not None:
            return replace(self, plan=replace(self.plan, pictures_root=str(held))).list_shards()
        shards = self.list_shards()
        if own == held:
            return shards
        if own.is_relative_to(held):
            return [replace(shard, below=own.relative_to(held).as_posix()) for shard in shards]
        if named := next((shard for shard in shards if shard.names_paths()), None):
            raise InputInvalid(
                f"the paths of {named.place} start from {own}, those of {out} from {held}, which does not hold it; "
                f"if they start from there, too: --pictures {held}"
            )
        return shards


def index_vectors(out: Path, asked: VectorsToIndex, params: IndexParams) -> IndexManifest:
    """Build an index over vectors at `out`, or grow the one that is there.

    Raises:
        InputInvalid: there are none, a shard cannot be used, ids repeat, or `out` is no index.
        EncoderMismatch, IndexMismatch: they are not of the width of the encoder, or of the encoder of the index.
        ResourceUnavailable: the disk is full, another is writing there, or the kind cannot be built here.
    """
    if asked.plan.kind not in EVERY_KIND:
        raise InputInvalid(f"--kind {asked.plan.kind} is not one of: {', '.join(EVERY_KIND)}")
    require_apart(out, asked.source)
    if asked.adds:
        asked = _keep_kind(asked, out)
    if asked.plan.kind == GRAPH:
        require_graphs()
    root = read_manifest(out).pictures_root if asked.adds else ""
    shards = asked.list_added_shards(out, root) if asked.adds else asked.list_shards()
    if not shards:
        raise InputInvalid(f"the arrays of {asked.source} hold no vector; nothing is indexed")
    with lock_index(out):
        if asked.adds and read_manifest(out).segments is not None:
            return _tell_engine(out, add_segment(out, shards, asked.encoder))
        if asked.adds:
            held = Index.load(out)
            held.require_encoder(asked.encoder)
            shards = [*list_shards(out, asked.encoder.embedding_dim, "picture_id"), *shards]
            made_by = held.manifest.made_by or asked.plan.made_by
            asked = replace(asked, plan=replace(asked.plan, pictures_root=root, made_by=made_by))
        return _build(out, shards, asked, params)


def _keep_kind(asked: VectorsToIndex, out: Path) -> VectorsToIndex:
    """Return what is asked, of the kind of the index that it is added to.

    One in memory is written anew when it grows: its kind stays where somebody named it, and else is chosen again.

    Raises:
        InputInvalid: another kind is asked for, of an index of segments.
    """
    held, kind = read_manifest(out), asked.plan.kind
    if held.segments is None:
        kind = held.kind if kind == AUTO and held.chosen == NAMED else kind
    elif kind not in (AUTO, held.kind):
        raise InputInvalid(f"{out} is {held.kind} and stays so as it grows; leave --kind out, or build it again")
    return replace(asked, plan=replace(asked.plan, kind=kind))


def _build(out: Path, shards: Sequence[Shard], asked: VectorsToIndex, params: IndexParams) -> IndexManifest:
    count, kind, chosen = sum(shard.count for shard in shards), asked.plan.kind, NAMED
    if kind == AUTO:
        width, memory = asked.encoder.embedding_dim, read_memory().total
        kind, chosen = choose_kind(count, width, flat_up_to=params.flat_up_to, memory=memory)
        log.info("%s: %s", kind, chosen)
    if kind not in IN_MEMORY:
        return build_segments(out, shards, asked.encoder, replace(asked.plan, kind=kind, chosen=chosen))
    schema = unite((shard.place, shard.read_schema()) for shard in shards)
    rows = make_frame(table for shard in shards for table in shard.read_tables(0, schema))
    build(
        out,
        embeddings=np.concatenate([shard.read(slice(None)).astype(np.float32) for shard in shards]),
        pictures=rows.drop(columns=ROW),
        encoder=asked.encoder,
        params=params.model_copy(update={"kind": kind, "flat_up_to": count if kind == FLAT else 0}),
        pictures_root=asked.plan.pictures_root,
        made_by=asked.plan.made_by,
        chosen=chosen,
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
