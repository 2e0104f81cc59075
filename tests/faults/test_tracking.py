"""A real MLflow server is killed while a training runs, and comes back, or does not."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from mlflow import MlflowClient
from worlds.operated import environment, free_port, wait_until

from compodiff.tracking.runs import deliver_kept
from compodiff.tracking.store import open_store

TRAINING = """
import sys, time
from pathlib import Path
from compodiff.tracking.runs import record_training
project = Path(sys.argv[1])
with record_training("train_prior", {"steps": "many"}, project) as run:
    step = 0
    while not (project / "enough").exists():
        run.log_metrics(step, {"loss": 1.0 / (step + 1)})
        (project / "steps").write_text(str(step))
        step += 1
        time.sleep(0.05)
"""


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        f"{folder}/artifacts",
    ]
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment(folder))
    try:
        wait_until(lambda: answers(port), 120)
        yield server
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def test_training_goes_on_while_the_server_is_down_and_all_its_metrics_are_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").write_text("data: {}\n")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    settings = environment(
        tmp_path, MLFLOW_TRACKING_URI=address, MLFLOW_HTTP_REQUEST_TIMEOUT="3", MLFLOW_HTTP_REQUEST_MAX_RETRIES="1"
    )
    with mlflow_server(tmp_path, port):
        training = subprocess.Popen(
            [sys.executable, "-c", TRAINING, str(tmp_path)], env=settings, stderr=subprocess.PIPE, text=True
        )
        wait_until((tmp_path / "steps").exists)
    # The server is gone, all of its processes killed.
    at_the_fall = step(tmp_path)
    wait_until(lambda: step(tmp_path) > at_the_fall + 150)
    with mlflow_server(tmp_path, port):
        (tmp_path / "enough").touch()
        _, said = training.communicate(timeout=60)
        assert training.returncode == 0, said
        assert said.count("training goes on without MLflow") == 1
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        # A server that has just come back may be too slow for the run's end: some later command delivers that.
        wait_until(lambda: deliver_as_a_later_command(tmp_path), 300)
        client = MlflowClient(address)
        (run,) = client.search_runs([client.get_experiment_by_name("compodiff").experiment_id])
        points = client.get_metric_history(run.info.run_id, "loss")
    assert run.info.status == "FINISHED"
    assert sorted(point.step for point in points) == list(range(step(tmp_path) + 1))
    assert " to " in run.data.tags["system_metrics_missing"]


def deliver_as_a_later_command(project: Path) -> bool:
    deliver_kept(open_store(project), project, only_ended=True)
    return not list((project / "mlruns" / "undelivered").iterdir())


def step(project: Path) -> int:
    return int((project / "steps").read_text() or 0)
