"""Every room reads a person's pictures as search does: upright, 16 bits scaled, CMYK as colours, clear as white."""

import ast
import io
from pathlib import Path

import numpy as np
import pytest
from factories import draw_halves, encode_picture, make_embedding_params, turn_sideways
from PIL import Image

import compodiff
from compodiff.benchmarks.datasets.pictures import FilePictures, GalleryFolder
from compodiff.catalogue.packing import decode_picture
from compodiff.embeddings import SetEmbeddings, embed_set
from compodiff.encoders import Encoder, save_encoder
from compodiff.images import decode
from compodiff.images.decoding import digest_pixels
from compodiff.sets import PAIRS, Place, finish_set, open_shard

# Pictures that this program has made itself, as PNG in 8 bits: read without looking for more.
OF_OUR_OWN = {"catalogue/drawing.py", "catalogue/packing.py"}


CLEAR = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
CLEAR.paste((0, 128, 0, 255), (8, 8, 24, 24))
KINDS = {
    "turned": encode_picture(draw_halves(64, 32), "JPEG", exif=turn_sideways(), quality=95),
    "16 bits": encode_picture(Image.fromarray(np.linspace(0, 65535, 1024).astype(np.uint16).reshape(32, 32))),
    "CMYK": encode_picture(Image.new("CMYK", (32, 32), (200, 20, 40, 10)), "JPEG"),
    "clear": encode_picture(CLEAR),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_room_sees_what_search_sees(kind, tiny_encoder: Encoder, tmp_path):
    content, suffix = KINDS[kind], "png" if KINDS[kind].startswith(b"\x89PNG") else "jpg"
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    seen = decode(content)
    for room in (
        FilePictures(lambda _: [path]).read("a"),
        GalleryFolder.scan(tmp_path).read("a"),
    ):
        assert (room.mode, room.size) == (seen.mode, seen.size)
        np.testing.assert_array_equal(np.asarray(room), np.asarray(seen))
    embedded = embed_as_set(tmp_path, path.name, tiny_encoder)
    assert bytes(embedded.open_array("digests")[0]) == digest_pixels(seen)
    expected = tiny_encoder.encode_images([seen]).half().numpy()
    np.testing.assert_allclose(embedded.images[:1], expected, atol=2e-3)


def embed_as_set(folder: Path, file: str, encoder: Encoder) -> SetEmbeddings:
    """Embed a set of one picture, which is in a file of its own."""
    with open_shard(folder, "train", 0, PAIRS) as shard:
        shard.add({"key": "a", "picture": Place("a", file), "texts": ["a picture"]})
    finish_set(folder, PAIRS, licence="", source="")
    save_encoder(encoder, folder / "encoder")
    embed_set(folder / "embeddings", folder, folder / "encoder", make_embedding_params())
    return SetEmbeddings.load(folder / "embeddings")


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
