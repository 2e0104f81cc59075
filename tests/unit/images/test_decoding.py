"""What the decoder makes of a picture of every format, mode and size."""

import io

import numpy as np
import pytest
from factories import draw_halves, draw_noise, encode_bomb, encode_picture, turn_sideways
from PIL import Image, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

from compodiff.errors import InputInvalid
from compodiff.images import decode, read_full_size, read_picture
from compodiff.images.kinds import AVIF, HEIF, RAW, KindNotRead, detect_kind


@pytest.mark.parametrize(
    ("format_", "mode"),
    [("PNG", "RGB"), ("PNG", "P"), ("PNG", "RGBA"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("WEBP", "RGB"), ("GIF", "P")],
)
def test_every_format_and_mode_keeps_its_colours(format_, mode):
    picture = decode(encode_picture(draw_halves(mode=mode), format_, **({"quality": 100} if format_ != "GIF" else {})))
    assert picture.mode == ("RGBA" if mode == "RGBA" else "RGB")
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    np.testing.assert_allclose(pixels[4, 2], (255, 0, 0), atol=12)
    np.testing.assert_allclose(pixels[4, 13], (0, 0, 255), atol=12)


def test_sixteen_bits_of_grey_are_scaled_not_clipped():
    grey = Image.fromarray(np.array([[0, 0x8000, 0xFFFF]], dtype=np.uint16))
    assert np.asarray(decode(encode_picture(grey)))[0, :, 0].tolist() == [0, 0x80, 0xFF]


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_kept_for_the_encoder_to_put_on_white(mode):
    picture = decode(encode_picture(Image.new(mode, (4, 4), 0)))
    assert picture.mode == "RGBA"
    assert picture.getpixel((0, 0)) == (0, 0, 0, 0)


def test_a_palette_with_a_transparent_colour_is_kept():
    picture = decode(encode_picture(draw_halves(mode="P"), transparency=draw_halves(mode="P").getpixel((0, 0))))
    assert picture.getpixel((0, 0))[3] == 0
    assert picture.getpixel((15, 0))[3] == 255


def test_a_picture_taken_sideways_is_turned_upright():
    upright = decode(encode_picture(draw_halves(), "JPEG", exif=turn_sideways(), quality=95))
    assert upright.size == (8, 16)
    assert upright.getpixel((4, 1))[0] > 200  # the left half, red, is now on top


@pytest.mark.parametrize("format_", ["GIF", "WEBP"])
def test_the_first_frame_of_an_animation_is_taken(format_):
    content = encode_picture("red", format_, save_all=True, append_images=[Image.new("RGB", (16, 16))])
    assert decode(content).convert("RGB").getpixel((4, 4))[0] > 240


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.7])
def test_bytes_cut_short_are_an_error_of_one_line(format_, kept):
    content = encode_picture(draw_noise(0, 64, 64), format_)
    with pytest.raises(InputInvalid) as raised:
        decode(content[: int(kept * len(content))])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"hello, I am a text", b"GIF89a", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(content):
    with pytest.raises(InputInvalid):
        decode(content)


@pytest.mark.parametrize("format_", ["BMP", "TIFF", "JPEG2000", "AVIF", "PPM", "ICO"])
def test_what_pillow_opens_is_opened_whatever_its_name(format_, tmp_path):
    (tmp_path / "photo.HEIC").write_bytes(encode_picture(draw_halves(), format_))
    picture = read_picture(tmp_path / "photo.HEIC").convert("RGB")
    assert picture.size == (16, 8)
    np.testing.assert_allclose(picture.getpixel((2, 4)), (255, 0, 0), atol=12)


@pytest.mark.parametrize("format_", ["EPS", "PDF", "PCX"])
def test_other_formats_are_not_even_tried(format_):
    with pytest.raises(InputInvalid, match="not a JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF or JPEG 2000 picture"):
        decode(encode_picture(draw_halves(), format_))


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        (HEIF, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        (HEIF, b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf"),
        (AVIF, b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf"),
        (RAW, b"\0\0\0\x18ftypcrx \0\0\0\0crx isom"),
        (RAW, b"FUJIFILMCCD-RAW 0201"),
        (None, b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom"),
        (None, b"RIFF\0\0\0\0WAVEfmt "),
        (None, b"<!DOCTYPE html>"),
        (None, b""),
    ],
)
def test_a_kind_is_told_by_the_first_bytes(kind, head):
    assert detect_kind(head) is kind


def test_a_camera_s_file_is_not_taken_for_the_thumbnail_that_it_begins_with():
    """As a NEF or DNG begins: a small copy, with the picture itself in a directory below."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254], tags[50706] = 1, b"\x01\x04\0\0"
    with pytest.raises(InputInvalid, match=r"is RAW, which is read after: pip install 'compodiff\[photos\]'|as RAW"):
        decode(encode_picture(draw_halves(), "TIFF", tiffinfo=tags))


@pytest.mark.skipif(not HEIF.is_read, reason="without the extra `photos`")
def test_a_phone_s_heic_is_read():
    import pillow_heif

    content = io.BytesIO()
    pillow_heif.from_pillow(draw_halves(64, 32)).save(content)
    picture = decode(content.getvalue())
    assert picture.size == (64, 32)
    assert picture.getpixel((10, 10))[0] > 200


@pytest.mark.skipif(HEIF.is_read, reason="with the extra `photos`")
def test_a_phone_s_heic_names_the_extra_that_reads_it():
    with pytest.raises(KindNotRead, match=r"is HEIC, which is read after: pip install 'compodiff\[photos\]'"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))


@pytest.mark.parametrize("edge", [14_000, 60_000])
def test_a_bomb_is_refused_before_it_is_unpacked(edge):
    with pytest.raises(InputInvalid, match=f"has {edge:,} x {edge:,} pixels; 178,956,970 may be used"):
        decode(encode_bomb(edge))


@pytest.mark.parametrize(
    ("format_", "options", "most", "size"),
    [
        ("JPEG", {}, 1600, (50, 25)),
        ("JPEG", {}, 170, (13, 7)),
        ("JPEG", {"progressive": True}, 10_000, (100, 50)),
        ("PNG", {}, 10_000, (100, 50)),
        ("TIFF", {}, 19_999, (100, 50)),
        ("PNG", {}, 20_000, (200, 100)),
    ],
)
def test_a_picture_of_too_many_pixels_comes_at_a_smaller_scale(format_, options, most, size):
    picture = decode(encode_picture(draw_halves(200, 100), format_, **options), most)
    assert (picture.size, read_full_size(picture)) == (size, (200, 100))
    np.testing.assert_allclose(picture.getpixel((1, 3)), (255, 0, 0), atol=12)
    np.testing.assert_allclose(picture.getpixel((size[0] - 2, 3)), (0, 0, 255), atol=12)


def test_the_size_of_a_picture_taken_sideways_is_that_of_the_upright_one():
    picture = decode(encode_picture(draw_halves(200, 100), "JPEG", exif=turn_sideways()), 5000)
    assert (picture.size, read_full_size(picture)) == ((50, 100), (100, 200))


@pytest.mark.parametrize("options", [{"progressive": True}, {}])
def test_a_jpeg_that_would_be_held_whole_is_refused_like_any_other(options):
    """A progressive JPEG is held whole at any scale."""
    content = encode_picture(draw_halves(200, 100), "JPEG", **options)
    if options:
        with pytest.raises(InputInvalid, match="has 200 x 100 pixels; 2,000 may be used"):
            decode(content, 1000)
    else:
        assert decode(content, 1000).size == (25, 13)


def test_texts_and_profiles_of_any_length_do_not_keep_a_picture_from_being_read():
    texts = PngInfo()
    texts.add_text("workflow", "x" * 3_000_000, zip=True)
    texts.add_itxt("prompt", "y" * 2_000_000)
    texts.add(b"tEXt", b"later\0" + b"z" * 2_000_000, after_idat=True)
    profile = np.random.default_rng(0).bytes(3_000_000)
    content = encode_picture(draw_halves(), pnginfo=texts, icc_profile=profile)
    assert decode(content).tobytes() == draw_halves().tobytes()


def test_a_png_of_a_phone_is_turned_and_one_with_a_colour_that_is_clear_keeps_it():
    assert decode(encode_picture(draw_halves(), exif=turn_sideways())).size == (8, 16)
    assert decode(encode_picture(draw_halves(), transparency=(255, 0, 0))).getpixel((0, 0))[3] == 0


def test_metadata_that_cannot_be_read_say_nothing():
    content = encode_picture(draw_halves(), "JPEG", exif=turn_sideways()).replace(b"MM\x00*", b"MM\x00?")
    assert decode(content).size == (16, 8)


@pytest.mark.parametrize(("top", "bits"), [(1.0, 255), (255.0, 255), (65_535.0, 255), (1e9, 255)])
def test_grey_in_floats_keeps_its_range(top, bits):
    grey = Image.fromarray(np.array([[0, top / 2, top, np.nan]], dtype=np.float32))
    assert np.asarray(decode(encode_picture(grey, "TIFF")))[0, :, 0].tolist() == [0, bits // 2, bits, 0]
