"""Running servers, so that a search in the shell finds one: a file each, readable by their user alone.

The files stand in XDG_RUNTIME_DIR, else in the model home. Nothing here imports torch.
"""

import json
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from compodiff.machine import is_alive
from compodiff.project import find_home


@dataclass(frozen=True)
class ServerRecord:
    """A server that answers.

    Attributes:
        pid: its process.
        address: http://HOST:PORT.
        token: that it asks for; "" for none.
        identity: what names its model and its index, see `LocatedSearch.identify`.
        index: the index's folder.
        pictures_root: the folder that the pictures' paths start from.
    """

    pid: int
    address: str
    token: str
    identity: str
    index: str
    pictures_root: str


def find_records_folder() -> Path:
    """Return where the records of this user's servers are; it may not be there."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return Path(runtime) / "compodiff" if runtime.startswith("/") else find_home() / "run"


def write_record(record: ServerRecord) -> None:
    """Put a record down, in place of an earlier one of this process; where that cannot be, no search finds the server.

    It may hold a token, so nobody else can read it.
    """
    folder = find_records_folder()
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(dir=folder)  # with mode 0600
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(record), file)
        Path(name).replace(folder / f"{record.pid}.json")


def remove_record(pid: int) -> None:
    """Remove the record of a server that has ended."""
    with suppress(OSError):
        (find_records_folder() / f"{pid}.json").unlink()


def find_record(identity: str) -> ServerRecord | None:
    """Return a server that has this model and this index open; records of processes that are gone are removed."""
    for path in sorted(find_records_folder().glob("*.json")):
        record = _read_record(path)
        if record is None:
            continue
        if not is_alive(record.pid):
            remove_record(record.pid)
        elif record.identity == identity:
            return record
    return None


def _read_record(path: Path) -> ServerRecord | None:
    """Return a record that this user wrote; None for anything else."""
    try:
        if path.stat().st_uid != os.getuid():
            return None
        return ServerRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
