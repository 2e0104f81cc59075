"""What is known of a photograph besides its pixels, out of the fields of EXIF, XMP and IPTC."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from PIL import Image

from compodiff.images.xmp import Properties

_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_MAKE, _MODEL, _DESCRIPTION, _WINDOWS_RATING = 0x010F, 0x0110, 0x010E, 0x4746
_WINDOWS_TITLE, _WINDOWS_KEYWORDS = 0x9C9B, 0x9C9E
_TAKEN, _SCANNED, _ZONE, _ZONE_OF_FILE, _LENS = 0x9003, 0x9004, 0x9011, 0x9010, 0xA434
_LONGEST, _MOST_KEYWORDS = 2_000, 200
_WRITTEN_BY_CAMERAS = re.compile(
    r"(?i)olympus digital camera|sony dsc|.*dcim[\\/].*|default|untitled|minolta.*|samsung.*"
)
_EXIF_TIME = re.compile(r"(\d{4})\D(\d\d)\D(\d\d)\D(\d\d)\D(\d\d)(?:\D(\d\d))?")
_XMP_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?(?:\.\d+)?\s*(Z|[+-]\d\d:?\d\d)?)?")
_IPTC_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)([+-]\d{4})?)?")
_ZONED = re.compile(r"([+-])(\d\d):?(\d\d)")


@dataclass(frozen=True)
class PhotoFacts:
    """What is known of a photograph; None for what nobody wrote.

    Attributes:
        taken: when, by the clock of the place.
        zone: of that clock, such as +02:00.
        camera: maker and model.
        lens: its name.
        latitude: degrees, north of the equator.
        longitude: degrees, east of Greenwich.
        place: names, the nearest first.
        rating: stars, 1 to 5; -1 for rejected.
        keywords: joined by "; ".
        title: a short text.
        description: a longer text.
    """

    taken: datetime | None = None
    zone: str | None = None
    camera: str | None = None
    lens: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    place: str | None = None
    rating: int | None = None
    keywords: str | None = None
    title: str | None = None
    description: str | None = None

    def complete(self, more: "PhotoFacts") -> "PhotoFacts":
        """Return them with what `more` knows and they do not; a zone and a longitude go with their own other half."""
        missing = {each.name for each in fields(self) if getattr(self, each.name) is None}
        if self.taken is not None:
            missing.discard("zone")
        return replace(self, **{name: getattr(more, name) for name in missing})


def sort_exif(exif: Image.Exif) -> PhotoFacts:
    """Sort the fields that cameras write."""
    own, gps = exif.get_ifd(_EXIF_IFD), exif.get_ifd(_GPS_IFD)
    taken = _parse_time(_EXIF_TIME, _text(own.get(_TAKEN)) or _text(own.get(_SCANNED)))
    zone = _text(own.get(_ZONE)) or _text(own.get(_ZONE_OF_FILE))
    latitude, longitude = _find_place(gps)
    keywords = [each.strip() for each in (_decode_windows(exif.get(_WINDOWS_KEYWORDS)) or "").split(";")]
    description = _text(exif.get(_DESCRIPTION))
    return PhotoFacts(
        taken=taken,
        zone=_format_zone(zone) if taken else None,
        camera=_name_camera(_text(exif.get(_MAKE)), _text(exif.get(_MODEL))),
        lens=_text(own.get(_LENS)),
        latitude=latitude,
        longitude=longitude,
        rating=_parse_rating(exif.get(_WINDOWS_RATING)),
        keywords=_join(keywords),
        title=_decode_windows(exif.get(_WINDOWS_TITLE)),
        description=None if description and _WRITTEN_BY_CAMERAS.fullmatch(description) else description,
    )


def sort_xmp(found: Properties) -> PhotoFacts:
    """Sort the properties that programs write; a person's own are among them."""

    def first(*names: str) -> str | None:
        return next((_text(found[name][0]) for name in names if name in found), None)

    when = first("exif:DateTimeOriginal", "photoshop:DateCreated", "xmp:CreateDate")
    taken = _parse_time(_XMP_TIME, when)
    coordinates = (_parse_degrees(first("exif:GPSLatitude")), _parse_degrees(first("exif:GPSLongitude")))
    latitude, longitude = _check_place(*coordinates)
    towns = ("Iptc4xmpCore:Location", "photoshop:City", "photoshop:State", "photoshop:Country")
    return PhotoFacts(
        taken=taken,
        zone=_format_zone(_XMP_TIME.match(when)[7]) if taken and when else None,  # type: ignore[index]
        camera=_name_camera(first("tiff:Make"), first("tiff:Model")),
        lens=first("exifEX:LensModel", "aux:Lens"),
        latitude=latitude,
        longitude=longitude,
        place=_join([name for town in towns if (name := first(town))], ", "),
        rating=_parse_rating(first("xmp:Rating")),
        keywords=_join(found.get("dc:subject", ())),
        title=first("dc:title", "photoshop:Headline"),
        description=first("dc:description"),
    )


def sort_iptc(found: Mapping[tuple[int, int], Any]) -> PhotoFacts:
    """Sort the fields that agencies write."""

    def texts(field: int) -> list[str]:
        values = found.get((2, field), [])
        return [text for each in (values if isinstance(values, list) else [values]) if (text := _text(each))]

    when = "".join((*texts(55)[:1], *texts(60)[:1]))
    taken = _parse_time(_IPTC_TIME, when)
    return PhotoFacts(
        taken=taken,
        zone=_format_zone(_IPTC_TIME.match(when)[7]) if taken else None,  # type: ignore[index]
        place=_join([town for field in (92, 90, 95, 101) for town in texts(field)[:1]], ", "),
        keywords=_join(texts(25)),
        title=next(iter(texts(5) or texts(105)), None),
        description=next(iter(texts(120)), None),
    )


def _name_camera(maker: str | None, model: str | None) -> str | None:
    """Return maker and model; many models begin with their maker."""
    if maker and model and not model.casefold().startswith(maker.casefold().split()[0]):
        return f"{maker} {model}"
    return model or maker


def _parse_time(form: "re.Pattern[str]", text: str | None) -> datetime | None:
    found = form.match(text or "")
    if not found:
        return None
    try:
        return datetime(*(int(part or 0) for part in found.groups()[:6]))  # type: ignore[arg-type]
    except ValueError:  # a clock that was never set: 0000:00:00
        return None


def _format_zone(text: str | None) -> str | None:
    if text == "Z":
        return "+00:00"
    found = _ZONED.fullmatch((text or "").strip())
    return f"{found[1]}{found[2]}:{found[3]}" if found else None


def _find_place(gps: Mapping[int, Any]) -> tuple[float | None, float | None]:
    found: list[float | None] = []
    for letter, number, negative in ((1, 2, "S"), (3, 4, "W")):
        parts = [float(part) for part in gps.get(number, ())]
        degrees = sum(part / 60**place for place, part in enumerate(parts)) if parts else None
        is_negative = (_text(gps.get(letter)) or "").upper().startswith(negative)
        found.append(-degrees if degrees is not None and is_negative else degrees)
    return _check_place(*found)


def _check_place(latitude: float | None, longitude: float | None) -> tuple[float | None, float | None]:
    """Return coordinates that can be, rounded to a metre; (0, 0) is what a camera without a signal writes."""
    if latitude is None or longitude is None or (latitude, longitude) == (0, 0):
        return None, None
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):  # NaN as well
        return None, None
    return round(latitude, 5), round(longitude, 5)


def _parse_degrees(text: str | None) -> float | None:
    """Read "48,51.4N" or "48,51,24N" of XMP."""
    parts = re.fullmatch(r"([\d.,]+)([NSEW])", text or "")
    if not parts:
        return None
    degrees = sum((float(part) / 60**place for place, part in enumerate(parts[1].split(","))), 0.0)
    return -degrees if parts[2] in "SW" else degrees


def _parse_rating(value: object) -> int | None:
    try:
        stars = round(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return stars if stars in (-1, 1, 2, 3, 4, 5) else None


def _text(value: object) -> str | None:
    if isinstance(value, tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, bytes):
        value = _decode_bytes(value)
    if not isinstance(value, str):
        return None
    text = value.partition("\0")[0].strip()[:_LONGEST]
    return text.encode("utf-8", "replace").decode() or None


def _decode_bytes(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _decode_windows(value: object) -> str | None:
    content = bytes(value) if isinstance(value, bytes | tuple) else b""
    return _text(content.decode("utf-16-le", "replace").partition("\0")[0])


def _join(texts: Sequence[object], by: str = "; ") -> str | None:
    known = [text for each in texts if (text := _text(each))]
    return by.join(dict.fromkeys(known[:_MOST_KEYWORDS])) or None
