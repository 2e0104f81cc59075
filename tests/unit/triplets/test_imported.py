"""The stage synthesize with triplets that are there already: an imported set, and a cleaned copy of our own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from compodiff.stages.synthesize import synthesize
from factories import (
    draw_noise,
    encode_picture,
    make_floors,
    make_importer,
    make_synthesis_params,
    make_validation_params,
    write_webdataset,
)

from compodiff.cleaning.clean import CleaningRules, clean
from compodiff.cleaning.gallery import BenchmarkGallery
from compodiff.cleaning.survey import Surveyor
from compodiff.errors import InputInvalid
from compodiff.interchange.formats import ForeignSet, import_triplets
from compodiff.params import SynthesisParams
from compodiff.stages.validate import validate
from compodiff.storage import shards

FLOORS = make_floors()
TRIPLETS = 12
pytestmark = pytest.mark.usefixtures("one_process")


def params(*imported: Path, **changed: Any) -> SynthesisParams:
    folders = [str(folder) for folder in imported]
    usual = {"max_pairs_per_relation": 0, "pairs_per_shard": 5}  # shards of the set are cut anew
    return make_synthesis_params(imported=folders, **(usual | changed))


@pytest.fixture
def imported(encoder_folder: Path, tmp_path: Path) -> Path:
    """A set of somebody's, imported; its first triplet has a mask."""
    samples = {}
    for number in range(TRIPLETS):
        texts = {"original_caption": f"a dog on beach {number}", "edited_caption": f"a cat on beach {number}"}
        box = {"mask_box": [0, 0, 8, 16]} if number == 0 else {}
        samples[f"{number:05d}"] = {
            "original_image.png": encode_picture(draw_noise(number, 16, 16)),
            "edited_image.png": encode_picture(draw_noise(100 + number, 16, 16)),
            "json": json.dumps(texts | box).encode(),
        }
    write_webdataset(tmp_path / "theirs" / "00000.tar", samples)
    import_triplets(
        ForeignSet(tmp_path / "theirs", "webdataset"), make_importer(encoder_folder), tmp_path / "synth-18m.v1"
    )
    return tmp_path / "synth-18m.v1"


def entries(triplets: Path) -> dict[str, dict[str, bytes]]:
    return {key: files for path in sorted(triplets.glob("*.tar")) for key, files in shards.read_entries(path)}


def test_an_imported_set_becomes_triplets_and_passes_validation(
    small_data: Path, encoder_folder: Path, imported: Path, tmp_path: Path
) -> None:
    triplets = tmp_path / "triplets"
    synthesize(synthesis=params(imported), data=small_data, encoder=encoder_folder, triplets=triplets)
    rows, theirs = (shards.read_table(folder / "manifest.parquet") for folder in (triplets, imported))
    assert rows["key"].tolist() == [f"synth-18m_v1-{key}" for key in theirs["key"]]
    same = ["reference_caption", "target_caption", "relative_caption", "relation", "split", *FLOORS.model_dump()]
    pd.testing.assert_frame_equal(rows[same], theirs[same])
    assert len(set(rows["shard"])) == 3
    ours, before = entries(triplets), entries(imported)
    for key, files in before.items():
        own = ours[f"synth-18m_v1-{key}"]
        assert {name: files[name] for name in files if name != "json"} == {
            name: own[name] for name in own if name != "json"
        }
        assert json.loads(own["json"])["keyword"] == json.loads(files["json"])["keyword"] == "cat"
    assert sum("mask.png" in files for files in ours.values()) == 1
    validate(
        synthesis=params(imported),
        validation=make_validation_params(min_triplets=TRIPLETS, max_rejected_fraction=0),
        data=small_data,
        triplets=triplets,
        validated=tmp_path / "validated",
    )
    assert len(shards.read_table(tmp_path / "validated" / "accepted.parquet")) == TRIPLETS


def test_floors_are_those_in_use_not_those_of_the_import(
    small_data: Path, encoder_folder: Path, imported: Path, tmp_path: Path
) -> None:
    theirs = shards.read_table(imported / "manifest.parquet")
    floor = float(theirs["directional"].median())
    strict = params(imported, floors=FLOORS.model_copy(update={"directional": floor}))
    synthesize(synthesis=strict, data=small_data, encoder=encoder_folder, triplets=tmp_path / "triplets")
    rows = shards.read_table(tmp_path / "triplets" / "manifest.parquet")
    assert 0 < rows["accepted"].sum() < TRIPLETS
    assert set(rows.loc[~rows["accepted"], "rejected_by"]) == {"directional"}


def test_a_cleaned_copy_of_our_own_keeps_the_names_of_the_catalogues_pictures(
    small_data: Path, encoder_folder: Path, tmp_path: Path
) -> None:
    own, copy, triplets = (tmp_path / name for name in ("own", "cleaned", "triplets"))
    synthesize(synthesis=params(max_pairs_per_relation=6), data=small_data, encoder=encoder_folder, triplets=own)
    rules = CleaningRules(near_duplicate=0.95, any_caption=False, contaminated=0.95)
    nothing = BenchmarkGallery((), np.empty((0, 16), np.float16))
    clean(own, copy, Surveyor(copy / "facts", encoder_folder, None, 8), nothing, rules)
    synthesize(synthesis=params(copy), data=small_data, encoder=encoder_folder, triplets=triplets)
    rows, cleaned = (shards.read_table(folder / "manifest.parquet") for folder in (triplets, copy))
    kept = cleaned[cleaned["accepted"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows[["reference", "target"]], kept[["reference", "target"]])
    assert shards.read_table(triplets / "pictures.parquet").empty


def test_a_changed_set_is_taken_anew(small_data: Path, encoder_folder: Path, imported: Path, tmp_path: Path) -> None:
    triplets = tmp_path / "triplets"
    synthesize(synthesis=params(imported), data=small_data, encoder=encoder_folder, triplets=triplets)
    before = (triplets / "train-00000.tar").stat().st_mtime_ns
    synthesize(synthesis=params(imported), data=small_data, encoder=encoder_folder, triplets=triplets)
    assert (triplets / "train-00000.tar").stat().st_mtime_ns == before
    report = json.loads((imported / "report.json").read_text())
    (imported / "report.json").write_text(json.dumps(report | {"shards": {}}))
    synthesize(synthesis=params(imported), data=small_data, encoder=encoder_folder, triplets=triplets)
    assert (triplets / "train-00000.tar").stat().st_mtime_ns > before


def test_what_is_no_set_or_damaged_is_named(
    small_data: Path, encoder_folder: Path, imported: Path, tmp_path: Path
) -> None:
    def made(*folders: Path) -> None:
        synthesize(synthesis=params(*folders), data=small_data, encoder=encoder_folder, triplets=tmp_path / "triplets")

    with pytest.raises(InputInvalid, match=r"manifest\.parquet is not there; name a folder of `compodiff import`"):
        made(tmp_path / "nowhere")
    with pytest.raises(InputInvalid, match="has two folders of the name synth-18m"):
        made(imported, tmp_path / "other" / imported.name)
    shard = imported / "train-00000.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputInvalid, match=r"train-00000\.tar is cut short"):
        made(imported)
    shard.write_bytes(whole)
    (imported / "report.json").unlink()
    with pytest.raises(InputInvalid, match=r"is not finished: it has no report\.json; run its command again"):
        made(imported)
    assert not list((tmp_path / "triplets").glob("*.tar"))
