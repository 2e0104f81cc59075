"""The stage synthesize with caption pairs of one's own, drawn by a tiny Stable Diffusion of the real classes."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from compodiff.embeddings.generated import GeneratedPictures
from compodiff.stages.synthesize import synthesize
from factories import make_diffusion_params, make_synthesis_params
from worlds.tiny_networks import clipseg, stable_diffusion

from compodiff.errors import InputInvalid
from compodiff.pairs.caption_file import open_pair_writer
from compodiff.pairs.pair import CaptionPair
from compodiff.params import DrawnParams, MaskParams, SimilarityFloors, SynthesisParams
from compodiff.storage import shards

PAIRS = 4
pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture
def params(tmp_path: Path) -> SynthesisParams:
    captions = tmp_path / "captions.parquet"
    with open_pair_writer(captions, "mine") as writer:
        for number in range(PAIRS):
            key = writer.make_key()
            ends = "a red apple on a table", "a green apple on a table"
            words = f"make the apple green, number {number}"
            writer.add(CaptionPair(key, "train", f"{key}-reference", f"{key}-target", *ends, words, "replace", "green"))
    pipeline = stable_diffusion(tmp_path / "pipeline")
    diffusion = make_diffusion_params(pipeline, steps=2, batch_size=2, candidates=2, min_shared=0.1, max_shared=0.9)
    drawn = DrawnParams(captions=[str(captions)], diffusion=diffusion, masks=None)
    return make_synthesis_params(max_pairs_per_relation=5, drawn=drawn)


def drawn_rows(triplets: Path) -> pd.DataFrame:
    rows = pd.read_parquet(triplets / "manifest.parquet")
    return rows[rows["key"].str.contains("-mine-")]


def test_pictures_are_drawn_for_captions_of_ones_own_and_masked(
    small_data: Path, encoder_folder: Path, params: SynthesisParams, tmp_path: Path
) -> None:
    assert params.drawn
    # Random weights find everything everywhere to about one half.
    masks = MaskParams(clipseg=str(clipseg(tmp_path / "clipseg")), revision=None, threshold=0.4, batch_size=3)
    params = params.model_copy(update={"drawn": params.drawn.model_copy(update={"masks": masks})})
    triplets = tmp_path / "triplets"
    synthesize(synthesis=params, data=small_data, encoder=encoder_folder, triplets=triplets)
    drawn = drawn_rows(triplets)
    assert len(drawn) == PAIRS
    assert drawn["accepted"].all()
    (shard,) = drawn["shard"].unique()
    found = dict(shards.read_entries(triplets / shard))
    assert found[drawn["key"].iloc[0]].keys() == {"reference.png", "target.png", "mask.png", "json"}
    # The stage embed makes of it an example of the masked task.
    generated = GeneratedPictures.find(triplets, drawn, set())
    (exact,) = generated.masks[drawn["reference"].iloc[0]]
    assert exact.target == drawn["target"].iloc[0]
    assert exact.cells.any()


def test_candidates_that_are_unsafe_are_rows_with_scores_and_not_in_a_shard(
    small_data: Path, encoder_folder: Path, params: SynthesisParams, tmp_path: Path
) -> None:
    assert params.drawn
    alarmed = stable_diffusion(tmp_path / "alarmed", alarmed=True)
    diffusion = params.drawn.diffusion.model_copy(update={"pipeline": str(alarmed)})
    params = params.model_copy(update={"drawn": params.drawn.model_copy(update={"diffusion": diffusion})})
    triplets = tmp_path / "triplets"
    synthesize(synthesis=params, data=small_data, encoder=encoder_folder, triplets=triplets)
    drawn = drawn_rows(triplets)
    assert len(drawn) == 2 * PAIRS  # each candidate
    assert set(drawn["rejected_by"]) == {"unsafe"}
    assert not drawn["accepted"].any()
    assert drawn[[*SimilarityFloors.model_fields]].notna().all(axis=None)
    report = json.loads((triplets / "report.json").read_text())
    assert report["accepted_by_filter"]["unsafe"] == pytest.approx(1 - 2 * PAIRS / report["candidates"])
    in_shards = {key for path in triplets.glob("*.tar") for key, _ in shards.read_entries(path)}
    assert not in_shards & set(drawn["key"])


def test_pairs_of_several_files_are_told_apart_by_the_files_names(
    small_data: Path, encoder_folder: Path, params: SynthesisParams, tmp_path: Path
) -> None:
    assert params.drawn
    first = Path(params.drawn.captions[0])
    twin = shutil.copy(first, tmp_path / "more.parquet")

    def made(*files: Path | str) -> None:
        drawn = params.drawn.model_copy(update={"captions": [str(file) for file in files]})
        own = params.model_copy(update={"drawn": drawn, "max_pairs_per_relation": 0})
        synthesize(synthesis=own, data=small_data, encoder=encoder_folder, triplets=tmp_path / "triplets")

    made(first, twin)
    rows = drawn_rows(tmp_path / "triplets")
    assert rows["key"].str.partition("-")[0].value_counts().to_dict() == {"captions": PAIRS, "more": PAIRS}
    assert rows["key"].is_unique
    (tmp_path / "other").mkdir()
    with pytest.raises(InputInvalid, match=r"drawn\.captions has two files of one name: captions, captions"):
        made(first, shutil.copy(first, tmp_path / "other"))


def test_a_caption_file_that_is_not_there_is_named(
    small_data: Path, encoder_folder: Path, params: SynthesisParams, tmp_path: Path
) -> None:
    assert params.drawn
    drawn = params.drawn.model_copy(update={"captions": [str(tmp_path / "none.parquet")]})
    with pytest.raises(InputInvalid, match=r"none\.parquet"):
        synthesize(
            synthesis=params.model_copy(update={"drawn": drawn}),
            data=small_data,
            encoder=encoder_folder,
            triplets=tmp_path / "triplets",
        )
