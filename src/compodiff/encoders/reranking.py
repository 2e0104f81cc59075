"""Rerankers: models that look at a query and one picture together, for the first few pictures of a ranking."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError

from compodiff.errors import InputInvalid, ResourceUnavailable

_PAIRS_AT_ONCE = 8


class Reranker(Protocol):
    """Whatever scores pictures for a query."""

    def score(
        self, references: Sequence[Image.Image], text: str, pictures: Sequence[Image.Image]
    ) -> NDArray[np.floating[Any]]:
        """Return how well each picture answers the query, (n,), more for better.

        Args:
            references: what the query shows.
            text: what it says.
            pictures: the n pictures.
        """


@dataclass(frozen=True)
class Reranking:
    """A reranker and how many pictures of each query it looks at; `name` is its in tables."""

    reranker: Reranker
    top: int
    name: str = "reranked"


class CrossEncoderReranker:
    """A cross-encoder of sentence-transformers that reads pictures, such as Qwen3-VL-Reranker."""

    def __init__(self, folder: Path) -> None:
        """Load the model in `folder`, onto the GPU where there is one.

        Raises:
            ResourceUnavailable: it cannot be read.
            InputInvalid: it reads no pictures.
        """
        from sentence_transformers import CrossEncoder

        try:
            self._model: Any = CrossEncoder(
                str(folder),
                device="cuda" if torch.cuda.is_available() else "cpu",
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
        except (OSError, SafetensorError, ValueError, RuntimeError, ImportError, KeyError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ResourceUnavailable(f"the reranker {folder} could not be loaded: {reason}") from error
        if not self._model.supports("image"):
            raise InputInvalid(f"the reranker {folder} reads no pictures; take one such as Qwen3-VL-Reranker")

    def score(
        self, references: Sequence[Image.Image], text: str, pictures: Sequence[Image.Image]
    ) -> NDArray[np.floating[Any]]:
        """Score each picture beside the query; see `Reranker`."""
        query = {"image": [each.convert("RGB") for each in references], "text": text}
        pairs = [(query, {"image": picture.convert("RGB")}) for picture in pictures]
        scores: NDArray[np.floating[Any]] = self._model.predict(
            pairs, batch_size=_PAIRS_AT_ONCE, show_progress_bar=False
        )
        return scores
