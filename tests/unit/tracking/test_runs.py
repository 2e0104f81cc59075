"""Runs in a real SQLite store; a closed port stands for a server that is away."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.project import find_project_root
from compodiff.tracking.pipelines import PIPELINE, join_pipeline
from compodiff.tracking.promotion import roll_back
from compodiff.tracking.runs import describe_origin, record_at_once, record_training
from compodiff.tracking.store import open_store

CLOSED_PORT = "http://someone:secret@127.0.0.1:9"
PARAMS = {"steps": 3, "optimizer": {"learning_rate": 0.001}}


def runs_of(project: Path) -> list:
    store = open_store(project)
    return store.client.search_runs([store.experiment_id], order_by=["attributes.start_time"])


def history(project: Path, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in open_store(project).client.get_metric_history(run_id, name)]


def kept(project: Path) -> list[Path]:
    return sorted((project / "mlruns" / "undelivered").glob("*.jsonl"))


def test_a_run_holds_params_curve_files_system_metrics_and_origin(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    (project / "data.dvc").write_text("outs:\n- md5: 0123456789abcdef.dir\n  path: data\n")
    curve = project / "curve.csv"
    curve.write_text("step,loss\n0,1.5\n")
    with record_training("train_prior", PARAMS, project / "artifacts") as run:
        for step in range(1200):
            run.log_metrics(step, {"loss": 1.5 / (step + 1)})
        run.log_artifact(curve)
        time.sleep(0.5)
    (found,) = runs_of(project)
    assert found.info.run_name == "train_prior"
    assert found.info.status == "FINISHED"
    assert found.data.params == {"steps": "3", "optimizer.learning_rate": "0.001"}
    assert found.data.tags["data_digest"] == "0123456789abcdef.dir"
    (given,) = found.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("data", "0123456789abcdef.dir")
    points = history(project, found.info.run_id, "loss")
    assert len(points) == 1200
    assert (1199, 1.5 / 1200) in points
    assert [file.path for file in open_store(project).client.list_artifacts(found.info.run_id)] == ["curve.csv"]
    assert "system/cpu_utilization_percentage" in found.data.metrics
    assert kept(project) == []


def test_without_mlflow_training_goes_on_and_the_next_one_delivers(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", CLOSED_PORT)
    with record_training("train_prior", PARAMS, project) as run:
        for step in range(3):
            run.log_metrics(step, {"loss": float(step)})
    assert len([line for line in caplog.messages if line.startswith("training goes on")]) == 1
    assert "5 entries of this run are not in MLflow" in caplog.messages[-1]
    assert "secret" not in caplog.text
    assert len(kept(project)) == 1

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with record_training("train_composed", PARAMS, project):
        pass
    first, second = runs_of(project)
    assert (first.info.run_name, first.info.status) == ("train_prior", "FINISHED")
    assert second.info.run_name == "train_composed"
    assert history(project, first.info.run_id, "loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert " to " in first.data.tags["system_metrics_missing"]
    assert kept(project) == []


def test_a_runs_end_is_delivered_by_whatever_writes_to_mlflow_next(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt), record_training("train_prior", PARAMS, project):
        raise KeyboardInterrupt
    monkeypatch.setenv("MLFLOW_TRACKING_URI", CLOSED_PORT)
    curve = project / "curve.csv"
    curve.write_text("step,loss\n")
    with record_training("train_composed", PARAMS, project) as run:
        run.log_artifact(curve)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    curve.unlink()
    with pytest.raises(InputInvalid, match="no previous champion"):
        roll_back(project)
    found = {each.info.run_name: each for each in runs_of(project)}
    states = {name: each.info.status for name, each in found.items()}
    assert states == {"train_prior": "KILLED", "train_composed": "FINISHED"}  # the first may go on
    assert found["train_composed"].data.tags["missing_artifact"] == str(curve)
    assert len(kept(project)) == 1


def test_the_run_of_a_registration_that_was_cut_off_is_ended_by_the_next_command(project: Path) -> None:
    """It is begun anew, so that nothing goes on as that run; a failure is told at once, or later."""
    store = open_store(project)
    with pytest.raises(KeyboardInterrupt), record_at_once(store, project, "register", {}):
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="no disk"), record_at_once(store, project, "register", {}):
        raise ValueError("no disk")
    assert sorted(found.info.status for found in runs_of(project)) == ["FAILED", "RUNNING"]
    with pytest.raises(InputInvalid, match="no previous champion"):
        roll_back(project)
    assert sorted(found.info.status for found in runs_of(project)) == ["FAILED", "KILLED"]
    assert kept(project) == []


def test_the_runs_of_one_pipeline_have_one_parent_that_stands_as_its_last_run(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PIPELINE, "flow-1")
    with record_training("train_prior", PARAMS, project):
        pass
    with pytest.raises(KeyboardInterrupt), record_training("train_composed", PARAMS, project):
        raise KeyboardInterrupt
    runs = {found.info.run_name.split()[0]: found for found in runs_of(project)}
    assert set(runs) == {"train_prior", "train_composed", "pipeline"}
    parent = runs.pop("pipeline")
    assert {found.data.tags["mlflow.parentRunId"] for found in runs.values()} == {parent.info.run_id}
    assert parent.info.status == "KILLED"
    with record_training("train_composed", PARAMS, project):
        assert {found.info.status for found in runs_of(project)} == {"FINISHED", "RUNNING", "KILLED"}
    assert [found.info.status for found in runs_of(project)] == ["FINISHED"] * 3


def test_the_run_of_a_pipeline_of_which_no_stage_runs_is_ended_by_the_next_command(project: Path) -> None:
    """A kill came between the making of the run and the end of its first stage, or the run was made twice."""
    store = open_store(project)
    for pipeline, stage_ends in (("left", True), ("under way", False)):
        stage = store.client.create_run(store.experiment_id, run_name=f"stage of {pipeline}").info.run_id
        join_pipeline(store, stage, {"pipeline": pipeline})
        if stage_ends:
            store.client.set_terminated(stage, "KILLED")
    with pytest.raises(InputInvalid, match="no previous champion"):
        roll_back(project)
    parents = [found for found in runs_of(project) if found.info.run_name.startswith("pipeline")]
    states = {found.data.tags["pipeline"]: found.info.status for found in parents}
    assert states == {"left": "KILLED", "under way": "RUNNING"}


def test_a_run_whose_making_was_not_confirmed_is_made_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_run = mlflow.MlflowClient.create_run

    def lose_reply(*arguments: Any, **named: Any) -> None:
        create_run(*arguments, **named)
        create_run(*arguments, **named)  # as MLflow's client does after its time-out
        raise MlflowException("timed out")

    monkeypatch.setattr(mlflow.MlflowClient, "create_run", lose_reply)
    with record_training("train_prior", PARAMS, project) as run:
        run.log_metrics(0, {"loss": 1.0})
    (found,) = runs_of(project)
    assert (found.info.status, found.data.metrics["loss"]) == ("FINISHED", 1.0)
    assert found.data.params["steps"] == "3"


KILLED_TRAINING = """
import os, signal, sys
from pathlib import Path
from compodiff.tracking.runs import record_training
with record_training("train_prior", {"steps": 3}, Path(sys.argv[1])) as run:
    run.log_metrics(0, {"loss": 3.0})
    run.log_metrics(1, {"loss": 2.0})
    os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_a_training(project: Path) -> None:
    child = subprocess.run([sys.executable, "-c", KILLED_TRAINING, str(project)], check=False)
    assert child.returncode == -signal.SIGKILL


def test_a_killed_training_goes_on_as_the_same_run(project: Path) -> None:
    kill_a_training(project)
    (journal,) = kept(project)
    with journal.open("a") as file:
        file.write('{"step": 2, "metr')  # the kill tore the line that was being written
    with record_training("train_prior", {"steps": 3}, project) as run:
        run.log_metrics(2, {"loss": 1.0})
    (found,) = runs_of(project)
    assert found.info.status == "FINISHED"
    assert history(project, found.info.run_id, "loss") == [(0, 3.0), (1, 2.0), (2, 1.0)]


def test_a_killed_training_of_other_params_is_another_run(project: Path) -> None:
    kill_a_training(project)
    with record_training("train_prior", {"steps": 4}, project) as run:
        run.log_metrics(0, {"loss": 9.0})
    states = {found.data.params["steps"]: found.info.status for found in runs_of(project)}
    assert states == {"3": "KILLED", "4": "FINISHED"}


def test_a_failure_is_recorded_and_an_interruption_leaves_the_run_open(project: Path) -> None:
    with pytest.raises(ValueError, match="loss is NaN"), record_training("train_prior", {"steps": 1}, project):
        raise ValueError("loss is NaN")
    with pytest.raises(KeyboardInterrupt), record_training("train_prior", {"steps": 2}, project):
        raise KeyboardInterrupt
    assert [found.info.status for found in runs_of(project)] == ["FAILED", "KILLED"]
    assert len(kept(project)) == 1


def test_only_the_first_process_of_a_distributed_training_speaks(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with record_training("train_prior", PARAMS, project) as run:
        run.log_metrics(0, {"loss": 1.0})
        run.log_artifact(project / "params.yaml")
    assert kept(project) == []
    assert runs_of(project) == []


def test_the_project_is_found_upwards_or_named(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert find_project_root(project / "artifacts" / "prior") == project
    with pytest.raises(InputInvalid, match="lies in no CompoDiff project"):
        find_project_root(tmp_path_factory.mktemp("elsewhere"))


def test_a_store_out_of_reach_is_named_without_its_password(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", CLOSED_PORT)
    with pytest.raises(ResourceUnavailable, match=r"MLflow at http://127\.0\.0\.1:9") as caught:
        open_store(project)
    assert "secret" not in str(caught.value)


def test_the_store_does_not_leak_into_child_processes(project: Path) -> None:
    open_store(project)
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_origin_names_commit_and_lock(project: Path) -> None:
    assert "mlflow.source.git.commit" not in describe_origin(project)
    git = ["git", "-C", str(project), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git[:3], "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    (project / "dvc.lock").write_text(json.dumps({"schema": "2.0"}))
    tags = describe_origin(project)
    assert len(tags["mlflow.source.git.commit"]) == 40
    assert len(tags["dvc_lock_digest"]) == 32
