"""What params.yaml names is looked for before anything runs, and said in one line with the way to it."""

from pathlib import Path

import pytest
import yaml

from compodiff.errors import InputInvalid
from compodiff.params import Params, compose_params, load_params
from compodiff.stages.declaration import OPTIONAL_STAGES, STAGES, list_keys, run_stage
from compodiff.stages.sources import require_sources

ROOT = Path(__file__).parents[3]


def paper() -> Params:
    return Params.model_validate(compose_params(ROOT, "paper"))


def put(project: Path, params: Params) -> None:
    """Put what is named where it is named; what is in it is another's to check."""
    named = [each.reads for each in (*params.sets.values(), *params.benchmarks.values())]
    for path in named:
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).touch() if Path(path).suffix else (project / path).mkdir(parents=True, exist_ok=True)


def test_the_default_reads_only_what_the_pipeline_builds(tmp_path: Path) -> None:
    require_sources(tmp_path, load_params(ROOT / "params.yaml"))


def test_a_set_that_is_not_there_is_one_line_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(InputInvalid) as caught:
        require_sources(tmp_path, paper())
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"the set laion of params.yaml reads sets/laion/set.json, which is not in {tmp_path}")
    assert "make it by: compodiff import TARS --format img2dataset --to sets/laion (docs/reproduction.md" in message


def test_a_set_whose_making_nobody_told_names_the_command_all_the_same(tmp_path: Path) -> None:
    params = paper()
    own = params.sets["laion"].model_copy(update={"made_by": ""})
    with pytest.raises(InputInvalid, match="make it by: compodiff import FILES --format FORMAT --to sets/laion "):
        require_sources(tmp_path, params.model_copy(update={"sets": {"laion": own}}))


def test_no_stage_of_the_papers_scale_begins_without_its_sets(tmp_path: Path) -> None:
    """Each stage says what is not there; those of a set or a benchmark say their own, the others the first."""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(compose_params(ROOT, "paper")))
    params = paper()
    asked = 0
    for stage in (*STAGES, *OPTIONAL_STAGES):
        if stage == "set_dials":  # reads nothing and writes what params.yaml says
            continue
        for key in list_keys(stage, params) or [""]:
            own = key if (STAGES | OPTIONAL_STAGES)[stage] in ("sets", "benchmarks") else "laion"
            named = f"the benchmark {own} .*: compodiff benchmark doctor {own} --root benchmarks/{own}$"
            if own in params.sets:
                named = f"the set {own} .*; make it by: compodiff import .* --to sets/{own} "
            with pytest.raises(InputInvalid, match=named) as caught:
                run_stage(f"{stage}@{key}" if key else stage, tmp_path)
            assert "\n" not in str(caught.value)
            asked += 1
    assert asked > 20
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "params.yaml"]


def test_each_thing_that_is_missing_is_named_and_all_there_passes(tmp_path: Path) -> None:
    params = paper()
    put(tmp_path, params)
    require_sources(tmp_path, params)
    for name, own in params.sets.items():
        (tmp_path / own.reads).rename(tmp_path / "away")
        with pytest.raises(InputInvalid, match=f"the set {name} of params.yaml"):
            require_sources(tmp_path, params)
        (tmp_path / "away").rename(tmp_path / own.reads)
    for name, benchmark in params.benchmarks.items():
        (tmp_path / benchmark.reads).rename(tmp_path / "away")
        with pytest.raises(InputInvalid, match=f"the benchmark {name} .*compodiff benchmark doctor {name} --root"):
            require_sources(tmp_path, params)
        (tmp_path / "away").rename(tmp_path / benchmark.reads)


def test_links_count_and_an_address_is_asked_when_its_set_is_made(tmp_path: Path) -> None:
    params = paper()
    put(tmp_path, params)
    own = tmp_path / params.sets["laion"].reads
    own.rename(tmp_path / "elsewhere.json")
    own.symlink_to(tmp_path / "elsewhere.json")
    require_sources(tmp_path, params)
    own.unlink()
    address = params.sets["laion"].model_copy(update={"reads": "s3://bucket/laion/set.json"})
    require_sources(tmp_path, params.model_copy(update={"sets": {**params.sets, "laion": address}}))
