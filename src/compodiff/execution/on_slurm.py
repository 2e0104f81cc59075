"""A stage as a job of Slurm that is awaited: submitted through submitit, and queued again where it was cut off.

COMPODIFF_JOBS=slurm says so (jobs.py), and COMPODIFF_JOB holds what submitit calls a job's parameters:
{"nodes": 2, "gpus_per_node": 8, "slurm_partition": "gpu"}. Whoever started the stage waits for its job: DVC notes what
it made, as if it had run here.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

from tqdm import tqdm

from compodiff.errors import InputInvalid, ProcessFailed, ResourceUnavailable, TrainingStopped
from compodiff.execution.jobs import (
    JOBS,
    PARAMETERS,
    SECONDS_FOR_A_CHECKPOINT,
    SLURM,
    TIMES_CUT_OFF,
    digest_origin,
    read_job_parameters,
)
from compodiff.execution.stopping import StopRequest, await_stop
from compodiff.execution.training_processes import MEETING, NODES, TRAININGS

_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_BETWEEN_QUESTIONS = 30.0  # to sacct
_RECORD = "job.json"
_UNDER_WAY = ("PENDING", "CONFIGURING", "RUNNING", "REQUEUED", "SUSPENDED", "PREEMPTED")


@dataclass
class StageJob:
    """What runs on each node of a job; submitit calls it there, and `checkpoint` where Slurm tells the job to stop."""

    command: tuple[str, ...]
    project: Path
    withdrawn: Path  # there where whoever waited is gone, so that the job is not to begin again
    process_id: int = 0

    def __call__(self) -> int:
        """Run the command and return its exit code."""
        from submitit import JobEnvironment

        node = JobEnvironment()
        environment = {name: value for name, value in os.environ.items() if name != JOBS}
        if node.num_nodes > 1:
            meeting = f"{node.hostnames[0]}:{20_000 + int(node.job_id) % 20_000}"
            environment |= {NODES: str(node.num_nodes), MEETING: meeting}
        process = subprocess.Popen(self.command, cwd=self.project, env=environment)
        self.process_id = process.pid
        return process.wait()

    def checkpoint(self) -> Any:
        """End the process by SIGTERM, which keeps a checkpoint, and return what is to begin again, if anything is."""
        from submitit.helpers import DelayedSubmission

        if self.process_id:  # else it was told before it began
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(self.process_id, signal.SIGTERM)
                os.waitid(os.P_PID, self.process_id, os.WEXITED | os.WNOWAIT)  # `wait` above, interrupted, reaps it
        return None if self.withdrawn.exists() else DelayedSubmission(replace(self, process_id=0))


def run_as_job(command: Sequence[str], project: Path, *, name: str, hours: float) -> None:
    """Submit `command` as a job and wait for its end; one that is under way already is waited for.

    Args:
        command: a program and its arguments, the same on each node.
        project: the folder to run in, which the nodes see under the same path.
        name: of the job, and of its folder in artifacts/.jobs.
        hours: its time limit; a job that reaches it keeps a checkpoint and is queued again.

    Raises:
        InputInvalid: a parameter of COMPODIFF_JOB is none.
        ResourceUnavailable: Slurm takes no jobs here, or the job was lost.
        TrainingStopped: SIGTERM came; the job is cancelled, with a checkpoint.
        ProcessFailed: the command failed.
    """
    folder = project / "artifacts" / ".jobs" / name
    folder.mkdir(parents=True, exist_ok=True)
    job, withdrawn = _find_job(folder, project) or _submit(command, project, folder, name, hours)
    log = job.task(0).paths.stdout
    tqdm.write(f"{name} is job {job.job_id} of Slurm; its log is {log}", file=sys.stderr)
    with await_stop() as stop:
        try:
            _follow(job, log, stop)
        finally:
            if not job.done():  # told to stop, or interrupted
                _withdraw(job, withdrawn)
    if stop.came:
        raise TrainingStopped(f"told to stop: job {job.job_id} of {name} is cancelled; run it again, and it goes on")
    _require_success(job, name, log)


def _submit(command: Sequence[str], project: Path, folder: Path, name: str, hours: float) -> tuple[Any, Path]:
    submitit = _import_submitit()
    withdrawn = folder / f"withdrawn-{uuid.uuid4().hex}"
    try:
        given = read_job_parameters()
        executor = submitit.AutoExecutor(folder=folder, cluster=SLURM, slurm_max_num_timeout=TIMES_CUT_OFF)
        executor.update_parameters(
            name=f"compodiff-{name}",
            timeout_min=ceil(60 * hours),
            tasks_per_node=1,
            slurm_signal_delay_s=SECONDS_FOR_A_CHECKPOINT,
            slurm_stderr_to_stdout=True,
            slurm_additional_parameters={"requeue": True},
            **given,
        )
        if name.partition("@")[0] not in TRAININGS:  # only trainings divide their work among nodes
            executor.update_parameters(slurm_nodes=1)
    except RuntimeError as error:
        raise ResourceUnavailable(f"{JOBS} is {SLURM}, but there is no Slurm here: {error}") from error
    except (NameError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())[:300]
        raise InputInvalid(f"{PARAMETERS} is no JSON with parameters of a job of submitit: {said}") from error
    try:
        job = executor.submit(StageJob(tuple(command), project.absolute(), withdrawn))
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        raise ResourceUnavailable(f"Slurm takes no job of {name}: {' '.join(str(error).split())[-300:]}") from error
    record = {"job": job.job_id, "tasks": job.num_tasks, "withdrawn": withdrawn.name, "origin": digest_origin(project)}
    (folder / f"{_RECORD}.new").write_text(json.dumps(record), encoding="utf-8")
    (folder / f"{_RECORD}.new").replace(folder / _RECORD)
    return job, withdrawn


def _find_job(folder: Path, project: Path) -> tuple[Any, Path] | None:
    """Return the stage's job that goes on though nobody waits for it; one of other params or code is cancelled."""
    if not (folder / _RECORD).exists():
        return None
    record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    job = _import_submitit().SlurmJob(folder, record["job"], tasks=tuple(range(record["tasks"])))
    withdrawn = folder / record["withdrawn"]
    if withdrawn.exists() or job.task(0).paths.result_pickle.exists():
        return None
    if job.watcher.get_state(job.job_id, mode="force") not in _UNDER_WAY:
        return None
    if record["origin"] == digest_origin(project):
        return job, withdrawn
    _withdraw(job, withdrawn)
    return None


def _follow(job: Any, log: Path, stop: StopRequest) -> None:
    """Say what the job says until it has ended or this process is told to stop."""
    said, asked_at = 0, 0.0
    while not stop.came:
        now = time.monotonic()
        is_asked = now - asked_at > _SECONDS_BETWEEN_QUESTIONS
        ended = job.task(0).paths.result_pickle.exists() or (is_asked and job.done(force_check=True))
        asked_at = now if is_asked else asked_at
        if log.exists():
            with log.open("rb") as file:
                file.seek(said)
                for line in file:
                    if not (line.endswith(b"\n") or ended):
                        break
                    said += len(line)
                    tqdm.write(line.decode("utf-8", "replace").rstrip("\n"), file=sys.stderr)
        if ended:
            return
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _withdraw(job: Any, withdrawn: Path) -> None:
    """Cancel a job for good, and wait for its end: nothing may write beside its successor."""
    withdrawn.touch()
    job.cancel(check=False)
    until = time.monotonic() + SECONDS_FOR_A_CHECKPOINT
    while not job.done(force_check=True) and time.monotonic() < until:
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _require_success(job: Any, name: str, log: Path) -> None:
    if job.task(0).exception() is not None:
        raise ResourceUnavailable(f"job {job.job_id} of {name} was lost ({job.state}); its log is {log}; run it again")
    code = job.task(0).result()
    if code == TrainingStopped.exit_code:
        raise TrainingStopped(f"job {job.job_id} of {name} was told to stop; run it again, and it goes on")
    if code:
        raise ProcessFailed(f"job {job.job_id} of {name} ended with code {code}; its log is {log}", code)


def _import_submitit() -> Any:
    os.environ["SUBMITIT_PREEMPT_SIGNAL"] = "TERM"  # read when it is imported; of a job's time limit as of preemption
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise ResourceUnavailable("submitit is not installed; run: pip install 'compodiff[slurm]'") from error
    return submitit
