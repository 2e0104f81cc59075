"""Read params.yaml, alone or under a preset: a file of infra/params that holds only what differs."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Self, cast

import yaml
from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from compodiff.errors import ParamsInvalid
from compodiff.params.answering import EvaluationParams, IndexParams, SamplingParams
from compodiff.params.benchmarks import AnyBenchmarkParams, BenchmarkGate, PromotionParams
from compodiff.params.captions import CaptionParams
from compodiff.params.data import DataParams, EmbeddingParams, EncoderParams
from compodiff.params.section import Section, TimeLimits
from compodiff.params.sets import AnySetParams, Name, SynthesisParams, ValidationParams
from compodiff.params.strict_yaml import parse_yaml
from compodiff.params.training import (
    AdaptationParams,
    DenoiserParams,
    DistillationParams,
    FinetuningParams,
    TrainingParams,
)

PRESETS = Path("infra", "params")
_NAMING = ("sets", "benchmarks")
_SECTIONS_OF_0_1 = {"benchmark", "promotion", "scenes"}  # each is now part of `benchmarks` or `sets`
_WHERE_KEYS_ARE = "copy what is missing from this release's params.yaml; compodiff init writes one into a new folder"
_HOW_NUMBERS_ARE = {
    "int_type": "which YAML takes for text: write it in digits, without quotes",
    "float_type": "which YAML takes for text: write it without quotes, and with an exponent as 1.0e-3",
}
_LONGEST_VALUE = 80  # characters
_TRAININGS = ("prior", "composed", "distillation", "finetuning")


class Params(Section):
    """The whole of params.yaml."""

    data: DataParams
    sets: dict[Name, AnySetParams] = Field(min_length=1, description="what is learned from, by name")
    benchmarks: dict[Name, AnyBenchmarkParams] = Field(min_length=1, description="what is scored on, by name")
    encoder: EncoderParams
    embedding: EmbeddingParams
    denoiser: DenoiserParams
    sampling: SamplingParams
    prior: TrainingParams
    composed: TrainingParams
    distillation: DistillationParams
    finetuning: FinetuningParams
    adaptation: AdaptationParams
    synthesis: SynthesisParams
    captions: CaptionParams
    validation: ValidationParams
    index: IndexParams
    evaluation: EvaluationParams
    # With defaults, because params.yaml of projects begun before release 0.9 lacks them.
    promotion: PromotionParams = PromotionParams(behaviour=None)
    time_limits: TimeLimits = TimeLimits(hours=24, stages={})

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        for section in _TRAININGS:
            training: TrainingParams = getattr(self, section)
            named = [*training.tasks.sets, *([training.curve.set] if training.curve.set else [])]
            _require_known(section, "sets", named, self.sets)
            if training.curve.benchmark:
                _require_known(section, "benchmarks", [training.curve.benchmark], self.benchmarks)
        _require_known("finetuning.gates", "benchmarks", self.finetuning.gates, self.benchmarks)
        _require_known("index", "benchmarks", [self.index.gallery], self.benchmarks)
        return self

    @property
    def gates(self) -> dict[str, BenchmarkGate]:
        """Return what a challenger has to pass, by the benchmark's name."""
        return {name: each.gate for name, each in self.benchmarks.items() if each.gate is not None}

    @property
    def finetuned_gates(self) -> dict[str, BenchmarkGate]:
        """Return what a fine-tuned challenger has to pass, by the benchmark's name."""
        own = {name: each.gate for name, each in self.benchmarks.items()} | self.finetuning.gates
        return {name: gate for name, gate in own.items() if gate is not None}


def _require_known(section: str, kind: str, names: Iterable[str], known: Collection[str]) -> None:
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{section} names {unknown[0]!r}, which is none of the {kind}: {', '.join(known)}")


def load_params(path: Path) -> Params:
    """Read and check params.yaml.

    Raises:
        ParamsInvalid: the file is missing or not YAML, a key is unknown, missing or of the wrong type.
    """
    return _check(_read(path), str(path))


def compose_params(project: Path, preset: str) -> dict[str, Any]:
    """Return the values of params.yaml with those of a preset laid over them, checked.

    Sections are merged key by key; a list, like any other value, replaces the one below it. So do the sections that
    name sets and benchmarks: a preset that names its own falls back to none of the default's.

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
    merged = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.merge(_drop_replaced(below, above), above)))
    _check(merged, f"preset {preset} ({path})")
    return merged


def _drop_replaced(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return `below` without what a preset replaces as a whole: the names of sets and of benchmarks, shares of sets."""
    kept = {name: value for name, value in below.items() if name not in _NAMING or name not in above}
    for section in _TRAININGS:
        for key in ("tasks", "curve"):
            if key in above.get(section, {}):
                kept[section] = {name: value for name, value in kept[section].items() if name != key}
    return kept


def list_presets(project: Path) -> list[str]:
    """Return the names of the presets in infra/params."""
    return sorted(path.stem for path in (project / PRESETS).glob("*.yaml"))


def _read(path: Path) -> Any:
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ParamsInvalid(f"{path} is not there; restore it with: git checkout {path.name}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # also bytes that are no text, or a date that is none
        raise ParamsInvalid(f"{path} is not YAML: {' '.join(str(error).split())}") from error


def _check(content: Any, where: str) -> Params:
    if isinstance(content, dict) and content.keys() >= _SECTIONS_OF_0_1 and "sets" not in content:
        raise ParamsInvalid(
            f"{where} is of release 0.1; take this release's params.yaml (git checkout params.yaml behaviour.yaml, or "
            "compodiff init in a new folder) and change its numbers: docs/installation.md says what moved where"
        )
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(
            ": ".join((*filter(None, [".".join(map(str, fault["loc"]))]), _describe_fault(fault)))
            for fault in error.errors()
        )
        if any(fault["type"] == "missing" for fault in error.errors()):
            faults += f"; {_WHERE_KEYS_ARE}"
        raise ParamsInvalid(f"{where}: {faults}") from error


def _describe_fault(fault: ErrorDetails) -> str:
    """Return what is wrong with a value, and the value, where it is one."""
    said, value = fault["msg"].removeprefix("Value error, "), fault["input"]
    if fault["type"] == "extra_forbidden" or not isinstance(value, (str, int, float, type(None))):
        return said
    said += f", not {shown}" if len(shown := repr(value)) <= _LONGEST_VALUE else ""
    how = _HOW_NUMBERS_ARE.get(fault["type"])
    return f"{said} ({how})" if how and isinstance(value, str) and _is_number(value) else said


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
