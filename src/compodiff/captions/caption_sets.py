"""Caption sets of any size as a stream: text, parquet, JSON lines and webdataset; usable captions only, each once.

A set is a file or a folder of files, read in the order of their names:

    captions.txt        one caption a line
    captions.parquet    a column caption, text or TEXT
    captions.jsonl      the same, a line an object
    captions.tar        webdataset: the member .txt of an entry, or caption (text) of its .json

Nothing is held but the line at hand: what has been seen lies in SQLite, on disk beyond a cache of fixed size.
"""

import hashlib
import json
import os
import sqlite3
import tarfile
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from compodiff.errors import InputInvalid
from compodiff.storage.json_files import read_json_lines
from compodiff.storage.tables import read_column_names, read_rows

CAPTION_COLUMNS = ("caption", "text", "TEXT")
SUFFIXES = (".txt", ".parquet", ".jsonl", ".tar")
CACHE_KIB = 8192
FRACTIONS = 1 << 32
# Articles and prepositions of Spanish, Portuguese, Italian, French, German and Dutch that are no English words.
_SMALL_WORDS = (
    "un una unos unas el la las los en con del sobre um uma na nas da das ao il gli della nel sulla le les des du et "
    "une dans sur avec au ein eine einem einen einer der dem und mit auf een het de"
)
_FOREIGN = frozenset(_SMALL_WORDS.split())
TALLY = ("read", "empty", "one_word", "too_long", "not_english", "duplicate", "usable")


def read_captions(path: Path) -> Iterator[str]:
    """Yield the captions of a set as they are, empty ones too; bytes that are no UTF-8 become U+FFFD.

    Raises:
        InputInvalid: the file is missing, of another kind, cut short, or has no captions in it.
    """
    readers = {".txt": _read_text, ".parquet": _read_parquet, ".jsonl": _read_lines, ".tar": _read_webdataset}
    for file in list_files(path):
        yield from readers[file.suffix](file)


def list_files(path: Path) -> list[Path]:
    """Return the files of a caption set, sorted.

    Raises:
        InputInvalid: there are none.
    """
    found = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES) if path.is_dir() else [path]
    if not found or not found[0].is_file() or found[0].suffix not in SUFFIXES:
        raise InputInvalid(f"{path} is no caption set; give a file, or a folder of files, in {', '.join(SUFFIXES)}")
    return found


def stamp_files(path: Path) -> list[list[Any]]:
    """Return what tells that a caption set is still the same."""
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in list_files(path)]


def select_captions(
    captions: Iterable[str], tally: Counter[str], *, min_english: float, max_characters: int
) -> Iterator[str]:
    """Yield captions worth an edit, with single spaces, each once; count all others under what is wrong with them.

    Args:
        captions: in any form.
        tally: counts under the names of TALLY; it is complete when the iterator is.
        min_english: share of a caption's words that an English dictionary must know.
        max_characters: of a caption.
    """
    from simplemma import in_target_language

    seen = SeenTexts()
    for raw in captions:
        caption = " ".join(raw.split())
        tally["read"] += 1
        if not caption:
            fault = "empty"
        elif " " not in caption:
            fault = "one_word"
        elif len(caption) > max_characters:
            fault = "too_long"
        elif "\ufffd" in caption or _is_foreign(caption) or in_target_language(caption, lang="en") < min_english:
            fault = "not_english"
        elif not seen.add(caption):
            fault = "duplicate"
        else:
            fault = "usable"
        tally[fault] += 1
        if fault == "usable":
            yield caption


def make_unusable_error(path: Path, tally: Mapping[str, int]) -> InputInvalid:
    """Return the error that a set without a usable caption ends with."""
    counted = ", ".join(f"{tally[name]} {name}" for name in TALLY if tally[name]) or "it is empty"
    return InputInvalid(f"{path} has no usable caption ({counted}); give another set")


def _is_foreign(caption: str) -> bool:
    """Return whether two small words of a caption are no English: the dictionary knows them from names and loans."""
    return sum(word in _FOREIGN for word in caption.lower().split()) > 1


class SeenTexts:
    """A set of texts, up to case, that grows on disk and not in memory: SQLite over digests of 8 bytes."""

    def __init__(self) -> None:
        # "" is a database of this connection's own, in a temporary file once its cache is full.
        self._database = sqlite3.connect("", isolation_level=None)
        weakref.finalize(self, self._database.close)  # Python 3.13 warns of one that is only dropped
        self._database.executescript(
            f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-{CACHE_KIB};"
            "CREATE TABLE seen (digest INTEGER PRIMARY KEY); BEGIN"
        )

    def add(self, text: str) -> bool:
        """Add a text; return whether it is new."""
        cursor = self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (digest_caption(text),))
        return cursor.rowcount == 1

    def add_all(self, digests: Sequence[int]) -> set[int]:
        """Add digests; return those that are new."""
        rows = ",".join(["(?)"] * len(digests))
        cursor = self._database.execute(f"INSERT OR IGNORE INTO seen VALUES {rows} RETURNING digest", digests)  # noqa: S608
        return {digest for (digest,) in cursor}

    def contains_any(self, digests: Sequence[int]) -> bool:
        """Return whether one of the digests was added."""
        marks = ",".join("?" * len(digests))
        found = self._database.execute(f"SELECT 1 FROM seen WHERE digest IN ({marks}) LIMIT 1", digests)  # noqa: S608
        return found.fetchone() is not None


class PairSplits:
    """Keeps caption pairs apart: none twice, and no caption in pairs of both splits; who comes first stays."""

    def __init__(self) -> None:
        self._seen = SeenTexts()

    def find_fault(self, split: str, reference_caption: str, target_caption: str, relative_caption: str = "") -> str:
        """Return what forbids a pair, "duplicate" or "other_split"; or take it in, and return ""."""
        captions = [digest_caption(caption) for caption in (reference_caption, target_caption)]
        # The last bit of a caption's digest says in which split it was seen.
        own, others = ([digest & ~1 | bit for digest in captions] for bit in ((0, 1) if split == "train" else (1, 0)))
        if self._seen.contains_any(others):
            return "other_split"
        pair = digest_caption("\n".join((reference_caption, target_caption, relative_caption)))
        return "" if pair in self._seen.add_all([pair, *own]) else "duplicate"


def require_end(file: BinaryIO) -> None:
    """Refuse an open tar that was cut between two files, or within a header, which tarfile takes for its end.

    Raises:
        tarfile.ReadError: the blocks of zeros with which a tar ends are missing.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(-min(size, tarfile.BLOCKSIZE), os.SEEK_END)
    if any(file.read()) or not size:
        raise tarfile.ReadError("its end is missing")


def digest_caption(text: str) -> int:
    """Digest a text, up to case, to 64 bits (signed), the same in every process."""
    digest = hashlib.blake2b(text.lower().encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def choose_split(digest: int, validation_fraction: float) -> str:
    """Choose train or validation by a caption's digest alone: all its pairs, of any seed and path, are in the same."""
    return "validation" if (digest % FRACTIONS) / FRACTIONS < validation_fraction else "train"


def _read_text(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        yield from lines


def _read_parquet(path: Path) -> Iterator[str]:
    remedy = f"give a parquet file with a column {' or '.join(CAPTION_COLUMNS)}"
    names = read_column_names(path, remedy=remedy)
    column = next((name for name in CAPTION_COLUMNS if name in names), CAPTION_COLUMNS[0])
    for row in read_rows(path, [column], remedy=remedy):
        yield from _take_captions(row[column], str(path))


def _read_lines(path: Path) -> Iterator[str]:
    for number, row in read_json_lines(path):
        texts = [row[name] for name in CAPTION_COLUMNS if name in row]
        if not texts:
            raise InputInvalid(f"{path}: line {number} has no {' or '.join(CAPTION_COLUMNS)}; mend it or leave it out")
        yield from _take_captions(texts[0], f"{path}: line {number}")


def _take_captions(value: Any, where: str) -> Iterator[str]:
    """Yield the captions of a cell, which may hold a list of them; "" where there is none.

    Raises:
        InputInvalid: it holds something else.
    """
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, str | None):
            raise InputInvalid(f"{where} has {str(each)[:60]} for a caption; captions are texts, or lists of texts")
        yield each or ""


def _read_webdataset(path: Path) -> Iterator[str]:
    found = False
    try:
        with path.open("rb") as file:
            require_end(file)
        with tarfile.open(path, "r|") as tar:
            while (member := tar.next()) is not None:
                captions = _read_captions(tar, member, path)
                tar.members.clear()  # type: ignore[attr-defined]  # a tar remembers each member that it ever read
                found = found or bool(captions)
                yield from captions
    except tarfile.ReadError as error:
        raise InputInvalid(f"{path} is cut short or no tar ({error}); fetch it again") from error
    if not found:
        raise InputInvalid(f"{path} has no captions: no member .txt, and no .json with a caption or text")


def _read_captions(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> list[str]:
    suffix = Path(member.name).suffix
    file = tar.extractfile(member) if suffix in (".txt", ".json") else None
    if file is None:
        return []
    content = file.read().decode("utf-8", "replace")
    if suffix == ".txt":
        return [content]
    try:
        entry: Any = json.loads(content)
    except json.JSONDecodeError as error:
        raise InputInvalid(f"{member.name} in {path} is not JSON ({error}); remove it or fetch {path} again") from error
    texts = [entry[name] for name in CAPTION_COLUMNS if name in entry] if isinstance(entry, dict) else []
    return [*_take_captions(texts[0], f"{member.name} in {path}")] if texts else []
