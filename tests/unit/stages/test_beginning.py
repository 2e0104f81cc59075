"""`compodiff init`: a project that fits the program, in a folder that holds nothing."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from compodiff.errors import InputInvalid, ParamsInvalid
from compodiff.params import Params, compose_params, load_params
from compodiff.stages.beginning import CODE, DEFAULTS, VERSION, begin_project
from compodiff.stages.declaration import STAGES, list_keys
from flows.processes.dvc import read_stage_graph

ROOT = Path(__file__).parents[3]
SOURCES = {
    "params.yaml": "params.yaml",
    "graph.yaml": "dvc.yaml",
    "catalogue.yaml": "data.dvc",
    "infra/params/own.yaml": "infra/params/own.yaml",
}


def list_contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("begun") / "mine"
    begin_project(folder, "own")
    return folder


def test_what_it_starts_from_are_the_files_of_the_repository() -> None:
    assert {str(path.relative_to(DEFAULTS)) for path in DEFAULTS.rglob("*.yaml")} == set(SOURCES)
    assert all((DEFAULTS / name).resolve() == ROOT / source for name, source in SOURCES.items())


def test_params_are_the_defaults_with_the_preset_and_keep_comments(begun: Path) -> None:
    assert load_params(begun / "params.yaml") == Params.model_validate(compose_params(ROOT, "own"))
    text = (begun / "params.yaml").read_text(encoding="utf-8")
    assert "put yours where `reads` says" in text
    assert "the embedding's dimensions" in text, "of a section of the default"
    assert "emoji" not in {*load_params(begun / "params.yaml").sets, *load_params(begun / "params.yaml").benchmarks}


def test_the_graph_has_every_stage_and_watches_the_version_for_the_code(
    begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = shutil.copytree(begun, tmp_path / "read")  # DVC leaves files of its own where it reads
    monkeypatch.chdir(begun)  # and names stages as they are seen from the current folder
    params = load_params(begun / "params.yaml")
    expected = {f"{name}@{key}" if key else name for name in STAGES for key in list_keys(name, params) or [""]}
    graph = read_stage_graph(begun)
    assert set(graph) == {"installed", *expected}
    assert all("installed" in graph[name] for name in expected)
    stages = yaml.safe_load((begun / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    watched = {name: stage.get("do", stage).get("deps", []) for name, stage in stages.items()}
    assert all(VERSION in watched[name] for name in STAGES)
    assert not [path for paths in watched.values() for path in paths if path.startswith(CODE)]


def test_a_second_time_changes_nothing_and_a_begun_one_is_completed(begun: Path, tmp_path: Path) -> None:
    before = list_contents(begun)
    begin_project(begun, "own")
    assert list_contents(begun) == before
    folder = tmp_path / "half"
    folder.mkdir()
    (folder / "README.md").write_bytes((begun / "README.md").read_bytes())
    begin_project(folder, "own")
    assert list_contents(folder) == before


@pytest.mark.parametrize("name", ["letter.txt", "params.yaml", "sets/mine/set.json", ".compodiff.json", ".hidden/a"])
def test_a_folder_that_holds_something_of_somebodys_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    before = list_contents(tmp_path)
    with pytest.raises(InputInvalid, match="a project begins in an empty folder: name another one"):
        begin_project(tmp_path, "own")
    assert list_contents(tmp_path) == before


def test_a_file_a_link_to_nothing_and_an_unknown_preset_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for name in ("file", "link"):
        with pytest.raises(InputInvalid, match=f"{name} is a file; name a folder"):
            begin_project(tmp_path / name, "own")
    with pytest.raises(ParamsInvalid, match="it has: own"):
        begin_project(tmp_path / "new", "owm")
    assert not (tmp_path / "new").exists()


def test_an_installed_package_begins_the_same_project(begun: Path, tmp_path: Path) -> None:
    """Built without the network; what pip would unpack runs where no repository is."""
    copy = tmp_path / "copy"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", copy / "src", symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", *SOURCES.values()):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", tmp_path, copy], cwd=tmp_path, check=True)
    shutil.rmtree(copy)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "installed")
    command = [sys.executable, "-P", "-m", "compodiff.cli", "init", "mine"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout == "mine: a project to begin with; mine/README.md has the commands in order\n"
    assert list_contents(tmp_path / "mine") == list_contents(begun)
