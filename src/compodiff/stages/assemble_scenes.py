"""The stage assemble_scenes: the second benchmark, scenes of several objects. Run: compodiff run assemble_scenes."""

from pathlib import Path
from typing import Annotated

from compodiff.catalogue.pictures import Catalogue
from compodiff.params import ScenesParams
from compodiff.scenes.benchmark import write_scenes
from compodiff.stages.declaration import Input, Output


def assemble_scenes(
    *,
    scenes: ScenesParams,
    data: Annotated[Path, Input("data")],
    folder: Annotated[Path, Output("artifacts/scenes")],
) -> None:
    """Write the scenes benchmark of the catalogue in `data`.

    Raises:
        InputInvalid: the catalogue is missing, truncated or damaged, or has too few concepts.
    """
    write_scenes(folder, Catalogue.load(data), scenes)
