"""The edits themselves: functions of a picture and of how strongly it is edited. All pictures are RGB and square."""

from collections.abc import Callable
from dataclasses import dataclass

from numpy.random import Generator
from PIL import Image, ImageChops, ImageFilter, ImageOps

from compodiff.scenes.exact.captions import (
    BACK,
    BLUR,
    BRIGHTEN,
    CLOSER,
    DARKEN,
    FARTHER,
    GREY,
    GROUND,
    MIRROR,
    NEGATIVE,
    TINT,
    TURN_LEFT,
    TURN_RIGHT,
    UPSIDE_DOWN,
)
from compodiff.scenes.objects import draw_one

Rgb = tuple[int, int, int]
COLOURS: dict[str, Rgb] = {
    "red": (220, 40, 40),
    "orange": (240, 140, 30),
    "yellow": (235, 210, 50),
    "green": (40, 170, 70),
    "turquoise": (50, 190, 190),
    "blue": (50, 90, 220),
    "purple": (150, 60, 200),
    "pink": (245, 130, 180),
}
GROUNDS: dict[str, Rgb] = COLOURS | {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "grey": (140, 140, 140),
    "brown": (125, 80, 45),
}
_MARGINS: tuple[Rgb, ...] = ((255, 255, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128))
_TINTS = 3  # ways in which a picture is tinted
WAYS = len(_MARGINS) * _TINTS  # what `ExactEdit.way` is drawn from


@dataclass(frozen=True)
class ExactEdit:
    """One edit of a whole picture.

    Attributes:
        relation: a key of BACK.
        strength: from 0, hardly, to 1, very; of no effect where an edit has no degrees.
        colour: of a tint, or of the ground that comes.
        way: how a picture is tinted, and what is around one that is seen from farther away.
    """

    relation: str
    strength: float = 0.5
    colour: str = ""
    way: int = 0

    @property
    def name(self) -> str:
        """What tells it from the other edits of a picture: one of each relation, tint and ground."""
        return f"{self.relation} {self.colour}".strip().replace(" ", "-")


def draw_edits(most: int, ground: str | None, generator: Generator) -> list[ExactEdit]:
    """Draw up to `most` edits, each of another relation.

    Args:
        most: fewer where there are no more relations.
        ground: colour of the picture's ground, None where its ground cannot be changed.
        generator: draws.
    """
    relations = [relation for relation in BACK if relation != GROUND or ground is not None]
    chosen = [relations[place] for place in generator.permutation(len(relations))[:most]]
    return [_draw_edit(relation, ground, generator) for relation in chosen]


def _draw_edit(relation: str, ground: str | None, generator: Generator) -> ExactEdit:
    colours = {TINT: list(COLOURS), GROUND: [name for name in GROUNDS if name != ground]}.get(relation, [""])
    strength, way = float(generator.random()), int(generator.integers(WAYS))
    return ExactEdit(relation, strength, draw_one(colours, generator), way)


def edit_picture(picture: Image.Image, edit: ExactEdit) -> Image.Image:
    """Return the edited picture, of the same size; its ground is changed by whoever knows it."""
    return _EDITS[edit.relation](picture, edit)


def _tint(picture: Image.Image, edit: ExactEdit) -> Image.Image:
    """Colour the shades of grey, multiply as a filter of glass does, or lay a veil over the picture."""
    colour, grey = COLOURS[edit.colour], ImageOps.grayscale(picture)
    flat = Image.new("RGB", picture.size, colour)
    way = edit.way % _TINTS
    if way == 0:
        shades = ImageOps.colorize(grey, (0, 0, 0), (255, 255, 255), mid=colour)
        return Image.blend(picture, shades, 0.6 + 0.4 * edit.strength)
    if way == 1:
        return Image.blend(picture, ImageChops.multiply(picture, flat), 0.7 + 0.3 * edit.strength)
    return Image.blend(picture, flat, 0.35 + 0.25 * edit.strength)


def _blur(picture: Image.Image, edit: ExactEdit) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(picture.width * (0.012 + 0.016 * edit.strength)))


def _darken(picture: Image.Image, edit: ExactEdit) -> Image.Image:
    return picture.point(lambda value: int(value * (0.65 - 0.4 * edit.strength)))


def _brighten(picture: Image.Image, edit: ExactEdit) -> Image.Image:
    """Scale up, which clips what is bright, or lay white over it."""
    if edit.way % 2:
        return picture.point(lambda value: min(255, int(value * (1.35 + 0.6 * edit.strength))))
    return Image.blend(picture, Image.new("RGB", picture.size, "white"), 0.3 + 0.3 * edit.strength)


def _come_closer(picture: Image.Image, edit: ExactEdit) -> Image.Image:
    edge = round(picture.width * (0.12 + 0.16 * edit.strength))
    middle = (edge, edge, picture.width - edge, picture.height - edge)
    return picture.resize(picture.size, Image.Resampling.BICUBIC, box=middle)


def _go_farther(picture: Image.Image, edit: ExactEdit) -> Image.Image:
    size = round(picture.width * (0.75 - 0.3 * edit.strength))
    around = Image.new("RGB", picture.size, _MARGINS[edit.way % len(_MARGINS)])
    corner = (picture.width - size) // 2
    around.paste(picture.resize((size, size), Image.Resampling.BICUBIC), (corner, corner))
    return around


_EDITS: dict[str, Callable[[Image.Image, ExactEdit], Image.Image]] = {
    MIRROR: lambda picture, _: ImageOps.mirror(picture),
    UPSIDE_DOWN: lambda picture, _: picture.transpose(Image.Transpose.ROTATE_180),
    TURN_LEFT: lambda picture, _: picture.transpose(Image.Transpose.ROTATE_90),
    TURN_RIGHT: lambda picture, _: picture.transpose(Image.Transpose.ROTATE_270),
    GREY: lambda picture, _: ImageOps.grayscale(picture).convert("RGB"),
    NEGATIVE: lambda picture, _: ImageOps.invert(picture),
    TINT: _tint,
    BLUR: _blur,
    DARKEN: _darken,
    BRIGHTEN: _brighten,
    CLOSER: _come_closer,
    FARTHER: _go_farther,
}
