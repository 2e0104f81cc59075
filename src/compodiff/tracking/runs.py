"""A training as MLflow sees it: params, curves, system metrics, and what it was made from (data, graph, code).

    with record_training("train_prior", params, artifacts / "prior") as run:
        train(..., on_metrics=run.log_metrics)

A store that is away never stops a training: what is to be told is kept (journal.py), said, and delivered later.
"""

import hashlib
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import yaml

from compodiff.errors import ResourceUnavailable, TrainingStopped
from compodiff.project import find_project_root
from compodiff.tracking.outbox import Heading, Journal, open_journal, open_kept_journals, read_clock
from compodiff.tracking.pipelines import describe_pipeline, end_left_pipelines, mark_run
from compodiff.tracking.store import Store, open_store
from compodiff.tracking.traces import describe_trace
from compodiff.watching.textfiles import publish_training

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

_log = logging.getLogger(__name__)
_SECONDS_BETWEEN_DELIVERIES = 5.0
_SECONDS_BEFORE_TRYING_AGAIN = 60.0
_ATTEMPTS_AT_THE_END, _SECONDS_BETWEEN_ATTEMPTS = 3, 2.0
_SECONDS_BETWEEN_SYSTEM_METRICS = 10


class Run(Protocol):
    """What a training calls while it runs; `record_training` makes it."""

    def log_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record metrics of one step."""

    def log_artifact(self, path: Path) -> None:
        """Record a file or a folder of the run, such as a curve or a report."""


class TrainingRun:
    """A run that goes to MLflow by way of its journal."""

    def __init__(self, name: str, journal: Journal, project: Path) -> None:
        self._name, self._step, self._last = name, 0, dict[str, float]()
        self._journal, self._project = journal, project
        self._store: Store | None = None
        self._monitor: SystemMetricsMonitor | None = None
        self._deliver_at = 0.0
        self._away_since: int | None = None

    def log_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record metrics of one step; they reach MLflow within seconds, in batches.

        Names hold letters, digits, `_`, `-`, `.`, `/` and spaces; MLflow takes no `@`.
        """
        self._step, self._last = step, {name: float(value) for name, value in metrics.items()}
        self._journal.add(step=step, metrics=self._last)
        self._publish(running=True)
        if time.monotonic() >= self._deliver_at:
            self.deliver()

    def log_artifact(self, path: Path) -> None:
        """Record a file or a folder of the run, such as a curve or a report."""
        self._journal.add(artifact=str(path.resolve()))

    def deliver(self) -> bool:
        """Tell MLflow what is recorded; return False, and say so once, where it is away."""
        try:
            self._store = self._store or open_store(self._project)
            self._journal.deliver(self._store)
        except ResourceUnavailable as error:
            self._deliver_at = time.monotonic() + _SECONDS_BEFORE_TRYING_AGAIN
            if self._away_since is None and not self._journal.ended:
                _log.warning(
                    "training goes on without MLflow, its metrics are kept in %s, those of the machine are not: %s",
                    self._journal.path,
                    error,
                )
                self._away_since = read_clock()
            return False
        self._deliver_at = time.monotonic() + _SECONDS_BETWEEN_DELIVERIES
        if self._away_since is not None and not self._journal.ended:
            self._note_gap()
            self._watch_machine()
        return True

    def pause(self) -> None:
        """Deliver what is recorded, and say that nobody runs it any more; the same training goes on as the same run."""
        self._publish(running=False)
        self._stop_watching()
        self._note_gap()
        if self.deliver():
            self._mark("KILLED")
        self._journal.close()

    def end(self, status: str) -> None:
        """Record how the run ended, deliver the rest, or say what could not be."""
        self._publish(running=False)
        self._stop_watching()
        self._note_gap()
        self._journal.add(status=status)
        if not self._deliver_patiently():
            _log.warning(
                "%d entries of this run are not in MLflow; the next command that writes there delivers them from %s",
                self._journal.undelivered,
                self._journal.path,
            )
        self._journal.close()

    def start(self) -> None:
        """Make the run known to MLflow and begin to sample the machine; leave both for later where it is away."""
        self._publish(running=True)
        goes_on = self._journal.run_id is not None
        if not self.deliver() or self._store is None:
            return
        if goes_on:
            self._mark("RUNNING")
        deliver_kept(self._store, self._project)
        self._watch_machine()

    def _publish(self, *, running: bool) -> None:
        publish_training(self._name, running=running, step=self._step, metrics=self._last)

    def _mark(self, status: str) -> None:
        if self._store is not None and self._journal.run_id is not None:
            mark_run(self._store, self._journal.run_id, self._journal.heading.tags, status)

    def _deliver_patiently(self) -> bool:
        """Try again where MLflow was there before, such as a server that is slow to answer just now."""
        for _ in range(_ATTEMPTS_AT_THE_END - 1):
            if self.deliver():
                return True
            if self._store is None:
                return False
            time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
        return self.deliver()

    def _note_gap(self) -> None:
        """Note in the run from when to when MLflow was away: it samples the machine itself, and keeps nothing."""
        if self._away_since is not None:
            ends = [datetime.fromtimestamp(it / 1000, UTC) for it in (self._away_since, read_clock())]
            self._journal.add(tag=["system_metrics_missing", f"{ends[0]:%FT%T+00:00} to {ends[1]:%FT%T+00:00}"])
            self._away_since = None

    def _watch_machine(self) -> None:
        """Begin to sample the machine, or begin again: MLflow's monitor ends where it finds no server."""
        if self._store is None:
            return
        self._stop_watching()
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._monitor = SystemMetricsMonitor(
            self._journal.run_id, _SECONDS_BETWEEN_SYSTEM_METRICS, resume_logging=True, tracking_uri=self._store.uri
        )
        self._monitor.start()

    def _stop_watching(self) -> None:
        if self._monitor is not None:
            self._monitor.finish()
            self._monitor = None


class SilentRun:
    """The run of a process that is not the first of a distributed training: the first one speaks for all."""

    def log_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record nothing."""

    def log_artifact(self, path: Path) -> None:
        """Record nothing."""


@contextmanager
def record_training(name: str, params: Mapping[str, Any], folder: Path) -> Iterator[Run]:
    """Record a training as one MLflow run; a run of the same name and params that was killed goes on as the same run.

    `params` decide the result; `folder` is any of the project's, such as the stage's output.

    Raises:
        ResourceUnavailable: mlruns/ cannot be written. An MLflow server that is away raises nothing.
    """
    if os.environ.get("RANK", "0") != "0":
        yield SilentRun()
        return
    project = find_project_root(folder)
    given = dict(flatten_params(params))
    heading = Heading(name, read_clock(), given, describe_origin(project) | describe_trace(given))
    journal = open_journal(project / "mlruns" / "undelivered", heading)
    run = TrainingRun(name, journal, project)
    run.start()
    try:
        yield run
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, TrainingStopped):
            run.end("FAILED")
        else:  # interrupted: the same training goes on later, and so does its run
            run.pause()
        raise
    run.end("FINISHED")


def record_scores(
    name: str, record: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]], files: Iterable[Path], folder: Path
) -> None:
    """Record a scored benchmark as one MLflow run: all that the scores depend on, every row's metrics, and files."""
    with record_training(name, record, folder) as run:
        for row, summary in rows.items():
            run.log_metrics(0, {f"{row}/{metric}": value for metric, value in summary["metrics"].items()})
        for path in files:
            run.log_artifact(path)


@contextmanager
def record_at_once(store: Store, project: Path, name: str, tags: Mapping[str, str]) -> Iterator[str]:
    """Record the block as one MLflow run and yield the run's id; a run that is killed is ended by the next command.

    Raises:
        ResourceUnavailable: MLflow cannot be reached, or mlruns/ cannot be written.
    """
    heading = Heading(name, read_clock(), {}, dict(tags), goes_on=False)
    journal = open_journal(project / "mlruns" / "undelivered", heading)
    try:
        journal.deliver(store)
        yield str(journal.run_id)
        journal.add(status="FINISHED")
        journal.deliver(store)
    except Exception:
        if not journal.ended:
            with suppress(ResourceUnavailable):  # then the next command tells it
                journal.add(status="FAILED")
                journal.deliver(store)
        raise
    finally:
        journal.close()


def deliver_kept(store: Store, project: Path, *, only_ended: bool = False) -> int:
    """Deliver what earlier runs of `project` could not, say what still cannot; return how many runs were delivered.

    Every command that writes to MLflow does so, hence a run ends there however late.

    Args:
        store: of the project.
        project: the folder that holds params.yaml.
        only_ended: leave a run that was cut off alone, for the same training to go on with; else it is noted as killed.
    """
    delivered = 0
    for journal in open_kept_journals(project / "mlruns" / "undelivered"):
        if not journal.ended and only_ended and journal.heading.goes_on:
            journal.close()
            continue
        if not journal.ended:
            journal.add(status="KILLED")
        try:
            journal.deliver(store)
            delivered += 1
        except ResourceUnavailable as error:
            _log.warning("%s is still not in MLflow: %s", journal.path, error)
        finally:
            journal.close()
    end_left_pipelines(store)
    return delivered


def describe_origin(project: Path) -> dict[str, str]:
    """Return what a run in `project` is made from, as tags: git commit, digests of data and dvc.lock, pipeline."""
    tags = {"compodiff_version": version("compodiff"), **describe_pipeline()}
    if shutil.which("git"):
        command = ("git", "-C", str(project), "rev-parse", "HEAD")
        git = subprocess.run(command, capture_output=True, text=True, check=False)
        if git.returncode == 0:
            tags["mlflow.source.git.commit"] = git.stdout.strip()
    data = project / "data.dvc"
    if data.is_file():
        tags["data_digest"] = str(yaml.safe_load(data.read_text(encoding="utf-8"))["outs"][0]["md5"])
    lock = project / "dvc.lock"
    if lock.is_file():
        tags["dvc_lock_digest"] = hashlib.md5(lock.read_bytes(), usedforsecurity=False).hexdigest()
    return tags


def flatten_params(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested params as MLflow takes them: dotted names, values as text."""
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from flatten_params(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
