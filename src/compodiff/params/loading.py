"""Read params.yaml, alone or under a preset: a file of infra/params that holds only what differs."""

from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from compodiff.errors import ParamsInvalid
from compodiff.params.answering import EvaluationParams, IndexParams, PromotionParams, SamplingParams
from compodiff.params.captions import CaptionParams
from compodiff.params.data import BenchmarkParams, DataParams, EmbeddingParams, EncoderParams, ScenesParams
from compodiff.params.section import Section
from compodiff.params.synthesis import SynthesisParams, ValidationParams
from compodiff.params.training import DenoiserParams, DistillationParams, TrainingParams

PRESETS = Path("infra", "params")


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
    return _check(_read(path), str(path))


def compose_params(project: Path, preset: str) -> dict[str, Any]:
    """Return the values of params.yaml with those of a preset laid over them, checked.

    Sections are merged key by key; a list, like any other value, replaces the one below it.

    Args:
        project: the folder that holds params.yaml and infra/params.
        preset: the name of a file there, less its .yaml.

    Raises:
        ParamsInvalid: there is no such preset, one of both files does not fit, or the preset has an unknown key.
    """
    from omegaconf import OmegaConf

    known = list_presets(project)
    if preset not in known:
        raise ParamsInvalid(
            f"there is no preset {preset!r} in {project / PRESETS}; it has: {', '.join(known) or 'none'}"
        )
    path = project / PRESETS / f"{preset}.yaml"
    below, above = _read(project / "params.yaml"), _read(path)
    _check(below, str(project / "params.yaml"))
    if not isinstance(above, dict):
        raise ParamsInvalid(f"preset {preset} ({path}) has no sections; write into it what differs from params.yaml")
    merged = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.merge(below, above)))
    _check(merged, f"preset {preset} ({path})")
    return merged


def list_presets(project: Path) -> list[str]:
    """Return the names of the presets in infra/params."""
    return sorted(path.stem for path in (project / PRESETS).glob("*.yaml"))


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ParamsInvalid(f"{path} is not there; restore it with: git checkout {path.name}") from error
    except yaml.YAMLError as error:
        raise ParamsInvalid(f"{path} is not YAML: {' '.join(str(error).split())}") from error


def _check(content: Any, where: str) -> Params:
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ParamsInvalid(f"{where}: {faults}") from error
