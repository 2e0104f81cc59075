"""Every room reads a person's pictures as search does: upright, 16 bits scaled, CMYK as colours, clear as white."""

import ast
import io
from pathlib import Path

import numpy as np
import pytest
from factories import draw_halves, encode_picture, turn_sideways
from PIL import Image

import compodiff
from compodiff.benchmarks.datasets.pictures import FilePictures, GalleryFolder
from compodiff.catalogue.packing import decode_picture
from compodiff.cleaning import survey
from compodiff.images import decode
from compodiff.images.decoding import paint_on_white, read_size
from compodiff.inspection import drawing
from compodiff.sets import PAIRS, Place, PlaceReader, SetDescription, TrainingSet

# Pictures that this program has made itself, as PNG in 8 bits: read without looking for more.
OF_OUR_OWN = {"catalogue/drawing.py", "catalogue/packing.py", "serving/emoji_drawings.py"}


CLEAR = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
CLEAR.paste((0, 128, 0, 255), (8, 8, 24, 24))
KINDS = {
    "turned": encode_picture(draw_halves(64, 32), "JPEG", exif=turn_sideways(), quality=95),
    "16 bits": encode_picture(Image.fromarray(np.linspace(0, 65535, 1024).astype(np.uint16).reshape(32, 32))),
    "CMYK": encode_picture(Image.new("CMYK", (32, 32), (200, 20, 40, 10)), "JPEG"),
    "clear": encode_picture(CLEAR),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_room_sees_what_search_sees(kind, tmp_path):
    content, suffix = KINDS[kind], "png" if KINDS[kind].startswith(b"\x89PNG") else "jpg"
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    seen = decode(content)
    flat = np.asarray(paint_on_white(seen))
    for room in (
        FilePictures(lambda _: [path]).read("a"),
        GalleryFolder.scan(tmp_path).read("a"),
        drawing._read(Place("a", path.name).to_row(), PlaceReader(str(tmp_path))),
    ):
        assert (room.mode, room.size) == (seen.mode, seen.size)
        np.testing.assert_array_equal(np.asarray(room), np.asarray(seen))
    surveyor = survey.Surveyor(str(tmp_path), tmp_path / "facts", tmp_path, None, 1)
    surveyor.__dict__["_set"] = TrainingSet(str(tmp_path), SetDescription(PAIRS, "", "", (), "", {}))
    np.testing.assert_array_equal(np.asarray(surveyor._read(Place("a", path.name))), flat)


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_in_a_header_is_that_of_the_picture(kind):
    assert read_size(KINDS[kind][:1000]) == decode(KINDS[kind]).size


def test_a_turned_picture_stands_upright_and_16_bits_are_not_white():
    turned = np.asarray(decode(KINDS["turned"]))
    assert turned.shape == (64, 32, 3)
    assert turned[8, 16, 0] > 200 > turned[56, 16, 0]
    assert 100 < np.asarray(decode(KINDS["16 bits"])).mean() < 155


def test_pictures_are_opened_in_one_room_and_where_they_are_our_own():
    source = Path(compodiff.__file__).parent
    opening = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open"
    }
    assert {path for path in opening if not path.startswith("images/")} == OF_OUR_OWN


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_the_fast_way_to_read_our_own_pictures_has_the_same_result(mode):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, len(mode)), dtype=np.uint8)
    content = encode_picture(Image.fromarray(pixels.squeeze()))
    seen = decode(content)
    np.testing.assert_array_equal(np.asarray(decode_picture(content, "a")), np.asarray(seen.convert("RGBA")))
    with Image.open(io.BytesIO(content)) as picture:
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), np.asarray(seen.convert("RGB")))
        np.testing.assert_array_equal(np.asarray(picture.convert("L")), np.asarray(seen.convert("L")))
