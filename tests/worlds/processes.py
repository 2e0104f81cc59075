"""The servers of infra/compose.yaml as processes on loopback: PostgreSQL, S3 (moto's server), MLflow and Prefect."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
MLFLOW_PASSWORD, PREFECT_PASSWORD, PREFECT_AUTH = "0123abcd", "4567cdef", "admin:89ab89ab"

# Nothing of the machine's own settings reaches a server or a client here.
_FOREIGN = ("AWS_", "PREFECT_", "MLFLOW_", "PG")


def environment(**own: str) -> dict[str, str]:
    """The variables of this process less those that name servers, and `own`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    quiet = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    return {**kept, **quiet, **own}


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.2)


@dataclass
class Server:
    """A process that answers HTTP at `health`; started, stopped or killed as often as a test wants."""

    command: Sequence[str]
    env: Mapping[str, str]
    health: str
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Server":
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.env, stdout=log, stderr=log, start_new_session=True, cwd=self.log.parent
            )
        wait_until(self.answers, f"{self.command[0]} ({self.log.read_text()[-2000:]})", 180)
        return self

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(self.health, timeout=5) as reply:  # noqa: S310  # ours, http
                return bool(reply.status == 200)
        except OSError:
            return False

    def stop(self, how: int = signal.SIGTERM) -> None:
        """Send `how` to the process and to all that it started; wait until it is gone."""
        if self.process is None or self.process.poll() is not None:
            return
        os.killpg(self.process.pid, how)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)


def postgres_binaries() -> Path | None:
    """Where Debian puts the newest PostgreSQL, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@dataclass
class Postgres:
    """A PostgreSQL of its own, with the databases that infra/docker/postgres/databases.sh makes."""

    binaries: Path
    folder: Path
    port: int = field(default_factory=free_port)

    @property
    def _owner(self) -> str | None:
        return "nobody" if os.getuid() == 0 else None  # PostgreSQL refuses to run as root

    def create(self) -> "Postgres":
        if self._owner:
            shutil.chown(self.folder, self._owner)
        self._run("initdb", "--pgdata", str(self.folder / "data"), "--username=postgres", "--auth-local=trust",
                  "--auth-host=scram-sha-256", "--no-sync")  # fmt: skip
        self.start()
        variables = {
            "PATH": f"{self.binaries}:{os.environ['PATH']}",
            "PGHOST": str(self.folder),
            "PGPORT": str(self.port),
            "MLFLOW_DATABASE_PASSWORD": MLFLOW_PASSWORD,
            "PREFECT_DATABASE_PASSWORD": PREFECT_PASSWORD,
        }
        script = ROOT / "infra" / "docker" / "postgres" / "databases.sh"
        subprocess.run(["bash", script], env=environment(**variables), check=True, capture_output=True)
        return self

    def start(self) -> None:
        settings = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        log = str(self.folder / "log")
        self._run("pg_ctl", "start", "--wait", "--pgdata", str(self.folder / "data"), "--log", log, "-o", settings)

    def stop(self) -> None:
        """Stop at once, as a crash does: open connections are cut and the next start recovers."""
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate", "--pgdata", str(self.folder / "data"))

    def address(self, database: str, password: str, driver: str = "postgresql") -> str:
        return f"{driver}://{database}:{password}@127.0.0.1:{self.port}/{database}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.binaries / program), *arguments]
        done = subprocess.run(
            command, user=self._owner, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False
        )
        assert done.returncode == 0, (self.folder / "log").read_text()[-2000:]


def s3_server(folder: Path, *, requests_before_keys_count: int | None = None) -> Server:
    """An S3 server; after so many requests, only keys that its IAM knows are let in (None: any key always)."""
    port = free_port()
    limit = {} if requests_before_keys_count is None else {
        "INITIAL_NO_AUTH_ACTION_COUNT": str(requests_before_keys_count)
    }  # fmt: skip
    command = [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    return Server(command, environment(**limit), f"http://127.0.0.1:{port}/moto-api/", folder / "s3.log")


def s3_client_variables(server: Server, key: str = "a-key", secret: str = "its-secret") -> dict[str, str]:  # noqa: S107
    return {
        "AWS_ENDPOINT_URL": server.health.removesuffix("/moto-api/"),
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def mlflow_server(folder: Path, database: str, variables: Mapping[str, str]) -> Server:
    """As in infra/compose.yaml, on a free port."""
    port = free_port()
    command = [str(BIN / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    env = environment(
        **variables,
        MLFLOW_BACKEND_STORE_URI=database,
        MLFLOW_ARTIFACTS_DESTINATION="s3://mlflow/artifacts",
        MLFLOW_S3_ENDPOINT_URL=variables["AWS_ENDPOINT_URL"],
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
    )
    return Server(command, env, f"http://127.0.0.1:{port}/health", folder / "mlflow.log")


def prefect_server(folder: Path, database: str) -> Server:
    """As in infra/compose.yaml, on a free port."""
    port = free_port()
    command = [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    env = environment(
        PREFECT_HOME=str(folder / "prefect"),
        PREFECT_API_DATABASE_CONNECTION_URL=database,
        PREFECT_SERVER_API_AUTH_STRING=PREFECT_AUTH,
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
    )
    return Server(command, env, f"http://127.0.0.1:{port}/api/health", folder / "prefect.log")


@dataclass(frozen=True)
class Team:
    """The servers, and the variables by which the same commands use them."""

    postgres: Postgres
    mlflow: Server
    variables: dict[str, str]
