import io
import json
import os
import socket
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

from compodiff.errors import InputInvalid
from compodiff.images import (
    PictureTable,
    decode,
    list_pictures,
    read_full_size,
    read_picture,
    tabulate,
)
from compodiff.images.files import name_others, read_regular
from compodiff.images.kinds import AVIF, HEIF, RAW, KindNotRead, detect_kind


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


@pytest.mark.parametrize("format_", ["BMP", "TIFF", "JPEG2000", "AVIF", "PPM"])
def test_what_pillow_opens_is_opened_whatever_its_name(format_, tmp_path):
    (tmp_path / "photo.HEIC").write_bytes(_bytes(_halves(), format_))
    picture = read_picture(tmp_path / "photo.HEIC").convert("RGB")
    assert picture.size == (16, 8)
    np.testing.assert_allclose(picture.getpixel((2, 4)), (255, 0, 0), atol=12)


@pytest.mark.parametrize("format_", ["EPS", "PDF", "ICO"])
def test_other_formats_are_not_even_tried(format_):
    with pytest.raises(InputInvalid, match="not a JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF or JPEG 2000 picture"):
        decode(_bytes(_halves(), format_))


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
        decode(_bytes(_halves(), "TIFF", tiffinfo=tags))


@pytest.mark.skipif(not HEIF.is_read, reason="without the extra `photos`")
def test_a_phone_s_heic_is_read():
    import pillow_heif

    content = io.BytesIO()
    pillow_heif.from_pillow(_halves().resize((64, 32))).save(content)
    picture = decode(content.getvalue())
    assert picture.size == (64, 32)
    assert picture.getpixel((10, 10))[0] > 200


@pytest.mark.skipif(HEIF.is_read, reason="with the extra `photos`")
def test_a_phone_s_heic_names_the_extra_that_reads_it():
    with pytest.raises(KindNotRead, match=r"is HEIC, which is read after: pip install 'compodiff\[photos\]'"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))


def _with_header(width: int, height: int) -> bytes:
    """A PNG of 8 x 8 whose header says otherwise."""
    content = bytearray(_bytes(Image.new("1", (8, 8)), "PNG"))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize("edge", [14_000, 60_000])
def test_a_bomb_is_refused_before_it_is_unpacked(edge):
    with pytest.raises(InputInvalid, match=f"has {edge:,} x {edge:,} pixels; 178,956,970 may be used"):
        decode(_with_header(edge, edge))


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
    picture = decode(_bytes(_halves().resize((200, 100), Image.Resampling.NEAREST), format_, **options), most)
    assert (picture.size, read_full_size(picture)) == (size, (200, 100))
    np.testing.assert_allclose(picture.getpixel((1, 3)), (255, 0, 0), atol=12)
    np.testing.assert_allclose(picture.getpixel((size[0] - 2, 3)), (0, 0, 255), atol=12)


def test_the_size_of_a_picture_taken_sideways_is_that_of_the_upright_one():
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = decode(_bytes(_halves().resize((200, 100)), "JPEG", exif=exif), 5000)
    assert (picture.size, read_full_size(picture)) == ((50, 100), (100, 200))


@pytest.mark.parametrize("options", [{"progressive": True}, {}])
def test_a_jpeg_that_would_be_held_whole_is_refused_like_any_other(options):
    """A progressive JPEG is held whole at any scale."""
    content = _bytes(_halves().resize((200, 100)), "JPEG", **options)
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
    content = _bytes(_halves(), "PNG", pnginfo=texts, icc_profile=profile)
    assert decode(content).tobytes() == _halves().tobytes()


def test_a_png_of_a_phone_is_turned_and_one_with_a_colour_that_is_clear_keeps_it():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(_bytes(_halves(), "PNG", exif=exif)).size == (8, 16)
    assert decode(_bytes(_halves(), "PNG", transparency=(255, 0, 0))).getpixel((0, 0))[3] == 0


def test_metadata_that_cannot_be_read_say_nothing():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = _bytes(_halves(), "JPEG", exif=exif).replace(b"MM\x00*", b"MM\x00?")
    assert decode(content).size == (16, 8)


@pytest.mark.parametrize(("top", "bits"), [(1.0, 255), (255.0, 255), (65_535.0, 255), (1e9, 255)])
def test_grey_in_floats_keeps_its_range(top, bits):
    grey = Image.fromarray(np.array([[0, top / 2, top, np.nan]], dtype=np.float32))
    assert np.asarray(decode(_bytes(grey, "TIFF")))[0, :, 0].tolist() == [0, bits // 2, bits, 0]


def test_a_file_that_is_not_there_or_no_picture_is_named(tmp_path):
    with pytest.raises(InputInvalid, match=r"away\.png: No such file"):
        read_picture(tmp_path / "away.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(InputInvalid, match=r"text\.png: not a JPEG"):
        read_picture(tmp_path / "text.png")


def test_a_folder_is_listed_in_order_without_what_is_hidden(tmp_path):
    names = ("b/2.JPG", "b/1.png", "a.webp", "notes.txt", ".thumbs/3.png", ".hidden.png", "b/c/4.jpeg", "d.jfif")
    for name in (*names, "$RECYCLE.BIN/5.png", "Thumbs.db", "film.mov", "e.HEIC"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listing = list_pictures(tmp_path)
    listed = [path.relative_to(tmp_path).as_posix() for path in listing.files]
    assert listed == ["a.webp", "d.jfif", "e.HEIC", "b/1.png", "b/2.JPG", "b/c/4.jpeg"]
    assert (listing.left_out, listing.others) == ({}, {".mov": 1})
    assert name_others(Counter({".mov": 2, ".nef": 9, "": 1})) == (
        "12 files of other kinds left out: 9 .nef (pip install 'compodiff[photos]'), 2 .mov, 1 without a suffix"
    )


@pytest.mark.timeout(20)
def test_what_is_no_file_is_named_and_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "nothing.gif").symlink_to("away.gif")
    (tmp_path / "round.webp").symlink_to("round.webp")
    (tmp_path / "folder.bmp").mkdir()
    (tmp_path / "above").symlink_to(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "talk.tiff"))
    (tmp_path / "linked.png").symlink_to(tmp_path / "real.png")
    (tmp_path / "real.png").touch()
    listing = list_pictures(tmp_path)
    assert [path.name for path in listing.files] == ["linked.png", "real.png"]
    assert listing.left_out == {
        "above/": "is a link to a folder, which is not followed",
        "nothing.gif": "is a link to nothing",
        "pipe.jpg": "is a pipe, not a file",
        "round.webp": "is a link to nothing",
        "talk.tiff": "is a socket, not a file",
        "zero.png": "is a device, not a file",
    }
    for name in ("pipe.jpg", "zero.png", "talk.tiff", "folder.bmp", "x" * 300, "a\0b"):
        with pytest.raises(InputInvalid):
            read_regular(tmp_path / name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what others may not read, and become another")
def test_folders_and_files_that_may_not_be_read_are_left_out_by_name(tmp_path):
    """As another user meets them: lost+found, another's folder."""
    for name in ("lost+found", "open"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (2, 2)).save(tmp_path / name / "a.png")
    (tmp_path / "open" / "secret.png").write_bytes((tmp_path / "open" / "a.png").read_bytes())
    (tmp_path / "lost+found").chmod(0o700)
    (tmp_path / "open" / "secret.png").chmod(0o600)
    tmp_path.chmod(0o755)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.chdir(tmp_path)  # the folders above are pytest's, for root alone
        os.setuid(65534)
        listing = list_pictures(Path("."))
        refused = []
        for path in listing.files:
            try:
                read_regular(path)
            except InputInvalid as error:
                refused.append([path.name, str(error)])
        os.write(writer, json.dumps([listing.left_out, refused]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    left_out, refused = json.loads(os.read(reader, 65536))
    assert left_out == {"lost+found/": "cannot be read: Permission denied"}
    assert refused == [["secret.png", "Permission denied"]]


def test_a_file_of_more_bytes_than_a_picture_has_is_not_read(tmp_path):
    with (tmp_path / "endless.png").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputInvalid, match=r"has 1,099,511,627,776 bytes; a picture has at most"):
        read_regular(tmp_path / "endless.png")


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_what_is_no_folder_is_refused(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(InputInvalid, match=f"cannot read the folder .*{name}"):
        list(list_pictures(tmp_path / name).files)


def test_pictures_are_read_from_within_files_and_missed_by_name(tmp_path):
    red, blue = (_bytes(Image.new("RGB", (4, 4), colour), "PNG") for colour in ("red", "blue"))
    packed = tmp_path / "packed.tar"
    packed.write_bytes(red + blue)
    table = tabulate(tmp_path, {"red": (packed, 0, len(red)), "blue": (packed, len(red), len(blue))})
    pictures = PictureTable(tmp_path, table)
    assert pictures.read("blue").getpixel((0, 0)) == (0, 0, 255)
    assert pictures.find_path("red") == packed
    packed.write_bytes(red)
    with pytest.raises(InputInvalid, match=r"blue in .*packed\.tar: is an empty file"):
        pictures.read("blue")
    packed.unlink()
    with pytest.raises(InputInvalid, match=r"red is no longer at .*; build the index again"):
        pictures.read("red")
