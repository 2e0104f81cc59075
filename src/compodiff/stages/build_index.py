"""The stage build_index: the default gallery, ready for search. Run: compodiff run build_index."""

import os
from pathlib import Path
from typing import Annotated

from compodiff.benchmarks.datasets.pictures import GalleryFolder
from compodiff.catalogue.pictures import Catalogue
from compodiff.embeddings import Embeddings
from compodiff.images import tabulate
from compodiff.index.index import build
from compodiff.params import IndexParams
from compodiff.stages.declaration import Input, Output

DESCRIBED = ("style", "concept", "split", "skin_tone", "gender", "hair", "direction")  # what filters can ask for


def build_index(
    *,
    index: IndexParams,
    data: Annotated[Path, Input("data")],
    benchmark: Annotated[Path, Input("artifacts/benchmark")],
    embeddings: Annotated[Path, Input("artifacts/embeddings")],
    folder: Annotated[Path, Output("artifacts/index")],
) -> None:
    """Index the benchmark's gallery by the embeddings of its pictures.

    Raises:
        InputInvalid: the gallery, the catalogue or the embeddings cannot be read, or the gallery is too small for
            `index.kind`.
    """
    gallery = benchmark / "gallery"
    table = tabulate(gallery, GalleryFolder.scan(gallery).members)
    described = Catalogue.load(data).pictures.loc[table["picture_id"]]
    table["name"] = (described["caption"] + " (" + described["style"] + ")").to_numpy()
    for column in DESCRIBED:
        table[column] = described[column].to_numpy()
    encoded = Embeddings.load(embeddings)
    build(
        folder,
        embeddings=encoded.pictures[[encoded.picture_row[picture_id] for picture_id in table["picture_id"]]],
        pictures=table,
        encoder=encoded.encoder,
        params=index,
        pictures_root=os.path.relpath(gallery, folder),
    )
