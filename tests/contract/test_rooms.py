"""README.md's tree and the layers of docs/architecture.md name the rooms that there are, each once, and no other."""

import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "compodiff"
ROOMS = {path.name for path in SOURCE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
# How docs/architecture.md writes a system, where that is not its package in small letters.
NAMES = {
    "DVC as a library": "dvc",
    "Great Expectations": "great_expectations",
    "open_clip (which imports timm)": "open_clip",
    "pillow-heif": "pillow_heif",
}
FILES = {path.stem for path in SOURCE.glob("*.py")} - {"__init__"}


def block(document: str, first_word: str) -> str:
    """Return the fenced block of a document that begins with `first_word`."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return next(
        each
        for each in re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        if each.startswith(first_word)
    )


def test_the_tree_of_the_readme_is_the_tree() -> None:
    tree = block("README.md", "params.yaml  ")
    lines = tree[tree.index("src/compodiff/") :].partition("\ntests/")[0].replace("src/compodiff/", "").splitlines()
    # What a folder is for stands behind two spaces after the last folder's name.
    names = [name for line in lines for name in re.findall(r"(?:^|\s)([a-z_]+)/(?=\s)", line)]
    assert Counter(names) == Counter(ROOMS)


def test_the_layers_of_the_architecture_are_those_that_are_held() -> None:
    lines = [line[:60] for line in block("docs/architecture.md", "flows").splitlines()]
    told = [word for line in lines for word in line.split()]
    assert Counter(told) == Counter({*ROOMS, *FILES, "flows"})


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_says_what_it_is_about(room: str) -> None:
    assert (SOURCE / room / "__init__.py").read_text(encoding="utf-8").startswith('"""')


def test_the_largest_room_is_at_most_an_eighth_of_the_lines() -> None:
    lines = {
        room: sum(len(path.read_text(encoding="utf-8").splitlines()) for path in (SOURCE / room).rglob("*.py"))
        for room in ROOMS
    }
    assert max(lines.values()) <= 0.12 * sum(lines.values())


def test_no_contract_has_an_exception() -> None:
    assert {each["type"] for each in CONTRACTS} == {"layers", "protected"}
    assert [each["name"] for each in CONTRACTS if "ignore_imports" in each] == []


def test_the_architecture_names_the_one_place_of_each_outside_system() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", text.partition("| system |")[2].partition("\n\n")[0], re.MULTILINE)
    told = Counter(
        (NAMES.get(system, system.lower()), place.removesuffix("/").removesuffix(".py").replace("/", "."))
        for systems, places in rows
        for system in systems.split(", ")
        for place in re.findall(r"`([\w/.]+)`", places)
    )
    held = Counter(
        (package, importer.removeprefix("compodiff."))
        for each in CONTRACTS
        if each["type"] == "protected"
        for package in each["protected_modules"]
        for importer in each["allowed_importers"]
    )
    assert told == held
