"""A small project with its servers: PostgreSQL, MLflow in a network of its own, Prefect, a worker, `compodiff serve`.

What this machine does not allow (a file system, a network, PostgreSQL, a false clock) is left out, and its faults too.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

from worlds.operated import BIN, ROOT, change_values, environment, free_port, make_project, wait_until
from worlds.processes import MLFLOW_PASSWORD, PREFECT_PASSWORD, Postgres, postgres_binaries
from worlds.soak.services import Service

MARK = "COMPODIFF_SOAK"  # variable of every process that the soak starts, and of all that those start
_PREFECT = Path(__file__).with_name("held_memory.py")  # whose memory can be compared
_DISK_MEGABYTES = 8192  # an hour of trainings keeps more than 3 GB
_GATE = {"figure": "recall_at_10", "floor": 0.0, "margin": 0.0, "max_relation_drop": 1.0, "max_plausible_loss": 1.0}
# One benchmark and two sets of the pipeline's: a training with its evaluation takes seconds.
_SETS, _BENCHMARKS = ("emoji", "emoji_edits"), ("emoji",)
_TASKS = {"text_to_image": {"emoji": 0.3}, "masked": {}, "triplet": {"emoji_edits": 0.7}}


@dataclass
class Team:
    """All that runs. `network` and `database` are None where this machine has none to give."""

    folder: Path
    project: Path
    variables: dict[str, str]
    network: "Network | None"
    database: Postgres | None
    has_disk: bool
    services: dict[str, Service] = field(default_factory=dict)
    address: str = ""  # of compodiff serve

    @property
    def prefect(self) -> SyncPrefectClient:
        return SyncPrefectClient(api=self.variables["PREFECT_API_URL"])

    def list_flow_runs(self) -> list[FlowRun]:
        """Return every run that Prefect knows, of which it gives 200 at a time."""
        found: list[FlowRun] = []
        with self.prefect as client:
            while page := client.read_flow_runs(limit=200, offset=len(found), sort=FlowRunSort.ID_DESC):
                found += page
        return found

    def run(self, *command: str, seconds: float = 600) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, or of the machine, in the project."""
        program = BIN / command[0] if (BIN / command[0]).is_file() else command[0]
        return subprocess.run(
            [program, *command[1:]], cwd=self.project, env=self.variables, capture_output=True, text=True,
            check=False, timeout=seconds, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def change_params(self, changes: dict[str, Any]) -> None:
        """Edit params.yaml as an editor does: whole or not at all."""
        path = self.project / "params.yaml"
        new = path.with_suffix(".new")
        new.write_text(yaml.safe_dump(change_values(yaml.safe_load(path.read_text()), changes)))
        new.replace(path)


@dataclass(frozen=True)
class Network:
    """A network of MLflow's own, which can be cut."""

    name: str
    link: str
    address: str

    def cut(self) -> None:
        _ip("link", "set", self.link, "down")

    def mend(self) -> None:
        _ip("link", "set", self.link, "up")


@contextmanager
def make_team(data: Path, folder: Path) -> Iterator[Team]:
    """Make the project at `folder`, on a disk of its own, run nothing of it yet, and start the servers."""
    with ExitStack() as stack:
        disk = folder / "disk"
        has_disk = stack.enter_context(_disk(disk))
        network = stack.enter_context(_network())
        database = stack.enter_context(_database())
        project = make_project(disk / "project", data)
        _make_small(project)
        (disk / "tmp").mkdir()
        prefect, mlflow, served = free_port(), free_port(), free_port()
        host = network.address if network else "127.0.0.1"
        variables = environment(
            project,
            PREFECT_API_URL=f"http://127.0.0.1:{prefect}/api",
            MLFLOW_TRACKING_URI=f"http://{host}:{mlflow}",
            PYTHONPATH=f"{project}:{ROOT / 'src'}",
            TMPDIR=str(disk / "tmp"),
            COMPODIFF_WORKERS="1",
            **{MARK: str(os.getpid())},
        )
        team = Team(folder, project, variables, network, database, has_disk, {}, f"http://127.0.0.1:{served}")
        for name, (command, more, health) in _describe_services(team, host, prefect, mlflow, served).items():
            team.services[name] = Service(name, command, variables | more, project, health)
        stack.callback(lambda: [each.stop() for each in reversed(team.services.values())])
        for name in ("mlflow", "prefect"):
            team.services[name].start()
            wait_until(team.services[name].answers, 240)
        _deploy(team)
        yield team


def _describe_services(
    team: Team, host: str, prefect: int, mlflow: int, served: int
) -> dict[str, tuple[list[str], dict[str, str], str]]:
    """Return of each service: its command, its own variables, and where it says that it is well."""
    base, inside = team.database, ["ip", "netns", "exec", team.network.name] if team.network else []
    runs = f"sqlite:///{team.folder}/mlflow.db"
    flows = {}
    if base is not None:  # by its socket, which MLflow reaches from its network
        runs = f"postgresql://mlflow:{MLFLOW_PASSWORD}@/mlflow?host={base.folder}&port={base.port}"
        flows = {"PREFECT_API_DATABASE_CONNECTION_URL": base.address("prefect", PREFECT_PASSWORD, "postgresql+asyncpg")}
    artifacts = {"MLFLOW_BACKEND_STORE_URI": runs, "MLFLOW_ARTIFACTS_DESTINATION": str(team.project.parent / "mlflow")}
    artifacts |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    listen = ["--host", host, "--port", str(mlflow), "--workers", "1"]
    return {
        "mlflow": ([*inside, str(BIN / "mlflow"), "server", *listen], artifacts, f"http://{host}:{mlflow}/health"),
        "prefect": (
            [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(prefect), "--no-ui"],
            flows,
            f"http://127.0.0.1:{prefect}/api/health",
        ),
        "worker": ([sys.executable, "-P", str(_PREFECT), "worker", "start", "--pool", "compodiff"], {}, ""),
        "serve": (
            [str(BIN / "compodiff"), "serve", "--port", str(served), "--keep-queries", "queries.npz"],
            {},
            f"{team.address}/health",
        ),
    }


def _deploy(team: Team) -> None:
    for words in (
        ("work-pool", "create", "compodiff", "--type", "process"),
        ("deploy", "--all", "--prefect-file", "infra/prefect.yaml"),
    ):
        done = team.run("prefect", "--no-prompt", *words)
        assert done.returncode == 0, done.stdout + done.stderr


def _make_small(project: Path) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["sets"] = {name: params["sets"][name] for name in _SETS}
    params["benchmarks"] = {name: params["benchmarks"][name] | {"gate": _GATE} for name in _BENCHMARKS}
    for section in ("composed", "distillation", "finetuning"):
        params[section]["tasks"] = _TASKS
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    remote = ["remote", "add", "--default", "team", str(project.parent / "remote")]
    subprocess.run([BIN / "dvc", *remote, "--quiet"], cwd=project, check=True, env=environment(project))


@contextmanager
def _disk(folder: Path) -> Iterator[bool]:
    folder.mkdir(parents=True)
    size = f"size={_DISK_MEGABYTES}m"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], check=False).returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def _network() -> Iterator[Network | None]:
    number = os.getpid() % 60000
    net = f"10.{231 + number // 256 % 20}.{number % 256}"
    network = Network(f"soak{number}", f"soakh{number}", f"{net}.2")
    if shutil.which("ip") is None or not _ip("netns", "add", network.name, required=False):
        yield None
        return
    peer, inside = f"soakp{number}", ("-n", network.name)
    try:
        _ip("link", "add", network.link, "type", "veth", "peer", "name", peer, "netns", network.name)
        _ip("addr", "add", f"{net}.1/24", "dev", network.link)
        _ip("link", "set", network.link, "up")
        _ip(*inside, "addr", "add", f"{net}.2/24", "dev", peer)
        _ip(*inside, "link", "set", peer, "up")
        _ip(*inside, "link", "set", "lo", "up")
        yield network
    finally:
        _ip("link", "del", network.link, required=False)
        _ip("netns", "del", network.name)


def _ip(*words: str, required: bool = True) -> bool:
    return subprocess.run(["ip", *words], check=required, capture_output=True).returncode == 0


@contextmanager
def _database() -> Iterator[Postgres | None]:
    binaries = postgres_binaries()
    if binaries is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as place:  # which another user can enter
        database = Postgres(binaries, Path(place)).create()
        stop: Callable[[], None] = database.stop
        try:
            yield database
        finally:
            stop()
