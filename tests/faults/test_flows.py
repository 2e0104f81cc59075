"""Flows over a DVC project of small stages: killed, two at once, and what happens to files and params meanwhile."""

import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import yaml
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.testing.utilities import prefect_test_harness
from worlds.operated import BIN, ROOT, environment, wait_until

from compodiff.machine import is_alive
from flows.graph import TWO_AT_ONCE, conclude, run_graph
from flows.processes.dvc import list_changes
from flows.tasks import advise_on_code

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # DVC's own, in its trie

DVC_YAML = """
stages:
  draw: {cmd: "cat data/words > drawn", deps: [data], outs: [drawn]}
  train: {cmd: "sh train.sh", deps: [drawn, train.sh], params: [train], outs: [trained]}
  report: {cmd: "cat trained > report", deps: [trained], outs: [report]}
"""
FLOW = """
import sys
from prefect import flow
from flows.graph import TWO_AT_ONCE, conclude, run_graph

@flow(name="whole", task_runner=TWO_AT_ONCE)
def whole():
    return conclude(run_graph([], force=False, limit_seconds=120))

state = whole(return_state=True)
print(state.message, file=sys.stderr)
sys.exit(not state.is_completed())
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "words").write_text("a cat\n")
    shutil.copytree(ROOT / "flows", folder / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "params.yaml").write_text("train: {steps: 1}\n")
    (folder / "train.sh").write_text("cp drawn trained\n")
    dvc(folder, "init", "--no-scm")
    dvc(folder, "add", "data")
    return folder


def dvc(project: Path, *arguments: str) -> str:
    command = [BIN / "dvc", *arguments, "--quiet"]
    done = subprocess.run(command, cwd=project, env=environment(project), check=True, capture_output=True, text=True)
    return done.stdout


def start(project: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FLOW],
        cwd=project,
        env=environment(project),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said[-3000:]
    return said


def run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same flow here, with the server of all tests of this file; its stages are processes as ever."""
    monkeypatch.chdir(project)

    @flow(name="whole", task_runner=TWO_AT_ONCE)
    def whole() -> State:
        return conclude(run_graph([], force=False, limit_seconds=120))

    state = whole(return_state=True)
    assert state.is_completed(), state.message


@pytest.fixture(scope="module", autouse=True)
def _prefect() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.mark.slow
def test_two_pipelines_at_once_in_one_checkout_do_everything_once(project: Path) -> None:
    """Each has a Prefect server of its own, so that no limit of Prefect's holds them apart."""
    (project / "train.sh").write_text("echo ran >> ../trainings; sleep 3; cp drawn trained\n")
    both = [start(project), start(project)]
    for process in both:
        finish(process)
    assert (project.parent / "trainings").read_text() == "ran\n"
    assert (project / "report").read_text() == "a cat\n"
    dvc(project, "status")


def test_a_flow_that_is_killed_leaves_neither_server_nor_stage_behind_and_the_next_goes_on(project: Path) -> None:
    (project / "train.sh").write_text(
        "test -e ../again || { touch ../again; echo $$ > ../pid; sleep 300 || exit 1; }; cp drawn trained\n"
    )
    killed = start(project)
    wait_until((project.parent / "pid").exists, 240)
    started = psutil.Process(killed.pid).children(recursive=True)
    assert any("uvicorn" in " ".join(each.cmdline()) for each in started)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    wait_until(lambda: not any(is_alive(each.pid) for each in started), 60)
    said = finish(start(project))
    assert "2 up to date, 2 ran" in said
    assert (project / "report").read_text() == "a cat\n"
    with closing(sqlite3.connect(project / ".prefect" / "prefect.db")) as history:  # of both flows' servers
        ends = {kind: history.execute(f"SELECT state_type FROM {kind}").fetchall() for kind in ("flow_run", "task_run")}  # noqa: S608
    assert sorted(ends["flow_run"]) == [("COMPLETED",), ("CRASHED",)]
    assert {end for (end,) in ends["task_run"]} == {"COMPLETED", "CRASHED"}


def test_params_that_are_edited_while_a_stage_runs_are_not_taken_for_those_it_ran_with(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "train.sh").write_text(
        "cat params.yaml > trained; echo ran >> ../trainings\n"
        "test -e ../edited || { touch ../edited; echo 'train: {steps: 2}' > params.yaml; }\n"
    )
    run(project, monkeypatch)
    assert (project.parent / "trainings").read_text() == "ran\nran\n"
    assert (project / "trained").read_text() == "train: {steps: 2}\n"
    recorded = yaml.safe_load((project / "dvc.lock").read_text())["stages"]["train"]["params"]
    assert recorded == {"params.yaml": {"train": {"steps": 2}}}


def test_a_damaged_file_of_the_cache_is_found_by_its_hash_and_made_anew(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dvc(project, "repro")
    recorded = yaml.safe_load((project / "dvc.lock").read_text())["stages"]["train"]["outs"][0]["md5"]
    cached = project / ".dvc" / "cache" / "files" / "md5" / recorded[:2] / recorded[2:]
    cached.chmod(0o644)
    cached.write_text("a dog\n")
    (project / "trained").unlink()
    run(project, monkeypatch)
    assert (project / "trained").read_text() == "a cat\n"
    assert (project / "report").read_text() == "a cat\n"
    assert cached.read_text() == "a cat\n"

    (project / "train.sh").write_text((project / "train.sh").read_text() + "# why\n")
    assert list_changes(project, "train") == ["train.sh"]
    (project / "trained").unlink()  # as when the stage is stopped
    for command in (("checkout", "train"), ("commit", "--force", "train")):  # what is advised
        dvc(project, *command)
    assert list_changes(project, "train") == []
    assert (project / "trained").read_text() == "a cat\n"


def test_advice_is_given_where_code_alone_changed() -> None:
    advice = advise_on_code("train_prior", ["src/compodiff/training", "src/compodiff/model"])
    assert advice is not None
    assert advice.startswith("train_prior is run as src/compodiff/training, src/compodiff/model changed;")
    assert advice.endswith("Ctrl-C and: dvc checkout train_prior && dvc commit --force train_prior")
    for changes in ([], ["src/compodiff/training", "prior.steps"], ["changed command"]):
        assert advise_on_code("train_prior", changes) is None


def test_a_stage_that_is_killed_while_it_writes_leaves_the_old_output_or_none(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writing goes by compodiff.storage.atomic, as that of all stages of the pipeline does."""
    (project / "write.py").write_text(
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from compodiff.storage.atomic import replace_folder\n"
        "with replace_folder(Path('trained'), 'thing') as folder:\n"
        "    (folder / 'half').write_text('half')\n"
        "    if not Path('../again').exists():\n"
        "        Path('../again').touch()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    (folder / 'whole').write_text('whole')\n"
    )
    (project / "train.sh").write_text(f"exec {shlex.quote(sys.executable)} write.py\n")
    (project / "dvc.yaml").write_text(DVC_YAML.replace("cat trained > report", "ls trained > report"))
    run(project, monkeypatch)  # the second attempt of the same stage, ten seconds after
    assert (project / "report").read_text() == "half\nwhole\n"
    assert [path.name for path in project.iterdir() if path.name.startswith(".trained")] == []
