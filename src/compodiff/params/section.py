"""What all sections of params.yaml share."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """One section of params.yaml: frozen, strictly typed, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
