"""Sections of the catalogue, the encoder and what is embedded."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from compodiff.params.section import Section, Seed
from compodiff.params.sets import EditedPictures


class DataParams(Section):
    """The picture catalogue: how pictures are drawn and concepts are split (the rest is test)."""

    seed: Seed
    picture_size: int = Field(gt=0, description="edge of a drawn picture, pixels")
    train_fraction: float = Field(gt=0, lt=1)
    validation_fraction: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _check_test_is_left(self) -> Self:
        if self.train_fraction + self.validation_fraction >= 1:
            raise ValueError(
                f"train_fraction, {self.train_fraction}, and validation_fraction, {self.validation_fraction}, leave "
                "nothing to test on; together they have to be less than 1"
            )
        return self


Vocabulary = Literal["imagenet-1k", "imagenet-12k"]
MapName = Literal["pixels", "stride_2", "stride_4", "stride_8", "stride_16", "stride_32", "head"]


class MapParams(Section):
    """One map of the embedded encoder's image tower."""

    grid: int = Field(gt=0, description="cells a side on which it is pooled")
    dimensions: int = Field(gt=0, description="of the embedding that start as its first principal components")


class NamedClassesParams(Section):
    """Dimensions beside those that are trained: which of the image tower's classes a picture shows, or a text names."""

    dimensions: int = Field(gt=0, le=999, description="added to those of maps; along them classes differ most")
    vocabulary: Vocabulary = Field(
        description="the things that a text may name: the tower's classes, or all that ImageNet has many pictures of"
    )
    name_share: float = Field(ge=0, le=1, description="of a thing's names alone in what texts are compared with")
    temperature: float = Field(gt=0, description="of a text's cosines with names and descriptions of these things")
    class_temperature: float = Field(gt=0, description="of a thing's cosines with descriptions of the classes")
    picture_length: float = Field(gt=0, description="their mean length in train pictures; all others have about 2")
    text_weight: float = Field(gt=0, description="their length in a text that names one class, of what all others have")
    least_spread: float = Field(
        gt=0, description="of train pictures along a direction, in mean spreads (variances), so that none is all noise"
    )


class EditMapsParams(Section):
    """What exact edits of whole pictures do to embeddings, learned on train pictures (encoders/edit_maps.py)."""

    seed: Seed
    pictures: EditedPictures = Field(description="each is edited in every way")
    ridge: float = Field(gt=0, description="penalty, in mean variances of a dimension of the embeddings")
    rank: int = Field(gt=0, description="of each map; the size of the file grows with it")
    least_cosine: float = Field(
        ge=-1, le=1, description="of a text with the nearest known wording, from which on it asks for the same"
    )


class EmbeddedEncoderParams(Section):
    """The small encoder of packaged weights; its projections are trained on train concepts, its towers are frozen."""

    seed: Seed
    image_size: int = Field(gt=0, description="edge of the square that enters the image tower, pixels")
    tower_batch_size: int = Field(gt=0, description="pictures or texts that enter the towers at a time")
    maps: dict[MapName, MapParams] = Field(min_length=1, description="in the order of the tower; others are unused")
    components: int = Field(gt=0, description="principal components of each map that the projection may mix")
    steps: int = Field(gt=0)
    batch_size: int = Field(gt=0, description="pictures, and captions, of one step")
    max_variants: int = Field(gt=0, description="pictures of one concept in a batch")
    image_learning_rate: float = Field(gt=0)
    text_learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(gt=0)
    weight_decay: float = Field(ge=0, description="of the text projection")
    classes: NamedClassesParams | None = Field(description="null leaves them out")
    edits: EditMapsParams | None = Field(description="null leaves them out")

    @model_validator(mode="after")
    def _check_classes_have_a_head(self) -> Self:
        if self.classes is not None and ("head" not in self.maps or self.maps["head"].grid != 1):
            raise ValueError("classes are read from the map head at grid 1; have that, or null for classes")
        return self


class PartParams(Section):
    """One part of an encoder; a name alone stands for {name: ...}. What is left out is as the model has it."""

    name: str = Field(description="a short name of `compodiff get --list`, a hub id, a folder, or what `library` knows")
    library: Literal["open_clip", "transformers", "sentence_transformers"] | None = Field(
        default=None, description="whose name it is, where it is not one that the project knows"
    )
    weights: str | None = Field(default=None, description="of open_clip: one of its tags, or a file")
    layer: int | None = Field(default=None, lt=0, description="of a text part: whose states, -1 is the last")
    padding: Literal["dropped", "attended"] | None = Field(
        default=None, description="of a text part: whether the denoiser sees what fills a text up to the context"
    )
    context_length: int | None = Field(default=None, gt=0, description="of a text part, tokens; what is longer is cut")
    template: str | None = Field(default=None, pattern=r"\{\}", description="of a text part: {} stands for the text")
    joint: bool | None = Field(
        default=None, description="of a text part: whether it embeds texts among pictures; left out: where it can"
    )

    @model_validator(mode="before")
    @classmethod
    def _read_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class PartsParams(Section):
    """An encoder of parts."""

    picture: PartParams
    texts: list[PartParams] = Field(min_length=1, description="whose tokens the denoiser attends to, in this order")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="on GPUs; auto: half, where it agrees with float32 (measured, in the manifest)"
    )


class EncoderParams(Section):
    """Which encoder: exactly one of the two."""

    embedded: EmbeddedEncoderParams | None
    parts: PartsParams | None

    @model_validator(mode="after")
    def _check_one_of_two(self) -> Self:
        if (self.embedded is None) == (self.parts is None):
            raise ValueError("give one of embedded and parts, and null for the other")
        return self


class EmbeddingParams(Section):
    """Pictures, texts and masked pictures, embedded once for both stages of training."""

    seed: Seed
    batch_size: int = Field(gt=0, description="pictures or texts that enter the encoder at a time")
    masks_per_picture: int = Field(ge=0, description="masked variants of each picture of a set of pairs")
    min_mask_fraction: float = Field(gt=0, lt=1, description="of the drawn part of a picture, at least this is masked")
    max_mask_fraction: float = Field(gt=0, lt=1)
    texts: Literal["auto", "stored", "online"] = Field(
        description="token states of a set's texts: stored, or computed while a training reads; auto: by their size"
    )
    stored_text_bytes: int = Field(ge=0, description="auto stores token states of a set up to this size")

    @model_validator(mode="after")
    def _check_fractions(self) -> Self:
        if self.min_mask_fraction > self.max_mask_fraction:
            raise ValueError(
                f"min_mask_fraction is {self.min_mask_fraction}, more than max_mask_fraction, {self.max_mask_fraction}"
            )
        return self

    def describe_vectors(self) -> dict[str, Any]:
        """Return what embeddings depend on; what is kept of texts changes none of them."""
        return self.model_dump(exclude={"texts", "stored_text_bytes"})
