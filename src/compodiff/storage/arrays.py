"""NumPy's files, read so that bytes that are no array end in a ValueError of one line, or an OSError."""

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

# What NumPy raises beside ValueError on a header or a zip that is cut short or changed.
_FAULTS = (
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


@contextmanager
def expect_arrays() -> Iterator[None]:
    """Raise a ValueError of one line for whatever NumPy raises in the block on bytes that are no array."""
    try:
        yield
    except (ValueError, *_FAULTS) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(reason if isinstance(error, ValueError) else f"{type(error).__name__}: {reason}") from error


def open_array(path: Path, *, mapped: bool = True) -> NDArray[Any]:
    """Open a .npy file, memory-mapped unless `mapped` is false; nothing in it is unpickled.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds no array, or is cut short.
    """
    with expect_arrays():
        if mapped:
            return np.lib.format.open_memmap(path, mode="r")
        with path.open("rb") as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            return array


@contextmanager
def open_archive(path: Path) -> Iterator[NpzFile]:
    """Open a .npz file, whose arrays are read in the block; nothing in it is unpickled.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no archive, is cut short, or what the block reads of it is no array.
        KeyError: the block reads an array that it has not.
    """
    # Opened here, as NumPy leaves a damaged one open.
    with path.open("rb") as file, expect_arrays(), np.load(file, allow_pickle=False) as arrays:
        yield arrays


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether the order is Fortran's, and type of the array at the start of `file`; it stays behind them.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no header of an array.
    """
    with expect_arrays():
        is_first = np.lib.format.read_magic(file) == (1, 0)
        read: Any = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read(file)
        return shape, is_fortran, dtype
