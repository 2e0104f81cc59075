"""The pinned environment is complete, is what runs here, and keeps off the versions that break Prefect."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


PINS = {
    canonical(requirement.name): requirement
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
    for requirement in [Requirement(line)]
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = ("cpu", "postgres", "s3", "test")
WANTED = [
    Requirement(text)
    for group in (PROJECT["dependencies"], *(PROJECT["optional-dependencies"][name] for name in (*EXTRAS, "docs")))
    for text in group
    if text != "compodiff[docs]"  # `test` needs it, to build the site
]


@pytest.mark.parametrize("wanted", WANTED, ids=lambda wanted: wanted.name)
def test_what_the_project_asks_for_is_pinned_within_its_range_and_installed(wanted: Requirement) -> None:
    (pin,) = PINS[canonical(wanted.name)].specifier
    assert pin.operator == "=="
    assert wanted.specifier.contains(pin.version)
    assert version(wanted.name) == pin.version


@pytest.mark.parametrize(("name", "breaks_from"), [("fastapi", "0.151"), ("sqlalchemy", "2.1")])
def test_versions_that_break_prefect_are_out_of_reach(name: str, breaks_from: str) -> None:
    (pin,) = PINS[name].specifier
    assert Version(pin.version) < Version(breaks_from)
    assert not next(wanted for wanted in WANTED if wanted.name == name).specifier.contains(breaks_from)
