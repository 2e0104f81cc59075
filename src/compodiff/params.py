"""params.yaml as frozen, typed sections: every number that changes a result has one place and no default.

A stage names the sections it needs in its signature. Addresses, devices and credentials are environment, never params.
"""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

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


class Params(Section):
    """The whole of params.yaml."""

    data: DataParams


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
