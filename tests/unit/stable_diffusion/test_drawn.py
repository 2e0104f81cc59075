"""The recipe `drawn`: caption pairs of one's own, drawn by a tiny Stable Diffusion of the real classes."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import make_diffusion_params, make_synthesis_params
from worlds.tiny_networks import clipseg, stable_diffusion

from compodiff.embeddings import SetEmbeddings, embed_set
from compodiff.errors import InputInvalid
from compodiff.pairs.caption_file import open_pair_writer
from compodiff.pairs.pair import CaptionPair
from compodiff.params import DrawnParams, EmbeddingParams, MaskParams
from compodiff.recipes.make import make_set
from compodiff.sets import Place, TrainingSet, open_set

PAIRS = 4
pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture
def params(tmp_path: Path) -> DrawnParams:
    captions = tmp_path / "captions.parquet"
    with open_pair_writer(captions, "mine") as writer:
        for number in range(PAIRS):
            key = writer.make_key()
            ends = "a red apple on a table", "a green apple on a table"
            words = f"make the apple green, number {number}"
            writer.add(CaptionPair(key, "train", f"{key}-reference", f"{key}-target", *ends, words, "replace", "green"))
    pipeline = stable_diffusion(tmp_path / "pipeline")
    diffusion = make_diffusion_params(pipeline, steps=2, batch_size=2, candidates=2, min_shared=0.1, max_shared=0.9)
    usual = {"recipe": "drawn", "reads": "artifacts/encoder", "min_rows": 1, "floors": None, "seed": 17}
    return DrawnParams.model_validate(
        usual | {"captions": [str(captions)], "diffusion": diffusion.model_dump(), "masks": None}
    )


def draw(params: DrawnParams, encoder: Path, folder: Path) -> TrainingSet:
    make_set(folder, params, make_synthesis_params(), encoder)
    return open_set(folder)


def change(params: DrawnParams, **changes: Any) -> DrawnParams:
    return params.model_copy(update=changes)


def test_pictures_are_drawn_for_captions_of_ones_own_and_masked(
    encoder_folder: Path, params: DrawnParams, tmp_path: Path
) -> None:
    # Random weights find everything everywhere to about one half.
    masks = MaskParams(clipseg=str(clipseg(tmp_path / "clipseg")), revision=None, threshold=0.4, batch_size=3)
    made = draw(change(params, masks=masks), encoder_folder, tmp_path / "set")
    rows = list(made.iterate_rows())
    assert len(rows) == PAIRS  # the best candidate of each
    assert [row["relative_captions"] for row in rows] == [[f"make the apple green, number {n}"] for n in range(PAIRS)]
    for row in rows:
        contents = [made.places.read(Place.of(row[end])) for end in ("reference", "target")]
        assert all(content.startswith(b"\x89PNG") for content in contents)
        assert np.frombuffer(row["mask"], np.uint8).any()
    # The stage embed makes of each an example of the masked task.
    embedding = EmbeddingParams(
        seed=1,
        batch_size=4,
        masks_per_picture=0,
        min_mask_fraction=0.2,
        max_mask_fraction=0.7,
        texts="auto",
        stored_text_bytes=2**20,
    )
    embed_set(tmp_path / "embeddings", tmp_path / "set", encoder_folder, embedding)
    masked = SetEmbeddings.load(tmp_path / "embeddings").open_array("masked")
    assert set(masked[:, 0]) == set(range(PAIRS))


def test_unsafe_candidates_are_in_no_row_and_a_set_of_them_alone_is_refused(
    encoder_folder: Path, params: DrawnParams, tmp_path: Path
) -> None:
    alarmed = stable_diffusion(tmp_path / "alarmed", alarmed=True)
    diffusion = params.diffusion.model_copy(update={"pipeline": str(alarmed)})
    with pytest.raises(InputInvalid, match="there is nothing to learn from"):
        draw(change(params, diffusion=diffusion), encoder_folder, tmp_path / "set")
    assert not list((tmp_path / "set").glob("*.tar"))


def test_pairs_of_several_files_are_told_apart_by_the_files_names(
    encoder_folder: Path, params: DrawnParams, tmp_path: Path
) -> None:
    first = params.captions[0]
    twin = str(shutil.copy(first, tmp_path / "more.parquet"))
    made = draw(change(params, captions=[first, twin]), encoder_folder, tmp_path / "set")
    keys = [row["key"] for row in made.iterate_rows()]
    assert [key.partition("-")[0] for key in keys] == ["captions"] * PAIRS + ["more"] * PAIRS
    assert len(set(keys)) == 2 * PAIRS
    (tmp_path / "other").mkdir()
    other = str(shutil.copy(first, tmp_path / "other"))
    with pytest.raises(InputInvalid, match=r"captions has two files of one name: captions, captions"):
        draw(change(params, captions=[first, other]), encoder_folder, tmp_path / "again")


def test_a_caption_file_that_is_not_there_is_named(encoder_folder: Path, params: DrawnParams, tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match=r"none\.parquet"):
        draw(change(params, captions=[str(tmp_path / "none.parquet")]), encoder_folder, tmp_path / "set")
