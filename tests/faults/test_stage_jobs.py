"""A stage as a job of Kubernetes: awaited, told to stop, planned anew, cancelled. Pods are processes of this test.

What a pod's container runs, `prefect flow-run execute`, is run as Prefect's Kubernetes worker says.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.schemas.objects import FlowRun
from worlds.operated import BIN, ROOT, Operation, operated, wait_until

# Stands for compodiff. It works until somebody says `finish`, and keeps a checkpoint when it is told to stop.
WORK = f"""#!{sys.executable}
import signal, sys, time
from pathlib import Path
def stop(*_):
    Path("checkpoint").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
print("from its checkpoint" if Path("checkpoint").exists() else "from the start", flush=True)
Path("begun").touch()
while not Path("finish").exists():
    time.sleep(0.05)
sys.exit(int(Path("finish").read_text() or 0))
"""

COMMAND = [BIN / "python", "-m", "flows.stage_job", "train_prior", "1.5"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def operation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operation]:
    project = tmp_path_factory.mktemp("jobs") / "project"
    project.mkdir()
    for folder in ("flows", "infra"):
        shutil.copytree(ROOT / folder, project / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (project / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (project / "work").write_text(WORK)
    (project / "work").chmod(0o755)
    tasks = project / "flows" / "tasks.py"
    program = 'str(Path(sys.executable).with_name("compodiff"))'
    assert program in tasks.read_text()
    tasks.write_text(tasks.read_text().replace(program, 'str(Path.cwd() / "work")'))
    job = project / "flows" / "stage_job.py"
    job.write_text(job.read_text().replace("_SECONDS_BETWEEN_LOOKS = 5.0", "_SECONDS_BETWEEN_LOOKS = 0.5"))
    with operated(project, PYTHONPATH=f"{project}:{ROOT / 'src'}", COMPODIFF_JOBS="kubernetes") as operation:
        template = project / "infra" / "kubernetes" / "job-template.json"
        operation.prefect(
            "work-pool", "create", "compodiff-jobs", "--type", "kubernetes", "--base-job-template", str(template)
        )
        operation.prefect("deploy", "--all", "--prefect-file", "infra/kubernetes/stage.yaml")
        yield operation


@pytest.fixture(autouse=True)
def fresh(operation: Operation) -> None:
    for name in ("begun", "checkpoint", "finish"):
        (operation.project / name).unlink(missing_ok=True)


def begin_waiting(operation: Operation) -> subprocess.Popen[str]:
    return subprocess.Popen(
        COMMAND,
        cwd=operation.project,
        env=operation.settings,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def await_planned(operation: Operation) -> FlowRun:
    """Return the run that a worker would make a pod of."""
    found: list[FlowRun] = []

    def look() -> bool:
        with operation.client as client:
            found[:] = [run for run in client.read_flow_runs() if run.state is not None and run.state.is_scheduled()]
        return bool(found)

    wait_until(look, 120)
    return found[0]


def start_pod(operation: Operation, run: FlowRun) -> subprocess.Popen[bytes]:
    began = operation.project / "begun"
    began.unlink(missing_ok=True)
    settings = {"PREFECT__FLOW_RUN_ID": str(run.id), "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "reschedule"}
    pod = subprocess.Popen(
        [BIN / "prefect", "flow-run", "execute"],
        cwd=operation.project,
        env=operation.settings | settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until(began.exists, 120)
    return pod


def end(waiting: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = waiting.communicate(timeout=120)
    return waiting.returncode, said


def test_a_pod_that_is_told_to_stop_keeps_a_checkpoint_and_the_next_goes_on_from_there(operation: Operation) -> None:
    waiting = begin_waiting(operation)
    run = await_planned(operation)
    assert run.job_variables is not None
    assert run.job_variables["deadline_seconds"] == 5400
    pod = start_pod(operation, run)
    pod.send_signal(signal.SIGTERM)
    assert pod.wait(60) == 0
    assert (operation.project / "checkpoint").exists()
    again = await_planned(operation)
    assert again.id == run.id
    pod = start_pod(operation, again)
    (operation.project / "finish").touch()
    code, said = end(waiting)
    assert code == 0, said
    assert said.index("from the start") < said.index("from its checkpoint")
    assert pod.wait(60) == 0


def test_a_stage_that_fails_gives_its_code_and_its_words(operation: Operation) -> None:
    waiting = begin_waiting(operation)
    pod = start_pod(operation, await_planned(operation))
    (operation.project / "finish").write_text("3")
    code, said = end(waiting)
    pod.wait(60)
    assert code == 3, said
    assert "compodiff: the job of train_prior failed: train_prior ended with code 3: from the start" in said


def test_a_job_whose_waiter_was_killed_is_awaited_by_the_next_which_takes_it_along_when_told_to_stop(
    operation: Operation,
) -> None:
    waiting = begin_waiting(operation)
    run = await_planned(operation)
    pod = start_pod(operation, run)
    os.killpg(waiting.pid, signal.SIGKILL)
    end(waiting)
    waiting = begin_waiting(operation)
    assert waiting.stderr is not None
    assert str(run.id) in waiting.stderr.readline()
    waiting.send_signal(signal.SIGTERM)
    code, said = end(waiting)
    assert code == 75
    assert "told to stop: the job of train_prior is cancelled; run it again, and it goes on" in said
    wait_until((operation.project / "checkpoint").exists)
    ended = operation.ended(run.id).state
    assert ended is not None
    assert ended.is_cancelled()
    pod.wait(60)


def test_a_waiter_can_be_told_to_stop_while_a_job_of_other_params_still_ends(operation: Operation) -> None:
    waiting = begin_waiting(operation)
    run = await_planned(operation)
    pod = start_pod(operation, run)
    os.killpg(waiting.pid, signal.SIGKILL)
    end(waiting)
    with (operation.project / "params.yaml").open("a") as params:
        params.write("# changed\n")
    os.killpg(pod.pid, signal.SIGSTOP)  # a pod that takes long to end
    waiting = begin_waiting(operation)

    def is_cancelling() -> bool:
        state = operation.run_of(run.id).state
        return state is not None and state.is_cancelling()

    wait_until(is_cancelling, 120)
    waiting.send_signal(signal.SIGTERM)
    code, said = end(waiting)
    os.killpg(pod.pid, signal.SIGCONT)
    assert code == 75, said
    assert "told to stop before a job of train_prior was asked for; run it again" in said
    assert operation.ended(run.id).state.is_cancelled()
    pod.wait(60)


def test_without_a_server_or_a_deployment_it_is_one_line(operation: Operation, tmp_path: Path) -> None:
    without = {name: value for name, value in operation.settings.items() if name != "PREFECT_API_URL"}
    gone = operation.settings | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    for settings, says in (
        (without, "PREFECT_API_URL names no server; set it"),
        (gone, "Prefect's server does not answer (ConnectError); a job of train_prior"),
    ):
        ran = subprocess.run(COMMAND, cwd=operation.project, env=settings, capture_output=True, text=True, check=False)
        assert ran.returncode == 6, ran.stderr
        assert says in ran.stderr.splitlines()[-1]
