import json
from pathlib import Path

import pytest

import compodiff.benchmarks
from compodiff.benchmarks.datasets.annotations import fill_template
from compodiff.benchmarks.datasets.loading import BenchmarkChoices, load_benchmark
from compodiff.errors import InputInvalid

FAULTS = {
    "a {shared_concept} that {relative_caption}": r"unknown field {shared_concept}; its fields are {relative_caption}",
    "{}": r"unknown field {}; its fields are {relative_caption}",
    "{0}": r"unknown field {0}",
    "{relative_caption": r"does not parse \(expected '}' before end of string\); its fields are {relative_caption}",
    "relative_caption}": r"does not parse",
    "{relative_caption.x}": r"unknown field {relative_caption.x}",
    "{relative_caption:>9}": r"unknown field {relative_caption:>9}",
    "{relative_caption!r}": r"unknown field {relative_caption!r}",
    "a photo": r"has no field, so all texts would be one",
}


@pytest.mark.parametrize("template", FAULTS)
def test_a_template_that_cannot_be_filled_is_one_line(template):
    with pytest.raises(InputInvalid, match=FAULTS[template].replace("{", r"\{")) as caught:
        fill_template(template, relative_caption="is red")
    assert "\n" not in str(caught.value)


def test_fields_are_filled_and_braces_may_be_doubled():
    assert fill_template("{{{a}}} {b}", a="x", b="{y}") == "{x} {y}"


def _item(**more):
    return [{"id": 1, "pairid": 1, "reference": "a", "target": "b", "reference_img_id": 1, "target_img_id": 2, **more}]


def _write(root, name):
    """One annotation of each benchmark that takes a template, as its loader reads it."""
    if name == "triplets":
        path, content = root / "queries.jsonl", {"reference": "a", "target": "b", "relative_caption": "x"}
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")
        return
    places = {
        "cirr": ("cirr/captions/cap.rc2.val.json", [{"pairid": 1, "reference": "a", "target_hard": "b", "caption": "x",
                  "target_soft": {}, "img_set": {"members": ["a", "b"]}}]),
        "circo": ("annotations/val.json", _item(relative_caption="x", shared_concept="y", gt_img_ids=[2])),
    }  # fmt: skip
    path = root / places[name][0]
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(places[name][1]), encoding="utf-8")
    if name == "cirr":
        splits = root / "cirr" / "image_splits" / "split.rc2.val.json"
        splits.parent.mkdir(parents=True)
        splits.write_text(json.dumps({"a": "./dev/a.png", "b": "./dev/b.png"}), encoding="utf-8")


@pytest.mark.parametrize("name", ["triplets", "cirr", "circo"])
@pytest.mark.parametrize("template", ["{}", "{relative_caption", "{relative_captoin}"])
def test_every_loader_says_so(tmp_path, name, template):
    _write(tmp_path, name)
    load_benchmark(name, tmp_path, None, BenchmarkChoices())
    with pytest.raises(InputInvalid, match=r"template .*its fields are \{relative_caption\}"):
        load_benchmark(name, tmp_path, None, BenchmarkChoices(template=template))


def test_every_loader_fills_templates_by_one_function():
    for path in Path(compodiff.benchmarks.__file__).parent.glob("*.py"):
        assert path.name == "templates.py" or "template.format(" not in path.read_text(encoding="utf-8"), path
