"""Imports that are killed while they write: what is there is whole, and the next run ends as if nothing had been."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from worlds.foreign import BLUE, RED, bring, downloaded, rows_of, write_csv, write_parquet, write_pictures, write_tar

from compodiff.errors import InputInvalid
from compodiff.interchange import captioned, formats, importing, manifests

UNITS, OF_A_UNIT = 3, 2
ROWS = UNITS * OF_A_UNIT

# Imports in small units, and dies before the file of that number appears under its name.
DYING = """
import os, pathlib, signal, sys
from compodiff.interchange import captioned, formats, importing, manifests
from compodiff.interchange.formats import Source, import_source

captioned.ROWS_PER_UNIT = manifests.ROWS_PER_UNIT = formats.ROWS_PER_SHARD = importing.ROWS_PER_SHARD = 2
form, folder, to, last, pictures = sys.argv[1:]
own, done = pathlib.Path.replace, []

def replace(self, target):
    done.append(target)
    if len(done) == int(last):
        os.kill(os.getpid(), signal.SIGKILL)
    return own(self, target)

pathlib.Path.replace = replace
source = Source(pathlib.Path(folder), form, pictures=pathlib.Path(pictures) if pictures else None)
import_source(source, pathlib.Path(to), seed=17, skip_faulty=False, licence="CC", origin="")
"""


def write_tars(folder: Path) -> None:
    for number in range(UNITS):
        first, second = f"{number}0", f"{number}1"
        write_tar(folder / f"{number}.tar", downloaded(first, RED, "red") | downloaded(second, BLUE, "blue"))


def write_tables(folder: Path) -> None:
    columns = {"image": [RED, BLUE] * UNITS, "text": ["red", "blue"] * UNITS}
    write_parquet(folder / "data" / "train.parquet", columns, row_group_size=OF_A_UNIT)


def write_list(folder: Path) -> None:
    """A list whose pictures lie in two tars: these are listed first."""
    for number, content in enumerate((RED, BLUE)):
        write_tar(folder / f"{number}.tar", {f"{'ab'[number]}.jpg": content})
    write_csv(folder / "edits.csv", [{"id": n, "pth1": "a", "pth2": "b", "edit": "x"} for n in range(ROWS)])


def write_captioned(folder: Path) -> None:
    for number in range(ROWS):
        write_pictures(folder, {f"{number}.jpg": RED, f"{number}.txt": b"red"})


def write_lasco(folder: Path) -> None:
    write_pictures(folder, {"train2014/a.jpg": RED, "train2014/b.jpg": BLUE})
    ends = {"query-image": [1, "train2014/a.jpg"], "target-image": [2, "train2014/b.jpg"]}
    rows = [{"qid": number, "query-text": "bluer", **ends} for number in range(ROWS)]
    (folder / "lasco_train.json").write_text(json.dumps(rows))


FORMS: dict[str, Callable[[Path], None]] = {
    "img2dataset": write_tars,
    "parquet": write_tables,
    "cc-coir": write_list,
    "captions": write_captioned,
    "lasco": write_lasco,
}


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPODIFF_WORKERS", "1")
    for module, name in ((captioned, "ROWS_PER_UNIT"), (manifests, "ROWS_PER_UNIT")):
        monkeypatch.setattr(module, name, OF_A_UNIT)
    for module in (formats, importing):
        monkeypatch.setattr(module, "ROWS_PER_SHARD", OF_A_UNIT)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", FORMS)
def test_a_killed_import_leaves_whole_files_and_ends_as_if_it_had_not_been(form: str, tmp_path: Path) -> None:
    folder, to = tmp_path / "theirs", tmp_path / "set"
    folder.mkdir()
    FORMS[form](folder)
    options: dict[str, Any] = {"pictures": folder} if form in ("cc-coir", "lasco") else {}
    before = bytes_of(folder)
    # First the marker, the fingerprint, and what tars hold are written; rows and their report make two for each unit.
    for last in (6, 3 if form == "cc-coir" else 2):
        command = [sys.executable, "-c", DYING, form, str(folder), str(to), str(last), str(options.get("pictures", ""))]
        died = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
        assert died.returncode == -signal.SIGKILL, died.stderr
        assert not (to / "set.json").exists()
        for path in to.glob("train-*.parquet"):
            assert pq.read_metadata(path).num_rows == OF_A_UNIT
    done = {path: path.stat().st_mtime_ns for path in to.glob("train-*") if _is_reported(path)}
    assert 0 < len({path.stem for path in done}) < UNITS
    found, _ = bring(folder, form, to, **options)
    whole, _ = bring(folder, form, tmp_path / "whole", **options)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert found.description == whole.description
    assert len(rows_of(found)) == ROWS
    assert bytes_of(to).keys() == bytes_of(tmp_path / "whole").keys()  # nothing half-written is left
    assert bytes_of(folder) == before


def _is_reported(path: Path) -> bool:
    return (path.parent / importing.UNITS / f"{path.stem.split('-')[1]}.json").is_file()


def test_a_damaged_report_of_a_unit_is_named(tmp_path: Path) -> None:
    write_tars(tmp_path / "theirs")
    bring(tmp_path / "theirs", "img2dataset", tmp_path / "set")
    (tmp_path / "set" / importing.UNITS / "00001.json").write_text("{")
    with pytest.raises(InputInvalid, match=r"00001\.json is not JSON"):
        bring(tmp_path / "theirs", "img2dataset", tmp_path / "set")
