"""What a disk, a table or a tar can hold besides good pictures: every odd entry, each with a name of its own."""

import io
import json
import os
import socket
import struct
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
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


def encoded(picture: Image.Image, format_: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format_, **options)
    return stream.getvalue()


def noise(seed: int = 0, size: tuple[int, int] = (24, 40)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def odd_contents() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of files that are cut, flipped, misnamed, of odd modes or with odd metadata."""
    yield from HEADS.items()
    generator = np.random.default_rng(1)
    for number, format_ in enumerate(FORMATS):
        whole = encoded(noise(number), format_)
        yield f"{format_}.HEIC", whole
        for share in (0.1, 0.5, 0.97):
            yield f"{format_} cut at {share}.jpg", whole[: int(share * len(whole))]
        for place in ("head", "body"):
            flipped = bytearray(whole)
            for at in generator.integers(4, 60 if place == "head" else len(whole), 6):
                flipped[at] ^= int(generator.integers(1, 256))
            yield f"{format_} flipped in its {place}.png", bytes(flipped)
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F", "LAB", "YCbCr"):
        yield f"mode {mode.replace(';', ' ')}.tif", encoded(Image.new(mode, (9, 9)), "TIFF")
    for edge in (14_000, 60_000, 2**31 - 1, 0):
        yield f"bomb of {edge}.png", with_header(edge)
    texts, exif = PngInfo(), Image.Exif()
    texts.add_text("workflow", "x" * 3_000_000, zip=True)
    exif[0x0112], exif[0x927C] = 77, b"x" * 60_000
    yield "long texts.png", encoded(noise(), "PNG", pnginfo=texts)
    yield "large profile.png", encoded(noise(), "PNG", icc_profile=np.random.default_rng(0).bytes(1_500_000))
    yield "odd orientation.jpg", encoded(noise(), "JPEG", exif=exif)
    yield "damaged exif.jpg", encoded(noise(), "JPEG", exif=exif).replace(b"MM\0*", b"MM\xff\xff")
    yield "animated.gif", encoded(noise(1), "GIF", save_all=True, append_images=[noise(2)])
    yield "one pixel.png", encoded(noise(1, (1, 1)), "PNG")
    yield "thin.png", encoded(noise(1, (1, 3000)), "PNG")


def with_header(edge: int) -> bytes:
    """A small PNG whose header says that it is `edge` x `edge`."""
    content = bytearray(encoded(Image.new("1", (8, 8)), "PNG"))
    content[16:24] = struct.pack(">II", edge, edge)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def write_odd_folder(root: Path) -> int:
    """Fill a folder with good pictures and every odd entry; return how many odd ones there are."""
    (root / "deep" / "/".join("d" * 40)).mkdir(parents=True)
    good = [
        *(root / f"good{number}.png" for number in range(3)),
        next((root / "deep").rglob("d" * 40), root) / "low.png",
    ]
    for number, path in enumerate(good):
        path.write_bytes(encoded(noise(50 + number), "PNG"))
    count = 0
    for number, name in enumerate(NAMES):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(encoded(noise(100 + number, (8, 8)), "PNG"))
        count += 1
    for encoding in (b"latin-\xe9.png", b"\xff\xfe.png", b"sjis-\x83\x5c.jpg"):
        Path(os.fsdecode(os.fsencode(root) + b"/" + encoding)).write_bytes(encoded(noise(), "PNG"))
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
        (root / name).write_bytes(encoded(noise(len(name)), "PNG"))
        os.utime(root / name, (seconds, seconds))
    return len(links) + 8


def _write_odd_sidecars(root: Path) -> int:
    os.mkfifo(root / "good0.txt")
    (root / "good1.txt").symlink_to("/dev/zero")
    (root / "good2.txt").write_bytes(b"\xff\xfe\0caption \x1b[31m" + b"x" * 50_000)
    (root / "UPPER.txt").mkdir()
    return 4


def write_odd_tables(folder: Path) -> list[Path]:
    """Tables for --columns over good0.png ... good2.png."""
    folder.mkdir()
    first = "path,stars\ngood0.png,1\n"
    texts = {
        "empty": b"",
        "only a head": b"path,stars\n",
        "mark": b"\xef\xbb\xbf" + first.encode(),
        "utf-16": first.encode("utf-16"),
        "latin-1": "path,n\ngood0.png,caf\xe9\n".encode("latin-1"),
        "nul": b"path,n\ngood0.png,\0\n",
        "beyond 64 bits": b"path,n\ngood0.png,99999999999999999999999\ngood1.png,1\n",
        "below 64 bits": b"path,n\ngood0.png,-99999999999999999999999\n",
        "unsigned": b"path,n\ngood0.png,18446744073709551615\n",
        "mixed": b"path,n\ngood0.png,99999999999999999999999\ngood1.png,x\ngood2.png,1.5\n",
        "1e400": b"path,n\ngood0.png,1e400\n",
        "nan keys": b"path,n\n,1\n,2\ngood0.png,3\n",
        "twice": b"path,n\ngood0.png,1\ngood0.png,2\n",
        "columns twice": b"path,n,n\ngood0.png,1,2\n",
        "case": b"path,Width,HEIGHT\ngood0.png,1,2\n",
        "cases": b"path,n,N\ngood0.png,1,2\n",
        "keys of other case": b"PATH,n\ngood0.png,1\n",
        "meets none": b"path,n\naway.png,1\n",
        "ragged": b"path,n\ngood0.png,1,2,3\n",
        "one column": b"path\ngood0.png\n",
        "no key": b"a,b\n1,2\n",
        "quote": b'path,n\n"good0.png,1\n',
        "dates": b"path,n\ngood0.png,9999-99-99\n",
        "names": b'path,"a b","[x]","\x1b[31m",""\ngood0.png,1,2,3,4\n',
        "numbers as keys": b"path,n\n1,2\n",
        "html": b"<html>\n<p>,\n",
    }
    paths = []
    for name, content in texts.items():
        paths.append(folder / f"{name}.csv")
        paths[-1].write_bytes(content)
    keys = ["good0.png", "good1.png"]
    tables = {
        "decimals": pa.table({"path": keys, "n": pa.array([10**30, 1], pa.decimal128(38))}),
        "lists": pa.table({"path": keys, "n": [[1], [2, 3]]}),
        "structs": pa.table({"path": keys, "n": [{"a": 1}, {"a": 2}]}),
        "bytes": pa.table({"path": keys, "n": [b"\xff", b""]}),
        "far dates": pa.table({"path": keys, "n": pa.array([2**62, -(2**62)], pa.timestamp("us"))}),
        "unsigned": pa.table({"path": keys, "n": pa.array([2**64 - 1, 0], pa.uint64())}),
        "twice": pa.Table.from_arrays([pa.array(keys), pa.array([1, 2]), pa.array([1, 2])], names=["path", "n", "n"]),
        "nulls": pa.table({"path": pa.array([None, None], pa.string()), "n": pa.nulls(2)}),
        "dictionary": pa.table(
            {"path": pa.array(keys).dictionary_encode(), "n": pa.array(["a", "a"]).dictionary_encode()}
        ),
        "bytes as keys": pa.table({"path": [b"good0.png", b"\xff"], "n": [1, 2]}),
    }
    for name, table in tables.items():
        paths.append(folder / f"{name}.parquet")
        pq.write_table(table, paths[-1])
    whole = paths[-1].read_bytes()
    for name, content in (
        ("cut", whole[:-9]),
        ("no bytes", b""),
        ("text", b"path,n\n"),
        ("flipped", whole[:40] + b"\xff" * 9 + whole[49:]),
    ):
        paths.append(folder / f"{name}.parquet")
        paths[-1].write_bytes(content)
    pd.DataFrame({0: keys, 1: [1, 2]}).rename(columns={0: "path"}).to_csv(folder / "frame.csv")
    (folder / "folder.csv").mkdir()
    return [*paths, folder / "frame.csv", folder / "folder.csv", folder / "away.csv", folder / ("z" * 300)]


def odd_lines() -> dict[str, bytes]:
    """Contents of queries.jsonl."""
    asked = {"reference": "good0", "relative_caption": "x", "target": "good1"}
    changed: dict[str, dict[str, object]] = {
        "number as reference": {"reference": 10**30},
        "list as target": {"target": []},
        "no targets": {"targets": []},
        "targets of numbers": {"targets": [1]},
        "null": {"relative_caption": None},
        "itself": {"target": "good0"},
        "away": {"target": "nowhere"},
        "long": {"reference": "x" * 5000},
        "up": {"reference": "../../etc/passwd"},
        "nul": {"reference": "a\0b"},
        "half a pair": {"relative_caption": "\ud800"},
        "mask away": {"mask": "away.png"},
        "mask up": {"mask": "/dev/zero"},
        "odd ends": {"relative_caption": "a\u2028b\u0085c"},
        "braces": {"relative_caption": "{0} {x}"},
    }
    lines = {name: json.dumps(asked | change).encode() for name, change in changed.items()}
    good = json.dumps(asked).encode()
    return lines | {
        "empty": b"",
        "blank": b"\n\n \n",
        "mark": b"\xef\xbb\xbf" + good,
        "utf-16": good.decode().encode("utf-16"),
        "cut": good[:-5],
        "array": b"[" + good + b"]",
        "deep": b"[" * 99_999,
        "digits": b'{"a": ' + b"9" * 5000 + b"}",
        "nan": b"NaN",
        "nul": b"\0\0",
        "crlf": good + b"\r\n" + good.replace(b"good1", b"good2") + b"\r\n",
        "twice": good + b"\n" + good,
        "latin": b'{"a": "\xe9"}',
    }


def write_odd_tars(folder: Path) -> int:
    """Tars for imports and galleries."""
    folder.mkdir()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, kind in (("dev.png", tarfile.CHRTYPE), ("ln.png", tarfile.SYMTYPE), ("f.png", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
        for name in ("../up.png", "/root.png", "a" * 300 + ".png", "k.json", "k.reference.png", "new\nline.png"):
            content = b"[]" if name == "k.json" else b"no picture"
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    whole = stream.getvalue()
    huge = bytearray(whole)
    huge[124:136] = b"77777777777\0"
    contents = {
        "members": whole,
        "cut": whole[:1500],
        "no bytes": b"",
        "zeros": bytes(10240),
        "text": b"no tar" * 99,
        "size": bytes(huge),
    }
    contents["gzip"] = b"\x1f\x8b\x08" + bytes(50)
    for name, content in contents.items():
        (folder / f"{name}.tar").write_bytes(content)
    os.mkfifo(folder / "pipe.tar")
    (folder / "folder.tar").mkdir()
    return len(contents) + 2
