"""Emoji at any size: drawn anew from the SVG of a pinned package that a picture of the gallery was rendered from."""

import io
from functools import lru_cache
from pathlib import Path

from PIL import Image

from compodiff.benchmarks.datasets.pictures import strip_suffix
from compodiff.bundled import read_description
from compodiff.catalogue.drawing import STYLES, draw
from compodiff.catalogue.relations import make_picture_id
from compodiff.errors import CompoDiffError
from compodiff.images.decoding import read_size
from compodiff.serving.demonstration import make_file_name


def draw_sharp(picture_id: str, content: bytes, edge: int) -> Image.Image | None:
    """Return an emoji drawn `edge` pixels wide.

    Args:
        picture_id: its id in the index.
        content: the bytes of its picture; they must be those that the SVG is rendered to, or it is no emoji of ours.
        edge: pixels; an emoji of as many is not drawn anew.
    """
    svg = _list_drawings().get(strip_suffix(picture_id))
    if svg is None:
        return None
    own, _ = read_size(content)
    if own >= edge or draw(svg, own).png != content:
        return None
    return Image.open(io.BytesIO(draw(svg, edge).png))


@lru_cache(1)
def _list_drawings() -> dict[str, Path]:
    """Map ids of the default gallery, and names of the demonstration's pictures, to drawings; none without packages."""
    try:
        drawings = {
            make_picture_id(style.key, codepoints): svg
            for style in STYLES
            for codepoints, svg in style.list_drawings().items()
        }
    except CompoDiffError:
        return {}
    said = read_description()
    named = {} if said is None else said["demo"]["pictures"]
    shown = {make_file_name(name): drawings[each] for each, name in named.items() if each in drawings}
    return drawings | shown
