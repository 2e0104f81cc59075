"""How a stage says what it is: its signature.

A stage NAME is the function NAME in the module compodiff.stages.NAME. Each keyword argument is either a section of
params.yaml (annotated with a class of compodiff.params) or a path, annotated with `Input` or `Output`:

    def embed(*, embedding: EmbeddingParams, data: Annotated[Path, Input("data")],
              embeddings: Annotated[Path, Output("artifacts/embeddings")]) -> None: ...

`dvc.yaml` repeats this for DVC, but for the optional stages; tests/contract holds the two together.
"""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from compodiff.errors import InputInvalid
from compodiff.params import Section, load_params

STAGES = (
    "assemble_benchmark",
    "assemble_scenes",
    "train_encoder",
    "synthesize",
    "validate",
    "embed",
    "train_prior",
    "train_composed",
    "build_index",
    "evaluate",
    "register",
)
OPTIONAL_STAGES = ("distill",)  # run by name, and by nothing else


@dataclass(frozen=True)
class Input:
    """A path that the stage reads, relative to the project's root."""

    path: str


@dataclass(frozen=True)
class Output:
    """A path that the stage writes, relative to the project's root."""

    path: str


@dataclass(frozen=True)
class Declaration:
    """What a signature declares: argument name -> params section, input path or output path."""

    function: Callable[..., None]
    sections: dict[str, type[Section]]
    inputs: dict[str, str]
    outputs: dict[str, str]


def read_declaration(name: str) -> Declaration:
    """Read the declaration of stage `name` from its function's signature.

    Raises:
        InputInvalid: there is no such stage.
    """
    known = STAGES + OPTIONAL_STAGES
    if name not in known:
        raise InputInvalid(f"there is no stage {name!r}; the stages are: {', '.join(known)}")
    function: Callable[..., None] = getattr(importlib.import_module(f"compodiff.stages.{name}"), name)
    hints = get_type_hints(function, include_extras=True)
    sections: dict[str, type[Section]] = {}
    paths: dict[type, dict[str, str]] = {Input: {}, Output: {}}
    for argument in inspect.signature(function).parameters:
        hint = hints[argument]
        if inspect.isclass(hint) and issubclass(hint, Section):
            sections[argument] = hint
        else:
            (mark,) = hint.__metadata__
            paths[type(mark)][argument] = mark.path
    return Declaration(function, sections, paths[Input], paths[Output])


def run_stage(name: str, root: Path) -> None:
    """Run stage `name` in the project at `root` with the params and paths that its signature declares.

    Raises:
        InputInvalid: there is no such stage, or an input path does not exist.
        ParamsInvalid: params.yaml does not fit.
    """
    declaration = read_declaration(name)
    params = load_params(root / "params.yaml")
    arguments: dict[str, Any] = {argument: getattr(params, argument) for argument in declaration.sections}
    for argument, path in declaration.inputs.items():
        if not (root / path).exists():
            raise InputInvalid(f"stage {name} needs {path}, which is not in {root}; run there: dvc repro {name}")
        arguments[argument] = root / path
    for argument, path in declaration.outputs.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        arguments[argument] = root / path
    declaration.function(**arguments)
