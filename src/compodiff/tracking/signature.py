"""What the registered model takes and gives, so that MLflow checks both; serving/mlflow_model.py works to it."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from compodiff.dials import DIALS
from compodiff.errors import InputInvalid

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

_TYPES = {float: "double", int: "long"}


def read_card(composed: Path) -> dict[str, Any]:
    """Return the card of a model folder as JSON has it.

    Raises:
        InputInvalid: there is none, or it is not JSON.
    """
    try:
        card: dict[str, Any] = json.loads((composed / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputInvalid(f"{composed} holds no model; make it by: dvc repro train_composed") from error
    return card


def make_signature(card: Mapping[str, Any], sampling: Mapping[str, Any]) -> "ModelSignature":
    """Make it: pictures as files' bytes and texts in, embeddings (B, D) out; dials default to the model's own.

    Args:
        card: of the composed model; its `encoder` gives D.
        sampling: the dials.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

    from compodiff.encoders import EncoderManifest

    dim = EncoderManifest.from_json(card["encoder"]).embedding_dim
    return ModelSignature(
        inputs=Schema(
            [
                ColSpec("binary", "reference"),
                ColSpec("string", "relative_caption"),
                ColSpec("string", "negative_text", required=False),
            ]
        ),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, dim))]),
        params=ParamSchema(
            [
                ParamSpec(name, _TYPES[dial.type], sampling[name])
                for name, dial in DIALS.items()
                if dial.default is None and name in sampling
            ]
        ),
    )


def make_input_example() -> pd.DataFrame:
    """Return one query: a red square, and that it should be blue."""
    with io.BytesIO() as buffer:
        Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
        return pd.DataFrame({"reference": [buffer.getvalue()], "relative_caption": ["make it blue"]})
