"""dvc.yaml says to DVC what the signatures of the stages say: names, sections and paths, and the code behind them."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml

from compodiff.params import Params, load_params
from compodiff.recipes.make import ROOMS
from compodiff.stages.declaration import OPTIONAL_STAGES, STAGES, Declaration, list_keys, read_declaration
from flows.processes.dvc import read_stage_graph

ROOT = Path(__file__).parents[2]
DECLARED_GRAPH: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
GRAPH: dict[str, Any] = {name: stage.get("do", stage) for name, stage in DECLARED_GRAPH.items()}
DATA: dict[str, Any] = yaml.safe_load((ROOT / "data.dvc").read_text(encoding="utf-8"))
CODE = "src/"

# Rooms that no result depends on, so that an edit to them trains nothing anew: messages, how files are written and work
# is spread, how models are fetched (what one made records its digest), what the machine is and what precision it
# multiplies, the types and ranges of params (whose values DVC watches), and what only watches. A stage whose result is
# theirs names them all the same.
WITHOUT_EFFECT = {
    "dials",
    "errors",
    "execution",
    "hub",
    "machine",
    "params",
    "precision",
    "project",
    "storage",
    "tracking",
}
DECLARED = "compodiff.stages.declaration"  # how a stage is declared changes no result either


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("compodiff", exclude_type_checking_imports=True)


@pytest.fixture(params=list(STAGES))
def stage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def declared(stage: str) -> Declaration:
    return read_declaration(stage)


def paths(stage: str, *kinds: str) -> dict[str, dict[str, Any]]:
    """Path -> options of the entries of `kinds`, which DVC writes as a string or as a mapping of one key."""
    entries = [entry for kind in kinds for entry in GRAPH[stage].get(kind, [])]
    return {path: options or {} for entry in entries for path, options in as_mapping(entry).items()}


def as_mapping(entry: str | dict[str, Any]) -> dict[str, Any]:
    return {entry: {}} if isinstance(entry, str) else entry


def key_of(stage: str) -> str:
    """Return what stands for the key in a stage of dvc.yaml: the entries of a list have no keys there."""
    return "${item}" if isinstance(STAGES[stage], tuple) else "${key}"


def in_dvc(template: str, stage: str) -> str:
    """Return a path of a declaration as dvc.yaml writes it."""
    return re.sub(r"\{([^}]+)\}", r"${\1}", template).replace("${key}", key_of(stage))


def test_the_same_stages() -> None:
    assert list(GRAPH) == list(STAGES)


def test_the_same_names_to_run_over(stage: str) -> None:
    over = STAGES[stage]
    expected = list(over) if isinstance(over, tuple) else f"${{{over}}}" if over else None
    assert DECLARED_GRAPH[stage].get("foreach") == expected


def test_the_command_runs_the_stage_of_that_name(stage: str) -> None:
    name = f"{stage}@{key_of(stage)}" if STAGES[stage] else stage
    assert GRAPH[stage]["cmd"] == f"PATH=$PATH:.venv/bin compodiff run {name}"


def test_the_same_params(stage: str, declared: Declaration) -> None:
    items = [
        ".".join(filter(None, (item.section, key_of(stage), key)))
        for item in declared.items.values()
        for key in item.keys or ("",)
    ]
    assert sorted(GRAPH[stage].get("params", [])) == sorted([*declared.sections, *items])
    assert set(declared.sections) <= set(Params.model_fields)


def test_the_same_inputs(stage: str, declared: Declaration) -> None:
    inputs = {in_dvc(path, stage) for path in declared.inputs.values()}
    assert {path for path in paths(stage, "deps") if not path.startswith(CODE)} == inputs


def test_the_same_outputs(stage: str, declared: Declaration) -> None:
    outputs = {in_dvc(path, stage) for path in declared.outputs.values()}
    assert set(paths(stage, "outs", "metrics", "plots")) == outputs


def test_dvc_makes_a_stage_of_each_name_of_params() -> None:
    params = load_params(ROOT / "params.yaml")
    expected = {f"{name}@{key}" if key else name for name in STAGES for key in list_keys(name, params) or [""]}
    assert set(read_stage_graph(ROOT)) == expected


def test_every_room_behind_a_stage_is_watched_and_no_path_in_vain(stage: str, imports: grimp.ImportGraph) -> None:
    watched = {path for path in paths(stage, "deps") if path.startswith(CODE)}
    behind = modules_behind(f"compodiff.stages.{stage}", imports)
    needed = {file_of(module) for module in behind if has_effect(module)}
    assert {file for file in needed if not covers(watched, file)} == set(), "add their rooms to the stage's deps"
    files = {file_of(module) for module in behind}
    assert {path for path in watched if not any(covers({path}, file) for file in files)} == set(), "remove them"


def test_stages_watch_rooms_and_their_own_files(stage: str) -> None:
    watched = {path for path in paths(stage, "deps") if path.startswith(CODE)}
    assert {path for path in watched if not (ROOT / path).is_dir()} <= {
        f"src/compodiff/stages/{name}.py" for name in (stage, "training_material")
    }


def test_a_change_of_code_makes_shards_anew_where_dvc_makes_them_anew() -> None:
    watched = {Path(path).name for path in paths("make_set", "deps") if path.startswith(CODE)}
    assert set(ROOMS) == watched - {"make_set.py"}


def test_how_a_model_is_asked_trains_nothing_anew() -> None:
    behind: set[str] = set()
    for name, needed in read_stage_graph(ROOT).items():  # those first that need none
        stage = name.partition("@")[0]
        sections = {param.partition(".")[0] for param in GRAPH[stage].get("params", [])}
        if "sampling" in sections or behind & {each.partition("@")[0] for each in needed}:
            behind.add(stage)
    assert behind == {"set_dials", "evaluate", "register"}
    assert not [name for name in OPTIONAL_STAGES if "sampling" in read_declaration(name).sections]


def in_dvc_key(path: str) -> str:
    """Return a path of the stage mix for the composed model, which optional stages read."""
    return path.replace("${item}", "composed")


def modules_behind(stage: str, imports: grimp.ImportGraph) -> set[str]:
    """Return `stage`, what it imports, what that imports, and so on; past a room without effect nothing has one."""
    found: set[str] = set()
    waiting = {stage}
    while waiting:
        module = waiting.pop()
        found.add(module)
        if has_effect(module):
            waiting |= imports.find_modules_directly_imported_by(module) - found
    return found


def has_effect(module: str) -> bool:
    """Return whether a result may depend on `module`: not on a package that says only what it is about."""
    if module == DECLARED or (module.split(".")[1:2] and module.split(".")[1] in WITHOUT_EFFECT):
        return False
    body = ast.parse((ROOT / file_of(module)).read_text(encoding="utf-8")).body
    return len(body) > 1 or not file_of(module).endswith("__init__.py")


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
    assert kept == {"artifacts/sets/${key}", "artifacts/embeddings/${key}"}


def test_nothing_is_written_below_data_which_is_one_tracked_input() -> None:
    written = {path for stage in STAGES for path in paths(stage, "outs", "metrics", "plots")}
    assert all(path.startswith("artifacts/") for path in written)
    assert DATA["outs"][0]["path"] == "data"


def test_the_recorded_data_are_those_of_the_params_at_hand() -> None:
    assert DATA["meta"]["params"] == load_params(ROOT / "params.yaml").data.model_dump()


@pytest.mark.parametrize("name", OPTIONAL_STAGES)
def test_an_optional_stage_reads_what_the_graph_wrote_and_writes_what_it_does_not(name: str) -> None:
    declared = read_declaration(name)
    written = {path for stage in STAGES for path in paths(stage, "outs", "metrics", "plots")}
    assert all(any(path in (wrote, in_dvc_key(wrote)) for wrote in written) for path in declared.inputs.values())
    assert not set(declared.outputs.values()) & written
    assert declared.sections.keys() <= Params.model_fields.keys()
