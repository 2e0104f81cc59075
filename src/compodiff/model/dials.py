"""How a model is asked unless a query says otherwise: sampling.json beside its folder, or what its card says."""

from pathlib import Path

from compodiff.model.checkpoint import ModelCard
from compodiff.params import SamplingParams
from compodiff.storage.json_files import read_json

FILE = "sampling.json"


def read_dials(model: Path, card: ModelCard) -> SamplingParams | None:
    """Return the dials of a model; None where nothing says them.

    Args:
        model: its folder; the stage set_dials writes sampling.json beside it.
        card: of the model; those of release 0.2 and before say their dials themselves.

    Raises:
        InputInvalid: sampling.json is damaged.
    """
    beside = model.parent / FILE
    own = read_json(beside) if beside.is_file() else card.trained_with.get("sampling")
    return None if own is None else SamplingParams.model_validate(own)
