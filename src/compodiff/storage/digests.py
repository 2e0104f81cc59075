"""Digests of files: the same bytes have the same one."""

import hashlib
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


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
    try:
        known = json.loads(kept.read_text(encoding="utf-8"))
        if known["state"] == state:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none is kept, or it is damaged
    digest = digest_file(path)
    if time.time() - status.st_mtime > SETTLED_SECONDS:
        _keep(kept, json.dumps({"path": str(path.resolve()), "state": state, "sha256": digest}))
    return digest


def _find_cache() -> Path:
    named = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(named) if named.startswith("/") else Path.home() / ".cache") / "compodiff" / "digests"


def _keep(path: Path, content: str) -> None:
    """Write a digest for the next time; without it, that time reads the file."""
    own = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(content, encoding="utf-8")
        own.replace(path)
    except OSError:
        with suppress(OSError):
            own.unlink(missing_ok=True)
