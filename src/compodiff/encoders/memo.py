"""What frozen towers made of pictures and texts before, kept by content: a stage does not run them on what another did.

One SQLite file that several processes read and write; a killed one leaves it whole. Deleting it costs time and changes
no result. The default pipeline keeps about 0.7 GB in it.
"""

import hashlib
import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

NAME = ".towers.sqlite"
MOST_BYTES = 2 * 2**30  # beyond, the older half is forgotten
SECONDS_FOR_OTHERS = 60  # that another process may hold the file
log = logging.getLogger(__name__)


class TowerMemo:
    """Values by owner (which weights made them) and content (of what)."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self.path, self._most_bytes = path, most_bytes
        self._database: sqlite3.Connection | None = None
        try:
            self._database = _open_database(path)
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def look_up(
        self, owner: str, contents: Sequence[bytes], make: Callable[[list[int]], list[bytes]], *, keep: bool = True
    ) -> list[bytes]:
        """Return the value of each of `contents`.

        Args:
            owner: what makes the values: a digest of weights, and what of their outputs is kept.
            contents: what they are made of.
            make: places in `contents` -> their values; called once with those that are not known, if any.
            keep: whether what was made is kept.
        """
        keys = [hashlib.sha256(owner.encode() + b"\0" + content).digest() for content in contents]
        known = self._read(keys)
        missing = [place for place, key in enumerate(keys) if key not in known]
        if missing:
            made = dict(zip((keys[place] for place in missing), make(missing), strict=True))
            if keep:
                self._write(made)
            known |= made
        return [known[key] for key in keys]

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        if self._database is None:
            return {}
        try:
            rows = [
                self._database.execute("SELECT value FROM outputs WHERE key = ?", (key,)).fetchone() for key in keys
            ]
        except sqlite3.Error as error:
            self._give_up(error)
            return {}
        return {key: row[0] for key, row in zip(keys, rows, strict=True) if row}

    def _write(self, made: dict[bytes, bytes]) -> None:
        if self._database is None:
            return
        try:
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                if self.path.stat().st_size > self._most_bytes:
                    middle = "SELECT (min(rowid) + max(rowid)) / 2 FROM outputs"
                    self._database.execute(f"DELETE FROM outputs WHERE rowid <= ({middle})")  # noqa: S608 - no input
                self._database.executemany("INSERT OR IGNORE INTO outputs VALUES (?, ?)", made.items())
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Go on without: a full disk or a damaged file costs time only."""
        log.warning("outputs of the towers are not kept: %s (%s); it may be deleted", self.path, error)
        self._database = None


def _open_database(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, timeout=SECONDS_FOR_OTHERS, isolation_level=None)
    database.execute("PRAGMA synchronous = OFF")  # a killed process loses nothing by it, and a memo may be lost
    database.execute("CREATE TABLE IF NOT EXISTS outputs (key BLOB PRIMARY KEY, value BLOB NOT NULL)")
    return database
