"""The flow over a real DVC project of four small stages: run, skipped, failed, tried again, killed, continued."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.testing.utilities import prefect_test_harness

import flows
from compodiff.errors import InputInvalid
from compodiff.machine import is_alive
from compodiff.storage.ownership import mark_folder
from flows.graph import TWO_AT_ONCE, conclude, run_graph
from flows.processes.dvc import read_stage_graph, run_dvc, run_followed
from flows.tasks import StageOutcome, find_outcome, run_stage

ROOT = Path(flows.__file__).parents[1]
DVC_YAML = """
stages:
  draw: {cmd: "cat data/words >> drawn", deps: [data], outs: [drawn]}
  train: {cmd: "sh train.sh", deps: [drawn, train.sh], outs: [{trained: {persist: true}}]}
  index: {cmd: "cp drawn indexed", deps: [drawn], outs: [indexed]}
  report: {cmd: "cat trained indexed > report", deps: [trained, indexed], outs: [report]}
"""


pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # DVC's own, in its trie


@pytest.fixture(scope="module", autouse=True)
def _prefect() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=180):
        yield


def dvc(*arguments: str, cwd: Path | None = None) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which nothing has been run; made once, as each command of DVC takes a second."""
    folder = tmp_path_factory.mktemp("fresh")
    dvc("init", "--quiet", "--no-scm", cwd=folder)
    (folder / "data").mkdir()
    (folder / "data" / "words").write_text("a cat\n")
    dvc("add", "--quiet", "data", cwd=folder)
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "train.sh").write_text("cp drawn trained\n")
    return folder


@pytest.fixture
def project(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = shutil.copytree(fresh, tmp_path / "project")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    return folder


def run(*targets: str, force: bool = False) -> tuple[State, dict[str, str]]:
    @flow(name="whole", task_runner=TWO_AT_ONCE)
    def whole() -> State:
        return conclude(run_graph(list(targets), force=force, limit_seconds=120))

    state = whole(return_state=True)
    outcomes: list[StageOutcome] = state.result(raise_on_failure=False)
    return state, {each.stage: each.outcome for each in outcomes}


def test_the_flow_runs_the_graph_once_and_leaves_nothing_for_dvc_to_do(project: Path) -> None:
    assert read_stage_graph(project) == {
        "draw": [],
        "index": ["draw"],
        "train": ["draw"],
        "report": ["index", "train"],
    }
    state, outcomes = run()
    assert state.is_completed()
    assert outcomes == {"data": "up to date", "draw": "ran", "index": "ran", "train": "ran", "report": "ran"}
    assert (project / "report").read_text() == "a cat\na cat\n"
    assert "up to date" in dvc("repro")
    state, outcomes = run()
    assert set(outcomes.values()) == {"up to date"}
    with get_client(sync_client=True) as client:
        assert any(artifact.key == "stages" for artifact in client.read_artifacts())


def test_a_target_brings_only_what_it_needs(project: Path) -> None:
    assert run("index")[1] == {"data": "up to date", "draw": "ran", "index": "ran"}
    with pytest.raises(InputInvalid, match=r"dvc\.yaml has no stage 'indexes'"):
        run_graph(["indexes"], force=False, limit_seconds=1)


def test_flow_task_and_the_process_of_a_stage_are_one_trace(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)  # what set_tracer_provider sets, once for all tests
    (project / "train.sh").write_text('echo "$TRACEPARENT" > trace; cp drawn trained\n')
    assert run("train")[0].is_completed()
    spans = {each.name: each for each in exporter.get_finished_spans()}
    task, flow_id = spans["train"], spans["train"].parent.span_id
    assert flow_id in {each.context.span_id for each in spans.values() if each.parent is None}
    _, trace_id, parent_id, _ = (project / "trace").read_text().strip().split("-")
    assert (int(trace_id, 16), int(parent_id, 16)) == (task.context.trace_id, task.context.span_id)


def test_a_failed_stage_is_named_with_its_cause_and_the_independent_ones_finish(project: Path) -> None:
    (project / "train.sh").write_text("echo 'compodiff: the loss is not finite; lower learning_rate' >&2; exit 1\n")
    state, outcomes = run()
    assert outcomes["train"] == "failed"
    assert outcomes["index"] == "ran"
    assert outcomes["report"] == "not reached"
    assert state.is_failed()
    assert state.message == "train failed: the loss is not finite; lower learning_rate"


def test_what_another_attempt_may_mend_is_tried_again(project: Path) -> None:
    (project / "train.sh").write_text("test -e tried || { touch tried; exit 6; }; cp drawn trained\n")
    assert run("draw")[0].is_completed()
    assert train_without_delays(limit_seconds=60).outcome == "ran"
    assert (project / "trained").read_text() == "a cat\n"


def train_without_delays(limit_seconds: float) -> StageOutcome:
    @flow
    def once() -> StageOutcome:
        again = run_stage.with_options(retry_delay_seconds=0)
        return find_outcome("train", again(name="train", force=False, limit_seconds=limit_seconds, return_state=True))

    return once()


def test_a_stage_at_its_limit_is_not_tried_again(project: Path) -> None:
    (project / "train.sh").write_text("echo begun >> begun; sleep 300; cp drawn trained\n")
    dvc("repro", "draw")
    outcome = train_without_delays(limit_seconds=8)
    assert (outcome.outcome, outcome.reason[:30]) == ("failed", "stopped at its limit of 8 s; r")
    assert (project / "begun").read_text() == "begun\n"


def test_a_stage_that_takes_too_long_is_stopped_with_all_that_it_started(project: Path) -> None:
    (project / "train.sh").write_text("echo $$ > pid; sleep 300; cp drawn trained\n")
    dvc("repro", "draw")
    ended = run_dvc(["repro", "--single-item", "train"], lambda line: None, limit_seconds=8)
    assert ended.timed_out
    assert ended.code != 0
    assert not is_alive(int((project / "pid").read_text()))


BAR = """
import time
from tqdm import tqdm
for _ in tqdm(range(30), "training", disable=None):
    time.sleep(0.05)
"""


def test_a_stage_shows_its_progress_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.processes.dvc._SECONDS_BETWEEN_PROGRESS", 0.5)
    lines: list[str] = []
    ended = run_followed([sys.executable, "-c", BAR], lines.append, limit_seconds=60)
    assert ended.code == 0
    assert 2 <= len(lines) <= 5
    assert all(line.startswith("training: ") and "/30 [" in line for line in lines)


FLOW_TO_KILL = """
import sys
from flows.processes.dvc import run_dvc
run_dvc(["repro", "--single-item", "train"], lambda line: None, limit_seconds=300)
"""


def test_a_killed_flow_takes_its_stage_with_it_and_the_next_one_continues(project: Path) -> None:
    (project / "train.sh").write_text(
        "echo $$ > pid; echo step >> trained; test $(wc -l < trained) -ge 2 || sleep 300\n"
    )
    dvc("repro", "draw")
    child = subprocess.Popen([sys.executable, "-c", FLOW_TO_KILL], env={**os.environ, "PYTHONPATH": str(ROOT)})
    wait_until((project / "trained").exists)
    child.send_signal(signal.SIGKILL)
    child.wait()
    pid = int((project / "pid").read_text())
    wait_until(lambda: not is_alive(pid))
    assert run("train")[1]["train"] == "ran"
    assert (project / "trained").read_text() == "step\nstep\n"


def test_the_pipeline_told_to_stop_ends_all_that_it_started(project: Path) -> None:
    """What `make run` runs, with a server of its own."""
    for name in ("params.yaml", "behaviour.yaml"):
        shutil.copy(ROOT / name, project)
    (project / "train.sh").write_text("echo $$ > pid; sleep 300\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    command = [sys.executable, "-m", "flows.pipeline"]
    child = subprocess.Popen(
        command, env={**environment, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, start_new_session=True
    )
    wait_until((project / "pid").exists, seconds=180)
    started = [child.pid, *(each.pid for each in psutil.Process(child.pid).children(recursive=True))]
    child.terminate()
    _, complaints = child.communicate(timeout=60)
    assert child.returncode == 128 + signal.SIGTERM
    assert complaints.decode().endswith("pipeline: stopped; make run goes on from here\n")
    wait_until(lambda: not any(is_alive(pid) for pid in started))


def test_a_lock_file_that_a_kill_left_torn_is_no_obstacle(project: Path) -> None:
    (project / ".dvc" / "tmp" / "rwlock").write_text("")
    assert run_dvc(["repro", "--single-item", "draw"], lambda line: None, limit_seconds=60).code == 0


def test_what_a_kill_left_of_an_entry_of_the_cache_of_runs_goes_and_what_is_being_written_stays(project: Path) -> None:
    entries = project / ".dvc" / "cache" / "runs" / "ab" / "abcd"
    entries.mkdir(parents=True)
    left, written = entries / ".left.tmp", entries / ".written.tmp"
    left.touch()
    written.touch()
    os.utime(left, (0, 0))
    assert run_dvc(["repro", "--single-item", "draw"], lambda line: None, limit_seconds=60).code == 0
    assert list(entries.iterdir()) == [written]


def test_data_of_other_bytes_stop_the_flow(project: Path) -> None:
    (project / "data" / "words").write_text("a dog\n")
    state, outcomes = run()
    assert state.message is not None
    assert state.message.startswith("data failed: data/ is not what data.dvc records")
    assert outcomes["draw"] == "not reached"


def test_missing_data_are_pulled_where_there_is_a_remote(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    dvc("remote", "add", "--quiet", "--default", "team", str(tmp_path_factory.mktemp("remote")))
    dvc("push", "--quiet")
    shutil.rmtree("data")
    shutil.rmtree(".dvc/cache")
    assert run("draw")[1] == {"data": "up to date", "draw": "ran"}


def test_data_are_built_anew_and_recorded_where_their_params_changed(project: Path) -> None:
    """Pictures of two pixels: the packages are real, and drawing all of them takes seconds."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    noted = {**params["data"], "picture_size": 160}
    recorded = yaml.safe_load((project / "data.dvc").read_text())
    (project / "data.dvc").write_text(yaml.safe_dump({**recorded, "meta": {"params": noted}}))
    params["data"]["picture_size"] = 2
    mark_folder(project / "data", "catalogue")  # as `compodiff data` does; a folder of somebody's is not built over
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    (project / "dvc.yaml").write_text("stages: {look: {cmd: ls data > seen, deps: [data], outs: [seen]}}")
    assert run()[0].is_completed()
    now = yaml.safe_load((project / "data.dvc").read_text())
    assert now["meta"]["params"] == params["data"]
    assert now["outs"][0]["md5"] != recorded["outs"][0]["md5"]
    assert "pictures.parquet" in (project / "seen").read_text()
    assert run()[1] == {"data": "up to date", "look": "up to date"}


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
