"""Which version an alias of the project's own store stands for, read from its SQLite file without MLflow's client.

A search asks this each time, and the client takes two processor seconds to import. Whatever is not as expected here (a
server, a store that moved or is not there yet, other tables) is left to the client, which says what is wrong.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from compodiff.tracking.store import EXPERIMENT

_FOUND = """
    SELECT version, coalesce(nullif(storage_location, ''), source) FROM model_versions AS them
    WHERE name = :model AND current_stage <> 'Deleted_Internal'
    AND CASE WHEN :number THEN version = :number ELSE EXISTS (
        SELECT 1 FROM registered_model_aliases AS known
        WHERE known.name = them.name AND known.version = them.version AND known.alias = :name
    ) END
"""


@dataclass(frozen=True)
class StoredVersion:
    """A version of the registered model, and the folder of its files."""

    number: str
    folder: Path


def find_stored_version(project: Path, model: str, name: str) -> StoredVersion | None:
    """Return the version of `model` that an alias or a number stands for; None where the client has to be asked.

    Args:
        project: whose store it is.
        model: name of the registered model.
        name: an alias, or the number of a version.
    """
    mlruns = project.resolve() / "mlruns"
    own = f"sqlite:///{mlruns}/mlflow.db"
    if os.environ.get("MLFLOW_TRACKING_URI") not in (None, "", own) or not (mlruns / "mlflow.db").is_file():
        return None
    number = int(name) if name.isdecimal() else 0
    try:
        with _open_read_only(mlruns / "mlflow.db") as connection:
            # Its place tells whether the store was moved.
            place = connection.execute("SELECT artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,))
            if place.fetchone() != ((mlruns / "artifacts").as_uri(),):
                return None
            found = connection.execute(_FOUND, {"model": model, "number": number, "name": name}).fetchall()
    except sqlite3.Error:
        return None
    if len(found) != 1:
        return None
    address = urlsplit(str(found[0][1]))
    folder = Path(unquote(address.path)) / "artifacts"
    return StoredVersion(str(found[0][0]), folder) if address.scheme == "file" and folder.is_dir() else None


@contextmanager
def _open_read_only(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
        yield connection
