"""Files and folders that appear whole or not at all: written under a temporary name, synced, then renamed.

Nothing that belongs to somebody is replaced: ownership.py says what is ours.
"""

import errno
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compodiff.errors import CompoDiffError, InputInvalid, ResourceUnavailable
from compodiff.machine import is_alive
from compodiff.storage.ownership import (
    delete_partial,
    delete_retired,
    find_partials,
    find_retired,
    is_signed,
    make_signature,
    mark_folder,
    name_partial,
    name_retired,
    read_marked_patterns,
    require_replaceable_file,
    require_replaceable_folder,
)

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EISDIR)
_FULL_IN_WORDS = r"No space left|\d+ requested and \d+ written"  # safetensors', NumPy's
_WRONG = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY)


@contextmanager
def replace_path(path: Path, kind: str = "") -> Iterator[Path]:
    """Yield a temporary file name beside `path`; rename it to `path` when the block ends well. Links are followed.

    Args:
        path: the file.
        kind: what it is, in words ("page"), where a person chose its place: the block writes `make_signature(kind)`
            into it, and only a file that carries it is replaced. "" for a file in a folder of ours.

    Raises:
        ResourceUnavailable: the disk is full or `path` may not be written; nothing is left under its temporary name.
        InputInvalid: `path` is a folder, lies below a file, or is a file of somebody's.
    """
    path = Path(os.path.realpath(path))
    temporary = name_partial(path)
    with _Writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_what_a_kill_left(path)
        if path.is_dir():
            raise InputInvalid(f"{path} is a folder; name a file")
        if kind:
            require_replaceable_file(path, kind)
        try:
            yield temporary
            if kind and not is_signed(temporary, kind):
                raise AssertionError(f"{path} was written without its signature, {make_signature(kind)}")
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
        finally:
            delete_partial(temporary)


@contextmanager
def replace_folder(path: Path, kind: str) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; it replaces `path` when the block ends well. Links are followed.

    Only a folder of the same kind, in words ("index"), that we wrote is replaced.

    Raises:
        ResourceUnavailable: the disk is full or `path` may not be written; an earlier `path` is left as it was.
        InputInvalid: `path` is a file, lies below one, or holds something that is not ours.
    """
    path = Path(os.path.realpath(path))
    temporary = name_partial(path)
    with _Writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_what_a_kill_left(path)
        require_replaceable_folder(path, kind)
        temporary.mkdir()
        try:
            yield temporary
            mark_folder(temporary, kind)
            for file in sorted(temporary.rglob("*")):
                if file.is_file():
                    _sync(file)
            require_replaceable_folder(path, kind)  # the block may have taken hours
            _put_in_place(temporary, path)
        finally:
            delete_partial(temporary)


def open_work_folder(path: Path, kind: str, patterns: Sequence[str]) -> Path:
    """Make a folder that is filled little by little, or take up the one that an earlier run filled.

    Its marker says its kind, in words, and the names that will be written into it (`ownership.mark_folder`).

    Returns:
        The folder, links followed.

    Raises:
        ResourceUnavailable: it may not be written.
        InputInvalid: it is a file, lies below one, or holds something that is not ours.
    """
    path = Path(os.path.realpath(path))
    with _Writing(path):
        require_replaceable_folder(path, kind)
        path.mkdir(parents=True, exist_ok=True)
        known = read_marked_patterns(path)
        if not known.issuperset(patterns):
            mark_folder(path, kind, [*known, *patterns])
    return path


def write_json(path: Path, value: Any, kind: str = "") -> None:
    """Write `value` as sorted, indented JSON, whole or not at all; NaN and infinity are refused.

    With `kind` (see `replace_path`), `value` is an object, and the signature its entry "written_by".
    """
    content = {**value, "written_by": make_signature(kind)} if kind else value
    with replace_path(path, kind) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def _put_in_place(folder: Path, path: Path) -> None:
    """Rename `folder` to `path`, where an earlier one may stand; that is deleted last."""
    retired = name_retired(path)
    if path.exists():
        path.replace(retired)
    try:
        folder.replace(path)
    except BaseException:
        if retired.exists():
            retired.replace(path)
        raise
    _sync(path.parent)
    delete_retired(retired)


def _clear_what_a_kill_left(path: Path) -> None:
    """Remove temporary names of dead processes; a folder that was retired but not yet replaced comes back."""
    for retired, owner in find_retired(path):
        if _is_writing(owner):
            continue
        if not path.exists():
            retired.replace(path)
        else:
            delete_retired(retired)
    for partial, owner in find_partials(path):
        if not _is_writing(owner):
            delete_partial(partial)


def _is_writing(process: int) -> bool:
    """Return whether another process may still be writing; an earlier one may have had this process's own number."""
    return process != os.getpid() and is_alive(process)


def _sync(path: Path) -> None:
    """Have a file or a folder on the disk; some network file systems cannot be asked that of a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC or not path.is_dir():
            raise
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
        """Return whether an error is about `path`, what it lies in, or its temporary name."""
        if not isinstance(filename, str | os.PathLike):
            return False
        place = Path(os.fsdecode(filename))
        return self._path.is_relative_to(place) or any(
            part == self._path.name or part.startswith(f".{self._path.name}.") for part in place.parts
        )
