"""One file, whatever it is: only regular files are opened, and none is waited for."""

import errno
import os
import stat
from pathlib import Path

from PIL import Image

from compodiff.errors import InputInvalid
from compodiff.images.decoding import decode
from compodiff.images.kinds import GIF, HEAD, JPEG, PNG, detect_kind, is_surely_picture

_TAIL = 16  # bytes that show whether a picture ends as its kind does
_ENDS = {JPEG.name: (b"\xff\xd9",), PNG.name: (b"IEND\xaeB`\x82",), GIF.name: (b"\0;",)}
_LARGEST = 2**30  # bytes of a picture's file
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_KINDS_OF_FILES = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


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
                raise InputInvalid(f"is {name_file_type(status)}, not a file")
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


def looks_like_picture(path: str) -> bool:
    """Return whether a regular file, whatever its name, begins as a picture; False where it cannot be read."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
            return is_surely_picture(file.read(HEAD) or b"")
    except (OSError, ValueError):
        return False


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
        return error.errno in GONE


def name_file_type(status: os.stat_result) -> str:
    """Name what a file is that is no regular one."""
    return next((name for is_one, name in _KINDS_OF_FILES if is_one(status.st_mode)), "something else")
