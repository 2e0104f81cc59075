"""One set of servers for all tests here; where PostgreSQL is not installed, tests that need it are skipped."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from worlds.processes import (
    MLFLOW_PASSWORD,
    PREFECT_AUTH,
    PREFECT_PASSWORD,
    ROOT,
    Postgres,
    Server,
    Team,
    environment,
    mlflow_server,
    postgres_binaries,
    prefect_server,
    s3_client_variables,
    s3_server,
)


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL under /usr/lib/postgresql; install it by: apt-get install postgresql")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders cannot be entered by another user
        database = Postgres(binaries, Path(folder)).create()
        yield database
        database.stop()


@pytest.fixture(scope="session")
def s3(logs: Path) -> Iterator[Server]:
    """With the buckets that infra/compose.yaml makes, made by the same script."""
    server = s3_server(logs).start()
    script = ROOT / "infra" / "docker" / "make_buckets.py"
    for _ in range(2):  # a second start of compose finds them there
        subprocess.run(
            [sys.executable, script, "dvc", "mlflow"], env=environment(**s3_client_variables(server)), check=True
        )
    yield server
    server.stop()


@pytest.fixture(scope="session")
def team(postgres: Postgres, s3: Server, logs: Path) -> Iterator[Team]:
    """MLflow on PostgreSQL with artifacts on S3, reached by way of the server alone: clients have no key."""
    server = mlflow_server(logs, postgres.address("mlflow", MLFLOW_PASSWORD), s3_client_variables(s3)).start()
    yield Team(postgres, server, {"MLFLOW_TRACKING_URI": server.health.removesuffix("/health")})
    server.stop(signal.SIGKILL)  # its worker takes long to end well


@pytest.fixture(scope="session")
def prefect(postgres: Postgres, logs: Path) -> Iterator[Server]:
    server = prefect_server(logs, postgres.address("prefect", PREFECT_PASSWORD, "postgresql+asyncpg")).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def prefect_variables(prefect: Server) -> dict[str, str]:
    return {"PREFECT_API_URL": prefect.health.removesuffix("/health"), "PREFECT_API_AUTH_STRING": PREFECT_AUTH}
