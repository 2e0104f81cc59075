"""Nothing that a person owns is lost, whatever a command is told to write over.

The tree of commands is walked: a command without a recipe fails, and each of its paths that turns out to be an output
is pointed at every kind of place where something of somebody's lies. Afterwards every foreign byte must still be there.
"""

import importlib
import pkgutil
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import typer
from prefect import Flow
from prefect.testing.utilities import prefect_test_harness
from typer.testing import CliRunner
from worlds.places import PLACES, Place, documents
from worlds.writing import RECIPES, make_world, snapshot

import flows
from compodiff.cli import app
from compodiff.errors import CompoDiffError
from compodiff.index import INSIDE


def walk_commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command of the command line that does something, by its words."""
    if hasattr(command, "commands"):  # Typer brings its own click
        for name, child in command.commands.items():
            yield from walk_commands(child, (*path, name))
    else:
        yield " ".join(path), command


COMMANDS = dict(walk_commands(typer.main.get_command(app)))
# A folder that takes folders of ours beside whatever else lies in it.
HOLD_OTHERS = {"--cache"}
PAIRS = {"benchmark embed": ("--to",)}  # options that take two files
WRITING = [name for name, recipe in RECIPES.items() if not isinstance(recipe, str)]


def test_every_command_has_a_recipe_or_a_reason() -> None:
    assert COMMANDS.keys() == RECIPES.keys()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_encoder) -> Path:
    torch.set_num_threads(1)
    root = make_world(tmp_path_factory.mktemp("world"), tiny_encoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        run(root, "index build", [], folder="indexed")
    return root


def run(root: Path, name: str, more: list[str], folder: str = "") -> int:
    """Run a command in this process; its exit code. Anything but an error of the user's is a failure."""
    words = [each.format(root=root) for each in RECIPES[name]]
    if folder:
        words[0] = str(root / folder)
    for option in PAIRS.get(name, ()):  # the second file is always a new one
        place = more.index(option) + 1
        more = [*more[: place + 1], f"{more[place]}.second", *more[place + 1 :]]
    result = CliRunner().invoke(app, [*name.split(), *words, *more])
    if isinstance(result.exception, CompoDiffError):
        assert "\n" not in str(result.exception)
        return result.exception.exit_code
    assert result.exit_code == 0, (name, more, result.output, result.exception)
    return 0


def path_options(name: str) -> list[str]:
    """The options of a command that take a path and that its recipe does not give."""
    options = [param for param in COMMANDS[name].params if param.opts[0].startswith("-")]
    paths = [param.opts[0] for param in options if Path in _types(param.type_descriptor.annotation)]
    return [option for option in paths if option not in RECIPES[name]]


def _types(annotation: Any) -> tuple[Any, ...]:
    return (annotation, *get_args(annotation))


def required(name: str) -> list[str]:
    return [param.opts[0] for param in COMMANDS[name].params if param.opts[0].startswith("-") and param.required]


@pytest.mark.parametrize("name", WRITING)
def test_no_foreign_byte_is_lost(name: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    monkeypatch.setenv("COMPODIFF_WORKERS", "1")
    needed = [option for option in required(name) if option in path_options(name)]
    outputs = {}
    for option in path_options(name):
        made = tmp_path / "control" / option
        others = [each for other in needed if other != option for each in (other, str(made.with_name(f"of {other}")))]
        ended_well = run(world, name, [option, str(made), *others]) == 0
        if made.exists() or (option in needed and not ended_well):  # an untrained model writes no captions
            outputs[option] = made
    assert outputs, f"{name} wrote nowhere: {path_options(name)}"
    before_world = snapshot(world)
    for option, made in outputs.items():
        holds_others = option in HOLD_OTHERS
        for number, make in enumerate((*PLACES, *_of_this_command(made, world, name))[:: 5 if holds_others else 1]):
            base = tmp_path / option / str(number)
            base.mkdir(parents=True)
            place = make(base)
            before = snapshot(base)
            others = [
                each for other in needed if other != option for each in (other, str(base.parent / f"{number}{other}"))
            ]
            code = run(world, name, [option, str(place.path), *others])
            said = f"{name} {option} {make.__name__}"
            after = snapshot(base)
            assert {path: after.get(path) for path in before} == before, said
            assert not place.refused or holds_others or code != 0, said
    after_world = snapshot(world)
    assert {path: after_world.get(path) for path in before_world} == before_world


def _of_this_command(made: Path, world: Path, name: str) -> list[Callable[[Path], Place]]:
    """Places that depend on the command: an earlier output with something added, a mount, and its own inputs."""

    def earlier_output_with_a_letter(base: Path) -> Place:
        target = base / "earlier"
        if made.is_dir():
            shutil.copytree(made, target, symlinks=True)
            (target / "letter.txt").write_text("dear")
        else:
            target.write_bytes(b"mine, though once this was written here")
        return Place(target)

    def earlier_output_with_a_letter_deep_inside(base: Path) -> Place:
        target = base / "earlier"
        if not made.is_dir():
            return earlier_output_with_a_letter(base)
        shutil.copytree(made, target, symlinks=True)
        deepest = max((path for path in target.rglob("*") if path.is_dir()), default=target, key=str)
        (deepest / "letter.txt").write_text("dear")
        return Place(target)

    def inputs(number: int, path: Path) -> Callable[[Path], Place]:
        def an_input(base: Path) -> Place:
            return Place(path)

        an_input.__name__ = f"input_{number}"
        return an_input

    read = [Path(each.format(root=world)) for each in RECIPES[name] if each.startswith("{root}")]
    return [
        earlier_output_with_a_letter,
        earlier_output_with_a_letter_deep_inside,
        *(inputs(*each) for each in enumerate((*read, world))),
    ]


def test_a_mount_keeps_what_is_on_it(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=False, capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        for content in ("", "letter.txt"):
            if content:
                (disk / content).write_text("dear")
            before = snapshot(disk)
            for name in WRITING:
                for option in {"--to", "--out", "--html", "--json"} & set(path_options(name)):
                    assert run(world, name, [option, str(disk), *_rest(name, option, tmp_path)]) != 0, (name, option)
                    assert snapshot(disk) == before, (name, option)
    finally:
        subprocess.run(["umount", disk], check=True)


def _rest(name: str, option: str, folder: Path) -> list[str]:
    others = [other for other in required(name) if other in path_options(name) and other != option]
    return [each for other in others for each in (other, str(folder / f"rest{other}"))]


def _flows() -> dict[str, Flow[Any, Any]]:
    modules = [importlib.import_module(f"flows.{each.name}") for each in pkgutil.iter_modules(flows.__path__)]
    found = [each for module in modules for each in vars(module).values() if isinstance(each, Flow)]
    return {each.name: each for each in found}


def test_flows_that_take_a_place_lose_no_foreign_byte(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_paths = {
        name: {each for each, said in flow.parameters.properties.items() if "path" in str(said)}
        for name, flow in _flows().items()
    }
    read = {"drift": {"queries"}}
    assert {name: paths for name, paths in take_paths.items() if paths} == read | {"index-refresh": {"folder", "out"}}
    monkeypatch.chdir(world)
    docs, album = documents(tmp_path / "elsewhere").path, tmp_path / "album"
    shutil.copytree(world / "pictures", album)
    (album / INSIDE).mkdir()
    (album / INSIDE / "letter.txt").write_text("dear")
    before = snapshot(tmp_path)
    given: list[dict[str, Any]] = [{"folder": world / "pictures", "out": docs}, {"folder": album, "out": album}]
    given.append({"folder": album})
    with prefect_test_harness(server_startup_timeout=240):
        for arguments in given:
            flow = _flows()["index-refresh"]
            state = flow(**arguments, model=str(world / "artifacts"), thorough=True, return_state=True)
            assert not state.is_completed()
            assert "which compodiff did not write" in str(state.message)
    after = snapshot(tmp_path)
    assert {path: after.get(path) for path in before} == before
