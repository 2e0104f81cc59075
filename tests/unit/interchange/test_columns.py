"""Which column of a set has which role, and what a cell with a picture may be."""

import base64

import pytest

from compodiff.errors import InputInvalid
from compodiff.interchange.records import find_roles
from compodiff.interchange.tables import _read_content


def test_a_chosen_column_that_is_not_there_and_an_unknown_role_are_named() -> None:
    with pytest.raises(InputInvalid, match="'picture' is no role of a column; choose from: "):
        find_roles(["a"], {"picture": "a"}, "S")
    with pytest.raises(InputInvalid, match="S has no column 'b'; it has: a"):
        find_roles(["a"], {"target_image": "b"}, "S")


def test_a_picture_is_bytes_a_struct_of_bytes_or_base64() -> None:
    for cell in (b"png", {"bytes": b"png", "path": "a.png"}, base64.b64encode(b"png").decode()):
        assert _read_content(cell, "row 1") == b"png"
    assert _read_content(None, "row 1") is None
    with pytest.raises(InputInvalid, match=r"row 1 is only a path \(a\.png\); export the set with its pictures inside"):
        _read_content({"bytes": None, "path": "a.png"}, "row 1")
    with pytest.raises(InputInvalid, match="row 1 is no picture but 'no picture'; name its column with --column"):
        _read_content("no picture", "row 1")
