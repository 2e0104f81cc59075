"""Stages as jobs of a queue that answers to Slurm's commands: submitted, awaited, queued again, cancelled."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from worlds.slurm import install_slurm, read, tell

from compodiff.errors import CompoDiffError, InputInvalid, ProcessFailed, ResourceUnavailable, TrainingStopped
from compodiff.execution import on_slurm
from compodiff.execution.jobs import find_cluster
from compodiff.execution.on_slurm import run_as_job

WORK = """
import signal, sys, time
from pathlib import Path
def stop(*_):
    Path("checkpoint").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
print("from the start" if not Path("checkpoint").exists() else "from its checkpoint", flush=True)
while not Path("checkpoint").exists():
    time.sleep(0.05)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in install_slurm(tmp_path / "slurm").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(on_slurm, "_SECONDS_BETWEEN_QUESTIONS", 0.3)
    monkeypatch.setattr(on_slurm, "_SECONDS_BETWEEN_LOOKS", 0.1)
    (tmp_path / "params.yaml").write_text("{}")
    return tmp_path


def run(project: Path, code: str) -> None:
    run_as_job([sys.executable, "-c", code], project, name="train", hours=0.5)


def list_jobs(project: Path) -> dict[str, str]:
    """Return number -> state of all jobs, the oldest first."""
    return {path.stem: path.read_text() for path in sorted((project / "slurm" / "jobs").glob("*.state"))}


def wait_for_work(project: Path) -> str:
    """Return the number of the first job, when its work has begun."""
    while not any("from the start" in it.read_text() for it in (project / "artifacts").rglob("*_log.out")):
        time.sleep(0.05)
    return next(iter(list_jobs(project)))


def once_under_way(project: Path, act: Callable[[str], None]) -> None:
    """Call `act` with the job's number, from another thread, when its work has begun."""
    threading.Thread(target=lambda: act(wait_for_work(project)), daemon=True).start()


def test_a_job_is_awaited_and_what_it_says_is_said(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(project, "import os; print('made', 'COMPODIFF_JOBS' in os.environ); open('made', 'w')")
    assert (project / "made").exists()
    assert "\nmade False\n" in capfd.readouterr().err
    (number,) = list_jobs(project)
    script = read(number, "sh")
    assert "#SBATCH --time=30\n" in script
    assert "#SBATCH --signal=TERM@120\n" in script
    assert "#SBATCH --requeue\n" in script
    with pytest.raises(ProcessFailed, match="of train ended with code 3; its log is") as raised:
        run(project, "exit(3)")
    assert raised.value.exit_code == 3


@pytest.mark.parametrize(("stage", "nodes"), [("train_prior", 2), ("embed@emoji", 1)])
def test_only_trainings_get_several_nodes(
    project: Path, monkeypatch: pytest.MonkeyPatch, stage: str, nodes: int
) -> None:
    monkeypatch.setenv("COMPODIFF_JOB", '{"nodes": 2}')
    (folder := project / "artifacts" / ".jobs" / stage).mkdir(parents=True)
    job, _ = on_slurm._submit([sys.executable, "-c", ""], project, folder, stage, 1)
    assert f"#SBATCH --nodes={nodes}\n" in read(job.job_id, "sh")


def test_a_job_that_slurm_tells_to_stop_goes_on_from_its_checkpoint(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    once_under_way(project, lambda number: tell(number, signal.SIGTERM))
    run(project, WORK)
    said = capfd.readouterr().err
    assert said.index("from the start") < said.index("Requeued job") < said.index("from its checkpoint")
    assert len(list_jobs(project)) == 1


def test_who_waits_and_is_told_to_stop_takes_the_job_along(project: Path) -> None:
    once_under_way(project, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(TrainingStopped, match=r"told to stop: job \d+ of train is cancelled; run it again"):
        run(project, WORK)
    assert (project / "checkpoint").exists()
    assert [*list_jobs(project).values()] == ["CANCELLED"]
    run(project, WORK)
    assert len(list_jobs(project)) == 2


@pytest.mark.parametrize("changed", [False, True])
def test_a_job_whose_waiter_died_is_awaited_again_unless_it_is_of_other_params(project: Path, changed: bool) -> None:
    folder = project / "artifacts" / ".jobs" / "train"
    folder.mkdir(parents=True)
    on_slurm._submit([sys.executable, "-c", WORK], project, folder, "train", 1)
    number = wait_for_work(project)
    if changed:
        (project / "params.yaml").write_text("{steps: 5}")
    else:
        threading.Timer(0.3, (project / "checkpoint").touch).start()
    run(project, WORK)
    assert len(list_jobs(project)) == 1 + changed
    assert (list_jobs(project)[number] == "CANCELLED") is changed


def test_a_job_that_dies_without_a_word_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import submitit

    monkeypatch.setattr(submitit.SlurmJob, "_results_timeout_s", 0.1)
    with pytest.raises(ResourceUnavailable, match=r"job \d+ of train was lost \(FAILED\); its log is .*; run it again"):
        run(project, "import os, signal; os.kill(os.getppid(), signal.SIGKILL)")


@pytest.mark.parametrize(
    ("setting", "value", "error", "says"),
    [
        ("COMPODIFF_JOB", "nodes=2", InputInvalid, "COMPODIFF_JOB is no JSON with parameters of a job"),
        ("COMPODIFF_JOB", '{"slurm_nodes_of": 2}', InputInvalid, "COMPODIFF_JOB is no JSON with parameters of a job"),
        ("PATH", "/usr/bin:/bin", ResourceUnavailable, "COMPODIFF_JOBS is slurm, but there is no Slurm here"),
    ],
)
def test_what_cannot_be_submitted_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, error: type[CompoDiffError], says: str
) -> None:
    monkeypatch.setenv(setting, value)
    with pytest.raises(error, match=says):
        run(project, "")
    assert not list_jobs(project)


def test_trainings_are_jobs_where_the_environment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not find_cluster("train_prior")
    monkeypatch.setenv("COMPODIFF_JOBS", "slurm")
    assert find_cluster("train_prior")
    assert not find_cluster("embed@emoji")
    monkeypatch.setenv("COMPODIFF_JOB_STAGES", "embed, make_set@drawn")
    assert [
        name for name in ("embed@emoji", "make_set@drawn", "make_set@emoji", "train_prior") if find_cluster(name)
    ] == [
        "embed@emoji",
        "make_set@drawn",
    ]
    monkeypatch.setenv("COMPODIFF_JOBS", "pbs")
    with pytest.raises(InputInvalid, match="COMPODIFF_JOBS is 'pbs'; set it to slurm or kubernetes"):
        find_cluster("train_prior")
