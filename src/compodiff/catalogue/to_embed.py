"""What of the catalogue is embedded: pictures, captions, and masked variants of what training and validation see."""

import hashlib
from collections.abc import Iterable

from compodiff.catalogue.captions import list_picture_captions
from compodiff.catalogue.pictures import Catalogue
from compodiff.embeddings import EmbeddingMaterial


def collect_material(catalogue: Catalogue, relative_captions: Iterable[str]) -> EmbeddingMaterial:
    """Return every picture, every caption of a picture, and the relative captions given."""
    pictures = catalogue.pictures
    captions = (caption for row in pictures.to_dict("records") for caption in list_picture_captions(row))
    seen = pictures[(pictures["split"] != "test") & (pictures["twin_of"] == pictures.index)]
    return EmbeddingMaterial(
        pictures=list(pictures.index),
        read=catalogue.read,
        digest=hashlib.sha256("".join(pictures["pixel_digest"]).encode()).hexdigest(),
        masked_splits=dict(zip(seen.index, seen["split"], strict=True)),
        texts=[*captions, *relative_captions],
    )
