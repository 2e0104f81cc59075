"""The picture files of a folder, whatever else it holds: only regular files are opened, the others are named."""

import errno
import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from compodiff.errors import InputInvalid
from compodiff.images.decoding import decode
from compodiff.images.kinds import EXTRA, GIF, HEAD, JPEG, PNG, SUFFIXES, detect_kind, find_kind

_TAIL = 16  # bytes that show whether a picture ends as its kind does
_ENDS = {JPEG.name: (b"\xff\xd9",), PNG.name: (b"IEND\xaeB`\x82",), GIF.name: (b"\0;",)}
_LARGEST = 2**30  # bytes of a picture's file
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
# What other systems put beside pictures: bins of what was deleted, and thumbnails.
_FOLDERS_OF_OTHERS = frozenset({"$RECYCLE.BIN", "RECYCLER", "#recycle", "System Volume Information", "@eaDir"})
_FILES_OF_OTHERS = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "picasa.ini"})
_OUR_INPUTS = frozenset({".txt", ".csv", ".parquet"})  # captions, and tables of columns
_NAMED_KINDS = 8
_KINDS_OF_FILES = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass(frozen=True)
class PictureListing:
    """What a folder of pictures holds.

    Attributes:
        files: those whose name says that they are pictures, in a fixed order.
        left_out: path from the folder -> why it is not among `files`, although its name or place says that it should.
        others: suffix -> how many files are of another kind.
    """

    files: list[Path] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)


def list_pictures(root: Path) -> PictureListing:
    """List the picture files under `root`, at any depth; hidden files and folders are passed over.

    Raises:
        InputInvalid: `root` itself cannot be read.
    """
    listing = PictureListing()
    _list_folder(str(root), "", listing)
    return listing


def read_regular(path: Path) -> tuple[os.stat_result, bytes]:
    """Read a file whole, and its status from before its bytes; what would be waited for, or has no end, is not read.

    Raises:
        InputInvalid: it cannot be opened or read, is no regular file, or is too large for a picture.
    """
    try:
        # Without O_NONBLOCK, to open a pipe is to wait for somebody who writes into it.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputInvalid(f"is {_name_file_type(status)}, not a file")
            if status.st_size > _LARGEST:
                raise InputInvalid(f"has {status.st_size:,} bytes; a picture has at most {_LARGEST:,}")
            # No more than it had, as it may be growing; None of what has nothing to say just now, such as /proc/kmsg.
            content = file.read(status.st_size) or b""
    except OSError as error:
        raise InputInvalid(error.strerror or str(error)) from error
    except ValueError as error:  # a NUL in its name
        raise InputInvalid(str(error)) from error
    return status, content


def read_picture(path: Path) -> Image.Image:
    """Read one picture file; see `decode`.

    Raises:
        InputInvalid: the file is not there or is not a picture.
    """
    try:
        return decode(read_regular(path)[1])
    except InputInvalid as error:
        raise InputInvalid(f"{path}: {error}") from error


def is_whole(path: Path, offset: int = 0, length: int = 0) -> bool:
    """Return whether a file, or `length` bytes of it, begins and ends as a picture; one with another end is decoded."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            length = length or os.fstat(file.fileno()).st_size - offset
            file.seek(offset)
            kind = detect_kind(file.read(min(HEAD, length)))
            if kind is None or not kind.is_read or length > _LARGEST:
                return False
            file.seek(offset + max(0, length - _TAIL))
            if file.read(min(_TAIL, length)).endswith(_ENDS.get(kind.name, ())):
                return True
            file.seek(offset)
            decode(file.read(length))
    except (OSError, InputInvalid):
        return False
    return True


def is_regular(path: Path) -> bool:
    """Return whether a regular file is at `path`; at a name that no file can have, or none may look at, is none."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def is_there(path: Path) -> bool:
    """Return whether there is anything at `path`, as far as can be seen."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_gone(path: Path) -> bool:
    """Return whether it is certain that no file is at `path`: one that cannot be looked at just now may be there."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        return error.errno in _GONE


def name_others(others: Counter[str]) -> str:
    """Say how many files of other kinds there are, and what would read them; "" where there is none."""
    if not others:
        return ""
    named = [
        f"{count:,} {suffix or 'without a suffix'}{_suggest_way_out(suffix)}" for suffix, count in others.most_common()
    ]
    more = ", ..." if len(named) > _NAMED_KINDS else ""
    return f"{others.total():,} files of other kinds left out: {', '.join(named[:_NAMED_KINDS])}{more}"


def _list_folder(root: str, below: str, listing: PictureListing) -> None:
    """Add what is in the folder `below`, a path from `root` that ends in a slash or is empty."""
    waiting = [below]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(os.path.join(root, below) if below else root) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not below:
                raise InputInvalid(f"cannot read the folder {root}: {error.strerror}") from error
            listing.left_out[below] = f"cannot be read: {error.strerror}"
            continue
        folders = []
        for entry in found:
            if entry.name.startswith(".") or entry.name in _FOLDERS_OF_OTHERS:
                continue
            if _is_folder(entry):
                folders.append(f"{below}{entry.name}/")
            else:
                _take(entry, f"{below}{entry.name}", listing)
        waiting += reversed(folders)


def _take(entry: "os.DirEntry[str]", name: str, listing: PictureListing) -> None:
    """Sort one entry that is no folder into what is read, what should be and is not, and what is of another kind."""
    suffix = os.path.splitext(entry.name)[1].lower()
    is_picture = suffix in SUFFIXES
    try:
        status = entry.stat()
        fault = "" if stat.S_ISREG(status.st_mode) else f"is {_name_file_type(status)}, not a file"
    except OSError as error:
        fault = "is a link to nothing" if error.errno in _GONE else error.strerror or str(error)
    if is_picture and not fault and _is_no_utf8(name):
        fault = "has a name that is not UTF-8; rename it"
    if entry.is_symlink() and fault == "is a folder, not a file":
        listing.left_out[f"{name}/"] = "is a link to a folder, which is not followed"
    elif is_picture and fault:
        listing.left_out[name] = fault
    elif is_picture:
        listing.files.append(Path(entry.path))
    elif not fault and suffix not in _OUR_INPUTS and entry.name.lower() not in _FILES_OF_OTHERS:
        listing.others[suffix] += 1


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _is_no_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False


def _name_file_type(status: os.stat_result) -> str:
    return next((name for is_one, name in _KINDS_OF_FILES if is_one(status.st_mode)), "something else")


def _suggest_way_out(suffix: str) -> str:
    kind = find_kind(suffix)
    return f" ({EXTRA})" if kind is not None and kind.package else ""
