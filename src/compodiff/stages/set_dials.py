"""The stage set_dials: how the composed model is asked unless a query says otherwise. Run: compodiff run set_dials.

Training does not depend on it, so that other dials train nothing anew.
"""

from pathlib import Path
from typing import Annotated

from compodiff.params import SamplingParams
from compodiff.stages.declaration import Output
from compodiff.storage.atomic import write_json


def set_dials(*, sampling: SamplingParams, dials: Annotated[Path, Output("artifacts/sampling.json")]) -> None:
    """Write the dials beside the model, where search, serving and the registry take them from."""
    write_json(dials, sampling.model_dump())
