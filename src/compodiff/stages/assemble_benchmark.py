"""The stage assemble_benchmark@NAME: a benchmark of params.yaml. Run: compodiff run assemble_benchmark@emoji."""

import os
from pathlib import Path
from typing import Annotated

from compodiff.benchmarks.datasets.assembled import GALLERY_TABLE, KIND, Assembled
from compodiff.catalogue.emoji_benchmark import describe_gallery, write_benchmark
from compodiff.catalogue.pictures import Catalogue
from compodiff.params import AnyBenchmarkParams, EmojiBenchmarkParams, ExactEditsBenchmarkParams, FilesBenchmarkParams
from compodiff.project import ATTRIBUTION
from compodiff.scenes.benchmark import write_scenes
from compodiff.scenes.exact.benchmark import write_exact_edits
from compodiff.scenes.exact.photographs import PHOTOGRAPHERS
from compodiff.stages.declaration import Input, Item, Key, Output
from compodiff.storage.atomic import replace_folder
from compodiff.storage.tables import write_table


def assemble_benchmark(
    *,
    name: Annotated[str, Key()],
    params: Annotated[AnyBenchmarkParams, Item("benchmarks")],
    reads: Annotated[Path, Input("{item.reads}")],
    folder: Annotated[Path, Output("artifacts/benchmarks/{key}")],
) -> None:
    """Write the benchmark of a recipe, or refer to one's own, with the digests of what training may not see.

    Raises:
        InputInvalid: what it reads is missing, truncated or damaged.
    """
    with replace_folder(folder, KIND) as temporary:
        if isinstance(params, FilesBenchmarkParams):
            root = os.path.relpath(folder.parents[2] / params.root, folder)
            Assembled(name, params.format, root, params.split, params.validation).write(temporary)
            return
        catalogue = Catalogue.load(reads)
        if isinstance(params, EmojiBenchmarkParams):
            write_benchmark(temporary, catalogue, params)
            write_table(temporary / GALLERY_TABLE, describe_gallery(catalogue))
        elif isinstance(params, ExactEditsBenchmarkParams):
            write_exact_edits(temporary, catalogue, params)
        else:
            write_scenes(temporary, catalogue, params)
        licences = PHOTOGRAPHERS if isinstance(params, ExactEditsBenchmarkParams) else ATTRIBUTION
        Assembled(name, "triplets", ".", "test", "validation", licences).write(temporary)
