"""What a person may ask, and the same checked and looked up.

Shapes: D embedding width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from compodiff.dials import DIALS
from compodiff.errors import InputInvalid
from compodiff.images.looks import Looks
from compodiff.index.index import Rows
from compodiff.model.sampling.query import SamplerOptions
from compodiff.sets.blank import is_blank

Mode = Literal["composed", "image", "text"]
ReferencePart = Image.Image | Tensor | NDArray[np.float32] | str


@dataclass(frozen=True)
class Blend:
    """Several references as one: the weighted mean of their embeddings.

    Attributes:
        parts: pictures, preprocessed pixels (3, H, W), ids of pictures of the index, or embeddings (D,).
        weights: one a part; only their ratios count.
    """

    parts: tuple[ReferencePart, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.parts) != len(self.weights) or not self.parts:
            raise InputInvalid(f"{len(self.parts)} references and {len(self.weights)} weights; give one weight each")
        total = sum(self.weights)
        if not np.isfinite(total) or min(self.weights) < 0 or total <= 0:
            raise InputInvalid(f"the weights of the references are {self.weights}; none below 0, and not all of them 0")


Reference = ReferencePart | Blend | None


class SearchDials(TypedDict, total=False):
    """What a search may say besides; what it does not say is the model's own.

    Attributes:
        w_image, w_text: how much the reference and the text count.
        num_inference_steps, draws, seed: network calls, answers that are averaged, and the seed of the noise.
        reference_mixing: share of the reference that is mixed into the answer.
        mode: "composed", or "image" or "text": by that embedding alone, without the model.
        w_names: how much names that hold the words count, in a search by words alone.
        subtract, subtract_weight: a text whose direction is taken off the answer, and how much of it.
        exclude, more, less: ids of pictures that are not to be found, and that the answer moves towards or away from.
        where: a condition on the pictures' metadata, as in SQL: "folder = 'summer' and width > 800"; the columns are
            `searcher.filters.columns`.
    """

    w_image: float
    w_text: float
    num_inference_steps: int
    draws: int
    reference_mixing: float
    seed: int
    mode: Mode
    w_names: float
    subtract: str
    subtract_weight: float
    exclude: tuple[str, ...]
    more: tuple[str, ...]
    less: tuple[str, ...]
    where: str


@dataclass(frozen=True)
class Query:
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
        w_names: how much the words that are written of a picture count in a query by words alone; 0 for not at all.
        subtract: a text whose direction is taken off the answer, by `subtract_weight` of the answer's length.
        exclude: ids of pictures that must not be among the results; a reference that is an id never is.
        more, less: ids of pictures of the index; the answer is moved towards and away from them.
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
    w_names: float = field(default=1.0, kw_only=True)
    subtract: str = field(default="", kw_only=True)
    subtract_weight: float = field(default=0.5, kw_only=True)
    exclude: tuple[str, ...] = field(default=(), kw_only=True)
    more: tuple[str, ...] = field(default=(), kw_only=True)
    less: tuple[str, ...] = field(default=(), kw_only=True)
    where: str = field(default="", kw_only=True)

    @property
    def has_text(self) -> bool:
        """Whether it says anything that can be seen; a negative text alone is said against the empty text."""
        return not (is_blank(self.relative_caption) and is_blank(self.negative_text))

    @property
    def goes_by_names(self) -> bool:
        """Whether what is written of the pictures counts.

        Beside a reference words say a change, and names that hold them are no answer; the modes go by one embedding.
        """
        return self.is_words_alone and self.w_names > 0

    @property
    def is_words_alone(self) -> bool:
        """Whether the model is asked by a relative caption without a reference."""
        return self.reference is None and not is_blank(self.relative_caption) and self.mode == "composed"

    def require(self) -> None:
        """Check what needs no model.

        Raises:
            InputInvalid: it lacks what its mode goes by, has a mask without a reference, or a number is out of range.
        """
        if self.reference is None and not self.has_text:
            raise InputInvalid("a query has neither a reference nor a text; give at least one")
        if self.mode == "image" and self.reference is None:
            raise InputInvalid("the mode image uses the reference alone; give a reference")
        if self.mode == "text" and is_blank(self.relative_caption):
            raise InputInvalid("the mode text uses the relative caption alone; give a text")
        for name, dial in DIALS.items():
            dial.require(getattr(self, name))


@dataclass(frozen=True)
class PreparedQuery:
    """A query checked and looked up: made by `Composer.prepare`, and by `Searcher.prepare` for an index.

    Attributes:
        asked: the query, its pictures as pixels (3, H, W), its ids as embeddings (D,), its mask as cells (64, 64).
        options: how it is sampled.
        looks: one entry a part of the reference: how it looks, where it was handed in as a picture.
        exclude: ids of pictures that must not be found.
        allowed: rows of the index that may be; None for all.
        original: the query as it came.
        shift: (D,) what is added to the unit vectors of the answer; None for nothing.
    """

    asked: Query
    options: SamplerOptions
    looks: tuple[Looks | None, ...] = field(default=(), repr=False)
    exclude: tuple[str, ...] = ()
    allowed: Rows | None = field(default=None, repr=False)
    shift: NDArray[np.float32] | None = field(default=None, repr=False)
    original: Query | None = field(default=None, repr=False)


def join_parts(parts: Sequence[ReferencePart], weights: Sequence[float] = ()) -> Reference:
    """Return parts as one reference: None for none, one as it is, several as their mean, equal without weights.

    Raises:
        InputInvalid: the weights are not one for each part, below 0, not finite, or all 0; also where one part has one.
    """
    if not parts and not weights:
        return None
    blend = Blend(tuple(parts), tuple(weights or [1.0] * len(parts)))
    return blend if len(parts) > 1 else parts[0]


def list_parts(reference: Reference) -> tuple[ReferencePart, ...]:
    """Return the parts of a reference, in their order."""
    if reference is None:
        return ()
    return reference.parts if isinstance(reference, Blend) else (reference,)


def find_mode(name: str) -> Mode:
    """Return the mode of that name.

    Raises:
        InputInvalid: there is none.
    """
    modes: tuple[Mode, ...] = get_args(Mode)
    for mode in modes:
        if mode == name:
            return mode
    raise InputInvalid(f"mode is {name!r}; take one of {', '.join(modes)}")
