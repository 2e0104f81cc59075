import io
import zlib

import numpy as np
import pytest
from PIL import Image

from compodiff.errors import InputInvalid
from compodiff.images import Pictures, decode, loose_pictures, read_picture, tabulate


def _bytes(picture: Image.Image, format_: str, **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format_, **options)
    return stream.getvalue()


def _halves(mode: str = "RGB") -> Image.Image:
    """16 x 8, the left half red, the right half blue."""
    picture = Image.new("RGB", (16, 8), "red")
    picture.paste("blue", (8, 0, 16, 8))
    return picture.convert(mode)


@pytest.mark.parametrize(
    ("format_", "mode"),
    [("PNG", "RGB"), ("PNG", "P"), ("PNG", "RGBA"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("WEBP", "RGB"), ("GIF", "P")],
)
def test_every_format_and_mode_keeps_its_colours(format_, mode):
    picture = decode(_bytes(_halves(mode), format_, **({"quality": 100} if format_ != "GIF" else {})))
    assert picture.mode == ("RGBA" if mode == "RGBA" else "RGB")
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    np.testing.assert_allclose(pixels[4, 2], (255, 0, 0), atol=12)
    np.testing.assert_allclose(pixels[4, 13], (0, 0, 255), atol=12)


def test_sixteen_bits_of_grey_are_scaled_not_clipped():
    grey = Image.fromarray(np.array([[0, 0x8000, 0xFFFF]], dtype=np.uint16))
    assert np.asarray(decode(_bytes(grey, "PNG")))[0, :, 0].tolist() == [0, 0x80, 0xFF]


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_kept_for_the_encoder_to_put_on_white(mode):
    picture = decode(_bytes(Image.new(mode, (4, 4), 0), "PNG"))
    assert picture.mode == "RGBA"
    assert picture.getpixel((0, 0)) == (0, 0, 0, 0)


def test_a_palette_with_a_transparent_colour_is_kept():
    picture = decode(_bytes(_halves("P"), "PNG", transparency=_halves("P").getpixel((0, 0))))
    assert picture.getpixel((0, 0))[3] == 0
    assert picture.getpixel((15, 0))[3] == 255


def test_a_picture_taken_sideways_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned by a quarter: its top is at the right
    upright = decode(_bytes(_halves(), "JPEG", exif=exif, quality=95))
    assert upright.size == (8, 16)
    assert upright.getpixel((4, 1))[0] > 200  # the left half, red, is now on top


@pytest.mark.parametrize("format_", ["GIF", "WEBP"])
def test_the_first_frame_of_an_animation_is_taken(format_):
    content = _bytes(Image.new("RGB", (8, 8), "red"), format_, save_all=True, append_images=[Image.new("RGB", (8, 8))])
    assert decode(content).convert("RGB").getpixel((4, 4))[0] > 240


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.7])
def test_bytes_cut_short_are_an_error_of_one_line(format_, kept):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    content = _bytes(noise, format_)
    with pytest.raises(InputInvalid) as raised:
        decode(content[: int(kept * len(content))])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"hello, I am a text", b"GIF89a", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(content):
    with pytest.raises(InputInvalid):
        decode(content)


def test_other_formats_are_not_even_tried():
    with pytest.raises(InputInvalid, match="not a JPEG, PNG, WebP or GIF picture"):
        decode(_bytes(_halves(), "BMP"))


@pytest.mark.parametrize("edge", [11_000, 60_000])
def test_a_bomb_is_refused_before_it_is_unpacked(edge):
    content = bytearray(_bytes(Image.new("1", (8, 8)), "PNG"))
    content[16:24] = edge.to_bytes(4, "big") * 2  # the header's width and height
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    with pytest.raises(InputInvalid, match="has more than 89,478,485 pixels"):
        decode(bytes(content))


def test_a_file_that_is_not_there_or_no_picture_is_named(tmp_path):
    with pytest.raises(InputInvalid, match=r"away\.png: No such file"):
        read_picture(tmp_path / "away.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(InputInvalid, match=r"text\.png: not a JPEG"):
        read_picture(tmp_path / "text.png")


def test_a_folder_is_listed_in_order_without_what_is_hidden(tmp_path):
    for name in ("b/2.JPG", "b/1.png", "a.webp", "notes.txt", ".thumbs/3.png", ".hidden.png", "b/c/4.jpeg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listed = [path.relative_to(tmp_path).as_posix() for path in loose_pictures(tmp_path)]
    assert listed == ["a.webp", "b/1.png", "b/2.JPG", "b/c/4.jpeg"]


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_what_is_no_folder_is_refused(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(InputInvalid, match=f"cannot read the folder .*{name}"):
        list(loose_pictures(tmp_path / name))


def test_pictures_are_read_from_within_files_and_missed_by_name(tmp_path):
    red, blue = (_bytes(Image.new("RGB", (4, 4), colour), "PNG") for colour in ("red", "blue"))
    packed = tmp_path / "packed.tar"
    packed.write_bytes(red + blue)
    table = tabulate(tmp_path, {"red": (packed, 0, len(red)), "blue": (packed, len(red), len(blue))})
    pictures = Pictures(tmp_path, table)
    assert pictures.read("blue").getpixel((0, 0)) == (0, 0, 255)
    assert pictures.path("red") == packed
    packed.write_bytes(red)
    with pytest.raises(InputInvalid, match=r"blue in .*packed\.tar: not a JPEG"):
        pictures.read("blue")
    packed.unlink()
    with pytest.raises(InputInvalid, match=r"red is no longer at .*; build the index again"):
        pictures.read("red")
