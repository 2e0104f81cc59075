"""Files of this machine, and files at addresses that fsspec opens (s3://bucket/set), read in one way.

What goes wrong at an address is one line, whatever classes its kind of storage raises.
"""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from compodiff.errors import CompoDiffError, InputInvalid, ResourceUnavailable
from compodiff.images.files import is_regular

_BUFFER = 2**16  # bytes


def is_address(name: str) -> bool:
    """Return whether a name is an address of fsspec's, not a path."""
    return "://" in name


def join_address(folder: str, name: str) -> str:
    """Return where `name` lies, seen from a folder; an absolute path or an address stays as it is."""
    if is_address(name) or os.path.isabs(name):
        return name
    return f"{folder.rstrip('/')}/{name}" if is_address(folder) else os.path.normpath(os.path.join(folder, name))


def as_path(name: str | Path) -> Path:
    """Return a path, or for an address what has a path's methods.

    Raises:
        InputInvalid: fsspec knows no such kind of address.
    """
    if not is_address(str(name)):
        return Path(name)
    from upath import UPath

    with explain_failures(str(name)):
        return cast(Path, UPath(str(name)))


def locate(path: Path) -> str:
    """Return the absolute path, or the address, of what `as_path` returned or what lies below it."""
    return str(path) if is_address(str(path)) else os.path.abspath(path)


def is_file(path: Path) -> bool:
    """Return whether a regular file is at a path or an address.

    Raises:
        ResourceUnavailable: the address cannot be reached.
    """
    if not is_address(str(path)):
        return is_regular(path)
    with explain_failures(str(path)):
        try:
            return stat.S_ISREG(path.stat().st_mode)
        except FileNotFoundError:
            return False


def list_files(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the files below an address, at any depth, by their paths from there, in order, and their sizes."""
    at: Any = folder
    start = at.path.rstrip("/") + "/"
    for path, info in sorted(at.fs.find(at.path, detail=True).items()):
        if path.startswith(start) and info["type"] == "file":
            yield path.removeprefix(start), info["size"]


def open_binary(path: Path) -> BinaryIO:
    """Open a file to read it; at an address a part of it is fetched as it is read.

    Raises:
        OSError: a file of this machine cannot be opened.
        InputInvalid: nothing is at the address.
        ResourceUnavailable: the address cannot be reached, now or while it is read.
    """
    if not is_address(str(path)):
        return path.open("rb")
    with explain_failures(str(path)):
        return cast(BinaryIO, io.BufferedReader(_RemoteFile(path.open("rb"), str(path)), _BUFFER))


@contextmanager
def explain_failures(address: str) -> Iterator[None]:
    """Turn what is raised while an address is read into one line.

    Raises:
        InputInvalid: nothing is there, or fsspec knows no such kind of address.
        ResourceUnavailable: it cannot be reached, or asks for credentials that are missing or wrong.
    """
    try:
        yield
    except CompoDiffError:
        raise
    except FileNotFoundError as error:
        raise InputInvalid(f"nothing is at {address}") from error
    except (ValueError, ImportError) as error:
        raise InputInvalid(f"{address} cannot be opened: {' '.join(str(error).split())}") from error
    except Exception as error:  # each kind of storage raises classes of its own
        told = " ".join(str(error).split()) or type(error).__name__
        raise ResourceUnavailable(f"{address} cannot be read: {told}; check the network and credentials") from error


class _RemoteFile(io.RawIOBase):
    """A file of fsspec's whose failures are explained."""

    def __init__(self, file: Any, address: str) -> None:
        self._file, self._address = file, address

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        with explain_failures(self._address):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any, /) -> int:
        with explain_failures(self._address):
            content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
