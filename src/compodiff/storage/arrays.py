"""NumPy's files, read so that a missing one, or bytes that are no array, end in one line that names the file."""

import errno
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from compodiff.errors import InputInvalid

# What NumPy raises on a header or a zip that is cut short or changed; KeyError, for an array that an archive has not.
_FAULTS = (
    OSError,
    ValueError,
    KeyError,
    SyntaxError,
    TokenError,
    EOFError,
    TypeError,
    AttributeError,
    IndexError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)
_MISSING = (errno.ENOENT, errno.ENOTDIR)
_REMEDY = "remove it and run again"  # of what is kept for the next run, and made anew where it is not there

Header = tuple[tuple[int, ...], bool, np.dtype[Any]]  # shape, whether the order is Fortran's, and type


@contextmanager
def expect_arrays(path: Path, remedy: str = _REMEDY) -> Iterator[None]:
    """Raise InputInvalid for whatever NumPy raises in the block on the file `path`; `remedy` is the way out."""
    try:
        yield
    except _FAULTS as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())[:300]
        if isinstance(error, OSError) and error.errno not in (None, *_MISSING):  # it may be whole
            raise InputInvalid(f"{path} cannot be read ({said}); see to that and run again") from error
        if "allow_pickle" in said:  # NumPy advises to read it unsafely
            said = "no array, or one of objects, which are not read"
        reason = said if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {said}"
        raise InputInvalid(f"{path} is missing or damaged ({reason}); {remedy}") from error


def open_array(path: Path, *, mapped: bool = True, remedy: str = _REMEDY) -> NDArray[Any]:
    """Open a .npy file, memory-mapped unless `mapped` is false; nothing in it is unpickled.

    Raises:
        InputInvalid: it is not there, cannot be read, holds no array, or is cut short.
    """
    with expect_arrays(path, remedy):
        if mapped:
            return np.lib.format.open_memmap(path, mode="r")
        with path.open("rb") as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            return array


@contextmanager
def open_archive(path: Path, remedy: str = _REMEDY) -> Iterator[NpzFile]:
    """Open a .npz file, whose arrays are read in the block; nothing in it is unpickled.

    Raises:
        InputInvalid: it is not there, cannot be read, is no archive, is cut short, or what the block reads of it is no
            array, or not there.
    """
    # Opened here, as NumPy leaves a damaged one open.
    with expect_arrays(path, remedy), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        yield arrays


def read_header(path: Path, file: IO[bytes], remedy: str = _REMEDY) -> Header:
    """Read the header of the array at the start of `file`, which `path` names; `file` stays behind it.

    Raises:
        InputInvalid: it cannot be read, or is no header of an array.
    """
    with expect_arrays(path, remedy):
        is_first = np.lib.format.read_magic(file) == (1, 0)
        read: Any = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read(file)
        return shape, is_fortran, dtype


def read_archived_header(path: Path, name: str, remedy: str = _REMEDY) -> Header:
    """Read the header of the array `name` of a .npz file, without the array.

    Raises:
        InputInvalid: the file is not there, is no archive, or has no such array.
    """
    with expect_arrays(path, remedy), zipfile.ZipFile(path) as packed, packed.open(f"{name}.npy") as file:
        return read_header(path, file, remedy)
