"""Sections of how triplets are made and what they must be."""

from pydantic import Field

from compodiff.params.section import Section


class SimilarityFloors(Section):
    """Cosines below which a triplet is dropped; the keys are columns of the triplets' manifest."""

    image_image: float = Field(ge=-1, le=1, description="reference to target")
    image_caption_reference: float = Field(ge=-1, le=1, description="reference to its own caption")
    image_caption_target: float = Field(ge=-1, le=1, description="target to its own caption")
    directional: float = Field(ge=-1, le=1, description="change of the picture to change of the caption")
    keyword_image: float = Field(ge=-1, le=1, description="target to the term that came in")


class SynthesisParams(Section):
    """Captions become triplets: how many, and which the filters keep."""

    seed: int
    captions_per_pair: int = Field(gt=0, description="relative captions, each a triplet, of a pair of pictures")
    max_pairs_per_relation: int = Field(gt=0, description="pairs of pictures of one relation in one split")
    pairs_per_shard: int = Field(gt=0)
    batch_size: int = Field(gt=0, description="pictures, or texts, that the encoder embeds at a time")
    floors: SimilarityFloors


class ValidationParams(Section):
    """What the triplets must be before anything is trained on them."""

    min_triplets: int = Field(gt=0, description="fewer in the training split mean that synthesis went wrong")
    max_text_length: int = Field(gt=0, description="characters of a caption or relative caption")
    max_rejected_fraction: float = Field(
        ge=0, lt=1, description="rows an expectation may quarantine before the suite fails"
    )
