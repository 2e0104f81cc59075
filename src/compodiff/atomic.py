"""Files and folders that appear whole or not at all: written under a temporary name, synced, then renamed."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compodiff.errors import ResourceUnavailable


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary file name beside `path`; rename it to `path` when the block ends well.

    Raises:
        ResourceUnavailable: the disk is full; nothing is left under `path` or the temporary name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_what_a_kill_left(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with _disk_full_named(path):
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
        ResourceUnavailable: the disk is full; an earlier `path` is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_what_a_kill_left(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    retired = path.with_name(f".{path.name}.{os.getpid()}.retired")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with _disk_full_named(path):
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


@contextmanager
def _disk_full_named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ResourceUnavailable(f"no space left on the disk while writing {path}; free some and run again") from error
