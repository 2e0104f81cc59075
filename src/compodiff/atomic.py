"""Files and folders that appear whole or not at all: written under a temporary name, synced, then renamed."""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compodiff.errors import CompoDiffError, InputInvalid, ResourceUnavailable

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_IN_WORDS = r"No space left|\d+ requested and \d+ written"  # safetensors', NumPy's
_WRONG = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary file name beside `path`; rename it to `path` when the block ends well.

    Raises:
        ResourceUnavailable: the disk is full or `path` may not be written; nothing is left under its temporary name.
        InputInvalid: `path` is a folder, or lies below a file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with _Writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_what_a_kill_left(path)
        if path.is_dir():
            raise InputInvalid(f"{path} is a folder; name a file")
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; it replaces `path` when the block ends well.

    Raises:
        ResourceUnavailable: the disk is full or `path` may not be written; an earlier `path` is left as it was.
        InputInvalid: `path` is a file, or lies below one.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    retired = path.with_name(f".{path.name}.{os.getpid()}.retired")
    with _Writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_what_a_kill_left(path)
        if path.exists() and not path.is_dir():
            raise InputInvalid(f"{path} is a file; name a folder")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            yield temporary
            for file in sorted(temporary.rglob("*")):
                if file.is_file():
                    _sync(file)
            if path.exists():
                path.replace(retired)
            temporary.replace(path)
            _sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(retired, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as sorted, indented JSON, whole or not at all; NaN and infinity are refused."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def _clear_what_a_kill_left(path: Path) -> None:
    """Remove temporary names of dead processes; a folder that was retired but not yet replaced comes back."""
    for leftover in sorted(path.parent.glob(f".{path.name}.*")):
        owner, _, kind = leftover.name.removeprefix(f".{path.name}.").partition(".")
        if kind not in ("partial", "retired") or not owner.isdigit() or Path(f"/proc/{owner}").exists():
            continue
        if kind == "retired" and not path.exists():
            leftover.replace(path)
        elif leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Writing:
    """Names what goes wrong where `path` is written."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, CompoDiffError):
            return
        number = error.errno if isinstance(error, OSError) else None
        if number in _FULL or re.search(_FULL_IN_WORDS, str(error)):
            raise ResourceUnavailable(
                f"no space left on the disk while writing {self._path}; free some and run again"
            ) from error
        if number not in (*_WRONG, *_FORBIDDEN) or not self._is_here(getattr(error, "filename", None)):
            return
        reason = f"{self._path} cannot be written ({os.strerror(number or 0)}); name another place"
        if number in _WRONG:
            raise InputInvalid(reason) from error
        raise ResourceUnavailable(f"{reason} or change its rights") from error

    def _is_here(self, filename: object) -> bool:
        """Whether an error is about `path`, what it lies in, or its temporary name."""
        if not isinstance(filename, str | os.PathLike):
            return False
        place = Path(os.fsdecode(filename))
        return self._path.is_relative_to(place) or any(
            part == self._path.name or part.startswith(f".{self._path.name}.") for part in place.parts
        )
