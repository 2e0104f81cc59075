"""The stage embed@NAME: a set's pictures, masked pictures and texts, once. Run: compodiff run embed@emoji."""

from pathlib import Path
from typing import Annotated

from compodiff.embeddings import embed_set
from compodiff.params import EmbeddingParams
from compodiff.stages.declaration import Input, Output


def embed(
    *,
    embedding: EmbeddingParams,
    folder: Annotated[Path, Input("artifacts/sets/{key}")],
    encoder: Annotated[Path, Input("artifacts/encoder")],
    embeddings: Annotated[Path, Output("artifacts/embeddings/{key}")],
) -> None:
    """Embed a set shard by shard; shards that were embedded before are taken over.

    Raises:
        InputInvalid: the set cannot be read.
        EncoderMismatch: the encoder's weights are not those of its manifest.
        ResourceUnavailable: the disk is full or a worker was killed; finished shards are kept.
    """
    embed_set(embeddings, folder, encoder, embedding)
