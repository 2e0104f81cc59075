"""XMP: what programs write of a photograph, into its file or into one beside it. The only user of defusedxml."""

from collections.abc import Mapping, Sequence
from typing import Any

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_PREFIXES = {
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/exif/1.0/aux/": "aux",
    "http://cipa.jp/exif/1.0/": "exifEX",
    "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/": "Iptc4xmpCore",
}
LARGEST_XMP = 2**22  # bytes of one

Properties = Mapping[str, Sequence[str]]  # "dc:subject" -> its texts, the one in the default language first


def parse_xmp(packet: bytes) -> Properties:
    """Return the properties of known names; none of what is no XMP, is too large or would unpack to more than it is."""
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    if not packet or len(packet) > LARGEST_XMP:
        return {}
    try:
        tree = fromstring(packet.strip(b"\0 \r\n\t"))
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return {}
    found: dict[str, Sequence[str]] = {}
    for description in tree.iter(f"{_RDF}Description"):
        texts = {name: [value] for name, value in description.attrib.items()}
        texts |= {child.tag: _list_texts(child) for child in description}
        for name, values in texts.items():
            prefix, known = _split_name(name), [value.strip() for value in values if value.strip()]
            if prefix and known:
                found.setdefault(prefix, known)
    return found


def _list_texts(element: Any) -> list[str]:
    items = [(item.get(_LANGUAGE) != "x-default", item.text or "") for item in element.iter(f"{_RDF}li")]
    return [text for _, text in sorted(items, key=lambda item: item[0])] if items else [element.text or ""]


def _split_name(name: str) -> str:
    """Return "dc:subject" for the name of a property, "" for one of a namespace that nothing is read of."""
    space, _, own = name.removeprefix("{").partition("}")
    return f"{_PREFIXES[space]}:{own}" if space in _PREFIXES else ""
