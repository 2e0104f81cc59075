"""params.yaml as frozen, typed sections: every number that changes a result has one place and no default.

A stage names the sections it needs in its signature. Addresses, devices and credentials are environment, never params.
"""

from compodiff.params.answering import EvaluationParams, IndexParams, SamplingParams
from compodiff.params.benchmarks import (
    AnyBenchmarkParams,
    BenchmarkGate,
    BenchmarkParams,
    EmojiBenchmarkParams,
    FilesBenchmarkParams,
    SceneQueries,
    ScenesBenchmarkParams,
)
from compodiff.params.captions import CaptionParams, EditShares, KeywordParams, LanguageModelParams
from compodiff.params.data import (
    DataParams,
    EmbeddedEncoderParams,
    EmbeddingParams,
    EncoderParams,
    MapName,
    MapParams,
    NamedClassesParams,
    PartParams,
    PartsParams,
)
from compodiff.params.loading import Params, compose_params, list_presets, load_params
from compodiff.params.section import Section
from compodiff.params.sets import (
    AnySetParams,
    DiffusionParams,
    DrawnParams,
    EmojiCaptionsParams,
    EmojiEditsParams,
    MaskParams,
    OwnSetParams,
    SceneFamilies,
    ScenesParams,
    SetParams,
    SimilarityFloors,
    SynthesisParams,
    ValidationParams,
)
from compodiff.params.training import (
    CurveParams,
    DenoiserParams,
    DistillationParams,
    FinetuningParams,
    TaskShares,
    TrainingParams,
)

__all__ = [
    "AnyBenchmarkParams",
    "AnySetParams",
    "BenchmarkGate",
    "BenchmarkParams",
    "CaptionParams",
    "CurveParams",
    "DataParams",
    "DenoiserParams",
    "DiffusionParams",
    "DistillationParams",
    "DrawnParams",
    "EditShares",
    "EmbeddedEncoderParams",
    "EmbeddingParams",
    "EmojiBenchmarkParams",
    "EmojiCaptionsParams",
    "EmojiEditsParams",
    "EncoderParams",
    "EvaluationParams",
    "FilesBenchmarkParams",
    "FinetuningParams",
    "IndexParams",
    "KeywordParams",
    "LanguageModelParams",
    "MapName",
    "MapParams",
    "MaskParams",
    "NamedClassesParams",
    "OwnSetParams",
    "Params",
    "PartParams",
    "PartsParams",
    "SamplingParams",
    "SceneFamilies",
    "SceneQueries",
    "ScenesBenchmarkParams",
    "ScenesParams",
    "Section",
    "SetParams",
    "SimilarityFloors",
    "SynthesisParams",
    "TaskShares",
    "TrainingParams",
    "ValidationParams",
    "compose_params",
    "list_presets",
    "load_params",
]
