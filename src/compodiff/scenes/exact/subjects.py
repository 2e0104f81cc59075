"""The pictures that are edited as a whole: of the catalogue, or of a folder of one's own.

Of the catalogue: an object on a plain ground, a scene, and a collage (collages.py), which stands for photographs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.random import Generator
from PIL import Image

from compodiff.catalogue.pictures import Catalogue
from compodiff.images import read_picture
from compodiff.images.decoding import paint_on_white
from compodiff.params import EditedPictures
from compodiff.scenes.captions import add_article, describe_scene
from compodiff.scenes.edits import draw_scene
from compodiff.scenes.exact.collages import draw_textures, paint_collage
from compodiff.scenes.exact.operations import GROUNDS
from compodiff.scenes.objects import ObjectStock, draw_one
from compodiff.scenes.scene import CANVAS, Painter

_SMALLEST = 90  # pixels of an object's edge
_SPRITES = 3  # at most, in a collage
_UNKNOWN = "a photograph"


@dataclass(frozen=True)
class Subject:
    """A picture that can be edited.

    Attributes:
        caption: what it shows.
        ground: the colour behind it, None where that cannot be changed.
        paint: colour of the ground, None for its own -> the picture, RGB, CANVAS x CANVAS.
    """

    caption: str
    ground: str | None
    paint: Callable[[str | None], Image.Image]


class Subjects(Protocol):
    """Pictures of one split, by number."""

    def count(self) -> int:
        """Return how many there are."""

    def draw(self, number: int, generator: Generator) -> Subject:
        """Return one; the same number and generator give the same picture."""


class CatalogueSubjects:
    """Objects, then scenes, then collages of one split of the catalogue."""

    def __init__(self, catalogue: Catalogue, split: str, counts: EditedPictures) -> None:
        """Take the split's objects.

        Raises:
            InputInvalid: the split has too few objects.
        """
        self._stock = ObjectStock(catalogue, split)
        self._painter, self._read, self._counts = Painter(catalogue.read), catalogue.read, counts

    def count(self) -> int:
        """Return how many pictures there are."""
        return self._counts.objects + self._counts.scenes + self._counts.collages

    def draw(self, number: int, generator: Generator) -> Subject:
        """Draw one."""
        if number < self._counts.objects:
            return self._draw_object(generator)
        if number < self._counts.objects + self._counts.scenes:
            return self._draw_scene(generator)
        return self._draw_collage(generator)

    def _draw_object(self, generator: Generator) -> Subject:
        """Draw an object; half of all grounds are white, as they are behind the catalogue's pictures."""
        picture = self._draw_picture(generator)
        ground = "white" if generator.random() < 0.5 else draw_one(list(GROUNDS), generator)
        size = int(generator.integers(_SMALLEST, CANVAS + 1))
        left, top = generator.integers(0, CANVAS - size + 1, 2).tolist()

        def paint(colour: str | None) -> Image.Image:
            canvas = Image.new("RGB", (CANVAS, CANVAS), GROUNDS[colour or ground])
            sprite = self._resize(picture, size)
            canvas.paste(sprite, (left, top), sprite)
            return canvas

        return Subject(f"{add_article(self._stock.names[picture])} on a {ground} background", ground, paint)

    def _draw_scene(self, generator: Generator) -> Subject:
        scene, _ = draw_scene(self._stock, generator)
        names = [self._stock.names[each.picture] for each in sorted(scene.objects)]
        caption = describe_scene(names, (scene.top, scene.bottom))
        return Subject(caption, None, lambda _: self._painter.paint_picture(scene))

    def _draw_collage(self, generator: Generator) -> Subject:
        count = int(generator.integers(0, _SPRITES + 1))
        pictures = [(self._draw_picture(generator), int(generator.integers(40, 130))) for _ in range(count)]
        seed = int(generator.integers(2**63))

        def paint(_: str | None) -> Image.Image:
            sprites = [self._resize(picture, size) for picture, size in pictures]
            return paint_collage(self._textures, sprites, np.random.default_rng(seed))

        return Subject("shapes of many colours", None, paint)

    def _draw_picture(self, generator: Generator) -> str:
        return self._stock.draw_another(self._stock.draw_style(generator), (), generator)

    def _resize(self, picture: str, size: int) -> Image.Image:
        return self._read(picture).resize((size, size), Image.Resampling.BICUBIC)

    @cached_property
    def _textures(self) -> "np.typing.NDArray[np.float32]":
        return draw_textures(np.random.default_rng(0))


class PhotographSubjects:
    """Pictures in files; the ground of one with transparency can be changed."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    def count(self) -> int:
        """Return how many pictures there are."""
        return len(self._files)

    def draw(self, number: int, generator: Generator) -> Subject:
        """Return one.

        Raises:
            InputInvalid: it does not decode.
        """
        picture = read_picture(self._files[number])
        square = picture.resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)
        if picture.mode != "RGBA":
            return Subject(_UNKNOWN, None, lambda _: square)

        def paint(colour: str | None) -> Image.Image:
            if colour is None:
                return paint_on_white(square)
            canvas = Image.new("RGBA", square.size, GROUNDS[colour])
            return Image.alpha_composite(canvas, square).convert("RGB")

        return Subject(_UNKNOWN, "white", paint)
