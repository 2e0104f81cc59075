"""Digests of files: the same bytes have the same one."""

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

from compodiff.storage.kept import keep, read_kept

_KIND = "digests"


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

    What was computed is kept in the user's cache (storage/kept.py).
    """
    status = path.stat()
    state = [status.st_size, status.st_mtime_ns]
    key = digest_bytes(os.fsencode(path.resolve()))[:32]
    known = read_kept(_KIND, key)
    if known is not None and known.get("state") == state and "sha256" in known:
        return str(known["sha256"])
    digest = digest_file(path)
    if time.time() - status.st_mtime > SETTLED_SECONDS:
        keep(_KIND, key, {"path": str(path.resolve()), "state": state, "sha256": digest})
    return digest
