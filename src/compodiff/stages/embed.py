"""The stage embed: pictures, masked pictures and texts, once for both stages of training. Run: compodiff run embed."""

from collections import ChainMap, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compodiff.benchmarks.datasets.pictures import GalleryFolder
from compodiff.catalogue.emoji_benchmark import SPLITS, QueryLine, read_queries
from compodiff.catalogue.pictures import Catalogue
from compodiff.catalogue.to_embed import collect_material
from compodiff.embeddings import EmbeddingMaterial, ExactMask, make_embeddings
from compodiff.embeddings.generated import GeneratedPictures
from compodiff.encoders import MEMO, load_encoder
from compodiff.images import read_picture
from compodiff.params import EmbeddingParams
from compodiff.stages.declaration import Input, Output
from compodiff.storage import shards
from compodiff.storage.digests import digest_files


def embed(  # a stage's arguments are its declaration
    *,
    embedding: EmbeddingParams,
    data: Annotated[Path, Input("data")],
    encoder: Annotated[Path, Input("artifacts/encoder")],
    triplets: Annotated[Path, Input("artifacts/triplets")],
    validation: Annotated[Path, Input("artifacts/validation")],
    benchmark: Annotated[Path, Input("artifacts/benchmark")],
    scenes: Annotated[Path, Input("artifacts/scenes")],
    embeddings: Annotated[Path, Output("artifacts/embeddings")],
) -> None:
    """Embed the catalogue, the generated pictures, both benchmarks' pictures and every text of triplets and benchmarks.

    A run that was killed continues with the chunks that are missing; other params or inputs start afresh.

    Raises:
        InputInvalid: an input cannot be read.
        EncoderMismatch: the encoder's weights are not those of its manifest.
        ResourceUnavailable: the disk is full; finished chunks are kept.
    """
    catalogue = Catalogue.load(data)
    accepted = shards.read_table(validation / "accepted.parquet")
    generated = GeneratedPictures.find(triplets, accepted, set(catalogue.pictures.index))
    captions = accepted[accepted["reference"].isin(set(generated.places))]
    queries = [query for folder in (benchmark, scenes) for split in SPLITS for query in read_queries(folder, split)]
    texts = [text for query in queries for text in (query.relative_caption, query.negative)]
    texts += [*accepted["relative_caption"], *captions["reference_caption"], *captions["target_caption"]]
    material = collect_material(catalogue, texts)
    material = _add_pictures(material, dict.fromkeys(sorted(generated.places), generated.read), generated.digest)
    gallery = GalleryFolder.scan(scenes / "gallery")
    digest = digest_files(sorted((scenes / "gallery").rglob("*.tar")))
    material = _add_pictures(material, dict.fromkeys(gallery.ids, gallery.read), digest)
    masks = ChainMap(generated.masks, _list_query_masks(scenes))
    towers = load_encoder(encoder).prepare_for_many().remember_in(encoder.with_name(MEMO))
    make_embeddings(embeddings, towers, replace(material, exact_masks=masks), embedding)


def _add_pictures(
    material: EmbeddingMaterial, readers: dict[str, Callable[[str], Image.Image]], digest: str
) -> EmbeddingMaterial:
    """Add pictures under new names."""

    def read(name: str) -> Image.Image:
        return readers.get(name, material.read)(name)

    pictures = [*material.pictures, *readers]
    return replace(material, pictures=pictures, read=read, digest=f"{material.digest} {digest}")


def _list_query_masks(folder: Path) -> dict[str, list[ExactMask]]:
    """The masks that queries of a benchmark put on their references."""
    masks: dict[str, list[ExactMask]] = defaultdict(list)
    for split in SPLITS:
        for query in read_queries(folder, split):
            if query.mask:
                masks[query.reference].append(ExactMask(query.targets[0], split, _read_cells(folder, query)))
    return masks


def _read_cells(folder: Path, query: QueryLine) -> NDArray[np.bool_]:
    return np.asarray(read_picture(folder / query.mask).convert("L")) > 127
