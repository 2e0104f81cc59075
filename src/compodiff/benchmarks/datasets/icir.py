"""i-CIR: 1,883 queries about 202 instances, each with a database of its own; the result is the mean over instances.

Annotations and pictures (CC BY-NC-SA 4.0): github.com/billpsomas/icir. Two layouts: folders `query/` and `database/`,
or WebDataset tars of both, whose samples name their picture's path in a JSON member. Rows of the tables are
image_path, text, instance; a picture of an instance's database answers a query of that instance with the same text.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image

from compodiff.benchmarks.datasets.annotations import fill_template, find
from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkProtocol, BenchmarkQuery
from compodiff.benchmarks.datasets.pictures import BenchmarkPictures, FilePictures, GalleryFolder, list_samples
from compodiff.errors import InputInvalid

SPLITS = ("test",)
PROTOCOL = BenchmarkProtocol(recall_ks=(1, 10), full_map=True)
TEMPLATE = "{relative_caption}"
_NESTED = ("annotations", "icir", "icir/annotations", "i-CIR", "i-CIR/annotations")
_HEADS = ("image_path", "img_path", "path")
Row = tuple[str, str, str]


def load_icir(root: Path, split: str, *, instance: str | None = None, template: str = TEMPLATE) -> list[Benchmark]:
    """Load i-CIR, a part for each instance, or one instance; pictures are not needed.

    Raises:
        InputInvalid: a table is missing or broken, a row stands twice, a query has no answer, there is no such
            instance, or the template has an unknown field.
    """
    asked_at = find(root, "query_files.csv", _NESTED)
    asked, database = _read_rows(asked_at), _read_rows(find(root, "database_files.csv", _NESTED))
    home = asked_at.parent.parent if asked_at.parent.name == "annotations" else asked_at.parent
    pictures = _find_pictures(home)
    names = dict.fromkeys(of_instance for _, _, of_instance in asked)
    if instance is not None and instance not in names:
        raise InputInvalid(f"icir has no instance {instance!r}; it has: {', '.join([*names][:5])} ...")
    by_instance: dict[str, list[Row]] = {}
    for row in database:
        by_instance.setdefault(row[2], []).append(row)
    return [
        _make_part(name, [row for row in asked if row[2] == name], by_instance.get(name, []), split, template, pictures)
        for name in names
        if instance in (None, name)
    ]


def shorten_id(name: str) -> str:
    """Keep a picture's path, as it stands in the tables."""
    return name.removeprefix("./")


def _make_part(
    name: str, asked: Sequence[Row], database: Sequence[Row], split: str, template: str, pictures: BenchmarkPictures
) -> Benchmark:
    answers: dict[str, list[str]] = {}
    for path, text, _ in database:
        answers.setdefault(text, []).append(path)
    for path, text, _ in asked:
        if text not in answers:
            raise InputInvalid(f"icir: no picture of {name} in the database has the text {text!r} of query {path}")
    return Benchmark(
        name="icir",
        split=split,
        part=name,
        queries=tuple(
            BenchmarkQuery(
                key=f"{path}: {text}",
                reference=path,
                relative_caption=text,
                texts=(fill_template(template, relative_caption=text),),
                targets=tuple(answers[text]),
            )
            for path, text, _ in asked
        ),
        protocol=PROTOCOL,
        pictures=pictures,
        gallery=tuple(dict.fromkeys(path for path, _, _ in database)),
        settings={"template": template, "gallery_variant": "the database of each instance"},
    )


def _read_rows(path: Path) -> list[Row]:
    """Read a table of three columns, with or without a head; a row that stands twice is refused."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputInvalid(f"{path} cannot be read as a table: {error}") from error
    rows: dict[Row, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line or (number == 1 and line[0].strip() in _HEADS):
            continue
        if len(line) != 3 or not all(field.strip() for field in line[::2]):
            raise InputInvalid(f"{path}: row {number} has {len(line)} fields, not image_path, text, instance")
        row = (shorten_id(line[0].strip()), line[1].strip(), line[2].strip())
        if row in rows:
            raise InputInvalid(f"{path}: row {number} says what row {rows[row]} says; name each picture once")
        rows[row] = number
    if not rows:
        raise InputInvalid(f"{path} has no rows")
    return list(rows)


def _find_pictures(home: Path) -> BenchmarkPictures:
    if (home / "webdataset").is_dir():
        return SamplePictures(home / "webdataset")
    # Paths of the tables begin at the folder itself, or at the one that holds it.
    return FilePictures(lambda name: (home / name, home.parent / name, home / name.partition("/")[2] or home))


@dataclass(frozen=True)
class SamplePictures:
    """Pictures in tars of samples, which are listed when one is first asked for: there may be 750,000."""

    folder: Path

    @cached_property
    def _members(self) -> GalleryFolder:
        members: Mapping[str, tuple[Path, int, int]] = list_samples(self.folder)
        return GalleryFolder(self.folder, members=members)

    def has(self, picture: str) -> bool:
        """Return whether a tar holds the picture."""
        return self._members.has(picture)

    def is_broken(self, picture: str) -> bool:
        """Return whether its bytes are no picture, or are cut short."""
        return self._members.is_broken(picture)

    def stamp(self, picture: str) -> str:
        """Return the size and time of change of its tar, and its place there."""
        return self._members.stamp(picture)

    def locate(self, picture: str) -> tuple[Path, int, int] | None:
        """Return its tar, and its place there."""
        return self._members.locate(picture)

    def read(self, picture: str) -> Image.Image:
        """Decode a picture of the tars."""
        return self._members.read(picture)
