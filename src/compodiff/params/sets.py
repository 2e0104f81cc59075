"""Sections of what is learned from: sets by name, each by a recipe, and what their rows must be."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from compodiff.params.section import Section, Seed

# A set's or a benchmark's name is a folder's and a stage's: no dots, no slashes.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Share = Annotated[float, Field(gt=0, le=1)]


class SimilarityFloors(Section):
    """Cosines below which a row is dropped; a filter that needs a caption which a row lacks is skipped."""

    image_image: float = Field(ge=-1, le=1, description="reference to target")
    image_caption_reference: float = Field(ge=-1, le=1, description="reference, or a pair's picture, to its caption")
    image_caption_target: float = Field(ge=-1, le=1, description="target to its own caption")
    directional: float = Field(ge=-1, le=1, description="change of the picture to change of the caption")
    keyword_image: float = Field(ge=-1, le=1, description="target to the term that came in")


class SetParams(Section):
    """What every set says, whatever its recipe."""

    reads: str = Field(description="file or folder that the set is made of, as DVC watches it")
    min_rows: int = Field(gt=0, description="fewer accepted rows in the training split mean that something is wrong")
    floors: SimilarityFloors | None = Field(description="null: no row is dropped for its similarities")


class EmojiCaptionsParams(SetParams):
    """Pairs: every caption of every picture of the emoji catalogue; `reads: data`."""

    recipe: Literal["emoji_captions"]


class EmojiEditsParams(SetParams):
    """Triplets: pictures of the emoji catalogue that differ in one term; `reads: data`."""

    recipe: Literal["emoji_edits"]
    seed: Seed
    captions_per_pair: int = Field(gt=0, description="relative captions, each a triplet, of a pair of pictures")
    max_pairs_per_relation: int = Field(ge=0, description="of one relation in one split")


class SceneFamilies(Section):
    """How many families of scenes are drawn of a split's objects."""

    train: int = Field(ge=0)
    validation: int = Field(ge=0)


class ScenesParams(SetParams):
    """Triplets: scenes of the catalogue's pictures, edited, with exact masks; `reads: data`."""

    recipe: Literal["scenes"]
    seed: Seed
    families: SceneFamilies = Field(description="a family is a base scene and its edits, each there and back")
    edits_per_relation: int = Field(gt=0, description="of one base scene")


class EditedPictures(Section):
    """How many pictures of the catalogue are edited as a whole."""

    objects: int = Field(ge=0, description="alone, on a plain ground")
    scenes: int = Field(ge=0, description="of one to three objects")
    collages: int = Field(ge=0, description="textured shapes, which stand for photographs")


class SplitPictures(Section):
    """How many pictures of each split are edited as a whole."""

    train: EditedPictures
    validation: EditedPictures


class ExactEditsParams(SetParams):
    """Triplets: pictures of the catalogue and exact edits of them (mirrored, grey, blurred ...); `reads: data`."""

    recipe: Literal["exact_edits"]
    seed: Seed
    pictures: SplitPictures
    edits_per_picture: int = Field(gt=0, description="each there and back, each of another kind")


class FolderEditsParams(SetParams):
    """Triplets: pictures of one's own and exact edits of them; `reads`: a folder of pictures, at any depth."""

    recipe: Literal["folder_edits"]
    seed: Seed
    pictures: int = Field(gt=0, description="at most, drawn of those of the folder")
    validation_fraction: float = Field(ge=0, lt=1)
    edits_per_picture: int = Field(gt=0, description="each there and back, each of another kind")


class DiffusionParams(Section):
    """Pictures by Stable Diffusion with Prompt-to-Prompt; of a range, each candidate draws its own value evenly."""

    pipeline: str = Field(description="folder, name or hub id of a pipeline 1.5, 2.x or XL; safetensors only")
    revision: str | None = Field(description="commit of a hub id; null takes the one that `compodiff get` took")
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

    clipseg: str = Field(description="folder, name or hub id; safetensors only")
    revision: str | None = Field(description="commit of a hub id; null takes the one that `compodiff get` took")
    threshold: float = Field(gt=0, lt=1, description="mean probability of a cell from which it is masked")
    batch_size: int = Field(gt=0, description="pictures at a time")


class DrawnParams(SetParams):
    """Triplets of caption pairs of one's own, their pictures drawn; `reads: artifacts/encoder`, which chooses."""

    recipe: Literal["drawn"]
    seed: Seed
    captions: list[str] = Field(min_length=1, description="files of `compodiff captions`, of different names")
    diffusion: DiffusionParams
    masks: MaskParams | None = Field(description="null: drawn triplets have none")


class OwnSetParams(SetParams):
    """A set that is there already; `reads` names its set.json, a path or an address that fsspec opens."""

    recipe: Literal["own"]
    made_by: str = Field(default="", description="the command that makes it, told where it is not there")


AnySetParams = Annotated[
    EmojiCaptionsParams
    | EmojiEditsParams
    | ScenesParams
    | ExactEditsParams
    | FolderEditsParams
    | DrawnParams
    | OwnSetParams,
    Field(discriminator="recipe"),
]


class SynthesisParams(Section):
    """How sets are made, whatever they hold."""

    rows_per_shard: int = Field(gt=0, description="what a kill costs at most, and one worker's unit of work")
    batch_size: int = Field(gt=0, description="pictures, or texts, that the encoder embeds at a time")


class ValidationParams(Section):
    """What the rows of a set must be before anything is trained on them."""

    max_text_length: int = Field(gt=0, description="characters of a caption or relative caption")
    max_rejected_fraction: float = Field(
        ge=0, lt=1, description="rows an expectation may quarantine before the suite fails"
    )
    rows_at_once: int = Field(gt=0, description="rows that the suite looks at together; memory and speed only")
