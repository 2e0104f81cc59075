"""Which embeddings of a gallery lie nearest to a query's: an index made in memory, and how any index is opened.

An index is a folder that appears whole or not at all:

    index.faiss       FAISS's own format over the L2-normalised vectors, searched by inner product
    embeddings.npy    (N, D) float32 as the encoder made them: exact re-ranking, references by id, the next build
    pictures.parquet  one row per vector, in order: picture_id and where its bytes are (compodiff/images.py)
    looks.npy, ...    of a folder's index: what the next build need not find out again (index/previous.py)
    manifest.json     kind, encoder, and size and sha256 of the files above; written last

One at size, made of segments, is described in index/segments.
Shapes: N pictures, D embedding width, B queries, k results.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from compodiff.encoders.manifest import EncoderManifest
from compodiff.errors import IndexMismatch, InputInvalid
from compodiff.index import MANIFEST
from compodiff.index.filling import write_filled
from compodiff.index.gpus import GRAPH
from compodiff.index.manifest import (
    KIND,
    IndexManifest,
    make_damage_error,
    make_fingerprint,
    open_array,
    open_settled,
    read_manifest,
    require_replaceable_index,
)
from compodiff.index.nearest import NO_PICTURE, FaissFile, Floats, Nearest, Rows, normalise
from compodiff.index.segments.tables import PictureRows
from compodiff.index.segments.vectors import StoredVectors
from compodiff.params import IndexParams
from compodiff.storage.atomic import replace_folder, write_json
from compodiff.storage.names import require_utf8
from compodiff.storage.tables import read_frame

__all__ = ["GROUP", "NO_PICTURE", "Beside", "Floats", "Index", "Rows", "build"]

Beside = Mapping[str, NDArray[Any] | pd.DataFrame]  # file name -> content

_INDEX, _EMBEDDINGS, _PICTURES = "index.faiss", "embeddings.npy", "pictures.parquet"
_LISTS = "the lists of a segment"
GROUP = "group"  # column of the pictures' table: the id of the first of the near-duplicates that a picture is one of
_SCORED_AT_ONCE = 20_000  # rows that a filter lets through and that are scored one by one


def build(  # noqa: PLR0913
    folder: Path,
    *,
    embeddings: Floats,
    pictures: pd.DataFrame,
    encoder: EncoderManifest,
    params: IndexParams,
    pictures_root: str,
    beside: Beside | None = None,
    earlier: "Index | None" = None,
    made_by: Mapping[str, str] | None = None,
    chosen: str = "",
) -> None:
    """Build an index over a gallery and put it at `folder`, in place of an earlier one.

    Args:
        folder: where the index will stand.
        embeddings: (N, D), as the encoder made them.
        pictures: N rows in the same order, with a unique `picture_id`.
        encoder: the encoder that made `embeddings`.
        params: kind and its numbers.
        pictures_root: the folder that paths in `pictures` start from, relative to `folder` or absolute.
        beside: file name -> array or table, kept for the next build.
        earlier: an index over nearly the same pictures, whose inverted lists are used again instead of learned anew.
        made_by: the model that made it, where it is to be found again by the index alone.
        chosen: why it is of its kind, where that is to be kept.

    Raises:
        InputInvalid: there is no picture, ids repeat, a value is not finite, the gallery is too small for the kind, or
            `folder` holds something that is no index.
        ResourceUnavailable: the kind cannot be built on this machine.
    """
    require_replaceable_index(folder)
    count, dim = embeddings.shape
    if count == 0 or len(pictures) != count or not pictures["picture_id"].is_unique:
        raise InputInvalid(f"an index needs one unique picture_id per vector; got {len(pictures)} ids, {count} vectors")
    kind = "flat" if count <= params.flat_up_to else params.kind
    vectors = np.ascontiguousarray(embeddings, dtype=np.float32)
    own: dict[str, pd.DataFrame | NDArray[Any]] = {_EMBEDDINGS: vectors, _PICTURES: pictures}
    with replace_folder(folder, KIND) as temporary:
        learned = None if earlier is None else (earlier.folder / _INDEX, earlier.manifest)
        write_filled(temporary / _INDEX, kind, vectors, params, learned)
        for name, content in {**own, **(beside or {})}.items():
            if isinstance(content, pd.DataFrame):
                content.to_parquet(temporary / name, index=False)
            else:
                np.save(temporary / name, content)
        files = {file.name: make_fingerprint(file) for file in sorted(temporary.iterdir())}
        rerank = 0 if kind in ("flat", GRAPH) else params.rerank
        said: dict[str, Any] = {"made_by": dict(made_by or {}), "chosen": chosen}
        manifest = IndexManifest(kind, dim, count, rerank, encoder, pictures_root, files, **said)
        write_json(temporary / MANIFEST, manifest.to_json())


class Index:
    """An index on disk, opened for search; safe to use from many threads. Mapped, unless it lies on a network.

    Attributes:
        pictures: the table of pictures; empty where `rows` is given, that table where it is too large for memory.
        picture_ids, names, embeddings: by row; `row`: rows by id. Embeddings (N, D) are as the encoder made them.
    """

    def __init__(self, folder: Path, manifest: IndexManifest, nearest: Nearest) -> None:
        """Join the parts; `Index.load` is the way in."""
        self.folder, self.manifest, self._nearest = folder, manifest, nearest
        self.rows: PictureRows | None = None
        self.pictures = read_frame(folder / _PICTURES)
        self.picture_ids: Sequence[str] = self.pictures["picture_id"].tolist()
        self.names: Sequence[str] = self.pictures["name"].tolist() if "name" in self.pictures else self.picture_ids
        self.row: Mapping[str, int] = {picture_id: row for row, picture_id in enumerate(self.picture_ids)}
        self.embeddings: Floats | StoredVectors = open_array(folder / _EMBEDDINGS)

    @classmethod
    def load(cls, folder: Path, *, engine: bool = True) -> "Index":
        """Open the index at `folder`, without `engine` to be searched by its own lists; a replacement is waited for.

        Raises:
            InputInvalid: there is none, or its folder's name is not UTF-8.
            IndexMismatch: a file is missing, cut short or not what the manifest says.
            ResourceUnavailable: its engine cannot be reached.
        """
        require_utf8(folder, "rename it")
        return open_settled(folder, lambda: cls._open_files(folder, engine))

    @classmethod
    def _open_files(cls, folder: Path, engine: bool) -> "Index":
        manifest = read_manifest(folder)
        for name, file in manifest.files.items():
            path = folder / name
            size = path.stat().st_size if path.is_file() else 0
            if size != file["bytes"]:
                raise make_damage_error(folder, f"{name} has {size} bytes of {file['bytes']}")
        try:
            if manifest.segments is not None:
                from compodiff.index.segments.engine import open_segments

                return open_segments(folder, manifest, engine)
            nearest = FaissFile(folder / _INDEX, manifest.kind)
        except RuntimeError as error:
            raise make_damage_error(folder, f"FAISS cannot read {_LISTS if manifest.segments else _INDEX}") from error
        held, said = (nearest.size, nearest.width), (manifest.count, manifest.dim)
        if held != said:
            raise make_damage_error(folder, f"{_INDEX} holds {held[0]} x {held[1]} of {said[0]} x {said[1]}")
        try:
            return cls(folder, manifest, nearest)
        except (OSError, ValueError, KeyError) as error:  # parquet's and NumPy's own; also while it is being replaced
            raise make_damage_error(folder, f"its tables cannot be read ({' '.join(str(error).split())})") from error

    def require_encoder(self, encoder: EncoderManifest) -> None:
        """Refuse to be searched with vectors of another encoder.

        Raises:
            IndexMismatch: the index was made with another one.
        """
        ours = self.manifest.encoder
        if ours != encoder:
            raise IndexMismatch(
                f"the index {self.folder} holds {ours.embedding_dim}-d vectors of {ours.describe()}, the model "
                f"works on {encoder.embedding_dim}-d of {encoder.describe()}; run: compodiff index build, or "
                "dvc repro build_index"
            )

    def read_text(self, row: int, column: str) -> str:
        """Return one value of a column of texts of the table of pictures."""
        return str(self.pictures[column].iloc[row]) if self.rows is None else self.rows.read_text(row, column)

    def read_sample(self) -> pd.DataFrame:
        """Return the table of pictures, or some rows from all over it where it is too large for memory."""
        return self.pictures

    def list_rows(self) -> Sequence[int]:
        """Return the rows of all pictures that can be found."""
        return range(self.manifest.count)

    def sample_vectors(self) -> Floats:
        """Return all embeddings (N, D), or of the first of `list_rows` where they are too many for memory."""
        return self.embeddings[:]

    def read_embedding(self, picture_id: str) -> Floats:
        """Return the stored embedding (D,) of a picture, as the encoder made it.

        Raises:
            InputInvalid: the index does not hold this picture.
        """
        if picture_id not in self.row:
            raise InputInvalid(f"the index holds no picture {picture_id!r}")
        return np.array(self.embeddings[self.row[picture_id]])

    def search(
        self, queries: Floats, k: int, exclude: Sequence[Sequence[str]] = (), allowed: Rows | None = None
    ) -> tuple[Rows, Floats]:
        """Return the k pictures nearest to each query by cosine.

        Args:
            queries: (B, D), of any length.
            k: how many results a query gets; at most as many as there are pictures.
            exclude: per query, the picture ids that must not be among its results (its reference, say).
            allowed: the rows that may be found; None for all.

        Returns:
            Rows (B, k) and cosines (B, k), best first. Where fewer than k were found the row is NO_PICTURE.

        Raises:
            IndexMismatch: the queries have another width.
            InputInvalid: k is below 1, or a query is not finite.
        """
        if k < 1:
            raise InputInvalid(f"k is {k}; ask for at least one picture")
        if queries.ndim != 2 or queries.shape[1] != self.manifest.dim:
            raise IndexMismatch(f"the index {self.folder} is {self.manifest.dim} wide, the queries {queries.shape}")
        findable = self.manifest.count if allowed is None else len(allowed)
        k = min(k, findable)
        wanted = min(k + max(map(len, exclude), default=0), findable)
        unit = normalise(queries)
        if allowed is not None and findable <= _SCORED_AT_ONCE:
            # Exact whatever the kind: few rows may all lie in lists that a query does not probe.
            rows, scores = self._score_exactly(unit, np.broadcast_to(allowed, (len(unit), findable)))
        elif self.manifest.rerank:
            candidates = min(wanted * self.manifest.rerank, self.manifest.count)
            _, near = self._nearest.search(unit, candidates, allowed)
            rows, scores = self._score_exactly(unit, near)
        else:
            scores, rows = self._nearest.search(unit, wanted, allowed)
        return self._drop_excluded(rows[:, :wanted], scores[:, :wanted], exclude, k)

    def _score_exactly(self, unit: Floats, rows: Rows) -> tuple[Rows, Floats]:
        scores = np.stack([normalise(self.embeddings[found]) @ query for query, found in zip(unit, rows, strict=True)])
        scores[rows == NO_PICTURE] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)

    def _drop_excluded(
        self, rows: Rows, scores: Floats, exclude: Sequence[Sequence[str]], k: int
    ) -> tuple[Rows, Floats]:
        """Drop each query's excluded pictures and close the gaps."""
        dropped = rows == NO_PICTURE
        for query, ids in enumerate(exclude):
            dropped[query] |= np.isin(rows[query], [self.row[picture] for picture in ids if picture in self.row])
        rows, scores = np.where(dropped, NO_PICTURE, rows), np.where(dropped, np.float32(-np.inf), scores)
        order = np.argsort(dropped, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
