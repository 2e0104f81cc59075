"""What photographs say of themselves, as cameras and programs write it."""

import io
import os
from datetime import datetime
from pathlib import Path

import pytest
from factories import draw_noise, encode_picture
from PIL import Image, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

from compodiff.images.facts import PhotoFacts
from compodiff.images.metadata_blocks import read_facts, read_sidecar
from compodiff.images.xmp import parse_xmp

XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" xmp:Rating="4"
 photoshop:City="Lyon" photoshop:Country="France" exif:DateTimeOriginal="2019-07-14T21:05:00.5+02:00"
 exif:GPSLatitude="45,45.3N" exif:GPSLongitude="4,50.4E">
<dc:subject><rdf:Bag><rdf:li>fireworks</rdf:li><rdf:li>night</rdf:li></rdf:Bag></dc:subject>
<dc:title><rdf:Alt><rdf:li xml:lang="fr">Feu</rdf:li>
<rdf:li xml:lang="x-default">Fireworks</rdf:li></rdf:Alt></dc:title>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""
OF_XMP = PhotoFacts(
    taken=datetime(2019, 7, 14, 21, 5),
    zone="+02:00",
    latitude=45.755,
    longitude=4.84,
    place="Lyon, France",
    rating=4,
    keywords="fireworks; night",
    title="Fireworks",
)
OF_EXIF = PhotoFacts(
    taken=datetime(2023, 5, 6, 7, 8, 9),
    zone="-03:30",
    camera="Google Pixel 7",
    lens="Pixel 7 back camera 6.81mm f/1.85",
    latitude=-33.8568,
    longitude=151.2153,
    rating=5,
    keywords="opera; sea",
    title="Sydney",
    description="a white roof",
)


def make_exif(**more: object) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x010E], exif[0x4746] = "Google", "Pixel 7", "a white roof", 5
    exif[0x9C9B], exif[0x9C9E] = "Sydney\0".encode("utf-16-le"), "opera;sea\0".encode("utf-16-le")
    own, gps = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
    own[0x9003], own[0x9011], own[0xA434] = more.get("taken", "2023:05:06 07:08:09"), "-03:30", OF_EXIF.lens
    gps.update({1: "S", 2: (33.0, 51.0, 24.48), 3: "E", 4: (151.0, 12.0, 55.08)})
    return exif


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "HEIF"])
def test_exif_of_every_kind_that_has_it_is_read(tmp_path, format_):
    if format_ == "HEIF":
        heif = pytest.importorskip("pillow_heif").from_pillow(draw_noise(1, 64, 64))
        heif.save(tmp_path / "a", exif=make_exif().tobytes())
    elif format_ == "TIFF":  # whose writer leaves out what Image.Exif has below its first level
        exif, tags = make_exif(), TiffImagePlugin.ImageFileDirectory_v2()
        for number, value in (*exif.items(), (0x8769, exif.get_ifd(0x8769)), (0x8825, exif.get_ifd(0x8825))):
            tags[number] = value
        _write(tmp_path / "a", encode_picture(draw_noise(1, 64, 64), format_, tiffinfo=tags))
    else:
        _write(tmp_path / "a", encode_picture(draw_noise(1, 64, 64), format_, exif=make_exif()))
    assert read_facts(tmp_path / "a") == OF_EXIF


@pytest.mark.parametrize("format_", ["JPEG", "WEBP", "AVIF", "TIFF", "PNG", "sidecar"])
def test_xmp_is_read_in_a_picture_and_beside_it(tmp_path, format_):
    if format_ == "sidecar":
        assert read_sidecar(_write(tmp_path / "a.xmp", XMP.encode())) == OF_XMP
        return
    more: dict[str, object] = {"xmp": XMP.encode()}
    if format_ == "PNG":
        texts = PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", XMP)
        more = {"pnginfo": texts}
    elif format_ == "TIFF":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[700] = XMP.encode()
        more = {"tiffinfo": tags}
    picture = encode_picture(draw_noise(1, 64, 64), format_, **more)
    assert read_facts(_write(tmp_path / "a", picture)) == OF_XMP


def test_iptc_of_an_agency_is_read(tmp_path):
    fields = {5: "Harbour", 25: "boat", 55: "20010203", 60: "040506+0100", 90: "Oslo", 101: "Norway", 120: "Two boats"}
    records = b"".join(
        b"\x1c\x02%c" % number + len(text).to_bytes(2, "big") + text.encode()
        for number, text in [*fields.items(), (25, "fjord")]
    )
    block = b"8BIM\x04\x04\0\0" + len(records).to_bytes(4, "big") + records + b"\0" * (len(records) % 2)
    segment = b"Photoshop 3.0\0" + block
    jpeg = encode_picture(draw_noise(), "JPEG")
    content = jpeg[:2] + b"\xff\xed" + (len(segment) + 2).to_bytes(2, "big") + segment + jpeg[2:]
    facts = read_facts(_write(tmp_path / "a.jpg", content))
    assert (facts.taken, facts.zone, facts.place) == (datetime(2001, 2, 3, 4, 5, 6), "+01:00", "Oslo, Norway")
    assert (facts.title, facts.keywords, facts.description) == ("Harbour", "boat; fjord", "Two boats")


@pytest.mark.parametrize("magic", [b"II*\0", b"IIRO", b"IIU\0"])
def test_a_raw_file_says_what_its_camera_wrote(tmp_path, magic):
    """Olympus and Panasonic begin TIFF's headers by letters of their own."""
    stream = io.BytesIO()
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x010F], tags[0x0110] = "NIKON CORPORATION", "NIKON D850"
    if magic == b"II*\0":
        tags[50706] = b"\1\4\0\0"
    draw_noise().save(stream, "TIFF", tiffinfo=tags)
    facts = read_facts(_write(tmp_path / "a", magic + stream.getvalue()[4:]))
    assert facts.camera == "NIKON D850"


@pytest.mark.parametrize(
    "taken", ["0000:00:00 00:00:00", "    :  :     :  :  ", "", "2023:13:45 00:00:00", "yesterday"]
)
def test_a_clock_that_was_never_set_says_nothing(tmp_path, taken):
    facts = read_facts(_write(tmp_path / "a", encode_picture(draw_noise(), "JPEG", exif=make_exif(taken=taken))))
    assert (facts.taken, facts.zone, facts.camera) == (None, None, "Google Pixel 7")


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\xff\xfe\0",
        b"<x:xmpmeta/>",
        XMP.encode()[:700],
        b'<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><a>&d;</a>',
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        b"<a>" * 5000,
    ],
)
def test_xmp_that_is_none_or_would_harm_says_nothing(packet):
    assert parse_xmp(packet) == {}


@pytest.mark.timeout(20)
def test_damaged_blocks_and_files_that_are_none_say_nothing(tmp_path):
    whole = encode_picture(draw_noise(1, 64, 64), "JPEG", exif=make_exif(), xmp=XMP.encode())
    damaged = read_facts(_write(tmp_path / "a", whole.replace(b"Exif\0\0MM\0*", b"Exif\0\0MM\xff\xff")))
    assert damaged == OF_XMP  # the other block counts
    for length in range(0, len(whole), 97):
        read_facts(_write(tmp_path / "cut", whole[:length]))
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "away", ".", "x" * 300, "a\0b"):
        assert read_facts(tmp_path / name) == read_sidecar(tmp_path / name) == PhotoFacts()
