"""A set's rows with their pictures inside, as their bytes are, in the formats that others read; an import reads both.

webdataset   KEY.reference.jpg, KEY.target.png, KEY.mask.png, KEY.negative_0.jpg, KEY.txt, KEY.json; of pairs KEY.jpg
parquet      columns of the same names, pictures as struct{bytes, path}
"""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from compodiff.errors import InputInvalid
from compodiff.execution import count_workers, map_shards
from compodiff.images.kinds import HEAD, detect_kind
from compodiff.images.mask_cells import MASK_SIZE
from compodiff.interchange import tables, tars
from compodiff.sets import PAIRS, TRIPLETS, Place, Shard, TrainingSet, open_set
from compodiff.sets.addresses import is_address
from compodiff.storage.atomic import replace_folder
from compodiff.storage.json_files import read_json
from compodiff.storage.ownership import require_apart, require_replaceable_folder

KIND = "exported set"
_SUFFIXES = {"JPEG": "jpg", "JPEG 2000": "jp2", "TIFF": "tif", "RAW": "dng"}  # of kinds that are not called as theirs
_TEXTS = dict.fromkeys(("reference_caption", "target_caption", "relation", "keyword"), "string")
COLUMNS: Mapping[str, Mapping[str, str]] = {
    PAIRS: {"picture": "image", "key": "string", "split": "string", "picture_name": "string", "texts": "strings"},
    TRIPLETS: {
        **dict.fromkeys(("reference_image", "target_image", "mask_image"), "image"),
        "negatives": "images",
        **dict.fromkeys(("key", "split", "reference_name", "target_name"), "string"),
        **_TEXTS,
        **dict.fromkeys(("relative_captions", "negative_names"), "strings"),
    },
}
_ENDS = {PAIRS: ("picture",), TRIPLETS: ("reference", "target")}
File = tuple[bytes, str]  # bytes of a picture, and the suffix of their kind


@dataclass(frozen=True)
class Export:
    """A shard, and the file that it becomes."""

    shard: Shard
    to: Path


@dataclass(frozen=True)
class Exporter:
    """Writes shards in a format; picklable.

    Attributes:
        address: of the set.
        format: of `WRITERS`.
        validated: folder of what validation said of the set's rows, None for all rows.
    """

    address: str
    format: str
    validated: Path | None

    def __call__(self, export: Export) -> int:
        """Write a shard; return how many rows it has.

        Raises:
            InputInvalid: the shard is damaged, or a picture is not there or none.
        """
        return WRITERS[self.format][0](export.to, self._set.description.kind, self._read_rows(export.shard))

    @cached_property
    def _set(self) -> TrainingSet:
        return open_set(self.address)

    def _read_rows(self, shard: Shard) -> Iterator[dict[str, Any]]:
        accepted = None if self.validated is None else tables.read_accepted(self.validated / "rows.parquet", shard.file)
        for batch in self._set.read_rows(shard).to_batches(64):
            for row in batch.to_pylist():
                if accepted is None or row["key"] in accepted:
                    yield self._fill(row)

    def _fill(self, row: dict[str, Any]) -> dict[str, Any]:
        """Put the pictures of a row in place of where they lie."""
        read = partial(self._read_picture, row["key"])
        kind = self._set.description.kind
        texts = {name: row[name] for name in COLUMNS[kind] if name in row and name not in ("picture", "negatives")}
        names = {f"{end}_name": row[end]["name"] for end in _ENDS[kind]}
        if kind == PAIRS:
            return texts | names | {"picture": read(row["picture"])}
        negatives = row["negatives"] or []
        return {
            **texts,
            **names,
            "reference_image": read(row["reference"]),
            "target_image": read(row["target"]),
            "mask_image": None if row["mask"] is None else (_draw_mask(row["mask"]), "png"),
            "negatives": [read(place) for place in negatives],
            "negative_names": [place["name"] for place in negatives],
        }

    def _read_picture(self, key: str, place: Mapping[str, Any]) -> File:
        try:
            content = self._set.places.read(Place.of(place))
        except InputInvalid as error:
            raise InputInvalid(f"{key}: {error}; leave such rows out: --validated artifacts/validation/NAME") from error
        kind = detect_kind(content[:HEAD])
        if kind is None:
            raise InputInvalid(
                f"{key}: {place['name']} is no picture; leave such rows out: --validated artifacts/validation/NAME"
            )
        return content, _SUFFIXES.get(kind.name, kind.name.lower())


def write_as_tar(path: Path, kind: str, rows: Iterator[dict[str, Any]]) -> int:
    """Write rows as a tar; the tar's own keys are numbers, as a set's may hold dots and slashes."""
    count = 0

    def entries() -> Iterator[tuple[str, Mapping[str, bytes]]]:
        nonlocal count
        for count, row in enumerate(rows, start=1):
            pictures = {name: row.pop(name) for name, own in COLUMNS[kind].items() if own in ("image", "images")}
            files = {
                f"negative_{number}.{suffix}": content
                for number, (content, suffix) in enumerate(pictures.pop("negatives", []))
            }
            for name, picture in pictures.items():
                if picture is not None:
                    stem = "" if name == "picture" else f"{name.removesuffix('_image')}."
                    files[f"{stem}{picture[1]}"] = picture[0]
            text = (row["texts"] if kind == PAIRS else row["relative_captions"])[0]
            said = json.dumps(row, sort_keys=True, ensure_ascii=False).encode()
            yield f"{path.stem}-{count:06d}", {**files, "json": said, "txt": text.encode()}

    tars.write_tar(path, entries())
    return count


def write_as_table(path: Path, kind: str, rows: Iterator[dict[str, Any]]) -> int:
    """Write rows as a parquet file."""
    columns = COLUMNS[kind]

    def cells(row: Mapping[str, Any], name: str) -> Any:
        if row[name] is None or columns[name] not in ("image", "images"):
            return row[name]
        files = [{"bytes": content, "path": f"{name}.{suffix}"} for content, suffix in _as_files(row[name])]
        return files if columns[name] == "images" else files[0]

    return tables.write_rows(path, ({name: cells(row, name) for name in columns} for row in rows), columns)


# Format -> what writes a shard, and the name of its file (split, number, of how many), by which readers know the split.
WRITERS: dict[str, tuple[Callable[[Path, str, Iterator[dict[str, Any]]], int], str]] = {
    "webdataset": (write_as_tar, "{split}-{number:05d}.tar"),
    "parquet": (write_as_table, "data/{split}-{number:05d}-of-{total:05d}.parquet"),
}


def export_set(address: str, format_name: str, to: Path, validated: Path | None = None) -> int:
    """Write the rows of a set in a format, whole or not at all; return how many they are.

    Args:
        address: of the set.
        format_name: of `WRITERS`.
        to: folder that is made.
        validated: folder of what validation said of the set: only what it accepted is written.

    Raises:
        InputInvalid: `to` holds something else than such an export, or a shard or a picture is missing or damaged.
        ResourceUnavailable: the disk is full or workers were killed.
    """
    require_apart(to, *([] if is_address(address) else [Path(address)]), *([validated] if validated else []))
    require_replaceable_folder(to, KIND)
    description = open_set(address).description
    description.require_pictures("an export")
    if validated is not None and read_json(validated / "result.json").get("set") != description.digest:
        raise InputInvalid(f"{validated} judges another set, or an earlier one, than {address}; validate it anew")
    name, totals, numbers = WRITERS[format_name][1], Counter(s.split for s in description.shards), Counter[str]()
    with replace_folder(to, KIND) as folder:
        exports = []
        for shard in description.shards:
            file = name.format(split=shard.split, number=numbers[shard.split], total=totals[shard.split])
            exports.append(Export(shard, folder / file))
            numbers[shard.split] += 1
        made = map_shards(Exporter(address, format_name, validated), exports, workers=count_workers(), on_gpu=False)
        return sum(count for _, count in tqdm(made, "exporting", len(exports), unit=" shards", disable=None))


def _as_files(value: Any) -> list[File]:
    return value if isinstance(value, list) else [value]


def _draw_mask(bits: bytes) -> bytes:
    """Draw the cells of a mask: white where the picture is edited."""
    cells = np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(MASK_SIZE, MASK_SIZE)
    stream = io.BytesIO()
    Image.fromarray(cells * np.uint8(255)).save(stream, "PNG")
    return stream.getvalue()
