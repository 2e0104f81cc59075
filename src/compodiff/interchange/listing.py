"""What lies below the root of a manifest's pictures, by name: members of tars, and files at an address.

A tar is listed once, by whichever worker is free, and the listing stays until the import is done: one that was stopped
lists the others, and one whose tar was fetched again lists that tar again.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from compodiff.execution import count_workers, map_shards
from compodiff.interchange.faults import DAMAGED_FILE, Fault
from compodiff.interchange.tars import list_members, list_tars
from compodiff.sets.addresses import is_address, list_files
from compodiff.sets.form import WHOLE_FILE
from compodiff.storage.atomic import replace_path
from compodiff.storage.ownership import delete_inside

MEMBERS, LISTED = "members.sqlite", "listed"
OWN = (MEMBERS, f"{LISTED}/*.sqlite")
_TABLES = (
    "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
    "CREATE TABLE member (name TEXT, tar TEXT, offset INTEGER, length INTEGER); CREATE TABLE fault (message TEXT)"
)


@dataclass(frozen=True)
class _Task:
    """A tar, its path from the root, and the file that its listing goes to."""

    path: Path
    own: str
    to: Path


def index_root(root: Path, folder: Path) -> Path | None:
    """Write where each picture below a root lies, by its name, and which tar breaks off: no picture is read.

    Args:
        root: folder or address.
        folder: of the set; keeps the index and what it is made of.

    Returns:
        The index, a SQLite file; None where files are looked for one by one.
    """
    tars = list_tars(root)
    has_listing = is_address(str(root)) and not str(root).startswith("http")
    if not tars and not has_listing:
        return None
    tasks = [_plan(path, root, folder / LISTED) for path in tars]
    missing = [task for task in tasks if not task.to.is_file()]
    if tars:
        done = len(tasks) - len(missing)
        what = "listing the pictures of tars"
        with tqdm(desc=what, total=len(tars), initial=done, unit=" tars", disable=None) as bar:
            for _ in map_shards(_list_tar, missing, workers=count_workers(), on_gpu=False):
                bar.update()
    index = folder / MEMBERS
    state = hashlib.sha256(" ".join(task.to.stem for task in tasks).encode()).hexdigest()
    if has_listing or not _is_of(index, state):
        _join([task.to for task in tasks], list_files(root) if has_listing else (), index, state)
    return index


def list_damaged(index: Path) -> tuple[Fault, ...]:
    """Return what an index says of tars that break off."""
    with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True)) as database:
        return tuple(Fault(DAMAGED_FILE, message) for (message,) in database.execute("SELECT message FROM fault"))


def forget_root(folder: Path) -> None:
    """Delete the index of a root, and what it was made of."""
    for path in (folder / MEMBERS, *(folder / LISTED).glob("*.sqlite")):
        delete_inside(path)


def _plan(path: Path, root: Path, listed: Path) -> _Task:
    status = path.stat()
    state = f"{path}\0{status.st_size}\0{status.st_mtime_ns}".encode("utf-8", "surrogateescape")
    own = path.relative_to(root).as_posix() if path != root else path.name
    return _Task(path, own, listed / f"{hashlib.blake2b(state, digest_size=16).hexdigest()}.sqlite")


def _list_tar(task: _Task) -> None:
    with replace_path(task.to) as temporary, closing(sqlite3.connect(temporary)) as database:
        database.executescript(_TABLES)
        members = ((name, task.own, *place) for name, *place in list_members(task.path))
        try:
            database.executemany("INSERT INTO member VALUES (?, ?, ?, ?)", members)
        except Fault as fault:  # members up to there are kept
            database.execute("INSERT INTO fault VALUES (?)", (str(fault),))
        database.commit()


def _is_of(index: Path, state: str) -> bool:
    if not index.is_file():
        return False
    with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True)) as database:
        try:
            return bool(database.execute("SELECT 1 FROM state WHERE digest = ?", (state,)).fetchone())
        except sqlite3.OperationalError:  # of an earlier version
            return False


def _join(listings: Sequence[Path], files: Iterable[tuple[str, int]], index: Path, state: str) -> None:
    with replace_path(index) as temporary, closing(sqlite3.connect(temporary)) as database:
        database.executescript(f"{_TABLES}; CREATE TABLE state (digest TEXT)")
        for listing in listings:
            database.execute("ATTACH ? AS own", (str(listing),))
            for table in ("member", "fault"):
                database.execute(f"INSERT INTO {table} SELECT * FROM own.{table}")  # noqa: S608 - names of ours
            database.commit()
            database.execute("DETACH own")
        rows = ((name, "", 0, WHOLE_FILE) for name, _ in files)
        database.executemany("INSERT INTO member VALUES (?, ?, ?, ?)", rows)
        database.execute("INSERT INTO state VALUES (?)", (state,))
        database.execute("CREATE INDEX by_name ON member (name)")
        database.commit()
