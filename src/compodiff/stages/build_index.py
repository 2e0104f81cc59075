"""The stage build_index: the gallery of a benchmark, ready for search. Run: compodiff run build_index."""

import os
from pathlib import Path
from typing import Annotated

import pandas as pd

from compodiff.benchmarks.datasets.assembled import GALLERY_TABLE, Assembled, open_assembled
from compodiff.benchmarks.datasets.pictures import locate_pictures
from compodiff.embeddings import Embeddings
from compodiff.images import tabulate
from compodiff.index.index import build
from compodiff.params import IndexParams
from compodiff.stages.declaration import Input, Output
from compodiff.storage.tables import read_table


def build_index(
    *,
    index: IndexParams,
    benchmark: Annotated[Path, Input("artifacts/benchmarks/{index.gallery}")],
    embeddings: Annotated[Path, Input("artifacts/benchmark_embeddings/{index.gallery}")],
    folder: Annotated[Path, Output("artifacts/index")],
) -> None:
    """Index a benchmark's gallery by the embeddings of its pictures, with what is known of them as columns.

    Raises:
        InputInvalid: the gallery or the embeddings cannot be read, or the gallery is too small for `index.kind`.
    """
    index_gallery(open_assembled(benchmark), Embeddings.load(embeddings), index, folder)


def index_gallery(assembled: Assembled, encoded: Embeddings, params: IndexParams, folder: Path) -> None:
    """Index the gallery of an assembled benchmark as the folder `folder`.

    Raises:
        InputInvalid: the gallery cannot be read, or is too small for the kind of index.
    """
    parts = assembled.load(assembled.split)
    names = sorted({name for part in parts for name in (part.gallery or part.ranked_pictures)})
    places = locate_pictures(parts, names)
    root = assembled.gallery
    table = tabulate(root, places)
    if (assembled.folder / GALLERY_TABLE).exists():
        table = _describe(table, read_table(assembled.folder / GALLERY_TABLE))
    build(
        folder,
        embeddings=encoded.pictures[[encoded.picture_row[picture_id] for picture_id in table["picture_id"]]],
        pictures=table,
        encoder=encoded.encoder,
        params=params,
        pictures_root=os.path.relpath(root, folder),
    )


def _describe(table: pd.DataFrame, described: pd.DataFrame) -> pd.DataFrame:
    """Add what is known of the pictures; a name for people replaces the id as their name."""
    own = described.set_index("picture_id").reindex(table["picture_id"])
    table = table.copy()
    for column in own.columns:
        table[column] = own[column].to_numpy()
    return table
