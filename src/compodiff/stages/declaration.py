"""How a stage says what it is: its signature.

A stage NAME is the function NAME in the module compodiff.stages.NAME. Each keyword argument is a section of params.yaml
(annotated with a class of compodiff.params), an entry of a section that names sets or benchmarks (`Item`), or a path:

    def embed(*, embedding: EmbeddingParams, folder: Annotated[Path, Input("artifacts/sets/{key}")],
              embeddings: Annotated[Path, Output("artifacts/embeddings/{key}")]) -> None: ...

A stage of `STAGES` that runs over names is one stage for each of them, NAME@KEY: `{key}` in a path is the name,
`{item.reads}` a value of the entry, `{index.gallery}` a value of params.yaml. `dvc.yaml` repeats this for DVC, but for
the optional stages; tests/contract holds the two together.
"""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from compodiff.errors import InputInvalid
from compodiff.params import Params, Section, load_params
from compodiff.stages.sources import require_benchmark, require_set, require_sources

TRAININGS = ("prior", "composed")
# Stage -> the section of params.yaml, or the names, that it runs over; "" where it is one stage.
STAGES: dict[str, str | tuple[str, ...]] = {
    "make_set": "sets",
    "assemble_benchmark": "benchmarks",
    "train_encoder": "",
    "embed": "sets",
    "embed_benchmark": "benchmarks",
    "validate": "sets",
    "mix": TRAININGS,
    "train_prior": "",
    "train_composed": "",
    "set_dials": "",
    "build_index": "",
    "evaluate": "benchmarks",
    "register": "",
}
# Run by name, and by nothing else.
OPTIONAL_STAGES: dict[str, str | tuple[str, ...]] = {"distill": "", "finetune": "sets"}


@dataclass(frozen=True)
class Input:
    """A path that the stage reads, relative to the project's root."""

    path: str


@dataclass(frozen=True)
class Through(Input):
    """A path that the stage reads, whose every change another input shows: DVC need not watch it."""


@dataclass(frozen=True)
class Output(Input):
    """A path that the stage writes, relative to the project's root."""


@dataclass(frozen=True)
class Key:
    """The name that the stage runs for."""


@dataclass(frozen=True, init=False)
class Item:
    """The entry of a section that the stage runs for; of the section of a training, only some keys are watched."""

    section: str
    keys: tuple[str, ...]

    def __init__(self, section: str, *keys: str) -> None:
        """Name a section; "" is the section that has the stage's key as its name."""
        object.__setattr__(self, "section", section)
        object.__setattr__(self, "keys", keys)


@dataclass(frozen=True)
class Declaration:
    """What a signature declares, by argument."""

    function: Callable[..., None]
    over: str | tuple[str, ...]
    sections: dict[str, type[Section]] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    through: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)


def read_declaration(name: str) -> Declaration:
    """Read the declaration of stage `name` from its function's signature.

    Raises:
        InputInvalid: there is no such stage.
    """
    known = (*STAGES, *OPTIONAL_STAGES)
    if name not in known:
        raise InputInvalid(f"there is no stage {name!r}; the stages are: {', '.join(known)}")
    function: Callable[..., None] = getattr(importlib.import_module(f"compodiff.stages.{name}"), name)
    hints = get_type_hints(function, include_extras=True)
    declared = Declaration(function, (STAGES | OPTIONAL_STAGES)[name])
    for argument in inspect.signature(function).parameters:
        hint = hints[argument]
        if inspect.isclass(hint) and issubclass(hint, Section):
            declared.sections[argument] = hint
            continue
        mark = hint.__metadata__[-1]
        if isinstance(mark, Item):
            declared.items[argument] = mark
        elif isinstance(mark, Key):
            declared.keys.append(argument)
        else:
            kinds = {Input: declared.inputs, Through: declared.through, Output: declared.outputs}
            kinds[type(mark)][argument] = mark.path
    return declared


def list_keys(name: str, params: Params) -> list[str]:
    """Return the names that stage `name` runs for; none where it is one stage."""
    over = (STAGES | OPTIONAL_STAGES).get(name, "")
    return [*over] if isinstance(over, tuple) else [*getattr(params, over)] if over else []


def run_stage(stage: str, root: Path) -> None:
    """Run a stage, such as train_prior or embed@emoji, with the params and paths that its signature declares.

    Args:
        stage: its name, with a key where it runs over names.
        root: the project.

    Raises:
        InputInvalid: there is no such stage, or an input path does not exist.
        ParamsInvalid: params.yaml does not fit.
    """
    name, _, key = stage.partition("@")
    declared = read_declaration(name)
    params = load_params(root / "params.yaml")
    keys = list_keys(name, params)
    if key not in (keys or [""]):
        known = ", ".join(f"{name}@{each}" for each in keys) or name
        raise InputInvalid(f"there is no stage {stage!r}; params.yaml gives: {known}")
    arguments: dict[str, Any] = {argument: getattr(params, argument) for argument in declared.sections}
    arguments |= dict.fromkeys(declared.keys, key)
    items = {
        argument: getattr(params, item.section)[key] if item.section else getattr(params, key)
        for argument, item in declared.items.items()
    }
    values = {**dict(params), "key": key, "item": next(iter(items.values()), None)}
    arguments |= items
    for argument, template in (declared.inputs | declared.through).items():
        path = template.format(**values)
        if "://" not in path and not (root / path).exists():
            if declared.over == "sets":  # what params.yaml names is the reason behind it; first the stage's own
                require_set(root, key, params.sets[key])
            elif declared.over == "benchmarks":
                require_benchmark(root, key, params.benchmarks[key])
            require_sources(root, params)
            raise InputInvalid(f"stage {stage} needs {path}, which is not in {root}; {_say_remedy(path, stage)}")
        arguments[argument] = root / path
    for argument, template in declared.outputs.items():
        arguments[argument] = root / template.format(**values)
        arguments[argument].parent.mkdir(parents=True, exist_ok=True)
    declared.function(**arguments)


def _say_remedy(path: str, stage: str) -> str:
    """Say how a missing input comes about: by the graph, or by the program."""
    return "build it by: compodiff data" if path == "data" else f"run there: dvc repro {stage}"
