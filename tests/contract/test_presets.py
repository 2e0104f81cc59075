"""Each preset of infra/params composes with params.yaml and fits; it and the trainings restate nothing."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from worlds.documents import find_misuse

from compodiff.cli import app
from compodiff.interchange.formats import FORMATS
from compodiff.params import FilesBenchmarkParams, OwnSetParams, Params, compose_params, list_presets, load_params
from compodiff.stages.declaration import STAGES, read_declaration

ROOT = Path(__file__).parents[2]
TRAININGS = ("prior", "composed", "distillation")
PRESETS = list_presets(ROOT)
MISSING = object()


def read(path: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    return content


def leaves_of(values: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves_of(value, (*above, key))
        else:
            yield (*above, key), value


REPLACED = ("sets", "benchmarks", "tasks", "curve")  # as a whole, whatever a preset says of them


def look_up(values: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        values = values.get(key, MISSING) if isinstance(values, dict) else MISSING
    return values


def test_the_papers_scale_is_a_preset() -> None:
    assert "paper" in PRESETS
    paper = Params.model_validate(compose_params(ROOT, "paper"))
    assert (paper.prior.batch_size, paper.prior.steps) == (4096, 1_000_000)
    assert (paper.composed.batch_size, paper.composed.steps) == (2048, 200_000)


@pytest.mark.parametrize("preset", PRESETS)
def test_nothing_of_a_preset_comes_from_the_emoji(preset: str) -> None:
    """Sets and benchmarks are in files, and all that learns, measures and searches draws from them alone."""
    params = Params.model_validate(compose_params(ROOT, preset))
    assert all(isinstance(own, OwnSetParams) for own in params.sets.values())
    assert all(isinstance(each, FilesBenchmarkParams) for each in params.benchmarks.values())
    trainings = (params.prior, params.composed, params.distillation, params.finetuning)
    assert {name for each in trainings for name in each.tasks.sets} == set(params.sets)
    assert {each.curve.set for each in trainings} <= {*params.sets, None}
    assert {params.index.gallery, *(each.curve.benchmark for each in trainings)} <= {*params.benchmarks, None}
    assert any(each.gate for each in params.benchmarks.values())
    assert [name for name in STAGES if "data" in read_declaration(name).inputs.values()] == ["train_encoder"]


@pytest.mark.parametrize("preset", PRESETS)
def test_the_command_that_makes_a_set_of_a_preset_makes_it_where_it_is_read(preset: str) -> None:
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md")]
    for own in compose_params(ROOT, preset)["sets"].values():
        command = own["made_by"]
        assert find_misuse(command, typer.main.get_command(app)) == ""
        options = dict(re.findall(r"--(\w+) (\S+)", command))
        assert options == {"format": options["format"], "to": str(Path(own["reads"]).parent)}
        assert options["format"] in FORMATS
        assert any(command in page for page in pages)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_fits_and_changes_the_default(preset: str) -> None:
    assert Params.model_validate(compose_params(ROOT, preset)) != load_params(ROOT / "params.yaml")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_restates_no_value_of_the_default(preset: str) -> None:
    base = read("params.yaml")
    restated = [
        ".".join(keys)
        for keys, value in leaves_of(read(f"infra/params/{preset}.yaml"))
        if look_up(base, keys) == value and not {*keys} & {*REPLACED}
    ]
    assert restated == []


def test_a_value_of_all_three_trainings_stands_once() -> None:
    """Read as written: a merge key (<<) is not followed."""
    document = yaml.compose((ROOT / "params.yaml").read_text(encoding="utf-8"))
    own = {
        section.value: {key.value for key, _ in node.value}
        for section, node in document.value
        if section.value in TRAININGS
    }
    first, *others = (read("params.yaml")[name] for name in TRAININGS)
    shared = {key for key, value in first.items() if all(other[key] == value for other in others)}
    assert len(shared) > 10
    assert list(own) == list(TRAININGS)
    assert not any(keys & shared for keys in own.values())
