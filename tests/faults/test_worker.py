"""A worker is killed in the middle of a stage: alone, or with its machine."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator

import psutil
import pytest
from prefect.client.schemas.objects import FlowRun
from worlds.operated import BIN, ROOT, Operation, environment, operated, wait_until

from compodiff.machine import is_alive

DVC_YAML = """
stages:
  synthesize: {cmd: "sh synthesize.sh", deps: [data], outs: [made: {persist: true}]}
  validate: {cmd: "cp made valid", deps: [made], outs: [valid]}
"""
# Resumes as the real stage does: what is there already is not made again.
SYNTHESIZE = """
echo $$ > ../pid
while [ $(cat made 2>/dev/null | wc -l) -lt 8 ]; do echo shard >> made; sleep 0.8; done
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def operation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operation]:
    project = tmp_path_factory.mktemp("operated") / "project"
    (project / "data").mkdir(parents=True)
    (project / "data" / "words").write_text("a cat\n")
    for folder in ("flows", "infra"):
        shutil.copytree(ROOT / folder, project / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (project / "dvc.yaml").write_text(DVC_YAML)
    (project / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (project / "synthesize.sh").write_text(SYNTHESIZE)
    for command in (["init", "--no-scm"], ["add", "data"]):
        subprocess.run([BIN / "dvc", *command, "--quiet"], cwd=project, check=True, env=environment(project))
    with operated(project) as operation:
        operation.deploy()
        yield operation


def begun(operation: Operation) -> FlowRun:
    """A run in the middle of its first stage."""
    for left in ("made", "valid", "dvc.lock"):
        (operation.project / left).unlink(missing_ok=True)
    (operation.project.parent / "pid").unlink(missing_ok=True)
    run_id = operation.ask("dataset/nightly", force=False)
    wait_until((operation.project.parent / "pid").exists, 180)
    return operation.run_of(run_id)


def test_the_run_of_a_worker_that_is_killed_goes_on_without_it(operation: Operation) -> None:
    worker = operation.start_worker()
    run = begun(operation)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    ended = operation.ended(run.id, 120)
    assert ended.state is not None
    assert ended.state.is_completed(), ended.state.message
    assert (operation.project / "valid").read_text() == "shard\n" * 8


@pytest.mark.timeout(1200)  # Prefect's lease: 300 s
def test_a_machine_that_dies_holds_nobody_off_for_long_and_its_stage_goes_on_where_it_was(
    operation: Operation,
) -> None:
    worker = operation.start_worker()
    begun(operation)
    everything = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
    for process in everything:
        process.kill()
    worker.wait()
    wait_until(lambda: not any(is_alive(process.pid) for process in everything))
    made = len((operation.project / "made").read_text().splitlines())
    assert 0 < made < 8
    died = time.monotonic()
    operation.start_worker()
    ended = operation.ended(operation.ask("dataset/nightly", force=False), 600)
    assert ended.state is not None
    assert ended.state.is_completed(), ended.state.message
    assert (operation.project / "valid").read_text() == "shard\n" * 8
    print(f"\nthe next run was through {time.monotonic() - died:.0f} s after the machine died")  # noqa: T201
