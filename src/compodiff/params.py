"""params.yaml as frozen, typed sections: every number that changes a result has one place and no default.

A stage names the sections it needs in its signature. Addresses, devices and credentials are environment, never params.
"""

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from compodiff.errors import ParamsInvalid


class Section(BaseModel):
    """One section of params.yaml: frozen, strictly typed, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DataParams(Section):
    """The picture catalogue: how pictures are drawn and concepts are split (the rest is test)."""

    seed: int
    picture_size: int = Field(gt=0, description="edge of a drawn picture, pixels")
    train_fraction: float = Field(gt=0, lt=1)
    validation_fraction: float = Field(gt=0, lt=1)


class BenchmarkParams(Section):
    """The emoji benchmark: queries of concepts that training never sees."""

    seed: int
    max_queries_per_relation: int = Field(gt=0, description="in a split; concepts take turns")


MapName = Literal["pixels", "stride_2", "stride_4", "stride_8", "stride_16", "stride_32", "head"]


class MapParams(Section):
    """One map of the embedded encoder's image tower."""

    grid: int = Field(gt=0, description="cells a side on which it is pooled")
    dimensions: int = Field(gt=0, description="of the embedding that start as its first principal components")


class EmbeddedEncoderParams(Section):
    """The small encoder of packaged weights; its projections are trained on train concepts, its towers are frozen."""

    seed: int = Field(ge=0)
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


class OpenClipParams(Section):
    """An encoder of open_clip's list, stored as it is."""

    name: str = Field(description='for a file of OpenAI\'s weights the QuickGELU variant, "ViT-L-14-quickgelu"')
    pretrained: str = Field(description="a tag of open_clip, or a file of weights")


class EncoderParams(Section):
    """Which encoder: exactly one of the two."""

    embedded: EmbeddedEncoderParams | None
    open_clip: OpenClipParams | None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.embedded is None) == (self.open_clip is None):
            raise ValueError("give one of embedded and open_clip, and null for the other")
        return self


class EmbeddingParams(Section):
    """Pictures, texts and masked pictures, embedded once for both stages of training."""

    seed: int
    batch_size: int = Field(gt=0, description="pictures or texts that enter the encoder at a time")
    masks_per_picture: int = Field(ge=0, description="masked variants of each train and validation picture")
    min_mask_fraction: float = Field(gt=0, lt=1, description="of the drawn part of a picture, at least this is masked")
    max_mask_fraction: float = Field(gt=0, lt=1)


class IndexParams(Section):
    """The FAISS index over a gallery's L2-normalised embeddings."""

    flat_up_to: int = Field(ge=0, description="pictures up to which the index is flat, that is exact, whatever `kind`")
    kind: Literal["flat", "ivf_sq8", "ivf_pq"] = Field(description="beyond `flat_up_to`")
    lists: int = Field(
        gt=0, description="inverted lists of the ivf kinds; about the square root of the gallery, times 4"
    )
    probes: int = Field(gt=0, description="lists that a query visits")
    code_bytes: int = Field(gt=0, description="bytes that stand for a vector under ivf_pq")
    duplicate_cosine: float = Field(ge=-1, le=1, description="near-duplicates are at least so near, and look alike")
    rerank: int = Field(ge=0, description="candidates per result that the ivf kinds score again exactly; 0 for none")


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


class TaskShares(Section):
    """Shares of a batch's rows among the tasks of stage 2 (paper section 4.2); stage 1 is text_to_image alone."""

    text_to_image: float = Field(ge=0, le=1)
    masked: float = Field(ge=0, le=1)
    triplet: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        total = self.text_to_image + self.masked + self.triplet
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares add up to {total:g}, not to 1")
        return self


class TrainingParams(Section):
    """One of the two stages of training."""

    seed: int = Field(ge=0)
    objective: Literal["diffusion", "regression", "flow_matching"]
    tasks: TaskShares
    batch_size: int = Field(gt=0, description="rows of one optimizer step, over all processes and accumulation steps")
    accumulation_steps: int = Field(gt=0)
    steps: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    learning_rate_schedule: Literal["constant", "cosine"]
    warmup_steps: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    clip_norm: float = Field(gt=0, description="largest norm of the gradient over all parameters")
    ema_decay: float = Field(ge=0, lt=1)
    condition_dropout: float = Field(ge=0, lt=1, description="chance that a row loses its text, and its image; no mask")
    noise_draws: int = Field(gt=0, description="noisy embeddings per row; they share the row's projected conditions")
    pure_noise_share: float = Field(ge=0, le=1, description="of the noisy embeddings: where every sampler starts")
    contrastive_weight: float = Field(ge=0, description="weight of InfoNCE between denoised and target embeddings")
    contrastive_temperature: float = Field(gt=0)
    contrastive_negatives: int = Field(ge=0, description="training pictures that a batch adds to its own as negatives")
    mixup_concentration: float = Field(ge=0, description="Beta(a, a) mixes triplets of one relation; 0 mixes none")
    relation_exponent: float = Field(le=0, description="a triplet is drawn in proportion to count(relation)^this")
    precision: Literal["float32", "bfloat16"] = Field(description="of the network's products; weights stay float32")
    zero_stage: int = Field(ge=0, le=2)
    validate_every: int = Field(gt=0, description="steps between two rows of the curve")
    validation_queries: int = Field(gt=0)
    checkpoint_every: int = Field(gt=0)


class BenchmarkGate(Section):
    """What a challenger must show on one benchmark; every figure is the composed model's recall_at_10."""

    floor: float = Field(ge=0, le=1, description="nothing below it is ever promoted")
    margin: float = Field(ge=0, le=1, description="by how much the champion must be beaten")
    max_relation_drop: float = Field(ge=0, le=1, description="what any one relation may lose against the champion")


class PromotionParams(Section):
    """Who may become champion."""

    benchmarks: dict[str, BenchmarkGate] = Field(min_length=1, description="by name; the challenger passes all of them")


class DenoiserParams(Section):
    """The network of both stages; its widths of embedding and text tokens come from the encoder."""

    width: int = Field(gt=0, multiple_of=2)
    depth: int = Field(gt=0)
    heads: int = Field(gt=0, description="self-attention heads; they share one key and value head")
    cross_heads: int = Field(gt=0)
    head_width: int = Field(gt=0, multiple_of=2)
    feed_forward_factor: int = Field(gt=0)
    mask_size: Literal[1, 2, 4, 8, 16, 32, 64] = Field(description="edge to which the 64 x 64 mask is averaged down")
    image_slots: int = Field(gt=0, description="context tokens that carry the reference embedding")
    residual: bool = Field(description="the network predicts x0 minus the reference, not x0")
    standardise: bool = Field(description="work on embeddings standardised per dimension over the training pictures")
    num_train_timesteps: int = Field(gt=1)


class SamplingParams(Section):
    """How a query is answered, unless it says otherwise."""

    seed: int = Field(ge=0)
    num_inference_steps: int = Field(gt=0, description="network calls")
    solver: Literal["ddim", "dpm_solver", "unipc", "mean"]
    grid: Literal["trailing", "legacy"]
    eta: float = Field(ge=0, le=1, description="noise that ddim adds: 0 none, 1 as much as DDPM")
    w_image: float = Field(ge=0)
    w_text: float = Field(ge=0)
    draws: int = Field(gt=0, description="answers per query")
    fusion: Literal["average", "mean_score", "max_score"] = Field(description="how draws become one ranking")
    reference_mixing: float = Field(ge=0, le=1, description="share of the reference's own embedding in the answer")
    masked_reference_mixing: float = Field(ge=0, le=1, description="the same for queries with a mask")
    precision: Literal["float32", "bfloat16"]


class EvaluationParams(Section):
    """How benchmarks are scored and reported; what is sampled stands in `sampling`."""

    seed: int = Field(ge=0, description="of the bootstrap")
    bootstrap_draws: int = Field(gt=0, description="resamplings of the concepts behind a confidence interval")
    chunk: int = Field(gt=0, description="gallery rows scored at once; memory and speed only")
    text_weights: list[float] = Field(min_length=1, description="tried on validation for the sum baseline")
    product_offsets: list[float] = Field(min_length=1, description="the same, for the product of scores")
    min_relation_queries: int = Field(gt=0, description="relations with fewer stay out of the mean over relations")
    shown_queries: int = Field(gt=0, description="best, and as many worst, queries in the report")
    shown_pictures: int = Field(gt=0, description="of each ranking in the report")


class Params(Section):
    """The whole of params.yaml."""

    data: DataParams
    benchmark: BenchmarkParams
    encoder: EncoderParams
    embedding: EmbeddingParams
    denoiser: DenoiserParams
    sampling: SamplingParams
    prior: TrainingParams
    composed: TrainingParams
    synthesis: SynthesisParams
    validation: ValidationParams
    index: IndexParams
    evaluation: EvaluationParams
    promotion: PromotionParams


def load_params(path: Path) -> Params:
    """Read and check params.yaml.

    Raises:
        ParamsInvalid: the file is missing or not YAML, a key is unknown, missing or of the wrong type.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ParamsInvalid(f"{path} is not there; restore it with: git checkout {path.name}") from error
    except yaml.YAMLError as error:
        raise ParamsInvalid(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ParamsInvalid(f"{path}: {faults}") from error
