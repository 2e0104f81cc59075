"""One process a GPU, or as many as COMPODIFF_TRAINING_PROCESSES says, whoever starts a training."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from worlds.operated import BIN, ROOT, environment
from worlds.slurm import install_slurm

from compodiff.errors import InputInvalid
from compodiff.execution import local
from compodiff.execution.training_processes import PROCESSES, count_processes
from compodiff.stages.declaration import run_stage

SHORT = {"steps": 4, "warmup_steps": 1, "validate_every": 2, "checkpoint_every": 10, "contrastive_negatives": 8}
SHORT |= {"precision": "float32"}
BY_FLOW = (
    "from flows.processes.dvc import run_dvc; ended = run_dvc({arguments}, print, limit_seconds=300); exit(ended.code)"
)
DVC = ["repro", "--single-item", "train_prior"]
WAYS = {
    "compodiff run": [str(BIN / "compodiff"), "run", "train_prior"],
    "dvc repro": [str(BIN / "dvc"), *DVC],
    "make run": [sys.executable, "-c", BY_FLOW.format(arguments=DVC)],  # what the task of a stage calls
}


@pytest.fixture(scope="module")
def project(experiment_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with all that train_prior reads, and the command of dvc.yaml."""
    root = Path(shutil.copytree(experiment_project, tmp_path_factory.mktemp("project") / "of_ours", symlinks=True))
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["prior"] |= SHORT
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    run_stage("mix@prior", root)
    command = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["train_prior"]["cmd"]
    stage = {"cmd": command, "deps": ["artifacts/mixtures/prior"], "outs": ["artifacts/prior"]}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train_prior": stage}}))
    subprocess.run([BIN / "dvc", "init", "--no-scm", "--quiet"], cwd=root, check=True, env=environment(root))
    return root


def train(project: Path, command: list[str], processes: int) -> tuple[pd.DataFrame, str]:
    shutil.rmtree(project / "artifacts" / "prior", ignore_errors=True)
    settings = environment(project, PYTHONPATH=f"{ROOT / 'src'}:{ROOT}", COMPODIFF_TRAINING_PROCESSES=str(processes))
    done = subprocess.run(command, cwd=project, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project / "artifacts" / "prior" / "model.safetensors").is_file()
    return pd.read_csv(project / "artifacts" / "curves" / "prior.csv"), done.stdout + done.stderr


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=pytest.mark.slow) if way != "dvc repro" else way for way in WAYS]
)
def test_each_way_to_train_takes_two_processes_and_learns_the_same(project: Path, way: str) -> None:
    one, said = train(project, WAYS["compodiff run"], 1)
    assert "processes" not in said
    two, said = train(project, WAYS[way], 2)
    assert "training in 2 processes on this machine, one for each GPU where there are any" in said
    assert "2 processes take 5 rows of each batch" in said
    assert two["loss"].to_numpy() == pytest.approx(one["loss"], rel=1e-4)


@pytest.mark.slow
def test_a_stage_that_the_flow_starts_is_a_job_of_slurm_and_dvc_notes_what_it_made(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in install_slurm(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COMPODIFF_JOBS", "slurm")
    _, said = train(project, [sys.executable, "-c", BY_FLOW.format(arguments=[*DVC, "--force"])], 1)
    assert "train_prior is job " in said
    assert "train_prior computes in float32" in said  # by the job's log
    assert (project / "dvc.lock").exists()
    monkeypatch.delenv("COMPODIFF_JOBS")
    status = subprocess.run(
        [BIN / "dvc", "status"], cwd=project, env=environment(project), capture_output=True, check=True
    )
    assert b"up to date" in status.stdout


def test_there_is_a_process_for_each_gpu_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PROCESSES, raising=False)
    for gpus, count in (([], 1), (["0"], 1), (["0", "1", "2"], 3)):
        monkeypatch.setattr(local, "list_visible_gpus", lambda found=gpus: found)
        assert count_processes() == count
    monkeypatch.setenv(PROCESSES, "2")
    assert count_processes() == 2


@pytest.mark.parametrize("text", ["", "0", "-1", "two", "1.5"])
def test_a_number_of_processes_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(PROCESSES, text)
    with pytest.raises(InputInvalid, match=f"COMPODIFF_TRAINING_PROCESSES is {text!r}; set it to"):
        count_processes()
