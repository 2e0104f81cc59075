"""The stage make_set@NAME: a set of params.yaml, by its recipe. Run: compodiff run make_set@scenes."""

from pathlib import Path
from typing import Annotated

from compodiff.params import AnySetParams, SynthesisParams
from compodiff.recipes import make
from compodiff.stages.declaration import Input, Item, Output


def make_set(
    *,
    params: Annotated[AnySetParams, Item("sets")],
    synthesis: SynthesisParams,
    reads: Annotated[Path, Input("{item.reads}")],
    folder: Annotated[Path, Output("artifacts/sets/{key}")],
) -> None:
    """Write the rows of a set and the pictures that are made for it, or refer to one's own set.

    Raises:
        InputInvalid: what the recipe reads is missing or damaged, or there is nothing to make rows of.
        ResourceUnavailable: the disk is full or a worker was killed; finished shards are kept.
    """
    make.make_set(folder, params, synthesis, reads)
