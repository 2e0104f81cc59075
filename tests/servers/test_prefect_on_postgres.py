"""The Prefect server on PostgreSQL: flows run by the same command, and a database that restarts in the middle."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from worlds.processes import PREFECT_AUTH, ROOT, Postgres, environment, wait_until

FLOW = """
import sys
from flows.graph import TWO_AT_ONCE, conclude, run_graph
from prefect import flow

@flow(name="whole", task_runner=TWO_AT_ONCE)
def whole():
    return conclude(run_graph([], force=False, limit_seconds=120))

sys.exit(0 if whole(return_state=True).is_completed() else 1)
"""
DVC_YAML = """
stages:
  draw: {cmd: "touch drawing; while test -e hold; do sleep 0.2; done; cp data/words drawn", deps: [data], outs: [drawn]}
  train: {cmd: "cp drawn trained", deps: [drawn], outs: [trained]}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    def dvc(*arguments: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "dvc", *arguments, "--quiet"], cwd=tmp_path, env=environment(), check=True
        )

    dvc("init", "--no-scm")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "words").write_text("a cat\n")
    dvc("add", "data")
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    return tmp_path


def start(project: Path, variables: dict[str, str]) -> subprocess.Popen[bytes]:
    env = environment(**variables, PYTHONPATH=f"{ROOT}:{ROOT / 'src'}", PREFECT_HOME=str(project / ".prefect"))
    with (project / "log").open("wb") as log:
        return subprocess.Popen([sys.executable, "-c", FLOW], cwd=project, env=env, stdout=log, stderr=log)


def test_a_flow_outlives_a_restart_of_the_database(
    project: Path, prefect_variables: dict[str, str], postgres: Postgres
) -> None:
    (project / "hold").touch()
    running = start(project, prefect_variables)
    wait_until((project / "drawing").exists, "the first stage")
    postgres.stop()
    (project / "hold").unlink()
    wait_until((project / "drawn").exists, "the stage, which needs no database")
    postgres.start()
    assert running.wait(180) == 0, (project / "log").read_text()
    assert (project / "trained").read_text() == "a cat\n"
    name, password = PREFECT_AUTH.split(":")
    found = httpx.post(
        f"{prefect_variables['PREFECT_API_URL']}/flow_runs/filter", json={}, auth=(name, password), timeout=30
    ).json()
    assert [run["state_type"] for run in found] == ["COMPLETED"]


def test_a_client_without_the_password_is_refused(project: Path, prefect_variables: dict[str, str]) -> None:
    wrong = {**prefect_variables, "PREFECT_API_AUTH_STRING": "admin:not-the-password"}
    refused = start(project, wrong)
    assert refused.wait(120) == 1
    said = (project / "log").read_text()
    assert "401" in said
    assert "not-the-password" not in said
    assert not (project / "drawn").exists()
