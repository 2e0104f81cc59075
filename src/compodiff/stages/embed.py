"""The stage embed: pictures, masked pictures and texts, once for both stages of training. Run: compodiff run embed."""

from pathlib import Path
from typing import Annotated

from compodiff import shards
from compodiff.catalogue.benchmark_folder import SPLITS, read_queries
from compodiff.catalogue.material import material_of
from compodiff.catalogue.pictures import Catalogue
from compodiff.embeddings import make_embeddings
from compodiff.encoders import load_encoder
from compodiff.params import EmbeddingParams
from compodiff.stages.declaration import Input, Output


def embed(
    *,
    embedding: EmbeddingParams,
    data: Annotated[Path, Input("data")],
    encoder: Annotated[Path, Input("artifacts/encoder")],
    validation: Annotated[Path, Input("artifacts/validation")],
    benchmark: Annotated[Path, Input("artifacts/benchmark")],
    embeddings: Annotated[Path, Output("artifacts/embeddings")],
) -> None:
    """Embed the catalogue and every relative caption of the accepted triplets and of the benchmark.

    A run that was killed continues with the chunks that are missing; other params or inputs start afresh.

    Raises:
        InputInvalid: an input cannot be read.
        EncoderMismatch: the encoder's weights are not those of its manifest.
        ResourceUnavailable: the disk is full; finished chunks are kept.
    """
    accepted = shards.read_table(validation / "accepted.parquet")["relative_caption"]
    asked = [query.relative_caption for split in SPLITS for query in read_queries(benchmark, split)]
    material = material_of(Catalogue.load(data), [*accepted, *asked])
    make_embeddings(embeddings, load_encoder(encoder), material, embedding)
