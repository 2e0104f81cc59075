"""How a model is asked unless a query says otherwise: sampling.json beside its folder, or what its card says."""

from pathlib import Path

from pydantic import ValidationError

from compodiff.errors import InputInvalid
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
        InputInvalid: sampling.json, or the card's own dials, are damaged.
    """
    beside = model.parent / FILE
    in_file = beside.is_file()
    own = read_json(beside) if in_file else card.trained_with.get("sampling")
    if own is None and not in_file:
        return None
    try:
        return SamplingParams.model_validate(own)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'all'}: {fault['msg']}" for fault in error.errors())
        where = beside if in_file else f"the card of {model}"
        raise InputInvalid(f"{where} has no dials ({faults}); run: dvc repro set_dials") from error
