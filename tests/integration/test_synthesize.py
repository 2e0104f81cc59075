"""The stages synthesize and validate over a small real catalogue with a tiny real CLIP."""

import json
import os
import shutil
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from factories import make_floors, make_synthesis_params, make_validation_params
from PIL import Image

from compodiff.catalogue.pictures import Catalogue
from compodiff.errors import DataRejected, InputInvalid
from compodiff.params import SimilarityFloors
from compodiff.stages.synthesize import synthesize
from compodiff.stages.validate import validate
from compodiff.storage import shards

if TYPE_CHECKING:
    pass

SYNTHESIS = make_synthesis_params(train=6, validation=3, floors=make_floors(directional=-0.2))
VALIDATION = make_validation_params(min_triplets=50, max_rejected_fraction=0.05)
pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture(scope="module")
def whole(small_data, encoder_folder, tmp_path_factory) -> Path:
    """Triplets of a run that nothing disturbed; read only."""
    triplets = tmp_path_factory.mktemp("whole") / "triplets"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPODIFF_WORKERS", "1")
        synthesize(synthesis=SYNTHESIS, data=small_data, encoder=encoder_folder, triplets=triplets)
    return triplets


@pytest.fixture
def triplets(whole, tmp_path) -> Path:
    """A copy to damage."""
    return shutil.copytree(whole, tmp_path / "triplets")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_folder_holds_what_the_manifest_says(whole, small_catalogue: Catalogue):
    rows = shards.read_table(whole / "manifest.parquet")
    relations = small_catalogue.relations.query("split != 'test'")
    drawn = rows["key"].str.startswith("sprites-")
    assert (~drawn).sum() == len(relations)
    assert drawn.sum() > 50
    for name, own in rows.groupby("shard"):
        entries = [key for key, _ in shards.read_entries(whole / str(name))]
        assert entries == own.loc[own["accepted"], "key"].tolist()
    report = json.loads((whole / "report.json").read_text())
    assert 0 < report["accepted"] < report["candidates"] == len(rows)
    assert set(rows.loc[~rows["accepted"], "rejected_by"]) == {"directional"}
    assert set(rows["split"]) == {"train", "validation"}


def test_a_second_run_makes_nothing(small_data, encoder_folder, triplets):
    before = {path: path.stat().st_mtime_ns for path in triplets.glob("*.tar")}
    synthesize(synthesis=SYNTHESIS, data=small_data, encoder=encoder_folder, triplets=triplets)
    assert {path: path.stat().st_mtime_ns for path in triplets.glob("*.tar")} == before


def test_only_missing_and_damaged_shards_are_made_again(small_data, encoder_folder, triplets, whole):
    made = sorted(triplets.glob("*.tar"))
    made[0].unlink()
    shards.name_sidecar(made[1]).unlink()
    made[2].write_bytes(made[2].read_bytes()[:100])
    kept = {path: path.stat().st_mtime_ns for path in made[3:]}
    synthesize(synthesis=SYNTHESIS, data=small_data, encoder=encoder_folder, triplets=triplets)
    assert contents(triplets) == contents(whole)
    assert {path: path.stat().st_mtime_ns for path in made[3:]} == kept


def test_other_params_start_afresh(small_data, encoder_folder, triplets):
    changed = SYNTHESIS.model_copy(update={"max_pairs_per_relation": 5})
    synthesize(synthesis=changed, data=small_data, encoder=encoder_folder, triplets=triplets)
    rows = shards.read_table(triplets / "manifest.parquet")
    of_catalogue = rows[~rows["key"].str.startswith("sprites-")]
    assert of_catalogue.groupby(["split", "relation"]).size().max() == 5
    assert {path.name for path in triplets.glob("*.tar")} == set(rows["shard"])


CHILD = """
import sys
from pathlib import Path
import open_clip, torch
from compodiff.params import SynthesisParams
from compodiff.stages.synthesize import synthesize
torch.set_num_threads(1)
config, params, data, encoder_folder, triplets = sys.argv[1:]
open_clip.add_model_config(config)
synthesize(synthesis=SynthesisParams.model_validate_json(params), data=Path(data), encoder=Path(encoder_folder),
           triplets=Path(triplets))
"""


def test_a_killed_run_is_continued_to_the_same_bytes(small_data, encoder_folder, whole, tmp_path):
    import open_clip

    triplets = tmp_path / "triplets"
    config = tmp_path / "compodiff-tiny.json"
    config.write_text(json.dumps(open_clip.get_model_config("compodiff-tiny")))
    paths = [str(path) for path in (small_data, encoder_folder, triplets)]
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(config), SYNTHESIS.model_dump_json(), *paths])
    deadline = time.monotonic() + 120
    while len(list(triplets.glob("*.tar"))) < 2:
        assert child.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    child.kill()
    child.wait()
    names = set(os.listdir(triplets))
    assert "manifest.parquet" not in names
    assert len(list(triplets.glob("*.tar"))) < len(list(whole.glob("*.tar")))
    synthesize(synthesis=SYNTHESIS, data=small_data, encoder=encoder_folder, triplets=triplets)
    assert contents(triplets) == contents(whole)


def test_good_triplets_are_validated(small_data, whole, tmp_path):
    validated = tmp_path / "validation"
    validate(synthesis=SYNTHESIS, validation=VALIDATION, data=small_data, triplets=whole, validated=validated)
    rows = shards.read_table(whole / "manifest.parquet")
    accepted = shards.read_table(validated / "accepted.parquet")
    quarantine = shards.read_table(validated / "quarantine.parquet")
    assert list(accepted) == list(rows)
    assert len(accepted) + len(quarantine) == rows["accepted"].sum()
    assert json.loads((validated / "result.json").read_text())["passed"]
    assert (validated / "docs" / "index.html").is_file()


def test_a_drawn_triplet_brings_its_mask_and_goes_through_the_same_filters(whole):
    rows = shards.read_table(whole / "manifest.parquet")
    drawn = rows[rows["key"].str.startswith("sprites-") & rows["accepted"]]
    entries = {key: files for name in drawn["shard"].unique() for key, files in shards.read_entries(whole / name)}
    assert entries.keys() >= set(drawn["key"])
    for key in drawn["key"]:
        assert entries[key].keys() == {"reference.png", "target.png", "mask.png", "json"}
        with Image.open(BytesIO(entries[key]["mask.png"])) as mask:
            assert mask.size == (64, 64)
            assert mask.getbbox() is not None
    assert drawn[list(SimilarityFloors.model_fields)].notna().all(axis=None)
    pictures = shards.read_table(whole / "pictures.parquet").set_index("picture_id")["split"]
    assert set(pictures.index) >= {*drawn["reference"], *drawn["target"]}
    assert (pictures[drawn["reference"]].to_numpy() == drawn["split"].to_numpy()).all()


def test_a_scene_of_two_splits_is_rejected(small_data, triplets, tmp_path):
    """Its name tells, and where it has two names its pixels do."""
    rows = shards.read_table(triplets / "manifest.parquet")
    drawn = rows[rows["key"].str.startswith("sprites-") & rows["accepted"]]
    train, validation = (drawn[drawn["split"] == split].iloc[0] for split in ("train", "validation"))
    paths = {"data": small_data, "triplets": triplets, "validated": tmp_path / "validated"}
    is_validation = rows["key"] == validation["key"]
    named = rows.assign(reference=rows["reference"].mask(is_validation, train["reference"]))
    shards.write_table(triplets / "manifest.parquet", named)
    with pytest.raises(DataRejected, match=rf"split, reference_split\) on 1 rows \({validation['key']}\)"):
        validate(synthesis=SYNTHESIS, validation=VALIDATION, **paths)
    turned = (rows["reference"] == train["reference"]) & (rows["key"] != train["key"])
    shards.write_table(triplets / "manifest.parquet", rows.assign(split=rows["split"].mask(turned, "validation")))
    strict = VALIDATION.model_copy(update={"max_rejected_fraction": 0.0})
    with pytest.raises(DataRejected) as refused:
        validate(synthesis=SYNTHESIS, validation=strict, **paths)
    quarantine = shards.read_table(tmp_path / "validated" / "quarantine.parquet").set_index("key")
    assert refused.value
    assert quarantine.at[train["key"], "held_out_twin"] == train["reference"]


def test_rejected_data_stop_and_say_why_and_where(small_data, triplets, tmp_path):
    validated = tmp_path / "validation"
    rows = shards.read_table(triplets / "manifest.parquet")
    test_picture = Catalogue.load(small_data).pictures.query("split == 'test'").index[0]
    first = rows.index[rows["accepted"]][0]
    rows.loc[first, "target"] = test_picture
    shards.write_table(triplets / "manifest.parquet", rows)
    message = (
        rf"expect_column_pair_values_to_be_equal\(split, target_split\) on 1 rows \({rows.at[first, 'key']}\); "
        r"see .*quarantine\.parquet and .*index\.html"
    )
    with pytest.raises(DataRejected, match=message):
        validate(synthesis=SYNTHESIS, validation=VALIDATION, data=small_data, triplets=triplets, validated=validated)
    assert sorted(os.listdir(validated)) == [".compodiff.json", "docs", "quarantine.parquet", "result.json"]
    quarantine = shards.read_table(validated / "quarantine.parquet")
    assert rows.at[first, "key"] in quarantine["key"].tolist()


def test_triplets_below_the_floors_of_params_are_rejected(small_data, whole, tmp_path):
    floors = SYNTHESIS.floors.model_copy(update={"image_image": 0.998})
    stricter = SYNTHESIS.model_copy(update={"floors": floors})
    with pytest.raises(DataRejected, match=r"expect_similarity_at_least\(image_image\) on \d+ rows"):
        validate(
            synthesis=stricter, validation=VALIDATION, data=small_data, triplets=whole, validated=tmp_path / "validated"
        )


def test_a_manifest_that_is_none_is_rejected(small_data, triplets, tmp_path):
    shards.write_table(triplets / "manifest.parquet", pd.DataFrame({"key": ["a"]}))
    with pytest.raises(DataRejected, match="expect_table_columns_to_match_set found"):
        validate(
            synthesis=SYNTHESIS, validation=VALIDATION, data=small_data, triplets=triplets, validated=tmp_path / "none"
        )


def test_a_shard_cut_short_stops_validation_and_the_way_out_works(
    small_data, encoder_folder, triplets, whole, tmp_path
):
    path = sorted(triplets.glob("*.tar"))[1]
    path.write_bytes(path.read_bytes()[:4000])
    validated = tmp_path / "validation"
    with pytest.raises(InputInvalid, match=rf"{path.name} is cut short: 4000 of \d+ bytes; delete it and run: compodi"):
        validate(synthesis=SYNTHESIS, validation=VALIDATION, data=small_data, triplets=triplets, validated=validated)
    assert not validated.exists()
    path.unlink()
    synthesize(synthesis=SYNTHESIS, data=small_data, encoder=encoder_folder, triplets=triplets)
    assert contents(triplets) == contents(whole)
