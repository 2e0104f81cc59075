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
        (lambda c: c["data"].pop("seed"), "data.seed: Field required"),
        (lambda c: c["data"].update(sede=3), "data.sede: Extra inputs"),
        (lambda c: c["data"].update(picture_size="160"), "data.picture_size: Input should be a valid integer"),
        (lambda c: c["data"].update(picture_size=0), "data.picture_size: Input should be greater than 0"),
        (lambda c: c.pop("data"), "data: Field required"),
        (lambda c: c.update(dataa={}), "dataa: Extra inputs"),
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
    text = (
        "synthesis: {imported: [a, b], drawn: null}\nencoder: {embedded: null, open_clip: {name: N, pretrained: P}}\n"
    )
    values = compose_params(
        _with_preset(tmp_path, tiny=text + "prior: {tasks: {masked: 0.5, text_to_image: 0.5}}"), "tiny"
    )
    expected = yaml.safe_load((ROOT / "params.yaml").read_text())
    expected["synthesis"]["imported"] = ["a", "b"]
    expected["encoder"] = {"embedded": None, "open_clip": {"name": "N", "pretrained": "P"}}
    expected["prior"]["tasks"] = {"text_to_image": 0.5, "masked": 0.5, "triplet": 0.0}
    assert values == expected


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


def test_a_missing_file_names_the_way_out(tmp_path):
    with pytest.raises(ParamsInvalid, match=r"git checkout params\.yaml"):
        load_params(tmp_path / "params.yaml")
