"""What a person may ask: a reference, or several, and what is to be different.

Shapes: D embedding width.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from compodiff.errors import InputInvalid

Mode = Literal["composed", "image", "text"]
Part = Image.Image | Tensor | NDArray[np.float32] | str


@dataclass(frozen=True)
class Blend:
    """Several references as one: the weighted mean of their embeddings.

    Attributes:
        parts: pictures, preprocessed pixels (3, H, W), ids of pictures of the index, or embeddings (D,).
        weights: one a part; only their ratios count.
    """

    parts: tuple[Part, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.parts) != len(self.weights) or not self.parts:
            raise InputInvalid(f"{len(self.parts)} references and {len(self.weights)} weights; give one weight each")
        total = sum(self.weights)
        if not np.isfinite(total) or min(self.weights) < 0 or total <= 0:
            raise InputInvalid(f"the weights of the references are {self.weights}; none below 0, and not all of them 0")


Reference = Part | Blend | None


@dataclass(frozen=True)
class ComposedQuery:
    """A reference and what is to be different; at least one of reference and text.

    Attributes:
        reference: a picture, the same preprocessed as pixels (3, H, W), the id of a picture of the index, an embedding
            (D,) such as the answer to another query, several of these, or None for a query by text alone.
        relative_caption: what to change; "" for pictures like the reference.
        negative_text: what the answer should not be like.
        mask: white where the reference is to be replaced, of the reference's shape; or its cells, (64, 64) bool. An
            embedding that is masked is one of the reference with its masked region blanked.
        w_image, w_text, num_inference_steps, draws, reference_mixing: this query's own dials; None is the model's.
        seed: of the noise; None is the model's.
        k: how many pictures to return.
        mode: "image" and "text" leave the model out: the nearest to the reference's, or to the text's, own embedding.
        subtract: a text whose direction is taken off the answer, by `subtract_weight` of the answer's length.
        exclude: ids of pictures that must not be among the results; a reference that is an id never is.
        where: a condition on the pictures' metadata, as in SQL (index/filters.py); "" for all pictures.
    """

    reference: Reference = None
    relative_caption: str = ""
    negative_text: str = ""
    mask: Image.Image | NDArray[np.bool_] | None = None
    w_image: float | None = None
    w_text: float | None = None
    num_inference_steps: int | None = None
    draws: int | None = None
    reference_mixing: float | None = None
    seed: int | None = None
    k: int = 10
    mode: Mode = "composed"
    subtract: str = field(default="", kw_only=True)
    subtract_weight: float = field(default=0.5, kw_only=True)
    exclude: tuple[str, ...] = field(default=(), kw_only=True)
    where: str = field(default="", kw_only=True)

    @property
    def has_text(self) -> bool:
        """Whether it says anything; a negative text alone is said against the empty text."""
        return bool(self.relative_caption or self.negative_text)

    def require(self) -> None:
        """Check what needs no model.

        Raises:
            InputInvalid: it lacks what its mode goes by, has a mask without a reference, or a number is out of range.
        """
        if self.reference is None and not self.has_text:
            raise InputInvalid("a query has neither a reference nor a text; give at least one")
        if self.mode == "image" and self.reference is None:
            raise InputInvalid("the mode image goes by the reference alone; give one")
        if self.mode == "text" and not self.relative_caption:
            raise InputInvalid("the mode text goes by the relative caption alone; give one")
        if self.k < 1:
            raise InputInvalid(f"k is {self.k}; ask for at least one picture")
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise InputInvalid(f"a seed is {self.seed}; take 0 to 2^63 - 1")
        if not 0 <= self.subtract_weight <= 1:
            raise InputInvalid(f"subtract_weight is {self.subtract_weight}; take a number from 0 to 1")
