"""MLflow on PostgreSQL with artifacts on S3: the commands of a laptop, and one variable that names the server."""

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from worlds.processes import BIN, Postgres, Server, Team, environment

from compodiff.errors import ResourceUnavailable
from compodiff.stages.register import register
from compodiff.tracking.registry import CHAMPION, find_version_at
from compodiff.tracking.runs import record_training
from compodiff.tracking.store import open_store
from compodiff.tracking.version_files import explain_missing_files, find_model_folder

pytestmark = pytest.mark.filterwarnings("ignore:Operation with range:DeprecationWarning")  # MLflow's use of pandas

PARAMS = {"steps": 3}
FIGURES = {
    "composed": {"recall_at_10": 0.9, "intervals": {"recall_at_10": [0.88, 0.92]}, "relations": {}},
    "record": {"seed": 3},
}


@pytest.fixture
def on_the_server(team: Team, monkeypatch: pytest.MonkeyPatch) -> Team:
    for name, value in team.variables.items():
        monkeypatch.setenv(name, value)
    return team


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text("data: {}\n")
    return tmp_path


@pytest.fixture(scope="module")
def trained(search_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with all that `register` takes."""
    folder = tmp_path_factory.mktemp("trained") / "project"
    shutil.copytree(search_project, folder, ignore=shutil.ignore_patterns("mlruns"))
    own = yaml.safe_load((folder / "params.yaml").read_text()) | {"promotion": {"behaviour": None}}
    (folder / "params.yaml").write_text(yaml.safe_dump(own))
    (folder / "artifacts" / "metrics").mkdir()
    for name in ("emoji", "scenes"):
        (folder / "artifacts" / "metrics" / f"{name}.json").write_text(json.dumps(FIGURES))
    (folder / "artifacts" / "reports" / "emoji").mkdir(parents=True)
    (folder / "artifacts" / "reports" / "emoji" / "report.html").write_text("<h1>emoji</h1>")
    return folder


def compodiff(folder: Path, team: Team, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = environment(**team.variables, HF_HUB_OFFLINE="1")
    return subprocess.run(
        [BIN / "compodiff", *arguments], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )


def points(project: Path, run_name: str) -> list[tuple[int, float]]:
    store = open_store(project)
    (run,) = store.client.search_runs([store.experiment_id], f"attributes.run_name = '{run_name}'")
    assert run.info.status == "FINISHED"
    return [(point.step, point.value) for point in store.client.get_metric_history(run.info.run_id, "loss")]


def open_objects(s3: Server) -> Any:
    import boto3
    from worlds.processes import s3_client_variables

    keys = s3_client_variables(s3)
    return boto3.client(
        "s3",
        endpoint_url=keys["AWS_ENDPOINT_URL"],
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
    )


def list_objects(s3: Server) -> list[str]:
    return [each["Key"] for each in open_objects(s3).list_objects_v2(Bucket="mlflow")["Contents"]]


def test_a_model_is_registered_promoted_and_searched_by_its_alias(
    on_the_server: Team, s3: Server, trained: Path
) -> None:
    artifacts = trained / "artifacts"
    register(
        encoder=artifacts / "encoder",
        composed=artifacts / "composed",
        index=artifacts / "index",
        metrics=artifacts / "metrics",
        reports=artifacts / "reports",
        dials=artifacts / "sampling.json",
        registration=artifacts / "registration.json",
    )
    assert not (trained / "mlruns" / "mlflow.db").exists()
    promoted = compodiff(trained, on_the_server, "promote")
    assert promoted.returncode == 0, promoted.stderr
    champion = find_version_at(open_store(trained), CHAMPION)
    assert champion is not None
    # Another machine: the pictures and params are there, the model comes from the registry.
    away = trained.parent / "away"
    shutil.copytree(artifacts / "benchmarks", away / "artifacts" / "benchmarks")
    shutil.copy(trained / "params.yaml", away)
    found = compodiff(away, on_the_server, "search", "--reference", "👩‍🍳", "--text", "with dark skin", "--json")
    assert found.returncode == 0, found.stderr
    assert len(json.loads(found.stdout)["results"]) == 10
    assert explain_missing_files(trained, champion.number) is None
    fetched = find_model_folder(away)
    assert (fetched / "composed" / "model.safetensors").read_bytes() == (
        artifacts / "composed" / "model.safetensors"
    ).read_bytes()
    (weights,) = (name for name in list_objects(s3) if name.endswith("composed/model.safetensors"))
    open_objects(s3).delete_object(Bucket="mlflow", Key=weights)
    said = f"the file composed/model.safetensors of compodiff version {champion.number} is gone (mlflow-artifacts:"
    assert str(explain_missing_files(trained, champion.number)).startswith(said)


def test_a_database_that_crashes_while_training_loses_nothing(on_the_server: Team, project: Path) -> None:
    with record_training("crash", PARAMS, project) as run:
        run.log_metrics(0, {"loss": 3.0})
        on_the_server.postgres.stop()
        try:
            run.log_metrics(1, {"loss": 2.0})
            run.deliver()
        finally:
            on_the_server.postgres.start()
        run.log_metrics(2, {"loss": 1.0})
    # The server was not restarted: it reached the database again by itself.
    with record_training("after", PARAMS, project):
        pass
    assert points(project, "crash") == [(0, 3.0), (1, 2.0), (2, 1.0)]
    assert not list((project / "mlruns" / "undelivered").glob("*.jsonl"))


def test_an_mlflow_server_that_is_killed_while_training_gets_all_when_it_is_back(
    on_the_server: Team, project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with record_training("killed-server", PARAMS, project) as run:
        run.log_metrics(0, {"loss": 3.0})
        on_the_server.mlflow.stop(signal.SIGKILL)
        try:
            run.log_metrics(1, {"loss": 2.0})
            run.deliver()
            assert any(line.startswith("training goes on without MLflow") for line in caplog.messages)
        finally:
            on_the_server.mlflow.start()
    with record_training("the-next", PARAMS, project):
        pass
    assert points(project, "killed-server") == [(0, 3.0), (1, 2.0)]


def test_a_registry_that_is_away_is_named_and_the_champion_is_what_it_was(on_the_server: Team, project: Path) -> None:
    before = find_version_at(open_store(project), CHAMPION)
    on_the_server.postgres.stop()
    try:
        with pytest.raises(ResourceUnavailable, match="check MLFLOW_TRACKING_URI and run again"):
            find_version_at(open_store(project), CHAMPION)
        refused = compodiff(project, on_the_server, "rollback")
        assert refused.returncode == ResourceUnavailable.exit_code
        assert len(refused.stderr.splitlines()) == 1
    finally:
        on_the_server.postgres.start()
    assert find_version_at(open_store(project), CHAMPION) == before


@pytest.mark.slow  # MLflow tries for 100 seconds
def test_a_wrong_database_password_stops_the_server_and_is_not_told(postgres: Postgres, tmp_path: Path) -> None:
    address = postgres.address("mlflow", "wrong-secret")
    checked = subprocess.run(
        [BIN / "mlflow", "db", "upgrade", address],
        env=environment(MLFLOW_DATABASE_CONNECT_RETRIES="1"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode != 0
    assert 'password authentication failed for user "mlflow"' in checked.stderr
    assert "wrong-secret" not in checked.stderr


def test_a_port_that_is_taken_is_named(team: Team, search_project: Path) -> None:
    port = team.mlflow.command[team.mlflow.command.index("--port") + 1]
    refused = compodiff(search_project, team, "serve", "--model", "artifacts", "--port", port)
    assert refused.returncode == ResourceUnavailable.exit_code
    assert refused.stderr == f"compodiff: cannot listen on 127.0.0.1:{port}: Address already in use; try --port 0\n"


def test_a_server_of_another_name_is_refused(team: Team) -> None:
    """What keeps a web page elsewhere from reaching the server by way of a browser on this host."""
    address = f"{team.variables['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
    assert httpx.get(address).status_code == 200
    assert httpx.get(address, headers={"Host": "evil.test"}).status_code == 403


def test_artifacts_go_to_s3_by_way_of_the_server(on_the_server: Team, s3: Server, project: Path) -> None:
    curve = project / "curve.csv"
    curve.write_text("step,loss\n0,1.5\n")
    with record_training("with-a-file", PARAMS, project) as run:
        run.log_artifact(curve)
    assert any(name.startswith("artifacts/") and name.endswith("/curve.csv") for name in list_objects(s3))
