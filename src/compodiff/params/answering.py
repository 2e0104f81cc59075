"""Sections of how queries are answered and scored: index, sampling, evaluation."""

from math import isinf
from typing import Any, Literal

from pydantic import Field

from compodiff.dials import DIALS
from compodiff.params.section import Section, Seed


def _make_dial_field(name: str) -> Any:
    """Return the field of a dial: its range and what it means."""
    dial = DIALS[name]
    return Field(ge=dial.least, le=None if isinf(dial.most) else dial.most, description=dial.help)


class IndexParams(Section):
    """The FAISS index over a gallery's L2-normalised embeddings."""

    gallery: str = Field(description="the benchmark whose gallery the stage build_index indexes")
    flat_up_to: int = Field(ge=0, description="pictures up to which the index is flat, that is exact, whatever `kind`")
    kind: Literal["flat", "ivf_sq8", "ivf_pq"] = Field(description="beyond `flat_up_to`")
    lists: int = Field(
        gt=0, description="inverted lists of the ivf kinds; about the square root of the gallery, times 4"
    )
    probes: int = Field(gt=0, description="lists that a query visits")
    code_bytes: int = Field(gt=0, description="bytes that stand for a vector under ivf_pq")
    duplicate_cosine: float = Field(ge=-1, le=1, description="near-duplicates are at least so near, and look alike")
    rerank: int = Field(ge=0, description="candidates per result that the ivf kinds score again exactly; 0 for none")


class ClassSamplingParams(Section):
    """What an answer says of classes, by encoders with dimensions for them (docs/decisions/0013-classes.md).

    Where reference and gallery are unlike all that was learned and the text names a class, the answer is that class.
    """

    unlike: float = Field(
        gt=0, description="length of class dimensions, mean of reference and gallery, from which on they are unlike"
    )
    blur: float = Field(gt=0, description="how much longer or shorter decides: the width of the step between")
    named: float = Field(gt=0, description="length of a text's class dimensions from which on it names a class")
    kept: float = Field(ge=0, le=1, description="of what the model composed, where the text decides")


class SamplingParams(Section):
    """How a query is answered, unless it says otherwise."""

    seed: int = _make_dial_field("seed")
    num_inference_steps: int = _make_dial_field("num_inference_steps")
    solver: Literal["ddim", "dpm_solver", "unipc", "mean"]
    grid: Literal["trailing", "legacy"]
    eta: float = Field(ge=0, le=1, description="noise that ddim adds: 0 none, 1 as much as DDPM")
    w_image: float = _make_dial_field("w_image")
    w_text: float = _make_dial_field("w_text")
    draws: int = _make_dial_field("draws")
    fusion: Literal["average", "mean_score", "max_score"] = Field(description="how draws become one ranking")
    reference_mixing: float = _make_dial_field("reference_mixing")
    masked_reference_mixing: float = _make_dial_field("reference_mixing")  # of queries with a mask
    precision: Literal["auto", "float32", "bfloat16"] = Field(description="auto: what the machine multiplies fastest")
    # With a default, because sampling.json of models of release 0.7 and before lacks it.
    classes: ClassSamplingParams | None = Field(default=None, description="null: a text's classes are left out")


class EvaluationParams(Section):
    """How benchmarks are scored and reported; what is sampled stands in `sampling`."""

    seed: Seed = Field(description="of the bootstrap")
    bootstrap_draws: int = Field(gt=0, description="resamplings of the concepts behind a confidence interval")
    chunk: int = Field(gt=0, description="gallery rows scored at once; memory and speed only")
    text_weights: list[float] = Field(min_length=1, description="tried on validation for the sum baseline")
    product_offsets: list[float] = Field(min_length=1, description="the same, for the product of scores")
    edited_queries: int = Field(gt=0, description="whose answers are looked at outside and inside of the edit")
    min_relation_queries: int = Field(gt=0, description="relations with fewer stay out of the mean over relations")
    shown_queries: int = Field(gt=0, description="best, and as many worst, queries in the report")
    shown_pictures: int = Field(gt=0, description="of each ranking in the report")
