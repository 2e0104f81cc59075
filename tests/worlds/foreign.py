"""Sets as their authors write them: tars, parquet files, lists of captions and of triplets."""

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from factories import encode_picture
from PIL import Image

from compodiff.interchange.faults import Tally
from compodiff.interchange.formats import Source, import_source
from compodiff.sets import Place, TrainingSet, open_set

Row = dict[str, Any]


def draw(colour: str, form: str = "JPEG", size: tuple[int, int] = (32, 16)) -> bytes:
    return encode_picture(Image.new("RGB", size, colour), form)


RED, BLUE, GREEN = draw("red"), draw("blue"), draw("green")


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def write_pictures(folder: Path, pictures: Mapping[str, bytes]) -> Path:
    for name, content in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_lines(path: Path, rows: Iterable[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" if not isinstance(row, str) else row + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def write_csv(path: Path, rows: Sequence[Row], delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path: Path, columns: Mapping[str, Sequence[Any]], row_group_size: int = 100) -> Path:
    """Bytes are written as Hugging Face does, struct{bytes, path}."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = {
        name: [{"bytes": value, "path": None} if isinstance(value, bytes) else value for value in values]
        for name, values in columns.items()
    }
    pq.write_table(pa.table(cells), path, row_group_size=row_group_size)
    return path


def downloaded(key: str, picture: bytes | None, caption: str | None) -> dict[str, bytes]:
    """An entry of img2dataset's, of which one that failed has no picture."""
    said = {"caption": caption, "key": key, "status": "success" if picture else "failed_to_download", "url": "http://x"}
    own = {f"{key}.jpg": picture} if picture else {}
    return {**own, f"{key}.txt": (caption or "").encode(), f"{key}.json": json.dumps(said).encode()}


def bring(folder: Path, form: str, to: Path, **options: Any) -> tuple[TrainingSet, Tally]:
    """Import, and open what came of it."""
    own = {
        name: options.pop(name)
        for name in ("columns", "pictures", "captions", "split", "encoder", "length")
        if name in options
    }
    said = {"seed": 17, "skip_faulty": False, "licence": "CC", "origin": ""} | options
    _, tally = import_source(Source(folder, form, **own), to, **said)
    return open_set(to), tally


def rows_of(training_set: TrainingSet) -> list[Row]:
    return list(training_set.iterate_rows())


def see(training_set: TrainingSet, place: Mapping[str, Any]) -> bytes:
    return training_set.places.read(Place.of(place))
