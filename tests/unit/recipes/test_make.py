"""Each recipe once, over the small catalogue; past it nothing knows where a set comes from."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import make_captions_params, make_edits_params, make_scenes_params, make_synthesis_params
from PIL import Image

from compodiff.catalogue.captions import list_picture_captions
from compodiff.catalogue.pictures import Catalogue
from compodiff.errors import InputInvalid
from compodiff.params import AnySetParams, OwnSetParams
from compodiff.recipes.emoji import list_caption_pairs
from compodiff.recipes.make import make_set
from compodiff.scenes.generator import SpriteGenerator, make_sprite_pairs
from compodiff.sets import PAIRS, TRIPLETS, Place, TrainingSet, open_set

SYNTHESIS = make_synthesis_params()
pytestmark = pytest.mark.usefixtures("one_process")


def make(folder: Path, params: AnySetParams, reads: Path) -> TrainingSet:
    make_set(folder, params, SYNTHESIS, reads)
    return open_set(folder)


def own(reads: str) -> OwnSetParams:
    return OwnSetParams(recipe="own", reads=reads, min_rows=1, floors=None)


def read_bytes(made: TrainingSet, place: dict[str, Any]) -> bytes:
    return made.places.read(Place.of(place))


def list_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("[!.]*"))}


def test_captions_of_the_catalogue_are_pairs_of_pictures_where_they_lie(
    small_data: Path, small_catalogue: Catalogue, tmp_path: Path
) -> None:
    made = make(tmp_path / "set", make_captions_params(), small_data)
    assert made.description.kind == PAIRS
    seen = small_catalogue.pictures.query("split != 'test'")
    rows = {row["key"]: row for row in made.iterate_rows()}
    assert rows.keys() == set(seen.index)
    assert {key: row["split"] for key, row in rows.items()} == seen["split"].to_dict()
    assert max(shard.rows for shard in made.description.shards) == SYNTHESIS.rows_per_shard
    for name, row in rows.items():
        assert row["texts"] == list_picture_captions(seen.loc[name].to_dict())
        assert read_bytes(made, row["picture"]) == small_catalogue.read_bytes(name)
    assert not list((tmp_path / "set").glob("*.tar"))  # nothing is copied


def test_relations_of_the_catalogue_are_triplets_of_pictures_where_they_lie(
    small_data: Path, small_catalogue: Catalogue, tmp_path: Path
) -> None:
    params = make_edits_params(captions_per_pair=2, max_pairs_per_relation=20)
    made = make(tmp_path / "set", params, small_data)
    assert made.description.kind == TRIPLETS
    rows = {row["key"]: row for row in made.iterate_rows()}
    pairs = list_caption_pairs(small_catalogue, params)
    assert list(rows) == [it.key for it in pairs]
    for it in pairs:
        row = rows[it.key]
        assert row["relative_captions"] == [it.relative_caption]
        assert (row["split"], row["relation"], row["keyword"]) == (it.split, it.relation, it.keyword)
        assert (row["reference_caption"], row["target_caption"]) == (it.reference_caption, it.target_caption)
        assert read_bytes(made, row["target"]) == small_catalogue.read_bytes(it.target)
        assert row["mask"] is None


def test_scenes_are_drawn_with_their_masks_and_made_once(
    small_data: Path, small_catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = make_scenes_params(train=3, validation=2)
    made = make(tmp_path / "set", params, small_data)
    pairs = list(make_sprite_pairs(small_catalogue, params))
    rows = {row["key"]: row for row in made.iterate_rows()}
    assert rows.keys() == {it.key for it in pairs}
    for drawn in SpriteGenerator(small_data, params).generate(pairs):
        row = rows[drawn.captions.key]
        with Image.open(BytesIO(read_bytes(made, row["target"]))) as picture:
            assert picture.tobytes() == drawn.target.tobytes()
        assert drawn.mask is not None
        assert row["mask"] == np.packbits(drawn.mask).tobytes()
    before = list_files(tmp_path / "set")
    with monkeypatch.context() as patched:  # a second run finds every shard
        patched.setattr(SpriteGenerator, "generate", None)
        make(tmp_path / "set", params, small_data)
    assert list_files(tmp_path / "set") == before
    make(tmp_path / "set", params.model_copy(update={"min_rows": 7}), small_data)  # judges, and makes no picture
    assert list_files(tmp_path / "set") == before
    make(tmp_path / "set", params.model_copy(update={"seed": 18}), small_data)
    assert list_files(tmp_path / "set")["train-00000.tar"] != before["train-00000.tar"]


@pytest.mark.parametrize("params", [make_captions_params(), make_edits_params(), make_scenes_params(train=2)])
def test_the_same_catalogue_and_params_give_the_same_bytes(
    small_data: Path, tmp_path: Path, params: AnySetParams
) -> None:
    for name in ("one", "two"):
        make(tmp_path / name, params, small_data)
    assert list_files(tmp_path / "one") == list_files(tmp_path / "two")


def test_a_set_of_ones_own_is_referred_to_where_it_lies(small_data: Path, tmp_path: Path) -> None:
    theirs = make(tmp_path / "theirs", make_captions_params(), small_data)
    for number, reads in enumerate((tmp_path / "theirs" / "set.json", tmp_path / "theirs")):
        mine = make(tmp_path / "artifacts" / f"mine{number}", own(str(reads)), reads)
        assert list_files(tmp_path / "artifacts" / f"mine{number}").keys() == {"set.json"}
        assert list(mine.iterate_rows()) == list(theirs.iterate_rows())
        assert mine.description.digest == theirs.description.digest
        first = next(mine.iterate_rows())["picture"]
        assert read_bytes(mine, first) == read_bytes(theirs, first)
    # One that refers to another leads to the same rows.
    again = make(tmp_path / "again", own("mine"), tmp_path / "artifacts" / "mine0" / "set.json")
    assert list(again.iterate_rows()) == list(theirs.iterate_rows())


def test_what_is_not_there_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    for params, reads, message in (
        (own("nowhere/set.json"), nowhere / "set.json", r"nowhere/set\.json is not there"),
        (make_captions_params(), nowhere, r"pictures\.parquet is not there; run: compodiff data"),
        (make_scenes_params(train=1), nowhere, r"pictures\.parquet is not there; run: compodiff data"),
    ):
        with pytest.raises(InputInvalid, match=message) as caught:
            make(tmp_path / "set", params, reads)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "set").exists()


def test_a_set_without_rows_is_refused(small_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match="there is nothing to learn from"):
        make(tmp_path / "set", make_edits_params(max_pairs_per_relation=0), small_data)


@pytest.mark.parametrize("params", [make_captions_params(), make_edits_params(), make_scenes_params(train=1)])
def test_a_folder_of_somebodys_is_not_written_over(small_data: Path, tmp_path: Path, params: AnySetParams) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "thesis.txt").write_text("years")
    with pytest.raises(InputInvalid, match=r"set"):
        make(tmp_path / "set", params, small_data)
    assert list_files(tmp_path / "set") == {"thesis.txt": b"years"}
