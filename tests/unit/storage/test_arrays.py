import ast
import re
from pathlib import Path

import numpy as np
import pytest

from compodiff.errors import InputInvalid
from compodiff.storage.arrays import open_archive, open_array, read_archived_header, read_header

SOURCES = Path(__file__).parents[3] / "src" / "compodiff"
ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def array(tmp_path: Path) -> Path:
    np.save(tmp_path / "a.npy", ROWS)
    return tmp_path / "a.npy"


@pytest.mark.parametrize("mapped", [True, False])
def test_what_was_saved_is_read(array: Path, mapped: bool) -> None:
    assert np.array_equal(open_array(array, mapped=mapped), ROWS)
    assert isinstance(open_array(array, mapped=mapped), np.memmap) == mapped
    with array.open("rb") as file:
        assert read_header(array, file) == ((2, 3), False, np.dtype(np.float32))
        assert file.read() == ROWS.tobytes()


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        (b"(2, 3), }", b"(2, 3), (", "TokenError"),
        (b"(2, 3), }", b"(2,-3), }", ""),
        (b"(2, 3), } ", b"(2, 9**9)}", ""),
        (b"'<f4', ", b"'|O4', ", ""),
        (b"\x93NUMPY", b"PK\x03\x04zz", "the magic string"),
    ],
)
def test_a_changed_header_is_named_in_one_line(
    array: Path, mapped: bool, before: bytes, after: bytes, fault: str
) -> None:
    content = array.read_bytes().replace(before, after)
    assert content != array.read_bytes()
    array.write_bytes(content)
    said = rf"^{re.escape(str(array))} is missing or damaged \({fault}.*\); run: make$"
    with pytest.raises(InputInvalid, match=said) as raised:
        open_array(array, mapped=mapped, remedy="run: make")
    assert "\n" not in str(raised.value)


def test_an_archive_is_no_array_and_an_array_no_archive(array: Path) -> None:
    np.savez(array.with_suffix(".npz"), rows=ROWS)
    with open_archive(array.with_suffix(".npz")) as arrays:
        assert np.array_equal(arrays["rows"], ROWS)
    assert read_archived_header(array.with_suffix(".npz"), "rows") == ((2, 3), False, np.dtype(np.float32))
    array.with_suffix(".npz").rename(array.with_name("b.npy"))
    with pytest.raises(InputInvalid, match="the magic string"):
        open_array(array.with_name("b.npy"))
    with pytest.raises(InputInvalid, match="TypeError"), open_archive(array):
        pass
    with pytest.raises(InputInvalid, match=r"a\.npy is missing or damaged \(BadZipFile: .*\); remove it and run again"):
        read_archived_header(array, "rows")


def test_an_archive_cut_short_or_changed_or_without_the_array_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, rows=np.zeros(9999))
    whole = path.read_bytes()
    for content, fault in (
        (b"", "EOFError"),
        (whole[:-30], "BadZipFile"),
        (whole, "KeyError: 'cols"),
        (whole[:60] + bytes(8) + whole[68:], "error|BadZipFile"),
    ):
        path.write_bytes(content)
        said = rf"a\.npz is missing or damaged \(.*({fault})"
        with pytest.raises(InputInvalid, match=said), open_archive(path) as arrays:
            assert [len(arrays[name]) for name in ("rows", "cols")] == [9999, 9999]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputInvalid, match=r"a\.npy is missing or damaged \(No such file or directory\); remove it and"
    ):
        open_array(tmp_path / "a.npy")


def test_no_other_module_reads_arrays() -> None:
    reading = re.compile(r"(np|numpy)\.(load|fromfile|memmap|lib\.format\.read_\w+)")
    found = {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call | ast.Attribute) and reading.fullmatch(ast.unparse(getattr(node, "func", node)))
    }
    assert found == {"storage/arrays.py"}


@pytest.mark.parametrize("mapped", [True, False])
def test_what_is_there_and_cannot_be_read_is_not_called_damaged(tmp_path: Path, mapped: bool) -> None:
    with pytest.raises(InputInvalid, match=r"cannot be read \(Is a directory\); see to that and run again"):
        open_array(tmp_path, mapped=mapped)
