"""From caption pairs to pictures: the interface that every generator implements."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class CaptionPair:
    """What a triplet says, before there are pictures.

    Attributes:
        key: unique in the dataset, without dots; a generator that draws derives its seed from it.
        split: train or validation.
        reference: name of the picture for `reference_caption`: a picture_id, or a new name where it is to be drawn.
        target: name of the picture for `target_caption`.
        reference_caption: what the reference shows.
        target_caption: what the target shows.
        relative_caption: how the target differs.
        relation: what kind of change this is.
        keyword: the term that came in; the keyword-image filter looks for it in the target.
    """

    key: str
    split: str
    reference: str
    target: str
    reference_caption: str
    target_caption: str
    relative_caption: str
    relation: str
    keyword: str


@dataclass(frozen=True)
class PicturePair:
    """One candidate: both pictures for a caption pair, under a key of its own.

    A generator that makes several candidates of a caption pair gives each a key and picture names of its own.

    Attributes:
        captions: what the pictures show.
        reference, target: the pictures, RGB.
        mask: (64, 64) True where they differ, if the generator knows.
        rejected_by: why the pair must not be kept, whatever the filters say ("unsafe"); "" where nothing is wrong.
    """

    captions: CaptionPair
    reference: Image.Image
    target: Image.Image
    mask: NDArray[np.bool_] | None = None
    rejected_by: str = ""


class PictureGenerator(Protocol):
    """Makes pictures for caption pairs."""

    def generate(self, pairs: Sequence[CaptionPair]) -> Iterator[PicturePair]:
        """Yield the candidates of `pairs`, in their order, one by one: equal pairs give equal pictures.

        The caller holds a batch of candidates at a time, so a shard of any size fits the memory. How many pairs are
        drawn at once is the generator's affair.
        """
