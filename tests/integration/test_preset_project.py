"""A preset runs in a project of its own, beside one whose artifacts, dvc.lock and models stay as they are."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from worlds.operated import BIN, environment, make_project

from compodiff.errors import InputInvalid
from compodiff.params import compose_params, load_params
from compodiff.stages.declaration import run_stage
from compodiff.stages.preset import enter_preset, prepare_preset
from flows.pipeline import main

TINY = "evaluation: {bootstrap_draws: 20}\nprior: {steps: 6}\n"


@pytest.fixture
def project(tmp_path: Path, small_data: Path) -> Path:
    made = make_project(tmp_path / "project", small_data)
    (made / "infra" / "params").mkdir()
    (made / "infra" / "params" / "tiny.yaml").write_text(TINY)
    shutil.copytree(Path(__file__).parents[2] / "src", made / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return made


def files_of(folder: Path) -> dict[str, bytes]:
    kept = (path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(folder / "presets"))
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in kept
        if not {".prefect", "__pycache__"} & {*path.parts}
    }


def test_a_preset_project_follows_its_files_and_keeps_what_was_run(project: Path) -> None:
    before = files_of(project)
    folder = prepare_preset(project, "tiny")
    assert folder == project / "presets" / "tiny"
    assert load_params(folder / "params.yaml").model_dump() == compose_params(project, "tiny")
    assert load_params(folder / "params.yaml").prior.steps == 6
    for name in ("dvc.yaml", "data.dvc"):
        assert (folder / name).read_bytes() == (project / name).read_bytes()
    assert (folder / "src").resolve() == project / "src"
    (folder / "dvc.lock").write_text("schema: '2.0'\n")
    written = (folder / "dvc.yaml").stat().st_mtime_ns

    (project / "infra" / "params" / "tiny.yaml").write_text(TINY.replace("6", "7"))
    assert prepare_preset(project, "tiny") == folder
    assert load_params(folder / "params.yaml").prior.steps == 7
    assert (folder / "dvc.lock").read_text() == "schema: '2.0'\n"
    assert (folder / "dvc.yaml").stat().st_mtime_ns == written
    (project / "infra" / "params" / "tiny.yaml").write_text(TINY)
    assert files_of(project) == before


def test_dvc_takes_the_preset_for_a_project_of_its_own_that_git_ignores(project: Path) -> None:
    settings = environment(project)
    for command in (["git", "init", "--quiet"], [BIN / "dvc", "config", "--unset", "core.no_scm"]):
        subprocess.run(command, cwd=project, check=True, env=settings)
    remote = project.parent / "remote"
    subprocess.run(
        [BIN / "dvc", "remote", "add", "--quiet", "--default", "team", "../remote"],
        cwd=project,
        check=True,
        env=settings,
    )
    for command in (
        ["add", "store", "s3://pictures/store"],
        ["modify", "store", "secret_access_key", "not-the-secret"],
    ):
        command.insert(1, "--local")
        subprocess.run([BIN / "dvc", "remote", *command], cwd=project, check=True, env=settings)
    (project / ".gitignore").write_text("/presets/\n/data\n")
    folder = prepare_preset(project, "tiny")

    def ask(*arguments: str) -> str:
        command = [BIN / "dvc", *arguments]
        return subprocess.run(command, cwd=folder, check=True, env=settings, capture_output=True, text=True).stdout

    assert "not-the-secret" not in (folder / ".dvc" / "config").read_text()
    assert "not-the-secret" in (folder / ".dvc" / "config.local").read_text()
    assert (folder / ".dvc" / "config.local").stat().st_mode & 0o077 == 0
    assert ask("root").strip() == "."
    assert ask("remote", "list").split()[:2] == ["team", str(remote)]
    assert (
        "presets"
        not in subprocess.run(
            [BIN / "dvc", "stage", "list", "--all"],
            cwd=project,
            check=True,
            env=settings,
            capture_output=True,
            text=True,
        ).stdout
    )
    script = "from pathlib import Path; from flows.processes.source_control import match_source_control as match\n"
    script += "print(match(Path()), match(Path('../..')))"
    asked = [sys.executable, "-c", script]
    done = subprocess.run(asked, cwd=folder, check=True, env=settings, capture_output=True, text=True)
    assert done.stdout == "False True\n"
    assert ask("stage", "list", "--name-only").split()[0] == "assemble_benchmark@emoji"


def test_data_recorded_for_the_default_are_taken_over_where_the_preset_has_the_same(project: Path) -> None:
    recorded = yaml.safe_load((project / "data.dvc").read_text())
    folder = prepare_preset(project, "tiny")
    recorded["meta"] = {"params": load_params(project / "params.yaml").data.model_dump()}
    (project / "data.dvc").write_text(yaml.safe_dump(recorded))
    prepare_preset(project, "tiny")
    assert yaml.safe_load((folder / "data.dvc").read_text()) == recorded

    (project / "infra" / "params" / "tiny.yaml").write_text("data: {seed: 3}\n")
    (folder / "data.dvc").write_text("outs: []\n")
    prepare_preset(project, "tiny")
    assert (folder / "data.dvc").read_text() == "outs: []\n"


def test_a_server_of_mlflow_is_not_used_by_a_preset(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    folder = enter_preset(project, "tiny")
    assert Path.cwd() == folder
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert f"{folder}/mlruns, not where MLFLOW_TRACKING_URI says" in caplog.text
    with pytest.raises(InputInvalid, match=f"not in {folder}; run there: dvc repro embed@scenes"):
        run_stage("embed@scenes", folder)


def test_one_stage_of_a_preset_writes_where_the_preset_is(project: Path, small_data: Path) -> None:
    shutil.copytree(small_data, prepare_preset(project, "tiny") / "data")
    before = files_of(project)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [BIN / "compodiff", "run", *arguments]
        return subprocess.run(
            command, cwd=project / "infra", check=False, env=environment(project, PYTHONPATH=f"{project}/src"),
            capture_output=True, text=True,
        )  # fmt: skip

    assert run("assemble_benchmark@emoji", "--preset", "tiny").returncode == 0
    assert (project / "presets" / "tiny" / "artifacts" / "benchmarks" / "emoji").is_dir()
    unknown = run("assemble_benchmark@emoji", "--preset", "tinny")
    assert unknown.returncode == 2
    assert unknown.stderr.endswith("it has: tiny\n")
    assert unknown.stderr.count("\n") == 1
    assert files_of(project) == before


def test_the_papers_scale_stops_before_anything_runs_with_the_command_that_makes_what_is_missing(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `make run PRESET=paper` calls, in a project whose emoji and default sets are all there."""
    shutil.copy(Path(__file__).parents[2] / "infra" / "params" / "paper.yaml", project / "infra" / "params")
    shutil.copytree(project / "data", prepare_preset(project, "paper") / "data")
    before = files_of(project)
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["pipeline", "--preset", "paper"])
    assert main() == InputInvalid.exit_code
    said = capsys.readouterr().err
    assert said.startswith("pipeline: the set laion of params.yaml reads sets/laion/set.json, which is not in ")
    assert "make it by: compodiff import TARS --format img2dataset --to sets/laion" in said
    assert said.count("\n") == 1
    made = {path.name for path in (project / "presets" / "paper").iterdir()}
    assert made == {"params.yaml", "dvc.yaml", "data.dvc", "data", ".dvc", ".dvcignore", "src"} & made
    assert files_of(project) == before


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_whole_pipeline_of_a_preset_leaves_the_default_alone_and_goes_on(project: Path) -> None:
    """What `make run PRESET=tiny` runs, twice: the second run finds everything up to date."""
    shutil.rmtree(project / "src")  # the stages of this graph depend on no code: it is installed
    prepared = prepare_preset(project, "tiny")
    shutil.copytree(project / "data", prepared / "data")
    before = files_of(project)
    settings = environment(project, PYTHONPATH=f"{Path(__file__).parents[2] / 'src'}:{project}")

    def run() -> str:
        command = [sys.executable, "-m", "flows.pipeline", "--preset", "tiny"]
        done = subprocess.run(command, cwd=project, env=settings, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first = run()
    assert "cd presets/tiny" in first
    lock = yaml.safe_load((prepared / "dvc.lock").read_text())["stages"]
    assert lock["train_prior"]["params"]["params.yaml"]["prior"]["steps"] == 6
    assert json.loads((prepared / "artifacts" / "registration.json").read_text())["model"] == "compodiff"
    assert (prepared / "mlruns" / "mlflow.db").is_file()
    assert files_of(project) == before
    assert "up to date" in (second := run())
    assert " ran " not in second


def test_the_cases_of_behaviour_come_along_and_are_read_before_anything_runs(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "infra" / "params" / "tiny.yaml").write_text(TINY + "promotion: {behaviour: cases.yaml}\n")
    (project / "cases.yaml").write_text("- {name: a, kind: minimum}\n")
    assert (prepare_preset(project, "tiny") / "cases.yaml").read_bytes() == (project / "cases.yaml").read_bytes()
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["pipeline", "--preset", "tiny"])
    assert main() == InputInvalid.exit_code
    assert "cases.yaml: case 1, minimum, reference: Field required" in capsys.readouterr().err
