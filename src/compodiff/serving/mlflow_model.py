"""The registered model as MLflow runs it: pictures and relative captions in, composed embeddings out.

MLflow keeps a copy of this file with each version and runs it from there ("models from code"), beside the safetensors
of the composed model and of its encoder: nothing is pickled. signature.py says what goes in and comes out.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel
from numpy.typing import NDArray

from compodiff.images import decode
from compodiff.search.composer import Composer
from compodiff.search.query import Query


class ComposedModel(PythonModel):
    """Answers rows of `reference`, `relative_caption` and, where given, `negative_text`."""

    def load_context(self, context: Any) -> None:
        """Read the two models that belong to this version."""
        self._composer = Composer.load(Path(context.artifacts["composed"]), Path(context.artifacts["encoder"]))

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> NDArray[np.float32]:
        """Return the composed embeddings (B, D), in the space of the encoder's picture embeddings.

        Args:
            context: not needed here.
            model_input: one query a row; an empty reference or text leaves that condition out.
            params: dials of signature.py; the model's own where left out.

        Raises:
            InputInvalid: a picture does not decode, a row has neither reference nor text, or a dial is out of range.
        """
        queries = [
            Query(
                reference=decode(row["reference"]) if row.get("reference") else None,
                relative_caption=row.get("relative_caption") or "",
                negative_text=row.get("negative_text") or "",
                **(params or {}),
            )
            for row in model_input.to_dict("records")
        ]
        composed: NDArray[np.float32] = self._composer.compose(queries).float().cpu().numpy()
        return composed


set_model(ComposedModel())
