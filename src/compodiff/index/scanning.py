"""Which files of a folder can be encoded, and why others cannot: a scan ends well whatever it meets."""

import hashlib
import os
import warnings
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from compodiff.errors import InputInvalid
from compodiff.images import PictureListing
from compodiff.images.files import is_there, read_regular
from compodiff.images.kinds import NAMED, KindNotRead
from compodiff.index.encoded import EncodedPictures, PreparedPicture
from compodiff.index.left_out import LeftOut, Reason
from compodiff.index.previous import UNSURE, EarlierIndex, Stamp, clip_to_64_bits, make_stamp
from compodiff.machine import count_usable_cores

_NAMED_IN_ERROR = 5
_READERS, _AHEAD = 4, 32  # threads that read and decode at most, and files that they may be ahead of the encoder

Row = tuple[str, str, str, int, int, str]  # COLUMNS of the table of pictures


@dataclass(frozen=True)
class FolderScan:
    """The files of a folder: rows of those that are encoded, with their stamps and times, and why others are not."""

    rows: list[Row] = field(default_factory=list)
    stamps: list[Stamp] = field(default_factory=list)
    modified_ns: list[int] = field(default_factory=list)
    left_out: dict[str, Reason] = field(default_factory=dict)

    def take(self, name: str, sha256: str, status: os.stat_result) -> None:
        """Add a file that is encoded."""
        self.rows.append((name, name, name, 0, status.st_size, sha256))
        self.stamps.append(make_stamp(status))
        self.modified_ns.append(clip_to_64_bits(status.st_mtime_ns))

    @property
    def names(self) -> set[str]:
        """The files that were looked at."""
        return {*(row[0] for row in self.rows), *self.left_out}

    @property
    def unreadable(self) -> dict[str, str]:
        """Why pictures are left out, but those of kinds that are not read here."""
        return {name: reason.text for name, reason in self.left_out.items() if not reason.is_of_other_kind}

    @property
    def others(self) -> Counter[str]:
        """How many are of kinds that are not read here, by suffix."""
        names = (name for name, reason in self.left_out.items() if reason.is_of_other_kind)
        return Counter(os.path.splitext(name)[1].lower() for name in names)


def scan_files(reading: "FileReading", files: Iterable[Path], *, is_quiet: bool = False) -> FolderScan:
    """Encode the files that have not been.

    Some are read and decoded by threads while others are encoded; they are taken in their order.
    """
    scan = FolderScan()
    with warnings.catch_warnings():  # a thread cannot set what is warned of for itself alone
        warnings.simplefilter("ignore")
        total = len(files) if isinstance(files, Sized) else None
        hidden = True if is_quiet else None  # None: where stderr is no terminal
        for seen in tqdm(reading.look_at(files), "indexing", total, unit=" pictures", disable=hidden):
            if seen.reason is not None:
                scan.left_out[seen.name] = seen.reason
                continue
            reading.encode(seen)
            scan.take(seen.name, seen.sha256, seen.status)
    reading.parts.flush()
    return scan


@dataclass(frozen=True)
class SeenFile:
    """One file: why it is left out, or else its bytes' digest, its status and, if it was read, the picture."""

    name: str
    reason: Reason | None = None
    sha256: str = ""
    status: Any = None
    picture: PreparedPicture | None = None


class FileReading:
    """Files that are looked at in their order, some of them ahead of time.

    Those that are as an earlier index saw them, or left them out, are not read, nor those that others have seen.

    Attributes:
        parts: what is encoded.
        seen: by others, by name.
    """

    def __init__(self, folder: Path, parts: EncodedPictures, earlier: EarlierIndex | None, known: LeftOut) -> None:
        """Take the folder that files are named from, what is encoded, and what was left out before."""
        self.parts, self.seen = parts, dict[str, SeenFile]()
        self._folder, self._earlier, self._known = folder, earlier, known

    def look_at(self, files: Iterable[Path]) -> Iterator[SeenFile]:
        """Yield what is seen of each file; one that is named twice is looked at once."""
        known: set[Path] = set()
        waiting: deque[SeenFile | Future[SeenFile]] = deque()
        with ThreadPoolExecutor(min(_READERS, count_usable_cores())) as readers:
            try:
                for path in files:
                    if path in known:
                        continue
                    known.add(path)
                    waiting.append(self.find_unchanged(path) or readers.submit(self._read, path))
                    while len(waiting) > _AHEAD or (waiting and isinstance(waiting[0], SeenFile)):
                        yield _await(waiting.popleft())
                while waiting:
                    yield _await(waiting.popleft())
            finally:
                readers.shutdown(cancel_futures=True)  # where the build is stopped

    def encode(self, seen: SeenFile) -> None:
        """Encode the picture of a file that was read, unless one with its bytes is encoded."""
        if seen.picture is not None and seen.sha256 not in self.parts:
            self.parts.add(seen.sha256, seen.picture)

    def find_unchanged(self, path: Path) -> SeenFile | None:
        """Return what is known of a file without reading it; None where it has to be read."""
        name = name_in(self._folder, path)
        try:
            name.encode()
            status = path.stat()
        except UnicodeEncodeError:
            return SeenFile(name, Reason("has a name that is not UTF-8; rename it", "", UNSURE))
        except OSError as error:
            return SeenFile(name, Reason(error.strerror or str(error), "", UNSURE))
        stamp, seen = make_stamp(status), self.seen.get(name)
        if seen is not None and (seen.status is None or make_stamp(seen.status) == stamp != UNSURE):
            return seen
        sha256 = self._earlier.find_unchanged(name, stamp) if self._earlier else None
        if sha256 is not None and sha256 in self.parts:
            return SeenFile(name, sha256=sha256, status=status)
        if self._earlier and self._known.is_unchanged(name, stamp):
            return SeenFile(name, self._known.reasons[name])
        return None

    def _read(self, path: Path) -> SeenFile:
        """Read and decode a picture, or say why not; bytes that were left out once are not decoded again."""
        name = name_in(self._folder, path)
        try:
            status, content = read_regular(path)
        except InputInvalid as error:
            return SeenFile(name, Reason(str(error), "", UNSURE))
        sha256, stamp = hashlib.sha256(content).hexdigest(), make_stamp(status)
        if before := self._known.find_reason(name, sha256):
            return SeenFile(name, replace(before, stamp=stamp))
        try:
            picture = None if sha256 in self.parts else self.parts.prepare(content)
        except InputInvalid as error:
            return SeenFile(name, Reason(str(error), sha256, stamp, isinstance(error, KindNotRead)))
        return SeenFile(name, sha256=sha256, status=status, picture=picture)


def _await(seen: "SeenFile | Future[SeenFile]") -> SeenFile:
    return seen if isinstance(seen, SeenFile) else seen.result()


def judge(folder: Path, scan: FolderScan, listing: PictureListing, *, strict: bool, keeps: bool) -> None:
    """Refuse a folder of which no picture can be read, unless the index `keeps` some; if `strict`, any that cannot."""
    unreadable = {name: reason.text for name, reason in scan.left_out.items()} | listing.left_out
    total = len(scan.rows) + len(unreadable)
    if not total and not keeps:
        raise InputInvalid(f"no {NAMED} picture in {folder} or below")
    if not unreadable or ((scan.rows or keeps) and not strict):
        return
    named = "; ".join(f"{name} ({why})" for name, why in list(unreadable.items())[:_NAMED_IN_ERROR])
    more = ", ..." if len(unreadable) > _NAMED_IN_ERROR else ""
    way_out = "mend or remove them, or leave out --strict" if scan.rows or keeps else "nothing is left to index"
    raise InputInvalid(f"{len(unreadable)} of {total} pictures cannot be read: {named}{more}; {way_out}")


def name_in(folder: Path, path: Path) -> str:
    """Return a file's path from the folder, as the index names it."""
    return str(path)[len(f"{folder}/") :]


def find_path_inside(folder: Path, file: Path) -> Path:
    """Return a picture's path, given from here or from the folder.

    Raises:
        InputInvalid: it is not in the folder.
    """
    for path in (resolve(file), resolve(folder / file)):
        if path.is_relative_to(folder) and (is_there(path) or path == resolve(folder / file)):
            return path
    raise InputInvalid(f"{file} is not in {folder}; name pictures of that folder")


def resolve(path: Path) -> Path:
    """Return a path without links.

    Raises:
        InputInvalid: it cannot be looked up.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a link to itself, a name that no file can have
        raise InputInvalid(f"{path} cannot be looked up: {error}") from error
