"""Scenes of the catalogue's pictures: up to four objects, one to a quarter of the canvas, on a plain or shaded ground.

No two objects overlap, so a scene is drawn in any order, an edit leaves every pixel of the other objects as it was, and
the mask of the edited region is exact.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from compodiff.images.mask_cells import MASK_SIZE

CANVAS = 160  # pixels, as the catalogue's pictures
SMALLEST, QUARTER = 56, CANVAS // 2
PLACES = {
    "top left": (0, 0),
    "top right": (QUARTER, 0),
    "bottom left": (0, QUARTER),
    "bottom right": (QUARTER, QUARTER),
}
GROUNDS = {
    "white": (255, 255, 255),
    "pale yellow": (253, 246, 200),
    "pale green": (214, 240, 214),
    "pale blue": (210, 230, 250),
    "pink": (250, 215, 225),
    "lavender": (228, 218, 245),
    "beige": (240, 228, 210),
    "grey": (205, 208, 212),
    "turquoise": (180, 226, 222),
}


@dataclass(frozen=True, order=True)
class PlacedObject:
    """An object of a scene.

    Attributes:
        place: a key of PLACES.
        picture: of the catalogue.
        size: edge it is drawn with, pixels.
        right, down: pixels between it and the corner of its quarter.
    """

    place: str
    picture: str
    size: int
    right: int
    down: int

    @property
    def corner(self) -> tuple[int, int]:
        """Its upper left corner on the canvas, pixels."""
        left, top = PLACES[self.place]
        return left + self.right, top + self.down


@dataclass(frozen=True)
class Scene:
    """Objects, no two at one place, on a ground that runs from one colour at the top to another at the bottom."""

    top: str
    bottom: str
    objects: tuple[PlacedObject, ...]

    @property
    def name(self) -> str:
        """Equal scenes have equal names, and only they."""
        content = repr((self.top, self.bottom, sorted(self.objects)))
        return f"scene-{hashlib.blake2b(content.encode(), digest_size=8).hexdigest()}"

    @property
    def free(self) -> list[str]:
        """The places where nothing is."""
        taken = {each.place for each in self.objects}
        return [place for place in PLACES if place not in taken]


def place_object(picture: str, place: str, generator: Generator) -> PlacedObject:
    """Put a picture somewhere into a quarter of the canvas, at a drawn size."""
    size = int(generator.integers(SMALLEST, QUARTER + 1))
    right, down = (int(shift) for shift in generator.integers(0, QUARTER - size + 1, 2))
    return PlacedObject(place, picture, size, right, down)


def draw_ground(generator: Generator) -> tuple[str, str]:
    """Draw the two colours of a ground; half of all grounds are plain."""
    top, bottom = (str(colour) for colour in generator.choice(list(GROUNDS), 2, replace=False))
    return (top, top) if generator.random() < 0.5 else (top, bottom)


class Painter:
    """Draws scenes; keeps the sprites it drew last."""

    def __init__(self, read: Callable[[str], Image.Image]) -> None:
        """Paint with what `read` returns: picture_id -> RGBA picture."""
        self._picture = lru_cache(maxsize=256)(read)
        self._sprite = lru_cache(maxsize=256)(self._resize)

    def paint_picture(self, scene: Scene) -> Image.Image:
        """Return the scene, RGB, CANVAS x CANVAS."""
        canvas = Image.frombytes("RGBA", (CANVAS, CANVAS), _compute_shades(scene.top, scene.bottom))
        for each in scene.objects:
            canvas.alpha_composite(self._sprite(each.picture, each.size), each.corner)
        return canvas.convert("RGB")

    def paint_mask(self, before: Scene, after: Scene) -> NDArray[np.bool_]:
        """Paint where objects come, go or change: (MASK_SIZE, MASK_SIZE), True for every cell with a pixel of one.

        A pixel belongs to the cell that `embeddings.masking.blank_masked` blanks it with.
        """
        edited = np.zeros((CANVAS, CANVAS), np.bool_)
        for each in set(before.objects) ^ set(after.objects):
            left, top = each.corner
            alpha = np.asarray(self._sprite(each.picture, each.size).getchannel("A"))
            edited[top : top + each.size, left : left + each.size] |= alpha > 0
        rows, columns = (places * MASK_SIZE // CANVAS for places in np.nonzero(edited))
        mask = np.zeros((MASK_SIZE, MASK_SIZE), np.bool_)
        mask[rows, columns] = True
        return mask

    def _resize(self, picture: str, size: int) -> Image.Image:
        return self._picture(picture).resize((size, size), Image.Resampling.BICUBIC)


@lru_cache(maxsize=len(GROUNDS) ** 2)
def _compute_shades(top: str, bottom: str) -> bytes:
    share = np.linspace(0, 1, CANVAS)[:, None]
    column = (1 - share) * np.array(GROUNDS[top]) + share * np.array(GROUNDS[bottom])
    pixels = np.broadcast_to(column[:, None].round().astype(np.uint8), (CANVAS, CANVAS, 3))
    return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGBA").tobytes()
