from pathlib import Path

import pytest
import yaml

from compodiff.errors import ParamsInvalid
from compodiff.params import load_params

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


def test_the_papers_scale_has_the_same_schema():
    paper = load_params(ROOT / "infra" / "params" / "paper.yaml")
    assert (paper.prior.batch_size, paper.prior.steps, paper.composed.batch_size, paper.composed.steps) == (
        4096,
        1_000_000,
        2048,
        200_000,
    )


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
