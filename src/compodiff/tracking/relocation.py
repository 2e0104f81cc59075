"""A project whose folder was moved or copied: MLflow keeps the places of its artifacts as absolute addresses."""

import sqlite3
from contextlib import closing
from pathlib import Path

_PLACE = "SELECT artifact_location FROM experiments WHERE name = ?"
_MOVES = (
    "UPDATE experiments SET artifact_location = :new || substr(artifact_location, length(:old) + 1)"
    " WHERE substr(artifact_location, 1, length(:old)) = :old",
    "UPDATE runs SET artifact_uri = :new || substr(artifact_uri, length(:old) + 1)"
    " WHERE substr(artifact_uri, 1, length(:old)) = :old",
    "UPDATE logged_models SET artifact_location = :new || substr(artifact_location, length(:old) + 1)"
    " WHERE substr(artifact_location, 1, length(:old)) = :old",
    "UPDATE model_versions SET source = :new || substr(source, length(:old) + 1)"
    " WHERE substr(source, 1, length(:old)) = :old",
    "UPDATE model_versions SET storage_location = :new || substr(storage_location, length(:old) + 1)"
    " WHERE substr(storage_location, 1, length(:old)) = :old",
)


def follow_a_move(database: Path, experiment: str, artifacts: str) -> bool:
    """Let an SQLite store say where its artifacts are now, all of it or nothing; return whether they had moved.

    The place of `experiment` tells the old address. Nothing happens where there is no database yet.
    """
    if not database.is_file():
        return False
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchone():
            return False
        found = connection.execute(_PLACE, (experiment,)).fetchone()
        if found is None or found[0] == artifacts:
            return False
        for move in _MOVES:
            connection.execute(move, {"old": found[0], "new": artifacts})
    return True
