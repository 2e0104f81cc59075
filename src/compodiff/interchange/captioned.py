"""Folders of pictures with captions: KEY.txt beside KEY.jpg, or one file of captions in the form of a public set.

captions_train2014.json                        COCO
dataset_flickr30k.json                         Karpathy's, with splits
results_20130124.token, results.csv            Flickr30k
Train_GCC-training.tsv                         Conceptual Captions: caption and address, or filepath and title
"""

import csv
import io
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlsplit

from compodiff.errors import InputInvalid
from compodiff.images.files import is_regular, read_regular
from compodiff.images.kinds import SUFFIXES
from compodiff.interchange.faults import BAD_TEXT, DAMAGED_FILE, EMPTY_TEXT, NOT_JSON, Fault
from compodiff.interchange.manifests import ROWS_PER_UNIT, Listed, open_list, read_json_items, tell_delimiter
from compodiff.interchange.records import ALIASES, RawRow
from compodiff.interchange.splits import split_of_file
from compodiff.interchange.texts import has_undecoded
from compodiff.sets import PAIRS
from compodiff.sets.addresses import is_address, list_files, locate
from compodiff.sets.reading import read_bytes

_SOUND = ("picture", "texts", "split", "key")


@dataclass(frozen=True)
class FolderUnit:
    """Some pictures of a folder, each with a .txt of its name, one caption a line."""

    path: Path
    names: tuple[str, ...]
    split: str

    def read(self, others: Counter[str]) -> Iterator[RawRow | Fault]:
        """Yield a row for each picture."""
        for name in self.names:
            where = f"{self.path / name}"
            beside = (self.path / name).with_suffix(".txt")
            try:
                text = _read_text(beside)
            except InputInvalid as error:
                yield Fault(EMPTY_TEXT, f"{where}: the captions beside it, {beside.name}, cannot be read: {error}")
                continue
            split = split_of_file(PurePath(name).parent / "_", self.split)
            yield RawRow(where, name, split, {"picture": name, "texts": text.splitlines()})


def cut_folder(folder: Path, split: str) -> Iterator[FolderUnit]:
    """Yield units of the pictures below a folder, in a fixed order; one folder's names are in memory at a time."""
    names = list_names(folder)
    while held := tuple(islice(names, ROWS_PER_UNIT)):
        yield FolderUnit(folder, held, split)


def list_names(folder: Path) -> Iterator[str]:
    """Yield the pictures below a folder by their paths from there, in a fixed order; hidden ones are passed over."""
    if is_address(str(folder)):
        for name, _ in list_files(folder):
            if PurePath(name).suffix.lower() in SUFFIXES and not any(part[0] == "." for part in name.split("/")):
                yield name
        return
    for place, below, files in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        inner = Path(place).relative_to(folder)
        for name in sorted(files):
            path = inner / name
            if path.suffix.lower() in SUFFIXES and not name.startswith(".") and is_regular(folder / path):
                yield path.as_posix()


def read_caption_file(path: Path) -> Iterator[Listed]:
    """Yield the pictures of a file of captions, each with its texts.

    Raises:
        Fault: it is none, or breaks off.
    """
    if path.name.removesuffix(".gz").lower().endswith(".json"):
        yield from _read_caption_json(path)
    else:
        yield from _group_lines(_read_caption_lines(path))


class CocoCaptions:
    """Captions of COCO's pictures, on disk beyond a small cache: file names and texts by the pictures' numbers."""

    def __init__(self, files: Iterable[Path]) -> None:
        """Read COCO's files.

        Raises:
            Fault: one is damaged, or none of COCO's.
        """
        self._database = sqlite3.connect("")  # a temporary file of this connection's own
        self._database.executescript(
            "PRAGMA journal_mode=OFF; CREATE TABLE image (id INTEGER PRIMARY KEY, name TEXT);"
            "CREATE TABLE caption (image INTEGER, id INTEGER, text TEXT)"
        )
        for path in files:
            self._add(path)
        self._database.execute("CREATE INDEX by_image ON caption (image, id)")

    def _add(self, path: Path) -> None:
        try:
            images = ((int(each["id"]), str(each["file_name"])) for each in read_json_items(path, "images.item"))
            self._database.executemany("INSERT OR REPLACE INTO image VALUES (?, ?)", images)
            captions = (
                (int(each["image_id"]), int(each["id"]), str(each["caption"]))
                for each in read_json_items(path, "annotations.item")
            )
            found = self._database.executemany("INSERT INTO caption VALUES (?, ?, ?)", captions).rowcount
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise Fault(NOT_JSON, f"{path}: an entry has no id, file_name, image_id or caption ({error!r})") from error
        if found < 1:
            raise Fault(NOT_JSON, f"{path} holds no captions of COCO; take captions_train2014.json")

    def iterate(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the file name and the captions of each picture that has any."""
        rows = self._database.execute(
            "SELECT name, text FROM caption JOIN image ON image.id = image ORDER BY image, caption.id"
        )
        for name, own in groupby(rows, key=lambda row: str(row[0])):
            yield name, [text for _, text in own]

    def first(self, image: int) -> str | None:
        """Return the first caption of a picture, None for none."""
        row = self._database.execute(
            "SELECT text FROM caption WHERE image = ? ORDER BY id LIMIT 1", (image,)
        ).fetchone()
        return None if row is None else str(row[0])


def _read_text(path: Path) -> str:
    where = locate(path)
    content = read_bytes(where) if is_address(where) else read_regular(path)[1]
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputInvalid("it is not UTF-8 text; save it as UTF-8") from error


def _read_caption_json(path: Path) -> Iterator[Listed]:
    first = next(read_json_items(path, "images.item"), None)
    if first is None or "sentences" not in first:
        for name, texts in CocoCaptions([path]).iterate():
            yield {"picture": name, "texts": texts, "key": name}
        return
    for image in read_json_items(path, "images.item"):
        try:
            texts = [str(sentence["raw"]) for sentence in image["sentences"]]
            name = "/".join(part for part in (image.get("filepath"), image["filename"]) if part)
        except (KeyError, TypeError) as error:
            yield Fault(NOT_JSON, f"{path}: a picture has no filename or sentences ({error!r})")
            continue
        yield {"picture": name, "texts": texts, "key": name, "split": image.get("split")}


def _read_caption_lines(path: Path) -> Iterator[dict[str, Any] | Fault]:
    with open_list(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        head = text.readline()
        if has_undecoded(head):
            raise Fault(BAD_TEXT, f"{path} is not UTF-8 text; save it as UTF-8")
        delimiter = "\t" if "\t" in head else tell_delimiter(head)
        quoted = None if delimiter in "\t|" else '"'  # what has no quotes to unpack holds them as they are
        form: dict[str, Any] = {
            "delimiter": delimiter,
            "quotechar": quoted,
            "quoting": csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        }
        cells = [cell.strip() for cell in next(csv.reader([head], **form), [])]
        columns = _find_columns([cell.lower() for cell in cells])
        if columns is None:
            columns = _guess_columns(cells, path)
            yield _name_cells(cells, columns)
        for number, row in enumerate(csv.reader(text, **form), start=2):
            if not row:
                continue
            if len(row) <= max(columns.values()):
                yield Fault(DAMAGED_FILE, f"{path}: line {number} has {len(row)} columns: {row[0][:60]!r}")
                continue
            if has_undecoded("".join(row)):
                yield Fault(BAD_TEXT, f"{path}: line {number} is not UTF-8 text: {row[0][:60]!r}; save it as UTF-8")
                continue
            yield _name_cells(row, columns)


def _find_columns(head: Sequence[str]) -> dict[str, int] | None:
    """Return where the roles stand in a head; None where the first line is none."""
    found = {
        role: head.index(name)
        for role in _SOUND
        for name in [next((alias for alias in ALIASES[PAIRS][role] if alias in head), None)]
        if name is not None
    }
    found.pop("key", None)  # a caption's own number, most often
    return found if {"picture", "texts"} <= found.keys() else None


def _guess_columns(cells: Sequence[str], path: Path) -> dict[str, int]:
    names = [place for place, cell in enumerate(cells) if _is_name(cell)]
    if len(cells) < 2 or len(names) != 1:
        raise Fault(
            DAMAGED_FILE,
            f"{path} begins with {' '.join(cells)[:60]!r}, neither a head such as filepath and title nor a line "
            "with the name of a picture and a caption",
        )
    return {"picture": names[0], "texts": 1 if names[0] == 0 else names[0] - 1}


def _is_name(cell: str) -> bool:
    return os.path.splitext(re.sub(r"#\d+$", "", cell))[1].lower() in SUFFIXES or "://" in cell


def _name_cells(row: Sequence[str], columns: Mapping[str, int]) -> dict[str, Any]:
    values = {role: row[place].strip() for role, place in columns.items()}
    name = re.sub(r"#\d+$", "", values["picture"])
    values["picture"] = urlsplit(name).path.rpartition("/")[2] if "://" in name else name
    return values


def _group_lines(lines: Iterable[dict[str, Any] | Fault]) -> Iterator[Listed]:
    """Join lines of one picture that follow each other."""
    for name, own in groupby(lines, key=lambda line: line if isinstance(line, Fault) else line["picture"]):
        if isinstance(name, Fault):
            yield name
            continue
        rows = [line for line in own if not isinstance(line, Fault)]
        texts = [row["texts"] for row in rows]
        yield {**rows[0], "texts": texts if len(texts) > 1 else texts[0], "key": name}
