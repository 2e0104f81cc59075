"""Folders of clip-retrieval: pairs whose pictures are embedded already; what is referred to is each row of the arrays.

img_emb/img_emb_00.npy          (N, D) float16 or float32
text_emb/text_emb_00.npy        (N, D), where it was asked for
metadata/metadata_00.parquet    N rows: caption, image_path, and what img2dataset says of each

No file says which encoder it was. The person who imports it does, and where texts are embedded, too, some are embedded
again to see whether that is true. Shapes: N rows, D embedding width.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compodiff.embeddings.lengths import shorten_rows
from compodiff.errors import EncoderMismatch, InputInvalid
from compodiff.interchange.faults import DAMAGED_FILE, Fault
from compodiff.interchange.importing import ROWS_PER_SHARD
from compodiff.interchange.records import RawRow
from compodiff.interchange.tables import TableUnit, count_table_rows, cut_table, list_tables
from compodiff.sets import Place, Vectors
from compodiff.sets.addresses import as_path, is_file, locate, open_binary
from compodiff.storage.arrays import read_header

_FOLDERS = ("metadata", "img_emb", "text_emb")
_TYPES = ("<f2", "<f4")
_ASKED = 64  # texts that are embedded again
_LEAST_COSINE = 0.98  # between the same text's embeddings of one encoder, in float16 or bfloat16


@dataclass(frozen=True)
class _Header:
    """How an array lies in its file: first byte, rows, width, and NumPy's name of its numbers' type."""

    start: int
    rows: int
    width: int
    dtype: str

    @property
    def stride(self) -> int:
        """Return the bytes of a row."""
        return self.width * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class VectorUnit:
    """Some rows of a folder: their captions, the array of their pictures' embeddings, and its form."""

    table: TableUnit
    array: Path
    form: Vectors

    def read(self, others: Counter[str]) -> Iterator[RawRow | Fault]:
        """Yield the rows.

        Raises:
            Fault: the array is missing or cut short, or has another form or number of rows.
        """
        header = _read_header(self.array)
        rows = count_table_rows(self.table.path)
        if (header.width, header.dtype) != (self.form.width, self.form.dtype):
            found, wanted = f"{header.width} x {header.dtype}", f"{self.form.width} x {self.form.dtype}"
            raise Fault(DAMAGED_FILE, f"{self.array} has rows of {found}, not {wanted} as the first array")
        if header.rows != rows:
            raise Fault(DAMAGED_FILE, f"{self.array} has {header.rows:,} rows and {self.table.path} has {rows:,}")
        number = self.table.row
        for raw in self.table.read(others):
            if isinstance(raw, Fault):
                yield raw
                continue
            at = header.start + number * header.stride
            place = Place(f"{self.array.stem}-{number:07d}", locate(self.array), at, header.stride)
            yield replace(raw, values={**raw.values, "picture": place})
            number += 1


def list_parts(folder: Path) -> list[tuple[Path, Path]]:
    """Return the tables of captions, in order, each with its array of pictures."""
    return [(path, _array_of(path, "img_emb")) for path in list_tables(folder / "metadata")]


def cut_parts(parts: list[tuple[Path, Path]], form: Vectors, split: str) -> list[VectorUnit]:
    """Return units of the parts of a folder."""
    return [
        VectorUnit(table, array, form)
        for path, array in parts
        for table in cut_table(path, path.name, split, ROWS_PER_SHARD)
    ]


def describe_vectors(parts: list[tuple[Path, Path]], encoder: str, length: float | None) -> Vectors:
    """Return what the embeddings of a folder are, after checking that an encoder may have made them.

    Args:
        parts: of the folder.
        encoder: folder of the encoder that a person says it was.
        length: that embeddings are given; None leaves them as they are.

    Raises:
        EncoderMismatch: the width is another, or the encoder embeds the captions otherwise.
        InputInvalid: no array can be read, or there is no encoder.
    """
    from compodiff.encoders import load_encoder  # seconds of imports that other formats do without

    header = next(filter(None, (_try_header(array) for _, array in parts)), None)
    if header is None:
        raise InputInvalid(f"no array of embeddings can be read: {_read_reason(parts[0][1])}")
    own = load_encoder(as_path(encoder))
    if header.width != own.manifest.embedding_dim:
        raise EncoderMismatch(
            f"{parts[0][1].parent} holds embeddings of width {header.width}, and {encoder} makes "
            f"{own.manifest.embedding_dim}; name the encoder that made them: --encoder FOLDER"
        )
    captions, known = _sample_texts(*parts[0])
    if len(captions):
        again = own.embed_texts(captions, "the check of an import's encoder").cpu().numpy()
        cosine = float(np.mean(np.sum(shorten_rows(again) * shorten_rows(known), axis=1)))
        if not cosine >= _LEAST_COSINE:
            raise EncoderMismatch(
                f"{encoder} did not make the embeddings of {parts[0][0].parent.parent}: it embeds their captions "
                f"otherwise (cosine {cosine:.2f}); name the encoder that did: --encoder FOLDER"
            )
    return Vectors(own.manifest.identify(), header.width, header.dtype, length)


def _array_of(table: Path, kind: str) -> Path:
    name = table.name.removeprefix("metadata").removesuffix(".parquet")
    return table.parent.parent / kind / f"{kind}{name}.npy"


def _sample_texts(table: Path, array: Path) -> tuple[list[str], NDArray[np.float32]]:
    """Return a few captions, and the embeddings of them that the folder holds; none where it holds none."""
    texts = array.parent.parent / "text_emb" / array.name.replace("img_emb", "text_emb", 1)
    none = list[str](), np.empty((0, 1), np.float32)
    header, first = _try_header(texts), next(cut_table(table, table.name, "train", 1), None)
    if header is None or first is None:
        return none
    captions = [row.values.get("caption") for row in islice(first.read(Counter()), _ASKED) if isinstance(row, RawRow)]
    with open_binary(texts) as file:
        file.seek(header.start)
        known = np.frombuffer(file.read(len(captions) * header.stride), header.dtype).reshape(-1, header.width)
    said = [number for number, text in enumerate(captions) if text and number < len(known)]
    return [str(captions[number]) for number in said], known[said].astype(np.float32)


def _try_header(array: Path) -> _Header | None:
    try:
        return _read_header(array)
    except Fault:
        return None


def _read_reason(array: Path) -> str:
    try:
        return f"{_read_header(array)}"
    except Fault as fault:
        return str(fault)


def _read_header(array: Path) -> _Header:
    """Read how an array lies in its file.

    Raises:
        Fault: it is not there, is cut short, or is none of rows of float16 or float32.
    """
    if not is_file(array):
        raise Fault(DAMAGED_FILE, f"{array} is not there; fetch it, or leave out its captions")
    size = array.stat().st_size
    with open_binary(array) as file:
        try:
            shape, is_fortran, dtype = read_header(array, file, "fetch it again")
        except InputInvalid as error:
            raise Fault(DAMAGED_FILE, str(error)) from error
        start = file.tell()
    if len(shape) != 2 or is_fortran or dtype.str not in _TYPES:
        raise Fault(DAMAGED_FILE, f"{array} holds {dtype} of the shape {shape}, not rows of float16 or float32")
    header = _Header(start, shape[0], shape[1], dtype.str)
    if size < start + header.rows * header.stride:
        raise Fault(DAMAGED_FILE, f"{array} is cut short; fetch it again")
    return header
