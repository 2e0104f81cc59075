"""Sections of the network and of both stages of its training."""

from typing import Literal, Self

from pydantic import Field, model_validator

from compodiff.params.benchmarks import BenchmarkGate
from compodiff.params.section import Section, Seed
from compodiff.params.sets import Name, Share


class DenoiserParams(Section):
    """The network of both stages; its widths of embedding and text tokens come from the encoder.

    combiner: a feed-forward network of width, depth and feed_forward_factor. sum: two linear layers. Both answer at
    once, whatever objective a training names.
    """

    network: Literal["transformer", "combiner", "sum"] = Field(description="the paper's, or a control")
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


class TaskShares(Section):
    """Shares of a batch's rows: of each task (paper section 4.2) the sets that it draws from; all add up to 1.

    text_to_image draws from pairs, and from the captions of triplets; masked from masked pictures of pairs and from
    triplets with masks; triplet from triplets. Stage 1 is text_to_image alone.
    """

    text_to_image: dict[Name, Share]
    masked: dict[Name, Share]
    triplet: dict[Name, Share]

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        total = sum(share for shares in self.by_task.values() for share in shares.values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares add up to {total:g}, not to 1")
        return self

    @property
    def by_task(self) -> dict[str, dict[str, float]]:
        """Return task -> set -> share."""
        return {"text_to_image": self.text_to_image, "masked": self.masked, "triplet": self.triplet}

    @property
    def sets(self) -> list[str]:
        """Return the names of all sets that a task draws from, sorted."""
        return sorted({name for shares in self.by_task.values() for name in shares})


class CurveParams(Section):
    """What a training is measured on while it runs: the validation split of a set, or of a benchmark."""

    set: Name | None
    benchmark: Name | None
    queries: int = Field(gt=0, description="at most")

    @model_validator(mode="after")
    def _check_one_of_two(self) -> Self:
        if (self.set is None) == (self.benchmark is None):
            raise ValueError("give one of set and benchmark, and null for the other")
        return self


class TrainingParams(Section):
    """One of the two stages of training."""

    seed: Seed
    objective: Literal["diffusion", "regression", "flow_matching"]
    learns_from: Literal["pictures", "target_captions", "captions"] = Field(
        description="what is read of references and targets: pictures; of targets, or of both, embeddings of captions"
    )
    tasks: TaskShares
    curve: CurveParams
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
    contrastive_mined: int = Field(ge=0, description="pictures nearest to each triplet's target that are negatives too")
    mixup_concentration: float = Field(ge=0, description="Beta(a, a) mixes triplets of one relation; 0 mixes none")
    relation_exponent: float = Field(le=0, description="a triplet is drawn in proportion to count(relation)^this")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        description="of the network's products, weights stay float32; auto: what the machine multiplies fastest"
    )
    zero_stage: int = Field(ge=0, le=2)
    validate_every: int = Field(gt=0, description="steps between two rows of the curve")
    checkpoint_every: int = Field(gt=0)


class FinetuningParams(TrainingParams):
    """A trained model goes on on one more set; `tasks` says what is kept of what it knew."""

    kept: float = Field(ge=0, le=1, description="share of a batch that stays with the sets of `tasks`")
    gates: dict[Name, BenchmarkGate | None] = Field(
        description="what a fine-tuned model must show, in the place of a benchmark's own gate; null: nothing"
    )


class DistillationParams(TrainingParams):
    """The optional stage after stage 2: fewer network calls say what many of the composed model's said."""

    teacher_calls: int = Field(gt=1, description="network calls behind each answer that is learned")


class AdaptationParams(Section):
    """A composed model from captions alone, for any encoder with a joint space; the rest is as `composed` says."""

    captions: int = Field(gt=0, description="of a list; of a longer one as many are drawn")
    least_pairs: int = Field(gt=0, description="of captions with a relative caption, of the training split")
    least_similarity: float = Field(gt=0, lt=1, description="of terms that replace each other: quantile of cosines")
    most_similarity: float = Field(gt=0, lt=1, description="the same; above it lie synonyms")
    gap: Literal["none", "shift"] = Field(description="shift: references move by what lies between pictures and texts")
    noise: float = Field(ge=0, description="length of the noise on a reference, in mean distances of texts from theirs")
    target: Literal["text", "moved"] = Field(description="the target caption where its text is, or moved as references")
    gap_pictures: int = Field(gt=0, description="of the project's gallery, where no pictures are given")
    text_to_image: float = Field(ge=0, lt=1, description="share of a batch that finds a caption by itself alone")
    steps: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    validate_every: int = Field(gt=0)
    checkpoint_every: int = Field(gt=0)
    held_out: int = Field(gt=0, description="queries of each figure, at most")

    @model_validator(mode="after")
    def _check_band(self) -> Self:
        if self.least_similarity >= self.most_similarity:
            raise ValueError(
                f"least_similarity is {self.least_similarity}, not less than most_similarity, {self.most_similarity}"
            )
        return self
