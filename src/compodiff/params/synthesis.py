"""Sections of how triplets are made and what they must be."""

from typing import Literal

from pydantic import Field, model_validator

from compodiff.params.section import Section


class SimilarityFloors(Section):
    """Cosines below which a triplet is dropped; the keys are columns of the triplets' manifest."""

    image_image: float = Field(ge=-1, le=1, description="reference to target")
    image_caption_reference: float = Field(ge=-1, le=1, description="reference to its own caption")
    image_caption_target: float = Field(ge=-1, le=1, description="target to its own caption")
    directional: float = Field(ge=-1, le=1, description="change of the picture to change of the caption")
    keyword_image: float = Field(ge=-1, le=1, description="target to the term that came in")


class SceneFamilies(Section):
    """How many families of scenes are drawn of a split's objects."""

    train: int = Field(ge=0)
    validation: int = Field(ge=0)


class SpriteParams(Section):
    """The embedded generator: a family is a base scene and its edits; an edit gives two triplets, there and back."""

    families: SceneFamilies
    edits_per_relation: int = Field(gt=0, description="of one base scene")


class DiffusionParams(Section):
    """Pictures by Stable Diffusion with Prompt-to-Prompt; of a range, each candidate draws its own value evenly."""

    pipeline: str = Field(description="folder or hub id of a pipeline 1.5, 2.x or XL; safetensors only")
    revision: str | None = Field(description="commit of a hub id; null takes its newest")
    safety_checker: str | None = Field(description="folder or hub id of one, where the pipeline (2.x, XL) brings none")
    precision: Literal["float32", "float16", "bfloat16"]
    scheduler: str = Field(description="diffusers' class name, such as DPMSolverMultistepScheduler")
    steps: int = Field(gt=0)
    picture_size: int = Field(gt=0, multiple_of=8, description="pixels, edge")
    batch_size: int = Field(gt=0, description="pairs of pictures drawn at a time, fewer where the GPU's memory ends")
    candidates: int = Field(gt=0, description="drawn for a caption pair")
    kept: int = Field(gt=0, description="of them, those of the best directional similarity")
    min_guidance: float = Field(gt=1)
    max_guidance: float = Field(gt=1)
    min_shared: float = Field(ge=0, le=1, description="fraction of the steps in which attention maps are shared")
    max_shared: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _check_ranges(self) -> "DiffusionParams":
        for low, high in (("min_guidance", "max_guidance"), ("min_shared", "max_shared"), ("kept", "candidates")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} is {getattr(self, low)}, more than {high}, {getattr(self, high)}")
        return self


class MaskParams(Section):
    """Where the pictures of a drawn pair differ, by CLIPSeg: what goes from the one and comes into the other."""

    clipseg: str = Field(description="folder or hub id; safetensors only")
    revision: str | None = Field(description="commit of a hub id; null takes its newest")
    threshold: float = Field(gt=0, lt=1, description="mean probability of a cell from which it is masked")
    batch_size: int = Field(gt=0, description="pictures at a time")


class DrawnParams(Section):
    """Triplets of caption pairs of one's own, their pictures drawn."""

    captions: list[str] = Field(min_length=1, description="files of `compodiff captions`, of different names")
    diffusion: DiffusionParams
    masks: MaskParams | None = Field(description="null: drawn triplets have none")


class SynthesisParams(Section):
    """Captions become triplets: how many, and which the filters keep."""

    seed: int
    captions_per_pair: int = Field(gt=0, description="relative captions, each a triplet, of a pair of pictures")
    max_pairs_per_relation: int = Field(ge=0, description="the catalogue's, of one relation in one split; 0 for none")
    pairs_per_shard: int = Field(gt=0)
    batch_size: int = Field(gt=0, description="pictures, or texts, that the encoder embeds at a time")
    sprites: SpriteParams
    drawn: DrawnParams | None = Field(description="null where no pictures are drawn")
    imported: list[str] = Field(description="folders of triplets by `compodiff import` or `compodiff dataset clean`")
    floors: SimilarityFloors


class ValidationParams(Section):
    """What the triplets must be before anything is trained on them."""

    min_triplets: int = Field(gt=0, description="fewer in the training split mean that synthesis went wrong")
    max_text_length: int = Field(gt=0, description="characters of a caption or relative caption")
    max_rejected_fraction: float = Field(
        ge=0, lt=1, description="rows an expectation may quarantine before the suite fails"
    )
