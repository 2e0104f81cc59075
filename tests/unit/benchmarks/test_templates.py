from pathlib import Path

import pytest

import compodiff.benchmarks
from compodiff.benchmarks.datasets.annotations import fill_template
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


def test_every_loader_fills_templates_by_one_function():
    filling = [
        path.name
        for path in Path(compodiff.benchmarks.__file__).parent.rglob("*.py")
        if "template.format(" in path.read_text(encoding="utf-8")
    ]
    assert filling == ["annotations.py"]
