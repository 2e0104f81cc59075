"""Which files of a folder can be encoded, and why others cannot: a scan ends well whatever it meets."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from compodiff.errors import InputInvalid
from compodiff.images import PictureListing
from compodiff.images.files import is_there, read_regular
from compodiff.images.kinds import NAMED, KindNotRead
from compodiff.index.encoded import EncodedPictures
from compodiff.index.left_out import LeftOut, Reason
from compodiff.index.previous import UNSURE, EarlierIndex, Stamp, clip_to_64_bits, make_stamp

_NAMED_IN_ERROR = 5

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


def scan_files(
    folder: Path,
    files: Iterable[Path],
    parts: EncodedPictures,
    earlier: EarlierIndex | None,
    known: LeftOut,
    *,
    is_quiet: bool = False,
) -> FolderScan:
    """Encode the files that have not been; those that are as `earlier` saw them, or left them out, are not read."""
    scan = FolderScan()
    for path in tqdm(files, "indexing", unit=" pictures", disable=True if is_quiet else None):
        name = name_in(folder, path)
        try:
            name.encode()
            status = path.stat()
            stamp = make_stamp(status)
            sha256 = earlier.find_unchanged(name, stamp) if earlier else None
            if sha256 is not None and sha256 in parts:
                scan.take(name, sha256, status)
            elif earlier and known.is_unchanged(name, stamp):
                scan.left_out[name] = known.reasons[name]
            else:
                _take_in(name, *read_regular(path), parts, known, scan)
        except UnicodeEncodeError:
            scan.left_out[name] = Reason("has a name that is not UTF-8; rename it", "", UNSURE)
        except OSError as error:
            scan.left_out[name] = Reason(error.strerror or str(error), "", UNSURE)
        except InputInvalid as error:
            scan.left_out[name] = Reason(str(error), "", UNSURE)
    parts.flush()
    return scan


def _take_in(
    name: str, status: os.stat_result, content: bytes, parts: EncodedPictures, known: LeftOut, scan: FolderScan
) -> None:
    """Let a picture be encoded, or remember why not; bytes that were left out once are not decoded again."""
    sha256, stamp = hashlib.sha256(content).hexdigest(), make_stamp(status)
    if before := known.find_reason(name, sha256):
        scan.left_out[name] = replace(before, stamp=stamp)
        return
    try:
        if sha256 not in parts:
            parts.add(sha256, content)
    except InputInvalid as error:
        scan.left_out[name] = Reason(str(error), sha256, stamp, isinstance(error, KindNotRead))
        return
    scan.take(name, sha256, status)


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
