"""The pinned environment is complete, is what runs here, and keeps off the versions that break Prefect."""

import re
import tomllib
from importlib.metadata import distributions, version
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from worlds.installing import load_infra

from compodiff.doctor.packages import EXTRAS, find_needed

ROOT = Path(__file__).parents[2]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


LINES = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
PINS = {canonical(line.name): line for line in LINES if line.marker is None or line.marker.evaluate()}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WANTED = [
    Requirement(text)
    for group in (
        PROJECT["dependencies"],
        *(PROJECT["optional-dependencies"][name] for name in (*EXTRAS, "docs", "engine", "slurm")),
    )
    for text in group
    if not text.startswith("compodiff[")  # `test` needs those groups, for the site, an engine and Slurm
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


PYTHONS = ("3.11", "3.12", "3.13")


def test_the_same_pythons_serve_wherever_they_are_named() -> None:
    classifiers = [
        text.rpartition(" ")[2] for text in PROJECT["classifiers"] if text.startswith("Programming Language")
    ]
    assert classifiers == list(PYTHONS)
    served = SpecifierSet(PROJECT["requires-python"])
    assert [f"3.{minor}" for minor in range(8, 20) if f"3.{minor}.1" in served] == list(PYTHONS)
    finder = (ROOT / "infra" / "find_python.sh").read_text(encoding="utf-8")
    assert f'versions="{" ".join(reversed(PYTHONS))}"' in finder
    assert "Python 3.11, 3.12 or 3.13" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", ["install.py", "lock.py"])
def test_what_is_installed_is_what_is_pinned_and_what_the_doctor_looks_for(script: str) -> None:
    assert f'WANTED = ".[{",".join(EXTRAS)}]"' in (ROOT / "infra" / script).read_text(encoding="utf-8")


@pytest.mark.parametrize("python", PYTHONS)
def test_each_python_has_one_pin_of_a_package_and_all_that_the_project_asks_for(python: str) -> None:
    here = {"python_version": python, "python_full_version": f"{python}.1"}
    pinned = [canonical(line.name) for line in LINES if line.marker is None or line.marker.evaluate(here)]
    assert len(pinned) == len({*pinned})
    assert {canonical(wanted.name) for wanted in WANTED} <= {*pinned}


def test_nothing_that_this_python_needs_is_without_a_pin() -> None:
    """Prefect, for one, takes another library of time zones from Python 3.13 on."""
    installed = {canonical(each.name): each for each in distributions()}
    needed = find_needed("compodiff", EXTRAS, installed)
    assert needed - {*PINS} == {"compodiff"}


def test_a_lock_says_for_which_pythons_a_pin_is(lock: ModuleType) -> None:
    both = {"numpy": "2.4.6"}
    resolved = {"3.11": both | {"pendulum": "3.3.0", "six": "1"}, "3.12": both | {"pendulum": "3.3.0", "six": "1"}}
    merged = lock.merge(resolved | {"3.13": both | {"whenever": "0.10.5", "six": "2"}})
    assert merged == [
        "numpy==2.4.6",
        'pendulum==3.3.0; python_version == "3.11" or python_version == "3.12"',
        'six==1; python_version == "3.11" or python_version == "3.12"',
        'six==2; python_version == "3.13"',
        'whenever==0.10.5; python_version == "3.13"',
    ]


@pytest.fixture
def lock() -> ModuleType:
    return load_infra("lock")
