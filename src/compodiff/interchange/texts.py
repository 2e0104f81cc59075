"""What counts as a text in somebody's set: no truth value, no object, no NaN, no bytes that are not UTF-8."""

import re
from collections.abc import Mapping
from math import isnan
from typing import Any

from compodiff.interchange.faults import BAD_TEXT, Fault
from compodiff.sets.blank import is_blank

_UNDECODED = re.compile("[\udc80-\udcff]")


def read_text(value: Any) -> str | None:
    """Return a value as a text, None for a blank one.

    Raises:
        Fault: it is true or false, a list or an object, or bytes that are no text.
    """
    if isinstance(value, (bool, Mapping, list, tuple)):
        raise Fault(BAD_TEXT, f"has {str(value)[:60]} for a text; name the column of the texts: --column ROLE=NAME")
    try:
        text = "" if is_missing(value) else clean_text(value.decode() if isinstance(value, bytes) else value)
    except UnicodeDecodeError as error:
        raise Fault(BAD_TEXT, f"has {value[:40]!r} for a text, which is not UTF-8") from error
    return None if is_blank(text) else text


def clean_text(value: Any) -> str:
    """Return a value as text that UTF-8 can hold."""
    return str(value).encode("utf-8", "replace").decode().strip()


def is_missing(value: Any) -> bool:
    """Return whether there is no value; NaN is how pandas writes that."""
    return value is None or (isinstance(value, float) and isnan(value))


def has_undecoded(text: str) -> bool:
    """Return whether a text, read with errors="surrogateescape", has bytes that are not UTF-8."""
    return _UNDECODED.search(text) is not None
