"""params.yaml as frozen, typed sections: every number that changes a result has one place and no default.

A stage names the sections it needs in its signature. Addresses, devices and credentials are environment, never params.
"""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from compodiff.errors import ParamsInvalid
from compodiff.params.answering import BenchmarkGate, EvaluationParams, IndexParams, PromotionParams, SamplingParams
from compodiff.params.captions import CaptionParams, EditShares, KeywordParams, LanguageModelParams
from compodiff.params.data import (
    BenchmarkParams,
    DataParams,
    EmbeddedEncoderParams,
    EmbeddingParams,
    EncoderParams,
    MapName,
    MapParams,
    OpenClipParams,
    SceneQueries,
    ScenesParams,
)
from compodiff.params.section import Section
from compodiff.params.synthesis import (
    DiffusionParams,
    DrawnParams,
    MaskParams,
    SceneFamilies,
    SimilarityFloors,
    SpriteParams,
    SynthesisParams,
    ValidationParams,
)
from compodiff.params.training import DenoiserParams, DistillationParams, TaskShares, TrainingParams

__all__ = [
    "BenchmarkGate",
    "BenchmarkParams",
    "CaptionParams",
    "DataParams",
    "DenoiserParams",
    "DiffusionParams",
    "DistillationParams",
    "DrawnParams",
    "EditShares",
    "EmbeddedEncoderParams",
    "EmbeddingParams",
    "EncoderParams",
    "EvaluationParams",
    "IndexParams",
    "KeywordParams",
    "LanguageModelParams",
    "MapName",
    "MapParams",
    "MaskParams",
    "OpenClipParams",
    "Params",
    "PromotionParams",
    "SamplingParams",
    "SceneFamilies",
    "SceneQueries",
    "ScenesParams",
    "Section",
    "SimilarityFloors",
    "SpriteParams",
    "SynthesisParams",
    "TaskShares",
    "TrainingParams",
    "ValidationParams",
    "load_params",
]


class Params(Section):
    """The whole of params.yaml."""

    data: DataParams
    benchmark: BenchmarkParams
    scenes: ScenesParams
    encoder: EncoderParams
    embedding: EmbeddingParams
    denoiser: DenoiserParams
    sampling: SamplingParams
    prior: TrainingParams
    composed: TrainingParams
    distillation: DistillationParams
    synthesis: SynthesisParams
    captions: CaptionParams
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
