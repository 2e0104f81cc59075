"""dvc.yaml says to DVC what the signatures of the stages say: names, sections and paths, and the code behind them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml

from compodiff.params import Params, load_params
from compodiff.stages.declaration import OPTIONAL_STAGES, STAGES, Declaration, declaration_of

ROOT = Path(__file__).parents[2]
GRAPH: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
DATA: dict[str, Any] = yaml.safe_load((ROOT / "data.dvc").read_text(encoding="utf-8"))
CODE = "src/"

# Modules that no result depends on, so that an edit to them trains nothing anew: messages, how files are written, which
# names are refused, what the machine is, how much fits a GPU, the types of params (whose values DVC watches), how a
# stage is declared, and what only watches.
# Precision is the machine's: another rounds otherwise, and need not train anew.
WITHOUT_EFFECT = {
    "compodiff",
    "compodiff.atomic",
    "compodiff.errors",
    "compodiff.machine",
    "compodiff.memory",
    "compodiff.ownership",
    "compodiff.params",
    "compodiff.prefetch",
    "compodiff.paths",
    "compodiff.precision",
    "compodiff.stages",
    "compodiff.stages.declaration",
    "compodiff.tracking",
    "compodiff.tracking.journal",
    "compodiff.tracking.runs",
    "compodiff.tracking.store",
}


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("compodiff", exclude_type_checking_imports=True)


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def declared(stage: str) -> Declaration:
    return declaration_of(stage)


def paths(stage: str, *kinds: str) -> dict[str, dict[str, Any]]:
    """Path -> options of the entries of `kinds`, which DVC writes as a string or as a mapping of one key."""
    entries = [entry for kind in kinds for entry in GRAPH[stage].get(kind, [])]
    return {path: options or {} for entry in entries for path, options in as_mapping(entry).items()}


def as_mapping(entry: str | dict[str, Any]) -> dict[str, Any]:
    return {entry: {}} if isinstance(entry, str) else entry


def test_the_same_stages() -> None:
    assert list(GRAPH) == list(STAGES)


def test_the_command_runs_the_stage_of_that_name(stage: str) -> None:
    assert GRAPH[stage]["cmd"] == f"PATH=$PATH:.venv/bin compodiff run {stage}"


def test_the_same_sections_of_params(stage: str, declared: Declaration) -> None:
    assert sorted(GRAPH[stage].get("params", [])) == sorted(declared.sections)
    assert set(declared.sections) <= set(Params.model_fields)


def test_the_same_inputs(stage: str, declared: Declaration) -> None:
    assert {path for path in paths(stage, "deps") if not path.startswith(CODE)} == set(declared.inputs.values())


def test_the_same_outputs(stage: str, declared: Declaration) -> None:
    assert set(paths(stage, "outs", "metrics", "plots")) == set(declared.outputs.values())


def test_every_module_behind_a_stage_is_watched_and_no_path_in_vain(stage: str, imports: grimp.ImportGraph) -> None:
    watched = {path for path in paths(stage, "deps") if path.startswith(CODE)}
    behind = {file_of(module) for module in modules_behind(f"compodiff.stages.{stage}", imports)}
    assert {file for file in behind if not covers({*watched}, file)} == set(), "add them to the stage's deps"
    assert {path for path in watched if not any(covers({path}, file) for file in behind)} == set(), "remove them"


def test_trainings_watch_no_module_that_they_do_not_import(imports: grimp.ImportGraph) -> None:
    """A folder may hold more than a stage imports; for what takes longest, the room most worked on is named by file."""
    for stage in ("train_prior", "train_composed"):
        watched = {path for path in paths(stage, "deps") if path.startswith("src/compodiff/model")}
        assert watched <= {file_of(module) for module in modules_behind(f"compodiff.stages.{stage}", imports)}


def modules_behind(stage: str, imports: grimp.ImportGraph) -> set[str]:
    """Return what may change a result of `stage`: it, its imports, the packages around them, and so on."""
    found: set[str] = set()
    waiting = {stage}
    while waiting:
        module = waiting.pop()
        found.add(module)
        reached = {module.rpartition(".")[0], *imports.find_modules_directly_imported_by(module)}
        waiting |= reached - found - WITHOUT_EFFECT
    return found


def file_of(module: str) -> str:
    path = Path("src", *module.split("."))
    return f"{path}/__init__.py" if (ROOT / path).is_dir() else f"{path}.py"


def covers(watched: set[str], file: str) -> bool:
    return any(Path(file).is_relative_to(path) for path in watched)


def test_the_package_imports_none_of_its_modules_by_itself() -> None:
    script = "import sys, compodiff; print([name for name in sys.modules if name.startswith('compodiff.')])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_stages_that_resume_within_their_output_keep_it_when_they_are_run_again() -> None:
    kept = {path for stage in STAGES for path, options in paths(stage, "outs").items() if options.get("persist")}
    assert kept == {"artifacts/triplets", "artifacts/embeddings"}


def test_nothing_is_written_below_data_which_is_one_tracked_input() -> None:
    written = {path for stage in STAGES for path in paths(stage, "outs", "metrics", "plots")}
    assert all(path.startswith("artifacts/") for path in written)
    assert DATA["outs"][0]["path"] == "data"


def test_the_recorded_data_are_those_of_the_params_at_hand() -> None:
    assert DATA["meta"]["params"] == load_params(ROOT / "params.yaml").data.model_dump()


@pytest.mark.parametrize("name", OPTIONAL_STAGES)
def test_an_optional_stage_reads_what_the_graph_wrote_and_writes_what_it_does_not(name: str) -> None:
    declared = declaration_of(name)
    written = {path for stage in STAGES for path in paths(stage, "outs", "metrics", "plots")}
    assert set(declared.inputs.values()) <= written | {"data"}
    assert not set(declared.outputs.values()) & written
    assert declared.sections.keys() <= Params.model_fields.keys()
