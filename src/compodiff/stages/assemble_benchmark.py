"""The stage assemble_benchmark: the gallery and the queries. Run: compodiff run assemble_benchmark."""

from pathlib import Path
from typing import Annotated

from compodiff.catalogue.emoji_benchmark import write_benchmark
from compodiff.catalogue.pictures import Catalogue
from compodiff.params import BenchmarkParams
from compodiff.stages.declaration import Input, Output


def assemble_benchmark(
    *,
    benchmark: BenchmarkParams,
    data: Annotated[Path, Input("data")],
    folder: Annotated[Path, Output("artifacts/benchmark")],
) -> None:
    """Write the emoji benchmark of the catalogue in `data`.

    Raises:
        InputInvalid: the catalogue is missing, truncated or damaged.
    """
    write_benchmark(folder, Catalogue.load(data), benchmark)
