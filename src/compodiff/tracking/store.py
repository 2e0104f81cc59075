"""Where runs and models are kept: mlruns/ beside params.yaml, or the server that MLFLOW_TRACKING_URI names.

Everything goes through a client of its own: MLflow's `set_tracking_uri` would leak into every child process.
"""

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compodiff.errors import ResourceUnavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "compodiff"

_log = logging.getLogger(__name__)

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # A server that does not answer must not hold training up for MLflow's own default of several minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # what a command prints there is its answer
}
_TALKATIVE = (
    "alembic",
    "mlflow.pyfunc",
    "mlflow.store.db.utils",
    "mlflow.store.model_registry.abstract_store",
    "mlflow.system_metrics",
)
# Where MLflow keeps places of artifacts, as absolute addresses: wrong once the project was moved or copied.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


@dataclass(frozen=True)
class Store:
    """An open MLflow store and the experiment that this project's runs belong to."""

    client: "MlflowClient"
    experiment_id: str
    uri: str


def say_how_to_show_runs(project: Path) -> str:
    """Return the command that serves the project's own store on http://127.0.0.1:5000."""
    if (project / "Makefile").is_file():
        return "make ui"
    return "mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db --host 127.0.0.1"


def open_store(project: Path) -> Store:
    """Open the project's MLflow store; an SQLite file and the experiment are made where they are not there.

    Raises:
        ResourceUnavailable: the server or the file cannot be reached.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow

    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    mlruns = project.resolve() / "mlruns"
    own = f"sqlite:///{mlruns}/mlflow.db"
    uri = os.environ.get("MLFLOW_TRACKING_URI") or own
    artifacts = None
    with require_answers(uri):
        if uri.startswith("sqlite:"):
            (mlruns / "artifacts").mkdir(parents=True, exist_ok=True)
            artifacts = (mlruns / "artifacts").as_uri()
        if uri == own and artifacts:
            _follow_a_move(mlruns / "mlflow.db", EXPERIMENT, artifacts)
        client = mlflow.MlflowClient(tracking_uri=uri)
        return Store(client, _find_experiment(client, artifacts), uri)


@contextmanager
def require_answers(uri: str) -> Iterator[None]:
    """Turn whatever MLflow raises when it cannot be reached, or refuses, into one error of ours.

    Raises:
        ResourceUnavailable: with the address, less the credentials in it, and MLflow's reason.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        reason = remove_credentials(" ".join(str(error).split()))[:200]
        failed = f"a request to MLflow at {remove_credentials(uri)} failed ({reason})"
        raise ResourceUnavailable(f"{failed}; check MLFLOW_TRACKING_URI and run again") from error


def remove_credentials(text: str) -> str:
    """Return `text` with user names and passwords cut out of the addresses in it."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def _find_experiment(client: "MlflowClient", artifacts: str | None) -> str:
    from mlflow.entities import LifecycleStage
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is not None and experiment.lifecycle_stage == LifecycleStage.DELETED:
        client.restore_experiment(experiment.experiment_id)
        _log.warning("the experiment %s was deleted in MLflow; it is restored, with its runs", EXPERIMENT)
    if experiment is None:
        try:
            return client.create_experiment(EXPERIMENT, artifacts)
        except MlflowException:  # another process made it in between
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                raise
    return str(experiment.experiment_id)


def _follow_a_move(database: Path, experiment: str, artifacts: str) -> bool:
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
