"""The vectors of an index at size in Milvus, behind an address: a cluster, one server, or a file of Milvus Lite.

The engine holds unit vectors by row number and nothing else. Tables, filters and float16 vectors stay in the index,
which every serving process opens for itself: filters are the same, and scores are exact, whoever finds the rows.
The only module that imports pymilvus. Shapes: N rows, D embedding width, B queries, k results.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from compodiff.errors import IndexMismatch, InputInvalid, ResourceUnavailable
from compodiff.index import MANIFEST
from compodiff.index.index import Index
from compodiff.index.manifest import IndexManifest, require_segments
from compodiff.index.nearest import NO_PICTURE, Floats, Rows, normalise
from compodiff.index.segments.opened import SegmentedIndex, open_stored
from compodiff.storage.atomic import write_json
from compodiff.storage.digests import digest_bytes

_ROW, _VECTOR = "row", "vector"
_VERSIONS = re.compile(r"(v|milvus_lite-)?[23]\.")
_SENT = 2000  # vectors of a message
_NAMED = 20_000  # rows that a message names; of more, what is not allowed is dropped from longer answers
_MOST = 16_384  # results that Milvus gives
_SECONDS = 10.0  # that an engine has to answer a first call


class NearestInMilvus:
    """The rows of one index in a collection (see `Nearest`)."""

    def __init__(self, address: str, collection: str, width: int) -> None:
        """Open it.

        Raises:
            ResourceUnavailable: the engine cannot be reached, or pymilvus is not installed.
            IndexMismatch: it is of another version, or holds no such collection, or one of another width.
        """
        self._client, self.address, self._collection = _connect(address), address, collection
        with _name_faults(address):
            if not self._client.has_collection(collection):
                raise IndexMismatch(
                    f"{address} holds no collection {collection} of this index and its encoder; "
                    "run: compodiff index to-engine"
                )
            fields = {field["name"]: field for field in self._client.describe_collection(collection)["fields"]}
            held = int(fields[_VECTOR]["params"]["dim"]) if _VECTOR in fields else 0
            if held != width:
                raise IndexMismatch(f"the collection {collection} of {address} is {held} wide, the index {width}")
            self._client.load_collection(collection)

    @property
    def size(self) -> int:
        """How many rows it holds."""
        with _name_faults(self.address):
            (counted,) = self._client.query(self._collection, filter="", output_fields=["count(*)"])
            return int(counted["count(*)"])

    def search(self, unit: Floats, k: int, allowed: Rows | None) -> tuple[Floats, Rows]:
        """Return the rows nearest to each query (see `Nearest`)."""
        if allowed is None or len(allowed) <= _NAMED:
            named = "" if allowed is None else f"{_ROW} in {allowed.tolist()}"
            return self._ask(unit, k, named)
        asked = min(_MOST, 2 * k)
        while True:
            scores, rows = self._ask(unit, asked, "")
            rows[~np.isin(rows, allowed)] = NO_PICTURE
            order = np.argsort(rows == NO_PICTURE, axis=1, kind="stable")[:, :k]
            found = np.take_along_axis(rows, order, axis=1)
            if asked == _MOST or (found != NO_PICTURE).all():
                return np.take_along_axis(scores, order, axis=1), found
            asked = min(_MOST, 4 * asked)

    def _ask(self, unit: Floats, k: int, condition: str) -> tuple[Floats, Rows]:
        scores, rows = np.full((len(unit), k), -np.inf, np.float32), np.full((len(unit), k), NO_PICTURE)
        with _name_faults(self.address):
            answers = self._client.search(
                self._collection, data=unit, limit=min(k, _MOST), filter=condition, output_fields=[_ROW]
            )
            for query, hits in enumerate(answers):
                rows[query, : len(hits)] = [hit[_ROW] for hit in hits]
                scores[query, : len(hits)] = [hit["distance"] for hit in hits]
        return scores, rows

    def add(self, first: int, unit: Floats) -> None:
        """Send vectors (n, D), numbered from `first`; those that it holds are replaced."""
        with _name_faults(self.address):
            self._client.upsert(self._collection, _make_entities(first, unit))

    def remove(self, rows: Rows) -> None:
        """Take rows out; those that it does not hold are no error."""
        with _name_faults(self.address):
            for at in range(0, len(rows), _NAMED):
                self._client.delete(self._collection, filter=f"{_ROW} in {rows[at : at + _NAMED].tolist()}")


def send_to_engine(folder: Path, address: str) -> IndexManifest:
    """Send the vectors of the index at `folder` to the engine at `address`, which searches them from then on.

    A second run sends what was added, and takes out what was removed.

    Raises:
        InputInvalid: the index is not made of segments.
        ResourceUnavailable: the engine cannot be reached; the index is searched as before.
        IndexMismatch: it is of another version, or its collection is.
    """
    index = Index.load(folder, engine=False)
    if not isinstance(index, SegmentedIndex):
        raise InputInvalid(f"the index {folder} is not made of segments; see: compodiff index from-embeddings")
    manifest, name = index.manifest, _name_collection(index.manifest)
    client = _connect(address)
    with _name_faults(address):
        if not client.has_collection(name):
            _create(client, name, manifest.dim)
    nearest = NearestInMilvus(address, name, manifest.dim)
    described, known = require_segments(manifest), 0
    if described.engine.get("address") == address and nearest.size:
        known = int(described.engine["rows"])
    _, vectors = open_stored(folder, manifest)
    for first, chunk in vectors.iterate(known):
        for at in range(0, len(chunk), _SENT):
            nearest.add(first + at, normalise(chunk[at : at + _SENT]))
    if index.removed is not None:
        nearest.remove(np.flatnonzero(index.removed))
    engine = {"address": address, "collection": name, "rows": len(vectors)}
    manifest = replace(manifest, segments=replace(described, engine=engine))
    _require_all(nearest, folder, manifest)
    write_json(folder / MANIFEST, manifest.to_json())
    return manifest


def open_segments(folder: Path, manifest: IndexManifest, engine: bool = True) -> SegmentedIndex:
    """Open an index at size, searched by the engine that its manifest names, or by its own lists.

    Raises:
        ResourceUnavailable, IndexMismatch: the engine cannot be used (see `NearestInMilvus`), or a file is damaged.
    """
    named = require_segments(manifest).engine if engine else {}
    if not named:
        return SegmentedIndex(folder, manifest)
    nearest = NearestInMilvus(named["address"], named["collection"], manifest.dim)
    _require_all(nearest, folder, manifest)
    return SegmentedIndex(folder, manifest, nearest)


def _require_all(nearest: NearestInMilvus, folder: Path, manifest: IndexManifest) -> None:
    if (held := nearest.size) != manifest.count:
        share = f"{held} of the {manifest.count} vectors of {folder}"
        raise IndexMismatch(f"{nearest.address} holds {share}; run: compodiff index to-engine")


def _name_collection(manifest: IndexManifest) -> str:
    """Return a name that another index, or the same vectors of another encoder, do not have."""
    made_of = f"{manifest.encoder.identify()} {manifest.files['trained.faiss']['sha256']}"
    return f"compodiff_{digest_bytes(made_of.encode())[:24]}"


def _create(client: Any, name: str, width: int) -> None:
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field(_ROW, DataType.INT64, is_primary=True)
    schema.add_field(_VECTOR, DataType.FLOAT_VECTOR, dim=width)
    lists = client.prepare_index_params()
    lists.add_index(_VECTOR, index_type="AUTOINDEX", metric_type="IP")
    client.create_collection(name, schema=schema, index_params=lists)


def _make_entities(first: int, unit: Floats) -> list[dict[str, Any]]:
    return [{_ROW: first + at, _VECTOR: vector} for at, vector in enumerate(unit)]


def _connect(address: str) -> Any:
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise ResourceUnavailable("an index in an engine needs pymilvus: pip install 'compodiff[engine]'") from error
    for name in ("pymilvus", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # every error is raised as well
    with _name_faults(address):
        try:
            client = MilvusClient(address, timeout=_SECONDS)
        except ValueError as error:
            raise InputInvalid(f"{address!r} is no address of an engine ({error}); http://HOST:PORT is one") from error
        version = client.get_server_version()
    if not _VERSIONS.match(version):
        raise IndexMismatch(f"the engine at {address} is Milvus {version}; 2.x or 3.x is needed")
    return client


@contextmanager
def _name_faults(address: str) -> Iterator[None]:
    """Turn what pymilvus raises into one line."""
    from pymilvus import MilvusException

    try:
        yield
    except MilvusException as error:
        reason = " ".join(str(error.message).split())[:200]
        raise ResourceUnavailable(
            f"the engine at {address} does not answer ({reason}); start it, or name another"
        ) from error
