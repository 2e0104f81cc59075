"""Section `captions`: how caption pairs are made of captions, by keywords and by a language model."""

from typing import Literal

from pydantic import Field, model_validator

from compodiff.params.section import Section, Seed


class EditShares(Section):
    """How often each kind of edit is tried first; where a caption does not allow it, another takes its place."""

    replace: float = Field(ge=0, description="an object becomes another one")
    add: float = Field(ge=0, description="an object comes in")
    remove: float = Field(ge=0, description="an object goes")
    attribute: float = Field(ge=0, description="an adjective becomes another one")

    @model_validator(mode="after")
    def _check_shares(self) -> "EditShares":
        if not any(self.model_dump().values()):
            raise ValueError("all shares are 0; give at least one kind of edit a share")
        return self


class KeywordParams(Section):
    """Which captions and terms are used, and what replaces what."""

    min_english: float = Field(ge=0, le=1, description="share of a caption's words that an English dictionary knows")
    max_characters: int = Field(gt=0, description="of a caption")
    min_count: int = Field(gt=0, description="occurrences of a term in the set")
    max_terms: int = Field(gt=0, description="the most frequent ones are used")
    min_similarity: float = Field(ge=-1, le=1, description="cosine of term and replacement; lower is out of place")
    max_similarity: float = Field(ge=-1, le=1, description="higher is a synonym")
    pairs_per_caption: int = Field(gt=0)
    shares: EditShares
    swapped_share: float = Field(ge=0, le=1, description="of replace and attribute: reference and target exchanged")

    @model_validator(mode="after")
    def _check_band(self) -> "KeywordParams":
        if self.min_similarity > self.max_similarity:
            raise ValueError(f"min_similarity is {self.min_similarity}, more than max_similarity {self.max_similarity}")
        return self


class LanguageModelParams(Section):
    """Fine-tuning of a causal language model on edits, and sampling from it."""

    engine: Literal["auto", "transformers", "vllm"] = Field(
        default="auto", description="what samples; auto: vllm where it is installed and a GPU is there"
    )
    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    clip_norm: float = Field(gt=0)
    max_tokens: int = Field(gt=0, description="of a row: caption, edit and edited caption; longer rows are left out")
    checkpoint_every: int = Field(gt=0, description="steps")
    lora_rank: int = Field(gt=0, description="with --lora")
    temperature: float = Field(gt=0)
    top_p: float = Field(gt=0, le=1)
    sampling_batch_size: int = Field(gt=0, description="captions at a time")
    give_up_after: int = Field(gt=0, description="rows without a parseable one among them")


class CaptionParams(Section):
    """Captions become caption pairs."""

    seed: Seed
    validation_fraction: float = Field(ge=0, lt=1, description="of the captions, with all their pairs")
    keywords: KeywordParams
    language_model: LanguageModelParams
