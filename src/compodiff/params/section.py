"""What all sections of params.yaml share, and the section that is of all stages."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what torch and numpy take
Hours = Annotated[float, Field(gt=0, le=31 * 24)]


class Section(BaseModel):
    """One section of params.yaml: frozen, strictly typed; unknown keys, infinity and NaN are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TimeLimits(Section):
    """Hours after which a stage is told to stop, by a flow or as a job of a cluster; a training keeps a checkpoint."""

    hours: Hours = Field(description="of any stage")
    stages: dict[str, Hours] = Field(description="of those named here: train_composed, or embed for all of embed@")

    def find_hours(self, stage: str) -> float:
        """Return the hours that a stage may take."""
        return self.stages.get(stage, self.stages.get(stage.partition("@")[0], self.hours))
