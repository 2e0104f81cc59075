"""The stage synthesize with caption pairs of one's own, drawn by a tiny Stable Diffusion of the real classes."""

from pathlib import Path

import pandas as pd
import pytest
from tiny_networks import stable_diffusion

from compodiff import shards
from compodiff.encoders import Encoder, save_encoder
from compodiff.errors import InputInvalid
from compodiff.params import DiffusionParams, DrawnParams, SimilarityFloors, SynthesisParams
from compodiff.params.synthesis import SceneFamilies, SpriteParams
from compodiff.stages.synthesize import synthesize
from compodiff.synthesis.caption_pairs import writing_pairs
from compodiff.synthesis.generation import CaptionPair

PAIRS = 4


@pytest.fixture
def params(tmp_path: Path) -> SynthesisParams:
    captions = tmp_path / "captions.parquet"
    with writing_pairs(captions, "mine") as writer:
        for number in range(PAIRS):
            key = writer.key()
            ends = "a red apple on a table", "a green apple on a table"
            words = f"make the apple green, number {number}"
            writer.add(CaptionPair(key, "train", f"{key}-reference", f"{key}-target", *ends, words, "replace", "green"))
    diffusion = DiffusionParams(
        pipeline=str(stable_diffusion(tmp_path / "pipeline")),
        revision=None,
        safety_checker=None,
        precision="float32",
        scheduler="DDIMScheduler",
        steps=2,
        picture_size=32,
        batch_size=2,
        candidates=2,
        kept=1,
        min_guidance=7.5,
        max_guidance=15.0,
        min_shared=0.1,
        max_shared=0.9,
    )
    return SynthesisParams(
        seed=17,
        captions_per_pair=1,
        max_pairs_per_relation=5,
        pairs_per_shard=40,
        batch_size=8,
        sprites=SpriteParams(families=SceneFamilies(train=0, validation=0), edits_per_relation=1),
        drawn=DrawnParams(captions=str(captions), diffusion=diffusion),
        floors=SimilarityFloors.model_validate(dict.fromkeys(SimilarityFloors.model_fields, -1.0)),
    )


def test_pictures_are_drawn_for_captions_of_ones_own(
    small_data: Path, tiny_encoder: Encoder, params: SynthesisParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPODIFF_WORKERS", "1")
    save_encoder(tiny_encoder, tmp_path / "encoder")
    triplets = tmp_path / "triplets"
    synthesize(synthesis=params, data=small_data, encoder=tmp_path / "encoder", triplets=triplets)
    rows = pd.read_parquet(triplets / "manifest.parquet")
    drawn = rows[rows["key"].str.startswith("mine-")]
    assert len(drawn) == PAIRS
    assert drawn["accepted"].all()
    (shard,) = drawn["shard"].unique()
    found = dict(shards.read_entries(triplets / shard))
    assert {"reference.png", "target.png"} <= found[drawn["key"].iloc[0]].keys()


def test_a_caption_file_that_is_not_there_is_named(
    small_data: Path, tiny_encoder: Encoder, params: SynthesisParams, tmp_path: Path
) -> None:
    save_encoder(tiny_encoder, tmp_path / "encoder")
    drawn = DrawnParams(captions=str(tmp_path / "none.parquet"), diffusion=params.drawn.diffusion)
    with pytest.raises(InputInvalid, match=r"none\.parquet"):
        synthesize(
            synthesis=params.model_copy(update={"drawn": drawn}),
            data=small_data,
            encoder=tmp_path / "encoder",
            triplets=tmp_path / "triplets",
        )
