"""What all flows share of their parameters and time-outs."""

from typing import Annotated

from pydantic import Field

HOUR = 3600.0

Seconds = Annotated[float, Field(gt=0, le=7 * 24 * HOUR, description="time that each stage may take, in seconds")]
Force = Annotated[bool, Field(strict=True, description="run also what is up to date")]
