"""`make` takes the newest Python that serves and really runs; else one line says which serve and how to get one."""

from pathlib import Path

import pytest
from worlds.installing import Make, python, script


def found(path: Path, make: Make) -> str:
    """Return the name of the Python that the installation would be made with."""
    done = make("-s", "--eval", 'found: ; @bash infra/find_python.sh "$(PYTHON)"', "found")
    return Path(done.stdout.strip()).name or done.stderr


def test_the_newest_that_serves_is_taken(path: Path, make: Make) -> None:
    for version in ("3.10", "3.11", "3.12", "3.14"):
        python(path / f"python{version}", version)
    assert found(path, make) == "python3.12"
    python(path / "python3.13", "3.13")
    assert found(path, make) == "python3.13"


def test_a_plain_python_serves_if_its_version_does(path: Path, make: Make) -> None:
    python(path / "python3", "3.12")
    assert found(path, make) == "python3"


def test_a_command_that_only_says_that_it_is_not_there_is_passed_over(path: Path, make: Make) -> None:
    """As pyenv's are."""
    script(path / "python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    python(path / "python3.11", "3.11")
    assert found(path, make) == "python3.11"


def test_none_that_serves(path: Path, make: Make) -> None:
    python(path / "python3", "3.10")
    done = make(".venv/.installed")
    assert done.returncode
    said = done.stderr.splitlines()[0]
    assert said.startswith("make: no Python that serves is on the path; Python 3.13, 3.12 or 3.11 serves. To get one: ")
    assert not said.endswith(": ")


@pytest.mark.parametrize(("asked", "is_there"), [("python3.99", "is not there"), ("python3.10", "is Python 3.10.0")])
def test_a_python_that_was_asked_for_and_does_not_serve(asked: str, is_there: str, path: Path, make: Make) -> None:
    python(path / "python3.10", "3.10")
    python(path / "python3.12", "3.12")
    done = make("run", f"PYTHON={asked}")
    assert done.stderr.startswith(f"make: PYTHON={asked} {is_there}; Python 3.13, 3.12 or 3.11 serves. To get one: ")
    assert len([line for line in done.stderr.splitlines() if "***" not in line]) == 1


def test_a_python_without_ensurepip_is_named_with_the_package_that_brings_it(path: Path, make: Make) -> None:
    python(path / "python3.12", "3.12", can_make_environments=False)
    assert found(path, make).startswith(
        "make: python3.12 is there, but cannot make virtual environments; run: sudo apt install python3.12-venv\n"
    )
    script(path / "uv", "exit 1")  # brings its own pip
    assert found(path, make) == "python3.12"
