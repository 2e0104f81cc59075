"""`compodiff init`: a project that fits the program, in a folder that holds nothing."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from PIL import Image
from worlds.installed import install_wheel
from worlds.operated import BIN, environment

from compodiff.errors import InputInvalid, ParamsInvalid
from compodiff.params import Params, compose_params, load_params
from compodiff.sets import open_set
from compodiff.stages.beginning import CODE, DEFAULTS, VERSION, begin_project
from compodiff.stages.declaration import STAGES, list_keys
from flows.processes.dvc import read_stage_graph

ROOT = Path(__file__).parents[3]
SOURCES = {
    "params.yaml": "params.yaml",
    "graph.yaml": "dvc.yaml",
    "catalogue.yaml": "data.dvc",
    "infra/params/own.yaml": "infra/params/own.yaml",
    "infra/params/paper.yaml": "infra/params/paper.yaml",
    "infra/prefect.yaml": "infra/prefect.yaml",
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


def test_a_section_that_uses_what_another_names_is_written_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = shutil.copytree(DEFAULTS, tmp_path / "defaults")
    text = yaml.safe_dump(yaml.safe_load((defaults / "params.yaml").read_text(encoding="utf-8")))
    assert "tasks: *id" in text
    (defaults / "params.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr("compodiff.stages.beginning.DEFAULTS", defaults)
    begin_project(tmp_path / "mine", "own")
    assert load_params(tmp_path / "mine" / "params.yaml") == Params.model_validate(compose_params(ROOT, "own"))


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


def test_the_papers_scale_begins_outside_the_repository_too(tmp_path: Path) -> None:
    begin_project(tmp_path / "paper", "paper")
    assert load_params(tmp_path / "paper" / "params.yaml") == Params.model_validate(compose_params(ROOT, "paper"))
    text = (tmp_path / "paper" / "README.md").read_text(encoding="utf-8")
    assert "    compodiff import TARS --format img2dataset --to sets/laion\n" in text
    assert "compodiff benchmark doctor circo --root benchmarks/circo" in text


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
    with pytest.raises(ParamsInvalid, match="it has: own, paper"):
        begin_project(tmp_path / "new", "owm")
    assert not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_wheel(tmp_path_factory.mktemp("installed"))


def run_installed(programs: Path, folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    settings = environment(folder, PYTHONPATH="", PATH=f"{programs}:{BIN}:{os.environ['PATH']}")
    command = (str(programs / command[0]), *command[1:])
    return subprocess.run(command, cwd=folder, env=settings, check=True, capture_output=True, text=True)


def test_an_installed_package_begins_the_same_project(begun: Path, programs: Path, tmp_path: Path) -> None:
    done = run_installed(programs, tmp_path, "compodiff", "init", "mine")
    assert done.stdout == "mine: a project to begin with; mine/README.md has the commands in order\n"
    assert list_contents(tmp_path / "mine") == list_contents(begun)


def test_an_installed_package_has_the_flows_and_their_deployments(programs: Path, tmp_path: Path) -> None:
    run_installed(programs, tmp_path, "compodiff", "init", "mine")
    script = (
        "import importlib, sys, yaml, flows, compodiff\n"
        "deployments = yaml.safe_load(open('infra/prefect.yaml'))['deployments']\n"
        "for each in deployments:\n"
        "    module, _, name = each['entrypoint'].rpartition('.')\n"
        "    assert callable(getattr(importlib.import_module(module), name))\n"
        "print(len(deployments), flows.__file__, compodiff.__file__)"
    )
    count, *files = run_installed(programs, tmp_path / "mine", "python", "-c", script).stdout.split()
    assert int(count) >= 8
    assert all(Path(file).is_relative_to(programs.parent) for file in files)
    watched = yaml.safe_load((tmp_path / "mine" / "infra" / "prefect.yaml").read_text())["deployments"]
    (daily,) = (each for each in watched if each["name"] == "daily")
    assert daily["parameters"]["benchmark"] == "artifacts/benchmarks/mine"
    assert daily["parameters"]["registered_as"] == "mine"


def test_an_installed_package_runs_stages_by_dvc(programs: Path, tmp_path: Path) -> None:
    """A set and a benchmark of the folder's own, from files; the code is nowhere but in the environment."""
    run_installed(programs, tmp_path, "compodiff", "init", "mine")
    project = tmp_path / "mine"
    triplets, queries = [], []
    for number in range(6):
        for name in (f"a{number}.png", f"b{number}.png"):
            path = project / "benchmarks" / "mine" / "gallery" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (40 * number, 90 * (name[0] == "b"), 7)).save(path)
        ends = {"reference": f"a{number}.png", "target": f"b{number}.png"}
        queries.append({**ends, "relative_caption": "greener"})
        triplets.append({**{f"{end}_image": name for end, name in ends.items()}, "relative_caption": "greener"})
    (project / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in triplets))
    for split in ("test", "validation"):
        path = project / "benchmarks" / "mine" / f"queries.{split}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in queries))
    pictures = "benchmarks/mine/gallery"
    imported = ["import", "mine.jsonl", "--format", "manifest", "--pictures", pictures, "--to", "sets/mine"]
    run_installed(programs, project, "compodiff", *imported)
    wanted = ["make_set@mine", "assemble_benchmark@mine"]
    repro = ["-m", "dvc", "repro", "--quiet", *wanted]
    run_installed(programs, project, "python", *repro)
    assert open_set(str(project / "artifacts" / "sets" / "mine")).description.rows == {"train": 6, "validation": 0}
    assert (project / "artifacts" / "benchmarks" / "mine" / "benchmark.json").is_file()
    status = run_installed(programs, project, "python", "-m", "dvc", "status", "--json", *wanted)
    assert "make_set@mine" not in status.stdout
