"""params.yaml as frozen, typed sections: every number that changes a result has one place and no default.

A stage names the sections it needs in its signature. Addresses, devices and credentials are environment, never params.
"""

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
from compodiff.params.loading import Params, compose_params, list_presets, load_params
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
    "compose_params",
    "list_presets",
    "load_params",
]
