"""Digests of files: the same bytes have the same one."""

import hashlib
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from compodiff.errors import CompoDiffError
from compodiff.storage.atomic import write_json


def digest_file(path: Path) -> str:
    """Return the sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_bytes(content: bytes) -> str:
    """Return the sha256 of bytes, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def digest_files(paths: Iterable[Path]) -> str:
    """Return the sha256 of files one after the other, hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


SETTLED_SECONDS = 2  # a file that changed a moment ago may change again within the same tick of its time


def digest_once(path: Path) -> str:
    """Return the sha256 of a file, which is read only where it has changed since: its size or its time.

    What was computed is kept in the user's cache (XDG_CACHE_HOME, or ~/.cache), where that can be written.
    """
    status = path.stat()
    state = [status.st_size, status.st_mtime_ns]
    kept = _find_cache() / f"{digest_bytes(str(path.resolve()).encode())[:32]}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):  # none is kept, or it is damaged
        known = json.loads(kept.read_text(encoding="utf-8"))
        if known["state"] == state:
            return str(known["sha256"])
    digest = digest_file(path)
    if kept.is_absolute() and time.time() - status.st_mtime > SETTLED_SECONDS:
        with suppress(CompoDiffError):  # the next time reads the file
            write_json(kept, {"path": str(path.resolve()), "state": state, "sha256": digest})
    return digest


def _find_cache() -> Path:
    """Return the folder of kept digests; a relative one where the user has no home."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    home = named if named.startswith("/") else os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "compodiff" / "digests"
