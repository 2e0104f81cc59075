"""Building an index at size, and growing it: each shard is coded once, and a build that was killed goes on.

What a shard gives stands in a work folder beside the index until the segment is whole. Vectors and tables are linked
into the segment, not copied. Shapes: N rows, D embedding width.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from compodiff.encoders.manifest import EncoderManifest
from compodiff.errors import InputInvalid
from compodiff.index import MANIFEST
from compodiff.index.index import Index
from compodiff.index.manifest import (
    KIND,
    IndexManifest,
    Segments,
    make_fingerprint,
    require_replaceable_index,
)
from compodiff.index.segments.columns import Schema, unite
from compodiff.index.segments.lists import LISTS, PER_LIST, choose_lists, fill, merge, train
from compodiff.index.segments.measuring import measure
from compodiff.index.segments.opened import (
    HASHES,
    ROWS,
    SegmentedIndex,
    name_pictures,
    name_segment,
    name_vectors,
)
from compodiff.index.segments.sources import Shard, sample_vectors
from compodiff.index.segments.tables import hash_ids, read_ids, write_rows
from compodiff.storage.atomic import replace_folder, replace_path, write_json
from compodiff.storage.claims import claim_folder
from compodiff.storage.ownership import delete_folder, delete_inside, mark_folder

TRAINED = "trained.faiss"
_WORK, _SEGMENT = "coded vectors", "segment of an index"
_GROWN = (MANIFEST, TRAINED, "segments/*", "removed-*.npy")  # what is written into an index that grows
_CHUNK, _SEED = 65_536, 17
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SegmentPlan:
    """How an index at size is built.

    Attributes:
        kind: codes of its lists, one of `lists.KINDS`.
        lists: inverted lists; 0 for as many as suit the number of vectors.
        recall: the least share of the 10 nearest that searches shall find.
        pictures_root: folder that paths in the tables start from, relative to the index or absolute.
        made_by: the model that the encoder is of, for whoever searches.
        chosen: why it is of that kind.
    """

    kind: str
    lists: int = 0
    recall: float = 0.95
    pictures_root: str = "."
    made_by: Mapping[str, str] = field(default_factory=dict)
    chosen: str = ""


def build_segments(out: Path, shards: Sequence[Shard], encoder: EncoderManifest, plan: SegmentPlan) -> IndexManifest:
    """Build an index of one segment over the vectors of `shards` at `out`, in place of an earlier one.

    Raises:
        InputInvalid: a shard is damaged, holds a value that is not finite, or ids repeat; `out` is no index of ours.
        ResourceUnavailable: the disk is full; what was coded stays, and the next run goes on.
    """
    require_replaceable_index(out)
    work = out.with_name(f"{out.name}.parts")
    count = sum(shard.count for shard in shards)
    lists = plan.lists or choose_lists(count)
    schema = unite((shard.place, shard.read_schema()) for shard in shards)
    made_with = [encoder.identify(), plan.kind, lists, str(schema)]
    _claim(work, shards, made_with)
    if not (work / TRAINED).exists():
        log.info("learning %d lists", lists)
        with replace_path(work / TRAINED) as temporary:
            train(plan.kind, lists, sample_vectors(shards, PER_LIST * lists, _SEED), temporary)
    _code_shards(work, shards, 0, schema)
    with replace_folder(out, KIND) as temporary:
        _link(work / TRAINED, temporary / TRAINED)
        segment = temporary / name_segment(0)
        segment.mkdir(parents=True)
        _join_shards(work, segment, shards, 0)
        files = _fingerprint(temporary, [TRAINED, *_list_names(segment, 0)])
        described = Segments([[shard.count for shard in shards]], 1, "", {})
        root, width, said = plan.pictures_root, encoder.embedding_dim, (dict(plan.made_by), plan.chosen)
        manifest = IndexManifest(plan.kind, width, count, 1, encoder, root, files, described, *said)
        manifest = measure(temporary, manifest, plan.recall)
        write_json(temporary / MANIFEST, manifest.to_json())
    delete_folder(work, _WORK)
    return manifest


def add_segment(out: Path, shards: Sequence[Shard], encoder: EncoderManifest) -> IndexManifest:
    """Add the vectors of `shards` to the index at `out` as a segment of its own; nothing else is rewritten.

    Raises:
        InputInvalid: as of `build_segments`, or the index holds one of the ids, or a column of another type.
        IndexMismatch: the index is another encoder's, or damaged.
        ResourceUnavailable: the disk is full; the index stays as it was.
    """
    index = Index.load(out, engine=False)
    index.require_encoder(encoder)
    if not isinstance(index, SegmentedIndex):
        raise InputInvalid(f"the index {out} is not made of segments; build it again from all its vectors")
    described = index.described
    work = out.with_name(f"{out.name}.parts")
    first, number = len(index.embeddings), len(described.parts)
    schema = unite(((shard.place, shard.read_schema()) for shard in shards), (str(out), index.stored.schema))
    _claim(work, shards, [encoder.identify(), index.manifest.files[TRAINED]["sha256"], first, str(schema)])
    if not (work / TRAINED).exists():
        _link(out / TRAINED, work / TRAINED)
    _code_shards(work, shards, first, schema)
    _require_new(work, shards, index)
    mark_folder(out, KIND, _GROWN)
    with replace_folder(out / name_segment(number), _SEGMENT) as temporary:
        _join_shards(work, temporary, shards, first)
    files = index.manifest.files | _fingerprint(out, _list_names(out / name_segment(number), number))
    parts = [*described.parts, [shard.count for shard in shards]]
    count = index.manifest.count + sum(shard.count for shard in shards)
    manifest = replace(index.manifest, count=count, files=files, segments=replace(described, parts=parts))
    write_json(out / MANIFEST, manifest.to_json())
    delete_folder(work, _WORK)
    return manifest


def remove_rows(out: Path, picture_ids: Sequence[str]) -> IndexManifest:
    """Take pictures out of the index at `out`: their bits are set, nothing else is rewritten.

    Raises:
        InputInvalid: there is no index at size, it does not hold one of them, or nothing would be left.
    """
    index = Index.load(out, engine=False)
    if not isinstance(index, SegmentedIndex):
        raise InputInvalid(f"the index {out} is not made of segments; see: compodiff index remove")
    if strange := next((each for each in picture_ids if each not in index.row), None):
        raise InputInvalid(f"the index {out} holds no picture {strange!r}; nothing was removed")
    rows = np.unique([index.row[each] for each in picture_ids])
    if len(rows) == index.manifest.count:
        raise InputInvalid(f"nothing would be left in {out}; remove the folder itself to have no index")
    mask = np.zeros(len(index.embeddings), np.bool_) if index.removed is None else index.removed.copy()
    mask[rows] = True
    before = index.described.removed
    number = int(before.removeprefix("removed-").removesuffix(".npy")) + 1 if before else 1
    name = f"removed-{number:05d}.npy"
    mark_folder(out, KIND, _GROWN)
    with replace_path(out / name) as temporary, temporary.open("wb") as file:
        np.save(file, np.packbits(mask))
    kept = {file: known for file, known in index.manifest.files.items() if file != before}
    manifest = replace(
        index.manifest,
        count=index.manifest.count - len(rows),
        files=kept | _fingerprint(out, [name]),
        segments=replace(index.described, removed=name),
    )
    write_json(out / MANIFEST, manifest.to_json())
    if before:
        delete_inside(out / before)
    return manifest


def _claim(work: Path, shards: Sequence[Shard], made_with: Sequence[Any]) -> None:
    given = json.dumps([made_with, [shard.identify() for shard in shards]], sort_keys=True)
    patterns = (TRAINED, "block-*.faiss", name_vectors(0).replace("0" * 5, "*"), name_pictures(0).replace("0" * 5, "*"))
    claim_folder(work, {"given": json.loads(given)}, _WORK, patterns)


def _code_shards(work: Path, shards: Sequence[Shard], first_row: int, schema: Schema) -> None:
    """Write vectors, rows and, last, codes of each shard that has none."""
    within = 0
    for number, shard in enumerate(shards):
        block = work / _name_block(number)
        if not block.exists():
            log.info("coding %s, %d of %d", shard.vectors, number + 1, len(shards))
            with replace_path(work / name_vectors(number)) as temporary, temporary.open("wb") as file:
                _write_halves(shard, file)
            with replace_path(work / name_pictures(number)) as temporary:
                write_rows(temporary, shard.read_tables(first_row + within, schema))
            with replace_path(block) as temporary:
                try:
                    fill(work / TRAINED, _read_chunks(shard), within, temporary)
                except InputInvalid as error:
                    raise InputInvalid(f"{shard.vectors}: {error}") from error
        within += shard.count


def _name_block(number: int) -> str:
    return f"block-{number:05d}.faiss"


def _read_chunks(shard: Shard) -> Iterator[NDArray[Any]]:
    return (shard.read(slice(at, at + _CHUNK)) for at in range(0, shard.count, _CHUNK))


def _write_halves(shard: Shard, file: Any) -> None:
    """Write an array in NumPy's format, a chunk at a time: a full disk is an error, as it is not of a mapped file."""
    header = {"descr": "<f2", "fortran_order": False, "shape": (shard.count, shard.width)}
    np.lib.format.write_array_header_1_0(file, header)
    for chunk in _read_chunks(shard):
        file.write(np.ascontiguousarray(chunk, "<f2").data)


def _join_shards(work: Path, segment: Path, shards: Sequence[Shard], first_row: int) -> None:
    """Fill the folder of a segment from what was made of its shards."""
    merge(work / TRAINED, [work / _name_block(number) for number in range(len(shards))], segment / LISTS)
    hashes = []
    for number in range(len(shards)):
        for name in (name_vectors(number), name_pictures(number)):
            _link(work / name, segment / name)
        hashes.append(hash_ids(read_ids(work / name_pictures(number))))
    every = np.concatenate(hashes)
    order = np.argsort(every, kind="stable")
    _require_unique([segment / name_pictures(number) for number in range(len(shards))], every, order)
    np.save(segment / HASHES, every[order])
    np.save(segment / ROWS, order + first_row)


def _require_unique(tables: Sequence[Path], hashes: NDArray[np.uint64], order: NDArray[np.int64]) -> None:
    """Refuse ids that are given twice; only those with equal hashes are compared."""
    again = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    if not len(again):
        return
    ids = pd.concat([read_ids(table) for table in tables], ignore_index=True)
    for at in again.tolist():
        if ids[order[at]] == ids[order[at + 1]]:
            raise InputInvalid(f"the picture id {ids[order[at]]!r} is given twice; name another column: --id COLUMN")


def _require_new(work: Path, shards: Sequence[Shard], index: SegmentedIndex) -> None:
    for number in range(len(shards)):
        if known := index.ids.find_known(read_ids(work / name_pictures(number))):
            raise InputInvalid(f"the index {index.folder} holds {known!r} already; remove it first")


def _list_names(segment: Path, number: int) -> list[str]:
    return [
        f"{name_segment(number)}/{file.name}" for file in sorted(segment.iterdir()) if not file.name.startswith(".")
    ]


def _fingerprint(folder: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {name: make_fingerprint(folder / name) for name in names}


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; where the disk has no such thing, a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
