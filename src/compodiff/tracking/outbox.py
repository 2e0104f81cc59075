"""What a run has to tell MLflow, first in a file: a server that is away costs nothing, a killed run is continued.

One run is one file of JSON lines under mlruns/undelivered/, locked while its process lives. Its lines carry their own
time stamps, so that MLflow takes a line told twice as one. The file leaves when all of it, with its end, is delivered.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from compodiff.errors import ResourceUnavailable
from compodiff.machine import lock_file
from compodiff.tracking.pipelines import join_pipeline, update_pipeline
from compodiff.tracking.store import Store, require_answers

_METRICS_PER_REQUEST = 1000
_PARAMS_PER_REQUEST = 100
_DIGEST = 36  # characters that MLflow takes of a data set's digest
_JOURNAL = "journal"  # tag of a run: the file that tells it
_log = logging.getLogger(__name__)


def read_clock() -> int:
    """Return the time as MLflow writes it: milliseconds since 1970."""
    return int(time.time() * 1000)


@dataclass(frozen=True)
class Heading:
    """Who a run is. Two of one name and the same params are one run: the second goes on where the first was killed.

    But not where `goes_on` is false: what takes seconds is begun anew, and the run that was killed ends.
    """

    name: str
    started: int
    params: dict[str, str]
    tags: dict[str, str]
    goes_on: bool = True

    @property
    def identity(self) -> str:
        """The name and a digest of the params, fit for a file's name."""
        return f"{self.name}-{digest_params(self.params)}"


def digest_params(params: Mapping[str, str]) -> str:
    """Return a digest of a run's params, sixteen characters long."""
    return hashlib.sha256(json.dumps(dict(params), sort_keys=True).encode()).hexdigest()[:16]


class Journal:
    """One run's file, open and locked for this process alone."""

    def __init__(self, path: Path, file: IO[str], heading: Heading) -> None:
        self.path = path
        self.heading = heading
        self.run_id: str | None = None
        self.ended = False
        self.status = ""  # how it ended
        self._file = file
        self._undelivered: list[dict[str, Any]] = []

    @property
    def undelivered(self) -> int:
        """How many entries MLflow has not got."""
        return len(self._undelivered)

    def add(self, **entry: Any) -> None:
        """Write one entry: `step` and `metrics`, an `artifact` (path), a `tag`, or the `status` that ends the run.

        Raises:
            ResourceUnavailable: the disk is full.
        """
        entry = {"time": read_clock(), **entry}
        try:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
        except OSError as error:
            raise ResourceUnavailable(f"{self.path} cannot be written ({error.strerror}); free some space") from error
        self.take(entry)

    def take(self, entry: dict[str, Any]) -> None:
        """Count an entry of the file as still to be delivered."""
        if "run_id" in entry:
            self.run_id = entry["run_id"]
        else:
            self._undelivered.append(entry)
            self.ended = "status" in entry
            self.status = entry.get("status", "")

    def deliver(self, store: Store) -> None:
        """Tell MLflow what it has not got yet.

        Raises:
            ResourceUnavailable: MLflow cannot be reached; what it has not got is kept.
        """
        with require_answers(store.uri):
            run_id = self.run_id or _provide_run(self.path.stem, self.heading, store)
            if self.run_id is None:
                self.add(run_id=run_id)
            while self._undelivered:
                count = _measure_request(self._undelivered)
                _send(run_id, self._undelivered[:count], store)
                del self._undelivered[:count]
            if self.ended:
                update_pipeline(store, self.heading.tags, self.status)

    def close(self) -> None:
        """Release the file, and remove it if its run ended and MLflow has all of it."""
        if self.ended and not self._undelivered:
            self.path.unlink(missing_ok=True)
        with suppress(OSError):  # the disk is full, as `add` has said
            self._file.close()


def open_journal(folder: Path, heading: Heading) -> Journal:
    """Open the journal of a run: that of the same run where its process was killed, else a new one.

    Raises:
        ResourceUnavailable: the folder cannot be written.
    """
    for journal in open_kept_journals(folder, f"{heading.identity}-*.jsonl") if heading.goes_on else ():
        if not journal.ended:
            return journal
        journal.close()
    path = folder / f"{heading.identity}-{heading.started}-{os.getpid()}.jsonl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("x", encoding="utf-8")
        lock_file(file, wait=True)
        file.write(json.dumps(asdict(heading)) + "\n")
        file.flush()
    except OSError as error:
        raise ResourceUnavailable(f"{path} cannot be written ({error.strerror}); free it and run again") from error
    return Journal(path, file, heading)


def open_kept_journals(folder: Path, pattern: str = "*.jsonl") -> Iterator[Journal]:
    """Open, one after the other, the journals that no living process holds; the caller closes them."""
    for path in sorted(folder.glob(pattern)):
        file = path.open("r+", encoding="utf-8")
        try:
            lock_file(file, wait=False)
        except BlockingIOError:
            file.close()
            continue
        whole = [line for line in file.readlines() if line.endswith("\n")]
        if not whole:  # killed before its heading was written: it has nothing to tell
            path.unlink(missing_ok=True)
            file.close()
            continue
        file.truncate(sum(len(line.encode()) for line in whole))  # a kill may have torn the last line
        file.seek(0, os.SEEK_END)
        journal = Journal(path, file, Heading(**json.loads(whole[0])))
        for line in whole[1:]:
            journal.take(json.loads(line))
        yield journal


def _measure_request(entries: list[dict[str, Any]]) -> int:
    """Return how many leading entries go into one request: neighbouring metrics together, anything else alone."""
    count = metrics = 0
    for entry in entries:
        metrics += len(entry.get("metrics", ()))
        if "metrics" not in entry or metrics > _METRICS_PER_REQUEST:
            break
        count += 1
    return max(count, 1)


def _provide_run(journal: str, heading: Heading, store: Store) -> str:
    """Return the run of a journal, made where it is not there: once, also where MLflow's reply was lost."""
    from mlflow.entities import Param

    if not (found := _list_runs(journal, store)):
        store.client.create_run(store.experiment_id, heading.started, {**heading.tags, _JOURNAL: journal}, heading.name)
        found = _list_runs(journal, store)
    run_id, *twins = found
    for twin in twins:  # a request that was answered late is sent again by MLflow's client, and makes another run
        store.client.delete_run(twin)
    params = [Param(key, value) for key, value in heading.params.items()]
    for start in range(0, len(params), _PARAMS_PER_REQUEST):
        store.client.log_batch(run_id, params=params[start : start + _PARAMS_PER_REQUEST])
    join_pipeline(store, run_id, heading.tags)
    _log_inputs(store, run_id, heading.tags)
    return run_id


def _log_inputs(store: Store, run_id: str, tags: Mapping[str, str]) -> None:
    """Tell which data a run learns from, which MLflow shows as its data set."""
    from mlflow.entities import Dataset, DatasetInput

    if digest := tags.get("data_digest"):
        data = Dataset("data", digest[:_DIGEST], "dvc", json.dumps({"file": "data.dvc", "md5": digest}))
        store.client.log_inputs(run_id, [DatasetInput(data)])


def _list_runs(journal: str, store: Store) -> list[str]:
    found = store.client.search_runs([store.experiment_id], f"tags.{_JOURNAL} = '{journal}'")
    return [str(run.info.run_id) for run in found]


def _send_artifact(run_id: str, path: Path, store: Store) -> None:
    """Tell a file or a folder; one that is gone by now holds up neither metrics nor the run's end, and is named."""
    if path.exists():
        store.client.log_artifact(run_id, str(path))
        return
    _log.warning("%s is gone, and so not in MLflow, which was away until now", path)
    store.client.set_tag(run_id, "missing_artifact", str(path))


def _send(run_id: str, entries: list[dict[str, Any]], store: Store) -> None:
    from mlflow.entities import Metric

    first = entries[0]
    if "metrics" in first:
        points = [
            Metric(name, value, entry["time"], entry["step"])
            for entry in entries
            for name, value in entry["metrics"].items()
        ]
        store.client.log_batch(run_id, metrics=points)
    elif "artifact" in first:
        _send_artifact(run_id, Path(first["artifact"]), store)
    elif "tag" in first:
        store.client.set_tag(run_id, *first["tag"])
    else:
        store.client.set_terminated(run_id, first["status"], first["time"])
