import math
import shutil
from pathlib import Path

import pytest
import yaml

from compodiff.errors import ParamsInvalid
from compodiff.params import compose_params, load_params

ROOT = Path(__file__).resolve().parents[3]


def _written(folder: Path, change) -> Path:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    change(content)
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_projects_params_load_and_are_frozen():
    params = load_params(ROOT / "params.yaml")
    with pytest.raises(ValueError, match="frozen"):
        params.data.seed = 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c["data"].pop("seed"), "data.seed: Field required; copy what is missing from this release's params"),
        (lambda c: c["data"].update(sede=3), "data.sede: Extra inputs"),
        (lambda c: c["data"].update(picture_size="160"), "data.picture_size: Input should be a valid integer"),
        (lambda c: c["data"].update(picture_size=0), "data.picture_size: Input should be greater than 0"),
        (lambda c: c.pop("data"), "data: Field required"),
        (lambda c: c.update(dataa={}), "dataa: Extra inputs"),
        (lambda c: c["sets"].update({"a.b": c["sets"]["emoji"]}), "sets.a.b.*String should match pattern"),
        (lambda c: c["sets"]["emoji"].update(recipe="emojis"), "sets.emoji: .*'emojis'"),
        (lambda c: c["sets"]["emoji"].update(seed=3), "sets.emoji.emoji_captions.seed: Extra inputs"),
        (lambda c: c["sets"].clear(), "sets: Dictionary should have at least 1 item"),
        (lambda c: c["sets"].pop("scenes"), "composed names 'scenes', which is none of the sets: emoji, emoji_edits"),
        (
            lambda c: c["index"].update(gallery="cirr"),
            "index names 'cirr', which is none of the benchmarks: emoji, ex",
        ),
        (lambda c: c["composed"]["curve"].update(benchmark="x"), "composed names 'x', which is none of the benchmarks"),
        (lambda c: c["prior"]["curve"].update(set="laion"), "prior names 'laion', which is none of the sets"),
        (lambda c: c["prior"]["curve"].update(benchmark="emoji"), "give one of set and benchmark, and null for the"),
        (lambda c: c["prior"]["curve"].update(set=None), "give one of set and benchmark, and null for the other"),
        (lambda c: c["prior"]["tasks"]["masked"].update(emoji=0.5), r"the shares add up to 1\.5, not to 1"),
        (lambda c: c["prior"]["tasks"].update(text_to_image={}), "the shares add up to 0, not to 1"),
        (
            lambda c: c["prior"]["tasks"]["masked"].update(emoji=0.0),
            "prior.tasks.masked.emoji: .*greater than 0, not 0",
        ),
        (lambda c: c["prior"].update(learning_rate=math.inf), "prior.learning_rate: .*finite number, not inf"),
        (lambda c: c["composed"].update(clip_norm=math.inf), "composed.clip_norm: .*finite number, not inf"),
        (lambda c: c["evaluation"].update(text_weights=[math.nan]), "evaluation.text_weights.0: .*finite number"),
        (lambda c: c["prior"].update(seed=2**63), "prior.seed: Input should be less than .*, not 9223372036854775808"),
        (
            lambda c: c["embedding"].update(seed=-1),
            "embedding.seed: .*greater than or equal to 0, not -1",
        ),
        (
            lambda c: c["embedding"].update(min_mask_fraction=0.9),
            r"embedding: min_mask_fraction is 0\.9, more than max_mask_fraction, 0\.7",
        ),
        (lambda c: c["data"].update(train_fraction=0.9), r"data: train_fraction, 0\.9, and .*, 0\.1, leave nothing to"),
        (
            lambda c: c["adaptation"].update(least_similarity=0.9995),
            r"adaptation: least_similarity is 0\.9995, not less than most_similarity, 0\.9995",
        ),
    ],
)
def test_a_bad_key_is_named(tmp_path, change, named):
    with pytest.raises(ParamsInvalid, match=named):
        load_params(_written(tmp_path, change))


def _with_preset(project: Path, **presets: str) -> Path:
    (project / "infra" / "params").mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", project)
    for name, text in presets.items():
        (project / "infra" / "params" / f"{name}.yaml").write_text(text)
    return project


def test_a_preset_changes_what_it_names_and_nothing_else(tmp_path):
    text = "encoder: {embedded: null, parts: {picture: N, texts: [N]}}\nprior: {steps: 5}\n"
    values = compose_params(_with_preset(tmp_path, tiny=text + "evaluation: {text_weights: [0.5]}"), "tiny")
    expected = yaml.safe_load((ROOT / "params.yaml").read_text())
    expected["encoder"] = {"embedded": None, "parts": {"picture": "N", "texts": ["N"]}}
    expected["prior"]["steps"] = 5
    expected["evaluation"]["text_weights"] = [0.5]
    assert values == expected


SETS = """
sets: {mine: {recipe: own, reads: mine/set.json, min_rows: 1, floors: null}}
benchmarks: {mine: {recipe: files, format: cirr, root: c, reads: c, split: val, validation: null, gate: null}}
index: {gallery: mine}
"""
SHARES = """
  tasks: {text_to_image: {mine: 1.0}, masked: {}, triplet: {}}
  curve: {set: mine, benchmark: null, queries: 3}
"""
TRAININGS = ("prior", "composed", "distillation", "finetuning")


def test_a_preset_that_names_sets_benchmarks_or_shares_falls_back_to_none_of_the_defaults(tmp_path):
    text = SETS + "".join(f"{name}:{SHARES}" for name in TRAININGS)
    values = compose_params(_with_preset(tmp_path, tiny=text), "tiny")
    assert values["sets"].keys() == values["benchmarks"].keys() == {"mine"}
    default = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name in TRAININGS:
        assert values[name]["tasks"] == {"text_to_image": {"mine": 1.0}, "masked": {}, "triplet": {}}
        assert values[name]["curve"] == {"set": "mine", "benchmark": None, "queries": 3}
        assert values[name]["steps"] == default[name]["steps"]


@pytest.mark.parametrize("left_out", TRAININGS)
def test_a_preset_with_other_sets_has_to_say_what_each_training_draws(tmp_path, left_out):
    text = SETS + "".join(f"{name}:{SHARES}" for name in TRAININGS if name != left_out)
    with pytest.raises(
        ParamsInvalid, match=rf"preset tiny \([^()]*\): {left_out} names 'emoji', which is none of the sets: mine"
    ):
        compose_params(_with_preset(tmp_path, tiny=text), "tiny")


def test_the_gates_are_those_of_benchmarks_that_have_one(tmp_path):
    params = load_params(ROOT / "params.yaml")
    assert params.gates.keys() == {name for name, benchmark in params.benchmarks.items() if benchmark.gate} >= {"emoji"}
    without = load_params(_written(tmp_path, lambda c: c["benchmarks"]["scenes"].update(gate=None)))
    assert without.gates.keys() == {"emoji"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("data: {sede: 3}", "data.sede: Extra inputs"),
        ("dataa: {seed: 3}", "dataa: Extra inputs"),
        ("data: {seed: [3]}", "data.seed: Input should be a valid integer"),
        ("data: 3", "data: Input should be a valid dictionary"),
        ("- data", "has no sections"),
        ("data: [1", "is not YAML"),
    ],
)
def test_a_bad_key_of_a_preset_is_named_with_the_preset_in_one_line(tmp_path, text, named):
    with pytest.raises(ParamsInvalid) as caught:
        compose_params(_with_preset(tmp_path, tiny=text), "tiny")
    assert named in str(caught.value)
    assert "tiny" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_preset_names_those_there_are(tmp_path):
    project = _with_preset(tmp_path, tiny="{}", large="{}")
    for name in ("papr", "../params/tiny", ""):
        with pytest.raises(ParamsInvalid, match=r"no preset .* it has: large, tiny$"):
            compose_params(project, name)


def test_a_file_that_is_not_yaml_is_one_line(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("data: [1, 2")
    with pytest.raises(ParamsInvalid) as caught:
        load_params(path)
    assert "is not YAML" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("learning_rate: 1.0e-3", "learning_rate: 1e-3", r"learning_rate: .* not '1e-3' .*with an exponent as 1\.0e-3"),
        ("steps: 300", "steps: 3e2", "steps: Input should be a valid integer, not '3e2' .*in digits, without quotes"),
        ("steps: 300", "steps: few", "steps: Input should be a valid integer, not 'few'$"),
        ("  steps: 300", "  steps: 300\n  steps: 30", r"the key 'steps' stands in line \d+ and in line \d+; keep one"),
        ("sets:  #", "prior: {}\nsets:  #", r"the key 'prior' stands in line \d+ and in line \d+; keep one"),
    ],
)
def test_what_yaml_reads_otherwise_than_it_was_meant_is_named(tmp_path, old, new, named):
    text = (ROOT / "params.yaml").read_text()
    assert old in text
    (tmp_path / "params.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(ParamsInvalid, match=named):
        load_params(tmp_path / "params.yaml")


def test_a_key_twice_in_a_preset_is_named(tmp_path):
    with pytest.raises(ParamsInvalid, match="the key 'seed' stands in line 1 and in line 2; keep one"):
        compose_params(_with_preset(tmp_path, tiny="data: {seed: 3,\n seed: 4}"), "tiny")


def test_a_missing_file_names_the_way_out(tmp_path):
    with pytest.raises(ParamsInvalid, match=r"git checkout params\.yaml"):
        load_params(tmp_path / "params.yaml")
