import hashlib
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from compodiff.catalogue.build import build_catalogue
from compodiff.catalogue.drawing import Style
from compodiff.catalogue.pictures import Catalogue
from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.params import DataParams

FEW = ["1F34E", "1F34F", "1F1F3-1F1F4", "1F1F8-1F1EF", "1F468-200D-1F33E", "1F469-200D-1F33E"]


def digests(folder: Path) -> dict[str, str]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_building_twice_gives_the_same_bytes(tmp_path: Path, data_params: DataParams) -> None:
    for name in ("first", "second"):
        build_catalogue(tmp_path / name, data_params, codepoints=FEW)
    assert digests(tmp_path / "first") == digests(tmp_path / "second")


def test_it_replaces_an_earlier_folder_and_leaves_nothing_beside_it(tmp_path: Path, data_params: DataParams) -> None:
    for codepoints in (FEW[:2], FEW):
        build_catalogue(tmp_path / "data", data_params, codepoints=codepoints)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    (tmp_path / "data" / "mine").touch()
    with pytest.raises(InputInvalid, match="data holds 'mine', which compodiff did not write"):
        build_catalogue(tmp_path / "data", data_params, codepoints=FEW)


def test_it_packs_pictures_with_their_attribution(small_data: Path) -> None:
    assert "OpenMoji" in (small_data / "ATTRIBUTION.md").read_text()
    assert "Attribution-ShareAlike 4.0" in (small_data / "licences" / "openmoji-CC-BY-SA-4.0.txt").read_text()
    assert "CC BY 4.0" in (small_data / "licences" / "twemoji-CC-BY-4.0.txt").read_text()
    with tarfile.open(small_data / "pictures" / "twemoji.tar") as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {(member.mtime, member.uid, member.mode) for member in members} == {(0, 0, 0o644)}


def test_twins_are_found_within_a_style(small_catalogue: Catalogue) -> None:
    pictures = small_catalogue.pictures
    assert pictures.at["openmoji-1F1F8-1F1EF", "twin_of"] == "openmoji-1F1F3-1F1F4"
    assert pictures.at["openmoji-1F1F3-1F1F4", "twin_of"] == "openmoji-1F1F3-1F1F4"
    assert small_catalogue.find_canonical("openmoji-1F1F8-1F1EF") == "openmoji-1F1F3-1F1F4"
    assert len(small_catalogue.list_distinct()) == pictures["pixel_digest"].nunique() < len(pictures)


@pytest.mark.parametrize("relation", ["skin_tone", "gender", "hair", "colour", "direction", "clock_time", "cat_face"])
def test_relations_go_both_ways(small_catalogue: Catalogue, relation: str) -> None:
    rows = small_catalogue.relations.query("relation == @relation")
    assert len(rows)
    ways = set(zip(rows["reference_term"], rows["target_term"], strict=True))
    assert {(after, before) for before, after in ways} == ways


def test_a_wish_for_a_package_names_it(
    tmp_path: Path, data_params: DataParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = Style("absent", "Absent", "no-such-drawings", "nowhere", None)
    monkeypatch.setattr("compodiff.catalogue.build.STYLES", (absent,))
    with pytest.raises(ResourceUnavailable, match="pip install no-such-drawings"):
        build_catalogue(tmp_path / "data", data_params, codepoints=FEW)
    assert list(tmp_path.iterdir()) == []


def test_null_attributes_are_none(small_catalogue: Catalogue) -> None:
    row: pd.Series = small_catalogue.pictures.loc["twemoji-1F34E"]
    assert row["skin_tone"] is None
    assert row["gender"] is None
