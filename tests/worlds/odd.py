"""What a disk can hold besides good pictures: every odd entry, each with a name of its own."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from factories import draw_noise, encode_bomb, encode_picture
from PIL import Image
from PIL.PngImagePlugin import PngInfo

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF", "PPM")
NAMES = (
    "new\nline.png",
    "tab\t.png",
    "bell\a.png",
    "red \x1b[31m.png",
    "[draft] cat.png",
    "[/one].png",
    "[bold].png",
    "a:dog:b.png",
    'quo"te.png',
    "it's.png",
    "back\\slash.png",
    "--help.png",
    "-rf.png",
    " lead.png",
    "trail .png",
    "%s%n.png",
    "{0}.png",
    "{relative_caption}.png",
    "$(id).png",
    "`id`.png",
    ";.png",
    "*.png",
    "?.png",
    "~.png",
    "#.png",
    "&amp;<b>.png",
    "caf\u00e9.png",
    "cafe\u0301.png",
    "\u202egnp.png",
    "line\u2028sep.png",
    "next\x85.png",
    "\ufeff.png",
    "👩‍🍳.png",
    "a..png",
    "UPPER.PNG",
    "con.png",
    "two.jpg.png",
    "x" * 251 + ".png",
    "\x7f.png",
    "a,b.png",
    "NaN.png",
)
HEADS = {
    "html.jpg": b"<!DOCTYPE html><html>404</html>",
    "empty.jpg": b"",
    "one byte.png": b"\x89",
    "zeros.png": bytes(5000),
    "zip.jpg": b"PK\x03\x04" + bytes(100),
    "pdf.png": b"%PDF-1.4\n",
    "eps.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n",
    "film.jpg": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(99),
    "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99),
    "camera.cr2": b"II*\0\x10\0\0\0CR\2\0" + bytes(99),
    "fuji.raf": b"FUJIFILMCCD-RAW 0201" + bytes(99),
    "pointer.jpg": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    "drawing.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "only a head.gif": b"GIF89a",
    "riff.webp": b"RIFF\xff\xff\xff\xffWEBPVP8 ",
    "no entries.tif": b"II*\0\x08\0\0\0\0\0",
    "endless.tif": b"II*\0\x08\0\0\0\1\0\0\1\3\0\1\0\0\0\1\0\0\0\x08\0\0\0",
    "no size.bmp": b"BM" + bytes(60),
    "no pixels.ppm": b"P6\n99999999 99999999\n255\n",
    "Thumbs.db": b"\xd0\xcf\x11\xe0",
    "._cat.jpg": b"\0\5\x16\7",
    "cat.jpg.xmp": b"<x:xmpmeta/>",
    "cat.AAE": b"<plist/>",
    "$RECYCLE.BIN/gone.png": b"x",
    "@eaDir/thumb.jpg": b"x",
}


def odd_contents() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of files that are cut, flipped, misnamed, of odd modes or with odd metadata."""
    yield from HEADS.items()
    generator = np.random.default_rng(1)
    for number, format_ in enumerate(FORMATS):
        whole = encode_picture(draw_noise(number), format_)
        yield f"{format_}.HEIC", whole
        for share in (0.1, 0.5, 0.97):
            yield f"{format_} cut at {share}.jpg", whole[: int(share * len(whole))]
        for place in ("head", "body"):
            flipped = bytearray(whole)
            for at in generator.integers(4, 60 if place == "head" else len(whole), 6):
                flipped[at] ^= int(generator.integers(1, 256))
            yield f"{format_} flipped in its {place}.png", bytes(flipped)
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F", "LAB", "YCbCr"):
        yield f"mode {mode.replace(';', ' ')}.tif", encode_picture(Image.new(mode, (9, 9)), "TIFF")
    for edge in (14_000, 60_000, 2**31 - 1, 0):
        yield f"bomb of {edge}.png", encode_bomb(edge)
    texts, exif = PngInfo(), Image.Exif()
    texts.add_text("workflow", "x" * 3_000_000, zip=True)
    exif[0x0112], exif[0x927C] = 77, b"x" * 60_000
    yield "long texts.png", encode_picture(draw_noise(), pnginfo=texts)
    yield (
        "large profile.png",
        encode_picture(draw_noise(), icc_profile=np.random.default_rng(0).bytes(1_500_000)),
    )
    yield "odd orientation.jpg", encode_picture(draw_noise(), "JPEG", exif=exif)
    yield "damaged exif.jpg", encode_picture(draw_noise(), "JPEG", exif=exif).replace(b"MM\0*", b"MM\xff\xff")
    yield "animated.gif", encode_picture(draw_noise(1), "GIF", save_all=True, append_images=[draw_noise(2)])
    yield "one pixel.png", encode_picture(draw_noise(1, 1, 1))
    yield "thin.png", encode_picture(draw_noise(1, 3000, 1))


def write_odd_folder(root: Path) -> int:
    """Fill a folder with good pictures and every odd entry; return how many odd ones there are."""
    (root / "deep" / "/".join("d" * 40)).mkdir(parents=True)
    good = [
        *(root / f"good{number}.png" for number in range(3)),
        next((root / "deep").rglob("d" * 40), root) / "low.png",
    ]
    for number, path in enumerate(good):
        path.write_bytes(encode_picture(draw_noise(50 + number)))
    count = 0
    for number, name in enumerate(NAMES):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(encode_picture(draw_noise(100 + number, 8, 8)))
        count += 1
    for encoding in (b"latin-\xe9.png", b"\xff\xfe.png", b"sjis-\x83\x5c.jpg"):
        Path(os.fsdecode(os.fsencode(root) + b"/" + encoding)).write_bytes(encode_picture(draw_noise()))
        count += 1
    for name, content in odd_contents():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
        count += 1
    return count + _write_no_files(root) + _write_odd_sidecars(root)


def _write_no_files(root: Path) -> int:
    links = {
        "zero.png": "/dev/zero",
        "null.jpg": "/dev/null",
        "full.gif": "/dev/full",
        "tty.png": "/dev/tty",
        "memory.png": "/proc/self/mem",
        "kernel.jpg": "/proc/kmsg",
        "maps.png": "/proc/self/maps",
        "nothing.png": "away",
        "round.png": "round.png",
        "ping.png": "pong.png",
        "pong.png": "ping.png",
        "above.png": "..",
        "here": ".",
        "twin.png": "good0.png",
        "long link.png": "y" * 200,
        "below a file.png": "good0.png/x",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    os.mkfifo(root / "pipe.jpg")
    os.mkfifo(root / "pipe.tar")
    (root / "a folder.png").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(root)  # a socket's path has 108 bytes
        server.bind("talk.png")
        os.chdir(here)
    with (root / "sparse.png").open("wb") as file:
        file.truncate(2**41)
    for name, seconds in (("of 2100.png", 2**32), ("of 1900.png", -(2**31)), ("of 2400.png", 13_600_000_000)):
        (root / name).write_bytes(encode_picture(draw_noise(len(name))))
        os.utime(root / name, (seconds, seconds))
    return len(links) + 8


def _write_odd_sidecars(root: Path) -> int:
    os.mkfifo(root / "good0.txt")
    (root / "good1.txt").symlink_to("/dev/zero")
    (root / "good2.txt").write_bytes(b"\xff\xfe\0caption \x1b[31m" + b"x" * 50_000)
    (root / "UPPER.txt").mkdir()
    return 4
