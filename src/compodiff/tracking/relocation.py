"""A project whose folder was moved or copied: MLflow keeps the places of its artifacts as absolute addresses."""

import sqlite3
from contextlib import closing
from pathlib import Path

_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
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
        found = connection.execute("SELECT artifact_location FROM experiments WHERE name = ?", (experiment,)).fetchone()
        if found is None or found[0] == artifacts:
            return False
        for table, column in _PLACES:
            moved = f"{column} = :new || substr({column}, length(:old) + 1)"
            move = f"UPDATE {table} SET {moved} WHERE substr({column}, 1, length(:old)) = :old"  # noqa: S608
            connection.execute(move, {"old": found[0], "new": artifacts})
    return True
