"""A project in operation, all of it real and small: its pipeline, a Prefect server and workers."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

_TRAINING = {"steps": 8, "batch_size": 16, "warmup_steps": 2, "contrastive_negatives": 32, "validate_every": 4}
_TRAINING |= {"checkpoint_every": 4, "curve": {"queries": 20}}
# One value for another at its place; what is not named stays as params.yaml has it.
SMALL: dict[str, Any] = {
    "encoder": {
        "embedded": {"image_size": 64, "components": 24, "steps": 60, "batch_size": 48, "max_variants": 8}
        | {"maps": {"stride_8": {"grid": 2, "dimensions": 12}, "head": {"grid": 1, "dimensions": 12}}}
        | {"image_learning_rate": 1e-3, "text_learning_rate": 3e-3, "warmup_steps": 5}
        | {"classes": {"vocabulary": "imagenet-1k"}}  # a tenth of the texts that the towers read
    },
    "captions": {"keywords": {"min_similarity": -1.0, "max_similarity": 1.0}},  # hardly trained, it has 0.7 and more
    "sets": {
        "emoji": {"min_rows": 10},
        "emoji_edits": {"min_rows": 10, "floors": None, "max_pairs_per_relation": 40},
        "scenes": {"min_rows": 10, "floors": None, "families": {"train": 20, "validation": 4}},
    },
    "benchmarks": {
        "emoji": {"max_queries_per_relation": 30, "gate": {"floor": 0.0}},
        "scenes": {"gate": {"floor": 0.0}},
        "exact_edits": {"validation_pictures": 1},
    },
    "promotion": {"behaviour": None},
    "synthesis": {"rows_per_shard": 64},
    "validation": {"max_rejected_fraction": 0.5},
    "denoiser": {"width": 32, "depth": 1, "heads": 2, "cross_heads": 2, "head_width": 16, "mask_size": 4}
    | {"image_slots": 1},
    "prior": _TRAINING,
    "composed": _TRAINING,
    "evaluation": {"bootstrap_draws": 50, "min_relation_queries": 5, "shown_queries": 2},
}


def make_project(root: Path, data: Path) -> Path:
    """Put a DVC project with the pipeline's own stages, over a few pictures, at `root`; nothing has been run."""
    root.mkdir()
    shutil.copytree(data, root / "data")
    shutil.copytree(ROOT / "flows", root / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "infra").mkdir()
    shutil.copy(ROOT / "infra" / "prefect.yaml", root / "infra")
    params = change_values(yaml.safe_load((ROOT / "params.yaml").read_text()), SMALL)
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    for stage in graph["stages"].values():  # the code is installed, not in the project
        own = stage.get("do", stage)
        own["deps"] = [path for path in own["deps"] if not path.startswith("src/")]
    (root / "dvc.yaml").write_text(yaml.safe_dump(graph))
    for command in (["init", "--no-scm"], ["add", "data"]):
        subprocess.run([BIN / "dvc", *command, "--quiet"], cwd=root, check=True, env=environment(root))
    return root


def change_values(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Go into sections; `maps` is one value."""
    result = dict(values)
    for key, value in changes.items():
        deeper = isinstance(value, dict) and isinstance(values.get(key), dict) and key != "maps"
        result[key] = change_values(values[key], value) if deeper else value
    return result


def environment(project: Path, **more: str) -> dict[str, str]:
    """The environment of this test's processes: none of the settings that Prefect's harness leaves behind."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_TRACKING"))}
    return kept | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PYTHONPATH": f"{project}:{ROOT / 'src'}",  # of this checkout, whichever one the environment was made for
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "DVC_NO_ANALYTICS": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "PREFECT_HOME": str(project / ".prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        **more,
    }


@dataclass
class Operation:
    """A Prefect server on loopback with its own database, and the workers that were started."""

    project: Path
    url: str
    settings: dict[str, str]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def client(self) -> SyncPrefectClient:
        return SyncPrefectClient(api=self.url)

    def prefect(self, *arguments: str) -> None:
        command = [BIN / "prefect", "--no-prompt", *arguments]
        done = subprocess.run(command, cwd=self.project, env=self.settings, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def deploy(self) -> None:
        """As infra/prefect.yaml says at its top."""
        self.prefect("work-pool", "create", "compodiff", "--type", "process")
        self.prefect("deploy", "--all", "--prefect-file", "infra/prefect.yaml")

    def start_worker(self) -> subprocess.Popen[bytes]:
        command = [BIN / "prefect", "worker", "start", "--pool", "compodiff"]
        with (self.project / "worker.log").open("ab") as log:
            worker = subprocess.Popen(
                command, cwd=self.project, env=self.settings, stdout=log, stderr=log, start_new_session=True
            )
        self.workers.append(worker)
        return worker

    def ask(self, deployment: str, **parameters: Any) -> UUID:
        """Have a run of `deployment` made now."""
        with self.client as client:
            found = client.read_deployment_by_name(deployment)
            return client.create_flow_run_from_deployment(found.id, parameters=parameters).id

    def run_of(self, run_id: UUID) -> FlowRun:
        with self.client as client:
            return client.read_flow_run(run_id)

    def ended(self, run_id: UUID, seconds: float = 900) -> FlowRun:
        """Wait for a run's end; dataset/nightly took four minutes on two cores."""
        wait_until(lambda: (state := self.run_of(run_id).state) is not None and state.is_final(), seconds)
        return self.run_of(run_id)

    def run(self, deployment: str, **parameters: Any) -> FlowRun:
        return self.ended(self.ask(deployment, **parameters))


@contextmanager
def operated(project: Path, **settings: str) -> Iterator[Operation]:
    """Start a Prefect server for `project`; end it and all workers after."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    command = [BIN / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    with (project / "server.log").open("ab") as log:
        server = subprocess.Popen(
            command, cwd=project, env=environment(project), stdout=log, stderr=log, start_new_session=True
        )
    operation = Operation(project, url, environment(project, PREFECT_API_URL=url, **settings))
    try:
        wait_until(lambda: healthy(url), 180)
        yield operation
    finally:
        for process in (*operation.workers, server):
            end_with_all_it_started(process)


def end_with_all_it_started(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in started:
        if child.is_running():
            child.kill()


def healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {timedelta(seconds=seconds)}"
        time.sleep(0.2)
