"""The stage embed_benchmark@NAME: a benchmark's pictures and texts. Run: compodiff run embed_benchmark@emoji."""

from pathlib import Path
from typing import Annotated

from compodiff.benchmarks.datasets.assembled import open_assembled
from compodiff.benchmarks.datasets.embedding import embed_parts, find_present
from compodiff.encoders import MEMO, load_encoder
from compodiff.params import EmbeddingParams
from compodiff.stages.declaration import Input, Output


def embed_benchmark(
    *,
    embedding: EmbeddingParams,
    benchmark: Annotated[Path, Input("artifacts/benchmarks/{key}")],
    encoder: Annotated[Path, Input("artifacts/encoder")],
    embeddings: Annotated[Path, Output("artifacts/benchmark_embeddings/{key}")],
) -> None:
    """Embed what the queries of the scored and of the validation split name; a killed run continues.

    Raises:
        InputInvalid: a picture is missing or does not decode.
        EncoderMismatch: the encoder's weights are not those of its manifest.
        ResourceUnavailable: the disk is full; what is embedded is kept.
    """
    assembled = open_assembled(benchmark)
    splits = [assembled.split, *([assembled.validation] if assembled.validation else [])]
    parts = [part for split in splits for part in assembled.load(split)]
    towers = load_encoder(encoder).prepare_for_many().remember_in(encoder.with_name(MEMO))
    embed_parts(embeddings, find_present(parts, skip_missing=False), towers, embedding)
